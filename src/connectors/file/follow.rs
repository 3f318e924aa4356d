//! A file that grows: its lines so far, and those that come (`file: {path, follow: true}`).
//! Guarantee: read again from any position, as long as what was read stays as it was.
//!
//! A line ends with `\n`, `\r\n` or `\r`; one without an end is held back until its end is written. A file that is not
//! there yet is waited for. Another file in the place of the one that is read counts when that one is read to its
//! end and nothing more comes to it for two seconds.
//!
//! What stands right before the place ([`Tail`]) tells a file that only grew from one that was cut, or is another one. Where
//! a record may come again ([`Wanted::repeats`]) such a file is read from its beginning; elsewhere one that is shorter than
//! what was read is waited for, and other text ends the run: what a replay would need of it is gone. What is read again
//! and is not all there fails, to be tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::source::{PARTITION, Place, changed};
use super::tail::{Tail, still_has};
use super::trouble;
use crate::connectors::{
    Fetched, Gone, Input, Known, PartitionStart, PartitionStatus, Payload, Reader, Source, Wanted,
};
use crate::data::{Partition, Position, RawBatchBuilder, SourceIndex};
use crate::report::Failure;
use crate::time::Millis;

/// A poll reads about as many bytes, and more only for a line that is longer.
const BATCH_BYTES: usize = 1 << 20;
/// Nothing sensible is longer; without a bound a file without line ends would fill the memory.
const LINE_MAX: usize = 64 << 20;
/// How often it is looked whether the file is still the one that is open; and so long an editor may take to write one anew,
/// which cuts it first.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// So long nothing has come to a file in whose place there is another one before it is left: whoever writes it is told of the
/// other one only after that is there (logrotate's `create`).
const LEFT_AFTER: Duration = Duration::from_secs(2);

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
            None => Place {
                path: self.path.clone(),
                size: 0,
                mtime: 0,
                byte: 0,
                row: 0,
                tail: None,
                begun: 0,
                begun_row: 0,
            },
        };
        Ok(vec![PartitionStart { partition: PARTITION, start: start.to_position(), end: None, max_timestamp: None }])
    }

    fn gone(&self, known: &BTreeMap<Partition, Known>, repeats: bool) -> Result<BTreeMap<Partition, Gone>, Failure> {
        let Some(known) = known.get(&PARTITION).filter(|_| repeats) else { return Ok(BTreeMap::new()) };
        let (replay, end) = (Place::from_position(&known.replay)?, Place::from_position(&known.end)?);
        let gone = self.gone_between(&replay, &end)?;
        Ok(gone.into_iter().map(|gone| (PARTITION, gone)).collect())
    }

    fn open(&self, source: SourceIndex, share: &[PartitionStart], wanted: Wanted) -> Result<Box<dyn Reader>, Failure> {
        let Some(start) = share.iter().find(|start| start.partition == PARTITION) else {
            return Err(Failure::bug("file.share", "a file reader was opened without its partition"));
        };
        Ok(Box::new(FollowReader::at(source, Place::from_position(&start.start)?, wanted.repeats)))
    }

    fn has_timestamps(&self) -> bool {
        false
    }
}

impl FollowedFile {
    /// Where to go on if what replay would read is not there any more.
    fn gone_between(&self, replay: &Place, end: &Place) -> Result<Option<Gone>, Failure> {
        let unreadable = |error| trouble("file.unreadable", "read", &self.path, error);
        let open = || match std::fs::metadata(&self.path)?.is_file() {
            true => File::open(&self.path),
            false => Err(std::io::Error::other("it is no file")),
        };
        let file = match open() {
            Ok(file) => file,
            // It is waited for, with what is still to be delivered of it.
            Err(error) if replay.row < end.row => return Err(unreadable(error)),
            Err(_) => return Ok(None),
        };
        let has = |place: &Place| still_has(&file, place).map_err(unreadable);
        let knows = |place: &Place| place.byte == 0 || place.tail.is_some();
        let has_end = has(end)?;
        // An earlier version did not keep what tells files apart.
        let is_same = replay.begun == end.begun && has_end && (!knows(replay) || has(replay)?);
        if is_same || !(knows(replay) || knows(end)) {
            return Ok(None);
        }
        let mut again = None;
        let at = if !knows(end) {
            // Somebody set it there.
            end.clone()
        } else if has_end {
            tracing::warn!(
                "`{}` was cut or replaced behind what is to be read again: it is read from its beginning once more",
                self.path.display()
            );
            // Of one that was read on all the same nobody knows how much is what was read before.
            again = Some(if replay.begun == end.begun { 0 } else { (end.row - end.begun_row).max(0) as u64 });
            end.read_again()
        } else {
            tracing::warn!(
                "`{}` is not the file that was read: it was cut or replaced, and is read from its beginning",
                self.path.display()
            );
            end.begun_anew()
        };
        // Replay counts what is missing.
        Ok(Some(Gone { at: at.to_position(), unread: true, again, missing: 0 }))
    }
}

struct FollowReader {
    source: SourceIndex,
    /// Behind the last line that was handed over.
    place: Place,
    /// What stands before it in the file that is open; `None`: it was not looked at yet.
    tail: Option<Tail>,
    /// As of [`Wanted`].
    repeats: bool,
    /// Since when the file has not what was read of it.
    other_since: Option<Instant>,
    open: Option<Open>,
    /// Another file has the name of the one that is open.
    is_replaced: bool,
    /// Since when nothing has come of one that is replaced.
    quiet_since: Option<Instant>,
    /// When it was last looked at the path.
    looked: Option<Instant>,
    /// What was said last of a file that cannot be read on.
    told: Option<String>,
    /// Bytes behind `place` that were read: lines, and the beginning of one.
    buffer: Vec<u8>,
    /// Bytes of the buffer that have no line end in them.
    scanned: usize,
    /// All before `place` are NULs, which are no line: the file was begun anew, and begins with them.
    in_hole: bool,
    at_end: bool,
    /// When lines came last.
    grew: Instant,
    limit: Option<Place>,
    paused: bool,
}

/// What there is behind what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    More,
    Nothing,
    /// So many bytes is the file long, which is less than was read of it.
    Shorter(u64),
    /// It has other text than was read.
    Other,
}

struct Open {
    file: File,
    device: u64,
    inode: u64,
}

impl FollowReader {
    /// Looks for its file at the first poll.
    fn at(source: SourceIndex, place: Place, repeats: bool) -> FollowReader {
        FollowReader {
            source,
            in_hole: place.begun > 0 && place.byte == 0,
            place,
            tail: None,
            repeats,
            other_since: None,
            open: None,
            is_replaced: false,
            quiet_since: None,
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
        !self.paused && !self.is_at_limit()
    }

    fn is_at_limit(&self) -> bool {
        self.limit.as_ref().is_some_and(|limit| self.place.row >= limit.row)
    }

    /// The place as the journal has it, where replay is to end in one that an earlier version kept.
    fn here(&self) -> Position {
        let is_here = |limit: &&Place| Place { tail: None, ..self.place.clone() } == **limit;
        self.limit.as_ref().filter(is_here).unwrap_or(&self.place).to_position()
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
                (self.is_replaced, self.quiet_since) = (false, None);
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
            self.quiet_since = None;
        }
        if !metadata.is_file() {
            self.tell("is no file: waiting for one");
            self.open = None;
            return Ok(false);
        }
        if self.open.is_some() {
            return Ok(true);
        }
        let file = File::open(path).map_err(unreadable)?;
        self.open = Some(Open { file, device: metadata.dev(), inode: metadata.ino() });
        self.is_replaced = false;
        self.forget();
        Ok(true)
    }

    /// Gives up the open file, which was read to its end, for the one that has its name now.
    fn leave(&mut self) {
        if !self.buffer.is_empty() {
            let left = self.buffer.len();
            self.tell(&format!("was replaced, and its last line has no end: these {left} bytes are no row"));
        }
        (self.open, self.looked, self.quiet_since, self.other_since) = (None, None, None, None);
        self.forget();
    }

    /// What was read ahead of the last line belongs to a file that is not read any more.
    fn forget(&mut self) {
        self.buffer.clear();
        (self.scanned, self.tail) = (0, None);
    }

    fn tell(&mut self, what: &str) {
        if self.told.as_deref() != Some(what) {
            tracing::warn!("`{}` {what}", self.place.path.display());
            self.told = Some(what.to_owned());
        }
    }

    /// Reads on behind the buffer.
    fn read_more(&mut self) -> Result<Found, Failure> {
        let Some(open) = &mut self.open else { return Ok(Found::Nothing) };
        if self.buffer.len() >= LINE_MAX {
            let message = format!("a line of `{}` is longer than {} MiB", self.place.path.display(), LINE_MAX >> 20);
            return Err(Failure::user("file.line", message).hint("is it a text file?"));
        }
        let unreadable = |error| trouble("file.unreadable", "read", &self.place.path, error).no_retry();
        let before = self.buffer.len();
        let behind = self.place.byte + before as u64;
        let length = open.file.metadata().map_err(unreadable)?.len();
        if length < behind {
            return Ok(Found::Shorter(length));
        }
        open.file.seek(SeekFrom::Start(behind)).map_err(unreadable)?;
        (&mut open.file).take(BATCH_BYTES as u64).read_to_end(&mut self.buffer).map_err(unreadable)?;
        // Looked at behind the reading: what was read belongs to what stands before it. Also where nothing was: other text may
        // be as long.
        let now = Tail::read(&open.file, behind).map_err(unreadable)?;
        let is_same = match (&now, &self.tail) {
            (None, _) => false,
            (Some(now), Some(tail)) => {
                let mut known = tail.clone();
                known.push(&self.buffer[..before]);
                *now == known
            }
            (Some(now), None) => now.fits(&self.place),
        };
        if !is_same {
            self.buffer.truncate(before);
            return Ok(Found::Other);
        }
        if self.tail.is_none() {
            // From here on a position of an earlier version, or that somebody set, is known as well as one behind a line.
            // While replay is to end at one, it stays as it is.
            if self.limit.is_none() {
                self.place.tail = now.as_ref().and_then(Tail::sum);
            }
            self.tail = now;
        }
        Ok(if self.buffer.len() > before { Found::More } else { Found::Nothing })
    }

    /// Who does not append goes on at the byte that it had reached when its file was cut: the file begins with a hole then,
    /// which reads as NULs. True if there was one.
    fn skip_hole(&mut self) -> bool {
        if !self.in_hole {
            return false;
        }
        let length = self.buffer.iter().take_while(|byte| **byte == 0).count();
        self.in_hole = length == self.buffer.len();
        if let Some(tail) = self.tail.as_mut().filter(|_| length > 0) {
            tail.push(&self.buffer[..length]);
            self.place.tail = tail.sum();
            self.place.byte += length as u64;
            self.buffer.drain(..length);
            self.scanned = 0;
            self.tell(
                "begins with NUL bytes, which are skipped: it was cut, and who writes it went on behind what was there \
                 (a log should be opened to append)",
            );
        }
        length > 0
    }

    /// The file was cut, or is another one: true if it is read on all the same.
    fn begin_anew(&mut self, found: Found) -> Result<bool, Failure> {
        if !self.buffer.is_empty() {
            // The beginning of a line, which nobody was given.
            self.forget();
            return Ok(true);
        }
        let (path, byte) = (self.place.path.display().to_string(), self.place.byte);
        let may_repeat = self.repeats && self.place.tail.is_some();
        if self.limit.is_some() && (may_repeat || matches!(found, Found::Shorter(_))) {
            return Err(self.lacks("file.changed", "was cut or replaced"));
        }
        if self.other_since.get_or_insert_with(Instant::now).elapsed() < LOOK_EVERY {
            return Ok(false);
        }
        match found {
            _ if may_repeat => {
                let anew = self.place.begun_anew();
                self.tell(&format!(
                    "was cut or replaced when {byte} bytes of it had been read, and is read from its beginning (such changes so far: \
                     {}); what had come to it meanwhile and is not in it any more was not read",
                    anew.begun
                ));
                (self.place, self.other_since, self.in_hole) = (anew, None, true);
                self.forget();
                Ok(true)
            }
            Found::Shorter(length) => {
                self.tell(&format!(
                    "has {length} bytes, and {byte} were read of it: waiting for it to be longer than that"
                ));
                Ok(false)
            }
            _ if self.place.tail.is_none() => {
                Err(changed(format!("`{path}` is not the file that was read: byte {byte} stands within a line")))
            }
            _ => Err(changed(format!("`{path}` is not the file that was read: it has other text before byte {byte}"))),
        }
    }

    /// What replay needs is not there, or not yet: the next start looks again.
    fn lacks(&self, code: &'static str, what: &str) -> Failure {
        let message = format!("`{}` {what}, and must be read again", self.place.path.display());
        Failure::outside(code, message).hint("it is waited for; without it, start over with `--fresh`")
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
        while batch.len() < rows_max && !self.is_at_limit() {
            let Some((length, with_end)) = self.line(from) else { break };
            batch.push(self.place.row, None, None, Some(&self.buffer[from..from + length]));
            from += with_end;
            self.place.row += 1;
            self.place.byte += with_end as u64;
        }
        if let Some(tail) = self.tail.as_mut().filter(|_| from > 0) {
            tail.push(&self.buffer[..from]);
            self.place.tail = tail.sum();
        }
        self.buffer.drain(..from);
        self.scanned = 0;
        if batch.is_empty() {
            // A `\r` at the end may be looked at again.
            self.scanned = self.buffer.len().saturating_sub(1);
            return None;
        }
        Some(Fetched { payload: Payload::Raw(batch.finish()), next: self.here() })
    }
}

impl Reader for FollowReader {
    fn poll(&mut self, rows_max: usize, _clock: Millis) -> Result<Vec<Fetched>, Failure> {
        let is_open = self.may_read() && self.look()?;
        if !is_open {
            self.at_end = !self.paused;
            return match self.may_read() && self.limit.is_some() {
                true => Err(self.lacks("file.unreadable", "is not there")),
                false => Ok(Vec::new()),
            };
        }
        loop {
            if let Some(fetched) = self.take_lines(rows_max) {
                self.at_end = false;
                self.grew = Instant::now();
                return Ok(vec![fetched]);
            }
            let found = self.read_more()?;
            if matches!(found, Found::More | Found::Nothing) {
                self.other_since = None;
            }
            if found == Found::More {
                self.quiet_since = None;
                if !self.skip_hole() {
                    self.told = None;
                }
                continue;
            }
            if found != Found::Nothing && !self.is_replaced {
                if self.begin_anew(found)? {
                    continue;
                }
                self.at_end = true;
                return Ok(Vec::new());
            }
            if self.limit.is_some() {
                return Err(self.lacks("file.changed", "has less than was read of it"));
            }
            // Who writes it goes on with the same file for as long as nobody tells it of the other one.
            if self.open.is_some()
                && self.is_replaced
                && self.quiet_since.get_or_insert_with(Instant::now).elapsed() >= LEFT_AFTER
            {
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
        // What replay needs is not at its end before its limit.
        let at_end = self.is_at_limit() || (self.at_end && self.limit.is_none());
        PartitionStatus { at_end, ended: false, behind: None }
    }

    fn position(&self, _partition: Partition) -> Position {
        self.here()
    }

    fn limit(&mut self, _partition: Partition, to: Option<Position>) {
        self.limit = to.and_then(|to| Place::from_position(&to).ok());
    }

    fn pause(&mut self, partitions: &BTreeSet<Partition>) {
        self.paused = partitions.contains(&PARTITION);
        if self.paused {
            self.forget();
        }
    }
}

#[cfg(test)]
mod tests;
