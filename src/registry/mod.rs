//! Schemas and subjects: a client of a Confluent-compatible schema registry, and an embedded one.
//!
//! Calls block (they are made while planning and from lanes' threads); retries with backoff are inside.
//!
//! [`http`] is the client, [`embedded`] keeps schemas in a directory, [`book`] is what it knows. [`avro`] reads a
//! schema with everything written in it, [`canonical`] is its identity, [`compatibility`] the rules of change,
//! [`level`] which of them hold, [`subject`] the names.

pub mod avro;
pub mod book;
pub mod canonical;
pub mod compatibility;
pub mod embedded;
pub mod http;
pub mod level;
pub mod refusal;
pub mod store;
pub mod subject;

use std::fmt::Debug;
use std::sync::Arc;

pub use embedded::EmbeddedRegistry;
pub use http::{Auth, HttpRegistry, Settings, Tls};
pub use subject::{Side, SubjectStrategy};

use crate::report::Failure;

/// A version of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    pub subject: String,
    pub id: i32,
    pub version: i32,
    /// The Avro schema's text as the registry keeps it.
    pub schema: String,
}

/// What a registry says of a new schema for a subject, before it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub compatible: bool,
    /// For people; may be empty. Of a compatible schema: what keeps its bytes but changes its meaning.
    pub messages: Vec<String>,
}

/// A schema registry, over HTTP or in-process.
pub trait Registry: Debug + Send + Sync {
    /// The newest version of a subject.
    fn latest(&self, subject: &str) -> Result<Option<Registered>, Failure>;
    fn version(&self, subject: &str, version: i32) -> Result<Option<Registered>, Failure>;
    /// A schema by id, kept for ever once found. `None`: the registry does not know it (404).
    fn by_id(&self, id: i32) -> Result<Option<Arc<str>>, Failure>;
    /// The version under which this very schema is registered, if it is; `normalize`: or one of the same normal form.
    fn lookup_as(&self, subject: &str, schema: &str, normalize: bool) -> Result<Option<Registered>, Failure>;
    /// Registers a schema, or its normal form; the id, also when it was there already. An incompatible one is a
    /// failure (user, no retry) with code `registry.incompatible`.
    fn register_as(&self, subject: &str, schema: &str, normalize: bool) -> Result<i32, Failure>;
    /// [`Registry::lookup_as`] it is written.
    fn lookup(&self, subject: &str, schema: &str) -> Result<Option<Registered>, Failure> {
        self.lookup_as(subject, schema, false)
    }
    /// [`Registry::register_as`] it is written.
    fn register(&self, subject: &str, schema: &str) -> Result<i32, Failure> {
        self.register_as(subject, schema, false)
    }
    /// The check that `register` would make. A subject that does not exist is compatible.
    fn compatible(&self, subject: &str, schema: &str) -> Result<Verdict, Failure>;
    /// For people: its URL without credentials, or the path of the embedded one.
    fn describe(&self) -> String;
}

fn incompatible(subject: &str, reasons: &[String]) -> Failure {
    let why = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) };
    let message = format!("the new schema of subject `{subject}` is not compatible with the registered one{why}");
    Failure::user("registry.incompatible", message)
        .hint("give new fields a default, or change the subject's compatibility level")
}

fn invalid_schema(subject: &str, why: &str) -> Failure {
    Failure::user("registry.invalid_schema", format!("the schema for subject `{subject}` is not valid Avro: {why}"))
}
