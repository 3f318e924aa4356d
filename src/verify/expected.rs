//! What the sink should have, as a stream.

use std::sync::Arc;

use super::order::Place;
use super::record::Origin;
use crate::connectors::kafka::{Cluster, Scan, Topics};
use crate::data::{Offset, Partition};
use crate::report::Failure;

/// A record that should be there.
pub struct Expectation<'a> {
    /// Its partition among [`Expected::parts`], and its place there: it grows from record to record.
    pub place: Place,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// The record that it is made of, where that is known.
    pub origin: Option<(usize, Partition, Offset)>,
}

/// A partition of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Index in [`Expected::topics`].
    pub topic: usize,
    pub partition: Partition,
    /// Where reading begins: what is older is not expected.
    pub begin: Offset,
}

/// Records that should be there. Each source partition's come in their order.
pub trait Expected {
    fn topics(&self) -> &[Arc<str>];

    fn parts(&self) -> &[Part];

    /// Shows some. False: all have been shown.
    fn more(&mut self, each: &mut dyn FnMut(&Expectation<'_>) -> Result<(), Failure>) -> Result<bool, Failure>;

    /// Which share has been shown, 0 to 1.
    fn share(&self) -> f64;

    /// Records of the source that have been read.
    fn read(&self) -> u64;

    /// True if a source is compacted: then records may be found whose source has gone since.
    fn compacted(&self) -> bool;

    /// Begins again, at the same beginning and to the same end.
    fn again(&mut self) -> Result<(), Failure>;

    /// A place in words. `at` may be approximate where several records were computed together.
    fn place(&self, place: Place) -> String;
}

/// A topic as it is: the sink should have each of its records.
pub struct TopicRecords {
    cluster: Cluster,
    topics: [Arc<str>; 1],
    parts: Vec<Part>,
    scan: Scan,
    /// Ends as of the first opening.
    ends: Vec<Offset>,
    compacted: bool,
    read: u64,
}

impl TopicRecords {
    pub fn open(cluster: &Cluster, topic: &str) -> Result<TopicRecords, Failure> {
        let scan = Scan::open(cluster, topic, 0)?;
        let parts = (0..).zip(scan.bounds()).map(|(partition, bounds)| Part { topic: 0, partition, begin: bounds.low });
        let (parts, ends) = (parts.collect(), scan.bounds().map(|bounds| bounds.high).collect());
        let compacted = Topics::connect(cluster)?.limits(topic)?.compacted;
        Ok(TopicRecords { cluster: cluster.clone(), topics: [topic.into()], parts, scan, ends, compacted, read: 0 })
    }
}

impl Expected for TopicRecords {
    fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    fn parts(&self) -> &[Part] {
        &self.parts
    }

    fn more(&mut self, each: &mut dyn FnMut(&Expectation<'_>) -> Result<(), Failure>) -> Result<bool, Failure> {
        let TopicRecords { scan, ends, read, .. } = self;
        scan.more(|record| {
            if record.offset >= ends.get(record.partition as usize).copied().unwrap_or(0) {
                return Ok(());
            }
            *read += 1;
            each(&Expectation {
                place: Place { part: record.partition as u32, at: record.offset },
                key: record.key(),
                value: record.value(),
                origin: Some((0, record.partition, record.offset)),
            })
        })
    }

    fn share(&self) -> f64 {
        self.scan.share()
    }

    fn read(&self) -> u64 {
        self.read
    }

    fn compacted(&self) -> bool {
        self.compacted
    }

    fn again(&mut self) -> Result<(), Failure> {
        self.scan = Scan::open(&self.cluster, &self.topics[0], 0)?;
        self.read = 0;
        Ok(())
    }

    fn place(&self, place: Place) -> String {
        format!("partition {} of `{}` offset {}", place.part, self.topics[0], place.at)
    }
}

/// The origin that a record's headers say.
pub fn origin<'h>(
    headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    topics: &[Arc<str>],
) -> Option<(usize, Partition, Offset)> {
    let mut origin = Origin::default();
    headers.for_each(|(name, value)| origin.note(name, value, topics));
    origin.get(topics)
}
