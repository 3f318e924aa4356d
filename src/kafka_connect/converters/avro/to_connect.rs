//! The Connect schema of an Avro schema.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::super::super::record::{ConnectError, refused};
use super::super::super::schema::{Field, Kind, Logical, Schema};
use super::super::super::value::{Decimal, Struct, Value};
use super::PACKAGE;
use super::dialect::{Dialect, union_name};
use crate::registry::avro::{NamedKind, Primitive, Properties, Schema as AvroSchema, Type, short_name};

/// What Confluent's converter makes of an Avro schema.
///
/// # Errors
/// A recursive type, or a null that stands alone.
pub fn connect_schema(avro: &AvroSchema, dialect: Dialect) -> Result<Arc<Schema>, ConnectError> {
    Reader { avro, dialect, open: Vec::new() }.schema(&avro.root).map(Arc::new)
}

struct Reader<'a> {
    avro: &'a AvroSchema,
    dialect: Dialect,
    /// Records around the one that is read.
    open: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    fn schema(&mut self, ty: &'a Type) -> Result<Schema, ConnectError> {
        match ty {
            Type::Primitive { kind, properties } => self.described(primitive(*kind, properties)?, properties),
            Type::Array { items, properties } => {
                let inner = self.schema(items)?;
                if self.is_map_entry(items) {
                    let find = |name: &str| inner.field(name).map(|field| field.schema.clone());
                    if let (Some(key), Some(value)) = (find("key"), find("value")) {
                        return self.described(Schema::new(Kind::Map(key, value)), properties);
                    }
                }
                self.described(Schema::new(Kind::Array(Arc::new(inner))), properties)
            }
            Type::Map { values, properties } => {
                let values = Arc::new(self.schema(values)?);
                let keys = Arc::new(Schema { optional: self.dialect.optional_keys, ..Schema::new(Kind::String) });
                self.described(Schema::new(Kind::Map(keys, values)), properties)
            }
            Type::Union(branches) => self.union(branches),
            Type::Definition(name) | Type::Reference(name) => self.named(name),
        }
    }

    fn is_map_entry(&self, ty: &Type) -> bool {
        let Some(named) = self.avro.definition(ty) else { return false };
        named.full_name == format!("{PACKAGE}.MapEntry")
            || named.properties.get("connect.internal.type").and_then(Json::as_str) == Some("MapEntry")
    }

    fn union(&mut self, branches: &'a [Type]) -> Result<Schema, ConnectError> {
        let is_null = |ty: &&Type| matches!(ty, Type::Primitive { kind: Primitive::Null, .. });
        let others: Vec<&Type> = branches.iter().filter(|branch| !is_null(branch)).collect();
        let optional = others.len() < branches.len();
        let is_alone = others.len() == 1 && (self.dialect.flatten || branches.len() > 1);
        if let ([only], true) = (others.as_slice(), is_alone) {
            let mut schema = self.schema(only)?;
            schema.optional |= optional;
            return Ok(schema);
        }
        let mut fields: Vec<Field> = Vec::with_capacity(others.len());
        for branch in others {
            let mut schema = self.schema(branch)?;
            schema.optional = true;
            let name = branch_field(branch, self.dialect).to_owned();
            if fields.iter().any(|field| field.name == name) {
                return refused(format!("Multiple union schemas map to the Connect union field name: {name}"));
            }
            fields.push(Field { name, schema: Arc::new(schema) });
        }
        Ok(Schema { name: Some(union_name()), optional, ..Schema::new(Kind::Struct(fields)) })
    }

    fn named(&mut self, name: &'a str) -> Result<Schema, ConnectError> {
        if self.open.contains(&name) {
            return refused(format!("the record {name} contains itself, which is not available"));
        }
        let named = &self.avro.named[name];
        let mut parameters = IndexMap::new();
        let kind = match &named.kind {
            NamedKind::Record { fields } => {
                self.open.push(name);
                let mut read = Vec::with_capacity(fields.len());
                let doc = named.doc.as_ref().filter(|_| self.dialect.metadata);
                parameters.extend(doc.map(|doc| (format!("{PACKAGE}.record.doc"), doc.clone())));
                for field in fields {
                    let mut schema = self.schema(&field.ty)?;
                    // That of a union is lost, as in the genuine converter; `connect.default` says it again.
                    let default = field.default.as_ref().filter(|_| !matches!(field.ty, Type::Union(_)));
                    if let Some(default) = default.filter(|default| !default.is_null()) {
                        schema.default = Some(default_value(&schema, default)?);
                    }
                    if let Some(doc) = field.doc.as_ref().filter(|_| self.dialect.metadata) {
                        parameters.insert(format!("{PACKAGE}.field.doc.{}", field.name), doc.clone());
                    }
                    read.push(Field { name: field.name.clone(), schema: Arc::new(schema) });
                }
                self.open.pop();
                Kind::Struct(read)
            }
            NamedKind::Enum { symbols, default } => {
                for (key, text) in [("doc", &named.doc), ("default", default)] {
                    let text = text.as_ref().filter(|_| self.dialect.metadata);
                    let key = format!("{PACKAGE}.enum.{key}.{}", short_name(name));
                    parameters.extend(text.map(|text| (key, text.clone())));
                }
                parameters.insert(format!("{PACKAGE}.Enum"), name.to_owned());
                parameters.extend(symbols.iter().map(|symbol| (format!("{PACKAGE}.Enum.{symbol}"), symbol.clone())));
                Kind::String
            }
            NamedKind::Fixed { size } => {
                if let Some(decimal) = decimal(&named.properties) {
                    return self.described(decimal, &named.properties);
                }
                parameters.insert("connect.fixed.size".into(), size.to_string());
                Kind::Bytes
            }
        };
        let mut schema = Schema { name: Some(name.to_owned()), ..Schema::new(kind) };
        if !parameters.is_empty() {
            schema.parameters = Some(parameters);
        }
        self.described(schema, &named.properties)
    }

    /// What `connect.*` properties say beside.
    fn described(&self, schema: Schema, properties: &Properties) -> Result<Schema, ConnectError> {
        described(schema, properties, self.dialect)
    }
}

/// How the field of a union's branch is called.
fn branch_field(branch: &Type, dialect: Dialect) -> &str {
    match branch {
        Type::Primitive { kind, .. } => kind.word(),
        Type::Array { .. } => "array",
        Type::Map { .. } => "map",
        Type::Union(_) => "union",
        Type::Definition(name) | Type::Reference(name) if dialect.enhanced => name,
        Type::Definition(name) | Type::Reference(name) => short_name(name),
    }
}

fn described(mut schema: Schema, properties: &Properties, dialect: Dialect) -> Result<Schema, ConnectError> {
    let text = |key: &str| properties.get(key).and_then(Json::as_str).map(str::to_owned);
    schema.name = text("connect.name").or(schema.name);
    schema.doc = text("connect.doc").filter(|_| dialect.metadata).or(schema.doc);
    let version =
        properties.get("connect.version").and_then(Json::as_i64).and_then(|version| i32::try_from(version).ok());
    schema.version = version.or(schema.version);
    if let Some(Json::Object(given)) = properties.get("connect.parameters").filter(|_| dialect.metadata) {
        let all = schema.parameters.get_or_insert_default();
        all.extend(given.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))));
    }
    if let Some(default) = properties.get("connect.default").filter(|default| !default.is_null()) {
        schema.default = Some(default_value(&schema, default)?);
    }
    Ok(schema)
}

fn primitive(kind: Primitive, properties: &Properties) -> Result<Schema, ConnectError> {
    let property = |key: &str| properties.get(key).and_then(Json::as_str).unwrap_or_default();
    Ok(match (kind, property("logicalType"), property("connect.type")) {
        (Primitive::Null, ..) => return refused("Standalone null schemas are not supported by this converter"),
        (Primitive::Int, "date", _) => Schema::logical(Logical::Date),
        (Primitive::Int, "time-millis", _) => Schema::logical(Logical::Time),
        (Primitive::Long, "timestamp-millis", _) => Schema::logical(Logical::Timestamp),
        (Primitive::Bytes, "decimal", _) => decimal(properties).unwrap_or_else(|| Schema::new(Kind::Bytes)),
        (Primitive::Int, _, "int8") => Schema::new(Kind::Int8),
        (Primitive::Int, _, "int16") => Schema::new(Kind::Int16),
        (Primitive::Int, ..) => Schema::new(Kind::Int32),
        (Primitive::Long, ..) => Schema::new(Kind::Int64),
        (Primitive::Float, ..) => Schema::new(Kind::Float32),
        (Primitive::Double, ..) => Schema::new(Kind::Float64),
        (Primitive::Boolean, ..) => Schema::new(Kind::Boolean),
        (Primitive::Bytes, ..) => Schema::new(Kind::Bytes),
        (Primitive::String, ..) => Schema::new(Kind::String),
    })
}

/// A decimal, if precision and scale make one.
fn decimal(properties: &Properties) -> Option<Schema> {
    let number = |key: &str| properties.get(key).and_then(Json::as_i64);
    let (precision, scale) = (number("precision")?, number("scale").unwrap_or(0));
    if properties.get("logicalType").and_then(Json::as_str) != Some("decimal") || !(0..=precision).contains(&scale) {
        return None;
    }
    let mut parameters = IndexMap::from_iter([("scale".to_owned(), scale.to_string())]);
    if precision != 64 {
        parameters.insert("connect.decimal.precision".into(), precision.to_string());
    }
    Some(Schema { parameters: Some(parameters), ..Schema::logical(Logical::Decimal) })
}

/// A default as Avro writes it.
fn default_value(schema: &Schema, json: &Json) -> Result<Value, ConnectError> {
    let wrong = || ConnectError::new(format!("a default of {json} is no {}", schema.kind.word()));
    let whole = || json.as_i64().ok_or_else(wrong);
    let bytes = || {
        let text = json.as_str().ok_or_else(wrong)?;
        text.chars()
            .map(|character| u8::try_from(u32::from(character)).map_err(|_| wrong()))
            .collect::<Result<Vec<u8>, _>>()
    };
    Ok(match (&schema.kind, schema.as_logical()) {
        (_, Some(Logical::Date)) => Value::Date(whole()? as i32),
        (_, Some(Logical::Time)) => Value::Time(whole()? as i32),
        (_, Some(Logical::Timestamp)) => Value::Timestamp(whole()?),
        (_, Some(Logical::Decimal)) => {
            Value::Decimal(Decimal::from_bytes(&bytes()?, schema.scale().unwrap_or(0)).ok_or_else(wrong)?)
        }
        (Kind::Int8, _) => Value::Int8(whole()? as i8),
        (Kind::Int16, _) => Value::Int16(whole()? as i16),
        (Kind::Int32, _) => Value::Int32(whole()? as i32),
        (Kind::Int64, _) => Value::Int64(whole()?),
        (Kind::Float32, _) => Value::Float32(json.as_f64().ok_or_else(wrong)? as f32),
        (Kind::Float64, _) => Value::Float64(json.as_f64().ok_or_else(wrong)?),
        (Kind::Boolean, _) => Value::Boolean(json.as_bool().ok_or_else(wrong)?),
        (Kind::String, _) => Value::String(json.as_str().ok_or_else(wrong)?.to_owned()),
        (Kind::Bytes, _) => Value::Bytes(bytes()?),
        (Kind::Array(items), _) => {
            let list = json.as_array().ok_or_else(wrong)?;
            Value::Array(list.iter().map(|item| default_value(items, item)).collect::<Result<_, _>>()?)
        }
        (Kind::Map(_, values), _) => {
            let entry =
                |(key, value): (&String, &Json)| Ok((Value::String(key.clone()), default_value(values, value)?));
            Value::Map(json.as_object().ok_or_else(wrong)?.iter().map(entry).collect::<Result<_, ConnectError>>()?)
        }
        (Kind::Struct(fields), _) => {
            let object = json.as_object().ok_or_else(wrong)?;
            let value = |field: &Field| match object.get(&field.name) {
                Some(Json::Null) => Ok(Value::Null),
                Some(json) => default_value(&field.schema, json),
                None => Ok(field.schema.default.clone().unwrap_or(Value::Null)),
            };
            let values = fields.iter().map(value).collect::<Result<_, _>>()?;
            Value::Struct(Struct { schema: Arc::new(Schema { default: None, ..schema.clone() }), values })
        }
    })
}
