//! Where a pipeline's sources stand, as its journal says; and set elsewhere while it does not run.
//!
//! What is set is journaled as a jump behind the last epoch: the next start goes on there (I17).

use std::collections::{BTreeMap, BTreeSet};

use super::open_journal;
use crate::data::{PartitionName, Position};
use crate::engine::recovery::{History, positions_behind};
use crate::journal::{Appended, Jump, PlanRecord, Record};
use crate::plan::Plan;
use crate::report::Failure;

/// Version of a plan record that is written before any plan ran.
const PLAN_VERSION: u32 = 1;

/// By source, then partition: what is read next.
pub type Positions = BTreeMap<String, BTreeMap<PartitionName, Position>>;
/// By source, then partition: what is to be read next; `None`: what its `start` says.
pub type Moves = BTreeMap<String, BTreeMap<PartitionName, Option<Position>>>;

/// Where sources stand, and what of it was set.
#[derive(Debug, Default)]
pub struct Standing {
    pub positions: Positions,
    /// Sources' partitions that were set, though it be to their beginning.
    pub set: BTreeSet<(String, PartitionName)>,
}

/// Where the sources of a plan stand. Also while the pipeline runs; nothing is locked.
///
/// # Errors
/// If the journal cannot be read.
pub fn positions(plan: &Plan) -> Result<Positions, Failure> {
    standing(plan).map(|standing| standing.positions)
}

/// The same, and what of it was set.
///
/// # Errors
/// As [`positions`].
pub fn standing(plan: &Plan) -> Result<Standing, Failure> {
    let history = History::of(open_journal(plan)?.read()?);
    let mut positions = positions_behind(&history);
    positions.retain(|source, _| plan.sources.iter().any(|known| known.name == *source));
    let Some(record) = &history.plan else { return Ok(Standing { positions, ..Standing::default() }) };
    let of = |(source, partition): (&String, &PartitionName)| (source.clone(), partition.clone());
    let jumps = record.jumps.iter().flat_map(|(source, jumps)| {
        jumps
            .iter()
            .filter(|(_, jump)| jump.is_set && !jump.to.is_start())
            .map(move |(partition, _)| (source, partition))
    });
    // Of a pipeline that never ran nothing else is known.
    let starts = record.starts.iter().filter(|_| record.fingerprint.is_empty());
    let starts = starts.flat_map(|(source, starts)| starts.keys().map(move |partition| (source, partition)));
    let set = jumps.chain(starts).map(of).collect();
    Ok(Standing { positions, set })
}

/// Has the sources of a plan go on elsewhere. It is durable when this returns.
///
/// # Errors
/// If somebody runs the pipeline, or its journal cannot be written.
pub fn set(plan: &Plan, moves: &Moves) -> Result<(), Failure> {
    let mut journal = open_journal(plan)?;
    let history = History::of(journal.acquire()?);
    let Some(record) = moved(plan, &history, moves) else { return Ok(()) };
    match journal.append(&[Record::Plan(record)], &[])? {
        Appended::Committed => Ok(()),
        Appended::Aborted(failure) | Appended::Unknown(failure) | Appended::Fenced(failure) => Err(failure),
    }
}

/// The plan record that says so; `None`: a pipeline that never ran begins at its start anyway.
fn moved(plan: &Plan, history: &History, moves: &Moves) -> Option<PlanRecord> {
    let Some(known) = &history.plan else {
        let given = moves.iter().map(|(source, moves)| {
            let given = moves.iter().filter_map(|(partition, to)| Some((partition.clone(), to.clone()?)));
            (source.clone(), given.collect::<BTreeMap<_, _>>())
        });
        let starts: Positions = given.filter(|(_, given)| !given.is_empty()).collect();
        return (!starts.is_empty()).then(|| PlanRecord {
            version: PLAN_VERSION,
            lineage: uuid::Uuid::new_v4().to_string(),
            namespace: plan.namespace.clone(),
            pipeline: plan.name.clone(),
            // None that ran: the first start writes its own.
            fingerprint: String::new(),
            from_epoch: 1,
            starts,
            sinks: BTreeMap::new(),
            resolved: serde_json::Value::Null,
            jumps: BTreeMap::new(),
            topic_ids: BTreeMap::new(),
            parts: None,
            told_failed: None,
        });
    };
    let mut record = known.clone();
    let from_epoch = history.last() + 1;
    for (source, moves) in moves {
        let jumps = record.jumps.entry(source.clone()).or_default();
        for (partition, to) in moves {
            let to = to.clone().unwrap_or_else(Position::start);
            jumps.insert(partition.clone(), Jump { from_epoch, to, is_set: true, again: 0 });
        }
    }
    Some(record)
}
