//! What a plan tells people, and what must be there before it starts.
//!
//! The engine needs none of this: `describe` prints it, `deploy` creates the topics and registers the subjects.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::resolve::{Cluster, TopicInfo};
use crate::registry::Registry;
use crate::spec::TopicSpec;

/// Everything about a plan that is not needed to run it.
#[derive(Debug, Default)]
pub struct Outline {
    /// As the plan's sources.
    pub sources: Vec<SourceOutline>,
    /// As the plan's steps.
    pub steps: Vec<StepOutline>,
    /// As the plan's sinks.
    pub sinks: Vec<SinkOutline>,
    pub connections: Vec<ConnectionOutline>,
    /// Topics that are read or written, each once.
    pub topics: Vec<TopicOutline>,
    /// Subjects that sinks need, each once.
    pub subjects: Vec<SubjectOutline>,
    /// What could not be checked, as sentences.
    pub unchecked: Vec<String>,
    /// Where a start finds out how far the pipeline is, if not from the journal: in words.
    pub restart: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionOutline {
    pub name: String,
    pub built_in: bool,
    /// "brokers localhost:9092", "registry http://localhost:8081".
    pub servers: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct SourceOutline {
    pub connector: &'static str,
    /// "topic `ratings` (6 partitions), from earliest".
    pub from: String,
    /// "avro, subject `ratings-value` version 3".
    pub format: String,
    /// "Kafka timestamp, lag 5s, idle 5s".
    pub time: String,
}

#[derive(Debug, Clone)]
pub struct StepOutline {
    /// The name of what it reads, with the port.
    pub from: String,
    /// "where rating >= 2".
    pub does: String,
}

#[derive(Debug, Clone)]
pub struct SinkOutline {
    pub connector: &'static str,
    /// The name of what it reads, with the port; empty for the dead letter.
    pub from: String,
    /// "topic `metrics_per_brand`".
    pub to: String,
    pub format: String,
    /// "columns brand"; empty where there are no keys.
    pub key: String,
    /// "exactly once (one transaction with the journal)".
    pub guarantee: String,
}

/// A topic that is read or written.
#[derive(Debug, Clone)]
pub struct TopicOutline {
    pub cluster: Cluster,
    pub name: String,
    pub state: TopicState,
    /// `None`: the broker's default.
    pub partitions: Option<u32>,
    pub replication: Option<u32>,
    pub config: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TopicState {
    Exists(TopicInfo),
    Create,
    /// Another pipeline of this command creates it.
    CreatedByOther,
    NotAsked,
}

impl TopicOutline {
    /// A topic and what its document says of it.
    pub fn of(cluster: Cluster, name: &str, state: TopicState, declared: Option<&TopicSpec>) -> Self {
        let config = declared.into_iter().flat_map(|topic| &topic.config);
        TopicOutline {
            cluster,
            name: name.to_owned(),
            state,
            partitions: declared.and_then(|topic| topic.partitions.as_ref()).map(|count| count.value),
            replication: declared.and_then(|topic| topic.replication.as_ref()).map(|count| count.value),
            config: config.map(|(name, value)| (name.value.clone(), value.to_string())).collect(),
        }
    }
}

/// A subject that a sink writes under.
#[derive(Debug, Clone)]
pub struct SubjectOutline {
    /// `None`: nobody was asked.
    pub registry: Option<Arc<dyn Registry>>,
    pub registry_shown: String,
    /// The connection that the registry belongs to.
    pub connection: String,
    pub subject: String,
    pub schema: String,
    /// The schema's id, once it is known: encoders wait for it.
    pub id: Arc<OnceLock<i32>>,
    pub state: SubjectState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectState {
    New,
    /// The very schema is registered.
    Unchanged {
        version: i32,
    },
    /// It will follow this version.
    NewVersion {
        after: i32,
    },
    NotAsked,
}
