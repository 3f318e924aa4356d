//! A producer: transactional, or idempotent only.
//!
//! Records are sent from the bytes that the engine keeps (no copy): [`Producer::produce`] borrows
//! them only for the call, so whoever calls it keeps them until the transaction was committed or
//! aborted, or delivered, or the producer dropped. Commit, abort and deliver serve delivery reports themselves, because they
//! come as callbacks, not as events.

use std::ffi::c_void;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::bindings as rd;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::Cluster;
use super::native::{Client, NativeError, Refused, Role, c_string, ms, text};
use crate::data::{EncodedRecord, EncodedRows, Offset};
use crate::report::Failure;

/// One call into librdkafka takes at most this long, so that a broker that is away is told of soon.
const SLICE: Duration = Duration::from_secs(2);
/// After this the broker has timed the transaction out (`transaction.timeout.ms` and its scan).
const PATIENCE: Duration = Duration::from_secs(75);
/// Records up to this size are sent where the topic takes them.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;
/// librdkafka's default batch.
pub(super) const BATCH_BYTES: usize = 1_000_000;

pub(super) struct Producer {
    // Order matters: topics go before the client.
    topics: Vec<Topic>,
    client: Client,
    /// Offset of the newest record that was sent noted. librdkafka has its address while the client lives.
    newest: Box<AtomicI64>,
}

/// A topic of one producer; its client must live longer.
pub(super) struct Topic(*mut rd::rd_kafka_topic_t);

// SAFETY: librdkafka's topic handles may be used from any thread.
unsafe impl Send for Topic {}

impl Topic {
    pub fn of(client: &Client, name: &str) -> Topic {
        let name = c_string(name);
        // SAFETY: the client lives; librdkafka copies the name.
        Topic(unsafe { rd::rd_kafka_topic_new(client.ptr(), name.as_ptr(), std::ptr::null_mut()) })
    }

    pub fn name(&self) -> String {
        // SAFETY: the topic lives, and its name with it.
        unsafe { text(rd::rd_kafka_topic_name(self.0)) }
    }

    pub fn value(&self) -> rd::rd_kafka_vu_t {
        Value::topic(self.0)
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: made by `Topic::of`; the client lives.
        unsafe { rd::rd_kafka_topic_destroy(self.0) };
    }
}

// SAFETY: librdkafka's topic handles may be used from any thread.
unsafe impl Send for Producer {}

impl Producer {
    /// Makes a producer of `topics`, which are named by their index from now on. `batch_limits`:
    /// the largest batch that each of them takes. Without a transactional id it knows no transactions, but
    /// writes no record twice by itself.
    pub fn open(
        cluster: &Cluster,
        transactional_id: Option<&str>,
        topics: &[&str],
        batch_limits: &[usize],
    ) -> Result<Producer, Failure> {
        let largest = batch_limits.iter().max().copied().unwrap_or(BATCH_BYTES).clamp(BATCH_BYTES, RECORD_BYTES_MAX);
        // A batch above a topic's limit is refused whole, and librdkafka does not split it.
        let smallest = batch_limits.iter().min().copied().unwrap_or(BATCH_BYTES).min(BATCH_BYTES);
        let defaults = [
            // What Java's producers do with a key.
            ("partitioner", "murmur2_random"),
            ("queue.buffering.max.messages", "2000000"),
            ("batch.num.messages", "100000"),
            ("batch.size", &smallest.to_string()),
            ("message.max.bytes", &largest.to_string()),
        ];
        // Every delivery is reported, though only refusals are of interest: reports of failures alone
        // would leave a flush asleep until its next look, every 10 ms.
        let kind = transactional_id.map_or(("enable.idempotence", "true"), |id| ("transactional.id", id));
        let fixed = [kind, ("delivery.report.only.error", "false")];
        let client = cluster.client(Role::Producer, &defaults, &fixed)?;
        let topics = topics.iter().map(|name| Topic::of(&client, name)).collect();
        Ok(Producer { topics, client, newest: Box::new(AtomicI64::new(-1)) })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Fences every other producer of this id, and waits until its open transaction is gone.
    pub fn init(&self) -> Result<(), NativeError> {
        // Without a connection librdkafka looks for the coordinator every half second only; and known topics save the
        // first transaction a round trip. Twice: with the first answer it drops the connection to the address that it was
        // given, for one to a broker by its name; the second is answered when that one stands.
        self.ask();
        self.ask();
        self.repeat("take over the transactions", |client, timeout| {
            // SAFETY: the client lives.
            unsafe { NativeError::check(rd::rd_kafka_init_transactions(client, timeout)) }
        })
    }

    /// Asks for brokers and topics, and waits for an answer; if none comes, what is done next says why.
    fn ask(&self) {
        let mut metadata = std::ptr::null();
        // SAFETY: the client lives; the answer is destroyed at once.
        unsafe {
            let none = std::ptr::null_mut();
            let code = rd::rd_kafka_metadata(self.client.ptr(), 0, none, &mut metadata, ms(SLICE));
            if NativeError::check_code(code).is_ok() {
                rd::rd_kafka_metadata_destroy(metadata);
            }
        }
    }

    pub fn begin(&self) -> Result<(), NativeError> {
        // SAFETY: the client lives.
        unsafe { NativeError::check(rd::rd_kafka_begin_transaction(self.client.ptr())) }
    }

    /// Flushes and commits. An error that is only retriable means that nobody knows.
    pub fn commit(&self) -> Result<(), NativeError> {
        self.repeat("commit", |client, timeout| {
            // SAFETY: the client lives.
            unsafe { NativeError::check(rd::rd_kafka_commit_transaction(client, timeout)) }
        })
    }

    /// Takes back what was sent. Afterwards no record of the transaction is in librdkafka's hands.
    pub fn abort(&self) -> Result<(), NativeError> {
        self.repeat("abort", |client, timeout| {
            // SAFETY: the client lives.
            unsafe { NativeError::check(rd::rd_kafka_abort_transaction(client, timeout)) }
        })
    }

    /// Waits until every record was delivered or refused; [`Producer::take_refused`] says which it was.
    pub fn deliver(&self) -> Result<(), NativeError> {
        self.repeat("deliver", |client, timeout| {
            // SAFETY: the client lives.
            let flushed = unsafe { NativeError::check_code(rd::rd_kafka_flush(client, timeout)) };
            flushed.map_err(|error| NativeError { retriable: error.code == Code::OperationTimedOut, ..error })
        })?;
        self.client.fatal_error().map_or(Ok(()), Err)
    }

    /// Calls again while the call asks for it: librdkafka goes on where it was.
    fn repeat(
        &self,
        doing: &str,
        call: impl Fn(*mut rd::rd_kafka_t, i32) -> Result<(), NativeError>,
    ) -> Result<(), NativeError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let begun = Instant::now();
            match call(self.client.ptr(), ms(SLICE)) {
                Err(error) if error.retriable && !error.fatal && Instant::now() < deadline && !self.is_refused() => {
                    let reason = self.client.events().broken().unwrap_or_default();
                    tracing::warn!(target: "kafka", "cannot {doing} yet: {error} {reason}");
                    // An answer that came at once (coordinator not available) must not be asked for in a loop.
                    std::thread::sleep(Duration::from_millis(200).saturating_sub(begun.elapsed()));
                }
                result => {
                    if result.is_ok() {
                        self.client.events().was_let_in();
                    }
                    return result;
                }
            }
        }
    }

    /// True if the cluster does not let us in: librdkafka would go on trying.
    fn is_refused(&self) -> bool {
        self.client.serve(Duration::ZERO);
        self.client.events().refusal().is_some()
    }

    /// Sends rows to a topic, in order.
    ///
    /// # Safety
    /// `rows` must live until `commit`, `abort` or `deliver` succeeded, or the producer was dropped.
    pub unsafe fn produce(&self, topic: usize, rows: &EncodedRows) -> Result<(), NativeError> {
        let topic = self.topics[topic].value();
        rows.records.iter().try_for_each(|record| self.produce_one(&[topic], rows, record))
    }

    /// The same, each record to the topic that it names; `topics` are the indexes of those that the rows know.
    ///
    /// # Safety
    /// As `produce`.
    pub unsafe fn produce_each(&self, topics: &[usize], rows: &EncodedRows) -> Result<(), NativeError> {
        let named = rows.destinations.by_record.iter().zip(&rows.records);
        let missing = || NativeError::of_code(Code::UnknownTopic);
        if rows.destinations.by_record.len() != rows.len() {
            return Err(missing());
        }
        named.into_iter().try_for_each(|(topic, record)| {
            let topic = topics.get(*topic as usize).and_then(|index| self.topics.get(*index)).ok_or_else(missing)?;
            self.produce_one(&[topic.value()], rows, record)
        })
    }

    /// The same, for a topic of one partition; [`Producer::newest`] then tells where they stand.
    ///
    /// # Safety
    /// As `produce`.
    pub unsafe fn produce_noted(&self, topic: usize, rows: &EncodedRows) -> Result<(), NativeError> {
        let values = [self.topics[topic].value(), Value::opaque(self.newest.as_ptr().cast())];
        rows.records.iter().try_for_each(|record| self.produce_one(&values, rows, record))
    }

    /// Offset of the newest delivered record of those sent noted.
    pub fn newest(&self) -> Offset {
        self.newest.load(Ordering::Acquire)
    }

    fn produce_one(
        &self,
        first: &[rd::rd_kafka_vu_t],
        rows: &EncodedRows,
        record: &EncodedRecord,
    ) -> Result<(), NativeError> {
        loop {
            // SAFETY: the topic lives; the bytes live as long as `produce` asks for.
            match unsafe { send(&self.client, first, rows, record) } {
                // Full: let the broker threads send some of it.
                Err(error) if error.code == Code::QueueFull => self.client.serve(Duration::from_millis(5)),
                result => return result,
            }
        }
    }

    /// The first record that the broker (or librdkafka) refused.
    pub fn take_refused(&self) -> Option<Refused> {
        self.client.events().take_refused()
    }
}

/// Gives a record to librdkafka, once. `first`: its topic, and what else is the same for each.
///
/// # Safety
/// What `first` points to lives, and the bytes too until the record is told of, unless they are copied.
pub(super) unsafe fn send(
    client: &Client,
    first: &[rd::rd_kafka_vu_t],
    rows: &EncodedRows,
    record: &EncodedRecord,
) -> Result<(), NativeError> {
    let mut values = [first[0]; 7];
    values[..first.len()].copy_from_slice(first);
    let mut count = first.len();
    let mut add = |value| {
        values[count] = value;
        count += 1;
    };
    if let Some(value) = &record.value {
        add(Value::bytes(rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE, rows.bytes(value)));
    }
    if let Some(key) = &record.key {
        add(Value::bytes(rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY, rows.bytes(key)));
    }
    if let Some(timestamp) = record.timestamp {
        // To librdkafka 0 means now; a millisecond after is as near as can be had.
        add(Value::timestamp(if timestamp == 0 { 1 } else { timestamp }));
    }
    let headers = Headers::of(rows, record);
    if let Some(headers) = &headers {
        add(Value::headers(headers.0));
    }
    // SAFETY: client and headers live; for the rest the caller says so.
    unsafe { NativeError::check(rd::rd_kafka_produceva(client.ptr(), values.as_ptr(), count)) }?;
    // They belong to librdkafka now.
    std::mem::forget(headers);
    Ok(())
}

/// Why records were not written: by the first one that was refused, if one was.
pub(super) fn refusal(cluster: &Cluster, client: &Client, error: NativeError, refused: Option<Refused>) -> Failure {
    let (code, place, reason) = match refused {
        Some(Refused { code, topic, partition, reason }) if partition >= 0 => {
            (code, format!("partition {partition} of topic `{topic}`"), reason)
        }
        Some(Refused { code, topic, reason, .. }) => (code, format!("topic `{topic}`"), reason),
        None => (error.code, "the cluster".to_owned(), error.text.clone()),
    };
    let (name, hint) = match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => (
            "kafka.record_too_large",
            "raise `max.message.bytes` of the topic (and `message.max.bytes` of the sink, where it is set), at most 16 MiB",
        ),
        Code::InvalidTimestamp => (
            "kafka.record_refused",
            "its time is too far from the broker's clock (`message.timestamp.before.max.ms`, `message.timestamp.after.max.ms`)",
        ),
        Code::InvalidRecord => (
            "kafka.record_refused",
            "a compacted topic takes no record without a key; or its time is too far from the broker's clock \
             (`message.timestamp.before.max.ms`, `message.timestamp.after.max.ms`)",
        ),
        Code::PolicyViolation | Code::UnsupportedForMessageFormat => {
            ("kafka.record_refused", "the broker's settings forbid such records")
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            ("kafka.unknown_topic", "was the topic deleted?")
        }
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            ("kafka.not_allowed", "the cluster's access rules (ACLs) forbid it for this user")
        }
        _ => return cluster.failure(client, "commit an epoch", error),
    };
    Failure::user(name, format!("{place} refuses a record")).because(reason).hint(hint)
}

/// Makes the tagged values that `rd_kafka_produceva` takes.
pub(super) struct Value;

impl Value {
    fn topic(topic: *mut rd::rd_kafka_topic_t) -> rd::rd_kafka_vu_t {
        let u = rd::rd_kafka_vu_s__bindgen_ty_1 { rkt: topic };
        rd::rd_kafka_vu_t { vtype: rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT, u }
    }

    /// What its delivery report brings.
    pub fn opaque(ptr: *mut c_void) -> rd::rd_kafka_vu_t {
        let u = rd::rd_kafka_vu_s__bindgen_ty_1 { ptr };
        rd::rd_kafka_vu_t { vtype: rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_OPAQUE, u }
    }

    /// The record's bytes need not live.
    pub fn copied() -> rd::rd_kafka_vu_t {
        let u = rd::rd_kafka_vu_s__bindgen_ty_1 { i: rd::RD_KAFKA_MSG_F_COPY };
        rd::rd_kafka_vu_t { vtype: rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS, u }
    }

    /// An empty slice has an address too, so an empty key stays a key and an empty value no tombstone.
    fn bytes(vtype: rd::rd_kafka_vtype_t, bytes: &[u8]) -> rd::rd_kafka_vu_t {
        let mem = rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
            ptr: bytes.as_ptr().cast::<c_void>().cast_mut(),
            size: bytes.len(),
        };
        rd::rd_kafka_vu_t { vtype, u: rd::rd_kafka_vu_s__bindgen_ty_1 { mem } }
    }

    fn timestamp(ms: i64) -> rd::rd_kafka_vu_t {
        let u = rd::rd_kafka_vu_s__bindgen_ty_1 { i64_: ms };
        rd::rd_kafka_vu_t { vtype: rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP, u }
    }

    fn headers(headers: *mut rd::rd_kafka_headers_t) -> rd::rd_kafka_vu_t {
        let u = rd::rd_kafka_vu_s__bindgen_ty_1 { headers };
        rd::rd_kafka_vu_t { vtype: rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS, u }
    }
}

/// Headers that librdkafka has not taken yet.
struct Headers(*mut rd::rd_kafka_headers_t);

impl Headers {
    fn of(rows: &EncodedRows, record: &EncodedRecord) -> Option<Headers> {
        if record.headers.is_empty() {
            return None;
        }
        // SAFETY: no preconditions.
        let headers = Headers(unsafe { rd::rd_kafka_headers_new(record.headers.len()) });
        for (name, value) in &rows.headers[record.headers.start as usize..record.headers.end as usize] {
            let name = rows.bytes(name);
            let value = value.as_ref().map(|value| rows.bytes(value));
            let (pointer, size) = value.map_or((std::ptr::null(), 0), |value| (value.as_ptr(), value.len()));
            // SAFETY: librdkafka copies both; they are as long as they are said to be.
            unsafe {
                let (name_start, name_size) = (name.as_ptr().cast(), name.len() as isize);
                rd::rd_kafka_header_add(headers.0, name_start, name_size, pointer.cast(), size as isize);
            }
        }
        Some(headers)
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        // SAFETY: still ours, or this would have been forgotten.
        unsafe { rd::rd_kafka_headers_destroy(self.0) };
    }
}
