//! Documents that hold connectors: each becomes the pipeline that it is compiled to.

use serde_json::{Value as Json, json};

use super::compile::{Compiled, compile, pipeline_name};
use super::{Config, Refusal, Worker, check};
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{
    ConnectionSpec, ConnectorSpec, ConnectorState, Document, Documents, RegistryConnection, Values, load_text,
};

/// Compiles the connectors among documents: their pipelines join the others, and so do topics that are not
/// described yet. A connection `default` among the documents is the worker's.
pub fn expand(documents: &mut Documents, worker: &Worker) -> Diagnostics {
    let mut out = Diagnostics::default();
    let mut worker = worker.clone();
    if let Some(own) = documents.connections.iter().find(|connection| connection.metadata.name.value == "default") {
        worker.connection = Some(connection(&own.spec));
    }
    for connector in std::mem::take(&mut documents.connectors) {
        let state = &connector.spec.state;
        if state.value != ConnectorState::Running {
            let title = format!(
                "the connector `{}` is to be {}: it is not run",
                connector.metadata.name.value,
                state.value.word()
            );
            out.push(Diagnostic::warning("connector.state", title).at(&state.place));
            continue;
        }
        match compiled(&connector, &worker) {
            Ok(compiled) => join(documents, &connector, &compiled, &mut out),
            Err(wrong) => {
                documents.lost = true;
                out.0.extend(wrong.0);
            }
        }
    }
    out
}

/// The settings of a document.
pub fn config_of_document(connector: &Document<ConnectorSpec>) -> Config {
    let texts = connector.spec.config.iter().map(|(key, value)| (key.value.clone(), value.value.clone()));
    texts.chain([("name".to_owned(), connector.metadata.name.value.clone())]).collect()
}

fn compiled(connector: &Document<ConnectorSpec>, worker: &Worker) -> Result<Compiled, Diagnostics> {
    let mut out = Diagnostics::default();
    let config = config_of_document(connector);
    let name = &connector.metadata.name.value;
    let at = |diagnostic: Diagnostic, key: &str| match connector.spec.place(key) {
        Some(place) => diagnostic.at(place),
        None => diagnostic.at(&connector.place),
    };
    let refused = |refusal: Refusal, key: &str| at(Diagnostic::error("connector.config", refusal.message), key);
    match check(&config, worker) {
        Err(refusal) => out.push(refused(refusal, "connector.class")),
        Ok(validation) => {
            for info in validation.configs {
                let key = &info.value.name;
                let errors = info.value.errors.into_iter();
                out.0.extend(errors.map(|error| at(Diagnostic::error("connector.config", error), key)));
            }
        }
    }
    if out.has_errors() {
        return Err(out);
    }
    compile(name, &pipeline_name(name), &config, worker).map_err(|refusal| {
        // One sentence without the list around it.
        let lines: Vec<&str> = refusal.message.lines().collect();
        let message = lines.get(1).filter(|_| lines.len() > 2).copied().unwrap_or(&refusal.message).to_owned();
        let key =
            connector.spec.config.iter().find(|(key, _)| message.contains(&format!("configuration {}", key.value)));
        let key = key.map_or("connector.class", |(key, _)| key.value.as_str());
        out.push(refused(Refusal { message, ..refusal.clone() }, key));
        out
    })
}

fn join(documents: &mut Documents, connector: &Document<ConnectorSpec>, compiled: &Compiled, out: &mut Diagnostics) {
    let class = connector.spec.place("connector.class");
    let place = class.unwrap_or(&connector.place);
    for note in &compiled.untranslated {
        out.push(Diagnostic::warning("connector.untranslated", note.clone()).at(place));
    }
    for note in &compiled.notes {
        out.push(Diagnostic::warning("connector.note", note.clone()).at(place));
    }
    // In the connector's folder, where its paths begin.
    let name = &connector.metadata.name.value;
    let file = connector.folder.join(format!("{name} (compiled)"));
    let (loaded, found) = load_text(&file.to_string_lossy(), &compiled.document, &Values::default());
    documents.lost |= found.has_errors();
    out.0.extend(found.0);
    for mut pipeline in loaded.pipelines {
        let id = |pipeline: &Document<_>| (pipeline.metadata.namespace.clone(), pipeline.metadata.name.value.clone());
        if documents.pipelines.iter().any(|known| id(known) == id(&pipeline)) {
            let title = format!("the connector `{name}` stands here twice");
            out.push(Diagnostic::error("load.duplicate_document", title).at(&connector.metadata.name.place));
            continue;
        }
        // What goes along with it is the file in which the user wrote it.
        pipeline.place = connector.place.clone();
        documents.pipelines.push(pipeline);
    }
    for mut topic in loaded.topics {
        if documents.topics.iter().all(|known| known.metadata.name.value != topic.metadata.name.value) {
            topic.place = connector.place.clone();
            documents.topics.push(topic);
        }
    }
}

/// A connection as it was written.
fn connection(spec: &ConnectionSpec) -> Json {
    let mut written = json!({});
    if let Some(kafka) = &spec.kafka {
        let properties = kafka.properties.iter().map(|(name, value)| (name.value.clone(), json!(value.to_string())));
        written["kafka"] = json!({ "brokers": kafka.brokers.value.to_string() });
        if !kafka.properties.is_empty() {
            written["kafka"]["properties"] = Json::Object(properties.collect());
        }
    }
    match &spec.registry {
        Some(RegistryConnection::Server(server)) => {
            let mut registry = json!({ "url": server.url.value.to_string() });
            let login = [("username", &server.username), ("password", &server.password), ("token", &server.token)];
            for (key, secret) in login {
                if let Some(secret) = secret {
                    registry[key] = json!(secret.to_string());
                }
            }
            if let Some(tls) = &server.tls {
                let certificate = tls.certificate.as_ref().map(|text| &text.value);
                let key = tls.key.as_ref().map(|text| &text.value);
                let all = [("ca", tls.ca.as_ref()), ("certificate", certificate), ("key", key)];
                let all = all.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text?.to_string()))));
                registry["tls"] = Json::Object(all.collect());
            }
            written["registry"] = registry;
        }
        Some(RegistryConnection::Embedded) => written["registry"] = json!("embedded"),
        None => {}
    }
    written
}
