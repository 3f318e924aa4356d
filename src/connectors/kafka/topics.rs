//! Questions to a cluster, and its administration: partitions, offsets, limits, topics.
//!
//! A [`Topics`] is a connection that has answered once. All calls block, at most for [`TIMEOUT`].

mod described;
mod shared;

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::bindings as rd;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset as Place, TopicPartitionList};

pub use described::Described;
pub(super) use shared::Seen;
pub use shared::SharedTopics;

use super::client::Cluster;
use super::native::{Client, NativeError, Role, c_string, ms, text};
use super::routes::too_far;
use crate::data::{Offset, Partition, partition};
use crate::kafka_connect::pattern::Pattern;
use crate::report::Failure;
use crate::time::Millis;

/// How long a broker that is away is waited for before it is named: in steps, because a refusal of a login or
/// certificate is known at once, and librdkafka would go on trying. The last is long enough for a slow broker.
const NAMED_WITHIN: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(300), Duration::from_millis(1_400)];
/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Another broker speaks for the group by now.
const MOVED_COORDINATOR: &str = "kafka.coordinator_moved";
/// How long a group's offsets may take: nobody depends on them.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Whoever has answered so lately is taken to be there still.
const ANSWERED: Duration = Duration::from_millis(250);
/// Between two looks whether a topic has come: at first, and at last.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];

/// What is in force for a topic, by Kafka's names: `cleanup.policy`, `retention.ms`, …
pub type TopicConfig = BTreeMap<String, String>;

/// First offset kept, and the end for readers of committed records (the last stable offset).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub low: Offset,
    pub high: Offset,
}

/// A topic to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// `None`: the broker's default.
    pub partitions: Option<u32>,
    /// `None`: the broker's default.
    pub replication: Option<u32>,
    /// Kafka's topic configuration, for example `cleanup.policy: compact`.
    pub config: BTreeMap<String, String>,
}

/// What a topic takes: for checks before records are produced (I7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkLimits {
    pub partitions: usize,
    /// `max.message.bytes`: of a batch as the broker gets it, compressed.
    pub batch_bytes_max: Option<usize>,
    /// How far after the broker's clock a timestamp may be; `None`: the broker puts in its own time.
    pub ahead_ms_max: Option<Millis>,
    /// True where records without a key are refused.
    pub compacted: bool,
    /// True for `message.timestamp.type=LogAppendTime`: the record's own time is lost.
    pub append_time: bool,
}

/// Which topics are asked for.
enum Asked {
    All,
    None,
    /// One that the client has.
    Only(*mut rd::rd_kafka_topic_t),
}

/// A cluster that answered.
pub struct Topics {
    client: Client,
    cluster: Cluster,
    /// When it answered last.
    answered: Mutex<Instant>,
}

impl std::fmt::Debug for Topics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Topics").field(&self.cluster).finish()
    }
}

impl Topics {
    /// Connects.
    ///
    /// # Errors
    /// Within two seconds: `kafka.unreachable` with the address and the reason (a retry helps),
    /// `kafka.authentication`, `kafka.certificate`, or `kafka.property`.
    pub fn connect(cluster: &Cluster) -> Result<Topics, Failure> {
        Topics::connect_as(cluster, "read_committed")
    }

    /// The same; the ends of partitions are those of all that was written, whether it is committed or not.
    pub(super) fn seeing_uncommitted(cluster: &Cluster) -> Result<Topics, Failure> {
        Topics::connect_as(cluster, "read_uncommitted")
    }

    fn connect_as(cluster: &Cluster, isolation: &str) -> Result<Topics, Failure> {
        Topics::answering(cluster.client(Role::Consumer, &[], &[("isolation.level", isolation)])?, cluster)
    }

    /// One to be kept: it tells nobody of outages.
    fn quiet(cluster: &Cluster) -> Result<Topics, Failure> {
        Topics::answering(cluster.quiet_client(&[("isolation.level", "read_committed")])?, cluster)
    }

    fn answering(client: Client, cluster: &Cluster) -> Result<Topics, Failure> {
        let topics = Topics { client, cluster: cluster.clone(), answered: Mutex::new(Instant::now()) };
        topics.answers().map(|()| topics)
    }

    /// Whether it does answer.
    fn answers(&self) -> Result<(), Failure> {
        let mut outcome = Ok(());
        for timeout in NAMED_WITHIN {
            outcome = self.metadata(Asked::None, timeout).map(drop);
            if outcome.is_ok() || self.client.events().refusal().is_some() {
                break;
            }
        }
        outcome
    }

    /// It has answered just now. A start asks several things, one after the other.
    fn has_answered(&self) -> bool {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < ANSWERED
    }

    fn note_answer(&self) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// The id of the cluster.
    pub fn cluster_id(&self) -> Result<String, Failure> {
        // SAFETY: the client lives; what is given is ours, and freed by the client's own function below.
        let id = unsafe { rd::rd_kafka_clusterid(self.client.ptr(), ms(TIMEOUT)) };
        if id.is_null() {
            return Err(self.failure("ask for the cluster's id", NativeError::of_code(Code::OperationTimedOut)));
        }
        // SAFETY: it is a text that ends with 0, and not used behind this.
        let copied = unsafe { text(id) };
        // SAFETY: as above.
        unsafe { rd::rd_kafka_mem_free(self.client.ptr(), id.cast()) };
        Ok(copied)
    }

    /// How many partitions a topic has; `None`: there is no such topic.
    pub fn partitions(&self, topic: &str) -> Result<Option<usize>, Failure> {
        let name = c_string(topic);
        // SAFETY: the client lives and owns the topic handle until it is destroyed below.
        let handle = unsafe { rd::rd_kafka_topic_new(self.client.ptr(), name.as_ptr(), std::ptr::null_mut()) };
        let answer = self.metadata(Asked::Only(handle), TIMEOUT);
        // SAFETY: made above.
        unsafe { rd::rd_kafka_topic_destroy(handle) };
        match answer?.into_iter().next() {
            Some((_, Code::NoError | Code::LeaderNotAvailable, count)) => Ok(Some(count)),
            Some((_, Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::InvalidTopic, _)) | None => Ok(None),
            Some((_, code, _)) => Err(self.failure(&format!("look at topic `{topic}`"), NativeError::of_code(code))),
        }
    }

    /// The same, but a topic that does not exist is a failure.
    pub fn existing(&self, topic: &str) -> Result<usize, Failure> {
        self.partitions(topic)?.ok_or_else(|| self.unknown(topic))
    }

    fn unknown(&self, topic: &str) -> Failure {
        let at = &self.cluster.brokers;
        Failure::user("kafka.unknown_topic", format!("there is no topic `{topic}` at `{at}`"))
            .hint("create it, or correct the name")
    }

    /// The topics whose whole names fit a regex, in their order; not those that brokers, or pipelines, keep for themselves.
    pub fn matching(&self, pattern: &str) -> Result<Vec<String>, Failure> {
        const INTERNAL: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];
        let known = Pattern::new(pattern)
            .map_err(|why| Failure::user("kafka.pattern", format!("`{pattern}` is no regex: {why}")))?;
        let all = self.metadata(Asked::All, TIMEOUT)?;
        // Journals and progress: whoever read its own would write to it with each record, for ever.
        let of_pipelines =
            |name: &str| name.starts_with("runner.") && (name.ends_with(".journal") || name.contains(".progress."));
        let mut names = Vec::new();
        for (name, ..) in all {
            let is_for_us = !INTERNAL.contains(&name.as_str()) && !of_pipelines(&name);
            if is_for_us && known.fits(&name).map_err(too_far)? {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Topics and their partition counts.
    fn metadata(&self, asked: Asked, timeout: Duration) -> Result<Vec<(String, Code, usize)>, Failure> {
        let mut metadata = std::ptr::null();
        let (all, only) = match asked {
            Asked::All => (1, std::ptr::null_mut()),
            Asked::None => (0, std::ptr::null_mut()),
            Asked::Only(topic) => (0, topic),
        };
        // SAFETY: client and topic live; the answer is destroyed below.
        let code = unsafe { rd::rd_kafka_metadata(self.client.ptr(), all, only, &mut metadata, ms(timeout)) };
        NativeError::check_code(code).map_err(|error| self.failure("ask for topics", error))?;
        self.client.events().was_let_in();
        self.note_answer();
        // SAFETY: on success the answer is there, with as many topics as it says.
        unsafe {
            let answer = &*metadata;
            let topics = (0..answer.topic_cnt as usize).map(|index| {
                let topic = &*answer.topics.add(index);
                (text(topic.topic), Code::from(topic.err), topic.partition_cnt as usize)
            });
            let topics = topics.collect();
            rd::rd_kafka_metadata_destroy(metadata);
            Ok(topics)
        }
    }

    /// Where partitions 0 to `partitions` begin and end.
    pub fn bounds(&self, topic: &str, partitions: usize) -> Result<Vec<Bounds>, Failure> {
        let all = |place| (0..partitions as Partition).map(move |partition| (partition, place));
        let low = self.list_offsets(topic, all(Place::Beginning))?;
        let high = self.list_offsets(topic, all(Place::End))?;
        Ok(low
            .into_iter()
            .zip(high)
            .map(|(low, high)| Bounds { low: low.unwrap_or(0), high: high.unwrap_or(0) })
            .collect())
    }

    /// Per partition the first offset whose timestamp is `time` or later, resolved to the end as of
    /// now where there is none: "latest" at a later moment would skip what comes in between.
    pub fn offsets_at(&self, topic: &str, partitions: usize, time: Millis) -> Result<Vec<Offset>, Failure> {
        let ends = self.bounds(topic, partitions)?;
        // Negative numbers have meanings of their own in this request.
        let time = Place::Offset(time.max(0));
        let found = self.list_offsets(topic, (0..partitions as Partition).map(|partition| (partition, time)))?;
        Ok(found.into_iter().zip(ends).map(|(found, bounds)| found.unwrap_or(bounds.high)).collect())
    }

    /// The same of one partition; `None`: there is none so late.
    pub fn offset_at(&self, topic: &str, partition: i32, time: Millis) -> Result<Option<Offset>, Failure> {
        let asked = [(partition, Place::Offset(time.max(0)))];
        Ok(self.list_offsets(topic, asked.into_iter())?.pop().flatten())
    }

    fn list_offsets(
        &self,
        topic: &str,
        places: impl Iterator<Item = (Partition, Place)>,
    ) -> Result<Vec<Option<Offset>>, Failure> {
        let doing = format!("ask for offsets of topic `{topic}`");
        let mut list = TopicPartitionList::new();
        for (partition, place) in places {
            list.add_partition_offset(topic, partition, place).expect("offsets are not negative");
        }
        if list.count() == 0 {
            return Ok(Vec::new());
        }
        // SAFETY: client and list live; the answer is written into the list.
        let code = unsafe { rd::rd_kafka_offsets_for_times(self.client.ptr(), list.ptr(), ms(TIMEOUT)) };
        NativeError::check_code(code).map_err(|error| self.failure(&doing, error))?;
        let mut found = Vec::with_capacity(list.count());
        for element in list.elements() {
            element.error().map_err(|error| self.partition_failure(&doing, error))?;
            found.push(match element.offset() {
                Place::Offset(offset) => Some(offset),
                _ => None,
            });
        }
        Ok(found)
    }

    /// The offsets that a group has committed, with their metadata; partitions without any are left out.
    pub fn committed(
        &self,
        topic: &str,
        partitions: usize,
        group: &str,
    ) -> Result<BTreeMap<Partition, (Offset, String)>, Failure> {
        let doing = format!("ask for the position of group `{group}`");
        let client = group_client(&self.cluster, group)?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions as Partition {
            list.add_partition(topic, partition);
        }
        // SAFETY: client and list live; the answer is written into the list.
        let code = unsafe { rd::rd_kafka_committed(client.ptr(), list.ptr(), ms(TIMEOUT)) };
        NativeError::check_code(code).map_err(|error| self.cluster.failure(&client, &doing, error))?;
        let mut found = BTreeMap::new();
        for index in 0..list.count() {
            // SAFETY: the list has that many elements; metadata is as long as it says, or null.
            let (code, partition, offset, metadata) = unsafe {
                let element = &*(*list.ptr()).elems.add(index);
                let metadata = super::consumer::bytes(element.metadata, element.metadata_size).unwrap_or_default();
                // Any bytes may stand there: other tools commit too.
                (element.err, element.partition, element.offset, String::from_utf8_lossy(metadata).into_owned())
            };
            NativeError::check_code(code).map_err(|error| self.failure(&doing, error))?;
            if offset >= 0 {
                found.insert(partition, (offset, metadata));
            }
        }
        Ok(found)
    }

    /// Commits offsets and metadata for a group without members, outside of any transaction.
    ///
    /// # Errors
    /// The group has members, or the broker does not answer within five seconds.
    pub(super) fn commit(
        &self,
        group: &str,
        topics: &[Arc<str>],
        positions: &[(Partition, Offset)],
        metadata: &str,
    ) -> Result<(), Failure> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in positions {
            let topic = &topics[partition::topic(*partition)];
            let mut element = list.add_partition(topic, partition::number(*partition));
            element.set_offset(Place::Offset(*offset)).expect("offsets are not negative");
            element.set_metadata(metadata);
        }
        if list.count() == 0 {
            return Ok(());
        }
        let group = c_string(group);
        // SAFETY: librdkafka copies name and list; the object is destroyed below.
        let mut change = unsafe { rd::rd_kafka_AlterConsumerGroupOffsets_new(group.as_ptr(), list.ptr()) };
        let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS;
        let answer = self.ask_within(COMMIT_TIMEOUT, operation, |rk, options, queue| {
            // SAFETY: all live until the call returns, which copies the object.
            unsafe { rd::rd_kafka_AlterConsumerGroupOffsets(rk, &mut change, 1, options, queue) }
        });
        // SAFETY: made above.
        unsafe { rd::rd_kafka_AlterConsumerGroupOffsets_destroy(change) };
        let answer = answer.map_err(|error| self.failure("commit the group's offsets", error))?;
        // SAFETY: the event is such a result, for the one group; its list lives as long as it does.
        let refused = unsafe {
            let result = rd::rd_kafka_event_AlterConsumerGroupOffsets_result(answer.0);
            let mut count = 0;
            let groups = rd::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &mut count);
            (0..count).find_map(|index| refused_partition(&*rd::rd_kafka_group_result_partitions(*groups.add(index))))
        };
        match refused {
            Some(code) => {
                let failure = self.failure("commit the group's offsets", NativeError::of_code(code));
                let has_moved = matches!(code, Code::NotCoordinator | Code::CoordinatorNotAvailable);
                Err(if has_moved { Failure { code: MOVED_COORDINATOR, ..failure } } else { failure })
            }
            None => Ok(()),
        }
    }

    /// Makes a topic and waits until it can be used. False if it was there already.
    pub fn create(&self, new: &NewTopic) -> Result<bool, Failure> {
        let doing = format!("create topic `{}`", new.name);
        let name = c_string(&new.name);
        let mut reason = [0 as c_char; 512];
        let count = |number: Option<u32>| number.map_or(-1, |number| number as i32);
        // SAFETY: strings end with zeros; the buffer is as long as it is said to be; the topic is destroyed below.
        let mut topic = unsafe {
            let (partitions, replication) = (count(new.partitions), count(new.replication));
            rd::rd_kafka_NewTopic_new(name.as_ptr(), partitions, replication, reason.as_mut_ptr(), reason.len())
        };
        if topic.is_null() {
            // SAFETY: librdkafka ends its text with a zero.
            let reason = unsafe { text(reason.as_ptr()) };
            return Err(Failure::user("kafka.create_topic", format!("cannot {doing}: {reason}")));
        }
        for (name, value) in &new.config {
            let (name, value) = (c_string(name), c_string(value));
            // SAFETY: the topic lives; librdkafka copies both strings.
            unsafe { rd::rd_kafka_NewTopic_set_config(topic, name.as_ptr(), value.as_ptr()) };
        }
        let answer = self.ask(rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS, |rk, options, queue| {
            // SAFETY: all live until the call returns, which copies the topic.
            unsafe { rd::rd_kafka_CreateTopics(rk, &mut topic, 1, options, queue) }
        });
        // SAFETY: made above.
        unsafe { rd::rd_kafka_NewTopic_destroy(topic) };
        let answer = answer.map_err(|error| self.failure(&doing, error))?;
        // SAFETY: the event is a CreateTopics result with as many topics as it says.
        let made = unsafe {
            let mut count = 0;
            let result = rd::rd_kafka_event_CreateTopics_result(answer.0);
            topic_error(rd::rd_kafka_CreateTopics_result_topics(result, &mut count), count)
        };
        match made {
            Ok(()) => self.wait_for(&new.name, true).map(|()| true),
            Err(error) if error.code == Code::TopicAlreadyExists => Ok(false),
            Err(error) if is_settings_error(error.code) => {
                Err(Failure::user("kafka.create_topic", format!("cannot {doing}")).because(error))
            }
            Err(error) => Err(self.failure(&doing, error)),
        }
    }

    /// Deletes a topic and waits until it is gone. False if there was none.
    pub fn delete(&self, topic: &str) -> Result<bool, Failure> {
        let doing = format!("delete topic `{topic}`");
        let name = c_string(topic);
        // SAFETY: the string ends with a zero; the object is destroyed below.
        let mut deletion = unsafe { rd::rd_kafka_DeleteTopic_new(name.as_ptr()) };
        let answer = self.ask(rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETETOPICS, |rk, options, queue| {
            // SAFETY: all live until the call returns, which copies the object.
            unsafe { rd::rd_kafka_DeleteTopics(rk, &mut deletion, 1, options, queue) }
        });
        // SAFETY: made above.
        unsafe { rd::rd_kafka_DeleteTopic_destroy(deletion) };
        let answer = answer.map_err(|error| self.failure(&doing, error))?;
        // SAFETY: the event is a DeleteTopics result with as many topics as it says.
        let deleted = unsafe {
            let mut count = 0;
            let result = rd::rd_kafka_event_DeleteTopics_result(answer.0);
            topic_error(rd::rd_kafka_DeleteTopics_result_topics(result, &mut count), count)
        };
        match deleted {
            Ok(()) => self.wait_for(topic, false).map(|()| true),
            Err(error) if error.code == Code::UnknownTopicOrPartition => Ok(false),
            Err(error) => Err(self.failure(&doing, error)),
        }
    }

    /// Creation and deletion reach the brokers after the call has returned.
    fn wait_for(&self, topic: &str, present: bool) -> Result<(), Failure> {
        let deadline = Instant::now() + TIMEOUT;
        let [mut pause, longest] = PAUSES;
        while self.partitions(topic)?.is_some_and(|count| count > 0) != present {
            if Instant::now() > deadline {
                let state = if present { "there" } else { "gone" };
                return Err(Failure::outside("kafka.topic", format!("topic `{topic}` is still not {state}")));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest);
        }
        Ok(())
    }

    /// Removes the records of a partition below an offset.
    pub fn delete_records(&self, topic: &str, partition: Partition, before: Offset) -> Result<(), Failure> {
        let doing = format!("trim topic `{topic}`");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Place::Offset(before)).expect("offsets are not negative");
        // SAFETY: librdkafka copies the list; the object is destroyed below.
        let mut deletion = unsafe { rd::rd_kafka_DeleteRecords_new(list.ptr()) };
        let answer = self.ask(rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETERECORDS, |rk, options, queue| {
            // SAFETY: all live until the call returns, which copies the object.
            unsafe { rd::rd_kafka_DeleteRecords(rk, &mut deletion, 1, options, queue) }
        });
        // SAFETY: made above.
        unsafe { rd::rd_kafka_DeleteRecords_destroy(deletion) };
        let answer = answer.map_err(|error| self.failure(&doing, error))?;
        // SAFETY: the event is a DeleteRecords result with the partition that was asked for.
        let code = unsafe {
            let offsets = rd::rd_kafka_DeleteRecords_result_offsets(rd::rd_kafka_event_DeleteRecords_result(answer.0));
            (0..(*offsets).cnt as usize).map(|index| Code::from((*(*offsets).elems.add(index)).err)).next()
        };
        match code {
            Some(Code::NoError) | None => Ok(()),
            Some(code) => Err(self.failure(&doing, NativeError::of_code(code))),
        }
    }

    /// A topic's configuration as it is in force: `cleanup.policy`, `retention.ms`, … Empty, with a
    /// warning, where this user may not see it: many clusters allow writing and not that.
    pub fn config(&self, topic: &str) -> Result<TopicConfig, Failure> {
        let doing = format!("ask for the configuration of topic `{topic}`");
        match self.describe(topic, &doing) {
            Err(failure) if failure.code == "kafka.not_allowed" => {
                tracing::warn!(target: "kafka", "not allowed to {doing}: its limits are not checked");
                Ok(BTreeMap::new())
            }
            answer => answer,
        }
    }

    fn describe(&self, topic: &str, doing: &str) -> Result<TopicConfig, Failure> {
        let name = c_string(topic);
        // SAFETY: the string ends with a zero; the object is destroyed below.
        let mut resource = unsafe {
            rd::rd_kafka_ConfigResource_new(rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, name.as_ptr())
        };
        let answer = self.ask(rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, |rk, options, queue| {
            // SAFETY: all live until the call returns, which copies the object.
            unsafe { rd::rd_kafka_DescribeConfigs(rk, &mut resource, 1, options, queue) }
        });
        // SAFETY: made above.
        unsafe { rd::rd_kafka_ConfigResource_destroy(resource) };
        let answer = answer.map_err(|error| self.failure(doing, error))?;
        let mut config = BTreeMap::new();
        // SAFETY: the event is a DescribeConfigs result; resources and entries are as many as it says.
        unsafe {
            let (mut resources, mut entries) = (0, 0);
            let result = rd::rd_kafka_event_DescribeConfigs_result(answer.0);
            let all = rd::rd_kafka_DescribeConfigs_result_resources(result, &mut resources);
            for index in 0..resources {
                let resource = *all.add(index);
                NativeError::check_code(rd::rd_kafka_ConfigResource_error(resource))
                    .map_err(|error| self.failure(doing, error))?;
                let list = rd::rd_kafka_ConfigResource_configs(resource, &mut entries);
                for index in 0..entries {
                    let entry = *list.add(index);
                    config.insert(
                        text(rd::rd_kafka_ConfigEntry_name(entry)),
                        text(rd::rd_kafka_ConfigEntry_value(entry)),
                    );
                }
            }
        }
        Ok(config)
    }

    /// How many partitions a topic has, and its [`Topics::config`]: both are asked for at once. `None`: there is no such topic.
    pub fn with_config(&self, topic: &str) -> Result<Option<(usize, TopicConfig)>, Failure> {
        let span = tracing::Span::current();
        let (partitions, config) = std::thread::scope(|scope| {
            let config = scope.spawn(|| span.in_scope(|| self.config(topic)));
            (self.partitions(topic), config.join())
        });
        // Of a topic that is not there nothing else is asked.
        let Some(partitions) = partitions? else { return Ok(None) };
        let panicked = |_| Err(Failure::bug("kafka.panic", "a question to a cluster panicked"));
        match config.unwrap_or_else(panicked) {
            // It came between the two answers.
            Err(failure) if failure.code == "kafka.unknown_topic" => self.config(topic),
            config => config,
        }
        .map(|config| Some((partitions, config)))
    }

    /// What a topic takes.
    pub fn limits(&self, topic: &str) -> Result<SinkLimits, Failure> {
        let (partitions, config) = self.with_config(topic)?.ok_or_else(|| self.unknown(topic))?;
        let append_time = config.get("message.timestamp.type").is_some_and(|kind| kind == "LogAppendTime");
        let number = |name: &str| config.get(name).and_then(|value| value.parse::<i64>().ok());
        Ok(SinkLimits {
            partitions,
            batch_bytes_max: number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok()),
            // Before Kafka 3.6 there was one bound for both directions.
            ahead_ms_max: number("message.timestamp.after.max.ms")
                .or_else(|| number("message.timestamp.difference.max.ms"))
                .filter(|_| !append_time),
            compacted: config.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")),
            append_time,
        })
    }

    /// Sends an administrative request and waits for its answer.
    fn ask(
        &self,
        operation: rd::rd_kafka_admin_op_t,
        send: impl FnOnce(*mut rd::rd_kafka_t, *const rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
    ) -> Result<Answer, NativeError> {
        self.ask_within(TIMEOUT, operation, send)
    }

    fn ask_within(
        &self,
        within: Duration,
        operation: rd::rd_kafka_admin_op_t,
        send: impl FnOnce(*mut rd::rd_kafka_t, *const rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
    ) -> Result<Answer, NativeError> {
        let mut reason = [0 as c_char; 512];
        let limit = ms(within);
        // SAFETY: options and queue are ours and destroyed here; the event lives on in `Answer`.
        unsafe {
            let options = rd::rd_kafka_AdminOptions_new(self.client.ptr(), operation);
            rd::rd_kafka_AdminOptions_set_request_timeout(options, limit, reason.as_mut_ptr(), reason.len());
            // Refused, without harm, by requests that take no time on the broker.
            rd::rd_kafka_AdminOptions_set_operation_timeout(options, limit, reason.as_mut_ptr(), reason.len());
            let queue = rd::rd_kafka_queue_new(self.client.ptr());
            send(self.client.ptr(), options, queue);
            let event = rd::rd_kafka_queue_poll(queue, limit + 5_000);
            rd::rd_kafka_queue_destroy(queue);
            rd::rd_kafka_AdminOptions_destroy(options);
            if event.is_null() {
                return Err(NativeError::of_code(Code::OperationTimedOut));
            }
            let answer = Answer(event);
            let code = Code::from(rd::rd_kafka_event_error(event));
            if code == Code::NoError {
                return Ok(answer);
            }
            let text = text(rd::rd_kafka_event_error_string(event));
            Err(NativeError { text, ..NativeError::of_code(code) })
        }
    }

    fn failure(&self, doing: &str, error: NativeError) -> Failure {
        self.cluster.failure(&self.client, doing, error)
    }

    fn partition_failure(&self, doing: &str, error: rdkafka::error::KafkaError) -> Failure {
        match error.rdkafka_error_code() {
            Some(code) => self.failure(doing, NativeError::of_code(code)),
            None => Failure::outside("kafka.broker", format!("cannot {doing}")).because(error),
        }
    }
}

/// A client that speaks for a group without joining it.
fn group_client(cluster: &Cluster, group: &str) -> Result<Client, Failure> {
    cluster.client(Role::Consumer, &[], &[("group.id", group), ("enable.auto.commit", "false")])
}

/// An event that is destroyed with this.
struct Answer(*mut rd::rd_kafka_event_t);

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: made from an event that nobody else has.
        unsafe { rd::rd_kafka_event_destroy(self.0) };
    }
}

/// # Safety
/// `topics` holds `count` results.
unsafe fn topic_error(topics: *mut *const rd::rd_kafka_topic_result_t, count: usize) -> Result<(), NativeError> {
    for index in 0..count {
        // SAFETY: the caller says so.
        let (code, reason) = unsafe {
            let topic = *topics.add(index);
            (Code::from(rd::rd_kafka_topic_result_error(topic)), text(rd::rd_kafka_topic_result_error_string(topic)))
        };
        if code != Code::NoError {
            return Err(NativeError { text: reason, ..NativeError::of_code(code) });
        }
    }
    Ok(())
}

/// The first error among partitions.
///
/// # Safety
/// The list lives.
unsafe fn refused_partition(list: &rd::rd_kafka_topic_partition_list_t) -> Option<Code> {
    // SAFETY: the list has that many elements.
    let codes = (0..list.cnt as usize).map(|index| Code::from(unsafe { (*list.elems.add(index)).err }));
    codes.into_iter().find(|code| *code != Code::NoError)
}

fn is_settings_error(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidConfig
            | Code::InvalidTopic
            | Code::InvalidRequest
            | Code::PolicyViolation
    )
}
