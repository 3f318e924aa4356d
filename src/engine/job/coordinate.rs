//! The coordinator's task: events in, cuts and marks out, and the end of all workers.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Ending, NEIGHBOUR_GONE, Outcome, PROGRESS_EVERY, Threads, ToCoordinator, ToLane, ToTrunk, gone, until};
use crate::connectors::{NEW_TOPICS, PartitionStart};
use crate::engine::coordinator::{Action, Event};
use crate::engine::reported;
use crate::report::Failure;

/// How long a job that failed waits for its workers to end in good order.
const FAILED_PATIENCE: Duration = Duration::from_secs(10);
/// How often sources look whether what they read is still what it was.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const LAST_REPORT: Duration = Duration::from_secs(2);

impl Threads {
    pub(super) async fn coordinate(mut self) -> Result<Outcome, Failure> {
        let mut report_due: Option<tokio::time::Instant> = None;
        let mut looks = tokio::time::interval_at(tokio::time::Instant::now() + LOOK_EVERY, LOOK_EVERY);
        let watches = self.watches();
        let mut looking: Option<JoinHandle<()>> = None;
        let outcome = loop {
            let (now, wall) = (self.clock.monotonic(), self.clock.now());
            let tick =
                self.coordinator.next_tick(now, wall).map(|tick| Duration::from_millis((tick - now).max(1) as u64));
            let tick = tick.map(|tick| tokio::time::Instant::now() + tick);
            let event = tokio::select! {
                event = self.events.recv() => event.unwrap_or(ToCoordinator::Event(Event::Tick)),
                () = until(tick) => ToCoordinator::Event(Event::Tick),
                () = until(report_due) => {
                    report_due = None;
                    drop(self.report_progress());
                    continue;
                }
                _ = looks.tick(), if watches => {
                    if looking.as_ref().is_some_and(|looking| !looking.is_finished()) {
                        continue;
                    }
                    match self.look_at_seen() {
                        Ok(true) => {}
                        Ok(false) => looking = Some(self.look()),
                        Err(failure) => break Err(failure),
                    }
                    continue;
                }
            };
            if matches!(event, ToCoordinator::Event(Event::Committed { .. })) {
                report_due.get_or_insert_with(|| tokio::time::Instant::now() + PROGRESS_EVERY);
            }
            match event {
                ToCoordinator::Failed(failure) => break Err(failure),
                ToCoordinator::End(ending) => {
                    note_ending(&mut self.ending, ending);
                    self.stop.stop();
                }
                ToCoordinator::Added { source, partitions } => self.add(source, partitions),
                ToCoordinator::Event(event) => match self.handle(event) {
                    Ok(Some(outcome)) => break Ok(outcome),
                    Ok(None) => {}
                    Err(failure) => break Err(failure),
                },
            }
        };
        self.shut_down(outcome).await
    }

    fn handle(&mut self, event: Event) -> Result<Option<Outcome>, Failure> {
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        if matches!(event, Event::Committed { .. }) {
            self.metrics.hold(self.memory.used());
        }
        let was_short = self.coordinator.is_short();
        let mut actions = self.coordinator.on(event, now, wall);
        if self.coordinator.is_short() && !was_short {
            tracing::warn!("{}: memory is short: only the partitions that are behind in time are read", self.plan.name);
        }
        if self.stop.halted.load(SeqCst) && actions.is_empty() {
            actions = self.coordinator.on(Event::Stop, now, wall);
        }
        for action in actions {
            match action {
                Action::Cut => self.tell_lanes(|| ToLane::Cut)?,
                Action::Mark { mark, ranges } => {
                    self.metrics.watermark.store(mark.watermark.time().unwrap_or(i64::MIN), Relaxed);
                    self.epoch_clock.next_epoch(mark.clock);
                    let trunk = self.trunk.as_ref().ok_or_else(gone)?;
                    // One epoch at a time: there is room.
                    trunk.try_send(ToTrunk { mark, ranges }).map_err(|_| gone())?;
                    self.tell_lanes(|| ToLane::Mark(mark))?;
                }
                Action::Pause { lane, partitions } => {
                    self.lanes[lane].wish(|wishes| wishes.pause = Some(partitions));
                }
                Action::Full => return Err(self.memory.full(&self.plan.name)),
                Action::Finished => {
                    let stopped = self.stop.halted.load(SeqCst);
                    return Ok(Some(if stopped { Outcome::Stopped } else { Outcome::Ended }));
                }
            }
        }
        Ok(None)
    }

    fn tell_lanes(&self, what: impl Fn() -> ToLane) -> Result<(), Failure> {
        self.lanes.iter().try_for_each(|lane| lane.tell(what()))
    }

    /// I16: outside of the commit; failing is a warning.
    fn report_progress(&self) -> Option<JoinHandle<()>> {
        let mut reached = self.positions.lock().unwrap_or_else(|poison| poison.into_inner());
        let positions = std::mem::take(&mut reached.positions);
        if positions.is_empty() {
            return None;
        }
        let metadata = reported::metadata(&self.plan, &self.lineage, reached.epoch);
        let plan = self.plan.clone();
        Some(tokio::task::spawn_blocking(move || {
            for (source, positions) in positions {
                if let Err(failure) = plan.sources[source].source.report_progress(&positions, &metadata) {
                    tracing::warn!(source = plan.sources[source].name, "{failure}");
                }
            }
        }))
    }

    /// Deals partitions that came to the lanes that read the fewest.
    fn add(&mut self, source: usize, partitions: Vec<PartitionStart>) {
        let of = &self.plan.sources[source];
        let names: Vec<_> = partitions.iter().map(|start| of.name_of(start.partition).to_string()).collect();
        tracing::warn!("`{}`: new partitions are read from their first record: {}", of.name, names.join(", "));
        for start in partitions {
            let of_source = self.lanes.iter_mut().filter(|lane| lane.source == source);
            let Some(lane) = of_source.min_by_key(|lane| lane.partition_count) else { return };
            lane.partition_count += 1;
            lane.wish(|wishes| wishes.add.push(start));
        }
    }

    /// True if there are topics that may become others.
    fn watches(&self) -> bool {
        let targets = self.targets.lock().unwrap_or_else(|poison| poison.into_inner());
        targets.are_watched() || self.plan.sources.iter().any(|source| !source.source.topics().is_empty())
    }

    /// Whether others, who write the same cluster, have just seen all that is to be looked at.
    fn look_at_seen(&self) -> Result<bool, Failure> {
        if self.plan.sources.iter().any(|source| !source.source.topics().is_empty()) {
            return Ok(false);
        }
        self.targets.lock().unwrap_or_else(|poison| poison.into_inner()).look_at_seen(&self.plan)
    }

    /// Lets every source look whether it still reads what it read at the start.
    fn look(&self) -> JoinHandle<()> {
        let (plan, events, targets) = (self.plan.clone(), self.stop.events.clone(), self.targets.clone());
        tokio::task::spawn_blocking(move || {
            for (index, source) in plan.sources.iter().enumerate() {
                match source.source.look() {
                    Ok(partitions) if partitions.is_empty() => {}
                    Ok(partitions) => drop(events.blocking_send(ToCoordinator::Added { source: index, partitions })),
                    // A new start reads them too. Until then nothing is lost.
                    Err(failure) if failure.code == NEW_TOPICS => {
                        tracing::info!(source = source.name, "goes on with more to read: {failure}");
                        return drop(events.blocking_send(ToCoordinator::End(Ending::Grown)));
                    }
                    // A server that is away is waited for, and named, by whoever reads.
                    Err(failure) if failure.retry => {
                        tracing::debug!(source = source.name, "{failure}");
                    }
                    Err(failure) => return drop(events.blocking_send(ToCoordinator::Failed(failure))),
                }
            }
            // Nobody else looks: one look has ended before the next begins.
            match targets.lock().unwrap_or_else(|poison| poison.into_inner()).look(&plan) {
                Ok(()) => {}
                Err(failure) if failure.retry => tracing::debug!("{failure}"),
                Err(failure) => drop(events.blocking_send(ToCoordinator::Failed(failure))),
            }
        })
    }

    /// Lets every worker end: the lanes first, then what they feed. A failure found on the way wins.
    async fn shut_down(mut self, outcome: Result<Outcome, Failure>) -> Result<Outcome, Failure> {
        self.stop.halted.store(true, SeqCst);
        self.trunk = None;
        self.lanes.clear();
        let mut workers = std::mem::take(&mut self.workers);
        let failed = outcome.is_err();
        let (mut outcome, mut ending) = (outcome, self.ending.take());
        let drained = async {
            while let Some(event) = self.events.recv().await {
                note_last(&mut outcome, &mut ending, event);
            }
        };
        tokio::select! {
            () = async { while workers.join_next().await.is_some() {} } => {}
            () = drained => {}
            // A failure must be heard also while a worker waits for a server or a disk. A stop waits: what was
            // read is to be committed, and a second Ctrl-C ends at once.
            () = tokio::time::sleep(FAILED_PATIENCE), if failed => {}
        }
        // Where the job gave up, they end when they can.
        workers.detach_all();
        while let Ok(event) = self.events.try_recv() {
            note_last(&mut outcome, &mut ending, event);
        }
        if let Some(reporting) = self.report_progress() {
            // A broker that is away must not hold up the end.
            let _ = tokio::time::timeout(LAST_REPORT, reporting).await;
        }
        ended(outcome, ending)
    }
}

/// What a run comes to. What is committed by now cannot be taken back: if that says that the run may not go on, no other
/// reason to end it, which a new start might pass over, counts.
fn ended(outcome: Result<Outcome, Failure>, ending: Option<Ending>) -> Result<Outcome, Failure> {
    match (outcome, ending) {
        (Err(other), Some(Ending::Failed(failure))) => {
            tracing::warn!("beside what ends the run: {other}");
            Err(failure)
        }
        (Ok(_), Some(Ending::Failed(failure))) => Err(failure),
        (Ok(_), Some(Ending::Grown)) => Ok(Outcome::Grown),
        (outcome, _) => outcome,
    }
}

/// Keeps the first reason to end, but a failure before any other.
fn note_ending(known: &mut Option<Ending>, ending: Ending) {
    if !matches!((&known, &ending), (Some(Ending::Failed(_)), _) | (Some(_), Ending::Grown)) {
        *known = Some(ending);
    }
}

/// What is heard once the run is over.
fn note_last(outcome: &mut Result<Outcome, Failure>, known: &mut Option<Ending>, event: ToCoordinator) {
    match event {
        ToCoordinator::End(ending) => note_ending(known, ending),
        event => note_failure(outcome, event),
    }
}

/// Keeps the first failure that says why: that a neighbour is gone is often seen before its message.
fn note_failure(outcome: &mut Result<Outcome, Failure>, event: ToCoordinator) {
    let open = match outcome {
        Ok(_) => true,
        Err(known) => known.code == NEIGHBOUR_GONE,
    };
    if let (ToCoordinator::Failed(failure), true) = (event, open) {
        *outcome = Err(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_wins_over_the_closed_channel_that_it_left_behind() {
        let failed = |code| ToCoordinator::Failed(Failure::user(code, "it says why"));
        let mut outcome = Err(gone());
        note_failure(&mut outcome, ToCoordinator::Event(Event::Tick));
        note_failure(&mut outcome, failed("record.bad"));
        note_failure(&mut outcome, failed("later.one"));
        assert_eq!(outcome.unwrap_err().code, "record.bad");
    }

    #[test]
    fn what_was_committed_and_may_not_go_on_wins_over_every_other_end() {
        let failed = |code| ToCoordinator::End(Ending::Failed(Failure::user(code, "kept and failed")));
        for before in [Ok(Outcome::Stopped), Ok(Outcome::Ended), Err(Failure::outside("kafka.away", "gone"))] {
            let (mut outcome, mut ending) = (before, None);
            note_last(&mut outcome, &mut ending, ToCoordinator::End(Ending::Grown));
            note_last(&mut outcome, &mut ending, failed("record.bad"));
            note_last(&mut outcome, &mut ending, ToCoordinator::End(Ending::Grown));
            note_last(&mut outcome, &mut ending, failed("record.later"));
            assert_eq!(ended(outcome, ending).unwrap_err().code, "record.bad");
        }
        let grown = ended(Ok(Outcome::Stopped), Some(Ending::Grown));
        assert!(matches!(grown, Ok(Outcome::Grown)), "{grown:?}");
    }
}
