//! Topics that have come to fit a source's pattern, and cannot be read yet: nobody has registered their schema.
//!
//! A start would end with an error for each of them, so they are none of the source's topics until their schema is there. Whoever
//! reads other topics meanwhile goes on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::registry::{Registry, Side, SubjectStrategy};

/// What a topic needs beside a record to be read.
#[derive(Debug)]
pub struct Schemas {
    registry: Arc<dyn Registry>,
    /// Of the records, those that are written with a schema of the topic's own.
    sides: Vec<Side>,
    /// Topics and subjects whose schemas stand in documents.
    declared: BTreeSet<String>,
    /// Topics of which it was said that they wait.
    said: Mutex<BTreeSet<String>>,
}

impl Schemas {
    pub fn new(registry: Arc<dyn Registry>, sides: Vec<Side>, declared: BTreeSet<String>) -> Schemas {
        Schemas { registry, sides, declared, said: Mutex::default() }
    }

    /// Whether a topic that has records can be read. A registry that is away does not say so; it is asked again with the next look.
    pub(super) fn are_there(&self, topic: &str) -> bool {
        if self.declared.contains(topic) {
            return true;
        }
        let missing = self.sides.iter().find_map(|side| {
            let subject = SubjectStrategy::TopicName.subject(topic, *side, None)?;
            if self.declared.contains(&subject) {
                return None;
            }
            match self.registry.latest(&subject) {
                Ok(Some(_)) => None,
                Ok(None) => Some(format!("there is no subject `{subject}` in the registry")),
                Err(failure) => Some(failure.to_string()),
            }
        });
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
}
