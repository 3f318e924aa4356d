//! A client of `runner serve`.

use std::time::Duration;

use reqwest::blocking::Client;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, StatusCode, Url};
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
    /// `server.url` for what is no URL.
    pub fn new(server: Option<&str>) -> Result<Remote, Failure> {
        let given = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
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
        let client = client
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
            let failure = Failure::outside("server.unreachable", title).because(error.without_url());
            failure.hint("is it running there? `--server URL` names another one")
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
        let message = match text("message") {
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
