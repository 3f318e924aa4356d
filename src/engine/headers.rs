//! Headers of records as columns: all of them as a list, or the last of each name as a map.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryBuilder, ListArray, MapArray, StringBuilder, StructArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};

use crate::data::RawBatch;
use crate::report::Failure;

/// Every header of every record, in order.
pub fn list(raw: &RawBatch, field: &Field) -> Result<ArrayRef, Failure> {
    build(raw, field, |headers| headers.iter().collect())
}

/// One entry per name: the last.
pub fn map(raw: &RawBatch, field: &Field) -> Result<ArrayRef, Failure> {
    build(raw, field, |headers| {
        let is_last =
            |(index, (name, _)): &(usize, &(String, _))| !headers[index + 1..].iter().any(|(later, _)| later == name);
        headers.iter().enumerate().filter(is_last).map(|(_, header)| header).collect()
    })
}

type Header = (String, Option<Vec<u8>>);

fn build(raw: &RawBatch, field: &Field, pick: impl Fn(&[Header]) -> Vec<&Header>) -> Result<ArrayRef, Failure> {
    let (mut names, mut values, mut lengths) = (StringBuilder::new(), BinaryBuilder::new(), Vec::new());
    for index in 0..raw.len() {
        let headers = raw.headers.get(index).map(Vec::as_slice).unwrap_or_default();
        let picked = pick(headers);
        lengths.push(picked.len());
        for (name, value) in picked {
            names.append_value(name);
            values.append_option(value.as_deref());
        }
    }
    assemble(field, vec![Arc::new(names.finish()), Arc::new(values.finish())], lengths)
}

fn assemble(field: &Field, columns: Vec<ArrayRef>, lengths: Vec<usize>) -> Result<ArrayRef, Failure> {
    let offsets = OffsetBuffer::from_lengths(lengths);
    let bug = |error| Failure::bug("lane.headers", "headers do not fit their column").because(error);
    match field.data_type() {
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(missing_column("entries"));
            };
            let structs = StructArray::try_new(fields.clone(), columns, None).map_err(bug)?;
            Ok(Arc::new(MapArray::try_new(entries.clone(), offsets, structs, None, *sorted).map_err(bug)?))
        }
        DataType::List(item) => {
            let DataType::Struct(fields) = item.data_type() else { return Err(missing_column("item")) };
            let structs = StructArray::try_new(fields.clone(), columns, None).map_err(bug)?;
            Ok(Arc::new(ListArray::try_new(item.clone(), offsets, Arc::new(structs), None).map_err(bug)?))
        }
        _ => Err(missing_column(field.name())),
    }
}

/// A column of records that have none.
pub fn none(field: &Field, count: usize) -> ArrayRef {
    let empty = new_empty_array(field.data_type());
    let zeros = OffsetBuffer::<i32>::from_lengths(std::iter::repeat_n(0, count));
    let data = empty.to_data().into_builder().len(count).buffers(vec![zeros.into_inner().into_inner()]);
    // Zero-length lists over an empty child are valid for every list and map type.
    arrow::array::make_array(data.build().expect("lists without elements are valid"))
}

fn missing_column(name: &str) -> Failure {
    Failure::bug("lane.headers", format!("the plan wants headers as `{name}`, which is no list and no map"))
}
