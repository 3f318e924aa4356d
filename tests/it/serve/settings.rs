//! What settings of connectors and of their worker mean, on real Kafka.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Server;
use super::connectors::{ask, done, lines, until_task};
use crate::runner::PATIENCE;
use crate::servers::{self, PASSWORD, TestRecord, guarded_kafka};
use crate::specs::Folder;

/// The lines of a topic to a file.
pub(super) fn to_file(topic: &str, file: &str) -> Value {
    json!({
        "connector.class": "FileStreamSink", "file": file, "topics": topic,
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    })
}

/// Waits until a file holds this.
#[track_caller]
pub(super) fn until_file(server: &Server, folder: &Folder, name: &str, expected: &str) {
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
    // What the worker is to the brokers now counts for connectors of before, too.
    drop(server);
    for (password, state) in [("outdated", "FAILED"), (PASSWORD, "RUNNING")] {
        folder.write("secrets/worker.properties", &properties.replace(PASSWORD, password));
        let server = Server::start(folder.path(), &["--worker-config", "secrets/worker.properties"]);
        until_task(&server, "from", state);
    }
}

/// A connector of plain JSON that meets a record that is none, by what it is to do then.
#[test]
fn a_bad_record_ends_a_task_or_is_passed_over_and_is_kept_where_that_is_asked_for() {
    let folder = Folder::new();
    let server = super::connectors::worker(&folder);
    let (topic, kept, other) = (servers::topic("bad", 1), servers::unique("dead"), servers::topic("dead", 3));
    let records = [("a", "1"), ("b", "nope"), ("c", "3")].map(|(key, value)| TestRecord {
        key: Some(key.into()),
        headers: vec![("h".into(), Some("x".into()))],
        ..TestRecord::to(0, value).at(1_700_000_000_000)
    });
    servers::produce(&topic, &records);
    let post = |name: &str, more: &[(&str, &str)]| {
        let mut config = to_file(&topic, &format!("{name}.txt"));
        config["value.converter"] = json!("org.apache.kafka.connect.json.JsonConverter");
        config["value.converter.schemas.enable"] = json!("false");
        config["key.converter"] = json!("org.apache.kafka.connect.storage.StringConverter");
        more.iter().for_each(|(key, value)| config[*key] = json!(value));
        done(&server, "POST /connectors", Some(&json!({ "name": name, "config": config })), 201);
    };
    let failed = |name: &str| {
        let status = until_task(&server, name, "FAILED");
        assert_eq!(status["connector"]["state"], "RUNNING", "{status}");
        let trace = status["tasks"][0]["trace"].as_str().unwrap().to_owned();
        assert!(trace.starts_with(TOLERANCE), "{trace}");
        let cause = "\nCaused by: org.apache.kafka.connect.errors.DataException: Converting byte[] to Kafka Connect data failed due to serialization error: ";
        assert!(trace.contains(cause) && trace.contains("[0]@1"), "{trace}");
    };
    const TOLERANCE: &str = "org.apache.kafka.connect.errors.ConnectException: Tolerance exceeded in error handler\n";
    const ALL: (&str, &str) = ("errors.tolerance", "all");
    const CONTEXT: (&str, &str) = ("errors.deadletterqueue.context.headers.enable", "true");
    const ONE: (&str, &str) = ("errors.deadletterqueue.topic.replication.factor", "1");
    fn queue(topic: &str) -> (&str, &str) {
        ("errors.deadletterqueue.topic.name", topic)
    }
    post("none", &[]);
    post("all", &[ALL]);
    post("none-kept", &[queue(&kept), ONE, CONTEXT]);
    post("all-kept", &[ALL, queue(&other), ONE]);
    // Nobody creates a topic of three replicas on one broker.
    let three = servers::unique("three");
    post("three", &[ALL, queue(&three)]);

    failed("none");
    until_file(&server, &folder, "all.txt", "1\n3\n");
    until_file(&server, &folder, "all-kept.txt", "1\n3\n");
    until_task(&server, "all", "RUNNING");
    until_task(&server, "all-kept", "RUNNING");
    let status = until_task(&server, "three", "FAILED");
    let trace = status["tasks"][0]["trace"].as_str().unwrap();
    let first = "org.apache.kafka.connect.errors.ConnectException: Could not initialize dead letter queue with topic=";
    assert!(trace.starts_with(&format!("{first}{three}\n")), "{trace}");
    // Bytes, time and headers are the record's own; without context nothing is added.
    let [letter] = &crate::specs::read_when(&other, 1)[..] else { panic!("one is bad") };
    assert_eq!((letter.text().as_str(), letter.key.as_deref()), ("nope", Some(&b"b"[..])));
    assert_eq!((&letter.headers, letter.timestamp), (&records[1].headers, Some(1_700_000_000_000)));
    assert_eq!(servers::partitions(&other), 3, "it was there");

    // It is kept before the task fails, once; and who starts the task again goes on behind it.
    failed("none-kept");
    let [letter] = &servers::read(&kept)[..] else { panic!("one is bad: {:?}", servers::read(&kept)) };
    assert_eq!((letter.text(), servers::partitions(&kept)), ("nope".into(), 1));
    let names: Vec<&str> = letter.headers.iter().map(|(name, _)| name.as_str()).collect();
    let of = |name: &&str| name.strip_prefix("__connect.errors.").map(str::to_owned);
    let context = "topic partition offset connector.name task.id stage class.name exception.class.name exception.message exception.stacktrace";
    assert_eq!((names[0], names[1..].iter().filter_map(of).collect::<Vec<_>>().join(" ")), ("h", context.into()));
    done(&server, "POST /connectors/none-kept/restart?includeTasks=true&onlyFailed=true", None, 202);
    until_task(&server, "none-kept", "RUNNING");
    until_file(&server, &folder, "none-kept.txt", "1\n3\n");
    assert_eq!(servers::read(&kept).len(), 1, "it is not written again");
}

#[test]
fn topics_are_made_as_a_connector_says() {
    let folder = Folder::new();
    let server = super::connectors::worker(&folder);
    folder.write("lines.txt", "one\n");
    let names = ["orders", "logs"].map(servers::unique);
    for name in &names {
        let mut config = lines(name);
        config["topic.creation.default.replication.factor"] = json!("-1");
        config["topic.creation.default.partitions"] = json!("2");
        config["topic.creation.default.max.message.bytes"] = json!("777777");
        config["topic.creation.groups"] = json!("long");
        config["topic.creation.long.include"] = json!("orders.*");
        config["topic.creation.long.partitions"] = json!("3");
        config["topic.creation.long.retention.ms"] = json!("7777777");
        done(&server, "POST /connectors", Some(&json!({ "name": name, "config": config })), 201);
    }
    let made = names.map(|name| {
        crate::specs::read_when(&name, 1);
        let setting = |setting: &str| servers::setting(&name, setting);
        (servers::partitions(&name), setting("retention.ms"), setting("max.message.bytes"))
    });
    assert_eq!(made[0], (3, "7777777".into(), "777777".into()));
    assert_eq!(made[1], (2, "-1".into(), "777777".into()));
}

/// Connect takes any text for a topic's name; what the brokers say of it ends the task.
#[test]
fn a_name_that_no_broker_takes_makes_the_task_fail_and_not_the_request() {
    let folder = Folder::new();
    let server = super::connectors::worker(&folder);
    folder.write("lines.txt", "one\n");
    const INVALID: &str = "org.apache.kafka.common.errors.InvalidTopicException: Invalid topics: ";
    const CALLBACK: &str =
        "org.apache.kafka.connect.errors.ConnectException: Unrecoverable exception from producer send callback\n";
    let trace = |name: &str, config: &Value| {
        done(&server, &format!("PUT /connectors/{name}/config"), Some(config), 201);
        let status = until_task(&server, name, "FAILED");
        assert_eq!(status["connector"]["state"], "RUNNING", "{status}");
        status["tasks"][0]["trace"].as_str().unwrap().to_owned()
    };
    let long = "x".repeat(250);
    for (number, topic) in ["a b", "..", &long].into_iter().enumerate() {
        let file = lines(topic);
        let mut made = json!({ "connector.class": "Datagen", "kafka.topic": topic, "quickstart": "ratings" });
        made["topic.creation.default.partitions"] = json!(1);
        for (class, config) in [("file", file), ("made", made)] {
            let trace = trace(&format!("{class}{number}"), &config);
            assert!(trace.starts_with(CALLBACK), "{trace}");
            assert!(trace.contains(&format!("\nCaused by: {INVALID}[{topic}]\n")), "{trace}");
        }
        let read = trace(&format!("read{number}"), &to_file(topic, "out.txt"));
        assert!(read.starts_with(&format!("{INVALID}[{topic}]\n")), "{read}");
    }
    let mut queue = to_file(&servers::topic("good", 1), "out.txt");
    queue["errors.tolerance"] = json!("all");
    queue["errors.deadletterqueue.topic.name"] = json!("a b");
    let first =
        "org.apache.kafka.connect.errors.ConnectException: Could not initialize dead letter queue with topic=a b\n";
    assert!(trace("queue", &queue).starts_with(first));
    let mut routed = lines("good");
    for (key, value) in [("", "r"), (".r.type", "RegexRouter"), (".r.regex", ".*"), (".r.replacement", "to/it")] {
        routed[format!("transforms{key}")] = json!(value);
    }
    assert!(trace("routed", &routed).contains(&format!("\nCaused by: {INVALID}[to/it]\n")));
    // With a name that there can be it goes on as if it had been so from the start.
    let topic = servers::topic("mended", 1);
    done(&server, "PUT /connectors/file0/config", Some(&lines(&topic)), 200);
    crate::specs::read_when(&topic, 1);
    for name in ["file1", "read1"] {
        done(&server, &format!("PUT /connectors/{name}/stop"), None, 204);
        done(&server, &format!("DELETE /connectors/{name}"), None, 204);
    }
}

#[test]
fn offsets_are_set_where_there_is_a_partition_for_them() {
    let folder = Folder::new();
    let server = super::connectors::worker(&folder);
    let topic = servers::topic("offsets", 2);
    servers::produce(&topic, &["a", "b"].map(|value| TestRecord::to(0, value)));
    done(&server, "POST /connectors", Some(&json!({ "name": "to", "config": to_file(&topic, "out.txt") })), 201);
    until_file(&server, &folder, "out.txt", "a\nb\n");
    done(&server, "PUT /connectors/to/stop", None, 204);
    let patch = |topic: &str, partition: i32, offset: Value, status: u64| {
        let partition = json!({ "kafka_topic": topic, "kafka_partition": partition });
        let body = json!({ "offsets": [{ "partition": partition, "offset": offset }] });
        done(&server, "PATCH /connectors/to/offsets", Some(&body), status)
    };
    let refused = json!({ "error_code": 500, "message": "Failed to alter consumer group offsets for connector to" });
    assert_eq!(patch(&topic, 2, json!({ "kafka_offset": 0 }), 500), refused);
    assert_eq!(patch(&topic, -1, json!({ "kafka_offset": 0 }), 500), refused);
    assert_eq!(patch(&topic, 9, Value::Null, 500), refused);
    assert_eq!(patch("none", 0, json!({ "kafka_offset": 0 }), 500), refused);
    let shown = |offset: i64| {
        let at = json!({ "partition": { "kafka_partition": 0, "kafka_topic": topic }, "offset": { "kafka_offset": offset } });
        assert_eq!(done(&server, "GET /connectors/to/offsets", None, 200), json!({ "offsets": [at] }));
    };
    shown(2);
    patch(&topic, 0, json!({ "kafka_offset": 0 }), 200);
    shown(0);
    // One that the topic does not have is kept. The consumer begins anew there, as Connect's does.
    patch(&topic, 0, json!({ "kafka_offset": 100 }), 200);
    shown(100);
    done(&server, "PUT /connectors/to/resume", None, 202);
    until_file(&server, &folder, "out.txt", "a\nb\na\nb\n");
    until_task(&server, "to", "RUNNING");

    // A generator takes them before it has run.
    let mut config = json!({
        "connector.class": "Datagen", "kafka.topic": servers::unique("set"), "quickstart": "users", "random.seed": "7",
        "iterations": "5", "max.interval": "0", "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    });
    let made = json!({ "name": "made", "config": config, "initial_state": "STOPPED" });
    done(&server, "POST /connectors", Some(&made), 201);
    let at = |task: i32| json!({ "partition": { "task.id": task }, "offset": { "current.iteration": 3, "task.generation": 1 } });
    done(&server, "PATCH /connectors/made/offsets", Some(&json!({ "offsets": [at(1)] })), 400);
    done(&server, "PATCH /connectors/made/offsets", Some(&json!({ "offsets": [at(0)] })), 200);
    let offset = done(&server, "GET /connectors/made/offsets", None, 200)["offsets"][0]["offset"].clone();
    assert_eq!((&offset["current.iteration"], &offset["task.generation"]), (&json!(3), &json!(1)), "{offset}");
    done(&server, "PUT /connectors/made/resume", None, 202);
    until_task(&server, "made", "FAILED");
    let topic = config["kafka.topic"].take();
    assert_eq!(servers::read(topic.as_str().unwrap()).len(), 2, "three of five were passed over");
}

/// As Connect's generator does: its key is a null text, of which each converter makes what it makes of it.
#[test]
fn a_generator_without_a_key_field_has_a_null_text_as_its_key() {
    let folder = Folder::new();
    let server = super::connectors::worker(&folder);
    let envelope = r#"{"schema":{"type":"string","optional":true},"payload":null}"#;
    let json_key = ("key.converter", "org.apache.kafka.connect.json.JsonConverter");
    let cases = [
        (vec![], Some(envelope)),
        (vec![json_key, ("key.converter.schemas.enable", "false")], Some("null")),
        (vec![("key.converter", "org.apache.kafka.connect.storage.StringConverter")], None),
    ];
    for (index, (more, key)) in cases.into_iter().enumerate() {
        let topic = servers::unique("keyless");
        let mut config = json!({
            "connector.class": "Datagen", "kafka.topic": topic, "iterations": "1", "max.interval": "0",
            "schema.string": r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}]}"#,
        });
        more.iter().for_each(|(name, value)| config[*name] = json!(value));
        done(&server, "POST /connectors", Some(&json!({ "name": format!("k{index}"), "config": config })), 201);
        let made = crate::specs::read_when(&topic, 1);
        assert_eq!(made[0].key.as_deref(), key.map(str::as_bytes), "{config}");
    }
}
