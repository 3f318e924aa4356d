//! Keys of every connector.

use super::super::definition::{Importance::*, Key, Kind, Rule, Width, key};

const COMMON: &str = "Common";
const ERRORS: &str = "Error Handling";
const CREATION: &str = "Topic Creation";
const EXACTLY_ONCE: &str = "Exactly Once Support";

/// Of sources and sinks.
pub const EVERY: &[Key] = &[
    key("name", Kind::String, High, "The connector's name, unlike all others.").required().rule(Rule::Name).shown(
        COMMON,
        1,
        Width::Medium,
        "Connector name",
    ),
    key(
        "connector.class",
        Kind::String,
        High,
        "The connector's class: its full name, or the last part of it, also without `Connector`.",
    )
    .required()
    .shown(COMMON, 2, Width::Long, "Connector class"),
    key("connector.plugin.version", Kind::String, Medium, "Version of the class.").or("4.3.1").shown(
        COMMON,
        3,
        Width::Medium,
        "Connector version",
    ),
    key("tasks.max", Kind::Int, High, "Most tasks that share the work.").or("1").rule(Rule::AtLeast(1)).shown(
        COMMON,
        4,
        Width::Short,
        "Tasks max",
    ),
    key(
        "tasks.max.enforce",
        Kind::Boolean,
        Low,
        "A class that wants more tasks than `tasks.max` is refused. Those here never do.",
    )
    .or("true")
    .shown(COMMON, 5, Width::Short, "Enforce tasks max"),
    key("key.converter", Kind::Class, Low, "Between the bytes of keys and values; default: the worker's.").shown(
        COMMON,
        6,
        Width::Short,
        "Key converter class",
    ),
    key("key.converter.plugin.version", Kind::String, Low, "Version of the key converter.").shown(
        COMMON,
        7,
        Width::Short,
        "Key converter version",
    ),
    key("value.converter", Kind::Class, Low, "Between the bytes of records' values and values; default: the worker's.")
        .shown(COMMON, 8, Width::Short, "Value converter class"),
    key("value.converter.plugin.version", Kind::String, Low, "Version of the value converter.").shown(
        COMMON,
        9,
        Width::Short,
        "Value converter version",
    ),
    key("header.converter", Kind::Class, Low, "Between the bytes of headers and values; default: the worker's.").shown(
        COMMON,
        10,
        Width::Short,
        "Header converter class",
    ),
    key("header.converter.plugin.version", Kind::String, Low, "Version of the header converter.").shown(
        COMMON,
        11,
        Width::Short,
        "Header converter version",
    ),
    key("transforms", Kind::List, Low, "Names of the transformations that each record goes through, in order.")
        .or("")
        .rule(Rule::Aliases)
        .shown("Transforms", 12, Width::Long, "Transforms"),
    key("predicates", Kind::List, Low, "Names of the predicates that transformations may ask.")
        .or("")
        .rule(Rule::Aliases)
        .shown("Predicates", 13, Width::Long, "Predicates"),
    key(
        "config.action.reload",
        Kind::String,
        Low,
        "What a changed value of a config provider does; there are no such providers here.",
    )
    .or("restart")
    .rule(Rule::OneOf(&["none", "restart"]))
    .shown(COMMON, 14, Width::Medium, "Reload Action"),
    key(
        "errors.retry.timeout",
        Kind::Long,
        Medium,
        "Milliseconds for which something that failed is tried again; -1: for ever.",
    )
    .or("0")
    .shown(ERRORS, 1, Width::Medium, "Retry Timeout for Errors"),
    key("errors.retry.delay.max.ms", Kind::Long, Medium, "Longest pause between two tries, in milliseconds.")
        .or("60000")
        .shown(ERRORS, 2, Width::Medium, "Maximum Delay Between Retries for Errors"),
    key(
        "errors.tolerance",
        Kind::String,
        Medium,
        "`none`: the first bad record ends the task. `all`: bad records are passed over.",
    )
    .or("none")
    .rule(Rule::OneOf(&["none", "all"]))
    .shown(ERRORS, 3, Width::Short, "Error Tolerance"),
    key("errors.log.enable", Kind::Boolean, Medium, "Each bad record is logged.").or("false").shown(
        ERRORS,
        4,
        Width::Short,
        "Log Errors",
    ),
    key(
        "errors.log.include.messages",
        Kind::Boolean,
        Medium,
        "What is logged of a bad record includes where it stands.",
    )
    .or("false")
    .shown(ERRORS, 5, Width::Short, "Log Error Details"),
];

/// Of sources.
pub const SOURCE: &[Key] = &[
    key("topic.creation.groups", Kind::List, Low, "Groups of topics with settings of their own, beside `default`.")
        .or("")
        .rule(Rule::Aliases)
        .shown(CREATION, 1, Width::Long, "Topic Creation Groups"),
    key("exactly.once.support", Kind::String, Medium, "`required`: a class that cannot do without doubles is refused.")
        .or("requested")
        .rule(Rule::OneOfAnyCase(&["REQUIRED", "REQUESTED"]))
        .shown(EXACTLY_ONCE, 2, Width::Short, "Exactly once support"),
    key("transaction.boundary", Kind::String, Medium, "Where transactions end.")
        .or("poll")
        .rule(Rule::OneOfAnyCase(&["INTERVAL", "POLL", "CONNECTOR"]))
        .shown(EXACTLY_ONCE, 3, Width::Short, "Transaction Boundary"),
    key("transaction.boundary.interval.ms", Kind::Long, Low, "Milliseconds between two ends of transactions.")
        .rule(Rule::AtLeast(0))
        .shown(EXACTLY_ONCE, 4, Width::Short, "Transaction boundary interval"),
    key(
        "offsets.storage.topic",
        Kind::String,
        Low,
        "A topic for this connector's offsets. Here they are in the journal of its pipeline.",
    )
    .rule(Rule::Filled)
    .shown("offsets.topic", 1, Width::Long, "Offsets topic"),
];

/// Of sinks.
pub const SINK: &[Key] = &[
    key("topics", Kind::List, High, "The topics to read.").or("").rule(Rule::Items { empty: true }).shown(
        COMMON,
        4,
        Width::Long,
        "Topics",
    ),
    key("topics.regex", Kind::String, High, "Instead of `topics`: all whose whole name fits.")
        .or("")
        .rule(Rule::Pattern)
        .shown(COMMON, 4, Width::Long, "Topics regex"),
    key(
        "errors.deadletterqueue.topic.name",
        Kind::String,
        Medium,
        "Topic for records that could not be converted or transformed.",
    )
    .or("")
    .shown(ERRORS, 6, Width::Medium, "Dead Letter Queue Topic Name"),
    key(
        "errors.deadletterqueue.topic.replication.factor",
        Kind::Short,
        Medium,
        "Replicas of that topic, if it is made.",
    )
    .or("3")
    .shown(ERRORS, 7, Width::Medium, "Dead Letter Queue Topic Replication Factor"),
    key(
        "errors.deadletterqueue.context.headers.enable",
        Kind::Boolean,
        Medium,
        "Headers say where a bad record stood and what was wrong.",
    )
    .or("false")
    .shown(ERRORS, 8, Width::Medium, "Enable Error Context Headers"),
];
