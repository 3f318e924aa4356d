//! Topics that a connector has used since it was made, or since they were forgotten.
//!
//! Those of a source are noted with it when the first record of each was delivered. Those of a sink are the ones in which it
//! stands elsewhere than then; they are noted before it is set to stand elsewhere.

use std::any::Any;
use std::collections::BTreeSet;

use super::connector::{Connector, ConnectorKind};
use super::offsets::Positions;
use crate::connectors::kafka::KafkaSink;
use crate::data::Position;
use crate::engine::metrics::WrittenTopic;
use crate::plan::Plan;

/// Those of a connector whose sources stand there.
pub fn used(connector: &Connector, now: &Positions) -> BTreeSet<String> {
    let mut topics = connector.topics.clone();
    if connector.kind == ConnectorKind::Sink {
        topics.extend(moved(now, &connector.topics_since));
    }
    topics
}

/// Whether nothing was read of a partition.
fn is_first(position: &Position) -> bool {
    position.0.as_i64() == Some(0)
}

/// The topics of partitions that stand elsewhere than before.
fn moved(now: &Positions, before: &Positions) -> BTreeSet<String> {
    let all = now.iter().flat_map(|(source, partitions)| partitions.iter().map(move |one| (source, one)));
    let moved = all.filter(|(source, (partition, position))| {
        let before = before.get(*source).and_then(|before| before.get(*partition));
        before.map_or_else(|| !is_first(position), |before| before != *position)
    });
    moved.filter_map(|(_, (partition, _))| partition.topic.clone()).collect()
}

/// The topics of Kafka sinks, by sink; not those of dead letters.
#[derive(Debug)]
pub struct SinkTopics(Vec<Option<String>>);

impl SinkTopics {
    pub fn of(plan: &Plan) -> SinkTopics {
        let topic = |sink: &crate::plan::SinkPlan| {
            let kafka = (&*sink.sink as &dyn Any).downcast_ref::<KafkaSink>()?;
            sink.input.is_some().then(|| kafka.topic.clone())
        };
        SinkTopics(plan.sinks.iter().map(topic).collect())
    }

    /// Names of what was written.
    pub fn names(&self, written: BTreeSet<WrittenTopic>) -> BTreeSet<String> {
        let name = |(sink, named): WrittenTopic| {
            let own = self.0.get(sink)?.as_ref()?;
            Some(named.map_or_else(|| own.clone(), |named| named.to_string()))
        };
        written.into_iter().filter_map(name).collect()
    }
}
