//! JSON values → rows.
//!
//! Columns are required unless they are nullable; undeclared fields are ignored. Of a key that
//! stands twice the last counts. What a bad record has begun is cut off its columns, so its neighbours never see it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use super::scan::{Broken, Scanner, Token};
use crate::formats::columns::{Column, Values, shortened};
use crate::formats::{Decoded, Decoder, Reject, fields};
use crate::report::Failure;

/// Decodes one JSON value per record.
#[derive(Debug)]
pub(in crate::formats) struct JsonDecoder {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// The only column takes the whole value.
    whole: bool,
    scratch: String,
}

/// What is wrong with a record, and where in it.
struct Bad {
    code: &'static str,
    /// Innermost name first.
    path: Vec<String>,
    what: String,
}

impl Bad {
    #[cold]
    fn new(code: &'static str, what: impl Into<String>) -> Box<Bad> {
        Box::new(Bad { code, path: Vec::new(), what: what.into() })
    }

    #[cold]
    fn within(mut self: Box<Self>, name: &str) -> Box<Bad> {
        self.path.push(name.to_owned());
        self
    }

    fn reason(mut self) -> String {
        self.path.reverse();
        if self.path.is_empty() { self.what } else { format!("`{}`: {}", self.path.join("."), self.what) }
    }
}

impl From<Broken> for Box<Bad> {
    fn from(broken: Broken) -> Self {
        Bad::new("json.syntax", format!("{} is expected", broken.expected))
    }
}

fn ill_typed(misfit: String) -> Box<Bad> {
    Bad::new("json.type", misfit)
}

impl JsonDecoder {
    /// # Errors
    /// [`Failure`] (user) `format.type` for a type that has no form in JSON.
    pub(in crate::formats) fn new(schema: SchemaRef) -> Result<Self, Failure> {
        let columns = schema.fields().iter().map(Column::new).collect::<Result<_, _>>()?;
        let whole = matches!(schema.fields().as_ref(), [field] if fields::is_whole_json(field));
        Ok(JsonDecoder { schema, columns, whole, scratch: String::new() })
    }

    fn record(&mut self, value: &[u8], row: usize) -> Result<(), Box<Bad>> {
        let text = std::str::from_utf8(value).map_err(|_| Bad::new("json.syntax", "it is not UTF-8"))?;
        let mut scanner = Scanner::new(text);
        scanner.skip_space();
        if scanner.at() == text.len() {
            return Err(Bad::new("json.empty", "the value is empty"));
        }
        self.top(&mut scanner, row).map_err(|bad| match bad.code {
            "json.syntax" => {
                let near = shortened(&text[scanner.at()..]);
                let place = if near.is_empty() { "at its end".to_owned() } else { format!("at `{near}`") };
                Box::new(Bad { what: format!("the value is not JSON: {} {place}", bad.what), path: Vec::new(), ..*bad })
            }
            _ => bad,
        })?;
        scanner.skip_space();
        match &text[scanner.at()..] {
            "" => Ok(()),
            rest => Err(Bad::new("json.trailing", format!("`{}` follows the value", shortened(rest)))),
        }
    }

    fn top(&mut self, scanner: &mut Scanner<'_>, row: usize) -> Result<(), Box<Bad>> {
        if self.whole {
            return value(scanner, &mut self.columns[0], &mut self.scratch);
        }
        match scanner.token()? {
            Token::Object => members(scanner, &mut self.columns, row, &mut self.scratch),
            other => {
                scanner.skip()?;
                Err(Bad::new("json.type", format!("the value is {}, not an object", other.word())))
            }
        }
    }
}

impl Decoder for JsonDecoder {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn decode(&mut self, values: &BinaryArray) -> Result<Decoded, Failure> {
        let mut rejects = Vec::new();
        let mut row = 0;
        for index in 0..values.len() {
            if values.is_null(index) {
                rejects.push(Reject { index, code: "value.null", reason: "the value is null".into() });
                continue;
            }
            match self.record(values.value(index), row) {
                Ok(()) => row += 1,
                Err(bad) => {
                    self.columns.iter_mut().for_each(|column| column.truncate(row));
                    rejects.push(Reject { index, code: bad.code, reason: bad.reason() });
                }
            }
        }
        let bug = |error| Failure::bug("json.decode", "decoded columns do not fit together").because(error);
        let arrays: Vec<ArrayRef> =
            self.columns.iter_mut().map(Column::finish).collect::<Result<_, _>>().map_err(bug)?;
        let options = RecordBatchOptions::new().with_row_count(Some(row));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options).map_err(bug)?;
        Ok(Decoded { rows, rejects })
    }
}

/// Reads an object's members into columns that have `row` values each.
fn members(
    scanner: &mut Scanner<'_>,
    columns: &mut [Column],
    row: usize,
    scratch: &mut String,
) -> Result<(), Box<Bad>> {
    let mut next = 0;
    scanner.expect(b'{', "an object")?;
    let mut more = !scanner.take(b'}');
    while more {
        let at = key(scanner, columns, next, scratch)?;
        scanner.expect(b':', "`:`")?;
        match at {
            Some(at) => {
                next = at + 1;
                let column = &mut columns[at];
                // Of a key that stands twice the last counts.
                if column.len() > row {
                    column.truncate(row);
                }
                value(scanner, column, scratch).map_err(|bad| bad.within(columns[at].name()))?;
            }
            None => _ = scanner.skip()?,
        }
        more = scanner.take(b',');
        if !more {
            scanner.expect(b'}', "`,` or `}`")?;
        }
    }
    for column in columns {
        if column.len() == row {
            missing(column, scratch)?;
        }
    }
    Ok(())
}

/// Reads a key: the column that it names, if there is one. Keys usually stand in the order of the columns.
fn key(
    scanner: &mut Scanner<'_>,
    columns: &[Column],
    next: usize,
    scratch: &mut String,
) -> Result<Option<usize>, Broken> {
    let expected = columns.get(next).and_then(Column::quoted);
    if expected.is_some_and(|quoted| scanner.take_text(quoted)) {
        return Ok(Some(next));
    }
    scanner.skip_space();
    let key = scanner.string()?;
    let key = key.text(scratch);
    Ok(columns.iter().position(|column| column.name() == key))
}

fn missing(column: &mut Column, scratch: &mut String) -> Result<(), Box<Bad>> {
    if let Some(default) = column.default.take() {
        let result = value(&mut Scanner::new(&default), column, scratch).map_err(|bad| bad.within(column.name()));
        column.default = Some(default);
        return result;
    }
    if !column.is_nullable() {
        return Err(
            Bad::new("json.missing", format!("it is missing, and its type is {}", column.word())).within(column.name())
        );
    }
    column.push_null();
    Ok(())
}

/// Reads one value into a column.
fn value(scanner: &mut Scanner<'_>, column: &mut Column, scratch: &mut String) -> Result<(), Box<Bad>> {
    let token = scanner.token()?;
    let nullable = column.is_nullable();
    if let Values::Json(texts) = &mut column.values
        && (token != Token::Null || !nullable)
    {
        texts.push(scanner.skip()?.as_bytes());
        column.valid();
        return Ok(());
    }
    match token {
        Token::Null => {
            scanner.word("null")?;
            if !column.is_nullable() {
                return Err(Bad::new("json.null", format!("it is null, and its type is {}", column.word())));
            }
            column.push_null();
            Ok(())
        }
        Token::True => {
            scanner.word("true")?;
            column.push_boolean(true).map_err(ill_typed)
        }
        Token::False => {
            scanner.word("false")?;
            column.push_boolean(false).map_err(ill_typed)
        }
        Token::Number => column.push_number(scanner.number()?).map_err(ill_typed),
        Token::String => column.push_text(scanner.string()?.text(scratch)).map_err(ill_typed),
        Token::List => list(scanner, column, scratch),
        Token::Object => object(scanner, column, scratch),
    }
}

fn list(scanner: &mut Scanner<'_>, column: &mut Column, scratch: &mut String) -> Result<(), Box<Bad>> {
    if let Values::List(ends, items) = &mut column.values {
        scanner.list(|scanner| value(scanner, items, scratch))?;
        ends.push(items.len() as i32);
        column.valid();
        return Ok(());
    }
    scanner.skip()?;
    Err(ill_typed(format!("it is a list, not {}", column.word())))
}

fn object(scanner: &mut Scanner<'_>, column: &mut Column, scratch: &mut String) -> Result<(), Box<Bad>> {
    match &mut column.values {
        Values::Struct(columns, rows) => {
            members(scanner, columns, *rows, scratch)?;
            *rows += 1;
        }
        Values::Map(ends, keys, values) => {
            scanner.object(|scanner, key| {
                keys.push(key.text(scratch).as_bytes());
                value(scanner, values, scratch).map_err(|bad| bad.within(key.text(scratch)))
            })?;
            ends.push(values.len() as i32);
        }
        _ => {
            scanner.skip()?;
            return Err(ill_typed(format!("it is an object, not {}", column.word())));
        }
    }
    column.valid();
    Ok(())
}
