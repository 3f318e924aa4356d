//! Rebuilds the state from the journal: reads its epochs again, and gives the sinks what they lack.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;

use super::sources::{Seating, Shortened};
use crate::connectors::{Bell, PartitionStart};
use crate::data::{Epoch, Mark, Partition, PartitionName, Position};
use crate::engine::commit::{Commit, Committer};
use crate::engine::lane::PartitionCut;
use crate::engine::metrics::Metrics;
use crate::engine::pieces::{Chain, cursor_of};
use crate::engine::recovery::{History, Recovery, times_of};
use crate::engine::seat::{EpochClock, Seat};
use crate::engine::snapshots::Pace;
use crate::engine::telling::{Listener, Told};
use crate::engine::trunk::{Reading, Trunk};
use crate::faults;
use crate::journal::{EpochRecord, PartitionRecord};
use crate::plan::Plan;
use crate::report::Failure;
use crate::time::Watermark;

/// I10: commits what is still to come of an epoch in whose output the journal ends, before any row of the next one is
/// merged. Gives the journal's last epoch then, and why the run may not go on behind it.
pub(super) fn finish_output(
    plan: &Plan,
    history: &History,
    trunk: &mut Trunk,
    committer: &mut Committer,
    incarnation: u64,
) -> Result<(Epoch, Option<Failure>), Failure> {
    let (mut last, mut failing) = (history.last(), None);
    if let Some(record) = history.epochs.get(&last).filter(|record| record.cursor.is_some()) {
        let mut chain = Chain::behind(record, incarnation);
        while trunk.is_giving() {
            let piece = trunk.next_piece()?;
            let record = chain.record(plan, &piece);
            last = record.epoch;
            committer.commit(Commit { record, rows: piece.rows })?;
            failing = piece.failing;
        }
    }
    Ok((last, failing))
}

/// Reads the journal's epochs again, with their watermarks and clocks.
pub(super) struct Replay<'a> {
    pub(super) plan: &'a Plan,
    pub(super) history: &'a History,
    pub(super) recovery: &'a Recovery,
    pub(super) seats: &'a mut Vec<Seat>,
    pub(super) seating: Seating<'a>,
    /// By source: where its partitions go on behind the last epoch, if somebody set that elsewhere.
    pub(super) ahead: &'a [Vec<PartitionStart>],
    pub(super) trunk: &'a mut Trunk,
    pub(super) pace: &'a mut Option<Pace>,
    pub(super) clock: &'a EpochClock,
    /// Partitions of which replay may give less than was recorded (I17).
    pub(super) shortened: &'a Shortened,
    /// How much less it gave, by source and partition.
    pub(super) missing: BTreeMap<(String, PartitionName), u64>,
    pub(super) metrics: &'a Metrics,
    pub(super) listener: &'a Listener,
}

impl Replay<'_> {
    /// Gives the number of rows read.
    pub(super) fn run(&mut self, committer: &mut Committer) -> Result<u64, Failure> {
        let bell = Bell::new()
            .map_err(|error| Failure::outside("engine.bell", "no file descriptor left").no_retry().because(error))?;
        let mut rows = 0;
        let history = self.history;
        let epochs = self.recovery.last + 1 - self.recovery.replay_from;
        if epochs > 0 {
            self.listener.tell(Told::Replays { epochs, records: self.records_to_read() });
        }
        let mut records = history.epochs.range(self.recovery.replay_from..).map(|(_, record)| record).peekable();
        // The first begins where the positions say.
        let mut next = self.recovery.replay_from + 1;
        while let Some(record) = records.next() {
            self.go_elsewhere(next..=record.epoch)?;
            next = record.epoch + 1;
            let mut chain = vec![record];
            chain.extend(std::iter::from_fn(|| records.next_if(|record| record.continues.is_some())));
            let last = chain[chain.len() - 1];
            let read = self.read(record, &bell)?;
            let EpochRecord { epoch, watermark, clock, ended, .. } = *record;
            let mark = Mark { epoch, watermark, clock, ended };
            let outputs = self.seats.iter_mut().map(|seat| seat.mark(&mark)).collect::<Result<Vec<_>, _>>()?;
            let reading = if last.cursor.is_some() { Reading::Resume } else { Reading::Replay };
            self.trunk.merge(&mark, outputs, read, reading)?;
            self.give(&chain, committer)?;
            // Windows whose rows all lie before the replay are no gap. Of an epoch whose output is not whole, what it
            // needs is read, and its steps have not all met the mark.
            if last.cursor.is_none() {
                self.trunk.remember(last.epoch, &last.last_windows);
            }
            rows += read;
            self.listener.tell(Told::Replayed { records: rows });
            faults::point("epoch.replayed");
            if last.cursor.is_none() {
                self.take_snapshot(last.epoch, read, committer)?;
            }
        }
        self.go_elsewhere(next..=self.recovery.last + 1)?;
        self.seats.iter_mut().for_each(Seat::go_live);
        for ((source, partition), missing) in &self.missing {
            let jump = self.recovery.jumps.get(source).and_then(|jumps| jumps.get(partition));
            let missing = missing.saturating_sub(jump.map_or(0, |jump| jump.again));
            if missing == 0 {
                continue;
            }
            let lack = match self.plan.keeps_state() {
                true => "that open windows were made of are gone: what these windows give lacks them",
                false => "that were read, and are not known to be delivered, are gone: they cannot be given again",
            };
            tracing::warn!("`{source}`: {missing} records of partition {partition} {lack}");
            self.metrics.expired.fetch_add(missing, Relaxed);
        }
        Ok(rows)
    }

    /// Where somebody set a partition elsewhere before one of these epochs, reads on there; the last of them is read next.
    fn go_elsewhere(&mut self, epochs: RangeInclusive<Epoch>) -> Result<(), Failure> {
        let next = *epochs.end();
        if epochs.is_empty() || !self.recovery.any_is_set(&epochs) {
            return Ok(());
        }
        let record = self.history.epochs.get(&next);
        let mut starts = self.ahead.to_vec();
        for (index, partitions) in starts.iter_mut().enumerate() {
            let source = &self.plan.sources[index];
            for start in partitions {
                let name = source.name_of(start.partition);
                let recorded = record.and_then(|record| record.partitions.get(&source.name)?.get(&name));
                match self.recovery.is_set(&source.name, &name, &epochs) {
                    true => start.start = recorded.map_or(start.start.clone(), |range| range.from.clone()),
                    false => start.start = self.position(index, start.partition).unwrap_or(start.start.clone()),
                }
            }
        }
        let before = self.history.epochs.range(..next).next_back().map(|(_, record)| record);
        let (watermark, times) =
            before.map_or((Watermark::NONE, BTreeMap::new()), |record| (record.watermark, times_of(record)));
        // Readers hold memory: the old ones are gone before there are others.
        self.seats.clear();
        *self.seats = self.seating.open(&starts, watermark, &times)?;
        Ok(())
    }

    fn position(&self, source: usize, partition: Partition) -> Option<Position> {
        self.seats.iter().filter(|seat| seat.source == source).find_map(|seat| seat.position(partition))
    }

    /// How many it will be, if none are gone.
    fn records_to_read(&self) -> u64 {
        let epochs = self.history.epochs.range(self.recovery.replay_from..);
        let of_sources =
            epochs.flat_map(|(epoch, record)| record.partitions.iter().map(move |(name, of)| (*epoch, name, of)));
        let read = of_sources.filter(|(epoch, name, _)| has_begun(self.recovery, name, *epoch));
        read.flat_map(|(_, _, ranges)| ranges.values()).map(|range| range.read).sum()
    }

    /// I19: a long replay that is cut short does not begin anew.
    fn take_snapshot(&mut self, epoch: Epoch, rows: u64, committer: &mut Committer) -> Result<(), Failure> {
        let Some(pace) = self.pace else { return Ok(()) };
        let now = self.clock.monotonic();
        pace.note(epoch, rows, now);
        if pace.is_due(self.trunk.needed(), now) {
            let state = self.trunk.freeze(epoch)?;
            pace.took(now, self.clock.monotonic());
            committer.offer(state);
        }
        Ok(())
    }

    /// Gives the sinks what they lack of an epoch's output, cut up as it was committed.
    fn give(&mut self, chain: &[&EpochRecord], committer: &mut Committer) -> Result<(), Failure> {
        let last = chain[chain.len() - 1];
        if last.cursor.is_none() && self.recovery.sinks.iter().all(|has| *has >= last.epoch) {
            return self.trunk.discard();
        }
        for record in chain {
            let rows = self.trunk.replay_piece(cursor_of(self.plan, record).as_ref())?;
            committer.give(record, rows)?;
        }
        Ok(())
    }

    /// Reads one epoch's ranges; I17: they must yield what was recorded.
    fn read(&mut self, record: &EpochRecord, bell: &Bell) -> Result<u64, Failure> {
        self.clock.replay(record.clock);
        let mut read = 0;
        for seat in self.seats.iter_mut() {
            let source = &self.plan.sources[seat.source];
            let ranges = source.of_names(record.partitions.get(&source.name).into_iter().flatten());
            let jumps = self.recovery.jumps.get(&source.name);
            // Of a log that is no more nothing is read: the partition stands where it goes on.
            let past = |name: &PartitionName| {
                jumps.and_then(|jumps| jumps.get(name)).filter(|jump| !jump.is_set && record.epoch < jump.from_epoch)
            };
            let has_begun = has_begun(self.recovery, &source.name, record.epoch);
            let is_read = |partition: Partition| has_begun && past(&source.name_of(partition)).is_none();
            let readable = ranges.iter().filter(|(partition, _)| is_read(**partition));
            let ends = readable.map(|(partition, range)| (*partition, range.to.clone())).collect();
            seat.replay_to(&ends, bell)?;
            for (partition, cut) in seat.cut().partitions {
                read += cut.read;
                let Some(range) = ranges.get(&partition).filter(|_| has_begun) else { continue };
                let name = source.name_of(partition);
                let shortened = self.shortened.get(&source.name).is_some_and(|names| names.contains(&name));
                if past(&name).is_some() || (shortened && gives_less(&cut, range)) {
                    *self.missing.entry((source.name.clone(), name)).or_default() += range.read - cut.read;
                } else {
                    same_as_recorded(&source.name, &name, record.epoch, &cut, range)?;
                }
            }
        }
        Ok(read)
    }
}

/// A source that began later, or is no more, is not read.
fn has_begun(recovery: &Recovery, source: &str, epoch: Epoch) -> bool {
    recovery.parts.sources.get(source).is_some_and(|part| part.since <= epoch)
}

/// Whether a partition that is replayed from later on has given less than was recorded. Where it had given nothing, it
/// may stand at that later place already.
fn gives_less(cut: &PartitionCut, range: &PartitionRecord) -> bool {
    cut.read < range.read || (range.read == 0 && cut.read == 0 && cut.from == cut.to)
}

fn same_as_recorded(
    source: &str,
    partition: &PartitionName,
    epoch: Epoch,
    cut: &PartitionCut,
    range: &PartitionRecord,
) -> Result<(), Failure> {
    // The position says more than the count: which file it was, which seed comes next.
    if cut.read == range.read && cut.rejected == range.rejected && cut.to == range.to {
        return Ok(());
    }
    let missing = range.read.saturating_sub(cut.read);
    let what = match missing {
        0 => "other records than".to_owned(),
        missing => format!("{missing} records less than"),
    };
    Err(Failure::user(
        "refused.source_changed",
        format!(
            "epoch {epoch} cannot be replayed: `{source}` partition {partition} now gives {what} when it was committed"
        ),
    )
    .hint("retention, compaction or a recreated topic removed them; start over with `--fresh`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Position;

    /// One that stood at its later place already was refused for good: it had other records, by its position.
    #[test]
    fn i17_a_partition_that_is_replayed_from_later_on_stands_there_in_epochs_without_its_rows() {
        let part = |from: i64, to: i64, read: u64| {
            let (from, to) = (Position::offset(from), Position::offset(to));
            let cut = PartitionCut { from, to, read, rejected: Vec::new(), max_time: None, max_timestamp: None };
            let PartitionCut { from, to, read, rejected, max_time, max_timestamp } = cut.clone();
            (cut, PartitionRecord { from, to, read, rejected, max_time, max_timestamp })
        };
        // Recorded, replayed.
        let less = |recorded: (i64, i64, u64), now: (i64, i64, u64)| {
            gives_less(&part(now.0, now.1, now.2).0, &part(recorded.0, recorded.1, recorded.2).1)
        };
        assert!(less((3, 3, 0), (7, 7, 0)));
        assert!(less((3, 7, 4), (7, 7, 0)) && less((3, 9, 6), (7, 9, 2)));
        assert!(!less((9, 12, 3), (9, 12, 3)) && !less((9, 12, 0), (9, 10, 1)) && !less((9, 12, 0), (9, 11, 0)));
    }

    #[test]
    fn i17_as_many_records_from_elsewhere_are_other_records() {
        let at = |mtime: i64| Position(serde_json::json!({"path": "b.csv", "mtime": mtime, "row": 2}));
        let cut = |to: Position| PartitionCut {
            from: at(0),
            to,
            read: 2,
            rejected: Vec::new(),
            max_time: None,
            max_timestamp: None,
        };
        let PartitionCut { from, to, read, rejected, max_time, max_timestamp } = cut(at(7));
        let range = PartitionRecord { from, to, read, rejected, max_time, max_timestamp };
        assert!(same_as_recorded("s", &0.into(), 1, &cut(at(7)), &range).is_ok());
        let failure = same_as_recorded("s", &0.into(), 1, &cut(at(8)), &range).unwrap_err();
        assert_eq!(failure.code, "refused.source_changed");
    }
}
