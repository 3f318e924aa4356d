//! Which format a connector's converters and transformations are.
//!
//! Where an ordinary format gives the same bytes it is taken: it works on columns. Everything else is
//! `format: connect`, whose options are Connect's own keys.

use serde_json::{Map, Value as Json, json};

use super::super::plugins::{self, PluginKind, find_of_kind};
use super::Connector;
use super::draft::Draft;
use super::registry;
use crate::kafka_connect::transforms::Chain;

const STRING: &str = "org.apache.kafka.connect.storage.StringConverter";

/// The converters of a connector, by side.
pub struct Converters {
    pub key: Converter,
    pub value: Converter,
    pub header: Converter,
    /// `transforms…` and `predicates…`, classes by their full names.
    pub chain: Vec<(String, String)>,
    /// `errors.log.…` and the connector's name, if bad records are logged.
    log: Vec<(String, String)>,
}

/// A converter's class and its settings, without prefix.
pub struct Converter {
    pub class: String,
    pub settings: Vec<(String, String)>,
}

impl Converter {
    fn of(connector: &Connector, side: &str, kind: PluginKind, worker: &(String, Vec<(String, String)>)) -> Converter {
        let full =
            |class: &str| find_of_kind(kind, class).map_or_else(|| class.to_owned(), |plugin| plugin.class.to_owned());
        let key = format!("{side}.converter");
        // A converter that a connector names has none of the worker's settings.
        let Some(class) = connector.text(&key) else {
            return Converter { class: full(&worker.0), settings: worker.1.clone() };
        };
        let prefix = format!("{key}.");
        let settings = connector.behind(&prefix).filter(|(name, _)| *name != "plugin.version");
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Converter { class: full(class), settings }
    }

    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim())
    }

    pub fn is_string(&self) -> bool {
        self.class == STRING
    }

    pub fn is_avro(&self) -> bool {
        self.class == plugins::AVRO
    }
}

impl Converters {
    pub fn of(connector: &Connector) -> Converters {
        let Connector { worker, .. } = connector;
        Converters {
            key: Converter::of(connector, "key", PluginKind::Converter, &worker.key_converter),
            value: Converter::of(connector, "value", PluginKind::Converter, &worker.value_converter),
            header: Converter::of(connector, "header", PluginKind::HeaderConverter, &worker.header_converter),
            chain: chain(connector),
            log: log(connector),
        }
    }

    /// The topic that the transformations send all records of a topic to; `None`: each may go to another one.
    pub fn routed(&self, topic: &str) -> Option<String> {
        // What is wrong with them the pipeline says.
        Chain::new(&self.chain.iter().cloned().collect())
            .map_or_else(|_| Some(topic.to_owned()), |chain| chain.routed(topic))
    }

    /// `format: {connect: …}`.
    pub fn format(&self) -> Json {
        let mut options = Map::new();
        for (side, converter) in [("key", &self.key), ("value", &self.value), ("header", &self.header)] {
            options.insert(format!("{side}.converter"), json!(converter.class));
            // The connection says where the registry is, and who asks.
            let own = converter.settings.iter().filter(|(name, _)| !registry::is_of_registry(name));
            options.extend(own.map(|(name, value)| (format!("{side}.converter.{name}"), json!(value))));
        }
        options.extend(self.chain.iter().map(|(name, value)| (name.clone(), json!(value))));
        options.extend(self.log.iter().map(|(name, value)| (name.clone(), json!(value))));
        json!({ "connect": options })
    }

    /// The connection that a connector's own registry makes necessary, and what it says to nobody.
    pub fn connect(&self, connector: &Connector, draft: &mut Draft) {
        let worker = connector.worker.connection.as_ref().map(|connection| &connection["registry"]);
        let worker = worker.filter(|registry| registry.is_object());
        draft.unknown_settings("header", &self.header);
        let mut found: Vec<Json> = Vec::new();
        for (side, converter) in [("key", &self.key), ("value", &self.value)] {
            draft.unknown_settings(side, converter);
            if !converter.is_avro() || !converter.settings.iter().any(|(name, _)| registry::is_of_registry(name)) {
                continue;
            }
            let urls = converter.setting("schema.registry.url");
            if let Some(urls) = urls
                && !urls.split(',').any(|url| connector.worker.knows(url.trim()))
            {
                let logs_in = converter.settings.iter().any(|(name, _)| name.contains("auth."));
                let without =
                    if logs_in { ", without the credentials that the config has for the other one" } else { "" };
                let note = format!(
                    "the schema registry {urls} has a name that is not known here: that of the connection is used{without}"
                );
                if !draft.notes.contains(&note) {
                    draft.notes.push(note);
                }
                continue;
            }
            let mut lost = Vec::new();
            let known_url = worker.and_then(|registry| registry["url"].as_str());
            match registry::registry(&converter.settings, known_url, &mut lost) {
                Some(registry) => found.push(registry),
                None => draft.untranslated.push(format!(
                    "`{side}.converter.…` has credentials of a schema registry and no `schema.registry.url`: left out"
                )),
            }
            let said = lost.into_iter().map(|(name, why)| format!("`{side}.converter.{name}`: {why}"));
            draft.untranslated.extend(said);
        }
        let Some(registry) = found.pop() else { return };
        if let Some(other) = found.pop().filter(|other| *other != registry) {
            let urls = registry["url"].as_str().unwrap_or_default();
            draft.untranslated.push(match other["url"] == registry["url"] {
                true => format!(
                    "key and value log in to the schema registry {urls} differently: as the value does, both do"
                ),
                false => format!(
                    "key and value have schema registries of their own: that of the value, {urls}, is used for both"
                ),
            });
        }
        let registry = match worker {
            Some(worker) if is_same_url(worker, &registry) => over(worker, registry),
            _ => registry,
        };
        if worker != Some(&registry) {
            draft.connection(connector.worker)["registry"] = registry;
        }
    }
}

fn is_same_url(one: &Json, other: &Json) -> bool {
    let url = |registry: &Json| registry["url"].as_str().map(|url| url.trim_end_matches('/').to_owned());
    url(one) == url(other)
}

/// What a connector says of the worker's registry, over what the worker says: its login counts as a whole.
fn over(worker: &Json, own: Json) -> Json {
    let mut registry = worker.clone();
    let Json::Object(mut own) = own else { return registry };
    own.shift_remove("url");
    if let (true, Some(known)) = (own.keys().any(|key| key != "tls"), registry.as_object_mut()) {
        known.retain(|key, _| !["username", "password", "token"].contains(&key.as_str()));
    }
    own.into_iter().for_each(|(key, value)| registry[key] = value);
    registry
}

/// What is told of bad records in the log.
fn log(connector: &Connector) -> Vec<(String, String)> {
    if !connector.is("errors.log.enable") {
        return Vec::new();
    }
    let mut all =
        vec![("name".to_owned(), connector.name.to_owned()), ("errors.log.enable".to_owned(), "true".to_owned())];
    if connector.is("errors.log.include.messages") {
        all.push(("errors.log.include.messages".to_owned(), "true".to_owned()));
    }
    all
}

/// The settings of the chain; classes that were named shortly get their full names.
fn chain(connector: &Connector) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (what, kind) in [("transforms", PluginKind::Transformation), ("predicates", PluginKind::Predicate)] {
        let aliases = connector.list(what);
        if aliases.is_empty() {
            continue;
        }
        all.push((what.to_owned(), aliases.join(",")));
        for alias in aliases {
            let prefix = format!("{what}.{alias}.");
            for (name, value) in connector.behind(&prefix).filter(|(name, _)| *name != "plugin.version") {
                let class = Some(value.trim()).filter(|_| name == "type").and_then(|class| find_of_kind(kind, class));
                let value = class.map_or_else(|| value.to_owned(), |plugin| plugin.class.to_owned());
                all.push((format!("{prefix}{name}"), value));
            }
        }
    }
    all
}
