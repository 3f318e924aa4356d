//! `properties:` of a connection, source or sink: handed to librdkafka as they are, after a check.
//!
//! The check asks librdkafka itself (a configuration that is thrown away), so that a misspelt or
//! ill-valued property is found while the plan is made, and refuses those that the engine sets for
//! its guarantees.

use std::collections::BTreeMap;
use std::ffi::c_char;

use rdkafka::bindings as rd;

use super::native::{c_string, text};
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{FromNode, Node, Spanned, Value};

/// Properties as written: librdkafka's names; values are strings, numbers or booleans.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Properties(pub Vec<(Spanned<String>, String)>);

impl Properties {
    /// Names and values.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(name, value)| (name.value.clone(), value.clone())).collect()
    }
}

impl FromNode for Properties {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let Some(entries) = node.entries() else {
            out.push(
                Diagnostic::error("spec.type", "expected a map")
                    .at(&node.place)
                    .label(format!("this is {}", node.kind())),
            );
            return None;
        };
        let mut all = Vec::new();
        for entry in entries {
            let Some(value) = scalar(&entry.value) else {
                let title = format!("the value of `{}` is a string, a number, true or false", entry.key);
                let label = format!("this is {}", entry.value.kind());
                out.push(Diagnostic::error("kafka.property", title).at(&entry.value.place).label(label));
                continue;
            };
            match check(&entry.key, &value) {
                Some(wrong) => out.push(wrong.at(&entry.key_place)),
                None => all.push((Spanned { value: entry.key.clone(), place: entry.key_place.clone() }, value)),
            }
        }
        // What is wrong was said: the rest of the source or sink is checked all the same.
        Some(Properties(all))
    }

    fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "propertyNames": { "not": { "enum": REFUSED.iter().map(|(name, _)| name).collect::<Vec<_>>() } },
            "additionalProperties": { "type": ["string", "number", "boolean"] }
        })
    }
}

/// Names that librdkafka knows a property by beside its own, and that its list of names leaves out.
const ALIASES: &[(&str, &str)] = &[
    ("acks", "request.required.acks"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
];

/// A property's own name.
pub(super) fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, own)| own)
}

/// True for a property that names a file or folder of its own.
pub(super) fn is_path(name: &str, value: &str) -> bool {
    (name.starts_with("ssl.") && name.ends_with(".location") && value != "probe") || name == "sasl.kerberos.keytab"
}

impl Properties {
    /// What is wrong with a property of a connection, without a place. `secret`: how the user wrote a value
    /// that must not be shown.
    pub fn wrong(name: &str, value: &str, secret: Option<&str>) -> Option<Diagnostic> {
        let wrong = check(name, value)?;
        let Some(written) = secret.filter(|_| wrong.code == "kafka.property") else { return Some(wrong) };
        let title = format!("the Kafka property `{name}` cannot be what `{written}` stands for");
        Some(Diagnostic::error("kafka.property", title).label("librdkafka refuses it"))
    }

    /// The value, where it is a relative path from a folder.
    pub fn from_folder(name: &str, value: String, folder: &std::path::Path) -> String {
        match is_path(name, &value) {
            true => folder.join(&value).to_string_lossy().into_owned(),
            false => value,
        }
    }
}

fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::String(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// Properties that are the engine's, and why.
const REFUSED: &[(&str, &str)] = &[
    ("bootstrap.servers", "the connection's `brokers` says where the cluster is"),
    ("metadata.broker.list", "the connection's `brokers` says where the cluster is"),
    ("group.id", "the source's `group` names it"),
    ("enable.auto.commit", "the position is kept in the journal, with the output"),
    ("enable.auto.offset.store", "the position is kept in the journal, with the output"),
    ("auto.commit.enable", "the position is kept in the journal, with the output"),
    ("auto.offset.reset", "the source's `start` and `on_expired` say where to begin"),
    ("topic.auto.offset.reset", "the source's `start` and `on_expired` say where to begin"),
    ("isolation.level", "reading what may be taken back would make output that nothing supports"),
    ("enable.partition.eof", "the end of a partition must be seen to know when it is idle"),
    ("transactional.id", "it is derived from the pipeline, so that a restart fences its former self"),
    ("enable.idempotence", "without it a retry could write a record twice"),
    ("enable.gapless.guarantee", "transactions give more than that"),
    ("acks", "a transaction is durable only with `acks=all`"),
    ("request.required.acks", "a transaction is durable only with `acks=all`"),
    ("delivery.report.only.error", "the engine waits for every delivery"),
    ("log.queue", "log lines go to the log of `runner`"),
    ("plugin.library.paths", "libraries are not loaded into the process"),
];

/// What is wrong with a property, without a place; `None`: nothing.
pub(super) fn check(name: &str, value: &str) -> Option<Diagnostic> {
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Some(
            Diagnostic::error("kafka.property_refused", format!("the Kafka property `{name}` cannot be set"))
                .label("this one is the engine's")
                .hint(format!("remove it: {why}")),
        );
    }
    let (name_c, value_c) = (c_string(name), c_string(value));
    let mut reason = [0 as c_char; 512];
    // SAFETY: the configuration is ours and destroyed here; strings end with zeros; the buffer is as long as it is said to be.
    let (result, reason) = unsafe {
        let conf = rd::rd_kafka_conf_new();
        let result = rd::rd_kafka_conf_set(conf, name_c.as_ptr(), value_c.as_ptr(), reason.as_mut_ptr(), reason.len());
        rd::rd_kafka_conf_destroy(conf);
        (result, text(reason.as_ptr()))
    };
    match result {
        rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => None,
        rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_UNKNOWN => {
            let known = known();
            Some(
                Diagnostic::error("kafka.unknown_property", format!("librdkafka knows no property `{name}`"))
                    .label("unknown")
                    .did_you_mean(name, known.iter().map(String::as_str)),
            )
        }
        rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_INVALID => Some(
            Diagnostic::error("kafka.property", format!("the Kafka property `{name}` cannot be `{value}`"))
                .label("librdkafka refuses it")
                .note(reason),
        ),
    }
}

/// The names that librdkafka knows.
fn known() -> Vec<String> {
    let mut names: Vec<String> = ALIASES.iter().map(|(alias, _)| alias.to_string()).collect();
    let mut take = |dump: *mut *const c_char, count: usize| {
        for index in (0..count).step_by(2) {
            // SAFETY: a dump is `count` strings, names and values in turn.
            names.push(unsafe { text(*dump.add(index)) });
        }
        // SAFETY: it came from one of the two dump functions.
        unsafe { rd::rd_kafka_conf_dump_free(dump, count) };
    };
    // SAFETY: both configurations are ours and destroyed here.
    unsafe {
        let mut count = 0;
        let conf = rd::rd_kafka_conf_new();
        take(rd::rd_kafka_conf_dump(conf, &mut count), count);
        rd::rd_kafka_conf_destroy(conf);
        let topic_conf = rd::rd_kafka_topic_conf_new();
        take(rd::rd_kafka_topic_conf_dump(topic_conf, &mut count), count);
        rd::rd_kafka_topic_conf_destroy(topic_conf);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_property_is_found_with_a_suggestion() {
        let wrong = check("compresion.codec", "lz4").unwrap();
        assert_eq!(wrong.code, "kafka.unknown_property");
        assert_eq!(wrong.hint.as_deref(), Some("did you mean `compression.codec`?"));
    }

    #[test]
    fn a_bad_value_is_found_with_librdkafkas_reason() {
        let wrong = check("linger.ms", "soon").unwrap();
        assert_eq!(wrong.code, "kafka.property");
        assert!(wrong.notes[0].contains("linger.ms") || wrong.notes[0].contains("queue.buffering.max.ms"), "{wrong:?}");
    }

    #[test]
    fn a_property_of_the_engine_is_refused_with_the_reason() {
        let wrong = check("enable.auto.commit", "false").unwrap();
        assert_eq!(wrong.code, "kafka.property_refused");
        assert!(wrong.hint.unwrap().contains("journal"));
    }

    #[test]
    fn ordinary_properties_pass() {
        for (name, value) in [("linger.ms", "5"), ("security.protocol", "sasl_ssl"), ("compression.type", "zstd")] {
            assert_eq!(check(name, value), None);
        }
    }
}
