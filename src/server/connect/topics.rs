//! `/connectors/NAME/topics`: those that a connector has read or written since it was made, or since they were reset.

use axum::http::StatusCode;
use serde_json::{Map, json};

use super::Call;
use super::answer::{Answer, Refusal};

/// None of a connector that is not there.
pub fn show(call: &Call, name: &str) -> Result<Answer, Refusal> {
    let topics = call.face.supervisor.topics(name).unwrap_or_default();
    let mut answer = Map::new();
    answer.insert(name.to_owned(), json!({ "topics": topics }));
    Answer::ok(answer.into())
}

pub fn reset(call: &Call, name: &str) -> Result<Answer, Refusal> {
    // Also for a connector that is not there.
    let _ = call.face.supervisor.reset_topics(name);
    Ok(Answer::Empty(StatusCode::ACCEPTED))
}
