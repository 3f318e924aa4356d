//! `where`, `check`, `add`, `select`, `drop`: one step, in this order, a batch at a time.
//!
//! A row leaves the step at the first stage that refuses it: `where` drops it in silence, a check that is not
//! true or an expression that cannot be evaluated makes it a dead letter. What a stage refuses is
//! not evaluated by the stages behind it. Rows keep their order (I2).
//!
//! Columns of the output are the user's, then the metadata columns of the input (`data::meta`).
//! The work is in [`operator`]; what filtering does to a table that changes is in [`changes`].

mod changes;
mod operator;
mod projection;

use arrow::datatypes::{Schema, SchemaRef};

use super::{RowOperator, RowTransform};
use crate::data::meta;
use crate::expr::Scalar;
use crate::report::Failure;
use operator::SelectOperator;
use projection::Projection;

/// What a step of `where`, `check`, `add`, `select` and `drop` does, compiled.
///
/// `filter`, `checks` and `add` are compiled against `input`, so that no added column sees another;
/// `select` against [`added_schema`]. Names must not be those of metadata columns.
#[derive(Debug, Clone)]
pub struct RowSteps {
    pub input: SchemaRef,
    /// Only rows for which it is true pass; null does not.
    pub filter: Option<Scalar>,
    /// By name: a row for which one is not true becomes a dead letter `check.NAME`.
    pub checks: Vec<(String, Scalar)>,
    /// New columns, behind the user's; one that has the name of a column replaces it in its place.
    pub add: Vec<(String, Scalar)>,
    /// Exactly these columns (and the metadata).
    pub select: Option<Vec<(String, Scalar)>>,
    /// Columns that leave, after all the rest.
    pub drop: Vec<String>,
    /// Metadata columns of the input that nothing behind this step needs: not carried on.
    pub unused: Vec<String>,
}

impl RowSteps {
    /// A step that changes nothing.
    pub fn of(input: SchemaRef) -> Self {
        RowSteps {
            input,
            filter: None,
            checks: Vec::new(),
            add: Vec::new(),
            select: None,
            drop: Vec::new(),
            unused: Vec::new(),
        }
    }
}

/// The columns that `select` sees: those of the input and those that `add` brings.
pub fn added_schema(input: &Schema, add: &[(String, Scalar)]) -> SchemaRef {
    Projection::adding(input, add).schema()
}

/// The `where`/`check`/`add`/`select`/`drop` transform.
#[derive(Debug, Clone)]
pub struct Select {
    filter: Option<Scalar>,
    checks: Vec<Check>,
    add: Projection,
    output: Projection,
}

/// One check, with the code of its dead letters.
#[derive(Debug, Clone)]
struct Check {
    name: String,
    code: String,
    condition: Scalar,
}

impl Select {
    /// # Errors
    /// A bug of the plan's: `drop` names a metadata column or one that is not there.
    pub fn new(steps: RowSteps) -> Result<Self, Failure> {
        let add = Projection::adding(&steps.input, &steps.add);
        let output = Projection::selecting(&add.schema(), steps.select.as_deref(), |name| {
            steps.drop.iter().chain(&steps.unused).any(|gone| gone == name)
        });
        check_dropped(&steps, &add.schema())?;
        let check = |(name, condition): (String, Scalar)| Check { code: format!("check.{name}"), name, condition };
        Ok(Select { filter: steps.filter, checks: steps.checks.into_iter().map(check).collect(), add, output })
    }
}

fn check_dropped(steps: &RowSteps, added: &Schema) -> Result<(), Failure> {
    let is_there = |name: &String| match &steps.select {
        Some(select) => select.iter().any(|(selected, _)| selected == name),
        None => added.field_with_name(name).is_ok() && !meta::is_meta(name),
    };
    match steps.drop.iter().find(|name| !is_there(name)) {
        Some(name) => {
            Err(Failure::bug("select.drop", format!("`drop` names `{name}`, which is not a column of the rows")))
        }
        None => Ok(()),
    }
}

impl RowTransform for Select {
    fn schema(&self) -> SchemaRef {
        self.output.schema()
    }

    fn open(&self) -> Box<dyn RowOperator> {
        Box::new(SelectOperator::new(self.clone()))
    }
}

#[cfg(test)]
mod tests;
