//! A connector as Kafka Connect keeps it, of which a pipeline was made.
//!
//! Its pipeline stands in the namespace [`NAMESPACE`], under the connector's name where that can name a pipeline.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::offsets::Positions;
use super::store::Wanted;
use super::submission::Name;
use crate::connect::pipeline_name;

/// Where the pipelines of connectors are.
pub const NAMESPACE: &str = "connect";

/// A connector. A stored format: fields are only added, with a default.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Connector {
    /// Any text.
    pub name: String,
    /// As it was given, its name in it.
    pub config: IndexMap<String, String>,
    pub kind: ConnectorKind,
    pub task_class: String,
    /// Tasks that it has while it runs.
    pub tasks_max: u32,
    /// Tasks that it has: none before it ran first, and none while it is stopped.
    #[serde(default)]
    pub tasks: u32,
    /// First line of the trace with which a task fails when its source has ended.
    #[serde(default)]
    pub at_end: Option<String>,
    /// Topics that it has used since it was made, or since they were forgotten: of a sink those that `topics_since` does not tell.
    #[serde(default)]
    pub topics: BTreeSet<String>,
    /// Where its sources stood when it was made, or when the topics that it uses were last forgotten or noted.
    #[serde(default)]
    pub topics_since: Positions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectorKind {
    Source,
    Sink,
}

impl std::fmt::Debug for Connector {
    /// Without the settings: they may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).field("tasks", &self.tasks).finish_non_exhaustive()
    }
}

impl Connector {
    /// The same, as it is when something else is wanted of it: one that is stopped has no tasks, one that runs all.
    pub fn when(mut self, wanted: Wanted) -> Self {
        match wanted {
            Wanted::Running => self.tasks = self.tasks_max,
            Wanted::Stopped => self.tasks = 0,
            Wanted::Paused => {}
        }
        self
    }
}

/// The pipeline of a connector. Two connectors have two.
pub fn pipeline_of(connector: &str) -> Name {
    Name { namespace: NAMESPACE.into(), name: pipeline_name(connector) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_connector_names_one_pipeline() {
        let name = |connector: &str| pipeline_of(connector).name;
        assert_eq!(name("datagen_commercials-avro.1"), "datagen_commercials-avro.1");
        let odd = ["a/b", "..", "ü", " ", "a b", "{a}", &"x".repeat(300), "connector-1"];
        let mut names: Vec<String> = odd.iter().map(|odd| name(odd)).collect();
        // Whoever knows the digest cannot take its place.
        names.extend(names.clone().iter().map(|known| name(known)));
        assert!(
            names.iter().all(|name| crate::spec::is_document_name(name) && name.len() == "connector-".len() + 32),
            "{names:?}"
        );
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 2 * odd.len());
    }
}
