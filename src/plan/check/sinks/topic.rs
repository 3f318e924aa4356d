//! Topics as sinks: their records' parts (key, value, headers, time), the topic itself, its subjects.

use std::collections::BTreeSet;

use super::*;

/// A topic to write, and what is known of it.
pub(super) struct KafkaEnd<'t> {
    pub topic: String,
    pub cluster: Cluster,
    pub connection: connections::Connection,
    pub document: Option<&'t Document<TopicSpec>>,
    pub sink: kafka::KafkaSink,
    pub record_bytes_max: usize,
}

impl<'a> SinkCheck<'_, 'a> {
    pub(super) fn kafka(
        &self,
        mode: Mode,
        input: &Shape,
        topics: &mut Topics,
        outline: &mut Outline,
        out: &mut Diagnostics,
    ) -> Option<SinkDraft<'a>> {
        let options = kafka::KafkaSinkOptions::from_node(&self.spec.body, out)?;
        let key = modes::key(self.spec, input, self.has_keys(input), mode, out);
        if let Some(format) = self.is_connect() {
            return self.connect_records(format, &options, key, mode, input, topics, outline, out);
        }
        options.refuse_new_topics(&self.spec.connector.place, out);
        let end = self.kafka_end(&options, &options.topic.value.0, topics, outline, out)?;
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
            Chosen::Original => {
                let shown = self.original(input, out)?;
                (Part::Original(meta::VALUE_BYTES), shown, None)
            }
            Chosen::Codec(Format::Avro) => {
                let writing = self.avro(&end, &value_schema(input), Side::Value, outline, out)?;
                (writing.part_of(input.untouched.as_ref()), writing.describe(), writing.avro_schema())
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
            headers: if self.keeps_headers(input) { Headers::Original } else { Headers::Nothing },
            mode,
            record_bytes_max: end.record_bytes_max,
        };
        let mut needs = record_needs(&records);
        for template in self.headers(input, out)? {
            needs.extend(template.parts.iter().flat_map(TemplatePart::columns));
        }
        Some(self.kafka_draft(end, mode, needs, EncodingDraft::Kafka(records), shown, key_shown))
    }

    /// Whether records of the input have keys and headers of their own.
    fn has_keys(&self, input: &Shape) -> bool {
        self.connectors(input).any(|connector| connector == "kafka")
    }

    /// Whether a record keeps the headers that it came with.
    pub(super) fn keeps_headers(&self, input: &Shape) -> bool {
        input.group.is_none() && self.has_keys(input) && self.spec.headers.is_empty()
    }

    /// A sink of which is not known yet in which transaction it is written.
    pub(super) fn kafka_draft(
        &self,
        end: KafkaEnd,
        mode: Mode,
        needs: BTreeSet<String>,
        encoding: EncodingDraft,
        format: String,
        key: String,
    ) -> SinkDraft<'a> {
        let outline = SinkOutline {
            connector: "kafka",
            from: self.spec.from.as_ref().map(super::super::shown_input).unwrap_or_default(),
            to: format!("topic `{}`", end.topic),
            format,
            key,
            guarantee: guarantee(Delivery::Transaction).into(),
        };
        let sink = Arc::new(end.sink.clone());
        let kafka = Some((end.cluster, end.sink));
        SinkDraft { spec: self.spec, sink, mode, needs, encoding, kafka, outline }
    }

    pub(super) fn kafka_end<'t>(
        &self,
        options: &kafka::KafkaSinkOptions,
        topic: &str,
        topics: &Topics<'t>,
        outline: &mut Outline,
        out: &mut Diagnostics,
    ) -> Option<KafkaEnd<'t>> {
        let document = topics.declared(topic);
        let named = self.spec.connection.as_ref().or(document.and_then(|d| d.spec.connection.as_ref()));
        let place = &self.spec.connector.place;
        let connection = connections::find(named, place, Some(&self.scope.pipeline.spec), self.scope.documents, out)?;
        let cluster = connection.cluster(self.scope.world, out)?;
        codecs::add_connection(outline, &connection, &cluster);
        let sink = kafka::KafkaSink {
            cluster: cluster.client(),
            topic: topic.to_owned(),
            properties: options.properties.as_ref().map(kafka::Properties::to_map).unwrap_or_default(),
            written: kafka::Written::WithJournal,
            routes: None,
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
        Some(KafkaEnd { topic: topic.to_owned(), cluster, connection, document, sink, record_bytes_max })
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
                format: Some(format.clone()),
                columns: Some(Arc::new(value_schema(input))),
                schema,
            },
        );
    }

    pub(super) fn add_topic(&self, end: &KafkaEnd, mode: Mode, outline: &mut Outline, out: &mut Diagnostics) {
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
        let restart = self.scope.pipeline.spec.restart.as_ref().map(|restart| &restart.value);
        // The dead letter's sink, which reads from nothing by name, says nothing of where to go on.
        let by_sink = restart.filter(|restart| **restart != RestartSpec::Journal && self.spec.from.is_some());
        if let (Some(ms), Some(_)) = (info.retention_ms, by_sink) {
            out.push(restart::retention(&end.topic, ms, place));
        }
        if info.log_append_time && matches!(by_sink, Some(RestartSpec::Watermark { .. })) {
            out.push(restart::append_time(&end.topic, place));
        } else if info.log_append_time {
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
}

pub(super) fn timestamp(input: &Shape) -> Timestamp {
    match &input.group {
        None => Timestamp::EventTime,
        Some(group) => match &group.window_end {
            Some(column) => Timestamp::WindowEnd(column.clone()),
            None if group.windowed => Timestamp::EventTime,
            None => Timestamp::Now,
        },
    }
}

pub(super) fn record_needs(records: &KafkaRecords) -> BTreeSet<String> {
    let mut needs = BTreeSet::new();
    for part in [&records.key, &records.value] {
        match part {
            Part::Nothing => {}
            Part::Original(column) => needs.extend([column.to_string()]),
            Part::Columns { columns, .. } => needs.extend(columns.iter().cloned()),
            Part::PassedOn(_) => needs.extend([meta::VALUE_BYTES.to_owned()]),
        }
    }
    needs.extend(timestamp_need(&records.timestamp));
    if matches!(records.headers, Headers::Original) {
        needs.insert(meta::HEADERS_LIST.into());
    }
    needs
}

/// The column that a timestamp is taken from.
pub(super) fn timestamp_need(timestamp: &Timestamp) -> Option<String> {
    match timestamp {
        Timestamp::Now => None,
        Timestamp::EventTime => Some(meta::TIME.to_owned()),
        Timestamp::WindowEnd(column) => Some(column.clone()),
    }
}

pub(super) fn compile_headers(
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
