//! Settings of converters and transformations: texts by name, read with Connect's types and messages.

use std::collections::BTreeMap;
use std::fmt;

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The setting's whole name: `transforms.a.field`.
    pub key: String,
    /// Connect's sentence.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// The settings behind a prefix.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    all: &'a BTreeMap<String, String>,
    prefix: &'a str,
}

impl<'a> Settings<'a> {
    /// Settings whose names begin with `prefix`, which ends with a dot or is empty.
    pub fn new(all: &'a BTreeMap<String, String>, prefix: &'a str) -> Self {
        Settings { all, prefix }
    }

    /// As written.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.all.get(&format!("{}{key}", self.prefix)).map(String::as_str)
    }

    pub fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError { key: format!("{}{key}", self.prefix), message: message.into() }
    }

    pub fn invalid(&self, key: &str, value: &str, why: &str) -> ConfigError {
        self.error(key, format!("Invalid value {value} for configuration {key}: {why}"))
    }

    /// A text that must be there.
    pub fn required(&self, key: &str) -> Result<&'a str, ConfigError> {
        self.get(key).ok_or_else(|| {
            self.error(key, format!("Missing required configuration \"{key}\" which has no default value."))
        })
    }

    pub fn boolean(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        match self.get(key).map(str::trim) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(self.invalid(key, text, "Expected value to be either true or false")),
        }
    }

    /// A whole number of 32 bits, if it is there.
    pub fn int(&self, key: &str) -> Result<Option<i32>, ConfigError> {
        let Some(text) = self.get(key).map(str::trim) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.invalid(key, text, "Not a number of type INT"))
    }

    /// Texts between commas, without the space around them; none if it is empty or not there.
    pub fn list(&self, key: &str) -> Vec<String> {
        match self.get(key).map(str::trim) {
            None | Some("") => Vec::new(),
            Some(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        }
    }

    /// A list that must be there, with something in it.
    pub fn required_list(&self, key: &str) -> Result<Vec<String>, ConfigError> {
        self.required(key)?;
        let list = self.list(key);
        if list.is_empty() { Err(self.invalid(key, "[]", "Empty list")) } else { Ok(list) }
    }
}
