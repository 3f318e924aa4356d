//! The committer at work.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::{Behind, Ending, PROGRESS_EVERY, Positions, Reached, ToCommitter, ToCoordinator, kept_bytes, until};
use crate::engine::commit::{Commit, Committer};
use crate::engine::coordinator::Event;
use crate::engine::memory::Gauge;
use crate::engine::pool::Pool;
use crate::journal::EpochRecord;
use crate::plan::Plan;
use crate::report::Failure;

pub(super) struct CommitWorker {
    pub(super) committer: Committer,
    pub(super) events: mpsc::Sender<ToCoordinator>,
    pub(super) positions: Arc<Mutex<Reached>>,
    pub(super) plan: Arc<Plan>,
    pub(super) kept: Gauge,
}

impl CommitWorker {
    pub(super) async fn attend(mut self, pool: Pool, mut commits: mpsc::Receiver<ToCommitter>) -> Result<(), Failure> {
        let mut last = None;
        let news = self.committer.news();
        let mut news_are_due: Option<tokio::time::Instant> = None;
        loop {
            let order = tokio::select! {
                order = commits.recv() => order,
                () = news.notified(), if news_are_due.is_none() => {
                    // What sinks deliver is noted with the next epoch; where none comes, by itself.
                    news_are_due = Some(tokio::time::Instant::now() + PROGRESS_EVERY);
                    continue;
                }
                () = until(news_are_due), if news_are_due.is_some() => {
                    news_are_due = None;
                    let note = move || self.committer.note_progress().map(|()| self);
                    self = pool.run("the committer", note).await??;
                    continue;
                }
            };
            match order {
                Some(ToCommitter::LastState(state)) => last = Some(state),
                Some(ToCommitter::State(state)) => {
                    let offer = move || {
                        self.committer.offer(state);
                        self
                    };
                    self = pool.run("the committer", offer).await?;
                }
                Some(ToCommitter::Commit { commit, done }) => {
                    let epoch = commit.record.epoch;
                    news_are_due = None;
                    self = pool.run("the committer", move || self.commit(*commit)).await??;
                    // I10: no row of the next epoch is merged before the last piece of this one is committed.
                    let Some(Behind { open_ends, due, state_bytes, failing }) = done else { continue };
                    if let Some(failure) = failing {
                        let _ = self.events.send(ToCoordinator::End(Ending::Failed(failure))).await;
                    }
                    let done = ToCoordinator::Event(Event::Committed { epoch, open_ends, due, state_bytes });
                    if self.events.send(done).await.is_err() {
                        break;
                    }
                }
                None => break,
            }
        }
        pool.run("the committer", move || self.committer.finish(last)).await?
    }

    fn commit(mut self, commit: Commit) -> Result<Self, Failure> {
        let epoch = commit.record.epoch;
        let reached = positions(&self.plan, &commit.record);
        let kept = kept_bytes(&commit);
        self.committer.commit(commit)?;
        self.kept.sub(kept);
        let mut known = self.positions.lock().unwrap_or_else(|poison| poison.into_inner());
        known.epoch = epoch;
        known.positions.extend(reached);
        drop(known);
        Ok(self)
    }
}

fn positions(plan: &Plan, record: &EpochRecord) -> Positions {
    let of = |(index, source): (usize, &crate::plan::SourcePlan)| {
        let ranges = record.partitions.get(&source.name)?;
        Some((index, source.of_names(ranges.iter().map(|(name, range)| (name, range.to.clone())))))
    };
    plan.sources.iter().enumerate().filter_map(of).collect()
}
