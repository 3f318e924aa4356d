//! Times between text, numbers and Connect's own types.

use std::sync::Arc;

use super::super::config::{ConfigError, Settings};
use super::super::record::{ConnectError, Datum, Record, map_get, map_put, refused};
use super::super::schema::{Field, Kind, Logical, Schema};
use super::super::value::Value;
use super::dates::DateFormat;
use super::{Side, Transformation, fields_of, replaces_null, structure};

const DAY_MS: i64 = 86_400_000;

/// Converts a field that is a time, or the whole value.
pub struct TimestampConverter {
    side: Side,
    /// Empty: the whole value.
    field: String,
    target: Target,
    format: Option<DateFormat>,
    /// Of numbers, parts of a second.
    precision: Precision,
    replace_null: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Text,
    Unix,
    Date,
    Time,
    Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precision {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

impl TimestampConverter {
    pub fn make(settings: Settings<'_>, side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        let target = match settings.required("target.type")? {
            "string" => Target::Text,
            "unix" => Target::Unix,
            "Date" => Target::Date,
            "Time" => Target::Time,
            "Timestamp" => Target::Timestamp,
            other => {
                return Err(settings.invalid(
                    "target.type",
                    other,
                    "String must be one of: string, unix, Date, Time, Timestamp",
                ));
            }
        };
        let precision = match settings.get("unix.precision").unwrap_or("milliseconds") {
            "seconds" => Precision::Seconds,
            "milliseconds" => Precision::Millis,
            "microseconds" => Precision::Micros,
            "nanoseconds" => Precision::Nanos,
            other => {
                return Err(settings.invalid(
                    "unix.precision",
                    other,
                    "String must be one of: nanoseconds, microseconds, milliseconds, seconds",
                ));
            }
        };
        let pattern = settings.get("format").map(str::trim).filter(|pattern| !pattern.is_empty());
        if target == Target::Text && pattern.is_none() {
            return Err(settings.error(
                "format",
                "TimestampConverter requires format option to be specified when using string timestamps",
            ));
        }
        let format = pattern.map(|pattern| {
            DateFormat::new(pattern).map_err(|_| {
                settings.error("format", format!("TimestampConverter requires a SimpleDateFormat-compatible pattern for string timestamps: {pattern}"))
            })
        });
        Ok(Box::new(TimestampConverter {
            side,
            field: settings.get("field").unwrap_or("").to_owned(),
            target,
            format: format.transpose()?,
            precision,
            replace_null: replaces_null(settings)?,
        }))
    }

    /// Milliseconds since 1970.
    fn read(&self, schema: Option<&Schema>, value: &Value) -> Result<i64, ConnectError> {
        if let Some(schema) = schema {
            let known = match schema.as_logical() {
                Some(Logical::Date | Logical::Time | Logical::Timestamp) => true,
                _ => matches!(schema.kind, Kind::Int64 | Kind::String),
            };
            if !known {
                return refused(format!(
                    "Schema Schema{{{}}} does not correspond to a known timestamp type format",
                    schema.kind.word()
                ));
            }
        }
        match value {
            Value::Timestamp(ms) => Ok(*ms),
            Value::Date(days) => Ok(i64::from(*days) * DAY_MS),
            Value::Time(ms) => Ok(i64::from(*ms)),
            Value::Int64(number) => {
                let ms = match self.precision {
                    Precision::Seconds => number.checked_mul(1_000),
                    Precision::Millis => Some(*number),
                    Precision::Micros => Some(number / 1_000),
                    Precision::Nanos => Some(number / 1_000_000),
                };
                ms.ok_or_else(|| ConnectError::new(format!("Timestamp {number} is out of range")))
            }
            Value::String(text) => {
                let Some(format) = &self.format else {
                    return refused(
                        "TimestampConverter requires format option to be specified when using string timestamps",
                    );
                };
                let pattern = format.pattern();
                format.parse(text).ok_or_else(|| {
                    ConnectError::new(format!(
                        "Could not parse timestamp: value ({text}) does not match pattern ({pattern})"
                    ))
                })
            }
            other => refused(format!(
                "TimestampConverter does not support class {} objects as timestamps",
                other.java_class()
            )),
        }
    }

    fn convert(&self, schema: Option<&Schema>, value: &Value) -> Result<Value, ConnectError> {
        if value.is_null() {
            return Ok(Value::Null);
        }
        let ms = self.read(schema, value)?;
        Ok(match self.target {
            Target::Text => Value::String(self.format.as_ref().map(|format| format.format(ms)).unwrap_or_default()),
            Target::Unix => {
                let number = match self.precision {
                    Precision::Seconds => Some(ms / 1_000),
                    Precision::Millis => Some(ms),
                    Precision::Micros => ms.checked_mul(1_000),
                    Precision::Nanos => ms.checked_mul(1_000_000),
                };
                Value::Int64(number.ok_or_else(|| ConnectError::new(format!("Timestamp {ms} is out of range")))?)
            }
            Target::Date => match i32::try_from(ms.div_euclid(DAY_MS)) {
                Ok(days) => Value::Date(days),
                Err(_) => return refused(format!("Timestamp {ms} is out of range")),
            },
            Target::Time => Value::Time(ms.rem_euclid(DAY_MS) as i32),
            Target::Timestamp => Value::Timestamp(ms),
        })
    }

    /// Default and doc do not stay.
    fn schema(&self, optional: bool) -> Schema {
        let schema = match self.target {
            Target::Text => Schema::new(Kind::String),
            Target::Unix => Schema::new(Kind::Int64),
            Target::Date => Schema::logical(Logical::Date),
            Target::Time => Schema::logical(Logical::Time),
            Target::Timestamp => Schema::logical(Logical::Timestamp),
        };
        Schema { optional, ..schema }
    }
}

impl Transformation for TimestampConverter {
    fn apply(&self, record: Record) -> Result<Option<Record>, ConnectError> {
        const PURPOSE: &str = "converting timestamp formats";
        let datum = self.side.of(&record);
        let changed = match (&datum.schema, self.field.is_empty()) {
            (None, true) => Datum::schemaless(self.convert(None, &datum.value)?),
            (Some(schema), true) => {
                let value = match (&schema.default, &datum.value) {
                    (Some(default), Value::Null) if self.replace_null => default,
                    (_, value) => value,
                };
                let value = self.convert(Some(schema), value)?;
                Datum { schema: Some(Arc::new(self.schema(schema.optional))), value }
            }
            (_, false) if datum.value.is_null() => return Ok(Some(record)),
            (None, false) => {
                let mut entries = datum.as_map(PURPOSE)?.to_vec();
                let value = map_get(&entries, &self.field).cloned().unwrap_or(Value::Null);
                map_put(&mut entries, &self.field, self.convert(None, &value)?);
                Datum::schemaless(Value::Map(entries))
            }
            (Some(schema), false) => {
                let mut fields: Vec<_> = fields_of(datum.as_struct(PURPOSE)?, self.replace_null).collect();
                for (field, value) in &mut fields {
                    if field.name == self.field {
                        *value = self.convert(Some(&field.schema), value)?;
                        let schema = Arc::new(self.schema(field.schema.optional));
                        *field = Field { name: field.name.clone(), schema };
                    }
                }
                structure(schema, fields)?
            }
        };
        Ok(Some(self.side.put(record, changed)))
    }
}
