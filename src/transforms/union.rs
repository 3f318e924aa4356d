//! Unions: the rows of several inputs as one, `from: [a, b]`.
//!
//! Columns are found by name, in the order of the first input; numbers are cast to what holds all of them. I2: rows that
//! come from one partition stand in the order of (offset, input), so that the order does not depend on how many rows came at
//! once; rows of different partitions are ordered by whoever takes them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options, concat_batches, interleave_record_batch};
use arrow::datatypes::{DataType, FieldRef, Int64Type, SchemaRef};
use arrow::error::ArrowError;

use crate::data::meta;
use crate::report::Failure;

/// A union at work on the rows of its inputs.
#[derive(Debug, Clone)]
pub struct Union {
    schema: SchemaRef,
    /// Per input and column: where it is in the rows of the input. `None`: they do not have it (bytes, key and
    /// headers of a record, where rows come from no record).
    columns: Vec<Vec<Option<usize>>>,
}

impl Union {
    /// The columns of the union, and those of its inputs.
    pub fn new(schema: SchemaRef, inputs: &[SchemaRef]) -> Self {
        let index = |input: &SchemaRef, field: &FieldRef| Some(input.column_with_name(field.name())?.0);
        let of_input = |input: &SchemaRef| schema.fields().iter().map(|field| index(input, field)).collect();
        let columns = inputs.iter().map(of_input).collect();
        Union { schema, columns }
    }

    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Rows of one input with the columns of the union.
    ///
    /// # Errors
    /// A bug: the plan let types through that do not widen.
    pub fn conform(&self, input: usize, rows: &RecordBatch) -> Result<RecordBatch, Failure> {
        let found = self.columns[input].iter().zip(self.schema.fields());
        let columns = found.map(|(index, field)| match index {
            None => Ok(absent(field, rows.num_rows())),
            Some(index) => widened(rows.column(*index), field.data_type()),
        });
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(bug)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(bug)
    }
}

fn widened(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == data_type {
        return Ok(column.clone());
    }
    // Not safe: a value that did not fit would become null in silence.
    cast_with_options(column, data_type, &CastOptions { safe: false, ..CastOptions::default() })
}

/// What rows have that come from no record: null, or no headers.
fn absent(field: &FieldRef, count: usize) -> ArrayRef {
    match field.data_type() {
        DataType::List(item) => {
            let none = new_null_array(item.data_type(), 0);
            Arc::new(ListArray::new(item.clone(), OffsetBuffer::new_zeroed(count), none, None))
        }
        data_type => new_null_array(data_type, count),
    }
}

/// The rows of one partition that several inputs gave, in the order of (offset, input). Rows of aggregates have no
/// offset: they stand as they came.
///
/// # Errors
/// A bug: they do not have the same columns.
pub fn by_offset(rows: Vec<RecordBatch>) -> Result<RecordBatch, Failure> {
    if let [one] = rows.as_slice() {
        return Ok(one.clone());
    }
    let first = rows.first().ok_or_else(|| Failure::bug("union.rows", "a union was given no rows"))?;
    if rows.iter().any(|rows| rows.num_columns() == 0) || first.column_by_name(meta::OFFSET).is_none() {
        return concat_batches(first.schema_ref(), &rows).map_err(bug);
    }
    let offsets: Option<Vec<&Int64Array>> =
        rows.iter().map(|rows| rows.column_by_name(meta::OFFSET)?.as_primitive_opt::<Int64Type>()).collect();
    let offsets =
        offsets.ok_or_else(|| Failure::bug("union.offsets", "rows of a union have offsets of another type"))?;
    let mut order: Vec<(usize, usize)> = Vec::with_capacity(rows.iter().map(RecordBatch::num_rows).sum());
    for (batch, offsets) in offsets.iter().enumerate() {
        order.extend((0..offsets.len()).map(|row| (batch, row)));
    }
    // Stable, so that rows with one offset stand in the order of the inputs.
    order.sort_by_key(|(batch, row)| offsets[*batch].value(*row));
    let rows: Vec<&RecordBatch> = rows.iter().collect();
    interleave_record_batch(&rows, &order).map_err(bug)
}

fn bug(error: ArrowError) -> Failure {
    Failure::bug("union.columns", "rows of a union do not fit its columns").because(error)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int32Array};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn rows(offsets: &[i64], n: &[i32]) -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(Int32Array::from(n.to_vec()))),
            (meta::OFFSET, Arc::new(Int64Array::from(offsets.to_vec()))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn i2_rows_stand_in_the_order_of_offset_and_input_however_many_came_at_once() {
        let ns = |rows: &RecordBatch| rows.column(0).as_primitive::<arrow::datatypes::Int32Type>().values().to_vec();
        let at_once = by_offset(vec![rows(&[1, 2, 4], &[10, 20, 40]), rows(&[1, 3, 4], &[11, 31, 41])]).unwrap();
        assert_eq!(ns(&at_once), [10, 11, 20, 31, 40, 41]);
        let first = by_offset(vec![rows(&[1, 2], &[10, 20]), rows(&[1], &[11])]).unwrap();
        let second = by_offset(vec![rows(&[4], &[40]), rows(&[3, 4], &[31, 41])]).unwrap();
        assert_eq!([ns(&first), ns(&second)].concat(), ns(&at_once));
    }

    #[test]
    fn columns_are_found_by_name_and_widened_and_what_no_record_has_is_absent() {
        let given = rows(&[7], &[3]);
        let schema = Arc::new(Schema::new(vec![
            Field::new(meta::OFFSET, DataType::Int64, false),
            Field::new("n", DataType::Float64, true),
            meta::field(meta::KEY_BYTES).unwrap(),
            meta::field(meta::HEADERS_LIST).unwrap(),
        ]));
        let union = Union::new(schema.clone(), &[schema.clone(), given.schema()]);
        let conformed = union.conform(1, &given).unwrap();
        assert_eq!(conformed.schema(), schema);
        assert_eq!(conformed.column(1).as_ref(), &Float64Array::from(vec![3.0]) as &dyn Array);
        assert!(conformed.column(2).is_null(0));
        assert_eq!(conformed.column(3).as_list::<i32>().value_length(0), 0);
    }
}
