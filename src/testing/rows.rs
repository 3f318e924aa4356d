//! Rows as a test writes them: to records of a source, and to expected values.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use chrono::{DateTime, SecondsFormat};
use serde_json::Value as Json;

use crate::connectors::memory::MemoryRecord;
use crate::data::fields::UNIT;
use crate::data::{Partition, meta, partition};
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{Entry, Node, Value};
use crate::time::Millis;

/// The raw value of a record, instead of columns.
pub const RAW_VALUE: &str = "_value";

/// A row of `given` as a record of its source, whose values are JSON. Metadata may be set as columns:
/// `_topic` (where the source has several), `_partition`, `_timestamp`, `_key`, `_headers`, or `_value` for the raw
/// bytes.
pub fn record(
    row: &Node,
    schema: &Schema,
    topics: &[Arc<str>],
    now: Millis,
    out: &mut Diagnostics,
) -> Option<(Partition, MemoryRecord)> {
    let Some(entries) = row.entries() else {
        out.push(Diagnostic::error("test.row", "a row is a map of columns").at(&row.place));
        return None;
    };
    let mut record = MemoryRecord { timestamp: Some(now), ..MemoryRecord::default() };
    let (mut topic, mut number) = (0, 0);
    let mut object = serde_json::Map::new();
    let mut raw = None;
    for Entry { key, key_place, value } in entries {
        match (key.as_str(), &value.value) {
            (meta::PARTITION, Value::Int(given)) => number = *given as i32,
            (meta::TOPIC, Value::String(name)) if topics.iter().any(|topic| **topic == **name) => {
                topic = topics.iter().position(|topic| **topic == **name).unwrap_or_default();
            }
            (meta::TIMESTAMP, _) => record.timestamp = millis(value),
            (meta::KEY, _) => record.key = bytes(value),
            (RAW_VALUE, _) => raw = Some(bytes(value)),
            (meta::HEADERS, Value::Map(headers)) => {
                record.headers = headers.iter().map(|header| (header.key.clone(), bytes(&header.value))).collect();
            }
            (name, _) => match schema.field_with_name(name) {
                Ok(field) if !meta::is_meta(name) => {
                    object.insert(name.to_owned(), given_value(value, field));
                }
                _ => {
                    let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                    out.push(
                        Diagnostic::error("test.unknown_column", format!("the source has no column `{name}`"))
                            .at(key_place)
                            .note(format!("it has: {}", known.join(", ")))
                            .did_you_mean(name, known.iter().copied()),
                    );
                }
            },
        }
    }
    record.value = raw.unwrap_or_else(|| Some(Json::Object(object).to_string().into_bytes()));
    Some((partition::at(topic, number), record))
}

fn bytes(value: &Node) -> Option<Vec<u8>> {
    match &value.value {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        _ => Some(value.to_json().to_string().into_bytes()),
    }
}

/// A time as a test writes it: RFC 3339, or a bare number of seconds.
fn millis(value: &Node) -> Option<Millis> {
    match &value.value {
        Value::Int(seconds) => Some(seconds * 1_000),
        Value::Float(seconds) => Some((seconds * 1_000.0).round() as Millis),
        Value::String(text) => DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis()),
        _ => None,
    }
}

/// As [`millis`] of a bare number, but finer.
fn micros(value: &Node) -> Option<i64> {
    match &value.value {
        Value::Int(seconds) => Some(seconds * 1_000_000),
        Value::Float(seconds) => Some((seconds * 1_000_000.0).round() as i64),
        _ => None,
    }
}

/// A column's value in the JSON of its source: bare numbers for times are seconds.
fn given_value(value: &Node, field: &Field) -> Json {
    let DataType::Timestamp(..) = field.data_type() else { return value.to_json() };
    let (Value::Int(_) | Value::Float(_)) = value.value else { return value.to_json() };
    let Some(ms) = millis(value) else { return value.to_json() };
    match field.metadata().get(UNIT).map(String::as_str) {
        Some("s") if ms % 1_000 == 0 => (ms / 1_000).into(),
        Some("s") => (ms as f64 / 1_000.0).into(),
        Some("us") => micros(value).unwrap_or(ms * 1_000).into(),
        Some(_) => ms.into(),
        None => rfc3339(ms).into(),
    }
}

fn rfc3339(ms: Millis) -> String {
    DateTime::from_timestamp_millis(ms)
        .map_or_else(|| ms.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// An actual value as a test would write it, so that expected and actual can be compared and shown:
/// times become seconds.
pub fn shown_value(value: &Json, field: Option<&Field>) -> Json {
    let (Some(DataType::Timestamp(unit, _)), Json::String(text)) = (field.map(Field::data_type), value) else {
        return value.clone();
    };
    let parsed = DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_rfc3339(&format!("{text}Z")));
    let Ok(time) = parsed else { return value.clone() };
    let micros = time.timestamp_micros();
    if micros % 1_000_000 == 0 {
        (micros / 1_000_000).into()
    } else if matches!(unit, TimeUnit::Second | TimeUnit::Millisecond) {
        ((micros / 1_000) as f64 / 1_000.0).into()
    } else {
        (micros as f64 / 1_000_000.0).into()
    }
}

/// An expected value, in the same form.
pub fn expected_value(value: &Node, field: Option<&Field>) -> Json {
    match (&value.value, field.map(Field::data_type)) {
        (Value::String(text), Some(DataType::Timestamp(..))) if DateTime::parse_from_rfc3339(text).is_ok() => {
            shown_value(&Json::String(text.clone()), field)
        }
        _ => value.to_json(),
    }
}

/// Equal as values: 1 and 1.0 are the same number.
pub fn same(expected: &Json, actual: &Json) -> bool {
    match (expected, actual) {
        (Json::Number(a), Json::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => expected == actual,
    }
}
