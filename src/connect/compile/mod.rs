//! A config that is sound becomes a Pipeline document.
//!
//! What each class reads and writes is in a file of its own; `draft` collects the document, `converters` chooses
//! formats, `clients` are the settings that every class shares: clients' properties, topics, bad records.

mod clients;
mod converters;
mod datagen;
mod draft;
mod files;
mod registry;
#[cfg(test)]
mod tests;

pub use registry::registry;

use super::check::check;
use super::config::Config;
use super::plugins::{self, PluginKind, find_connector};
use super::refusal::{Refusal, list_of_errors};
use super::worker::Worker;

/// A connector as a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Source or sink.
    pub kind: PluginKind,
    pub tasks: u32,
    /// Documents of the language: a pipeline, and the topics that it makes.
    pub document: String,
    /// Java's name of what a task is.
    pub task_class: &'static str,
    /// First line of the trace that a task ends with when its source has no more.
    pub at_end: Option<String>,
    /// What the config says and the pipeline does not do, in sentences: nothing of it is needed for the records.
    pub notes: Vec<String>,
    /// The same, but the records are other ones, or go elsewhere.
    pub untranslated: Vec<String>,
}

/// Compiles a config. `pipeline_name` is that of the document: see [`pipeline_name`].
///
/// # Errors
/// Everything that is wrong with the config, as POST answers it.
pub fn compile(name: &str, pipeline_name: &str, config: &Config, worker: &Worker) -> Result<Compiled, Refusal> {
    let mut config = config.clone();
    config.entry("name".to_owned()).or_insert_with(|| name.to_owned());
    let errors = check(&config, worker)?.errors();
    if !errors.is_empty() {
        return Err(Refusal::new(400, list_of_errors(&errors)));
    }
    let plugin = find_connector(config["connector.class"].trim())?;
    let connector = Connector { name, config: &config, worker };
    let mut draft = draft::Draft::new(pipeline_name);
    let made = match plugin.class {
        plugins::DATAGEN => datagen::compile(&connector, &mut draft),
        plugins::FILE_SOURCE => files::source(&connector, &mut draft),
        _ => files::sink(&connector, &mut draft),
    };
    let made = made.map_err(|error| Refusal::new(400, list_of_errors(&[error])))?;
    clients::ignored(&connector, plugin, &mut draft);
    Ok(Compiled {
        kind: plugin.kind,
        tasks: made.tasks,
        task_class: made.task_class,
        at_end: made.at_end,
        document: draft.document(),
        notes: draft.notes,
        untranslated: draft.untranslated,
    })
}

/// A connector's name as a pipeline's: itself where it can be one, otherwise a name made of it.
pub fn pipeline_name(connector: &str) -> String {
    // What begins like a name that is made could be another connector's.
    let is_plain = crate::spec::is_document_name(connector) && !connector.starts_with("connector-");
    if is_plain && connector.len() <= 200 {
        return connector.to_owned();
    }
    format!("connector-{:032x}", digest(connector))
}

/// FNV-1a of 128 bits: the same text gives the same journal, and the same place in it, for ever.
fn digest(text: &str) -> u128 {
    text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

/// What a class is compiled from.
struct Connector<'c> {
    name: &'c str,
    config: &'c Config,
    worker: &'c Worker,
}

/// What a class says of itself.
struct Made {
    tasks: u32,
    task_class: &'static str,
    at_end: Option<String>,
}

impl Connector<'_> {
    /// A setting with something in it, without the space around it.
    fn text(&self, key: &str) -> Option<&str> {
        self.config.get(key).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn is(&self, key: &str) -> bool {
        self.text(key).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A number that was checked.
    fn number(&self, key: &str) -> Option<i64> {
        self.text(key)?.parse().ok()
    }

    fn tasks(&self) -> u32 {
        self.number("tasks.max").and_then(|tasks| u32::try_from(tasks).ok()).unwrap_or(1)
    }

    fn list(&self, key: &str) -> Vec<String> {
        let items = self.text(key).unwrap_or_default().split(',').map(|item| item.trim().to_owned());
        items.filter(|item| !item.is_empty()).collect()
    }

    /// Settings behind a prefix, without it.
    fn behind<'s>(&'s self, prefix: &'s str) -> impl Iterator<Item = (&'s str, &'s str)> {
        self.config.iter().filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value.as_str())))
    }
}
