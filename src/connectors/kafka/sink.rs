//! A topic as a sink.
//!
//! Delivery: exactly once, in the transaction of the journal's record (I9) or, on a further cluster, in
//! one of that cluster's own; or at least once. Which it is depends on the sinks beside it, so the
//! plan says so ([`Written`]).

use std::collections::BTreeMap;
use std::time::Instant;

use super::alone::AloneWriter;
use super::client::Cluster;
use super::further::{Further, FurtherWriter};
use super::journal::JournalSink;
use super::routed::RoutedWriter;
use super::routes::Routes;
use super::topics::{Seen, SharedTopics};
use crate::connectors::{Delivery, Look, MemberSink, Sink, Tails, Writer};
use crate::report::Failure;
use crate::time::Millis;

/// Kafka's default of `message.timestamp.after.max.ms`.
const AHEAD_MS_MAX: Millis = 3_600_000;

/// A topic to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSink {
    /// Of the connection, without the sink's own properties.
    pub cluster: Cluster,
    pub topic: String,
    /// Of the sink.
    pub properties: BTreeMap<String, String>,
    pub written: Written,
    /// Records name their topics themselves, which are made so. Only [`Written::Alone`].
    pub routes: Option<Routes>,
}

/// Who writes a topic, and where its progress stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// [`super::KafkaJournal`], with the journal's record.
    WithJournal,
    /// The cluster's own producer, with the cluster's own record of what it has.
    Further(Further),
    /// Apart from any transaction, at least once, by a producer that all such sinks of the cluster share; the journal
    /// notes what was delivered.
    Alone,
}

impl KafkaSink {
    fn as_journal_sink(&self, index: usize) -> JournalSink {
        JournalSink { sink: index, topic: self.topic.clone(), properties: self.properties.clone() }
    }

    fn of_ours(&self, seen: &Seen) -> Look {
        let id = seen.topics.get(self.topic.as_str()).and_then(|found| found.as_ref()?.id.clone());
        Look { ids: id.into_iter().map(|id| (self.topic.clone(), id)).collect(), at: seen.at }
    }
}

impl Sink for KafkaSink {
    fn connector(&self) -> &'static str {
        "kafka"
    }

    fn delivery(&self) -> Delivery {
        match &self.written {
            Written::WithJournal => Delivery::Transaction,
            Written::Further(_) => Delivery::Remembers,
            Written::Alone => Delivery::AtLeastOnce,
        }
    }

    fn open(&self) -> Result<Box<dyn Writer>, Failure> {
        self.open_together(&[MemberSink { index: 0, sink: self }])
    }

    fn together(&self) -> Option<&str> {
        match &self.written {
            Written::Further(further) => Some(&further.transactional_id),
            Written::WithJournal | Written::Alone => None,
        }
    }

    fn open_together(&self, sinks: &[MemberSink<'_>]) -> Result<Box<dyn Writer>, Failure> {
        match &self.written {
            Written::WithJournal => {
                Err(Failure::bug("kafka.writer", format!("topic `{}` is written by the journal", self.topic)))
            }
            Written::Further(further) => {
                let of = |member: &MemberSink<'_>| Some(kafka(member.sink)?.as_journal_sink(member.index));
                let sinks = sinks.iter().filter_map(of).collect();
                Ok(Box::new(FurtherWriter::open(self.cluster.clone(), further, sinks)?))
            }
            Written::Alone => {
                let cluster = self.cluster.with(&self.properties);
                match &self.routes {
                    Some(routes) => Ok(Box::new(RoutedWriter::open(cluster, routes.clone())?)),
                    None => Ok(Box::new(AloneWriter::open(&self.cluster, cluster, self.topic.clone())?)),
                }
            }
        }
    }

    fn topic_ids(&self) -> Result<BTreeMap<String, String>, Failure> {
        if self.routes.is_some() {
            return Ok(BTreeMap::new());
        }
        let found = SharedTopics::of(&self.cluster).topics()?.described(&[self.topic.as_str().into()])?;
        Ok(found.into_iter().filter_map(|(name, found)| Some((name.to_string(), found?.id?))).collect())
    }

    fn look(&self) -> Result<Look, Failure> {
        if self.routes.is_some() {
            return Ok(Look { ids: BTreeMap::new(), at: Instant::now() });
        }
        let seen = SharedTopics::of(&self.cluster).look(&[self.topic.as_str().into()])?;
        Ok(self.of_ours(&seen))
    }

    fn seen(&self) -> Option<Look> {
        if self.routes.is_some() {
            return Some(Look { ids: BTreeMap::new(), at: Instant::now() });
        }
        let seen = SharedTopics::of(&self.cluster).seen(&[self.topic.as_str().into()])?;
        Some(self.of_ours(&seen))
    }

    fn ahead_ms_max(&self) -> Result<Option<Millis>, Failure> {
        if self.routes.is_some() {
            // What a topic takes of which nobody said anything.
            return Ok(Some(AHEAD_MS_MAX));
        }
        Ok(SharedTopics::of(&self.cluster).topics()?.limits(&self.topic)?.ahead_ms_max)
    }

    fn tails(&self) -> Result<Tails, Failure> {
        super::tails::read(&self.cluster, &self.topic)
    }

    fn keeps(&self) -> Option<String> {
        Some(match &self.written {
            Written::WithJournal => "with the journal".to_owned(),
            Written::Further(further) => format!("in topic `{}`", further.progress),
            Written::Alone => "in the journal".to_owned(),
        })
    }
}

fn kafka(sink: &dyn Sink) -> Option<&KafkaSink> {
    (sink as &dyn std::any::Any).downcast_ref()
}
