//! Decides when an epoch is cut, what its watermark is, and who waits for whom. Pure: events in, actions out.
//!
//! ```text
//!          due()                   every lane has cut               Committed
//! Open ─────────────▶ Cutting ─────────────────────────▶ Open, committing ─────▶ Open
//!   └─ stopped, or every source ended and nothing is open ─▶ Finished
//! ```
//!
//! One epoch commits while the next fills: a cut waits for the commit before it. Times are the
//! monotonic clock's, except the epoch's clock, which the lanes fix with their first row (I3).

use std::collections::{BTreeMap, BTreeSet};

use alignment::Alignment;

use super::lane::PartitionCut;
use crate::data::{Epoch, Mark, Partition};
use crate::journal::packed::PARTITION_BYTES;
use crate::plan::EpochSettings;
use crate::time::{Millis, Watermark};

mod alignment;

/// An epoch is cut when its journal record is about this large (I13).
pub const RECORD_BYTES_MAX: usize = 256 << 10;
/// A step of the clock of more than this counts as none: the process was suspended (I5).
const LONGEST_STEP_MS: Millis = 1_000;

/// How a partition stands, as its lane sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionView {
    /// Highest event time up to the last cut.
    pub max_time: Option<Millis>,
    /// The event time about which it is being read.
    pub reached: Option<Millis>,
    /// It stands at its end, or stood there a moment ago.
    pub keeps_up: bool,
    /// Since when this process has stood at its end without a row; `None`: it does not (I5).
    pub quiet_since: Option<Millis>,
    pub ended: bool,
}

/// How a lane stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneReport {
    /// Rows and bytes of the open epoch.
    pub rows: u64,
    pub bytes: usize,
    /// About what its rejected ranges take in the epoch's record.
    pub ranges_bytes: usize,
    /// Nothing is waiting to be taken in.
    pub drained: bool,
    /// It has its share of `epoch.max_bytes` and waits for the cut.
    pub full: bool,
    pub partitions: BTreeMap<Partition, PartitionView>,
}

/// What a lane says when it has ended its epoch's ranges.
#[derive(Debug, Clone)]
pub struct LaneCut {
    pub partitions: BTreeMap<Partition, PartitionCut>,
    pub views: BTreeMap<Partition, PartitionView>,
    /// The epoch's clock, if this lane took a row in.
    pub clock: Option<Millis>,
}

#[derive(Debug)]
pub enum Event {
    Report {
        lane: usize,
        report: LaneReport,
    },
    Cut {
        lane: usize,
        cut: LaneCut,
    },
    /// The epoch is durable, with all continuations that its output took: this is the last of them (I10). These
    /// windows (end + grace, ascending) are open behind it.
    Committed {
        epoch: Epoch,
        open_ends: Vec<Millis>,
        /// The clock at which a step wants an epoch, rows or not (I3).
        due: Option<Millis>,
        /// What all steps hold behind it.
        state_bytes: usize,
    },
    /// Stop cleanly: cut what was taken in, commit it, emit nothing early (I21).
    Stop,
    Tick,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Every lane ends its ranges and answers with [`Event::Cut`].
    Cut,
    /// Every lane hands its epoch over. `ranges` is by source, then partition.
    Mark { mark: Mark, ranges: BTreeMap<usize, BTreeMap<Partition, PartitionCut>> },
    /// From now on the lane reads all of its partitions but these (I6).
    Pause { lane: usize, partitions: BTreeSet<Partition> },
    /// State does not fit into its memory, and no partition is left that could wait (I6).
    Full,
    /// Everything is committed and nothing more will come.
    Finished,
}

/// What it goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub epoch: EpochSettings,
    /// More state than this does not fit.
    pub state_bytes_max: usize,
}

/// What the coordinator needs to know of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceTiming {
    pub lag_ms: Millis,
    pub idle_ms: Option<Millis>,
    /// How far a partition may be ahead of the slowest; `None`: nothing in the pipeline looks at the watermark.
    pub align_ms: Option<Millis>,
}

/// The state machine. One per pipeline.
#[derive(Debug)]
pub struct Coordinator {
    settings: EpochSettings,
    state: StateRoom,
    /// By source.
    timing: Vec<SourceTiming>,
    /// Source of each lane.
    lanes: Vec<usize>,
    /// `None`: the lane has not been heard of, and what it reads is unknown.
    reports: Vec<Option<LaneReport>>,
    cuts: Vec<Option<LaneCut>>,
    phase: Phase,
    committing: bool,
    stopping: bool,
    /// The epoch that is filling.
    epoch: Epoch,
    watermark: Watermark,
    clock: Millis,
    open_ends: Vec<Millis>,
    /// The clock at which a step wants an epoch, rows or not.
    due: Option<Millis>,
    last_cut: Millis,
    first_row: Option<Millis>,
    quiet: Quiet,
    /// By lane: partitions that wait for slower ones.
    paused: Vec<BTreeSet<Partition>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// `ending`: the cut that closes all windows because every source has ended.
    Cutting {
        ending: bool,
    },
    Finished,
}

/// How long every partition has been idle, in time that this process saw pass.
#[derive(Debug, Clone, Copy, Default)]
struct Quiet {
    checked: Millis,
    /// Every partition was idle then.
    idle: bool,
    elapsed: Millis,
}

/// How state stands to its part of the memory (I6).
#[derive(Debug, Clone, Copy)]
struct StateRoom {
    bytes_max: usize,
    short: bool,
    /// Seen at the last commit, and not yet looked at.
    full: bool,
}

impl StateRoom {
    fn note(&mut self, bytes: usize) {
        let (short_from, ample_below) = (self.bytes_max / 4 * 3, self.bytes_max / 8 * 5);
        self.short = bytes >= if self.short { ample_below } else { short_from };
        self.full = bytes > self.bytes_max;
    }
}

/// Where an earlier run (or replay) stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// Last committed epoch; 0 for none.
    pub epoch: Epoch,
    pub watermark: Watermark,
    pub clock: Millis,
    pub open_ends: Vec<Millis>,
    /// The clock at which a step wants an epoch, rows or not.
    pub due: Option<Millis>,
}

impl Coordinator {
    pub fn new(
        settings: Settings,
        timing: Vec<SourceTiming>,
        lanes: Vec<usize>,
        resumed: Resumed,
        now: Millis,
    ) -> Self {
        Coordinator {
            settings: settings.epoch,
            state: StateRoom { bytes_max: settings.state_bytes_max, short: false, full: false },
            timing,
            reports: vec![None; lanes.len()],
            cuts: vec![None; lanes.len()],
            paused: vec![BTreeSet::new(); lanes.len()],
            lanes,
            phase: Phase::Open,
            committing: false,
            stopping: false,
            epoch: resumed.epoch + 1,
            watermark: resumed.watermark,
            clock: resumed.clock,
            open_ends: resumed.open_ends,
            due: resumed.due,
            last_cut: now,
            first_row: None,
            quiet: Quiet { checked: now, ..Quiet::default() },
        }
    }

    /// Takes an event in. `now` is the monotonic clock, `wall` the wall clock.
    pub fn on(&mut self, event: Event, now: Millis, wall: Millis) -> Vec<Action> {
        match event {
            Event::Report { lane, report } => {
                if report.rows > 0 && self.first_row.is_none() {
                    self.first_row = Some(now);
                }
                self.reports[lane] = Some(report);
            }
            Event::Cut { lane, cut } => {
                // I3: what is cut next is decided by what this cut saw. By the report before it the same window would be due
                // again and again, without closing, until the lane is heard of anew.
                if let Some(report) = &mut self.reports[lane] {
                    report.partitions.clone_from(&cut.views);
                }
                self.cuts[lane] = Some(cut);
                if self.cuts.iter().all(Option::is_some) {
                    return vec![self.mark(now, wall)];
                }
            }
            Event::Committed { epoch, open_ends, due, state_bytes } => {
                debug_assert!(epoch + 1 >= self.epoch, "epochs commit in order");
                self.epoch = epoch + 1;
                self.state.note(state_bytes);
                self.committing = false;
                self.open_ends = open_ends;
                self.due = due;
            }
            Event::Stop => self.stopping = true,
            Event::Tick => {}
        }
        self.watch_quiet(now);
        let (mut actions, more_wait) = self.align(now);
        if std::mem::take(&mut self.state.full) && !more_wait {
            self.phase = Phase::Finished;
            return vec![Action::Full];
        }
        actions.extend(self.decide(now, wall));
        actions
    }

    /// True while memory is short, and only the slowest partitions are read.
    pub fn is_short(&self) -> bool {
        self.state.short
    }

    /// I6: tells the lanes whose waiting partitions are others than before; true if one more must wait.
    fn align(&mut self, now: Millis) -> (Vec<Action>, bool) {
        if !self.looks_at_time() {
            return (Vec::new(), false);
        }
        let (timing, lanes, reports) = (&self.timing, &self.lanes, &self.reports);
        let paused = Alignment { timing, lanes, reports, now, short: self.state.short }.paused(&self.paused);
        let before = std::mem::replace(&mut self.paused, paused);
        let (mut actions, mut more_wait) = (Vec::new(), false);
        for (lane, (partitions, before)) in self.paused.iter().zip(&before).enumerate() {
            if partitions != before {
                more_wait |= !partitions.is_subset(before);
                actions.push(Action::Pause { lane, partitions: partitions.clone() });
            }
        }
        (actions, more_wait)
    }

    /// When to send the next [`Event::Tick`] at the latest, if nothing else happens before. `None`: nothing is due before
    /// something happens.
    pub fn next_tick(&self, now: Millis, wall: Millis) -> Option<Millis> {
        if self.phase != Phase::Open || self.committing {
            return Some(now + 500);
        }
        if self.rows() > 0 {
            let min = self.last_cut + self.settings.min_ms;
            let interval = self.first_row.unwrap_or(now) + self.settings.interval_ms;
            return Some(if self.drained() { min.min(interval) } else { interval }.max(now + 1));
        }
        let due = self.due.map(|due| (due - wall).clamp(1, 500));
        if self.open_ends.is_empty() && !self.looks_at_time() {
            return due.map(|due| now + due);
        }
        // Open windows may be closed by idle time: look often enough that the steps stay small (I5).
        let look = if self.open_ends.is_empty() { 500 } else { 20 };
        Some(now + due.map_or(look, |due| due.min(look)))
    }

    /// True if a step looks at the watermark: partitions may be paused or idle.
    fn looks_at_time(&self) -> bool {
        self.timing.iter().any(|timing| timing.align_ms.is_some())
    }

    fn decide(&mut self, now: Millis, wall: Millis) -> Vec<Action> {
        if self.phase != Phase::Open || self.committing {
            return Vec::new();
        }
        let rows = self.rows();
        if self.stopping && rows == 0 {
            return self.finish();
        }
        // A lane that is silent yet may be behind the ends and times of the others.
        if self.reports.iter().any(Option::is_none) && !(self.stopping || self.rows_due(now)) {
            return Vec::new();
        }
        let ended = self.all_ended() && rows == 0;
        if ended && self.open_ends.is_empty() && self.due.is_none() {
            return self.finish();
        }
        if !(ended || self.stopping || self.rows_due(now) || self.window_due(now) || self.timer_due(wall)) {
            return Vec::new();
        }
        self.phase = Phase::Cutting { ending: ended };
        vec![Action::Cut]
    }

    fn finish(&mut self) -> Vec<Action> {
        self.phase = Phase::Finished;
        vec![Action::Finished]
    }

    fn heard(&self) -> impl Iterator<Item = &LaneReport> {
        self.reports.iter().flatten()
    }

    fn rows(&self) -> u64 {
        self.heard().map(|report| report.rows).sum()
    }

    fn drained(&self) -> bool {
        self.reports.iter().all(|report| report.as_ref().is_some_and(|report| report.drained))
    }

    fn rows_due(&self, now: Millis) -> bool {
        let Some(first_row) = self.first_row.filter(|_| self.rows() > 0) else { return false };
        let bytes: usize = self.heard().map(|report| report.bytes).sum();
        let drained = self.drained() && now >= self.last_cut + self.settings.min_ms;
        drained
            || self.heard().any(|report| report.full)
            || now >= first_row + self.settings.interval_ms
            || bytes >= self.settings.max_bytes
            || self.record_due()
    }

    /// I13: the epoch's record has grown to its size. Partitions alone cut none, however many.
    fn record_due(&self) -> bool {
        let partitions: usize = self.heard().map(|report| report.partitions.len()).sum();
        let ranges: usize = self.heard().map(|report| report.ranges_bytes).sum();
        ranges >= RECORD_BYTES_MAX.saturating_sub(partitions * PARTITION_BYTES).max(RECORD_BYTES_MAX / 8)
    }

    /// I5: idle time may close a window without a row.
    fn window_due(&self, now: Millis) -> bool {
        let heard = self.lanes.iter().zip(&self.reports);
        let views = heard.filter_map(|(source, report)| Some((*source, &report.as_ref()?.partitions)));
        let candidate = self.candidate(views, now);
        let closes = |end: &Millis| candidate.has_closed(*end, 0) && !self.watermark.has_closed(*end, 0);
        self.open_ends.iter().any(closes)
    }

    /// I3: a step writes at times of the clock, and one of them has come.
    fn timer_due(&self, wall: Millis) -> bool {
        self.due.is_some_and(|due| due <= wall.max(self.clock))
    }

    fn all_ended(&self) -> bool {
        let mut partitions = self.heard().flat_map(|report| report.partitions.values()).peekable();
        partitions.peek().is_some() && partitions.all(|view| view.ended)
    }

    /// Every lane has cut: fixes ranges, watermark and clock.
    fn mark(&mut self, now: Millis, wall: Millis) -> Action {
        let cuts: Vec<LaneCut> = self.cuts.iter_mut().filter_map(Option::take).collect();
        let ending = self.phase == Phase::Cutting { ending: true };
        let views = self.lanes.iter().zip(&cuts).map(|(source, cut)| (*source, &cut.views));
        let mut watermark = self.watermark.max(self.candidate(views, now));
        let took_rows = cuts.iter().flat_map(|cut| cut.partitions.values()).any(|cut| cut.read > 0);
        // A row that slipped in makes this an ordinary cut; the end is cut again behind it.
        let ended = ending && !took_rows;
        if ended {
            // I21: exactly to the newest open window, never to infinity.
            watermark = watermark.max(self.open_ends.last().map_or(Watermark::NONE, |end| Watermark::at(*end)));
        }
        self.clock = cuts.iter().filter_map(|cut| cut.clock).max().unwrap_or(wall).max(self.clock);
        self.watermark = watermark;
        let mark = Mark { epoch: self.epoch, watermark, clock: self.clock, ended };
        let mut ranges: BTreeMap<usize, BTreeMap<Partition, PartitionCut>> = BTreeMap::new();
        for (source, cut) in self.lanes.iter().zip(cuts) {
            ranges.entry(*source).or_default().extend(cut.partitions);
        }
        self.epoch += 1;
        self.phase = Phase::Open;
        self.committing = true;
        self.last_cut = now;
        self.first_row = None;
        for report in self.reports.iter_mut().flatten() {
            report.rows = 0;
            report.bytes = 0;
            report.ranges_bytes = 0;
            report.full = false;
        }
        Action::Mark { mark, ranges }
    }

    /// What the watermark could be now: the minimum over the partitions that hold it of (highest
    /// event time − lag); when none does, the highest of them plus the idle time that was seen.
    fn candidate<'a>(
        &self,
        views: impl Iterator<Item = (usize, &'a BTreeMap<Partition, PartitionView>)>,
        now: Millis,
    ) -> Watermark {
        let mut held: Option<Watermark> = None;
        let mut highest = Watermark::NONE;
        for (source, view) in views.flat_map(|(source, views)| views.values().map(move |view| (source, view))) {
            let timing = self.timing[source];
            let reached =
                view.max_time.map_or(Watermark::NONE, |time| Watermark::at(time.saturating_sub(timing.lag_ms)));
            highest = highest.max(reached);
            if !view.ended && !is_idle(view, timing, now) {
                held = Some(held.map_or(reached, |held| held.min(reached)));
            }
        }
        match (held, highest.time()) {
            (Some(held), _) => held,
            (None, Some(highest)) => {
                let newest = self.open_ends.last().copied().unwrap_or(highest).max(highest);
                Watermark::at(highest.saturating_add(self.quiet.elapsed).min(newest))
            }
            (None, None) => Watermark::NONE,
        }
    }

    /// Adds the time since the last look to the idle time, if every partition is idle.
    fn watch_quiet(&mut self, now: Millis) {
        let step = now - std::mem::replace(&mut self.quiet.checked, now);
        let all_idle = self.lanes.iter().zip(&self.reports).all(|(source, report)| {
            let idle = |view: &PartitionView| view.ended || is_idle(view, self.timing[*source], now);
            report.as_ref().is_some_and(|report| report.partitions.values().all(idle))
        });
        let idle = all_idle && self.rows() == 0;
        let was_idle = std::mem::replace(&mut self.quiet.idle, idle);
        if !idle {
            self.quiet.elapsed = 0;
        } else if was_idle && step <= LONGEST_STEP_MS {
            self.quiet.elapsed += step;
        }
    }
}

/// I5: read to its end by this process, and nothing has come for `idle` since.
fn is_idle(view: &PartitionView, timing: SourceTiming, now: Millis) -> bool {
    match (view.quiet_since, timing.idle_ms) {
        (Some(since), Some(idle_ms)) => now - since >= idle_ms,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
