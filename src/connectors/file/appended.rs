//! File sink that is at least once: a record per line, appended to a file that others may write, too.
//! Delivery: at least once; what it has is noted in the journal, behind the write.
//!
//! Nothing is kept beside the file, nothing is locked, and no folder is made. Lines leave in one write to the end of the
//! file, wherever that is by now, and are synced before they count as written: what was not is written again. A file that is
//! renamed or removed is written on until the sink is opened again; then there is a new one.
//!
//! A line that a crash or a full disk cut off stays, and comes again whole: a line of ours begins behind a line's end.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::sidecar::{Sidecar, sync_folder};
use super::sink::text;
use super::trouble;
use crate::connectors::{Delivery, EpochRows, Sink, SinkProgress, Writer};
use crate::faults;
use crate::report::Failure;

/// The `file: {path}` sink with `delivery: at_least_once`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendedFile {
    path: PathBuf,
    header: Option<Vec<u8>>,
}

impl AppendedFile {
    /// `header` (without a line break) becomes the first line of a file that is empty, once there are rows.
    pub fn new(path: impl Into<PathBuf>, header: Option<Vec<u8>>) -> Self {
        AppendedFile { path: path.into(), header }
    }
}

impl Sink for AppendedFile {
    fn connector(&self) -> &'static str {
        "file"
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn open(&self) -> Result<Box<dyn Writer>, Failure> {
        Ok(Box::new(Appender::open(self)?))
    }
}

struct Appender {
    path: PathBuf,
    header: Option<Vec<u8>>,
    file: File,
    /// A pipe or a device has no end to look at, and cannot be synced.
    is_regular: bool,
    /// What the sink has from when it was exactly once; somebody else's, where the lineage is another one.
    before: Option<Sidecar>,
}

impl Appender {
    fn open(sink: &AppendedFile) -> Result<Self, Failure> {
        let path = &sink.path;
        let unopened = |error| not_opened(path, error);
        let file = OpenOptions::new().create(true).append(true).read(true).open(path).map_err(unopened)?;
        let is_regular = file.metadata().map_err(unopened)?.is_file();
        if is_regular {
            // The name of a new file is to be there when its lines count as written.
            sync_folder(path).map_err(unopened)?;
        }
        // One that cannot be read says as little as none; it may be of somebody else altogether.
        let before = Sidecar::read(path).ok().flatten();
        Ok(Appender { path: path.clone(), header: sink.header.clone(), file, is_regular, before })
    }

    /// What is to stand before our first line: the header of an empty file, the end of a line that has none.
    fn lead(&self) -> std::io::Result<Vec<u8>> {
        if !self.is_regular {
            return Ok(Vec::new());
        }
        let length = self.file.metadata()?.len();
        if length == 0 {
            let header = self.header.iter().flat_map(|header| [header.as_slice(), b"\n"]);
            return Ok(header.collect::<Vec<_>>().concat());
        }
        let mut last = [0];
        // Whoever cuts the file in this very moment leaves nothing to be ended.
        let is_there = self.file.read_at(&mut last, length - 1)? == 1;
        Ok(if is_there && last != *b"\n" { b"\n".to_vec() } else { Vec::new() })
    }

    fn append(&mut self, text: &[u8]) -> std::io::Result<()> {
        self.file.write_all(text)?;
        if self.is_regular { self.file.sync_data() } else { self.file.flush() }
    }

    /// If this sink goes on as exactly once again, what we write is not cut off as its own.
    fn close_sidecar(&mut self, lineage: &str) -> Result<(), Failure> {
        let Some(ours) = self.before.as_mut().filter(|sidecar| sidecar.lineage == lineage && !sidecar.closed) else {
            return Ok(());
        };
        let closed = ours.clone().closed();
        closed.write(&self.path)?;
        *ours = closed;
        Ok(())
    }
}

impl Writer for Appender {
    fn progress(&self) -> Option<SinkProgress> {
        let Sidecar { lineage, epoch, .. } = self.before.as_ref()?;
        (!lineage.is_empty()).then(|| SinkProgress { lineage: lineage.clone(), epoch: *epoch })
    }

    fn write(&mut self, lineage: &str, epochs: &[EpochRows]) -> Result<(), Failure> {
        if epochs.iter().all(EpochRows::is_empty) {
            return Ok(());
        }
        self.close_sidecar(lineage)?;
        let lead = self.lead().map_err(|error| trouble("file.write", "look at", &self.path, error))?;
        let text = text(&lead, epochs.iter());
        self.append(&text).map_err(|error| trouble("file.write", "write to", &self.path, error))?;
        faults::point("file.appended");
        Ok(())
    }
}

fn not_opened(path: &Path, error: std::io::Error) -> Failure {
    use ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    let kind = error.kind();
    let failure = trouble("file.open", "open", path, error);
    match kind {
        NotFound => failure.no_retry().hint("make its folder: a sink that is at least once makes none"),
        IsADirectory | NotADirectory | PermissionDenied | ReadOnlyFilesystem => failure.no_retry(),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Epoch;

    fn epoch(epoch: Epoch, lines: &[&str]) -> EpochRows {
        super::super::sink::tests::epoch(epoch, lines)
    }

    fn held(sink: &AppendedFile) -> String {
        std::fs::read_to_string(&sink.path).unwrap()
    }

    #[test]
    fn several_append_to_one_file_and_a_torn_line_is_ended_first() {
        let dir = tempfile::tempdir().unwrap();
        let sink = AppendedFile::new(dir.path().join("rows.txt"), None);
        let (mut one, mut other) = (sink.open().unwrap(), sink.open().unwrap());
        one.write("l", &[epoch(1, &["a"]), epoch(2, &["b"])]).unwrap();
        other.write("m", &[epoch(1, &["c"])]).unwrap();
        let mut theirs = OpenOptions::new().append(true).open(&sink.path).unwrap();
        theirs.write_all(b"torn").unwrap();
        one.write("l", &[epoch(3, &[])]).unwrap();
        assert_eq!(held(&sink), "a\nb\nc\ntorn");
        one.write("l", &[epoch(4, &["d"])]).unwrap();
        assert_eq!(held(&sink), "a\nb\nc\ntorn\nd\n");
        // Cut by `copytruncate` it is written from its beginning.
        std::fs::write(&sink.path, "").unwrap();
        other.write("m", &[epoch(2, &["e"])]).unwrap();
        assert_eq!(held(&sink), "e\n");
        assert!(!dir.path().join("rows.txt.runner").exists());
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew_with_its_header_when_the_sink_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let sink = AppendedFile::new(dir.path().join("rows.csv"), Some(b"a,b".to_vec()));
        let mut writer = sink.open().unwrap();
        writer.write("l", &[epoch(1, &["1,2"])]).unwrap();
        let away = dir.path().join("rows.csv.1");
        std::fs::rename(&sink.path, &away).unwrap();
        writer.write("l", &[epoch(2, &["3,4"])]).unwrap();
        assert_eq!(std::fs::read_to_string(&away).unwrap(), "a,b\n1,2\n3,4\n");
        sink.open().unwrap().write("l", &[epoch(3, &["5,6"])]).unwrap();
        assert_eq!(held(&sink), "a,b\n5,6\n");
    }

    #[test]
    fn no_folder_is_made_and_that_is_no_trouble_that_passes() {
        let dir = tempfile::tempdir().unwrap();
        let failure = AppendedFile::new(dir.path().join("none/rows.txt"), None).open().err().unwrap();
        assert!(failure.code == "file.open" && !failure.retry, "{failure}");
        assert!(!dir.path().join("none").exists());
        // What has no end and cannot be synced.
        AppendedFile::new("/dev/null", None).open().unwrap().write("l", &[epoch(1, &["a"])]).unwrap();
    }

    #[test]
    fn what_it_had_as_exactly_once_is_known_and_its_later_lines_are_cut_off_by_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.txt");
        let exact = super::super::FileSink::new(&path, None).appending(true);
        exact.open().unwrap().write("l", &[epoch(7, &["a"])]).unwrap();
        // Killed, it had no time to say that it ended here.
        Sidecar::new("l", 7, 2).write(&path).unwrap();
        let sink = AppendedFile::new(&path, None);
        let mut writer = sink.open().unwrap();
        assert_eq!(writer.progress(), Some(SinkProgress { lineage: "l".into(), epoch: 7 }));
        writer.write("l", &[epoch(8, &["b"])]).unwrap();
        assert_eq!(exact.open().err().unwrap().code, "file.foreign");
        assert_eq!(held(&sink), "a\nb\n");
        // That of another run stays as it is.
        Sidecar::new("other", 7, 2).write(&path).unwrap();
        sink.open().unwrap().write("l", &[epoch(9, &["c"])]).unwrap();
        assert!(!Sidecar::read(&path).unwrap().unwrap().closed);
    }
}
