//! Kafka Connect's configs as specs: what `runner import connect` prints.
//!
//! A class that is here becomes the pipeline that a server would run; any other a skeleton in comments, with the
//! Kafka side filled in and all its settings. What could not be translated stands above it, in sentences.

use indexmap::IndexMap;

use super::compile::{compile, pipeline_name};
use super::config::{Config, ConfigProblem, config_of};
use super::plugins::{PluginKind, find_connector, find_of_kind};
use super::secrets;
use super::worker::Worker;
use crate::kafka_connect::json::Json;

/// A connector that was translated, as far as it could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    pub name: String,
    /// Documents, or comments; each begins with what is to be known about it.
    pub text: String,
    /// What the pipeline does not do: empty if all was translated.
    pub lost: Vec<String>,
}

/// The configs in a file or an answer of Connect's: one (`{"name", "config"}`, or the settings alone), a list of them,
/// what `GET /connectors?expand=info` answers, or lines of `key=value`.
///
/// # Errors
/// What is none of that, in a sentence.
pub fn configs_in(text: &str) -> Result<IndexMap<String, Config>, String> {
    let text = text.trim_start_matches('\u{feff}');
    if !text.trim_start().starts_with(['{', '[']) {
        return Ok(named([properties(text)?]));
    }
    let json = Json::parse(text.as_bytes())?.unwrap_or(Json::Null);
    let read = |json: &Json| config_in(json).map_err(|problem| problem.to_string());
    match &json {
        Json::Array(items) => Ok(named(items.iter().map(read).collect::<Result<Vec<_>, _>>()?)),
        Json::Object(entries) if !is_config(&json) => {
            let infos = entries.iter().map(|(name, value)| {
                let mut config = read(value.get("info").unwrap_or(value))?;
                config.entry("name".into()).or_insert_with(|| name.clone());
                Ok(config)
            });
            Ok(named(infos.collect::<Result<Vec<_>, String>>()?))
        }
        _ => Ok(named([read(&json)?])),
    }
}

fn is_config(json: &Json) -> bool {
    json.get("connector.class").is_some() || json.get("config").is_some()
}

/// A config, and its name from beside it.
fn config_in(json: &Json) -> Result<Config, ConfigProblem> {
    let Some(inner) = json.get("config") else { return config_of(json) };
    let mut config = config_of(inner)?;
    if let Some(name) = json.get("name").and_then(Json::as_str) {
        config.entry("name".into()).or_insert_with(|| name.to_owned());
    }
    Ok(config)
}

fn named(configs: impl IntoIterator<Item = Config>) -> IndexMap<String, Config> {
    let mut all: IndexMap<String, Config> = IndexMap::new();
    for config in configs {
        let name = config.get("name").cloned().unwrap_or_else(|| "connector".into());
        all.insert(name, config);
    }
    all
}

/// Lines of `key=value`, as a standalone worker reads them.
fn properties(text: &str) -> Result<Config, String> {
    let mut config = Config::new();
    let joined = text.replace("\\\r\n", "\\\n");
    let mut whole = String::new();
    for line in joined.lines() {
        whole.push_str(line.trim_start());
        if let Some(open) = whole.strip_suffix('\\') {
            whole = open.to_owned();
            continue;
        }
        let line = std::mem::take(&mut whole);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']) else {
            return Err(format!("`{line}` is neither JSON nor `key=value`"));
        };
        config.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    if config.is_empty() {
        return Err("there is no connector in it".into());
    }
    Ok(config)
}

/// Translates one config.
pub fn import(name: &str, config: &Config) -> Imported {
    // As it would be run: a registry by the name that the config gives it.
    let worker = Worker { resolves: |_| true, ..Worker::default() };
    let class = config.get("connector.class").map(|class| class.trim()).unwrap_or_default();
    if find_connector(class).is_err() {
        return skeleton(name, class, config);
    }
    let (config, mut lost) = without_providers(config);
    let (config, hidden) = with_variables(config);
    match compile(name, &pipeline_name(name), &config, &worker) {
        Ok(compiled) => {
            lost.extend(compiled.untranslated);
            let mut text = format!("# Connector `{name}`, {class}.\n");
            hidden.iter().for_each(|sentence| text.push_str(&comment(sentence)));
            lost.iter().for_each(|sentence| text.push_str(&comment(&format!("NOT TRANSLATED: {sentence}"))));
            compiled.notes.iter().for_each(|note| text.push_str(&comment(note)));
            Imported { name: name.to_owned(), text: text + &compiled.document, lost }
        }
        Err(refusal) => {
            let mut text = format!("# Connector `{name}`, {class}: its config is not valid.\n");
            text.push_str(&comment(&refusal.message));
            text.push_str(&settings(&config));
            lost.push(refusal.message);
            Imported { name: name.to_owned(), text, lost }
        }
    }
}

/// `${env:NAME}` is a secret of the environment; other providers of values are not there.
fn without_providers(config: &Config) -> (Config, Vec<String>) {
    let mut lost = Vec::new();
    let translated = config.iter().map(|(key, value)| {
        let value = value.replace("${env:", "${secret:env:");
        for provider in ["${file:", "${directory:", "${secrets:", "${vault:", "${configmaps:"] {
            if value.contains(provider) {
                lost.push(format!("`{key}`: values of {provider}…}} are not available: write `${{secret:env:NAME}}` or `${{secret:file:PATH}}`"));
            }
        }
        (key.clone(), value)
    });
    (translated.collect(), lost)
}

/// Credentials of a registry are put into the environment's hands: a spec is shared and printed.
fn with_variables(config: Config) -> (Config, Vec<String>) {
    let mut hidden = Vec::new();
    let mut hide = |key: &str, variable: &str| {
        hidden.push(format!("`{key}`: put the secret of it into the environment's {variable}"));
        format!("${{secret:env:{variable}}}")
    };
    let kept = config.into_iter().map(|(key, value)| {
        let value = match value.split_once(':') {
            _ if value.contains("${") => value,
            Some((user, _)) if key.ends_with("basic.auth.user.info") => {
                format!("{user}:{}", hide(&key, "REGISTRY_PASSWORD"))
            }
            _ if key.ends_with("bearer.auth.token") => hide(&key, "REGISTRY_TOKEN"),
            _ if key.ends_with("sasl.jaas.config") => match value.split_once("password=\"") {
                Some((before, _)) => format!("{before}password=\"{}\";", hide(&key, "KAFKA_PASSWORD")),
                None => value,
            },
            _ => value,
        };
        (key, value)
    });
    (kept.collect(), hidden)
}

fn comment(text: &str) -> String {
    text.lines().map(|line| format!("# {line}\n")).collect()
}

fn settings(config: &Config) -> String {
    let mut text = String::from("#\n# Its settings:\n");
    for (key, value) in config {
        text.push_str(&comment(&format!("  {key}: {}", secrets::shown(key, value))));
    }
    text
}

/// A class that is not here: what is known of it, to be filled in by hand.
fn skeleton(name: &str, class: &str, config: &Config) -> Imported {
    let get = |key: &str| config.get(key).map(|value| value.trim()).filter(|value| !value.is_empty());
    let is_sink = get("topics").or(get("topics.regex")).is_some() || class.contains("Sink");
    let format = format_of(get("value.converter"), get("value.converter.schemas.enable"));
    let topics = get("topics").or(get("topics.regex")).or(get("kafka.topic")).or(get("topic")).unwrap_or("TOPIC");
    let what = if class.is_empty() { "no `connector.class`".to_owned() } else { format!("the class {class}") };
    let (source, sink) = match is_sink {
        true => (
            format!("rows: {{ kafka: {{ topics: [{topics}], group: \"connect-{name}\" }}, format: {format} }}"),
            "out: { from: rows, … }   # what the connector wrote to".to_owned(),
        ),
        false => (
            "rows: { … }   # what the connector read from".to_owned(),
            format!("out: {{ from: rows, kafka: {{ topic: {topics} }}, format: {format} }}"),
        ),
    };
    let mut text = format!("# Connector `{name}`: {what} is not available here. A skeleton, to be filled in:\n#\n");
    text.push_str(&comment(&format!(
        "apiVersion: runner/v1\nkind: Pipeline\nmetadata: {{ name: {} }}\nspec:\n  sources:\n    {source}",
        pipeline_name(name)
    )));
    let transforms: Vec<&str> =
        get("transforms").unwrap_or_default().split(',').map(str::trim).filter(|t| !t.is_empty()).collect();
    if !transforms.is_empty() {
        text.push_str("#   transforms:   # the connector's own were:\n");
        for alias in transforms {
            let class = get(&format!("transforms.{alias}.type")).unwrap_or("?");
            let known = find_of_kind(PluginKind::Transformation, class).is_some();
            let hint = if known { "" } else { "   (not Apache Kafka's own)" };
            text.push_str(&comment(&format!("    # {alias}: {class}{hint}")));
        }
    }
    text.push_str(&comment(&format!("  sinks:\n    {sink}")));
    text.push_str(&settings(config));
    Imported { name: name.to_owned(), text, lost: vec![format!("{what} is not available here")] }
}

/// The format that is nearest to a converter.
fn format_of(converter: Option<&str>, schemas: Option<&str>) -> &'static str {
    match converter.and_then(|class| class.rsplit('.').next()) {
        Some("AvroConverter") => "avro",
        Some("StringConverter") => "string",
        Some("ByteArrayConverter") => "bytes",
        Some("JsonConverter") | None if schemas.is_some_and(|value| value.eq_ignore_ascii_case("false")) => "json",
        _ => "bytes",
    }
}
