//! Rows → JSON: one compact object per row, columns in order, nulls written as null.
//!
//! Doubles have the shortest text that reads back as the same number; NaN and infinities, which
//! JSON lacks, are null. Bytes are base64.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, SchemaRef};

use crate::formats::plain::{Cell as Scalar, Scalars, column};
use crate::formats::{Encoder, Reject, fields, text, write_rows};
use crate::report::Failure;

/// Encodes columns as JSON objects, or a lone json `value` as it is.
#[derive(Debug)]
pub(in crate::formats) struct JsonEncoder {
    schema: SchemaRef,
    whole: bool,
}

impl JsonEncoder {
    /// # Errors
    /// [`Failure`] (user) `format.type` for a type that has no form in JSON.
    pub(in crate::formats) fn new(schema: SchemaRef) -> Result<Self, Failure> {
        let whole = matches!(schema.fields().as_ref(), [field] if fields::is_whole_json(field));
        for field in schema.fields() {
            Cell::new(field, &arrow::array::new_empty_array(field.data_type()))?;
        }
        Ok(JsonEncoder { schema, whole })
    }
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, rows: &RecordBatch, arena: &mut Vec<u8>) -> Result<(Vec<Range<u32>>, Vec<Reject>), Failure> {
        let cells = self
            .schema
            .fields()
            .iter()
            .map(|field| Ok((label(field), Cell::new(field, column(rows, field)?)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        write_rows(rows.num_rows(), arena, |row, arena| {
            match (self.whole, cells.as_slice()) {
                (true, [(_, cell)]) => cell.put(row, arena),
                _ => put_object(&cells, row, arena),
            }
            Ok(())
        })
    }
}

/// `"name":`
fn label(field: &Field) -> Vec<u8> {
    let mut label = Vec::new();
    put_string(fields::name(field), &mut label);
    label.push(b':');
    label
}

/// A column ready to be written as JSON.
enum Cell {
    Scalar(Scalar),
    List(Option<NullBuffer>, OffsetBuffer<i32>, Box<Cell>),
    Map(Option<NullBuffer>, OffsetBuffer<i32>, StringArray, Box<Cell>),
    Struct(Option<NullBuffer>, Vec<(Vec<u8>, Cell)>),
}

impl Cell {
    fn new(field: &Field, array: &ArrayRef) -> Result<Cell, Failure> {
        let nulls = array.nulls().cloned();
        let unknown = || {
            let message = format!("`{}` is {}, which has no form in JSON", field.name(), array.data_type());
            Failure::user("format.type", message).hint("cast it to another type")
        };
        Ok(match array.data_type() {
            DataType::List(item) => {
                let lists = array.as_list::<i32>();
                Cell::List(nulls, lists.offsets().clone(), Box::new(Cell::new(item, lists.values())?))
            }
            DataType::Map(_, _) => {
                let maps = array.as_map();
                let keys = maps.keys().as_string_opt::<i32>().ok_or_else(unknown)?.clone();
                let entry = &maps.entries().fields()[1];
                Cell::Map(nulls, maps.offsets().clone(), keys, Box::new(Cell::new(entry, maps.values())?))
            }
            DataType::Struct(columns) => {
                let members = columns.iter().zip(array.as_struct().columns());
                let members = members.map(|(field, array)| Ok((label(field), Cell::new(field, array)?)));
                Cell::Struct(nulls, members.collect::<Result<_, Failure>>()?)
            }
            _ => Cell::Scalar(Scalar::new(field, array).ok_or_else(unknown)?),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Cell::Scalar(scalar) => scalar.is_null(row),
            Cell::List(nulls, ..) | Cell::Map(nulls, ..) | Cell::Struct(nulls, _) => {
                nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
            }
        }
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            return out.extend_from_slice(b"null");
        }
        match self {
            Cell::Scalar(scalar) => put_scalar(scalar, row, out),
            Cell::List(_, offsets, items) => {
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                put_all(b"[]", range, out, |item, out| items.put(item, out));
            }
            Cell::Map(_, offsets, keys, values) => {
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                put_all(b"{}", range, out, |entry, out| {
                    put_string(keys.value(entry), out);
                    out.push(b':');
                    values.put(entry, out);
                });
            }
            Cell::Struct(_, members) => put_object(members, row, out),
        }
    }
}

fn put_object(members: &[(Vec<u8>, Cell)], row: usize, out: &mut Vec<u8>) {
    put_all(b"{}", 0..members.len(), out, |member, out| {
        let (label, cell) = &members[member];
        out.extend_from_slice(label);
        cell.put(row, out);
    });
}

fn put_all(brackets: &[u8; 2], range: Range<usize>, out: &mut Vec<u8>, mut put: impl FnMut(usize, &mut Vec<u8>)) {
    let first = range.start;
    out.push(brackets[0]);
    for index in range {
        if index > first {
            out.push(b',');
        }
        put(index, out);
    }
    out.push(brackets[1]);
}

fn put_scalar(scalar: &Scalar, row: usize, out: &mut Vec<u8>) {
    match &scalar.values {
        Scalars::Null => out.extend_from_slice(b"null"),
        Scalars::Float(values) if !values[row].is_finite() => out.extend_from_slice(b"null"),
        Scalars::Double(values) if !values[row].is_finite() => out.extend_from_slice(b"null"),
        Scalars::Text(values) => put_string(values.value(row), out),
        Scalars::Enum(keys, symbols) => put_string(symbols.value(keys[row] as usize), out),
        // Their texts have nothing to escape.
        Scalars::Date(_)
        | Scalars::Time(..)
        | Scalars::Timestamp { .. }
        | Scalars::Binary(_)
        | Scalars::Fixed(_)
        | Scalars::Uuid(_) => {
            out.push(b'"');
            scalar.put(row, out);
            out.push(b'"');
        }
        _ => scalar.put(row, out),
    }
}

/// A string with its quotes; long stretches without escapes are copied at once.
fn put_string(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = value.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => text::put(format_args!("\\u{byte:04x}"), out),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
