//! `runner apply`: checks specs, makes the world fit them, runs their pipelines.
//!
//! A server that is away is named and waited for. Opens with what it found and will do, then one status line a second on a terminal, and ends with
//! totals. Everything of that goes to stderr: stdout belongs to the console sinks.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Common;
use super::output::{self, Exit, Output, counted};
use super::patience::Patience;
use super::recovering;
use super::remote::TlsArgs;
use super::specs::{Planned, SpecArgs, documents, planned, read_until_end};
use super::stops::Stops;
use crate::data::size;
use crate::deploy::{Change, open_journal, prepare};
use crate::engine::carry::Fate;
use crate::engine::kept::{self, BAD_RECORD};
use crate::engine::metrics::Snapshot;
use crate::engine::start::{StartOptions, StartReport};
use crate::engine::{Job, Metrics, Outcome, RunOptions};
use crate::plan::resolve::{Connections, Servers};
use crate::plan::{Plan, describe};
use crate::report::{Diagnostics, Failure, to_json};
use crate::spec::Documents;
use crate::time::SystemClock;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    specs: SpecArgs,
    /// Forget the journals: every source begins at its `start` again. Output that is there stays.
    #[arg(long)]
    fresh: bool,
    /// Go on without the state of this step, which is not what it was; may be given several times.
    #[arg(long, value_name = "STEP", conflicts_with = "fresh")]
    accept_reset: Vec<String>,
    /// Where Kafka sources end, instead of the spec's `until`: at their end as of now.
    #[arg(long, value_enum, value_name = "PLACE")]
    until: Option<UntilArg>,
    /// Lanes per source, instead of the spec's `lanes` or the number of cores.
    #[arg(long, value_name = "COUNT")]
    lanes: Option<usize>,
    /// Submit the pipelines to a server (`runner serve`) instead of running them here.
    #[arg(long, value_name = "URL", conflicts_with_all = ["fresh", "until", "lanes"])]
    server: Option<String>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// `--until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum UntilArg {
    End,
}

pub fn run(args: Args, common: &Common) -> Exit {
    if let Some(server) = &args.server {
        return super::pipelines::submit(server, &args.tls, &args.specs, &args.accept_reset, common);
    }
    let output = if common.output.is_json() { Output::JsonBesideRows } else { Output::Text };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::outside("engine.thread", "cannot start a thread").because(error);
            return output::failure(&failure, output);
        }
    };
    let stops = match Stops::watching_on(runtime.handle()) {
        Ok(stops) => stops,
        Err(failure) => return output::failure(&failure, output),
    };
    let mut patience = Patience::new(&stops, output);
    let read = documents(&args.specs, output).and_then(|(mut documents, found)| {
        if args.until == Some(UntilArg::End) {
            documents.pipelines.iter_mut().for_each(|pipeline| read_until_end(&mut pipeline.spec, true));
        }
        plans_patiently(documents, found, output, &stops, &mut patience)
    });
    let (mut planned, mut connections) = match read {
        Ok(Some(planned)) => planned,
        Ok(None) => return Exit::Done,
        Err(exit) => return exit,
    };
    if planned.plans.is_empty() {
        eprintln!("nothing to run: the specs declare no pipeline");
        return Exit::Done;
    }
    let voice = Voice { output, status: wants_status(&planned.plans) };
    let accept_reset = args.accept_reset.iter().cloned().collect();
    let mut options = RunOptions {
        start: StartOptions { fresh: args.fresh, accept_reset, lanes: args.lanes, ..StartOptions::default() },
    };
    let mut ran = Ran { metrics: Vec::new(), started: Instant::now() };
    let ended = loop {
        voice.plans(&planned);
        let Planned { documents, plans, .. } = planned;
        let prepared = patience.until_done(|| prepare(&plans)).map_err(Failed::of_no_plan);
        let round = prepared.and_then(|prepared| {
            let Some(changes) = prepared else { return Ok(Vec::new()) };
            voice.prepared(&changes);
            run_all(plans, &options, &runtime, &voice, &stops, &mut patience, &mut ran)
        });
        // So far they asked by these.
        drop(connections);
        let again = match round {
            Ok(again) if again.is_empty() => break Ok(()),
            Ok(again) => again,
            Err(failure) => break Err(failure),
        };
        // What was asked of the first start holds for no other one.
        options.start = StartOptions { lanes: args.lanes, ..StartOptions::default() };
        (planned, connections) = match plans_patiently(documents, Diagnostics::default(), output, &stops, &mut patience)
        {
            Ok(Some(planned)) => planned,
            Ok(None) => break Ok(()),
            Err(exit) => {
                runtime.shutdown_background();
                return exit;
            }
        };
        planned.plans.retain(|plan| again.contains(&plan.name));
    };
    if !ran.metrics.is_empty() {
        voice.totals(&ran.metrics, ran.started.elapsed());
    }
    // A worker that still waits for a server must not hold the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => Exit::Done,
        Err(Failed { failure, plan }) => {
            let exit = output::failure(&failure, output);
            if let Some(plan) = plan.filter(|_| failure.code == BAD_RECORD) {
                note_told(&plan);
            }
            exit
        }
    }
}

/// The next start goes on behind a bad record that this one has named.
fn note_told(plan: &Plan) {
    if let Err(failure) = open_journal(plan).and_then(kept::note_told) {
        tracing::warn!("{failure}; the next start ends with the same error once more");
    }
}

/// Plans; where servers are away and nothing else is wrong, again until they answer. `None`: Ctrl-C.
fn plans_patiently(
    documents: Documents,
    found: Diagnostics,
    output: Output,
    stops: &Stops,
    patience: &mut Patience,
) -> Result<Option<(Planned, Connections)>, Exit> {
    while !stops.asked() {
        let world = Servers::telling(|failure| patience.tell(failure.code, &failure.to_string()));
        let (plans, warnings) = planned(&documents, Diagnostics(found.0.clone()), &world);
        let connections = world.connections();
        drop(world);
        if warnings.may_all_pass() {
            let away = warnings.0.iter().filter(|diagnostic| diagnostic.may_pass);
            away.for_each(|diagnostic| patience.tell(diagnostic.code, &diagnostic.title));
            patience.wait();
            continue;
        }
        if let Some(exit) = output::diagnostics(&warnings, output) {
            return Err(exit);
        }
        patience.over();
        return Ok(Some((Planned { documents, plans, warnings }, connections)));
    }
    Ok(None)
}

/// A status line would be torn by rows on the same terminal.
fn wants_status(plans: &[Plan]) -> bool {
    let console = plans.iter().flat_map(|plan| &plan.sinks).any(|sink| sink.sink.connector() == "console");
    std::io::stderr().is_terminal() && !(console && std::io::stdout().is_terminal())
}

/// What ran so far, also before starts for more to read.
struct Ran {
    metrics: Vec<(String, Arc<Metrics>)>,
    started: Instant,
}

/// Starts every plan, waits for all of them. The first failure stops the others. Gives the names of those that are to be
/// started again because there is more to read now: where it is one, all that have not ended are.
fn run_all(
    plans: Vec<Plan>,
    options: &RunOptions,
    runtime: &tokio::runtime::Runtime,
    voice: &Voice,
    stops: &Stops,
    patience: &mut Patience,
    ran: &mut Ran,
) -> Result<Vec<String>, Failed> {
    let clock = SystemClock::shared();
    let mut jobs = Vec::new();
    let mut outcome = Ok(());
    for plan in plans {
        let plan = Arc::new(plan);
        let mut options = options.clone();
        options.start.listener = recovering::listener(&plan.name, voice.output);
        let start = || Job::start(plan.clone(), open_journal(&plan)?, options.clone(), clock.clone(), runtime.handle());
        match patience.until_done(start) {
            Ok(Some(job)) => {
                voice.started(&plan.name, &job.report);
                stops.add(job.stop_handle());
                jobs.push((plan, job));
            }
            Ok(None) => break,
            Err(failure) => {
                stops.stop();
                outcome = Err(Failed { failure, plan: Some(plan) });
                break;
            }
        }
    }
    ran.metrics.extend(jobs.iter().map(|(plan, job)| (plan.name.clone(), job.metrics.clone())));
    let ended = runtime.block_on(watch(jobs, &ran.metrics, voice, stops));
    outcome.and(ended)
}

async fn watch(
    jobs: Vec<(Arc<Plan>, Job)>,
    metrics: &[(String, Arc<Metrics>)],
    voice: &Voice,
    stops: &Stops,
) -> Result<Vec<String>, Failed> {
    let mut waiting: Vec<_> =
        jobs.into_iter().map(|(plan, job)| tokio::spawn(async move { (plan, job.join().await) })).collect();
    let mut outcome = Ok(());
    let (mut again, mut has_grown) = (Vec::new(), false);
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let mut last = Snapshot::default();
    while !waiting.is_empty() {
        tokio::select! {
            _ = seconds.tick() => voice.status(metrics, &mut last),
            (done, index) = first_done(&mut waiting) => {
                drop(waiting.remove(index));
                match voice.ended(done) {
                    Ok((_, Outcome::Ended)) => {}
                    Ok((name, Outcome::Stopped)) => again.push(name),
                    Ok((name, Outcome::Grown)) => {
                        again.push(name);
                        has_grown = true;
                        stops.stop_round();
                    }
                    Err(failure) => {
                        stops.stop();
                        if outcome.is_ok() {
                            outcome = Err(failure);
                        }
                    }
                }
            }
        }
    }
    outcome.map(|()| if has_grown && !stops.asked() { again } else { Vec::new() })
}

type Ended = (Arc<Plan>, Result<Outcome, Failure>);

/// Why the command fails.
struct Failed {
    failure: Failure,
    /// Whose failure it is.
    plan: Option<Arc<Plan>>,
}

impl Failed {
    fn of_no_plan(failure: Failure) -> Failed {
        Failed { failure, plan: None }
    }
}

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

/// What the command says, as text or as JSON lines.
struct Voice {
    output: Output,
    /// One line a second, written over the one before.
    status: bool,
}

impl Voice {
    fn plans(&self, planned: &Planned) {
        if self.output.is_json() && !planned.warnings.0.is_empty() {
            self.output.print(&serde_json::json!({ "diagnostics": to_json(&planned.warnings) }));
        }
        for plan in &planned.plans {
            match self.output {
                Output::Text => eprintln!("{}", describe::text(plan)),
                json => json.print(&serde_json::json!({ "plan": describe::json(plan) })),
            }
        }
    }

    fn prepared(&self, changes: &[Change]) {
        if self.output.is_json() {
            return self.output.print(&serde_json::json!({ "prepared": changes }));
        }
        for change in changes {
            match change {
                Change::CreatedTopic(topic) => eprintln!("created topic {topic}"),
                Change::RegisteredSubject { subject, id } => eprintln!("registered {subject} as schema {id}"),
            }
        }
    }

    fn started(&self, name: &str, report: &StartReport) {
        if self.output.is_json() {
            return self.output.print(&serde_json::json!({ "pipeline": name, "started": report }));
        }
        if report.removed_snapshots > 0 {
            let removed = counted(report.removed_snapshots as u64, "snapshot");
            eprintln!("{name}: begins anew, and has removed {removed} of the state of before");
        }
        if let Some(found) = &report.found {
            eprintln!("{name}: {found}: goes on behind that; journal of this run in {}", report.journal);
        } else if report.first_run {
            eprintln!("{name}: starts; journal in {}", report.journal);
        } else {
            let snapshot = report.snapshot.as_ref().map_or(String::new(), |found| {
                let (epoch, rows, bytes) = (found.epoch, counted(found.rows, "row"), size(found.bytes as usize));
                format!(", with the state in the snapshot of epoch {epoch} ({rows}, {bytes})")
            });
            let replayed = match report.replayed_epochs {
                0 => String::new(),
                epochs => {
                    let (epochs, rows) = (counted(epochs, "epoch"), counted(report.replayed_rows, "row"));
                    format!(", after replaying {epochs} ({rows})")
                }
            };
            eprintln!("{name}: resumes behind epoch {}{snapshot}{replayed}", report.last_epoch);
            for (step, fate) in &report.changed {
                let word = match fate {
                    Fate::Kept { .. } => continue,
                    Fate::New => "new: it begins empty".to_owned(),
                    Fate::Lost { why } => format!("given up, as was accepted: {why}"),
                };
                eprintln!("{name}: the state of `{step}` is {word}");
            }
        }
    }

    fn status(&self, metrics: &[(String, Arc<Metrics>)], last: &mut Snapshot) {
        if !self.status {
            return;
        }
        let sum = sum(metrics);
        let watermark = sum.watermark.map_or("none".to_owned(), output::time);
        eprint!(
            "\r\x1b[2Kin {} (+{}/s)  out {}  behind {}  watermark {watermark}  late {}  dead {}{}  memory {}",
            sum.rows_in,
            sum.rows_in - last.rows_in,
            sum.rows_out,
            sum.behind,
            sum.late,
            sum.dead,
            if sum.expired > 0 { format!("  expired {}", sum.expired) } else { String::new() },
            size(sum.memory as usize)
        );
        let _ = std::io::stderr().flush();
        *last = sum;
    }

    fn ended(&self, done: Result<Ended, tokio::task::JoinError>) -> Result<(String, Outcome), Failed> {
        let panicked = |error| Failed::of_no_plan(Failure::bug("job.panic", "a job panicked").because(error));
        let (plan, outcome) = done.map_err(panicked)?;
        let name = plan.name.clone();
        let outcome = outcome.map_err(|failure| Failed { failure, plan: Some(plan) })?;
        if !self.output.is_json() {
            let what = match outcome {
                Outcome::Ended => "its sources have ended",
                Outcome::Stopped => "stopped; the next apply resumes here",
                Outcome::Grown => "there is more to read: goes on with it",
            };
            eprintln!("{}{name}: {what}", if self.status { "\r\x1b[2K" } else { "" });
        }
        Ok((name, outcome))
    }

    fn totals(&self, metrics: &[(String, Arc<Metrics>)], elapsed: Duration) {
        let sum = sum(metrics);
        if self.output.is_json() {
            let mut by_pipeline: BTreeMap<&str, Snapshot> = BTreeMap::new();
            for (name, metrics) in metrics {
                let known = by_pipeline.remove(name.as_str()).unwrap_or_default();
                by_pipeline.insert(name, known.plus(metrics.snapshot()));
            }
            let seconds = elapsed.as_secs_f64();
            let report = serde_json::json!({ "totals": sum, "pipelines": by_pipeline, "seconds": seconds });
            return self.output.print(&report);
        }
        let seconds = elapsed.as_secs_f64();
        eprintln!(
            "{} rows in, {} rows out, {} late, {} dead{}{}{} in {seconds:.1} s ({:.0} rows/s, {} epochs, memory at most {})",
            sum.rows_in,
            sum.rows_out,
            sum.late,
            sum.dead,
            if sum.expired > 0 { format!(", {} expired", sum.expired) } else { String::new() },
            if sum.already_out > 0 { format!(", {} already out", sum.already_out) } else { String::new() },
            if sum.ahead > 0 { format!(", {} ahead of the clock", sum.ahead) } else { String::new() },
            sum.rows_in as f64 / seconds.max(0.001),
            sum.epochs,
            size(sum.memory_max as usize)
        );
    }
}

fn sum(metrics: &[(String, Arc<Metrics>)]) -> Snapshot {
    metrics.iter().map(|(_, metrics)| metrics.snapshot()).fold(Snapshot::default(), Snapshot::plus)
}
