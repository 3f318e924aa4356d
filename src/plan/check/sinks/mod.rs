//! Sinks: mode, key, format, schema, and the records that come of it.

mod connect;
mod places;
mod topic;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use super::codecs::{Chosen, Writing};
use super::columns::user_fields;
use super::expressions::compile;
use super::modes::{self, Key};
use super::schemas::{self, Search};
use super::shape::Shape;
use super::topics::{self, Topics};
use super::{Scope, codecs, connections, of_failure, restart};
use crate::connectors::console::Console;
use crate::connectors::discard::Discard;
use crate::connectors::{Delivery, Sink, file, kafka};
use crate::data::meta;
use crate::formats::Format;
use crate::plan::bodies::{ConsoleOptions, DiscardOptions, FileSinkOptions};
use crate::plan::outline::{Outline, SinkOutline, TopicOutline, TopicState};
use crate::plan::records::connect::written::ConnectRecords;
use crate::plan::records::dead::{DeadLines, DeadRecords};
use crate::plan::records::kafka::{Headers, KafkaRecords, Part, Timestamp};
use crate::plan::records::lines::{Counted, Lines, OpenTable, OriginalLines};
use crate::plan::records::template::{HeaderTemplate, Stretch, TemplatePart, stretches};
use crate::plan::resolve::{Answer, Cluster};
use crate::plan::{Input, JournalPlace, Mode, RecordEncoding, SinkPlan};
use crate::registry::Side;
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{
    DeliverySpec, Document, FormatSpec, FromNode, JournalSpec, RestartSpec, SinkSpec, Spanned, TopicSpec,
};

use self::connect::CONNECT;
pub(super) use self::places::settle;

/// The format of the bytes that came.
const ORIGINAL: &str = "original";
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
    /// Of a Kafka sink: its cluster, and the sink before it is known how it is written.
    kafka: Option<(Cluster, kafka::KafkaSink)>,
    outline: SinkOutline,
}

#[derive(Debug)]
enum EncodingDraft {
    Ready(Arc<dyn RecordEncoding>),
    /// Its headers are compiled against the columns that are left in the end.
    Kafka(KafkaRecords),
    Connect(ConnectRecords),
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
    check.refuse_delivery(out);
    let mut draft = match spec.connector.value.as_str() {
        "kafka" => check.kafka(mode?, input, topics, outline, out),
        "console" => check.console(mode?, input, outline, out),
        "file" => check.file(mode?, input, outline, out),
        "discard" => check.discard(mode?, out),
        other => {
            out.push(unknown_connector(spec, other));
            None
        }
    }?;
    if spec.every.is_some() && input.group.as_ref().is_some_and(|group| group.windowed) {
        // The table before it asks which windows have closed.
        draft.needs.insert(meta::TIME.to_owned());
    }
    Some(draft)
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
    check.refuse_delivery(out);
    check.refuse_shaping("a dead letter keeps its bytes, key and headers", out);
    check.refuse_dead_format(out);
    if let Some(every) = &spec.every {
        let error = Diagnostic::error("modes.every", "`every` spaces rows that change, and dead letters do not");
        out.push(error.at(&every.place).hint("leave it out"));
    }
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
        kafka: None,
    };
    match spec.connector.value.as_str() {
        "kafka" => {
            let options = kafka::KafkaSinkOptions::from_node(&spec.body, out)?;
            options.refuse_new_topics(&spec.connector.place, out);
            let end = check.kafka_end(&options, &options.topic.value.0, topics, outline, out)?;
            let pipeline = scope.pipeline.metadata.name.value.clone();
            let records = match check.is_connect() {
                Some(format) => check.connect_dead(format, pipeline, out)?,
                None => DeadRecords { connector: pipeline, connect: None },
            };
            check.add_topic(&end, Mode::Append, outline, out);
            let to = format!("topic `{}`", end.topic);
            let draft = ready(Arc::new(end.sink.clone()), Arc::new(records), to);
            Some(SinkDraft { kafka: Some((end.cluster, end.sink)), ..draft })
        }
        "console" => {
            let options = ConsoleOptions::from_node(&spec.body, out)?;
            Some(ready(Arc::new(Console::new(options.limit)), Arc::new(DeadLines), "console".into()))
        }
        "file" => {
            let options = FileSinkOptions::from_node(&spec.body, out)?;
            let path = scope.pipeline.folder.join(&options.path.value);
            let sink = check.file_sink(path, None, options.append);
            Some(ready(sink, Arc::new(DeadLines), format!("file `{}`", options.path.value)))
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

impl<'a> SinkCheck<'_, 'a> {
    fn console(
        &self,
        mode: Mode,
        input: &Shape,
        outline: &mut Outline,
        out: &mut Diagnostics,
    ) -> Option<SinkDraft<'a>> {
        self.refuse_keys(out);
        let options = ConsoleOptions::from_node(&self.spec.body, out)?;
        if self.is_original() {
            let format = self.original(input, out)?;
            let sink: Arc<dyn Sink> = Arc::new(Console::new(options.limit));
            return Some(self.ready_original(sink, mode, "console".into(), format));
        }
        if let Some(format) = self.is_connect() {
            let sink: Arc<dyn Sink> = Arc::new(Console::new(options.limit));
            return self.connect_lines(format, sink, "console".into(), mode, input, outline, out);
        }
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

    fn file(&self, mode: Mode, input: &Shape, outline: &mut Outline, out: &mut Diagnostics) -> Option<SinkDraft<'a>> {
        self.refuse_keys(out);
        let options = FileSinkOptions::from_node(&self.spec.body, out)?;
        let Some(format) = &self.spec.format else {
            out.push(topics::no_format(&self.spec.name, &self.spec.place, "file"));
            return None;
        };
        if options.path.value.contains("${") {
            out.push(crate::spec::not_available("`${…}` in a file's path", &options.path.place));
            return None;
        }
        let path = self.scope.pipeline.folder.join(&options.path.value);
        if let Some(format) = self.is_connect() {
            let sink = self.file_sink(path, None, options.append);
            let to = format!("file `{}`", options.path.value);
            return self.connect_lines(format, sink, to, mode, input, outline, out);
        }
        if self.is_original() {
            let format = self.original(input, out)?;
            let sink = self.file_sink(path, None, options.append);
            return Some(self.ready_original(sink, mode, format!("file `{}`", options.path.value), format));
        }
        let writing = self.plain(format, input, out)?;
        let sink = self.file_sink(path, writing.header_line(), options.append);
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

    fn file_sink(&self, path: PathBuf, header: Option<Vec<u8>>, appends: bool) -> Arc<dyn Sink> {
        match is_at_least_once(self.spec) {
            true => Arc::new(file::AppendedFile::new(path, header)),
            false => Arc::new(file::FileSink::new(path, header).appending(appends)),
        }
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

    /// Those of the sources that the rows come from.
    fn connectors<'i>(&'i self, input: &'i Shape) -> impl Iterator<Item = &'i str> {
        let sources = &self.scope.pipeline.spec.sources;
        input.sources.iter().map(|index| sources[*index].connector.value.as_str())
    }

    fn is_original(&self) -> bool {
        self.spec.format.as_ref().is_some_and(|format| format.name.value == ORIGINAL)
    }

    /// Whether the rows still have the bytes of the record that each came from; what that is called.
    fn original(&self, input: &Shape, out: &mut Diagnostics) -> Option<String> {
        let place = self.spec.format.as_ref().map_or(&self.spec.place, |format| &format.name.place);
        if input.group.is_none() && !self.connectors(input).any(|connector| connector == "datagen") {
            return Some("original bytes".into());
        }
        out.push(
            Diagnostic::error("format.original", "`format: original` needs rows that come from one record each")
                .at(place)
                .note("rows of an aggregate or of datagen have no original bytes")
                .hint("choose a format such as `json`, which writes the columns"),
        );
        None
    }

    fn ready_original(&self, sink: Arc<dyn Sink>, mode: Mode, to: String, format: String) -> SinkDraft<'a> {
        let needs = BTreeSet::from([meta::VALUE_BYTES.to_owned()]);
        self.ready(sink, mode, needs, Arc::new(OriginalLines), to, format)
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
        SinkDraft { spec: self.spec, sink, mode, needs, encoding: EncodingDraft::Ready(encoding), kafka: None, outline }
    }

    fn refuse_delivery(&self, out: &mut Diagnostics) {
        let Some(delivery) = &self.spec.delivery else { return };
        let connector = self.spec.connector.value.as_str();
        if delivery.value == DeliverySpec::ExactlyOnce && matches!(connector, "console" | "discard") {
            out.push(
                Diagnostic::error("sink.delivery", format!("`{connector}` cannot be exactly once"))
                    .at(&delivery.place)
                    .note("what was printed before a crash cannot be taken back"),
            );
        }
    }

    /// What a dead letter is written as, its sink says already.
    fn refuse_dead_format(&self, out: &mut Diagnostics) {
        let Some(format) = &self.spec.format else { return };
        let (known, label): (&[&str], _) = match self.spec.connector.value.as_str() {
            "kafka" => (&[CONNECT, ORIGINAL], "a topic of dead letters keeps their bytes as they came"),
            "file" | "console" => (&["json"], "dead letters are lines of JSON, with their bytes and the reason"),
            _ => (&[], "nothing is written"),
        };
        if !known.contains(&format.name.value.as_str()) {
            let title = format!("`format: {}` means nothing for a dead letter", format.name.value);
            out.push(
                Diagnostic::error("dead_letter.format", title).at(&format.name.place).label(label).hint("leave it out"),
            );
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

/// Whether the sink asks for no more.
fn is_at_least_once(spec: &SinkSpec) -> bool {
    spec.delivery.as_ref().is_some_and(|delivery| delivery.value == DeliverySpec::AtLeastOnce)
}

fn guarantee(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Transaction => "exactly once (in one transaction with the journal)",
        Delivery::Remembers => "exactly once (remembers its epoch beside the file)",
        Delivery::AtLeastOnce => {
            "at least once (after a crash the last epochs may come again; its progress stands in the journal)"
        }
    }
}

impl SinkDraft<'_> {
    pub fn needs(&self) -> &BTreeSet<String> {
        &self.needs
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The sink over the columns that are left in the end.
    pub fn plan(self, input: Input, shape: &Shape, outline: &mut Outline, out: &mut Diagnostics) -> Option<SinkPlan> {
        let encode: Arc<dyn RecordEncoding> = match self.encoding {
            EncodingDraft::Ready(encoding) => encoding,
            EncodingDraft::Kafka(mut records) => {
                let templates = topic::compile_headers(&self.spec.headers, shape, out)?;
                if !templates.is_empty() {
                    records.headers = Headers::Templates(templates);
                }
                Arc::new(records)
            }
            EncodingDraft::Connect(mut records) => {
                let templates = topic::compile_headers(&self.spec.headers, shape, out)?;
                if !templates.is_empty() {
                    records.headers = connect::made_headers(templates, out, &self.spec.place)?;
                }
                Arc::new(records)
            }
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
