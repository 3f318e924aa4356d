//! The book as it stands in its base, a file.
//!
//! A stored format: fields are only added, with a default. Format 1 had one context and neither deletions,
//! references nor settings; it is read as the default context. Formats 1 and 2 had no log: each change wrote all of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::super::level::Mode;
use super::{DEFAULT_CONTEXT, NewSchema, Reference};
use crate::time::Millis;

/// The newest format.
pub const FORMAT: u32 = 3;

/// Everything that a registry knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Book {
    pub format: u32,
    /// The log of what was changed since this was written; 0: there is none.
    #[serde(default)]
    pub log: u64,
    #[serde(default)]
    pub(super) contexts: BTreeMap<String, Context>,
    /// By what they are for: a qualified subject, `:.context:`, or nothing (the whole registry).
    #[serde(default)]
    pub(super) configs: BTreeMap<String, Map<String, Json>>,
    #[serde(default)]
    pub(super) modes: BTreeMap<String, Mode>,
    /// Format 1: canonical text by id.
    #[serde(default, skip_serializing)]
    schemas: BTreeMap<i32, String>,
    /// Format 1: versions by subject.
    #[serde(default, skip_serializing)]
    subjects: BTreeMap<String, Vec<Version>>,
}

/// Ids, and subjects, are each context's own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Context {
    /// The highest id that was ever given: none is given twice.
    #[serde(default)]
    pub last_id: i32,
    #[serde(default)]
    pub schemas: BTreeMap<i32, Entry>,
    /// Per subject its versions, ascending.
    #[serde(default)]
    pub subjects: BTreeMap<String, Vec<Version>>,
}

/// What has an id: all of it makes the identity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Canonical.
    pub schema: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_set: Option<Json>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    pub version: i32,
    pub id: i32,
    /// Softly: it can be read still.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deleted: bool,
    /// When it was registered; 0 where that was not kept.
    #[serde(default)]
    pub at: Millis,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Default for Book {
    fn default() -> Self {
        Book {
            format: FORMAT,
            log: 0,
            contexts: BTreeMap::new(),
            configs: BTreeMap::new(),
            modes: BTreeMap::new(),
            schemas: BTreeMap::new(),
            subjects: BTreeMap::new(),
        }
    }
}

impl Book {
    /// A book as it was read, in the newest format.
    pub fn upgraded(mut self) -> Self {
        if self.format == 1 {
            let entry = |schema| NewSchema::avro(schema).into_entry(Vec::new());
            let schemas: BTreeMap<i32, Entry> =
                std::mem::take(&mut self.schemas).into_iter().map(|(id, text)| (id, entry(text))).collect();
            let last_id = schemas.last_key_value().map_or(0, |(id, _)| *id);
            let context = Context { last_id, schemas, subjects: std::mem::take(&mut self.subjects) };
            self.contexts.insert(DEFAULT_CONTEXT.into(), context);
        }
        self.format = FORMAT;
        self
    }

    /// The same as a base of this log.
    pub fn with_log(&self, log: u64) -> Self {
        Book { log, ..self.clone() }
    }
}
