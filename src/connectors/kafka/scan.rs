//! Reads a topic once, from its beginning to its end as of now: committed records only, straight from the client's memory.
//!
//! For tools that look at millions of records and keep none. Markers, aborted records and what compaction took are never
//! seen: they are no records. A pipeline reads by [`super::KafkaSource`], whose positions can be taken up again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::Cluster;
use super::consumer::{Consumer, Message};
use super::native::NativeError;
use super::topics::{Bounds, Topics};
use crate::connectors::Bell;
use crate::data::{Offset, Partition};
use crate::report::Failure;
use crate::time::Millis;

/// The broker holds a fetch that finds nothing: an end behind a marker is seen with its answer.
const END_WITHIN: Duration = Duration::from_millis(100);
/// How long nothing may come before the broker counts as gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// A topic that is being read.
pub struct Scan {
    cluster: Cluster,
    topic: Arc<str>,
    consumer: Consumer,
    partitions: Vec<Progress>,
    /// Partitions that have not ended.
    open: usize,
    bell: Bell,
    moved: Instant,
}

struct Progress {
    bounds: Bounds,
    next: Offset,
    ended: bool,
}

/// A committed record, while [`Scan::more`] shows it.
pub struct Scanned<'a> {
    message: &'a Message<'a>,
    pub partition: Partition,
    pub offset: Offset,
}

impl Scanned<'_> {
    pub fn key(&self) -> Option<&[u8]> {
        self.message.key()
    }

    /// `None`: a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.message.value()
    }

    pub fn timestamp(&self) -> Option<Millis> {
        self.message.timestamp()
    }

    /// Shows its headers, in order and with duplicates.
    pub fn headers(&self, each: impl FnMut(&[u8], Option<&[u8]>)) {
        self.message.each_header(each);
    }
}

impl Scan {
    /// Connects and asks for the ends. `fetch_bytes` is about what the client may fetch ahead; 0: a default.
    ///
    /// # Errors
    /// `kafka.unreachable` within two seconds, `kafka.unknown_topic`, or why there is no way in.
    pub fn open(cluster: &Cluster, topic: &str, fetch_bytes: usize) -> Result<Scan, Failure> {
        let topics = Topics::connect(cluster)?;
        let bounds = topics.existing(topic).and_then(|count| topics.bounds(topic, count))?;
        let topic: Arc<str> = topic.into();
        let consumer = Consumer::open(cluster, std::slice::from_ref(&topic), END_WITHIN, fetch_bytes)?;
        let progress = |bounds: Bounds| Progress { next: bounds.low, ended: bounds.low >= bounds.high, bounds };
        let partitions: Vec<Progress> = bounds.into_iter().map(progress).collect();
        let open: Vec<(Partition, Offset)> =
            (0..).zip(&partitions).filter(|(_, p)| !p.ended).map(|(number, p)| (number, p.next)).collect();
        let no_bell = |cause| Failure::outside("kafka.descriptor", "no file descriptor is left").because(cause);
        let mut scan = Scan {
            cluster: cluster.clone(),
            topic,
            consumer,
            partitions,
            open: open.len(),
            bell: Bell::new().map_err(no_bell)?,
            moved: Instant::now(),
        };
        if !open.is_empty() {
            scan.consumer.assign(&open).map_err(|error| scan.failure("begin to read", error))?;
        }
        Ok(scan)
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Where its partitions begin and end, as of the opening.
    pub fn bounds(&self) -> impl Iterator<Item = Bounds> {
        self.partitions.iter().map(|partition| partition.bounds)
    }

    /// Which share of the offsets lies behind, 0 to 1.
    pub fn share(&self) -> f64 {
        let all: i64 = self.partitions.iter().map(|p| p.bounds.high - p.bounds.low).sum();
        let left: i64 = self.partitions.iter().filter(|p| !p.ended).map(|p| p.bounds.high - p.next).sum();
        if all == 0 { 1.0 } else { 1.0 - left as f64 / all as f64 }
    }

    pub fn ended(&self) -> bool {
        self.open == 0
    }

    /// Shows what has come, at most about a thousand records; waits for it a little. False: everything was shown.
    ///
    /// # Errors
    /// The broker has gone, records were deleted meanwhile, or `each` fails: the first of its errors, with the rest of
    /// what had come unseen.
    pub fn more(&mut self, mut each: impl FnMut(&Scanned<'_>) -> Result<(), Failure>) -> Result<bool, Failure> {
        if self.ended() {
            return Ok(false);
        }
        let (mut met, mut failed, mut trouble) = (Vec::new(), None, None);
        let mut any = false;
        let partitions = &mut self.partitions;
        let full = self.consumer.take(usize::MAX, |message| {
            any = true;
            let partition = message.partition();
            let Some((number, progress)) = partition.and_then(|p| Some((p, partitions.get_mut(p as usize)?))) else {
                trouble = trouble.take().or_else(|| Some((message.error(), message.reason())));
                return;
            };
            if progress.ended {
                return;
            }
            let next = match message.error() {
                Code::NoError => message.offset() + 1,
                Code::PartitionEOF => message.offset(),
                code => {
                    trouble = trouble.take().or_else(|| Some((code, message.reason())));
                    return;
                }
            };
            let is_record = message.error() == Code::NoError && message.offset() < progress.bounds.high;
            if is_record && failed.is_none() {
                let shown = Scanned { message, partition: number, offset: message.offset() };
                failed = each(&shown).err();
            }
            progress.next = next.min(progress.bounds.high);
            if next >= progress.bounds.high {
                progress.ended = true;
                met.push(number);
            }
        });
        if let Some(failure) = failed {
            return Err(failure);
        }
        if let Some((code, reason)) = trouble {
            self.heed(code, reason)?;
        }
        if !met.is_empty() {
            self.open -= met.len();
            self.consumer.unassign(&met).map_err(|error| self.failure("stop reading", error))?;
        }
        if any {
            self.moved = Instant::now();
        } else if self.moved.elapsed() > PATIENCE {
            return Err(self.cluster.unreachable(self.consumer.client()));
        }
        if !full && !self.ended() {
            let filled = self.consumer.filled();
            self.bell.wait(&[filled.descriptor()], Duration::from_millis(200));
            filled.answer();
        }
        Ok(!self.ended())
    }

    /// An error among the messages. librdkafka goes on by itself after most.
    fn heed(&self, code: Code, reason: String) -> Result<(), Failure> {
        if let Some(refusal) = self.consumer.client().events().refusal() {
            return Err(self.cluster.refused(refusal));
        }
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => {
                let title = format!("records of topic `{}` were deleted while it was read", self.topic);
                Err(Failure::outside("kafka.deleted", title).because(reason))
            }
            Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut => Ok(()),
            _ => Err(self.failure("read", NativeError { text: reason, ..NativeError::of_code(code) })),
        }
    }

    fn failure(&self, doing: &str, error: NativeError) -> Failure {
        self.cluster.failure(self.consumer.client(), &format!("{doing} topic `{}`", self.topic), error)
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("topic", &self.topic).field("share", &self.share()).finish_non_exhaustive()
    }
}
