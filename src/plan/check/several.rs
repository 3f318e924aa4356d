//! What the topics of one source have in common.
//!
//! A source of several topics has one format, one set of columns, one time. Where topics are declared (by a Topic
//! document, or by the sink of this command that writes them), all of them must say the same; those that say nothing
//! follow. With Avro each topic keeps its own subject: rows have the columns of the first topic's schema, and the
//! schema of every other one must be readable as that.

use arrow::datatypes::Schema;

use super::columns::listed;
use super::schemas::Found;
use super::topics::{Topics, Written};
use crate::connectors::kafka::TopicName;
use crate::formats;
use crate::registry::{avro, compatibility};
use crate::report::{Diagnostic, Diagnostics, Place};
use crate::spec::{Document, DurationMs, FormatSpec, Idle, Spanned, TimeSpec, TopicSpec};
use crate::time::duration;

/// A topic of a source, and what is known of it before a broker is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadTopic<'a> {
    pub name: &'a str,
    pub place: &'a Place,
    pub document: Option<&'a Document<TopicSpec>>,
    pub written: Option<&'a Written>,
}

impl<'a> ReadTopic<'a> {
    /// Without what sinks write: for that the cluster must be known.
    pub fn declared(name: &'a Spanned<TopicName>, topics: &Topics<'a>) -> Self {
        let document = topics.declared(&name.value.0);
        ReadTopic { name: &name.value.0, place: &name.place, document, written: None }
    }

    pub fn spec(&self) -> Option<&'a TopicSpec> {
        self.document.map(|document| &document.spec)
    }
}

/// What the first topic says that says anything; the others must say the same. `said` is by topic; `shown`: for
/// people, and equal where they agree.
pub(super) fn agreed<T: Copy>(
    topics: &[ReadTopic<'_>],
    key: &str,
    said: impl IntoIterator<Item = Option<T>>,
    shown: impl Fn(T) -> String,
    out: &mut Diagnostics,
) -> Option<T> {
    let mut said = topics.iter().zip(said).filter_map(|(topic, said)| Some((topic, said?)));
    let (first, agreed) = said.next()?;
    for (topic, other) in said.filter(|(_, other)| shown(*other) != shown(agreed)) {
        out.push(
            Diagnostic::error("topics.differ", format!("`{}` and `{}` differ in `{key}`", first.name, topic.name))
                .at(topic.place)
                .note(format!("`{}` has {}, `{}` has {}", first.name, shown(agreed), topic.name, shown(other)))
                .hint("topics of one source are read alike: make two sources of them"),
        );
    }
    Some(agreed)
}

/// A format in words, with its options.
pub(super) fn format_in_words(format: &FormatSpec) -> String {
    match &format.options {
        Some(options) => format!("`{}` with {}", format.name.value, options.to_json()),
        None => format!("`{}`", format.name.value),
    }
}

pub(super) fn columns_in_words(columns: &Schema) -> String {
    format!("`{}`", listed(columns))
}

pub(super) fn time_in_words(time: &TimeSpec) -> String {
    let field = time.field.as_ref().map_or("Kafka's timestamp", |field| field.value.as_str());
    let lasting =
        |key: &str, given: Option<DurationMs>| given.map(|given| format!("{key} {}", duration::format(given.0)));
    let idle = match time.idle {
        Some(Idle::Never) => Some("idle never".to_owned()),
        Some(Idle::After(given)) => lasting("idle", Some(given)),
        None => None,
    };
    let said = [
        Some(field.to_owned()),
        time.unit.as_ref().map(|unit| format!("unit {}", unit.value.word())),
        lasting("lag", time.lag),
        idle,
        lasting("align", time.align),
        lasting("max_ahead", time.max_ahead),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The first topic's schema, which reads the other topics' too.
pub(super) fn common_schema(found: Vec<(&ReadTopic<'_>, Found)>, out: &mut Diagnostics) -> Option<Found> {
    let mut found = found.into_iter();
    let (first, mut reader) = found.next()?;
    let mut fits = true;
    for (topic, other) in found {
        reader.text = formats::reading_also(&reader.text, &other.text);
        // What is no schema is found where it is used.
        let (Ok(ours), Ok(theirs)) = (avro::Schema::parse(&reader.text), avro::Schema::parse(&other.text)) else {
            continue;
        };
        let findings = compatibility::can_read(&ours, &theirs);
        if findings.reasons.is_empty() {
            continue;
        }
        fits = false;
        let title = format!("values of `{}` cannot be read with the schema of `{}`", topic.name, first.name);
        let mut diagnostic = Diagnostic::error("topics.schemas", title).at(topic.place);
        diagnostic.notes = findings.texts();
        diagnostic
            .notes
            .push(format!("rows have the columns of the first topic: {}; here it is {}", reader.from, other.from));
        out.push(diagnostic.hint(
            "put the topic with the fewest columns first, give fields defaults, or name a schema that reads all with `schema`",
        ));
    }
    fits.then_some(reader)
}
