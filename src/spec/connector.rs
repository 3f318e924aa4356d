//! `kind: KafkaConnector`, and Kafka Connect's own JSON files: connectors as their users have them.
//!
//! What the settings mean is not known here: `connect` compiles them to a pipeline.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::*;
use crate::report::{Diagnostic, Diagnostics, Place};

/// A connector: a class and its settings.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectorSpec {
    /// Texts by name, `connector.class` and `tasks.max` among them; not `name`.
    pub config: Vec<(Spanned<String>, Spanned<String>)>,
    pub state: Spanned<ConnectorState>,
}

crate::words! {
    /// What is wanted of a connector.
    pub enum ConnectorState {
        /// It runs.
        Running = "running",
        /// It rests, and goes on where it was.
        Paused = "paused",
        /// The same.
        Stopped = "stopped",
    }
}

crate::options! {
    /// A connector of Kafka Connect, in the form of Strimzi's documents.
    pub struct ConnectorKeys {
        /// Its class: `connector.class`. Example: `class: FileStreamSource`.
        pub class: Spanned<ConfigText>,
        /// Most tasks that share the work: `tasks.max`. Default 1.
        pub tasks_max as "tasksMax": Option<Spanned<ConfigText>>,
        /// Its settings, by Connect's names. Example: `config: { topic: words }`.
        pub config: Vec<(Spanned<String>, Spanned<ConfigText>)> = Vec::new(),
        /// Whether it runs. Default `running`; others are for a server.
        pub state: Option<Spanned<ConnectorState>>,
        /// `true`: `state: paused`, as older documents of Strimzi's say it.
        pub pause: Option<bool>,
        /// Strimzi's, without effect: what can be mended by waiting is tried again in any case.
        pub auto_restart as "autoRestart": Option<Spanned<Node>>,
        /// Strimzi's, without effect: `GET /connectors/NAME/offsets` of a server lists them.
        pub list_offsets as "listOffsets": Option<Spanned<Node>>,
        /// Strimzi's, without effect: `PATCH /connectors/NAME/offsets` of a server alters them.
        pub alter_offsets as "alterOffsets": Option<Spanned<Node>>,
        /// Strimzi's, without effect: of a class there is one version.
        pub version: Option<Spanned<Node>>,
    }
}

/// A setting: text, and numbers and booleans as they are written.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigText(pub String);

impl FromNode for ConfigText {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match node.scalar_text() {
            Some(text) => Some(ConfigText(text)),
            None => wrong_type(node, "a text, a number, true or false", out),
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

fn text(value: Spanned<ConfigText>) -> Spanned<String> {
    Spanned { value: value.value.0, place: value.place }
}

impl FromNode for ConnectorSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let keys: ConnectorKeys = FromNode::from_node(node, out)?;
        warn_of_unheeded(&keys, out);
        let ConnectorKeys { class, tasks_max, config, state, pause, .. } = keys;
        let named = |key: &str, value: Spanned<ConfigText>| {
            (Spanned { value: key.to_owned(), place: value.place.clone() }, text(value))
        };
        let mut all = vec![named("connector.class", class)];
        all.extend(tasks_max.map(|tasks| named("tasks.max", tasks)));
        for (key, value) in config {
            if let Some(twice) = ["connector.class", "tasks.max", "name"].into_iter().find(|own| *own == key.value) {
                let title = format!("`{twice}` does not stand in `config`");
                let own = if twice == "name" { "`metadata.name`" } else { "`class` and `tasksMax`" };
                out.push(Diagnostic::error("connector.key", title).at(&key.place).hint(format!("{own} say it")));
                return None;
            }
            all.push((key, text(value)));
        }
        let unsaid = if pause == Some(true) { ConnectorState::Paused } else { ConnectorState::Running };
        let state = state.unwrap_or_else(|| Spanned { value: unsaid, place: node.place.clone() });
        Some(ConnectorSpec { config: all, state })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        ConnectorKeys::schema(generator)
    }
}

/// What Strimzi's operator does, and nobody does here.
fn warn_of_unheeded(keys: &ConnectorKeys, out: &mut Diagnostics) {
    let ConnectorKeys { auto_restart, list_offsets, alter_offsets, version, .. } = keys;
    let unheeded = [
        ("autoRestart", auto_restart, "what can be mended by waiting is tried again in any case"),
        ("listOffsets", list_offsets, "`GET /connectors/NAME/offsets` of a server lists them"),
        ("alterOffsets", alter_offsets, "`PATCH /connectors/NAME/offsets` of a server alters them"),
        ("version", version, "of a class there is one version"),
    ];
    for (key, value, why) in unheeded {
        let Some(value) = value else { continue };
        let warning = Diagnostic::warning("connector.unheeded", format!("`{key}` has no effect"));
        out.push(warning.at(&value.place).note(why));
    }
}

/// True for Connect's own form: `{"name", "config"}`, or the settings alone.
pub(super) fn is_plain(node: &Node) -> bool {
    let has = |node: &Node, key: &str| node.get(key).is_some();
    let is_foreign = !has(node, "apiVersion") && !has(node, "kind");
    is_foreign
        && (has(node, "connector.class") || node.get("config").is_some_and(|config| has(config, "connector.class")))
}

/// A connector in Connect's own form.
pub(super) fn read_plain(node: &Node, out: &mut Diagnostics) -> Option<(Spanned<String>, ConnectorSpec)> {
    let config = match node.get("connector.class") {
        Some(_) => node,
        None => node.get("config")?,
    };
    let mut all: Vec<(Spanned<String>, Spanned<ConfigText>)> = FromNode::from_node(config, out)?;
    let own = all.iter().position(|(key, _)| key.value == "name").map(|index| text(all.remove(index).1));
    let outer = node.get("name").filter(|_| !std::ptr::eq(node, config));
    let outer = outer.and_then(|name| Some(Spanned { value: name.scalar_text()?, place: name.place.clone() }));
    if let (Some(outer), Some(own)) = (&outer, &own)
        && outer.value != own.value
    {
        let title =
            format!("Connector name configuration ({}) doesn't match connector name ({})", own.value, outer.value);
        out.push(Diagnostic::error("connector.name", title).at(&own.place));
        return None;
    }
    let Some(name) = outer.or(own) else {
        out.push(
            Diagnostic::error("connector.name", "the connector has no name")
                .at(&node.place)
                .hint("add `\"name\"` to it"),
        );
        return None;
    };
    let config = all.into_iter().map(|(key, value)| (key, text(value))).collect();
    let state = Spanned { value: ConnectorState::Running, place: node.place.clone() };
    Some((name, ConnectorSpec { config, state }))
}

impl ConnectorSpec {
    /// Where a setting stands; the place of the class for one that is not there.
    pub fn place(&self, key: &str) -> Option<&Place> {
        let find = |key: &str| self.config.iter().find(|(known, _)| known.value == key).map(|(_, value)| &value.place);
        find(key).or_else(|| find("connector.class"))
    }
}
