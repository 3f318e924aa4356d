//! Schemas of keys and values: declared columns, Avro schemas from files, registries and documents,
//! and those that sinks derive from their rows.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, Schema};

use super::connections::Connection;
use super::{Scope, of_failure};
use crate::expr::type_word;
use crate::formats;
use crate::plan::outline::{SubjectOutline, SubjectState};
use crate::plan::resolve::Registries;
use crate::registry::{Registered, Registry, Side, SubjectStrategy};
use crate::report::{Diagnostic, Diagnostics, Place};
use crate::spec::{self, Columns, SchemaText};

/// Code of a schema that nobody has registered.
pub(super) const MISSING: &str = "schema.missing";

/// Declared columns as Arrow's.
pub(super) fn declared(columns: &Columns, out: &mut Diagnostics) -> Schema {
    super::columns::refuse_reserved(columns.value.iter().map(|(name, _)| (name.value.as_str(), &name.place)), out);
    let fields: Vec<Field> = columns.value.iter().map(|(name, column)| column.to_field(&name.value)).collect();
    Schema::new(fields)
}

/// Notes the Avro schema whose columns these are, and its record's name.
pub(super) fn note_record(columns: &mut Schema, text: &str) {
    if let Ok(theirs) = formats::arrow_schema(text) {
        columns.metadata.extend(theirs.metadata);
        columns.metadata.insert(crate::data::fields::AVRO.to_owned(), text.to_owned());
    }
}

/// `TOPIC-key` or `TOPIC-value`.
pub(super) fn subject(topic: &str, side: Side) -> String {
    SubjectStrategy::TopicName.subject(topic, side, None).expect("the strategy by topic needs no record name")
}

/// The registry of a connection, for now and for later.
pub(super) fn registries(scope: &Scope, connection: &Connection, out: &mut Diagnostics) -> Option<Registries> {
    let registry = connection.registry(out)?;
    let place = connection.asked().clone();
    // One directory for all pipelines: what one of them registers another one reads.
    scope
        .world
        .registry(&connection.name, registry, scope.states)
        .map_err(|failure| out.push(of_failure(failure, &place)))
        .ok()
}

/// An Avro schema that was found, and where.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub text: String,
    /// "subject `ratings-value` version 3": for people.
    pub from: String,
}

/// What a search for a schema gave.
pub(super) enum Search {
    Found(Found),
    /// Nobody was asked who would know.
    NotAsked(String),
}

/// Where an Avro schema may be.
pub(super) struct Wanted<'a> {
    pub scope: &'a Scope<'a>,
    pub schema: Option<&'a spec::SchemaRef>,
    /// The folder of the document that `schema` stands in.
    pub folder: &'a Path,
    pub subject: &'a str,
    pub registries: &'a Registries,
    pub place: &'a Place,
}

impl Wanted<'_> {
    /// A source's schema: what `schema` names, a Schema document, or the subject's latest version.
    pub fn of_source(&self, out: &mut Diagnostics) -> Option<Search> {
        if let Some(file) = self.schema.and_then(|schema| schema.file.as_ref()) {
            return read_file(self.folder, file, out).map(Search::Found);
        }
        let subject = self.subject();
        let version = self.schema.and_then(|schema| schema.version.as_ref());
        if version.is_none()
            && let Some(found) = self.document(subject, out)
        {
            return found.map(Search::Found);
        }
        let Some(registry) = &self.registries.asked else {
            return Some(Search::NotAsked(format!("the schema of subject `{subject}`")));
        };
        let asked = match version {
            Some(version) => registry.version(subject, version.value),
            None => registry.latest(subject),
        };
        match asked {
            Ok(Some(registered)) => Some(Search::Found(of_registered(registered))),
            Ok(None) => {
                out.push(self.missing(subject, registry.as_ref()));
                None
            }
            Err(failure) => {
                out.push(of_failure(failure, self.place));
                None
            }
        }
    }

    /// A sink's pinned schema; `None`: it is derived from the rows.
    pub fn of_sink(&self, out: &mut Diagnostics) -> Option<Option<Search>> {
        let pins = self.schema.is_some_and(|schema| schema.file.is_some() || schema.version.is_some());
        if pins {
            return self.of_source(out).map(Some);
        }
        match self.document(self.subject(), out) {
            None => Some(None),
            Some(found) => found.map(|found| Some(Search::Found(found))),
        }
    }

    pub fn subject(&self) -> &str {
        self.schema.and_then(|schema| schema.subject.as_ref()).map_or(self.subject, |subject| &subject.value)
    }

    /// A Schema document of the subject; the inner `None` is one with an error.
    fn document(&self, subject: &str, out: &mut Diagnostics) -> Option<Option<Found>> {
        let document = self.scope.documents.schemas.iter().find(|d| d.metadata.name.value == subject)?;
        if let Some(reference) = document.spec.references.first() {
            out.push(spec::not_available("a schema with `references`", &reference.name.place));
            return Some(None);
        }
        Some(match &document.spec.source {
            SchemaText::File(path) => read_file(&document.folder, path, out),
            SchemaText::Inline(node) => Some(Found {
                text: node.as_str().map_or_else(|| node.to_json().to_string(), str::to_owned),
                from: format!("the Schema at {}", document.place),
            }),
        })
    }

    fn missing(&self, subject: &str, registry: &dyn Registry) -> Diagnostic {
        let version = self.schema.and_then(|schema| schema.version.as_ref());
        let place = version.map_or(self.place, |version| &version.place);
        let title = match version {
            Some(version) => format!("the subject `{subject}` has no version {}", version.value),
            None => format!("there is no subject `{subject}` in the registry"),
        };
        Diagnostic::error(MISSING, title).at(place).note(format!("asked {}", registry.describe())).hint(
            "name a file with `schema: {file: x.avsc}`, or let whoever writes the topic register its schema first",
        )
    }
}

fn of_registered(registered: Registered) -> Found {
    Found { text: registered.schema, from: format!("subject `{}` version {}", registered.subject, registered.version) }
}

fn read_file(folder: &Path, file: &spec::Spanned<String>, out: &mut Diagnostics) -> Option<Found> {
    let path = folder.join(&file.value);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(Found { text, from: format!("file `{}`", file.value) }),
        Err(error) => {
            out.push(
                Diagnostic::error("schema.file", format!("the schema `{}` cannot be read", file.value))
                    .at(&file.place)
                    .note(format!("{}: {error}", path.display()))
                    .hint("paths are from the folder of the document"),
            );
            None
        }
    }
}

/// The columns of an Avro schema.
pub(super) fn columns_of(found: &Found, place: &Place, out: &mut Diagnostics) -> Option<Schema> {
    match formats::arrow_schema(&found.text) {
        Ok(schema) => Some(schema),
        Err(failure) => {
            out.push(of_failure(failure, place).note(format!("it is from {}", found.from)));
            None
        }
    }
}

/// Complains where rows do not fit a schema that the user pinned.
pub(super) fn check_fit(rows: &[&Field], pinned: &Schema, found: &Found, place: &Place, out: &mut Diagnostics) -> bool {
    let mut wrong = Vec::new();
    for field in rows {
        match pinned.field_with_name(field.name()) {
            Err(_) => wrong.push(format!("it has no field `{}`", field.name())),
            Ok(wanted) if !is_same_type(wanted.data_type(), field.data_type()) => {
                wrong.push(format!("`{}` is {} there and {} here", field.name(), type_word(wanted), type_word(*field)));
            }
            Ok(wanted) if field.is_nullable() && !wanted.is_nullable() => {
                wrong.push(format!("`{}` may be null here and not there", field.name()));
            }
            Ok(_) => {}
        }
    }
    for wanted in pinned.fields().iter().filter(|wanted| rows.iter().all(|field| field.name() != wanted.name())) {
        wrong.push(format!("its field `{}` is not among the columns", wanted.name()));
    }
    if wrong.is_empty() {
        return true;
    }
    let mut diagnostic =
        Diagnostic::error("schema.misfit", format!("the rows do not fit the schema from {}", found.from)).at(place);
    diagnostic.notes = wrong;
    out.push(diagnostic.hint("make the columns so with `select`, or leave `schema` out to have one derived"));
    false
}

/// Names of nested fields that Avro and Arrow choose differently do not matter.
fn is_same_type(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::List(a), DataType::List(b)) => is_same_type(a.data_type(), b.data_type()),
        (DataType::Map(a, _), DataType::Map(b, _)) => is_same_type(a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same_type(a.data_type(), b.data_type()))
        }
        (a, b) => a == b,
    }
}

/// What `apply` will do with a sink's schema. An incompatible one is an error.
pub(super) fn plan_subject(
    registries: &Registries,
    subject: String,
    schema: String,
    register: bool,
    place: &Place,
    out: &mut Diagnostics,
) -> Option<SubjectOutline> {
    let state = match &registries.asked {
        None => SubjectState::NotAsked,
        Some(registry) => match subject_state(registry.as_ref(), &subject, &schema, register, place, out) {
            Ok(state) => state?,
            Err(failure) => {
                out.push(of_failure(failure, place));
                return None;
            }
        },
    };
    Some(SubjectOutline {
        registry: registries.asked.clone(),
        registry_shown: registries.shown.clone(),
        connection: registries.connection.clone(),
        subject,
        schema,
        id: Arc::new(OnceLock::new()),
        state,
    })
}

fn subject_state(
    registry: &dyn Registry,
    subject: &str,
    schema: &str,
    register: bool,
    place: &Place,
    out: &mut Diagnostics,
) -> Result<Option<SubjectState>, crate::report::Failure> {
    if let Some(registered) = registry.lookup(subject, schema)? {
        return Ok(Some(SubjectState::Unchanged { version: registered.version }));
    }
    if !register {
        out.push(
            Diagnostic::error("schema.not_registered", format!("the schema is not registered under `{subject}`"))
                .at(place)
                .note(format!("`register: false` expects it in {}", registry.describe()))
                .hint("register it first, or leave `register: false` out"),
        );
        return Ok(None);
    }
    let Some(latest) = registry.latest(subject)? else { return Ok(Some(SubjectState::New)) };
    let verdict = registry.compatible(subject, schema)?;
    if !verdict.compatible {
        let mut diagnostic = Diagnostic::error(
            "schema.incompatible",
            format!("the new schema of `{subject}` is not compatible with version {}", latest.version),
        )
        .at(place);
        diagnostic.notes = verdict.messages;
        diagnostic.notes.push(format!("the new one is {schema}"));
        out.push(diagnostic.hint("keep the old columns, make new ones nullable, or write to another topic"));
        return Ok(None);
    }
    for change in formats::overlooked_changes(&latest.schema, schema) {
        out.push(
            Diagnostic::warning(
                "schema.meaning",
                format!("the new schema of `{subject}` changes what its values mean"),
            )
            .at(place)
            .note(change)
            .note("the registry calls this compatible"),
        );
    }
    Ok(Some(SubjectState::NewVersion { after: latest.version }))
}

/// A record's name from a topic's: `a.b-c` is `a_b_c`.
pub(super) fn record_name(topic: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let name: String = topic.chars().map(clean).collect();
    match name.chars().next() {
        Some(first) if first.is_ascii_digit() => format!("_{name}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_names_are_avro_names() {
        assert_eq!(record_name("metrics.per-brand"), "metrics_per_brand");
        assert_eq!(record_name("5s"), "_5s");
    }
}
