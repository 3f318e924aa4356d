//! Files of `FileStreamSink` that others move, cut, write or lack: what Kafka Connect survives, and what it says.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Server;
use super::connectors::{done, until_task, worker};
use super::settings::{to_file, until_file};
use crate::runner::{PATIENCE, Runner};
use crate::servers::{self, TestRecord};
use crate::specs::Folder;

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
