//! Kafka records: key, value, timestamp and headers of each row.
//!
//! The event time becomes the timestamp (a window's: its end − 1 ms). Keys and headers are the
//! record's own as long as a row comes from one record, then the group's or the columns named.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, ListArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::TimestampMillisecondType;

use super::passed_on::{PassedOn, Passing};
use super::template::{HeaderTemplate, HeaderTexts};
use super::{copy_bytes, millis, project, written};
use crate::data::{Batch, DeadLetter, EncodedRecord, EncodedRows, dead_letter, meta};
use crate::formats::{Encoder, Reject};
use crate::plan::{Mode, OpenEncoder, RecordEncoder, RecordEncoding};
use crate::report::Failure;
use crate::time::Millis;

/// Where a record's key or value comes from.
#[derive(Debug, Clone)]
pub enum Part {
    /// Nothing is written.
    Nothing,
    /// The bytes of this column as they came.
    Original(&'static str),
    /// These columns, encoded.
    Columns { columns: Vec<String>, encoder: Arc<dyn OpenEncoder> },
    /// The value's bytes as they came, where the sink's subject knows their schema; else encoded again.
    PassedOn(PassedOn),
}

/// Where a record's timestamp comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timestamp {
    /// The time of writing.
    Now,
    /// The row's event time.
    EventTime,
    /// This column, the end of the row's window, − 1 ms, so that it lies inside.
    WindowEnd(String),
}

/// Where a record's headers come from.
#[derive(Debug, Clone)]
pub enum Headers {
    Nothing,
    /// The record's own, in order and with duplicates.
    Original,
    Templates(Vec<HeaderTemplate>),
}

/// How a Kafka sink writes its rows.
#[derive(Debug, Clone)]
pub struct KafkaRecords {
    pub key: Part,
    pub value: Part,
    pub timestamp: Timestamp,
    pub headers: Headers,
    pub mode: Mode,
    /// Largest key, value and headers together that the topic takes.
    pub record_bytes_max: usize,
}

impl RecordEncoding for KafkaRecords {
    fn open(&self) -> Result<Box<dyn RecordEncoder>, Failure> {
        Ok(Box::new(KafkaEncoder {
            key: OpenPart::open(&self.key)?,
            value: OpenPart::open(&self.value)?,
            row_bytes: 0,
            spec: self.clone(),
        }))
    }
}

enum OpenPart {
    Nothing,
    Original(&'static str),
    Columns(Vec<String>, Box<dyn Encoder>),
    PassedOn(Box<Passing>),
}

impl OpenPart {
    fn open(part: &Part) -> Result<Self, Failure> {
        Ok(match part {
            Part::Nothing => OpenPart::Nothing,
            Part::Original(column) => OpenPart::Original(column),
            Part::Columns { columns, encoder } => OpenPart::Columns(columns.clone(), encoder.open()?),
            Part::PassedOn(passed) => OpenPart::PassedOn(Box::new(passed.open()?)),
        })
    }

    /// One place per row (`None`: null), and the rows that cannot be encoded.
    fn encode(&mut self, rows: &RecordBatch, arena: &mut Vec<u8>) -> Result<Places, Failure> {
        match self {
            OpenPart::Nothing => Ok((vec![None; rows.num_rows()], Vec::new())),
            OpenPart::Original(column) => Ok((copy_bytes(rows, column, arena)?, Vec::new())),
            OpenPart::Columns(columns, encoder) => {
                let (places, rejects) = encoder.encode(&project(rows, columns)?, arena)?;
                Ok((places.into_iter().map(Some).collect(), rejects))
            }
            OpenPart::PassedOn(passing) => passing.encode(rows, arena),
        }
    }
}

/// One place per row (`None`: null), and the rows that cannot be encoded.
pub(super) type Places = (Vec<Option<Range<u32>>>, Vec<Reject>);

struct KafkaEncoder {
    key: OpenPart,
    value: OpenPart,
    /// Mean size of the last batch's rows.
    row_bytes: usize,
    spec: KafkaRecords,
}

/// No more than this is reserved on a guess.
const RESERVED_BYTES_MAX: usize = 1 << 20;

impl RecordEncoder for KafkaEncoder {
    fn encode(&mut self, batch: &Batch, dead: &mut Vec<DeadLetter>) -> Result<EncodedRows, Failure> {
        let written = written(batch, self.spec.mode)?;
        let batch = written.batch.as_ref();
        let rows = &batch.rows;
        let mut out = EncodedRows::default();
        // Growing step by step would copy every byte twice.
        let row_bytes = self.row_bytes + self.row_bytes / 8;
        out.arena.reserve((rows.num_rows() * row_bytes).min(RESERVED_BYTES_MAX));
        out.records.reserve(rows.num_rows());
        let (mut keys, mut key_rejects) = self.key.encode(rows, &mut out.arena)?;
        self.settle_null_keys(&mut keys, &mut key_rejects);
        let (values, value_rejects) = self.value.encode(rows, &mut out.arena)?;
        let timestamps = Timestamps::of(rows, &self.spec.timestamp)?;
        let headers = HeaderSource::of(&self.spec.headers, rows)?;

        let mut refused = Refused::new(key_rejects, value_rejects);
        for row in 0..rows.num_rows() {
            let deleted = written.is_deleted(row);
            if let Some((code, reason)) = refused.at(row, deleted) {
                dead.push(dead_letter(batch, row, code, reason));
                continue;
            }
            let record = EncodedRecord {
                key: keys[row].clone(),
                value: if deleted { None } else { values[row].clone() },
                timestamp: timestamps.at(row),
                headers: headers.put(row, &mut out),
            };
            match refusal(&record, &out, self.spec.record_bytes_max) {
                Some((code, reason)) => dead.push(dead_letter(batch, row, code, reason)),
                None => out.records.push(record),
            }
        }
        self.row_bytes = out.arena.len() / rows.num_rows().max(1);
        Ok(out)
    }
}

impl KafkaEncoder {
    /// A null in a key that is a lone text or lone bytes: the record has no key, but an upsert needs one.
    fn settle_null_keys(&self, keys: &mut [Option<Range<u32>>], rejects: &mut Vec<Reject>) {
        let is_null = |reject: &Reject| reject.code == "value.null";
        if self.spec.mode != Mode::Upsert {
            rejects.iter().filter(|reject| is_null(reject)).for_each(|reject| keys[reject.index] = None);
            return rejects.retain(|reject| !is_null(reject));
        }
        for reject in rejects.iter_mut().filter(|reject| is_null(reject)) {
            reject.code = "key.null";
            reject.reason =
                format!("{}, and an upsert needs a key; `key_format: json` has one for null", reject.reason);
        }
    }
}

/// What the broker would refuse, found before producing (I7).
pub(super) fn refusal(record: &EncodedRecord, rows: &EncodedRows, bytes_max: usize) -> Option<(&'static str, String)> {
    if let Some(timestamp) = record.timestamp.filter(|timestamp| *timestamp < 0) {
        return Some(("sink.timestamp", format!("its time is {timestamp} ms, before 1970: Kafka does not take that")));
    }
    let length = |range: &Option<Range<u32>>| range.as_ref().map_or(0, |range| range.len());
    let headers = &rows.headers[record.headers.start as usize..record.headers.end as usize];
    let header_bytes: usize = headers.iter().map(|(name, value)| name.len() + length(value)).sum();
    let bytes = length(&record.key) + length(&record.value) + header_bytes;
    (bytes > bytes_max).then(|| ("sink.too_large", format!("it has {bytes} bytes, the topic takes {bytes_max}")))
}

/// The rejects of key and value, walked along with the rows.
struct Refused {
    keys: std::iter::Peekable<std::vec::IntoIter<Reject>>,
    values: std::iter::Peekable<std::vec::IntoIter<Reject>>,
}

impl Refused {
    fn new(keys: Vec<Reject>, values: Vec<Reject>) -> Self {
        Refused { keys: keys.into_iter().peekable(), values: values.into_iter().peekable() }
    }

    /// The value of a deletion is not written, so it cannot be wrong.
    fn at(&mut self, row: usize, deleted: bool) -> Option<(&'static str, String)> {
        let value = self.values.next_if(|reject| reject.index == row).filter(|_| !deleted);
        let key = self.keys.next_if(|reject| reject.index == row);
        key.or(value).map(|reject| (reject.code, reject.reason))
    }
}

pub(super) struct Timestamps {
    times: Option<PrimitiveArray<TimestampMillisecondType>>,
    minus: Millis,
}

impl Timestamps {
    pub(super) fn of(rows: &RecordBatch, from: &Timestamp) -> Result<Self, Failure> {
        let (times, minus) = match from {
            Timestamp::Now => (None, 0),
            Timestamp::EventTime => (millis(rows, meta::TIME)?, 0),
            Timestamp::WindowEnd(column) => (millis(rows, column)?, 1),
        };
        Ok(Timestamps { times, minus })
    }

    pub(super) fn at(&self, row: usize) -> Option<Millis> {
        self.times.as_ref().filter(|times| !times.is_null(row)).map(|times| times.value(row) - self.minus)
    }
}

enum HeaderSource<'a> {
    Nothing,
    Original(&'a ListArray),
    Texts(HeaderTexts),
}

impl<'a> HeaderSource<'a> {
    fn of(headers: &Headers, rows: &'a RecordBatch) -> Result<Self, Failure> {
        Ok(match headers {
            Headers::Nothing => HeaderSource::Nothing,
            Headers::Original => match rows.column_by_name(meta::HEADERS_LIST) {
                Some(column) => HeaderSource::Original(column.as_list::<i32>()),
                None => HeaderSource::Nothing,
            },
            Headers::Templates(templates) => HeaderSource::Texts(HeaderTexts::of(templates, rows)?),
        })
    }

    /// Writes the headers of a row and says which of `out.headers` they are.
    fn put(&self, row: usize, out: &mut EncodedRows) -> Range<u32> {
        let start = out.headers.len() as u32;
        match self {
            HeaderSource::Nothing => {}
            HeaderSource::Original(list) => each_header(list, row, |name, value| {
                let entry = (out.put(name.as_bytes()), value.map(|value| out.put(value)));
                out.headers.push(entry);
            }),
            HeaderSource::Texts(texts) => texts.put(row, out),
        }
        start..out.headers.len() as u32
    }
}

pub(super) fn each_header<'a>(list: &'a ListArray, row: usize, mut give: impl FnMut(&'a str, Option<&'a [u8]>)) {
    let entries = list.values().as_struct();
    let names = entries.column(0).as_string::<i32>();
    let values = entries.column(1).as_binary::<i32>();
    let offsets = list.value_offsets();
    for entry in offsets[row] as usize..offsets[row + 1] as usize {
        give(names.value(entry), (!values.is_null(entry)).then(|| values.value(entry)));
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, BinaryArray, Int8Array, StringArray, TimestampMillisecondArray};

    use super::*;

    /// Writes the first column's text, and refuses `bad`.
    #[derive(Debug)]
    struct Text;

    impl OpenEncoder for Text {
        fn open(&self) -> Result<Box<dyn Encoder>, Failure> {
            Ok(Box::new(Text))
        }
    }

    impl Encoder for Text {
        fn encode(
            &mut self,
            rows: &RecordBatch,
            arena: &mut Vec<u8>,
        ) -> Result<(Vec<Range<u32>>, Vec<Reject>), Failure> {
            let mut rejects = Vec::new();
            let mut places = Vec::new();
            for (index, text) in rows.column(0).as_string::<i32>().iter().enumerate() {
                let start = arena.len() as u32;
                match text {
                    Some("bad") => rejects.push(Reject { index, code: "text.bad", reason: "bad".into() }),
                    text => arena.extend_from_slice(text.unwrap_or_default().as_bytes()),
                }
                places.push(start..arena.len() as u32);
            }
            Ok((places, rejects))
        }
    }

    fn columns(name: &str) -> Part {
        Part::Columns { columns: vec![name.into()], encoder: Arc::new(Text) }
    }

    fn records(mode: Mode) -> KafkaRecords {
        KafkaRecords {
            key: columns("k"),
            value: columns("v"),
            timestamp: Timestamp::WindowEnd("window_end".into()),
            headers: Headers::Nothing,
            mode,
            record_bytes_max: 10,
        }
    }

    fn changing() -> Batch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("k", Arc::new(StringArray::from(vec!["a", "b", "b", "c"]))),
            ("v", Arc::new(StringArray::from(vec!["1", "2", "3", "bad"]))),
            ("window_end", Arc::new(TimestampMillisecondArray::from(vec![5_000; 4]))),
            (meta::CHANGE, Arc::new(Int8Array::from(vec![0, 1, 2, 3]))),
        ];
        Batch { source: 0, partition: 0, rows: RecordBatch::try_from_iter(columns).unwrap() }
    }

    fn shown(rows: &EncodedRows) -> Vec<(String, Option<String>)> {
        let text = |range: &Range<u32>| String::from_utf8_lossy(rows.bytes(range)).into_owned();
        rows.records.iter().map(|r| (r.key.as_ref().map(text).unwrap(), r.value.as_ref().map(text))).collect()
    }

    #[test]
    fn upsert_writes_new_rows_and_a_tombstone_for_a_row_gone() {
        let mut dead = Vec::new();
        let rows = records(Mode::Upsert).open().unwrap().encode(&changing(), &mut dead).unwrap();
        let expected = [("a", Some("1")), ("b", Some("3")), ("c", None)];
        assert_eq!(shown(&rows), expected.map(|(k, v)| (k.to_owned(), v.map(str::to_owned))));
        assert_eq!(rows.records[0].timestamp, Some(4_999));
        assert!(dead.is_empty(), "the value of a deletion is not written, so it cannot be wrong");
    }

    #[test]
    fn update_writes_nothing_for_a_row_gone() {
        let rows = records(Mode::Update).open().unwrap().encode(&changing(), &mut Vec::new()).unwrap();
        assert_eq!(shown(&rows).len(), 2);
    }

    #[test]
    fn a_row_too_large_or_unencodable_is_a_dead_letter_and_its_neighbours_are_written() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("k", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
            ("v", Arc::new(StringArray::from(vec!["bad", "12345678901", "ok"]))),
            (meta::OFFSET, Arc::new(arrow::array::Int64Array::from(vec![7, 8, 9]))),
            (meta::VALUE_BYTES, Arc::new(BinaryArray::from_vec(vec![b"x", b"y", b"z"]))),
        ];
        let batch = Batch { source: 0, partition: 3, rows: RecordBatch::try_from_iter(columns).unwrap() };
        let mut dead = Vec::new();
        let rows = records(Mode::Append).open().unwrap().encode(&batch, &mut dead).unwrap();
        assert_eq!(shown(&rows), [("c".to_owned(), Some("ok".to_owned()))]);
        let found: Vec<_> =
            dead.iter().map(|d| (d.code.as_ref(), d.partition, d.offset, d.value.clone().unwrap())).collect();
        assert_eq!(found, [("text.bad", 3, 7, b"x".to_vec()), ("sink.too_large", 3, 8, b"y".to_vec())]);
    }

    #[test]
    fn own_key_bytes_and_times_before_1970() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("v", Arc::new(StringArray::from(vec!["1", "2"]))),
            (meta::KEY_BYTES, Arc::new(BinaryArray::from_opt_vec(vec![None, Some(b"")]))),
            (meta::TIME, Arc::new(TimestampMillisecondArray::from(vec![-1, 1]))),
        ];
        let batch = Batch { source: 0, partition: 0, rows: RecordBatch::try_from_iter(columns).unwrap() };
        let encoding = KafkaRecords {
            key: Part::Original(meta::KEY_BYTES),
            timestamp: Timestamp::EventTime,
            ..records(Mode::Append)
        };
        let mut dead = Vec::new();
        let rows = encoding.open().unwrap().encode(&batch, &mut dead).unwrap();
        assert_eq!(dead[0].code, "sink.timestamp");
        assert_eq!(shown(&rows), [(String::new(), Some("2".to_owned()))], "an empty key is a key");
    }
}
