//! `{{ env.X }}` and `{{ values.a }}`: values put into a document, never text.

use std::collections::BTreeMap;

/// What tags may ask for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    /// `env.NAME`.
    pub env: BTreeMap<String, String>,
    /// `values.a.b`: an object.
    pub values: serde_json::Map<String, serde_json::Value>,
}
