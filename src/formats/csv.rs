//! CSV: one line per record, columns in the order of the schema.
//!
//! RFC 4180: a value with the delimiter, a quote or a line break stands in quotes, a quote in it is
//! doubled. Nothing between two delimiters is null, `""` is an empty text. Headers are the business of the file's
//! source and sink: [`header_names`], [`header_line`].

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, BinaryArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};

use super::columns::{Column, Values, shortened};
use super::format::CsvOptions;
use super::json::is_json;
use super::plain::{Cell, Scalars, column};
use super::{Decoded, Decoder, Encoder, Refusal, Reject, fields, refuse, write_rows};
use crate::report::Failure;

/// Decodes one line per record.
#[derive(Debug)]
pub(super) struct CsvDecoder {
    schema: SchemaRef,
    columns: Vec<Column>,
    delimiter: u8,
    scratch: String,
}

impl CsvDecoder {
    /// # Errors
    /// [`Failure`] (user) `format.type` for a type that CSV cannot hold.
    pub(super) fn new(schema: SchemaRef, options: &CsvOptions) -> Result<Self, Failure> {
        check_types(&schema)?;
        let columns = schema.fields().iter().map(Column::new).collect::<Result<_, _>>()?;
        Ok(CsvDecoder { schema, columns, delimiter: options.delimiter.0 as u8, scratch: String::new() })
    }

    fn line(&mut self, value: &[u8]) -> Result<(), Box<Refusal>> {
        let text = std::str::from_utf8(value).map_err(|_| refuse("csv.syntax", || "the line is not UTF-8".into()))?;
        let mut splitter = Splitter::new(text, self.delimiter);
        let expected = self.columns.len();
        for column in &mut self.columns {
            let Some(cell) = splitter.next(&mut self.scratch)? else {
                let name = column.name();
                return Err(refuse("csv.missing", || {
                    format!("`{name}` is missing: the line has fewer than {expected} values")
                }));
            };
            push(column, cell)?;
        }
        match splitter.next(&mut self.scratch)? {
            None => Ok(()),
            Some(_) => Err(refuse("csv.trailing", || format!("the line has more than {expected} values"))),
        }
    }
}

fn check_types(schema: &Schema) -> Result<(), Failure> {
    let nested = schema.fields().iter().find(|field| field.data_type().is_nested());
    nested.map_or(Ok(()), |field| {
        let message = format!("`{}` is {}, and CSV has only plain values", field.name(), field.data_type());
        Err(Failure::user("format.type", message).hint("choose the format `json`"))
    })
}

fn push(column: &mut Column, cell: Value<'_>) -> Result<(), Box<Refusal>> {
    if cell.text.is_empty() && !cell.quoted {
        if column.is_nullable() {
            column.push_null();
            return Ok(());
        }
        if !matches!(column.values, Values::String(_)) {
            return Err(refuse("csv.null", || {
                format!("`{}` is empty, and its type is {}", column.name(), column.word())
            }));
        }
    }
    let result = match (&mut column.values, cell.text) {
        (Values::Boolean(_), "true") => column.push_boolean(true),
        (Values::Boolean(_), "false") => column.push_boolean(false),
        (Values::Json(texts), text) if is_json(text) => {
            texts.push(text.as_bytes());
            column.valid();
            Ok(())
        }
        (Values::Json(_) | Values::Boolean(_), text) => Err(format!("`{}` is not {}", shortened(text), column.word())),
        (Values::Int(_) | Values::Long(_) | Values::Float(_) | Values::Double(_), text) => column.push_number(text),
        (Values::Timestamp(timestamp, _), text) if timestamp.number.is_some() => column.push_number(text),
        (_, text) => column.push_text(text),
    };
    result.map_err(|misfit| refuse("csv.type", || format!("`{}`: {misfit}", column.name())))
}

impl Decoder for CsvDecoder {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn decode(&mut self, values: &BinaryArray) -> Result<Decoded, Failure> {
        let mut rejects = Vec::new();
        let mut row = 0;
        for index in 0..values.len() {
            let result = if values.is_null(index) {
                Err(refuse("value.null", || "the value is null".into()))
            } else {
                self.line(values.value(index))
            };
            match result {
                Ok(()) => row += 1,
                Err(refusal) => {
                    self.columns.iter_mut().for_each(|column| column.truncate(row));
                    rejects.push(Reject { index, code: refusal.code, reason: refusal.reason });
                }
            }
        }
        let bug = |error| Failure::bug("csv.decode", "decoded columns do not fit together").because(error);
        let arrays = self.columns.iter_mut().map(Column::finish).collect::<Result<_, _>>().map_err(bug)?;
        let options = RecordBatchOptions::new().with_row_count(Some(row));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options).map_err(bug)?;
        Ok(Decoded { rows, rejects })
    }
}

/// The names in a header line, for a file's source.
///
/// # Errors
/// A sentence fragment if the line is not CSV.
pub fn header_names(line: &[u8], options: &CsvOptions) -> Result<Vec<String>, String> {
    let text = std::str::from_utf8(line).map_err(|_| "the header is not UTF-8".to_owned())?;
    let mut splitter = Splitter::new(text, options.delimiter.0 as u8);
    let mut names = Vec::new();
    let mut scratch = String::new();
    while let Some(cell) = splitter.next(&mut scratch).map_err(|refusal| refusal.reason)? {
        names.push(cell.text.to_owned());
    }
    Ok(names)
}

/// The header line of columns, without a line break, for a file's sink.
pub fn header_line(schema: &Schema, options: &CsvOptions) -> String {
    let mut line = Vec::new();
    for (index, field) in schema.fields().iter().enumerate() {
        if index > 0 {
            line.push(options.delimiter.0 as u8);
        }
        put_text(fields::name(field), options.delimiter.0 as u8, &mut line);
    }
    String::from_utf8(line).expect("names and an ASCII delimiter are UTF-8")
}

struct Value<'a> {
    text: &'a str,
    quoted: bool,
}

/// Splits a line into values.
struct Splitter<'a> {
    /// `None`: the last value has been given.
    rest: Option<&'a str>,
    delimiter: u8,
}

impl<'a> Splitter<'a> {
    fn new(line: &'a str, delimiter: u8) -> Self {
        let line = line.strip_suffix('\n').unwrap_or(line);
        Splitter { rest: Some(line.strip_suffix('\r').unwrap_or(line)), delimiter }
    }

    fn next<'b>(&mut self, scratch: &'b mut String) -> Result<Option<Value<'b>>, Box<Refusal>>
    where
        'a: 'b,
    {
        let Some(rest) = self.rest else { return Ok(None) };
        if let Some(quoted) = rest.strip_prefix('"') {
            let text = self.quoted(quoted, scratch)?;
            return Ok(Some(Value { text, quoted: true }));
        }
        let end = rest.bytes().position(|byte| byte == self.delimiter);
        self.rest = end.map(|end| &rest[end + 1..]);
        Ok(Some(Value { text: &rest[..end.unwrap_or(rest.len())], quoted: false }))
    }

    fn quoted<'b>(&mut self, mut rest: &'a str, scratch: &'b mut String) -> Result<&'b str, Box<Refusal>> {
        scratch.clear();
        loop {
            let end = rest.find('"').ok_or_else(|| refuse("csv.syntax", || "a quote is not closed".into()))?;
            scratch.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.as_bytes().first() {
                Some(b'"') => {
                    scratch.push('"');
                    rest = &rest[1..];
                }
                Some(byte) if *byte == self.delimiter => {
                    self.rest = Some(&rest[1..]);
                    return Ok(scratch);
                }
                None => {
                    self.rest = None;
                    return Ok(scratch);
                }
                Some(_) => {
                    return Err(refuse("csv.syntax", || format!("`{}` follows a closing quote", shortened(rest))));
                }
            }
        }
    }
}

/// Encodes one line per row, without a line break.
#[derive(Debug)]
pub(super) struct CsvEncoder {
    schema: SchemaRef,
    delimiter: u8,
}

impl CsvEncoder {
    /// # Errors
    /// [`Failure`] (user) `format.type` for a type that CSV cannot hold.
    pub(super) fn new(schema: SchemaRef, options: &CsvOptions) -> Result<Self, Failure> {
        check_types(&schema)?;
        Ok(CsvEncoder { schema, delimiter: options.delimiter.0 as u8 })
    }
}

impl Encoder for CsvEncoder {
    fn encode(&mut self, rows: &RecordBatch, arena: &mut Vec<u8>) -> Result<(Vec<Range<u32>>, Vec<Reject>), Failure> {
        let cell = |field: &Arc<arrow::datatypes::Field>| {
            let unknown = || Failure::user("format.type", format!("`{}` has no form in CSV", field.name()));
            Cell::new(field, column(rows, field)?).ok_or_else(unknown)
        };
        let cells = self.schema.fields().iter().map(cell).collect::<Result<Vec<_>, Failure>>()?;
        write_rows(rows.num_rows(), arena, |row, arena| {
            for (index, cell) in cells.iter().enumerate() {
                if index > 0 {
                    arena.push(self.delimiter);
                }
                self.put(cell, row, arena);
            }
            Ok(())
        })
    }
}

impl CsvEncoder {
    fn put(&self, cell: &Cell, row: usize, out: &mut Vec<u8>) {
        match &cell.values {
            _ if cell.is_null(row) => {}
            Scalars::Text(values) | Scalars::Json(values) => put_text(values.value(row), self.delimiter, out),
            Scalars::Enum(keys, symbols) => put_text(symbols.value(keys[row] as usize), self.delimiter, out),
            // Numbers, dates and base64 have nothing to quote, unless the delimiter is one of their characters.
            _ => {
                let start = out.len();
                cell.put(row, out);
                if out[start..].contains(&self.delimiter) {
                    out.insert(start, b'"');
                    out.push(b'"');
                }
            }
        }
    }
}

fn put_text(text: &str, delimiter: u8, out: &mut Vec<u8>) {
    let needs_quotes = |byte: u8| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r');
    // An empty text is quoted, because nothing at all is null.
    if !text.is_empty() && !text.bytes().any(needs_quotes) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    for (index, part) in text.split('"').enumerate() {
        if index > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::super::samples::{codes, decoded, encoded};
    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
            Field::new("price", DataType::Decimal128(6, 2), true),
            Field::new("ok", DataType::Boolean, true),
        ]))
    }

    #[test]
    fn lines_come_back() {
        let lines: [&[u8]; 4] = [b"1,plain,1.50,true", b"2,\"a,\"\"b\"\"\",-0.01,false", b"3,,,", b"4,\"\",,"];
        let options = CsvOptions::default();
        let rows = decoded(&mut CsvDecoder::new(schema(), &options).unwrap(), &lines);
        assert_eq!(rows.rejects, []);
        assert_eq!(encoded(&mut CsvEncoder::new(schema(), &options).unwrap(), &rows.rows), lines);
    }

    #[test]
    fn a_bad_line_says_what_is_wrong_and_touches_no_other() {
        let lines: [&[u8]; 8] = [
            b"1,a,1,true\r\n",
            b"x,a,1,true",
            b"2,\"a",
            b"3,a",
            b"4,a,1,true,",
            b",a,1,true",
            b"5,\"a\"b,1,true",
            b"6,b,1.005,true",
        ];
        let rows = decoded(&mut CsvDecoder::new(schema(), &CsvOptions::default()).unwrap(), &lines);
        let expected = ["csv.type", "csv.syntax", "csv.missing", "csv.trailing", "csv.null", "csv.syntax", "csv.type"];
        assert_eq!(codes(&rows), expected.iter().enumerate().map(|(at, code)| (at + 1, *code)).collect::<Vec<_>>());
        assert_eq!(rows.rows.num_rows(), 1);
    }

    #[test]
    fn headers_are_quoted_like_values() {
        let options = CsvOptions { delimiter: crate::formats::Delimiter(';'), ..CsvOptions::default() };
        let schema =
            Schema::new(vec![Field::new("a;b", DataType::Utf8, false), Field::new("c", DataType::Utf8, false)]);
        let line = header_line(&schema, &options);
        assert_eq!(line, "\"a;b\";c");
        assert_eq!(header_names(line.as_bytes(), &options).unwrap(), ["a;b", "c"]);
    }
}
