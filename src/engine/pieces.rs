//! An epoch's output, cut up into pieces that one commit each carries (I10).
//!
//! Each sink has a sequence of records in an epoch (I2). [`Waiting`] holds what of these sequences was made and is
//! not given yet, and counts what was given: that count is the cursor in the journal's record. It does not depend on
//! how the output was cut up, so a replay finds its place again whatever the limit was, and whatever it is now.

use std::collections::{BTreeMap, VecDeque};

use crate::data::{EncodedRows, Epoch};
use crate::journal::{EpochRecord, LastWindow};
use crate::plan::Plan;
use crate::report::Failure;
use crate::time::Millis;

/// Per sink, how many records of an epoch's output have been given.
pub type Cursor = BTreeMap<usize, u64>;

/// Records in order, by sink.
pub type SinkRuns = BTreeMap<usize, Vec<EncodedRows>>;

/// What one commit carries of an epoch's output.
#[derive(Debug)]
pub struct Piece {
    pub rows: SinkRuns,
    /// More follows; this is where.
    pub cursor: Option<Cursor>,
    /// The oldest epoch that a replay must read; `None`: nothing of what is committed with it.
    pub needed: Option<Epoch>,
    /// By step that fills gaps: the last window that it has given a row (I13).
    pub last_windows: BTreeMap<String, LastWindow>,
    /// End plus grace of each open window, ascending. Of the last piece only.
    pub open_ends: Vec<Millis>,
    /// The clock at which a step wants an epoch, rows or not. Of the last piece only.
    pub due: Option<Millis>,
    /// Why the run is to end once this is committed. Of the last piece only.
    pub failing: Option<Failure>,
}

/// Records that were made and not given yet.
#[derive(Debug, Default)]
pub struct Waiting {
    runs: VecDeque<Run>,
    given: Cursor,
}

#[derive(Debug)]
struct Run {
    sink: usize,
    rows: EncodedRows,
    /// How many of its records were given.
    given: usize,
}

impl Waiting {
    /// Adds to the end of a sink's sequence.
    pub fn push(&mut self, sink: usize, rows: EncodedRows) {
        if !rows.is_empty() {
            self.runs.push_back(Run { sink, rows, given: 0 });
        }
    }

    /// How far the output has been given.
    pub fn cursor(&self) -> &Cursor {
        &self.given
    }

    /// Moves records over until the next one would bring `filling` above `bytes_max`. A record that is larger than
    /// that by itself goes alone. True if some are left.
    ///
    /// `whole_times`: a sink whose sequence is only cut between two times, whatever the limit; those of others are not cut then.
    pub fn fill(&mut self, filling: &mut Filling, bytes_max: usize, whole_times: Option<usize>) -> bool {
        while let Some(run) = self.runs.front_mut() {
            let room = bytes_max.saturating_sub(filling.bytes);
            let mut count = run.fitting(room, filling.bytes == 0);
            if whole_times == Some(run.sink) {
                count += run.of_time(count, filling.last_time);
                filling.last_time = run.time_before(count).or(filling.last_time);
            } else if whole_times.is_some() {
                count = run.rows.len() - run.given;
            }
            if count == 0 {
                return true;
            }
            *self.given.entry(run.sink).or_default() += count as u64;
            let (sink, rows, is_empty) = (run.sink, run.take(count), run.is_empty());
            filling.bytes += rows.size();
            filling.rows.entry(sink).or_default().push(rows);
            if is_empty {
                self.runs.pop_front();
            }
        }
        false
    }

    /// Moves over what stands before `to`. The sinks that do not have enough yet are left in `to`, with how much
    /// they lack.
    pub fn take_to(&mut self, to: &Cursor, rows: &mut SinkRuns) -> Cursor {
        for run in &mut self.runs {
            let given = self.given.entry(run.sink).or_default();
            let wanted = to.get(&run.sink).copied().unwrap_or(0).saturating_sub(*given);
            let count = (run.rows.len() - run.given).min(usize::try_from(wanted).unwrap_or(usize::MAX));
            if count > 0 {
                *given += count as u64;
                rows.entry(run.sink).or_default().push(run.take(count));
            }
        }
        self.runs.retain(|run| !run.is_empty());
        let lacks = |(sink, to): (&usize, &u64)| {
            let given = self.given.get(sink).copied().unwrap_or(0);
            (given < *to).then(|| (*sink, to - given))
        };
        to.iter().filter_map(lacks).collect()
    }

    /// Moves over everything.
    pub fn take_all(&mut self, rows: &mut SinkRuns) {
        for mut run in self.runs.drain(..) {
            let left = run.rows.len() - run.given;
            *self.given.entry(run.sink).or_default() += left as u64;
            rows.entry(run.sink).or_default().push(run.take(left));
        }
    }
}

impl Run {
    fn is_empty(&self) -> bool {
        self.given == self.rows.len()
    }

    /// How many of its records fit into `room`; `at_least_one`: even if the first is larger.
    fn fitting(&self, room: usize, at_least_one: bool) -> usize {
        let left = self.rows.len() - self.given;
        if self.given == 0 && self.rows.size() <= room {
            return left;
        }
        let mut bytes = 0;
        let fits = |index: &usize| {
            bytes += self.rows.record_size(*index);
            bytes <= room
        };
        let count = (self.given..self.rows.len()).take_while(fits).count();
        count.max(usize::from(at_least_one)).min(left)
    }

    /// How many records behind its next `count` ones have the time of the one before them, which may be of a run before.
    fn of_time(&self, count: usize, last_time: Option<Millis>) -> usize {
        let next = self.given + count;
        let last = self.time_before(count).or(last_time);
        self.rows.records[next..].iter().take_while(|record| last.is_some() && record.timestamp == last).count()
    }

    /// The time of the last of its next `count` records.
    fn time_before(&self, count: usize) -> Option<Millis> {
        self.rows.records[self.given..self.given + count].last().and_then(|record| record.timestamp)
    }

    /// Its next records; whole runs are not copied.
    fn take(&mut self, count: usize) -> EncodedRows {
        let from = self.given;
        self.given += count;
        if count < self.rows.len() {
            return self.rows.slice(from..from + count);
        }
        self.given = 0;
        std::mem::take(&mut self.rows)
    }
}

/// A piece that is being filled.
#[derive(Debug, Default)]
pub struct Filling {
    pub rows: SinkRuns,
    bytes: usize,
    /// Of the last record, of a sink that is only cut between two times.
    last_time: Option<Millis>,
}

/// The journal's records of one epoch's output: the epoch's own, then its continuations.
#[derive(Debug)]
pub struct Chain {
    next: EpochRecord,
}

impl Chain {
    /// `record` is the epoch's own; cursor and *needed* come with the pieces.
    pub fn begin(record: EpochRecord) -> Chain {
        Chain { next: record }
    }

    /// Goes on behind a record that says that more follows, which an earlier incarnation may have written.
    pub fn behind(record: &EpochRecord, incarnation: u64) -> Chain {
        Chain { next: EpochRecord { incarnation, ..record.continuation() } }
    }

    /// The record that commits with the next piece.
    pub fn record(&mut self, plan: &Plan, piece: &Piece) -> EpochRecord {
        let mut record = self.next.clone();
        record.needed = piece.needed.unwrap_or(record.epoch + 1);
        record.last_windows = piece.last_windows.clone();
        let named = |(sink, count): (&usize, &u64)| (plan.sinks[*sink].name.clone(), *count);
        record.cursor = piece.cursor.as_ref().map(|cursor| cursor.iter().map(named).collect());
        self.next = record.continuation();
        record.failed = piece.failing.as_ref().map(|failure| failure.message.clone());
        record
    }
}

/// A record's cursor by the plan's sinks; those that the plan has no more are left out.
pub fn cursor_of(plan: &Plan, record: &EpochRecord) -> Option<Cursor> {
    let index = |(name, count): (&String, &u64)| Some((plan.sinks.iter().position(|sink| sink.name == *name)?, *count));
    Some(record.cursor.as_ref()?.iter().filter_map(index).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::EncodedRecord;

    /// Values of these lengths, numbered.
    fn rows(lengths: &[usize]) -> EncodedRows {
        let mut rows = EncodedRows::default();
        for (number, length) in lengths.iter().enumerate() {
            let value = Some(rows.put(&vec![number as u8; *length]));
            rows.records.push(EncodedRecord { key: None, value, timestamp: None, headers: 0..0 });
        }
        rows
    }

    /// Per sink, lengths and first bytes of the values.
    fn shown(rows: &SinkRuns) -> BTreeMap<usize, Vec<(usize, u8)>> {
        let value = |run: &EncodedRows, record: &EncodedRecord| {
            let bytes = run.bytes(record.value.as_ref().unwrap());
            (bytes.len(), bytes.first().copied().unwrap_or(0))
        };
        let of = |runs: &Vec<EncodedRows>| {
            runs.iter()
                .flat_map(|run| run.records.iter().map(|record| value(run, record)).collect::<Vec<_>>())
                .collect()
        };
        rows.iter().map(|(sink, runs)| (*sink, of(runs))).collect()
    }

    fn waiting() -> Waiting {
        let mut waiting = Waiting::default();
        waiting.push(0, rows(&[84, 84, 84]));
        waiting.push(2, rows(&[34]));
        waiting.push(0, rows(&[900, 4]));
        waiting.push(1, EncodedRows::default());
        waiting
    }

    /// Each record takes 16 bytes beside its own.
    #[test]
    fn i10_a_piece_is_full_before_the_limit_and_a_larger_record_goes_alone() {
        let mut waiting = waiting();
        let mut pieces = Vec::new();
        let mut more = true;
        while more {
            let mut filling = Filling::default();
            more = waiting.fill(&mut filling, 250, None);
            assert!(!filling.rows.is_empty(), "an empty piece");
            pieces.push((shown(&filling.rows), waiting.cursor().clone()));
        }
        let expected = [
            (BTreeMap::from([(0, vec![(84, 0), (84, 1)])]), BTreeMap::from([(0, 2)])),
            (BTreeMap::from([(0, vec![(84, 2)]), (2, vec![(34, 0)])]), BTreeMap::from([(0, 3), (2, 1)])),
            (BTreeMap::from([(0, vec![(900, 0)])]), BTreeMap::from([(0, 4), (2, 1)])),
            (BTreeMap::from([(0, vec![(4, 1)])]), BTreeMap::from([(0, 5), (2, 1)])),
        ];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn i10_a_cursor_finds_its_place_however_the_output_was_made() {
        let whole = {
            let mut rows = SinkRuns::new();
            waiting().take_all(&mut rows);
            shown(&rows)
        };
        for first in 0..=5u64 {
            for other in 0..=1u64 {
                let (mut waiting, to) = (waiting(), Cursor::from([(0, first), (2, other)]));
                let (mut before, mut behind) = (SinkRuns::new(), SinkRuns::new());
                assert_eq!(waiting.take_to(&to, &mut before), Cursor::new());
                waiting.take_all(&mut behind);
                let before = shown(&before);
                assert_eq!(before.get(&0).map_or(0, Vec::len) as u64, first);
                let mut both = before;
                for (sink, rows) in shown(&behind) {
                    both.entry(sink).or_default().extend(rows);
                }
                assert_eq!(both, whole, "{first} and {other}");
            }
        }
    }

    #[test]
    fn i10_what_is_not_made_yet_is_told() {
        let mut waiting = waiting();
        let to = Cursor::from([(0, 7), (2, 1), (3, 1)]);
        assert_eq!(waiting.take_to(&to, &mut SinkRuns::new()), Cursor::from([(0, 2), (3, 1)]));
        waiting.push(0, rows(&[1, 2, 3]));
        waiting.push(3, rows(&[1]));
        let mut rows = SinkRuns::new();
        assert_eq!(waiting.take_to(&to, &mut rows), Cursor::new());
        assert_eq!(shown(&rows), BTreeMap::from([(0, vec![(1, 0), (2, 1)]), (3, vec![(1, 0)])]));
        assert!(!waiting.fill(&mut Filling::default(), 1_000, None), "one is left, and fits");
    }

    /// A restart by time finds the newest one whole.
    #[test]
    fn i10_a_sink_that_is_read_by_time_is_cut_between_two_times_only() {
        let run = |times: &[Millis]| {
            let mut run = rows(&vec![84; times.len()]);
            run.records.iter_mut().zip(times).for_each(|(record, time)| record.timestamp = Some(*time));
            run
        };
        let mut waiting = Waiting::default();
        waiting.push(0, run(&[1, 2, 2, 2]));
        waiting.push(1, run(&[9, 9, 9]));
        waiting.push(0, run(&[2, 2]));
        waiting.push(0, run(&[3, 4, 5]));
        let mut pieces = Vec::new();
        let mut more = true;
        while more {
            let mut filling = Filling::default();
            more = waiting.fill(&mut filling, 250, Some(0));
            let times =
                |run: &EncodedRows| run.records.iter().filter_map(|record| record.timestamp).collect::<Vec<_>>();
            pieces.push(filling.rows[&0].iter().flat_map(times).collect::<Vec<_>>());
        }
        assert_eq!(pieces, [vec![1, 2, 2, 2, 2, 2], vec![3, 4], vec![5]]);
    }
}
