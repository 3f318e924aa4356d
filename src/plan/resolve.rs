//! What a plan asks of the world: registries, brokers, secrets.
//!
//! [`Servers`] asks them, [`Offline`] asks nobody: then the plan says what it could not check.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use crate::registry::Registry;
use crate::report::Failure;
use crate::spec::{RegistryConnection, Secret};
use crate::time::Millis;

/// The brokers of a connection.
#[derive(Clone, PartialEq)]
pub struct Cluster {
    /// The connection's name.
    pub connection: String,
    /// Nobody declared the connection.
    pub built_in: bool,
    /// The brokers as the user wrote them: for people.
    pub shown: String,
    /// `host:port`, separated by commas, secrets filled in.
    pub brokers: String,
    /// The client's own settings, secrets filled in: never printed.
    pub properties: BTreeMap<String, String>,
}

impl Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({} at {})", self.connection, self.shown)
    }
}

/// What is known of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    pub partitions: u32,
    /// `None`: kept for ever.
    pub retention_ms: Option<Millis>,
    pub compacted: bool,
    /// The broker puts its own time on records.
    pub log_append_time: bool,
    /// Largest record that it takes.
    pub message_bytes_max: Option<usize>,
}

/// What the world said.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer<T> {
    Known(T),
    /// Nobody was asked.
    NotAsked,
}

/// Who is asked while a plan is made. Calls block, at most about two seconds where a server is away.
pub trait World: Debug {
    /// Fills in secrets. Offline they stay as they were written.
    fn fill(&self, text: &Secret) -> Result<String, Failure>;

    /// The registry of a connection; an embedded one is kept in `state_dir`.
    fn registry(&self, registry: &RegistryConnection, state_dir: &Path) -> Result<Answer<Arc<dyn Registry>>, Failure>;

    /// A topic; `Known(None)`: there is none of that name.
    fn topic(&self, cluster: &Cluster, topic: &str) -> Result<Answer<Option<TopicInfo>>, Failure>;
}

/// Asks nobody: `runner validate`.
#[derive(Debug, Default)]
pub struct Offline;

impl World for Offline {
    fn fill(&self, text: &Secret) -> Result<String, Failure> {
        Ok(text.to_string())
    }

    fn registry(&self, _: &RegistryConnection, _: &Path) -> Result<Answer<Arc<dyn Registry>>, Failure> {
        Ok(Answer::NotAsked)
    }

    fn topic(&self, _: &Cluster, _: &str) -> Result<Answer<Option<TopicInfo>>, Failure> {
        Ok(Answer::NotAsked)
    }
}
