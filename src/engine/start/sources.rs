//! Opens the sources: what is gone of them, which partitions there are, and who reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::StartOptions;
use crate::connectors::{Gone, Known, PartitionStart, Wanted};
use crate::data::{PartitionName, Position};
use crate::engine::coordinator::SourceTiming;
use crate::engine::graph::Graph;
use crate::engine::lane::Lane;
use crate::engine::metrics::Metrics;
use crate::engine::recovery::{History, Reached, Recovery};
use crate::engine::seat::{EpochClock, Seat};
use crate::journal::Jump;
use crate::plan::{Plan, SourcePlan, Step};
use crate::report::Failure;
use crate::time::{Millis, Watermark};

/// `time.align` is no smaller than this by itself.
const LEAST_ALIGN_MS: Millis = 60_000;

/// Partitions of which a replay gives less than was recorded, and may: by source, then name.
pub(super) type Shortened = BTreeMap<String, BTreeSet<PartitionName>>;

/// I17: asks the sources where they go on in spite of what is gone, says so, and has the jumps journaled before a row
/// is read behind them.
pub(super) fn gone(
    plan: &Plan,
    history: &History,
    recovery: &mut Recovery,
    metrics: &Metrics,
) -> Result<Shortened, Failure> {
    let mut shortened = Shortened::new();
    let nothing = BTreeMap::new();
    let ids = history.plan.as_ref().map_or(&nothing, |plan| &plan.topic_ids);
    for source in &plan.sources {
        let nothing = BTreeMap::new();
        let ends = recovery.ends.get(&source.name).unwrap_or(&nothing);
        let times = recovery.end_times.get(&source.name);
        let replay = recovery.positions.get(&source.name);
        let known = |(name, end): (&PartitionName, &Position)| Known {
            replay: replay.and_then(|replay| replay.get(name)).unwrap_or(end).clone(),
            end: end.clone(),
            max_timestamp: times.and_then(|times| times.get(name)?.1),
            topic_id: name.topic.as_ref().and_then(|topic| ids.get(&source.name)?.get(topic)).cloned(),
        };
        let known = source.of_names(ends.iter().map(|(name, end)| (name, known((name, end)))));
        for (partition, Gone { at, unread, again, missing }) in source.source.gone(&known, plan.repeats())? {
            let name = source.name_of(partition);
            let of = &source.name;
            match unread {
                true => {
                    let (what, whether) = match missing {
                        // Nobody can count them.
                        0 => ("the next records".to_owned(), ", if there were any"),
                        missing => (format!("{missing} records"), ""),
                    };
                    let place = &at.0;
                    if again.is_none() {
                        tracing::warn!(
                            "`{of}`: {what} of partition {name} are gone unread{whether}; it goes on at {place}"
                        );
                    }
                    let again = again.unwrap_or(0);
                    let jump = Jump { from_epoch: recovery.last + 1, to: at.clone(), is_set: false, again };
                    recovery.jumps.entry(of.clone()).or_default().insert(name.clone(), jump);
                    recovery.ends.entry(of.clone()).or_default().insert(name.clone(), at.clone());
                    recovery.plan_changed = true;
                }
                false => tracing::warn!(
                    "`{of}`: records of partition {name} below {} that open windows were made of are gone",
                    at.0
                ),
            }
            metrics.expired.fetch_add(missing, Relaxed);
            recovery.positions.entry(of.clone()).or_default().insert(name.clone(), at);
            shortened.entry(of.clone()).or_default().insert(name);
        }
    }
    Ok(shortened)
}

/// I10: output that was committed in pieces is cut where the journal says, which holds for the very rows only.
pub(super) fn refuse_pieces(history: &History, recovery: &Recovery, gone: &Shortened) -> Result<(), Failure> {
    let mut replayed = history.epochs.range(recovery.replay_from..).map(|(_, record)| record);
    match replayed.find(|record| !gone.is_empty() && record.cursor.is_some()) {
        Some(record) => Err(Failure::user(
            "refused.source_changed",
            format!(
                "records are gone of which epoch {} was made, and its output was committed in pieces",
                record.epoch
            ),
        )
        .hint("the rest of it cannot be told apart from what is written already: start over with `--fresh`")),
        None => Ok(()),
    }
}

/// By source: its partitions.
pub(super) struct Discovered {
    /// Where replay begins.
    pub(super) starts: Vec<Vec<PartitionStart>>,
    /// Where reading goes on behind it, if somebody set that elsewhere.
    pub(super) ahead: Vec<Vec<PartitionStart>>,
}

impl Discovered {
    pub(super) fn of(plan: &Plan, recovery: &Recovery) -> Result<Discovered, Failure> {
        let next = recovery.last + 1;
        let starts = discover(plan, recovery, &recovery.positions)?;
        let ahead = match recovery.replay_from < next && recovery.any_is_set(&(next..=next)) {
            true => discover(plan, recovery, &recovery.ends)?,
            false => starts.clone(),
        };
        Ok(Discovered { starts, ahead })
    }
}

fn discover(
    plan: &Plan,
    recovery: &Recovery,
    positions: &BTreeMap<String, BTreeMap<PartitionName, Position>>,
) -> Result<Vec<Vec<PartitionStart>>, Failure> {
    let of = |source: &SourcePlan| {
        let known = positions.get(&source.name).into_iter().flatten();
        let known = source.of_names(known.map(|(name, position)| (name, position.clone())));
        let times = recovery.end_times.get(&source.name);
        let max_timestamp = |partition| times.and_then(|times| times.get(&source.name_of(partition))?.1);
        let mut found = source.source.discover(&known)?;
        found.iter_mut().for_each(|start| start.max_timestamp = max_timestamp(start.partition));
        let is_at_start = |start: &&mut PartitionStart| {
            !known.contains_key(&start.partition)
                && recovery.is_at_start(&source.name, &source.name_of(start.partition))
        };
        let mut at_start = found.iter_mut().filter(is_at_start).peekable();
        // Beside known ones they are taken for partitions that were added since, which begin with their first record.
        if !known.is_empty() && at_start.peek().is_some() {
            let firsts = source.source.discover(&BTreeMap::new())?;
            let firsts: BTreeMap<_, _> = firsts.into_iter().map(|first| (first.partition, first.start)).collect();
            for start in at_start {
                if let Some(first) = firsts.get(&start.partition) {
                    start.start = first.clone();
                }
            }
        }
        Ok(found)
    };
    plan.sources.iter().map(of).collect()
}

/// I14: where a source's `start` is when it is first asked for, there it stays. `latest` would else be another place
/// after each stop without an epoch.
pub(super) fn pin_starts(plan: &Plan, recovery: &mut Recovery, discovered: &Discovered) {
    for (source, partitions) in plan.sources.iter().zip(&discovered.ahead) {
        let Some(jumps) = recovery.jumps.get_mut(&source.name) else { continue };
        for PartitionStart { partition, start, .. } in partitions {
            let jump = jumps.get_mut(&source.name_of(*partition));
            if let Some(jump) = jump.filter(|jump| jump.to.is_start() && jump.from_epoch > recovery.last) {
                jump.to = start.clone();
                recovery.plan_changed = true;
            }
        }
    }
}

/// How many lanes each source gets.
pub(super) fn lane_counts(plan: &Plan, discovered: &[Vec<PartitionStart>], options: &StartOptions) -> Vec<usize> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let lanes_max = options.lanes.or(plan.lanes).unwrap_or(cores).max(1);
    discovered.iter().map(|partitions| lanes_max.min(partitions.len()).max(1)).collect()
}

/// What it takes to open the seats of a plan.
pub(super) struct Seating<'a> {
    pub(super) plan: &'a Arc<Plan>,
    pub(super) graph: &'a Graph,
    /// By source.
    pub(super) lanes: &'a [usize],
    pub(super) clock: &'a Arc<EpochClock>,
    pub(super) queue_bytes: usize,
    pub(super) metrics: &'a Arc<Metrics>,
}

impl Seating<'_> {
    /// Deals the partitions of each source to its lanes, round and round; what is known of the time before is told to each.
    pub(super) fn open(
        &self,
        discovered: &[Vec<PartitionStart>],
        watermark: Watermark,
        times: &BTreeMap<String, BTreeMap<PartitionName, Reached>>,
    ) -> Result<Vec<Seat>, Failure> {
        // I5: an idle partition stands at its end. That is of interest to steps which look at the watermark, whose sources
        // are aligned too.
        let ends: Vec<bool> = timing(self.plan).iter().map(|of| of.align_ms.is_some()).collect();
        let repeats = self.plan.repeats();
        let mut seats = Vec::new();
        for ((index, partitions), lanes) in discovered.iter().enumerate().zip(self.lanes.iter().copied()) {
            let source = &self.plan.sources[index];
            let times = times.get(&source.name).into_iter().flatten().map(|(name, times)| (name, *times));
            let times = source.of_names(times);
            for lane in 0..lanes {
                let share: Vec<PartitionStart> = partitions.iter().skip(lane).step_by(lanes).cloned().collect();
                let opened = Lane::open(self.plan, self.graph, index, &share, self.metrics.clone())?;
                let wanted = Wanted { queue_bytes: self.queue_bytes, ends: ends[index], repeats, ..source.wanted };
                let reader = source.source.open(index as crate::data::SourceIndex, &share, wanted)?;
                let mut seat = Seat::new(index, opened, reader, &share, self.clock.clone());
                seat.resume(watermark, &times);
                seats.push(seat);
            }
        }
        Ok(seats)
    }
}

/// How each source's time is looked at.
pub(super) fn timing(plan: &Plan) -> Vec<SourceTiming> {
    let span = |step: &crate::plan::StepPlan| match &step.step {
        Step::Stateful(transform) => transform.span_ms(),
        Step::Rows(_) => None,
    };
    // I6: without a step that looks at the watermark nobody fills up with the rows of a fast partition.
    let span_ms = plan.steps.iter().filter_map(span).max();
    let lag_ms = plan.sources.iter().map(|source| source.time.lag_ms).max().unwrap_or(0);
    let align_ms = span_ms.map(|span_ms| span_ms.max(lag_ms).max(LEAST_ALIGN_MS));
    let of = |source: &crate::plan::SourcePlan| SourceTiming {
        lag_ms: source.time.lag_ms,
        idle_ms: source.time.idle_ms,
        align_ms: align_ms.map(|align_ms| source.time.align_ms.unwrap_or(align_ms)),
    };
    plan.sources.iter().map(of).collect()
}

pub(super) fn latest_positions(
    plan: &Plan,
    history: &History,
    recovery: &Recovery,
    discovered: &[Vec<PartitionStart>],
) -> BTreeMap<String, BTreeMap<PartitionName, Position>> {
    let last = history.epochs.values().next_back();
    let of = |(source, starts): (&SourcePlan, &Vec<PartitionStart>)| {
        let ranges = last.and_then(|record| record.partitions.get(&source.name));
        let position = |start: &PartitionStart| {
            let name = source.name_of(start.partition);
            let reached = ranges.and_then(|ranges| ranges.get(&name)).map(|range| range.to.clone());
            let jumps = recovery.jumps.get(&source.name).and_then(|jumps| jumps.get(&name));
            let reached = match jumps {
                Some(jump) if jump.from_epoch > recovery.last => Some(jump.to.clone()),
                _ => reached,
            };
            (name, reached.unwrap_or_else(|| start.start.clone()))
        };
        (source.name.clone(), starts.iter().map(position).collect())
    };
    plan.sources.iter().zip(discovered).map(of).collect()
}
