//! Headers as text that says by its form what it is: `12`, `true`, `[1,2]`, `2023-11-14`, `anything else`.

use super::super::json::Json;
use super::super::record::{ConnectError, Datum};
use super::super::schema::{Kind, Logical, Schema};
use super::super::value::Value;
use super::{Converter, JsonConverter};
use std::sync::Arc;

/// What Connect reads and writes headers with if nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimpleHeaderConverter;

impl Converter for SimpleHeaderConverter {
    fn encode(&self, topic: &str, datum: &Datum) -> Result<Option<Vec<u8>>, ConnectError> {
        match &datum.value {
            Value::Null => Ok(None),
            Value::Array(_) | Value::Map(_) | Value::Struct(_) => {
                let json = JsonConverter {
                    schemas_enable: false,
                    decimal_numeric: true,
                    replace_null_with_default: true,
                    content: None,
                };
                json.encode(topic, datum)
            }
            Value::Timestamp(ms) => Ok(Some(moment(*ms, "%Y-%m-%dT%H:%M:%S%.3fZ").into_bytes())),
            Value::Date(days) => Ok(Some(moment(i64::from(*days) * 86_400_000, "%Y-%m-%d").into_bytes())),
            Value::Time(ms) => Ok(Some(moment(i64::from(*ms), "%H:%M:%S%.3fZ").into_bytes())),
            other => Ok(Some(other.java_text().into_bytes())),
        }
    }

    fn decode(&self, _topic: &str, bytes: Option<&[u8]>) -> Result<Datum, ConnectError> {
        Ok(bytes.map_or(Datum::NULL, |bytes| read(&String::from_utf8_lossy(bytes))))
    }
}

fn moment(ms: i64, format: &str) -> String {
    chrono::DateTime::from_timestamp_millis(ms).map_or_else(|| ms.to_string(), |time| time.format(format).to_string())
}

/// The value that a text looks like.
pub fn read(text: &str) -> Datum {
    let whole = || Datum::new(Schema::new(Kind::String), Value::String(text.to_owned()));
    match Json::parse(text.as_bytes()) {
        Ok(Some(json)) if is_one(text) => match json {
            // A text in quotes keeps them.
            Json::String(_) => whole(),
            json => typed(&json),
        },
        _ => temporal(text).unwrap_or_else(whole),
    }
}

/// True if nothing stands behind the first value.
fn is_one(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

fn typed(json: &Json) -> Datum {
    match json {
        Json::Null => Datum::NULL,
        Json::Boolean(truth) => Datum::new(Schema::new(Kind::Boolean), Value::Boolean(*truth)),
        Json::String(text) => Datum::new(Schema::new(Kind::String), Value::String(text.clone())),
        Json::Number(text) => number(text),
        Json::Array(items) => {
            let items: Vec<Datum> = items.iter().map(typed).collect();
            let schema = common(&items);
            let values = items.into_iter().map(|item| fitted(item, schema.as_deref())).collect();
            let schema = schema.map(|items| Arc::new(Schema::new(Kind::Array(items))));
            Datum { schema, value: Value::Array(values) }
        }
        Json::Object(entries) => {
            let (keys, values): (Vec<String>, Vec<Datum>) =
                entries.iter().map(|(key, value)| (key.clone(), typed(value))).unzip();
            let schema = common(&values);
            let values = values.into_iter().map(|value| fitted(value, schema.as_deref()));
            let entries = keys.into_iter().map(Value::String).zip(values).collect();
            let keys = Arc::new(Schema::new(Kind::String));
            let schema = schema.map(|values| Arc::new(Schema::new(Kind::Map(keys, values))));
            Datum { schema, value: Value::Map(entries) }
        }
    }
}

/// The smallest integer type that holds it, otherwise a float or a double.
fn number(text: &str) -> Datum {
    let whole = || {
        text.parse::<f64>().ok().filter(|number| number.fract() == 0.0 && number.abs() < 1e15 && !text.contains('.'))
    };
    if let Some(number) = text.parse::<i64>().ok().or_else(|| whole().map(|number| number as i64)) {
        let (kind, value) = match number {
            -0x80..=0x7f => (Kind::Int8, Value::Int8(number as i8)),
            -0x8000..=0x7fff => (Kind::Int16, Value::Int16(number as i16)),
            -0x8000_0000..=0x7fff_ffff => (Kind::Int32, Value::Int32(number as i32)),
            _ => (Kind::Int64, Value::Int64(number)),
        };
        return Datum::new(Schema::new(kind), value);
    }
    let double: f64 = text.parse().unwrap_or(f64::NAN);
    let float = double as f32;
    if float.is_finite() {
        return Datum::new(Schema::new(Kind::Float32), Value::Float32(float));
    }
    Datum::new(Schema::new(Kind::Float64), Value::Float64(double))
}

/// The widest of some integer schemas, or the one that all have; `None`: they have none in common.
fn common(items: &[Datum]) -> Option<Arc<Schema>> {
    let mut schemas = items.iter().filter_map(|item| item.schema.clone());
    let first = schemas.next()?;
    schemas.try_fold(first, |widest, schema| match (width(&widest.kind), width(&schema.kind)) {
        _ if widest == schema => Some(widest),
        (Some(a), Some(b)) => Some(if a >= b { widest } else { schema }),
        (_, None) | (None, _) if is_number(&widest.kind) && is_number(&schema.kind) => {
            Some(if width(&schema.kind).is_none() { schema } else { widest })
        }
        _ => None,
    })
}

fn is_number(kind: &Kind) -> bool {
    width(kind).is_some() || matches!(kind, Kind::Float32 | Kind::Float64)
}

/// Of an integer, in bytes.
fn width(kind: &Kind) -> Option<u8> {
    match kind {
        Kind::Int8 => Some(1),
        Kind::Int16 => Some(2),
        Kind::Int32 => Some(4),
        Kind::Int64 => Some(8),
        _ => None,
    }
}

/// The value in the type that its neighbours have.
fn fitted(item: Datum, schema: Option<&Schema>) -> Value {
    let number = match item.value {
        Value::Int8(number) => i64::from(number),
        Value::Int16(number) => i64::from(number),
        Value::Int32(number) => i64::from(number),
        other => return other,
    };
    match schema.map(|schema| &schema.kind) {
        Some(Kind::Int16) => Value::Int16(number as i16),
        Some(Kind::Int32) => Value::Int32(number as i32),
        Some(Kind::Int64) => Value::Int64(number),
        Some(Kind::Float32) => Value::Float32(number as f32),
        Some(Kind::Float64) => Value::Float64(number as f64),
        _ => item.value,
    }
}

fn temporal(text: &str) -> Option<Datum> {
    if let Ok(time) = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.3fZ") {
        return Some(Datum::new(
            Schema::logical(Logical::Timestamp),
            Value::Timestamp(time.and_utc().timestamp_millis()),
        ));
    }
    if let Ok(date) = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d")
        && text.len() == 10
    {
        let days = date.signed_duration_since(chrono::NaiveDate::default()).num_days();
        return Some(Datum::new(Schema::logical(Logical::Date), Value::Date(days as i32)));
    }
    let time = chrono::NaiveTime::parse_from_str(text, "%H:%M:%S%.3fZ").ok()?;
    let ms = time.signed_duration_since(chrono::NaiveTime::default()).num_milliseconds();
    Some(Datum::new(Schema::logical(Logical::Time), Value::Time(ms as i32)))
}
