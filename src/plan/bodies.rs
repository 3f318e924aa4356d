//! What stands behind a connector's key, for those that the plan types itself, and the table of all.

use crate::connectors::datagen::DatagenOptions;
use crate::connectors::kafka::{KafkaSinkOptions, KafkaSourceOptions};
use crate::spec::Spanned;

crate::options! {
    /// Options of `console:` on a sink.
    pub struct ConsoleOptions {
        /// Print only the first rows; the pipeline goes on. Default: all. Example: `limit: 20`.
        pub limit: Option<u64>,
    }
}

crate::options! {
    /// Options of `discard:` on a sink: it has none.
    pub struct DiscardOptions {}
}

crate::options! {
    /// Options of `file:` on a source or sink.
    pub struct FileOptions {
        /// A path from the document's folder; on a source also a pattern with `*`. Example: `path: out/late.jsonl`.
        pub path: Spanned<String>,
    }
}

/// A connector of the language, and the JSON Schemas of its bodies.
pub struct Connector {
    pub name: &'static str,
    /// `None`: it cannot be a source.
    pub source: Option<fn(&mut schemars::SchemaGenerator) -> schemars::Schema>,
    /// `None`: it cannot be a sink.
    pub sink: Option<fn(&mut schemars::SchemaGenerator) -> schemars::Schema>,
}

/// All connectors, in the order of the reference.
pub const CONNECTORS: &[Connector] = &[
    Connector {
        name: "kafka",
        source: Some(schemars::SchemaGenerator::subschema_for::<KafkaSourceOptions>),
        sink: Some(schemars::SchemaGenerator::subschema_for::<KafkaSinkOptions>),
    },
    Connector {
        name: "datagen",
        source: Some(schemars::SchemaGenerator::subschema_for::<DatagenOptions>),
        sink: None,
    },
    Connector {
        name: "file",
        source: Some(schemars::SchemaGenerator::subschema_for::<FileOptions>),
        sink: Some(schemars::SchemaGenerator::subschema_for::<FileOptions>),
    },
    Connector {
        name: "console",
        source: None,
        sink: Some(schemars::SchemaGenerator::subschema_for::<ConsoleOptions>),
    },
    Connector {
        name: "discard",
        source: None,
        sink: Some(schemars::SchemaGenerator::subschema_for::<DiscardOptions>),
    },
];
