//! `/admin/loggers`: levels of the log. The loggers are our own, by their targets.

use axum::http::StatusCode;
use serde_json::{Map, Value as Json, json};

use super::answer::{Answer, Refusal};
use super::{Call, connectors};
use crate::deploy::levels::Level;
use crate::kafka_connect::json::Json as Given;

pub fn list(call: &Call) -> Result<Answer, Refusal> {
    let all = call.face.worker.levels.all();
    Answer::ok(Json::Object(all.into_iter().map(|(name, level)| (name, body(level))).collect::<Map<_, _>>()))
}

pub fn show(call: &Call, name: &str) -> Result<Answer, Refusal> {
    let level = call.face.worker.levels.get(name);
    Answer::ok(body(level.ok_or_else(|| Refusal::new(404, format!("Logger {name} not found.")))?))
}

pub fn set(call: &Call, name: &str) -> Result<Answer, Refusal> {
    let request = connectors::object(&call.body)?;
    let word = match request.iter().find(|(key, _)| key == "level").map(|(_, value)| value) {
        None | Some(Given::Null) => {
            return Err(Refusal::new(400, "Desired 'level' parameter was not specified in request."));
        }
        Some(Given::String(word) | Given::Number(word)) => word.clone(),
        Some(other) => other.word().to_owned(),
    };
    let changed = call.face.worker.levels.set(name, &word);
    let changed = changed.ok_or_else(|| Refusal::new(404, format!("invalid log level '{word}'.")))?;
    // One process is the whole cluster.
    let is_cluster = call.words("scope").first().is_some_and(|scope| scope.eq_ignore_ascii_case("cluster"));
    if is_cluster { Ok(Answer::Empty(StatusCode::NO_CONTENT)) } else { Answer::ok(json!(changed)) }
}

fn body(level: Level) -> Json {
    json!({ "level": level.word(), "last_modified": level.changed })
}
