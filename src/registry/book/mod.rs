//! The book of a registry: subjects, their versions, ids, settings. Pure: the files are [`super::store`]'s.
//!
//! It behaves as Confluent's server does: one id per (canonical text, references, metadata, rules) in a context,
//! whatever the subject; versions count per subject; no id is ever given twice, not even after a permanent
//! deletion; what is known under a subject is answered without a check, also where it would be refused now.
//!
//! [`stored`] is the format, `difference` that of a change, `changes` registers and deletes, `settings` has levels and modes and the check.

mod changes;
mod difference;
mod metadata;
mod rules;
mod settings;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use difference::Difference;
pub use metadata::has_rule;
pub use settings::{Against, Checked};
pub use stored::{Book, Entry, FORMAT};
use stored::{Context, Version};

use super::avro::Schema;
use super::refusal::Refusal;
use crate::time::Millis;

/// The context of subjects that name none.
pub const DEFAULT_CONTEXT: &str = ".";
/// References that lead on are followed so deep.
const REFERENCE_DEPTH: usize = 64;

/// A subject and its context.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub context: String,
    pub name: String,
}

impl Subject {
    /// `subject`, or `:.context:subject`.
    pub fn parse(text: &str) -> Subject {
        let qualified = text.strip_prefix(':').and_then(|rest| rest.split_once(':'));
        match qualified.filter(|(context, _)| context.starts_with('.')) {
            Some((context, name)) => Subject { context: context.into(), name: name.into() },
            None => Subject { context: DEFAULT_CONTEXT.into(), name: text.into() },
        }
    }

    /// The other way round.
    pub fn shown(&self) -> String {
        match self.context.as_str() {
            DEFAULT_CONTEXT => self.name.clone(),
            context => format!(":{context}:{}", self.name),
        }
    }

    /// # Errors
    /// 42208 for what cannot be a subject.
    pub fn checked(self) -> Result<Subject, Refusal> {
        let name = self.name.as_str();
        if name.is_empty() || matches!(name, "__GLOBAL" | "__EMPTY") || name.contains(char::is_control) {
            return Err(Refusal::new(
                42208,
                format!("The specified subject '{}' is not a valid.", name.escape_debug()),
            ));
        }
        Ok(self)
    }
}

/// A schema that a schema uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    /// Full name of the type.
    pub name: String,
    pub subject: String,
    pub version: i32,
}

/// A schema as somebody gives it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewSchema {
    pub text: String,
    pub references: Vec<Reference>,
    pub metadata: Option<Json>,
    pub rule_set: Option<Json>,
    /// Only in mode IMPORT.
    pub id: Option<i32>,
    pub version: Option<i32>,
}

impl NewSchema {
    pub fn avro(text: impl Into<String>) -> Self {
        NewSchema { text: text.into(), ..NewSchema::default() }
    }

    fn into_entry(self, references: Vec<Reference>) -> Entry {
        Entry { schema: self.text, references, metadata: self.metadata, rule_set: self.rule_set }
    }
}

/// Which deleted ones to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deleted {
    #[default]
    Hidden,
    Shown,
    Only,
}

impl Deleted {
    fn takes(self, version: &Version) -> bool {
        match self {
            Deleted::Hidden => !version.deleted,
            Deleted::Shown => true,
            Deleted::Only => version.deleted,
        }
    }
}

/// A version as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Number(i32),
    Latest,
}

impl Which {
    /// # Errors
    /// 42202 for what is neither a number from 1 nor `latest` nor -1.
    pub fn parse(text: &str) -> Result<Which, Refusal> {
        if text.eq_ignore_ascii_case("latest") || text == "-1" {
            return Ok(Which::Latest);
        }
        let number = text.parse::<i32>().ok().filter(|number| *number > 0);
        number.map(Which::Number).ok_or_else(|| {
            let message = format!(
                "The specified version '{}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\"",
                text.escape_debug()
            );
            Refusal::new(42202, message)
        })
    }
}

/// A version of a subject, with everything that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub subject: Subject,
    pub version: i32,
    pub id: i32,
    pub entry: Entry,
    pub deleted: bool,
    pub at: Millis,
}

impl Entry {
    /// The same in every registry, unlike an id: a hash of the canonical text and of what belongs to it.
    pub fn guid(&self) -> uuid::Uuid {
        let mut hashed = self.schema.as_bytes().to_vec();
        for reference in &self.references {
            hashed.extend(reference.name.as_bytes());
            hashed.extend(reference.subject.as_bytes());
            hashed.extend(reference.version.to_be_bytes());
        }
        for more in [&self.metadata, &self.rule_set].into_iter().flatten() {
            hashed.push(1);
            hashed.extend(more.to_string().as_bytes());
        }
        uuid::Uuid::from_bytes(md5::compute(hashed).0)
    }
}

/// A schema that was understood.
struct Parsed {
    entry: Entry,
    schema: Schema,
}

impl Book {
    fn context(&self, name: &str) -> Option<&Context> {
        self.contexts.get(name)
    }

    /// The subject that is meant: an alias leads to another one.
    pub fn resolve(&self, subject: &Subject) -> Subject {
        let alias = self.configs.get(&subject.shown()).and_then(|config| config.get("alias")?.as_str());
        alias.filter(|alias| !alias.is_empty()).map_or_else(|| subject.clone(), Subject::parse)
    }

    fn all_versions(&self, subject: &Subject) -> &[Version] {
        let context = self.context(&subject.context);
        context.and_then(|context| context.subjects.get(&subject.name)).map_or(&[], Vec::as_slice)
    }

    fn live_versions(&self, subject: &Subject) -> impl DoubleEndedIterator<Item = &Version> {
        self.all_versions(subject).iter().filter(|version| !version.deleted)
    }

    fn found(&self, subject: &Subject, version: &Version) -> Option<Found> {
        let entry = self.context(&subject.context)?.schemas.get(&version.id)?.clone();
        let Version { version, id, deleted, at } = *version;
        Some(Found { subject: subject.clone(), version, id, entry, deleted, at })
    }

    /// All contexts that hold something.
    pub fn contexts(&self) -> Vec<String> {
        let default = std::iter::once(DEFAULT_CONTEXT.to_owned());
        default.chain(self.contexts.keys().filter(|name| *name != DEFAULT_CONTEXT).cloned()).collect()
    }

    /// The subjects whose qualified names begin so; `:*:` means all of all contexts.
    pub fn subjects(&self, prefix: &str, deleted: Deleted) -> Vec<Subject> {
        let wanted = (prefix != ":*:").then(|| Subject::parse(prefix));
        let mut subjects = Vec::new();
        for (context, inside) in &self.contexts {
            if wanted.as_ref().is_some_and(|wanted| wanted.context != *context) {
                continue;
            }
            for (name, versions) in &inside.subjects {
                let begins = wanted.as_ref().is_none_or(|wanted| name.starts_with(&wanted.name));
                let is_there = match deleted {
                    Deleted::Hidden => versions.iter().any(|version| !version.deleted),
                    Deleted::Shown => true,
                    Deleted::Only => versions.iter().all(|version| version.deleted),
                };
                if begins && is_there {
                    subjects.push(Subject { context: context.clone(), name: name.clone() });
                }
            }
        }
        subjects.sort_by_cached_key(Subject::shown);
        subjects
    }

    /// Names that lead to other subjects, and those, whose qualified names begin so; see [`Book::subjects`].
    pub fn aliases(&self, prefix: &str) -> Vec<(Subject, Subject)> {
        let wanted = (prefix != ":*:").then(|| Subject::parse(prefix));
        let begins = |subject: &Subject| {
            let fits = |wanted: &Subject| wanted.context == subject.context && subject.name.starts_with(&wanted.name);
            wanted.as_ref().is_none_or(fits)
        };
        let all = self.configs.keys().map(|place| Subject::parse(place)).filter(begins);
        all.map(|alias| (self.resolve(&alias), alias))
            .filter(|(real, alias)| real != alias)
            .map(|(real, alias)| (alias, real))
            .collect()
    }

    /// The subject's versions, ascending.
    ///
    /// # Errors
    /// 40401 if there are none of the wanted kind.
    pub fn versions(&self, subject: &Subject, deleted: Deleted) -> Result<Vec<Found>, Refusal> {
        let versions = self.all_versions(subject).iter().filter(|version| deleted.takes(version));
        let found: Vec<Found> = versions.filter_map(|version| self.found(subject, version)).collect();
        if found.is_empty() { Err(Refusal::no_subject(&subject.shown())) } else { Ok(found) }
    }

    /// One version.
    ///
    /// # Errors
    /// 40401, 40402.
    pub fn version(&self, subject: &Subject, which: Which, deleted: Deleted) -> Result<Found, Refusal> {
        let mut versions = self.versions(subject, deleted)?;
        match which {
            Which::Latest => versions.pop().ok_or_else(|| Refusal::no_subject(&subject.shown())),
            Which::Number(number) => {
                versions.into_iter().find(|found| found.version == number).ok_or_else(|| Refusal::no_version(number))
            }
        }
    }

    /// What has an id in a context; softly deleted ones too.
    pub fn by_id(&self, context: &str, id: i32) -> Option<&Entry> {
        self.context(context)?.schemas.get(&id)
    }

    /// The highest id of a context; 0 before the first.
    pub fn last_id(&self, context: &str) -> i32 {
        self.context(context).map_or(0, |context| context.last_id)
    }

    /// Every version that has an id, in the order of subjects.
    pub fn uses(&self, context: &str, id: i32, deleted: Deleted) -> Vec<Found> {
        let subjects = self.context(context).into_iter().flat_map(|inside| &inside.subjects);
        let with_id = |(name, versions): (&String, &Vec<Version>)| {
            let subject = Subject { context: context.to_owned(), name: name.clone() };
            let versions = versions.iter().filter(|version| version.id == id && deleted.takes(version));
            versions.filter_map(|version| self.found(&subject, version)).collect::<Vec<_>>()
        };
        subjects.flat_map(with_id).collect()
    }

    /// The contexts and ids of what has a guid.
    pub fn by_guid(&self, guid: uuid::Uuid) -> Vec<(String, i32)> {
        let all = self.contexts.iter().flat_map(|(name, context)| context.schemas.iter().map(move |one| (name, one)));
        all.filter(|(_, (_, entry))| entry.guid() == guid).map(|(name, (id, _))| (name.clone(), *id)).collect()
    }

    /// Ids of the schemas that refer to a version.
    pub fn referenced_by(&self, subject: &Subject, version: i32) -> BTreeSet<i32> {
        let mut ids = BTreeSet::new();
        for (context, inside) in &self.contexts {
            let refers = |reference: &Reference| {
                reference.version == version && in_context(&reference.subject, context) == *subject
            };
            let entries = inside.schemas.iter().filter(|(_, entry)| entry.references.iter().any(refers));
            ids.extend(entries.map(|(id, _)| *id));
        }
        ids
    }

    /// The version under which this very schema is known; also one that was given inlined.
    ///
    /// # Errors
    /// 40401 without such a subject, 40403 without such a schema in it, 42201.
    pub fn lookup(
        &self,
        subject: &Subject,
        new: &NewSchema,
        normalize: bool,
        deleted: Deleted,
    ) -> Result<Found, Refusal> {
        let parsed = self.parse(subject, new, normalize)?;
        self.versions(subject, deleted)?;
        self.find(subject, &parsed, deleted).ok_or_else(Refusal::no_schema)
    }

    fn find(&self, subject: &Subject, new: &Parsed, deleted: Deleted) -> Option<Found> {
        let context = self.context(&subject.context)?;
        let versions = self.all_versions(subject).iter().rev().filter(|version| deleted.takes(version));
        let is_same =
            |entry: &Entry| metadata::is_found_by(entry, &new.entry) || self.is_inlined(&subject.context, entry, new);
        let same = |version: &&Version| context.schemas.get(&version.id).is_some_and(is_same);
        versions.clone().find(same).and_then(|version| self.found(subject, version))
    }

    /// The same types, though one of the two refers to what the other spells out.
    fn is_inlined(&self, context: &str, known: &Entry, new: &Parsed) -> bool {
        if known.references.is_empty() == new.entry.references.is_empty()
            || (&known.metadata, &known.rule_set) != (&new.entry.metadata, &new.entry.rule_set)
        {
            return false;
        }
        let known = self.schema_of(context, known);
        known.is_ok_and(|known| known.inlined().canonical() == new.schema.inlined().canonical())
    }

    /// Understands a schema; references get their numbers.
    fn parse(&self, subject: &Subject, new: &NewSchema, normalize: bool) -> Result<Parsed, Refusal> {
        let mut references = Vec::with_capacity(new.references.len());
        for reference in &new.references {
            let target = in_context(&reference.subject, &subject.context);
            let which = if reference.version == -1 { Which::Latest } else { Which::Number(reference.version) };
            // A deleted version still serves those that refer to it; a new reference needs a live one.
            let found = self.version(&target, which, Deleted::Hidden).map_err(|_| {
                Refusal::invalid_schema(&format!(
                    "there is no version {} of `{}`",
                    reference.version, reference.subject
                ))
            })?;
            references.push(Reference { version: found.version, ..reference.clone() });
        }
        let mut schema = self.read(&subject.context, &new.text, &references, REFERENCE_DEPTH)?;
        if normalize || self.normalizes(subject) {
            schema.normalize();
            references.sort();
        }
        let entry = Entry { schema: schema.canonical(), ..new.clone().into_entry(references) };
        Ok(Parsed { entry, schema })
    }

    /// A known schema with the types that it refers to.
    fn schema_of(&self, context: &str, entry: &Entry) -> Result<Schema, Refusal> {
        self.read(context, &entry.schema, &entry.references, REFERENCE_DEPTH)
    }

    fn read(&self, context: &str, text: &str, references: &[Reference], depth: usize) -> Result<Schema, Refusal> {
        if depth == 0 {
            return Err(Refusal::invalid_schema("its references lead on and on"));
        }
        let mut known: BTreeMap<&Reference, Schema> = BTreeMap::new();
        for reference in references {
            let target = in_context(&reference.subject, context);
            let found = self.version(&target, Which::Number(reference.version), Deleted::Shown)?;
            let inside = &found.subject.context;
            known.insert(reference, self.read(inside, &found.entry.schema, &found.entry.references, depth - 1)?);
        }
        let known: Vec<Schema> = known.into_values().collect();
        Schema::parse_with(text, &known).map_err(|why| Refusal::invalid_schema(&why))
    }

    /// The whole schema of a version, with what it refers to written out.
    ///
    /// # Errors
    /// 42201 where a reference leads nowhere.
    pub fn resolved(&self, found: &Found) -> Result<String, Refusal> {
        Ok(self.schema_of(&found.subject.context, &found.entry)?.inlined().canonical())
    }
}

/// A subject as a reference names it: without a context it is in that of the referrer.
fn in_context(subject: &str, context: &str) -> Subject {
    let parsed = Subject::parse(subject);
    if subject.starts_with(':') { parsed } else { Subject { context: context.to_owned(), ..parsed } }
}
