//! Which topics a connector has used: the first record of each tells, and who resets or deletes it.

use serde_json::{Value, json};

use super::Server;
use super::connectors::{ask, done, lines, until_task, worker};
use super::settings::to_file;
use crate::runner::PATIENCE;
use crate::servers::{self, TestRecord};
use crate::specs::Folder;

fn used(server: &Server, name: &str) -> Value {
    done(server, &format!("GET /connectors/{name}/topics"), None, 200)[name]["topics"].clone()
}

#[track_caller]
fn until_used(server: &Server, name: &str, expected: &Value) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while used(server, name) != *expected {
        assert!(std::time::Instant::now() < deadline, "{} is not {expected}", used(server, name));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[track_caller]
fn until_read(server: &Server, name: &str, position: u64) {
    let deadline = std::time::Instant::now() + PATIENCE;
    let offsets = || done(server, &format!("GET /connectors/{name}/offsets"), None, 200);
    while offsets()["offsets"][0]["offset"]["position"] != position {
        assert!(std::time::Instant::now() < deadline, "{}", offsets());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Nothing passes.
fn filtered(topic: &str) -> Value {
    let mut config = lines(topic);
    config["transforms"] = json!("none");
    config["transforms.none.type"] = json!("Filter");
    config
}

/// The brokers of this start count, not those with which the connector was submitted.
#[test]
fn noting_a_topic_leaves_what_is_wanted_as_it_is() {
    let folder = Folder::new();
    let topic = servers::topic("renewed", 1);
    folder.write("lines.txt", "one\n");
    let server = Server::start(folder.path(), &["--brokers", "127.0.0.1:1"]);
    done(&server, "PUT /connectors/from/config", Some(&lines(&topic)), 201);
    drop(server.runner.kill());
    let server = worker(&folder);
    until_used(&server, "from", &json!([topic]));
    done(&server, "PUT /connectors/from/pause", None, 202);
    until_task(&server, "from", "PAUSED");
    folder.write("lines.txt", "one\ntwo\n");
    done(&server, "PUT /connectors/from/resume", None, 202);
    until_read(&server, "from", 8);
}

#[test]
fn a_topic_is_used_from_its_first_record_until_it_is_reset_or_its_connector_is_deleted() {
    let folder = Folder::new();
    let topic = servers::topic("used", 1);
    let server = worker(&folder);
    folder.write("lines.txt", "");
    let mut exact = lines(&topic);
    exact["exactly.once.support"] = json!("required");
    for (name, config) in
        [("from", lines(&topic)), ("exact", exact), ("none", filtered(&topic)), ("to", to_file(&topic, "out.txt"))]
    {
        done(&server, &format!("PUT /connectors/{name}/config"), Some(&config), 201);
        until_task(&server, name, "RUNNING");
        assert_eq!(used(&server, name), json!([]));
    }
    folder.write("lines.txt", "one\ntwo\n");
    let here = json!([topic]);
    for name in ["from", "exact", "to"] {
        until_used(&server, name, &here);
    }
    // What a transformation sends elsewhere is found there, record by record.
    let stamped = servers::unique("stamped");
    let mut routed = lines(&topic);
    for (key, value) in [("", "day"), (".day.type", "TimestampRouter"), (".day.timestamp.format", "yyyy")] {
        routed[format!("transforms{key}")] = json!(value);
    }
    routed["transforms.day.topic.format"] = json!(format!("{stamped}-${{timestamp}}"));
    done(&server, "PUT /connectors/routed/config", Some(&routed), 201);
    let deadline = std::time::Instant::now() + PATIENCE;
    while used(&server, "routed") == json!([]) {
        assert!(std::time::Instant::now() < deadline, "{}", server.runner.stderr());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let names = used(&server, "routed");
    assert!(names.as_array().unwrap().iter().all(|name| name.as_str().unwrap().starts_with(&stamped)), "{names}");

    // Neither offsets nor a kill take any away.
    for name in ["from", "to"] {
        done(&server, &format!("PUT /connectors/{name}/stop"), None, 204);
        done(&server, &format!("DELETE /connectors/{name}/offsets"), None, 200);
    }
    let before = ["from", "to", "routed"].map(|name| used(&server, name));
    assert_eq!(before, [here.clone(), here.clone(), names.clone()]);
    drop(server.runner.kill());
    let server = worker(&folder);
    assert_eq!(["from", "to", "routed"].map(|name| used(&server, name)), before);
    // Of this one all was read.
    until_read(&server, "none", 8);
    assert_eq!(used(&server, "none"), json!([]));

    // The next record of a connector that goes on counts again.
    until_task(&server, "routed", "RUNNING");
    for name in ["from", "to", "routed"] {
        done(&server, &format!("PUT /connectors/{name}/topics/reset"), None, 202);
        assert_eq!(used(&server, name), json!([]));
    }
    folder.write("lines.txt", "one\ntwo\nthree\n");
    until_used(&server, "routed", &names);
    done(&server, "PUT /connectors/to/resume", None, 202);
    until_used(&server, "to", &here);
    done(&server, "DELETE /connectors/to", None, 204);
    assert_eq!(used(&server, "to"), json!([]));
    done(&server, "PUT /connectors/to/config", Some(&to_file(&topic, "out.txt")), 201);
    until_task(&server, "to", "RUNNING");
    assert_eq!(used(&server, "to"), json!([]));
    servers::produce(&topic, &[TestRecord::to(0, "more")]);
    until_used(&server, "to", &here);
    assert_eq!(ask(&server, "GET /connectors/nobody/topics", None).json(), json!({ "nobody": { "topics": [] } }));
}
