//! Topics that records name themselves ([`Routes`]), written at least once by an idempotent producer of the sink's own.
//!
//! A topic is made, if it is not there, when the first record of it is to be sent. A producer knows its topics from the
//! start, so a new one does, and the one before ends. An epoch counts as written when every record of it was
//! reported as delivered; then the journal notes it (I9). What is in doubt is sent again by a new producer.

use std::sync::Arc;

use rdkafka::types::RDKafkaErrorCode;

use super::client::Cluster;
use super::native::NativeError;
use super::producer::{Producer, refusal};
use super::routes::Routes;
use super::topics::SharedTopics;
use crate::connectors::{EpochRows, SinkProgress, Writer};
use crate::data::EncodedRows;
use crate::report::Failure;

/// Largest batch of a topic that does not say.
const BATCH_BYTES_MAX: usize = 1_000_000;
/// So many topics that records named are kept in mind; then those that are not written now are forgotten.
const ROUTED_MAX: usize = 64;

pub(super) struct RoutedWriter {
    cluster: Cluster,
    routes: Routes,
    /// By the producer's index: names, and the largest batch that each takes once that was asked.
    topics: Vec<(Arc<str>, Option<usize>)>,
    /// `None`: its last records are in doubt, or it lacks a topic.
    producer: Option<Producer>,
}

impl RoutedWriter {
    pub fn open(cluster: Cluster, routes: Routes) -> Result<RoutedWriter, Failure> {
        let mut writer = RoutedWriter { cluster, routes, topics: Vec::new(), producer: None };
        // A cluster that is not there is told at the start.
        writer.producer = Some(writer.open_producer()?);
        Ok(writer)
    }

    fn open_producer(&mut self) -> Result<Producer, Failure> {
        let topics = SharedTopics::of(&self.cluster).topics()?;
        for (topic, limit) in self.topics.iter_mut().filter(|(_, limit)| limit.is_none()) {
            if topics.partitions(topic)?.is_none() {
                topics.create(&self.routes.new_topic(topic)?)?;
            }
            *limit = Some(topics.limits(topic)?.batch_bytes_max.unwrap_or(BATCH_BYTES_MAX));
        }
        let names: Vec<&str> = self.topics.iter().map(|(topic, _)| &**topic).collect();
        let limits: Vec<usize> = self.topics.iter().filter_map(|(_, limit)| *limit).collect();
        Producer::open(&self.cluster, None, &names, &limits)
    }

    /// Takes in topics that are named for the first time.
    fn meet(&mut self, epochs: &[EpochRows]) {
        let named = || epochs.iter().flat_map(EpochRows::runs).flat_map(|run| &run.destinations.topics);
        let mut new: Vec<&Arc<str>> = Vec::new();
        for topic in named() {
            if self.index(topic).is_none() && !new.contains(&topic) {
                new.push(topic);
            }
        }
        if new.is_empty() {
            return;
        }
        if self.topics.len() + new.len() > ROUTED_MAX {
            self.topics.retain(|(known, _)| named().any(|topic| topic == known));
        }
        self.topics.extend(new.into_iter().map(|topic| (topic.clone(), None)));
        self.producer = None;
    }

    fn index(&self, topic: &str) -> Option<usize> {
        self.topics.iter().position(|(known, _)| **known == *topic)
    }

    /// # Safety
    /// As `Producer::produce`.
    unsafe fn produce(&self, producer: &Producer, rows: &EncodedRows) -> Result<(), NativeError> {
        // All were met; were one left out, the numbers of those behind it would mean others.
        let topics: Option<Vec<usize>> = rows.destinations.topics.iter().map(|topic| self.index(topic)).collect();
        let topics = topics.ok_or_else(|| NativeError::of_code(RDKafkaErrorCode::UnknownTopic))?;
        // SAFETY: passed on to our caller.
        unsafe { producer.produce_each(&topics, rows) }
    }
}

impl Writer for RoutedWriter {
    fn progress(&self) -> Option<SinkProgress> {
        None
    }

    fn write(&mut self, _lineage: &str, epochs: &[EpochRows]) -> Result<(), Failure> {
        if epochs.iter().all(EpochRows::is_empty) {
            return Ok(());
        }
        self.meet(epochs);
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.open_producer()?,
        };
        // SAFETY: the rows outlive this call, and so the producer if it is dropped here. It is kept only after
        // everything was delivered.
        let sent =
            epochs.iter().flat_map(EpochRows::runs).try_for_each(|rows| unsafe { self.produce(&producer, rows) });
        let delivered = sent.and_then(|()| producer.deliver());
        let error = match (delivered, producer.take_refused()) {
            (Ok(()), None) => {
                self.producer = Some(producer);
                return Ok(());
            }
            (Err(error), refused) => refusal(&self.cluster, producer.client(), error, refused),
            (Ok(()), Some(refused)) => {
                let error = NativeError::of_code(refused.code);
                refusal(&self.cluster, producer.client(), error, Some(refused))
            }
        };
        // A topic may be gone, or another one.
        self.topics.iter_mut().for_each(|(_, limit)| *limit = None);
        Err(error)
    }
}
