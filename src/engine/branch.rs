//! A branch of the graph at work: row steps, gathering halves and sinks' encoders, one behind another.
//!
//! The same code runs in the lanes (behind sources) and in the trunk (behind stateful steps). What it gives is
//! kept by (source, partition), so that an epoch's rows come in order, whoever made them (I2).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use super::graph::{Branch, Consumer};
use super::metrics::Metrics;
use crate::data::{Batch, DeadLetter, EncodedRows, Partition, SourceIndex, dead_letter};
use crate::plan::{Plan, RecordEncoder, Step};
use crate::report::Failure;
use crate::time::Watermark;
use crate::transforms::{At, Gather, Partial, RowOperator};

/// What branches gave in one epoch: a lane hands it to the trunk at the mark.
#[derive(Debug, Default)]
pub struct Output {
    /// By sink, then by (source, partition): rows in order.
    pub rows: BTreeMap<usize, BTreeMap<(SourceIndex, Partition), Vec<EncodedRows>>>,
    /// Step, source, partition.
    pub partials: Vec<(usize, SourceIndex, Partition, Partial)>,
    pub dead: Vec<DeadLetter>,
}

/// A branch with its operators opened.
pub struct Running {
    consumers: Vec<RunningConsumer>,
}

enum RunningConsumer {
    Rows { operator: Box<dyn RowOperator>, name: String, then: Running },
    Stateful { step: usize, name: String, gather: Box<dyn Gather>, late: Running },
    Sink { sink: usize, name: String, encoder: Box<dyn RecordEncoder> },
}

/// What rows meet on their way through a branch.
pub struct Pass<'a> {
    pub at: At,
    pub watermark: Watermark,
    pub output: &'a mut Output,
    pub metrics: &'a Metrics,
    pub dead_letters_late: bool,
    pub bytes_out: usize,
}

impl Running {
    /// Opens the operators and encoders of a branch.
    pub fn open(plan: &Plan, branch: &Branch) -> Result<Running, Failure> {
        let consumers = branch.consumers.iter().map(|consumer| RunningConsumer::open(plan, consumer));
        Ok(Running { consumers: consumers.collect::<Result<_, _>>()? })
    }

    /// Runs rows through all that read them.
    pub fn run(&mut self, batch: Batch, pass: &mut Pass<'_>) -> Result<(), Failure> {
        if batch.rows.num_rows() == 0 {
            return Ok(());
        }
        for consumer in &mut self.consumers {
            consumer.run(batch.clone(), pass)?;
        }
        Ok(())
    }

    /// Takes the epoch's partials out of the gathering halves.
    pub fn take_partials(&mut self, into: &mut Vec<(usize, SourceIndex, Partition, Partial)>) -> Result<(), Failure> {
        for consumer in &mut self.consumers {
            match consumer {
                RunningConsumer::Rows { then, .. } => then.take_partials(into)?,
                RunningConsumer::Stateful { step, gather, late, .. } => {
                    let partials = gather.take()?.into_iter();
                    into.extend(partials.map(|(source, partition, partial)| (*step, source, partition, partial)));
                    late.take_partials(into)?;
                }
                RunningConsumer::Sink { .. } => {}
            }
        }
        Ok(())
    }
}

impl RunningConsumer {
    fn open(plan: &Plan, consumer: &Consumer) -> Result<RunningConsumer, Failure> {
        Ok(match consumer {
            Consumer::Rows { step, then } => {
                let Step::Rows(transform) = &plan.steps[*step].step else { return Err(wrong_kind(*step)) };
                let name = plan.steps[*step].name.clone();
                RunningConsumer::Rows { operator: transform.open(), name, then: Running::open(plan, then)? }
            }
            Consumer::Stateful { step, late } => {
                let Step::Stateful(transform) = &plan.steps[*step].step else { return Err(wrong_kind(*step)) };
                let (name, late) = (plan.steps[*step].name.clone(), Running::open(plan, late)?);
                RunningConsumer::Stateful { step: *step, name, gather: transform.open_gather(), late }
            }
            Consumer::Sink { sink } => {
                let encoder = plan.sinks[*sink].encode.open()?;
                RunningConsumer::Sink { sink: *sink, name: plan.sinks[*sink].name.clone(), encoder }
            }
        })
    }

    fn run(&mut self, batch: Batch, pass: &mut Pass<'_>) -> Result<(), Failure> {
        let first_dead = pass.output.dead.len();
        let name = match self {
            RunningConsumer::Rows { operator, name, then } => {
                let batch = operator.apply(batch, pass.at, &mut pass.output.dead)?;
                name_dead(&mut pass.output.dead[first_dead..], name);
                return then.run(batch, pass);
            }
            RunningConsumer::Stateful { name, gather, late, .. } => {
                let mut late_rows = Vec::new();
                gather.update(&batch, pass.watermark, pass.at, &mut late_rows, &mut pass.output.dead)?;
                run_late(late_rows, late, pass)?;
                name
            }
            RunningConsumer::Sink { sink, name, encoder } => {
                let encoded = encoder.encode(&batch, &mut pass.output.dead)?;
                pass.bytes_out += encoded.arena.len();
                if !encoded.is_empty() {
                    let sink = pass.output.rows.entry(*sink).or_default();
                    sink.entry((batch.source, batch.partition)).or_default().push(encoded);
                }
                name
            }
        };
        name_dead(&mut pass.output.dead[first_dead..], name);
        Ok(())
    }
}

/// I4, I8: late rows leave in the same epoch, counted; those that nothing takes become dead letters.
fn run_late(late_rows: Vec<Batch>, late: &mut Running, pass: &mut Pass<'_>) -> Result<(), Failure> {
    for batch in late_rows {
        pass.metrics.late.fetch_add(batch.rows.num_rows() as u64, Relaxed);
        if late.consumers.is_empty() && pass.dead_letters_late {
            let reason = "its window had closed";
            pass.output.dead.extend((0..batch.rows.num_rows()).map(|row| dead_letter(&batch, row, "late", reason)));
        }
        late.run(batch, pass)?;
    }
    Ok(())
}

/// Says who refused the records that nobody has claimed yet.
pub fn name_dead(dead: &mut [DeadLetter], step: &str) {
    for dead in dead.iter_mut().filter(|dead| dead.step.is_empty()) {
        dead.step = step.to_owned();
    }
}

fn wrong_kind(step: usize) -> Failure {
    Failure::bug("graph.step_kind", format!("step {step} is not of the kind that the graph says"))
}
