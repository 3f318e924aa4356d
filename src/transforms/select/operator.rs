//! The step at work on one batch after another.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::Int8Type;

use super::projection::Projection;
use super::{Check, Select, changes};
use crate::data::meta::{self, Change};
use crate::data::{Batch, DeadLetter, dead_letter};
use crate::expr::{RowError, Scalar};
use crate::report::Failure;
use crate::transforms::{At, Left, RowOperator};

/// Code of a row whose expression could not be evaluated.
const FAILED: &str = "expr.failed";

pub(super) struct SelectOperator {
    steps: Select,
}

impl SelectOperator {
    pub fn new(steps: Select) -> Self {
        SelectOperator { steps }
    }
}

impl RowOperator for SelectOperator {
    fn apply(&mut self, batch: Batch, at: At, left: &mut Left) -> Result<Batch, Failure> {
        let input = batch.rows.clone();
        let mut work = Work { batch, survivors: None, refused: Vec::new(), at };
        if let Some(condition) = &self.steps.filter {
            work.filter(condition, left.rest.as_mut())?;
        }
        for check in &self.steps.checks {
            work.check(check)?;
        }
        work.project(&self.steps.add)?;
        work.project(&self.steps.output)?;

        // I2: rows leave in their order, whichever stage refused them.
        work.refused.sort_by_key(|(row, _)| *row);
        match &mut left.failed {
            Some(failed) => failed.extend(work.refused.into_iter().map(|(row, letter)| (row, letter.reason))),
            None => left.dead.extend(work.refused.into_iter().map(|(_, letter)| letter)),
        }
        let mut batch = work.batch;
        if let Some(survivors) = work.survivors {
            batch.rows = changes::settle(&input, batch.rows, &survivors)?;
        }
        Ok(batch)
    }
}

/// A batch on its way through the stages.
struct Work {
    batch: Batch,
    /// Which rows of the input are left; `None`: all.
    survivors: Option<Vec<u32>>,
    /// With the row of the input.
    refused: Vec<(u32, DeadLetter)>,
    at: At,
}

impl Work {
    /// `rest`: who takes the rows that do not pass. It is the first stage, so they are those of the input.
    fn filter(&mut self, condition: &Scalar, rest: Option<&mut Vec<u32>>) -> Result<(), Failure> {
        let (passes, errors) = condition.evaluate(&self.batch.rows, self.at)?;
        self.refuse_failed("where", &errors);
        let passes = boolean(&passes)?;
        if let Some(rest) = rest {
            let failed = |row: &usize| errors.binary_search_by_key(row, |error| error.row).is_ok();
            let stays = |row: &usize| passes.is_null(*row) || !passes.value(*row);
            rest.extend((0..passes.len()).filter(|row| stays(row) && !failed(row)).map(|row| row as u32));
        }
        self.keep(passes)
    }

    fn check(&mut self, check: &Check) -> Result<(), Failure> {
        let (holds, errors) = check.condition.evaluate(&self.batch.rows, self.at)?;
        let holds = boolean(&holds)?;
        if holds.true_count() == holds.len() {
            return Ok(());
        }
        self.refuse_failed(&format!("check.{}", check.name), &errors);
        let failed = |row: &usize| errors.binary_search_by_key(row, |error| error.row).is_ok();
        for row in (0..holds.len()).filter(|row| !failed(row)) {
            if holds.is_null(row) {
                self.refuse(row, check.code.clone(), format!("the check `{}` gives null", check.name));
            } else if !holds.value(row) {
                self.refuse(row, check.code.clone(), format!("the check `{}` does not hold", check.name));
            }
        }
        self.keep(holds)
    }

    fn project(&mut self, projection: &Projection) -> Result<(), Failure> {
        if projection.changes_nothing() {
            return Ok(());
        }
        if self.batch.rows.num_rows() == 0 {
            self.batch.rows = RecordBatch::new_empty(projection.schema());
            return Ok(());
        }
        let computed = self.evaluate(projection)?;
        self.batch.rows = projection.build(&self.batch.rows, &computed)?;
        Ok(())
    }

    /// One array per expression, over the rows for which all of them could be evaluated.
    fn evaluate(&mut self, projection: &Projection) -> Result<Vec<ArrayRef>, Failure> {
        let mut computed = Vec::with_capacity(projection.exprs.len());
        let mut good = vec![true; self.batch.rows.num_rows()];
        for (name, expr) in &projection.exprs {
            let (values, errors) = expr.evaluate(&self.batch.rows, self.at)?;
            computed.push(values);
            // A row dies once, of its first expression that fails.
            let errors: Vec<RowError> = errors.into_iter().filter(|error| good[error.row]).collect();
            errors.iter().for_each(|error| good[error.row] = false);
            self.refuse_failed(&format!("{}.{name}", projection.key), &errors);
        }
        if good.iter().all(|good| *good) {
            return Ok(computed);
        }
        let good = BooleanArray::from(good);
        self.keep(&good)?;
        computed.iter().map(|values| filter(values, &good).map_err(cannot_filter)).collect()
    }

    /// Only rows for which `mask` is true go on.
    fn keep(&mut self, mask: &BooleanArray) -> Result<(), Failure> {
        if mask.true_count() == mask.len() {
            return Ok(());
        }
        self.batch.rows = filter_record_batch(&self.batch.rows, mask).map_err(cannot_filter)?;
        let kept = |row: &usize| mask.is_valid(*row) && mask.value(*row);
        let left = (0..mask.len()).filter(kept);
        self.survivors = Some(match &self.survivors {
            Some(survivors) => left.map(|row| survivors[row]).collect(),
            None => left.map(|row| row as u32).collect(),
        });
        Ok(())
    }

    fn refuse_failed(&mut self, place: &str, errors: &[RowError]) {
        for error in errors {
            self.refuse(error.row, FAILED.to_owned(), format!("`{place}`: {}", error.message));
        }
    }

    fn refuse(&mut self, row: usize, code: String, reason: String) {
        // What is taken back here was refused, and reported, when it came.
        if self.takes_back(row) {
            return;
        }
        let input_row = self.survivors.as_ref().map_or(row as u32, |survivors| survivors[row]);
        self.refused.push((input_row, dead_letter(&self.batch, row, code, reason)));
    }

    fn takes_back(&self, row: usize) -> bool {
        let Some(changes) = self.batch.rows.column_by_name(meta::CHANGE) else { return false };
        let change = changes.as_primitive::<Int8Type>().value(row);
        change == Change::UpdateBefore as i8 || change == Change::Delete as i8
    }
}

fn boolean(values: &ArrayRef) -> Result<&BooleanArray, Failure> {
    values.as_boolean_opt().ok_or_else(|| {
        Failure::bug("select.condition", format!("a condition gives {} instead of true or false", values.data_type()))
    })
}

fn cannot_filter(error: arrow::error::ArrowError) -> Failure {
    Failure::bug("select.filter", "rows could not be filtered").because(error)
}
