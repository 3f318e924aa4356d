//! `format: connect`: Kafka Connect's settings, checked, and what a row is to its converters.

use std::collections::{BTreeMap, BTreeSet};

use super::topic::{KafkaEnd, compile_headers, timestamp};
use super::*;
use crate::data::fields;
use crate::kafka_connect::converters::{Dialect, avro_schema, connect_schema};
use crate::kafka_connect::transforms::Chain;
use crate::kafka_connect::{ConfigError, Kind, Schema as ConnectSchema};
use crate::plan::records::connect::read::{ConnectLines, NEEDS};
use crate::plan::records::connect::written::{ConnectRecords, HeaderPart, HeaderSpec, Headers, Part};
use crate::plan::records::connect::{ConnectSettings, Machinery, check_column};
use crate::plan::records::dead::{ConnectDead, DeadRecords};
use crate::registry::avro::Schema as AvroSchema;
use crate::report::Place;
use crate::spec::Value;

/// The word in the language.
pub(super) const CONNECT: &str = "connect";
/// What settings of `format: connect` begin with.
const KNOWN: &[&str] =
    &["key.converter", "value.converter", "header.converter", "transforms", "predicates", "errors.log", "name"];

/// Settings and their places.
struct Settings<'s> {
    spec: &'s FormatSpec,
    all: BTreeMap<String, String>,
}

impl<'s> Settings<'s> {
    /// Reads the settings; `knows` says which keys there are.
    fn read(spec: &'s FormatSpec, knows: impl Fn(&str) -> bool, out: &mut Diagnostics) -> Option<Settings<'s>> {
        let mut all = BTreeMap::new();
        let mut is_good = true;
        for entry in spec.options.as_ref().and_then(|node| node.entries()).unwrap_or_default() {
            if !knows(&entry.key) {
                is_good = false;
                out.push(
                    Diagnostic::error("connect.unknown_setting", format!("unknown setting `{}`", entry.key))
                        .at(&entry.key_place)
                        .note(format!("settings begin with {}", KNOWN.join(", "))),
                );
                continue;
            }
            let text = match &entry.value.value {
                Value::String(text) => text.clone(),
                Value::Bool(truth) => truth.to_string(),
                Value::Int(number) => number.to_string(),
                Value::Float(number) => number.to_string(),
                Value::Null | Value::List(_) | Value::Map(_) => {
                    is_good = false;
                    out.push(
                        Diagnostic::error("spec.type", "expected a text, a number or a boolean")
                            .at(&entry.value.place)
                            .label(format!("this is {}", entry.value.kind()))
                            .hint("lists of Kafka Connect are texts with commas: `transforms: a,b`"),
                    );
                    continue;
                }
            };
            all.insert(entry.key.clone(), text);
        }
        is_good.then_some(Settings { spec, all })
    }

    fn is_true(&self, key: &str) -> bool {
        self.all.get(key).is_some_and(|text| text.trim().eq_ignore_ascii_case("true"))
    }

    /// Where a setting stands, or the format.
    fn place(&self, key: &str) -> &'s Place {
        let entries = self.spec.options.as_ref().and_then(|node| node.entries()).unwrap_or_default();
        entries.iter().find(|entry| entry.key == key).map_or(&self.spec.name.place, |entry| &entry.value.place)
    }

    fn complain(&self, wrong: Vec<ConfigError>, out: &mut Diagnostics) {
        for error in wrong {
            out.push(Diagnostic::error("connect.setting", error.message).at(self.place(&error.key)));
        }
    }
}

fn is_known(key: &str) -> bool {
    KNOWN.iter().any(|known| key.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// A format's settings, opened to see whether they hold.
struct Checked {
    settings: ConnectSettings,
    machinery: Machinery,
    shown: String,
}

impl<'a> SinkCheck<'_, 'a> {
    pub(super) fn is_connect(&self) -> Option<&'a FormatSpec> {
        self.spec.format.as_ref().filter(|format| format.name.value == CONNECT)
    }

    /// Opens what the format says. `connection` has the registry that Avro's schemas are in.
    fn checked(
        &self,
        read: &Settings<'_>,
        connection: Option<&connections::Connection>,
        outline: &mut Outline,
        out: &mut Diagnostics,
    ) -> Option<Checked> {
        let mut settings = ConnectSettings { all: read.all.clone(), registry: None };
        if settings.wants_registry() {
            let own = match connection {
                Some(connection) => connection.clone(),
                None => {
                    let (named, place) = (self.spec.connection.as_ref(), &self.spec.connector.place);
                    let pipeline = Some(&self.scope.pipeline.spec);
                    connections::find(named, place, pipeline, self.scope.documents, out)?
                }
            };
            let registries = schemas::registries(self.scope, &own, out)?;
            codecs::add_registry(outline, &own, &registries);
            settings.registry = Some(registries.running);
        }
        match settings.open() {
            Ok(machinery) => {
                let shown = match read.all.get("transforms").filter(|names| !names.trim().is_empty()) {
                    Some(names) => format!("Kafka Connect's {}, behind {names}", machinery.shown()),
                    None => format!("Kafka Connect's {}", machinery.shown()),
                };
                Some(Checked { settings, machinery, shown })
            }
            Err(wrong) => {
                read.complain(wrong, out);
                None
            }
        }
    }

    /// Records of a topic.
    #[expect(clippy::too_many_arguments, reason = "what records may depend on")]
    pub(super) fn connect_records(
        &self,
        format: &FormatSpec,
        options: &kafka::KafkaSinkOptions,
        key: Option<Key>,
        mode: Mode,
        input: &Shape,
        topics: &mut Topics,
        outline: &mut Outline,
        out: &mut Diagnostics,
    ) -> Option<SinkDraft<'a>> {
        let read = Settings::read(format, is_known, out)?;
        self.refuse_own_shape(out);
        let key = key?;
        let topic = options.topic.value.0.clone();
        // The chain says which topic it is, before anybody is asked about it.
        let routed = match Chain::new(&read.all) {
            Ok(chain) => chain.routed(&topic),
            Err(wrong) => {
                read.complain(wrong, out);
                return None;
            }
        };
        let by_record = routed.is_none();
        match by_record {
            true => self.expect_alone(&read, out)?,
            false => options.refuse_new_topics(&self.spec.connector.place, out),
        }
        let routed = routed.unwrap_or_else(|| topic.clone());
        if !kafka::TopicName::is_legal(&routed) {
            let title = format!("`transforms` send the records of `{topic}` to `{routed}`, which is no topic's name");
            out.push(Diagnostic::error("connect.topic", title).at(read.place("transforms")));
            return None;
        }
        let mut end = self.kafka_end(options, &routed, topics, outline, out)?;
        if by_record {
            end.sink.routes = Some(kafka::Routes::of(&options.new_topics, out)?);
        }
        let checked = self.checked(&read, Some(&end.connection), outline, out)?;
        let value = self.value_part(input, &topic, out)?;
        let (key, key_shown) = self.connect_key(&key, &value, input, &topic)?;
        let records = ConnectRecords {
            settings: checked.settings,
            topic,
            by_record,
            key,
            value,
            timestamp: self.connect_timestamp(input),
            headers: if self.keeps_headers(input) { Headers::Original } else { Headers::Nothing },
            mode,
            record_bytes_max: end.record_bytes_max,
        };
        if !by_record {
            self.note_connect(&end, &records, &checked.machinery, topics);
            self.add_topic(&end, mode, outline, out);
        }
        let mut needs = needs(&records);
        for template in compile_headers(&self.spec.headers, input, out)? {
            needs.extend(template.parts.iter().flat_map(TemplatePart::columns));
        }
        let from = by_record.then(|| format!("topics that each record names, from `{}`", end.topic));
        let mut draft = self.kafka_draft(end, mode, needs, EncodingDraft::Connect(records), checked.shown, key_shown);
        draft.outline.to = from.unwrap_or(draft.outline.to);
        Some(draft)
    }

    /// Topics that are met while records are written are in no transaction, and tell no restart anything.
    fn expect_alone(&self, read: &Settings<'_>, out: &mut Diagnostics) -> Option<()> {
        let pipeline = &self.scope.pipeline.spec;
        let in_file = pipeline.state.journal.as_ref().is_some_and(|journal| journal.value == JournalSpec::File);
        let by_journal = pipeline.restart.as_ref().is_none_or(|restart| restart.value == RestartSpec::Journal);
        if is_at_least_once(self.spec) && in_file && by_journal {
            return Some(());
        }
        out.push(
            Diagnostic::error("connect.topic_by_record", "`transforms` send each record to a topic of its own")
                .at(read.place("transforms"))
                .note("topics that are met while records are written are in no transaction: such a sink is at least once, and its journal a file")
                .hint("add `delivery: at_least_once` to the sink and `state: { journal: file }` to the pipeline; or route by a regex, which gives all records the same topic"),
        );
        None
    }

    /// Lines of a file or console, of the records that the rows came from.
    #[expect(clippy::too_many_arguments, reason = "what lines may depend on")]
    pub(super) fn connect_lines(
        &self,
        format: &FormatSpec,
        sink: Arc<dyn Sink>,
        to: String,
        mode: Mode,
        input: &Shape,
        outline: &mut Outline,
        out: &mut Diagnostics,
    ) -> Option<SinkDraft<'a>> {
        let read = Settings::read(format, is_known, out)?;
        self.original(input, out)?;
        let checked = self.checked(&read, None, outline, out)?;
        // What a file of lines lacks of a record is not there.
        let known: BTreeSet<&str> = input.columns.fields().iter().map(|field| field.name().as_str()).collect();
        let needs = NEEDS.iter().filter(|name| name.starts_with("__") || known.contains(**name));
        let needs = needs.map(|name| (*name).to_owned()).collect();
        let lines = Arc::new(ConnectLines { settings: checked.settings });
        Some(self.ready(sink, mode, needs, lines, to, checked.shown))
    }

    /// The dead letter's topic as Connect writes it.
    pub(super) fn connect_dead(
        &self,
        format: &FormatSpec,
        pipeline: String,
        out: &mut Diagnostics,
    ) -> Option<DeadRecords> {
        const HEADERS: &str = "errors.deadletterqueue.context.headers.enable";
        const NAME: &str = "name";
        let read = Settings::read(format, |key| [HEADERS, NAME].contains(&key), out)?;
        let connector = read.all.get(NAME).cloned().unwrap_or(pipeline);
        let headers = if read.is_true(HEADERS) { ConnectDead::Headers } else { ConnectDead::Bytes };
        Some(DeadRecords { connector, connect: Some(headers) })
    }

    /// Keys of the language that Connect's settings stand for.
    fn refuse_own_shape(&self, out: &mut Diagnostics) {
        let named = |schema: &crate::spec::SchemaRef| schema.file.is_some() || schema.subject.is_some();
        let schema = self.spec.schema.as_ref().filter(|schema| named(schema)).map(|schema| &schema.place);
        let key_format = self.spec.key_format.as_ref().map(|format| &format.name.place);
        for (key, place) in [("key_format", key_format), ("schema", schema)] {
            if let Some(place) = place {
                out.push(
                    Diagnostic::error("sink.key", format!("`{key}` means nothing here"))
                        .at(place)
                        .label("Kafka Connect's converters say how keys and values are written")
                        .hint("leave it out; `schema: {name, namespace, doc}` names the record"),
                );
            }
        }
    }

    /// What the value of a row is.
    fn value_part(&self, input: &Shape, topic: &str, out: &mut Diagnostics) -> Option<Part> {
        let columns: Vec<&Field> = user_fields(&input.columns).collect();
        let is_record = input.columns.metadata().contains_key(fields::RECORD);
        if let [only] = columns.as_slice()
            && !is_record
            && only.name() == "value"
        {
            let column = only.name().clone();
            let plain = |kind| {
                let schema = ConnectSchema { optional: only.is_nullable(), ..ConnectSchema::new(kind) };
                Some(Arc::new(schema))
            };
            match only.data_type() {
                arrow::datatypes::DataType::Utf8 if fields::is_json(only) => {
                    return Some(Part::Whole { column, schema: None });
                }
                arrow::datatypes::DataType::Utf8 => return Some(Part::Whole { column, schema: plain(Kind::String) }),
                arrow::datatypes::DataType::Binary => return Some(Part::Whole { column, schema: plain(Kind::Bytes) }),
                _ => {}
            }
        }
        let schema = self.row_schema(input, topic, out)?;
        Some(Part::Struct { columns: input.user_columns(), schema })
    }

    /// The schema of whole rows: that of the source's records as long as no column was touched, else one that is named after the topic.
    fn row_schema(&self, input: &Shape, topic: &str, out: &mut Diagnostics) -> Option<Arc<ConnectSchema>> {
        let asked = self.spec.schema.as_ref();
        let is_named =
            asked.is_some_and(|schema| schema.name.is_some() || schema.namespace.is_some() || schema.doc.is_some());
        let theirs = input.columns.metadata().get(fields::AVRO).filter(|_| !is_named);
        if let Some(schema) =
            theirs.and_then(|text| connect_schema(&AvroSchema::parse(text).ok()?, Dialect::default()).ok())
            && fits(&value_schema(input), &schema)
        {
            return Some(schema);
        }
        self.derived(&value_schema(input), topic, Side::Value, out)
    }

    /// The schema that our own Avro would have, as Connect reads it.
    fn derived(&self, rows: &Schema, topic: &str, side: Side, out: &mut Diagnostics) -> Option<Arc<ConnectSchema>> {
        let place = &self.spec.place;
        let text = codecs::derived_schema(rows, topic, side, self.spec.schema.as_ref(), place, out)?;
        let schema = AvroSchema::parse(&text)
            .and_then(|avro| connect_schema(&avro, Dialect::default()).map_err(|error| error.message));
        match schema {
            Ok(schema) => Some(schema),
            Err(why) => {
                out.push(
                    Diagnostic::error("connect.schema", format!("the rows have no schema of Kafka Connect: {why}"))
                        .at(place),
                );
                None
            }
        }
    }

    fn connect_key(&self, key: &Key, value: &Part, input: &Shape, topic: &str) -> Option<(Part, String)> {
        let columns = match key {
            // As Connect's generator does it; the other sources say nothing of the key's type.
            Key::Nothing => {
                let is_made = self.connectors(input).any(|connector| connector == "datagen");
                let text = is_made.then(|| Arc::new(ConnectSchema::optional(Kind::String)));
                return Some((Part::Null(text), String::new()));
            }
            Key::Original => return Some((Part::Original, "the record's own".into())),
            Key::Columns(columns) => columns,
        };
        let shown = columns.join(", ");
        let schema = match value {
            Part::Struct { schema, .. } => schema.clone(),
            _ => return Some((value.clone(), shown)),
        };
        let field = |name: &String| schema.field(name).cloned();
        let part = match columns.as_slice() {
            [column] => Part::Whole { column: column.clone(), schema: Some(field(column)?.schema) },
            columns => {
                let fields: Option<Vec<_>> = columns.iter().map(field).collect();
                let name = format!("{}_key", schemas::record_name(topic));
                let key = ConnectSchema { name: Some(name), ..ConnectSchema::new(Kind::Struct(fields?)) };
                Part::Struct { columns: columns.to_vec(), schema: Arc::new(key) }
            }
        };
        Some((part, shown))
    }

    /// Rows whose time is only the epoch's clock have none, as in Connect: the producer says when they are sent.
    fn connect_timestamp(&self, input: &Shape) -> Timestamp {
        let sources = &self.scope.pipeline.spec.sources;
        let has_time = |index: &usize| {
            let source = &sources[*index];
            // The file connector of Connect says when it read a line.
            ["kafka", "file"].contains(&source.connector.value.as_str())
                || source.time.as_ref().is_some_and(|time| time.field.is_some())
        };
        match input.group.is_none() && !input.sources.iter().all(has_time) {
            true => Timestamp::Now,
            false => timestamp(input),
        }
    }

    /// Tells readers of the same command that the topic will be there, and what is in it where that is known.
    fn note_connect(&self, end: &KafkaEnd, records: &ConnectRecords, machinery: &Machinery, topics: &mut Topics) {
        let schema = match &records.value {
            Part::Struct { schema, .. } if machinery.writes_avro() => {
                avro_schema(schema, records.settings.avro_dialect()).ok().map(|json| json.to_string())
            }
            _ => None,
        };
        let pipeline = &self.scope.pipeline.metadata.name.value;
        topics.add_written(
            &end.topic,
            topics::Written {
                by: format!("sink `{}` of `{pipeline}`", self.spec.name.value),
                brokers: end.cluster.brokers.clone(),
                format: None,
                columns: None,
                schema,
            },
        );
    }
}

/// True if the schema is of these columns.
fn fits(rows: &Schema, schema: &ConnectSchema) -> bool {
    let same = |(column, field): (&Arc<Field>, &crate::kafka_connect::Field)| {
        fields::name(column) == field.name && check_column(column.data_type(), &field.schema).is_ok()
    };
    rows.fields().len() == schema.fields().len() && rows.fields().iter().zip(schema.fields()).all(same)
}

fn needs(records: &ConnectRecords) -> BTreeSet<String> {
    let mut needs = BTreeSet::new();
    for (part, original) in [(&records.key, meta::KEY_BYTES), (&records.value, meta::VALUE_BYTES)] {
        match part {
            Part::Null(_) => {}
            Part::Original => needs.extend([original.to_owned()]),
            Part::Struct { columns, .. } => needs.extend(columns.iter().cloned()),
            Part::Whole { column, .. } => needs.extend([column.clone()]),
        }
    }
    needs.extend(super::topic::timestamp_need(&records.timestamp));
    if matches!(records.headers, Headers::Original) {
        needs.insert(meta::HEADERS_LIST.into());
    }
    needs
}

/// The headers of a sink over the columns that are left in the end.
pub(super) fn made_headers(templates: Vec<HeaderTemplate>, out: &mut Diagnostics, place: &Place) -> Option<Headers> {
    let made = templates.into_iter().map(|HeaderTemplate { name, parts }| {
        let value = match parts.as_slice() {
            [TemplatePart::Value(scalar)] => {
                let rows = Schema::new(vec![scalar.field("value")]);
                let text = codecs::derived_schema(&rows, "header", Side::Value, None, place, out)?;
                let schema = connect_schema(&AvroSchema::parse(&text).ok()?, Dialect::default()).ok()?;
                HeaderPart::Typed(scalar.clone(), schema.fields()[0].schema.clone())
            }
            _ => HeaderPart::Text(parts),
        };
        Some(HeaderSpec { name, value })
    });
    Some(Headers::Made(made.collect::<Option<Vec<_>>>()?))
}
