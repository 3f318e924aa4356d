//! The Arrow columns of an Avro schema, as the formats give them: what a generator's rows are typed as.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit, UnionFields, UnionMode};
use serde_json::Value as Json;

use super::rules::Problem;
use crate::registry::avro::{NamedKind, Primitive, Properties, Schema, Type, namespace, short_name};

/// The type of `ty`.
///
/// # Errors
/// What cannot be a column: a recursive type, a decimal of more than 76 digits.
pub fn data_type(schema: &Schema, ty: &Type) -> Result<DataType, Problem> {
    let mut types = Types { schema, path: Vec::new(), open: Vec::new() };
    types.data_type(ty)
}

/// A column of this name and type.
///
/// # Errors
/// As [`data_type`].
pub fn field(schema: &Schema, name: &str, ty: &Type) -> Result<Field, Problem> {
    let data_type = data_type(schema, ty)?;
    Ok(named_field(schema, name, ty, data_type))
}

struct Types<'a> {
    schema: &'a Schema,
    path: Vec<String>,
    /// Named types around the one that is being read.
    open: Vec<&'a str>,
}

impl<'a> Types<'a> {
    fn problem<T>(&self, code: &'static str, message: String) -> Result<T, Problem> {
        Err(Problem::error(&self.path, code, message))
    }

    fn field(&mut self, name: &str, ty: &'a Type) -> Result<Field, Problem> {
        let data_type = self.data_type(ty)?;
        Ok(named_field(self.schema, name, ty, data_type))
    }

    fn data_type(&mut self, ty: &'a Type) -> Result<DataType, Problem> {
        match ty {
            Type::Primitive { kind: Primitive::Bytes, properties } if is_decimal(properties) => {
                self.decimal(properties)
            }
            Type::Primitive { kind, properties } => Ok(primitive(*kind, properties)),
            Type::Array { items, .. } => {
                Ok(DataType::List(Arc::new(self.field(Field::LIST_FIELD_DEFAULT_NAME, items)?)))
            }
            Type::Map { values, .. } => {
                let value = self.field("value", values)?;
                let entries = Fields::from(vec![Field::new("key", DataType::Utf8, false), value]);
                Ok(DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false))
            }
            Type::Union(branches) => match only_branch(branches) {
                Some(inner) => self.data_type(inner),
                None => self.union(branches),
            },
            Type::Definition(name) | Type::Reference(name) => self.named(name),
        }
    }

    fn union(&mut self, branches: &'a [Type]) -> Result<DataType, Problem> {
        let mut fields = Vec::with_capacity(branches.len());
        for branch in branches {
            let field = self.field("", branch)?;
            let name = match branch {
                Type::Definition(name) | Type::Reference(name) => name.clone(),
                _ => branch_name(field.data_type()).to_string(),
            };
            // In a union the branch says what is null, not the branch's field.
            let is_null = field.data_type().is_null();
            fields.push(Arc::new(field.with_name(name).with_nullable(is_null)));
        }
        let Ok(count) = i8::try_from(fields.len()) else {
            return self.problem("datagen.union", "a union has at most 127 branches".into());
        };
        Ok(DataType::Union(UnionFields::from_iter((0..count).zip(fields)), UnionMode::Dense))
    }

    fn named(&mut self, name: &'a str) -> Result<DataType, Problem> {
        if self.open.contains(&name) {
            return self.problem("datagen.recursive", format!("`{name}` contains itself; columns cannot be recursive"));
        }
        let named = &self.schema.named[name];
        match &named.kind {
            NamedKind::Record { fields } => {
                self.open.push(name);
                let mut columns = Vec::with_capacity(fields.len());
                for field in fields {
                    self.path.push(field.name.clone());
                    let column = self.field(&field.name, &field.ty)?;
                    self.path.pop();
                    let mut metadata = column.metadata().clone();
                    metadata.extend(field.doc.iter().map(|doc| ("avro.doc".into(), doc.clone())));
                    let default = field.default.iter();
                    metadata.extend(default.map(|json| ("avro.field.default".into(), json.to_string())));
                    columns.push(column.with_metadata(metadata));
                }
                self.open.pop();
                Ok(DataType::Struct(columns.into()))
            }
            NamedKind::Enum { .. } => Ok(DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))),
            NamedKind::Fixed { .. } if is_decimal(&named.properties) => self.decimal(&named.properties),
            NamedKind::Fixed { size } => match i32::try_from(*size) {
                Ok(size) => Ok(DataType::FixedSizeBinary(size)),
                Err(_) => self.problem("datagen.fixed", format!("the fixed `{name}` is too long")),
            },
        }
    }

    fn decimal(&self, properties: &Properties) -> Result<DataType, Problem> {
        let number = |key: &str| properties.get(key).and_then(Json::as_i64).unwrap_or(0);
        let scale = number("scale") as i8;
        match number("precision") {
            precision @ ..=38 => Ok(DataType::Decimal128(precision as u8, scale)),
            precision @ ..=76 => Ok(DataType::Decimal256(precision as u8, scale)),
            more => self.problem("datagen.decimal", format!("a decimal has at most 76 digits, not {more}")),
        }
    }
}

fn named_field(schema: &Schema, name: &str, ty: &Type, data_type: DataType) -> Field {
    let nullable_of = match ty {
        Type::Union(branches) => only_branch(branches),
        _ => None,
    };
    let may_be_null = match ty {
        Type::Union(branches) => branches.iter().any(is_null),
        other => is_null(other),
    };
    let mut metadata = HashMap::new();
    if let Some(named) = schema.definition(nullable_of.unwrap_or(ty)) {
        metadata.insert("avro.name".into(), short_name(&named.full_name).into());
        if !namespace(&named.full_name).is_empty() {
            metadata.insert("avro.namespace".into(), namespace(&named.full_name).into());
        }
        if let NamedKind::Enum { symbols, .. } = &named.kind {
            metadata.insert("avro.enum.symbols".into(), Json::from(symbols.clone()).to_string());
        }
        // A decimal does not say of itself how many bytes it has.
        if let (NamedKind::Fixed { size }, DataType::Decimal128(..) | DataType::Decimal256(..)) =
            (&named.kind, &data_type)
        {
            metadata.insert("avro.fixed.size".into(), size.to_string());
        }
    }
    Field::new(name, data_type, may_be_null).with_metadata(metadata)
}

pub fn is_null(ty: &Type) -> bool {
    matches!(ty, Type::Primitive { kind: Primitive::Null, .. })
}

/// The other branch of a union of null and one other, or the one that stands alone: columns are of its type.
pub fn only_branch(branches: &[Type]) -> Option<&Type> {
    match branches {
        [null, other] | [other, null] if is_null(null) => Some(other),
        [other] if !is_null(other) => Some(other),
        _ => None,
    }
}

/// Avro itself falls back to plain bytes where precision or scale make no sense.
fn is_decimal(properties: &Properties) -> bool {
    let number = |key: &str| properties.get(key).and_then(Json::as_i64);
    let (precision, scale) = (number("precision").unwrap_or(0), number("scale").unwrap_or(0));
    properties.get("logicalType").and_then(Json::as_str) == Some("decimal")
        && precision > 0
        && (0..=precision).contains(&scale)
}

/// A generated `uuid` is any text, so it stays text.
fn primitive(kind: Primitive, properties: &Properties) -> DataType {
    let utc = || Some(Arc::from("UTC"));
    match (kind, properties.get("logicalType").and_then(Json::as_str).unwrap_or_default()) {
        (Primitive::Int, "date") => DataType::Date32,
        (Primitive::Int, "time-millis") => DataType::Time32(TimeUnit::Millisecond),
        (Primitive::Long, "time-micros") => DataType::Time64(TimeUnit::Microsecond),
        (Primitive::Long, "timestamp-millis") => DataType::Timestamp(TimeUnit::Millisecond, utc()),
        (Primitive::Long, "timestamp-micros") => DataType::Timestamp(TimeUnit::Microsecond, utc()),
        (Primitive::Long, "timestamp-nanos") => DataType::Timestamp(TimeUnit::Nanosecond, utc()),
        (Primitive::Long, "local-timestamp-millis") => DataType::Timestamp(TimeUnit::Millisecond, None),
        (Primitive::Long, "local-timestamp-micros") => DataType::Timestamp(TimeUnit::Microsecond, None),
        (Primitive::Long, "local-timestamp-nanos") => DataType::Timestamp(TimeUnit::Nanosecond, None),
        (Primitive::Null, _) => DataType::Null,
        (Primitive::Boolean, _) => DataType::Boolean,
        (Primitive::Int, _) => DataType::Int32,
        (Primitive::Long, _) => DataType::Int64,
        (Primitive::Float, _) => DataType::Float32,
        (Primitive::Double, _) => DataType::Float64,
        (Primitive::Bytes, _) => DataType::Binary,
        (Primitive::String, _) => DataType::Utf8,
    }
}

/// What the Avro format calls a branch that has no name of its own.
fn branch_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Null => "null",
        DataType::Boolean => "boolean",
        DataType::Int32 => "int",
        DataType::Int64 => "long",
        DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Binary => "bytes",
        DataType::Utf8 => "string",
        DataType::Date32 => "date",
        DataType::Time32(_) => "time-millis",
        DataType::Time64(_) => "time-micros",
        DataType::Timestamp(TimeUnit::Millisecond, Some(_)) => "timestamp-millis",
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamp-micros",
        DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => "timestamp-nanos",
        DataType::Timestamp(TimeUnit::Millisecond, None) => "local-timestamp-millis",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "local-timestamp-micros",
        DataType::Timestamp(TimeUnit::Nanosecond, None) => "local-timestamp-nanos",
        DataType::Map(..) => "map",
        _ => "array",
    }
}
