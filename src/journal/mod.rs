//! The durable log of epochs: what makes all output reproducible.
//!
//! Records are JSON, one per line or per Kafka record, each with its format version. The trait
//! [`Journal`] is implemented by `connectors/kafka` (with the output, in one transaction) and by
//! [`file`] (fsynced before any sink writes) (I9).

pub mod file;
mod owned;
pub mod packed;
mod record;

pub use owned::Owned;
pub use record::{EpochRecord, Jump, LastWindow, Owner, Part, PartitionRecord, Parts, PlanRecord, Record, VERSION};

use crate::data::EncodedRows;
use crate::report::Failure;

/// The name of this host, for owners and locks to be told by.
pub fn host_name() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the buffer is valid for its length.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) } != 0;
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    if failed || length == 0 { "unknown".into() } else { String::from_utf8_lossy(&name[..length]).into_owned() }
}

/// Output that commits with a journal record: rows of one transactional sink, in order.
#[derive(Debug, Clone)]
pub struct SinkRows {
    /// Index of the sink in the plan.
    pub sink: usize,
    pub rows: Vec<EncodedRows>,
}

/// How an append ended.
#[derive(Debug)]
pub enum Appended {
    /// Durable, with all of its output.
    Committed,
    /// Surely not written; the same call may be made again (I11).
    Aborted(Failure),
    /// Nobody knows (time-out, fatal error): `acquire` again and look for the epoch (I11).
    Unknown(Failure),
    /// Another instance took over: `acquire` again, but stop if a newer owner stands there (I15).
    Fenced(Failure),
}

/// Looks after a log that somebody else may remove.
pub trait Watch: Send + std::fmt::Debug {
    /// # Errors
    /// `refused.journal_gone`; or it cannot be asked now.
    fn look(&mut self) -> Result<(), Failure>;
}

/// I12: what was committed is there, and nothing says any more how far that is.
pub fn gone(journal: &str) -> Failure {
    Failure::user("refused.journal_gone", format!("the journal ({journal}) was removed while this pipeline ran")).hint(
        "somebody deleted it, or is starting the pipeline with `--fresh`. What was committed is in the sinks: bring the journal \
         back, and the next start goes on behind it; or start over with `--fresh`, which reads the sources from their `start` again \
         and writes behind what is there",
    )
}

/// The log of one pipeline, and the transactional sinks that commit with it.
///
/// ```text
/// (made) ──acquire──▶ owning ──append: Committed / Aborted──▶ owning
///                       └────append: Unknown / Fenced──▶ lost ──acquire──▶ owning
/// ```
pub trait Journal: Send {
    /// Becomes the only writer (fences or locks out others; aborts what a dead one left open) and
    /// reads the log to its end. Kafka: new producer, `init_transactions`, then read.
    fn acquire(&mut self) -> Result<Vec<Record>, Failure>;

    /// Reads the log without becoming its writer: who owns it now? (I15)
    fn read(&mut self) -> Result<Vec<Record>, Failure>;

    /// Appends a record and writes the output of the transactional sinks with it, atomically and in order.
    fn append(&mut self, records: &[Record], outputs: &[SinkRows]) -> Result<Appended, Failure>;

    /// Drops epoch records below `epoch`; later recovery will not need them. The newest plan and owner
    /// records survive. May do nothing.
    fn trim(&mut self, epoch: crate::data::Epoch) -> Result<(), Failure>;

    /// Removes the whole log (`reset`, `--fresh`). `acquire` must follow.
    fn clear(&mut self) -> Result<(), Failure>;

    /// What tells, from elsewhere, whether the log is still the one that was acquired; `None`: nobody need look.
    fn watch(&self) -> Option<Box<dyn Watch>> {
        None
    }

    /// How long the last `acquire` waited for the brokers to fence whoever wrote before, and to end what that one left open.
    fn fencing_time(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    /// How long a newer owner may need from fencing us to saying who it is.
    fn takeover_time(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    /// Where it is, for people: a path, or `topic runner.… on broker:9092`.
    fn describe(&self) -> String;
}
