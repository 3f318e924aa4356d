//! What the user wrote: YAML with places, documents, names, typed options.
//!
//! Text goes through `template` (placeholders before the YAML is parsed, values after), `yaml`
//! (the one door to the YAML parser) and becomes a [`Node`] tree in which every scalar, key and
//! collection knows its place. `load` reads documents from it. A connector's or transform's body
//! stays a [`Node`]; the plan types it through its tables.

mod documents;
mod load;
mod node;
mod options;
mod secret;
mod template;
mod types;
mod units;

pub use documents::*;
pub use load::load;
pub use node::{Entry, Node, Value};
pub use options::{FromNode, MapReader, Spanned, not_available, wrong_type, wrong_word};
pub use secret::Secret;
pub use template::Values;
pub use types::{ColumnType, Type};
pub use units::{Bytes, DurationMs};

/// The names of formats that `format:` and `key_format:` take; `original` only on sinks.
pub const FORMATS: &[&str] = &["avro", "json", "string", "bytes", "csv", "original"];
