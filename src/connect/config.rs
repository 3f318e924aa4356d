//! A connector's configuration: texts by name, and how JSON becomes them.

use std::fmt;

use indexmap::IndexMap;

use crate::kafka_connect::json::Json;

/// A connector's config as Connect keeps it: texts by name, in the order in which they came.
pub type Config = IndexMap<String, String>;

/// JSON that is no configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigProblem {
    /// It is no object; what it is.
    NotAnObject(&'static str),
    /// A value is an object or a list.
    Nested { key: String, found: &'static str },
    /// A value is null.
    Null { key: String },
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigProblem::NotAnObject(found) => write!(formatter, "a configuration is an object, not {found}"),
            ConfigProblem::Nested { key, found } => write!(formatter, "the value of `{key}` is {found}, not a text"),
            ConfigProblem::Null { .. } => {
                formatter.write_str("Null value can not be supplied as the configuration value.")
            }
        }
    }
}

impl std::error::Error for ConfigProblem {}

/// The configuration of a JSON object: numbers and booleans by their very text.
///
/// # Errors
/// The first value that is none.
pub fn config_of(json: &Json) -> Result<Config, ConfigProblem> {
    let with = |(key, value): (String, Option<String>)| match value {
        Some(value) => Ok((key, value)),
        None => Err(ConfigProblem::Null { key }),
    };
    patch_of(json)?.into_iter().map(with).collect()
}

/// The same for a change: null takes a key away.
///
/// # Errors
/// The first value that is none.
pub fn patch_of(json: &Json) -> Result<IndexMap<String, Option<String>>, ConfigProblem> {
    let Json::Object(entries) = json else { return Err(ConfigProblem::NotAnObject(json.word())) };
    let text = |(key, value): &(String, Json)| {
        let text = match value {
            Json::String(text) | Json::Number(text) => Some(text.clone()),
            Json::Boolean(truth) => Some(truth.to_string()),
            Json::Null => None,
            Json::Array(_) | Json::Object(_) => {
                return Err(ConfigProblem::Nested { key: key.clone(), found: value.word() });
            }
        };
        Ok((key.clone(), text))
    };
    entries.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigProblem> {
        config_of(&Json::parse(text.as_bytes()).unwrap().unwrap())
    }

    #[test]
    fn numbers_and_booleans_are_texts_as_they_were_written() {
        let config = read(r#"{"b": 1000, "a": 1.50, "c": 1e3, "d": -0, "e": true, "f": " x ", "b": 2}"#).unwrap();
        let texts: Vec<_> = config.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(texts, ["b=2", "a=1.50", "c=1e3", "d=-0", "e=true", "f= x "]);
    }

    #[test]
    fn null_is_refused_but_in_a_change() {
        assert_eq!(read(r#"{"a": null}"#), Err(ConfigProblem::Null { key: "a".into() }));
        let patch = patch_of(&Json::parse(br#"{"a": null, "b": 1}"#).unwrap().unwrap()).unwrap();
        assert_eq!(patch.into_iter().collect::<Vec<_>>(), [("a".into(), None), ("b".into(), Some("1".into()))]);
        let nested = read(r#"{"a": {"b": 1}}"#).unwrap_err();
        assert_eq!(nested.to_string(), "the value of `a` is an object, not a text");
        assert_eq!(read("[1]"), Err(ConfigProblem::NotAnObject("a list")));
    }
}
