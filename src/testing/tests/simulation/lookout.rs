//! Looks at each epoch when it is appended: what the source has then, beside what was read of it.

use std::collections::BTreeMap;

use super::oracle::decoded;
use super::*;

/// Whoever looks. Shared by all instances of a run.
#[derive(Debug, Clone)]
pub(super) struct Lookout {
    source: MemorySource,
    /// Of the epochs that were appended or tried to be.
    watermarks: Arc<Mutex<BTreeMap<Epoch, Watermark>>>,
}

impl Lookout {
    pub(super) fn over(source: MemorySource) -> Lookout {
        Lookout { source, watermarks: Arc::default() }
    }

    /// I5: a partition of which something is left, whatever keeps it from being read, is not idle: the watermark goes no
    /// further than what was read of it (I1), and stays where it is if that is less.
    pub(super) fn look(&self, record: &EpochRecord, weather: &Weather) {
        let mut watermarks = self.watermarks.lock().unwrap();
        let before = watermarks.get(&(record.epoch - 1)).copied().unwrap_or(Watermark::NONE);
        watermarks.insert(record.epoch, record.watermark);
        if record.continues.is_some() {
            return assert_eq!(record.watermark, before, "what is left of an epoch moves no time");
        }
        let source = self.source.records();
        let ranges: Vec<_> = record.partitions["s"].iter().map(|(name, range)| (name.number, range)).collect();
        let reads = ranges.iter().any(|(_, range)| range.read > 0);
        let unread =
            ranges.iter().filter(|(partition, range)| range.to.as_offset() < Some(source[partition].len() as i64));
        let (mut is_backlog, mut is_starved, mut is_held) = (false, false, false);
        for (partition, range) in unread {
            let records = &source[partition][..range.to.as_offset().unwrap() as usize];
            let reached = records.iter().filter_map(decoded).map(|(time, ..)| Watermark::at(time - LAG_MS)).max();
            let most = reached.unwrap_or(Watermark::NONE).max(before);
            assert!(
                record.watermark <= most,
                "epoch {}: {:?} is beyond {most:?}, where partition {partition} is, which has more",
                record.epoch,
                record.watermark
            );
            is_backlog = true;
            is_starved |= reads && range.read == 0;
            is_held |= reads && range.read == 0 && record.watermark == most;
        }
        weather.saw("cuts in a backlog", usize::from(is_backlog));
        weather.saw("cuts past a starved partition", usize::from(is_starved));
        weather.saw("watermarks held by a starved partition", usize::from(is_held));
    }
}
