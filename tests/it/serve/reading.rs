//! Connectors of one server that read Kafka share their clients while little comes: hundreds that wait cost little.
//!
//! `RUNNER_READERS=500` tries more of them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Server;
use super::connectors::{done, until_task, worker};
use super::many::{Held, held, many, sockets};
use crate::runner::PATIENCE;
use crate::servers::{self, TestRecord};
use crate::specs::Folder;

/// A topic to a file.
fn sink(topic: &str, file: &str) -> Value {
    json!({
        "connector.class": "FileStreamSink", "topics": topic, "file": file,
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
    })
}

/// Waits until a file has these lines.
#[track_caller]
fn until_lines(server: &Server, folder: &Folder, file: &str, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(folder.path().join(file)).unwrap_or_default();
        if text == expected {
            return;
        }
        let (had, wanted) = (text.lines().count(), expected.lines().count());
        assert!(Instant::now() < deadline, "{file}: {had} lines, not {wanted}\n{}", server.runner.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a server holds, once that is as wanted or patience is at its end.
fn until_held(pid: u32, wanted: impl Fn(&Held) -> bool) -> Held {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = held(pid);
        if wanted(&now) || Instant::now() > deadline {
            return now;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn read_by(server: &Server, name: &str, topic: &str, file: &str) {
    done(server, &format!("PUT /connectors/{name}/config"), Some(&sink(topic, file)), 201);
}

#[test]
fn connectors_that_wait_for_records_share_their_clients() {
    const MANY: usize = 20_000;
    let count = many("RUNNER_READERS", 40);
    let folder = Folder::new();
    let server = worker(&folder);
    let pid = server.runner.pid();
    let (empty, empty_sockets) = (held(pid), sockets(pid));
    let run = servers::unique("waits");
    let topic = |number: usize| format!("{run}-{number}");
    let file = |number: usize| format!("out-{number}.txt");
    let mut expected: Vec<String> = (0..count).map(|number| format!("first {number}\n")).collect();
    for number in 0..count {
        servers::create_topic(servers::kafka(), &topic(number), 1, &[]);
        servers::produce(&topic(number), &[TestRecord::to(0, format!("first {number}"))]);
    }
    for number in 0..count {
        read_by(&server, &format!("c{number}"), &topic(number), &file(number));
    }
    // Two read the same.
    read_by(&server, "again", &topic(count - 1), "again.txt");
    for (number, lines) in expected.iter().enumerate() {
        until_task(&server, &format!("c{number}"), "RUNNING");
        until_lines(&server, &folder, &file(number), lines);
    }
    until_lines(&server, &folder, "again.txt", &expected[count - 1]);
    // The first ones had clients of their own, which they give back.
    let shared = until_held(pid, |now| now.threads <= empty.threads + 40 + count / 10);
    assert!(shared.threads <= empty.threads + 40 + count / 10, "{shared:?} after {empty:?}");
    std::thread::sleep(Duration::from_secs(5));
    let before = held(pid);
    std::thread::sleep(Duration::from_secs(20));
    let (after, after_sockets) = (held(pid), sockets(pid));
    let cpu = after.cpu - before.cpu;
    println!("{count}: {empty:?}, then {after:?}; {after_sockets} sockets; {cpu:?} of CPU time in 20 s");
    assert!(after_sockets <= empty_sockets + 20 + count / 10, "{after_sockets} sockets after {empty_sockets}");
    let rss = after.rss_kib.saturating_sub(empty.rss_kib) / 1024;
    assert!(rss <= 100 + count as u64 / 2, "{rss} MiB more");
    // 3 % of a core.
    assert!(cpu <= Duration::from_millis(600), "{cpu:?} in 20 s");

    // Much comes for one of them, and a little for each; one has left.
    done(&server, "DELETE /connectors/c1", None, 204);
    let numbers = (0..MANY).map(|number| TestRecord::to(0, format!("{number:0>200}")));
    servers::produce_many(servers::kafka(), &topic(0), numbers);
    expected[0].extend((0..MANY).map(|number| format!("{number:0>200}\n")));
    let others: Vec<usize> = (2..count).collect();
    for number in &others {
        servers::produce(&topic(*number), &[TestRecord::to(0, format!("second {number}"))]);
        expected[*number].push_str(&format!("second {number}\n"));
    }
    for number in others.iter().chain([&0]) {
        until_lines(&server, &folder, &file(*number), &expected[*number]);
    }
    until_lines(&server, &folder, "again.txt", &expected[count - 1]);
    until_lines(&server, &folder, &file(1), &expected[1]);
}

/// What was shared is there again behind an outage, and nothing is read twice.
#[test]
fn readers_of_one_client_outlive_its_broker() {
    const COUNT: usize = 12;
    let mut broker = servers::Broker::start();
    let folder = Folder::new();
    let server = Server::start(folder.path(), &["--brokers", &broker.address, "--registry", "127.0.0.1:0"]);
    let pid = server.runner.pid();
    let empty = held(pid);
    let topic = |number: usize| format!("t{number}");
    let file = |number: usize| format!("out-{number}.txt");
    let give = |broker: &servers::Broker, number: usize, what: &str| {
        servers::produce_batch(&broker.address, &topic(number), &[TestRecord::to(0, format!("{what} {number}"))]);
    };
    for number in 0..COUNT {
        servers::create_topic(&broker.address, &topic(number), 1, &[]);
        give(&broker, number, "before");
        read_by(&server, &format!("c{number}"), &topic(number), &file(number));
    }
    for number in 0..COUNT {
        until_lines(&server, &folder, &file(number), &format!("before {number}\n"));
    }
    // Each alone would have four threads.
    let shared = until_held(pid, |now| now.threads <= empty.threads + 3 * COUNT);
    assert!(shared.threads <= empty.threads + 3 * COUNT, "{shared:?} after {empty:?}");
    broker.kill();
    broker.start_again();
    for number in 0..COUNT {
        give(&broker, number, "after");
    }
    for number in 0..COUNT {
        until_lines(&server, &folder, &file(number), &format!("before {number}\nafter {number}\n"));
    }
}
