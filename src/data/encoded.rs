//! Records as a sink writes them: bytes in one arena, no allocation per record.

use std::ops::Range;

use crate::time::Millis;

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

    /// Appends bytes to the arena and says where they stand.
    pub fn put(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        start..self.arena.len() as u32
    }

    pub fn bytes(&self, range: &Range<u32>) -> &[u8] {
        &self.arena[range.start as usize..range.end as usize]
    }
}
