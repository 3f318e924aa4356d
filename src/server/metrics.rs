//! `/metrics`: what every pipeline counts, in Prometheus' text format.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::deploy::supervisor::{Described, State as PipelineState, Supervisor};
use crate::engine::metrics::Snapshot;

type Read = fn(&Snapshot) -> u64;

/// Name, kind, help, value. Counters count since the server was started; replayed rows do not count.
const METRICS: &[(&str, &str, &str, Read)] = &[
    ("runner_records_in_total", "counter", "Records read from the sources.", |s| s.rows_in),
    ("runner_bytes_in_total", "counter", "Bytes of the records read.", |s| s.bytes_in),
    ("runner_records_out_total", "counter", "Records committed to the sinks.", |s| s.rows_out),
    ("runner_late_records_total", "counter", "Records whose windows had closed.", |s| s.late),
    ("runner_dead_letters_total", "counter", "Records that gave no row.", |s| s.dead),
    ("runner_expired_records_total", "counter", "Records that were needed and gone.", |s| s.expired),
    ("runner_ahead_records_total", "counter", "Records written with an earlier timestamp than theirs.", |s| s.ahead),
    ("runner_epochs_total", "counter", "Epochs committed.", |s| s.epochs),
    ("runner_snapshots_total", "counter", "Snapshots of the state taken.", |s| s.snapshots),
    ("runner_snapshots_failed_total", "counter", "Snapshots of the state that could not be written.", |s| {
        s.snapshots_failed
    }),
    ("runner_behind_records", "gauge", "Records between the positions and the ends of the sources.", |s| s.behind),
    ("runner_memory_bytes", "gauge", "Bytes held when the last epoch was committed.", |s| s.memory),
];

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

pub async fn show(State(supervisor): State<Arc<Supervisor>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text(&supervisor.list())).into_response()
}

fn text(pipelines: &[Described]) -> String {
    let mut out = String::new();
    for (name, kind, help, read) in METRICS {
        head(&mut out, name, kind, help);
        for pipeline in pipelines {
            let _ = writeln!(out, "{name}{{{}}} {}", labels(pipeline), read(&pipeline.metrics));
        }
    }
    head(&mut out, "runner_watermark_seconds", "gauge", "The watermark, as seconds since 1970.");
    for pipeline in pipelines {
        if let Some(watermark) = pipeline.metrics.watermark {
            let seconds = watermark as f64 / 1_000.0;
            let _ = writeln!(out, "runner_watermark_seconds{{{}}} {seconds}", labels(pipeline));
        }
    }
    head(&mut out, "runner_restarts_total", "counter", "Starts after failures.");
    for pipeline in pipelines {
        let _ = writeln!(out, "runner_restarts_total{{{}}} {}", labels(pipeline), pipeline.status.restarts);
    }
    head(&mut out, "runner_pipeline_state", "gauge", "1 for the state that the pipeline is in.");
    for pipeline in pipelines {
        for (word, state) in STATES {
            let is_it = u8::from(pipeline.status.state == *state);
            let _ = writeln!(out, "runner_pipeline_state{{{},state=\"{word}\"}} {is_it}", labels(pipeline));
        }
    }
    head(&mut out, "runner_build_info", "gauge", "The version of runner.");
    let _ = writeln!(out, "runner_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Names have letters, digits, `.`, `_` and `-` only: nothing is to be escaped.
fn labels(pipeline: &Described) -> String {
    let name = &pipeline.kept.name;
    format!("namespace=\"{}\",pipeline=\"{}\"", name.namespace, name.name)
}
