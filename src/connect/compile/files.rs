//! `FileStreamSource` and `FileStreamSink`: lines of a file to a topic, records of topics to the lines of a file.

use serde_json::{Map, Value as Json, json};

use super::clients;
use super::converters::Converters;
use super::draft::Draft;
use super::{Connector, Made, digest};

const STREAMS: &str = "the process's own streams are not available: name a file";

pub fn source(connector: &Connector, draft: &mut Draft) -> Result<Made, String> {
    let Some(path) = connector.text("file") else {
        return Err(format!("Invalid value null for configuration file: {STREAMS}"));
    };
    let topic = connector.text("topic").unwrap_or_default().to_owned();
    // Offsets are those of a file: another one is read from its first line.
    draft.source_name = format!("file_{:032x}", digest(path));
    draft.source.insert("file".into(), json!({ "path": path, "follow": true }));
    draft.source.insert("format".into(), json!("string"));
    let converters = Converters::of(connector);
    converters.connect(connector, draft);
    clients::writes(connector, &topic, draft)?;
    draft.sink.insert("key".into(), json!([]));
    clients::delivery(connector, draft);
    let is_text = converters.value.is_string() && converters.chain.is_empty();
    draft.sink.insert("format".into(), if is_text { json!("string") } else { converters.format() });
    clients::created_topics(connector, &topic, &converters, draft)?;
    clients::errors(connector, false, draft);
    if connector.tasks() > 1 {
        draft.notes.push("a file is read by one task, whatever `tasks.max` says".into());
    }
    Ok(Made { tasks: 1, task_class: "org.apache.kafka.connect.file.FileStreamSourceTask", at_end: None })
}

pub fn sink(connector: &Connector, draft: &mut Draft) -> Result<Made, String> {
    let Some(path) = connector.text("file") else {
        return Err(format!("Invalid value null for configuration file: {STREAMS}"));
    };
    let converters = Converters::of(connector);
    converters.connect(connector, draft);
    let start = match connector.text("consumer.override.auto.offset.reset") {
        Some("latest") => "latest",
        _ => "earliest",
    };
    let group = connector
        .text("consumer.override.group.id")
        .map_or_else(|| format!("connect-{}", connector.name), str::to_owned);
    let topics = connector.list("topics");
    let (key, read) = match topics.as_slice() {
        [] => ("pattern", json!(connector.text("topics.regex").unwrap_or_default())),
        [topic] => ("topic", json!(topic)),
        several => ("topics", json!(several)),
    };
    let mut kafka = Map::from_iter([(key.to_owned(), read)]);
    // A consumer of Connect's begins there as well where its offset is none that the topic has.
    let starts = [("group", json!(group)), ("start", json!(start)), ("on_expired", json!(start))];
    kafka.extend(starts.map(|(key, value)| (key.to_owned(), value)));
    let properties = clients::properties(connector, "consumer.override.", draft)?;
    if !properties.is_empty() {
        kafka.insert("properties".into(), Json::Object(properties));
    }
    draft.source.insert("kafka".into(), Json::Object(kafka));
    draft.source.insert("format".into(), json!("bytes"));
    // A record without a value is a line, too.
    draft.source.insert("columns".into(), json!({ "value": "bytes?" }));
    // Lines join those that are there, and those that others write meanwhile.
    draft.sink.insert("file".into(), json!({ "path": path, "append": true }));
    draft.sink.insert("delivery".into(), json!("at_least_once"));
    draft.sink.insert("format".into(), converters.format());
    clients::errors(connector, true, draft);
    draft.lanes = connector.tasks();
    Ok(Made { tasks: connector.tasks(), task_class: "org.apache.kafka.connect.file.FileStreamSinkTask", at_end: None })
}
