//! Records as a sink writes them: bytes in one arena, no allocation per record.

use std::ops::Range;

use crate::time::Millis;

/// What a record takes beside its bytes: lengths, timestamp, its place in a batch.
const RECORD_BYTES: usize = 16;

/// One record of an [`EncodedRows`]; ranges are bytes of its arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRecord {
    /// `None`: no key. An empty range is an empty key.
    pub key: Option<Range<u32>>,
    /// `None`: a tombstone.
    pub value: Option<Range<u32>>,
    /// Becomes the Kafka timestamp; `None`: the time of writing.
    pub timestamp: Option<Millis>,
    /// Records of [`EncodedRows::headers`] that belong to this one.
    pub headers: Range<u32>,
}

/// A run of encoded records in the order in which they are written.
///
/// Writers keep it until the commit is confirmed and send the same bytes again after an abort (I11).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedRows {
    pub arena: Vec<u8>,
    pub records: Vec<EncodedRecord>,
    /// Name and value as ranges of the arena; a value may be null.
    pub headers: Vec<(Range<u32>, Option<Range<u32>>)>,
}

impl EncodedRows {
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of memory held.
    pub fn held(&self) -> usize {
        let header = size_of::<(Range<u32>, Option<Range<u32>>)>();
        self.arena.capacity() + self.records.capacity() * size_of::<EncodedRecord>() + self.headers.capacity() * header
    }

    /// Appends bytes to the arena and says where they stand.
    pub fn put(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        start..self.arena.len() as u32
    }

    pub fn bytes(&self, range: &Range<u32>) -> &[u8] {
        &self.arena[range.start as usize..range.end as usize]
    }

    /// About how many bytes it takes in a transaction.
    pub fn size(&self) -> usize {
        self.arena.len() + self.records.len() * RECORD_BYTES
    }

    /// What one of its records takes of that.
    pub fn record_size(&self, index: usize) -> usize {
        let record = &self.records[index];
        let length = |range: &Option<Range<u32>>| range.as_ref().map_or(0, |range| range.len());
        let headers = &self.headers[record.headers.start as usize..record.headers.end as usize];
        let headers: usize = headers.iter().map(|(name, value)| name.len() + length(value)).sum();
        length(&record.key) + length(&record.value) + headers + RECORD_BYTES
    }

    /// Some of its records, copied into an arena of their own.
    pub fn slice(&self, records: Range<usize>) -> EncodedRows {
        let mut out = EncodedRows::default();
        for record in &self.records[records] {
            let key = record.key.as_ref().map(|key| out.put(self.bytes(key)));
            let value = record.value.as_ref().map(|value| out.put(self.bytes(value)));
            let start = out.headers.len() as u32;
            for (name, value) in &self.headers[record.headers.start as usize..record.headers.end as usize] {
                let header = (out.put(self.bytes(name)), value.as_ref().map(|value| out.put(self.bytes(value))));
                out.headers.push(header);
            }
            let headers = start..out.headers.len() as u32;
            out.records.push(EncodedRecord { key, value, timestamp: record.timestamp, headers });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_has_the_same_keys_values_headers_and_times() {
        let mut rows = EncodedRows::default();
        for number in 0..4u8 {
            rows.put(b"of a row that was refused");
            let first = rows.headers.len() as u32;
            for _ in 0..number {
                let header = (rows.put(b"name"), (number != 2).then(|| rows.put(&[number])));
                rows.headers.push(header);
            }
            let headers = first..rows.headers.len() as u32;
            let key = (number != 1).then(|| rows.put(&[b'k', number]));
            let value = (number != 3).then(|| rows.put(&[b'v'; 3]));
            rows.records.push(EncodedRecord { key, value, timestamp: Some(number.into()), headers });
        }
        let shown = |rows: &EncodedRows| -> Vec<String> {
            let of = |range: &Option<Range<u32>>| range.as_ref().map(|range| rows.bytes(range).to_vec());
            let header = |(name, value): &(Range<u32>, Option<Range<u32>>)| (rows.bytes(name).to_vec(), of(value));
            let text = |record: &EncodedRecord| {
                let headers = &rows.headers[record.headers.start as usize..record.headers.end as usize];
                let headers: Vec<_> = headers.iter().map(header).collect();
                format!("{:?} {:?} {:?} {headers:?}", of(&record.key), of(&record.value), record.timestamp)
            };
            rows.records.iter().map(text).collect()
        };
        assert_eq!(shown(&rows.slice(1..4)), shown(&rows)[1..4]);
        assert_eq!(rows.slice(2..2), EncodedRows::default());
        // The slice has nothing of refused rows in its arena: its size is that of its records.
        assert_eq!(rows.slice(0..4).size(), (0..4).map(|index| rows.record_size(index)).sum::<usize>());
    }
}
