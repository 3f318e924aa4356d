//! Values written in a rule's `options`, as an Arrow array of the column's type.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Decimal256Array, DictionaryArray, FixedSizeBinaryBuilder,
    Float32Array, Float64Array, Int32Array, ListArray, MapArray, NullArray, StringArray, StructArray, UnionArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Fields, UnionFields};
use serde_json::Value as Json;

use super::bounds::java_class;
use super::decimal;
use super::files::branch_name;
use super::generate::{ints, longs};
use super::types::only_branch;
use crate::registry::avro::{Field, NamedKind, Primitive, Schema, Type};

/// How values were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Bytes are the text's UTF-8, the value of a union stands as it is.
    InSchema,
    /// As Avro's JSON: bytes are Latin-1, the value of a union names its branch, numbers may be `"NaN"`.
    InFile,
}

/// An array of these values; `None` stands where a null around it needs a place, and is null.
///
/// # Errors
/// The first value that does not fit the type, in the genuine generator's words.
pub fn array(
    schema: &Schema,
    ty: &Type,
    data_type: &DataType,
    values: &[Option<&Json>],
    written: Written,
) -> Result<ArrayRef, String> {
    Constants { schema, written }.array(ty, data_type, values)
}

#[derive(Clone, Copy)]
struct Constants<'a> {
    schema: &'a Schema,
    written: Written,
}

impl Constants<'_> {
    fn array(self, ty: &Type, data_type: &DataType, values: &[Option<&Json>]) -> Result<ArrayRef, String> {
        if let DataType::Decimal128(..) | DataType::Decimal256(..) = data_type
            && !matches!(ty, Type::Union(_))
        {
            return self.decimal(data_type, values);
        }
        match (ty, data_type) {
            (Type::Primitive { kind, .. }, _) => self.primitive(*kind, data_type, values),
            (Type::Array { items, .. }, DataType::List(field)) => {
                let lists = each(values, "array", Json::as_array)?;
                let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.map_or(0, Vec::len)));
                let inner: Vec<Option<&Json>> = lists.iter().copied().flatten().flatten().map(Some).collect();
                let inner = self.array(items, field.data_type(), &inner)?;
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
                let inner = self.array(inner_type, entry[1].data_type(), &inner)?;
                let entries = StructArray::new(entry.clone(), vec![Arc::new(keys), inner], None);
                Ok(Arc::new(MapArray::new(field.clone(), offsets, entries, nulls(values), false)))
            }
            (Type::Union(branches), _) => match only_branch(branches) {
                Some(inner) => {
                    let values: Vec<_> = values
                        .iter()
                        .map(|value| value.filter(|json| !json.is_null()).map(|json| self.inside(inner, json)))
                        .collect();
                    self.array(inner, data_type, &values)
                }
                None => match data_type {
                    DataType::Union(fields, _) => self.union(branches, fields, values),
                    _ => Err(no_option(ty)),
                },
            },
            (Type::Definition(name) | Type::Reference(name), _) => match (&self.schema.named[name].kind, data_type) {
                (NamedKind::Record { fields }, DataType::Struct(columns)) => self.record(fields, columns, values),
                (NamedKind::Enum { symbols, .. }, _) => symbols_array(symbols, values),
                (NamedKind::Fixed { size }, _) => self.fixed(*size, values),
                _ => Err(no_option(ty)),
            },
            _ => Err(no_option(ty)),
        }
    }

    fn primitive(self, kind: Primitive, data_type: &DataType, values: &[Option<&Json>]) -> Result<ArrayRef, String> {
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
            Primitive::Float => {
                Arc::new(Float32Array::from(each(values, word, |json| self.float(json).map(|n| n as f32))?))
            }
            Primitive::Double => Arc::new(Float64Array::from(each(values, word, |json| self.float(json))?)),
            Primitive::Bytes => {
                let bytes = each(values, word, |json| self.bytes(json))?;
                Arc::new(bytes.iter().map(Option::as_deref).collect::<BinaryArray>())
            }
            Primitive::String => Arc::new(StringArray::from(each(values, word, Json::as_str)?)),
        })
    }

    fn record(self, fields: &[Field], columns: &Fields, values: &[Option<&Json>]) -> Result<ArrayRef, String> {
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
                    let (name, kind) = (&field.name, word(self.schema, &field.ty).to_uppercase());
                    format!("Field {name} type:{kind} pos:{index} not set and has no default value")
                })?));
            }
            arrays.push(self.array(&field.ty, column.data_type(), &given)?);
        }
        Ok(Arc::new(StructArray::new(columns.clone(), arrays, nulls(values))))
    }

    fn fixed(self, size: usize, values: &[Option<&Json>]) -> Result<ArrayRef, String> {
        let bytes = each(values, "fixed", |json| self.bytes(json).filter(|bytes| bytes.len() == size))?;
        let mut builder = FixedSizeBinaryBuilder::new(size as i32);
        for bytes in bytes {
            match bytes {
                Some(bytes) => builder.append_value(&bytes).map_err(|error| error.to_string())?,
                None => builder.append_null(),
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Each value goes to the first branch that it fits.
    fn union(self, branches: &[Type], fields: &UnionFields, values: &[Option<&Json>]) -> Result<ArrayRef, String> {
        let mut of_branch: Vec<Vec<Option<&Json>>> = vec![Vec::new(); branches.len()];
        let (mut ids, mut offsets) = (Vec::new(), Vec::new());
        for value in values {
            let value = value.unwrap_or(&Json::Null);
            let fits = |(branch, (_, field)): (&Type, (i8, &Arc<arrow::datatypes::Field>))| {
                self.in_branch(branch, value)
                    .is_some_and(|inner| self.array(branch, field.data_type(), &[Some(inner)]).is_ok())
            };
            let branch = branches.iter().zip(fields.iter()).position(fits).ok_or_else(|| invalid("union", value))?;
            ids.push(branch as i8);
            offsets.push(of_branch[branch].len() as i32);
            of_branch[branch].push(self.in_branch(&branches[branch], value));
        }
        let mut children = Vec::with_capacity(branches.len());
        for ((branch, (_, field)), values) in branches.iter().zip(fields.iter()).zip(&of_branch) {
            children.push(self.array(branch, field.data_type(), values)?);
        }
        UnionArray::try_new(fields.clone(), ScalarBuffer::from(ids), Some(ScalarBuffer::from(offsets)), children)
            .map(|array| Arc::new(array) as ArrayRef)
            .map_err(|error| error.to_string())
    }

    fn decimal(self, data_type: &DataType, values: &[Option<&Json>]) -> Result<ArrayRef, String> {
        let (DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) = *data_type else {
            unreachable!("the caller looked")
        };
        let option = |json: &Json| match self.written {
            Written::InFile => decimal::from_bytes(&self.bytes(json)?),
            Written::InSchema => decimal::option(json, scale),
        };
        let values = each(values, "decimal", option)?;
        if let DataType::Decimal256(..) = data_type {
            let array = values.into_iter().collect::<Decimal256Array>().with_precision_and_scale(precision, scale);
            return array.map(|array| Arc::new(array) as ArrayRef).map_err(|error| error.to_string());
        }
        let small = values.into_iter().map(|value| match value {
            Some(value) => value.to_i128().map(Some).ok_or("an option has more digits than its type"),
            None => Ok(None),
        });
        let array = small.collect::<Result<Decimal128Array, _>>()?.with_precision_and_scale(precision, scale);
        array.map(|array| Arc::new(array) as ArrayRef).map_err(|error| error.to_string())
    }

    fn bytes(self, json: &Json) -> Option<Vec<u8>> {
        let text = json.as_str()?;
        match self.written {
            Written::InSchema => Some(text.as_bytes().to_vec()),
            Written::InFile => text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect(),
        }
    }

    fn float(self, json: &Json) -> Option<f64> {
        match (json.as_str(), self.written) {
            (Some("NaN"), Written::InFile) => Some(f64::NAN),
            (Some("Infinity"), Written::InFile) => Some(f64::INFINITY),
            (Some("-Infinity"), Written::InFile) => Some(f64::NEG_INFINITY),
            _ => json.as_f64(),
        }
    }

    /// The value of this branch, if it is one.
    fn in_branch<'j>(self, branch: &Type, json: &'j Json) -> Option<&'j Json> {
        match self.written {
            Written::InFile if !json.is_null() => {
                json.as_object().filter(|map| map.len() == 1)?.get(branch_name(branch))
            }
            _ => Some(json),
        }
    }

    /// The value of a nullable type's other branch; what is not written as one is left to be refused.
    fn inside<'j>(self, branch: &Type, json: &'j Json) -> &'j Json {
        self.in_branch(branch, json).unwrap_or(json)
    }
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
