//! From a [`Node`] to typed options, with all errors of a body in one run.
//!
//! [`FromNode`] reads a type and describes it as JSON Schema, so both always say the same. serde is
//! not used here: it stops at the first error and forgets places. Structs, words and choices are
//! declared with the macros of `macros`; the scalars, lists and maps of the language are below.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::describe::{ObjectSchema, or_tag};
use super::{Entry, Node, Value};
use crate::report::{Diagnostic, Diagnostics, Place, most_like};

/// A type that can be read from a node.
pub trait FromNode: Sized {
    /// Reads the node, or says what is wrong with it and gives `None`.
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self>;

    /// The value of a key that is not there; `None` makes the key required.
    fn missing() -> Option<Self> {
        None
    }

    /// What `from_node` takes, as JSON Schema. By default: anything.
    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        Schema::from(true)
    }
}

/// A struct of options, declared with [`crate::options!`]: its keys may be read beside others.
pub trait Options: Sized {
    /// Reads its keys from a map; unknown ones are left for [`MapReader::finish`].
    fn read_keys(map: &mut MapReader<'_>, out: &mut Diagnostics) -> Option<Self>;
    /// Adds its keys to a JSON Schema.
    fn describe_keys(object: &mut ObjectSchema, generator: &mut SchemaGenerator);
}

/// A value and where it was written, for what only the plan can check.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    pub value: T,
    pub place: Place,
}

impl Spanned<String> {
    /// The place of a part of a text, such as a word of an expression: `within` counts bytes of the
    /// text. All of the text where the file spells it otherwise (escapes, folded lines, tags).
    pub fn part(&self, within: std::ops::Range<usize>) -> Place {
        let written = self.place.text();
        let quote = usize::from(written.starts_with(['"', '\'']));
        if written.get(quote..).is_some_and(|inner| inner.starts_with(&self.value)) {
            return self.place.part(within.start + quote..within.end + quote);
        }
        self.place.clone()
    }
}

impl<T: FromNode> FromNode for Spanned<T> {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        Some(Spanned { value: T::from_node(node, out)?, place: node.place.clone() })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        T::schema(generator)
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: FromNode> FromNode for Option<T> {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        T::from_node(node, out).map(Some)
    }

    fn missing() -> Option<Self> {
        Some(None)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        T::schema(generator)
    }
}

impl<T: FromNode> FromNode for Vec<T> {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            // Every item is read even when an earlier one is wrong, so that one run finds all.
            Value::List(items) => {
                let read: Vec<_> = items.iter().map(|item| T::from_node(item, out)).collect();
                read.into_iter().collect()
            }
            _ => wrong_type(node, "a list", out),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": T::schema(generator) })
    }
}

/// A map in the order written, each key with its place.
impl<T: FromNode> FromNode for Vec<(Spanned<String>, T)> {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            // `transforms:` with every line behind it commented out.
            Value::Null => &[],
            _ => return wrong_type(node, "a map", out),
        };
        let read: Vec<_> = entries
            .iter()
            .map(|entry| {
                let key = Spanned { value: entry.key.clone(), place: entry.key_place.clone() };
                T::from_node(&entry.value, out).map(|value| (key, value))
            })
            .collect();
        read.into_iter().collect()
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["object", "null"], "additionalProperties": T::schema(generator) })
    }
}

impl FromNode for Node {
    fn from_node(node: &Node, _out: &mut Diagnostics) -> Option<Self> {
        Some(node.clone())
    }
}

macro_rules! whole_number {
    ($type:ty, $expected:literal, $schema:tt) => {
        impl FromNode for $type {
            fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
                let read = match &node.value {
                    Value::Int(value) => <$type>::try_from(*value).ok(),
                    Value::String(text) if node.is_filled_in() => text.trim().parse().ok(),
                    _ => None,
                };
                read.or_else(|| wrong_type(node, $expected, out))
            }

            fn schema(_generator: &mut SchemaGenerator) -> Schema {
                or_tag(json_schema!($schema))
            }
        }
    };
}

whole_number!(i64, "a whole number", { "type": "integer" });
whole_number!(i32, "a whole number", { "type": "integer", "minimum": -0x8000_0000_i64, "maximum": 0x7fff_ffff });
whole_number!(u64, "a whole number from 0 on", { "type": "integer", "minimum": 0 });
whole_number!(u32, "a whole number from 0 on", { "type": "integer", "minimum": 0, "maximum": 0xffff_ffff_u32 });
whole_number!(usize, "a whole number from 0 on", { "type": "integer", "minimum": 0 });

impl FromNode for bool {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::Bool(value) => Some(*value),
            Value::String(text) if node.is_filled_in() && text == "true" => Some(true),
            Value::String(text) if node.is_filled_in() && text == "false" => Some(false),
            Value::String(text) if !node.is_quoted() => {
                let meant = match text.to_lowercase().as_str() {
                    "yes" | "on" | "y" => "true",
                    "no" | "off" | "n" => "false",
                    _ => return wrong_type(node, "true or false", out),
                };
                out.push(
                    Diagnostic::error("yaml.boolean", format!("`{text}` is a string in YAML 1.2, not a boolean"))
                        .at(&node.place)
                        .hint(format!("write `{meant}`")),
                );
                None
            }
            _ => wrong_type(node, "true or false", out),
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        or_tag(json_schema!({ "type": "boolean" }))
    }
}

impl FromNode for f64 {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let read = match &node.value {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            Value::String(text) if node.is_filled_in() => text.trim().parse().ok(),
            _ => None,
        };
        read.or_else(|| wrong_type(node, "a number", out))
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        or_tag(json_schema!({ "type": "number" }))
    }
}

impl FromNode for String {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::String(text) if text.contains("${secret:") => {
                out.push(
                    Diagnostic::error("secret.not_here", "a secret cannot stand here")
                        .at(&node.place)
                        .note("secrets are filled into the settings of connections, and nowhere else"),
                );
                None
            }
            Value::String(text) => Some(text.clone()),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) if node.is_filled_in() => node.scalar_text(),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
                let quoted = format!("put it in quotes: `\"{}\"`", node.place.text());
                wrong_type_with(node, "a string", |diagnostic| diagnostic.hint(quoted), out)
            }
            _ => wrong_type(node, "a string", out),
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Pushes "expected …, found …" at the node and gives `None`.
pub fn wrong_type<T>(node: &Node, expected: &str, out: &mut Diagnostics) -> Option<T> {
    wrong_type_with(node, expected, |diagnostic| diagnostic, out)
}

fn wrong_type_with<T>(
    node: &Node,
    expected: &str,
    more: impl FnOnce(Diagnostic) -> Diagnostic,
    out: &mut Diagnostics,
) -> Option<T> {
    let found = match &node.value {
        Value::Null => "nothing is there".to_owned(),
        Value::Int(_) | Value::Float(_) if !node.is_filled_in() => format!("this is {}", node.place.text()),
        Value::List(items) if items.is_empty() => "this list is empty".to_owned(),
        Value::Map(entries) if entries.is_empty() => "this map is empty".to_owned(),
        _ => format!("this is {}", node.kind()),
    };
    let diagnostic = Diagnostic::error("spec.type", format!("expected {expected}")).at(&node.place).label(found);
    out.push(more(match missing_space(node) {
        Some(fixed) if expected.contains("a map") => diagnostic.hint(format!("a colon needs a space: `{fixed}`")),
        _ => diagnostic,
    }));
    None
}

/// `from:good` is a string; what the user meant by it is `from: good`.
pub(super) fn missing_space(node: &Node) -> Option<String> {
    let (key, value) = node.as_str().filter(|_| !node.is_quoted())?.split_once(':')?;
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_');
    (is_key && !value.is_empty() && !value.starts_with([' ', '/'])).then(|| format!("{key}: {value}"))
}

/// Pushes "expected one of …" (or "not available yet") at the node and gives `None`.
pub fn wrong_word<T>(node: &Node, words: &[&'static str], later: &[&'static str], out: &mut Diagnostics) -> Option<T> {
    let listed = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let expected = if words.len() == 1 { listed.clone() } else { format!("one of {listed}") };
    // A word of a later release may also be a key: `restart: {watermark: …}`.
    let (text, place) = match (node.as_str(), node.entries()) {
        (Some(text), _) => (text, &node.place),
        (_, Some([entry])) if later.contains(&entry.key.as_str()) => (entry.key.as_str(), &entry.key_place),
        _ => return wrong_type(node, &expected, out),
    };
    if later.contains(&text) {
        out.push(not_available(&format!("`{text}`"), place).note(format!("in this release: {listed}")));
        return None;
    }
    out.push(
        Diagnostic::error("spec.unknown_word", format!("unknown word `{text}`"))
            .at(&node.place)
            .note(format!("expected is {expected}"))
            .did_you_mean(text, words.iter().copied()),
    );
    None
}

/// Pushes what a choice of words and one-key maps takes, and gives `None`.
pub fn wrong_choice<T>(node: &Node, words: &[&str], keys: &[&str], out: &mut Diagnostics) -> Option<T> {
    let listed = words.iter().map(|word| format!("`{word}`"));
    let listed = listed.chain(keys.iter().map(|key| format!("`{{{key}: …}}`"))).collect::<Vec<_>>().join(", ");
    let (word, place) = match (node.as_str(), node.entries()) {
        (Some(word), _) => (word, &node.place),
        (_, Some([entry])) => (entry.key.as_str(), &entry.key_place),
        _ => return wrong_type(node, &format!("one of {listed}"), out),
    };
    let known = words.iter().chain(keys).copied();
    let diagnostic = Diagnostic::error("spec.unknown_word", format!("unknown word `{word}`"));
    out.push(diagnostic.at(place).note(format!("expected is one of {listed}")).did_you_mean(word, known));
    None
}

/// The error for a thing of the language that this release does not have.
pub fn not_available(what: &str, place: &Place) -> Diagnostic {
    Diagnostic::error("spec.not_available", format!("{what} is not available yet"))
        .at(place)
        .label("comes in a later release")
}

/// Reads a map key by key; `finish` complains about the keys that nobody asked for.
pub struct MapReader<'a> {
    node: &'a Node,
    entries: &'a [Entry],
    /// Where "`x` is missing" points.
    owner: Place,
    known: Vec<&'static str>,
    later: Vec<&'static str>,
}

impl<'a> MapReader<'a> {
    pub fn new(node: &'a Node, out: &mut Diagnostics) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            // `console:` with nothing behind it means no options.
            Value::Null => &[],
            _ => return wrong_type(node, "a map", out),
        };
        Some(MapReader { node, entries, owner: node.place.clone(), known: Vec::new(), later: Vec::new() })
    }

    /// Says whose map this is: what is missing in it is shown there.
    pub fn of(mut self, owner: &Place) -> Self {
        self.owner = owner.clone();
        self
    }

    /// The whole map.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// The entry of `key`, which is known from now on.
    pub fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.known.push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of `key`; a missing one is an error unless its type has a value for that.
    pub fn read<T: FromNode>(&mut self, key: &'static str, out: &mut Diagnostics) -> Option<T> {
        self.read_or(key, None, out)
    }

    /// The value of `key`, or the default if there is no such key.
    pub fn read_or<T: FromNode>(
        &mut self,
        key: &'static str,
        default: Option<fn() -> T>,
        out: &mut Diagnostics,
    ) -> Option<T> {
        if let Some(entry) = self.entry(key) {
            return T::from_node(&entry.value, out);
        }
        default.map(|make| make()).or_else(T::missing).or_else(|| {
            out.push(self.missing(key));
            None
        })
    }

    fn missing(&self, key: &str) -> Diagnostic {
        Diagnostic::error("spec.missing_key", format!("`{key}` is missing"))
            .at(&self.owner)
            .label(format!("this needs `{key}`"))
    }

    /// Passes over `key`: what is wrong with it was said.
    pub(super) fn pass_over(&mut self, key: &'static str) {
        self.later.push(key);
    }

    /// Knows `key` as one of a later release; using it is an error that says so. True if it was used.
    pub fn later(&mut self, key: &'static str, out: &mut Diagnostics) -> bool {
        self.later.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key);
        if let Some(entry) = entry {
            out.push(not_available(&format!("`{key}`"), &entry.key_place));
        }
        entry.is_some()
    }

    /// Keys that nobody asked for yet.
    pub fn unknown(&self) -> impl Iterator<Item = &'a Entry> {
        let entries = self.entries;
        entries.iter().filter(|entry| {
            let key = entry.key.as_str();
            !self.known.contains(&key) && !self.later.contains(&key)
        })
    }

    /// Complains about unknown keys.
    pub fn finish(self, out: &mut Diagnostics) {
        for entry in self.unknown() {
            // A misspelt key is one error, not two.
            if let Some(meant) = most_like(&entry.key, self.known.iter().copied()) {
                let missing = self.missing(meant);
                out.0.retain(|diagnostic| *diagnostic != missing);
            }
            let mut diagnostic =
                Diagnostic::error("spec.unknown_key", format!("unknown key `{}`", entry.key)).at(&entry.key_place);
            if !self.known.is_empty() {
                diagnostic = diagnostic.note(format!("known here: {}", self.known.join(", ")));
            }
            out.push(diagnostic.did_you_mean(&entry.key, self.known.iter().copied()));
        }
    }
}
