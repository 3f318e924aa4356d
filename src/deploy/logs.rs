//! The last lines that each pipeline of a process logged, for whoever asks the server.
//!
//! A line belongs to the pipeline in whose span it was logged: the supervisor works within one, and the engine's
//! threads inherit it.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::submission::Name;
use crate::time::{Clock, Millis};

/// Lines that are kept of each pipeline.
const LINES_MAX: usize = 1_000;
/// Name of the span of a pipeline; its field `pipeline` says which.
pub const SPAN: &str = "pipeline";

/// A line of a pipeline's log.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Line {
    /// Counts the pipeline's lines, from 1.
    pub number: u64,
    /// Milliseconds since 1970.
    pub at: Millis,
    /// `INFO`, `WARN` …
    pub level: String,
    pub text: String,
}

/// The logs of all pipelines.
#[derive(Debug, Clone)]
pub struct Logs {
    clock: Arc<dyn Clock>,
    lines: Arc<Mutex<HashMap<String, VecDeque<Line>>>>,
}

impl Logs {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Logs { clock, lines: Arc::default() }
    }

    /// The last lines of a pipeline, the oldest first.
    pub fn last(&self, name: &Name, count: usize) -> Vec<Line> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = lines.get(&name.to_string());
        lines.map_or(Vec::new(), |lines| lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect())
    }

    /// Forgets a pipeline.
    pub fn forget(&self, name: &Name) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).remove(&name.to_string());
    }

    fn push(&self, pipeline: &str, level: &tracing::Level, text: String) {
        let at = self.clock.now();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = lines.entry(pipeline.to_owned()).or_default();
        let number = lines.back().map_or(1, |last| last.number + 1);
        if lines.len() >= LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(Line { number, at, level: level.to_string(), text });
    }
}

/// Which pipeline a span is of.
struct Of(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Logs {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != SPAN {
            return;
        }
        let mut said = Said::default();
        attributes.record(&mut said);
        if let (Some(span), Some(pipeline)) = (context.span(id), said.pipeline) {
            span.extensions_mut().insert(Of(pipeline));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(scope) = context.event_scope(event) else { return };
        let pipeline = scope.into_iter().find_map(|span| Some(span.extensions().get::<Of>()?.0.clone()));
        let Some(pipeline) = pipeline else { return };
        let mut said = Said::default();
        event.record(&mut said);
        self.push(&pipeline, event.metadata().level(), said.text);
    }
}

/// The fields of a span or event, as text.
#[derive(Default)]
struct Said {
    pipeline: Option<String>,
    text: String,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let separator = if self.text.is_empty() { "" } else { " " };
        let _ = match field.name() {
            "pipeline" => {
                self.pipeline = Some(format!("{value:?}"));
                Ok(())
            }
            "message" => write!(self.text, "{separator}{value:?}"),
            name => write!(self.text, "{separator}{name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::time::ManualClock;

    #[test]
    fn a_line_belongs_to_the_span_it_was_logged_in() {
        let logs = Logs::new(ManualClock::at(5));
        let name = |name: &str| Name { namespace: "default".into(), name: name.into() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(logs.clone()), || {
            tracing::warn!("of nobody");
            let span = tracing::info_span!(SPAN, pipeline = %name("a"));
            span.in_scope(|| {
                for number in 0..1_200 {
                    tracing::info!(source = "rows", "line {number}");
                }
            });
            let span = tracing::info_span!(SPAN, pipeline = "b");
            span.in_scope(|| tracing::info_span!("inner").in_scope(|| tracing::warn!("of b")));
        });
        assert_eq!(logs.last(&name("b"), 9), [Line { number: 1, at: 5, level: "WARN".into(), text: "of b".into() }]);
        let last = logs.last(&name("a"), 2);
        assert_eq!(last[1].text, "line 1199 source=rows");
        assert_eq!((last.len(), logs.last(&name("a"), 5_000).len()), (2, LINES_MAX));
        logs.forget(&name("a"));
        assert_eq!(logs.last(&name("a"), 2), []);
    }
}
