//! Which format a connector's converters and transformations are.
//!
//! Where an ordinary format gives the same bytes it is taken: it works on columns. Everything else is
//! `format: connect`, whose options are Connect's own keys.

use serde_json::{Map, Value as Json, json};

use super::super::plugins::{self, PluginKind, find_of_kind};
use super::Connector;
use super::draft::Draft;
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

    fn is_avro(&self) -> bool {
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
            let own = converter.settings.iter().filter(|(name, _)| !is_of_registry(name));
            options.extend(own.map(|(name, value)| (format!("{side}.converter.{name}"), json!(value))));
        }
        options.extend(self.chain.iter().map(|(name, value)| (name.clone(), json!(value))));
        options.extend(self.log.iter().map(|(name, value)| (name.clone(), json!(value))));
        json!({ "connect": options })
    }

    /// The connection that a connector's own registry makes necessary.
    pub fn connect(&self, connector: &Connector, draft: &mut Draft) {
        let named: Vec<(&Converter, &str)> = [&self.key, &self.value]
            .into_iter()
            .filter(|converter| converter.is_avro())
            .filter_map(|converter| Some((converter, converter.setting("schema.registry.url")?)))
            .collect();
        let Some((converter, urls)) = named.last() else { return };
        if named.iter().any(|(_, other)| other != urls) {
            draft.untranslated.push(format!(
                "key and value have schema registries of their own: that of the value, {urls}, is used for both"
            ));
        }
        if !urls.split(',').any(|url| connector.worker.knows(url.trim())) {
            draft.notes.push(format!(
                "the schema registry {urls} has a name that is not known here: that of the connection is used"
            ));
            return;
        }
        if connector.worker.connection.as_ref().is_some_and(|known| known["registry"]["url"] == json!(urls)) {
            return;
        }
        let mut registry = json!({ "url": urls });
        let user_info = ["basic.auth.user.info", "schema.registry.basic.auth.user.info"];
        if let Some((user, password)) = user_info.iter().find_map(|key| credentials(converter.setting(key)?)) {
            registry["username"] = json!(user);
            registry["password"] = json!(password);
        }
        if let Some(token) = converter.setting("bearer.auth.token") {
            registry["token"] = json!(token);
        }
        draft.connection(connector.worker)["registry"] = registry;
    }
}

/// `user:password`; either may be a `${secret:…}`, whose colons part nothing.
fn credentials(text: &str) -> Option<(&str, &str)> {
    let begin = if text.starts_with("${") { text.find('}')? } else { 0 };
    let colon = begin + text[begin..].find(':')?;
    Some((&text[..colon], &text[colon + 1..]))
}

fn is_of_registry(name: &str) -> bool {
    ["schema.registry.", "basic.auth.", "bearer.auth."].iter().any(|prefix| name.starts_with(prefix))
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
