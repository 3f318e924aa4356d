//! Converters: between the bytes of a key, value or header and a [`Datum`].

mod avro;
mod json;
mod plain;
pub mod simple_header;

use std::sync::Arc;

use super::config::{ConfigError, Settings};
use super::record::{ConnectError, Datum};
use super::schema::Schema;

pub use avro::{AvroConverter, Dialect, avro_schema, connect_schema};
pub use json::{JsonConverter, read_schema, schemaless as schemaless_json};
pub use plain::PlainConverter;
pub use simple_header::SimpleHeaderConverter;

/// Between bytes and values. `topic` is for messages, and for converters that ask a registry.
pub trait Converter: Send + Sync {
    /// The bytes of a value; `None`: null, which a topic takes for a deletion.
    ///
    /// # Errors
    /// A value that the format has no bytes for.
    fn encode(&self, topic: &str, datum: &Datum) -> Result<Option<Vec<u8>>, ConnectError>;

    /// The value of bytes.
    ///
    /// # Errors
    /// Bytes that are no value.
    fn decode(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Datum, ConnectError>;

    /// What the bytes of values of this schema are, where a null is no bytes; `None`: only [`Converter::encode`] can tell.
    fn form(&self, _topic: &str, _schema: Option<&Arc<Schema>>) -> Option<Form> {
        None
    }
}

/// Bytes that this house's own formats write, and much faster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// Framed Avro of this schema.
    Avro { id: i32, schema: String },
    /// The plain text of one value.
    Text,
    /// JSON, between what stands around each value. Decimals are numbers, or else bytes.
    Json { before: Vec<u8>, behind: &'static [u8], decimal_numeric: bool },
}

/// Makes a converter of its settings.
pub type Make = fn(Settings<'_>) -> Result<Box<dyn Converter>, ConfigError>;

/// Classes, and what makes them.
pub const CONVERTERS: &[(&str, Make)] = &[
    ("org.apache.kafka.connect.storage.StringConverter", plain::string),
    ("org.apache.kafka.connect.converters.ByteArrayConverter", |_| Ok(Box::new(PlainConverter::Bytes))),
    ("org.apache.kafka.connect.json.JsonConverter", |settings| Ok(Box::new(JsonConverter::new(settings)?))),
    ("org.apache.kafka.connect.converters.ShortConverter", |_| Ok(Box::new(PlainConverter::Short))),
    ("org.apache.kafka.connect.converters.IntegerConverter", |_| Ok(Box::new(PlainConverter::Integer))),
    ("org.apache.kafka.connect.converters.LongConverter", |_| Ok(Box::new(PlainConverter::Long))),
    ("org.apache.kafka.connect.converters.FloatConverter", |_| Ok(Box::new(PlainConverter::Float))),
    ("org.apache.kafka.connect.converters.DoubleConverter", |_| Ok(Box::new(PlainConverter::Double))),
    ("org.apache.kafka.connect.converters.BooleanConverter", |_| Ok(Box::new(PlainConverter::Boolean))),
];

/// The header converter where none is named.
pub const SIMPLE_HEADER: &str = "org.apache.kafka.connect.storage.SimpleHeaderConverter";

/// The converter of a class, by its full name or its last part, with or without `Converter`.
///
/// # Errors
/// A setting that cannot be; the outer `None`: there is no such class.
pub fn converter(class: &str, settings: Settings<'_>) -> Option<Result<Box<dyn Converter>, ConfigError>> {
    CONVERTERS.iter().find(|(full, _)| is_called(full, class)).map(|(_, make)| make(settings))
}

/// The same for headers, which have one converter more.
///
/// # Errors
/// As [`converter`].
pub fn header_converter(class: &str, settings: Settings<'_>) -> Option<Result<Box<dyn Converter>, ConfigError>> {
    if is_called(SIMPLE_HEADER, class) { Some(Ok(Box::new(SimpleHeaderConverter))) } else { converter(class, settings) }
}

/// Confluent's Avro converter, which needs a registry: [`AvroConverter`].
pub const AVRO: &str = "io.confluent.connect.avro.AvroConverter";

pub fn is_avro(class: &str) -> bool {
    is_called(AVRO, class)
}

/// The full name of a class that may be named by its last part; one that is not known as it is.
pub fn full_name(class: &str) -> &str {
    let known = CONVERTERS.iter().map(|(full, _)| *full).chain([SIMPLE_HEADER, AVRO]);
    known.into_iter().find(|full| is_called(full, class)).unwrap_or(class)
}

fn is_called(full: &str, class: &str) -> bool {
    let short = full.rsplit('.').next().unwrap_or(full);
    full == class || short == class || short.strip_suffix("Converter") == Some(class)
}
