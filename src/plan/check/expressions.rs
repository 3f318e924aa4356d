//! Expressions with the place of every mistake.

use std::ops::Range;

use arrow::datatypes::{DataType, Schema};

use super::columns::type_word;
use crate::data::meta;
use crate::expr::{ExprError, Scalar};
use crate::report::{Diagnostic, Diagnostics, Place};
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
    let mut diagnostic =
        Diagnostic::error(error.code, error.message).at(&part(&expression.place, &expression.value, error.span));
    diagnostic.notes = error.notes;
    diagnostic.hint = error.hint;
    diagnostic
}

/// The place of bytes `span` of `value`, which was written at `place`.
///
/// Plain text stands there as it is; quoted text begins one byte later. Where escapes, folding or
/// templating made the text another one, the whole place is the answer.
pub(super) fn part(place: &Place, value: &str, span: Range<usize>) -> Place {
    let written = place.file.text.get(place.span.clone()).unwrap_or_default();
    let begin = if written == value {
        0
    } else if written.len() == value.len() + 2 && &written[1..written.len() - 1] == value {
        1
    } else {
        return place.clone();
    };
    // A mistake at the very end still underlines something.
    let end = span.end.max(span.start + 1).min(value.len());
    place.part(begin + span.start.min(end)..begin + end)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::report::SourceFile;

    fn place(text: &str) -> Place {
        let file = Arc::new(SourceFile { name: "p.yaml".into(), text: text.into() });
        Place::new(&file, 0..text.len())
    }

    #[test]
    fn plain_and_quoted_text_point_at_the_same_word() {
        assert_eq!(part(&place("a > bb"), "a > bb", 4..6).span, 4..6);
        assert_eq!(part(&place("\"a > bb\""), "a > bb", 4..6).span, 5..7);
    }

    #[test]
    fn escaped_text_points_at_the_whole() {
        assert_eq!(part(&place("'it''s'"), "it's", 0..2).span, 0..7);
    }
}
