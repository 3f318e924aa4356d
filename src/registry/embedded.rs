//! A registry inside this process, kept in a directory with its ids.
//!
//! What it knows is a [`Book`], which a [`Store`] keeps. A change is answered only when it is on the disk; several
//! processes may share the directory.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::book::{Against, Book, DEFAULT_CONTEXT, Deleted, Found, NewSchema, Subject, Which};
use super::refusal::Refusal;
use super::store::Store;
use super::{Registered, Registry, Verdict};
use crate::report::Failure;
use crate::time::{Clock, SystemClock};

/// Schemas in a directory.
#[derive(Debug)]
pub struct EmbeddedRegistry {
    store: Store,
    clock: Arc<dyn Clock>,
    /// An id means the same text for ever.
    by_id: Mutex<HashMap<i32, Arc<str>>>,
}

impl EmbeddedRegistry {
    /// A registry in this directory, which is made if it is not there.
    ///
    /// # Errors
    /// `registry.store` if the directory cannot be made, or what is in it cannot be read.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, Failure> {
        let store = Store::open(directory.into())?;
        Ok(EmbeddedRegistry { store, clock: SystemClock::shared(), by_id: Mutex::default() })
    }

    /// Everything it knows, as of now.
    ///
    /// # Errors
    /// `registry.store` if the files cannot be read.
    pub fn book(&self) -> Result<Arc<Book>, Failure> {
        self.store.book()
    }

    /// Makes a change while no other process makes one. It is on the disk when this returns.
    ///
    /// # Errors
    /// What the change refuses; then nothing is changed. 50001 if it cannot be kept.
    pub fn change<T>(&self, change: impl FnOnce(&mut Book) -> Result<T, Refusal>) -> Result<T, Refusal> {
        self.store.change(change)
    }

    /// Registers a schema, with everything that belongs to it.
    ///
    /// # Errors
    /// See [`Book::register`].
    pub fn add(&self, subject: &Subject, new: NewSchema, normalize: bool) -> Result<Found, Refusal> {
        let now = self.clock.now();
        // What is known is answered without waiting for whoever changes something.
        if let Ok(known) = self.book()?.lookup(subject, &new, normalize, Deleted::Hidden)
            && new.id.is_none()
        {
            return Ok(known);
        }
        self.change(|book| book.register(subject, new, normalize, now))
    }

    fn refused(&self, refusal: Refusal, subject: &str, schema: &str) -> Failure {
        match refusal.code {
            40901 => {
                let reasons = self.compatible(subject, schema).map(|verdict| verdict.messages).unwrap_or_default();
                super::incompatible(subject, &reasons)
            }
            42201 => {
                let why = refusal.message.strip_prefix("Invalid schema: ").unwrap_or(&refusal.message);
                super::invalid_schema(subject, why)
            }
            50001 => Failure::outside("registry.store", refusal.message).no_retry(),
            _ => Failure::user("registry.refused", format!("the schema registry refuses: {}", refusal.message)),
        }
    }
}

impl Registry for EmbeddedRegistry {
    fn latest(&self, subject: &str) -> Result<Option<Registered>, Failure> {
        let book = self.book()?;
        let found = book.version(&book.resolve(&Subject::parse(subject)), Which::Latest, Deleted::Hidden);
        found.ok().map(|found| registered(&book, found)).transpose()
    }

    fn version(&self, subject: &str, version: i32) -> Result<Option<Registered>, Failure> {
        let book = self.book()?;
        let found = book.version(&book.resolve(&Subject::parse(subject)), Which::Number(version), Deleted::Hidden);
        found.ok().map(|found| registered(&book, found)).transpose()
    }

    fn by_id(&self, id: i32) -> Result<Option<Arc<str>>, Failure> {
        let known = || self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = known().get(&id) {
            return Ok(Some(schema.clone()));
        }
        let book = self.book()?;
        let Some(found) = book.uses(DEFAULT_CONTEXT, id, Deleted::Shown).into_iter().next() else { return Ok(None) };
        let schema: Arc<str> = registered(&book, found)?.schema.into();
        known().insert(id, schema.clone());
        Ok(Some(schema))
    }

    fn lookup_as(&self, subject: &str, schema: &str, normalize: bool) -> Result<Option<Registered>, Failure> {
        let book = self.book()?;
        let asked = book.resolve(&Subject::parse(subject));
        match book.lookup(&asked, &NewSchema::avro(schema), normalize, Deleted::Hidden) {
            Ok(found) => registered(&book, found).map(Some),
            Err(refusal) if refusal.status() == 404 => Ok(None),
            Err(refusal) => Err(self.refused(refusal, subject, schema)),
        }
    }

    fn register_as(&self, subject: &str, schema: &str, normalize: bool) -> Result<i32, Failure> {
        let asked = Subject::parse(subject).checked().map_err(|refusal| self.refused(refusal, subject, schema))?;
        let added = self.add(&asked, NewSchema::avro(schema), normalize);
        added.map(|found| found.id).map_err(|refusal| self.refused(refusal, subject, schema))
    }

    fn compatible(&self, subject: &str, schema: &str) -> Result<Verdict, Failure> {
        let refused = |refusal| self.refused(refusal, subject, schema);
        let (book, asked) = (self.book()?, Subject::parse(subject));
        let new = NewSchema::avro(schema);
        if book.lookup(&asked, &new, false, Deleted::Hidden).is_ok() {
            return Ok(Verdict { compatible: true, messages: Vec::new() });
        }
        let checked = book.check(&asked, &new, Against::Level, false).map_err(refused)?;
        let messages = if checked.compatible { checked.warnings } else { checked.reasons };
        Ok(Verdict { compatible: checked.compatible, messages })
    }

    fn describe(&self) -> String {
        self.store.directory().display().to_string()
    }
}

/// With what it refers to written out: whoever asks in-process wants to read data with it.
fn registered(book: &Book, found: Found) -> Result<Registered, Failure> {
    let schema = if found.entry.references.is_empty() {
        found.entry.schema
    } else {
        let lost = |refusal: Refusal| Failure::user("registry.references", refusal.message);
        book.resolved(&found).map_err(lost)?
    };
    Ok(Registered { subject: found.subject.shown(), id: found.id, version: found.version, schema })
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
        let versions = registry.book().unwrap().versions(&Subject::parse("t-value"), Deleted::Hidden).unwrap();
        assert_eq!(versions.iter().map(|found| found.version).collect::<Vec<_>>(), [1, 2]);
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
        let subjects = again.book().unwrap().subjects("", Deleted::Hidden);
        assert_eq!(subjects.iter().map(Subject::shown).collect::<Vec<_>>(), ["new", "s"]);
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
    fn what_another_instance_registers_is_seen_at_once() {
        let (directory, registry) = registry();
        let other = EmbeddedRegistry::open(directory.path().join("registry")).unwrap();
        assert_eq!(registry.latest("s").unwrap(), None);
        assert_eq!(other.register("s", A).unwrap(), 1);
        assert_eq!(registry.latest("s").unwrap().unwrap().id, 1);
        assert_eq!(registry.register("s", A_B).unwrap(), 2);
        assert_eq!(other.latest("s").unwrap().unwrap().id, 2);
    }

    #[test]
    fn what_is_not_avro_is_refused() {
        let (_directory, registry) = registry();
        assert_eq!(registry.register("s", "{").unwrap_err().code, "registry.invalid_schema");
        assert_eq!(registry.lookup("s", r#""strng""#).unwrap_err().code, "registry.invalid_schema");
    }
}
