//! Kafka: sources, sinks and the journal that commits with them.
//!
//! The one room that names librdkafka. `native` owns its handles and callbacks, `consumer` its
//! assigned partitions, `producer` its transactions, `shared` what many write with at least once, `crowd` what many read with that wait; above them stand [`Cluster`] (where, and with
//! which properties), [`Topics`] (questions and administration), [`KafkaSource`] with its reader,
//! [`KafkaSink`] and [`KafkaJournal`], which writes those sinks; and [`Scan`] and [`Tail`], for tools.
//!
//! Everything here blocks; every call that leaves the process has a time limit, and a cluster that
//! is away is named within two seconds (`kafka.unreachable`, a retry helps). So is one that refuses our
//! login (`kafka.authentication`) or whose certificate, or ours, is not accepted (`kafka.certificate`): these
//! are final, at the start and later, because only other settings help.

mod alone;
mod awaited;
mod client;
mod consumer;
mod crowd;
mod further;
mod journal;
mod native;
mod options;
mod producer;
mod properties;
mod reader;
mod routed;
mod routes;
mod scan;
mod shared;
mod sink;
mod source;
mod tail;
mod tails;
mod ticket;
mod topics;
mod watch;

pub use awaited::{Schemas, ValueSchema};
pub use client::Cluster;
pub use further::Further;
pub use journal::{JournalSink, KafkaJournal};
pub use options::{KafkaSinkOptions, KafkaSourceOptions, Moment, OnExpired, Start, TopicName, TopicOffsets, Until};
pub use properties::Properties;
pub use routes::Routes;
pub use scan::{Scan, Scanned};
pub use sink::{KafkaSink, Written};
pub use source::{GroupPosition, KafkaSource};
pub use tail::Tail;
pub use topics::{Bounds, NewTopic, SharedTopics, SinkLimits, Topics};
