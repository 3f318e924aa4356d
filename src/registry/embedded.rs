//! A registry inside this process, kept in a directory with its ids.
//!
//! What it knows is a [`Book`]: one JSON file, replaced as a whole, so that a crash leaves the old one or the new
//! one. A change is made under a lock on a file beside it, and answered only when it is on the disk: several
//! processes may share the directory.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::book::{Against, Book, DEFAULT_CONTEXT, Deleted, FORMAT, Found, NewSchema, Subject, Which};
use super::refusal::Refusal;
use super::{Registered, Registry, Verdict};
use crate::disk;
use crate::report::Failure;
use crate::time::{Clock, SystemClock};

const FILE: &str = "registry.json";
const LOCK: &str = "registry.lock";

/// Schemas in a directory.
#[derive(Debug)]
pub struct EmbeddedRegistry {
    directory: PathBuf,
    clock: Arc<dyn Clock>,
    /// The book as it was read last, and from which file.
    read: Mutex<Option<(Stamp, Arc<Book>)>>,
    /// An id means the same text for ever.
    by_id: Mutex<HashMap<i32, Arc<str>>>,
}

/// Tells whether a file is still the one that was read: each change makes a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
    length: u64,
}

impl EmbeddedRegistry {
    /// A registry in this directory, which is made if it is not there.
    ///
    /// # Errors
    /// `registry.store` if the directory cannot be made, or what is in it cannot be read.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, Failure> {
        let directory = directory.into();
        disk::make_folder(&directory, 0o755).map_err(|error| store_failure("made", &directory, error))?;
        let clock = SystemClock::shared();
        let registry = EmbeddedRegistry { directory, clock, read: Mutex::default(), by_id: Mutex::default() };
        registry.book()?;
        Ok(registry)
    }

    /// Everything it knows, as of now.
    ///
    /// # Errors
    /// `registry.store` if the file cannot be read.
    pub fn book(&self) -> Result<Arc<Book>, Failure> {
        let path = self.directory.join(FILE);
        let stamp = match std::fs::metadata(&path) {
            Ok(found) => {
                Stamp { inode: found.ino(), modified: (found.mtime(), found.mtime_nsec()), length: found.len() }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Arc::default()),
            Err(error) => return Err(store_failure("read", &path, error)),
        };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, book)) = read.as_ref().filter(|(known, _)| *known == stamp) {
            return Ok(book.clone());
        }
        let bytes = std::fs::read(&path).map_err(|error| store_failure("read", &path, error))?;
        let book: Book = serde_json::from_slice(&bytes).map_err(|error| store_failure("read", &path, error))?;
        if book.format > FORMAT {
            let message = format!("`{}` was written by a newer version of runner", path.display());
            return Err(Failure::user("registry.store", message));
        }
        let book = Arc::new(book.upgraded());
        *read = Some((stamp, book.clone()));
        Ok(book)
    }

    /// Makes a change while no other process makes one. It is on the disk when this returns.
    ///
    /// # Errors
    /// What the change refuses; then nothing is changed. 50001 if it cannot be kept.
    pub fn change<T>(&self, change: impl FnOnce(&mut Book) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let path = self.directory.join(LOCK);
        let _lock = disk::lock(&path).map_err(|error| store_failure("locked", &path, error))?;
        let old = self.book()?;
        let mut book = Book::clone(&old);
        let done = change(&mut book)?;
        if book != *old {
            self.write(&book)?;
        }
        Ok(done)
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

    fn write(&self, book: &Book) -> Result<(), Failure> {
        let path = self.directory.join(FILE);
        let bytes = serde_json::to_vec(book)
            .map_err(|error| Failure::bug("registry.store", "the registry cannot be written as JSON").because(error))?;
        disk::replace(&path, &bytes).map_err(|error| store_failure("written", &path, error))
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

    fn lookup(&self, subject: &str, schema: &str) -> Result<Option<Registered>, Failure> {
        let book = self.book()?;
        let asked = book.resolve(&Subject::parse(subject));
        match book.lookup(&asked, &NewSchema::avro(schema), false, Deleted::Hidden) {
            Ok(found) => registered(&book, found).map(Some),
            Err(refusal) if refusal.status() == 404 => Ok(None),
            Err(refusal) => Err(self.refused(refusal, subject, schema)),
        }
    }

    fn register(&self, subject: &str, schema: &str) -> Result<i32, Failure> {
        let asked = Subject::parse(subject).checked().map_err(|refusal| self.refused(refusal, subject, schema))?;
        let added = self.add(&asked, NewSchema::avro(schema), false);
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
        self.directory.display().to_string()
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
    fn the_first_format_is_read_and_written_in_the_newest() {
        let directory = tempfile::tempdir().unwrap();
        let stored = format!(
            r#"{{"format":1,"schemas":{{"1":{A:?},"2":{A_B:?}}},"subjects":{{"s":[{{"version":1,"id":1}},{{"version":2,"id":2}}]}}}}"#
        );
        std::fs::write(directory.path().join(FILE), stored).unwrap();
        let registry = EmbeddedRegistry::open(directory.path()).unwrap();
        assert_eq!(registry.latest("s").unwrap().unwrap().id, 2);
        assert_eq!(registry.register("t", r#""string""#).unwrap(), 3);
        let written = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert!(written.starts_with(r#"{"format":2,"contexts""#), "{written}");
        assert_eq!(EmbeddedRegistry::open(directory.path()).unwrap().lookup("s", A).unwrap().unwrap().version, 1);
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
