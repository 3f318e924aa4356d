//! The Kafka connector against a real broker.

mod journal;
mod reading;
mod writers;

use std::collections::BTreeMap;
use std::time::Duration;

use runner::connectors::kafka::{Cluster, NewTopic, Topics};
use runner::data::{EncodedRecord, EncodedRows};
use runner::journal::SinkRows;

use crate::servers::{self, TestRecord};

const PATIENCE: Duration = Duration::from_secs(30);

fn cluster() -> Cluster {
    Cluster::new(servers::kafka(), BTreeMap::new()).unwrap()
}

/// Rows for sink 2, one per text, without keys.
fn rows(texts: &[&str]) -> Vec<SinkRows> {
    let mut rows = EncodedRows::default();
    for text in texts {
        let value = Some(rows.put(text.as_bytes()));
        rows.records.push(EncodedRecord { key: None, value, timestamp: None, headers: 0..0 });
    }
    vec![SinkRows { sink: 2, rows: vec![rows] }]
}

fn texts(topic: &str) -> Vec<String> {
    servers::read(topic).iter().map(TestRecord::text).collect()
}

#[test]
fn topics_are_made_described_and_deleted() {
    let topics = Topics::connect(&cluster()).unwrap();
    let config = BTreeMap::from([
        ("cleanup.policy".to_owned(), "compact".to_owned()),
        ("max.message.bytes".to_owned(), "5000".to_owned()),
    ]);
    let new = NewTopic { name: servers::unique("made"), partitions: Some(3), replication: None, config };
    assert_eq!(topics.partitions(&new.name).unwrap(), None);
    assert!(topics.create(&new).unwrap());
    assert!(!topics.create(&new).unwrap(), "it is there already");
    let limits = topics.limits(&new.name).unwrap();
    assert_eq!((limits.partitions, limits.batch_bytes_max, limits.compacted), (3, Some(5_000), true));
    assert_eq!((limits.ahead_ms_max, limits.append_time), (Some(3_600_000), false));
    assert!(topics.delete(&new.name).unwrap() && !topics.delete(&new.name).unwrap());
    assert_eq!(topics.partitions(&new.name).unwrap(), None);
    let bad = NewTopic { name: servers::unique("bad"), replication: Some(3), ..NewTopic::default() };
    assert_eq!(topics.create(&bad).unwrap_err().code, "kafka.create_topic");
}
