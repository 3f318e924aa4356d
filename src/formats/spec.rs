//! Codecs that can be compared and printed; `open` makes them work.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::avro::{self, AvroDecoder, AvroEncoder, WriterSchemas};
use super::csv::{CsvDecoder, CsvEncoder};
use super::json::{JsonDecoder, JsonEncoder};
use super::plain::{PlainDecoder, PlainEncoder};
use super::{Decoder, Encoder, Format, fields};
use crate::data::meta;
use crate::report::Failure;

/// The lone column of formats that have no others.
const VALUE: &str = "value";

/// What a decoder needs to know.
#[derive(Debug, Clone)]
pub struct DecoderSpec {
    pub format: Format,
    /// The columns wanted, in order: all that the format gives, or only those in use.
    pub schema: SchemaRef,
    /// Present for Avro.
    pub avro: Option<AvroReader>,
}

/// What reading Avro needs beyond the columns.
#[derive(Debug, Clone)]
pub struct AvroReader {
    /// What values are resolved to, whatever they were written with; may have more fields than are wanted.
    pub reader_schema: String,
    /// Shared by all lanes of a pipeline.
    pub writers: Arc<WriterSchemas>,
}

impl DecoderSpec {
    /// # Errors
    /// [`Failure`] (user) if the format cannot give these columns.
    pub fn open(&self) -> Result<Box<dyn Decoder>, Failure> {
        let schema = self.schema.clone();
        Ok(match (&self.format, &self.avro) {
            (Format::Avro, Some(avro)) => {
                Box::new(AvroDecoder::new(&avro.reader_schema, schema, avro.writers.clone())?)
            }
            (Format::Avro, None) => return Err(no_schema()),
            (Format::Json, _) => Box::new(JsonDecoder::new(schema)?),
            (Format::String, _) => Box::new(PlainDecoder::new(lone(schema, "string", &DataType::Utf8)?, true)),
            (Format::Bytes, _) => Box::new(PlainDecoder::new(lone(schema, "bytes", &DataType::Binary)?, false)),
            (Format::Csv(options), _) => Box::new(CsvDecoder::new(schema, options)?),
        })
    }
}

/// What an encoder needs to know.
#[derive(Debug, Clone)]
pub struct EncoderSpec {
    pub format: Format,
    /// The columns to write, in order; rows may have others.
    pub schema: SchemaRef,
    /// Present for Avro.
    pub avro: Option<AvroWriter>,
}

/// What writing Avro needs beyond the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvroWriter {
    /// The very text that is registered.
    pub schema: String,
    /// Its id in the registry.
    pub id: i32,
}

impl EncoderSpec {
    /// # Errors
    /// [`Failure`] (user) if the format cannot hold these columns.
    pub fn open(&self) -> Result<Box<dyn Encoder>, Failure> {
        let schema = self.schema.clone();
        Ok(match (&self.format, &self.avro) {
            (Format::Avro, Some(avro)) => Box::new(AvroEncoder::new(&avro.schema, avro.id, schema)?),
            (Format::Avro, None) => return Err(no_schema()),
            (Format::Json, _) => Box::new(JsonEncoder::new(schema)?),
            (Format::String, _) => Box::new(PlainEncoder::new(&schema, true)?),
            (Format::Bytes, _) => Box::new(PlainEncoder::new(&schema, false)?),
            (Format::Csv(options), _) => Box::new(CsvEncoder::new(schema, options)?),
        })
    }
}

fn no_schema() -> Failure {
    Failure::bug("avro.schema", "an Avro codec was planned without a schema")
}

fn lone(schema: SchemaRef, word: &str, data_type: &DataType) -> Result<SchemaRef, Failure> {
    match schema.fields().as_ref() {
        [field] if field.data_type() == data_type => Ok(schema),
        _ => {
            let message = format!("format `{word}` gives exactly one column, `{VALUE}` of type {word}");
            Err(Failure::user("format.columns", message).hint("leave `columns` away, or choose `json`"))
        }
    }
}

/// The columns that a format's values have: those declared, or those of the Avro schema, or one column `value`.
///
/// # Errors
/// [`Failure`] (user): `avro.schema`, or `format.columns` where columns must be declared (CSV) or
/// cannot be (Avro, string, bytes).
pub fn value_columns(format: &Format, declared: Option<SchemaRef>, avro: Option<&str>) -> Result<SchemaRef, Failure> {
    let one = |field: Field| Ok(Arc::new(Schema::new(vec![field])));
    match (format, declared) {
        (Format::Avro, None) => avro.map_or_else(|| Err(no_schema()), |text| avro::arrow_schema(text).map(Arc::new)),
        (Format::Avro, Some(_)) => {
            Err(Failure::user("format.columns", "the columns of `avro` are those of its schema")
                .hint("leave `columns` away"))
        }
        (Format::Json, None) => one(fields::json_column(VALUE, false)),
        (Format::String, None) => one(Field::new(VALUE, DataType::Utf8, false)),
        (Format::Bytes, None) => one(Field::new(VALUE, DataType::Binary, false)),
        (Format::Csv(_), None) => Err(Failure::user("format.columns", "`csv` needs `columns`")
            .hint("for example `columns: {id: long, name: string?}`")),
        (Format::String, Some(schema)) => lone(schema, "string", &DataType::Utf8),
        (Format::Bytes, Some(schema)) => lone(schema, "bytes", &DataType::Binary),
        (Format::Json | Format::Csv(_), Some(schema)) => Ok(schema),
    }
}

/// The column `_key` that a key format gives: string → Utf8, bytes → Binary, json → its text, avro →
/// the type of the schema (a record is a struct). A [`DecoderSpec`] of just this column decodes keys.
///
/// # Errors
/// [`Failure`] (user): `avro.schema`, or `format.key` for CSV.
pub fn key_column(format: &Format, avro: Option<&str>) -> Result<Field, Failure> {
    Ok(match format {
        Format::String => Field::new(meta::KEY, DataType::Utf8, true),
        Format::Bytes => Field::new(meta::KEY, DataType::Binary, true),
        Format::Json => fields::json_column(meta::KEY, true),
        Format::Csv(_) => {
            return Err(Failure::user("format.key", "keys cannot be `csv`").hint("one of avro, json, string, bytes"));
        }
        Format::Avro => {
            let text = avro.ok_or_else(no_schema)?;
            let schema = avro::arrow_schema(text)?;
            if avro::is_record(text)? {
                Field::new(meta::KEY, DataType::Struct(schema.fields), true)
            } else {
                let field = schema.field(0);
                field.clone().with_name(meta::KEY).with_nullable(true)
            }
        }
    })
}
