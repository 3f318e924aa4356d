//! Expressions with the place of every mistake.

use arrow::datatypes::{DataType, Schema};

use crate::data::meta;
use crate::expr::{ExprError, Scalar, type_word};
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::Spanned;

/// Compiles an expression against the columns of a step.
pub(super) fn compile(expression: &Spanned<String>, columns: &Schema, out: &mut Diagnostics) -> Option<Scalar> {
    match Scalar::compile(&expression.value, columns) {
        Ok(scalar) => visible_only(scalar, expression, out),
        Err(error) => {
            out.push(of_expression(error, expression));
            None
        }
    }
}

/// Compiles `where`, `having` or a check.
pub(super) fn compile_condition(
    what: &str,
    expression: &Spanned<String>,
    columns: &Schema,
    out: &mut Diagnostics,
) -> Option<Scalar> {
    let scalar = compile(expression, columns, out)?;
    if scalar.data_type() != &DataType::Boolean {
        out.push(
            Diagnostic::error("expr.not_boolean", format!("{what} must be true or false"))
                .at(&expression.place)
                .label(format!("this is {}", type_word(scalar.data_type())))
                .hint("compare it with something, as in `rating >= 2`"),
        );
        return None;
    }
    Some(scalar)
}

/// Columns that a step carries for the engine are nobody's to name.
fn visible_only(scalar: Scalar, expression: &Spanned<String>, out: &mut Diagnostics) -> Option<Scalar> {
    match scalar.columns().iter().find(|name| meta::is_meta(name) && !meta::VISIBLE.contains(&name.as_str())) {
        None => Some(scalar),
        Some(hidden) => {
            out.push(
                Diagnostic::error("expr.unknown_column", format!("there is no column `{hidden}`"))
                    .at(&expression.place)
                    .note(format!("metadata columns are {}", meta::VISIBLE.join(", "))),
            );
            None
        }
    }
}

/// A mistake in an expression as a diagnostic at its part of the user's text.
pub(super) fn of_expression(error: ExprError, expression: &Spanned<String>) -> Diagnostic {
    let mut diagnostic = Diagnostic::error(error.code, error.message).at(&expression.part(error.span));
    diagnostic.notes = error.notes;
    diagnostic.hint = error.hint;
    diagnostic
}
