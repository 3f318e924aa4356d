//! `apply --server` of connectors: each is put to the server's API of Kafka Connect, under its own name; and `serve PATH`, which
//! has the server in its own process.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::Common;
use super::output::say;
use super::remote::Remote;
use crate::connect::{Config, config_of_document};
use crate::deploy::connector::pipeline_of;
use crate::deploy::store::Wanted;
use crate::deploy::submission::Name;
use crate::deploy::supervisor::Supervisor;
use crate::report::Failure;
use crate::server;
use crate::server::connect::WorkerFace;
use crate::spec::{ConnectorSpec, ConnectorState, Document, Documents};

/// How long a connector may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Settings that are paths, which a server has in another folder.
const PATHS: [&str; 2] = ["file", "schema.filename"];

/// A connector as a server takes it.
#[derive(Debug, Clone)]
pub struct Sent {
    pub name: String,
    config: Config,
    state: ConnectorState,
}

impl Sent {
    /// The connectors among documents. None where a connection `default` stands beside them: they are to use that one
    /// and not the server's, which pipelines alone can say.
    pub fn all(documents: &Documents) -> Vec<Sent> {
        let is_default = |name: &str| name == "default";
        if documents.connections.iter().any(|connection| is_default(&connection.metadata.name.value)) {
            return Vec::new();
        }
        documents.connectors.iter().map(Sent::of).collect()
    }

    fn of(document: &Document<ConnectorSpec>) -> Sent {
        let mut config = config_of_document(document);
        for key in PATHS {
            if let Some(path) = config.get_mut(key).filter(|path| !path.is_empty() && !path.contains("${")) {
                *path = whole(&document.folder, path);
            }
        }
        Sent { name: document.metadata.name.value.clone(), config, state: document.spec.state.value }
    }

    /// The pipeline that it would be.
    pub fn pipeline(&self) -> Name {
        pipeline_of(&self.name)
    }

    /// Gives it to the server that this process is.
    ///
    /// # Errors
    /// `serve.connector`: what the API would answer.
    pub fn submit(&self, worker: &WorkerFace, supervisor: &Arc<Supervisor>) -> Result<(), Failure> {
        let wanted = match self.state {
            ConnectorState::Running => Wanted::Running,
            ConnectorState::Paused => Wanted::Paused,
            ConnectorState::Stopped => Wanted::Stopped,
        };
        server::connect::submit(worker, supervisor, &self.name, self.config.clone(), wanted).map_err(|refusal| {
            Failure::user("serve.connector", format!("the connector `{}` is refused: {}", self.name, refusal.message))
        })
    }

    /// Puts it, has it be in its state, and waits until it is; false if it failed.
    pub fn put(&self, remote: &Remote, common: &Common) -> Result<bool, Failure> {
        let name = self.name.as_str();
        let before = remote.connect(Method::GET, &["connectors", name, "config"], "", None).ok();
        let answer = remote.connect(Method::PUT, &["connectors", name, "config"], "", Some(&json!(self.config)))?;
        let was = match &before {
            _ if answer.is_new() => "submitted",
            Some(before) if before.body == answer.body["config"] => "unchanged",
            _ => "changed",
        };
        let verb = match self.state {
            ConnectorState::Running => "resume",
            ConnectorState::Paused => "pause",
            ConnectorState::Stopped => "stop",
        };
        remote.connect(Method::PUT, &["connectors", name, verb], "", None)?;
        let status = self.settled(remote)?;
        let states = states(&status);
        if common.output.is_json() {
            common.output.print(&json!({ "connector": name, "was": was, "is": status }));
        } else {
            say!("connector {name}: {was}; {}", states.join(", ").to_lowercase());
        }
        Ok(!states.contains(&"FAILED"))
    }

    /// Its status once nothing is on its way any more.
    fn settled(&self, remote: &Remote) -> Result<Json, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Where it is not known yet there is none.
            let status = remote.connect(Method::GET, &["connectors", &self.name, "status"], "", None);
            if let Ok(status) = &status {
                let states = states(&status.body);
                let all = |wanted: &str| states.iter().all(|state| [wanted, "FAILED"].contains(state));
                let is_settled = match self.state {
                    ConnectorState::Running => states.len() > 1 && all("RUNNING"),
                    // One that never ran has no tasks.
                    ConnectorState::Paused => all("PAUSED"),
                    ConnectorState::Stopped => all("STOPPED"),
                };
                if is_settled {
                    return Ok(status.body.clone());
                }
            }
            if Instant::now() > deadline {
                return status.map(|status| status.body);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Of the connector, then of its tasks; each once.
fn states(status: &Json) -> Vec<&str> {
    let tasks = status["tasks"].as_array().into_iter().flatten();
    let all = std::iter::once(&status["connector"]).chain(tasks);
    all.filter_map(|part| part["state"].as_str()).collect()
}

fn whole(folder: &Path, path: &str) -> String {
    let joined = folder.join(path);
    std::path::absolute(&joined).unwrap_or(joined).display().to_string()
}
