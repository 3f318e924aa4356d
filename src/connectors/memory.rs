//! A source, a sink and a journal in memory, for `runner test`: everything survives a crash that is
//! only played, so what they hold is shared by all that are opened from one description.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Delivery, Fetched, Input, PartitionStart, PartitionStatus, Payload, Reader, Sink, Source, Wanted, Writer};
use crate::data::{EncodedRows, Epoch, Partition, Position, RawBatchBuilder, SourceIndex, partition};
use crate::journal::{Appended, Journal, Record, SinkRows};
use crate::report::Failure;
use crate::time::Millis;

/// A record as a test gives it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemoryRecord {
    pub timestamp: Option<Millis>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Records by partition; a record's index is its offset.
#[derive(Debug, Clone, Default)]
pub struct MemorySource {
    /// Its records' topic where it has no topics.
    name: Arc<str>,
    topics: Arc<[Arc<str>]>,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    partitions: BTreeMap<Partition, Vec<MemoryRecord>>,
    ended: bool,
    /// Partitions that were told of.
    told: BTreeSet<Partition>,
    /// Rows of a partition that one poll brings at most; 0: no limit of its own.
    poll_rows_max: usize,
    #[cfg(test)]
    whims: whims::Whims,
}

impl MemorySource {
    /// A topic with partitions from 0 on, empty and not ended.
    pub fn new(topic: &str, partitions: Partition) -> Self {
        let log = Log { partitions: (0..partitions).map(|p| (p, Vec::new())).collect(), ..Log::default() };
        MemorySource { name: topic.into(), topics: Arc::default(), log: Arc::new(Mutex::new(log)) }
    }

    /// Stands in for a source of these topics.
    pub fn with_topics(self, topics: &[Arc<str>]) -> Self {
        MemorySource { topics: topics.into(), ..self }
    }

    /// Makes a partition that is not there yet.
    pub fn make(&self, partition: Partition) {
        lock(&self.log).partitions.entry(partition).or_default();
    }

    /// Appends a record; a partition that is not there is made.
    pub fn push(&self, partition: Partition, record: MemoryRecord) {
        lock(&self.log).partitions.entry(partition).or_default().push(record);
    }

    /// Empty and not ended again; its partitions stay.
    pub fn reset(&self) {
        let mut log = lock(&self.log);
        log.partitions.values_mut().for_each(Vec::clear);
        log.ended = false;
    }

    /// Nothing more will come.
    pub fn end(&self) {
        lock(&self.log).ended = true;
    }

    /// Limits what one poll brings, to try other batch sizes.
    pub fn poll_at_most(&self, rows: usize) {
        lock(&self.log).poll_rows_max = rows;
    }
}

impl Source for MemorySource {
    fn connector(&self) -> &'static str {
        "memory"
    }

    fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    fn discover(&self, known: &BTreeMap<Partition, Position>) -> Result<Vec<PartitionStart>, Failure> {
        let start = |partition: &Partition| PartitionStart {
            partition: *partition,
            start: known.get(partition).cloned().unwrap_or(Position::offset(0)),
            end: None,
            max_timestamp: None,
        };
        let mut log = lock(&self.log);
        log.told = log.partitions.keys().copied().collect();
        Ok(log.partitions.keys().map(start).collect())
    }

    fn at_time(&self, time: Millis) -> Result<BTreeMap<Partition, Position>, Failure> {
        let position = |(partition, records): (&Partition, &Vec<MemoryRecord>)| {
            let first = records.iter().position(|record| record.timestamp >= Some(time));
            (*partition, Position::offset(first.unwrap_or(records.len()) as i64))
        };
        Ok(lock(&self.log).partitions.iter().map(position).collect())
    }

    fn look(&self) -> Result<Vec<PartitionStart>, Failure> {
        let mut log = lock(&self.log);
        let Log { partitions, told, .. } = &mut *log;
        let new = partitions.keys().copied().filter(|partition| told.insert(*partition));
        let start =
            |partition| PartitionStart { partition, start: Position::offset(0), end: None, max_timestamp: None };
        Ok(new.map(start).collect())
    }

    fn open(&self, source: SourceIndex, share: &[PartitionStart], _wanted: Wanted) -> Result<Box<dyn Reader>, Failure> {
        let at =
            |start: &PartitionStart| (start.partition, (start.start.as_offset().unwrap_or(0) as usize, usize::MAX));
        Ok(Box::new(MemoryReader {
            source,
            of: self.clone(),
            partitions: share.iter().map(at).collect(),
            paused: BTreeSet::new(),
        }))
    }

    fn has_timestamps(&self) -> bool {
        true
    }
}

struct MemoryReader {
    source: SourceIndex,
    of: MemorySource,
    /// Position and limit.
    partitions: BTreeMap<Partition, (usize, usize)>,
    paused: BTreeSet<Partition>,
}

impl MemoryReader {
    /// The partitions that the next poll brings something of, in this order.
    fn due(&self, log: &mut Log) -> Result<Vec<Partition>, Failure> {
        let length = |partition: &Partition| log.partitions.get(partition).map_or(0, Vec::len);
        let is_due = |(partition, (position, limit)): &(&Partition, &(usize, usize))| {
            *position < length(partition).min(*limit) && !self.paused.contains(partition)
        };
        let due = self.partitions.iter().filter(is_due).map(|(partition, _)| *partition).collect();
        #[cfg(test)]
        let due = log.whims.choose(self.partitions.values().any(|(_, limit)| *limit < usize::MAX), due)?;
        Ok(due)
    }
}

impl Reader for MemoryReader {
    fn poll(&mut self, rows_max: usize, _clock: Millis) -> Result<Vec<Fetched>, Failure> {
        let mut log = lock(&self.of.log);
        let rows_max = if log.poll_rows_max > 0 { log.poll_rows_max } else { rows_max };
        let mut fetched = Vec::new();
        for partition in self.due(&mut log)? {
            let Some((position, limit)) = self.partitions.get_mut(&partition) else { continue };
            let records = log.partitions.get(&partition).map_or(&[][..], Vec::as_slice);
            let end = records.len().min(*limit).min(*position + rows_max);
            let topic = self.of.topics.get(partition::topic(partition)).unwrap_or(&self.of.name);
            let mut batch = RawBatchBuilder::new(self.source, topic.clone(), partition);
            for (offset, record) in records.iter().enumerate().take(end).skip(*position) {
                batch.push(offset as i64, record.timestamp, record.key.as_deref(), record.value.as_deref());
                batch.headers(record.headers.clone());
            }
            *position = end;
            fetched.push(Fetched { payload: Payload::Raw(batch.finish()), next: Position::offset(end as i64) });
        }
        Ok(fetched)
    }

    /// Whoever pushes rings no bell.
    fn awaits(&mut self) -> Input {
        Input::Awaited { rings: None, due: Some(Instant::now() + Duration::from_millis(20)) }
    }

    fn add(&mut self, parts: &[PartitionStart]) -> Result<(), Failure> {
        let at = |part: &PartitionStart| (part.partition, (part.start.as_offset().unwrap_or(0) as usize, usize::MAX));
        self.partitions.extend(parts.iter().map(at));
        Ok(())
    }

    fn status(&self, partition: Partition) -> PartitionStatus {
        let log = lock(&self.of.log);
        let (position, limit) = self.partitions.get(&partition).copied().unwrap_or_default();
        let length = log.partitions.get(&partition).map_or(0, Vec::len);
        let ended = log.ended && position >= length;
        let at_end = ended || (position >= length.min(limit) && !self.paused.contains(&partition));
        let behind = Some(length.saturating_sub(position) as u64);
        PartitionStatus { at_end, ended, behind }
    }

    fn position(&self, partition: Partition) -> Position {
        Position::offset(self.partitions.get(&partition).map_or(0, |(position, _)| *position as i64))
    }

    fn limit(&mut self, partition: Partition, to: Option<Position>) {
        if let Some((_, limit)) = self.partitions.get_mut(&partition) {
            *limit = to.and_then(|to| to.as_offset()).map_or(usize::MAX, |to| to as usize);
        }
    }

    fn pause(&mut self, partitions: &BTreeSet<Partition>) {
        self.paused.clone_from(partitions);
    }
}

/// Stands in for any sink: its rows commit with the journal.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemorySink;

impl Sink for MemorySink {
    fn connector(&self) -> &'static str {
        "memory"
    }

    fn delivery(&self) -> Delivery {
        Delivery::Transaction
    }

    fn open(&self) -> Result<Box<dyn Writer>, Failure> {
        Err(Failure::bug("memory.no_writer", "rows of a memory sink commit with the journal"))
    }
}

/// A journal and the transactional sinks that commit with it.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    records: Vec<Record>,
    /// What was trimmed.
    trimmed: Vec<Record>,
    outputs: BTreeMap<usize, Vec<EncodedRows>>,
    /// The append of this epoch record fails as if the process died before it.
    dies_before: Option<Epoch>,
}

impl MemoryJournal {
    pub fn records(&self) -> Vec<Record> {
        lock(&self.kept).records.clone()
    }

    /// All that ever were, also those that were trimmed.
    pub fn history(&self) -> Vec<Record> {
        let kept = lock(&self.kept);
        kept.trimmed.iter().chain(&kept.records).cloned().collect()
    }

    /// What was committed to a sink, in order.
    pub fn output(&self, sink: usize) -> Vec<EncodedRows> {
        lock(&self.kept).outputs.get(&sink).cloned().unwrap_or_default()
    }

    /// The next append of this epoch fails once with code `memory.died`, with nothing written.
    pub fn die_before(&self, epoch: Epoch) {
        lock(&self.kept).dies_before = Some(epoch);
    }
}

impl Journal for MemoryJournal {
    fn acquire(&mut self) -> Result<Vec<Record>, Failure> {
        self.read()
    }

    fn read(&mut self) -> Result<Vec<Record>, Failure> {
        Ok(self.records())
    }

    fn append(&mut self, records: &[Record], outputs: &[SinkRows]) -> Result<Appended, Failure> {
        let mut kept = lock(&self.kept);
        let dies = |record: &Record| matches!(record, Record::Epoch(epoch) if Some(epoch.epoch) == kept.dies_before);
        if records.iter().any(dies) {
            kept.dies_before = None;
            return Err(Failure::outside("memory.died", "the process dies here").no_retry());
        }
        kept.records.extend(records.iter().cloned());
        for output in outputs {
            kept.outputs.entry(output.sink).or_default().extend(output.rows.iter().cloned());
        }
        Ok(Appended::Committed)
    }

    fn trim(&mut self, epoch: Epoch) -> Result<(), Failure> {
        let mut kept = lock(&self.kept);
        let is_old = |record: &Record| matches!(record, Record::Epoch(record) if record.epoch < epoch);
        let (old, records) = std::mem::take(&mut kept.records).into_iter().partition(is_old);
        kept.trimmed.extend::<Vec<Record>>(old);
        kept.records = records;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Failure> {
        lock(&self.kept).records.clear();
        Ok(())
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Polls that bring something of few partitions, in any order, or fail: in tests.
#[cfg(test)]
mod whims {
    use super::{BTreeMap, Failure, MemoryRecord, MemorySource, Partition, lock};

    type Choose = Box<dyn FnMut(bool, Vec<Partition>) -> Result<Vec<Partition>, Failure> + Send>;

    #[derive(Default)]
    pub struct Whims(Option<Choose>);

    impl std::fmt::Debug for Whims {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Whims")
        }
    }

    impl Whims {
        pub fn choose(&mut self, replays: bool, due: Vec<Partition>) -> Result<Vec<Partition>, Failure> {
            match &mut self.0 {
                Some(choose) => choose(replays, due),
                None => Ok(due),
            }
        }
    }

    impl MemorySource {
        /// Asked before each poll, with whether it is one of a replay and the partitions of which it would bring something,
        /// for those of which it does.
        pub fn choose(
            &self,
            choose: impl FnMut(bool, Vec<Partition>) -> Result<Vec<Partition>, Failure> + Send + 'static,
        ) {
            lock(&self.log).whims = Whims(Some(Box::new(choose)));
        }

        /// All that was pushed so far.
        pub fn records(&self) -> BTreeMap<Partition, Vec<MemoryRecord>> {
            lock(&self.log).partitions.clone()
        }
    }
}
