//! From a journal to where a pipeline goes on. Pure: records in, a decision or a refusal out.
//!
//! Replay starts at the minimum, over all sinks, of *needed* in the record of that sink's last
//! epoch; output is suppressed up to each sink's last epoch (I13). There is never a silent fresh
//! start: what cannot be continued is refused, and the refusal names the choices.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::carry::{Carried, Fate};
use super::kept::kept_bad_record;
use crate::connectors::{Delivery, SinkProgress};
use crate::data::{Epoch, PartitionName, Position};
use crate::journal::{EpochRecord, Jump, LastWindow, Owner, Parts, PlanRecord, Record};
use crate::plan;
use crate::report::Failure;
use crate::time::{Millis, Watermark};

/// Where a plan record's `resolved` has what each source reads.
pub const READS: &str = "reads";
/// Where it has in which place the progress of each sink stands that has a choice.
pub const KEPT: &str = "kept";
/// Where it has what each sink is given, and as what.
pub const WRITES: &str = "writes";

/// How far a partition's times are: highest event time, highest Kafka timestamp.
pub type Reached = (Option<Millis>, Option<Millis>);

/// What a journal holds, in order.
#[derive(Debug, Default)]
pub struct History {
    /// The newest.
    pub plan: Option<PlanRecord>,
    /// The newest.
    pub owner: Option<Owner>,
    /// Those that were not trimmed.
    pub epochs: BTreeMap<Epoch, EpochRecord>,
    /// Of sinks without a memory of their own.
    pub progress: BTreeMap<String, Epoch>,
}

impl History {
    pub fn of(records: Vec<Record>) -> History {
        let mut history = History::default();
        for record in records {
            match record {
                Record::Plan(plan) => history.plan = Some(plan),
                Record::Owner(owner) => history.owner = Some(owner),
                Record::Epoch(epoch) => {
                    history.epochs.insert(epoch.epoch, epoch);
                }
                Record::Progress { sink, epoch } => {
                    let last = history.progress.entry(sink).or_default();
                    *last = epoch.max(*last);
                }
                Record::Reached { .. } => {}
            }
        }
        history
    }

    /// Of the newest plan.
    pub fn lineage_of(records: &[Record]) -> Option<String> {
        let of = |record: &Record| if let Record::Plan(plan) = record { Some(plan.lineage.clone()) } else { None };
        records.iter().rev().find_map(of)
    }

    /// Whether a plan has ever begun. Positions can be set before one does.
    pub fn has_begun(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| !plan.fingerprint.is_empty())
    }

    /// The last committed epoch; 0 for none.
    pub fn last(&self) -> Epoch {
        self.epochs.keys().next_back().copied().unwrap_or(0)
    }

    /// Why the run failed behind the last epoch, if nobody was told so far.
    pub fn untold(&self) -> Option<Failure> {
        let (epoch, last) = self.epochs.last_key_value()?;
        let is_told = self.plan.as_ref().is_some_and(|plan| plan.told_failed == Some(*epoch));
        last.failed.clone().filter(|_| !is_told).map(kept_bad_record)
    }

    /// The oldest epoch that replay must read to rebuild the state behind `epoch`.
    fn needed(&self, epoch: Epoch) -> Option<Epoch> {
        if epoch == 0 { Some(1) } else { self.epochs.get(&epoch).map(|record| record.needed) }
    }
}

/// A sink of the plan, and what it remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkMemory {
    pub name: String,
    pub delivery: Delivery,
    /// Of a sink that is at least once: from when it was exactly once, if it was.
    pub progress: Option<SinkProgress>,
}

/// How a run begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovery {
    pub lineage: String,
    /// True if the journal held nothing: a first run.
    pub first_run: bool,
    /// Last committed epoch; 0 for none.
    pub last: Epoch,
    /// The epoch behind which a snapshot has the state; `None`: replay begins without any.
    pub snapshot: Option<Epoch>,
    /// First epoch to replay; `last + 1` when there is nothing to replay.
    pub replay_from: Epoch,
    /// Per sink of the plan: the last epoch that it has.
    pub sinks: Vec<Epoch>,
    /// In force for the first epoch to be read.
    pub watermark: Watermark,
    pub clock: Millis,
    /// By step that fills gaps: the last window that it had given a row there (I13).
    pub last_windows: BTreeMap<String, LastWindow>,
    /// Where the first epoch to be read begins, by source name.
    pub positions: BTreeMap<String, BTreeMap<PartitionName, Position>>,
    /// Where the last epoch ended, by source name.
    pub ends: BTreeMap<String, BTreeMap<PartitionName, Position>>,
    /// How far event time was behind it.
    pub end_times: BTreeMap<String, BTreeMap<PartitionName, Reached>>,
    /// Partitions that went on elsewhere: what they had read before is read again only where somebody set them.
    pub jumps: BTreeMap<String, BTreeMap<PartitionName, Jump>>,
    /// How far event time was there: highest event time, highest Kafka timestamp.
    pub times: BTreeMap<String, BTreeMap<PartitionName, Reached>>,
    /// What the plan's parts are made of, and the first epoch of each.
    pub parts: Parts,
    /// What becomes of the state of each step, if the plan computes something else than the journal's.
    pub changed: BTreeMap<String, Fate>,
    /// No plan has begun: what has no position begins at its `start`, whatever was set of others.
    pub begins: bool,
    /// The plan differs from the journal's: a new plan record is due.
    pub plan_changed: bool,
}

impl Recovery {
    /// Whether a partition begins where its source's `start` says, although others of it have begun.
    pub fn is_at_start(&self, source: &str, partition: &PartitionName) -> bool {
        let jump = self.jumps.get(source).and_then(|jumps| jumps.get(partition));
        self.begins || jump.is_some_and(|jump| jump.to.is_start() && jump.from_epoch > self.last)
    }

    /// Whether somebody set a partition elsewhere, for it to begin one of these epochs there.
    pub fn is_set(&self, source: &str, partition: &PartitionName, epochs: &RangeInclusive<Epoch>) -> bool {
        let jump = self.jumps.get(source).and_then(|jumps| jumps.get(partition));
        jump.is_some_and(|jump| jump.is_set && epochs.contains(&jump.from_epoch))
    }

    /// Whether somebody set any so.
    pub fn any_is_set(&self, epochs: &RangeInclusive<Epoch>) -> bool {
        let mut jumps = self.jumps.values().flat_map(BTreeMap::values);
        jumps.any(|jump| jump.is_set && epochs.contains(&jump.from_epoch))
    }
}

/// What of the plan matters for recovery.
#[derive(Debug, Clone, Copy)]
pub struct PlanFacts<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub fingerprint: &'a str,
    pub parts: &'a plan::Parts,
    /// Steps whose state may be given up.
    pub accept_reset: &'a BTreeSet<String>,
    /// By source: what it reads.
    pub reads: &'a BTreeMap<String, String>,
    /// By source: its topics, where it has any.
    pub topics: &'a BTreeMap<String, Vec<String>>,
    /// By sink that has a choice: where its progress stands.
    pub kept: &'a BTreeMap<String, String>,
    /// By sink: what it is given, and as what.
    pub writes: &'a BTreeMap<String, String>,
    /// Other lineages in sinks are adopted.
    pub adopts: bool,
    /// Epochs of this lineage of which there is a snapshot with the state of all steps.
    pub snapshots: &'a [Epoch],
    /// Where snapshots are; empty: none are taken.
    pub snapshot_place: &'a str,
    /// There are snapshots, and the journal is empty.
    pub left_state: bool,
}

/// Decides where to go on. `new_lineage` is used when the journal is empty.
///
/// # Errors
/// A refusal (code `refused.…`) that names the choices.
pub fn decide(
    history: &History,
    facts: PlanFacts<'_>,
    sinks: &[SinkMemory],
    new_lineage: &str,
) -> Result<Recovery, Failure> {
    let Some(plan) = &history.plan else { return first_run(history, facts, sinks, new_lineage) };
    if (&*plan.namespace, &*plan.pipeline) != (facts.namespace, facts.name) {
        let (theirs, ours) = (&plan.pipeline, facts.name);
        return Err(Failure::user(
            "refused.other_pipeline",
            format!("the journal is that of pipeline `{theirs}`, not of `{ours}`"),
        )
        .hint("give each pipeline a name or a `state.store` of its own"));
    }
    refuse_other_sources(plan, facts)?;
    refuse_moved_sinks(plan, facts)?;
    let last = history.last();
    let carried = Carried::of(history, facts.fingerprint, facts.parts);
    let writes_other = plan.resolved.get(WRITES).is_some_and(|before| *before != serde_json::json!(facts.writes));
    let plan_changed = plan.fingerprint != facts.fingerprint;
    if (writes_other || plan_changed) && history.epochs.get(&last).is_some_and(|record| record.cursor.is_some()) {
        return Err(half_written(last));
    }
    let known = sinks.iter().map(|sink| last_epoch(sink, plan, history, last, facts)).collect::<Result<Vec<_>, _>>()?;
    refuse_behind(history, &carried, sinks, &known, plan_changed)?;
    let had_state = history.needed(last).is_some_and(|needed| needed <= last);
    if had_state {
        refuse_lost(&carried, facts)?;
    }
    let snapshot = newest_usable(history, facts.snapshots, &known);
    let keeps_state = carried.keeps_state();
    let (snapshot, replay_from) = match (snapshot, replay_start(history, sinks, &known, keeps_state, facts)) {
        (Some(epoch), Ok(from)) if from > epoch => (None, from),
        (Some(epoch), _) => (Some(epoch), epoch + 1),
        (None, from) => (None, from?),
    };
    let base = replay_from - 1;
    let record = history.epochs.get(&base);
    if record.is_none() && base > 0 {
        return Err(trimmed(base, facts));
    }
    let mut times = record.map(times_of).unwrap_or_default();
    let mut positions = first_positions(history, replay_from, positions_of(plan, record));
    for (source, part) in carried.parts.sources.iter().filter(|(_, part)| part.since > replay_from) {
        begin_later(plan, history, (source, part.since), &mut positions, &mut times);
    }
    let changed = plan_changed || writes_other || carried.differs(plan);
    Ok(Recovery {
        lineage: plan.lineage.clone(),
        first_run: false,
        begins: !history.has_begun(),
        last,
        snapshot,
        replay_from,
        sinks: known,
        watermark: record.map_or(Watermark::NONE, |record| record.watermark),
        clock: record.map_or(Millis::MIN, |record| record.clock),
        last_windows: record.map(|record| record.last_windows.clone()).unwrap_or_default(),
        positions,
        ends: positions_of(plan, history.epochs.get(&last)),
        end_times: history.epochs.get(&last).map(times_of).unwrap_or_default(),
        jumps: plan.jumps.clone(),
        times,
        changed: if plan_changed { carried.steps } else { BTreeMap::new() },
        parts: carried.parts,
        plan_changed: changed || sinks.iter().any(|sink| !plan.sinks.contains_key(&sink.name)),
    })
}

/// A source that is another one than it was is not read again in epochs of before: it goes on where it was left, and event
/// times of before say nothing of those that it has now.
fn begin_later(
    plan: &PlanRecord,
    history: &History,
    (source, since): (&str, Epoch),
    positions: &mut BTreeMap<String, BTreeMap<PartitionName, Position>>,
    times: &mut BTreeMap<String, BTreeMap<PartitionName, Reached>>,
) {
    let left = history.epochs.get(&(since - 1));
    let left_at = positions_of(plan, left).remove(source).unwrap_or_default();
    positions.insert(source.to_owned(), left_at);
    let left_times = left.map(times_of).and_then(|mut times| times.remove(source)).unwrap_or_default();
    let stamps = left_times.into_iter().map(|(name, (_, timestamp))| (name, (None, timestamp)));
    times.insert(source.to_owned(), stamps.collect());
}

/// What a sink lacks is made again by the plan that it was made by, or not at all.
fn refuse_behind(
    history: &History,
    carried: &Carried,
    sinks: &[SinkMemory],
    known: &[Epoch],
    plan_changed: bool,
) -> Result<(), Failure> {
    let last = history.last();
    let behind = sinks.iter().zip(known).filter(|(_, has)| **has < last);
    if let Some((sink, has)) = behind.clone().find(|(sink, _)| carried.other_sinks.contains(&sink.name)) {
        let (name, first) = (&sink.name, has + 1);
        let message = format!("sink `{name}` lacks epochs {first} to {last}, and what leads to it has changed since");
        return Err(Failure::user("refused.sink_behind", message).hint(
            "apply the spec as it was, which gives the sink what it lacks; stop it, and then apply this one; or start over \
             with `--fresh`",
        ));
    }
    let Some(first) = behind.map(|(_, has)| has + 1).min().filter(|_| plan_changed) else { return Ok(()) };
    match history.epochs.range(first..).any(|(_, record)| record.cursor.is_some()) {
        true => Err(half_written(last)),
        false => Ok(()),
    }
}

/// State is given up only by whoever says so.
fn refuse_lost(carried: &Carried, facts: PlanFacts<'_>) -> Result<(), Failure> {
    if carried.is_unknown {
        let message = "the pipeline has changed, and its journal does not say what of its state could be kept: an \
                       earlier version wrote it";
        return Err(Failure::user("refused.plan_changed", message)
            .hint("apply the spec as it was, once: then the journal says it; or start over with `--fresh`"));
    }
    let lost: Vec<(&str, &str)> = carried.lost().filter(|(step, _)| !facts.accept_reset.contains(*step)).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let steps: Vec<String> = lost.iter().map(|(step, why)| format!("`{step}` ({why})")).collect();
    let flags: Vec<String> = lost.iter().map(|(step, _)| format!("--accept-reset {step}")).collect();
    let asked: Vec<String> = lost.iter().map(|(step, _)| format!("accept_reset={step}")).collect();
    let message = format!("the pipeline has changed, and the state of {} would be lost", steps.join(", "));
    Err(Failure::user("refused.plan_changed", message).hint(format!(
        "apply the spec as it was; or `apply {}` (over HTTP `?{}`), which goes on without: such a step begins empty, and what \
         it held of rows that were read is in no later output; or start over with `--fresh`, which reads the sources from their \
         `start` again",
        flags.join(" "),
        asked.join("&")
    )))
}

/// I10: a cursor counts records by sink, and counts nothing in other sinks.
fn half_written(last: Epoch) -> Failure {
    Failure::user(
        "refused.output_open",
        format!(
            "the pipeline has changed, and the output of an epoch (up to {last}) is only partly written by the plan before"
        ),
    )
    .hint("apply the spec as it was until it has gone on, then change it; or start over with `--fresh`")
}

/// A position in one topic is a number like any other in another one: taken over, it would skip rows in silence.
/// A list of topics may grow and shrink: positions go by the topic's name.
fn refuse_other_sources(plan: &PlanRecord, facts: PlanFacts<'_>) -> Result<(), Failure> {
    let before = |source: &str| plan.resolved.get(READS)?.get(source)?.as_str();
    let keeps_a_topic = |source: &str| {
        let topics = facts.topics.get(source)?;
        let mut known = plan.starts.get(source)?.keys().filter_map(|name| name.topic.as_ref());
        known.find(|topic| topics.contains(topic))
    };
    let other = facts.reads.iter().find_map(|(source, now)| {
        let before = before(source).filter(|before| before != now && keeps_a_topic(source).is_none())?;
        Some(format!("source `{source}` has read {before} so far, and reads {now} now"))
    });
    let Some(message) = other else { return Ok(()) };
    Err(Failure::user("refused.other_source", message)
        .hint("give the source another name: a new one begins at its `start`; or start over with `--fresh`"))
}

/// What a sink has is known where its progress was kept; sought elsewhere, everything would be sent again.
fn refuse_moved_sinks(plan: &PlanRecord, facts: PlanFacts<'_>) -> Result<(), Failure> {
    let before = |sink: &str| plan.resolved.get(KEPT)?.get(sink)?.as_str();
    let moved = facts.kept.iter().find_map(|(sink, now)| {
        let before = before(sink).filter(|before| before != now)?;
        Some(format!("the progress of sink `{sink}` was kept {before} so far, and would be kept {now}"))
    });
    let Some(message) = moved else { return Ok(()) };
    Err(Failure::user("refused.sink_moved", message)
        .hint("undo the change of its connection or `delivery`; or give the sink another name: a new one begins where the pipeline is; or start over with `--fresh`"))
}

fn first_run(
    history: &History,
    facts: PlanFacts<'_>,
    sinks: &[SinkMemory],
    new_lineage: &str,
) -> Result<Recovery, Failure> {
    if history.last() > 0 {
        return Err(Failure::user("refused.no_plan", "the journal has epochs but no plan record")
            .hint("somebody trimmed it; start over with `--fresh`"));
    }
    // One that is at least once may have it of whoever wrote there before.
    let remembers = |sink: &&SinkMemory| sink.delivery == Delivery::Remembers && sink.progress.is_some();
    if let Some(sink) = sinks.iter().find(remembers).filter(|_| !facts.adopts) {
        return Err(Failure::user(
            "refused.lineage",
            format!("sink `{}` has output of an earlier run, but the journal is empty", sink.name),
        )
        .hint("bring the journal back; or start over with `--fresh`, which writes behind what is there; or remove the output"));
    }
    if facts.left_state && !facts.adopts {
        let message =
            format!("`{}` has snapshots of an earlier run's state, but the journal is empty", facts.snapshot_place);
        return Err(Failure::user("refused.lineage", message).hint(
            "bring the journal back; or keep the state elsewhere (`state.store`), if those are of another cluster's \
             journal; or start over with `--fresh`",
        ));
    }
    Ok(Recovery {
        lineage: new_lineage.to_owned(),
        first_run: true,
        begins: true,
        last: 0,
        snapshot: None,
        replay_from: 1,
        sinks: vec![0; sinks.len()],
        watermark: Watermark::NONE,
        clock: Millis::MIN,
        last_windows: BTreeMap::new(),
        positions: BTreeMap::new(),
        ends: BTreeMap::new(),
        end_times: BTreeMap::new(),
        jumps: BTreeMap::new(),
        times: BTreeMap::new(),
        parts: Carried::of(history, facts.fingerprint, facts.parts).parts,
        changed: BTreeMap::new(),
        plan_changed: true,
    })
}

/// I12: the last epoch that a sink has.
fn last_epoch(
    sink: &SinkMemory,
    plan: &PlanRecord,
    history: &History,
    last: Epoch,
    facts: PlanFacts<'_>,
) -> Result<Epoch, Failure> {
    // A sink that is new to the journal begins behind its last epoch; what it has already must be ours.
    let nothing_yet = plan.sinks.get(&sink.name).map_or(last, |added| added.saturating_sub(1));
    match (sink.delivery, &sink.progress) {
        (Delivery::Transaction, _) => Ok(last),
        // What it has of a time before it was added (removed from the spec, and back) counts for nothing.
        (Delivery::AtLeastOnce, beside) => {
            let noted = history.progress.get(&sink.name).copied().unwrap_or(nothing_yet).max(nothing_yet);
            // Before it was at least once, it remembered by itself.
            let before = beside.as_ref().filter(|before| before.lineage == plan.lineage);
            Ok(before.map_or(noted, |before| noted.max(before.epoch.min(last))))
        }
        // Of its time as at least once the journal knows, and the sink does not.
        (Delivery::Remembers, None) if history.progress.get(&sink.name).is_some_and(|noted| *noted > nothing_yet) => {
            Err(Failure::user(
                "refused.sink_moved",
                format!("sink `{}` was at least once so far, and does not remember what it has", sink.name),
            )
            .hint("undo the change of its `delivery`; or give the sink another name: a new one begins where the pipeline is; or start over with `--fresh`"))
        }
        (Delivery::Remembers, None) => Ok(nothing_yet),
        (Delivery::Remembers, Some(progress)) if progress.lineage != plan.lineage => {
            if facts.adopts {
                return Ok(nothing_yet);
            }
            Err(Failure::user(
                "refused.lineage",
                format!("sink `{}` was written by another run of this pipeline", sink.name),
            )
            .hint("remove its output, or start over with `--fresh`, which writes behind what is there"))
        }
        (Delivery::Remembers, Some(progress)) if progress.epoch > last => Err(Failure::user(
            "refused.sink_ahead",
            format!("sink `{}` has epoch {}, the journal only {last}", sink.name, progress.epoch),
        )
        .hint("the journal was set back: bring it forward again, or start over with `--fresh`")),
        (Delivery::Remembers, Some(progress)) => Ok(progress.epoch.max(nothing_yet)),
    }
}

/// I18: of an epoch that the journal holds and every sink has. Behind it no sink is owed anything of before.
fn newest_usable(history: &History, snapshots: &[Epoch], known: &[Epoch]) -> Option<Epoch> {
    let is_whole = |epoch: &&Epoch| history.epochs.get(epoch).is_some_and(|record| record.cursor.is_none());
    let every_sink_has = |epoch: &&Epoch| known.iter().all(|last| *last >= **epoch);
    snapshots.iter().filter(is_whole).filter(every_sink_has).max().copied()
}

fn replay_start(
    history: &History,
    sinks: &[SinkMemory],
    known: &[Epoch],
    keeps_state: bool,
    facts: PlanFacts<'_>,
) -> Result<Epoch, Failure> {
    let last = history.last();
    // Without a step that goes on, what is needed was needed by others; but of an epoch whose output is only partly written
    // the rest is made from all that it has read (I10).
    let is_open = history.epochs.get(&last).is_some_and(|record| record.cursor.is_some());
    let mut from = history.needed(last).filter(|_| keeps_state || is_open).unwrap_or(last + 1);
    for (sink, epoch) in sinks.iter().zip(known).filter(|(_, epoch)| **epoch < last) {
        let needed = history.needed(*epoch).ok_or_else(|| {
            Failure::user(
                "refused.journal_too_short",
                format!("sink `{}` has epoch {epoch}, which the journal holds no more", sink.name),
            )
            .hint("remove its output or start over with `--fresh`")
        })?;
        from = from.min(needed).min(epoch + 1);
    }
    match history.epochs.keys().next() {
        Some(first) if from < *first && from <= last => Err(trimmed(from, facts)),
        _ => Ok(from),
    }
}

fn trimmed(epoch: Epoch, facts: PlanFacts<'_>) -> Failure {
    let message = format!("recovery needs epoch {epoch}, which the journal holds no more");
    if facts.snapshot_place.is_empty() {
        return Failure::user("refused.journal_too_short", message)
            .hint("somebody trimmed it; start over with `--fresh`");
    }
    let message = format!("{message}, and there is no whole snapshot behind it in `{}`", facts.snapshot_place);
    Failure::user("refused.journal_too_short", message).hint(
        "bring that folder back, if it was elsewhere or on another machine (`state.store`); or start over with `--fresh`",
    )
}

/// Where reading goes on behind the last epoch: by source, the partitions that do not begin at its `start`.
pub fn positions_behind(history: &History) -> BTreeMap<String, BTreeMap<PartitionName, Position>> {
    history.plan.as_ref().map_or_else(BTreeMap::new, |plan| positions_of(plan, history.epochs.get(&history.last())))
}

fn positions_of(
    plan: &PlanRecord,
    record: Option<&EpochRecord>,
) -> BTreeMap<String, BTreeMap<PartitionName, Position>> {
    let mut positions = plan.starts.clone();
    for (source, partitions) in record.iter().flat_map(|record| &record.partitions) {
        let known = positions.entry(source.clone()).or_default();
        known.extend(partitions.iter().map(|(partition, range)| (partition.clone(), range.to.clone())));
    }
    let epoch = record.map_or(0, |record| record.epoch);
    for (source, jumps) in &plan.jumps {
        let known = positions.entry(source.clone()).or_default();
        // What was set lies between two epochs: replay of those before reads what they have read.
        let holds = |jump: &Jump| jump.from_epoch == epoch + 1 || (jump.from_epoch > epoch && !jump.is_set);
        for (partition, jump) in jumps.iter().filter(|(_, jump)| holds(jump)) {
            if jump.to.is_start() {
                known.remove(partition);
            } else {
                known.insert(partition.clone(), jump.to.clone());
            }
        }
    }
    positions
}

/// A partition that came while the pipeline ran begins where the first record that knows it says (I13).
fn first_positions(
    history: &History,
    from: Epoch,
    mut positions: BTreeMap<String, BTreeMap<PartitionName, Position>>,
) -> BTreeMap<String, BTreeMap<PartitionName, Position>> {
    for (source, partitions) in history.epochs.range(from..).flat_map(|(_, record)| &record.partitions) {
        let known = positions.entry(source.clone()).or_default();
        for (partition, range) in partitions {
            known.entry(partition.clone()).or_insert_with(|| range.from.clone());
        }
    }
    positions
}

/// How far event time was behind an epoch.
pub fn times_of(record: &EpochRecord) -> BTreeMap<String, BTreeMap<PartitionName, Reached>> {
    let of = |range: &crate::journal::PartitionRecord| (range.max_time, range.max_timestamp);
    record
        .partitions
        .iter()
        .map(|(source, ranges)| (source.clone(), ranges.iter().map(|(p, range)| (p.clone(), of(range))).collect()))
        .collect()
}

#[cfg(test)]
mod tests;
