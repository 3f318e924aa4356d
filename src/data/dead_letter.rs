//! A decoded row, turned back into the record that it came from.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};

use super::{Batch, DeadLetter, NO_SOURCE, Partition, meta};

/// Offset of a dead letter whose row came from no single record (behind an aggregate).
const NO_OFFSET: i64 = -1;

/// Row `row` of a batch as a dead letter: built from those metadata columns that the batch carries.
///
/// Without `_offset` (rows of an aggregate) the offset is −1.
pub fn dead_letter(
    batch: &Batch,
    row: usize,
    code: impl Into<Cow<'static, str>>,
    reason: impl Into<String>,
) -> DeadLetter {
    let rows = &batch.rows;
    DeadLetter {
        source: batch.source,
        topic: topic(rows, row).unwrap_or_else(|| Arc::from("")),
        partition: partition(batch, row),
        offset: offset(rows, row).unwrap_or(NO_OFFSET),
        timestamp: timestamp(rows, row),
        key: bytes(rows, meta::KEY_BYTES, row),
        value: bytes(rows, meta::VALUE_BYTES, row),
        headers: headers(rows, row).unwrap_or_default(),
        step: String::new(),
        code: code.into(),
        reason: reason.into(),
        connect: None,
    }
}

fn topic(rows: &RecordBatch, row: usize) -> Option<Arc<str>> {
    let column = rows.column_by_name(meta::TOPIC)?.as_string_opt::<i32>()?;
    column.is_valid(row).then(|| Arc::from(column.value(row)))
}

/// Rows that a stateful step has let out come from any partition.
fn partition(batch: &Batch, row: usize) -> Partition {
    let column = || batch.rows.column_by_name(meta::PARTITION)?.as_primitive_opt::<Int32Type>();
    match (batch.source, column()) {
        (NO_SOURCE, Some(column)) if column.is_valid(row) => column.value(row),
        _ => batch.partition,
    }
}

fn offset(rows: &RecordBatch, row: usize) -> Option<i64> {
    let column = rows.column_by_name(meta::OFFSET)?.as_primitive_opt::<Int64Type>()?;
    column.is_valid(row).then(|| column.value(row))
}

fn timestamp(rows: &RecordBatch, row: usize) -> Option<i64> {
    let column = rows.column_by_name(meta::TIMESTAMP)?.as_primitive_opt::<TimestampMillisecondType>()?;
    column.is_valid(row).then(|| column.value(row))
}

fn bytes(rows: &RecordBatch, name: &str, row: usize) -> Option<Vec<u8>> {
    let column = rows.column_by_name(name)?.as_binary_opt::<i32>()?;
    column.is_valid(row).then(|| column.value(row).to_vec())
}

fn headers(rows: &RecordBatch, row: usize) -> Option<Vec<(String, Option<Vec<u8>>)>> {
    let list = rows.column_by_name(meta::HEADERS_LIST)?.as_list_opt::<i32>()?;
    if list.is_null(row) {
        return None;
    }
    let entries = list.value(row);
    let entries: &StructArray = entries.as_struct_opt()?;
    let names = entries.column(0).as_string_opt::<i32>()?;
    let values = entries.column(1).as_binary_opt::<i32>()?;
    let header = |at: usize| (names.value(at).to_owned(), values.is_valid(at).then(|| values.value(at).to_vec()));
    Some((0..entries.len()).map(header).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, BinaryArray, Int64Array, StringArray, TimestampMillisecondArray};

    use super::*;

    #[test]
    fn metadata_columns_become_the_record_again() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("uid", Arc::new(StringArray::from(vec!["a", "b"]))),
            (meta::TOPIC, Arc::new(StringArray::from(vec!["ratings", "ratings"]))),
            (meta::OFFSET, Arc::new(Int64Array::from(vec![7, 8]))),
            (meta::TIMESTAMP, Arc::new(TimestampMillisecondArray::from(vec![1, 2]).with_timezone("UTC"))),
            (meta::VALUE_BYTES, Arc::new(BinaryArray::from(vec![&b"va"[..], &b"vb"[..]]))),
        ];
        let batch = Batch { source: 3, partition: 5, rows: RecordBatch::try_from_iter(columns).unwrap() };
        let dead = dead_letter(&batch, 1, "expr.failed", "divide by zero");
        assert_eq!((dead.source, dead.partition, dead.offset, dead.timestamp), (3, 5, 8, Some(2)));
        assert_eq!((&*dead.topic, dead.key, dead.value), ("ratings", None, Some(b"vb".to_vec())));
        assert_eq!((dead.code.as_ref(), dead.reason.as_str()), ("expr.failed", "divide by zero"));
    }

    #[test]
    fn a_row_behind_an_aggregate_has_no_offset() {
        let columns: Vec<(&str, ArrayRef)> = vec![("cnt", Arc::new(Int64Array::from(vec![7])))];
        let batch = Batch { source: 0, partition: 2, rows: RecordBatch::try_from_iter(columns).unwrap() };
        let dead = dead_letter(&batch, 0, "check.small", "no");
        assert_eq!((dead.partition, dead.offset, &*dead.topic), (2, NO_OFFSET, ""));
    }
}
