//! Variances and standard deviations that a state gives back exactly: DataFusion's round when a state is merged into a
//! group without values, so that whether a state was ever taken out would show in the last bit (I2).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, UInt64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Float64Type, UInt64Type};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{EmitTo, GroupsAccumulator};

/// What a group comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::expr) struct Spread {
    /// Of the whole population, not of a sample of it.
    of_population: bool,
    is_deviation: bool,
}

impl Spread {
    /// That of one of DataFusion's aggregates, by its name; `None`: it is another one.
    pub fn of(name: &str) -> Option<Spread> {
        let (of_population, is_deviation) = match name {
            "var" | "var_samp" => (false, false),
            "var_pop" => (true, false),
            "stddev" | "stddev_samp" => (false, true),
            "stddev_pop" => (true, true),
            _ => return None,
        };
        Some(Spread { of_population, is_deviation })
    }
}

/// Count, mean and sum of squared distances for each group, which are also the state (Welford, Chan et al.).
#[derive(Debug)]
pub(in crate::expr) struct Variance {
    spread: Spread,
    counts: Vec<u64>,
    means: Vec<f64>,
    squares: Vec<f64>,
}

impl Variance {
    pub fn new(spread: Spread) -> Self {
        Variance { spread, counts: Vec::new(), means: Vec::new(), squares: Vec::new() }
    }

    fn resize(&mut self, total: usize) {
        self.counts.resize(total, 0);
        self.means.resize(total, 0.0);
        self.squares.resize(total, 0.0);
    }

    fn add(&mut self, group: usize, value: f64) {
        let (mean, count) = (self.means[group], self.counts[group] + 1);
        let new_mean = (value - mean) / count as f64 + mean;
        self.squares[group] += (value - mean) * (value - new_mean);
        self.means[group] = new_mean;
        self.counts[group] = count;
    }

    fn merge(&mut self, group: usize, count: u64, mean: f64, squares: f64) {
        let (own, total) = (self.counts[group], self.counts[group] + count);
        if own == 0 {
            self.means[group] = mean;
            self.squares[group] = squares;
        } else if count > 0 {
            let (own, other, all) = (own as f64, count as f64, total as f64);
            let delta = self.means[group] - mean;
            self.means[group] = self.means[group] * own / all + mean * other / all;
            self.squares[group] = self.squares[group] + squares + delta * delta * own * other / all;
        }
        self.counts[group] = total;
    }
}

impl GroupsAccumulator for Variance {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let all_pass = filter.is_none_or(|filter| filter.true_count() == filter.len());
        let values = match values {
            [values] if all_pass => values.as_primitive_opt::<Float64Type>(),
            _ => None,
        };
        let Some(values) = values else { return exec_err!("a variance of one double, filtered before") };
        self.resize(total);
        for (row, (group, value)) in groups.iter().zip(values.values()).enumerate() {
            if values.is_valid(row) {
                self.add(*group, *value);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let mut counts = emit.take_needed(&mut self.counts);
        emit.take_needed(&mut self.means);
        let squares = emit.take_needed(&mut self.squares);
        if !self.spread.of_population {
            counts.iter_mut().for_each(|count| *count = count.saturating_sub(1));
        }
        let nulls = NullBuffer::from_iter(counts.iter().map(|count| *count > 0));
        let spread = squares.iter().zip(counts).map(|(squares, count)| squares / count as f64);
        let values: Vec<f64> = match self.spread.is_deviation {
            true => spread.map(f64::sqrt).collect(),
            false => spread.collect(),
        };
        Ok(Arc::new(Float64Array::new(values.into(), Some(nulls))))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![
            Arc::new(UInt64Array::from(emit.take_needed(&mut self.counts))),
            Arc::new(Float64Array::from(emit.take_needed(&mut self.means))),
            Arc::new(Float64Array::from(emit.take_needed(&mut self.squares))),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        let [counts, means, squares] = states else { return exec_err!("a variance has three states") };
        let columns = (
            counts.as_primitive_opt::<UInt64Type>(),
            means.as_primitive_opt::<Float64Type>(),
            squares.as_primitive_opt::<Float64Type>(),
        );
        let (Some(counts), Some(means), Some(squares)) = columns else { return exec_err!("not a variance's states") };
        self.resize(total);
        for (row, group) in groups.iter().enumerate() {
            self.merge(*group, counts.value(row), means.value(row), squares.value(row));
        }
        Ok(())
    }

    fn convert_to_state(&self, _: &[ArrayRef], _: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        exec_err!("rows are never states by themselves here")
    }

    fn size(&self) -> usize {
        (self.counts.capacity() + self.means.capacity() + self.squares.capacity()) * size_of::<u64>()
    }
}
