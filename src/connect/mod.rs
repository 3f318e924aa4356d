//! Connectors as Kafka Connect knows them, compiled to ordinary pipelines.
//!
//! A connector is texts by name ([`Config`]). [`check`] holds them against the definitions of its class and answers as
//! `PUT …/config/validate` does, [`compile`] makes a Pipeline document of them, which runs on the ordinary engine.
//! Nothing is asked but how a registry's host is called here, nothing but files of schemas is read. Keys, orders,
//! defaults and messages are those of Apache Kafka Connect 4.3, checked against it (`tests.rs`).
//!
//! `plugins` are the classes, `keys` their settings, `client` those of Kafka's clients; [`expand`] is for connectors that stand in documents, [`import`]
//! for those that move here from Connect.

mod check;
mod client;
mod compile;
mod config;
mod definition;
mod expand;
mod import;
mod keys;
mod plugins;
mod refusal;
mod secrets;
#[cfg(test)]
mod tests;
mod validation;
mod worker;

pub use check::{check, check_request};
pub use client::{ClientSettings, client_settings};
pub use compile::{Compiled, compile, pipeline_name, registry};
pub use config::{Config, ConfigProblem, config_of, patch_of};
pub use definition::{Definition, Importance, Kind, Width};
pub use expand::{config_of_document, expand};
pub use import::{Imported, configs_in, import};
pub use plugins::{FILE_SOURCE, Plugin, PluginKind, VERSION, find_connector, find_plugin, plugins};
pub use refusal::{Refusal, list_of_errors};
pub use secrets::{with_secrets, without_secrets};
pub use validation::{ConfigInfo, ConfigValue, Validation};
pub use worker::Worker;

/// What a plugin can be told, as `GET /connector-plugins/PLUGIN/config` lists it: a connector's own keys, then those
/// of every connector of its kind.
pub fn definitions(plugin: &Plugin) -> Vec<Definition> {
    let common: &[&[definition::Key]] = match plugin.kind {
        PluginKind::Source => &[keys::common::EVERY, keys::common::SOURCE],
        PluginKind::Sink => &[keys::common::EVERY, keys::common::SINK],
        _ => &[],
    };
    plugin.keys.iter().chain(common.iter().copied().flatten()).map(Definition::of).collect()
}
