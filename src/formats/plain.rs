//! Formats `string` and `bytes`, and the plain text of any scalar.
//!
//! [`Cell`] is one column ready to be written as text, matched once per batch; JSON, CSV and keys of
//! format `string` write through it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, RecordBatch, StringArray,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::{cast, filter};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type, Int32Type, Int64Type, SchemaRef,
    TimeUnit, UInt64Type, i256,
};

use super::{Decoded, Decoder, Encoder, Reject, fields, is_key, refuse, text, write_rows};
use crate::report::Failure;

/// A column of scalars that is written as text.
pub(super) struct Cell {
    pub(super) nulls: Option<NullBuffer>,
    pub(super) values: Scalars,
}

pub(super) enum Scalars {
    Null,
    Boolean(BooleanArray),
    Long(ScalarBuffer<i64>),
    Unsigned(ScalarBuffer<u64>),
    Float(ScalarBuffer<f32>),
    Double(ScalarBuffer<f64>),
    Decimal128(ScalarBuffer<i128>, i8),
    Decimal256(ScalarBuffer<i256>, i8),
    Date(ScalarBuffer<i32>),
    Time(ScalarBuffer<i64>, TimeUnit),
    Timestamp {
        values: ScalarBuffer<i64>,
        unit: TimeUnit,
        utc: bool,
    },
    /// A timestamp as a number of another unit.
    Count {
        values: ScalarBuffer<i64>,
        unit: TimeUnit,
        number: TimeUnit,
    },
    Text(StringArray),
    Json(StringArray),
    Enum(ScalarBuffer<i32>, StringArray),
    Binary(BinaryArray),
    Fixed(FixedSizeBinaryArray),
    Uuid(FixedSizeBinaryArray),
}

impl Cell {
    /// `None` for nested columns and types without a text.
    pub(super) fn new(field: &Field, array: &ArrayRef) -> Option<Cell> {
        let nulls = array.logical_nulls();
        let long =
            |array: &ArrayRef| Some(cast(array, &DataType::Int64).ok()?.as_primitive::<Int64Type>().values().clone());
        let values = match array.data_type() {
            DataType::Null => Scalars::Null,
            DataType::Boolean => Scalars::Boolean(array.as_boolean().clone()),
            DataType::UInt64 => Scalars::Unsigned(array.as_primitive::<UInt64Type>().values().clone()),
            integer if integer.is_integer() => Scalars::Long(long(array)?),
            DataType::Float32 => Scalars::Float(array.as_primitive::<Float32Type>().values().clone()),
            DataType::Float64 => Scalars::Double(array.as_primitive::<Float64Type>().values().clone()),
            DataType::Decimal128(_, scale) if *scale >= 0 => {
                Scalars::Decimal128(array.as_primitive::<Decimal128Type>().values().clone(), *scale)
            }
            DataType::Decimal256(_, scale) if *scale >= 0 => {
                Scalars::Decimal256(array.as_primitive::<Decimal256Type>().values().clone(), *scale)
            }
            DataType::Date32 => {
                Scalars::Date(cast(array, &DataType::Int32).ok()?.as_primitive::<Int32Type>().values().clone())
            }
            DataType::Time32(unit) => {
                let array = cast(array, &DataType::Int32).ok()?;
                Scalars::Time(long(&array)?, *unit)
            }
            DataType::Time64(unit) => Scalars::Time(long(array)?, *unit),
            DataType::Timestamp(unit, zone) => match fields::unit(field) {
                Some(number) => Scalars::Count { values: long(array)?, unit: *unit, number },
                None => Scalars::Timestamp { values: long(array)?, unit: *unit, utc: zone.is_some() },
            },
            DataType::Utf8 if fields::is_json(field) => Scalars::Json(array.as_string::<i32>().clone()),
            DataType::Utf8 => Scalars::Text(array.as_string::<i32>().clone()),
            DataType::LargeUtf8 | DataType::Utf8View => {
                Scalars::Text(cast(array, &DataType::Utf8).ok()?.as_string::<i32>().clone())
            }
            DataType::Binary => Scalars::Binary(array.as_binary::<i32>().clone()),
            DataType::LargeBinary | DataType::BinaryView => {
                Scalars::Binary(cast(array, &DataType::Binary).ok()?.as_binary::<i32>().clone())
            }
            DataType::FixedSizeBinary(16) if fields::is_uuid(field) => {
                Scalars::Uuid(array.as_fixed_size_binary().clone())
            }
            DataType::FixedSizeBinary(_) => Scalars::Fixed(array.as_fixed_size_binary().clone()),
            DataType::Dictionary(_, values) if **values == DataType::Utf8 => {
                let wanted = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
                let array = cast(array, &wanted).ok()?;
                let dictionary = array.as_dictionary::<Int32Type>();
                Scalars::Enum(dictionary.keys().values().clone(), dictionary.values().as_string::<i32>().clone())
            }
            _ => return None,
        };
        Some(Cell { nulls, values })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The plain text of a value that is not null: no quotes, no escapes.
    pub(super) fn put(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Scalars::Null => {}
            Scalars::Boolean(values) => out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }),
            Scalars::Long(values) => text::put_integer(values[row], out),
            Scalars::Unsigned(values) => text::put(values[row], out),
            Scalars::Float(values) => text::put_float(values[row], out),
            Scalars::Double(values) => text::put_float(values[row], out),
            Scalars::Decimal128(values, scale) => text::put_decimal(&values[row].to_string(), *scale, out),
            Scalars::Decimal256(values, scale) => text::put_decimal(&values[row].to_string(), *scale, out),
            Scalars::Date(values) => text::put_date(i64::from(values[row]), out),
            Scalars::Time(values, unit) => text::put_time(values[row], *unit, out),
            Scalars::Timestamp { values, unit, utc } => text::put_timestamp(values[row], *unit, *utc, out),
            Scalars::Count { values, unit, number } => put_count(values[row], *unit, *number, out),
            Scalars::Text(values) | Scalars::Json(values) => out.extend_from_slice(values.value(row).as_bytes()),
            Scalars::Enum(keys, symbols) => out.extend_from_slice(symbols.value(keys[row] as usize).as_bytes()),
            Scalars::Binary(values) => text::put_base64(values.value(row), out),
            Scalars::Fixed(values) => text::put_base64(values.value(row), out),
            Scalars::Uuid(values) => text::put_uuid(values.value(row), out),
        }
    }
}

/// A count of `unit`s as a number of `number`s; with decimals only where they are needed.
fn put_count(value: i64, unit: TimeUnit, number: TimeUnit, out: &mut Vec<u8>) {
    let (fine, coarse) = (text::per_second(unit), text::per_second(number));
    if coarse >= fine {
        return text::put(i128::from(value) * i128::from(coarse / fine), out);
    }
    let scale = fine / coarse;
    if value % scale == 0 {
        text::put_integer(value / scale, out);
        return;
    }
    text::put_decimal(&value.to_string(), text::decimals(unit) - text::decimals(number), out);
    while out.last() == Some(&b'0') {
        out.pop();
    }
}

/// Values that are the only column as they are: Binary, or Utf8 where they are UTF-8.
#[derive(Debug)]
pub(super) struct PlainDecoder {
    schema: SchemaRef,
    is_text: bool,
    /// A null is a row too: `columns: {value: bytes?}`. A key that is null is a record without one.
    takes_null: bool,
}

impl PlainDecoder {
    pub(super) fn new(schema: SchemaRef, is_text: bool) -> Self {
        let takes_null = schema.field(0).is_nullable() && !is_key(&schema);
        PlainDecoder { schema, is_text, takes_null }
    }

    fn reject(&self, values: &BinaryArray) -> Vec<Reject> {
        let bad = |index: usize| {
            if values.is_null(index) {
                return (!self.takes_null).then_some(("value.null", "the value is null"));
            }
            (self.is_text && std::str::from_utf8(values.value(index)).is_err())
                .then_some(("string.utf8", "the value is not UTF-8"))
        };
        (0..values.len())
            .filter_map(|index| bad(index).map(|(code, reason)| Reject { index, code, reason: reason.into() }))
            .collect()
    }
}

impl Decoder for PlainDecoder {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn decode(&mut self, values: &BinaryArray) -> Result<Decoded, Failure> {
        let rejects = self.reject(values);
        let bug = |error| Failure::bug("string.decode", "values do not make a column").because(error);
        let good: ArrayRef = if rejects.is_empty() {
            Arc::new(values.clone())
        } else {
            let mut keep = vec![true; values.len()];
            rejects.iter().for_each(|reject| keep[reject.index] = false);
            filter(values, &BooleanArray::from(keep)).map_err(bug)?
        };
        let column = if self.is_text {
            Arc::new(StringArray::try_from_binary(good.as_binary::<i32>().clone()).map_err(bug)?)
        } else {
            good
        };
        let rows = RecordBatch::try_new(self.schema.clone(), vec![column]).map_err(bug)?;
        Ok(Decoded { rows, rejects })
    }
}

/// Writes the only column as plain text, or as the bytes that it holds.
#[derive(Debug)]
pub(super) struct PlainEncoder {
    column: Arc<Field>,
    is_text: bool,
}

impl PlainEncoder {
    /// # Errors
    /// [`Failure`] (user) `format.columns` if there is not exactly one column, or it has no such form.
    pub(super) fn new(schema: &SchemaRef, is_text: bool) -> Result<Self, Failure> {
        let word = if is_text { "string" } else { "bytes" };
        let [column] = schema.fields().as_ref() else {
            let message = format!("format `{word}` takes exactly one column, and there are {}", schema.fields().len());
            return Err(Failure::user("format.columns", message).hint("select one column, or choose `json`"));
        };
        let empty = arrow::array::new_empty_array(column.data_type());
        let cell = Cell::new(column, &empty);
        let is_bytes = matches!(
            &cell,
            Some(Cell { values: Scalars::Binary(_) | Scalars::Text(_) | Scalars::Json(_) | Scalars::Fixed(_), .. })
        );
        if cell.is_none() || (!is_text && !is_bytes) {
            let message = format!("format `{word}` cannot write `{}`, which is {}", column.name(), column.data_type());
            return Err(Failure::user("format.columns", message).hint("cast it to a string"));
        }
        Ok(PlainEncoder { column: column.clone(), is_text })
    }
}

impl Encoder for PlainEncoder {
    fn encode(&mut self, rows: &RecordBatch, arena: &mut Vec<u8>) -> Result<(Vec<Range<u32>>, Vec<Reject>), Failure> {
        let array = column(rows, &self.column)?;
        let cell = Cell::new(&self.column, array).ok_or_else(|| {
            Failure::bug("format.columns", format!("`{}` has become {}", self.column.name(), array.data_type()))
        })?;
        write_rows(rows.num_rows(), arena, |row, arena| {
            if cell.is_null(row) {
                return Err(refuse("value.null", || format!("`{}` is null", self.column.name())));
            }
            match &cell.values {
                Scalars::Binary(values) if !self.is_text => arena.extend_from_slice(values.value(row)),
                Scalars::Fixed(values) if !self.is_text => arena.extend_from_slice(values.value(row)),
                _ => cell.put(row, arena),
            }
            Ok(())
        })
    }
}

/// A column of the rows by its name.
pub(super) fn column<'a>(rows: &'a RecordBatch, field: &Field) -> Result<&'a ArrayRef, Failure> {
    rows.column_by_name(field.name())
        .ok_or_else(|| Failure::bug("format.columns", format!("the rows have no column `{}`", field.name())))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::Schema;

    use super::super::samples::{batch, codes, decoded, encoded};
    use super::super::{DecoderSpec, EncoderSpec, Format, value_columns};
    use super::*;

    #[test]
    fn strings_are_utf8_and_bytes_are_anything() {
        let values: [&[u8]; 3] = [b"a", b"\xff", b""];
        for (format, bad) in [(Format::String, vec![(1, "string.utf8")]), (Format::Bytes, vec![])] {
            let schema = value_columns(&format, None, None).unwrap();
            let mut decoder =
                DecoderSpec { format: format.clone(), schema: schema.clone(), avro: None }.open().unwrap();
            let decoded = decoded(decoder.as_mut(), &values);
            assert_eq!(codes(&decoded), bad);
            let mut encoder = EncoderSpec { format, schema, avro: None }.open().unwrap();
            let good: Vec<_> =
                (0..3).filter(|index| bad.iter().all(|(at, _)| at != index)).map(|at| values[at]).collect();
            assert_eq!(encoded(encoder.as_mut(), &decoded.rows), good);
        }
    }

    #[test]
    fn a_key_of_one_column_is_its_plain_text_and_null_is_refused() {
        let schema =
            Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("name", DataType::Utf8, true)]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![Some(-5), None])), Arc::new(StringArray::from(vec!["\"x\"", "y"]))];
        let rows = batch(schema.clone(), columns, 2);
        let of = |at: usize| {
            let schema = Arc::new(schema.project(&[at]).unwrap());
            let mut arena = Vec::new();
            let mut encoder = EncoderSpec { format: Format::String, schema, avro: None }.open().unwrap();
            let (_, rejects) = encoder.encode(&rows, &mut arena).unwrap();
            (String::from_utf8(arena).unwrap(), rejects.len())
        };
        assert_eq!((of(0), of(1)), (("-5".into(), 1), ("\"x\"y".into(), 0)));
    }

    #[test]
    fn several_columns_are_not_a_string() {
        let schema =
            Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)]));
        let failure = EncoderSpec { format: Format::String, schema, avro: None }.open().err().unwrap();
        assert_eq!(failure.message, "format `string` takes exactly one column, and there are 2");
    }
}
