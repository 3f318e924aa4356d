//! The trunk's half that emits each epoch what has changed: aggregates without a window, and windows
//! whose sinks want updates.
//!
//! Per group it keeps the state of its aggregates and the result that was shown last, both as row
//! bytes. An epoch loads the states it touches, merges, and compares what is to be shown with what
//! was: a new row is an insertion, a row that HAVING no longer passes a deletion, anything else
//! that differs an update. Equal results emit nothing. A window that closes drops its state in silence.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int8Array, RecordBatch};
use arrow::datatypes::Int8Type;
use arrow_row::Rows;

use super::frozen::{FrozenPane, FrozenPanes, Kept, RowBytes};
use super::gather::PanePartial;
use super::keys::KeyTable;
use super::{Shape, opened, row_times};
use crate::data::Epoch;
use crate::data::meta::{self, Change};
use crate::expr::Accumulators;
use crate::report::Failure;
use crate::time::{Millis, Windows};
use crate::transforms::codec::RowCodec;
use crate::transforms::{At, Emitted, Frozen, Needed, Partial, StatefulOperator, StepMark};

pub(super) struct ChangingOperator {
    shape: Arc<Shape>,
    /// Made with the first row, because making them can fail.
    tools: Option<Tools>,
    /// By start; without windows there is one.
    windows: BTreeMap<Millis, Window>,
    /// What the last mark has changed. No more than its epoch has touched, so it is made at once.
    changed: VecDeque<Emitted>,
}

/// What merges and encodes, used for one window after another.
struct Tools {
    accumulators: Accumulators,
    states: RowCodec,
    results: RowCodec,
}

struct Window {
    first_epoch: Epoch,
    keys: KeyTable,
    groups: Vec<Group>,
    /// Bytes of the states and results in `groups`.
    bytes: usize,
}

#[derive(Default)]
struct Group {
    state: Option<Box<[u8]>>,
    /// The result that sinks were given last, if it passed HAVING.
    shown: Option<Box<[u8]>>,
    /// Its place in the accumulators while an epoch is merged.
    slot: Option<u32>,
}

impl ChangingOperator {
    pub fn new(shape: Arc<Shape>) -> Self {
        ChangingOperator { shape, tools: None, windows: BTreeMap::new(), changed: VecDeque::new() }
    }

    fn drop_closed(&mut self, mark: &StepMark) {
        let first_open = self.shape.first_open(mark.watermark);
        self.windows.retain(|start, _| *start >= first_open);
    }

    /// The partials by window: those of a pane belong to each of its windows that was open when its rows came (I4).
    fn by_window(
        &self,
        partials: Vec<Partial>,
        mark: &StepMark,
    ) -> Result<BTreeMap<Millis, Vec<PanePartial>>, Failure> {
        let first_open = self.shape.first_open(mark.before);
        let mut by_window: BTreeMap<Millis, Vec<PanePartial>> = BTreeMap::new();
        for partial in opened(partials)? {
            let Some(windows) = self.shape.options.windows.filter(Windows::overlap) else {
                by_window.entry(partial.start).or_default().push(partial);
                continue;
            };
            for start in windows.starts_of(partial.start).filter(|start| *start >= first_open) {
                by_window.entry(start).or_default().push(partial.of_window(start, &self.shape)?);
            }
        }
        Ok(by_window)
    }
}

/// Where to cut so that the two halves of an update stay together: steps behind look at both.
fn whole_updates(rows: &RecordBatch, cut: usize) -> usize {
    let changes = rows.column_by_name(meta::CHANGE).and_then(|changes| changes.as_primitive_opt::<Int8Type>());
    match changes {
        Some(changes) if cut < rows.num_rows() && changes.value(cut - 1) == Change::UpdateBefore as i8 => cut + 1,
        _ => cut,
    }
}

impl StatefulOperator for ChangingOperator {
    fn on_mark(&mut self, mark: &StepMark, partials: Vec<Partial>) -> Result<(), Failure> {
        let by_window = self.by_window(partials, mark)?;
        for (start, partials) in by_window {
            let tools = match &mut self.tools {
                Some(tools) => tools,
                none => none.insert(Tools::new(&self.shape)?),
            };
            let window = self.windows.entry(start).or_insert_with(|| Window::new(mark.first_epoch));
            let changed = window.merge(partials, tools, &self.shape, At { clock: mark.clock })?;
            self.changed.extend(changed.map(|rows| Emitted { first_epoch: window.first_epoch, rows, rest: None }));
        }
        self.drop_closed(mark);
        Ok(())
    }

    fn next_rows(&mut self, rows_max: usize) -> Result<Option<Emitted>, Failure> {
        let Some(mut next) = self.changed.pop_front() else { return Ok(None) };
        let (count, cut) = (next.rows.num_rows(), whole_updates(&next.rows, rows_max.max(1)));
        if count > cut {
            let rest = next.rows.slice(cut, count - cut);
            self.changed.push_front(Emitted { first_epoch: next.first_epoch, rows: rest, rest: None });
            next.rows = next.rows.slice(0, cut);
        }
        Ok(Some(next))
    }

    fn needed(&self) -> Needed {
        match self.windows.values().map(|window| window.first_epoch).min() {
            None => Needed::Nothing,
            Some(_) if self.shape.options.windows.is_none() => Needed::Everything,
            Some(first) => Needed::From(first),
        }
    }

    fn open_ends(&self) -> Vec<Millis> {
        self.windows.keys().filter_map(|start| self.shape.closes_at(*start)).collect()
    }

    fn grace_ms(&self) -> Millis {
        self.shape.options.grace_ms
    }

    fn freeze(&mut self) -> Result<Box<dyn Frozen>, Failure> {
        let of = |window: &Window| FrozenPane {
            first_epoch: window.first_epoch,
            keys: window.keys.keys().copied(),
            kept: Kept::Bytes {
                states: RowBytes::of(window.groups.iter().map(|group| group.state.as_deref())),
                shown: RowBytes::of(window.groups.iter().map(|group| group.shown.as_deref())),
            },
        };
        let panes = self.windows.values().map(of).collect();
        Ok(Box::new(FrozenPanes::new(self.shape.clone(), panes)))
    }

    fn thaw(&mut self, rows: &RecordBatch) -> Result<(), Failure> {
        let thawed = self.shape.thawed(rows)?;
        let tools = match &mut self.tools {
            Some(tools) => tools,
            none => none.insert(Tools::new(&self.shape)?),
        };
        let states = tools.states.encode(&thawed.states, rows.num_rows())?;
        let shown = thawed.shown_bytes(&tools.results)?;
        for pane in thawed.panes {
            let window = self.windows.entry(pane.start).or_insert_with(|| Window::new(pane.first_epoch));
            for (index, row) in pane.rows.enumerate() {
                let group = window.keys.group(pane.keys.hash(index), pane.keys.key(index));
                if group == window.groups.len() {
                    window.groups.push(Group::default());
                }
                let Group { state, shown: shown_last, .. } = &mut window.groups[group];
                replace(state, Some(states.row(row).data().into()), &mut window.bytes);
                replace(shown_last, shown.get(row).map(Box::from), &mut window.bytes);
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let size = |window: &Window| window.keys.size() + window.bytes + window.groups.capacity() * size_of::<Group>();
        self.windows.values().map(size).sum()
    }
}

impl Tools {
    fn new(shape: &Shape) -> Result<Self, Failure> {
        let aggregates = &shape.options.aggregates;
        Ok(Tools {
            accumulators: aggregates.open()?,
            states: RowCodec::new(aggregates.state())?,
            results: RowCodec::new(aggregates.output())?,
        })
    }
}

impl Window {
    fn new(first_epoch: Epoch) -> Self {
        Window { first_epoch, keys: KeyTable::default(), groups: Vec::new(), bytes: 0 }
    }

    /// Merges the partials, in order, and gives the rows that changed, ordered by key.
    fn merge(
        &mut self,
        partials: Vec<PanePartial>,
        tools: &mut Tools,
        shape: &Shape,
        at: At,
    ) -> Result<Option<RecordBatch>, Failure> {
        let touched = self.touch(&partials);
        self.load(&touched, tools)?;
        for (partial, slots) in partials.iter().zip(&touched.slots) {
            tools.accumulators.merge(&partial.states, slots, touched.groups.len())?;
        }
        let states = tools.accumulators.take_state()?;
        self.store(&touched, &tools.states.encode(&states, touched.groups.len())?);

        // Taking the state has emptied them.
        let all: Vec<usize> = (0..touched.groups.len()).collect();
        tools.accumulators.merge(&states, &all, all.len())?;
        let keys = touched.groups.iter().map(|group| self.keys.keys().key(*group as usize));
        let (results, passes) = tools.accumulators.take_results(&shape.group_columns(keys)?, at)?;
        let results = tools.results.encode(&results, touched.groups.len())?;
        let changes = self.show(&touched, &results, passes.as_ref());
        changes.into_rows(self, tools, shape)
    }

    /// Numbers the groups that the partials have, and gives each a slot in the accumulators.
    fn touch(&mut self, partials: &[PanePartial]) -> Touched {
        let mut touched = Touched::default();
        for partial in partials {
            let keys = &partial.keys;
            touched.slots.push(
                (0..keys.len()).map(|row| self.slot(keys.hash(row), keys.key(row), &mut touched.groups)).collect(),
            );
        }
        touched.groups.iter().for_each(|group| self.groups[*group as usize].slot = None);
        touched
    }

    fn slot(&mut self, hash: u64, key: &[u8], touched: &mut Vec<u32>) -> usize {
        let group = self.keys.group(hash, key);
        if group == self.groups.len() {
            self.groups.push(Group::default());
        }
        let slot = *self.groups[group].slot.get_or_insert(touched.len() as u32) as usize;
        if slot == touched.len() {
            touched.push(group as u32);
        }
        slot
    }

    /// The old states of the touched groups, into fresh accumulators.
    fn load(&self, touched: &Touched, tools: &mut Tools) -> Result<(), Failure> {
        let old = touched.groups.iter().enumerate();
        let old = old.filter_map(|(slot, group)| Some((slot, self.groups[*group as usize].state.as_deref()?)));
        let (slots, states): (Vec<usize>, Vec<&[u8]>) = old.unzip();
        if slots.is_empty() {
            return Ok(());
        }
        let states = tools.states.decode(states.into_iter())?;
        tools.accumulators.merge(&states, &slots, touched.groups.len())
    }

    fn store(&mut self, touched: &Touched, states: &Rows) {
        for (slot, group) in touched.groups.iter().enumerate() {
            let state = Some(states.row(slot).data().into());
            replace(&mut self.groups[*group as usize].state, state, &mut self.bytes);
        }
    }

    /// Notes what is shown from now on, and gives the differences, ordered by key.
    fn show(&mut self, touched: &Touched, results: &Rows, passes: Option<&BooleanArray>) -> Changes {
        let passes = |slot: usize| passes.is_none_or(|passes| passes.is_valid(slot) && passes.value(slot));
        let mut slots: Vec<usize> = (0..touched.groups.len()).collect();
        let keys = self.keys.keys();
        slots.sort_unstable_by_key(|slot| keys.key(touched.groups[*slot] as usize));
        let mut changes = Changes::default();
        for slot in slots {
            let group = touched.groups[slot];
            let result = passes(slot).then(|| Box::from(results.row(slot).data()));
            let old = replace(&mut self.groups[group as usize].shown, result.clone(), &mut self.bytes);
            changes.note(group, old, result);
        }
        changes
    }
}

/// Puts a value in place of another and keeps count of the bytes.
fn replace(place: &mut Option<Box<[u8]>>, value: Option<Box<[u8]>>, bytes: &mut usize) -> Option<Box<[u8]>> {
    // The allocator rounds up.
    let length = |value: &Option<Box<[u8]>>| value.as_ref().map_or(0, |value| value.len().next_multiple_of(16));
    *bytes = *bytes + length(&value) - length(place);
    std::mem::replace(place, value)
}

/// The groups of one epoch.
#[derive(Default)]
struct Touched {
    /// Per slot in the accumulators: the group.
    groups: Vec<u32>,
    /// Per partial, per row of it: the slot.
    slots: Vec<Vec<usize>>,
}

/// Rows to emit, as bytes.
#[derive(Default)]
struct Changes {
    groups: Vec<u32>,
    results: Vec<Box<[u8]>>,
    changes: Vec<i8>,
}

impl Changes {
    fn note(&mut self, group: u32, old: Option<Box<[u8]>>, new: Option<Box<[u8]>>) {
        match (old, new) {
            (None, None) => {}
            (None, Some(new)) => self.push(group, new, Change::Insert),
            (Some(old), None) => self.push(group, old, Change::Delete),
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => {
                self.push(group, old, Change::UpdateBefore);
                self.push(group, new, Change::UpdateAfter);
            }
        }
    }

    fn push(&mut self, group: u32, result: Box<[u8]>, change: Change) {
        self.groups.push(group);
        self.results.push(result);
        self.changes.push(change as i8);
    }

    fn into_rows(self, window: &Window, tools: &Tools, shape: &Shape) -> Result<Option<RecordBatch>, Failure> {
        if self.changes.is_empty() {
            return Ok(None);
        }
        let keys = window.keys.keys();
        let mut columns = shape.group_columns(self.groups.iter().map(|group| keys.key(*group as usize)))?;
        let times = shape.options.windows.and_then(|_| row_times(&columns));
        columns.extend(tools.results.decode(self.results.iter().map(|result| &**result))?);
        columns.extend(times);
        columns.push(Arc::new(Int8Array::from(self.changes)) as ArrayRef);
        RecordBatch::try_new(shape.output.clone(), columns)
            .map(Some)
            .map_err(|error| Failure::bug("aggregate.changes", "changed rows do not fit their columns").because(error))
    }
}
