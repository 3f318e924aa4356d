//! How records are recognised.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::data::{Offset, Partition, meta};
use crate::report::Failure;

/// Where a record comes from, as its headers say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// Index of the topic; `None`: it is not said.
    topic: Option<usize>,
    unknown_topic: bool,
    partition: Option<Partition>,
    offset: Option<Offset>,
}

impl Origin {
    /// Notes a header; the last of a name counts.
    pub fn note(&mut self, name: &[u8], value: Option<&[u8]>, topics: &[Arc<str>]) {
        let value = value.unwrap_or_default();
        if name == meta::OFFSET.as_bytes() {
            self.offset = number(value);
        } else if name == meta::PARTITION.as_bytes() {
            self.partition = number(value).and_then(|number| Partition::try_from(number).ok());
        } else if name == meta::TOPIC.as_bytes() {
            self.topic = topics.iter().position(|topic| topic.as_bytes() == value);
            self.unknown_topic = self.topic.is_none();
        }
    }

    /// Topic, partition and offset, if all is there and means something. One topic needs not be named.
    pub fn get(&self, topics: &[Arc<str>]) -> Option<(usize, Partition, Offset)> {
        let topic = self.topic.or((topics.len() == 1 && !self.unknown_topic).then_some(0))?;
        Some((topic, self.partition?, self.offset?))
    }
}

/// A number of digits only.
fn number(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0i64, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// Bytes that stand for all of these, the same in every run. Null differs from empty.
pub fn hash(parts: &[Option<&[u8]>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        match part {
            None => hasher.write_u64(u64::MAX),
            Some(bytes) => {
                hasher.write_usize(bytes.len());
                hasher.write(bytes);
            }
        }
    }
    hasher.finish()
}

/// The value of a column of a JSON object, hashed: `5` and `5.0` differ, `"a"` and `"\u0061"` do not.
///
/// # Errors
/// `verify.column`: it is no JSON object, or has no such column.
pub fn column(name: &str, value: Option<&[u8]>) -> Result<u64, Failure> {
    let wrong = |why: String| Failure::user("verify.column", format!("the value {} {why}", shown(value)));
    let bytes = value.ok_or_else(|| wrong("has no columns".into()))?;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let found = ColumnOf(name).deserialize(&mut reader).and_then(|found| reader.end().map(|()| found));
    let found = found.map_err(|error| wrong(format!("is not a JSON object with a column `{name}`: {error}")))?;
    Ok(match &found {
        // As a number's text and a text's own bytes, which nearly all are, without writing them down.
        serde_json::Value::String(text) => hash(&[Some(b"text"), Some(text.as_bytes())]),
        serde_json::Value::Number(number) if number.is_i64() => {
            hash(&[Some(b"long"), Some(&number.as_i64().unwrap_or_default().to_le_bytes())])
        }
        found => hash(&[Some(found.to_string().as_bytes())]),
    })
}

/// Reads one column and skips the others.
struct ColumnOf<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for ColumnOf<'_> {
    type Value = serde_json::Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

/// Whether a name is this one; no name is copied.
struct IsNamed<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for IsNamed<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for IsNamed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

impl<'de> Visitor<'de> for ColumnOf<'_> {
    type Value = serde_json::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(IsNamed(self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        found.ok_or_else(|| A::Error::custom("it is not there"))
    }
}

/// Bytes for people: the beginning of a text, or of its bytes.
pub fn shown(bytes: Option<&[u8]>) -> String {
    const LONGEST: usize = 80;
    let Some(bytes) = bytes else { return "null".into() };
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => {
            let end = text.char_indices().map(|(index, _)| index).nth(LONGEST);
            end.map_or_else(|| format!("`{text}`"), |end| format!("`{}…`", &text[..end]))
        }
        _ => {
            let start: String = bytes.iter().take(LONGEST / 2).map(|byte| format!("{byte:02x}")).collect();
            format!("0x{start}{}", if bytes.len() > LONGEST / 2 { "…" } else { "" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(topics: &[Arc<str>], headers: &[(&str, Option<&str>)]) -> Option<(usize, Partition, Offset)> {
        let mut origin = Origin::default();
        headers.iter().for_each(|(name, value)| origin.note(name.as_bytes(), value.map(str::as_bytes), topics));
        origin.get(topics)
    }

    #[test]
    fn a_provenance_is_whole_or_none() {
        let one: [Arc<str>; 1] = ["a".into()];
        let two: [Arc<str>; 2] = ["a".into(), "b".into()];
        let place = [("_partition", Some("3")), ("x", None), ("_offset", Some("42"))];
        assert_eq!(origin(&one, &place), Some((0, 3, 42)));
        assert_eq!(origin(&two, &place), None, "it may be either");
        assert_eq!(origin(&two, &[&place[..], &[("_topic", Some("b"))]].concat()), Some((1, 3, 42)));
        assert_eq!(origin(&one, &[&place[..], &[("_topic", Some("b"))]].concat()), None, "another topic's");
        for bad in ["", "-1", "4x", "99999999999999999999", "4294967296"] {
            assert_eq!(origin(&one, &[("_partition", Some(bad)), ("_offset", Some("1"))]), None, "{bad}");
        }
        assert_eq!(origin(&one, &[&place[..], &[("_offset", None)]].concat()), None, "the last counts");
    }

    #[test]
    fn null_and_empty_and_where_parts_end_make_a_difference() {
        let all = [
            hash(&[None, Some(b"ab")]),
            hash(&[Some(b""), Some(b"ab")]),
            hash(&[Some(b"a"), Some(b"b")]),
            hash(&[Some(b"ab"), Some(b"")]),
            hash(&[Some(b"ab"), None]),
        ];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn a_column_is_found_wherever_it_stands() {
        let of = |text: &str| column("n", Some(text.as_bytes()));
        let five = of("{\"n\":5}").unwrap();
        assert_eq!(of("{\"a\": {\"n\": 6}, \"b\": [1, \"x\"], \"n\" : 5}").unwrap(), five);
        assert_ne!(of("{\"n\":\"5\"}").unwrap(), five);
        for bad in ["{\"m\":5}", "[5]", "5", "{\"n\":5", "{\"n\":5}{}", ""] {
            assert_eq!(of(bad).unwrap_err().code, "verify.column", "{bad}");
        }
        assert!(column("n", None).is_err());
    }

    #[test]
    fn bytes_are_shown_by_their_beginning() {
        assert_eq!(shown(None), "null");
        assert_eq!(shown(Some(b"")), "``");
        assert_eq!(shown(Some(&[0, 255])), "0x00ff");
        assert_eq!(shown(Some("ä".repeat(100).as_bytes())), format!("`{}…`", "ä".repeat(80)));
    }
}
