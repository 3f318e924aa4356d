//! HTTP faces, one file per resource.
//!
//! `pipelines` is the server's own API under `/v1`, `connect` Kafka Connect's beside it, `health` and `metrics` are for
//! whoever watches, `registry` is Confluent's API on a port of its own. `guard` stands before all of them, `refusal` is
//! the one shape of errors of `/v1`, `tls` what all of them speak
//! where it is asked for.

mod body;
pub mod connect;
mod guard;
mod health;
mod metrics;
mod openapi;
mod pipelines;
mod refusal;
pub mod registry;
mod tls;

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};

pub use guard::{Credentials, Guard};
pub use tls::{Tls, TlsFiles};

use self::connect::WorkerFace;
use self::tls::TlsListener;
use crate::deploy::supervisor::Supervisor;
use crate::report::Failure;

/// Largest body that is read: specs with the schemas that stand in them.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Everything of `runner serve` but the registry.
pub fn router(supervisor: Arc<Supervisor>, worker: WorkerFace, guard: Arc<Guard>) -> Router {
    let routes = pipelines::routes()
        .route("/metrics", get(metrics::show))
        .route("/v1/openapi.json", get(openapi::show))
        .route("/v1/{*other}", any(refusal::no_such_path))
        .route("/health", get(health::health).options(health::options).fallback(health::no_such_method))
        .route("/ready", get(health::ready))
        .method_not_allowed_fallback(refusal::no_such_method)
        .with_state(supervisor.clone())
        .fallback_service(connect::router(supervisor, worker));
    // Outside of the routes, so that a path may end with a slash.
    guard.before(Router::new().fallback_service(routes).layer(axum::middleware::map_request(without_last_slash)))
}

/// `/v1/pipelines/` is `/v1/pipelines`.
async fn without_last_slash(mut request: axum::extract::Request) -> axum::extract::Request {
    let path = request.uri().path();
    if path.len() > 1 && path.ends_with('/') {
        let query = request.uri().query().map_or(String::new(), |query| format!("?{query}"));
        if let Ok(uri) = format!("{}{query}", path.trim_end_matches('/')).parse() {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// Listens; nothing is answered yet.
///
/// # Errors
/// `serve.listen` (user) for what is no address, and for a port that is in use.
pub fn listen(address: &str) -> Result<TcpListener, Failure> {
    let wrong = || Failure::user("serve.listen", format!("`{address}` is not an address to listen on"));
    let hint = "write for example `127.0.0.1:8083`, `[::1]:8083` or `0.0.0.0:8083`";
    let found: Vec<SocketAddr> =
        address.to_socket_addrs().map_err(|error| wrong().because(error).hint(hint))?.collect();
    let listener = TcpListener::bind(found.as_slice()).map_err(|error| {
        let failure = Failure::user("serve.listen", format!("`{address}` cannot be listened on"));
        match error.kind() {
            std::io::ErrorKind::AddrInUse => failure
                .because("the port is in use")
                .hint("stop what uses it, or name another address with `--listen` or `--registry`"),
            _ => failure.because(error),
        }
    })?;
    listener.set_nonblocking(true).map_err(|error| wrong().because(error))?;
    Ok(listener)
}

/// Answers until `stop` is done, over TLS if there is any; answers that are under way are given still.
///
/// # Errors
/// `serve.listen` (outside) if the listener is broken.
pub async fn answer(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<Tls>>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    let broken = |error| Failure::outside("serve.listen", "the server cannot answer").no_retry().because(error);
    let listener = tokio::net::TcpListener::from_std(listener).map_err(broken)?;
    let service = router.into_make_service();
    let ended = match tls {
        Some(tls) => axum::serve(TlsListener::new(listener, tls), service).with_graceful_shutdown(stop).await,
        None => axum::serve(listener, service).with_graceful_shutdown(stop).await,
    };
    ended.map_err(broken)
}

/// The segments of a path, decoded; a slash at its end makes none. `None`: it is not UTF-8, or not well encoded.
fn path_segments(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Vec::new());
    }
    path.split('/').map(decoded).collect()
}

fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, more @ ..] = rest {
        if *first == b'%' {
            let digits = more.get(..2).and_then(|digits| std::str::from_utf8(digits).ok())?;
            let digits = Some(digits).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &more[2..];
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_decoded_once_and_keeps_its_slashes() {
        let segments = |path| path_segments(path).unwrap();
        assert_eq!(segments("/subjects/a%2Fb%20c/versions/"), ["subjects", "a/b c", "versions"]);
        assert_eq!(segments("/%C3%A9+%2541"), ["é+%41"]);
        assert_eq!(segments("/"), [""; 0]);
        assert_eq!(path_segments("/%C3"), None);
        assert_eq!(path_segments("/%4"), None);
        assert_eq!(path_segments("/%+1"), None);
    }

    #[test]
    fn a_port_in_use_is_named() {
        let first = listen("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap().to_string();
        let failure = listen(&address).unwrap_err();
        assert_eq!(failure.to_string(), format!("`{address}` cannot be listened on: the port is in use"));
        assert_eq!(listen("nonsense").unwrap_err().code, "serve.listen");
    }
}
