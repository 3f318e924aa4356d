//! A topic that is written at least once, apart from any transaction, by a producer that all such writers share.
//!
//! An epoch counts as written when every record of it was reported as delivered; then the journal notes it (I9).
//! What is in doubt (a broker that is away, a report that does not come) is waited for and not sent again: it is still
//! on its way. Only what was refused, or lost with its producer, is sent again, from the first record of the write.

use std::sync::Arc;

use super::client::Cluster;
use super::shared::{Share, Unwritten};
use super::topics::SharedTopics;
use crate::connectors::{EpochRows, SinkProgress, Writer};
use crate::data::Epoch;
use crate::report::Failure;

pub(super) struct AloneWriter {
    /// With the sink's own properties.
    cluster: Cluster,
    topic: String,
    /// Kept for those who ask about the topic while it is written: they share it too.
    topics: Arc<SharedTopics>,
    share: Share,
    /// The write that is in doubt.
    doubt: Option<Doubt>,
}

/// A write of which something may be on its way.
struct Doubt {
    what: What,
    /// Records of it that were sent.
    sent: usize,
}

/// What a write is of: first and last epoch, and how many records.
type What = (Epoch, Epoch, usize);

impl AloneWriter {
    /// `cluster`: of the connection; `with`: the same with the sink's own properties.
    pub fn open(cluster: &Cluster, with: Cluster, topic: String) -> Result<AloneWriter, Failure> {
        let topics = SharedTopics::of(cluster);
        let share = open(&topics, &with, &topic)?;
        Ok(AloneWriter { cluster: with, topic, topics, share, doubt: None })
    }
}

fn open(topics: &SharedTopics, cluster: &Cluster, topic: &str) -> Result<Share, Failure> {
    let limit = topics.topics()?.limits(topic)?.batch_bytes_max.unwrap_or(1_000_000);
    Share::open(cluster, topic, limit)
}

fn what(epochs: &[EpochRows]) -> What {
    let epoch = |rows: Option<&EpochRows>| rows.map_or(0, |rows| rows.epoch);
    let records = epochs.iter().flat_map(EpochRows::runs).map(|rows| rows.records.len()).sum();
    (epoch(epochs.first()), epoch(epochs.last()), records)
}

impl Writer for AloneWriter {
    fn progress(&self) -> Option<SinkProgress> {
        None
    }

    fn write(&mut self, _lineage: &str, epochs: &[EpochRows]) -> Result<(), Failure> {
        if epochs.iter().all(EpochRows::is_empty) {
            return Ok(());
        }
        let what = what(epochs);
        let mut doubt = self.doubt.take().unwrap_or(Doubt { what, sent: 0 });
        if doubt.what != what {
            // Nobody asks for that any more; but nothing may overtake it.
            match self.share.settle() {
                Err(Unwritten::Waits(failure)) => {
                    self.doubt = Some(doubt);
                    return Err(failure);
                }
                Ok(()) | Err(Unwritten::Failed(_)) => doubt = Doubt { what, sent: 0 },
            }
        }
        if doubt.sent == 0 && self.share.is_over() {
            self.share = open(&self.topics, &self.cluster, &self.topic)?;
        }
        match self.share.write(epochs.iter().flat_map(EpochRows::runs), &mut doubt.sent) {
            Ok(()) => Ok(()),
            Err(Unwritten::Failed(failure)) => Err(failure),
            Err(Unwritten::Waits(failure)) => {
                self.doubt = Some(doubt);
                Err(failure)
            }
        }
    }
}
