//! Options from a file: Avro values of one type, as Avro's JSON or in binary, one behind the other.
//!
//! Both become Avro's JSON: bytes as text of Latin-1 characters, a union's value as `{"branch": value}`.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::bounds::java_class;
use crate::registry::avro::{NamedKind, Primitive, Schema, Type};

/// More values than this are surely not meant: they are all kept in memory.
const FILE_MAX: u64 = 64 << 20;

/// Reads `{"file": path, "encoding": "json" | "binary"}`; relative paths begin at `folder`.
///
/// # Errors
/// What is wrong, in the genuine generator's words where it has some.
pub fn read(options: &Map<String, Json>, folder: &Path, schema: &Schema, ty: &Type) -> Result<Vec<Json>, String> {
    let text = |key: &str| match options.get(key) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.as_str())),
        Some(other) => {
            Err(format!("'{key}' field of options property must be given as string, was {} instead", java_class(other)))
        }
    };
    let (file, encoding) = (text("file")?, text("encoding")?);
    let file = file.ok_or("options property must contain 'file' field when given as object")?;
    let encoding = encoding.ok_or("options property must contain 'encoding' field when given as object")?;
    if !["json", "binary"].contains(&encoding) {
        return Err("'encoding' field of options property only supports two formats: 'binary' and 'json'".into());
    }
    let path = folder.join(file);
    let unreadable = |why: &dyn std::fmt::Display| format!("Unable to read options file '{file}': {why}");
    let found = std::fs::metadata(&path).map_err(|_| format!("Unable to locate options file '{file}'"))?;
    if found.len() > FILE_MAX {
        return Err(unreadable(&format!("it is larger than {} MiB", FILE_MAX >> 20)));
    }
    let bytes = std::fs::read(&path).map_err(|why| unreadable(&why))?;
    let values = match encoding {
        "json" => from_json(&bytes),
        _ => from_binary(&bytes, schema, ty),
    };
    let values = values.map_err(|why| unreadable(&why))?;
    if values.is_empty() {
        return Err(unreadable(&"there is no value in it"));
    }
    Ok(values)
}

fn from_json(bytes: &[u8]) -> Result<Vec<Json>, String> {
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_slice(bytes).into_iter() {
        values.push(value.map_err(|error| error.to_string())?);
    }
    Ok(values)
}

fn from_binary(bytes: &[u8], schema: &Schema, ty: &Type) -> Result<Vec<Json>, String> {
    let mut binary = Binary { bytes, at: 0, schema };
    let mut values = Vec::new();
    while binary.at < bytes.len() {
        let start = binary.at;
        values.push(binary.value(ty)?);
        if binary.at == start {
            return Err("its values take no bytes, so that nobody can count them".into());
        }
    }
    Ok(values)
}

/// Avro's binary encoding, read to Avro's JSON.
struct Binary<'a> {
    bytes: &'a [u8],
    at: usize,
    schema: &'a Schema,
}

impl Binary<'_> {
    fn value(&mut self, ty: &Type) -> Result<Json, String> {
        match ty {
            Type::Primitive { kind, .. } => self.primitive(*kind),
            Type::Array { items, .. } => {
                let mut list = Vec::new();
                self.blocks(|binary| {
                    list.push(binary.value(items)?);
                    Ok(())
                })?;
                Ok(Json::Array(list))
            }
            Type::Map { values, .. } => {
                let mut map = Map::new();
                self.blocks(|binary| {
                    let key = binary.text()?;
                    map.insert(key, binary.value(values)?);
                    Ok(())
                })?;
                Ok(Json::Object(map))
            }
            Type::Union(branches) => {
                let index = usize::try_from(self.long()?).ok();
                let branch = index.and_then(|index| branches.get(index)).ok_or("a union has no such branch")?;
                let value = self.value(branch)?;
                if value.is_null() {
                    return Ok(value);
                }
                Ok(Json::Object(Map::from_iter([(branch_name(branch).to_string(), value)])))
            }
            Type::Definition(name) | Type::Reference(name) => {
                let schema = self.schema;
                match &schema.named[name].kind {
                    NamedKind::Record { fields } => {
                        let value = |field: &crate::registry::avro::Field| {
                            Ok::<_, String>((field.name.clone(), self.value(&field.ty)?))
                        };
                        Ok(Json::Object(fields.iter().map(value).collect::<Result<_, _>>()?))
                    }
                    NamedKind::Enum { symbols, .. } => {
                        let index = usize::try_from(self.long()?).ok();
                        let symbol = index.and_then(|index| symbols.get(index));
                        Ok(symbol.ok_or("an enum has no such symbol")?.as_str().into())
                    }
                    NamedKind::Fixed { size } => Ok(latin_1(self.take(*size)?)),
                }
            }
        }
    }

    fn primitive(&mut self, kind: Primitive) -> Result<Json, String> {
        Ok(match kind {
            Primitive::Null => Json::Null,
            Primitive::Boolean => (self.take(1)?[0] != 0).into(),
            Primitive::Int | Primitive::Long => self.long()?.into(),
            Primitive::Float => {
                let bytes = self.take(4)?.try_into().expect("four bytes were taken");
                // By its shortest text, which is the same float again.
                number(f32::from_le_bytes(bytes).to_string())
            }
            Primitive::Double => {
                number(f64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken")).to_string())
            }
            Primitive::Bytes => {
                let length = self.length()?;
                latin_1(self.take(length)?)
            }
            Primitive::String => self.text()?.into(),
        })
    }

    /// Items of a list or a map.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // The block's length in bytes follows, for readers that skip it.
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                let start = self.at;
                item(self)?;
                if self.at == start && count.unsigned_abs() > 1 << 16 {
                    return Err("a list is too long".into());
                }
            }
        }
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.length()?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "a string is not UTF-8")?;
        Ok(text.into())
    }

    fn length(&mut self) -> Result<usize, String> {
        usize::try_from(self.long()?).map_err(|_| "a length is negative".into())
    }

    fn long(&mut self) -> Result<i64, String> {
        let mut bits = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            bits |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        Err("a number is too long".into())
    }

    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let taken = &self.bytes[self.at..end.ok_or("it ends within a value")?];
        self.at += count;
        Ok(taken)
    }
}

/// What the branch of a union is called in Avro's JSON.
pub fn branch_name(branch: &Type) -> &str {
    match branch {
        Type::Primitive { kind, .. } => kind.word(),
        Type::Array { .. } => "array",
        Type::Map { .. } => "map",
        Type::Union(_) => "union",
        Type::Definition(name) | Type::Reference(name) => name,
    }
}

fn latin_1(bytes: &[u8]) -> Json {
    bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into()
}

/// JSON has no number for what is not finite; Avro's JSON has texts then.
fn number(text: String) -> Json {
    match text.as_str() {
        "NaN" => "NaN".into(),
        "inf" => "Infinity".into(),
        "-inf" => "-Infinity".into(),
        finite => Json::deserialize(&mut serde_json::Deserializer::from_str(finite)).unwrap_or_default(),
    }
}
