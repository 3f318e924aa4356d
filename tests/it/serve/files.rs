//! Files of `FileStreamSink` and `FileStreamSource` that others move, cut, write or lack: what Kafka Connect survives, and what
//! it says.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Server;
use super::connectors::{done, lines, until_task, worker};
use super::settings::{to_file, until_file};
use crate::runner::{PATIENCE, Runner};
use crate::servers::{self, TestRecord};
use crate::specs::{Folder, read_until};

fn produce(topic: &str, lines: &[&str]) {
    servers::produce(topic, &lines.iter().map(|line| TestRecord::to(0, *line)).collect::<Vec<_>>());
}

#[track_caller]
fn until(server: &Server, what: &str, happens: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happens() {
        assert!(Instant::now() < deadline, "never: {what}\n{}", server.runner.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn state(server: &Server, name: &str) -> Value {
    done(server, &format!("GET /connectors/{name}/status"), None, 200)["tasks"][0]["state"].clone()
}

/// Each of these made the task FAILED for good.
#[test]
fn a_file_may_be_moved_away_and_be_written_by_others_and_its_topic_be_read_again() {
    let folder = Folder::new();
    let topic = servers::topic("shared-file", 1);
    folder.write("out/README", "");
    let server = worker(&folder);
    let config = to_file(&topic, "out/f");
    done(&server, "PUT /connectors/one/config", Some(&config), 201);
    produce(&topic, &["a"]);
    until_file(&server, &folder, "out/f", "a\n");

    // logrotate, and a restart that opens the file anew.
    let file = folder.path().join("out/f");
    std::fs::rename(&file, folder.path().join("out/f.1")).unwrap();
    done(&server, "POST /connectors/one/restart?includeTasks=true", None, 202);
    until(&server, "a new file", || file.exists());
    produce(&topic, &["b"]);
    until_file(&server, &folder, "out/f", "b\n");
    assert_eq!(folder.read("out/f.1"), "a\n");

    let mut theirs = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    theirs.write_all(b"x\n").unwrap();
    produce(&topic, &["c"]);
    until_file(&server, &folder, "out/f", "b\nx\nc\n");

    // Its offsets are taken away: all is read again, and appended.
    done(&server, "PUT /connectors/one/stop", None, 204);
    until(&server, "stopped", || done(&server, "GET /connectors/one/status", None, 200)["tasks"] == json!([]));
    done(&server, "DELETE /connectors/one/offsets", None, 200);
    done(&server, "PUT /connectors/one/resume", None, 202);
    until_file(&server, &folder, "out/f", "b\nx\nc\na\nb\nc\n");

    // Another connector on the same file.
    done(&server, "PUT /connectors/two/config", Some(&config), 201);
    until_file(&server, &folder, "out/f", "b\nx\nc\na\nb\nc\na\nb\nc\n");
    produce(&topic, &["d"]);
    until_file(&server, &folder, "out/f", "b\nx\nc\na\nb\nc\na\nb\nc\nd\nd\n");
    assert_eq!([state(&server, "one"), state(&server, "two")], ["RUNNING", "RUNNING"]);
    assert!(!folder.path().join("out/f.runner").exists());
}

#[test]
fn without_its_folder_a_sink_is_failed_with_the_words_of_connect() {
    let folder = Folder::new();
    let topic = servers::topic("no-folder", 1);
    let server = worker(&folder);
    done(&server, "PUT /connectors/c/config", Some(&to_file(&topic, "none/f")), 201);
    let status = until_task(&server, "c", "FAILED");
    let trace = status["tasks"][0]["trace"].as_str().unwrap();
    let first = "org.apache.kafka.connect.errors.ConnectException: Couldn't find or create file 'none/f' for FileStreamSinkTask\n";
    assert!(trace.starts_with(first) && trace.contains("No such file") && !trace.contains("runner reset"), "{trace}");
    assert!(!folder.path().join("none").exists());
    folder.write("none/README", "");
    produce(&topic, &["a"]);
    done(&server, "POST /connectors/c/restart?includeTasks=true&onlyFailed=true", None, 202);
    until_file(&server, &folder, "none/f", "a\n");
}

/// Between the journal and the file, within the write, and between the file and the note in the journal.
#[test]
fn a_sink_that_is_killed_anywhere_loses_no_line() {
    let folder = Folder::new();
    let topic = servers::topic("killed-sink", 1);
    let server = worker(&folder);
    done(&server, "POST /connectors", Some(&json!({ "name": "c", "config": to_file(&topic, "f") })), 201);
    until_task(&server, "c", "RUNNING");
    drop(server.runner.kill());
    let mut written: Vec<String> = Vec::new();
    // What the run before left to be written may kill one before it says that it serves.
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--brokers", servers::kafka(), "--registry", "127.0.0.1:0"];
    for (round, point) in ["epoch.committed:1", "sink.write:1", "file.appended:1", "sink.written:1", "file.appended:2"]
        .into_iter()
        .enumerate()
    {
        let runner = Runner::spawn_with(&arguments, folder.path(), &[("RUNNER_DIE_AT", point)]);
        // The second half comes in an epoch of its own, unless there is nobody any more.
        for half in ["a", "b"] {
            let lines: Vec<String> = (0..100).map(|line| format!("{round}-{half}-{line}")).collect();
            produce(&topic, &lines.iter().map(String::as_str).collect::<Vec<_>>());
            let last = lines[99].clone();
            written.extend(lines);
            let deadline = Instant::now() + PATIENCE;
            while !runner.ended_within(Duration::from_millis(20)) && !held(&folder).contains(&last) {
                assert!(Instant::now() < deadline, "{point}: {}", runner.stderr());
            }
        }
        let ended = runner.wait();
        assert_eq!(ended.signal, Some(libc::SIGKILL), "{point}: {}", ended.stderr);
    }
    let server = worker(&folder);
    until(&server, "the rest", || distinct(&held(&folder)).len() >= written.len());
    assert_eq!(distinct(&held(&folder)), written);
    assert_eq!(state(&server, "c"), "RUNNING");
}

fn held(folder: &Folder) -> String {
    std::fs::read_to_string(folder.path().join("f")).unwrap_or_default()
}

/// The lines of a file without those that came again.
fn distinct(text: &str) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    text.lines().filter(|line| seen.insert(*line)).collect()
}

/// As versions before compiled it: exactly once, with a sidecar.
#[test]
fn a_connector_of_before_goes_on_with_its_sidecar_and_without_it_when_its_config_is_put_again() {
    let folder = Folder::new();
    let topic = servers::topic("of-before", 1);
    let server = worker(&folder);
    let config = to_file(&topic, "f");
    let submitted = json!({ "name": "c", "config": config, "initial_state": "STOPPED" });
    done(&server, "POST /connectors", Some(&submitted), 201);
    drop(server);
    let kept = ".runner/pipelines/connect/c.json";
    let now = folder.read(kept);
    let before = now.replace("delivery: at_least_once", "delivery: exactly_once");
    assert_ne!(now, before, "{now}");
    folder.write(kept, &before);

    let server = worker(&folder);
    done(&server, "PUT /connectors/c/resume", None, 202);
    produce(&topic, &["a", "b"]);
    until_file(&server, &folder, "f", "a\nb\n");
    assert!(folder.path().join("f.runner").exists(), "it is not what it was before");
    drop(server.runner.kill());
    let server = worker(&folder);
    produce(&topic, &["c"]);
    until_file(&server, &folder, "f", "a\nb\nc\n");

    done(&server, "PUT /connectors/c/config", Some(&config), 200);
    assert!(folder.read(kept).contains("at_least_once"));
    produce(&topic, &["d"]);
    until_file(&server, &folder, "f", "a\nb\nc\nd\n");
    // It is at least once by now.
    std::fs::OpenOptions::new().append(true).open(folder.path().join("f")).unwrap().write_all(b"x\n").unwrap();
    produce(&topic, &["e"]);
    until_file(&server, &folder, "f", "a\nb\nc\nd\nx\ne\n");
    drop(server);
    let server = worker(&folder);
    produce(&topic, &["f"]);
    // What had not been noted yet when it was killed comes again.
    until(&server, "the last line", || held(&folder).ends_with("f\n"));
    assert_eq!(distinct(&held(&folder)), ["a", "b", "c", "d", "x", "e", "f"]);
}

/// What is in it by now, as logrotate's `copytruncate` and whoever writes a log leave it: the same file, cut and written.
fn cut(folder: &Folder, text: &str) {
    std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(folder.path().join("lines.txt"))
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .unwrap();
}

/// What came behind the cut was passed over up to the byte that had been read before, and where that was within a line the
/// task was FAILED for good.
#[test]
fn a_source_reads_a_file_that_is_cut_in_place_from_its_beginning_running_or_killed() {
    let folder = Folder::new();
    let topic = servers::topic("cut-file", 1);
    folder.write("lines.txt", "one\ntwo\nthree\n");
    let server = worker(&folder);
    done(&server, "POST /connectors", Some(&json!({ "name": "c", "config": lines(&topic) })), 201);
    let until_last = |line: &str| {
        let is_last = |all: &[TestRecord]| all.last().is_some_and(|last| last.text() == line);
        read_until(&topic, line, is_last).iter().map(TestRecord::text).collect::<Vec<_>>()
    };
    until_last("three");
    cut(&folder, "4\n");
    until_last("4");
    // Longer than what was read of it before anybody looks.
    cut(&folder, "five is longer than all before it\nsix\n");
    until_last("six");
    let position = || {
        let offsets = done(&server, "GET /connectors/c/offsets", None, 200);
        offsets["offsets"][0]["offset"]["position"].as_u64()
    };
    until(&server, "the position in what is there now", || position() == Some(38));
    assert!(server.runner.stderr().contains("was cut or replaced when 2 bytes"), "{}", server.runner.stderr());

    drop(server.runner.kill());
    cut(&folder, "seven\n");
    let server = worker(&folder);
    until_last("seven");
    let said = server.runner.stderr();
    assert!(said.contains("it was cut or replaced") && said.contains("are gone unread, if there were any"), "{said}");
    std::fs::OpenOptions::new()
        .append(true)
        .open(folder.path().join("lines.txt"))
        .and_then(|mut file| file.write_all(b"eight\n"))
        .unwrap();
    let all = until_last("eight");
    let five = "five is longer than all before it";
    assert_eq!(all, ["one", "two", "three", "4", five, "six", "seven", "eight"]);
    assert_eq!(state(&server, "c"), "RUNNING");
}

/// Read, journaled, not written, and then cut away: that much is lost to everybody, and it is said and counted.
#[test]
fn i17_lines_that_were_cut_away_before_they_were_written_are_counted() {
    let folder = Folder::new();
    folder.write("lines.txt", "one\ntwo\nthree\n");
    let spec = "  sources: { lines: { file: { path: lines.txt, follow: true }, format: string } }\n\
                \x20 sinks: { out: { from: lines, file: { path: out.txt }, format: string, delivery: at_least_once } }";
    folder.pipeline("cut", spec);
    let dying = Runner::spawn_with(&["apply", "cut.yaml"], folder.path(), &[("RUNNER_DIE_AT", "epoch.committed:1")]);
    assert_eq!(dying.wait().signal, Some(libc::SIGKILL));
    cut(&folder, "four\n");
    let runner = Runner::spawn(&["apply", "cut.yaml"], folder.path());
    let deadline = Instant::now() + PATIENCE;
    let written = || std::fs::read_to_string(folder.path().join("out.txt")).unwrap_or_default();
    while written() != "four\n" {
        assert!(Instant::now() < deadline, "{}\n{}", written(), runner.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = runner.stderr();
    assert!(
        said.contains("3 records of partition 0 that were read, and are not known to be delivered, are gone"),
        "{said}"
    );
}
