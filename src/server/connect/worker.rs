//! What the server is to Connect's clients: a worker with a version, on a Kafka cluster.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use serde_json::json;

use super::Call;
use super::answer::{Answer, Refusal};
use crate::connect::{VERSION, Worker};
use crate::connectors::kafka::{Cluster, Topics};
use crate::deploy::levels::Levels;

/// How long an answer waits for the cluster's id. Once it is known nobody waits.
const PATIENCE: Duration = Duration::from_millis(300);

/// The worker that this server is.
pub struct WorkerFace {
    pub worker: Worker,
    pub levels: Levels,
    /// Where it listens.
    at: SocketAddr,
    cluster: Arc<KafkaCluster>,
}

struct KafkaCluster {
    brokers: Cluster,
    id: OnceLock<String>,
    /// Somebody asks for it.
    is_asked: AtomicBool,
}

impl WorkerFace {
    pub fn new(worker: Worker, brokers: Cluster, at: SocketAddr, levels: Levels) -> Self {
        let cluster = KafkaCluster { brokers, id: OnceLock::new(), is_asked: AtomicBool::new(false) };
        WorkerFace { worker, levels, at, cluster: Arc::new(cluster) }
    }

    /// As statuses name it.
    pub fn id(&self) -> String {
        self.at.to_string()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// The cluster's id; `None` while it is away. A broker that hangs holds nobody up.
    fn cluster_id(&self) -> Option<String> {
        let cluster = &self.cluster;
        if cluster.id.get().is_none() && !cluster.is_asked.swap(true, Ordering::AcqRel) {
            let (done, answered) = mpsc::channel();
            let cluster = cluster.clone();
            std::thread::spawn(move || {
                match Topics::connect(&cluster.brokers).and_then(|topics| topics.cluster_id()) {
                    Ok(id) => drop(cluster.id.set(id)),
                    Err(failure) => tracing::debug!("the cluster's id is not known: {failure}"),
                }
                cluster.is_asked.store(false, Ordering::Release);
                let _ = done.send(());
            });
            let _ = answered.recv_timeout(PATIENCE);
        }
        cluster.id.get().cloned()
    }
}

/// `GET /`: what clients take for the version of Connect, with ours where its commit stands.
pub fn root(call: &Call) -> Result<Answer, Refusal> {
    let commit = concat!("runner-", env!("CARGO_PKG_VERSION"));
    let id = call.face.worker.cluster_id();
    Answer::ok(json!({ "version": VERSION, "commit": commit, "kafka_cluster_id": id }))
}
