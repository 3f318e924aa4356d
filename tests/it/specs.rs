//! Specs for tests of the whole binary: a folder of its own with a connection to the test servers.

use std::path::Path;

use runner::registry::{HttpRegistry, Registry, Settings};

use crate::runner::{Ended, Runner, run};
use crate::servers;

/// A working directory with specs in it.
pub struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    /// An empty one.
    pub fn new() -> Folder {
        Folder { dir: tempfile::tempdir().unwrap() }
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
        let head = format!("apiVersion: runner/v1\nkind: Pipeline\nmetadata: {{ name: {name} }}\nspec:\n");
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
pub fn registry() -> HttpRegistry {
    HttpRegistry::new(Settings::new(servers::registry())).unwrap()
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
