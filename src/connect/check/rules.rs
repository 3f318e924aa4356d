//! What values must be beyond their type, each rule in Connect's words.

use super::super::definition::Rule;
use super::read::Read;
use crate::kafka_connect::pattern::Pattern;

/// What is wrong with a value; `None` as value: there is none, or it could not be read.
pub fn broken(rule: Rule, name: &str, value: Option<&Read>) -> Option<String> {
    let shown = value.map_or_else(|| "null".to_owned(), Read::java_text);
    let wrong = |why: &str| Some(format!("Invalid value {shown} for configuration {name}: {why}"));
    match (rule, value) {
        (Rule::Any, _) => None,
        (Rule::Given, None) => wrong("entry must be non null"),
        (Rule::Filled, Some(Read::Text(text))) if text.is_empty() => wrong("String must be non-empty"),
        (Rule::AtLeast(_), None) => wrong("Value must be non-null"),
        (Rule::AtLeast(least), Some(Read::Number(number))) if *number < least => {
            wrong(&format!("Value must be at least {least}"))
        }
        (Rule::OneOf(words), Some(Read::Text(text))) if words.contains(&text.as_str()) => None,
        (Rule::OneOf(words), _) => wrong(&format!("String must be one of: {}", words.join(", "))),
        (Rule::OneOfAnyCase(words), Some(Read::Text(text)))
            if !words.iter().any(|word| word.eq_ignore_ascii_case(text)) =>
        {
            wrong(&format!("String must be one of (case insensitive): {}", words.join(", ")))
        }
        (Rule::Name, Some(Read::Text(text))) => broken_name(text).and_then(|why| wrong(&why)),
        (Rule::Pattern, Some(Read::Text(text))) => {
            Pattern::new(text).err().and_then(|why| wrong(&format!("Invalid regex: {why}")))
        }
        (Rule::Aliases, Some(Read::List(items))) if has_doubles(items) => wrong("Duplicate alias provided."),
        (Rule::Items { empty }, value) => broken_items(name, empty, value),
        (Rule::NotEmpty, None) => wrong("Empty list"),
        (Rule::NotEmpty, Some(Read::List(items))) if items.is_empty() => wrong("Empty list"),
        (Rule::Cast, Some(Read::List(items))) => broken_cast(items),
        (Rule::Cast, None) => broken_cast(&[]),
        (Rule::Renames, Some(Read::List(items))) => broken_pair(items),
        _ => None,
    }
}

fn broken_name(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("String may not be empty".into());
    }
    let controls: Vec<String> = name.chars().filter(|c| c.is_control()).map(|c| u32::from(c).to_string()).collect();
    let listed = controls.join(", ");
    let why = format!("String may not contain control sequences but had the following ASCII chars: {listed}");
    (!controls.is_empty()).then_some(why)
}

fn has_doubles(items: &[String]) -> bool {
    items.iter().enumerate().any(|(index, item)| items[..index].contains(item))
}

fn broken_items(name: &str, may_be_empty: bool, value: Option<&Read>) -> Option<String> {
    let Some(Read::List(items)) = value else {
        return Some(format!("Configuration '{name}' values must not be null."));
    };
    if items.is_empty() && !may_be_empty {
        return Some(format!("Configuration '{name}' must not be empty. Valid values include: any non-empty value"));
    }
    if has_doubles(items) {
        return Some(format!("Configuration '{name}' values must not be duplicated."));
    }
    items.iter().any(String::is_empty).then(|| format!("Configuration '{name}' values must not be empty."))
}

/// Java's `split(":")`: empty parts at the end do not count.
fn parts(item: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = item.split(':').collect();
    while parts.len() > 1 && parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts
}

fn broken_pair(items: &[String]) -> Option<String> {
    let bad = items.iter().find(|item| parts(item).len() != 2)?;
    let all = items.join(", ");
    Some(format!("Invalid value [{all}] for configuration renames: Invalid rename mapping: {bad}"))
}

const CASTS: &[&str] = &["INT8", "INT16", "INT32", "INT64", "FLOAT32", "FLOAT64", "BOOLEAN", "STRING"];

fn broken_cast(items: &[String]) -> Option<String> {
    if items.is_empty() {
        return Some("Must specify at least one field to cast.".into());
    }
    let mut whole = false;
    for item in items {
        let parts = parts(item);
        let to = match parts[..] {
            [to] => {
                whole = true;
                to
            }
            [_, to] => to,
            _ => return broken_pair(items),
        };
        let name = to.trim().to_uppercase();
        if ["BYTES", "ARRAY", "MAP", "STRUCT"].contains(&name.as_str()) {
            let casts = CASTS.join(", ");
            return Some(format!(
                "Cast transformation does not support casting to {name}; supported types are [{casts}]"
            ));
        }
        if !CASTS.contains(&name.as_str()) {
            return Some(format!(
                "Invalid value java.lang.IllegalArgumentException: No enum constant org.apache.kafka.connect.data.Schema.Type.{name} for configuration Invalid type found in casting spec: {to}"
            ));
        }
    }
    (whole && items.len() > 1).then(|| {
        "Cast transformations that specify a type to cast the entire value to may only specify a single cast in their spec"
            .into()
    })
}
