//! Connectors over Kafka Connect's REST API: that they run, survive kill -9, and that bad input harms nobody.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Server;
use super::conformance::{Answer, send};
use super::many::{held, many, sockets};
use crate::runner::PATIENCE;
use crate::specs::Folder;

/// A server whose connectors use the brokers of the tests.
pub(super) fn worker(folder: &Folder) -> Server {
    Server::start(folder.path(), &["--brokers", crate::servers::kafka(), "--registry", "127.0.0.1:0"])
}

pub(super) fn ask(server: &Server, request: &str, body: Option<&Value>) -> Answer {
    let (method, path) = request.split_once(' ').unwrap();
    let at = server.api.strip_prefix("http://").unwrap();
    let headers = body.map(|_| ("Content-Type".to_owned(), "application/json".to_owned()));
    let body = body.map(Value::to_string);
    send(at, method, path, headers.as_slice(), body.as_ref().map(String::as_bytes))
}

#[track_caller]
pub(super) fn done(server: &Server, request: &str, body: Option<&Value>, status: u64) -> Value {
    let answer = ask(server, request, body);
    assert_eq!(answer.status, status, "{request}: {}\n{}", answer.json(), server.runner.stderr());
    answer.json()
}

/// The lines of a file to a topic.
pub(super) fn lines(topic: &str) -> Value {
    json!({
        "connector.class": "FileStreamSource", "file": "lines.txt", "topic": topic,
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    })
}

/// The genuine command of the second job, with fewer settings.
fn ratings(topic: &str, interval: u64) -> Value {
    json!({
        "connector.class": "io.confluent.kafka.connect.datagen.DatagenConnector", "kafka.topic": topic,
        "quickstart": "ratings", "max.interval": interval, "tasks.max": 1,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": false,
    })
}

#[track_caller]
pub(super) fn until_task(server: &Server, name: &str, state: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = ask(server, &format!("GET /connectors/{name}/status"), None).json();
        if status["tasks"][0]["state"] == state {
            return status;
        }
        assert!(Instant::now() < deadline, "{status}\n{}", server.runner.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn texts(topic: &str) -> Vec<String> {
    crate::servers::read(topic).iter().map(crate::servers::TestRecord::text).collect()
}

#[test]
fn a_connector_goes_on_behind_kill_9_and_pipelines_are_told_from_it() {
    let folder = Folder::new();
    let topic = crate::servers::topic("connector", 1);
    folder.write("lines.txt", "one\ntwo\n");
    let server = worker(&folder);
    done(&server, "POST /connectors", Some(&json!({ "name": "a/ü b", "config": lines(&topic) })), 201);
    done(
        &server,
        "POST /connectors",
        Some(&json!({ "name": "p", "config": lines(&topic), "initial_state": "PAUSED" })),
        201,
    );
    until_task(&server, "a%2F%C3%BC%20b", "RUNNING");
    crate::specs::read_when(&topic, 2);
    drop(server.runner.kill());
    folder.write("lines.txt", "one\ntwo\nthree\n");
    let server = worker(&folder);
    until_task(&server, "a%2F%C3%BC%20b", "RUNNING");
    crate::specs::read_until(&topic, "three", |read| read.last().is_some_and(|last| last.text() == "three"));
    // At least once: what was not yet noted when it was killed may come again.
    let mut all = texts(&topic);
    all.dedup();
    assert!(all.ends_with(&["three".to_owned()]) && all[..2] == ["one", "two"], "{all:?}");
    assert_eq!(done(&server, "GET /connectors/p/status", None, 200)["connector"]["state"], "PAUSED");

    // It shows among the pipelines, and changes as a connector only.
    let shown = server.get("/v1/pipelines");
    let name = shown["pipelines"][0]["name"].as_str().unwrap().to_owned();
    assert_eq!(shown["pipelines"][0]["namespace"], "connect");
    for (method, word) in [("DELETE", ""), ("PUT", "/pause"), ("PUT", "/restart")] {
        let answer = ask(&server, &format!("{method} /v1/pipelines/{name}{word}?namespace=connect"), None);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (409, &json!("pipeline.of_connector")));
    }
    done(&server, "DELETE /connectors/a%2F%C3%BC%20b", None, 204);
    assert_eq!(done(&server, "GET /connectors", None, 200), json!(["p"]));
}

#[test]
fn a_connector_that_failed_stays_so_until_it_is_restarted_or_stopped() {
    let folder = Folder::new();
    let topic = crate::servers::topic("ends", 1);
    let server = worker(&folder);
    let mut config = ratings(&topic, 1);
    config["iterations"] = 5.into();
    done(&server, "PUT /connectors/ends/config", Some(&config), 201);
    let status = until_task(&server, "ends", "FAILED");
    assert_eq!(status["connector"]["state"], "RUNNING", "{status}");
    let trace = status["tasks"][0]["trace"].as_str().unwrap();
    assert!(trace.contains("generated the configured 5 number of messages"), "{trace}");
    assert_eq!(texts(&topic).len(), 5);
    for word in ["pause", "resume"] {
        done(&server, &format!("PUT /connectors/ends/{word}"), None, 202);
        std::thread::sleep(Duration::from_millis(100));
        until_task(&server, "ends", "FAILED");
    }
    let restarting = done(&server, "POST /connectors/ends/restart?includeTasks=true&onlyFailed=true", None, 202);
    assert_eq!(restarting["tasks"][0]["state"], "RESTARTING");
    assert_eq!(restarting["connector"]["state"], "RUNNING");
    until_task(&server, "ends", "FAILED");
    assert_eq!(texts(&topic).len(), 5, "it goes on where it was, which is its end");
    done(&server, "PUT /connectors/ends/stop", None, 204);
    let deadline = Instant::now() + PATIENCE;
    while done(&server, "GET /connectors/ends/status", None, 200)["tasks"] != json!([]) {
        assert!(Instant::now() < deadline);
    }
    done(&server, "DELETE /connectors/ends/offsets", None, 200);
    done(&server, "PUT /connectors/ends/resume", None, 202);
    until_task(&server, "ends", "FAILED");
    assert_eq!(texts(&topic).len(), 10, "it began anew");
}

/// Offsets are those of a file, and a topic need not be there yet.
#[test]
fn another_file_is_read_from_its_first_line_and_a_topic_is_waited_for() {
    let folder = Folder::new();
    folder.write("lines.txt", "one\ntwo\n");
    folder.write("other.txt", "a\nb\n");
    let (topic, to_come) = (crate::servers::topic("moves", 1), crate::servers::unique("to-come"));
    let server = worker(&folder);
    let mut config = lines(&topic);
    done(&server, "PUT /connectors/moves/config", Some(&config), 201);
    crate::specs::read_when(&topic, 2);
    config["file"] = "other.txt".into();
    done(&server, "PUT /connectors/moves/config", Some(&config), 200);
    crate::specs::read_when(&topic, 4);
    assert_eq!(texts(&topic), ["one", "two", "a", "b"]);
    let offsets = done(&server, "GET /connectors/moves/offsets", None, 200);
    assert_eq!(offsets["offsets"][0]["partition"]["filename"], "other.txt", "{offsets}");

    let sink = json!({
        "connector.class": "FileStreamSink", "topics": to_come, "file": "out.txt",
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    });
    done(&server, "PUT /connectors/waits/config", Some(&sink), 201);
    let deadline = Instant::now() + PATIENCE;
    while server.get("/v1/pipelines/waits?namespace=connect")["reason"]["code"] != "kafka.no_topic" {
        assert!(Instant::now() < deadline, "{}", server.runner.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    until_task(&server, "waits", "RUNNING");
    crate::servers::create_topic(crate::servers::kafka(), &to_come, 1, &[]);
    crate::servers::produce(&to_come, &[crate::servers::TestRecord::to(0, "here")]);
    while !folder.path().join("out.txt").exists() || folder.read("out.txt") != "here\n" {
        assert!(Instant::now() < deadline, "{}", server.runner.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn of_ten_that_post_the_same_connector_at_once_one_does() {
    let folder = Folder::new();
    folder.write("lines.txt", "");
    let topic = crate::servers::topic("same", 1);
    let server = worker(&folder);
    let body = json!({ "name": "same", "config": lines(&topic) });
    let mut statuses: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..10).map(|_| scope.spawn(|| ask(&server, "POST /connectors", Some(&body)).status)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409, 409, 409]);
    // Two changes at once: both are in what comes of it.
    std::thread::scope(|scope| {
        for key in ["a", "b", "c", "d"] {
            let server = &server;
            scope.spawn(move || done(server, "PATCH /connectors/same/config", Some(&json!({ key: "1" })), 200));
        }
    });
    let config = done(&server, "GET /connectors/same/config", None, 200);
    assert!(["a", "b", "c", "d"].iter().all(|key| config[*key] == "1"), "{config}");
    until_task(&server, "same", "RUNNING");
}

#[test]
fn no_request_harms_the_server_or_a_connector() {
    let folder = Folder::new();
    folder.write("lines.txt", "one\n");
    let topic = crate::servers::topic("harm", 1);
    let server = worker(&folder);
    done(&server, "POST /connectors", Some(&json!({ "name": "good", "config": lines(&topic) })), 201);
    until_task(&server, "good", "RUNNING");
    let at = server.api.strip_prefix("http://").unwrap();
    let json = [("Content-Type".to_owned(), "application/json".to_owned())];
    let deep = "[".repeat(200_000);
    let nested = format!("{{\"name\":\"x\",\"config\":{}", "{\"a\":".repeat(100_000));
    let wide = format!("{{\"name\":\"x\",\"config\":{{\"a\":\"{}\"}}}}", "x".repeat(5 << 20));
    let texts: [(&[u8], u64); 9] = [
        (deep.as_bytes(), 400),
        (nested.as_bytes(), 400),
        (wide.as_bytes(), 413),
        (b"\xff\xfe{}", 400),
        (b"{\"name\":\"x\",\"config\":{\"a\":\"\xff\"}}", 400),
        (b"{\"name\":1e999,\"config\":7}", 400),
        (b"{\"name\":{},\"config\":{}}", 400),
        (b"{\"name\":\"x\",\"config\":{\"connector.class\":7}}", 400),
        (b"{\"name\":\"x\",\"config\":{\"connector.class\":\"io.debezium.connector.mysql.MySqlConnector\"}}", 400),
    ];
    for (text, status) in texts {
        let answer = send(at, "POST", "/connectors", &json, Some(text));
        assert_eq!(answer.status, status, "{}", answer.json());
        assert_eq!(answer.json()["error_code"], status);
    }
    let both = json!({ "name": "x", "config": {
        "connector.class": "DatagenConnector", "kafka.topic": topic, "quickstart": "ratings", "schema.string": "{}",
    } });
    done(&server, "POST /connectors", Some(&both), 400);
    let bad = json!({ "name": "x", "config": {
        "connector.class": "DatagenConnector", "kafka.topic": topic, "max.interval": -1,
        "schema.string": "{\"type\":\"record\",\"name\":\"r\",\"fields\":[{\"name\":\"broken\",\"type\":\"nope\"}]}",
    } });
    let message = done(&server, "POST /connectors", Some(&bad), 400)["message"].to_string();
    assert!(message.contains("broken"), "{message}");
    for path in [
        "/connectors/%ff",
        "/connectors/%",
        "/connectors/%00",
        "/%2e%2e/connectors",
        "/connectors//config",
        "/connectors/a%0ab",
    ] {
        let answer = send(at, "GET", path, &[], None);
        assert!([400, 404].contains(&answer.status), "{path}: {}", answer.status);
    }
    assert_eq!(done(&server, "GET /connectors", None, 200), json!(["good"]));
    until_task(&server, "good", "RUNNING");
}

/// A connector that waits for its registry holds nobody up, and runs once it is there.
#[test]
fn a_registry_that_is_away_is_waited_for() {
    let folder = Folder::new();
    folder.write("lines.txt", "one\n");
    let (good, avro) = (crate::servers::topic("good", 1), crate::servers::topic("avro", 1));
    let server = worker(&folder);
    let mut config = ratings(&avro, 10);
    config["value.converter"] = "io.confluent.connect.avro.AvroConverter".into();
    config["value.converter.schema.registry.url"] = "http://127.0.0.1:9".into();
    done(&server, "POST /connectors", Some(&json!({ "name": "waits", "config": config })), 201);
    done(&server, "POST /connectors", Some(&json!({ "name": "good", "config": lines(&good) })), 201);
    until_task(&server, "good", "RUNNING");
    crate::specs::read_when(&good, 1);
    let shown = server.get("/v1/pipelines/waits?namespace=connect");
    assert!(["starting", "waiting"].contains(&shown["state"].as_str().unwrap()), "{shown}");
    // The one that is served is not away.
    config["value.converter.schema.registry.url"] = json!(server.registry.as_ref().unwrap());
    done(&server, "PUT /connectors/waits/config", Some(&config), 200);
    until_task(&server, "waits", "RUNNING");
    crate::specs::read_when(&avro, 3);

    // One that comes back is not named any more.
    let mut door = crate::gate::Gate::to(server.registry.as_ref().unwrap().strip_prefix("http://").unwrap());
    config["value.converter.schema.registry.url"] = json!(format!("http://{}", door.address()));
    done(&server, "POST /connectors", Some(&json!({ "name": "returns", "config": config })), 201);
    let shown = || server.get("/v1/pipelines/returns?namespace=connect");
    let until = |state: &str| {
        let deadline = Instant::now() + PATIENCE;
        while shown()["state"] != state {
            assert!(Instant::now() < deadline, "it is not {state}: {}", shown());
            std::thread::sleep(Duration::from_millis(20));
        }
        shown()
    };
    let waiting = until("waiting");
    assert!(waiting["reason"]["message"].as_str().is_some(), "{waiting}");
    door.open();
    let running = until("running");
    assert!(running["reason"].is_null(), "{running}");
}

/// How long a connector takes to run, how long questions take meanwhile, and whether anything is left behind.
/// `RUNNER_CONNECTORS=1000` lets more of them come and go.
#[test]
fn connectors_come_and_go_quickly_and_without_a_trace() {
    const WARM: usize = 10;
    let folder = Folder::new();
    folder.write("lines.txt", "one\n");
    let topic = crate::servers::topic("quick", 1);
    let server = worker(&folder);
    let pid = server.runner.pid();
    let rounds = many("RUNNER_CONNECTORS", 40);
    let round = |number: usize| {
        let body = json!({ "name": format!("c{number}"), "config": lines(&topic) });
        let start = Instant::now();
        done(&server, "POST /connectors", Some(&body), 201);
        until_task(&server, &format!("c{number}"), "RUNNING");
        let took = start.elapsed();
        done(&server, &format!("DELETE /connectors/c{number}"), None, 204);
        took
    };
    // What is taken once, and kept, is taken by then.
    let warm = WARM + rounds / 2;
    for number in 0..warm {
        round(number);
    }
    let before = (held(pid), sockets(pid));
    let over = AtomicBool::new(false);
    let (mut runs, mut answers) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut took = Vec::new();
            while !over.load(Relaxed) {
                let start = Instant::now();
                done(&server, "GET /connectors?expand=status&expand=info", None, 200);
                took.push(start.elapsed());
                std::thread::sleep(Duration::from_millis(10));
            }
            took
        });
        let _ends = Ends(&over);
        let runs: Vec<Duration> = (warm..warm + rounds).map(round).collect();
        over.store(true, Relaxed);
        (runs, asking.join().unwrap())
    });
    let runs = Percentiles::of(&mut runs);
    let answers = Percentiles::of(&mut answers);
    println!("{rounds} connectors: POST to RUNNING {runs:?}; a GET meanwhile {answers:?}");
    let over_since = Instant::now();
    // On a quiet machine, a release build takes a tenth of it and less.
    assert!(runs.median <= Duration::from_secs(1), "POST to RUNNING {runs:?}");
    assert!(answers.median <= Duration::from_millis(200), "a GET meanwhile {answers:?}");
    let settled = || loop {
        let after = (held(pid), sockets(pid));
        // A DELETE is answered before its pipeline has delivered the last record and let go of its files.
        let is_gone = server.get("/v1/pipelines")["pipelines"] == json!([]) && after.0.files <= before.0.files + 8;
        if is_gone && after.0.threads <= before.0.threads + 8 && after.1 <= before.1 + 4 {
            break after;
        }
        assert!(over_since.elapsed() < 4 * PATIENCE, "left behind by {rounds}: {before:?}, then {after:?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut after = settled();
    println!("held before and after: {before:?}, {after:?}");
    // What threads keep for themselves levels off; what every connector left behind would not.
    let (mut rss, mut next) = (before.0.rss_kib, warm + rounds);
    while after.0.rss_kib > rss + 48 * 1024 {
        assert!(next < warm + 4 * rounds, "memory: {before:?}, then {after:?}");
        for number in next..next + rounds {
            round(number);
        }
        (rss, next, after) = (after.0.rss_kib, next + rounds, settled());
    }
    let left = std::fs::read_dir(folder.path().join(".runner/pipelines/connect")).unwrap().count();
    assert_eq!(left, 0, "files of connectors that are gone");
    assert_eq!(done(&server, "GET /connectors?expand=status", None, 200), json!({}));
}

/// Ends what waits for it, also where an assertion fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// What of many came in the middle, and after all but a hundredth.
#[derive(Debug)]
struct Percentiles {
    median: Duration,
    #[expect(dead_code, reason = "printed")]
    p99: Duration,
}

impl Percentiles {
    fn of(took: &mut [Duration]) -> Percentiles {
        took.sort_unstable();
        Percentiles { median: took[took.len() / 2], p99: took[took.len() * 99 / 100] }
    }
}

/// `topics.regex`: topics that come while it runs are read, too, from their first record.
#[test]
fn a_sink_reads_the_topics_that_fit_and_those_that_come_to_fit() {
    let folder = Folder::new();
    let server = worker(&folder);
    let prefix = crate::servers::unique("fitting");
    let config = json!({
        "connector.class": "FileStreamSink", "file": "out.txt", "topics.regex": format!("{prefix}-(?!.*-dlq$).*"),
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
    });
    let produce = |name: &str, value: &str| {
        let topic = format!("{prefix}-{name}");
        if !crate::servers::exists(&topic) {
            crate::servers::create_topic(crate::servers::kafka(), &topic, 1, &[]);
        }
        crate::servers::produce(&topic, &[crate::servers::TestRecord::to(0, value)]);
    };
    let until_lines = |expected: &[&str]| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(folder.path().join("out.txt")).unwrap_or_default();
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            if lines == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{lines:?}\n{}", server.runner.stderr());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // Before there is any topic it waits.
    done(&server, "PUT /connectors/fits/config", Some(&config), 201);
    until_task(&server, "fits", "RUNNING");
    produce("a", "one");
    until_lines(&["one"]);
    produce("bad-dlq", "never");
    produce("b", "two");
    produce("a", "three");
    until_lines(&["one", "three", "two"]);
    // That it goes on with more is no failure.
    assert_eq!(server.get("/v1/pipelines/fits?namespace=connect")["restarts"], 0);
    let topics = done(&server, "GET /connectors/fits/topics", None, 200);
    assert_eq!(topics["fits"]["topics"], json!([format!("{prefix}-a"), format!("{prefix}-b")]));
    // Set back by Connect's own request, it reads that topic again.
    done(&server, "PUT /connectors/fits/stop", None, 204);
    let partition = json!({ "kafka_topic": format!("{prefix}-a"), "kafka_partition": 0 });
    let offsets = json!({ "offsets": [{ "partition": partition, "offset": { "kafka_offset": 1 } }] });
    done(&server, "PATCH /connectors/fits/offsets", Some(&offsets), 200);
    done(&server, "PUT /connectors/fits/resume", None, 202);
    until_lines(&["one", "three", "three", "two"]);
    done(&server, "DELETE /connectors/fits", None, 204);
}

/// Who watches a connector's lag asks for the group `connect-NAME`, with Kafka's own tool for example.
#[test]
fn kafkas_own_tool_shows_how_far_a_sink_is() {
    let folder = Folder::new();
    let server = worker(&folder);
    let topic = crate::servers::topic("watched", 2);
    let name = crate::servers::unique("watched");
    let rows = |partition: i32, count: usize| -> Vec<crate::servers::TestRecord> {
        (0..count).map(|row| crate::servers::TestRecord::to(partition, format!("{row}"))).collect()
    };
    crate::servers::produce(&topic, &[rows(0, 3), rows(1, 5)].concat());
    let sink = json!({
        "connector.class": "FileStreamSink", "topics": topic, "file": "out.txt",
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
    });
    done(&server, &format!("PUT /connectors/{name}/config"), Some(&sink), 201);
    let until_shown = |ends: [usize; 2], lags: [usize; 2]| {
        let line = |partition: usize| {
            let at = ends[partition] - lags[partition];
            let words = [at, ends[partition], lags[partition]].map(|number| number.to_string());
            ((topic.clone(), partition as i32), words)
        };
        let expected = std::collections::BTreeMap::from([line(0), line(1)]);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = crate::servers::group(&format!("connect-{name}"));
            if shown == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{shown:?}, not {expected:?}\n{}", server.runner.stderr());
        }
    };
    until_shown([3, 5], [0, 0]);
    // What comes while it is stopped is its lag.
    done(&server, &format!("PUT /connectors/{name}/stop"), None, 204);
    crate::servers::produce(&topic, &rows(1, 4));
    until_shown([3, 9], [0, 4]);
    done(&server, &format!("PUT /connectors/{name}/resume"), None, 202);
    until_shown([3, 9], [0, 0]);
}

/// `serve PATH`: what is named at the start is taken in as a POST would take it, and what people made of it since stays.
#[test]
fn a_server_starts_with_the_connectors_that_it_is_given() {
    let folder = Folder::new();
    folder.write("specs/lines.txt", "one\n");
    let (of_file, of_rows) = (crate::servers::topic("given-lines", 1), crate::servers::topic("given-rows", 1));
    folder.write("specs/lines.json", &json!({ "name": "a lines", "config": lines(&of_file) }).to_string());
    let generated = ratings(&of_rows, 1_000_000).as_object().unwrap().clone();
    let class = generated["connector.class"].clone();
    let own = ["connector.class", "tasks.max"];
    let config: serde_json::Map<_, _> = generated.into_iter().filter(|(key, _)| !own.contains(&key.as_str())).collect();
    let spec = json!({ "class": class, "tasksMax": 1, "state": "paused", "config": config });
    folder.write(
        "specs/rows.yaml",
        &json!({ "apiVersion": "runner/v1", "kind": "KafkaConnector", "metadata": { "name": "rows" }, "spec": spec })
            .to_string(),
    );
    let start = || {
        let given = ["specs/lines.json", "specs/rows.yaml"];
        Server::start(folder.path(), &[&["--brokers", crate::servers::kafka()][..], &given].concat())
    };
    let server = start();
    assert_eq!(done(&server, "GET /connectors", None, 200), json!(["a lines", "rows"]));
    until_task(&server, "a%20lines", "RUNNING");
    // A path in a file begins at the file.
    crate::specs::read_when(&of_file, 1);
    let config = done(&server, "GET /connectors/a%20lines/config", None, 200);
    assert_eq!((&config["name"], &config["topic"]), (&json!("a lines"), &json!(of_file)));
    assert_eq!(done(&server, "GET /connectors/rows/status", None, 200)["connector"]["state"], "PAUSED");
    done(&server, "PUT /connectors/rows/resume", None, 202);
    done(&server, "PUT /connectors/a%20lines/stop", None, 204);
    until_task(&server, "rows", "RUNNING");
    drop(server.runner.kill());
    let server = start();
    until_task(&server, "rows", "RUNNING");
    assert_eq!(done(&server, "GET /connectors/a%20lines/status", None, 200)["connector"]["state"], "STOPPED");
    drop(server.runner.kill());

    folder.write("specs/wrong.json", &json!({ "name": "wrong", "config": { "connector.class": "Nope" } }).to_string());
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--state-dir", "other", "specs/wrong.json"];
    let ended = crate::runner::run(&arguments, folder.path());
    assert!(ended.code != Some(0) && ended.stderr.contains("Failed to find any class"), "{}", ended.stderr);
}
