//! `errors: {keep_then_fail: true}` under the same weather: no epoch follows one with a bad record before somebody was told of
//! the first of them, whoever dies when; and what is committed is what it is without.
//!
//! What is bad, and which of an epoch is the first, says the oracle, and not what the journal says of failures.

use super::oracle::decoded;
use super::*;
use crate::data::Offset;
use crate::plan::ErrorPolicy;

/// In a quarter of [`SEEDS`] runs.
const FLOORS: &[(&str, usize)] = &[
    ("told of a bad record", 400),
    ("told of it by a later start", 80),
    ("told of it again", 10),
    ("deaths behind a bad record", 40),
    ("deaths before it is noted who was told", 10),
    ("takeovers", 40),
];

#[test]
fn in_any_weather_nobody_goes_on_behind_a_bad_record_of_which_nobody_was_told() {
    let failing = || Simulation::of(&format!("{PIPELINE}  errors: {{ keep_then_fail: true }}\n"));
    over_seeds(4, FLOORS, failing, Simulation::run);
}

/// Of a record.
type Place = (Partition, Offset);

/// The first bad record of each epoch, and what was told of it. Shared by all instances of a run.
#[derive(Debug, Clone)]
pub(super) struct KeptRecords {
    ends_runs: bool,
    source: MemorySource,
    /// By the first epoch of an output; those that were appended or tried to be.
    first: Arc<Mutex<BTreeMap<Epoch, Option<Place>>>>,
    told: Arc<Mutex<BTreeMap<Epoch, String>>>,
}

impl KeptRecords {
    pub(super) fn of(stage: &Stage, source: MemorySource) -> KeptRecords {
        let ends_runs = stage.given.plan.errors == ErrorPolicy::KeepThenFail;
        KeptRecords { ends_runs, source, first: Arc::default(), told: Arc::default() }
    }

    /// An epoch is appended: what was bad in the one before was told.
    pub(super) fn look(&self, record: &EpochRecord) {
        if record.continues.is_some() || !self.ends_runs {
            return;
        }
        let records = self.source.records();
        let is_bad = |record: &MemoryRecord| decoded(record).is_none_or(|(_, _, x)| x % 7 != 0 && x >= 900);
        let bad = record.partitions["s"].iter().find_map(|(name, range)| {
            let (from, to) = (range.from.as_offset().unwrap(), range.to.as_offset().unwrap());
            let offset = (from..to).find(|offset| is_bad(&records[&name.number][*offset as usize]))?;
            Some((name.number, offset))
        });
        let mut first = self.first.lock().unwrap();
        // Whatever was tried behind it did not come to be.
        first.retain(|epoch, _| *epoch < record.epoch);
        if let Some((before, bad)) = first.last_key_value() {
            self.was_told(*before, *bad);
        }
        first.insert(record.epoch, bad);
    }

    fn was_told(&self, epoch: Epoch, bad: Option<Place>) {
        let Some((partition, offset)) = bad else { return };
        let told = self.told.lock().unwrap();
        let message = told.get(&epoch).unwrap_or_else(|| panic!("nobody was told of {bad:?} of epoch {epoch}"));
        assert!(message.contains(&format!("[{partition}]@{offset}:")), "{bad:?} of epoch {epoch}: {message}");
    }

    /// A run has ended, or a start came to nothing, with this message.
    pub(super) fn tell(&mut self, message: &str, journal: &MemoryJournal, weather: &Weather) {
        let records = journal.history();
        let is_first = |record: &Record| matches!(record, Record::Epoch(epoch) if epoch.continues.is_none());
        let at = records.iter().rposition(is_first).expect("the record was read in an epoch");
        let Record::Epoch(epoch) = &records[at] else { unreachable!() };
        let known = self.told.lock().unwrap().insert(epoch.epoch, message.to_owned());
        let instance = |record: &Record| match record {
            Record::Owner(owner) => Some(owner.instance.clone()),
            _ => None,
        };
        let (read_by, told_by) =
            (records[..at].iter().rev().find_map(instance), records.iter().rev().find_map(instance));
        weather.saw("told of a bad record", 1);
        weather.saw("told of it by a later start", usize::from(read_by != told_by));
        weather.saw("told of it again", usize::from(known.is_some()));
    }

    /// The run has ended for good.
    pub(super) fn all_were_told(&self, journal: &MemoryJournal) {
        let committed = epochs(journal);
        let first = self.first.lock().unwrap();
        first
            .iter()
            .filter(|(epoch, _)| committed.iter().any(|record| record.epoch == **epoch))
            .for_each(|(epoch, bad)| self.was_told(*epoch, *bad));
        assert!(self.ends_runs || self.told.lock().unwrap().is_empty(), "no bad record ends this one");
    }
}
