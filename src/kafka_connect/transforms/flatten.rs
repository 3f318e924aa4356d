//! Flattening: fields within fields become fields with longer names.

use std::sync::Arc;

use arrow::array::ArrayRef;

use super::super::columns::{self, Columns, Part};
use super::super::config::{ConfigError, Settings};
use super::super::record::{ConnectError, Datum, Record, map_put, refused};
use super::super::schema::{Field, Kind, Schema};
use super::super::value::Value;
use super::{Side, Transformation, structure};

/// `a: {b: 1}` → `a.b: 1`.
pub struct Flatten {
    side: Side,
    delimiter: String,
}

impl Flatten {
    pub fn make(settings: Settings<'_>, side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        Ok(Box::new(Flatten { side, delimiter: settings.get("delimiter").unwrap_or(".").to_owned() }))
    }

    fn name(&self, prefix: &str, name: &str) -> String {
        if prefix.is_empty() { name.to_owned() } else { format!("{prefix}{}{name}", self.delimiter) }
    }

    /// `value` is null where a struct around it is; `optional` if one of those may be.
    fn put_fields(
        &self,
        prefix: &str,
        schema: &Schema,
        value: &Value,
        optional: bool,
        out: &mut Vec<(Field, Value)>,
    ) -> Result<(), ConnectError> {
        for (index, field) in schema.fields().iter().enumerate() {
            let name = self.name(prefix, &field.name);
            let value = match value {
                Value::Struct(row) => match &row.values[index] {
                    Value::Null => field.schema.default.clone().unwrap_or(Value::Null),
                    value => value.clone(),
                },
                _ => Value::Null,
            };
            match &field.schema.kind {
                Kind::Struct(_) => {
                    self.put_fields(&name, &field.schema, &value, optional || field.schema.optional, out)?;
                }
                Kind::Map(..) => {
                    return refused(format!(
                        "Flatten transformation does not support MAP for record with schemas (for field {name})."
                    ));
                }
                _ => {
                    let mut inner = Schema::clone(&field.schema);
                    inner.optional |= optional;
                    out.push((Field { name, schema: Arc::new(inner) }, value));
                }
            }
        }
        Ok(())
    }

    /// The same of columns: those of a struct that is null are null.
    fn put_columns<'a>(
        &self,
        prefix: &str,
        fields: impl Iterator<Item = (&'a Field, ArrayRef)>,
        optional: bool,
        out: &mut Vec<(Field, ArrayRef)>,
    ) -> Option<()> {
        for (field, column) in fields {
            let name = self.name(prefix, &field.name);
            match &field.schema.kind {
                Kind::Struct(inner) => {
                    let optional = optional || field.schema.optional;
                    self.put_columns(&name, inner.iter().zip(columns::children(&column)?), optional, out)?;
                }
                // Both are for the way row by row.
                Kind::Map(..) => return None,
                _ if columns::may_mean_default(field, &column) => return None,
                _ => {
                    let mut schema = Schema::clone(&field.schema);
                    schema.optional |= optional;
                    out.push((Field { name, schema: Arc::new(schema) }, column));
                }
            }
        }
        Some(())
    }

    fn put_entries(&self, prefix: &str, entries: &[(Value, Value)], out: &mut Vec<(Value, Value)>) {
        for (key, value) in entries {
            let name = self.name(prefix, &key.java_text());
            match value {
                Value::Map(inner) => self.put_entries(&name, inner, out),
                other => map_put(out, &name, other.clone()),
            }
        }
    }
}

impl Transformation for Flatten {
    fn columns(&self, mut columns: Columns) -> Option<Columns> {
        let part = self.side.part(&mut columns);
        if matches!(part, Part::Null(_)) {
            return Some(columns);
        }
        let (schema, fields) = part.fields()?;
        let mut flat = Vec::new();
        let fields = fields.map(|(field, column)| (field, column.clone()));
        self.put_columns("", fields, schema.optional, &mut flat)?;
        *part = Part::of_fields(&schema.clone(), flat)?;
        Some(columns)
    }

    fn apply(&self, record: Record) -> Result<Option<Record>, ConnectError> {
        let datum = self.side.of(&record);
        let changed = match (&datum.schema, &datum.value) {
            (_, Value::Null) => return Ok(Some(record)),
            (None, _) => {
                let mut entries = Vec::new();
                self.put_entries("", datum.as_map("flattening")?, &mut entries);
                Datum::schemaless(Value::Map(entries))
            }
            (Some(schema), value) => {
                datum.as_struct("flattening")?;
                let mut fields = Vec::new();
                self.put_fields("", schema, value, schema.optional, &mut fields)?;
                structure(schema, fields)?
            }
        };
        Ok(Some(self.side.put(record, changed)))
    }
}
