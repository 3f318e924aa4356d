//! Values to the binary encoding of a schema that was not made of theirs: a subject's latest version.
//!
//! Fields are found by their names. One that the value lacks is null if it may be; what the schema lacks is left out.

use super::super::super::record::{ConnectError, refused};
use super::super::super::value::Value;
use super::dialect::{Dialect, is_union};
use super::encode;
use crate::registry::avro::{NamedKind, Primitive, Properties, Schema as AvroSchema, Type};

/// Appends a value.
///
/// # Errors
/// A value that the schema has no place for.
pub fn value(avro: &AvroSchema, value: &Value, dialect: Dialect, out: &mut Vec<u8>) -> Result<(), ConnectError> {
    Writer { avro, dialect }.value(&avro.root, value, out)
}

struct Writer<'a> {
    avro: &'a AvroSchema,
    dialect: Dialect,
}

impl Writer<'_> {
    fn value(&self, ty: &Type, value: &Value, out: &mut Vec<u8>) -> Result<(), ConnectError> {
        match (ty, value) {
            // A union is what is set of it.
            (ty, Value::Struct(row)) if is_union(&row.schema) => {
                self.value(ty, row.values.iter().find(|value| !value.is_null()).unwrap_or(&Value::Null), out)
            }
            (Type::Primitive { kind, properties }, value) if means_the_same(properties, value) => {
                primitive(*kind, value, out)
            }
            (Type::Primitive { kind, .. }, value) => mismatch(kind.word(), value),
            (Type::Union(branches), value) => self.union(branches, value, out),
            (Type::Array { items, .. }, Value::Array(values)) => {
                encode::block(values, out, |item, out| self.value(items, item, out))
            }
            // A map whose keys are no texts is an array of its entries.
            (Type::Array { items, .. }, Value::Map(entries)) => {
                encode::block(entries, out, |entry, out| self.entry(items, entry, out))
            }
            (Type::Map { values, .. }, Value::Map(entries)) => encode::block(entries, out, |(key, value), out| {
                primitive(Primitive::String, key, out)?;
                self.value(values, value, out)
            }),
            (Type::Definition(name) | Type::Reference(name), value) => match (&self.avro.named[name].kind, value) {
                (NamedKind::Record { fields }, Value::Struct(row)) => {
                    for field in fields {
                        let all = row.schema.fields();
                        let at = all.iter().position(|known| self.dialect.name(&known.name) == field.name);
                        let value = at.map_or(&Value::Null, |at| self.dialect.meant(&all[at], &row.values[at]));
                        self.value(&field.ty, value, out).map_err(|error| {
                            ConnectError::new(format!("Invalid value for field {}: {}", field.name, error.message))
                        })?;
                    }
                    Ok(())
                }
                (NamedKind::Enum { symbols, .. }, Value::String(text)) => {
                    match symbols.iter().position(|symbol| symbol == text) {
                        Some(index) => encode::long(index as i64, out),
                        None => return refused(format!("the enum {name} has no symbol {text}")),
                    }
                    Ok(())
                }
                (NamedKind::Fixed { size }, Value::Bytes(bytes)) if bytes.len() == *size => {
                    out.extend_from_slice(bytes);
                    Ok(())
                }
                (_, other) => mismatch(name, other),
            },
            (Type::Array { .. }, other) => mismatch("array", other),
            (Type::Map { .. }, other) => mismatch("map", other),
        }
    }

    /// The branch of a record's own name; without one, the first that the value fits.
    fn union(&self, branches: &[Type], value: &Value, out: &mut Vec<u8>) -> Result<(), ConnectError> {
        let begin = out.len();
        let name = match value {
            Value::Struct(row) => row.schema.name.as_deref(),
            _ => None,
        };
        let is_named =
            |branch: &Type| self.avro.definition(branch).is_some_and(|named| Some(&*named.full_name) == name);
        let is_there = branches.iter().any(is_named);
        for (index, branch) in branches.iter().enumerate().filter(|(_, branch)| !is_there || is_named(branch)) {
            encode::long(index as i64, out);
            if self.value(branch, value, out).is_ok() {
                return Ok(());
            }
            out.truncate(begin);
        }
        mismatch("union", value)
    }

    fn entry(&self, ty: &Type, (key, value): &(Value, Value), out: &mut Vec<u8>) -> Result<(), ConnectError> {
        let Some(NamedKind::Record { fields }) = self.avro.definition(ty).map(|named| &named.kind) else {
            return refused("the entries of a map are no records");
        };
        fields.iter().try_for_each(|field| match field.name.as_str() {
            "key" => self.value(&field.ty, key, out),
            _ => self.value(&field.ty, value, out),
        })
    }
}

/// False for a time in other units, and a decimal with other digits: the bytes would be read as something else.
fn means_the_same(properties: &Properties, value: &Value) -> bool {
    let said = properties.get("logicalType").and_then(|word| word.as_str());
    match value {
        Value::Date(_) => said.is_none_or(|word| word == "date"),
        Value::Time(_) => said.is_none_or(|word| word == "time-millis"),
        Value::Timestamp(_) => said.is_none_or(|word| word == "timestamp-millis"),
        Value::Decimal(decimal) => {
            let scale = properties.get("scale").and_then(|scale| scale.as_i64()).unwrap_or(0);
            said.is_none_or(|word| word == "decimal" && scale == i64::from(decimal.scale))
        }
        _ => true,
    }
}

fn primitive(kind: Primitive, value: &Value, out: &mut Vec<u8>) -> Result<(), ConnectError> {
    match (kind, value) {
        (Primitive::Null, Value::Null) => {}
        (Primitive::Boolean, Value::Boolean(truth)) => out.push(u8::from(*truth)),
        (Primitive::Int, Value::Int32(number) | Value::Date(number) | Value::Time(number)) => {
            encode::long(i64::from(*number), out);
        }
        (Primitive::Int | Primitive::Long, Value::Int8(number)) => encode::long(i64::from(*number), out),
        (Primitive::Int | Primitive::Long, Value::Int16(number)) => encode::long(i64::from(*number), out),
        (Primitive::Long, Value::Int32(number)) => encode::long(i64::from(*number), out),
        (Primitive::Long, Value::Int64(number) | Value::Timestamp(number)) => encode::long(*number, out),
        (Primitive::Float, Value::Float32(number)) => out.extend_from_slice(&number.to_le_bytes()),
        (Primitive::Double, Value::Float32(number)) => out.extend_from_slice(&f64::from(*number).to_le_bytes()),
        (Primitive::Double, Value::Float64(number)) => out.extend_from_slice(&number.to_le_bytes()),
        (Primitive::String, Value::String(text)) => encode::bytes(text.as_bytes(), out),
        (Primitive::Bytes, Value::Bytes(bytes)) => encode::bytes(bytes, out),
        (Primitive::Bytes, Value::Decimal(decimal)) => encode::bytes(&decimal.to_bytes(), out),
        (kind, other) => return mismatch(kind.word(), other),
    }
    Ok(())
}

fn mismatch(what: &str, value: &Value) -> Result<(), ConnectError> {
    match value {
        Value::Null => refused(format!("null where the latest version has {what}")),
        other => refused(format!("a {} where the latest version has {what}", other.java_class())),
    }
}
