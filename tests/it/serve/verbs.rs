//! The verbs that speak to a server, and how a server starts.

use super::connectors::{done, lines, until_task, worker};
use super::*;
use crate::runner::{Ended, run};

fn verb(server: &Server, folder: &Folder, arguments: &[&str]) -> Ended {
    run(&[arguments, &["--server", &server.api]].concat(), folder.path())
}

#[test]
fn the_verbs_do_what_they_say() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    folder.write("specs/a.yaml", &numbers("a", ""));
    folder.write("specs/b.yaml", &numbers("b", "").replace("name: b", "name: b, namespace: team"));
    let applied = verb(&server, &folder, &["apply", "specs"]).with_code(0);
    assert_eq!(applied.stdout, "a: submitted; running\nteam/b: submitted; running\n");
    let since = server.pipeline("a")["since"].clone();
    // One is changed, the other is left alone. Its output stands beside its spec.
    folder
        .write("specs/b.yaml", &numbers("b", "").replace("name: b", "name: b, namespace: team").replace("500", "400"));
    let applied = verb(&server, &folder, &["apply", "specs"]).with_code(0);
    assert_eq!(applied.stdout, "a: unchanged; running\nteam/b: changed; running\n");
    assert_eq!(server.pipeline("a")["since"], since);
    server.until_rows("a", 10);
    assert!(!folder.read("specs/a.jsonl").is_empty());

    let listed = verb(&server, &folder, &["get"]).with_code(0).stdout;
    assert!(listed.contains("NAME") && listed.contains("team/b  running"), "{listed}");
    let one = verb(&server, &folder, &["get", "team/b", "--output", "json"]).with_code(0);
    let one: Value = serde_json::from_str(&one.stdout).unwrap();
    assert_eq!((one["pipelines"].as_array().unwrap().len(), &one["pipelines"][0]["state"]), (1, &json!("running")));
    let described = verb(&server, &folder, &["describe", "a"]).with_code(0).stdout;
    assert!(described.starts_with("a: running\n") && described.contains("source    rows datagen"), "{described}");
    let paused = verb(&server, &folder, &["pause", "a", "team/b"]).with_code(0);
    assert_eq!(paused.stdout, "a: paused\nteam/b: paused\n");
    assert_eq!(verb(&server, &folder, &["resume", "a"]).with_code(0).stdout, "a: running\n");
    assert_eq!(verb(&server, &folder, &["stop", "a"]).with_code(0).stdout, "a: stopped\n");
    let logged = verb(&server, &folder, &["logs", "a", "--lines", "500"]).with_code(0).stdout;
    assert!(logged.contains("INFO  starts; journal in") && logged.contains("stopped"), "{logged}");
    assert_eq!(verb(&server, &folder, &["delete", "a", "team/b"]).with_code(0).stdout, "a: deleted\nteam/b: deleted\n");
    let unknown = verb(&server, &folder, &["pause", "a"]).with_code(1);
    assert!(unknown.stderr.contains("there is no pipeline `a`"), "{}", unknown.stderr);
    verb(&server, &folder, &["get", "a"]).with_code(1);

    folder.write("specs/a.yaml", &numbers("a", "").replace("format: json", "format: jason"));
    let wrong = verb(&server, &folder, &["apply", "specs"]).with_code(2);
    assert!(wrong.stderr.contains("a.yaml:6"), "{}", wrong.stderr);
    assert_eq!(server.get("/v1/pipelines"), json!({ "pipelines": [] }), "nothing was submitted");
}

/// They answered that there is no such pipeline, or that it changes with its connector only.
#[test]
fn the_verbs_do_the_same_with_connectors() {
    let folder = Folder::new();
    let server = worker(&folder);
    let topic = crate::servers::topic("verbs", 1);
    folder.write("lines.txt", "one\n");
    for name in ["words", "a/ü b"] {
        done(&server, "POST /connectors", Some(&json!({ "name": name, "config": lines(&topic) })), 201);
    }
    until_task(&server, "words", "RUNNING");
    // A pipeline counts before a connector of its name.
    folder.write("specs/p.yaml", &numbers("a", "").replace("name: a", "name: other"));
    verb(&server, &folder, &["apply", "specs"]).with_code(0);
    done(&server, "POST /connectors", Some(&json!({ "name": "other", "config": lines(&topic) })), 201);
    let paused = verb(&server, &folder, &["pause", "words", "a/ü b", "other"]).with_code(0).stdout;
    assert_eq!(paused, "connector words: paused\nconnector a/ü b: paused\nother: paused\n");
    assert_eq!(done(&server, "GET /connectors/words/status", None, 200)["connector"]["state"], "PAUSED");
    assert_eq!(done(&server, "GET /connectors/other/status", None, 200)["connector"]["state"], "RUNNING");
    let stopped = verb(&server, &folder, &["stop", "connect/other", "words"]).with_code(0).stdout;
    assert_eq!(stopped, "connector other: stopped\nconnector words: stopped\n");
    assert_eq!(done(&server, "GET /connectors/words/status", None, 200)["tasks"], json!([]));
    assert_eq!(verb(&server, &folder, &["resume", "words"]).with_code(0).stdout, "connector words: running\n");
    until_task(&server, "words", "RUNNING");

    let listed = verb(&server, &folder, &["get", "words"]).with_code(0).stdout;
    assert!(listed.contains("connect/words  running") && !listed.contains("other"), "{listed}");
    let described = verb(&server, &folder, &["describe", "a/ü b"]).with_code(0).stdout;
    assert!(described.starts_with("connector a/ü b: paused\n") && described.contains("source    file_"), "{described}");
    let logged = verb(&server, &folder, &["logs", "words"]).with_code(0).stdout;
    assert!(logged.contains("starts; journal in"), "{logged}");

    // One that failed tries again, which resuming alone does not do with Connect.
    let config = json!({
        "connector.class": "FileStreamSink", "file": "none/f", "topics": topic,
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    });
    done(&server, "PUT /connectors/sink/config", Some(&config), 201);
    until_task(&server, "sink", "FAILED");
    let failed = verb(&server, &folder, &["resume", "sink"]).with_code(1).stdout;
    assert!(failed.starts_with("connector sink: failed: "), "{failed}");
    // As with Connect it stays so when it is paused, and that is no reason to wait.
    let paused = verb(&server, &folder, &["pause", "sink"]).with_code(0).stdout;
    assert!(paused.starts_with("connector sink: failed: "), "{paused}");
    folder.write("none/README", "");
    assert_eq!(verb(&server, &folder, &["resume", "sink"]).with_code(0).stdout, "connector sink: running\n");

    let deleted = verb(&server, &folder, &["delete", "sink", "a/ü b", "words", "connect/other"]).with_code(0).stdout;
    assert_eq!(
        deleted,
        "connector sink: deleted\nconnector a/ü b: deleted\nconnector words: deleted\nconnector other: deleted\n"
    );
    assert_eq!(done(&server, "GET /connectors", None, 200), json!([]));
    let unknown = verb(&server, &folder, &["delete", "words"]).with_code(1).stderr;
    assert!(unknown.contains("there is no pipeline `words`, and no connector of that name"), "{unknown}");
}

#[test]
fn a_server_that_is_away_is_named() {
    let folder = Folder::new();
    let ended = run(&["get", "--server", "http://me:secret@127.0.0.1:9"], folder.path()).with_code(1);
    assert!(ended.stderr.contains("no `runner serve` answers at `http://127.0.0.1:9`"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
}

#[test]
fn a_port_or_a_folder_in_use_is_named_and_nobody_is_disturbed() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    let address = server.api.trim_start_matches("http://");
    let taken = run(&["serve", "--listen", address, "--state-dir", "other"], folder.path()).with_code(1);
    assert!(
        taken.stderr.contains(&format!("`{address}` cannot be listened on: the port is in use")),
        "{}",
        taken.stderr
    );
    assert!(!folder.path().join("other").exists(), "it found that out before it did anything");
    let locked = run(&["serve", "--listen", "127.0.0.1:0"], folder.path()).with_code(3);
    assert!(locked.stderr.contains("another `runner serve` keeps its state in `.runner`"), "{}", locked.stderr);
    assert_eq!(server.get("/health")["status"], "healthy");
}

#[test]
fn specs_that_a_server_is_started_with_are_submitted_once() {
    let folder = Folder::new();
    folder.write("specs/a.yaml", &numbers("a", ""));
    let start = || Server::start(folder.path(), &["--state-dir", "state", "specs"]);
    let server = start();
    server.until_rows("a", 5);
    server.put("a/pause");
    server.until_state("a", "paused");
    server.runner.signal(libc::SIGINT);
    server.runner.wait().with_code(0);
    let server = start();
    assert_eq!(server.pipeline("a")["state"], "paused", "what is wanted stays, and the spec is as it was");
    assert_eq!(server.pipeline("a")["generation"], 2);
    assert!(folder.path().join("state/default/a").is_dir());
    drop(server);
    folder.write("specs/a.yaml", "a: [");
    let wrong = run(&["serve", "--listen", "127.0.0.1:0", "specs"], folder.path()).with_code(2);
    assert!(wrong.stderr.contains("error[yaml"), "{}", wrong.stderr);
}

/// A query of a topic that a connector has only begun to write failed for good.
#[test]
fn a_schema_that_is_not_registered_yet_is_waited_for() {
    let topic = crate::servers::topic("later", 1);
    let folder = Folder::connected_to(crate::servers::kafka(), crate::servers::registry());
    folder.write(
        "later.yaml",
        &format!(
            "apiVersion: runner/v1\nkind: Pipeline\nmetadata: {{ name: later }}\nspec:\n  sources: {{ rows: {{ kafka: {{ topic: {topic} }}, format: avro }} }}\n  sinks: {{ out: {{ from: rows, discard: {{}} }} }}\n"
        ),
    );
    let server = Server::start(folder.path(), &[]);
    let arguments = ["apply", "--server", &server.api, "connection.yaml", "later.yaml"];
    let applied = crate::runner::run(&arguments, folder.path()).with_code(0);
    assert!(applied.stdout.contains("waiting: there is no subject"), "{}", applied.stdout);
    assert_eq!(server.until_state("later", "waiting")["reason"]["code"], "schema.missing");
    let schema = r#"{"type":"record","name":"r","fields":[{"name":"n","type":"long"}]}"#;
    crate::specs::register(&format!("{topic}-value"), schema);
    server.until_state("later", "running");
}
