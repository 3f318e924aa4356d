//! Topics that come to fit a pattern while a pipeline runs.

use super::*;
use crate::specs::{Folder, avro_long, framed, register};

/// At least once: what a run that fails has delivered and not noted would come again.
#[test]
fn a_topic_that_comes_to_fit_is_read_without_a_failure_and_without_a_repeat() {
    let place = Place::new("fitting");
    let (prefix, out) = (servers::unique("fits"), servers::topic("fitted", 1));
    let topics = ["a", "b"].map(|name| format!("{prefix}-{name}"));
    servers::create_topic(servers::kafka(), &topics[0], 1, &[]);
    place.spec(&format!(
        "  state: {{ journal: file }}
  sources:
    rows: {{ kafka: {{ pattern: '{prefix}-.*' }}, format: json, columns: {{ n: int }} }}
  transforms:
    placed: {{ from: rows, select: {{ topic: _topic, p: _partition, n: n }} }}
  sinks:
    out: {{ from: placed, kafka: {{ topic: {out} }}, format: json, delivery: at_least_once }}
"
    ));
    let running = place.apply();
    let until = |count: usize| {
        let deadline = Instant::now() + PATIENCE;
        while rows(&out).len() < count {
            assert!(Instant::now() < deadline, "{} rows\n{}", rows(&out).len(), running.stderr());
            // Records come all the time, so that some are on their way when the topic comes.
            numbered(&topics[0], 0, 0..20);
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    until(40);
    servers::create_topic(servers::kafka(), &topics[1], 1, &[]);
    numbered(&topics[1], 0, 0..5);
    running.wait_stderr("there is more to read");
    let deadline = Instant::now() + PATIENCE;
    while rows(&out).iter().filter(|(topic, ..)| *topic == topics[1]).count() < 5 {
        assert!(Instant::now() < deadline, "{}", running.stderr());
        numbered(&topics[0], 0, 20..40);
        std::thread::sleep(Duration::from_millis(100));
    }
    // All of it, and nothing twice.
    let counts = || topics.each_ref().map(|topic| rows(&out).iter().filter(|(from, ..)| from == topic).count());
    let written = topics.each_ref().map(|topic| servers::read(topic).len());
    let deadline = Instant::now() + PATIENCE;
    while counts().iter().zip(&written).any(|(copied, written)| copied < written) {
        assert!(Instant::now() < deadline, "{:?} of {written:?}\n{}", counts(), running.stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
    running.signal(libc::SIGINT);
    let ended = running.wait().with_code(0);
    assert_eq!(counts(), written, "{}", ended.stderr);
}

/// A start says where to begin with what is there. What comes later is read whole, once there is something in it.
#[test]
fn a_topic_that_comes_to_fit_is_read_from_its_first_record_wherever_the_others_began() {
    let place = Place::new("fitting-latest");
    let (prefix, out) = (servers::unique("fits-latest"), servers::topic("fitted-latest", 1));
    let topics = ["a", "b"].map(|name| format!("{prefix}-{name}"));
    servers::create_topic(servers::kafka(), &topics[0], 1, &[]);
    numbered(&topics[0], 0, 0..10);
    place.spec(&format!(
        "  sources:
    rows: {{ kafka: {{ pattern: '{prefix}-.*', start: latest }}, format: json, columns: {{ n: int }} }}
  transforms:
    placed: {{ from: rows, select: {{ topic: _topic, p: _partition, n: n }} }}
  sinks:
    out: {{ from: placed, kafka: {{ topic: {out} }}, format: json }}
"
    ));
    let running = place.apply();
    running.wait_stderr(": starts");
    let wait_for = |topic: &str, from: i64| {
        let deadline = Instant::now() + PATIENCE;
        while !rows(&out).iter().any(|(of, _, n)| of == topic && *n >= from) {
            assert!(Instant::now() < deadline, "{:?}\n{}", rows(&out), running.stderr());
            numbered(&topics[0], 0, 10..11);
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    wait_for(&topics[0], 10);
    // Longer than from one look to the next.
    servers::create_topic(servers::kafka(), &topics[1], 1, &[]);
    assert!(!running.ended_within(Duration::from_secs(12)), "{}", running.stderr());
    assert!(!running.stderr().contains("there is more to read"), "{}", running.stderr());
    numbered(&topics[1], 0, 0..5);
    running.wait_stderr("there is more to read");
    wait_for(&topics[1], 4);
    running.signal(libc::SIGINT);
    running.wait().with_code(0);
    let found: Vec<i64> = rows(&out).into_iter().filter(|(of, ..)| *of == topics[1]).map(|(.., n)| n).collect();
    assert_eq!(found, [0, 1, 2, 3, 4]);
    assert!(
        rows(&out).iter().all(|(of, _, n)| *of == topics[1] || *n == 10),
        "what was there before the start is not read"
    );
}

/// A topic of Avro whose writer has not registered its schema yet once ended what ran, and would not let it start again.
#[test]
fn a_topic_that_comes_to_fit_without_a_schema_waits_for_it_and_ends_nothing() {
    let (folder, prefix, out) = (Folder::connected(), servers::unique("awaited"), servers::topic("awaited-out", 1));
    let topics = ["a", "b", "c"].map(|name| format!("{prefix}-{name}"));
    let schema = r#"{"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}]}"#;
    let create = |topic: &str, n: i64| {
        servers::create_topic(servers::kafka(), topic, 1, &[]);
        let id = register(&format!("{prefix}-{n}"), schema);
        servers::produce(topic, &[TestRecord::to(0, framed(id, &avro_long(n)))]);
    };
    let subject = |topic: &str| format!("{topic}-value");
    create(&topics[0], 1);
    register(&subject(&topics[0]), schema);
    // Its document names a subject that others share; what is in no registry is waited for all the same.
    let shared = format!("{prefix}-shared");
    folder.write(
        "topic.yaml",
        &format!("apiVersion: runner/v1\nkind: Topic\nmetadata: {{ name: {} }}\nspec: {{ partitions: 1, schema: {{ subject: {shared} }} }}\n", topics[1]),
    );
    folder.pipeline(
        "awaited",
        &format!(
            "  sources: {{ rows: {{ kafka: {{ pattern: '{prefix}-.*' }}, format: avro }} }}\n  sinks: {{ out: {{ from: rows, kafka: {{ topic: {out} }}, format: json }} }}\n"
        ),
    );
    let running = folder.apply(&[]);
    let until = |numbers: &[i64]| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = servers::read(&out);
            let found: Vec<i64> = rows
                .iter()
                .map(|row| serde_json::from_str::<Value>(&row.text()).unwrap()["n"].as_i64().unwrap())
                .collect();
            if found == numbers {
                return;
            }
            assert!(Instant::now() < deadline, "{found:?} instead of {numbers:?}\n{}", running.stderr());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    until(&[1]);
    create(&topics[1], 2);
    let why = format!("there is no subject `{shared}` in the registry");
    running.wait_stderr(&format!("`{}` has come, and is not read before its schema is there: {why}", topics[1]));
    // Another one that can be read is not held up by it, nor by the new start.
    create(&topics[2], 3);
    register(&subject(&topics[2]), schema);
    running.wait_stderr(&format!("`{}` fits the pattern of `rows`, and is not read yet: {why}", topics[1]));
    until(&[1, 3]);
    register(&shared, schema);
    until(&[1, 3, 2]);
    running.signal(libc::SIGINT);
    running.wait().with_code(0);
}
