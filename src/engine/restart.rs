//! Restart from the sink: what it has says where the pipeline goes on. No journal of an earlier run is read.
//!
//! *By watermark*: the sink's rows stand in the order of their time, and a transaction ends only between two times. So all
//! that is not younger than the newest time there is out, and the rest is made again: the sources are read from so
//! long before that every row and window behind it is whole, and what is out is made once more and not written.
//!
//! *By offsets*: the last record of each epoch says, in a header, which epoch it is and how far the sources were read.
//!
//! In both modes every record has a header with the name of its pipeline: a sink in which somebody else has written says
//! nothing. Each start is a new lineage (I12); the journal is begun anew, and serves this run only (I11, I15).

use std::collections::{BTreeMap, BTreeSet};

use super::carry;
use super::recovery::{READS, Recovery};
use super::targets::TopicIds;
use crate::connectors::{Tail, Tails};
use crate::data::{EncodedRows, Epoch, PartitionName, Position};
use crate::journal::{EpochRecord, PlanRecord, Record};
use crate::plan::{Plan, RestartPlan};
use crate::report::Failure;
use crate::time::{Millis, Watermark};

/// Header of every record: `NAMESPACE/PIPELINE`.
const PIPELINE: &str = "runner-pipeline";
/// Header of an epoch's last record: [`Vector`], as JSON.
const OFFSETS: &str = "runner-offsets";

/// In a plan record's `resolved`: whether its positions were read off the sink.
const FROM_SINK: &str = "from_sink";

/// By source.
type Positions = BTreeMap<String, BTreeMap<PartitionName, Position>>;

/// Where a run begins, by what the sink has.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The last epoch that it has; epochs are counted on from there.
    pub epoch: Epoch,
    /// Rows of this time and before are out.
    pub floor: Option<Millis>,
    /// By source; empty: where `start` says.
    pub positions: Positions,
    /// It begins where `start` says.
    pub is_start: bool,
    /// The sink's name, and what was found there, for people.
    pub found: String,
}

impl Origin {
    /// As long as nothing is in the sink, a run begins where the one before it did: what `start` meant then may be gone, or
    /// be elsewhere.
    pub fn or_at(self, starts: Option<Positions>) -> Origin {
        match starts {
            Some(starts) if self.is_start => Origin { positions: starts, ..self },
            _ => self,
        }
    }

    /// Notes whether the positions in a plan record are those that `start` meant.
    pub fn note(&self, record: &mut PlanRecord) {
        if let Some(resolved) = record.resolved.as_object_mut() {
            resolved.insert(FROM_SINK.to_owned(), (!self.is_start).into());
        }
    }
}

/// Where the journal has them: the positions that `start` meant when it was first asked, of sources that read what they did.
///
/// # Errors
/// Whatever breaks while servers are asked.
pub fn first_starts(plan: &Plan, records: &[Record]) -> Result<Option<Positions>, Failure> {
    let newest = records.iter().rev().find_map(|record| match record {
        Record::Plan(record) => Some(record),
        _ => None,
    });
    let Some(newest) = newest.filter(|_| plan.restart != RestartPlan::Journal) else { return Ok(None) };
    let Some(mut starts) = noted_starts(newest, &plan.namespace, &plan.name) else { return Ok(None) };
    let mut same = BTreeSet::new();
    for source in &plan.sources {
        let ids = newest.topic_ids.get(&source.name);
        let is_another =
            |(topic, id): (&String, &String)| ids.and_then(|ids| ids.get(topic)).is_some_and(|was| was != id);
        let reads = newest.resolved.get(READS).and_then(|reads| reads.get(&source.name)?.as_str());
        if reads == Some(&source.source.reads()) && !source.source.topic_ids()?.iter().any(is_another) {
            same.insert(&source.name);
        }
    }
    starts.retain(|source, _| same.contains(source));
    Ok(Some(starts))
}

fn noted_starts(record: &PlanRecord, namespace: &str, name: &str) -> Option<Positions> {
    let is_ours = (record.namespace.as_str(), record.pipeline.as_str()) == (namespace, name);
    // Not noted by a run that went by its journal: its first positions are such too.
    let from_sink = record.resolved.get(FROM_SINK).is_some_and(|from_sink| *from_sink != false);
    (is_ours && !from_sink).then(|| record.starts.clone())
}

/// How far the sources were read when an epoch ended.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
struct Vector {
    epoch: Epoch,
    positions: Positions,
    /// What the sources' topics were beyond their names. Of no use to versions before this field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    topic_ids: TopicIds,
}

/// Reads off the sink where to go on; `None`: the journal says so. What dead instances left open must have been aborted before.
///
/// # Errors
/// Refusals, if the sink does not say it, and what breaks while it is read.
pub fn origin(plan: &Plan, fresh: bool) -> Result<Option<Origin>, Failure> {
    let Some(sink) = plan.restart.sink().map(|sink| &plan.sinks[sink]) else { return Ok(None) };
    let Tails { records: tails, emptied } = sink.sink.tails()?;
    if tails.is_empty() && !emptied.is_empty() && !fresh {
        return Err(trimmed(&sink.name, emptied[0]));
    }
    if !tails.is_empty() && !emptied.is_empty() {
        let partitions: Vec<String> = emptied.iter().map(|partition| partition.to_string()).collect();
        let partitions = partitions.join(", ");
        tracing::warn!(
            "`{}`: where to go on is read from the other partitions: {partitions} had records and have none",
            sink.name
        );
    }
    if let Some(foreign) = tails.iter().find(|tail| header(tail, PIPELINE) != Some(name_of(plan).as_bytes())) {
        return Err(foreign_record(&sink.name, foreign));
    }
    let origin = match plan.restart {
        RestartPlan::Journal => return Ok(None),
        RestartPlan::Watermark { seek_ms, .. } => by_watermark(plan, &sink.name, &tails, seek_ms, fresh)?,
        RestartPlan::Offsets { .. } => {
            let (origin, ids) = by_offsets(&sink.name, &tails, fresh)?;
            if !fresh {
                refuse_replaced(plan, &ids)?;
            }
            origin
        }
    };
    Ok(Some(origin))
}

/// Of an empty sink.
fn begins(sink: &str) -> Origin {
    Origin { epoch: 0, floor: None, positions: BTreeMap::new(), is_start: true, found: format!("`{sink}` is empty") }
}

fn by_watermark(plan: &Plan, sink: &str, tails: &[Tail], seek_ms: Millis, fresh: bool) -> Result<Origin, Failure> {
    let Some(newest) = newest_time(sink, tails, fresh)? else {
        return Ok(begins(sink));
    };
    let mut positions = BTreeMap::new();
    for source in &plan.sources {
        let found = source.source.at_time(newest.saturating_sub(seek_ms))?;
        positions.insert(source.name.clone(), source.to_names(found));
    }
    let found = format!("`{sink}` has times up to {newest}");
    Ok(Origin { epoch: 0, floor: Some(newest), positions, is_start: false, found })
}

/// The newest time over the sink's partitions; `None`: nothing is there.
fn newest_time(sink: &str, tails: &[Tail], fresh: bool) -> Result<Option<Millis>, Failure> {
    if let Some(tail) = tails.iter().find(|tail| tail.append_time) {
        let place = format!("offset {} of partition {}", tail.offset, tail.partition);
        let title =
            format!("`{sink}` does not say which event times it has: {place} has the broker's time (LogAppendTime)");
        return Err(Failure::user("refused.append_time", title)
            .hint("set `message.timestamp.type=CreateTime` on the topic, and begin with an empty one"));
    }
    let newest = tails.iter().filter_map(|tail| tail.timestamp).max();
    if let Some(newest) = newest.filter(|_| fresh) {
        let title = format!("`--fresh` would write again what `{sink}` has: times up to {newest} are there");
        return Err(Failure::user("refused.sink_not_empty", title).hint(
            "`restart: watermark` goes on behind the sink's newest time: empty its topic, or start without `--fresh`",
        ));
    }
    Ok(newest)
}

/// With the ids of the topics in which its positions are.
fn by_offsets(sink: &str, tails: &[Tail], fresh: bool) -> Result<(Origin, TopicIds), Failure> {
    if tails.is_empty() {
        return Ok((begins(sink), TopicIds::new()));
    }
    let vectors = tails.iter().filter_map(|tail| Some((tail, header(tail, OFFSETS)?)));
    let vectors = vectors.map(|(tail, text)| {
        serde_json::from_slice::<Vector>(text).map_err(|error| {
            let place = format!("offset {} of partition {}", tail.offset, tail.partition);
            Failure::user("refused.sink_headers", format!("`{sink}`: header `{OFFSETS}` at {place} cannot be read"))
                .because(error)
                .hint("it was written by something else, or by a newer version of `runner`")
        })
    });
    let vectors = vectors.collect::<Result<Vec<Vector>, Failure>>()?;
    // Of an epoch that is whole the last record is the last of its partition.
    let Some(newest) = vectors.into_iter().max_by_key(|vector| vector.epoch) else {
        let title = format!(
            "no newest record of `{sink}` has the header `{OFFSETS}`, which says how far the sources were read"
        );
        return Err(Failure::user("refused.sink_headers", title)
            .hint("its records were written without `restart: offsets`, or removed: use the `restart` they were written with, or a new topic"));
    };
    let found = format!("`{sink}` has epoch {}", newest.epoch);
    let positions = if fresh { BTreeMap::new() } else { newest.positions };
    Ok((Origin { epoch: newest.epoch, floor: None, positions, is_start: fresh, found }, newest.topic_ids))
}

/// I17: positions in another topic of the same name mean nothing.
fn refuse_replaced(plan: &Plan, ids: &TopicIds) -> Result<(), Failure> {
    for source in plan.sources.iter().filter(|source| ids.contains_key(&source.name)) {
        for (topic, now) in source.source.topic_ids()? {
            if let Some(before) = ids[&source.name].get(&topic).filter(|before| **before != now) {
                let title = format!(
                    "topic `{topic}`, which `{}` reads, was deleted and made again: its id was `{before}` when the sink was written, and is `{now}`",
                    source.name
                );
                return Err(Failure::user("refused.source_changed", title).hint(
                    "begin anew with `--fresh`, which reads the new topic from `start` and writes behind what is there",
                ));
            }
        }
    }
    Ok(())
}

/// Nothing is there, but something was: that is no first run.
fn trimmed(sink: &str, emptied: i32) -> Failure {
    let title =
        format!("`{sink}` had records and has none any more (partition {emptied} for one): nothing says what is out");
    Failure::user("refused.sink_trimmed", title).hint(
        "keep what is written there (`retention.ms=-1`). To go on: give `start` the moment from which output is missing and begin anew with `--fresh`, which reads from there; \
         or make the topic anew, and all is written again",
    )
}

fn foreign_record(sink: &str, tail: &Tail) -> Failure {
    let place = format!("offset {} of partition {}", tail.offset, tail.partition);
    let title = match header(tail, PIPELINE) {
        Some(other) => format!("{place} of `{sink}` was written by pipeline `{}`", String::from_utf8_lossy(other)),
        None => format!("{place} of `{sink}` was not written by this pipeline: it has no header `{PIPELINE}`"),
    };
    Failure::user("refused.foreign_record", title).hint(
        "where to go on is read from the newest records, so nobody else may write there: use a topic of its own, or `restart: journal`",
    )
}

/// The last one counts: a record may have been passed on with those of another pipeline.
fn header<'a>(tail: &'a Tail, name: &str) -> Option<&'a [u8]> {
    tail.headers.iter().rev().find(|(found, _)| found == name)?.1.as_deref()
}

fn name_of(plan: &Plan) -> String {
    format!("{}/{}", plan.namespace, plan.name)
}

/// Puts into an epoch's rows what a restart will read there.
///
/// # Errors
/// A bug: a position that is no JSON.
pub fn mark(
    plan: &Plan,
    ids: &TopicIds,
    record: &EpochRecord,
    rows: &mut BTreeMap<usize, Vec<EncodedRows>>,
) -> Result<(), Failure> {
    let Some(runs) = plan.restart.sink().and_then(|sink| rows.get_mut(&sink)) else { return Ok(()) };
    let names = [PIPELINE, OFFSETS];
    for run in runs.iter_mut() {
        let all = 0..run.len();
        run.mark(&names, &[(PIPELINE, name_of(plan).as_bytes())], all);
    }
    if matches!(plan.restart, RestartPlan::Offsets { .. })
        && let Some(last) = runs.iter_mut().rfind(|run| !run.is_empty())
    {
        let ends = |ranges: &BTreeMap<PartitionName, crate::journal::PartitionRecord>| {
            ranges.iter().map(|(name, range)| (name.clone(), range.to.clone())).collect()
        };
        let positions = record.partitions.iter().map(|(source, ranges)| (source.clone(), ends(ranges))).collect();
        let read = |(name, _): &(&String, &BTreeMap<String, String>)| record.partitions.contains_key(*name);
        let topic_ids = ids.iter().filter(read).map(|(name, ids)| (name.clone(), ids.clone())).collect();
        let vector = serde_json::to_vec(&Vector { epoch: record.epoch, positions, topic_ids })
            .map_err(|error| Failure::bug("restart.vector", "positions cannot be written").because(error))?;
        let newest = last.len() - 1;
        last.mark(&[OFFSETS], &[(OFFSETS, &vector)], newest..newest + 1);
    }
    Ok(())
}

/// The run that begins there: of a new lineage, without anything to replay.
pub fn recovery(plan: &Plan, origin: &Origin, lineage: String) -> Recovery {
    Recovery {
        lineage,
        first_run: true,
        begins: false,
        last: origin.epoch,
        snapshot: None,
        replay_from: origin.epoch + 1,
        sinks: vec![origin.epoch; plan.sinks.len()],
        watermark: Watermark::NONE,
        clock: Millis::MIN,
        last_windows: BTreeMap::new(),
        positions: origin.positions.clone(),
        ends: origin.positions.clone(),
        end_times: BTreeMap::new(),
        jumps: BTreeMap::new(),
        times: BTreeMap::new(),
        parts: carry::anew(&plan.parts, origin.epoch + 1),
        changed: BTreeMap::new(),
        plan_changed: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(partition: i32, timestamp: Millis, headers: &[(&str, &str)]) -> Tail {
        let header = |(name, value): &(&str, &str)| ((*name).to_owned(), Some(value.as_bytes().to_vec()));
        let headers = headers.iter().map(header).collect();
        Tail { partition, offset: 7, timestamp: Some(timestamp), append_time: false, headers }
    }

    #[test]
    fn the_highest_epoch_over_the_partitions_wins() {
        let vector = |epoch: Epoch, to: i64| {
            format!("{{\"epoch\":{epoch},\"positions\":{{\"rows\":{{\"t/0\":{to},\"t/1\":3}}}}}}")
        };
        let (old, new) = (vector(9, 70), vector(10, 80));
        let tails = [tail(0, 5, &[(OFFSETS, &new)]), tail(1, 9, &[]), tail(2, 1, &[(OFFSETS, &old)])];
        let origin = by_offsets("out", &tails, false).unwrap().0;
        let name: PartitionName = "t/0".parse().unwrap();
        assert_eq!((origin.epoch, &origin.positions["rows"][&name]), (10, &Position::offset(80)));
        // `--fresh` reads from `start` again, and counts on all the same.
        let fresh = by_offsets("out", &tails, true).unwrap().0;
        assert_eq!((fresh.epoch, fresh.positions.len()), (10, 0));
    }

    #[test]
    fn a_sink_that_does_not_say_it_is_refused_and_an_empty_one_begins() {
        assert_eq!(by_offsets("out", &[], false).unwrap().0.epoch, 0);
        assert_eq!(by_offsets("out", &[tail(0, 5, &[])], false).unwrap_err().code, "refused.sink_headers");
        let torn = [tail(0, 5, &[(OFFSETS, "{\"epoch\":")])];
        assert_eq!(by_offsets("out", &torn, false).unwrap_err().code, "refused.sink_headers");
        let other = foreign_record("out", &tail(0, 5, &[(PIPELINE, "default/other")]));
        assert!(other.to_string().contains("pipeline `default/other`"), "{other}");
    }

    #[test]
    fn the_newest_time_over_the_partitions_counts_and_the_brokers_time_is_none() {
        let tails = [tail(0, 5, &[]), tail(1, 9, &[]), tail(2, 9, &[]), tail(3, 1, &[])];
        assert_eq!(newest_time("out", &tails, false).unwrap(), Some(9));
        assert_eq!(newest_time("out", &tails, true).unwrap_err().code, "refused.sink_not_empty");
        assert_eq!((newest_time("out", &[], false).unwrap(), newest_time("out", &[], true).unwrap()), (None, None));
        // The topic's setting may have been another one when its older records were written.
        let mut mixed = tails;
        mixed[3].append_time = true;
        for fresh in [false, true] {
            let refused = newest_time("out", &mixed, fresh).unwrap_err();
            assert_eq!(refused.code, "refused.append_time");
            assert!(refused.message.contains("offset 7 of partition 3"), "{refused}");
        }
    }

    #[test]
    fn while_the_sink_is_empty_a_run_begins_where_the_first_one_did() {
        let name: PartitionName = "t/0".parse().unwrap();
        let at = |offset: i64| {
            Positions::from([("rows".to_owned(), BTreeMap::from([(name.clone(), Position::offset(offset))]))])
        };
        let noted = |origin: &Origin| {
            let mut record = PlanRecord {
                version: 1,
                lineage: "l".into(),
                namespace: "default".into(),
                pipeline: "p".into(),
                fingerprint: String::new(),
                from_epoch: 1,
                starts: at(7),
                sinks: BTreeMap::new(),
                resolved: serde_json::json!({}),
                jumps: BTreeMap::new(),
                topic_ids: BTreeMap::new(),
                parts: None,
                told_failed: None,
            };
            origin.note(&mut record);
            assert_eq!(noted_starts(&record, "default", "other"), None);
            noted_starts(&record, "default", "p")
        };
        let empty = by_offsets("out", &[], false).unwrap().0;
        assert_eq!(noted(&empty), Some(at(7)));
        assert_eq!(empty.clone().or_at(noted(&empty)).positions, at(7));
        // What was read off a sink is where a run went on, not where the pipeline begins.
        let vector = "{\"epoch\":9,\"positions\":{\"rows\":{\"t/0\":70}}}";
        let full = by_offsets("out", &[tail(0, 5, &[(OFFSETS, vector)])], false).unwrap().0;
        assert_eq!(noted(&full), None);
        assert_eq!(full.or_at(Some(at(7))).positions, at(70));
    }
}
