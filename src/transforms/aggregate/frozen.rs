//! What an aggregate keeps, as columns, and back.
//!
//! A row for each group of each pane (or window): the lowest epoch that contributed to the pane, its start, the group
//! columns, the states of the calls; where changes are emitted, also whether its result was shown, and which.
//!
//! Keys and states are kept as the bytes of some version of `arrow-row`; columns mean the same in all of them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::{concat, filter, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type};
use arrow::error::ArrowError;

use super::keys::{Keys, hash_of};
use super::{Shape, key_fields};
use crate::data::Epoch;
use crate::report::Failure;
use crate::state::Rows;
use crate::time::Millis;
use crate::transforms::Frozen;
use crate::transforms::codec::RowCodec;

const FIRST_EPOCH: &str = "_first_epoch";
const IS_SHOWN: &str = "_is_shown";

/// Panes on their way into rows.
pub(super) struct FrozenPanes {
    shape: Arc<Shape>,
    panes: VecDeque<FrozenPane>,
    /// How many groups of the first one were given.
    given: usize,
    codecs: Option<Codecs>,
}

struct Codecs {
    states: RowCodec,
    results: RowCodec,
}

/// The groups of a pane or window.
pub(super) struct FrozenPane {
    pub first_epoch: Epoch,
    pub keys: Keys,
    pub kept: Kept,
}

/// What is known of each group.
pub(super) enum Kept {
    States(Vec<ArrayRef>),
    Bytes {
        states: RowBytes,
        /// The result that sinks were given last, if they were given one.
        shown: RowBytes,
    },
}

/// A run of bytes for each group that has one, in one place.
#[derive(Default)]
pub(super) struct RowBytes {
    bytes: Vec<u8>,
    /// Where each group's ends, and whether it has any.
    ends: Vec<(usize, bool)>,
}

impl RowBytes {
    pub fn of<'a>(rows: impl Iterator<Item = Option<&'a [u8]>>) -> RowBytes {
        let mut all = RowBytes::default();
        rows.for_each(|row| all.push(row));
        all
    }

    fn push(&mut self, row: Option<&[u8]>) {
        self.bytes.extend_from_slice(row.unwrap_or_default());
        self.ends.push((self.bytes.len(), row.is_some()));
    }

    pub fn get(&self, group: usize) -> Option<&[u8]> {
        let start = if group == 0 { 0 } else { self.ends[group - 1].0 };
        let (end, is_there) = self.ends[group];
        is_there.then(|| &self.bytes[start..end])
    }

    fn size(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<(usize, bool)>()
    }
}

/// Some groups of one pane.
struct Stretch {
    pane: usize,
    groups: Range<usize>,
}

impl FrozenPanes {
    pub fn new(shape: Arc<Shape>, panes: VecDeque<FrozenPane>) -> Self {
        FrozenPanes { shape, panes, given: 0, codecs: None }
    }

    /// The next groups, over as many panes as it takes.
    fn stretches(&self, rows_max: usize) -> Vec<Stretch> {
        let (mut stretches, mut room, mut from) = (Vec::new(), rows_max.max(1), self.given);
        for (pane, frozen) in self.panes.iter().enumerate() {
            let end = frozen.keys.len().min(from + room);
            room -= end - from;
            if end > from {
                stretches.push(Stretch { pane, groups: from..end });
            }
            if room == 0 {
                break;
            }
            from = 0;
        }
        stretches
    }

    fn rows(&mut self, stretches: &[Stretch]) -> Result<RecordBatch, Failure> {
        let panes = &self.panes;
        let each = || stretches.iter().flat_map(|s| s.groups.clone().map(move |group| (&panes[s.pane], group)));
        let first_epochs: UInt64Array = each().map(|(pane, _)| Some(pane.first_epoch)).collect();
        let mut columns = vec![Arc::new(first_epochs) as ArrayRef];
        columns.extend(self.shape.keys.decode(each().map(|(pane, group)| pane.keys.key(group)))?);
        if self.shape.options.changes {
            let codecs = match &mut self.codecs {
                Some(codecs) => codecs,
                none => none.insert(Codecs::of(&self.shape)?),
            };
            let bytes = || each().map(|(pane, group)| pane.kept.bytes_of(group));
            columns.extend(codecs.states.decode(bytes().map(|(state, _)| state.unwrap_or_default()))?);
            let shown: Vec<Option<&[u8]>> = bytes().map(|(_, shown)| shown).collect();
            columns.push(Arc::new(shown.iter().map(|shown| Some(shown.is_some())).collect::<BooleanArray>()));
            let results = codecs.results.decode(shown.iter().copied().flatten())?;
            let mut next = 0..;
            let places: UInt32Array = shown.iter().map(|shown| shown.and_then(|_| next.next())).collect();
            for column in results {
                columns.push(take(&column, &places, None).map_err(broken)?);
            }
        } else {
            let count = self.shape.options.aggregates.state().len();
            for column in 0..count {
                let slices: Vec<ArrayRef> =
                    stretches.iter().map(|s| panes[s.pane].kept.state(column, &s.groups)).collect::<Result<_, _>>()?;
                let slices: Vec<&dyn Array> = slices.iter().map(AsRef::as_ref).collect();
                columns.push(if slices.len() == 1 {
                    slices[0].slice(0, slices[0].len())
                } else {
                    concat(&slices).map_err(broken)?
                });
            }
        }
        RecordBatch::try_new(self.shape.state(), columns).map_err(broken)
    }
}

impl Rows for FrozenPanes {
    fn next_rows(&mut self, rows_max: usize) -> Result<Option<RecordBatch>, Failure> {
        let stretches = self.stretches(rows_max);
        let Some(last) = stretches.last() else { return Ok(None) };
        let (pane, end) = (last.pane, last.groups.end);
        let rows = self.rows(&stretches)?;
        // What was given is let go at once.
        let is_whole = end == self.panes[pane].keys.len();
        self.panes.drain(..pane + usize::from(is_whole));
        self.given = if is_whole { 0 } else { end };
        Ok(Some(rows))
    }
}

impl Frozen for FrozenPanes {
    fn size(&self) -> usize {
        self.panes.iter().map(|pane| pane.keys.size() + pane.kept.size()).sum()
    }
}

impl Kept {
    fn bytes_of(&self, group: usize) -> (Option<&[u8]>, Option<&[u8]>) {
        match self {
            Kept::Bytes { states, shown } => (states.get(group), shown.get(group)),
            Kept::States(_) => (None, None),
        }
    }

    fn state(&self, column: usize, groups: &Range<usize>) -> Result<ArrayRef, Failure> {
        match self {
            Kept::States(states) => Ok(states[column].slice(groups.start, groups.len())),
            Kept::Bytes { .. } => Err(Failure::bug("aggregate.frozen", "states were kept as bytes")),
        }
    }

    fn size(&self) -> usize {
        match self {
            Kept::States(states) => states.iter().map(|state| state.get_array_memory_size()).sum(),
            Kept::Bytes { states, shown } => states.size() + shown.size(),
        }
    }
}

impl Codecs {
    fn of(shape: &Shape) -> Result<Codecs, Failure> {
        let aggregates = &shape.options.aggregates;
        Ok(Codecs { states: RowCodec::new(aggregates.state())?, results: RowCodec::new(aggregates.output())? })
    }
}

/// Rows of what was frozen, on their way back.
pub(super) struct Thawed {
    pub panes: Vec<ThawedPane>,
    /// Of all rows.
    pub states: Vec<ArrayRef>,
    is_shown: Option<BooleanArray>,
    results: Vec<ArrayRef>,
}

/// Rows that follow one another and are of one pane.
pub(super) struct ThawedPane {
    pub start: Millis,
    pub first_epoch: Epoch,
    pub rows: Range<usize>,
    pub keys: Keys,
}

impl Thawed {
    /// The results that were shown, as bytes.
    pub fn shown_bytes(&self, codec: &RowCodec) -> Result<RowBytes, Failure> {
        let Some(is_shown) = &self.is_shown else { return Ok(RowBytes::default()) };
        let results: Vec<ArrayRef> =
            self.results.iter().map(|column| filter(column, is_shown).map_err(broken)).collect::<Result<_, _>>()?;
        let encoded = codec.encode(&results, is_shown.true_count())?;
        let (mut all, mut next) = (RowBytes::default(), 0..);
        for is_shown in is_shown.values() {
            let row = if is_shown { next.next().map(|row| encoded.row(row)) } else { None };
            all.push(row.as_ref().map(|row| row.data()));
        }
        Ok(all)
    }
}

impl Shape {
    /// Columns of what is kept.
    pub fn state(&self) -> SchemaRef {
        let aggregates = &self.options.aggregates;
        let mut fields = vec![Field::new(FIRST_EPOCH, DataType::UInt64, false)];
        fields.extend(key_fields(&self.options.groups));
        fields.extend(aggregates.state());
        if self.options.changes {
            fields.push(Field::new(IS_SHOWN, DataType::Boolean, false));
            fields.extend(aggregates.output().into_iter().map(|field| field.with_nullable(true)));
        }
        Arc::new(Schema::new(fields))
    }

    /// Rows of these columns by pane.
    pub fn thawed(&self, rows: &RecordBatch) -> Result<Thawed, Failure> {
        let mut columns = rows.columns().iter().cloned();
        let mut next = |count: usize| columns.by_ref().take(count).collect::<Vec<ArrayRef>>();
        let first_epochs = next(1);
        let groups = next(1 + self.options.groups.len());
        let states = next(self.options.aggregates.state().len());
        let is_shown = next(usize::from(self.options.changes)).pop().map(|column| column.as_boolean().clone());
        let results = next(usize::MAX);
        let first_epochs = first_epochs[0].as_primitive::<UInt64Type>().values();
        let starts = groups[0].as_primitive::<Int64Type>().values();
        let encoded = self.keys.encode(&groups, rows.num_rows())?;
        let mut panes: Vec<ThawedPane> = Vec::new();
        for row in 0..rows.num_rows() {
            let key = encoded.row(row).data();
            let is_next = |pane: &&mut ThawedPane| (pane.start, pane.first_epoch) == (starts[row], first_epochs[row]);
            match panes.last_mut().filter(is_next) {
                Some(pane) => {
                    pane.rows.end += 1;
                    pane.keys.push(hash_of(key), key);
                }
                None => {
                    let mut keys = Keys::default();
                    keys.push(hash_of(key), key);
                    let (start, first_epoch) = (starts[row], first_epochs[row]);
                    panes.push(ThawedPane { start, first_epoch, rows: row..row + 1, keys });
                }
            }
        }
        Ok(Thawed { panes, states, is_shown, results })
    }
}

fn broken(error: ArrowError) -> Failure {
    Failure::bug("aggregate.frozen", "the state of an aggregate does not fit its columns").because(error)
}
