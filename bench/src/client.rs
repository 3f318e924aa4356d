//! The Kafka client as `runner` sets it up, without anything around it.
//!
//! The settings are those of `src/connectors/kafka` in the project; a comparison with others would say nothing.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{null, null_mut};

use rdkafka::bindings as rd;
use rdkafka::config::ClientConfig;
use rdkafka::types::RDKafkaRespErr as Code;

use crate::Result;

const CONSUMER: &[(&str, &str)] = &[
    ("queued.min.messages", "10000"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.wait.max.ms", "200"),
    ("group.id", "bench"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    ("isolation.level", "read_committed"),
];

const PRODUCER: &[(&str, &str)] = &[
    ("partitioner", "murmur2_random"),
    ("queue.buffering.max.messages", "2000000"),
    ("batch.num.messages", "100000"),
    ("batch.size", "1000000"),
    ("enable.idempotence", "true"),
];

/// Messages taken in one call.
const BATCH: usize = 1024;

fn client(kind: rd::rd_kafka_type_t, brokers: &str, settings: &[(&str, &str)]) -> Result<*mut rd::rd_kafka_t> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    for (name, value) in settings {
        config.set(*name, *value);
    }
    let native = config.create_native_config()?;
    let mut reason = [0 as c_char; 512];
    // SAFETY: rd_kafka_new takes the duplicate; the buffer is as long as it is said to be.
    let rk = unsafe { rd::rd_kafka_new(kind, rd::rd_kafka_conf_dup(native.ptr()), reason.as_mut_ptr(), reason.len()) };
    if rk.is_null() {
        // SAFETY: librdkafka ends its text with a zero.
        return Err(unsafe { CStr::from_ptr(reason.as_ptr()) }.to_string_lossy().into_owned().into());
    }
    Ok(rk)
}

fn failed(code: Code, doing: &str) -> Result<()> {
    if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    // SAFETY: the text is static.
    let text = unsafe { CStr::from_ptr(rd::rd_kafka_err2str(code)) };
    Err(format!("{doing}: {}", text.to_string_lossy()).into())
}

/// Takes over an error object; null is success.
fn taken(error: *mut rd::rd_kafka_error_t, doing: &str) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the error lives until it is destroyed here.
    unsafe {
        let text = CStr::from_ptr(rd::rd_kafka_error_string(error)).to_string_lossy().into_owned();
        rd::rd_kafka_error_destroy(error);
        Err(format!("{doing}: {text}").into())
    }
}

/// A record as the client has it.
pub struct Record<'a> {
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    pub timestamp: i64,
}

/// Reads partitions of a topic by hand, in batches.
pub struct Consumer {
    rk: *mut rd::rd_kafka_t,
    queue: *mut rd::rd_kafka_queue_t,
    messages: Vec<*mut rd::rd_kafka_message_t>,
}

// SAFETY: librdkafka's handles may be used from any thread; the messages are ours.
unsafe impl Send for Consumer {}

impl Consumer {
    /// A consumer of all `partitions`; `offset` may be one of librdkafka's words (-2 beginning, -1 end).
    pub fn open(brokers: &str, topic: &str, partitions: i32, offset: i64) -> Result<Consumer> {
        let rk = client(rd::rd_kafka_type_t::RD_KAFKA_CONSUMER, brokers, CONSUMER)?;
        let name = CString::new(topic)?;
        // SAFETY: client and list live; the name is copied.
        unsafe {
            rd::rd_kafka_poll_set_consumer(rk);
            let list = rd::rd_kafka_topic_partition_list_new(partitions);
            for partition in 0..partitions {
                (*rd::rd_kafka_topic_partition_list_add(list, name.as_ptr(), partition)).offset = offset;
            }
            let code = rd::rd_kafka_assign(rk, list);
            rd::rd_kafka_topic_partition_list_destroy(list);
            failed(code, "assign")?;
            Ok(Consumer { rk, queue: rd::rd_kafka_queue_get_consumer(rk), messages: vec![null_mut(); BATCH] })
        }
    }

    /// Hands over what there is, waiting `wait_ms` at most for a whole batch; gives how many partitions ended.
    pub fn take(&mut self, wait_ms: i32, mut each: impl FnMut(Record<'_>) -> Result<()>) -> Result<i32> {
        // SAFETY: the array is as long as it is said to be.
        let count = unsafe {
            rd::rd_kafka_consume_batch_queue(self.queue, wait_ms, self.messages.as_mut_ptr(), self.messages.len())
        };
        let (mut ended, mut result) = (0, Ok(()));
        for message in &self.messages[..count.max(0) as usize] {
            // SAFETY: the message is ours until it is destroyed below; key and payload live as long.
            unsafe {
                let m = &**message;
                match m.err {
                    Code::RD_KAFKA_RESP_ERR_NO_ERROR if result.is_ok() => {
                        let key = (!m.key.is_null()).then(|| std::slice::from_raw_parts(m.key.cast::<u8>(), m.key_len));
                        let value = std::slice::from_raw_parts(m.payload.cast::<u8>(), m.len);
                        let timestamp = rd::rd_kafka_message_timestamp(m, null_mut());
                        result = each(Record { key, value, timestamp });
                    }
                    Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                    Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => ended += 1,
                    code => result = result.and(failed(code, "read")),
                }
                rd::rd_kafka_message_destroy(*message);
            }
        }
        result.map(|()| ended)
    }

    /// Reads until every one of `partitions` has met its end.
    pub fn read_all(&mut self, partitions: i32, mut each: impl FnMut(Record<'_>) -> Result<()>) -> Result<()> {
        let mut ended = 0;
        while ended < partitions {
            ended += self.take(100, &mut each)?;
        }
        Ok(())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // SAFETY: the queue goes before the client.
        unsafe {
            rd::rd_kafka_queue_destroy(self.queue);
            rd::rd_kafka_destroy_flags(self.rk, rd::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        }
    }
}

/// Writes to one topic.
pub struct Producer {
    rk: *mut rd::rd_kafka_t,
    topic: *mut rd::rd_kafka_topic_t,
}

// SAFETY: librdkafka's handles may be used from any thread.
unsafe impl Send for Producer {}

impl Producer {
    /// `transactional`: the id to write under, in transactions.
    pub fn open(brokers: &str, topic: &str, transactional: Option<&str>, more: &[(&str, &str)]) -> Result<Producer> {
        let mut settings = PRODUCER.to_vec();
        settings.extend(transactional.map(|id| ("transactional.id", id)));
        settings.extend(more);
        let rk = client(rd::rd_kafka_type_t::RD_KAFKA_PRODUCER, brokers, &settings)?;
        let name = CString::new(topic)?;
        // SAFETY: the client lives; the name is copied.
        let topic = unsafe { rd::rd_kafka_topic_new(rk, name.as_ptr(), null_mut()) };
        if transactional.is_some() {
            // SAFETY: the client lives.
            taken(unsafe { rd::rd_kafka_init_transactions(rk, 30_000) }, "init transactions")?;
        }
        Ok(Producer { rk, topic })
    }

    pub fn begin(&self) -> Result<()> {
        // SAFETY: the client lives.
        taken(unsafe { rd::rd_kafka_begin_transaction(self.rk) }, "begin")
    }

    pub fn commit(&self) -> Result<()> {
        // SAFETY: the client lives.
        taken(unsafe { rd::rd_kafka_commit_transaction(self.rk, -1) }, "commit")
    }

    /// Copies a record into the client.
    pub fn send(&self, key: Option<&[u8]>, value: &[u8], timestamp: i64) -> Result<()> {
        use rd::rd_kafka_vtype_t as V;
        let mem = |vtype, bytes: &[u8]| rd::rd_kafka_vu_t {
            vtype,
            u: rd::rd_kafka_vu_s__bindgen_ty_1 {
                mem: rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
                    ptr: bytes.as_ptr().cast::<c_void>().cast_mut(),
                    size: bytes.len(),
                },
            },
        };
        let of = |vtype, u| rd::rd_kafka_vu_t { vtype, u };
        let mut values = [
            of(V::RD_KAFKA_VTYPE_RKT, rd::rd_kafka_vu_s__bindgen_ty_1 { rkt: self.topic }),
            of(V::RD_KAFKA_VTYPE_MSGFLAGS, rd::rd_kafka_vu_s__bindgen_ty_1 { i: rd::RD_KAFKA_MSG_F_COPY }),
            of(V::RD_KAFKA_VTYPE_TIMESTAMP, rd::rd_kafka_vu_s__bindgen_ty_1 { i64_: timestamp }),
            mem(V::RD_KAFKA_VTYPE_VALUE, value),
            mem(V::RD_KAFKA_VTYPE_VALUE, value),
        ];
        let mut count = 4;
        if let Some(key) = key {
            values[4] = mem(V::RD_KAFKA_VTYPE_KEY, key);
            count = 5;
        }
        loop {
            // SAFETY: client, topic and bytes live; the bytes are copied.
            unsafe {
                let error = rd::rd_kafka_produceva(self.rk, values.as_ptr(), count);
                if error.is_null() {
                    return Ok(());
                }
                if rd::rd_kafka_error_code(error) != Code::RD_KAFKA_RESP_ERR__QUEUE_FULL {
                    return taken(error, "produce");
                }
                rd::rd_kafka_error_destroy(error);
                rd::rd_kafka_poll(self.rk, 5);
            }
        }
    }

    /// Waits until the broker has everything.
    pub fn flush(&self) -> Result<()> {
        // SAFETY: the client lives.
        failed(unsafe { rd::rd_kafka_flush(self.rk, 60_000) }, "flush")
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // SAFETY: the topic goes before the client.
        unsafe {
            rd::rd_kafka_topic_destroy(self.topic);
            rd::rd_kafka_destroy(self.rk);
        }
    }
}

/// How many partitions a topic has; `None`: there is none of that name.
pub fn partitions(brokers: &str, topic: &str) -> Result<Option<i32>> {
    Admin::open(brokers)?.partitions(topic)
}

/// Makes and deletes topics.
pub struct Admin {
    rk: *mut rd::rd_kafka_t,
}

impl Admin {
    pub fn open(brokers: &str) -> Result<Admin> {
        Ok(Admin { rk: client(rd::rd_kafka_type_t::RD_KAFKA_PRODUCER, brokers, &[])? })
    }

    pub fn partitions(&self, topic: &str) -> Result<Option<i32>> {
        let name = CString::new(topic)?;
        let mut answer = null();
        // SAFETY: client and topic handle live; the answer is destroyed.
        unsafe {
            let handle = rd::rd_kafka_topic_new(self.rk, name.as_ptr(), null_mut());
            let code = rd::rd_kafka_metadata(self.rk, 0, handle, &mut answer, 10_000);
            rd::rd_kafka_topic_destroy(handle);
            failed(code, "ask for a topic")?;
            let found = &*(*answer).topics;
            let count = (found.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR).then_some(found.partition_cnt);
            rd::rd_kafka_metadata_destroy(answer);
            Ok(count.filter(|count| *count > 0))
        }
    }

    /// Deletes a topic and waits until it is gone; one that is not there is fine.
    pub fn delete(&self, topic: &str) -> Result<()> {
        let name = CString::new(topic)?;
        self.ask(|queue| {
            // SAFETY: everything lives during the call; the request is copied.
            unsafe {
                let mut request = rd::rd_kafka_DeleteTopic_new(name.as_ptr());
                rd::rd_kafka_DeleteTopics(self.rk, &mut request, 1, null(), queue);
                rd::rd_kafka_DeleteTopic_destroy(request);
            }
        })?;
        for _ in 0..200 {
            if self.partitions(topic)?.is_none() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Err(format!("topic `{topic}` cannot be deleted").into())
    }

    /// Makes a topic that keeps everything and waits until it is there.
    pub fn create(&self, topic: &str, partitions: i32) -> Result<()> {
        let name = CString::new(topic)?;
        self.ask(|queue| {
            // SAFETY: everything lives during the call; the request is copied.
            unsafe {
                let mut request = rd::rd_kafka_NewTopic_new(name.as_ptr(), partitions, 1, null_mut(), 0);
                // Event times are years old.
                rd::rd_kafka_NewTopic_set_config(request, c"retention.ms".as_ptr(), c"-1".as_ptr());
                rd::rd_kafka_CreateTopics(self.rk, &mut request, 1, null(), queue);
                rd::rd_kafka_NewTopic_destroy(request);
            }
        })?;
        for _ in 0..200 {
            if self.partitions(topic)? == Some(partitions) {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Err(format!("topic `{topic}` cannot be made").into())
    }

    /// Asks and waits for the answer; whether it was done is seen by looking.
    fn ask(&self, request: impl FnOnce(*mut rd::rd_kafka_queue_t)) -> Result<()> {
        // SAFETY: client and queue live; the event is destroyed.
        unsafe {
            let queue = rd::rd_kafka_queue_new(self.rk);
            request(queue);
            let event = rd::rd_kafka_queue_poll(queue, 30_000);
            let answered = !event.is_null();
            if answered {
                rd::rd_kafka_event_destroy(event);
            }
            rd::rd_kafka_queue_destroy(queue);
            if answered { Ok(()) } else { Err("the broker does not answer".into()) }
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        // SAFETY: nobody else has it.
        unsafe { rd::rd_kafka_destroy(self.rk) };
    }
}
