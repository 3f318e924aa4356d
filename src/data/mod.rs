//! What flows through a graph: raw records, batches of rows, marks, encoded records.
//!
//! A [`Batch`] always comes from exactly one partition of one source and is ordered by offset (I2).
//! An epoch is therefore the sequence of its batches by (source, partition, offset), whatever
//! the lanes and the batch size were.

mod dead_letter;
mod encoded;
pub mod fields;
mod hashed;
pub mod meta;
pub mod partition;
mod position;
mod raw;
mod reason;
mod size;

pub use dead_letter::dead_letter;
pub use encoded::{Destinations, EncodedRecord, EncodedRows};
pub use hashed::HashedMap;
pub use partition::{Partition, PartitionName};
pub use position::Position;
pub use raw::{ConnectStage, DeadLetter, RawBatch, RawBatchBuilder};
pub use reason::{REASON, VALUE, failed_columns, with_reason, with_reason_column};
pub use size::size;

use arrow::array::RecordBatch;

use crate::time::{Millis, Watermark};

/// Index of a source in its plan.
pub type SourceIndex = u16;
/// Stands for "no source" in batches that a stateful step made.
pub const NO_SOURCE: SourceIndex = SourceIndex::MAX;
/// Where a record stands in its partition: a Kafka offset, or a record's ordinal.
pub type Offset = i64;
/// Epochs count from 1; 0 stands for "before the first".
pub type Epoch = u64;

/// Rows of one partition, ordered by offset.
///
/// The columns are those of the step's schema (user columns first), then the metadata columns
/// that the plan asked for (see [`meta`]).
#[derive(Debug, Clone)]
pub struct Batch {
    pub source: SourceIndex,
    pub partition: Partition,
    pub rows: RecordBatch,
}

/// The end of an epoch, travelling behind its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub epoch: Epoch,
    /// In force for the next epoch; windows that it closes emit in this one.
    pub watermark: Watermark,
    /// The epoch's clock (I3).
    pub clock: Millis,
    /// Every source has ended: what waits for a time to come waits no longer (I21).
    pub ended: bool,
}
