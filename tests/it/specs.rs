//! Specs for tests of the whole binary: a folder of its own with a connection to the test servers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use runner::registry::{HttpRegistry, Registry, Settings};

use crate::runner::{Ended, PATIENCE, Runner, run};
use crate::servers::{self, TestRecord};

/// A working directory with specs in it.
pub struct Folder {
    dir: tempfile::TempDir,
    /// Pipelines of one name have journals of their own in it.
    namespace: String,
}

impl Folder {
    /// An empty one.
    pub fn new() -> Folder {
        Folder { dir: tempfile::tempdir().unwrap(), namespace: servers::unique("t") }
    }

    /// One whose `default` connection is the test servers.
    pub fn connected() -> Folder {
        Folder::connected_to(servers::kafka(), servers::registry())
    }

    pub fn connected_to(brokers: &str, registry: &str) -> Folder {
        let folder = Folder::new();
        folder.write(
            "connection.yaml",
            &format!(
                "apiVersion: runner/v1\nkind: Connection\nmetadata: {{ name: default }}\nspec: {{ kafka: {{ brokers: \"{brokers}\" }}, registry: {{ url: \"{registry}\" }} }}\n"
            ),
        );
        folder
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }

    /// Writes a pipeline: `spec` is what stands under `spec:`, indented by two.
    pub fn pipeline(&self, name: &str, spec: &str) {
        let head = format!(
            "apiVersion: runner/v1\nkind: Pipeline\nmetadata: {{ name: {name}, namespace: {} }}\nspec:\n",
            self.namespace
        );
        self.write(&format!("{name}.yaml"), &(head + spec));
    }

    /// `runner VERB . MORE` to its end.
    pub fn run(&self, verb: &str, more: &[&str]) -> Ended {
        run(&[&[verb, "."], more].concat(), self.path())
    }

    /// `runner apply . MORE`, running.
    pub fn apply(&self, more: &[&str]) -> Runner {
        Runner::spawn(&[&["apply", "."], more].concat(), self.path())
    }
}

/// The test registry, asked directly.
pub fn registry() -> &'static HttpRegistry {
    static REGISTRY: OnceLock<HttpRegistry> = OnceLock::new();
    REGISTRY.get_or_init(|| HttpRegistry::new(Settings::new(servers::registry())).unwrap())
}

/// A value in Confluent's framing.
pub fn framed(id: i32, body: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], body].concat()
}

/// Registers a schema and gives its id.
pub fn register(subject: &str, schema: &str) -> i32 {
    registry().register(subject, schema).unwrap()
}

/// An Avro `int` or `long`.
pub fn avro_long(value: i64) -> Vec<u8> {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    let mut bytes = Vec::new();
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}

/// An Avro `string` or `bytes`.
pub fn avro_bytes(value: &[u8]) -> Vec<u8> {
    [&avro_long(value.len() as i64)[..], value].concat()
}

/// A framed Avro value as JSON, decoded by its schema in the registry; `None`: a tombstone.
pub fn decoded(value: Option<&Vec<u8>>) -> Option<Value> {
    let value = value?;
    assert_eq!(value[0], 0, "{value:?}");
    let id = i32::from_be_bytes(value[1..5].try_into().unwrap());
    let schema: Value = serde_json::from_str(&registry().by_id(id).unwrap().expect("it is registered")).unwrap();
    let mut left = &value[5..];
    let decoded = avro_value(&schema, &mut BTreeMap::new(), &mut left);
    assert!(left.is_empty(), "{} bytes are left of {value:?}", left.len());
    Some(decoded)
}

/// Avro's binary encoding, straight from its specification. Bytes come as a list of numbers.
fn avro_value(schema: &Value, named: &mut BTreeMap<String, Value>, left: &mut &[u8]) -> Value {
    match schema {
        Value::Array(branches) => {
            let branch = avro_number(left) as usize;
            avro_value(&branches[branch], named, left)
        }
        Value::String(name) => match named.get(name).cloned() {
            Some(known) => avro_value(&known, named, left),
            None => avro_word(name, schema, named, left),
        },
        schema => {
            if let Some(name) = schema["name"].as_str() {
                named.insert(name.to_owned(), schema.clone());
            }
            avro_word(schema["type"].as_str().expect("a type is a word"), schema, named, left)
        }
    }
}

fn avro_word(word: &str, schema: &Value, named: &mut BTreeMap<String, Value>, left: &mut &[u8]) -> Value {
    match word {
        "null" => Value::Null,
        "boolean" => Value::from(take(left, 1)[0] == 1),
        "int" | "long" => Value::from(avro_number(left)),
        "float" => Value::from(f32::from_le_bytes(take(left, 4).try_into().unwrap())),
        "double" => Value::from(f64::from_le_bytes(take(left, 8).try_into().unwrap())),
        "bytes" => length_and_bytes(left).into(),
        "string" => String::from_utf8(length_and_bytes(left)).unwrap().into(),
        "fixed" => take(left, schema["size"].as_u64().unwrap() as usize).into(),
        "enum" => schema["symbols"][avro_number(left) as usize].clone(),
        "array" => blocks(left, |left| avro_value(&schema["items"], named, left)).into(),
        "map" => {
            let entry = |left: &mut &[u8]| {
                let key = String::from_utf8(length_and_bytes(left)).unwrap();
                (key, avro_value(&schema["values"], named, left))
            };
            Value::Object(blocks(left, entry).into_iter().collect())
        }
        "record" => {
            let fields = schema["fields"].as_array().unwrap();
            let field =
                |field: &Value| (field["name"].as_str().unwrap().to_owned(), avro_value(&field["type"], named, left));
            Value::Object(fields.iter().map(field).collect())
        }
        other => panic!("`{other}` is no Avro type"),
    }
}

fn blocks<T>(left: &mut &[u8], mut item: impl FnMut(&mut &[u8]) -> T) -> Vec<T> {
    let mut items = Vec::new();
    loop {
        let count = avro_number(left);
        if count == 0 {
            return items;
        }
        if count < 0 {
            avro_number(left);
        }
        items.extend((0..count.abs()).map(|_| item(left)));
    }
}

fn avro_number(left: &mut &[u8]) -> i64 {
    let (mut number, mut shift) = (0_u64, 0);
    loop {
        let byte = take(left, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return (number >> 1) as i64 ^ -((number & 1) as i64);
        }
        shift += 7;
    }
}

fn length_and_bytes(left: &mut &[u8]) -> Vec<u8> {
    let length = avro_number(left) as usize;
    take(left, length)
}

fn take(left: &mut &[u8], count: usize) -> Vec<u8> {
    let (taken, rest) = left.split_at(count);
    *left = rest;
    taken.to_vec()
}

/// Waits until a topic holds so many committed records.
pub fn read_when(topic: &str, count: usize) -> Vec<TestRecord> {
    read_until(topic, &format!("{count} records"), |records| records.len() >= count)
}

/// Waits until a topic's committed records are as wanted.
pub fn read_until(topic: &str, what: &str, wanted: impl Fn(&[TestRecord]) -> bool) -> Vec<TestRecord> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A pipeline that has just started may not have made it yet.
        let records = if servers::exists(topic) { servers::read(topic) } else { Vec::new() };
        if wanted(&records) {
            return records;
        }
        assert!(Instant::now() < deadline, "`{topic}` has {} records, wanted: {what}", records.len());
        std::thread::sleep(Duration::from_millis(100));
    }
}
