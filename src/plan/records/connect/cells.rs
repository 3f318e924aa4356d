//! Columns as values of Kafka Connect: what a column is, is matched once per batch.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, StringArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int32Type, Int64Type,
    Time32MillisecondType, TimeUnit, TimestampMillisecondType, i256,
};

use super::super::arrow_bug;
use crate::kafka_connect::json::{self, Json};
use crate::kafka_connect::{Decimal, Kind, Schema, Struct, Value};
use crate::report::Failure;

/// A column whose values can be asked for.
pub(super) struct Cells {
    nulls: Option<NullBuffer>,
    /// A null is a value of the schema.
    optional: bool,
    values: Values,
}

enum Values {
    Null,
    Boolean(BooleanArray),
    Int(PrimitiveArray<Int32Type>),
    Long(PrimitiveArray<Int64Type>),
    Float(PrimitiveArray<Float32Type>),
    Double(PrimitiveArray<Float64Type>),
    Text(StringArray),
    Bytes(BinaryArray),
    Fixed(FixedSizeBinaryArray),
    /// As text with hyphens.
    Uuid(FixedSizeBinaryArray),
    Enum(ScalarBuffer<i32>, StringArray),
    Date(PrimitiveArray<Date32Type>),
    Time(PrimitiveArray<Time32MillisecondType>),
    Timestamp(PrimitiveArray<TimestampMillisecondType>),
    Decimal128(PrimitiveArray<Decimal128Type>, i32),
    Decimal256(PrimitiveArray<Decimal256Type>, i32),
    List(OffsetBuffer<i32>, Box<Cells>),
    Map(OffsetBuffer<i32>, StringArray, Box<Cells>),
    Struct(Arc<Schema>, Vec<Cells>),
    Union(Union),
}

/// A union of several types is a struct with a field for each, of which one is set.
struct Union {
    schema: Arc<Schema>,
    /// Per value its branch, and where it stands in there.
    branches: ScalarBuffer<i8>,
    places: Option<ScalarBuffer<i32>>,
    /// By branch: its field, `None` for null.
    children: Vec<Option<(usize, Cells)>>,
}

impl Cells {
    /// A column of this schema, made of the column's type.
    ///
    /// # Errors
    /// [`Failure`] (bug) if they do not belong together.
    pub fn of(array: &ArrayRef, schema: &Arc<Schema>) -> Result<Cells, Failure> {
        let utc = |zone: &Option<Arc<str>>| DataType::Timestamp(TimeUnit::Millisecond, zone.clone());
        let values = match (array.data_type(), &schema.kind) {
            (DataType::Null, _) => Values::Null,
            (DataType::Boolean, _) => Values::Boolean(array.as_boolean().clone()),
            (DataType::Float32, _) => Values::Float(array.as_primitive().clone()),
            (DataType::Float64, _) => Values::Double(array.as_primitive().clone()),
            (DataType::Date32, _) => Values::Date(array.as_primitive().clone()),
            (DataType::Time32(_), _) => Values::Time(
                cast(array, &DataType::Time32(TimeUnit::Millisecond)).map_err(arrow_bug)?.as_primitive().clone(),
            ),
            (DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, zone @ Some(_)), _) => {
                Values::Timestamp(cast(array, &utc(zone)).map_err(arrow_bug)?.as_primitive().clone())
            }
            // Of a local time in whole seconds Avro has milliseconds.
            (DataType::Timestamp(TimeUnit::Second, None), _) => {
                Values::Long(long(&cast(array, &DataType::Timestamp(TimeUnit::Millisecond, None)).map_err(arrow_bug)?)?)
            }
            (DataType::Time64(_), _) => {
                Values::Long(long(&cast(array, &DataType::Time64(TimeUnit::Microsecond)).map_err(arrow_bug)?)?)
            }
            (DataType::Decimal128(_, scale), _) => Values::Decimal128(array.as_primitive().clone(), i32::from(*scale)),
            (DataType::Decimal256(_, scale), _) => Values::Decimal256(array.as_primitive().clone(), i32::from(*scale)),
            (DataType::FixedSizeBinary(_), Kind::String) => Values::Uuid(array.as_fixed_size_binary().clone()),
            (DataType::FixedSizeBinary(_), _) => Values::Fixed(array.as_fixed_size_binary().clone()),
            (DataType::Dictionary(..), _) if matches!(array.data_type(), DataType::Dictionary(keys, _) if **keys == DataType::Int32) =>
            {
                let words = array.as_dictionary::<Int32Type>();
                let symbols = cast(words.values(), &DataType::Utf8).map_err(arrow_bug)?;
                Values::Enum(words.keys().values().clone(), symbols.as_string().clone())
            }
            (DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..), Kind::Array(items)) => {
                let item = match array.data_type() {
                    DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item.clone(),
                    _ => return Err(misfit(array, schema)),
                };
                let list = cast(array, &DataType::List(item)).map_err(arrow_bug)?;
                let list = list.as_list::<i32>();
                Values::List(list.offsets().clone(), Box::new(Cells::of(list.values(), items)?))
            }
            (DataType::Map(..), Kind::Map(_, values)) => {
                let map = array.as_map();
                let keys = cast(map.keys(), &DataType::Utf8).map_err(arrow_bug)?;
                Values::Map(map.offsets().clone(), keys.as_string().clone(), Box::new(Cells::of(map.values(), values)?))
            }
            (DataType::Struct(_), Kind::Struct(fields)) => {
                let columns = array.as_struct().columns();
                let cells = columns.iter().zip(fields).map(|(column, field)| Cells::of(column, &field.schema));
                Values::Struct(schema.clone(), cells.collect::<Result<_, _>>()?)
            }
            (DataType::Union(..), _) => Values::Union(Union::of(array, schema)?),
            (integer, Kind::Int32) if integer.is_integer() => {
                Values::Int(cast(array, &DataType::Int32).map_err(arrow_bug)?.as_primitive().clone())
            }
            (_, Kind::Int64) => Values::Long(long(array)?),
            (_, Kind::Bytes) => Values::Bytes(cast(array, &DataType::Binary).map_err(arrow_bug)?.as_binary().clone()),
            (_, Kind::String) => Values::Text(cast(array, &DataType::Utf8).map_err(arrow_bug)?.as_string().clone()),
            _ => return Err(misfit(array, schema)),
        };
        Ok(Cells { nulls: array.logical_nulls(), optional: schema.optional, values })
    }

    /// Values that are texts, as a column of texts.
    pub fn texts(&self, column: &ArrayRef) -> ArrayRef {
        let text = |row: usize| match self.value(row) {
            Value::String(text) => Some(text),
            _ => None,
        };
        Arc::new((0..column.len()).map(text).collect::<StringArray>())
    }

    /// Appends a value as Connect's JSON has it; `None`: a null that may not be.
    pub fn write_json(&self, row: usize, decimal_numeric: bool, out: &mut Vec<u8>) -> Option<()> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            out.extend_from_slice(b"null");
            return self.optional.then_some(());
        }
        match &self.values {
            Values::Text(all) => json::write_text(all.value(row), out),
            Values::Bytes(all) => json::write_base64(all.value(row), out),
            Values::Fixed(all) => json::write_base64(all.value(row), out),
            Values::Enum(keys, symbols) => json::write_text(symbols.value(keys[row] as usize), out),
            Values::Int(all) => write_number(all.value(row), out),
            Values::Long(all) => write_number(all.value(row), out),
            Values::Date(all) => write_number(all.value(row), out),
            Values::Time(all) => write_number(all.value(row), out),
            Values::Timestamp(all) => write_number(all.value(row), out),
            Values::Boolean(all) => out.extend_from_slice(if all.value(row) { b"true" } else { b"false" }),
            Values::Float(all) => Json::float(all.value(row)).write(out),
            Values::Double(all) => Json::double(all.value(row)).write(out),
            Values::Uuid(all) => json::write_text(&hyphenated(all.value(row)), out),
            Values::Decimal128(..) | Values::Decimal256(..) => match self.value(row) {
                Value::Decimal(decimal) if decimal_numeric => out.extend_from_slice(decimal.text().as_bytes()),
                Value::Decimal(decimal) => json::write_base64(&decimal.to_bytes(), out),
                _ => return None,
            },
            Values::List(offsets, items) => {
                out.push(b'[');
                let all = span(offsets, row);
                for at in all.clone() {
                    separate(at > all.start, out);
                    items.write_json(at, decimal_numeric, out)?;
                }
                out.push(b']');
            }
            Values::Map(offsets, keys, values) => {
                out.push(b'{');
                let all = span(offsets, row);
                for at in all.clone() {
                    separate(at > all.start, out);
                    json::write_text(keys.value(at), out);
                    out.push(b':');
                    values.write_json(at, decimal_numeric, out)?;
                }
                out.push(b'}');
            }
            Values::Struct(schema, columns) => write_struct(schema, columns, row, decimal_numeric, out)?,
            Values::Null | Values::Union(_) => return None,
        }
        Some(())
    }

    pub fn value(&self, row: usize) -> Value {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Value::Null;
        }
        match &self.values {
            Values::Null => Value::Null,
            Values::Boolean(all) => Value::Boolean(all.value(row)),
            Values::Int(all) => Value::Int32(all.value(row)),
            Values::Long(all) => Value::Int64(all.value(row)),
            Values::Float(all) => Value::Float32(all.value(row)),
            Values::Double(all) => Value::Float64(all.value(row)),
            Values::Text(all) => Value::String(all.value(row).to_owned()),
            Values::Bytes(all) => Value::Bytes(all.value(row).to_vec()),
            Values::Fixed(all) => Value::Bytes(all.value(row).to_vec()),
            Values::Uuid(all) => Value::String(hyphenated(all.value(row))),
            Values::Enum(keys, symbols) => Value::String(symbols.value(keys[row] as usize).to_owned()),
            Values::Date(all) => Value::Date(all.value(row)),
            Values::Time(all) => Value::Time(all.value(row)),
            Values::Timestamp(all) => Value::Timestamp(all.value(row)),
            Values::Decimal128(all, scale) => decimal(i256::from_i128(all.value(row)), *scale),
            Values::Decimal256(all, scale) => decimal(all.value(row), *scale),
            Values::List(offsets, items) => Value::Array(span(offsets, row).map(|at| items.value(at)).collect()),
            Values::Map(offsets, keys, values) => {
                let entry = |at: usize| (Value::String(keys.value(at).to_owned()), values.value(at));
                Value::Map(span(offsets, row).map(entry).collect())
            }
            Values::Struct(schema, columns) => Value::Struct(Struct {
                schema: schema.clone(),
                values: columns.iter().map(|column| column.value(row)).collect(),
            }),
            Values::Union(union) => union.value(row),
        }
    }
}

impl Union {
    fn of(array: &ArrayRef, schema: &Arc<Schema>) -> Result<Union, Failure> {
        let all = array.as_union();
        let DataType::Union(branches, _) = array.data_type() else { return Err(misfit(array, schema)) };
        let mut fields = schema.fields().iter().enumerate();
        let mut children: Vec<Option<(usize, Cells)>> = Vec::new();
        for (id, branch) in branches.iter() {
            let slot = usize::try_from(id).map_err(|_| misfit(array, schema))?;
            children.resize_with(children.len().max(slot + 1), || None);
            if branch.data_type().is_null() {
                continue;
            }
            let (index, field) = fields.next().ok_or_else(|| misfit(array, schema))?;
            children[slot] = Some((index, Cells::of(all.child(id), &field.schema)?));
        }
        Ok(Union { schema: schema.clone(), branches: all.type_ids().clone(), places: all.offsets().cloned(), children })
    }

    fn value(&self, row: usize) -> Value {
        let place = self.places.as_ref().map_or(row, |places| places[row] as usize);
        let Some((index, cells)) = self.children.get(self.branches[row] as usize).and_then(Option::as_ref) else {
            return Value::Null;
        };
        let mut values = vec![Value::Null; self.schema.fields().len()];
        values[*index] = cells.value(place);
        Value::Struct(Struct { schema: self.schema.clone(), values })
    }
}

/// Appends a struct of columns as an object; see [`Cells::write_json`].
pub(super) fn write_struct(
    schema: &Schema,
    columns: &[Cells],
    row: usize,
    decimal_numeric: bool,
    out: &mut Vec<u8>,
) -> Option<()> {
    out.push(b'{');
    for (index, (field, column)) in schema.fields().iter().zip(columns).enumerate() {
        separate(index > 0, out);
        json::write_text(&field.name, out);
        out.push(b':');
        column.write_json(row, decimal_numeric, out)?;
    }
    out.push(b'}');
    Some(())
}

fn separate(from_another: bool, out: &mut Vec<u8>) {
    if from_another {
        out.push(b',');
    }
}

fn write_number(number: impl std::fmt::Display, out: &mut Vec<u8>) {
    use std::io::Write as _;
    write!(out, "{number}").expect("a Vec takes everything");
}

fn long(array: &ArrayRef) -> Result<PrimitiveArray<Int64Type>, Failure> {
    Ok(cast(array, &DataType::Int64).map_err(arrow_bug)?.as_primitive().clone())
}

fn decimal(unscaled: i256, scale: i32) -> Value {
    Value::Decimal(Decimal { unscaled, scale })
}

fn span(offsets: &OffsetBuffer<i32>, row: usize) -> std::ops::Range<usize> {
    offsets[row] as usize..offsets[row + 1] as usize
}

/// `123e4567-e89b-12d3-a456-426614174000`.
fn hyphenated(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn misfit(array: &ArrayRef, schema: &Schema) -> Failure {
    let message = format!("a column of {} is no {}", array.data_type(), schema.kind.word());
    Failure::bug("connect.column", message)
}
