//! Which columns leave a stage, and where each comes from.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::data::meta;
use crate::expr::Scalar;
use crate::report::Failure;

/// Where a column of the result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Column of the stage's input.
    Kept(usize),
    /// Expression of the stage.
    Computed(usize),
}

/// A stage that changes columns: `add` or `select` with `drop`.
#[derive(Debug, Clone)]
pub(super) struct Projection {
    /// The stage's key in the language, for reasons of dead letters.
    pub key: &'static str,
    pub exprs: Vec<(String, Scalar)>,
    origins: Vec<Origin>,
    schema: SchemaRef,
    changes_nothing: bool,
}

impl Projection {
    /// The input's user columns, the added ones, the metadata.
    pub fn adding(input: &Schema, add: &[(String, Scalar)]) -> Self {
        let added = |name: &str| add.iter().position(|(added, _)| added == name);
        let mut columns = Columns::default();
        for (index, field) in user_fields(input) {
            match added(field.name()) {
                Some(expr) => columns.compute(expr, &add[expr]),
                None => columns.keep(index, field),
            }
        }
        for (index, expr) in add.iter().enumerate() {
            if input.field_with_name(&expr.0).is_err() {
                columns.compute(index, expr);
            }
        }
        meta_fields(input).for_each(|(index, field)| columns.keep(index, field));
        columns.into_projection("add", add, input)
    }

    /// The selected columns (without `select`: the user's) and the metadata, but none that is `gone`.
    pub fn selecting(input: &Schema, select: Option<&[(String, Scalar)]>, gone: impl Fn(&str) -> bool) -> Self {
        let mut columns = Columns::default();
        match select {
            Some(select) => select
                .iter()
                .enumerate()
                .filter(|(_, (name, _))| !gone(name))
                .for_each(|(index, expr)| columns.compute(index, expr)),
            None => user_fields(input)
                .filter(|(_, field)| !gone(field.name()))
                .for_each(|(index, field)| columns.keep(index, field)),
        }
        meta_fields(input)
            .filter(|(_, field)| !gone(field.name()))
            .for_each(|(index, field)| columns.keep(index, field));
        columns.into_projection("select", select.unwrap_or_default(), input)
    }

    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    pub fn changes_nothing(&self) -> bool {
        self.changes_nothing
    }

    /// Puts the result together; `computed` has an array per expression, with the rows of `rows`.
    pub fn build(&self, rows: &RecordBatch, computed: &[ArrayRef]) -> Result<RecordBatch, Failure> {
        let column = |origin: &Origin| match *origin {
            Origin::Kept(index) => rows.column(index).clone(),
            Origin::Computed(index) => computed[index].clone(),
        };
        let columns = self.origins.iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(self.schema(), columns, &options).map_err(|error| {
            Failure::bug("select.columns", format!("the columns of `{}` do not fit its schema", self.key))
                .because(error)
        })
    }
}

fn user_fields(schema: &Schema) -> impl Iterator<Item = (usize, &Arc<Field>)> {
    schema.fields().iter().enumerate().filter(|(_, field)| !meta::is_meta(field.name()))
}

fn meta_fields(schema: &Schema) -> impl Iterator<Item = (usize, &Arc<Field>)> {
    schema.fields().iter().enumerate().filter(|(_, field)| meta::is_meta(field.name()))
}

#[derive(Default)]
struct Columns {
    origins: Vec<Origin>,
    fields: Vec<Arc<Field>>,
}

impl Columns {
    fn keep(&mut self, index: usize, field: &Arc<Field>) {
        self.origins.push(Origin::Kept(index));
        self.fields.push(field.clone());
    }

    fn compute(&mut self, index: usize, (name, expr): &(String, Scalar)) {
        self.origins.push(Origin::Computed(index));
        self.fields.push(Arc::new(expr.field(name)));
    }

    fn into_projection(self, key: &'static str, exprs: &[(String, Scalar)], input: &Schema) -> Projection {
        let in_place = self.origins.iter().enumerate().all(|(index, origin)| *origin == Origin::Kept(index));
        Projection {
            key,
            exprs: exprs.to_vec(),
            changes_nothing: in_place && self.origins.len() == input.fields().len(),
            schema: Arc::new(Schema::new_with_metadata(self.fields, input.metadata().clone())),
            origins: self.origins,
        }
    }
}
