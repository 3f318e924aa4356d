//! What a server was given, on disk: a file per pipeline, replaced as a whole and synced before it is answered.
//!
//! ```text
//!   STATE_DIR/serve.lock                       held as long as the server lives
//!   STATE_DIR/pipelines/NAMESPACE/NAME.json    a `Kept`
//! ```
//!
//! A submission may hold values that are secrets: only the owner may read the folder.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::connector::Connector;
use super::submission::{Name, Submission};
use crate::disk;
use crate::report::Failure;
use crate::time::Millis;

const FORMAT: u32 = 1;

/// A pipeline as it was submitted, and what is wanted of it. A stored format: fields are only added, with a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub(super) format: u32,
    pub name: Name,
    /// Differs between two pipelines that had the same name one after the other.
    pub uid: String,
    /// Counts changes of the submission and of what is wanted, from 1.
    pub generation: u64,
    pub wanted: Wanted,
    /// When the submission came.
    pub submitted: Millis,
    pub submission: Submission,
    /// Steps whose state may be given up at the next start, because they are not what they were.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub accept_reset: BTreeSet<String>,
    /// The connector that it was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<Connector>,
}

/// What is wanted of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    Running,
    Paused,
    Stopped,
}

impl Kept {
    /// A pipeline that comes for the first time.
    pub fn new(name: Name, submission: Submission, now: Millis) -> Self {
        let (uid, wanted) = (uuid::Uuid::new_v4().simple().to_string(), Wanted::Running);
        let accept_reset = BTreeSet::new();
        Kept {
            format: FORMAT,
            name,
            uid,
            generation: 1,
            wanted,
            submitted: now,
            submission,
            accept_reset,
            connector: None,
        }
    }

    /// The same when something else is wanted of it.
    pub fn when(&self, wanted: Wanted) -> Self {
        let connector = self.connector.clone().map(|connector| connector.when(wanted));
        Kept { wanted, connector, generation: self.generation + 1, ..self.clone() }
    }

    /// Names this very state of it.
    pub fn etag(&self) -> String {
        format!("\"{}-{}\"", self.uid, self.generation)
    }
}

/// The folder of a server.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// Nobody else serves from here.
    _lock: File,
}

impl Store {
    /// # Errors
    /// `state.locked` while another server has the folder; `serve.store` for the disk's.
    pub fn open(states: &Path) -> Result<Store, Failure> {
        let folder = states.join("pipelines");
        disk::make_folder(states, 0o755).map_err(|error| failed("made", states, error))?;
        disk::make_folder(&folder, 0o700).map_err(|error| failed("made", &folder, error))?;
        let path = states.join("serve.lock");
        let lock = disk::try_lock(&path).map_err(|error| failed("locked", &path, error))?;
        let Some(lock) = lock else {
            let title = format!("another `runner serve` keeps its state in `{}`", states.display());
            return Err(Failure::user("state.locked", title).hint("stop it, or name another folder with `--state-dir`"));
        };
        Ok(Store { folder, _lock: lock })
    }

    /// Everything that is kept, by name.
    ///
    /// # Errors
    /// `serve.store` for a file that cannot be read: nothing is passed over.
    pub fn all(&self) -> Result<Vec<Kept>, Failure> {
        let mut all = Vec::new();
        for namespace in entries(&self.folder)? {
            for path in entries(&namespace)? {
                // What was being written when the process was killed counts for nothing.
                if path.extension().is_some_and(|extension| extension == "json") {
                    all.push(read(&path)?);
                }
            }
        }
        all.sort_by(|a: &Kept, b: &Kept| a.name.cmp(&b.name));
        Ok(all)
    }

    /// A pipeline as it is kept now.
    ///
    /// # Errors
    /// As [`Store::all`].
    pub fn get(&self, name: &Name) -> Result<Option<Kept>, Failure> {
        let path = self.path(name);
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }

    /// Keeps a pipeline; it is on the disk when this returns.
    ///
    /// # Errors
    /// `serve.store` for the disk's; then what was kept before is there still.
    pub fn put(&self, kept: &Kept) -> Result<(), Failure> {
        let path = self.path(&kept.name);
        let folder = path.parent().unwrap_or(&self.folder);
        disk::make_folder(folder, 0o700).map_err(|error| failed("made", folder, error))?;
        let bytes = serde_json::to_vec(kept)
            .map_err(|error| Failure::bug("serve.store", "a pipeline cannot be written as JSON").because(error))?;
        disk::replace(&path, &bytes).map_err(|error| failed("written", &path, error))
    }

    /// Forgets a pipeline, for good when this returns.
    ///
    /// # Errors
    /// `serve.store` for the disk's.
    pub fn remove(&self, name: &Name) -> Result<(), Failure> {
        let path = self.path(name);
        disk::remove(&path).map_err(|error| failed("removed", &path, error))
    }

    /// Names begin with a letter or digit and have no slash, so they are names of files too.
    fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(&name.namespace).join(format!("{}.json", name.name))
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|error| failed("read", folder, error))?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(|error| failed("read", folder, error))).collect()
}

fn read(path: &Path) -> Result<Kept, Failure> {
    let bytes = std::fs::read(path).map_err(|error| failed("read", path, error))?;
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| failed("read", path, error))?;
    if kept.format > FORMAT {
        let message = format!("`{}` was written by a newer version of runner", path.display());
        return Err(Failure::user("serve.store", message));
    }
    Ok(kept)
}

fn failed(done: &str, path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::outside("serve.store", format!("`{}` cannot be {done}", path.display())).no_retry().because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(namespace: &str, name: &str) -> Kept {
        let name = Name { namespace: namespace.into(), name: name.into() };
        Kept::new(name, Submission::of_text("a.yaml", "kind: Pipeline"), 7)
    }

    #[test]
    fn what_was_put_is_there_after_a_new_start_and_one_server_has_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (a, mut b) = (kept("default", "a.b"), kept("other", "a.b"));
        store.put(&a).unwrap();
        store.put(&b).unwrap();
        b.generation = 2;
        b.wanted = Wanted::Paused;
        store.put(&b).unwrap();
        assert_eq!(Store::open(folder.path()).unwrap_err().code, "state.locked");
        drop(store);
        // As a kill between two steps leaves it.
        std::fs::write(folder.path().join("pipelines/other/a.b.json.new"), "{").unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.all().unwrap(), [a.clone(), b.clone()]);
        assert_eq!(store.get(&b.name).unwrap(), Some(b.clone()));
        store.remove(&a.name).unwrap();
        assert_eq!(store.get(&a.name).unwrap(), None);
        assert_eq!(store.all().unwrap(), [b]);
        std::fs::write(folder.path().join("pipelines/default/x.json"), "{").unwrap();
        let failure = store.all().unwrap_err();
        assert!(failure.code == "serve.store" && failure.message.contains("x.json"), "{failure}");
    }
}
