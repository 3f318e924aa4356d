//! The book on the disk: a base, and a log of what was changed since.
//!
//! ```text
//!   registry.json     the base: a `Book`, replaced as a whole; it names its log
//!   registry.N.log    a line for each change: the CRC-32 of what follows (8 hex digits), a space, a `Difference` as JSON
//!   registry.lock     held by whoever changes something
//! ```
//!
//! A change is a line, synced before it is answered. A last line that is not whole was never answered: nobody reads it,
//! and the next change cuts it off. Anything wrong before it is damage, and nothing is read. When the log has grown beyond
//! the base, a new base is written that names an empty log: after a crash in between the old ones are still there, or the
//! new ones. Several processes may share the directory; whoever only reads needs no lock.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::book::{Book, Difference, FORMAT};
use crate::disk;
use crate::report::Failure;

const BASE: &str = "registry.json";
const LOCK: &str = "registry.lock";
/// Length of the checksum in front of a line, in hex digits.
const CHECKSUM_LENGTH: usize = 8;
/// A log may grow so large, however small its base is.
const LOG_BYTES_MIN: u64 = 1 << 20;
/// The base and its log are looked for so often while somebody replaces them.
const READS_MAX: usize = 20;

/// A directory with a book.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    log_bytes_min: u64,
    /// As it was read last.
    read: Mutex<Option<ReadBook>>,
}

#[derive(Debug, Clone)]
struct ReadBook {
    base: Stamp,
    /// The log that the base names.
    log: u64,
    /// Bytes of the log that are in the book: whole lines.
    length: u64,
    book: Arc<Book>,
}

/// Tells whether a base is still the one that was read: each is a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
    length: u64,
}

/// Why a book could not be read just now.
enum Unread {
    /// Somebody is replacing base and log.
    Replaced,
    Failed(Failure),
}

impl From<Failure> for Unread {
    fn from(failure: Failure) -> Self {
        Unread::Failed(failure)
    }
}

impl Store {
    /// # Errors
    /// `registry.store` if the directory cannot be made, or what is in it cannot be read.
    pub fn open(directory: PathBuf) -> Result<Store, Failure> {
        disk::make_folder(&directory, 0o755).map_err(|error| failed("made", &directory, error))?;
        let store = Store { directory, log_bytes_min: LOG_BYTES_MIN, read: Mutex::default() };
        store.book()?;
        Ok(store)
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Everything in it, as of now.
    ///
    /// # Errors
    /// `registry.store` if it cannot be read, or is damaged.
    pub fn book(&self) -> Result<Arc<Book>, Failure> {
        Ok(self.read()?.map_or_else(Arc::default, |read| read.book))
    }

    /// Makes a change while no other process makes one. It is on the disk when this returns.
    ///
    /// # Errors
    /// What the change refuses, and `registry.store`; then nothing is changed.
    pub fn change<T, E: From<Failure>>(&self, change: impl FnOnce(&mut Book) -> Result<T, E>) -> Result<T, E> {
        let path = self.directory.join(LOCK);
        let _lock = disk::lock(&path).map_err(|error| failed("locked", &path, error))?;
        let read = self.read()?;
        let old = read.as_ref().map_or_else(Arc::default, |read| read.book.clone());
        let mut book = Book::clone(&old);
        let done = change(&mut book)?;
        if let Some(difference) = Difference::between(&old, &book) {
            self.keep(read, &difference, book)?;
        }
        Ok(done)
    }

    /// Whoever calls has the lock.
    fn keep(&self, read: Option<ReadBook>, difference: &Difference, book: Book) -> Result<(), Failure> {
        // The first change, or the first one of a format without a log: there is a base to add to then.
        let read = match read {
            Some(read) if read.log > 0 => read,
            other => self.write_base(&other.map_or_else(Arc::default, |read| read.book), 0)?,
        };
        let length = self.append(&read, difference)?;
        let read = ReadBook { length, book: Arc::new(book), ..read };
        self.remember(read.clone());
        if length > read.base.length.max(self.log_bytes_min)
            && let Err(failure) = self.write_base(&read.book, read.log)
        {
            // What was changed is kept already.
            tracing::warn!("{failure}; its log grows on");
        }
        Ok(())
    }

    /// Writes a base that names the next log, which is empty, and removes the last one.
    fn write_base(&self, book: &Arc<Book>, last_log: u64) -> Result<ReadBook, Failure> {
        let log = last_log + 1;
        let path = self.log(log);
        // What a crash left of one is nothing: no base names it.
        disk::replace(&path, b"").map_err(|error| failed("written", &path, error))?;
        let bytes = serde_json::to_vec(&book.with_log(log))
            .map_err(|error| Failure::bug("registry.store", "the registry cannot be written as JSON").because(error))?;
        let base = self.directory.join(BASE);
        disk::replace(&base, &bytes).map_err(|error| failed("written", &base, error))?;
        let stamp = stamp(&base).map_err(|error| failed("read", &base, error))?;
        let read = ReadBook { base: stamp, log, length: 0, book: book.clone() };
        self.remember(read.clone());
        let old = self.log(last_log);
        if let Err(error) = disk::remove(&old) {
            tracing::warn!("`{}` is of no use any more and cannot be removed: {error}", old.display());
        }
        Ok(read)
    }

    /// Adds a line; how long the log is with it.
    fn append(&self, read: &ReadBook, difference: &Difference) -> Result<u64, Failure> {
        let path = self.log(read.log);
        let json = serde_json::to_string(difference)
            .map_err(|error| Failure::bug("registry.store", "a change cannot be written as JSON").because(error))?;
        let line = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
        let written = OpenOptions::new().write(true).open(&path).and_then(|mut file| {
            // A line that is not whole goes.
            file.set_len(read.length)?;
            file.seek(SeekFrom::Start(read.length))?;
            let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
            // It is answered that nothing was changed.
            written.inspect_err(|_| drop(file.set_len(read.length)))
        });
        written.map_err(|error| failed("written", &path, error))?;
        Ok(read.length + line.len() as u64)
    }

    fn read(&self) -> Result<Option<ReadBook>, Failure> {
        for _ in 0..READS_MAX {
            match self.try_read() {
                Ok(read) => return Ok(read),
                Err(Unread::Failed(failure)) => return Err(failure),
                Err(Unread::Replaced) => {}
            }
        }
        let path = self.directory.join(BASE);
        let why = "it names a log that is not there";
        Err(failed("read", &path, std::io::Error::new(ErrorKind::NotFound, why)))
    }

    /// `None`: there is nothing yet.
    fn try_read(&self) -> Result<Option<ReadBook>, Unread> {
        let path = self.directory.join(BASE);
        let stamp = match stamp(&path) {
            Ok(stamp) => stamp,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path, error).into()),
        };
        let known = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read = match known.filter(|known| known.base == stamp) {
            Some(known) => known,
            None => read_base(&path, stamp)?,
        };
        let read = self.follow(read)?;
        self.remember(read.clone());
        Ok(Some(read))
    }

    /// Reads on in the log.
    fn follow(&self, mut read: ReadBook) -> Result<ReadBook, Unread> {
        // The formats before had none.
        if read.log == 0 {
            return Ok(read);
        }
        let path = self.log(read.log);
        let unread = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => Unread::Replaced,
            _ => failed("read", &path, error).into(),
        };
        let length = std::fs::metadata(&path).map_err(unread)?.len();
        if length == read.length {
            return Ok(read);
        }
        // A line that could not be synced was cut off again, and somebody had read it.
        if length < read.length {
            read = read_base(&self.directory.join(BASE), read.base)?;
        }
        let mut bytes = Vec::new();
        let mut file = File::open(&path).map_err(unread)?;
        file.seek(SeekFrom::Start(read.length)).and_then(|_| file.read_to_end(&mut bytes)).map_err(unread)?;
        let mut rest = bytes.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = (&rest[..end], &rest[end + 1..]);
            match difference(line) {
                Some(difference) => difference.apply(Arc::make_mut(&mut read.book)),
                // Written in part, and in disorder, by a machine that went down.
                None if behind.is_empty() => break,
                None => {
                    let message = format!(
                        "`{}` of the embedded schema registry is damaged at byte {}",
                        path.display(),
                        read.length
                    );
                    return Err(Failure::outside("registry.store", message).no_retry().into());
                }
            }
            read.length += end as u64 + 1;
            rest = behind;
        }
        Ok(read)
    }

    fn remember(&self, read: ReadBook) {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
    }

    fn log(&self, number: u64) -> PathBuf {
        self.directory.join(format!("registry.{number}.log"))
    }
}

fn read_base(path: &Path, stamp: Stamp) -> Result<ReadBook, Unread> {
    let bytes = std::fs::read(path).map_err(|error| failed("read", path, error))?;
    let mut book: Book = serde_json::from_slice(&bytes).map_err(|error| failed("read", path, error))?;
    if book.format > FORMAT {
        let message = format!("`{}` was written by a newer version of runner", path.display());
        return Err(Failure::user("registry.store", message).into());
    }
    // The base's own, and nothing that a registry knows.
    let log = std::mem::take(&mut book.log);
    Ok(ReadBook { base: stamp, log, length: 0, book: Arc::new(book.upgraded()) })
}

/// `None`: the line is not whole.
fn difference(line: &[u8]) -> Option<Difference> {
    let (checksum, json) = line.split_at_checked(CHECKSUM_LENGTH)?;
    let json = json.strip_prefix(b" ")?;
    let checksum = u32::from_str_radix(std::str::from_utf8(checksum).ok()?, 16).ok()?;
    if crc32fast::hash(json) == checksum { serde_json::from_slice(json).ok() } else { None }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let found = std::fs::metadata(path)?;
    Ok(Stamp { inode: found.ino(), modified: (found.mtime(), found.mtime_nsec()), length: found.len() })
}

fn failed(done: &str, path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    let message = format!("`{}` of the embedded schema registry cannot be {done}", path.display());
    Failure::outside("registry.store", message).no_retry().because(error)
}

#[cfg(test)]
mod tests {
    use super::super::book::{Deleted, NewSchema, Subject, Which};
    use super::super::refusal::Refusal;
    use super::*;

    fn add(store: &Store, number: usize) {
        let schema = format!(r#"{{"type":"fixed","name":"F{number}","size":{}}}"#, number + 1);
        let subject = Subject::parse(&format!("s{}", number % 3));
        let none = serde_json::Map::from_iter([("compatibility".to_owned(), "NONE".into())]);
        let registered = store.change(|book| {
            book.set_config("", &none)?;
            book.register(&subject, NewSchema::avro(schema), false, 5)
        });
        assert_eq!(registered.unwrap().id, number as i32 + 1);
    }

    fn files(directory: &Path) -> Vec<String> {
        let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn each_change_is_a_line_and_others_follow_it() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Store::open(directory.path().to_owned()).unwrap();
        let (writer, reader) = (open(), open());
        for number in 0..20 {
            add(if number % 2 == 0 { &writer } else { &reader }, number);
            assert_eq!(
                (writer.book().unwrap(), reader.book().unwrap()),
                (open().book().unwrap(), open().book().unwrap())
            );
        }
        assert_eq!(files(directory.path()), ["registry.1.log", "registry.json", "registry.lock"]);
        let log = std::fs::read_to_string(directory.path().join("registry.1.log")).unwrap();
        assert_eq!(log.lines().count(), 20);
        // What changes nothing, and what is refused, leaves no line.
        writer.change(|_| Ok::<_, Refusal>(())).unwrap();
        let refused = writer.change(|book| book.delete_version(&Subject::parse("s0"), Which::Number(99), false));
        assert_eq!(refused.unwrap_err().code, 40402);
        assert_eq!(std::fs::read_to_string(directory.path().join("registry.1.log")).unwrap(), log);
    }

    #[test]
    fn a_log_that_has_grown_becomes_a_base_and_readers_find_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Store { log_bytes_min: 300, ..Store::open(directory.path().to_owned()).unwrap() };
        let (writer, reader) = (open(), open());
        let followed = std::thread::scope(|scope| {
            let following = scope.spawn(|| {
                let mut seen = 0;
                while seen < 60 {
                    let book = reader.book().unwrap();
                    let last = book.last_id(".");
                    assert!(last >= seen, "it goes back from {seen} to {last}");
                    assert!((1..=last).all(|id| book.by_id(".", id).is_some()));
                    seen = last;
                }
                seen
            });
            (0..60).for_each(|number| add(&writer, number));
            following.join().unwrap()
        });
        assert_eq!(followed, 60);
        let names = files(directory.path());
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(!names.contains(&"registry.1.log".to_owned()), "{names:?}");
        assert_eq!(open().book().unwrap(), writer.book().unwrap());
    }

    #[test]
    fn a_line_that_is_not_whole_was_never_answered_and_damage_before_it_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Store::open(directory.path().to_owned());
        let store = open().unwrap();
        (0..3).for_each(|number| add(&store, number));
        let path = directory.path().join("registry.1.log");
        let whole = std::fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for cut in last..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let store = open().unwrap();
            assert_eq!(store.book().unwrap().last_id("."), 2, "cut at {cut}");
            add(&store, 2);
            assert_eq!(open().unwrap().book().unwrap().last_id("."), 3);
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        // One whose blocks came to the disk out of order.
        let mut torn = whole.clone();
        torn[last + 20] ^= 1;
        std::fs::write(&path, &torn).unwrap();
        assert_eq!(open().unwrap().book().unwrap().last_id("."), 2);
        let mut damaged = whole.clone();
        damaged[20] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let failure = open().unwrap_err();
        assert!(failure.code == "registry.store" && failure.message.contains("is damaged at byte 0"), "{failure}");
    }

    #[test]
    fn a_crash_between_two_bases_leaves_one_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Store { log_bytes_min: 300, ..Store::open(directory.path().to_owned()).unwrap() };
        let store = open();
        add(&store, 0);
        // The next log was made, and its base not.
        std::fs::write(directory.path().join("registry.2.log"), "half a line").unwrap();
        assert_eq!(open().book().unwrap().last_id("."), 1);
        (1..9).for_each(|number| add(&store, number));
        assert_eq!(open().book().unwrap(), store.book().unwrap());
        // A base without its log: somebody removed that.
        for name in files(directory.path()).iter().filter(|name| name.ends_with(".log")) {
            std::fs::remove_file(directory.path().join(name)).unwrap();
        }
        let failure = Store::open(directory.path().to_owned()).unwrap_err();
        assert!(failure.to_string().contains("it names a log that is not there"), "{failure}");
    }

    /// Registries that earlier versions wrote; `BLESS=1` writes the newest where it is missing.
    #[test]
    fn stored_registries_are_read_for_ever() {
        let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stored");
        let newest = stored.join(format!("registry-{FORMAT}"));
        if std::env::var_os("BLESS").is_some() && !newest.exists() {
            let store = Store::open(newest.clone()).unwrap();
            (0..5).for_each(|number| add(&store, number));
            let softly = |book: &mut Book| book.delete_version(&Subject::parse("s1"), Which::Latest, false);
            store.change(softly).unwrap();
            std::fs::remove_file(newest.join(LOCK)).unwrap();
        }
        for format in 1..=FORMAT {
            let directory = tempfile::tempdir().unwrap();
            for entry in std::fs::read_dir(stored.join(format!("registry-{format}"))).unwrap() {
                let path = entry.unwrap().path();
                std::fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
            }
            let store = Store::open(directory.path().to_owned()).unwrap();
            let book = store.book().unwrap();
            assert_eq!(book.last_id("."), 5, "format {format}");
            let numbers = |deleted| {
                let found = book.versions(&Subject::parse("s1"), deleted).unwrap();
                found.iter().map(|found| (found.version, found.id)).collect::<Vec<_>>()
            };
            assert_eq!(numbers(Deleted::Shown), [(1, 2), (2, 5)], "format {format}");
            // The first one knew no deletion.
            assert_eq!(numbers(Deleted::Hidden).len(), if format == 1 { 2 } else { 1 }, "format {format}");
            add(&store, 5);
            assert_eq!(Store::open(directory.path().to_owned()).unwrap().book().unwrap(), store.book().unwrap());
        }
    }

    /// How long it takes to register a thousand schemas, one after the other, each answered when it is on the disk.
    #[test]
    fn a_thousand_registrations_are_a_thousand_lines() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().to_owned()).unwrap();
        let begun = std::time::Instant::now();
        (0..1_000).for_each(|number| add(&store, number));
        println!("1,000 registrations: {:?}", begun.elapsed());
        let length = |name: &str| std::fs::metadata(directory.path().join(name)).unwrap().len();
        assert!(length("registry.1.log") < 400_000 && length("registry.json") < 1_000);
        assert_eq!(Store::open(directory.path().to_owned()).unwrap().book().unwrap(), store.book().unwrap());
    }
}
