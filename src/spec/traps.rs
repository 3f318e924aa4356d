//! Texts for the traps of YAML: what the parser stumbles over, said in the words of the language.
//!
//! The parser reports where it gave up. What the user meant stands on that line or the one before:
//! a value that had to be quoted, a colon without a space, a tab.

use std::ops::Range;
use std::sync::Arc;

use super::{Entry, Value};
use crate::report::{Diagnostic, Diagnostics, Place, SourceFile};

/// The diagnostic for a syntax error at byte `at`.
pub fn syntax_error(file: &Arc<SourceFile>, at: usize, info: &str) -> Diagnostic {
    let line = line_around(&file.text, at);
    let previous = line_around(&file.text, line.start.saturating_sub(1));
    if let Some(tab) = tab_in_indentation(file, &line) {
        return tab;
    }
    if let Some(trap) = trap_on(file, &line, true).or_else(|| trap_on(file, &previous, false)) {
        return trap;
    }
    let end = if at < line.end { at + file.text[at..].chars().next().map_or(0, char::len_utf8) } else { at };
    Diagnostic::error("yaml.syntax", "this is not YAML").at(&Place::new(file, at..end)).label(info.replace('\'', "`"))
}

fn line_around(text: &str, at: usize) -> Range<usize> {
    let at = at.min(text.len());
    let start = text[..at].rfind('\n').map_or(0, |before| before + 1);
    let end = text[start..].find('\n').map_or(text.len(), |len| start + len);
    start..end
}

fn tab_in_indentation(file: &Arc<SourceFile>, line: &Range<usize>) -> Option<Diagnostic> {
    let text = &file.text[line.clone()];
    let indentation = &text[..text.len() - text.trim_start().len()];
    let tab = line.start + indentation.find('\t')?;
    let diagnostic = Diagnostic::error("yaml.tab", "a tab cannot indent a line").at(&Place::new(file, tab..tab + 1));
    Some(diagnostic.hint("indent with spaces"))
}

/// `is_here`: the parser gave up on this very line.
fn trap_on(file: &Arc<SourceFile>, line: &Range<usize>, is_here: bool) -> Option<Diagnostic> {
    let text = &file.text[line.clone()];
    let values = values_on(text);
    if values.is_empty() {
        return missing_space(file, line);
    }
    values.into_iter().find_map(|value| {
        let in_brackets = text[..value.start].contains(['{', '[']);
        let place = |end: usize| Place::new(file, line.start + value.start..line.start + end);
        if let Some(key) = nested_key(&text[value.clone()]).filter(|_| !in_brackets) {
            return Some(nested_map(&place(value.start + key.len() + 1), key));
        }
        let reason = needs_quotes(&text[value.clone()], in_brackets, is_here)?;
        Some(unquoted(&place(value.end), &reason))
    })
}

/// `sources: a: {…}`: the key within the value.
fn nested_key(value: &str) -> Option<&str> {
    let (key, _) = value.split_once(": ")?;
    (!key.is_empty() && key.chars().all(is_key_char)).then_some(key)
}

fn nested_map(place: &Place, key: &str) -> Diagnostic {
    Diagnostic::error("yaml.nested_map", "a map behind a key begins on a line of its own")
        .at(place)
        .hint(format!("put `{key}:` on the next line, further in, or quote the value if it is a text"))
}

/// An entry of a flow map such as `from:a`, which YAML reads as a key without a value: what the
/// user meant, as key and value.
pub fn key_without_space(entry: &Entry) -> Option<(String, String)> {
    let is_bare = entry.value.value == Value::Null && entry.value.place == entry.key_place;
    let (key, value) = entry.key.split_once(':').filter(|_| is_bare)?;
    let is_plain = !entry.key_place.text().starts_with(['"', '\'']);
    let is_key = !key.is_empty() && key.chars().all(is_key_char) && !value.is_empty();
    (is_plain && is_key).then(|| (key.to_owned(), value.to_owned()))
}

/// A colon without a space behind it.
pub fn no_space(place: &Place, key: &str, value: &str) -> Diagnostic {
    Diagnostic::error("yaml.missing_space", "a colon needs a space behind it")
        .at(place)
        .hint(format!("write `{key}: {value}`"))
}

/// `from:good` on a line of its own.
fn missing_space(file: &Arc<SourceFile>, line: &Range<usize>) -> Option<Diagnostic> {
    let text = &file.text[line.clone()];
    let start = text.len() - text.trim_start_matches([' ', '-']).len();
    let (key, value) = text[start..].trim_end().split_once(':')?;
    let is_key = !key.is_empty() && key.chars().all(is_key_char);
    (is_key && !value.is_empty() && !value.starts_with(char::is_whitespace)).then(|| {
        let place = Place::new(file, line.start + start..line.start + start + key.len() + 1);
        no_space(&place, key, value)
    })
}

fn is_key_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Where the values of `key: value` pairs stand on a line, also within `{ }`.
fn values_on(line: &str) -> Vec<Range<usize>> {
    let line = without_comment(line);
    let mut starts: Vec<(usize, usize)> = Vec::new();
    for (colon, _) in line.match_indices(": ") {
        let key = line[..colon].trim_end_matches(is_key_char).len();
        let before = line[..key].trim_end().chars().next_back();
        // A colon within a value that has begun belongs to the value.
        let begins = matches!(before, None | Some('{' | ',' | '-' | '['));
        if key < colon && begins {
            starts.push((key, colon + 1));
        }
    }
    let mut values = Vec::new();
    for (index, (_, start)) in starts.iter().enumerate() {
        let end = starts.get(index + 1).map_or(line.len(), |(next_key, _)| *next_key);
        let value = without_closing(line[*start..end].trim().trim_end_matches([',', ' ']));
        // `sources: { a: …` is a value that holds values: they speak for themselves.
        let opens_map = value.is_empty() || value == "{" || value == "[";
        if !opens_map {
            let from = *start + line[*start..end].find(value).unwrap_or(0);
            values.push(from..from + value.len());
        }
    }
    values
}

/// `a }, ` → `a`: brackets at the end that the value did not open.
fn without_closing(mut value: &str) -> &str {
    let count = |value: &str, c: char| value.matches(c).count();
    while (value.ends_with('}') && count(value, '}') > count(value, '{'))
        || (value.ends_with(']') && count(value, ']') > count(value, '['))
    {
        value = value[..value.len() - 1].trim_end_matches([',', ' ']);
    }
    value
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with('#') { "" } else { line.find(" #").map_or(line, |at| &line[..at]) }
}

/// Why a value cannot stand without quotes, if it cannot.
fn needs_quotes(value: &str, in_brackets: bool, is_here: bool) -> Option<String> {
    let first = value.chars().next()?;
    match first {
        // An anchor, a tag or an alias, unless the parser says otherwise.
        '*' | '&' | '!' if !is_here => None,
        '*' if value[1..].chars().all(is_key_char) => {
            Some("there is no anchor of this name, and any other value that begins with `*` must be quoted".into())
        }
        '@' | '`' | '%' | '*' | '&' | '!' | ',' => Some(format!("a value that begins with `{first}` must be quoted")),
        '\'' | '"' => {
            let end = value[1..].find(first)? + 2;
            let goes_on = end < value.len() && !value[end..].starts_with(first);
            goes_on.then(|| "a value that begins with a quote must be quoted as a whole".into())
        }
        '[' | '{' => {
            let close = if first == '[' { ']' } else { '}' };
            let end = value.find(close)? + 1;
            let rest = value[end..].trim_start_matches([close, ' ']);
            (!rest.is_empty() && !rest.starts_with(','))
                .then(|| format!("a value that begins with `{first}` must be quoted, unless it is a map or a list"))
        }
        _ if value.contains(": ") => Some("a value with a colon and a space in it must be quoted".into()),
        _ if !in_brackets => None,
        _ => {
            let bracket = value.find(['[', ']', '{', '}'])?;
            Some(format!("a value with `{}` in it must be quoted within `{{ }}`", &value[bracket..=bracket]))
        }
    }
}

/// A value that has to be quoted.
fn unquoted(place: &Place, reason: &str) -> Diagnostic {
    Diagnostic::error("yaml.unquoted", reason)
        .at(place)
        .label("this is not a plain value in YAML")
        .hint(format!("write `{}`", quoted(place.text())))
}

/// The text in the quotes that need the least escaping.
fn quoted(text: &str) -> String {
    match (text.contains(['"', '\\']), text.contains('\'')) {
        (false, _) => format!("\"{text}\""),
        (true, false) => format!("'{text}'"),
        (true, true) => format!("'{}'", text.replace('\'', "''")),
    }
}

/// A value with a tag: the user's `!` may be meant as "not".
pub fn tag(file: &Arc<SourceFile>, span: &Range<usize>) -> Diagnostic {
    let line = line_around(&file.text, span.start);
    let (before, behind) = file.text[line.clone()].split_at(span.start - line.start);
    // The value stands behind its tag; one that is not there is shown at its key.
    let start = match (before.rfind('!'), behind.find('!')) {
        (Some(at), _) => line.start + at,
        (None, Some(at)) => span.start + at,
        (None, None) => span.start,
    };
    let word = file.text[start..].split(char::is_whitespace).next().unwrap_or_default();
    let place = Place::new(file, start..start + word.len());
    Diagnostic::error("yaml.tag", "tags such as `!name` are not part of the language")
        .at(&place)
        .hint("a value that begins with `!` must be quoted; in SQL it is `not`")
}

/// A plain scalar with a `{{ … }}` in it.
pub fn unquoted_tag(place: &Place) -> Diagnostic {
    Diagnostic::error("template.unquoted", "a value with a `{{ … }}` in it must be quoted")
        .at(place)
        .hint(format!("write `{}`", quoted(place.text())))
}

/// Complains about a `{{` or `{%` that is not closed on its line.
pub fn unclosed_tag(text: &str, place: &Place, out: &mut Diagnostics) {
    if let Some(open) = ["{{", "{%"].into_iter().find(|open| text.contains(open)) {
        out.push(Diagnostic::error("template.unclosed", format!("this `{open}` is not closed on its line")).at(place));
    }
}

/// True if `next` is no entry but the rest of `last`'s value, cut in two by its comma:
/// `{price: decimal(10,2)}` reads as `price: decimal(10` and a key `2)`.
pub fn continues(last: &Entry, next: &Entry) -> bool {
    let is_bare = next.value.value == Value::Null && next.value.place == next.key_place;
    let is_plain = |text: &str| !text.starts_with(['"', '\'']);
    let written = last.value.place.text();
    let opened = |text: &str| text.matches(['(', '[']).count() > text.matches([')', ']']).count();
    is_bare && !matches!(last.value.value, Value::List(_) | Value::Map(_)) && is_plain(written) && opened(written)
}

/// A value with a comma within `{ }`.
pub fn unquoted_comma(place: &Place) -> Diagnostic {
    Diagnostic::error("yaml.unquoted", "a value with a comma in it must be quoted within `{ }`")
        .at(place)
        .label("YAML ends the value at the comma")
        .hint(format!("write `{}`", quoted(place.text())))
}
