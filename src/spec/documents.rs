//! The documents of the language, typed: what the user wrote and where, nothing more.
//!
//! Every name and expression keeps its place. Nothing here was looked up: whether a connection,
//! a column or an input exists is for the plan to find out. What a later release brings never
//! gets here; `load` says so. Readers of these types: `pipeline`, `steps`, `endpoints`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{
    Bytes, ColumnType, ConnectorSpec, DurationMs, Node, ReferenceSpec, RegistryTls, Secret, Spanned, TestSpec,
};
use crate::report::Place;

/// All documents of one command, each kind in the order found.
#[derive(Debug, Default)]
pub struct Documents {
    pub pipelines: Vec<Document<PipelineSpec>>,
    pub topics: Vec<Document<TopicSpec>>,
    pub schemas: Vec<Document<SchemaSpec>>,
    pub connections: Vec<Document<ConnectionSpec>>,
    pub connectors: Vec<Document<ConnectorSpec>>,
    pub tests: Vec<Document<TestSpec>>,
    /// A document other than a pipeline has an error and is not in the lists: what names it has no
    /// mistake of its own, so plans are not worth making.
    pub lost: bool,
}

/// One document of any kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Document<T> {
    pub metadata: Metadata,
    pub spec: T,
    /// Relative paths in the document are from here: the folder of its file.
    pub folder: PathBuf,
    /// The whole document.
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    pub name: Spanned<String>,
    /// `default`, unless the user says otherwise.
    pub namespace: String,
    pub labels: Vec<(Spanned<String>, String)>,
}

/// An SQL expression as written; not parsed yet. `Spanned::part` finds the place of a part of it.
pub type Expression = Spanned<String>;

/// `name: EXPR` pairs in the order written.
pub type Named = Vec<(Spanned<String>, Expression)>;

/// `kind: Pipeline`.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineSpec {
    pub connections: Vec<(Spanned<String>, ConnectionSpec)>,
    /// At least one.
    pub sources: Vec<SourceSpec>,
    pub transforms: Vec<TransformSpec>,
    /// At least one.
    pub sinks: Vec<SinkSpec>,
    /// A sink that is called `dead_letter` and has no `from`.
    pub dead_letter: Option<SinkSpec>,
    pub errors: Option<Spanned<ErrorsSpec>>,
    /// `None`: from the journal.
    pub restart: Option<Spanned<RestartSpec>>,
    pub state: StateSpec,
    /// Bytes for everything the pipeline holds.
    pub memory: Option<Spanned<Bytes>>,
    pub epoch: EpochSpec,
    /// At least 1.
    pub lanes: Option<Spanned<usize>>,
    /// Sources, transforms and sinks whose text is wrong: they are not in the lists, and whoever
    /// reads from them has no mistake of its own. Not empty: the pipeline can be checked, not run.
    pub broken: BTreeSet<String>,
}

/// One source: the connector key's name and its body, and the common keys beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceSpec {
    pub name: Spanned<String>,
    /// `kafka`, `datagen` or `file`; the place is that of the key.
    pub connector: Spanned<String>,
    /// What stands behind the connector's key; the plan types it.
    pub body: Node,
    pub connection: Option<Spanned<String>>,
    pub format: Option<FormatSpec>,
    pub schema: Option<SchemaRef>,
    pub columns: Option<Columns>,
    pub key_format: Option<FormatSpec>,
    pub time: Option<TimeSpec>,
    pub mode: SourceMode,
    /// Everything behind the source's name.
    pub place: Place,
}

/// One sink, or the dead letter.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkSpec {
    pub name: Spanned<String>,
    /// `kafka`, `file`, `console` or `discard`; the place is that of the key.
    pub connector: Spanned<String>,
    /// What stands behind the connector's key; the plan types it.
    pub body: Node,
    /// `None` only for the dead letter.
    pub from: Option<Inputs>,
    pub connection: Option<Spanned<String>>,
    pub format: Option<FormatSpec>,
    pub schema: Option<SchemaRef>,
    pub columns: Option<Columns>,
    /// `Some` of an empty list: no key is written.
    pub key: Option<Spanned<Vec<Spanned<String>>>>,
    pub key_format: Option<FormatSpec>,
    /// Values may hold `${EXPR}`.
    pub headers: Vec<(Spanned<String>, Spanned<String>)>,
    pub mode: Option<Spanned<SinkMode>>,
    /// How far apart what changes is written; `None`: each epoch.
    pub every: Option<Spanned<DurationMs>>,
    pub delivery: Option<Spanned<DeliverySpec>>,
    /// Everything behind the sink's name.
    pub place: Place,
}

/// One transform.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformSpec {
    pub name: Spanned<String>,
    pub from: Inputs,
    pub verb: Verb,
    /// Everything behind the transform's name.
    pub place: Place,
}

/// What a transform does.
#[derive(Debug, Clone, PartialEq)]
pub enum Verb {
    Rows(RowsSpec),
    Aggregate(AggregateSpec),
    Sort(SortSpec),
    Fail(FailSpec),
}

/// `sort: {within: 5s}`.
#[derive(Debug, Clone, PartialEq)]
pub struct SortSpec {
    pub within: Spanned<DurationMs>,
}

/// `fail: {after: 1000, as: kill}`.
#[derive(Debug, Clone, PartialEq)]
pub struct FailSpec {
    pub when: FailWhen,
    pub how: FailAs,
    /// All of it.
    pub place: Place,
}

/// When a `fail` trips.
#[derive(Debug, Clone, PartialEq)]
pub enum FailWhen {
    /// When so many rows have come.
    After(u64),
    /// Each row with this probability, between 0 and 1.
    Rate { share: f64, seed: u64 },
    /// At the first row for which it is true.
    Where(Expression),
    /// At the first row of another source or transform.
    Trigger(Inputs),
    /// At the first row: what the plan puts behind a trigger.
    First,
}

/// `where`, `check`, `add`, `select`, `drop`: any of them, done in this order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowsSpec {
    pub filter: Option<Expression>,
    pub check: Named,
    pub add: Named,
    /// Exactly these columns, at least one.
    pub select: Option<Spanned<Vec<ColumnSpec>>>,
    pub drop: Vec<Spanned<String>>,
}

/// A column that `select` or `group_by` makes.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSpec {
    pub name: Spanned<String>,
    /// `None`: the input's column of that name (`select: [name]`).
    pub expression: Option<Expression>,
}

/// Column to value.
pub type Fill = Vec<(Spanned<String>, Node)>;

/// `window` + `group_by` + `aggregate` + `having` + `fill`.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateSpec {
    /// `None`: an aggregate without end.
    pub window: Option<Spanned<WindowSpec>>,
    pub group_by: Vec<ColumnSpec>,
    /// May be empty if `group_by` is not.
    pub aggregate: Named,
    pub having: Option<Expression>,
    /// What a window without a row has.
    pub fill: Option<Spanned<Fill>>,
}

/// `{tumbling: 5s, grace: 1s, offset: 0s}` or `{hopping: {size: 1h, every: 5m}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowSpec {
    /// Above 0.
    pub size: DurationMs,
    /// From one window's start to the next one's: above 0, at most the size. Equal to it for tumbling windows.
    pub every: DurationMs,
    pub grace: DurationMs,
    /// Below `every`.
    pub offset: DurationMs,
}

/// What stands in `from`: a name, or a list of names (a union).
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// At least one, none of them twice.
    pub refs: Vec<InputRef>,
    /// All of it.
    pub place: Place,
}

impl Inputs {
    /// As it is written: `good.rest`, `[good, others]`.
    pub fn shown(&self) -> String {
        match self.refs.as_slice() {
            [one] => one.shown(),
            several => format!("[{}]", several.iter().map(InputRef::shown).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// A name in `from`.
#[derive(Debug, Clone, PartialEq)]
pub struct InputRef {
    /// A source or transform.
    pub name: String,
    pub port: Port,
    /// All of it, with the port.
    pub place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// What the step gives.
    Main,
    /// `.late`: rows whose window had closed.
    Late,
    /// `.rest`: rows that were not passed on.
    Rest,
    /// `.failed`: what could not be decoded, evaluated, or was refused by a check.
    Failed,
}

impl Port {
    /// Those that are named, with their names.
    pub const NAMED: &[(&str, Port)] = &[("late", Port::Late), ("rest", Port::Rest), ("failed", Port::Failed)];
}

impl InputRef {
    /// As it is written: `good.rest`.
    pub fn shown(&self) -> String {
        match Port::NAMED.iter().find(|(_, port)| *port == self.port) {
            Some((port, _)) => format!("{}.{port}", self.name),
            None => self.name.clone(),
        }
    }
}

/// `avro`, or `{csv: {header: false}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct FormatSpec {
    /// One of [`super::FORMATS`].
    pub name: Spanned<String>,
    /// The format's options; the plan types them.
    pub options: Option<Node>,
}

/// Declared columns, in order, without datagen's rules.
pub type Columns = Spanned<Vec<(Spanned<String>, ColumnType)>>;

/// `schema:` of a source, a sink or a topic; the plan says which keys fit where.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaRef {
    /// A path to an .avsc file. Excludes all others but `subject` and `register`.
    pub file: Option<Spanned<String>>,
    pub subject: Option<Spanned<String>>,
    /// Pins a version of the subject.
    pub version: Option<Spanned<i32>>,
    /// Sinks: the record's name in the derived schema.
    pub name: Option<Spanned<String>>,
    pub namespace: Option<Spanned<String>>,
    pub doc: Option<Spanned<String>>,
    /// Sinks: false means the schema must be there already.
    pub register: Option<bool>,
    pub place: Place,
}

/// `time:` of a source or a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeSpec {
    pub field: Option<Expression>,
    pub unit: Option<Spanned<TimeUnit>>,
    pub lag: Option<DurationMs>,
    pub idle: Option<Idle>,
    pub align: Option<DurationMs>,
    pub max_ahead: Option<DurationMs>,
    pub place: Place,
}

/// `idle: 5s | never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    Never,
    After(DurationMs),
}

/// `errors:` of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ErrorsSpec {
    /// `{skip: true}`: counted, and the run goes on.
    Skip,
    /// `{keep_then_fail: true}`: the first one ends the run, once its dead letter is there.
    KeepThenFail,
    /// `{fail_above: 1%}`: a share between 0 and 1 of the last 10,000 rows read.
    FailAbove(f64),
}

/// `{store: file:///…, every: 30s, recovery_target: 5s}`; `None`: the engine's default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StateSpec {
    /// A `file:///…` URL or a path; default `.runner/NAMESPACE/PIPELINE` under the working directory.
    pub store: Option<Spanned<String>>,
    pub every: Option<DurationMs>,
    pub recovery_target: Option<DurationMs>,
    pub journal: Option<Spanned<JournalSpec>>,
}

crate::words! {
    /// Where the journal is.
    pub enum JournalSpec {
        /// In a topic beside the first Kafka sink; in a file where there is none.
        Kafka = "kafka",
        /// In a file of the state directory.
        File = "file",
    }
}

/// `{min, interval, max_bytes}`; `None`: the engine's default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EpochSpec {
    pub min: Option<DurationMs>,
    pub interval: Option<DurationMs>,
    pub max_bytes: Option<Bytes>,
}

/// `kind: Topic`: `metadata.name` is the topic.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicSpec {
    pub connection: Option<Spanned<String>>,
    /// False: `apply` does not create it. Default true.
    pub create: bool,
    pub partitions: Option<Spanned<u32>>,
    pub replication: Option<Spanned<u32>>,
    pub config: Vec<(Spanned<String>, Secret)>,
    pub format: Option<FormatSpec>,
    pub key_format: Option<FormatSpec>,
    pub schema: Option<SchemaRef>,
    pub columns: Option<Columns>,
    pub time: Option<TimeSpec>,
}

/// `kind: Schema`: `metadata.name` is the subject.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaSpec {
    pub source: SchemaText,
    pub compatibility: Option<Spanned<Compatibility>>,
    /// Full name → subject and version.
    pub references: Vec<ReferenceSpec>,
}

/// Where a schema's text is.
#[derive(Debug, Clone, PartialEq)]
pub enum SchemaText {
    File(Spanned<String>),
    /// An inline map or JSON text.
    Inline(Node),
}

/// `kind: Connection`, or an entry of `connections`.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionSpec {
    pub kafka: Option<KafkaConnection>,
    pub registry: Option<RegistryConnection>,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub struct KafkaConnection {
    /// `host:port`, separated by commas.
    pub brokers: Spanned<Secret>,
    /// The client's own settings, by its own names.
    pub properties: Vec<(Spanned<String>, Secret)>,
}

/// A registry that is asked over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct RegistryServer {
    pub url: Spanned<Secret>,
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    pub token: Option<Secret>,
    pub tls: Option<RegistryTls>,
}

/// `registry:` of a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum RegistryConnection {
    Server(Box<RegistryServer>),
    /// In-process, kept in the state directory.
    Embedded,
}

crate::words! {
    /// What a source's records are.
    pub enum SourceMode {
        /// Each record is a row.
        Append = "append",
    }
    later "upsert"
}

crate::words! {
    /// What a sink writes of rows that change.
    pub enum SinkMode {
        /// Each row once, when it is final.
        Append = "append",
        /// Each changed row.
        Update = "update",
        /// Each changed row under its key; a row gone is a tombstone.
        Upsert = "upsert",
        /// The whole table, each time that `every` says.
        Complete = "complete",
    }
}

crate::words! {
    /// How often a row may appear in a sink.
    pub enum DeliverySpec {
        /// Each row once, also after a crash.
        ExactlyOnce = "exactly_once",
        /// After a crash rows may come again.
        AtLeastOnce = "at_least_once",
    }
}

/// Where a pipeline finds out how far it was.
#[derive(Debug, Clone, PartialEq)]
pub enum RestartSpec {
    /// From its journal.
    Journal,
    /// From the times of the sink's records.
    Watermark {
        epsilon: Spanned<DurationMs>,
        /// Event times are no later than Kafka timestamps, says the user.
        not_after_timestamp: bool,
    },
    /// From what the sink's records say of the sources.
    Offsets,
}

impl RestartSpec {
    /// The word as written.
    pub fn word(&self) -> &'static str {
        match self {
            RestartSpec::Journal => "journal",
            RestartSpec::Watermark { .. } => "watermark",
            RestartSpec::Offsets => "offsets",
        }
    }
}

crate::words! {
    /// How a `fail` ends the run.
    pub enum FailAs {
        /// With an error: the run ends with code 1.
        Error = "error",
        /// With a panic of the thread that the row is in, as a bug of ours would.
        Panic = "panic",
        /// The process kills itself, as `kill -9` does.
        Kill = "kill",
    }
}

crate::words! {
    /// Unit of a number that is a time.
    pub enum TimeUnit {
        Seconds = "s",
        Millis = "ms",
        Micros = "us",
    }
}

crate::words! {
    /// What new versions of a subject must keep.
    pub enum Compatibility {
        None = "none",
        Backward = "backward",
        BackwardTransitive = "backward_transitive",
        Forward = "forward",
        ForwardTransitive = "forward_transitive",
        Full = "full",
        FullTransitive = "full_transitive",
    }
}
