//! Starts a pipeline: takes the journal over, decides where to go on, opens everything, replays.
//!
//! When this is done the state is what it was behind the last committed epoch, every sink that can
//! catch up was given what it lacked, and the first live row may be read. Never a silent fresh start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::commit::{Commit, Committer};
use super::coordinator::{Coordinator, Resumed, Settings, SourceTiming};
use super::graph::Graph;
use super::lane::{Lane, PartitionCut};
use super::memory::{Gauge, Memory, Shares};
use super::metrics::Metrics;
use super::pieces::{Chain, cursor_of};
use super::recovery::{self, History, PlanFacts, Recovery, SinkMemory};
use super::reported;
use super::restart;
use super::seat::{EpochClock, Seat};
use super::sinks::{Limits, Opened, SinkThread};
use super::snapshots::{self, Opening, Pace, Restored, RestoredReport};
use super::trunk::{Reading, Trunk};
use crate::connectors::{Bell, Delivery, EpochRows, Gone, Known, MemberSink, PartitionStart, Wanted, Writer};
use crate::data::{Epoch, Mark, PartitionName, Position};
use crate::expr::type_word;
use crate::faults;
use crate::journal::{Appended, EpochRecord, Journal, Jump, Owned, PlanRecord, Record};
use crate::plan::{EpochSettings, JournalPlace, Plan, RestartPlan, SnapshotSettings, SourcePlan, Step};
use crate::report::Failure;
use crate::state::{Found, Shelf, Store};
use crate::time::{Clock, Millis};

/// `time.align` is no smaller than this by itself.
const LEAST_ALIGN_MS: Millis = 60_000;
/// Version of the plan record's format.
const PLAN_VERSION: u32 = 1;

/// A pipeline with its state rebuilt, ready for its first live row.
pub struct Started {
    pub seats: Vec<Seat>,
    pub trunk: Trunk,
    pub coordinator: Coordinator,
    pub committer: Committer,
    /// Of snapshots; `None`: no step keeps state, or nobody wants them.
    pub pace: Option<Pace>,
    pub clock: Arc<EpochClock>,
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
    pub replayed_epochs: u64,
    pub replayed_rows: u64,
    pub journal: String,
    /// Where this run reads on, by source, then partition.
    pub positions: BTreeMap<String, BTreeMap<PartitionName, Position>>,
}

/// How to start.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// Forget the journal and begin where the spec's `start` says.
    pub fresh: bool,
    /// Lanes per source; `None`: the plan's number or as many as cores.
    pub lanes: Option<usize>,
    /// What one commit carries at most, over all sinks (I10); `None`: 16 MiB.
    pub piece_bytes: Option<usize>,
    pub snapshots: SnapshotPlace,
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
    if !options.fresh && plan.restart == RestartPlan::Journal {
        refuse_moved(plan, journal.as_mut())?;
    }
    // Sinks lock what they write: whoever cannot have them must not take the journal from one that has.
    let mut writers = open_writers(plan)?;
    let mut records = journal.acquire()?;
    let shelf = open_shelf(plan, &options.snapshots)?;
    // What a dead instance left open is aborted. What is refused is refused before anything is removed.
    let starts = if options.fresh { None } else { restart::first_starts(plan, &records)? };
    let mut origin = restart::origin(plan, options.fresh)?;
    faults::point("origin.read");
    let given_up = if options.fresh { History::lineage_of(&records) } else { None };
    if (options.fresh || origin.is_some()) && !records.is_empty() {
        journal.clear()?;
        records = journal.acquire()?;
    }
    if let Some((shelf, lineage)) = shelf.as_ref().zip(given_up) {
        shelf.remove(&lineage)?;
    }
    let mut owned = Owned::take_over(journal, &mut records)?;
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
    reported::refuse_moved(plan, &history, &recovery)?;
    let ids = topic_ids(plan, &history)?;
    recovery.plan_changed |= history.plan.as_ref().is_none_or(|plan| plan.topic_ids != ids);
    let gone = gone(plan, &history, &mut recovery, metrics)?;
    refuse_pieces(&history, &recovery, &gone)?;
    let discovered = discover(plan, &recovery)?;
    adopt(&mut writers, &recovery)?;
    if recovery.plan_changed {
        let mut record = PlanRecord { topic_ids: ids, ..plan_record(plan, &history, &recovery, &discovered) };
        if let Some(origin) = &origin {
            origin.note(&mut record);
        }
        faults::point("plan.append");
        must_append(owned.journal(), Record::Plan(record))?;
        faults::point("plan.appended");
    }
    let graph = Graph::of(plan);
    let clock = EpochClock::new(clock, recovery.clock);
    let lanes = lane_counts(plan, &discovered, &options);
    let fetching = plan.sources.iter().zip(&lanes).filter(|(source, _)| source.source.fetches_ahead());
    let memory = Memory::new(Shares::of(plan, fetching.map(|(_, lanes)| lanes).sum(), writers.len()));
    memory.gauge("clients' queues").set(memory.shares.queues);
    let mut seats = open_seats(plan, &graph, &discovered, &lanes, &clock, memory.shares.queue, metrics)?;
    for seat in &mut seats {
        let source = &plan.sources[seat.source];
        let times = recovery.times.get(&source.name).into_iter().flatten().map(|(name, times)| (name, *times));
        seat.resume(recovery.watermark, &source.of_names(times));
    }
    // An epoch's last record says how far the sources were read: it must be out with all before it.
    let whole = matches!(plan.restart, RestartPlan::Offsets { .. });
    let piece_bytes = if whole { usize::MAX } else { options.piece_bytes.unwrap_or(PIECE_BYTES) };
    let mut trunk = Trunk::open(plan, &graph, &memory, metrics.clone(), piece_bytes)?;
    let snapshot = restored.map(|restored| {
        trunk.adopt(restored.operators);
        restored.report
    });
    trunk.resume(recovery.watermark);
    trunk.remember(&recovery.last_windows);
    if let (RestartPlan::Watermark { step, .. }, Some(floor)) =
        (plan.restart, origin.as_ref().and_then(|origin| origin.floor))
    {
        trunk.leave_out(step, floor);
    }
    let sinks = start_sinks(plan, writers, &recovery, &memory)?;
    let report = StartReport {
        lineage: recovery.lineage.clone(),
        incarnation: owned.owner().incarnation,
        first_run: recovery.first_run,
        last_epoch: recovery.last,
        found: origin.map(|origin| origin.found),
        snapshot,
        replayed_epochs: recovery.last + 1 - recovery.replay_from,
        replayed_rows: 0,
        journal: owned.journal().describe(),
        positions: BTreeMap::new(),
    };
    let incarnation = owned.owner().incarnation;
    let mut committer = Committer::new(plan.clone(), owned, sinks, &history, metrics.clone());
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
        trunk: &mut trunk,
        pace: &mut pace,
        clock: &clock,
        shortened: &gone,
        missing: BTreeMap::new(),
        metrics,
    };
    let replayed_rows = replay.run(&mut committer)?;
    let last = finish_output(plan, &history, &mut trunk, &mut committer, incarnation)?.max(recovery.last);
    if trunk.state_bytes() > memory.shares.state {
        return Err(memory.full(&plan.name));
    }
    let resumed = resumed(&history, &recovery, last, trunk.open_ends());
    clock.next_epoch(resumed.clock);
    let timing = timing(plan);
    let lanes = seats.iter().map(|seat| seat.source).collect();
    let coordinator = Coordinator::new(settings(plan, &memory), timing, lanes, resumed, clock.monotonic());
    let open = seats.iter().map(|_| memory.gauge("epochs")).collect();
    let positions = latest_positions(plan, &history, &recovery, &discovered);
    let report = StartReport { replayed_rows, positions, ..report };
    Ok(Started { seats, trunk, coordinator, committer, pace, clock, memory, open, incarnation, report })
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

/// A writer and the sinks of the plan that it writes.
struct Written {
    members: Vec<usize>,
    writer: Box<dyn Writer>,
}

/// Opens everything that does not commit with the journal; sinks that are written together have one writer.
fn open_writers(plan: &Plan) -> Result<Vec<Written>, Failure> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, sink) in plan.sinks.iter().enumerate().filter(|(_, s)| s.sink.delivery() != Delivery::Transaction) {
        let together = sink.sink.together();
        let same = |group: &&mut Vec<usize>| together.is_some() && plan.sinks[group[0]].sink.together() == together;
        match groups.iter_mut().find(same) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    let open = |members: Vec<usize>| {
        let sinks = members.iter().map(|index| MemberSink { index: *index, sink: &*plan.sinks[*index].sink });
        let writer = plan.sinks[members[0]].sink.open_together(&sinks.collect::<Vec<_>>())?;
        Ok(Written { members, writer })
    };
    groups.into_iter().map(open).collect()
}

/// I12: output of an earlier lineage takes on ours before anything is journaled under it. A crash in between
/// leaves a journal that is as empty as it was; one behind it finds sinks that belong to the journal.
fn adopt(writers: &mut [Written], recovery: &Recovery) -> Result<(), Failure> {
    for Written { writer, .. } in writers {
        if writer.progress().is_some_and(|progress| progress.lineage != recovery.lineage) {
            writer.write(&recovery.lineage, &[EpochRows::empty(recovery.last)])?;
        }
    }
    Ok(())
}

/// Where a plan whose steps keep state has its snapshots.
fn open_shelf(plan: &Plan, place: &SnapshotPlace) -> Result<Option<Arc<Shelf>>, Failure> {
    if !plan.keeps_state() || plan.restart != RestartPlan::Journal {
        return Ok(None);
    }
    let store = match place {
        SnapshotPlace::Nowhere => return Ok(None),
        SnapshotPlace::Store { store, .. } => store.clone(),
        SnapshotPlace::StateDir => Arc::new(Store::in_folder(&plan.snapshot_dir())?),
    };
    Shelf::open(store, &plan.namespace, &plan.name).map(|shelf| Some(Arc::new(shelf)))
}

/// Where a run goes on, and with what.
struct Begun {
    recovery: Recovery,
    restored: Option<Restored>,
    /// Epochs whose snapshots can be begun from.
    kept: BTreeSet<Epoch>,
}

impl Begun {
    fn with(recovery: Recovery) -> Begun {
        Begun { recovery, restored: None, kept: BTreeSet::new() }
    }
}

/// Decides where to go on, with the state of the newest snapshot that can be used where that is nearer.
fn recover(
    plan: &Plan,
    history: &History,
    writers: &[Written],
    options: &StartOptions,
    shelf: Option<&Shelf>,
) -> Result<Begun, Failure> {
    let lineage = history.plan.as_ref().map(|plan| plan.lineage.clone());
    let Found { whole: mut manifests, mut damaged } = match (shelf, lineage) {
        (Some(shelf), Some(lineage)) => shelf.list(&lineage)?,
        _ => Found::default(),
    };
    let left_state = match shelf.filter(|_| history.plan.is_none()) {
        Some(shelf) => !shelf.lineages()?.is_empty(),
        None => false,
    };
    // Of the same steps, made of the same.
    manifests.retain(|manifest| {
        let same = |step: &&crate::plan::StepPlan| {
            manifest.steps.get(&step.name).is_some_and(|state| state.fingerprint == step.fingerprint)
        };
        plan.steps.iter().filter(|step| matches!(step.step, Step::Stateful(_))).all(|step| same(&step))
    });
    loop {
        let epochs: Vec<Epoch> = manifests.iter().map(|manifest| manifest.epoch).collect();
        let place = shelf.map(Shelf::describe).unwrap_or_default();
        let recovery = decide(plan, history, writers, options, &epochs, &place, left_state)?;
        let kept = epochs.into_iter().filter(|epoch| history.epochs.contains_key(epoch)).collect();
        let Some(shelf) = shelf else { return Ok(Begun { recovery, restored: None, kept }) };
        let Some(epoch) = recovery.snapshot else {
            shelf.remove_damaged(&damaged)?;
            return Ok(Begun { recovery, restored: None, kept });
        };
        let manifest = manifests.iter().find(|manifest| manifest.epoch == epoch);
        let manifest =
            manifest.ok_or_else(|| Failure::bug("start.snapshot", "a snapshot was chosen that is not there"))?;
        match snapshots::restore(plan, shelf, manifest) {
            Ok(restored) => {
                // Not before there is something else to go on from.
                shelf.remove_damaged(&damaged)?;
                return Ok(Begun { recovery, restored: Some(restored), kept });
            }
            Err(failure) if failure.code != "state.damaged" => return Err(failure),
            Err(failure) => {
                tracing::warn!("{}: the snapshot of epoch {epoch} is not used: {failure}", plan.name);
                damaged.extend([manifest.name(), manifest.object.clone()]);
                manifests.retain(|manifest| manifest.epoch != epoch);
            }
        }
    }
}

fn decide(
    plan: &Plan,
    history: &History,
    writers: &[Written],
    options: &StartOptions,
    snapshots: &[Epoch],
    place: &str,
    left_state: bool,
) -> Result<Recovery, Failure> {
    let memory = |(index, sink): (usize, &crate::plan::SinkPlan)| SinkMemory {
        name: sink.name.clone(),
        delivery: sink.sink.delivery(),
        progress: writers.iter().find(|written| written.members.contains(&index)).and_then(|w| w.writer.progress()),
    };
    let sinks: Vec<SinkMemory> = plan.sinks.iter().enumerate().map(memory).collect();
    let facts = PlanFacts {
        namespace: &plan.namespace,
        name: &plan.name,
        fingerprint: &plan.fingerprint,
        reads: &reads(plan),
        topics: &topics(plan),
        kept: &kept(plan),
        writes: &writes(plan),
        fresh: options.fresh,
        snapshots,
        snapshot_place: place,
        left_state,
    };
    recovery::decide(history, facts, &sinks, &uuid::Uuid::new_v4().to_string())
}

/// Partitions of which a replay gives less than was recorded, and may: by source, then name.
type Shortened = BTreeMap<String, BTreeSet<PartitionName>>;

/// I17: asks the sources where they go on in spite of what is gone, says so, and has the jumps journaled before a row
/// is read behind them.
fn gone(plan: &Plan, history: &History, recovery: &mut Recovery, metrics: &Metrics) -> Result<Shortened, Failure> {
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
        for (partition, Gone { at, unread, missing }) in source.source.gone(&known)? {
            let name = source.name_of(partition);
            let (of, at) = (&source.name, Position::offset(at));
            match unread {
                true => {
                    let what = if missing > 0 { format!("{missing} records") } else { "the next records".to_owned() };
                    tracing::warn!("`{of}`: {what} of partition {name} are gone unread; it goes on at {}", at.0);
                    let jump = Jump { from_epoch: recovery.last + 1, to: at.clone() };
                    recovery.jumps.entry(of.clone()).or_default().insert(name.clone(), jump);
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

/// The ids of all topics that were ever read: those that are read now as they are now.
fn topic_ids(plan: &Plan, history: &History) -> Result<BTreeMap<String, BTreeMap<String, String>>, Failure> {
    let mut ids = history.plan.as_ref().map(|plan| plan.topic_ids.clone()).unwrap_or_default();
    for source in &plan.sources {
        let found = source.source.topic_ids()?;
        if !found.is_empty() {
            ids.entry(source.name.clone()).or_default().extend(found);
        }
    }
    Ok(ids)
}

/// I10: output that was committed in pieces is cut where the journal says, which holds for the very rows only.
fn refuse_pieces(history: &History, recovery: &Recovery, gone: &Shortened) -> Result<(), Failure> {
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

/// By source: its partitions and where reading begins.
fn discover(plan: &Plan, recovery: &Recovery) -> Result<Vec<Vec<PartitionStart>>, Failure> {
    let of = |source: &SourcePlan| {
        let known = recovery.positions.get(&source.name).into_iter().flatten();
        let known = source.of_names(known.map(|(name, position)| (name, position.clone())));
        let times = recovery.end_times.get(&source.name);
        let max_timestamp = |partition| times.and_then(|times| times.get(&source.name_of(partition))?.1);
        let mut found = source.source.discover(&known)?;
        found.iter_mut().for_each(|start| start.max_timestamp = max_timestamp(start.partition));
        Ok(found)
    };
    plan.sources.iter().map(of).collect()
}

fn plan_record(plan: &Plan, history: &History, recovery: &Recovery, discovered: &[Vec<PartitionStart>]) -> PlanRecord {
    let mut starts = history.plan.as_ref().map(|plan| plan.starts.clone()).unwrap_or_default();
    for (source, partitions) in plan.sources.iter().zip(discovered) {
        let known = starts.entry(source.name.clone()).or_default();
        for start in partitions {
            known.entry(source.name_of(start.partition)).or_insert_with(|| start.start.clone());
        }
        // A topic that is read no more may come back: then it goes on where it was left.
        let left = recovery.positions.get(&source.name).into_iter().flatten();
        let left = left.filter(|(name, _)| name.find(source.source.topics()).is_none());
        known.extend(left.map(|(name, position)| (name.clone(), position.clone())));
    }
    let before = history.plan.as_ref().map(|plan| plan.sinks.clone()).unwrap_or_default();
    let added = |name: &String| before.get(name).copied().unwrap_or(recovery.last + 1);
    PlanRecord {
        version: PLAN_VERSION,
        lineage: recovery.lineage.clone(),
        namespace: plan.namespace.clone(),
        pipeline: plan.name.clone(),
        fingerprint: plan.fingerprint.clone(),
        from_epoch: recovery.last + 1,
        starts,
        sinks: plan.sinks.iter().map(|sink| (sink.name.clone(), added(&sink.name))).collect(),
        resolved: resolved_plan(plan),
        jumps: recovery.jumps.clone(),
        topic_ids: BTreeMap::new(),
    }
}

/// I14: what was looked up or decided when the plan was made, so that a journal can be understood without the
/// servers of its day.
fn resolved_plan(plan: &Plan) -> serde_json::Value {
    let columns = |source: &SourcePlan| {
        let column = |field: &arrow::datatypes::FieldRef| format!("{} {}", field.name(), type_word(field.as_ref()));
        (source.name.clone(), source.schema.fields().iter().map(column).collect::<Vec<_>>())
    };
    let subject = |subject: &crate::plan::outline::SubjectOutline| serde_json::json!({ "subject": subject.subject, "id": subject.id.get(), "schema": subject.schema });
    serde_json::json!({
        recovery::READS: reads(plan),
        recovery::KEPT: kept(plan),
        recovery::WRITES: writes(plan),
        "columns": plan.sources.iter().map(columns).collect::<BTreeMap<_, _>>(),
        "subjects": plan.outline.subjects.iter().map(subject).collect::<Vec<_>>(),
        "isolation": "read_committed",
        "runner": env!("CARGO_PKG_VERSION"),
    })
}

fn reads(plan: &Plan) -> BTreeMap<String, String> {
    plan.sources.iter().map(|source| (source.name.clone(), source.source.reads())).collect()
}

fn topics(plan: &Plan) -> BTreeMap<String, Vec<String>> {
    let of = |source: &SourcePlan| source.source.topics().iter().map(|topic| topic.to_string()).collect();
    plan.sources.iter().map(|source| (source.name.clone(), of(source))).collect()
}

fn kept(plan: &Plan) -> BTreeMap<String, String> {
    plan.sinks.iter().filter_map(|sink| Some((sink.name.clone(), sink.sink.keeps()?))).collect()
}

fn writes(plan: &Plan) -> BTreeMap<String, String> {
    let of = |(sink, outline): (&crate::plan::SinkPlan, &crate::plan::outline::SinkOutline)| {
        let crate::plan::outline::SinkOutline { from, format, key, .. } = outline;
        (sink.name.clone(), format!("{:?} of {from}, {format}, key {key}", sink.mode))
    };
    plan.sinks.iter().zip(&plan.outline.sinks).map(of).collect()
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

/// How many lanes each source gets.
fn lane_counts(plan: &Plan, discovered: &[Vec<PartitionStart>], options: &StartOptions) -> Vec<usize> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let lanes_max = options.lanes.or(plan.lanes).unwrap_or(cores).max(1);
    discovered.iter().map(|partitions| lanes_max.min(partitions.len()).max(1)).collect()
}

/// Deals the partitions of each source to its lanes, round and round.
fn open_seats(
    plan: &Arc<Plan>,
    graph: &Graph,
    discovered: &[Vec<PartitionStart>],
    lanes: &[usize],
    clock: &Arc<EpochClock>,
    queue_bytes: usize,
    metrics: &Arc<Metrics>,
) -> Result<Vec<Seat>, Failure> {
    let mut seats = Vec::new();
    for ((source, partitions), lanes) in discovered.iter().enumerate().zip(lanes.iter().copied()) {
        for lane in 0..lanes {
            let share: Vec<PartitionStart> = partitions.iter().skip(lane).step_by(lanes).cloned().collect();
            let opened = Lane::open(plan, graph, source, &share, metrics.clone())?;
            let source_plan = &plan.sources[source];
            let wanted = Wanted { queue_bytes, ..source_plan.wanted };
            let reader = source_plan.source.open(source as crate::data::SourceIndex, &share, wanted)?;
            seats.push(Seat::new(source, opened, reader, &share, clock.clone()));
        }
    }
    Ok(seats)
}

fn start_sinks(
    plan: &Plan,
    writers: Vec<Written>,
    recovery: &Recovery,
    memory: &Memory,
) -> Result<Vec<SinkThread>, Failure> {
    let start = |Written { members, writer }: Written| {
        let names: Vec<&str> = members.iter().map(|index| plan.sinks[*index].name.as_str()).collect();
        let opened = Opened {
            name: names.join(", "),
            forgets: plan.sinks[members[0]].sink.delivery() == Delivery::AtLeastOnce,
            writer,
            members: members.iter().map(|index| (*index, recovery.sinks[*index])).collect(),
            lineage: recovery.lineage.clone(),
            limits: Limits { bytes: memory.shares.backlog, ..Limits::default() },
            held: memory.gauge(format!("backlog of `{}`", names.join("`, `"))),
        };
        SinkThread::start(opened)
            .map_err(|error| Failure::outside("engine.thread", "cannot start a thread").no_retry().because(error))
    };
    writers.into_iter().map(start).collect()
}

/// How each source's time is looked at.
fn timing(plan: &Plan) -> Vec<SourceTiming> {
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

/// I10: commits what is still to come of an epoch in whose output the journal ends, before any row of the next one is
/// merged. Gives the journal's last epoch then.
fn finish_output(
    plan: &Plan,
    history: &History,
    trunk: &mut Trunk,
    committer: &mut Committer,
    incarnation: u64,
) -> Result<Epoch, Failure> {
    let mut last = history.last();
    if let Some(record) = history.epochs.get(&last).filter(|record| record.cursor.is_some()) {
        let mut chain = Chain::behind(record, incarnation);
        while trunk.is_giving() {
            let piece = trunk.next_piece()?;
            let record = chain.record(plan, &piece);
            last = record.epoch;
            committer.commit(Commit { record, rows: piece.rows })?;
        }
    }
    Ok(last)
}

/// `epoch` is the last; what a continuation of this start committed reads nothing and moves no time.
fn resumed(history: &History, recovery: &Recovery, epoch: Epoch, open_ends: Vec<Millis>) -> Resumed {
    let last = history.epochs.get(&recovery.last);
    Resumed {
        epoch,
        watermark: last.map_or(recovery.watermark, |record| record.watermark),
        clock: last.map_or(recovery.clock, |record| record.clock),
        open_ends,
    }
}

fn latest_positions(
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

/// Reads the journal's epochs again, with their watermarks and clocks.
struct Replay<'a> {
    plan: &'a Plan,
    history: &'a History,
    recovery: &'a Recovery,
    seats: &'a mut Vec<Seat>,
    trunk: &'a mut Trunk,
    pace: &'a mut Option<Pace>,
    clock: &'a EpochClock,
    /// Partitions of which replay may give less than was recorded (I17).
    shortened: &'a Shortened,
    /// How much less it gave, by source and partition.
    missing: BTreeMap<(String, PartitionName), u64>,
    metrics: &'a Metrics,
}

impl Replay<'_> {
    /// Gives the number of rows read.
    fn run(&mut self, committer: &mut Committer) -> Result<u64, Failure> {
        let bell = Bell::new()
            .map_err(|error| Failure::outside("engine.bell", "no file descriptor left").no_retry().because(error))?;
        let mut rows = 0;
        let history = self.history;
        let mut records = history.epochs.range(self.recovery.replay_from..).map(|(_, record)| record).peekable();
        while let Some(record) = records.next() {
            let mut chain = vec![record];
            chain.extend(std::iter::from_fn(|| records.next_if(|record| record.continues.is_some())));
            let last = chain[chain.len() - 1];
            let read = self.read(record, &bell)?;
            let mark = Mark { epoch: record.epoch, watermark: record.watermark, clock: record.clock };
            let outputs = self.seats.iter_mut().map(|seat| seat.mark(&mark)).collect::<Result<Vec<_>, _>>()?;
            let reading = if last.cursor.is_some() { Reading::Resume } else { Reading::Replay };
            self.trunk.merge(&mark, outputs, read, reading)?;
            self.give(&chain, committer)?;
            // Windows whose rows all lie before the replay are no gap. Of an epoch whose output is not whole, what it
            // needs is read, and its steps have not all met the mark.
            if last.cursor.is_none() {
                self.trunk.remember(&last.last_windows);
            }
            rows += read;
            if last.cursor.is_none() {
                self.take_snapshot(last.epoch, read, committer)?;
            }
        }
        self.seats.iter_mut().for_each(Seat::go_live);
        for ((source, partition), missing) in &self.missing {
            tracing::warn!(
                "`{source}`: {missing} records of partition {partition} that open windows were made of are gone: \
                 what these windows give lacks them"
            );
            self.metrics.expired.fetch_add(*missing, Relaxed);
        }
        Ok(rows)
    }

    /// I19: a long replay that is cut short does not begin anew.
    fn take_snapshot(&mut self, epoch: Epoch, rows: u64, committer: &mut Committer) -> Result<(), Failure> {
        let Some(pace) = self.pace else { return Ok(()) };
        let now = self.clock.monotonic();
        pace.note(epoch, rows, now);
        if pace.is_due(self.trunk.needed(), now) {
            let state = self.trunk.freeze(epoch)?;
            pace.took(now, self.clock.monotonic());
            committer.offer(state);
        }
        Ok(())
    }

    /// Gives the sinks what they lack of an epoch's output, cut up as it was committed.
    fn give(&mut self, chain: &[&EpochRecord], committer: &mut Committer) -> Result<(), Failure> {
        let last = chain[chain.len() - 1];
        if last.cursor.is_none() && self.recovery.sinks.iter().all(|has| *has >= last.epoch) {
            return self.trunk.discard();
        }
        for record in chain {
            let rows = self.trunk.replay_piece(cursor_of(self.plan, record).as_ref())?;
            committer.give(record.epoch, rows)?;
        }
        Ok(())
    }

    /// Reads one epoch's ranges; I17: they must yield what was recorded.
    fn read(&mut self, record: &EpochRecord, bell: &Bell) -> Result<u64, Failure> {
        self.clock.replay(record.clock);
        let mut read = 0;
        for seat in self.seats.iter_mut() {
            let source = &self.plan.sources[seat.source];
            let ranges = source.of_names(record.partitions.get(&source.name).into_iter().flatten());
            let jumps = self.recovery.jumps.get(&source.name);
            // Of a log that is no more nothing is read: the partition stands where it goes on.
            let is_past = |name: &PartitionName| {
                jumps.and_then(|jumps| jumps.get(name)).is_some_and(|jump| record.epoch < jump.from_epoch)
            };
            let readable = ranges.iter().filter(|(partition, _)| !is_past(&source.name_of(**partition)));
            let ends = readable.map(|(partition, range)| (*partition, range.to.clone())).collect();
            seat.replay_to(&ends, bell)?;
            for (partition, cut) in seat.cut().partitions {
                read += cut.read;
                let Some(range) = ranges.get(&partition) else { continue };
                let name = source.name_of(partition);
                let shortened = self.shortened.get(&source.name).is_some_and(|names| names.contains(&name));
                if cut.read < range.read && (shortened || is_past(&name)) {
                    *self.missing.entry((source.name.clone(), name)).or_default() += range.read - cut.read;
                } else {
                    same_as_recorded(&source.name, &name, record.epoch, &cut, range)?;
                }
            }
        }
        Ok(read)
    }
}

fn same_as_recorded(
    source: &str,
    partition: &PartitionName,
    epoch: Epoch,
    cut: &PartitionCut,
    range: &crate::journal::PartitionRecord,
) -> Result<(), Failure> {
    // The position says more than the count: which file it was, which seed comes next.
    if cut.read == range.read && cut.rejected == range.rejected && cut.to == range.to {
        return Ok(());
    }
    let missing = range.read.saturating_sub(cut.read);
    let what = match missing {
        0 => "other records than".to_owned(),
        missing => format!("{missing} records less than"),
    };
    Err(Failure::user(
        "refused.source_changed",
        format!(
            "epoch {epoch} cannot be replayed: `{source}` partition {partition} now gives {what} when it was committed"
        ),
    )
    .hint("retention, compaction or a recreated topic removed them; start over with `--fresh`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::PartitionRecord;

    #[test]
    fn i17_as_many_records_from_elsewhere_are_other_records() {
        let at = |mtime: i64| Position(serde_json::json!({"path": "b.csv", "mtime": mtime, "row": 2}));
        let cut = |to: Position| PartitionCut {
            from: at(0),
            to,
            read: 2,
            rejected: Vec::new(),
            max_time: None,
            max_timestamp: None,
        };
        let PartitionCut { from, to, read, rejected, max_time, max_timestamp } = cut(at(7));
        let range = PartitionRecord { from, to, read, rejected, max_time, max_timestamp };
        assert!(same_as_recorded("s", &0.into(), 1, &cut(at(7)), &range).is_ok());
        let failure = same_as_recorded("s", &0.into(), 1, &cut(at(8)), &range).unwrap_err();
        assert_eq!(failure.code, "refused.source_changed");
    }
}
