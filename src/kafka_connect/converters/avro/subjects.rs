//! Under which subject, and which id, a value's schema is written.
//!
//! Confluent's order: new schemas are registered unless `auto.register.schemas` is false; then the subject's latest one
//! is taken if `use.latest.version` says so, otherwise the value's own must be there.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex};

use serde_json::Value as Json;

use super::super::super::config::{ConfigError, Settings};
use super::super::super::record::{ConnectError, refused};
use crate::registry::avro::Schema as AvroSchema;
use crate::registry::compatibility::can_read;
use crate::registry::{Registry, Side, SubjectStrategy};
use crate::report::Failure;

const STRATEGIES: [(&str, SubjectStrategy); 3] = [
    ("io.confluent.kafka.serializers.subject.TopicNameStrategy", SubjectStrategy::TopicName),
    ("io.confluent.kafka.serializers.subject.RecordNameStrategy", SubjectStrategy::RecordName),
    ("io.confluent.kafka.serializers.subject.TopicRecordNameStrategy", SubjectStrategy::TopicRecordName),
];

/// What values are written with.
#[derive(Debug)]
pub struct Written {
    pub id: i32,
    /// The schema of this id, where it is another one than the value's own.
    pub latest: Option<AvroSchema>,
}

/// How a schema comes to its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// `auto.register.schemas`
    Register,
    /// `use.latest.version`; `strict`: it must be able to read what the value's own schema writes.
    Latest { strict: bool },
    /// It is there already.
    Find,
}

/// The schemas that one side of the records is written with.
#[derive(Debug)]
pub struct Subjects {
    registry: Arc<dyn Registry>,
    side: Side,
    strategy: SubjectStrategy,
    policy: Policy,
    /// `normalize.schemas`
    normalize: bool,
    /// What was asked of the registry, by subject and schema.
    known: Mutex<HashMap<(String, String), Arc<Written>>>,
}

impl Subjects {
    /// # Errors
    /// A setting that cannot be.
    pub fn new(settings: Settings<'_>, registry: Arc<dyn Registry>, side: Side) -> Result<Subjects, ConfigError> {
        let policy = match settings.boolean("auto.register.schemas", true)? {
            true => Policy::Register,
            false if settings.boolean("use.latest.version", false)? => {
                Policy::Latest { strict: settings.boolean("latest.compatibility.strict", true)? }
            }
            false => Policy::Find,
        };
        let strategy = strategy(settings, side)?;
        let normalize = settings.boolean("normalize.schemas", false)?;
        Ok(Subjects { registry, side, strategy, policy, normalize, known: Mutex::default() })
    }

    /// The id of a schema for values that go to `topic`.
    ///
    /// # Errors
    /// The registry is away, or refuses the schema; there is no such subject, or none for values that are no records.
    pub fn written(&self, topic: &str, schema: &Json) -> Result<Arc<Written>, ConnectError> {
        let text = schema.to_string();
        let record = schema.get("fields").and_then(|_| crate::registry::subject::record_name(&text));
        let Some(subject) = self.strategy.subject(topic, self.side, record.as_deref()) else {
            return refused(format!(
                "In configuration {} = {}, the message value must only be a record schema",
                strategy_key(self.side),
                self.strategy_class()
            ));
        };
        let key = (subject, text);
        if let Some(written) = self.known.lock().expect("no holder panics").get(&key) {
            return Ok(written.clone());
        }
        let written = Arc::new(self.ask(topic, &key.0, &key.1)?);
        self.known.lock().expect("no holder panics").insert(key, written.clone());
        Ok(written)
    }

    fn ask(&self, topic: &str, subject: &str, schema: &str) -> Result<Written, ConnectError> {
        let failed = |why: &dyn Display| format!("Failed to serialize Avro data from topic {topic}: {why}");
        let unanswered = |failure: Failure| ConnectError { message: failed(&failure), away: failure.retry };
        let wrong = |why: String| ConnectError::new(failed(&why));
        let own = |id| Written { id, latest: None };
        match self.policy {
            Policy::Register => self.registry.register_as(subject, schema, self.normalize).map(own).map_err(unanswered),
            Policy::Find => {
                let found = self.registry.lookup_as(subject, schema, self.normalize).map_err(unanswered)?;
                let unknown = || wrong(format!("the schema is not registered under subject {subject}"));
                found.map(|found| own(found.id)).ok_or_else(unknown)
            }
            Policy::Latest { strict } => {
                let found = self.registry.latest(subject).map_err(unanswered)?;
                let found = found.ok_or_else(|| wrong(format!("nothing is registered under subject {subject}")))?;
                let latest = AvroSchema::parse(&found.schema).map_err(wrong)?;
                let own = AvroSchema::parse(schema).map_err(wrong)?;
                let reasons = if strict { can_read(&latest, &own).texts() } else { Vec::new() };
                if !reasons.is_empty() {
                    return Err(wrong(format!(
                        "the latest version of subject {subject} ({}) cannot read these values: {}; \
                         `latest.compatibility.strict` false does not ask",
                        found.version,
                        reasons.join("; ")
                    )));
                }
                Ok(Written { id: found.id, latest: (latest != own).then_some(latest) })
            }
        }
    }

    fn strategy_class(&self) -> &'static str {
        let found = STRATEGIES.iter().find(|(_, strategy)| *strategy == self.strategy);
        found.map_or("", |(class, _)| class)
    }
}

fn strategy_key(side: Side) -> &'static str {
    match side {
        Side::Key => "key.subject.name.strategy",
        Side::Value => "value.subject.name.strategy",
    }
}

fn strategy(settings: Settings<'_>, side: Side) -> Result<SubjectStrategy, ConfigError> {
    let key = strategy_key(side);
    let Some(class) = settings.get(key).map(str::trim) else { return Ok(SubjectStrategy::default()) };
    let found = STRATEGIES.iter().find(|(known, _)| *known == class);
    found
        .map(|(_, strategy)| *strategy)
        .ok_or_else(|| settings.invalid(key, class, &format!("Class {class} could not be found.")))
}
