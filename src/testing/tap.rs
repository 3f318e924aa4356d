//! Sees what a sink is given: the real encoder runs, and the rows are kept as JSON.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int8Type;
use arrow::json::writer::{LineDelimited, WriterBuilder};

use crate::data::meta::{self, Change};
use crate::data::{Batch, DeadLetter, EncodedRecord, EncodedRows, partition};
use crate::plan::{Mode, RecordEncoder, RecordEncoding};
use crate::report::Failure;

/// Marks a row that an upsert sink deletes.
pub const DELETED: &str = "_deleted";

/// Wraps a sink's encoding; without one it taps a step or port.
#[derive(Debug)]
pub struct Tap {
    pub inner: Option<Arc<dyn RecordEncoding>>,
    pub mode: Mode,
}

impl RecordEncoding for Tap {
    fn open(&self) -> Result<Box<dyn RecordEncoder>, Failure> {
        let inner = self.inner.as_ref().map(|inner| inner.open()).transpose()?;
        let shows_records = self.inner.as_ref().is_some_and(|inner| inner.is_shown_by_records());
        Ok(Box::new(TapEncoder { inner, mode: self.mode, shows_records }))
    }
}

struct TapEncoder {
    inner: Option<Box<dyn RecordEncoder>>,
    mode: Mode,
    /// What is written is other than the rows: it is shown itself, as `_value`.
    shows_records: bool,
}

impl RecordEncoder for TapEncoder {
    fn encode(&mut self, batch: &Batch, dead: &mut Vec<DeadLetter>) -> Result<EncodedRows, Failure> {
        let before = dead.len();
        let records = self.inner.as_mut().map(|inner| inner.encode(batch, dead)).transpose()?;
        if let (true, Some(records)) = (self.shows_records, &records) {
            return Ok(encoded(records.records.iter().map(|record| {
                let mut row =
                    serde_json::json!({ "_value": record.value.as_ref().map(|value| text(records.bytes(value))) });
                add_record(&mut row, record, records);
                row
            })));
        }
        let refused: Vec<i64> = dead[before..].iter().map(|dead| dead.offset).collect();
        let mut rows = rows(&batch.rows, self.mode, &refused)?;
        // Each row that is written is one record; of what a sink only counts there is none to show.
        if let Some(records) = records.filter(|records| records.len() == rows.len()) {
            rows.iter_mut().zip(&records.records).for_each(|(row, record)| add_record(row, record, &records));
        }
        Ok(encoded(rows.into_iter()))
    }

    fn encode_dead(&mut self, dead: &[DeadLetter]) -> Result<EncodedRows, Failure> {
        if let Some(inner) = &mut self.inner {
            inner.encode_dead(dead)?;
        }
        let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| text(bytes));
        let row = |dead: &DeadLetter| {
            serde_json::json!({
                "_topic": &*dead.topic, "_partition": partition::number(dead.partition), "_offset": dead.offset,
                "_key": text(&dead.key), "_value": text(&dead.value), "_code": dead.code, "_reason": dead.reason,
                "_step": dead.step,
            })
        };
        Ok(encoded(dead.iter().map(row)))
    }
}

/// What a record has beside its value: its key, timestamp (in seconds) and headers.
fn add_record(row: &mut serde_json::Value, record: &EncodedRecord, rows: &EncodedRows) {
    let shown = |range: &Option<Range<u32>>| range.as_ref().map(|range| text(rows.bytes(range)));
    row[meta::KEY] = shown(&record.key).into();
    row[meta::TIMESTAMP] = match record.timestamp {
        Some(ms) if ms % 1_000 == 0 => (ms / 1_000).into(),
        Some(ms) => (ms as f64 / 1_000.0).into(),
        None => serde_json::Value::Null,
    };
    let headers = &rows.headers[record.headers.start as usize..record.headers.end as usize];
    let header = |(name, value): &(Range<u32>, Option<Range<u32>>)| (text(rows.bytes(name)), shown(value).into());
    row[meta::HEADERS] = serde_json::Value::Object(headers.iter().map(header).collect());
}

/// Bytes as a test writes them: text, or `0x…` where they are none.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

/// One JSON object per row that the mode writes.
fn rows(rows: &RecordBatch, mode: Mode, refused: &[i64]) -> Result<Vec<serde_json::Value>, Failure> {
    let changes = rows.column_by_name(meta::CHANGE).map(|column| column.as_primitive::<Int8Type>().clone());
    let offsets = rows.column_by_name(meta::OFFSET).and_then(|c| c.as_primitive_opt::<arrow::datatypes::Int64Type>());
    let shown: Vec<usize> =
        (0..rows.num_columns()).filter(|at| !rows.schema_ref().field(*at).name().starts_with("__")).collect();
    let bug = |error| Failure::bug("testing.tap", "rows cannot be shown as JSON").because(error);
    let shown = rows.project(&shown).map_err(bug)?;
    let mut text = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut text);
    writer.write(&shown).and_then(|()| writer.finish()).map_err(bug)?;
    let parsed = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(serde_json::from_slice);
    let parsed: Result<Vec<serde_json::Value>, _> = parsed.collect();
    let parsed = parsed.map_err(|error| Failure::bug("testing.tap", "rows are no JSON").because(error))?;
    let written = parsed.into_iter().enumerate().filter_map(|(row, mut value)| {
        if offsets.is_some_and(|offsets| refused.contains(&offsets.value(row))) {
            return None;
        }
        let change = changes.as_ref().map_or(Change::Insert as i8, |changes| changes.value(row));
        if change == Change::UpdateBefore as i8 {
            return None;
        }
        if change == Change::Delete as i8 {
            if mode != Mode::Upsert {
                return None;
            }
            value[DELETED] = true.into();
        }
        Some(value)
    });
    Ok(written.collect())
}

fn encoded(values: impl Iterator<Item = serde_json::Value>) -> EncodedRows {
    let mut out = EncodedRows::default();
    for value in values {
        let value = out.put(value.to_string().as_bytes());
        out.records.push(EncodedRecord { key: None, value: Some(value), timestamp: None, headers: 0..0 });
    }
    out
}
