//! Datagen connectors over Connect's REST API: what each setting makes of the records, and how tasks go on.
//!
//! What is expected follows from the rules of the genuine connector, computed here anew: each task's random numbers come from a
//! seed of its own, which every record replaces.

use std::time::Instant;

use serde_json::{Value, json};

use super::Server;
use super::connectors::{done, until_task, worker};
use crate::gate::Gate;
use crate::runner::PATIENCE;
use crate::servers::{self, TestRecord};
use crate::specs::{Folder, read_until, read_when};

/// `java.util.Random`, as far as it is needed here.
#[derive(Clone)]
struct JavaRandom(u64);

impl JavaRandom {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;

    fn of(seed: i64) -> JavaRandom {
        JavaRandom((seed as u64 ^ JavaRandom::MULTIPLIER) & JavaRandom::MASK)
    }

    fn next_int(&mut self) -> i32 {
        self.0 = self.0.wrapping_mul(JavaRandom::MULTIPLIER).wrapping_add(0xB) & JavaRandom::MASK;
        (self.0 >> 16) as i32
    }

    fn next_long(&mut self) -> i64 {
        let high = i64::from(self.next_int());
        (high << 32).wrapping_add(i64::from(self.next_int()))
    }
}

/// The seed of a task.
fn seed_of(task: usize, mut seed: i64) -> i64 {
    (0..task).for_each(|_| seed = JavaRandom::of(seed).next_long());
    seed
}

/// The next random int of a task whose records draw one each; the seed is moved on.
fn drawn(seed: &mut i64) -> i32 {
    let mut random = JavaRandom::of(*seed);
    let int = random.next_int();
    *seed = random.next_long();
    int
}

/// `n` counts from 0, `r` is any int.
fn config(topic: &str) -> Value {
    json!({
        "connector.class": "DatagenConnector", "kafka.topic": topic, "max.interval": 1, "random.seed": 7,
        "schema.string": r#"{"type": "record", "name": "row", "fields": [
            {"name": "n", "type": {"type": "long", "arg.properties": {"iteration": {"start": 0}}}},
            {"name": "r", "type": "int"}]}"#,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": false,
    })
}

fn with(mut config: Value, more: Value) -> Value {
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

/// `task.generation`, `task.id`, `current.iteration`, in this order.
fn headers(record: &TestRecord) -> [i64; 3] {
    let number = |value: &Option<Vec<u8>>| std::str::from_utf8(value.as_ref().unwrap()).unwrap().parse().unwrap();
    let names: Vec<&str> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["task.generation", "task.id", "current.iteration"]);
    [0, 1, 2].map(|index| number(&record.headers[index].1))
}

fn row(record: &TestRecord) -> Value {
    serde_json::from_slice(record.value.as_ref().unwrap()).unwrap()
}

/// The offset of a task, as Connect shows it.
fn offset(task: usize, generation: i64, iteration: i64, seed: i64) -> Value {
    let offset = json!({ "task.generation": generation, "current.iteration": iteration, "random.seed": seed });
    json!({ "partition": { "task.id": task }, "offset": offset })
}

#[track_caller]
fn until_all_failed(server: &Server, name: &str, tasks: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = done(server, &format!("GET /connectors/{name}/status"), None, 200);
        let states: Vec<&Value> = status["tasks"].as_array().unwrap().iter().map(|task| &task["state"]).collect();
        if states.len() == tasks && states.iter().all(|state| **state == "FAILED") {
            return;
        }
        assert!(Instant::now() < deadline, "{status}\n{}", server.runner.stderr());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn each_task_makes_its_own_records_from_its_own_seed() {
    const ITERATIONS: i64 = 4;
    let folder = Folder::new();
    let server = worker(&folder);
    for tasks in [2, 3] {
        let (name, topic) = (format!("tasks-{tasks}"), servers::topic("tasks", 1));
        let more = json!({ "tasks.max": tasks, "iterations": ITERATIONS });
        done(&server, &format!("PUT /connectors/{name}/config"), Some(&with(config(&topic), more)), 201);
        until_all_failed(&server, &name, tasks);
        let records = servers::read(&topic);
        assert_eq!(records.len() as i64, tasks as i64 * ITERATIONS);
        let mut offsets = Vec::new();
        for task in 0..tasks {
            let own: Vec<&TestRecord> = records.iter().filter(|record| headers(record)[1] == task as i64).collect();
            assert_eq!(own.len() as i64, ITERATIONS, "task {task}");
            let mut seed = seed_of(task, 7);
            for (iteration, record) in (0..).zip(own) {
                assert_eq!(headers(record), [0, task as i64, iteration]);
                // Counters begin anew in each.
                assert_eq!(row(record), json!({ "n": iteration, "r": drawn(&mut seed) }), "task {task}");
            }
            offsets.push(offset(task, 1, ITERATIONS, seed));
        }
        let shown = done(&server, &format!("GET /connectors/{name}/offsets"), None, 200);
        let mut shown = shown["offsets"].as_array().unwrap().clone();
        shown.sort_by_key(|item| item["partition"]["task.id"].as_i64());
        assert_eq!(shown, offsets);
        let info = done(&server, &format!("GET /connectors/{name}"), None, 200);
        assert_eq!(info["tasks"].as_array().unwrap().len(), tasks, "{info}");
    }
}

#[test]
fn a_task_goes_on_where_its_offset_says_and_that_seed_beats_the_config() {
    let folder = Folder::new();
    let server = worker(&folder);
    let topic = servers::topic("goes-on", 1);
    let limited =
        |iterations: i64, seed: i64| with(config(&topic), json!({ "iterations": iterations, "random.seed": seed }));
    done(&server, "PUT /connectors/on/config", Some(&limited(3, 7)), 201);
    until_all_failed(&server, "on", 1);
    // More of them, behind a start with another seed in its config.
    done(&server, "PUT /connectors/on/config", Some(&limited(5, 99)), 200);
    read_when(&topic, 5);
    until_all_failed(&server, "on", 1);
    let mut seed = 7;
    for (iteration, record) in (0..).zip(&servers::read(&topic)) {
        assert_eq!(headers(record), [i64::from(iteration >= 3), 0, iteration], "`task.generation` counts the starts");
        assert_eq!(row(record), json!({ "n": iteration, "r": drawn(&mut seed) }));
    }
    let shown = done(&server, "GET /connectors/on/offsets", None, 200);
    assert_eq!(shown["offsets"], json!([offset(0, 2, 5, seed)]));

    done(&server, "PUT /connectors/on/stop", None, 204);
    let moved = json!({ "offsets": [offset(0, 1, 22, 5)] });
    done(&server, "PATCH /connectors/on/offsets", Some(&moved), 200);
    assert_eq!(done(&server, "GET /connectors/on/offsets", None, 200), moved);
    done(&server, "PUT /connectors/on/config", Some(&limited(25, 99)), 200);
    done(&server, "PUT /connectors/on/resume", None, 202);
    let records = read_when(&topic, 8);
    until_all_failed(&server, "on", 1);
    let mut seed = 5;
    for (iteration, record) in (22..).zip(&records[5..]) {
        assert_eq!(headers(record), [1, 0, iteration]);
        assert_eq!(row(record), json!({ "n": iteration, "r": drawn(&mut seed) }));
    }
    assert_eq!(servers::read(&topic).len(), 8);
}

#[test]
fn without_a_pace_and_without_a_count_it_goes_on_at_full_speed() {
    let folder = Folder::new();
    let server = worker(&folder);
    for (interval, iterations) in [(-1, -1), (0, 0)] {
        let topic = servers::topic("endless", 1);
        let name = format!("endless-{}", interval + 1);
        let more = json!({ "max.interval": interval, "iterations": iterations });
        done(&server, &format!("PUT /connectors/{name}/config"), Some(&with(config(&topic), more)), 201);
        let deadline = Instant::now() + PATIENCE;
        // With the default pace these would take hours.
        loop {
            let shown = server.get(&format!("/v1/pipelines/{name}?namespace=connect"));
            if shown["metrics"]["rows_out"].as_u64().unwrap() >= 50_000 {
                break;
            }
            assert!(Instant::now() < deadline, "{shown}\n{}", server.runner.stderr());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        until_task(&server, &name, "RUNNING");
        done(&server, &format!("DELETE /connectors/{name}"), None, 204);
    }
}

#[test]
fn a_schema_comes_from_a_file_or_from_those_that_the_connector_brings() {
    let folder = Folder::new();
    let server = worker(&folder);
    let schema = config("")["schema.string"].as_str().unwrap().to_owned();
    folder.write("row.avsc", &schema);
    let texts = |name: &str, more: Value| -> Vec<TestRecord> {
        let topic = servers::topic(name, 1);
        let mut config = with(config(&topic), with(json!({ "iterations": 3 }), more));
        config.as_object_mut().unwrap().remove("schema.string");
        done(&server, &format!("PUT /connectors/{name}/config"), Some(&config), 201);
        until_all_failed(&server, name, 1);
        servers::read(&topic)
    };
    let of_file = texts("of-file", json!({ "schema.filename": folder.path().join("row.avsc") }));
    let mut seed = 7;
    let expected: Vec<Value> = (0..3).map(|n| json!({ "n": n, "r": drawn(&mut seed) })).collect();
    assert_eq!(of_file.iter().map(row).collect::<Vec<_>>(), expected);
    // The quickstart of this name has a key besides, which its schema alone has not.
    let (bundled, quickstart) = (
        texts("bundled", json!({ "schema.filename": "product.avro" })),
        texts("quick", json!({ "quickstart": "product" })),
    );
    let rows = |records: &[TestRecord]| records.iter().map(row).collect::<Vec<_>>();
    assert_eq!(rows(&bundled), rows(&quickstart));
    assert_eq!(bundled.len(), 3);
    assert!(bundled.iter().all(|record| record.key.is_none()) && quickstart.iter().all(|record| record.key.is_some()));

    let message = |more: Value| {
        let body = json!({ "name": "refused", "config": with(config("t"), more) });
        done(&server, "POST /connectors", Some(&body), 400)["message"].as_str().unwrap().to_owned()
    };
    let both = message(json!({ "quickstart": "ratings" }));
    let one = "Must set exactly one of schema.string, schema.filename, quickstart";
    let end = "You can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`";
    let expected =
        format!("Connector configuration is invalid and contains the following 2 error(s):\n{one}\n{one}\n{end}");
    assert_eq!(both, expected);
    let all = message(json!({ "quickstart": "ratings", "schema.filename": "product.avro" }));
    assert!(all.contains("following 3 error(s)") && all.matches(one).count() == 3, "{all}");
    done(&server, "GET /connectors/refused", None, 404);
}

#[test]
fn a_registry_that_goes_away_is_waited_for_by_whoever_starts() {
    let folder = Folder::new();
    let server = worker(&folder);
    let mut gate = Gate::to(server.registry.as_ref().unwrap().strip_prefix("http://").unwrap());
    gate.open();
    let topic = servers::topic("registry-away", 1);
    let avro = json!({
        "max.interval": 5, "value.converter": "io.confluent.connect.avro.AvroConverter",
        "value.converter.schema.registry.url": format!("http://{}", gate.address()),
    });
    let mut config = with(config(&topic), avro);
    config.as_object_mut().unwrap().remove("value.converter.schemas.enable");
    done(&server, "POST /connectors", Some(&json!({ "name": "avro", "config": config })), 201);
    until_task(&server, "avro", "RUNNING");
    read_when(&topic, 3);
    gate.shut();
    // Who runs has asked what it needs.
    let before = servers::read(&topic).len();
    read_when(&topic, before + 20);
    until_task(&server, "avro", "RUNNING");
    done(&server, "POST /connectors/avro/tasks/0/restart", None, 204);
    let deadline = Instant::now() + PATIENCE;
    let reason = loop {
        let shown = server.get("/v1/pipelines/avro?namespace=connect");
        if shown["state"] == "waiting" {
            break shown["reason"].clone();
        }
        assert!(Instant::now() < deadline, "{shown}\n{}", server.runner.stderr());
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(reason["message"].as_str().unwrap().contains(&gate.address()), "{reason}");
    let stands = servers::read(&topic).len();
    gate.open();
    until_task(&server, "avro", "RUNNING");
    let last = |records: &[TestRecord]| records.last().is_some_and(|last| headers(last)[0] >= 1);
    let records =
        read_until(&topic, "one of the next generation", |records| records.len() > stands + 10 && last(records));
    // At least once: each came, and those of one generation in order.
    let mut next = 0;
    for record in &records {
        let [_, _, iteration] = headers(record);
        assert!(iteration <= next, "{iteration} came where {next} was next");
        next = next.max(iteration + 1);
    }
}

/// Confluent's AvroData makes `["int"]` an int (since 8.0), and a branch is drawn all the same.
#[test]
fn a_union_of_one_is_that_one() {
    let folder = Folder::new();
    let server = worker(&folder);
    let schema = r#"{"type": "record", "name": "Rec", "namespace": "n", "doc": "d", "fields": [
        {"name": "r", "type": ["int"]},
        {"name": "u", "type": [{"type": "long", "arg.properties": {"options": [5]}}, "null"]}]}"#;
    let made = |name: &str, more: Value| {
        let topic = servers::topic(name, 1);
        let config = with(config(&topic), with(json!({ "schema.string": schema, "iterations": 4 }), more));
        done(&server, &format!("PUT /connectors/{name}/config"), Some(&config), 201);
        until_all_failed(&server, name, 1);
        (servers::read(&topic), format!("{topic}-value"))
    };
    let (plain, _) = made("alone", json!({}));
    let mut seed = 7;
    let expected: Vec<Value> = (0..4)
        .map(|_| {
            let mut random = JavaRandom::of(seed);
            random.next_int();
            let r = random.next_int();
            // 31 bits, of which the first one says which branch it is. Of one option the index is drawn, too.
            let is_long = random.next_int() as u32 >> 31 == 0;
            if is_long {
                random.next_int();
            }
            seed = random.next_long();
            json!({ "r": r, "u": is_long.then_some(5) })
        })
        .collect();
    assert_eq!(plain.iter().map(row).collect::<Vec<_>>(), expected);

    let url = server.registry.clone().unwrap();
    let avro = json!({
        "value.converter": "io.confluent.connect.avro.AvroConverter", "value.converter.schema.registry.url": url,
    });
    let (records, subject) = made("alone-avro", avro);
    let latest = reqwest::blocking::get(format!("{url}/subjects/{subject}/versions/latest/schema")).unwrap();
    let schema: Value = latest.json().unwrap();
    assert_eq!((&schema["name"], &schema["namespace"]), (&json!("Rec"), &json!("n")));
    assert_eq!(schema["fields"][0], json!({ "name": "r", "type": "int" }));
    let parsed = apache_avro::Schema::parse_str(&schema.to_string()).unwrap();
    let decoded = |record: &TestRecord| -> Value {
        let value = record.value.as_ref().unwrap();
        let datum = apache_avro::from_avro_datum(&parsed, &mut &value[5..], None).unwrap();
        datum.try_into().unwrap()
    };
    assert_eq!(records.iter().map(decoded).collect::<Vec<_>>(), expected);
}
