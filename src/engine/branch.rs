//! A branch of the graph at work: row steps, gathering halves and sinks' encoders, one behind another.
//!
//! The same code runs in the lanes (behind sources) and in the trunk (behind stateful steps). What it gives is
//! kept by (source, partition), so that an epoch's rows come in order, whoever made them (I2).

use std::collections::BTreeMap;

use arrow::array::{RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;

use super::away::Waits;
use super::graph::{Branch, Consumer};
use super::metrics::Counts;
use crate::data::{Batch, DeadLetter, EncodedRows, Partition, SourceIndex, dead_letter, with_reason};
use crate::plan::{Plan, RecordEncoder, Step};
use crate::report::Failure;
use crate::time::Watermark;
use crate::transforms::union::{Union, by_offset};
use crate::transforms::{At, Gather, Left, Partial, RowOperator};

/// Why rows are on a port.
const NOT_PASSED: &str = "it did not pass `where`";
pub const HELD_BACK: &str = "it did not pass `having`";

/// What branches gave in one epoch: a lane hands it to the trunk at the mark.
#[derive(Debug, Default)]
pub struct Output {
    /// By sink, then by (source, partition): rows in order.
    pub rows: BTreeMap<usize, BTreeMap<(SourceIndex, Partition), Vec<EncodedRows>>>,
    /// Step, source, partition.
    pub partials: Vec<(usize, SourceIndex, Partition, Partial)>,
    pub dead: Vec<DeadLetter>,
    pub counts: Counts,
}

/// A branch with its operators opened.
pub struct Running {
    consumers: Vec<RunningConsumer>,
    /// At a root: by number, inputs first.
    unions: Vec<(usize, Running)>,
}

enum RunningConsumer {
    Rows { step: usize, operator: Box<dyn RowOperator>, name: String, then: Running, rest: Running, failed: Running },
    Stateful { step: usize, name: String, gather: Box<dyn Gather>, late_because: &'static str, late: Running },
    Sink { sink: usize, name: String, encoder: Box<dyn RecordEncoder> },
    Union { union: usize, slot: usize, columns: Union },
}

/// What rows meet on their way through a branch.
pub struct Pass<'a> {
    pub at: At,
    pub watermark: Watermark,
    pub output: &'a mut Output,
    pub waits: &'a Waits,
    pub dead_letters_late: bool,
    pub bytes_out: usize,
    /// By union: rows that its inputs gave, with the number of the input. They wait for the root to have given all.
    pub waiting: BTreeMap<usize, Vec<(usize, Batch)>>,
}

impl Running {
    /// Opens the operators and encoders of a branch.
    pub fn open(plan: &Plan, branch: &Branch) -> Result<Running, Failure> {
        let consumers = branch.consumers.iter().map(|consumer| RunningConsumer::open(plan, consumer));
        let unions = branch.unions.iter().map(|(union, then)| Ok((*union, Running::open(plan, then)?)));
        Ok(Running { consumers: consumers.collect::<Result<_, _>>()?, unions: unions.collect::<Result<_, Failure>>()? })
    }

    /// Runs rows through all that read them.
    pub fn run(&mut self, batch: Batch, pass: &mut Pass<'_>) -> Result<(), Failure> {
        if batch.rows.num_rows() > 0 {
            for consumer in &mut self.consumers {
                consumer.run(batch.clone(), pass)?;
            }
        }
        for (union, then) in &mut self.unions {
            if let Some(rows) = pass.waiting.remove(union) {
                then.run(united(rows)?, pass)?;
            }
        }
        Ok(())
    }

    /// Lets the sinks that read this directly ask for what they need, before anything is done with the rows.
    ///
    /// # Errors
    /// A server is away (retry): nothing has happened yet.
    pub fn prepare(&mut self, batch: &Batch) -> Result<(), Failure> {
        if batch.rows.num_rows() == 0 {
            return Ok(());
        }
        for consumer in &mut self.consumers {
            if let RunningConsumer::Sink { encoder, .. } = consumer {
                encoder.prepare(batch)?;
            }
        }
        Ok(())
    }

    /// False if nobody reads this: an output, or a port.
    pub fn is_read(&self) -> bool {
        !self.consumers.is_empty()
    }

    /// Where rows for a port are put, if somebody reads it.
    fn takes<T>(&self) -> Option<Vec<T>> {
        self.is_read().then(Vec::new)
    }

    /// Bytes that its gathering halves hold.
    pub fn size(&self) -> usize {
        let of = |consumer: &RunningConsumer| match consumer {
            RunningConsumer::Rows { then, rest, failed, .. } => then.size() + rest.size() + failed.size(),
            RunningConsumer::Stateful { gather, late, .. } => gather.size() + late.size(),
            RunningConsumer::Sink { .. } | RunningConsumer::Union { .. } => 0,
        };
        let unions = self.unions.iter().map(|(_, then)| then.size());
        self.consumers.iter().map(of).chain(unions).sum()
    }

    /// Takes the epoch's partials out of the gathering halves.
    pub fn take_partials(&mut self, into: &mut Vec<(usize, SourceIndex, Partition, Partial)>) -> Result<(), Failure> {
        for (_, then) in &mut self.unions {
            then.take_partials(into)?;
        }
        for consumer in &mut self.consumers {
            match consumer {
                RunningConsumer::Rows { then, rest, failed, .. } => {
                    then.take_partials(into)?;
                    rest.take_partials(into)?;
                    failed.take_partials(into)?;
                }
                RunningConsumer::Stateful { step, gather, late, .. } => {
                    let partials = gather.take()?.into_iter();
                    into.extend(partials.map(|(source, partition, partial)| (*step, source, partition, partial)));
                    late.take_partials(into)?;
                }
                RunningConsumer::Sink { .. } | RunningConsumer::Union { .. } => {}
            }
        }
        Ok(())
    }
}

impl RunningConsumer {
    fn open(plan: &Plan, consumer: &Consumer) -> Result<RunningConsumer, Failure> {
        Ok(match consumer {
            Consumer::Rows { step, then, rest, failed } => {
                let Step::Rows(transform) = &plan.steps[*step].step else { return Err(wrong_kind(*step)) };
                let name = plan.steps[*step].name.clone();
                let [then, rest, failed] = [then, rest, failed].map(|branch| Running::open(plan, branch));
                let (step, operator) = (*step, transform.open());
                RunningConsumer::Rows { step, operator, name, then: then?, rest: rest?, failed: failed? }
            }
            Consumer::Stateful { step, late } => {
                let Step::Stateful(transform) = &plan.steps[*step].step else { return Err(wrong_kind(*step)) };
                let (name, late) = (plan.steps[*step].name.clone(), Running::open(plan, late)?);
                let (gather, late_because) = (transform.open_gather(), transform.late_because());
                RunningConsumer::Stateful { step: *step, name, gather, late_because, late }
            }
            Consumer::Sink { sink } => {
                let encoder = plan.sinks[*sink].encode.open()?;
                RunningConsumer::Sink { sink: *sink, name: plan.sinks[*sink].name.clone(), encoder }
            }
            Consumer::Union { union, slot } => {
                RunningConsumer::Union { union: *union, slot: *slot, columns: plan.unions[*union].union.clone() }
            }
        })
    }

    fn run(&mut self, batch: Batch, pass: &mut Pass<'_>) -> Result<(), Failure> {
        let first_dead = pass.output.dead.len();
        let name = match self {
            RunningConsumer::Rows { step, operator, name, then, rest, failed } => {
                pass.output.counts.given(*step, &batch.rows);
                let mut left = Left { rest: rest.takes(), failed: failed.takes(), dead: Vec::new() };
                let input = batch.clone();
                let batch = operator.apply(batch, pass.at, &mut left)?;
                pass.output.counts.let_out(*step, &batch.rows);
                pass.output.dead.append(&mut left.dead);
                name_dead(&mut pass.output.dead[first_dead..], name);
                if let Some(rows) = left.rest.filter(|rows| !rows.is_empty()) {
                    let reasons = std::iter::repeat_n(NOT_PASSED, rows.len());
                    rest.run(on_port(&input, rows.clone(), reasons)?, pass)?;
                }
                if let Some(rows) = left.failed.filter(|rows| !rows.is_empty()) {
                    let (rows, reasons): (Vec<u32>, Vec<String>) = rows.into_iter().unzip();
                    failed.run(on_port(&input, rows, reasons.iter().map(String::as_str))?, pass)?;
                }
                return then.run(batch, pass);
            }
            RunningConsumer::Stateful { step, name, gather, late_because, late } => {
                pass.output.counts.given(*step, &batch.rows);
                let mut late_rows = Vec::new();
                gather.update(&batch, pass.watermark, pass.at, &mut late_rows, &mut pass.output.dead)?;
                pass.output.counts.late(*step, late_rows.iter().map(|late| late.rows.num_rows() as u64).sum());
                run_late(late_rows, late_because, late, pass)?;
                name
            }
            RunningConsumer::Sink { sink, name, encoder } => {
                let dead = &mut pass.output.dead;
                let encoded = pass.waits.until_done(name, || {
                    dead.truncate(first_dead);
                    encoder.encode(&batch, dead)
                })?;
                pass.bytes_out += encoded.arena.len();
                if !encoded.is_empty() {
                    let sink = pass.output.rows.entry(*sink).or_default();
                    sink.entry((batch.source, batch.partition)).or_default().push(encoded);
                }
                name
            }
            RunningConsumer::Union { union, slot, columns } => {
                let rows = columns.conform(*slot, &batch.rows)?;
                pass.waiting.entry(*union).or_default().push((*slot, Batch { rows, ..batch }));
                return Ok(());
            }
        };
        name_dead(&mut pass.output.dead[first_dead..], name);
        Ok(())
    }
}

/// What one batch of a root gave to a union, in one order whatever the batch was (I2).
fn united(mut rows: Vec<(usize, Batch)>) -> Result<Batch, Failure> {
    // Stable: what one input gave at several times keeps its order.
    rows.sort_by_key(|(slot, _)| *slot);
    let (source, partition) = rows.first().map_or((0, 0), |(_, batch)| (batch.source, batch.partition));
    let rows: Vec<RecordBatch> = rows.into_iter().map(|(_, batch)| batch.rows).collect();
    Ok(Batch { source, partition, rows: by_offset(rows)? })
}

/// I4, I8: late rows leave in the same epoch, counted; those that nothing takes become dead letters.
fn run_late(late_rows: Vec<Batch>, because: &str, late: &mut Running, pass: &mut Pass<'_>) -> Result<(), Failure> {
    for batch in late_rows {
        if !late.is_read() && pass.dead_letters_late {
            pass.output.dead.extend((0..batch.rows.num_rows()).map(|row| dead_letter(&batch, row, "late", because)));
        }
        if late.is_read() {
            late.run(whole_on_port(&batch, because)?, pass)?;
        }
    }
    Ok(())
}

/// All of these rows on a port, for one reason.
pub fn whole_on_port(rows: &Batch, reason: &str) -> Result<Batch, Failure> {
    let count = rows.rows.num_rows();
    on_port(rows, 0..count as u32, std::iter::repeat_n(reason, count))
}

/// Rows of a step's input on one of its ports.
fn on_port<'a>(
    input: &Batch,
    rows: impl IntoIterator<Item = u32>,
    reasons: impl Iterator<Item = &'a str>,
) -> Result<Batch, Failure> {
    let bug = |error| Failure::bug("branch.port", "rows of a port do not fit their columns").because(error);
    let taken = take_record_batch(&input.rows, &UInt32Array::from_iter_values(rows)).map_err(bug)?;
    let rows = with_reason(&taken, StringArray::from_iter_values(reasons)).map_err(bug)?;
    Ok(Batch { rows, ..*input })
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int32Array;

    use super::*;

    /// Meets a bad row, and then a server that is away for as many attempts.
    struct AwayFor(usize);

    impl RecordEncoder for AwayFor {
        fn encode(&mut self, batch: &Batch, dead: &mut Vec<DeadLetter>) -> Result<EncodedRows, Failure> {
            dead.push(dead_letter(batch, 0, "test.bad", "it is bad"));
            if self.0 > 0 {
                self.0 -= 1;
                return Err(Failure::outside("connect.registry_away", "nobody answers"));
            }
            let mut rows = EncodedRows::default();
            rows.put(b"row");
            Ok(rows)
        }
    }

    fn run(waits: &Waits, away_for: usize) -> Result<(usize, Vec<DeadLetter>), Failure> {
        let sink = RunningConsumer::Sink { sink: 0, name: "out".into(), encoder: Box::new(AwayFor(away_for)) };
        let mut branch = Running { consumers: vec![sink], unions: Vec::new() };
        let column: arrow::array::ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let batch = Batch { source: 0, partition: 0, rows: RecordBatch::try_from_iter([("a", column)]).unwrap() };
        let mut output = Output::default();
        let mut pass = Pass {
            at: At { clock: 0 },
            watermark: Watermark::NONE,
            output: &mut output,
            waits,
            dead_letters_late: false,
            bytes_out: 0,
            waiting: BTreeMap::new(),
        };
        branch.run(batch, &mut pass)?;
        Ok((pass.bytes_out, output.dead))
    }

    /// A registry that was away for one moment, behind a step, was the end of the pipeline.
    #[test]
    fn i8_rows_behind_steps_wait_for_a_registry_and_refuse_what_they_refuse_once() {
        let (bytes, dead) = run(&Waits::until(Arc::default()), 2).unwrap();
        assert_eq!((bytes, dead.len(), dead[0].step.as_str()), (3, 1, "out"));
        assert!(run(&Waits::default(), 1).unwrap_err().retry, "a replay begins anew");
    }
}
