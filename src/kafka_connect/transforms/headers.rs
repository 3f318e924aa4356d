//! Transformations of headers.

use super::super::config::{ConfigError, Settings};
use super::super::converters::simple_header;
use super::super::record::{ConnectError, Datum, Header, Record, map_get, refused};
use super::super::value::Value;
use super::{Side, Transformation, fields_of, replaces_null, structure};

/// Appends a header with a fixed value.
pub struct InsertHeader {
    header: Header,
}

impl InsertHeader {
    pub fn make(settings: Settings<'_>, _side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        let name = settings.required("header")?.to_owned();
        let datum = simple_header::read(settings.required("value.literal")?);
        Ok(Box::new(InsertHeader { header: Header { name, datum } }))
    }
}

impl Transformation for InsertHeader {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, ConnectError> {
        record.headers.push(self.header.clone());
        Ok(Some(record))
    }
}

/// Takes away all headers of some names.
pub struct DropHeaders {
    names: Vec<String>,
}

impl DropHeaders {
    pub fn make(settings: Settings<'_>, _side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        Ok(Box::new(DropHeaders { names: settings.required_list("headers")? }))
    }
}

impl Transformation for DropHeaders {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, ConnectError> {
        record.headers.retain(|header| !self.names.contains(&header.name));
        Ok(Some(record))
    }
}

/// Copies or moves fields to headers.
pub struct HeaderFrom {
    side: Side,
    /// Fields and the headers that they become.
    pairs: Vec<(String, String)>,
    moves: bool,
    replace_null: bool,
}

impl HeaderFrom {
    pub fn make(settings: Settings<'_>, side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        let (fields, headers) = (settings.required_list("fields")?, settings.required_list("headers")?);
        if fields.len() != headers.len() {
            return Err(
                settings.error("fields", "'fields' config must have the same number of elements as 'headers' config.")
            );
        }
        let operation = settings.required("operation")?;
        let moves = match operation {
            "move" => true,
            "copy" => false,
            other => return Err(settings.invalid("operation", other, "String must be one of: move, copy")),
        };
        let pairs = fields.into_iter().zip(headers).collect();
        Ok(Box::new(HeaderFrom { side, pairs, moves, replace_null: replaces_null(settings)? }))
    }

    fn is_moved(&self, name: &str) -> bool {
        self.moves && self.pairs.iter().any(|(field, _)| field == name)
    }
}

impl Transformation for HeaderFrom {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, ConnectError> {
        let purpose = if self.moves { "header move" } else { "header copy" };
        let datum = self.side.of(&record).clone();
        let mut headers = Vec::with_capacity(self.pairs.len());
        let changed = match &datum.schema {
            None => {
                let entries = datum.as_map(purpose)?;
                for (field, header) in &self.pairs {
                    let value = map_get(entries, field).cloned().unwrap_or(Value::Null);
                    headers.push(Header { name: header.clone(), datum: Datum::schemaless(value) });
                }
                let kept = entries.iter().filter(|(key, _)| !matches!(key, Value::String(name) if self.is_moved(name)));
                Datum::schemaless(Value::Map(kept.cloned().collect()))
            }
            Some(schema) => {
                let fields: Vec<_> = fields_of(datum.as_struct(purpose)?, self.replace_null).collect();
                for (name, header) in &self.pairs {
                    let Some((field, value)) = fields.iter().find(|(field, _)| field.name == *name) else {
                        return refused(format!("Field does not exist: {name}"));
                    };
                    let datum = Datum { schema: Some(field.schema.clone()), value: value.clone() };
                    headers.push(Header { name: header.clone(), datum });
                }
                let kept = fields.into_iter().filter(|(field, _)| !self.is_moved(&field.name)).collect();
                structure(schema, kept)?
            }
        };
        record.headers.extend(headers);
        Ok(Some(if self.moves { self.side.put(record, changed) } else { record }))
    }
}
