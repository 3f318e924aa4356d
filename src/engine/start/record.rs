//! What a journal keeps of a plan (I14).

use std::collections::BTreeMap;

use crate::connectors::PartitionStart;
use crate::engine::recovery::{self, History, Recovery};
use crate::engine::targets::{Targets, TopicIds};
use crate::expr::type_word;
use crate::journal::{PlanRecord, VERSION};
use crate::plan::{Plan, SourcePlan};
use crate::report::Failure;

pub(super) fn plan_record(
    plan: &Plan,
    history: &History,
    recovery: &Recovery,
    discovered: &[Vec<PartitionStart>],
) -> PlanRecord {
    let mut starts = history.plan.as_ref().map(|plan| plan.starts.clone()).unwrap_or_default();
    for (source, partitions) in plan.sources.iter().zip(discovered) {
        let known = starts.entry(source.name.clone()).or_default();
        for start in partitions {
            known.entry(source.name_of(start.partition)).or_insert_with(|| start.start.clone());
        }
        // A topic that is read no more may come back: then it goes on where it was left.
        let left = recovery.positions.get(&source.name).into_iter().flatten();
        let left = left.filter(|(name, _)| name.find(source.source.topics()).is_none());
        known.extend(left.map(|(name, position)| (name.clone(), position.clone())));
    }
    let before = history.plan.as_ref().map(|plan| plan.sinks.clone()).unwrap_or_default();
    let added = |name: &String| before.get(name).copied().unwrap_or(recovery.last + 1);
    PlanRecord {
        version: VERSION,
        lineage: recovery.lineage.clone(),
        namespace: plan.namespace.clone(),
        pipeline: plan.name.clone(),
        fingerprint: plan.fingerprint.clone(),
        from_epoch: recovery.last + 1,
        starts,
        sinks: plan.sinks.iter().map(|sink| (sink.name.clone(), added(&sink.name))).collect(),
        resolved: resolved_plan(plan),
        jumps: recovery.jumps.clone(),
        topic_ids: BTreeMap::new(),
        parts: Some(recovery.parts.clone()),
        told_failed: history.plan.as_ref().and_then(|plan| plan.told_failed),
    }
}

/// I14: what was looked up or decided when the plan was made, so that a journal can be understood without the
/// servers of its day.
fn resolved_plan(plan: &Plan) -> serde_json::Value {
    let columns = |source: &SourcePlan| {
        let column = |field: &arrow::datatypes::FieldRef| format!("{} {}", field.name(), type_word(field.as_ref()));
        (source.name.clone(), source.schema.fields().iter().map(column).collect::<Vec<_>>())
    };
    let subject = |subject: &crate::plan::outline::SubjectOutline| serde_json::json!({ "subject": subject.subject, "id": subject.id.get(), "schema": subject.schema });
    serde_json::json!({
        recovery::READS: reads(plan),
        recovery::KEPT: kept(plan),
        recovery::WRITES: writes(plan),
        "columns": plan.sources.iter().map(columns).collect::<BTreeMap<_, _>>(),
        "subjects": plan.outline.subjects.iter().map(subject).collect::<Vec<_>>(),
        "isolation": "read_committed",
        "runner": env!("CARGO_PKG_VERSION"),
    })
}

pub(super) fn reads(plan: &Plan) -> BTreeMap<String, String> {
    plan.sources.iter().map(|source| (source.name.clone(), source.source.reads())).collect()
}

pub(super) fn topics(plan: &Plan) -> BTreeMap<String, Vec<String>> {
    let of = |source: &SourcePlan| source.source.topics().iter().map(|topic| topic.to_string()).collect();
    plan.sources.iter().map(|source| (source.name.clone(), of(source))).collect()
}

pub(super) fn kept(plan: &Plan) -> BTreeMap<String, String> {
    plan.sinks.iter().filter_map(|sink| Some((sink.name.clone(), sink.sink.keeps()?))).collect()
}

pub(super) fn writes(plan: &Plan) -> BTreeMap<String, String> {
    let of = |(sink, outline): (&crate::plan::SinkPlan, &crate::plan::outline::SinkOutline)| {
        let crate::plan::outline::SinkOutline { from, format, key, .. } = outline;
        (sink.name.clone(), format!("{:?} of {from}, {format}, key {key}", sink.mode))
    };
    plan.sinks.iter().zip(&plan.outline.sinks).map(of).collect()
}

/// The ids of all topics that were ever read or written: those that are now as they are now. Sources and sinks share one
/// name space.
pub(super) fn topic_ids(plan: &Plan, history: &History, targets: &Targets) -> Result<TopicIds, Failure> {
    let mut ids = history.plan.as_ref().map(|plan| plan.topic_ids.clone()).unwrap_or_default();
    let mut put = |name: &String, found: BTreeMap<String, String>| {
        if !found.is_empty() {
            ids.entry(name.clone()).or_default().extend(found);
        }
    };
    for source in &plan.sources {
        put(&source.name, source.source.topic_ids()?);
    }
    targets.ids().iter().for_each(|(sink, found)| put(sink, found.clone()));
    Ok(ids)
}
