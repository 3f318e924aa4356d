//! Kafka Connect's REST API: what needs no connector.

use reqwest::Method;
use serde_json::{Value, json};

use super::Server;
use crate::specs::Folder;

/// Status and body.
fn ask(server: &Server, method: Method, path: &str, body: Option<&str>) -> (u16, Value) {
    let mut request = server.request(method, path);
    if let Some(body) = body {
        request = request.header("Content-Type", "application/json").body(body.to_owned());
    }
    let response = request.send().unwrap();
    let status = response.status().as_u16();
    let text = response.text().unwrap();
    (status, serde_json::from_str(&text).unwrap_or(json!(text)))
}

#[test]
fn a_server_is_a_worker_of_kafka_connect() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &["--brokers", crate::servers::kafka()]);
    let get = |path: &str| ask(&server, Method::GET, path, None);
    let refused = |status: u16, message: &str| (status, json!({ "error_code": status, "message": message }));
    let deadline = std::time::Instant::now() + crate::runner::PATIENCE;
    // The broker is asked without anybody waiting for it long.
    while get("/").1["kafka_cluster_id"] != "runner-tests-cluster00" {
        assert!(std::time::Instant::now() < deadline, "{}", get("/").1);
    }
    assert_eq!(get("/").1["version"], "4.3.1");
    assert_eq!(get("/health").1["status"], "healthy");
    assert_eq!(get("/connectors/"), (200, json!([])));
    assert_eq!(get("/connectors/x"), refused(404, "Connector x not found"));
    assert_eq!(get("/connectors/x/status"), refused(404, "No status found for connector x"));
    assert_eq!(get("/connectors/x/topics"), (200, json!({ "x": { "topics": [] } })));
    assert_eq!(ask(&server, Method::PUT, "/connectors/x/pause", None), refused(404, "Unknown connector x"));
    assert_eq!(get("/nope"), refused(404, "HTTP 404 Not Found"));
    assert_eq!(ask(&server, Method::DELETE, "/health", None), refused(405, "HTTP 405 Method Not Allowed"));
    let plugins = get("/connector-plugins").1;
    assert!(plugins.to_string().contains("org.apache.kafka.connect.file.FileStreamSourceConnector"), "{plugins}");
    let config = r#"{"connector.class": "FileStreamSource", "name": "x"}"#;
    let validate = "/connector-plugins/FileStreamSource/config/validate";
    let verdict = ask(&server, Method::PUT, validate, Some(config));
    assert_eq!((verdict.0, &verdict.1["error_count"]), (200, &json!(1)), "{}", verdict.1);
    assert_eq!(ask(&server, Method::PUT, validate, Some("{")).0, 400);
    let form = server.request(Method::PUT, validate).header("Content-Type", "text/plain").body("{}").send().unwrap();
    assert_eq!(form.status(), 415);
    let html = server.request(Method::GET, "/connectors").header("Accept", "text/html").send().unwrap();
    assert_eq!(html.status(), 406);
    let page = server.request(Method::POST, "/connectors/x/restart").header("Sec-Fetch-Site", "cross-site");
    assert_eq!(page.send().unwrap().status(), 403);
}

/// A server that is reached by another name says that one.
#[test]
fn places_and_workers_have_the_address_that_is_advertised() {
    let folder = Folder::new();
    folder.write("lines.txt", "");
    let place = "pipelines.example.com:8443";
    let server = Server::start(folder.path(), &["--advertise", place, "--brokers", crate::servers::kafka()]);
    let config = super::connectors::lines(&crate::servers::topic("advertised", 1));
    let body = json!({ "name": "a b", "config": config }).to_string();
    let request = server.request(Method::POST, "/connectors").header("Content-Type", "application/json");
    let made = request.body(body).send().unwrap();
    assert_eq!(made.status(), 201);
    assert_eq!(made.headers()["location"], format!("http://{place}/connectors/a%20b"));
    let status = super::connectors::until_task(&server, "a%20b", "RUNNING");
    assert_eq!((&status["connector"]["worker_id"], &status["tasks"][0]["worker_id"]), (&json!(place), &json!(place)));
    for wrong in ["host", "host:", "host:0", "host:99999", ":8083", "http://host:1", "[::1:8083"] {
        let ended = crate::runner::run(&["serve", "--listen", "127.0.0.1:0", "--advertise", wrong], folder.path());
        assert!(ended.with_code(2).stderr.contains("--advertise"), "{wrong}");
    }
}

/// More is logged from then on.
#[test]
fn levels_of_the_log_are_set_over_http() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    let level = |name: &str| ask(&server, Method::GET, &format!("/admin/loggers/{name}"), None);
    assert_eq!(level("runner::deploy").1, json!({ "level": "INFO", "last_modified": null }));
    assert_eq!(level("nope.nope").0, 404);
    let set = |name: &str, body: &str| ask(&server, Method::PUT, &format!("/admin/loggers/{name}"), Some(body));
    let (status, changed) = set("root", r#"{"level": "off"}"#);
    assert!(status == 200 && changed.to_string().contains("runner::deploy"), "{changed}");
    assert_eq!(server.put_yaml("quiet", &super::numbers("quiet", ", count: 1")).status(), 201);
    server.until_state("quiet", "ended");
    assert!(!server.runner.stderr().contains("starts"), "{}", server.runner.stderr());
    assert_eq!(set("runner::deploy", r#"{"level": "INFO"}"#).1, json!(["runner::deploy"]));
    assert_eq!(server.put_yaml("loud", &super::numbers("loud", ", count: 1")).status(), 201);
    server.runner.wait_stderr("starts");
    assert_eq!(set("root", r#"{"level": "LOUD"}"#).0, 404);
    assert_eq!(set("root", "{}").0, 400);
}
