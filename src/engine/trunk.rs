//! The trunk: merges what the lanes hand over at a mark, and runs what stands behind stateful steps.
//!
//! Plain code without a thread. I2: partials are merged, and rows are given to sinks, in the order
//! of (source, partition); rows of stateful steps follow in the order of the plan.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::graph::{Branch, Consumer, Graph};
use super::lane::LaneOutput;
use super::metrics::Metrics;
use crate::data::{Batch, DeadLetter, EncodedRows, Epoch, Mark, SourceIndex};
use crate::plan::{ErrorPolicy, Plan, RecordEncoder, Step};
use crate::report::Failure;
use crate::time::Millis;
use crate::transforms::{At, Needed, Partial, RowOperator, StatefulOperator};

/// Stands for "no source" in batches that a stateful step made.
const NO_SOURCE: SourceIndex = SourceIndex::MAX;
/// `fail_above` looks at this many rows read last.
const ERROR_WINDOW_ROWS: u64 = 10_000;

/// An epoch, ready to be committed.
#[derive(Debug)]
pub struct Merged {
    /// By sink: rows in order. Sinks without rows are not there.
    pub rows: BTreeMap<usize, Vec<EncodedRows>>,
    pub needed: Epoch,
    /// End plus grace of each open window, ascending.
    pub open_ends: Vec<Millis>,
}

/// What is done with an epoch's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Live,
    /// Rows that began before this epoch are given to no sink, and nothing is counted.
    Replay {
        from: Epoch,
    },
}

pub struct Trunk {
    plan: Arc<Plan>,
    steps: BTreeMap<usize, Stateful>,
    dead_letters: Option<Box<dyn RecordEncoder>>,
    errors: ErrorBudget,
    metrics: Arc<Metrics>,
}

struct Stateful {
    operator: Box<dyn StatefulOperator>,
    then: Vec<Running>,
}

enum Running {
    Rows { operator: Box<dyn RowOperator>, name: String, then: Vec<Running> },
    Sink { sink: usize, name: String, encoder: Box<dyn RecordEncoder> },
}

/// What one mark produces.
struct Output {
    rows: BTreeMap<usize, Vec<EncodedRows>>,
    dead: Vec<DeadLetter>,
}

impl Trunk {
    pub fn open(plan: &Arc<Plan>, graph: &Graph, metrics: Arc<Metrics>) -> Result<Trunk, Failure> {
        let mut steps = BTreeMap::new();
        for (step, branch) in &graph.trunk {
            let Step::Stateful(transform) = &plan.steps[*step].step else {
                return Err(Failure::bug("graph.step_kind", format!("step {step} keeps no state")));
            };
            steps.insert(*step, Stateful { operator: transform.open(), then: open_branch(plan, branch)? });
        }
        let dead_letters = plan.dead_letter.map(|sink| plan.sinks[sink].encode.open()).transpose()?;
        Ok(Trunk { plan: plan.clone(), steps, dead_letters, errors: ErrorBudget::default(), metrics })
    }

    /// Merges an epoch. `rows_read` counts the records of its ranges.
    ///
    /// # Errors
    /// The plan's error policy ends the run, or something of ours broke.
    pub fn merge(
        &mut self,
        mark: &Mark,
        lanes: Vec<LaneOutput>,
        rows_read: u64,
        pass: Pass,
    ) -> Result<Merged, Failure> {
        let (mut output, mut partials) = gather(lanes);
        let at = At { clock: mark.clock };
        for (step, stateful) in &mut self.steps {
            let emitted = stateful.operator.on_mark(mark, partials.remove(step).unwrap_or_default())?;
            for emitted in emitted {
                if matches!(pass, Pass::Replay { from } if emitted.first_epoch < from) {
                    continue;
                }
                let batch = Batch { source: NO_SOURCE, partition: 0, rows: emitted.rows };
                run(&mut stateful.then, batch, at, &mut output)?;
            }
        }
        self.dead_letters(&mut output, rows_read, pass)?;
        Ok(Merged { rows: output.rows, needed: self.needed(mark.epoch), open_ends: self.open_ends() })
    }

    /// I13: the oldest epoch from which a replay with empty state yields this very state.
    fn needed(&self, epoch: Epoch) -> Epoch {
        let needed = self.steps.values().map(|step| match step.operator.needed() {
            Needed::Nothing => epoch + 1,
            Needed::From(first) => first,
            Needed::Everything => 1,
        });
        needed.min().unwrap_or(epoch + 1)
    }

    fn open_ends(&self) -> Vec<Millis> {
        let mut ends: Vec<Millis> = self.steps.values().flat_map(|step| step.operator.open_ends()).collect();
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    /// Bytes of state held.
    pub fn state_bytes(&self) -> usize {
        self.steps.values().map(|step| step.operator.size()).sum()
    }

    /// Sorts the epoch's dead letters into order, encodes them, and holds them against the policy.
    fn dead_letters(&mut self, output: &mut Output, rows_read: u64, pass: Pass) -> Result<(), Failure> {
        let live = pass == Pass::Live;
        // Stable: the steps that refused one record keep their order.
        output.dead.sort_by_key(|dead| (dead.source, dead.partition, dead.offset));
        if live {
            self.metrics.dead.fetch_add(output.dead.len() as u64, Relaxed);
            self.errors.check(self.plan.errors, rows_read, &output.dead)?;
        }
        if let (Some(encoder), Some(sink), false) =
            (self.dead_letters.as_mut(), self.plan.dead_letter, output.dead.is_empty())
        {
            let rows = encoder.encode_dead(&output.dead)?;
            output.rows.entry(sink).or_default().push(rows);
        }
        Ok(())
    }
}

/// Rows by sink and partials by step, both in the order of (source, partition).
fn gather(lanes: Vec<LaneOutput>) -> (Output, BTreeMap<usize, Vec<Partial>>) {
    let mut by_sink: BTreeMap<usize, BTreeMap<_, Vec<EncodedRows>>> = BTreeMap::new();
    let mut partials = Vec::new();
    let mut dead = Vec::new();
    for lane in lanes {
        for (sink, rows) in lane.rows {
            by_sink.entry(sink).or_default().extend(rows);
        }
        partials.extend(lane.partials);
        dead.extend(lane.dead);
    }
    partials.sort_by_key(|(step, source, partition, _)| (*step, *source, *partition));
    let mut by_step: BTreeMap<usize, Vec<Partial>> = BTreeMap::new();
    for (step, _, _, partial) in partials {
        by_step.entry(step).or_default().push(partial);
    }
    let rows = by_sink.into_iter().map(|(sink, rows)| (sink, rows.into_values().flatten().collect())).collect();
    (Output { rows, dead }, by_step)
}

fn open_branch(plan: &Plan, branch: &Branch) -> Result<Vec<Running>, Failure> {
    let open = |consumer: &Consumer| match consumer {
        Consumer::Rows { step, then } => {
            let Step::Rows(transform) = &plan.steps[*step].step else {
                return Err(Failure::bug("graph.step_kind", format!("step {step} keeps state")));
            };
            let name = plan.steps[*step].name.clone();
            Ok(Running::Rows { operator: transform.open(), name, then: open_branch(plan, then)? })
        }
        Consumer::Sink { sink } => {
            let encoder = plan.sinks[*sink].encode.open()?;
            Ok(Running::Sink { sink: *sink, name: plan.sinks[*sink].name.clone(), encoder })
        }
        Consumer::Stateful { .. } => {
            Err(Failure::bug("graph.stateful_behind_stateful", "a stateful step stands behind another"))
        }
    };
    branch.consumers.iter().map(open).collect()
}

fn run(consumers: &mut [Running], batch: Batch, at: At, output: &mut Output) -> Result<(), Failure> {
    if batch.rows.num_rows() == 0 {
        return Ok(());
    }
    for consumer in consumers {
        let first_dead = output.dead.len();
        match consumer {
            Running::Rows { operator, name, then } => {
                let rows = operator.apply(batch.clone(), at, &mut output.dead)?;
                name_dead(&mut output.dead[first_dead..], name);
                run(then, rows, at, output)?;
            }
            Running::Sink { sink, name, encoder } => {
                let rows = encoder.encode(&batch, &mut output.dead)?;
                name_dead(&mut output.dead[first_dead..], name);
                if !rows.is_empty() {
                    output.rows.entry(*sink).or_default().push(rows);
                }
            }
        }
    }
    Ok(())
}

fn name_dead(dead: &mut [DeadLetter], step: &str) {
    for dead in dead.iter_mut().filter(|dead| dead.step.is_empty()) {
        dead.step = step.to_owned();
    }
}

/// Bad records among the rows read last, in chunks of epochs.
#[derive(Debug, Default)]
struct ErrorBudget {
    epochs: VecDeque<(u64, u64)>,
    rows: u64,
    bad: u64,
}

impl ErrorBudget {
    fn check(&mut self, policy: ErrorPolicy, rows: u64, dead: &[DeadLetter]) -> Result<(), Failure> {
        let bad = dead.iter().filter(|dead| dead.code != "late").count() as u64;
        match policy {
            ErrorPolicy::Skip | ErrorPolicy::DeadLetter => Ok(()),
            ErrorPolicy::Fail => match dead.first() {
                Some(dead) => Err(first_bad_record(dead)),
                None => Ok(()),
            },
            ErrorPolicy::FailAbove(share) => {
                self.add(rows, bad);
                if self.bad as f64 > share * ERROR_WINDOW_ROWS as f64 {
                    // This epoch is not committed, so the dead letter's sink has nothing of it to look at.
                    let newest = dead.iter().rfind(|dead| dead.code != "late").map(described);
                    let newest = newest.map_or(String::new(), |record| format!("; the newest: {record}"));
                    let message = format!("{} of the last {} rows are bad{newest}", self.bad, self.rows);
                    return Err(Failure::user("errors.too_many", message)
                        .hint("mend what is wrong with them, or raise `errors.fail_above`"));
                }
                Ok(())
            }
        }
    }

    fn add(&mut self, rows: u64, bad: u64) {
        self.epochs.push_back((rows, bad));
        self.rows += rows;
        self.bad += bad;
        while let Some((oldest, its_bad)) = self.epochs.front().copied() {
            if self.rows - oldest < ERROR_WINDOW_ROWS {
                break;
            }
            self.rows -= oldest;
            self.bad -= its_bad;
            self.epochs.pop_front();
        }
    }
}

/// Without a dead letter the first bad record ends the run with its place and bytes.
fn first_bad_record(dead: &DeadLetter) -> Failure {
    Failure::user("record.bad", described(dead))
        .hint("give the pipeline a `dead_letter:` sink to keep such records, or `errors: {skip: true}` to count and skip them")
}

/// Who refused which record, why, and its bytes.
fn described(dead: &DeadLetter) -> String {
    let place = match (&*dead.topic, dead.offset) {
        ("", offset) if offset < 0 => String::new(),
        (topic, offset) => format!(" at {topic}[{}]@{offset}", dead.partition),
    };
    let value = dead.value.as_deref().map(preview).map_or(String::new(), |value| format!("; its value is {value}"));
    format!("`{}` refused a record{place}: {}{value}", dead.step, dead.reason)
}

fn preview(bytes: &[u8]) -> String {
    const SHOWN: usize = 60;
    let cut = &bytes[..bytes.len().min(SHOWN)];
    let more = if bytes.len() > SHOWN { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    match std::str::from_utf8(cut) {
        Ok(text) if !text.chars().any(|c| c.is_control()) => format!("`{text}`{more}"),
        _ => format!("{}{more}", cut.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")),
    }
}
