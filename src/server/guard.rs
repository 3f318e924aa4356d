//! Who is let in.
//!
//! Without credentials everybody is, but only under a name of this machine where the server listens on loopback: a
//! web page that was made to resolve to 127.0.0.1 sends its own name. Bodies are JSON or YAML and changes are PUT,
//! POST with such a body, or DELETE, which no page of another origin may send.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, HOST, HeaderValue, WWW_AUTHENTICATE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use super::connect;
use super::refusal::Refusal;
use crate::report::Failure;

/// What a client may show.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Bearer tokens.
    tokens: Vec<String>,
    /// `user:password`.
    users: Vec<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({} tokens, {} users)", self.tokens.len(), self.users.len())
    }
}

impl Credentials {
    /// Reads tokens, one on each line, and `user:password`, one on each line. Empty lines, and those that begin
    /// with `#`, do not count.
    ///
    /// # Errors
    /// `serve.credentials` for a file that cannot be read or has none.
    pub fn read(tokens: Option<&Path>, users: Option<&Path>) -> Result<Self, Failure> {
        let tokens = tokens.map_or(Ok(Vec::new()), lines)?;
        let users_file = users;
        let users = users.map_or(Ok(Vec::new()), lines)?;
        if let (Some(file), false) = (users_file, users.iter().all(|user| user.contains(':'))) {
            let message = format!("a line of `{}` is not of the form `user:password`", file.display());
            return Err(Failure::user("serve.credentials", message));
        }
        Ok(Credentials { tokens, users })
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.users.is_empty()
    }

    fn accept(&self, authorization: &str) -> bool {
        let Some((scheme, shown)) = authorization.split_once(' ') else { return false };
        let shown = shown.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return is_one_of(shown.as_bytes(), &self.tokens);
        }
        scheme.eq_ignore_ascii_case("basic") && base64(shown).is_some_and(|shown| is_one_of(&shown, &self.users))
    }
}

fn lines(path: &Path) -> Result<Vec<String>, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::user("serve.credentials", format!("the file `{shown}` cannot be read")).because(error)
    })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(Failure::user("serve.credentials", format!("nothing stands in the file `{shown}`")));
    }
    Ok(lines)
}

/// Takes as long for each that is as long, so that nothing is learnt from the time.
fn is_one_of(shown: &[u8], known: &[String]) -> bool {
    known.iter().fold(false, |found, known| {
        let known = known.as_bytes();
        let differs = known.iter().zip(shown).fold(known.len() ^ shown.len(), |all, (a, b)| all | usize::from(a ^ b));
        found | (differs == 0)
    })
}

/// Decodes base64, with padding or without.
fn base64(text: &str) -> Option<Vec<u8>> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut out) = (0u32, 0, Vec::new());
    for letter in text.trim_end_matches('=').bytes() {
        let value = LETTERS.iter().position(|known| *known == letter)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

/// Stands before a face.
#[derive(Debug)]
pub struct Guard {
    credentials: Credentials,
    /// Only names of this machine are taken for it.
    only_local_names: bool,
}

impl Guard {
    pub fn new(credentials: Credentials, listening: SocketAddr) -> Self {
        let only_local_names = credentials.is_empty() && listening.ip().is_loopback();
        Guard { credentials, only_local_names }
    }

    /// The face behind the guard.
    pub fn before(self: &Arc<Self>, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), stand))
    }

    fn refusal(&self, request: &Request) -> Option<Refusal> {
        let header = |name| request.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap_or(""));
        if self.only_local_names && !header(HOST).is_none_or(is_local) {
            let message = "the server knows no such host name";
            let refusal = Refusal::new(StatusCode::FORBIDDEN, "http.host", message);
            return Some(refusal.hint("ask it as localhost, or start it with `--token-file` or `--users-file`"));
        }
        // Whoever only wants to know whether it lives needs no credentials.
        let is_open = self.credentials.is_empty() || matches!(request.uri().path(), "/health" | "/ready");
        if is_open || header(AUTHORIZATION).is_some_and(|shown| self.credentials.accept(shown)) {
            return None;
        }
        let message = "the server asks for a token, or a user and password";
        Some(Refusal::new(StatusCode::UNAUTHORIZED, "http.unauthorized", message))
    }
}

async fn stand(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let is_of_connect = connect::has(request.uri().path());
    match guard.refusal(&request) {
        None => next.run(request).await,
        Some(refusal) => {
            let mut response = match is_of_connect {
                true => connect::Refusal::from(refusal).into_response(),
                false => refusal.into_response(),
            };
            if response.status() == StatusCode::UNAUTHORIZED {
                let challenge = HeaderValue::from_static("Basic realm=\"runner\", Bearer");
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

/// A name of this machine, or an address: no page can be made to have one of these.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_users_are_told_from_what_is_like_them() {
        let credentials = Credentials { tokens: vec!["t0ken".into()], users: vec!["me:pässword".into()] };
        assert!(credentials.accept("Bearer t0ken"));
        assert!(credentials.accept("basic bWU6cMOkc3N3b3Jk"));
        for wrong in ["Bearer t0ke", "Bearer t0kenn", "Bearer ", "t0ken", "Basic bWU6", "Basic !", "Digest t0ken"] {
            assert!(!credentials.accept(wrong), "{wrong}");
        }
        assert!(!format!("{credentials:?}").contains("t0ken"));
    }

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost", "LOCALHOST:8083", "127.0.0.1:8083", "[::1]:8083", "[::1]"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["example.com", "example.com:8083", "localhost.example.com", ""] {
            assert!(!is_local(host), "{host}");
        }
    }
}
