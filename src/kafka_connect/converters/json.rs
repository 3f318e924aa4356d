//! JSON values, with their schema beside them (`{"schema": …, "payload": …}`) or without one.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use indexmap::IndexMap;

use super::super::config::{ConfigError, Settings};
use super::super::json::Json;
use super::super::record::{ConnectError, Datum, refused};
use super::super::schema::{Field, Kind, Logical, Schema};
use super::super::value::{Decimal, Struct, Value};
use super::{Converter, Form};

const ENVELOPE: &str = "JsonConverter with schemas.enable requires \"schema\" and \"payload\" fields and may not contain additional fields. If you are trying to deserialize plain JSON data, set schemas.enable=false in your converter configuration.";

/// Connect's JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonConverter {
    /// Values are envelopes of schema and payload.
    pub schemas_enable: bool,
    /// Decimals are numbers, not base64.
    pub decimal_numeric: bool,
    /// A null is written and read as its schema's default.
    pub replace_null_with_default: bool,
    /// Reads plain payloads with this schema (`schema.content`).
    pub content: Option<Arc<Schema>>,
}

impl JsonConverter {
    /// # Errors
    /// A setting that cannot be.
    pub fn new(settings: Settings<'_>) -> Result<JsonConverter, ConfigError> {
        const FORMAT: &str = "decimal.format";
        let format = settings.get(FORMAT).unwrap_or("BASE64");
        if !["BASE64", "NUMERIC"].contains(&format.to_uppercase().as_str()) {
            return Err(settings.invalid(FORMAT, format, "String must be one of: BASE64, NUMERIC"));
        }
        let content = settings.get("schema.content").filter(|text| !text.trim().is_empty());
        let content = content.map(|text| {
            let json = Json::parse(text.as_bytes()).map_err(ConnectError::new)?.unwrap_or(Json::Null);
            read_schema(&json).map(|schema| schema.unwrap_or_else(|| Arc::new(Schema::optional(Kind::String))))
        });
        Ok(JsonConverter {
            schemas_enable: settings.boolean("schemas.enable", true)?,
            decimal_numeric: format.eq_ignore_ascii_case("NUMERIC"),
            replace_null_with_default: settings.boolean("replace.null.with.default", true)?,
            content: content.transpose().map_err(|error| settings.invalid("schema.content", "…", &error.message))?,
        })
    }

    fn write(&self, schema: Option<&Schema>, value: &Value) -> Result<Json, ConnectError> {
        let Some(schema) = schema else { return self.write_plain(value) };
        if value.is_null() {
            return match &schema.default {
                Some(default) if self.replace_null_with_default => self.write(Some(schema), default),
                _ if schema.optional => Ok(Json::Null),
                _ => refused("Conversion error: null value for field that is required and has no default value"),
            };
        }
        match (&schema.kind, value) {
            (Kind::Bytes, Value::Decimal(decimal)) if schema.as_logical() == Some(Logical::Decimal) => {
                match schema.scale() {
                    Some(scale) if scale != decimal.scale => {
                        refused("Decimal value has mismatching scale for given Decimal schema")
                    }
                    _ if self.decimal_numeric => Ok(Json::Number(decimal.text())),
                    _ => Ok(Json::String(BASE64.encode(decimal.to_bytes()))),
                }
            }
            (Kind::Int8, Value::Int8(_))
            | (Kind::Int16, Value::Int16(_))
            | (Kind::Int32, Value::Int32(_) | Value::Date(_) | Value::Time(_))
            | (Kind::Int64, Value::Int64(_) | Value::Timestamp(_))
            | (Kind::Float32, Value::Float32(_))
            | (Kind::Float64, Value::Float64(_))
            | (Kind::Boolean, Value::Boolean(_))
            | (Kind::String, Value::String(_))
            | (Kind::Bytes, Value::Bytes(_)) => self.write_plain(value),
            (Kind::Array(items), Value::Array(values)) => {
                Ok(Json::Array(values.iter().map(|item| self.write(Some(items), item)).collect::<Result<_, _>>()?))
            }
            (Kind::Map(keys, values), Value::Map(entries)) => {
                self.write_map(keys.kind == Kind::String && !keys.optional, entries, |key, value| {
                    Ok((self.write(Some(keys), key)?, self.write(Some(values), value)?))
                })
            }
            (Kind::Struct(fields), Value::Struct(row)) => {
                if !std::ptr::eq(&raw const *row.schema, schema) && *row.schema != *schema {
                    return refused("Mismatching schema.");
                }
                let field = |(field, value): (&Field, &Value)| {
                    Ok((field.name.clone(), self.write(Some(&field.schema), value)?))
                };
                Ok(Json::Object(fields.iter().zip(&row.values).map(field).collect::<Result<_, ConnectError>>()?))
            }
            (kind, other) => refused(format!("Invalid type for {}: class {}", kind.word(), other.java_class())),
        }
    }

    fn write_plain(&self, value: &Value) -> Result<Json, ConnectError> {
        Ok(match value {
            Value::Null => Json::Null,
            Value::Int8(_) | Value::Int16(_) | Value::Int32(_) | Value::Int64(_) => Json::Number(value.java_text()),
            Value::Float32(number) => Json::float(*number),
            Value::Float64(number) => Json::double(*number),
            Value::Boolean(truth) => Json::Boolean(*truth),
            Value::String(text) => Json::text(text),
            Value::Bytes(bytes) => Json::String(BASE64.encode(bytes)),
            Value::Date(number) | Value::Time(number) => Json::Number(number.to_string()),
            Value::Timestamp(ms) => Json::Number(ms.to_string()),
            Value::Decimal(decimal) => Json::Number(decimal.text()),
            Value::Array(values) => {
                Json::Array(values.iter().map(|item| self.write_plain(item)).collect::<Result<_, _>>()?)
            }
            Value::Map(entries) => {
                let texts = entries.iter().all(|(key, _)| matches!(key, Value::String(_)));
                self.write_map(texts, entries, |key, value| Ok((self.write_plain(key)?, self.write_plain(value)?)))?
            }
            Value::Struct(row) => self.write(Some(&row.schema), value)?,
        })
    }

    /// An object if the keys are texts, otherwise pairs.
    fn write_map(
        &self,
        texts: bool,
        entries: &[(Value, Value)],
        write: impl Fn(&Value, &Value) -> Result<(Json, Json), ConnectError>,
    ) -> Result<Json, ConnectError> {
        let pairs = entries.iter().map(|(key, value)| write(key, value)).collect::<Result<Vec<_>, _>>()?;
        if !texts {
            return Ok(Json::Array(pairs.into_iter().map(|(key, value)| Json::Array(vec![key, value])).collect()));
        }
        let named = pairs.into_iter().filter_map(|(key, value)| match key {
            Json::String(key) => Some((key, value)),
            _ => None,
        });
        Ok(Json::Object(named.collect()))
    }

    fn read(&self, schema: &Arc<Schema>, json: &Json) -> Result<Value, ConnectError> {
        if *json == Json::Null {
            return match &schema.default {
                Some(default) if self.replace_null_with_default => Ok(default.clone()),
                _ if schema.optional => Ok(Value::Null),
                _ => refused(format!("Invalid null value for required {} field", schema.kind.word())),
            };
        }
        let value = self.read_base(schema, json)?;
        Ok(match (schema.as_logical(), value) {
            (Some(Logical::Date), Value::Int32(days)) => Value::Date(days),
            (Some(Logical::Time), Value::Int32(ms)) if !(0..86_400_000).contains(&ms) => {
                return refused("Time values must use number of milliseconds greater than 0 and less than 86400000");
            }
            (Some(Logical::Time), Value::Int32(ms)) => Value::Time(ms),
            (Some(Logical::Timestamp), Value::Int64(ms)) => Value::Timestamp(ms),
            (_, value) => value,
        })
    }

    fn read_base(&self, schema: &Arc<Schema>, json: &Json) -> Result<Value, ConnectError> {
        let wrong = || refused(misfit(schema, json));
        // Java reads 5.7 as 5, "5" as 0 and 300 as 44 where an integer is expected; that is nobody's number.
        let whole = |bits: u32| match json.as_i64() {
            Some(number) if bits == 64 || number >> (bits - 1) == number >> 63 => Ok(number),
            None if schema.as_logical().is_some() => refused(misfit(schema, json)),
            _ => refused(format!("Invalid value for {}: {}", schema.kind.word(), text_of(json))),
        };
        let float = || match json {
            Json::Number(text) => text.parse::<f64>().ok(),
            Json::String(text) => match text.as_str() {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                _ => None,
            },
            _ => None,
        };
        Ok(match (&schema.kind, json) {
            (Kind::Int8, _) => Value::Int8(whole(8)? as i8),
            (Kind::Int16, _) => Value::Int16(whole(16)? as i16),
            (Kind::Int32, _) => Value::Int32(whole(32)? as i32),
            (Kind::Int64, _) => Value::Int64(whole(64)?),
            (Kind::Float32, Json::Number(text)) => match text.parse() {
                Ok(number) => Value::Float32(number),
                Err(_) => return wrong(),
            },
            (Kind::Float32, _) => match float() {
                Some(number) => Value::Float32(number as f32),
                None => return wrong(),
            },
            (Kind::Float64, _) => match float() {
                Some(number) => Value::Float64(number),
                None => return wrong(),
            },
            (Kind::Boolean, Json::Boolean(truth)) => Value::Boolean(*truth),
            (Kind::String, Json::String(text)) => Value::String(text.clone()),
            (Kind::Bytes, Json::Number(text)) if schema.as_logical() == Some(Logical::Decimal) => {
                match Decimal::parse(text) {
                    Some(decimal) => Value::Decimal(decimal),
                    None => return wrong(),
                }
            }
            (Kind::Bytes, Json::String(text)) => {
                let Ok(bytes) = BASE64.decode(text) else {
                    let what =
                        if schema.as_logical() == Some(Logical::Decimal) { "for Decimal field" } else { "field" };
                    return refused(format!("Invalid bytes {what}"));
                };
                if schema.as_logical() != Some(Logical::Decimal) {
                    return Ok(Value::Bytes(bytes));
                }
                let Some(scale) = schema.scale() else {
                    return refused("Invalid Decimal schema: scale parameter not found.");
                };
                match Decimal::from_bytes(&bytes, scale) {
                    Some(decimal) => Value::Decimal(decimal),
                    None => return refused("a decimal has more digits than 32 bytes hold"),
                }
            }
            (Kind::Array(items), Json::Array(values)) => {
                Value::Array(values.iter().map(|item| self.read(items, item)).collect::<Result<_, _>>()?)
            }
            (Kind::Map(keys, values), Json::Object(entries)) if keys.kind == Kind::String => {
                let entry = |(key, value): &(String, Json)| Ok((Value::String(key.clone()), self.read(values, value)?));
                Value::Map(entries.iter().map(entry).collect::<Result<_, ConnectError>>()?)
            }
            (Kind::Map(keys, values), Json::Array(pairs)) if keys.kind != Kind::String => {
                let pair = |pair: &Json| match pair {
                    Json::Array(pair) if pair.len() == 2 => {
                        Ok((self.read(keys, &pair[0])?, self.read(values, &pair[1])?))
                    }
                    Json::Array(other) => {
                        refused(format!("Found invalid map entry, expected length 2 but found :{}", other.len()))
                    }
                    other => refused(format!("Found invalid map entry instead of array tuple: {}", node(other))),
                };
                Value::Map(pairs.iter().map(pair).collect::<Result<_, _>>()?)
            }
            (Kind::Struct(fields), Json::Object(_)) => {
                let field = |field: &Field| self.read(&field.schema, json.get(&field.name).unwrap_or(&Json::Null));
                let values = fields.iter().map(field).collect::<Result<_, _>>()?;
                Value::Struct(Struct { schema: schema.clone(), values })
            }
            _ => return wrong(),
        })
    }
}

/// That something is no value of this type.
fn misfit(schema: &Schema, json: &Json) -> String {
    let found = node(json);
    let logical = |name: &str, wanted: &str| {
        format!("Invalid type for {name}, underlying representation should be {wanted} but was {found}")
    };
    match (schema.as_logical(), &schema.kind) {
        (Some(Logical::Date), _) => logical("Date", "integer"),
        (Some(Logical::Time), _) => logical("Time", "integer"),
        (Some(Logical::Timestamp), _) => logical("Timestamp", "integral"),
        (Some(Logical::Decimal), _) => logical("Decimal", "numeric or bytes"),
        (_, Kind::Struct(_)) => format!("Structs should be encoded as JSON objects, but found {found}"),
        (_, Kind::Map(keys, _)) if keys.kind == Kind::String => {
            format!("Maps with string fields should be encoded as JSON objects, but found {found}")
        }
        (_, Kind::Map(..)) => {
            format!("Maps with non-string fields should be encoded as JSON array of tuples, but found {found}")
        }
        (_, kind) => format!("Invalid type for {}: found {}", kind.word(), json.word()),
    }
}

/// What Java's JSON library calls it.
fn node(json: &Json) -> &'static str {
    match json {
        Json::Null => "NULL",
        Json::Boolean(_) => "BOOLEAN",
        Json::Number(_) => "NUMBER",
        Json::String(_) => "STRING",
        Json::Array(_) => "ARRAY",
        Json::Object(_) => "OBJECT",
    }
}

/// True if a null somewhere may mean another value.
fn has_default(schema: &Schema) -> bool {
    schema.default.is_some()
        || match &schema.kind {
            Kind::Array(items) => has_default(items),
            Kind::Map(keys, values) => has_default(keys) || has_default(values),
            Kind::Struct(fields) => fields.iter().any(|field| has_default(&field.schema)),
            _ => false,
        }
}

impl Converter for JsonConverter {
    fn form(&self, _topic: &str, schema: Option<&Arc<Schema>>) -> Option<Form> {
        let schema = schema.filter(|schema| !has_default(schema))?;
        let (mut before, mut behind): (Vec<u8>, &[u8]) = (Vec::new(), b"");
        if self.schemas_enable {
            before.extend_from_slice(b"{\"schema\":");
            self.write_schema(schema, None).ok()?.write(&mut before);
            before.extend_from_slice(b",\"payload\":");
            behind = b"}";
        }
        Some(Form::Json { before, behind, decimal_numeric: self.decimal_numeric })
    }

    fn encode(&self, _topic: &str, datum: &Datum) -> Result<Option<Vec<u8>>, ConnectError> {
        if datum.schema.is_none() && datum.value.is_null() {
            return Ok(None);
        }
        let payload = self.write(datum.schema.as_deref(), &datum.value)?;
        let json = if self.schemas_enable {
            let schema = datum.schema.as_ref().map_or(Ok(Json::Null), |schema| self.write_schema(schema, None))?;
            Json::Object(vec![("schema".into(), schema), ("payload".into(), payload)])
        } else {
            payload
        };
        let mut bytes = Vec::new();
        json.write(&mut bytes);
        Ok(Some(bytes))
    }

    fn decode(&self, _topic: &str, bytes: Option<&[u8]>) -> Result<Datum, ConnectError> {
        let Some(bytes) = bytes else { return Ok(Datum::NULL) };
        let json = Json::parse(bytes).map_err(|why| {
            ConnectError::new(format!(
                "Converting byte[] to Kafka Connect data failed due to serialization error: {why}"
            ))
        })?;
        if let Some(schema) = &self.content {
            let value = self.read(schema, &json.unwrap_or(Json::Null))?;
            return Ok(Datum { schema: Some(schema.clone()), value });
        }
        if !self.schemas_enable {
            return Ok(Datum::schemaless(schemaless(&json.unwrap_or(Json::Null))?));
        }
        let Some(Json::Object(entries)) = &json else { return refused(ENVELOPE) };
        let part = |name: &str| entries.iter().find(|(key, _)| key == name).map(|(_, json)| json);
        let (Some(schema), Some(payload), 2) = (part("schema"), part("payload"), entries.len()) else {
            return refused(ENVELOPE);
        };
        match read_schema(schema)? {
            None => Ok(Datum::schemaless(schemaless(payload)?)),
            Some(schema) => {
                let value = self.read(&schema, payload)?;
                Ok(Datum { schema: Some(schema), value })
            }
        }
    }
}

fn text_of(json: &Json) -> String {
    let mut bytes = Vec::new();
    json.write(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A value that says itself what it is: integers are int64, other numbers float64.
pub fn schemaless(json: &Json) -> Result<Value, ConnectError> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Boolean(truth) => Value::Boolean(*truth),
        Json::Number(text) if text.contains(['.', 'e', 'E']) => {
            Value::Float64(text.parse().map_err(|_| ConnectError::new(format!("Invalid number: {text}")))?)
        }
        // The genuine converter lets it wrap in silence.
        Json::Number(text) => Value::Int64(
            text.parse().map_err(|_| ConnectError::new(format!("Invalid value for INT64: {text} is out of range")))?,
        ),
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::Array(items.iter().map(schemaless).collect::<Result<_, _>>()?),
        Json::Object(entries) => {
            let entry = |(key, value): &(String, Json)| Ok((Value::String(key.clone()), schemaless(value)?));
            Value::Map(entries.iter().map(entry).collect::<Result<_, ConnectError>>()?)
        }
    })
}

const KINDS: &[(&str, Kind)] = &[
    ("int8", Kind::Int8),
    ("int16", Kind::Int16),
    ("int32", Kind::Int32),
    ("int64", Kind::Int64),
    ("float", Kind::Float32),
    ("double", Kind::Float64),
    ("boolean", Kind::Boolean),
    ("string", Kind::String),
    ("bytes", Kind::Bytes),
];

impl JsonConverter {
    /// A schema as JSON; within a struct with the field's name.
    fn write_schema(&self, schema: &Schema, field: Option<&str>) -> Result<Json, ConnectError> {
        let mut out: Vec<(String, Json)> = Vec::new();
        let mut put = |key: &str, json: Json| out.push((key.to_owned(), json));
        match &schema.kind {
            Kind::Array(items) => {
                put("type", Json::text("array"));
                put("items", self.write_schema(items, None)?);
            }
            Kind::Map(keys, values) => {
                put("type", Json::text("map"));
                put("keys", self.write_schema(keys, None)?);
                put("values", self.write_schema(values, None)?);
            }
            Kind::Struct(fields) => {
                put("type", Json::text("struct"));
                let fields = fields.iter().map(|field| self.write_schema(&field.schema, Some(&field.name)));
                put("fields", Json::Array(fields.collect::<Result<_, _>>()?));
            }
            plain => {
                let word = KINDS.iter().find(|(_, kind)| kind == plain).map(|(word, _)| *word);
                put("type", Json::text(word.expect("all other kinds are in the table")));
            }
        }
        put("optional", Json::Boolean(schema.optional));
        schema.name.iter().for_each(|name| put("name", Json::text(name)));
        schema.version.iter().for_each(|version| put("version", Json::Number(version.to_string())));
        schema.doc.iter().for_each(|doc| put("doc", Json::text(doc)));
        if let Some(parameters) = &schema.parameters {
            let each = parameters.iter().map(|(key, value)| (key.clone(), Json::text(value)));
            put("parameters", Json::Object(each.collect()));
        }
        if let Some(default) = &schema.default {
            put("default", self.write(Some(schema), default)?);
        }
        field.iter().for_each(|name| put("field", Json::text(*name)));
        Ok(Json::Object(out))
    }
}

/// The schema of an envelope; `None`: its payload has none.
///
/// # Errors
/// What is no schema.
pub fn read_schema(json: &Json) -> Result<Option<Arc<Schema>>, ConnectError> {
    if *json == Json::Null {
        return Ok(None);
    }
    let Some(word) = json.get("type").and_then(Json::as_str) else {
        return refused("Schema must contain 'type' field");
    };
    let inner = |key: &str, missing: &str| -> Result<Arc<Schema>, ConnectError> {
        let schema = json.get(key).map_or(Ok(None), read_schema)?;
        schema.ok_or_else(|| ConnectError::new(missing))
    };
    let kind = match word {
        "array" => Kind::Array(inner("items", "Array schema did not specify the element type")?),
        "map" => Kind::Map(
            inner("keys", "Map schema did not specify the key type")?,
            inner("values", "Map schema did not specify the value type")?,
        ),
        "struct" => {
            let Some(Json::Array(fields)) = json.get("fields") else {
                return refused("Struct schema's \"fields\" argument is not an array.");
            };
            let field = |json: &Json| {
                let Some(name) = json.get("field").and_then(Json::as_str) else {
                    return refused("Struct schema's field name not specified properly");
                };
                let schema = read_schema(json)?.ok_or_else(|| ConnectError::new("Schema must contain 'type' field"))?;
                Ok(Field { name: name.to_owned(), schema })
            };
            Kind::Struct(fields.iter().map(field).collect::<Result<_, _>>()?)
        }
        word => match KINDS.iter().find(|(known, _)| *known == word) {
            Some((_, kind)) => kind.clone(),
            None => return refused(format!("Unknown schema type: {word}")),
        },
    };
    let mut schema = Schema::new(kind);
    schema.optional = json.get("optional") == Some(&Json::Boolean(true));
    schema.name = json.get("name").and_then(Json::as_str).map(str::to_owned);
    schema.version = json.get("version").and_then(Json::as_i64).and_then(|version| i32::try_from(version).ok());
    schema.doc = json.get("doc").and_then(Json::as_str).map(str::to_owned);
    if let Some(Json::Object(parameters)) = json.get("parameters") {
        let text = |(key, value): &(String, Json)| match value.as_str() {
            Some(text) => Ok((key.clone(), text.to_owned())),
            None => refused("Schema parameters must have string values."),
        };
        schema.parameters = Some(parameters.iter().map(text).collect::<Result<IndexMap<_, _>, _>>()?);
    }
    if let Some(default) = json.get("default").filter(|default| **default != Json::Null) {
        let reader = JsonConverter {
            schemas_enable: true,
            decimal_numeric: false,
            replace_null_with_default: true,
            content: None,
        };
        schema.default = Some(reader.read(&Arc::new(schema.clone()), default)?);
    }
    Ok(Some(Arc::new(schema)))
}
