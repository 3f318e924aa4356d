//! What connectors of `runner serve` get from the worker: `--brokers`, the registry, and a worker's properties as
//! Kafka Connect has them in a file.

use std::path::Path;

use serde_json::{Value as Json, json};

use crate::connect::Worker;
use crate::report::Failure;

/// Properties that mean something here; those of Connect's own topics, groups and listeners do not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WorkerConfig {
    brokers: Option<String>,
    /// By `key`, `value`, `header`: the class, and its settings without prefix.
    converters: Vec<(String, Converter)>,
    registry: Option<String>,
}

type Converter = (String, Vec<(String, String)>);

impl WorkerConfig {
    /// # Errors
    /// `serve.worker` for a file that cannot be read, and a line that is no property.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::user("serve.worker", format!("the file `{shown}` cannot be read")).because(error)
        })?;
        Self::of(&text).map_err(|line| {
            let message = format!("line {line} of `{shown}` is not of the form `name=value`");
            Failure::user("serve.worker", message).hint("it is a worker's properties, as Kafka Connect reads them")
        })
    }

    /// # Errors
    /// The number of a line that is no property.
    fn of(text: &str) -> Result<Self, usize> {
        let mut config = WorkerConfig::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (name, value) = line.split_once(['=', ':']).ok_or(index + 1)?;
            config.set(name.trim(), value.trim());
        }
        Ok(config)
    }

    fn set(&mut self, name: &str, value: &str) {
        if name == "bootstrap.servers" {
            self.brokers = Some(value.to_owned());
            return;
        }
        let Some((side, rest)) = name.split_once(".converter") else { return };
        if !matches!(side, "key" | "value" | "header") {
            return;
        }
        if rest == ".schema.registry.url" {
            self.registry = Some(value.to_owned());
        }
        let known = self.converters.iter().position(|(known, _)| known == side);
        let index = known.unwrap_or_else(|| {
            self.converters.push((side.to_owned(), (String::new(), Vec::new())));
            self.converters.len() - 1
        });
        let (class, settings) = &mut self.converters[index].1;
        match rest.strip_prefix('.') {
            Some(setting) => settings.push((setting.to_owned(), value.to_owned())),
            None if rest.is_empty() => *class = value.to_owned(),
            None => {}
        }
    }

    /// The worker: what is given here counts, before the command's own brokers and the registry that is served.
    pub fn worker(self, brokers: &str, serves_registry: bool) -> Worker {
        let mut worker = Worker::default();
        for (side, converter) in self.converters {
            let place = match side.as_str() {
                "key" => &mut worker.key_converter,
                "value" => &mut worker.value_converter,
                _ => &mut worker.header_converter,
            };
            let class = if converter.0.is_empty() { place.0.clone() } else { converter.0 };
            *place = (class, converter.1);
        }
        let registry: Json = match (self.registry, serves_registry) {
            (Some(url), _) => json!({ "url": url }),
            (None, true) => json!("embedded"),
            (None, false) => json!({ "url": "http://localhost:8081" }),
        };
        let brokers = self.brokers.as_deref().unwrap_or(brokers);
        worker.connection = Some(json!({ "kafka": { "brokers": brokers }, "registry": registry }));
        worker
    }

    /// The brokers of connectors.
    pub fn brokers<'b>(&'b self, given: &'b str) -> &'b str {
        self.brokers.as_deref().unwrap_or(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_read_as_kafka_connect_reads_it() {
        let text = "# ours\nbootstrap.servers = a:1,b:2\ngroup.id=c\nkey.converter=K\n\
                    value.converter.schemas.enable=false\nvalue.converter.schema.registry.url: http://r:1\n";
        let config = WorkerConfig::of(text).unwrap();
        assert_eq!(config.brokers("localhost:9092"), "a:1,b:2");
        let worker = config.worker("localhost:9092", true);
        assert_eq!(worker.key_converter, ("K".into(), Vec::new()));
        assert_eq!(worker.value_converter.0, Worker::default().value_converter.0);
        assert_eq!(worker.value_converter.1[0], ("schemas.enable".into(), "false".into()));
        let connection = json!({ "kafka": { "brokers": "a:1,b:2" }, "registry": { "url": "http://r:1" } });
        assert_eq!(worker.connection, Some(connection));
        let plain = WorkerConfig::default().worker("localhost:9092", true);
        assert_eq!(plain.connection.unwrap()["registry"], "embedded");
        assert_eq!(WorkerConfig::of("\nbogus"), Err(2));
    }
}
