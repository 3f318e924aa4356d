//! `restart: watermark` and `restart: offsets`: which pipelines can find out from their sink alone where they go on.
//!
//! By watermark: the sink has its rows in the order of time, so its newest time says what is out. For that a `sort`
//! stands before the windows, or before the sink. By offsets: the last record of each epoch says how far the sources were read.

use std::collections::BTreeMap;

use super::rewrite::IN_ORDER;
use crate::connectors::kafka::{Moment, Start};
use crate::plan::{Input, RestartPlan, SourcePlan, Step, StepPlan, TimeField};
use crate::report::{Diagnostic, Diagnostics, Place};
use crate::spec::{
    DeliverySpec, Documents, FromNode, Inputs, PipelineSpec, Port, RestartSpec, SinkMode, SinkSpec, Spanned,
    TransformSpec, Verb,
};
use crate::time::Millis;

/// Where the sort must stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Transform(usize),
    Sink,
}

/// Looks whether the pipeline may restart so; says where its rows must be sorted, if they must.
pub(super) fn check(spec: &PipelineSpec, documents: &Documents, out: &mut Diagnostics) -> Option<Before> {
    let restart = spec.restart.as_ref()?;
    if restart.value == RestartSpec::Journal {
        return None;
    }
    let check = Check { spec, restart };
    let errors = out.0.len();
    if let RestartSpec::Watermark { epsilon, .. } = &restart.value
        && epsilon.value.0 == 0
    {
        out.push(
            Diagnostic::error("restart.epsilon", "`epsilon` is above zero")
                .at(&epsilon.place)
                .note("it says how far rows may come out of order; times are whole milliseconds")
                .hint("`1ms` is the least"),
        );
    }
    let sink = check.sink(out)?;
    check.sources(out);
    check.topic(sink, documents, out);
    let before = check.steps(sink, out);
    before.filter(|_| out.0.len() == errors && matches!(restart.value, RestartSpec::Watermark { .. }))
}

struct Check<'a> {
    spec: &'a PipelineSpec,
    restart: &'a Spanned<RestartSpec>,
}

impl<'a> Check<'a> {
    fn refused(&self, title: String, place: &Place) -> Diagnostic {
        Diagnostic::error("restart.not_possible", title).at(place)
    }

    fn mode(&self) -> &'static str {
        self.restart.value.word()
    }

    /// The one sink from which all is read.
    fn sink(&self, out: &mut Diagnostics) -> Option<&'a SinkSpec> {
        let mode = self.mode();
        let sink = self.spec.sinks.first()?;
        if let Some(second) = self.spec.sinks.get(1) {
            let title = format!("`restart: {mode}` needs exactly one sink beside the dead letter's");
            out.push(
                self.refused(title, &second.name.place)
                    .note("where the pipeline goes on is read from that sink; it says nothing of another one")
                    .hint("give each sink a pipeline of its own, or use `restart: journal`"),
            );
            return None;
        }
        let at_least_once = sink.delivery.as_ref().filter(|delivery| delivery.value == DeliverySpec::AtLeastOnce);
        let changes = sink.mode.as_ref().filter(|mode| mode.value != SinkMode::Append);
        let what = if sink.connector.value != "kafka" {
            Some((format!("a Kafka sink, and this is `{}`", sink.connector.value), &sink.connector.place))
        } else if let Some(delivery) = at_least_once {
            Some(("a sink that is exactly once".to_owned(), &delivery.place))
        } else {
            changes.map(|mode| ("a sink of `mode: append`".to_owned(), &mode.place))
        };
        if let Some((what, place)) = what {
            out.push(self.refused(format!("`restart: {mode}` needs {what}"), place));
            return None;
        }
        Some(sink)
    }

    fn sources(&self, out: &mut Diagnostics) {
        for source in self.spec.sources.iter().filter(|source| source.connector.value != "kafka") {
            let title = format!("`restart: {}` needs Kafka sources, and `{}` is none", self.mode(), source.name.value);
            out.push(self.refused(title, &source.connector.place));
        }
        for source in &self.spec.sources {
            let Some(node) = source.body.get("start") else { continue };
            // What is wrong with it in itself is said of the source.
            let start = Start::from_node(node, &mut Diagnostics::default());
            if let Some(Start::Latest | Start::Timestamp(Moment::Ago(_))) = start {
                let mode = self.mode();
                out.push(
                    Diagnostic::error("restart.start", format!("`restart: {mode}` needs a `start` that does not move"))
                        .at(&node.place)
                        .note("as long as nothing is in the sink every start begins there, and what came between two of them would be skipped")
                        .hint("name a moment: `start: { timestamp: 2026-01-31T08:00:00Z }`; or use `restart: journal`"),
                );
            }
        }
    }

    /// The broker's time on the sink's records would say nothing of theirs.
    fn topic(&self, sink: &SinkSpec, documents: &Documents, out: &mut Diagnostics) {
        let Some(topic) = sink.body.get("topic").and_then(|topic| topic.as_str()) else { return };
        let document = documents.topics.iter().find(|document| document.metadata.name.value == topic);
        let config = document.into_iter().flat_map(|document| &document.spec.config);
        for (name, value) in config {
            let is_append_time = name.value == "message.timestamp.type" && value.to_string() == "LogAppendTime";
            if is_append_time && matches!(self.restart.value, RestartSpec::Watermark { .. }) {
                out.push(append_time(topic, &name.place));
            }
        }
    }

    /// From the sink back to the sources: what stands there, and where the sort must stand.
    fn steps(&self, sink: &SinkSpec, out: &mut Diagnostics) -> Option<Before> {
        let mut before = Before::Sink;
        let mut from = sink.from.as_ref()?;
        // Behind the windows rows must stay in their order: one way, without a union.
        while let Some(index) = self.only_transform(from) {
            if self.refuse_late(from, out) {
                return None;
            }
            let transform = &self.spec.transforms[index];
            match &transform.verb {
                Verb::Aggregate(aggregate) if matches!(self.restart.value, RestartSpec::Watermark { .. }) => {
                    if let Some(title) = match (&aggregate.window, &aggregate.fill) {
                        (None, _) => Some("an aggregate without a `window` is never final"),
                        (_, Some(_)) => Some("whether a gap was filled already is not in the sink"),
                        _ => None,
                    } {
                        out.push(self.not_behind(transform, title));
                    }
                    before = Before::Transform(index);
                    from = &transform.from;
                    break;
                }
                _ => {
                    self.row_step(transform, out);
                    from = &transform.from;
                }
            }
        }
        self.rows_only(from, &mut vec![false; self.spec.transforms.len()], out);
        Some(before)
    }

    /// The transform that is all that stands there.
    fn only_transform(&self, from: &Inputs) -> Option<usize> {
        let [one] = from.refs.as_slice() else { return None };
        self.spec.transforms.iter().position(|transform| transform.name.value == one.name)
    }

    /// Everything that leads here looks at one row at a time.
    fn rows_only(&self, from: &Inputs, seen: &mut Vec<bool>, out: &mut Diagnostics) {
        for one in &from.refs {
            let found = self.spec.transforms.iter().position(|transform| transform.name.value == one.name);
            if let Some(index) = found.filter(|index| !std::mem::replace(&mut seen[*index], true)) {
                let transform = &self.spec.transforms[index];
                if !self.refuse_late(from, out) {
                    self.row_step(transform, out);
                }
                self.rows_only(&transform.from, seen, out);
            }
        }
    }

    fn refuse_late(&self, from: &Inputs, out: &mut Diagnostics) -> bool {
        let late = from.refs.iter().find(|input| input.port == Port::Late);
        if let Some(late) = late {
            let title = format!("`restart: {}` cannot tell which late rows are out", self.mode());
            out.push(self.refused(title, &late.place));
        }
        late.is_some()
    }

    fn row_step(&self, transform: &TransformSpec, out: &mut Diagnostics) {
        match &transform.verb {
            Verb::Rows(_) | Verb::Fail(_) => {}
            Verb::Sort(_) if matches!(self.restart.value, RestartSpec::Watermark { .. }) => {
                out.push(self.not_behind(transform, "rows are sorted already, within `epsilon`"));
            }
            Verb::Sort(_) => out.push(self.not_behind(transform, "it keeps rows, which are not in the sink")),
            Verb::Aggregate(_) => out.push(self.not_behind(transform, "it keeps state, which is not in the sink")),
        }
    }

    fn not_behind(&self, transform: &TransformSpec, why: &str) -> Diagnostic {
        let title = format!("`restart: {}` is not possible with `{}`", self.mode(), transform.name.value);
        let possible = match self.restart.value {
            RestartSpec::Offsets => "steps of one row (`where check add select drop`)",
            _ => "steps of one row, one tumbling or hopping window, and such steps behind it",
        };
        self.refused(title, &transform.name.place)
            .label(why)
            .note(format!("possible are {possible}"))
            .hint("use `restart: journal`")
    }
}

/// The diagnostic for a topic that puts its own time on records.
pub(super) fn append_time(topic: &str, place: &Place) -> Diagnostic {
    Diagnostic::error("restart.append_time", format!("topic `{topic}` puts its own time on records (LogAppendTime)"))
        .at(place)
        .note("`restart: watermark` reads from the sink's timestamps which event times are out")
        .hint("set `message.timestamp.type=CreateTime` on the topic, and begin with an empty one")
}

/// True if records whose time is later than their timestamp are bad records.
pub(super) fn bounds_times(spec: &PipelineSpec) -> bool {
    let restart = spec.restart.as_ref().map(|restart| &restart.value);
    matches!(restart, Some(RestartSpec::Watermark { not_after_timestamp: true, .. }))
}

/// The warning for a topic that loses what a restart goes by.
pub(super) fn retention(topic: &str, ms: Millis, place: &Place) -> Diagnostic {
    let kept = crate::time::duration::format(ms);
    Diagnostic::warning("restart.retention", format!("topic `{topic}` keeps its records for {kept} only"))
        .at(place)
        .note("a restart goes by its newest records: when they are removed nothing says where to go on")
        .hint("set `retention.ms=-1` on the topic")
}

/// What the engine goes by; `sink` is the only sink's index in the plan, and reads `input`.
pub(super) fn plan(
    spec: &PipelineSpec,
    sources: &BTreeMap<usize, &SourcePlan>,
    steps: &[StepPlan],
    (sink, input): (usize, Option<Input>),
    out: &mut Diagnostics,
) -> Option<RestartPlan> {
    let restart = spec.restart.as_ref().map_or(&RestartSpec::Journal, |restart| &restart.value);
    Some(match restart {
        RestartSpec::Journal => RestartPlan::Journal,
        RestartSpec::Offsets => RestartPlan::Offsets { sink },
        // It was refused, and nothing of it will run.
        RestartSpec::Watermark { .. } if !steps.iter().any(|step| step.name == IN_ORDER) => RestartPlan::Journal,
        RestartSpec::Watermark { epsilon, not_after_timestamp } => {
            for (index, source) in sources.iter().filter(|_| !not_after_timestamp) {
                timestamps_only(spec, *index, source, out);
            }
            let step = held_against_sink(steps, input?)?;
            RestartPlan::Watermark { sink, step, seek_ms: epsilon.value.0 + window_ms(spec) }
        }
    })
}

/// The last stateful step before the sink: the windows, or else the sort. Others may stand beside its way, as what trips
/// a `fail` step: their rows are not in the sink.
fn held_against_sink(steps: &[StepPlan], mut input: Input) -> Option<usize> {
    loop {
        let (Input::Step(step) | Input::Late(step) | Input::Rest(step) | Input::Failed(step)) = input else {
            return None;
        };
        match steps[step].step {
            Step::Stateful(_) => return Some(step),
            Step::Rows(_) => input = steps[step].input,
        }
    }
}

fn window_ms(spec: &PipelineSpec) -> Millis {
    let size = |transform: &TransformSpec| match &transform.verb {
        Verb::Aggregate(aggregate) => aggregate.window.as_ref().map(|window| window.value.size.0),
        _ => None,
    };
    spec.transforms.iter().filter_map(size).max().unwrap_or(0)
}

/// A source is sought by its records' timestamps: they must be the times that are held against the sink.
fn timestamps_only(spec: &PipelineSpec, index: usize, source: &SourcePlan, out: &mut Diagnostics) {
    if matches!(source.time.field, TimeField::Timestamp) {
        return;
    }
    let place = spec.sources[index].time.as_ref().map_or(&spec.sources[index].place, |time| &time.place);
    out.push(
        Diagnostic::error(
            "restart.time",
            format!("`restart: watermark` needs the Kafka timestamp as event time, and `{}` has a `time.field`", source.name),
        )
        .at(place)
        .note("a restart seeks the first record that is not older than a time of the sink, and Kafka knows only its own timestamps")
        .hint("if the field is never later than the timestamp, say so: `not_after_timestamp: true` beside `epsilon`"),
    );
}
