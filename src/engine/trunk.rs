//! The trunk: merges what the lanes hand over at a mark, and runs what stands behind stateful steps.
//!
//! Plain code without a thread. I2: partials are merged, and rows are given to sinks, in the order
//! of (source, partition); rows of stateful steps follow in the order of the plan.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::branch::{Output, Pass, Running};
use super::graph::Graph;
use super::metrics::Metrics;
use crate::data::{Batch, DeadLetter, EncodedRows, Epoch, Mark, Partition, SourceIndex, partition};
use crate::plan::{ErrorPolicy, Plan, RecordEncoder, Step};
use crate::report::Failure;
use crate::time::Millis;
use crate::transforms::{At, Needed, Partial, StatefulOperator};

/// Stands for "no source" in batches that a stateful step made.
const NO_SOURCE: SourceIndex = SourceIndex::MAX;
/// Rows that leave a stateful step at once.
const ROWS_MAX: usize = 4_096;
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
pub enum Reading {
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
    then: Running,
}

impl Trunk {
    pub fn open(plan: &Arc<Plan>, graph: &Graph, metrics: Arc<Metrics>) -> Result<Trunk, Failure> {
        let mut steps = BTreeMap::new();
        for (step, branch) in &graph.trunk {
            let Step::Stateful(transform) = &plan.steps[*step].step else {
                return Err(Failure::bug("graph.step_kind", format!("step {step} keeps no state")));
            };
            steps.insert(*step, Stateful { operator: transform.open(), then: Running::open(plan, branch)? });
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
        lanes: Vec<Output>,
        rows_read: u64,
        reading: Reading,
    ) -> Result<Merged, Failure> {
        let mut output = joined(lanes);
        let mut partials = by_step(std::mem::take(&mut output.partials));
        for (step, stateful) in &mut self.steps {
            stateful.operator.on_mark(mark, partials.remove(step).unwrap_or_default())?;
            while let Some(emitted) = stateful.operator.next_rows(ROWS_MAX)? {
                if matches!(reading, Reading::Replay { from } if emitted.first_epoch < from) {
                    continue;
                }
                let batch = Batch { source: NO_SOURCE, partition: 0, rows: emitted.rows };
                let mut pass = Pass {
                    at: At { clock: mark.clock },
                    watermark: mark.watermark,
                    output: &mut output,
                    metrics: &self.metrics,
                    dead_letters_late: false,
                    bytes_out: 0,
                };
                stateful.then.run(batch, &mut pass)?;
            }
        }
        let dead = std::mem::take(&mut output.dead);
        // The trunk's own rows have the last source, so they stand behind those of the lanes.
        let in_order =
            |(sink, rows): (usize, BTreeMap<_, Vec<EncodedRows>>)| (sink, rows.into_values().flatten().collect());
        let mut rows: BTreeMap<usize, Vec<EncodedRows>> = output.rows.into_iter().map(in_order).collect();
        self.dead_letters(dead, &mut rows, rows_read, reading)?;
        Ok(Merged { rows, needed: self.needed(mark.epoch), open_ends: self.open_ends() })
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

    /// Sorts the epoch's dead letters into order, holds them against the policy, and encodes them.
    fn dead_letters(
        &mut self,
        mut dead: Vec<DeadLetter>,
        rows: &mut BTreeMap<usize, Vec<EncodedRows>>,
        rows_read: u64,
        reading: Reading,
    ) -> Result<(), Failure> {
        // Stable: the steps that refused one record keep their order.
        dead.sort_by_key(|dead| (dead.source, dead.partition, dead.offset));
        if reading == Reading::Live {
            self.metrics.dead.fetch_add(dead.len() as u64, Relaxed);
            self.errors.check(self.plan.errors, rows_read, &dead)?;
        }
        if let (Some(encoder), Some(sink), false) = (&mut self.dead_letters, self.plan.dead_letter, dead.is_empty()) {
            rows.entry(sink).or_default().push(encoder.encode_dead(&dead)?);
        }
        Ok(())
    }
}

/// What all lanes gave.
fn joined(lanes: Vec<Output>) -> Output {
    let mut all = Output::default();
    for lane in lanes {
        for (sink, rows) in lane.rows {
            all.rows.entry(sink).or_default().extend(rows);
        }
        all.partials.extend(lane.partials);
        all.dead.extend(lane.dead);
    }
    all
}

/// Partials by step, in the order of (source, partition) (I2).
fn by_step(mut partials: Vec<(usize, SourceIndex, Partition, Partial)>) -> BTreeMap<usize, Vec<Partial>> {
    partials.sort_by_key(|(step, source, partition, _)| (*step, *source, *partition));
    let mut by_step: BTreeMap<usize, Vec<Partial>> = BTreeMap::new();
    for (step, _, _, partial) in partials {
        by_step.entry(step).or_default().push(partial);
    }
    by_step
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
        (topic, offset) => format!(" at {topic}[{}]@{offset}", partition::number(dead.partition)),
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
