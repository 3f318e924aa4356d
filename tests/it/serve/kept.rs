//! A connector with a dead letter queue and `errors.tolerance: none` whose server dies when the bad record is in the queue, and before
//! anybody could see the task FAILED. The next server once ran on behind the record as if nothing had been.

use serde_json::json;

use super::Server;
use super::connectors::{done, until_task, worker};
use super::settings::{to_file, until_file};
use crate::servers::{self, TestRecord};
use crate::specs::Folder;

#[test]
fn a_bad_record_is_shown_by_the_server_behind_one_that_died_until_somebody_restarts_the_task() {
    let folder = Folder::new();
    let (topic, queue) = (servers::topic("unseen", 1), servers::unique("unseen-dead"));
    servers::produce(&topic, &["nope", "2", "3"].map(|value| TestRecord::to(0, value)));
    let mut config = to_file(&topic, "out.txt");
    config["value.converter"] = json!("org.apache.kafka.connect.json.JsonConverter");
    config["value.converter.schemas.enable"] = json!("false");
    config["errors.deadletterqueue.topic.name"] = json!(queue);
    config["errors.deadletterqueue.topic.replication.factor"] = json!("1");
    // The first epoch has the bad record, whatever else it has.
    let arguments = ["--brokers", servers::kafka(), "--registry", "127.0.0.1:0"];
    let server = Server::start_with(folder.path(), &arguments, &[("RUNNER_DIE_AT", "epoch.committed:1")]);
    done(&server, "POST /connectors", Some(&json!({ "name": "c", "config": config })), 201);
    let ended = server.runner.wait();
    assert_eq!(ended.signal, Some(libc::SIGKILL), "{}", ended.stderr);

    let trace = |server: &Server| {
        let status = until_task(server, "c", "FAILED");
        status["tasks"][0]["trace"].as_str().unwrap().to_owned()
    };
    let server = worker(&folder);
    let first = trace(&server);
    let tolerance = "org.apache.kafka.connect.errors.ConnectException: Tolerance exceeded in error handler\n";
    assert!(first.starts_with(tolerance) && first.contains(&format!("{topic}[0]@0")), "{first}");
    assert_eq!(servers::read(&queue).len(), 1, "it is in the queue before");
    // Nobody has restarted it.
    drop(server);
    let server = worker(&folder);
    assert_eq!(trace(&server), first);
    done(&server, "POST /connectors/c/restart?includeTasks=true&onlyFailed=true", None, 202);
    until_task(&server, "c", "RUNNING");
    until_file(&server, &folder, "out.txt", "2\n3\n");
    drop(server);
    // Somebody has; nothing was read since.
    let server = worker(&folder);
    until_task(&server, "c", "RUNNING");
    assert_eq!(servers::read(&queue).len(), 1, "it is not written again");
}
