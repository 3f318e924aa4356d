//! `/v1/pipelines`: what is submitted, what is wanted of it, and what it does.
//!
//! A pipeline is named by its path and `?namespace=` (default `default`). Its ETag names its state: `If-Match` on a
//! change refuses a stale one. `?accept_reset=STEP`, as often as wanted, lets a changed pipeline start without the state of
//! that step. What was submitted never comes back, only the names of its files: it may hold secrets.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::BODY_BYTES_MAX;
use super::body::{self, Unread};
use super::refusal::Refusal;
use crate::deploy::logs::Line;
use crate::deploy::store::Wanted;
use crate::deploy::submission::{Name, Submission};
use crate::deploy::supervisor::{Described, Expect, Reason, Refused, State as PipelineState, Supervisor};
use crate::engine::metrics::Snapshot;
use crate::spec::is_document_name;
use crate::time::Millis;

/// How long a DELETE waits for the job's last commit.
const DELETE_PATIENCE: Duration = Duration::from_secs(10);
/// Lines of a log without `?lines=`.
const LINES: usize = 100;

pub fn routes() -> Router<Arc<Supervisor>> {
    Router::new()
        .route("/v1/pipelines", get(list).post(create))
        .route("/v1/pipelines/{name}", get(show).put(change).delete(remove))
        .route("/v1/pipelines/{name}/pause", put(pause))
        .route("/v1/pipelines/{name}/resume", put(resume))
        .route("/v1/pipelines/{name}/stop", put(stop))
        .route("/v1/pipelines/{name}/restart", put(restart))
        .route("/v1/pipelines/{name}/logs", get(logs))
}

/// A pipeline as it is answered.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pipeline {
    pub name: String,
    pub namespace: String,
    /// The connector that it is made of: it is changed at `/connectors`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connector: Option<String>,
    /// Counts changes, from 1.
    pub generation: u64,
    /// For `If-Match`.
    pub etag: String,
    pub wanted: Wanted,
    pub state: PipelineState,
    /// Milliseconds since 1970.
    pub since: Millis,
    /// Starts after failures, since the server was started.
    pub restarts: u64,
    /// Why it does not run, or why it did not a while ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Since the server was started.
    pub metrics: Snapshot,
    /// When its specs were submitted, in milliseconds since 1970.
    pub submitted: Millis,
    /// The names of its specs.
    pub files: Vec<String>,
    /// As it was planned last. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Json>,
}

/// All of them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pipelines {
    /// By namespace and name.
    pub pipelines: Vec<Pipeline>,
}

/// The last lines of a log.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Log {
    /// The oldest first.
    pub lines: Vec<Line>,
}

impl Pipeline {
    fn of(described: Described) -> Self {
        let Described { kept, status, metrics, plan, has_run: _ } = described;
        Pipeline {
            name: kept.name.name.clone(),
            namespace: kept.name.namespace.clone(),
            connector: kept.connector.as_ref().map(|connector| connector.name.clone()),
            generation: kept.generation,
            etag: kept.etag(),
            wanted: kept.wanted,
            state: status.state,
            since: status.since,
            restarts: status.restarts,
            reason: status.reason,
            metrics,
            submitted: kept.submitted,
            files: kept.submission.files.iter().map(|file| file.name.clone()).collect(),
            plan,
        }
    }

    fn answer(described: Described, status: StatusCode) -> Response {
        let etag = described.kept.etag();
        answer(status, &[(ETAG, etag)], &Pipeline::of(described))
    }
}

fn answer(status: StatusCode, headers: &[(HeaderName, String)], body: &impl Serialize) -> Response {
    let text = match serde_json::to_string(body) {
        Ok(text) => text,
        Err(error) => {
            return Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "http.answer", error.to_string()).into_response();
        }
    };
    let mut response = (status, [(CONTENT_TYPE, "application/json")], text).into_response();
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The pipeline that a request is about.
struct Named(Name);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let bad = |text: String| Refusal::new(StatusCode::BAD_REQUEST, "http.name", text);
        let path = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let name = path.map_err(|rejected| bad(rejected.body_text()))?.0.remove("name").unwrap_or_default();
        let query = Query::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let query = query.map_err(|rejected| bad(rejected.body_text()))?.0;
        let namespace = query.get("namespace").map_or("default", String::as_str).to_owned();
        if let Some(wrong) = [&name, &namespace].into_iter().find(|name| !is_document_name(name)) {
            let message = format!("`{}` is not a name", wrong.escape_debug());
            let hint = "it begins with a letter or a digit, and goes on with letters, digits, `.`, `_` and `-`";
            return Err(bad(message).hint(hint));
        }
        Ok(Named(Name { namespace, name }))
    }
}

/// Steps whose state may be given up.
struct Accepted(BTreeSet<String>);

impl<S: Send + Sync> FromRequestParts<S> for Accepted {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let query =
            query.map_err(|rejected| Refusal::new(StatusCode::BAD_REQUEST, "http.query", rejected.body_text()))?.0;
        Ok(Accepted(query.into_iter().filter(|(key, _)| key == "accept_reset").map(|(_, step)| step).collect()))
    }
}

/// What the request's headers say must hold.
fn expected(headers: &HeaderMap) -> Expect {
    let texts = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let etags: Vec<String> =
        texts(IF_MATCH).flat_map(|value| value.split(',')).map(|one| one.trim().to_owned()).collect();
    if etags.iter().any(|etag| etag == "*") {
        Expect::There
    } else if !etags.is_empty() {
        Expect::Etags(etags)
    } else if texts(IF_NONE_MATCH).any(|value| value.trim() == "*") {
        Expect::New
    } else {
        Expect::Anything
    }
}

/// Work that waits for the disk, off the threads that answer.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refused> + Send + 'static) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Refusal::from),
        Err(_) => {
            Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "serve.panic", "the request could not be answered"))
        }
    }
}

/// What was made of a connector is shown here, and changed at `/connectors`.
fn refuse_connector(supervisor: &Supervisor, name: &Name) -> Result<(), Refused> {
    match &supervisor.get(name)?.kept.connector {
        Some(connector) => Err(Refused::OfConnector(connector.name.clone())),
        None => Ok(()),
    }
}

async fn list(State(supervisor): State<Arc<Supervisor>>) -> Response {
    let bare = |described| Pipeline::of(Described { plan: None, ..described });
    answer(StatusCode::OK, &[], &Pipelines { pipelines: supervisor.list().into_iter().map(bare).collect() })
}

async fn show(State(supervisor): State<Arc<Supervisor>>, Named(name): Named) -> Result<Response, Refusal> {
    Ok(Pipeline::answer(supervisor.get(&name)?, StatusCode::OK))
}

async fn create(
    State(supervisor): State<Arc<Supervisor>>,
    Accepted(accepted): Accepted,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let submission = submission(&headers, body::read(body, BODY_BYTES_MAX).await, "submitted.yaml")?;
    let done = blocking(move || supervisor.submit(&submission, None, &accepted, &Expect::New)).await?;
    let first = done.first().map(|(described, _)| path_of(&described.kept.name));
    let pipelines = done.into_iter().map(|(described, _)| Pipeline::of(described)).collect();
    let location: Vec<_> = first.into_iter().map(|path| (LOCATION, path)).collect();
    Ok(answer(StatusCode::CREATED, &location, &Pipelines { pipelines }))
}

fn path_of(name: &Name) -> String {
    match name.namespace.as_str() {
        "default" => format!("/v1/pipelines/{}", name.name),
        namespace => format!("/v1/pipelines/{}?namespace={namespace}", name.name),
    }
}

async fn change(
    State(supervisor): State<Arc<Supervisor>>,
    Named(name): Named,
    Accepted(accepted): Accepted,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let submission = submission(&headers, body::read(body, BODY_BYTES_MAX).await, &format!("{}.yaml", name.name))?;
    let expect = expected(&headers);
    let mut done = blocking(move || supervisor.submit(&submission, Some(&name), &accepted, &expect)).await?;
    let (described, is_new) = done
        .pop()
        .ok_or_else(|| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "serve.nothing", "nothing was submitted"))?;
    Ok(Pipeline::answer(described, if is_new { StatusCode::CREATED } else { StatusCode::OK }))
}

async fn remove(
    State(supervisor): State<Arc<Supervisor>>,
    Named(name): Named,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let expect = expected(&headers);
    let gone = blocking(move || {
        refuse_connector(&supervisor, &name)?;
        supervisor.remove(&name, &expect)
    });
    let gone = gone.await?;
    // It is forgotten already; its job may still have to commit.
    let ended = tokio::time::timeout(DELETE_PATIENCE, gone.wait()).await.is_ok();
    Ok(if ended { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED })
}

async fn pause(state: State<Arc<Supervisor>>, name: Named, headers: HeaderMap) -> Result<Response, Refusal> {
    want(state, name, &headers, Wanted::Paused).await
}

async fn resume(state: State<Arc<Supervisor>>, name: Named, headers: HeaderMap) -> Result<Response, Refusal> {
    want(state, name, &headers, Wanted::Running).await
}

async fn stop(state: State<Arc<Supervisor>>, name: Named, headers: HeaderMap) -> Result<Response, Refusal> {
    want(state, name, &headers, Wanted::Stopped).await
}

async fn want(
    State(supervisor): State<Arc<Supervisor>>,
    Named(name): Named,
    headers: &HeaderMap,
    wanted: Wanted,
) -> Result<Response, Refusal> {
    let expect = expected(headers);
    let described = blocking(move || {
        refuse_connector(&supervisor, &name)?;
        supervisor.want(&name, wanted, &expect)
    });
    let described = described.await?;
    Ok(Pipeline::answer(described, StatusCode::ACCEPTED))
}

async fn restart(
    State(supervisor): State<Arc<Supervisor>>,
    Named(name): Named,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let expect = expected(&headers);
    let described = blocking(move || {
        refuse_connector(&supervisor, &name)?;
        supervisor.restart(&name, &expect)
    });
    let described = described.await?;
    Ok(Pipeline::answer(described, StatusCode::ACCEPTED))
}

async fn logs(
    State(supervisor): State<Arc<Supervisor>>,
    Named(name): Named,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Refusal> {
    let count = match query.get("lines").map(|lines| lines.parse()) {
        None => LINES,
        Some(Ok(count)) => count,
        Some(Err(_)) => {
            let message = "`lines` is not a number";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "http.query", message));
        }
    };
    Ok(answer(StatusCode::OK, &[], &Log { lines: supervisor.logs(&name, count)? }))
}

/// YAML or JSON documents as they are, or a [`Submission`] in JSON.
fn submission(headers: &HeaderMap, body: Result<Bytes, Unread>, file_name: &str) -> Result<Submission, Refusal> {
    let bad = |text: String| Refusal::new(StatusCode::BAD_REQUEST, "http.body", text);
    let body = body.map_err(|unread| match unread {
        Unread::TooLarge => {
            let message = format!("the body is larger than {} MiB", BODY_BYTES_MAX >> 20);
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "http.too_large", message)
        }
        Unread::Broken(why) => bad(why),
    })?;
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let text = std::str::from_utf8(&body).map_err(|error| bad(format!("the body is not UTF-8 text: {error}")))?;
    match given.as_str() {
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Submission::of_text(file_name, text)),
        "application/json" => {
            let json: Json =
                serde_json::from_str(text).map_err(|error| bad(format!("the body is not JSON: {error}")))?;
            if json.get("files").is_none() {
                // A document in JSON is one in YAML.
                return Ok(Submission::of_text(file_name, text));
            }
            serde_json::from_value(json).map_err(|error| bad(format!("the body is no submission: {error}")))
        }
        _ => {
            let message = "the body's Content-Type must be `application/yaml` or `application/json`";
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "http.content_type", message))
        }
    }
}
