//! What stands behind a connector's key, for those that the plan types itself, and the table of all.

use crate::connectors::datagen;
use crate::connectors::kafka::{KafkaSinkOptions, KafkaSourceOptions};
use crate::formats::Format;
use crate::spec::{self, Bodies, Describe, FromNode, Spanned};

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
    /// Options of `file:` on a source.
    pub struct FileSourceOptions {
        /// A path from the document's folder, or a pattern with `*`. Example: `path: in/*.jsonl`.
        pub path: Spanned<String>,
        /// Waits for more lines instead of ending, and for the file if it is not there yet. Default: false. Example: `follow: true`.
        pub follow: bool = false,
    }
}

crate::options! {
    /// Options of `file:` on a sink.
    pub struct FileSinkOptions {
        /// A path from the document's folder. Example: `path: out/late.jsonl`.
        pub path: Spanned<String>,
        /// Writes behind what a file has that no pipeline wrote, which is refused otherwise; what is `delivery: at_least_once` always does. Default: false. Example: `append: true`.
        pub append: bool = false,
    }
}

/// Bodies of sources by connector, in the order of the reference.
pub const SOURCES: &[(&str, Describe)] = &[
    ("kafka", <KafkaSourceOptions as FromNode>::schema),
    ("datagen", <datagen::Options as FromNode>::schema),
    ("file", <FileSourceOptions as FromNode>::schema),
];

/// Bodies of sinks by connector.
pub const SINKS: &[(&str, Describe)] = &[
    ("kafka", <KafkaSinkOptions as FromNode>::schema),
    ("file", <FileSinkOptions as FromNode>::schema),
    ("console", <ConsoleOptions as FromNode>::schema),
    ("discard", <DiscardOptions as FromNode>::schema),
];

/// The JSON Schema of the language, bodies and all.
pub fn language_schema() -> serde_json::Value {
    spec::json_schema(&Bodies { sources: SOURCES, sinks: SINKS, format: Some(<Format as FromNode>::schema) })
}
