//! Aggregates: over windows of event time, or without a window and without an end.
//!
//! A window opens with its first row and closes when the watermark reaches its end plus its grace
//! (I4). A row whose windows have all closed is late: it leaves by the `.late` port. Without a window there is one table
//! of groups, and its rows change for ever.
//!
//! Rows are aggregated once, per *pane*, however many windows overlap there; a window is put together from its panes in
//! their order. A window that does not overlap others is one pane.
//!
//! I2: a lane's half ([`gather`]) updates partial states row by row, per partition; the trunk's half
//! merges them in the order of (source, partition) and emits in the order of (window end, key). So
//! neither lanes nor batch size nor timing change a bit of the output. [`closing`] emits each window
//! once, when it closes; [`changing`] emits each epoch what has changed.

mod changing;
mod closing;
mod fill;
mod frozen;
mod gather;
mod keys;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMillisecondType};

use super::codec::RowCodec;
use super::{Gather, Partial, StatefulOperator, StatefulTransform};
use crate::data::meta;
use crate::expr::{Aggregates, Scalar};
use crate::report::Failure;
use crate::time::{Millis, Watermark, Windows};
use changing::ChangingOperator;
use closing::ClosingOperator;
use gather::{AggregateGather, PanePartial};

/// Column of a window's start (inclusive), in the output of a windowed aggregate.
pub const WINDOW_START: &str = "window_start";
/// Column of a window's end (exclusive).
pub const WINDOW_END: &str = "window_end";

/// Start of the one "window" of an aggregate without windows.
const ENDLESS: Millis = 0;

/// What an aggregate does, compiled.
#[derive(Debug, Clone)]
pub struct Options {
    /// Columns of the rows that come in, metadata among them; windows need `_time`.
    pub input: SchemaRef,
    /// `None`: one group of rows for each key, for ever.
    pub windows: Option<Windows>,
    /// How long a window stays open behind its end, in milliseconds.
    pub grace_ms: Millis,
    /// Compiled against `input`. May be empty: then there is one group, once there is a row.
    pub groups: Vec<(String, Scalar)>,
    /// Compiled against `input` and [`group_fields`].
    pub aggregates: Aggregates,
    /// One value for each result: what a window without a row has, between two with rows. Only without groups, and
    /// where windows are emitted when they close.
    pub fill: Option<Vec<ArrayRef>>,
    /// Emit what changed in each epoch, instead of windows when they close. Without windows it is always so.
    pub changes: bool,
}

/// The columns in front of the aggregates: window_start and window_end if there are windows, the
/// group columns. What `having` may use beside the aggregates.
pub fn group_fields(windows: Option<Windows>, groups: &[(String, Scalar)]) -> Vec<Field> {
    let bounds = [WINDOW_START, WINDOW_END].map(|name| Field::new(name, meta::time_type(), false));
    let bounds = bounds.into_iter().filter(|_| windows.is_some());
    bounds.chain(groups.iter().map(|(name, expr)| expr.field(name))).collect()
}

/// True if rows can be grouped by values of this type.
pub fn can_group_by(data_type: &DataType) -> bool {
    arrow_row::RowConverter::supports_fields(&[arrow_row::SortField::new(data_type.clone())])
}

/// The `window`/`group_by`/`aggregate`/`having` transform.
#[derive(Debug, Clone)]
pub struct Aggregate {
    shape: Arc<Shape>,
}

/// All that both halves share.
#[derive(Debug)]
struct Shape {
    options: Options,
    /// Pane or window start and group columns as bytes: what a group is known by.
    keys: RowCodec,
    /// The start alone: the first bytes of a key, the same number of them in all.
    starts: RowCodec,
    output: SchemaRef,
}

impl Aggregate {
    /// # Errors
    /// A group column has a type that cannot be a key ([`can_group_by`]).
    pub fn new(mut options: Options) -> Result<Self, Failure> {
        options.changes |= options.windows.is_none();
        let mut fields = group_fields(options.windows, &options.groups);
        fields.extend(options.aggregates.output());
        fields.extend(meta::field(meta::TIME).filter(|_| options.windows.is_some()));
        fields.extend(meta::field(meta::CHANGE).filter(|_| options.changes));
        let keys = RowCodec::new(key_fields(&options.groups))?;
        let starts = RowCodec::new(key_fields(&[]))?;
        let output = Arc::new(Schema::new(fields));
        Ok(Aggregate { shape: Arc::new(Shape { options, keys, starts, output }) })
    }
}

/// The start stands first, so that keys sort by (window, group columns).
fn key_fields(groups: &[(String, Scalar)]) -> Vec<Field> {
    let start = Field::new(WINDOW_START, DataType::Int64, false);
    std::iter::once(start).chain(groups.iter().map(|(name, expr)| expr.field(name))).collect()
}

impl StatefulTransform for Aggregate {
    fn schema(&self) -> SchemaRef {
        self.shape.output.clone()
    }

    fn changes(&self) -> bool {
        self.shape.options.changes
    }

    fn span_ms(&self) -> Option<Millis> {
        self.shape.options.windows.map(|windows| windows.size_ms())
    }

    fn late_because(&self) -> &'static str {
        "its window had closed"
    }

    fn open_gather(&self) -> Box<dyn Gather> {
        Box::new(AggregateGather::new(self.shape.clone()))
    }

    fn open(&self, wants_rest: bool) -> Box<dyn StatefulOperator> {
        match self.shape.options.windows.filter(|_| !self.changes()) {
            Some(windows) => Box::new(ClosingOperator::new(self.shape.clone(), windows, wants_rest)),
            None => Box::new(ChangingOperator::new(self.shape.clone())),
        }
    }

    fn state(&self) -> SchemaRef {
        self.shape.state()
    }
}

impl Shape {
    /// When a window closes; `None`: never.
    fn closes_at(&self, start: Millis) -> Option<Millis> {
        let windows = self.options.windows?;
        Some(windows.end_of(start).saturating_add(self.options.grace_ms))
    }

    /// Start of the oldest window that is open at this watermark.
    fn first_open(&self, watermark: Watermark) -> Millis {
        let first_open = |windows: Windows| windows.first_open(watermark, self.options.grace_ms);
        self.options.windows.map_or(Millis::MIN, first_open)
    }

    /// What the keys of a window or pane begin with.
    fn start_bytes(&self, start: Millis) -> Result<Vec<u8>, Failure> {
        let rows = self.starts.encode(&[Arc::new(Int64Array::from(vec![start])) as ArrayRef], 1)?;
        Ok(rows.row(0).data().to_vec())
    }

    /// The columns of [`group_fields`] for these keys.
    fn group_columns<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>, Failure> {
        let mut columns = self.keys.decode(keys)?;
        let starts = columns.remove(0);
        let Some(windows) = self.options.windows else { return Ok(columns) };
        let starts = starts.as_primitive::<Int64Type>();
        let ends = starts.values().iter().map(|start| windows.end_of(*start));
        let bounds = [starts.values().iter().copied().collect::<Vec<_>>(), ends.collect()];
        let bound =
            |times: Vec<Millis>| Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC")) as ArrayRef;
        Ok(bounds.into_iter().map(bound).chain(columns).collect())
    }
}

/// `_time` of windowed rows whose columns begin with those of [`group_fields`]: the last millisecond of their window.
fn row_times(columns: &[ArrayRef]) -> Option<ArrayRef> {
    let ends = columns.get(1)?.as_primitive_opt::<TimestampMillisecondType>()?;
    let times: TimestampMillisecondArray = ends.unary(|end| end.saturating_sub(1));
    Some(Arc::new(times.with_timezone("UTC")))
}

/// What the lanes sent, opened.
fn opened(partials: Vec<Partial>) -> Result<Vec<PanePartial>, Failure> {
    let mut panes = Vec::new();
    for partial in partials {
        let partial = partial
            .downcast::<Vec<PanePartial>>()
            .map_err(|_| Failure::bug("aggregate.partial", "an aggregate was given another step's partial"))?;
        panes.extend(*partial);
    }
    Ok(panes)
}

#[cfg(test)]
mod tests;
