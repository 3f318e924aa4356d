//! Casts between primitive types, as Java's numbers are narrowed and its texts parsed.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::super::columns::{Columns, Part};
use super::super::config::{ConfigError, Settings};
use super::super::record::{ConnectError, Datum, Record, map_get, map_put, refused};
use super::super::schema::{Field, Kind, Logical, Schema};
use super::super::value::{Decimal, Value};
use super::{Side, Transformation, fields_of, replaces_null, structure};

const PURPOSE: &str = "cast types";
const TARGETS: &str = "[INT8, INT16, INT32, INT64, FLOAT32, FLOAT64, BOOLEAN, STRING]";
const SUPPORTED: &str = "[INT8, INT16, INT32, INT64, FLOAT32, FLOAT64, BOOLEAN, STRING, BYTES]";

/// Casts fields, or the whole value.
pub struct Cast {
    side: Side,
    whole: Option<Kind>,
    fields: Vec<(String, Kind)>,
    replace_null: bool,
}

impl Cast {
    pub fn make(settings: Settings<'_>, side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        settings.required("spec")?;
        let list = settings.list("spec");
        if list.is_empty() {
            return Err(settings.error("spec", "Must specify at least one field to cast."));
        }
        let shown = format!("[{}]", list.join(", "));
        let (mut whole, mut fields) = (None, Vec::new());
        for item in &list {
            let parts: Vec<&str> = item.split(':').collect();
            let target = |word: &str| {
                let word = word.trim();
                kind(word).ok_or_else(|| match word.to_uppercase().as_str() {
                    upper @ ("BYTES" | "ARRAY" | "MAP" | "STRUCT") => settings.error(
                        "spec",
                        format!(
                            "Cast transformation does not support casting to {upper}; supported types are {TARGETS}"
                        ),
                    ),
                    _ => settings.invalid("spec", &shown, &format!("Invalid type found in casting spec: {word}")),
                })
            };
            match parts.as_slice() {
                [word] => whole = Some(target(word)?),
                [field, word] => fields.push((field.trim().to_owned(), target(word)?)),
                _ => return Err(settings.invalid("spec", &shown, &format!("Invalid cast spec: {item}"))),
            }
        }
        if whole.is_some() && list.len() > 1 {
            return Err(settings.error("spec", "Cast transformations that specify a type to cast the entire value to may only specify a single cast in their spec"));
        }
        Ok(Box::new(Cast { side, whole, fields, replace_null: replaces_null(settings)? }))
    }

    fn target(&self, field: &str) -> Option<&Kind> {
        self.fields.iter().find(|(name, _)| name == field).map(|(_, kind)| kind)
    }
}

/// The casts of columns in which Java and Arrow agree about every value.
fn cast_column(schema: &Schema, column: &ArrayRef, target: &Kind) -> Option<ArrayRef> {
    if schema.name.is_some() {
        return None;
    }
    let to = match (&schema.kind, target) {
        (Kind::Int32, Kind::Int64) => DataType::Int64,
        (Kind::Int32 | Kind::Int64 | Kind::Float32, Kind::Float64) => DataType::Float64,
        (Kind::Int32 | Kind::Int64 | Kind::Boolean, Kind::String) => DataType::Utf8,
        (same, target) if same == target => return Some(column.clone()),
        _ => return None,
    };
    arrow::compute::cast(column, &to).ok()
}

impl Transformation for Cast {
    fn columns(&self, mut columns: Columns) -> Option<Columns> {
        if self.whole.is_some() {
            return None;
        }
        let part = self.side.part(&mut columns);
        if matches!(part, Part::Null(_)) {
            return Some(columns);
        }
        let (schema, fields) = part.fields()?;
        let cast = fields.map(|(field, column)| match self.target(&field.name) {
            None => Some((field.clone(), column.clone())),
            Some(target) => {
                let column = cast_column(&field.schema, column, target)?;
                let schema = Arc::new(cast_schema(&field.schema, target).ok()?);
                Some((Field { name: field.name.clone(), schema }, column))
            }
        });
        let cast = cast.collect::<Option<Vec<_>>>()?;
        *part = Part::of_fields(&schema.clone(), cast)?;
        Some(columns)
    }

    fn apply(&self, record: Record) -> Result<Option<Record>, ConnectError> {
        let datum = self.side.of(&record);
        if datum.schema.is_none() && datum.value.is_null() {
            return Ok(Some(record));
        }
        let changed = match (&datum.schema, &self.whole) {
            (None, Some(target)) => Datum::schemaless(cast(None, &datum.value, target)?),
            (None, None) => {
                let mut entries = datum.as_map(PURPOSE)?.to_vec();
                // A name that is not there is put there, as null.
                for (name, target) in &self.fields {
                    let value = cast(None, map_get(&entries, name).unwrap_or(&Value::Null), target)?;
                    map_put(&mut entries, name, value);
                }
                Datum::schemaless(Value::Map(entries))
            }
            (Some(schema), Some(target)) => {
                // The doc of a whole value stays, that of a field does not.
                let whole = Schema { doc: schema.doc.clone(), ..cast_schema(schema, target)? };
                Datum { schema: Some(Arc::new(whole)), value: cast(Some(schema), &datum.value, target)? }
            }
            (Some(schema), None) => {
                if datum.value.is_null() {
                    return Ok(Some(record));
                }
                let mut fields: Vec<_> = fields_of(datum.as_struct(PURPOSE)?, self.replace_null).collect();
                for (field, value) in &mut fields {
                    if let Some(target) = self.target(&field.name) {
                        *value = cast(Some(&field.schema), value, target)?;
                        let schema = Arc::new(cast_schema(&field.schema, target)?);
                        *field = Field { name: field.name.clone(), schema };
                    }
                }
                structure(schema, fields)?
            }
        };
        Ok(Some(self.side.put(record, changed)))
    }
}

fn kind(word: &str) -> Option<Kind> {
    Some(match word.to_lowercase().as_str() {
        "int8" => Kind::Int8,
        "int16" => Kind::Int16,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "float32" => Kind::Float32,
        "float64" => Kind::Float64,
        "boolean" => Kind::Boolean,
        "string" => Kind::String,
        _ => return None,
    })
}

/// Optional stays and the default is cast too; doc, name, version and parameters go.
fn cast_schema(schema: &Schema, target: &Kind) -> Result<Schema, ConnectError> {
    let default = schema.default.as_ref().map(|default| cast(Some(schema), default, target)).transpose()?;
    Ok(Schema { optional: schema.optional, default, ..Schema::new(target.clone()) })
}

/// A number as Java has it.
enum Number {
    Whole(i64),
    Real(f64),
}

fn cast(schema: Option<&Schema>, value: &Value, target: &Kind) -> Result<Value, ConnectError> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let unsupported = match (schema.map(|schema| &schema.kind), value) {
        (Some(kind @ (Kind::Array(_) | Kind::Map(..) | Kind::Struct(_))), _) => Some(kind.word()),
        (None, Value::Array(_)) => Some("ARRAY"),
        (None, Value::Map(_)) => Some("MAP"),
        (None, Value::Struct(_)) => Some("STRUCT"),
        _ => None,
    };
    if let Some(word) = unsupported {
        return refused(format!(
            "Cast transformation does not support casting from {word}; supported types are {SUPPORTED}"
        ));
    }
    if *target == Kind::String {
        return Ok(Value::String(text(value)));
    }
    let number = match value {
        Value::Boolean(truth) => Number::Whole(i64::from(*truth)),
        Value::Int8(number) => Number::Whole(i64::from(*number)),
        Value::Int16(number) => Number::Whole(i64::from(*number)),
        Value::Int32(number) | Value::Date(number) | Value::Time(number) => Number::Whole(i64::from(*number)),
        Value::Int64(number) | Value::Timestamp(number) => Number::Whole(*number),
        Value::Float32(number) => Number::Real(f64::from(*number)),
        Value::Float64(number) => Number::Real(*number),
        Value::Decimal(decimal) => decimal_number(decimal),
        Value::String(text) => return parse(text, target),
        other => return refused(format!("Unexpected type in Cast transformation: class {}", other.java_class())),
    };
    Ok(match target {
        // Java narrows a real number to an int first, and that to what is smaller.
        Kind::Int8 => Value::Int8(number.int() as i8),
        Kind::Int16 => Value::Int16(number.int() as i16),
        Kind::Int32 => Value::Int32(number.int()),
        Kind::Int64 => Value::Int64(number.long()),
        Kind::Float32 => Value::Float32(match (number, value) {
            (_, Value::Float32(same)) => *same,
            (Number::Whole(whole), _) => whole as f32,
            (Number::Real(real), _) => real as f32,
        }),
        Kind::Float64 => Value::Float64(match number {
            Number::Whole(whole) => whole as f64,
            Number::Real(real) => real,
        }),
        _ => Value::Boolean(number.long() != 0),
    })
}

impl Number {
    fn int(&self) -> i32 {
        match self {
            Number::Whole(whole) => *whole as i32,
            Number::Real(real) => *real as i32,
        }
    }

    fn long(&self) -> i64 {
        match self {
            Number::Whole(whole) => *whole,
            Number::Real(real) => *real as i64,
        }
    }
}

/// A decimal's whole part where that is all of it, otherwise a double.
fn decimal_number(decimal: &Decimal) -> Number {
    match (decimal.scale, decimal.unscaled.to_i128().and_then(|number| i64::try_from(number).ok())) {
        (0, Some(whole)) => Number::Whole(whole),
        _ => Number::Real(decimal.to_double()),
    }
}

fn parse(text: &str, target: &Kind) -> Result<Value, ConnectError> {
    let parsed = match target {
        Kind::Int8 => text.parse().ok().map(Value::Int8),
        Kind::Int16 => text.parse().ok().map(Value::Int16),
        Kind::Int32 => text.parse().ok().map(Value::Int32),
        Kind::Int64 => text.parse().ok().map(Value::Int64),
        Kind::Float32 => text.trim().parse().ok().map(Value::Float32),
        Kind::Float64 => text.trim().parse().ok().map(Value::Float64),
        _ => Some(Value::Boolean(text.eq_ignore_ascii_case("true"))),
    };
    match parsed {
        Some(value) => Ok(value),
        None => refused(format!("Value ({text}) was out of range for requested data type")),
    }
}

fn text(value: &Value) -> String {
    let moment = |ms: i64, logical: Logical| {
        let time = chrono::DateTime::from_timestamp_millis(ms);
        let format = match logical {
            Logical::Date => "%Y-%m-%d",
            Logical::Time => "%H:%M:%S%.3fZ",
            _ => "%Y-%m-%dT%H:%M:%S%.3fZ",
        };
        time.map_or_else(|| ms.to_string(), |time| time.format(format).to_string())
    };
    match value {
        Value::Bytes(bytes) => BASE64.encode(bytes),
        // All of them are one Java class: what it is shows in its digits.
        Value::Date(_) | Value::Time(_) | Value::Timestamp(_) => {
            let ms = match value {
                Value::Date(days) => i64::from(*days) * 86_400_000,
                Value::Time(ms) => i64::from(*ms),
                Value::Timestamp(ms) => *ms,
                _ => unreachable!("the arm above"),
            };
            match ms {
                0..86_400_000 => moment(ms, Logical::Time),
                ms if ms % 86_400_000 == 0 => moment(ms, Logical::Date),
                ms => moment(ms, Logical::Timestamp),
            }
        }
        other => other.java_text(),
    }
}
