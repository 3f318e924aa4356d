//! Rows for windows without a row.
//!
//! A window is known to be empty when it has closed without a row and a later one has rows; only those behind a window
//! with rows are filled. The last window that was given is remembered beside the state (I13): it is all that is left of
//! rows that no replay needs any more.

use arrow::array::{ArrayRef, RecordBatch, TimestampMillisecondArray, UInt32Array};
use arrow::compute::take;
use std::ops::Range;
use std::sync::Arc;

use super::closing::Judged;
use super::{Shape, row_times};
use crate::data::Epoch;
use crate::report::Failure;
use crate::time::{Millis, Windows};
use crate::transforms::At;

/// More empty windows than this in one gap are a mistake: a first record of 1970.
const GAP_MAX: i64 = 1_000_000;

/// Empty windows that follow one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    /// Their starts: from the first to where the next window is not empty.
    pub starts: Range<Millis>,
    /// Lowest epoch that contributed to the window that ends the gap.
    pub first_epoch: Epoch,
}

impl Gap {
    /// The empty windows behind `last` and before `end`.
    ///
    /// # Errors
    /// There are too many of them.
    pub fn between(windows: Windows, last: Millis, end: Millis, first_epoch: Epoch) -> Result<Option<Gap>, Failure> {
        let starts = last.saturating_add(windows.every_ms())..end;
        let count = end.saturating_sub(starts.start) / windows.every_ms();
        if count > GAP_MAX {
            let message = format!("{count} empty windows follow one another, which `fill` would give rows");
            return Err(Failure::user("fill.gap", message)
                .hint("a record has a time that cannot be meant: leave it out by a `where` in front of the windows"));
        }
        Ok((count > 0).then_some(Gap { starts, first_epoch }))
    }

    /// Rows of at most so many of its windows, which leave the gap; those that HAVING passes.
    ///
    /// # Errors
    /// HAVING cannot be computed for them.
    pub fn next_rows(
        &mut self,
        rows_max: usize,
        values: &[ArrayRef],
        shape: &Shape,
        at: At,
    ) -> Result<Judged, Failure> {
        let windows =
            shape.options.windows.ok_or_else(|| Failure::bug("aggregate.fill", "only windows can be filled"))?;
        let step = windows.every_ms();
        let starts: Vec<Millis> = self.starts.clone().step_by(step as usize).take(rows_max.max(1)).collect();
        self.starts.start = starts.last().map_or(self.starts.end, |last| last.saturating_add(step));
        let count = starts.len();
        let ends = starts.iter().map(|start| windows.end_of(*start)).collect();
        let bound =
            |times: Vec<Millis>| Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC")) as ArrayRef;
        let mut columns = vec![bound(starts), bound(ends)];
        let first = UInt32Array::from(vec![0; count]);
        let values =
            values.iter().map(|value| take(value, &first, None)).collect::<Result<Vec<_>, _>>().map_err(broken)?;

        let mut accumulators = shape.options.aggregates.open()?;
        accumulators.update(&RecordBatch::new_empty(shape.options.input.clone()), at, &[], count)?;
        let passes = accumulators.take_finished()?.passes(&columns, &values, at)?;
        columns.extend(values);
        columns.extend(row_times(&columns));
        let rows = RecordBatch::try_new(shape.output.clone(), columns).map_err(broken)?;
        Ok(Judged { rows, passes })
    }
}

fn broken(error: arrow::error::ArrowError) -> Failure {
    Failure::bug("aggregate.fill", "filled rows do not fit their columns").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Windows = Windows::tumbling(1_000, 0);

    #[test]
    fn a_gap_is_what_lies_between_two_windows() {
        let between = |last, end| Gap::between(SECOND, last, end, 7).unwrap().map(|gap| gap.starts);
        assert_eq!(between(1_000, 4_000), Some(2_000..4_000));
        assert_eq!(between(1_000, 2_000), None);
    }

    #[test]
    fn a_gap_that_cannot_be_meant_ends_the_run() {
        assert!(Gap::between(SECOND, 0, 1_000 * (GAP_MAX + 1), 7).is_ok());
        assert_eq!(Gap::between(SECOND, 0, 1_000 * (GAP_MAX + 2), 7).unwrap_err().code, "fill.gap");
    }
}
