//! Sources: which columns and metadata a source brings, and what of it is read.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Fields, Schema};

use super::codecs::{Chosen, Reading};
use super::columns::{refuse_reserved, user_fields, user_names};
use super::several::{self, ReadTopic};
use super::shape::Shape;
use super::topics::{self, Topics};
use super::{Scope, codecs, connections, of_failure, schemas, time};
use crate::connectors::kafka::TopicName;
use crate::connectors::{Source, Wanted, datagen, file, kafka};
use crate::data::{meta, partition};
use crate::formats::Format;
use crate::kafka_connect::pattern::Pattern;
use crate::plan::bodies::FileSourceOptions;
use crate::plan::outline::{Outline, SourceOutline, TopicOutline, TopicState};
use crate::plan::resolve::{Answer, Cluster, Registries};
use crate::plan::{SourcePlan, TimePlan};
use crate::registry::Side;
use crate::report::{Diagnostic, Diagnostics, Failure};
use crate::spec::{Columns, FormatSpec, FromNode, SourceSpec, Spanned, TimeSpec};

/// A source that checked: everything it could give.
#[derive(Debug)]
pub(super) struct SourceDraft {
    name: String,
    source: Arc<dyn Source>,
    /// `None`: its rows are typed already.
    values: Option<Reading>,
    /// Decodes `_key`; `None`: bytes, or there are none.
    keys: Option<Reading>,
    everything: Shape,
    time_spec: Option<TimeSpec>,
    outline: SourceOutline,
}

/// Checks a source; its outline follows with [`SourceDraft::plan`].
pub(super) fn draft(
    scope: &Scope,
    spec: &SourceSpec,
    index: usize,
    topics: &Topics,
    outline: &mut Outline,
    out: &mut Diagnostics,
) -> Option<SourceDraft> {
    let check = SourceCheck { scope, spec, index };
    match spec.connector.value.as_str() {
        "kafka" => check.kafka(topics, outline, out),
        "datagen" => check.datagen(out),
        "file" => check.file(out),
        other => {
            out.push(
                Diagnostic::error("source.connector", format!("`{other}` cannot be a source"))
                    .at(&spec.connector.place)
                    .note("sources are kafka, datagen and file"),
            );
            None
        }
    }
}

struct SourceCheck<'a> {
    scope: &'a Scope<'a>,
    spec: &'a SourceSpec,
    index: usize,
}

/// The metadata that the records of each connector have.
const KAFKA_METADATA: &[&str] =
    &[meta::TOPIC, meta::PARTITION, meta::OFFSET, meta::TIMESTAMP, meta::KEY, meta::HEADERS, meta::TIME];
const MADE_METADATA: &[&str] = &[meta::PARTITION, meta::OFFSET, meta::GENERATION, meta::TIME];
const FILE_METADATA: &[&str] = &[meta::TOPIC, meta::PARTITION, meta::OFFSET, meta::TIME];

impl SourceCheck<'_> {
    fn datagen(&self, out: &mut Diagnostics) -> Option<SourceDraft> {
        self.refuse(&["connection", "format", "schema", "columns", "key_format"], "datagen makes typed rows", out);
        let options = datagen::Options::from_node(&self.spec.body, out)?;
        let place = &self.spec.body.place;
        let specs = &self.scope.pipeline.spec.sources;
        let peers = |name: &str| {
            let peer = specs.iter().find(|spec| spec.name.value == name && spec.connector.value == "datagen");
            peer.map(|spec| &spec.body)
        };
        let source = datagen::Datagen::from_options(&options, place, &self.scope.pipeline.folder, &peers, out)?;
        let mut columns = Schema::clone(&source.schema());
        // Columns that are declared here make a record without a name.
        if options.columns.is_none() {
            schemas::note_record(&mut columns, &source.avro_schema().to_string());
        }
        let outline = SourceOutline {
            connector: "datagen",
            from: match options.count {
                Some(count) if options.per_task == Some(true) => format!("{count} records a task"),
                Some(count) => format!("{count} records"),
                None => "without end".into(),
            },
            format: "typed rows".into(),
            time: String::new(),
        };
        self.finish(Arc::new(source), &columns, None, None, MADE_METADATA, self.spec.time.clone(), outline, out)
    }

    fn file(&self, out: &mut Diagnostics) -> Option<SourceDraft> {
        self.refuse(&["connection", "key_format"], "a file has neither", out);
        let options = FileSourceOptions::from_node(&self.spec.body, out)?;
        let Some(format) = &self.spec.format else {
            out.push(topics::no_format(&self.spec.name, &self.spec.place, "file"));
            return None;
        };
        let Chosen::Codec(codec) = codecs::format(format, false, out)? else { return None };
        if codec == Format::Avro {
            out.push(crate::spec::not_available("`format: avro` in a file", &format.name.place));
            return None;
        }
        let declared = self.spec.columns.as_ref().map(|columns| schemas::declared(columns, out));
        let reading = Reading::plain(codec, declared, &self.spec.place, out)?;
        let columns = reading.columns();
        let path = self.scope.pipeline.folder.join(&options.path.value);
        if options.follow && reading.framing() != file::Framing::Text {
            let title = format!("a file of `{}` cannot be followed", format.name.value);
            out.push(
                Diagnostic::error("file.follow", title)
                    .at(&format.name.place)
                    .note("its records need not be lines")
                    .hint("follow it as `format: string`, and take the lines apart in a step"),
            );
            return None;
        }
        let source: Arc<dyn Source> = if options.follow {
            Arc::new(file::FollowedFile::new(path))
        } else {
            let source = file::FileSource::new(path.to_string_lossy(), reading.framing());
            Arc::new(source.with_header(reading.header()))
        };
        let outline = SourceOutline {
            connector: "file",
            from: match options.follow {
                true => format!("file `{}` and what is added to it", options.path.value),
                false => format!("files `{}`", options.path.value),
            },
            format: reading.describe(),
            time: String::new(),
        };
        self.finish(source, &columns, Some(reading), None, FILE_METADATA, self.spec.time.clone(), outline, out)
    }

    fn kafka(&self, topics: &Topics, outline: &mut Outline, out: &mut Diagnostics) -> Option<SourceDraft> {
        let options = kafka::KafkaSourceOptions::from_node(&self.spec.body, out)?;
        let found;
        let names: Vec<&Spanned<TopicName>> = match &options.pattern {
            Some(pattern) if options.topic.is_none() && options.topics.is_none() => {
                found = self.matching(pattern, outline, out)?;
                found.iter().collect()
            }
            _ => options.topics(&self.spec.body.place, out)?,
        };
        options.check(&names, out);
        let mut read: Vec<ReadTopic> = names.iter().map(|name| ReadTopic::declared(name, topics)).collect();
        let theirs = read.iter().map(|topic| topic.spec()?.connection.as_ref());
        let theirs = several::agreed(&read, "connection", theirs, |name| format!("`{}`", name.value), out);
        let connection = self.spec.connection.as_ref().or(theirs);
        let connection = connections::find(
            connection,
            &self.spec.connector.place,
            Some(&self.scope.pipeline.spec),
            self.scope.documents,
            out,
        )?;
        let cluster = connection.cluster(self.scope.world, out)?;
        for topic in &mut read {
            topic.written = topics.written(topic.name, &cluster.brokers);
        }

        let Some(format) = self.format(&read, out) else {
            out.push(topics::no_format(&self.spec.name, &self.spec.place, "kafka"));
            return None;
        };
        let Chosen::Codec(format) = codecs::format(format, false, out)? else { return None };
        let columns = self.columns(&read, out);
        let keys_format = self.key_format(&read, out);
        let awaited = match options.pattern {
            Some(_) => self.leave_out_without_schema(&mut read, (&format, keys_format), &connection, out)?,
            None => None,
        };
        let reading = if format == Format::Avro {
            self.avro(&read, &connection, outline, out)
        } else {
            let written = read.iter().map(|topic| topic.written?.columns.as_deref());
            let columns =
                columns.or_else(|| several::agreed(&read, "columns", written, several::columns_in_words, out).cloned());
            Reading::plain(format, columns, &self.spec.place, out)
        };
        let keys = match keys_format {
            Some(format) => match codecs::format(format, false, out)? {
                Chosen::Codec(format) => self.keys(format, &read, &connection, outline, out)?,
                Chosen::Original => None,
            },
            None => None,
        };
        let mut from = Vec::new();
        let mut states = Vec::new();
        for topic in &read {
            let creates = topic.spec().is_some_and(|topic| topic.create);
            let state = self.topic_state(&cluster, topic.name, topic.written.is_some(), creates, out);
            from.push(format!("topic `{}`{}", topic.name, partitions_in_words(&state)));
            states.push(state);
        }
        let reading = reading?;

        let group = options
            .group
            .as_ref()
            .map_or_else(|| format!("runner-{}", self.scope.pipeline.metadata.name.value), |group| group.value.clone());
        let properties = options.properties.as_ref().map(kafka::Properties::to_map).unwrap_or_default();
        from.push(codecs::start_in_words(options.start.as_ref(), options.until.as_ref()));
        let client = cluster.client().with(&properties);
        let source = kafka::KafkaSource::new(
            client,
            read.iter().map(|topic| topic.name),
            &group,
            options.start.clone().unwrap_or_default(),
            options.until.clone(),
        )
        .on_expired(options.on_expired.unwrap_or_default())
        .matching(options.pattern.as_ref().map(|pattern| pattern.value.clone()))
        .awaiting(awaited);
        let outline_line = SourceOutline {
            connector: "kafka",
            from: from.join(", "),
            format: reading.describe(),
            time: String::new(),
        };
        codecs::add_connection(outline, &connection, &cluster);
        for (topic, state) in read.iter().zip(states) {
            codecs::add_topic(outline, TopicOutline::of(cluster.clone(), topic.name, state, topic.spec()));
        }
        let time = read.iter().map(|topic| topic.spec()?.time.as_ref());
        let declared = several::agreed(&read, "time", time, several::time_in_words, out);
        let time_spec = time::merged(self.spec.time.as_ref(), declared);
        let columns = reading.columns();
        let source: Arc<dyn Source> = Arc::new(source);
        self.finish(source, &columns, Some(reading), keys, KAFKA_METADATA, time_spec, outline_line, out)
    }

    /// The topics of a pattern, as of now; in the order of their names.
    fn matching(
        &self,
        pattern: &Spanned<String>,
        outline: &mut Outline,
        out: &mut Diagnostics,
    ) -> Option<Vec<Spanned<TopicName>>> {
        let place = &pattern.place;
        if let Err(why) = Pattern::new(&pattern.value) {
            out.push(
                Diagnostic::error("kafka.pattern", format!("`{}` is no regex", pattern.value)).at(place).note(why),
            );
            return None;
        }
        let pipeline = Some(&self.scope.pipeline.spec);
        let named = self.spec.connection.as_ref();
        let connection = connections::find(named, &self.spec.connector.place, pipeline, self.scope.documents, out)?;
        let cluster = connection.cluster(self.scope.world, out)?;
        let topic = |name: String| Spanned { value: TopicName(name), place: place.clone() };
        match self.scope.world.topics_matching(&cluster, &pattern.value) {
            Ok(Answer::Known(names)) if names.is_empty() => {
                let title = format!("no topic at `{}` fits `{}`", cluster.brokers, pattern.value);
                // There may be one later.
                out.push(of_failure(Failure::outside("kafka.no_match", title), place));
                None
            }
            Ok(Answer::Known(names)) if names.len() > partition::TOPICS_MAX => {
                let title = format!("{} topics fit `{}`", names.len(), pattern.value);
                let most = format!("a source takes at most {}", partition::TOPICS_MAX);
                out.push(Diagnostic::error("kafka.topics", title).at(place).note(most));
                None
            }
            Ok(Answer::Known(names)) => Some(names.into_iter().map(topic).collect()),
            Ok(Answer::NotAsked) => {
                outline.unchecked.push(format!("which topics fit `{}`", pattern.value));
                Some(vec![topic(pattern.value.clone())])
            }
            Err(failure) => {
                out.push(of_failure(failure, place));
                None
            }
        }
    }

    /// Topics that fit a pattern, and whose schema nobody has registered yet, are left out with a warning, so that the others can
    /// be read meanwhile; where there is no other one, they are an error. Gives what those need that come later.
    fn leave_out_without_schema(
        &self,
        read: &mut Vec<ReadTopic>,
        (format, keys): (&Format, Option<&FormatSpec>),
        connection: &connections::Connection,
        out: &mut Diagnostics,
    ) -> Option<Option<kafka::Schemas>> {
        let mut sides = Vec::new();
        if *format == Format::Avro && self.spec.schema.is_none() {
            sides.push(Side::Value);
        }
        if keys.is_some_and(|keys| keys.name.value == "avro") {
            sides.push(Side::Key);
        }
        if sides.is_empty() {
            return Some(None);
        }
        let registries = schemas::registries(self.scope, connection, out)?;
        // Whoever is asked here what is wrong says it again where it counts.
        let lacks = |topic: &ReadTopic| {
            let mut wrong = Diagnostics::default();
            for side in &sides {
                match side {
                    Side::Value => drop(self.avro_of(topic, &registries, &mut wrong)),
                    Side::Key => drop(self.key_of(topic, &registries, &mut wrong)),
                }
            }
            wrong.0.into_iter().find(|wrong| wrong.code == schemas::MISSING)
        };
        let lacking: Vec<Option<Diagnostic>> = read.iter().map(lacks).collect();
        if lacking.iter().any(Option::is_none) {
            let mut lacking = lacking.into_iter();
            read.retain(|topic| {
                let Some(Diagnostic { title: why, .. }) = lacking.next().flatten() else { return true };
                let name = &self.spec.name.value;
                let title = format!("`{}` fits the pattern of `{name}`, and is not read yet: {why}", topic.name);
                let hint = "once the schema is registered, and the topic has a record, it is read from its first one";
                out.push(Diagnostic::warning("schema.awaited", title).at(&self.spec.place).hint(hint));
                false
            });
        }
        let documents = self.scope.documents;
        let values = documents.topics.iter().filter_map(|topic| {
            let schema = topic.spec.schema.as_ref()?;
            let value = match schema.file.is_some() {
                true => kafka::ValueSchema::There,
                false => kafka::ValueSchema::Registered {
                    subject: schema.subject.as_ref().map(|subject| subject.value.clone()),
                    version: schema.version.as_ref().map(|version| version.value),
                },
            };
            Some((topic.metadata.name.value.clone(), value))
        });
        let subjects = documents.schemas.iter().map(|schema| schema.metadata.name.value.clone());
        let (values, subjects) = (values.collect(), subjects.collect());
        Some(Some(kafka::Schemas::new(registries.running, sides, values, subjects)))
    }

    /// The format of all topics' values.
    fn format<'a>(&'a self, read: &[ReadTopic<'a>], out: &mut Diagnostics) -> Option<&'a FormatSpec> {
        let own = self.spec.format.as_ref();
        for topic in read {
            let declared = topic.spec().and_then(|topic| topic.format.as_ref());
            topics::format(
                "format",
                own,
                declared,
                topic.written.and_then(|w| Some((w.format.as_ref()?, w.by.as_str()))),
                out,
            );
        }
        let said = read.iter().map(|topic| {
            topic
                .spec()
                .and_then(|topic| topic.format.as_ref())
                .or(topic.written.and_then(|written| written.format.as_ref()))
        });
        own.or_else(|| several::agreed(read, "format", said, several::format_in_words, out))
    }

    fn key_format<'a>(&'a self, read: &[ReadTopic<'a>], out: &mut Diagnostics) -> Option<&'a FormatSpec> {
        let own = self.spec.key_format.as_ref();
        let said = read.iter().map(|topic| topic.spec()?.key_format.as_ref());
        for declared in said.clone() {
            topics::format("key_format", own, declared, None, out);
        }
        own.or_else(|| several::agreed(read, "key_format", said, several::format_in_words, out))
    }

    /// Declared columns.
    fn columns(&self, read: &[ReadTopic], out: &mut Diagnostics) -> Option<Schema> {
        let own = self.spec.columns.as_ref();
        let said = read.iter().map(|topic| topic.spec()?.columns.as_ref());
        for declared in said.clone() {
            topics::columns(own, declared, out);
        }
        let shown = |columns: &Columns| {
            let fields = columns.value.iter().map(|(name, column)| column.to_field(&name.value));
            several::columns_in_words(&Schema::new(fields.collect::<Vec<Field>>()))
        };
        let columns = own.or_else(|| several::agreed(read, "columns", said, shown, out))?;
        Some(schemas::declared(columns, out))
    }

    fn avro(
        &self,
        read: &[ReadTopic],
        connection: &connections::Connection,
        outline: &mut Outline,
        out: &mut Diagnostics,
    ) -> Option<Reading> {
        let registries = schemas::registries(self.scope, connection, out)?;
        codecs::add_registry(outline, connection, &registries);
        // A schema that the source names reads all its topics.
        let asked = if self.spec.schema.is_some() { &read[..1] } else { read };
        let mut found = Vec::new();
        for topic in asked {
            match self.avro_of(topic, &registries, out)? {
                schemas::Search::Found(schema) => found.push((topic, schema)),
                schemas::Search::NotAsked(what) => {
                    outline.unchecked.push(format!("{what}, and so all that reads from `{}`", self.spec.name.value));
                    out.push(
                        Diagnostic::warning("plan.not_checked", format!("`{}` was not checked", self.spec.name.value))
                            .at(&self.spec.place)
                            .label(format!("{what} is known to the registry only"))
                            .hint("run `runner plan`, which asks it, or name a file with `schema: {file: x.avsc}`"),
                    );
                    return None;
                }
            }
        }
        let schema = several::common_schema(found, out)?;
        Reading::avro(schema, registries, &self.spec.place, out)
    }

    /// The schema of one topic's values.
    fn avro_of(&self, topic: &ReadTopic, registries: &Registries, out: &mut Diagnostics) -> Option<schemas::Search> {
        let (schema, folder) = match (&self.spec.schema, topic.document) {
            (None, Some(document)) => (document.spec.schema.as_ref(), document.folder.as_path()),
            (own, _) => (own.as_ref(), self.scope.pipeline.folder.as_path()),
        };
        let subject = schemas::subject(topic.name, Side::Value);
        match topic.written.and_then(|written| written.schema.clone()).filter(|_| schema.is_none()) {
            Some(text) => {
                Some(schemas::Search::Found(schemas::Found { text, from: "what this command writes".into() }))
            }
            None => {
                let place = schema.map_or(&self.spec.place, |schema| &schema.place);
                schemas::Wanted { scope: self.scope, schema, folder, subject: &subject, registries, place }
                    .of_source(out)
            }
        }
    }

    /// The schema of one topic's keys.
    fn key_of(&self, topic: &ReadTopic, registries: &Registries, out: &mut Diagnostics) -> Option<schemas::Search> {
        let subject = schemas::subject(topic.name, Side::Key);
        let (folder, place) = (self.scope.pipeline.folder.as_path(), &self.spec.place);
        schemas::Wanted { scope: self.scope, schema: None, folder, subject: &subject, registries, place }.of_source(out)
    }

    /// How `_key` is decoded; the inner `None`: as bytes.
    fn keys(
        &self,
        format: Format,
        read: &[ReadTopic],
        connection: &connections::Connection,
        outline: &mut Outline,
        out: &mut Diagnostics,
    ) -> Option<Option<Reading>> {
        let place = &self.spec.place;
        match format {
            Format::Bytes => return Some(None),
            Format::Avro => {}
            other => return Reading::key(other, None, place, out).map(Some),
        }
        let registries = schemas::registries(self.scope, connection, out)?;
        codecs::add_registry(outline, connection, &registries);
        let mut found = Vec::new();
        for topic in read {
            match self.key_of(topic, &registries, out)? {
                schemas::Search::Found(schema) => found.push((topic, schema)),
                schemas::Search::NotAsked(what) => {
                    outline.unchecked.push(what);
                    return None;
                }
            }
        }
        let schema = several::common_schema(found, out)?;
        Reading::key(Format::Avro, Some((schema, registries)), place, out).map(Some)
    }

    fn topic_state(
        &self,
        cluster: &Cluster,
        topic: &str,
        is_written: bool,
        creates: bool,
        out: &mut Diagnostics,
    ) -> TopicState {
        let place = &self.spec.connector.place;
        match self.scope.world.topic(cluster, topic) {
            Ok(Answer::Known(Some(info))) => TopicState::Exists(info),
            Ok(Answer::Known(None)) if is_written => TopicState::CreatedByOther,
            Ok(Answer::Known(None)) if creates => TopicState::Create,
            Ok(Answer::Known(None)) => {
                out.push(
                    Diagnostic::error("kafka.no_topic", format!("there is no topic `{topic}`"))
                        .at(place)
                        .note(format!("asked the brokers at {}", cluster.shown))
                        .hint("correct the name, or declare it with a `kind: Topic` document to have it created"),
                );
                TopicState::NotAsked
            }
            Ok(Answer::NotAsked) => TopicState::NotAsked,
            Err(failure) => {
                out.push(of_failure(failure, place));
                TopicState::NotAsked
            }
        }
    }

    /// Complains about common keys that mean nothing here.
    fn refuse(&self, keys: &[&str], why: &str, out: &mut Diagnostics) {
        let spec = self.spec;
        let format = |format: &Option<crate::spec::FormatSpec>| format.as_ref().map(|f| f.name.place.clone());
        let written = [
            ("connection", spec.connection.as_ref().map(|name| name.place.clone())),
            ("format", format(&spec.format)),
            ("schema", spec.schema.as_ref().map(|schema| schema.place.clone())),
            ("columns", spec.columns.as_ref().map(|columns| columns.place.clone())),
            ("key_format", format(&spec.key_format)),
        ];
        for (key, place) in written.iter().filter(|(key, _)| keys.contains(key)) {
            if let Some(place) = place {
                let title = format!("`{key}` means nothing for `{}`", spec.connector.value);
                out.push(Diagnostic::error("source.key", title).at(place).label(why).hint("leave it out"));
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a source, put together once")]
    fn finish(
        &self,
        source: Arc<dyn Source>,
        columns: &Schema,
        values: Option<Reading>,
        keys: Option<Reading>,
        metadata: &[&str],
        time_spec: Option<TimeSpec>,
        mut outline: SourceOutline,
        out: &mut Diagnostics,
    ) -> Option<SourceDraft> {
        refuse_reserved(columns.fields().iter().map(|field| (field.name().as_str(), &self.spec.place)), out);
        let key = keys.as_ref().and_then(Reading::key_field);
        let metadata = metadata.iter().filter_map(|name| match &key {
            Some(key) if *name == meta::KEY => Some(key.clone()),
            _ => meta::field(name),
        });
        let own = user_fields(columns).cloned();
        let everything = own.chain(metadata).collect::<Vec<Field>>();
        let everything = Arc::new(Schema::new_with_metadata(everything, columns.metadata().clone()));
        let (time, _) = time::plan(time_spec.as_ref(), &everything, source.has_timestamps(), out)?;
        outline.time = time_in_words(&time, time_spec.as_ref());
        let untouched = values.as_ref().and_then(Reading::untouched);
        let sources = [self.index].into();
        let sorted = BTreeSet::new();
        let everything = Shape { columns: everything, changes: false, group: None, sources, sorted, untouched };
        Some(SourceDraft { name: self.spec.name.value.clone(), source, values, keys, everything, time_spec, outline })
    }
}

impl SourceDraft {
    pub fn everything(&self) -> Shape {
        self.everything.clone()
    }

    pub fn outline(&self) -> SourceOutline {
        self.outline.clone()
    }

    /// The source with only those columns and metadata that are `wanted`. `reads_failed`: something reads its port
    /// `.failed`, which has all metadata.
    pub fn plan(
        &self,
        wanted: &BTreeSet<String>,
        reads_failed: bool,
        out: &mut Diagnostics,
    ) -> Option<(SourcePlan, Shape)> {
        let has_timestamps = self.source.has_timestamps();
        let (_, read_by_time) = time::plan(self.time_spec.as_ref(), &self.everything.columns, has_timestamps, out)?;
        // I7: a time that is null or far ahead makes a dead letter, also where nothing else looks at it.
        let has_field = self.time_spec.as_ref().is_some_and(|time| time.field.is_some());
        let in_use = |name: &str| {
            wanted.contains(name) || read_by_time.iter().any(|c| c == name) || (has_field && name == meta::TIME)
        };
        let all = user_names(&self.everything.columns);
        let mut kept: Vec<String> = all.iter().filter(|name| in_use(name)).cloned().collect();
        // Decoders need a column to count rows by; typed rows come whole.
        let can_project = self.values.as_ref().is_some_and(Reading::can_project);
        if !can_project {
            kept = all;
        } else if kept.is_empty() {
            kept.extend(all.into_iter().next());
        }

        let everything = &self.everything.columns;
        let metadata = everything.fields().iter().filter(|f| meta::is_meta(f.name()) && in_use(f.name())).cloned();
        let is_kafka = self.source.connector() == "kafka";
        let hidden = [meta::KEY_BYTES, meta::VALUE_BYTES, meta::HEADERS_LIST];
        let hidden = hidden.iter().filter(|name| wanted.contains(**name) && (is_kafka || **name == meta::VALUE_BYTES));
        // Typed rows have no bytes to keep.
        let hidden = hidden.filter(|_| self.values.is_some()).filter_map(|name| meta::field(name)).map(Arc::new);
        let own = kept.iter().filter_map(|name| everything.field_with_name(name).ok()).cloned().map(Arc::new);
        let columns = Arc::new(Schema::new(own.chain(metadata).chain(hidden).collect::<Fields>()));

        let (time, _) = time::plan(self.time_spec.as_ref(), &columns, has_timestamps, out)?;
        let has = |name: &str| columns.column_with_name(name).is_some();
        let plan = SourcePlan {
            name: self.name.clone(),
            source: self.source.clone(),
            values: self.values.as_ref().map(|reading| reading.open_for(&kept)),
            keys: self
                .keys
                .as_ref()
                .filter(|_| has(meta::KEY))
                .map(|reading| reading.open_for(&[meta::KEY.to_owned()])),
            schema: columns.clone(),
            wanted: Wanted {
                keys: reads_failed || has(meta::KEY) || has(meta::KEY_BYTES),
                headers: reads_failed || has(meta::HEADERS) || has(meta::HEADERS_LIST),
                ..Wanted::default()
            },
            time,
        };
        Some((plan, Shape { columns, ..self.everything.clone() }))
    }
}

fn partitions_in_words(state: &TopicState) -> String {
    match state {
        TopicState::Exists(info) if info.partitions == 1 => " (1 partition)".into(),
        TopicState::Exists(info) => format!(" ({} partitions)", info.partitions),
        TopicState::Create | TopicState::CreatedByOther => " (will be created)".into(),
        TopicState::NotAsked => String::new(),
    }
}

fn time_in_words(time: &TimePlan, spec: Option<&TimeSpec>) -> String {
    let duration = crate::time::duration::format;
    let from = match &time.field {
        crate::plan::TimeField::Timestamp => "Kafka timestamp".to_owned(),
        crate::plan::TimeField::Clock => "clock".to_owned(),
        crate::plan::TimeField::Expr(_) => spec
            .and_then(|spec| spec.field.as_ref())
            .map_or_else(String::new, |field: &Spanned<String>| field.value.clone()),
    };
    let idle = time.idle_ms.map_or_else(|| "never".to_owned(), duration);
    let align = time.align_ms.map_or_else(String::new, |align| format!(", align {}", duration(align)));
    format!("{from}, lag {}, idle {idle}{align}", duration(time.lag_ms))
}

/// What of a source changes results, for the fingerprint. Positions, groups, servers and client settings do not.
pub(super) fn meaning(spec: &SourceSpec, plan: &SourcePlan) -> serde_json::Value {
    let mut body = spec.body.to_json();
    if let Some(object) = body.as_object_mut() {
        for key in ["start", "until", "group", "properties", "on_expired", "rate", "interval", "max_interval", "count"]
        {
            object.remove(key);
        }
        // `topics: [a]` is another way to write `topic: a`.
        if let Some([only]) = object.get("topics").and_then(|topics| topics.as_array()).map(Vec::as_slice) {
            let only = only.clone();
            object.insert("topic".into(), only);
            object.remove("topics");
        }
    }
    let columns: Vec<String> =
        user_fields(&plan.schema).map(|field| format!("{} {}", field.name(), crate::expr::type_word(field))).collect();
    let field = match &plan.time.field {
        crate::plan::TimeField::Timestamp => "timestamp".to_owned(),
        crate::plan::TimeField::Clock => "clock".to_owned(),
        crate::plan::TimeField::Expr(_) => {
            let field = spec.time.as_ref().and_then(|time| time.field.as_ref());
            field.map_or_else(String::new, |field| field.value.clone())
        }
    };
    let mut meaning = serde_json::json!({
        "name": spec.name.value,
        "connector": spec.connector.value,
        "body": body,
        "format": spec.format.as_ref().map(|format| &format.name.value),
        "columns": columns,
        "time": { "field": field, "max_ahead": plan.time.max_ahead_ms },
    });
    if !plan.source.contents().is_empty() {
        meaning["contents"] = plan.source.contents().into();
    }
    meaning
}
