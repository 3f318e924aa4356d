//! Dead letters as records: their original bytes, and why they are dead.
//!
//! A Kafka topic gets the record as it was, with Connect's `__connect.errors.*` headers behind its
//! own; files and consoles get one JSON object per line.

use serde_json::{Map, Value, json};

use crate::data::{Batch, DeadLetter, EncodedRecord, EncodedRows, partition};
use crate::plan::{RecordEncoder, RecordEncoding};
use crate::report::Failure;

/// Dead letters in a Kafka topic.
#[derive(Debug, Clone)]
pub struct DeadRecords {
    /// What the headers call the connector.
    pub connector: String,
    /// `None`: with headers that say why, as a pipeline writes them.
    pub connect: Option<ConnectDead>,
}

/// How Kafka Connect writes dead letters, as its settings have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectDead {
    /// The record as it was.
    Bytes,
    /// With headers that say why, the last of them a stack trace.
    Headers,
}

impl RecordEncoding for DeadRecords {
    fn open(&self) -> Result<Box<dyn RecordEncoder>, Failure> {
        Ok(Box::new(self.clone()))
    }
}

impl RecordEncoder for DeadRecords {
    fn encode(&mut self, _batch: &Batch, _dead: &mut Vec<DeadLetter>) -> Result<EncodedRows, Failure> {
        Err(no_rows())
    }

    fn encode_dead(&mut self, dead: &[DeadLetter]) -> Result<EncodedRows, Failure> {
        let mut out = EncodedRows::default();
        for letter in dead {
            let key = letter.key.as_deref().map(|key| out.put(key));
            let value = letter.value.as_deref().map(|value| out.put(value));
            let start = out.headers.len() as u32;
            for (name, value) in &letter.headers {
                put_header(&mut out, name, value.as_deref());
            }
            if self.connect != Some(ConnectDead::Bytes) {
                for (name, value) in self.reasons(letter) {
                    put_header(&mut out, &format!("__connect.errors.{name}"), Some(value.as_bytes()));
                }
            }
            let headers = start..out.headers.len() as u32;
            // A broker takes no time before 1970, which may be the very reason.
            let timestamp = letter.timestamp.filter(|timestamp| *timestamp >= 0);
            out.records.push(EncodedRecord { key, value, timestamp, headers });
        }
        Ok(out)
    }
}

impl DeadRecords {
    fn reasons(&self, letter: &DeadLetter) -> Vec<(&'static str, String)> {
        let connect = letter.connect.as_deref();
        let exception = connect.map_or_else(|| letter.code.to_string(), |connect| connect.exception.to_owned());
        let trace = format!("{exception}: {}\n", letter.reason);
        let mut reasons = vec![
            ("topic", letter.topic.to_string()),
            ("partition", partition::number(letter.partition).to_string()),
            ("offset", letter.offset.to_string()),
            ("connector.name", self.connector.clone()),
            ("task.id", "0".into()),
            ("stage", connect.map_or_else(|| stage(&letter.code), |connect| connect.stage).into()),
            ("class.name", connect.map_or_else(|| letter.step.clone(), |connect| connect.class.clone())),
            ("exception.class.name", exception),
            ("exception.message", letter.reason.clone()),
        ];
        // There is no Java that could have one.
        if self.connect == Some(ConnectDead::Headers) {
            reasons.push(("exception.stacktrace", trace));
        }
        reasons
    }
}

/// Connect's word for where the record was refused, from the room that refused it.
fn stage(code: &str) -> &'static str {
    match code.split('.').next().unwrap_or_default() {
        "key" => "KEY_CONVERTER",
        "avro" | "json" | "csv" | "string" | "bytes" | "value" | "format" => "VALUE_CONVERTER",
        "sink" | "kafka" => "TASK_PUT",
        _ => "TRANSFORMATION",
    }
}

fn put_header(out: &mut EncodedRows, name: &str, value: Option<&[u8]>) {
    let entry = (out.put(name.as_bytes()), value.map(|value| out.put(value)));
    out.headers.push(entry);
}

/// Dead letters as JSON objects, one per line.
#[derive(Debug, Clone, Copy)]
pub struct DeadLines;

impl RecordEncoding for DeadLines {
    fn open(&self) -> Result<Box<dyn RecordEncoder>, Failure> {
        Ok(Box::new(*self))
    }
}

impl RecordEncoder for DeadLines {
    fn encode(&mut self, _batch: &Batch, _dead: &mut Vec<DeadLetter>) -> Result<EncodedRows, Failure> {
        Err(no_rows())
    }

    fn encode_dead(&mut self, dead: &[DeadLetter]) -> Result<EncodedRows, Failure> {
        let mut out = EncodedRows::default();
        for letter in dead {
            let line = out.put(as_json(letter).to_string().as_bytes());
            out.records.push(EncodedRecord { key: None, value: Some(line), timestamp: None, headers: 0..0 });
        }
        Ok(out)
    }
}

fn as_json(letter: &DeadLetter) -> Value {
    let mut object = Map::new();
    object.insert("code".into(), json!(letter.code));
    object.insert("reason".into(), json!(letter.reason));
    object.insert("step".into(), json!(letter.step));
    object.insert("topic".into(), json!(&*letter.topic));
    object.insert("partition".into(), json!(partition::number(letter.partition)));
    object.insert("offset".into(), json!(letter.offset));
    object.insert("timestamp".into(), json!(letter.timestamp));
    put_bytes(&mut object, "key", letter.key.as_deref());
    put_bytes(&mut object, "value", letter.value.as_deref());
    let headers = letter.headers.iter().map(|(name, value)| {
        let mut header = Map::from_iter([("name".to_owned(), json!(name))]);
        put_bytes(&mut header, "value", value.as_deref());
        Value::Object(header)
    });
    object.insert("headers".into(), headers.collect());
    Value::Object(object)
}

/// Text as text; other bytes under `NAME_base64`, so that nothing is lost.
fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => object.insert(name.into(), Value::Null),
        Some((_, Ok(text))) => object.insert(name.into(), json!(text)),
        Some((bytes, Err(_))) => object.insert(format!("{name}_base64"), json!(base64(bytes))),
    };
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let padding = digit > chunk.len();
            let letter = ALPHABET[(bits >> (18 - 6 * digit) & 63) as usize];
            text.push(if padding { '=' } else { char::from(letter) });
        }
    }
    text
}

fn no_rows() -> Failure {
    Failure::bug("sink.only_dead_letters", "the dead letter's sink was given rows")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> DeadLetter {
        DeadLetter {
            source: 0,
            topic: "ratings".into(),
            partition: 3,
            offset: 42,
            timestamp: Some(-5),
            key: Some(b"k".to_vec()),
            value: Some(vec![0xff, 0]),
            headers: vec![("trace".into(), None)],
            step: "ratings".into(),
            code: "avro.truncated".into(),
            reason: "the value ends in the middle of `brand`".into(),
            connect: None,
        }
    }

    #[test]
    fn a_topic_gets_the_record_as_it_was_and_connects_headers() {
        let rows = DeadRecords { connector: "p".into(), connect: None }.encode_dead(&[letter()]).unwrap();
        let record = &rows.records[0];
        assert_eq!(rows.bytes(record.value.as_ref().unwrap()), [0xff, 0]);
        assert_eq!(record.timestamp, None);
        let text = |range| String::from_utf8_lossy(rows.bytes(range)).into_owned();
        let headers: Vec<_> = rows.headers.iter().map(|(n, v)| (text(n), v.as_ref().map(text))).collect();
        assert_eq!(headers[0], ("trace".into(), None));
        assert!(headers.contains(&("__connect.errors.offset".into(), Some("42".into()))));
        assert!(headers.contains(&("__connect.errors.stage".into(), Some("VALUE_CONVERTER".into()))));
        assert!(headers.contains(&("__connect.errors.exception.class.name".into(), Some("avro.truncated".into()))));
    }

    #[test]
    fn a_line_keeps_bytes_that_are_no_text() {
        let object = as_json(&letter());
        assert_eq!(object["key"], "k");
        assert_eq!(object["value_base64"], "/wA=");
        assert_eq!(object["headers"][0], json!({"name": "trace", "value": null}));
    }

    #[test]
    fn base64_pads() {
        assert_eq!([&b""[..], b"f", b"fo", b"foo"].map(base64), ["", "Zg==", "Zm8=", "Zm9v"]);
    }
}
