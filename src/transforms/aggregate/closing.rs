//! The trunk's half that emits each window once, when it closes.
//!
//! Windows that overlap share panes. One that closes is merged from its panes, in their order (I2), and a pane goes with its
//! last window. So a row costs one look-up, and a window one merge of the groups of each of its panes.
//!
//! The rows of a closed window are made a few at a time, as they are asked for: a window of millions of groups
//! never stands in memory as rows (I10).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, not};
use arrow::error::ArrowError;

use super::fill::Gap;
use super::frozen::{FrozenPane, FrozenPanes, Kept};
use super::gather::PanePartial;
use super::keys::{KeyTable, Keys};
use super::{Shape, opened, row_times};
use crate::data::Epoch;
use crate::expr::{Accumulators, Finished};
use crate::journal::LastWindow;
use crate::report::Failure;
use crate::time::{Millis, Watermark, Windows};
use crate::transforms::{At, Emitted, Frozen, Needed, Partial, StatefulOperator, StepMark};

pub(super) struct ClosingOperator {
    shape: Arc<Shape>,
    windows: Windows,
    /// Of panes that lie in an open window, by their start.
    panes: BTreeMap<Millis, Pane>,
    /// Of the last mark.
    watermark: Watermark,
    at: At,
    /// What it has closed and what has not begun to leave, oldest first.
    closed: VecDeque<Closed>,
    /// Start of the last window that was given a row, where gaps are filled.
    last: Option<Millis>,
    leaving: Option<Leaving>,
    /// Somebody reads what HAVING holds back.
    wants_rest: bool,
}

/// Groups of one pane, or of a window that was put together from panes.
struct Pane {
    first_epoch: Epoch,
    keys: KeyTable,
    accumulators: Accumulators,
}

/// What leaves at a mark.
enum Closed {
    /// The window with rows that starts here.
    Window(Millis),
    Empty(Gap),
}

/// A closed window whose rows leave.
struct Leaving {
    first_epoch: Epoch,
    keys: Keys,
    finished: Finished,
    /// Groups in ascending order of their keys (I2).
    order: Vec<u32>,
    /// How many of them have left.
    left_count: usize,
}

/// Rows of closed windows, and which of them pass HAVING; `None`: all.
pub(super) struct Judged {
    pub rows: RecordBatch,
    pub passes: Option<BooleanArray>,
}

impl Judged {
    /// What leaves; `None`: nothing.
    fn emitted(self, first_epoch: Epoch, wants_rest: bool) -> Result<Option<Emitted>, Failure> {
        let Judged { rows, passes } = self;
        let Some(passes) = passes else {
            return Ok((rows.num_rows() > 0).then_some(Emitted { first_epoch, rows, rest: None }));
        };
        let rest = wants_rest.then(|| filter_record_batch(&rows, &not(&passes)?)).transpose().map_err(broken)?;
        let rest = rest.filter(|rest| rest.num_rows() > 0);
        let rows = filter_record_batch(&rows, &passes).map_err(broken)?;
        Ok((rows.num_rows() > 0 || rest.is_some()).then_some(Emitted { first_epoch, rows, rest }))
    }
}

impl ClosingOperator {
    pub fn new(shape: Arc<Shape>, windows: Windows, wants_rest: bool) -> Self {
        ClosingOperator {
            shape,
            windows,
            panes: BTreeMap::new(),
            watermark: Watermark::NONE,
            at: At { clock: Millis::MIN },
            closed: VecDeque::new(),
            last: None,
            leaving: None,
            wants_rest,
        }
    }

    fn pane(&mut self, start: Millis, epoch: Epoch) -> Result<&mut Pane, Failure> {
        use std::collections::btree_map::Entry;
        Ok(match self.panes.entry(start) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Pane::new(&self.shape, epoch)?),
        })
    }

    /// Starts of the windows that have rows, ascending, from `first` on and before `end`.
    fn with_rows(&self, first: Millis, end: Millis) -> Vec<Millis> {
        let mut starts = Vec::new();
        let Some((oldest, _)) = self.panes.first_key_value() else { return starts };
        let mut start = self.windows.first_start_of(*oldest).max(first);
        while start < end {
            match self.panes.range(start..).next() {
                None => break,
                Some((pane, _)) if *pane < self.windows.end_of(start) => {
                    starts.push(start);
                    start = start.saturating_add(self.windows.every_ms());
                }
                Some((pane, _)) => start = self.windows.first_start_of(*pane),
            }
        }
        starts
    }

    fn first_epoch(&self, start: Millis) -> Epoch {
        let panes = self.panes.range(start..self.windows.end_of(start));
        panes.map(|(_, pane)| pane.first_epoch).min().unwrap_or_default()
    }

    /// These windows, which close now, with the empty ones between them. Those behind the last are given as soon as a
    /// later one with rows is known.
    fn filled(&mut self, starts: Vec<Millis>) -> Result<VecDeque<Closed>, Failure> {
        let mut closed = VecDeque::new();
        let mut last = self.last;
        for start in starts {
            if let Some(last) = last {
                let gap = Gap::between(self.windows, last, start, self.first_epoch(start))?;
                closed.extend(gap.map(Closed::Empty));
            }
            closed.push_back(Closed::Window(start));
            last = Some(start);
        }
        let first_open = self.shape.first_open(self.watermark);
        if let (Some(given), Some(next)) = (last, self.with_rows(first_open, Millis::MAX).first().copied()) {
            let gap = Gap::between(self.windows, given, first_open.min(next), self.first_epoch(next))?;
            if let Some(gap) = gap {
                last = Some(gap.starts.end.saturating_sub(self.windows.every_ms()));
                closed.push_back(Closed::Empty(gap));
            }
        }
        self.last = last;
        Ok(closed)
    }

    /// Takes a closed window out of its panes, and lets those go that lie in no later one.
    fn leave(&mut self, start: Millis) -> Result<Leaving, Failure> {
        if !self.windows.overlap() {
            let pane = self.panes.remove(&start);
            return pane.ok_or_else(|| Failure::bug("aggregate.window", "a window without rows has closed"))?.leave();
        }
        let stays = start.saturating_add(self.windows.every_ms());
        let first_bytes = self.shape.start_bytes(start)?;
        let mut window = Pane::new(&self.shape, self.first_epoch(start))?;
        for (pane_start, pane) in self.panes.range_mut(start..self.windows.end_of(start)) {
            let states = pane.states(*pane_start >= stays)?;
            window.merge(&pane.keys.keys().moved(&first_bytes), &states)?;
        }
        self.panes = self.panes.split_off(&stays);
        window.leave()
    }
}

impl StatefulOperator for ClosingOperator {
    fn on_mark(&mut self, mark: &StepMark, partials: Vec<Partial>) -> Result<(), Failure> {
        for PanePartial { start, keys, states } in opened(partials)? {
            self.pane(start, mark.first_epoch)?.merge(&keys, &states)?;
        }
        self.at = At { clock: mark.clock };
        self.watermark = mark.watermark;
        // A pane may have got its rows when its first windows were closed already (I4).
        let (first, end) = (self.shape.first_open(mark.before), self.shape.first_open(mark.watermark));
        let starts = self.with_rows(first, end);
        self.closed = match self.shape.options.fill {
            None => starts.into_iter().map(Closed::Window).collect(),
            Some(_) => self.filled(starts)?,
        };
        Ok(())
    }

    fn next_rows(&mut self, rows_max: usize) -> Result<Option<Emitted>, Failure> {
        loop {
            if let Some(leaving) = self.leaving.as_mut().filter(|leaving| leaving.left_count < leaving.order.len()) {
                let judged = leaving.next_rows(rows_max, &self.shape, self.at)?;
                if let Some(emitted) = judged.emitted(leaving.first_epoch, self.wants_rest)? {
                    return Ok(Some(emitted));
                }
                continue;
            }
            self.leaving = None;
            match (self.closed.pop_front(), &self.shape.options.fill) {
                (None, _) => return Ok(None),
                (Some(Closed::Window(start)), _) => self.leaving = Some(self.leave(start)?),
                (Some(Closed::Empty(mut gap)), values) => {
                    let values = values.as_deref().unwrap_or_default();
                    let judged = gap.next_rows(rows_max, values, &self.shape, self.at)?;
                    let first_epoch = gap.first_epoch;
                    if !gap.starts.is_empty() {
                        self.closed.push_front(Closed::Empty(gap));
                    }
                    if let Some(emitted) = judged.emitted(first_epoch, self.wants_rest)? {
                        return Ok(Some(emitted));
                    }
                }
            }
        }
    }

    fn needed(&self) -> Needed {
        self.panes.values().map(|pane| pane.first_epoch).min().map_or(Needed::Nothing, Needed::From)
    }

    fn open_ends(&self) -> Vec<Millis> {
        let open = self.with_rows(self.shape.first_open(self.watermark), Millis::MAX);
        open.into_iter().filter_map(|start| self.shape.closes_at(start)).collect()
    }

    fn last_window(&self) -> Option<LastWindow> {
        self.last.map(|start| LastWindow { start, end: self.windows.end_of(start) })
    }

    fn remember(&mut self, last_window: Option<LastWindow>) {
        let is_ours = |window: &LastWindow| {
            self.windows.last_start_of(window.start) == window.start && self.windows.end_of(window.start) == window.end
        };
        self.last =
            last_window.filter(|_| self.shape.options.fill.is_some()).filter(is_ours).map(|window| window.start);
    }

    fn grace_ms(&self) -> Millis {
        self.shape.options.grace_ms
    }

    fn freeze(&mut self) -> Result<Box<dyn Frozen>, Failure> {
        let mut panes = VecDeque::new();
        for pane in self.panes.values_mut() {
            let (first_epoch, keys) = (pane.first_epoch, pane.keys.keys().copied());
            panes.push_back(FrozenPane { first_epoch, keys, kept: Kept::States(pane.states(true)?) });
        }
        Ok(Box::new(FrozenPanes::new(self.shape.clone(), panes)))
    }

    fn thaw(&mut self, rows: &RecordBatch) -> Result<(), Failure> {
        let thawed = self.shape.thawed(rows)?;
        for pane in thawed.panes {
            let states: Vec<ArrayRef> =
                thawed.states.iter().map(|state| state.slice(pane.rows.start, pane.rows.len())).collect();
            self.pane(pane.start, pane.first_epoch)?.merge(&pane.keys, &states)?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let panes: usize = self.panes.values().map(|pane| pane.keys.size() + pane.accumulators.size()).sum();
        panes + self.leaving.as_ref().map_or(0, Leaving::size)
    }
}

impl Pane {
    fn new(shape: &Shape, first_epoch: Epoch) -> Result<Self, Failure> {
        Ok(Pane { first_epoch, keys: KeyTable::default(), accumulators: shape.options.aggregates.open()? })
    }

    fn merge(&mut self, keys: &Keys, states: &[ArrayRef]) -> Result<(), Failure> {
        let groups: Vec<usize> =
            (0..keys.len()).map(|group| self.keys.group(keys.hash(group), keys.key(group))).collect();
        self.accumulators.merge(states, &groups, self.keys.keys().len())
    }

    /// The state of each group; empty afterwards unless the pane lives on.
    fn states(&mut self, lives_on: bool) -> Result<Vec<ArrayRef>, Failure> {
        let states = self.accumulators.take_state()?;
        if lives_on {
            let all: Vec<usize> = (0..self.keys.keys().len()).collect();
            self.accumulators.merge(&states, &all, all.len())?;
        }
        Ok(states)
    }

    fn leave(mut self) -> Result<Leaving, Failure> {
        let keys = self.keys.into_keys();
        let order = keys.sorted((0..keys.len() as u32).collect());
        let finished = self.accumulators.take_finished()?;
        Ok(Leaving { first_epoch: self.first_epoch, keys, finished, order, left_count: 0 })
    }
}

impl Leaving {
    /// The next rows by key.
    fn next_rows(&mut self, rows_max: usize, shape: &Shape, at: At) -> Result<Judged, Failure> {
        let groups = &self.order[self.left_count..];
        let groups = UInt32Array::from(groups[..groups.len().min(rows_max.max(1))].to_vec());
        self.left_count += groups.len();
        let mut columns = shape.group_columns(groups.values().iter().map(|group| self.keys.key(*group as usize)))?;
        let (results, passes) = self.finished.pick(&groups)?.results(&columns, at)?;
        columns.extend(results);
        columns.extend(row_times(&columns));
        let rows = RecordBatch::try_new(shape.output.clone(), columns).map_err(broken)?;
        Ok(Judged { rows, passes })
    }

    fn size(&self) -> usize {
        self.keys.size() + self.finished.size() + self.order.capacity() * size_of::<u32>()
    }
}

fn broken(error: ArrowError) -> Failure {
    Failure::bug("aggregate.window", "the rows of a closed window do not fit its columns").because(error)
}
