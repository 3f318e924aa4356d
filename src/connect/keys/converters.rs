//! Keys of converters.

use super::super::definition::{Importance::*, Key, Kind, Rule, Width, key};

const TYPE: Key = key("converter.type", Kind::String, Low, "What is converted: keys, values or headers.")
    .required()
    .rule(Rule::OneOf(&["key", "value", "header"]));

pub const PLAIN: &[Key] = &[TYPE];

pub const STRING: &[Key] = &[TYPE, {
    let encoding = key("converter.encoding", Kind::String, High, "The encoding of texts: UTF-8.").or("UTF-8");
    Key { width: Width::Medium, display_name: Some("Encoding"), ..encoding }
}];

const SCHEMAS: &str = "Schemas";
const SERIALIZATION: &str = "Serialization";

pub const JSON: &[Key] = &[
    TYPE,
    key("schemas.enable", Kind::Boolean, High, "Values are envelopes of a schema and a payload.").or("true").shown(
        SCHEMAS,
        0,
        Width::Medium,
        "Enable Schemas",
    ),
    key("schemas.cache.size", Kind::Int, High, "Schemas that are remembered.").or("1000").shown(
        SCHEMAS,
        1,
        Width::Medium,
        "Schema Cache Size",
    ),
    key("schema.content", Kind::String, High, "A schema of all values, which are then read without envelope.").shown(
        SCHEMAS,
        2,
        Width::Medium,
        "Schema Content",
    ),
    key("decimal.format", Kind::String, Low, "Decimals as base64 or as numbers.")
        .or("BASE64")
        .rule(Rule::OneOfAnyCase(&["NUMERIC", "BASE64"]))
        .shown(SERIALIZATION, 0, Width::Medium, "Decimal Format"),
    key("replace.null.with.default", Kind::Boolean, Low, "A null is written and read as the default of its schema.")
        .or("true")
        .shown(SERIALIZATION, 1, Width::Medium, "Replace null with default"),
];

pub const AVRO: &[Key] = &[
    key("schema.registry.url", Kind::List, High, "The schema registry; default: the worker's."),
    key("auto.register.schemas", Kind::Boolean, Medium, "New schemas are registered.").or("true"),
    key(
        "use.latest.version",
        Kind::Boolean,
        Low,
        "Values are written with the subject's latest schema, if new ones are not registered.",
    )
    .or("false"),
    key(
        "latest.compatibility.strict",
        Kind::Boolean,
        Low,
        "The latest schema must be able to read what the value's own writes.",
    )
    .or("true"),
    key("normalize.schemas", Kind::Boolean, Low, "Schemas are registered and sought in their normal form.").or("false"),
    key(
        "key.subject.name.strategy",
        Kind::Class,
        Medium,
        "How subjects of keys are named: TopicNameStrategy, RecordNameStrategy, TopicRecordNameStrategy.",
    )
    .or(TOPIC_NAME),
    key("value.subject.name.strategy", Kind::Class, Medium, "The same for values.").or(TOPIC_NAME),
    key("connect.meta.data", Kind::Boolean, Low, "Schemas say in properties what Connect knows of them.").or("true"),
    key(
        "enhanced.avro.schema.support",
        Kind::Boolean,
        Medium,
        "Enums stay enums, and branches of unions have full names.",
    )
    .or("false"),
    key(
        "generalized.sum.type.support",
        Kind::Boolean,
        Medium,
        "Unions keep the places of their branches; not available.",
    )
    .or("false"),
    key("scrub.invalid.names", Kind::Boolean, Medium, "Names that Avro refuses are changed.").or("false"),
    key("allow.optional.map.keys", Kind::Boolean, Low, "Maps whose keys may be null are maps all the same.")
        .or("false"),
    key("flatten.singleton.unions", Kind::Boolean, Low, "A union of one type is that type.").or("true"),
    key(
        "ignore.default.for.nullables",
        Kind::Boolean,
        Low,
        "A null in a field that has a default is written as null, where it may be.",
    )
    .or("false"),
];

const TOPIC_NAME: &str = "io.confluent.kafka.serializers.subject.TopicNameStrategy";
