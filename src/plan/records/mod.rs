//! Rows become records: key, value, timestamp, headers, as a sink's spec says.
//!
//! A [`RecordEncoding`](super::RecordEncoding) is inert and shared; each lane, and the trunk, opens
//! its own encoder. Every row that is written gives exactly one record, in the order of the rows (I2);
//! a row that cannot be written becomes a dead letter and touches no neighbour (I7).
//!
//! [`kafka`] makes Kafka records, [`connect`] those of Kafka Connect's converters, [`lines`] lines of files and consoles, [`dead`] dead letters, [`passed_on`] bytes that need not
//! be encoded again, [`template`] headers of text with `${EXPR}` in it. What bytes a value has is the business of `formats`.

pub mod connect;
pub mod dead;
pub mod kafka;
pub mod lines;
pub mod passed_on;
pub mod template;

use std::borrow::Cow;
use std::ops::Range;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Int8Type, TimeUnit, TimestampMillisecondType};

use super::Mode;
use crate::data::{Batch, meta};
use crate::report::Failure;

/// The rows of a batch that a sink of this mode writes, and which of them are deletions.
struct Written<'a> {
    batch: Cow<'a, Batch>,
    /// One entry per row; `None`: no row is a deletion.
    deleted: Option<Vec<bool>>,
}

impl Written<'_> {
    fn is_deleted(&self, row: usize) -> bool {
        self.deleted.as_ref().is_some_and(|deleted| deleted[row])
    }
}

/// Picks the rows that `mode` writes. Rows without `__change` are final and all written.
fn written(batch: &Batch, mode: Mode) -> Result<Written<'_>, Failure> {
    let Some(column) = batch.rows.column_by_name(meta::CHANGE) else {
        return Ok(Written { batch: Cow::Borrowed(batch), deleted: None });
    };
    let changes = column.as_primitive::<Int8Type>().values();
    let is_new = |change: i8| change == meta::Change::Insert as i8 || change == meta::Change::UpdateAfter as i8;
    let is_gone = |change: i8| mode == Mode::Upsert && change == meta::Change::Delete as i8;
    let keep: BooleanArray = changes.iter().map(|change| Some(is_new(*change) || is_gone(*change))).collect();
    let rows = filter_record_batch(&batch.rows, &keep).map_err(arrow_bug)?;
    let kept = changes.iter().copied().filter(|change| is_new(*change) || is_gone(*change));
    Ok(Written { deleted: Some(kept.map(is_gone).collect()), batch: Cow::Owned(Batch { rows, ..batch.clone() }) })
}

/// The columns of `rows` with these names, in this order. The plan has checked that they are there.
fn project(rows: &RecordBatch, columns: &[String]) -> Result<RecordBatch, Failure> {
    let schema = rows.schema_ref();
    let indexes: Result<Vec<usize>, _> = columns.iter().map(|name| schema.index_of(name)).collect();
    rows.project(&indexes.map_err(arrow_bug)?).map_err(arrow_bug)
}

/// Milliseconds of a timestamp column, whatever its unit; null where it is.
fn millis(
    rows: &RecordBatch,
    name: &str,
) -> Result<Option<arrow::array::PrimitiveArray<TimestampMillisecondType>>, Failure> {
    let Some(column) = rows.column_by_name(name) else { return Ok(None) };
    let zone = match column.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let cast = arrow::compute::cast(column, &DataType::Timestamp(TimeUnit::Millisecond, zone)).map_err(arrow_bug)?;
    Ok(Some(cast.as_primitive::<TimestampMillisecondType>().clone()))
}

/// Copies the bytes of a column into the arena; `None` where they are null.
fn copy_bytes(rows: &RecordBatch, column: &str, arena: &mut Vec<u8>) -> Result<Vec<Option<Range<u32>>>, Failure> {
    let index = rows.schema_ref().index_of(column).map_err(arrow_bug)?;
    let bytes = rows.column(index).as_binary::<i32>();
    Ok(bytes.iter().map(|value| value.map(|value| put(value, arena))).collect())
}

/// Appends bytes to the arena and says where they stand.
fn put(bytes: &[u8], arena: &mut Vec<u8>) -> Range<u32> {
    let start = arena.len() as u32;
    arena.extend_from_slice(bytes);
    start..arena.len() as u32
}

/// The plan made the schema and the batch follows it, so what Arrow refuses is our own mistake.
fn arrow_bug(error: arrow::error::ArrowError) -> Failure {
    Failure::bug("sink.rows", "a batch does not have the columns of the plan").because(error)
}
