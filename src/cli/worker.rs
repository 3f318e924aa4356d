//! What connectors of `runner serve` get from the worker: `--brokers`, the registry, and a worker's properties as
//! Kafka Connect has them in a file.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};

use crate::connect::{ClientSettings, Worker, client_settings, registry};
use crate::connectors::kafka::{Cluster, Properties};
use crate::report::Failure;
use crate::spec::Secret;

/// Properties that mean something here; those of Connect's own topics, groups and listeners do not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WorkerConfig {
    brokers: Option<String>,
    /// Who we are to the brokers, by the names of Java's clients.
    login: Vec<(String, String)>,
    /// Of connectors' producers and consumers: `producer.…`, `consumer.…`.
    producer: Vec<(String, String)>,
    consumer: Vec<(String, String)>,
    /// By `key`, `value`, `header`: the class, and its settings without prefix.
    converters: Vec<(String, Converter)>,
    /// Names that mean nothing here.
    idle: Vec<String>,
}

type Converter = (String, Vec<(String, String)>);

/// What a server's connectors run on.
#[derive(Debug)]
pub struct Ground {
    pub worker: Worker,
    pub brokers: Cluster,
    /// What has no effect, in sentences.
    pub notes: Vec<String>,
}

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
        let mut whole = String::new();
        for (index, line) in text.lines().enumerate() {
            whole.push_str(line.trim());
            // A value goes on behind a backslash.
            if let Some(open) = whole.strip_suffix('\\') {
                whole = open.to_owned();
                continue;
            }
            let line = std::mem::take(&mut whole);
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (name, value) = line.split_once(['=', ':']).ok_or(index + 1)?;
            config.set(name.trim(), &value.trim().replace("${env:", "${secret:env:"));
        }
        Ok(config)
    }

    fn set(&mut self, name: &str, value: &str) {
        let pair = |name: &str| (name.to_owned(), value.to_owned());
        if name == "bootstrap.servers" {
            self.brokers = Some(value.to_owned());
        } else if ["security.", "sasl.", "ssl."].iter().any(|prefix| name.starts_with(prefix)) {
            self.login.push(pair(name));
        } else if let Some(name) = name.strip_prefix("producer.") {
            self.producer.push(pair(name));
        } else if let Some(name) = name.strip_prefix("consumer.") {
            self.consumer.push(pair(name));
        } else if !self.set_converter(name, value) {
            self.idle.push(name.to_owned());
        }
    }

    /// False if it is none of a converter.
    fn set_converter(&mut self, name: &str, value: &str) -> bool {
        let Some((side @ ("key" | "value" | "header"), rest)) = name.split_once(".converter") else { return false };
        let setting = rest.strip_prefix('.');
        if setting.is_none() && !rest.is_empty() {
            return false;
        }
        let known = self.converters.iter().position(|(known, _)| known == side);
        let index = known.unwrap_or_else(|| {
            self.converters.push((side.to_owned(), (String::new(), Vec::new())));
            self.converters.len() - 1
        });
        let (class, settings) = &mut self.converters[index].1;
        match setting {
            Some(setting) => settings.push((setting.to_owned(), value.to_owned())),
            None => *class = value.to_owned(),
        }
        true
    }

    /// What connectors run on: what is given here counts, before the command's own brokers and the registry that is
    /// served. Relative paths of certificates begin at `folder`.
    ///
    /// # Errors
    /// `serve.worker` for a value that a client refuses; a secret that cannot be read.
    pub fn ground(self, brokers: &str, serves_registry: bool, folder: &Path) -> Result<Ground, Failure> {
        let mut notes = Vec::new();
        if !self.idle.is_empty() {
            notes.push(format!("no effect here have: {}", self.idle.join(", ")));
        }
        let brokers = self.brokers.as_deref().unwrap_or(brokers);
        let login = checked("", &self.login, &mut notes)?;
        let mut properties = BTreeMap::new();
        for (name, value) in login.connection.into_iter().chain(of_json(login.properties)) {
            properties.insert(name.clone(), Properties::from_folder(&name, value, folder));
        }
        // What does not hold is said once, here, and not with each connector.
        checked("producer.", &self.producer, &mut notes)?;
        checked("consumer.", &self.consumer, &mut notes)?;
        let mut worker = Worker { producer: self.producer, consumer: self.consumer, ..Worker::default() };
        let mut registry_of: Option<Json> = None;
        for (side, (class, settings)) in self.converters {
            let place = match side.as_str() {
                "key" => &mut worker.key_converter,
                "value" => &mut worker.value_converter,
                _ => &mut worker.header_converter,
            };
            let mut lost = Vec::new();
            registry_of = registry(&settings, None, &mut lost).or(registry_of);
            notes.extend(lost.into_iter().map(|(name, why)| format!("`{side}.converter.{name}`: {why}")));
            let class = if class.is_empty() { place.0.clone() } else { class };
            *place = (class, settings);
        }
        let registry = match (registry_of, serves_registry) {
            (Some(registry), _) => registry,
            (None, true) => json!("embedded"),
            (None, false) => json!({ "url": "http://localhost:8081" }),
        };
        let mut kafka = json!({ "brokers": brokers });
        if !properties.is_empty() {
            kafka["properties"] = json!(properties);
        }
        worker.connection = Some(json!({ "kafka": kafka, "registry": registry }));
        let brokers = cluster(brokers, properties, folder)?;
        Ok(Ground { worker, brokers, notes })
    }
}

/// The brokers, with secrets filled in.
fn cluster(brokers: &str, properties: BTreeMap<String, String>, folder: &Path) -> Result<Cluster, Failure> {
    let mut hidden = Vec::new();
    let mut filled = BTreeMap::new();
    for (name, value) in properties {
        let wrong = |why| Failure::user("serve.worker", format!("`{name}` of the worker's properties: {why}"));
        let secret = Secret::parse(&value, folder).map_err(wrong)?;
        let text = secret.resolve()?;
        hidden.extend(secret.hidden()?);
        if name.contains("password") {
            hidden.push(text.clone());
        }
        filled.insert(name, text);
    }
    Ok(Cluster { hidden, ..Cluster::new(brokers, filled)? })
}

/// Settings of a client, all of which hold; what has no effect is noted.
fn checked(prefix: &str, given: &[(String, String)], notes: &mut Vec<String>) -> Result<ClientSettings, Failure> {
    let given: IndexMap<&str, &str> = given.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut settings = client_settings(prefix, &given).map_err(|why| Failure::user("serve.worker", why))?;
    notes.append(&mut settings.notes);
    notes.append(&mut settings.untranslated);
    Ok(settings)
}

fn of_json(properties: Map<String, Json>) -> impl Iterator<Item = (String, String)> {
    properties.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground(text: &str, serves_registry: bool) -> Result<Ground, Failure> {
        WorkerConfig::of(text).unwrap().ground("localhost:9092", serves_registry, Path::new("/etc/worker"))
    }

    #[test]
    fn a_worker_is_read_as_kafka_connect_reads_it() {
        let text = "# ours\nbootstrap.servers = a:1,b:2\ngroup.id=c\nkey.converter=K\n\
                    value.converter.schemas.enable=false\nvalue.converter.schema.registry.url: http://r:1\n\
                    value.converter.basic.auth.user.info=me:${env:PASSWORD}\n";
        let Ground { worker, brokers, notes } = ground(text, true).unwrap();
        assert_eq!(brokers.brokers, "a:1,b:2");
        assert_eq!(worker.key_converter, ("K".into(), Vec::new()));
        assert_eq!(worker.value_converter.0, Worker::default().value_converter.0);
        assert_eq!(worker.value_converter.1[0], ("schemas.enable".into(), "false".into()));
        let registry = json!({ "url": "http://r:1", "username": "me", "password": "${secret:env:PASSWORD}" });
        assert_eq!(worker.connection, Some(json!({ "kafka": { "brokers": "a:1,b:2" }, "registry": registry })));
        assert_eq!(notes, ["no effect here have: group.id"]);
        assert_eq!(ground("", true).unwrap().worker.connection.unwrap()["registry"], "embedded");
        assert_eq!(WorkerConfig::of("\nbogus"), Err(2));
    }

    #[test]
    fn a_worker_logs_in_as_it_does_for_kafka_connect() {
        let text = "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n\
                    sasl.jaas.config=org.x.PlainLoginModule required \\\n  username=\"me\" password=\"p:w\";\n\
                    ssl.truststore.type=PEM\nssl.truststore.location=ca.pem\nssl.truststore.password=x\n\
                    producer.linger.ms=7\nproducer.buffer.memory=1\nconsumer.sasl.mechanism=PLAIN\n";
        let Ground { worker, brokers, notes } = ground(text, false).unwrap();
        let properties = json!({
            "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "me", "sasl.password": "p:w",
            "ssl.ca.location": "/etc/worker/ca.pem",
        });
        assert_eq!(worker.connection.unwrap()["kafka"]["properties"], properties);
        assert_eq!(brokers.properties["sasl.password"], "p:w");
        assert!(!format!("{brokers:?}").contains("p:w"), "{brokers:?}");
        assert_eq!(worker.producer[0], ("linger.ms".into(), "7".into()));
        assert_eq!(worker.consumer[0], ("sasl.mechanism".into(), "PLAIN".into()));
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("`ssl.truststore.password`") && notes[1].contains("`producer.buffer.memory`"));
        let wrong = ground("security.protocol=bogus\n", false).unwrap_err();
        assert!(wrong.message.contains("Invalid value bogus for configuration security.protocol"), "{wrong}");
        assert_eq!(wrong.code, "serve.worker");
    }
}
