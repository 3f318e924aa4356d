//! Schemas of Kafka Connect: types that may be optional, named, versioned and have parameters.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;

use super::value::Value;

/// The names of Connect's logical types begin with this.
const LOGICAL: &str = "org.apache.kafka.connect.data.";
/// Parameter of a decimal: digits behind its point.
pub const SCALE: &str = "scale";

/// A type, and all that is said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    pub kind: Kind,
    pub optional: bool,
    pub default: Option<Value>,
    pub name: Option<String>,
    pub version: Option<i32>,
    pub doc: Option<String>,
    pub parameters: Option<IndexMap<String, String>>,
}

/// Connect's types.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Boolean,
    String,
    Bytes,
    Array(Arc<Schema>),
    /// Keys and values.
    Map(Arc<Schema>, Arc<Schema>),
    Struct(Vec<Field>),
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    pub schema: Arc<Schema>,
}

/// What the name of a schema makes of its base type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logical {
    /// Bytes.
    Decimal,
    /// Days since 1970, an int32.
    Date,
    /// Milliseconds of a day, an int32.
    Time,
    /// Milliseconds since 1970, an int64.
    Timestamp,
}

/// The name that two of the fields have.
pub fn twice(fields: &[Field]) -> Option<&str> {
    let mut seen = HashSet::with_capacity(fields.len());
    fields.iter().map(|field| field.name.as_str()).find(|name| !seen.insert(*name))
}

impl Schema {
    /// Required, without a name.
    pub fn new(kind: Kind) -> Schema {
        Schema { kind, optional: false, default: None, name: None, version: None, doc: None, parameters: None }
    }

    /// Optional, without a name.
    pub fn optional(kind: Kind) -> Schema {
        Schema { optional: true, ..Schema::new(kind) }
    }

    /// A struct of these fields.
    pub fn of_fields(fields: Vec<(String, Arc<Schema>)>) -> Schema {
        Schema::new(Kind::Struct(fields.into_iter().map(|(name, schema)| Field { name, schema }).collect()))
    }

    /// Of a logical type.
    pub fn logical(logical: Logical) -> Schema {
        let (kind, name) = match logical {
            Logical::Decimal => (Kind::Bytes, "Decimal"),
            Logical::Date => (Kind::Int32, "Date"),
            Logical::Time => (Kind::Int32, "Time"),
            Logical::Timestamp => (Kind::Int64, "Timestamp"),
        };
        Schema { name: Some(format!("{LOGICAL}{name}")), version: Some(1), ..Schema::new(kind) }
    }

    /// Which logical type it is, if its name is one of theirs.
    pub fn as_logical(&self) -> Option<Logical> {
        match (self.name.as_deref()?.strip_prefix(LOGICAL)?, &self.kind) {
            ("Decimal", Kind::Bytes) => Some(Logical::Decimal),
            ("Date", Kind::Int32) => Some(Logical::Date),
            ("Time", Kind::Int32) => Some(Logical::Time),
            ("Timestamp", Kind::Int64) => Some(Logical::Timestamp),
            _ => None,
        }
    }

    /// Digits behind a decimal's point.
    pub fn scale(&self) -> Option<i32> {
        self.parameters.as_ref()?.get(SCALE)?.parse().ok()
    }

    /// The fields of a struct; none of another type.
    pub fn fields(&self) -> &[Field] {
        match &self.kind {
            Kind::Struct(fields) => fields,
            _ => &[],
        }
    }

    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields().iter().find(|field| field.name == name)
    }

    /// The same with other fields.
    pub fn with_fields(&self, fields: Vec<Field>) -> Schema {
        Schema { kind: Kind::Struct(fields), ..self.clone() }
    }
}

impl Kind {
    /// As messages of Connect call it.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Int8 => "INT8",
            Kind::Int16 => "INT16",
            Kind::Int32 => "INT32",
            Kind::Int64 => "INT64",
            Kind::Float32 => "FLOAT32",
            Kind::Float64 => "FLOAT64",
            Kind::Boolean => "BOOLEAN",
            Kind::String => "STRING",
            Kind::Bytes => "BYTES",
            Kind::Array(_) => "ARRAY",
            Kind::Map(..) => "MAP",
            Kind::Struct(_) => "STRUCT",
        }
    }
}
