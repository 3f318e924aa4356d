//! A client of `runner serve`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::blocking::{Client, ClientBuilder};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Certificate, Identity, Method, StatusCode, Url};
use serde_json::Value as Json;

use crate::deploy::submission::Name;
use crate::report::Failure;

const DEFAULT: &str = "http://127.0.0.1:8083";
/// A DELETE waits for a commit.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Which server.
#[derive(Debug, clap::Args)]
pub struct ServerArgs {
    /// The server; default `RUNNER_SERVER`, or http://127.0.0.1:8083. A token stands in `RUNNER_TOKEN`, a user and
    /// password in the URL.
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    #[command(flatten)]
    pub tls: TlsArgs,
}

/// How it is known by its certificate, and we by ours.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TlsArgs {
    /// The CA of an https server, as PEM; default `RUNNER_CA`, or the CAs of the system.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The certificate that a server with `--tls-client-ca` asks for, as PEM; default `RUNNER_CLIENT_CERT`.
    #[arg(long, value_name = "FILE")]
    pub client_cert: Option<PathBuf>,
    /// Its key, as PEM (PKCS #8); default `RUNNER_CLIENT_KEY`.
    #[arg(long, value_name = "FILE")]
    pub client_key: Option<PathBuf>,
}

/// A server.
pub struct Remote {
    client: Client,
    url: Url,
    /// Without credentials.
    shown: String,
    token: Option<String>,
}

impl Remote {
    /// # Errors
    /// `server.url` for what is no URL, `server.tls` for files that cannot be used.
    pub fn new(server: Option<&str>, tls: &TlsArgs) -> Result<Remote, Failure> {
        let text = server.map(str::to_owned).or_else(|| given("RUNNER_SERVER")).unwrap_or_else(|| DEFAULT.into());
        // Without the text itself in messages: it may hold a password.
        let wrong = |why: String| Failure::user("server.url", why).hint("a URL looks like `http://127.0.0.1:8083`");
        let url = Url::parse(&text).map_err(|error| wrong(format!("the server's URL cannot be read: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(format!("the server's URL begins with `{}:`", url.scheme())));
        }
        let mut bare = url.clone();
        let stripped = bare.set_username("").and_then(|()| bare.set_password(None));
        stripped.expect("a URL with a host can be without user info");
        let shown = bare.as_str().trim_end_matches('/').to_owned();
        let client = Client::builder().timeout(TIMEOUT).user_agent(concat!("runner/", env!("CARGO_PKG_VERSION")));
        let client = tls
            .add_to(client)?
            .build()
            .map_err(|error| Failure::bug("server.client", "the HTTP client cannot be set up").because(error))?;
        Ok(Remote { client, url, shown, token: given("RUNNER_TOKEN") })
    }

    /// Asks for `/v1/pipelines`, `/v1/pipelines/NAME` and what is below; the answer, `null` without one.
    ///
    /// # Errors
    /// `server.unreachable`, and what the server refuses.
    pub fn call(
        &self,
        method: Method,
        name: Option<&Name>,
        below: &str,
        body: Option<&Json>,
    ) -> Result<Answer, Failure> {
        let mut url = self.url.clone();
        let mut segments = vec!["v1", "pipelines"];
        segments.extend(name.map(|name| name.name.as_str()));
        let (path, query) = below.split_once('?').unwrap_or((below, ""));
        segments.extend(Some(path).filter(|path| !path.is_empty()));
        url.path_segments_mut().expect("an http URL has a path").pop_if_empty().extend(segments);
        if let Some(name) = name.filter(|name| name.namespace != "default") {
            url.query_pairs_mut().append_pair("namespace", &name.namespace);
        }
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            url.query_pairs_mut().append_pair(key, value);
        }
        self.send(method, url, body)
    }

    /// The same for the server's API of Kafka Connect: `/connectors` and what is below, with a query or none.
    ///
    /// # Errors
    /// As [`Remote::call`].
    pub fn connect(&self, method: Method, path: &[&str], query: &str, body: Option<&Json>) -> Result<Answer, Failure> {
        let mut url = self.url.clone();
        url.path_segments_mut().expect("an http URL has a path").pop_if_empty().extend(path);
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        self.send(method, url, body)
    }

    fn send(&self, method: Method, url: Url, body: Option<&Json>) -> Result<Answer, Failure> {
        let mut request = self.client.request(method, url).header(ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let answered = request.send().and_then(|response| Ok((response.status(), response.bytes()?)));
        let (status, bytes) = answered.map_err(|error| {
            let title = format!("no `runner serve` answers at `{}`", self.shown);
            let hint = match self.url.scheme() {
                "https" => "is it running there, with TLS, and is its certificate of the CA that `--ca FILE` names?",
                _ => "is it running there, and without TLS? `--server URL` names another one",
            };
            let is_connect = error.is_connect();
            let failure = Failure::outside("server.unreachable", title).because(deepest(&error.without_url()));
            if is_connect || self.url.scheme() == "http" { failure.hint(hint) } else { failure }
        })?;
        let body: Json = serde_json::from_slice(&bytes).unwrap_or(Json::Null);
        if status.is_success() { Ok(Answer { status, body }) } else { Err(self.refused(status, &body)) }
    }

    fn refused(&self, status: StatusCode, body: &Json) -> Failure {
        let text = |key: &str| body["error"][key].as_str();
        let code = match (status, text("code")) {
            (_, Some("pipeline.unknown")) => "pipeline.unknown",
            (_, Some("pipeline.exists")) => "pipeline.exists",
            (_, Some("pipeline.stale")) => "pipeline.stale",
            (StatusCode::UNAUTHORIZED, _) => "server.unauthorized",
            (StatusCode::UNPROCESSABLE_ENTITY, _) => "server.spec",
            _ => "server.refused",
        };
        // Connect's shape of errors has it outside.
        let message = match text("message").or(body["message"].as_str()) {
            Some(message) => format!("the server at `{}` refuses: {message}", self.shown),
            None => format!("the server at `{}` answers HTTP {}", self.shown, status.as_u16()),
        };
        let failure = Failure::user(code, message);
        match (text("hint"), code) {
            (Some(hint), _) => failure.hint(hint),
            (None, "server.unauthorized") => {
                failure.hint("put a token into the environment's `RUNNER_TOKEN`, or a user and password into the URL")
            }
            _ => failure,
        }
    }
}

fn given(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What is at the bottom of an error: that a certificate is not trusted, not that a request could not be sent.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().map_or_else(String::new, ToString::to_string)
}

impl TlsArgs {
    fn add_to(&self, mut client: ClientBuilder) -> Result<ClientBuilder, Failure> {
        let path = |flag: &Option<PathBuf>, name| flag.clone().or_else(|| given(name).map(PathBuf::from));
        let wrong = |path: &Path, error: reqwest::Error| {
            let message = format!("`{}` cannot be used for TLS", path.display());
            Failure::user("server.tls", message)
                .because(deepest(&error))
                .hint("it is PEM text: `-----BEGIN …`; a key is PKCS #8")
        };
        if let Some(ca) = path(&self.ca, "RUNNER_CA") {
            let certificates = Certificate::from_pem_bundle(&read(&ca)?).map_err(|error| wrong(&ca, error))?;
            if certificates.is_empty() {
                return Err(Failure::user("server.tls", format!("there is no certificate in `{}`", ca.display())));
            }
            client = client.tls_certs_only(certificates);
        }
        match (path(&self.client_cert, "RUNNER_CLIENT_CERT"), path(&self.client_key, "RUNNER_CLIENT_KEY")) {
            (Some(certificate), Some(key)) => {
                let identity = Identity::from_pkcs8_pem(&read(&certificate)?, &read(&key)?);
                Ok(client.identity(identity.map_err(|error| wrong(&certificate, error))?))
            }
            (None, None) => Ok(client),
            (one, _) => {
                let missing = if one.is_some() { "--client-key" } else { "--client-cert" };
                Err(Failure::user("server.tls", "a client's certificate and its key go together")
                    .hint(format!("name the other one with `{missing}`")))
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        Failure::user("server.tls", format!("the file `{}` cannot be read", path.display())).because(error)
    })
}

/// The text that another program's URL gives.
///
/// # Errors
/// `import.unreachable`, and any status but success.
pub fn fetch(url: &str) -> Result<String, Failure> {
    let failed = |error: reqwest::Error| {
        Failure::outside("import.unreachable", "the URL gives no config").because(error.without_url())
    };
    let client = Client::builder().timeout(TIMEOUT).build().map_err(failed)?;
    let response = client.get(url).header(ACCEPT, "application/json").send().map_err(failed)?;
    response.error_for_status().and_then(|response| response.text()).map_err(failed)
}

/// What a server answered.
pub struct Answer {
    pub status: StatusCode,
    pub body: Json,
}

impl Answer {
    /// What was asked for was not there before.
    pub fn is_new(&self) -> bool {
        self.status == StatusCode::CREATED
    }
}
