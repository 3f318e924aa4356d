//! The reference of the language as Markdown, made from its JSON Schema and so from the types.
//!
//! One section per map of known keys, one line per key: type, default, text, example. What several
//! places share has a section of its own at the end.

use std::fmt::Write;

use serde_json::{Map, Value as Json};

/// Definitions that several keys share, and what their sections are called.
const SHARED: &[(&str, &str)] = &[
    ("Format", "Format"),
    ("ColumnType", "Type"),
    ("GeneratedType", "Generated type"),
    ("TimeKeys", "Event time"),
    ("SchemaKeys", "Schema of values"),
    ("KafkaKeys", "Kafka cluster"),
    ("RegistryKeys", "Schema registry"),
];

/// The whole page; `schema` is [`super::language_schema`].
pub fn text(schema: &Json) -> String {
    let mut page = Page { definitions: &schema["$defs"], out: String::new() };
    page.out.push_str(
        "# Reference\n\nEvery key of the language. Generated from the types: `runner schema docs` prints this page, \
         `runner schema spec` the JSON Schema with the same texts. The guide is [language.md](language.md).\n",
    );
    page.chapter("Document", schema);
    for by_kind in schema["allOf"].as_array().into_iter().flatten() {
        let kind = by_kind["if"]["properties"]["kind"]["const"].as_str().unwrap_or_default();
        page.chapter(&format!("kind: {kind}"), &by_kind["then"]["properties"]["spec"]);
    }
    for (definition, title) in SHARED {
        let definition = &page.definitions[*definition];
        page.chapter(title, definition);
    }
    page.out
}

struct Page<'a> {
    definitions: &'a Json,
    out: String,
}

impl<'a> Page<'a> {
    fn chapter(&mut self, title: &str, schema: &'a Json) {
        let schema = self.resolved(schema);
        self.heading(2, title, schema);
        match self.keyed(schema).first() {
            Some((_, keys)) => self.keys("", keys),
            None => drop(writeln!(self.out, "\n{}", self.type_text(schema))),
        }
    }

    fn heading(&mut self, level: usize, title: &str, schema: &Json) {
        let _ = writeln!(self.out, "\n{} {title}", "#".repeat(level));
        if let Some(text) = schema["description"].as_str() {
            let _ = writeln!(self.out, "\n{text}");
        }
    }

    /// The table of a map's keys, then a section for each map within.
    fn keys(&mut self, path: &str, schema: &'a Json) {
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        self.out.push_str("\n| key | type | default | text |\n|---|---|---|---|\n");
        let properties = properties(schema);
        for (key, value) in properties {
            let texts = Texts::of(self.description(value));
            let default = match (required.iter().any(|name| name == key), texts.default) {
                (true, _) => "required".to_owned(),
                (false, default) => default,
            };
            let example = if texts.example.is_empty() { String::new() } else { format!(" Example: {}", texts.example) };
            let text = format!("{}{}{example}", texts.text, self.words(value));
            let cells = [format!("`{key}`"), self.type_text(value), default, text.trim().to_owned()];
            let cells = cells.map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(self.out, "| {} |", cells.join(" | "));
        }
        for (key, value) in properties {
            for (name, inner) in self.keyed(value) {
                let path = [path, key, name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
                self.heading(3, &format!("`{path}`"), inner);
                self.keys(&path, inner);
            }
        }
    }

    /// The maps of known keys in a value, each with what stands between it and the value's own key.
    fn keyed(&self, schema: &'a Json) -> Vec<(&'static str, &'a Json)> {
        if is_shared(schema) || !schema.is_object() {
            return Vec::new();
        }
        let schema = self.resolved(schema);
        let mut found = Vec::new();
        match properties(schema) {
            keys if is_form(schema) => found.extend(keys.values().flat_map(|inner| self.keyed(inner))),
            keys if !keys.is_empty() => found.push(("", schema)),
            _ => {}
        }
        for choice in choices(schema) {
            found.extend(self.keyed(choice));
        }
        let below = |name, inner: &'a Json| self.keyed(inner).into_iter().map(move |(_, inner)| (name, inner));
        found.extend(below("NAME", &schema["additionalProperties"]));
        found.extend(below("", &schema["items"]));
        found
    }

    fn type_text(&self, schema: &'a Json) -> String {
        if let Some((_, title)) = SHARED.iter().find(|(name, _)| refers_to(schema, name)) {
            return format!("[{}](#{})", title.to_lowercase(), title.to_lowercase().replace(' ', "-"));
        }
        let schema = self.resolved(schema);
        let of_choices: Vec<String> =
            choices(schema).filter(|choice| !is_tag(choice)).map(|c| self.type_text(c)).collect();
        if !of_choices.is_empty() {
            return of_choices.join(" or ");
        }
        if let Some(word) = schema.get("const") {
            return format!("`{}`", plain(word));
        }
        if let Some(words) = schema["enum"].as_array() {
            return words.iter().map(|word| format!("`{}`", plain(word))).collect::<Vec<_>>().join(", ");
        }
        if is_form(schema) {
            let (key, inner) = properties(schema).iter().next().expect("a form has one key");
            return format!("`{{{key}: …}}` of {}", self.type_text(inner));
        }
        self.plain_type(schema)
    }

    fn plain_type(&self, schema: &'a Json) -> String {
        let pattern = schema["pattern"].as_str().unwrap_or_default();
        let types: Vec<&str> = match &schema["type"] {
            Json::Array(types) => types.iter().filter_map(Json::as_str).filter(|word| *word != "null").collect(),
            word => word.as_str().into_iter().collect(),
        };
        match types.as_slice() {
            _ if schema.get("not").is_some_and(|not| not.as_object().is_some_and(Map::is_empty)) => "not yet".into(),
            ["string"] if pattern.contains("(ms|s|m|h|d)") => "duration".into(),
            ["string"] if pattern.contains("KiB") => "size".into(),
            ["string", "number", "boolean"] if pattern == r"\S" => "expression".into(),
            ["object"] if !properties(schema).is_empty() => "map".into(),
            ["object"] => match &schema["additionalProperties"] {
                inner if inner.is_object() && self.keyed(inner).is_empty() => {
                    format!("map of {}", self.type_text(inner))
                }
                _ => "map".into(),
            },
            ["array"] if schema["items"].is_object() => format!("list of {}", self.type_text(&schema["items"])),
            ["boolean"] => "boolean".into(),
            ["integer"] => "whole number".into(),
            [] => "anything".into(),
            several => {
                several.iter().map(|word| if *word == "object" { "map" } else { word }).collect::<Vec<_>>().join(" or ")
            }
        }
    }

    /// What each word of a value means, as far as its type says so.
    fn words(&self, schema: &'a Json) -> String {
        let (word, text) = (schema.get("const"), schema["description"].as_str());
        if let (Some(word), Some(text)) = (word, text) {
            let text = text.trim_end_matches('.');
            let lower = text.chars().next().map(|first| first.to_lowercase().chain(text.chars().skip(1)).collect());
            return format!(" `{}`: {}.", plain(word), lower.unwrap_or_else(String::new));
        }
        choices(schema).map(|choice| self.words(choice)).collect()
    }

    /// A key's own text, or that of what it refers to.
    fn description(&self, schema: &'a Json) -> &'a str {
        let own = schema["description"].as_str();
        let text = own.or_else(|| self.resolved(schema)["description"].as_str());
        text.unwrap_or_default()
    }

    fn resolved(&self, schema: &'a Json) -> &'a Json {
        match schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
            Some(name) => &self.definitions[name],
            None => schema,
        }
    }
}

fn refers_to(schema: &Json, name: &str) -> bool {
    schema["$ref"].as_str().is_some_and(|path| path.strip_prefix("#/$defs/") == Some(name))
}

fn is_shared(schema: &Json) -> bool {
    SHARED.iter().any(|(name, _)| refers_to(schema, name))
}

fn properties(schema: &Json) -> &Map<String, Json> {
    static NONE: std::sync::LazyLock<Map<String, Json>> = std::sync::LazyLock::new(Map::new);
    // A property may itself be called `properties`: then it is a map of the schema, not of keys.
    schema.get("properties").and_then(Json::as_object).unwrap_or(&NONE)
}

/// `{group: NAME}`: a map of exactly this key, one of several forms of a value.
fn is_form(schema: &Json) -> bool {
    let keys = properties(schema);
    keys.len() == 1 && schema["required"].as_array().is_some_and(|required| required.len() == 1)
}

/// What a value may be; restrictions without a type of their own are not among it.
fn choices(schema: &Json) -> impl Iterator<Item = &Json> {
    let listed = ["anyOf", "oneOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten();
    listed
        .filter(|choice| {
            ["type", "$ref", "const", "enum", "anyOf", "oneOf"].iter().any(|key| choice.get(key).is_some())
        })
        .filter(|choice| choice.get("type").is_some() || choice.get("required").is_none())
}

/// A string that is one `{{ … }}`: it may stand anywhere.
fn is_tag(schema: &Json) -> bool {
    schema["pattern"].as_str().is_some_and(|pattern| pattern.contains(r"^\s*\{\{"))
}

fn plain(word: &Json) -> String {
    word.as_str().map_or_else(|| word.to_string(), str::to_owned)
}

/// The sentences of a doc comment, told apart.
#[derive(Debug, Default, PartialEq)]
struct Texts {
    text: String,
    default: String,
    example: String,
}

impl Texts {
    fn of(description: &str) -> Texts {
        let mut texts = Texts::default();
        for sentence in sentences(description) {
            let bare = sentence.trim_end_matches('.');
            if let Some(default) = bare.strip_prefix("Default") {
                texts.default = default.trim_start_matches(':').trim().to_owned();
            } else if let Some(example) = bare.strip_prefix("Example:") {
                texts.example = example.trim().to_owned();
            } else {
                let (text, default) = bare.split_once("; default").unwrap_or((bare, ""));
                texts.default += default.trim_start_matches(':').trim();
                let _ = write!(texts.text, "{}{text}.", if texts.text.is_empty() { "" } else { " " });
            }
        }
        texts
    }
}

/// Split behind full stops that no code stands around.
fn sentences(text: &str) -> Vec<&str> {
    let (mut sentences, mut start, mut in_code) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        in_code ^= letter == '`';
        if letter == '.' && !in_code && text[at + 1..].starts_with(' ') {
            sentences.push(text[start..=at].trim());
            start = at + 1;
        }
    }
    sentences.push(text[start..].trim());
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doc_comment_is_text_default_and_example() {
        let texts = Texts::of("How late. Up to `a. b`. Default: 0s. Example: `lag: 1.5`.");
        let expected = ["How late. Up to `a. b`.", "0s", "`lag: 1.5`"].map(str::to_owned);
        assert_eq!([texts.text, texts.default, texts.example], expected);
        assert_eq!(Texts::of("By name; default `default`.").default, "`default`");
    }

    #[test]
    fn every_key_of_the_language_is_in_the_reference() {
        let schema = super::super::language_schema();
        let text = text(&schema);
        for key in [
            "`tumbling`",
            "{fail_above: …}",
            "`delimiter`",
            "`max_ahead`",
            "`isolation",
            "`iteration`",
            "`replication`",
        ] {
            assert_eq!(text.contains(key), key != "`isolation", "{key}");
        }
        assert!(text.contains("### `sources.NAME.kafka`"), "{text}");
    }
}
