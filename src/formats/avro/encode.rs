//! Rows → framed Avro values, pinned to the very schema that is registered.
//!
//! For each batch the schema and the columns are matched once ([`Cell`]); then every row is written straight into
//! the arena. A row that the schema refuses is cut off again and rejected; its neighbours stay.

use std::ops::Range;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, RecordBatch, StringArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Decimal128Type, Decimal256Type, Field as Column, Float32Type,
    Float64Type, Int32Type, Int64Type, SchemaRef, i256,
};
use serde_json::Value;

use super::model::{Fixed, Kind, Logical, Record, Type};
use super::{MAGIC, schema};
use crate::formats::{Encoder, Refusal, Reject, fields, refuse, write_rows};
use crate::report::Failure;

/// Encodes columns as records of one registered schema.
#[derive(Debug)]
pub(in crate::formats) struct AvroEncoder {
    columns: SchemaRef,
    record: Record,
    /// Top-level bytes are written without their length.
    bare_bytes: bool,
    prefix: [u8; super::PREFIX_BYTES],
}

impl AvroEncoder {
    /// An encoder of `columns`, by name, under the schema registered as `id`.
    ///
    /// # Errors
    /// [`Failure`] (user): `avro.schema`; `avro.columns` where columns and schema do not match.
    pub(in crate::formats) fn new(schema: &str, id: i32, columns: SchemaRef) -> Result<Self, Failure> {
        let ty = schema::parse(schema)?;
        let bare_bytes = ty.kind == Kind::Bytes;
        let is_record = matches!(ty.kind, Kind::Record(_));
        let mut record = ty.into_record();
        if !is_record {
            let [column] = columns.fields().as_ref() else {
                return Err(mismatch(format!("{} columns cannot be a single value", columns.fields().len())));
            };
            record.fields[0].name = fields::name(column).to_owned();
        }
        if let Some(column) =
            columns.fields().iter().find(|column| record.fields.iter().all(|field| field.name != fields::name(column)))
        {
            let names: Vec<_> = record.fields.iter().map(|field| field.name.as_str()).collect();
            return Err(mismatch(format!("`{}` has no field `{}`", record.name.full, column.name()))
                .hint(format!("it has: {}", names.join(", "))));
        }
        let mut prefix = [MAGIC; super::PREFIX_BYTES];
        prefix[1..].copy_from_slice(&id.to_be_bytes());
        let encoder = AvroEncoder { columns, record, bare_bytes, prefix };
        // Types are matched now, not with the first row.
        encoder.cells(&RecordBatch::new_empty(encoder.columns.clone()))?;
        Ok(encoder)
    }

    fn cells(&self, rows: &RecordBatch) -> Result<Vec<Cell>, Failure> {
        let cell = |field: &super::model::Field| match self
            .columns
            .fields()
            .iter()
            .find(|column| fields::name(column) == field.name)
        {
            Some(column) => {
                let array = rows.column_by_name(column.name()).ok_or_else(|| {
                    Failure::bug("avro.encode", format!("the rows have no column `{}`", column.name()))
                })?;
                Cell::new(&field.ty, array, column, &field.name).map_err(mismatch)
            }
            None => Cell::absent(field).map_err(mismatch),
        };
        self.record.fields.iter().map(cell).collect()
    }
}

fn mismatch(reason: String) -> Failure {
    Failure::user("avro.columns", format!("the columns do not fit the schema: {reason}"))
}

impl Encoder for AvroEncoder {
    fn encode(&mut self, rows: &RecordBatch, arena: &mut Vec<u8>) -> Result<(Vec<Range<u32>>, Vec<Reject>), Failure> {
        let cells = self.cells(rows)?;
        write_rows(rows.num_rows(), arena, |row, arena| {
            arena.extend_from_slice(&self.prefix);
            let body = arena.len();
            for cell in &cells {
                cell.write(row, arena)?;
            }
            if self.bare_bytes {
                let length = arena[body..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
                arena.drain(body..body + length);
            }
            Ok(())
        })
    }
}

/// Appends a zigzag varint.
#[inline]
pub(super) fn put_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[inline]
fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

/// One type of the schema and the array that its values come from.
struct Cell {
    /// For messages: `user.city`.
    path: String,
    nulls: Option<NullBuffer>,
    /// Values that were there and are not of the schema's type: valid where they fit.
    fits: Option<NullBuffer>,
    /// The branch of a union that is null, if there is one.
    null_branch: Option<i64>,
    /// The branch of a union that values are of; `None`: no union.
    value_branch: Option<i64>,
    values: Values,
}

enum Values {
    Null,
    Boolean(BooleanArray),
    Int(ScalarBuffer<i32>),
    Long(ScalarBuffer<i64>),
    Float(ScalarBuffer<f32>),
    Double(ScalarBuffer<f64>),
    Bytes(BinaryArray),
    String(StringArray),
    /// Sixteen bytes as text.
    UuidText(FixedSizeBinaryArray),
    Fixed(FixedSizeBinaryArray),
    /// Two's complement, big-endian; of this size if it is a fixed.
    Decimal128(ScalarBuffer<i128>, Option<usize>),
    Decimal256(ScalarBuffer<i256>, Option<usize>),
    /// Keys, and for each the index of the symbol in the schema, or what is no symbol.
    Enum(ScalarBuffer<i32>, Vec<Result<i64, String>>),
    Array(OffsetBuffer<i32>, Box<Cell>),
    Map(OffsetBuffer<i32>, StringArray, Box<Cell>),
    Record(Vec<Cell>),
    /// Type ids, offsets, and a cell per branch.
    Union(ScalarBuffer<i8>, Option<ScalarBuffer<i32>>, Vec<Cell>),
    /// The rows lack the field: the bytes of its default.
    Constant(Vec<u8>),
}

impl Cell {
    /// Matches a type with an array.
    ///
    /// # Errors
    /// A sentence fragment if values of the array can never be of the type.
    fn new(ty: &Type, array: &ArrayRef, column: &Column, path: &str) -> Result<Cell, String> {
        let (null_branch, value_branch, inner) = match (&ty.kind, array.data_type()) {
            (Kind::Union(_), DataType::Union(_, _)) => (None, None, ty),
            (Kind::Union(branches), data_type) => {
                let (value, branch) = best_branch(branches, data_type)
                    .ok_or_else(|| format!("`{path}` is {data_type}, not {}", ty.describe()))?;
                let null = branches.iter().position(|branch| branch.kind == Kind::Null);
                (null.map(|index| index as i64), Some(value as i64), branch)
            }
            _ => (None, None, ty),
        };
        // A nullable column for a type without null is no error: a row that is null is rejected.
        let nulls = array.logical_nulls();
        let (values, fits) = values(inner, array, column, path)?;
        Ok(Cell { path: path.to_owned(), nulls, fits, null_branch, value_branch, values })
    }

    /// A field that the rows lack.
    fn absent(field: &super::model::Field) -> Result<Cell, String> {
        let mut bytes = Vec::new();
        match &field.default {
            Some(default) => constant(&field.ty, default, &mut bytes)
                .map_err(|reason| format!("the default of `{}` does not fit: {reason}", field.name))?,
            None => {
                return Err(format!("the schema's field `{}` has no default and there is no such column", field.name));
            }
        }
        let values = Values::Constant(bytes);
        Ok(Cell { path: field.name.clone(), nulls: None, fits: None, null_branch: None, value_branch: None, values })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Box<Refusal>> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return match (self.null_branch, &self.values) {
                (Some(branch), _) => {
                    put_long(branch, out);
                    Ok(())
                }
                (None, Values::Null) => Ok(()),
                (None, Values::Union(..)) => self.write_value(row, out),
                (None, _) => {
                    Err(refuse("avro.null", || format!("`{}` is null, and the schema does not allow it", self.path)))
                }
            };
        }
        if let Some(branch) = self.value_branch {
            put_long(branch, out);
        }
        self.write_value(row, out)
    }

    fn write_value(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Box<Refusal>> {
        if self.fits.as_ref().is_some_and(|fits| fits.is_null(row)) {
            return Err(refuse("avro.range", || format!("`{}` does not fit the schema's type", self.path)));
        }
        match &self.values {
            Values::Null => {}
            Values::Boolean(values) => out.push(u8::from(values.value(row))),
            Values::Int(values) => put_long(i64::from(values[row]), out),
            Values::Long(values) => put_long(values[row], out),
            Values::Float(values) => out.extend_from_slice(&values[row].to_le_bytes()),
            Values::Double(values) => out.extend_from_slice(&values[row].to_le_bytes()),
            Values::Bytes(values) => put_bytes(values.value(row), out),
            Values::String(values) => put_bytes(values.value(row).as_bytes(), out),
            Values::UuidText(values) => put_uuid(values.value(row), out),
            Values::Fixed(values) => out.extend_from_slice(values.value(row)),
            Values::Decimal128(values, size) => self.put_decimal(&values[row].to_be_bytes(), *size, out)?,
            Values::Decimal256(values, size) => self.put_decimal(&values[row].to_be_bytes(), *size, out)?,
            Values::Enum(keys, symbols) => match &symbols[keys[row].as_usize()] {
                Ok(index) => put_long(*index, out),
                Err(symbol) => {
                    return Err(refuse("avro.enum", || format!("`{symbol}` is not a symbol of `{}`", self.path)));
                }
            },
            Values::Array(offsets, items) => {
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                put_block(range, out, |item, out| items.write(item, out))?;
            }
            Values::Map(offsets, keys, values) => {
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                put_block(range, out, |entry, out| {
                    put_bytes(keys.value(entry).as_bytes(), out);
                    values.write(entry, out)
                })?;
            }
            Values::Record(cells) => {
                for cell in cells {
                    cell.write(row, out)?;
                }
            }
            Values::Union(ids, offsets, branches) => {
                let branch = ids[row] as usize;
                put_long(branch as i64, out);
                branches[branch].write(offsets.as_ref().map_or(row, |offsets| offsets[row] as usize), out)?;
            }
            Values::Constant(bytes) => out.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn put_decimal(&self, bytes: &[u8], size: Option<usize>, out: &mut Vec<u8>) -> Result<(), Box<Refusal>> {
        let sign = if bytes[0] & 0x80 == 0 { 0x00 } else { 0xff };
        // The shortest bytes whose first bit is still the sign.
        let mut start = bytes.iter().take_while(|byte| **byte == sign).count().min(bytes.len() - 1);
        if (bytes[start] ^ sign) & 0x80 != 0 {
            start -= 1;
        }
        let shortest = &bytes[start..];
        match size {
            None => put_bytes(shortest, out),
            Some(size) if shortest.len() <= size => {
                out.resize(out.len() + size - shortest.len(), sign);
                out.extend_from_slice(shortest);
            }
            Some(_) => return Err(refuse("avro.range", || format!("`{}` does not fit the schema's fixed", self.path))),
        }
        Ok(())
    }
}

fn put_block(
    range: Range<usize>,
    out: &mut Vec<u8>,
    mut item: impl FnMut(usize, &mut Vec<u8>) -> Result<(), Box<Refusal>>,
) -> Result<(), Box<Refusal>> {
    if !range.is_empty() {
        put_long(range.len() as i64, out);
        for index in range {
            item(index, out)?;
        }
    }
    out.push(0);
    Ok(())
}

fn put_uuid(bytes: &[u8], out: &mut Vec<u8>) {
    put_long(36, out);
    crate::formats::text::put_uuid(bytes, out);
}

/// The branch for values of a type: the very same type, or else the first that they can be cast to.
fn best_branch<'a>(branches: &'a [Type], data_type: &DataType) -> Option<(usize, &'a Type)> {
    let others = || branches.iter().enumerate().filter(|(_, branch)| branch.kind != Kind::Null);
    let is_exact = |branch: &Type| schema::site("", branch).is_ok_and(|field| field.data_type() == data_type);
    let exact = others().find(|(_, branch)| is_exact(branch));
    exact.or_else(|| others().find(|(_, branch)| can_hold(branch, data_type))).or_else(|| {
        // A column of nulls is of any branch.
        (*data_type == DataType::Null).then(|| others().next()).flatten()
    })
}

fn can_hold(ty: &Type, data_type: &DataType) -> bool {
    let empty = arrow::array::new_empty_array(data_type);
    Cell::new(ty, &empty, &Column::new("", data_type.clone(), true), "").is_ok()
}

/// The values of an array, cast to the type's own Arrow type, and which of them fit.
fn values(ty: &Type, array: &ArrayRef, column: &Column, path: &str) -> Result<(Values, Option<NullBuffer>), String> {
    let wrong = || format!("`{path}` is {}, not {}", array.data_type(), ty.describe());
    let nested = match (&ty.kind, array.data_type()) {
        (Kind::Null, DataType::Null) => Values::Null,
        (_, DataType::Null) => Values::Null,
        (Kind::Record(record), DataType::Struct(_)) => Values::Record(record_cells(record, array, path)?),
        (Kind::Array(items), DataType::List(item)) => {
            let lists = array.as_list::<i32>();
            let cell = Cell::new(items, lists.values(), item, &format!("{path}[]"))?;
            Values::Array(lists.offsets().clone(), Box::new(cell))
        }
        (Kind::Map(values), DataType::Map(entries, _)) => {
            let maps = array.as_map();
            let DataType::Struct(entry) = entries.data_type() else { return Err(wrong()) };
            let keys = maps.keys().as_string_opt::<i32>().ok_or_else(wrong)?.clone();
            let cell = Cell::new(values, maps.values(), &entry[1], &format!("{path}{{}}"))?;
            Values::Map(maps.offsets().clone(), keys, Box::new(cell))
        }
        (Kind::Union(branches), DataType::Union(columns, _)) => {
            let union = array.as_any().downcast_ref::<arrow::array::UnionArray>().ok_or_else(wrong)?;
            if branches.len() != columns.len() || columns.iter().enumerate().any(|(at, (id, _))| at as i8 != id) {
                return Err(wrong());
            }
            let cells = branches
                .iter()
                .zip(columns.iter())
                .map(|(branch, (id, column))| Cell::new(branch, union.child(id), column, path))
                .collect::<Result<_, _>>()?;
            Values::Union(union.type_ids().clone(), union.offsets().cloned(), cells)
        }
        (Kind::Enum(symbols), _) => return enum_values(&symbols.symbols, array).ok_or_else(wrong),
        (Kind::String, DataType::FixedSizeBinary(16)) if fields::is_uuid(column) => {
            Values::UuidText(array.as_fixed_size_binary().clone())
        }
        _ => return scalar_values(ty, array).ok_or_else(wrong),
    };
    Ok((nested, None))
}

fn record_cells(record: &Record, array: &ArrayRef, path: &str) -> Result<Vec<Cell>, String> {
    let rows = array.as_struct();
    if let Some(extra) =
        rows.fields().iter().find(|column| record.fields.iter().all(|f| f.name != fields::name(column)))
    {
        return Err(format!("`{}` has no field `{}`", record.name.full, extra.name()));
    }
    record
        .fields
        .iter()
        .map(|field| match rows.fields().iter().position(|column| fields::name(column) == field.name) {
            Some(at) => Cell::new(&field.ty, rows.column(at), &rows.fields()[at], &format!("{path}.{}", field.name)),
            None => Cell::absent(field),
        })
        .collect()
}

fn enum_values(symbols: &[String], array: &ArrayRef) -> Option<(Values, Option<NullBuffer>)> {
    let wanted = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let (array, fits) = cast_to(array, &wanted)?;
    let dictionary = array.as_dictionary::<Int32Type>();
    let words = dictionary.values().as_string_opt::<i32>()?;
    let index_of = |word: Option<&str>| {
        let word = word.unwrap_or_default();
        symbols.iter().position(|symbol| symbol == word).map(|index| index as i64).ok_or_else(|| word.to_owned())
    };
    Some((Values::Enum(dictionary.keys().values().clone(), words.iter().map(index_of).collect()), fits))
}

fn scalar_values(ty: &Type, array: &ArrayRef) -> Option<(Values, Option<NullBuffer>)> {
    let target = schema::site("", ty).ok()?.data_type().clone();
    if matches!((array.data_type(), &target), (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, target) if *target != DataType::Utf8)
        || matches!((array.data_type(), &target), (source, DataType::Utf8 | DataType::Binary) if !is_text_like(source))
        || target.is_nested()
    {
        // A text is not turned into a number, nor a number into text: that is a mistake in the plan.
        return None;
    }
    let (array, fits) = cast_to(array, &target)?;
    let size = match &ty.kind {
        Kind::Fixed(fixed) => Some(fixed.size),
        _ => None,
    };
    let values = match (&target, ty.logical) {
        (DataType::Boolean, _) => Values::Boolean(array.as_boolean().clone()),
        (DataType::Float32, _) => Values::Float(numbers::<Float32Type>(&array)),
        (DataType::Float64, _) => Values::Double(numbers::<Float64Type>(&array)),
        (DataType::Binary, _) => Values::Bytes(array.as_binary().clone()),
        (DataType::Utf8, _) => Values::String(array.as_string().clone()),
        (DataType::FixedSizeBinary(_), Some(Logical::Uuid)) if ty.kind == Kind::String => {
            Values::UuidText(array.as_fixed_size_binary().clone())
        }
        (DataType::FixedSizeBinary(_), _) => Values::Fixed(array.as_fixed_size_binary().clone()),
        (DataType::Decimal128(_, _), _) => Values::Decimal128(numbers::<Decimal128Type>(&array), size),
        (DataType::Decimal256(_, _), _) => Values::Decimal256(numbers::<Decimal256Type>(&array), size),
        (DataType::Int32 | DataType::Date32 | DataType::Time32(_), _) => {
            Values::Int(numbers::<Int32Type>(&cast(&array, &DataType::Int32).ok()?))
        }
        (DataType::Int64 | DataType::Time64(_) | DataType::Timestamp(_, _), _) => {
            Values::Long(numbers::<Int64Type>(&cast(&array, &DataType::Int64).ok()?))
        }
        _ => return None,
    };
    Some((values, fits))
}

fn is_text_like(source: &DataType) -> bool {
    use DataType::{Binary, BinaryView, Dictionary, LargeBinary, LargeUtf8, Utf8, Utf8View};
    matches!(source, Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView | Dictionary(_, _))
}

fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef) -> ScalarBuffer<T::Native> {
    array.as_primitive::<T>().values().clone()
}

/// Casts where the types differ; a value that does not fit is marked, not turned into null.
fn cast_to(array: &ArrayRef, target: &DataType) -> Option<(ArrayRef, Option<NullBuffer>)> {
    if array.data_type() == target {
        return Some((array.clone(), None));
    }
    let converted = cast(array, target).ok()?;
    if converted.null_count() == array.logical_null_count() {
        return Some((converted, None));
    }
    let fits: BooleanBuffer = (0..array.len()).map(|row| converted.is_valid(row)).collect();
    Some((converted, Some(NullBuffer::new(fits))))
}

/// The bytes of a default.
fn constant(ty: &Type, default: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    let wrong = || format!("`{default}` is not {}", ty.describe());
    match (&ty.kind, default) {
        (Kind::Null, Value::Null) => {}
        (Kind::Boolean, Value::Bool(value)) => out.push(u8::from(*value)),
        (Kind::Int, Value::Number(number)) => {
            let value = number.as_i64().and_then(|value| i32::try_from(value).ok()).ok_or_else(wrong)?;
            put_long(i64::from(value), out);
        }
        (Kind::Long, Value::Number(number)) => put_long(number.as_i64().ok_or_else(wrong)?, out),
        (Kind::Float, Value::Number(number)) => {
            out.extend_from_slice(&(number.as_f64().ok_or_else(wrong)? as f32).to_le_bytes());
        }
        (Kind::Double, Value::Number(number)) => {
            out.extend_from_slice(&number.as_f64().ok_or_else(wrong)?.to_le_bytes());
        }
        (Kind::String, Value::String(text)) => put_bytes(text.as_bytes(), out),
        (Kind::Bytes, Value::String(text)) => put_bytes(&code_points(text).ok_or_else(wrong)?, out),
        (Kind::Fixed(fixed), Value::String(text)) => {
            out.extend_from_slice(&fixed_default(fixed, text).ok_or_else(wrong)?)
        }
        (Kind::Enum(symbols), Value::String(word)) => {
            let index = symbols.symbols.iter().position(|symbol| symbol == word).ok_or_else(wrong)?;
            put_long(index as i64, out);
        }
        (Kind::Array(items), Value::Array(values)) => {
            if !values.is_empty() {
                put_long(values.len() as i64, out);
            }
            values.iter().try_for_each(|value| constant(items, value, out))?;
            out.push(0);
        }
        (Kind::Map(values), Value::Object(entries)) => {
            if !entries.is_empty() {
                put_long(entries.len() as i64, out);
            }
            for (key, value) in entries {
                put_bytes(key.as_bytes(), out);
                constant(values, value, out)?;
            }
            out.push(0);
        }
        (Kind::Record(record), Value::Object(entries)) => {
            for field in &record.fields {
                let value = entries.get(&field.name).or(field.default.as_ref()).ok_or_else(wrong)?;
                constant(&field.ty, value, out)?;
            }
        }
        (Kind::Union(branches), value) => {
            let start = out.len();
            for (index, branch) in branches.iter().enumerate() {
                put_long(index as i64, out);
                if constant(branch, value, out).is_ok() {
                    return Ok(());
                }
                out.truncate(start);
            }
            return Err(wrong());
        }
        _ => return Err(wrong()),
    }
    Ok(())
}

fn fixed_default(fixed: &Fixed, text: &str) -> Option<Vec<u8>> {
    code_points(text).filter(|bytes| bytes.len() == fixed.size)
}

/// Avro writes bytes in JSON as the characters U+0000 to U+00FF.
fn code_points(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}
