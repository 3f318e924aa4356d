//! A lane: one source's share of partitions, and the row steps fused behind it.
//!
//! Plain code without a thread: `job` drives it from one, `runner test` from its own loop. A lane
//! takes rows in until it is told to `cut`; then it takes none until it knows the mark (I1), and
//! hands the epoch over: encoded rows and partials per (source, partition), in order (I2).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMillisecondArray, UInt32Array,
};
use arrow::compute;

use super::away::Waits;
use super::branch::{Output, Pass, Running};
use super::failed::Failed;
use super::graph::Graph;
use super::headers;
use super::metrics::{Flow, Metrics};
use crate::connectors::{Fetched, PartitionStart, Payload};
use crate::data::{
    Batch, DeadLetter, EncodedRows, Mark, Offset, Partition, Position, RawBatch, SourceIndex, dead_letter, meta,
    partition,
};
use crate::expr::At;
use crate::formats::{Decoder, Reject};
use crate::journal::packed::RANGE_BYTES;
use crate::plan::{Plan, SourcePlan, TimeField};
use crate::report::Failure;
use crate::time::{Millis, Watermark};

/// A partition's share of the epoch that was just cut.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionCut {
    pub from: Position,
    pub to: Position,
    pub read: u64,
    pub rejected: Vec<(Offset, Offset)>,
    pub max_time: Option<Millis>,
    pub max_timestamp: Option<Millis>,
}

/// What is known of a partition while an epoch is open.
#[derive(Debug)]
struct OpenPartition {
    from: Position,
    to: Position,
    read: u64,
    rejected: Vec<(Offset, Offset)>,
    max_time: Option<Millis>,
    max_timestamp: Option<Millis>,
    /// About where it is read now, unlike `max_time`, which one row may have set.
    reached: Option<Millis>,
}

/// Rows with the columns of their source's schema.
struct Opened<'a> {
    batch: Batch,
    /// Of each row.
    offsets: Cow<'a, [Offset]>,
    max_timestamp: Option<Millis>,
    /// Offsets of what gave no row.
    rejected: Vec<Offset>,
}

/// One source's share of partitions at work.
pub struct Lane {
    plan: Arc<Plan>,
    source: SourceIndex,
    values: Option<Box<dyn Decoder>>,
    keys: Option<Box<dyn Decoder>>,
    root: Running,
    failed: Failed,
    partitions: BTreeMap<Partition, OpenPartition>,
    watermark: Watermark,
    output: Output,
    rows: u64,
    bytes: usize,
    metrics: Arc<Metrics>,
    waits: Waits,
}

impl Lane {
    /// Opens decoders and operators. `starts` are the lane's partitions and where they stand.
    pub fn open(
        plan: &Arc<Plan>,
        graph: &Graph,
        source: usize,
        starts: &[PartitionStart],
        metrics: Arc<Metrics>,
    ) -> Result<Lane, Failure> {
        let source_plan = &plan.sources[source];
        let partitions = starts.iter().map(|start| (start.partition, OpenPartition::at(start.start.clone()))).collect();
        Ok(Lane {
            plan: plan.clone(),
            source: source as SourceIndex,
            values: source_plan.values.as_ref().map(|opener| opener.open()).transpose()?,
            keys: source_plan.keys.as_ref().map(|opener| opener.open()).transpose()?,
            root: Running::open(plan, &graph.sources[source])?,
            failed: Failed::new(Running::open(plan, &graph.failed[source])?),
            partitions,
            watermark: Watermark::NONE,
            output: Output::default(),
            rows: 0,
            bytes: 0,
            metrics,
            waits: Waits::default(),
        })
    }

    /// It is not in a replay: rows that it has taken in wait for servers.
    pub fn wait(&mut self, waits: Waits) {
        self.waits = waits;
    }

    /// What recovery knows of the time before the first row: the watermark in force, and how far
    /// each partition's event time was.
    pub fn resume(&mut self, watermark: Watermark, times: &BTreeMap<Partition, (Option<Millis>, Option<Millis>)>) {
        self.watermark = watermark;
        for (partition, (max_time, max_timestamp)) in times {
            if let Some(open) = self.partitions.get_mut(partition) {
                open.max_time = *max_time;
                open.max_timestamp = *max_timestamp;
            }
        }
    }

    /// Takes in these partitions too from now on.
    pub fn add(&mut self, starts: &[PartitionStart]) {
        let open = |start: &PartitionStart| (start.partition, OpenPartition::at(start.start.clone()));
        self.partitions.extend(starts.iter().map(open));
    }

    /// The event time about which a partition is being read.
    pub fn reached(&self, partition: Partition) -> Option<Millis> {
        self.partitions.get(&partition)?.reached
    }

    /// Rows read into the open epoch.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of input or output of the open epoch, whichever is more.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// About what the open epoch's rejected ranges take in its journal record (I13).
    pub fn ranges_bytes(&self) -> usize {
        self.partitions.values().map(|open| open.rejected.len()).sum::<usize>() * RANGE_BYTES
    }

    /// Bytes of memory that the open epoch holds.
    pub fn held(&self) -> usize {
        let rows = self.output.rows.values().flat_map(BTreeMap::values).flatten();
        let dead = self.output.dead.iter().map(DeadLetter::size).sum::<usize>();
        rows.map(EncodedRows::held).sum::<usize>() + dead + self.root.size()
    }

    /// Takes rows into the open epoch. `clock` is the epoch's (I3).
    ///
    /// # Errors
    /// The world is away (retry; then nothing was consumed: give it again), a bug, or a bad record where the plan
    /// says that the first one ends the run.
    pub fn take_in(&mut self, fetched: &Fetched, clock: Millis) -> Result<(), Failure> {
        let at = At { clock };
        let first_dead = self.output.dead.len();
        let partition = fetched.partition();
        let (count, bytes) = match &fetched.payload {
            Payload::Raw(raw) => (raw.len(), raw.bytes()),
            Payload::Rows { rows, .. } => (rows.num_rows(), rows.get_array_memory_size()),
        };
        let Opened { batch, offsets, max_timestamp, mut rejected } = match &fetched.payload {
            Payload::Raw(raw) => self.decode(raw)?,
            Payload::Rows { partition, rows, offsets, generation } => {
                self.typed(*partition, rows, offsets, *generation)?
            }
        };
        let batch = self.stamp(batch, at, &offsets, &mut rejected)?;
        if let Err(failure) = self.root.prepare(&batch) {
            // The rows come again, and with them those that were refused.
            self.output.dead.truncate(first_dead);
            self.failed.forget();
            return Err(failure);
        }
        let (max_time, reached) = (max_time(&batch), typical_time(&batch));
        let open = self.partitions.get_mut(&partition).ok_or_else(|| {
            Failure::bug("lane.foreign_partition", format!("partition {partition} belongs to another lane"))
        })?;
        open.to = fetched.next.clone();
        open.read += count as u64;
        open.max_time = open.max_time.max(max_time);
        open.reached = reached.or(open.reached);
        open.max_timestamp = open.max_timestamp.max(max_timestamp);
        add_ranges(&mut open.rejected, rejected);
        let mut pass = Pass {
            at,
            watermark: self.watermark,
            output: &mut self.output,
            waits: &self.waits,
            dead_letters_late: self.plan.dead_letter.is_some(),
            bytes_out: 0,
            waiting: BTreeMap::new(),
        };
        self.failed.run(&fetched.payload, &mut pass)?;
        self.root.run(batch, &mut pass)?;
        let bytes_out = pass.bytes_out;
        let read = Flow { rows: count as u64, bytes: bytes as u64 };
        self.output.counts.read(usize::from(self.source), read);
        self.rows += count as u64;
        self.bytes += bytes.max(bytes_out);
        let name = &self.plan.sources[usize::from(self.source)].name;
        for dead in self.output.dead[first_dead..].iter_mut().filter(|dead| dead.step.is_empty()) {
            dead.step = name.clone();
        }
        Ok(())
    }

    /// Counts records that were needed and gone (I17).
    pub fn count_missing(&self, records: u64) {
        self.metrics.expired.fetch_add(records, Relaxed);
    }

    /// Ends the open epoch's ranges. Takes nothing in until [`Lane::mark`].
    pub fn cut(&mut self) -> BTreeMap<Partition, PartitionCut> {
        self.partitions.iter_mut().map(|(partition, open)| (*partition, open.cut())).collect()
    }

    /// Hands over the epoch that was cut; the mark's watermark is in force from here on.
    pub fn mark(&mut self, mark: &Mark) -> Result<Output, Failure> {
        let mut output = std::mem::take(&mut self.output);
        self.root.take_partials(&mut output.partials)?;
        self.failed.take_partials(&mut output.partials)?;
        self.watermark = mark.watermark;
        self.rows = 0;
        self.bytes = 0;
        Ok(output)
    }

    fn source_plan(&self) -> &SourcePlan {
        &self.plan.sources[usize::from(self.source)]
    }

    /// Values and keys to columns; what does not decode becomes a dead letter.
    fn decode<'a>(&mut self, raw: &'a RawBatch) -> Result<Opened<'a>, Failure> {
        let decoder = self
            .values
            .as_mut()
            .ok_or_else(|| Failure::bug("lane.no_decoder", "a source of raw records has no decoder"))?;
        let decoded = decoder.decode(&raw.values)?;
        let mut rejects = decoded.rejects;
        let mut rows = decoded.rows;
        let mut keys = None;
        if let Some(decoder) = self.keys.as_mut() {
            let (key, bad) = decode_keys(decoder.as_mut(), &raw.keys)?;
            let kept: Vec<bool> = kept_flags(raw.len(), &rejects);
            let pass: Vec<bool> =
                kept.iter().enumerate().filter(|(_, kept)| **kept).map(|(i, _)| !has_index(&bad, i)).collect();
            rows = compute::filter_record_batch(&rows, &BooleanArray::from(pass)).map_err(arrow_bug)?;
            rejects.extend(bad.into_iter().filter(|reject| kept[reject.index]));
            rejects.sort_by_key(|reject| reject.index);
            keys = Some(key);
        }
        for Reject { index, code, reason } in &rejects {
            if !self.failed.takes(raw.offsets[*index], reason) {
                self.output.dead.push(raw.dead_letter(*index, *code, reason.clone()));
            }
        }
        let rejected = rejects.iter().map(|reject| raw.offsets[reject.index]).collect();
        let max_timestamp = raw.timestamps.as_ref().and_then(|times| times.iter().copied().max());
        let kept = (!rejects.is_empty()).then(|| kept_indexes(raw.len(), &rejects));
        let batch = self.with_metadata(rows, raw, keys, kept.as_ref())?;
        let offsets = match kept {
            None => Cow::Borrowed(&raw.offsets[..]),
            Some(kept) => kept.values().iter().map(|index| raw.offsets[*index as usize]).collect(),
        };
        Ok(Opened { batch, offsets, max_timestamp, rejected })
    }

    /// The columns of the source's schema: decoded ones, then metadata.
    fn with_metadata(
        &self,
        rows: RecordBatch,
        raw: &RawBatch,
        keys: Option<ArrayRef>,
        kept: Option<&UInt32Array>,
    ) -> Result<Batch, Failure> {
        let take = |array: ArrayRef| match kept {
            Some(kept) => compute::take(&array, kept, None).map_err(arrow_bug),
            None => Ok(array),
        };
        let count = raw.len();
        let schema = &self.source_plan().schema;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            if !meta::is_meta(field.name()) {
                let column = rows.column_by_name(field.name()).cloned();
                columns.push(column.ok_or_else(|| missing_column(field.name()))?);
                continue;
            }
            let column: ArrayRef = match field.name().as_str() {
                meta::TOPIC => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&*raw.topic, count))),
                meta::PARTITION => Arc::new(Int32Array::from_value(partition::number(raw.partition), count)),
                meta::OFFSET => Arc::new(Int64Array::from(raw.offsets.clone())),
                // A generator's, where a test gives its rows as records.
                meta::GENERATION => Arc::new(Int64Array::from_value(0, count)),
                meta::TIMESTAMP | meta::TIME => Arc::new(timestamps(raw)),
                meta::KEY => match &keys {
                    Some(keys) => keys.clone(),
                    None => Arc::new(raw.keys.clone()),
                },
                meta::KEY_BYTES => Arc::new(raw.keys.clone()),
                meta::VALUE_BYTES => Arc::new(raw.values.clone()),
                meta::HEADERS => headers::map(raw, field)?,
                meta::HEADERS_LIST => headers::list(raw, field)?,
                other => return Err(missing_column(other)),
            };
            columns.push(take(column)?);
        }
        let rows_left = kept.map_or(count, |kept| kept.len());
        let options = RecordBatchOptions::new().with_row_count(Some(rows_left));
        let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(arrow_bug)?;
        Ok(Batch { source: self.source, partition: raw.partition, rows })
    }

    /// Rows of a generator: typed already, without key, headers or timestamp.
    fn typed<'a>(
        &self,
        partition: Partition,
        rows: &RecordBatch,
        offsets: &'a [Offset],
        generation: i64,
    ) -> Result<Opened<'a>, Failure> {
        let count = rows.num_rows();
        let schema = &self.source_plan().schema;
        let column = |field: &arrow::datatypes::FieldRef| -> Result<ArrayRef, Failure> {
            Ok(match field.name().as_str() {
                meta::PARTITION => Arc::new(Int32Array::from_value(partition, count)),
                meta::OFFSET => Arc::new(Int64Array::from(offsets.to_vec())),
                meta::GENERATION => Arc::new(Int64Array::from_value(generation, count)),
                name if meta::is_meta(name) && field.is_nullable() => {
                    arrow::array::new_null_array(field.data_type(), count)
                }
                meta::TOPIC => {
                    let name = &self.source_plan().name;
                    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, count)))
                }
                meta::HEADERS => headers::none(field, count),
                meta::HEADERS_LIST => headers::none(field, count),
                name => rows.column_by_name(name).cloned().ok_or_else(|| missing_column(name))?,
            })
        };
        let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(arrow_bug)?;
        let batch = Batch { source: self.source, partition, rows };
        Ok(Opened { batch, offsets: Cow::Borrowed(offsets), max_timestamp: None, rejected: Vec::new() })
    }

    /// Gives every row its event time; I7: null times and times too far ahead are dead letters.
    /// `offsets` has one per row: the batch itself need not have them as a column.
    fn stamp(
        &mut self,
        batch: Batch,
        at: At,
        offsets: &[Offset],
        rejected: &mut Vec<Offset>,
    ) -> Result<Batch, Failure> {
        let Some((index, _)) = batch.rows.schema_ref().column_with_name(meta::TIME) else { return Ok(batch) };
        let time = &self.source_plan().time;
        let count = batch.rows.num_rows();
        let (times, mut errors) = match &time.field {
            TimeField::Timestamp => (batch.rows.column(index).clone(), Vec::new()),
            TimeField::Clock => {
                let times = TimestampMillisecondArray::from_value(at.clock, count).with_timezone("UTC");
                (Arc::new(times) as ArrayRef, Vec::new())
            }
            TimeField::Expr(expr) => expr.evaluate(&batch.rows, at)?,
        };
        let times = compute::cast(&times, &meta::time_type()).map_err(arrow_bug)?;
        let values = times
            .as_any()
            .downcast_ref::<TimestampMillisecondArray>()
            .ok_or_else(|| Failure::bug("lane.time_type", "an event time is not a timestamp"))?;
        let limit = at.clock.saturating_add(time.max_ahead_ms);
        let timestamps = match time.not_after_timestamp {
            true => Some(millis(&batch.rows, meta::TIMESTAMP).ok_or_else(|| missing_column(meta::TIMESTAMP))?.clone()),
            false => None,
        };
        if timestamps.is_none() && values.null_count() == 0 && compute::max(values).is_none_or(|newest| newest <= limit)
        {
            return with_times(batch, index, times.clone());
        }
        errors.reverse();
        let mut pass = Vec::with_capacity(count);
        let mut bad: Vec<(usize, &'static str, String)> = Vec::new();
        for row in 0..count {
            if values.is_null(row) {
                let failed = errors.last().is_some_and(|error| error.row == row).then(|| errors.pop()).flatten();
                bad.push((row, "time.null", failed.map_or("the event time is null".into(), |error| error.message)));
            } else if values.value(row) > limit {
                let ahead = values.value(row).saturating_sub(at.clock);
                bad.push((row, "time.future", format!("the event time is {} ms ahead of the clock", ahead)));
            } else if let Some(timestamps) = timestamps.as_ref().filter(|all| all.value(row) < values.value(row)) {
                let after = values.value(row).saturating_sub(timestamps.value(row));
                let reason = format!("the event time is {after} ms after the record's timestamp");
                bad.push((row, "time.after_timestamp", reason));
            }
            pass.push(bad.last().is_none_or(|(last, ..)| *last != row));
        }
        let batch = with_times(batch, index, times.clone())?;
        for (row, code, reason) in bad {
            rejected.push(offsets[row]);
            if self.failed.takes(offsets[row], &reason) {
                continue;
            }
            self.output.dead.push(DeadLetter { offset: offsets[row], ..dead_letter(&batch, row, code, reason) });
        }
        let rows = compute::filter_record_batch(&batch.rows, &BooleanArray::from(pass)).map_err(arrow_bug)?;
        Ok(Batch { rows, ..batch })
    }
}

impl OpenPartition {
    fn at(position: Position) -> Self {
        OpenPartition {
            from: position.clone(),
            to: position,
            read: 0,
            rejected: Vec::new(),
            max_time: None,
            max_timestamp: None,
            reached: None,
        }
    }

    fn cut(&mut self) -> PartitionCut {
        let from = std::mem::replace(&mut self.from, self.to.clone());
        PartitionCut {
            from,
            to: self.to.clone(),
            read: std::mem::take(&mut self.read),
            rejected: std::mem::take(&mut self.rejected),
            max_time: self.max_time,
            max_timestamp: self.max_timestamp,
        }
    }
}

/// Decodes keys; records without a key have a null `_key`, not a reject.
fn decode_keys(decoder: &mut dyn Decoder, keys: &BinaryArray) -> Result<(ArrayRef, Vec<Reject>), Failure> {
    let decoded = decoder.decode(keys)?;
    let bad: Vec<Reject> = decoded.rejects.into_iter().filter(|reject| !keys.is_null(reject.index)).collect();
    // Null keys were left out by the decoder: spread its rows over all records again.
    let mut next = 0u32;
    let spread: UInt32Array = (0..keys.len())
        .map(|index| {
            let decodes = !keys.is_null(index) && !has_index(&bad, index);
            decodes.then(|| {
                next += 1;
                next - 1
            })
        })
        .collect();
    let column = compute::take(decoded.rows.column(0), &spread, None).map_err(arrow_bug)?;
    Ok((column, bad))
}

fn has_index(rejects: &[Reject], index: usize) -> bool {
    rejects.binary_search_by_key(&index, |reject| reject.index).is_ok()
}

fn kept_flags(count: usize, rejects: &[Reject]) -> Vec<bool> {
    let mut kept = vec![true; count];
    for reject in rejects {
        kept[reject.index] = false;
    }
    kept
}

fn kept_indexes(count: usize, rejects: &[Reject]) -> UInt32Array {
    let kept = kept_flags(count, rejects);
    (0..count as u32).filter(|index| kept[*index as usize]).collect::<Vec<_>>().into()
}

fn timestamps(raw: &RawBatch) -> TimestampMillisecondArray {
    match &raw.timestamps {
        Some(times) => TimestampMillisecondArray::from(times.clone()).with_timezone("UTC"),
        None => TimestampMillisecondArray::from(vec![None; raw.len()]).with_timezone("UTC"),
    }
}

/// The batch with these event times in column `index`.
fn with_times(batch: Batch, index: usize, times: ArrayRef) -> Result<Batch, Failure> {
    let mut columns = batch.rows.columns().to_vec();
    columns[index] = times;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(batch.rows.schema(), columns, &options).map_err(arrow_bug)?;
    Ok(Batch { rows, ..batch })
}

fn max_time(batch: &Batch) -> Option<Millis> {
    compute::max(millis(&batch.rows, meta::TIME)?)
}

fn millis<'a>(rows: &'a RecordBatch, name: &str) -> Option<&'a TimestampMillisecondArray> {
    rows.column_by_name(name)?.as_any().downcast_ref()
}

/// The median time of a few rows: one that is far off, early or late, must hold nobody back and stop nobody (I6).
fn typical_time(batch: &Batch) -> Option<Millis> {
    const LOOKED_AT: usize = 9;
    let times = millis(&batch.rows, meta::TIME)?;
    let step = times.len().div_ceil(LOOKED_AT).max(1);
    let mut some: Vec<Millis> = (0..times.len()).step_by(step).map(|row| times.value(row)).collect();
    some.sort_unstable();
    some.get(some.len() / 2).copied()
}

/// Adds single offsets to half-open ranges; offsets grow.
fn add_ranges(ranges: &mut Vec<(Offset, Offset)>, mut offsets: Vec<Offset>) {
    offsets.sort_unstable();
    offsets.dedup();
    for offset in offsets {
        match ranges.last_mut() {
            Some((_, end)) if *end == offset => *end += 1,
            _ => ranges.push((offset, offset + 1)),
        }
    }
}

fn missing_column(name: &str) -> Failure {
    Failure::bug("lane.missing_column", format!("the plan wants column `{name}`, which the source does not give"))
}

fn arrow_bug(error: arrow::error::ArrowError) -> Failure {
    Failure::bug("lane.arrow", "rows do not fit their schema").because(error)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema};

    use super::*;

    /// One row far ahead stopped its partition until all its other rows were late.
    #[test]
    fn i6_one_time_that_is_far_off_says_nothing_about_where_a_partition_is_read() {
        let schema = Arc::new(Schema::new(vec![Field::new(meta::TIME, meta::time_type(), true)]));
        let reached = |times: Vec<Millis>| {
            let times = TimestampMillisecondArray::from(times).with_timezone("UTC");
            let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(times)]).unwrap();
            typical_time(&Batch { source: 0, partition: 0, rows })
        };
        assert_eq!((reached(vec![]), reached(vec![5])), (None, Some(5)));
        for (row, far) in [(0, Millis::MAX), (0, 0), (500, Millis::MAX), (999, Millis::MAX), (999, 0)] {
            let mut times: Vec<Millis> = (10_000..11_000).collect();
            times[row] = far;
            let reached = reached(times).unwrap();
            assert!((10_300..10_700).contains(&reached), "{reached}, where row {row} is at {far}");
        }
    }
}
