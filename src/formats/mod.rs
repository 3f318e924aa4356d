//! Bytes ↔ rows. One file (or folder) per format; keys and values use the same codecs.
//!
//! Canonical Arrow types are those that arrow-avro gives an Avro schema: string Utf8, bytes Binary,
//! enum Dictionary(Int32, Utf8) with its symbols in field metadata, fixed FixedSizeBinary, decimal
//! Decimal128/256, date Date32, timestamp-millis/-micros Timestamp(…, UTC), uuid
//! FixedSizeBinary(16) with the uuid extension, array List, map Map, record Struct, `["null", T]` a nullable
//! field. Names, namespaces, docs and defaults stand in field metadata under arrow-avro's keys.

use std::ops::Range;

use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::SchemaRef;

use crate::report::Failure;

/// What a decoder made of n values: n − rejects rows, in the same order.
#[derive(Debug)]
pub struct Decoded {
    pub rows: RecordBatch,
    /// Ascending indexes of the values that gave no row.
    pub rejects: Vec<Reject>,
}

/// A value that could not be decoded, or a row that could not be encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Reject {
    pub index: usize,
    /// Stable, `format.what`: `avro.truncated`, `avro.unknown_schema`, `json.missing`, `value.null`.
    pub code: &'static str,
    pub reason: String,
}

/// Turns values into rows. Lives in one lane; calls may block for the registry.
pub trait Decoder: Send {
    /// The columns of every [`Decoded::rows`].
    fn schema(&self) -> SchemaRef;

    /// Decodes one poll's worth of values. A null value is rejected with `value.null`.
    ///
    /// One bad value never touches its neighbours.
    ///
    /// # Errors
    /// [`Failure`] (outside, retry) if the registry is away; then nothing was consumed.
    fn decode(&mut self, values: &BinaryArray) -> Result<Decoded, Failure>;
}

/// Turns rows into values. Lives in one lane.
pub trait Encoder: Send {
    /// Appends one value per row to `arena` and gives their places, one per row. A rejected row's
    /// place is empty.
    fn encode(&mut self, rows: &RecordBatch, arena: &mut Vec<u8>) -> Result<(Vec<Range<u32>>, Vec<Reject>), Failure>;
}
