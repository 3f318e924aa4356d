//! Many pipelines at once, each supervised on its own.
//!
//! ```text
//!            ┌────────────────────────── pause ──────────────────────────┐
//!   submit ─▶ Starting ─▶ Running ─▶ Stopping ─▶ Paused | Stopped ─ resume ─▶ Starting
//!               │  ▲         ├─▶ Ended   (every source has ended)
//!               ▼  │         ├─▶ Failed  (until somebody changes or resumes it)
//!             Waiting        └─▶ Restarting ─▶ Starting   (what may pass is tried again)
//! ```
//!
//! What is wanted stands in the [`Store`] before it is answered; a pipeline's task compares it with what is. The
//! engine is the one of `apply`: plan, prepare, [`Job::start`](crate::engine::Job::start). One that fails touches no
//! other. [`keeper`] is the task of one.

mod connectors;
mod keeper;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value as Json;
use tokio::sync::{Semaphore, watch};
use tracing::Instrument as _;

pub use self::connectors::TOPIC_NAMES;
use self::keeper::Keeper;
use super::logs::{Line, Logs, SPAN};
use super::store::{Kept, Store, Wanted};
use super::submission::{Name, Submission};
use crate::engine::Metrics;
use crate::engine::metrics::{Measures, PartKind, PartSnapshot, Snapshot};
use crate::report::{Diagnostics, Failure};
use crate::time::{Clock, Millis};

/// Pipelines that are planned and started at once: each takes a thread, and memory for its replay.
const STARTS_MAX: usize = 16;

/// What a pipeline is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is planned, its topics and subjects are made, its state is rebuilt.
    Starting,
    /// A server is away.
    Waiting,
    Running,
    /// It failed with what may pass, and is started again after a pause.
    Restarting,
    /// What was read is committed.
    Stopping,
    Paused,
    Stopped,
    /// Every source has ended.
    Ended,
    /// It failed, and is not started again before somebody changes or resumes it.
    Failed,
}

/// Why a pipeline does not run.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Reason {
    /// Of the failure, or of the first error.
    pub code: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What is wrong with the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnostics: Option<Json>,
}

/// What a pipeline is doing, since when, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    pub state: State,
    pub since: Millis,
    /// Starts after failures, since the server was started.
    pub restarts: u64,
    /// Of the failure that led here; while it runs, of the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// A pipeline, for whoever asks.
#[derive(Debug, Clone)]
pub struct Described {
    pub kept: Arc<Kept>,
    pub status: Status,
    /// Since the server was started.
    pub metrics: Snapshot,
    /// As it was planned last.
    pub plan: Option<Json>,
    /// Since the server was started.
    pub has_run: bool,
}

/// A pipeline with everything that is measured of it.
#[derive(Debug, Clone)]
pub struct Measured {
    pub described: Described,
    pub measures: Measures,
}

/// Why something was not done.
#[derive(Debug)]
pub enum Refused {
    /// There is no such pipeline.
    Unknown(Name),
    Exists(Name),
    /// It is the pipeline of a connector, whose name this is, and is changed as such only.
    OfConnector(String),
    /// It is no longer what the caller believes; the etag of what it is.
    Stale {
        name: Name,
        etag: String,
    },
    Wrong(Diagnostics),
    /// The server is being stopped.
    Stopping,
    Failed(Failure),
}

/// What must hold before something is changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Expect {
    #[default]
    Anything,
    /// It is in one of these states.
    Etags(Vec<String>),
    /// It is there.
    There,
    /// It is not there.
    New,
}

impl Expect {
    fn check(&self, name: &Name, known: Option<&Kept>) -> Result<(), Refused> {
        match (self, known) {
            (Expect::New, Some(_)) => Err(Refused::Exists(name.clone())),
            (Expect::Etags(_) | Expect::There, None) => Err(Refused::Unknown(name.clone())),
            (Expect::Etags(etags), Some(known)) if !etags.contains(&known.etag()) => {
                Err(Refused::Stale { name: name.clone(), etag: known.etag() })
            }
            _ => Ok(()),
        }
    }
}

/// Runs what its store says.
#[derive(Debug)]
pub struct Supervisor {
    store: Store,
    states: PathBuf,
    clock: Arc<dyn Clock>,
    runtime: tokio::runtime::Handle,
    logs: Logs,
    starts: Arc<Semaphore>,
    /// One change after the other: held while the store is written.
    changes: Mutex<Phase>,
    pipelines: Mutex<BTreeMap<Name, Arc<Supervised>>>,
    /// How many tasks there are.
    tasks: watch::Sender<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Stopping,
}

/// Whether a change gives a connector that failed another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Try {
    Again,
    No,
}

/// One of them.
#[derive(Debug)]
struct Supervised {
    wish: watch::Sender<Wish>,
    seen: Mutex<Seen>,
}

/// What a task is to bring about.
#[derive(Debug, Clone)]
struct Wish {
    /// `None`: nothing more; the task ends.
    kept: Option<Arc<Kept>>,
    /// Counts what gives a connector that failed another try: in Connect pausing and resuming it does not.
    tries: u64,
}

impl Wish {
    fn first(kept: Arc<Kept>) -> Wish {
        Wish { kept: Some(kept), tries: 1 }
    }
}

#[derive(Debug)]
struct Seen {
    status: Status,
    /// Of the job that runs.
    running: Option<Arc<Metrics>>,
    /// Of jobs that ended.
    past: (Snapshot, Measures),
    plan: Option<Json>,
    has_run: bool,
    /// Of the failure by a bad record that it has shown last: who has seen that goes on behind the record.
    told: Option<String>,
}

impl Supervised {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn described(&self) -> Option<Described> {
        let kept = self.wish.borrow().kept.clone()?;
        let seen = self.seen();
        let metrics = match &seen.running {
            Some(running) => running.snapshot().after(seen.past.0),
            None => seen.past.0,
        };
        Some(Described { kept, status: seen.status.clone(), metrics, plan: seen.plan.clone(), has_run: seen.has_run })
    }

    fn measures(&self) -> Measures {
        let seen = self.seen();
        match &seen.running {
            Some(running) => running.measures().after(&seen.past.1),
            None => seen.past.1.clone(),
        }
    }
}

impl Measured {
    /// It has a job.
    pub fn runs(&self) -> bool {
        matches!(self.described.status.state, State::Running | State::Stopping)
    }

    /// Its sources, steps and sinks, by name.
    pub fn parts(&self) -> impl Iterator<Item = (&(PartKind, String), &PartSnapshot)> {
        self.measures.parts.iter()
    }
}

impl Supervisor {
    /// Opens the store under `states`, whose folders hold the pipelines' states too, and starts what is in it, once `renew`
    /// has given it what only holds as of now.
    ///
    /// # Errors
    /// See [`Store::open`] and [`Store::all`].
    pub fn open(
        states: &Path,
        clock: Arc<dyn Clock>,
        logs: Logs,
        runtime: tokio::runtime::Handle,
        renew: impl Fn(&mut Kept),
    ) -> Result<Arc<Self>, Failure> {
        let store = Store::open(states)?;
        let mut all = store.all()?;
        all.iter_mut().for_each(renew);
        let supervisor = Arc::new(Supervisor {
            store,
            states: states.to_owned(),
            clock,
            runtime,
            logs,
            starts: Arc::new(Semaphore::new(STARTS_MAX)),
            changes: Mutex::new(Phase::Open),
            pipelines: Mutex::default(),
            tasks: watch::Sender::new(0),
        });
        all.into_iter().for_each(|kept| supervisor.tell(Arc::new(kept), Try::Again));
        Ok(supervisor)
    }

    /// All pipelines, by name.
    pub fn list(&self) -> Vec<Described> {
        self.map().values().filter_map(|pipeline| pipeline.described()).collect()
    }

    /// The same, with what is measured of each.
    pub fn measured(&self) -> Vec<Measured> {
        let of = |pipeline: &Arc<Supervised>| {
            Some(Measured { described: pipeline.described()?, measures: pipeline.measures() })
        };
        self.map().values().filter_map(of).collect()
    }

    /// As its pipelines see it.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// # Errors
    /// [`Refused::Unknown`].
    pub fn get(&self, name: &Name) -> Result<Described, Refused> {
        let found = self.map().get(name).and_then(|pipeline| pipeline.described());
        found.ok_or_else(|| Refused::Unknown(name.clone()))
    }

    /// The last lines of a pipeline's log.
    ///
    /// # Errors
    /// [`Refused::Unknown`].
    pub fn logs(&self, name: &Name, count: usize) -> Result<Vec<Line>, Refused> {
        self.get(name).map(|_| self.logs.last(name, count))
    }

    /// Takes pipelines in, or other specs for those that are there: all of the submission's, or the one that is
    /// named. Blocks for the disk. What is as it was stays as it is, unless the state of steps may be given up: then it is
    /// started again. True with each that is new.
    ///
    /// # Errors
    /// [`Refused`]; then nothing was changed.
    pub fn submit(
        self: &Arc<Self>,
        submission: &Submission,
        only: Option<&Name>,
        accept_reset: &BTreeSet<String>,
        expect: &Expect,
    ) -> Result<Vec<(Described, bool)>, Refused> {
        let mut parts = submission.parts(&self.states).map_err(Refused::Wrong)?;
        if let Some(only) = only {
            parts.retain(|(name, _)| name == only);
            if parts.is_empty() {
                let title = format!("there is no pipeline `{only}` in it");
                let wrong = crate::report::Diagnostic::error("submission.other_name", title);
                return Err(Refused::Wrong(Diagnostics(vec![wrong])));
            }
        }
        let _changing = self.changing()?;
        for (name, _) in &parts {
            let known = self.known(name);
            expect.check(name, known.as_deref())?;
            if let Some(connector) = known.as_ref().and_then(|known| known.connector.as_ref()) {
                return Err(Refused::OfConnector(connector.name.clone()));
            }
        }
        let mut done = Vec::new();
        for (name, submission) in parts {
            let known = self.known(&name);
            let is_new = known.is_none();
            let next = match known.as_deref() {
                Some(known) if known.submission == submission && accept_reset.is_empty() => None,
                Some(known) => Some(Kept {
                    generation: known.generation + 1,
                    submission,
                    submitted: self.clock.now(),
                    ..known.clone()
                }),
                None => Some(Kept::new(name.clone(), submission, self.clock.now())),
            };
            let next = next.map(|next| Kept { accept_reset: accept_reset.clone(), ..next });
            if let Some(next) = next {
                self.keep(next, Try::Again)?;
            }
            done.push((self.get(&name)?, is_new));
        }
        Ok(done)
    }

    /// Pauses, resumes or stops a pipeline. Blocks for the disk. Resuming one that failed or ended starts it again.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn want(self: &Arc<Self>, name: &Name, wanted: Wanted, expect: &Expect) -> Result<Described, Refused> {
        let _changing = self.changing()?;
        let known = self.known(name).ok_or_else(|| Refused::Unknown(name.clone()))?;
        expect.check(name, Some(&known))?;
        if known.wanted != wanted {
            self.keep(known.when(wanted), Try::No)?;
        } else if wanted == Wanted::Running && matches!(self.get(name)?.status.state, State::Failed | State::Ended) {
            self.tell(known, Try::No);
        }
        self.get(name)
    }

    /// Stops a pipeline's job, if it has one, and starts it again.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn restart(self: &Arc<Self>, name: &Name, expect: &Expect) -> Result<Described, Refused> {
        let _changing = self.changing()?;
        let known = self.known(name).ok_or_else(|| Refused::Unknown(name.clone()))?;
        expect.check(name, Some(&known))?;
        self.tell(known, Try::Again);
        self.get(name)
    }

    /// Forgets a pipeline; its job stops. Its journal and output stay: submitted again, it goes on behind them.
    /// Blocks for the disk. Gives what tells when its job has ended.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn remove(&self, name: &Name, expect: &Expect) -> Result<Gone, Refused> {
        let _changing = self.changing()?;
        let known = self.known(name).ok_or_else(|| Refused::Unknown(name.clone()))?;
        expect.check(name, Some(&known))?;
        self.forget(name)
    }

    /// Nobody else changes anything meanwhile.
    fn forget(&self, name: &Name) -> Result<Gone, Refused> {
        self.store.remove(name).map_err(Refused::Failed)?;
        let map = self.map();
        let pipeline = map.get(name).ok_or_else(|| Refused::Unknown(name.clone()))?;
        pipeline.wish.send_modify(|wish| wish.kept = None);
        Ok(Gone(pipeline.clone()))
    }

    /// Stops every job and waits until they have committed what they read. Nothing is changed any more.
    pub async fn shut_down(&self) {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner) = Phase::Stopping;
        self.map().values().for_each(|pipeline| pipeline.wish.send_modify(|wish| wish.kept = None));
        let mut tasks = self.tasks.subscribe();
        // The sender is ours, so it cannot be gone.
        let _ = tasks.wait_for(|tasks| *tasks == 0).await;
    }

    /// How many tasks supervise something, those of pipelines that are being forgotten among them.
    pub fn tasks(&self) -> usize {
        *self.tasks.borrow()
    }

    fn map(&self) -> std::sync::MutexGuard<'_, BTreeMap<Name, Arc<Supervised>>> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> Result<std::sync::MutexGuard<'_, Phase>, Refused> {
        let phase = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if *phase == Phase::Stopping { Err(Refused::Stopping) } else { Ok(phase) }
    }

    fn known(&self, name: &Name) -> Option<Arc<Kept>> {
        self.map().get(name)?.wish.borrow().kept.clone()
    }

    /// A pipeline has started as it was submitted: what was accepted for that holds for no other start, which may find the
    /// journal otherwise. Blocks for the disk.
    fn has_started(&self, kept: &Kept) {
        if kept.accept_reset.is_empty() {
            return;
        }
        let Ok(_changing) = self.changing() else { return };
        let Some(known) = self.known(&kept.name).filter(|known| known.submission == kept.submission) else { return };
        let accept_reset = known.accept_reset.difference(&kept.accept_reset).cloned().collect();
        let next = Kept { accept_reset, ..Kept::clone(&known) };
        if let Err(failure) = self.store.put(&next) {
            tracing::warn!("{failure}; that state may be given up holds for the next start too");
            return;
        }
        self.note(next);
    }

    /// Notes what changes nothing for the task of a pipeline.
    fn note(&self, next: Kept) {
        if let Some(pipeline) = self.map().get(&next.name) {
            pipeline.wish.send_if_modified(|wish| {
                // One that is being forgotten stays so.
                wish.kept = wish.kept.is_some().then(|| Arc::new(next.clone()));
                false
            });
        }
    }

    fn keep(self: &Arc<Self>, kept: Kept, again: Try) -> Result<(), Refused> {
        self.store.put(&kept).map_err(Refused::Failed)?;
        self.tell(Arc::new(kept), again);
        Ok(())
    }

    /// Tells a pipeline's task what is wanted; makes one if there is none.
    fn tell(self: &Arc<Self>, kept: Arc<Kept>, again: Try) {
        let mut map = self.map();
        let name = kept.name.clone();
        if let Some(pipeline) = map.get(&name) {
            pipeline.wish.send_modify(|wish| {
                wish.kept = Some(kept);
                wish.tries += u64::from(again == Try::Again);
            });
            return;
        }
        let status = Status { state: State::Starting, since: self.clock.now(), restarts: 0, reason: None };
        let seen = Seen { status, running: None, past: <_>::default(), plan: None, has_run: false, told: None };
        let pipeline = Arc::new(Supervised { wish: watch::Sender::new(Wish::first(kept)), seen: Mutex::new(seen) });
        map.insert(name.clone(), pipeline.clone());
        self.tasks.send_modify(|tasks| *tasks += 1);
        let span = tracing::info_span!(SPAN, pipeline = %name);
        let task = Keeper { supervisor: self.clone(), pipeline, name };
        self.runtime.spawn(task.keep().instrument(span));
    }
}

/// Tells when the job of a pipeline that was forgotten has ended.
pub struct Gone(Arc<Supervised>);

impl Gone {
    pub async fn wait(self) {
        self.0.wish.closed().await;
    }
}
