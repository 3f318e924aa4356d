//! Discard sink: counts records and drops them, for benchmarks.
//! Delivery: at least once; what was dropped before a crash may be dropped again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Delivery, EpochRows, Sink, SinkProgress, Writer};
use crate::data::EncodedRows;
use crate::report::Failure;

/// The `discard: {}` sink.
#[derive(Debug, Clone, Default)]
pub struct Discard {
    count: Arc<AtomicU64>,
}

impl Discard {
    /// Records dropped by all of its writers so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Sink for Discard {
    fn connector(&self) -> &'static str {
        "discard"
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn open(&self) -> Result<Box<dyn Writer>, Failure> {
        Ok(Box::new(DiscardWriter { count: self.count.clone() }))
    }
}

struct DiscardWriter {
    count: Arc<AtomicU64>,
}

impl Writer for DiscardWriter {
    fn progress(&self) -> Option<SinkProgress> {
        None
    }

    fn write(&mut self, _lineage: &str, epochs: &[EpochRows]) -> Result<(), Failure> {
        let records: usize = epochs.iter().flat_map(EpochRows::runs).map(EncodedRows::len).sum();
        self.count.fetch_add(records as u64, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::EncodedRecord;

    #[test]
    fn dropped_records_are_counted_over_all_writers() {
        let sink = Discard::default();
        let record = EncodedRecord { key: None, value: None, timestamp: None, headers: 0..0 };
        let run = EncodedRows { records: vec![record; 3], ..EncodedRows::default() };
        for epoch in 1..=2 {
            sink.open().unwrap().write("l", &[EpochRows::of_one(epoch, vec![run.clone()])]).unwrap();
        }
        assert_eq!(sink.count(), 6);
    }
}
