//! The classes that a connector may name.

use serde::Serialize;

use super::definition::Key;
use super::keys::{connectors, converters, transforms};
use super::refusal::Refusal;

/// The version of Kafka whose Connect this is like.
pub const VERSION: &str = "4.3.1";

/// What a class is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginKind {
    Sink,
    Source,
    Transformation,
    Predicate,
    Converter,
    HeaderConverter,
}

impl PluginKind {
    /// The Java interface.
    pub(super) fn interface(self) -> &'static str {
        match self {
            PluginKind::Sink => "SinkConnector",
            PluginKind::Source => "SourceConnector",
            PluginKind::Transformation => "Transformation",
            PluginKind::Predicate => "Predicate",
            PluginKind::Converter => "Converter",
            PluginKind::HeaderConverter => "HeaderConverter",
        }
    }

    /// What may be left off the end of a class's name.
    fn suffix(self) -> &'static str {
        match self {
            PluginKind::Sink | PluginKind::Source => "Connector",
            other => other.interface(),
        }
    }

    pub fn is_connector(self) -> bool {
        matches!(self, PluginKind::Sink | PluginKind::Source)
    }
}

/// A class, as `GET /connector-plugins` lists it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Plugin {
    pub class: &'static str,
    #[serde(rename = "type")]
    pub kind: PluginKind,
    pub version: &'static str,
    #[serde(skip)]
    pub(super) keys: &'static [Key],
}

pub const DATAGEN: &str = "io.confluent.kafka.connect.datagen.DatagenConnector";
pub const FILE_SOURCE: &str = "org.apache.kafka.connect.file.FileStreamSourceConnector";
pub const FILE_SINK: &str = "org.apache.kafka.connect.file.FileStreamSinkConnector";

const SIMPLE_HEADER: &str = "org.apache.kafka.connect.storage.SimpleHeaderConverter";

const fn plugin(kind: PluginKind, class: &'static str, keys: &'static [Key]) -> Plugin {
    Plugin { class, kind, version: VERSION, keys }
}

const fn transformation(class: &'static str, keys: &'static [Key]) -> Plugin {
    plugin(PluginKind::Transformation, class, keys)
}

const fn predicate(class: &'static str, keys: &'static [Key]) -> Plugin {
    plugin(PluginKind::Predicate, class, keys)
}

const fn converter(class: &'static str, keys: &'static [Key]) -> Plugin {
    plugin(PluginKind::Converter, class, keys)
}

/// All but the header converters, in Connect's order: by kind, then by name.
const PLUGINS: &[Plugin] = &[
    plugin(PluginKind::Sink, FILE_SINK, connectors::FILE_SINK),
    Plugin { version: "0.7.1", ..plugin(PluginKind::Source, DATAGEN, connectors::DATAGEN) },
    plugin(PluginKind::Source, FILE_SOURCE, connectors::FILE_SOURCE),
    transformation("org.apache.kafka.connect.transforms.Cast$Key", transforms::CAST),
    transformation("org.apache.kafka.connect.transforms.Cast$Value", transforms::CAST),
    transformation("org.apache.kafka.connect.transforms.DropHeaders", transforms::DROP_HEADERS),
    transformation("org.apache.kafka.connect.transforms.ExtractField$Key", transforms::EXTRACT_FIELD),
    transformation("org.apache.kafka.connect.transforms.ExtractField$Value", transforms::EXTRACT_FIELD),
    transformation("org.apache.kafka.connect.transforms.Filter", transforms::FILTER),
    transformation("org.apache.kafka.connect.transforms.Flatten$Key", transforms::FLATTEN),
    transformation("org.apache.kafka.connect.transforms.Flatten$Value", transforms::FLATTEN),
    transformation("org.apache.kafka.connect.transforms.HeaderFrom$Key", transforms::HEADER_FROM),
    transformation("org.apache.kafka.connect.transforms.HeaderFrom$Value", transforms::HEADER_FROM),
    transformation("org.apache.kafka.connect.transforms.HoistField$Key", transforms::HOIST_FIELD),
    transformation("org.apache.kafka.connect.transforms.HoistField$Value", transforms::HOIST_FIELD),
    transformation("org.apache.kafka.connect.transforms.InsertField$Key", transforms::INSERT_FIELD),
    transformation("org.apache.kafka.connect.transforms.InsertField$Value", transforms::INSERT_FIELD),
    transformation("org.apache.kafka.connect.transforms.InsertHeader", transforms::INSERT_HEADER),
    transformation("org.apache.kafka.connect.transforms.MaskField$Key", transforms::MASK_FIELD),
    transformation("org.apache.kafka.connect.transforms.MaskField$Value", transforms::MASK_FIELD),
    transformation("org.apache.kafka.connect.transforms.RegexRouter", transforms::REGEX_ROUTER),
    transformation("org.apache.kafka.connect.transforms.ReplaceField$Key", transforms::REPLACE_FIELD),
    transformation("org.apache.kafka.connect.transforms.ReplaceField$Value", transforms::REPLACE_FIELD),
    transformation("org.apache.kafka.connect.transforms.SetSchemaMetadata$Key", transforms::SET_SCHEMA_METADATA),
    transformation("org.apache.kafka.connect.transforms.SetSchemaMetadata$Value", transforms::SET_SCHEMA_METADATA),
    transformation("org.apache.kafka.connect.transforms.TimestampConverter$Key", transforms::TIMESTAMP_CONVERTER),
    transformation("org.apache.kafka.connect.transforms.TimestampConverter$Value", transforms::TIMESTAMP_CONVERTER),
    transformation("org.apache.kafka.connect.transforms.TimestampRouter", transforms::TIMESTAMP_ROUTER),
    transformation("org.apache.kafka.connect.transforms.ValueToKey", transforms::VALUE_TO_KEY),
    predicate("org.apache.kafka.connect.transforms.predicates.HasHeaderKey", transforms::HAS_HEADER_KEY),
    predicate("org.apache.kafka.connect.transforms.predicates.RecordIsTombstone", transforms::RECORD_IS_TOMBSTONE),
    predicate("org.apache.kafka.connect.transforms.predicates.TopicNameMatches", transforms::TOPIC_NAME_MATCHES),
    Plugin { version: "8.0.4", ..converter(AVRO, converters::AVRO) },
    converter("org.apache.kafka.connect.converters.BooleanConverter", converters::PLAIN),
    converter("org.apache.kafka.connect.converters.ByteArrayConverter", converters::PLAIN),
    converter("org.apache.kafka.connect.converters.DoubleConverter", converters::PLAIN),
    converter("org.apache.kafka.connect.converters.FloatConverter", converters::PLAIN),
    converter("org.apache.kafka.connect.converters.IntegerConverter", converters::PLAIN),
    converter("org.apache.kafka.connect.converters.LongConverter", converters::PLAIN),
    converter("org.apache.kafka.connect.converters.ShortConverter", converters::PLAIN),
    converter("org.apache.kafka.connect.json.JsonConverter", converters::JSON),
    converter("org.apache.kafka.connect.storage.StringConverter", converters::STRING),
];

pub const AVRO: &str = "io.confluent.connect.avro.AvroConverter";

/// All classes, in Connect's order.
pub fn plugins() -> Vec<Plugin> {
    let mut all = PLUGINS.to_vec();
    // Apache's own converters are for headers, too.
    let both = PLUGINS.iter().filter(|plugin| plugin.kind == PluginKind::Converter && plugin.class != AVRO);
    let mut headers: Vec<Plugin> = both.map(|plugin| Plugin { kind: PluginKind::HeaderConverter, ..*plugin }).collect();
    headers.push(plugin(PluginKind::HeaderConverter, SIMPLE_HEADER, &[]));
    headers.sort_by_key(|plugin| plugin.class);
    all.extend(headers);
    all
}

impl Plugin {
    /// By its full name, the last part of it, or that without what its kind is called.
    fn is_called(&self, name: &str) -> bool {
        // Connect knows classes within classes by their full names only.
        let short = self.class.rsplit('.').next().filter(|short| !short.contains('$'));
        self.class == name
            || short.is_some_and(|short| short == name || short.strip_suffix(self.kind.suffix()) == Some(name))
    }
}

/// The class of this name; of those with one name, the first in the order of [`plugins`].
pub fn find_plugin(name: &str) -> Option<Plugin> {
    plugins().into_iter().find(|plugin| plugin.is_called(name))
}

/// The class of this name, preferably of this kind.
pub(super) fn find_of_kind(kind: PluginKind, name: &str) -> Option<Plugin> {
    let all = plugins();
    let named = || all.iter().filter(|plugin| plugin.is_called(name));
    named().find(|plugin| plugin.kind == kind).or_else(|| named().next()).copied()
}

/// The connector's class of this name.
///
/// # Errors
/// Connect's, which lists those that there are.
pub fn find_connector(name: &str) -> Result<Plugin, Refusal> {
    let connectors: Vec<Plugin> = plugins().into_iter().filter(|plugin| plugin.kind.is_connector()).collect();
    if let Some(found) = connectors.iter().find(|plugin| plugin.is_called(name)) {
        return Ok(*found);
    }
    let shown = |plugin: &Plugin| {
        let (class, version) = (plugin.class, plugin.version);
        let kind = if plugin.kind == PluginKind::Sink { "sink" } else { "source" };
        format!(
            "PluginDesc{{klass=class {class}, name='{class}', version='{version}', encodedVersion={version}, type={kind}, typeName='{kind}', location='classpath'}}"
        )
    };
    let known: Vec<String> = connectors.iter().map(shown).collect();
    let message = format!(
        "Failed to find any class that implements Connector and which name matches {name}, available connectors are: {}",
        known.join(", ")
    );
    Err(Refusal::new(400, message))
}
