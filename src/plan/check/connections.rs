//! Which servers a source or sink means.
//!
//! A name is looked up in the pipeline's `connections`, then in documents, then, for `default`
//! only, there are the usual ports of this machine.

use std::path::Path;

use crate::connectors::kafka::Properties;
use crate::plan::resolve::{Cluster, World};
use crate::report::{Diagnostic, Diagnostics, Place};
use crate::spec::{
    ConnectionSpec, Documents, KafkaConnection, PipelineSpec, RegistryConnection, RegistryServer, Secret, Spanned,
};

/// Brokers when nothing is declared.
const DEFAULT_BROKERS: &str = "localhost:9092";
/// Registry when nothing is declared.
const DEFAULT_REGISTRY: &str = "http://localhost:8081";

/// A connection that was found.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub name: String,
    /// Nobody declared it.
    pub built_in: bool,
    kafka: Option<KafkaConnection>,
    registry: Option<RegistryConnection>,
    /// Where it was asked for.
    asked: Place,
}

/// Finds the connection `name`, or `default`; `asked` is where to complain.
pub(super) fn find(
    name: Option<&Spanned<String>>,
    asked: &Place,
    pipeline: Option<&PipelineSpec>,
    documents: &Documents,
    out: &mut Diagnostics,
) -> Option<Connection> {
    let (word, asked) = name.map_or(("default", asked), |name| (name.value.as_str(), &name.place));
    let own = pipeline.and_then(|p| p.connections.iter().find(|(n, _)| n.value == word)).map(|(_, spec)| spec);
    let shared = || documents.connections.iter().find(|d| d.metadata.name.value == word).map(|d| &d.spec);
    match own.or_else(shared) {
        Some(ConnectionSpec { kafka, registry, .. }) => Some(Connection {
            name: word.into(),
            built_in: false,
            kafka: kafka.clone(),
            registry: registry.clone(),
            asked: asked.clone(),
        }),
        None if word == "default" => Some(built_in(asked)),
        None => {
            let known = pipeline.into_iter().flat_map(|p| p.connections.iter().map(|(n, _)| n.value.as_str()));
            let known = known.chain(documents.connections.iter().map(|d| d.metadata.name.value.as_str()));
            let known: Vec<&str> = known.chain(["default"]).collect();
            out.push(
                Diagnostic::error("connection.unknown", format!("there is no connection `{word}`"))
                    .at(asked)
                    .note(format!("there are: {}", known.join(", ")))
                    .did_you_mean(word, known.iter().copied()),
            );
            None
        }
    }
}

fn built_in(asked: &Place) -> Connection {
    let spanned = |text: &str| Spanned { value: Secret::plain(text), place: asked.clone() };
    Connection {
        name: "default".into(),
        built_in: true,
        kafka: Some(KafkaConnection { brokers: spanned(DEFAULT_BROKERS), properties: Vec::new() }),
        registry: Some(RegistryConnection::Server(Box::new(RegistryServer {
            url: spanned(DEFAULT_REGISTRY),
            username: None,
            password: None,
            token: None,
            tls: None,
        }))),
        asked: asked.clone(),
    }
}

impl Connection {
    /// Where it was asked for.
    pub(super) fn asked(&self) -> &Place {
        &self.asked
    }

    /// The brokers, with secrets filled in as far as this world does that.
    pub(super) fn cluster(&self, world: &dyn World, out: &mut Diagnostics) -> Option<Cluster> {
        let Some(kafka) = &self.kafka else {
            out.push(
                Diagnostic::error("connection.no_kafka", format!("the connection `{}` names no brokers", self.name))
                    .at(&self.asked)
                    .hint("add `kafka: {brokers: \"host:9092\"}` to it"),
            );
            return None;
        };
        let mut hidden = Vec::new();
        let mut fill = |secret: &Secret, place: &Place, out: &mut Diagnostics| match world.fill(secret) {
            Ok(text) => {
                // Without servers secrets stay as they were written.
                if text != secret.to_string() {
                    hidden.extend(secret.hidden().unwrap_or_default());
                }
                Some(text)
            }
            Err(failure) => {
                out.push(super::of_failure(failure, place));
                None
            }
        };
        let brokers = fill(&kafka.brokers.value, &kafka.brokers.place, out);
        let properties: Vec<Option<(String, String)>> = kafka
            .properties
            .iter()
            .map(|(name, value)| {
                let filled = fill(value, &name.place, out)?;
                property(name, value, filled, out)
            })
            .collect();
        Some(Cluster {
            connection: self.name.clone(),
            built_in: self.built_in,
            shown: kafka.brokers.value.to_string(),
            brokers: brokers?,
            properties: properties.into_iter().collect::<Option<_>>()?,
            hidden,
        })
    }

    pub(super) fn registry(&self, out: &mut Diagnostics) -> Option<&RegistryConnection> {
        if self.registry.is_none() {
            out.push(
                Diagnostic::error(
                    "connection.no_registry",
                    format!("the connection `{}` names no registry", self.name),
                )
                .at(&self.asked)
                .label("Avro needs a schema registry")
                .hint("add `registry: {url: \"http://host:8081\"}` or `registry: embedded` to it"),
            );
        }
        self.registry.as_ref()
    }
}

/// Checks a property where it stands. A path begins at its document's folder.
fn property(
    name: &Spanned<String>,
    written: &Secret,
    filled: String,
    out: &mut Diagnostics,
) -> Option<(String, String)> {
    let shown = written.to_string();
    // Without servers secrets are not filled in, and nothing can be said of them.
    let unknown = written.has_secrets() && filled == shown;
    let secret = written.has_secrets().then_some(shown.as_str());
    if let Some(wrong) = Properties::wrong(&name.value, &filled, secret).filter(|wrong| {
        // The name is wrong whatever the value is.
        !unknown || wrong.code != "kafka.property"
    }) {
        out.push(wrong.at(&name.place));
        return None;
    }
    let folder = Path::new(&name.place.file.name).parent().unwrap_or(Path::new(""));
    let value = Properties::from_folder(&name.value, filled, folder);
    Some((name.value.clone(), value))
}
