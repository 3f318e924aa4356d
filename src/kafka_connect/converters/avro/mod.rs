//! Avro values in the registry's framing: a zero byte, the schema's id, Avro's binary encoding.
//!
//! [`to_avro`] makes the schema that is registered of a Connect schema, [`to_connect`] goes the other way; `encode` and
//! `decode` are their values, `subjects` asks the registry under which id they are written, `latest` writes them with a
//! schema that is there; [`Dialect`] has the settings that schemas depend on. Confluent's converter, but without the
//! registry's version in what is read: schemas have the version that `connect.version` says.

mod decode;
mod dialect;
mod encode;
mod latest;
mod subjects;
mod to_avro;
mod to_connect;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::super::config::{ConfigError, Settings};
use super::super::record::{ConnectError, Datum, refused};
use super::super::schema::{Kind, Schema};
use super::super::value::Value;
use super::{Converter, Form};
use crate::registry::avro::Schema as AvroSchema;
use crate::registry::{Registry, Side};
use crate::report::Failure;

pub use dialect::Dialect;
use subjects::{Subjects, Written};
pub use to_avro::avro_schema;
pub use to_connect::connect_schema;

/// Of all records of the Avro converter that come from Connect's schemaless values and from its own structs.
const PACKAGE: &str = "io.confluent.connect.avro";
const MAGIC: u8 = 0;

/// Confluent's Avro converter, over a registry.
#[derive(Debug)]
pub struct AvroConverter {
    registry: Arc<dyn Registry>,
    subjects: Subjects,
    dialect: Dialect,
    /// Of the last value that was written. Schemas come in long runs.
    last: Mutex<Option<Last>>,
    read: Mutex<HashMap<i32, Arc<Known>>>,
}

/// What a value was written with.
#[derive(Debug)]
struct Last {
    topic: String,
    schema: Arc<Schema>,
    written: Arc<Written>,
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
        Ok(AvroConverter {
            subjects: Subjects::new(settings, registry.clone(), side)?,
            registry,
            dialect: Dialect::of(settings)?,
            last: Mutex::default(),
            read: Mutex::default(),
        })
    }

    fn written(&self, topic: &str, schema: &Arc<Schema>) -> Result<Arc<Written>, ConnectError> {
        if let Some(last) = &*self.last.lock().expect("no holder panics")
            && last.topic == topic
            && (Arc::ptr_eq(&last.schema, schema) || last.schema == *schema)
        {
            return Ok(last.written.clone());
        }
        let written = self.subjects.written(topic, &avro_schema(schema, self.dialect)?)?;
        let last = Last { topic: topic.to_owned(), schema: schema.clone(), written: written.clone() };
        *self.last.lock().expect("no holder panics") = Some(last);
        Ok(written)
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
        let connect = connect_schema(&avro, self.dialect)?;
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
        let written = self.written(topic, schema).ok()?;
        if written.latest.is_some() {
            return None;
        }
        let id = written.id;
        let avro = avro_schema(schema, self.dialect).ok()?;
        // Columns have the names and types of the plain schema.
        let plain = Dialect { metadata: self.dialect.metadata, ..Dialect::default() };
        (self.dialect == plain || avro_schema(schema, plain).is_ok_and(|plain| plain == avro))
            .then(|| Form::Avro { id, schema: avro.to_string() })
    }

    fn encode(&self, topic: &str, datum: &Datum) -> Result<Option<Vec<u8>>, ConnectError> {
        if datum.value.is_null() {
            return Ok(None);
        }
        let schema = match &datum.schema {
            Some(schema) => schema.clone(),
            None => Arc::new(schemaless(&datum.value)?),
        };
        let written = self.written(topic, &schema)?;
        let mut bytes = vec![MAGIC];
        bytes.extend_from_slice(&written.id.to_be_bytes());
        match &written.latest {
            None => encode::value(&schema, &datum.value, self.dialect, &mut bytes)?,
            Some(latest) => latest::value(latest, &datum.value, self.dialect, &mut bytes)?,
        }
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
