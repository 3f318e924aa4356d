//! Reads one file after another, a record per line.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use super::lines::read_record;
use super::source::{Header, PARTITION, Place, changed};
use super::{Framing, trouble};
use crate::connectors::{Fetched, Input, PartitionStatus, Payload, Reader};
use crate::data::{Offset, Partition, Position, RawBatchBuilder, SourceIndex};
use crate::report::Failure;
use crate::time::Millis;

/// A poll ends early when it has this many bytes.
const BATCH_BYTES: u64 = 1 << 20;
const BUFFER_BYTES: usize = 256 << 10;
/// What gzip files begin with.
const GZIP: &[u8] = &[0x1f, 0x8b];

pub(super) struct FileReader {
    source: SourceIndex,
    framing: Framing,
    header: Option<Header>,
    place: Place,
    /// Behind the last record that was handed over: `place` may be in a later file that has none.
    delivered: Place,
    /// The file of `place`, once it is opened; it stands at `place.byte`.
    file: Option<BufReader<File>>,
    /// Files behind that of `place`.
    later: VecDeque<PathBuf>,
    limit: Option<Offset>,
    paused: bool,
    ended: bool,
    record: Vec<u8>,
}

impl FileReader {
    /// A reader at `place`; `files` are those of the source, in order.
    pub fn open(
        source: SourceIndex,
        framing: Framing,
        header: Option<Header>,
        files: Vec<PathBuf>,
        place: Place,
    ) -> Result<Self, Failure> {
        let later = files.into_iter().filter(|path| *path > place.path).collect();
        let mut reader = FileReader {
            source,
            framing,
            header,
            delivered: place.clone(),
            place,
            file: None,
            later,
            limit: None,
            paused: false,
            ended: false,
            record: Vec::new(),
        };
        reader.open_file()?;
        Ok(reader)
    }

    fn open_file(&mut self) -> Result<(), Failure> {
        let path = &self.place.path;
        let unreadable = |error| trouble("file.unreadable", "read", path, error).no_retry();
        let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(unreadable)?);
        if std::io::BufRead::fill_buf(&mut file).map_err(unreadable)?.starts_with(GZIP) {
            let message = format!("`{}` is compressed; compressed files come in a later release", path.display());
            return Err(Failure::user("file.compressed", message).hint("decompress it first"));
        }
        file.seek(SeekFrom::Start(self.place.byte)).map_err(unreadable)?;
        self.file = Some(file);
        Ok(())
    }

    /// Goes to the next file; false if there is none.
    fn next_file(&mut self) -> Result<bool, Failure> {
        let Some(path) = self.later.pop_front() else {
            self.ended = true;
            return Ok(false);
        };
        self.place = Place::start_of(&path, self.place.row)?;
        self.open_file()?;
        Ok(true)
    }

    /// Reads the next record of this file into `record`; false at its end.
    fn next_record(&mut self) -> Result<bool, Failure> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let unreadable = |error| trouble("file.unreadable", "read", &self.place.path, error).no_retry();
        let mut consumed = 0;
        if self.place.byte == 0 && self.framing.has_header() {
            match read_record(file, self.framing, true, &mut self.record).map_err(unreadable)? {
                Some(length) => {
                    self.header.iter().try_for_each(|header| header.check(&self.record, &self.place.path))?;
                    consumed += length;
                }
                None => return Ok(false),
            }
        }
        let is_start = self.place.byte + consumed == 0;
        match read_record(file, self.framing, is_start, &mut self.record).map_err(unreadable)? {
            Some(length) => consumed += length,
            None => return Ok(false),
        }
        self.place.byte += consumed;
        self.place.row += 1;
        if self.place.byte > self.place.size {
            return Err(changed(format!("`{}` has grown while it was read", self.place.path.display())));
        }
        Ok(true)
    }

    fn may_read(&self) -> bool {
        !self.paused && self.has_more()
    }

    fn has_more(&self) -> bool {
        !self.ended && self.limit.is_none_or(|limit| self.place.row < limit)
    }

    /// Up to `rows_max` records of this file.
    fn fetch(&mut self, rows_max: usize) -> Result<Option<Fetched>, Failure> {
        let topic = Arc::from(self.place.path.to_string_lossy());
        let mut batch = RawBatchBuilder::new(self.source, topic, PARTITION);
        let start = self.place.byte;
        while batch.len() < rows_max && self.may_read() && self.place.byte - start < BATCH_BYTES {
            let offset = self.place.row;
            if !self.next_record()? {
                self.finish_file()?;
                break;
            }
            batch.push(offset, None, None, Some(&self.record));
        }
        if batch.is_empty() {
            return Ok(None);
        }
        self.delivered = self.place.clone();
        Ok(Some(Fetched { payload: Payload::Raw(batch.finish()), next: self.delivered.to_position() }))
    }

    /// The file was read to its end: it must be as long as it was when it was opened.
    fn finish_file(&mut self) -> Result<(), Failure> {
        self.place.check_unchanged()?;
        self.file = None;
        Ok(())
    }
}

impl Reader for FileReader {
    fn poll(&mut self, rows_max: usize, _clock: Millis) -> Result<Vec<Fetched>, Failure> {
        while self.may_read() {
            if self.file.is_none() && !self.next_file()? {
                break;
            }
            if let Some(fetched) = self.fetch(rows_max)? {
                return Ok(vec![fetched]);
            }
        }
        Ok(Vec::new())
    }

    fn awaits(&mut self) -> Input {
        if self.may_read() { Input::Ready } else { Input::NEVER }
    }

    fn status(&self, _partition: Partition) -> PartitionStatus {
        PartitionStatus { at_end: !self.has_more(), ended: self.ended, behind: None }
    }

    fn position(&self, _partition: Partition) -> Position {
        self.delivered.to_position()
    }

    fn limit(&mut self, _partition: Partition, to: Option<Position>) {
        // A position that is none of ours limits nothing; `open` has refused such a plan already.
        self.limit = to.and_then(|to| Place::from_position(&to).ok()).map(|place| place.row);
    }

    fn pause(&mut self, partitions: &BTreeSet<Partition>) {
        self.paused = partitions.contains(&PARTITION);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::super::FileSource;
    use super::*;
    use crate::connectors::{PartitionStart, Source, Wanted};
    use crate::formats::CsvOptions;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(dir.path().join(name), text).unwrap());
        dir
    }

    fn source(dir: &Path, pattern: &str, framing: Framing) -> FileSource {
        FileSource::new(dir.join(pattern).to_str().unwrap(), framing)
    }

    fn open(source: &FileSource, known: Option<Position>) -> Result<Box<dyn Reader>, Failure> {
        let known: BTreeMap<Partition, Position> = known.into_iter().map(|position| (PARTITION, position)).collect();
        let share: Vec<PartitionStart> = source.discover(&known)?;
        source.open(0, &share, Wanted::default())
    }

    /// (file, offset, text) of each record of one poll.
    fn poll(reader: &mut dyn Reader, rows_max: usize) -> Vec<(String, Offset, String)> {
        let fetched = reader.poll(rows_max, 0).unwrap();
        let mut records = Vec::new();
        for fetched in fetched {
            let Payload::Raw(raw) = fetched.payload else { panic!("files are not typed") };
            assert_eq!(fetched.next, reader.position(PARTITION));
            let file = Path::new(&*raw.topic).file_name().unwrap().to_str().unwrap().to_owned();
            for (row, offset) in raw.offsets.iter().enumerate() {
                records.push((file.clone(), *offset, String::from_utf8(raw.values.value(row).to_vec()).unwrap()));
            }
        }
        records
    }

    fn texts(reader: &mut dyn Reader) -> Vec<String> {
        let mut texts = Vec::new();
        while !reader.status(PARTITION).ended {
            texts.extend(poll(reader, 2).into_iter().map(|(_, _, text)| text));
        }
        texts
    }

    fn record(file: &str, offset: Offset, text: &str) -> (String, Offset, String) {
        (file.into(), offset, text.into())
    }

    #[test]
    fn files_are_one_partition_in_the_order_of_their_paths() {
        let dir = folder(&[("b.csv", "h\n3\n"), ("a.csv", "h\r\n1\r\n2\r\n"), ("c.csv", ""), ("d.txt", "no")]);
        let mut reader = open(&source(dir.path(), "*.csv", Framing::Csv { header: true }), None).unwrap();
        assert_eq!(poll(&mut *reader, 10), [record("a.csv", 0, "1"), record("a.csv", 1, "2")]);
        assert_eq!(poll(&mut *reader, 10), [record("b.csv", 2, "3")]);
        assert!(!reader.status(PARTITION).ended);
        assert_eq!(poll(&mut *reader, 10), []);
        assert!(reader.status(PARTITION).ended && reader.status(PARTITION).at_end);
    }

    #[test]
    fn a_header_that_names_other_columns_stops_the_reader() {
        let dir = folder(&[("a.csv", "a,\"b\"\n1,2\n"), ("b.csv", "b,a\n3,4\n")]);
        let header = Header { columns: vec!["a".into(), "b".into()], options: CsvOptions::default() };
        let source = source(dir.path(), "*.csv", Framing::Csv { header: true }).with_header(Some(header));
        let mut reader = open(&source, None).unwrap();
        assert_eq!(poll(&mut *reader, 10), [record("a.csv", 0, "1,2")]);
        let failure = reader.poll(10, 0).unwrap_err();
        assert_eq!(failure.code, "file.header");
        assert!(failure.message.ends_with("b.csv` names `b, a`, but the columns are `a, b`"), "{failure}");
    }

    #[test]
    fn reading_goes_on_from_any_position() {
        let dir = folder(&[("a.json", "1\n\n2\n"), ("b.json", "\n3\n4")]);
        let source = source(dir.path(), "?.json", Framing::Json);
        let mut reader = open(&source, None).unwrap();
        let mut positions = vec![reader.position(PARTITION)];
        while !poll(&mut *reader, 1).is_empty() {
            positions.push(reader.position(PARTITION));
        }
        assert_eq!(positions.len(), 5);
        for (row, position) in positions.into_iter().enumerate() {
            let rest = texts(&mut *open(&source, Some(position)).unwrap());
            assert_eq!(rest, ["1", "2", "3", "4"][row..], "from row {row}");
        }
    }

    #[test]
    fn replay_stops_at_its_limit() {
        let dir = folder(&[("a.json", "1\n2\n"), ("b.json", "3\n4\n")]);
        let source = source(dir.path(), "*", Framing::Json);
        let mut reader = open(&source, None).unwrap();
        poll(&mut *reader, 10);
        poll(&mut *reader, 1);
        let to = reader.position(PARTITION);
        let mut reader = open(&source, None).unwrap();
        reader.limit(PARTITION, Some(to.clone()));
        assert_eq!(poll(&mut *reader, 10).len() + poll(&mut *reader, 10).len(), 3);
        assert_eq!(poll(&mut *reader, 10), []);
        assert!(reader.status(PARTITION).at_end && !reader.status(PARTITION).ended);
        assert_eq!(reader.position(PARTITION), to);
        reader.limit(PARTITION, None);
        assert_eq!(texts(&mut *reader), ["4"]);
    }

    #[test]
    fn a_file_that_is_not_what_it_was_stops_the_start() {
        let dir = folder(&[("a.json", "1\n2\n")]);
        let source = source(dir.path(), "a.json", Framing::Json);
        let mut reader = open(&source, None).unwrap();
        poll(&mut *reader, 1);
        let position = reader.position(PARTITION);
        std::fs::write(dir.path().join("a.json"), "1\n2\n3\n").unwrap();
        let failure = open(&source, Some(position.clone())).err().unwrap();
        assert_eq!(failure.code, "file.changed");
        assert!(failure.message.ends_with("it had 4 bytes and now has 6"), "{failure}");
        // The reader that has it open finds out at its end.
        let mut read = || reader.poll(10, 0).map(|fetched| fetched.len());
        assert_eq!(read().and_then(|_| read()).unwrap_err().code, "file.changed");
        std::fs::remove_file(dir.path().join("a.json")).unwrap();
        assert!(open(&source, Some(position)).err().unwrap().message.contains("is gone"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = folder(&[("a.json.gz", "\u{1f}")]);
        let missing = open(&source(dir.path(), "nothing*.json", Framing::Json), None).err().unwrap();
        assert!(missing.code == "file.not_found" && missing.message.contains("nothing*.json"), "{missing}");
        std::fs::write(dir.path().join("a.json.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
        let compressed = open(&source(dir.path(), "*.gz", Framing::Json), None).err().unwrap();
        assert_eq!(compressed.code, "file.compressed");
    }
}
