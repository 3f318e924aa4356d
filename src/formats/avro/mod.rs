//! Avro: single records behind Confluent's five bytes (0x00 and the schema's id), and schemas.
//!
//! Reading goes through arrow-avro's row decoder, one per writer schema, each resolved to the
//! reader schema ([`decode`], [`writers`]), or, where a record is flat and read as it was written, in one pass over the
//! bytes ([`flat`]); a record that does not decode is found by walking its bytes
//! ([`check`]). Writing is our own, column by column, pinned to the very schema that is
//! registered ([`encode`]). [`schema`] translates between Arrow's schemas and Avro's.
//!
//! A top-level type that is not a record (a key that is a plain string) is a record of one column, `value`.

mod check;
mod compat;
mod decode;
mod encode;
mod flat;
mod model;
mod schema;
#[cfg(test)]
mod tests;
mod writers;

pub use compat::{overlooked_changes, reading_also};
pub use decode::framed_id;
pub use schema::{arrow_schema, avro_name, avro_schema, reader_schema, top_level};
pub use writers::WriterSchemas;

pub(super) use decode::AvroDecoder;
pub(super) use encode::AvroEncoder;
pub(super) use schema::is_record;

/// The column of a top-level type that is not a record.
pub(super) const LONE_COLUMN: &str = "value";

/// First byte of a framed value.
const MAGIC: u8 = 0;
/// Magic byte and schema id.
const PREFIX_BYTES: usize = 5;
