//! What is known of topics before a broker is asked: Topic documents, and what this command's own
//! sinks write.

use std::collections::BTreeMap;

use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::report::{Diagnostic, Diagnostics, Place};
use crate::spec::{Columns, Document, Documents, FormatSpec, Spanned, TopicSpec};

/// A topic that a sink of this command writes.
#[derive(Debug, Clone)]
pub(super) struct Written {
    /// "sink `a` of `b`": for messages.
    pub by: String,
    pub brokers: String,
    /// `None`: Kafka Connect's converters write it, and readers must say how they read it.
    pub format: Option<FormatSpec>,
    /// The planned columns of its values.
    pub columns: Option<SchemaRef>,
    /// The planned Avro schema of its values.
    pub schema: Option<String>,
}

/// Topics of one command.
#[derive(Debug)]
pub(super) struct Topics<'a> {
    declared: BTreeMap<&'a str, &'a Document<TopicSpec>>,
    written: BTreeMap<String, Vec<Written>>,
}

impl<'a> Topics<'a> {
    pub fn of(documents: &'a Documents) -> Self {
        let declared = documents.topics.iter().map(|topic| (topic.metadata.name.value.as_str(), topic)).collect();
        Topics { declared, written: BTreeMap::new() }
    }

    pub fn declared(&self, topic: &str) -> Option<&'a Document<TopicSpec>> {
        self.declared.get(topic).copied()
    }

    /// Who writes the topic on this cluster: one sink stands for all of them.
    pub fn written(&self, topic: &str, brokers: &str) -> Option<&Written> {
        self.written.get(topic)?.iter().find(|written| written.brokers == brokers)
    }

    pub fn add_written(&mut self, topic: &str, written: Written) {
        self.written.entry(topic.to_owned()).or_default().push(written);
    }
}

/// The format of an end: its own, its Topic's, or that of the sink that writes the topic.
pub(super) fn format<'a>(
    key: &str,
    own: Option<&'a FormatSpec>,
    topic: Option<&'a FormatSpec>,
    written: Option<(&'a FormatSpec, &str)>,
    out: &mut Diagnostics,
) -> Option<&'a FormatSpec> {
    if let (Some(own), Some(topic)) = (own, topic) {
        contradiction(key, own, topic, &format!("the Topic at {} says", topic.name.place), out);
    }
    if let (Some(said), Some((written, by))) = (own.or(topic), written) {
        contradiction(key, said, written, &format!("{by} writes"), out);
    }
    own.or(topic).or(written.map(|(format, _)| format))
}

fn contradiction(key: &str, said: &FormatSpec, other: &FormatSpec, who: &str, out: &mut Diagnostics) {
    let options = |format: &FormatSpec| format.options.as_ref().map(crate::spec::Node::to_json);
    if said.name.value == other.name.value && options(said) == options(other) {
        return;
    }
    out.push(
        Diagnostic::error(
            "topic.contradiction",
            format!("`{key}: {}` contradicts what is known of the topic", said.name.value),
        )
        .at(&said.name.place)
        .note(format!("{who} `{}`", other.name.value))
        .hint(format!("leave `{key}` out here, or make both the same")),
    );
}

/// Declared columns of an end and its Topic; both must be the same.
pub(super) fn columns<'a>(
    own: Option<&'a Columns>,
    topic: Option<&'a Columns>,
    out: &mut Diagnostics,
) -> Option<&'a Columns> {
    if let (Some(own), Some(topic)) = (own, topic) {
        // Places differ in any case: what the columns mean is compared.
        let fields = |columns: &Columns| -> Vec<Field> {
            columns.value.iter().map(|(name, column)| column.to_field(&name.value)).collect()
        };
        if fields(own) != fields(topic) {
            out.push(
                Diagnostic::error("topic.contradiction", "`columns` contradict those of the Topic")
                    .at(&own.place)
                    .note(format!(
                        "the Topic at {} has: {}",
                        topic.place,
                        super::columns::listed(&Schema::new(fields(topic)))
                    ))
                    .hint("leave `columns` out here, or make both the same"),
            );
        }
    }
    own.or(topic)
}

/// The error for an end without a format.
pub(super) fn no_format(name: &Spanned<String>, place: &Place, connector: &str) -> Diagnostic {
    Diagnostic::error("format.missing", format!("`{}` has no `format`", name.value))
        .at(place)
        .label(format!("the bytes of `{connector}` can be read in many ways"))
        .hint("add `format: avro`, `json`, `csv`, `string` or `bytes`")
}
