//! Connectors of one server share their clients: hundreds cost little, and what becomes of one is no other's business.
//!
//! `RUNNER_CONNECTORS=100` tries fewer of them.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Server;
use super::connectors::{ask, done, lines, until_task, worker};
use super::many::{held, many};
use crate::runner::{PATIENCE, Runner};
use crate::servers;
use crate::specs::Folder;

/// The registry that a server serves.
fn avro(server: &Server, mut config: Value) -> Value {
    config["value.converter"] = "io.confluent.connect.avro.AvroConverter".into();
    config["value.converter.schema.registry.url"] = server.registry.clone().into();
    config
}

/// Numbers from 0, so many.
fn numbers(topic: &str, count: usize) -> Value {
    json!({
        "connector.class": "DatagenConnector", "kafka.topic": topic, "max.interval": 0, "iterations": count,
        "schema.string": r#"{"type": "record", "name": "row", "fields": [
            {"name": "n", "type": {"type": "long", "arg.properties": {"iteration": {"start": 0}}}}]}"#,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": false,
    })
}

/// The lines of a file.
fn file(topic: &str, path: &str) -> Value {
    let mut config = lines(topic);
    config["file"] = path.into();
    config
}

fn put(server: &Server, name: &str, config: &Value) {
    done(server, &format!("PUT /connectors/{name}/config"), Some(config), 201);
}

/// Waits until a topic has what is wanted, and gives it all.
#[track_caller]
fn until(server: &Server, topic: &str, what: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let texts: Vec<String> = servers::read(topic).iter().map(servers::TestRecord::text).collect();
        if wanted(&texts) {
            return texts;
        }
        let last = texts.last();
        assert!(Instant::now() < deadline, "{what}: {} records, {last:?}\n{}", texts.len(), server.runner.stderr());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn idle_connectors_share_their_clients() {
    let count = many("RUNNER_CONNECTORS", 500);
    let folder = Folder::new();
    folder.write("lines.txt", "one\ntwo\nthree\n");
    let server = worker(&folder);
    let pid = server.runner.pid();
    let empty = held(pid);
    let run = servers::unique("idle");
    let topic = |number: usize| format!("{run}-{number}");
    let generates = |number: usize, count: usize| {
        let config = numbers(&topic(number), count);
        if is_avro(number) { avro(&server, config) } else { config }
    };
    for number in 0..count {
        // Some follow a file; the others generate, with their first record in days.
        let config = match follows(number) {
            true => file(&topic(number), "lines.txt"),
            false => {
                let mut config = generates(number, 1_000_000);
                config["max.interval"] = 1_000_000_000.into();
                config
            }
        };
        put(&server, &format!("c{number}"), &config);
    }
    for number in 0..count {
        until_task(&server, &format!("c{number}"), "RUNNING");
    }
    // Clients and threads of the starts have ended then.
    std::thread::sleep(Duration::from_secs(15));
    let before = held(pid);
    std::thread::sleep(Duration::from_secs(20));
    let after = held(pid);
    let cpu = after.cpu - before.cpu;
    println!("{count} connectors: {empty:?}, then {after:?}; {cpu:?} of CPU time in 20 s");
    // No thread each: those are of clients, and of what looks at files now and then.
    assert!(after.threads <= empty.threads + 24 + count / 20, "{after:?} after {empty:?}");
    let rss = after.rss_kib.saturating_sub(empty.rss_kib) / 1024;
    // A producer of its own takes 5 MiB for each.
    assert!(rss <= 100 + count as u64 / 2, "{rss} MiB more");
    // 3 % of a core; a build that is not optimised takes a multiple.
    let slower = if cfg!(debug_assertions) { 4 } else { 1 };
    assert!(cpu <= Duration::from_millis(600) * slower, "{cpu:?} in 20 s");
    // They are not only cheap: each delivers what it should.
    let mut followed = std::fs::OpenOptions::new().append(true).open(folder.path().join("lines.txt")).unwrap();
    followed.write_all(b"four\n").unwrap();
    for number in 0..count {
        if !follows(number) {
            let config = generates(number, 4);
            done(&server, &format!("PUT /connectors/c{number}/config"), Some(&config), 200);
        }
    }
    for number in 0..count {
        let texts = until(&server, &topic(number), "the last record", |texts| texts.len() >= 4);
        let expected = match follows(number) {
            true => ["one", "two", "three", "four"].map(str::to_owned),
            // Behind a magic byte and the schema's id.
            false if is_avro(number) => {
                assert!(texts.len() == 4 && texts.iter().all(|text| text.starts_with('\0')), "{texts:?}");
                continue;
            }
            false => [0, 1, 2, 3].map(|n| format!("{{\"n\":{n}}}")),
        };
        assert_eq!(texts, expected, "connector {number}");
    }
}

fn follows(number: usize) -> bool {
    number.is_multiple_of(10)
}

fn is_avro(number: usize) -> bool {
    number.is_multiple_of(2)
}

/// Each of them keeps a few open.
#[test]
fn a_server_may_have_as_many_files_open_as_the_system_allows() {
    let folder = Folder::new();
    let launcher = ["sh", "-c", "ulimit -Sn 100; exec \"$0\" \"$@\""].map(str::to_owned);
    let runner = Runner::spawn_by(&launcher, &["serve", "--listen", "127.0.0.1:0"], folder.path());
    runner.wait_stderr("serving at ");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", runner.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert!(numbers[0] == numbers[1] && numbers[0] != "100", "{line}");
}

/// At least once, in order, none missing: what comes again is what came before.
#[track_caller]
fn assert_counts(texts: &[String], what: &str) {
    let mut next = 0;
    for text in texts {
        let row: Value = serde_json::from_str(text).unwrap();
        let n = row["n"].as_u64().unwrap();
        assert!(n <= next, "{what}: {n} came where {next} was next");
        next = next.max(n + 1);
    }
}

#[test]
fn every_row_of_each_is_there_behind_kill_9_under_load() {
    const COUNT: usize = 12;
    const ROWS: usize = 60_000;
    let folder = Folder::new();
    let mut server = worker(&folder);
    let run = servers::unique("load");
    let topic = |number: usize| format!("{run}-{number}");
    for number in 0..COUNT {
        put(&server, &format!("c{number}"), &numbers(&topic(number), ROWS));
    }
    let mut killed = 0;
    for round in 0..4 {
        until(&server, &topic(round), "it has begun", |texts| texts.len() > round * ROWS / 8);
        drop(server.runner.kill());
        killed += 1;
        server = worker(&folder);
    }
    for number in 0..COUNT {
        // The task fails at the end of its iterations, as the genuine one does.
        until_task(&server, &format!("c{number}"), "FAILED");
        let last = format!("{{\"n\":{}}}", ROWS - 1);
        let texts = until(&server, &topic(number), "its last row", |texts| texts.last() == Some(&last));
        assert!(texts.len() >= ROWS);
        assert_counts(&texts, &format!("connector {number}, killed {killed} times"));
    }
}

#[test]
fn one_whose_topic_refuses_fails_alone() {
    let folder = Folder::new();
    folder.write("refused.txt", "short\n");
    folder.write("good.txt", "short\n");
    let server = worker(&folder);
    let (refused, good) = (servers::topic("refused", 1), servers::topic("good", 1));
    put(&server, "refused", &file(&refused, "refused.txt"));
    put(&server, "good", &file(&good, "good.txt"));
    for topic in [&refused, &good] {
        until(&server, topic, "the first line", |texts| texts == ["short"]);
    }
    // What it takes was asked for at the start.
    servers::set(servers::kafka(), &refused, &[("max.message.bytes", "300")]);
    let append = |name: &str, text: &str| {
        let mut file = std::fs::OpenOptions::new().append(true).open(folder.path().join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    // Lines that no compression makes short.
    let long = |seed: u64| -> String {
        let mut state = seed;
        let mut letter = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + (state >> 59) as u8 % 26)
        };
        (0..1_000).map(|_| letter()).collect()
    };
    for round in 0..50 {
        append("refused.txt", &format!("{}\n", long(round)));
        append("good.txt", &format!("{}\n", long(round)));
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = until_task(&server, "refused", "FAILED");
    let trace = status["tasks"][0]["trace"].as_str().unwrap();
    assert!(trace.contains("refuses a record") && trace.contains(&refused), "{trace}");
    let texts = until(&server, &good, "all lines", |texts| texts.len() >= 51);
    let expected: Vec<String> = std::iter::once("short".to_owned()).chain((0..50).map(long)).collect();
    assert_eq!(texts, expected, "each once, in order");
    let status = ask(&server, "GET /connectors/good/status", None).json();
    assert_eq!(status["tasks"][0]["state"], "RUNNING");
    assert_eq!(server.get("/v1/pipelines/good?namespace=connect")["restarts"], 0);
    // What its topic takes again is delivered behind a restart, from where it was.
    servers::set(servers::kafka(), &refused, &[("max.message.bytes", "1000000")]);
    done(&server, "POST /connectors/refused/restart?includeTasks=true&onlyFailed=true", None, 202);
    let mut texts = until(&server, &refused, "all lines", |texts| texts.last() == expected.last());
    texts.dedup();
    let mut next = 0;
    for text in &texts {
        let index = expected.iter().position(|line| line == text).unwrap();
        assert!(index <= next, "line {index} came where {next} was next");
        next = next.max(index + 1);
    }
}
