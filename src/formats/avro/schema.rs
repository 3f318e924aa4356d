//! Avro schemas ↔ Arrow schemas.
//!
//! The types are those of arrow-avro's decoders. What Arrow has no place for stands in field
//! metadata, so that a column that is passed on keeps its name, namespace, documentation and default.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit, UnionFields, UnionMode};
use arrow_avro::schema::{
    AVRO_DOC_METADATA_KEY as DOC, AVRO_ENUM_SYMBOLS_METADATA_KEY as SYMBOLS,
    AVRO_FIELD_DEFAULT_METADATA_KEY as DEFAULT, AVRO_NAME_METADATA_KEY as NAME,
    AVRO_NAMESPACE_METADATA_KEY as NAMESPACE,
};
use serde_json::{Map, Value, json};

use super::model::{self, Kind, Logical, Name, Record, Type, fixed_digits};
use crate::formats::fields;
use crate::report::Failure;

/// Documentation of a named type; that of the field is under arrow-avro's key.
const TYPE_DOC: &str = "avro.type.doc";
/// The default symbol of an enum.
const ENUM_DEFAULT: &str = "avro.enum.default";
/// Size of the fixed behind a decimal.
const FIXED_SIZE: &str = "avro.fixed.size";
/// The time zone of timestamps that are points in time.
const UTC: &str = "UTC";

fn unreadable(reason: impl std::fmt::Display) -> Failure {
    Failure::user("avro.schema", format!("the Avro schema cannot be used: {reason}"))
}

pub(super) fn parse(text: &str) -> Result<Type, Failure> {
    Type::parse(text).map_err(unreadable)
}

/// The Arrow schema of the rows that a schema's values give; its name, namespace and
/// documentation stand in the schema's metadata.
///
/// # Errors
/// [`Failure`] (user) `avro.schema` if the text is not an Avro schema, or a recursive one.
pub fn arrow_schema(text: &str) -> Result<Schema, Failure> {
    record_schema(&parse(text)?.into_record()).map_err(unreadable)
}

/// Whether the schema's values are records, not a lone string, long …
pub(in crate::formats) fn is_record(text: &str) -> Result<bool, Failure> {
    Ok(matches!(parse(text)?.kind, Kind::Record(_)))
}

/// The schema that reads only `columns` of a registered one (all of them for `None`), in that order.
/// References are expanded: it is for [`super::AvroDecoder`], not for a registry.
///
/// # Errors
/// [`Failure`] (user) `avro.schema`; `avro.unknown_column` for a column that the schema lacks.
pub fn reader_schema(registered: &str, columns: Option<&[String]>) -> Result<String, Failure> {
    let mut ty = parse(registered)?;
    if let (Kind::Record(record), Some(columns)) = (&mut ty.kind, columns) {
        record.fields = columns.iter().map(|column| field_of(record, column)).collect::<Result<_, _>>()?;
    }
    Ok(ty.expanded().to_string())
}

fn field_of(record: &Record, column: &str) -> Result<model::Field, Failure> {
    record.fields.iter().find(|field| field.name == column).cloned().ok_or_else(|| {
        let names: Vec<_> = record.fields.iter().map(|field| field.name.as_str()).collect();
        Failure::user(
            "avro.unknown_column",
            format!("`{}` has no field `{column}`; it has: {}", record.name.full, names.join(", ")),
        )
    })
}

pub(super) fn record_schema(record: &Record) -> Result<Schema, String> {
    let fields = record.fields.iter().map(arrow_field).collect::<Result<Vec<_>, _>>()?;
    let mut metadata = name_metadata(&record.name);
    metadata.extend(record.doc.iter().map(|doc| (DOC.to_owned(), doc.clone())));
    Ok(Schema::new_with_metadata(fields, metadata))
}

fn arrow_field(field: &model::Field) -> Result<Field, String> {
    let mut arrow = site(&field.name, &field.ty)?;
    let mut metadata = std::mem::take(arrow.metadata_mut());
    metadata.extend(field.doc.iter().map(|doc| (DOC.to_owned(), doc.clone())));
    metadata.extend(field.default.iter().map(|default| (DEFAULT.to_owned(), default.to_string())));
    Ok(arrow.with_metadata(metadata))
}

fn name_metadata(name: &Name) -> HashMap<String, String> {
    let mut metadata = HashMap::from([(NAME.to_owned(), name.short().to_owned())]);
    metadata.extend(name.namespace().map(|namespace| (NAMESPACE.to_owned(), namespace.to_owned())));
    metadata
}

/// A type where it stands: as a column, a list's item, a map's value, a union's branch.
pub(super) fn site(name: &str, ty: &Type) -> Result<Field, String> {
    if let Some((_, inner)) = ty.nullable() {
        return Ok(site(name, inner)?.with_nullable(true));
    }
    let mut metadata = ty.name().map(name_metadata).unwrap_or_default();
    let mut nullable = ty.kind == Kind::Null;
    let data_type = match &ty.kind {
        _ if ty.logical.is_some() => logical_type(ty, &mut metadata)?,
        Kind::Null => DataType::Null,
        Kind::Boolean => DataType::Boolean,
        Kind::Int => DataType::Int32,
        Kind::Long => DataType::Int64,
        Kind::Float => DataType::Float32,
        Kind::Double => DataType::Float64,
        Kind::Bytes => DataType::Binary,
        Kind::String => DataType::Utf8,
        Kind::Fixed(fixed) => DataType::FixedSizeBinary(fixed.size as i32),
        Kind::Array(items) => DataType::List(Arc::new(site(Field::LIST_FIELD_DEFAULT_NAME, items)?)),
        Kind::Map(values) => {
            let entry = vec![Field::new("key", DataType::Utf8, false), site("value", values)?];
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry.into()), false)), false)
        }
        Kind::Enum(symbols) => {
            metadata.insert(SYMBOLS.to_owned(), json!(symbols.symbols).to_string());
            metadata.extend(symbols.default.iter().map(|symbol| (ENUM_DEFAULT.to_owned(), symbol.clone())));
            metadata.extend(symbols.doc.iter().map(|doc| (TYPE_DOC.to_owned(), doc.clone())));
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
        }
        Kind::Record(record) => {
            metadata.extend(record.doc.iter().map(|doc| (TYPE_DOC.to_owned(), doc.clone())));
            DataType::Struct(record.fields.iter().map(arrow_field).collect::<Result<Fields, _>>()?)
        }
        Kind::Union(branches) => {
            nullable = branches.iter().any(|branch| branch.kind == Kind::Null);
            union_type(branches)?
        }
    };
    Ok(Field::new(name, data_type, nullable).with_metadata(metadata))
}

fn logical_type(ty: &Type, metadata: &mut HashMap<String, String>) -> Result<DataType, String> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond};
    let utc = || Some(Arc::from(UTC));
    Ok(match ty.logical {
        Some(Logical::Decimal { precision, scale }) => {
            if let Kind::Fixed(fixed) = &ty.kind {
                metadata.insert(FIXED_SIZE.to_owned(), fixed.size.to_string());
            }
            if precision <= 38 {
                DataType::Decimal128(precision, scale)
            } else {
                DataType::Decimal256(precision, scale)
            }
        }
        Some(Logical::Date) => DataType::Date32,
        Some(Logical::TimeMillis) => DataType::Time32(Millisecond),
        Some(Logical::TimeMicros) => DataType::Time64(Microsecond),
        Some(Logical::TimestampMillis) => DataType::Timestamp(Millisecond, utc()),
        Some(Logical::TimestampMicros) => DataType::Timestamp(Microsecond, utc()),
        Some(Logical::TimestampNanos) => DataType::Timestamp(Nanosecond, utc()),
        Some(Logical::LocalTimestampMillis) => DataType::Timestamp(Millisecond, None),
        Some(Logical::LocalTimestampMicros) => DataType::Timestamp(Microsecond, None),
        Some(Logical::LocalTimestampNanos) => DataType::Timestamp(Nanosecond, None),
        Some(Logical::Uuid) => {
            metadata.insert(fields::EXTENSION_NAME.to_owned(), fields::UUID_EXTENSION.to_owned());
            DataType::FixedSizeBinary(16)
        }
        Some(Logical::Duration) => return Err("the logical type `duration` comes in a later release".into()),
        None => return Err("a plain type is not a logical one".into()),
    })
}

fn union_type(branches: &[Type]) -> Result<DataType, String> {
    let fields = branches
        .iter()
        .map(|branch| site(&branch.name().map_or_else(|| branch.describe(), |name| name.full.clone()), branch))
        .collect::<Result<Vec<_>, _>>()?;
    let ids = 0..i8::try_from(fields.len()).map_err(|_| "a union has more than 127 branches")?;
    let fields = UnionFields::try_new(ids, fields).map_err(|error| error.to_string())?;
    Ok(DataType::Union(fields, UnionMode::Dense))
}

/// Derives the schema of a record from columns: what a sink registers if nothing else is said.
///
/// Names, namespaces, documentation and defaults are taken from field metadata; nested records,
/// enums and fixed without a name are called `PARENT_field`. A nullable column is
/// `["null", T]` with default null. The text is in the registry's own order of keys.
///
/// # Errors
/// [`Failure`] (user): `avro.name` for a column whose name Avro does not allow, `avro.type` for a type that Avro lacks.
pub fn avro_schema(schema: &Schema, name: &str, namespace: Option<&str>, doc: Option<&str>) -> Result<String, Failure> {
    let full = match namespace {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}.{name}"),
        _ => name.to_owned(),
    };
    let mut printer = Printer::default();
    let record = printer.record(&full, None, doc, schema.fields())?;
    Ok(record.to_string())
}

/// The schema of a lone value (a key of one column): not a record, just `"string"`, `"long"` …
///
/// # Errors
/// As [`avro_schema`].
pub fn top_level(field: &Field, name: &str, namespace: Option<&str>) -> Result<String, Failure> {
    let mut printer = Printer::default();
    let full = namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}.{name}"));
    Ok(printer.site(field, &full, namespace)?.to_string())
}

/// Prints types, each name defined once.
#[derive(Default)]
struct Printer {
    /// Full name → its definition.
    defined: HashMap<String, Value>,
}

impl Printer {
    /// `enclosing` is the namespace around it: one that is the same is left out.
    fn record(
        &mut self,
        full: &str,
        enclosing: Option<&str>,
        doc: Option<&str>,
        fields: &Fields,
    ) -> Result<Value, Failure> {
        let (namespace, short) = split(full);
        check_name(short, "record")?;
        let columns = fields
            .iter()
            .map(|field| self.field(field, &format!("{full}_{}", field.name()), namespace))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(named("record", full, enclosing, doc, [("fields", Value::Array(columns))]))
    }

    fn field(&mut self, field: &Field, path: &str, namespace: Option<&str>) -> Result<Value, Failure> {
        // By the name that the encoder looks for.
        let name = fields::name(field);
        check_name(name, "column")?;
        let mut map = Map::new();
        map.insert("name".into(), json!(name));
        let ty = self.site(field, path, namespace)?;
        map.insert("type".into(), ty);
        map.extend(field.metadata().get(DOC).map(|doc| ("doc".to_owned(), json!(doc))));
        let declared = field.metadata().get(DEFAULT).and_then(|text| serde_json::from_str::<Value>(text).ok());
        let is_union = matches!(map["type"], Value::Array(_));
        match declared {
            Some(default) => _ = map.insert("default".into(), default),
            None if field.is_nullable() && is_union => _ = map.insert("default".into(), Value::Null),
            None => {}
        }
        Ok(Value::Object(map))
    }

    /// The type of a field, an item or a map's value; `path` names what has no name.
    fn site(&mut self, field: &Field, path: &str, namespace: Option<&str>) -> Result<Value, Failure> {
        let ty = self.inner(field, path, namespace)?;
        if !field.is_nullable() || matches!(ty, Value::Array(_)) || ty == "null" {
            return Ok(ty);
        }
        // A default must be of the first branch.
        let null_last = field.metadata().get(DEFAULT).is_some_and(|default| default != "null");
        Ok(if null_last { json!([ty, "null"]) } else { json!(["null", ty]) })
    }

    fn inner(&mut self, field: &Field, path: &str, namespace: Option<&str>) -> Result<Value, Failure> {
        let logical = |word: &str, logical: Logical| {
            let mut map = Map::from_iter([("type".to_owned(), json!(word))]);
            logical.print(&mut map);
            Value::Object(map)
        };
        Ok(match field.data_type() {
            DataType::Null => json!("null"),
            DataType::Boolean => json!("boolean"),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => json!("int"),
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => json!("long"),
            DataType::Float32 => json!("float"),
            DataType::Float64 => json!("double"),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => json!("bytes"),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => json!("string"),
            DataType::Date32 => logical("int", Logical::Date),
            DataType::Time32(_) => logical("int", Logical::TimeMillis),
            DataType::Time64(_) => logical("long", Logical::TimeMicros),
            DataType::Timestamp(unit, zone) => logical("long", timestamp(*unit, zone.is_some())),
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) if *scale >= 0 => {
                let decimal = Logical::Decimal { precision: *precision, scale: *scale };
                match field.metadata().get(FIXED_SIZE).and_then(|size| size.parse().ok()) {
                    Some(size) if fixed_digits(size) >= usize::from(*precision) => {
                        self.fixed(field, path, namespace, size, Some(decimal))?
                    }
                    _ => logical("bytes", decimal),
                }
            }
            DataType::FixedSizeBinary(16) if fields::is_uuid(field) && !field.metadata().contains_key(NAME) => {
                logical("string", Logical::Uuid)
            }
            DataType::FixedSizeBinary(size) => {
                let uuid = (*size == 16 && fields::is_uuid(field)).then_some(Logical::Uuid);
                self.fixed(field, path, namespace, *size as usize, uuid)?
            }
            DataType::Dictionary(_, values) => match fields::symbols(field) {
                Some(symbols) => self.enumeration(field, path, namespace, &symbols)?,
                None => {
                    let plain = Field::new(field.name(), values.as_ref().clone(), false);
                    self.inner(&plain, path, namespace)?
                }
            },
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                json!({"type": "array", "items": self.site(item, path, namespace)?})
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(entry) if entry.len() == 2 && entry[0].data_type() == &DataType::Utf8 => {
                    json!({"type": "map", "values": self.site(&entry[1], path, namespace)?})
                }
                _ => return Err(no_such_type(field)),
            },
            DataType::Struct(fields) => {
                let full = self.type_name(field, path, namespace);
                let doc = field.metadata().get(TYPE_DOC).map(String::as_str);
                let definition = self.record(&full, namespace, doc, fields)?;
                self.define(full, path, definition, namespace)?
            }
            DataType::Union(branches, _) => {
                let branches = branches
                    .iter()
                    .map(|(_, branch)| self.inner(branch, &format!("{path}_{}", avro_name(branch.name())), namespace));
                Value::Array(branches.collect::<Result<_, _>>()?)
            }
            _ => return Err(no_such_type(field)),
        })
    }

    fn type_name(&self, field: &Field, path: &str, namespace: Option<&str>) -> String {
        match (field.metadata().get(NAME), field.metadata().get(NAMESPACE)) {
            (Some(name), Some(space)) if !space.is_empty() => format!("{space}.{name}"),
            (Some(name), _) => name.clone(),
            (None, _) => match namespace {
                Some(namespace) if !path.contains('.') => format!("{namespace}.{path}"),
                _ => path.to_owned(),
            },
        }
    }

    fn enumeration(
        &mut self,
        field: &Field,
        path: &str,
        namespace: Option<&str>,
        symbols: &[String],
    ) -> Result<Value, Failure> {
        for symbol in symbols {
            check_name(symbol, "symbol")?;
        }
        let full = self.type_name(field, path, namespace);
        let doc = field.metadata().get(TYPE_DOC).map(String::as_str);
        let mut definition = named("enum", &full, namespace, doc, [("symbols", json!(symbols))]);
        if let (Some(default), Value::Object(map)) = (field.metadata().get(ENUM_DEFAULT), &mut definition) {
            map.insert("default".into(), json!(default));
        }
        self.define(full, path, definition, namespace)
    }

    fn fixed(
        &mut self,
        field: &Field,
        path: &str,
        namespace: Option<&str>,
        size: usize,
        logical: Option<Logical>,
    ) -> Result<Value, Failure> {
        let full = self.type_name(field, path, namespace);
        let mut definition = named("fixed", &full, namespace, None, [("size", json!(size))]);
        if let (Some(logical), Value::Object(map)) = (logical, &mut definition) {
            logical.print(map);
        }
        self.define(full, path, definition, namespace)
    }

    /// The definition where the name stands for the first time, then only the name. Another type
    /// of the same name is called by its path.
    fn define(
        &mut self,
        full: String,
        path: &str,
        mut definition: Value,
        enclosing: Option<&str>,
    ) -> Result<Value, Failure> {
        match self.defined.get(&full) {
            Some(known) if *known == definition => {
                let (namespace, short) = split(&full);
                Ok(json!(if namespace == enclosing { short } else { full.as_str() }))
            }
            Some(_) if full != path => {
                let (namespace, short) = split(path);
                if let Value::Object(map) = &mut definition {
                    map.insert("name".into(), json!(short));
                    map.shift_remove("namespace");
                }
                let path_full =
                    namespace.or(enclosing).map_or_else(|| short.to_owned(), |space| format!("{space}.{short}"));
                self.define(path_full.clone(), &path_full, definition, enclosing)
            }
            Some(_) => Err(Failure::user("avro.name", format!("two different types would be called `{full}`"))
                .hint("give one of the columns another name")),
            None => {
                self.defined.insert(full, definition.clone());
                Ok(definition)
            }
        }
    }
}

fn timestamp(unit: TimeUnit, utc: bool) -> Logical {
    match (unit, utc) {
        (TimeUnit::Second | TimeUnit::Millisecond, true) => Logical::TimestampMillis,
        (TimeUnit::Microsecond, true) => Logical::TimestampMicros,
        (TimeUnit::Nanosecond, true) => Logical::TimestampNanos,
        (TimeUnit::Second | TimeUnit::Millisecond, false) => Logical::LocalTimestampMillis,
        (TimeUnit::Microsecond, false) => Logical::LocalTimestampMicros,
        (TimeUnit::Nanosecond, false) => Logical::LocalTimestampNanos,
    }
}

fn named<const N: usize>(
    kind: &str,
    full: &str,
    enclosing: Option<&str>,
    doc: Option<&str>,
    rest: [(&str, Value); N],
) -> Value {
    let (namespace, short) = split(full);
    let mut map = Map::from_iter([("type".to_owned(), json!(kind)), ("name".to_owned(), json!(short))]);
    if namespace != enclosing {
        map.insert("namespace".into(), json!(namespace.unwrap_or_default()));
    }
    map.extend(doc.map(|doc| ("doc".to_owned(), json!(doc))));
    map.extend(rest.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(map)
}

fn split(full: &str) -> (Option<&str>, &str) {
    full.rsplit_once('.').map_or((None, full), |(namespace, short)| (Some(namespace), short))
}

/// A name that Avro allows, made of any text: of a topic for its record. Other characters become `_`.
pub fn avro_name(text: &str) -> String {
    let name: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() { format!("_{name}") } else { name }
}

fn check_name(name: &str, what: &str) -> Result<(), Failure> {
    let mut chars = name.chars();
    let starts = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if starts && chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    Err(Failure::user("avro.name", format!("the {what} `{name}` cannot be written to Avro"))
        .hint("Avro's names consist of letters, digits and `_` and do not begin with a digit"))
}

fn no_such_type(field: &Field) -> Failure {
    Failure::user("avro.type", format!("Avro has no type for `{}`, which is {}", field.name(), field.data_type()))
        .hint("cast it to another type")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(schema: &Schema) -> String {
        avro_schema(schema, "Order", Some("shop"), Some("an order")).unwrap()
    }

    #[test]
    fn columns_become_a_record_with_nullable_unions() {
        let schema =
            Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("note", DataType::Utf8, true)]);
        assert_eq!(
            derived(&schema),
            r#"{"type":"record","name":"Order","namespace":"shop","doc":"an order","fields":[{"name":"id","type":"long"},{"name":"note","type":["null","string"],"default":null}]}"#
        );
    }

    #[test]
    fn a_column_that_the_record_calls_otherwise_is_written_under_its_name_there() {
        let metadata = HashMap::from([(fields::FIELD.to_owned(), "_time".to_owned())]);
        let schema = Schema::new(vec![Field::new("_time_", DataType::Int64, false).with_metadata(metadata)]);
        let text = derived(&schema);
        assert!(text.contains(r#"{"name":"_time","type":"long"}"#), "{text}");
        let avro = Some(crate::formats::AvroWriter { schema: text, id: 1 });
        crate::formats::EncoderSpec { format: crate::formats::Format::Avro, schema: Arc::new(schema), avro }
            .open()
            .unwrap();
    }

    #[test]
    fn a_registered_schema_comes_back_as_it_was() {
        let text = r#"{"type":"record","name":"Order","namespace":"shop","doc":"an order","fields":[{"name":"id","type":"long","doc":"its number"},{"name":"size","type":{"type":"enum","name":"Size","symbols":["S","L"],"default":"S"},"default":"L"},{"name":"price","type":{"type":"fixed","name":"Price","size":8,"logicalType":"decimal","precision":12,"scale":2}},{"name":"home","type":{"type":"record","name":"Address","namespace":"geo","doc":"a place","fields":[{"name":"city","type":["string","null"],"default":"Rome"}]}},{"name":"work","type":["null","geo.Address"],"default":null},{"name":"tags","type":{"type":"map","values":["null","int"]}},{"name":"at","type":{"type":"array","items":{"type":"long","logicalType":"timestamp-micros"}}},{"name":"key","type":{"type":"string","logicalType":"uuid"}}]}"#;
        assert_eq!(derived(&arrow_schema(text).unwrap()), text);
    }

    #[test]
    fn nested_records_without_names_are_called_by_their_path() {
        let inner = DataType::Struct(vec![Field::new("x", DataType::Float64, false)].into());
        let list = DataType::List(Arc::new(Field::new("item", inner.clone(), false)));
        let schema = Schema::new(vec![Field::new("a", inner, false), Field::new("b", list, false)]);
        let text = derived(&schema);
        assert!(
            text.contains(r#""name":"Order_a","fields""#) && text.contains(r#""name":"Order_b","fields""#),
            "{text}"
        );
        Type::parse(&text).unwrap();
    }

    #[test]
    fn two_types_of_one_name_are_told_apart() {
        let named = |name: &str, ty| {
            let data_type = DataType::Struct(vec![Field::new("x", ty, false)].into());
            Field::new(name, data_type, false).with_metadata(HashMap::from([(NAME.to_owned(), "P".to_owned())]))
        };
        let schema =
            Schema::new(vec![named("a", DataType::Int32), named("b", DataType::Utf8), named("c", DataType::Int32)]);
        let text = derived(&schema);
        let parsed = Type::parse(&text).unwrap().into_record();
        let names: Vec<_> = parsed.fields.iter().map(|field| field.ty.name().unwrap().full.clone()).collect();
        assert_eq!(names, ["P", "shop.Order_b", "P"], "{text}");
    }

    #[test]
    fn any_text_becomes_a_name() {
        assert_eq!(["a-b.c", "0a", ""].map(avro_name), ["a_b_c", "_0a", "_"]);
    }

    #[test]
    fn a_column_that_avro_cannot_name_is_an_error() {
        let schema = Schema::new(vec![Field::new("a-b", DataType::Int32, false)]);
        let failure = avro_schema(&schema, "R", None, None).unwrap_err();
        assert_eq!(
            (failure.code, failure.message.as_str()),
            ("avro.name", "the column `a-b` cannot be written to Avro")
        );
    }

    #[test]
    fn a_projection_keeps_types_that_were_defined_elsewhere() {
        let text = r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"fixed","name":"F","size":2}},{"name":"b","type":"F"}]}"#;
        let read = reader_schema(text, Some(&["b".to_owned()])).unwrap();
        assert_eq!(arrow_schema(&read).unwrap().field(0).data_type(), &DataType::FixedSizeBinary(2));
        assert_eq!(reader_schema(text, Some(&["c".to_owned()])).unwrap_err().code, "avro.unknown_column");
    }
}
