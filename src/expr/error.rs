//! What is wrong with an expression (when it is compiled) or with a row (when it is evaluated).

use std::ops::Range;

use datafusion_common::DataFusionError;

use crate::report::Diagnostic;

/// What is wrong with an expression, and where in its text.
#[derive(Debug, Clone, PartialEq)]
pub struct ExprError {
    /// Stable, `expr.what`: `expr.syntax`, `expr.unknown_column`, `expr.unknown_function`, `expr.type`,
    /// `expr.aggregate` (one where none may stand, or a column that is not grouped), `expr.not_available`.
    pub code: &'static str,
    pub message: String,
    /// Bytes of the expression's text.
    pub span: Range<usize>,
    pub notes: Vec<String>,
    pub hint: Option<String>,
}

impl ExprError {
    pub(super) fn new(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        ExprError { code, message: message.into(), span, notes: Vec::new(), hint: None }
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Hints at the name that is most like `word`; the threshold is that of all diagnostics.
    pub(super) fn did_you_mean<'a>(mut self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let judged = Diagnostic::error(self.code, "").did_you_mean(word, known);
        self.hint = judged.hint.or(self.hint);
        self
    }
}

/// A row whose expression could not be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct RowError {
    pub row: usize,
    pub message: String,
}

/// DataFusion's message in our style: its first line, no prefix of its own, no capital, no full stop.
pub(super) fn plain(error: &DataFusionError) -> String {
    let root = error.find_root();
    let text = match root {
        DataFusionError::ArrowError(arrow, _) => arrow.to_string(),
        other => other.message().into_owned(),
    };
    let line = text.lines().next().unwrap_or_default();
    let line = PREFIXES.iter().fold(line, |line, prefix| line.strip_prefix(prefix).unwrap_or(line));
    let line = line.trim().trim_end_matches('.');
    let mut letters = line.chars();
    match letters.next() {
        // `CAST failed` stays; `Divide by zero` does not.
        Some(first) if !letters.clone().next().is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => line.to_owned(),
    }
}

const PREFIXES: &[&str] = &[
    "Arrow error: ",
    "Cast error: ",
    "Arithmetic overflow: ",
    "Parser error: ",
    "Compute error: ",
    "Invalid argument error: ",
    "Execution error: ",
    "Error during planning: ",
];
