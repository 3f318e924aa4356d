//! Rows become records: key, value, timestamp, headers, as a sink's spec says.
//!
//! A [`RecordEncoding`](super::RecordEncoding) is inert and shared; each lane, and the trunk, opens
//! its own encoder. Every row that is written gives exactly one record, in the order of the rows (I2);
//! a row that cannot be written becomes a dead letter and touches no neighbour (I7).
//!
//! [`kafka`] makes Kafka records, [`lines`] lines of files and consoles, [`dead`] dead letters,
//! [`template`] headers of text with `${EXPR}` in it. What bytes a value has is the business of `formats`.

pub mod dead;
pub mod kafka;
pub mod lines;
pub mod template;

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Int8Type, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType};

use super::Mode;
use crate::data::{Batch, DeadLetter, meta};
use crate::report::Failure;
use crate::time::Millis;

/// The rows of a batch that a sink of this mode writes, and which of them are deletions.
struct Written<'a> {
    rows: Cow<'a, RecordBatch>,
    /// One entry per row; `None`: no row is a deletion.
    deleted: Option<Vec<bool>>,
}

impl Written<'_> {
    fn is_deleted(&self, row: usize) -> bool {
        self.deleted.as_ref().is_some_and(|deleted| deleted[row])
    }
}

/// Picks the rows that `mode` writes. Rows without `__change` are final and all written.
fn written(rows: &RecordBatch, mode: Mode) -> Result<Written<'_>, Failure> {
    let Some(column) = rows.column_by_name(meta::CHANGE) else {
        return Ok(Written { rows: Cow::Borrowed(rows), deleted: None });
    };
    let changes = column.as_primitive::<Int8Type>().values();
    let is_new = |change: i8| change == meta::Change::Insert as i8 || change == meta::Change::UpdateAfter as i8;
    let is_gone = |change: i8| mode == Mode::Upsert && change == meta::Change::Delete as i8;
    let keep: BooleanArray = changes.iter().map(|change| Some(is_new(*change) || is_gone(*change))).collect();
    let kept = filter_record_batch(rows, &keep).map_err(arrow_bug)?;
    let deleted = changes.iter().filter(|change| is_new(**change) || is_gone(**change)).map(|c| is_gone(*c)).collect();
    Ok(Written { rows: Cow::Owned(kept), deleted: Some(deleted) })
}

/// The columns of `rows` with these names, in this order. The plan has checked that they are there.
fn project(rows: &RecordBatch, columns: &[String]) -> Result<RecordBatch, Failure> {
    let schema = rows.schema_ref();
    let indexes: Result<Vec<usize>, _> = columns.iter().map(|name| schema.index_of(name)).collect();
    rows.project(&indexes.map_err(arrow_bug)?).map_err(arrow_bug)
}

/// Milliseconds of a timestamp column, whatever its unit; null where it is.
fn millis(rows: &RecordBatch, name: &str) -> Result<Option<arrow::array::PrimitiveArray<TimestampMillisecondType>>, Failure> {
    let Some(column) = rows.column_by_name(name) else { return Ok(None) };
    let zone = match column.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let cast = arrow::compute::cast(column, &DataType::Timestamp(TimeUnit::Millisecond, zone)).map_err(arrow_bug)?;
    Ok(Some(cast.as_primitive::<TimestampMillisecondType>().clone()))
}

/// Row `row` of `batch` as a dead letter, with as much of its origin as the batch still knows.
fn dead_row(batch: &Batch, rows: &RecordBatch, row: usize, code: &'static str, reason: String) -> DeadLetter {
    let column = |name: &str| rows.column_by_name(name).filter(|column| !column.is_null(row));
    let bytes = |name: &str| {
        column(name).filter(|c| c.data_type() == &DataType::Binary).map(|c| c.as_binary::<i32>().value(row).to_vec())
    };
    let text = |name: &str| column(name).and_then(|c| c.as_string_opt::<i32>()).map(|c| Arc::from(c.value(row)));
    let offset = column(meta::OFFSET).map(|c| c.as_primitive::<Int64Type>().value(row));
    let partition = column(meta::PARTITION).map(|c| c.as_primitive::<Int32Type>().value(row));
    let time: Option<Millis> = [meta::TIMESTAMP, meta::TIME]
        .iter()
        .find_map(|name| column(name))
        .map(|c| c.as_primitive::<TimestampMillisecondType>().value(row));
    DeadLetter {
        source: batch.source,
        topic: text(meta::TOPIC).unwrap_or_else(|| Arc::from("")),
        partition: partition.unwrap_or(batch.partition),
        // An aggregate's row has no offset of its own.
        offset: offset.unwrap_or(-1),
        timestamp: time,
        key: bytes(meta::KEY_BYTES),
        value: bytes(meta::VALUE_BYTES),
        headers: column(meta::HEADERS_LIST).map(|c| kafka::headers_of(c.as_list::<i32>(), row)).unwrap_or_default(),
        step: String::new(),
        code,
        reason,
    }
}

/// The plan made the schema and the batch follows it, so what Arrow refuses is our own mistake.
fn arrow_bug(error: arrow::error::ArrowError) -> Failure {
    Failure::bug("sink.rows", "a batch does not have the columns of the plan").because(error)
}
