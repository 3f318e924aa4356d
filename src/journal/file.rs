//! The journal of a pipeline without a Kafka sink: an fsynced file in its state directory.
//!
//! `journal.jsonl` has one line per append: the CRC-32 of what follows (8 hex digits), a space, and
//! the record as JSON; an append of several records is one line too, a JSON list, so that they are
//! there together or not at all. A line is durable before `append` returns, and thus before any
//! sink writes (I9). The file `lock` beside it is locked as long as the journal is open (I15).
//!
//! A last line that is incomplete was never durable: it is cut off. Anything wrong before it is
//! damage, and stops the start. A file that somebody removed, or put another in the place of, would take what is
//! written as if it were there: whoever writes sees to it that its file still has its name (I12).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Appended, Journal, Record, SinkRows, Watch, gone, host_name};
use crate::data::Epoch;
use crate::faults;
use crate::report::Failure;

/// Length of the checksum in front of a line, in hex digits.
const CHECKSUM_LENGTH: usize = 8;

/// A [`Journal`] in a directory.
#[derive(Debug)]
pub struct FileJournal {
    dir: PathBuf,
    lock: Option<File>,
    log: Option<Log>,
    /// The file that has the journal's name, by those who look after it.
    place: Place,
}

/// Which file has the journal's name: its device and its number there.
#[derive(Debug, Clone)]
struct Place {
    path: PathBuf,
    /// `None`: the journal was not acquired yet.
    id: Arc<Mutex<Option<(u64, u64)>>>,
}

/// The file, while we own it.
#[derive(Debug)]
struct Log {
    file: File,
    /// Bytes that are durable. What is behind them is a failed append's, and is cut off.
    length: u64,
}

impl FileJournal {
    /// A journal in `dir`, which need not be there yet. Touches nothing before `acquire`.
    pub fn new(dir: PathBuf) -> Self {
        let place = Place { path: dir.join("journal.jsonl"), id: Arc::default() };
        FileJournal { dir, lock: None, log: None, place }
    }

    fn path(&self) -> &Path {
        &self.place.path
    }

    fn trouble(&self, what: &str, error: std::io::Error) -> Failure {
        Failure::outside("journal.file", format!("cannot {what} the journal `{}`", self.path().display()))
            .because(error)
    }

    /// Makes the directory and takes its lock, unless it is ours already.
    fn lock(&mut self) -> Result<(), Failure> {
        if self.lock.is_none() {
            std::fs::create_dir_all(&self.dir).map_err(|error| self.trouble("make the directory of", error))?;
            self.lock = Some(take_lock(&self.dir)?);
        }
        Ok(())
    }

    fn open_log(&self) -> Result<(Log, Vec<Record>), Failure> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(self.path())
            .map_err(|error| self.trouble("open", error))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| self.trouble("read", error))?;
        let (lines, length) = read_lines(&bytes).map_err(|error| error.into_failure(self.path()))?;
        let mut log = Log { file, length };
        let repaired = log.cut_back().and_then(|()| sync_dir(&self.dir));
        repaired.and_then(|()| self.place.is(&log.file)).map_err(|error| self.trouble("repair", error))?;
        Ok((log, lines.into_iter().flatten().collect()))
    }

    /// Puts a file with these lines in the journal's place.
    fn replace(&self, lines: &[Vec<Record>]) -> Result<Log, std::io::Error> {
        let temporary = self.dir.join("journal.jsonl.tmp");
        // Readable too: the next trim reads it through this handle.
        let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&temporary)?;
        let text: Vec<u8> = lines.iter().flat_map(|records| line(records)).collect();
        file.write_all(&text)?;
        file.sync_all()?;
        self.place.moves(&file, || std::fs::rename(&temporary, self.path()))?;
        sync_dir(&self.dir)?;
        Ok(Log { file, length: text.len() as u64 })
    }
}

impl Journal for FileJournal {
    fn acquire(&mut self) -> Result<Vec<Record>, Failure> {
        self.log = None;
        self.lock()?;
        let (log, records) = self.open_log()?;
        self.log = Some(log);
        Ok(records)
    }

    fn read(&mut self) -> Result<Vec<Record>, Failure> {
        let bytes = match std::fs::read(self.path()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.trouble("read", error)),
        };
        let (lines, _) = read_lines(&bytes).map_err(|error| error.into_failure(self.path()))?;
        Ok(lines.into_iter().flatten().collect())
    }

    fn append(&mut self, records: &[Record], outputs: &[SinkRows]) -> Result<Appended, Failure> {
        if outputs.iter().any(|output| !output.rows.is_empty()) {
            return Err(Failure::bug("journal.outputs", "a file journal was given rows of a sink"));
        }
        let log = self.log.as_mut().ok_or_else(not_acquired)?;
        match self.place.still_there() {
            Ok(true) => {}
            Ok(false) => return Err(gone(&self.describe())),
            Err(error) => return Ok(Appended::Aborted(self.trouble("look for", error))),
        }
        match log.append(&line(records)) {
            Ok(()) => Ok(Appended::Committed),
            Err(error) => {
                let cut_back = log.cut_back();
                let failure = self.trouble("write", error);
                if cut_back.is_ok() {
                    return Ok(Appended::Aborted(failure));
                }
                self.log = None;
                Ok(Appended::Unknown(failure))
            }
        }
    }

    fn trim(&mut self, epoch: Epoch) -> Result<(), Failure> {
        let log = self.log.as_mut().ok_or_else(not_acquired)?;
        // What takes its place would bring back what somebody removed.
        self.place.clone().look()?;
        let mut bytes = Vec::new();
        let read = log.file.seek(SeekFrom::Start(0)).and_then(|_| log.file.read_to_end(&mut bytes));
        read.map_err(|error| self.trouble("read", error))?;
        let (lines, _) = read_lines(&bytes).map_err(|error| error.into_failure(self.path()))?;
        let count = lines.iter().flatten().count();
        let kept = kept_after_trim(lines, epoch);
        if kept.iter().flatten().count() == count {
            return Ok(());
        }
        // A rename that failed half-way leaves the old file or the new one: both are good journals, but
        // only reading again tells which.
        self.log = None;
        match self.replace(&kept) {
            Ok(log) => self.log = Some(log),
            Err(error) => {
                self.log = Some(self.open_log()?.0);
                return Err(self.trouble("trim", error));
            }
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Failure> {
        self.lock()?;
        self.log = None;
        match std::fs::remove_file(self.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.trouble("remove", error)),
            _ => sync_dir(&self.dir).map_err(|error| self.trouble("remove", error)),
        }
    }

    fn watch(&self) -> Option<Box<dyn Watch>> {
        Some(Box::new(self.place.clone()))
    }

    fn describe(&self) -> String {
        self.path().display().to_string()
    }
}

impl Place {
    /// From now on it is this file's.
    fn is(&self, file: &File) -> std::io::Result<()> {
        self.moves(file, || Ok(()))
    }

    /// The same of a file that gets the name by this act. Nobody looks in between.
    fn moves(&self, file: &File, act: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
        let mut id = self.id.lock().unwrap_or_else(PoisonError::into_inner);
        act()?;
        *id = Some(id_of(&file.metadata()?));
        Ok(())
    }

    fn still_there(&self) -> std::io::Result<bool> {
        let id = self.id.lock().unwrap_or_else(PoisonError::into_inner);
        match std::fs::metadata(&self.path) {
            Ok(found) => Ok(id.is_none_or(|id| id == id_of(&found))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(id.is_none()),
            Err(error) => Err(error),
        }
    }
}

impl Watch for Place {
    fn look(&mut self) -> Result<(), Failure> {
        let path = self.path.display();
        match self.still_there() {
            Ok(true) => Ok(()),
            Ok(false) => Err(gone(&path.to_string())),
            Err(error) => {
                Err(Failure::outside("journal.file", format!("cannot look for the journal `{path}`")).because(error))
            }
        }
    }
}

fn id_of(file: &std::fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

impl Log {
    fn append(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(self.length))?;
        faults::point("journal.append");
        self.file.write_all(line)?;
        self.file.sync_data()?;
        faults::point("journal.appended");
        self.length += line.len() as u64;
        Ok(())
    }

    /// Removes what a failed append (ours, or a crashed process's) left behind.
    fn cut_back(&mut self) -> std::io::Result<()> {
        if self.file.metadata()?.len() != self.length {
            self.file.set_len(self.length)?;
            self.file.sync_all()?;
        }
        Ok(())
    }
}

fn not_acquired() -> Failure {
    Failure::bug("journal.not_acquired", "the journal was used before it was acquired")
}

fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Locks the directory for this process; the file says who has it.
fn take_lock(dir: &Path) -> Result<File, Failure> {
    let path = dir.join("lock");
    let trouble =
        |error| Failure::outside("state.lock", format!("cannot lock the state `{}`", dir.display())).because(error);
    let mut file =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(trouble)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(locked_by_another(dir, &mut file)),
        Err(TryLockError::Error(error)) => return Err(trouble(error)),
    }
    let owner = format!("{} {}\n", host_name(), std::process::id());
    file.set_len(0).and_then(|()| file.write_all(owner.as_bytes())).map_err(trouble)?;
    Ok(file)
}

fn locked_by_another(dir: &Path, lock: &mut File) -> Failure {
    let mut owner = String::new();
    // Without a readable owner the refusal stands all the same.
    let _ = lock.read_to_string(&mut owner);
    let by = match owner.trim().split_once(' ') {
        Some((host, pid)) => format!("process {pid} on `{host}`"),
        None => "another process".to_owned(),
    };
    Failure::user("state.locked", format!("the state `{}` is in use by {by}", dir.display()))
        .hint("this pipeline runs already: stop it first, or give one of the two another name")
}

/// The line of one append.
fn line(records: &[Record]) -> Vec<u8> {
    let json = match records {
        [record] => serde_json::to_string(record),
        records => serde_json::to_string(records),
    }
    .expect("records have string keys and finite numbers");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes()
}

/// What is wrong with a line.
#[derive(Debug)]
enum Damage {
    /// Checksum and text do not fit.
    Corrupt { line: usize },
    /// A newer build wrote it.
    Newer { line: usize },
}

impl Damage {
    fn into_failure(self, path: &Path) -> Failure {
        let path = path.display();
        match self {
            Damage::Corrupt { line } => {
                Failure::user("journal.corrupt", format!("line {line} of the journal `{path}` is damaged"))
                    .hint("restore the file from a backup, or start anew with `runner reset` and fresh sinks")
            }
            Damage::Newer { line } => Failure::user(
                "journal.newer",
                format!("line {line} of the journal `{path}` was written by a newer version of runner"),
            )
            .hint("run this pipeline with that version, or start anew with `runner reset` and fresh sinks"),
        }
    }
}

/// The appends in the file, and the length of the part that is whole.
fn read_lines(bytes: &[u8]) -> Result<(Vec<Vec<Record>>, u64), Damage> {
    let mut lines = Vec::new();
    let mut length = 0;
    for (index, text) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let is_last = length + text.len() == bytes.len();
        match checked_json(text) {
            Some(json) => lines.push(parse(json, index + 1)?),
            None if is_last => break,
            None => return Err(Damage::Corrupt { line: index + 1 }),
        }
        length += text.len();
    }
    Ok((lines, length as u64))
}

/// The JSON of a line, if the line is complete.
fn checked_json(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (checksum, rest) = line.split_at_checked(CHECKSUM_LENGTH)?;
    let json = rest.strip_prefix(b" ")?;
    let checksum = u32::from_str_radix(std::str::from_utf8(checksum).ok()?, 16).ok()?;
    (crc32fast::hash(json) == checksum).then_some(json)
}

fn parse(json: &[u8], line: usize) -> Result<Vec<Record>, Damage> {
    let records: Vec<Record> = match json.first() {
        Some(b'[') => serde_json::from_slice(json),
        _ => serde_json::from_slice(json).map(|record| vec![record]),
    }
    // Its checksum is right, so somebody meant it to be like this.
    .map_err(|_| Damage::Newer { line })?;
    if records.iter().any(Record::is_newer) { Err(Damage::Newer { line }) } else { Ok(records) }
}

/// What recovery still needs once epochs below `epoch` are no longer replayed: those epochs and
/// the one before them, whose watermark is in force there (the newest in any case); the plans they
/// ran under (I14); the newest owner, and the newest progress of each sink.
fn kept_after_trim(lines: Vec<Vec<Record>>, epoch: Epoch) -> Vec<Vec<Record>> {
    let number = |record: &Record| match record {
        Record::Epoch(epoch) => Some(epoch.epoch),
        _ => None,
    };
    let newest = lines.iter().flatten().filter_map(number).max().unwrap_or_default();
    let oldest = epoch.saturating_sub(1).min(newest);
    let is_kept_epoch = |record: &Record| number(record).is_some_and(|epoch| epoch >= oldest);
    let mut seen_owner = false;
    let mut seen_sinks = Vec::new();
    // Backwards: the newest of a kind comes first. A plan counts for all epochs behind it, up to the
    // next plan, so the first one met with no kept epoch before it is the last that is needed.
    let mut epochs_before = lines.iter().flatten().filter(|record| is_kept_epoch(record)).count();
    let mut plan_in_force = false;
    let mut keep = |record: &Record| match record {
        Record::Epoch(_) => {
            let kept = is_kept_epoch(record);
            epochs_before -= usize::from(kept);
            kept
        }
        Record::Plan(_) => {
            let kept = epochs_before > 0 || !plan_in_force;
            plan_in_force |= epochs_before == 0;
            kept
        }
        Record::Owner(_) => !std::mem::replace(&mut seen_owner, true),
        Record::Reached { .. } => true,
        Record::Progress { sink, .. } => {
            let kept = !seen_sinks.contains(sink);
            seen_sinks.push(sink.clone());
            kept
        }
    };
    let mut kept = Vec::new();
    for mut line in lines.into_iter().rev() {
        line.reverse();
        line.retain(&mut keep);
        line.reverse();
        if !line.is_empty() {
            kept.push(line);
        }
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::data::Position;
    use crate::journal::{EpochRecord, LastWindow, Owner, PartitionRecord, PlanRecord, VERSION};
    use crate::time::Watermark;

    fn plan(from_epoch: Epoch) -> Record {
        Record::Plan(PlanRecord {
            version: VERSION,
            lineage: "l".into(),
            namespace: "default".into(),
            pipeline: "p".into(),
            fingerprint: String::new(),
            from_epoch,
            starts: BTreeMap::from([("ratings".into(), BTreeMap::from([(0.into(), Position::offset(7))]))]),
            sinks: Default::default(),
            resolved: serde_json::Value::Null,
            jumps: BTreeMap::new(),
            topic_ids: BTreeMap::new(),
            parts: None,
            told_failed: None,
        })
    }

    fn epoch(epoch: Epoch) -> Record {
        let partition = PartitionRecord {
            from: Position::offset(7),
            to: Position(serde_json::json!({ "path": "a.json", "byte": 12 })),
            read: 5,
            rejected: vec![(8, 9)],
            max_time: Some(1),
            max_timestamp: None,
        };
        Record::Epoch(EpochRecord {
            lineage: "l".into(),
            incarnation: 1,
            epoch,
            partitions: BTreeMap::from([(
                "ratings".into(),
                BTreeMap::from([(0.into(), partition.clone()), ("ratings/11".parse().unwrap(), partition)]),
            )]),
            watermark: Watermark::NONE,
            clock: 0,
            needed: epoch,
            learnt: BTreeMap::from([(3, "\"string\"".into())]),
            last_windows: BTreeMap::from([("per_second".into(), LastWindow { start: 1_000, end: 2_000 })]),
            ended: false,
            continues: None,
            cursor: None,
            failed: None,
        })
    }

    fn owner(incarnation: u64) -> Record {
        Record::Owner(Owner { incarnation, host: "h".into(), pid: 1, instance: "i".into() })
    }

    fn progress(sink: &str, epoch: Epoch) -> Record {
        Record::Progress { sink: sink.into(), epoch }
    }

    fn journal_with(records: &[Record]) -> (tempfile::TempDir, FileJournal) {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = FileJournal::new(dir.path().join("state"));
        journal.acquire().unwrap();
        for record in records {
            assert!(matches!(journal.append(std::slice::from_ref(record), &[]), Ok(Appended::Committed)));
        }
        (dir, journal)
    }

    fn append_bytes(journal: &FileJournal, bytes: &[u8]) {
        OpenOptions::new().append(true).open(journal.path()).unwrap().write_all(bytes).unwrap();
    }

    #[test]
    fn records_come_back_in_order() {
        let records = [owner(1), plan(1), epoch(1), epoch(2)];
        let (_dir, mut journal) = journal_with(&records[..2]);
        journal.append(&records[2..], &[]).unwrap();
        assert_eq!(journal.acquire().unwrap(), records);
    }

    #[test]
    fn what_could_not_be_written_is_not_there() {
        let (_dir, mut journal) = journal_with(&[plan(1)]);
        let read_only = File::open(journal.path()).unwrap();
        let file = std::mem::replace(&mut journal.log.as_mut().unwrap().file, read_only);
        assert!(matches!(journal.append(&[epoch(1)], &[]), Ok(Appended::Aborted(failure)) if failure.retry));
        journal.log.as_mut().unwrap().file = file;
        journal.append(&[epoch(1)], &[]).unwrap();
        assert_eq!(journal.acquire().unwrap(), [plan(1), epoch(1)]);
    }

    #[test]
    fn a_torn_last_line_is_cut_off_wherever_it_was_torn() {
        let (_dir, mut journal) = journal_with(&[plan(1), epoch(1)]);
        let whole = line(&[epoch(2), progress("s", 1)]);
        for length in 0..whole.len() {
            append_bytes(&journal, &whole[..length]);
            assert_eq!(journal.acquire().unwrap(), [plan(1), epoch(1)], "torn after {length} bytes");
        }
        journal.append(&[epoch(2)], &[]).unwrap();
        assert_eq!(journal.acquire().unwrap(), [plan(1), epoch(1), epoch(2)]);
    }

    #[test]
    fn damage_in_the_middle_is_named_by_its_line() {
        let (_dir, mut journal) = journal_with(&[plan(1), epoch(1), epoch(2)]);
        let mut bytes = std::fs::read(journal.path()).unwrap();
        let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 20;
        bytes[second] ^= 1;
        std::fs::write(journal.path(), bytes).unwrap();
        let failure = journal.acquire().unwrap_err();
        assert_eq!(failure.code, "journal.corrupt");
        assert!(failure.message.contains("line 2"), "{failure}");
    }

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let Record::Plan(mut newer) = plan(1) else { unreachable!() };
        newer.version = VERSION + 1;
        let (_dir, mut journal) = journal_with(&[Record::Plan(newer)]);
        assert_eq!(journal.acquire().unwrap_err().code, "journal.newer");

        let (_dir, mut journal) = journal_with(&[plan(1)]);
        let json = r#"{"from_the_future":{}}"#;
        append_bytes(&journal, format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).as_bytes());
        assert_eq!(journal.acquire().unwrap_err().code, "journal.newer");
    }

    #[test]
    fn a_second_start_is_told_who_has_the_state() {
        let (_dir, journal) = journal_with(&[]);
        let failure = FileJournal::new(journal.dir.clone()).acquire().unwrap_err();
        assert_eq!(failure.code, "state.locked");
        assert!(failure.message.contains(&format!("process {} on `{}`", std::process::id(), host_name())), "{failure}");
        let dir = journal.dir.clone();
        drop(journal);
        FileJournal::new(dir).acquire().unwrap();
    }

    #[test]
    fn trimming_keeps_the_epoch_before_and_what_it_ran_under() {
        let (_dir, mut journal) = journal_with(&[
            owner(1),
            plan(1),
            epoch(1),
            progress("s", 1),
            plan(2),
            epoch(2),
            epoch(3),
            progress("s", 3),
            owner(2),
            plan(4),
            epoch(4),
        ]);
        journal.trim(4).unwrap();
        let kept = [plan(2), epoch(3), progress("s", 3), owner(2), plan(4), epoch(4)];
        assert_eq!(journal.acquire().unwrap(), kept);
        journal.trim(4).unwrap();
        journal.append(&[epoch(5)], &[]).unwrap();
        journal.trim(9).unwrap();
        assert_eq!(journal.acquire().unwrap(), [progress("s", 3), owner(2), plan(4), epoch(5)]);
    }

    #[test]
    fn a_running_journal_is_trimmed_again_and_again() {
        let (_dir, mut journal) = journal_with(&[plan(1), epoch(1), epoch(2), epoch(3)]);
        journal.trim(3).unwrap();
        journal.append(&[epoch(4)], &[]).unwrap();
        journal.trim(4).unwrap();
        journal.append(&[epoch(5)], &[]).unwrap();
        assert_eq!(journal.acquire().unwrap(), [plan(1), epoch(3), epoch(4), epoch(5)]);
    }

    #[test]
    fn a_journal_that_cannot_be_trimmed_can_still_be_written() {
        let (_dir, mut journal) = journal_with(&[plan(1), epoch(1), epoch(2), epoch(3)]);
        // A folder stands in the place of the file that would replace it.
        std::fs::create_dir(journal.dir.join("journal.jsonl.tmp")).unwrap();
        let failure = journal.trim(3).unwrap_err();
        assert!(failure.retry && failure.code == "journal.file", "{failure}");
        assert!(matches!(journal.append(&[epoch(4)], &[]), Ok(Appended::Committed)));
        assert_eq!(journal.acquire().unwrap(), [plan(1), epoch(1), epoch(2), epoch(3), epoch(4)]);
    }

    #[test]
    fn a_cleared_journal_is_empty_and_can_be_written_again() {
        let (_dir, mut journal) = journal_with(&[plan(1), epoch(1)]);
        journal.clear().unwrap();
        // Nothing is written before it is acquired again.
        assert_eq!(journal.append(&[epoch(1)], &[]).unwrap_err().code, "journal.not_acquired");
        assert_eq!(journal.acquire().unwrap(), []);
        journal.append(&[plan(1)], &[]).unwrap();
        assert_eq!(journal.acquire().unwrap(), [plan(1)]);
    }

    #[test]
    fn i12_a_file_that_lost_its_name_is_not_written_and_not_brought_back() {
        let others: [&dyn Fn(&Path); 3] = [
            &|path| std::fs::remove_file(path).unwrap(),
            // The same bytes, in another file.
            &|path| {
                std::fs::copy(path, path.with_extension("copy")).unwrap();
                std::fs::rename(path.with_extension("copy"), path).unwrap();
            },
            &|path| std::fs::remove_dir_all(path.parent().unwrap()).unwrap(),
        ];
        for take_away in others {
            let (_dir, mut journal) = journal_with(&[plan(1), epoch(1), epoch(2), epoch(3)]);
            // Its own trims put another file in its place, too.
            journal.trim(2).unwrap();
            let mut watch = journal.watch().unwrap();
            watch.look().unwrap();
            let path = journal.path().to_owned();
            take_away(&path);
            let there = std::fs::read(&path).ok();
            assert_eq!(watch.look().unwrap_err().code, "refused.journal_gone");
            assert_eq!(journal.append(&[epoch(4)], &[]).unwrap_err().code, "refused.journal_gone");
            assert_eq!(journal.trim(3).unwrap_err().code, "refused.journal_gone");
            assert_eq!(std::fs::read(&path).ok(), there);
        }
    }

    #[test]
    fn rows_of_a_sink_are_not_for_a_file_journal() {
        let (_dir, mut journal) = journal_with(&[]);
        let rows = vec![SinkRows { sink: 0, rows: vec![Default::default()] }];
        assert_eq!(journal.append(&[epoch(1)], &rows).unwrap_err().code, "journal.outputs");
    }
}
