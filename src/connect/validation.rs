//! The verdict on a config, in the shape of the REST API.

use serde::Serialize;

use super::definition::Definition;

/// The body of `PUT /connector-plugins/PLUGIN/config/validate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Validation {
    /// The class as it was given.
    pub name: String,
    /// How many errors all keys have together.
    pub error_count: usize,
    pub groups: Vec<String>,
    pub configs: Vec<ConfigInfo>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigInfo {
    /// `None`: a client's setting that this one does not know.
    pub definition: Option<Definition>,
    pub value: ConfigValue,
}

/// A value as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigValue {
    pub name: String,
    /// `None`: there is none, or it could not be read. A secret is never shown.
    pub value: Option<String>,
    pub recommended_values: Vec<String>,
    pub errors: Vec<String>,
    pub visible: bool,
}

impl Validation {
    /// All that is wrong, for POST, PUT and PATCH: see [`super::list_of_errors`].
    pub fn errors(&self) -> Vec<String> {
        self.configs.iter().flat_map(|info| info.value.errors.iter().cloned()).collect()
    }
}
