//! Whole batches of records as columns: what a transformation does to them all at once.
//!
//! A transformation that treats every record alike may say what it makes of columns
//! ([`Transformation::columns`](super::transforms::Transformation::columns)). Where one cannot, or
//! a value among the rows is one that it treats apart, the records go through one by one: both ways give the same records.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray, StructArray, new_null_array};
use arrow::compute::kernels::nullif::nullif;
use arrow::compute::{cast, is_null};
use arrow::datatypes::{DataType, Field as Column, Fields};

use super::schema::{Field, Kind, Schema, twice};

/// Records of one topic, on their way to it.
#[derive(Debug, Clone)]
pub struct Columns {
    pub topic: String,
    pub count: usize,
    pub key: Part,
    pub value: Part,
}

/// The keys or the values.
#[derive(Debug, Clone)]
pub enum Part {
    /// Nulls, which may have a schema.
    Null(Option<Arc<Schema>>),
    /// One column; its schema is no struct's.
    Whole(Arc<Schema>, ArrayRef),
    /// A column per field; no value is null as a whole.
    Struct(Arc<Schema>, Vec<ArrayRef>),
}

impl Part {
    /// Fields and their columns, if it is a struct.
    pub fn fields(&self) -> Option<(&Arc<Schema>, impl Iterator<Item = (&Field, &ArrayRef)>)> {
        match self {
            Part::Struct(schema, columns) => Some((schema, schema.fields().iter().zip(columns))),
            _ => None,
        }
    }

    /// A struct of these fields; all else of its schema is that of `like`. `None` if two have the same name.
    pub fn of_fields(like: &Schema, fields: impl IntoIterator<Item = (Field, ArrayRef)>) -> Option<Part> {
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = fields.into_iter().unzip();
        if twice(&fields).is_some() {
            return None;
        }
        let schema = Schema { optional: false, default: None, ..like.with_fields(fields) };
        Some(Part::Struct(Arc::new(schema), columns))
    }

    /// Of a column: `None` for structs within structs, which have nulls of their own.
    pub fn of_column(schema: Arc<Schema>, column: ArrayRef) -> Option<Part> {
        (!matches!(schema.kind, Kind::Struct(_))).then_some(Part::Whole(schema, column))
    }

    /// All as one column.
    pub fn into_column(self, count: usize) -> Option<(Arc<Schema>, ArrayRef)> {
        match self {
            Part::Null(_) => None,
            Part::Whole(schema, column) => Some((schema, column)),
            Part::Struct(schema, columns) => {
                let field = |(field, column): (&Field, &ArrayRef)| {
                    Arc::new(Column::new(&field.name, column.data_type().clone(), true))
                };
                let fields: Fields = schema.fields().iter().zip(&columns).map(field).collect();
                let array = StructArray::try_new_with_length(fields, columns, None, count).ok()?;
                Some((schema, Arc::new(array)))
            }
        }
    }
}

/// True if a null among the values of this field may mean its default.
pub fn may_mean_default(field: &Field, column: &ArrayRef) -> bool {
    field.schema.default.is_some() && column.logical_null_count() > 0
}

/// The same text in each row.
pub fn constant(text: &str, count: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count)))
}

/// Zeros, empty texts and false where there is a value; `None` for types of which nothing of the kind is known here.
pub fn nothings(column: &ArrayRef) -> Option<ArrayRef> {
    let nothing: ArrayRef = match column.data_type() {
        DataType::Utf8 => constant("", column.len()),
        DataType::Boolean => Arc::new(BooleanArray::from(vec![false; column.len()])),
        number @ (DataType::Int32 | DataType::Int64 | DataType::Float32 | DataType::Float64) => {
            let zeros = arrow::array::Int32Array::from_value(0, column.len());
            cast(&zeros, number).ok()?
        }
        _ => return None,
    };
    with_nulls_of(&nothing, column)
}

/// `values`, but null where `column` is.
pub fn with_nulls_of(values: &ArrayRef, column: &ArrayRef) -> Option<ArrayRef> {
    if column.logical_null_count() == 0 {
        return Some(values.clone());
    }
    nullif(values, &is_null(column).ok()?).ok()
}

/// The columns of a struct that may be null as a whole: then all of them are.
pub fn children(column: &ArrayRef) -> Option<Vec<ArrayRef>> {
    let all = column.as_struct_opt()?;
    all.columns().iter().map(|child| with_nulls_of(child, column)).collect()
}

/// A column of nulls.
pub fn nulls(data_type: &DataType, count: usize) -> ArrayRef {
    new_null_array(data_type, count)
}
