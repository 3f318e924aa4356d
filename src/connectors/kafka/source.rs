//! A topic as a source.
//!
//! Starts are numbers as soon as they are known: "latest" and timestamps are resolved when the
//! source is discovered, never later. A position that the broker no longer has is a failure with
//! the count of what is missing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::client::Cluster;
use super::native::Client;
use super::options::{Start, Until};
use super::reader::KafkaReader;
use super::topics::{self, Bounds, Topics};
use crate::connectors::{PartitionStart, Reader, Reported, Source, Wanted};
use crate::data::{Offset, Partition, Position, SourceIndex};
use crate::report::Failure;
use crate::time::{Clock, SystemClock};

/// A topic to be read.
pub struct KafkaSource {
    /// With the source's own properties.
    pub cluster: Cluster,
    pub topic: Arc<str>,
    /// Where progress is shown to lag tools; never joined.
    pub group: String,
    pub start: Start,
    /// `None`: goes on for ever.
    pub until: Option<Until>,
    clock: Arc<dyn Clock>,
    /// Made when progress is first reported.
    progress: Mutex<Option<Client>>,
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPosition {
    pub offset: Offset,
    /// What [`Source::report_progress`] was given; something else if another tool moved the group (I16).
    pub metadata: String,
}

impl KafkaSource {
    pub fn new(cluster: Cluster, topic: &str, group: &str, start: Start, until: Option<Until>) -> KafkaSource {
        KafkaSource {
            cluster,
            topic: topic.into(),
            group: group.to_owned(),
            start,
            until,
            clock: SystemClock::shared(),
            progress: Mutex::new(None),
        }
    }

    /// Where the group stands. A partition that is missing has no position (or it expired): that
    /// means nothing. One whose metadata is not ours was moved by somebody (I16).
    pub fn group_position(&self) -> Result<BTreeMap<Partition, GroupPosition>, Failure> {
        let topics = Topics::connect(&self.cluster)?;
        let partitions = topics.existing(&self.topic)?;
        let committed = topics.committed(&self.topic, partitions, &self.group)?;
        let position = |(partition, (offset, metadata))| (partition, GroupPosition { offset, metadata });
        Ok(committed.into_iter().map(position).collect())
    }

    /// Offsets at which to begin.
    fn starts(&self, topics: &Topics, bounds: &[Bounds]) -> Result<Vec<Offset>, Failure> {
        let earliest = || bounds.iter().map(|bounds| bounds.low);
        let chosen: Vec<Offset> = match &self.start {
            Start::Earliest => earliest().collect(),
            Start::Latest => bounds.iter().map(|bounds| bounds.high).collect(),
            Start::Timestamp(moment) => {
                topics.offsets_at(&self.topic, bounds.len(), moment.resolve(self.clock.now()))?
            }
            Start::Offsets(offsets) => {
                self.check_listed(offsets.partitions(&self.topic), bounds.len(), "start")?;
                let listed = |(partition, low)| offsets.of(&self.topic, partition).unwrap_or(low);
                (0..).zip(earliest()).map(listed).collect()
            }
            Start::Group(group) => {
                let committed = self.group_offsets(topics, group, bounds.len())?;
                (0..)
                    .zip(earliest())
                    .map(|(partition, low)| committed.get(&partition).copied().unwrap_or(low))
                    .collect()
            }
        };
        for ((partition, start), bounds) in chosen.iter().enumerate().zip(bounds) {
            if !(bounds.low..=bounds.high).contains(start) {
                let Bounds { low, high } = bounds;
                return Err(Failure::user(
                    "kafka.start_out_of_range",
                    format!(
                        "partition {partition} of `{}` cannot begin at offset {start}: it has {low} to {high}",
                        self.topic
                    ),
                )
                .hint("correct `start`"));
            }
        }
        Ok(chosen)
    }

    /// Offsets at which to end.
    fn ends(&self, topics: &Topics, bounds: &[Bounds]) -> Result<Vec<Option<Offset>>, Failure> {
        let highest = || bounds.iter().map(|bounds| bounds.high);
        let ends: Vec<Offset> = match &self.until {
            None => return Ok(vec![None; bounds.len()]),
            Some(Until::End) => highest().collect(),
            Some(Until::Timestamp(moment)) => {
                topics.offsets_at(&self.topic, bounds.len(), moment.resolve(self.clock.now()))?
            }
            Some(Until::Offsets(offsets)) => {
                self.check_listed(offsets.partitions(&self.topic), bounds.len(), "until")?;
                (0..).zip(highest()).map(|(p, high)| offsets.of(&self.topic, p).unwrap_or(high)).collect()
            }
            Some(Until::Group(group)) => {
                let committed = self.group_offsets(topics, group, bounds.len())?;
                (0..)
                    .zip(highest())
                    .map(|(partition, high)| committed.get(&partition).copied().unwrap_or(high))
                    .collect()
            }
        };
        Ok(ends.into_iter().map(Some).collect())
    }

    fn check_listed(
        &self,
        mut listed: impl Iterator<Item = Partition>,
        count: usize,
        key: &str,
    ) -> Result<(), Failure> {
        match listed.find(|partition| *partition as usize >= count) {
            Some(partition) => Err(Failure::user(
                "kafka.unknown_partition",
                format!("`{key}` names partition {partition} of `{}`, which has {count} partitions", self.topic),
            )),
            None => Ok(()),
        }
    }

    fn group_offsets(
        &self,
        topics: &Topics,
        group: &str,
        partitions: usize,
    ) -> Result<BTreeMap<Partition, Offset>, Failure> {
        let committed = topics.committed(&self.topic, partitions, group)?;
        if committed.is_empty() {
            let title = format!("group `{group}` has no position in `{}`", self.topic);
            return Err(Failure::user("kafka.unknown_group", title)
                .hint("correct the name; positions of a group without members expire after seven days by default"));
        }
        Ok(committed.into_iter().map(|(partition, (offset, _))| (partition, offset)).collect())
    }

    /// Positions that the broker cannot serve any more.
    fn check_known(&self, known: &BTreeMap<Partition, Offset>, bounds: &[Bounds]) -> Result<(), Failure> {
        let topic = &self.topic;
        let mut missing = 0;
        let mut gaps = Vec::new();
        for (partition, position) in known {
            let Some(Bounds { low, high }) = usize::try_from(*partition).ok().and_then(|index| bounds.get(index))
            else {
                let title = format!("partition {partition} of `{topic}` is gone: the topic has {} now", bounds.len());
                return Err(recreated(title));
            };
            if position > high {
                let title =
                    format!("partition {partition} of `{topic}` was read up to offset {position} and ends at {high}");
                return Err(recreated(title));
            }
            if position < low {
                missing += low - position;
                gaps.push(format!("partition {partition}: {position} to {}", low - 1));
            }
        }
        if missing == 0 {
            return Ok(());
        }
        let title = format!("{missing} records of `{topic}` that are still to be read were deleted by the broker");
        Err(expired(title, gaps.join(", ")))
    }
}

/// The failure for records that are needed and gone; `on_expired` will decide about them one day.
pub(super) fn expired(title: String, offsets: String) -> Failure {
    Failure::outside("kafka.expired", title)
        .because(format!("offsets {offsets}"))
        .hint(
            "`on_expired` is `fail`, so nothing is skipped: raise the topic's retention and begin anew with `--fresh`, \
             which reads what is left",
        )
        .no_retry()
}

fn recreated(title: String) -> Failure {
    Failure::outside("kafka.recreated", title)
        .hint("was the topic deleted and made again? then begin anew with `--fresh`")
        .no_retry()
}

impl Source for KafkaSource {
    fn connector(&self) -> &'static str {
        "kafka"
    }

    fn reads(&self) -> String {
        format!("topic `{}`", self.topic)
    }

    fn discover(&self, known: &BTreeMap<Partition, Position>) -> Result<Vec<PartitionStart>, Failure> {
        let topics = Topics::connect(&self.cluster)?;
        let count = topics.existing(&self.topic)?;
        let bounds = topics.bounds(&self.topic, count)?;
        let known = known_offsets(known)?;
        self.check_known(&known, &bounds)?;
        let starts = match known.is_empty() {
            true => self.starts(&topics, &bounds)?,
            // A partition that was added since holds only records that came since: none may be skipped.
            false => (0..).zip(&bounds).map(|(p, bounds)| known.get(&p).copied().unwrap_or(bounds.low)).collect(),
        };
        let ends = self.ends(&topics, &bounds)?;
        let start = |((partition, start), end): ((usize, Offset), Option<Offset>)| PartitionStart {
            partition: partition as Partition,
            start: Position::offset(start),
            end: end.map(Position::offset),
        };
        Ok(starts.into_iter().enumerate().zip(ends).map(start).collect())
    }

    fn open(&self, source: SourceIndex, share: &[PartitionStart], wanted: Wanted) -> Result<Box<dyn Reader>, Failure> {
        Ok(Box::new(KafkaReader::open(&self.cluster, &self.topic, &self.group, source, share, wanted)?))
    }

    fn has_timestamps(&self) -> bool {
        true
    }

    fn report_progress(&self, positions: &BTreeMap<Partition, Position>, metadata: &str) -> Result<(), Failure> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match &mut *progress {
            Some(client) => client,
            none => none.insert(topics::group_client(&self.cluster, &self.group)?),
        };
        let positions: Vec<_> = known_offsets(positions)?.into_iter().collect();
        topics::commit_group(&self.cluster, client, &self.topic, &positions, metadata)
    }

    fn reported(&self) -> Result<BTreeMap<Partition, Reported>, Failure> {
        let place = format!("group `{}` in topic `{}`", self.group, self.topic);
        let reported = |(partition, GroupPosition { offset, metadata })| {
            (partition, Reported { position: Position::offset(offset), metadata, place: place.clone() })
        };
        Ok(self.group_position()?.into_iter().map(reported).collect())
    }
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource")
            .field("cluster", &self.cluster)
            .field("topic", &self.topic)
            .field("group", &self.group)
            .field("start", &self.start)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

pub(super) fn known_offset(position: &Position) -> Result<Offset, Failure> {
    let offset = position.as_offset().filter(|offset| *offset >= 0);
    offset.ok_or_else(|| Failure::bug("kafka.position", format!("{} is not an offset", position.0)))
}

fn known_offsets(known: &BTreeMap<Partition, Position>) -> Result<BTreeMap<Partition, Offset>, Failure> {
    known.iter().map(|(partition, position)| Ok((*partition, known_offset(position)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> KafkaSource {
        KafkaSource::new(Cluster::default(), "t", "g", Start::Earliest, None)
    }

    #[test]
    fn missing_records_are_counted_over_all_partitions() {
        let bounds = [Bounds { low: 10, high: 20 }, Bounds { low: 5, high: 5 }];
        let failure = source().check_known(&BTreeMap::from([(0, 7), (1, 1)]), &bounds).unwrap_err();
        assert_eq!(failure.code, "kafka.expired");
        assert!(failure.to_string().starts_with("7 records of `t`"), "{failure}");
        assert!(failure.to_string().contains("partition 0: 7 to 9, partition 1: 1 to 4"), "{failure}");
    }

    #[test]
    fn a_position_behind_the_end_means_another_topic() {
        let bounds = [Bounds { low: 0, high: 3 }];
        assert_eq!(source().check_known(&BTreeMap::from([(0, 4)]), &bounds).unwrap_err().code, "kafka.recreated");
        assert_eq!(source().check_known(&BTreeMap::from([(1, 0)]), &bounds).unwrap_err().code, "kafka.recreated");
        assert!(source().check_known(&BTreeMap::from([(0, 3)]), &bounds).is_ok());
    }
}
