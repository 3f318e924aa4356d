//! The trunk at work: merges what the lanes hand over, makes commits of it, and takes snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Behind, ToCommitter, ToTrunk, kept_bytes, until};
use crate::data::{Epoch, Mark, Partition};
use crate::engine::branch::Output;
use crate::engine::commit::Commit;
use crate::engine::lane::PartitionCut;
use crate::engine::memory::Gauge;
use crate::engine::metrics::Metrics;
use crate::engine::pieces::Chain;
use crate::engine::pool::Pool;
use crate::engine::snapshots::{Pace, StateBehind};
use crate::engine::trunk::{Reading, Trunk};
use crate::journal::{EpochRecord, PartitionRecord};
use crate::plan::Plan;
use crate::report::Failure;
use crate::time::Clock;

pub(super) struct TrunkWorker {
    pub(super) plan: Arc<Plan>,
    pub(super) trunk: Trunk,
    pub(super) lane_count: usize,
    pub(super) commits: mpsc::Sender<ToCommitter>,
    pub(super) lineage: String,
    pub(super) incarnation: u64,
    pub(super) metrics: Arc<Metrics>,
    /// What the epoch that commits holds.
    pub(super) kept: Gauge,
    /// Of snapshots; `None`: no state is kept.
    pub(super) pace: Option<Pace>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) state_bytes_max: usize,
    pub(super) pool: Pool,
}

impl TrunkWorker {
    pub(super) async fn attend(
        mut self,
        pool: Pool,
        mut jobs: mpsc::Receiver<ToTrunk>,
        mut outputs: mpsc::Receiver<(usize, Epoch, Output)>,
    ) -> Result<(), Failure> {
        let mut last = None;
        loop {
            let now = self.clock.monotonic();
            let ask = last.and(self.pace.as_ref()).and_then(|pace| pace.ask_within(now));
            let ask = ask.map(|ms| tokio::time::Instant::now() + Duration::from_millis(ms.max(1) as u64));
            let job = tokio::select! {
                job = jobs.recv() => job,
                () = until(ask) => {
                    let Some(trunk) = pool.run("the trunk", move || self.idle_snapshot(last)).await?? else { return Ok(()) };
                    self = trunk;
                    continue;
                }
            };
            let Some(job) = job else { break };
            let Some(gathered) = gather(self.lane_count, &job.mark, &mut outputs).await? else {
                // To give much state back takes a while.
                return pool.run("the trunk", move || drop(self)).await;
            };
            let Some((trunk, epoch)) = pool.run("the trunk", move || self.epoch(job, gathered)).await?? else {
                return Ok(());
            };
            (self, last) = (trunk, Some(epoch));
        }
        pool.run("the trunk", move || self.last_snapshot(last)).await?
    }

    /// Merges an epoch and hands over what it gives, piece by piece. Gives the last epoch that it took; `None`: the
    /// committer is gone.
    fn epoch(mut self, job: ToTrunk, outputs: Vec<Output>) -> Result<Option<(Self, Epoch)>, Failure> {
        let ToTrunk { mark, ranges } = job;
        let rows_read = ranges.values().flat_map(BTreeMap::values).map(|cut| cut.read).sum();
        self.trunk.merge(&mark, outputs, rows_read, Reading::Live)?;
        self.metrics.rows_in.fetch_add(rows_read, Relaxed);
        let mut chain = Chain::begin(record(&self.plan, &self.lineage, self.incarnation, &mark, ranges));
        loop {
            // While one piece commits the next is made, and no more: each may have 16 MiB (I10).
            let Ok(room) = self.pool.wait(self.commits.clone().reserve_owned()) else { return Ok(None) };
            let piece = self.trunk.next_piece()?;
            let state_bytes = self.trunk.state_bytes();
            let record = chain.record(&self.plan, &piece);
            let more = record.cursor.is_some();
            let commit = Commit { record, rows: piece.rows };
            self.kept.add(kept_bytes(&commit));
            let done = (!more).then(|| {
                let (open_ends, due, failing) = (piece.open_ends, piece.due, piece.failing);
                Behind { open_ends, due, state_bytes, failing }
            });
            let epoch = commit.record.epoch;
            room.send(ToCommitter::Commit { commit: Box::new(commit), done });
            if more {
                continue;
            }
            if let Some(state) = self.due_snapshot(epoch, rows_read)?
                && self.commits.blocking_send(ToCommitter::State(state)).is_err()
            {
                return Ok(None);
            }
            return Ok(Some((self, epoch)));
        }
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

    /// I19: one that is due though no epoch has come. `None`: the committer is gone.
    fn idle_snapshot(mut self, last: Option<Epoch>) -> Result<Option<Self>, Failure> {
        let (now, needed) = (self.clock.monotonic(), self.trunk.needed());
        let Some(pace) = &mut self.pace else { return Ok(Some(self)) };
        if let Some(epoch) = last.filter(|_| pace.is_due(needed, now)) {
            let state = self.trunk.freeze(epoch)?;
            pace.took(now, self.clock.monotonic());
            if self.commits.blocking_send(ToCommitter::State(state)).is_err() {
                return Ok(None);
            }
        }
        Ok(Some(self))
    }

    /// At the end of a run, however it ends: what is not committed then is in no snapshot. State for which there is no
    /// memory is not copied.
    fn last_snapshot(mut self, last: Option<Epoch>) -> Result<(), Failure> {
        let is_behind = self.pace.as_ref().is_some_and(Pace::is_behind) && self.trunk.needed().is_some();
        if let Some(epoch) = last.filter(|_| is_behind && self.trunk.state_bytes() <= self.state_bytes_max) {
            let state = self.trunk.freeze(epoch)?;
            // Nobody there: the committer has failed, and says why.
            let _ = self.commits.blocking_send(ToCommitter::LastState(state));
        }
        Ok(())
    }
}

/// What every lane hands over of an epoch. `None`: a lane is gone.
async fn gather(
    lane_count: usize,
    mark: &Mark,
    outputs: &mut mpsc::Receiver<(usize, Epoch, Output)>,
) -> Result<Option<Vec<Output>>, Failure> {
    let mut gathered: Vec<Option<Output>> = (0..lane_count).map(|_| None).collect();
    while gathered.iter().any(Option::is_none) {
        let Some((lane, epoch, output)) = outputs.recv().await else { return Ok(None) };
        if epoch != mark.epoch {
            return Err(Failure::bug("trunk.epoch", format!("lane {lane} handed over epoch {epoch}")));
        }
        gathered[lane] = Some(output);
    }
    Ok(Some(gathered.into_iter().flatten().collect()))
}

/// An epoch's journal record (I13), before its output is cut up.
pub fn record(
    plan: &Plan,
    lineage: &str,
    incarnation: u64,
    mark: &Mark,
    ranges: BTreeMap<usize, BTreeMap<Partition, PartitionCut>>,
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
        ended: mark.ended,
        continues: None,
        cursor: None,
        failed: None,
    }
}

/// I8: what was learnt from registries stands in the first epoch that uses it, or in one before.
fn learnt(plan: &Plan) -> BTreeMap<i32, String> {
    let decoders = plan.sources.iter().flat_map(|source| source.values.iter().chain(&source.keys));
    decoders.flat_map(|decoder| decoder.take_learnt()).collect()
}
