//! Predicates: which records a transformation is for.

use super::config::{ConfigError, Settings};
use super::pattern::Pattern;
use super::record::{ConnectError, Record};

/// A question about a record.
pub trait Predicate: Send + Sync {
    /// # Errors
    /// A record of which it cannot be said.
    fn test(&self, record: &Record) -> Result<bool, ConnectError>;

    /// The answer for all records of a topic, where it does not depend on anything else.
    fn test_topic(&self, _topic: &str) -> Option<Result<bool, ConnectError>> {
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

struct TopicNameMatches(Pattern);

impl TopicNameMatches {
    fn make(settings: Settings<'_>) -> Result<Box<dyn Predicate>, ConfigError> {
        let pattern = settings.required("pattern")?;
        match Pattern::new(pattern) {
            Ok(pattern) => Ok(Box::new(TopicNameMatches(pattern))),
            Err(why) => Err(settings.invalid("pattern", pattern, &format!("Invalid regex: {why}"))),
        }
    }
}

impl Predicate for TopicNameMatches {
    fn test(&self, record: &Record) -> Result<bool, ConnectError> {
        Ok(self.0.fits(&record.topic)?)
    }

    fn test_topic(&self, topic: &str) -> Option<Result<bool, ConnectError>> {
        Some(self.0.fits(topic).map_err(ConnectError::from))
    }
}

struct HasHeaderKey(String);

impl HasHeaderKey {
    fn make(settings: Settings<'_>) -> Result<Box<dyn Predicate>, ConfigError> {
        Ok(Box::new(HasHeaderKey(settings.required("name")?.to_owned())))
    }
}

impl Predicate for HasHeaderKey {
    fn test(&self, record: &Record) -> Result<bool, ConnectError> {
        Ok(record.headers.iter().any(|header| header.name == self.0))
    }
}

struct RecordIsTombstone;

impl Predicate for RecordIsTombstone {
    fn test(&self, record: &Record) -> Result<bool, ConnectError> {
        Ok(record.value.value.is_null())
    }
}
