//! Topics as a source.
//!
//! Starts are numbers as soon as they are known: "latest" and timestamps are resolved when the
//! source is discovered, never later. A position that the broker no longer has is a failure with
//! the count of what is missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::awaited::Schemas;
use super::client::Cluster;
use super::options::{OnExpired, Start, Until};
use super::reader::KafkaReader;
use super::sink::KafkaSink;
use super::topics::{Bounds, SharedTopics, Topics};
use super::watch::Watch;
use crate::connectors::{Gone, Known, NEW_TOPICS, PartitionStart, Reader, Reported, Sink, Source, Wanted};
use crate::data::{Offset, Partition, Position, SourceIndex, partition};
use crate::kafka_connect::pattern::Pattern;
use crate::report::Failure;
use crate::time::{Clock, Millis, SystemClock};

/// Topics to be read.
pub struct KafkaSource {
    /// With the source's own properties.
    pub cluster: Cluster,
    /// In the order of the list.
    pub topics: Arc<[Arc<str>]>,
    /// Where progress is shown to lag tools; never joined.
    pub group: String,
    pub start: Start,
    /// `None`: goes on for ever.
    pub until: Option<Until>,
    pub on_expired: OnExpired,
    /// The regex that the topics fit, if they were found by one.
    pattern: Option<String>,
    /// What others that come to fit it need; `None`: a record is enough.
    schemas: Option<Schemas>,
    clock: Arc<dyn Clock>,
    pub(super) watch: Arc<Watch>,
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPosition {
    pub offset: Offset,
    /// What [`Source::report_progress`] was given; something else if another tool moved the group (I16).
    pub metadata: String,
}

/// One topic as it is now.
struct TopicNow<'a> {
    index: usize,
    name: &'a str,
    /// By partition.
    bounds: Vec<Bounds>,
}

impl KafkaSource {
    pub fn new(
        cluster: Cluster,
        topics: impl IntoIterator<Item: AsRef<str>>,
        group: &str,
        start: Start,
        until: Option<Until>,
    ) -> KafkaSource {
        KafkaSource {
            cluster,
            topics: topics.into_iter().map(|topic| Arc::from(topic.as_ref())).collect(),
            group: group.to_owned(),
            start,
            until,
            on_expired: OnExpired::Fail,
            pattern: None,
            schemas: None,
            clock: SystemClock::shared(),
            watch: Arc::default(),
        }
    }

    pub fn on_expired(self, on_expired: OnExpired) -> Self {
        KafkaSource { on_expired, ..self }
    }

    /// The topics are those that fit a regex: others that come to fit it are looked for.
    pub fn matching(self, pattern: Option<String>) -> Self {
        KafkaSource { pattern, ..self }
    }

    /// Others that come to fit the regex are read once their schemas are there.
    pub fn awaiting(self, schemas: Option<Schemas>) -> Self {
        KafkaSource { schemas, ..self }
    }

    /// # Errors
    /// `source.new_topics`: a start would find more of them.
    fn look_for_others(&self) -> Result<(), Failure> {
        let Some(pattern) = &self.pattern else { return Ok(()) };
        let topics = SharedTopics::of(&self.cluster).topics()?;
        let names = topics.matching(pattern)?;
        let mut new: Vec<Arc<str>> = Vec::new();
        for name in names.iter().filter(|name| self.topics.iter().all(|known| **known != ***name)) {
            // One without a record, or a schema, is no news: nothing of it could be read.
            let Some(partitions) = topics.partitions(name)? else { continue };
            let has_records = topics.bounds(name, partitions)?.iter().any(|bounds| bounds.low < bounds.high);
            if has_records && self.schemas.as_ref().is_none_or(|schemas| schemas.are_there(name)) {
                new.push(name.as_str().into());
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let title = format!("{} came, which `{pattern}` fits", topics_in_words(&new));
        Err(Failure::outside(NEW_TOPICS, title).hint("start again to read it too: nothing is lost"))
    }

    /// Where a partition goes on that has lost what is needed; `None`: it has not.
    fn gone_of(
        &self,
        topics: &Topics,
        now: &TopicNow<'_>,
        partition: Partition,
        known: &Known,
    ) -> Result<Option<Gone>, Failure> {
        let (replay, end) = (known_offset(&known.replay)?, known_offset(&known.end)?);
        let number = partition::number(partition);
        // A topic with fewer partitions is another one: discovering says so.
        let Some(Bounds { low, high }) = now.bounds.get(number as usize).copied() else { return Ok(None) };
        let is_same = self.another(now.name, known).is_none();
        if is_same && (low..=high).contains(&end) {
            return Ok((replay < low).then_some(Gone {
                at: Position::offset(low),
                unread: false,
                again: None,
                missing: 0,
            }));
        }
        let at = expired_place(topics, now.name, number, self.on_expired, known.max_timestamp, Bounds { low, high })?;
        // Of a topic that was made anew nobody knows how much of the old one was unread.
        let missing = if is_same && end < low { at - end } else { 0 };
        Ok(Some(Gone { at: Position::offset(at), unread: true, again: None, missing: missing.max(0) as u64 }))
    }

    /// The topic's id as it was and as it is, where another topic has its name now.
    fn another(&self, topic: &str, known: &Known) -> Option<(String, String)> {
        let ids = (known.topic_id.clone()?, self.watch.id(topic)?);
        (ids.0 != ids.1).then_some(ids)
    }

    /// Where the group stands. A partition that is missing has no position (or it expired): that
    /// means nothing. One whose metadata is not ours was moved by somebody (I16).
    pub fn group_position(&self) -> Result<BTreeMap<Partition, GroupPosition>, Failure> {
        let topics = SharedTopics::of(&self.cluster).topics()?;
        let mut positions = BTreeMap::new();
        for (index, topic) in self.topics.iter().enumerate() {
            let partitions = topics.existing(topic)?;
            let committed = topics.committed(topic, partitions, &self.group)?;
            positions.extend(committed.into_iter().map(|(number, (offset, metadata))| {
                (partition::at(index, number), GroupPosition { offset, metadata })
            }));
        }
        Ok(positions)
    }

    /// The topics with where their partitions begin and end.
    fn now(&self, topics: &Topics) -> Result<Vec<TopicNow<'_>>, Failure> {
        let of = |(index, name): (usize, &'_ Arc<str>)| {
            let count = topics.existing(name)?;
            if count > partition::NUMBERS_MAX {
                return Err(Failure::user("kafka.partitions", format!("topic `{name}` has {count} partitions")));
            }
            Ok((index, topics.bounds(name, count)?))
        };
        let bounds = self.topics.iter().enumerate().map(of).collect::<Result<Vec<_>, Failure>>()?;
        Ok(bounds.into_iter().map(|(index, bounds)| TopicNow { index, name: &self.topics[index], bounds }).collect())
    }

    /// Offsets at which to begin in a topic that was not read before.
    fn starts(&self, topics: &Topics, now: &TopicNow<'_>) -> Result<Vec<Offset>, Failure> {
        let earliest = || now.bounds.iter().map(|bounds| bounds.low);
        let chosen: Vec<Offset> = match &self.start {
            Start::Earliest => earliest().collect(),
            Start::Latest => now.bounds.iter().map(|bounds| bounds.high).collect(),
            Start::Timestamp(moment) => {
                topics.offsets_at(now.name, now.bounds.len(), moment.resolve(self.clock.now()))?
            }
            Start::Offsets(offsets) => {
                check_listed(now, offsets.partitions(now.name), "start")?;
                let listed = |(number, low)| offsets.of(now.name, number).unwrap_or(low);
                (0..).zip(earliest()).map(listed).collect()
            }
            Start::Group(group) => {
                let committed = self.group_offsets(topics, now, group)?;
                (0..).zip(earliest()).map(|(number, low)| committed.get(&number).copied().unwrap_or(low)).collect()
            }
        };
        for ((number, start), Bounds { low, high }) in chosen.iter().enumerate().zip(&now.bounds) {
            if !(low..=high).contains(&start) {
                let topic = now.name;
                return Err(Failure::user(
                    "kafka.start_out_of_range",
                    format!("partition {number} of `{topic}` cannot begin at offset {start}: it has {low} to {high}"),
                )
                .hint("correct `start`"));
            }
        }
        Ok(chosen)
    }

    /// The first offsets that `start` lets be read, as far as anybody still knows: what it begins at may have expired.
    fn firsts(&self, topics: &Topics, now: &TopicNow<'_>) -> Result<Vec<Offset>, Failure> {
        let low = |number: i32| now.bounds[number as usize].low;
        let numbers = (0..).take(now.bounds.len());
        Ok(match &self.start {
            Start::Earliest | Start::Latest => numbers.map(low).collect(),
            Start::Timestamp(moment) => {
                topics.offsets_at(now.name, now.bounds.len(), moment.resolve(self.clock.now()))?
            }
            Start::Offsets(offsets) => {
                numbers.map(|number| offsets.of(now.name, number).unwrap_or_else(|| low(number))).collect()
            }
            Start::Group(group) => {
                let committed = topics.committed(now.name, now.bounds.len(), group)?;
                numbers
                    .map(|number| committed.get(&number).map_or_else(|| low(number), |(offset, _)| *offset))
                    .collect()
            }
        })
    }

    /// Offsets at which to end.
    fn ends(&self, topics: &Topics, now: &TopicNow<'_>) -> Result<Vec<Option<Offset>>, Failure> {
        let highest = || now.bounds.iter().map(|bounds| bounds.high);
        let ends: Vec<Offset> = match &self.until {
            None => return Ok(vec![None; now.bounds.len()]),
            Some(Until::End) => highest().collect(),
            Some(Until::Timestamp(moment)) => {
                topics.offsets_at(now.name, now.bounds.len(), moment.resolve(self.clock.now()))?
            }
            Some(Until::Offsets(offsets)) => {
                check_listed(now, offsets.partitions(now.name), "until")?;
                (0..).zip(highest()).map(|(number, high)| offsets.of(now.name, number).unwrap_or(high)).collect()
            }
            Some(Until::Group(group)) => {
                let committed = self.group_offsets(topics, now, group)?;
                (0..).zip(highest()).map(|(number, high)| committed.get(&number).copied().unwrap_or(high)).collect()
            }
        };
        Ok(ends.into_iter().map(Some).collect())
    }

    fn group_offsets(
        &self,
        topics: &Topics,
        now: &TopicNow<'_>,
        group: &str,
    ) -> Result<BTreeMap<i32, Offset>, Failure> {
        let committed = topics.committed(now.name, now.bounds.len(), group)?;
        if committed.is_empty() {
            let title = format!("group `{group}` has no position in `{}`", now.name);
            return Err(Failure::user("kafka.unknown_group", title)
                .hint("correct the name; positions of a group without members expire after seven days by default"));
        }
        Ok(committed.into_iter().map(|(number, (offset, _))| (number, offset)).collect())
    }

    /// Positions that the broker cannot serve any more.
    fn check_known(&self, known: &BTreeMap<Partition, Offset>, topics: &[TopicNow<'_>]) -> Result<(), Failure> {
        let mut missing = 0;
        let mut gaps = Vec::new();
        for (partition, position) in known {
            let (number, now) = (partition::number(*partition), &topics[partition::topic(*partition)]);
            let topic = now.name;
            let Some(Bounds { low, high }) = now.bounds.get(number as usize) else {
                let count = now.bounds.len();
                return Err(recreated(format!("partition {number} of `{topic}` is gone: the topic has {count} now")));
            };
            if position > high {
                let title =
                    format!("partition {number} of `{topic}` was read up to offset {position} and ends at {high}");
                return Err(recreated(title));
            }
            if position < low {
                missing += low - position;
                gaps.push(format!("partition {number} of `{topic}`: {position} to {}", low - 1));
            }
        }
        if missing == 0 {
            return Ok(());
        }
        let what = topics_in_words(&self.topics);
        let title = format!("{missing} records of {what} that are still to be read were deleted by the broker");
        Err(expired(title, gaps.join(", ")))
    }
}

/// Where to go on in a partition that has no longer what was to be read next.
pub(super) fn expired_place(
    topics: &Topics,
    topic: &str,
    number: i32,
    on_expired: OnExpired,
    max_timestamp: Option<Millis>,
    bounds: Bounds,
) -> Result<Offset, Failure> {
    Ok(match (on_expired, max_timestamp) {
        (OnExpired::Latest, _) => bounds.high,
        (OnExpired::LastTimestamp, Some(time)) => topics.offset_at(topic, number, time)?.unwrap_or(bounds.high),
        // Nothing was read yet, so nothing is older.
        (OnExpired::Fail | OnExpired::Earliest | OnExpired::LastTimestamp, _) => bounds.low,
    })
}

fn check_listed(now: &TopicNow<'_>, mut listed: impl Iterator<Item = i32>, key: &str) -> Result<(), Failure> {
    let (topic, count) = (now.name, now.bounds.len());
    match listed.find(|number| *number as usize >= count) {
        Some(number) => Err(Failure::user(
            "kafka.unknown_partition",
            format!("`{key}` names partition {number} of `{topic}`, which has {count} partitions"),
        )),
        None => Ok(()),
    }
}

/// "topic `a`", "topics `a`, `b`".
pub(super) fn topics_in_words(topics: &[Arc<str>]) -> String {
    let names: Vec<String> = topics.iter().map(|topic| format!("`{topic}`")).collect();
    format!("{} {}", if names.len() == 1 { "topic" } else { "topics" }, names.join(", "))
}

/// The failure for records that are needed and gone.
pub(super) fn expired(title: String, offsets: String) -> Failure {
    Failure::outside("kafka.expired", title)
        .because(format!("offsets {offsets}"))
        .hint(
            "`on_expired` is `fail`, so nothing is skipped: raise the topic's retention; then go on with `on_expired: \
             earliest`, `latest` or `last_timestamp`, or begin anew with `--fresh`, which reads what is left",
        )
        .no_retry()
}

pub(super) fn recreated(title: String) -> Failure {
    Failure::outside("kafka.recreated", title)
        .hint("was the topic deleted and made again? then begin anew with `--fresh`, or go on in the new one with `on_expired: earliest`")
        .no_retry()
}

impl Source for KafkaSource {
    fn connector(&self) -> &'static str {
        "kafka"
    }

    fn reads(&self) -> String {
        topics_in_words(&self.topics)
    }

    fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    fn may_read(&self, topic: &str) -> bool {
        match &self.pattern {
            Some(pattern) => Pattern::new(pattern).is_ok_and(|known| known.fits(topic).unwrap_or(true)),
            None => self.topics.iter().any(|known| **known == *topic),
        }
    }

    fn partition_count(&self, topic: &str) -> Result<Option<usize>, Failure> {
        let found = SharedTopics::of(&self.cluster).topics()?.described(&[topic.into()])?;
        Ok(found.into_iter().find_map(|(_, found)| found).map(|topic| topic.partitions))
    }

    fn comes_to_read<'s>(&self, sink: &'s dyn Sink) -> Option<&'s str> {
        let sink = (sink as &dyn std::any::Any).downcast_ref::<KafkaSink>()?;
        let fits = self.pattern.is_some() && self.cluster.brokers == sink.cluster.brokers;
        // Where each record names its topic none is known before.
        (fits && sink.routes.is_none() && self.may_read(&sink.topic)).then_some(sink.topic.as_str())
    }

    fn discover(&self, known: &BTreeMap<Partition, Position>) -> Result<Vec<PartitionStart>, Failure> {
        let topics = SharedTopics::of(&self.cluster).topics()?;
        let all = self.now(&topics)?;
        let known = known_offsets(known)?;
        self.check_known(&known, &all)?;
        let mut found = Vec::new();
        for now in &all {
            self.watch.found(now.name, now.bounds.len());
            let is_known = known.keys().any(|partition| partition::topic(*partition) == now.index);
            let came_since = self.pattern.is_some() && !known.is_empty();
            let starts = match is_known || came_since {
                false => self.starts(&topics, now)?,
                // What was added since, a partition or a topic that fits, holds only records that came since: none may be
                // skipped.
                true => now.bounds.iter().map(|bounds| bounds.low).collect(),
            };
            for (number, (start, end)) in (0..).zip(starts.into_iter().zip(self.ends(&topics, now)?)) {
                let partition = partition::at(now.index, number);
                let start = Position::offset(known.get(&partition).copied().unwrap_or(start));
                found.push(PartitionStart { partition, start, end: end.map(Position::offset), max_timestamp: None });
            }
        }
        Ok(found)
    }

    fn at_time(&self, time: Millis) -> Result<BTreeMap<Partition, Position>, Failure> {
        let topics = SharedTopics::of(&self.cluster).topics()?;
        let mut found = BTreeMap::new();
        for now in self.now(&topics)? {
            let offsets = topics.offsets_at(now.name, now.bounds.len(), time)?;
            let firsts = self.firsts(&topics, &now)?;
            let numbered = (0..).zip(offsets.into_iter().zip(firsts).map(|(offset, first)| offset.max(first)));
            found.extend(numbered.map(|(number, offset)| (partition::at(now.index, number), Position::offset(offset))));
        }
        Ok(found)
    }

    fn gone(&self, known: &BTreeMap<Partition, Known>, _repeats: bool) -> Result<BTreeMap<Partition, Gone>, Failure> {
        for (partition, known) in known {
            let topic = &self.topics[partition::topic(*partition)];
            if let Some((before, now)) = self.another(topic, known) {
                let title =
                    format!("topic `{topic}` was deleted and made again: its id was `{before}`, and is `{now}`");
                if self.on_expired == OnExpired::Fail {
                    return Err(recreated(title));
                }
                if partition::number(*partition) == 0 {
                    tracing::warn!(target: "kafka", "{title}");
                }
            }
        }
        if self.on_expired == OnExpired::Fail || known.is_empty() {
            return Ok(BTreeMap::new());
        }
        let topics = SharedTopics::of(&self.cluster).topics()?;
        let all = self.now(&topics)?;
        let mut found = BTreeMap::new();
        for (partition, known) in known {
            let now = &all[partition::topic(*partition)];
            found.extend(self.gone_of(&topics, now, *partition, known)?.map(|gone| (*partition, gone)));
        }
        Ok(found)
    }

    fn topic_ids(&self) -> Result<BTreeMap<String, String>, Failure> {
        self.watch.begin(&self.cluster, &self.topics)
    }

    fn look(&self) -> Result<Vec<PartitionStart>, Failure> {
        // What came behind the end is not asked for.
        if self.until.is_some() {
            return self.watch.look(&self.topics).map(|()| Vec::new());
        }
        self.look_for_others()?;
        self.watch.added(&self.topics)
    }

    fn open(&self, source: SourceIndex, share: &[PartitionStart], wanted: Wanted) -> Result<Box<dyn Reader>, Failure> {
        Ok(Box::new(KafkaReader::open(self, source, share, wanted)?))
    }

    fn fetches_ahead(&self) -> bool {
        true
    }

    fn has_timestamps(&self) -> bool {
        true
    }

    fn report_progress(&self, positions: &BTreeMap<Partition, Position>, metadata: &str) -> Result<(), Failure> {
        let positions: Vec<_> = known_offsets(positions)?.into_iter().collect();
        SharedTopics::of(&self.cluster).commit(&self.group, &self.topics, &positions, metadata)
    }

    fn reported(&self) -> Result<BTreeMap<Partition, Reported>, Failure> {
        let reported = |(partition, GroupPosition { offset, metadata })| {
            let topic = &self.topics[partition::topic(partition)];
            let place = format!("group `{}` in topic `{topic}`", self.group);
            (partition, Reported { position: Position::offset(offset), metadata, place })
        };
        Ok(self.group_position()?.into_iter().map(reported).collect())
    }
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource")
            .field("cluster", &self.cluster)
            .field("topics", &self.topics)
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
        KafkaSource::new(Cluster::default(), ["t", "u"], "g", Start::Earliest, None)
    }

    fn check(known: &[(Partition, Offset)], bounds: &[(Offset, Offset)]) -> Result<(), Failure> {
        let bounds: Vec<Bounds> = bounds.iter().map(|(low, high)| Bounds { low: *low, high: *high }).collect();
        let now = [TopicNow { index: 0, name: "t", bounds: bounds.clone() }, TopicNow { index: 1, name: "u", bounds }];
        source().check_known(&known.iter().copied().collect(), &now)
    }

    #[test]
    fn missing_records_are_counted_over_all_partitions() {
        let failure = check(&[(0, 7), (partition::at(1, 1), 1)], &[(10, 20), (5, 5)]).unwrap_err();
        assert_eq!(failure.code, "kafka.expired");
        assert!(failure.to_string().starts_with("7 records of topics `t`, `u`"), "{failure}");
        let places = "partition 0 of `t`: 7 to 9, partition 1 of `u`: 1 to 4";
        assert!(failure.to_string().contains(places), "{failure}");
    }

    #[test]
    fn a_position_behind_the_end_means_another_topic() {
        assert_eq!(check(&[(0, 4)], &[(0, 3)]).unwrap_err().code, "kafka.recreated");
        assert_eq!(check(&[(1, 0)], &[(0, 3)]).unwrap_err().code, "kafka.recreated");
        assert!(check(&[(0, 3)], &[(0, 3)]).is_ok());
    }
}
