//! The trunk's half that emits each window once, when it closes.
//!
//! The rows of a closed window are made a few at a time, as they are asked for: a window of millions of groups
//! never stands in memory as rows (I10).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;

use super::gather::WindowPartial;
use super::keys::{KeyTable, Keys};
use super::{Shape, opened};
use crate::data::{Epoch, Mark};
use crate::expr::{Accumulators, Finished};
use crate::report::Failure;
use crate::time::Millis;
use crate::transforms::{At, Emitted, Needed, Partial, StatefulOperator};

pub(super) struct ClosingOperator {
    shape: Arc<Shape>,
    /// Open windows by their start.
    windows: BTreeMap<Millis, Window>,
    /// What the last mark has closed, oldest first.
    closed: VecDeque<Window>,
    leaving: Option<Leaving>,
    /// Of the last mark.
    at: At,
}

struct Window {
    first_epoch: Epoch,
    keys: KeyTable,
    accumulators: Accumulators,
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

impl ClosingOperator {
    pub fn new(shape: Arc<Shape>) -> Self {
        let at = At { clock: Millis::MIN };
        ClosingOperator { shape, windows: BTreeMap::new(), closed: VecDeque::new(), leaving: None, at }
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

    /// Closes what the mark closes, oldest first.
    fn close(&mut self, mark: &Mark) {
        while let Some(entry) = self.windows.first_entry() {
            if self.shape.closes_at(*entry.key()).is_none_or(|end| !mark.watermark.has_closed(end, 0)) {
                break;
            }
            self.closed.push_back(entry.remove());
        }
    }
}

impl StatefulOperator for ClosingOperator {
    fn on_mark(&mut self, mark: &Mark, partials: Vec<Partial>) -> Result<(), Failure> {
        for partial in opened(partials)? {
            self.window(partial.start, mark.epoch)?.merge(partial)?;
        }
        self.at = At { clock: mark.clock };
        self.close(mark);
        Ok(())
    }

    fn next_rows(&mut self, rows_max: usize) -> Result<Option<Emitted>, Failure> {
        loop {
            if let Some(leaving) = self.leaving.as_mut().filter(|leaving| leaving.left_count < leaving.order.len()) {
                let rows = leaving.next_rows(rows_max, &self.shape, self.at)?;
                if rows.num_rows() > 0 {
                    return Ok(Some(Emitted { first_epoch: leaving.first_epoch, rows }));
                }
            } else {
                self.leaving = self.closed.pop_front().map(Window::leave).transpose()?;
                if self.leaving.is_none() {
                    return Ok(None);
                }
            }
        }
    }

    fn needed(&self) -> Needed {
        self.windows.values().map(|window| window.first_epoch).min().map_or(Needed::Nothing, Needed::From)
    }

    fn open_ends(&self) -> Vec<Millis> {
        self.windows.keys().filter_map(|start| self.shape.closes_at(*start)).collect()
    }

    fn size(&self) -> usize {
        let windows = self.windows.values().chain(&self.closed);
        let leaving = self.leaving.as_ref().map_or(0, Leaving::size);
        windows.map(|window| window.keys.size() + window.accumulators.size()).sum::<usize>() + leaving
    }
}

impl Window {
    fn merge(&mut self, partial: WindowPartial) -> Result<(), Failure> {
        let keys = &partial.keys;
        let groups: Vec<usize> =
            (0..keys.len()).map(|group| self.keys.group(keys.hash(group), keys.key(group))).collect();
        self.accumulators.merge(&partial.states, &groups, self.keys.keys().len())
    }

    fn leave(mut self) -> Result<Leaving, Failure> {
        let keys = self.keys.into_keys();
        let order = keys.sorted((0..keys.len() as u32).collect());
        let finished = self.accumulators.take_finished()?;
        Ok(Leaving { first_epoch: self.first_epoch, keys, finished, order, left_count: 0 })
    }
}

impl Leaving {
    /// The next rows by key; fewer than `rows_max`, perhaps none, where HAVING holds some back.
    fn next_rows(&mut self, rows_max: usize, shape: &Shape, at: At) -> Result<RecordBatch, Failure> {
        let groups = &self.order[self.left_count..];
        let groups = UInt32Array::from(groups[..groups.len().min(rows_max.max(1))].to_vec());
        self.left_count += groups.len();
        let mut columns = shape.group_columns(groups.values().iter().map(|group| self.keys.key(*group as usize)))?;
        let (results, passes) = self.finished.pick(&groups)?.results(&columns, at)?;
        columns.extend(results);
        let rows = RecordBatch::try_new(shape.output.clone(), columns).map_err(broken)?;
        match passes {
            None => Ok(rows),
            Some(passes) => filter_record_batch(&rows, &passes).map_err(broken),
        }
    }

    fn size(&self) -> usize {
        self.keys.size() + self.finished.size() + self.order.capacity() * size_of::<u32>()
    }
}

fn broken(error: ArrowError) -> Failure {
    Failure::bug("aggregate.window", "the rows of a closed window do not fit its columns").because(error)
}
