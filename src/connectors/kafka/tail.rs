//! Tells when the next output is committed to some topics: for tools that measure how soon that is.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::Cluster;
use super::consumer::Consumer;
use super::topics::Topics;
use crate::connectors::Bell;
use crate::data::{Offset, Partition, partition};
use crate::report::Failure;

/// The broker holds a fetch until something is committed, at most so long.
const FETCH: Duration = Duration::from_millis(500);

/// The ends of topics of one cluster.
pub struct Tail {
    topics: Topics,
    names: Vec<Arc<str>>,
    consumer: Consumer,
    watched: Vec<Partition>,
    bell: Bell,
}

impl Tail {
    /// Connects; the topics are there.
    pub fn open(cluster: &Cluster, topics: &[String]) -> Result<Tail, Failure> {
        let names: Vec<Arc<str>> = topics.iter().map(|topic| topic.as_str().into()).collect();
        let no_bell = |cause| Failure::outside("kafka.descriptor", "no file descriptor is left").because(cause);
        Ok(Tail {
            topics: Topics::seeing_uncommitted(cluster)?,
            consumer: Consumer::open(cluster, &names, FETCH, 1 << 20)?,
            names,
            watched: Vec::new(),
            bell: Bell::new().map_err(no_bell)?,
        })
    }

    /// From now on only what is written later counts. What is written already, and may be committed later, does not.
    pub fn begin(&mut self) -> Result<(), Failure> {
        self.end()?;
        let mut ends: Vec<(Partition, Offset)> = Vec::new();
        for (index, name) in self.names.iter().enumerate() {
            let count = self.topics.existing(name)?;
            let bounds = self.topics.bounds(name, count)?;
            ends.extend((0..).zip(bounds).map(|(number, bounds)| (partition::at(index, number), bounds.high)));
        }
        self.consumer.assign(&ends).map_err(|error| self.failure(error))?;
        self.watched = ends.into_iter().map(|(partition, _)| partition).collect();
        Ok(())
    }

    /// True once something that counts is committed; waits for it a little.
    pub fn came(&mut self, wait: Duration) -> Result<bool, Failure> {
        let mut came = false;
        self.consumer.take(usize::MAX, |message| came |= message.error() == Code::NoError);
        if let Some(refusal) = self.consumer.client().events().refusal() {
            return Err(Failure::user("kafka.refused", format!("the cluster no longer lets us in: {refusal:?}")));
        }
        if came {
            self.end()?;
            return Ok(true);
        }
        let filled = self.consumer.filled();
        self.bell.wait(&[filled.descriptor()], wait);
        filled.answer();
        Ok(false)
    }

    /// Reads no more: a pipeline's output may be far more than is worth reading.
    fn end(&mut self) -> Result<(), Failure> {
        let watched = std::mem::take(&mut self.watched);
        if watched.is_empty() {
            return Ok(());
        }
        self.consumer.unassign(&watched).map_err(|error| self.failure(error))
    }

    fn failure(&self, error: super::native::NativeError) -> Failure {
        Failure::outside("kafka.tail", "cannot watch the sinks' topics").because(error)
    }
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("topics", &self.names).finish_non_exhaustive()
    }
}
