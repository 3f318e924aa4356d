//! The journal's topic, told from another one of its name.
//!
//! Somebody may delete it while a pipeline runs, and somebody else, or a broker that makes topics by itself, may make it
//! again. What would be written there then would be a journal without a beginning: only the id tells (I12).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::super::client::Cluster;
use super::super::topics::{Described, SharedTopics, Topics};
use crate::journal::{Watch, gone};
use crate::report::Failure;

/// A topic that was missing for so long is gone. A broker that has just come up may not know all topics yet.
const MISSING_FOR: Duration = Duration::from_secs(5);

/// A topic as it was when the journal was acquired first.
#[derive(Debug, Clone)]
pub(super) struct Place {
    cluster: Cluster,
    topic: Arc<str>,
    /// `None`: the brokers are too old to give any.
    id: Option<String>,
    /// When it was not there first, of looks that did not find it since.
    missing_since: Option<Instant>,
}

impl Place {
    pub fn of(cluster: &Cluster, topics: &Topics, topic: &str) -> Result<Place, Failure> {
        let topic: Arc<str> = topic.into();
        let id = described_now(topics, &topic)?.flatten().and_then(|found| found.id);
        Ok(Place { cluster: cluster.clone(), topic, id, missing_since: None })
    }

    /// Sees whether it is still there.
    ///
    /// # Errors
    /// `refused.journal_gone`; a failure that may pass where it has not been missing for long, or cannot be asked for.
    pub fn look_by(&mut self, topics: &Topics) -> Result<(), Failure> {
        let described = described(&self.topic, &self.cluster);
        match described_now(topics, &self.topic)? {
            // The cluster does not tell now.
            None => Ok(()),
            Some(Some(found)) => {
                self.missing_since = None;
                match (&self.id, found.id) {
                    (Some(before), Some(now)) if *before != now => Err(gone(&described)),
                    _ => Ok(()),
                }
            }
            Some(None) if self.missing_since.is_some_and(|since| since.elapsed() >= MISSING_FOR) => {
                Err(gone(&described))
            }
            Some(None) => {
                self.missing_since.get_or_insert_with(Instant::now);
                Err(Failure::outside("kafka.journal_missing", format!("the journal ({described}) is not there")))
            }
        }
    }
}

impl Watch for Place {
    fn look(&mut self) -> Result<(), Failure> {
        let topics = SharedTopics::of(&self.cluster).topics()?;
        self.look_by(&topics)
    }
}

/// `None`: the cluster does not tell.
fn described_now(topics: &Topics, topic: &Arc<str>) -> Result<Option<Option<Described>>, Failure> {
    Ok(topics.described(std::slice::from_ref(topic))?.remove(topic))
}

pub(super) fn described(topic: &str, cluster: &Cluster) -> String {
    format!("topic {topic} on {}", cluster.shown())
}

/// A record was refused because there is no such topic.
pub(super) fn is_unknown(code: Code) -> bool {
    matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)
}
