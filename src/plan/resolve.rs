//! What a plan asks of the world: registries, brokers, secrets.
//!
//! [`Servers`] asks them, [`Offline`] asks nobody: then the plan says what it could not check.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::connectors::kafka::{self, SharedTopics, Topics};
use crate::registry::http::PLAN_PATIENCE;
use crate::registry::{Auth, EmbeddedRegistry, HttpRegistry, Registered, Registry, Settings, Tls, Verdict};
use crate::report::Failure;
use crate::spec::{RegistryConnection, RegistryServer, RegistryTls, Secret};
use crate::time::Millis;

/// The brokers of a connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The connection's name.
    pub connection: String,
    /// Nobody declared the connection.
    pub built_in: bool,
    /// The brokers as the user wrote them: for people.
    pub shown: String,
    /// `host:port`, separated by commas, secrets filled in.
    pub brokers: String,
    /// The client's own settings, checked, secrets filled in: never printed.
    pub properties: BTreeMap<String, String>,
    /// The secrets that were filled in.
    pub hidden: Vec<String>,
}

impl Cluster {
    /// The Kafka client's view of it.
    pub fn client(&self) -> kafka::Cluster {
        kafka::Cluster {
            connection: self.connection.clone(),
            brokers: self.brokers.clone(),
            properties: self.properties.clone(),
            hidden: self.hidden.clone(),
        }
    }
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
    /// Name of the connection: which registry it is to a user. One address may be another registry for another login.
    pub connection: String,
}

/// Who is asked while a plan is made. Calls block, at most about two seconds where a server is away.
pub trait World: Debug {
    /// Fills in secrets. Offline they stay as they were written.
    fn fill(&self, text: &Secret) -> Result<String, Failure>;

    /// The registry of a connection, by its name; an embedded one is kept under `states`.
    fn registry(&self, connection: &str, registry: &RegistryConnection, states: &Path) -> Result<Registries, Failure>;

    /// A topic; `Known(None)`: there is none of that name.
    fn topic(&self, cluster: &Cluster, topic: &str) -> Result<Answer<Option<TopicInfo>>, Failure>;

    /// The topics whose whole names fit a regex, in their order.
    fn topics_matching(&self, _cluster: &Cluster, _pattern: &str) -> Result<Answer<Vec<String>>, Failure> {
        Ok(Answer::NotAsked)
    }
}

/// Where the embedded registry is kept: one for all pipelines, so that what one registers another one reads.
pub fn registry_folder(states: &Path) -> PathBuf {
    states.join("registry")
}

/// Asks nobody: `runner validate`.
#[derive(Debug, Default)]
pub struct Offline;

impl World for Offline {
    fn fill(&self, text: &Secret) -> Result<String, Failure> {
        Ok(text.to_string())
    }

    fn registry(&self, connection: &str, registry: &RegistryConnection, _: &Path) -> Result<Registries, Failure> {
        let shown = match registry {
            RegistryConnection::Server(server) => server.url.value.to_string(),
            RegistryConnection::Embedded => "the embedded registry".into(),
        };
        Ok(Registries { asked: None, running: Arc::new(Unasked(shown.clone())), shown, connection: connection.into() })
    }

    fn topic(&self, _: &Cluster, _: &str) -> Result<Answer<Option<TopicInfo>>, Failure> {
        Ok(Answer::NotAsked)
    }
}

/// Asks nobody, but knows the secrets: what its plans are made of can be asked afterwards.
#[derive(Debug, Default)]
pub struct Discreet;

impl World for Discreet {
    fn fill(&self, text: &Secret) -> Result<String, Failure> {
        text.resolve()
    }

    fn registry(&self, connection: &str, registry: &RegistryConnection, states: &Path) -> Result<Registries, Failure> {
        Offline.registry(connection, registry, states)
    }

    fn topic(&self, cluster: &Cluster, topic: &str) -> Result<Answer<Option<TopicInfo>>, Failure> {
        Offline.topic(cluster, topic)
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

    fn lookup_as(&self, _: &str, _: &str, _: bool) -> Result<Option<Registered>, Failure> {
        self.refuse()
    }

    fn register_as(&self, _: &str, _: &str, _: bool) -> Result<i32, Failure> {
        self.refuse()
    }

    fn compatible(&self, _: &str, _: &str) -> Result<Verdict, Failure> {
        self.refuse()
    }

    fn describe(&self) -> String {
        self.0.clone()
    }
}

/// Servers by their settings, and what became of them.
type Asked<S, T> = Mutex<Vec<(S, Result<T, Away>)>>;

/// Told of each server that is away, as soon as that is known.
type Tell<'a> = Box<dyn Fn(&Failure) + 'a>;

/// Asks the servers of the connections. One that is away is waited for only once.
#[derive(Default)]
pub struct Servers<'a> {
    tell: Option<Tell<'a>>,
    /// By brokers and settings: a client, or what was wrong.
    clusters: Asked<Cluster, (Arc<SharedTopics>, Arc<Topics>)>,
    /// The same of registries.
    registries: Asked<Settings, Registries>,
}

/// Connections to clusters, open as long as somebody has this.
#[derive(Debug)]
pub struct Connections(#[expect(dead_code, reason = "held, and looked at by nobody")] Vec<Arc<SharedTopics>>);

/// A failure that can be told again.
#[derive(Debug, Clone)]
struct Away {
    code: &'static str,
    retry: bool,
    message: String,
    hint: Option<String>,
}

impl From<Failure> for Away {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        Away { code: failure.code, retry: failure.retry, message, hint: failure.hint }
    }
}

impl From<Away> for Failure {
    fn from(away: Away) -> Self {
        let mut failure = match away.retry {
            true => Failure::outside(away.code, away.message),
            false => Failure::user(away.code, away.message),
        };
        failure.hint = away.hint;
        failure
    }
}

impl Debug for Servers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers").finish_non_exhaustive()
    }
}

impl<'a> Servers<'a> {
    /// A plan asks one server after the other: who waits for it hears of each at once.
    pub fn telling(tell: impl Fn(&Failure) + 'a) -> Self {
        Servers { tell: Some(Box::new(tell)), ..Servers::default() }
    }

    /// What was connected to. Whoever starts the plans holds it until they run: else each question on the way connects anew.
    pub fn connections(&self) -> Connections {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        Connections(clusters.iter().filter_map(|(_, known)| Some(known.as_ref().ok()?.0.clone())).collect())
    }

    fn away(&self, failure: Failure) -> Away {
        if let (Some(tell), true) = (&self.tell, failure.retry) {
            tell(&failure);
        }
        Away::from(failure)
    }

    fn topics(&self, cluster: &Cluster) -> Result<Arc<Topics>, Failure> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = clusters.iter().find(|(known, _)| known == cluster) {
            return known.clone().map(|(_, topics)| topics).map_err(Failure::from);
        }
        let shared = SharedTopics::of(&cluster.client());
        let found = shared.topics().map(|topics| (shared, topics)).map_err(|failure| self.away(failure));
        clusters.push((cluster.clone(), found.clone()));
        found.map(|(_, topics)| topics).map_err(Failure::from)
    }
}

impl World for Servers<'_> {
    fn fill(&self, text: &Secret) -> Result<String, Failure> {
        text.resolve()
    }

    fn registry(&self, connection: &str, registry: &RegistryConnection, states: &Path) -> Result<Registries, Failure> {
        let server = match registry {
            RegistryConnection::Server(server) => server,
            RegistryConnection::Embedded => {
                let embedded: Arc<dyn Registry> = Arc::new(EmbeddedRegistry::open(registry_folder(states))?);
                let (shown, connection) = (embedded.describe(), connection.to_owned());
                return Ok(Registries { asked: Some(embedded.clone()), running: embedded, shown, connection });
            }
        };
        let settings = settings(connection, server)?;
        let connect = || {
            let asked = HttpRegistry::new(Settings { patience: PLAN_PATIENCE, ..settings.clone() })?;
            asked.ping()?;
            let running = Arc::new(HttpRegistry::new(settings.clone())?);
            let (shown, connection) = (asked.describe(), connection.to_owned());
            Ok::<_, Failure>(Registries { asked: Some(Arc::new(asked)), running, shown, connection })
        };
        let mut registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = registries.iter().find(|(known, _)| *known == settings) {
            return known.clone().map_err(Failure::from);
        }
        let found = connect().map_err(|failure| self.away(failure));
        registries.push((settings, found.clone()));
        found.map_err(Failure::from)
    }

    fn topic(&self, cluster: &Cluster, topic: &str) -> Result<Answer<Option<TopicInfo>>, Failure> {
        let topics = self.topics(cluster)?;
        let Some((partitions, config)) = topics.with_config(topic)? else { return Ok(Answer::Known(None)) };
        let is = |name: &str, word: &str| config.get(name).is_some_and(|value| value.contains(word));
        let number = |name: &str| config.get(name).and_then(|value| value.parse::<i64>().ok());
        Ok(Answer::Known(Some(TopicInfo {
            partitions: partitions as u32,
            // −1 means for ever.
            retention_ms: number("retention.ms").filter(|ms| *ms >= 0),
            compacted: is("cleanup.policy", "compact"),
            log_append_time: is("message.timestamp.type", "LogAppendTime"),
            message_bytes_max: number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok()),
        })))
    }

    fn topics_matching(&self, cluster: &Cluster, pattern: &str) -> Result<Answer<Vec<String>>, Failure> {
        self.topics(cluster)?.matching(pattern).map(Answer::Known)
    }
}

/// A registry's settings with secrets filled in and certificates read.
fn settings(connection: &str, server: &RegistryServer) -> Result<Settings, Failure> {
    let RegistryServer { url, username, password, token, tls } = server;
    let filled = |secret: &Option<Secret>| secret.as_ref().map(Secret::resolve).transpose();
    let auth = match (filled(username)?, filled(password)?, filled(token)?) {
        (None, None, None) => Auth::None,
        (_, _, Some(token)) => Auth::Bearer(token),
        (user, password, _) => Auth::Basic { user: user.unwrap_or_default(), password: password.unwrap_or_default() },
    };
    let RegistryTls { ca, certificate, key } =
        tls.clone().unwrap_or(RegistryTls { ca: None, certificate: None, key: None });
    let pem = |secret: Option<&Secret>| secret.map(pem).transpose();
    let identity = [pem(certificate.as_ref().map(|c| &c.value))?, pem(key.as_ref().map(|key| &key.value))?];
    let identity = match identity {
        [Some(certificate), Some(key)] => Some((certificate, key)),
        _ => None,
    };
    let secrets = [Some(&url.value), username.as_ref(), password.as_ref(), token.as_ref()];
    let hidden: Vec<Vec<String>> = secrets.into_iter().flatten().map(Secret::hidden).collect::<Result<_, _>>()?;
    Ok(Settings {
        connection: connection.to_owned(),
        auth,
        tls: Tls { ca: pem(ca.as_ref())?, identity },
        hidden: hidden.concat(),
        ..Settings::new(url.value.resolve()?)
    })
}

/// PEM text, as it is given or from the file that it names.
fn pem(given: &Secret) -> Result<String, Failure> {
    let text = given.resolve()?;
    if text.contains("-----BEGIN ") {
        return Ok(text);
    }
    std::fs::read_to_string(given.folder().join(&text)).map_err(|error| {
        Failure::user("registry.file", format!("the file `{given}` of the registry's `tls` cannot be read"))
            .because(error)
            .hint("a relative path begins at the folder of the document that says it")
    })
}
