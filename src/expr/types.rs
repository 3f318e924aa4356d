//! Arrow types and the language's words for them.
//!
//! Expressions give only the types that the language has a word for ([`canonical`]): what DataFusion
//! makes beside them (views, unsigned and short integers, nanoseconds, zoneless timestamps) is cast once.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

use crate::data::fields;

/// Metadata of a field that holds JSON text.
pub(super) fn json_metadata() -> std::collections::HashMap<String, String> {
    [(fields::TYPE.to_owned(), fields::JSON.to_owned())].into()
}

/// What has a word in the language: a field (its metadata tell `enum`, `json` and `uuid`), or a bare type.
pub trait TypeWord {
    fn type_word(&self) -> String;
}

/// The language's word for a type: `int`, `timestamp`, `[string]`, `{map: long}`; nullable fields end in `?`.
pub fn type_word<T: TypeWord + ?Sized>(of: &T) -> String {
    of.type_word()
}

impl TypeWord for Field {
    fn type_word(&self) -> String {
        let word = if fields::is_json(self) {
            "json".into()
        } else if fields::is_uuid(self) {
            "uuid".into()
        } else {
            enum_word(self).unwrap_or_else(|| self.data_type().type_word())
        };
        if self.is_nullable() && !self.data_type().is_null() { word + "?" } else { word }
    }
}

fn enum_word(field: &Field) -> Option<String> {
    let symbols = field.metadata().get(fields::SYMBOLS)?;
    let symbols: Vec<String> = serde_json::from_str(symbols).ok()?;
    Some(format!("{{enum: [{}]}}", symbols.join(", ")))
}

impl TypeWord for DataType {
    fn type_word(&self) -> String {
        match self {
            DataType::Null => "null".into(),
            DataType::Boolean => "boolean".into(),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => "int".into(),
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "long".into(),
            DataType::Float16 | DataType::Float32 => "float".into(),
            DataType::Float64 => "double".into(),
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s) => format!("decimal({p},{s})"),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytes".into(),
            DataType::FixedSizeBinary(size) => format!("{{fixed: {size}}}"),
            DataType::Date32 | DataType::Date64 => "date".into(),
            DataType::Time32(_) | DataType::Time64(_) => "time".into(),
            DataType::Timestamp(_, _) => "timestamp".into(),
            DataType::Duration(_) | DataType::Interval(_) => "interval".into(),
            DataType::Dictionary(_, _) => "enum".into(),
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _) => format!("[{}]", item.type_word()),
            DataType::Map(entries, _) => {
                format!("{{map: {}}}", map_value(entries).map_or("?".into(), Field::type_word))
            }
            DataType::Struct(fields) => {
                let fields: Vec<String> = fields.iter().map(|f| format!("{}: {}", f.name(), f.type_word())).collect();
                format!("{{struct: {{{}}}}}", fields.join(", "))
            }
            DataType::Union(_, _) => "union".into(),
            DataType::RunEndEncoded(_, values) => values.type_word(),
        }
    }
}

/// The value field of a map's entries.
pub(super) fn map_value(entries: &Field) -> Option<&Field> {
    match entries.data_type() {
        DataType::Struct(fields) => fields.get(1).map(Arc::as_ref),
        _ => None,
    }
}

/// The type of the language that a value of `data_type` is given as.
pub(super) fn canonical(data_type: &DataType) -> DataType {
    let utc = || Some(Arc::from("UTC"));
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::Time64(TimeUnit::Nanosecond) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, _) => {
            DataType::Timestamp(TimeUnit::Millisecond, utc())
        }
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, utc()),
        DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Dictionary(_, values) => canonical(values),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => DataType::List(Arc::new(canonical_field(item))),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| canonical_field(field)).collect()),
        other => other.clone(),
    }
}

fn canonical_field(field: &Field) -> Field {
    field.clone().with_data_type(canonical(field.data_type()))
}

/// True if a value of this type, or a part of it, is an Avro union other than "or null".
pub(super) fn holds_union(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(_, _) => true,
        DataType::List(item) | DataType::Map(item, _) => holds_union(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_union(field.data_type())),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_words_of_the_language() {
        let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8, false)));
        assert_eq!(type_word(&list), "[string]");
        assert_eq!(type_word(&DataType::Decimal128(9, 2)), "decimal(9,2)");
        assert_eq!(type_word(&Field::new("a", DataType::Int64, true)), "long?");
        let json = Field::new("a", DataType::Utf8, false).with_metadata(json_metadata());
        assert_eq!(type_word(&json), "json");
    }
}
