//! Values to Avro's binary encoding, as the schema of `to_avro` has them.

use super::super::super::record::{ConnectError, refused};
use super::super::super::schema::{Kind, Logical, Schema};
use super::super::super::value::Value;
use super::dialect::{Dialect, is_union};
use super::to_avro::fixed_size;

/// Appends a value.
///
/// # Errors
/// A value that is not of its schema.
pub fn value(schema: &Schema, value: &Value, dialect: Dialect, out: &mut Vec<u8>) -> Result<(), ConnectError> {
    if is_union(schema) {
        return union(schema, value, dialect, out);
    }
    let value = match (value, &schema.default) {
        (Value::Null, Some(default)) if !schema.optional => default,
        _ => value,
    };
    if schema.optional {
        // The branch of a default comes first, otherwise that of null.
        let null_first = schema.default.is_none();
        long(i64::from(value.is_null() != null_first), out);
        if value.is_null() {
            return Ok(());
        }
    }
    base(schema, value, dialect, out)
}

/// The branch is that of the field that is set.
fn union(schema: &Schema, value: &Value, dialect: Dialect, out: &mut Vec<u8>) -> Result<(), ConnectError> {
    let row = match value {
        Value::Struct(row) => Some(row),
        Value::Null => None,
        other => return refused(format!("Invalid type for UNION: class {}", other.java_class())),
    };
    let values = row.map_or(&[][..], |row| &row.values);
    let Some(at) = values.iter().position(|value| !value.is_null()) else {
        if !schema.optional {
            return refused("Found null value for non-optional schema");
        }
        long(0, out);
        return Ok(());
    };
    long(at as i64 + i64::from(schema.optional), out);
    base(&schema.fields()[at].schema, &values[at], dialect, out)
}

fn base(schema: &Schema, value: &Value, dialect: Dialect, out: &mut Vec<u8>) -> Result<(), ConnectError> {
    match (&schema.kind, value) {
        (_, Value::Null) => return refused("Found null value for non-optional schema"),
        (Kind::Bytes, Value::Decimal(decimal)) if schema.as_logical() == Some(Logical::Decimal) => {
            if schema.scale().is_some_and(|scale| scale != decimal.scale) {
                return refused("BigDecimal has mismatching scale value for given Decimal schema");
            }
            bytes(&decimal.to_bytes(), out);
        }
        (Kind::Int8, Value::Int8(number)) => long(i64::from(*number), out),
        (Kind::Int16, Value::Int16(number)) => long(i64::from(*number), out),
        (Kind::Int32, Value::Int32(number) | Value::Date(number) | Value::Time(number)) => {
            long(i64::from(*number), out)
        }
        (Kind::Int64, Value::Int64(number) | Value::Timestamp(number)) => long(*number, out),
        (Kind::Float32, Value::Float32(number)) => out.extend_from_slice(&number.to_le_bytes()),
        (Kind::Float64, Value::Float64(number)) => out.extend_from_slice(&number.to_le_bytes()),
        (Kind::Boolean, Value::Boolean(truth)) => out.push(u8::from(*truth)),
        (Kind::String, Value::String(text)) => match dialect.enumeration(schema) {
            None => bytes(text.as_bytes(), out),
            Some((name, symbols)) => match symbols.iter().position(|symbol| symbol == text) {
                Some(index) => long(index as i64, out),
                None => return refused(format!("the enum {name} has no symbol {text}")),
            },
        },
        (Kind::Bytes, Value::Bytes(given)) => match fixed_size(schema) {
            Some(size) if size != given.len() => {
                return refused(format!("a fixed of {size} bytes has {}", given.len()));
            }
            Some(_) => out.extend_from_slice(given),
            None => bytes(given, out),
        },
        (Kind::Array(items), Value::Array(values)) => {
            block(values, out, |item, out| self::value(items, item, dialect, out))?;
        }
        (Kind::Map(keys, values), Value::Map(entries)) => {
            block(entries, out, |(key, value), out| {
                match dialect.has_map(keys) {
                    true => base(keys, key, dialect, out)?,
                    false => self::value(keys, key, dialect, out)?,
                }
                self::value(values, value, dialect, out)
            })?;
        }
        (Kind::Struct(fields), Value::Struct(row)) => {
            for (field, value) in fields.iter().zip(&row.values) {
                let value = dialect.meant(field, value);
                self::value(&field.schema, value, dialect, out).map_err(|error| {
                    ConnectError::new(format!("Invalid value for field {}: {}", field.name, error.message))
                })?;
            }
        }
        (kind, other) => {
            return refused(format!("Invalid type for {}: class {}", kind.word(), other.java_class()));
        }
    }
    Ok(())
}

pub fn block<T>(
    items: &[T],
    out: &mut Vec<u8>,
    mut put: impl FnMut(&T, &mut Vec<u8>) -> Result<(), ConnectError>,
) -> Result<(), ConnectError> {
    if !items.is_empty() {
        long(items.len() as i64, out);
        items.iter().try_for_each(|item| put(item, out))?;
    }
    long(0, out);
    Ok(())
}

pub fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

pub fn long(number: i64, out: &mut Vec<u8>) {
    let mut bits = (number << 1 ^ number >> 63) as u64;
    while bits >= 0x80 {
        out.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}
