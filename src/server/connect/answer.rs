//! What is answered: JSON, or nothing; and the one shape of errors, `{"error_code", "message"}`.

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, LOCATION};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

pub use crate::connect::Refusal;
use crate::deploy::supervisor::Refused;

/// What is answered to a request that is done.
#[derive(Debug)]
pub enum Answer {
    Json(StatusCode, Json),
    /// What was made, and where it is.
    Created(String, Json),
    Empty(StatusCode),
    /// The methods that a path has, beside HEAD and OPTIONS.
    Options(&'static [Method]),
}

impl Answer {
    pub fn ok(json: Json) -> Result<Answer, Refusal> {
        Ok(Answer::Json(StatusCode::OK, json))
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let json = [(CONTENT_TYPE, "application/json")];
        match self {
            Answer::Json(status, body) => (status, json, body.to_string()).into_response(),
            Answer::Created(location, body) => {
                (StatusCode::CREATED, json, [(LOCATION, location)], body.to_string()).into_response()
            }
            Answer::Empty(status) => (status, Body::empty()).into_response(),
            Answer::Options(methods) => {
                let mut words: Vec<&str> = methods.iter().map(Method::as_str).collect();
                if words.contains(&"GET") {
                    words.insert(0, "HEAD");
                }
                words.push("OPTIONS");
                let headers = [(CONTENT_TYPE, "text/plain".to_owned()), (ALLOW, words.join(","))];
                (headers, words.join(", ")).into_response()
            }
        }
    }
}

impl Refusal {
    /// With the words of Connect's framework.
    pub fn of(status: StatusCode) -> Self {
        Refusal::new(status.as_u16(), format!("HTTP {status}"))
    }

    pub fn not_found() -> Self {
        Refusal::of(StatusCode::NOT_FOUND)
    }

    /// There is no such connector.
    pub fn unknown(connector: &str) -> Self {
        Refusal::new(404, format!("Connector {connector} not found"))
    }
}

/// What the server refused of anybody.
impl From<super::super::refusal::Refusal> for Refusal {
    fn from(refused: super::super::refusal::Refusal) -> Self {
        let hint = refused.hint.map_or(String::new(), |hint| format!(" ({hint})"));
        Refusal::new(refused.status.as_u16(), format!("{}{hint}", refused.message))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({ "error_code": status.as_u16(), "message": self.message }).to_string();
        (status, [(CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// What the supervisor refused of a connector.
pub fn of_refused(refused: Refused, connector: &str) -> Refusal {
    match refused {
        Refused::Unknown(_) => Refusal::unknown(connector),
        Refused::Exists(_) => Refusal::new(409, format!("Connector {connector} already exists")),
        Refused::Stale { .. } => {
            let why = "stale configuration (typically caused by a concurrent config change)";
            Refusal::new(409, format!("Cannot complete request momentarily due to {why}"))
        }
        // What was compiled of a configuration is wrong: what it says is beyond what we can do.
        Refused::Wrong(wrong) => {
            let titles = wrong.0.iter().map(|one| match &one.hint {
                Some(hint) => format!("{} ({hint})", one.title),
                None => one.title.clone(),
            });
            Refusal::new(400, crate::connect::list_of_errors(&titles.collect::<Vec<_>>()))
        }
        Refused::Stopping => Refusal::new(503, "the server is being stopped"),
        Refused::OfConnector(_) => Refusal::new(409, format!("{connector} is a connector")),
        Refused::Failed(failure) => Refusal::new(500, failure.to_string()),
    }
}
