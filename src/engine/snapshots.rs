//! Snapshots of a running pipeline: when they are taken, and how one comes to be there.
//!
//! ```text
//!  trunk: Pace says when ──freeze──▶ committer ──▶ desk writes columns ──▶ every sink has the epoch ──▶ desk publishes
//! ```
//!
//! I18: the committer hands a state over when the journal has its epoch, and lets it be published when every sink has it,
//! so that whoever begins there owes no sink anything of before. Two are kept: should the newer one be damaged, the journal still
//! holds what lies behind the older one, and is trimmed no further.
//!
//! What cannot be written ends nothing: it is said, and the next one is taken in its time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};

use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::graph::Graph;
use super::memory::Gauge;
use super::metrics::Metrics;
use super::pool::Pool;
use crate::data::Epoch;
use crate::journal::Part;
use crate::plan::{Plan, SnapshotSettings, Step};
use crate::report::Failure;
use crate::state::{Head, Manifest, Shelf, StateOf};
use crate::time::Millis;
use crate::transforms::{Frozen, StatefulOperator};

/// Rows that a replay reads in a millisecond, until it is known better.
const ROWS_PER_MS: f64 = 100.0;
/// Over so long the speed is measured.
const MEASURED_MS: Millis = 500;
/// I19: a snapshot that comes earlier than `every` asks for may take this part of the time at most.
const COST_SHARE: Millis = 20;

/// What the steps with state kept behind an epoch.
pub struct StateBehind {
    pub epoch: Epoch,
    pub steps: Vec<StateOf<dyn Frozen>>,
}

impl StateBehind {
    fn size(&self) -> usize {
        self.steps.iter().map(|(_, _, state)| state.size()).sum()
    }
}

/// What is shared between whoever takes snapshots and whoever writes them.
#[derive(Debug, Clone, Default)]
struct Shared {
    /// One is on its way.
    busy: Arc<AtomicBool>,
    /// How long the last one was written, in milliseconds.
    written_ms: Arc<AtomicU64>,
    /// The last one came to nothing.
    failed: Arc<AtomicBool>,
}

/// I19: when the next snapshot is due.
#[derive(Debug)]
pub struct Pace {
    settings: SnapshotSettings,
    shared: Shared,
    /// When the last one was taken.
    taken: Millis,
    /// How long that held the pipeline up.
    frozen_ms: Millis,
    /// Rows read, by epoch, since then.
    rows: VecDeque<(Epoch, u64)>,
    rows_per_ms: f64,
    measured_from: Millis,
    measured_rows: u64,
}

impl Pace {
    /// An epoch was merged.
    pub fn note(&mut self, epoch: Epoch, rows: u64, now: Millis) {
        self.rows.push_back((epoch, rows));
        self.measured_rows += rows;
        let elapsed = now - self.measured_from;
        if elapsed >= MEASURED_MS {
            self.rows_per_ms = self.rows_per_ms.max(self.measured_rows as f64 / elapsed as f64);
            (self.measured_from, self.measured_rows) = (now, 0);
        }
    }

    /// Whether a snapshot of the state behind the last epoch is due. `needed` is where a replay without one would begin;
    /// `None`: there is no state.
    pub fn is_due(&mut self, needed: Option<Epoch>, now: Millis) -> bool {
        let Some(needed) = needed else {
            self.rows.clear();
            self.shared.failed.store(false, SeqCst);
            return false;
        };
        // What lies before is read in no replay.
        while self.rows.front().is_some_and(|(epoch, _)| *epoch < needed) {
            self.rows.pop_front();
        }
        if !self.is_behind() || self.shared.busy.load(SeqCst) {
            return false;
        }
        let since = now - self.taken;
        let rows: u64 = self.rows.iter().map(|(_, rows)| rows).sum();
        let replay_ms = rows as f64 / self.rows_per_ms;
        let cost_ms = self.frozen_ms + self.shared.written_ms.load(Relaxed) as Millis;
        since >= self.settings.every_ms
            || (replay_ms >= self.settings.target_ms as f64 && since >= COST_SHARE * cost_ms)
    }

    /// In how many milliseconds to ask again where no epoch comes: none may come for a long time, and what was merged, or
    /// could not be written, is to be in a snapshot all the same. `None`: there is nothing to come.
    pub fn ask_within(&self, now: Millis) -> Option<Millis> {
        let is_busy = self.shared.busy.load(SeqCst);
        let left = self.taken + self.settings.every_ms - now;
        (is_busy || self.is_behind()).then(|| if left <= 0 && is_busy { self.settings.every_ms } else { left.max(1) })
    }

    /// True if an epoch was merged since the last one was taken, or that one came to nothing.
    pub fn is_behind(&self) -> bool {
        !self.rows.is_empty() || self.shared.failed.load(SeqCst)
    }

    /// One was taken, which began at `from`.
    pub fn took(&mut self, from: Millis, now: Millis) {
        self.shared.busy.store(true, SeqCst);
        self.rows.clear();
        (self.taken, self.frozen_ms) = (now, now - from);
    }
}

/// The snapshots of a run, as the committer sees them.
pub struct Snapshots {
    desk: Desk,
    stage: Stage,
    /// Those that are there, oldest first.
    kept: BTreeSet<Epoch>,
    shared: Shared,
    held: Gauge,
    metrics: Arc<Metrics>,
    name: String,
}

enum Stage {
    Idle,
    Writing,
    /// It waits for the sinks.
    Written(Box<Manifest>),
    Publishing(Epoch),
}

/// What the desk is asked for.
enum Order {
    Write(StateBehind),
    /// And remove what is older than the one before it.
    Publish(Box<Manifest>, Option<Epoch>),
}

enum Done {
    Written(Result<Box<Manifest>, Failure>),
    Published(Result<(), Failure>),
}

/// Who does the writing.
enum Desk {
    /// Whoever asks, at once: where one seed must always give one run.
    Here(Worker, VecDeque<Done>),
    Elsewhere(Office),
}

/// Somebody writes in threads of the pool: one order at a time.
struct Office {
    pool: Pool,
    worker: Arc<Worker>,
    done: Sender<Done>,
    results: Receiver<Done>,
    /// Told when something is done.
    news: Arc<Notify>,
}

struct Worker {
    shelf: Arc<Shelf>,
    lineage: String,
    incarnation: u64,
    shared: Shared,
}

/// What snapshots are written with.
pub struct Opening {
    pub shelf: Arc<Shelf>,
    pub lineage: String,
    pub incarnation: u64,
    /// Those that are there already and can be used.
    pub kept: BTreeSet<Epoch>,
    pub held: Gauge,
    pub metrics: Arc<Metrics>,
    /// Whoever asks writes, instead of a thread.
    pub here: bool,
    /// Told when something is done.
    pub news: Arc<Notify>,
    pub name: String,
    pub settings: SnapshotSettings,
    pub now: Millis,
}

impl Opening {
    /// # Errors
    /// A thread cannot be started.
    pub fn open(self) -> Result<(Snapshots, Pace), Failure> {
        let Opening { shelf, lineage, incarnation, kept, held, metrics, here, news, name, settings, now } = self;
        let shared = Shared::default();
        let worker = Worker { shelf, lineage, incarnation, shared: shared.clone() };
        let desk = if here { Desk::Here(worker, VecDeque::new()) } else { Desk::elsewhere(worker, news)? };
        let pace = Pace {
            settings,
            shared: shared.clone(),
            taken: now,
            frozen_ms: 0,
            rows: VecDeque::new(),
            rows_per_ms: ROWS_PER_MS,
            measured_from: now,
            measured_rows: 0,
        };
        Ok((Snapshots { desk, stage: Stage::Idle, kept, shared, held, metrics, name }, pace))
    }
}

impl Snapshots {
    /// Takes over what the steps kept behind an epoch that the journal has.
    pub fn offer(&mut self, state: StateBehind) {
        if !matches!(self.stage, Stage::Idle) {
            // The one at the end of a run may find another on its way.
            return;
        }
        self.shared.busy.store(true, SeqCst);
        self.held.set(state.size());
        self.stage = Stage::Writing;
        self.desk.order(Order::Write(state));
    }

    /// Sees how far the writing is; publishes what every sink has.
    pub fn advance(&mut self, slowest: Epoch) {
        while let Some(done) = self.desk.done() {
            self.take(done);
        }
        if let Stage::Written(manifest) = &self.stage
            && manifest.epoch <= slowest
        {
            let manifest = manifest.clone();
            self.stage = Stage::Publishing(manifest.epoch);
            self.desk.order(Order::Publish(manifest, self.kept.last().copied()));
            while let Some(done) = self.desk.done() {
                self.take(done);
            }
        }
    }

    /// Waits until what is on its way is there, as long as `slowest` lets it.
    pub fn finish(&mut self, slowest: Epoch) {
        loop {
            self.advance(slowest);
            match &self.stage {
                Stage::Idle | Stage::Written(_) => return,
                Stage::Writing | Stage::Publishing(_) => match self.desk.wait() {
                    Some(done) => self.take(done),
                    None => return,
                },
            }
        }
    }

    /// True while one is on its way.
    pub fn is_busy(&self) -> bool {
        !matches!(self.stage, Stage::Idle)
    }

    /// What lies before this epoch nobody needs for the state any more; `None`: it is needed.
    pub fn covered(&self) -> Option<Epoch> {
        self.kept.iter().rev().nth(1).copied()
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Written(Ok(manifest)) => {
                self.held.set(0);
                self.stage = Stage::Written(manifest);
            }
            Done::Published(Ok(())) => {
                if let Stage::Publishing(epoch) = self.stage {
                    self.kept.insert(epoch);
                    while self.kept.len() > 2 {
                        self.kept.pop_first();
                    }
                    self.metrics.snapshots.fetch_add(1, Relaxed);
                    self.shared.failed.store(false, SeqCst);
                }
                self.idle();
            }
            Done::Written(Err(failure)) | Done::Published(Err(failure)) => {
                self.held.set(0);
                self.metrics.snapshots_failed.fetch_add(1, Relaxed);
                self.shared.failed.store(true, SeqCst);
                tracing::warn!(
                    "{}: a snapshot of the state could not be written: {failure}; the pipeline goes on, the journal stays \
                     as long as it is, and a restart replays more until one can be",
                    self.name
                );
                self.idle();
            }
        }
    }

    fn idle(&mut self) {
        self.stage = Stage::Idle;
        self.shared.busy.store(false, SeqCst);
    }
}

impl Desk {
    fn elsewhere(worker: Worker, news: Arc<Notify>) -> Result<Desk, Failure> {
        let (done, results) = channel();
        Ok(Desk::Elsewhere(Office { pool: Pool::shared()?, worker: Arc::new(worker), done, results, news }))
    }

    fn order(&mut self, order: Order) {
        match self {
            Desk::Here(worker, done) => done.push_back(worker.work(order)),
            Desk::Elsewhere(Office { pool, worker, done, news, .. }) => {
                let (worker, done, news) = (worker.clone(), done.clone(), news.clone());
                pool.start(move || {
                    // Nobody there: the run has ended.
                    let _ = done.send(worker.surely(order));
                    news.notify_one();
                });
            }
        }
    }

    fn done(&mut self) -> Option<Done> {
        match self {
            Desk::Here(_, done) => done.pop_front(),
            Desk::Elsewhere(office) => office.results.try_recv().ok(),
        }
    }

    fn wait(&mut self) -> Option<Done> {
        match self {
            Desk::Here(_, done) => done.pop_front(),
            Desk::Elsewhere(office) => office.results.recv().ok(),
        }
    }
}

impl Worker {
    /// A bug of ours in one snapshot must not keep all later ones from being taken.
    fn surely(&self, order: Order) -> Done {
        let writes = matches!(order, Order::Write(_));
        let work = std::panic::AssertUnwindSafe(|| self.work(order));
        std::panic::catch_unwind(work).unwrap_or_else(|_| {
            let failure = Failure::bug("state.panic", "what writes snapshots panicked");
            if writes { Done::Written(Err(failure)) } else { Done::Published(Err(failure)) }
        })
    }

    fn work(&self, order: Order) -> Done {
        match order {
            Order::Write(StateBehind { epoch, mut steps }) => {
                let started = Instant::now();
                let Worker { lineage, incarnation, .. } = self;
                let head = Head { lineage: lineage.clone(), incarnation: *incarnation, epoch };
                let written = self.shelf.write(&head, &mut steps);
                self.shared.written_ms.store(millis(started.elapsed()), Relaxed);
                Done::Written(written.map(Box::new))
            }
            Order::Publish(manifest, before) => Done::Published(self.publish(&manifest, before)),
        }
    }

    fn publish(&self, manifest: &Manifest, before: Option<Epoch>) -> Result<(), Failure> {
        self.shelf.publish(manifest)?;
        if let Some(Err(failure)) = before.map(|before| self.shelf.remove_older(&self.lineage, before)) {
            // What stays too long hurts nobody.
            tracing::warn!("{failure}; old snapshots are removed later");
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// What a start found in a snapshot.
pub struct Restored {
    pub operators: BTreeMap<usize, Box<dyn StatefulOperator>>,
    pub report: RestoredReport,
}

/// For people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RestoredReport {
    pub epoch: Epoch,
    pub rows: u64,
    pub bytes: u64,
    pub ms: u64,
}

/// Why a snapshot is of no use to a plan; `None`: it has what every step kept that had begun by then.
pub fn why_not(plan: &Plan, parts: &BTreeMap<String, Part>, manifest: &Manifest) -> Option<String> {
    plan.steps.iter().find_map(|step| {
        let part = parts.get(&step.name).filter(|part| part.since <= manifest.epoch)?;
        match manifest.steps.get(&step.name) {
            Some(state) if (&state.fingerprint, state.since) == (&step.fingerprint, part.since) => None,
            Some(_) => Some(format!("`{}` is another step than the one whose state it has", step.name)),
            None => Some(format!("it has no state of `{}`", step.name)),
        }
    })
}

/// The steps of a plan with the state that a snapshot has of them. A step that began behind it begins with none.
///
/// # Errors
/// It is damaged, or has other columns than the steps keep.
pub fn restore(
    plan: &Plan,
    parts: &BTreeMap<String, Part>,
    shelf: &Shelf,
    manifest: &Manifest,
) -> Result<Restored, Failure> {
    let (started, graph) = (Instant::now(), Graph::of(plan));
    let mut operators = BTreeMap::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let Step::Stateful(transform) = &step.step else { continue };
        let has_begun = parts.get(&step.name).is_some_and(|part| part.since <= manifest.epoch);
        let Some(state) = manifest.steps.get(&step.name).filter(|_| has_begun) else { continue };
        let wants_rest = graph.rest.get(&index).is_some_and(|rest| !rest.consumers.is_empty());
        let (mut operator, columns) = (transform.open(wants_rest), transform.state());
        for part in &state.parts {
            let rows = shelf.read(manifest, part)?;
            let same = rows.schema_ref().fields().iter().map(|field| (field.name(), field.data_type()));
            if !same.eq(columns.fields().iter().map(|field| (field.name(), field.data_type()))) {
                let (name, theirs, place) = (&step.name, &manifest.runner, shelf.describe());
                let message = format!(
                    "the state of `{name}` in the snapshot of epoch {} (of runner {theirs}, in `{place}`) has other columns than \
                     this runner keeps",
                    manifest.epoch
                );
                return Err(Failure::user("refused.state_columns", message).hint(format!(
                    "go on with runner {theirs}; or start over with `--fresh`, which reads the sources from their `start` again"
                )));
            }
            operator.thaw(&rows)?;
        }
        operators.insert(index, operator);
    }
    let Manifest { epoch, rows, bytes, .. } = *manifest;
    Ok(Restored { operators, report: RestoredReport { epoch, rows, bytes, ms: millis(started.elapsed()) } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Strike;

    fn pace(every_ms: Millis, target_ms: Millis) -> Pace {
        opened(&Arc::new(crate::state::Store::in_memory().unwrap()), every_ms, target_ms).1
    }

    fn opened(store: &Arc<crate::state::Store>, every_ms: Millis, target_ms: Millis) -> (Snapshots, Pace) {
        let shelf = Shelf::open(store.clone(), "default", "p").unwrap();
        let opening = Opening {
            shelf: Arc::new(shelf),
            lineage: "l".into(),
            incarnation: 1,
            kept: BTreeSet::new(),
            held: Gauge::default(),
            metrics: Arc::default(),
            here: true,
            news: Arc::default(),
            name: "p".into(),
            settings: SnapshotSettings { every_ms, target_ms },
            now: 0,
        };
        opening.open().unwrap()
    }

    /// Whoever begins there would owe the slower sink what it lacks of before.
    #[test]
    fn i18_a_snapshot_is_there_when_every_sink_has_its_epoch_and_not_before() {
        let store = Arc::new(crate::state::Store::in_memory().unwrap());
        let (mut snapshots, _) = opened(&store, 30_000, 5_000);
        let shelf = Shelf::open(store.clone(), "default", "p").unwrap();
        let there = || shelf.list("l").unwrap().whole.iter().map(|manifest| manifest.epoch).collect::<Vec<_>>();
        snapshots.offer(StateBehind { epoch: 5, steps: Vec::new() });
        for slowest in [0, 4] {
            snapshots.advance(slowest);
            assert_eq!((there(), snapshots.is_busy()), (vec![], true), "the slowest sink has {slowest}");
        }
        assert_eq!(store.list("l").unwrap().objects.len(), 1, "its columns wait for that");
        // A stop waits for no sink.
        snapshots.finish(4);
        assert_eq!(there(), [] as [Epoch; 0]);
        snapshots.advance(5);
        assert_eq!((there(), snapshots.is_busy()), (vec![5], false));
    }

    /// The disk was full, and has room now: nothing came since, and the stop takes one all the same.
    #[test]
    fn i19_a_stop_behind_a_snapshot_that_came_to_nothing_takes_one() {
        let store = Arc::new(crate::state::Store::in_memory().unwrap());
        let (mut snapshots, mut pace) = opened(&store, 30_000, 5_000);
        let mut take = |is_full: bool, epoch: Epoch| {
            store.disturb(move |_| is_full.then_some(Strike::Full));
            snapshots.offer(StateBehind { epoch, steps: Vec::new() });
            snapshots.finish(epoch);
        };
        for (is_full, epoch) in [(true, 1), (false, 2), (true, 3), (false, 3)] {
            pace.note(epoch, 5, 0);
            pace.took(0, 0);
            take(is_full, epoch);
            assert_eq!(pace.is_behind(), is_full, "epoch {epoch}");
            assert_eq!(pace.is_due(Some(1), 30_000), is_full, "epoch {epoch}");
        }
    }

    #[test]
    fn i19_snapshots_are_at_most_so_far_apart_if_an_epoch_was_committed() {
        let mut pace = pace(30_000, 5_000);
        assert!(!pace.is_due(Some(1), 100_000), "nothing was read");
        pace.note(1, 5, 100_000);
        assert!(pace.is_due(Some(1), 100_000));
        assert!(!pace.is_due(None, 100_000), "there is no state");
        assert_eq!(pace.ask_within(100_000), None);
        pace.note(2, 5, 100_010);
        pace.took(100_010, 100_020);
        pace.shared.busy.store(false, SeqCst);
        assert_eq!(pace.ask_within(110_000), None, "nothing came since");
        pace.note(3, 5, 110_000);
        assert_eq!(pace.ask_within(110_000), Some(20_020));
        assert!(!pace.is_due(Some(1), 130_019));
        assert!(pace.is_due(Some(1), 130_020));
        pace.shared.busy.store(true, SeqCst);
        assert!(!pace.is_due(Some(1), 130_020), "one is on its way");
        assert_eq!(pace.ask_within(140_000), Some(30_000));
    }

    #[test]
    fn i19_a_replay_that_would_take_longer_than_the_target_asks_for_one_earlier() {
        let mut pace = pace(30_000, 5_000);
        // 200 rows a millisecond; in five seconds that is a million.
        for second in 1..=4 {
            pace.note(second, 200_000, second as Millis * 1_000);
            assert!(!pace.is_due(Some(1), second as Millis * 1_000));
        }
        pace.note(5, 200_000, 5_000);
        assert!(pace.is_due(Some(1), 5_000));
        // A replay without a snapshot would begin behind most of them.
        assert!(!pace.is_due(Some(3), 5_000));
    }

    #[test]
    fn i19_the_target_costs_no_more_than_its_share_of_the_time() {
        let mut pace = pace(30_000, 5_000);
        pace.note(1, 10_000_000, 1_000);
        pace.took(1_000, 1_100);
        pace.shared.written_ms.store(400, Relaxed);
        pace.shared.busy.store(false, SeqCst);
        pace.note(2, 100_000_000, 1_200);
        assert!(!pace.is_due(Some(1), 11_000));
        assert!(pace.is_due(Some(1), 11_100), "20 × 500 ms behind it");
    }
}
