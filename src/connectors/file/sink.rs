//! File sink: a record per line, appended to one file.
//! Delivery: exactly once; the file remembers its epoch in a sidecar.
//!
//! An epoch is appended, synced, and then noted in the sidecar with the length of the file. Whatever stands behind
//! that length belongs to no epoch and is cut off: at the start after a crash, and before the write that follows
//! a failed one. So a full disk or a crash leaves nothing half-recorded. Where no write of ours is in doubt, a file that has
//! another length was changed by somebody else: the sink says so, and leaves it as it is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::sidecar::{Holder, Sidecar, sync_folder};
use super::trouble;
use crate::connectors::{Delivery, EpochRows, Sink, SinkProgress, Writer};
use crate::data::Epoch;
use crate::faults;
use crate::report::Failure;

/// The `file: {path}` sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSink {
    path: PathBuf,
    header: Option<Vec<u8>>,
    /// What stands in the file without being ours is left there, and written behind.
    appends: bool,
}

impl FileSink {
    /// `header` (without a line break) becomes the first line of the file, once there are rows.
    /// Folders are made as needed.
    pub fn new(path: impl Into<PathBuf>, header: Option<Vec<u8>>) -> Self {
        FileSink { path: path.into(), header, appends: false }
    }

    /// Writes behind what a file has already.
    pub fn appending(self, appends: bool) -> Self {
        FileSink { appends, ..self }
    }
}

impl Sink for FileSink {
    fn connector(&self) -> &'static str {
        "file"
    }

    fn delivery(&self) -> Delivery {
        Delivery::Remembers
    }

    fn open(&self) -> Result<Box<dyn Writer>, Failure> {
        Ok(Box::new(FileWriter::open(self)?))
    }
}

struct FileWriter {
    path: PathBuf,
    header: Option<Vec<u8>>,
    /// Locked for as long as it is open.
    file: File,
    /// What is durable.
    done: Sidecar,
    /// A write has failed: nobody knows what stands behind `done`.
    in_doubt: bool,
}

impl FileWriter {
    fn open(sink: &FileSink) -> Result<Self, Failure> {
        let path = &sink.path;
        let file = open_locked(path)?;
        let (done, closed) = match Sidecar::read(path)? {
            Some(Sidecar { lineage, epoch, length, closed, .. }) => (Sidecar::new(&lineage, epoch, length), closed),
            None => (begin(path, &file, sink.appends)?, false),
        };
        let mut writer = FileWriter { path: path.clone(), header: sink.header.clone(), file, done, in_doubt: true };
        if closed {
            writer.check_length()?;
        }
        // First of all, because on a full disk this makes the room for the rest.
        writer.cut_back()?;
        // Whoever is locked out is told by whom.
        writer.done.write(path)?;
        writer.in_doubt = false;
        Ok(writer)
    }

    fn trouble(&self, what: &str, error: std::io::Error) -> Failure {
        trouble("file.write", what, &self.path, error)
    }

    /// Nothing of ours is in doubt: the file ends where we ended.
    fn check_length(&self) -> Result<(), Failure> {
        let length = self.enough_length()?;
        if length == self.done.length {
            return Ok(());
        }
        let (path, ours) = (self.path.display(), self.done.length);
        let message = format!("somebody else wrote to `{path}`: it has {length} bytes, and {ours} with our last epoch");
        Err(Failure::user("file.foreign", message).hint(format!(
            "move what stands behind the first {ours} bytes elsewhere, and let nobody else write to the file while the pipeline has it; \
             or write to another path"
        )))
    }

    /// The file's length; it has all that was written to it.
    fn enough_length(&self) -> Result<u64, Failure> {
        let length = self.file.metadata().map_err(|error| self.trouble("look at", error))?.len();
        if length < self.done.length {
            let message = format!(
                "`{}` has {length} bytes, but {} were written to it up to epoch {}",
                self.path.display(),
                self.done.length,
                self.done.epoch
            );
            return Err(Failure::user("file.truncated", message).hint(format!(
                "restore the file, or remove it and `{}.runner` and start anew with `runner reset`",
                self.path.display()
            )));
        }
        Ok(length)
    }

    /// Removes what belongs to no epoch.
    fn cut_back(&mut self) -> Result<(), Failure> {
        let length = self.enough_length()?;
        if length > self.done.length {
            tracing::warn!(
                "`{}`: {} bytes behind the last epoch are cut off: a write that was not finished",
                self.path.display(),
                length - self.done.length
            );
            let cut = self.file.set_len(self.done.length).and_then(|()| self.file.sync_all());
            cut.map_err(|error| self.trouble("cut back", error))?;
        }
        Ok(())
    }

    /// After a failed write: the sidecar on the disk decides what was written.
    fn settle(&mut self) -> Result<(), Failure> {
        if let Some(sidecar) = Sidecar::read(&self.path)? {
            self.done = sidecar;
        }
        sync_folder(&self.path).map_err(|error| self.trouble("sync the folder of", error))?;
        self.cut_back()?;
        self.in_doubt = false;
        Ok(())
    }

    /// The bytes of those epochs that the file does not have yet.
    fn text(&self, lineage: &str, epochs: &[EpochRows]) -> Vec<u8> {
        let is_new = |epoch: Epoch| self.done.lineage != lineage || epoch > self.done.epoch;
        let header = self.header.iter().filter(|_| self.done.length == 0).flat_map(|header| [header.as_slice(), b"\n"]);
        text(&header.collect::<Vec<_>>().concat(), epochs.iter().filter(|rows| is_new(rows.epoch)))
    }

    fn append(&mut self, lineage: &str, epoch: Epoch, text: &[u8]) -> Result<(), Failure> {
        if !text.is_empty() {
            let at_end = self.file.seek(SeekFrom::Start(self.done.length)).map(|_| ());
            let written = at_end.and_then(|()| self.file.write_all(text)).and_then(|()| self.file.sync_data());
            written.map_err(|error| self.trouble("write to", error))?;
            faults::point("file.appended");
        }
        let done = Sidecar::new(lineage, epoch, self.done.length + text.len() as u64);
        done.write(&self.path)?;
        faults::point("file.noted");
        self.done = done;
        Ok(())
    }
}

impl Writer for FileWriter {
    fn progress(&self) -> Option<SinkProgress> {
        let Sidecar { lineage, epoch, .. } = &self.done;
        (!lineage.is_empty()).then(|| SinkProgress { lineage: lineage.clone(), epoch: *epoch })
    }

    fn write(&mut self, lineage: &str, epochs: &[EpochRows]) -> Result<(), Failure> {
        if self.in_doubt {
            self.settle()?;
        }
        let Some(EpochRows { epoch: last, .. }) = epochs.last() else { return Ok(()) };
        if self.done.lineage == lineage && *last <= self.done.epoch {
            return Ok(());
        }
        let text = self.text(lineage, epochs);
        if !text.is_empty() {
            self.check_length()?;
        }
        self.in_doubt = true;
        self.append(lineage, *last, &text)?;
        self.in_doubt = false;
        Ok(())
    }
}

impl Drop for FileWriter {
    /// From here on nothing of ours is in doubt.
    fn drop(&mut self) {
        if self.in_doubt {
            return;
        }
        if let Err(failure) = self.done.clone().closed().write(&self.path) {
            // As after a crash: the next start cuts back.
            tracing::warn!("{failure}");
        }
    }
}

/// A line per record that has a value, behind `lead`; without a line nothing.
pub(super) fn text<'r>(lead: &[u8], epochs: impl Iterator<Item = &'r EpochRows> + Clone) -> Vec<u8> {
    let runs = || epochs.clone().flat_map(EpochRows::runs);
    let bytes = lead.len() + runs().map(|run| run.arena.len() + run.records.len()).sum::<usize>();
    let mut text = Vec::with_capacity(bytes);
    for run in runs() {
        for value in run.records.iter().filter_map(|record| record.value.as_ref()) {
            if text.is_empty() {
                text.extend_from_slice(lead);
            }
            text.extend_from_slice(run.bytes(value));
            text.push(b'\n');
        }
    }
    text
}

fn open_locked(path: &Path) -> Result<File, Failure> {
    let unopened = |error| trouble("file.open", "open", path, error);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(unopened)?;
    }
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map_err(unopened)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(locked_by_another(path)),
        Err(TryLockError::Error(error)) => Err(unopened(error)),
    }
}

fn locked_by_another(path: &Path) -> Failure {
    // Without a readable holder the refusal stands all the same.
    let holder = Sidecar::read(path).ok().flatten().and_then(|sidecar| sidecar.holder);
    let by = match holder {
        Some(holder) if holder.pid == std::process::id() => "another sink of this process".to_owned(),
        Some(Holder { host, pid }) => format!("process {pid} on `{host}`"),
        None => "another process".to_owned(),
    };
    Failure::user("file.locked", format!("`{}` is being written by {by}", path.display()))
        .hint("if that is this very pipeline, it runs already: stop it first; otherwise write to another path")
}

/// The sidecar of a new file. It is there before the first byte of the file, so that a file
/// without one is never ours.
fn begin(path: &Path, file: &File, appends: bool) -> Result<Sidecar, Failure> {
    let length = file.metadata().map_err(|error| trouble("file.open", "look at", path, error))?.len();
    if length > 0 && !appends {
        let path = path.display();
        let message = format!("`{path}` has {length} bytes already, and no `{path}.runner` that says from which run");
        return Err(Failure::user("file.foreign", message)
            .hint("move the file away, remove it, or write to another path; write behind what it has with `append: true`; if it is this pipeline's, restore its `.runner` file"));
    }
    Ok(Sidecar::new("", 0, length))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::{EncodedRecord, EncodedRows};

    pub fn epoch(epoch: Epoch, lines: &[&str]) -> EpochRows {
        let mut run = EncodedRows::default();
        for line in lines {
            let value = Some(run.put(line.as_bytes()));
            run.records.push(EncodedRecord { key: None, value, timestamp: None, headers: 0..0 });
        }
        EpochRows::of_one(epoch, vec![run])
    }

    fn sink(dir: &tempfile::TempDir) -> FileSink {
        FileSink::new(dir.path().join("out/rows.csv"), Some(b"a,b".to_vec()))
    }

    fn held(sink: &FileSink) -> String {
        std::fs::read_to_string(&sink.path).unwrap()
    }

    fn progress(lineage: &str, epoch: Epoch) -> Option<SinkProgress> {
        Some(SinkProgress { lineage: lineage.into(), epoch })
    }

    #[test]
    fn a_file_of_somebody_else_is_appended_to_where_that_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let sink = FileSink::new(dir.path().join("rows.txt"), None).appending(true);
        std::fs::write(&sink.path, "theirs\n").unwrap();
        let mut writer = sink.open().unwrap();
        writer.write("l", &[epoch(1, &["a"])]).unwrap();
        crash(&sink, writer);
        // What no epoch owns is cut off, and theirs stays.
        std::fs::write(&sink.path, "theirs\na\ntorn").unwrap();
        let mut writer = sink.open().unwrap();
        assert_eq!(writer.progress(), progress("l", 1));
        writer.write("l", &[epoch(2, &["b"])]).unwrap();
        assert_eq!(held(&sink), "theirs\na\nb\n");
    }

    /// Ends a writer without its knowing.
    fn crash(sink: &FileSink, writer: Box<dyn Writer>) {
        let left = Sidecar::read(&sink.path).unwrap().unwrap();
        drop(writer);
        left.write(&sink.path).unwrap();
    }

    fn grow(sink: &FileSink, by: &str) {
        OpenOptions::new().append(true).open(&sink.path).unwrap().write_all(by.as_bytes()).unwrap();
    }

    /// What somebody else appended was overwritten while the sink ran, and cut off when it started again.
    #[test]
    fn what_somebody_else_appends_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        for appends in [true, false] {
            let sink = FileSink::new(dir.path().join(format!("{appends}.txt")), None).appending(appends);
            let mut writer = sink.open().unwrap();
            writer.write("l", &[epoch(1, &["a"])]).unwrap();
            grow(&sink, "theirs\n");
            writer.write("l", &[epoch(2, &[])]).unwrap();
            let failure = writer.write("l", &[epoch(3, &["b"])]).unwrap_err();
            assert!(!failure.retry && failure.code == "file.foreign", "{failure}");
            drop(writer);
            assert_eq!(refusal(&sink).code, "file.foreign", "a refusal leaves all as it was");
            assert_eq!(held(&sink), "a\ntheirs\n");
            std::fs::write(&sink.path, "a\n").unwrap();
            let mut writer = sink.open().unwrap();
            writer.write("l", &[epoch(3, &["b"])]).unwrap();
            assert_eq!(held(&sink), "a\nb\n");
            // Written on behind its end it would have a hole.
            std::fs::write(&sink.path, "").unwrap();
            assert_eq!(writer.write("l", &[epoch(4, &["c"])]).unwrap_err().code, "file.truncated");
        }
    }

    fn refusal(sink: &FileSink) -> Failure {
        sink.open().err().unwrap()
    }

    #[test]
    fn epochs_are_appended_once_under_one_header() {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(&dir);
        let mut writer = sink.open().unwrap();
        assert_eq!(writer.progress(), None);
        writer.write("l", &[epoch(1, &[])]).unwrap();
        writer.write("l", &[epoch(2, &["1,2"]), epoch(3, &["3,4"])]).unwrap();
        drop(writer);

        let mut writer = sink.open().unwrap();
        assert_eq!(writer.progress(), progress("l", 3));
        writer.write("l", &[epoch(3, &["3,4"]), epoch(4, &["5,6"])]).unwrap();
        writer.write("l", &[epoch(5, &[])]).unwrap();
        assert_eq!(writer.progress(), progress("l", 5));
        assert_eq!(held(&sink), "a,b\n1,2\n3,4\n5,6\n");
    }

    #[test]
    fn what_no_epoch_owns_is_cut_off_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(&dir);
        let mut writer = sink.open().unwrap();
        writer.write("l", &[epoch(1, &["1,2"])]).unwrap();
        crash(&sink, writer);
        grow(&sink, "3,");
        sink.open().unwrap();
        assert_eq!(held(&sink), "a,b\n1,2\n");
    }

    #[test]
    fn a_crash_before_the_first_epoch_does_not_make_the_file_foreign() {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(&dir);
        crash(&sink, sink.open().unwrap());
        std::fs::write(&sink.path, "a,b\n1").unwrap();
        let mut writer = sink.open().unwrap();
        assert_eq!(writer.progress(), None);
        writer.write("l", &[epoch(1, &["1,2"])]).unwrap();
        assert_eq!(held(&sink), "a,b\n1,2\n");
    }

    #[test]
    fn a_file_that_is_not_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let sink = FileSink::new(dir.path().join("notes.txt"), None);
        std::fs::write(&sink.path, "mine").unwrap();
        assert_eq!(refusal(&sink).code, "file.foreign");
        assert_eq!(held(&sink), "mine");
    }

    #[test]
    fn a_file_that_lost_bytes_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(&dir);
        sink.open().unwrap().write("l", &[epoch(1, &["1,2"])]).unwrap();
        std::fs::write(&sink.path, "a,b\n").unwrap();
        assert_eq!(refusal(&sink).code, "file.truncated");
    }

    #[test]
    fn a_second_writer_is_locked_out() {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(&dir);
        let writer = sink.open().unwrap();
        let failure = refusal(&sink);
        assert_eq!(failure.code, "file.locked");
        assert!(failure.message.contains("another sink of this process"), "{failure}");
        drop(writer);
        sink.open().unwrap();
    }

    #[test]
    fn another_lineage_is_reported_and_a_new_one_taken_on() {
        let dir = tempfile::tempdir().unwrap();
        let sink = FileSink::new(dir.path().join("rows.txt"), None);
        sink.open().unwrap().write("old", &[epoch(7, &["a"])]).unwrap();
        let mut writer = sink.open().unwrap();
        assert_eq!(writer.progress(), progress("old", 7));
        writer.write("new", &[epoch(1, &["b"])]).unwrap();
        assert_eq!(writer.progress(), progress("new", 1));
        assert_eq!(held(&sink), "a\nb\n");
    }

    #[test]
    fn a_failed_write_is_cut_back_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let sink = FileSink::new(dir.path().join("rows.txt"), None);
        let mut writer = FileWriter::open(&sink).unwrap();
        writer.write("l", &[epoch(1, &["a"])]).unwrap();
        // The sidecar cannot be replaced while a folder stands in its temporary's place.
        let blocker = dir.path().join("rows.txt.runner.tmp");
        std::fs::create_dir(&blocker).unwrap();
        let failure = writer.write("l", &[epoch(2, &["b, and more"])]).unwrap_err();
        assert!(failure.retry && failure.code == "file.sidecar", "{failure}");
        assert_eq!(writer.progress(), progress("l", 1));
        std::fs::remove_dir(&blocker).unwrap();
        writer.write("l", &[epoch(2, &["b"])]).unwrap();
        assert_eq!(held(&sink), "a\nb\n");
    }
}
