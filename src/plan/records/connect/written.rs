//! Rows as records of a topic, as a source connector of Connect writes them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch};

use super::cells::Cells;
use super::fast::{Bytes, Fast};
use super::{Ahead, ConnectSettings, Machinery, Trouble, stage};
use crate::connectors::kafka::TopicName;
use crate::data::{Batch, DeadLetter, EncodedRecord, EncodedRows, dead_letter, meta};
use crate::expr::{At, Scalar};
use crate::kafka_connect::converters::schemaless_json;
use crate::kafka_connect::json::Json;
use crate::kafka_connect::{Datum, Header, Record, Schema, Struct, Value};
use crate::plan::records::kafka::{Timestamp, Timestamps, each_header, refusal};
use crate::plan::records::{arrow_bug, written};
use crate::plan::{Mode, RecordEncoder, RecordEncoding};
use crate::report::Failure;

/// What a key or value is made of.
#[derive(Debug, Clone)]
pub enum Part {
    /// A null of this schema.
    Null(Option<Arc<Schema>>),
    /// The bytes of the record that the row came from, by the converter that writes them again.
    Original,
    /// A struct of these columns.
    Struct { columns: Vec<String>, schema: Arc<Schema> },
    /// One column as it is. Without a schema: the JSON value whose text it holds.
    Whole { column: String, schema: Option<Arc<Schema>> },
}

/// Where a header's value comes from.
#[derive(Debug, Clone)]
pub enum HeaderPart {
    /// An expression alone: a value of its type.
    Typed(Scalar, Arc<Schema>),
    /// Texts and expressions, put together as a text.
    Text(Vec<crate::plan::records::template::TemplatePart>),
}

/// A header's name and value.
#[derive(Debug, Clone)]
pub struct HeaderSpec {
    pub name: String,
    pub value: HeaderPart,
}

/// Where the headers come from.
#[derive(Debug, Clone)]
pub enum Headers {
    Nothing,
    /// The record's own, read and written by the header converter.
    Original,
    Made(Vec<HeaderSpec>),
}

/// How a Kafka sink writes its rows with Connect's converters.
#[derive(Debug, Clone)]
pub struct ConnectRecords {
    pub settings: ConnectSettings,
    /// Before the transformations.
    pub topic: String,
    /// The transformations send each record to a topic of its own.
    pub by_record: bool,
    pub key: Part,
    pub value: Part,
    pub timestamp: Timestamp,
    pub headers: Headers,
    pub mode: Mode,
    pub record_bytes_max: usize,
}

impl RecordEncoding for ConnectRecords {
    fn open(&self) -> Result<Box<dyn RecordEncoder>, Failure> {
        Ok(Box::new(self.encoder()?))
    }

    fn is_shown_by_records(&self) -> bool {
        true
    }
}

impl ConnectRecords {
    pub(super) fn encoder(&self) -> Result<ConnectEncoder, Failure> {
        let (machinery, ahead, fast) = (self.settings.machinery()?, Ahead::default(), Fast::default());
        Ok(ConnectEncoder { spec: self.clone(), machinery, ahead, fast })
    }
}

pub(super) struct ConnectEncoder {
    spec: ConnectRecords,
    machinery: Machinery,
    ahead: Ahead,
    fast: Fast,
}

impl RecordEncoder for ConnectEncoder {
    fn prepare(&mut self, batch: &Batch) -> Result<(), Failure> {
        let mut dead = Vec::new();
        self.ahead = Ahead::default();
        let rows = self.records(batch, &mut dead)?;
        self.ahead = Ahead(Some((rows, dead)));
        Ok(())
    }

    fn encode(&mut self, batch: &Batch, dead: &mut Vec<DeadLetter>) -> Result<EncodedRows, Failure> {
        let before = dead.len();
        let rows = match self.ahead.take(dead) {
            Some(rows) => rows,
            None => self.records(batch, dead)?,
        };
        self.machinery.log.tell(&dead[before..]);
        Ok(rows)
    }
}

impl ConnectEncoder {
    #[cfg(test)]
    pub(super) fn chain(&self) -> &crate::kafka_connect::transforms::Chain {
        &self.machinery.chain
    }

    fn records(&mut self, batch: &Batch, dead: &mut Vec<DeadLetter>) -> Result<EncodedRows, Failure> {
        let written = written(batch, self.spec.mode)?;
        let batch = written.batch.as_ref();
        let rows = &batch.rows;
        let mut out = EncodedRows::default();
        let at_once = match written.deleted {
            None if !self.spec.by_record => self.bytes(rows, &mut out.arena)?,
            _ => None,
        };
        let timestamps = Timestamps::of(rows, &self.spec.timestamp)?;
        let headers = OpenHeaders::of(&self.spec.headers, rows)?;
        if let Some(bytes) = at_once {
            self.put_all(bytes, &headers, &timestamps, batch, &mut out, dead)?;
            return Ok(out);
        }
        let key = OpenPart::of(&self.spec.key, rows, meta::KEY_BYTES)?;
        let value = OpenPart::of(&self.spec.value, rows, meta::VALUE_BYTES)?;
        for row in 0..rows.num_rows() {
            let made = self.record(row, written.is_deleted(row), &key, &value, &headers, timestamps.at(row));
            let converted = made.and_then(|record| match self.machinery.transform(record)? {
                Some(record) => self.machinery.convert(&record, &mut out).map(|bytes| Some((record.topic, bytes))),
                None => Ok(None),
            });
            match converted {
                Ok(None) => {}
                Ok(Some((topic, record))) => match self.refusal(&topic, &record, &out) {
                    Some((code, reason)) => dead.push(dead_letter(batch, row, code, reason)),
                    None => {
                        out.records.push(record);
                        if self.spec.by_record {
                            out.destinations.push(&topic);
                        }
                    }
                },
                Err(trouble) => dead.push(trouble.settle(batch, row)?),
            }
        }
        Ok(out)
    }

    /// Why a record cannot be written to its topic.
    fn refusal(&self, topic: &str, record: &EncodedRecord, out: &EncodedRows) -> Option<(&'static str, String)> {
        if self.spec.by_record && !TopicName::is_legal(topic) {
            return Some(("connect.topic", format!("`transforms` send it to `{topic}`, which is no topic's name")));
        }
        refusal(record, out, self.spec.record_bytes_max)
    }

    /// Keys and values of all rows at once, if they can be made so.
    pub(super) fn bytes(&mut self, rows: &RecordBatch, arena: &mut Vec<u8>) -> Result<Option<Bytes>, Failure> {
        let parts = (&self.spec.key, &self.spec.value);
        self.fast.bytes(&self.machinery, &self.spec.topic, parts, rows, arena)
    }

    /// Records whose keys and values are there already.
    fn put_all(
        &self,
        bytes: Bytes,
        headers: &OpenHeaders,
        timestamps: &Timestamps,
        batch: &Batch,
        out: &mut EncodedRows,
        dead: &mut Vec<DeadLetter>,
    ) -> Result<(), Failure> {
        let header = &self.machinery.header;
        for (row, (key, value)) in bytes.keys.into_iter().zip(bytes.values).enumerate() {
            let read = |bytes: Option<&[u8]>| header.converter.decode(&self.spec.topic, bytes);
            let headers = headers.at(row, read).map_err(header.trouble(stage::HEADER));
            match headers.and_then(|headers| self.machinery.put_headers(&bytes.topic, &headers, out)) {
                Ok(headers) => {
                    let record = EncodedRecord { key, value, timestamp: timestamps.at(row), headers };
                    match refusal(&record, out, self.spec.record_bytes_max) {
                        Some((code, reason)) => dead.push(dead_letter(batch, row, code, reason)),
                        None => out.records.push(record),
                    }
                }
                Err(trouble) => dead.push(trouble.settle(batch, row)?),
            }
        }
        Ok(())
    }

    fn record(
        &self,
        row: usize,
        is_deleted: bool,
        key: &OpenPart,
        value: &OpenPart,
        headers: &OpenHeaders,
        timestamp: Option<i64>,
    ) -> Result<Record, Box<Trouble>> {
        let Machinery { key: keys, value: values, header, .. } = &self.machinery;
        let topic = &self.spec.topic;
        let read_key = |bytes: Option<&[u8]>| keys.converter.decode(topic, bytes);
        let read_value = |bytes: Option<&[u8]>| values.converter.decode(topic, bytes);
        let read_header = |bytes: Option<&[u8]>| header.converter.decode(topic, bytes);
        Ok(Record {
            topic: topic.clone(),
            partition: None,
            offset: None,
            timestamp,
            key: key.datum(row, read_key).map_err(keys.trouble(stage::KEY))?,
            value: match is_deleted {
                true => Datum::NULL,
                false => value.datum(row, read_value).map_err(values.trouble(stage::VALUE))?,
            },
            headers: headers.at(row, read_header).map_err(header.trouble(stage::HEADER))?,
        })
    }
}

type ReadResult = Result<Datum, crate::kafka_connect::ConnectError>;

/// A part over the columns of one batch.
enum OpenPart {
    Null(Option<Arc<Schema>>),
    Original(BinaryArray),
    Struct(Arc<Schema>, Vec<Cells>),
    Whole(Arc<Schema>, Cells),
    Json(ArrayRef),
}

impl OpenPart {
    fn of(part: &Part, rows: &RecordBatch, original: &str) -> Result<OpenPart, Failure> {
        let column = |name: &str| rows.schema_ref().index_of(name).map(|at| rows.column(at)).map_err(arrow_bug);
        Ok(match part {
            Part::Null(schema) => OpenPart::Null(schema.clone()),
            Part::Original => OpenPart::Original(column(original)?.as_binary::<i32>().clone()),
            Part::Struct { columns, schema } => {
                let cells =
                    columns.iter().zip(schema.fields()).map(|(name, field)| Cells::of(column(name)?, &field.schema));
                OpenPart::Struct(schema.clone(), cells.collect::<Result<_, _>>()?)
            }
            Part::Whole { column: name, schema: Some(schema) } => {
                OpenPart::Whole(schema.clone(), Cells::of(column(name)?, schema)?)
            }
            Part::Whole { column: name, schema: None } => OpenPart::Json(column(name)?.clone()),
        })
    }

    fn datum(&self, row: usize, read: impl Fn(Option<&[u8]>) -> ReadResult) -> ReadResult {
        Ok(match self {
            OpenPart::Null(schema) => Datum { schema: schema.clone(), value: Value::Null },
            OpenPart::Original(bytes) => return read(bytes.is_valid(row).then(|| bytes.value(row))),
            OpenPart::Struct(schema, cells) => {
                let values = cells.iter().map(|cells| cells.value(row)).collect();
                let value = Value::Struct(Struct { schema: schema.clone(), values });
                Datum { schema: Some(schema.clone()), value }
            }
            OpenPart::Whole(schema, cells) => Datum { schema: Some(schema.clone()), value: cells.value(row) },
            OpenPart::Json(texts) if texts.is_null(row) => Datum::NULL,
            OpenPart::Json(texts) => {
                let json = Json::parse(texts.as_string::<i32>().value(row).as_bytes());
                let json = json.map_err(crate::kafka_connect::ConnectError::new)?;
                Datum::schemaless(schemaless_json(&json.unwrap_or(Json::Null))?)
            }
        })
    }
}

/// Headers over the columns of one batch.
enum OpenHeaders<'a> {
    Nothing,
    Original(&'a arrow::array::ListArray),
    Made(Vec<(&'a str, OpenHeader)>),
}

enum OpenHeader {
    Typed(Arc<Schema>, Cells),
    Text(Arc<Schema>, crate::plan::records::template::Texts),
}

impl<'a> OpenHeaders<'a> {
    fn of(headers: &'a Headers, rows: &'a RecordBatch) -> Result<OpenHeaders<'a>, Failure> {
        Ok(match headers {
            Headers::Nothing => OpenHeaders::Nothing,
            Headers::Original => match rows.column_by_name(meta::HEADERS_LIST) {
                Some(column) => OpenHeaders::Original(column.as_list::<i32>()),
                None => OpenHeaders::Nothing,
            },
            Headers::Made(specs) => {
                let open = |spec: &'a HeaderSpec| Ok((spec.name.as_str(), OpenHeader::of(&spec.value, rows)?));
                OpenHeaders::Made(specs.iter().map(open).collect::<Result<_, Failure>>()?)
            }
        })
    }

    fn at(
        &self,
        row: usize,
        read: impl Fn(Option<&[u8]>) -> ReadResult,
    ) -> Result<Vec<Header>, crate::kafka_connect::ConnectError> {
        match self {
            OpenHeaders::Nothing => Ok(Vec::new()),
            OpenHeaders::Original(list) => {
                let mut all = Vec::new();
                each_header(list, row, |name, value| all.push((name.to_owned(), read(value))));
                all.into_iter().map(|(name, datum)| Ok(Header { name, datum: datum? })).collect()
            }
            OpenHeaders::Made(headers) => Ok(headers
                .iter()
                .map(|(name, header)| Header { name: (*name).to_owned(), datum: header.at(row) })
                .collect()),
        }
    }
}

impl OpenHeader {
    fn of(part: &HeaderPart, rows: &RecordBatch) -> Result<OpenHeader, Failure> {
        Ok(match part {
            HeaderPart::Typed(scalar, schema) => {
                // The plan refuses now() in headers, so the clock is never asked for.
                let (values, _failed) = scalar.evaluate(rows, At { clock: 0 })?;
                OpenHeader::Typed(schema.clone(), Cells::of(&values, schema)?)
            }
            HeaderPart::Text(parts) => {
                let schema = Schema::optional(crate::kafka_connect::Kind::String);
                OpenHeader::Text(Arc::new(schema), crate::plan::records::template::Texts::of(parts, rows)?)
            }
        })
    }

    fn at(&self, row: usize) -> Datum {
        match self {
            OpenHeader::Typed(schema, cells) => Datum { schema: Some(schema.clone()), value: cells.value(row) },
            OpenHeader::Text(schema, texts) => {
                let value = texts.text(row).map_or(Value::Null, Value::String);
                Datum { schema: Some(schema.clone()), value }
            }
        }
    }
}
