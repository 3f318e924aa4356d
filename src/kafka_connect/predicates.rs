//! Predicates: which records a transformation is for.

use regex::Regex;

use super::config::{ConfigError, Settings};
use super::record::Record;
use super::transforms::whole_regex;

/// A question about a record.
pub trait Predicate: Send + Sync {
    fn test(&self, record: &Record) -> bool;

    /// The answer for all records of a topic, where it does not depend on anything else.
    fn test_topic(&self, _topic: &str) -> Option<bool> {
        None
    }
}

const PACKAGE: &str = "org.apache.kafka.connect.transforms.predicates.";

/// Makes a predicate of its settings.
pub type Make = fn(Settings<'_>) -> Result<Box<dyn Predicate>, ConfigError>;

/// Classes without their package, and what makes them.
pub const PREDICATES: &[(&str, Make)] = &[
    ("TopicNameMatches", TopicNameMatches::make),
    ("HasHeaderKey", HasHeaderKey::make),
    ("RecordIsTombstone", |_| Ok(Box::new(RecordIsTombstone))),
];

/// The predicate of a class, by its full name.
///
/// # Errors
/// A setting that cannot be; the outer `None`: there is no such class.
pub fn predicate(class: &str, settings: Settings<'_>) -> Option<Result<Box<dyn Predicate>, ConfigError>> {
    let name = class.strip_prefix(PACKAGE)?;
    PREDICATES.iter().find(|(known, _)| *known == name).map(|(_, make)| make(settings))
}

struct TopicNameMatches(Regex);

impl TopicNameMatches {
    fn make(settings: Settings<'_>) -> Result<Box<dyn Predicate>, ConfigError> {
        let pattern = settings.required("pattern")?;
        match whole_regex(pattern) {
            Ok(regex) => Ok(Box::new(TopicNameMatches(regex))),
            Err(why) => Err(settings.invalid("pattern", pattern, &why)),
        }
    }
}

impl Predicate for TopicNameMatches {
    fn test(&self, record: &Record) -> bool {
        self.0.is_match(&record.topic)
    }

    fn test_topic(&self, topic: &str) -> Option<bool> {
        Some(self.0.is_match(topic))
    }
}

struct HasHeaderKey(String);

impl HasHeaderKey {
    fn make(settings: Settings<'_>) -> Result<Box<dyn Predicate>, ConfigError> {
        Ok(Box::new(HasHeaderKey(settings.required("name")?.to_owned())))
    }
}

impl Predicate for HasHeaderKey {
    fn test(&self, record: &Record) -> bool {
        record.headers.iter().any(|header| header.name == self.0)
    }
}

struct RecordIsTombstone;

impl Predicate for RecordIsTombstone {
    fn test(&self, record: &Record) -> bool {
        record.value.value.is_null()
    }
}
