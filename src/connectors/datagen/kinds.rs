//! What a generator makes, after its rules were read: a tree of columns, each with a [`Kind`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::Field;

use super::decimal::DecimalRule;
use super::iteration::Iteration;
use super::pick::{Keys, Pick};
use super::regex::Regex;

/// A schema that can be generated.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The top record.
    pub root: Column,
    /// Counters, by the index that [`Kind`]s have.
    pub iterations: Vec<Iteration>,
    /// What was read from options files.
    pub contents: Vec<String>,
}

/// One column, or the inside of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub field: Field,
    pub kind: Kind,
}

/// How the values of a column are made.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Null,
    /// One of these values.
    Options(ArrayRef, Pick),
    Boolean(Truth),
    /// Int32 and its logical types.
    Int(Number<i32>),
    /// Int64 and its logical types.
    Long(Number<i64>),
    Float(Number<f32>),
    Double(Number<f64>),
    Decimal(DecimalRule),
    Text(Text),
    Bytes(Length),
    Fixed(usize),
    Enum(Arc<[String]>),
    Array(Length, Box<Column>),
    Map(Length, MapKeys, Box<Column>),
    Record(Vec<Column>),
    /// A union of null and one other.
    Nullable {
        null_first: bool,
        /// How often it is null; `None`: half of the time.
        odds: Option<f64>,
        inner: Box<Kind>,
    },
    /// An int or a long that is sometimes less than it should be, by up to `by`.
    Late {
        odds: f64,
        by: i64,
        inner: Box<Kind>,
    },
    /// The branch of a union of one: which it is is drawn all the same.
    Alone(Box<Kind>),
    /// Any other union.
    Union(Vec<Column>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Truth {
    Even,
    /// True this often.
    Odds(f64),
    Counter(usize),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Number<T> {
    Any,
    /// min ≤ x < max.
    Range(T, T),
    Counter(usize),
    /// A number that another generator counts.
    Key(Keys),
    /// The epoch's clock, in this many parts of a millisecond.
    Now(i64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    pub prefix: String,
    pub suffix: String,
    pub body: TextBody,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TextBody {
    /// ASCII characters, this many.
    Random(Length),
    Counter(usize),
    /// A number that another generator counts.
    Key(Keys),
    /// Of so many UTF-16 units, at least and at most, where it has such texts.
    Regex(Arc<Regex>, (usize, usize)),
}

/// How the keys of a map are made.
#[derive(Debug, Clone, PartialEq)]
pub enum MapKeys {
    /// One ASCII character.
    Character,
    Text(Text),
    Options(StringArray),
}

/// `min` + a draw below `spread`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    pub min: i32,
    pub spread: i32,
}

impl Length {
    pub const DEFAULT: Length = Length { min: 8, spread: 8 };

    fn max(self) -> u64 {
        self.min as u64 + self.spread as u64
    }
}

impl Column {
    /// A bound for the bytes of one value, for the size of batches.
    pub fn bytes_max(&self) -> u64 {
        self.kind.bytes_max()
    }
}

impl Kind {
    fn bytes_max(&self) -> u64 {
        let all = |columns: &[Column]| columns.iter().map(Column::bytes_max).fold(0, u64::saturating_add);
        match self {
            Kind::Options(values, _) => values.get_array_memory_size() as u64,
            Kind::Text(text) => text.bytes_max(),
            Kind::Bytes(length) => length.max(),
            Kind::Fixed(size) => *size as u64,
            Kind::Array(length, items) => length.max().saturating_mul(items.bytes_max().saturating_add(4)),
            Kind::Map(length, keys, values) => {
                let key = match keys {
                    MapKeys::Character => 1,
                    MapKeys::Text(text) => text.bytes_max(),
                    MapKeys::Options(options) => options.get_array_memory_size() as u64,
                };
                length.max().saturating_mul(values.bytes_max().saturating_add(16).saturating_add(key))
            }
            Kind::Record(columns) | Kind::Union(columns) => all(columns),
            Kind::Nullable { inner, .. } | Kind::Late { inner, .. } => inner.bytes_max(),
            Kind::Alone(inner) => inner.bytes_max(),
            Kind::Decimal(_) => 32,
            _ => 8,
        }
    }
}

impl Text {
    fn bytes_max(&self) -> u64 {
        /// Where a regex has no longest text; an unlikely long one only makes a batch larger.
        const UNBOUNDED: u64 = 4_096;
        let body = match &self.body {
            TextBody::Random(length) => length.max(),
            TextBody::Counter(_) | TextBody::Key(_) => 20,
            TextBody::Regex(regex, (min, _)) => regex.bytes_max().unwrap_or_else(|| UNBOUNDED.max(*min as u64 * 3)),
        };
        body + (self.prefix.len() + self.suffix.len()) as u64
    }
}
