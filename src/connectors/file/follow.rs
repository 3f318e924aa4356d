//! A file that grows: its lines so far, and those that come (`file: {path, follow: true}`).
//! Guarantee: read again from any position, as long as what was read stays as it was.
//!
//! A line ends with `\n`, `\r\n` or `\r`; one without an end is held back until its end is written. A file that is not
//! there yet is waited for, and so is one that is shorter than what was read of it. Another file in the place of the one that
//! is read counts when that one is read to its end, and goes on at the same byte, which must stand behind the end of a line: else it is another file for sure,
//! and the run ends rather than read half a line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::source::{PARTITION, Place, changed};
use super::trouble;
use crate::connectors::{Fetched, Input, PartitionStart, PartitionStatus, Payload, Reader, Source, Wanted};
use crate::data::{Offset, Partition, Position, RawBatchBuilder, SourceIndex};
use crate::report::Failure;
use crate::time::Millis;

/// A poll reads about as many bytes, and more only for a line that is longer.
const BATCH_BYTES: usize = 1 << 20;
/// Nothing sensible is longer; without a bound a file without line ends would fill the memory.
const LINE_MAX: usize = 64 << 20;
/// How often it is looked whether the file is still the one that is open.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How soon more lines are seen of a file that grows; of one that stands still, within a tenth of the time for which it has,
/// but within a second. Hundreds of files at which nothing happens cost little so.
const SEEN_WITHIN: Range<Duration> = Duration::from_millis(100)..Duration::from_secs(1);

/// The `file: {path, follow: true}` source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedFile {
    path: PathBuf,
}

impl FollowedFile {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        FollowedFile { path: path.into() }
    }
}

impl Source for FollowedFile {
    fn connector(&self) -> &'static str {
        "file"
    }

    fn discover(&self, known: &BTreeMap<Partition, Position>) -> Result<Vec<PartitionStart>, Failure> {
        let start = match known.get(&PARTITION) {
            Some(position) => Place { path: self.path.clone(), ..Place::from_position(position)? },
            // What it is like, and whether it is there, is nothing that a position depends on.
            None => Place { path: self.path.clone(), size: 0, mtime: 0, byte: 0, row: 0 },
        };
        Ok(vec![PartitionStart { partition: PARTITION, start: start.to_position(), end: None, max_timestamp: None }])
    }

    fn open(&self, source: SourceIndex, share: &[PartitionStart], _wanted: Wanted) -> Result<Box<dyn Reader>, Failure> {
        let Some(start) = share.iter().find(|start| start.partition == PARTITION) else {
            return Err(Failure::bug("file.share", "a file reader was opened without its partition"));
        };
        Ok(Box::new(FollowReader::at(source, Place::from_position(&start.start)?)))
    }

    fn has_timestamps(&self) -> bool {
        false
    }
}

struct FollowReader {
    source: SourceIndex,
    /// Behind the last line that was handed over.
    place: Place,
    open: Option<Open>,
    /// Another file has the name of the one that is open.
    is_replaced: bool,
    /// When it was last looked at the path.
    looked: Option<Instant>,
    /// What was said last of a file that cannot be read on.
    told: Option<String>,
    /// Bytes behind `place` that were read: lines, and the beginning of one.
    buffer: Vec<u8>,
    /// Bytes of the buffer that have no line end in them.
    scanned: usize,
    at_end: bool,
    /// When lines came last.
    grew: Instant,
    limit: Option<Offset>,
    paused: bool,
}

struct Open {
    file: File,
    device: u64,
    inode: u64,
}

impl FollowReader {
    /// Looks for its file at the first poll.
    fn at(source: SourceIndex, place: Place) -> FollowReader {
        FollowReader {
            source,
            place,
            open: None,
            is_replaced: false,
            looked: None,
            told: None,
            buffer: Vec::new(),
            scanned: 0,
            at_end: false,
            grew: Instant::now(),
            limit: None,
            paused: false,
        }
    }

    fn may_read(&self) -> bool {
        !self.paused && self.limit.is_none_or(|limit| self.place.row < limit)
    }

    /// Opens the file, or notices that another one has its name now. False: there is nothing to read.
    fn look(&mut self) -> Result<bool, Failure> {
        if self.looked.is_some_and(|then| then.elapsed() < LOOK_EVERY) {
            return Ok(self.open.is_some());
        }
        self.looked = Some(Instant::now());
        let path = &self.place.path;
        let unreadable = |error| trouble("file.unreadable", "read", path, error).no_retry();
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            // Who has it open reads on what is written to it.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.tell("is not there: waiting for it");
                return Ok(self.open.is_some());
            }
            Err(error) => return Err(unreadable(error)),
        };
        let is_same = |open: &Open| (open.device, open.inode) == (metadata.dev(), metadata.ino());
        if let Some(open) = &self.open {
            self.is_replaced = !is_same(open);
            if self.is_replaced {
                return Ok(true);
            }
        }
        if !metadata.is_file() {
            self.tell("is no file: waiting for one");
            self.open = None;
            return Ok(false);
        }
        if metadata.len() < self.place.byte {
            self.tell(&format!(
                "has {} bytes, and {} were read of it: waiting for it to be longer than that",
                metadata.len(),
                self.place.byte
            ));
            (self.open, self.at_end) = (None, true);
            self.forget();
            return Ok(false);
        }
        if self.open.is_some() {
            return Ok(true);
        }
        let mut file = File::open(path).map_err(unreadable)?;
        self.check_line_start(&mut file)?;
        if std::mem::take(&mut self.is_replaced) {
            self.tell(&format!("was replaced: going on behind the {} bytes that were read", self.place.byte));
        } else {
            self.told = None;
        }
        self.open = Some(Open { file, device: metadata.dev(), inode: metadata.ino() });
        self.forget();
        Ok(true)
    }

    /// Gives up the open file, which was read to its end, for the one that has its name now.
    fn leave(&mut self) {
        if !self.buffer.is_empty() {
            let left = self.buffer.len();
            self.tell(&format!("was replaced, and its last line has no end: these {left} bytes are no row"));
        }
        (self.open, self.looked) = (None, None);
        self.forget();
    }

    /// What was read ahead of the last line belongs to a file that is not read any more.
    fn forget(&mut self) {
        self.buffer.clear();
        self.scanned = 0;
    }

    fn tell(&mut self, what: &str) {
        if self.told.as_deref() != Some(what) {
            tracing::warn!("`{}` {what}", self.place.path.display());
            self.told = Some(what.to_owned());
        }
    }

    /// Stands at the place, which is behind a line's end in every file that only grew.
    fn check_line_start(&self, file: &mut File) -> Result<(), Failure> {
        let path = &self.place.path;
        let unreadable = |error| trouble("file.unreadable", "read", path, error).no_retry();
        if self.place.byte > 0 {
            let mut before = [0];
            file.seek(SeekFrom::Start(self.place.byte - 1)).map_err(unreadable)?;
            file.read_exact(&mut before).map_err(unreadable)?;
            if !matches!(before, [b'\n' | b'\r']) {
                let (path, byte) = (path.display(), self.place.byte);
                return Err(changed(format!(
                    "`{path}` is not the file that was read: byte {byte} stands within a line"
                )));
            }
        }
        Ok(())
    }

    /// Reads on behind the buffer; false at the end of what is there.
    fn read_more(&mut self) -> Result<bool, Failure> {
        let Some(open) = &mut self.open else { return Ok(false) };
        if self.buffer.len() >= LINE_MAX {
            let message = format!("a line of `{}` is longer than {} MiB", self.place.path.display(), LINE_MAX >> 20);
            return Err(Failure::user("file.line", message).hint("is it a text file?"));
        }
        let unreadable = |error| trouble("file.unreadable", "read", &self.place.path, error).no_retry();
        let behind = self.place.byte + self.buffer.len() as u64;
        open.file.seek(SeekFrom::Start(behind)).map_err(unreadable)?;
        let length = (&mut open.file).take(BATCH_BYTES as u64).read_to_end(&mut self.buffer).map_err(unreadable)?;
        Ok(length > 0)
    }

    /// The length of the first line behind `from` in the buffer, without and with its end.
    fn line(&self, from: usize) -> Option<(usize, usize)> {
        let start = from.max(self.scanned);
        let at = start + self.buffer[start..].iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        match (self.buffer[at], self.buffer.get(at + 1)) {
            (b'\n', _) => Some((at - from, at + 1 - from)),
            // Whether a `\n` belongs to it is not known yet.
            (_, None) => None,
            (_, Some(b'\n')) => Some((at - from, at + 2 - from)),
            (_, Some(_)) => Some((at - from, at + 1 - from)),
        }
    }

    /// The whole lines of the buffer.
    fn take_lines(&mut self, rows_max: usize) -> Option<Fetched> {
        let topic = Arc::from(self.place.path.to_string_lossy());
        let mut batch = RawBatchBuilder::new(self.source, topic, PARTITION);
        let mut from = 0;
        while batch.len() < rows_max && self.limit.is_none_or(|limit| self.place.row < limit) {
            let Some((length, with_end)) = self.line(from) else { break };
            batch.push(self.place.row, None, None, Some(&self.buffer[from..from + length]));
            from += with_end;
            self.place.row += 1;
            self.place.byte += with_end as u64;
        }
        self.buffer.drain(..from);
        self.scanned = 0;
        if batch.is_empty() {
            // A `\r` at the end may be looked at again.
            self.scanned = self.buffer.len().saturating_sub(1);
            return None;
        }
        Some(Fetched { payload: Payload::Raw(batch.finish()), next: self.place.to_position() })
    }
}

impl Reader for FollowReader {
    fn poll(&mut self, rows_max: usize, _clock: Millis) -> Result<Vec<Fetched>, Failure> {
        if !self.may_read() || !self.look()? {
            self.at_end = !self.paused;
            return Ok(Vec::new());
        }
        loop {
            if let Some(fetched) = self.take_lines(rows_max) {
                self.at_end = false;
                self.grew = Instant::now();
                return Ok(vec![fetched]);
            }
            if self.read_more()? {
                continue;
            }
            if self.open.is_some() && self.is_replaced {
                self.leave();
                if self.look()? {
                    continue;
                }
            }
            self.at_end = true;
            return Ok(Vec::new());
        }
    }

    /// Whoever writes it tells nobody.
    fn awaits(&mut self) -> Input {
        let still = self.grew.elapsed() / 10;
        Input::Awaited { rings: None, due: Some(Instant::now() + still.clamp(SEEN_WITHIN.start, SEEN_WITHIN.end)) }
    }

    fn status(&self, _partition: Partition) -> PartitionStatus {
        let at_limit = self.limit.is_some_and(|limit| self.place.row >= limit);
        PartitionStatus { at_end: at_limit || self.at_end, ended: false, behind: None }
    }

    fn position(&self, _partition: Partition) -> Position {
        self.place.to_position()
    }

    fn limit(&mut self, _partition: Partition, to: Option<Position>) {
        self.limit = to.and_then(|to| Place::from_position(&to).ok()).map(|place| place.row);
    }

    fn pause(&mut self, partitions: &BTreeSet<Partition>) {
        self.paused = partitions.contains(&PARTITION);
        if self.paused {
            self.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    struct Written {
        dir: tempfile::TempDir,
    }

    impl Written {
        fn new() -> Written {
            Written { dir: tempfile::tempdir().unwrap() }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("log.txt")
        }

        fn append(&self, text: &str) {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn open(&self, known: Option<Position>) -> FollowReader {
            let source = FollowedFile::new(self.path());
            let known = known.into_iter().map(|position| (PARTITION, position)).collect();
            let start = source.discover(&known).unwrap().remove(0).start;
            FollowReader::at(0, Place::from_position(&start).unwrap())
        }
    }

    /// (offset, text) of all lines that are there.
    fn lines(reader: &mut FollowReader) -> Vec<(Offset, String)> {
        // As if it were time to look at the path again.
        reader.looked = None;
        let mut lines = Vec::new();
        loop {
            let fetched = reader.poll(2, 0).unwrap();
            if fetched.is_empty() {
                return lines;
            }
            for fetched in fetched {
                assert_eq!(fetched.next, reader.position(PARTITION));
                let Payload::Raw(raw) = fetched.payload else { panic!("files are not typed") };
                let text = |at: usize| String::from_utf8(raw.values.value(at).to_vec()).unwrap();
                lines.extend(raw.offsets.iter().enumerate().map(|(at, offset)| (*offset, text(at))));
            }
        }
    }

    fn texts(reader: &mut FollowReader) -> Vec<String> {
        lines(reader).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn lines_end_in_three_ways_and_the_last_one_waits_for_its_end() {
        let file = Written::new();
        let mut reader = file.open(None);
        assert_eq!(texts(&mut reader), [""; 0], "a file that is not there is waited for");
        file.append(" a \nb\r\nc\rd\n\nthr\u{e9}");
        assert_eq!(texts(&mut reader), [" a ", "b", "c", "d", ""]);
        assert!(reader.status(PARTITION).at_end && !reader.status(PARTITION).ended);
        file.append("e\r");
        assert_eq!(texts(&mut reader), [""; 0], "a `\\n` may belong to the `\\r`");
        file.append("\nf\n");
        assert_eq!(lines(&mut reader), [(5, "thr\u{e9}e".into()), (6, "f".into())]);
    }

    #[test]
    fn reading_goes_on_from_any_position_and_stops_at_its_limit() {
        let file = Written::new();
        file.append("one\ntw\u{f6}\r\n\nfour\nfi");
        let mut reader = file.open(None);
        let mut positions = vec![reader.position(PARTITION)];
        while !reader.poll(1, 0).unwrap().is_empty() {
            positions.push(reader.position(PARTITION));
        }
        file.append("ve\n");
        let all = ["one", "tw\u{f6}", "", "four", "five"];
        for (row, position) in positions.iter().enumerate() {
            assert_eq!(texts(&mut file.open(Some(position.clone()))), all[row..], "from row {row}");
        }
        let mut reader = file.open(None);
        reader.limit(PARTITION, Some(positions[3].clone()));
        assert_eq!(texts(&mut reader), all[..3]);
        assert!(reader.status(PARTITION).at_end);
        assert_eq!(reader.position(PARTITION), positions[3]);
        reader.limit(PARTITION, None);
        assert_eq!(texts(&mut reader), all[3..]);
    }

    #[test]
    fn a_file_that_shrank_is_waited_for_and_another_one_is_told_apart_where_it_can_be() {
        let file = Written::new();
        file.append("first\nsecond\nthi");
        let mut reader = file.open(None);
        assert_eq!(texts(&mut reader), ["first", "second"]);
        std::fs::write(file.path(), "first\n").unwrap();
        assert_eq!(texts(&mut reader), [""; 0]);
        file.append("second\nthird\n");
        assert_eq!(texts(&mut reader), ["third"]);

        // Another one with the same beginning: an editor saves so.
        std::fs::write(file.path().with_extension("new"), "first\nsecond\nthird\nfourth\n").unwrap();
        std::fs::rename(file.path().with_extension("new"), file.path()).unwrap();
        assert_eq!(texts(&mut reader), ["fourth"]);

        // And one in which the place is within a line.
        std::fs::write(file.path().with_extension("new"), "something else altogether, and more\n").unwrap();
        std::fs::rename(file.path().with_extension("new"), file.path()).unwrap();
        reader.looked = None;
        let failure = reader.poll(10, 0).unwrap_err();
        assert_eq!(failure.code, "file.changed", "{failure}");
    }

    /// Lines that were written between the last poll and the renaming were never read.
    #[test]
    fn a_file_that_is_renamed_away_is_read_to_its_end_first() {
        let file = Written::new();
        let rotated = file.path().with_extension("1");
        file.append("a\n");
        let mut reader = file.open(None);
        assert_eq!(texts(&mut reader), ["a"]);
        file.append("b\nc\ntorn");
        std::fs::rename(file.path(), &rotated).unwrap();
        std::fs::write(file.path(), "x\n").unwrap();
        assert_eq!(lines(&mut reader), [(1, "b".into()), (2, "c".into())]);
        assert!(reader.told.as_ref().is_some_and(|told| told.contains("has 2 bytes, and 6 were read")));
        // The new one is read from the byte at which the old one was left.
        file.append("yyy\nz\n");
        assert_eq!(lines(&mut reader), [(3, "z".into())]);

        // What is in its place is no file at all.
        file.append("last\n");
        std::fs::remove_file(file.path()).unwrap();
        std::fs::create_dir(file.path()).unwrap();
        assert_eq!(lines(&mut reader), [(4, "last".into())]);
        assert!(reader.open.is_none());
    }

    #[test]
    fn a_folder_is_no_file_and_a_file_that_was_removed_is_read_while_it_is_open() {
        let file = Written::new();
        std::fs::create_dir(file.path()).unwrap();
        let mut reader = file.open(None);
        assert_eq!(texts(&mut reader), [""; 0]);
        std::fs::remove_dir(file.path()).unwrap();
        file.append("a\n");
        let mut writer = std::fs::OpenOptions::new().append(true).open(file.path()).unwrap();
        assert_eq!(texts(&mut reader), ["a"]);
        std::fs::remove_file(file.path()).unwrap();
        writer.write_all(b"b\n").unwrap();
        assert_eq!(texts(&mut reader), ["b"]);
    }
}
