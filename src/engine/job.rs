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

mod commit;
mod coordinate;
mod lane;
mod trunk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::commit::Commit;
use super::coordinator::{Coordinator, Event, RECORD_BYTES_MAX};
use super::lane::PartitionCut;
use super::memory::Memory;
use super::metrics::Metrics;
use super::seat::EpochClock;
use super::snapshots::StateBehind;
use super::start::{StartOptions, StartReport, Started, start};
use super::targets::Targets;
use crate::connectors::{Bell, PartitionStart};
use crate::data::{EncodedRows, Epoch, Mark, Partition, Position};
use crate::journal::Journal;
use crate::plan::Plan;
use crate::report::Failure;
use crate::time::{Clock, Millis};
use commit::CommitThread;
use lane::LaneThread;
use trunk::TrunkThread;
pub use trunk::record;

const PROGRESS_EVERY: Duration = Duration::from_secs(1);
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
    targets: Arc<Mutex<Targets>>,
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
            targets,
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
            targets: Arc::new(Mutex::new(targets)),
            lineage: report.lineage.clone(),
            workers,
        };
        let coordinator = runtime.spawn(threads.coordinate().in_current_span());
        Ok(Job { report, metrics, stop, coordinator })
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

/// What the rows of a commit hold until it is done (I11).
fn kept_bytes(commit: &Commit) -> usize {
    commit.rows.values().flatten().map(EncodedRows::held).sum()
}
