//! Documents as text: what the loader reads back as it was.

use serde_json::Value as Json;

/// Longest line that is filled.
const LINE: usize = 110;

/// A value as YAML, ending with a line's end. Small maps and lists stand on one line.
pub fn to_yaml(value: &Json) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Json, indent: usize, out: &mut String) {
    let margin = " ".repeat(indent);
    match value {
        Json::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let key = scalar_text(key);
                out.push_str(&format!("{margin}{key}:"));
                below(value, indent, indent + key.len() + 2, out);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for item in items {
                // What an item holds begins beside its dash.
                let mut text = String::new();
                match item {
                    Json::Object(entries) if !entries.is_empty() => block(item, indent + 2, &mut text),
                    _ => below(item, indent, indent + 2, &mut text),
                }
                out.push_str(&format!("{margin}- {}", text.trim_start_matches([' ', '\n'])));
            }
        }
        other => out.push_str(&format!("{margin}{}\n", flow(other))),
    }
}

/// What stands behind a key or a dash.
fn below(value: &Json, indent: usize, column: usize, out: &mut String) {
    let line = flow(value);
    let is_nested = |inner: &Json| matches!(inner, Json::Object(_) | Json::Array(_));
    let is_deep = match value {
        Json::Object(entries) => entries.values().any(is_nested),
        Json::Array(items) => items.iter().any(is_nested),
        _ => false,
    };
    if !is_nested(value) || (!is_deep && column + line.len() <= LINE) || line == "{}" || line == "[]" {
        out.push_str(&format!(" {line}\n"));
    } else {
        out.push('\n');
        block(value, indent + 2, out);
    }
}

fn flow(value: &Json) -> String {
    match value {
        Json::Object(entries) if entries.is_empty() => "{}".into(),
        Json::Object(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{}: {}", scalar_text(key), flow(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Json::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Json::String(text) => scalar_text(text),
        other => other.to_string(),
    }
}

/// Bare where nobody could take it for anything else, and otherwise in double quotes.
fn scalar_text(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/'))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/'));
    let word = text.to_ascii_lowercase();
    let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"].contains(&word.as_str());
    if is_plain && !is_word {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Two of them would begin a tag: this is one that gives the first of them.
            '{' if matches!(rest.peek(), Some('{' | '%')) => out.push_str("{{ '{' }}"),
            c if c.is_control() || matches!(u32::from(c), 0x2028 | 0x2029 | 0xfeff) => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c if u32::from(c) >= 0xf_0000 => out.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::report::{Diagnostics, SourceFile};
    use crate::spec::{Values, read_yaml};

    #[test]
    fn what_is_written_is_read_back() {
        let value = json!({
            "spec": {
                "plain": "a.b-c/d", "words": ["yes", "null", "1", "1e3", "", " x", "a: b", "#", "*", "true"],
                "numbers": [1, -2, 1.0, 1e-7, 9_007_199_254_740_993_i64], "flags": { "on": true, "none": null },
                "tags": "{{ values.x }} {{{ {% if %} ${secret:env:X} \u{85}\u{feff}\u{10ffff} \"q\" \\ \n\té",
                "deep": [{ "a": [{ "b": {} }, []] }, [1, [2]]],
                "long": { "text": "x".repeat(200), "other": "y y".repeat(100) },
            }
        });
        let text = to_yaml(&value);
        let file = Arc::new(SourceFile { name: "a.yaml".into(), text: text.clone() });
        let mut out = Diagnostics::default();
        let nodes = read_yaml(&file, &Values::default(), &mut out);
        assert!(out.0.is_empty(), "{out:?}\n{text}");
        assert_eq!(nodes[0].to_json(), value, "{text}");
    }

    #[test]
    fn small_maps_stand_on_one_line() {
        let text = to_yaml(&json!({ "kafka": { "topic": "a" }, "list": ["b", "c d"], "map": { "deep": { "x": 1 } } }));
        assert_eq!(text, "kafka: { topic: a }\nlist: [b, \"c d\"]\nmap:\n  deep: { x: 1 }\n");
        assert_eq!(to_yaml(&json!([{ "a": 1, "b": [[1], [2]] }])), "- a: 1\n  b:\n    - [1]\n    - [2]\n");
    }
}
