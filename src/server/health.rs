//! `/health` and `/ready`: for whoever decides whether to start it again, or to send it requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::connect::{Answer, Refusal};
use crate::deploy::supervisor::Supervisor;

/// It answers, so it lives. In the words of Kafka Connect, whose clients ask here too.
pub async fn health() -> Json<Value> {
    let message = "Worker has completed startup and is ready to handle requests.";
    Json(json!({ "status": "healthy", "message": message }))
}

/// The methods of `/health`.
pub async fn options() -> Answer {
    Answer::Options(&[Method::GET])
}

pub async fn no_such_method() -> Refusal {
    Refusal::of(StatusCode::METHOD_NOT_ALLOWED)
}

/// It takes requests: everything that it was given before was read. A pipeline that fails makes it no less ready.
pub async fn ready(State(supervisor): State<Arc<Supervisor>>) -> Json<Value> {
    let mut states: BTreeMap<String, u64> = BTreeMap::new();
    for pipeline in supervisor.list() {
        let word = serde_json::to_value(pipeline.status.state).ok();
        *states.entry(word.as_ref().and_then(Value::as_str).unwrap_or("unknown").to_owned()).or_default() += 1;
    }
    Json(json!({ "status": "ready", "pipelines": states }))
}
