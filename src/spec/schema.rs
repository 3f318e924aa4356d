//! The JSON Schema of the language, for editors and for documents that come as JSON.
//!
//! It is put together from the types that read the language, so it says what they say; names that
//! must differ, and what expressions mean, only the loader and the plan can check.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value as Json, json};

use super::describe::ObjectSchema;
use super::documents::{ConnectionSpec, FormatSpec, Inputs, Metadata, SchemaSpec, TopicSpec};
use super::endpoints::{SINK_CONNECTORS, SOURCE_CONNECTORS, SinkKeys, SourceKeys, describe_connectors};
use super::load::{API_VERSION, KINDS, STRIMZI};
use super::pipeline::PipelineKeys;
use super::steps::describe_transform;
use super::{ConnectorSpec, FromNode, Options, TestSpec};

/// Describes a connector's body: `<KafkaSource as FromNode>::schema`.
pub type Describe = fn(&mut SchemaGenerator) -> Schema;

/// Bodies of connectors by name. One that is not given may be anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bodies<'a> {
    pub sources: &'a [(&'a str, Describe)],
    pub sinks: &'a [(&'a str, Describe)],
    /// The formats with their options.
    pub format: Option<Describe>,
}

/// The JSON Schema (2020-12) of one document.
pub fn json_schema(bodies: &Bodies<'_>) -> Json {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let pipeline = describe_pipeline(&mut generator, bodies);
    let specs = [
        ("Pipeline", pipeline),
        ("Topic", TopicSpec::schema(&mut generator)),
        ("Schema", SchemaSpec::schema(&mut generator)),
        ("Connection", ConnectionSpec::schema(&mut generator)),
        ("KafkaConnector", ConnectorSpec::schema(&mut generator)),
        ("Test", TestSpec::schema(&mut generator)),
    ];
    let metadata = Metadata::schema(&mut generator);
    let format = bodies.format.map(|describe| describe(&mut generator));
    let by_kind: Vec<Json> = specs
        .into_iter()
        .map(|(kind, spec)| {
            json!({
                "if": { "properties": { "kind": { "const": kind } }, "required": ["kind"] },
                "then": { "properties": { "spec": spec } },
            })
        })
        .collect();
    let mut definitions = generator.take_definitions(true);
    definitions.extend(format.map(|format| (FormatSpec::schema_name().into_owned(), format.to_value())));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "runner",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": { "anyOf": [{ "const": API_VERSION }, { "pattern": format!("^{}", STRIMZI.replace('.', "\\.")) }] },
            "kind": { "enum": KINDS },
            "metadata": metadata,
            "spec": { "type": ["object", "null"] },
        },
        "allOf": by_kind,
        "$defs": definitions,
    })
}

pub(super) fn describe_pipeline(generator: &mut SchemaGenerator, bodies: &Bodies<'_>) -> Schema {
    let (source, sink, dead_letter) = (
        describe_source(generator, bodies),
        describe_sink(generator, bodies, false),
        describe_sink(generator, bodies, true),
    );
    let transform = describe_transform(generator);
    let mut object = ObjectSchema::default();
    object.property("sources", named_parts(source, 1), &["Where rows come from, by name."], true);
    object.property("transforms", named_parts(transform, 0), &["What happens to the rows, by name."], false);
    object.property("sinks", named_parts(sink, 1), &["Where rows go, by name."], true);
    let doc: &[&str] = &["Where rows go that cannot be decoded, checked, evaluated or written: a sink without `from`."];
    object.property("dead_letter", dead_letter, doc, false);
    PipelineKeys::describe_keys(&mut object, generator);
    object.finish()
}

/// A map from name to part.
fn named_parts(part: Schema, at_least: usize) -> Schema {
    let kind = if at_least == 0 { json!(["object", "null"]) } else { json!("object") };
    schemars::json_schema!({
        "type": kind,
        "additionalProperties": part,
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
        "minProperties": at_least,
    })
}

fn describe_source(generator: &mut SchemaGenerator, bodies: &Bodies<'_>) -> Schema {
    let mut object = ObjectSchema::default();
    describe_connectors(&mut object, SOURCE_CONNECTORS, bodies.sources, generator);
    SourceKeys::describe_keys(&mut object, generator);
    object.finish()
}

fn describe_sink(generator: &mut SchemaGenerator, bodies: &Bodies<'_>, is_dead_letter: bool) -> Schema {
    let mut object = ObjectSchema::default();
    if !is_dead_letter {
        object.property("from", Inputs::schema(generator), &[], true);
    }
    describe_connectors(&mut object, SINK_CONNECTORS, bodies.sinks, generator);
    SinkKeys::describe_keys(&mut object, generator);
    object.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_schema_is_valid_and_carries_the_texts() {
        let schema = json_schema(&Bodies::default());
        assert!(jsonschema::draft202012::meta::is_valid(&schema));
        let text = schema.to_string();
        for part in ["Pins a version of the subject", "at_least_once", "tumbling", "Example: `having: cnt > 3`"] {
            assert!(text.contains(part), "{part}");
        }
    }

    #[test]
    fn connector_bodies_are_put_in() {
        let bodies = Bodies { sources: &[("kafka", u64::schema)], ..Bodies::default() };
        let with = json_schema(&bodies);
        let source = &with["allOf"][0]["then"]["properties"]["spec"]["properties"]["sources"]["additionalProperties"];
        assert_eq!(source["properties"]["kafka"]["anyOf"][0]["minimum"], 0);
    }
}
