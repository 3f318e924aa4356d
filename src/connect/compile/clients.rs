//! What connectors of every class share: clients' properties, the topic that is made, what becomes of bad records.

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};

use super::super::client::client_settings;
use super::super::keys::common;
use super::super::plugins::{Plugin, PluginKind};
use super::Connector;
use super::converters::Converters;
use super::draft::Draft;
use crate::connectors::kafka::TopicName;
use crate::kafka_connect::pattern::{Excess, Pattern};

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

/// `producer.override.*` or `consumer.override.*`, over what the worker has for all its connectors, as properties of
/// librdkafka.
///
/// # Errors
/// A value that the client refuses, in Connect's form.
pub fn properties(connector: &Connector, prefix: &str, draft: &mut Draft) -> Result<Map<String, Json>, String> {
    let worker = connector.worker;
    let every = if prefix.starts_with("producer") { &worker.producer } else { &worker.consumer };
    let every = every.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let own: IndexMap<&str, &str> = every.chain(connector.behind(prefix)).collect();
    let found = client_settings(prefix, &own)?;
    for (name, value) in &found.connection {
        draft.set_kafka(worker, name, value);
    }
    // What is the worker's was said when it started.
    let is_own =
        |said: &String| connector.behind(prefix).any(|(name, _)| said.starts_with(&format!("`{prefix}{name}`")));
    draft.notes.extend(found.notes.into_iter().filter(is_own));
    draft.untranslated.extend(found.untranslated.into_iter().filter(is_own));
    Ok(found.properties)
}

/// How often a record may come: `exactly.once.support` of a source.
pub fn delivery(connector: &Connector, draft: &mut Draft) {
    draft.exactly_once =
        connector.text("exactly.once.support").is_some_and(|support| support.eq_ignore_ascii_case("required"));
    if !draft.exactly_once {
        draft.sink.insert("delivery".into(), json!("at_least_once"));
    }
}

/// `topic.creation.*`: how the topic is made, or those that records name themselves: by the first group whose patterns
/// the name fits, over the defaults.
///
/// # Errors
/// A pattern that is none, a number that is none.
pub fn created_topics(
    connector: &Connector,
    topic: &str,
    converters: &Converters,
    draft: &mut Draft,
) -> Result<(), String> {
    let groups = creation_groups(connector)?;
    let default = created(connector, None)?;
    let Some(topic) = converters.routed(topic) else {
        let mut rules = Vec::new();
        for group in &groups {
            let mut rule = created(connector, Some(&group.prefix))?;
            rule.insert("topics".into(), json!(group.include));
            rule.insert("except".into(), json!(group.exclude));
            rules.push(Json::Object(rule));
        }
        rules.extend(Some(Json::Object(default)).filter(|rule| *rule != json!({})));
        if !rules.is_empty() {
            draft.sink["kafka"]["new_topics"] = json!(rules);
        }
        return Ok(());
    };
    let holds = |group: &CreationGroup| Ok(fits(&group.include, &topic)? && !fits(&group.exclude, &topic)?);
    let mut group = None;
    for candidate in &groups {
        if group.is_none() && holds(candidate).map_err(|excess: Excess| excess.to_string())? {
            group = Some(candidate);
        }
    }
    let spec = match group {
        Some(group) => created(connector, Some(&group.prefix))?,
        None => default,
    };
    if !spec.is_empty() {
        make(topic, Json::Object(spec), draft);
    }
    Ok(())
}

/// Has a topic made. One whose name no broker takes is nobody's: whoever writes to it says so.
fn make(topic: String, spec: Json, draft: &mut Draft) {
    if TopicName::is_legal(&topic) {
        draft.topics.push((topic, spec));
    }
}

/// A group of topics that are made alike.
struct CreationGroup {
    /// Of its settings.
    prefix: String,
    include: Vec<String>,
    exclude: Vec<String>,
}

/// Whether one of them does; what is none was refused before.
fn fits(patterns: &[String], topic: &str) -> Result<bool, Excess> {
    let mut known = patterns.iter().filter_map(|pattern| Pattern::new(pattern).ok());
    known.try_fold(false, |fits, pattern| Ok(fits || pattern.fits(topic)?))
}

fn creation_groups(connector: &Connector) -> Result<Vec<CreationGroup>, String> {
    let mut groups = Vec::new();
    for alias in connector.list("topic.creation.groups").into_iter().filter(|alias| alias != "default") {
        let prefix = format!("topic.creation.{alias}.");
        let patterns = |key: &str| {
            let all = connector.list(&format!("{prefix}{key}"));
            let wrong = all.iter().find_map(|pattern| Some((pattern, Pattern::new(pattern).err()?)));
            match wrong {
                Some((pattern, why)) => {
                    Err(format!("Invalid value {pattern} for configuration {prefix}{key}: Invalid regex: {why}"))
                }
                None => Ok(all),
            }
        };
        let (include, exclude) = (patterns("include")?, patterns("exclude")?);
        // Without patterns it is nobody's.
        if !include.is_empty() {
            groups.push(CreationGroup { prefix, include, exclude });
        }
    }
    Ok(groups)
}

/// The settings of a group over the defaults, as a Topic document has them.
fn created(connector: &Connector, group: Option<&str>) -> Result<Map<String, Json>, String> {
    let mut settings: Map<String, Json> = Map::new();
    for prefix in [Some("topic.creation.default."), group].into_iter().flatten() {
        settings.extend(connector.behind(prefix).map(|(key, value)| (key.to_owned(), json!(value))));
    }
    settings.retain(|key, _| key != "include" && key != "exclude");
    let mut spec = Map::new();
    for (key, word) in [("partitions", "partitions"), ("replication.factor", "replication")] {
        let Some(written) = settings.shift_remove(key) else { continue };
        let written = written.as_str().unwrap_or_default().trim().to_owned();
        match written.parse::<i32>() {
            // As the broker has it.
            Ok(-1) => {}
            Ok(number) if number > 0 => drop(spec.insert(word.to_owned(), json!(number))),
            _ => {
                let name = format!("{}{key}", group.unwrap_or("topic.creation.default."));
                return Err(format!(
                    "Invalid value {written} for configuration {name}: Value must be at least 1, or -1"
                ));
            }
        }
    }
    if !settings.is_empty() {
        spec.insert("config".to_owned(), Json::Object(settings));
    }
    Ok(spec)
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
                draft.errors = Some(json!({ "keep_then_fail": true }));
            }
            let factor = connector.number("errors.deadletterqueue.topic.replication.factor").unwrap_or(3);
            let mut spec = json!({ "partitions": 1 });
            if factor > 0 {
                spec["replication"] = json!(factor);
            }
            make(topic.to_owned(), spec, draft);
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
