//! Connectors of Kafka Connect without Connect: the second job's two from their own JSON files and as documents, and
//! `runner import connect` on configs as they are found in the world.

use std::path::Path;

use serde_json::{Value, json};

use crate::runner::run;
use crate::serve::Server;
use crate::servers::{TestRecord, read, unique};
use crate::specs::{Folder, decoded, read_when, registry};
use runner::registry::Registry;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// Their topics renamed, and fewer records, sooner.
fn shortened(text: &str, topics: &[String; 2]) -> String {
    let text = text.replace("commercials_json", &topics[0]).replace("commercials_avro", &topics[1]);
    let text = text.replace("\"iterations\": 1000", "\"iterations\": 30").replace("iterations: 1000", "iterations: 30");
    text.replace("\"max.interval\": 1000", "\"max.interval\": 4").replace("max.interval: 1000", "max.interval: 4")
}

fn expect_commercials(topics: &[String; 2]) {
    let text = |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().unwrap()).unwrap();
    let checked = |record: &TestRecord, value: &Value| {
        let brand = text(&record.key);
        assert!(["Acme", "Globex"].contains(&brand.as_str()) && value["brand"] == *brand, "{value}");
        assert!([30, 45, 60].contains(&value["duration"].as_i64().unwrap()), "{value}");
        assert!((1..=4).contains(&value["rating"].as_i64().unwrap()), "{value}");
        assert_eq!(value.as_object().unwrap().len(), 3, "{value}");
    };
    let [plain, avro] = topics.each_ref().map(|topic| read(topic));
    assert_eq!((plain.len(), avro.len()), (30, 30));
    for (index, record) in plain.iter().enumerate().chain(avro.iter().enumerate()) {
        let headers = record.headers.iter().map(|(name, value)| format!("{name}={}", text(value)));
        let expected = ["task.generation=0", "task.id=0", &format!("current.iteration={index}")];
        assert_eq!(headers.collect::<Vec<_>>(), expected);
    }
    for record in &plain {
        checked(record, &serde_json::from_str(&text(&record.value)).unwrap());
    }
    for record in &avro {
        checked(record, &decoded(record.value.as_ref()).unwrap());
    }
    let schema = registry().latest(&format!("{}-value", topics[1])).unwrap().expect("it is registered").schema;
    let expected = json!({
        "type": "record",
        "name": "commercialrating",
        "fields": [
            { "name": "brand", "type": "string" },
            { "name": "duration", "type": "int" },
            { "name": "rating", "type": "int" }
        ],
        "connect.name": "commercialrating"
    });
    assert_eq!(serde_json::from_str::<Value>(&schema).unwrap(), expected);
    assert!(registry().latest(&format!("{}-key", topics[1])).unwrap().is_none(), "the key is plain text");
}

#[test]
fn connectors_run_from_their_json_files_without_any_server() {
    let folder = Folder::connected();
    let topics = ["json", "avro"].map(|kind| unique(&format!("commercials-{kind}")));
    for name in ["datagen-commercials-json.json", "datagen-commercials-avro.json"] {
        folder.write(name, &shortened(&file(&format!("connectors/{name}")), &topics));
    }
    let paths = ["connection.yaml", "datagen-commercials-json.json", "datagen-commercials-avro.json"];
    let ended = run(&[&["apply"], &paths[..]].concat(), folder.path()).with_code(0);
    assert!(ended.stderr.contains("http://schema-registry:8081 has a name that is not known here"), "{}", ended.stderr);
    expect_commercials(&topics);
    // The journal is in the state directory: nothing is made twice, and no topic beside the connector's own.
    run(&[&["apply"], &paths[..]].concat(), folder.path()).with_code(0);
    expect_commercials(&topics);
}

#[test]
fn a_server_takes_connectors_as_it_takes_pipelines() {
    let folder = Folder::connected();
    let server = Server::start(folder.path(), &[]);
    let topics = ["json", "avro"].map(|kind| unique(&format!("commercials-{kind}")));
    for name in ["datagen-commercials-json.json", "datagen-commercials-avro.json"] {
        folder.write(name, &shortened(&file(&format!("connectors/{name}")), &topics));
    }
    let paths = ["connection.yaml", "datagen-commercials-json.json", "datagen-commercials-avro.json"];
    let arguments = [&["apply", "--server", &server.api], &paths[..]].concat();
    let said = run(&arguments, folder.path()).with_code(0).stdout;
    assert!(said.contains("connect/datagen-commercials-json"), "{said}");
    for topic in &topics {
        read_when(topic, 30);
    }
    expect_commercials(&topics);
}

/// Where no connection stands beside them they are the server's connectors, as if they had been posted.
#[test]
fn connectors_that_are_applied_to_a_server_are_its_connectors() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &["--brokers", crate::servers::kafka()]);
    let topic = unique("applied");
    let config = |state: &str, more: &str| {
        format!(
            "apiVersion: runner/v1\nkind: KafkaConnector\nmetadata: {{ name: words }}\nspec:\n  class: FileStreamSource\n  {state}\n  config: {{ file: words.txt, topic: {topic}, value.converter: org.apache.kafka.connect.storage.StringConverter{more} }}\n"
        )
    };
    folder.write("words.txt", "one\ntwo\n");
    let apply = |text: &str| {
        folder.write("words.yaml", text);
        run(&["apply", "--server", &server.api, "words.yaml"], folder.path()).with_code(0).stdout
    };
    let running = config("tasksMax: 1", "");
    assert_eq!(apply(&running), "connector words: submitted; running, running\n");
    assert_eq!(read_when(&topic, 2).len(), 2);
    let get = |path: &str| -> Value { server.request(reqwest::Method::GET, path).send().unwrap().json().unwrap() };
    assert_eq!(get("/connectors"), serde_json::json!(["words"]));
    let file = get("/connectors/words/config")["file"].as_str().unwrap().to_owned();
    assert!(std::path::Path::new(&file).is_absolute(), "{file}");
    assert_eq!(apply(&running), "connector words: unchanged; running, running\n");
    assert_eq!(apply(&config("tasksMax: 1\n  state: paused", "")), "connector words: unchanged; paused, paused\n");
    let changed = config("state: stopped", ", batch.size: 10");
    assert_eq!(apply(&changed), "connector words: changed; stopped\n");
    assert!(get("/v1/pipelines").to_string().contains("words"));
    // Moving away is by the worker's own addresses.
    let imported =
        |path: &str| run(&["import", "connect", &format!("{}{path}", server.api)], folder.path()).with_code(0).stdout;
    let one = imported("/connectors/words");
    assert!(one.contains("# Connector `words`") && one.contains(&topic), "{one}");
    assert_eq!((imported("/connectors"), imported("/connectors/words/config")), (one.clone(), one));
}

/// It was refused as a connector that exists already, which no list of connectors showed.
#[test]
fn a_connector_that_was_applied_beside_a_connection_becomes_one_of_the_server() {
    let folder = Folder::connected();
    let server = Server::start(folder.path(), &["--brokers", crate::servers::kafka()]);
    let topic = unique("beside");
    folder.write("words.txt", "one\n");
    let path = folder.path().join("words.txt").display().to_string();
    folder.write("words.yaml", &format!(
        "apiVersion: runner/v1\nkind: KafkaConnector\nmetadata: {{ name: words }}\nspec:\n  class: FileStreamSource\n  config: {{ file: {path}, topic: {topic}, value.converter: org.apache.kafka.connect.storage.StringConverter }}\n"
    ));
    let apply = |paths: &[&str]| run(&[&["apply", "--server", &server.api], paths].concat(), folder.path());
    let both = ["connection.yaml", "words.yaml"];
    assert_eq!(apply(&both).with_code(0).stdout, "connect/words: submitted; running\n");
    assert_eq!(apply(&both).with_code(0).stdout, "connect/words: unchanged; running\n");
    read_when(&topic, 1);
    let list = || -> Value { server.request(reqwest::Method::GET, "/connectors").send().unwrap().json().unwrap() };
    assert_eq!(list(), serde_json::json!([]));

    let said = apply(&["words.yaml"]).with_code(0).stdout;
    assert_eq!(said, "connector words: submitted; running, running\n");
    assert_eq!(list(), serde_json::json!(["words"]));
    // It goes on where it was.
    folder.write("words.txt", "one\ntwo\n");
    let texts = |count| -> Vec<String> { read_when(&topic, count).iter().map(|record| record.text()).collect() };
    assert_eq!(texts(2), ["one", "two"]);

    // Back again: that would be another one, which the server's API would not have any more.
    let refused = apply(&both).with_code(1).stderr;
    assert!(refused.contains("changes with it only") && refused.contains("delete the connector first"), "{refused}");
    run(&["delete", "words", "--server", &server.api], folder.path()).with_code(0);
    assert_eq!(apply(&both).with_code(0).stdout, "connect/words: submitted; running\n");
    folder.write("words.txt", "one\ntwo\nthree\n");
    assert_eq!(texts(3), ["one", "two", "three"]);

    // What only has the name is left alone.
    run(&["delete", "connect/words", "--server", &server.api], folder.path()).with_code(0);
    let of_the_name = "apiVersion: runner/v1\nkind: Pipeline\nmetadata: { name: words, namespace: connect }\nspec:\n  sources: { rows: { datagen: { columns: { n: long } } } }\n  sinks: { out: { from: rows, discard: {} } }\n";
    folder.write("theirs.yaml", of_the_name);
    apply(&["theirs.yaml"]).with_code(0);
    let refused = apply(&["words.yaml"]).with_code(1).stderr;
    assert!(refused.contains("Connector words already exists"), "{refused}");
}

#[test]
fn connectors_run_from_documents() {
    let folder = Folder::connected();
    let topics = ["json", "avro"].map(|kind| unique(&format!("commercials-{kind}")));
    folder.write("connectors.yaml", &shortened(&file("connectors/datagen-commercials.yaml"), &topics));
    run(&["apply", "."], folder.path()).with_code(0);
    expect_commercials(&topics);
}

#[test]
fn what_is_wrong_with_a_connector_is_said_at_its_place() {
    let folder = Folder::new();
    let text = "{\n  \"name\": \"x\",\n  \"config\": {\n    \"connector.class\": \"FileStreamSource\",\n    \"tasks.max\": 0,\n    \"topic\": \"t\"\n  }\n}\n";
    folder.write("x.json", text);
    let ended = run(&["validate", "x.json"], folder.path()).with_code(2);
    assert!(ended.stderr.contains("Invalid value 0 for configuration tasks.max: Value must be at least 1"));
    assert!(ended.stderr.contains("x.json:5:18"), "{}", ended.stderr);
    folder.write("x.json", &text.replace("\"tasks.max\": 0", "\"tasks.max\": 1"));
    let ended = run(&["validate", "x.json"], folder.path()).with_code(2);
    assert!(ended.stderr.contains("name a file"), "{}", ended.stderr);
    folder.write("x.json", "{\"name\": \"x\", \"config\": {\"connector.class\": \"com.acme.Sink\"}}");
    let ended = run(&["validate", "x.json"], folder.path()).with_code(2);
    assert!(
        ended
            .stderr
            .contains("Failed to find any class that implements Connector and which name matches com.acme.Sink")
    );
}

/// `runner import connect` of files of tests/data/connect-import.
fn imported(names: &[&str], more: &[&str], code: i32) -> (String, String) {
    let folder = root().join("tests/data/connect-import");
    let ended = run(&[&["import", "connect"], names, more].concat(), &folder).with_code(code);
    (ended.stdout, ended.stderr)
}

#[test]
fn configs_of_connect_become_pipelines_that_are_valid() {
    let (text, said) = imported(&["file-source.properties", "file-sink.json", "expanded.json"], &[], 0);
    assert_eq!(said, "", "nothing is lost");
    for part in [
        "name: local-file-source",
        "path: /var/log/app.log",
        "name: audit-dead",
        "transforms.where.static.value: web-1",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert!(text.contains("${secret:env:REGISTRY_PASSWORD}"), "{text}");
    let folder = Folder::new();
    folder.write("imported.yaml", &text);
    let ended = run(&["validate", "imported.yaml"], folder.path()).with_code(0);
    assert!(ended.stdout.contains("valid: 4 pipelines"), "{}", ended.stdout);
}

#[test]
fn what_cannot_be_translated_is_said_loudly_and_keeps_its_settings() {
    let (text, said) = imported(&["jdbc-source.json", "s3-sink.json", "debezium.json"], &[], 4);
    let classes = [
        "io.confluent.connect.jdbc.JdbcSourceConnector",
        "io.confluent.connect.s3.S3SinkConnector",
        "io.debezium.connector.postgresql.PostgresConnector",
    ];
    for class in classes {
        assert!(said.contains(&format!("the class {class} is not available here")), "{said}");
        assert!(text.contains(class), "{text}");
    }
    assert!(text.contains("topics: [orders,payments], group: \"connect-archive\" }, format: avro"), "{text}");
    assert!(text.contains("unwrap: io.debezium.transforms.ExtractNewRecordState   (not Apache Kafka's own)"), "{text}");
    assert!(text.contains("flush.size: 10000") && !text.contains("hunter2"), "{text}");
    assert!(text.lines().all(|line| line.starts_with('#') || line == "---"), "{text}");
    imported(&["jdbc-source.json"], &["--allow-loss"], 0);
    let (text, said) = imported(&["broken.json"], &[], 4);
    assert!(said.contains("Not a number of type INT") && text.contains("tasks.max: many"), "{said}{text}");
}

#[test]
fn what_holds_no_connector_is_no_import() {
    let (_, said) = imported(&["../ratings.json"], &[], 2);
    assert!(said.contains("holds no connector"), "{said}");
    let (_, said) = imported(&["nope.json"], &[], 2);
    assert!(said.contains("`nope.json` cannot be read"), "{said}");
}
