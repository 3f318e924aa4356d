//! Which partitions wait for slower ones (I6). Pure.
//!
//! A partition whose event time is more than `align` ahead of the slowest is paused, so that state holds the rows
//! of one stretch of time instead of whatever came first. The slowest is never ahead of itself, so there is
//! always one that is read: nothing hangs on a pause.
//!
//! What keeps up with its end holds nobody: no pause makes it faster, and what it is behind by is the world's
//! doing. Only when memory is short the others wait for it too, until it is idle (I5).

use std::collections::BTreeSet;

use super::{LaneReport, PartitionView, SourceTiming, is_idle};
use crate::data::Partition;
use crate::time::Millis;

/// When memory is short only the slowest are read: those within this part of `align`.
const SHORT_PART: Millis = 8;
/// A paused partition goes on when it is nearer than `align` by this part, so that it does not stop at once.
const RESUME_PART: Millis = 4;

/// What every partition is held against.
pub(super) struct Alignment<'a> {
    /// By source.
    pub timing: &'a [SourceTiming],
    /// Source of each lane.
    pub lanes: &'a [usize],
    pub reports: &'a [Option<LaneReport>],
    pub now: Millis,
    /// Memory is short.
    pub short: bool,
}

impl Alignment<'_> {
    /// The partitions of each lane that must wait, given those that do.
    pub fn paused(&self, before: &[BTreeSet<Partition>]) -> Vec<BTreeSet<Partition>> {
        let Some(slowest) = self.slowest() else { return vec![BTreeSet::new(); self.lanes.len()] };
        let of = |(lane, before): (usize, &BTreeSet<Partition>)| {
            let Some(report) = &self.reports[lane] else { return before.clone() };
            let timing = self.timing[self.lanes[lane]];
            let views = report.partitions.iter();
            let waits = |(partition, view): &(&Partition, &PartitionView)| {
                self.must_wait(view, timing, slowest, before.contains(partition))
            };
            views.filter(waits).map(|(partition, _)| *partition).collect()
        };
        before.iter().enumerate().map(of).collect()
    }

    fn must_wait(&self, view: &PartitionView, timing: SourceTiming, slowest: Millis, waits: bool) -> bool {
        let (Some(reached), Some(align), false) = (view.reached, timing.align_ms, view.ended) else { return false };
        let far = if self.short { align / SHORT_PART } else { align };
        let far = if waits { far - far / RESUME_PART } else { far };
        reached.saturating_sub(slowest) > far
    }

    /// Event time of the slowest partition that others wait for.
    fn slowest(&self) -> Option<Millis> {
        let reported = self.lanes.iter().zip(self.reports);
        let views = reported.filter_map(|(source, report)| Some((self.timing[*source], &report.as_ref()?.partitions)));
        let times = views.flat_map(|(timing, views)| views.values().filter_map(move |view| self.holds(view, timing)));
        times.min()
    }

    /// The event time at which a partition holds the others.
    fn holds(&self, view: &PartitionView, timing: SourceTiming) -> Option<Millis> {
        if view.ended || timing.align_ms.is_none() || is_idle(view, timing, self.now) {
            return None;
        }
        match (view.reached, self.short) {
            (Some(reached), true) => Some(reached),
            // Nothing of it was seen yet: with memory left the others need not wait for it.
            (None, true) => Some(Millis::MIN),
            (reached, false) => reached.filter(|_| !view.keeps_up),
        }
    }
}

#[cfg(test)]
mod tests;
