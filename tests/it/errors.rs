//! Bad specs as data: `tests/errors/NAME.yaml` and, beside it, its whole message `NAME.txt`.
//!
//! `BLESS=1` rewrites the messages; the difference is reviewed like code.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use runner::report::{Diagnostics, SourceFile, Style, render};
use runner::spec::{self, Bodies, Documents, Values};

use crate::damaged::cases;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors")
}

/// Names and texts of all *.yaml, in order.
fn specs() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".yaml"));
    names.sort();
    names.into_iter().map(|name| (name.clone(), std::fs::read_to_string(folder().join(name)).unwrap())).collect()
}

/// What every spec here may use.
fn values() -> Values {
    let mut values = Values { env: [("HOME_TOPIC".to_owned(), "ratings".to_owned())].into(), ..Values::default() };
    values.set("topic=ratings").unwrap();
    values.set("kafka.brokers=localhost:9092").unwrap();
    values
}

#[test]
fn every_bad_spec_has_its_whole_message_beside_it() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = String::new();
    for (name, text) in specs() {
        let (_, diagnostics) = spec::load_text(&name, &text, &values());
        assert!(diagnostics.has_errors(), "{name} is a good spec");
        let message = render(&diagnostics, Style::Plain);
        let path = folder().join(&name).with_extension("txt");
        if bless {
            std::fs::write(&path, &message).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if message != expected {
            wrong += &format!("---- {name} says\n{message}\n---- instead of\n{expected}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}(BLESS=1 rewrites)");
}

/// Errors that a JSON Schema cannot see: of YAML and of templates, and names that must differ or
/// be found.
const BEYOND_JSON_SCHEMA: &[&str] = &[
    "yaml.",
    "template.",
    "secret.",
    "pipeline.name_taken",
    "load.duplicate_document",
    "load.name",
    "spec.duplicate_column",
    "window.",
    "type.",
    "spec.unknown_port",
];

#[test]
fn loader_and_json_schema_come_to_the_same_verdict() {
    let schema = spec::json_schema(&Bodies::default());
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let mut wrong = String::new();
    let good = GOOD.iter().map(|text| ("good".to_owned(), (*text).to_owned()));
    for (name, text) in specs().into_iter().chain(good) {
        let (_, diagnostics) = spec::load_text(&name, &text, &values());
        let only_structure =
            diagnostics.0.iter().all(|d| !BEYOND_JSON_SCHEMA.iter().any(|code| d.code.starts_with(code)));
        let file = Arc::new(SourceFile { name: name.clone(), text: text.clone() });
        let nodes = spec::read_yaml(&file, &values(), &mut Diagnostics::default());
        let verdicts: Vec<bool> = nodes.iter().map(|node| validator.is_valid(&node.to_json())).collect();
        if only_structure && verdicts.iter().all(|valid| *valid) == diagnostics.has_errors() {
            let errors: Vec<String> = nodes
                .iter()
                .flat_map(|node| validator.iter_errors(&node.to_json()).map(|e| e.to_string()).collect::<Vec<_>>())
                .collect();
            wrong += &format!("{name}: loader\n{}JSON Schema {errors:?}\n\n", render(&diagnostics, Style::Plain));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Specs that are right, with every key of the language in one of them.
const GOOD: &[&str] = &[
    r#"
apiVersion: runner/v1
kind: Topic
metadata: { name: commercials_avro, labels: { team: brands } }
spec: { partitions: 6, replication: 1, create: false, format: avro, key_format: string, config: { retention.ms: 1000, a: true } }
---
apiVersion: runner/v1
kind: Pipeline
metadata: { name: brand-metrics, namespace: tv }
spec:
  connections:
    default: { kafka: { brokers: "{{ values.kafka.brokers }}", properties: { linger.ms: 5 } }, registry: { url: "http://localhost:8081", password: "${secret:env:PASSWORD}" } }
    local: { registry: embedded }
  sources:
    ratings: { kafka: { topic: "{{ values.topic }}", start: earliest }, time: { field: ts, unit: s, lag: 5s, idle: 5s, max_ahead: 1h30m } }
    typed:
      file: { path: "in/*.csv" }
      format: { csv: { header: false } }
      columns: { ts: timestamp(s), uid: string, dose: double?, price: "decimal(10,2)", tags: [string], more: { struct: { a: { map: long } } }, kind: { enum: [A, B], optional: true }, id: { type: uuid, field: identity, doc: who } }
      mode: append
  transforms:
    good: { from: ratings, where: rating >= 2, check: { known: brand is not null }, add: { one: 1, yes: true }, drop: [one] }
    some: { from: good, select: [brand] }
    all: { from: good, select: { b: "upper(brand)" } }
    per_brand: { from: good, group_by: [brand], aggregate: { cnt: count(*), rating_mean: avg(rating) } }
    per_brand_5s: { from: good, window: { tumbling: 5s, grace: 1s, offset: 2s }, group_by: { b: brand }, aggregate: { cnt: count(*) }, having: cnt > 3 }
  sinks:
    newest: { from: per_brand, kafka: { topic: metrics_per_brand }, format: avro, mode: upsert, key: brand, delivery: exactly_once, schema: { name: Brand, register: false } }
    table: { from: per_brand, console: }
    windows: { from: per_brand_5s, kafka: { topic: metrics }, format: avro, key: [], headers: { from: "${brand}" } }
    late: { from: per_brand_5s.late, file: { path: out/late.jsonl }, format: json }
  dead_letter: { kafka: { topic: dead }, format: original }
  errors: { fail_above: 1.5% }
  restart: journal
  state: { store: .runner/here }
  memory: 160MiB
  epoch: { min: 10ms, interval: 100ms, max_bytes: 8MiB }
  lanes: 2
---
apiVersion: runner/v1
kind: Schema
metadata: { name: ratings-value }
spec: { schema: { type: record, name: R, fields: [] }, compatibility: backward, references: [{ name: a.B, subject: b, version: 1 }] }
---
apiVersion: runner/v1
kind: Connection
metadata: { name: other }
spec: { kafka: { brokers: "a:9092,b:9092" } }
---
apiVersion: runner/v1
kind: Test
metadata: { name: late-frame }
spec: { pipeline: pipelines/frames.yaml, values: { a: 1 }, given: { frames: [{ ts: 100.2 }, cut] }, expect: { per_second: [] } }
---
apiVersion: kafka.strimzi.io/v1beta2
kind: KafkaConnector
metadata: { name: words }
spec: { class: FileStreamSource, tasksMax: 1, config: { file: words.txt, topic: words, tasks.max.enforce: true } }
"#,
    r#"
apiVersion: runner/v1
kind: Pipeline
metadata: { name: least }
spec:
  sources: { a: { datagen: { quickstart: users } } }
  transforms:
  sinks: { b: { from: a, discard: } }
  errors: { skip: true }
"#,
];

/// What Strimzi's operator does with a connector beside running it is no error here.
#[test]
fn a_whole_document_of_strimzis_is_read_and_what_has_no_effect_is_named() {
    let text = "apiVersion: kafka.strimzi.io/v1
kind: KafkaConnector
metadata:
  name: words
  labels: { strimzi.io/cluster: my-connect }
  annotations: { strimzi.io/restart: \"false\" }
spec:
  class: FileStreamSource
  tasksMax: 1
  pause: true
  autoRestart: { enabled: true, maxRestarts: 7 }
  listOffsets: { toConfigMap: { name: words-offsets } }
  alterOffsets: { fromConfigMap: { name: words-offsets } }
  config: { file: words.txt, topic: words }
";
    let (documents, diagnostics) = spec::load_text("strimzi.yaml", text, &values());
    assert!(!diagnostics.has_errors(), "{}", render(&diagnostics, Style::Plain));
    let titles: Vec<&str> = diagnostics.0.iter().map(|diagnostic| diagnostic.title.as_str()).collect();
    let unheeded = ["autoRestart", "listOffsets", "alterOffsets"].map(|key| format!("`{key}` has no effect"));
    assert_eq!(titles, unheeded);
    assert_eq!(documents.connectors[0].spec.state.value, spec::ConnectorState::Paused);
}

#[test]
fn good_specs_load_without_a_word() {
    for text in GOOD {
        let (documents, diagnostics) = spec::load_text("good.yaml", text, &values());
        assert_eq!(render(&diagnostics, Style::Plain), "");
        assert!(!documents.pipelines.is_empty());
    }
    let (documents, _) = spec::load_text("good.yaml", GOOD[0], &values());
    let Documents { pipelines, topics, schemas, connections, connectors, tests, lost: _ } = documents;
    let counts = [pipelines.len(), topics.len(), schemas.len(), connections.len(), connectors.len(), tests.len()];
    assert_eq!(counts, [1; 6]);
    let pipeline = &pipelines[0];
    assert_eq!(pipeline.metadata.namespace, "tv");
    assert_eq!(pipeline.spec.connections[0].1.kafka.as_ref().unwrap().brokers.value.to_string(), "localhost:9092");
    assert_eq!(pipeline.spec.sources[0].body.get("topic").unwrap().as_str(), Some("ratings"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() })]

    /// Any text gives documents or diagnostics, never a panic.
    #[test]
    fn any_text_is_read_or_refused(text in any_text()) {
        let (_, diagnostics) = spec::load_text("any.yaml", &text, &values());
        render(&diagnostics, Style::Plain);
    }

    /// A good spec with a piece cut out, doubled or put elsewhere.
    #[test]
    fn any_damaged_spec_is_read_or_refused(from in 0..4000_usize, len in 0..40_usize, to in 0..4000_usize, piece in any_text()) {
        let mut text: Vec<char> = GOOD[0].chars().collect();
        let from = from.min(text.len());
        let cut: Vec<char> = text.drain(from..(from + len).min(text.len())).collect();
        let to = to.min(text.len());
        text.splice(to..to, cut.into_iter().chain(piece.chars().take(8)));
        let text: String = text.into_iter().collect();
        let (_, diagnostics) = spec::load_text("any.yaml", &text, &values());
        render(&diagnostics, Style::Plain);
    }
}

/// Text of what YAML, templates and the language are made of.
fn any_text() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "a",
        "ä",
        "kind: ",
        "apiVersion: runner/v1\n",
        "Pipeline",
        "spec:",
        ": ",
        "\n",
        "\n  ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "\"",
        "'",
        "#",
        " #",
        "&a ",
        "*a",
        "!t ",
        "{{",
        "}}",
        "{{ values.topic }}",
        "{% if %}",
        "|\n",
        ">\n",
        "\t",
        "---\n",
        "...\n",
        "? ",
        "<<",
        "%",
        "@",
        "1",
        "1e9",
        "\r\n",
        "\u{feff}",
        "\u{e000}",
        "\\",
        "${secret:",
        "5s",
        "😀",
    ]);
    prop_oneof![prop::collection::vec(words, 0..30).prop_map(|words| words.concat()), "\\PC{0,40}"]
}
