//! The task of one pipeline: brings about what is wanted, and starts again what may pass.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Reason, State, Supervised, Supervisor, Wish};
use crate::deploy::store::{Kept, Wanted};
use crate::deploy::submission::Name;
use crate::deploy::topics::SinkTopics;
use crate::deploy::{open_journal, prepare};
use crate::engine::carry::Fate;
use crate::engine::kept::BAD_RECORD;
use crate::engine::start::StartOptions;
use crate::engine::{Job, Metrics, Outcome, RunOptions};
use crate::plan::describe;
use crate::plan::resolve::Servers;
use crate::report::{Blame, Diagnostic, Diagnostics, Failure, Severity, to_json};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Servers that are away are asked again so often at least.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Whoever ran so long before a failure is restarted as at first.
const HEALTHY: Duration = Duration::from_secs(60);
/// The first topics of a run are noted so long behind its start: where many are submitted one after the other, their notes
/// do not hold up who submits the next.
const TOPICS_FIRST: Duration = Duration::from_millis(250);
/// Topics that a connector comes to use are noted so often at most: each time all of them are written.
const TOPICS_EVERY: Duration = Duration::from_secs(1);
/// Before that is tried again where it did not go.
const TOPICS_AGAIN: Duration = Duration::from_secs(30);

/// The task of one pipeline.
pub struct Keeper {
    pub supervisor: Arc<Supervisor>,
    pub pipeline: Arc<Supervised>,
    pub name: Name,
}

/// Code of a plan whose source reads a topic that is not there.
const NO_TOPIC: &str = "kafka.no_topic";
/// Code of a plan that needs a schema which nobody has registered.
const NO_SCHEMA: &str = "schema.missing";

/// Why an attempt came to nothing.
struct Trouble {
    reason: Reason,
    /// It may pass by itself.
    retry: bool,
    /// It never ran: servers are away.
    waits: bool,
}

impl Keeper {
    /// Goes on until the pipeline is forgotten.
    pub async fn keep(self) {
        let mut wishes = self.pipeline.wish.subscribe();
        // Of the last run that was tried.
        let mut tried = 0;
        loop {
            let Wish { kept, tries } = wishes.borrow_and_update().clone();
            match kept {
                None if self.leave() => break,
                None => continue,
                Some(kept) if tried == tries && self.stays_failed(&kept) => {}
                Some(kept) => match kept.wanted {
                    Wanted::Paused => self.turn(State::Paused, None),
                    Wanted::Stopped => self.turn(State::Stopped, None),
                    Wanted::Running => {
                        tried = tries;
                        self.run(&kept, &mut wishes).await;
                    }
                },
            }
            if wishes.changed().await.is_err() {
                break;
            }
        }
        let supervisor = self.supervisor;
        // Whoever waits for the end of the wishes hears it with the last receiver.
        drop(wishes);
        supervisor.tasks.send_modify(|tasks| *tasks -= 1);
    }

    /// A task of a connector that failed is revived by a restart, a stop or another config only.
    fn stays_failed(&self, kept: &Kept) -> bool {
        let is_over = matches!(self.pipeline.seen().status.state, State::Failed | State::Ended);
        is_over && kept.connector.is_some() && kept.wanted != Wanted::Stopped
    }

    /// Leaves the map, unless the pipeline was submitted again meanwhile.
    fn leave(&self) -> bool {
        let mut map = self.supervisor.map();
        if self.pipeline.wish.borrow().kept.is_some() {
            return false;
        }
        map.remove(&self.name);
        self.supervisor.logs.forget(&self.name);
        true
    }

    /// Runs the pipeline until something else is wanted, which is left to be seen, or it is over.
    async fn run(&self, kept: &Arc<Kept>, wishes: &mut watch::Receiver<Wish>) {
        let mut pause = FIRST_PAUSE;
        // What was accepted for the first start holds for no other one.
        let mut kept = kept.clone();
        self.turn(State::Starting, None);
        loop {
            // Who waits for a server does so until it has started.
            if self.pipeline.seen().status.state != State::Waiting {
                self.turn(State::Starting, None);
            }
            let started = Instant::now();
            let outcome = match self.start(&kept).await {
                Ok((job, topics)) => {
                    kept = Arc::new(Kept { accept_reset: BTreeSet::new(), ..Kept::clone(&kept) });
                    self.attend(job, &kept, &Arc::new(topics), wishes).await
                }
                Err(trouble) => Err(trouble),
            };
            let trouble = match outcome {
                Ok(Outcome::Ended) => return self.turn(State::Ended, None),
                // No failure, and nobody waits: what it read is committed, and there is more now.
                Ok(Outcome::Grown) => {
                    pause = FIRST_PAUSE;
                    continue;
                }
                // Only because something else is wanted.
                Ok(Outcome::Stopped) => return wishes.mark_changed(),
                Err(trouble) => trouble,
            };
            if !trouble.retry {
                tracing::error!("failed: {}", trouble.reason.message);
                return self.turn(State::Failed, Some(trouble.reason));
            }
            if started.elapsed() >= HEALTHY {
                pause = FIRST_PAUSE;
            }
            if trouble.waits {
                // Its words may differ each time; who is away is said once.
                let known = self.pipeline.seen().status.clone();
                let is_known =
                    known.state == State::Waiting && known.reason.is_some_and(|r| r.code == trouble.reason.code);
                if !is_known {
                    tracing::warn!("waiting: {}", trouble.reason.message);
                }
                self.turn(State::Waiting, Some(trouble.reason));
            } else {
                tracing::warn!("failed, and is started again in {} s: {}", pause.as_secs(), trouble.reason.message);
                self.turn(State::Restarting, Some(trouble.reason));
                self.pipeline.seen().status.restarts += 1;
            }
            let this_pause = if trouble.waits { pause.min(LONGEST_WAIT) } else { pause };
            pause = (pause * 2).min(LONGEST_PAUSE);
            tokio::select! {
                () = tokio::time::sleep(this_pause) => {}
                _ = wishes.changed() => return wishes.mark_changed(),
            }
        }
    }

    /// Plans, prepares and starts, as `apply` does.
    async fn start(&self, kept: &Arc<Kept>) -> Result<(Job, SinkTopics), Trouble> {
        let Ok(_permit) = self.supervisor.starts.acquire().await else { return Err(panicked()) };
        let (supervisor, pipeline, kept) = (self.supervisor.clone(), self.pipeline.clone(), kept.clone());
        let span = tracing::Span::current();
        let start = move || {
            let _within = span.entered();
            let servers = Servers::default();
            let plans = kept.submission.plans(&kept.name, &supervisor.states, &servers);
            // Connect's sinks wait for topics that are to come. A schema comes with the first records of whoever writes the
            // topic, a connector that was submitted just before perhaps.
            let to_come = |code| code == NO_SCHEMA || (code == NO_TOPIC && kept.connector.is_some());
            let (mut plans, plan) = plans.map_err(|wrong| {
                let trouble = of_diagnostics(&wrong);
                Trouble { retry: trouble.retry || errors(&wrong).all(|error| to_come(error.code)), ..trouble }
            })?;
            pipeline.seen().plan = Some(describe::json(&plan));
            plans.push(plan);
            prepare(&plans).map_err(|failure| of_failure(&failure, true))?;
            let plan = Arc::new(plans.pop().expect("it was pushed"));
            let topics = SinkTopics::of(&plan);
            let journal = open_journal(&plan).map_err(|failure| of_failure(&failure, true))?;
            // Connectors go by their offsets alone: without any they begin, whatever their output says.
            let adopts_outputs = kept.connector.is_some();
            let (accept_reset, told) = (kept.accept_reset.clone(), pipeline.seen().told.clone());
            let start = StartOptions { adopts_outputs, accept_reset, told, ..StartOptions::default() };
            let options = RunOptions { start };
            let clock = supervisor.clock.clone();
            let job = Job::start(plan, journal, options, clock, &supervisor.runtime);
            let job = job.map_err(|failure| of_failure(&failure, true))?;
            // Until now it asked by these connections.
            drop(servers);
            supervisor.has_started(&kept);
            Ok((job, topics))
        };
        tokio::task::spawn_blocking(start).await.unwrap_or_else(|_| Err(panicked()))
    }

    /// Waits for a job's end, or stops it when something else is wanted.
    async fn attend(
        &self,
        job: Job,
        kept: &Arc<Kept>,
        topics: &Arc<SinkTopics>,
        wishes: &mut watch::Receiver<Wish>,
    ) -> Result<Outcome, Trouble> {
        let (stop, metrics) = (job.stop_handle(), job.metrics.clone());
        tracing::info!(
            epoch = job.report.last_epoch,
            "{}; journal in {}",
            if job.report.first_run { "starts" } else { "resumes" },
            job.report.journal
        );
        for (step, fate) in &job.report.changed {
            if let Fate::Lost { why } = fate {
                tracing::warn!("the state of `{step}` is given up, as was accepted: {why}");
            }
        }
        {
            let mut seen = self.pipeline.seen();
            (seen.running, seen.has_run) = (Some(metrics.clone()), true);
        }
        self.turn(State::Running, None);
        let mut written = metrics.written.growth();
        // What was replayed is written already.
        written.mark_changed();
        let mut due = Instant::now() + TOPICS_FIRST;
        let mut joined = std::pin::pin!(job.join());
        let (outcome, asked) = loop {
            tokio::select! {
                outcome = &mut joined => break (outcome, false),
                _ = wishes.changed() => {
                    self.turn(State::Stopping, None);
                    stop.stop();
                    break (joined.await, true);
                }
                () = grown(&mut written, due) => {
                    let pause = if self.note_topics(kept, topics, &metrics).await { TOPICS_EVERY } else { TOPICS_AGAIN };
                    due = Instant::now() + pause;
                }
            }
        };
        if written.has_changed().unwrap_or(false) {
            self.note_topics(kept, topics, &metrics).await;
        }
        let mut seen = self.pipeline.seen();
        seen.past = (metrics.snapshot().after(seen.past.0), metrics.measures().after(&seen.past.1));
        seen.running = None;
        drop(seen);
        match outcome {
            // One that ended by itself meanwhile is stopped all the same.
            Ok(_) if asked => Ok(Outcome::Stopped),
            Ok(outcome) => Ok(outcome),
            // Whoever wanted something else gets it.
            Err(failure) if asked => {
                tracing::warn!("failed while it was stopped: {failure}");
                Ok(Outcome::Stopped)
            }
            Err(failure) => Err(of_failure(&failure, false)),
        }
    }

    /// Notes which topics records of a connector went to. False: it is to be tried again.
    async fn note_topics(&self, kept: &Arc<Kept>, topics: &Arc<SinkTopics>, metrics: &Arc<Metrics>) -> bool {
        if kept.connector.is_none() {
            return true;
        }
        let (supervisor, kept, topics) = (self.supervisor.clone(), kept.clone(), topics.clone());
        let written = metrics.clone();
        let names = move || topics.names(written.written.all());
        let noted = tokio::task::spawn_blocking(move || supervisor.note_topics(&kept, names)).await;
        if let Ok(Err(failure)) = &noted {
            tracing::warn!("{failure}; that it has used a topic is noted later");
            metrics.written.tell();
        }
        matches!(noted, Ok(Ok(())))
    }

    /// Notes what the pipeline does now. A reason stays until it is paused, stopped or fails otherwise.
    fn turn(&self, state: State, reason: Option<Reason>) {
        let mut seen = self.pipeline.seen();
        if seen.status.state != state {
            tracing::info!("{}", format!("{state:?}").to_lowercase());
            seen.status.since = self.supervisor.clock.now();
        }
        seen.status.state = state;
        if let Some(reason) = reason.as_ref().filter(|reason| state == State::Failed && reason.code == BAD_RECORD) {
            seen.told = Some(reason.message.clone());
        }
        // Of one that was started again the reason stays; of one that only waited it is gone with the wait.
        let waited = state == State::Running && seen.status.restarts == 0;
        if reason.is_some() || waited || matches!(state, State::Paused | State::Stopped | State::Ended) {
            seen.status.reason = reason;
        }
    }
}

/// Waits until then, and for more topics.
async fn grown(written: &mut watch::Receiver<()>, due: Instant) {
    sleep_until(due).await;
    // Whoever waits has the sender, too.
    let _ = written.changed().await;
}

fn of_failure(failure: &Failure, is_start: bool) -> Trouble {
    let reason = Reason {
        code: failure.code.to_owned(),
        message: failure.to_string(),
        hint: failure.hint.as_deref().map(of_a_server),
        diagnostics: None,
    };
    // A bug of ours may not meet the same moment again, and a pipeline that stands still helps nobody.
    Trouble { reason, retry: failure.retry || failure.blame == Blame::Us, waits: is_start && failure.retry }
}

/// A hint with what its commands are here.
fn of_a_server(hint: &str) -> String {
    if !hint.contains("`--fresh`") {
        return hint.to_owned();
    }
    format!(
        "{hint}. A server takes no `--fresh`: `runner delete` the pipeline, run it by `runner apply --fresh` in the server's folder \
         until it has started, and submit it again (a connector: stop it, and DELETE its offsets)"
    )
}

pub fn errors(wrong: &Diagnostics) -> impl Iterator<Item = &Diagnostic> {
    wrong.0.iter().filter(|one| one.severity == Severity::Error)
}

fn of_diagnostics(wrong: &Diagnostics) -> Trouble {
    let first = errors(wrong).next();
    let reason = Reason {
        code: first.map_or("spec.wrong", |first| first.code).to_owned(),
        message: first.map_or_else(String::new, |first| first.title.clone()),
        hint: first.and_then(|first| first.hint.clone()),
        diagnostics: Some(to_json(wrong)),
    };
    Trouble { reason, retry: wrong.may_all_pass(), waits: true }
}

fn panicked() -> Trouble {
    let failure = Failure::bug("serve.panic", "the start of the pipeline panicked");
    of_failure(&failure, true)
}
