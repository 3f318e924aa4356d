//! `/metrics`: what every pipeline counts, and each of its sources, steps and sinks, in Prometheus' text format.
//!
//! A family is a line of a table, so that `docs/operating.md` and the dashboard can be held against what there is.
//! Counters count since the server was started and stay until the pipeline is deleted; what only says how something
//! stands now (lag, watermark, memory) is there while the pipeline runs.

mod process;
mod text;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use self::text::{Kind, Text};
use crate::deploy::supervisor::{Measured, State as PipelineState, Supervisor};
use crate::engine::metrics::{PartKind, PartSnapshot, Snapshot};
use crate::time::Millis;

/// A number of each pipeline.
struct OfPipeline {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    read: fn(&Measured) -> u64,
}

const OF_PIPELINES: &[OfPipeline] = &[
    counter("runner_epochs_total", "Epochs committed.", |one| metrics(one).epochs),
    counter("runner_expired_records_total", "Records that were needed and gone.", |one| metrics(one).expired),
    counter("runner_ahead_records_total", "Records written with an earlier timestamp than theirs.", |one| {
        metrics(one).ahead
    }),
    counter("runner_already_out_records_total", "Records made again at a restart that the sink had.", |one| {
        metrics(one).already_out
    }),
    counter("runner_snapshots_total", "Snapshots of the state that were published.", |one| metrics(one).snapshots),
    counter("runner_snapshots_failed_total", "Snapshots of the state that could not be written.", |one| {
        metrics(one).snapshots_failed
    }),
    counter("runner_restarts_total", "Starts after failures.", |one| one.described.status.restarts),
    gauge("runner_memory_bytes", "Bytes held when the last epoch was committed.", |one| metrics(one).memory),
];

const fn counter(name: &'static str, help: &'static str, read: fn(&Measured) -> u64) -> OfPipeline {
    OfPipeline { name, help, kind: Kind::Counter, read }
}

const fn gauge(name: &'static str, help: &'static str, read: fn(&Measured) -> u64) -> OfPipeline {
    OfPipeline { name, help, kind: Kind::Gauge, read }
}

fn metrics(one: &Measured) -> Snapshot {
    one.described.metrics
}

/// A number of each source, step or sink. The label is what the part is.
struct OfPart {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    part: PartKind,
    read: fn(&PartSnapshot) -> u64,
}

const OF_PARTS: &[OfPart] = &[
    of_source("runner_source_records_total", "Records read.", |part| part.input.rows),
    of_source("runner_source_bytes_total", "Bytes of the records read.", |part| part.input.bytes),
    OfPart {
        kind: Kind::Gauge,
        ..of_source("runner_source_lag_records", "Records between what was read and the end.", |part| part.behind)
    },
    of_step("runner_step_records_in_total", "Records that a step was given.", |part| part.input.rows),
    of_step("runner_step_records_out_total", "Records that a step let out.", |part| part.output.rows),
    of_step("runner_step_bytes_in_total", "Bytes of the columns that a step was given.", |part| part.input.bytes),
    of_step("runner_step_bytes_out_total", "Bytes of the columns that a step let out.", |part| part.output.bytes),
    of_step("runner_step_late_records_total", "Records whose windows had closed.", |part| part.late),
    of_sink("runner_sink_records_total", "Records committed.", |part| part.output.rows),
    of_sink("runner_sink_bytes_total", "Bytes of keys, values and headers committed.", |part| part.output.bytes),
];

const fn of_source(name: &'static str, help: &'static str, read: fn(&PartSnapshot) -> u64) -> OfPart {
    OfPart { name, help, kind: Kind::Counter, part: PartKind::Source, read }
}

const fn of_step(name: &'static str, help: &'static str, read: fn(&PartSnapshot) -> u64) -> OfPart {
    OfPart { name, help, kind: Kind::Counter, part: PartKind::Step, read }
}

const fn of_sink(name: &'static str, help: &'static str, read: fn(&PartSnapshot) -> u64) -> OfPart {
    OfPart { name, help, kind: Kind::Counter, part: PartKind::Sink, read }
}

/// All states, so that each is a series that is 0 or 1.
const STATES: &[(&str, PipelineState)] = &[
    ("starting", PipelineState::Starting),
    ("waiting", PipelineState::Waiting),
    ("running", PipelineState::Running),
    ("restarting", PipelineState::Restarting),
    ("stopping", PipelineState::Stopping),
    ("paused", PipelineState::Paused),
    ("stopped", PipelineState::Stopped),
    ("ended", PipelineState::Ended),
    ("failed", PipelineState::Failed),
];

const DEAD_LETTERS: &str = "runner_dead_letters_total";
const COMMITS: &str = "runner_commit_duration_seconds";
const WATERMARK: &str = "runner_watermark_timestamp_seconds";
const DELAY: &str = "runner_watermark_delay_seconds";
const STATE: &str = "runner_pipeline_state";
const CONNECTOR: &str = "runner_connector_info";
const BUILD: &str = "runner_build_info";

pub async fn show(State(supervisor): State<Arc<Supervisor>>) -> Response {
    let text = text(&supervisor.measured(), supervisor.now());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn text(pipelines: &[Measured], now: Millis) -> String {
    let mut text = Text::default();
    for OfPart { name, help, kind, part, read } in OF_PARTS {
        text.family(name, *kind, help);
        for pipeline in pipelines.iter().filter(|pipeline| is_told(*kind, pipeline)) {
            for ((_, of), counters) in pipeline.parts().filter(|((kind, _), _)| kind == part) {
                text.sample(name, &labels(pipeline, &[(word(*part), of)]), read(counters));
            }
        }
    }
    text.family(DEAD_LETTERS, Kind::Counter, "Records refused, by the source, step or sink that did.");
    for pipeline in pipelines {
        for ((_, of), counters) in pipeline.parts() {
            text.sample(DEAD_LETTERS, &labels(pipeline, &[("part", of)]), counters.dead);
        }
    }
    for OfPipeline { name, help, kind, read } in OF_PIPELINES {
        text.family(name, *kind, help);
        for pipeline in pipelines.iter().filter(|pipeline| is_told(*kind, pipeline)) {
            text.sample(name, &labels(pipeline, &[]), read(pipeline));
        }
    }
    add_commits(&mut text, pipelines);
    add_watermarks(&mut text, pipelines, now);
    add_states(&mut text, pipelines);
    text.family(BUILD, Kind::Gauge, "The version of runner.");
    text.sample(BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    process::add(&mut text);
    text.into_string()
}

fn add_commits(text: &mut Text, pipelines: &[Measured]) {
    text.family(
        COMMITS,
        Kind::Histogram,
        "How long a commit took: of the journal, with the sinks that commit with it.",
    );
    let (bucket, sum, count) = (format!("{COMMITS}_bucket"), format!("{COMMITS}_sum"), format!("{COMMITS}_count"));
    for pipeline in pipelines {
        let observed = &pipeline.measures.commits;
        for (end, count) in observed.cumulated() {
            text.sample(&bucket, &labels(pipeline, &[("le", &end.to_string())]), count);
        }
        text.sample(&bucket, &labels(pipeline, &[("le", "+Inf")]), observed.count());
        text.sample(&sum, &labels(pipeline, &[]), observed.sum_seconds());
        text.sample(&count, &labels(pipeline, &[]), observed.count());
    }
}

fn add_watermarks(text: &mut Text, pipelines: &[Measured], now: Millis) {
    let running = || pipelines.iter().filter(|pipeline| pipeline.runs());
    let known = || running().filter_map(|pipeline| Some((pipeline, metrics(pipeline).watermark?)));
    text.family(WATERMARK, Kind::Gauge, "The watermark, as seconds since 1970.");
    for (pipeline, watermark) in known() {
        text.sample(WATERMARK, &labels(pipeline, &[]), seconds(watermark));
    }
    text.family(DELAY, Kind::Gauge, "How far the watermark is behind the clock.");
    for (pipeline, watermark) in known() {
        text.sample(DELAY, &labels(pipeline, &[]), seconds(now.saturating_sub(watermark)));
    }
}

fn add_states(text: &mut Text, pipelines: &[Measured]) {
    text.family(STATE, Kind::Gauge, "1 for the state that the pipeline is in.");
    for pipeline in pipelines {
        for (word, state) in STATES {
            let is_it = u8::from(pipeline.described.status.state == *state);
            text.sample(STATE, &labels(pipeline, &[("state", word)]), is_it);
        }
    }
    text.family(CONNECTOR, Kind::Gauge, "1 for the connector of Kafka Connect that the pipeline was made of.");
    for pipeline in pipelines {
        if let Some(connector) = &pipeline.described.kept.connector {
            text.sample(CONNECTOR, &labels(pipeline, &[("connector", &connector.name)]), 1);
        }
    }
}

/// What only says how something stands means nothing while nobody works on it.
fn is_told(kind: Kind, pipeline: &Measured) -> bool {
    kind != Kind::Gauge || pipeline.runs()
}

fn word(part: PartKind) -> &'static str {
    match part {
        PartKind::Source => "source",
        PartKind::Step => "step",
        PartKind::Sink => "sink",
    }
}

fn seconds(millis: Millis) -> f64 {
    millis as f64 / 1_000.0
}

fn labels<'a>(pipeline: &'a Measured, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let name = &pipeline.described.kept.name;
    let mut labels = vec![("namespace", name.namespace.as_str()), ("pipeline", name.name.as_str())];
    labels.extend_from_slice(more);
    labels
}
