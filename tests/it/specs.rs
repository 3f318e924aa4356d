//! Specs for tests of the whole binary: a folder of its own with a connection to the test servers.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use apache_avro::types::Value as AvroValue;
use apache_avro::{Schema as AvroSchema, from_avro_datum};
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
    let schema = registry().by_id(id).unwrap().expect("it is registered");
    let mut left = &value[5..];
    let decoded = from_avro_datum(&AvroSchema::parse_str(&schema).unwrap(), &mut left, None).unwrap();
    assert!(left.is_empty(), "{} bytes are left of {value:?}", left.len());
    Some(json(decoded))
}

/// A value as somebody else's library decoded it. Bytes come as a list of numbers, times as their numbers.
fn json(value: AvroValue) -> Value {
    match value {
        AvroValue::Null => Value::Null,
        AvroValue::Boolean(value) => value.into(),
        AvroValue::Int(value) | AvroValue::Date(value) | AvroValue::TimeMillis(value) => value.into(),
        AvroValue::Long(value)
        | AvroValue::TimeMicros(value)
        | AvroValue::TimestampMillis(value)
        | AvroValue::TimestampMicros(value)
        | AvroValue::LocalTimestampMillis(value)
        | AvroValue::LocalTimestampMicros(value) => value.into(),
        AvroValue::Float(value) => value.into(),
        AvroValue::Double(value) => value.into(),
        AvroValue::Bytes(bytes) | AvroValue::Fixed(_, bytes) => bytes.into(),
        AvroValue::Decimal(decimal) => Vec::<u8>::try_from(&decimal).unwrap().into(),
        AvroValue::String(text) | AvroValue::Enum(_, text) => text.into(),
        AvroValue::Uuid(uuid) => uuid.to_string().into(),
        AvroValue::Union(_, branch) => json(*branch),
        AvroValue::Array(items) => items.into_iter().map(json).collect(),
        AvroValue::Map(entries) => Value::Object(entries.into_iter().map(|(key, value)| (key, json(value))).collect()),
        AvroValue::Record(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, json(value))).collect())
        }
        other => panic!("no test writes {other:?}"),
    }
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
