//! Client of a schema registry over HTTP, Confluent's or another that speaks its protocol.
//!
//! Answers are judged by status and `error_code`, never by their texts, which differ between
//! servers and versions. A server that is away or overloaded is asked again with growing pauses
//! until [`Settings::patience`] is over; a refusal is final at once. Credentials stand in no message.
//!
//! Calls block: they are made from plain threads or `spawn_blocking`, never on a tokio worker.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, ClientBuilder, RequestBuilder, Response};
use reqwest::{Certificate, Identity, Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::avro::Schema;
use super::{Registered, Registry, Verdict, compatibility};
use crate::report::Failure;

/// How long one call of a running pipeline waits for a registry that does not answer. Who calls tries again
/// by itself, says so, and can be stopped in between: no call may take long.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The same while planning: a missing server is named within this time.
pub const PLAN_PATIENCE: Duration = Duration::from_millis(1_500);

const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const ACCEPT: &str = "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, application/json";
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Who is asking. User and password in the URL do as well.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Auth {
    #[default]
    None,
    Basic {
        user: String,
        password: String,
    },
    Bearer(String),
}

impl std::fmt::Debug for Auth {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Auth::None => "None",
            Auth::Basic { .. } => "Basic(…)",
            Auth::Bearer(_) => "Bearer(…)",
        })
    }
}

/// Certificates, as PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who may have signed the server's certificate; `None`: whom the system trusts.
    pub ca: Option<String>,
    /// Our own certificate, with those above it, and its key.
    pub identity: Option<(String, String)>,
}

/// Where a registry is and how it is asked.
#[derive(Clone, PartialEq)]
pub struct Settings {
    /// The connection's name, for people; empty: none of its own.
    pub connection: String,
    /// One URL or several with commas, each with an optional path and user info. The next one is
    /// asked when one cannot be reached.
    pub url: String,
    pub auth: Auth,
    pub tls: Tls,
    /// Secrets among these, filled in: they stand in no message.
    pub hidden: Vec<String>,
    /// How long one call may wait for a server that is away, all attempts together.
    pub patience: Duration,
}

impl Settings {
    pub fn new(url: impl Into<String>) -> Self {
        Settings {
            connection: String::new(),
            url: url.into(),
            auth: Auth::None,
            tls: Tls::default(),
            hidden: Vec::new(),
            patience: PATIENCE,
        }
    }
}

impl std::fmt::Debug for Settings {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("auth", &self.auth).field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// A registry behind HTTP.
pub struct HttpRegistry {
    client: Arc<Client>,
    servers: Vec<Server>,
    /// Index of the server that answered last.
    current: AtomicUsize,
    auth: Auth,
    /// Secrets that stand in no message.
    hidden: Vec<String>,
    patience: Duration,
    by_id: Mutex<HashMap<i32, Arc<str>>>,
}

struct Server {
    /// With user info, if it was given and no other credentials were.
    url: Url,
    /// Without.
    shown: String,
    /// "`http://…` (connection `default`)".
    place: String,
}

impl std::fmt::Debug for HttpRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRegistry").field("url", &self.describe()).finish()
    }
}

impl HttpRegistry {
    /// A client; nothing is asked yet.
    ///
    /// # Errors
    /// `registry.url` (user) if there is no usable URL.
    pub fn new(settings: Settings) -> Result<Self, Failure> {
        let keep_user_info = settings.auth == Auth::None;
        let urls = settings.url.split(',').map(str::trim).filter(|url| !url.is_empty());
        let server = |url| Server::parse(url, keep_user_info, &settings);
        let servers: Vec<Server> = urls.map(server).collect::<Result<_, _>>()?;
        if servers.is_empty() {
            return Err(Failure::user("registry.url", "the schema registry has no URL"));
        }
        // All of them together are tried within the time that one may take.
        let connect_timeout = CONNECT_TIMEOUT / servers.len() as u32;
        let client = settings.tls.client(connect_timeout.max(Duration::from_millis(300)))?;
        Ok(HttpRegistry {
            client,
            servers,
            current: AtomicUsize::new(0),
            auth: settings.auth,
            hidden: settings.hidden,
            patience: settings.patience,
            by_id: Mutex::default(),
        })
    }

    /// Asks for anything, to find out whether the registry is there and lets us in.
    pub fn ping(&self) -> Result<(), Failure> {
        self.call(Method::GET, &["subjects"], &[], None).and_then(|answer| answer.ok("list the subjects")).map(drop)
    }

    /// Makes a call, again and on other servers while nobody answers.
    fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&serde_json::Value>,
    ) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let mut trouble = None;
            let first = self.current.load(Ordering::Relaxed);
            for step in 0..self.servers.len() {
                let index = (first + step) % self.servers.len();
                let server = &self.servers[index];
                let timeout = deadline.saturating_duration_since(Instant::now()).clamp(CONNECT_TIMEOUT, ANSWER_TIMEOUT);
                let request = self.request(method.clone(), server.endpoint(path, query)?, body).timeout(timeout);
                match request.send().and_then(Answer::read) {
                    Ok(answer) if is_passing(answer.status) => trouble = Some(server.unwell(&answer)),
                    Ok(answer) => {
                        self.current.store(index, Ordering::Relaxed);
                        return answer.unless_unauthorized(server);
                    }
                    Err(error) => trouble = Some(server.unreachable(error, &self.hidden)),
                }
                if let Some(refusal) = trouble.take_if(|trouble| !trouble.retry) {
                    return Err(refusal);
                }
            }
            let trouble = trouble.expect("there is at least one server, so there was an attempt");
            let left = deadline.saturating_duration_since(Instant::now());
            if left < pause {
                return Err(trouble);
            }
            tracing::debug!(failure = %trouble, "asking the schema registry again");
            // A pause that differs between clients keeps them from coming back all at once.
            std::thread::sleep(pause.mul_f64(0.5 + random_fraction() / 2.0));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn request(&self, method: Method, url: Url, body: Option<&serde_json::Value>) -> RequestBuilder {
        let mut request = self.client.request(method, url).header("Accept", ACCEPT);
        if let Some(body) = body {
            request = request.header("Content-Type", CONTENT_TYPE).body(body.to_string());
        }
        match &self.auth {
            Auth::None => request,
            Auth::Basic { user, password } => request.basic_auth(user, Some(password)),
            Auth::Bearer(token) => request.bearer_auth(token),
        }
    }

    /// The incompatibilities that a version of the subject has with a schema; `None`: there is no such version.
    fn check(&self, subject: &str, schema: &str, latest_only: bool) -> Result<Option<Verdict>, Failure> {
        let all = ["compatibility", "subjects", subject, "versions"];
        let latest = ["compatibility", "subjects", subject, "versions", "latest"];
        let path: &[&str] = if latest_only { &latest } else { &all };
        let answer = self.call(Method::POST, path, &[("verbose", "true")], Some(&json!({ "schema": schema })))?;
        if answer.status == StatusCode::NOT_FOUND || answer.status == StatusCode::METHOD_NOT_ALLOWED {
            return Ok(None);
        }
        let answer = answer.for_schema(subject, schema)?.ok("check the compatibility")?;
        let verdict: CheckBody = answer.json()?;
        Ok(Some(Verdict { compatible: verdict.is_compatible, messages: verdict.messages }))
    }

    /// The subject's compatibility level, in capitals; `None` if it cannot be had.
    fn level(&self, subject: &str) -> Option<String> {
        let ask = |path: &[&str], query: &[(&str, &str)]| {
            let answer = self.call(Method::GET, path, query, None).ok()?.ok("read the level").ok()?;
            answer.json::<ConfigBody>().ok()
        };
        let config = ask(&["config", subject], &[("defaultToGlobal", "true")]).or_else(|| ask(&["config"], &[]))?;
        Some(config.compatibility_level.to_uppercase())
    }

    /// Why a schema was refused: what the server said, and what we find ourselves.
    fn incompatible(&self, subject: &str, schema: &str, said: &str) -> Failure {
        let mut reasons = match self.compatible(subject, schema) {
            Ok(Verdict { compatible: false, messages }) => messages,
            _ => Vec::new(),
        };
        if reasons.is_empty() && !said.is_empty() {
            reasons.push(said.to_string());
        }
        super::incompatible(subject, &reasons)
    }

    /// What our own comparison with the newest version finds; nothing if it cannot be made.
    fn own_findings(&self, subject: &str, schema: &str) -> compatibility::Findings {
        let newest = self.latest(subject).ok().flatten();
        let old = newest.and_then(|newest| Schema::parse(&newest.schema).ok());
        match (Schema::parse(schema).ok(), old) {
            (Some(new), Some(old)) => compatibility::can_read(&new, &old),
            _ => compatibility::Findings::default(),
        }
    }

    fn registered(&self, answer: Answer, what: &str) -> Result<Option<Registered>, Failure> {
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body: VersionBody = answer.ok(what)?.json()?;
        let which = format!("version {} of `{}`", body.version, body.subject);
        expect_avro(&which, body.schema_type.as_deref(), body.references.as_deref())?;
        Ok(Some(Registered { subject: body.subject, id: body.id, version: body.version, schema: body.schema }))
    }
}

impl Registry for HttpRegistry {
    fn latest(&self, subject: &str) -> Result<Option<Registered>, Failure> {
        let answer = self.call(Method::GET, &["subjects", subject, "versions", "latest"], &[], None)?;
        self.registered(answer, "read the newest version")
    }

    fn version(&self, subject: &str, version: i32) -> Result<Option<Registered>, Failure> {
        let answer = self.call(Method::GET, &["subjects", subject, "versions", &version.to_string()], &[], None)?;
        self.registered(answer, "read a version")
    }

    fn by_id(&self, id: i32) -> Result<Option<Arc<str>>, Failure> {
        let known = || self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = known().get(&id) {
            return Ok(Some(schema.clone()));
        }
        let answer = self.call(Method::GET, &["schemas", "ids", &id.to_string()], &[], None)?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body: SchemaBody = answer.ok("read a schema by its id")?.json()?;
        let which = format!("the schema with id {id}");
        expect_avro(&which, body.schema_type.as_deref(), body.references.as_deref())?;
        let schema: Arc<str> = body.schema.into();
        known().insert(id, schema.clone());
        Ok(Some(schema))
    }

    fn lookup_as(&self, subject: &str, schema: &str, normalize: bool) -> Result<Option<Registered>, Failure> {
        let answer =
            self.call(Method::POST, &["subjects", subject], normal(normalize), Some(&json!({ "schema": schema })))?;
        self.registered(answer.for_schema(subject, schema)?, "look up a schema")
    }

    fn register_as(&self, subject: &str, schema: &str, normalize: bool) -> Result<i32, Failure> {
        let body = json!({ "schema": schema });
        let answer = self.call(Method::POST, &["subjects", subject, "versions"], normal(normalize), Some(&body))?;
        if answer.status == StatusCode::CONFLICT {
            return Err(self.incompatible(subject, schema, &answer.message()));
        }
        let body: IdBody = answer.for_schema(subject, schema)?.ok("register a schema")?.json()?;
        Ok(body.id)
    }

    fn compatible(&self, subject: &str, schema: &str) -> Result<Verdict, Failure> {
        let mut verdict = self.check(subject, schema, false)?;
        // Some servers compare with all versions here whatever the level says, older ones do not
        // have this call: then the newest version decides, unless the level is transitive.
        let decided = match &verdict {
            None => false,
            Some(verdict) => verdict.compatible || self.level(subject).is_none_or(|l| l.ends_with("_TRANSITIVE")),
        };
        if !decided {
            verdict = self.check(subject, schema, true)?;
        }
        let Some(mut verdict) = verdict else { return Ok(Verdict { compatible: true, messages: Vec::new() }) };
        let found = self.own_findings(subject, schema);
        if verdict.compatible {
            verdict.messages = found.warnings;
        } else if !found.reasons.is_empty() {
            // Ours name the field in words; a server's are internal notation, or missing.
            verdict.messages = found.texts();
        }
        Ok(verdict)
    }

    fn describe(&self) -> String {
        self.servers.iter().map(|server| server.shown.as_str()).collect::<Vec<_>>().join(",")
    }
}

impl Tls {
    /// A client with these certificates: the one that is there, or a new one. Each has a thread, connections and the
    /// system's certificates, and hundreds of pipelines ask one registry.
    fn client(&self, connect_timeout: Duration) -> Result<Arc<Client>, Failure> {
        type Known = (Tls, Duration, Weak<Client>);
        static CLIENTS: Mutex<Vec<Known>> = Mutex::new(Vec::new());
        let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|(_, _, client)| client.strong_count() > 0);
        let same = |(tls, timeout, _): &&Known| tls == self && *timeout == connect_timeout;
        if let Some(client) = clients.iter().find(same).and_then(|(_, _, client)| client.upgrade()) {
            return Ok(client);
        }
        let builder = Client::builder()
            .connect_timeout(connect_timeout)
            .user_agent(concat!("runner/", env!("CARGO_PKG_VERSION")));
        let client = self
            .add_to(builder)?
            .build()
            .map_err(|error| Failure::bug("registry.client", "the HTTP client cannot be set up").because(error))?;
        let client = Arc::new(client);
        clients.push((self.clone(), connect_timeout, Arc::downgrade(&client)));
        Ok(client)
    }

    fn add_to(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, Failure> {
        let wrong = |what: &str, error: reqwest::Error| {
            Failure::user("registry.tls", format!("the registry's `{what}` cannot be used"))
                .because(said(&error))
                .hint("it is PEM text: `-----BEGIN …`; a key is PKCS #8, which `openssl pkcs8 -topk8 -nocrypt` makes")
        };
        if let Some(ca) = &self.ca {
            let certificates = Certificate::from_pem_bundle(ca.as_bytes()).map_err(|error| wrong("tls.ca", error))?;
            if certificates.is_empty() {
                return Err(Failure::user("registry.tls", "there is no certificate in the registry's `tls.ca`"));
            }
            builder = builder.tls_certs_only(certificates);
        }
        if let Some((certificate, key)) = &self.identity {
            let identity = Identity::from_pkcs8_pem(certificate.as_bytes(), key.as_bytes());
            builder = builder.identity(identity.map_err(|error| wrong("tls.certificate` and `tls.key", error))?);
        }
        Ok(builder)
    }
}

impl Server {
    fn parse(text: &str, keep_user_info: bool, settings: &Settings) -> Result<Server, Failure> {
        // Without the text itself in the message: it may hold a password.
        let url = Url::parse(text).map_err(|error| {
            Failure::user("registry.url", format!("the schema registry's URL cannot be read: {error}"))
                .hint("a URL looks like `http://localhost:8081`")
        })?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            let why =
                format!("the schema registry's URL begins with `{}:` instead of `http:` or `https:`", url.scheme());
            return Err(Failure::user("registry.url", why).hint("a URL looks like `http://localhost:8081`"));
        }
        let mut bare = url.clone();
        let stripped = bare.set_username("").and_then(|()| bare.set_password(None));
        stripped.expect("a URL with a host can be without user info");
        bare.set_query(None);
        bare.set_fragment(None);
        let shown = masked(bare.as_str().trim_end_matches('/'), &settings.hidden);
        let place = match settings.connection.as_str() {
            "" => format!("`{shown}`"),
            connection => format!("`{shown}` (connection `{connection}`)"),
        };
        Ok(Server { url: if keep_user_info { url } else { bare }, shown, place })
    }

    /// The base URL keeps its path; each part is one segment, percent-encoded.
    fn endpoint(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Failure> {
        if let Some(part) =
            path.iter().find(|part| matches!(**part, "" | "." | "..") || part.contains(char::is_control))
        {
            return Err(Failure::user("registry.subject", format!("`{}` cannot be a subject", part.escape_debug())));
        }
        let mut url = self.url.clone();
        url.path_segments_mut().expect("an http URL has a path").pop_if_empty().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    fn unreachable(&self, error: reqwest::Error, hidden: &[String]) -> Failure {
        let (is_connect, is_builder) = (error.is_connect(), error.is_builder());
        let said = masked(&said(&error.without_url()), hidden);
        let at = &self.place;
        if is_builder {
            let title = format!("the schema registry at {at} cannot be asked with these credentials");
            return Failure::user("registry.auth", title).hint("a token or password is one line of text");
        }
        if let Some((reason, hint)) = certificate_refused(&said) {
            let title = format!("no TLS connection to the schema registry at {at}");
            return Failure::user("registry.certificate", title).because(reason).hint(hint);
        }
        let what = if is_connect { "cannot be reached" } else { "does not answer" };
        let title = format!("the schema registry at {at} {what}");
        let (reason, hint) = match &said {
            said if self.url.scheme() == "https"
                && (said.contains("wrong version") || said.contains("packet length")) =>
            {
                ("it does not answer as TLS does".to_owned(), "is this the port for https?")
            }
            said if self.url.scheme() == "http"
                && (said.contains("closed before message completed") || said.contains("reset by peer")) =>
            {
                (said.clone(), "if this port speaks TLS, the URL begins with `https:`")
            }
            _ => (said, "is it running, and is the URL of the connection right?"),
        };
        Failure::outside("registry.unreachable", title).because(reason).hint(hint)
    }

    fn unwell(&self, answer: &Answer) -> Failure {
        let message = answer.message();
        let said = if message.is_empty() { String::new() } else { format!(": {message}") };
        let title = format!("the schema registry at {} answers HTTP {}{said}", self.place, answer.status.as_u16());
        Failure::outside("registry.unreachable", title)
    }
}

/// What went wrong, with the causes below it that say something new.
fn said(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        cause = error.source();
    }
    said
}

/// A text without secrets. One or two letters are no secret, but stand in every word.
fn masked(text: &str, hidden: &[String]) -> String {
    let secrets = hidden.iter().filter(|secret| secret.len() > 2);
    secrets.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "…"))
}

/// Why a certificate was refused, the server's by us or ours by the server, and what to do. Trying again does
/// not help.
fn certificate_refused(said: &str) -> Option<(String, &'static str)> {
    if let Some((_, alert)) = said.split_once(" alert ") {
        let alert = alert.split(':').next().unwrap_or(alert).trim();
        let about = ["certificate", "unknown ca", "access denied", "decrypt error"];
        let what = if alert.contains("required") { "wants a client certificate" } else { "does not accept ours" };
        return about.iter().any(|word| alert.contains(word)).then(|| {
            (format!("the server {what} (TLS alert: {alert})"), "check `certificate` and `key` of the registry's `tls`")
        });
    }
    let (_, verdict) = said.split_once("certificate verify failed")?;
    let verdict = verdict.rsplit_once('(').map_or(verdict, |(_, verdict)| verdict).trim_end_matches(')');
    Some(match verdict {
        v if v.contains("expired") => {
            ("its certificate has expired".into(), "its operators must renew it; is the clock of this machine right?")
        }
        v if v.contains("mismatch") => (
            "its certificate is for another host name".into(),
            "the URL must have a name that stands in the certificate",
        ),
        v if v.contains("self-signed") || v.contains("self signed") || v.contains("issuer") => (
            "its certificate is issued by nobody whom this connection trusts (unknown CA)".into(),
            "name the file with the certificate of its CA: `tls: {ca: ca.pem}`",
        ),
        v => (format!("its certificate is not accepted ({v})"), "its operators must mend it"),
    })
}

/// Trouble that may pass.
fn is_passing(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) || status.is_server_error()
}

/// What asks the registry for the normal form of a schema.
fn normal(normalize: bool) -> &'static [(&'static str, &'static str)] {
    if normalize { &[("normalize", "true")] } else { &[] }
}

fn random_fraction() -> f64 {
    (RandomState::new().hash_one(()) >> 11) as f64 / (1u64 << 53) as f64
}

/// A server's answer, read to its end.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    fn read(response: Response) -> reqwest::Result<Answer> {
        Ok(Answer { status: response.status(), body: response.bytes()?.to_vec() })
    }

    /// `error_code` and `message`, where the body has them.
    fn error(&self) -> ErrorBody {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn message(&self) -> String {
        self.error().message.unwrap_or_default()
    }

    fn unless_unauthorized(self, server: &Server) -> Result<Answer, Failure> {
        let what = match self.status {
            StatusCode::UNAUTHORIZED => "asks for other credentials",
            StatusCode::FORBIDDEN => "does not allow this",
            _ => return Ok(self),
        };
        let message = format!("the schema registry at {} {what} (HTTP {})", server.place, self.status.as_u16());
        Err(Failure::user("registry.auth", message).hint("check user and password or token of the connection"))
    }

    /// A refusal of the schema itself becomes a failure that says why.
    fn for_schema(self, subject: &str, schema: &str) -> Result<Answer, Failure> {
        const INVALID_SCHEMA: i64 = 42201;
        let error = self.error();
        if !matches!(self.status, StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST)
            || (self.status == StatusCode::UNPROCESSABLE_ENTITY && error.error_code != Some(INVALID_SCHEMA))
        {
            return Ok(self);
        }
        let why = Schema::parse(schema).err().or(error.message).unwrap_or_else(|| format!("HTTP {}", self.status));
        Err(super::invalid_schema(subject, &why))
    }

    fn ok(self, what: &str) -> Result<Answer, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        let message = self.message();
        let said = if message.is_empty() { String::new() } else { format!(": {message}") };
        let title = format!("the schema registry would not {what} (HTTP {}){said}", self.status.as_u16());
        Err(Failure::user("registry.refused", title))
    }

    fn json<T: for<'de> Deserialize<'de>>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::outside("registry.answer", "the schema registry's answer cannot be read")
                .no_retry()
                .hint("does the URL lead to a schema registry?")
                .because(error)
        })
    }
}

#[derive(Deserialize, Default)]
struct ErrorBody {
    #[serde(default)]
    error_code: Option<i64>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
struct IdBody {
    id: i32,
}

#[derive(Deserialize)]
struct SchemaBody {
    schema: String,
    /// Missing means Avro.
    #[serde(default, rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<serde_json::Value>>,
}

/// Only Avro schemas without references can be used.
fn expect_avro(
    which: &str,
    schema_type: Option<&str>,
    references: Option<&[serde_json::Value]>,
) -> Result<(), Failure> {
    if let Some(other) = schema_type.filter(|other| !other.eq_ignore_ascii_case("AVRO")) {
        let message = format!("{which} is of type {other}; only Avro schemas can be used");
        return Err(Failure::user("registry.schema_type", message));
    }
    if references.is_some_and(|references| !references.is_empty()) {
        let message = format!("{which} refers to other schemas; references come in a later release");
        return Err(Failure::user("registry.references", message));
    }
    Ok(())
}

#[derive(Deserialize)]
struct VersionBody {
    subject: String,
    id: i32,
    version: i32,
    schema: String,
    #[serde(default, rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
struct CheckBody {
    is_compatible: bool,
    #[serde(default)]
    messages: Vec<String>,
}

#[derive(Deserialize)]
struct ConfigBody {
    #[serde(rename = "compatibilityLevel")]
    compatibility_level: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Gives these answers, one per connection, and the heads of the requests that it got.
    fn server(answers: &'static [(u16, &'static str)]) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            let answer = |(status, body): &(u16, &str)| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0; 4096];
                let length = stream.read(&mut head).unwrap();
                let length_of_body = body.len();
                let text = format!(
                    "HTTP/1.1 {status} x\r\nContent-Length: {length_of_body}\r\nConnection: close\r\n\r\n{body}"
                );
                stream.write_all(text.as_bytes()).unwrap();
                String::from_utf8_lossy(&head[..length]).to_lowercase()
            };
            answers.iter().map(answer).collect()
        });
        (address, thread)
    }

    #[test]
    fn trouble_that_may_pass_is_tried_again_with_the_same_credentials() {
        let (address, thread) = server(&[(503, ""), (429, "busy"), (200, r#"{"schema":"\"int\"","unknown":1}"#)]);
        let registry = HttpRegistry::new(Settings::new(format!("http://me:p%40ss@{address}/base/"))).unwrap();
        assert_eq!(registry.by_id(7).unwrap().as_deref(), Some("\"int\""));
        assert_eq!(registry.by_id(7).unwrap().as_deref(), Some("\"int\""), "kept: the server is gone");
        let requests = thread.join().unwrap();
        assert_eq!(requests.len(), 3);
        for request in requests {
            assert!(request.starts_with("get /base/schemas/ids/7 http/1.1"), "{request}");
            assert!(request.contains("authorization: basic bwu6cebzcw=="), "{request}");
        }
    }

    #[test]
    fn the_registry_is_asked_for_the_normal_form() {
        let (address, thread) = server(&[(200, r#"{"id":3}"#), (404, "{}"), (200, r#"{"id":4}"#)]);
        let registry = HttpRegistry::new(Settings::new(format!("http://{address}"))).unwrap();
        assert_eq!(registry.register_as("s", "\"int\"", true).unwrap(), 3);
        assert_eq!(registry.lookup_as("s", "\"int\"", true).unwrap(), None);
        assert_eq!(registry.register("s", "\"int\"").unwrap(), 4);
        let requests = thread.join().unwrap();
        let asked: Vec<&str> = requests.iter().map(|request| request.split(" http").next().unwrap()).collect();
        assert_eq!(
            asked,
            [
                "post /subjects/s/versions?normalize=true",
                "post /subjects/s?normalize=true",
                "post /subjects/s/versions"
            ]
        );
    }

    #[test]
    fn a_refusal_is_final() {
        let (address, thread) = server(&[(401, ""), (403, "<html>"), (404, ""), (200, "<html>")]);
        let mut settings = Settings::new(format!("http://{address}"));
        settings.auth = Auth::Bearer("t0ken".into());
        let registry = HttpRegistry::new(settings).unwrap();
        assert_eq!(registry.latest("s").unwrap_err().code, "registry.auth");
        assert_eq!(registry.latest("s").unwrap_err().code, "registry.auth");
        assert_eq!(registry.latest("s").unwrap(), None);
        assert_eq!(registry.latest("s").unwrap_err().code, "registry.answer");
        assert!(thread.join().unwrap().iter().all(|request| request.contains("authorization: bearer t0ken")));
    }

    #[test]
    fn other_schema_languages_and_references_are_named() {
        let (address, thread) = server(&[
            (200, r#"{"schema":"{}","schemaType":"JSON"}"#),
            (200, r#"{"schema":"\"R\"","references":[{"name":"R","subject":"r","version":1}]}"#),
        ]);
        let registry = HttpRegistry::new(Settings::new(format!("http://{address}"))).unwrap();
        assert_eq!(registry.by_id(1).unwrap_err().code, "registry.schema_type");
        assert_eq!(registry.by_id(2).unwrap_err().code, "registry.references");
        thread.join().unwrap();
    }
}
