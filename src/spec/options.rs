//! From a [`Node`] to typed options, with all errors of a body in one run.
//!
//! `options!` declares a struct once; from it come the reader, the reference text and the JSON
//! Schema. serde is not used here: it stops at the first error and forgets places.

use super::{Entry, Node, Value};
use crate::report::{Diagnostic, Diagnostics, Place};

/// A type that can be read from a node.
pub trait FromNode: Sized {
    /// Reads the node, or says what is wrong with it and gives `None`.
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self>;

    /// The value of a key that is not there; `None` makes the key required.
    fn missing() -> Option<Self> {
        None
    }
}

/// A value and where it was written, for what only the plan can check.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    pub value: T,
    pub place: Place,
}

impl<T: FromNode> FromNode for Spanned<T> {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        Some(Spanned { value: T::from_node(node, out)?, place: node.place.clone() })
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
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
}

/// Pushes "expected …, found …" at the node and gives `None`.
pub fn wrong_type<T>(node: &Node, expected: &str, out: &mut Diagnostics) -> Option<T> {
    let found = match &node.value {
        Value::Null => "nothing is there".to_owned(),
        _ => format!("this is {}", node.kind()),
    };
    out.push(Diagnostic::error("spec.type", format!("expected {expected}")).at(&node.place).label(found));
    None
}

/// Pushes "expected one of …" (or "not available yet") at the node and gives `None`.
pub fn wrong_word<T>(node: &Node, words: &[&'static str], later: &[&'static str], out: &mut Diagnostics) -> Option<T> {
    let listed = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let Some(text) = node.as_str() else { return wrong_type(node, &format!("one of {listed}"), out) };
    if later.contains(&text) {
        out.push(not_available(&format!("`{text}`"), &node.place).note(format!("in this release: {listed}")));
        return None;
    }
    out.push(
        Diagnostic::error("spec.unknown_word", format!("unknown word `{text}`"))
            .at(&node.place)
            .note(format!("one of {listed} is expected"))
            .did_you_mean(text, words.iter().copied()),
    );
    None
}

/// The error for a thing of the language that this release does not have.
pub fn not_available(what: &str, place: &Place) -> Diagnostic {
    Diagnostic::error("spec.not_available", format!("{what} is not available yet"))
        .at(place)
        .label("comes in a later release")
}

macro_rules! scalar {
    ($type:ty, $expected:literal, $pattern:pat => $value:expr) => {
        impl FromNode for $type {
            fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
                match &node.value {
                    $pattern => $value,
                    _ => None,
                }
                .or_else(|| wrong_type(node, $expected, out))
            }
        }
    };
}

scalar!(bool, "true or false", Value::Bool(value) => Some(*value));
scalar!(String, "a string", Value::String(text) => Some(text.clone()));
scalar!(i64, "a whole number", Value::Int(value) => Some(*value));
scalar!(i32, "a whole number", Value::Int(value) => i32::try_from(*value).ok());
scalar!(u64, "a whole number from 0 on", Value::Int(value) => u64::try_from(*value).ok());
scalar!(u32, "a whole number from 0 on", Value::Int(value) => u32::try_from(*value).ok());
scalar!(usize, "a whole number from 0 on", Value::Int(value) => usize::try_from(*value).ok());

impl FromNode for f64 {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match node.value {
            Value::Int(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            _ => wrong_type(node, "a number", out),
        }
    }
}

impl FromNode for Node {
    fn from_node(node: &Node, _out: &mut Diagnostics) -> Option<Self> {
        Some(node.clone())
    }
}

/// A map in the order written, each key with its place.
impl<T: FromNode> FromNode for Vec<(Spanned<String>, T)> {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let Value::Map(entries) = &node.value else { return wrong_type(node, "a map", out) };
        let read: Vec<_> = entries
            .iter()
            .map(|entry| {
                let key = Spanned { value: entry.key.clone(), place: entry.key_place.clone() };
                T::from_node(&entry.value, out).map(|value| (key, value))
            })
            .collect();
        read.into_iter().collect()
    }
}

/// Reads a map key by key; `finish` complains about the keys that nobody asked for.
pub struct MapReader<'a> {
    node: &'a Node,
    entries: &'a [Entry],
    asked: Vec<&'static str>,
}

impl<'a> MapReader<'a> {
    pub fn new(node: &'a Node, out: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => Some(MapReader { node, entries, asked: Vec::new() }),
            // `console:` with nothing behind it means no options.
            Value::Null => Some(MapReader { node, entries: &[], asked: Vec::new() }),
            _ => wrong_type(node, "a map", out),
        }
    }

    /// The value of `key`; a missing one is an error unless its type has a value for that.
    pub fn read<T: FromNode>(&mut self, key: &'static str, out: &mut Diagnostics) -> Option<T> {
        self.asked.push(key);
        match self.entries.iter().find(|entry| entry.key == key) {
            Some(entry) if entry.value.value == Value::Null && T::missing().is_some() => T::missing(),
            Some(entry) => T::from_node(&entry.value, out),
            None => T::missing().or_else(|| {
                out.push(
                    Diagnostic::error("spec.missing_key", format!("`{key}` is missing"))
                        .at(&self.node.place)
                        .label(format!("this needs `{key}`")),
                );
                None
            }),
        }
    }

    /// Complains about unknown keys.
    pub fn finish(self, out: &mut Diagnostics) {
        for entry in self.entries.iter().filter(|entry| !self.asked.contains(&entry.key.as_str())) {
            out.push(
                Diagnostic::error("spec.unknown_key", format!("unknown key `{}`", entry.key))
                    .at(&entry.key_place)
                    .note(format!("known here: {}", self.asked.join(", ")))
                    .did_you_mean(&entry.key, self.asked.iter().copied()),
            );
        }
    }
}

/// Declares a struct of options: reader, docs and JSON Schema from one text.
///
/// Fields of type `Option<T>` may be missing; all others are required unless `T::missing` says
/// otherwise. A doc comment becomes the reference text.
#[macro_export]
macro_rules! options {
    (
        $(#[$meta:meta])*
        pub struct $name:ident { $( $(#[$field_meta:meta])* pub $field:ident : $type:ty ),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub struct $name { $( $(#[$field_meta])* pub $field: $type ),* }

        impl $crate::spec::FromNode for $name {
            fn from_node(node: &$crate::spec::Node, out: &mut $crate::report::Diagnostics) -> Option<Self> {
                let mut map = $crate::spec::MapReader::new(node, out)?;
                $( let $field: Option<$type> = map.read(stringify!($field), out); )*
                map.finish(out);
                Some($name { $( $field: $field? ),* })
            }
        }
    };
}

/// Declares an enum of words: reader, texts and JSON Schema from one place.
///
/// Words behind `later` are known but come with a later release; using one is an error that says so.
#[macro_export]
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$word_meta:meta])* $variant:ident = $word:literal ),* $(,)? }
        $( later $( $later:literal ),+ )?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, schemars::JsonSchema)]
        pub enum $name { $( $(#[$word_meta])* #[schemars(rename = $word)] $variant ),* }

        impl $name {
            /// All words, in the order of the reference.
            pub const WORDS: &'static [&'static str] = &[$( $word ),*];

            /// The word as written.
            pub fn word(self) -> &'static str {
                match self { $( $name::$variant => $word ),* }
            }
        }

        impl $crate::spec::FromNode for $name {
            fn from_node(node: &$crate::spec::Node, out: &mut $crate::report::Diagnostics) -> Option<Self> {
                match node.as_str() {
                    $( Some($word) => Some($name::$variant), )*
                    _ => $crate::spec::wrong_word(node, Self::WORDS, &[$( $( $later ),+ )?], out),
                }
            }
        }
    };
}
