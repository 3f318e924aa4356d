//! For the tests of this room: a registry in memory, and a batch with a column of every type.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};

use super::{AvroReader, Decoded, Decoder, DecoderSpec, Encoder, Format, WriterSchemas, fields};
use crate::registry::{Registered, Registry, Verdict};
use crate::report::Failure;

/// Knows schemas by id; may be away; may learn an id only after some questions.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) schemas: Mutex<BTreeMap<i32, String>>,
    pub(super) away: AtomicBool,
    pub(super) asked: AtomicUsize,
    /// Questions that are answered with 404, whatever is known.
    pub(super) deaf: AtomicUsize,
}

impl Memory {
    pub(super) fn with(schemas: &[(i32, &str)]) -> Arc<Memory> {
        let memory = Memory::default();
        *memory.schemas.lock().unwrap() = schemas.iter().map(|(id, text)| (*id, (*text).to_owned())).collect();
        Arc::new(memory)
    }
}

impl Registry for Memory {
    fn latest(&self, _: &str) -> Result<Option<Registered>, Failure> {
        Ok(None)
    }
    fn version(&self, _: &str, _: i32) -> Result<Option<Registered>, Failure> {
        Ok(None)
    }
    fn by_id(&self, id: i32) -> Result<Option<Arc<str>>, Failure> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) {
            return Err(Failure::outside("registry.away", "nobody answers"));
        }
        if asked < self.deaf.load(Ordering::SeqCst) {
            return Ok(None);
        }
        Ok(self.schemas.lock().unwrap().get(&id).map(|text| Arc::from(text.as_str())))
    }
    fn lookup_as(&self, _: &str, _: &str, _: bool) -> Result<Option<Registered>, Failure> {
        Ok(None)
    }
    fn register_as(&self, _: &str, _: &str, _: bool) -> Result<i32, Failure> {
        Ok(1)
    }
    fn compatible(&self, _: &str, _: &str) -> Result<Verdict, Failure> {
        Ok(Verdict { compatible: true, messages: Vec::new() })
    }
    fn describe(&self) -> String {
        "memory".into()
    }
}

pub(super) fn writers(registry: Arc<Memory>) -> Arc<WriterSchemas> {
    Arc::new(WriterSchemas::with_patience(registry, Duration::ZERO))
}

pub(super) fn avro_decoder(registry: Arc<Memory>, reader: &str, columns: Option<&[&str]>) -> Box<dyn Decoder> {
    let mut schema = super::arrow_schema(reader).unwrap();
    if let Some(columns) = columns {
        let indexes: Vec<_> = columns.iter().map(|name| schema.index_of(name).unwrap()).collect();
        schema = schema.project(&indexes).unwrap();
    }
    let avro = Some(AvroReader { reader_schema: reader.to_owned(), writers: writers(registry) });
    DecoderSpec { format: Format::Avro, schema: Arc::new(schema), avro }.open().unwrap()
}

pub(super) fn decoded(decoder: &mut dyn Decoder, values: &[&[u8]]) -> Decoded {
    decoder.decode(&BinaryArray::from(values.to_vec())).unwrap()
}

pub(super) fn codes(decoded: &Decoded) -> Vec<(usize, &'static str)> {
    decoded.rejects.iter().map(|reject| (reject.index, reject.code)).collect()
}

/// Every row as a value of its own; none may be refused.
pub(super) fn encoded(encoder: &mut dyn Encoder, rows: &RecordBatch) -> Vec<Vec<u8>> {
    let mut arena = b"earlier".to_vec();
    let (places, rejects) = encoder.encode(rows, &mut arena).unwrap();
    assert_eq!(rejects, []);
    places.iter().map(|place| arena[place.start as usize..place.end as usize].to_vec()).collect()
}

/// Rows from JSON objects, by our own decoder.
pub(super) fn rows(schema: Schema, objects: &[&str]) -> RecordBatch {
    let mut decoder = DecoderSpec { format: Format::Json, schema: Arc::new(schema), avro: None }.open().unwrap();
    let values: Vec<_> = objects.iter().map(|object| object.as_bytes()).collect();
    let decoded = decoded(decoder.as_mut(), &values);
    assert_eq!(decoded.rejects, []);
    decoded.rows
}

fn with(field: Field, metadata: &[(&str, &str)]) -> Field {
    let metadata: HashMap<_, _> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    field.with_metadata(metadata)
}

fn list(item: Field) -> DataType {
    DataType::List(Arc::new(item.with_name("item")))
}

fn map(value: Field) -> DataType {
    let entry: Fields = vec![Field::new("key", DataType::Utf8, false), value.with_name("value")].into();
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

/// A column of every type, by its word.
pub(super) fn every_type() -> Schema {
    let utc = || Some(Arc::from("UTC"));
    let word = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let symbols = &[("avro.enum.symbols", r#"["S","L"]"#)];
    let nested: Fields = vec![
        Field::new("city", DataType::Utf8, true),
        Field::new("at", list(Field::new("", DataType::Float64, false)), false),
    ]
    .into();
    Schema::new(vec![
        Field::new("boolean", DataType::Boolean, false),
        Field::new("int", DataType::Int32, false),
        Field::new("long", DataType::Int64, true),
        Field::new("float", DataType::Float32, false),
        Field::new("double", DataType::Float64, true),
        Field::new("decimal", DataType::Decimal128(20, 3), true),
        with(
            Field::new("fixed_decimal", DataType::Decimal128(9, 2), false),
            &[("avro.name", "D"), ("avro.fixed.size", "6")],
        ),
        Field::new("wide", DataType::Decimal256(50, 5), false),
        Field::new("string", DataType::Utf8, true),
        Field::new("bytes", DataType::Binary, false),
        Field::new("date", DataType::Date32, true),
        Field::new("time", DataType::Time32(TimeUnit::Millisecond), false),
        Field::new("time_us", DataType::Time64(TimeUnit::Microsecond), false),
        Field::new("timestamp", DataType::Timestamp(TimeUnit::Millisecond, utc()), true),
        Field::new("timestamp_us", DataType::Timestamp(TimeUnit::Microsecond, utc()), false),
        Field::new("local", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("local_us", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        with(
            Field::new("uuid", DataType::FixedSizeBinary(16), true),
            &[(fields::EXTENSION_NAME, fields::UUID_EXTENSION)],
        ),
        Field::new("fixed", DataType::FixedSizeBinary(3), true),
        with(Field::new("enum", word.clone(), true), symbols),
        Field::new("list", list(Field::new("", DataType::Int32, true)), true),
        Field::new("enums", list(with(Field::new("", word, false), symbols)), false),
        Field::new("map", map(Field::new("", DataType::Int64, true)), true),
        Field::new("struct", DataType::Struct(nested.clone()), true),
        Field::new("structs", list(Field::new("", DataType::Struct(nested), true)), false),
    ])
}

/// Two rows of [`every_type`]: all there, and as much null and as extreme as can be.
pub(super) fn every_value() -> [&'static str; 2] {
    [
        r#"{"boolean":true,"int":-1,"long":9223372036854775807,"float":0.1,"double":0.1,"decimal":-12345678901234567.891,"fixed_decimal":-12.34,"wide":123456789012345678901234567890123456789012345.67891,"string":"h\"é😀\n","bytes":"AP8=","date":"2024-02-29","time":"13:05:00.001","time_us":"23:59:59.999999","timestamp":"2024-02-29T13:05:00.123Z","timestamp_us":"1969-12-31T23:59:59.999999Z","local":"2024-02-29T13:05:00","local_us":"2024-02-29T13:05:00.000001","uuid":"123e4567-e89b-12d3-a456-426614174000","fixed":"AQID","enum":"L","list":[1,null,-3],"enums":["L","S","L"],"map":{"a":1,"b":null},"struct":{"city":"Rome","at":[1.5,2.0]},"structs":[null,{"city":null,"at":[]},{"city":"x","at":[0.5]}]}"#,
        r#"{"boolean":false,"int":2147483647,"long":null,"float":-1e30,"double":null,"decimal":null,"fixed_decimal":0.00,"wide":-0.00001,"string":null,"bytes":"","date":null,"time":"00:00:00","time_us":"00:00:00","timestamp":null,"timestamp_us":"9999-12-31T00:00:00Z","local":"0001-01-01T00:00:00","local_us":"1970-01-01T00:00:00","uuid":null,"fixed":null,"enum":null,"list":null,"enums":[],"map":null,"struct":null,"structs":[]}"#,
    ]
}

pub(super) fn batch(schema: Schema, columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &options).unwrap()
}
