//! Headers of text with `${EXPR}` in it.
//!
//! A null expression makes the header's value null, never the text "null". Bytes are written as
//! they are where the expression stands alone.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;

use super::arrow_bug;
use crate::data::EncodedRows;
use crate::expr::{At, Scalar};
use crate::report::Failure;

/// A stretch of a template's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch<'a> {
    Text(&'a str),
    /// The expression between `${` and `}`.
    Expr(&'a str),
}

/// Cuts a template into its stretches, each with its bytes in `text`. A brace inside quotes or a
/// nested pair of braces belongs to the expression.
///
/// # Errors
/// The bytes of a `${` that is never closed.
pub fn stretches(text: &str) -> Result<Vec<(Stretch<'_>, Range<usize>)>, Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("${").map(|offset| at + offset) {
        if open > at {
            found.push((Stretch::Text(&text[at..open]), at..open));
        }
        let inner = open + 2;
        let length = closing_brace(&text[inner..]).ok_or(open..text.len())?;
        found.push((Stretch::Expr(&text[inner..inner + length]), inner..inner + length));
        at = inner + length + 1;
    }
    if at < text.len() {
        found.push((Stretch::Text(&text[at..]), at..text.len()));
    }
    Ok(found)
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0;
    for (index, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(index),
            (None, '}') => depth -= 1,
            _ => {}
        }
    }
    None
}

/// A compiled part of a template.
#[derive(Debug, Clone)]
pub enum TemplatePart {
    Text(String),
    Value(Scalar),
}

impl TemplatePart {
    /// The columns that it reads.
    pub fn columns(&self) -> Vec<String> {
        match self {
            TemplatePart::Value(scalar) => scalar.columns().to_vec(),
            TemplatePart::Text(_) => Vec::new(),
        }
    }
}

/// A header: its name, and the parts of its value.
#[derive(Debug, Clone)]
pub struct HeaderTemplate {
    pub name: String,
    pub parts: Vec<TemplatePart>,
}

/// The templates of one batch, evaluated.
pub(super) struct HeaderTexts(Vec<(String, Texts)>);

/// The parts of one header's value.
pub(super) struct Texts(Vec<Text>);

enum Text {
    Same(String),
    Each(ArrayRef),
}

impl HeaderTexts {
    pub(super) fn of(templates: &[HeaderTemplate], rows: &RecordBatch) -> Result<Self, Failure> {
        let headers = templates.iter().map(|header| Ok((header.name.clone(), Texts::of(&header.parts, rows)?)));
        Ok(HeaderTexts(headers.collect::<Result<_, Failure>>()?))
    }

    pub(super) fn put(&self, row: usize, out: &mut EncodedRows) {
        for (name, parts) in &self.0 {
            let name = out.put(name.as_bytes());
            let start = out.arena.len() as u32;
            let value = parts.put(row, &mut out.arena).map(|()| start..out.arena.len() as u32);
            out.headers.push((name, value));
        }
    }
}

impl Texts {
    pub(super) fn of(parts: &[TemplatePart], rows: &RecordBatch) -> Result<Self, Failure> {
        let alone = parts.len() == 1;
        Ok(Texts(parts.iter().map(|part| Text::of(part, alone, rows)).collect::<Result<_, _>>()?))
    }

    /// Appends the parts; `None`: one of them is null, and nothing was appended.
    fn put(&self, row: usize, out: &mut Vec<u8>) -> Option<()> {
        if self.0.iter().any(|part| part.bytes(row).is_none()) {
            return None;
        }
        self.0.iter().for_each(|part| out.extend_from_slice(part.bytes(row).unwrap_or_default()));
        Some(())
    }

    /// The parts as one text.
    pub(super) fn text(&self, row: usize) -> Option<String> {
        let mut bytes = Vec::new();
        self.put(row, &mut bytes)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Text {
    fn of(part: &TemplatePart, alone: bool, rows: &RecordBatch) -> Result<Self, Failure> {
        let scalar = match part {
            TemplatePart::Text(text) => return Ok(Text::Same(text.clone())),
            TemplatePart::Value(scalar) => scalar,
        };
        // The plan refuses now() in headers, so the clock is never asked for.
        let (values, _failed) = scalar.evaluate(rows, At { clock: 0 })?;
        let as_bytes = alone && values.data_type() == &DataType::Binary;
        let wanted = if as_bytes { DataType::Binary } else { DataType::Utf8 };
        Ok(Text::Each(arrow::compute::cast(&values, &wanted).map_err(arrow_bug)?))
    }

    fn bytes(&self, row: usize) -> Option<&[u8]> {
        match self {
            Text::Same(text) => Some(text.as_bytes()),
            Text::Each(values) if values.is_null(row) => None,
            Text::Each(values) => Some(match values.data_type() {
                DataType::Binary => values.as_binary::<i32>().value(row),
                _ => values.as_string::<i32>().value(row).as_bytes(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<Stretch<'_>> {
        stretches(text).unwrap().into_iter().map(|(stretch, _)| stretch).collect()
    }

    #[test]
    fn expressions_end_at_their_own_brace() {
        assert_eq!(cut("plain"), [Stretch::Text("plain")]);
        assert_eq!(cut("a-${b}-c"), [Stretch::Text("a-"), Stretch::Expr("b"), Stretch::Text("-c")]);
        assert_eq!(cut("${x || '}'}${y}"), [Stretch::Expr("x || '}'"), Stretch::Expr("y")]);
        assert_eq!(cut(""), []);
    }

    #[test]
    fn an_open_expression_is_an_error_at_its_place() {
        assert_eq!(stretches("ab${c"), Err(2..5));
        assert_eq!(stretches("${a}").unwrap()[0].1, 2..3);
    }
}
