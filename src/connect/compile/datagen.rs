//! `DatagenConnector`: made-up records, by the ordinary generator.

use serde_json::{Map, Value as Json, json};

use super::super::check::generator;
use super::clients;
use super::converters::Converters;
use super::draft::Draft;
use super::{Connector, Made};
use crate::connectors::datagen::Quickstart;

/// Reads the config; what was checked is there.
pub fn compile(connector: &Connector, draft: &mut Draft) -> Result<Made, String> {
    let topic = connector.text("kafka.topic").unwrap_or_default().to_owned();
    let tasks = connector.tasks();
    let mut options = Map::new();
    let records = records(connector)?;
    let ready_made = records.as_ref().err().copied();
    match records {
        Ok(schema) => drop(options.insert("schema".into(), schema)),
        Err(quickstart) => drop(options.insert("quickstart".into(), json!(quickstart.name))),
    }
    let iterations = connector.number("iterations").filter(|iterations| *iterations > 0);
    if let Some(iterations) = iterations {
        options.insert("count".into(), json!(iterations));
    }
    match connector.number("max.interval").unwrap_or(500) {
        ..=0 => drop(options.insert("rate".into(), json!("max"))),
        ms => drop(options.insert("max_interval".into(), json!(format!("{ms}ms")))),
    }
    if tasks > 1 {
        options.insert("tasks".into(), json!(tasks));
        options.insert("per_task".into(), json!(true));
    }
    if let Some(seed) = connector.number("random.seed") {
        options.insert("seed".into(), json!(seed));
    }
    draft.source.insert("datagen".into(), Json::Object(options));
    draft.lanes = 1;

    let key = connector.text("schema.keyfield").or(ready_made.map(|quickstart| quickstart.key_field));
    let converters = Converters::of(connector);
    converters.connect(connector, draft);
    clients::writes(connector, &topic, draft)?;
    draft.sink.insert("key".into(), json!(key.into_iter().collect::<Vec<_>>()));
    let headers = json!({
        "task.generation": "${_generation}", "task.id": "${_partition}", "current.iteration": "${_offset}"
    });
    draft.sink.insert("headers".into(), headers);
    clients::delivery(connector, draft);
    draft.sink.insert("format".into(), converters.format());
    clients::created_topics(connector, &topic, &converters, draft)?;
    clients::errors(connector, false, draft);
    Ok(Made {
        tasks,
        task_class: "io.confluent.kafka.connect.datagen.DatagenTask",
        at_end: iterations.map(|count| {
            format!("org.apache.kafka.connect.errors.ConnectException: Stopping connector: generated the configured {count} number of messages")
        }),
    })
}

/// The schema as it is put into the document, or the quickstart, from the one source that the config names.
fn records(connector: &Connector) -> Result<Result<Json, &'static Quickstart>, String> {
    if let Some(name) = connector.text("quickstart") {
        return Quickstart::find(name).map(Err).ok_or_else(generator::unknown_quickstart);
    }
    let key = if connector.text("schema.filename").is_some() { "schema.filename" } else { "schema.string" };
    let schema = generator::schema(key, connector.text(key).unwrap_or_default())?;
    Ok(Ok(schema.to_json()))
}
