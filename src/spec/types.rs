//! The type words of the language, which are Avro's: `long`, `string?`, `[double]`, `{map: long}`.
//!
//! [`ColumnType::to_field`] gives the Arrow type that Avro's schema of the same words would get
//! (see `formats`); what Arrow has no room for stands in field metadata, under [`UNIT`] and [`TYPE`].

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit as ArrowUnit};
use schemars::{Schema, SchemaGenerator, json_schema};

use super::describe::described;
use super::options::wrong_type;
use super::{Entry, FromNode, MapReader, Node, Spanned, TimeUnit, Value};
use crate::data::fields::{DEFAULT, DOC, FIELD, SYMBOLS, TYPE, UNIT};
use crate::report::{Diagnostic, Diagnostics, Place};

/// The type of a declared column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnType {
    pub kind: Type,
    /// `?` behind the type, or `optional: true`.
    pub nullable: bool,
    pub doc: Option<String>,
    /// A value for records that lack the field.
    pub default: Option<Node>,
    /// The field's name in the record, where it is not the column's.
    pub field: Option<Spanned<String>>,
    /// All other keys of the long form, for datagen; empty in `columns:` of sources, sinks and topics.
    pub rules: Vec<Entry>,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    /// 1 ≤ precision ≤ 76, 0 ≤ scale ≤ precision.
    Decimal {
        precision: u8,
        scale: i8,
    },
    String,
    Bytes,
    Date,
    /// Milliseconds of a day.
    Time,
    /// `None`: RFC 3339 in JSON and CSV; else a number of this unit.
    Timestamp(Option<TimeUnit>),
    Uuid,
    /// Any JSON value, as text.
    Json,
    List(Box<ColumnType>),
    /// Keys are strings.
    Map(Box<ColumnType>),
    Struct(Vec<(Spanned<String>, ColumnType)>),
    Enum(Vec<String>),
    /// Bytes of this length.
    Fixed(i32),
}

const WORDS: &[&str] = &[
    "boolean",
    "int",
    "long",
    "float",
    "double",
    "decimal(p,s)",
    "string",
    "bytes",
    "date",
    "time",
    "timestamp",
    "timestamp(s)",
    "timestamp(ms)",
    "timestamp(us)",
    "uuid",
    "json",
];
/// Keys of which a type written as a map has exactly one.
const FORMS: &[&str] = &["type", "map", "struct", "enum", "fixed"];

impl FromNode for ColumnType {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let (kind, nullable) = match &node.value {
            Value::String(text) => parse(text.trim(), &node.place, out)?,
            Value::List(items) => match items.as_slice() {
                [item] => (Type::List(Box::new(ColumnType::from_node(item, out)?)), false),
                _ => return wrong_type(node, "a list type with exactly one type in it, such as `[string]`", out),
            },
            Value::Map(entries) => return long_form(node, entries, out),
            _ => return wrong_type(node, "a type", out),
        };
        Some(ColumnType::new(kind, nullable, &node.place))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

/// `{type: …, doc, default, field, optional}`, `{map: T}`, `{struct: {…}}`, `{enum: [A]}`, `{fixed: 16}`.
fn long_form(node: &Node, entries: &[Entry], out: &mut Diagnostics) -> Option<ColumnType> {
    let forms: Vec<&Entry> = entries.iter().filter(|entry| FORMS.contains(&entry.key.as_str())).collect();
    let [form] = forms.as_slice() else {
        let listed = FORMS.map_join();
        let title = format!("a type has exactly one of {listed}");
        out.push(Diagnostic::error("type.form", title).at(&node.place).label("this is a type"));
        return None;
    };
    let mut map = MapReader::new(node, out)?;
    FORMS.iter().for_each(|key| {
        map.entry(key);
    });
    let doc: Option<Option<String>> = map.read("doc", out);
    let optional: Option<bool> = map.read_or("optional", Some(|| false), out);
    let default: Option<Option<Node>> = map.read("default", out);
    let field: Option<Option<Spanned<String>>> = map.read("field", out);
    let rules = map.unknown().cloned().collect();
    let (kind, nullable) = form_kind(form, out)?;
    let (doc, default, field) = (doc?, default?, field?);
    Some(ColumnType { kind, nullable: nullable || optional?, doc, default, field, rules, place: node.place.clone() })
}

trait Listed {
    fn map_join(&self) -> String;
}

impl Listed for [&str] {
    fn map_join(&self) -> String {
        self.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
    }
}

fn form_kind(form: &Entry, out: &mut Diagnostics) -> Option<(Type, bool)> {
    let kind = match form.key.as_str() {
        "map" => Type::Map(Box::new(ColumnType::from_node(&form.value, out)?)),
        "struct" => Type::Struct(read_struct(&form.value, out)?),
        "enum" => Type::Enum(read_symbols(&form.value, out)?),
        "fixed" => Type::Fixed(read_length(&form.value, out)?),
        _ => {
            let inner = ColumnType::from_node(&form.value, out)?;
            return Some((inner.kind, inner.nullable));
        }
    };
    Some((kind, false))
}

fn read_struct(node: &Node, out: &mut Diagnostics) -> Option<Vec<(Spanned<String>, ColumnType)>> {
    let fields: Vec<(Spanned<String>, ColumnType)> = FromNode::from_node(node, out)?;
    if fields.is_empty() {
        return wrong_type(node, "a map of at least one field", out);
    }
    Some(fields)
}

fn read_symbols(node: &Node, out: &mut Diagnostics) -> Option<Vec<String>> {
    let symbols: Vec<Spanned<String>> = FromNode::from_node(node, out)?;
    if symbols.is_empty() {
        return wrong_type(node, "a list of at least one symbol", out);
    }
    let mut read = Vec::new();
    for symbol in symbols {
        let is_name = super::is_identifier(&symbol.value);
        if !is_name || read.contains(&symbol.value) {
            let reason = if is_name { "stands here twice" } else { "is not a name: letters, digits and `_`" };
            let title = format!("the symbol `{}` {reason}", symbol.value);
            out.push(Diagnostic::error("type.symbol", title).at(&symbol.place));
            return None;
        }
        read.push(symbol.value);
    }
    Some(read)
}

fn read_length(node: &Node, out: &mut Diagnostics) -> Option<i32> {
    match node.value {
        Value::Int(length @ 1..=0x7fff_ffff) => i32::try_from(length).ok(),
        _ => wrong_type(node, "a length in bytes, from 1 on", out),
    }
}

/// `long`, `string?`, `[double]?`, `decimal(10,2)`: the kind, and whether it may be null.
fn parse(text: &str, place: &Place, out: &mut Diagnostics) -> Option<(Type, bool)> {
    let (word, nullable) = match text.strip_suffix('?') {
        Some(word) => (word.trim_end(), true),
        None => (text, false),
    };
    if let Some(inner) = word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let (kind, item_nullable) = parse(inner.trim(), place, out)?;
        return Some((Type::List(Box::new(ColumnType::new(kind, item_nullable, place))), nullable));
    }
    match parse_word(word) {
        Ok(kind) => Some((kind, nullable)),
        Err(diagnostic) => {
            out.push(diagnostic.at(place));
            None
        }
    }
}

fn parse_word(word: &str) -> Result<Type, Box<Diagnostic>> {
    if let Some(arguments) = arguments(word, "decimal") {
        return parse_decimal(arguments);
    }
    if let Some(unit) = arguments(word, "timestamp") {
        let unit = match unit.trim() {
            "s" => TimeUnit::Seconds,
            "ms" => TimeUnit::Millis,
            "us" => TimeUnit::Micros,
            other => {
                let title = format!("`{other}` is not a unit of a timestamp");
                return Err(Diagnostic::error("type.unit", title).note("units are s, ms and us").into());
            }
        };
        return Ok(Type::Timestamp(Some(unit)));
    }
    Ok(match word {
        "boolean" => Type::Boolean,
        "int" => Type::Int,
        "long" => Type::Long,
        "float" => Type::Float,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "date" => Type::Date,
        "time" => Type::Time,
        "timestamp" => Type::Timestamp(None),
        "uuid" => Type::Uuid,
        "json" => Type::Json,
        "decimal" => {
            let diagnostic = Diagnostic::error("type.decimal", "`decimal` needs a precision and a scale");
            return Err(diagnostic.hint("write for example `\"decimal(10,2)\"`").into());
        }
        _ => return Err(unknown_word(word).into()),
    })
}

/// `decimal(10,2)` → `10,2`.
fn arguments<'a>(word: &'a str, name: &str) -> Option<&'a str> {
    word.strip_prefix(name)?.trim_start().strip_prefix('(')?.strip_suffix(')')
}

fn parse_decimal(arguments: &str) -> Result<Type, Box<Diagnostic>> {
    let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
    match (precision.trim().parse::<u8>(), scale.trim().parse::<i8>()) {
        (Ok(precision @ 1..=76), Ok(scale)) if scale >= 0 && scale as u8 <= precision => {
            Ok(Type::Decimal { precision, scale })
        }
        _ => Err(Diagnostic::error("type.decimal", format!("`decimal({arguments})` is not a decimal"))
            .note("the precision is from 1 to 76, the scale from 0 to the precision")
            .into()),
    }
}

fn unknown_word(word: &str) -> Diagnostic {
    // What other languages call these types.
    let meant = match word.to_lowercase().as_str() {
        "integer" | "int32" | "smallint" => Some("int"),
        "bigint" | "int64" => Some("long"),
        "text" | "varchar" | "str" => Some("string"),
        "bool" => Some("boolean"),
        "float64" | "real" => Some("double"),
        "float32" => Some("float"),
        "datetime" => Some("timestamp"),
        "binary" | "bytea" => Some("bytes"),
        _ => None,
    };
    let diagnostic = Diagnostic::error("type.unknown", format!("unknown type `{word}`"))
        .note("types are boolean int long float double decimal(p,s) string bytes date time timestamp uuid json,")
        .note("`timestamp(s|ms|us)`, `[T]`, `{map: T}`, `{struct: {…}}`, `{enum: […]}` and `{fixed: n}`");
    match meant {
        Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
        None => diagnostic.did_you_mean(word, WORDS.iter().copied()),
    }
}

impl ColumnType {
    fn new(kind: Type, nullable: bool, place: &Place) -> Self {
        let place = place.clone();
        ColumnType { kind, nullable, doc: None, default: None, field: None, rules: Vec::new(), place }
    }

    /// The Arrow field of a column of this type.
    pub fn to_field(&self, name: &str) -> Field {
        let mut metadata = self.kind_metadata();
        if let Some(doc) = &self.doc {
            metadata.insert(DOC.into(), doc.clone());
        }
        if let Some(field) = &self.field {
            metadata.insert(FIELD.into(), field.value.clone());
        }
        if let Some(default) = &self.default {
            metadata.insert(DEFAULT.into(), default.to_json().to_string());
        }
        Field::new(name, self.data_type(), self.nullable).with_metadata(metadata)
    }

    fn data_type(&self) -> DataType {
        let utc = || Some(Arc::from("UTC"));
        match &self.kind {
            Type::Boolean => DataType::Boolean,
            Type::Int => DataType::Int32,
            Type::Long => DataType::Int64,
            Type::Float => DataType::Float32,
            Type::Double => DataType::Float64,
            Type::Decimal { precision: precision @ ..=38, scale } => DataType::Decimal128(*precision, *scale),
            Type::Decimal { precision, scale } => DataType::Decimal256(*precision, *scale),
            Type::String | Type::Json => DataType::Utf8,
            Type::Bytes => DataType::Binary,
            Type::Date => DataType::Date32,
            Type::Time => DataType::Time32(ArrowUnit::Millisecond),
            Type::Timestamp(Some(TimeUnit::Micros)) => DataType::Timestamp(ArrowUnit::Microsecond, utc()),
            Type::Timestamp(_) => DataType::Timestamp(ArrowUnit::Millisecond, utc()),
            Type::Uuid => DataType::FixedSizeBinary(16),
            Type::List(item) => DataType::List(Arc::new(item.to_field(Field::LIST_FIELD_DEFAULT_NAME))),
            Type::Map(value) => {
                let key = Field::new("key", DataType::Utf8, false);
                let entries = DataType::Struct(Fields::from(vec![key, value.to_field("value")]));
                DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
            }
            Type::Struct(fields) => {
                DataType::Struct(fields.iter().map(|(name, column)| column.to_field(&name.value)).collect())
            }
            Type::Enum(_) => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            Type::Fixed(length) => DataType::FixedSizeBinary(*length),
        }
    }

    fn kind_metadata(&self) -> HashMap<String, String> {
        let pair = |key: &str, value: String| HashMap::from([(key.to_owned(), value)]);
        match &self.kind {
            Type::Json => pair(TYPE, "json".into()),
            Type::Timestamp(Some(unit)) => pair(UNIT, unit.word().into()),
            Type::Uuid => pair("ARROW:extension:name", "arrow.uuid".into()),
            Type::Enum(symbols) => pair(SYMBOLS, serde_json::Value::from(symbols.clone()).to_string()),
            _ => HashMap::new(),
        }
    }

    /// Complains about datagen's rules, here and in the types within.
    pub(super) fn refuse_rules(&self, out: &mut Diagnostics) {
        for rule in &self.rules {
            let known = ["type", "doc", "default", "field", "optional"];
            out.push(
                Diagnostic::error("spec.unknown_key", format!("unknown key `{}`", rule.key))
                    .at(&rule.key_place)
                    .note(format!("known here: {}", known.join(", ")))
                    .did_you_mean(&rule.key, known),
            );
        }
        match &self.kind {
            Type::List(inner) | Type::Map(inner) => inner.refuse_rules(out),
            Type::Struct(fields) => fields.iter().for_each(|(_, column)| column.refuse_rules(out)),
            _ => {}
        }
    }
}

impl schemars::JsonSchema for ColumnType {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ColumnType".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let this = generator.subschema_for::<Self>();
        type_schema(this, &[], generator)
    }
}

/// The schema of a type whose inner types are `this`, and whose long form may have more keys.
pub fn type_schema(this: Schema, more: &[(&str, Schema)], generator: &mut SchemaGenerator) -> Schema {
    let word = r"(boolean|int|long|float|double|decimal ?\( *\d+ *(, *\d+ *)?\)|string|bytes|date|time|timestamp( ?\( *(s|ms|us) *\))?|uuid|json)";
    // Lists within lists are checked by the loader only: a pattern cannot count brackets.
    let text = json_schema!({ "type": "string", "pattern": format!(r"^\s*(\[.*\]|{word})\s*\??\s*$") });
    let list = json_schema!({ "type": "array", "items": this, "minItems": 1, "maxItems": 1 });
    let symbol = json_schema!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" });
    let forms = [
        ("type", this.clone()),
        ("map", this.clone()),
        ("struct", json_schema!({ "type": "object", "additionalProperties": this, "minProperties": 1 })),
        ("enum", json_schema!({ "type": "array", "items": symbol, "minItems": 1, "uniqueItems": true })),
        ("fixed", json_schema!({ "type": "integer", "minimum": 1, "maximum": 0x7fff_ffff })),
    ];
    let field = "The field's name in the record, where it is not the column's.";
    let extras = [
        ("doc", json_schema!({ "type": "string", "description": "A text for people." })),
        ("default", described(Schema::from(true), &["A value for records that lack the field."])),
        ("optional", described(<bool as FromNode>::schema(generator), &["May be missing or null, as with `?`."])),
        ("field", json_schema!({ "type": "string", "description": field })),
    ];
    let properties: serde_json::Map<_, _> = forms
        .iter()
        .chain(&extras)
        .chain(more)
        .map(|(key, schema)| ((*key).to_owned(), schema.clone().to_value()))
        .collect();
    let one_of: Vec<_> = FORMS.iter().map(|key| serde_json::json!({ "required": [key] })).collect();
    let long =
        json_schema!({ "type": "object", "properties": properties, "additionalProperties": false, "oneOf": one_of });
    let schema = json_schema!({ "anyOf": [text, list, long] });
    let doc = "A type: `long`, `string?`, `\"decimal(10,2)\"`, `[double]`, `{map: long}`, `{struct: {…}}`; long form `{type, doc, default, field, optional}`.";
    described(schema, &[doc])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> Result<Field, Vec<&'static str>> {
        let mut out = Diagnostics::default();
        let column = super::super::tests::node(text).and_then(|node| ColumnType::from_node(&node, &mut out));
        column.map(|column| column.to_field("c")).ok_or_else(|| out.0.iter().map(|d| d.code).collect())
    }

    #[test]
    fn type_words_give_the_canonical_arrow_types() {
        let utc = Some(Arc::from("UTC"));
        for (text, data_type, nullable) in [
            ("long", DataType::Int64, false),
            ("double?", DataType::Float64, true),
            ("\"decimal(10,2)\"", DataType::Decimal128(10, 2), false),
            ("\"decimal(40, 2)?\"", DataType::Decimal256(40, 2), true),
            ("timestamp(us)", DataType::Timestamp(ArrowUnit::Microsecond, utc.clone()), false),
            ("timestamp(s)", DataType::Timestamp(ArrowUnit::Millisecond, utc), false),
            ("{type: string, optional: true, regex: x}", DataType::Utf8, true),
            ("{fixed: 16}", DataType::FixedSizeBinary(16), false),
        ] {
            let field = field(text).unwrap();
            assert_eq!((field.data_type(), field.is_nullable()), (&data_type, nullable), "{text}");
        }
        assert_eq!(field("timestamp(s)").unwrap().metadata()[UNIT], "s");
        assert_eq!(field("{enum: [A, B]}").unwrap().metadata()[SYMBOLS], r#"["A","B"]"#);
        assert_eq!(field("\"[long?]?\""), field("{type: [long?], optional: true}"));
        assert!(matches!(field("{map: {struct: {a: [long]}}}").unwrap().data_type(), DataType::Map(_, false)));
    }

    #[test]
    fn wrong_types_say_what_is_wrong() {
        for (text, code) in [
            ("bigint", "type.unknown"),
            ("\"decimal(3,9)\"", "type.decimal"),
            ("timestamp(ns)", "type.unit"),
            ("{map: long, fixed: 3}", "type.form"),
            ("{enum: [A, A]}", "type.symbol"),
            ("[long, int]", "spec.type"),
        ] {
            assert_eq!(field(text), Err(vec![code]), "{text}");
        }
    }
}
