//! `/connectors/NAME/topics`: those that a connector has read or written since it was made, or since they were reset.
//!
//! It has used them once its sources stand elsewhere than then.

use std::any::Any;

use axum::http::StatusCode;
use serde_json::{Map, Value as Json, json};

use super::Call;
use super::answer::{Answer, Refusal};
use crate::connectors::kafka::KafkaSink;
use crate::data::Position;
use crate::deploy::connector::ConnectorKind;
use crate::deploy::offsets::Positions;
use crate::plan::Plan;

pub fn show(call: &Call, name: &str) -> Result<Answer, Refusal> {
    let mut answer = Map::new();
    answer.insert(name.to_owned(), json!({ "topics": used(call, name) }));
    Answer::ok(Json::Object(answer))
}

pub fn reset(call: &Call, name: &str) -> Result<Answer, Refusal> {
    let positions = call.face.supervisor.positions(name).unwrap_or_default();
    // Also for a connector that is not there.
    let _ = call.face.supervisor.reset_topics(name, positions);
    Ok(Answer::Empty(StatusCode::ACCEPTED))
}

/// None of a connector that is not there.
fn used(call: &Call, name: &str) -> Vec<String> {
    let supervisor = &call.face.supervisor;
    let Ok(described) = supervisor.connector(name) else { return Vec::new() };
    let Some(connector) = &described.kept.connector else { return Vec::new() };
    let positions = supervisor.positions(name).unwrap_or_default();
    let read = moved(&positions, &connector.topics_since);
    let mut topics: Vec<String> = match connector.kind {
        ConnectorKind::Sink => read.into_iter().flatten().collect(),
        ConnectorKind::Source if read.is_empty() => Vec::new(),
        ConnectorKind::Source => supervisor.plan_of(name).map_or(Vec::new(), |plan| written(&plan)),
    };
    topics.sort();
    topics.dedup();
    topics
}

/// Whether nothing was read of a partition: an offset, a file's byte, a generator's record.
fn is_first(position: &Position) -> bool {
    let at = &position.0;
    let counts = [at.as_i64(), at["byte"].as_i64(), at["record"].as_i64()];
    counts.into_iter().flatten().next() == Some(0)
}

/// Not those of dead letters.
fn written(plan: &Plan) -> Vec<String> {
    let sinks = plan.sinks.iter().filter(|sink| sink.input.is_some());
    let kafka = sinks.filter_map(|sink| (&*sink.sink as &dyn Any).downcast_ref::<KafkaSink>());
    // Which ones records named is nowhere kept.
    kafka.filter(|sink| sink.routes.is_none()).map(|sink| sink.topic.clone()).collect()
}

/// The topics of partitions that stand elsewhere than before.
fn moved(now: &Positions, before: &Positions) -> Vec<Option<String>> {
    let all = now.iter().flat_map(|(source, partitions)| partitions.iter().map(move |one| (source, one)));
    let moved = all.filter(|(source, (partition, position))| {
        let before = before.get(*source).and_then(|before| before.get(*partition));
        before.map_or_else(|| !is_first(position), |before| before != *position)
    });
    moved.map(|(_, (partition, _))| partition.topic.clone()).collect()
}
