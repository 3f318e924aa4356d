//! What the topics of one source must have in common, and what Avro evens out between them.

use serde_json::json;

use super::*;
use crate::specs::{Folder, avro_bytes, avro_long, framed, register};

fn record(fields: &[&str]) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","))
}

const LONG: &str = r#"{"name":"n","type":"long"}"#;
const INT: &str = r#"{"name":"n","type":"int"}"#;
const BRAND: &str = r#"{"name":"brand","type":"string"}"#;
const BRAND_OR_NONE: &str = r#"{"name":"brand","type":"string","default":"none"}"#;
const MORE: &str = r#"{"name":"more","type":"string"}"#;

/// A folder with a pipeline that copies two Avro topics of these schemas as JSON, and the schemas' ids.
fn copying(topics: [&str; 2], schemas: [&str; 2], out: &str) -> (Folder, [i32; 2]) {
    let ids = [0, 1].map(|index| register(&format!("{}-value", topics[index]), schemas[index]));
    let folder = Folder::connected();
    let [a, b] = topics;
    folder.pipeline(
        "copying",
        &format!(
            "  sources: {{ rows: {{ kafka: {{ topics: [{a}, {b}] }}, format: avro }} }}\n  sinks: {{ out: {{ from: rows, kafka: {{ topic: {out} }}, format: json }} }}\n"
        ),
    );
    (folder, ids)
}

/// Each topic has its own subject; rows have the first one's columns.
#[test]
fn two_avro_topics_of_different_schemas_give_the_columns_of_the_first() {
    let (a, b, out) = (servers::topic("avro-a", 1), servers::topic("avro-b", 2), servers::topic("out", 1));
    let (folder, [of_a, of_b]) = copying([&a, &b], [&record(&[LONG, BRAND_OR_NONE]), &record(&[MORE, INT])], &out);
    let value = |partition, id, parts: &[Vec<u8>]| TestRecord::to(partition, framed(id, &parts.concat()));
    servers::produce(&a, &[value(0, of_a, &[avro_long(1 << 40), avro_bytes(b"tea")])]);
    servers::produce(
        &b,
        &[
            value(0, of_b, &[avro_bytes(b"x"), avro_long(2)]),
            value(1, of_b, &[avro_bytes(b"y"), avro_long(3)]),
            // What was written with the schema of another topic is read as it was written.
            value(1, of_a, &[avro_long(4), avro_bytes(b"mate")]),
        ],
    );
    folder.run("apply", &["--until", "end"]).with_code(0);
    let read = servers::read(&out);
    let mut found: Vec<Value> = read.iter().map(|record| serde_json::from_str(&record.text()).unwrap()).collect();
    found.sort_by_key(|row| row["n"].as_i64());
    let row = |n: i64, brand: &str| json!({ "n": n, "brand": brand });
    assert_eq!(found, [row(2, "none"), row(3, "none"), row(4, "mate"), row(1 << 40, "tea")]);
}

#[test]
fn topics_schemas_says_which_topic_cannot_be_read_as_the_first_and_why() {
    let (a, b, out) = (servers::topic("avro-a", 1), servers::topic("avro-b", 1), servers::topic("out", 1));
    let (folder, _) = copying([&a, &b], [&record(&[INT, BRAND]), &record(&[INT])], &out);
    let refused = folder.run("plan", &[]).with_code(2);
    let said = refused.stderr;
    let title = format!("error[topics.schemas]: values of `{b}` cannot be read with the schema of `{a}`");
    assert!(said.contains(&title) && said.contains("brand") && said.contains("copying.yaml:5"), "{said}");
    assert!(said.contains("put the topic with the fewest columns first"), "{said}");
    // The other way round it can.
    let (folder, _) = copying([&b, &a], [&record(&[INT]), &record(&[INT, BRAND])], &out);
    folder.run("plan", &[]).with_code(0);
}

#[test]
fn topics_differ_says_what_the_documents_of_two_topics_disagree_about() {
    let folder = Folder::new();
    folder.write(
        "spec.yaml",
        "apiVersion: runner/v1
kind: Topic
metadata: { name: a }
spec: { format: json, columns: { n: int, brand: string }, time: { lag: 1s } }
---
apiVersion: runner/v1
kind: Topic
metadata: { name: b }
spec: { format: csv, columns: { n: int }, time: { lag: 2s } }
---
apiVersion: runner/v1
kind: Pipeline
metadata: { name: differing }
spec:
  sources: { rows: { kafka: { topics: [a, b] } } }
  sinks: { out: { from: rows, discard: {} } }
",
    );
    let said = folder.run("validate", &[]).with_code(2).stderr;
    for key in ["format", "columns", "time"] {
        assert!(said.contains(&format!("error[topics.differ]: `a` and `b` differ in `{key}`")), "{key}: {said}");
    }
    assert!(said.contains("`a` has Kafka's timestamp, lag 1s, `b` has Kafka's timestamp, lag 2s"), "{said}");
    assert!(said.contains("spec.yaml:15:43") && said.contains("make two sources of them"), "{said}");
}
