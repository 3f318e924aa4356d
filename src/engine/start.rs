//! Starts a pipeline: takes the journal over, decides where to go on, opens everything, replays.
//!
//! When this is done the state is what it was behind the last committed epoch, every sink that can
//! catch up was given what it lacked, and the first live row may be read. Never a silent fresh start.

mod record;
mod replay;
mod sinks;
mod sources;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::carry::Fate;
use super::commit::Committer;
use super::coordinator::{Coordinator, Resumed, Settings};
use super::graph::Graph;
use super::memory::{Gauge, Memory, Shares};
use super::metrics::Metrics;
use super::recovery::{History, Recovery};
use super::reported;
use super::restart;
use super::seat::{EpochClock, Seat};
use super::snapshots::{Opening, Pace, RestoredReport};
use super::targets::Targets;
use super::telling::Listener;
use super::timestamps::Timestamps;
use super::trunk::Trunk;
use crate::data::{Epoch, PartitionName, Position};
use crate::faults;
use crate::journal::{Appended, Journal, Owned, PlanRecord, Record};
use crate::plan::{EpochSettings, JournalPlace, Plan, RestartPlan, SnapshotSettings};
use crate::report::Failure;
use crate::state::Store;
use crate::time::{Clock, Millis};
use record::{plan_record, topic_ids};
use replay::{Replay, finish_output};
use sinks::{adopt, open_writers, start_sinks};
use sources::{Discovered, Seating, gone, lane_counts, latest_positions, pin_starts, refuse_pieces, timing};
use state::{Begun, open_shelf, recover};

/// A pipeline with its state rebuilt, ready for its first live row.
pub struct Started {
    pub seats: Vec<Seat>,
    pub trunk: Trunk,
    pub coordinator: Coordinator,
    pub committer: Committer,
    /// Of snapshots; `None`: no step keeps state, or nobody wants them.
    pub pace: Option<Pace>,
    pub clock: Arc<EpochClock>,
    pub targets: Targets,
    pub memory: Arc<Memory>,
    /// By lane: what its open epoch holds.
    pub open: Vec<Gauge>,
    pub incarnation: u64,
    pub report: StartReport,
}

/// What a start found and did, for people.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StartReport {
    pub lineage: String,
    pub incarnation: u64,
    pub first_run: bool,
    /// Last committed epoch before this run.
    pub last_epoch: Epoch,
    /// What the sink had, where it says how far the pipeline is.
    pub found: Option<String>,
    /// Where the state was found; `None`: it was replayed, or there is none.
    pub snapshot: Option<RestoredReport>,
    /// Snapshots that `--fresh` gave up with the journal, and removed.
    pub removed_snapshots: usize,
    /// What became of the state of each step, where the plan is another one than the journal's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: BTreeMap<String, Fate>,
    pub replayed_epochs: u64,
    pub replayed_rows: u64,
    pub journal: String,
    /// What was needed for it.
    pub took: Took,
    /// Bytes of state, as `memory` counts them.
    pub state_bytes: usize,
    /// Where this run reads on, by source, then partition.
    pub positions: BTreeMap<String, BTreeMap<PartitionName, Position>>,
}

/// The parts of a start, one after the other, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Took {
    /// Groups were asked, sinks locked and opened.
    pub sinks_ms: u64,
    /// The journal was taken over and read.
    pub journal_ms: u64,
    /// Of that: the brokers fenced the instance before, and ended what it had left open.
    pub fencing_ms: u64,
    /// Our owner record was committed.
    pub owner_ms: u64,
    /// It was decided where to go on, and the state in the snapshot was read.
    pub state_ms: u64,
    /// Sources, groups and topics were asked, and readers opened.
    pub sources_ms: u64,
    /// What lay behind the snapshot was read again, and sinks were given what they lacked.
    pub replay_ms: u64,
}

impl Took {
    /// Of the whole start.
    pub fn total_ms(&self) -> u64 {
        // The brokers' fencing is a part of what the journal took.
        self.sinks_ms + self.journal_ms + self.owner_ms + self.state_ms + self.sources_ms + self.replay_ms
    }

    /// Of two starts, one after the other.
    pub fn plus(self, other: Took) -> Took {
        Took {
            sinks_ms: self.sinks_ms + other.sinks_ms,
            journal_ms: self.journal_ms + other.journal_ms,
            fencing_ms: self.fencing_ms + other.fencing_ms,
            owner_ms: self.owner_ms + other.owner_ms,
            state_ms: self.state_ms + other.state_ms,
            sources_ms: self.sources_ms + other.sources_ms,
            replay_ms: self.replay_ms + other.replay_ms,
        }
    }
}

/// Milliseconds from one part to the next.
struct Laps(Instant);

impl Laps {
    fn next(&mut self) -> u64 {
        let now = Instant::now();
        let elapsed = now - std::mem::replace(&mut self.0, now);
        millis(elapsed)
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// How to start.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// Forget the journal and begin where the spec's `start` says.
    pub fresh: bool,
    /// Go on behind output and state of another run, where the journal knows of no run at all.
    pub adopts_outputs: bool,
    /// Steps whose state may be given up, because they are not what they were.
    pub accept_reset: BTreeSet<String>,
    /// The message of the failure of the last run, as somebody was told it: the run goes on behind that.
    pub told: Option<String>,
    /// Lanes per source; `None`: the plan's number or as many as cores.
    pub lanes: Option<usize>,
    /// What one commit carries at most, over all sinks (I10); `None`: 16 MiB.
    pub piece_bytes: Option<usize>,
    pub snapshots: SnapshotPlace,
    /// Hears how far the start is.
    pub listener: Listener,
}

impl StartOptions {
    /// Why the last run failed behind its last epoch, if nobody was told.
    fn untold(&self, history: &History) -> Option<Failure> {
        history.untold().filter(|failure| self.told.as_ref() != Some(&failure.message))
    }
}

/// Where snapshots of the state are kept.
#[derive(Debug, Clone, Default)]
pub enum SnapshotPlace {
    /// In the plan's state directory, written by a thread.
    #[default]
    StateDir,
    /// Here, written by whoever runs the pipeline; so far apart, whatever the plan says.
    Store {
        store: Arc<Store>,
        every_ms: Millis,
    },
    Nowhere,
}

/// I10: over all sinks of a commit.
const PIECE_BYTES: usize = 16 << 20;

/// Starts a plan on its journal.
///
/// # Errors
/// Refusals (`refused.…`), and whatever breaks while servers are asked.
pub fn start(
    plan: &Arc<Plan>,
    mut journal: Box<dyn Journal>,
    options: StartOptions,
    clock: Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Started, Failure> {
    let (mut laps, mut took) = (Laps(Instant::now()), Took::default());
    if !options.fresh && plan.restart == RestartPlan::Journal {
        refuse_moved(plan, journal.as_mut())?;
    }
    // Sinks lock what they write: whoever cannot have them must not take the journal from one that has.
    let mut writers = open_writers(plan)?;
    took.sinks_ms = laps.next();
    let mut records = journal.acquire()?;
    let shelf = open_shelf(plan, &options.snapshots)?;
    // What a dead instance left open is aborted. What is refused is refused before anything is removed.
    let starts = if options.fresh { None } else { restart::first_starts(plan, &records)? };
    let mut origin = restart::origin(plan, options.fresh)?;
    faults::point("origin.read");
    let given_up = if options.fresh { History::lineage_of(&records) } else { None };
    if origin.is_some()
        && let Some(failure) = options.untold(&History::of(records.clone()))
    {
        return Err(failure);
    }
    if (options.fresh || origin.is_some()) && !records.is_empty() {
        journal.clear()?;
        records = journal.acquire()?;
    }
    let removed_snapshots = match shelf.as_ref().zip(given_up) {
        Some((shelf, lineage)) => shelf.remove(&lineage)?,
        None => 0,
    };
    (took.journal_ms, took.fencing_ms) = (laps.next(), millis(journal.fencing_time()));
    let mut owned = Owned::take_over(journal, &mut records)?;
    took.owner_ms = laps.next();
    if origin.is_some() {
        // I15: until then a live instance could own the journal again, and commit. Now the sink stands still.
        origin = restart::origin(plan, options.fresh)?.map(|origin| origin.or_at(starts));
    }
    let history = History::of(records);
    preload(plan, &history);
    let Begun { mut recovery, restored, kept } = match &origin {
        Some(origin) => Begun::with(restart::recovery(plan, origin, uuid::Uuid::new_v4().to_string())),
        None => recover(plan, &history, &writers, &options, shelf.as_deref())?,
    };
    took.state_ms = laps.next();
    if history.plan.is_none() && !options.fresh && plan.restart == RestartPlan::Journal {
        reported::refuse_lost(plan)?;
    }
    reported::refuse_moved(plan, &history, &recovery)?;
    let targets = Targets::ask(plan, owned.journal().watch())?;
    targets.refuse_replaced(&history)?;
    let ids = topic_ids(plan, &history, &targets)?;
    recovery.plan_changed |= history.plan.as_ref().is_none_or(|plan| plan.topic_ids != ids);
    // Who was told goes on for good, whenever this process dies.
    let goes_on = history.untold().is_some() && options.untold(&history).is_none();
    recovery.plan_changed |= goes_on;
    let gone = gone(plan, &history, &mut recovery, metrics)?;
    refuse_pieces(&history, &recovery, &gone)?;
    let discovered = Discovered::of(plan, &recovery)?;
    pin_starts(plan, &mut recovery, &discovered);
    adopt(&mut writers, &recovery)?;
    if recovery.plan_changed {
        let mut record =
            PlanRecord { topic_ids: ids.clone(), ..plan_record(plan, &history, &recovery, &discovered.starts) };
        if let Some(origin) = &origin {
            origin.note(&mut record);
        }
        if goes_on {
            record.told_failed = Some(recovery.last);
        }
        faults::point("plan.append");
        must_append(owned.journal(), Record::Plan(record))?;
        faults::point("plan.appended");
    }
    let timestamps = Timestamps::ask(plan, clock.clone())?;
    let graph = Graph::of(plan);
    let clock = EpochClock::new(clock, recovery.clock);
    let lanes = lane_counts(plan, &discovered.starts, &options);
    let fetching = plan.sources.iter().zip(&lanes).filter(|(source, _)| source.source.fetches_ahead());
    let memory = Memory::new(Shares::of(plan, fetching.map(|(_, lanes)| lanes).sum(), writers.len()));
    memory.gauge("clients' queues").set(memory.shares.queues);
    let queue_bytes = memory.shares.queue;
    let seating = Seating { plan, graph: &graph, lanes: &lanes, clock: &clock, queue_bytes, metrics };
    let mut seats = seating.open(&discovered.starts, recovery.watermark, &recovery.times)?;
    // An epoch's last record says how far the sources were read: it must be out with all before it.
    let whole = matches!(plan.restart, RestartPlan::Offsets { .. });
    let piece_bytes = if whole { usize::MAX } else { options.piece_bytes.unwrap_or(PIECE_BYTES) };
    let mut trunk = Trunk::open(plan, &graph, &memory, metrics.clone(), piece_bytes)?;
    trunk.begin_at(&recovery.parts.steps);
    let snapshot = restored.map(|restored| {
        trunk.adopt(restored.operators);
        restored.report
    });
    trunk.resume(recovery.watermark, recovery.clock);
    trunk.remember(recovery.replay_from - 1, &recovery.last_windows);
    if let (RestartPlan::Watermark { step, .. }, Some(floor)) =
        (plan.restart, origin.as_ref().and_then(|origin| origin.floor))
    {
        trunk.leave_out(step, floor);
    }
    let news = Arc::new(Notify::new());
    let sinks = start_sinks(plan, writers, &recovery, &memory, &news, metrics)?;
    let report = StartReport {
        lineage: recovery.lineage.clone(),
        incarnation: owned.owner().incarnation,
        first_run: recovery.first_run,
        last_epoch: recovery.last,
        found: origin.map(|origin| origin.found),
        snapshot,
        removed_snapshots,
        changed: recovery.changed.clone(),
        replayed_epochs: recovery.last + 1 - recovery.replay_from,
        replayed_rows: 0,
        journal: owned.journal().describe(),
        took: Took::default(),
        state_bytes: 0,
        positions: BTreeMap::new(),
    };
    let incarnation = owned.owner().incarnation;
    let mut committer = Committer::new(plan.clone(), owned, sinks, news.clone(), timestamps, &history, metrics.clone());
    committer.note_topics(ids);
    let mut pace = None;
    if let Some(shelf) = shelf {
        let (snapshots, paced) = Opening {
            kept,
            shelf,
            lineage: recovery.lineage.clone(),
            incarnation,
            held: memory.gauge("snapshot"),
            metrics: metrics.clone(),
            here: matches!(options.snapshots, SnapshotPlace::Store { .. }),
            news,
            name: plan.name.clone(),
            settings: match options.snapshots {
                SnapshotPlace::Store { every_ms, .. } => SnapshotSettings { every_ms, ..plan.snapshots },
                _ => plan.snapshots,
            },
            now: clock.monotonic(),
        }
        .open()?;
        committer.take_snapshots(snapshots);
        pace = Some(paced);
    }
    let mut replay = Replay {
        plan,
        history: &history,
        recovery: &recovery,
        seats: &mut seats,
        seating,
        ahead: &discovered.ahead,
        trunk: &mut trunk,
        pace: &mut pace,
        clock: &clock,
        shortened: &gone,
        missing: BTreeMap::new(),
        metrics,
        listener: &options.listener,
    };
    took.sources_ms = laps.next();
    let replayed_rows = replay.run(&mut committer)?;
    let (last, failing) = finish_output(plan, &history, &mut trunk, &mut committer, incarnation)?;
    if let Some(failure) = failing.or_else(|| options.untold(&history)) {
        // The dead letter that it names is to be out before.
        committer.finish(None)?;
        return Err(failure);
    }
    let last = last.max(recovery.last);
    if trunk.state_bytes() > memory.shares.state {
        return Err(memory.full(&plan.name));
    }
    let resumed = resumed(&history, &recovery, last, &trunk);
    clock.next_epoch(resumed.clock);
    let timing = timing(plan);
    let lanes = seats.iter().map(|seat| seat.source).collect();
    let coordinator = Coordinator::new(settings(plan, &memory), timing, lanes, resumed, clock.monotonic());
    let open = seats.iter().map(|_| memory.gauge("epochs")).collect();
    let positions = latest_positions(plan, &history, &recovery, &discovered.starts);
    took.replay_ms = laps.next();
    let report = StartReport { replayed_rows, positions, took, state_bytes: trunk.state_bytes(), ..report };
    Ok(Started { seats, trunk, coordinator, committer, pace, clock, targets, memory, open, incarnation, report })
}

/// I8: what earlier runs learnt from registries is not asked again; replay needs none.
fn preload(plan: &Plan, history: &History) {
    for (id, schema) in history.epochs.values().flat_map(|record| &record.learnt) {
        plan.sources
            .iter()
            .flat_map(|source| source.values.iter().chain(&source.keys))
            .for_each(|d| d.preload(*id, schema));
    }
}

/// A journal that begins anew while the pipeline has one elsewhere would be a fresh start that nobody asked for. Found
/// before this one is made.
fn refuse_moved(plan: &Plan, journal: &mut dyn Journal) -> Result<(), Failure> {
    let JournalPlace::Kafka { elsewhere: Some(place), .. } = &plan.journal else { return Ok(()) };
    if History::of(journal.read()?).plan.is_some() {
        return Ok(());
    }
    let title = format!("the journal would begin anew, but this pipeline has one {place}");
    Err(Failure::user("refused.journal_moved", title).hint(
        "keep a sink on the cluster where it is; or start over with `--fresh`, which reads the sources from their `start` again",
    ))
}

fn must_append(journal: &mut dyn Journal, record: Record) -> Result<(), Failure> {
    match journal.append(&[record], &[])? {
        Appended::Committed => Ok(()),
        Appended::Aborted(failure) | Appended::Unknown(failure) | Appended::Fenced(failure) => Err(failure),
    }
}

/// Epochs no larger than memory allows.
fn settings(plan: &Plan, memory: &Memory) -> Settings {
    let epoch = EpochSettings { max_bytes: memory.shares.epoch, ..plan.epoch };
    Settings { epoch, state_bytes_max: memory.shares.state }
}

/// `epoch` is the last; what a continuation of this start committed reads nothing and moves no time.
fn resumed(history: &History, recovery: &Recovery, epoch: Epoch, trunk: &Trunk) -> Resumed {
    let last = history.epochs.get(&recovery.last);
    Resumed {
        epoch,
        watermark: last.map_or(recovery.watermark, |record| record.watermark),
        clock: last.map_or(recovery.clock, |record| record.clock),
        open_ends: trunk.open_ends(),
        due: trunk.due(),
    }
}
