//! One value: from its text to what it is, with what is wrong with it.

use super::super::definition::{Definition, Kind, Rule};
use super::super::secrets::HIDDEN;
use super::super::validation::ConfigValue;
use super::rules;

/// A value that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    Number(i64),
    Boolean(bool),
    /// Texts, classes, and numbers with a fraction.
    Text(String),
    List(Vec<String>),
}

/// Reads what was given, or the default. `bare`: the key's name in the messages of its rule.
pub fn value(definition: &Definition, bare: &str, rule: Rule, given: Option<&str>) -> ConfigValue {
    let mut errors = Vec::new();
    // A converter's messages never have the prefix.
    let name = &definition.name;
    let text = given.or(definition.default_value.as_deref());
    let read = match text.map(|text| parsed(name, definition.kind, text)) {
        Some(Ok(read)) => Some(read),
        Some(Err(error)) => {
            errors.push(error);
            None
        }
        None => {
            if definition.required {
                errors.push(format!("Missing required configuration \"{name}\" which has no default value."));
            }
            None
        }
    };
    // What has no default may be missing; a number that must be there may not.
    let is_missing = read.is_none() && !definition.required && definition.default_value.is_none();
    if !is_missing {
        errors.extend(rules::broken(rule, bare, read.as_ref()));
    }
    let shown = read.map(|read| if definition.kind == Kind::Password { HIDDEN.to_owned() } else { read.shown() });
    ConfigValue { errors, ..ConfigValue::of(name, shown) }
}

impl ConfigValue {
    pub(super) fn of(name: &str, value: Option<String>) -> ConfigValue {
        ConfigValue { name: name.to_owned(), value, recommended_values: Vec::new(), errors: Vec::new(), visible: true }
    }
}

impl Read {
    /// As it comes back.
    fn shown(&self) -> String {
        match self {
            Read::Number(number) => number.to_string(),
            Read::Boolean(truth) => truth.to_string(),
            Read::Text(text) => text.clone(),
            Read::List(items) => items.join(","),
        }
    }

    /// As messages show it.
    pub fn java_text(&self) -> String {
        match self {
            Read::List(items) => format!("[{}]", items.join(", ")),
            other => other.shown(),
        }
    }
}

fn parsed(name: &str, kind: Kind, text: &str) -> Result<Read, String> {
    let trimmed = text.trim_matches(|c: char| c <= ' ');
    let wrong = |why: &str| format!("Invalid value {text} for configuration {name}: {why}");
    let number = |least: i64, most: i64| {
        let number = trimmed.parse::<i64>().ok().filter(|number| (least..=most).contains(number));
        number.map(Read::Number).ok_or_else(|| wrong(&format!("Not a number of type {}", kind.word())))
    };
    match kind {
        Kind::Double => {
            let number = trimmed.parse::<f64>().map_err(|_| wrong("Not a number of type DOUBLE"))?;
            Ok(Read::Text(format!("{number:?}")))
        }
        Kind::Short => number(i16::MIN.into(), i16::MAX.into()),
        Kind::Int => number(i32::MIN.into(), i32::MAX.into()),
        Kind::Long => number(i64::MIN, i64::MAX),
        Kind::Boolean if trimmed.eq_ignore_ascii_case("true") => Ok(Read::Boolean(true)),
        Kind::Boolean if trimmed.eq_ignore_ascii_case("false") => Ok(Read::Boolean(false)),
        Kind::Boolean => Err(wrong("Expected value to be either true or false")),
        Kind::List => Ok(Read::List(list(text))),
        Kind::String | Kind::Class => Ok(Read::Text(trimmed.to_owned())),
        Kind::Password => Ok(Read::Text(text.to_owned())),
    }
}

/// Texts between commas, without the space around them.
pub fn list(text: &str) -> Vec<String> {
    let text = text.trim();
    if text.is_empty() { Vec::new() } else { text.split(',').map(|item| item.trim().to_owned()).collect() }
}
