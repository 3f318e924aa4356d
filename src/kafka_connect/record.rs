//! A record on its way through converters and transformations, and why it may not go on.

use std::fmt;
use std::sync::Arc;

use super::schema::Schema;
use super::value::{Struct, Value};

/// A value and its schema; without one the value says itself what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    pub schema: Option<Arc<Schema>>,
    pub value: Value,
}

/// A named value beside a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    pub name: String,
    pub datum: Datum,
}

/// A record of a topic, or on its way to one.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub topic: String,
    /// `None`: the key decides.
    pub partition: Option<i32>,
    /// Where it was read from; `None` on the way to a topic.
    pub offset: Option<i64>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    pub key: Datum,
    pub value: Datum,
    /// In order; names may come several times.
    pub headers: Vec<Header>,
}

/// A record cannot be converted or transformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectError {
    /// In Connect's words.
    pub message: String,
    /// The registry does not answer: nothing is wrong with the record, which may be tried again.
    pub away: bool,
}

/// The Java class of most of these errors.
const DATA_EXCEPTION: &str = "org.apache.kafka.connect.errors.DataException";

/// How the messages of others begin, and their classes.
const OTHER_EXCEPTIONS: [(&str, &str); 5] = [
    ("Cannot create field because of ", "org.apache.kafka.connect.errors.SchemaBuilderException"),
    ("Schema Schema{", "org.apache.kafka.connect.errors.ConnectException"),
    ("Unknown field: ", "java.lang.IllegalArgumentException"),
    ("No group with name ", "java.lang.IllegalArgumentException"),
    ("No group ", "java.lang.IndexOutOfBoundsException"),
];

/// The Java class of the error with this message: a sentence of Connect's is always one exception's.
pub fn exception_of(message: &str) -> &'static str {
    let other = OTHER_EXCEPTIONS.iter().find(|(begin, _)| message.starts_with(begin));
    other.map_or(DATA_EXCEPTION, |(_, class)| class)
}

impl ConnectError {
    /// An error of the record's own.
    pub fn new(message: impl Into<String>) -> ConnectError {
        ConnectError { message: message.into(), away: false }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ConnectError {}

/// An error with this message.
pub fn refused<T>(message: impl Into<String>) -> Result<T, ConnectError> {
    Err(ConnectError::new(message))
}

impl Datum {
    /// Nothing, of no type: what Connect calls a tombstone.
    pub const NULL: Datum = Datum { schema: None, value: Value::Null };

    pub fn schemaless(value: Value) -> Datum {
        Datum { schema: None, value }
    }

    pub fn new(schema: Schema, value: Value) -> Datum {
        Datum { schema: Some(Arc::new(schema)), value }
    }

    /// A struct, or what stands here instead; `purpose` is Connect's word for what it is needed for.
    pub fn as_struct(&self, purpose: &str) -> Result<&Struct, ConnectError> {
        match &self.value {
            Value::Struct(row) => Ok(row),
            other => refused(format!("Only Struct objects supported for [{purpose}], found: {}", other.java_class())),
        }
    }

    /// A map without schema, or what stands here instead.
    pub fn as_map(&self, purpose: &str) -> Result<&[(Value, Value)], ConnectError> {
        match &self.value {
            Value::Map(entries) => Ok(entries),
            other => refused(format!(
                "Only Map objects supported in absence of schema for [{purpose}], found: {}",
                other.java_class()
            )),
        }
    }
}

/// The value of a map's key that is a text.
pub fn map_get<'a>(entries: &'a [(Value, Value)], key: &str) -> Option<&'a Value> {
    entries.iter().find(|(known, _)| matches!(known, Value::String(text) if text == key)).map(|(_, value)| value)
}

/// Sets it, in its place or at the end.
pub fn map_put(entries: &mut Vec<(Value, Value)>, key: &str, value: Value) {
    match entries.iter_mut().find(|(known, _)| matches!(known, Value::String(text) if text == key)) {
        Some((_, old)) => *old = value,
        None => entries.push((Value::String(key.to_owned()), value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_class_of_the_genuine_one() {
        let class = |message: &str| exception_of(message).rsplit('.').next().unwrap_or_default();
        for (message, expected) in [
            ("Cannot create field because of field name duplication a", "SchemaBuilderException"),
            ("Unknown field: nosuch", "IllegalArgumentException"),
            ("Schema Schema{INT32} does not correspond to a known timestamp type format", "ConnectException"),
            ("No group 9", "IndexOutOfBoundsException"),
            ("No group with name {x}", "IllegalArgumentException"),
            ("Schema must contain 'type' field", "DataException"),
            ("Field does not exist: nosuch", "DataException"),
        ] {
            assert_eq!(class(message), expected, "{message}");
        }
    }
}
