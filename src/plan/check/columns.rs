//! Columns in words: the types of the language, and lists of what is there.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use crate::data::meta;
use crate::report::{Diagnostic, Diagnostics, Place};

/// A type as the language writes it.
pub(crate) fn type_word(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => "int".into(),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "long".into(),
        DataType::Float16 | DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => {
            format!("decimal({p},{s})")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Dictionary(_, _) => "enum".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytes".into(),
        DataType::FixedSizeBinary(size) => format!("{{fixed: {size}}}"),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time".into(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => "timestamp".into(),
        DataType::Timestamp(unit, _) => format!("timestamp({})", unit_word(*unit)),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("[{}]", field_type(item))
        }
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields.iter().map(|f| format!("{}: {}", f.name(), field_type(f))).collect();
            format!("{{struct: {{{}}}}}", fields.join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => format!("{{map: {}}}", field_type(&fields[1])),
            _ => "map".into(),
        },
        DataType::Null => "null".into(),
        other => other.to_string().to_lowercase(),
    }
}

fn unit_word(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// The type of a column, with `?` if it may be null.
pub(crate) fn field_type(field: &Field) -> String {
    format!("{}{}", type_word(field.data_type()), if field.is_nullable() { "?" } else { "" })
}

/// "brand string, rating int": the user's columns.
pub(crate) fn listed(columns: &Schema) -> String {
    let shown: Vec<String> = user_fields(columns).map(|f| format!("{} {}", f.name(), field_type(f))).collect();
    shown.join(", ")
}

/// The user's columns, without metadata.
pub(crate) fn user_fields(columns: &Schema) -> impl Iterator<Item = &Field> {
    columns.fields().iter().map(|field| field.as_ref()).filter(|field| !meta::is_meta(field.name()))
}

pub(super) fn user_names(columns: &Schema) -> Vec<String> {
    user_fields(columns).map(|field| field.name().clone()).collect()
}

/// Complains about a user's column that is called like a metadata column.
pub(super) fn refuse_reserved<'a>(names: impl IntoIterator<Item = (&'a str, &'a Place)>, out: &mut Diagnostics) {
    for (name, place) in names.into_iter().filter(|(name, _)| meta::is_meta(name)) {
        out.push(
            Diagnostic::error("columns.reserved", format!("the column name `{name}` belongs to metadata"))
                .at(place)
                .note(format!("metadata columns are {}", meta::VISIBLE.join(", ")))
                .hint("choose another name"),
        );
    }
}
