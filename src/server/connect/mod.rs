//! Kafka Connect's REST API: connectors submitted, controlled and looked at by the tools that people use against
//! Connect. Paths, statuses, bodies and sentences are those of Connect 4.3, checked against it
//! (`tests/it/connect/`); where it answers a defect of its own (bad JSON as 500, names with a slash that nobody can
//! delete) this one does better.
//!
//! [`path`] says what a path means, [`answer`] is the shape of answers; then one file per resource. A connector is a
//! pipeline of the supervisor, compiled by the room `connect`: there is no second runtime.

mod answer;
mod connectors;
mod control;
mod loggers;
mod offsets;
mod path;
mod plugins;
mod status;
mod submit;
mod topics;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

pub use self::answer::{Answer, Refusal};
use self::path::Resource;
pub use self::submit::submit;
pub use self::worker::WorkerFace;
use super::BODY_BYTES_MAX;
use super::body::{self, Unread};
use super::path_segments;
use crate::deploy::supervisor::Supervisor;

/// Whether a path is one of Connect's that nobody else has.
pub fn has(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    matches!(first, "connectors" | "connector-plugins" | "admin")
}

/// What every request is answered from.
pub struct Face {
    pub supervisor: Arc<Supervisor>,
    pub worker: WorkerFace,
}

/// The face as a service: also of every path that nobody else answers.
pub fn router(supervisor: Arc<Supervisor>, worker: WorkerFace) -> Router {
    Router::new().fallback(face).with_state(Arc::new(Face { supervisor, worker }))
}

/// A request.
struct Call {
    face: Arc<Face>,
    method: Method,
    query: HashMap<String, Vec<String>>,
    body: Bytes,
}

impl Call {
    /// The words of a parameter.
    fn words(&self, name: &str) -> &[String] {
        self.query.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether a parameter says `true`.
    fn says(&self, name: &str) -> bool {
        self.words(name).first().is_some_and(|word| word.eq_ignore_ascii_case("true"))
    }
}

async fn face(State(face): State<Arc<Face>>, method: Method, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    match answered(face, method, &uri, &headers, body).await {
        Ok(answer) => answer.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn answered(
    face: Arc<Face>,
    method: Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answer, Refusal> {
    // A path parameter, as servlets have them: `a;b=c` means `a`.
    let bare: Vec<&str> = uri.path().split('/').map(|part| part.split(';').next().unwrap_or_default()).collect();
    let segments = path_segments(&bare.join("/")).ok_or_else(|| Refusal::new(400, "the path is not well encoded"))?;
    let resource = Resource::of(&segments)?.ok_or_else(Refusal::not_found)?;
    if method == Method::OPTIONS {
        return Ok(Answer::Options(resource.methods()));
    }
    // What is asked by HEAD is what GET answers; its body is left out on the wire.
    let method = if method == Method::HEAD { Method::GET } else { method };
    if !resource.methods().contains(&method) {
        return Err(Refusal::of(StatusCode::METHOD_NOT_ALLOWED));
    }
    refuse_type(headers)?;
    refuse_foreign_page(&method, headers)?;
    if !accepts(headers) {
        return Err(Refusal::of(StatusCode::NOT_ACCEPTABLE));
    }
    let body = body::read(body, BODY_BYTES_MAX).await.map_err(|unread| match unread {
        Unread::TooLarge => Refusal::new(413, format!("the body is larger than {} MiB", BODY_BYTES_MAX >> 20)),
        Unread::Broken(why) => Refusal::new(400, why),
    })?;
    let mut query: HashMap<String, Vec<String>> = HashMap::new();
    for (name, word) in axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri).map_or(Vec::new(), |q| q.0) {
        query.entry(name).or_default().push(word);
    }
    let call = Call { face, method, query, body };
    // Changes wait for the disk, and offsets are read from there.
    let work = tokio::task::spawn_blocking(move || resource.answer(&call));
    work.await.unwrap_or_else(|_| Err(Refusal::new(500, "the request could not be answered")))
}

/// A body is JSON, and says so.
fn refuse_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let has_body = length.is_some_and(|length| length != "0") || headers.contains_key(TRANSFER_ENCODING);
    let given = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    match given.map(|given| given.split(';').next().unwrap_or_default().trim()) {
        Some(given) if given.eq_ignore_ascii_case("application/json") => Ok(()),
        Some(given) if !given.contains('/') => {
            Err(Refusal::new(400, format!("`{}` is not a media type", given.escape_debug())))
        }
        None if !has_body => Ok(()),
        Some("*/*" | "application/*") => Ok(()),
        _ => Err(Refusal::of(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
    }
}

/// A page of another site may send a POST without a body; browsers say so.
fn refuse_foreign_page(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    let is_foreign = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    match *method == Method::POST && is_foreign {
        true => Err(Refusal::new(403, "pages of other sites may not change anything here")),
        false => Ok(()),
    }
}

/// Whether JSON is among what the client takes.
fn accepts(headers: &HeaderMap) -> bool {
    let mut wanted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if wanted.peek().is_none() {
        return true;
    }
    wanted.flat_map(|value| value.split(',')).any(|part| {
        let name = part.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_zero = part.split(';').skip(1).any(|parameter| matches!(parameter.trim(), "q=0" | "q=0.0"));
        !is_zero && matches!(name.as_str(), "*/*" | "application/*" | "application/json")
    })
}
