//! The same array under another type of the same shape.
//!
//! Types of nested columns hold names and metadata of their fields, which differ between writers
//! of one column. No value is touched.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, UnionArray, new_null_array};
use arrow::datatypes::{DataType, Fields};
use arrow::error::ArrowError;

/// `array` as `target`.
///
/// # Errors
/// If the shapes differ, or a null stands where the target has none.
pub(super) fn retype(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == target {
        return Ok(array.clone());
    }
    Ok(match (array.data_type(), target) {
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let rows = array.as_struct();
            let columns = each(rows.columns(), fields)?;
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, rows.nulls().cloned(), rows.len())?)
        }
        (DataType::List(_), DataType::List(item)) => {
            let lists = array.as_list::<i32>();
            let values = retype(lists.values(), item.data_type())?;
            Arc::new(ListArray::try_new(item.clone(), lists.offsets().clone(), values, lists.nulls().cloned())?)
        }
        (DataType::Map(_, _), DataType::Map(entries, sorted)) => {
            let maps = array.as_map();
            let inner: ArrayRef = Arc::new(maps.entries().clone());
            let inner = retype(&inner, entries.data_type())?.as_struct().clone();
            let offsets = maps.offsets().clone();
            Arc::new(MapArray::try_new(entries.clone(), offsets, inner, maps.nulls().cloned(), *sorted)?)
        }
        (DataType::Union(_, _), DataType::Union(fields, _)) => {
            let union = array.as_any().downcast_ref::<UnionArray>().expect("its type is a union");
            let children = fields
                .iter()
                .map(|(id, field)| retype(union.child(id), field.data_type()))
                .collect::<Result<Vec<_>, _>>()?;
            Arc::new(UnionArray::try_new(fields.clone(), union.type_ids().clone(), union.offsets().cloned(), children)?)
        }
        // A lone null resolved to a nullable column.
        (DataType::Null, _) => new_null_array(target, array.len()),
        (found, wanted) => {
            return Err(ArrowError::SchemaError(format!("it is {found}, not {wanted}")));
        }
    })
}

fn each(columns: &[ArrayRef], fields: &Fields) -> Result<Vec<ArrayRef>, ArrowError> {
    if columns.len() != fields.len() {
        return Err(ArrowError::SchemaError(format!("it has {} fields, not {}", columns.len(), fields.len())));
    }
    columns.iter().zip(fields).map(|(column, field)| retype(column, field.data_type())).collect()
}
