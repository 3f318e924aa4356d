//! What a column's metadata says beyond its Arrow type. Avro's own keys are those of arrow-avro.

use arrow::datatypes::{DataType, Field, TimeUnit};

/// On a Timestamp column: `s`, `ms` or `us` if JSON and CSV have it as a number of that unit;
/// without it as RFC 3339 text.
pub const UNIT: &str = "runner.unit";
/// On a Utf8 column: [`JSON`] if it holds the JSON text of any value.
pub const TYPE: &str = "runner.type";
/// See [`TYPE`].
pub const JSON: &str = "json";
/// The field's name in the record, where it is not the column's.
pub const FIELD: &str = "runner.field";
/// A default as JSON text, for records that lack the field.
pub const DEFAULT: &str = "avro.field.default";

/// On a schema: the whole Avro schema that its columns are of, as long as none of them was touched.
pub const AVRO: &str = "runner.avro";
/// On a schema: the record's name and namespace.
pub const RECORD: &str = "avro.name";
pub const NAMESPACE: &str = "avro.namespace";

/// The text for people.
pub const DOC: &str = "avro.doc";
/// The symbols of an enum, as a JSON list.
pub const SYMBOLS: &str = "avro.enum.symbols";

/// Arrow's key for canonical extension types.
pub const EXTENSION_NAME: &str = "ARROW:extension:name";
/// The extension type of uuid columns, FixedSizeBinary(16).
pub const UUID_EXTENSION: &str = "arrow.uuid";

pub fn is_uuid(field: &Field) -> bool {
    field.metadata().get(EXTENSION_NAME).is_some_and(|name| name == UUID_EXTENSION)
}

pub fn is_json(field: &Field) -> bool {
    field.metadata().get(TYPE).is_some_and(|word| word == JSON)
}

/// The symbols of an enum column; `None` for other columns.
pub fn symbols(field: &Field) -> Option<Vec<String>> {
    serde_json::from_str(field.metadata().get(SYMBOLS)?).ok()
}

/// The unit in which a timestamp column is written as a number.
pub fn unit(field: &Field) -> Option<TimeUnit> {
    match field.metadata().get(UNIT)?.as_str() {
        "s" => Some(TimeUnit::Second),
        "ms" => Some(TimeUnit::Millisecond),
        "us" => Some(TimeUnit::Microsecond),
        _ => None,
    }
}

/// The column's name in a JSON object or a CSV header.
pub fn name(field: &Field) -> &str {
    field.metadata().get(FIELD).unwrap_or(field.name())
}

/// True for a json column that, alone, takes a whole value: `value`, or `_key` of a key.
pub fn is_whole_json(field: &Field) -> bool {
    is_json(field) && matches!(field.name().as_str(), "value" | crate::data::meta::KEY)
}

/// A column of type `json`: the text of any JSON value.
pub fn json_column(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable).with_metadata([(TYPE.to_owned(), JSON.to_owned())].into())
}
