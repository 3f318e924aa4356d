//! The documents that a connector becomes, while they are put together.

use serde_json::{Map, Value as Json, json};

use super::super::keys::converters;
use super::super::plugins::find_plugin;
use super::super::worker::Worker;
use super::converters::Converter;
use super::registry::is_of_registry;

/// Settings of Confluent's Avro converter that are not here, and the value at which they change nothing; empty: any, for
/// they are about how it remembers schemas.
const AVRO_ABSENT: &[(&str, &str)] = &[
    ("allow.optional.map.keys", "false"),
    ("avro.reflection.allow.null", "false"),
    ("avro.remove.java.properties", "false"),
    ("avro.use.logical.type.converters", "false"),
    ("discard.type.doc.default", "false"),
    ("flatten.singleton.unions", "true"),
    ("ignore.default.for.nullables", "false"),
    ("latest.cache.size", ""),
    ("max.schemas.per.subject", ""),
    ("schemas.cache.config", ""),
    ("schemas.cache.size", ""),
    ("specific.avro.reader", "false"),
    ("use.schema.id", "-1"),
];

/// A setting of Apache's own converters.
fn is_of_others(name: &str) -> bool {
    converters::JSON.iter().chain(converters::STRING).any(|key| key.name == name)
}

/// A pipeline and its topics.
pub struct Draft {
    name: String,
    pub connections: Map<String, Json>,
    /// Positions are kept by it: another name begins anew.
    pub source_name: String,
    pub source: Map<String, Json>,
    pub sink: Map<String, Json>,
    pub dead_letter: Option<Json>,
    pub errors: Option<Json>,
    pub lanes: u32,
    /// Names and bodies of the topics that are made.
    pub topics: Vec<(String, Json)>,
    pub notes: Vec<String>,
    pub untranslated: Vec<String>,
    /// Otherwise its Kafka sinks are at least once and its journal is a file: many connectors cost no topics.
    pub exactly_once: bool,
}

impl Draft {
    pub fn new(name: &str) -> Draft {
        Draft {
            name: name.to_owned(),
            connections: Map::new(),
            source_name: "rows".to_owned(),
            source: Map::new(),
            sink: Map::new(),
            dead_letter: None,
            errors: None,
            lanes: 1,
            topics: Vec::new(),
            notes: Vec::new(),
            untranslated: Vec::new(),
            exactly_once: false,
        }
    }

    /// The pipeline's own `default` connection, which begins as the worker's.
    pub fn connection(&mut self, worker: &Worker) -> &mut Json {
        let built_in =
            || json!({ "kafka": { "brokers": "localhost:9092" }, "registry": { "url": "http://localhost:8081" } });
        self.connections.entry("default").or_insert_with(|| {
            let mut connection = worker.connection.clone().unwrap_or_else(built_in);
            if connection.get("kafka").is_none() {
                connection["kafka"] = built_in()["kafka"].clone();
            }
            connection
        })
    }

    /// Says where the brokers are (`bootstrap.servers`), or a property of the connection to them, unless the worker says
    /// the same.
    pub fn set_kafka(&mut self, worker: &Worker, name: &str, value: &str) {
        fn place<'j>(kafka: &'j mut Json, name: &str) -> &'j mut Json {
            if name == "bootstrap.servers" { &mut kafka["brokers"] } else { &mut kafka["properties"][name] }
        }
        if !self.connections.contains_key("default") {
            let mut known = worker.connection.as_ref().map_or(Json::Null, |connection| connection["kafka"].clone());
            if known.is_object() && *place(&mut known, name) == *value {
                return;
            }
        }
        *place(&mut self.connection(worker)["kafka"], name) = json!(value);
    }

    /// Says which settings of a converter do nothing: those that its class does not have, which mean nothing to Connect
    /// either, and those of Confluent's that are not here.
    pub fn unknown_settings(&mut self, side: &str, converter: &Converter) {
        let short = converter.class.rsplit('.').next().unwrap_or_default();
        let keys = find_plugin(&converter.class).map_or(&[][..], |plugin| plugin.keys);
        for (name, value) in &converter.settings {
            let is_registry = converter.is_avro() && is_of_registry(name);
            if is_registry || name == "converter.type" || keys.iter().any(|key| key.name == name) {
                continue;
            }
            let setting = format!("`{side}.converter.{name}`");
            match AVRO_ABSENT.iter().find(|(known, _)| converter.is_avro() && known == name) {
                // As it is here.
                Some((_, default)) if value.trim().eq_ignore_ascii_case(default) || default.is_empty() => {}
                Some(_) => self.untranslated.push(format!("{setting} is not available: it is left out")),
                // What is another converter's was often left behind, and does nothing in Connect either.
                None if converter.is_avro() && !is_of_others(name) => {
                    self.untranslated.push(format!("{setting} is not known here, and has no effect"));
                }
                None => self.notes.push(format!("{setting} is no setting of {short}: it has no effect")),
            }
        }
    }

    /// As YAML, the pipeline first.
    pub fn document(&self) -> String {
        let mut spec = Map::new();
        let mut put = |key: &str, value: Option<Json>| drop(value.map(|value| spec.insert(key.to_owned(), value)));
        put("connections", Some(Json::Object(self.connections.clone())).filter(|_| !self.connections.is_empty()));
        let rows = &self.source_name;
        put("sources", Some(json!({ rows: self.source })));
        let mut sink = Map::from_iter([("from".to_owned(), json!(rows))]);
        sink.extend(self.sink.clone());
        put("sinks", Some(json!({ "out": sink })));
        put("dead_letter", self.dead_letter.clone());
        put("errors", self.errors.clone());
        put("state", Some(json!({ "journal": "file" })).filter(|_| !self.exactly_once));
        put("lanes", Some(json!(self.lanes)));
        let metadata = json!({ "name": self.name, "namespace": "connect" });
        let topics = self.topics.iter().map(|(name, spec)| written("Topic", &json!({ "name": name }), spec));
        let pipeline = written("Pipeline", &metadata, &Json::Object(spec));
        std::iter::once(pipeline).chain(topics).collect::<Vec<_>>().join("---\n")
    }
}

fn written(kind: &str, metadata: &Json, spec: &Json) -> String {
    let document = json!({ "apiVersion": "runner/v1", "kind": kind, "metadata": metadata, "spec": spec });
    crate::spec::to_yaml(&document)
}
