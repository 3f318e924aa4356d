//! `columns:` of a generator, translated to an Avro schema with rules: one way in for both.

use serde_json::{Map, Value as Json, json};

use super::rules::RULES;
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{Entry, Node, Value};

/// Keys of the long form that are rules, passed on as they are.
const RULE_KEYS: &[&str] =
    &["options", "range", "iteration", "length", "odds", "prefix", "suffix", "now", "regex", "keys"];
/// Keys of the long form that are about the column itself.
const COLUMN_KEYS: &[&str] = &["type", "optional", "doc", "default"];
const WORDS: &[&str] =
    &["boolean", "int", "long", "float", "double", "string", "bytes", "date", "time", "timestamp", "uuid"];

/// An Avro record with these columns.
pub fn to_avro(columns: &Node, out: &mut Diagnostics) -> Option<Json> {
    let Some(entries) = columns.entries() else {
        out.push(
            Diagnostic::error("spec.type", "expected a map of columns")
                .at(&columns.place)
                .label(format!("this is {}", columns.kind()))
                .hint("for example `columns: {id: long, brand: {type: string, options: [Acme, Globex]}}`"),
        );
        return None;
    };
    // All columns are read even when an earlier one is wrong, so that one run finds all.
    let fields: Vec<Option<Json>> = entries.iter().map(|entry| field(entry, out)).collect();
    let fields: Vec<Json> = fields.into_iter().collect::<Option<_>>()?;
    Some(json!({ "type": "record", "name": "datagen", "fields": fields }))
}

fn field(column: &Entry, out: &mut Diagnostics) -> Option<Json> {
    let mut field = Map::new();
    field.insert("name".into(), column.key.as_str().into());
    let (ty, rules) = match &column.value.value {
        Value::Map(entries) => {
            check_keys(entries, out)?;
            let Some(ty) = column.value.get("type") else {
                out.push(
                    Diagnostic::error("spec.missing_key", "`type` is missing")
                        .at(&column.value.place)
                        .label(format!("column `{}` needs a `type`", column.key)),
                );
                return None;
            };
            for key in ["doc", "default"] {
                field.extend(column.value.get(key).map(|node| (key.to_string(), node.to_json())));
            }
            let rules = entries.iter().filter(|entry| RULE_KEYS.contains(&entry.key.as_str()));
            let rules: Map<String, Json> = rules.map(|entry| (entry.key.clone(), entry.value.to_json())).collect();
            (ty, rules)
        }
        _ => (&column.value, Map::new()),
    };
    let is_timestamp = ty.as_str().is_some_and(|word| word.trim_end_matches('?') == "timestamp");
    if let Some(now) = column.value.get("now").filter(|_| !is_timestamp) {
        out.push(
            Diagnostic::error("datagen.rule", "`now` is only for columns of type `timestamp`")
                .at(&now.place)
                .label(format!("column `{}` is of another type", column.key)),
        );
        return None;
    }
    let (mut ty, mut optional) = avro_type(ty, out)?;
    if let Some(Value::Bool(yes)) = column.value.get("optional").map(|node| &node.value) {
        optional |= *yes;
    }
    if !rules.is_empty() {
        ty.insert(RULES.into(), Json::Object(rules));
    }
    let ty = Json::Object(ty);
    field.insert("type".into(), if optional { json!(["null", ty]) } else { ty });
    Some(Json::Object(field))
}

fn check_keys(entries: &[Entry], out: &mut Diagnostics) -> Option<()> {
    let known = || COLUMN_KEYS.iter().chain(RULE_KEYS).copied();
    let unknown = |entry: &&Entry| !known().any(|key| key == entry.key);
    let mut good = Some(());
    for entry in entries.iter().filter(unknown) {
        good = None;
        out.push(
            Diagnostic::error("spec.unknown_key", format!("unknown key `{}`", entry.key))
                .at(&entry.key_place)
                .note(format!("known here: {}", known().collect::<Vec<_>>().join(", ")))
                .did_you_mean(&entry.key, known()),
        );
    }
    good
}

/// The Avro type of a word, and whether it may be null.
fn avro_type(node: &Node, out: &mut Diagnostics) -> Option<(Map<String, Json>, bool)> {
    let text = node.as_str().unwrap_or_default();
    let (word, optional) = text.strip_suffix('?').map_or((text, false), |word| (word, true));
    let (avro, logical) = match word {
        "date" => ("int", Some("date")),
        "time" => ("int", Some("time-millis")),
        "timestamp" => ("long", Some("timestamp-millis")),
        "uuid" => ("string", Some("uuid")),
        word if WORDS.contains(&word) => (word, None),
        _ => {
            let title = match node.as_str() {
                Some(text) => format!("`{text}` is not a type that can be generated from `columns`"),
                None => format!("expected a type, found {}", node.kind()),
            };
            out.push(
                Diagnostic::error("datagen.type", title)
                    .at(&node.place)
                    .note(format!("types here: {}, each with `?` behind it if it may be null", WORDS.join(", ")))
                    .hint("give lists, maps, records and enums in `schema`, as an Avro schema with rules"),
            );
            return None;
        }
    };
    let mut ty = Map::from_iter([("type".to_string(), avro.into())]);
    ty.extend(logical.map(|logical| ("logicalType".to_string(), logical.into())));
    Some((ty, optional))
}
