//! Converters whose bytes are one value: text, bytes, numbers, a boolean.

use std::sync::Arc;

use super::super::config::{ConfigError, Settings};
use super::super::record::{ConnectError, Datum, refused};
use super::super::schema::{Kind, Schema};
use super::super::value::Value;
use super::{Converter, Form};

/// One value, of this type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainConverter {
    /// UTF-8.
    String,
    Bytes,
    Short,
    Integer,
    Long,
    Float,
    Double,
    Boolean,
}

pub fn string(settings: Settings<'_>) -> Result<Box<dyn Converter>, ConfigError> {
    const KEY: &str = "converter.encoding";
    match settings.get(KEY) {
        None => Ok(Box::new(PlainConverter::String)),
        Some(name) if ["utf-8", "utf8"].contains(&name.to_lowercase().as_str()) => Ok(Box::new(PlainConverter::String)),
        Some(name) => Err(settings.invalid(KEY, name, "only UTF-8 is available")),
    }
}

impl PlainConverter {
    fn kind(self) -> Kind {
        match self {
            PlainConverter::String => Kind::String,
            PlainConverter::Bytes => Kind::Bytes,
            PlainConverter::Short => Kind::Int16,
            PlainConverter::Integer => Kind::Int32,
            PlainConverter::Long => Kind::Int64,
            PlainConverter::Float => Kind::Float32,
            PlainConverter::Double => Kind::Float64,
            PlainConverter::Boolean => Kind::Boolean,
        }
    }

    fn word(self) -> &'static str {
        match self {
            PlainConverter::Short => "short",
            PlainConverter::Integer => "integer",
            PlainConverter::Long => "long",
            PlainConverter::Float => "float",
            PlainConverter::Double => "double",
            PlainConverter::Boolean => "boolean",
            PlainConverter::String | PlainConverter::Bytes => "string",
        }
    }
}

impl Converter for PlainConverter {
    fn form(&self, _topic: &str, schema: Option<&Arc<Schema>>) -> Option<Form> {
        // Kinds whose text is the same in Java and here.
        let is_plain = |kind: &Kind| {
            matches!(kind, Kind::String | Kind::Int8 | Kind::Int16 | Kind::Int32 | Kind::Int64 | Kind::Boolean)
        };
        let schema = schema?;
        (*self == PlainConverter::String && schema.as_logical().is_none() && is_plain(&schema.kind))
            .then_some(Form::Text)
    }

    fn encode(&self, _topic: &str, datum: &Datum) -> Result<Option<Vec<u8>>, ConnectError> {
        if let (PlainConverter::Bytes, Some(schema)) = (self, &datum.schema)
            && schema.kind != Kind::Bytes
        {
            return refused(format!("Invalid schema type for ByteArrayConverter: {}", schema.kind.word()));
        }
        Ok(Some(match (self, &datum.value) {
            (_, Value::Null) => return Ok(None),
            (PlainConverter::String, value) => value.java_text().into_bytes(),
            (PlainConverter::Bytes, Value::Bytes(bytes)) => bytes.clone(),
            (PlainConverter::Short, Value::Int16(number)) => number.to_be_bytes().to_vec(),
            (PlainConverter::Integer, Value::Int32(number)) => number.to_be_bytes().to_vec(),
            (PlainConverter::Long, Value::Int64(number)) => number.to_be_bytes().to_vec(),
            (PlainConverter::Float, Value::Float32(number)) => number.to_be_bytes().to_vec(),
            (PlainConverter::Double, Value::Float64(number)) => number.to_be_bytes().to_vec(),
            (PlainConverter::Boolean, Value::Boolean(truth)) => vec![u8::from(*truth)],
            (PlainConverter::Bytes, other) => {
                return refused(format!(
                    "ByteArrayConverter is not compatible with objects of type class {}",
                    other.java_class()
                ));
            }
            (_, other) => {
                return refused(format!("Failed to serialize to {} (was class {})", self.word(), other.java_class()));
            }
        }))
    }

    fn decode(&self, _topic: &str, bytes: Option<&[u8]>) -> Result<Datum, ConnectError> {
        let schema = Schema::optional(self.kind());
        let Some(bytes) = bytes else { return Ok(Datum::new(schema, Value::Null)) };
        fn exactly<const N: usize>(bytes: &[u8], word: &str) -> Result<[u8; N], ConnectError> {
            let read: Result<[u8; N], _> = bytes.try_into();
            read.or_else(|_| refused(format!("Failed to deserialize {word}: {} bytes instead of {N}", bytes.len())))
        }
        let word = self.word();
        let value = match self {
            PlainConverter::String => Value::String(String::from_utf8_lossy(bytes).into_owned()),
            PlainConverter::Bytes => Value::Bytes(bytes.to_vec()),
            PlainConverter::Short => Value::Int16(i16::from_be_bytes(exactly(bytes, word)?)),
            PlainConverter::Integer => Value::Int32(i32::from_be_bytes(exactly(bytes, word)?)),
            PlainConverter::Long => Value::Int64(i64::from_be_bytes(exactly(bytes, word)?)),
            PlainConverter::Float => Value::Float32(f32::from_be_bytes(exactly(bytes, word)?)),
            PlainConverter::Double => Value::Float64(f64::from_be_bytes(exactly(bytes, word)?)),
            PlainConverter::Boolean => match exactly::<1>(bytes, word)? {
                [0] => Value::Boolean(false),
                [1] => Value::Boolean(true),
                [other] => {
                    return refused(format!("Failed to deserialize boolean: {other:#04x} is neither 0x00 nor 0x01"));
                }
            },
        };
        Ok(Datum::new(schema, value))
    }
}
