//! Sinks: mode, key, format, schema, and the records that come of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use super::codecs::{Chosen, Writing};
use super::columns::user_fields;
use super::expressions::compile;
use super::modes::{self, Key};
use super::schemas::{self, Search};
use super::shape::Shape;
use super::topics::{self, Topics};
use super::{Scope, codecs, connections, of_failure};
use crate::connectors::console::Console;
use crate::connectors::discard::Discard;
use crate::connectors::{Delivery, Sink, file, kafka};
use crate::data::meta;
use crate::formats::Format;
use crate::plan::bodies::{ConsoleOptions, DiscardOptions, FileOptions};
use crate::plan::outline::{Outline, SinkOutline, TopicOutline, TopicState};
use crate::plan::records::dead::{DeadLines, DeadRecords};
use crate::plan::records::kafka::{Headers, KafkaRecords, Part, Timestamp};
use crate::plan::records::lines::{Counted, Lines, OpenTable};
use crate::plan::records::reason::WithReason;
use crate::plan::records::template::{HeaderTemplate, Stretch, TemplatePart, stretches};
use crate::plan::resolve::{Answer, Cluster};
use crate::plan::{Input, JournalPlace, Mode, RecordEncoding, SinkPlan};
use crate::registry::Side;
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{DeliverySpec, Document, FormatSpec, FromNode, SinkSpec, Spanned, TopicSpec};

/// Largest record where the topic does not say: what a producer sends by default.
const RECORD_BYTES_MAX: usize = 1_000_000;

/// A sink that checked.
#[derive(Debug)]
pub(super) struct SinkDraft<'a> {
    spec: &'a SinkSpec,
    sink: Arc<dyn Sink>,
    mode: Mode,
    /// Columns and metadata that it needs of its input.
    needs: BTreeSet<String>,
    encoding: EncodingDraft,
    /// Of a transactional sink.
    cluster: Option<Cluster>,
    outline: SinkOutline,
}

#[derive(Debug)]
enum EncodingDraft {
    Ready(Arc<dyn RecordEncoding>),
    /// Its headers are compiled against the columns that are left in the end.
    Kafka(KafkaRecords),
}

/// Checks a sink.
pub(super) fn draft<'a>(
    scope: &Scope,
    spec: &'a SinkSpec,
    input: &Shape,
    topics: &mut Topics,
    outline: &mut Outline,
    out: &mut Diagnostics,
) -> Option<SinkDraft<'a>> {
    let mode = modes::mode(spec, input, out);
    let check = SinkCheck { scope, spec };
    check.refuse_later(out);
    match spec.connector.value.as_str() {
        "kafka" => check.kafka(mode?, input, topics, outline, out),
        "console" => check.console(mode?, input, out),
        "file" => check.file(mode?, input, out),
        "discard" => check.discard(mode?, out),
        other => {
            out.push(unknown_connector(spec, other));
            None
        }
    }
}

/// Checks the dead letter's sink.
pub(super) fn draft_dead<'a>(
    scope: &Scope,
    spec: &'a SinkSpec,
    topics: &Topics,
    outline: &mut Outline,
    out: &mut Diagnostics,
) -> Option<SinkDraft<'a>> {
    let check = SinkCheck { scope, spec };
    check.refuse_later(out);
    check.refuse_shaping("a dead letter keeps its bytes, key and headers", out);
    let ready = |sink: Arc<dyn Sink>, encoding: Arc<dyn RecordEncoding>, to: String| SinkDraft {
        spec,
        outline: SinkOutline {
            connector: sink.connector(),
            from: String::new(),
            to,
            format: "original bytes".into(),
            key: String::new(),
            guarantee: guarantee(sink.delivery()).into(),
        },
        sink,
        mode: Mode::Append,
        needs: BTreeSet::new(),
        encoding: EncodingDraft::Ready(encoding),
        cluster: None,
    };
    match spec.connector.value.as_str() {
        "kafka" => {
            let options = kafka::KafkaSinkOptions::from_node(&spec.body, out)?;
            let end = check.kafka_end(&options, topics, outline, out)?;
            let pipeline = scope.pipeline.metadata.name.value.clone();
            check.add_topic(&end, Mode::Append, outline, out);
            let draft = ready(Arc::new(end.sink), Arc::new(DeadRecords { pipeline }), format!("topic `{}`", end.topic));
            Some(SinkDraft { cluster: Some(end.cluster), ..draft })
        }
        "console" => {
            let options = ConsoleOptions::from_node(&spec.body, out)?;
            Some(ready(Arc::new(Console::new(options.limit)), Arc::new(DeadLines), "console".into()))
        }
        "file" => {
            let options = FileOptions::from_node(&spec.body, out)?;
            let path = scope.pipeline.folder.join(&options.path.value);
            let sink = file::FileSink::new(path, None);
            Some(ready(Arc::new(sink), Arc::new(DeadLines), format!("file `{}`", options.path.value)))
        }
        "discard" => {
            DiscardOptions::from_node(&spec.body, out)?;
            let counted = Arc::new(Counted { mode: Mode::Append });
            Some(ready(Arc::new(Discard::default()), counted, "discarded, counted".into()))
        }
        other => {
            out.push(unknown_connector(spec, other));
            None
        }
    }
}

fn unknown_connector(spec: &SinkSpec, name: &str) -> Diagnostic {
    Diagnostic::error("sink.connector", format!("`{name}` cannot be a sink"))
        .at(&spec.connector.place)
        .note("sinks are kafka, file, console and discard")
}

struct SinkCheck<'s, 'a> {
    scope: &'s Scope<'s>,
    spec: &'a SinkSpec,
}

/// A topic to write, and what is known of it.
struct KafkaEnd<'t> {
    topic: String,
    cluster: Cluster,
    connection: connections::Connection,
    document: Option<&'t Document<TopicSpec>>,
    sink: kafka::KafkaSink,
    record_bytes_max: usize,
}

impl<'a> SinkCheck<'_, 'a> {
    fn console(&self, mode: Mode, input: &Shape, out: &mut Diagnostics) -> Option<SinkDraft<'a>> {
        self.refuse_keys(out);
        let options = ConsoleOptions::from_node(&self.spec.body, out)?;
        let columns = input.user_columns();
        let (encoder, format): (Arc<dyn crate::plan::OpenEncoder>, String) = match &self.spec.format {
            None => (Arc::new(OpenTable::default()), "aligned text".into()),
            Some(format) => {
                let writing = self.plain(format, input, out)?;
                (writing.encoder(), writing.describe())
            }
        };
        let lines = Lines { columns: columns.clone(), encoder, mode };
        let sink: Arc<dyn Sink> = Arc::new(Console::new(options.limit));
        Some(self.ready(sink, mode, columns.into_iter().collect(), Arc::new(lines), "console".into(), format))
    }

    fn discard(&self, mode: Mode, out: &mut Diagnostics) -> Option<SinkDraft<'a>> {
        self.refuse_keys(out);
        DiscardOptions::from_node(&self.spec.body, out)?;
        let sink: Arc<dyn Sink> = Arc::new(Discard::default());
        let counted = Arc::new(Counted { mode });
        Some(self.ready(sink, mode, BTreeSet::new(), counted, "discarded, counted".into(), "none".into()))
    }

    fn file(&self, mode: Mode, input: &Shape, out: &mut Diagnostics) -> Option<SinkDraft<'a>> {
        self.refuse_keys(out);
        let options = FileOptions::from_node(&self.spec.body, out)?;
        let Some(format) = &self.spec.format else {
            out.push(topics::no_format(&self.spec.name, &self.spec.place, "file"));
            return None;
        };
        if options.path.value.contains("${") {
            out.push(crate::spec::not_available("`${…}` in a file's path", &options.path.place));
            return None;
        }
        let writing = self.plain(format, input, out)?;
        let path = self.scope.pipeline.folder.join(&options.path.value);
        let sink: Arc<dyn Sink> = Arc::new(file::FileSink::new(path, writing.header_line()));
        let columns = writing.columns();
        let lines = Lines { columns: columns.clone(), encoder: writing.encoder(), mode };
        let needs = columns.into_iter().collect();
        Some(self.ready(
            sink,
            mode,
            needs,
            Arc::new(lines),
            format!("file `{}`", options.path.value),
            writing.describe(),
        ))
    }

    /// A format without a registry, for files and consoles.
    fn plain(&self, format: &FormatSpec, input: &Shape, out: &mut Diagnostics) -> Option<Writing> {
        let place = &format.name.place;
        match codecs::format(format, true, out)? {
            Chosen::Codec(codec) if codec != Format::Avro => Writing::plain(codec, &value_schema(input), place, out),
            _ => {
                let what = format!("`format: {}` on `{}`", format.name.value, self.spec.connector.value);
                out.push(crate::spec::not_available(&what, place));
                None
            }
        }
    }

    fn ready(
        &self,
        sink: Arc<dyn Sink>,
        mode: Mode,
        needs: BTreeSet<String>,
        encoding: Arc<dyn RecordEncoding>,
        to: String,
        format: String,
    ) -> SinkDraft<'a> {
        let outline = SinkOutline {
            connector: sink.connector(),
            from: self.spec.from.as_ref().map(super::shown_input).unwrap_or_default(),
            to,
            format,
            key: String::new(),
            guarantee: guarantee(sink.delivery()).into(),
        };
        SinkDraft {
            spec: self.spec,
            sink,
            mode,
            needs,
            encoding: EncodingDraft::Ready(encoding),
            cluster: None,
            outline,
        }
    }

    fn kafka(
        &self,
        mode: Mode,
        input: &Shape,
        topics: &mut Topics,
        outline: &mut Outline,
        out: &mut Diagnostics,
    ) -> Option<SinkDraft<'a>> {
        let options = kafka::KafkaSinkOptions::from_node(&self.spec.body, out)?;
        let source = self.scope.pipeline.spec.sources[input.source].connector.value.as_str();
        let key = modes::key(self.spec, input, source == "kafka", mode, out);
        let end = self.kafka_end(&options, topics, outline, out)?;
        let declared = end.document.map(|document| &document.spec);
        let format_spec = topics::format(
            "format",
            self.spec.format.as_ref(),
            declared.and_then(|topic| topic.format.as_ref()),
            None,
            out,
        );
        let Some(format_spec) = format_spec else {
            out.push(topics::no_format(&self.spec.name, &self.spec.place, "kafka"));
            return None;
        };
        let format = codecs::format(format_spec, true, out)?;
        let is_avro = format == Chosen::Codec(Format::Avro);
        let (value, shown, schema) = match format {
            Chosen::Original => (self.original(input, out)?, "original bytes".to_owned(), None),
            Chosen::Codec(Format::Avro) => {
                let writing = self.avro(&end, &value_schema(input), Side::Value, outline, out)?;
                (writing.part(), writing.describe(), writing.avro_schema())
            }
            Chosen::Codec(codec) => {
                let writing = Writing::plain(codec, &value_schema(input), &format_spec.name.place, out)?;
                (writing.part(), writing.describe(), None)
            }
        };
        let key_spec = topics::format(
            "key_format",
            self.spec.key_format.as_ref(),
            declared.and_then(|topic| topic.key_format.as_ref()),
            None,
            out,
        );
        let key = key?;
        let (key_part, key_shown) = self.key_part(&key, key_spec, is_avro, &end, input, outline, out)?;
        self.note_written(&end, format_spec, input, schema, topics);
        self.add_topic(&end, mode, outline, out);

        let records = KafkaRecords {
            key: key_part,
            value,
            timestamp: timestamp(input),
            headers: if input.group.is_none() && source == "kafka" && self.spec.headers.is_empty() {
                Headers::Original
            } else {
                Headers::Nothing
            },
            mode,
            record_bytes_max: end.record_bytes_max,
        };
        let mut needs = record_needs(&records);
        for template in self.headers(input, out)? {
            needs.extend(template.parts.iter().flat_map(|part| match part {
                TemplatePart::Value(scalar) => scalar.columns().to_vec(),
                TemplatePart::Text(_) => Vec::new(),
            }));
        }
        let sink_outline = SinkOutline {
            connector: "kafka",
            from: self.spec.from.as_ref().map(super::shown_input).unwrap_or_default(),
            to: format!("topic `{}`", end.topic),
            format: shown,
            key: key_shown,
            guarantee: guarantee(Delivery::Transaction).into(),
        };
        Some(SinkDraft {
            spec: self.spec,
            sink: Arc::new(end.sink),
            mode,
            needs,
            encoding: EncodingDraft::Kafka(records),
            cluster: Some(end.cluster),
            outline: sink_outline,
        })
    }

    fn kafka_end<'t>(
        &self,
        options: &kafka::KafkaSinkOptions,
        topics: &Topics<'t>,
        outline: &mut Outline,
        out: &mut Diagnostics,
    ) -> Option<KafkaEnd<'t>> {
        let topic = options.topic.value.0.clone();
        let document = topics.declared(&topic);
        let named = self.spec.connection.as_ref().or(document.and_then(|d| d.spec.connection.as_ref()));
        let place = &self.spec.connector.place;
        let connection = connections::find(named, place, Some(&self.scope.pipeline.spec), self.scope.documents, out)?;
        let cluster = connection.cluster(self.scope.world, out)?;
        codecs::add_connection(outline, &connection, &cluster);
        let sink = kafka::KafkaSink {
            cluster: codecs::client(&cluster, place, out)?,
            topic: topic.clone(),
            properties: options.properties.as_ref().map(kafka::Properties::to_map).unwrap_or_default(),
        };
        let declared_max = document
            .and_then(|d| d.spec.config.iter().find(|(name, _)| name.value == "max.message.bytes"))
            .and_then(|(_, bytes)| bytes.to_string().parse().ok());
        let record_bytes_max = sink
            .properties
            .get("message.max.bytes")
            .or_else(|| cluster.properties.get("message.max.bytes"))
            .and_then(|bytes| bytes.parse().ok())
            .or(declared_max)
            .unwrap_or(RECORD_BYTES_MAX);
        Some(KafkaEnd { topic, cluster, connection, document, sink, record_bytes_max })
    }

    /// The bytes of the record that a row came from.
    fn original(&self, input: &Shape, out: &mut Diagnostics) -> Option<Part> {
        let source = self.scope.pipeline.spec.sources[input.source].connector.value.as_str();
        if input.group.is_none() && source != "datagen" {
            return Some(Part::Original(meta::VALUE_BYTES));
        }
        out.push(
            Diagnostic::error("format.original", "`format: original` needs rows that come from one record each")
                .at(&self.spec.place)
                .note("rows of an aggregate or of datagen have no original bytes"),
        );
        None
    }

    fn avro(
        &self,
        end: &KafkaEnd,
        rows: &Schema,
        side: Side,
        outline: &mut Outline,
        out: &mut Diagnostics,
    ) -> Option<Writing> {
        let (schema, folder) = match (&self.spec.schema, end.document) {
            _ if side == Side::Key => (None, self.scope.pipeline.folder.as_path()),
            (None, Some(document)) => (document.spec.schema.as_ref(), document.folder.as_path()),
            (own, _) => (own.as_ref(), self.scope.pipeline.folder.as_path()),
        };
        let place = schema.map_or(&self.spec.place, |schema| &schema.place);
        let registries = schemas::registries(self.scope, &end.connection, out)?;
        codecs::add_registry(outline, &end.connection, &registries);
        let subject = schemas::subject(&end.topic, side);
        let wanted =
            schemas::Wanted { scope: self.scope, schema, folder, subject: &subject, registries: &registries, place };
        let text = match wanted.of_sink(out)? {
            Some(Search::Found(found)) => {
                let pinned = schemas::columns_of(&found, place, out)?;
                let rows: Vec<&Field> = user_fields(rows).collect();
                if !schemas::check_fit(&rows, &pinned, &found, place, out) {
                    return None;
                }
                found.text
            }
            Some(Search::NotAsked(what)) => {
                outline.unchecked.push(format!("{what}, which `{}` writes", self.spec.name.value));
                codecs::derived_schema(rows, &end.topic, side, schema, place, out)?
            }
            None => codecs::derived_schema(rows, &end.topic, side, schema, place, out)?,
        };
        let register = schema.and_then(|schema| schema.register).unwrap_or(true);
        let planned = schemas::plan_subject(&registries, wanted.subject().to_owned(), text, register, place, out)?;
        let writing = Writing::avro(&planned, rows, place, out);
        codecs::add_subject(outline, planned);
        writing
    }

    #[expect(clippy::too_many_arguments, reason = "what a key may depend on")]
    fn key_part(
        &self,
        key: &Key,
        format: Option<&FormatSpec>,
        is_avro: bool,
        end: &KafkaEnd,
        input: &Shape,
        outline: &mut Outline,
        out: &mut Diagnostics,
    ) -> Option<(Part, String)> {
        let columns = match key {
            Key::Nothing => return Some((Part::Nothing, String::new())),
            Key::Original => return Some((Part::Original(meta::KEY_BYTES), "the record's own".into())),
            Key::Columns(columns) => columns,
        };
        let fields: Option<Vec<Field>> =
            columns.iter().map(|name| input.columns.field_with_name(name).ok().cloned()).collect();
        let rows = Schema::new(fields?);
        let format = match format {
            Some(format) => match codecs::format(format, false, out)? {
                Chosen::Codec(codec) => codec,
                Chosen::Original => return None,
            },
            None => codecs::default_key_format(is_avro, columns.len()),
        };
        let writing = match format {
            Format::Avro => self.avro(end, &rows, Side::Key, outline, out)?,
            codec => Writing::plain(codec, &rows, &self.spec.place, out)?,
        };
        Some((writing.part(), format!("{} ({})", columns.join(", "), writing.describe())))
    }

    fn note_written(
        &self,
        end: &KafkaEnd,
        format: &FormatSpec,
        input: &Shape,
        schema: Option<String>,
        topics: &mut Topics,
    ) {
        let pipeline = &self.scope.pipeline.metadata.name.value;
        topics.add_written(
            &end.topic,
            topics::Written {
                by: format!("sink `{}` of `{pipeline}`", self.spec.name.value),
                brokers: end.cluster.brokers.clone(),
                format: format.clone(),
                columns: Arc::new(value_schema(input)),
                schema,
            },
        );
    }

    fn add_topic(&self, end: &KafkaEnd, mode: Mode, outline: &mut Outline, out: &mut Diagnostics) {
        let place = &self.spec.connector.place;
        let declared = end.document.map(|document| &document.spec);
        let state = match self.scope.world.topic(&end.cluster, &end.topic) {
            Ok(Answer::Known(Some(info))) => {
                self.warn_of_topic(&info, mode, end, out);
                TopicState::Exists(info)
            }
            Ok(Answer::Known(None)) if declared.is_some_and(|topic| !topic.create) => {
                out.push(
                    Diagnostic::error("kafka.no_topic", format!("there is no topic `{}`", end.topic))
                        .at(place)
                        .note("its Topic document says `create: false`"),
                );
                TopicState::NotAsked
            }
            Ok(Answer::Known(None)) => TopicState::Create,
            Ok(Answer::NotAsked) => TopicState::NotAsked,
            Err(failure) => {
                out.push(of_failure(failure, place));
                TopicState::NotAsked
            }
        };
        let mut topic = TopicOutline::of(end.cluster.clone(), &end.topic, state, declared);
        if mode == Mode::Upsert {
            topic.config.entry("cleanup.policy".into()).or_insert_with(|| "compact".into());
        }
        codecs::add_topic(outline, topic);
    }

    fn warn_of_topic(&self, info: &crate::plan::resolve::TopicInfo, mode: Mode, end: &KafkaEnd, out: &mut Diagnostics) {
        let place = &self.spec.connector.place;
        if mode == Mode::Upsert && !info.compacted {
            out.push(
                Diagnostic::warning("kafka.not_compacted", format!("topic `{}` is not compacted", end.topic))
                    .at(place)
                    .label("`mode: upsert` writes the newest row of each key")
                    .note("rows that do not change are lost when the topic's retention is over"),
            );
        }
        if info.log_append_time {
            out.push(
                Diagnostic::warning("kafka.append_time", format!("topic `{}` puts its own time on records", end.topic))
                    .at(place)
                    .label("the event time is lost")
                    .hint("set `message.timestamp.type=CreateTime` on the topic"),
            );
        }
    }

    /// Header templates, compiled against a shape.
    fn headers(&self, input: &Shape, out: &mut Diagnostics) -> Option<Vec<HeaderTemplate>> {
        compile_headers(&self.spec.headers, input, out)
    }

    fn refuse_later(&self, out: &mut Diagnostics) {
        let Some(delivery) = &self.spec.delivery else { return };
        let is_kafka = self.spec.connector.value == "kafka";
        match (delivery.value, self.spec.connector.value.as_str()) {
            (DeliverySpec::AtLeastOnce, _) if is_kafka => out.push(
                crate::spec::not_available("`delivery: at_least_once` on `kafka`", &delivery.place)
                    .hint("leave it out: records are written exactly once"),
            ),
            (DeliverySpec::ExactlyOnce, "console" | "discard") => out.push(
                Diagnostic::error("sink.delivery", format!("`{}` cannot be exactly once", self.spec.connector.value))
                    .at(&delivery.place)
                    .note("what was printed before a crash cannot be taken back"),
            ),
            _ => {}
        }
    }

    /// Keys, headers and schemas mean nothing for lines.
    fn refuse_keys(&self, out: &mut Diagnostics) {
        self.refuse_shaping(&format!("`{}` writes values only", self.spec.connector.value), out);
    }

    fn refuse_shaping(&self, why: &str, out: &mut Diagnostics) {
        let spec = self.spec;
        let written = [
            ("key", spec.key.as_ref().map(|key| &key.place)),
            ("key_format", spec.key_format.as_ref().map(|format| &format.name.place)),
            ("headers", spec.headers.first().map(|(name, _)| &name.place)),
            ("schema", spec.schema.as_ref().map(|schema| &schema.place)),
        ];
        for (key, place) in written {
            if let Some(place) = place {
                out.push(
                    Diagnostic::error("sink.key", format!("`{key}` means nothing here"))
                        .at(place)
                        .label(why)
                        .hint("leave it out"),
                );
            }
        }
    }
}

/// The user's columns of the rows.
fn value_schema(input: &Shape) -> Schema {
    Schema::new(user_fields(&input.columns).cloned().collect::<Vec<_>>())
}

fn timestamp(input: &Shape) -> Timestamp {
    match &input.group {
        None => Timestamp::EventTime,
        Some(group) => group.window_end.clone().map_or(Timestamp::Now, Timestamp::WindowEnd),
    }
}

fn record_needs(records: &KafkaRecords) -> BTreeSet<String> {
    let mut needs = BTreeSet::new();
    for part in [&records.key, &records.value] {
        match part {
            Part::Nothing => {}
            Part::Original(column) => needs.extend([column.to_string()]),
            Part::Columns { columns, .. } => needs.extend(columns.iter().cloned()),
        }
    }
    match &records.timestamp {
        Timestamp::Now => {}
        Timestamp::EventTime => needs.extend([meta::TIME.to_owned()]),
        Timestamp::WindowEnd(column) => needs.extend([column.clone()]),
    }
    if matches!(records.headers, Headers::Original) {
        needs.insert(meta::HEADERS_LIST.into());
    }
    needs
}

fn compile_headers(
    headers: &[(Spanned<String>, Spanned<String>)],
    input: &Shape,
    out: &mut Diagnostics,
) -> Option<Vec<HeaderTemplate>> {
    let compiled: Vec<_> = headers.iter().map(|(name, text)| compile_header(name, text, input, out)).collect();
    compiled.into_iter().collect()
}

fn compile_header(
    name: &Spanned<String>,
    text: &Spanned<String>,
    input: &Shape,
    out: &mut Diagnostics,
) -> Option<HeaderTemplate> {
    let found = match stretches(&text.value) {
        Ok(found) => found,
        Err(span) => {
            out.push(Diagnostic::error("headers.open", "a `${` is not closed by `}`").at(&text.part(span)));
            return None;
        }
    };
    let parts: Option<Vec<TemplatePart>> = found
        .into_iter()
        .map(|(stretch, span)| match stretch {
            Stretch::Text(text) => Some(TemplatePart::Text(text.into())),
            Stretch::Expr(expression) => {
                let place = text.part(span);
                if asks_the_clock(expression) {
                    out.push(
                        Diagnostic::error("headers.clock", "a header cannot ask for the time of writing")
                            .at(&place)
                            .hint("use `_time`, or add a column with the time and name that"),
                    );
                    return None;
                }
                compile(&Spanned { value: expression.into(), place }, &input.columns, out).map(TemplatePart::Value)
            }
        })
        .collect();
    Some(HeaderTemplate { name: name.value.clone(), parts: parts? })
}

/// Records are encoded in the lane, where the epoch's clock is not known.
fn asks_the_clock(expression: &str) -> bool {
    let lower = expression.to_lowercase();
    ["now(", "current_timestamp", "current_date", "current_time"].iter().any(|word| lower.contains(word))
}

fn guarantee(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Transaction => "exactly once (in one transaction with the journal)",
        Delivery::Remembers => "exactly once (remembers its epoch)",
        Delivery::AtLeastOnce => "at least once (after a crash the last epoch may come again)",
    }
}

impl SinkDraft<'_> {
    pub fn needs(&self) -> &BTreeSet<String> {
        &self.needs
    }

    /// The sink over the columns that are left in the end.
    pub fn plan(self, input: Input, shape: &Shape, outline: &mut Outline, out: &mut Diagnostics) -> Option<SinkPlan> {
        let encode: Arc<dyn RecordEncoding> = match self.encoding {
            EncodingDraft::Ready(encoding) => encoding,
            EncodingDraft::Kafka(mut records) => {
                let templates = compile_headers(&self.spec.headers, shape, out)?;
                if !templates.is_empty() {
                    records.headers = Headers::Templates(templates);
                }
                Arc::new(records)
            }
        };
        let encode = match input {
            Input::Late(_) => Arc::new(WithReason(encode)) as Arc<dyn RecordEncoding>,
            _ => encode,
        };
        outline.sinks.push(self.outline);
        Some(SinkPlan {
            name: self.spec.name.value.clone(),
            input: Some(input),
            sink: self.sink,
            encode,
            mode: self.mode,
        })
    }

    pub fn plan_dead(self, outline: &mut Outline) -> Option<SinkPlan> {
        let EncodingDraft::Ready(encode) = self.encoding else { return None };
        outline.sinks.push(self.outline);
        Some(SinkPlan { name: self.spec.name.value.clone(), input: None, sink: self.sink, encode, mode: self.mode })
    }
}

/// Where the journal is: beside the transactional sinks, or in the state directory.
pub(super) fn journal<'d>(
    scope: &Scope,
    drafts: impl Iterator<Item = &'d SinkDraft<'d>>,
    out: &mut Diagnostics,
) -> Option<JournalPlace> {
    let mut first: Option<&Cluster> = None;
    for draft in drafts {
        match (first, &draft.cluster) {
            (None, Some(cluster)) => first = Some(cluster),
            (Some(first), Some(other)) if first.brokers != other.brokers => {
                out.push(
                    crate::spec::not_available("one pipeline that writes two Kafka clusters", &draft.spec.place)
                        .note(format!("the clusters are {} and {}", first.shown, other.shown))
                        .hint("write a pipeline for each"),
                );
                return None;
            }
            _ => {}
        }
    }
    let Some(cluster) = first else { return Some(JournalPlace::File(scope.state_dir.join("journal"))) };
    let metadata = &scope.pipeline.metadata;
    let id = format!("runner.{}.{}", metadata.namespace, metadata.name.value);
    Some(JournalPlace::Kafka {
        connection: cluster.connection.clone(),
        topic: format!("{id}.journal"),
        transactional_id: format!("{id}.0"),
        brokers: cluster.brokers.clone(),
        properties: cluster.properties.clone(),
    })
}
