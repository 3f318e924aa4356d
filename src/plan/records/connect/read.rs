//! Records of topics as lines of text, as the file connector for sinks writes them.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};

use super::{Ahead, ConnectSettings, Machinery, Trouble, stage};
use crate::data::{Batch, DeadLetter, EncodedRecord, EncodedRows, meta};
use crate::kafka_connect::{Datum, Header, Record};
use crate::plan::records::kafka::each_header;
use crate::plan::{RecordEncoder, RecordEncoding};
use crate::report::Failure;

/// How a file or console writes the records of topics: each value's text on one line, as Java prints it.
#[derive(Debug, Clone)]
pub struct ConnectLines {
    pub settings: ConnectSettings,
}

/// What it needs of a row: the record that the row came from.
pub const NEEDS: &[&str] = &[
    meta::TOPIC,
    meta::PARTITION,
    meta::OFFSET,
    meta::TIMESTAMP,
    meta::KEY_BYTES,
    meta::VALUE_BYTES,
    meta::HEADERS_LIST,
];

impl RecordEncoding for ConnectLines {
    fn open(&self) -> Result<Box<dyn RecordEncoder>, Failure> {
        Ok(Box::new(LineEncoder { machinery: self.settings.machinery()?, ahead: Ahead::default() }))
    }

    fn is_shown_by_records(&self) -> bool {
        true
    }
}

struct LineEncoder {
    machinery: Machinery,
    ahead: Ahead,
}

impl RecordEncoder for LineEncoder {
    fn prepare(&mut self, batch: &Batch) -> Result<(), Failure> {
        let mut dead = Vec::new();
        self.ahead = Ahead::default();
        let rows = self.lines(batch, &mut dead)?;
        self.ahead = Ahead(Some((rows, dead)));
        Ok(())
    }

    fn encode(&mut self, batch: &Batch, dead: &mut Vec<DeadLetter>) -> Result<EncodedRows, Failure> {
        let before = dead.len();
        let rows = match self.ahead.take(dead) {
            Some(rows) => rows,
            None => self.lines(batch, dead)?,
        };
        self.machinery.log.tell(&dead[before..]);
        Ok(rows)
    }
}

impl LineEncoder {
    fn lines(&self, batch: &Batch, dead: &mut Vec<DeadLetter>) -> Result<EncodedRows, Failure> {
        let records = Records { rows: &batch.rows };
        let mut out = EncodedRows::default();
        for row in 0..batch.rows.num_rows() {
            let record = self.read(&records, row).and_then(|record| self.machinery.transform(record));
            match record {
                Ok(None) => {}
                Ok(Some(record)) => {
                    let line = out.put(record.value.value.java_text().as_bytes());
                    out.records.push(EncodedRecord { key: None, value: Some(line), timestamp: None, headers: 0..0 });
                }
                Err(trouble) => dead.push(trouble.settle(batch, row)?),
            }
        }
        Ok(out)
    }

    /// The record of a row, converted in the order in which Connect does it.
    fn read(&self, records: &Records<'_>, row: usize) -> Result<Record, Box<Trouble>> {
        let Machinery { key, value, header, .. } = &self.machinery;
        let topic = records.topic(row);
        let key_read = key.converter.decode(&topic, records.bytes(meta::KEY_BYTES, row));
        let key_read = key_read.map_err(key.trouble(stage::KEY))?;
        let value_read = value.converter.decode(&topic, records.bytes(meta::VALUE_BYTES, row));
        let value_read = value_read.map_err(value.trouble(stage::VALUE))?;
        let headers = records.headers(row).into_iter().map(|(name, bytes)| {
            let datum: Datum = header.converter.decode(&topic, bytes).map_err(header.trouble(stage::HEADER))?;
            Ok(Header { name: name.to_owned(), datum })
        });
        Ok(Record {
            partition: records.partition(row),
            offset: records.offset(row),
            timestamp: records.timestamp(row),
            headers: headers.collect::<Result<_, Box<Trouble>>>()?,
            key: key_read,
            value: value_read,
            topic,
        })
    }
}

/// The records that rows came from. What a source does not have (a file has no keys) is not there.
struct Records<'a> {
    rows: &'a RecordBatch,
}

impl<'a> Records<'a> {
    fn column(&self, name: &str, row: usize) -> Option<&'a ArrayRef> {
        self.rows.column_by_name(name).filter(|column| column.is_valid(row))
    }

    fn topic(&self, row: usize) -> String {
        self.column(meta::TOPIC, row).map_or_else(String::new, |all| all.as_string::<i32>().value(row).to_owned())
    }

    fn partition(&self, row: usize) -> Option<i32> {
        self.column(meta::PARTITION, row).map(|all| all.as_primitive::<Int32Type>().value(row))
    }

    fn offset(&self, row: usize) -> Option<i64> {
        self.column(meta::OFFSET, row).map(|all| all.as_primitive::<Int64Type>().value(row))
    }

    fn timestamp(&self, row: usize) -> Option<i64> {
        self.column(meta::TIMESTAMP, row).map(|all| all.as_primitive::<TimestampMillisecondType>().value(row))
    }

    fn bytes(&self, name: &str, row: usize) -> Option<&'a [u8]> {
        self.column(name, row).map(|all| all.as_binary::<i32>().value(row))
    }

    fn headers(&self, row: usize) -> Vec<(&'a str, Option<&'a [u8]>)> {
        let mut all = Vec::new();
        if let Some(column) = self.column(meta::HEADERS_LIST, row) {
            each_header(column.as_list::<i32>(), row, |name, value| all.push((name, value)));
        }
        all
    }
}
