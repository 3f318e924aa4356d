//! Sums of whole numbers that fail when they overflow: DataFusion's go round and give another number.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::Int64Type;
use datafusion_common::{Result, exec_err};
use datafusion_expr::{EmitTo, GroupsAccumulator};

/// One sum for each group; null for a group without a value. The state is the sum.
#[derive(Debug, Default)]
pub(in crate::expr) struct CheckedSum {
    sums: Vec<Option<i64>>,
}

impl CheckedSum {
    fn add(&mut self, values: &ArrayRef, groups: &[usize], total: usize) -> Result<()> {
        let Some(values) = values.as_primitive_opt::<Int64Type>() else { return exec_err!("a sum of other values") };
        self.sums.resize(total, None);
        for (row, (&group, &value)) in groups.iter().zip(values.values()).enumerate() {
            if values.is_null(row) {
                continue;
            }
            let sum = &mut self.sums[group];
            *sum = match sum.unwrap_or_default().checked_add(value) {
                None => return exec_err!("a sum is too large for a long"),
                added => added,
            };
        }
        Ok(())
    }
}

impl GroupsAccumulator for CheckedSum {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let all_pass = filter.is_none_or(|filter| filter.true_count() == filter.len());
        match values {
            [values] if all_pass => self.add(values, groups, total),
            _ => exec_err!("a sum of one argument, filtered before"),
        }
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(emit.take_needed(&mut self.sums))))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.update_batch(states, groups, None, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], _: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        Ok(values.to_vec())
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<Option<i64>>()
    }
}
