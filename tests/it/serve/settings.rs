//! What settings of connectors and of their worker mean, on real Kafka.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Server;
use super::connectors::{ask, done, lines, until_task};
use crate::runner::PATIENCE;
use crate::servers::{self, PASSWORD, guarded_kafka};
use crate::specs::Folder;

/// The lines of a topic to a file.
fn to_file(topic: &str, file: &str) -> Value {
    json!({
        "connector.class": "FileStreamSink", "file": file, "topics": topic,
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    })
}

/// Waits until a file holds this.
#[track_caller]
fn until_file(server: &Server, folder: &Folder, name: &str, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        if text == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{name}: {text}\n{}", server.runner.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn connectors_run_on_a_kafka_that_asks_the_worker_who_it_is() {
    let broker = guarded_kafka();
    let topic = servers::unique("worker");
    servers::create_topic(&broker.open, &topic, 1, &[]);
    let folder = Folder::new();
    folder.write("secrets/ca.pem", &broker.certificates.text("ca.pem"));
    let login = format!(
        "sasl.mechanism=SCRAM-SHA-512\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n  username=\"alice\" password=\"{PASSWORD}\";\n"
    );
    let properties = format!(
        "bootstrap.servers={}\nsecurity.protocol=SASL_SSL\nssl.truststore.type=PEM\nssl.truststore.location=ca.pem\n{login}\
         group.id=connect\nconsumer.fetch.max.wait.ms=100\nproducer.compression.type=gzip\n",
        broker.login_tls
    );
    folder.write("secrets/worker.properties", &properties);
    folder.write("lines.txt", "one\ntwo\n");
    let server = Server::start(folder.path(), &["--worker-config", "secrets/worker.properties"]);
    server.runner.wait_stderr("no effect here have: group.id");
    // Nobody waits for the brokers' answer.
    let deadline = Instant::now() + PATIENCE;
    while !done(&server, "GET /", None, 200)["kafka_cluster_id"].is_string() {
        assert!(Instant::now() < deadline, "{}", server.runner.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    done(&server, "POST /connectors", Some(&json!({ "name": "from", "config": lines(&topic) })), 201);
    done(&server, "POST /connectors", Some(&json!({ "name": "to", "config": to_file(&topic, "copy.txt") })), 201);
    until_file(&server, &folder, "copy.txt", "one\ntwo\n");
    // One that says who it is itself is let in as that one, or not.
    let mut stranger = lines(&topic);
    stranger["producer.override.sasl.jaas.config"] =
        json!("org.x.ScramLoginModule required username=\"alice\" password=\"wrong\";");
    done(&server, "POST /connectors", Some(&json!({ "name": "stranger", "config": stranger })), 201);
    let status = until_task(&server, "stranger", "FAILED");
    assert!(status["tasks"][0]["trace"].as_str().unwrap().contains("does not let us in"), "{status}");
    until_task(&server, "from", "RUNNING");
    let told = [server.runner.stderr(), server.get("/v1/pipelines").to_string()];
    assert!(told.iter().all(|told| !told.contains(PASSWORD)), "{told:?}");
    assert!(
        ask(&server, "GET /connectors/stranger/config", None).json()["producer.override.sasl.jaas.config"]
            == "[hidden]"
    );
}
