//! Rules of texts, lengths and the keys of maps.

use std::sync::Arc;

use arrow::array::AsArray;
use serde_json::{Map, Value as Json};

use super::super::bounds;
use super::super::iteration::Counted;
use super::super::kinds::{Kind, Length, MapKeys, Text, TextBody};
use super::super::regex::{ANY_LENGTH, Regex};
use super::numbers::Counter;
use super::{Reader, meaningful};
use crate::registry::avro::{Primitive, Type};

/// Text and lists longer than this are surely not meant.
const LENGTH_MAX: i64 = 1 << 24;

impl<'a> Reader<'a> {
    pub(super) fn text(&mut self, rules: Option<&'a Map<String, Json>>) -> Option<Kind> {
        let body = match self.counter(rules, Counted::Int) {
            Counter::Wrong => None,
            Counter::At(index) => Some(TextBody::Counter(index)),
            Counter::None => self.text_body(rules),
        };
        self.affixed(rules, body).map(Kind::Text)
    }

    pub(super) fn affixed(&mut self, rules: Option<&'a Map<String, Json>>, body: Option<TextBody>) -> Option<Text> {
        let mut affix = |key: &str| match rules.and_then(|rules| rules.get(key)) {
            None => Some(String::new()),
            Some(Json::String(text)) => Some(text.clone()),
            Some(_) => self.rule_problem(format!("{key} property must be a string")),
        };
        let (prefix, suffix) = (affix("prefix"), affix("suffix"));
        Some(Text { prefix: prefix?, suffix: suffix?, body: body? })
    }

    /// By `regex`, or random.
    pub(super) fn text_body(&mut self, rules: Option<&'a Map<String, Json>>) -> Option<TextBody> {
        let pattern = match rules.and_then(|rules| rules.get("regex")) {
            None => return self.length(rules).map(TextBody::Random),
            Some(Json::String(pattern)) => pattern,
            Some(_) => return self.rule_problem("regex property must be a string"),
        };
        let lengths = match rules.and_then(|rules| rules.get("length")).map(bounds::length) {
            None => ANY_LENGTH,
            Some(Err(why)) => return self.rule_problem(why),
            Some(Ok((min, _))) if min > LENGTH_MAX => return self.too_long(min),
            Some(Ok((min, max))) => (min as usize, max.map_or(ANY_LENGTH.1, |max| (max - 1) as usize)),
        };
        match Regex::new(pattern) {
            Ok(regex) => Some(TextBody::Regex(Arc::new(regex), lengths)),
            Err(why) => self.rule_problem(format!("`{pattern}` is not a regex that can be generated: {why}")),
        }
    }

    pub(super) fn map_keys(&mut self, rules: Option<&'a Map<String, Json>>) -> Option<MapKeys> {
        let keys = match rules.and_then(|rules| rules.get("keys")) {
            None => return Some(MapKeys::Character),
            Some(Json::Object(keys)) => keys,
            Some(_) => return self.rule_problem("keys prop must be an object"),
        };
        for key in keys.keys().filter(|key| *key == "iteration" || !meaningful(key, "STRING")) {
            self.warning(format!("`{key}` has no meaning for the keys of a map and is ignored"));
        }
        if let Some(options) = keys.get("options") {
            self.exclusive(keys)?;
            let text = Type::Primitive { kind: Primitive::String, properties: Map::new() };
            return Some(MapKeys::Options(self.options(options, &text)?.as_string().clone()));
        }
        let body = self.text_body(Some(keys));
        self.affixed(Some(keys), body).map(MapKeys::Text)
    }

    pub(super) fn length(&mut self, rules: Option<&'a Map<String, Json>>) -> Option<Length> {
        let Some(rule) = rules.and_then(|rules| rules.get("length")) else { return Some(Length::DEFAULT) };
        match bounds::length(rule) {
            Err(why) => self.rule_problem(why),
            Ok((_, None)) => self.rule_problem("length property needs a 'max' field, or values of 2 GiB would be made"),
            Ok((_, Some(max))) if max > LENGTH_MAX => self.too_long(max),
            Ok((min, Some(max))) => Some(Length { min: min as i32, spread: (max - min) as i32 }),
        }
    }

    pub(super) fn too_long<T>(&mut self, length: i64) -> Option<T> {
        self.rule_problem(format!("a length of up to {length} is too long; the most is {LENGTH_MAX}"))
    }
}
