//! Where a reader stands, opaque to the engine (I20).

use serde::{Deserialize, Serialize};

/// A reader's position in one partition: the *next* thing it would read.
///
/// Kafka: a number, the offset. A generator: record index, seed, counters. A file: path, size,
/// mtime, byte, row. The engine compares it, keeps it in the journal and hands it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub serde_json::Value);

impl Position {
    pub fn offset(offset: i64) -> Self {
        Position(offset.into())
    }

    /// No position of any reader: where the source's `start` says.
    pub fn start() -> Self {
        Position(serde_json::Value::Null)
    }

    pub fn is_start(&self) -> bool {
        self.0.is_null()
    }

    /// The number, where the position is one.
    pub fn as_offset(&self) -> Option<i64> {
        self.0.as_i64()
    }
}
