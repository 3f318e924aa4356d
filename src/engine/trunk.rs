//! The trunk: merges what the lanes hand over at a mark, and runs what stands behind stateful steps.
//!
//! Plain code without a thread. I2: partials are merged, and rows are given to sinks, in the order
//! of (source, partition); rows of stateful steps follow in the order of the plan. I10: the output is given in pieces,
//! and made only as they are asked for, so that a mark that closes a large window never stands encoded in memory at once.
//!
//! Stateful steps may stand behind one another. Each has a watermark of its own: the epoch's, less the grace of all
//! before it. The rows that a step lets out at a mark are judged late by the watermark that was in force behind it
//! before, so none of them is (I4). They carry the lowest epoch that contributed, and so *needed* covers windows over
//! windows (I13).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMillisecondType;

use super::away::Waits;
use super::branch::{HELD_BACK, Output, Pass, Running, whole_on_port};
use super::graph::{Branch, Graph};
use super::kept::{BAD_RECORD, kept_bad_record};
use super::memory::{Gauge, Memory};
use super::metrics::Metrics;
use super::pieces::{Cursor, Filling, Piece, SinkRuns, Waiting};
use super::snapshots::StateBehind;
use crate::data::{Batch, DeadLetter, EncodedRows, Epoch, Mark, NO_SOURCE, Partition, SourceIndex, meta, partition};
use crate::journal::{LastWindow, Part};
use crate::plan::{ErrorPolicy, Plan, RecordEncoder, RestartPlan, Step, StepPlan};
use crate::report::Failure;
use crate::state::StepState;
use crate::time::{Millis, Watermark};
use crate::transforms::{At, Needed, Partial, StatefulOperator, StepMark};

/// Rows that leave a stateful step at once.
const ROWS_MAX: usize = 4_096;
/// `fail_above` looks at this many rows read last.
const ERROR_WINDOW_ROWS: u64 = 10_000;

/// What is done with an epoch's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    Live,
    /// Nothing is counted. A window whose rows began before the replay may be emitted with too few of them, but only into
    /// epochs that every sink has: otherwise *needed* would have asked for those rows (I13).
    Replay,
    /// As `Replay`, and the journal ends within this epoch's output: what is behind its cursor is live.
    Resume,
}

pub struct Trunk {
    plan: Arc<Plan>,
    steps: BTreeMap<usize, Stateful>,
    dead_letters: Option<Box<dyn RecordEncoder>>,
    errors: ErrorBudget,
    /// Why the run is to end behind the epoch that is given.
    failing: Option<Failure>,
    metrics: Arc<Metrics>,
    waits: Waits,
    /// What one commit carries (I10).
    piece_bytes: usize,
    /// Rows that this step lets out are already in the sink up to this time.
    floor: Option<(usize, Millis)>,
    /// Of the last mark; `Millis::MIN`: there was none.
    clock: Millis,
    emission: Option<Emission>,
}

/// An epoch whose output is being given. Stateful steps are asked for rows only as they are wanted.
struct Emission {
    mark: Mark,
    clock_before: Millis,
    reading: Reading,
    /// What a replay of this epoch must read.
    needed: Epoch,
    partials: BTreeMap<usize, Vec<Partial>>,
    /// By step: the lowest epoch that contributed to the rows which it has let out at this mark.
    lowest: BTreeMap<usize, Epoch>,
    /// Steps that have not met the mark yet, in order.
    steps: VecDeque<usize>,
    /// The step whose rows are leaving.
    leaving: Option<usize>,
    waiting: Waiting,
}

struct Stateful {
    operator: Box<dyn StatefulOperator>,
    then: Running,
    /// Reads its port `.rest`.
    rest: Running,
    /// The stateful steps whose rows it reads; empty: it reads what the lanes gather.
    behind: Vec<usize>,
    /// In force since the last mark.
    watermark: Watermark,
    /// In force before it, for the rows that came with it.
    before: Watermark,
    /// The first epoch that it takes part in (I14).
    since: Epoch,
    /// The graces of the steps before it: how far its watermark is behind the epoch's.
    delay_ms: Millis,
    held: Gauge,
}

impl Stateful {
    fn needed(&self) -> Option<Epoch> {
        match self.operator.needed() {
            Needed::Nothing => None,
            Needed::From(first) => Some(first),
            Needed::Everything => Some(self.since),
        }
    }

    /// The mark as this step meets it. `lowest`: of the steps before it, the lowest epoch that contributed to what they let out.
    /// `needed_before` says where a replay of those begins.
    fn meet(&mut self, emission: &Emission, needed_before: Option<Epoch>) -> StepMark {
        let Emission { mark, lowest, clock_before, .. } = emission;
        let first_epoch = self.behind.iter().filter_map(|step| lowest.get(step)).min();
        let watermark = mark.watermark.earlier_by(self.delay_ms);
        self.before = std::mem::replace(&mut self.watermark, watermark);
        StepMark {
            first_epoch: first_epoch.copied().unwrap_or(mark.epoch),
            before: self.before,
            watermark,
            clock_before: *clock_before,
            clock: mark.clock,
            ended: mark.ended,
            needed_before: needed_before.unwrap_or(mark.epoch + 1),
        }
    }
}

impl Trunk {
    /// Opens the steps behind the lanes, with empty state. `piece_bytes` is what one commit carries at most.
    pub fn open(
        plan: &Arc<Plan>,
        graph: &Graph,
        memory: &Memory,
        metrics: Arc<Metrics>,
        piece_bytes: usize,
    ) -> Result<Trunk, Failure> {
        let mut steps = BTreeMap::new();
        for ((step, branch), rest) in graph.trunk.iter().zip(graph.rest.values()) {
            let Step::Stateful(transform) = &plan.steps[*step].step else {
                return Err(Failure::bug("graph.step_kind", format!("step {step} keeps no state")));
            };
            let (then, rest) = (Running::open(plan, branch)?, Running::open(plan, rest)?);
            let operator = transform.open(rest.is_read());
            let reads = |branch: &Branch| branch.stateful().contains(step);
            let branches = graph.trunk.iter().zip(graph.rest.values());
            let behind = branches.filter(|((_, then), rest)| reads(then) || reads(rest)).map(|((at, _), _)| *at);
            let behind: Vec<usize> = behind.collect();
            let delay =
                |at: &usize| steps.get(at).map_or(0, |before: &Stateful| before.delay_ms + before.operator.grace_ms());
            let delay_ms = behind.iter().map(delay).max().unwrap_or(0);
            let (watermark, before) = (Watermark::NONE, Watermark::NONE);
            let held = memory.gauge(format!("state of `{}`", plan.steps[*step].name));
            let since = 1;
            steps.insert(*step, Stateful { operator, then, rest, behind, watermark, before, since, delay_ms, held });
        }
        let dead_letters = plan.dead_letter.map(|sink| plan.sinks[sink].encode.open()).transpose()?;
        let errors = ErrorBudget::default();
        Ok(Trunk {
            plan: plan.clone(),
            steps,
            dead_letters,
            errors,
            failing: None,
            metrics,
            waits: Waits::default(),
            piece_bytes,
            floor: None,
            clock: Millis::MIN,
            emission: None,
        })
    }

    /// It is not in a replay: rows that it lets out wait for servers.
    pub fn wait(&mut self, waits: Waits) {
        self.waits = waits;
    }

    /// By step, the first epoch that it takes part in: in a replay of those before it neither sees nor gives anything.
    pub fn begin_at(&mut self, parts: &BTreeMap<String, Part>) {
        for (step, stateful) in &mut self.steps {
            stateful.since = parts.get(&self.plan.steps[*step].name).map_or(1, |part| part.since);
        }
    }

    /// What recovery knows of the time before the first epoch: the watermark in force, and the clock.
    pub fn resume(&mut self, watermark: Watermark, clock: Millis) {
        self.clock = clock;
        for step in self.steps.values_mut() {
            step.watermark = watermark.earlier_by(step.delay_ms);
        }
    }

    /// Restart by watermark: what `step` lets out up to `time` is in the sink, and left out.
    pub fn leave_out(&mut self, step: usize, time: Millis) {
        self.floor = Some((step, time));
    }

    /// I13: what the journal knows of the windows given up to the end of an epoch, of whose rows replay may see none.
    pub fn remember(&mut self, epoch: Epoch, last_windows: &BTreeMap<String, LastWindow>) {
        for (step, stateful) in self.steps.iter_mut().filter(|(_, stateful)| stateful.since <= epoch) {
            stateful.operator.remember(last_windows.get(&self.plan.steps[*step].name).copied());
        }
    }

    /// Steps go on with what a snapshot had of them.
    pub fn adopt(&mut self, operators: BTreeMap<usize, Box<dyn StatefulOperator>>) {
        for (step, operator) in operators {
            if let Some(stateful) = self.steps.get_mut(&step) {
                stateful.operator = operator;
            }
        }
    }

    /// What the steps keep behind the last epoch, whose output is given: a copy.
    ///
    /// # Errors
    /// An operator cannot give it (ours).
    pub fn freeze(&mut self, epoch: Epoch) -> Result<StateBehind, Failure> {
        if self.emission.is_some() {
            return Err(Failure::bug("trunk.unfinished", "a snapshot was asked for within an epoch"));
        }
        let plan = &self.plan;
        let of = |(step, stateful): (&usize, &mut Stateful)| {
            let StepPlan { name, fingerprint, .. } = &plan.steps[*step];
            let state = StepState { fingerprint: fingerprint.clone(), since: stateful.since, parts: Vec::new() };
            Ok((name.clone(), state, stateful.operator.freeze()?))
        };
        let steps = self
            .steps
            .iter_mut()
            .filter(|(_, stateful)| stateful.since <= epoch)
            .map(of)
            .collect::<Result<_, Failure>>()?;
        Ok(StateBehind { epoch, steps })
    }

    fn last_windows(&self) -> BTreeMap<String, LastWindow> {
        let of = |(step, stateful): (&usize, &Stateful)| {
            Some((self.plan.steps[*step].name.clone(), stateful.operator.last_window()?))
        };
        self.steps.iter().filter_map(of).collect()
    }

    /// Begins an epoch: what the lanes gave, and the mark that stateful steps meet. `rows_read` counts the records of
    /// its ranges. The output is asked for with [`Trunk::next_piece`] or its like, to the end, before the next epoch.
    ///
    /// # Errors
    /// The plan's error policy ends the run, or something of ours broke.
    pub fn merge(&mut self, mark: &Mark, lanes: Vec<Output>, rows_read: u64, reading: Reading) -> Result<(), Failure> {
        if self.emission.is_some() {
            return Err(Failure::bug(
                "trunk.unfinished",
                "an epoch came before all output of the one before was given",
            ));
        }
        let mut output = joined(lanes);
        // What the state before this epoch needs, and the epoch itself, yields all of its output again.
        let needed = self.needed().unwrap_or(mark.epoch);
        let partials = by_step(std::mem::take(&mut output.partials));
        let steps = self.steps.keys().copied().collect();
        let waiting = Waiting::default();
        let lowest = BTreeMap::new();
        let clock_before = std::mem::replace(&mut self.clock, mark.clock);
        let mark = *mark;
        self.emission =
            Some(Emission { mark, clock_before, reading, needed, partials, lowest, steps, leaving: None, waiting });
        self.take_output(output, rows_read)
    }

    /// The next piece of the epoch's output, live. Pieces come until one has no cursor; there is always one.
    ///
    /// # Errors
    /// As [`Trunk::merge`].
    pub fn next_piece(&mut self) -> Result<Piece, Failure> {
        let (mut filling, bytes_max) = (Filling::default(), self.piece_bytes);
        let whole_times = match self.plan.restart {
            RestartPlan::Watermark { sink, .. } => Some(sink),
            RestartPlan::Journal | RestartPlan::Offsets { .. } => None,
        };
        loop {
            let emission = self.emission()?;
            emission.reading = Reading::Live;
            if emission.waiting.fill(&mut filling, bytes_max, whole_times) {
                let (cursor, needed) = (emission.waiting.cursor().clone(), emission.needed);
                return Ok(Piece {
                    rows: filling.rows,
                    cursor: Some(cursor),
                    needed: Some(needed),
                    last_windows: self.last_windows(),
                    open_ends: Vec::new(),
                    due: None,
                    failing: None,
                });
            }
            if !self.pull()? {
                break;
            }
        }
        self.emission = None;
        Ok(Piece {
            rows: filling.rows,
            cursor: None,
            needed: self.needed(),
            last_windows: self.last_windows(),
            open_ends: self.open_ends(),
            due: self.due(),
            failing: self.failing.take(),
        })
    }

    /// True if more of an epoch's output is to be given.
    pub fn is_giving(&self) -> bool {
        self.emission.is_some()
    }

    /// Replay: the output up to a journal's cursor; without one, all that is left.
    ///
    /// # Errors
    /// As [`Trunk::merge`]; and I17, if the epoch now gives less than was committed.
    pub fn replay_piece(&mut self, cursor: Option<&Cursor>) -> Result<SinkRuns, Failure> {
        let mut rows = SinkRuns::new();
        loop {
            let lacks = match cursor {
                Some(cursor) => self.emission()?.waiting.take_to(cursor, &mut rows),
                None => {
                    self.emission()?.waiting.take_all(&mut rows);
                    Cursor::new()
                }
            };
            if cursor.is_some() && lacks.is_empty() {
                return Ok(rows);
            }
            if self.pull()? {
                continue;
            }
            if let Some(sink) = lacks.keys().next() {
                return Err(self.gives_less(*sink));
            }
            self.emission = None;
            return Ok(rows);
        }
    }

    /// Replay: nobody lacks the epoch's output.
    ///
    /// # Errors
    /// As [`Trunk::merge`].
    pub fn discard(&mut self) -> Result<(), Failure> {
        loop {
            self.emission()?.waiting.take_all(&mut SinkRuns::new());
            if !self.pull()? {
                self.emission = None;
                return Ok(());
            }
        }
    }

    /// Makes more of the output; false if that was all.
    fn pull(&mut self) -> Result<bool, Failure> {
        loop {
            let Some(emission) = &mut self.emission else { return Err(no_epoch()) };
            let Some(step) = emission.leaving.or_else(|| emission.steps.pop_front()) else { return Ok(false) };
            let needed_before = needed_before(&self.steps, step);
            let stateful = self.steps.get_mut(&step).ok_or_else(no_epoch)?;
            if emission.leaving.replace(step).is_none() {
                let step_mark = stateful.meet(emission, needed_before);
                let partials = emission.partials.remove(&step).unwrap_or_default();
                if stateful.since <= emission.mark.epoch {
                    stateful.operator.on_mark(&step_mark, partials)?;
                }
            }
            let Some(emitted) = stateful.operator.next_rows(ROWS_MAX)? else {
                emission.leaving = None;
                let mut gathered = Vec::new();
                stateful.then.take_partials(&mut gathered)?;
                stateful.rest.take_partials(&mut gathered)?;
                for (behind, _, _, partial) in gathered {
                    emission.partials.entry(behind).or_default().push(partial);
                }
                continue;
            };
            let lowest = emission.lowest.entry(step).or_insert(emission.mark.epoch);
            *lowest = emitted.first_epoch.min(*lowest);
            let floor = self.floor.filter(|(at, _)| *at == step).map(|(_, floor)| floor);
            let left = |rows| match floor {
                Some(floor) => behind(rows, floor, &self.metrics),
                None => Ok(rows),
            };
            let (rows, rest) = (left(emitted.rows)?, emitted.rest.map(left).transpose()?);
            let mut output = Output::default();
            output.counts.let_out(step, &rows);
            // Several steps may give to one: each is a partition of its own.
            let batch = |rows| Batch { source: NO_SOURCE, partition: step as Partition, rows };
            let mut pass = Pass {
                at: At { clock: emission.mark.clock },
                watermark: stateful.before.earlier_by(stateful.operator.grace_ms()),
                output: &mut output,
                waits: &self.waits,
                dead_letters_late: self.plan.dead_letter.is_some(),
                bytes_out: 0,
                waiting: BTreeMap::new(),
            };
            // First, because a union of both comes together behind the other.
            if let Some(rows) = rest {
                stateful.rest.run(whole_on_port(&batch(rows), HELD_BACK)?, &mut pass)?;
            }
            stateful.then.run(batch(rows), &mut pass)?;
            self.take_output(output, 0)?;
            return Ok(true);
        }
    }

    /// Puts rows and dead letters behind what waits.
    fn take_output(&mut self, output: Output, rows_read: u64) -> Result<(), Failure> {
        let emission = self.emission.as_mut().ok_or_else(no_epoch)?;
        let reading = emission.reading;
        if reading == Reading::Live {
            self.metrics.count(&output.counts);
        }
        for (sink, runs) in output.rows {
            runs.into_values().flatten().for_each(|rows| emission.waiting.push(sink, rows));
        }
        let dead = self.dead_letters(output.dead, rows_read, reading)?;
        if let Some((sink, rows)) = dead {
            self.emission()?.waiting.push(sink, rows);
        }
        Ok(())
    }

    fn emission(&mut self) -> Result<&mut Emission, Failure> {
        self.emission.as_mut().ok_or_else(no_epoch)
    }

    /// I17, for what a cursor counts.
    fn gives_less(&self, sink: usize) -> Failure {
        let epoch = self.emission.as_ref().map_or(0, |emission| emission.mark.epoch);
        let name = &self.plan.sinks[sink].name;
        Failure::user(
            "refused.source_changed",
            format!("epoch {epoch} cannot be replayed: it now gives `{name}` fewer records than were committed"),
        )
        .hint("the sink was changed while an output was half committed: apply the spec as it was, or start over with `--fresh`")
    }

    /// I13: the oldest epoch from which a replay with empty state yields this very state.
    /// `None`: no state is kept.
    pub fn needed(&self) -> Option<Epoch> {
        self.steps.values().filter_map(Stateful::needed).min()
    }

    /// The clock at which the first of the steps wants a mark, though nothing came (I3).
    pub fn due(&self) -> Option<Millis> {
        self.steps.values().filter_map(|step| step.operator.due(self.clock)).min()
    }

    /// End plus grace of each open window, ascending; by the epoch's watermark, which is ahead of those of later steps.
    pub fn open_ends(&self) -> Vec<Millis> {
        let of_step = |step: &Stateful| {
            let delay_ms = step.delay_ms;
            step.operator.open_ends().into_iter().map(move |end| end.saturating_add(delay_ms))
        };
        let mut ends: Vec<Millis> = self.steps.values().flat_map(of_step).collect();
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    /// Bytes of state held.
    pub fn state_bytes(&self) -> usize {
        let measured = |step: &Stateful| {
            step.held.set(step.operator.size());
            step.held.get()
        };
        self.steps.values().map(measured).sum()
    }

    /// Sorts dead letters into order, holds them against the policy, and encodes them.
    fn dead_letters(
        &mut self,
        mut dead: Vec<DeadLetter>,
        rows_read: u64,
        reading: Reading,
    ) -> Result<Option<(usize, EncodedRows)>, Failure> {
        // Stable: the steps that refused one record keep their order.
        dead.sort_by_key(|dead| (dead.source, dead.partition, dead.offset));
        if reading == Reading::Live {
            self.metrics.count_dead(&dead);
        }
        // Those of an epoch that is resumed may stand behind its cursor, and then nobody has looked at them yet.
        if reading != Reading::Replay {
            let failing = self.errors.check(self.plan.errors, rows_read, &dead)?;
            self.failing = self.failing.take().or(failing);
        }
        match (&mut self.dead_letters, self.plan.dead_letter, dead.is_empty()) {
            (Some(encoder), Some(sink), false) => Ok(Some((sink, encoder.encode_dead(&dead)?))),
            _ => Ok(None),
        }
    }
}

/// What the steps on the way to a step need.
fn needed_before(steps: &BTreeMap<usize, Stateful>, step: usize) -> Option<Epoch> {
    let before = steps.get(&step).map(|step| step.behind.as_slice()).unwrap_or_default();
    let of = |at: &usize| [steps.get(at).and_then(Stateful::needed), needed_before(steps, *at)];
    before.iter().flat_map(of).flatten().min()
}

/// The rows that are younger than this.
fn behind(rows: RecordBatch, floor: Millis, metrics: &Metrics) -> Result<RecordBatch, Failure> {
    let bug = |text: &str| Failure::bug("trunk.floor", text.to_owned());
    let times = rows.column_by_name(meta::TIME).and_then(|times| times.as_primitive_opt::<TimestampMillisecondType>());
    let times = times.ok_or_else(|| bug("rows that are held against the sink's newest time have none"))?;
    let is_behind: BooleanArray = times.iter().map(|time| Some(time.is_some_and(|time| time > floor))).collect();
    let left_out = rows.num_rows() - is_behind.true_count();
    if left_out == 0 {
        return Ok(rows);
    }
    metrics.already_out.fetch_add(left_out as u64, Relaxed);
    filter_record_batch(&rows, &is_behind).map_err(|error| bug("rows cannot be left out").because(error))
}

fn no_epoch() -> Failure {
    Failure::bug("trunk.no_epoch", "output was asked for, and no epoch was begun")
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
        all.counts.join(lane.counts);
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
    /// Gives why the run is to end behind this epoch.
    ///
    /// # Errors
    /// Why it ends before it.
    fn check(&mut self, policy: ErrorPolicy, rows: u64, dead: &[DeadLetter]) -> Result<Option<Failure>, Failure> {
        let bad = dead.iter().filter(|dead| dead.code != "late").count() as u64;
        match policy {
            ErrorPolicy::Skip | ErrorPolicy::DeadLetter => Ok(None),
            ErrorPolicy::Fail => match dead.first() {
                Some(dead) => Err(first_bad_record(dead)),
                None => Ok(None),
            },
            ErrorPolicy::KeepThenFail => {
                Ok(dead.iter().find(|dead| dead.code != "late").map(|dead| kept_bad_record(described(dead))))
            }
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
                Ok(None)
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
    Failure::user(BAD_RECORD, described(dead))
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
