//! Values written in a rule's `options`, as an Arrow array of the column's type.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, FixedSizeBinaryBuilder, Float32Array, Float64Array,
    Int32Array, ListArray, MapArray, NullArray, StringArray, StructArray, UnionArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Fields, UnionFields};
use serde_json::Value as Json;

use super::generate::{ints, longs};
use super::rules::java_class;
use super::types::nullable;
use crate::registry::avro::{Field, NamedKind, Primitive, Schema, Type};

/// An array of these values; `None` stands where a null around it needs a place, and is null.
///
/// # Errors
/// The first value that does not fit the type, in the genuine generator's words.
pub fn array(schema: &Schema, ty: &Type, data_type: &DataType, values: &[Option<&Json>]) -> Result<ArrayRef, String> {
    match (ty, data_type) {
        (Type::Primitive { kind, .. }, _) => primitive(*kind, data_type, values),
        (Type::Array { items, .. }, DataType::List(field)) => {
            let lists = each(values, "array", Json::as_array)?;
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.map_or(0, Vec::len)));
            let inner: Vec<Option<&Json>> = lists.iter().copied().flatten().flatten().map(Some).collect();
            let inner = array(schema, items, field.data_type(), &inner)?;
            Ok(Arc::new(ListArray::new(field.clone(), offsets, inner, nulls(values))))
        }
        (Type::Map { values: inner_type, .. }, DataType::Map(field, _)) => {
            let DataType::Struct(entry) = field.data_type() else { return Err(no_option(ty)) };
            let maps = each(values, "map", Json::as_object)?;
            let offsets = OffsetBuffer::from_lengths(maps.iter().map(|map| map.map_or(0, serde_json::Map::len)));
            let keys: Vec<&str> =
                maps.iter().copied().flatten().flat_map(|map| map.keys()).map(String::as_str).collect();
            let keys = StringArray::from(keys);
            let inner: Vec<Option<&Json>> =
                maps.iter().copied().flatten().flat_map(|map| map.values()).map(Some).collect();
            let inner = array(schema, inner_type, entry[1].data_type(), &inner)?;
            let entries = StructArray::new(entry.clone(), vec![Arc::new(keys), inner], None);
            Ok(Arc::new(MapArray::new(field.clone(), offsets, entries, nulls(values), false)))
        }
        (Type::Union(branches), _) => match nullable(branches) {
            Some(inner) => {
                let values: Vec<_> = values.iter().map(|value| value.filter(|json| !json.is_null())).collect();
                array(schema, inner, data_type, &values)
            }
            None => match data_type {
                DataType::Union(fields, _) => union(schema, branches, fields, values),
                _ => Err(no_option(ty)),
            },
        },
        (Type::Definition(name) | Type::Reference(name), _) => match (&schema.named[name].kind, data_type) {
            (NamedKind::Record { fields }, DataType::Struct(columns)) => record(schema, fields, columns, values),
            (NamedKind::Enum { symbols, .. }, _) => symbols_array(symbols, values),
            (NamedKind::Fixed { size }, _) => fixed(*size, values),
            _ => Err(no_option(ty)),
        },
        _ => Err(no_option(ty)),
    }
}

fn primitive(kind: Primitive, data_type: &DataType, values: &[Option<&Json>]) -> Result<ArrayRef, String> {
    let word = kind.word();
    Ok(match kind {
        Primitive::Null => {
            each(values, word, Json::as_null)?;
            Arc::new(NullArray::new(values.len()))
        }
        Primitive::Boolean => Arc::new(BooleanArray::from(each(values, word, Json::as_bool)?)),
        Primitive::Int => {
            let numbers = each(values, word, |json| json.as_i64().and_then(|n| i32::try_from(n).ok()))?;
            ints(numbers.into_iter().map(Option::unwrap_or_default).collect(), nulls(values), data_type)
        }
        Primitive::Long => {
            let numbers = each(values, word, Json::as_i64)?;
            longs(numbers.into_iter().map(Option::unwrap_or_default).collect(), nulls(values), data_type)
        }
        Primitive::Float => Arc::new(Float32Array::from(each(values, word, |json| json.as_f64().map(|n| n as f32))?)),
        Primitive::Double => Arc::new(Float64Array::from(each(values, word, Json::as_f64)?)),
        Primitive::Bytes => Arc::new(BinaryArray::from(each(values, word, |json| json.as_str().map(str::as_bytes))?)),
        Primitive::String => Arc::new(StringArray::from(each(values, word, Json::as_str)?)),
    })
}

fn record(schema: &Schema, fields: &[Field], columns: &Fields, values: &[Option<&Json>]) -> Result<ArrayRef, String> {
    let objects = each(values, "record", Json::as_object)?;
    if fields.is_empty() {
        return Ok(Arc::new(StructArray::new_empty_fields(values.len(), nulls(values))));
    }
    let mut arrays = Vec::with_capacity(fields.len());
    for (index, (field, column)) in fields.iter().zip(columns).enumerate() {
        let mut given = Vec::with_capacity(objects.len());
        for object in &objects {
            let Some(object) = object else {
                given.push(None);
                continue;
            };
            let value = object.get(&field.name).or(field.default.as_ref());
            given.push(Some(value.ok_or_else(|| {
                let (name, kind) = (&field.name, word(schema, &field.ty).to_uppercase());
                format!("Field {name} type:{kind} pos:{index} not set and has no default value")
            })?));
        }
        arrays.push(array(schema, &field.ty, column.data_type(), &given)?);
    }
    Ok(Arc::new(StructArray::new(columns.clone(), arrays, nulls(values))))
}

fn symbols_array(symbols: &[String], values: &[Option<&Json>]) -> Result<ArrayRef, String> {
    let index = |json: &Json| {
        let text = json.as_str()?;
        symbols.iter().position(|symbol| symbol == text).map(|index| index as i32)
    };
    let keys = Int32Array::from(each(values, "enum", index)?);
    let symbols = Arc::new(StringArray::from_iter_values(symbols));
    Ok(Arc::new(DictionaryArray::new(keys, symbols)))
}

fn fixed(size: usize, values: &[Option<&Json>]) -> Result<ArrayRef, String> {
    let bytes = each(values, "fixed", |json| json.as_str().map(str::as_bytes).filter(|bytes| bytes.len() == size))?;
    let mut builder = FixedSizeBinaryBuilder::new(size as i32);
    for bytes in bytes {
        match bytes {
            Some(bytes) => builder.append_value(bytes).map_err(|error| error.to_string())?,
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Each value goes to the first branch that it fits.
fn union(
    schema: &Schema,
    branches: &[Type],
    fields: &UnionFields,
    values: &[Option<&Json>],
) -> Result<ArrayRef, String> {
    let mut of_branch: Vec<Vec<Option<&Json>>> = vec![Vec::new(); branches.len()];
    let (mut ids, mut offsets) = (Vec::new(), Vec::new());
    for value in values {
        let value = value.unwrap_or(&Json::Null);
        let fits = |(branch, (_, field)): (&Type, (i8, &Arc<arrow::datatypes::Field>))| {
            array(schema, branch, field.data_type(), &[Some(value)]).is_ok()
        };
        let branch = branches.iter().zip(fields.iter()).position(fits).ok_or_else(|| invalid("union", value))?;
        ids.push(branch as i8);
        offsets.push(of_branch[branch].len() as i32);
        of_branch[branch].push(Some(value));
    }
    let mut children = Vec::with_capacity(branches.len());
    for ((branch, (_, field)), values) in branches.iter().zip(fields.iter()).zip(&of_branch) {
        children.push(array(schema, branch, field.data_type(), values)?);
    }
    UnionArray::try_new(fields.clone(), ScalarBuffer::from(ids), Some(ScalarBuffer::from(offsets)), children)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|error| error.to_string())
}

/// Converts all values that are there.
fn each<'a, T>(
    values: &[Option<&'a Json>],
    word: &str,
    convert: impl Fn(&'a Json) -> Option<T>,
) -> Result<Vec<Option<T>>, String> {
    let one = |value: &Option<&'a Json>| value.map(|json| convert(json).ok_or_else(|| invalid(word, json))).transpose();
    values.iter().map(one).collect()
}

fn nulls(values: &[Option<&Json>]) -> Option<NullBuffer> {
    values.iter().any(Option::is_none).then(|| values.iter().map(Option::is_some).collect())
}

fn invalid(word: &str, value: &Json) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
    format!("Invalid option for {word} schema: type {}, value '{text}'", java_class(value))
}

fn no_option(ty: &Type) -> String {
    format!("options cannot be given for this type: {ty:?}")
}

fn word(schema: &Schema, ty: &Type) -> &'static str {
    match ty {
        Type::Primitive { kind, .. } => kind.word(),
        Type::Array { .. } => "array",
        Type::Map { .. } => "map",
        Type::Union(_) => "union",
        Type::Definition(name) | Type::Reference(name) => match schema.named[name].kind {
            NamedKind::Record { .. } => "record",
            NamedKind::Enum { .. } => "enum",
            NamedKind::Fixed { .. } => "fixed",
        },
    }
}
