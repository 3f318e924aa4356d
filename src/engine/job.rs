//! A running pipeline: owns every thread, task and channel.
//!
//! ```text
//!   lane threads ──reports, cuts──▶ coordinator (a task) ──marks──▶ lanes
//!        └──outputs──▶ trunk thread ──commits──▶ committer thread ──▶ sinks' threads
//!                                                   └──committed──▶ coordinator
//! ```
//!
//! All channels are bounded. The first failure of any thread ends the job; nothing that was not
//! committed is lost, because it is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::branch::Output;
use super::commit::{Commit, Committer};
use super::coordinator::{Action, Coordinator, Event, LaneReport, RECORD_BYTES_MAX};
use super::lane::PartitionCut;
use super::memory::{Gauge, Memory};
use super::metrics::Metrics;
use super::pieces::Chain;
use super::reported;
use super::seat::{EpochClock, Seat};
use super::snapshots::{Pace, StateBehind};
use super::start::{StartOptions, StartReport, Started, start};
use super::trunk::{Reading, Trunk};
use crate::connectors::{Bell, PartitionStart};
use crate::data::{EncodedRows, Epoch, Mark, Partition, Position};
use crate::journal::{EpochRecord, Journal, PartitionRecord};
use crate::plan::Plan;
use crate::report::Failure;
use crate::time::{Clock, Millis};

const IDLE_WAIT: Duration = Duration::from_millis(100);
/// Rows that trickle in are left to gather for so long while the epoch before is being committed: a poll for every
/// few of them would cost more than they do. A cut takes in what has gathered.
const GATHER: Duration = Duration::from_millis(2);
/// How long a job that failed waits for its workers to end in good order.
const FAILED_PATIENCE: Duration = Duration::from_secs(10);
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How often sources look whether what they read is still what it was.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A partition that not every broker knows yet is tried again after this.
const ADD_AGAIN: Duration = Duration::from_secs(1);
const LAST_REPORT: Duration = Duration::from_secs(2);
const NEIGHBOUR_GONE: &str = "job.neighbour_gone";

/// How to run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    pub start: StartOptions,
}

/// How a job ended without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every source ended and everything is committed.
    Ended,
    /// It was asked to stop; everything taken in is committed.
    Stopped,
}

/// A pipeline that runs.
pub struct Job {
    pub report: StartReport,
    pub metrics: Arc<Metrics>,
    stop: Arc<Stop>,
    coordinator: JoinHandle<Result<Outcome, Failure>>,
}

/// Asks a job to stop, from anywhere.
#[derive(Debug)]
pub struct Stop {
    /// Lanes take nothing more in.
    halted: AtomicBool,
    events: mpsc::Sender<ToCoordinator>,
    bells: Vec<Bell>,
}

impl Stop {
    /// Cuts what was taken in, commits it, ends. Emits nothing early (I21).
    pub fn stop(&self) {
        self.halted.store(true, SeqCst);
        self.bells.iter().for_each(Bell::ring);
        // A full channel has a coordinator behind it that looks at `halted` with its next event.
        let _ = self.events.try_send(ToCoordinator::Event(Event::Stop));
    }
}

#[derive(Debug)]
enum ToCoordinator {
    Event(Event),
    /// Partitions of a source that came while it was read.
    Added {
        source: usize,
        partitions: Vec<PartitionStart>,
    },
    Failed(Failure),
}

/// What the coordinator tells a lane.
#[derive(Debug)]
enum ToLane {
    Cut,
    Mark(Mark),
}

/// What a lane is to do when it comes to it. A cell, because the coordinator must never wait for a lane that waits
/// for it.
#[derive(Debug, Default)]
struct Wishes {
    /// The partitions to be paused; only the newest wish counts.
    pause: Option<BTreeSet<Partition>>,
    /// Partitions to be read too.
    add: Vec<PartitionStart>,
}

/// The coordinator's end of a lane.
struct LaneHandle {
    source: usize,
    partition_count: usize,
    control: SyncSender<ToLane>,
    wishes: Arc<Mutex<Wishes>>,
    bell: Bell,
}

impl LaneHandle {
    fn wish(&self, wish: impl FnOnce(&mut Wishes)) {
        wish(&mut self.wishes.lock().unwrap_or_else(|poison| poison.into_inner()));
        self.bell.ring();
    }
}

/// What the coordinator tells the trunk about an epoch whose lanes are handing over.
struct ToTrunk {
    mark: Mark,
    ranges: BTreeMap<usize, BTreeMap<Partition, PartitionCut>>,
    ended: bool,
}

enum ToCommitter {
    Commit {
        commit: Box<Commit>,
        /// End plus grace of each open window, and what all steps hold; `None`: more of the epoch's output follows.
        done: Option<(Vec<Millis>, usize)>,
    },
    /// What the steps keep behind the last commit.
    State(StateBehind),
    /// The same, and nothing follows.
    LastState(StateBehind),
}

impl Job {
    /// Starts a plan on its journal: blocks while the state is rebuilt, then runs in threads of its own.
    /// Call it from a thread that may block.
    pub fn start(
        plan: Arc<Plan>,
        journal: Box<dyn Journal>,
        options: RunOptions,
        clock: Arc<dyn Clock>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Job, Failure> {
        let metrics = Arc::new(Metrics::default());
        let started = start(&plan, journal, options.start, clock.clone(), &metrics)?;
        Threads::spawn(plan, started, clock, metrics, runtime)
    }

    /// A handle that stops the job.
    pub fn stop_handle(&self) -> Arc<Stop> {
        self.stop.clone()
    }

    /// Waits for the end.
    pub async fn join(self) -> Result<Outcome, Failure> {
        match self.coordinator.await {
            Ok(outcome) => outcome,
            Err(error) => Err(Failure::bug("job.panic", "the coordinator panicked").because(error)),
        }
    }
}

/// Everything that the coordinator's task holds.
struct Threads {
    plan: Arc<Plan>,
    coordinator: Coordinator,
    clock: Arc<dyn Clock>,
    epoch_clock: Arc<EpochClock>,
    lanes: Vec<LaneHandle>,
    trunk: Option<SyncSender<ToTrunk>>,
    events: mpsc::Receiver<ToCoordinator>,
    memory: Arc<Memory>,
    stop: Arc<Stop>,
    metrics: Arc<Metrics>,
    positions: Arc<Mutex<Reached>>,
    lineage: String,
    workers: Vec<std::thread::JoinHandle<()>>,
}

/// Newest committed positions, by source: for lag tools.
type Positions = BTreeMap<usize, BTreeMap<Partition, Position>>;

/// How far the last committed epoch is.
#[derive(Debug, Default)]
struct Reached {
    epoch: Epoch,
    /// Taken when they are reported.
    positions: Positions,
}

impl Threads {
    fn spawn(
        plan: Arc<Plan>,
        started: Started,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Job, Failure> {
        let Started {
            seats,
            trunk,
            coordinator,
            committer,
            pace,
            clock: epoch_clock,
            memory,
            open,
            incarnation,
            report,
        } = started;
        let lane_count = seats.len();
        let (events, receiver) = mpsc::channel(1_024);
        let (outputs_in, outputs) = sync_channel(lane_count.max(1) * 2);
        let (trunk_in, trunk_jobs) = sync_channel(2);
        // While one piece commits the next is made, and no more: each may have 16 MiB (I10).
        let (commits_in, commits) = sync_channel(0);
        let bells = (0..lane_count)
            .map(|_| Bell::new())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Failure::outside("engine.bell", "no file descriptor left").no_retry().because(error))?;
        let stop = Arc::new(Stop { halted: AtomicBool::new(false), events: events.clone(), bells: bells.clone() });
        let positions = Arc::new(Mutex::new(Reached::default()));
        let mut workers = Vec::new();
        let mut lanes = Vec::new();
        let max_bytes = (memory.shares.epoch / lane_count.max(1)).max(1);
        let kept = memory.gauge("epochs");
        for (index, seat) in seats.into_iter().enumerate() {
            let (sender, control) = sync_channel(4);
            let wishes = Arc::<Mutex<Wishes>>::default();
            lanes.push(LaneHandle {
                source: seat.source,
                partition_count: seat.partition_count(),
                control: sender,
                wishes: wishes.clone(),
                bell: bells[index].clone(),
            });
            let lane = LaneThread {
                index,
                seat,
                control,
                wishes,
                added: Vec::new(),
                add_after: Instant::now(),
                bell: bells[index].clone(),
                events: events.clone(),
                outputs: outputs_in.clone(),
                stop: stop.clone(),
                max_bytes,
                ranges_bytes_max: RECORD_BYTES_MAX / lane_count.max(1),
                held: open[index].clone(),
            };
            workers.push(thread(format!("lane-{index}"), &events, move || lane.run())?);
        }
        let trunk = TrunkThread {
            plan: plan.clone(),
            trunk,
            jobs: trunk_jobs,
            outputs,
            lane_count,
            commits: commits_in,
            lineage: report.lineage.clone(),
            incarnation,
            metrics: metrics.clone(),
            kept: kept.clone(),
            pace,
            clock: clock.clone(),
            state_bytes_max: memory.shares.state,
        };
        workers.push(thread("trunk".into(), &events, move || trunk.run())?);
        let work = CommitThread {
            committer,
            commits,
            events: events.clone(),
            positions: positions.clone(),
            plan: plan.clone(),
            kept,
        };
        workers.push(thread("committer".into(), &events, move || work.run())?);
        let threads = Threads {
            plan,
            coordinator,
            clock,
            epoch_clock,
            lanes,
            trunk: Some(trunk_in),
            events: receiver,
            memory,
            stop: stop.clone(),
            metrics: metrics.clone(),
            positions,
            lineage: report.lineage.clone(),
            workers,
        };
        let coordinator = runtime.spawn(threads.coordinate().in_current_span());
        Ok(Job { report, metrics, stop, coordinator })
    }

    async fn coordinate(mut self) -> Result<Outcome, Failure> {
        let mut reporter = tokio::time::interval(PROGRESS_EVERY);
        let mut looks = tokio::time::interval_at(tokio::time::Instant::now() + LOOK_EVERY, LOOK_EVERY);
        let mut looking: Option<JoinHandle<()>> = None;
        let outcome = loop {
            let now = self.clock.monotonic();
            let tick = Duration::from_millis((self.coordinator.next_tick(now) - now).max(1) as u64);
            let event = tokio::select! {
                event = self.events.recv() => event.unwrap_or(ToCoordinator::Event(Event::Tick)),
                () = tokio::time::sleep(tick) => ToCoordinator::Event(Event::Tick),
                _ = reporter.tick() => {
                    drop(self.report_progress());
                    continue;
                }
                _ = looks.tick() => {
                    if looking.as_ref().is_none_or(JoinHandle::is_finished) {
                        looking = Some(self.look());
                    }
                    continue;
                }
            };
            match event {
                ToCoordinator::Failed(failure) => break Err(failure),
                ToCoordinator::Added { source, partitions } => self.add(source, partitions),
                ToCoordinator::Event(event) => match self.handle(event) {
                    Ok(Some(outcome)) => break Ok(outcome),
                    Ok(None) => {}
                    Err(failure) => break Err(failure),
                },
            }
        };
        self.shut_down(outcome).await
    }

    fn handle(&mut self, event: Event) -> Result<Option<Outcome>, Failure> {
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        if matches!(event, Event::Committed { .. }) {
            self.metrics.hold(self.memory.used());
        }
        let was_short = self.coordinator.is_short();
        let mut actions = self.coordinator.on(event, now, wall);
        if self.coordinator.is_short() && !was_short {
            tracing::warn!("{}: memory is short: only the partitions that are behind in time are read", self.plan.name);
        }
        if self.stop.halted.load(SeqCst) && actions.is_empty() {
            actions = self.coordinator.on(Event::Stop, now, wall);
        }
        for action in actions {
            match action {
                Action::Cut => self.tell_lanes(|| ToLane::Cut)?,
                Action::Mark { mark, ranges, ended } => {
                    self.metrics.watermark.store(mark.watermark.time().unwrap_or(i64::MIN), Relaxed);
                    self.epoch_clock.next_epoch(mark.clock);
                    let trunk = self.trunk.as_ref().ok_or_else(gone)?;
                    trunk.send(ToTrunk { mark, ranges, ended }).map_err(|_| gone())?;
                    self.tell_lanes(|| ToLane::Mark(mark))?;
                }
                Action::Pause { lane, partitions } => {
                    self.lanes[lane].wish(|wishes| wishes.pause = Some(partitions));
                }
                Action::Full => return Err(self.memory.full(&self.plan.name)),
                Action::Finished => {
                    let stopped = self.stop.halted.load(SeqCst);
                    return Ok(Some(if stopped { Outcome::Stopped } else { Outcome::Ended }));
                }
            }
        }
        Ok(None)
    }

    fn tell_lanes(&self, what: impl Fn() -> ToLane) -> Result<(), Failure> {
        for lane in &self.lanes {
            lane.control.send(what()).map_err(|_| gone())?;
            lane.bell.ring();
        }
        Ok(())
    }

    /// I16: outside of the commit; failing is a warning.
    fn report_progress(&self) -> Option<JoinHandle<()>> {
        let mut reached = self.positions.lock().unwrap_or_else(|poison| poison.into_inner());
        let positions = std::mem::take(&mut reached.positions);
        if positions.is_empty() {
            return None;
        }
        let metadata = reported::metadata(&self.lineage, reached.epoch);
        let plan = self.plan.clone();
        Some(tokio::task::spawn_blocking(move || {
            for (source, positions) in positions {
                if let Err(failure) = plan.sources[source].source.report_progress(&positions, &metadata) {
                    tracing::warn!(source = plan.sources[source].name, "{failure}");
                }
            }
        }))
    }

    /// Deals partitions that came to the lanes that read the fewest.
    fn add(&mut self, source: usize, partitions: Vec<PartitionStart>) {
        let of = &self.plan.sources[source];
        let names: Vec<_> = partitions.iter().map(|start| of.name_of(start.partition).to_string()).collect();
        tracing::warn!("`{}`: new partitions are read from their first record: {}", of.name, names.join(", "));
        for start in partitions {
            let of_source = self.lanes.iter_mut().filter(|lane| lane.source == source);
            let Some(lane) = of_source.min_by_key(|lane| lane.partition_count) else { return };
            lane.partition_count += 1;
            lane.wish(|wishes| wishes.add.push(start));
        }
    }

    /// Lets every source look whether it still reads what it read at the start.
    fn look(&self) -> JoinHandle<()> {
        let (plan, events) = (self.plan.clone(), self.stop.events.clone());
        tokio::task::spawn_blocking(move || {
            for (index, source) in plan.sources.iter().enumerate() {
                match source.source.look() {
                    Ok(partitions) if partitions.is_empty() => {}
                    Ok(partitions) => drop(events.blocking_send(ToCoordinator::Added { source: index, partitions })),
                    // A server that is away is waited for, and named, by whoever reads.
                    Err(failure) if failure.retry => tracing::debug!(source = source.name, "{failure}"),
                    Err(failure) => return drop(events.blocking_send(ToCoordinator::Failed(failure))),
                }
            }
        })
    }

    /// Lets every thread end: the lanes first, then what they feed. A failure found on the way wins.
    async fn shut_down(mut self, outcome: Result<Outcome, Failure>) -> Result<Outcome, Failure> {
        self.stop.halted.store(true, SeqCst);
        self.trunk = None;
        for LaneHandle { control, bell, .. } in std::mem::take(&mut self.lanes) {
            drop(control);
            bell.ring();
        }
        let workers = std::mem::take(&mut self.workers);
        let (done, joined) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            workers.into_iter().for_each(|worker| drop(worker.join()));
            // Nobody waits any more where the job gave up.
            let _ = done.send(());
        });
        let failed = outcome.is_err();
        let mut outcome = outcome;
        let drained = async {
            while let Some(event) = self.events.recv().await {
                note_failure(&mut outcome, event);
            }
        };
        tokio::select! {
            _ = joined => {}
            () = drained => {}
            // A failure must be heard also while a worker waits for a server or a disk. A stop waits: what was
            // read is to be committed, and a second Ctrl-C ends at once.
            () = tokio::time::sleep(FAILED_PATIENCE), if failed => {}
        }
        while let Ok(event) = self.events.try_recv() {
            note_failure(&mut outcome, event);
        }
        if let Some(reporting) = self.report_progress() {
            // A broker that is away must not hold up the end.
            let _ = tokio::time::timeout(LAST_REPORT, reporting).await;
        }
        outcome
    }
}

/// Starts a worker whose failure (or panic) ends the job.
fn thread(
    name: String,
    events: &mpsc::Sender<ToCoordinator>,
    work: impl FnOnce() -> Result<(), Failure> + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, Failure> {
    let (events, of) = (events.clone(), name.clone());
    // What a worker logs belongs to the pipeline of whoever started it.
    let span = tracing::Span::current();
    let run = move || {
        let _within = span.entered();
        let failure = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(_) => Failure::bug("job.panic", format!("thread `{of}` panicked")),
        };
        let _ = events.blocking_send(ToCoordinator::Failed(failure));
    };
    let builder = std::thread::Builder::new().name(name);
    builder.spawn(run).map_err(|error| Failure::outside("engine.thread", "cannot start a thread").because(error))
}

/// A neighbour's channel is closed: it failed, and its own message says why.
fn gone() -> Failure {
    Failure::bug(NEIGHBOUR_GONE, "a thread of the pipeline ended too early")
}

/// Keeps the first failure that says why: that a neighbour is gone is often seen before its message.
fn note_failure(outcome: &mut Result<Outcome, Failure>, event: ToCoordinator) {
    let open = match outcome {
        Ok(_) => true,
        Err(known) => known.code == NEIGHBOUR_GONE,
    };
    if let (ToCoordinator::Failed(failure), true) = (event, open) {
        *outcome = Err(failure);
    }
}

struct LaneThread {
    index: usize,
    seat: Seat,
    control: Receiver<ToLane>,
    wishes: Arc<Mutex<Wishes>>,
    /// Partitions that it is to read and does not yet.
    added: Vec<PartitionStart>,
    /// Not before: a broker did not know them yet.
    add_after: Instant,
    bell: Bell,
    events: mpsc::Sender<ToCoordinator>,
    outputs: SyncSender<(usize, Epoch, Output)>,
    stop: Arc<Stop>,
    /// The lane's share of `epoch.max_bytes`; then it waits for the cut.
    max_bytes: usize,
    /// Its share of the epoch's journal record.
    ranges_bytes_max: usize,
    /// What its open epoch holds.
    held: Gauge,
}

impl LaneThread {
    fn run(mut self) -> Result<(), Failure> {
        let mut reported = None;
        let mut pause = Duration::from_millis(50);
        let mut gathering = false;
        loop {
            match self.control.try_recv() {
                Ok(ToLane::Cut) => {
                    if std::mem::take(&mut gathering) && !self.stop.halted.load(Relaxed) && !self.is_full() {
                        self.take_gathered()?;
                    }
                    if !self.hand_over()? {
                        return Ok(());
                    }
                    reported = None;
                }
                Ok(ToLane::Mark(_)) => {
                    return Err(Failure::bug("lane.mark_without_cut", "a mark came without a cut"));
                }
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            let Wishes { pause: paused, add } =
                std::mem::take(&mut *self.wishes.lock().unwrap_or_else(|poison| poison.into_inner()));
            if let Some(partitions) = paused {
                self.seat.pause(&partitions);
            }
            self.added.extend(add);
            let halted = self.stop.halted.load(Relaxed);
            let mut full = self.is_full();
            let (mut rows, mut away) = (0, false);
            if !halted && !full {
                match self.step() {
                    Ok(taken) => {
                        rows = taken;
                        self.held.set(self.seat.held());
                    }
                    Err(failure) if failure.retry => {
                        tracing::warn!("{failure}; trying again");
                        away = true;
                    }
                    Err(failure) => return Err(failure),
                }
                full = self.is_full();
            }
            let report = LaneReport { full, ..self.seat.report() };
            if reported.as_ref() != Some(&report) {
                reported = Some(report.clone());
                if !self.tell(Event::Report { lane: self.index, report }) {
                    return Ok(());
                }
            }
            if away {
                // Not the reader's wait: that one ends when there are rows, and there may be many.
                self.bell.wait(&[], pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
            pause = Duration::from_millis(50);
            gathering = false;
            if halted || full {
                self.bell.wait(&[], IDLE_WAIT);
            } else if rows == 0 {
                self.seat.wait(&self.bell, IDLE_WAIT);
            } else if self.seat.is_drained() {
                gathering = true;
                self.bell.wait(&[], GATHER);
            }
        }
    }

    fn step(&mut self) -> Result<usize, Failure> {
        if !self.added.is_empty() && Instant::now() >= self.add_after {
            match self.seat.add(&self.added) {
                Ok(()) => self.added.clear(),
                // The partitions that it has are read meanwhile.
                Err(failure) if failure.retry => {
                    tracing::warn!("{failure}; trying again");
                    self.add_after = Instant::now() + ADD_AGAIN;
                }
                Err(failure) => return Err(failure),
            }
        }
        self.seat.step()
    }

    /// What came since the last poll belongs to the epoch that is about to end.
    fn take_gathered(&mut self) -> Result<(), Failure> {
        match self.seat.step() {
            // What could not be taken in waits for the next epoch.
            Err(failure) if !failure.retry => Err(failure),
            _ => Ok(()),
        }
    }

    /// I6, I13: columns and records may take more memory than the bytes that they stand for, and a record may
    /// not name rejects without end.
    fn is_full(&self) -> bool {
        let is_large = self.seat.bytes() >= self.max_bytes || self.held.get() >= 2 * self.max_bytes;
        is_large || self.seat.ranges_bytes() >= self.ranges_bytes_max
    }

    /// I1: between the cut and its mark the lane takes nothing in. False if the job is over.
    fn hand_over(&mut self) -> Result<bool, Failure> {
        let cut = self.seat.cut();
        if !self.tell(Event::Cut { lane: self.index, cut }) {
            return Ok(false);
        }
        let mark = match self.control.recv() {
            Ok(ToLane::Mark(mark)) => mark,
            Ok(ToLane::Cut) => return Err(Failure::bug("lane.cut_twice", "two cuts came without a mark")),
            Err(_) => return Ok(false),
        };
        let output = self.seat.mark(&mark)?;
        self.held.set(0);
        Ok(self.outputs.send((self.index, mark.epoch, output)).is_ok())
    }

    fn tell(&self, event: Event) -> bool {
        self.events.blocking_send(ToCoordinator::Event(event)).is_ok()
    }
}

struct TrunkThread {
    plan: Arc<Plan>,
    trunk: Trunk,
    jobs: Receiver<ToTrunk>,
    outputs: Receiver<(usize, Epoch, Output)>,
    lane_count: usize,
    commits: SyncSender<ToCommitter>,
    lineage: String,
    incarnation: u64,
    metrics: Arc<Metrics>,
    /// What the epoch that commits holds.
    kept: Gauge,
    /// Of snapshots; `None`: no state is kept.
    pace: Option<Pace>,
    clock: Arc<dyn Clock>,
    state_bytes_max: usize,
}

impl TrunkThread {
    fn run(mut self) -> Result<(), Failure> {
        let mut last = None;
        while let Ok(ToTrunk { mark, ranges, ended }) = self.jobs.recv() {
            let mut outputs: Vec<Option<Output>> = (0..self.lane_count).map(|_| None).collect();
            while outputs.iter().any(Option::is_none) {
                let Ok((lane, epoch, output)) = self.outputs.recv() else { return Ok(()) };
                if epoch != mark.epoch {
                    return Err(Failure::bug("trunk.epoch", format!("lane {lane} handed over epoch {epoch}")));
                }
                outputs[lane] = Some(output);
            }
            let rows_read = ranges.values().flat_map(BTreeMap::values).map(|cut| cut.read).sum();
            self.trunk.merge(&mark, outputs.into_iter().flatten().collect(), rows_read, Reading::Live)?;
            self.metrics.rows_in.fetch_add(rows_read, Relaxed);
            let mut chain = Chain::begin(record(&self.plan, &self.lineage, self.incarnation, &mark, ranges, ended));
            loop {
                let piece = self.trunk.next_piece()?;
                let state_bytes = self.trunk.state_bytes();
                let record = chain.record(&self.plan, &piece);
                let more = record.cursor.is_some();
                let commit = Commit { record, rows: piece.rows };
                self.kept.add(kept_bytes(&commit));
                let done = (!more).then_some((piece.open_ends, state_bytes));
                let epoch = commit.record.epoch;
                if self.commits.send(ToCommitter::Commit { commit: Box::new(commit), done }).is_err() {
                    return Ok(());
                }
                if more {
                    continue;
                }
                last = Some(epoch);
                if let Some(state) = self.due_snapshot(epoch, rows_read)?
                    && self.commits.send(ToCommitter::State(state)).is_err()
                {
                    return Ok(());
                }
                break;
            }
        }
        self.last_snapshot(last)
    }

    /// I19: what the steps keep, if a snapshot is due. It is taken while the epoch commits.
    fn due_snapshot(&mut self, epoch: Epoch, rows: u64) -> Result<Option<StateBehind>, Failure> {
        let Some(pace) = &mut self.pace else { return Ok(None) };
        let now = self.clock.monotonic();
        pace.note(epoch, rows, now);
        if !pace.is_due(self.trunk.needed(), now) {
            return Ok(None);
        }
        let state = self.trunk.freeze(epoch)?;
        pace.took(now, self.clock.monotonic());
        Ok(Some(state))
    }

    /// At the end of a run, however it ends: what is not committed then is in no snapshot. State for which there is no
    /// memory is not copied.
    fn last_snapshot(mut self, last: Option<Epoch>) -> Result<(), Failure> {
        let is_behind = self.pace.as_ref().is_some_and(Pace::is_behind) && self.trunk.needed().is_some();
        if let Some(epoch) = last.filter(|_| is_behind && self.trunk.state_bytes() <= self.state_bytes_max) {
            let state = self.trunk.freeze(epoch)?;
            // Nobody there: the committer has failed, and says why.
            let _ = self.commits.send(ToCommitter::LastState(state));
        }
        Ok(())
    }
}

/// An epoch's journal record (I13), before its output is cut up.
pub fn record(
    plan: &Plan,
    lineage: &str,
    incarnation: u64,
    mark: &Mark,
    ranges: BTreeMap<usize, BTreeMap<Partition, PartitionCut>>,
    ended: bool,
) -> EpochRecord {
    let of = |cut: PartitionCut| PartitionRecord {
        from: cut.from,
        to: cut.to,
        read: cut.read,
        rejected: cut.rejected,
        max_time: cut.max_time,
        max_timestamp: cut.max_timestamp,
    };
    let by_name = |(source, cuts): (usize, BTreeMap<Partition, PartitionCut>)| {
        let source = &plan.sources[source];
        (source.name.clone(), source.to_names(cuts.into_iter().map(|(partition, cut)| (partition, of(cut)))))
    };
    EpochRecord {
        lineage: lineage.to_owned(),
        incarnation,
        epoch: mark.epoch,
        partitions: ranges.into_iter().map(by_name).collect(),
        watermark: mark.watermark,
        clock: mark.clock,
        needed: mark.epoch,
        learnt: learnt(plan),
        last_windows: BTreeMap::new(),
        ended,
        continues: None,
        cursor: None,
    }
}

/// I8: what was learnt from registries stands in the first epoch that uses it, or in one before.
fn learnt(plan: &Plan) -> BTreeMap<i32, String> {
    let decoders = plan.sources.iter().flat_map(|source| source.values.iter().chain(&source.keys));
    decoders.flat_map(|decoder| decoder.take_learnt()).collect()
}

/// What the rows of a commit hold until it is done (I11).
fn kept_bytes(commit: &Commit) -> usize {
    commit.rows.values().flatten().map(EncodedRows::held).sum()
}

struct CommitThread {
    committer: Committer,
    commits: Receiver<ToCommitter>,
    events: mpsc::Sender<ToCoordinator>,
    positions: Arc<Mutex<Reached>>,
    plan: Arc<Plan>,
    kept: Gauge,
}

impl CommitThread {
    fn run(mut self) -> Result<(), Failure> {
        let mut last = None;
        loop {
            match self.commits.recv_timeout(PROGRESS_EVERY) {
                Ok(ToCommitter::State(state)) => self.committer.offer(state),
                Ok(ToCommitter::LastState(state)) => last = Some(state),
                Ok(ToCommitter::Commit { commit, done }) => {
                    let epoch = commit.record.epoch;
                    let reached = positions(&self.plan, &commit.record);
                    let kept = kept_bytes(&commit);
                    self.committer.commit(*commit)?;
                    self.kept.sub(kept);
                    let mut known = self.positions.lock().unwrap_or_else(|poison| poison.into_inner());
                    known.epoch = epoch;
                    known.positions.extend(reached);
                    drop(known);
                    // I10: no row of the next epoch is merged before the last piece of this one is committed.
                    let Some((open_ends, state_bytes)) = done else { continue };
                    let done = ToCoordinator::Event(Event::Committed { epoch, open_ends, state_bytes });
                    if self.events.blocking_send(done).is_err() {
                        return self.committer.finish(last);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.committer.note_progress()?,
                Err(RecvTimeoutError::Disconnected) => return self.committer.finish(last),
            }
        }
    }
}

fn positions(plan: &Plan, record: &EpochRecord) -> Positions {
    let of = |(index, source): (usize, &crate::plan::SourcePlan)| {
        let ranges = record.partitions.get(&source.name)?;
        Some((index, source.of_names(ranges.iter().map(|(name, range)| (name, range.to.clone())))))
    };
    plan.sources.iter().enumerate().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_wins_over_the_closed_channel_that_it_left_behind() {
        let failed = |code| ToCoordinator::Failed(Failure::user(code, "it says why"));
        let mut outcome = Err(gone());
        note_failure(&mut outcome, ToCoordinator::Event(Event::Tick));
        note_failure(&mut outcome, failed("record.bad"));
        note_failure(&mut outcome, failed("later.one"));
        assert_eq!(outcome.unwrap_err().code, "record.bad");
    }
}
