//! Transforms: plain functions of (state, batch or mark), without async and without I/O.
//!
//! A [`RowTransform`] looks at one batch at a time and is fused into the lane. A
//! [`StatefulTransform`] has two halves: a [`Gather`] in every lane that pre-aggregates an epoch
//! per partition, and one [`StatefulOperator`] in the trunk that merges those partials at the mark,
//! in the order of (source, partition) (I2).

pub mod aggregate;
mod codec;
pub mod fail;
pub mod select;
pub mod sort;
pub mod table;
pub mod union;

use std::any::Any;
use std::fmt::Debug;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::data::{Batch, DeadLetter, Epoch, Partition, SourceIndex};
pub use crate::expr::At;
use crate::journal::LastWindow;
use crate::report::Failure;
use crate::state::Rows;
use crate::time::{Millis, Watermark};

/// A step that needs one row at a time: where, check, add, select, drop.
pub trait RowTransform: Debug + Send + Sync {
    /// Columns of its output: the user's, then the metadata it carries along.
    fn schema(&self) -> SchemaRef;
    fn open(&self) -> Box<dyn RowOperator>;
}

/// A row transform at work in one lane.
pub trait RowOperator: Send {
    /// Rows that pass, in the same order.
    fn apply(&mut self, batch: Batch, at: At, left: &mut Left) -> Result<Batch, Failure>;
}

/// The rows that a row step does not pass on, in the order of its input (I2).
#[derive(Debug, Default)]
pub struct Left {
    /// What cannot be evaluated or fails a check, where no port takes it.
    pub dead: Vec<DeadLetter>,
    /// The same as rows of the input and why, for the port `.failed`; `None`: they are dead letters.
    pub failed: Option<Vec<(u32, String)>>,
    /// What `where` did not let pass, as rows of the input, for the port `.rest`; `None`: nobody takes it.
    pub rest: Option<Vec<u32>>,
}

/// A step that keeps state between epochs.
pub trait StatefulTransform: Debug + Send + Sync {
    /// Columns of its output.
    fn schema(&self) -> SchemaRef;
    /// True if its rows change later (an endless aggregate, or a windowed one whose sinks want
    /// updates): then its output has the column `__change`.
    fn changes(&self) -> bool;
    /// How much event time it looks at together; `None`: the watermark means nothing to it (I6).
    fn span_ms(&self) -> Option<Millis>;
    /// Why a row of its `.late` port is there.
    fn late_because(&self) -> &'static str;
    /// The half in each lane.
    fn open_gather(&self) -> Box<dyn Gather>;
    /// The half in the trunk, with empty state. `wants_rest`: it also gives the rows that it holds back
    /// ([`Emitted::rest`]), which somebody reads.
    fn open(&self, wants_rest: bool) -> Box<dyn StatefulOperator>;
    /// Columns of what it keeps, as [`StatefulOperator::freeze`] gives them. A stored format: the same names and types
    /// mean the same for ever.
    fn state(&self) -> SchemaRef;
}

/// What a step kept at a mark: a copy, so that the step goes on. It is made into rows elsewhere, later.
pub trait Frozen: Rows + Send {
    /// Bytes held.
    fn size(&self) -> usize;
}

/// What a lane's half hands to the trunk's; only the transform knows what is in it.
pub type Partial = Box<dyn Any + Send>;

/// Pre-aggregates the rows of one epoch, per partition, row by row in order (I2).
pub trait Gather: Send {
    /// Takes the rows in; those whose windows have all closed at `watermark` (I4) go to `late`.
    fn update(
        &mut self,
        batch: &Batch,
        watermark: Watermark,
        at: At,
        late: &mut Vec<Batch>,
        dead: &mut Vec<DeadLetter>,
    ) -> Result<(), Failure>;
    /// The epoch's partials; empty afterwards. At most one per (source, partition), in that order.
    fn take(&mut self) -> Result<Vec<(SourceIndex, Partition, Partial)>, Failure>;
    /// Bytes held.
    fn size(&self) -> usize;
}

/// Rows that a stateful step gives to the steps behind it.
#[derive(Debug, Clone)]
pub struct Emitted {
    /// Lowest epoch that contributed: during replay, rows that begin before its start go to no sink.
    pub first_epoch: Epoch,
    pub rows: RecordBatch,
    /// Rows that HAVING holds back, in the same order, for the port `.rest`; `None`: nobody takes them.
    pub rest: Option<RecordBatch>,
}

/// Which epochs a replay with empty state must read to yield this very state (I13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// No state is kept now.
    Nothing,
    /// From this epoch on.
    From(Epoch),
    /// The whole journal.
    Everything,
}

/// A mark as a stateful step meets it. Behind another one its watermarks are earlier than the epoch's own: see
/// [`StatefulOperator::grace_ms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepMark {
    /// Lowest epoch that contributed to the partials.
    pub first_epoch: Epoch,
    /// In force for the rows of this epoch.
    pub before: Watermark,
    /// In force from here on; what it closes leaves in this epoch.
    pub watermark: Watermark,
    /// The clock of the epoch before; `Millis::MIN`: there was none.
    pub clock_before: Millis,
    /// The epoch's clock (I3).
    pub clock: Millis,
    /// Every source has ended (I21).
    pub ended: bool,
    /// From here a replay rebuilds what the steps before it keep behind this mark; the epoch behind it if they keep nothing.
    pub needed_before: Epoch,
}

/// The trunk's half of a stateful step.
pub trait StatefulOperator: Send {
    /// Merges the epoch's partials (already in order) and closes what the mark's watermark closes. What leaves
    /// is given by [`StatefulOperator::next_rows`], which is asked until there is nothing more.
    fn on_mark(&mut self, mark: &StepMark, partials: Vec<Partial>) -> Result<(), Failure>;
    /// The next rows that leave at this mark, at most `rows_max` (one more where that keeps an update's two
    /// halves together), in the order of (window end, key); `None`: that was all. However they are cut up, the sequence of rows is the same (I10).
    fn next_rows(&mut self, rows_max: usize) -> Result<Option<Emitted>, Failure>;
    /// Behind the mark, when all rows have left.
    fn needed(&self) -> Needed;
    /// End plus grace of each open window, ascending, without duplicates.
    fn open_ends(&self) -> Vec<Millis>;
    /// The clock at which it wants a mark, though nothing came; `clock` was that of the last one. `None`: it waits for nothing.
    fn due(&self, _clock: Millis) -> Option<Millis> {
        None
    }
    /// What it must know of the past beside its rows: the last window that was given a row, where gaps are filled (I13).
    fn last_window(&self) -> Option<LastWindow> {
        None
    }
    /// As it was behind some epoch. One of other windows than these is forgotten.
    fn remember(&mut self, _last_window: Option<LastWindow>) {}
    /// How far the event times of its rows may lie behind the watermark that let them out, in milliseconds: a windowed
    /// row's time is its window's end − 1 ms, and it leaves when the watermark has reached end plus grace. What stands
    /// behind it has a watermark that is earlier by as much, and finds none of its rows late.
    fn grace_ms(&self) -> Millis;
    /// A copy of what it keeps, when all rows of a mark have left: behind [`StatefulOperator::thaw`] of its rows everything
    /// else goes on to the same bit. It holds the pipeline up, so it copies and does nothing else.
    fn freeze(&mut self) -> Result<Box<dyn Frozen>, Failure>;
    /// Takes rows of what was frozen in again, all of them in order, before the first mark.
    fn thaw(&mut self, rows: &RecordBatch) -> Result<(), Failure>;
    /// Bytes held.
    fn size(&self) -> usize;
}
