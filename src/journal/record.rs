//! What the journal holds. A stored format: fields are only added, with a default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::{Epoch, Offset, PartitionName, Position};
use crate::report::Failure;
use crate::time::{Millis, Watermark};

/// One record of the journal: `{"epoch": {…}}`.
///
/// The kind stands outside: serde cannot read numbers as keys (partitions, schema ids) from within a
/// record that is tagged inside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    Plan(PlanRecord),
    Owner(Owner),
    Epoch(EpochRecord),
    /// A sink without a memory of its own has everything up to this epoch (I9).
    Progress {
        sink: String,
        epoch: Epoch,
    },
    /// The cluster on which this stands has everything up to this epoch (I9). In no journal, but in the log that
    /// a further cluster keeps of itself.
    Reached {
        lineage: String,
        epoch: Epoch,
    },
}

/// The newest version of the records that this build reads, and the one that it writes: [`PlanRecord::version`].
pub const VERSION: u32 = 1;

impl Record {
    /// A later build wrote it: what it means is not known here.
    pub fn is_newer(&self) -> bool {
        matches!(self, Record::Plan(plan) if plan.version > VERSION)
    }
}

/// The resolved plan: what epochs behind it are replayed under (I14).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Version of this format.
    pub version: u32,
    /// New at every reset; sinks store it (I12).
    pub lineage: String,
    pub namespace: String,
    pub pipeline: String,
    /// Equal for plans that compute the same.
    pub fingerprint: String,
    /// First epoch under this plan.
    pub from_epoch: Epoch,
    /// Per source, per partition: where it began, as numbers.
    pub starts: BTreeMap<String, BTreeMap<PartitionName, Position>>,
    /// Per sink: the epoch in which it was added (I12).
    pub sinks: BTreeMap<String, Epoch>,
    /// Everything else that was resolved: schemas, ids, seeds, isolation level.
    pub resolved: serde_json::Value,
    /// Where reading went on elsewhere than the epoch before had ended, because `on_expired` said so, or somebody set
    /// it there: by source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jumps: BTreeMap<String, BTreeMap<PartitionName, Jump>>,
    /// Ids of the topics that were read, by source and name: a topic that is deleted and made again has another.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topic_ids: BTreeMap<String, BTreeMap<String, String>>,
    /// What goes on when the plan changes; `None`: a version that did not note it wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Parts>,
    /// The epoch behind which a run failed ([`EpochRecord::failed`]), which somebody was told: the next start goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_failed: Option<Epoch>,
}

/// What the parts of a plan are made of, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// A hash of the own text of every step, by name: says what has changed.
    pub own: BTreeMap<String, String>,
    pub sources: BTreeMap<String, Part>,
    /// Those that keep state.
    pub steps: BTreeMap<String, Part>,
    pub sinks: BTreeMap<String, Part>,
}

/// A source, a step that keeps state, or a sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Equal where its rows, and what it keeps, are made of the same in the same way.
    pub fingerprint: String,
    /// The first epoch that it took part in, as it is.
    pub since: Epoch,
}

/// What was to be read next of a partition is gone, or somebody set it elsewhere, and reading went on there (I17).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Jump {
    /// The first epoch that begins there.
    pub from_epoch: Epoch,
    /// [`Position::start`]: where the source's `start` says; the next start of the pipeline puts it in numbers.
    pub to: Position,
    /// Somebody set it: what epochs before have read is still there. Otherwise it is of a log that is no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_set: bool,
    /// So many of the records that epochs before have read are read again from there.
    #[serde(default, skip_serializing_if = "is_none_read")]
    pub again: u64,
}

fn is_none_read(again: &u64) -> bool {
    *again == 0
}

/// Who writes this journal (I15).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub incarnation: u64,
    pub host: String,
    pub pid: u32,
    /// Distinguishes two owners of one host and pid.
    pub instance: String,
}

impl Owner {
    /// The refusal of an instance that was replaced by this one.
    pub fn took_over(&self) -> Failure {
        let Owner { host, pid, incarnation, .. } = self;
        Failure::user(
            "refused.taken_over",
            format!("another instance of this pipeline took over: host {host}, pid {pid}, incarnation {incarnation}"),
        )
    }
}

/// An epoch, self-contained (I13).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    pub lineage: String,
    pub incarnation: u64,
    pub epoch: Epoch,
    /// By source name, for **every** partition, also those without a row.
    #[serde(with = "super::packed")]
    pub partitions: super::packed::Partitions,
    pub watermark: Watermark,
    pub clock: Millis,
    /// The oldest epoch from which a replay that starts with empty state yields this very state;
    /// this epoch + 1 where no state is kept.
    pub needed: Epoch,
    /// Texts of writer schemas first used in this epoch, by registry id (I8).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub learnt: BTreeMap<i32, String>,
    /// By step that fills gaps: the last window that it has given a row.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last_windows: BTreeMap<String, LastWindow>,
    /// True for the epoch in which every source had ended (I21).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// The epoch that this one continues: it reads nothing, and commits more of that one's output (I10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<Epoch>,
    /// More of the output follows in the next epoch. Per sink: how many records of the output are committed with
    /// this epoch and those before it; a sink that is not there has none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<BTreeMap<String, u64>>,
    /// The run failed behind it with this message: a bad record is kept with it, and is not to be passed over in silence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl EpochRecord {
    /// The epoch behind it, as it goes on with this one's output: it reads nothing, keeps watermark and clock.
    pub fn continuation(&self) -> EpochRecord {
        let nothing = |range: &PartitionRecord| PartitionRecord {
            from: range.to.clone(),
            read: 0,
            rejected: Vec::new(),
            ..range.clone()
        };
        let of_source = |(source, ranges): (&String, &BTreeMap<PartitionName, PartitionRecord>)| {
            (source.clone(), ranges.iter().map(|(partition, range)| (partition.clone(), nothing(range))).collect())
        };
        EpochRecord {
            epoch: self.epoch + 1,
            partitions: self.partitions.iter().map(of_source).collect(),
            learnt: BTreeMap::new(),
            continues: Some(self.continues.unwrap_or(self.epoch)),
            cursor: None,
            failed: None,
            ..self.clone()
        }
    }
}

/// The window behind which a gap begins. Its length is there to see that the step still has such windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWindow {
    pub start: Millis,
    pub end: Millis,
}

/// One partition's part of an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartitionRecord {
    pub from: Position,
    /// Last delivered + 1: never the client's `position()`, which moves over markers.
    pub to: Position,
    /// Records read in `[from, to)`, rejected ones included (I17).
    pub read: u64,
    /// Rejected offsets, as half-open ranges (I8).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<(Offset, Offset)>,
    /// Highest event time ever seen in this partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_time: Option<Millis>,
    /// Highest Kafka timestamp ever seen in this partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_timestamp: Option<Millis>,
}
