//! What a file sink remembers beside its file: `PATH.runner`.
//!
//! It is replaced by renaming, so that there is always a whole one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::trouble;
use crate::data::Epoch;
use crate::journal::host_name;
use crate::report::Failure;

const VERSION: u32 = 1;

/// The epoch that the file holds, and how long it is with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sidecar {
    version: u32,
    /// Empty while no epoch has been written.
    pub lineage: String,
    pub epoch: Epoch,
    pub length: u64,
    /// The sink was closed with this: whatever else the file holds, somebody else wrote.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
    /// Who wrote this, and holds the file as long as it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

/// A process, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    pub host: String,
    pub pid: u32,
}

impl Sidecar {
    pub fn new(lineage: &str, epoch: Epoch, length: u64) -> Self {
        let holder = Some(Holder { host: host_name(), pid: std::process::id() });
        Sidecar { version: VERSION, lineage: lineage.to_owned(), epoch, length, closed: false, holder }
    }

    /// The same, when nothing more will be written.
    pub fn closed(self) -> Self {
        Sidecar { closed: true, ..self }
    }

    /// The sidecar of a file; `None`: there is none.
    pub fn read(file: &Path) -> Result<Option<Self>, Failure> {
        let path = path_of(file);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| trouble("file.sidecar", "read", &path, error))?,
        };
        let sidecar: Sidecar = serde_json::from_slice(&text).map_err(|error| {
            Failure::user("file.sidecar", format!("`{}` does not say what its file holds", path.display()))
                .because(error)
                .hint("restore it, or move the file and this one away to begin a new file")
        })?;
        if sidecar.version > VERSION {
            let message = format!("`{}` was written by a newer version of runner", path.display());
            return Err(Failure::user("file.newer", message).hint("run this pipeline with that version"));
        }
        Ok(Some(sidecar))
    }

    /// Durable when it returns.
    pub fn write(&self, file: &Path) -> Result<(), Failure> {
        let path = path_of(file);
        self.replace(&path).map_err(|error| trouble("file.sidecar", "write", &path, error))
    }

    fn replace(&self, path: &Path) -> std::io::Result<()> {
        let temporary = with_suffix(path, ".tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        sync_folder(path)
    }
}

/// Makes the names in a file's folder durable.
pub(super) fn sync_folder(file: &Path) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn path_of(file: &Path) -> PathBuf {
    with_suffix(file, ".runner")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
