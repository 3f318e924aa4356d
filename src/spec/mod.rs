//! What the user wrote: YAML with places, documents, names, typed options.
//!
//! Text goes through `template` (placeholders before the YAML is parsed, values after), `yaml`
//! (the one door to the YAML parser) and becomes a [`Node`] tree in which every scalar, key and
//! collection knows its place. `load` reads documents from it. A connector's or transform's body
//! stays a [`Node`]; the plan types it through its tables.

mod node;
mod options;

pub use node::{Entry, Node, Value};
pub use options::{FromNode, MapReader, Spanned};
