//! A registry inside this process, kept in a directory with its ids.
//!
//! It behaves as Confluent's: one id per canonical text whatever the subject, versions count per
//! subject, ids are never used again, the level is BACKWARD. All of it is one JSON file, replaced
//! as a whole (written aside, synced, renamed), so that a crash leaves the old one or the new one.
//! A change is made under a lock on a file beside it: several processes may share the directory.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::avro::Schema;
use super::{Registered, Registry, Verdict, compatibility};
use crate::report::Failure;

const FILE: &str = "registry.json";
const LOCK: &str = "registry.lock";
const FORMAT: u32 = 1;

/// Schemas in a directory.
#[derive(Debug)]
pub struct EmbeddedRegistry {
    directory: PathBuf,
    /// An id means the same text for ever.
    by_id: Mutex<HashMap<i32, Arc<str>>>,
}

/// The file. A stored format: fields are only added, with a default.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    format: u32,
    /// Canonical text by id.
    schemas: BTreeMap<i32, String>,
    /// Per subject its versions, ascending.
    subjects: BTreeMap<String, Vec<Version>>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Version {
    version: i32,
    id: i32,
}

impl EmbeddedRegistry {
    /// A registry in this directory, which is made if it is not there.
    ///
    /// # Errors
    /// `registry.store` if the directory cannot be made, or what is in it cannot be read.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, Failure> {
        let directory = directory.into();
        std::fs::create_dir_all(&directory).map_err(|error| store_failure("made", &directory, error))?;
        let registry = EmbeddedRegistry { directory, by_id: Mutex::default() };
        registry.read()?;
        Ok(registry)
    }

    /// All subjects, in order.
    pub fn subjects(&self) -> Result<Vec<String>, Failure> {
        Ok(self.read()?.subjects.into_keys().collect())
    }

    /// The numbers of a subject's versions, ascending; empty if there is no such subject.
    pub fn versions(&self, subject: &str) -> Result<Vec<i32>, Failure> {
        Ok(self.read()?.versions(subject).iter().map(|version| version.version).collect())
    }

    fn read(&self) -> Result<Stored, Failure> {
        let path = self.directory.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Stored::empty()),
            Err(error) => return Err(store_failure("read", &path, error)),
        };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| store_failure("read", &path, error))?;
        if stored.format > FORMAT {
            let message = format!("`{}` was written by a newer version of runner", path.display());
            return Err(Failure::user("registry.store", message));
        }
        Ok(stored)
    }

    fn write(&self, stored: &Stored) -> Result<(), Failure> {
        let path = self.directory.join(FILE);
        let bytes = serde_json::to_vec_pretty(stored)
            .map_err(|error| Failure::bug("registry.store", "the registry cannot be written as JSON").because(error))?;
        replace(&path, &bytes).map_err(|error| store_failure("written", &path, error))
    }

    /// Runs a change while no other process makes one.
    fn exclusively<T>(&self, change: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let path = self.directory.join(LOCK);
        let lock = File::create(&path).map_err(|error| store_failure("written", &path, error))?;
        lock.lock().map_err(|error| store_failure("locked", &path, error))?;
        // Closing the file gives the lock back, whatever happened.
        change()
    }
}

impl Registry for EmbeddedRegistry {
    fn latest(&self, subject: &str) -> Result<Option<Registered>, Failure> {
        let stored = self.read()?;
        Ok(stored.versions(subject).last().and_then(|version| stored.registered(subject, *version)))
    }

    fn version(&self, subject: &str, version: i32) -> Result<Option<Registered>, Failure> {
        let stored = self.read()?;
        let found = stored.versions(subject).iter().find(|known| known.version == version);
        Ok(found.and_then(|version| stored.registered(subject, *version)))
    }

    fn by_id(&self, id: i32) -> Result<Option<Arc<str>>, Failure> {
        let known = || self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = known().get(&id) {
            return Ok(Some(schema.clone()));
        }
        let Some(schema) = self.read()?.schemas.remove(&id) else { return Ok(None) };
        let schema: Arc<str> = schema.into();
        known().insert(id, schema.clone());
        Ok(Some(schema))
    }

    fn lookup(&self, subject: &str, schema: &str) -> Result<Option<Registered>, Failure> {
        let canonical = parse(subject, schema)?.canonical();
        let stored = self.read()?;
        Ok(stored.find(subject, &canonical).and_then(|version| stored.registered(subject, version)))
    }

    fn register(&self, subject: &str, schema: &str) -> Result<i32, Failure> {
        let parsed = parse(subject, schema)?;
        let canonical = parsed.canonical();
        self.exclusively(|| {
            let mut stored = self.read()?;
            // What is known is not checked again, even if it is not the newest version.
            if let Some(version) = stored.find(subject, &canonical) {
                return Ok(version.id);
            }
            let verdict = stored.check(subject, &parsed)?;
            if !verdict.compatible {
                return Err(super::incompatible(subject, &verdict.messages));
            }
            let id = stored.add(subject, canonical);
            self.write(&stored)?;
            Ok(id)
        })
    }

    fn compatible(&self, subject: &str, schema: &str) -> Result<Verdict, Failure> {
        let parsed = parse(subject, schema)?;
        let stored = self.read()?;
        if stored.find(subject, &parsed.canonical()).is_some() {
            return Ok(Verdict { compatible: true, messages: Vec::new() });
        }
        stored.check(subject, &parsed)
    }

    fn describe(&self) -> String {
        self.directory.display().to_string()
    }
}

impl Stored {
    fn empty() -> Self {
        Stored { format: FORMAT, schemas: BTreeMap::new(), subjects: BTreeMap::new() }
    }

    fn versions(&self, subject: &str) -> &[Version] {
        self.subjects.get(subject).map_or(&[], Vec::as_slice)
    }

    fn registered(&self, subject: &str, version: Version) -> Option<Registered> {
        let schema = self.schemas.get(&version.id)?.clone();
        Some(Registered { subject: subject.into(), id: version.id, version: version.version, schema })
    }

    fn find(&self, subject: &str, canonical: &str) -> Option<Version> {
        let is_it = |version: &&Version| self.schemas.get(&version.id).is_some_and(|text| text == canonical);
        self.versions(subject).iter().rev().find(is_it).copied()
    }

    /// BACKWARD: the new schema must read what the newest version wrote.
    fn check(&self, subject: &str, new: &Schema) -> Result<Verdict, Failure> {
        let newest = self.versions(subject).last().and_then(|version| self.schemas.get(&version.id));
        let Some(newest) = newest else { return Ok(Verdict { compatible: true, messages: Vec::new() }) };
        let old = Schema::parse(newest).map_err(|why| {
            Failure::bug("registry.store", format!("the stored schema of `{subject}` cannot be read: {why}"))
        })?;
        let found = compatibility::can_read(new, &old);
        let compatible = found.reasons.is_empty();
        Ok(Verdict { compatible, messages: if compatible { found.warnings } else { found.reasons } })
    }

    fn add(&mut self, subject: &str, canonical: String) -> i32 {
        let known = self.schemas.iter().find(|(_, text)| **text == canonical).map(|(id, _)| *id);
        let id = known.unwrap_or_else(|| self.schemas.last_key_value().map_or(1, |(id, _)| id + 1));
        self.schemas.insert(id, canonical);
        let versions = self.subjects.entry(subject.into()).or_default();
        let version = versions.last().map_or(1, |last| last.version + 1);
        versions.push(Version { version, id });
        id
    }
}

fn parse(subject: &str, schema: &str) -> Result<Schema, Failure> {
    Schema::parse(schema).map_err(|why| super::invalid_schema(subject, &why))
}

/// Replaces a file as a whole: after a crash it has the old bytes or the new ones.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = path.with_extension("json.new");
    let mut file = File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    // The new name itself must survive, too.
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn store_failure(done: &str, path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    let message = format!("`{}` of the embedded schema registry cannot be {done}", path.display());
    Failure::outside("registry.store", message).no_retry().because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
    const A_B: &str =
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int","default":0}]}"#;
    const A_C: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"c","type":"int"}]}"#;

    fn registry() -> (tempfile::TempDir, EmbeddedRegistry) {
        let directory = tempfile::tempdir().unwrap();
        let registry = EmbeddedRegistry::open(directory.path().join("registry")).unwrap();
        (directory, registry)
    }

    #[test]
    fn one_schema_has_one_id_in_all_subjects() {
        let (_directory, registry) = registry();
        assert_eq!(registry.register("s-value", A).unwrap(), 1);
        assert_eq!(registry.register("t-value", &A.replace(':', " : ")).unwrap(), 1);
        assert_eq!(registry.register("t-value", A_B).unwrap(), 2);
        assert_eq!(registry.versions("t-value").unwrap(), [1, 2]);
        assert_eq!(registry.latest("t-value").unwrap().unwrap().version, 2);
        assert_eq!(registry.lookup("t-value", A).unwrap().unwrap().version, 1);
        assert_eq!(registry.lookup("s-value", A_B).unwrap(), None);
        assert_eq!(registry.by_id(2).unwrap().as_deref(), Some(A_B));
        assert_eq!(registry.by_id(3).unwrap(), None);
    }

    #[test]
    fn ids_survive_a_new_start() {
        let (directory, registry) = registry();
        registry.register("s", A).unwrap();
        registry.register("s", A_B).unwrap();
        let again = EmbeddedRegistry::open(directory.path().join("registry")).unwrap();
        assert_eq!(again.version("s", 2).unwrap().unwrap().id, 2);
        assert_eq!(again.register("new", r#""string""#).unwrap(), 3);
        assert_eq!(again.subjects().unwrap(), ["new", "s"]);
    }

    #[test]
    fn an_incompatible_schema_is_refused_with_the_reason_unless_it_is_known() {
        let (_directory, registry) = registry();
        registry.register("s", A).unwrap();
        let failure = registry.register("s", A_C).unwrap_err();
        assert_eq!(failure.code, "registry.incompatible");
        assert!(failure.message.contains("`c`: it is new and has no default"), "{}", failure.message);
        assert!(!registry.compatible("s", A_C).unwrap().compatible);
        assert!(registry.compatible("other", A_C).unwrap().compatible);
        assert_eq!(registry.register("s", r#"{"type":"record","name":"R","fields":[]}"#).unwrap(), 2);
        assert_eq!(registry.register("s", A).unwrap(), 1, "known, though `a` has no default in the newest");
    }

    #[test]
    fn what_is_not_avro_is_refused() {
        let (_directory, registry) = registry();
        assert_eq!(registry.register("s", "{").unwrap_err().code, "registry.invalid_schema");
        assert_eq!(registry.lookup("s", r#""strng""#).unwrap_err().code, "registry.invalid_schema");
    }
}
