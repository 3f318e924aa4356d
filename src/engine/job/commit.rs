//! The committer's thread.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::{PROGRESS_EVERY, Positions, Reached, ToCommitter, ToCoordinator, kept_bytes};
use crate::engine::commit::Committer;
use crate::engine::coordinator::Event;
use crate::engine::memory::Gauge;
use crate::journal::EpochRecord;
use crate::plan::Plan;
use crate::report::Failure;

pub(super) struct CommitThread {
    pub(super) committer: Committer,
    pub(super) commits: Receiver<ToCommitter>,
    pub(super) events: mpsc::Sender<ToCoordinator>,
    pub(super) positions: Arc<Mutex<Reached>>,
    pub(super) plan: Arc<Plan>,
    pub(super) kept: Gauge,
}

impl CommitThread {
    pub(super) fn run(mut self) -> Result<(), Failure> {
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
