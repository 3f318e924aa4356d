//! Objects by name, in a folder or in memory: the one place that knows `object_store`.
//!
//! An object is there as a whole or not at all, and what is there never changes. In a folder it is on the disk when
//! the call returns.

use std::fs::File;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use arrow::buffer::Buffer;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::runtime::{Builder, Runtime};

use crate::report::Failure;

/// What is sent at once of a large object: stores elsewhere want at least 5 MiB.
const PART_BYTES: usize = 8 << 20;

/// Where objects are kept. Its calls block: they are not for a task.
#[derive(Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// Where it is one.
    folder: Option<PathBuf>,
    runtime: Runtime,
    #[cfg(test)]
    weather: weather::Weather,
}

/// Names in a folder of the store.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub objects: Vec<String>,
    pub folders: Vec<String>,
}

impl Store {
    /// In a folder, which is made.
    ///
    /// # Errors
    /// It cannot be made, or nothing can be written there.
    pub fn in_folder(folder: &FilePath) -> Result<Store, Failure> {
        let unwritable = |error: std::io::Error| {
            let message = format!("snapshots of the state cannot be written to `{}`", folder.display());
            Failure::outside("state.unwritable", message)
                .no_retry()
                .because(error)
                .hint("make the folder writable, or keep the state elsewhere by `state: {store: PATH}`")
        };
        std::fs::create_dir_all(folder).map_err(unwritable)?;
        tempfile_in(folder).map_err(unwritable)?;
        let files = LocalFileSystem::new_with_prefix(folder).map_err(|error| unwritable(error.into()))?;
        Store::of(Arc::new(files), Some(folder.to_owned()))
    }

    /// In a folder that is there; `None`: it is not.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn existing(folder: &FilePath) -> Result<Option<Store>, Failure> {
        if !folder.is_dir() {
            return Ok(None);
        }
        let files = LocalFileSystem::new_with_prefix(folder).map_err(|error| {
            Failure::outside("state.store", format!("`{}` cannot be read", folder.display())).because(error)
        })?;
        Store::of(Arc::new(files), Some(folder.to_owned())).map(Some)
    }

    /// In memory, as long as it lives.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub fn in_memory() -> Result<Store, Failure> {
        Store::of(Arc::new(InMemory::new()), None)
    }

    fn of(objects: Arc<dyn ObjectStore>, folder: Option<PathBuf>) -> Result<Store, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::outside("engine.thread", "cannot start a thread").because(error))?;
        Ok(Store {
            objects,
            folder,
            runtime,
            #[cfg(test)]
            weather: Default::default(),
        })
    }

    /// Where it is, for people.
    pub fn describe(&self) -> String {
        self.folder.as_ref().map_or("memory".to_owned(), |folder| folder.display().to_string())
    }

    /// Writes an object unless there is one of this name; false if there is.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool, Failure> {
        #[cfg(test)]
        self.weather.strikes(name)?;
        let path = Path::from(name);
        match self.runtime.block_on(self.objects.put_opts(&path, PutPayload::from(bytes), PutMode::Create.into())) {
            Ok(_) => self.settle(name).map(|()| true),
            Err(Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.trouble("written", name, error)),
        }
    }

    /// Begins a large object.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn upload(&self, name: &str) -> Result<Upload<'_>, Failure> {
        let parts = self.runtime.block_on(self.objects.put_multipart(&Path::from(name)));
        let parts = parts.map_err(|error| self.trouble("written", name, error))?;
        Ok(Upload { store: self, name: name.to_owned(), parts, waiting: Vec::new(), is_done: false })
    }

    /// A whole object; `None`: it is not there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        let path = Path::from(name);
        let read = async { self.objects.get(&path).await?.bytes().await };
        match self.runtime.block_on(read) {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.trouble("read", name, error)),
        }
    }

    /// How long an object is; `None`: it is not there.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn length(&self, name: &str) -> Result<Option<u64>, Failure> {
        match self.runtime.block_on(self.objects.head(&Path::from(name))) {
            Ok(object) => Ok(Some(object.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.trouble("read", name, error)),
        }
    }

    /// Some bytes of an object; `None`: it is not there.
    ///
    /// # Errors
    /// It cannot be read, or is shorter.
    pub fn read_range(&self, name: &str, range: Range<u64>) -> Result<Option<Buffer>, Failure> {
        match self.runtime.block_on(self.objects.get_range(&Path::from(name), range)) {
            Ok(bytes) => Ok(Some(Buffer::from(bytes))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.trouble("read", name, error)),
        }
    }

    /// What is directly in a folder.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn list(&self, folder: &str) -> Result<Listed, Failure> {
        let path = Path::from(folder);
        let listed = self.runtime.block_on(self.objects.list_with_delimiter(Some(&path)));
        let listed = listed.map_err(|error| self.trouble("read", folder, error))?;
        let objects = listed.objects.into_iter().map(|object| object.location.to_string()).collect();
        let folders = listed.common_prefixes.into_iter().map(|prefix| prefix.to_string()).collect();
        Ok(Listed { objects, folders })
    }

    /// Removes an object, which may be gone already.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn delete(&self, name: &str) -> Result<(), Failure> {
        #[cfg(test)]
        self.weather.refuses_the_dead(name)?;
        match self.runtime.block_on(self.objects.delete(&Path::from(name))) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.trouble("removed", name, error)),
        }
    }

    /// Removes a folder in which there is nothing any more, and what uploads that were cut off have left in it.
    pub fn delete_folder(&self, folder: &str) {
        self.remove_cut_off(folder, |_| true);
        // Not empty, or gone: either is as well.
        let _ = self.folder.as_ref().map(|root| std::fs::remove_dir(root.join(folder)));
    }

    /// Removes what uploads that were cut off have left in a folder, by the names of what they would have been.
    pub fn remove_cut_off(&self, folder: &str, is_meant: impl Fn(&str) -> bool) {
        let Some(path) = self.folder.as_ref().map(|root| root.join(folder)) else { return };
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            // Names with a number behind a `#` are those of uploads, which nobody lists.
            let name = entry.file_name();
            if name.to_string_lossy().split_once('#').is_some_and(|(name, _)| is_meant(name)) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Waits until the disk has an object.
    fn settle(&self, name: &str) -> Result<(), Failure> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = folder.join(name);
        let sync = || {
            File::open(&path)?.sync_all()?;
            path.ancestors()
                .skip(1)
                .take_while(|above| above.starts_with(folder))
                .try_for_each(|above| File::open(above)?.sync_all())
        };
        sync().map_err(|error| self.broken("written", name, error))
    }

    fn trouble(&self, what: &str, name: &str, error: Error) -> Failure {
        self.broken(what, name, std::io::Error::from(error))
    }

    fn broken(&self, what: &str, name: &str, error: std::io::Error) -> Failure {
        let message = format!("`{name}` cannot be {what} in the state store `{}`", self.describe());
        Failure::outside("state.store", message).because(error)
    }
}

/// A large object on its way. Dropped, it was never there.
pub struct Upload<'s> {
    store: &'s Store,
    name: String,
    parts: Box<dyn MultipartUpload>,
    waiting: Vec<u8>,
    is_done: bool,
}

impl Upload<'_> {
    /// Adds bytes to its end.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PART_BYTES { self.send() } else { Ok(()) }
    }

    /// Makes it an object.
    ///
    /// # Errors
    /// It cannot be written; then it is not there.
    pub fn finish(mut self) -> Result<(), Failure> {
        #[cfg(test)]
        self.store.weather.strikes(&self.name)?;
        self.send()?;
        let done = self.store.runtime.block_on(self.parts.complete());
        done.map_err(|error| self.store.trouble("written", &self.name, error))?;
        self.is_done = true;
        self.store.settle(&self.name).inspect_err(|_| drop(self.store.delete(&self.name)))
    }

    fn send(&mut self) -> Result<(), Failure> {
        let part = self.parts.put_part(PutPayload::from(std::mem::take(&mut self.waiting)));
        self.store.runtime.block_on(part).map_err(|error| self.store.trouble("written", &self.name, error))
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            // What cannot be removed is in nobody's way.
            let _ = self.store.runtime.block_on(self.parts.abort());
        }
    }
}

/// Whether files can be made in a folder.
fn tempfile_in(folder: &FilePath) -> std::io::Result<()> {
    let path = folder.join(format!(".{}", uuid::Uuid::new_v4()));
    File::create(&path)?;
    std::fs::remove_file(path)
}

/// Writes that fail, in tests.
#[cfg(test)]
pub mod weather {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use super::{Failure, ObjectStoreExt, Path, Store};

    type Decide = Box<dyn FnMut(&str) -> Option<Strike> + Send>;

    /// What happens to a write.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Strike {
        /// The disk is full.
        Full,
        /// The process dies before it: from now on it writes and removes nothing.
        Death,
    }

    #[derive(Default)]
    pub struct Weather {
        decide: Mutex<Option<Decide>>,
        is_dead: AtomicBool,
    }

    impl std::fmt::Debug for Weather {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Weather")
        }
    }

    impl Weather {
        pub fn strikes(&self, name: &str) -> Result<(), Failure> {
            self.refuses_the_dead(name)?;
            match self.decide.lock().unwrap().as_mut().and_then(|decide| decide(name)) {
                Some(Strike::Full) => {
                    Err(Failure::outside("state.store", format!("`{name}` cannot be written: the disk is full")))
                }
                Some(Strike::Death) => {
                    self.is_dead.store(true, SeqCst);
                    self.refuses_the_dead(name)
                }
                None => Ok(()),
            }
        }

        pub fn refuses_the_dead(&self, name: &str) -> Result<(), Failure> {
            match self.is_dead.load(SeqCst) {
                true => Err(Failure::outside("state.store", format!("`{name}`: this process is dead"))),
                false => Ok(()),
            }
        }
    }

    impl Store {
        /// Asked before an object is made, by its name.
        pub fn disturb(&self, decide: impl FnMut(&str) -> Option<Strike> + Send + 'static) {
            *self.weather.decide.lock().unwrap() = Some(Box::new(decide));
        }

        /// Whether the process that wrote here has died.
        pub fn is_dead(&self) -> bool {
            self.weather.is_dead.load(SeqCst)
        }

        /// Another process begins.
        pub fn revive(&self) {
            self.weather.is_dead.store(false, SeqCst);
        }

        /// What no process of ours does.
        pub fn overwrite(&self, name: &str, bytes: Vec<u8>) {
            self.runtime.block_on(self.objects.put(&Path::from(name), bytes.into())).unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores() -> (tempfile::TempDir, [Store; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let stores = [Store::in_folder(&folder.path().join("made")).unwrap(), Store::in_memory().unwrap()];
        (folder, stores)
    }

    #[test]
    fn an_object_is_written_once() {
        let (_folder, stores) = stores();
        for store in stores {
            assert!(store.put_new("a/b.json", b"one".to_vec()).unwrap());
            assert!(!store.put_new("a/b.json", b"two".to_vec()).unwrap());
            assert_eq!(store.read("a/b.json").unwrap().as_deref(), Some(&b"one"[..]));
            assert_eq!(store.read("a/c.json").unwrap(), None);
        }
    }

    #[test]
    fn an_upload_is_there_when_it_is_finished_and_leaves_nothing_when_it_is_not() {
        let (folder, stores) = stores();
        for store in stores {
            let mut upload = store.upload("a/large").unwrap();
            let bytes = vec![7; PART_BYTES];
            (0..3).for_each(|_| upload.write(&bytes).unwrap());
            upload.write(b"end").unwrap();
            assert_eq!(store.list("a").unwrap(), Listed::default());
            upload.finish().unwrap();
            assert_eq!(store.list("a").unwrap().objects, ["a/large"]);
            let end = 3 * PART_BYTES as u64;
            assert_eq!(store.read_range("a/large", end - 1..end + 3).unwrap().unwrap().as_slice(), b"\x07end");

            let mut upload = store.upload("a/never").unwrap();
            upload.write(&bytes).unwrap();
            drop(upload);
            assert_eq!(store.list("a").unwrap().objects, ["a/large"]);
            store.delete("a/large").unwrap();
            store.delete("a/large").unwrap();
            store.delete_folder("a");
        }
        assert!(!folder.path().join("made/a").exists(), "a file of an upload was left");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let failure = Store::in_folder(&folder.path().join("file/state")).unwrap_err();
        assert_eq!((failure.code, failure.retry), ("state.unwritable", false));
        assert!(failure.to_string().contains("file/state"), "{failure}");
        assert!(Store::existing(&folder.path().join("nowhere")).unwrap().is_none());
    }
}
