//! A running pipeline: owns every worker and channel.
//!
//! ```text
//!   lanes ──reports, cuts──▶ coordinator ──marks──▶ lanes
//!     └──outputs──▶ trunk ──commits──▶ committer ──▶ sinks
//!                                         └──committed──▶ coordinator
//! ```
//!
//! Each of these is a task, which has a thread of the pool (`pool.rs`) while it works. All channels are bounded. The
//! first failure of any worker ends the job; nothing that was not committed is lost, because it is read again.

mod commit;
mod coordinate;
mod lane;
mod trunk;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tracing::Instrument as _;

use super::away::Waits;
use super::commit::Commit;
use super::coordinator::{Coordinator, Event, RECORD_BYTES_MAX};
use super::lane::PartitionCut;
use super::memory::Memory;
use super::metrics::Metrics;
use super::pool::Pool;
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
use commit::CommitWorker;
use lane::LaneWorker;
use trunk::TrunkWorker;
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
    /// It stopped by itself, as if it had been asked to: its sources have come to more, which a new start finds.
    Grown,
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
    halted: Arc<AtomicBool>,
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
    /// The run is to end as if it had been asked to stop, for this reason.
    End(Ending),
    Failed(Failure),
}

/// Why a run ends by itself, with all that it took in committed.
#[derive(Debug)]
enum Ending {
    /// There is more to read than at the start.
    Grown,
    /// What is committed by now says that it may not go on.
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
    control: mpsc::Sender<ToLane>,
    wishes: Arc<Mutex<Wishes>>,
    /// Behind `control`, so that a lane whose coordinator is gone hears of it.
    bell: LastRing,
}

/// Rings once more when nobody will any more.
struct LastRing(Bell);

impl Drop for LastRing {
    fn drop(&mut self) {
        self.0.ring();
    }
}

impl LaneHandle {
    /// Never waits: a lane is told of one epoch at a time, which fits into its channel.
    fn tell(&self, what: ToLane) -> Result<(), Failure> {
        self.control.try_send(what).map_err(|_| gone())?;
        self.bell.0.ring();
        Ok(())
    }

    fn wish(&self, wish: impl FnOnce(&mut Wishes)) {
        wish(&mut self.wishes.lock().unwrap_or_else(|poison| poison.into_inner()));
        self.bell.0.ring();
    }
}

/// What the coordinator tells the trunk about an epoch whose lanes are handing over.
struct ToTrunk {
    mark: Mark,
    ranges: BTreeMap<usize, BTreeMap<Partition, PartitionCut>>,
}

/// What the coordinator wants to know of an epoch once it is committed.
struct Behind {
    /// End plus grace of each open window.
    open_ends: Vec<Millis>,
    /// The clock at which a step wants an epoch, rows or not.
    due: Option<Millis>,
    /// What all steps hold.
    state_bytes: usize,
    /// Why the run may not go on behind it.
    failing: Option<Failure>,
}

enum ToCommitter {
    Commit {
        commit: Box<Commit>,
        /// `None`: more of the epoch's output follows.
        done: Option<Behind>,
    },
    /// What the steps keep behind the last commit.
    State(StateBehind),
    /// The same, and nothing follows.
    LastState(StateBehind),
}

impl Job {
    /// Starts a plan on its journal: blocks while the state is rebuilt, then runs by itself.
    /// Call it from a thread that may block.
    pub fn start(
        plan: Arc<Plan>,
        journal: Box<dyn Journal>,
        options: RunOptions,
        clock: Arc<dyn Clock>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Job, Failure> {
        let metrics = Arc::new(Metrics::of(&plan));
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
    trunk: Option<mpsc::Sender<ToTrunk>>,
    events: mpsc::Receiver<ToCoordinator>,
    memory: Arc<Memory>,
    stop: Arc<Stop>,
    metrics: Arc<Metrics>,
    positions: Arc<Mutex<Reached>>,
    targets: Arc<Mutex<Targets>>,
    lineage: String,
    /// Why it ends by itself.
    ending: Option<Ending>,
    workers: JoinSet<()>,
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
            mut trunk,
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
        let pool = Pool::shared()?;
        let (events, receiver) = mpsc::channel(1_024);
        let (outputs_in, outputs) = mpsc::channel(lane_count.max(1) * 2);
        let (trunk_in, jobs) = mpsc::channel(2);
        let (commits_in, commits) = mpsc::channel(1);
        let bells = (0..lane_count)
            .map(|_| Bell::new())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Failure::outside("engine.bell", "no file descriptor left").no_retry().because(error))?;
        let stop = Arc::new(Stop { halted: Arc::default(), events: events.clone(), bells: bells.clone() });
        let positions = Arc::new(Mutex::new(Reached::default()));
        let mut workers = JoinSet::new();
        let mut lanes = Vec::new();
        let max_bytes = (memory.shares.epoch / lane_count.max(1)).max(1);
        let kept = memory.gauge("epochs");
        trunk.wait(Waits::until(stop.halted.clone()));
        for (index, mut seat) in seats.into_iter().enumerate() {
            seat.wait(Waits::until(stop.halted.clone()));
            let (sender, control) = mpsc::channel(4);
            let wishes = Arc::<Mutex<Wishes>>::default();
            lanes.push(LaneHandle {
                source: seat.source,
                partition_count: seat.partition_count(),
                control: sender,
                wishes: wishes.clone(),
                bell: LastRing(bells[index].clone()),
            });
            let lane = LaneWorker {
                index,
                seat,
                control,
                wishes,
                added: Vec::new(),
                add_after: Instant::now(),
                bell: bells[index].clone(),
                reported: None,
                events: events.clone(),
                outputs: outputs_in.clone(),
                stop: stop.clone(),
                max_bytes,
                ranges_bytes_max: RECORD_BYTES_MAX / lane_count.max(1),
                held: open[index].clone(),
                metrics: metrics.clone(),
                behind: 0,
            };
            start_worker(&mut workers, pool, &events, lane.attend(pool));
        }
        let trunk = TrunkWorker {
            plan: plan.clone(),
            trunk,
            lane_count,
            commits: commits_in,
            lineage: report.lineage.clone(),
            incarnation,
            metrics: metrics.clone(),
            kept: kept.clone(),
            pace,
            clock: clock.clone(),
            state_bytes_max: memory.shares.state,
            pool,
        };
        start_worker(&mut workers, pool, &events, trunk.attend(pool, jobs, outputs));
        let committer =
            CommitWorker { committer, events: events.clone(), positions: positions.clone(), plan: plan.clone(), kept };
        start_worker(&mut workers, pool, &events, committer.attend(pool, commits));
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
            ending: None,
            workers,
        };
        let coordinator = runtime.spawn(threads.coordinate().in_current_span());
        Ok(Job { report, metrics, stop, coordinator })
    }
}

/// Starts a worker whose failure (or panic) ends the job.
fn start_worker(
    workers: &mut JoinSet<()>,
    pool: Pool,
    events: &mpsc::Sender<ToCoordinator>,
    work: impl Future<Output = Result<(), Failure>> + Send + 'static,
) {
    let events = events.clone();
    let run = async move {
        if let Err(failure) = or_panic(work).await {
            let _ = events.send(ToCoordinator::Failed(failure)).await;
        }
    };
    workers.spawn_on(run.in_current_span(), pool.handle());
}

/// A panic of a task is a failure as any other: nobody waits for the task itself before the job is over. A pool that gets no
/// thread of the operating system panics so.
async fn or_panic<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(Failure::bug("job.panic", "a worker of the pipeline panicked"))))
    })
    .await
}

async fn until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// A neighbour's channel is closed: it failed, and its own message says why.
fn gone() -> Failure {
    Failure::bug(NEIGHBOUR_GONE, "a worker of the pipeline ended too early")
}

/// What the rows of a commit hold until it is done (I11).
fn kept_bytes(commit: &Commit) -> usize {
    commit.rows.values().flatten().map(EncodedRows::held).sum()
}
