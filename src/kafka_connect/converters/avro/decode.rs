//! Avro's binary encoding to values of the schema of `to_connect`.

use std::sync::Arc;

use super::super::super::record::{ConnectError, refused};
use super::super::super::schema::{Kind, Logical, Schema};
use super::super::super::value::{Decimal, Struct, Value};
use super::dialect::is_union;
use crate::registry::avro::{Named, NamedKind, Primitive, Schema as AvroSchema, Type};

/// Items that take no bytes, in one list.
const EMPTY_ITEMS_MAX: u64 = 1 << 16;

/// Reads one value, which must be all of the bytes.
///
/// # Errors
/// Bytes that are no value of this schema.
pub fn value(avro: &AvroSchema, schema: &Arc<Schema>, bytes: &[u8]) -> Result<Value, ConnectError> {
    let mut reader = Reader { avro, bytes, at: 0 };
    let value = reader.value(&avro.root, schema)?;
    match bytes.len() - reader.at {
        0 => Ok(value),
        more => refused(format!("{more} bytes stand behind the value")),
    }
}

struct Reader<'a> {
    avro: &'a AvroSchema,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, ty: &'a Type, schema: &Arc<Schema>) -> Result<Value, ConnectError> {
        Ok(match ty {
            Type::Primitive { kind, .. } => {
                let value = self.primitive(*kind)?;
                typed(value, schema)?
            }
            Type::Array { items, .. } => match &schema.kind {
                Kind::Map(key_schema, value_schema) => {
                    let mut entries = Vec::new();
                    let Some(Named { kind: NamedKind::Record { fields }, .. }) = self.avro.definition(items) else {
                        return refused("the entries of a map are no records");
                    };
                    self.blocks(|reader| {
                        let (mut key, mut value) = (Value::Null, Value::Null);
                        for field in fields {
                            match field.name.as_str() {
                                "key" => key = reader.value(&field.ty, key_schema)?,
                                _ => value = reader.value(&field.ty, value_schema)?,
                            }
                        }
                        entries.push((key, value));
                        Ok(())
                    })?;
                    Value::Map(entries)
                }
                Kind::Array(item_schema) => {
                    let mut values = Vec::new();
                    self.blocks(|reader| {
                        values.push(reader.value(items, item_schema)?);
                        Ok(())
                    })?;
                    Value::Array(values)
                }
                other => return refused(format!("an array is no {}", other.word())),
            },
            Type::Map { values, .. } => {
                let Kind::Map(_, value_schema) = &schema.kind else { return refused("a map is none") };
                let mut entries = Vec::new();
                self.blocks(|reader| {
                    let key = Value::String(reader.text()?);
                    entries.push((key, reader.value(values, value_schema)?));
                    Ok(())
                })?;
                Value::Map(entries)
            }
            Type::Union(branches) => {
                let index = usize::try_from(self.long()?).ok();
                let Some(branch) = index.and_then(|index| branches.get(index)) else {
                    return refused("a union has no such branch");
                };
                let is_null = |ty: &Type| matches!(ty, Type::Primitive { kind: Primitive::Null, .. });
                if is_null(branch) {
                    return Ok(Value::Null);
                }
                if !is_union(schema) {
                    return self.value(branch, schema);
                }
                let mut values = vec![Value::Null; schema.fields().len()];
                // Fields stand in the order of the branches.
                let before = branches.iter().take(index.unwrap_or_default());
                let at = before.filter(|branch| !is_null(branch)).count();
                values[at] = self.value(branch, &schema.fields()[at].schema)?;
                Value::Struct(Struct { schema: schema.clone(), values })
            }
            Type::Definition(name) | Type::Reference(name) => match &self.avro.named[name].kind {
                NamedKind::Record { fields } => {
                    let mut values = Vec::with_capacity(fields.len());
                    for (field, inner) in fields.iter().zip(schema.fields()) {
                        values.push(self.value(&field.ty, &inner.schema)?);
                    }
                    Value::Struct(Struct { schema: schema.clone(), values })
                }
                NamedKind::Enum { symbols, .. } => {
                    let index = usize::try_from(self.long()?).ok();
                    match index.and_then(|index| symbols.get(index)) {
                        Some(symbol) => Value::String(symbol.clone()),
                        None => return refused(format!("the enum {name} has no such symbol")),
                    }
                }
                NamedKind::Fixed { size } => {
                    let value = Value::Bytes(self.take(*size)?.to_vec());
                    typed(value, schema)?
                }
            },
        })
    }

    fn primitive(&mut self, kind: Primitive) -> Result<Value, ConnectError> {
        fn four(bytes: &[u8]) -> [u8; 4] {
            bytes.try_into().expect("four bytes were taken")
        }
        Ok(match kind {
            Primitive::Null => Value::Null,
            Primitive::Boolean => Value::Boolean(self.take(1)?[0] != 0),
            Primitive::Int | Primitive::Long => Value::Int64(self.long()?),
            Primitive::Float => Value::Float32(f32::from_le_bytes(four(self.take(4)?))),
            Primitive::Double => {
                Value::Float64(f64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken")))
            }
            Primitive::Bytes => {
                let length = self.length()?;
                Value::Bytes(self.take(length)?.to_vec())
            }
            Primitive::String => Value::String(self.text()?),
        })
    }

    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), ConnectError>) -> Result<(), ConnectError> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // The block's length in bytes follows, for readers that skip it.
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                let start = self.at;
                item(self)?;
                if self.at == start && count.unsigned_abs() > EMPTY_ITEMS_MAX {
                    return refused("a list is too long");
                }
            }
        }
    }

    fn text(&mut self) -> Result<String, ConnectError> {
        let length = self.length()?;
        match std::str::from_utf8(self.take(length)?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => refused("a string is not UTF-8"),
        }
    }

    fn length(&mut self) -> Result<usize, ConnectError> {
        usize::try_from(self.long()?).or_else(|_| refused("a length is negative"))
    }

    fn long(&mut self) -> Result<i64, ConnectError> {
        let mut bits = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            bits |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        refused("a number is too long")
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], ConnectError> {
        match self.at.checked_add(count).filter(|end| *end <= self.bytes.len()) {
            Some(end) => {
                let taken = &self.bytes[self.at..end];
                self.at = end;
                Ok(taken)
            }
            None => refused("the bytes end within the value"),
        }
    }
}

/// A base value as what its schema says it is.
fn typed(value: Value, schema: &Schema) -> Result<Value, ConnectError> {
    let narrow = |number: i64| match i32::try_from(number) {
        Ok(number) => Ok(number),
        Err(_) => refused(format!("{number} is no int")),
    };
    Ok(match (value, &schema.kind, schema.as_logical()) {
        (Value::Int64(number), _, Some(Logical::Date)) => Value::Date(narrow(number)?),
        (Value::Int64(number), _, Some(Logical::Time)) => Value::Time(narrow(number)?),
        (Value::Int64(number), _, Some(Logical::Timestamp)) => Value::Timestamp(number),
        (Value::Int64(number), Kind::Int8, _) => Value::Int8(narrow(number)? as i8),
        (Value::Int64(number), Kind::Int16, _) => Value::Int16(narrow(number)? as i16),
        (Value::Int64(number), Kind::Int32, _) => Value::Int32(narrow(number)?),
        (Value::Bytes(bytes), _, Some(Logical::Decimal)) => {
            match Decimal::from_bytes(&bytes, schema.scale().unwrap_or(0)) {
                Some(decimal) => Value::Decimal(decimal),
                None => return refused("a decimal has more digits than 32 bytes hold"),
            }
        }
        (value, ..) => value,
    })
}
