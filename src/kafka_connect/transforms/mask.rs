//! Masking: values of a type that say nothing.

use arrow::array::Array;
use arrow::datatypes::{DataType, i256};

use super::super::columns::{self, Columns, Part};
use super::super::config::{ConfigError, Settings};
use super::super::record::{ConnectError, Datum, Record, map_get, map_put, refused};
use super::super::schema::Kind;
use super::super::value::{Decimal, Value};
use super::{Side, Transformation, fields_of, replaces_null, structure};

/// Puts nothings, or one fixed text or number, in place of fields.
pub struct MaskField {
    side: Side,
    fields: Vec<String>,
    replacement: Option<String>,
    replace_null: bool,
}

impl MaskField {
    pub fn make(settings: Settings<'_>, side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        let fields = settings.required_list("fields")?;
        let replacement = settings.get("replacement").map(str::to_owned);
        if replacement.as_deref() == Some("") {
            return Err(settings.invalid("replacement", "", "String must be non-empty"));
        }
        Ok(Box::new(MaskField { side, fields, replacement, replace_null: replaces_null(settings)? }))
    }

    fn masked(&self, value: &Value) -> Result<Value, ConnectError> {
        match &self.replacement {
            None => nothing(value),
            Some(replacement) => replaced(value, replacement),
        }
    }
}

impl Transformation for MaskField {
    fn columns(&self, mut columns: Columns) -> Option<Columns> {
        let part = self.side.part(&mut columns);
        let (schema, fields) = part.fields()?;
        let masked = fields.map(|(field, column)| {
            let column = match &self.replacement {
                _ if !self.fields.contains(&field.name) => column.clone(),
                None => columns::nothings(column)?,
                Some(text) if field.schema.kind == Kind::String && *column.data_type() == DataType::Utf8 => {
                    columns::with_nulls_of(&columns::constant(text, column.len()), column)?
                }
                Some(_) => return None,
            };
            Some((field.clone(), column))
        });
        let masked = masked.collect::<Option<Vec<_>>>()?;
        *part = Part::of_fields(&schema.clone(), masked)?;
        Some(columns)
    }

    fn apply(&self, record: Record) -> Result<Option<Record>, ConnectError> {
        const PURPOSE: &str = "mask fields";
        let datum = self.side.of(&record);
        let changed = match &datum.schema {
            None => {
                let mut entries = datum.as_map(PURPOSE)?.to_vec();
                // A name that is not there is put there, as null.
                for name in &self.fields {
                    let masked = self.masked(map_get(&entries, name).unwrap_or(&Value::Null))?;
                    map_put(&mut entries, name, masked);
                }
                Datum::schemaless(Value::Map(entries))
            }
            Some(schema) => {
                let mut fields: Vec<_> = fields_of(datum.as_struct(PURPOSE)?, self.replace_null).collect();
                for (field, value) in &mut fields {
                    if self.fields.contains(&field.name) {
                        *value = self.masked(value)?;
                    }
                }
                let like = super::super::schema::Schema::clone(schema);
                structure(&like, fields)?
            }
        };
        Ok(Some(self.side.put(record, changed)))
    }
}

fn nothing(value: &Value) -> Result<Value, ConnectError> {
    Ok(match value {
        Value::Null => Value::Null,
        Value::Int8(_) => Value::Int8(0),
        Value::Int16(_) => Value::Int16(0),
        Value::Int32(_) => Value::Int32(0),
        Value::Int64(_) => Value::Int64(0),
        Value::Float32(_) => Value::Float32(0.0),
        Value::Float64(_) => Value::Float64(0.0),
        Value::Boolean(_) => Value::Boolean(false),
        Value::String(_) => Value::String(String::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Map(_) => Value::Map(Vec::new()),
        // Keeps its scale: the genuine class makes one of scale 0, which no converter takes.
        Value::Decimal(decimal) => Value::Decimal(Decimal { unscaled: i256::ZERO, scale: decimal.scale }),
        Value::Date(_) => Value::Date(0),
        Value::Time(_) => Value::Time(0),
        Value::Timestamp(_) => Value::Timestamp(0),
        Value::Bytes(_) | Value::Struct(_) => {
            return refused(format!("Cannot mask value of type: class {}", value.java_class()));
        }
    })
}

fn replaced(value: &Value, replacement: &str) -> Result<Value, ConnectError> {
    fn number<T: std::str::FromStr>(replacement: &str) -> Result<T, ConnectError> {
        replacement
            .parse()
            .or_else(|_| refused(format!("Unable to convert {replacement} (class java.lang.String) to a number")))
    }
    Ok(match value {
        Value::Null => Value::Null,
        Value::String(_) => Value::String(replacement.to_owned()),
        Value::Int8(_) => Value::Int8(number(replacement)?),
        Value::Int16(_) => Value::Int16(number(replacement)?),
        Value::Int32(_) => Value::Int32(number(replacement)?),
        Value::Int64(_) => Value::Int64(number(replacement)?),
        Value::Float32(_) => Value::Float32(number(replacement)?),
        Value::Float64(_) => Value::Float64(number(replacement)?),
        Value::Decimal(_) => match Decimal::parse(replacement) {
            Some(decimal) => Value::Decimal(decimal),
            None => number::<f64>(replacement).map(|_| Value::Null)?,
        },
        other => {
            return refused(format!("Cannot mask value of type class {} with custom replacement.", other.java_class()));
        }
    })
}
