//! Avro values in the registry's framing: a zero byte, the schema's id, Avro's binary encoding.
//!
//! [`to_avro`] makes the schema that is registered of a Connect schema, [`to_connect`] goes the other way; `encode` and
//! `decode` are their values. Confluent's converter with its default settings, and without the registry's version in
//! what is read: schemas have the version that `connect.version` says.

mod decode;
mod encode;
mod to_avro;
mod to_connect;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::Value as Json;

use super::super::config::{ConfigError, Settings};
use super::super::record::{ConnectError, Datum, refused};
use super::super::schema::{Kind, Schema};
use super::super::value::Value;
use super::{Converter, Form};
use crate::registry::avro::Schema as AvroSchema;
use crate::registry::{Registry, Side, SubjectStrategy};
use crate::report::Failure;

pub use to_avro::avro_schema;
pub use to_connect::connect_schema;

/// Of all records of the Avro converter that come from Connect's schemaless values and from its own structs.
const PACKAGE: &str = "io.confluent.connect.avro";
const MAGIC: u8 = 0;

/// Confluent's Avro converter, over a registry.
#[derive(Debug)]
pub struct AvroConverter {
    registry: Arc<dyn Registry>,
    side: Side,
    /// New schemas are registered (`auto.register.schemas`).
    registers: bool,
    /// Schemas say in properties what Connect knows of them (`connect.meta.data`).
    metadata: bool,
    /// What was asked of the registry: subjects with schemas, and ids.
    written: Mutex<HashMap<(String, String), i32>>,
    /// Of the last value that was written: its topic, its schema and that one's id. Schemas come in long runs.
    last: Mutex<Option<(String, Arc<Schema>, i32)>>,
    read: Mutex<HashMap<i32, Arc<Known>>>,
}

/// A schema that values were written with.
#[derive(Debug)]
struct Known {
    avro: AvroSchema,
    connect: Arc<Schema>,
}

impl AvroConverter {
    /// # Errors
    /// A setting that cannot be.
    pub fn new(settings: Settings<'_>, registry: Arc<dyn Registry>, side: Side) -> Result<AvroConverter, ConfigError> {
        for key in ["enhanced.avro.schema.support", "scrub.invalid.names", "generalized.sum.type.support"] {
            if settings.boolean(key, false)? {
                return Err(settings.invalid(key, "true", "not available"));
            }
        }
        Ok(AvroConverter {
            registry,
            side,
            registers: settings.boolean("auto.register.schemas", true)?,
            metadata: settings.boolean("connect.meta.data", true)?,
            written: Mutex::default(),
            last: Mutex::default(),
            read: Mutex::default(),
        })
    }

    fn id_of(&self, topic: &str, schema: &Arc<Schema>) -> Result<i32, ConnectError> {
        if let Some((known, same, id)) = &*self.last.lock().expect("no holder panics")
            && known == topic
            && (Arc::ptr_eq(same, schema) || same == schema)
        {
            return Ok(*id);
        }
        let id = self.id(topic, &avro_schema(schema, self.metadata)?)?;
        *self.last.lock().expect("no holder panics") = Some((topic.to_owned(), schema.clone(), id));
        Ok(id)
    }

    fn id(&self, topic: &str, schema: &Json) -> Result<i32, ConnectError> {
        let subject = SubjectStrategy::TopicName
            .subject(topic, self.side, None)
            .expect("a topic's name is all that this strategy needs");
        let key = (subject, schema.to_string());
        if let Some(id) = self.written.lock().expect("no holder panics").get(&key) {
            return Ok(*id);
        }
        let (subject, text) = &key;
        let doing = format!("Failed to serialize Avro data from topic {topic}");
        let id = if self.registers {
            self.registry.register(subject, text).map_err(|failure| unanswered(&doing, &failure))?
        } else {
            let found = self.registry.lookup(subject, text).map_err(|failure| unanswered(&doing, &failure))?;
            let unknown =
                || ConnectError::new(format!("{doing}: the schema is not registered under subject {subject}"));
            found.ok_or_else(unknown)?.id
        };
        self.written.lock().expect("no holder panics").insert(key, id);
        Ok(id)
    }

    fn known(&self, topic: &str, id: i32) -> Result<Arc<Known>, ConnectError> {
        if let Some(known) = self.read.lock().expect("no holder panics").get(&id) {
            return Ok(known.clone());
        }
        let doing = format!("Failed to deserialize data for topic {topic} to Avro");
        let failed = |why: String| ConnectError::new(format!("{doing}: {why}"));
        let text = self.registry.by_id(id).map_err(|failure| unanswered(&doing, &failure))?;
        let text = text.ok_or_else(|| failed(format!("the registry does not know a schema {id}")))?;
        let avro = AvroSchema::parse(&text).map_err(failed)?;
        let connect = connect_schema(&avro)?;
        let known = Arc::new(Known { avro, connect });
        self.read.lock().expect("no holder panics").insert(id, known.clone());
        Ok(known)
    }
}

/// What the registry refused, or that it is away.
fn unanswered(doing: &str, failure: &Failure) -> ConnectError {
    ConnectError { message: format!("{doing}: {failure}"), away: failure.retry }
}

impl Converter for AvroConverter {
    fn form(&self, topic: &str, schema: Option<&Arc<Schema>>) -> Option<Form> {
        // Of bytes that are a whole value our own Avro writes no length, as serializers do.
        let schema = schema.filter(|schema| schema.kind != Kind::Bytes)?;
        // Whoever asks for the bytes hears of what the registry refuses.
        let id = self.id_of(topic, schema).ok()?;
        Some(Form::Avro { id, schema: avro_schema(schema, self.metadata).ok()?.to_string() })
    }

    fn encode(&self, topic: &str, datum: &Datum) -> Result<Option<Vec<u8>>, ConnectError> {
        if datum.value.is_null() {
            return Ok(None);
        }
        let schema = match &datum.schema {
            Some(schema) => schema.clone(),
            None => Arc::new(schemaless(&datum.value)?),
        };
        let id = self.id_of(topic, &schema)?;
        let mut bytes = vec![MAGIC];
        bytes.extend_from_slice(&id.to_be_bytes());
        encode::value(&schema, &datum.value, &mut bytes)?;
        Ok(Some(bytes))
    }

    fn decode(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Datum, ConnectError> {
        let Some(bytes) = bytes else { return Ok(Datum::NULL) };
        let [MAGIC, a, b, c, d, body @ ..] = bytes else {
            return refused(format!("Failed to deserialize data for topic {topic} to Avro: Unknown magic byte!"));
        };
        let known = self.known(topic, i32::from_be_bytes([*a, *b, *c, *d]))?;
        let value = decode::value(&known.avro, &known.connect, body)?;
        Ok(Datum { schema: Some(known.connect.clone()), value })
    }
}

/// The schema of a plain value without one.
fn schemaless(value: &Value) -> Result<Schema, ConnectError> {
    Ok(Schema::new(match value {
        Value::Int8(_) => Kind::Int8,
        Value::Int16(_) => Kind::Int16,
        Value::Int32(_) => Kind::Int32,
        Value::Int64(_) => Kind::Int64,
        Value::Float32(_) => Kind::Float32,
        Value::Float64(_) => Kind::Float64,
        Value::Boolean(_) => Kind::Boolean,
        Value::String(_) => Kind::String,
        Value::Bytes(_) => Kind::Bytes,
        Value::Struct(row) => return Ok(Schema::clone(&row.schema)),
        other => {
            return refused(format!("a {} without a schema has no Avro here", other.java_class()));
        }
    }))
}
