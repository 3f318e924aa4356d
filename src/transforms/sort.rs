//! `sort: {within: 5s}`: rows leave in the order of their event time, once nothing earlier is expected.
//!
//! A row leaves when the watermark has passed its time by more than `within`; rows of one time leave together, by
//! (source, partition, offset) (I2). One that comes when its time has left already is late (I4).
//!
//! Rows are kept in chunks that are sorted by time, so that what leaves is the front of each of them. What has left is
//! still in memory until it is the larger part of its chunk: one row that waits for long holds no others. Every row keeps
//! the epoch that it came in: *needed* is the lowest of those that are held (I13).

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch, TimestampMillisecondArray, UInt16Array,
    UInt32Array, UInt64Array,
};
use arrow::compute::{filter_record_batch, interleave_record_batch, not, take_record_batch};
use arrow::datatypes::{
    DataType, Field, Int32Type, Schema, SchemaRef, TimestampMillisecondType, UInt16Type, UInt64Type,
};
use arrow::error::ArrowError;

use super::{At, Emitted, Frozen, Gather, Needed, Partial, StatefulOperator, StatefulTransform, StepMark};
use crate::data::{Batch, DeadLetter, Epoch, Partition, SourceIndex, meta};
use crate::report::Failure;
use crate::state::Rows;
use crate::time::{Millis, Watermark};

/// More chunks than this are put together, pair by pair.
const CHUNKS_MAX: usize = 512;
/// Larger chunks stay as they are.
const CHUNK_ROWS_MAX: usize = 1 << 16;
/// About as many times are told of as still to come, however many rows wait.
const ENDS_MAX: usize = 4_096;

/// In front of the rows that are kept: the epoch that each came in, and from where.
const EPOCH: &str = "_epoch";
const SOURCE: &str = "_source";
const PARTITION: &str = "_of_partition";

/// The `sort` transform.
#[derive(Debug, Clone)]
pub struct Sort {
    schema: SchemaRef,
    within_ms: Millis,
}

impl Sort {
    /// `schema` is that of the rows that come in and leave, and has `_time`.
    pub fn new(schema: SchemaRef, within_ms: Millis) -> Self {
        Sort { schema, within_ms }
    }
}

impl StatefulTransform for Sort {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn changes(&self) -> bool {
        false
    }

    fn span_ms(&self) -> Option<Millis> {
        Some(self.within_ms)
    }

    fn late_because(&self) -> &'static str {
        "rows of its time had left"
    }

    fn open_gather(&self) -> Box<dyn Gather> {
        Box::new(SortGather { within_ms: self.within_ms, held: Default::default() })
    }

    fn open(&self, _wants_rest: bool) -> Box<dyn StatefulOperator> {
        Box::new(SortOperator { of: self.clone(), within_ms: self.within_ms, chunks: Vec::new(), leaving: None })
    }

    fn state(&self) -> SchemaRef {
        let kept = [(EPOCH, DataType::UInt64), (SOURCE, DataType::UInt16), (PARTITION, DataType::Int32)];
        let kept = kept.map(|(name, data_type)| Arc::new(Field::new(name, data_type, false)));
        Arc::new(Schema::new(kept.into_iter().chain(self.schema.fields().iter().cloned()).collect::<Vec<_>>()))
    }
}

/// When rows of this time leave: nothing of it, or earlier, is expected any more.
fn end_of(time: Millis) -> Millis {
    time.saturating_add(1)
}

/// What one partition gave in one epoch, in its order.
struct Run {
    source: SourceIndex,
    partition: Partition,
    rows: Vec<RecordBatch>,
}

/// The lane's half: holds the epoch's rows as they came.
struct SortGather {
    within_ms: Millis,
    held: std::collections::BTreeMap<(SourceIndex, Partition), Vec<RecordBatch>>,
}

impl Gather for SortGather {
    fn update(
        &mut self,
        batch: &Batch,
        watermark: Watermark,
        _at: At,
        late: &mut Vec<Batch>,
        _dead: &mut Vec<DeadLetter>,
    ) -> Result<(), Failure> {
        let times = times(&batch.rows)?;
        let is_late = |time: &Millis| watermark.has_closed(end_of(*time), self.within_ms);
        let is_late: BooleanArray = times.values().iter().map(|time| Some(is_late(time))).collect();
        let mut rows = batch.rows.clone();
        if is_late.true_count() > 0 {
            late.push(Batch { rows: filter_record_batch(&rows, &is_late).map_err(broken)?, ..*batch });
            rows = filter_record_batch(&rows, &not(&is_late).map_err(broken)?).map_err(broken)?;
        }
        if rows.num_rows() > 0 {
            self.held.entry((batch.source, batch.partition)).or_default().push(rows);
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<(SourceIndex, Partition, Partial)>, Failure> {
        let run = |((source, partition), rows)| {
            let partial: Partial = Box::new(Run { source, partition, rows });
            (source, partition, partial)
        };
        Ok(std::mem::take(&mut self.held).into_iter().map(run).collect())
    }

    fn size(&self) -> usize {
        self.held.values().flatten().map(RecordBatch::get_array_memory_size).sum()
    }
}

/// By what rows are ordered; what is left of it is the order in which they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    time: Millis,
    source: SourceIndex,
    partition: Partition,
}

/// Rows in the order of their keys; of equal ones, as they came.
struct Chunk {
    rows: RecordBatch,
    keys: Vec<Key>,
    epochs: Vec<Epoch>,
    /// By row: the lowest epoch of it and of those behind it.
    needed: Vec<Epoch>,
    /// How many have left.
    left: usize,
    bytes: usize,
}

impl Chunk {
    /// Sorts rows; those of equal keys keep their order.
    fn of(rows: RecordBatch, keys: Vec<Key>, epochs: Vec<Epoch>) -> Result<Chunk, Failure> {
        if keys.is_sorted() {
            return Ok(Chunk::sorted(rows, keys, epochs));
        }
        let mut order: Vec<u32> = (0..keys.len() as u32).collect();
        order.sort_by_key(|row| keys[*row as usize]);
        let keys = order.iter().map(|row| keys[*row as usize]).collect();
        let epochs = order.iter().map(|row| epochs[*row as usize]).collect();
        let rows = take_record_batch(&rows, &UInt32Array::from(order)).map_err(broken)?;
        Ok(Chunk::sorted(rows, keys, epochs))
    }

    fn sorted(rows: RecordBatch, keys: Vec<Key>, epochs: Vec<Epoch>) -> Chunk {
        let mut needed = epochs.clone();
        for row in (1..needed.len()).rev() {
            needed[row - 1] = needed[row - 1].min(needed[row]);
        }
        let of_row = size_of::<Key>() + 2 * size_of::<Epoch>();
        let bytes = rows.get_array_memory_size() + keys.len() * of_row;
        Chunk { rows, keys, epochs, needed, left: 0, bytes }
    }

    /// This chunk and the one that came behind it as one, without what has left.
    fn with(self, behind: Chunk) -> Result<Chunk, Failure> {
        let (first, second) = (self.waiting(), behind.waiting());
        let mut order: Vec<(usize, usize)> = first.clone().map(|row| (0, row)).collect();
        order.extend(second.clone().map(|row| (1, row)));
        let chunks = [self, behind];
        let key = |(chunk, row): &(usize, usize)| chunks[*chunk].keys[*row];
        // Stable: what came first stays in front.
        order.sort_by_key(key);
        let keys = order.iter().map(key).collect();
        let epochs = order.iter().map(|(chunk, row)| chunks[*chunk].epochs[*row]).collect();
        let rows = interleave_record_batch(&[&chunks[0].rows, &chunks[1].rows], &order).map_err(broken)?;
        Ok(Chunk::sorted(rows, keys, epochs))
    }

    /// Lets go of what has left, if that is more than what waits: so no row is copied more often than others leave.
    fn let_go(&mut self) -> Result<(), Failure> {
        let waiting = self.waiting();
        if waiting.is_empty() || waiting.len() >= self.left {
            return Ok(());
        }
        let order = UInt32Array::from_iter_values(waiting.clone().map(|row| row as u32));
        let rows = take_record_batch(&self.rows, &order).map_err(broken)?;
        *self = Chunk::sorted(rows, self.keys[waiting.clone()].to_vec(), self.epochs[waiting].to_vec());
        Ok(())
    }

    fn waiting(&self) -> std::ops::Range<usize> {
        self.left..self.keys.len()
    }
}

/// The trunk's half: holds what has not left yet.
struct SortOperator {
    of: Sort,
    within_ms: Millis,
    /// As they came.
    chunks: Vec<Chunk>,
    leaving: Option<Leaving>,
}

/// Rows on their way out.
struct Leaving {
    first_epoch: Epoch,
    rows: Vec<RecordBatch>,
    /// Which of `rows`, and which row of it.
    order: Vec<(usize, usize)>,
    left: usize,
}

impl SortOperator {
    /// Takes out of the chunks what may leave at this watermark.
    fn due(&mut self, watermark: Watermark) -> Result<Option<Leaving>, Failure> {
        let mut leaving = Leaving { first_epoch: Epoch::MAX, rows: Vec::new(), order: Vec::new(), left: 0 };
        let mut keys: Vec<(Key, (usize, usize))> = Vec::new();
        for chunk in &mut self.chunks {
            let is_due = |key: &Key| watermark.has_closed(end_of(key.time), self.within_ms);
            let due = chunk.waiting().start + chunk.keys[chunk.waiting()].partition_point(is_due);
            if due == chunk.left {
                continue;
            }
            keys.extend((chunk.left..due).map(|row| (chunk.keys[row], (leaving.rows.len(), row))));
            leaving.first_epoch = chunk.epochs[chunk.left..due].iter().copied().fold(leaving.first_epoch, Epoch::min);
            leaving.rows.push(chunk.rows.clone());
            chunk.left = due;
            chunk.let_go()?;
        }
        self.chunks.retain(|chunk| !chunk.waiting().is_empty());
        // Of equal keys the chunk that came first is the first.
        keys.sort_unstable();
        leaving.order = keys.into_iter().map(|(_, place)| place).collect();
        Ok((!leaving.order.is_empty()).then_some(leaving))
    }

    /// Keeps the number of chunks bounded: all of them are looked at at every mark.
    fn put_together(&mut self) -> Result<(), Failure> {
        if self.chunks.len() <= CHUNKS_MAX {
            return Ok(());
        }
        let mut chunks = std::mem::take(&mut self.chunks).into_iter().peekable();
        while let Some(chunk) = chunks.next() {
            let fits = |next: &Chunk| next.waiting().len() + chunk.waiting().len() <= CHUNK_ROWS_MAX;
            let chunk = match chunks.next_if(fits) {
                Some(next) => chunk.with(next)?,
                None => chunk,
            };
            self.chunks.push(chunk);
        }
        Ok(())
    }
}

impl StatefulOperator for SortOperator {
    fn on_mark(&mut self, mark: &StepMark, partials: Vec<Partial>) -> Result<(), Failure> {
        for partial in partials {
            let run = partial.downcast::<Run>();
            let run = run.map_err(|_| Failure::bug("sort.partial", "a sort was given another step's partial"))?;
            let Run { source, partition, rows } = *run;
            for rows in rows {
                let key = |time: &Millis| Key { time: *time, source, partition };
                let keys: Vec<Key> = times(&rows)?.values().iter().map(key).collect();
                let epochs = vec![mark.first_epoch; keys.len()];
                self.chunks.push(Chunk::of(rows, keys, epochs)?);
            }
        }
        self.leaving = self.due(mark.watermark)?;
        self.put_together()
    }

    fn next_rows(&mut self, rows_max: usize) -> Result<Option<Emitted>, Failure> {
        let Some(leaving) = &mut self.leaving else { return Ok(None) };
        let from = leaving.left;
        leaving.left = leaving.order.len().min(from + rows_max.max(1));
        let of: Vec<&RecordBatch> = leaving.rows.iter().collect();
        let rows = interleave_record_batch(&of, &leaving.order[from..leaving.left]).map_err(broken)?;
        let first_epoch = leaving.first_epoch;
        if leaving.left == leaving.order.len() {
            self.leaving = None;
        }
        Ok(Some(Emitted { first_epoch, rows, rest: None }))
    }

    fn needed(&self) -> Needed {
        let oldest = self.chunks.iter().map(|chunk| chunk.needed[chunk.left]).min();
        oldest.map_or(Needed::Nothing, Needed::From)
    }

    /// Not of every time that waits, but of the last one, and of some on the way: what waits between two of them leaves
    /// with the later one, if nothing but time passes (I5).
    fn open_ends(&self) -> Vec<Millis> {
        let times = |chunk: &Chunk| (chunk.keys[chunk.left].time, chunk.keys[chunk.keys.len() - 1].time);
        let (first, last) = self.chunks.iter().map(times).fold((Millis::MAX, Millis::MIN), |all, chunk| {
            let (first, last) = chunk;
            (all.0.min(first), all.1.max(last))
        });
        let step = (last.saturating_sub(first) / (ENDS_MAX / self.chunks.len().max(1)).max(8) as Millis).max(1);
        let mut ends = Vec::new();
        for chunk in &self.chunks {
            let keys = &chunk.keys[chunk.waiting()];
            let mut at = 0;
            while at < keys.len() {
                let reach = keys[at].time.saturating_add(step);
                at += keys[at..].partition_point(|key| key.time < reach);
                ends.push(end_of(keys[at - 1].time).saturating_add(self.within_ms));
            }
        }
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    fn grace_ms(&self) -> Millis {
        self.within_ms
    }

    fn freeze(&mut self) -> Result<Box<dyn Frozen>, Failure> {
        let of = |chunk: &Chunk| {
            let (waiting, count) = (chunk.waiting(), chunk.waiting().len());
            FrozenChunk {
                rows: chunk.rows.slice(waiting.start, count),
                keys: chunk.keys[waiting.clone()].to_vec(),
                epochs: chunk.epochs[waiting].to_vec(),
                bytes: chunk.bytes,
            }
        };
        Ok(Box::new(FrozenChunks { schema: self.of.state(), chunks: self.chunks.iter().map(of).collect() }))
    }

    fn thaw(&mut self, rows: &RecordBatch) -> Result<(), Failure> {
        let epochs = rows.column(0).as_primitive::<UInt64Type>().values().to_vec();
        let sources = rows.column(1).as_primitive::<UInt16Type>().values();
        let partitions = rows.column(2).as_primitive::<Int32Type>().values();
        let rows = RecordBatch::try_new(self.of.schema.clone(), rows.columns()[3..].to_vec()).map_err(broken)?;
        let places = sources.iter().zip(partitions);
        let key = |(time, (source, partition)): (&Millis, (&SourceIndex, &Partition))| Key {
            time: *time,
            source: *source,
            partition: *partition,
        };
        let keys = times(&rows)?.values().iter().zip(places).map(key).collect();
        // Rows of one chunk may come in several batches: those of equal keys still follow one another.
        self.chunks.push(Chunk::of(rows, keys, epochs)?);
        Ok(())
    }

    fn size(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }
}

/// What waited at a mark. The rows themselves are shared.
struct FrozenChunks {
    schema: SchemaRef,
    chunks: VecDeque<FrozenChunk>,
}

struct FrozenChunk {
    rows: RecordBatch,
    keys: Vec<Key>,
    epochs: Vec<Epoch>,
    bytes: usize,
}

impl Rows for FrozenChunks {
    fn next_rows(&mut self, rows_max: usize) -> Result<Option<RecordBatch>, Failure> {
        let Some(mut chunk) = self.chunks.pop_front() else { return Ok(None) };
        let count = chunk.keys.len().min(rows_max.max(1));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(chunk.epochs.drain(..count))),
            Arc::new(UInt16Array::from_iter_values(chunk.keys[..count].iter().map(|key| key.source))),
            Arc::new(Int32Array::from_iter_values(chunk.keys.drain(..count).map(|key| key.partition))),
        ];
        columns.extend(chunk.rows.slice(0, count).columns().iter().cloned());
        if !chunk.keys.is_empty() {
            chunk.rows = chunk.rows.slice(count, chunk.keys.len());
            self.chunks.push_front(chunk);
        }
        RecordBatch::try_new(self.schema.clone(), columns).map(Some).map_err(broken)
    }
}

impl Frozen for FrozenChunks {
    fn size(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }
}

fn times(rows: &RecordBatch) -> Result<&TimestampMillisecondArray, Failure> {
    let column =
        rows.column_by_name(meta::TIME).and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
    column
        .filter(|times| times.null_count() == 0)
        .ok_or_else(|| Failure::bug("sort.time", "rows that are to be sorted have no time"))
}

fn broken(error: ArrowError) -> Failure {
    Failure::bug("sort.rows", "rows cannot be sorted").because(error)
}

#[cfg(test)]
mod tests;
