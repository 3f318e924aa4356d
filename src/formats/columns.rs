//! Growing columns for the text formats: values come in one by one, a row that turns out bad is cut off.
//!
//! A column never holds a value that its type does not allow, so a finished column needs no second look.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Decimal128Array, Decimal256Array, DictionaryArray,
    FixedSizeBinaryArray, ListArray, MapArray, PrimitiveArray, StringArray, StructArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit, i256,
};
use arrow::error::ArrowError;

use super::{fields, text};
use crate::report::Failure;

/// A column that is being filled.
#[derive(Debug)]
pub(super) struct Column {
    field: FieldRef,
    /// What text formats call it.
    name: String,
    /// The same between quotes, if it has nothing to escape.
    quoted: Option<String>,
    /// Present for nullable columns.
    validity: Option<BooleanBufferBuilder>,
    pub(super) values: Values,
    /// JSON text of the value for records that lack it.
    pub(super) default: Option<String>,
}

#[derive(Debug)]
pub(super) enum Values {
    Boolean(BooleanBufferBuilder),
    Int(Vec<i32>),
    Long(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Date(Vec<i32>),
    Time(TimeUnit, Vec<i64>),
    Timestamp(Timestamp, Vec<i64>),
    Decimal128 {
        precision: u8,
        scale: i8,
        values: Vec<i128>,
    },
    Decimal256 {
        precision: u8,
        scale: i8,
        values: Vec<i256>,
    },
    String(Bytes),
    /// The text of any JSON value.
    Json(Bytes),
    Binary(Bytes),
    Fixed(usize, Vec<u8>),
    Uuid(Vec<u8>),
    Enum(Vec<String>, Vec<i32>),
    List(Vec<i32>, Box<Column>),
    Map(Vec<i32>, Bytes, Box<Column>),
    Struct(Vec<Column>, usize),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Timestamp {
    pub(super) unit: TimeUnit,
    pub(super) utc: bool,
    /// Written as a number of this unit, not as text.
    pub(super) number: Option<TimeUnit>,
}

/// Values of different lengths, one behind the other.
#[derive(Debug)]
pub(super) struct Bytes {
    ends: Vec<i32>,
    bytes: Vec<u8>,
}

impl Default for Bytes {
    fn default() -> Self {
        Bytes { ends: vec![0], bytes: Vec::new() }
    }
}

impl Bytes {
    pub(super) fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.close();
    }

    fn close(&mut self) {
        self.ends.push(i32::try_from(self.bytes.len()).expect("one poll's values stay far below 2 GiB"));
    }

    fn len(&self) -> usize {
        self.ends.len() - 1
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len + 1);
        self.bytes.truncate(self.ends[len] as usize);
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, arrow::buffer::Buffer) {
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        (OffsetBuffer::new(ends.into()), std::mem::take(&mut self.bytes).into())
    }
}

/// Why a text is not a value of a column: "`x` is not a date"; without the column's name.
pub(super) type Misfit = String;

impl Column {
    /// # Errors
    /// [`Failure`] (user) `format.type` for a type that the text formats do not know.
    pub(super) fn new(field: &FieldRef) -> Result<Self, Failure> {
        let values = match field.data_type() {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int32 => Values::Int(Vec::new()),
            DataType::Int64 => Values::Long(Vec::new()),
            DataType::Float32 => Values::Float(Vec::new()),
            DataType::Float64 => Values::Double(Vec::new()),
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Time32(unit) | DataType::Time64(unit) => Values::Time(*unit, Vec::new()),
            DataType::Timestamp(unit, zone) => {
                let timestamp = Timestamp { unit: *unit, utc: zone.is_some(), number: fields::unit(field) };
                Values::Timestamp(timestamp, Vec::new())
            }
            DataType::Decimal128(precision, scale) => {
                Values::Decimal128 { precision: *precision, scale: *scale, values: Vec::new() }
            }
            DataType::Decimal256(precision, scale) => {
                Values::Decimal256 { precision: *precision, scale: *scale, values: Vec::new() }
            }
            DataType::Utf8 if fields::is_json(field) => Values::Json(Bytes::default()),
            DataType::Utf8 => Values::String(Bytes::default()),
            DataType::Binary => Values::Binary(Bytes::default()),
            DataType::FixedSizeBinary(16) if fields::is_uuid(field) => Values::Uuid(Vec::new()),
            DataType::FixedSizeBinary(size) => Values::Fixed(*size as usize, Vec::new()),
            DataType::Dictionary(key, value) if **key == DataType::Int32 && **value == DataType::Utf8 => {
                let symbols = fields::symbols(field).ok_or_else(|| unknown(field))?;
                Values::Enum(symbols, Vec::new())
            }
            DataType::List(item) => Values::List(vec![0], Box::new(Column::new(item)?)),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(entry) if entry.len() == 2 && entry[0].data_type() == &DataType::Utf8 => {
                    Values::Map(vec![0], Bytes::default(), Box::new(Column::new(&entry[1])?))
                }
                _ => return Err(unknown(field)),
            },
            DataType::Struct(columns) => Values::Struct(columns.iter().map(Column::new).collect::<Result<_, _>>()?, 0),
            _ => return Err(unknown(field)),
        };
        let name = fields::name(field);
        let needs_escape = |c: char| matches!(c, '"' | '\\') || c < ' ';
        Ok(Column {
            validity: field.is_nullable().then(|| BooleanBufferBuilder::new(0)),
            default: field.metadata().get(fields::DEFAULT).cloned(),
            name: name.to_owned(),
            quoted: (!name.contains(needs_escape)).then(|| format!("\"{name}\"")),
            field: field.clone(),
            values,
        })
    }

    /// The name under which text formats know it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The name between quotes, as its key stands in most JSON; `None` if it needs escapes.
    pub(super) fn quoted(&self) -> Option<&str> {
        self.quoted.as_deref()
    }

    pub(super) fn is_nullable(&self) -> bool {
        self.validity.is_some()
    }

    /// What the type is called in the language.
    pub(super) fn word(&self) -> String {
        match &self.values {
            Values::Boolean(_) => "boolean".into(),
            Values::Int(_) => "int".into(),
            Values::Long(_) => "long".into(),
            Values::Float(_) => "float".into(),
            Values::Double(_) => "double".into(),
            Values::Date(_) => "date".into(),
            Values::Time(..) => "time".into(),
            Values::Timestamp(Timestamp { number: None, .. }, _) => "timestamp".into(),
            Values::Timestamp(Timestamp { number: Some(unit), .. }, _) => format!("timestamp({})", unit_word(*unit)),
            Values::Decimal128 { precision, scale, .. } | Values::Decimal256 { precision, scale, .. } => {
                format!("decimal({precision},{scale})")
            }
            Values::String(_) => "string".into(),
            Values::Json(_) => "json".into(),
            Values::Binary(_) => "bytes".into(),
            Values::Fixed(size, _) => format!("fixed({size})"),
            Values::Uuid(_) => "uuid".into(),
            Values::Enum(symbols, _) => format!("enum [{}]", symbols.join(", ")),
            Values::List(..) => "a list".into(),
            Values::Map(..) => "a map".into(),
            Values::Struct(..) => "a struct".into(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Boolean(values) => values.len(),
            Values::Int(values) | Values::Date(values) | Values::Enum(_, values) => values.len(),
            Values::Long(values) | Values::Time(_, values) | Values::Timestamp(_, values) => values.len(),
            Values::Float(values) => values.len(),
            Values::Double(values) => values.len(),
            Values::Decimal128 { values, .. } => values.len(),
            Values::Decimal256 { values, .. } => values.len(),
            Values::String(values) | Values::Json(values) | Values::Binary(values) => values.len(),
            Values::Fixed(0, _) => self.validity.as_ref().map_or(0, BooleanBufferBuilder::len),
            Values::Fixed(size, values) => values.len() / size,
            Values::Uuid(values) => values.len() / 16,
            Values::List(ends, _) | Values::Map(ends, _, _) => ends.len() - 1,
            Values::Struct(_, len) => *len,
        }
    }

    /// Cuts off everything behind the first `len` values, also what was only begun.
    pub(super) fn truncate(&mut self, len: usize) {
        if let Some(validity) = &mut self.validity {
            validity.truncate(len.min(validity.len()));
        }
        match &mut self.values {
            Values::Boolean(values) => values.truncate(len),
            Values::Int(values) | Values::Date(values) | Values::Enum(_, values) => values.truncate(len),
            Values::Long(values) | Values::Time(_, values) | Values::Timestamp(_, values) => values.truncate(len),
            Values::Float(values) => values.truncate(len),
            Values::Double(values) => values.truncate(len),
            Values::Decimal128 { values, .. } => values.truncate(len),
            Values::Decimal256 { values, .. } => values.truncate(len),
            Values::String(values) | Values::Json(values) | Values::Binary(values) => values.truncate(len),
            Values::Fixed(size, values) => values.truncate(len * *size),
            Values::Uuid(values) => values.truncate(len * 16),
            Values::List(ends, items) => {
                ends.truncate(len + 1);
                items.truncate(ends[len] as usize);
            }
            Values::Map(ends, keys, values) => {
                ends.truncate(len + 1);
                keys.truncate(ends[len] as usize);
                values.truncate(ends[len] as usize);
            }
            Values::Struct(columns, rows) => {
                *rows = len;
                columns.iter_mut().for_each(|column| column.truncate(len));
            }
        }
    }

    /// Says that the value just pushed is one.
    pub(super) fn valid(&mut self) {
        if let Some(validity) = &mut self.validity {
            validity.append(true);
        }
    }

    /// A null, or under a null parent whatever stands where nobody looks.
    pub(super) fn push_null(&mut self) {
        if let Some(validity) = &mut self.validity {
            validity.append(false);
        }
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int(values) | Values::Date(values) | Values::Enum(_, values) => values.push(0),
            Values::Long(values) | Values::Time(_, values) | Values::Timestamp(_, values) => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Double(values) => values.push(0.0),
            Values::Decimal128 { values, .. } => values.push(0),
            Values::Decimal256 { values, .. } => values.push(i256::ZERO),
            Values::String(values) | Values::Json(values) | Values::Binary(values) => values.push(b""),
            Values::Fixed(size, values) => values.resize(values.len() + *size, 0),
            Values::Uuid(values) => values.extend_from_slice(&[0; 16]),
            Values::List(ends, _) | Values::Map(ends, _, _) => ends.push(ends[ends.len() - 1]),
            Values::Struct(columns, len) => {
                columns.iter_mut().for_each(Column::push_null);
                *len += 1;
            }
        }
    }

    /// Appends a value written as a text.
    pub(super) fn push_text(&mut self, value: &str) -> Result<(), Misfit> {
        let misfit = |word: &str| format!("`{}` is not {word}", shortened(value));
        match &mut self.values {
            Values::String(values) => values.push(value.as_bytes()),
            Values::Binary(values) => {
                if !text::parse_base64(value, &mut values.bytes) {
                    return Err(misfit("base64"));
                }
                values.close();
            }
            Values::Fixed(size, values) => {
                let before = values.len();
                if !text::parse_base64(value, values) || values.len() != before + *size {
                    let size = *size;
                    return Err(misfit(&format!("base64 of {size} bytes")));
                }
            }
            Values::Uuid(values) => {
                values.extend_from_slice(&text::parse_uuid(value).ok_or_else(|| misfit("a uuid"))?);
            }
            Values::Enum(symbols, keys) => {
                let key = symbols.iter().position(|symbol| symbol == value);
                keys.push(key.ok_or_else(|| misfit(&format!("one of {}", symbols.join(", "))))? as i32);
            }
            Values::Date(values) => {
                values.push(text::parse_date(value).ok_or_else(|| misfit("a date like 2024-02-29"))?);
            }
            Values::Time(unit, values) => {
                values.push(text::parse_time(value, *unit).ok_or_else(|| misfit("a time like 13:05:00"))?);
            }
            Values::Timestamp(Timestamp { unit, utc, number: None }, values) => {
                let example = if *utc { "2024-02-29T13:05:00Z" } else { "2024-02-29T13:05:00" };
                let parsed = text::parse_timestamp(value, *unit, *utc);
                values.push(parsed.ok_or_else(|| misfit(&format!("a timestamp like {example}")))?);
            }
            // Many producers write decimals as text, because a JSON number is a double to them.
            Values::Decimal128 { .. } | Values::Decimal256 { .. } => return self.push_number(value),
            _ => return Err(format!("it is the string `{}`, not {}", shortened(value), self.word())),
        }
        self.valid();
        Ok(())
    }

    /// Appends a value written as a number.
    pub(super) fn push_number(&mut self, value: &str) -> Result<(), Misfit> {
        let fit = match &mut self.values {
            Values::Int(values) => integer(value).and_then(|value| i32::try_from(value).ok()).map(|v| values.push(v)),
            Values::Long(values) => integer(value).map(|value| values.push(value)),
            Values::Float(values) => value.parse().ok().filter(|v: &f32| v.is_finite()).map(|v| values.push(v)),
            Values::Double(values) => value.parse().ok().filter(|v: &f64| v.is_finite()).map(|v| values.push(v)),
            Values::Timestamp(Timestamp { unit, number: Some(number), .. }, values) => {
                timestamp(value, *number, *unit).map(|value| values.push(value))
            }
            Values::Decimal128 { precision, scale, values } => {
                decimal::<i128>(value, *precision, *scale).map(|value| values.push(value))
            }
            Values::Decimal256 { precision, scale, values } => {
                decimal_256(value, *precision, *scale).map(|value| values.push(value))
            }
            _ => return Err(format!("it is the number {}, not {}", shortened(value), self.word())),
        };
        if fit.is_none() {
            return Err(format!("{} is not {}", shortened(value), self.word()));
        }
        self.valid();
        Ok(())
    }

    pub(super) fn push_boolean(&mut self, value: bool) -> Result<(), Misfit> {
        let Values::Boolean(values) = &mut self.values else {
            return Err(format!("it is {value}, not {}", self.word()));
        };
        values.append(value);
        self.valid();
        Ok(())
    }

    /// The array of everything that was pushed; empty afterwards.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let len = self.len();
        let nulls = self.validity.as_mut().map(|validity| NullBuffer::new(validity.finish()));
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let data_type = self.field.data_type();
        Ok(match &mut self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Int(values) => primitive::<Int32Type>(values, nulls),
            Values::Long(values) => primitive::<Int64Type>(values, nulls),
            Values::Float(values) => primitive::<Float32Type>(values, nulls),
            Values::Double(values) => primitive::<Float64Type>(values, nulls),
            Values::Date(values) => cast(&primitive::<Int32Type>(values, nulls), data_type)?,
            Values::Time(TimeUnit::Second | TimeUnit::Millisecond, values) => {
                let array = cast(&primitive::<Int64Type>(values, nulls), &DataType::Int32)?;
                cast(&array, data_type)?
            }
            Values::Time(_, values) | Values::Timestamp(_, values) => {
                cast(&primitive::<Int64Type>(values, nulls), data_type)?
            }
            Values::Decimal128 { precision, scale, values } => {
                let array = Decimal128Array::new(std::mem::take(values).into(), nulls);
                Arc::new(array.with_precision_and_scale(*precision, *scale)?)
            }
            Values::Decimal256 { precision, scale, values } => {
                let array = Decimal256Array::new(std::mem::take(values).into(), nulls);
                Arc::new(array.with_precision_and_scale(*precision, *scale)?)
            }
            Values::String(values) | Values::Json(values) => {
                let (offsets, bytes) = values.take();
                Arc::new(StringArray::try_new(offsets, bytes, nulls)?)
            }
            Values::Binary(values) => {
                let (offsets, bytes) = values.take();
                Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?)
            }
            Values::Fixed(size, values) => fixed(*size, values, nulls, len)?,
            Values::Uuid(values) => fixed(16, values, nulls, len)?,
            Values::Enum(symbols, keys) => {
                let keys = PrimitiveArray::<Int32Type>::new(std::mem::take(keys).into(), nulls);
                let symbols = StringArray::from_iter_values(symbols.iter());
                Arc::new(DictionaryArray::try_new(keys, Arc::new(symbols))?)
            }
            Values::List(ends, items) => {
                let DataType::List(item) = data_type else { return Err(out_of_step(data_type)) };
                let ends = OffsetBuffer::new(std::mem::replace(ends, vec![0]).into());
                Arc::new(ListArray::try_new(item.clone(), ends, items.finish()?, nulls)?)
            }
            Values::Map(ends, keys, values) => {
                let DataType::Map(entries, sorted) = data_type else { return Err(out_of_step(data_type)) };
                let DataType::Struct(entry) = entries.data_type() else { return Err(out_of_step(data_type)) };
                let ends = OffsetBuffer::new(std::mem::replace(ends, vec![0]).into());
                let (offsets, bytes) = keys.take();
                let keys: ArrayRef = Arc::new(StringArray::try_new(offsets, bytes, None)?);
                let entry = StructArray::try_new(entry.clone(), vec![keys, values.finish()?], None)?;
                Arc::new(MapArray::try_new(entries.clone(), ends, entry, nulls, *sorted)?)
            }
            Values::Struct(columns, rows) => {
                let DataType::Struct(inner) = data_type else { return Err(out_of_step(data_type)) };
                let arrays = columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>, _>>()?;
                *rows = 0;
                Arc::new(StructArray::try_new_with_length(inner.clone(), arrays, nulls, len)?)
            }
        })
    }
}

fn unknown(field: &Field) -> Failure {
    let message = format!("`{}` is {}, which has no form as text", field.name(), field.data_type());
    Failure::user("format.type", message).hint("cast it to another type")
}

fn out_of_step(data_type: &DataType) -> ArrowError {
    ArrowError::SchemaError(format!("a column of {data_type} was filled as another type"))
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(std::mem::take(values)), nulls))
}

fn fixed(size: usize, values: &mut Vec<u8>, nulls: Option<NullBuffer>, len: usize) -> Result<ArrayRef, ArrowError> {
    let nulls = nulls.or_else(|| (size == 0).then(|| NullBuffer::new(BooleanBuffer::new_set(len))));
    Ok(Arc::new(FixedSizeBinaryArray::try_new(size as i32, std::mem::take(values).into(), nulls)?))
}

fn unit_word(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// A whole number, also as `1.0` or `1e3`, but never one with a fraction.
fn integer(value: &str) -> Option<i64> {
    match value.parse() {
        Ok(value) => Some(value),
        Err(_) => text::scaled(value, 0, false, &mut String::new())?.parse().ok(),
    }
}

/// A number of `number`s as a count of `unit`s; finer digits are cut off, towards the past.
fn timestamp(value: &str, number: TimeUnit, unit: TimeUnit) -> Option<i64> {
    if number == unit
        && let Ok(value) = value.parse()
    {
        return Some(value);
    }
    let scale = text::decimals(unit) - text::decimals(number);
    plain_timestamp(value, scale).or_else(|| any_timestamp(value, scale))
}

fn any_timestamp(value: &str, scale: i8) -> Option<i64> {
    let mut digits = String::new();
    let cut: i64 = text::scaled(value, scale, true, &mut digits)?.parse().ok()?;
    let inexact = value.starts_with('-') && text::scaled(value, scale, false, &mut digits).is_none();
    cut.checked_sub(i64::from(inexact))
}

/// The commonest form of a time, `1700000000.123`, in one pass; `None`: it is another, or none.
fn plain_timestamp(value: &str, scale: i8) -> Option<i64> {
    /// So many digits fit whatever they are.
    const DIGITS_MAX: usize = 18;
    if value.len() > DIGITS_MAX {
        return None;
    }
    let mut count = 0i64;
    let mut missing = u32::try_from(scale).ok()?;
    let (mut has_digits, mut in_fraction) = (false, false);
    for byte in value.bytes() {
        match byte {
            b'0'..=b'9' => {
                has_digits = true;
                if !in_fraction || missing > 0 {
                    count = count * 10 + i64::from(byte - b'0');
                    missing -= u32::from(in_fraction);
                }
            }
            b'.' if !in_fraction => in_fraction = true,
            _ => return None,
        }
    }
    if has_digits { count.checked_mul(10i64.checked_pow(missing)?) } else { None }
}

fn decimal<T: std::str::FromStr>(value: &str, precision: u8, scale: i8) -> Option<T> {
    let mut digits = String::new();
    let digits = text::scaled(value, scale, false, &mut digits)?;
    (digits.trim_start_matches('-').len() <= usize::from(precision)).then(|| digits.parse().ok())?
}

fn decimal_256(value: &str, precision: u8, scale: i8) -> Option<i256> {
    decimal::<i256>(value, precision, scale)
}

/// A value for a message: records may be large.
pub(super) fn shortened(value: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    match value.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_one_pass_are_those_of_the_general_way() {
        let plain =
            ["0", "7", "1700000000.123", "1700000000.1239", "1700000000", "0.0004", "1.5", "12.", ".5", "00.10"];
        for value in plain {
            assert_eq!(plain_timestamp(value, 3), any_timestamp(value, 3), "{value}");
            assert_eq!(plain_timestamp(value, 0), any_timestamp(value, 0), "{value}");
            assert!(plain_timestamp(value, 3).is_some(), "{value}");
        }
        for value in ["", ".", "-1.5", "1e3", "1.2.3", "+1", "1_0", "999999999999999999", "1700000000.123456789"] {
            assert_eq!(plain_timestamp(value, 9), None, "{value} is left to the general way");
        }
    }
}
