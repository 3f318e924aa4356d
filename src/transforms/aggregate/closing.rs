//! The trunk's half that emits each window once, when it closes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::error::ArrowError;

use super::gather::WindowPartial;
use super::keys::KeyTable;
use super::{Shape, opened};
use crate::data::{Epoch, Mark};
use crate::expr::Accumulators;
use crate::report::Failure;
use crate::time::Millis;
use crate::transforms::{At, Emitted, Needed, Partial, StatefulOperator};

pub(super) struct ClosingOperator {
    shape: Arc<Shape>,
    /// Open windows by their start.
    windows: BTreeMap<Millis, Window>,
}

struct Window {
    first_epoch: Epoch,
    keys: KeyTable,
    accumulators: Accumulators,
}

impl ClosingOperator {
    pub fn new(shape: Arc<Shape>) -> Self {
        ClosingOperator { shape, windows: BTreeMap::new() }
    }

    fn window(&mut self, start: Millis, epoch: Epoch) -> Result<&mut Window, Failure> {
        use std::collections::btree_map::Entry;
        Ok(match self.windows.entry(start) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Window {
                first_epoch: epoch,
                keys: KeyTable::default(),
                accumulators: self.shape.options.aggregates.open()?,
            }),
        })
    }

    /// The windows that the mark closes, oldest first.
    fn close(&mut self, mark: &Mark) -> Vec<Window> {
        let mut closed = Vec::new();
        while let Some(entry) = self.windows.first_entry() {
            if self.shape.closes_at(*entry.key()).is_none_or(|end| !mark.watermark.has_closed(end, 0)) {
                break;
            }
            closed.push(entry.remove());
        }
        closed
    }
}

impl StatefulOperator for ClosingOperator {
    fn on_mark(&mut self, mark: &Mark, partials: Vec<Partial>) -> Result<Vec<Emitted>, Failure> {
        for partial in opened(partials)? {
            self.window(partial.start, mark.epoch)?.merge(partial)?;
        }
        let mut emitted = Vec::new();
        for window in self.close(mark) {
            emitted.extend(window.emit(&self.shape, At { clock: mark.clock })?);
        }
        Ok(emitted)
    }

    fn needed(&self) -> Needed {
        self.windows.values().map(|window| window.first_epoch).min().map_or(Needed::Nothing, Needed::From)
    }

    fn open_ends(&self) -> Vec<Millis> {
        self.windows.keys().filter_map(|start| self.shape.closes_at(*start)).collect()
    }

    fn size(&self) -> usize {
        self.windows.values().map(|window| window.keys.size() + window.accumulators.size()).sum()
    }
}

impl Window {
    fn merge(&mut self, partial: WindowPartial) -> Result<(), Failure> {
        let keys = &partial.keys;
        let groups: Vec<usize> =
            (0..keys.len()).map(|group| self.keys.group(keys.hash(group), keys.key(group))).collect();
        self.accumulators.merge(&partial.states, &groups, self.keys.keys().len())
    }

    /// Its rows, ordered by key; nothing if HAVING passes none.
    fn emit(mut self, shape: &Shape, at: At) -> Result<Option<Emitted>, Failure> {
        let keys = self.keys.into_keys();
        let mut columns = shape.group_columns(keys.iter())?;
        let (results, passes) = self.accumulators.take_results(&columns, at)?;
        columns.extend(results);
        let passes = |group: &u32| {
            passes.as_ref().is_none_or(|passes| passes.is_valid(*group as usize) && passes.value(*group as usize))
        };
        let order = UInt32Array::from(keys.sorted((0..keys.len() as u32).filter(passes).collect()));
        if order.is_empty() {
            return Ok(None);
        }
        let columns = columns.iter().map(|column| take(column, &order, None)).collect::<Result<_, _>>();
        let rows = columns.and_then(|columns| RecordBatch::try_new(shape.output.clone(), columns)).map_err(broken)?;
        Ok(Some(Emitted { first_epoch: self.first_epoch, rows }))
    }
}

fn broken(error: ArrowError) -> Failure {
    Failure::bug("aggregate.window", "the rows of a closed window do not fit its columns").because(error)
}
