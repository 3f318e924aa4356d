//! Records as a sink writes them: bytes in one arena, no allocation per record.

use std::ops::Range;
use std::sync::Arc;

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
    pub destinations: Destinations,
}

/// The topics of records that are not all for the sink's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destinations {
    /// Each once, in the order in which they were met.
    pub topics: Vec<Arc<str>>,
    /// By record an index of `topics`; empty where all records go to the sink's own topic.
    pub by_record: Vec<u32>,
}

impl Destinations {
    /// Says where the next record goes.
    pub fn push(&mut self, topic: &str) {
        // Mostly where the one before it went.
        let known = self.topics.iter().rposition(|known| **known == *topic);
        let index = known.unwrap_or_else(|| {
            self.topics.push(topic.into());
            self.topics.len() - 1
        });
        self.by_record.push(index as u32);
    }

    /// Those of some records, and no other topics.
    fn slice(&self, records: Range<usize>) -> Destinations {
        let mut out = Destinations::default();
        let some = self.by_record.get(records).unwrap_or_default();
        some.iter().for_each(|index| out.push(&self.topics[*index as usize]));
        out
    }
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
        let destinations = self.destinations.by_record.capacity() * size_of::<u32>();
        let records = self.records.capacity() * size_of::<EncodedRecord>();
        self.arena.capacity() + records + self.headers.capacity() * header + destinations
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

    /// Gives some of its records a header more, behind their own. Their own ones of these names go.
    pub fn mark(&mut self, names: &[&str], headers: &[(&str, &[u8])], records: Range<usize>) {
        let ours: Vec<_> = headers.iter().map(|(name, value)| (self.put(name.as_bytes()), self.put(value))).collect();
        let ours: Vec<_> = ours.into_iter().map(|(name, value)| (name, Some(value))).collect();
        let mut all = Vec::with_capacity(self.headers.len() + ours.len());
        // Records without headers of their own share one place.
        let mut shared: Option<Range<u32>> = None;
        for index in 0..self.records.len() {
            let own = self.records[index].headers.clone();
            if own.is_empty() && records.contains(&index) {
                let place = shared.get_or_insert_with(|| {
                    let start = all.len() as u32;
                    all.extend(ours.iter().cloned());
                    start..all.len() as u32
                });
                self.records[index].headers = place.clone();
                continue;
            }
            let start = all.len() as u32;
            let own = self.headers[own.start as usize..own.end as usize].iter();
            all.extend(own.filter(|(name, _)| !names.iter().any(|ours| ours.as_bytes() == self.bytes(name))).cloned());
            if records.contains(&index) {
                all.extend(ours.iter().cloned());
            }
            self.records[index].headers = start..all.len() as u32;
        }
        self.headers = all;
    }

    /// Some of its records, copied into an arena of their own.
    pub fn slice(&self, records: Range<usize>) -> EncodedRows {
        let destinations = self.destinations.slice(records.clone());
        let mut out = EncodedRows { destinations, ..EncodedRows::default() };
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

    #[test]
    fn a_slice_goes_where_its_records_go() {
        let mut rows = EncodedRows::default();
        for topic in ["a", "b", "a", "c"] {
            rows.records.push(EncodedRecord { key: None, value: None, timestamp: None, headers: 0..0 });
            rows.destinations.push(topic);
        }
        assert_eq!(rows.destinations.by_record, [0, 1, 0, 2]);
        let slice = rows.slice(1..3).destinations;
        assert_eq!((slice.topics, slice.by_record), (vec!["b".into(), "a".into()], vec![0, 1]));
        let mut plain = EncodedRows::default();
        plain.records.push(rows.records[0].clone());
        assert_eq!(plain.slice(0..1), plain);
    }

    #[test]
    fn a_mark_stands_behind_a_records_own_headers_and_in_the_place_of_one_of_its_name() {
        let mut rows = EncodedRows::default();
        for own in [&[][..], &["a", "mine", "b"], &["last"], &[]] {
            let first = rows.headers.len() as u32;
            for name in own {
                let header = (rows.put(name.as_bytes()), Some(rows.put(b"own")));
                rows.headers.push(header);
            }
            let headers = first..rows.headers.len() as u32;
            rows.records.push(EncodedRecord { key: None, value: None, timestamp: None, headers });
        }
        rows.mark(&["mine", "last"], &[("mine", b"1")], 0..4);
        rows.mark(&["last"], &[("last", b"2")], 3..4);
        let text = |range: &Range<u32>| String::from_utf8(rows.bytes(range).to_vec()).unwrap();
        let shown = |record: &EncodedRecord| {
            let headers = &rows.headers[record.headers.start as usize..record.headers.end as usize];
            headers
                .iter()
                .map(|(name, value)| format!("{}={}", text(name), text(value.as_ref().unwrap())))
                .collect::<Vec<_>>()
        };
        let expected = [vec!["mine=1"], vec!["a=own", "b=own", "mine=1"], vec!["mine=1"], vec!["mine=1", "last=2"]];
        assert_eq!(rows.records.iter().map(shown).collect::<Vec<_>>(), expected);
    }
}
