//! Keys of transformations and predicates.

use super::super::definition::{Importance::*, Key, Kind, Rule, key};

const REPLACE_NULL: Key =
    key("replace.null.with.default", Kind::Boolean, Medium, "A null is read as the default of its schema.").or("true");

/// What each transformation has, beside its own.
pub const EVERY: &[Key] = &[
    key("predicate", Kind::String, Medium, "Only records for which this predicate is true are changed."),
    key("negate", Kind::Boolean, Medium, "Those for which it is not true.").or("false"),
];

pub const CAST: &[Key] = &[
    key("spec", Kind::List, High, "`field:type` pairs, or one type for the whole value.").required().rule(Rule::Cast),
    REPLACE_NULL,
];

pub const DROP_HEADERS: &[Key] =
    &[key("headers", Kind::List, High, "Names of headers to take away.").required().rule(Rule::Items { empty: false })];

pub const EXTRACT_FIELD: &[Key] = &[
    key("field", Kind::String, Medium, "The field that is kept.").required(),
    REPLACE_NULL,
    key("field.syntax.version", Kind::String, High, "`V2`: dots lead into structs.")
        .or("V1")
        .rule(Rule::OneOfAnyCase(&["V1", "V2"])),
];

pub const FILTER: &[Key] = &[];

pub const FLATTEN: &[Key] =
    &[key("delimiter", Kind::String, Medium, "Between the names of a field's parents.").or(".")];

pub const HEADER_FROM: &[Key] = &[
    key("fields", Kind::List, High, "Fields that become headers.").required().rule(Rule::NotEmpty),
    key("headers", Kind::List, High, "Names of those headers.").required().rule(Rule::NotEmpty),
    key("operation", Kind::String, High, "Whether the fields stay.").required().rule(Rule::OneOf(&["move", "copy"])),
    REPLACE_NULL,
];

pub const HOIST_FIELD: &[Key] = &[key("field", Kind::String, Medium, "Name of the only field.").required()];

pub const INSERT_FIELD: &[Key] = &[
    key("topic.field", Kind::String, Medium, "Field for the topic; `!` behind it: never null."),
    key("partition.field", Kind::String, Medium, "Field for the partition; `!` behind it: never null."),
    key("offset.field", Kind::String, Medium, "Field for the offset, in sinks; `!` behind it: never null."),
    key("timestamp.field", Kind::String, Medium, "Field for the timestamp; `!` behind it: never null."),
    key("static.field", Kind::String, Medium, "Field for `static.value`; `!` behind it: never null."),
    key("static.value", Kind::String, Medium, "What stands in `static.field`."),
    REPLACE_NULL,
];

pub const INSERT_HEADER: &[Key] = &[
    key("header", Kind::String, High, "Name of the header.").required().rule(Rule::Given),
    key("value.literal", Kind::String, High, "Its value.").required().rule(Rule::Given),
];

pub const MASK_FIELD: &[Key] = &[
    key("fields", Kind::List, High, "Fields to mask.").required().rule(Rule::Items { empty: false }),
    key("replacement", Kind::String, Low, "What stands there instead of nothing.").rule(Rule::Filled),
    REPLACE_NULL,
];

pub const REGEX_ROUTER: &[Key] = &[
    key("regex", Kind::String, High, "Topics whose whole name fits are renamed.").required().rule(Rule::Pattern),
    key("replacement", Kind::String, High, "The new name; `$1` is the first group.").required(),
];

pub const REPLACE_FIELD: &[Key] = &[
    key("exclude", Kind::List, Medium, "Fields to take away.").or("").rule(Rule::Items { empty: true }),
    key("include", Kind::List, Medium, "The only fields to keep.").or("").rule(Rule::Items { empty: true }),
    key("renames", Kind::List, Medium, "`old:new` pairs.").or("").rule(Rule::Renames),
    REPLACE_NULL,
];

pub const SET_SCHEMA_METADATA: &[Key] = &[
    key("schema.name", Kind::String, High, "The schema's name."),
    key("schema.version", Kind::Int, High, "The schema's version."),
    REPLACE_NULL,
];

pub const TIMESTAMP_CONVERTER: &[Key] = &[
    key("field", Kind::String, High, "The field with the time; empty: the whole value.").or(""),
    key("target.type", Kind::String, High, "What it becomes.").required().rule(Rule::OneOf(&[
        "string",
        "unix",
        "Date",
        "Time",
        "Timestamp",
    ])),
    key("format", Kind::String, Medium, "Pattern of times that are texts.").or(""),
    key("unix.precision", Kind::String, Low, "Unit of times that are numbers.")
        .or("milliseconds")
        .rule(Rule::OneOf(&["nanoseconds", "microseconds", "milliseconds", "seconds"])),
    REPLACE_NULL,
];

pub const TIMESTAMP_ROUTER: &[Key] = &[
    key("topic.format", Kind::String, High, "The new name of the topic.").or("${topic}-${timestamp}"),
    key("timestamp.format", Kind::String, High, "Pattern of `${timestamp}`, in UTC.").or("yyyyMMdd"),
];

pub const VALUE_TO_KEY: &[Key] = &[
    key("fields", Kind::List, High, "Fields of the value that become the key.")
        .required()
        .rule(Rule::Items { empty: false }),
    REPLACE_NULL,
];

pub const HAS_HEADER_KEY: &[Key] = &[key("name", Kind::String, Medium, "Name of the header.").required()];

pub const RECORD_IS_TOMBSTONE: &[Key] = &[];

pub const TOPIC_NAME_MATCHES: &[Key] =
    &[key("pattern", Kind::String, Medium, "A regex for whole names of topics.").required().rule(Rule::Pattern)];
