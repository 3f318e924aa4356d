//! Transformations: what may be done to a record between a converter and a connector, one after the other.

mod cast;
mod dates;
mod fields;
mod flatten;
mod headers;
mod mask;
mod routes;
mod timestamps;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::columns::{Columns, Part};
use super::config::{ConfigError, Settings};
use super::predicates::{self, Predicate};
use super::record::{ConnectError, Datum, Record, refused};
use super::schema::{Field, Schema, twice};
use super::value::{Struct, Value};

/// Changes a record, or drops it.
pub trait Transformation: Send + Sync {
    /// `None`: the record goes no further.
    ///
    /// # Errors
    /// A record that the transformation is not made for.
    fn apply(&self, record: Record) -> Result<Option<Record>, ConnectError>;

    /// What it makes of whole columns; `None`: it must see the records one by one.
    fn columns(&self, _columns: Columns) -> Option<Columns> {
        None
    }

    /// What it makes of the topic of all records.
    fn route(&self, _topic: &str) -> Route {
        Route::Same
    }
}

/// Where a transformation sends the records of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    Same,
    To(String),
    /// Each record may go to another topic.
    ByRecord,
}

/// A record that a transformation is not made for.
#[derive(Debug)]
pub struct Refused<'a> {
    /// The transformation's class.
    pub class: &'a str,
    pub error: ConnectError,
}

/// Makes a transformation of its settings.
pub type Make = fn(Settings<'_>, Side) -> Result<Box<dyn Transformation>, ConfigError>;

/// Which part of a record is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Key,
    Value,
}

impl Side {
    fn of(self, record: &Record) -> &Datum {
        match self {
            Side::Key => &record.key,
            Side::Value => &record.value,
        }
    }

    fn part(self, columns: &mut Columns) -> &mut Part {
        match self {
            Side::Key => &mut columns.key,
            Side::Value => &mut columns.value,
        }
    }

    fn put(self, mut record: Record, datum: Datum) -> Record {
        match self {
            Side::Key => record.key = datum,
            Side::Value => record.value = datum,
        }
        record
    }
}

const PACKAGE: &str = "org.apache.kafka.connect.transforms.";

/// Classes that are for keys or for values: `X$Key`, `X$Value`.
const SIDED: &[(&str, Make)] = &[
    ("InsertField", fields::InsertField::make),
    ("ReplaceField", fields::ReplaceField::make),
    ("MaskField", mask::MaskField::make),
    ("HoistField", fields::HoistField::make),
    ("ExtractField", fields::ExtractField::make),
    ("SetSchemaMetadata", fields::SetSchemaMetadata::make),
    ("Flatten", flatten::Flatten::make),
    ("Cast", cast::Cast::make),
    ("TimestampConverter", timestamps::TimestampConverter::make),
    ("HeaderFrom", headers::HeaderFrom::make),
];

/// Classes that are for whole records.
const WHOLE: &[(&str, Make)] = &[
    ("ValueToKey", fields::ValueToKey::make),
    ("TimestampRouter", routes::TimestampRouter::make),
    ("RegexRouter", routes::RegexRouter::make),
    ("Filter", routes::Filter::make),
    ("InsertHeader", headers::InsertHeader::make),
    ("DropHeaders", headers::DropHeaders::make),
];

/// All classes, by their full names.
pub fn classes() -> Vec<String> {
    let sided = SIDED.iter().flat_map(|(name, _)| ["Key", "Value"].map(|side| format!("{PACKAGE}{name}${side}")));
    sided.chain(WHOLE.iter().map(|(name, _)| format!("{PACKAGE}{name}"))).collect()
}

/// The transformation of a class, by its full name.
///
/// # Errors
/// A setting that cannot be; the outer `None`: there is no such class.
pub fn transformation(class: &str, settings: Settings<'_>) -> Option<Result<Box<dyn Transformation>, ConfigError>> {
    let name = class.strip_prefix(PACKAGE)?;
    let find =
        |table: &[(&str, Make)], name: &str| table.iter().find(|(known, _)| *known == name).map(|(_, make)| *make);
    if let Some(make) = find(WHOLE, name) {
        return Some(make(settings, Side::Value));
    }
    let (name, side) = match name.split_once('$')? {
        (name, "Key") => (name, Side::Key),
        (name, "Value") => (name, Side::Value),
        _ => return None,
    };
    find(SIDED, name).map(|make| make(settings, side))
}

/// The transformations of a connector, in order, each with its predicate.
#[derive(Default)]
pub struct Chain {
    links: Vec<Link>,
}

struct Link {
    class: String,
    transformation: Box<dyn Transformation>,
    predicate: Option<Arc<dyn Predicate>>,
    negate: bool,
}

impl Chain {
    /// Reads `transforms`, `transforms.NAME.…`, `predicates` and `predicates.NAME.…` of a connector's settings.
    ///
    /// # Errors
    /// All settings that cannot be.
    pub fn new(all: &BTreeMap<String, String>) -> Result<Chain, Vec<ConfigError>> {
        let (settings, mut wrong) = (Settings::new(all, ""), Vec::new());
        let mut predicates: BTreeMap<String, Arc<dyn Predicate>> = BTreeMap::new();
        for name in settings.list("predicates") {
            let prefix = format!("predicates.{name}.");
            match made(all, &prefix, predicates::predicate) {
                Ok(predicate) => drop(predicates.insert(name, Arc::from(predicate))),
                Err(error) => wrong.push(error),
            }
        }
        let mut links = Vec::new();
        let names = settings.list("transforms");
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                wrong.push(settings.error("transforms", format!("Duplicate alias provided: {name}")));
                continue;
            }
            match link(all, name, &predicates) {
                Ok(link) => links.push(link),
                Err(error) => wrong.push(error),
            }
        }
        if wrong.is_empty() { Ok(Chain { links }) } else { Err(wrong) }
    }

    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The record behind all transformations; `None`: it was dropped.
    ///
    /// # Errors
    /// A record that one of them is not made for.
    pub fn apply(&self, record: Record) -> Result<Option<Record>, Refused<'_>> {
        let mut record = record;
        for link in &self.links {
            let is_for_it = match &link.predicate {
                None => Ok(true),
                Some(predicate) => predicate.test(&record).map(|is_true| is_true != link.negate),
            };
            match is_for_it {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => return Err(Refused { class: &link.class, error }),
            }
            match link.transformation.apply(record) {
                Ok(Some(next)) => record = next,
                Ok(None) => return Ok(None),
                Err(error) => return Err(Refused { class: &link.class, error }),
            }
        }
        Ok(Some(record))
    }

    /// The same for whole columns; `None`: the records must go through one by one.
    pub fn columns(&self, columns: Columns) -> Option<Columns> {
        let mut columns = columns;
        for link in &self.links {
            match &link.predicate {
                Some(predicate) if predicate.test_topic(&columns.topic)?.ok()? == link.negate => {}
                _ => columns = link.transformation.columns(columns)?,
            }
        }
        Some(columns)
    }

    /// The topic that records of `topic` are in behind the chain. `None`: each record may go to another one.
    pub fn routed(&self, topic: &str) -> Option<String> {
        let mut topic = topic.to_owned();
        for link in &self.links {
            let routed = match link.transformation.route(&topic) {
                Route::Same => continue,
                Route::To(routed) if routed == topic => continue,
                routed => routed,
            };
            let decided = link.predicate.as_ref().map(|predicate| predicate.test_topic(&topic));
            match decided {
                // It does not see records of this topic.
                Some(Some(Ok(is_true))) if is_true == link.negate => {}
                // They come no further.
                Some(Some(Err(_))) => {}
                None | Some(Some(Ok(_))) => match routed {
                    Route::To(routed) => topic = routed,
                    _ => return None,
                },
                Some(None) => return None,
            }
        }
        Some(topic)
    }
}

fn link(
    all: &BTreeMap<String, String>,
    name: &str,
    predicates: &BTreeMap<String, Arc<dyn Predicate>>,
) -> Result<Link, ConfigError> {
    let prefix = format!("transforms.{name}.");
    let settings = Settings::new(all, &prefix);
    let transformation = made(all, &prefix, transformation)?;
    let class = settings.required("type")?.to_owned();
    let predicate = settings.get("predicate").map(|name| {
        let known = predicates.get(name).cloned();
        known.ok_or_else(|| {
            settings.error(
                "predicate",
                format!("Predicate alias {name} must be one of the predicates listed in `predicates`"),
            )
        })
    });
    Ok(Link { class, transformation, predicate: predicate.transpose()?, negate: settings.boolean("negate", false)? })
}

/// What the class that stands under `type` makes of its settings.
fn made<T>(
    all: &BTreeMap<String, String>,
    prefix: &str,
    make: impl Fn(&str, Settings<'_>) -> Option<Result<T, ConfigError>>,
) -> Result<T, ConfigError> {
    let settings = Settings::new(all, prefix);
    let class = settings.required("type")?;
    let unknown = || {
        settings.error(
            "type",
            format!("Invalid value {class} for configuration {prefix}type: Class {class} could not be found."),
        )
    };
    make(class, settings).ok_or_else(unknown)?
}

/// `replace.null.with.default`, which most classes have.
fn replaces_null(settings: Settings<'_>) -> Result<bool, ConfigError> {
    settings.boolean("replace.null.with.default", true)
}

/// A field's value; a null may stand for the default of its schema.
fn field_value(field: &Field, value: &Value, replace_null: bool) -> Value {
    match (&field.schema.default, value) {
        (Some(default), Value::Null) if replace_null => default.clone(),
        _ => value.clone(),
    }
}

/// The fields of a struct with their values.
fn fields_of(row: &Struct, replace_null: bool) -> impl Iterator<Item = (Field, Value)> {
    let fields = row.schema.fields().iter().zip(&row.values);
    fields.map(move |(field, value)| (field.clone(), field_value(field, value, replace_null)))
}

/// A struct of these fields; all else of its schema is that of `like`.
///
/// # Errors
/// Two fields have the same name.
fn structure(like: &Schema, fields: Vec<(Field, Value)>) -> Result<Datum, ConnectError> {
    let (fields, values): (Vec<Field>, Vec<Value>) = fields.into_iter().unzip();
    if let Some(name) = twice(&fields) {
        return refused(format!("Cannot create field because of field name duplication {name}"));
    }
    let schema = Arc::new(Schema { optional: false, default: None, ..like.with_fields(fields) });
    Ok(Datum { schema: Some(schema.clone()), value: Value::Struct(Struct { schema, values }) })
}
