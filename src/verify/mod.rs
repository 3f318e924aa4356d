//! Proves what a pipeline did: nothing lost, nothing doubled, nothing out of order between a source and a sink.
//!
//! Two streams are compared: what is *expected*, and what is *found* in the sink's topic. Expected is a topic as it is,
//! or what a pipeline's stateless steps make of its source, computed again ([`Recomputed`]). A record is recognised by
//! its provenance (the headers `_topic`, `_partition`, `_offset`), or by its content, its key, or a column of JSON.
//!
//! Committed records only, to the ends as of the start. Offsets are never compared with each other: markers, aborted
//! records and what compaction took leave holes that mean nothing. The sink's end is asked before the source's, so that
//! a pipeline that runs is not accused of what it has not read. Memory: two bits an offset by provenance; otherwise
//! what one side is ahead of the other, and what is found wrong.

mod compaction;
mod content;
mod expected;
mod offsets;
mod order;
mod provenance;
mod recomputed;
mod record;
mod report;

pub use expected::{Expectation, Expected, TopicRecords};
pub use recomputed::{Recomputed, Starts, why_not};
pub use report::{Finding, Report};

use std::time::Instant;

use crate::connectors::kafka::Scan;
use crate::report::Failure;

/// How a record of the sink is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// Its headers say where it comes from.
    Provenance,
    /// Key and value, byte for byte.
    Content,
    Key,
    /// A column of its value, a JSON object, on both sides.
    Column(String),
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            By::Provenance => f.write_str("by provenance"),
            By::Content => f.write_str("by content"),
            By::Key => f.write_str("by key"),
            By::Column(name) => write!(f, "by column `{name}`"),
        }
    }
}

/// What is wanted of the sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub by: By,
    /// Records that one source partition gave to one sink partition are in its order.
    pub order_by_partition: bool,
    /// All records of a key are in one sink partition, those of one source partition in its order.
    pub order_by_key: bool,
    /// Timestamps of a sink partition never go back.
    pub order_by_time: bool,
    /// The sink's topic is compacted: a record that a later one of its key replaces may be gone.
    pub compacted: bool,
}

/// Compares. `share` is told now and then which share is done.
///
/// # Errors
/// What reading fails with, or `verify.column` where a value is no JSON object with that column.
pub fn compare(
    what: String,
    wanted: &Wanted,
    expected: &mut dyn Expected,
    sink: &mut Scan,
    share: &mut dyn FnMut(f64),
) -> Result<Report, Failure> {
    let begun = Instant::now();
    let mut report = match wanted.by {
        By::Provenance => provenance::compare(wanted, expected, sink, share)?,
        _ => content::compare(wanted, expected, sink, share)?,
    };
    report.what = what;
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}
