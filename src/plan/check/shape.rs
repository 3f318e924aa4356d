//! What stands at a place of the plan: its columns, and what is known of its rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::columns::user_names;
use crate::data::{failed_columns, meta, with_reason_column};
use crate::formats::WriterSchemas;
use crate::plan::OpenDecoder;

/// What a source or step gives.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// The user's columns, then metadata columns.
    pub columns: SchemaRef,
    /// Rows are never final: an aggregate without a window stands before.
    pub changes: bool,
    /// `None`: each row still comes from one record.
    pub group: Option<Group>,
    /// Indexes in the spec's sources: where the rows come from.
    pub sources: BTreeSet<usize>,
    /// The sorts that the rows come from: of one of them, their order is no partition's.
    pub sorted: BTreeSet<String>,
    /// What the rows' bytes are, as long as nothing has changed a column of them.
    pub untouched: Option<Untouched>,
}

/// Avro values whose columns are all there, as the source gave them.
#[derive(Debug, Clone)]
pub(super) struct Untouched {
    /// Gives all columns of the source.
    pub decoder: Arc<dyn OpenDecoder>,
    pub writers: Arc<WriterSchemas>,
    /// The connection whose registry has their schemas: equal addresses may be different registries for different users.
    pub registry: String,
}

/// What is left of an aggregate's own columns behind later steps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// The group columns by their names now; `None` for one that is gone.
    pub keys: Vec<Option<String>>,
    pub windowed: bool,
    pub window_start: Option<String>,
    pub window_end: Option<String>,
    /// Windows without a row are given too, but only when the next one with rows is known: after their time.
    pub filled: bool,
}

impl Shape {
    pub fn user_columns(&self) -> Vec<String> {
        user_names(&self.columns)
    }
}

impl Shape {
    /// The `.failed` port of this source.
    pub fn failed(&self) -> Shape {
        Shape { columns: failed_columns(), untouched: None, ..self.clone() }
    }

    /// Rows on a port: these, and why they are there.
    pub fn with_reason(&self) -> Shape {
        Shape { columns: with_reason_column(&self.columns), untouched: None, ..self.clone() }
    }
}

impl Group {
    /// Follows the columns through a step; `now` says what a column is called behind it.
    pub fn renamed(&self, now: impl Fn(&str) -> Option<String>) -> Group {
        let follow = |name: &Option<String>| name.as_deref().and_then(&now);
        Group {
            keys: self.keys.iter().map(follow).collect(),
            windowed: self.windowed,
            window_start: follow(&self.window_start),
            window_end: follow(&self.window_end),
            filled: self.filled,
        }
    }

    /// The key that a sink has by default; `None` if a column of it is gone.
    pub fn key(&self, with_window: bool) -> Option<Vec<String>> {
        let start = (with_window && self.windowed).then(|| self.window_start.clone());
        self.keys.iter().cloned().chain(start).collect()
    }
}

/// Which columns of its input a step needs.
#[derive(Debug, Clone, Default)]
pub(super) struct Reads {
    /// Named by its expressions.
    pub own: BTreeSet<String>,
    /// User columns that nobody remade go through.
    pub passes_columns: bool,
    /// Metadata goes through.
    pub passes_metadata: bool,
    /// Columns that the step makes.
    pub made: BTreeSet<String>,
}

impl Reads {
    /// Of a step through which rows go as they are.
    pub fn everything() -> Reads {
        Reads { passes_columns: true, passes_metadata: true, ..Reads::default() }
    }

    /// What the input must have so that the output has `wanted`.
    pub fn needed(&self, wanted: &BTreeSet<String>) -> BTreeSet<String> {
        let passed = wanted.iter().filter(|name| match meta::is_meta(name) {
            true => self.passes_metadata,
            false => self.passes_columns && !self.made.contains(*name),
        });
        passed.chain(&self.own).cloned().collect()
    }
}
