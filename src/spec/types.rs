//! The type words of the language, which are Avro's: `long`, `string?`, `[double]`, `{map: long}`.

use super::{Entry, Node, Spanned};
use crate::report::Place;

/// The type of a declared column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnType {
    pub kind: Type,
    /// `?` behind the type, or `optional: true`.
    pub nullable: bool,
    pub doc: Option<String>,
    /// A value for records that lack the field.
    pub default: Option<Node>,
    /// The field's name in the record, where it is not the column's.
    pub field: Option<Spanned<String>>,
    /// All other keys of the long form, for datagen; empty in `columns:` of sources, sinks and topics.
    pub rules: Vec<Entry>,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: i8,
    },
    String,
    Bytes,
    Date,
    /// Milliseconds of a day.
    Time,
    /// `None`: RFC 3339 in JSON and CSV; else a number of this unit.
    Timestamp(Option<super::TimeUnit>),
    Uuid,
    /// Any JSON value, as text.
    Json,
    List(Box<ColumnType>),
    /// Keys are strings.
    Map(Box<ColumnType>),
    Struct(Vec<(Spanned<String>, ColumnType)>),
    Enum(Vec<String>),
    /// Bytes of this length.
    Fixed(i32),
}
