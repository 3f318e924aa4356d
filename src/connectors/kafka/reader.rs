//! Reads a share of the partitions of a source's topics.
//!
//! One consumer, one thread. Messages go straight from librdkafka's batch into one builder per
//! partition. Positions are those of the last record handed over plus one: librdkafka's own
//! position moves over markers and ends.
//!
//! A partition that meets its limit (or its end) is *parked*: taken off the consumer, what was
//! fetched beyond thrown away. Lifting the limit assigns it again at our own position, so nothing
//! is lost and nothing is held in memory meanwhile.
//!
//! A paused partition (I6) holds what still comes of it, up to a bound; then it is parked, too.
//! Partitions that take turns are so not fetched twice at every turn.
//!
//! Where many readers are, one that waits reads with a client of many (`crowd`), until much comes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::Cluster;
use super::consumer::{Consumer, Message};
use super::crowd;
use super::native::NativeError;
use super::options::OnExpired;
use super::source::{KafkaSource, expired, expired_place, known_offset, recreated, topics_in_words};
use super::topics::SharedTopics;
use super::watch::Watch;
use crate::connectors::{Fetched, Input, PartitionStart, PartitionStatus, Payload, Reader, Wanted};
use crate::data::{Offset, Partition, Position, RawBatchBuilder, SourceIndex, partition};
use crate::report::Failure;
use crate::time::Millis;

/// How long after the last record an end behind a marker is seen, where somebody waits for it.
const END_WITHIN: Duration = Duration::from_millis(200);
/// The same where nobody does. A broker holds a fetch that finds nothing for so long, and answers at once when something
/// comes: the longer, the less an idle partition costs. What is taken off and put back waits for that answer, though.
const QUIET_END_WITHIN: Duration = Duration::from_millis(500);
/// The same, where there is an end to stop at: nothing is asked for in vain before it.
const LAST_END_WITHIN: Duration = Duration::from_millis(10);
/// So often it is polled even where its client tells of nothing: a lost bell would cost everything, a look nothing.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A poll ends after about this many bytes, however few rows they are. Every lane's last poll may
/// go beyond its share of an epoch by so much, and an epoch must fit into a transaction (I10).
const POLL_BYTES_MAX: usize = 512 << 10;
/// Paused partitions of a reader together hold so much; then they are parked. Part of the memory
/// that the budget leaves to what is being read.
const HELD_BYTES_MAX: usize = 4 << 20;
/// What a record is taken for before one was seen.
const RECORD_BYTES: usize = 64 << 10;

/// Nothing has come for so long: it waits.
const QUIET: Duration = Duration::from_secs(5);
/// So many records or bytes within a second are much.
const MUCH: (usize, usize) = (5_000, 1 << 20);

/// A consumer of some partitions, in one lane.
pub(super) struct KafkaReader {
    source: SourceIndex,
    end_within: Duration,
    pace: Pace,
    _counted: crowd::Counted,
    consumer: Consumer,
    cluster: Cluster,
    topics: Arc<[Arc<str>]>,
    wanted: Wanted,
    slots: Slots,
    /// More may be in the queue than the last poll took.
    more: bool,
    /// Bytes that paused partitions hold.
    held_bytes: usize,
    /// Mean size of the records of the last take.
    record_bytes: usize,
    /// What `limit` could not say.
    failed: Option<Failure>,
    on_expired: OnExpired,
    watch: Arc<Watch>,
    /// Partitions whose next records are gone, until it is known where they go on.
    expired: BTreeSet<Partition>,
    /// Records that were skipped because they are gone.
    missing: u64,
    /// How many outages of brokers the ends that were seen have outlived.
    outages: u64,
}

/// How much comes.
struct Pace {
    /// When something came last.
    came: Instant,
    /// When the count began.
    since: Instant,
    rows: usize,
    bytes: usize,
}

impl Pace {
    fn new() -> Pace {
        let now = Instant::now();
        Pace { came: now, since: now, rows: 0, bytes: 0 }
    }

    /// Counts what a poll brought, at `now`.
    fn count(&mut self, rows: usize, bytes: usize, now: Instant) {
        if rows == 0 {
            return;
        }
        if now.duration_since(self.since) > Duration::from_secs(1) {
            (self.since, self.rows, self.bytes) = (now, 0, 0);
        }
        self.came = now;
        self.rows += rows;
        self.bytes += bytes;
    }

    /// Much came lately.
    fn is_much(&self) -> bool {
        self.rows > MUCH.0 || self.bytes > MUCH.1
    }

    fn is_quiet(&self, now: Instant) -> bool {
        now.duration_since(self.came) >= QUIET
    }
}

/// Our partitions, by topic and number, so that a message finds its own at once.
#[derive(Default)]
struct Slots(Vec<Vec<Option<Slot>>>);

impl Slots {
    fn insert(&mut self, partition: Partition, slot: Slot) {
        let (topic, index) = (partition::topic(partition), partition::number(partition) as usize);
        if self.0.len() <= topic {
            self.0.resize_with(topic + 1, Vec::new);
        }
        let slots = &mut self.0[topic];
        if slots.len() <= index {
            slots.resize_with(index + 1, || None);
        }
        slots[index] = Some(slot);
    }

    fn get(&self, partition: Partition) -> Option<&Slot> {
        self.0.get(partition::topic(partition))?.get(partition::number(partition) as usize)?.as_ref()
    }

    fn get_mut(&mut self, partition: Partition) -> Option<&mut Slot> {
        self.0.get_mut(partition::topic(partition))?.get_mut(partition::number(partition) as usize)?.as_mut()
    }

    /// In the order of partitions (I2).
    fn all(&mut self) -> impl Iterator<Item = (Partition, &mut Slot)> {
        let topics = self.0.iter_mut().enumerate();
        topics.flat_map(|(topic, slots)| {
            let slots = (0..).zip(slots);
            slots.filter_map(move |(number, slot)| Some((partition::at(topic, number), slot.as_mut()?)))
        })
    }
}

/// A partition at work.
///
/// ```text
/// assigned ──limit met, or paused and full──▶ parked ──lifted, resumed──▶ assigned
///     └──────end met──▶ ended
/// ```
struct Slot {
    builder: RawBatchBuilder,
    /// Behind the last record handed over.
    handed: Offset,
    /// Behind the last record in the builder, which hands it over with the next poll that may.
    next: Offset,
    end: Option<Offset>,
    /// Highest timestamp handed over, by this process or earlier ones.
    max_timestamp: Option<Millis>,
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
    fn at(part: &PartitionStart, source: SourceIndex, topics: &[Arc<str>]) -> Result<Slot, Failure> {
        let next = known_offset(&part.start)?;
        let end = part.end.as_ref().map(known_offset).transpose()?;
        let topic = usize::try_from(part.partition).ok().and_then(|_| topics.get(partition::topic(part.partition)));
        let topic = topic
            .ok_or_else(|| Failure::bug("kafka.partition", format!("there is no partition {}", part.partition)))?;
        let mut slot = Slot {
            builder: RawBatchBuilder::new(source, topic.clone(), part.partition),
            handed: next,
            next,
            end,
            max_timestamp: part.max_timestamp,
            limit: None,
            assigned: false,
            at_eof: false,
            end_known: false,
            limit_met: false,
            paused: false,
            ended: false,
        };
        slot.reached(next);
        Ok(slot)
    }

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
        self.assigned && self.has_more()
    }

    /// Something is to be read up to the limit or end.
    fn has_more(&self) -> bool {
        !self.ended && !self.limit_met
    }

    /// Rows wait for it to be resumed.
    fn holds(&self) -> bool {
        !self.builder.is_empty()
    }
}

impl KafkaReader {
    pub fn open(
        of: &KafkaSource,
        source: SourceIndex,
        share: &[PartitionStart],
        wanted: Wanted,
    ) -> Result<KafkaReader, Failure> {
        let KafkaSource { cluster, topics, watch, .. } = of;
        let counted = crowd::Counted::new();
        let end_within = match wanted.ends {
            _ if share.iter().all(|part| part.end.is_some()) => LAST_END_WITHIN,
            true => END_WITHIN,
            false => QUIET_END_WITHIN,
        };
        let consumer = match may_share(end_within, wanted) && crowd::is_crowded() {
            true => Consumer::join(cluster, topics, &share.iter().map(|part| part.partition).collect::<Vec<_>>())?,
            false => Consumer::open(cluster, topics, end_within, wanted.queue_bytes)?,
        };
        let mut slots = Slots::default();
        for part in share {
            slots.insert(part.partition, Slot::at(part, source, topics)?);
        }
        let outages = consumer.client().events().outages();
        let mut reader = KafkaReader {
            source,
            end_within,
            pace: Pace::new(),
            _counted: counted,
            consumer,
            cluster: cluster.clone(),
            topics: topics.clone(),
            wanted,
            slots,
            more: false,
            held_bytes: 0,
            record_bytes: RECORD_BYTES,
            failed: None,
            on_expired: of.on_expired,
            watch: watch.clone(),
            expired: BTreeSet::new(),
            missing: 0,
            outages,
        };
        reader.assign_unparked()?;
        Ok(reader)
    }

    /// Takes the client that fits what comes.
    fn fit(&mut self, rows: usize, bytes: usize) -> Result<(), Failure> {
        let now = Instant::now();
        self.pace.count(rows, bytes, now);
        if self.consumer.is_shared() {
            return if self.pace.is_much() { self.read_alone() } else { Ok(()) };
        }
        if !may_share(self.end_within, self.wanted) || !self.pace.is_quiet(now) || !crowd::is_crowded() {
            return Ok(());
        }
        // Whoever is held up does not wait for records.
        if self.slots.all().any(|(_, slot)| slot.paused || slot.holds() || slot.limit.is_some()) {
            return Ok(());
        }
        let partitions: Vec<Partition> = self.slots.all().map(|(partition, _)| partition).collect();
        match Consumer::join(&self.cluster, &self.topics, &partitions) {
            Ok(consumer) => self.change(consumer),
            // It goes on with what it has.
            Err(_) => {
                self.pace = Pace::new();
                Ok(())
            }
        }
    }

    fn read_alone(&mut self) -> Result<(), Failure> {
        let consumer = Consumer::open(&self.cluster, &self.topics, self.end_within, self.wanted.queue_bytes)?;
        self.change(consumer)
    }

    /// Goes on with another consumer. What the one before had fetched is fetched again.
    fn change(&mut self, consumer: Consumer) -> Result<(), Failure> {
        self.outages = consumer.client().events().outages();
        self.consumer = consumer;
        self.pace = Pace::new();
        // Its bell is another one.
        self.more = true;
        for (_, slot) in self.slots.all() {
            slot.assigned = false;
        }
        self.assign_unparked()
    }

    /// Puts every partition that may read and does not on the consumer.
    fn assign_unparked(&mut self) -> Result<(), Failure> {
        let mut wanted = Vec::new();
        for (partition, slot) in self.slots.all() {
            if slot.assigned || slot.paused || !slot.has_more() {
                continue;
            }
            slot.assigned = true;
            // An end that was seen before says nothing about now.
            slot.at_eof = false;
            slot.end_known = false;
            wanted.push((partition, slot.next));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        self.consumer.assign(&wanted).map_err(|error| self.torn("begin to read", error))
    }

    /// Takes partitions off the consumer that met their limit or end, and the paused ones when they hold too much.
    fn park(&mut self) -> Result<(), Failure> {
        let mut met = Vec::new();
        let full = self.held_bytes >= HELD_BYTES_MAX;
        for (partition, slot) in self.slots.all() {
            if slot.assigned && (!slot.has_more() || (slot.paused && full)) {
                slot.assigned = false;
                met.push(partition);
            }
        }
        if met.is_empty() {
            return Ok(());
        }
        self.consumer.unassign(&met).map_err(|error| self.torn("stop reading", error))
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
        for (partition, slot) in self.slots.all().filter(|(_, slot)| slot.assigned) {
            slot.end_known = false;
            if std::mem::take(&mut slot.at_eof) {
                slot.assigned = false;
                doubted.push(partition);
            }
        }
        if doubted.is_empty() {
            return Ok(());
        }
        self.consumer.unassign(&doubted).map_err(|error| self.torn("begin again to read", error))?;
        self.assign_unparked()
    }

    /// What the consumer has is no longer what the slots say: going on would leave a partition unread for ever.
    fn torn(&self, doing: &str, error: NativeError) -> Failure {
        self.failure(doing, error).no_retry()
    }

    fn failure(&self, doing: &str, error: NativeError) -> Failure {
        let topics = topics_in_words(&self.topics);
        self.cluster.failure(self.consumer.client(), &format!("{doing} {topics}"), error)
    }

    /// I17: goes on in a partition whose next records were deleted while this process ran.
    fn go_on(&mut self, partition: Partition) -> Result<(), Failure> {
        let (topic, number) = (self.topics[partition::topic(partition)].clone(), partition::number(partition));
        let Some(slot) = self.slots.get(partition).filter(|slot| slot.assigned) else { return Ok(()) };
        let (next, max_timestamp) = (slot.next, slot.max_timestamp);
        // What another topic of this name holds was never meant.
        self.watch.ask(&self.topics)?;
        let topics = SharedTopics::of(&self.cluster).topics()?;
        let bounds = topics.existing(&topic).and_then(|count| topics.bounds(&topic, count))?;
        let bounds = bounds.get(number as usize).copied().filter(|bounds| next <= bounds.high);
        // Brokers without ids of topics: the next start decides about what another topic of this name holds.
        let bounds = bounds.ok_or_else(|| {
            recreated(format!("partition {number} of `{topic}` was read up to offset {next}, which it no longer has"))
        })?;
        let at = expired_place(&topics, &topic, number, self.on_expired, max_timestamp, bounds)?.max(next);
        if at > next {
            let missing = (at - next) as u64;
            tracing::warn!(target: "kafka", "{missing} records of partition {number} of `{topic}` are gone unread; it goes on at {at}");
            self.missing += missing;
        }
        self.consumer.unassign(&[partition]).map_err(|error| self.failure("stop reading", error))?;
        if let Some(slot) = self.slots.get_mut(partition) {
            slot.next = at;
            // What was skipped is behind us, though no record says so.
            if !slot.holds() {
                slot.handed = at;
            }
            slot.assigned = false;
            slot.reached(at);
        }
        self.assign_unparked()
    }

    /// What an error among the messages means. `None`: librdkafka goes on by itself.
    fn trouble(&self, trouble: Trouble) -> Option<Failure> {
        let Trouble { code, partition, reason } = trouble;
        let (topic, number) = match partition {
            Some(partition) => (&*self.topics[partition::topic(partition)], partition::number(partition)),
            None => ("", -1),
        };
        let error = NativeError { text: reason, ..NativeError::of_code(code) };
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => {
                if let Err(replaced) = self.watch.look(&self.topics)
                    && !replaced.retry
                {
                    return Some(replaced);
                }
                let position = partition.and_then(|partition| self.slots.get(partition)).map_or(0, |slot| slot.next);
                let title = format!("partition {number} of `{topic}` no longer has what is to be read next");
                Some(expired(title, format!("from {position} on ({})", error.text)))
            }
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                // A restart of the source finds out whether it is gone for good.
                let title = format!("partition {number} of topic `{topic}` is gone");
                Some(Failure::outside("kafka.unknown_topic", title).because(error))
            }
            Code::NoError => Some(Failure::bug("kafka.foreign_message", "a message of a topic that is not read came")),
            Code::TopicAuthorizationFailed | Code::BadMessage | Code::InvalidMessage | Code::Fatal => {
                Some(self.failure("read", error))
            }
            _ => {
                tracing::warn!(target: "kafka", %topic, partition = number, "{error}");
                None
            }
        }
    }
}

/// Whether a reader may read with a client of others: nobody waits for its ends, and its part of the memory is large enough.
fn may_share(end_within: Duration, wanted: Wanted) -> bool {
    let has_room = wanted.queue_bytes == 0 || wanted.queue_bytes >= crowd::QUEUE_BYTES;
    end_within == QUIET_END_WITHIN && has_room
}

/// An error among the messages.
struct Trouble {
    /// `NoError`: a record of a topic that nobody asked for.
    code: Code,
    partition: Option<Partition>,
    reason: String,
}

impl Trouble {
    /// The partition that no longer has what is to be read next.
    fn expired(&self) -> Option<Partition> {
        let expired = matches!(self.code, Code::AutoOffsetReset | Code::OffsetOutOfRange);
        self.partition.filter(|_| expired)
    }
}

/// Takes one message into its partition's builder; gives the bytes it brought.
fn accept(slots: &mut Slots, wanted: Wanted, message: &Message<'_>) -> Result<usize, Trouble> {
    let partition = message.partition();
    let slot = partition.and_then(|partition| slots.get_mut(partition));
    match message.error() {
        Code::NoError if partition.is_some() => {}
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
    let timestamp = message.timestamp();
    slot.max_timestamp = slot.max_timestamp.max(timestamp);
    slot.builder.push(offset, timestamp, key, value);
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
        for trouble in troubles {
            match trouble.expired().filter(|_| self.on_expired != OnExpired::Fail) {
                Some(partition) => drop(self.expired.insert(partition)),
                None => {
                    if let Some(failure) = self.trouble(trouble) {
                        return Err(failure);
                    }
                }
            }
        }
        // librdkafka says so once: a broker that does not answer now is asked again with the next poll.
        while let Some(partition) = self.expired.first().copied() {
            self.go_on(partition)?;
            self.expired.remove(&partition);
        }
        if let Some(refusal) = self.consumer.client().events().refusal() {
            return Err(self.cluster.refused(refusal));
        }
        self.fit(rows, bytes)?;
        let mut held_bytes = 0;
        let mut fetched = Vec::new();
        for (_, slot) in self.slots.all().filter(|(_, slot)| slot.holds()) {
            if slot.paused {
                held_bytes += slot.builder.bytes();
                continue;
            }
            slot.handed = slot.next;
            let payload = Payload::Raw(slot.builder.finish());
            fetched.push(Fetched { payload, next: Position::offset(slot.handed) });
        }
        self.held_bytes = held_bytes;
        Ok(fetched)
    }

    fn has_more(&self) -> bool {
        self.more
    }

    fn awaits(&mut self) -> Input {
        if self.more || self.failed.is_some() {
            return Input::Ready;
        }
        let may_change = !self.consumer.is_shared() && may_share(self.end_within, self.wanted) && crowd::is_crowded();
        let look = if may_change { QUIET } else { LOOK_EVERY };
        Input::Awaited { rings: Some(self.consumer.filled().clone()), due: Some(Instant::now() + look) }
    }

    fn take_missing(&mut self) -> u64 {
        std::mem::take(&mut self.missing)
    }

    fn add(&mut self, parts: &[PartitionStart]) -> Result<(), Failure> {
        if self.consumer.is_shared() {
            // Its part of the client is of those partitions that it had.
            self.read_alone()?;
        }
        // What its client does not know yet it would take for a partition that is gone.
        let topics: BTreeSet<usize> = parts.iter().map(|part| partition::topic(part.partition)).collect();
        for topic in topics {
            let known =
                self.consumer.partitions(topic).map_err(|error| self.failure("look for partitions of", error))?;
            let new = parts.iter().filter(|part| partition::topic(part.partition) == topic);
            let new = new.map(|part| partition::number(part.partition));
            if let Some(number) = new.max().filter(|number| *number as usize >= known) {
                let title = format!("not every broker knows partition {number} of `{}` yet", self.topics[topic]);
                return Err(Failure::outside("kafka.new_partition", title));
            }
        }
        for part in parts {
            self.slots.insert(part.partition, Slot::at(part, self.source, &self.topics)?);
        }
        self.assign_unparked()
    }

    fn status(&self, partition: Partition) -> PartitionStatus {
        let Some(slot) = self.slots.get(partition) else { return PartitionStatus::default() };
        let known_end = self.consumer.known_end(partition);
        // Without transactions no marker stands between the last record and the end.
        let at_known_end = slot.assigned && slot.end_known && known_end.is_some_and(|end| slot.next >= end);
        let ended = slot.ended && !slot.holds();
        // I5: what is paused is at no end.
        let at_end = ended || (!slot.paused && !slot.holds() && (slot.at_eof || at_known_end || slot.limit_met));
        let behind = match ended || (!slot.paused && !slot.holds() && (slot.at_eof || at_known_end)) {
            true => Some(0),
            false => slot.end.or(known_end).map(|end| end.saturating_sub(slot.handed).max(0) as u64),
        };
        PartitionStatus { at_end, ended, behind }
    }

    fn position(&self, partition: Partition) -> Position {
        Position::offset(self.slots.get(partition).map_or(0, |slot| slot.handed))
    }

    fn limit(&mut self, partition: Partition, to: Option<Position>) {
        let limit = match to.as_ref().map(known_offset).transpose() {
            Ok(limit) => limit,
            Err(failure) => return self.failed = Some(failure),
        };
        let Some(slot) = self.slots.get_mut(partition) else { return };
        slot.limit = limit;
        slot.limit_met = limit.is_some_and(|limit| slot.next >= limit);
        if let Err(failure) = self.assign_unparked() {
            self.failed = Some(failure);
        }
    }

    fn pause(&mut self, partitions: &BTreeSet<Partition>) {
        let mut resumed = false;
        for (partition, slot) in self.slots.all() {
            let paused = partitions.contains(&partition);
            resumed |= slot.paused && !paused && slot.holds();
            slot.paused = paused;
        }
        // What was held is there without a message that rings.
        self.more |= resumed;
        if let Err(failure) = self.park().and_then(|()| self.assign_unparked()) {
            self.failed = Some(failure);
        }
    }
}

/// Positions by partition, for tests and logs.
impl std::fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slots = self.slots.0.iter().flatten().flatten();
        let positions: Vec<Offset> = slots.map(|slot| slot.next).collect();
        let topics = &self.topics;
        f.debug_struct("KafkaReader").field("topics", topics).field("positions", &positions).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::options::Start;
    use super::*;

    #[test]
    fn i5_an_end_is_none_while_no_broker_answers() {
        // Nobody listens on port 1.
        let cluster = Cluster::new("127.0.0.1:1", BTreeMap::new()).unwrap();
        let share = [PartitionStart { partition: 0, start: Position::offset(7), end: None, max_timestamp: None }];
        let source = KafkaSource::new(cluster, ["t"], "g", Start::Earliest, None);
        let mut reader = KafkaReader::open(&source, 0, &share, Wanted::default()).unwrap();
        let slot = reader.slots.get_mut(0).unwrap();
        (slot.at_eof, slot.end_known) = (true, true);
        let bell = crate::connectors::Bell::new().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while reader.status(0).at_end && std::time::Instant::now() < deadline {
            assert!(reader.poll(10, 0).unwrap().is_empty());
            reader.awaits().wait(&bell, Duration::from_millis(100));
        }
        assert!(!reader.status(0).at_end, "what was seen before the outage says nothing about now");
        assert_eq!(reader.position(0), Position::offset(7));
    }

    /// Going on would leave a partition unread for ever.
    #[test]
    fn a_reader_whose_assignment_failed_ends() {
        let cluster = Cluster::new("127.0.0.1:1", BTreeMap::new()).unwrap();
        let share = [PartitionStart { partition: 0, start: Position::offset(7), end: None, max_timestamp: None }];
        let source = KafkaSource::new(cluster, ["t"], "g", Start::Earliest, None);
        let mut reader = KafkaReader::open(&source, 0, &share, Wanted::default()).unwrap();
        // The client reads it already, and refuses to read it twice.
        reader.slots.get_mut(0).unwrap().assigned = false;
        let failure = reader.assign_unparked().unwrap_err();
        assert!(!failure.retry, "{failure}");
    }
}
