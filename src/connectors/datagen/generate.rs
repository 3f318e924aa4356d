//! Values straight into Arrow columns, drawn in the order of the genuine generator.
//!
//! Rows are made one after another (the order of draws is part of the result), each value going to
//! the end of its column's buffer; nothing is allocated per record. A [`Builder`] mirrors the tree
//! of [`Column`]s; what changes from record to record is in [`Draw`].

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Date32Array, DictionaryArray,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, MapArray, NullArray,
    RecordBatch, StringArray, StructArray, Time32MillisecondArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, UInt32Array, UnionArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{filter, take};
use arrow::datatypes::{DataType, FieldRef, Fields, TimeUnit, UnionFields};

use super::iteration::{Iteration, to_double, to_float};
use super::random::Random;
use super::rules::{Column, Kind, Length, Number, Rules, Text, TextBody, Truth};
use crate::time::Millis;

/// What values are drawn from.
#[derive(Debug, Clone)]
pub struct Draw {
    pub random: Random,
    /// Next value of each counter.
    pub counters: Vec<i64>,
    /// For `now`.
    pub clock: Millis,
    iterations: Arc<[Iteration]>,
}

impl Draw {
    /// With all counters at their first values.
    pub fn new(rules: &Rules, seed: i64) -> Draw {
        let iterations: Arc<[Iteration]> = rules.iterations.as_slice().into();
        let counters = iterations.iter().map(Iteration::first).collect();
        Draw { random: Random::new(seed), counters, clock: 0, iterations }
    }

    fn count(&mut self, index: usize) -> i64 {
        let value = self.counters[index];
        self.counters[index] = self.iterations[index].after(value);
        value
    }

    fn scale(&self, index: usize) -> u32 {
        match self.iterations[index] {
            Iteration::Decimal { scale, .. } => scale,
            _ => 0,
        }
    }

    fn length(&mut self, length: Length) -> usize {
        (length.min + self.random.next_below(length.spread)) as usize
    }
}

/// Builds the rows of a top record.
#[derive(Debug)]
pub struct RowBuilder {
    root: Builder,
}

impl RowBuilder {
    pub fn new(rules: &Rules) -> Self {
        RowBuilder { root: Builder::new(&rules.root) }
    }

    /// Makes one record.
    pub fn push(&mut self, draw: &mut Draw) {
        self.root.push(draw);
    }

    /// The records made since the last call.
    pub fn finish(&mut self) -> RecordBatch {
        let rows = self.root.finish(None);
        RecordBatch::from(rows.as_any().downcast_ref::<StructArray>().expect("the top is a record"))
    }
}

/// One column while it is filled.
#[derive(Debug)]
enum Builder {
    Null(usize),
    Options { values: ArrayRef, picks: Vec<u32> },
    Boolean { rule: Truth, bits: BooleanBufferBuilder },
    Int { rule: Number<i32>, values: Vec<i32>, data_type: DataType },
    Long { rule: Number<i64>, values: Vec<i64>, data_type: DataType },
    Float { rule: Number<f32>, values: Vec<f32> },
    Double { rule: Number<f64>, values: Vec<f64> },
    Text { rule: Text, strings: Strings },
    Bytes { length: Length, strings: Strings },
    Fixed { size: usize, bytes: Vec<u8>, count: usize },
    Enum { symbols: ArrayRef, keys: Vec<i32> },
    Array { length: Length, field: FieldRef, offsets: Vec<i32>, items: Box<Builder>, count: i32 },
    Map { length: Length, field: FieldRef, offsets: Vec<i32>, keys: Vec<u8>, values: Box<Builder> },
    Record { fields: Fields, columns: Vec<Builder>, count: usize },
    Nullable { null_first: bool, valid: BooleanBufferBuilder, inner: Box<Builder> },
    Union { fields: UnionFields, ids: Vec<i8>, offsets: Vec<i32>, branches: Vec<(Builder, i32)> },
}

/// Texts or byte strings, one behind the other.
#[derive(Debug)]
struct Strings {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Strings {
    fn new() -> Self {
        Strings { bytes: Vec::new(), offsets: vec![0] }
    }

    fn end(&mut self) {
        self.offsets.push(self.bytes.len() as i32);
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        (OffsetBuffer::new(offsets.into()), Buffer::from_vec(std::mem::take(&mut self.bytes)))
    }
}

impl Builder {
    fn new(column: &Column) -> Builder {
        Builder::of(&column.kind, column.field.data_type())
    }

    fn of(kind: &Kind, data_type: &DataType) -> Builder {
        match (kind, data_type) {
            (Kind::Null, _) => Builder::Null(0),
            (Kind::Options(values), _) => Builder::Options { values: values.clone(), picks: Vec::new() },
            (Kind::Boolean(rule), _) => Builder::Boolean { rule: *rule, bits: BooleanBufferBuilder::new(0) },
            (Kind::Int(rule), _) => Builder::Int { rule: *rule, values: Vec::new(), data_type: data_type.clone() },
            (Kind::Long(rule), _) => Builder::Long { rule: *rule, values: Vec::new(), data_type: data_type.clone() },
            (Kind::Float(rule), _) => Builder::Float { rule: *rule, values: Vec::new() },
            (Kind::Double(rule), _) => Builder::Double { rule: *rule, values: Vec::new() },
            (Kind::Text(rule), _) => Builder::Text { rule: rule.clone(), strings: Strings::new() },
            (Kind::Bytes(length), _) => Builder::Bytes { length: *length, strings: Strings::new() },
            (Kind::Fixed(size), _) => Builder::Fixed { size: *size, bytes: Vec::new(), count: 0 },
            (Kind::Enum(symbols), _) => {
                let symbols = Arc::new(StringArray::from_iter_values(symbols.iter()));
                Builder::Enum { symbols, keys: Vec::new() }
            }
            (Kind::Array(length, items), DataType::List(field)) => Builder::Array {
                length: *length,
                field: field.clone(),
                offsets: vec![0],
                items: Box::new(Builder::new(items)),
                count: 0,
            },
            (Kind::Map(length, values), DataType::Map(field, _)) => Builder::Map {
                length: *length,
                field: field.clone(),
                offsets: vec![0],
                keys: Vec::new(),
                values: Box::new(Builder::new(values)),
            },
            (Kind::Record(columns), DataType::Struct(fields)) => {
                let columns = columns.iter().map(Builder::new).collect();
                Builder::Record { fields: fields.clone(), columns, count: 0 }
            }
            (Kind::Nullable { null_first, inner }, _) => Builder::Nullable {
                null_first: *null_first,
                valid: BooleanBufferBuilder::new(0),
                inner: Box::new(Builder::of(inner, data_type)),
            },
            (Kind::Union(branches), DataType::Union(fields, _)) => Builder::Union {
                fields: fields.clone(),
                ids: Vec::new(),
                offsets: Vec::new(),
                branches: branches.iter().map(|branch| (Builder::new(branch), 0)).collect(),
            },
            (kind, data_type) => unreachable!("rules and types come from one schema: {kind:?} as {data_type}"),
        }
    }

    /// Draws one value.
    fn push(&mut self, draw: &mut Draw) {
        match self {
            Builder::Null(count) => *count += 1,
            Builder::Options { values, picks } => picks.push(draw.random.next_below(values.len() as i32) as u32),
            Builder::Boolean { rule, bits } => bits.append(match *rule {
                Truth::Even => draw.random.next_boolean(),
                Truth::Odds(odds) => draw.random.next_double() < odds,
                Truth::Counter(index) => draw.count(index) != 0,
            }),
            Builder::Int { rule, values, .. } => values.push(match *rule {
                Number::Any => draw.random.next_int(),
                Number::Range(min, max) => {
                    let span = (i64::from(max) - i64::from(min)) as f64;
                    (i64::from(min) + (draw.random.next_double() * span) as i64) as i32
                }
                Number::Counter(index) => draw.count(index) as i32,
                Number::Now(_) => unreachable!("only a long can be a timestamp"),
            }),
            Builder::Long { rule, values, .. } => values.push(match *rule {
                Number::Any => draw.random.next_long(),
                Number::Range(min, max) => {
                    let span = (i128::from(max) - i128::from(min)) as f64;
                    (i128::from(min) + (draw.random.next_double() * span) as i128) as i64
                }
                Number::Counter(index) => draw.count(index),
                Number::Now(parts) => draw.clock.saturating_mul(parts),
            }),
            Builder::Float { rule, values } => values.push(match *rule {
                Number::Counter(index) => to_float(draw.count(index), draw.scale(index)),
                Number::Range(min, max) if (max - min).is_finite() => min + draw.random.next_float() * (max - min),
                Number::Range(min, max) => {
                    let part = draw.random.next_float();
                    min * (1.0 - part) + max * part
                }
                _ => draw.random.next_float(),
            }),
            Builder::Double { rule, values } => values.push(match *rule {
                Number::Counter(index) => to_double(draw.count(index), draw.scale(index)),
                Number::Range(min, max) if (max - min).is_finite() => min + draw.random.next_double() * (max - min),
                Number::Range(min, max) => {
                    let part = draw.random.next_double();
                    min * (1.0 - part) + max * part
                }
                _ => draw.random.next_double(),
            }),
            Builder::Text { rule, strings } => {
                strings.bytes.extend_from_slice(rule.prefix.as_bytes());
                match rule.body {
                    TextBody::Random(length) => {
                        let length = draw.length(length);
                        strings.bytes.extend((0..length).map(|_| draw.random.next_below(128) as u8));
                    }
                    TextBody::Counter(index) => put_decimal(draw.count(index) as i32, &mut strings.bytes),
                }
                strings.bytes.extend_from_slice(rule.suffix.as_bytes());
                strings.end();
            }
            Builder::Bytes { length, strings } => {
                let length = draw.length(*length);
                draw.random.next_bytes(length, &mut strings.bytes);
                strings.end();
            }
            Builder::Fixed { size, bytes, count } => {
                draw.random.next_bytes(*size, bytes);
                *count += 1;
            }
            Builder::Enum { symbols, keys } => keys.push(draw.random.next_below(symbols.len() as i32)),
            Builder::Array { length, offsets, items, count, .. } => {
                let length = draw.length(*length);
                (0..length).for_each(|_| items.push(draw));
                *count += length as i32;
                offsets.push(*count);
            }
            Builder::Map { length, offsets, keys, values, .. } => {
                for _ in 0..draw.length(*length) {
                    keys.push(draw.random.next_below(128) as u8);
                    values.push(draw);
                }
                offsets.push(keys.len() as i32);
            }
            Builder::Record { columns, count, .. } => {
                columns.iter_mut().for_each(|column| column.push(draw));
                *count += 1;
            }
            Builder::Nullable { null_first, valid, inner } => {
                let is_null = (draw.random.next_below(2) == 0) == *null_first;
                valid.append(!is_null);
                if is_null { inner.push_placeholder() } else { inner.push(draw) }
            }
            Builder::Union { ids, offsets, branches, .. } => {
                let branch = draw.random.next_below(branches.len() as i32);
                let (builder, count) = &mut branches[branch as usize];
                ids.push(branch as i8);
                offsets.push(*count);
                *count += 1;
                builder.push(draw);
            }
        }
    }

    /// A place under a null: no draw, any value.
    fn push_placeholder(&mut self) {
        match self {
            Builder::Null(count) => *count += 1,
            Builder::Options { picks, .. } => picks.push(0),
            Builder::Boolean { bits, .. } => bits.append(false),
            Builder::Int { values, .. } => values.push(0),
            Builder::Long { values, .. } => values.push(0),
            Builder::Float { values, .. } => values.push(0.0),
            Builder::Double { values, .. } => values.push(0.0),
            Builder::Text { strings, .. } | Builder::Bytes { strings, .. } => strings.end(),
            Builder::Fixed { size, bytes, count } => {
                bytes.resize(bytes.len() + *size, 0);
                *count += 1;
            }
            Builder::Enum { keys, .. } => keys.push(0),
            Builder::Array { offsets, count, .. } => offsets.push(*count),
            Builder::Map { offsets, keys, .. } => offsets.push(keys.len() as i32),
            Builder::Record { columns, count, .. } => {
                columns.iter_mut().for_each(Builder::push_placeholder);
                *count += 1;
            }
            Builder::Nullable { valid, inner, .. } => {
                valid.append(false);
                inner.push_placeholder();
            }
            Builder::Union { ids, offsets, branches, .. } => {
                let (builder, count) = &mut branches[0];
                ids.push(0);
                offsets.push(*count);
                *count += 1;
                builder.push_placeholder();
            }
        }
    }

    /// What was pushed, with these nulls; the builder is empty again.
    fn finish(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        use std::mem::take as out;
        match self {
            Builder::Null(count) => Arc::new(NullArray::new(out(count))),
            Builder::Options { values, picks } => {
                let picks = UInt32Array::new(out(picks).into(), nulls);
                take(values, &picks, None).expect("picks are below the number of options")
            }
            Builder::Boolean { bits, .. } => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Builder::Int { values, data_type, .. } => ints(out(values), nulls, data_type),
            Builder::Long { values, data_type, .. } => longs(out(values), nulls, data_type),
            Builder::Float { values, .. } => Arc::new(Float32Array::new(out(values).into(), nulls)),
            Builder::Double { values, .. } => Arc::new(Float64Array::new(out(values).into(), nulls)),
            Builder::Text { strings, .. } => {
                let (offsets, bytes) = strings.finish();
                Arc::new(StringArray::new(offsets, bytes, nulls))
            }
            Builder::Bytes { strings, .. } => {
                let (offsets, bytes) = strings.finish();
                Arc::new(BinaryArray::new(offsets, bytes, nulls))
            }
            Builder::Fixed { size, bytes, count } => {
                let array = FixedSizeBinaryArray::try_new_with_len(*size as i32, out(bytes).into(), nulls, out(count));
                Arc::new(array.expect("each value has the size of the type"))
            }
            Builder::Enum { symbols, keys } => {
                let keys = Int32Array::new(out(keys).into(), nulls);
                Arc::new(DictionaryArray::new(keys, symbols.clone()))
            }
            Builder::Array { field, offsets, items, count, .. } => {
                *count = 0;
                let offsets = OffsetBuffer::new(std::mem::replace(offsets, vec![0]).into());
                Arc::new(ListArray::new(field.clone(), offsets, items.finish(None), nulls))
            }
            Builder::Map { field, offsets, keys, values, .. } => {
                let offsets = std::mem::replace(offsets, vec![0]);
                map(field, offsets, out(keys), values.finish(None), nulls)
            }
            Builder::Record { fields, columns, count } => {
                let count = out(count);
                if fields.is_empty() {
                    return Arc::new(StructArray::new_empty_fields(count, nulls));
                }
                let columns = columns.iter_mut().map(|column| column.finish(None)).collect();
                Arc::new(StructArray::new(fields.clone(), columns, nulls))
            }
            Builder::Nullable { valid, inner, .. } => inner.finish(Some(NullBuffer::new(valid.finish()))),
            Builder::Union { fields, ids, offsets, branches } => {
                let children = branches.iter_mut().map(|(branch, count)| {
                    *count = 0;
                    branch.finish(None)
                });
                let children = children.collect();
                let (ids, offsets) = (ScalarBuffer::from(out(ids)), ScalarBuffer::from(out(offsets)));
                let array = UnionArray::try_new(fields.clone(), ids, Some(offsets), children);
                Arc::new(array.expect("ids and offsets were counted along with the children"))
            }
        }
    }
}

/// Where a key came twice, its last value stands.
fn map(
    field: &FieldRef,
    mut offsets: Vec<i32>,
    keys: Vec<u8>,
    values: ArrayRef,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let mut keep = vec![true; keys.len()];
    let mut kept = 0;
    for row in 1..offsets.len() {
        let (from, to) = (offsets[row - 1] as usize, offsets[row] as usize);
        let mut seen = 0u128;
        for index in (from..to).rev() {
            let bit = 1u128 << keys[index];
            keep[index] = seen & bit == 0;
            seen |= bit;
        }
        // The offset before is the old one until its own turn is over.
        offsets[row - 1] = kept;
        kept += seen.count_ones() as i32;
    }
    let last = offsets.len() - 1;
    offsets[last] = kept;
    let key_offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, keys.len()));
    let mut keys: ArrayRef = Arc::new(StringArray::new(key_offsets, Buffer::from_vec(keys), None));
    let mut values = values;
    if kept as usize != keep.len() {
        let keep = BooleanArray::new(BooleanBuffer::from(keep), None);
        keys = filter(&keys, &keep).expect("one bit per key");
        values = filter(&values, &keep).expect("one bit per value");
    }
    let DataType::Struct(entry) = field.data_type() else { unreachable!("entries of a map are a struct") };
    let entries = StructArray::new(entry.clone(), vec![keys, values], None);
    Arc::new(MapArray::new(field.clone(), OffsetBuffer::new(offsets.into()), entries, nulls, false))
}

fn put_decimal(number: i32, out: &mut Vec<u8>) {
    let mut digits = [0u8; 10];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// An array of Int32 or one of its logical types.
pub fn ints(values: Vec<i32>, nulls: Option<NullBuffer>, data_type: &DataType) -> ArrayRef {
    let values = ScalarBuffer::from(values);
    match data_type {
        DataType::Date32 => Arc::new(Date32Array::new(values, nulls)),
        DataType::Time32(_) => Arc::new(Time32MillisecondArray::new(values, nulls)),
        _ => Arc::new(Int32Array::new(values, nulls)),
    }
}

/// An array of Int64 or one of its logical types.
pub fn longs(values: Vec<i64>, nulls: Option<NullBuffer>, data_type: &DataType) -> ArrayRef {
    let values = ScalarBuffer::from(values);
    match data_type {
        DataType::Time64(_) => Arc::new(Time64MicrosecondArray::new(values, nulls)),
        DataType::Timestamp(TimeUnit::Millisecond, zone) => {
            Arc::new(TimestampMillisecondArray::new(values, nulls).with_timezone_opt(zone.clone()))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            Arc::new(TimestampMicrosecondArray::new(values, nulls).with_timezone_opt(zone.clone()))
        }
        DataType::Timestamp(_, zone) => {
            Arc::new(TimestampNanosecondArray::new(values, nulls).with_timezone_opt(zone.clone()))
        }
        _ => Arc::new(Int64Array::new(values, nulls)),
    }
}
