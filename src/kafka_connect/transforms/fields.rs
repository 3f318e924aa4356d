//! Transformations that add, take away, rename, wrap and unwrap fields.

use std::sync::Arc;

use arrow::datatypes::DataType;

use super::super::columns::{self, Columns, Part};
use super::super::config::{ConfigError, Settings};
use super::super::record::{ConnectError, Datum, Record, map_get, map_put, refused};
use super::super::schema::{Field, Kind, Logical, Schema};
use super::super::value::Value;
use super::{Side, Transformation, field_value, fields_of, replaces_null, structure};

/// Adds the topic, partition, offset or timestamp of a record, or a fixed text, as fields.
pub struct InsertField {
    side: Side,
    inserted: Vec<Inserted>,
    replace_null: bool,
}

struct Inserted {
    name: String,
    optional: bool,
    what: What,
}

enum What {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Static(String),
}

impl InsertField {
    pub fn make(settings: Settings<'_>, side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        let text = settings.get("static.value").map(str::to_owned);
        if settings.get("static.field").is_some() && text.is_none() {
            return Err(settings.error(
                "static.value",
                "Invalid value null for configuration static.value: No value specified for static field: static.field",
            ));
        }
        let given = [
            ("topic.field", What::Topic),
            ("partition.field", What::Partition),
            ("offset.field", What::Offset),
            ("timestamp.field", What::Timestamp),
            ("static.field", What::Static(text.unwrap_or_default())),
        ];
        let inserted: Vec<Inserted> = given
            .into_iter()
            .filter_map(|(key, what)| {
                let name = settings.get(key)?;
                // `!` behind the name: required, `?`: optional.
                let bare = name.strip_suffix(['!', '?']).unwrap_or(name);
                Some(Inserted { name: bare.to_owned(), optional: !name.ends_with('!'), what })
            })
            .collect();
        if inserted.is_empty() {
            return Err(settings.error("", "No field insertion configured"));
        }
        Ok(Box::new(InsertField { side, inserted, replace_null: replaces_null(settings)? }))
    }

    fn value(what: &What, record: &Record) -> Result<Value, ConnectError> {
        Ok(match what {
            What::Topic => Value::String(record.topic.clone()),
            What::Partition => record.partition.map_or(Value::Null, Value::Int32),
            What::Offset => match record.offset {
                Some(offset) => Value::Int64(offset),
                None => {
                    return refused(
                        "Only SinkRecord supported for [field insertion], found: org.apache.kafka.connect.source.SourceRecord",
                    );
                }
            },
            What::Timestamp => record.timestamp.map_or(Value::Null, Value::Timestamp),
            What::Static(text) => Value::String(text.clone()),
        })
    }
}

impl What {
    fn schema(&self) -> Schema {
        match self {
            What::Topic | What::Static(_) => Schema::new(Kind::String),
            What::Partition => Schema::new(Kind::Int32),
            What::Offset => Schema::new(Kind::Int64),
            What::Timestamp => Schema::logical(Logical::Timestamp),
        }
    }
}

impl Transformation for InsertField {
    fn columns(&self, mut columns: Columns) -> Option<Columns> {
        let (topic, count) = (columns.topic.clone(), columns.count);
        let part = self.side.part(&mut columns);
        if matches!(part, Part::Null(_)) {
            return Some(columns);
        }
        let (schema, fields) = part.fields()?;
        let mut fields: Vec<_> = fields.map(|(field, column)| (field.clone(), column.clone())).collect();
        for inserted in &self.inserted {
            let column = match &inserted.what {
                What::Topic => columns::constant(&topic, count),
                What::Static(text) => columns::constant(text, count),
                // The key decides, later.
                What::Partition => columns::nulls(&DataType::Int32, count),
                What::Offset | What::Timestamp => return None,
            };
            let schema = Schema { optional: inserted.optional, ..inserted.what.schema() };
            fields.push((Field { name: inserted.name.clone(), schema: Arc::new(schema) }, column));
        }
        *part = Part::of_fields(&schema.clone(), fields)?;
        Some(columns)
    }

    fn apply(&self, record: Record) -> Result<Option<Record>, ConnectError> {
        let datum = self.side.of(&record);
        if datum.value.is_null() {
            return Ok(Some(record));
        }
        let changed = match &datum.schema {
            None => {
                let mut entries = datum.as_map("field insertion")?.to_vec();
                for inserted in &self.inserted {
                    let value = match Self::value(&inserted.what, &record)? {
                        // Without a schema the time is a plain number, and a missing one is left out.
                        Value::Timestamp(ms) => Value::Int64(ms),
                        Value::Null => continue,
                        value => value,
                    };
                    map_put(&mut entries, &inserted.name, value);
                }
                Datum::schemaless(Value::Map(entries))
            }
            Some(schema) => {
                let mut fields: Vec<_> = fields_of(datum.as_struct("field insertion")?, self.replace_null).collect();
                for inserted in &self.inserted {
                    let ty = Schema { optional: inserted.optional, ..inserted.what.schema() };
                    let value = Self::value(&inserted.what, &record)?;
                    fields.push((Field { name: inserted.name.clone(), schema: Arc::new(ty) }, value));
                }
                structure(schema, fields)?
            }
        };
        Ok(Some(self.side.put(record, changed)))
    }
}

/// Keeps, drops and renames fields.
pub struct ReplaceField {
    side: Side,
    include: Vec<String>,
    exclude: Vec<String>,
    renames: Vec<(String, String)>,
    replace_null: bool,
}

impl ReplaceField {
    pub fn make(settings: Settings<'_>, side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        let list = settings.list("renames");
        let mut renames = Vec::new();
        for pair in &list {
            match pair.split(':').collect::<Vec<_>>().as_slice() {
                [old, new] => renames.push((old.trim().to_owned(), new.trim().to_owned())),
                _ => {
                    let shown = format!("[{}]", list.join(", "));
                    return Err(settings.invalid("renames", &shown, &format!("Invalid rename mapping: {pair}")));
                }
            }
        }
        let (include, exclude) = (settings.list("include"), settings.list("exclude"));
        Ok(Box::new(ReplaceField { side, include, exclude, renames, replace_null: replaces_null(settings)? }))
    }

    /// Its new name, if it stays.
    fn name<'a>(&'a self, old: &'a str) -> Option<&'a str> {
        let has = |list: &[String]| list.iter().any(|name| name == old);
        if has(&self.exclude) || !(self.include.is_empty() || has(&self.include)) {
            return None;
        }
        Some(self.renames.iter().find(|(from, _)| from == old).map_or(old, |(_, to)| to))
    }
}

impl Transformation for ReplaceField {
    fn columns(&self, mut columns: Columns) -> Option<Columns> {
        let part = self.side.part(&mut columns);
        if matches!(part, Part::Null(_)) {
            return Some(columns);
        }
        let (schema, fields) = part.fields()?;
        let kept = fields.filter_map(|(field, column)| {
            let name = self.name(&field.name)?.to_owned();
            Some((Field { name, schema: field.schema.clone() }, column.clone()))
        });
        let kept: Vec<_> = kept.collect();
        *part = Part::of_fields(&schema.clone(), kept)?;
        Some(columns)
    }

    fn apply(&self, record: Record) -> Result<Option<Record>, ConnectError> {
        let datum = self.side.of(&record);
        let changed = match (&datum.schema, &datum.value) {
            (_, Value::Null) => return Ok(Some(record)),
            (None, _) => {
                let mut kept = Vec::new();
                for (key, value) in datum.as_map("field replacement")? {
                    match key {
                        Value::String(old) => {
                            if let Some(name) = self.name(old) {
                                map_put(&mut kept, name, value.clone());
                            }
                        }
                        other => kept.push((other.clone(), value.clone())),
                    }
                }
                Datum::schemaless(Value::Map(kept))
            }
            (Some(schema), _) => {
                let fields = fields_of(datum.as_struct("field replacement")?, self.replace_null);
                let kept = fields.filter_map(|(field, value)| {
                    let name = self.name(&field.name)?.to_owned();
                    Some((Field { name, ..field }, value))
                });
                structure(schema, kept.collect())?
            }
        };
        Ok(Some(self.side.put(record, changed)))
    }
}

/// Wraps the whole value into a field.
pub struct HoistField {
    side: Side,
    field: String,
}

impl HoistField {
    pub fn make(settings: Settings<'_>, side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        Ok(Box::new(HoistField { side, field: settings.required("field")?.to_owned() }))
    }
}

impl Transformation for HoistField {
    fn columns(&self, mut columns: Columns) -> Option<Columns> {
        let count = columns.count;
        let part = self.side.part(&mut columns);
        let (schema, column) = std::mem::replace(part, Part::Null(None)).into_column(count)?;
        let field = Field { name: self.field.clone(), schema };
        *part = Part::of_fields(&Schema::new(Kind::Struct(Vec::new())), [(field, column)])?;
        Some(columns)
    }

    fn apply(&self, record: Record) -> Result<Option<Record>, ConnectError> {
        let datum = self.side.of(&record).clone();
        let hoisted = match datum.schema {
            None => Datum::schemaless(Value::Map(vec![(Value::String(self.field.clone()), datum.value)])),
            Some(schema) => {
                let field = Field { name: self.field.clone(), schema };
                structure(&Schema::new(Kind::Struct(Vec::new())), vec![(field, datum.value)])?
            }
        };
        Ok(Some(self.side.put(record, hoisted)))
    }
}

/// Puts one field in place of the whole.
pub struct ExtractField {
    side: Side,
    /// Names on the way down.
    path: Vec<String>,
    /// As it was written.
    written: String,
    replace_null: bool,
}

impl ExtractField {
    pub fn make(settings: Settings<'_>, side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        const VERSION: &str = "field.syntax.version";
        let written = settings.required("field")?.to_owned();
        let path = match settings.get(VERSION).unwrap_or("V1").to_uppercase().as_str() {
            "V1" => vec![written.clone()],
            "V2" => split_path(&written).map_err(|why| settings.invalid("field", &written, &why))?,
            other => return Err(settings.invalid(VERSION, other, "String must be one of: V1, V2")),
        };
        Ok(Box::new(ExtractField { side, path, written, replace_null: replaces_null(settings)? }))
    }

    fn extract(&self, datum: &Datum) -> Result<Datum, ConnectError> {
        let Some(schema) = &datum.schema else {
            let mut value = datum.value.clone();
            if !value.is_null() {
                datum.as_map("field extraction")?;
            }
            for (depth, name) in self.path.iter().enumerate() {
                value = match value {
                    Value::Map(entries) => map_get(&entries, name).cloned().unwrap_or(Value::Null),
                    other if depth > 0 && !other.is_null() => {
                        Datum::schemaless(other).as_map("nested field access")?;
                        Value::Null
                    }
                    _ => Value::Null,
                };
            }
            return Ok(Datum::schemaless(value));
        };
        if !datum.value.is_null() {
            datum.as_struct("field extraction")?;
        }
        let (mut schema, mut value) = (schema.clone(), datum.value.clone());
        for name in &self.path {
            let Some(index) = schema.fields().iter().position(|field| field.name == *name) else {
                return refused(format!("Unknown field: {}", self.written));
            };
            let field = schema.fields()[index].clone();
            value = match &value {
                Value::Struct(row) => field_value(&field, &row.values[index], self.replace_null),
                _ => Value::Null,
            };
            schema = field.schema;
        }
        Ok(Datum { schema: Some(schema), value })
    }
}

impl Transformation for ExtractField {
    fn columns(&self, mut columns: Columns) -> Option<Columns> {
        let [name] = self.path.as_slice() else { return None };
        let part = self.side.part(&mut columns);
        let (_, mut fields) = part.fields()?;
        let (field, column) = fields.find(|(field, _)| field.name == *name)?;
        let extracted = Part::of_column(field.schema.clone(), column.clone())?;
        drop(fields);
        *part = extracted;
        Some(columns)
    }

    fn apply(&self, record: Record) -> Result<Option<Record>, ConnectError> {
        let extracted = self.extract(self.side.of(&record))?;
        Ok(Some(self.side.put(record, extracted)))
    }
}

/// `a.b.c`; a name with a dot in it stands between backticks.
fn split_path(text: &str) -> Result<Vec<String>, String> {
    let mut path = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('`') {
            let end = quoted.match_indices('`').map(|(at, _)| at).find(|at| {
                let behind = &quoted[at + 1..];
                behind.is_empty() || behind.starts_with('.')
            });
            let Some(end) = end else { return Err(format!("Incomplete backtick pair in path: [{text}]")) };
            path.push(quoted[..end].replace("\\`", "`"));
            match quoted[end + 1..].strip_prefix('.') {
                Some(behind) => rest = behind,
                None => return Ok(path),
            }
        } else {
            match rest.split_once('.') {
                Some((name, behind)) => {
                    path.push(name.to_owned());
                    rest = behind;
                }
                None => {
                    path.push(rest.to_owned());
                    return Ok(path);
                }
            }
        }
    }
}

/// Sets the name and version of a schema.
pub struct SetSchemaMetadata {
    side: Side,
    name: Option<String>,
    version: Option<i32>,
    replace_null: bool,
}

impl SetSchemaMetadata {
    pub fn make(settings: Settings<'_>, side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        let name = settings.get("schema.name").map(str::to_owned);
        let version = settings.int("schema.version")?;
        if name.is_none() && version.is_none() {
            return Err(settings.error("", "Neither schema name nor version configured"));
        }
        Ok(Box::new(SetSchemaMetadata { side, name, version, replace_null: replaces_null(settings)? }))
    }
}

impl SetSchemaMetadata {
    fn named(&self, schema: &Schema) -> Arc<Schema> {
        let mut named = Schema::clone(schema);
        named.name = self.name.clone().or(named.name);
        named.version = self.version.or(named.version);
        Arc::new(named)
    }
}

impl Transformation for SetSchemaMetadata {
    fn columns(&self, mut columns: Columns) -> Option<Columns> {
        match self.side.part(&mut columns) {
            Part::Null(None) => {}
            Part::Struct(schema, _) => *schema = self.named(schema),
            Part::Null(Some(_)) | Part::Whole(..) => return None,
        }
        Some(columns)
    }

    fn apply(&self, record: Record) -> Result<Option<Record>, ConnectError> {
        let datum = self.side.of(&record);
        let Some(schema) = &datum.schema else {
            if datum.value.is_null() {
                return Ok(Some(record));
            }
            return refused("Schema required for [updating schema metadata]");
        };
        if !matches!(schema.kind, Kind::Struct(_)) {
            return refused("Cannot list fields on non-struct type");
        }
        let named = self.named(schema);
        let value = match &datum.value {
            Value::Struct(row) => {
                let values = fields_of(row, self.replace_null).map(|(_, value)| value).collect();
                Value::Struct(super::Struct { schema: named.clone(), values })
            }
            other => other.clone(),
        };
        Ok(Some(self.side.put(record, Datum { schema: Some(named), value })))
    }
}

/// Makes the key of fields of the value.
pub struct ValueToKey {
    fields: Vec<String>,
    replace_null: bool,
}

impl ValueToKey {
    pub fn make(settings: Settings<'_>, _side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        let fields = settings.required_list("fields")?;
        Ok(Box::new(ValueToKey { fields, replace_null: replaces_null(settings)? }))
    }
}

impl Transformation for ValueToKey {
    fn columns(&self, mut columns: Columns) -> Option<Columns> {
        let (_, fields) = columns.value.fields()?;
        let fields: Vec<_> = fields.collect();
        let named = |name: &String| {
            let (field, column) = fields.iter().find(|(field, _)| field.name == *name)?;
            Some(((*field).clone(), (*column).clone()))
        };
        let key = self.fields.iter().map(named).collect::<Option<Vec<_>>>()?;
        columns.key = Part::of_fields(&Schema::new(Kind::Struct(Vec::new())), key)?;
        Some(columns)
    }

    fn apply(&self, mut record: Record) -> Result<Option<Record>, ConnectError> {
        const PURPOSE: &str = "copying fields from value to key";
        record.key = match &record.value.schema {
            None => {
                let entries = record.value.as_map(PURPOSE)?;
                let field = |name: &String| {
                    (Value::String(name.clone()), map_get(entries, name).cloned().unwrap_or(Value::Null))
                };
                Datum::schemaless(Value::Map(self.fields.iter().map(field).collect()))
            }
            Some(_) => {
                let fields: Vec<_> = fields_of(record.value.as_struct(PURPOSE)?, self.replace_null).collect();
                let named = |name: &String| {
                    let found = fields.iter().find(|(field, _)| field.name == *name).cloned();
                    found.ok_or_else(|| ConnectError::new(format!("Field does not exist: {name}")))
                };
                let key = self.fields.iter().map(named).collect::<Result<_, _>>()?;
                structure(&Schema::new(Kind::Struct(Vec::new())), key)?
            }
        };
        Ok(Some(record))
    }
}
