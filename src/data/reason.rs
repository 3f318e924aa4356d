//! Rows of a port: those of a step or source that went another way, and a column that says why.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::meta;

/// Why a row is on a port: the last of the user's columns.
pub const REASON: &str = "_reason";
/// The column of a record's bytes on the `.failed` port of a source.
pub const VALUE: &str = "value";

/// The columns of rows on a port.
pub fn with_reason_column(columns: &Schema) -> SchemaRef {
    let mut fields: Vec<_> = columns.fields().iter().filter(|field| field.name() != REASON).cloned().collect();
    let index = fields.iter().position(|field| meta::is_meta(field.name())).unwrap_or(fields.len());
    fields.insert(index, Arc::new(Field::new(REASON, DataType::Utf8, false)));
    Arc::new(Schema::new_with_metadata(fields, columns.metadata().clone()))
}

/// Rows with the reasons why they are on a port.
///
/// # Errors
/// Arrow's, if there are not as many reasons as rows: a bug.
pub fn with_reason(rows: &RecordBatch, reasons: StringArray) -> Result<RecordBatch, ArrowError> {
    let schema = with_reason_column(rows.schema_ref());
    let reasons: ArrayRef = Arc::new(reasons);
    let column = |field: &Arc<Field>| match field.name().as_str() {
        REASON => Some(reasons.clone()),
        name => rows.column_by_name(name).cloned(),
    };
    let columns = schema.fields().iter().filter_map(column).collect();
    RecordBatch::try_new(schema, columns)
}

/// The columns of the `.failed` port of a source: the bytes of records that gave no row, why, and their metadata.
pub fn failed_columns() -> SchemaRef {
    let metadata = [
        meta::TOPIC,
        meta::PARTITION,
        meta::OFFSET,
        meta::TIMESTAMP,
        meta::KEY,
        meta::HEADERS,
        meta::TIME,
        meta::KEY_BYTES,
        meta::VALUE_BYTES,
        meta::HEADERS_LIST,
    ];
    let own = [Field::new(VALUE, DataType::Binary, true), Field::new(REASON, DataType::Utf8, false)];
    Arc::new(Schema::new(own.into_iter().chain(metadata.into_iter().filter_map(meta::field)).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array};

    use super::*;

    #[test]
    fn a_reason_is_the_last_column_of_the_user_and_there_is_only_one() {
        let columns: Vec<(&str, ArrayRef)> =
            vec![("n", Arc::new(Int32Array::from(vec![1, 2]))), (meta::OFFSET, Arc::new(Int64Array::from(vec![7, 8])))];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let rows = with_reason(&rows, vec!["old", "old"].into()).unwrap();
        let rows = with_reason(&rows, vec!["a", "b"].into()).unwrap();
        let names: Vec<_> = rows.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["n", REASON, meta::OFFSET]);
        assert_eq!(rows.column(1).as_ref(), &StringArray::from(vec!["a", "b"]) as &dyn arrow::array::Array);
    }
}
