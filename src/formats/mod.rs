//! Bytes ↔ rows. One file (or folder) per format; keys and values use the same codecs.
//!
//! Canonical Arrow types are those that arrow-avro gives an Avro schema: string Utf8, bytes Binary,
//! enum Dictionary(Int32, Utf8) with its symbols in field metadata, fixed FixedSizeBinary, decimal
//! Decimal128/256, date Date32, timestamp-millis/-micros Timestamp(…, UTC), uuid
//! FixedSizeBinary(16) with the uuid extension, array List, map Map, record Struct, `["null", T]` a nullable
//! field. Names, namespaces, docs and defaults stand in field metadata under arrow-avro's keys; what else
//! the codecs read there is in [`fields`].
//!
//! [`Format`] is what the user chose, [`DecoderSpec`] and [`EncoderSpec`] are codecs that can be
//! compared and printed; `open` makes them work. One bad value never touches its neighbours.

mod avro;
mod columns;
#[cfg(test)]
mod company;
mod csv;
mod format;
mod json;
mod plain;
mod retype;
#[cfg(test)]
mod samples;
mod spec;
mod text;

use std::ops::Range;

use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};

pub use avro::{
    WriterSchemas, arrow_schema, avro_name, avro_schema, framed_id, overlooked_changes, reader_schema, reading_also,
    top_level,
};
pub use csv::{header_line, header_names};
pub use format::{CsvOptions, Delimiter, FORMATS, Format};
pub use spec::{AvroReader, AvroWriter, DecoderSpec, EncoderSpec, key_column, value_columns};

pub use crate::data::fields;
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

/// Why one row or value is not written or read.
#[derive(Debug, Clone, PartialEq)]
struct Refusal {
    code: &'static str,
    reason: String,
}

/// A refusal; boxed, because it is rare and the way past it is hot.
#[cold]
fn refuse(code: &'static str, reason: impl FnOnce() -> String) -> Box<Refusal> {
    Box::new(Refusal { code, reason: reason() })
}

/// Runs `write` for every row; what a refused row has written is cut off again.
fn write_rows(
    rows: usize,
    arena: &mut Vec<u8>,
    mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<(), Box<Refusal>>,
) -> Result<(Vec<Range<u32>>, Vec<Reject>), Failure> {
    /// Rows whose lengths say how much room all of them need: memory that grows is copied again and again.
    const LOOKED_AT: usize = 32;
    let mut places = Vec::with_capacity(rows);
    let mut rejects = Vec::new();
    let begin = arena.len();
    for index in 0..rows {
        if index == LOOKED_AT {
            let per_row = (arena.len() - begin) / LOOKED_AT + 1;
            arena.reserve((rows - index) * per_row);
        }
        let start = arena.len();
        if let Err(refusal) = write(index, arena) {
            arena.truncate(start);
            rejects.push(Reject { index, code: refusal.code, reason: refusal.reason });
        }
        places.push(start as u32..arena.len() as u32);
    }
    if u32::try_from(arena.len()).is_err() {
        return Err(Failure::bug("format.arena", "an epoch has more than 4 GiB of encoded rows"));
    }
    Ok((places, rejects))
}

/// True for the lone column `_key`, which holds a whole key.
fn is_key(schema: &Schema) -> bool {
    matches!(schema.fields().as_ref(), [field] if field.name() == crate::data::meta::KEY)
}
