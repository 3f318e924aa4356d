//! What the user wrote: YAML with places, documents, names, typed options.
//!
//! Text goes through `template` (placeholders before the YAML is parsed, values after), `yaml`
//! (the one door to the YAML parser) and becomes a [`Node`] tree in which every scalar, key and
//! collection knows its place. `load` reads documents from it. A connector's or transform's body
//! stays a [`Node`]; the plan types it through its tables.

mod connector;
mod describe;
mod documents;
mod endpoints;
mod load;
mod macros;
mod node;
mod options;
mod pipeline;
mod schema;
mod secret;
mod steps;
mod template;
mod traps;
mod types;
mod units;
mod write;
mod yaml;

use std::sync::Arc;

pub use connector::{ConfigText, ConnectorSpec, ConnectorState};
pub use describe::{ObjectSchema, choice_schema, described, or_tag, single_key_schema, word_schema};
pub use documents::*;
pub use endpoints::{SINK_CONNECTORS, SOURCE_CONNECTORS};
pub use load::{load, load_tests, load_text, load_texts};
pub use node::{Entry, Node, Value};
pub use options::{FromNode, MapReader, Options, Spanned, not_available, wrong_choice, wrong_type, wrong_word};
pub use pipeline::{AtLeastOne, ReferenceSpec, RegistryTls, TestSpec};
pub use schema::{Bodies, Describe, json_schema};
pub use secret::Secret;
pub use steps::{Names, Sql};
pub use template::Values;
pub use types::{ColumnType, Type, type_schema};
pub use units::{Bytes, DurationMs};
pub use write::to_yaml;

use crate::report::{Diagnostics, SourceFile};

/// The names of formats that `format:` and `key_format:` take; `original` only on sinks.
pub const FORMATS: &[&str] = &["avro", "json", "string", "bytes", "csv", "original", "connect"];

/// Reads YAML that is no document of the language: rows of tests, a schema beside a spec.
///
/// One node per YAML document; tags are filled in from `values`.
pub fn read_yaml(file: &Arc<SourceFile>, values: &Values, out: &mut Diagnostics) -> Vec<Node> {
    yaml::parse(file, values, out).documents
}

/// `[A-Za-z_][A-Za-z0-9_]*`: names of sources, transforms and sinks.
pub fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `[A-Za-z0-9][A-Za-z0-9._-]*`: names of documents.
pub fn is_document_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first YAML document of a text.
    pub fn node(text: &str) -> Option<Node> {
        let file = Arc::new(SourceFile { name: "a.yaml".into(), text: text.into() });
        let mut out = Diagnostics::default();
        let nodes = read_yaml(&file, &Values::default(), &mut out);
        nodes.into_iter().next().filter(|_| out.0.is_empty())
    }

    crate::options! {
        /// A body.
        pub struct Body {
            /// How many.
            pub count: Option<u64>,
            pub header: bool = true,
            pub filter as "where": Vec<Names> = Vec::new(),
        }
    }

    fn read<T: FromNode>(text: &str) -> Result<T, Vec<&'static str>> {
        let mut out = Diagnostics::default();
        let read = T::from_node(&node(text).unwrap(), &mut out);
        read.ok_or_else(|| out.0.iter().map(|d| d.code).collect())
    }

    #[test]
    fn options_have_defaults_own_keys_and_all_errors_in_one_run() {
        let body: Body = read("{where: [a, [b]]}").unwrap();
        assert_eq!((body.count, body.header, body.filter.len()), (None, true, 2));
        let errors = vec!["spec.type", "yaml.boolean", "spec.unknown_key"];
        assert_eq!(read::<Body>("{count: -1, header: yes, wher: 1}"), Err(errors));
    }

    #[test]
    fn part_of_an_expression_is_found_within_quotes_too() {
        let sql = |text| read::<Sql>(text).unwrap().0;
        assert_eq!(sql("a > bb").part(4..6).text(), "bb");
        assert_eq!(sql("\"a > bb\"").part(4..6).text(), "bb");
        // With escapes the text is spelt otherwise: all of it is shown.
        assert_eq!(sql("'a > ''b'''").part(4..7).text(), "'a > ''b'''");
    }
}
