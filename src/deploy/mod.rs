//! From plans to what runs: topics, subjects and journals that must be there, and, in a server, the pipelines
//! themselves.
//!
//! `prepare` and `journal` serve `apply` and the server alike. [`supervisor`] runs what [`store`] keeps:
//! [`submission`]s, each with what is wanted of it; [`logs`] has what they said last.

mod journal;
pub mod logs;
mod prepare;
pub mod store;
pub mod submission;
pub mod supervisor;

pub use journal::open_journal;
pub use prepare::{Change, prepare, recall};
