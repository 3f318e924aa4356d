//! SQL expressions, typed against a real schema when the plan is made.
//!
//! The one door to DataFusion: its planner, coercion, physical expressions and grouped
//! accumulators. Everything else in the project sees text, Arrow arrays and the types below.

use std::ops::Range;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use crate::report::Failure;
use crate::time::Millis;

/// What an expression may ask of its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The epoch's clock: what `now()` gives (I3).
    pub clock: Millis,
}

/// What is wrong with an expression, and where in its text.
#[derive(Debug, Clone, PartialEq)]
pub struct ExprError {
    /// Stable, `expr.what`: `expr.syntax`, `expr.unknown_column`, `expr.unknown_function`, `expr.type`.
    pub code: &'static str,
    pub message: String,
    /// Bytes of the expression's text.
    pub span: Range<usize>,
    pub notes: Vec<String>,
    pub hint: Option<String>,
}

/// A compiled expression that gives one value per row. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scalar {}

/// A row whose expression could not be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct RowError {
    pub row: usize,
    pub message: String,
}

impl Scalar {
    /// Compiles `text` against the columns of a step, metadata columns among them.
    pub fn compile(_text: &str, _schema: &Schema) -> Result<Scalar, ExprError> {
        unimplemented!()
    }

    /// Its type, nullability and (for a bare column) metadata, under a name.
    pub fn field(&self, _name: &str) -> Field {
        unimplemented!()
    }

    pub fn data_type(&self) -> &DataType {
        unimplemented!()
    }

    /// Names of the columns that it reads.
    pub fn columns(&self) -> &[String] {
        unimplemented!()
    }

    /// One value per row; rows that fail are null in the array and stand in the list, ascending.
    pub fn evaluate(&self, _rows: &RecordBatch, _at: At) -> Result<(ArrayRef, Vec<RowError>), Failure> {
        unimplemented!()
    }
}

/// A compiled set of aggregates with its HAVING: `cnt: count(*)`, `share: sum(a) / count(*)`.
#[derive(Debug, Clone)]
pub struct Aggregates {}

/// An error in the nth aggregate, or in `having`.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateError {
    /// `None`: in `having`.
    pub index: Option<usize>,
    pub error: ExprError,
}

impl Aggregates {
    /// Compiles named aggregates over the columns of `schema`. The results (and `having`) may also
    /// use the columns of `groups` (window_start, window_end, the group columns).
    pub fn compile(
        _named: &[(String, String)],
        _having: Option<&str>,
        _groups: &Schema,
        _schema: &Schema,
    ) -> Result<Aggregates, Vec<AggregateError>> {
        unimplemented!()
    }

    /// Names of the input columns that are read.
    pub fn columns(&self) -> Vec<String> {
        unimplemented!()
    }

    /// Fields of the results, in the order given.
    pub fn output(&self) -> Vec<Field> {
        unimplemented!()
    }

    /// Fields of the intermediate state of a group.
    pub fn state(&self) -> Vec<Field> {
        unimplemented!()
    }

    pub fn open(&self) -> Result<Accumulators, Failure> {
        unimplemented!()
    }
}

/// Grouped accumulators at work. Groups are numbered from 0 by the caller.
pub struct Accumulators {}

impl Accumulators {
    /// Takes rows in, in order; `groups[i]` is the group of row i, `total` the number of groups so far.
    /// Rows whose arguments fail to evaluate are not counted and are listed.
    pub fn update(
        &mut self,
        _rows: &RecordBatch,
        _at: At,
        _groups: &[usize],
        _total: usize,
    ) -> Result<Vec<RowError>, Failure> {
        unimplemented!()
    }

    /// Merges states, in order; `groups[i]` is the group of state i.
    pub fn merge(&mut self, _states: &[ArrayRef], _groups: &[usize], _total: usize) -> Result<(), Failure> {
        unimplemented!()
    }

    /// The state of every group, in order; empty afterwards.
    pub fn take_state(&mut self) -> Result<Vec<ArrayRef>, Failure> {
        unimplemented!()
    }

    /// The results of every group, in order, given the group columns, and which groups pass
    /// HAVING (`None`: all); empty afterwards.
    pub fn take_results(
        &mut self,
        _groups: &[ArrayRef],
        _at: At,
    ) -> Result<(Vec<ArrayRef>, Option<arrow::array::BooleanArray>), Failure> {
        unimplemented!()
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        unimplemented!()
    }
}
