//! A topic as a sink.
//!
//! Delivery: exactly once. The rows are written by [`super::KafkaJournal`], in the transaction of
//! the journal's record (I9), so this is only a description.

use std::collections::BTreeMap;

use super::client::Cluster;
use crate::connectors::{Delivery, Sink, Writer};
use crate::report::Failure;

/// A topic to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSink {
    /// Of the connection, without the sink's own properties.
    pub cluster: Cluster,
    pub topic: String,
    /// Of the sink.
    pub properties: BTreeMap<String, String>,
}

impl Sink for KafkaSink {
    fn connector(&self) -> &'static str {
        "kafka"
    }

    fn delivery(&self) -> Delivery {
        Delivery::Transaction
    }

    fn open(&self) -> Result<Box<dyn Writer>, Failure> {
        Err(Failure::bug("kafka.writer", format!("topic `{}` is written by the journal", self.topic)))
    }
}
