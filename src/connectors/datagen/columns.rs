//! `columns:` of a generator, translated to an Avro schema with rules: one way in for both.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value as Json, json};

use super::rules::RULES;
use crate::report::{Diagnostic, Diagnostics, Place};
use crate::spec::{ColumnType, FromNode, Node, Spanned, TimeUnit, Type, described, not_available, type_schema};

/// Columns as written.
pub type Columns = Vec<(Spanned<String>, ColumnType)>;

/// Columns whose types may have rules.
#[derive(Debug, Clone, PartialEq)]
pub struct RuledColumns(pub Columns);

impl FromNode for RuledColumns {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        FromNode::from_node(node, out).map(RuledColumns)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["object", "null"], "additionalProperties": generator.subschema_for::<RuledType>() })
    }
}

/// The JSON Schema of a type with rules.
struct RuledType;

impl schemars::JsonSchema for RuledType {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GeneratedType".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let rules: Vec<_> = RULES_DOC.iter().map(|(key, doc)| (*key, described(Schema::from(true), &[doc]))).collect();
        let this = generator.subschema_for::<Self>();
        type_schema(this, &rules, generator)
    }
}

/// Keys of a type's long form that are rules, passed on as they are.
const RULES_DOC: &[(&str, &str)] = &[
    (
        "options",
        "The values to choose from, at random: a list, or a file of Avro values. Example: `options: [Acme, Globex]`.",
    ),
    (
        "zipf",
        "A skewed choice among the options or referenced values: the n-th is 1/n^s times as likely as the first. Example: `zipf: 1`.",
    ),
    (
        "reference",
        "A value that a column of another generator has: one of its options, or of the numbers that it counts. Example: `reference: users.id`.",
    ),
    ("range", "Numbers from `min` to below `max`. Example: `range: {min: 1, max: 6}`."),
    ("iteration", "Numbers that follow one another. Example: `iteration: {start: 1, step: 1}`."),
    ("length", "How long texts, bytes, arrays and maps are: a number, or `{min, max}`."),
    ("odds", "How often a boolean is true, from 0 to 1."),
    ("prefix", "A text before the made-up one."),
    ("suffix", "A text behind the made-up one."),
    (
        "regex",
        "A text that a regex describes, in the dialect of dk.brics.automaton: no anchors, the whole text is the pattern. Example: `regex: \"User_[1-9]\"`.",
    ),
    (
        "keys",
        "Rules for the keys of a map: options, regex, length, prefix, suffix. Example: `keys: {options: [a, b]}`.",
    ),
    ("now", "The epoch's clock instead of a made-up time; only for `timestamp`. Example: `now: true`."),
    (
        "late",
        "So often the value is less than it should be, by up to so much: late rows. Example: `late: {odds: 0.05, by: 30s}`.",
    ),
    ("nulls", "How often an optional column is null, from 0 to 1. Default: 0.5. Example: `nulls: 0.1`."),
];

fn rule_keys() -> impl Iterator<Item = &'static str> {
    RULES_DOC.iter().map(|(key, _)| *key)
}

/// An Avro record with these columns.
pub fn to_avro(columns: &Columns, out: &mut Diagnostics) -> Option<Json> {
    record("datagen", "", columns, out)
}

/// The place of the innermost column on this path.
pub fn place<'a>(columns: &'a Columns, path: &[String]) -> Option<&'a Place> {
    let (name, rest) = path.split_first()?;
    let (_, column) = columns.iter().find(|(known, _)| known.value == *name)?;
    let mut kind = &column.kind;
    while let Type::List(inner) | Type::Map(inner) = kind {
        kind = &inner.kind;
    }
    let inner = match kind {
        Type::Struct(fields) => place(fields, rest),
        _ => None,
    };
    Some(inner.unwrap_or(&column.place))
}

/// `path` makes the names of nested types unique: `address_city`.
fn record(name: &str, path: &str, columns: &Columns, out: &mut Diagnostics) -> Option<Json> {
    // All columns are read even when an earlier one is wrong, so that one run finds all.
    let fields: Vec<Option<Json>> = columns.iter().map(|(name, ty)| field(&name.value, path, ty, out)).collect();
    let fields: Vec<Json> = fields.into_iter().collect::<Option<_>>()?;
    Some(json!({ "type": "record", "name": name, "fields": fields }))
}

fn field(name: &str, path: &str, column: &ColumnType, out: &mut Diagnostics) -> Option<Json> {
    if let Some(field) = &column.field {
        out.push(
            Diagnostic::error("datagen.field", "`field` has no meaning here: nothing is read")
                .at(&field.place)
                .hint("the column's own name is the field's"),
        );
        return None;
    }
    let path = if path.is_empty() { name.to_string() } else { format!("{path}_{name}") };
    let mut field =
        Map::from_iter([("name".to_string(), name.into()), ("type".to_string(), avro_type(&path, column, out)?)]);
    field.extend(column.doc.iter().map(|doc| ("doc".to_string(), doc.as_str().into())));
    field.extend(column.default.iter().map(|default| ("default".to_string(), default.to_json())));
    Some(Json::Object(field))
}

fn avro_type(path: &str, column: &ColumnType, out: &mut Diagnostics) -> Option<Json> {
    let rules = rules(column, out)?;
    let mut ty = match &column.kind {
        Type::Boolean => json!({ "type": "boolean" }),
        Type::Int => json!({ "type": "int" }),
        Type::Long => json!({ "type": "long" }),
        Type::Float => json!({ "type": "float" }),
        Type::Double => json!({ "type": "double" }),
        Type::String => json!({ "type": "string" }),
        Type::Bytes => json!({ "type": "bytes" }),
        Type::Date => json!({ "type": "int", "logicalType": "date" }),
        Type::Time => json!({ "type": "int", "logicalType": "time-millis" }),
        Type::Timestamp(Some(TimeUnit::Micros)) => json!({ "type": "long", "logicalType": "timestamp-micros" }),
        Type::Timestamp(_) => json!({ "type": "long", "logicalType": "timestamp-millis" }),
        Type::Uuid => json!({ "type": "string", "logicalType": "uuid" }),
        Type::List(items) => json!({ "type": "array", "items": avro_type(path, items, out)? }),
        Type::Map(values) => json!({ "type": "map", "values": avro_type(path, values, out)? }),
        Type::Struct(fields) => record(path, path, fields, out)?,
        Type::Enum(symbols) => json!({ "type": "enum", "name": path, "symbols": symbols }),
        Type::Fixed(size) => json!({ "type": "fixed", "name": path, "size": size }),
        Type::Decimal { precision, scale } => {
            json!({ "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale })
        }
        Type::Json => {
            out.push(not_available("a generated column of type `json`", &column.place));
            return None;
        }
    };
    if !rules.is_empty() {
        ty[RULES] = Json::Object(rules);
    }
    Some(if column.nullable { json!(["null", ty]) } else { ty })
}

fn rules(column: &ColumnType, out: &mut Diagnostics) -> Option<Map<String, Json>> {
    let mut good = true;
    for entry in &column.rules {
        if !rule_keys().any(|key| key == entry.key) {
            good = false;
            out.push(
                Diagnostic::error("spec.unknown_key", format!("unknown key `{}`", entry.key))
                    .at(&entry.key_place)
                    .note(format!("rules here: {}", rule_keys().collect::<Vec<_>>().join(", ")))
                    .did_you_mean(&entry.key, rule_keys()),
            );
        } else if entry.key == "now" && !matches!(column.kind, Type::Timestamp(_)) {
            good = false;
            out.push(
                Diagnostic::error("datagen.rule", "`now` is only for columns of type `timestamp`").at(&entry.key_place),
            );
        } else if entry.key == "nulls" && !column.nullable {
            good = false;
            out.push(
                Diagnostic::error("datagen.rule", "`nulls` is only for columns that may be null")
                    .at(&entry.key_place)
                    .hint("write the type with `?` behind it, or `optional: true`"),
            );
        } else if entry.key == "options" && matches!(column.kind, Type::Decimal { .. }) && has_text(&entry.value) {
            good = false;
            out.push(Diagnostic::error("datagen.rule", "the options of a decimal are numbers").at(&entry.value.place));
        }
    }
    good.then(|| column.rules.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect())
}

fn has_text(options: &Node) -> bool {
    options.items().is_some_and(|items| items.iter().any(|item| item.as_str().is_some()))
}
