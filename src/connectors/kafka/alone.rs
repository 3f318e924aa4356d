//! A topic that is written at least once by a producer of its own, which is idempotent.
//!
//! An epoch counts as written when every record of it was reported as delivered; then the journal notes it (I9).
//! What is in doubt (a broker that is away, a report that does not come) is sent again by a new producer.

use super::client::Cluster;
use super::native::NativeError;
use super::producer::{Producer, refusal};
use super::topics::Topics;
use crate::connectors::{EpochRows, SinkProgress, Writer};
use crate::report::Failure;

pub(super) struct AloneWriter {
    cluster: Cluster,
    topic: String,
    /// `None`: its last records are in doubt.
    producer: Option<Producer>,
}

impl AloneWriter {
    pub fn open(cluster: Cluster, topic: String) -> Result<AloneWriter, Failure> {
        let producer = Some(open(&cluster, &topic)?);
        Ok(AloneWriter { cluster, topic, producer })
    }
}

fn open(cluster: &Cluster, topic: &str) -> Result<Producer, Failure> {
    let topics = Topics::connect(cluster)?;
    topics.existing(topic)?;
    let limit = topics.limits(topic)?.batch_bytes_max.unwrap_or(1_000_000);
    Producer::open(cluster, None, &[topic], &[limit])
}

impl Writer for AloneWriter {
    fn progress(&self) -> Option<SinkProgress> {
        None
    }

    fn write(&mut self, _lineage: &str, epochs: &[EpochRows]) -> Result<(), Failure> {
        if epochs.iter().all(EpochRows::is_empty) {
            return Ok(());
        }
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => open(&self.cluster, &self.topic)?,
        };
        // SAFETY: the rows outlive this call, and so the producer if it is dropped here. It is kept only after
        // everything was delivered.
        let sent = epochs.iter().flat_map(EpochRows::runs).try_for_each(|rows| unsafe { producer.produce(0, rows) });
        let delivered = sent.and_then(|()| producer.deliver());
        match (delivered, producer.take_refused()) {
            (Ok(()), None) => {
                self.producer = Some(producer);
                Ok(())
            }
            (Err(error), refused) => Err(refusal(&self.cluster, producer.client(), error, refused)),
            (Ok(()), Some(refused)) => {
                let error = NativeError::of_code(refused.code);
                Err(refusal(&self.cluster, producer.client(), error, Some(refused)))
            }
        }
    }
}
