//! `fill` of a windowed aggregate: the values of a window without a row, typed by the aggregate's columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, new_null_array};
use arrow::datatypes::{Field, Schema};

use crate::expr::{Aggregates, type_word};
use crate::formats::{DecoderSpec, Format};
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{AggregateSpec, Fill, Node, Spanned};

pub(super) struct FillCheck<'a> {
    pub aggregate: &'a AggregateSpec,
    pub fill: &'a Spanned<Fill>,
    /// A sink wants the windows before they are final.
    pub early: bool,
}

impl FillCheck<'_> {
    /// One value for each result, in their order.
    pub fn compile(&self, aggregates: &Aggregates, out: &mut Diagnostics) -> Option<Vec<ArrayRef>> {
        self.check_place(out)?;
        let fields = aggregates.output();
        self.check_names(&fields, out)?;
        let values: Vec<Option<ArrayRef>> = fields.iter().map(|field| self.value(field, out)).collect();
        values.into_iter().collect()
    }

    fn check_place(&self, out: &mut Diagnostics) -> Option<()> {
        let error = |code, title: &str| Diagnostic::error(code, title).at(&self.fill.place);
        let wrong = if self.aggregate.window.is_none() {
            error("fill.no_window", "`fill` needs a `window`").note("without windows there are no empty ones")
        } else if let Some(group) = self.aggregate.group_by.first() {
            error("fill.group_by", "`fill` and `group_by` exclude each other")
                .note(format!("which values of `{}` an empty window had is not known", group.name.value))
                .hint("leave one of them out")
        } else if self.early {
            error("fill.changes", "`fill` needs windows that are given when they are final")
                .note("a sink of this aggregate wants them before, by `mode: update`, `upsert` or `complete`")
                .hint("use `mode: append`")
        } else {
            return Some(());
        };
        out.push(wrong);
        None
    }

    fn check_names(&self, fields: &[Field], out: &mut Diagnostics) -> Option<()> {
        let known: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let mut all_good = Some(());
        for (name, _) in self.fill.value.iter().filter(|(name, _)| !known.contains(&name.value.as_str())) {
            out.push(
                Diagnostic::error("fill.unknown_column", format!("`aggregate` makes no column `{}`", name.value))
                    .at(&name.place)
                    .note(format!("it makes: {}", known.join(", ")))
                    .did_you_mean(&name.value, known.iter().copied()),
            );
            all_good = None;
        }
        all_good
    }

    fn value(&self, field: &Field, out: &mut Diagnostics) -> Option<ArrayRef> {
        match self.fill.value.iter().find(|(name, _)| name.value == *field.name()) {
            Some((_, value)) => typed(value, field, out),
            None if field.is_nullable() => Some(new_null_array(field.data_type(), 1)),
            None => {
                let title = format!("`fill` has no value for `{}`, which is never null", field.name());
                let hint = format!("add for example `{}: 0`", field.name());
                out.push(Diagnostic::error("fill.missing", title).at(&self.fill.place).hint(hint));
                None
            }
        }
    }
}

/// The value as JSON of the column's type.
fn typed(value: &Node, field: &Field, out: &mut Diagnostics) -> Option<ArrayRef> {
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let json = serde_json::json!({ field.name(): value.to_json() }).to_string();
    let decoder = DecoderSpec { format: Format::Json, schema, avro: None }.open();
    let decoded = decoder.and_then(|mut decoder| decoder.decode(&BinaryArray::from(vec![json.as_bytes()])));
    let reason = match decoded {
        Ok(decoded) if decoded.rejects.is_empty() => return Some(decoded.rows.column(0).clone()),
        Ok(decoded) => decoded.rejects.into_iter().map(|reject| reject.reason).collect(),
        Err(failure) => failure.to_string(),
    };
    let title = format!("`{}` is {}", field.name(), type_word(field));
    out.push(Diagnostic::error("fill.type", title).at(&value.place).label("this is none").note(reason));
    None
}
