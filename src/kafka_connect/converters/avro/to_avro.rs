//! The Avro schema of a Connect schema.

use serde_json::{Map, Value as Json, json};

use super::super::super::record::{ConnectError, refused};
use super::super::super::schema::{Field, Kind, Logical, Schema};
use super::super::super::value::Value;
use super::PACKAGE;
use super::dialect::{Dialect, is_union};

/// Digits of a decimal whose parameters do not say how many it has.
const PRECISION: i64 = 64;
const PRECISION_PARAMETER: &str = "connect.decimal.precision";

/// The Avro schema that Confluent's converter registers.
///
/// # Errors
/// A name that Avro does not allow.
pub fn avro_schema(schema: &Schema, dialect: Dialect) -> Result<Json, ConnectError> {
    Writer { dialect, unnamed: 0, named: Vec::new() }.schema(schema, None)
}

/// The name of a type, where it is met.
enum Name {
    /// It was defined before: what stands for it.
    Known(Json),
    New {
        namespace: String,
        out: Map<String, Json>,
    },
}

struct Writer {
    dialect: Dialect,
    /// Structs without a name so far.
    unnamed: u32,
    /// Full names of records that were written.
    named: Vec<String>,
}

impl Writer {
    /// `around`: the namespace that this stands in; `None` at the top.
    fn schema(&mut self, schema: &Schema, around: Option<&str>) -> Result<Json, ConnectError> {
        if is_union(schema) {
            let null = schema.optional.then(|| Ok("null".into()));
            let branches = schema.fields().iter().map(|field| self.base(&field.schema, around));
            return Ok(Json::Array(null.into_iter().chain(branches).collect::<Result<_, _>>()?));
        }
        let base = self.base(schema, around)?;
        Ok(match (schema.optional, &schema.default) {
            (false, _) => base,
            (true, None) => json!(["null", base]),
            // The type of a default comes first.
            (true, Some(_)) => json!([base, "null"]),
        })
    }

    fn base(&mut self, schema: &Schema, around: Option<&str>) -> Result<Json, ConnectError> {
        let mut out = Map::new();
        let logical = schema.as_logical();
        match &schema.kind {
            Kind::Struct(fields) => return self.record(schema, fields, around),
            Kind::Array(items) => {
                out.insert("type".into(), "array".into());
                out.insert("items".into(), self.schema(items, Some(around.unwrap_or_default()))?);
            }
            Kind::Map(keys, values) if self.dialect.has_map(keys) => {
                out.insert("type".into(), "map".into());
                out.insert("values".into(), self.schema(values, Some(around.unwrap_or_default()))?);
            }
            Kind::Map(keys, values) => {
                let entry = Schema {
                    name: Some(schema.name.clone().unwrap_or_else(|| format!("{PACKAGE}.MapEntry"))),
                    ..Schema::of_fields(vec![("key".into(), keys.clone()), ("value".into(), values.clone())])
                };
                let Kind::Struct(fields) = &entry.kind else { unreachable!("of_fields makes a struct") };
                let mut entry = self.record(&entry, fields, around)?;
                if let (Some(object), true) = (entry.as_object_mut(), self.dialect.metadata) {
                    object.remove("connect.name");
                    object.insert("connect.internal.type".into(), "MapEntry".into());
                }
                return Ok(json!({ "type": "array", "items": entry }));
            }
            Kind::Bytes if fixed_size(schema).is_some() => return self.fixed(schema, around),
            Kind::String if self.dialect.enumeration(schema).is_some() => return self.enumeration(schema, around),
            plain => {
                let (word, narrow) = match plain {
                    Kind::Int8 => ("int", Some("int8")),
                    Kind::Int16 => ("int", Some("int16")),
                    Kind::Int32 => ("int", None),
                    Kind::Int64 => ("long", None),
                    Kind::Float32 => ("float", None),
                    Kind::Float64 => ("double", None),
                    Kind::Boolean => ("boolean", None),
                    Kind::Bytes => ("bytes", None),
                    _ => ("string", None),
                };
                out.insert("type".into(), word.into());
                if let (Some(narrow), true) = (narrow, self.dialect.metadata) {
                    out.insert("connect.type".into(), narrow.into());
                }
            }
        }
        if logical == Some(Logical::Decimal) {
            let precision = schema.parameters.as_ref().and_then(|all| all.get(PRECISION_PARAMETER));
            let precision = precision.and_then(|text| text.parse().ok()).unwrap_or(PRECISION);
            out.insert("scale".into(), schema.scale().unwrap_or(0).into());
            out.insert("precision".into(), precision.into());
        }
        self.put_metadata(schema, &mut out)?;
        let word = logical.map(|logical| match logical {
            Logical::Decimal => "decimal",
            Logical::Date => "date",
            Logical::Time => "time-millis",
            Logical::Timestamp => "timestamp-millis",
        });
        out.extend(word.map(|word| ("logicalType".to_owned(), word.into())));
        // A bare word where nothing more is said.
        Ok(if out.len() == 1 { out["type"].clone() } else { Json::Object(out) })
    }

    /// Bytes that were a fixed in Avro are one again.
    fn fixed(&mut self, schema: &Schema, around: Option<&str>) -> Result<Json, ConnectError> {
        let full = schema.name.clone().unwrap_or_else(|| self.unnamed());
        let mut out = match self.named("fixed", &full, around)? {
            Name::Known(reference) => return Ok(reference),
            Name::New { out, .. } => out,
        };
        out.insert("size".into(), fixed_size(schema).unwrap_or_default().into());
        self.put_metadata(schema, &mut out)?;
        Ok(Json::Object(out))
    }

    /// A text that was an enum in Avro is one again.
    fn enumeration(&mut self, schema: &Schema, around: Option<&str>) -> Result<Json, ConnectError> {
        let (full, symbols) = self.dialect.enumeration(schema).expect("whoever calls has seen that it is one");
        let mut out = match self.named("enum", full, around)? {
            Name::Known(reference) => return Ok(reference),
            Name::New { out, .. } => out,
        };
        let short = schema.name.as_deref().unwrap_or(full).rsplit('.').next().unwrap_or(full);
        let parameter = |key: &str| schema.parameters.as_ref()?.get(&format!("{PACKAGE}.enum.{key}.{short}")).cloned();
        out.extend(parameter("doc").map(|doc| ("doc".to_owned(), doc.into())));
        out.insert("symbols".into(), symbols.into());
        out.extend(parameter("default").map(|symbol| ("default".to_owned(), symbol.into())));
        self.put_metadata(schema, &mut out)?;
        Ok(Json::Object(out))
    }

    /// What begins the definition of a type, or stands for one that was defined.
    fn named(&mut self, word: &str, full: &str, around: Option<&str>) -> Result<Name, ConnectError> {
        let full = self.dialect.full_name(full);
        let (namespace, name) = full.rsplit_once('.').unwrap_or(("", &full));
        let is_within = namespace == around.unwrap_or_default();
        if self.named.contains(&full) {
            return Ok(Name::Known(if is_within { name.into() } else { full.into() }));
        }
        check_name(name)?;
        let mut out = Map::from_iter([("type".to_owned(), word.into()), ("name".to_owned(), name.into())]);
        // Said only where it is another than around it; also that there is none.
        if !is_within {
            out.insert("namespace".into(), namespace.into());
        }
        let namespace = namespace.to_owned();
        self.named.push(full);
        Ok(Name::New { namespace, out })
    }

    fn unnamed(&mut self) -> String {
        self.unnamed += 1;
        let number = if self.unnamed == 1 { String::new() } else { self.unnamed.to_string() };
        format!("{PACKAGE}.ConnectDefault{number}")
    }

    fn record(&mut self, schema: &Schema, fields: &[Field], around: Option<&str>) -> Result<Json, ConnectError> {
        let full = match schema.name.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => self.unnamed(),
        };
        let (namespace, mut out) = match self.named("record", &full, around)? {
            Name::Known(reference) => return Ok(reference),
            Name::New { namespace, out } => (namespace, out),
        };
        // Docs of an Avro schema that was read stand in parameters.
        let parameter = |key: &str| schema.parameters.as_ref()?.get(&format!("{PACKAGE}.{key}")).cloned();
        out.extend(parameter("record.doc").map(|doc| ("doc".to_owned(), doc.into())));
        let (mut written, mut names) = (Vec::with_capacity(fields.len()), Vec::with_capacity(fields.len()));
        for field in fields {
            let name = self.dialect.name(&field.name);
            check_name(&name)?;
            // Two may have become one.
            if names.contains(&name) {
                return refused(format!("Duplicate field {name} in record {full}"));
            }
            names.push(name.clone());
            let ty = self.schema(&field.schema, Some(&namespace))?;
            let mut entry = Map::from_iter([("name".to_owned(), name.into()), ("type".to_owned(), ty)]);
            let doc = parameter(&format!("field.doc.{}", field.name));
            entry.extend(doc.map(|doc| ("doc".to_owned(), doc.into())));
            match &field.schema.default {
                Some(default) => drop(entry.insert("default".into(), default_json(default)?)),
                None if field.schema.optional => drop(entry.insert("default".into(), Json::Null)),
                None => {}
            }
            written.push(Json::Object(entry));
        }
        out.insert("fields".into(), Json::Array(written));
        self.put_metadata(schema, &mut out)?;
        Ok(Json::Object(out))
    }

    fn put_metadata(&self, schema: &Schema, out: &mut Map<String, Json>) -> Result<(), ConnectError> {
        if !self.dialect.metadata {
            return Ok(());
        }
        let mut put = |key: &str, json: Json| drop(out.insert(key.to_owned(), json));
        if let Some(doc) = &schema.doc {
            put("connect.doc", doc.as_str().into());
        }
        if let Some(version) = schema.version {
            put("connect.version", version.into());
        }
        if let Some(parameters) = &schema.parameters {
            put(
                "connect.parameters",
                parameters.iter().map(|(key, value)| (key.clone(), Json::from(value.as_str()))).collect(),
            );
        }
        if let Some(default) = &schema.default {
            put("connect.default", default_json(default)?);
        }
        if let Some(name) = &schema.name {
            put("connect.name", name.as_str().into());
        }
        Ok(())
    }
}

/// The length of what was a fixed in Avro.
pub fn fixed_size(schema: &Schema) -> Option<usize> {
    schema.parameters.as_ref()?.get("connect.fixed.size")?.parse().ok()
}

fn check_name(name: &str) -> Result<(), ConnectError> {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if starts && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(());
    }
    refused(format!("Illegal character in: {name}"))
}

/// A default as Avro writes it: bytes are Latin-1 characters.
fn default_json(value: &Value) -> Result<Json, ConnectError> {
    let latin_1 = |bytes: &[u8]| Json::from(bytes.iter().map(|byte| char::from(*byte)).collect::<String>());
    Ok(match value {
        Value::Null => Json::Null,
        Value::Int8(number) => (*number).into(),
        Value::Int16(number) => (*number).into(),
        Value::Int32(number) | Value::Date(number) | Value::Time(number) => (*number).into(),
        Value::Int64(number) | Value::Timestamp(number) => (*number).into(),
        Value::Float32(number) => f64::from(*number).into(),
        Value::Float64(number) => (*number).into(),
        Value::Boolean(truth) => (*truth).into(),
        Value::String(text) => text.as_str().into(),
        Value::Bytes(bytes) => latin_1(bytes),
        Value::Decimal(decimal) => latin_1(&decimal.to_bytes()),
        Value::Array(items) => Json::Array(items.iter().map(default_json).collect::<Result<_, _>>()?),
        Value::Struct(row) => {
            let fields = row.schema.fields().iter().zip(&row.values);
            let entry = |(field, value): (&Field, &Value)| Ok((field.name.clone(), default_json(value)?));
            Json::Object(fields.map(entry).collect::<Result<_, ConnectError>>()?)
        }
        Value::Map(entries) => {
            let entry = |(key, value): &(Value, Value)| match key {
                Value::String(key) => Ok((key.clone(), default_json(value)?)),
                other => refused(format!("a map's default has a key of class {}", other.java_class())),
            };
            Json::Object(entries.iter().map(entry).collect::<Result<_, _>>()?)
        }
    })
}
