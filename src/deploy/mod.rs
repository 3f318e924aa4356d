//! From plans to what runs: topics, subjects and journals that must be there, and, in a server, the pipelines
//! themselves.
//!
//! `prepare` and `journal` serve `apply` and the server alike; [`offsets`] are what a journal says. [`supervisor`] runs what [`store`] keeps:
//! [`submission`]s, each with what is wanted of it, some made of a [`connector`]; [`logs`] has what they said last,
//! [`levels`] how much they say.

pub mod connector;
mod journal;
pub mod levels;
pub mod logs;
pub mod offsets;
mod prepare;
pub mod store;
pub mod submission;
pub mod supervisor;
mod topics;

pub use journal::open_journal;
pub use prepare::{Change, prepare, recall};
