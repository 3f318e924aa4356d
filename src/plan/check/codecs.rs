//! The formats of a source's and a sink's bytes, with all that opening them needs.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{Field, Schema, SchemaRef};

use super::connections::Connection;
use super::of_failure;
use super::schemas::{self, Found};
use super::shape::Untouched;
use crate::connectors::file::{Framing, Header};
use crate::connectors::kafka;
use crate::data::meta;
use crate::formats::{self, AvroReader, AvroWriter, Decoder, DecoderSpec, Encoder, EncoderSpec, Format, WriterSchemas};
use crate::plan::outline::{ConnectionOutline, Outline, SubjectOutline, TopicOutline};
use crate::plan::records::kafka::Part;
use crate::plan::records::passed_on::{KnownSchemas, PassedOn};
use crate::plan::resolve::{Cluster, Registries};
use crate::plan::{OpenDecoder, OpenEncoder};
use crate::registry::Side;
use crate::report::{Diagnostics, Failure, Place};
use crate::spec::FormatSpec;

/// What stands behind `format:`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Chosen {
    Codec(Format),
    /// A sink's: the value's bytes as they came.
    Original,
}

/// Reads a format and its options.
pub(super) fn format(spec: &FormatSpec, is_sink: bool, out: &mut Diagnostics) -> Option<Chosen> {
    if is_sink && spec.name.value == "original" {
        return Some(Chosen::Original);
    }
    Format::from_word(&spec.name.value, &spec.name.place, spec.options.as_ref(), out).map(Chosen::Codec)
}

/// The format of a key of named columns: Avro beside Avro values, else as little as will do.
pub(super) fn default_key_format(beside_avro: bool, columns: usize) -> Format {
    match (beside_avro, columns) {
        (true, _) => Format::Avro,
        (false, 1) => Format::String,
        (false, _) => Format::Json,
    }
}

/// How a source's values or keys are read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    format: Format,
    /// All columns that the values have.
    columns: SchemaRef,
    avro: Option<AvroReading>,
}

#[derive(Debug, Clone)]
struct AvroReading {
    reader: AvroReader,
    /// Where the reader schema is from, for people.
    from: String,
    /// The connection whose registry has the writers' schemas.
    registry: String,
}

impl AvroReading {
    fn new(found: Found, registries: Registries) -> Self {
        let writers = Arc::new(WriterSchemas::new(registries.running));
        let reader = AvroReader { reader_schema: found.text, writers };
        AvroReading { reader, from: found.from, registry: registries.connection }
    }
}

impl Reading {
    /// A format without a registry. `declared`: columns that the user or a sink named.
    pub fn plain(format: Format, declared: Option<Schema>, place: &Place, out: &mut Diagnostics) -> Option<Self> {
        match formats::value_columns(&format, declared.map(Arc::new), None) {
            Ok(columns) => Some(Reading { format, columns, avro: None }),
            Err(failure) => {
                out.push(of_failure(failure, place));
                None
            }
        }
    }

    /// Avro, resolved to the schema that was found.
    pub fn avro(found: Found, registries: Registries, place: &Place, out: &mut Diagnostics) -> Option<Self> {
        let mut columns = schemas::columns_of(&found, place, out)?;
        schemas::note_record(&mut columns, &found.text);
        let avro = Some(AvroReading::new(found, registries));
        Some(Reading { format: Format::Avro, columns: Arc::new(columns), avro })
    }

    /// Keys: one column, `_key`.
    pub fn key(
        format: Format,
        found: Option<(Found, Registries)>,
        place: &Place,
        out: &mut Diagnostics,
    ) -> Option<Self> {
        let text = found.as_ref().map(|(found, _)| found.text.as_str());
        let column = formats::key_column(&format, text).map_err(|failure| out.push(of_failure(failure, place))).ok()?;
        let avro = found.map(|(found, registries)| AvroReading::new(found, registries));
        Some(Reading { format, columns: Arc::new(Schema::new(vec![column])), avro })
    }

    pub fn columns(&self) -> SchemaRef {
        self.columns.clone()
    }

    /// The column `_key`, of a reading of keys.
    pub fn key_field(&self) -> Option<Field> {
        self.columns.field_with_name(meta::KEY).ok().cloned()
    }

    /// Fewer columns than all may be asked for.
    pub fn can_project(&self) -> bool {
        // Declared columns are a contract: one that is missing is a dead letter, read or not.
        matches!(self.format, Format::Avro)
    }

    pub fn describe(&self) -> String {
        match &self.avro {
            Some(avro) => format!("avro, {}", avro.from),
            None => self.format.word().into(),
        }
    }

    /// What a sink needs to know to pass values on.
    pub fn untouched(&self) -> Option<Untouched> {
        let avro = self.avro.as_ref()?;
        let names: Vec<String> = self.columns.fields().iter().map(|field| field.name().clone()).collect();
        let writers = avro.reader.writers.clone();
        Some(Untouched { decoder: self.open_for(&names), writers, registry: avro.registry.clone() })
    }

    /// How a file of this format is cut into records.
    pub fn framing(&self) -> Framing {
        match &self.format {
            Format::Json => Framing::Json,
            Format::Csv(options) => Framing::Csv { header: options.header },
            Format::Avro | Format::String | Format::Bytes => Framing::Text,
        }
    }

    /// The header that files of this format must have, where they have one.
    pub fn header(&self) -> Option<Header> {
        let Format::Csv(options) = &self.format else { return None };
        let columns = self.columns.fields().iter().map(|field| formats::fields::name(field).to_owned()).collect();
        options.header.then(|| Header { columns, options: options.clone() })
    }

    /// A decoder that gives these columns, in this order.
    pub fn open_for(&self, columns: &[String]) -> Arc<dyn OpenDecoder> {
        let fields = columns.iter().filter_map(|name| self.columns.field_with_name(name).ok().cloned());
        let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), self.columns.metadata().clone());
        let avro = self.avro.as_ref().map(|avro| avro.reader.clone());
        Arc::new(Values(DecoderSpec { format: self.format.clone(), schema: Arc::new(schema), avro }))
    }
}

#[derive(Debug)]
struct Values(DecoderSpec);

impl OpenDecoder for Values {
    fn open(&self) -> Result<Box<dyn Decoder>, Failure> {
        self.0.open()
    }

    fn take_learnt(&self) -> BTreeMap<i32, String> {
        self.0.avro.as_ref().map(|avro| avro.writers.take_learnt()).unwrap_or_default()
    }

    fn preload(&self, id: i32, schema: &str) {
        if let Some(avro) = &self.0.avro {
            avro.writers.preload(id, schema);
        }
    }
}

/// How a sink's values or keys are written.
#[derive(Debug, Clone)]
pub(super) struct Writing {
    columns: Vec<String>,
    encoder: Arc<dyn OpenEncoder>,
    shown: String,
    format: Format,
    schema: SchemaRef,
    avro: Option<AvroSubject>,
}

/// What an Avro sink writes under.
#[derive(Debug, Clone)]
struct AvroSubject {
    subject: String,
    /// The connection whose registry has it.
    registry: String,
    schema: String,
    /// Known when the schema is registered.
    id: Arc<OnceLock<i32>>,
}

impl Writing {
    /// A format without a registry.
    pub fn plain(format: Format, rows: &Schema, place: &Place, out: &mut Diagnostics) -> Option<Self> {
        let schema = Arc::new(rows.clone());
        let spec = EncoderSpec { format: format.clone(), schema: schema.clone(), avro: None };
        // Opened once to find out now whether it can hold these columns.
        if let Err(failure) = spec.open() {
            out.push(of_failure(failure, place));
            return None;
        }
        let shown = format.word().to_owned();
        Some(Writing { columns: names(rows), encoder: Arc::new(Plain(spec)), shown, format, schema, avro: None })
    }

    /// Avro under a subject whose id comes with the start.
    pub fn avro(subject: &SubjectOutline, rows: &Schema, place: &Place, out: &mut Diagnostics) -> Option<Self> {
        let schema = Arc::new(rows.clone());
        let late = LateAvro { text: subject.schema.clone(), id: subject.id.clone(), schema: schema.clone() };
        // No id is needed to find out whether the columns fit the schema.
        if let Err(failure) = late.spec(0).open() {
            out.push(of_failure(failure, place));
            return None;
        }
        Some(Writing {
            columns: names(rows),
            encoder: Arc::new(late),
            shown: format!("avro, subject `{}`", subject.subject),
            format: Format::Avro,
            schema,
            avro: Some(AvroSubject {
                subject: subject.subject.clone(),
                registry: subject.connection.clone(),
                schema: subject.schema.clone(),
                id: subject.id.clone(),
            }),
        })
    }

    pub fn columns(&self) -> Vec<String> {
        self.columns.clone()
    }

    pub fn encoder(&self) -> Arc<dyn OpenEncoder> {
        self.encoder.clone()
    }

    pub fn part(&self) -> Part {
        Part::Columns { columns: self.columns.clone(), encoder: self.encoder.clone() }
    }

    /// The same, but bytes that are written already are passed on, if the rows' registry is this one.
    pub fn part_of(&self, rows: Option<&Untouched>) -> Part {
        match (rows, &self.avro) {
            (Some(rows), Some(own)) if rows.registry == own.registry => {
                let known = KnownSchemas::new(own.subject.clone(), own.id.clone(), rows.writers.clone());
                Part::PassedOn(PassedOn {
                    columns: self.columns.clone(),
                    decoder: rows.decoder.clone(),
                    encoder: self.encoder.clone(),
                    schemas: Arc::new(known),
                })
            }
            _ => self.part(),
        }
    }

    pub fn describe(&self) -> String {
        self.shown.clone()
    }

    pub fn avro_schema(&self) -> Option<String> {
        self.avro.as_ref().map(|avro| avro.schema.clone())
    }

    /// First line of a file.
    pub fn header_line(&self) -> Option<Vec<u8>> {
        match &self.format {
            Format::Csv(options) if options.header => Some(formats::header_line(&self.schema, options).into_bytes()),
            _ => None,
        }
    }
}

fn names(rows: &Schema) -> Vec<String> {
    rows.fields().iter().map(|field| field.name().clone()).collect()
}

#[derive(Debug)]
struct Plain(EncoderSpec);

impl OpenEncoder for Plain {
    fn open(&self) -> Result<Box<dyn Encoder>, Failure> {
        self.0.open()
    }
}

/// Avro whose id is known once the schema is registered.
#[derive(Debug)]
struct LateAvro {
    text: String,
    id: Arc<OnceLock<i32>>,
    schema: SchemaRef,
}

impl LateAvro {
    fn spec(&self, id: i32) -> EncoderSpec {
        let avro = Some(AvroWriter { schema: self.text.clone(), id });
        EncoderSpec { format: Format::Avro, schema: self.schema.clone(), avro }
    }
}

impl OpenEncoder for LateAvro {
    fn open(&self) -> Result<Box<dyn Encoder>, Failure> {
        match self.id.get() {
            Some(id) => self.spec(*id).open(),
            None => Err(Failure::bug("plan.not_prepared", "a sink was opened before its schema was registered")),
        }
    }
}

/// The schema that a sink derives from its rows: a record named after the topic.
pub(super) fn derived_schema(
    rows: &Schema,
    topic: &str,
    side: Side,
    asked: Option<&crate::spec::SchemaRef>,
    place: &Place,
    out: &mut Diagnostics,
) -> Option<String> {
    let name = match (asked.and_then(|schema| schema.name.as_ref()), side) {
        (Some(name), _) => name.value.clone(),
        (None, Side::Value) => schemas::record_name(topic),
        (None, Side::Key) => format!("{}_key", schemas::record_name(topic)),
    };
    let namespace = asked.and_then(|schema| schema.namespace.as_ref()).map(|namespace| namespace.value.as_str());
    let doc = asked.and_then(|schema| schema.doc.as_ref()).map(|doc| doc.value.as_str());
    match formats::avro_schema(rows, &name, namespace, doc) {
        Ok(text) => Some(text),
        Err(failure) => {
            out.push(of_failure(failure, place));
            None
        }
    }
}

/// "from earliest to the end".
pub(super) fn start_in_words(start: Option<&kafka::Start>, until: Option<&kafka::Until>) -> String {
    use kafka::{Start, Until};
    let from = match start.unwrap_or(&Start::Earliest) {
        Start::Earliest => "from earliest".to_owned(),
        Start::Latest => "from latest".to_owned(),
        Start::Timestamp(moment) => format!("from {}", moment_in_words(*moment)),
        Start::Offsets(_) => "from the offsets listed".to_owned(),
        Start::Group(group) => format!("from the position of group `{group}`"),
    };
    match until {
        None => from,
        Some(Until::End) => format!("{from} to the end as of the start"),
        Some(Until::Timestamp(moment)) => format!("{from} to {}", moment_in_words(*moment)),
        Some(Until::Offsets(_)) => format!("{from} to the offsets listed"),
        Some(Until::Group(group)) => format!("{from} to the position of group `{group}`"),
    }
}

fn moment_in_words(moment: kafka::Moment) -> String {
    match moment {
        kafka::Moment::At(ms) => {
            chrono::DateTime::from_timestamp_millis(ms).map_or_else(|| format!("{ms} ms"), |time| time.to_rfc3339())
        }
        kafka::Moment::Ago(ms) => format!("{} ago", crate::time::duration::format(ms)),
    }
}

/// Notes brokers in the outline, each connection once.
pub(super) fn add_connection(outline: &mut Outline, connection: &Connection, cluster: &Cluster) {
    add_server(outline, connection, format!("brokers {}", cluster.shown));
}

/// The same for a registry.
pub(super) fn add_registry(outline: &mut Outline, connection: &Connection, registries: &Registries) {
    add_server(outline, connection, format!("registry {}", registries.shown));
}

fn add_server(outline: &mut Outline, connection: &Connection, server: String) {
    let index = outline.connections.iter().position(|known| known.name == connection.name).unwrap_or_else(|| {
        let new =
            ConnectionOutline { name: connection.name.clone(), built_in: connection.built_in, servers: Vec::new() };
        outline.connections.push(new);
        outline.connections.len() - 1
    });
    let servers = &mut outline.connections[index].servers;
    if !servers.contains(&server) {
        servers.push(server);
    }
}

/// Notes a topic once; what a later end wants of its configuration is added.
pub(super) fn add_topic(outline: &mut Outline, topic: TopicOutline) {
    let known = outline.topics.iter_mut().find(|t| t.name == topic.name && t.cluster.brokers == topic.cluster.brokers);
    match known {
        Some(known) => known.config.extend(topic.config),
        None => outline.topics.push(topic),
    }
}

/// Notes a subject. Two sinks of one topic may share one: each waits for its own id.
pub(super) fn add_subject(outline: &mut Outline, subject: SubjectOutline) {
    outline.subjects.push(subject);
}
