//! Small parts from which the JSON Schema of the language is built. The whole is in `schema`.

use schemars::{Schema, json_schema};
use serde_json::{Map, Value as Json, json};

/// The schema of a map with known keys, while it grows.
#[derive(Debug, Default)]
pub struct ObjectSchema {
    properties: Map<String, Json>,
    required: Vec<&'static str>,
    /// `oneOf` and the like: more than keys.
    more: Map<String, Json>,
}

impl ObjectSchema {
    /// Adds a key.
    pub fn property(&mut self, key: &'static str, schema: Schema, doc: &[&str], required: bool) {
        self.properties.insert(key.to_owned(), described(schema, doc).to_value());
        if required {
            self.required.push(key);
        }
    }

    /// The text of the whole.
    pub fn text(&mut self, doc: &[&str]) {
        if let Some(text) = doc_text(doc) {
            self.more.insert("description".into(), text.into());
        }
    }

    /// Exactly one of these keys must be there.
    pub fn exactly_one_of(&mut self, keys: &[&str]) {
        let one_of: Vec<_> = keys.iter().map(|key| json!({ "required": [key] })).collect();
        self.more.insert("oneOf".into(), one_of.into());
    }

    /// At least one of these keys must be there.
    pub fn any_of(&mut self, keys: &[&str]) {
        let any_of: Vec<_> = keys.iter().map(|key| json!({ "required": [key] })).collect();
        self.more.insert("anyOf".into(), any_of.into());
    }

    pub fn finish(self) -> Schema {
        // A map that needs no key may be left empty: `console:`.
        let may_be_empty = self.required.is_empty() && self.more.keys().all(|key| key == "description");
        let kind = if may_be_empty { json!(["object", "null"]) } else { json!("object") };
        let mut schema = json_schema!({
            "type": kind,
            "properties": self.properties,
            "additionalProperties": false,
        });
        let object = schema.ensure_object();
        if !self.required.is_empty() {
            object.insert("required".into(), self.required.into());
        }
        object.extend(self.more);
        schema
    }
}

/// The schema with a text; siblings of a `$ref` count in this version of JSON Schema.
pub fn described(mut schema: Schema, doc: &[&str]) -> Schema {
    if let Some(text) = doc_text(doc) {
        schema.ensure_object().insert("description".into(), text.into());
    }
    schema
}

/// Lines of a doc comment as one text.
fn doc_text(lines: &[&str]) -> Option<String> {
    let text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    (!text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// The schema, or a string that is one `{{ … }}`.
pub fn or_tag(schema: Schema) -> Schema {
    json_schema!({ "anyOf": [schema, { "type": "string", "pattern": r"^\s*\{\{.*\}\}\s*$" }] })
}

/// One of some words, each with its text.
pub fn word_schema(words: &[(&str, &[&str])]) -> Schema {
    or_tag(json_schema!({ "oneOf": word_schemas(words) }))
}

/// Words, or maps of exactly one key.
pub fn choice_schema(words: &[(&str, &[&str])], maps: Vec<Schema>) -> Schema {
    let all: Vec<Schema> = word_schemas(words).into_iter().chain(maps).collect();
    json_schema!({ "anyOf": all })
}

fn word_schemas(words: &[(&str, &[&str])]) -> Vec<Schema> {
    words.iter().map(|(word, doc)| described(json_schema!({ "const": word }), doc)).collect()
}

/// A map of exactly this key.
pub fn single_key_schema(key: &'static str, schema: Schema, doc: &[&str]) -> Schema {
    let mut object = ObjectSchema::default();
    object.property(key, schema, doc, true);
    object.finish()
}
