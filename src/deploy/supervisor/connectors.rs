//! Connectors: pipelines that were compiled of a configuration, and are changed as Kafka Connect changes them.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use super::keeper::errors;
use super::{Described, Expect, Gone, Refused, State, Supervisor, Try};
use crate::deploy::connector::{Connector, pipeline_of};
use crate::deploy::offsets::{self, Moves, Positions, Standing};
use crate::deploy::store::{Kept, Wanted};
use crate::deploy::submission::Submission;
use crate::deploy::topics;
use crate::disk;
use crate::plan::resolve::{Discreet, Offline};
use crate::plan::{JournalPlace, Plan};
use crate::report::Failure;
use crate::time::Millis;

/// Codes of a plan that names a topic as no broker does: itself, or by its transformations.
pub const TOPIC_NAMES: [&str; 2] = ["kafka.topic_name", "connect.topic"];

impl Supervisor {
    /// Takes a connector in, or another configuration of one that is there. Blocks for the disk. `wanted` is of one
    /// that is new. True if it is. One that was submitted as a pipeline, in a document beside its own connection, is a
    /// connector from then on, and goes on where that was.
    ///
    /// # Errors
    /// [`Refused`]; then nothing was changed.
    pub fn put_connector(
        self: &Arc<Self>,
        connector: Connector,
        document: &Submission,
        wanted: Wanted,
        expect: &Expect,
    ) -> Result<(Described, bool), Refused> {
        let name = pipeline_of(&connector.name);
        // What was compiled is checked as what people write. Connect takes any text for a topic's name: the task fails.
        let plan = match document.checked_plan(&name, &self.states) {
            Err(wrong) if !errors(&wrong).all(|error| TOPIC_NAMES.contains(&error.code)) => {
                return Err(Refused::Wrong(wrong));
            }
            plan => plan.ok(),
        };
        let _changing = self.changing()?;
        let known = self.known(&name);
        expect.check(&name, known.as_deref())?;
        let is_new = known.as_ref().is_none_or(|known| known.connector.is_none());
        let next = match known.as_deref() {
            Some(known) if !is_new => changed(known, connector, document, self.clock.now()),
            Some(known) if !known.submission.has_connector(&connector.name) => return Err(Refused::Exists(name)),
            other => {
                let kept = match other {
                    Some(known) => Kept {
                        generation: known.generation + 1,
                        submission: document.clone(),
                        submitted: self.clock.now(),
                        ..known.clone()
                    },
                    None => Kept { wanted, ..Kept::new(name.clone(), document.clone(), self.clock.now()) },
                };
                // One of this name may have been here before, and goes on where that was.
                let before = plan.as_ref().and_then(|plan| offsets::positions(plan).ok());
                let topics_since = before.unwrap_or_default();
                let other = other.zip(plan.as_ref());
                if let Some(source) = other.and_then(|(known, plan)| self.other_source(known, plan)) {
                    let connector = &connector.name;
                    tracing::warn!(
                        "connector `{connector}`: `{source}` is not what was read so far: it is read from its start"
                    );
                }
                let connector = Connector { topics_since, ..connector.when(kept.wanted) };
                Some(Kept { connector: Some(connector), ..kept })
            }
        };
        if let Some(next) = next {
            self.keep(next, Try::Again)?;
        }
        Ok((self.get(&name)?, is_new))
    }

    /// A source of the plan that is not one of the pipeline before.
    fn other_source<'p>(&self, before: &Kept, plan: &'p Plan) -> Option<&'p str> {
        let before = before.submission.checked_plan(&before.name, &self.states).ok()?;
        let is_known = |name: &str| before.sources.iter().any(|source| source.name == name);
        plan.sources.iter().map(|source| source.name.as_str()).find(|name| !is_known(name))
    }

    /// Forgets a connector; its job stops. Where its sources stand is kept, as Connect keeps it: another one of this name goes
    /// on there. Of one that is stopped, and whose offsets were taken away, nothing is kept. Blocks for the disk.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn remove_connector(&self, name: &str) -> Result<Gone, Refused> {
        let pipeline = pipeline_of(name);
        // Nobody starts it meanwhile.
        let _changing = self.changing()?;
        let found = self.connector(name)?;
        if found.kept.wanted == Wanted::Stopped && found.status.state == State::Stopped {
            self.remove_state_of_nothing(name)?;
        }
        self.forget(&pipeline)
    }

    /// Removes the folder of a connector's journal if that says no more than having none does.
    fn remove_state_of_nothing(&self, name: &str) -> Result<(), Refused> {
        // A spec that is wrong by now has a folder that somebody may want to look at.
        let Ok(plan) = self.plan_of(name) else { return Ok(()) };
        let JournalPlace::File(journal) = &plan.journal else { return Ok(()) };
        let positions = offsets::positions(&plan).map_err(Refused::Failed)?;
        let stands_nowhere = positions.values().flatten().all(|(_, position)| position.is_start());
        if !stands_nowhere || !journal.starts_with(&plan.state_dir) {
            return Ok(());
        }
        disk::remove_folder(&plan.state_dir).map_err(|error| {
            let message = format!("the folder `{}` cannot be removed", plan.state_dir.display());
            Refused::Failed(Failure::outside("serve.store", message).no_retry().because(error))
        })
    }

    /// Where the sources of a connector stand. Blocks for the disk.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn positions(&self, name: &str) -> Result<Positions, Refused> {
        self.standing(name).map(|standing| standing.positions)
    }

    /// The same, and what of it was set.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn standing(&self, name: &str) -> Result<Standing, Refused> {
        offsets::standing(&self.plan_of(name)?).map_err(Refused::Failed)
    }

    /// How many partitions a topic that a connector may read has, by its cluster; `None`: there is none. Blocks for the
    /// brokers.
    ///
    /// # Errors
    /// [`Refused`]; the brokers are away.
    pub fn partition_count(&self, name: &str, topic: &str) -> Result<Option<usize>, Refused> {
        let kept = self.connector(name)?.kept;
        let (_, plan) = kept.submission.plans(&kept.name, &self.states, &Discreet).map_err(Refused::Wrong)?;
        let Some(source) = plan.sources.iter().find(|source| source.source.may_read(topic)) else { return Ok(None) };
        source.source.partition_count(topic).map_err(Refused::Failed)
    }

    /// Has the sources of a connector that is stopped go on elsewhere. Blocks for the disk.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn set_positions(&self, name: &str, moves: &Moves) -> Result<(), Refused> {
        let plan = self.plan_of(name)?;
        let positions = || offsets::positions(&plan).map_err(Refused::Failed);
        let before = positions()?;
        self.change(name, |connector| connector.topics = topics::used(connector, &before))?;
        offsets::set(&plan, moves).map_err(Refused::Failed)?;
        let now = positions()?;
        // Nothing was read of where it is to go on.
        self.change(name, |connector| connector.topics_since = now)
    }

    /// Topics that a connector has used. Blocks for the disk.
    ///
    /// # Errors
    /// [`Refused::Unknown`].
    pub fn topics(&self, name: &str) -> Result<BTreeSet<String>, Refused> {
        let Some(connector) = self.connector(name)?.kept.connector.clone() else { return Ok(BTreeSet::new()) };
        Ok(topics::used(&connector, &self.positions(name).unwrap_or_default()))
    }

    /// Forgets which topics a connector has used so far, standing where it does. Blocks for the disk.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn reset_topics(&self, name: &str) -> Result<(), Refused> {
        let topics_since = self.positions(name).unwrap_or_default();
        let running = self.map().get(&pipeline_of(name)).and_then(|pipeline| pipeline.seen().running.clone());
        self.change(name, |connector| {
            connector.topics = BTreeSet::new();
            connector.topics_since = topics_since;
            // The next record of each counts as its first, and a note on its way finds nothing.
            running.iter().for_each(|metrics| metrics.written.forget());
        })
    }

    /// Notes topics that records of a connector went to, also while the server is being stopped. Blocks for the disk.
    /// What was written is asked while nobody changes anything.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn note_topics(&self, of: &Kept, written: impl FnOnce() -> BTreeSet<String>) -> Result<(), Failure> {
        let _changing = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        // While the server is being stopped nothing is wanted of anybody.
        let known = match self.known(&of.name) {
            Some(known) => Some(Kept::clone(&known)),
            None => self.store.get(&of.name)?,
        };
        // Another one may have its name by now.
        let Some(mut known) = known.filter(|known| known.uid == of.uid) else { return Ok(()) };
        let topics = written();
        let Some(connector) = known.connector.as_mut().filter(|known| !known.topics.is_superset(&topics)) else {
            return Ok(());
        };
        connector.topics.extend(topics);
        self.store.put(&known)?;
        self.note(known);
        Ok(())
    }

    /// Changes what is noted of a connector and does not touch its task.
    fn change(&self, name: &str, change: impl FnOnce(&mut Connector)) -> Result<(), Refused> {
        let _changing = self.changing()?;
        let pipeline = pipeline_of(name);
        let known = self.known(&pipeline).ok_or_else(|| Refused::Unknown(pipeline.clone()))?;
        let mut next = Kept::clone(&known);
        if let Some(connector) = next.connector.as_mut() {
            change(connector);
        }
        self.store.put(&next).map_err(Refused::Failed)?;
        self.note(next);
        Ok(())
    }

    /// The plan of a connector, without asking any server.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn plan_of(&self, name: &str) -> Result<Plan, Refused> {
        let kept = self.connector(name)?.kept;
        let planned = kept.submission.plans(&kept.name, &self.states, &Offline);
        planned.map(|(_, plan)| plan).map_err(Refused::Wrong)
    }

    /// All connectors, by name.
    pub fn connectors(&self) -> Vec<Described> {
        let mut all = self.list();
        all.retain(|described| described.kept.connector.is_some());
        all
    }

    /// # Errors
    /// [`Refused::Unknown`].
    pub fn connector(&self, name: &str) -> Result<Described, Refused> {
        let name = pipeline_of(name);
        self.get(&name).and_then(|found| match found.kept.connector {
            Some(_) => Ok(found),
            None => Err(Refused::Unknown(name)),
        })
    }
}

/// One that is there, with another configuration; `None` if it is the same.
fn changed(known: &Kept, connector: Connector, document: &Submission, submitted: Millis) -> Option<Kept> {
    let before = known.connector.as_ref();
    let tasks = before.map_or(0, |before| before.tasks);
    let (topics, topics_since) =
        before.map_or_else(Default::default, |before| (before.topics.clone(), before.topics_since.clone()));
    let connector = Connector { tasks, topics, topics_since, ..connector };
    let connector = match known.wanted {
        Wanted::Running => connector.when(Wanted::Running),
        // Paused tasks stay, as many as the configuration has now.
        Wanted::Paused | Wanted::Stopped => Connector { tasks: tasks.min(connector.tasks_max), ..connector },
    };
    if known.connector.as_ref() == Some(&connector) && known.submission == *document {
        return None;
    }
    let generation = known.generation + 1;
    Some(Kept { generation, submitted, submission: document.clone(), connector: Some(connector), ..known.clone() })
}
