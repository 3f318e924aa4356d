//! I16: the progress that a source shows to the world, a consumer group's offsets, and who wrote it.
//!
//! The journal is the truth; what a group says is for lag tools. But who moves the group of a pipeline expects
//! it to follow: it does not, so a start that finds the group moved says so and does nothing.

use std::collections::BTreeMap;

use super::recovery::{History, Recovery};
use crate::connectors::Reported;
use crate::data::{Epoch, Partition, Position, partition};
use crate::plan::{Plan, SourcePlan};
use crate::report::Failure;

/// What our own reports begin with.
const OURS: &str = "runner ";
/// A report of ours that says nothing any more.
const FORGOTTEN: &str = "runner reset";

/// What is written beside a position.
pub(super) fn metadata(plan: &Plan, lineage: &str, epoch: Epoch) -> String {
    format!("{OURS}{lineage} {epoch} {}", name_of(plan))
}

fn name_of(plan: &Plan) -> String {
    format!("{}/{}", plan.namespace, plan.name)
}

/// I12: refuses to begin with an empty journal where an earlier run of this pipeline has said how far it was: somebody deleted the
/// journal, and what was written would be written again. A report may have expired: then nothing says so.
///
/// # Errors
/// `refused.lineage`, or a failure that may pass.
pub(super) fn refuse_lost(plan: &Plan) -> Result<(), Failure> {
    for source in &plan.sources {
        let reported = ask(source)?;
        if let Some((partition, found)) = reported.iter().find(|(_, found)| is_of(plan, &found.metadata)) {
            let (number, at) = (partition::number(*partition), shown(&found.position));
            let title = format!(
                "the journal is empty, but {} says that this pipeline has read partition {number} of `{}` up to {at}",
                found.place, source.name
            );
            return Err(Failure::user("refused.lineage", title).hint(
                "bring the journal back; or start over with `--fresh`, which reads from `start` again and writes behind what is there. \
                 If that was said by another pipeline of the same name, give this one another name, namespace or `group`",
            ));
        }
    }
    Ok(())
}

/// Whether a pipeline of this name reported it, and has not been reset since.
fn is_of(plan: &Plan, metadata: &str) -> bool {
    metadata.starts_with(OURS) && metadata.split(' ').nth(3) == Some(&name_of(plan))
}

/// Takes back what a pipeline has reported: `runner reset`. What cannot be taken back is only warned of.
pub fn forget(plan: &Plan) {
    for source in &plan.sources {
        let forgotten = source.source.reported().and_then(|reported| {
            let ours = reported.into_iter().filter(|(_, found)| is_of(plan, &found.metadata));
            let positions: BTreeMap<Partition, Position> =
                ours.map(|(partition, found)| (partition, found.position)).collect();
            if positions.is_empty() { Ok(()) } else { source.source.report_progress(&positions, FORGOTTEN) }
        });
        if let Err(failure) = forgotten {
            tracing::warn!(source = source.name, "{failure}");
        }
    }
}

fn ask(source: &SourcePlan) -> Result<BTreeMap<Partition, Reported>, Failure> {
    match source.source.reported() {
        Err(failure) if failure.retry => Err(failure),
        Err(failure) => {
            tracing::warn!(source = source.name, "{failure}");
            Ok(BTreeMap::new())
        }
        reported => reported,
    }
}

fn shown(position: &Position) -> String {
    position.as_offset().map_or_else(|| position.0.to_string(), |at| at.to_string())
}

/// Refuses to start where somebody else wrote the progress of a pipeline that ran before.
///
/// # Errors
/// `refused.group_moved`, or a failure that may pass. A source that cannot be asked for another reason is only warned of.
pub(super) fn refuse_moved(plan: &Plan, history: &History, recovery: &Recovery) -> Result<(), Failure> {
    if recovery.first_run {
        return Ok(());
    }
    let last = history.epochs.values().next_back();
    for source in &plan.sources {
        let reported = ask(source)?;
        let began = history.plan.as_ref().and_then(|plan| plan.starts.get(&source.name));
        let reached = last.and_then(|epoch| epoch.partitions.get(&source.name));
        let known = |partition: Partition| {
            let name = source.name_of(partition);
            let began = began.and_then(|starts| starts.get(&name));
            (began, reached.and_then(|ranges| ranges.get(&name)).map(|range| &range.to))
        };
        if let Some((partition, found)) = first_moved(&reported, known) {
            let ours = known(partition).1.or(known(partition).0);
            return Err(moved(&source.name, partition, found, ours));
        }
    }
    Ok(())
}

/// Where a foreign position stands that is neither where this pipeline began nor where it is: before its first
/// report it may have begun at the position of the very group.
fn first_moved<'a, 'k>(
    reported: &'a BTreeMap<Partition, Reported>,
    known: impl Fn(Partition) -> (Option<&'k Position>, Option<&'k Position>),
) -> Option<(Partition, &'a Reported)> {
    let moved = |(partition, found): &(&Partition, &Reported)| {
        let (began, reached) = known(**partition);
        !found.metadata.starts_with(OURS) && ![began, reached].contains(&Some(&found.position))
    };
    reported.iter().find(moved).map(|(partition, found)| (*partition, found))
}

fn moved(source: &str, partition: Partition, found: &Reported, ours: Option<&Position>) -> Failure {
    let (theirs, place, partition) = (shown(&found.position), &found.place, partition::number(partition));
    let ours = ours.map_or_else(|| "its start".to_owned(), shown);
    Failure::user(
        "refused.group_moved",
        format!(
            "somebody moved {place}: partition {partition} stands at {theirs}, while `{source}` was read up to {ours}"
        ),
    )
    .hint(format!(
        "the journal decides, not the group. To go on at {ours}, delete the group; \
         to begin anew, apply with `--fresh`, which begins where `start` says: `start: {{group: NAME}}` is where the group stands"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(offset: i64, metadata: &str) -> BTreeMap<Partition, Reported> {
        let position = Position::offset(offset);
        BTreeMap::from([(0, Reported { position, metadata: metadata.into(), place: "group `g`".into() })])
    }

    fn is_moved(reported: &BTreeMap<Partition, Reported>) -> bool {
        let (began, reached) = (Position::offset(10), Position::offset(20));
        first_moved(reported, |_| (Some(&began), Some(&reached))).is_some()
    }

    #[test]
    fn only_a_foreign_position_that_is_new_to_us_was_moved() {
        assert!(is_moved(&found(5, "")));
        assert!(is_moved(&found(25, "some tool")));
        assert!(!is_moved(&found(5, "runner lineage 3 default/p")), "an old report of ours");
        assert!(!is_moved(&found(10, "")), "where it began, before its first report");
        assert!(!is_moved(&found(20, "")), "where it is anyway");
        assert!(!is_moved(&BTreeMap::new()), "expired");
    }
}
