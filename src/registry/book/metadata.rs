//! Metadata and rules of a schema: what it takes over from the version before it and from settings.
//!
//! They belong to a schema's identity. A registration that brings none has those of the newest version; `default…`
//! settings stand below what is there, `override…` settings above. A version that was asked for is noted in
//! `confluent:version`, which makes a schema that is registered again another one.

use serde_json::{Map, Value as Json, json};

use super::stored::Book;
use super::{Entry, NewSchema, Subject};

/// The property that says which version a schema is.
const VERSION: &str = "confluent:version";
const PROPERTIES: &str = "properties";
/// The lists that a set of rules has; rules of a list are told apart by their names.
const RULES: [&str; 3] = ["migrationRules", "domainRules", "encodingRules"];

impl Book {
    /// A schema with what it takes over. `version` is the one that it would be.
    pub(super) fn with_inherited(
        &self,
        subject: &Subject,
        new: NewSchema,
        newest: Option<&Entry>,
        version: i32,
    ) -> NewSchema {
        let layers = |low: &str, own: Option<Json>, high: &str| {
            let setting = |key: &str| self.setting(subject, key).cloned();
            [setting(low), own, setting(high)].into_iter().flatten().reduce(merged)
        };
        let own = new.metadata.or_else(|| newest?.metadata.clone());
        let mut metadata = layers("defaultMetadata", own, "overrideMetadata");
        let own = new.rule_set.or_else(|| newest?.rule_set.clone());
        let rule_set = layers("defaultRuleSet", own, "overrideRuleSet");
        if new.version.is_some() || version_in(metadata.as_ref()).is_some() {
            let noted = json!({ PROPERTIES: { VERSION: version.to_string() } });
            metadata = Some(match metadata {
                Some(metadata) => merged(metadata, noted),
                None => noted,
            });
        }
        NewSchema { metadata, rule_set, ..new }
    }
}

/// True if `wanted` means the schema that is known: whoever does not ask for a version finds one that has a number.
pub(super) fn is_found_by(known: &Entry, wanted: &Entry) -> bool {
    if known == wanted {
        return true;
    }
    if version_in(known.metadata.as_ref()).is_none() || version_in(wanted.metadata.as_ref()).is_some() {
        return false;
    }
    (&known.schema, &known.references, &known.rule_set) == (&wanted.schema, &wanted.references, &wanted.rule_set)
        && without_version(known.metadata.clone()) == without_version(wanted.metadata.clone())
}

fn version_in(metadata: Option<&Json>) -> Option<&Json> {
    metadata?.get(PROPERTIES)?.get(VERSION)
}

/// Nothing is left where nothing else was said.
fn without_version(metadata: Option<Json>) -> Option<Json> {
    let mut metadata = metadata?;
    let all = metadata.as_object_mut()?;
    if let Some(Json::Object(properties)) = all.get_mut(PROPERTIES) {
        properties.shift_remove(VERSION);
    }
    let is_nothing = |value: &Json| match value {
        Json::Null => true,
        Json::Object(entries) => entries.is_empty(),
        Json::Array(items) => items.is_empty(),
        _ => false,
    };
    all.retain(|_, value| !is_nothing(value));
    (!all.is_empty()).then_some(metadata)
}

/// One over the other: properties and tags by name, rules by their names, sensitive properties together.
fn merged(low: Json, high: Json) -> Json {
    let (Json::Object(mut all), Json::Object(high)) = (low, high) else { return Json::Null };
    for (key, value) in high {
        // In its place: the text of it is hashed.
        let value = match (all.get_mut(&key).map(Json::take), value) {
            (None | Some(Json::Null), value) => value,
            (Some(before), Json::Null) => before,
            (Some(Json::Object(before)), Json::Object(over)) => Json::Object(entries(before, over)),
            (Some(Json::Array(before)), Json::Array(over)) if RULES.contains(&key.as_str()) => rules(before, over),
            (Some(Json::Array(mut before)), Json::Array(over)) => {
                before.extend(over);
                Json::Array(distinct(before))
            }
            (_, over) => over,
        };
        all.insert(key, value);
    }
    Json::Object(all)
}

/// Entries by key; lists of tags are joined.
fn entries(mut before: Map<String, Json>, over: Map<String, Json>) -> Map<String, Json> {
    for (key, value) in over {
        let value = match (before.get_mut(&key).map(Json::take), value) {
            (Some(Json::Array(mut before)), Json::Array(over)) => {
                before.extend(over);
                Json::Array(distinct(before))
            }
            (_, value) => value,
        };
        before.insert(key, value);
    }
    before
}

fn rules(before: Vec<Json>, over: Vec<Json>) -> Json {
    let is_replaced = |rule: &Json| over.iter().any(|other| other.get("name") == rule.get("name"));
    let kept: Vec<Json> = before.into_iter().filter(|rule| !is_replaced(rule)).collect();
    Json::Array(kept.into_iter().chain(over).collect())
}

fn distinct(items: Vec<Json>) -> Vec<Json> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// Whether one of its rules is of a type.
pub fn has_rule(entry: &Entry, kind: &str) -> bool {
    let lists = RULES.iter().filter_map(|list| entry.rule_set.as_ref()?.get(list)?.as_array());
    lists.flatten().any(|rule| rule.get("type").and_then(Json::as_str) == Some(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_above_wins_name_by_name() {
        let low = json!({"properties": {"owner": "a", "team": "x"}, "tags": {"**.ssn": ["PII"]}, "sensitive": ["s"]});
        let high = json!({"properties": {"owner": "b"}, "tags": {"**.ssn": ["PII", "NEW"]}, "sensitive": ["t"]});
        let both = json!({"properties": {"owner": "b", "team": "x"}, "tags": {"**.ssn": ["PII", "NEW"]}, "sensitive": ["s", "t"]});
        assert_eq!(merged(low, high), both);
        let rule = |name: &str, kind: &str| json!({"name": name, "type": kind});
        let low = json!({"domainRules": [rule("a", "CEL"), rule("b", "CEL")]});
        let high = json!({"domainRules": [rule("a", "ENCRYPT")]});
        assert_eq!(merged(low, high), json!({"domainRules": [rule("b", "CEL"), rule("a", "ENCRYPT")]}));
    }
}
