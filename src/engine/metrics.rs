//! What a running pipeline counts. Written by the engine's threads, read by the status line and `/metrics`.
//!
//! Nothing is counted record by record: lanes and branches add up a batch at a time in an epoch's [`Counts`], and those
//! of epochs that are live are added here at the mark.

mod histogram;
mod parts;
mod written;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

pub use histogram::{Histogram, Observed};
pub use parts::{Counts, Flow, PartCounters, PartKind, PartSnapshot, Parts};
pub use written::{WrittenTopic, WrittenTopics};

use crate::data::DeadLetter;
use crate::plan::Plan;

/// Counters since this process started; replayed rows are not counted.
#[derive(Debug, Default)]
pub struct Metrics {
    pub rows_in: AtomicU64,
    pub rows_out: AtomicU64,
    pub late: AtomicU64,
    pub dead: AtomicU64,
    /// Records that were needed and gone, where `on_expired` goes on.
    pub expired: AtomicU64,
    /// Rows that were made again after a restart from the sink's times and left out, as the sink has that time.
    pub already_out: AtomicU64,
    /// Records written with an earlier timestamp than their time, which is further ahead than their topic takes.
    pub ahead: AtomicU64,
    pub epochs: AtomicU64,
    /// How long commits took: of the journal, with the sinks that commit with it.
    pub commits: Histogram,
    /// Snapshots of the state that were published, and that could not be written.
    pub snapshots: AtomicU64,
    pub snapshots_failed: AtomicU64,
    /// Milliseconds; `i64::MIN` before the first.
    pub watermark: AtomicI64,
    /// Bytes held when the last epoch was committed (I6).
    pub memory: AtomicU64,
    /// Most bytes held at any commit.
    pub memory_max: AtomicU64,
    pub parts: PartCounters,
    /// By topic, for whoever shows which ones were used.
    pub written: WrittenTopics,
}

/// What is measured beside the [`Snapshot`], which is about the pipeline as a whole, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Measures {
    pub parts: Parts,
    pub commits: Observed,
}

impl Measures {
    /// These on top of those of earlier runs of the same pipeline. Parts that it no longer has are gone.
    pub fn after(mut self, past: &Measures) -> Measures {
        for (part, counters) in &mut self.parts {
            *counters = counters.after(past.parts.get(part).copied().unwrap_or_default());
        }
        Measures { commits: self.commits.plus(past.commits), ..self }
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Snapshot {
    pub rows_in: u64,
    pub bytes_in: u64,
    pub rows_out: u64,
    pub late: u64,
    pub dead: u64,
    pub expired: u64,
    pub already_out: u64,
    pub ahead: u64,
    pub epochs: u64,
    pub snapshots: u64,
    pub snapshots_failed: u64,
    pub behind: u64,
    pub watermark: Option<i64>,
    pub memory: u64,
    pub memory_max: u64,
}

impl Metrics {
    /// Of a plan that is about to run.
    pub fn of(plan: &Plan) -> Metrics {
        Metrics { parts: PartCounters::of(plan), ..Metrics::default() }
    }

    /// Adds up what lanes and branches counted of an epoch that is live.
    pub fn count(&self, counts: &Counts) {
        self.late.fetch_add(counts.late_rows(), Relaxed);
        self.parts.add(counts);
    }

    /// The same of what was refused.
    pub fn count_dead(&self, dead: &[DeadLetter]) {
        self.dead.fetch_add(dead.len() as u64, Relaxed);
        self.parts.add_dead(dead);
    }

    /// Notes how much is held now.
    pub fn hold(&self, bytes: usize) {
        self.memory.store(bytes as u64, Relaxed);
        self.memory_max.fetch_max(bytes as u64, Relaxed);
    }

    pub fn measures(&self) -> Measures {
        Measures { parts: self.parts.snapshot(), commits: self.commits.observed() }
    }

    pub fn snapshot(&self) -> Snapshot {
        let watermark = self.watermark.load(Relaxed);
        Snapshot {
            rows_in: self.rows_in.load(Relaxed),
            bytes_in: self.parts.bytes_in(),
            rows_out: self.rows_out.load(Relaxed),
            late: self.late.load(Relaxed),
            dead: self.dead.load(Relaxed),
            expired: self.expired.load(Relaxed),
            already_out: self.already_out.load(Relaxed),
            ahead: self.ahead.load(Relaxed),
            epochs: self.epochs.load(Relaxed),
            snapshots: self.snapshots.load(Relaxed),
            snapshots_failed: self.snapshots_failed.load(Relaxed),
            behind: self.parts.behind(),
            memory: self.memory.load(Relaxed),
            memory_max: self.memory_max.load(Relaxed),
            watermark: (watermark != i64::MIN && self.epochs.load(Relaxed) > 0).then_some(watermark),
        }
    }
}

impl Snapshot {
    /// These counters on top of those of earlier runs of the same pipeline; what is held and how far it is, is its own.
    pub fn after(self, past: Snapshot) -> Snapshot {
        let (watermark, behind, memory) = (self.watermark, self.behind, self.memory);
        let memory_max = self.memory_max.max(past.memory_max);
        Snapshot { watermark, behind, memory, memory_max, ..self.plus(past) }
    }

    /// Counters of two pipelines together; the watermark is the lower one.
    pub fn plus(self, other: Snapshot) -> Snapshot {
        Snapshot {
            rows_in: self.rows_in + other.rows_in,
            bytes_in: self.bytes_in + other.bytes_in,
            rows_out: self.rows_out + other.rows_out,
            late: self.late + other.late,
            dead: self.dead + other.dead,
            expired: self.expired + other.expired,
            already_out: self.already_out + other.already_out,
            ahead: self.ahead + other.ahead,
            epochs: self.epochs + other.epochs,
            snapshots: self.snapshots + other.snapshots,
            snapshots_failed: self.snapshots_failed + other.snapshots_failed,
            behind: self.behind + other.behind,
            memory: self.memory + other.memory,
            memory_max: self.memory_max + other.memory_max,
            watermark: match (self.watermark, other.watermark) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }
}
