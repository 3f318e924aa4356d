//! Records as a source hands them over, before decoding.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayBuilder, BinaryArray, BinaryBuilder};

use super::{Offset, Partition, SourceIndex};
use crate::time::Millis;

/// Undecoded records of one partition, ordered by offset. All columns have the same length.
#[derive(Debug, Clone)]
pub struct RawBatch {
    pub source: SourceIndex,
    /// Kafka's topic; the path of a file.
    pub topic: Arc<str>,
    pub partition: Partition,
    pub offsets: Vec<Offset>,
    /// Kafka's timestamps; `None` where the source has none.
    pub timestamps: Option<Vec<Millis>>,
    /// Null where the record has no key. An empty key is a key.
    pub keys: BinaryArray,
    /// Null for a tombstone.
    pub values: BinaryArray,
    /// Per record, in order and with duplicates; empty when no record has any (or nobody asked).
    pub headers: Vec<Vec<(String, Option<Vec<u8>>)>>,
}

impl RawBatch {
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        let of = |array: &BinaryArray| {
            let offsets = array.value_offsets();
            (offsets[offsets.len() - 1] - offsets[0]) as usize
        };
        of(&self.keys) + of(&self.values)
    }

    /// Record `index` as a dead letter.
    pub fn dead_letter(
        &self,
        index: usize,
        code: impl Into<Cow<'static, str>>,
        reason: impl Into<String>,
    ) -> DeadLetter {
        let bytes = |array: &BinaryArray| (!array.is_null(index)).then(|| array.value(index).to_vec());
        DeadLetter {
            source: self.source,
            topic: self.topic.clone(),
            partition: self.partition,
            offset: self.offsets[index],
            timestamp: self.timestamps.as_ref().map(|t| t[index]),
            key: bytes(&self.keys),
            value: bytes(&self.values),
            headers: self.headers.get(index).cloned().unwrap_or_default(),
            step: String::new(),
            code: code.into(),
            reason: reason.into(),
            connect: None,
        }
    }
}

/// A record that could not be decoded, checked, evaluated or written, with its original bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    pub source: SourceIndex,
    pub topic: Arc<str>,
    pub partition: Partition,
    pub offset: Offset,
    pub timestamp: Option<Millis>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The source, step or sink that refused it; filled in by the engine.
    pub step: String,
    /// Stable, for example `avro.truncated`, `json.missing`, `check.positive`, `time.future`.
    pub code: Cow<'static, str>,
    /// For people: what is wrong with the record.
    pub reason: String,
    /// Of records that one of Kafka Connect's converters or transformations refused.
    pub connect: Option<Box<ConnectStage>>,
}

/// Where Kafka Connect refuses a record, in its own words: for the headers of its dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectStage {
    /// `VALUE_CONVERTER`, `TRANSFORMATION`.
    pub stage: &'static str,
    /// The class of the converter or transformation.
    pub class: String,
    /// The class of the Java exception.
    pub exception: &'static str,
}

impl DeadLetter {
    /// Bytes of memory held.
    pub fn size(&self) -> usize {
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers =
            self.headers.iter().map(|(name, value)| name.len() + bytes(value) + size_of::<(String, Option<Vec<u8>>)>());
        size_of::<DeadLetter>() + bytes(&self.key) + bytes(&self.value) + headers.sum::<usize>() + self.reason.len()
    }
}

/// Collects records of one partition into a [`RawBatch`].
#[derive(Debug)]
pub struct RawBatchBuilder {
    source: SourceIndex,
    topic: Arc<str>,
    partition: Partition,
    offsets: Vec<Offset>,
    timestamps: Vec<Millis>,
    has_timestamps: bool,
    /// Up to the last record that has one.
    keys: BinaryBuilder,
    values: BinaryBuilder,
    headers: Vec<Vec<(String, Option<Vec<u8>>)>>,
    header_bytes: usize,
    last: Size,
}

/// How large a batch was: the next one is likely to be as large, and growing there step by step would
/// copy every byte twice.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    records: usize,
    key_bytes: usize,
    value_bytes: usize,
}

impl RawBatchBuilder {
    pub fn new(source: SourceIndex, topic: Arc<str>, partition: Partition) -> Self {
        RawBatchBuilder {
            source,
            topic,
            partition,
            offsets: Vec::new(),
            timestamps: Vec::new(),
            has_timestamps: false,
            keys: BinaryBuilder::new(),
            values: BinaryBuilder::new(),
            headers: Vec::new(),
            header_bytes: 0,
            last: Size::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Bytes of what was collected.
    pub fn bytes(&self) -> usize {
        let records = self.offsets.len() * (size_of::<Offset>() + size_of::<Millis>() + 2 * size_of::<i32>());
        records + self.keys.values_slice().len() + self.values.values_slice().len() + self.header_bytes
    }

    /// Adds a record without headers. `timestamp` must be given for all records or for none.
    pub fn push(&mut self, offset: Offset, timestamp: Option<Millis>, key: Option<&[u8]>, value: Option<&[u8]>) {
        if self.offsets.is_empty() {
            self.reserve();
        }
        self.offsets.push(offset);
        self.has_timestamps |= timestamp.is_some();
        self.timestamps.push(timestamp.unwrap_or_default());
        // Where nobody asked for keys there is none, and nothing is written down for that.
        if let Some(key) = key {
            self.fill_keys(self.offsets.len() - 1);
            self.keys.append_value(key);
        }
        self.values.append_option(value);
    }

    /// So many keys: those that are not there yet are null.
    fn fill_keys(&mut self, count: usize) {
        self.keys.append_nulls(count - self.keys.len());
    }

    /// Makes room with the first record, so that a partition without any holds none.
    fn reserve(&mut self) {
        let more = |size: usize| size + size / 8;
        let Size { records, key_bytes, value_bytes } = self.last;
        self.offsets.reserve(more(records));
        self.timestamps.reserve(more(records));
        self.keys = BinaryBuilder::with_capacity(if key_bytes > 0 { more(records) } else { 0 }, more(key_bytes));
        self.values = BinaryBuilder::with_capacity(more(records), more(value_bytes));
    }

    /// Gives headers to the record pushed last.
    pub fn headers(&mut self, headers: Vec<(String, Option<Vec<u8>>)>) {
        let last = self.offsets.len() - 1;
        // A list each, and two allocations an entry: small headers are mostly that.
        const ENTRY_BYTES: usize = size_of::<(String, Option<Vec<u8>>)>() + 32;
        let bytes = headers.iter().map(|(name, value)| ENTRY_BYTES + name.len() + value.as_ref().map_or(0, Vec::len));
        self.header_bytes += bytes.sum::<usize>();
        self.headers.resize(last, Vec::new());
        self.headers.push(headers);
    }

    /// What was collected; the builder is empty again.
    pub fn finish(&mut self) -> RawBatch {
        self.header_bytes = 0;
        let count = self.offsets.len();
        self.last = Size {
            records: count,
            key_bytes: self.keys.values_slice().len(),
            value_bytes: self.values.values_slice().len(),
        };
        let keys = match self.keys.is_empty() {
            true => BinaryArray::new_null(count),
            false => {
                self.fill_keys(count);
                self.keys.finish()
            }
        };
        let timestamps = std::mem::take(&mut self.timestamps);
        let mut headers = std::mem::take(&mut self.headers);
        if !headers.is_empty() {
            headers.resize(count, Vec::new());
        }
        RawBatch {
            source: self.source,
            topic: self.topic.clone(),
            partition: self.partition,
            offsets: std::mem::take(&mut self.offsets),
            timestamps: self.has_timestamps.then_some(timestamps),
            keys,
            values: self.values.finish(),
            headers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_without_a_key_have_none_wherever_they_stand() {
        let mut builder = RawBatchBuilder::new(0, "t".into(), 0);
        for keys in [&[None, Some("a"), None, Some(""), None][..], &[None, None], &[Some("b")]] {
            for (offset, key) in (0..).zip(keys) {
                builder.push(offset, None, key.map(str::as_bytes), None);
            }
            let expected: Vec<Option<&[u8]>> = keys.iter().map(|key| key.map(str::as_bytes)).collect();
            assert_eq!(builder.finish().keys, BinaryArray::from(expected));
        }
    }

    #[test]
    fn i6_what_is_held_of_a_paused_partition_has_its_headers_too() {
        let mut builder = RawBatchBuilder::new(0, "t".into(), 0);
        builder.push(0, Some(1), None, Some(b"v"));
        let bare = builder.bytes();
        builder.headers(vec![("trace".into(), Some(vec![0; 1_000])), ("none".into(), None)]);
        assert!(builder.bytes() >= bare + 1_009, "{} bytes with headers, {bare} without", builder.bytes());
        builder.push(1, Some(2), None, Some(b"v"));
        let batch = builder.finish();
        assert_eq!((batch.headers.len(), batch.headers[0].len(), batch.headers[1].len()), (2, 2, 0));
        assert_eq!(builder.bytes(), 0);
    }
}
