//! Keys of the connectors' own.

use super::super::definition::{Importance::*, Key, Kind, Rule, key};

pub const FILE_SOURCE: &[Key] = &[
    key("file", Kind::String, High, "The file to read."),
    key("topic", Kind::String, High, "The topic to write each line to.").required().rule(Rule::Filled),
    key("batch.size", Kind::Int, Low, "Most lines that are read at once.").or("2000"),
];

pub const FILE_SINK: &[Key] = &[key("file", Kind::String, High, "The file to write a line to for each record.")];

pub const DATAGEN: &[Key] = &[
    key("kafka.topic", Kind::String, High, "The topic to write to.").required(),
    key("max.interval", Kind::Long, High, "Longest pause before a record, in milliseconds; each is random.").or("500"),
    key("iterations", Kind::Int, High, "Records that each task makes; below 1: no end.").or("-1"),
    key("schema.string", Kind::String, High, "An Avro schema with rules, as JSON.").or(""),
    key("schema.filename", Kind::String, High, "A file that holds one.").or(""),
    key("schema.keyfield", Kind::String, High, "The field that is the record's key, too.").or(""),
    key("quickstart", Kind::String, High, "Instead of a schema: the name of one that is there.").or(""),
    key("random.seed", Kind::Long, Low, "Makes the data reproducible."),
];
