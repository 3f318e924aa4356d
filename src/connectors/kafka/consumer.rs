//! A consumer whose partitions are assigned by hand, read in batches.
//!
//! No group is named, let alone joined: a client that names one has a thread for its coordinator. Each partition is
//! started at an exact offset and stopped: librdkafka's pause and resume go on from a position that its batch call moves
//! over the end of a partition, and so lose a record. What comes of them all goes to a queue of the consumer's own, which
//! one thread reads, and which writes to a descriptor when it stops being empty: so the client may be one that others
//! read with too (`crowd`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::Cluster;
use super::crowd::Seat;
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

/// How its client is set up, for those who share one too: `end_within` and `queue_bytes` are [`Consumer::open`]'s.
pub(super) fn client(cluster: &Cluster, end_within: Duration, queue_bytes: usize) -> Result<Client, Failure> {
    let held_ms = end_within.as_millis().to_string();
    let prefetch = prefetch(queue_bytes);
    let mut defaults = DEFAULTS.to_vec();
    defaults.extend(prefetch.iter().map(|(name, value)| (*name, value.as_str())));
    defaults.push(("fetch.wait.max.ms", &held_ms));
    cluster.client(Role::Consumer, &defaults, FIXED)
}

pub(super) struct Consumer {
    // Order matters: queue and topics go before the client.
    queue: Queue,
    topics: Vec<Topic>,
    feed: Feed,
    /// Rung by librdkafka.
    filled: Bell,
    reading: BTreeSet<Partition>,
    messages: Vec<*mut rd::rd_kafka_message_t>,
}

// SAFETY: the raw pointers in `messages` are null between calls of `take`; client, queue and topics may change threads.
unsafe impl Send for Consumer {}

/// Whose client it is.
enum Feed {
    Own(Client),
    Shared(Seat),
}

impl Feed {
    fn client(&self) -> &Client {
        match self {
            Feed::Own(client) => client,
            Feed::Shared(seat) => seat.client(),
        }
    }
}

/// A topic's handle, which every message of the topic has too: while it is held, no other topic can come to have it.
struct Topic {
    name_c: std::ffi::CString,
    handle: *mut rd::rd_kafka_topic_t,
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: `Consumer::of` made the handle for us; the client still lives.
        unsafe { rd::rd_kafka_topic_destroy(self.handle) };
    }
}

/// The consumer's own queue, and what is forwarded to it.
struct Queue {
    own: *mut rd::rd_kafka_queue_t,
    /// That of the client, with its errors; null where somebody else serves it.
    main: *mut rd::rd_kafka_queue_t,
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: `Consumer::of` made or got them for us; the client still lives.
        unsafe {
            if !self.main.is_null() {
                rd::rd_kafka_queue_forward(self.main, std::ptr::null_mut());
                rd::rd_kafka_queue_destroy(self.main);
            }
            rd::rd_kafka_queue_io_event_enable(self.own, -1, std::ptr::null(), 0);
            rd::rd_kafka_queue_destroy(self.own);
        }
    }
}

impl Drop for Consumer {
    /// Others may go on to read with the client.
    fn drop(&mut self) {
        let reading = std::mem::take(&mut self.reading);
        if let Feed::Shared(_) = self.feed {
            for partition in reading {
                // One that cannot be stopped was not read.
                let _ = self.stop(partition);
            }
        }
    }
}

impl Consumer {
    /// Makes a consumer of `topics` with a client of its own, without partitions. `end_within`: the broker holds a fetch
    /// that finds nothing, and an end is seen with its answer, so this long after the last record. `queue_bytes` is about
    /// what it may fetch ahead; 0: a default.
    pub fn open(
        cluster: &Cluster,
        topics: &[Arc<str>],
        end_within: Duration,
        queue_bytes: usize,
    ) -> Result<Consumer, Failure> {
        let client = client(cluster, end_within, queue_bytes)?;
        Consumer::of(Feed::Own(client), topics, bell()?)
    }

    /// The same with a client that others read with too, of these partitions only.
    pub fn join(cluster: &Cluster, topics: &[Arc<str>], partitions: &[Partition]) -> Result<Consumer, Failure> {
        let filled = bell()?;
        let name =
            |partition: &Partition| (topics[partition::topic(*partition)].clone(), partition::number(*partition));
        let seat = Seat::take(cluster, partitions.iter().map(name).collect(), filled.clone())?;
        Consumer::of(Feed::Shared(seat), topics, filled)
    }

    fn of(feed: Feed, topics: &[Arc<str>], filled: Bell) -> Result<Consumer, Failure> {
        if let Feed::Own(client) = &feed {
            client.set_read();
        }
        let client = feed.client().ptr();
        let one = 1u64.to_ne_bytes();
        // SAFETY: the client lives; librdkafka copies the payload; the descriptor is open until after the queue's drop.
        let queue = unsafe {
            let own = rd::rd_kafka_queue_new(client);
            rd::rd_kafka_queue_io_event_enable(own, filled.descriptor(), one.as_ptr().cast(), one.len());
            let main = match &feed {
                Feed::Own(_) => rd::rd_kafka_queue_get_main(client),
                Feed::Shared(_) => std::ptr::null_mut(),
            };
            if !main.is_null() {
                rd::rd_kafka_queue_forward(main, own);
            }
            Queue { own, main }
        };
        let topic = |name: &Arc<str>| {
            let name_c = c_string(name);
            // SAFETY: client and name live; the handle is given back on drop.
            let handle = unsafe { rd::rd_kafka_topic_new(client, name_c.as_ptr(), std::ptr::null_mut()) };
            Topic { name_c, handle }
        };
        let topics = topics.iter().map(topic).collect();
        let messages = vec![std::ptr::null_mut(); BATCH_MAX];
        Ok(Consumer { queue, topics, feed, filled, reading: BTreeSet::new(), messages })
    }

    pub fn client(&self) -> &Client {
        self.feed.client()
    }

    /// Others read with its client too.
    pub fn is_shared(&self) -> bool {
        matches!(self.feed, Feed::Shared(_))
    }

    /// Rings when the queue stops being empty.
    pub fn filled(&self) -> &Bell {
        &self.filled
    }

    /// Begins to read these partitions, each at an offset.
    ///
    /// # Errors
    /// It reads one already, or the offset is none.
    pub fn assign(&mut self, partitions: &[(Partition, Offset)]) -> Result<(), NativeError> {
        for (partition, offset) in partitions {
            // librdkafka would begin again, at the other offset.
            if !self.reading.insert(*partition) {
                return Err(NativeError::of_code(Code::Conflict));
            }
            let handle = self.topics[partition::topic(*partition)].handle;
            // SAFETY: handle and queue live.
            let started = unsafe {
                rd::rd_kafka_consume_start_queue(handle, partition::number(*partition), *offset, self.queue.own)
            };
            last_error(started)?;
        }
        Ok(())
    }

    /// Stops reading these partitions; what was fetched of them is thrown away.
    ///
    /// # Errors
    /// It does not read one.
    pub fn unassign(&mut self, partitions: &[Partition]) -> Result<(), NativeError> {
        for partition in partitions {
            if !self.reading.remove(partition) {
                return Err(NativeError::of_code(Code::UnknownPartition));
            }
            self.stop(*partition)?;
        }
        Ok(())
    }

    fn stop(&self, partition: Partition) -> Result<(), NativeError> {
        let handle = self.topics[partition::topic(partition)].handle;
        // SAFETY: the handle lives.
        last_error(unsafe { rd::rd_kafka_consume_stop(handle, partition::number(partition)) })
    }

    /// How many partitions the brokers say that a topic has. The client itself knows of them then: one that it does
    /// not know is gone, as far as it can tell.
    pub fn partitions(&self, topic: usize) -> Result<usize, NativeError> {
        let mut metadata = std::ptr::null();
        let timeout = super::native::ms(PARTITIONS_WITHIN);
        // SAFETY: client and handle live; the answer, which is there on success, is destroyed here.
        unsafe {
            let handle = self.topics[topic].handle;
            let code = rd::rd_kafka_metadata(self.client().ptr(), 0, handle, &mut metadata, timeout);
            NativeError::check_code(code)?;
            let answer = &*metadata;
            let topics = std::slice::from_raw_parts(answer.topics, answer.topic_cnt as usize);
            let count = topics.first().map_or(0, |topic| topic.partition_cnt as usize);
            rd::rd_kafka_metadata_destroy(metadata);
            Ok(count)
        }
    }

    /// Hands every message that is there, at most about `messages_max`, to `each`. True if more may be there.
    pub fn take(&mut self, messages_max: usize, mut each: impl FnMut(&Message<'_>)) -> bool {
        let wanted = messages_max.min(BATCH_MAX);
        // SAFETY: the array holds `wanted` pointers. With a time limit of 0 only what is there is taken:
        // with any other the call waits until the array is full.
        let count = unsafe { rd::rd_kafka_consume_batch_queue(self.queue.own, 0, self.messages.as_mut_ptr(), wanted) };
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
        let code =
            unsafe { rd::rd_kafka_get_watermark_offsets(self.client().ptr(), topic, number, &mut low, &mut high) };
        (NativeError::check_code(code).is_ok() && high >= 0).then_some(high)
    }
}

fn bell() -> Result<Bell, Failure> {
    Bell::new().map_err(|cause| Failure::outside("kafka.descriptor", "no file descriptor is left").because(cause))
}

/// What a call says that gives -1 where it fails.
fn last_error(result: std::ffi::c_int) -> Result<(), NativeError> {
    if result == 0 {
        return Ok(());
    }
    // SAFETY: it has no preconditions; the error is that of this thread's last call.
    NativeError::check_code(unsafe { rd::rd_kafka_last_error() })
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
