//! What connectors of every class share: clients' properties, the topic that is made, what becomes of bad records.

use serde_json::{Map, Value as Json, json};

use super::super::keys::common;
use super::super::plugins::{Plugin, PluginKind};
use super::Connector;
use super::draft::Draft;
use crate::connectors::kafka::Properties;
use crate::kafka_connect::transforms::whole_regex;

/// Settings of Java's clients that mean something to ours under another name, or nothing at all.
const JAVA_ONLY: &[&str] = &[
    "buffer.memory",
    "max.block.ms",
    "max.poll.records",
    "key.serializer",
    "value.serializer",
    "key.deserializer",
    "value.deserializer",
    "partitioner.class",
    "interceptor.classes",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.sample.window.ms",
    "metrics.recording.level",
    "max.request.size",
    "default.api.timeout.ms",
    "request.timeout.ms",
];

/// The sink of a source connector: its topic, with the properties of the producer.
///
/// # Errors
/// As [`properties`].
pub fn writes(connector: &Connector, topic: &str, draft: &mut Draft) -> Result<(), String> {
    let properties = properties(connector, "producer.override.", draft)?;
    let mut kafka = json!({ "topic": topic });
    if !properties.is_empty() {
        kafka["properties"] = Json::Object(properties);
    }
    draft.sink.insert("kafka".into(), kafka);
    Ok(())
}

/// `producer.override.*` or `consumer.override.*` as properties of librdkafka.
///
/// # Errors
/// A value that the client refuses, in Connect's form.
pub fn properties(connector: &Connector, prefix: &str, draft: &mut Draft) -> Result<Map<String, Json>, String> {
    let mut properties = Map::new();
    for (name, value) in connector.behind(prefix) {
        let name_here = match name {
            "max.request.size" => "message.max.bytes",
            "delivery.timeout.ms" => "message.timeout.ms",
            other => other,
        };
        // The source says both.
        if name == "auto.offset.reset" || name == "group.id" {
            continue;
        }
        if let Some(credentials) = security(name, value) {
            let kafka = &mut draft.connection(connector.worker)["kafka"];
            for (name, value) in credentials {
                match name {
                    "bootstrap.servers" => kafka["brokers"] = json!(value),
                    name => kafka["properties"][name] = json!(value),
                }
            }
            continue;
        }
        if name_here == name && JAVA_ONLY.contains(&name) {
            draft.notes.push(format!("`{prefix}{name}` has no meaning for this client: left out"));
            continue;
        }
        match Properties::wrong(name_here, value, None) {
            None => drop(properties.insert(name_here.to_owned(), json!(value))),
            Some(wrong) if wrong.code == "kafka.property" => {
                return Err(format!("Invalid value {value} for configuration {prefix}{name}: {}", wrong.title));
            }
            Some(wrong) => draft.untranslated.push(format!("`{prefix}{name}`: {}", wrong.title)),
        }
    }
    Ok(properties)
}

/// Who we are to the brokers, and where they are: that is the connection's, where secrets are kept as such.
fn security<'v>(name: &'v str, value: &'v str) -> Option<Vec<(&'v str, &'v str)>> {
    if name == "sasl.jaas.config" {
        // `…LoginModule required username="me" password="secret";`
        let quoted = |key: &str| value.split_once(&format!("{key}=\""))?.1.split('"').next();
        return Some(vec![("sasl.username", quoted("username")?), ("sasl.password", quoted("password")?)]);
    }
    let is_known = ["bootstrap.servers", "security.protocol", "sasl.mechanism"].contains(&name);
    is_known.then(|| vec![(name, value)])
}

/// How often a record may come: `exactly.once.support` of a source.
pub fn delivery(connector: &Connector, draft: &mut Draft) {
    draft.exactly_once =
        connector.text("exactly.once.support").is_some_and(|support| support.eq_ignore_ascii_case("required"));
    if !draft.exactly_once {
        draft.sink.insert("delivery".into(), json!("at_least_once"));
    }
}

/// `topic.creation.*`: the settings of the first group whose patterns the topic fits, over the defaults.
///
/// # Errors
/// A pattern that is none, a number that is none.
pub fn created_topic(connector: &Connector, topic: &str, draft: &mut Draft) -> Result<(), String> {
    let defaults: Vec<(&str, &str)> = connector.behind("topic.creation.default.").collect();
    let mut group = None;
    for alias in connector.list("topic.creation.groups") {
        let prefix = format!("topic.creation.{alias}.");
        let matches = |key: &str| -> Result<bool, String> {
            for pattern in connector.list(&format!("{prefix}{key}")) {
                let regex = whole_regex(&pattern);
                let regex = regex.map_err(|why| {
                    format!("Invalid value {pattern} for configuration {prefix}{key}: Invalid regex: {why}")
                })?;
                if regex.is_match(topic) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        if alias != "default" && matches("include")? && !matches("exclude")? {
            group = Some(prefix);
            break;
        }
    }
    let mut settings: Map<String, Json> =
        defaults.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    if let Some(prefix) = &group {
        settings.extend(connector.behind(prefix).map(|(key, value)| (key.to_owned(), json!(value))));
    }
    settings.retain(|key, _| key != "include" && key != "exclude");
    if settings.is_empty() {
        return Ok(());
    }
    let mut spec = Map::new();
    for (key, word) in [("partitions", "partitions"), ("replication.factor", "replication")] {
        let Some(written) = settings.remove(key) else { continue };
        let written = written.as_str().unwrap_or_default().trim().to_owned();
        match written.parse::<i32>() {
            // As the broker has it.
            Ok(-1) => {}
            Ok(number) if number > 0 => drop(spec.insert(word.to_owned(), json!(number))),
            _ => {
                let name = format!("topic.creation.default.{key}");
                return Err(format!(
                    "Invalid value {written} for configuration {name}: Value must be at least 1, or -1"
                ));
            }
        }
    }
    if !settings.is_empty() {
        spec.insert("config".to_owned(), Json::Object(settings));
    }
    draft.topics.push((topic.to_owned(), Json::Object(spec)));
    Ok(())
}

/// `errors.*`: what becomes of records that cannot be converted or transformed.
pub fn errors(connector: &Connector, is_sink: bool, draft: &mut Draft) {
    let tolerates = connector.text("errors.tolerance") == Some("all");
    let queue = connector.text("errors.deadletterqueue.topic.name").filter(|_| is_sink);
    match queue {
        Some(topic) => {
            let with_context = connector.is("errors.deadletterqueue.context.headers.enable");
            let context = ("errors.deadletterqueue.context.headers.enable", with_context.to_string());
            let format = json!({ "connect": { "name": connector.name, (context.0): context.1 } });
            let sink = json!({ "kafka": { "topic": topic }, "delivery": "at_least_once", "format": format });
            draft.dead_letter = Some(sink);
            if !tolerates {
                draft.errors = Some(json!({ "fail_above": "0%" }));
            }
            let factor = connector.number("errors.deadletterqueue.topic.replication.factor").unwrap_or(3);
            let mut spec = json!({ "partitions": 1 });
            if factor > 0 {
                spec["replication"] = json!(factor);
            }
            draft.topics.push((topic.to_owned(), spec));
        }
        None if tolerates => draft.errors = Some(json!({ "skip": true })),
        None => {}
    }
    if connector.number("errors.retry.timeout").is_some_and(|ms| ms != 0) {
        draft.notes.push("`errors.retry.timeout`: servers that are away are waited for, as long as it takes".into());
    }
}

/// Says which settings have no effect.
pub fn ignored(connector: &Connector, plugin: Plugin, draft: &mut Draft) {
    let is_source = plugin.kind == PluginKind::Source;
    let own = plugin.keys.iter().chain(common::EVERY).chain(if is_source { common::SOURCE } else { common::SINK });
    let own: Vec<&str> = own.map(|key| key.name).collect();
    let families: &[&str] = match is_source {
        true => &["producer.override.", "topic.creation."],
        false => &["consumer.override."],
    };
    let every = ["key.converter.", "value.converter.", "header.converter.", "transforms.", "predicates."];
    for key in connector.config.keys() {
        let known = own.contains(&key.as_str()) || every.iter().chain(families).any(|prefix| key.starts_with(prefix));
        if !known {
            draft.notes.push(format!("`{key}` is no setting of {}: it has no effect", plugin.class));
        }
    }
}
