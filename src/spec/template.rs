//! `{{ env.X }}` and `{{ values.a }}`: values put into a document, never text.
//!
//! Before the YAML is parsed each tag becomes a placeholder with as many characters as the tag, so
//! places stay those of the file; when a scalar is read its placeholders become values. A value can
//! therefore not change the structure of a document, whatever is in it. A tag in a comment is never
//! looked at. This is the one door to minijinja.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value as Json;

use super::{Entry, Node, Value};
use crate::report::{Diagnostic, Diagnostics, Failure, Place, SourceFile, most_like};

/// What tags may ask for.
#[derive(Clone, Default, PartialEq)]
pub struct Values {
    /// `env.NAME`.
    pub env: BTreeMap<String, String>,
    /// `values.a.b`: an object.
    pub values: serde_json::Map<String, Json>,
}

impl std::fmt::Debug for Values {
    /// Names only: a variable of the environment may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.values.keys().collect();
        f.debug_struct("Values").field("env", &self.env.len()).field("values", &names).finish()
    }
}

impl Values {
    /// The environment, then `--values` files (later ones win), then `--set a.b=text`.
    ///
    /// What `--set` gives is text; a scalar that is exactly one tag takes the type its field wants.
    ///
    /// # Errors
    /// [`Failure`] (user) for a file that cannot be read or is not a map, and for a `--set` without `=`.
    pub fn read(files: &[PathBuf], sets: &[String]) -> Result<Self, Failure> {
        let env =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut values = Values { env: env.collect(), values: Default::default() };
        for path in files {
            merge(&mut values.values, read_values(path)?);
        }
        for set in sets {
            values.set(set)?;
        }
        Ok(values)
    }

    /// Takes one `a.b=text`.
    pub fn set(&mut self, set: &str) -> Result<(), Failure> {
        let wrong = || {
            Failure::user("values.set", format!("`--set {set}` is not of the form `name=value`"))
                .hint("write for example `--set topic=ratings` or `--set kafka.brokers=localhost:9092`")
        };
        let (name, text) = set.split_once('=').ok_or_else(wrong)?;
        if name.is_empty() || name.split('.').any(str::is_empty) {
            return Err(wrong());
        }
        let nested = name
            .rsplit('.')
            .fold(Json::from(text), |inner, key| Json::Object([(key.to_owned(), inner)].into_iter().collect()));
        if let Json::Object(object) = nested {
            merge(&mut self.values, object);
        }
        Ok(())
    }

    fn context(&self) -> Json {
        serde_json::json!({ "env": self.env, "values": self.values })
    }
}

fn read_values(path: &PathBuf) -> Result<serde_json::Map<String, Json>, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::user("values.file", format!("the values file `{shown}` cannot be read")).because(error)
    })?;
    let wrong =
        |error: String| Failure::user("values.file", format!("the values file `{shown}` is not a YAML map: {error}"));
    match serde_norway::from_str::<Option<Json>>(&text).map_err(|error| wrong(error.to_string()))? {
        None => Ok(Default::default()),
        Some(Json::Object(object)) => Ok(object),
        Some(_) => Err(wrong("it holds something else".into())),
    }
}

/// Maps are merged key by key; everything else is replaced.
fn merge(into: &mut serde_json::Map<String, Json>, from: serde_json::Map<String, Json>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Json::Object(old)), Json::Object(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// First character of a placeholder, and all others of it. Private use: no spec holds them.
const FIRST: char = '\u{E000}';
const MORE: char = '\u{E001}';

/// A text whose tags have become placeholders.
#[derive(Debug)]
pub struct Template {
    file: Arc<SourceFile>,
    text: String,
    /// Bytes of the file's text, ascending.
    tags: Vec<Range<usize>>,
}

impl Template {
    /// Finds the tags; each ends on the line on which it begins.
    pub fn new(file: &Arc<SourceFile>) -> Self {
        let mut template = Template { file: file.clone(), text: String::new(), tags: Vec::new() };
        let mut at = 0;
        while let Some(tag) = next_tag(&file.text, at) {
            template.text += &file.text[at..tag.start];
            template.text.push(FIRST);
            template.text.extend(file.text[tag.clone()].chars().skip(1).map(|_| MORE));
            at = tag.end;
            template.tags.push(tag);
        }
        template.text += &file.text[at..];
        template
    }

    /// The text with placeholders: as many characters as the file's.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True if a scalar's text holds a placeholder.
    pub fn has_tag(text: &str) -> bool {
        text.contains(FIRST)
    }

    /// The first `{% … %}` within a stretch of the file.
    pub fn statement(&self, within: Range<usize>) -> Option<Place> {
        let tag = self.tags.iter().find(|tag| {
            within.start <= tag.start && tag.start < within.end && self.file.text[tag.start..].starts_with("{%")
        });
        tag.map(|tag| Place::new(&self.file, tag.clone()))
    }

    /// Puts values into a scalar that stands at `span`. A scalar that is exactly one tag becomes
    /// the value with its type, another one stays a string.
    pub fn fill(&self, text: &str, span: &Range<usize>, filler: &Filler, out: &mut Diagnostics) -> Value {
        let tags = || self.tags.iter().filter(|tag| span.start <= tag.start && tag.end <= span.end);
        if tags().count() != text.matches(FIRST).count() {
            // Written with an escape; it would be taken for a placeholder.
            out.push(private_use(&Place::new(&self.file, span.clone())));
            return Value::Null;
        }
        let mut tags = tags();
        let mut filled = String::new();
        let mut rest = text;
        while let Some(start) = rest.find(FIRST) {
            let end = start + FIRST.len_utf8();
            let more = rest[end..].find(|c| c != MORE).unwrap_or(rest.len() - end);
            let place = Place::new(&self.file, tags.next().unwrap_or(span).clone());
            let Some(value) = filler.value_of(&place, out) else { return Value::Null };
            if start == 0 && filled.is_empty() && more + end == rest.len() {
                return to_value(value, &Place::new(&self.file, span.clone()));
            }
            filled += &rest[..start];
            match as_text(value) {
                Some(text) => filled += &text,
                None => out.push(
                    Diagnostic::error("template.type", "only text and numbers can stand within a text")
                        .at(&place)
                        .hint("a list or a map can be the whole value: let the tag stand alone"),
                ),
            }
            rest = &rest[end + more..];
        }
        filled += rest;
        Value::String(filled)
    }
}

/// The next `{{ … }}` or `{% … %}` from `at` on.
fn next_tag(text: &str, at: usize) -> Option<Range<usize>> {
    let mut from = at;
    loop {
        let start = from + text[from..].find('{')?;
        let close = match &text.as_bytes()[start..] {
            [b'{', b'{', ..] => "}}",
            [b'{', b'%', ..] => "%}",
            _ => {
                from = start + 1;
                continue;
            }
        };
        let line = text[start + 2..].split('\n').next().unwrap_or_default();
        match line.find(close) {
            Some(end) => return Some(start..start + 2 + end + close.len()),
            None => from = start + 2,
        }
    }
}

/// Evaluates tags.
pub struct Filler<'a> {
    values: &'a Values,
    environment: Environment<'static>,
    context: minijinja::Value,
}

impl<'a> Filler<'a> {
    pub fn new(values: &'a Values) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        Filler { values, environment, context: minijinja::Value::from(Serde(values.context())) }
    }

    fn value_of(&self, tag: &Place, out: &mut Diagnostics) -> Option<Json> {
        let text = tag.text();
        if text.starts_with("{%") {
            out.push(statement(tag));
            return None;
        }
        let inner = &text[2..text.len() - 2];
        let result = self.environment.compile_expression(inner).and_then(|expression| {
            let names = expression.undeclared_variables(true);
            let value = match expression.eval(&self.context) {
                Err(_) if self.unknown(&names).is_some() => minijinja::Value::UNDEFINED,
                other => other?,
            };
            Ok((value, names))
        });
        match result {
            Ok((value, names)) if value.is_undefined() => {
                out.push(self.undefined(&names, tag, inner));
                None
            }
            Ok((value, _)) => match serde_json::to_value(&value) {
                Ok(json) => Some(json),
                Err(error) => {
                    out.push(
                        Diagnostic::error("template.type", "this gives no plain value").at(tag).note(error.to_string()),
                    );
                    None
                }
            },
            Err(error) => {
                let reason = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
                out.push(
                    Diagnostic::error("template.expression", "this tag cannot be evaluated").at(tag).label(reason),
                );
                None
            }
        }
    }

    /// The first name, in order, that leads nowhere.
    fn unknown<'n>(&self, names: &'n HashSet<String>) -> Option<&'n str> {
        let mut sorted: Vec<_> = names.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        sorted.into_iter().find(|name| !self.knows(name))
    }

    fn knows(&self, name: &str) -> bool {
        match name.split_once('.') {
            Some(("env", name)) => self.values.env.contains_key(name),
            Some(("values", path)) => {
                let mut parts = path.split('.');
                let first = parts.next().and_then(|part| self.values.values.get(part));
                parts.try_fold(first, |json, part| json.map(|json| json.get(part))).flatten().is_some()
            }
            _ => name == "env" || name == "values",
        }
    }

    fn undefined(&self, names: &HashSet<String>, tag: &Place, inner: &str) -> Diagnostic {
        let name = self.unknown(names).unwrap_or(inner.trim());
        let diagnostic = Diagnostic::error("template.undefined", format!("`{name}` is not defined")).at(tag);
        match name.split_once('.') {
            Some(("env", variable)) => {
                // Names of variables are not listed: the environment is large and partly secret.
                let meant = most_like(variable, self.values.env.keys().map(String::as_str));
                diagnostic.hint(match meant {
                    Some(meant) => format!("did you mean `env.{meant}`?"),
                    None => format!("set the environment variable `{variable}`"),
                })
            }
            Some(("values", path)) => {
                let known = paths_of("values", &self.values.values);
                let listed = if known.is_empty() {
                    "no values were given".into()
                } else {
                    format!("given: {}", known.join(", "))
                };
                // Compared without what all of them begin with.
                let meant = most_like(path, known.iter().filter_map(|name| name.strip_prefix("values.")));
                diagnostic.note(listed).hint(match meant {
                    Some(meant) => format!("did you mean `values.{meant}`?"),
                    None => format!("give it with `--set {path}=…` or in a file with `--values`"),
                })
            }
            _ => {
                let diagnostic = diagnostic.note("tags know `env.NAME` and `values.NAME`");
                match self.values.values.contains_key(name) {
                    true => diagnostic.hint(format!("did you mean `values.{name}`?")),
                    false => diagnostic.did_you_mean(name, ["env", "values"]),
                }
            }
        }
    }
}

/// The error for a character that placeholders are made of.
pub fn private_use(place: &Place) -> Diagnostic {
    Diagnostic::error("yaml.character", "the private-use characters U+E000 and U+E001 cannot stand in a spec").at(place)
}

/// The error for a `{% … %}`.
pub fn statement(place: &Place) -> Diagnostic {
    Diagnostic::error("template.statement", "there are no statements in a spec")
        .at(place)
        .note("a tag puts in a value: `\"{{ values.topic }}\"`")
}

fn paths_of(prefix: &str, object: &serde_json::Map<String, Json>) -> Vec<String> {
    let of_one = |(key, value): (&String, &Json)| match value {
        Json::Object(inner) if !inner.is_empty() => paths_of(&format!("{prefix}.{key}"), inner),
        _ => vec![format!("{prefix}.{key}")],
    };
    object.iter().flat_map(of_one).collect()
}

fn as_text(value: Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text),
        Json::Number(_) | Json::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// A value from outside as a node's; all of it stands where the tag stands.
fn to_value(json: Json, place: &Place) -> Value {
    let node = |json| Node { place: place.clone(), value: to_value(json, place) };
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(float)) => Value::Float(float),
            (None, None) => Value::String(number.to_string()),
        },
        Json::String(text) => Value::String(text),
        Json::Array(items) => Value::List(items.into_iter().map(node).collect()),
        Json::Object(object) => Value::Map(
            object.into_iter().map(|(key, json)| Entry { key, key_place: place.clone(), value: node(json) }).collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_merged_and_sets_win() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let files = [
            file("a.yaml", "kafka: {brokers: a, port: 1}\n"),
            file("b.yaml", "kafka: {port: 2}\n"),
            file("c.yaml", ""),
        ];
        let values = Values::read(&files, &["kafka.brokers=b=c".into(), "topic=".into()]).unwrap();
        let expected = serde_json::json!({ "kafka": { "brokers": "b=c", "port": 2 }, "topic": "" });
        assert_eq!(Json::Object(values.values), expected);
        for (files, set) in [
            (vec![file("d.yaml", "- 1")], "a=b"),
            (vec![folder.path().join("none")], "a=b"),
            (vec![], "a"),
            (vec![], ".a=b"),
        ] {
            assert!(Values::read(&files, &[set.into()]).is_err(), "{set}");
        }
    }

    #[test]
    fn variables_of_the_environment_are_not_printed() {
        let values = Values { env: [("PASSWORD".to_owned(), "hunter2".to_owned())].into(), ..Values::default() };
        assert!(!format!("{values:?}").contains("hunter2"));
    }
}
