//! What filtering does to a table that changes.
//!
//! An update is two rows that stand next to each other, the old one and the new one. If only the old one passes,
//! the row is gone; if only the new one passes, it has come.

use std::sync::Arc;

use arrow::array::{AsArray, Int8Array, RecordBatch};
use arrow::datatypes::Int8Type;

use crate::data::meta::{self, Change};
use crate::report::Failure;

/// Rewrites `__change` in `output`, whose rows are the `survivors` of `input`, for updates that lost a half.
/// Rows of a table that does not change are given back as they are.
pub(super) fn settle(input: &RecordBatch, output: RecordBatch, survivors: &[u32]) -> Result<RecordBatch, Failure> {
    let Some(changes) = input.column_by_name(meta::CHANGE) else { return Ok(output) };
    let Some((index, _)) = output.schema_ref().column_with_name(meta::CHANGE) else { return Ok(output) };
    let settled = settled_changes(changes.as_primitive::<Int8Type>(), survivors);
    let mut columns = output.columns().to_vec();
    columns[index] = Arc::new(settled);
    RecordBatch::try_new(output.schema(), columns)
        .map_err(|error| Failure::bug("select.changes", "changes do not fit their rows").because(error))
}

fn settled_changes(changes: &Int8Array, survivors: &[u32]) -> Int8Array {
    let settled = |(at, row): (usize, &u32)| {
        let change = changes.value(*row as usize);
        let has_after = survivors.get(at + 1) == Some(&(row + 1));
        let has_before = at > 0 && survivors[at - 1] + 1 == *row;
        if change == Change::UpdateBefore as i8 && !has_after {
            Change::Delete as i8
        } else if change == Change::UpdateAfter as i8 && !has_before {
            Change::Insert as i8
        } else {
            change
        }
    };
    survivors.iter().enumerate().map(settled).collect::<Vec<i8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    use Change::{Delete, Insert, UpdateAfter, UpdateBefore};

    fn settled(changes: &[Change], survivors: &[u32]) -> Vec<i8> {
        let changes: Int8Array = changes.iter().map(|change| *change as i8).collect::<Vec<_>>().into();
        settled_changes(&changes, survivors).values().to_vec()
    }

    #[test]
    fn an_update_that_loses_a_half_is_a_deletion_or_an_insertion() {
        let rows = [Insert, UpdateBefore, UpdateAfter, UpdateBefore, UpdateAfter, Delete];
        assert_eq!(settled(&rows, &[0, 1, 2, 5]), [Insert, UpdateBefore, UpdateAfter, Delete].map(|c| c as i8));
        assert_eq!(settled(&rows, &[1, 4]), [Delete, Insert].map(|c| c as i8));
    }

    #[test]
    fn halves_of_different_updates_are_no_pair() {
        let rows = [UpdateBefore, UpdateAfter, UpdateBefore, UpdateAfter];
        // Rows 1 and 2 stand next to each other, but belong to two keys.
        assert_eq!(settled(&rows, &[1, 2]), [Insert, Delete].map(|c| c as i8));
    }
}
