//! What is wrong between several keys.

use super::super::plugins::{DATAGEN, Plugin, PluginKind};
use super::super::validation::{ConfigInfo, ConfigValue};
use super::generator;
use super::read::list;
use crate::kafka_connect::pattern::Pattern;

pub fn check(plugin: &Plugin, configs: &mut [ConfigInfo]) {
    match plugin.kind {
        PluginKind::Sink => topics(configs),
        _ => boundary(configs),
    }
    if plugin.class == DATAGEN {
        generator::check(configs);
    }
}

fn find<'v>(configs: &'v mut [ConfigInfo], name: &str) -> Option<&'v mut ConfigValue> {
    configs.iter_mut().map(|info| &mut info.value).find(|value| value.name == name)
}

pub fn text(configs: &mut [ConfigInfo], name: &str) -> String {
    find(configs, name).and_then(|value| value.value.clone()).unwrap_or_default()
}

pub fn complain(configs: &mut [ConfigInfo], name: &str, error: &str) {
    find(configs, name).into_iter().for_each(|value| value.errors.push(error.to_owned()));
}

/// Which topics a sink reads, and where its bad records go.
fn topics(configs: &mut [ConfigInfo]) {
    const BOTH: [&str; 2] = ["topics", "topics.regex"];
    let [topics, regex] = BOTH.map(|key| text(configs, key));
    match (topics.is_empty(), regex.is_empty()) {
        (true, true) => BOTH.map(|key| complain(configs, key, "Must configure one of topics or topics.regex")),
        (false, false) => BOTH.map(|key| {
            complain(configs, key, "topics and topics.regex are mutually exclusive options, but both are set.");
        }),
        _ => [(), ()],
    };
    let queue = text(configs, "errors.deadletterqueue.topic.name");
    if queue.is_empty() {
        return;
    }
    let topics = list(&topics);
    if topics.contains(&queue) {
        let topics = topics.join(", ");
        let error = format!(
            "The DLQ topic '{queue}' may not be included in the list of topics ('topics=[{topics}]') consumed by the connector"
        );
        complain(configs, "topics", &error);
    }
    if !regex.is_empty() && Pattern::new(&regex).is_ok_and(|known| known.fits(&queue) == Ok(true)) {
        let error = format!(
            "The DLQ topic '{queue}' may not be matched by the regex for the topics ('topics.regex={regex}') consumed by the connector"
        );
        complain(configs, "topics.regex", &error);
    }
}

/// No class here says itself where transactions end.
fn boundary(configs: &mut [ConfigInfo]) {
    if text(configs, "transaction.boundary").eq_ignore_ascii_case("connector") {
        let error = "The connector does not support connector-defined transaction boundaries with the given configuration. Please reconfigure it to use a different transaction boundary definition.";
        complain(configs, "transaction.boundary", error);
    }
}
