//! What differs between two books: a line of the log.
//!
//! A stored format: fields are only added, with a default. Nothing (`null`) stands for what is gone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::stored::{Book, Context, Entry, Version};
use crate::registry::level::Mode;

/// By key: what a map has now.
type Changed<K, V> = BTreeMap<K, Option<V>>;

/// What makes one book of another.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    contexts: Changed<String, ContextDifference>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    configs: Changed<String, Map<String, Json>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    modes: Changed<String, Mode>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct ContextDifference {
    last_id: i32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    schemas: Changed<i32, Entry>,
    /// By subject, then by the version's number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    subjects: Changed<String, Changed<i32, Version>>,
}

impl Difference {
    /// `None`: they are the same.
    pub fn between(old: &Book, new: &Book) -> Option<Difference> {
        let of_context = |old: Option<&Context>, new: &Context| ContextDifference::between(old, new);
        let difference = Difference {
            contexts: changed(&old.contexts, &new.contexts, of_context),
            configs: changed(&old.configs, &new.configs, |_, new| new.clone()),
            modes: changed(&old.modes, &new.modes, |_, new| *new),
        };
        (difference != Difference::default()).then_some(difference)
    }

    /// Makes the new book of the old one.
    pub fn apply(self, book: &mut Book) {
        apply(&mut book.contexts, self.contexts, ContextDifference::apply);
        apply(&mut book.configs, self.configs, |known, new| *known = new);
        apply(&mut book.modes, self.modes, |known, new| *known = new);
    }
}

impl ContextDifference {
    fn between(old: Option<&Context>, new: &Context) -> ContextDifference {
        let nothing = Context::default();
        let old = old.unwrap_or(&nothing);
        let of_subject = |old: Option<&Vec<Version>>, new: &Vec<Version>| {
            let numbered = |versions: &[Version]| versions.iter().map(|one| (one.version, *one)).collect();
            let old: BTreeMap<i32, Version> = old.map_or_else(BTreeMap::new, |old| numbered(old));
            changed(&old, &numbered(new), |_, new| *new)
        };
        ContextDifference {
            last_id: new.last_id,
            schemas: changed(&old.schemas, &new.schemas, |_, new| new.clone()),
            subjects: changed(&old.subjects, &new.subjects, of_subject),
        }
    }

    fn apply(context: &mut Context, difference: ContextDifference) {
        context.last_id = difference.last_id;
        apply(&mut context.schemas, difference.schemas, |known, new| *known = new);
        apply(&mut context.subjects, difference.subjects, |versions, changed| {
            for (number, version) in changed {
                versions.retain(|known| known.version != number);
                versions.extend(version);
            }
            versions.sort_by_key(|version| version.version);
        });
    }
}

/// What is in `new` otherwise than in `old`, and what is not in it any more.
fn changed<K: Ord + Clone, V: PartialEq, D>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    difference: impl Fn(Option<&V>, &V) -> D,
) -> Changed<K, D> {
    let gone = old.keys().filter(|key| !new.contains_key(key)).map(|key| (key.clone(), None));
    let other = new.iter().filter_map(|(key, new)| {
        let old = old.get(key);
        (old != Some(new)).then(|| (key.clone(), Some(difference(old, new))))
    });
    gone.chain(other).collect()
}

fn apply<K: Ord, V: Default, D>(known: &mut BTreeMap<K, V>, changed: Changed<K, D>, with: impl Fn(&mut V, D)) {
    for (key, difference) in changed {
        match difference {
            Some(difference) => with(known.entry(key).or_default(), difference),
            None => drop(known.remove(&key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NewSchema, Subject};
    use super::*;

    /// Whatever a book becomes, its differences lead there, also as lines.
    #[test]
    fn a_book_is_made_of_its_differences() {
        let (s, other) = (Subject::parse("s"), Subject::parse(":.more:t"));
        let config = Map::from_iter([("alias".to_owned(), Json::from("s"))]);
        let register = |book: &mut Book, subject: &Subject, schema: &str| {
            book.register(subject, NewSchema::avro(schema), false, 7).unwrap();
        };
        let change = |book: &mut Book, step: usize| match step {
            0 => register(book, &s, r#""int""#),
            1 => register(book, &other, r#""string""#),
            2 => register(book, &s, r#""long""#),
            3 => _ = book.configs.insert("s".into(), config.clone()),
            4 => _ = book.modes.insert(String::new(), Mode::Import),
            5 => _ = book.delete_version(&s, super::super::Which::Number(1), false).unwrap(),
            6 => _ = book.delete_subject(&other, false).unwrap(),
            7 => _ = book.delete_subject(&other, true).unwrap(),
            8 => book.delete_context(".more").unwrap(),
            9 => book.modes.clear(),
            _ => book.configs.clear(),
        };
        let (mut book, mut followed) = (Book::default(), Book::default());
        for step in 0..=10 {
            let old = book.clone();
            change(&mut book, step);
            let line = serde_json::to_string(&Difference::between(&old, &book).expect("a step changes something"));
            let difference: Difference = serde_json::from_str(&line.unwrap()).unwrap();
            difference.apply(&mut followed);
            assert_eq!(followed, book, "step {step}");
        }
        assert_eq!(Difference::between(&book, &book), None);
    }
}
