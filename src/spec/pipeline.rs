//! The bodies of documents: Pipeline, Topic, Schema, Connection and Test.

use std::collections::BTreeSet;
use std::path::Path;

use schemars::{Schema, SchemaGenerator, json_schema};

use super::describe::{ObjectSchema, choice_schema, or_tag, single_key_schema};
use super::endpoints::{read_sink, read_source, refuse_rules};
use super::options::{not_available, wrong_choice, wrong_type};
use super::steps::read_transform;
use super::*;
use crate::report::{Diagnostic, Diagnostics};

crate::options! {
    /// A pipeline: from sources through transforms to sinks.
    pub struct PipelineKeys {
        /// Connections by name, for this pipeline only.
        pub connections: Vec<(Spanned<String>, ConnectionSpec)> = Vec::new(),
        /// How often progress is committed.
        pub epoch: Option<EpochSpec>,
        /// What happens with rows that cannot be processed; default: the first one ends the run.
        pub errors: Option<Spanned<ErrorsSpec>>,
        /// Where the pipeline finds out how far it was; default `journal`.
        pub restart: Option<Spanned<RestartSpec>>,
        /// Where the pipeline keeps its state.
        pub state: Option<StateSpec>,
        /// Memory for all that the pipeline holds: clients' queues, epochs, backlogs of slow sinks and state. When it is
        /// short, only the slowest partitions are read; when state does not fit any more, the run ends, and nothing is
        /// lost. At least 16MiB; default 160MiB. Example: `memory: 1GiB`
        pub memory: Option<Spanned<Bytes>>,
        /// How many lanes read each source; default: as many as there are cores.
        pub lanes: Option<Spanned<AtLeastOne>>,
    }
}

/// A whole number from 1 on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AtLeastOne(pub(super) usize);

impl AtLeastOne {
    pub fn number(self) -> u32 {
        // It was read as one.
        self.0 as u32
    }
}

impl FromNode for AtLeastOne {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match u32::from_node(node, out)? {
            0 => wrong_type(node, "a whole number from 1 on", out),
            number => Some(AtLeastOne(number as usize)),
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        or_tag(json_schema!({ "type": "integer", "minimum": 1, "maximum": 0xffff_ffff_u32 }))
    }
}

impl FromNode for PipelineSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::new(node, out)?;
        let mut names = Names::default();
        let sources = read_parts(&mut map, "sources", &mut names, out, read_source);
        let transforms = read_parts(&mut map, "transforms", &mut names, out, read_transform);
        let sinks = read_parts(&mut map, "sinks", &mut names, out, |name, node, out| read_sink(name, node, false, out));
        let dead_letter = map.entry("dead_letter").map(|entry| {
            let name = Spanned { value: entry.key.clone(), place: entry.key_place.clone() };
            read_sink(&name, &entry.value, true, out)
        });
        let keys = PipelineKeys::read_keys(&mut map, out);
        map.finish(out);
        let mut broken = names.broken;
        // A dead letter with an error is not the same as none.
        if matches!(dead_letter, Some(None)) {
            broken.insert("dead_letter".into());
        }
        let PipelineKeys { connections, epoch, errors, restart, state, memory, lanes } = keys?;
        Some(PipelineSpec {
            connections,
            sources: sources?,
            transforms: transforms?,
            sinks: sinks?,
            dead_letter: dead_letter.flatten(),
            errors,
            restart,
            state: state.unwrap_or_default(),
            memory,
            epoch: epoch.unwrap_or_default(),
            lanes: lanes.map(|lanes| Spanned { value: lanes.value.0, place: lanes.place }),
            broken,
        })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        super::schema::describe_pipeline(generator, &Bodies::default())
    }
}

/// The names of a pipeline's parts so far.
#[derive(Debug, Default)]
struct Names {
    all: Vec<Spanned<String>>,
    broken: BTreeSet<String>,
}

/// Reads `sources`, `transforms` or `sinks`; parts with an error are left out and noted.
fn read_parts<T>(
    map: &mut MapReader<'_>,
    key: &'static str,
    names: &mut Names,
    out: &mut Diagnostics,
    read: impl Fn(&Spanned<String>, &Node, &mut Diagnostics) -> Option<T>,
) -> Option<Vec<T>> {
    let entry = map.entry(key);
    let entries = match entry.map(|entry| &entry.value.value) {
        Some(Value::Map(entries)) => entries.as_slice(),
        Some(Value::Null) | None => &[],
        Some(_) => return wrong_type(&entry?.value, "a map from name to what it is", out),
    };
    if entries.is_empty() && key != "transforms" {
        let place = entry.map_or(&map.node().place, |entry| &entry.key_place);
        let title = format!("a pipeline needs at least one of `{key}`");
        out.push(Diagnostic::error("pipeline.no_parts", title).at(place));
        return None;
    }
    let mut parts = Vec::new();
    for entry in entries {
        let name = Spanned { value: entry.key.clone(), place: entry.key_place.clone() };
        let named = new_name(&name, &names.all, out);
        names.all.push(name.clone());
        match read(&name, &entry.value, out).filter(|_| named) {
            Some(part) => parts.push(part),
            None => drop(names.broken.insert(name.value)),
        }
    }
    Some(parts)
}

/// True for a name that is well formed and not taken.
fn new_name(name: &Spanned<String>, names: &[Spanned<String>], out: &mut Diagnostics) -> bool {
    if !is_identifier(&name.value) {
        let title = format!("`{}` is not a name of a source, transform or sink", name.value);
        out.push(
            Diagnostic::error("pipeline.name", title)
                .at(&name.place)
                .note("it begins with a letter or `_`, and goes on with letters, digits and `_`"),
        );
        return false;
    }
    if let Some(taken) = names.iter().find(|known| known.value == name.value) {
        let title = format!("the name `{}` is taken", name.value);
        out.push(
            Diagnostic::error("pipeline.name_taken", title)
                .at(&name.place)
                .note(format!("first at {}", taken.place))
                .note("sources, transforms and sinks of a pipeline share one name space"),
        );
        return false;
    }
    true
}

crate::options! {
    /// How often progress is committed.
    pub struct EpochKeys {
        /// At least so long after the last one. Default 10ms.
        pub min: Option<DurationMs>,
        /// At the latest so long after the last one, if there is a backlog. Default 100ms.
        pub interval: Option<DurationMs>,
        /// At the latest after so much input or output. Default 8MiB.
        pub max_bytes: Option<Bytes>,
    }
}

impl FromNode for EpochSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let EpochKeys { min, interval, max_bytes } = FromNode::from_node(node, out)?;
        Some(EpochSpec { min, interval, max_bytes })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        EpochKeys::schema(generator)
    }
}

crate::options! {
    /// Where the pipeline keeps its state, and how often it takes snapshots of it.
    pub struct StateKeys {
        /// A `file:///…` URL or a path; default `.runner/NAMESPACE/PIPELINE` under the working directory.
        pub store: Option<Spanned<String>>,
        /// Snapshots are at most so far apart, while epochs are committed. Default 30s.
        pub every: Option<DurationMs>,
        /// How long a restart may read again what the steps with state have seen since the last snapshot; one is taken earlier where it would take longer. Default 5s.
        pub recovery_target: Option<DurationMs>,
        /// Where the journal is; default `kafka`. With `file` each Kafka sink is `delivery: at_least_once`, and the pipeline goes on only where its state directory is.
        pub journal: Option<Spanned<JournalSpec>>,
    }
}

impl FromNode for StateSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let StateKeys { store, every, recovery_target, journal } = FromNode::from_node(node, out)?;
        if let Some(store) = store.as_ref().filter(|store| !is_local(&store.value)) {
            out.push(not_available("a store that is not a local folder", &store.place));
            return None;
        }
        Some(StateSpec { store, every, recovery_target, journal })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        StateKeys::schema(generator)
    }
}

fn is_local(store: &str) -> bool {
    store.starts_with("file:///") || !store.contains("://")
}

impl FromNode for ErrorsSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match node.entries() {
            Some([entry]) if entry.key == "skip" || entry.key == "keep_then_fail" => {
                match bool::from_node(&entry.value, out)? {
                    true if entry.key == "skip" => Some(ErrorsSpec::Skip),
                    true => Some(ErrorsSpec::KeepThenFail),
                    false => wrong_type(&entry.value, "`true`, or no `errors` at all", out),
                }
            }
            Some([entry]) if entry.key == "fail_above" => read_share(&entry.value, out).map(ErrorsSpec::FailAbove),
            Some([_, second, ..]) => {
                let title = "`errors` has one of `skip`, `keep_then_fail` and `fail_above`";
                out.push(Diagnostic::error("errors.two", title).at(&second.key_place));
                None
            }
            _ => wrong_choice(node, &[], &["skip", "keep_then_fail", "fail_above"], out),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let share = Share::schema(generator);
        let maps = vec![
            single_key_schema("skip", json_schema!({ "const": true }), &["Bad rows are counted, and the run goes on."]),
            single_key_schema(
                "keep_then_fail",
                json_schema!({ "const": true }),
                &["The first bad row ends the run, once it is in `dead_letter`; a new start goes on behind it."],
            ),
            single_key_schema(
                "fail_above",
                share,
                &[
                    "The run ends above this share of the last 10,000 rows read, also where fewer were read: 1% are a hundred bad rows. Example: `fail_above: 1%`.",
                ],
            ),
        ];
        choice_schema(&[], maps)
    }
}

crate::options! {
    /// Restart from the times of the sink's records.
    pub struct WatermarkKeys {
        /// How far rows may come out of the order of their time: above zero. What comes later than that is late. Example: `epsilon: 5s`.
        pub epsilon: Spanned<DurationMs>,
        /// The `time.field` of the sources never gives a time that is later than the record's Kafka timestamp: only then it
        /// may be used here. A record for which it does is a bad record. Default false.
        pub not_after_timestamp: bool = false,
    }
}

impl FromNode for RestartSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match (node.as_str(), node.entries()) {
            (Some("journal"), _) => Some(RestartSpec::Journal),
            (Some("offsets"), _) => Some(RestartSpec::Offsets),
            (_, Some([entry])) if entry.key == "watermark" => {
                let WatermarkKeys { epsilon, not_after_timestamp } = FromNode::from_node(&entry.value, out)?;
                Some(RestartSpec::Watermark { epsilon, not_after_timestamp })
            }
            _ => wrong_choice(node, &["journal", "offsets"], &["watermark"], out),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let words: &[(&str, &[&str])] = &[
            ("journal", &["From its journal."]),
            ("offsets", &["From the headers of the sink's records, which say how far the sources were read."]),
        ];
        let watermark: &[&str] = &["From the times of the sink's records, which are written in the order of time."];
        choice_schema(words, vec![single_key_schema("watermark", WatermarkKeys::schema(generator), watermark)])
    }
}

/// Between 0 and 1, written `1%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub f64);

impl FromNode for Share {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        read_share(node, out).map(Share)
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^\s*(100(\.0*)?|\d{1,2}(\.\d*)?)\s*%\s*$" })
    }
}

/// `1%` → 0.01.
fn read_share(node: &Node, out: &mut Diagnostics) -> Option<f64> {
    let percent = node.as_str().and_then(|text| text.trim().strip_suffix('%')?.trim_end().parse::<f64>().ok());
    match percent {
        Some(percent) if (0.0..=100.0).contains(&percent) => Some(percent / 100.0),
        _ => wrong_type(node, "a share such as `1%`", out),
    }
}

impl FromNode for Secret {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.scalar_text() else { return wrong_type(node, "text or a number", out) };
        // Relative paths are from the document's folder.
        let folder = Path::new(&node.place.file.name).parent().unwrap_or(Path::new(""));
        match Secret::parse(&text, folder) {
            Ok(secret) => Some(secret),
            Err(reason) => {
                let forms = "secrets are `${secret:env:NAME}` and `${secret:file:PATH}`";
                out.push(Diagnostic::error("secret.form", reason).at(&node.place).note(forms));
                None
            }
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

crate::options! {
    /// A Kafka cluster.
    pub struct KafkaKeys {
        /// `host:port`, separated by commas. Example: `brokers: localhost:9092`.
        pub brokers: Spanned<Secret>,
        /// Settings of the Kafka client, by its own names. Example: `{ security.protocol: ssl }`.
        pub properties: Vec<(Spanned<String>, Secret)> = Vec::new(),
    }
}

crate::options! {
    /// A schema registry.
    pub struct RegistryKeys {
        /// Its URL; several with commas are asked in turn. Example: `url: http://localhost:8081`.
        pub url: Spanned<Secret>,
        /// Name for HTTP Basic. Example: `username: alice`.
        pub username: Option<Secret>,
        /// Password for HTTP Basic. Example: `password: "${secret:env:REGISTRY_PASSWORD}"`.
        pub password: Option<Secret>,
        /// Bearer token, instead of name and password. Example: `token: "${secret:file:/run/secrets/registry}"`.
        pub token: Option<Spanned<Secret>>,
        /// Certificates, where those of the system are not enough.
        pub tls: Option<RegistryTls>,
    }
}

crate::options! {
    /// Certificates for an https URL. Each is a path, or the PEM text itself: `"${secret:file:client.key}"`.
    pub struct RegistryTls {
        /// The CAs that may have signed the server's certificate, instead of the system's. Example: `ca: certs/ca.pem`.
        pub ca: Option<Secret>,
        /// Our own certificate with those above it, for a server that asks for one. Example: `certificate: client.pem`.
        pub certificate: Option<Spanned<Secret>>,
        /// The key of `certificate`, as PKCS #8 (`BEGIN PRIVATE KEY`). Example: `key: client.key`.
        pub key: Option<Spanned<Secret>>,
    }
}

crate::options! {
    /// A connection: a Kafka cluster, a schema registry, or both.
    pub struct ConnectionKeys {
        /// The Kafka cluster.
        pub kafka: Option<KafkaConnection>,
        /// The schema registry, or `embedded`.
        pub registry: Option<RegistryConnection>,
    }
}

impl FromNode for ConnectionSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::new(node, out)?;
        let later = ["sql", "http"].into_iter().filter(|key| map.later(key, out)).count();
        let keys = ConnectionKeys::read_keys(&mut map, out);
        let any_unknown = map.unknown().next().is_some();
        map.finish(out);
        let ConnectionKeys { kafka, registry } = keys?;
        if kafka.is_none() && registry.is_none() {
            if later == 0 && !any_unknown {
                let title = "a connection has `kafka`, `registry` or both";
                out.push(Diagnostic::error("connection.empty", title).at(&node.place));
            }
            return None;
        }
        Some(ConnectionSpec { kafka, registry, place: node.place.clone() })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let mut object = ObjectSchema::default();
        ConnectionKeys::describe_keys(&mut object, generator);
        object.any_of(&["kafka", "registry"]);
        object.finish()
    }
}

impl FromNode for KafkaConnection {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let KafkaKeys { brokers, properties } = FromNode::from_node(node, out)?;
        Some(KafkaConnection { brokers, properties })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        KafkaKeys::schema(generator)
    }
}

impl FromNode for RegistryConnection {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match node.as_str() {
            Some("embedded") => Some(RegistryConnection::Embedded),
            Some(_) => wrong_choice(node, &["embedded"], &["url"], out),
            None => {
                let RegistryKeys { url, username, password, token, tls } = FromNode::from_node(node, out)?;
                let login = username.is_some() || password.is_some();
                if let Some(token) = token.as_ref().filter(|_| login) {
                    let title = "a registry has a name and password or a token, not both";
                    out.push(Diagnostic::error("registry.two_logins", title).at(&token.place));
                    return None;
                }
                if let Some(RegistryTls { certificate, key, .. }) = &tls
                    && let [Some(alone), None] | [None, Some(alone)] = [certificate, key]
                {
                    let title = "a client certificate is `certificate` and `key`";
                    out.push(Diagnostic::error("registry.half_certificate", title).at(&alone.place));
                    return None;
                }
                let token = token.map(|token| token.value);
                Some(RegistryConnection::Server(Box::new(RegistryServer { url, username, password, token, tls })))
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let doc: &[&str] = &["In-process, kept in the state directory."];
        let mut keys = RegistryKeys::schema(generator);
        let login = json_schema!({ "anyOf": [{ "required": ["username"] }, { "required": ["password"] }] });
        keys.insert("not".into(), serde_json::json!({ "required": ["token"], "allOf": [login] }));
        if let Some(tls) = keys.pointer_mut("/properties/tls").and_then(|tls| tls.as_object_mut()) {
            tls.insert(
                "dependentRequired".into(),
                serde_json::json!({ "certificate": ["key"], "key": ["certificate"] }),
            );
        }
        choice_schema(&[("embedded", doc)], vec![keys])
    }
}

crate::options! {
    /// A topic, and what holds for every source and sink on it.
    pub struct TopicKeys {
        /// The connection by name; default `default`.
        pub connection: Option<Spanned<String>>,
        /// False: the topic must be there already. Default true.
        pub create: bool = true,
        /// Number of partitions of a new topic; default: the broker's.
        pub partitions: Option<Spanned<AtLeastOne>>,
        /// Replication factor of a new topic; default: the broker's.
        pub replication: Option<Spanned<AtLeastOne>>,
        /// Settings of the topic, by Kafka's names. Example: `{ cleanup.policy: compact }`.
        pub config: Vec<(Spanned<String>, Secret)> = Vec::new(),
        /// Format of the values.
        pub format: Option<FormatSpec>,
        /// Format of the keys.
        pub key_format: Option<FormatSpec>,
        /// The schema of the values.
        pub schema: Option<SchemaRef>,
        /// The columns of JSON and CSV values, name to type.
        pub columns: Option<Columns>,
        /// Event time.
        pub time: Option<TimeSpec>,
    }
}

impl FromNode for TopicSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let TopicKeys {
            connection,
            create,
            partitions,
            replication,
            config,
            format,
            key_format,
            schema,
            columns,
            time,
        } = FromNode::from_node(node, out)?;
        refuse_rules(columns.as_ref(), out)?;
        let number = |count: Spanned<AtLeastOne>| Spanned { value: count.value.0 as u32, place: count.place };
        let (partitions, replication) = (partitions.map(number), replication.map(number));
        Some(TopicSpec {
            connection,
            create,
            partitions,
            replication,
            config,
            format,
            key_format,
            schema,
            columns,
            time,
        })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        TopicKeys::schema(generator)
    }
}

crate::options! {
    /// A schema that another one uses.
    pub struct ReferenceSpec {
        /// The full name under which it is used.
        pub name: Spanned<String>,
        /// The subject that holds it.
        pub subject: Spanned<String>,
        /// Its version; default: the latest.
        pub version: Option<i32>,
    }
}

crate::options! {
    /// A schema, registered under the document's name.
    pub struct SchemaDocumentKeys {
        /// A path to an .avsc file.
        pub file: Option<Spanned<String>>,
        /// The schema, as a map or as JSON text.
        pub schema: Option<Node>,
        /// What new versions must keep; default: what the registry says.
        pub compatibility: Option<Spanned<Compatibility>>,
        /// Schemas that this one uses.
        pub references: Vec<ReferenceSpec> = Vec::new(),
    }
}

impl FromNode for SchemaSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let SchemaDocumentKeys { file, schema, compatibility, references } = FromNode::from_node(node, out)?;
        let source = match (file, schema) {
            (Some(file), None) => SchemaText::File(file),
            (None, Some(schema)) => SchemaText::Inline(schema),
            _ => {
                let title = "a schema has exactly one of `file` and `schema`";
                out.push(Diagnostic::error("schema.source", title).at(&node.place));
                return None;
            }
        };
        Some(SchemaSpec { source, compatibility, references })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let mut object = ObjectSchema::default();
        SchemaDocumentKeys::describe_keys(&mut object, generator);
        object.exactly_one_of(&["file", "schema"]);
        object.finish()
    }
}

crate::options! {
    /// A test of a pipeline: rows in, rows out.
    pub struct TestSpec {
        /// The pipeline's file, and its name where the file holds several: `PATH#NAME`.
        pub pipeline: Spanned<String>,
        /// What `{{ values.… }}` gives.
        pub values: Option<Node>,
        /// What `{{ env.… }}` gives.
        pub env: Vec<(Spanned<String>, String)> = Vec::new(),
        /// Rows of the sources: a list (in this order) or a map from source to rows (every interleaving).
        pub given: Node,
        /// Sink, step, port or `dead_letter` to the rows expected there.
        pub expect: Node,
    }
}
