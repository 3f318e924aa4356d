//! The last committed record of each partition of a topic.
//!
//! Found by reading: the offset before a partition's end may be that of a marker or of an aborted record, and the broker's
//! answer to "the newest timestamp" counts those too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::Cluster;
use super::consumer::Consumer;
use super::native::NativeError;
use super::topics::{Bounds, Topics};
use crate::connectors::{Tail, Tails};
use crate::data::{Offset, Partition};
use crate::report::Failure;

/// A record and the marker of its transaction.
const FIRST_LOOK: Offset = 2;
/// What was aborted may be long: each look goes so much further back than the one before.
const FURTHER: Offset = 8;
const END_WITHIN: Duration = Duration::from_millis(10);
const QUEUE_BYTES: usize = 4 << 20;
/// Without progress for this long, reading fails.
const TIMEOUT: Duration = Duration::from_secs(30);

/// By partition; those that never had a committed record are left out, and so is everything of a topic that is not there.
pub(super) fn read(cluster: &Cluster, topic: &str) -> Result<Tails, Failure> {
    let topics = Topics::connect(cluster)?;
    let Some(partitions) = topics.partitions(topic)? else { return Ok(Tails::default()) };
    let bounds = topics.bounds(topic, partitions)?;
    let looked: BTreeMap<Partition, Offset> = (0..)
        .zip(&bounds)
        .filter(|(_, bounds)| bounds.high > bounds.low)
        .map(|(number, bounds)| (number, bounds.high))
        .collect();
    let records = if looked.is_empty() { Vec::new() } else { last_committed(cluster, topic, &bounds, looked)? };
    let has_one = |partition: Partition| records.iter().any(|tail| tail.partition == partition);
    let emptied = (0..).zip(&bounds).filter(|(number, bounds)| bounds.low > 0 && !has_one(*number));
    let emptied = emptied.map(|(number, _)| number).collect();
    Ok(Tails { records, emptied })
}

/// Looks further and further back from the ends of these partitions.
fn last_committed(
    cluster: &Cluster,
    topic: &str,
    bounds: &[Bounds],
    mut looked: BTreeMap<Partition, Offset>,
) -> Result<Vec<Tail>, Failure> {
    let mut tails = Vec::new();
    let mut consumer = Consumer::open(cluster, &[topic.into()], END_WITHIN, QUEUE_BYTES)?;
    let mut look = FIRST_LOOK;
    while !looked.is_empty() {
        let from = |(partition, _): (&Partition, &Offset)| {
            let Bounds { low, high } = bounds[*partition as usize];
            (*partition, low.max(high.saturating_sub(look)))
        };
        let starts: BTreeMap<Partition, Offset> = looked.iter().map(from).collect();
        let found = last_of(cluster, topic, &mut consumer, &starts, &looked)?;
        for (partition, start) in starts {
            let bounds = bounds[partition as usize];
            // Nothing committed is left below the beginning.
            if found.contains_key(&partition) || start == bounds.low {
                looked.remove(&partition);
            } else {
                looked.insert(partition, start);
            }
        }
        tails.extend(found.into_values());
        look = look.saturating_mul(FURTHER);
    }
    tails.sort_by_key(|tail| tail.partition);
    Ok(tails)
}

/// The last record of each partition between these offsets.
fn last_of(
    cluster: &Cluster,
    topic: &str,
    consumer: &mut Consumer,
    starts: &BTreeMap<Partition, Offset>,
    ends: &BTreeMap<Partition, Offset>,
) -> Result<BTreeMap<Partition, Tail>, Failure> {
    let doing = format!("read the newest records of topic `{topic}`");
    let fail = |consumer: &Consumer, error| cluster.failure(consumer.client(), &doing, error);
    let assigned: Vec<(Partition, Offset)> = starts.iter().map(|(partition, from)| (*partition, *from)).collect();
    consumer.assign(&assigned).map_err(|error| fail(consumer, error))?;
    let mut open: BTreeMap<Partition, Offset> = ends.clone();
    let mut tails: BTreeMap<Partition, Tail> = BTreeMap::new();
    let mut deadline = Instant::now() + TIMEOUT;
    while !open.is_empty() {
        let mut failed = None;
        let mut came = false;
        let more = consumer.take(usize::MAX, |message| {
            let (code, partition) = (message.error(), message.partition());
            let end = partition.and_then(|partition| open.get(&partition).copied());
            match (code, partition, end) {
                (Code::NoError | Code::PartitionEOF, Some(partition), Some(end)) => {
                    came = true;
                    let offset = message.offset();
                    if code == Code::NoError && offset < end {
                        let (timestamp, append_time) = (message.timestamp(), message.is_append_time());
                        let headers = message.headers();
                        tails.insert(partition, Tail { partition, offset, timestamp, append_time, headers });
                    }
                    if code == Code::PartitionEOF || offset + 1 >= end {
                        open.remove(&partition);
                    }
                }
                (Code::NoError | Code::PartitionEOF | Code::BrokerTransportFailure | Code::AllBrokersDown, _, _) => {}
                (code, _, _) => failed = Some(NativeError { text: message.reason(), ..NativeError::of_code(code) }),
            }
        });
        if let Some(error) = failed {
            return Err(fail(consumer, error));
        }
        if came {
            deadline = Instant::now() + TIMEOUT;
        } else if Instant::now() > deadline {
            return Err(fail(consumer, NativeError::of_code(Code::OperationTimedOut)));
        }
        if !more && !open.is_empty() {
            consumer.filled().wait(&[], Duration::from_millis(100));
        }
    }
    let assigned: Vec<Partition> = starts.keys().copied().collect();
    consumer.unassign(&assigned).map_err(|error| fail(consumer, error))?;
    Ok(tails)
}
