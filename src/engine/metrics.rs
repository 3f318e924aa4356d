//! What a running pipeline counts. Written by the engine's threads, read by the status line.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Counters since this process started; replayed rows are not counted.
#[derive(Debug, Default)]
pub struct Metrics {
    pub rows_in: AtomicU64,
    pub bytes_in: AtomicU64,
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
    /// Snapshots of the state that were published, and that could not be written.
    pub snapshots: AtomicU64,
    pub snapshots_failed: AtomicU64,
    /// Records between the positions and the ends, where the sources know.
    pub behind: AtomicU64,
    /// Milliseconds; `i64::MIN` before the first.
    pub watermark: AtomicI64,
    /// Bytes held when the last epoch was committed (I6).
    pub memory: AtomicU64,
    /// Most bytes held at any commit.
    pub memory_max: AtomicU64,
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
    /// Notes how much is held now.
    pub fn hold(&self, bytes: usize) {
        self.memory.store(bytes as u64, Relaxed);
        self.memory_max.fetch_max(bytes as u64, Relaxed);
    }

    pub fn snapshot(&self) -> Snapshot {
        let watermark = self.watermark.load(Relaxed);
        Snapshot {
            rows_in: self.rows_in.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            rows_out: self.rows_out.load(Relaxed),
            late: self.late.load(Relaxed),
            dead: self.dead.load(Relaxed),
            expired: self.expired.load(Relaxed),
            already_out: self.already_out.load(Relaxed),
            ahead: self.ahead.load(Relaxed),
            epochs: self.epochs.load(Relaxed),
            snapshots: self.snapshots.load(Relaxed),
            snapshots_failed: self.snapshots_failed.load(Relaxed),
            behind: self.behind.load(Relaxed),
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
