//! The schema registry's HTTP face: Confluent's API over the embedded registry.
//!
//! One pure-looking function answers a request: [`answer`] takes method, path, query and body, and blocks on the
//! registry's file. A path under `/contexts/.name/` means the same inside that context. `bodies` has what
//! comes and goes.

mod bodies;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value as Json, json};

use self::bodies::{configured, described, identified, new_schema, object};
use crate::registry::EmbeddedRegistry;
use crate::registry::book::{Against, Book, DEFAULT_CONTEXT, Deleted, Found, Subject, Which, has_rule};
use crate::registry::refusal::Refusal;
use crate::server::body::{self, Unread};
use crate::server::path_segments;

/// Largest body that is read. Schemas of megabytes exist, but not many.
const BODY_BYTES_MAX: usize = 10 << 20;
/// So many schemas are listed at once, whatever limit is given.
const SCHEMAS_MAX: usize = 1_000;
/// What answers are made of, the best first.
const TYPES: &[&str] =
    &["application/vnd.schemaregistry.v1+json", "application/vnd.schemaregistry+json", "application/json"];

/// The face as a service of its own.
pub fn router(registry: Arc<EmbeddedRegistry>) -> Router {
    Router::new().fallback(face).with_state(registry)
}

async fn face(
    State(registry): State<Arc<EmbeddedRegistry>>,
    method: Method,
    uri: Uri,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(content_type) = accepted(&headers) else {
        return refused(&Refusal::new(406, "HTTP 406 Not Acceptable"), TYPES[0]);
    };
    let body = match body::read(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(Unread::TooLarge) => {
            let message = format!("Schema is too large: more than {BODY_BYTES_MAX} bytes");
            return refused(&Refusal::new(42209, message), content_type);
        }
        Err(Unread::Broken(why)) => return refused(&Refusal::new(400, why), content_type),
    };
    let given = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("").to_owned());
    let work = move || {
        let Some(path) = path_segments(uri.path()) else {
            return Err(Refusal::new(400, "the path is not UTF-8, or its percent signs are wrong"));
        };
        let call = Call { registry: &registry, method, query: Asked(query), body, given, context: None };
        answer(&call, &path.iter().map(String::as_str).collect::<Vec<_>>())
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(Reply::Json(json))) => ([(CONTENT_TYPE, content_type)], json.to_string()).into_response(),
        Ok(Ok(Reply::Text(text))) => ([(CONTENT_TYPE, content_type)], text).into_response(),
        Ok(Err(refusal)) => refused(&refusal, content_type),
        Err(_) => refused(&Refusal::new(50001, "the request could not be answered"), content_type),
    }
}

fn refused(refusal: &Refusal, content_type: &'static str) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({ "error_code": refusal.code, "message": refusal.message }).to_string();
    let mut response = (status, [(CONTENT_TYPE, content_type)], body).into_response();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE"));
    }
    response
}

/// The type of the answer; `None` if the client takes none of ours.
fn accepted(headers: &HeaderMap) -> Option<&'static str> {
    let wanted: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if wanted.is_empty() {
        return Some(TYPES[0]);
    }
    let weight = |part: &str| {
        let quality = part.split(';').skip(1).find_map(|parameter| parameter.trim().strip_prefix("q="));
        quality.and_then(|quality| quality.trim().parse::<f32>().ok()).unwrap_or(1.0)
    };
    let parts = wanted.iter().flat_map(|value| value.split(','));
    let known = parts.filter_map(|part| {
        let name = part.split(';').next().unwrap_or("").trim();
        let ours = match name {
            "*/*" | "application/*" => Some(TYPES[0]),
            name => TYPES.iter().copied().find(|known| known.eq_ignore_ascii_case(name)),
        };
        ours.map(|ours| (weight(part), ours)).filter(|(weight, _)| *weight > 0.0)
    });
    // The first of the best.
    known
        .fold(None, |best: Option<(f32, &str)>, one| match best {
            Some(best) if best.0 >= one.0 => Some(best),
            _ => Some(one),
        })
        .map(|(_, ours)| ours)
}

/// What is answered.
#[derive(Debug, PartialEq)]
enum Reply {
    Json(Json),
    /// A schema as it is, unquoted.
    Text(String),
}

/// A request.
struct Call<'a> {
    registry: &'a EmbeddedRegistry,
    method: Method,
    query: Asked,
    body: Bytes,
    /// Content type of the body.
    given: Option<String>,
    /// Of the path.
    context: Option<String>,
}

type Answered = Result<Reply, Refusal>;

/// What stands behind the path, in its order.
#[derive(Clone)]
struct Asked(Vec<(String, String)>);

impl Asked {
    fn get(&self, name: &str) -> Option<&String> {
        self.0.iter().rfind(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a String> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value)
    }
}

fn answer(call: &Call<'_>, path: &[&str]) -> Answered {
    match path {
        [] => call.get(|| ok(json!({}))),
        ["subjects"] => call.get(|| call.subjects()),
        ["subjects", subject] => match call.method {
            Method::POST => call.lookup(subject),
            Method::DELETE => call.delete_subject(subject),
            _ => not_allowed(),
        },
        ["subjects", subject, "versions"] => match call.method {
            Method::GET | Method::HEAD => call.versions(subject),
            Method::POST => call.register(subject),
            _ => not_allowed(),
        },
        ["subjects", subject, "metadata"] => call.get(|| call.with_metadata(subject)),
        ["subjects", subject, "versions", version] => match call.method {
            Method::GET | Method::HEAD => ok(described(&call.version(subject, version)?, true)),
            Method::DELETE => call.delete_version(subject, version),
            _ => not_allowed(),
        },
        ["subjects", subject, "versions", version, "schema"] => {
            call.get(|| Ok(Reply::Text(call.version(subject, version)?.entry.schema)))
        }
        ["subjects", subject, "versions", version, "referencedby"] => call.get(|| {
            let found = call.version(subject, version)?;
            ok(json!(call.page(call.registry.book()?.referenced_by(&found.subject, found.version))?))
        }),
        ["schemas"] => call.get(|| call.schemas()),
        ["schemas", "types"] => call.get(|| ok(json!(["AVRO"]))),
        ["schemas", "ids", id] => call.get(|| call.by_id(id)),
        ["schemas", "ids", id, "schema"] => call.get(|| Ok(Reply::Text(call.entry(id)?.1))),
        ["schemas", "ids", id, what @ ("subjects" | "versions")] => call.get(|| call.uses(id, what)),
        ["schemas", "guids", guid] => call.get(|| call.by_guid(guid)),
        ["schemas", "guids", guid, "ids"] => call.get(|| {
            let found = call.registry.book()?.by_guid(parse_guid(guid)?);
            ok(found.iter().map(|(context, id)| json!({ "context": context, "id": id })).collect())
        }),
        ["compatibility", "subjects", subject, "versions", rest @ ..] if rest.len() < 2 => match call.method {
            Method::POST => call.check(subject, rest.first().copied()),
            _ => not_allowed(),
        },
        ["config", rest @ ..] if rest.len() < 2 => call.config(&call.place(rest)),
        ["mode", rest @ ..] if rest.len() < 2 => call.mode(&call.place(rest)),
        ["contexts"] => call.get(|| ok(json!(call.page(call.registry.book()?.contexts())?))),
        ["contexts", context] if call.method == Method::DELETE => {
            call.registry.change(|book| book.delete_context(context))?;
            ok(json!(context))
        }
        ["contexts", context, rest @ ..] if context.starts_with('.') && !rest.is_empty() => {
            let (method, query) = (call.method.clone(), call.query.clone());
            let (body, given) = (call.body.clone(), call.given.clone());
            let context = Some((*context).to_owned());
            answer(&Call { registry: call.registry, method, query, body, given, context }, rest)
        }
        ["v1", "metadata", "id"] => call.get(|| {
            let clusters = json!({ "kafka-cluster": "", "schema-registry-cluster": "runner" });
            ok(json!({ "scope": { "path": [], "clusters": clusters } }))
        }),
        ["v1", "metadata", "version"] => {
            call.get(|| ok(json!({ "version": env!("CARGO_PKG_VERSION"), "commitId": "" })))
        }
        _ => Err(Refusal::new(404, "HTTP 404 Not Found")),
    }
}

fn ok(json: Json) -> Answered {
    Ok(Reply::Json(json))
}

fn not_allowed() -> Answered {
    Err(Refusal::new(405, "HTTP 405 Method Not Allowed"))
}

impl Call<'_> {
    fn get(&self, reply: impl FnOnce() -> Answered) -> Answered {
        if matches!(self.method, Method::GET | Method::HEAD) { reply() } else { not_allowed() }
    }

    fn flag(&self, name: &str) -> bool {
        self.query.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn deleted(&self) -> Deleted {
        match (self.flag("deletedOnly"), self.flag("deleted")) {
            (true, _) => Deleted::Only,
            (_, true) => Deleted::Shown,
            _ => Deleted::Hidden,
        }
    }

    fn number(&self, name: &str, default: i64) -> Result<i64, Refusal> {
        let given = self.query.get(name);
        given.map_or(Ok(default), |text| text.parse().map_err(|_| Refusal::new(404, "HTTP 404 Not Found")))
    }

    /// The part of a list that `offset` and `limit` ask for.
    fn page<T>(&self, all: impl IntoIterator<Item = T>) -> Result<Vec<T>, Refusal> {
        let (offset, limit) = (self.number("offset", 0)?, self.number("limit", -1)?);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(all.into_iter().skip(usize::try_from(offset).unwrap_or(0)).take(limit).collect())
    }

    /// The subject of a path, inside the path's context.
    fn subject(&self, text: &str) -> Subject {
        match &self.context {
            Some(context) if !text.starts_with(':') => Subject { context: context.clone(), name: text.into() },
            _ => Subject::parse(text),
        }
    }

    /// What a setting is for.
    fn place(&self, rest: &[&str]) -> String {
        match (rest.first(), &self.context) {
            (Some(subject), _) => self.subject(subject).shown(),
            (None, Some(context)) => format!(":{context}:"),
            (None, None) => String::new(),
        }
    }

    /// The context in which an id is looked up.
    fn id_context(&self) -> String {
        match self.query.get("subject") {
            Some(subject) => self.subject(subject).context,
            None => self.context.clone().unwrap_or_else(|| DEFAULT_CONTEXT.into()),
        }
    }

    fn subjects(&self) -> Answered {
        let prefix = match (self.query.get("subjectPrefix"), &self.context) {
            (Some(prefix), Some(context)) if !prefix.starts_with(':') => format!(":{context}:{prefix}"),
            (Some(prefix), _) => prefix.clone(),
            (None, Some(context)) => format!(":{context}:"),
            (None, None) => ":*:".into(),
        };
        let subjects = self.registry.book()?.subjects(&prefix, self.deleted());
        ok(json!(self.page(subjects.iter().map(Subject::shown))?))
    }

    fn versions(&self, subject: &str) -> Answered {
        let book = self.registry.book()?;
        let negative = self.flag("deletedAsNegative");
        let wanted = if negative { Deleted::Shown } else { self.deleted() };
        let versions = book.versions(&book.resolve(&self.subject(subject)), wanted)?;
        let number = |found: Found| if negative && found.deleted { -found.version } else { found.version };
        ok(json!(self.page(versions.into_iter().map(number))?))
    }

    fn version(&self, subject: &str, version: &str) -> Result<Found, Refusal> {
        let which = Which::parse(version)?;
        let book = self.registry.book()?;
        let mut found = book.version(&book.resolve(&self.subject(subject)), which, self.deleted())?;
        self.format(&book, &mut found)?;
        Ok(found)
    }

    /// `format=resolved`: with what it refers to written out.
    fn format(&self, book: &Book, found: &mut Found) -> Result<(), Refusal> {
        if self.query.get("format").is_some_and(|format| format == "resolved") {
            found.entry.schema = book.resolved(found)?;
        }
        Ok(())
    }

    fn with_metadata(&self, subject: &str) -> Answered {
        let book = self.registry.book()?;
        // The first key goes with the first value, and so on.
        let pairs: Vec<(&String, Option<&String>)> = {
            let mut values = self.query.all("value");
            self.query.all("key").map(|key| (key, values.next())).collect()
        };
        let fits = |found: &Found| {
            let properties = found.entry.metadata.as_ref().and_then(|metadata| metadata.get("properties"));
            let has = |key: &String| properties.and_then(|all| all.get(key)?.as_str());
            pairs.iter().all(|(key, value)| has(key) == value.map(String::as_str))
        };
        let versions = book.versions(&book.resolve(&self.subject(subject)), self.deleted())?;
        let mut found = versions.into_iter().rev().find(fits).ok_or_else(Refusal::no_schema)?;
        self.format(&book, &mut found)?;
        ok(described(&found, true))
    }

    fn register(&self, subject: &str) -> Answered {
        let new = new_schema(self.body()?)?;
        let subject = self.subject(subject).checked()?;
        let mut found = self.registry.add(&subject, new, self.flag("normalize"))?;
        self.format(&*self.registry.book()?, &mut found)?;
        ok(identified(&found))
    }

    fn lookup(&self, subject: &str) -> Answered {
        let new = new_schema(self.body()?)?;
        let book = self.registry.book()?;
        let subject = book.resolve(&self.subject(subject));
        let mut found = book.lookup(&subject, &new, self.flag("normalize"), self.deleted())?;
        self.format(&book, &mut found)?;
        ok(described(&found, false))
    }

    fn delete_subject(&self, subject: &str) -> Answered {
        let subject = self.subject(subject);
        ok(json!(self.registry.change(|book| book.delete_subject(&subject, self.flag("permanent")))?))
    }

    fn delete_version(&self, subject: &str, version: &str) -> Answered {
        let (subject, which) = (self.subject(subject), Which::parse(version)?);
        ok(json!(self.registry.change(|book| book.delete_version(&subject, which, self.flag("permanent")))?))
    }

    fn schemas(&self) -> Answered {
        let book = self.registry.book()?;
        let prefix = match (self.query.get("subjectPrefix"), &self.context) {
            (Some(prefix), _) => prefix.clone(),
            (None, Some(context)) => format!(":{context}:"),
            (None, None) => ":*:".into(),
        };
        let mut found = Vec::new();
        let subjects = book.subjects(&prefix, self.deleted());
        let aliases = if self.flag("aliases") { book.aliases(&prefix) } else { Vec::new() };
        let own = subjects.into_iter().map(|subject| (subject.clone(), subject));
        for (shown, subject) in own.chain(aliases) {
            let versions = book.versions(&subject, self.deleted()).unwrap_or_default();
            let newest = if self.flag("latestOnly") { versions.len().saturating_sub(1) } else { 0 };
            found.extend(versions.into_iter().skip(newest).map(|found| Found { subject: shown.clone(), ..found }));
        }
        if let Some(kind) = self.query.get("ruleType") {
            found.retain(|found| has_rule(&found.entry, kind));
        }
        let page: Vec<Found> = self.page(found)?.into_iter().take(SCHEMAS_MAX).collect();
        ok(page.iter().map(|found| described(found, true)).collect())
    }

    fn by_id(&self, id: &str) -> Answered {
        let (found, schema) = self.entry(id)?;
        let mut body = described(&found, true);
        body["schema"] = schema.into();
        if let (Some(body), true) = (body.as_object_mut(), self.flag("fetchMaxId")) {
            body.insert("maxId".into(), self.registry.book()?.last_id(&found.subject.context).into());
        }
        if let Some(body) = body.as_object_mut() {
            body.shift_remove("id");
        }
        ok(body)
    }

    /// A use of an id, deleted ones too, and its schema in the wanted format.
    fn entry(&self, id: &str) -> Result<(Found, String), Refusal> {
        let id: i32 = id.parse().map_err(|_| Refusal::new(404, "HTTP 404 Not Found"))?;
        let book = self.registry.book()?;
        let uses = book.uses(&self.id_context(), id, Deleted::Shown);
        let hint = self.query.get("subject").map(|subject| self.subject(subject));
        let hinted = uses.iter().position(|found| Some(&found.subject) == hint.as_ref()).unwrap_or(0);
        let mut found = uses.into_iter().nth(hinted);
        let found = found.as_mut().ok_or_else(|| Refusal::new(40403, format!("Schema {id} not found")))?;
        self.format(&book, found)?;
        Ok((found.clone(), found.entry.schema.clone()))
    }

    fn uses(&self, id: &str, what: &str) -> Answered {
        let (known, _) = self.entry(id)?;
        let uses = self.registry.book()?.uses(&self.id_context(), known.id, self.deleted());
        let mut answers: Vec<Json> = uses
            .iter()
            .map(|found| match what {
                "subjects" => found.subject.shown().into(),
                _ => json!({ "subject": found.subject.shown(), "version": found.version }),
            })
            .collect();
        answers.dedup();
        ok(json!(self.page(answers)?))
    }

    fn by_guid(&self, guid: &str) -> Answered {
        let book = self.registry.book()?;
        let found = book.by_guid(parse_guid(guid)?).into_iter().next();
        let found = found.and_then(|(context, id)| book.uses(&context, id, Deleted::Shown).into_iter().next());
        let mut found = found.ok_or_else(Refusal::no_schema)?;
        self.format(&book, &mut found)?;
        let mut body = described(&found, true);
        if let Some(body) = body.as_object_mut() {
            body.shift_remove("id");
        }
        ok(body)
    }

    fn check(&self, subject: &str, version: Option<&str>) -> Answered {
        let against = version.map_or(Ok(Against::Level), |version| Which::parse(version).map(Against::Version))?;
        let new = new_schema(self.body()?)?;
        let book = self.registry.book()?;
        let subject = book.resolve(&self.subject(subject));
        let verbose = self.flag("verbose");
        let checked = match book.check(&subject, &new, against, self.flag("normalize")) {
            // Whoever wants to know why, hears it.
            Err(refusal) if verbose && refusal.code == 42201 => {
                return ok(json!({ "is_compatible": false, "messages": [refusal.message] }));
            }
            checked => checked?,
        };
        ok(match verbose {
            true => json!({ "is_compatible": checked.compatible, "messages": checked.messages }),
            false => json!({ "is_compatible": checked.compatible }),
        })
    }

    fn config(&self, place: &str) -> Answered {
        match self.method {
            Method::GET | Method::HEAD => {
                ok(Json::Object(self.registry.book()?.config(place, self.flag("defaultToGlobal"))?))
            }
            Method::PUT => {
                let given = object(self.body()?)?;
                self.registry.change(|book| book.set_config(place, &given))?;
                ok(configured(given))
            }
            Method::DELETE => ok(Json::Object(self.registry.change(|book| book.delete_config(place))?)),
            _ => not_allowed(),
        }
    }

    fn mode(&self, place: &str) -> Answered {
        let shown = |mode: crate::registry::level::Mode| ok(json!({ "mode": mode.word() }));
        match self.method {
            Method::GET | Method::HEAD => shown(self.registry.book()?.mode_of(place, self.flag("defaultToGlobal"))?),
            Method::PUT => {
                let given: Map<String, Json> = object(self.body()?)?;
                let word = given.get("mode").and_then(Json::as_str).unwrap_or_default();
                shown(self.registry.change(|book| book.set_mode(place, word, self.flag("force")))?)
            }
            Method::DELETE => shown(self.registry.change(|book| book.delete_mode(place, self.flag("recursive")))?),
            _ => not_allowed(),
        }
    }

    /// The body, whose type must be one that is read.
    fn body(&self) -> Result<&[u8], Refusal> {
        let given = self.given.as_deref().map(|given| given.split(';').next().unwrap_or("").trim());
        let known = |given: &str| TYPES.contains(&given) || given == "application/octet-stream";
        if !given.is_some_and(known) {
            return Err(Refusal::new(415, "HTTP 415 Unsupported Media Type"));
        }
        if self.body.is_empty() {
            return Err(Refusal::new(422, "the request has no body"));
        }
        Ok(&self.body)
    }
}

fn parse_guid(text: &str) -> Result<uuid::Uuid, Refusal> {
    uuid::Uuid::parse_str(text).map_err(|_| Refusal::no_schema())
}
