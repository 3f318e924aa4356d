//! Which subject a topic's schema stands under.

use super::avro::Schema;

/// Which half of a record a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Key,
    Value,
}

/// How a subject is named; Confluent's strategies of the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SubjectStrategy {
    /// `TOPIC-key`, `TOPIC-value`.
    #[default]
    TopicName,
    /// The record's full name: one subject for all topics, shared by keys and values.
    RecordName,
    /// `TOPIC-` and the record's full name.
    TopicRecordName,
}

impl SubjectStrategy {
    /// The subject; `None` if the strategy needs a record's name and `record_name` is missing.
    pub fn subject(self, topic: &str, side: Side, record_name: Option<&str>) -> Option<String> {
        match self {
            SubjectStrategy::TopicName => Some(match side {
                Side::Key => format!("{topic}-key"),
                Side::Value => format!("{topic}-value"),
            }),
            SubjectStrategy::RecordName => record_name.map(str::to_string),
            SubjectStrategy::TopicRecordName => record_name.map(|name| format!("{topic}-{name}")),
        }
    }
}

/// The full name of the record, enum or fixed that an Avro schema's text describes.
pub fn record_name(schema: &str) -> Option<String> {
    Schema::parse(schema).ok()?.full_name().map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primitives_have_no_subject_by_record_name() {
        assert_eq!(SubjectStrategy::default().subject("t", Side::Key, None).as_deref(), Some("t-key"));
        assert_eq!(SubjectStrategy::RecordName.subject("t", Side::Value, record_name(r#""int""#).as_deref()), None);
        let name = record_name(r#"{"type":"record","name":"R","namespace":"n","fields":[]}"#);
        assert_eq!(
            SubjectStrategy::TopicRecordName.subject("t", Side::Value, name.as_deref()).as_deref(),
            Some("t-n.R")
        );
    }
}
