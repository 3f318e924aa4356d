//! Sources and sinks. Inert descriptions ([`Source`], [`Sink`]) that can be compared, printed and
//! checked without I/O; `open` makes the thing that works ([`Reader`], [`Writer`]).
//!
//! All calls may block: the engine gives readers and writers threads of their own. The engine
//! owns every loop; a connector answers "what is next?" and "commit this".

pub mod bell;
pub mod console;
pub mod datagen;
pub mod discard;
pub mod file;
pub mod kafka;
pub mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;

pub use bell::{Bell, Input};

use crate::data::{EncodedRows, Epoch, Offset, Partition, Position, RawBatch, SourceIndex};
use crate::journal::SinkRows;
use crate::report::Failure;
use crate::time::Millis;

/// A partition of a source and where a pipeline that was never there begins and ends.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionStart {
    pub partition: Partition,
    /// Resolved to a number; kept in the journal.
    pub start: Position,
    /// Where `until` ends, as of now; `None`: goes on for ever (or ends by itself, as a file does).
    pub end: Option<Position>,
    /// Highest Kafka timestamp that was committed by earlier runs; put in by the engine.
    pub max_timestamp: Option<Millis>,
}

/// How far an earlier run was in a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Where replay begins.
    pub replay: Position,
    /// Behind the last committed epoch.
    pub end: Position,
    /// Highest Kafka timestamp that was committed.
    pub max_timestamp: Option<Millis>,
    /// What [`Source::topic_ids`] said of its topic then.
    pub topic_id: Option<String>,
}

/// Where a partition goes on whose records are gone, because its source says that it shall (I17).
#[derive(Debug, Clone, PartialEq)]
pub struct Gone {
    pub at: Position,
    /// What was to be read next is gone too: reading goes on at `at`, and nothing is replayed. Otherwise only what
    /// replay needs is gone, and `at` is where it can begin.
    pub unread: bool,
    /// What was to be read next is still there: it is read again from `at`, with so many of the records that replay
    /// would read.
    pub again: Option<u64>,
    /// So many records were to be read and are not, as far as offsets tell.
    pub missing: u64,
}

/// What the graph wants of a reader: of each record beside its value, and at what cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    pub keys: bool,
    pub headers: bool,
    /// Bytes that a client may fetch ahead for one lane; 0: as it likes.
    pub queue_bytes: usize,
    /// Whether somebody waits for an end to be seen: a step that looks at the watermark.
    pub ends: bool,
    /// Whether a record may come again: nothing is made of several, and every sink is at least once.
    pub repeats: bool,
}

/// A report of progress, as the world shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reported {
    pub position: Position,
    /// What [`Source::report_progress`] was given, or what another tool wrote in its place.
    pub metadata: String,
    /// For people: "group `runner-a`".
    pub place: String,
}

/// Where rows come from.
pub trait Source: Debug + Send + Sync {
    /// The connector's key in the language: `kafka`, `datagen`, `file`.
    fn connector(&self) -> &'static str;

    /// What it reads, in words: positions mean nothing in anything else. A server's address is no part of it.
    fn reads(&self) -> String {
        self.connector().to_owned()
    }

    /// The topics that it reads, in the order of its list: what partitions are named after. A source
    /// without topics has none.
    fn topics(&self) -> &[Arc<str>] {
        &[]
    }

    /// Whether a topic is one of its own, or may come to be one.
    fn may_read(&self, topic: &str) -> bool {
        self.topics().iter().any(|known| **known == *topic)
    }

    /// How many partitions a topic of its cluster has; `None`: there is none of that name.
    ///
    /// # Errors
    /// The cluster does not answer.
    fn partition_count(&self, _topic: &str) -> Result<Option<usize>, Failure> {
        Ok(None)
    }

    /// The topic of a sink that it would come to read by a pattern, if there is one.
    fn comes_to_read<'s>(&self, _sink: &'s dyn Sink) -> Option<&'s str> {
        None
    }

    /// Finds the partitions. For those in `known`, `start` is that position (checked: a position
    /// that cannot be read any more is a failure that says how much is missing); for others it is
    /// what `start` of the spec says.
    fn discover(&self, known: &BTreeMap<Partition, Position>) -> Result<Vec<PartitionStart>, Failure>;

    /// Per partition the position of the first record whose own time is `time` or later; where there is none, its end as of
    /// now. Never one before where `start` of the spec begins.
    fn at_time(&self, _time: Millis) -> Result<BTreeMap<Partition, Position>, Failure> {
        Err(Failure::bug("source.at_time", format!("a `{}` source cannot be sought by time", self.connector())))
    }

    /// What its topics are beyond their names, by name: one that is deleted and made again has another id. Asked at the
    /// start, before anything else; topics that cannot be told apart so are left out.
    fn topic_ids(&self) -> Result<BTreeMap<String, String>, Failure> {
        Ok(BTreeMap::new())
    }

    /// Looks whether what is read is still what it was when the ids were asked. Called now and then while it is read;
    /// a failure that no retry mends ends the run. Gives the partitions that came since it was discovered or last
    /// looked at, each to be read from its first record: whoever asks gives them to a reader ([`Reader::add`]).
    fn look(&self) -> Result<Vec<PartitionStart>, Failure> {
        Ok(Vec::new())
    }

    /// Where to go on in partitions whose records are gone although they are needed. Those that can go on as they are
    /// are left out; all are, where the source shall rather fail: [`Source::discover`] does, unless another topic has
    /// the name of the one that was read, which fails here. `repeats`: as of [`Wanted`].
    fn gone(&self, _known: &BTreeMap<Partition, Known>, _repeats: bool) -> Result<BTreeMap<Partition, Gone>, Failure> {
        Ok(BTreeMap::new())
    }

    /// Opens a reader over a share of the partitions, each at its position.
    fn open(&self, source: SourceIndex, share: &[PartitionStart], wanted: Wanted) -> Result<Box<dyn Reader>, Failure>;

    /// False if positions cannot be read again: then the pipeline is at least once.
    fn rereadable(&self) -> bool {
        true
    }

    /// True if its readers have clients that fetch ahead, in memory of their own ([`Wanted::queue_bytes`]).
    fn fetches_ahead(&self) -> bool {
        false
    }

    /// True if records bring a time of their own (Kafka's timestamp). Otherwise, without
    /// `time.field`, event time is the epoch's clock (I3).
    fn has_timestamps(&self) -> bool;

    /// What it read from files when it was checked and makes its rows: other contents make the journal of another plan.
    fn contents(&self) -> &[String] {
        &[]
    }

    /// Told now and then, outside of the commit, how far the pipeline is: for lag tools. Failing is a warning (I16).
    fn report_progress(&self, _positions: &BTreeMap<Partition, Position>, _metadata: &str) -> Result<(), Failure> {
        Ok(())
    }

    /// What stands where progress is reported: the last report, unless somebody else wrote there since.
    /// Partitions without one are left out: a report may have expired (I16).
    fn reported(&self) -> Result<BTreeMap<Partition, Reported>, Failure> {
        Ok(BTreeMap::new())
    }
}

/// What a reader hands over: rows of one partition.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a few per poll, moved once")]
pub enum Payload {
    /// To be decoded by the lane.
    Raw(RawBatch),
    /// Already typed (datagen): the user's columns, and an ordinal per row.
    Rows {
        partition: Partition,
        rows: RecordBatch,
        offsets: Vec<Offset>,
        /// How often the generator has gone on where an earlier run had stopped.
        generation: i64,
    },
}

/// One partition's share of a poll.
#[derive(Debug)]
pub struct Fetched {
    pub payload: Payload,
    /// The position behind it.
    pub next: Position,
}

impl Fetched {
    pub fn partition(&self) -> Partition {
        match &self.payload {
            Payload::Raw(raw) => raw.partition,
            Payload::Rows { partition, .. } => *partition,
        }
    }
}

/// How a partition stands after the last poll.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionStatus {
    /// This process has read it to its end (EOF, or position ≥ last stable offset) (I5).
    pub at_end: bool,
    /// It has ended for good: `until`, `count`, end of file. Known by EOF or position (I21).
    pub ended: bool,
    /// Records behind the position, where the source knows.
    pub behind: Option<u64>,
}

/// A source at work in one lane, on the lane's thread.
pub trait Reader: Send {
    /// What is there now, at most about `rows_max` rows in all, grouped by partition, ordered by
    /// offset within each. Does not wait. `clock` is the epoch's clock, for generated `now` columns.
    fn poll(&mut self, rows_max: usize, clock: Millis) -> Result<Vec<Fetched>, Failure>;

    /// False where the last poll took all that was at hand: one right behind it would bring nothing.
    fn has_more(&self) -> bool {
        true
    }

    /// What it waits for, behind a poll that brought nothing.
    fn awaits(&mut self) -> Input;

    /// So many records were skipped since the last call, because they are gone and the source shall go on (I17).
    fn take_missing(&mut self) -> u64 {
        0
    }

    /// Reads these partitions too from now on: those that [`Source::look`] found.
    ///
    /// # Errors
    /// With `retry` none of them was added: ask again.
    fn add(&mut self, parts: &[PartitionStart]) -> Result<(), Failure> {
        Err(Failure::bug("reader.no_new_partitions", format!("nobody asked for {} new partitions", parts.len())))
    }

    /// How the partition stands.
    fn status(&self, partition: Partition) -> PartitionStatus;

    /// The position of a partition: behind the last record handed over.
    fn position(&self, partition: Partition) -> Position;

    /// Replay: hand over nothing at or behind `to` in this partition; `None` lifts the limit.
    /// A limited partition counts as `at_end` when it stands at its limit.
    fn limit(&mut self, partition: Partition, to: Option<Position>);

    /// Hand over nothing of these partitions until they are left out of a later call (I6). A paused
    /// partition holds no memory, and is at its end only if it has ended.
    fn pause(&mut self, partitions: &BTreeSet<Partition>);
}

/// How often a row can appear in a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Written in the transaction of the journal's record.
    Transaction,
    /// Remembers, beside its data, the epoch that it holds.
    Remembers,
    /// After a crash the last epoch may come again.
    AtLeastOnce,
}

/// What somebody saw who looked at a sink's topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// As of [`Sink::topic_ids`].
    pub ids: BTreeMap<String, String>,
    /// When it was: two looks that say the same may be one.
    pub at: Instant,
}

/// The last committed record of a partition of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    pub partition: i32,
    pub offset: Offset,
    pub timestamp: Option<Millis>,
    /// The timestamp is the broker's, not the one that was written.
    pub append_time: bool,
    /// In order, with duplicates.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What the ends of a sink's partitions are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tails {
    /// Of each partition that has a committed record.
    pub records: Vec<Tail>,
    /// Partitions that have none any more: what they had was removed.
    pub emptied: Vec<i32>,
}

/// Where rows go.
pub trait Sink: std::any::Any + Debug + Send + Sync {
    /// The connector's key in the language.
    fn connector(&self) -> &'static str;
    fn delivery(&self) -> Delivery;
    /// Opens a writer. Not called for [`Delivery::Transaction`]: the journal writes those.
    fn open(&self) -> Result<Box<dyn Writer>, Failure>;

    /// Sinks with the same answer are written by one writer, which has one memory for all of them.
    fn together(&self) -> Option<&str> {
        None
    }

    /// Where its progress stands, in words, where that depends on the sinks beside it. A sink whose words have changed
    /// since it was written cannot say what it has.
    fn keeps(&self) -> Option<String> {
        None
    }

    /// What its topics are beyond their names, as of [`Source::topic_ids`]. Asked at the start; one that is not there is
    /// left out.
    fn topic_ids(&self) -> Result<BTreeMap<String, String>, Failure> {
        Ok(BTreeMap::new())
    }

    /// The same as it was lately, asked now and then while it is written: sinks of one server may share a look.
    fn look(&self) -> Result<Look, Failure> {
        Ok(Look { ids: self.topic_ids()?, at: Instant::now() })
    }

    /// How far ahead of the clock the time of a record may be; `None`: as far as it likes. Asked at the start, when there is
    /// something to be written to.
    fn ahead_ms_max(&self) -> Result<Option<Millis>, Failure> {
        Ok(None)
    }

    /// The same where somebody has just looked: without asking or waiting for anybody.
    fn seen(&self) -> Option<Look> {
        None
    }

    /// The last committed record of each partition that has one: what a restart without a journal goes by.
    fn tails(&self) -> Result<Tails, Failure> {
        Err(Failure::bug("sink.tails", format!("a `{}` sink does not say what it has", self.connector())))
    }

    /// Opens the writer of all sinks that are written together with this one, itself among them.
    fn open_together(&self, _sinks: &[MemberSink<'_>]) -> Result<Box<dyn Writer>, Failure> {
        self.open()
    }
}

/// A sink of those that are written together.
#[derive(Debug, Clone, Copy)]
pub struct MemberSink<'a> {
    /// Its index in the plan.
    pub index: usize,
    pub sink: &'a dyn Sink,
}

/// What an epoch gives to a writer.
#[derive(Debug, Clone)]
pub struct EpochRows {
    pub epoch: Epoch,
    pub outputs: Vec<SinkRows>,
}

impl EpochRows {
    /// For a writer of one sink, which does not ask for its index.
    pub fn of_one(epoch: Epoch, rows: Vec<EncodedRows>) -> EpochRows {
        EpochRows { epoch, outputs: vec![SinkRows { sink: 0, rows }] }
    }

    /// An epoch without a row.
    pub fn empty(epoch: Epoch) -> EpochRows {
        EpochRows { epoch, outputs: Vec::new() }
    }

    /// All rows, in order.
    pub fn runs(&self) -> impl Iterator<Item = &EncodedRows> {
        self.outputs.iter().flat_map(|output| &output.rows)
    }

    pub fn is_empty(&self) -> bool {
        self.runs().all(EncodedRows::is_empty)
    }

    /// Memory that the rows hold.
    pub fn bytes(&self) -> usize {
        self.runs().map(|run| run.arena.len() + std::mem::size_of_val(run.records.as_slice())).sum()
    }
}

/// The code of a failure that says that a source has more to read, which a new start finds.
pub const NEW_TOPICS: &str = "source.new_topics";

/// What a sink remembers (I12).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SinkProgress {
    pub lineage: String,
    pub epoch: Epoch,
}

/// A sink at work, on a thread of its own.
pub trait Writer: Send {
    /// What the sink itself remembers; `None`: nothing (a new sink, or one without a memory).
    fn progress(&self) -> Option<SinkProgress>;

    /// Writes epochs, oldest first, durably, remembering the last of them. An epoch without rows
    /// may be given to move the memory on.
    fn write(&mut self, lineage: &str, epochs: &[EpochRows]) -> Result<(), Failure>;
}
