//! Topics that have come to fit a source's pattern, and cannot be read yet: nobody has registered their schema.
//!
//! A start would end with an error for each of them, so they are none of the source's topics until their schema is there. Whoever
//! reads other topics meanwhile goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::registry::{Registry, Side, SubjectStrategy};

/// What a topic needs beside a record to be read.
#[derive(Debug)]
pub struct Schemas {
    registry: Arc<dyn Registry>,
    /// Of the records, those that are written with a schema of the topic's own.
    sides: Vec<Side>,
    /// Of topics whose documents say it: where the schema of their values is.
    values: BTreeMap<String, ValueSchema>,
    /// Subjects whose schemas stand in documents.
    declared: BTreeSet<String>,
    /// Topics of which it was said that they wait.
    said: Mutex<BTreeSet<String>>,
}

/// Where a document of a topic says that the schema of its values is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSchema {
    /// In a file.
    There,
    /// In the registry; `None`: under the topic's own subject, in its newest version.
    Registered { subject: Option<String>, version: Option<i32> },
}

impl Schemas {
    pub fn new(
        registry: Arc<dyn Registry>,
        sides: Vec<Side>,
        values: BTreeMap<String, ValueSchema>,
        declared: BTreeSet<String>,
    ) -> Schemas {
        Schemas { registry, sides, values, declared, said: Mutex::default() }
    }

    /// Whether a topic that has records can be read. A registry that is away does not say so; it is asked again with the next look.
    pub(super) fn are_there(&self, topic: &str) -> bool {
        let missing = self.sides.iter().find_map(|side| self.missing(topic, *side));
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(why) = missing else {
            said.remove(topic);
            return true;
        };
        if said.insert(topic.to_owned()) {
            tracing::warn!("topic `{topic}` has come, and is not read before its schema is there: {why}");
        }
        false
    }

    /// Why it cannot be read: by the same rules as the plan's, which would leave it out again and again otherwise.
    fn missing(&self, topic: &str, side: Side) -> Option<String> {
        let (subject, version) = match self.values.get(topic).filter(|_| side == Side::Value) {
            Some(ValueSchema::There) => return None,
            Some(ValueSchema::Registered { subject, version }) => (subject.clone(), *version),
            None => (None, None),
        };
        let subject = subject.or_else(|| SubjectStrategy::TopicName.subject(topic, side, None))?;
        let asked = match version {
            Some(version) => self.registry.version(&subject, version),
            None if self.declared.contains(&subject) => return None,
            None => self.registry.latest(&subject),
        };
        match (asked, version) {
            (Ok(Some(_)), _) => None,
            (Ok(None), Some(version)) => Some(format!("the subject `{subject}` has no version {version}")),
            (Ok(None), None) => Some(format!("there is no subject `{subject}` in the registry")),
            (Err(failure), _) => Some(failure.to_string()),
        }
    }
}
