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
            (meta::PARTITION, Value::Int(given)) => match i32::try_from(*given) {
                Ok(given) if given >= 0 => number = given,
                _ => out.push(
                    Diagnostic::error("test.partition", format!("there is no partition {given}")).at(&value.place),
                ),
            },
            (meta::TOPIC, Value::String(name)) if topics.iter().any(|topic| **topic == **name) => {
                topic = topics.iter().position(|topic| **topic == **name).unwrap_or_default();
            }
            (meta::TIMESTAMP, Value::Null) => record.timestamp = None,
            (meta::TIMESTAMP, _) => match millis(value) {
                Some(time) => record.timestamp = Some(time),
                None => out.push(no_time(value)),
            },
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

fn no_time(value: &Node) -> Diagnostic {
    Diagnostic::error("test.time", "this is no time of a record")
        .at(&value.place)
        .hint("write a number of seconds, or `2026-01-01T00:00:00Z`")
}

/// A time as a test writes it: RFC 3339, or a bare number of seconds.
fn millis(value: &Node) -> Option<Millis> {
    match &value.value {
        Value::Int(seconds) => seconds.checked_mul(1_000),
        Value::Float(seconds) => Some((seconds * 1_000.0).round() as Millis),
        Value::String(text) => DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis()),
        _ => None,
    }
}

/// As [`millis`] of a bare number, but finer.
fn micros(value: &Node) -> Option<i64> {
    match &value.value {
        Value::Int(seconds) => seconds.checked_mul(1_000_000),
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
        Some("us") => micros(value).map_or_else(|| value.to_json(), Json::from),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{self, Values};

    /// A row of columns `ms`, `us` and `s`, which are times, and the codes of what is wrong with it.
    fn read(row: &str) -> (Option<(Partition, MemoryRecord)>, Vec<&'static str>) {
        let test = format!(
            "apiVersion: runner/v1\nkind: Test\nmetadata: {{ name: t }}\nspec: {{ pipeline: p.yaml, given: [{row}], expect: {{}} }}\n"
        );
        let (documents, found) = spec::load_text("t.yaml", &test, &Values::default());
        assert!(!found.has_errors(), "{found:?}");
        let Value::List(rows) = &documents.tests[0].spec.given.value else { panic!("{row}") };
        let time = |name: &str| {
            let kind = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            Field::new(name, kind, true).with_metadata([(UNIT.to_owned(), name.to_owned())].into())
        };
        let schema = Schema::new(vec![time("ms"), time("us"), time("s")]);
        let mut out = Diagnostics::default();
        let record = record(&rows[0], &schema, &["t".into()], 0, &mut out);
        (record, out.0.iter().map(|diagnostic| diagnostic.code).collect())
    }

    #[test]
    fn seconds_are_taken_in_the_unit_of_their_column() {
        let (record, codes) = read("{ _timestamp: 1.5, _partition: 3, ms: 2, us: 2.5, s: 4 }");
        let (partition, record) = record.unwrap();
        assert!(codes.is_empty());
        assert_eq!((partition, record.timestamp), (3, Some(1_500)));
        assert_eq!(record.value.as_deref(), Some(br#"{"ms":2000,"us":2500000,"s":4}"#.as_slice()));
        assert_eq!(read("{ _timestamp: null }").0.unwrap().1.timestamp, None);
    }

    #[test]
    fn a_time_that_no_record_can_have_is_refused_and_one_of_a_column_is_left_as_it_is() {
        for time in ["9223372036854775807", "-9223372036854775808", "yesterday", "[1]"] {
            assert_eq!(read(&format!("{{ _timestamp: {time} }}")).1, ["test.time"], "{time}");
        }
        let (record, codes) = read("{ ms: 9223372036854775807, us: 9223372036854775, s: 1 }");
        assert!(codes.is_empty());
        let value = record.unwrap().1.value.unwrap();
        assert_eq!(
            std::str::from_utf8(&value).unwrap(),
            r#"{"ms":9223372036854775807,"us":9223372036854775,"s":1}"#,
            "their decoder says what is wrong with them"
        );
    }

    #[test]
    fn a_partition_that_cannot_be_is_refused() {
        for partition in ["-1", "4294967296"] {
            assert_eq!(read(&format!("{{ _partition: {partition} }}")).1, ["test.partition"]);
        }
    }
}
