//! A consumer whose partitions are assigned by hand, read in batches.
//!
//! No group is joined. Partitions come and go by incremental (un)assignment at exact offsets:
//! librdkafka's pause and resume go on from a position that its batch call moves over the end of a
//! partition, and so lose a record. One thread reads; the queue writes to a descriptor when it
//! stops being empty.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::{Offset as Place, TopicPartitionList};

use super::client::Cluster;
use super::native::{Client, NativeError, Role, c_string};
use crate::connectors::Bell;
use crate::data::{Offset, Partition, partition};
use crate::report::Failure;

/// Yields to the user's properties.
const DEFAULTS: &[(&str, &str)] = &[
    // 1000 by default: a full queue would then stall a partition for up to a second. With 10, whoever reads as fast as it
    // can still waited for a third of its time (`bench verify`).
    ("fetch.queue.backoff.ms", "3"),
];

/// What exactly-once needs.
const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    ("isolation.level", "read_committed"),
];

/// A queue that nobody limits.
const QUEUE_BYTES: usize = 20 << 20;
/// What librdkafka needs for a queued message beside its bytes.
const MESSAGE_BYTES: usize = 400;

/// How far a consumer fetches ahead within so many bytes: messages, kilobytes, and bytes of one answer.
///
/// Messages that are smaller than their bookkeeping fill the queue by their number, larger ones by their bytes; an
/// answer that was asked for may come on top of a queue that is nearly full.
fn prefetch(queue_bytes: usize) -> [(&'static str, String); 3] {
    let bytes = if queue_bytes == 0 { QUEUE_BYTES } else { queue_bytes };
    let kbytes = (bytes * 2 / 3 / 1024).max(1);
    let answer = (bytes / 3).max(1 << 20);
    [
        // Of each partition: more made nothing faster.
        ("queued.min.messages", (bytes / MESSAGE_BYTES).clamp(1, 10_000).to_string()),
        ("queued.max.messages.kbytes", kbytes.to_string()),
        ("fetch.max.bytes", answer.to_string()),
    ]
}

/// How long a question for a topic's partitions waits: the lane stands still meanwhile.
const PARTITIONS_WITHIN: Duration = Duration::from_secs(2);
/// Messages taken in one call.
const BATCH_MAX: usize = 1024;

pub(super) struct Consumer {
    // Order matters: queue and topics go before the client.
    queue: Queue,
    topics: Vec<Topic>,
    client: Client,
    /// Rung by librdkafka.
    filled: Bell,
    messages: Vec<*mut rd::rd_kafka_message_t>,
}

// SAFETY: the raw pointers in `messages` are null between calls of `take`; client, queue and topics may change threads.
unsafe impl Send for Consumer {}

/// A topic's handle, which every message of the topic has too: while it is held, no other topic can come to have it.
struct Topic {
    name: Arc<str>,
    name_c: std::ffi::CString,
    handle: *mut rd::rd_kafka_topic_t,
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: `Consumer::open` made the handle for us; the client still lives.
        unsafe { rd::rd_kafka_topic_destroy(self.handle) };
    }
}

/// A reference to the consumer's queue, given back on drop.
struct Queue(*mut rd::rd_kafka_queue_t);

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: `Consumer::open` got the reference for us.
        unsafe {
            rd::rd_kafka_queue_io_event_enable(self.0, -1, std::ptr::null(), 0);
            rd::rd_kafka_queue_destroy(self.0);
        }
    }
}

impl Consumer {
    /// Makes a consumer of `topics` without partitions. `group` is named to the broker, and never
    /// joined. `end_within`: the broker holds a fetch that finds nothing, and an end is seen with its
    /// answer, so this long after the last record. `queue_bytes` is about what it may fetch ahead; 0: a default.
    pub fn open(
        cluster: &Cluster,
        topics: &[Arc<str>],
        group: &str,
        end_within: Duration,
        queue_bytes: usize,
    ) -> Result<Consumer, Failure> {
        let held_ms = end_within.as_millis().to_string();
        let prefetch = prefetch(queue_bytes);
        let mut defaults = DEFAULTS.to_vec();
        defaults.extend(prefetch.iter().map(|(name, value)| (*name, value.as_str())));
        defaults.push(("fetch.wait.max.ms", &held_ms));
        let mut fixed = FIXED.to_vec();
        fixed.push(("group.id", group));
        let client = cluster.client(Role::Consumer, &defaults, &fixed)?;
        let filled = Bell::new()
            .map_err(|cause| Failure::outside("kafka.descriptor", "no file descriptor is left").because(cause))?;
        let one = 1u64.to_ne_bytes();
        // SAFETY: the client lives; librdkafka copies the payload; the descriptor is open until after the queue's drop.
        let queue = unsafe {
            rd::rd_kafka_poll_set_consumer(client.ptr());
            let queue = rd::rd_kafka_queue_get_consumer(client.ptr());
            rd::rd_kafka_queue_io_event_enable(queue, filled.descriptor(), one.as_ptr().cast(), one.len());
            Queue(queue)
        };
        let topic = |name: &Arc<str>| {
            let name_c = c_string(name);
            // SAFETY: client and name live; the handle is given back on drop.
            let handle = unsafe { rd::rd_kafka_topic_new(client.ptr(), name_c.as_ptr(), std::ptr::null_mut()) };
            Topic { name: name.clone(), name_c, handle }
        };
        let topics = topics.iter().map(topic).collect();
        let messages = vec![std::ptr::null_mut(); BATCH_MAX];
        Ok(Consumer { queue, topics, client, filled, messages })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Rings when the queue stops being empty.
    pub fn filled(&self) -> &Bell {
        &self.filled
    }

    /// Begins to read these partitions, each at an offset.
    pub fn assign(&self, partitions: &[(Partition, Offset)]) -> Result<(), NativeError> {
        let list = self.list(partitions.iter().map(|(partition, offset)| (*partition, Place::Offset(*offset))));
        // SAFETY: both pointers live; librdkafka copies the list.
        unsafe { NativeError::check(rd::rd_kafka_incremental_assign(self.client.ptr(), list.ptr())) }
    }

    /// Stops reading these partitions; what was fetched of them is thrown away.
    pub fn unassign(&self, partitions: &[Partition]) -> Result<(), NativeError> {
        let list = self.list(partitions.iter().map(|partition| (*partition, Place::Invalid)));
        // SAFETY: both pointers live; librdkafka copies the list.
        unsafe { NativeError::check(rd::rd_kafka_incremental_unassign(self.client.ptr(), list.ptr())) }
    }

    /// How many partitions the brokers say that a topic has. The client itself knows of them then: one that it does
    /// not know is gone, as far as it can tell.
    pub fn partitions(&self, topic: usize) -> Result<usize, NativeError> {
        let mut metadata = std::ptr::null();
        let timeout = super::native::ms(PARTITIONS_WITHIN);
        // SAFETY: client and handle live; the answer, which is there on success, is destroyed here.
        unsafe {
            let handle = self.topics[topic].handle;
            let code = rd::rd_kafka_metadata(self.client.ptr(), 0, handle, &mut metadata, timeout);
            NativeError::check_code(code)?;
            let answer = &*metadata;
            let topics = std::slice::from_raw_parts(answer.topics, answer.topic_cnt as usize);
            let count = topics.first().map_or(0, |topic| topic.partition_cnt as usize);
            rd::rd_kafka_metadata_destroy(metadata);
            Ok(count)
        }
    }

    fn list(&self, partitions: impl Iterator<Item = (Partition, Place)>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, place) in partitions {
            let topic = &self.topics[partition::topic(partition)].name;
            list.add_partition_offset(topic, partition::number(partition), place).expect("offsets are not negative");
        }
        list
    }

    /// Hands every message that is there, at most about `messages_max`, to `each`. True if more may be there.
    pub fn take(&mut self, messages_max: usize, mut each: impl FnMut(&Message<'_>)) -> bool {
        let wanted = messages_max.min(BATCH_MAX);
        // SAFETY: the array holds `wanted` pointers. With a time limit of 0 only what is there is taken:
        // with any other the call waits until the array is full.
        let count = unsafe { rd::rd_kafka_consume_batch_queue(self.queue.0, 0, self.messages.as_mut_ptr(), wanted) };
        let count = usize::try_from(count).unwrap_or(0);
        let mut topic = 0;
        for message in &mut self.messages[..count] {
            let raw = std::mem::replace(message, std::ptr::null_mut());
            // SAFETY: the message is ours until destroyed, which is here and nowhere else.
            unsafe {
                let handle = (*raw).rkt;
                // Messages of a topic come one after the other.
                if self.topics.get(topic).is_none_or(|last| last.handle != handle) {
                    topic = self.topics.iter().position(|topic| topic.handle == handle).unwrap_or(usize::MAX);
                }
                each(&Message { raw: &*raw, topic });
                rd::rd_kafka_message_destroy(raw);
            }
        }
        count == wanted
    }

    /// The end of a partition as the last fetch knew it.
    pub fn known_end(&self, partition: Partition) -> Option<Offset> {
        let (mut low, mut high) = (0, 0);
        let topic = self.topics.get(partition::topic(partition))?.name_c.as_ptr();
        let number = partition::number(partition);
        // SAFETY: the client, the name and both numbers live.
        let code = unsafe { rd::rd_kafka_get_watermark_offsets(self.client.ptr(), topic, number, &mut low, &mut high) };
        (NativeError::check_code(code).is_ok() && high >= 0).then_some(high)
    }
}

/// A message, or an error of a partition, while [`Consumer::take`] shows it.
pub(super) struct Message<'a> {
    raw: &'a rd::rd_kafka_message_t,
    /// Index of its topic; `usize::MAX`: it has none.
    topic: usize,
}

impl Message<'_> {
    pub fn error(&self) -> rdkafka::types::RDKafkaErrorCode {
        self.raw.err.into()
    }

    /// What librdkafka says about an error.
    pub fn reason(&self) -> String {
        // SAFETY: the message lives; the text belongs to it.
        unsafe { super::native::text(rd::rd_kafka_message_errstr(self.raw)) }
    }

    /// `None` for an error that concerns no partition.
    pub fn partition(&self) -> Option<Partition> {
        let known = self.topic < partition::TOPICS_MAX && self.raw.partition >= 0;
        known.then(|| partition::at(self.topic, self.raw.partition))
    }

    pub fn offset(&self) -> Offset {
        self.raw.offset
    }

    /// Milliseconds; `None` only in formats from before 2016.
    pub fn timestamp(&self) -> Option<i64> {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives.
        let timestamp = unsafe { rd::rd_kafka_message_timestamp(self.raw, &mut kind) };
        (timestamp >= 0).then_some(timestamp)
    }

    /// The timestamp is the time at which the broker took the record.
    pub fn is_append_time(&self) -> bool {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives.
        unsafe { rd::rd_kafka_message_timestamp(self.raw, &mut kind) };
        kind == rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME
    }

    pub fn key(&self) -> Option<&[u8]> {
        // SAFETY: librdkafka says where the key is and how long; it lives as long as the message.
        unsafe { bytes(self.raw.key, self.raw.key_len) }
    }

    pub fn value(&self) -> Option<&[u8]> {
        // SAFETY: as for the key.
        unsafe { bytes(self.raw.payload, self.raw.len) }
    }

    /// In order, with duplicates.
    pub fn headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let mut all = Vec::new();
        self.each_header(|name, value| {
            all.push((String::from_utf8_lossy(name).into_owned(), value.map(<[u8]>::to_vec)));
        });
        all
    }

    /// Shows the headers, in order, with duplicates.
    pub fn each_header(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        // Most records have none, which librdkafka tells as an error: its text must not be made for each.
        let good = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message lives, and its headers with it.
        unsafe {
            if rd::rd_kafka_message_headers(self.raw, &mut headers) != good {
                return;
            }
            for index in 0.. {
                let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
                if rd::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size) != good {
                    return;
                }
                each(std::ffi::CStr::from_ptr(name).to_bytes(), bytes(value.cast_mut(), size));
            }
        }
    }
}

/// # Safety
/// `pointer` is null or valid for `len` bytes while the message lives.
pub(super) unsafe fn bytes<'a>(pointer: *mut std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller says so.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), len) })
}
