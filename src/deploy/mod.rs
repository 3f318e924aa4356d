//! From a plan to what must be there before its job starts: topics, subjects, a journal.

mod journal;
mod prepare;

pub use journal::open_journal;
pub use prepare::{Change, prepare, recall};
