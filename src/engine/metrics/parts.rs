//! What each source, step and sink of a pipeline counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arrow::array::{Array, RecordBatch};

use crate::data::DeadLetter;
use crate::plan::Plan;

/// What a part of a pipeline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartKind {
    Source,
    Step,
    Sink,
}

/// Rows, and the bytes that they take: a record's as it is read and written, a step's rows as columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    pub rows: u64,
    pub bytes: u64,
}

impl Flow {
    pub fn add(&mut self, other: Flow) {
        self.rows += other.rows;
        self.bytes += other.bytes;
    }

    /// Of a batch: the parts of its buffers that it uses.
    pub fn of(rows: &RecordBatch) -> Flow {
        let bytes = |column: &std::sync::Arc<dyn Array>| column.to_data().get_slice_memory_size().unwrap_or(0);
        Flow { rows: rows.num_rows() as u64, bytes: rows.columns().iter().map(bytes).sum::<usize>() as u64 }
    }
}

/// What an epoch brought, by index: kept with its rows until they are live.
#[derive(Debug, Default)]
pub struct Counts {
    sources: BTreeMap<usize, Flow>,
    steps: BTreeMap<usize, StepCounts>,
}

#[derive(Debug, Clone, Copy, Default)]
struct StepCounts {
    input: Flow,
    output: Flow,
    late: u64,
}

impl Counts {
    pub fn read(&mut self, source: usize, flow: Flow) {
        self.sources.entry(source).or_default().add(flow);
    }

    pub fn given(&mut self, step: usize, rows: &RecordBatch) {
        self.steps.entry(step).or_default().input.add(Flow::of(rows));
    }

    pub fn let_out(&mut self, step: usize, rows: &RecordBatch) {
        if rows.num_rows() > 0 {
            self.steps.entry(step).or_default().output.add(Flow::of(rows));
        }
    }

    pub fn late(&mut self, step: usize, rows: u64) {
        self.steps.entry(step).or_default().late += rows;
    }

    /// Those of another lane.
    pub fn join(&mut self, other: Counts) {
        for (source, flow) in other.sources {
            self.read(source, flow);
        }
        for (step, counts) in other.steps {
            let known = self.steps.entry(step).or_default();
            known.input.add(counts.input);
            known.output.add(counts.output);
            known.late += counts.late;
        }
    }

    pub(super) fn late_rows(&self) -> u64 {
        self.steps.values().map(|step| step.late).sum()
    }
}

/// The counters of a source, a step or a sink. What it does not have stays 0.
#[derive(Debug, Default)]
struct Part {
    name: String,
    /// Of a source: what was read. Of a step: what it was given.
    input: FlowCounter,
    /// Of a step: what it let out. Of a sink: what was committed.
    output: FlowCounter,
    late: AtomicU64,
    /// Records that it refused.
    dead: AtomicU64,
    /// Of a source: records between its positions and its ends, where it knows.
    behind: AtomicU64,
}

#[derive(Debug, Default)]
struct FlowCounter {
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl FlowCounter {
    fn add(&self, flow: Flow) {
        self.rows.fetch_add(flow.rows, Relaxed);
        self.bytes.fetch_add(flow.bytes, Relaxed);
    }

    fn flow(&self) -> Flow {
        Flow { rows: self.rows.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }
}

/// The counters of all parts, as the plan numbers them; none in tests that look at no part.
#[derive(Debug, Default)]
pub struct PartCounters {
    sources: Vec<Part>,
    steps: Vec<Part>,
    sinks: Vec<Part>,
}

impl PartCounters {
    pub(super) fn of(plan: &Plan) -> PartCounters {
        PartCounters {
            sources: plan.sources.iter().map(|source| Part::named(&source.name)).collect(),
            steps: plan.steps.iter().map(|step| Part::named(&step.name)).collect(),
            sinks: plan.sinks.iter().map(|sink| Part::named(&sink.name)).collect(),
        }
    }

    /// Adds up what is live.
    pub(super) fn add(&self, counts: &Counts) {
        for (source, flow) in &counts.sources {
            if let Some(part) = self.sources.get(*source) {
                part.input.add(*flow);
            }
        }
        for (step, counts) in &counts.steps {
            if let Some(part) = self.steps.get(*step) {
                part.input.add(counts.input);
                part.output.add(counts.output);
                part.late.fetch_add(counts.late, Relaxed);
            }
        }
    }

    /// Counts records for whoever refused them. They mostly come in runs.
    pub(super) fn add_dead(&self, dead: &[DeadLetter]) {
        for run in dead.chunk_by(|a, b| a.step == b.step) {
            let mut all = self.sources.iter().chain(&self.steps).chain(&self.sinks);
            if let Some(part) = all.find(|part| part.name == run[0].step) {
                part.dead.fetch_add(run.len() as u64, Relaxed);
            }
        }
    }

    /// Counts what a sink was committed.
    pub fn add_written(&self, sink: usize, flow: Flow) {
        if let Some(part) = self.sinks.get(sink) {
            part.output.add(flow);
        }
    }

    /// One of a source's lanes was `before` records behind, and is `now`.
    pub fn move_behind(&self, source: usize, before: u64, now: u64) {
        if let Some(part) = self.sources.get(source) {
            part.behind.fetch_add(now.wrapping_sub(before), Relaxed);
        }
    }

    pub(super) fn behind(&self) -> u64 {
        self.sources.iter().map(|part| part.behind.load(Relaxed)).fold(0, u64::wrapping_add)
    }

    pub(super) fn bytes_in(&self) -> u64 {
        self.sources.iter().map(|part| part.input.bytes.load(Relaxed)).sum()
    }

    pub fn snapshot(&self) -> Parts {
        let of = |kind, parts: &[Part]| {
            parts.iter().map(|part| ((kind, part.name.clone()), part.snapshot())).collect::<Vec<_>>()
        };
        let all =
            [of(PartKind::Source, &self.sources), of(PartKind::Step, &self.steps), of(PartKind::Sink, &self.sinks)];
        all.into_iter().flatten().collect()
    }
}

/// A part's counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartSnapshot {
    pub input: Flow,
    pub output: Flow,
    pub late: u64,
    pub dead: u64,
    pub behind: u64,
}

/// The parts of a pipeline at one moment, by what they are and their names.
pub type Parts = BTreeMap<(PartKind, String), PartSnapshot>;

impl Part {
    fn named(name: &str) -> Part {
        Part { name: name.to_owned(), ..Part::default() }
    }

    fn snapshot(&self) -> PartSnapshot {
        PartSnapshot {
            input: self.input.flow(),
            output: self.output.flow(),
            late: self.late.load(Relaxed),
            dead: self.dead.load(Relaxed),
            behind: self.behind.load(Relaxed),
        }
    }
}

impl PartSnapshot {
    /// These counters on top of those of earlier runs; how far it is behind is its own.
    pub fn after(mut self, past: PartSnapshot) -> PartSnapshot {
        self.input.add(past.input);
        self.output.add(past.output);
        self.late += past.late;
        self.dead += past.dead;
        self
    }
}
