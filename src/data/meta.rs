//! Metadata columns: what a record brings beside its value.
//!
//! They stand behind the user's columns under names that begin with `_`, up to the first
//! aggregate. A step carries those that the plan found in use and no others.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};

/// `_topic`: Utf8.
pub const TOPIC: &str = "_topic";
/// `_partition`: Int32.
pub const PARTITION: &str = "_partition";
/// `_offset`: Int64.
pub const OFFSET: &str = "_offset";
/// `_timestamp`: Timestamp(ms, UTC), Kafka's; null where the source has none.
pub const TIMESTAMP: &str = "_timestamp";
/// `_key`: decoded by the source's `key_format`; Binary by default; null without a key.
pub const KEY: &str = "_key";
/// `_headers`: Map(Utf8, Binary); the last of a name stands.
pub const HEADERS: &str = "_headers";
/// `_generation`: Int64; how often a generator has gone on where an earlier run had stopped. Datagen only.
pub const GENERATION: &str = "_generation";
/// `_time`: event time, Timestamp(ms, UTC), never null behind the lane's time step.
pub const TIME: &str = "_time";

/// Key bytes as they came (Binary, null without a key): what a sink passes on by default. Not for expressions.
pub const KEY_BYTES: &str = "__key_bytes";
/// Value bytes as they came (Binary): for sinks that pass them on, and for dead letters. Not for expressions.
pub const VALUE_BYTES: &str = "__value_bytes";
/// Headers as they came, in order and with duplicates: List(Struct{name: Utf8, value: Binary?}). Not for expressions.
pub const HEADERS_LIST: &str = "__headers";
/// What a row of a changing table is: Int8, see [`Change`]. Not for expressions.
pub const CHANGE: &str = "__change";

/// The names that expressions may use.
pub const VISIBLE: &[&str] = &[TOPIC, PARTITION, OFFSET, TIMESTAMP, KEY, HEADERS, GENERATION, TIME];
const HIDDEN: &[&str] = &[KEY_BYTES, VALUE_BYTES, HEADERS_LIST, CHANGE];

/// True for a column that a step carries along without the user's naming it.
pub fn is_meta(name: &str) -> bool {
    VISIBLE.contains(&name) || HIDDEN.contains(&name)
}

/// The type of `_time` and `_timestamp`.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC")))
}

/// The field of a metadata column whose type does not depend on the source; `None` for others
/// (`_key` with a `key_format`).
pub fn field(name: &str) -> Option<Field> {
    let (data_type, nullable) = match name {
        TOPIC => (DataType::Utf8, false),
        PARTITION => (DataType::Int32, false),
        OFFSET | GENERATION => (DataType::Int64, false),
        TIMESTAMP => (time_type(), true),
        TIME => (time_type(), true),
        KEY | KEY_BYTES | VALUE_BYTES => (DataType::Binary, true),
        HEADERS => (headers_map_type(), false),
        HEADERS_LIST => (headers_list_type(), false),
        CHANGE => (DataType::Int8, false),
        _ => return None,
    };
    Some(Field::new(name, data_type, nullable))
}

fn headers_map_type() -> DataType {
    let entries = DataType::Struct(
        vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)].into(),
    );
    DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
}

fn headers_list_type() -> DataType {
    let header = DataType::Struct(
        vec![Field::new("name", DataType::Utf8, false), Field::new("value", DataType::Binary, true)].into(),
    );
    DataType::List(Arc::new(Field::new("item", header, false)))
}

/// What a row of a table that changes means. `UpdateBefore` and `UpdateAfter` of one key stand
/// next to each other, so that a filter can turn the pair into a deletion or an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Change {
    Insert = 0,
    UpdateBefore = 1,
    UpdateAfter = 2,
    Delete = 3,
}
