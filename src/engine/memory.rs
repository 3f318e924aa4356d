//! The memory budget of a pipeline (I6): who may hold how much, and who does.
//!
//! `memory` is divided once, when a pipeline starts. Clients' queues, open epochs and the backlogs of slow sinks are
//! kept within their parts by waiting; what they leave is for state, which nobody can make smaller. So
//! whether the budget is full depends on the data alone, and not on how fast somebody happened to be.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::data::size;
use crate::plan::Plan;
use crate::report::Failure;

/// Clients' queues, epochs in flight and backlogs get at most this part each.
const PART: usize = 4;
/// What an epoch and the one that commits beside it may hold, in `epoch.max_bytes`: columns and records take about
/// twice the bytes that they stand for.
const IN_FLIGHT: usize = 4;
/// I18: a slow sink is at most this far behind, however much memory there is.
const BACKLOG_MAX: usize = 64 << 20;
/// A lane's queue: more than this makes no reader faster.
const QUEUE_MAX: usize = 20 << 20;
const QUEUE_MIN: usize = 3 << 19;

/// How the budget is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    pub whole: usize,
    /// What the client of one lane may hold before it hands it over.
    pub queue: usize,
    /// All lanes' queues.
    pub queues: usize,
    /// `epoch.max_bytes`, or less where that would not fit.
    pub epoch: usize,
    /// How far one slow sink may be behind.
    pub backlog: usize,
    /// What is left for the state of all steps.
    pub state: usize,
}

impl Shares {
    /// Divides a plan's budget among as many lanes with a client's queue, and sinks that may be behind.
    pub fn of(plan: &Plan, lanes: usize, sinks: usize) -> Shares {
        let whole = plan.memory;
        let queue = (whole / PART / lanes.max(1)).clamp(QUEUE_MIN, QUEUE_MAX);
        let queues = queue * lanes;
        let epoch = plan.epoch.max_bytes.min(whole / PART / IN_FLIGHT).max(1);
        let backlog = (whole / PART / sinks.max(1)).min(BACKLOG_MAX);
        let state = whole.saturating_sub(queues + epoch * IN_FLIGHT + backlog * sinks);
        Shares { whole, queue, queues, epoch, backlog, state }
    }
}

/// How much somebody holds. Cheap to set; clones are the same gauge.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicUsize>);

impl Gauge {
    pub fn set(&self, bytes: usize) {
        self.0.store(bytes, Relaxed);
    }

    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }

    pub fn sub(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }

    pub fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// Who holds how much of a pipeline's memory.
#[derive(Debug)]
pub struct Memory {
    pub shares: Shares,
    gauges: Mutex<Vec<(String, Gauge)>>,
}

impl Memory {
    pub fn new(shares: Shares) -> Arc<Memory> {
        Arc::new(Memory { shares, gauges: Mutex::default() })
    }

    /// A gauge for somebody, named for people: "the state of `per_user`".
    pub fn gauge(&self, holder: impl Into<String>) -> Gauge {
        let gauge = Gauge::default();
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner).push((holder.into(), gauge.clone()));
        gauge
    }

    /// Bytes held by all.
    pub fn used(&self) -> usize {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(_, gauge)| gauge.get()).sum()
    }

    /// The end of a run whose state does not fit, with who holds what.
    pub fn full(&self, pipeline: &str) -> Failure {
        let Shares { whole, state, .. } = self.shares;
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_holder: BTreeMap<&str, usize> = BTreeMap::new();
        for (holder, gauge) in gauges.iter().filter(|(_, gauge)| gauge.get() > 0) {
            *by_holder.entry(holder).or_default() += gauge.get();
        }
        let mut held: Vec<(&str, usize)> = by_holder.into_iter().collect();
        held.sort_by_key(|(_, held)| std::cmp::Reverse(*held));
        let mut message = format!(
            "the memory of `{pipeline}` is full: of {} its state may hold {}, and there is nothing left to wait for; ",
            size(whole),
            size(state)
        );
        for (index, (holder, held)) in held.iter().enumerate() {
            let _ = write!(message, "{}{holder} {}", if index > 0 { ", " } else { "" }, size(*held));
        }
        Failure::user("memory.full", message).hint(
            "nothing is lost: raise `memory` and apply again, and it goes on here; or keep less, by fewer groups or shorter windows",
        )
    }
}
