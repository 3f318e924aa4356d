//! File source: the lines of the files that a path or pattern names.
//! Guarantee: read again from any position, as long as the files are as they were.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::reader::FileReader;
use super::{Framing, trouble};
use crate::connectors::{PartitionStart, Reader, Source, Wanted};
use crate::data::{Offset, Partition, Position, SourceIndex};
use crate::formats::{CsvOptions, header_names};
use crate::report::Failure;

/// All files of a source are one partition, in the order of their paths.
pub(super) const PARTITION: Partition = 0;

/// The `file: {path}` source.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSource {
    /// A path, or a pattern with `*`, `?`, `[…]` or `**`.
    path: String,
    framing: Framing,
    header: Option<Header>,
}

/// The columns that the first line of every file must name, in this order: records are read by place.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    pub columns: Vec<String>,
    pub options: CsvOptions,
}

impl Header {
    /// # Errors
    /// The line names others, or in another order.
    pub(super) fn check(&self, line: &[u8], path: &Path) -> Result<(), Failure> {
        let wrong = |found: String| {
            let declared = self.columns.join(", ");
            let message = format!("the first line of `{}` {found}, but the columns are `{declared}`", path.display());
            Failure::user("file.header", message)
                .hint("declare all `columns` in the order of the file; or `format: {csv: {header: false}}` if the line is a record")
        };
        match header_names(line, &self.options) {
            Ok(names) if names == self.columns => Ok(()),
            Ok(names) => Err(wrong(format!("names `{}`", names.join(", ")))),
            Err(why) => Err(wrong(format!("is no header ({why})"))),
        }
    }
}

impl FileSource {
    pub fn new(path: impl Into<String>, framing: Framing) -> Self {
        FileSource { path: path.into(), framing, header: None }
    }

    /// Holds the first line of every file against this header.
    pub fn with_header(self, header: Option<Header>) -> Self {
        FileSource { header, ..self }
    }

    /// The files, in the order in which they are read.
    fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        // A file may be named like a pattern.
        if Path::new(&self.path).is_file() {
            return Ok(vec![PathBuf::from(&self.path)]);
        }
        let paths = glob::glob(&self.path).map_err(|error| {
            Failure::user("file.pattern", format!("`{}` is not a pattern for paths", self.path)).because(error)
        })?;
        let mut files = Vec::new();
        for path in paths {
            let path = path.map_err(|error| {
                let folder = error.path().to_path_buf();
                trouble("file.unreadable", "look into", &folder, error.into()).no_retry()
            })?;
            if path.to_str().is_none() {
                let message = format!("the name of `{}` is not UTF-8", path.display());
                return Err(Failure::user("file.name", message).hint("rename the file, or leave it out of the pattern"));
            }
            if path.is_file() {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn start(&self) -> Result<Place, Failure> {
        match self.files()?.first() {
            Some(first) => Place::start_of(first, 0),
            None => Err(Failure::user("file.not_found", format!("there is no file `{}`", self.path))
                .hint("relative paths are from the folder of the pipeline's document")),
        }
    }
}

impl Source for FileSource {
    fn connector(&self) -> &'static str {
        "file"
    }

    fn discover(&self, known: &BTreeMap<Partition, Position>) -> Result<Vec<PartitionStart>, Failure> {
        let start = match known.get(&PARTITION) {
            Some(position) => {
                Place::from_position(position)?.check_unchanged()?;
                position.clone()
            }
            None => self.start()?.to_position(),
        };
        Ok(vec![PartitionStart { partition: PARTITION, start, end: None, max_timestamp: None }])
    }

    fn open(&self, source: SourceIndex, share: &[PartitionStart], _wanted: Wanted) -> Result<Box<dyn Reader>, Failure> {
        let Some(start) = share.iter().find(|start| start.partition == PARTITION) else {
            return Err(Failure::bug("file.share", "a file reader was opened without its partition"));
        };
        let place = Place::from_position(&start.start)?;
        place.check_unchanged()?;
        Ok(Box::new(FileReader::open(source, self.framing, self.header.clone(), self.files()?, place)?))
    }

    fn has_timestamps(&self) -> bool {
        false
    }
}

/// A position: behind the last record that was handed over, and what the file was like then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub path: PathBuf,
    /// Bytes of the whole file.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime: i64,
    pub byte: u64,
    /// Records before this place, over all files.
    pub row: Offset,
    /// Of a file that is followed: a checksum of what stands right before the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Of a file that is followed: how often it was begun anew.
    #[serde(default, skip_serializing_if = "is_never")]
    pub begun: u32,
    /// Of one that was begun anew: records before its beginning, over all that was read before.
    #[serde(default, skip_serializing_if = "is_first")]
    pub begun_row: Offset,
}

fn is_first(row: &Offset) -> bool {
    *row == 0
}

fn is_never(count: &u32) -> bool {
    *count == 0
}

impl Place {
    pub fn start_of(path: &Path, row: Offset) -> Result<Self, Failure> {
        let (size, mtime) = size_and_mtime(path)?;
        Ok(Place { path: path.to_path_buf(), size, mtime, byte: 0, row, tail: None, begun: 0, begun_row: 0 })
    }

    /// The beginning of what is there now under the same path.
    pub fn begun_anew(&self) -> Self {
        Place { begun: self.begun + 1, ..self.read_again() }
    }

    /// The beginning of the file that it is in, whose records so far come again.
    pub fn read_again(&self) -> Self {
        Place { byte: 0, tail: None, begun_row: self.row, ..self.clone() }
    }

    pub fn from_position(position: &Position) -> Result<Self, Failure> {
        serde_json::from_value(position.0.clone()).map_err(|error| {
            Failure::user("file.position", format!("`{}` is not a position in a file", position.0))
                .because(error)
                .hint("the pipeline read something else before; start anew with `runner reset`")
        })
    }

    pub fn to_position(&self) -> Position {
        Position(
            serde_json::to_value(self)
                .expect("a place is numbers and a path, and paths that are not UTF-8 were refused"),
        )
    }

    /// # Errors
    /// The file has gone or is not the one that was read before.
    pub fn check_unchanged(&self) -> Result<(), Failure> {
        let path = self.path.display();
        if !self.path.exists() {
            return Err(changed(format!("`{path}` is gone; {} of its {} bytes were read", self.byte, self.size)));
        }
        let (size, mtime) = size_and_mtime(&self.path)?;
        if size != self.size {
            return Err(changed(format!("`{path}` has changed: it had {} bytes and now has {size}", self.size)));
        }
        if mtime != self.mtime {
            return Err(changed(format!("`{path}` has changed: it was written again since it was read")));
        }
        Ok(())
    }
}

pub(super) fn changed(message: String) -> Failure {
    Failure::user("file.changed", message)
        .hint("put the file back as it was (its time too), or start anew: with `runner reset`, of a connector by deleting its offsets")
}

fn size_and_mtime(path: &Path) -> Result<(u64, i64), Failure> {
    use std::os::unix::fs::MetadataExt;
    let metadata =
        std::fs::metadata(path).map_err(|error| trouble("file.unreadable", "read", path, error).no_retry())?;
    Ok((metadata.len(), metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())))
}
