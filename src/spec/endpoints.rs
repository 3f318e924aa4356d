//! Sources, sinks and the dead letter: one connector key, and the common keys beside it.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::describe::ObjectSchema;
use super::options::wrong_type;
use super::steps::{Names, Sql};
use super::*;
use crate::data::meta;
use crate::report::{Diagnostic, Diagnostics, most_like};

/// Connectors of sources, in the order of the reference.
pub const SOURCE_CONNECTORS: &[&str] = &["kafka", "datagen", "file"];
/// Connectors of sinks, in the order of the reference.
pub const SINK_CONNECTORS: &[&str] = &["kafka", "file", "console", "discard"];
/// Known, but of a later release.
const LATER_CONNECTORS: &[&str] = &["sql", "http"];

crate::options! {
    /// A source: one connector, and what is common to all of them.
    pub struct SourceKeys {
        /// The connection by name; default `default`.
        pub connection: Option<Spanned<String>>,
        /// How values are decoded: `avro`, `json`, `string`, `bytes`, `csv`, or a map such as `{csv: {header: false}}`.
        pub format: Option<FormatSpec>,
        /// The schema of the values, where it is not the latest of the topic's subject.
        pub schema: Option<SchemaRef>,
        /// The columns of JSON and CSV values, name to type: `{uid: string, dose: double?}`.
        pub columns: Option<Columns>,
        /// How keys are decoded into `_key`; default bytes.
        pub key_format: Option<FormatSpec>,
        /// Event time: where it comes from, and how late and how idle a source may be.
        pub time: Option<TimeSpec>,
        /// What the records are; default `append`.
        pub mode: SourceMode = SourceMode::Append,
    }
}

crate::options! {
    /// A sink: one connector, and what is common to all of them.
    pub struct SinkKeys {
        /// The connection by name; default `default`.
        pub connection: Option<Spanned<String>>,
        /// How values are encoded: `avro`, `json`, `string`, `bytes`, `csv`, `original`, or a map such as `{csv: {header: false}}`.
        pub format: Option<FormatSpec>,
        /// The schema of the values, where it is not derived from the columns.
        pub schema: Option<SchemaRef>,
        /// The columns that the rows must have, name to type.
        pub columns: Option<Columns>,
        /// The columns of the key; `[]` writes none. Default: the record's own key, behind an aggregate its groups.
        pub key: Option<Spanned<Names>>,
        /// How named and grouped keys are encoded.
        pub key_format: Option<FormatSpec>,
        /// Headers of each record, instead of its own; values may hold `${EXPR}`. `provenance`: `_topic`, `_partition` and `_offset` of the record that a row comes from, by which `runner verify` recognises it.
        pub headers: HeadersSpec = HeadersSpec::default(),
        /// What is written of rows that change. Default: `append` where rows become final, else `upsert` on Kafka, `update` elsewhere.
        pub mode: Option<Spanned<SinkMode>>,
        /// Rows that change are written so far apart, at multiples of it since 1970-01-01 UTC: what has changed since, or with
        /// `mode: complete` the whole table. Default: each epoch. Example: `every: 10s`.
        pub every: Option<Spanned<DurationMs>>,
        /// How often a row may appear; default `exactly_once` where the sink can. A Kafka sink that is `at_least_once` needs no transactions, unless another sink on its cluster is exactly once: then it joins that one's. A file is then appended to, whoever else writes it: nothing stands beside it, nothing is locked, no folder is made.
        pub delivery: Option<Spanned<DeliverySpec>>,
    }
}

crate::options! {
    /// Event time of a source.
    pub struct TimeKeys {
        /// An expression that gives the event time; default: the record's timestamp.
        pub field: Option<Sql>,
        /// Unit of a `field` that is a number.
        pub unit: Option<Spanned<TimeUnit>>,
        /// How far behind the highest event time a row may be. Default 0s. Example: `lag: 5s`.
        pub lag: Option<DurationMs>,
        /// After how long without a record a partition no longer holds the watermark, or `never`. Default 5s. Example: `idle: 5s`.
        pub idle: Option<Idle>,
        /// A partition that is further ahead of the slowest one in event time is not read until that one has come
        /// nearer. Only in pipelines with windows. Default: the largest of `lag`, the windows' size and 1m. Example: `align: 10m`
        pub align: Option<DurationMs>,
        /// Event times further ahead of the clock are dead letters. Default 1h.
        pub max_ahead: Option<DurationMs>,
    }
}

crate::options! {
    /// Which schema a value has.
    pub struct SchemaKeys {
        /// A path to an .avsc file.
        pub file: Option<Spanned<String>>,
        /// The subject, where it is not the topic's.
        pub subject: Option<Spanned<String>>,
        /// Pins a version of the subject. Example: `version: 3`.
        pub version: Option<Spanned<i32>>,
        /// Sinks: the name of the derived record.
        pub name: Option<Spanned<String>>,
        /// Sinks: the namespace of the derived record.
        pub namespace: Option<Spanned<String>>,
        /// Sinks: the text of the derived record.
        pub doc: Option<Spanned<String>>,
        /// Sinks: false means that the schema must be registered already.
        pub register: Option<bool>,
    }
}

/// Reads the sources of a pipeline.
pub(super) fn read_source(name: &Spanned<String>, node: &Node, out: &mut Diagnostics) -> Option<SourceSpec> {
    let mut map = MapReader::new(node, out)?.of(&name.place);
    let connector = connector(&mut map, name, "source", SOURCE_CONNECTORS, SINK_CONNECTORS, out);
    let keys = SourceKeys::read_keys(&mut map, out);
    map.finish(out);
    let (connector, body) = connector?;
    let keys = keys?;
    refuse_rules(keys.columns.as_ref(), out)?;
    if let Some(format) = keys.format.iter().chain(&keys.key_format).find(|format| format.name.value == "original") {
        out.push(
            Diagnostic::error("source.format", "`original` is a format of sinks")
                .at(&format.name.place)
                .note("it writes a value's bytes as they came; a source that does not decode has `format: bytes`"),
        );
        return None;
    }
    let SourceKeys { connection, format, schema, columns, key_format, time, mode } = keys;
    let (name, place) = (name.clone(), node.place.clone());
    Some(SourceSpec { name, connector, body, connection, format, schema, columns, key_format, time, mode, place })
}

/// Reads a sink; the dead letter is one without `from`.
pub(super) fn read_sink(
    name: &Spanned<String>,
    node: &Node,
    is_dead_letter: bool,
    out: &mut Diagnostics,
) -> Option<SinkSpec> {
    let mut map = MapReader::new(node, out)?.of(&name.place);
    let from = if is_dead_letter { no_from(&mut map, out) } else { map.read::<Inputs>("from", out).map(Some) };
    let connector = connector(&mut map, name, "sink", SINK_CONNECTORS, SOURCE_CONNECTORS, out);
    let keys = SinkKeys::read_keys(&mut map, out);
    map.finish(out);
    let (connector, body) = connector?;
    let (name, place, from) = (name.clone(), node.place.clone(), from?);
    let SinkKeys { connection, format, schema, columns, key, key_format, headers, mode, every, delivery } = keys?;
    refuse_rules(columns.as_ref(), out)?;
    let key = key.map(|Spanned { value: Names(value), place }| Spanned { value, place });
    Some(SinkSpec {
        name,
        connector,
        body,
        from,
        connection,
        format,
        schema,
        columns,
        key,
        key_format,
        headers: headers.0,
        mode,
        every,
        delivery,
        place,
    })
}

/// Headers that a sink writes: texts by name, or the word for those that say where a record comes from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeadersSpec(pub Vec<(Spanned<String>, Spanned<String>)>);

impl FromNode for HeadersSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match node.as_str() {
            Some("provenance") => {
                let spanned = |value: String| Spanned { value, place: node.place.clone() };
                let header = |name: &str| (spanned(name.to_owned()), spanned(format!("${{{name}}}")));
                Some(HeadersSpec([meta::TOPIC, meta::PARTITION, meta::OFFSET].map(header).into()))
            }
            Some(_) => wrong_choice(node, &["provenance"], &["NAME"], out),
            None => FromNode::from_node(node, out).map(HeadersSpec),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let doc: &[&str] = &["`_topic`, `_partition` and `_offset` of the record that a row comes from."];
        choice_schema(&[("provenance", doc)], vec![<Vec<(Spanned<String>, Spanned<String>)>>::schema(generator)])
    }
}

/// Everything that cannot be processed goes to the dead letter: it does not say from where.
fn no_from(map: &mut MapReader<'_>, out: &mut Diagnostics) -> Option<Option<Inputs>> {
    let from = map.node().entries()?.iter().find(|entry| entry.key == "from");
    if let Some(entry) = from {
        map.pass_over("from");
        out.push(Diagnostic::error("dead_letter.from", "the dead letter has no `from`").at(&entry.key_place));
        return None;
    }
    Some(None)
}

/// Datagen's rules stand in its own `columns` only; `None` after a complaint.
pub(super) fn refuse_rules(columns: Option<&Columns>, out: &mut Diagnostics) -> Option<()> {
    let before = out.0.len();
    columns.iter().flat_map(|columns| &columns.value).for_each(|(_, column)| column.refuse_rules(out));
    (out.0.len() == before).then_some(())
}

/// The one key that is a connector, and what stands behind it.
fn connector(
    map: &mut MapReader<'_>,
    owner: &Spanned<String>,
    what: &str,
    known: &'static [&'static str],
    others: &[&'static str],
    out: &mut Diagnostics,
) -> Option<(Spanned<String>, Node)> {
    let later = LATER_CONNECTORS.iter().filter(|key| map.later(key, out)).count();
    let entries: Vec<_> = known.iter().filter_map(|key| map.entry(key)).collect();
    match entries.as_slice() {
        [entry] => {
            let name = Spanned { value: entry.key.clone(), place: entry.key_place.clone() };
            return Some((name, entry.value.clone()));
        }
        [first, second, ..] => out.push(
            Diagnostic::error("spec.two_connectors", format!("a {what} has one connector, this has two"))
                .at(&second.key_place)
                .note(format!("the other is `{}` at {}", first.key, first.key_place)),
        ),
        [] if later > 0 => {}
        // A misspelt connector is reported as an unknown key, with the known ones beside it.
        [] if map.unknown().any(|entry| most_like(&entry.key, known.iter().copied()).is_some()) => {}
        [] => out.push(no_connector(map, owner, what, known, others)),
    }
    None
}

fn no_connector(
    map: &mut MapReader<'_>,
    owner: &Spanned<String>,
    what: &str,
    known: &[&str],
    others: &[&'static str],
) -> Diagnostic {
    let title = format!("the {what} `{}` has no connector", owner.value);
    let diagnostic =
        Diagnostic::error("spec.no_connector", title).at(&owner.place).note(format!("one of {}", known.join(", ")));
    let misplaced = others.iter().find(|other| map.node().get(other).is_some());
    match misplaced {
        Some(other) => {
            map.pass_over(other);
            diagnostic.note(format!("`{other}` cannot be a {what}"))
        }
        None => diagnostic,
    }
}

impl FromNode for Inputs {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let place = node.place.clone();
        let Some(items) = node.items() else {
            return Some(Inputs { refs: vec![InputRef::from_node(node, out)?], place });
        };
        if items.is_empty() {
            out.push(Diagnostic::error("spec.no_input", "`from` is an empty list").at(&place));
            return None;
        }
        let refs: Vec<Option<InputRef>> = items.iter().map(|item| InputRef::from_node(item, out)).collect();
        let refs: Vec<InputRef> = refs.into_iter().collect::<Option<_>>()?;
        for (index, input) in refs.iter().enumerate() {
            let is_same = |other: &&InputRef| other.name == input.name && other.port == input.port;
            if let Some(first) = refs[..index].iter().find(is_same) {
                let title = format!("`{}` stands in `from` twice", input.shown());
                out.push(
                    Diagnostic::error("spec.input_twice", title)
                        .at(&input.place)
                        .note(format!("first at {}", first.place)),
                );
                return None;
            }
        }
        Some(Inputs { refs, place })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let one = InputRef::schema(generator);
        let several = json_schema!({
            "type": "array",
            "items": one,
            "minItems": 1,
            "uniqueItems": true,
            "description": "A union: the rows of all of them. They have the same columns; numbers widen.",
        });
        json_schema!({ "anyOf": [one, several] })
    }
}

impl FromNode for InputRef {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let text = String::from_node(node, out)?;
        let (name, port) = match text.split_once('.') {
            None => (text.as_str(), Port::Main),
            Some((name, word)) => match Port::NAMED.iter().find(|(port, _)| *port == word) {
                Some((_, port)) => (name, *port),
                None => {
                    out.push(
                        Diagnostic::error("spec.unknown_port", format!("there is no port `.{word}`"))
                            .at(&node.place)
                            .note("`.late` has rows whose window had closed, `.rest` rows that did not pass, `.failed` what was refused")
                            .did_you_mean(word, Port::NAMED.iter().map(|(port, _)| *port)),
                    );
                    return None;
                }
            },
        };
        Some(InputRef { name: name.to_owned(), port, place: node.place.clone() })
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^[^.]*(\.(late|rest|failed))?$",
            "description": "A source or transform by name. `NAME.late` has the rows that came too late for it, `NAME.rest` those that it did not pass on, `NAME.failed` those that could not be decoded or evaluated or that a check refused: each with its input's columns (`.rest` of `having`: the aggregate's) and a column `_reason`.",
        })
    }
}

impl FromNode for FormatSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let (name, place, options) = match (node.as_str(), node.entries()) {
            (Some(name), _) => (name, &node.place, None),
            (_, Some([entry])) => (entry.key.as_str(), &entry.key_place, Some(entry.value.clone())),
            _ => return wrong_type(node, "a format such as `avro` or `{csv: {header: false}}`", out),
        };
        if !FORMATS.contains(&name) {
            let title = format!("unknown format `{name}`");
            out.push(
                Diagnostic::error("spec.unknown_format", title)
                    .at(place)
                    .note(format!("formats are {}", FORMATS.join(", ")))
                    .did_you_mean(name, FORMATS.iter().copied()),
            );
            return None;
        }
        Some(FormatSpec { name: Spanned { value: name.to_owned(), place: place.clone() }, options })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

/// One definition, which `schema` replaces where the formats' options are known.
impl schemars::JsonSchema for FormatSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let map = json_schema!({
            "type": "object",
            "propertyNames": { "enum": FORMATS },
            "minProperties": 1,
            "maxProperties": 1,
        });
        json_schema!({ "anyOf": [{ "enum": FORMATS }, map] })
    }
}

impl FromNode for TimeSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let TimeKeys { field, unit, lag, idle, align, max_ahead } = FromNode::from_node(node, out)?;
        let field = field.map(|Sql(field)| field);
        Some(TimeSpec { field, unit, lag, idle, align, max_ahead, place: node.place.clone() })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        TimeKeys::schema(generator)
    }
}

impl FromNode for Idle {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match node.as_str() {
            Some("never") => Some(Idle::Never),
            _ => DurationMs::from_node(node, out).map(Idle::After),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "never" }, DurationMs::schema(generator)] })
    }
}

impl FromNode for SchemaRef {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let SchemaKeys { file, subject, version, name, namespace, doc, register } = FromNode::from_node(node, out)?;
        let place = node.place.clone();
        Some(SchemaRef { file, subject, version, name, namespace, doc, register, place })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        SchemaKeys::schema(generator)
    }
}

/// Adds connectors to the schema of a source or sink; a body that is not given may be anything.
pub(super) fn describe_connectors(
    object: &mut ObjectSchema,
    known: &[&'static str],
    bodies: &[(&str, schema::Describe)],
    generator: &mut SchemaGenerator,
) {
    for key in known {
        let body = bodies.iter().find(|(name, _)| name == key).map(|(_, describe)| describe(generator));
        object.property(key, body.unwrap_or_else(|| Schema::from(true)), &[], false);
    }
    object.exactly_one_of(known);
}
