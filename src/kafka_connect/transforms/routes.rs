//! Transformations of the topic, and the one that drops records.

use regex::Regex;

use super::super::columns::Columns;
use super::super::config::{ConfigError, Settings};
use super::super::record::{ConnectError, Record, refused};
use super::dates::DateFormat;
use super::{Route, Side, Transformation};

/// Puts the record's time into the topic's name.
pub struct TimestampRouter {
    topic: String,
    format: DateFormat,
}

impl TimestampRouter {
    pub fn make(settings: Settings<'_>, _side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        let pattern = settings.get("timestamp.format").unwrap_or("yyyyMMdd");
        let format = DateFormat::new(pattern).map_err(|why| settings.invalid("timestamp.format", pattern, &why))?;
        let topic = settings.get("topic.format").unwrap_or("${topic}-${timestamp}").to_owned();
        Ok(Box::new(TimestampRouter { topic, format }))
    }
}

impl Transformation for TimestampRouter {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, ConnectError> {
        let Some(timestamp) = record.timestamp else {
            return refused(format!("Timestamp missing on record: of topic {}", record.topic));
        };
        let time = self.format.format(timestamp);
        record.topic = self.topic.replacen("${topic}", &record.topic, usize::MAX).replace("${timestamp}", &time);
        Ok(Some(record))
    }

    fn route(&self, topic: &str) -> Route {
        if self.topic.contains("${timestamp}") {
            return Route::ByRecord;
        }
        Route::To(self.topic.replace("${topic}", topic))
    }
}

/// Renames topics whose whole name a regex matches.
pub struct RegexRouter {
    regex: Regex,
    replacement: String,
}

impl RegexRouter {
    pub fn make(settings: Settings<'_>, _side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        let pattern = settings.required("regex")?;
        let regex = whole(pattern).map_err(|why| settings.invalid("regex", pattern, &why))?;
        let replacement = settings.required("replacement")?.to_owned();
        Ok(Box::new(RegexRouter { regex, replacement }))
    }
}

impl Transformation for RegexRouter {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, ConnectError> {
        if let Some(found) = self.regex.captures(&record.topic) {
            record.topic = replaced(&self.replacement, &found)?;
        }
        Ok(Some(record))
    }

    fn columns(&self, mut columns: Columns) -> Option<Columns> {
        if let Some(found) = self.regex.captures(&columns.topic) {
            columns.topic = replaced(&self.replacement, &found).ok()?;
        }
        Some(columns)
    }

    fn route(&self, topic: &str) -> Route {
        match self.regex.captures(topic).map(|found| replaced(&self.replacement, &found)) {
            Some(Ok(routed)) => Route::To(routed),
            // A replacement that cannot be is an error of each record.
            None | Some(Err(_)) => Route::Same,
        }
    }
}

/// A regex that must match the whole text.
///
/// # Errors
/// What is no regex, or more than a regular language (look-around, references back).
pub fn whole(pattern: &str) -> Result<Regex, String> {
    // The pattern alone first: `a)(b` would be one within the group.
    Regex::new(pattern).and_then(|_| Regex::new(&format!("^(?:{pattern})$"))).map_err(|error| error.to_string())
}

/// Java's replacement text: `$1` and `${name}` are groups, a backslash makes a character of what follows.
fn replaced(template: &str, found: &regex::Captures<'_>) -> Result<String, ConnectError> {
    let mut out = String::new();
    let mut rest = template.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\\' => match rest.next() {
                Some(literal) => out.push(literal),
                None => return refused("character to be escaped is missing"),
            },
            '$' => {
                if rest.next_if_eq(&'{').is_some() {
                    let name: String = rest.by_ref().take_while(|c| *c != '}').collect();
                    match found.name(&name) {
                        Some(group) => out.push_str(group.as_str()),
                        None => return refused(format!("No group with name {{{name}}}")),
                    }
                    continue;
                }
                let Some(digit) = rest.next_if(char::is_ascii_digit) else {
                    return refused("Illegal group reference: group index is missing");
                };
                let mut number = digit.to_digit(10).unwrap_or(0) as usize;
                if number >= found.len() {
                    return refused(format!("No group {number}"));
                }
                // More digits belong to it as long as there is such a group.
                while let Some(digit) = rest.peek().and_then(|next| next.to_digit(10)) {
                    let longer = number * 10 + digit as usize;
                    if longer >= found.len() {
                        break;
                    }
                    number = longer;
                    rest.next();
                }
                out.push_str(found.get(number).map_or("", |group| group.as_str()));
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

/// Drops every record that its predicate lets through to it.
pub struct Filter;

impl Filter {
    pub fn make(_settings: Settings<'_>, _side: Side) -> Result<Box<dyn Transformation>, ConfigError> {
        Ok(Box::new(Filter))
    }
}

impl Transformation for Filter {
    fn apply(&self, _record: Record) -> Result<Option<Record>, ConnectError> {
        Ok(None)
    }
}
