//! The one shape of errors of `/v1`: `{"error": {"code", "message", "hint", "diagnostics"}}`.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::deploy::supervisor::Refused;
use crate::report::to_json;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Refusal {
    #[serde(skip)]
    #[schemars(skip)]
    pub status: StatusCode,
    /// `room.what`, stable.
    pub code: String,
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What is wrong with the spec: severity, code, title, file, line, column, notes, hint of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnostics: Option<Json>,
    /// What the resource is now.
    #[serde(skip)]
    #[schemars(skip)]
    pub etag: Option<String>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let (code, message) = (code.to_owned(), message.into());
        Refusal { status, code, message, hint: None, diagnostics: None, etag: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": self }).to_string();
        let mut response = (self.status, [(CONTENT_TYPE, "application/json")], body).into_response();
        if let Some(etag) = self.etag.and_then(|etag| etag.parse().ok()) {
            response.headers_mut().insert(ETAG, etag);
        }
        response
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unknown(name) => {
                Refusal::new(StatusCode::NOT_FOUND, "pipeline.unknown", format!("there is no pipeline `{name}`"))
            }
            Refused::Exists(name) => {
                let message = format!("there is a pipeline `{name}` already");
                Refusal::new(StatusCode::CONFLICT, "pipeline.exists", message).hint("PUT changes it")
            }
            Refused::OfConnector(connector) => {
                let message = format!("the pipeline is made of the connector `{connector}`, and changes with it only");
                let refusal = Refusal::new(StatusCode::CONFLICT, "pipeline.of_connector", message);
                refusal.hint(
                    "send the change to `/connectors/NAME`; to submit it as a pipeline, beside a connection of its own, \
                     delete the connector first: it goes on where that was",
                )
            }
            Refused::Stale { name, etag } => {
                let message = format!("the pipeline `{name}` was changed meanwhile");
                let stale = Refusal::new(StatusCode::PRECONDITION_FAILED, "pipeline.stale", message);
                Refusal { etag: Some(etag), ..stale.hint("read it again, and send its new ETag in `If-Match`") }
            }
            Refused::Wrong(wrong) => {
                let is_error = |one: &&crate::report::Diagnostic| one.severity == crate::report::Severity::Error;
                let errors: Vec<_> = wrong.0.iter().filter(is_error).collect();
                let more = match errors.len() {
                    0 | 1 => String::new(),
                    count => format!(" (and {} more)", count - 1),
                };
                let first = errors.first();
                let title = first.map_or("the spec is wrong", |first| first.title.as_str());
                let place = first.and_then(|first| first.place.as_ref()).map_or(String::new(), |at| format!("{at}: "));
                let code = first.map_or("spec.wrong", |first| first.code);
                let wrong_spec = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, code, format!("{place}{title}{more}"));
                let hint = first.and_then(|first| first.hint.clone());
                Refusal { diagnostics: Some(to_json(&wrong)), hint, ..wrong_spec }
            }
            Refused::Stopping => {
                let message = "the server is being stopped";
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "serve.stopping", message)
            }
            Refused::Failed(failure) => {
                let broken = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, failure.code, failure.to_string());
                Refusal { hint: failure.hint, ..broken }
            }
        }
    }
}

pub async fn no_such_path(request: Request) -> Refusal {
    let message = format!("there is nothing at `{}`", request.uri().path());
    Refusal::new(StatusCode::NOT_FOUND, "http.path", message).hint("GET /v1/openapi.json says what there is")
}

pub async fn no_such_method(request: Request) -> Refusal {
    let message = format!("{} is not possible at `{}`", request.method(), request.uri().path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "http.method", message)
}
