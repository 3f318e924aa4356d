//! The lane's half: partial states of one epoch, per partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, UInt32Array};
use arrow::compute::{filter, filter_record_batch, take};
use arrow::datatypes::TimestampMillisecondType;
use arrow::error::ArrowError;
use arrow_row::Rows;

use super::keys::{KeyTable, Keys};
use super::{ENDLESS, Shape};
use crate::data::{Batch, DeadLetter, Partition, SourceIndex, dead_letter, meta};
use crate::expr::Accumulators;
use crate::report::Failure;
use crate::time::{Millis, Watermark, Windows};
use crate::transforms::{At, Gather, Partial};

/// What one partition adds to one pane in one epoch: a state per group.
#[derive(Debug)]
pub(super) struct PanePartial {
    pub start: Millis,
    pub keys: Keys,
    pub states: Vec<ArrayRef>,
}

pub(super) struct AggregateGather {
    shape: Arc<Shape>,
    tables: BTreeMap<(SourceIndex, Partition), Table>,
}

/// The groups of one partition.
struct Table {
    keys: KeyTable,
    /// Per group: its pane's start.
    starts: Vec<Millis>,
    /// Per group: false while all of its rows have failed. Such a group is none.
    has_rows: Vec<bool>,
    accumulators: Accumulators,
}

/// Rows on their way into a table.
struct Incoming {
    batch: Batch,
    /// Per row: its pane's start.
    starts: Vec<Millis>,
}

impl AggregateGather {
    pub fn new(shape: Arc<Shape>) -> Self {
        AggregateGather { shape, tables: BTreeMap::new() }
    }
}

impl Gather for AggregateGather {
    fn update(
        &mut self,
        batch: &Batch,
        watermark: Watermark,
        at: At,
        late: &mut Vec<Batch>,
        dead: &mut Vec<DeadLetter>,
    ) -> Result<(), Failure> {
        let incoming = self.shape.without_late(batch, watermark, late)?;
        if incoming.starts.is_empty() {
            return Ok(());
        }
        let mut refused = Refused::default();
        let (incoming, columns) = self.shape.with_groups(incoming, at, &mut refused)?;
        let count = incoming.starts.len();
        if count > 0 {
            let keys = self.shape.keys.encode(&columns, count)?;
            let table = table(&mut self.tables, batch, &self.shape)?;
            table.update(&incoming, &keys, at, &mut refused)?;
        }
        dead.extend(refused.in_order());
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<(SourceIndex, Partition, Partial)>, Failure> {
        let mut partials: Vec<(SourceIndex, Partition, Partial)> = Vec::new();
        for ((source, partition), table) in &mut self.tables {
            let panes = table.take()?;
            if !panes.is_empty() {
                partials.push((*source, *partition, Box::new(panes)));
            }
        }
        Ok(partials)
    }

    fn size(&self) -> usize {
        self.tables.values().map(|table| table.keys.size() + table.accumulators.size()).sum()
    }
}

fn table<'a>(
    tables: &'a mut BTreeMap<(SourceIndex, Partition), Table>,
    batch: &Batch,
    shape: &Shape,
) -> Result<&'a mut Table, Failure> {
    use std::collections::btree_map::Entry;
    Ok(match tables.entry((batch.source, batch.partition)) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(Table {
            keys: KeyTable::default(),
            starts: Vec::new(),
            has_rows: Vec::new(),
            accumulators: shape.options.aggregates.open()?,
        }),
    })
}

impl Shape {
    /// Moves rows whose windows have all closed to `late`, in order (I4).
    fn without_late(&self, batch: &Batch, watermark: Watermark, late: &mut Vec<Batch>) -> Result<Incoming, Failure> {
        let Some(windows) = self.options.windows else {
            return Ok(Incoming { batch: batch.clone(), starts: vec![ENDLESS; batch.rows.num_rows()] });
        };
        let starts = pane_starts(batch, windows)?;
        let first_open = windows.first_open(watermark, self.options.grace_ms);
        if starts.iter().all(|pane| *pane >= first_open) {
            return Ok(Incoming { batch: batch.clone(), starts });
        }
        let is_late: BooleanArray = starts.iter().map(|pane| Some(*pane < first_open)).collect();
        late.push(filtered(batch, &is_late)?);
        Incoming { batch: batch.clone(), starts }.keep(&arrow::compute::not(&is_late).map_err(broken)?)
    }

    /// The key columns of the rows: pane start and group columns. Rows for which a group cannot be evaluated leave.
    fn with_groups(
        &self,
        incoming: Incoming,
        at: At,
        refused: &mut Refused,
    ) -> Result<(Incoming, Vec<ArrayRef>), Failure> {
        let count = incoming.starts.len();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(incoming.starts.clone()))];
        let mut good = vec![true; count];
        for (name, group) in &self.options.groups {
            let (values, errors) = group.evaluate(&incoming.batch.rows, at)?;
            columns.push(values);
            for error in errors {
                if std::mem::replace(&mut good[error.row], false) {
                    let reason = format!("`group_by.{name}`: {}", error.message);
                    refused.push(error.row, &incoming.batch, error.row, reason);
                }
            }
        }
        if good.iter().all(|good| *good) {
            return Ok((incoming, columns));
        }
        refused.rows_left = Some((0..count).filter(|row| good[*row]).collect());
        let good = BooleanArray::from(good);
        let columns = columns.iter().map(|column| filter(column, &good).map_err(broken)).collect::<Result<_, _>>()?;
        Ok((incoming.keep(&good)?, columns))
    }
}

fn pane_starts(batch: &Batch, windows: Windows) -> Result<Vec<Millis>, Failure> {
    let times = batch
        .rows
        .column_by_name(meta::TIME)
        .and_then(|times| times.as_primitive_opt::<TimestampMillisecondType>())
        .ok_or_else(|| Failure::bug("aggregate.time", "rows came to a windowed aggregate without `_time`"))?;
    Ok(windows.panes_of(times.values()))
}

impl Incoming {
    fn keep(&self, mask: &BooleanArray) -> Result<Incoming, Failure> {
        let starts = self.starts.iter().zip(mask.values()).filter(|(_, kept)| *kept).map(|(start, _)| *start);
        Ok(Incoming { batch: filtered(&self.batch, mask)?, starts: starts.collect() })
    }
}

fn filtered(batch: &Batch, mask: &BooleanArray) -> Result<Batch, Failure> {
    Ok(Batch { rows: filter_record_batch(&batch.rows, mask).map_err(broken)?, ..*batch })
}

impl Table {
    fn update(&mut self, incoming: &Incoming, keys: &Rows, at: At, refused: &mut Refused) -> Result<(), Failure> {
        let groups = self.number(keys, &incoming.starts);
        let errors = self.accumulators.update(&incoming.batch.rows, at, &groups, self.keys.keys().len())?;
        let mut failed = errors.iter().map(|error| error.row).peekable();
        for (row, group) in groups.iter().enumerate() {
            if failed.next_if_eq(&row).is_none() {
                self.has_rows[*group] = true;
            }
        }
        for error in errors {
            let row = refused.row_before(error.row);
            refused.push(row, &incoming.batch, error.row, format!("`aggregate`: {}", error.message));
        }
        Ok(())
    }

    /// The group of each row. Neighbours are often of one group; then nothing is hashed.
    fn number(&mut self, keys: &Rows, starts: &[Millis]) -> Vec<usize> {
        let mut groups = Vec::with_capacity(starts.len());
        let mut last: Option<(&[u8], usize)> = None;
        for (row, start) in starts.iter().enumerate() {
            let key = keys.row(row).data();
            let group = match last {
                Some((last_key, group)) if last_key == key => group,
                _ => self.keys.find(key),
            };
            if group == self.starts.len() {
                self.starts.push(*start);
                self.has_rows.push(false);
            }
            last = Some((key, group));
            groups.push(group);
        }
        groups
    }

    /// Its groups by pane, ascending; empty afterwards.
    fn take(&mut self) -> Result<Vec<PanePartial>, Failure> {
        let keys = std::mem::take(&mut self.keys).into_keys();
        if keys.len() == 0 {
            return Ok(Vec::new());
        }
        let states = self.accumulators.take_state()?;
        let mut panes: BTreeMap<Millis, Vec<u32>> = BTreeMap::new();
        let starts = std::mem::take(&mut self.starts);
        let has_rows = std::mem::take(&mut self.has_rows);
        for (group, start) in starts.iter().enumerate().filter(|(group, _)| has_rows[*group]) {
            panes.entry(*start).or_default().push(group as u32);
        }
        if panes.len() == 1 && has_rows.iter().all(|has_rows| *has_rows) {
            return Ok(vec![PanePartial { start: starts[0], keys, states }]);
        }
        panes.into_iter().map(|(start, groups)| pane_partial(start, groups, &keys, &states)).collect()
    }
}

impl PanePartial {
    /// As what is known of a window that holds the pane.
    pub fn of_window(&self, start: Millis, shape: &Shape) -> Result<PanePartial, Failure> {
        let keys = self.keys.moved(&shape.start_bytes(start)?);
        Ok(PanePartial { start, keys, states: self.states.clone() })
    }
}

/// Some of a table's groups.
fn pane_partial(start: Millis, groups: Vec<u32>, from: &Keys, states: &[ArrayRef]) -> Result<PanePartial, Failure> {
    let mut keys = Keys::default();
    for group in &groups {
        keys.push(from.hash(*group as usize), from.key(*group as usize));
    }
    let groups = UInt32Array::from(groups);
    let states = states.iter().map(|state| take(state, &groups, None).map_err(broken)).collect::<Result<_, _>>()?;
    Ok(PanePartial { start, keys, states })
}

fn broken(error: ArrowError) -> Failure {
    Failure::bug("aggregate.gather", "rows could not be picked").because(error)
}

/// Dead letters of one batch. They leave in the order of the rows, whichever stage refused them (I2).
#[derive(Default)]
struct Refused {
    letters: Vec<(usize, DeadLetter)>,
    /// Rows of the batch that are left after grouping; `None`: all.
    rows_left: Option<Vec<usize>>,
}

impl Refused {
    fn row_before(&self, row: usize) -> usize {
        self.rows_left.as_ref().map_or(row, |left| left[row])
    }

    fn push(&mut self, order: usize, batch: &Batch, row: usize, reason: String) {
        self.letters.push((order, dead_letter(batch, row, "expr.failed", reason)));
    }

    fn in_order(mut self) -> impl Iterator<Item = DeadLetter> {
        self.letters.sort_by_key(|(order, _)| *order);
        self.letters.into_iter().map(|(_, letter)| letter)
    }
}
