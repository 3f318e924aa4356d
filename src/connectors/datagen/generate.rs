//! Values straight into Arrow columns, drawn in the order of the genuine generator.
//!
//! Rows are made one after another (the order of draws is part of the result), each value going to
//! the end of its column's buffer; nothing is allocated per record. A [`Builder`] mirrors the tree
//! of [`Column`]s; what changes from record to record is in [`Draw`].

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array, Decimal256Array,
    DictionaryArray, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, NullArray,
    RecordBatch, StringArray, StructArray, Time32MillisecondArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, UInt32Array, UnionArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, FieldRef, Fields, TimeUnit, UnionFields, i256};

use super::decimal::DecimalRule;
use super::iteration::{Iteration, to_double, to_float};
use super::kinds::{Column, Kind, Length, Number, Rules, Text, TextBody, Truth};
use super::maps::{self, KeyBuilder};
use super::pick::Pick;
use super::random::Random;
use super::regex::Walk;
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
    walk: Walk,
}

impl Draw {
    /// With all counters at their first values.
    pub fn new(iterations: &[Iteration], seed: i64) -> Draw {
        let counters = iterations.iter().map(Iteration::first).collect();
        Draw { random: Random::new(seed), counters, clock: 0, iterations: iterations.into(), walk: Walk::default() }
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

    pub fn text(&mut self, rule: &Text, out: &mut Vec<u8>) {
        out.extend_from_slice(rule.prefix.as_bytes());
        match &rule.body {
            TextBody::Random(length) => {
                let length = self.length(*length);
                out.extend((0..length).map(|_| self.random.next_below(128) as u8));
            }
            TextBody::Counter(index) => put_decimal(self.count(*index) as i32, out),
            TextBody::Key(keys) => put_decimal(keys.draw(&mut self.random) as i32, out),
            TextBody::Regex(regex, lengths) => regex.draw(&mut self.random, *lengths, &mut self.walk, out),
        }
        out.extend_from_slice(rule.suffix.as_bytes());
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
    Options { values: ArrayRef, pick: Pick, picks: Vec<u32> },
    Boolean { rule: Truth, bits: BooleanBufferBuilder },
    Int { rule: Number<i32>, values: Vec<i32>, data_type: DataType },
    Long { rule: Number<i64>, values: Vec<i64>, data_type: DataType },
    Float { rule: Number<f32>, values: Vec<f32> },
    Double { rule: Number<f64>, values: Vec<f64> },
    Decimal { rule: DecimalRule, values: Vec<i128>, data_type: DataType },
    LargeDecimal { rule: DecimalRule, values: Vec<i256>, data_type: DataType },
    Text { rule: Text, strings: Strings },
    Bytes { length: Length, strings: Strings },
    Fixed { size: usize, bytes: Vec<u8>, count: usize },
    Enum { symbols: ArrayRef, keys: Vec<i32> },
    Array { length: Length, field: FieldRef, offsets: Vec<i32>, items: Box<Builder>, count: i32 },
    Map { length: Length, field: FieldRef, offsets: Vec<i32>, keys: KeyBuilder, values: Box<Builder> },
    Record { fields: Fields, columns: Vec<Builder>, count: usize },
    Nullable { null_first: bool, odds: Option<f64>, valid: BooleanBufferBuilder, inner: Box<Builder> },
    Late { odds: f64, by: i64, inner: Box<Builder> },
    Alone(Box<Builder>),
    Union { fields: UnionFields, ids: Vec<i8>, offsets: Vec<i32>, branches: Vec<(Builder, i32)> },
}

/// Texts or byte strings, one behind the other.
#[derive(Debug)]
pub struct Strings {
    pub bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Strings {
    pub fn new() -> Self {
        Strings { bytes: Vec::new(), offsets: vec![0] }
    }

    pub fn end(&mut self) {
        self.offsets.push(self.bytes.len() as i32);
    }

    pub fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer) {
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
            (Kind::Options(values, pick), _) => {
                Builder::Options { values: values.clone(), pick: pick.clone(), picks: Vec::new() }
            }
            (Kind::Boolean(rule), _) => Builder::Boolean { rule: *rule, bits: BooleanBufferBuilder::new(0) },
            (Kind::Int(rule), _) => {
                Builder::Int { rule: rule.clone(), values: Vec::new(), data_type: data_type.clone() }
            }
            (Kind::Long(rule), _) => {
                Builder::Long { rule: rule.clone(), values: Vec::new(), data_type: data_type.clone() }
            }
            (Kind::Float(rule), _) => Builder::Float { rule: rule.clone(), values: Vec::new() },
            (Kind::Double(rule), _) => Builder::Double { rule: rule.clone(), values: Vec::new() },
            (Kind::Decimal(rule), DataType::Decimal256(..)) => {
                Builder::LargeDecimal { rule: *rule, values: Vec::new(), data_type: data_type.clone() }
            }
            (Kind::Decimal(rule), _) => {
                Builder::Decimal { rule: *rule, values: Vec::new(), data_type: data_type.clone() }
            }
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
            (Kind::Map(length, keys, values), DataType::Map(field, _)) => Builder::Map {
                length: *length,
                field: field.clone(),
                offsets: vec![0],
                keys: KeyBuilder::new(keys),
                values: Box::new(Builder::new(values)),
            },
            (Kind::Record(columns), DataType::Struct(fields)) => {
                let columns = columns.iter().map(Builder::new).collect();
                Builder::Record { fields: fields.clone(), columns, count: 0 }
            }
            (Kind::Late { odds, by, inner }, _) => {
                Builder::Late { odds: *odds, by: *by, inner: Box::new(Builder::of(inner, data_type)) }
            }
            (Kind::Nullable { null_first, odds, inner }, _) => Builder::Nullable {
                null_first: *null_first,
                odds: *odds,
                valid: BooleanBufferBuilder::new(0),
                inner: Box::new(Builder::of(inner, data_type)),
            },
            (Kind::Alone(inner), _) => Builder::Alone(Box::new(Builder::of(inner, data_type))),
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
            Builder::Options { values, pick, picks } => {
                picks.push(pick.draw(&mut draw.random, values.len() as u64) as u32);
            }
            Builder::Boolean { rule, bits } => bits.append(match *rule {
                Truth::Even => draw.random.next_boolean(),
                Truth::Odds(odds) => draw.random.next_double() < odds,
                Truth::Counter(index) => draw.count(index) != 0,
            }),
            Builder::Int { rule, values, .. } => values.push(match rule {
                Number::Any => draw.random.next_int(),
                &mut Number::Range(min, max) => {
                    let span = (i64::from(max) - i64::from(min)) as f64;
                    (i64::from(min) + (draw.random.next_double() * span) as i64) as i32
                }
                Number::Counter(index) => draw.count(*index) as i32,
                Number::Key(keys) => keys.draw(&mut draw.random) as i32,
                Number::Now(_) => unreachable!("only a long can be a timestamp"),
            }),
            Builder::Long { rule, values, .. } => values.push(match rule {
                Number::Any => draw.random.next_long(),
                &mut Number::Range(min, max) => {
                    let span = (i128::from(max) - i128::from(min)) as f64;
                    (i128::from(min) + (draw.random.next_double() * span) as i128) as i64
                }
                Number::Counter(index) => draw.count(*index),
                Number::Key(keys) => keys.draw(&mut draw.random),
                Number::Now(parts) => draw.clock.saturating_mul(*parts),
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
            Builder::Decimal { rule, values, .. } => values.push(rule.draw_small(&mut draw.random)),
            Builder::LargeDecimal { rule, values, .. } => values.push(rule.draw_large(&mut draw.random)),
            Builder::Text { rule, strings } => {
                draw.text(rule, &mut strings.bytes);
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
                    keys.push(draw);
                    values.push(draw);
                }
                offsets.push(keys.len() as i32);
            }
            Builder::Record { columns, count, .. } => {
                columns.iter_mut().for_each(|column| column.push(draw));
                *count += 1;
            }
            Builder::Late { odds, by, inner } => {
                inner.push(draw);
                if draw.random.next_double() < *odds {
                    let by = 1 + (draw.random.next_double() * *by as f64) as i64;
                    match &mut **inner {
                        Builder::Int { values, .. } => {
                            values.last_mut().map(|last| *last = last.wrapping_sub(by as i32))
                        }
                        Builder::Long { values, .. } => values.last_mut().map(|last| *last = last.wrapping_sub(by)),
                        other => unreachable!("only ints and longs are late: {other:?}"),
                    };
                }
            }
            Builder::Nullable { null_first, odds, valid, inner } => {
                let is_null = match odds {
                    Some(odds) => draw.random.next_double() < *odds,
                    None => (draw.random.next_below(2) == 0) == *null_first,
                };
                valid.append(!is_null);
                if is_null { inner.push_placeholder() } else { inner.push(draw) }
            }
            Builder::Alone(inner) => {
                draw.random.next_below(1);
                inner.push(draw);
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
            Builder::Decimal { values, .. } => values.push(0),
            Builder::LargeDecimal { values, .. } => values.push(i256::ZERO),
            Builder::Late { inner, .. } => inner.push_placeholder(),
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
            Builder::Alone(inner) => inner.push_placeholder(),
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
            Builder::Options { values, picks, .. } => {
                let picks = UInt32Array::new(out(picks).into(), nulls);
                take(values, &picks, None).expect("picks are below the number of options")
            }
            Builder::Boolean { bits, .. } => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Builder::Int { values, data_type, .. } => ints(out(values), nulls, data_type),
            Builder::Long { values, data_type, .. } => longs(out(values), nulls, data_type),
            Builder::Float { values, .. } => Arc::new(Float32Array::new(out(values).into(), nulls)),
            Builder::Double { values, .. } => Arc::new(Float64Array::new(out(values).into(), nulls)),
            Builder::Decimal { values, data_type, .. } => {
                let values = Decimal128Array::new(out(values).into(), nulls);
                Arc::new(values.with_data_type(data_type.clone()))
            }
            Builder::LargeDecimal { values, data_type, .. } => {
                let values = Decimal256Array::new(out(values).into(), nulls);
                Arc::new(values.with_data_type(data_type.clone()))
            }
            Builder::Late { inner, .. } => inner.finish(nulls),
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
                maps::array(field, offsets, keys.finish(), &values.finish(None), nulls)
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
            Builder::Alone(inner) => inner.finish(nulls),
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
