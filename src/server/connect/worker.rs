//! What the server is to Connect's clients: a worker with a version, on a Kafka cluster.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Call;
use super::answer::{Answer, Refusal};
use crate::connect::{Config, PluginKind, VERSION, Worker, compile};
use crate::connectors::kafka::{Cluster, SharedTopics};
use crate::deploy::connector::{Connector, ConnectorKind, pipeline_of};
use crate::deploy::levels::Levels;
use crate::deploy::offsets::Positions;
use crate::deploy::store::Kept;
use crate::deploy::submission::{SpecFile, Submission};

/// How long an answer waits for the cluster's id. Once it is known nobody waits.
const PATIENCE: Duration = Duration::from_millis(300);
/// The worker's own connection in a connector's submission.
const CONNECTION: &str = "worker.json";
/// Between two looks whether it is.
const LOOK: Duration = Duration::from_millis(2);

/// The worker that this server is.
pub struct WorkerFace {
    pub worker: Worker,
    pub levels: Levels,
    /// Where others reach it: `host:port`.
    at: String,
    /// `http` or `https`.
    scheme: &'static str,
    cluster: Arc<KafkaCluster>,
}

struct KafkaCluster {
    /// Open as long as the server is, so that a connector which is its first does not wait for it.
    connection: Arc<SharedTopics>,
    id: OnceLock<String>,
    /// Somebody asks for it.
    is_asked: AtomicBool,
}

impl WorkerFace {
    pub fn new(worker: Worker, brokers: Cluster, at: String, scheme: &'static str, levels: Levels) -> Self {
        let connection = SharedTopics::of(&brokers);
        let cluster = Arc::new(KafkaCluster { connection, id: OnceLock::new(), is_asked: AtomicBool::new(false) });
        cluster.ask();
        WorkerFace { worker, levels, at, scheme, cluster }
    }

    /// As statuses name it.
    pub fn id(&self) -> String {
        self.at.clone()
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.at)
    }

    /// A connector of a configuration, and the documents that it is compiled to.
    ///
    /// # Errors
    /// What cannot be done, as POST answers it.
    pub fn compile(&self, name: &str, config: Config) -> Result<(Connector, Submission), Refusal> {
        let compiled = compile(name, &pipeline_of(name).name, &config, &self.worker)?;
        for note in &compiled.untranslated {
            tracing::warn!(connector = name, "not as Kafka Connect would: {note}");
        }
        for note in &compiled.notes {
            tracing::info!(connector = name, "{note}");
        }
        let mut documents = Submission::of_text("connector.yaml", compiled.document);
        documents.files.extend(self.connection());
        let connector = Connector {
            name: name.to_owned(),
            config,
            kind: match compiled.kind {
                PluginKind::Sink => ConnectorKind::Sink,
                _ => ConnectorKind::Source,
            },
            task_class: compiled.task_class.to_owned(),
            tasks_max: compiled.tasks,
            tasks: 0,
            at_end: compiled.at_end,
            topics: BTreeSet::new(),
            topics_since: Positions::new(),
        };
        Ok((connector, documents))
    }

    /// The worker's own brokers and registry, and who it is to them, as a document beside each connector's.
    fn connection(&self) -> Option<SpecFile> {
        let document = json!({
            "apiVersion": "runner/v1",
            "kind": "Connection",
            "metadata": { "name": "default" },
            "spec": self.worker.connection.as_ref()?,
        });
        Some(SpecFile { name: CONNECTION.into(), text: document.to_string() })
    }

    /// Gives a connector of before what the worker's own connection is now: a password may be another.
    pub fn renew(&self, kept: &mut Kept) {
        let Some(now) = self.connection().filter(|_| kept.connector.is_some()) else { return };
        if let Some(before) = kept.submission.files.iter_mut().find(|file| file.name == CONNECTION) {
            *before = now;
        }
    }

    /// The cluster's id; `None` while it is away. A broker that hangs holds nobody up.
    fn cluster_id(&self) -> Option<String> {
        let cluster = &self.cluster;
        cluster.ask();
        let deadline = Instant::now() + PATIENCE;
        while cluster.id.get().is_none() && cluster.is_asked.load(Ordering::Acquire) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        cluster.id.get().cloned()
    }
}

impl KafkaCluster {
    /// Has its id asked for, unless it is known or somebody asks already.
    fn ask(self: &Arc<Self>) {
        if self.id.get().is_some() || self.is_asked.swap(true, Ordering::AcqRel) {
            return;
        }
        let cluster = self.clone();
        std::thread::spawn(move || {
            match cluster.connection.topics().and_then(|topics| topics.cluster_id()) {
                Ok(id) => drop(cluster.id.set(id)),
                Err(failure) => tracing::debug!("the cluster's id is not known: {failure}"),
            }
            cluster.is_asked.store(false, Ordering::Release);
        });
    }
}

/// `GET /`: what clients take for the version of Connect, with ours where its commit stands.
pub fn root(call: &Call) -> Result<Answer, Refusal> {
    let commit = concat!("runner-", env!("CARGO_PKG_VERSION"));
    let id = call.face.worker.cluster_id();
    Answer::ok(json!({ "version": VERSION, "commit": commit, "kafka_cluster_id": id }))
}
