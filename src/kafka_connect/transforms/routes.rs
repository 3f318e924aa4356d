//! Transformations of the topic, and the one that drops records.

use super::super::columns::Columns;
use super::super::config::{ConfigError, Settings};
use super::super::pattern::Replacement;
use super::super::record::{ConnectError, Record, refused};
use super::dates::DateFormat;
use super::{Route, Side, Transformation};

/// Puts the record's time into the topic's name.
pub struct TimestampRouter {
    topic: String,
    format: DateFormat,
}

impl TimestampRouter {
    pub fn make(settings: Settings<'_>, _side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        let pattern = settings.get("timestamp.format").unwrap_or("yyyyMMdd");
        let format = DateFormat::new(pattern).map_err(|why| settings.invalid("timestamp.format", pattern, &why))?;
        let topic = settings.get("topic.format").unwrap_or("${topic}-${timestamp}").to_owned();
        Ok(Box::new(TimestampRouter { topic, format }))
    }
}

impl Transformation for TimestampRouter {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, ConnectError> {
        let Some(timestamp) = record.timestamp else {
            return refused(format!("Timestamp missing on record: of topic {}", record.topic));
        };
        let time = self.format.format(timestamp);
        record.topic = self.topic.replacen("${topic}", &record.topic, usize::MAX).replace("${timestamp}", &time);
        Ok(Some(record))
    }

    fn route(&self, topic: &str) -> Route {
        if self.topic.contains("${timestamp}") {
            return Route::ByRecord;
        }
        Route::To(self.topic.replace("${topic}", topic))
    }
}

/// Renames topics whose whole name a regex matches.
pub struct RegexRouter(Replacement);

impl RegexRouter {
    pub fn make(settings: Settings<'_>, _side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        let pattern = settings.required("regex")?;
        let replacement = Replacement::new(pattern, settings.required("replacement")?);
        let wrong = |why: String| settings.invalid("regex", pattern, &format!("Invalid regex: {why}"));
        Ok(Box::new(RegexRouter(replacement.map_err(wrong)?)))
    }
}

impl Transformation for RegexRouter {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, ConnectError> {
        if let Some(routed) = self.0.of(&record.topic)? {
            record.topic = routed;
        }
        Ok(Some(record))
    }

    fn columns(&self, mut columns: Columns) -> Option<Columns> {
        if let Some(routed) = self.0.of(&columns.topic).ok()? {
            columns.topic = routed;
        }
        Some(columns)
    }

    fn route(&self, topic: &str) -> Route {
        match self.0.of(topic) {
            Ok(Some(routed)) => Route::To(routed),
            // A replacement that cannot be is an error of each record.
            Ok(None) | Err(_) => Route::Same,
        }
    }
}

/// Drops every record that its predicate lets through to it.
pub struct Filter;

impl Filter {
    pub fn make(_settings: Settings<'_>, _side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        Ok(Box::new(Filter))
    }
}

impl Transformation for Filter {
    fn apply(&self, _record: Record) -> Result<Option<Record>, ConnectError> {
        Ok(None)
    }
}
