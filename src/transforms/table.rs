//! `every: 10s` and `mode: complete` of a sink: a table that changes, written at due times instead of each epoch.
//!
//! The due times are the multiples of `every` since 1970-01-01 UTC, on the epoch's clock: an epoch whose clock has passed
//! one is due, and so is the one in which every source has ended (I21). The clock is in the journal, so a replay writes
//! at the same epochs. What has not changed since it was last written is not written, and asks for no epoch (I3).
//!
//! *Changes* (`update`, `upsert`): what has changed since the last due time, each row once; what has changed back is
//! nothing. *Whole* (`complete`): all rows. Those of a window that has closed stand in it once more if any row of the table
//! has changed since it was last written, and then no more.
//!
//! Rows leave in the order of their key, then of their other columns. Rows are counted, because a `select` may have left
//! several equal ones.
//!
//! I13: what is kept behind a due time is exact if what stands before the table was exact then. So *needed* is what that
//! needed behind the last due time, not what it needs now.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int8Array, Int64Array, RecordBatch, UInt64Array, new_null_array,
};
use arrow::datatypes::{DataType, Field, Int8Type, Int64Type, Schema, SchemaRef, TimestampMillisecondType, UInt64Type};
use arrow::error::ArrowError;

use super::codec::RowCodec;
use super::{At, Emitted, Frozen, Gather, Needed, Partial, StatefulOperator, StatefulTransform, StepMark};
use crate::data::meta::{self, Change};
use crate::data::{Batch, DeadLetter, Epoch, Partition, SourceIndex};
use crate::report::Failure;
use crate::state::Rows;
use crate::time::{Millis, Watermark};

/// In front of the rows that are kept. The first row is no row of the table: it has what is kept beside them.
const NEEDED: &str = "_needed";
const CHANGED: &str = "_changed";
const COUNT: &str = "_count";
/// About what a row takes beside its bytes.
const ROW_BYTES: usize = 80;

/// What a table writes at a due time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// What has changed since the last one.
    Changes,
    /// All of its rows.
    Whole,
}

/// The table before a sink.
#[derive(Debug, Clone)]
pub struct Table {
    shape: Arc<Shape>,
}

/// All that both halves share.
#[derive(Debug)]
struct Shape {
    schema: SchemaRef,
    /// Columns of the schema: those of the key, then the others but `__change`.
    columns: Vec<usize>,
    /// The key's columns as bytes, and the others.
    keys: RowCodec,
    others: RowCodec,
    key_columns: usize,
    every_ms: Millis,
    writes: Writes,
}

impl Table {
    /// `schema` is that of the rows that come in and leave, and has `__change`; `key` names those of its columns by which
    /// rows leave in order.
    ///
    /// # Errors
    /// A column has a type whose values cannot be kept.
    pub fn new(schema: SchemaRef, key: &[String], every_ms: Millis, writes: Writes) -> Result<Self, Failure> {
        let is_key = |at: &usize| key.contains(schema.field(*at).name());
        let mut columns: Vec<usize> = key.iter().filter_map(|name| schema.index_of(name).ok()).collect();
        let key_columns = columns.len();
        columns.extend((0..schema.fields().len()).filter(|at| !is_key(at) && schema.field(*at).name() != meta::CHANGE));
        let fields: Vec<Field> = columns.iter().map(|at| schema.field(*at).clone()).collect();
        let (keys, others) = fields.split_at(key_columns);
        let (keys, others) = (RowCodec::new(keys.to_vec())?, RowCodec::new(others.to_vec())?);
        Ok(Table { shape: Arc::new(Shape { schema, columns, keys, others, key_columns, every_ms, writes }) })
    }
}

impl StatefulTransform for Table {
    fn schema(&self) -> SchemaRef {
        self.shape.schema.clone()
    }

    fn changes(&self) -> bool {
        true
    }

    fn span_ms(&self) -> Option<Millis> {
        None
    }

    fn late_because(&self) -> &'static str {
        "no row of a table is late"
    }

    fn open_gather(&self) -> Box<dyn Gather> {
        Box::new(TableGather::default())
    }

    fn open(&self, _wants_rest: bool) -> Box<dyn StatefulOperator> {
        Box::new(TableOperator {
            shape: self.shape.clone(),
            rows: BTreeMap::new(),
            bytes: 0,
            changed: false,
            needed: None,
            closes_first: Millis::MAX,
            leaving: VecDeque::new(),
        })
    }

    fn state(&self) -> SchemaRef {
        self.shape.state()
    }
}

/// The lane's half: holds the epoch's rows as they came.
#[derive(Default)]
struct TableGather {
    held: BTreeMap<(SourceIndex, Partition), Vec<RecordBatch>>,
}

impl Gather for TableGather {
    fn update(
        &mut self,
        batch: &Batch,
        _watermark: Watermark,
        _at: At,
        _late: &mut Vec<Batch>,
        _dead: &mut Vec<DeadLetter>,
    ) -> Result<(), Failure> {
        self.held.entry((batch.source, batch.partition)).or_default().push(batch.rows.clone());
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<(SourceIndex, Partition, Partial)>, Failure> {
        let of = |((source, partition), rows): (_, Vec<RecordBatch>)| (source, partition, Box::new(rows) as Partial);
        Ok(std::mem::take(&mut self.held).into_iter().map(of).collect())
    }

    fn size(&self) -> usize {
        self.held.values().flatten().map(RecordBatch::get_array_memory_size).sum()
    }
}

/// The trunk's half.
struct TableOperator {
    shape: Arc<Shape>,
    /// By their bytes: the key's, then the others'. Of `Changes`: those that are more, or less, than at the last due time.
    rows: BTreeMap<Arc<[u8]>, Kept>,
    bytes: usize,
    /// Since the last due time.
    changed: bool,
    /// From here a replay yields this very state: what stands before needed it behind the last due time.
    needed: Option<Epoch>,
    /// No row's window closes before.
    closes_first: Millis,
    leaving: VecDeque<(Arc<[u8]>, usize, Change)>,
}

struct Kept {
    /// How many of them there are, or how many more than at the last due time.
    count: i64,
    key_bytes: usize,
    /// The end of its window; `Millis::MAX`: none.
    closes: Millis,
}

impl Shape {
    /// True if a due time has passed between two epochs' clocks.
    fn is_due(&self, before: Millis, clock: Millis) -> bool {
        before != Millis::MIN && before.div_euclid(self.every_ms) < clock.div_euclid(self.every_ms)
    }

    fn state(&self) -> SchemaRef {
        let own = [(NEEDED, DataType::UInt64), (CHANGED, DataType::Boolean), (COUNT, DataType::Int64)];
        let own = own.map(|(name, data_type)| Field::new(name, data_type, true));
        let fields = self.columns.iter().map(|at| self.schema.field(*at).clone().with_nullable(true));
        Arc::new(Schema::new(own.into_iter().chain(fields).collect::<Vec<_>>()))
    }

    /// The columns of rows, in the order in which they are kept.
    fn decode<'a>(&self, rows: impl Iterator<Item = (&'a [u8], usize)> + Clone) -> Result<Vec<ArrayRef>, Failure> {
        let mut columns = self.keys.decode(rows.clone().map(|(row, key)| &row[..key]))?;
        columns.extend(self.others.decode(rows.map(|(row, key)| &row[key..]))?);
        Ok(columns)
    }
}

impl TableOperator {
    /// Counts rows that came and went. `columns` are in the order in which they are kept.
    fn count(&mut self, columns: &[ArrayRef], counts: &[i64]) -> Result<(), Failure> {
        let shape = self.shape.clone();
        let (keys, others) = columns.split_at(shape.key_columns);
        let keys = shape.keys.encode(keys, counts.len())?;
        let others = shape.others.encode(others, counts.len())?;
        let time = shape.columns.iter().position(|at| shape.schema.field(*at).name() == meta::TIME);
        let times = time.and_then(|at| columns[at].as_primitive_opt::<TimestampMillisecondType>());
        let mut bytes = Vec::new();
        for (row, count) in counts.iter().enumerate() {
            let (key, other) = (keys.row(row), others.row(row));
            bytes.clear();
            bytes.extend_from_slice(key.data());
            bytes.extend_from_slice(other.data());
            if let Some(kept) = self.rows.get_mut(bytes.as_slice()) {
                kept.count += count;
                if kept.count == 0 {
                    self.rows.remove(bytes.as_slice());
                    self.bytes -= ROW_BYTES + bytes.len();
                }
                continue;
            }
            let closes = times.filter(|times| times.is_valid(row)).map_or(Millis::MAX, |times| times.value(row) + 1);
            self.closes_first = self.closes_first.min(closes);
            self.bytes += ROW_BYTES + bytes.len();
            let kept = Kept { count: *count, key_bytes: key.data().len(), closes };
            self.rows.insert(Arc::from(bytes.as_slice()), kept);
        }
        Ok(())
    }

    fn take_in(&mut self, rows: &RecordBatch) -> Result<(), Failure> {
        let changes = rows.column_by_name(meta::CHANGE).and_then(|changes| changes.as_primitive_opt::<Int8Type>());
        let changes = changes.ok_or_else(|| Failure::bug("table.rows", "rows of a table do not say what they are"))?;
        let is_there = |change: i8| change == Change::Insert as i8 || change == Change::UpdateAfter as i8;
        let counts: Vec<i64> = changes.values().iter().map(|change| if is_there(*change) { 1 } else { -1 }).collect();
        let columns: Vec<ArrayRef> = self.shape.columns.iter().map(|at| rows.column(*at).clone()).collect();
        self.changed |= !counts.is_empty();
        self.count(&columns, &counts)
    }

    /// A due time: what is to be written begins to leave.
    fn write(&mut self) {
        match self.shape.writes {
            Writes::Changes => {
                let rows = std::mem::take(&mut self.rows);
                self.bytes = 0;
                self.closes_first = Millis::MAX;
                self.leave_changes(rows);
            }
            Writes::Whole => {
                for (row, kept) in &self.rows {
                    let copies = usize::try_from(kept.count).unwrap_or_default();
                    let row = (row.clone(), kept.key_bytes, Change::Insert);
                    self.leaving.extend(std::iter::repeat_n(row, copies));
                }
            }
        }
        self.changed = false;
    }

    /// Of one key: what is gone and what has come are the two halves of an update.
    fn leave_changes(&mut self, rows: BTreeMap<Arc<[u8]>, Kept>) {
        let mut rows = rows.into_iter().peekable();
        while let Some((first, kept)) = rows.next() {
            let (mut gone, mut come) = (Vec::new(), Vec::new());
            let key = (first.clone(), kept.key_bytes);
            let mut next = Some((first, kept));
            while let Some((row, kept)) = next {
                let of = if kept.count < 0 { &mut gone } else { &mut come };
                of.extend(std::iter::repeat_n((row, kept.key_bytes), kept.count.unsigned_abs() as usize));
                next = rows.next_if(|(row, kept)| row[..kept.key_bytes] == key.0[..key.1]);
            }
            let pairs = gone.len().min(come.len());
            for ((old, key), (new, _)) in gone.drain(..pairs).zip(come.drain(..pairs)) {
                self.leaving.push_back((old, key, Change::UpdateBefore));
                self.leaving.push_back((new, key, Change::UpdateAfter));
            }
            self.leaving.extend(gone.into_iter().map(|(row, key)| (row, key, Change::Delete)));
            self.leaving.extend(come.into_iter().map(|(row, key)| (row, key, Change::Insert)));
        }
    }

    /// Lets go of the windows that have closed, once their last rows were written.
    fn drop_closed(&mut self, watermark: Watermark) {
        let is_closed = |closes: Millis| closes != Millis::MAX && watermark.has_closed(closes, 0);
        if self.shape.writes == Writes::Changes || self.changed || !is_closed(self.closes_first) {
            return;
        }
        self.rows.retain(|_, kept| !is_closed(kept.closes));
        self.bytes = self.rows.keys().map(|row| ROW_BYTES + row.len()).sum();
        self.closes_first = self.rows.values().map(|kept| kept.closes).min().unwrap_or(Millis::MAX);
    }

    /// There is something to write at the next due time.
    fn waits(&self) -> bool {
        self.changed && !self.rows.is_empty()
    }
}

impl StatefulOperator for TableOperator {
    fn on_mark(&mut self, mark: &StepMark, partials: Vec<Partial>) -> Result<(), Failure> {
        self.needed.get_or_insert(mark.first_epoch);
        for partial in partials {
            let partial = partial.downcast::<Vec<RecordBatch>>();
            let rows =
                partial.map_err(|_| Failure::bug("table.partial", "a table was given another step's partial"))?;
            rows.iter().try_for_each(|rows| self.take_in(rows))?;
        }
        if mark.ended || self.shape.is_due(mark.clock_before, mark.clock) {
            if self.changed {
                self.write();
            }
            self.needed = Some(mark.needed_before);
        }
        self.drop_closed(mark.watermark);
        Ok(())
    }

    fn next_rows(&mut self, rows_max: usize) -> Result<Option<Emitted>, Failure> {
        if self.leaving.is_empty() {
            return Ok(None);
        }
        let mut count = self.leaving.len().min(rows_max.max(1));
        // Steps behind look at both halves of an update.
        count += usize::from(self.leaving[count - 1].2 == Change::UpdateBefore);
        let leaving: Vec<_> = self.leaving.drain(..count).collect();
        let columns = self.shape.decode(leaving.iter().map(|(row, key, _)| (&**row, *key)))?;
        let changes: Int8Array = leaving.iter().map(|(_, _, change)| Some(*change as i8)).collect();
        let changes: ArrayRef = Arc::new(changes);
        let mut placed = vec![changes; self.shape.schema.fields().len()];
        for (at, column) in self.shape.columns.iter().zip(columns) {
            placed[*at] = column;
        }
        let rows = RecordBatch::try_new(self.shape.schema.clone(), placed).map_err(broken)?;
        Ok(Some(Emitted { first_epoch: self.needed.unwrap_or(Epoch::MAX), rows, rest: None }))
    }

    fn needed(&self) -> Needed {
        self.needed.map_or(Needed::Nothing, Needed::From)
    }

    fn open_ends(&self) -> Vec<Millis> {
        Vec::new()
    }

    fn due(&self, clock: Millis) -> Option<Millis> {
        let every = self.shape.every_ms;
        self.waits().then(|| (clock.div_euclid(every) + 1).saturating_mul(every))
    }

    fn grace_ms(&self) -> Millis {
        0
    }

    fn freeze(&mut self) -> Result<Box<dyn Frozen>, Failure> {
        Ok(Box::new(FrozenTable {
            shape: self.shape.clone(),
            head: Some((self.needed, self.changed)),
            rows: self.rows.iter().map(|(row, kept)| (row.clone(), kept.key_bytes, kept.count)).collect(),
        }))
    }

    fn thaw(&mut self, rows: &RecordBatch) -> Result<(), Failure> {
        let counts = rows.column(2).as_primitive::<Int64Type>();
        let mut from = 0;
        if rows.num_rows() > 0 && rows.column(1).is_valid(0) {
            let needed = rows.column(0).as_primitive::<UInt64Type>();
            self.needed = needed.is_valid(0).then(|| needed.value(0));
            self.changed = rows.column(1).as_boolean().value(0);
            from = 1;
        }
        let kept = rows.slice(from, rows.num_rows() - from);
        self.count(&kept.columns()[3..], &counts.values()[from..])
    }

    fn size(&self) -> usize {
        self.bytes
    }
}

/// The rows of a table at a mark; their bytes are shared.
struct FrozenTable {
    shape: Arc<Shape>,
    /// What it needs, and whether it has changed.
    head: Option<(Option<Epoch>, bool)>,
    rows: VecDeque<(Arc<[u8]>, usize, i64)>,
}

impl Rows for FrozenTable {
    fn next_rows(&mut self, rows_max: usize) -> Result<Option<RecordBatch>, Failure> {
        let schema = self.shape.state();
        if let Some((needed, changed)) = self.head.take() {
            let mut columns: Vec<ArrayRef> = vec![
                Arc::new(UInt64Array::from(vec![needed])),
                Arc::new(BooleanArray::from(vec![changed])),
                Arc::new(Int64Array::from(vec![0])),
            ];
            columns.extend(schema.fields()[3..].iter().map(|field| new_null_array(field.data_type(), 1)));
            return RecordBatch::try_new(schema, columns).map(Some).map_err(broken);
        }
        if self.rows.is_empty() {
            return Ok(None);
        }
        let rows: Vec<_> = self.rows.drain(..self.rows.len().min(rows_max.max(1))).collect();
        let mut columns: Vec<ArrayRef> = vec![
            new_null_array(&DataType::UInt64, rows.len()),
            new_null_array(&DataType::Boolean, rows.len()),
            Arc::new(rows.iter().map(|(_, _, count)| *count).collect::<Int64Array>()),
        ];
        columns.extend(self.shape.decode(rows.iter().map(|(row, key, _)| (&**row, *key)))?);
        RecordBatch::try_new(schema, columns).map(Some).map_err(broken)
    }
}

impl Frozen for FrozenTable {
    fn size(&self) -> usize {
        self.rows.len() * size_of::<(Arc<[u8]>, usize, i64)>()
    }
}

fn broken(error: ArrowError) -> Failure {
    Failure::bug("table.rows", "rows of a table do not fit their columns").because(error)
}

#[cfg(test)]
mod tests;
