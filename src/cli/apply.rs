//! `runner apply`: checks specs, makes the world fit them, runs their pipelines.
//!
//! Opens with what it found and will do, then one status line a second on a terminal, and ends with
//! totals. Everything of that goes to stderr: stdout belongs to the console sinks.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Common;
use super::output::{self, Exit, Output};
use super::specs::{SpecArgs, plans};
use crate::deploy::{Change, open_journal, prepare};
use crate::engine::job::Stop;
use crate::engine::metrics::Snapshot;
use crate::engine::start::{StartOptions, StartReport};
use crate::engine::{Job, Metrics, Outcome, RunOptions};
use crate::plan::resolve::Servers;
use crate::plan::{Plan, describe};
use crate::report::Failure;
use crate::time::{Clock, SystemClock};

/// How long a server that is away is waited for between two attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    specs: SpecArgs,
    /// Forget the journals: every source begins at its `start` again. Output that is there stays.
    #[arg(long)]
    fresh: bool,
    /// Lanes per source, instead of the spec's `lanes` or the number of cores.
    #[arg(long, value_name = "COUNT")]
    lanes: Option<usize>,
}

pub fn run(args: Args, common: &Common) -> Exit {
    let plans = match plans(&args.specs, &Servers::default(), common.output) {
        Ok((_, plans)) => plans,
        Err(exit) => return exit,
    };
    if plans.is_empty() {
        eprintln!("nothing to run: the specs declare no pipeline");
        return Exit::Done;
    }
    let voice = Voice { output: common.output, status: wants_status(&plans) };
    plans.iter().for_each(|plan| voice.plan(plan));
    let ended = prepare(&plans).and_then(|prepared| {
        voice.prepared(&prepared);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::outside("engine.thread", "cannot start").because(error))?;
        let options = RunOptions { start: StartOptions { fresh: args.fresh, lanes: args.lanes } };
        run_all(plans, options, &runtime, &voice)
    });
    match ended {
        Ok(()) => Exit::Done,
        Err(failure) => output::failure(&failure, common.output),
    }
}

/// A status line would be torn by rows on the same terminal.
fn wants_status(plans: &[Plan]) -> bool {
    let console = plans.iter().flat_map(|plan| &plan.sinks).any(|sink| sink.sink.connector() == "console");
    std::io::stderr().is_terminal() && !(console && std::io::stdout().is_terminal())
}

/// Starts every plan, waits for all of them. The first failure stops the others.
fn run_all(
    plans: Vec<Plan>,
    options: RunOptions,
    runtime: &tokio::runtime::Runtime,
    voice: &Voice,
) -> Result<(), Failure> {
    let stops = Arc::new(Stops::default());
    runtime.spawn(stops.clone().watch_signals());
    let clock = SystemClock::shared();
    let started = Instant::now();
    let mut jobs = Vec::new();
    let mut outcome = Ok(());
    for plan in plans {
        let plan = Arc::new(plan);
        match start(&plan, options, &clock, runtime, &stops) {
            Ok(Some(job)) => {
                voice.started(&plan.name, &job.report);
                stops.add(job.stop_handle());
                jobs.push((plan.name.clone(), job));
            }
            Ok(None) => break,
            Err(failure) => {
                stops.stop();
                outcome = Err(failure);
                break;
            }
        }
    }
    let ended = runtime.block_on(watch(jobs, voice, &stops, started));
    outcome.and(ended)
}

/// Starts a job, waiting for servers that are away. `None`: stopped meanwhile.
fn start(
    plan: &Arc<Plan>,
    options: RunOptions,
    clock: &Arc<dyn Clock>,
    runtime: &tokio::runtime::Runtime,
    stops: &Stops,
) -> Result<Option<Job>, Failure> {
    loop {
        if stops.asked.load(SeqCst) {
            return Ok(None);
        }
        let journal = open_journal(plan)?;
        match Job::start(plan.clone(), journal, options, clock.clone(), runtime.handle()) {
            Ok(job) => return Ok(Some(job)),
            Err(failure) if failure.retry => {
                eprintln!("waiting: {failure}");
                std::thread::sleep(RETRY_PAUSE);
            }
            Err(failure) => return Err(failure),
        }
    }
}

async fn watch(jobs: Vec<(String, Job)>, voice: &Voice, stops: &Stops, started: Instant) -> Result<(), Failure> {
    let metrics: Vec<(String, Arc<Metrics>)> =
        jobs.iter().map(|(name, job)| (name.clone(), job.metrics.clone())).collect();
    let mut waiting: Vec<_> =
        jobs.into_iter().map(|(name, job)| tokio::spawn(async move { (name, job.join().await) })).collect();
    let mut outcome = Ok(());
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let mut last = Snapshot::default();
    while !waiting.is_empty() {
        tokio::select! {
            _ = seconds.tick() => voice.status(&metrics, &mut last),
            (done, index) = first_done(&mut waiting) => {
                drop(waiting.remove(index));
                if let Err(failure) = voice.ended(done) {
                    stops.stop();
                    if outcome.is_ok() {
                        outcome = Err(failure);
                    }
                }
            }
        }
    }
    voice.totals(&metrics, started.elapsed());
    outcome
}

type Ended = (String, Result<Outcome, Failure>);

/// The first of the tasks that ends, and its index.
async fn first_done(tasks: &mut [tokio::task::JoinHandle<Ended>]) -> (Result<Ended, tokio::task::JoinError>, usize) {
    std::future::poll_fn(|context| {
        for (index, task) in tasks.iter_mut().enumerate() {
            if let std::task::Poll::Ready(done) = std::pin::Pin::new(task).poll(context) {
                return std::task::Poll::Ready((done, index));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Everything that is to be stopped together.
#[derive(Debug, Default)]
struct Stops {
    asked: AtomicBool,
    jobs: Mutex<Vec<Arc<Stop>>>,
}

impl Stops {
    fn add(&self, job: Arc<Stop>) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).push(job.clone());
        if self.asked.load(SeqCst) {
            job.stop();
        }
    }

    fn stop(&self) {
        self.asked.store(true, SeqCst);
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|job| job.stop());
    }

    /// The first Ctrl-C (or SIGTERM) drains and commits, the second ends at once.
    async fn watch_signals(self: Arc<Self>) {
        let Ok(mut term) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else { return };
        for first in [true, false] {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = term.recv() => {}
            }
            if !first {
                std::process::exit(130);
            }
            eprintln!("stopping: commits what was read; again ends at once");
            self.stop();
        }
    }
}

/// What the command says, as text or as JSON lines.
struct Voice {
    output: Output,
    /// One line a second, written over the one before.
    status: bool,
}

impl Voice {
    fn plan(&self, plan: &Plan) {
        match self.output {
            Output::Text => eprintln!("{}", describe::text(plan)),
            Output::Json => eprintln!("{}", serde_json::json!({ "plan": describe::json(plan) })),
        }
    }

    fn prepared(&self, changes: &[Change]) {
        if self.output == Output::Json {
            eprintln!("{}", serde_json::json!({ "prepared": changes }));
            return;
        }
        for change in changes {
            match change {
                Change::CreatedTopic(topic) => eprintln!("created topic {topic}"),
                Change::RegisteredSubject { subject, id } => eprintln!("registered {subject} as schema {id}"),
            }
        }
    }

    fn started(&self, name: &str, report: &StartReport) {
        if self.output == Output::Json {
            eprintln!("{}", serde_json::json!({ "pipeline": name, "started": report }));
        } else if report.first_run {
            eprintln!("{name}: starts; journal in {}", report.journal);
        } else {
            let replayed = match report.replayed_epochs {
                0 => String::new(),
                epochs => format!(", after replaying {epochs} epochs ({} rows)", report.replayed_rows),
            };
            eprintln!("{name}: resumes behind epoch {}{replayed}", report.last_epoch);
        }
    }

    fn status(&self, metrics: &[(String, Arc<Metrics>)], last: &mut Snapshot) {
        if !self.status {
            return;
        }
        let sum = sum(metrics);
        let watermark = sum.watermark.map_or("none".to_owned(), output::time);
        eprint!(
            "\r\x1b[2Kin {} (+{}/s)  out {}  behind {}  watermark {watermark}  late {}  dead {}",
            sum.rows_in,
            sum.rows_in - last.rows_in,
            sum.rows_out,
            sum.behind,
            sum.late,
            sum.dead
        );
        let _ = std::io::stderr().flush();
        *last = sum;
    }

    fn ended(&self, done: Result<Ended, tokio::task::JoinError>) -> Result<(), Failure> {
        let (name, outcome) = done.map_err(|error| Failure::bug("job.panic", "a job panicked").because(error))?;
        let outcome = outcome?;
        if self.output == Output::Text {
            let what = match outcome {
                Outcome::Ended => "its sources have ended",
                Outcome::Stopped => "stopped; the next apply resumes here",
            };
            eprintln!("{}{name}: {what}", if self.status { "\r\x1b[2K" } else { "" });
        }
        Ok(())
    }

    fn totals(&self, metrics: &[(String, Arc<Metrics>)], elapsed: Duration) {
        let sum = sum(metrics);
        if self.output == Output::Json {
            let by_pipeline: serde_json::Map<String, serde_json::Value> =
                metrics.iter().map(|(name, metrics)| (name.clone(), serde_json::json!(metrics.snapshot()))).collect();
            eprintln!(
                "{}",
                serde_json::json!({ "totals": sum, "pipelines": by_pipeline, "seconds": elapsed.as_secs_f64() })
            );
            return;
        }
        let seconds = elapsed.as_secs_f64();
        eprintln!(
            "{} rows in, {} rows out, {} late, {} dead in {seconds:.1} s ({:.0} rows/s, {} epochs)",
            sum.rows_in,
            sum.rows_out,
            sum.late,
            sum.dead,
            sum.rows_in as f64 / seconds.max(0.001),
            sum.epochs
        );
    }
}

fn sum(metrics: &[(String, Arc<Metrics>)]) -> Snapshot {
    metrics.iter().map(|(_, metrics)| metrics.snapshot()).fold(Snapshot::default(), Snapshot::plus)
}
