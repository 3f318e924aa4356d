//! What a plan asks of the world: registries, brokers, secrets.
//!
//! [`Servers`] asks them, [`Offline`] asks nobody: then the plan says what it could not check.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use crate::registry::http::PLAN_PATIENCE;
use crate::registry::{Auth, EmbeddedRegistry, HttpRegistry, Registered, Registry, Settings, Verdict};
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

/// A connection's registry, twice.
#[derive(Debug, Clone)]
pub struct Registries {
    /// For questions while planning, with little patience; `None`: nobody is to be asked.
    pub asked: Option<Arc<dyn Registry>>,
    /// For the running pipeline, with more.
    pub running: Arc<dyn Registry>,
    /// For people.
    pub shown: String,
}

/// Who is asked while a plan is made. Calls block, at most about two seconds where a server is away.
pub trait World: Debug {
    /// Fills in secrets. Offline they stay as they were written.
    fn fill(&self, text: &Secret) -> Result<String, Failure>;

    /// The registry of a connection; an embedded one is kept in `state_dir`.
    fn registry(&self, registry: &RegistryConnection, state_dir: &Path) -> Result<Registries, Failure>;

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

    fn registry(&self, registry: &RegistryConnection, _: &Path) -> Result<Registries, Failure> {
        let shown = match registry {
            RegistryConnection::Url { url, .. } => url.value.to_string(),
            RegistryConnection::Embedded => "the embedded registry".into(),
        };
        Ok(Registries { asked: None, running: Arc::new(Unasked(shown.clone())), shown })
    }

    fn topic(&self, _: &Cluster, _: &str) -> Result<Answer<Option<TopicInfo>>, Failure> {
        Ok(Answer::NotAsked)
    }
}

/// Stands in a plan that is only checked.
#[derive(Debug)]
struct Unasked(String);

impl Unasked {
    fn refuse<T>(&self) -> Result<T, Failure> {
        Err(Failure::bug("plan.offline", format!("a plan made without servers asks {}", self.0)))
    }
}

impl Registry for Unasked {
    fn latest(&self, _: &str) -> Result<Option<Registered>, Failure> {
        self.refuse()
    }

    fn version(&self, _: &str, _: i32) -> Result<Option<Registered>, Failure> {
        self.refuse()
    }

    fn by_id(&self, _: i32) -> Result<Option<Arc<str>>, Failure> {
        self.refuse()
    }

    fn lookup(&self, _: &str, _: &str) -> Result<Option<Registered>, Failure> {
        self.refuse()
    }

    fn register(&self, _: &str, _: &str) -> Result<i32, Failure> {
        self.refuse()
    }

    fn compatible(&self, _: &str, _: &str) -> Result<Verdict, Failure> {
        self.refuse()
    }

    fn describe(&self) -> String {
        self.0.clone()
    }
}

/// Asks the servers of the connections.
#[derive(Debug, Default)]
pub struct Servers;

impl World for Servers {
    fn fill(&self, text: &Secret) -> Result<String, Failure> {
        text.resolve()
    }

    fn registry(&self, registry: &RegistryConnection, state_dir: &Path) -> Result<Registries, Failure> {
        let (url, username, password) = match registry {
            RegistryConnection::Url { url, username, password } => (url, username, password),
            RegistryConnection::Embedded => {
                let embedded: Arc<dyn Registry> = Arc::new(EmbeddedRegistry::open(state_dir.join("registry"))?);
                return Ok(Registries { asked: Some(embedded.clone()), shown: embedded.describe(), running: embedded });
            }
        };
        let filled = |secret: &Option<Secret>| secret.as_ref().map(Secret::resolve).transpose();
        let auth = match (filled(username)?, filled(password)?) {
            (None, None) => Auth::None,
            (user, password) => {
                Auth::Basic { user: user.unwrap_or_default(), password: password.unwrap_or_default() }
            }
        };
        let settings = Settings { auth, ..Settings::new(url.value.resolve()?) };
        let asked = HttpRegistry::new(Settings { patience: PLAN_PATIENCE, ..settings.clone() })?;
        Ok(Registries {
            shown: asked.describe(),
            asked: Some(Arc::new(asked)),
            running: Arc::new(HttpRegistry::new(settings)?),
        })
    }

    fn topic(&self, cluster: &Cluster, topic: &str) -> Result<Answer<Option<TopicInfo>>, Failure> {
        let _ = (cluster, topic);
        Ok(Answer::NotAsked)
    }
}
