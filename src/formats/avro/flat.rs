//! Values of flat records → columns, in one pass over their bytes.
//!
//! Most topics hold records of numbers and texts. For those a list of steps, one per field, is worked off for each value;
//! fields that nobody asked for are stepped over. Whatever is out of the ordinary (a byte too many, a number that is too
//! large or written at length, a text that is not UTF-8) ends the attempt, and [`decode`](super::decode)'s general
//! decoder judges the whole batch. What is given here it would have given too.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Float32Array, Float64Array, Int32Array,
    Int64Array, NullBufferBuilder, StringArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use super::PREFIX_BYTES;
use super::decode::matching;
use super::model::{Kind, Logical, Record, Type};

/// Decodes the values of one writer schema.
#[derive(Debug)]
pub(super) struct Flat {
    steps: Vec<Step>,
    columns: Vec<Column>,
}

/// What is done with a field.
#[derive(Debug)]
struct Step {
    plain: Plain,
    /// Of a union with null: which of the two is null.
    null_at: Option<u8>,
    /// Index of the column that takes it; `None`: it is stepped over.
    column: Option<usize>,
}

/// How a value stands in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    Boolean,
    /// An enum's index too.
    Int,
    Long,
    Float,
    Double,
    /// Text too.
    Bytes,
    Fixed(usize),
}

impl Plain {
    fn of(kind: &Kind) -> Option<Plain> {
        Some(match kind {
            Kind::Boolean => Plain::Boolean,
            Kind::Int | Kind::Enum(_) => Plain::Int,
            Kind::Long => Plain::Long,
            Kind::Float => Plain::Float,
            Kind::Double => Plain::Double,
            Kind::Bytes | Kind::String => Plain::Bytes,
            Kind::Fixed(fixed) => Plain::Fixed(fixed.size),
            _ => return None,
        })
    }
}

impl Flat {
    /// `None` if a field of `writer` is no plain value, or one of `reader` (which gives `columns`) is not read as it was
    /// written.
    pub(super) fn new(writer: &Record, reader: &Record, columns: &Fields) -> Option<Flat> {
        let mut flat = Flat { steps: Vec::new(), columns: columns.iter().map(Column::new).collect::<Option<_>>()? };
        let sources: Vec<_> = reader.fields.iter().map(|field| matching(field, writer)).collect::<Option<_>>()?;
        if sources.len() != columns.len() {
            return None;
        }
        let mut taken = 0;
        for field in &writer.fields {
            let mut wanting = (0..sources.len()).filter(|index| std::ptr::eq(sources[*index], field));
            let column = wanting.next();
            if let Some(index) = column {
                is_read_as_written(&field.ty, &reader.fields[index].ty, columns[index].data_type()).then_some(())?;
                taken += 1;
            }
            match &field.ty.kind {
                Kind::Record(record) if column.is_none() => flat.step_over(record)?,
                _ => flat.step(&field.ty, column)?,
            }
        }
        // A field may be wanted twice, by an alias.
        (taken == sources.len()).then_some(flat)
    }

    fn step(&mut self, ty: &Type, column: Option<usize>) -> Option<()> {
        let (null_at, ty) = ty.nullable().map_or((None, ty), |(null_at, ty)| (Some(null_at as u8), ty));
        match &ty.kind {
            Kind::Null => {}
            kind => self.steps.push(Step { plain: Plain::of(kind)?, null_at, column }),
        }
        Some(())
    }

    fn step_over(&mut self, record: &Record) -> Option<()> {
        record.fields.iter().try_for_each(|field| match &field.ty.kind {
            Kind::Record(record) => self.step_over(record),
            _ => self.step(&field.ty, None),
        })
    }

    /// The columns of these framed values; `None` if any of them is not quite as it should be.
    pub(super) fn decode(&mut self, values: &BinaryArray, indexes: &[u32], fields: &Fields) -> Option<Vec<ArrayRef>> {
        self.columns.iter_mut().for_each(|column| column.begin(indexes.len()));
        for index in indexes {
            let mut rest = Rest(values.value(*index as usize).get(PREFIX_BYTES..)?);
            for step in &self.steps {
                step.take(&mut rest, &mut self.columns)?;
            }
            if !rest.0.is_empty() {
                return None;
            }
        }
        self.columns.iter_mut().zip(fields).map(|(column, field)| column.finish(field)).collect()
    }
}

/// True if a column of this type has the very values that were written.
fn is_read_as_written(writer: &Type, reader: &Type, column: &DataType) -> bool {
    let (writer, reader) = match (writer.nullable(), reader.nullable()) {
        (Some((_, writer)), Some((_, reader))) => (writer, reader),
        (None, None) => (writer, reader),
        _ => return false,
    };
    if writer != reader {
        return false;
    }
    let utc = |unit| DataType::Timestamp(unit, Some("UTC".into()));
    let written = match (&writer.kind, writer.logical) {
        (Kind::Boolean, None) => DataType::Boolean,
        (Kind::Int, None) => DataType::Int32,
        (Kind::Int, Some(Logical::Date)) => DataType::Date32,
        (Kind::Long, None) => DataType::Int64,
        (Kind::Long, Some(Logical::TimestampMillis)) => utc(TimeUnit::Millisecond),
        (Kind::Long, Some(Logical::TimestampMicros)) => utc(TimeUnit::Microsecond),
        (Kind::Float, None) => DataType::Float32,
        (Kind::Double, None) => DataType::Float64,
        (Kind::String, None) => DataType::Utf8,
        (Kind::Bytes, None) => DataType::Binary,
        _ => return false,
    };
    written == *column
}

impl Step {
    #[inline]
    fn take(&self, rest: &mut Rest<'_>, columns: &mut [Column]) -> Option<()> {
        if let Some(null_at) = self.null_at {
            let branch = match rest.byte()? {
                0 => 0,
                2 => 1,
                _ => return None,
            };
            if branch == null_at {
                if let Some(column) = self.column {
                    columns[column].push_null();
                }
                return Some(());
            }
        }
        match self.column {
            Some(column) => columns[column].push(rest),
            None => rest.step_over(self.plain),
        }
    }
}

/// What of a value was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    #[inline]
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    /// A number in at most so many bytes of seven bits, as it stands.
    #[inline]
    fn bits(&mut self, bytes_max: u32) -> Option<u64> {
        let first = self.byte()?;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        let mut bits = u64::from(first & 0x7f);
        for at in 1..bytes_max {
            let byte = self.byte()?;
            bits |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return Some(bits);
            }
        }
        None
    }

    #[inline]
    fn long(&mut self) -> Option<i64> {
        // Nine bytes have 63 bits; what needs a tenth is left to the general decoder.
        let bits = self.bits(9)?;
        Some((bits >> 1) as i64 ^ -((bits & 1) as i64))
    }

    #[inline]
    fn int(&mut self) -> Option<i32> {
        let bits = u32::try_from(self.bits(5)?).ok()?;
        Some((bits >> 1) as i32 ^ -((bits & 1) as i32))
    }

    #[inline]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.take(length)
    }

    #[inline]
    fn step_over(&mut self, plain: Plain) -> Option<()> {
        match plain {
            Plain::Boolean => self.byte().map(drop),
            Plain::Int => self.int().map(drop),
            Plain::Long => self.long().map(drop),
            Plain::Float => self.take(4).map(drop),
            Plain::Double => self.take(8).map(drop),
            Plain::Bytes => self.bytes().map(drop),
            Plain::Fixed(size) => self.take(size).map(drop),
        }
    }
}

/// A column that fills.
#[derive(Debug)]
struct Column {
    values: Values,
    present: NullBufferBuilder,
}

#[derive(Debug)]
enum Values {
    Boolean(BooleanBufferBuilder),
    Int(Vec<i32>),
    Long(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    /// With the end of each.
    Bytes(Vec<u8>, Vec<i32>),
}

impl Column {
    fn new(field: &Arc<Field>) -> Option<Column> {
        let values = match field.data_type() {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int32 | DataType::Date32 => Values::Int(Vec::new()),
            DataType::Int64 | DataType::Timestamp(..) => Values::Long(Vec::new()),
            DataType::Float32 => Values::Float(Vec::new()),
            DataType::Float64 => Values::Double(Vec::new()),
            DataType::Utf8 | DataType::Binary => Values::Bytes(Vec::new(), Vec::new()),
            _ => return None,
        };
        Some(Column { values, present: NullBufferBuilder::new(0) })
    }

    /// Makes room; what an attempt before this one left is gone.
    fn begin(&mut self, rows: usize) {
        self.present = NullBufferBuilder::new(rows);
        match &mut self.values {
            Values::Boolean(values) => *values = BooleanBufferBuilder::new(rows),
            Values::Int(values) => *values = Vec::with_capacity(rows),
            Values::Long(values) => *values = Vec::with_capacity(rows),
            Values::Float(values) => *values = Vec::with_capacity(rows),
            Values::Double(values) => *values = Vec::with_capacity(rows),
            Values::Bytes(bytes, ends) => {
                bytes.clear();
                *ends = Vec::with_capacity(rows + 1);
                ends.push(0);
            }
        }
    }

    #[inline]
    fn push(&mut self, rest: &mut Rest<'_>) -> Option<()> {
        match &mut self.values {
            Values::Boolean(values) => values.append(rest.byte()? != 0),
            Values::Int(values) => values.push(rest.int()?),
            Values::Long(values) => values.push(rest.long()?),
            Values::Float(values) => values.push(f32::from_le_bytes(rest.array()?)),
            Values::Double(values) => values.push(f64::from_le_bytes(rest.array()?)),
            Values::Bytes(bytes, ends) => {
                bytes.extend_from_slice(rest.bytes()?);
                ends.push(i32::try_from(bytes.len()).ok()?);
            }
        }
        self.present.append_non_null();
        Some(())
    }

    fn push_null(&mut self) {
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int(values) => values.push(0),
            Values::Long(values) => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Double(values) => values.push(0.0),
            Values::Bytes(_, ends) => ends.push(ends.last().copied().unwrap_or(0)),
        }
        self.present.append_null();
    }

    fn finish(&mut self, field: &Field) -> Option<ArrayRef> {
        let nulls = self.present.finish();
        let array: ArrayRef = match &mut self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Int(values) => Arc::new(Int32Array::new(std::mem::take(values).into(), nulls)),
            Values::Long(values) => Arc::new(Int64Array::new(std::mem::take(values).into(), nulls)),
            Values::Float(values) => Arc::new(Float32Array::new(std::mem::take(values).into(), nulls)),
            Values::Double(values) => Arc::new(Float64Array::new(std::mem::take(values).into(), nulls)),
            Values::Bytes(bytes, ends) => {
                let ends = OffsetBuffer::new(ScalarBuffer::from(std::mem::take(ends)));
                // Its room is kept for the next batch.
                let bytes = Buffer::from_slice_ref(&bytes[..]);
                match field.data_type() {
                    DataType::Utf8 => Arc::new(StringArray::try_new(ends, bytes, nulls).ok()?),
                    _ => Arc::new(BinaryArray::try_new(ends, bytes, nulls).ok()?),
                }
            }
        };
        if array.null_count() > 0 && !field.is_nullable() {
            return None;
        }
        match array.data_type() == field.data_type() {
            true => Some(array),
            // The same numbers under another name.
            false => arrow::compute::cast(&array, field.data_type()).ok(),
        }
    }
}
