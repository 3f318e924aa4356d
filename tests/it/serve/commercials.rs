//! The second job from end to end: docs/commercials.md, command by command, on a broker and a registry, read by Apache's
//! console consumer and an Avro library that is not ours; and the known ratings, from generator to tables.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Server;
use crate::commercials::{Rating, known_ratings, metrics, newest, table_of, windows, written_windows};
use crate::runner::PATIENCE;
use crate::servers::{self, Broker, TestRecord, unique};
use crate::specs::{Folder, read_until, read_when, registry};
use runner::registry::Registry;

const JSON: &str = "datagen-commercials-json";
const AVRO: &str = "datagen-commercials-avro";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A server whose connectors, and pipelines with the folder's connection, use these brokers and the tests' registry.
fn worker(folder: &Folder, brokers: &str) -> Server {
    let registry = servers::registry();
    let properties = format!("bootstrap.servers={brokers}\nvalue.converter.schema.registry.url={registry}\n");
    folder.write("worker.properties", &properties);
    Server::start(folder.path(), &["--worker-config", "worker.properties"])
}

/// The page, and where its commands are run.
struct Page<'a> {
    server: &'a Server,
    folder: &'a Folder,
    text: String,
}

impl Page<'_> {
    /// What the commands of a block print: a block begins with this line of the page.
    fn run(&self, first_line: &str) -> String {
        let blocks = self.text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
        let mut found = blocks.filter(|block| block.starts_with(first_line));
        let block = found.next().unwrap_or_else(|| panic!("no block of the page begins with `{first_line}`"));
        assert_eq!(found.next(), None, "`{first_line}` begins two");
        let connection = self.folder.path().join("connection.yaml");
        let block = block.replace("http://localhost:8083", &self.server.api).replace(
            " pipelines/commercials/topics",
            &format!(" {} pipelines/commercials/topics", connection.display()),
        );
        let binary = env!("CARGO_BIN_EXE_runner");
        let script = format!(
            "set -euo pipefail\ncurl() {{ command curl -sS \"$@\"; }}\nrunner() {{ {binary} \"$@\"; }}\n{block}"
        );
        let output = Command::new("bash").args(["-c", &script]).current_dir(root()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{block}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// The answers of a block, one after the other.
    fn answers(&self, first_line: &str) -> Vec<Value> {
        let said = self.run(first_line);
        serde_json::Deserializer::from_str(&said).into_iter().collect::<Result<_, _>>().expect(&said)
    }
}

/// Waits until there is an answer.
#[track_caller]
fn until<T>(server: &Server, what: &str, ask: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not yet: {what}\n{}", server.runner.stderr());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[track_caller]
fn until_task(server: &Server, connector: &str, state: &str) -> Value {
    until(server, &format!("{connector} is {state}"), || {
        let status = server.get(&format!("/connectors/{connector}/status"));
        (status["tasks"][0]["state"] == state).then_some(status)
    })
}

/// What was made, each once and in order, by the header that says the how many-th it is.
fn assert_whole(records: &[TestRecord], count: usize) {
    let number = |record: &TestRecord| {
        let header = record.headers.iter().find(|(name, _)| name == "current.iteration").unwrap();
        String::from_utf8(header.1.clone().unwrap()).unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(records.iter().map(number).collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
}

/// Files below a folder whose path has a name in it.
fn files_of(folder: &Path, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.display().to_string().contains(name) {
            found.push(entry.display().to_string());
        } else if entry.is_dir() {
            found.extend(files_of(&entry, name));
        }
    }
    found
}

#[test]
fn the_second_job_is_done_by_the_commands_of_its_page() {
    let broker = Broker::start();
    let folder = Folder::connected_to(&broker.address, servers::registry());
    let server = worker(&folder, &broker.address);
    let text = std::fs::read_to_string(root().join("docs/commercials.md")).unwrap();
    let page = Page { server: &server, folder: &folder, text };
    let read = |topic: &str| servers::read_at(&broker.address, topic);
    let consumed = |topic: &str| servers::consumed_at(&broker.address, topic, read(topic).len());

    let post = "curl -X POST -H 'Content-Type: application/json' -d @connectors/datagen-commercials-json.json";
    for (answer, name) in page.answers(post).iter().zip([JSON, AVRO]) {
        assert_eq!((&answer["name"], &answer["tasks"], &answer["type"]), (&json!(name), &json!([]), &json!("source")));
        let given: Value =
            serde_json::from_str(&std::fs::read_to_string(root().join(format!("connectors/{name}.json"))).unwrap())
                .unwrap();
        assert_eq!(answer["config"]["schema.string"], given["config"]["schema.string"]);
        // Numbers come back as texts.
        let of = |key: &str| answer["config"][key].clone();
        assert_eq!((of("iterations"), of("max.interval")), (json!("1000"), json!("1000")));
    }
    for (answer, name) in page.answers(post).iter().zip([JSON, AVRO]) {
        assert_eq!(answer, &json!({ "error_code": 409, "message": format!("Connector {name} already exists") }));
    }
    until_task(&server, JSON, "RUNNING");
    until_task(&server, AVRO, "RUNNING");
    for status in page.answers("curl http://localhost:8083/connectors/datagen-commercials-json/status") {
        assert_eq!(
            (&status["connector"]["state"], &status["tasks"][0]["state"]),
            (&json!("RUNNING"), &json!("RUNNING"))
        );
    }
    until(&server, "the first rating", || servers::exists_at(&broker.address, "commercials_avro").then_some(()));

    let applied = page.run("runner apply");
    for name in ["brand-metrics", "brand-tables"] {
        assert!(applied.contains(&format!("{name}: submitted")), "{applied}");
        server.until_state(name, "running");
    }
    page.run("curl -X PATCH");
    for (name, topic) in [(JSON, "commercials_json"), (AVRO, "commercials_avro")] {
        let status = until_task(&server, name, "FAILED");
        assert_eq!(status["connector"]["state"], "RUNNING");
        let trace = status["tasks"][0]["trace"].as_str().unwrap();
        let first = "org.apache.kafka.connect.errors.ConnectException: Stopping connector: generated the configured 1000 number of messages";
        assert_eq!(trace.lines().next(), Some(first));
        assert_whole(&read(topic), 1_000);
    }
    page.run("curl http://localhost:8083/connectors/datagen-commercials-avro/config");
    until(&server, "200 more", || (read("commercials_avro").len() >= 1_200).then_some(()));
    let status = until_task(&server, AVRO, "FAILED");
    assert!(status.to_string().contains("the configured 1200 number"), "{status}");
    let input = read("commercials_avro");
    assert_whole(&input, 1_200);
    let pairs: Vec<_> = input.iter().map(|record| (record.key.clone(), record.value.clone())).collect();
    assert_eq!(consumed("commercials_avro"), pairs, "Apache's consumer reads the very same");
    assert_as_json(&consumed("commercials_json"));

    let ratings: Vec<Rating> = input.iter().map(Rating::of).collect();
    // The last window closes although no rating comes any more.
    let expected = windows(&ratings);
    until(&server, "all windows", || {
        let written = read("metrics_per_brand_windowed");
        (written.len() >= expected.len()).then_some(())
    });
    assert_eq!(written_windows(&read("metrics_per_brand_windowed")), expected);
    until(&server, "all ratings", || {
        let rows = newest(&read("metrics_per_brand"));
        (rows.values().map(|row| row.0).sum::<u64>() == 1_200).then_some(())
    });
    for (topic, subject) in [("metrics_per_brand", 2), ("metrics_per_brand_windowed", 2), ("commercials_avro", 1)] {
        let registered = |side: &str| registry().latest(&format!("{topic}-{side}")).unwrap().is_some();
        assert_eq!(["key", "value"].iter().filter(|side| registered(side)).count(), subject, "subjects of {topic}");
    }
    expect_tables(&ratings, &consumed);

    assert_eq!(page.answers("curl -X DELETE"), [json!([AVRO])]);
    assert!(files_of(&folder.path().join(".runner/pipelines"), JSON).is_empty(), "it would run again");
    // Its offsets are kept, as Connect keeps them.
    let again = format!(
        "curl -sS -X POST -H 'Content-Type: application/json' -d @connectors/{JSON}.json {}/connectors",
        server.api
    );
    let answer = Command::new("bash").args(["-c", &again]).current_dir(root()).output().unwrap().stdout;
    assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap()["name"], JSON);
    until_task(&server, JSON, "FAILED");
    assert_whole(&read("commercials_json"), 1_000);

    let deleted = page.run("curl -X PUT");
    assert!(!deleted.contains("error_code"), "{deleted}");
    assert_eq!(server.get("/connectors"), json!([JSON]));
    let left = until(&server, "the pipelines are gone", || {
        let left = server.get("/v1/pipelines")["pipelines"].as_array().unwrap().clone();
        (left.len() == 1).then_some(left)
    });
    assert_eq!(left[0]["name"], JSON);
    assert_eq!(files_of(&folder.path().join(".runner"), AVRO), [""; 0]);
}

/// Ratings as plain JSON, under their brand as plain text.
fn assert_as_json(records: &[servers::Pair]) {
    for (key, value) in records {
        let value: Value = serde_json::from_slice(value.as_ref().unwrap()).unwrap();
        assert_eq!(value["brand"], String::from_utf8(key.clone().unwrap()).unwrap());
        assert!([30, 45, 60].contains(&value["duration"].as_i64().unwrap()), "{value}");
        assert!((1..=4).contains(&value["rating"].as_i64().unwrap()), "{value}");
    }
}

/// Upserts as an independent client reads them, against what is computed here.
fn expect_tables(ratings: &[Rating], consumed: &impl Fn(&str) -> Vec<servers::Pair>) {
    let numbers = |row: &Value| (row["cnt"].as_u64().unwrap(), row["rating_mean"].as_f64().unwrap());
    let per_brand = metrics(ratings);
    let (rows, _) = table_of(consumed("metrics_per_brand"));
    let found: BTreeMap<String, _> = rows
        .values()
        .map(|row| {
            let (cnt, rating_mean) = numbers(row);
            (row["brand"].as_str().unwrap().to_owned(), (cnt, row["duration_mean"].as_f64().unwrap(), rating_mean))
        })
        .collect();
    assert_eq!(found, per_brand);

    let (rows, _) = table_of(consumed("low_rated_brands"));
    let found: Vec<_> = rows.values().map(|row| (row["brand"].as_str().unwrap(), numbers(row))).collect();
    let low = per_brand.iter().filter(|(_, row)| row.2 < 2.3);
    assert_eq!(found, low.map(|(brand, row)| (brand.as_str(), (row.0, row.2))).collect::<Vec<_>>());

    let mut lengths: BTreeMap<(String, i64), Vec<&Rating>> = BTreeMap::new();
    for rating in ratings {
        lengths.entry((rating.brand.clone(), rating.duration)).or_default().push(rating);
    }
    let (rows, _) = table_of(consumed("metrics_per_length"));
    let found: BTreeMap<_, _> = rows
        .values()
        .map(|row| ((row["brand"].as_str().unwrap().to_owned(), row["duration"].as_i64().unwrap()), numbers(row)))
        .collect();
    let mean = |of: &[&Rating]| of.iter().map(|one| one.rating).sum::<i64>() as f64 / of.len() as f64;
    let expected: BTreeMap<_, _> = lengths.into_iter().map(|(key, of)| (key, (of.len() as u64, mean(&of)))).collect();
    assert_eq!(found, expected);

    let (rows, _) = table_of(consumed("metrics_per_brand_so_far"));
    let found: BTreeMap<_, _> = rows
        .values()
        .map(|row| {
            let start = row["window_start"].as_i64().unwrap();
            ((start, row["brand"].as_str().unwrap().to_owned()), row["cnt"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(found, windows(ratings));
}

/// The genuine generator makes 48 ratings of one seed, other systems' answers to which are known: the connector makes the
/// same, and the queries give the same answers once those ratings have the times that they were given there.
#[test]
fn known_ratings_are_generated_and_give_known_tables_on_a_server() {
    let (topic, made) = (servers::topic("ratings", 1), servers::topic("made", 1));
    let (known, records) = known_ratings(&topic);
    let folder = Folder::connected();
    let server = worker(&folder, servers::kafka());

    let text = std::fs::read_to_string(root().join(format!("connectors/{AVRO}.json"))).unwrap();
    let mut body: Value = serde_json::from_str(&text).unwrap();
    for (key, value) in [("kafka.topic", json!(made)), ("max.interval", json!(1)), ("iterations", json!(48))] {
        body["config"][key] = value;
    }
    body["config"]["random.seed"] = json!(42);
    let posted = server.request(reqwest::Method::POST, "/connectors").json(&body).send().unwrap();
    assert_eq!(posted.status(), 201);
    until_task(&server, AVRO, "FAILED");
    let made: Vec<Value> = servers::read(&made)
        .iter()
        .map(|record| {
            let Rating { brand, duration, rating, .. } = Rating::of(record);
            json!([brand, duration, rating])
        })
        .collect();
    let given = known["ratings"].as_array().unwrap().iter();
    assert_eq!(made, given.map(|rating| json!([rating[1], rating[2], rating[3]])).collect::<Vec<_>>());

    let name = unique("known").replace('-', "_");
    let text = std::fs::read_to_string(root().join("pipelines/commercials/metrics.yaml")).unwrap();
    let text = text
        .replace("name: brand-metrics", &format!("name: brand-metrics, namespace: {name}"))
        .replace("commercials_avro", &topic)
        .replace("start: earliest }", "start: earliest }\n      format: avro")
        .replace("topic: metrics_per_brand", &format!("topic: {name}"));
    folder.write("metrics.yaml", &text);
    let arguments = ["apply", "--server", &server.api, "connection.yaml", "metrics.yaml"];
    crate::runner::run(&arguments, folder.path()).with_code(0);
    // With the 42nd rating, eleven minutes ahead, the first six windows are over, and the next rating is late.
    servers::produce(&topic, &records[..42]);
    read_when(&format!("{name}_windowed"), 6);
    servers::produce(&topic, &records[42..]);
    read_when(&format!("{name}_windowed"), 7);
    let rows = read_until(&name, "all 48 ratings", |rows| newest(rows).values().map(|row| row.0).sum::<u64>() == 48);

    let double = |row: &Value, index: usize| row[index].as_f64().unwrap();
    let brand = |row: &Value, index: usize| row[index].as_str().unwrap().to_owned();
    let per_brand = known["per_brand"].as_array().unwrap().iter();
    let per_brand = per_brand.map(|row| (brand(row, 0), (row[1].as_u64().unwrap(), double(row, 2), double(row, 3))));
    assert_eq!(newest(&rows), per_brand.collect());
    let start = known["start"].as_i64().unwrap();
    let of_window = |row: &Value| ((start + row[0].as_i64().unwrap(), brand(row, 1)), row[2].as_u64().unwrap());
    let above_3 = known["windows_above_3"].as_array().unwrap().iter();
    assert_eq!(written_windows(&servers::read(&format!("{name}_windowed"))), above_3.map(of_window).collect());
    let shown = server.get(&format!("/v1/pipelines/brand-metrics?namespace={name}"));
    assert_eq!(shown["metrics"]["late"], 1, "{shown}");
}
