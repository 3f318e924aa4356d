//! Settings of Kafka's Java clients, as ours has them: librdkafka's properties, and what a connection says.

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};

use crate::connectors::kafka::Properties;

/// Settings of Java's clients that mean nothing to ours.
const JAVA_ONLY: &[&str] = &[
    "buffer.memory",
    "max.block.ms",
    "max.poll.records",
    "key.serializer",
    "value.serializer",
    "key.deserializer",
    "value.deserializer",
    "partitioner.class",
    "interceptor.classes",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.sample.window.ms",
    "metrics.recording.level",
    "default.api.timeout.ms",
    "request.timeout.ms",
];

/// Settings that have another name here.
const RENAMED: &[(&str, &str)] = &[
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.request.size", "message.max.bytes"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
];

/// Certificates: where Java keeps them, and where we do. A file counts if the type of its store says PEM.
const STORES: &[(&str, &str, Option<&str>)] = &[
    ("ssl.truststore.certificates", "ssl.ca.pem", None),
    ("ssl.truststore.location", "ssl.ca.location", Some("ssl.truststore.type")),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem", None),
    ("ssl.keystore.key", "ssl.key.pem", None),
    // One file with certificates and key.
    ("ssl.keystore.location", "ssl.certificate.location", Some("ssl.keystore.type")),
    ("ssl.keystore.location", "ssl.key.location", Some("ssl.keystore.type")),
];

/// A client's settings, each in its place.
#[derive(Debug, Default)]
pub struct ClientSettings {
    /// Who we are to the brokers, and where they are (`bootstrap.servers`): that is the connection's, where secrets are
    /// kept as such.
    pub connection: Vec<(String, String)>,
    /// Properties of librdkafka.
    pub properties: Map<String, Json>,
    /// What has no meaning for our client, in sentences.
    pub notes: Vec<String>,
    /// What has one, and is not here.
    pub untranslated: Vec<String>,
}

/// Reads settings; `prefix` stands before their names in messages.
///
/// # Errors
/// A value that the client refuses, in Connect's form.
pub fn client_settings(prefix: &str, settings: &IndexMap<&str, &str>) -> Result<ClientSettings, String> {
    let mut out = ClientSettings::default();
    let refused = |name: &str, value: &str, why: String| {
        let shown = super::secrets::shown(name, value);
        Err(format!("Invalid value {shown} for configuration {prefix}{name}: {why}"))
    };
    for (&name, &value) in settings {
        // The source says both.
        if name == "auto.offset.reset" || name == "group.id" {
            continue;
        }
        if let Some(login) = connection(name, value, settings) {
            for (own, value) in login {
                let checked = own != "bootstrap.servers" && !value.contains("${secret:");
                match Properties::wrong(&own, &value, None).filter(|_| checked) {
                    None => out.connection.push((own, value)),
                    Some(wrong) => return refused(name, &value, wrong.notes.join("; ")),
                }
            }
            continue;
        }
        let renamed = RENAMED.iter().find(|(java, _)| *java == name);
        let name_here = renamed.map_or(name, |(_, own)| own);
        if JAVA_ONLY.contains(&name) {
            out.notes.push(format!("`{prefix}{name}` has no meaning for this client: left out"));
            continue;
        }
        match Properties::wrong(name_here, value, None) {
            None => drop(out.properties.insert(name_here.to_owned(), json!(value))),
            Some(wrong) if wrong.code == "kafka.property" => return refused(name, value, wrong.title),
            Some(wrong) => out.untranslated.push(format!("`{prefix}{name}`: {}", wrong.title)),
        }
    }
    Ok(out)
}

/// What a setting is to a connection; nothing: it only says how another one is read. `None`: it is none of a connection.
fn connection(name: &str, value: &str, all: &IndexMap<&str, &str>) -> Option<Vec<(String, String)>> {
    let one = |name: &str, value: &str| Some(vec![(name.to_owned(), value.to_owned())]);
    match name {
        "bootstrap.servers" | "security.protocol" | "sasl.mechanism" | "ssl.key.password" => one(name, value),
        "sasl.jaas.config" => {
            // `…LoginModule required username="me" password="secret";`
            let quoted = |key: &str| value.split_once(&format!("{key}=\""))?.1.split('"').next();
            let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            Some(vec![pair("sasl.username", quoted("username")?), pair("sasl.password", quoted("password")?)])
        }
        // Java's way to ask for no check of the host's name.
        "ssl.endpoint.identification.algorithm" if value.is_empty() => one(name, "none"),
        "ssl.endpoint.identification.algorithm" => one(name, value),
        "ssl.truststore.type" | "ssl.keystore.type" if is_type(name, "PEM", all) => Some(Vec::new()),
        // What librdkafka reads of Java's stores, under the same names.
        "ssl.keystore.type" if is_type(name, "PKCS12", all) => Some(Vec::new()),
        "ssl.keystore.location" | "ssl.keystore.password" if is_type("ssl.keystore.type", "PKCS12", all) => {
            one(name, value)
        }
        _ => {
            let found = STORES
                .iter()
                .filter(|(java, _, store)| *java == name && store.is_none_or(|store| is_type(store, "PEM", all)));
            let found: Vec<_> = found.map(|(_, own, _)| ((*own).to_owned(), value.to_owned())).collect();
            Some(found).filter(|found| !found.is_empty())
        }
    }
}

fn is_type(store: &str, kind: &str, all: &IndexMap<&str, &str>) -> bool {
    all.get(store).is_some_and(|given| given.eq_ignore_ascii_case(kind))
}
