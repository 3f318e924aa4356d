//! What is generated from the types: the JSON Schema that editors use and the reference. Both are
//! published files that must be up to date, and the schema says what the loader and the plan say.

use std::path::{Path, PathBuf};

use runner::plan::resolve::Offline;
use runner::plan::{build, language_schema, reference};
use runner::report::{Style, render};
use runner::spec::{self, Values};
use serde_json::Value as Json;

use crate::examples::{blocks, pages};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a file with what it should be; `BLESS=1` rewrites it.
#[track_caller]
fn up_to_date(name: &str, text: &str) {
    let path = root().join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "{name} is not up to date: BLESS=1 rewrites it");
}

#[test]
fn the_published_json_schema_is_up_to_date() {
    let schema = language_schema();
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    up_to_date("runner.schema.json", &format!("{schema:#}\n"));
}

#[test]
fn the_reference_is_up_to_date() {
    up_to_date("docs/reference.md", &reference::text(&language_schema()));
}

fn yaml_files(path: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            into.push(path);
        }
    }
}

/// Texts of whole documents: the project's files, and the examples within its pages.
fn documents() -> Vec<(String, String)> {
    let mut files = Vec::new();
    ["pipelines", "connectors", "deploy", "tests/cases"]
        .iter()
        .for_each(|folder| yaml_files(&root().join(folder), &mut files));
    files.sort();
    let mut texts: Vec<(String, String)> =
        files.iter().map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap())).collect();
    for page in pages() {
        let named = |(index, block)| (format!("{}, example {}", page.display(), index + 1), block);
        texts.extend(blocks(&page).into_iter().enumerate().map(named));
    }
    texts
}

/// Tags are values too: an editor sees them as they stand there.
fn raw(text: &str) -> Vec<Json> {
    use serde::Deserialize;
    let documents = serde_norway::Deserializer::from_str(text).map(|document| Json::deserialize(document).unwrap());
    documents.filter(|document| !document.is_null()).collect()
}

fn values() -> Values {
    let mut values = Values { env: [("STAGE".to_owned(), "test".to_owned())].into(), ..Values::default() };
    ["topic=measured", "limit=10"].iter().for_each(|set| values.set(set).unwrap());
    values
}

#[test]
fn every_document_of_the_project_is_valid_for_loader_and_editor() {
    let validator = jsonschema::draft202012::new(&language_schema()).unwrap();
    let texts = documents();
    assert!(texts.iter().filter(|(name, _)| name.contains(".md")).count() >= 2, "no examples in the pages");
    let mut wrong = String::new();
    for (name, text) in &texts {
        let (_, found) = spec::load_text(name, text, &values());
        if !found.0.is_empty() {
            wrong += &format!("{name}: the loader says\n{}", render(&found, Style::Plain));
        }
        for document in raw(text) {
            for error in validator.iter_errors(&document) {
                wrong += &format!("{name}: JSON Schema says {error} at {}\n", error.instance_path());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Bodies that the plan types: a source's, a sink's, a format.
const BODIES: &[(&str, &str, bool)] = &[
    ("source", "kafka: { topic: t }, format: string", true),
    (
        "source",
        "kafka: { topic: t, group: g, start: latest, until: end, properties: { fetch.min.bytes: 1 } }, format: string",
        true,
    ),
    ("source", "kafka: { topic: t, start: { timestamp: -1h }, until: { timestamp: 1000 } }, format: string", true),
    ("source", "kafka: { topic: t, start: { offsets: { t: { 0: 42 } } }, on_expired: fail }, format: string", true),
    ("source", "kafka: { topic: t, start: { group: g } }, format: string", true),
    ("source", "kafka: { }, format: string", false),
    ("source", "kafka: { topic: a b }, format: string", false),
    ("source", "kafka: { topic: t, start: end }, format: string", false),
    ("source", "kafka: { topic: t, start: { group: g, timestamp: 1 } }, format: string", false),
    ("source", "kafka: { topic: t, start: { offsets: { t: { a: 42 } } } }, format: string", false),
    ("source", "kafka: { topic: t, start: { offsets: { t: { 0: -1 } } } }, format: string", false),
    ("source", "kafka: { topics: [t, u] }, format: string", true),
    ("source", "kafka: { topics: [] }, format: string", false),
    ("source", "kafka: { topics: [t, t] }, format: string", false),
    ("source", "kafka: { topic: t, topics: [u] }, format: string", false),
    ("source", "kafka: { topic: t, on_expired: last_timestamp }, format: string", true),
    ("source", "kafka: { topic: t, on_expired: skip }, format: string", false),
    ("source", "kafka: { topic: t, properties: { isolation.level: read_uncommitted } }, format: string", false),
    ("source", "kafka: { topic: t, properties: { fetch.min.bytes: [1] } }, format: string", false),
    (
        "source",
        "datagen: { columns: { n: { type: long, iteration: { start: 1 } }, s: { type: string, options: [a, b] }, t: { type: timestamp, now: true } }, rate: max, count: 5, tasks: 2, seed: 1 }",
        true,
    ),
    (
        "source",
        "datagen: { columns: { n: [{ type: long, range: { min: 1, max: 3 } }], o: { struct: { b: { type: boolean, odds: 0.5 } } } }, interval: 100ms }",
        true,
    ),
    ("source", "datagen: { columns: { n: { type: long, itertion: { start: 1 } } } }", false),
    ("source", "datagen: { columns: { n: long }, rate: 0 }", false),
    ("source", "datagen: { columns: { n: long }, rate: fast }", false),
    ("source", "datagen: { schema: [1] }", false),
    (
        "source",
        "file: { path: a.csv }, format: { csv: { header: false, delimiter: \";\" } }, columns: { n: long }",
        true,
    ),
    ("source", "file: { path: a.csv }, format: { csv: { delimiter: \";;\" } }, columns: { n: long }", false),
    ("source", "file: { path: a.csv }, format: { csv: { heder: true } }, columns: { n: long }", false),
    ("source", "file: { path: a.csv }, format: { json: { header: true } }, columns: { n: long }", false),
    ("source", "file: { path: a.csv }, format: { csv: }, columns: { n: long }", true),
    ("source", "file: { path: a.txt, follow: true }, format: string", true),
    ("source", "file: { path: a.txt, follow: 1 }, format: string", false),
    ("source", "file: { }, format: json", false),
    ("sink", "kafka: { topic: t, properties: { compression.type: zstd } }, format: json", true),
    ("sink", "kafka: { topic: t, partitions: 3 }, format: json", false),
    ("sink", "kafka: { topic: t, properties: { acks: 1 } }, format: json", false),
    ("sink", "console: { limit: 3 }", true),
    ("sink", "console: { limit: -1 }", false),
    ("sink", "console: { limits: 3 }", false),
    ("sink", "discard: { a: 1 }", false),
    ("sink", "file: { path: out.jsonl, append: true }, format: json", true),
    ("sink", "file: { path: out.jsonl, follow: true }, format: json", false),
    ("sink", "console: {}, format: { connect: { key.converter: String, value.converter: [Json] } }", false),
    (
        "sink",
        "kafka: { topic: t }, format: { connect: { key.converter: String, value.converter: Json, value.converter.schemas.enable: false, transforms: \"\" } }",
        true,
    ),
];

#[test]
fn plan_and_json_schema_come_to_the_same_verdict_on_bodies() {
    let validator = jsonschema::draft202012::new(&language_schema()).unwrap();
    let mut wrong = String::new();
    for (part, body, good) in BODIES {
        let (source, sink) = match *part {
            "source" => (*body, "discard: {}"),
            _ => ("datagen: { columns: { n: long } }", *body),
        };
        let text = format!(
            "apiVersion: runner/v1\nkind: Pipeline\nmetadata: {{ name: p }}\nspec:\n  sources: {{ a: {{ {source} }} }}\n  sinks: {{ b: {{ from: a, {sink} }} }}\n"
        );
        let (documents, mut found) = spec::load_text("p.yaml", &text, &Values::default());
        found.0.extend(build(&documents, Path::new("."), &Offline).1.0);
        if found.has_errors() == *good {
            wrong += &format!(
                "the plan calls `{body}` {}:\n{}\n",
                if *good { "bad" } else { "good" },
                render(&found, Style::Plain)
            );
        }
        let documents = raw(&text);
        if validator.is_valid(&documents[0]) != *good {
            let errors: Vec<String> = validator.iter_errors(&documents[0]).map(|error| error.to_string()).collect();
            wrong += &format!("JSON Schema calls `{body}` {}: {errors:?}\n", if *good { "bad" } else { "good" });
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
