//! `errors: {keep_then_fail: true}`: a bad record that is kept, and ends the run behind its epoch.
//!
//! The epoch's record in the journal says so ([`EpochRecord::failed`](crate::journal::EpochRecord::failed)): a process that dies
//! before anybody has heard of it leaves no pipeline that goes on behind the record in silence. Starts fail the same way until
//! the journal says that somebody was told ([`PlanRecord::told_failed`]).

use super::recovery::History;
use crate::journal::{Journal, Owned, PlanRecord, Record};
use crate::report::Failure;

/// Code of a failure by a bad record, kept or not.
pub const BAD_RECORD: &str = "record.bad";

/// The failure of a run whose first bad record, which `message` describes, is kept.
pub fn kept_bad_record(message: String) -> Failure {
    Failure::user(BAD_RECORD, message).hint("the dead letter has it: a new start goes on behind it")
}

/// Notes that somebody was told of the failure in which the last run ended: the next start goes on behind it. Does nothing
/// where there is no such failure.
///
/// # Errors
/// Somebody else runs the pipeline, or the journal cannot be written.
pub fn note_told(mut journal: Box<dyn Journal>) -> Result<(), Failure> {
    if told(&History::of(journal.read()?)).is_none() {
        return Ok(());
    }
    let mut records = journal.acquire()?;
    let mut owned = Owned::take_over(journal, &mut records)?;
    let Some(record) = told(&History::of(records)) else { return Ok(()) };
    let is_there = |known: &Record| matches!(known, Record::Plan(plan) if *plan == record);
    owned.append(&[Record::Plan(record.clone())], &[], &is_there)
}

fn told(history: &History) -> Option<PlanRecord> {
    history.untold()?;
    Some(PlanRecord { told_failed: Some(history.last()), ..history.plan.clone()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it was first written: read for ever.
    #[test]
    fn a_failure_is_known_until_it_is_noted_that_somebody_was_told() {
        let text = include_str!("../../tests/stored/journal-2.jsonl");
        let records: Vec<Record> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let written: Vec<String> = records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
        assert_eq!(written.join("\n"), text.trim_end());
        let untold = |records: &[Record]| History::of(records.to_vec()).untold();
        let failure = untold(&records[..2]).unwrap();
        assert_eq!((failure.code, &*failure.message), (BAD_RECORD, "`s` refused a record at in[0]@1: it is no JSON"));
        assert_eq!(untold(&records).map(|failure| failure.message), None);
        // It is no longer the last epoch's.
        let Record::Epoch(failed) = records[1].clone() else { unreachable!() };
        let next = Record::Epoch(failed.continuation());
        assert!(untold(&[&records[..2], &[next]].concat()).is_none());
    }
}
