//! The plan: typed, checked, engine-neutral. What the spec meant.
//!
//! `check` is pure: spec in, plan or diagnostics out. `resolve` asks the registry and the brokers
//! for what `check` needs (schemas, ids, partitions). `describe` prints a plan.
//!
//! Every step has exactly one input, so a plan is a forest rooted at its sources; only a union has several.

pub mod bodies;
mod check;
pub mod describe;
mod fingerprint;
pub mod outline;
pub mod records;
pub mod reference;
pub mod resolve;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

pub use bodies::language_schema;
pub use check::{build, build_in, build_whole, with_producers};
pub use fingerprint::{Parts, StatePart};
pub use outline::Outline;

use crate::connectors::{Delivery, Sink, Source, Wanted};
use crate::data::{Partition, PartitionName, failed_columns, with_reason_column};
use crate::expr::Scalar;
use crate::time::Millis;
use crate::transforms::union::Union;
use crate::transforms::{RowTransform, StatefulTransform};

/// One pipeline, ready to be laid out as a graph.
#[derive(Debug)]
pub struct Plan {
    pub namespace: String,
    pub name: String,
    pub sources: Vec<SourcePlan>,
    /// In topological order: a step's input stands before it.
    pub steps: Vec<StepPlan>,
    /// In topological order.
    pub unions: Vec<UnionPlan>,
    /// All sinks, the dead letter's among them.
    pub sinks: Vec<SinkPlan>,
    /// Index in `sinks` of the one that takes dead letters.
    pub dead_letter: Option<usize>,
    pub errors: ErrorPolicy,
    pub epoch: EpochSettings,
    /// Bytes that the pipeline may hold (I6).
    pub memory: usize,
    /// How many lanes a source gets; `None`: as many as there are cores, at most its partitions.
    pub lanes: Option<usize>,
    pub journal: JournalPlace,
    pub restart: RestartPlan,
    /// Snapshots, journal file, embedded registry, locks: `.runner/NAMESPACE/PIPELINE`.
    pub state_dir: PathBuf,
    pub snapshots: SnapshotSettings,
    /// Equal for plans that compute the same thing; what makes a journal usable.
    pub fingerprint: String,
    pub parts: Parts,
    /// For people, and for what must be there before a start. The engine needs none of it.
    pub outline: Outline,
}

/// Which output of what a step or sink reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    Source(usize),
    Step(usize),
    /// The `.late` port of a stateful step.
    Late(usize),
    /// The `.rest` port of a step: what it did not pass on.
    Rest(usize),
    /// The `.failed` port of a row step: what it could not evaluate, or a check refused.
    Failed(usize),
    /// The `.failed` port of a source: records that gave no row.
    SourceFailed(usize),
    /// The rows of several inputs as one.
    Union(usize),
}

impl Plan {
    /// True if a step keeps anything between epochs.
    pub fn keeps_state(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.step, Step::Stateful(_)))
    }

    /// True if a record that comes again does no more than be written again.
    pub fn repeats(&self) -> bool {
        let at_least_once = |sink: &SinkPlan| sink.sink.delivery() == Delivery::AtLeastOnce;
        !self.keeps_state() && self.restart == RestartPlan::Journal && self.sinks.iter().all(at_least_once)
    }

    /// Where its snapshots are.
    pub fn snapshot_dir(&self) -> PathBuf {
        self.state_dir.join("snapshots")
    }

    /// The columns of the rows that an input gives.
    pub fn columns(&self, input: Input) -> SchemaRef {
        match input {
            Input::Source(source) => self.sources[source].schema.clone(),
            Input::Step(step) => self.steps[step].step.schema(),
            Input::Late(step) | Input::Failed(step) => with_reason_column(&self.columns(self.steps[step].input)),
            Input::Rest(step) => match &self.steps[step].step {
                Step::Rows(_) => with_reason_column(&self.columns(self.steps[step].input)),
                Step::Stateful(transform) => with_reason_column(&transform.schema()),
            },
            Input::SourceFailed(_) => failed_columns(),
            Input::Union(union) => self.unions[union].union.schema(),
        }
    }
}

#[derive(Debug)]
pub struct SourcePlan {
    pub name: String,
    pub source: Arc<dyn Source>,
    /// Decodes values; `None` for a source whose rows are typed already.
    pub values: Option<Arc<dyn OpenDecoder>>,
    /// Decodes keys into `_key`; `None`: bytes, or not in use.
    pub keys: Option<Arc<dyn OpenDecoder>>,
    /// The user's columns, then the metadata columns in use (`data::meta`), in this order.
    pub schema: SchemaRef,
    pub wanted: Wanted,
    pub time: TimePlan,
}

impl SourcePlan {
    /// The name of one of its partitions: in the journal, and for people.
    pub fn name_of(&self, partition: Partition) -> PartitionName {
        PartitionName::of(partition, self.source.topics())
    }

    /// The engine's partitions as the journal's names.
    pub fn to_names<T>(&self, of: impl IntoIterator<Item = (Partition, T)>) -> BTreeMap<PartitionName, T> {
        of.into_iter().map(|(partition, of)| (self.name_of(partition), of)).collect()
    }

    /// The journal's names as partitions; those of topics that are read no more are left out.
    pub fn of_names<'a, T: 'a>(&self, of: impl IntoIterator<Item = (&'a PartitionName, T)>) -> BTreeMap<Partition, T> {
        let topics = self.source.topics();
        of.into_iter().filter_map(|(name, of)| Some((name.find(topics)?, of))).collect()
    }
}

/// Makes a decoder for a lane; holds schema, format and registry.
pub trait OpenDecoder: std::fmt::Debug + Send + Sync {
    fn open(&self) -> Result<Box<dyn crate::formats::Decoder>, crate::report::Failure>;

    /// Writer schemas that were fetched from the registry since the last call, by id (I8).
    fn take_learnt(&self) -> BTreeMap<i32, String> {
        BTreeMap::new()
    }

    /// Makes a writer schema known that an earlier run learnt (I8).
    fn preload(&self, _id: i32, _schema: &str) {}
}

/// Makes an encoder for a lane.
pub trait OpenEncoder: std::fmt::Debug + Send + Sync {
    fn open(&self) -> Result<Box<dyn crate::formats::Encoder>, crate::report::Failure>;
}

/// Where a source's event time comes from.
#[derive(Debug)]
pub struct TimePlan {
    pub field: TimeField,
    pub lag_ms: Millis,
    /// `None`: never idle.
    pub idle_ms: Option<Millis>,
    /// How far a partition may be ahead of the slowest; `None`: what the pipeline's windows and lags ask for.
    pub align_ms: Option<Millis>,
    pub max_ahead_ms: Millis,
    /// A time that is later than the record's Kafka timestamp is a bad one: the source is sought by timestamps.
    pub not_after_timestamp: bool,
}

#[derive(Debug)]
pub enum TimeField {
    /// The Kafka timestamp.
    Timestamp,
    /// The epoch's clock.
    Clock,
    /// An expression over the source's columns that gives Timestamp(ms, UTC).
    Expr(Scalar),
}

#[derive(Debug)]
pub struct StepPlan {
    pub name: String,
    pub input: Input,
    pub step: Step,
    /// Equal where its rows, and what it keeps, are made of the same in the same way.
    pub fingerprint: String,
}

/// A list in `from`.
#[derive(Debug)]
pub struct UnionPlan {
    /// In the order written, none of them twice.
    pub inputs: Vec<Input>,
    pub union: Union,
}

#[derive(Debug)]
pub enum Step {
    Rows(Arc<dyn RowTransform>),
    Stateful(Arc<dyn StatefulTransform>),
}

impl Step {
    pub fn schema(&self) -> SchemaRef {
        match self {
            Step::Rows(transform) => transform.schema(),
            Step::Stateful(transform) => transform.schema(),
        }
    }
}

#[derive(Debug)]
pub struct SinkPlan {
    pub name: String,
    /// `None` only for the dead letter's sink.
    pub input: Option<Input>,
    pub sink: Arc<dyn Sink>,
    /// Turns rows (with their metadata columns) into records: key, value, timestamp, headers.
    pub encode: Arc<dyn RecordEncoding>,
    pub mode: Mode,
}

/// What a sink writes of rows that change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Each row once, when it is final.
    Append,
    /// Each changed row.
    Update,
    /// Each changed row under its key; a row gone is a tombstone.
    Upsert,
    /// All rows, each time that the table before the sink gives them.
    Complete,
}

/// Rows → records of a sink: an inert description that each lane (and the trunk) opens.
pub trait RecordEncoding: std::fmt::Debug + Send + Sync {
    fn open(&self) -> Result<Box<dyn RecordEncoder>, crate::report::Failure>;

    /// Its records say more than the rows, some of which it may drop: `runner test` shows them instead.
    fn is_shown_by_records(&self) -> bool {
        false
    }
}

/// Encodes whole records.
pub trait RecordEncoder: Send {
    /// Asks servers for what these rows, of a source that it reads itself, need of them. The lane calls it before it takes
    /// the rows in, so that a server that is away costs time only; [`RecordEncoder::encode`] follows at once.
    ///
    /// # Errors
    /// [`Failure`](crate::report::Failure) (outside, retry) if one is away; then it is called again.
    fn prepare(&mut self, _batch: &crate::data::Batch) -> Result<(), crate::report::Failure> {
        Ok(())
    }

    /// One record per row that is written, in order. Rows that the sink would refuse (size,
    /// timestamp) become dead letters (I7).
    ///
    /// # Errors
    /// [`Failure`](crate::report::Failure) (outside, retry) if a server is away that could not be asked ahead: then it is
    /// called again with the same rows, and what is in `dead` by then does not count.
    fn encode(
        &mut self,
        batch: &crate::data::Batch,
        dead: &mut Vec<crate::data::DeadLetter>,
    ) -> Result<crate::data::EncodedRows, crate::report::Failure>;

    /// Only the dead letter's sink: original bytes, with the `__connect.errors.*` headers.
    fn encode_dead(
        &mut self,
        dead: &[crate::data::DeadLetter],
    ) -> Result<crate::data::EncodedRows, crate::report::Failure> {
        let _ = dead;
        Err(crate::report::Failure::bug("sink.no_dead_letters", "this sink does not take dead letters"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ErrorPolicy {
    /// The first bad record ends the run with its place and bytes.
    Fail,
    /// Counted, and the run goes on.
    Skip,
    /// Dead letters are written; the first one ends the run once it is there.
    KeepThenFail,
    /// Dead letters are written; above this share of the last 10,000 rows read the run ends.
    FailAbove(f64),
    /// Dead letters are written, however many.
    DeadLetter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochSettings {
    pub min_ms: Millis,
    pub interval_ms: Millis,
    pub max_bytes: usize,
}

impl Default for EpochSettings {
    fn default() -> Self {
        EpochSettings { min_ms: 10, interval_ms: 100, max_bytes: 8 << 20 }
    }
}

/// When snapshots of state are taken (I19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// At most so far apart.
    pub every_ms: Millis,
    /// How long a replay since the last one may take.
    pub target_ms: Millis,
}

impl Default for SnapshotSettings {
    fn default() -> Self {
        SnapshotSettings { every_ms: 30_000, target_ms: 5_000 }
    }
}

/// `memory` of a pipeline that does not say.
pub const DEFAULT_MEMORY: usize = 160 << 20;

/// Where a start finds out how far the pipeline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPlan {
    Journal,
    /// From the times of what this sink has. Rows of the stateful step `step` that are not younger are out. A start
    /// reads the sources from so long before the sink's newest time.
    Watermark {
        sink: usize,
        step: usize,
        seek_ms: Millis,
    },
    /// From the positions in the headers of what this sink has.
    Offsets {
        sink: usize,
    },
}

impl RestartPlan {
    /// The sink that says where to go on.
    pub fn sink(self) -> Option<usize> {
        match self {
            RestartPlan::Journal => None,
            RestartPlan::Watermark { sink, .. } | RestartPlan::Offsets { sink } => Some(sink),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalPlace {
    /// In the state directory.
    File(PathBuf),
    /// A topic beside the transactional sinks, on the cluster of this connection.
    Kafka {
        cluster: resolve::Cluster,
        topic: String,
        transactional_id: String,
        /// Every Kafka sink is at least once: rows are delivered before their record, without transactions.
        at_least_once: bool,
        /// Where the pipeline has, or had, another one: in words. This one must not begin anew then.
        elsewhere: Option<String>,
    },
}
