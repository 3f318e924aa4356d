//! Reads a share of a topic's partitions.
//!
//! One consumer, one thread. Messages go straight from librdkafka's batch into one builder per
//! partition. Positions are those of the last record handed over plus one: librdkafka's own
//! position moves over markers and ends.
//!
//! A partition that meets its limit (or its end) is *parked*: taken off the consumer, what was
//! fetched beyond thrown away. Lifting the limit assigns it again at our own position, so nothing
//! is lost and nothing is held in memory meanwhile. A paused partition (I6) is parked too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::Cluster;
use super::consumer::{Consumer, Message};
use super::native::NativeError;
use super::source::{expired, known_offset};
use crate::connectors::{Bell, Fetched, PartitionStart, PartitionStatus, Payload, Reader, Wanted};
use crate::data::{Offset, Partition, Position, RawBatchBuilder, SourceIndex};
use crate::report::Failure;
use crate::time::Millis;

/// How long after the last record an end behind a marker is seen.
const END_WITHIN: Duration = Duration::from_millis(200);
/// A poll ends after about this many bytes, however few rows they are. Every lane's last poll may
/// go beyond its share of an epoch by so much, and an epoch must fit into a transaction (I10).
const POLL_BYTES_MAX: usize = 512 << 10;
/// What a record is taken for before one was seen.
const RECORD_BYTES: usize = 64 << 10;

/// A consumer of some partitions, in one lane.
pub(super) struct KafkaReader {
    consumer: Consumer,
    cluster: Cluster,
    topic: Arc<str>,
    wanted: Wanted,
    /// By partition number; `None`: not ours.
    slots: Vec<Option<Slot>>,
    /// More may be in the queue than the last poll took.
    more: bool,
    /// Mean size of the records of the last take.
    record_bytes: usize,
    /// What `limit` could not say.
    failed: Option<Failure>,
    /// How many outages of brokers the ends that were seen have outlived.
    outages: u64,
}

/// A partition at work.
///
/// ```text
/// assigned ──limit met, or paused──▶ parked ──lifted, resumed──▶ assigned
///     └──────end met──▶ ended
/// ```
struct Slot {
    builder: RawBatchBuilder,
    /// Behind the last record handed over.
    next: Offset,
    end: Option<Offset>,
    limit: Option<Offset>,
    assigned: bool,
    /// Read to the last stable offset since the last record.
    at_eof: bool,
    /// A record came since it was assigned, so the client's idea of the end is as new as that record.
    end_known: bool,
    /// Nothing is left below the limit.
    limit_met: bool,
    paused: bool,
    ended: bool,
}

impl Slot {
    /// Where this partition must stop for now.
    fn stop(&self) -> Option<Offset> {
        match (self.limit, self.end) {
            (Some(limit), Some(end)) => Some(limit.min(end)),
            (limit, end) => limit.or(end),
        }
    }

    /// Notes that nothing is left below `offset`: what was met?
    fn reached(&mut self, offset: Offset) {
        self.limit_met |= self.limit.is_some_and(|limit| offset >= limit);
        self.ended |= self.end.is_some_and(|end| offset >= end);
    }

    /// Whether a message counts. Once the limit is met the rest of a batch is thrown away, to be read again
    /// later; an end that comes behind it must not be taken for the end of what was handed over.
    fn takes(&self) -> bool {
        self.assigned && !self.must_park()
    }

    fn must_park(&self) -> bool {
        self.assigned && !self.may_read()
    }

    fn may_read(&self) -> bool {
        !self.ended && !self.limit_met && !self.paused
    }
}

impl KafkaReader {
    pub fn open(
        cluster: &Cluster,
        topic: &Arc<str>,
        group: &str,
        source: SourceIndex,
        share: &[PartitionStart],
        wanted: Wanted,
    ) -> Result<KafkaReader, Failure> {
        let consumer = Consumer::open(cluster, topic, group, END_WITHIN)?;
        let mut slots: Vec<Option<Slot>> = Vec::new();
        for part in share {
            let next = known_offset(&part.start)?;
            let end = part.end.as_ref().map(known_offset).transpose()?;
            let index = usize::try_from(part.partition)
                .map_err(|_| Failure::bug("kafka.partition", format!("there is no partition {}", part.partition)))?;
            if slots.len() <= index {
                slots.resize_with(index + 1, || None);
            }
            let builder = RawBatchBuilder::new(source, topic.clone(), part.partition);
            let mut slot = Slot {
                builder,
                next,
                end,
                limit: None,
                assigned: false,
                at_eof: false,
                end_known: false,
                limit_met: false,
                paused: false,
                ended: false,
            };
            slot.reached(next);
            slots[index] = Some(slot);
        }
        let mut reader = KafkaReader {
            consumer,
            cluster: cluster.clone(),
            topic: topic.clone(),
            wanted,
            slots,
            more: false,
            record_bytes: RECORD_BYTES,
            failed: None,
            outages: 0,
        };
        reader.assign_unparked()?;
        Ok(reader)
    }

    fn slot(&self, partition: Partition) -> Option<&Slot> {
        self.slots.get(usize::try_from(partition).ok()?)?.as_ref()
    }

    /// Puts every partition that may read and does not on the consumer.
    fn assign_unparked(&mut self) -> Result<(), Failure> {
        let mut wanted = Vec::new();
        for (partition, slot) in (0..).zip(&mut self.slots) {
            let Some(slot) = slot.as_mut().filter(|slot| !slot.assigned && slot.may_read()) else {
                continue;
            };
            slot.assigned = true;
            // An end that was seen before says nothing about now.
            slot.at_eof = false;
            slot.end_known = false;
            wanted.push((partition, slot.next));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        self.consumer.assign(&wanted).map_err(|error| self.failure("begin to read", error))
    }

    /// Takes partitions that met their limit or end, or are paused, off the consumer.
    fn park(&mut self) -> Result<(), Failure> {
        let mut met = Vec::new();
        for (partition, slot) in (0..).zip(&mut self.slots) {
            if let Some(slot) = slot.as_mut().filter(|slot| slot.must_park()) {
                slot.assigned = false;
                met.push(partition);
            }
        }
        if met.is_empty() {
            return Ok(());
        }
        self.consumer.unassign(&met).map_err(|error| self.failure("stop reading", error))
    }

    /// I5: what is disconnected is at no end, however long ago it was. Partitions that stood at theirs
    /// are assigned anew, because librdkafka tells of an end once: it is seen again with the first
    /// answer of a broker that is back.
    fn doubt_ends(&mut self) -> Result<(), Failure> {
        let outages = self.consumer.client().events().outages();
        if std::mem::replace(&mut self.outages, outages) == outages {
            return Ok(());
        }
        let mut doubted = Vec::new();
        for (partition, slot) in (0..).zip(&mut self.slots) {
            let Some(slot) = slot.as_mut().filter(|slot| slot.assigned) else { continue };
            slot.end_known = false;
            if std::mem::take(&mut slot.at_eof) {
                slot.assigned = false;
                doubted.push(partition);
            }
        }
        if doubted.is_empty() {
            return Ok(());
        }
        self.consumer.unassign(&doubted).map_err(|error| self.failure("begin again to read", error))?;
        self.assign_unparked()
    }

    fn failure(&self, doing: &str, error: NativeError) -> Failure {
        self.cluster.failure(self.consumer.client(), &format!("{doing} topic `{}`", self.topic), error)
    }

    /// What an error among the messages means. `None`: librdkafka goes on by itself.
    fn trouble(&self, trouble: Trouble) -> Option<Failure> {
        let Trouble { code, partition, reason } = trouble;
        let topic = &self.topic;
        let error = NativeError { text: reason, ..NativeError::of_code(code) };
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => {
                let position = self.slot(partition).map_or(0, |slot| slot.next);
                let title = format!("partition {partition} of `{topic}` no longer has what is to be read next");
                Some(expired(title, format!("from {position} on ({})", error.text)))
            }
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                // A restart of the source finds out whether it is gone for good.
                let title = format!("partition {partition} of topic `{topic}` is gone");
                Some(Failure::outside("kafka.unknown_topic", title).because(error))
            }
            Code::TopicAuthorizationFailed | Code::BadMessage | Code::InvalidMessage | Code::Fatal => {
                Some(self.failure("read", error))
            }
            _ => {
                tracing::warn!(target: "kafka", %topic, partition, "{error}");
                None
            }
        }
    }
}

/// An error among the messages.
struct Trouble {
    code: Code,
    partition: Partition,
    reason: String,
}

/// Takes one message into its partition's builder; gives the bytes it brought.
fn accept(slots: &mut [Option<Slot>], wanted: Wanted, message: &Message<'_>) -> Result<usize, Trouble> {
    let partition = message.partition();
    let slot = usize::try_from(partition).ok().and_then(|index| slots.get_mut(index)?.as_mut());
    match message.error() {
        Code::NoError => {}
        Code::PartitionEOF => {
            if let Some(slot) = slot.filter(|slot| slot.takes()) {
                slot.at_eof = true;
                // A marker may be the last thing below the limit or end: no record says so then.
                slot.limit_met |= slot.limit.is_some();
                slot.reached(message.offset());
            }
            return Ok(0);
        }
        code => return Err(Trouble { code, partition, reason: message.reason() }),
    }
    let offset = message.offset();
    // Leftovers of an assignment before this one.
    let Some(slot) = slot.filter(|slot| slot.takes() && offset >= slot.next) else { return Ok(0) };
    if slot.stop().is_some_and(|stop| offset >= stop) {
        slot.reached(offset);
        return Ok(0);
    }
    let key = message.key().filter(|_| wanted.keys);
    let value = message.value();
    slot.builder.push(offset, message.timestamp(), key, value);
    if wanted.headers {
        let headers = message.headers();
        if !headers.is_empty() {
            slot.builder.headers(headers);
        }
    }
    slot.next = offset + 1;
    slot.at_eof = false;
    slot.end_known = true;
    slot.reached(slot.next);
    Ok(key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len))
}

impl Reader for KafkaReader {
    fn poll(&mut self, rows_max: usize, _clock: Millis) -> Result<Vec<Fetched>, Failure> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        let (mut rows, mut bytes) = (0, 0);
        let mut troubles = Vec::new();
        self.more = true;
        while self.more && rows < rows_max && bytes < POLL_BYTES_MAX {
            let (slots, wanted) = (&mut self.slots, self.wanted);
            let (rows_before, bytes_before) = (rows, bytes);
            // The client hands over many at once: no more than are likely to fit.
            let fitting = ((POLL_BYTES_MAX - bytes) / self.record_bytes).clamp(1, rows_max - rows);
            self.more = self.consumer.take(fitting, |message| match accept(slots, wanted, message) {
                Ok(taken) => {
                    rows += 1;
                    bytes += taken;
                }
                Err(trouble) => troubles.push(trouble),
            });
            if bytes > bytes_before {
                self.record_bytes = ((bytes - bytes_before) / (rows - rows_before)).max(1);
            }
        }
        self.park()?;
        self.doubt_ends()?;
        if let Some(failure) = troubles.into_iter().find_map(|trouble| self.trouble(trouble)) {
            return Err(failure);
        }
        if let Some(refusal) = self.consumer.client().events().refusal() {
            return Err(self.cluster.refused(refusal));
        }
        let full = self.slots.iter_mut().flatten().filter(|slot| !slot.builder.is_empty());
        let fetched = full
            .map(|slot| Fetched { payload: Payload::Raw(slot.builder.finish()), next: Position::offset(slot.next) });
        Ok(fetched.collect())
    }

    fn wait(&mut self, bell: &Bell, timeout: Duration) {
        if self.more || self.failed.is_some() {
            return;
        }
        let filled = self.consumer.filled();
        bell.wait(&[filled.descriptor()], timeout);
        filled.answer();
    }

    fn status(&self, partition: Partition) -> PartitionStatus {
        let Some(slot) = self.slot(partition) else { return PartitionStatus::default() };
        let known_end = self.consumer.known_end(partition);
        // Without transactions no marker stands between the last record and the end.
        let at_known_end = slot.assigned && slot.end_known && known_end.is_some_and(|end| slot.next >= end);
        // I5: what is paused is at no end.
        let at_end = slot.ended || (!slot.paused && (slot.at_eof || at_known_end || slot.limit_met));
        let behind = match slot.ended || (!slot.paused && (slot.at_eof || at_known_end)) {
            true => Some(0),
            false => slot.end.or(known_end).map(|end| end.saturating_sub(slot.next).max(0) as u64),
        };
        PartitionStatus { at_end, ended: slot.ended, behind }
    }

    fn position(&self, partition: Partition) -> Position {
        Position::offset(self.slot(partition).map_or(0, |slot| slot.next))
    }

    fn limit(&mut self, partition: Partition, to: Option<Position>) {
        let limit = match to.as_ref().map(known_offset).transpose() {
            Ok(limit) => limit,
            Err(failure) => return self.failed = Some(failure),
        };
        let slot = usize::try_from(partition).ok().and_then(|index| self.slots.get_mut(index)?.as_mut());
        let Some(slot) = slot else { return };
        slot.limit = limit;
        slot.limit_met = limit.is_some_and(|limit| slot.next >= limit);
        if let Err(failure) = self.assign_unparked() {
            self.failed = Some(failure);
        }
    }

    fn pause(&mut self, partitions: &BTreeSet<Partition>) {
        for (partition, slot) in (0..).zip(&mut self.slots) {
            if let Some(slot) = slot {
                slot.paused = partitions.contains(&partition);
            }
        }
        if let Err(failure) = self.park().and_then(|()| self.assign_unparked()) {
            self.failed = Some(failure);
        }
    }
}

/// Positions by partition, for tests and logs.
impl std::fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slots = (0..).zip(&self.slots).filter_map(|(p, slot)| Some((p, slot.as_ref()?.next)));
        let positions: BTreeMap<Partition, Offset> = slots.collect();
        f.debug_struct("KafkaReader").field("topic", &self.topic).field("positions", &positions).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_an_end_is_none_while_no_broker_answers() {
        // Nobody listens on port 1.
        let cluster = Cluster::new("127.0.0.1:1", BTreeMap::new()).unwrap();
        let share = [PartitionStart { partition: 0, start: Position::offset(7), end: None }];
        let mut reader = KafkaReader::open(&cluster, &"t".into(), "g", 0, &share, Wanted::default()).unwrap();
        let slot = reader.slots[0].as_mut().unwrap();
        (slot.at_eof, slot.end_known) = (true, true);
        let bell = Bell::new().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while reader.status(0).at_end && std::time::Instant::now() < deadline {
            assert!(reader.poll(10, 0).unwrap().is_empty());
            reader.wait(&bell, Duration::from_millis(100));
        }
        assert!(!reader.status(0).at_end, "what was seen before the outage says nothing about now");
        assert_eq!(reader.position(0), Position::offset(7));
    }
}
