//! What topics are beyond their names: a topic that is deleted and made again has another id.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::Arc;

use rdkafka::bindings as rd;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::{Answer, Topics};
use crate::connectors::kafka::native::{NativeError, c_string, text};
use crate::report::Failure;

/// A topic as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// As Kafka's own tools print it; `None`: the brokers are too old to give any.
    pub id: Option<String>,
    pub partitions: usize,
}

impl Topics {
    /// Topics as they are now; `None`: there is none of this name. Those that the cluster does not tell of are left out.
    pub fn described(&self, names: &[Arc<str>]) -> Result<BTreeMap<Arc<str>, Option<Described>>, Failure> {
        let doing = "ask what topics there are";
        let texts: Vec<CString> = names.iter().map(|name| c_string(name)).collect();
        let mut pointers: Vec<_> = texts.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: there are as many strings as it says, each ends with a zero, and librdkafka copies them.
        let asked = unsafe { rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) };
        let answer = self.ask(rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, |rk, options, queue| {
            // SAFETY: all live until the call returns, which copies the names.
            unsafe { rd::rd_kafka_DescribeTopics(rk, asked, options, queue) }
        });
        // SAFETY: made above.
        unsafe { rd::rd_kafka_TopicCollection_destroy(asked) };
        let answer = answer.map_err(|error| self.failure(doing, error))?;
        // SAFETY: the event is the result of this very request.
        let found = unsafe { told(&answer) };
        let of = |(name, code, described): (String, Code, Described)| {
            let name = names.iter().find(|asked| ***asked == name)?.clone();
            match code {
                Code::NoError => Some((name, Some(described))),
                Code::UnknownTopicOrPartition | Code::UnknownTopic => Some((name, None)),
                code => {
                    tracing::debug!(target: "kafka", "cannot {doing}: {}", NativeError::of_code(code));
                    None
                }
            }
        };
        Ok(found.into_iter().filter_map(of).collect())
    }
}

/// # Safety
/// The event is a DescribeTopics result.
unsafe fn told(answer: &Answer) -> Vec<(String, Code, Described)> {
    let (mut topics, mut partitions) = (0, 0);
    // SAFETY: the caller says what the event is; all that is taken from it is copied while it lives.
    unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(answer.0);
        let all = rd::rd_kafka_DescribeTopics_result_topics(result, &mut topics);
        let of = |index| {
            let topic = *all.add(index);
            let error = rd::rd_kafka_TopicDescription_error(topic);
            let code = if error.is_null() { Code::NoError } else { Code::from(rd::rd_kafka_error_code(error)) };
            rd::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
            let described = Described { id: id(rd::rd_kafka_TopicDescription_topic_id(topic)), partitions };
            (text(rd::rd_kafka_TopicDescription_name(topic)), code, described)
        };
        (0..topics).map(of).collect()
    }
}

/// # Safety
/// The id lives, or is null.
unsafe fn id(id: *const rd::rd_kafka_Uuid_t) -> Option<String> {
    if id.is_null() {
        return None;
    }
    // SAFETY: it lives; its text lives as long.
    unsafe {
        let nothing =
            rd::rd_kafka_Uuid_most_significant_bits(id) == 0 && rd::rd_kafka_Uuid_least_significant_bits(id) == 0;
        (!nothing).then(|| text(rd::rd_kafka_Uuid_base64str(id)))
    }
}
