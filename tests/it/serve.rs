//! `runner serve` as a child process: many pipelines, supervised each on its own; what it was given survives kill -9.
//!
//! The pipelines are generators that write files, so that no other server is needed.

mod changed;
mod commercials;
mod conformance;
mod connect;
mod connectors;
mod datagen;
mod encrypted;
mod files;
mod guarded;
mod kept;
mod many;
mod metrics;
mod reading;
mod settings;
mod shared;
mod used;
mod verbs;

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::blocking::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::runner::{PATIENCE, Runner};
use crate::specs::Folder;

/// A running server.
pub struct Server {
    pub runner: Runner,
    pub api: String,
    pub registry: Option<String>,
}

impl Server {
    /// On ports of its own, with its state in `.runner` of the folder.
    pub fn start(folder: &Path, more: &[&str]) -> Server {
        Server::start_with(folder, more, &[])
    }

    /// The same with variables of the environment.
    pub fn start_with(folder: &Path, more: &[&str], variables: &[(&str, &str)]) -> Server {
        let runner = Runner::spawn_with(&[&["serve", "--listen", "127.0.0.1:0"], more].concat(), folder, variables);
        let line = runner.wait_stderr("serving at ");
        let url = |before: &str| {
            let rest = line.split(before).nth(1)?;
            rest.split([',', ';']).next().map(str::to_owned)
        };
        let (api, registry) = (url("serving at ").unwrap(), url("schema registry at "));
        Server { runner, api, registry }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        Client::new().request(method, format!("{}{path}", self.api)).timeout(PATIENCE)
    }

    pub fn get(&self, path: &str) -> Value {
        let response = self.request(Method::GET, path).send().unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().unwrap()
    }

    fn put_yaml(&self, name: &str, text: &str) -> Response {
        let request = self.request(Method::PUT, &format!("/v1/pipelines/{name}"));
        request.header("Content-Type", "application/yaml").body(text.to_owned()).send().unwrap()
    }

    fn put(&self, path: &str) -> Value {
        let response = self.request(Method::PUT, &format!("/v1/pipelines/{path}")).send().unwrap();
        assert_eq!(response.status(), 202, "{path}: {}", response.text().unwrap());
        response.json().unwrap()
    }

    fn pipeline(&self, name: &str) -> Value {
        self.get(&format!("/v1/pipelines/{name}"))
    }

    /// Waits until something holds of a pipeline.
    fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.pipeline(name);
            if holds(&shown) {
                return shown;
            }
            assert!(Instant::now() < deadline, "`{name}` is not {what}: {shown:#}\n{}", self.runner.stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn until_state(&self, name: &str, state: &str) -> Value {
        self.until(name, state, |shown| shown["state"] == state)
    }

    fn until_rows(&self, name: &str, count: u64) -> Value {
        self.until(name, "further", |shown| shown["metrics"]["rows_out"].as_u64() >= Some(count))
    }
}

/// Numbers from 0 into `NAME.jsonl`.
fn numbers(name: &str, more: &str) -> String {
    format!(
        "apiVersion: runner/v1
kind: Pipeline
metadata: {{ name: {name} }}
spec:
  sources: {{ rows: {{ datagen: {{ columns: {{ n: {{ type: long, iteration: {{ start: 0 }} }} }}, rate: 500{more} }} }} }}
  sinks: {{ out: {{ from: rows, file: {{ path: {name}.jsonl }}, format: json }} }}
"
    )
}

/// The numbers of a file: each once, in order, without a gap. How many there are.
fn counted(folder: &Folder, name: &str) -> usize {
    let text = folder.read(&format!("{name}.jsonl"));
    for (index, line) in text.lines().enumerate() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["n"], index, "line {index} of {name}");
    }
    text.lines().count()
}

fn error(response: Response, status: u16) -> Value {
    let said = response.status();
    let body: Value = response.json().unwrap();
    assert_eq!(said, status, "{body}");
    assert!(body["error"]["code"].is_string() && body["error"]["message"].is_string(), "{body}");
    body["error"].clone()
}

#[test]
fn a_pipeline_is_submitted_paused_resumed_changed_and_forgotten() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.get("/v1/pipelines"), json!({ "pipelines": [] }));
    let response = server.put_yaml("a", &numbers("a", ""));
    assert_eq!(response.status(), 201);
    let etag = response.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(response.json::<Value>().unwrap()["generation"], 1);
    server.until_rows("a", 20);
    assert_eq!(server.pipeline("a")["state"], "running");
    assert_eq!(server.put_yaml("a", &numbers("a", "")).json::<Value>().unwrap()["etag"], etag, "nothing was changed");

    server.put("a/pause");
    let paused = server.until_state("a", "paused");
    let rows = counted(&folder, "a");
    assert_eq!(paused["metrics"]["rows_out"], rows, "what was read is committed");
    server.put("a/resume/");
    server.until_rows("a", rows as u64 + 20);

    // Whoever believes it is still as it was is refused.
    let stale = server.request(Method::PUT, "/v1/pipelines/a/stop").header("If-Match", &etag).send().unwrap();
    let now = stale.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(error(stale, 412)["code"], "pipeline.stale");
    let fresh = server.request(Method::PUT, "/v1/pipelines/a/stop").header("If-Match", now).send().unwrap();
    assert_eq!(fresh.status(), 202);
    server.until_state("a", "stopped");

    // A changed spec goes on behind the same journal.
    let changed = server.put_yaml("a", &numbers("a", ", max_interval: 1s").replace("rate: 500, ", "")).status();
    assert_eq!(changed, 200);
    assert_eq!(server.pipeline("a")["state"], "stopped", "what is wanted stays");
    server.put_yaml("a", &numbers("a", ""));
    let rows = counted(&folder, "a");
    server.put("a/resume");
    server.until("a", "further", |_| folder.read("a.jsonl").lines().count() > rows + 10);

    let logged = server.get("/v1/pipelines/a/logs?lines=1000");
    let texts: Vec<&str> =
        logged["lines"].as_array().unwrap().iter().filter_map(|line| line["text"].as_str()).collect();
    for wanted in ["starts", "paused", "resumes", "stopped"] {
        assert!(texts.iter().any(|text| text.contains(wanted)), "{wanted} in {texts:?}");
    }
    let metrics = server.request(Method::GET, "/metrics").send().unwrap().text().unwrap();
    assert!(
        metrics.contains("runner_pipeline_state{namespace=\"default\",pipeline=\"a\",state=\"running\"} 1"),
        "{metrics}"
    );

    assert_eq!(server.request(Method::DELETE, "/v1/pipelines/a").send().unwrap().status(), 204);
    assert_eq!(error(server.request(Method::GET, "/v1/pipelines/a").send().unwrap(), 404)["code"], "pipeline.unknown");
    let rows = counted(&folder, "a");
    // The same name again goes on behind what is there.
    server.put_yaml("a", &numbers("a", ""));
    server.until("a", "further", |_| folder.read("a.jsonl").lines().count() > rows);
    server.runner.signal(libc::SIGTERM);
    server.runner.wait().with_code(0);
    assert!(counted(&folder, "a") > rows);
}

#[test]
fn what_was_submitted_and_wanted_survives_kill_9() {
    let folder = Folder::new();
    let mut server = Server::start(folder.path(), &[]);
    for name in ["a", "b", "c"] {
        assert_eq!(server.put_yaml(name, &numbers(name, "")).status(), 201);
    }
    server.put("b/pause");
    server.until_state("b", "paused");
    assert_eq!(server.request(Method::DELETE, "/v1/pipelines/c").send().unwrap().status(), 204);
    let b = counted(&folder, "b");
    for round in 1..=3 {
        let rows = folder.read("a.jsonl").lines().count() as u64;
        server.until("a", "further", |_| folder.read("a.jsonl").lines().count() as u64 > rows + 20);
        server.runner.kill();
        server = Server::start(folder.path(), &[]);
        let all = server.get("/v1/pipelines");
        let names: Vec<&Value> = all["pipelines"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["a", "b"], "round {round}");
        server.until_state("a", "running");
        assert_eq!(server.pipeline("b")["state"], "paused");
    }
    let rows = server.until_rows("a", 10)["metrics"]["rows_out"].as_u64().unwrap();
    server.put("a/stop");
    server.until_state("a", "stopped");
    assert!(counted(&folder, "a") as u64 >= rows + 60, "no number is missing or there twice");
    assert_eq!(counted(&folder, "b"), b);
}

#[test]
fn one_that_fails_or_waits_touches_no_other() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    server.put_yaml("good", &numbers("good", ""));
    server.until_rows("good", 1);
    folder.write("bad.txt", "{\"n\": 1}\nnonsense\n");
    let bad = |name: &str| {
        format!(
            "apiVersion: runner/v1\nkind: Pipeline\nmetadata: {{ name: {name} }}\nspec:\n  sources: {{ rows: {{ file: {{ path: bad.txt }}, format: json, columns: {{ n: long }} }} }}\n  sinks: {{ out: {{ from: rows, file: {{ path: {name}-out.jsonl }}, format: json }} }}\n"
        )
    };
    server.put_yaml("bad", &bad("bad"));
    let failed = server.until_state("bad", "failed");
    assert!(failed["reason"]["message"].as_str().unwrap().contains("bad.txt"), "{failed:#}");
    let away = "apiVersion: runner/v1\nkind: Pipeline\nmetadata: { name: away }\nspec:\n  connections: { c: { kafka: { brokers: \"127.0.0.1:9\" } } }\n  sources: { rows: { kafka: { topic: t }, format: string, connection: c } }\n  sinks: { out: { from: rows, discard: {} } }\n";
    server.put_yaml("away", away);
    let waiting = server.until_state("away", "waiting");
    assert!(waiting["reason"]["message"].as_str().unwrap().contains("127.0.0.1:9"), "{waiting:#}");
    let states = server.get("/ready")["pipelines"].clone();
    assert_eq!(states, json!({ "failed": 1, "running": 1, "waiting": 1 }));
    let generation = server.pipeline("good")["since"].clone();

    // Mended, it ends well; whoever waits can be stopped all the same.
    let mended = bad("bad").replace("spec:\n", "spec:\n  errors: { skip: true }\n");
    assert_eq!(server.put_yaml("bad", &mended).status(), 200);
    server.until_state("bad", "ended");
    assert_eq!(folder.read("bad-out.jsonl"), "{\"n\":1}\n");
    server.put("away/stop");
    server.until_state("away", "stopped");
    assert_eq!(server.request(Method::DELETE, "/v1/pipelines/bad").send().unwrap().status(), 204);
    let rows = server.pipeline("good")["metrics"]["rows_out"].as_u64().unwrap();
    let good = server.until_rows("good", rows + 20);
    assert_eq!((good["since"].clone(), &good["restarts"]), (generation, &json!(0)), "it was never disturbed");
    counted(&folder, "good");
}

#[test]
fn what_panics_is_started_again_and_touches_no_other() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    server.put_yaml("good", &numbers("good", ""));
    server.until_rows("good", 1);
    let since = server.pipeline("good")["since"].clone();
    let panics = numbers("odd", "")
        .replace("  sinks:", "  transforms: { odd: { from: rows, fail: { after: 50, as: panic } } }\n  sinks:")
        .replace("out: { from: rows", "out: { from: odd");
    assert_eq!(server.put_yaml("odd", &panics).status(), 201);
    let restarted = server.until("odd", "restarted", |shown| shown["restarts"] == 1 && shown["state"] == "running");
    assert_eq!(restarted["reason"]["code"], "job.panic", "the last reason stays in sight: {restarted:#}");
    let rows = restarted["metrics"]["rows_out"].as_u64().unwrap();
    server.until_rows("odd", rows + 50);
    server.put("odd/stop");
    server.until_state("odd", "stopped");
    assert!(counted(&folder, "odd") >= 50);
    assert_eq!(server.pipeline("good")["since"], since);
    let logged = server.get("/v1/pipelines/odd/logs").to_string();
    assert!(logged.contains("is started again in 1 s"), "{logged}");
}

/// What a pipeline registers in the embedded registry is what the server serves, and what the next one reads.
#[test]
fn pipelines_on_kafka_share_the_registry_that_is_served() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &["--registry", "127.0.0.1:0"]);
    let topic = crate::servers::topic("served", 1);
    let namespace = crate::servers::unique("t");
    let connection = format!(
        "  connections: {{ c: {{ kafka: {{ brokers: \"{}\" }}, registry: embedded }} }}\n",
        crate::servers::kafka()
    );
    let head = |name: &str| {
        format!(
            "---\napiVersion: runner/v1\nkind: Pipeline\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec:\n{connection}"
        )
    };
    // The reader stands first: it is given what it needs all the same.
    folder.write("specs.yaml", &format!(
        "{}  sources: {{ rows: {{ kafka: {{ topic: {topic} }}, format: avro, connection: c }} }}
  sinks: {{ out: {{ from: rows, file: {{ path: read.jsonl }}, format: json }} }}
{}  sources: {{ rows: {{ datagen: {{ columns: {{ n: {{ type: long, iteration: {{ start: 0 }} }} }}, rate: 500, count: 200 }} }} }}
  sinks: {{ out: {{ from: rows, kafka: {{ topic: {topic} }}, format: avro, connection: c }} }}
",
        head("reads"),
        head("writes")
    ));
    let applied = crate::runner::run(&["apply", "--server", &server.api, "specs.yaml"], folder.path()).with_code(0);
    assert!(applied.stdout.contains(&format!("{namespace}/reads: submitted; running")), "{}", applied.stdout);
    let query = |name: &str| format!("{name}?namespace={namespace}");
    server.until_state(&query("writes"), "ended");
    server.until_rows(&query("reads"), 200);
    server.put(&query("reads/pause"));
    server.until_state(&query("reads"), "paused");
    assert_eq!(counted(&folder, "read"), 200);
    let registry = server.registry.as_ref().unwrap();
    let latest = Client::new().get(format!("{registry}/subjects/{topic}-value/versions/latest")).send().unwrap();
    let latest: Value = latest.json().unwrap();
    let bytes = crate::servers::read(&topic)[0].value.clone().unwrap();
    assert_eq!(json!(i32::from_be_bytes(bytes[1..5].try_into().unwrap())), latest["id"], "{latest}");
    let renewed = Client::new().get(format!("{registry}/schemas/ids/{}/schema", latest["id"])).send().unwrap();
    assert!(renewed.text().unwrap().contains("\"name\":\"n\""));
}

#[test]
fn of_ten_that_submit_the_same_name_at_once_one_does() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let post = || {
            let request = server.request(Method::POST, "/v1/pipelines").header("Content-Type", "application/yaml");
            request.body(numbers("same", "")).send().unwrap().status().as_u16()
        };
        let threads: Vec<_> = (0..10).map(|_| scope.spawn(post)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 9, "{statuses:?}");
    server.until_rows("same", 10);
    server.put("same/stop");
    server.until_state("same", "stopped");
    assert!(counted(&folder, "same") >= 10);
}

#[test]
fn pipelines_come_and_go_without_a_trace() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    let files = || std::fs::read_dir(format!("/proc/{}/fd", server.runner.pid())).unwrap().count();
    let threads = || std::fs::read_dir(format!("/proc/{}/task", server.runner.pid())).unwrap().count();
    let round = |number: usize| {
        let name = format!("p{number}");
        assert_eq!(server.put_yaml(&name, &numbers(&name, "")).status(), 201);
        server.until_state(&name, "running");
        assert_eq!(server.request(Method::DELETE, &format!("/v1/pipelines/{name}")).send().unwrap().status(), 204);
    };
    (0..10).for_each(round);
    let before = (files(), threads());
    (10..40).for_each(round);
    let after = (files(), threads());
    assert!(after.0 <= before.0 + 8 && after.1 <= before.1 + 8, "files and threads: {before:?}, then {after:?}");
    assert_eq!(server.get("/v1/pipelines"), json!({ "pipelines": [] }));
    let metrics = server.request(Method::GET, "/metrics").send().unwrap().text().unwrap();
    assert!(!metrics.contains("pipeline=\"p"), "{metrics}");
}
