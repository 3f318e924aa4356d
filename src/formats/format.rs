//! `format:` and `key_format:`: `avro`, or `{csv: {header: false}}`.

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::report::{Diagnostic, Diagnostics, Place};
use crate::spec::{self, Entry, FromNode, MapReader, Node, Value, or_tag};

/// How values are written as bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// Avro behind Confluent's prefix; needs a schema registry.
    Avro,
    /// One JSON object per value.
    Json,
    /// The value is one text.
    String,
    /// The value is bytes.
    Bytes,
    /// One line of comma-separated values per record.
    Csv(CsvOptions),
}

/// The formats' words, in the order of the reference.
pub const FORMATS: &[&str] = &["avro", "json", "string", "bytes", "csv"];

crate::options! {
    /// Options of `csv:`.
    pub struct CsvOptions {
        /// Whether a file's first line names the columns. Default: true. Example: `header: false`.
        pub header: bool = true,
        /// One ASCII character between two values. Default: `,`. Example: `delimiter: ";"`.
        pub delimiter: Delimiter = Delimiter(','),
    }
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions { header: true, delimiter: Delimiter(',') }
    }
}

/// What stands between two values of a line: one ASCII character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delimiter(pub char);

impl FromNode for Delimiter {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let text = String::from_node(node, out)?;
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (Some(one), None) if one.is_ascii() && !matches!(one, '\0' | '"' | '\n' | '\r') => Some(Delimiter(one)),
            _ => {
                let title = format!("`{text}` cannot stand between two values");
                out.push(
                    Diagnostic::error("format.delimiter", title)
                        .at(&node.place)
                        .hint("one ASCII character, not a quote and not a line break"),
                );
                None
            }
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        or_tag(json_schema!({ "type": "string", "pattern": "^[\\u0001-\\t\\u000b\\u000c\\u000e-!#-\\u007f]$" }))
    }
}

impl Format {
    /// The format's word in the language.
    pub fn word(&self) -> &'static str {
        match self {
            Format::Avro => "avro",
            Format::Json => "json",
            Format::String => "string",
            Format::Bytes => "bytes",
            Format::Csv(_) => "csv",
        }
    }

    /// The format of a word that stands at `place`, with its options if there are any.
    pub fn from_word(word: &str, place: &Place, options: Option<&Node>, out: &mut Diagnostics) -> Option<Format> {
        let format = match word {
            "csv" => {
                let read = options.map(|node| CsvOptions::from_node(node, out));
                return Some(Format::Csv(read.unwrap_or_else(|| Some(CsvOptions::default()))?));
            }
            "avro" => Format::Avro,
            "json" => Format::Json,
            "string" => Format::String,
            "bytes" => Format::Bytes,
            // Words of the language that mean something on sinks only, where they are asked for first.
            "original" | "connect" => {
                out.push(
                    Diagnostic::error("format.of_sinks", format!("`format: {word}` is one of sinks"))
                        .at(place)
                        .note(format!("others are {}", FORMATS.join(", "))),
                );
                return None;
            }
            _ => {
                out.push(
                    Diagnostic::error("format.unknown", format!("there is no format `{word}`"))
                        .at(place)
                        .note(format!("formats: {}", FORMATS.join(", ")))
                        .did_you_mean(word, FORMATS.iter().copied()),
                );
                return None;
            }
        };
        if let Some(node) = options {
            // None of them has options: every key is one too many.
            MapReader::new(node, out)?.finish(out);
            if node.entries().is_some_and(|entries| !entries.is_empty()) {
                return None;
            }
        }
        Some(format)
    }
}

impl FromNode for Format {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::String(word) => Format::from_word(word, &node.place, None, out),
            Value::Map(entries) if entries.len() == 1 => {
                let Entry { key, key_place, value } = &entries[0];
                Format::from_word(key, key_place, Some(value), out)
            }
            _ => {
                let found = format!("this is {}", node.kind());
                out.push(
                    Diagnostic::error("spec.type", "expected a format")
                        .at(&node.place)
                        .label(found)
                        .hint("write `avro`, or `{csv: {header: false}}`"),
                );
                None
            }
        }
    }

    /// `original` and `connect` are among the words: they are of the language, where the place allows them.
    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let map = |word: &str, options: Schema| {
            json_schema!({
                "type": "object",
                "properties": { word: options },
                "required": [word],
                "additionalProperties": false,
            })
        };
        let no_options = json_schema!({ "type": ["object", "null"], "additionalProperties": false });
        let mut choices = vec![json_schema!({ "enum": spec::FORMATS })];
        for word in spec::FORMATS {
            choices.push(match *word {
                "csv" => map(word, CsvOptions::schema(generator)),
                "connect" => map(word, connect_settings()),
                word => map(word, no_options.clone()),
            });
        }
        json_schema!({
            "description": "How values are written as bytes: a word, or a word with options.",
            "anyOf": choices,
        })
    }
}

/// Kafka Connect's own keys; the plan knows them.
fn connect_settings() -> Schema {
    json_schema!({
        "type": "object",
        "description": "Settings of Kafka Connect by its own names: `key.converter`, `value.converter`, `header.converter`, `transforms`, `predicates`, each with what stands behind it.",
        "additionalProperties": { "type": ["string", "number", "boolean"] },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::report::SourceFile;

    fn place() -> Place {
        Place::new(&Arc::new(SourceFile { name: "p.yaml".into(), text: "format: x".into() }), 8..9)
    }

    fn node(value: Value) -> Node {
        Node { place: place(), value }
    }

    fn map(key: &str, value: Node) -> Node {
        node(Value::Map(vec![Entry { key: key.into(), key_place: place(), value }]))
    }

    fn read(node: &Node) -> Result<Format, Vec<&'static str>> {
        let mut out = Diagnostics::default();
        let format = Format::from_node(node, &mut out);
        match format {
            Some(format) if !out.has_errors() => Ok(format),
            _ => Err(out.0.iter().map(|diagnostic| diagnostic.code).collect()),
        }
    }

    #[test]
    fn a_format_is_a_word_or_a_word_with_options() {
        assert_eq!(read(&node(Value::String("avro".into()))), Ok(Format::Avro));
        assert_eq!(read(&node(Value::String("csv".into()))), Ok(Format::Csv(CsvOptions::default())));
        let options = map("csv", map("header", node(Value::Bool(false))));
        assert_eq!(read(&options), Ok(Format::Csv(CsvOptions { header: false, delimiter: Delimiter(',') })));
        assert_eq!(
            read(&map("csv", map("delimiter", node(Value::String(";;".into()))))),
            Err(vec!["format.delimiter"])
        );
        assert_eq!(read(&map("json", map("pretty", node(Value::Bool(true))))), Err(vec!["spec.unknown_key"]));
        assert_eq!(read(&node(Value::String("avor".into()))), Err(vec!["format.unknown"]));
        assert_eq!(read(&node(Value::Int(3))), Err(vec!["spec.type"]));
    }

    #[test]
    fn every_word_is_read() {
        for word in FORMATS {
            assert_eq!(read(&node(Value::String((*word).into()))).unwrap().word(), *word);
        }
    }

    #[test]
    fn loader_and_json_schema_agree() {
        let mut generator = SchemaGenerator::default();
        let mut schema = Format::schema(&mut generator);
        schema.insert("$defs".into(), generator.take_definitions(true).into());
        let validator = jsonschema::validator_for(schema.as_value()).unwrap();
        let text = |text: &str| node(Value::String(text.into()));
        let csv = |key: &str, value: Node| map("csv", map(key, value));
        let nodes = [
            text("json"),
            text("jsn"),
            map("avro", node(Value::Null)),
            map("avro", node(Value::Map(Vec::new()))),
            map("avro", map("x", text("y"))),
            map("csv", node(Value::Null)),
            csv("header", node(Value::Bool(true))),
            csv("header", text("yes")),
            csv("heade", node(Value::Bool(true))),
            csv("delimiter", text("\t")),
            csv("delimiter", text("é")),
            csv("delimiter", text("\"")),
            csv("delimiter", text("")),
            node(Value::Null),
        ];
        for node in nodes {
            assert_eq!(validator.is_valid(&node.to_json()), read(&node).is_ok(), "{}", node.to_json());
        }
    }
}
