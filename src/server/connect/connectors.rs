//! `/connectors`: what there is, and its end. [`super::submit`] takes in and changes.

use axum::http::StatusCode;
use serde_json::{Map, Value as Json, json};

use super::answer::{Answer, Refusal, of_refused};
use super::{Call, status};
use crate::connect::without_secrets;
use crate::deploy::connector::{Connector, ConnectorKind};
use crate::kafka_connect::json::Json as Given;

pub fn list(call: &Call) -> Result<Answer, Refusal> {
    let all = call.face.supervisor.connectors();
    let expand = call.words("expand");
    let all = all.iter().filter_map(|one| Some((one, one.kept.connector.as_ref()?)));
    if expand.is_empty() {
        return Answer::ok(all.map(|(_, connector)| Json::from(connector.name.clone())).collect());
    }
    let expanded = all.map(|(described, connector)| {
        let mut parts = Map::new();
        // Words that are not known are passed over.
        for word in expand {
            match word.as_str() {
                "status" => parts.insert("status".into(), status::body(call, described, connector)),
                "info" => parts.insert("info".into(), info(connector)),
                _ => None,
            };
        }
        (connector.name.clone(), Json::Object(parts))
    });
    Answer::ok(Json::Object(expanded.collect()))
}

/// The object that a body is.
pub fn object(body: &[u8]) -> Result<Vec<(String, Given)>, Refusal> {
    match Given::parse_whole(body) {
        Ok(Given::Object(entries)) => Ok(entries),
        Ok(other) => Err(Refusal::new(400, format!("the body is {}, not an object", other.word()))),
        Err(wrong) => Err(Refusal::new(400, format!("the body is not JSON: {wrong}"))),
    }
}

pub fn show(call: &Call, name: &str) -> Result<Answer, Refusal> {
    Answer::ok(info(&known(call, name)?))
}

pub fn config(call: &Call, name: &str) -> Result<Answer, Refusal> {
    Answer::ok(json!(without_secrets(&known(call, name)?.config)))
}

pub fn delete(call: &Call, name: &str) -> Result<Answer, Refusal> {
    known(call, name)?;
    let gone = call.face.supervisor.remove_connector(name);
    gone.map_err(|refused| of_refused(refused, name))?;
    Ok(Answer::Empty(StatusCode::NO_CONTENT))
}

pub fn tasks(call: &Call, name: &str) -> Result<Answer, Refusal> {
    let connector = known(call, name)?;
    let mut config = without_secrets(&connector.config);
    config.insert("task.class".into(), connector.task_class.clone());
    let task = |task: u32| json!({ "id": { "connector": connector.name, "task": task }, "config": config });
    Answer::ok((0..connector.tasks).map(task).collect())
}

/// A connector that is there.
///
/// # Errors
/// 404.
pub fn known(call: &Call, name: &str) -> Result<Connector, Refusal> {
    let described = call.face.supervisor.connector(name).map_err(|refused| of_refused(refused, name))?;
    described.kept.connector.clone().ok_or_else(|| Refusal::unknown(name))
}

pub fn info(connector: &Connector) -> Json {
    let tasks = (0..connector.tasks).map(|task| json!({ "connector": connector.name, "task": task }));
    json!({
        "name": connector.name,
        "config": without_secrets(&connector.config),
        "tasks": tasks.collect::<Vec<_>>(),
        "type": type_of(connector.kind),
    })
}

pub fn type_of(kind: ConnectorKind) -> &'static str {
    match kind {
        ConnectorKind::Source => "source",
        ConnectorKind::Sink => "sink",
    }
}
