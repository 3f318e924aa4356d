//! Which partition of a source: a number in the engine, a name in the journal.
//!
//! A source may read several topics, each with partitions from 0 on. In memory such a pair is one
//! number, so that it is compared, sorted and copied at no cost; partitions of the first topic keep
//! Kafka's own numbers. The number depends on the order of the source's list: what is stored or
//! shown has the name, which stays the same when the list grows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A partition of a source. Ordered by (topic in the order of the source's list, number) (I2).
///
/// A source of one topic, or without topics, has Kafka's numbers here; tasks of a generator; 0 for
/// files. Otherwise [`at`] makes it, and [`number`] and [`topic`] take it apart.
pub type Partition = i32;

const NUMBER_BITS: u32 = 20;
/// So many topics may one source have.
pub const TOPICS_MAX: usize = 1 << (31 - NUMBER_BITS);
/// So many partitions may one topic have.
pub const NUMBERS_MAX: usize = 1 << NUMBER_BITS;

/// Partition `number` of a source's topic. Both are below [`TOPICS_MAX`] and [`NUMBERS_MAX`].
pub fn at(topic: usize, number: i32) -> Partition {
    debug_assert!(topic < TOPICS_MAX && (0..NUMBERS_MAX as i32).contains(&number));
    ((topic as i32) << NUMBER_BITS) | number
}

/// The partition's number in its topic: what `_partition` gives.
pub fn number(partition: Partition) -> i32 {
    partition & (NUMBERS_MAX as i32 - 1)
}

/// Index of its topic in the source's list.
pub fn topic(partition: Partition) -> usize {
    (partition >> NUMBER_BITS) as usize
}

/// The name of a partition of a source: `7`, or `ratings/7` where the source has topics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionName {
    pub topic: Option<String>,
    pub number: i32,
}

impl PartitionName {
    /// The name of a partition of a source that reads these topics.
    pub fn of(partition: Partition, topics: &[impl AsRef<str>]) -> PartitionName {
        match topics.get(topic(partition)) {
            Some(name) => PartitionName { topic: Some(name.as_ref().to_owned()), number: number(partition) },
            None => PartitionName { topic: None, number: partition },
        }
    }

    /// The partition that has this name in a source of these topics. `None`: it reads that topic no more.
    /// A bare number is a partition of the only topic: journals were written so before sources had several.
    pub fn find(&self, topics: &[impl AsRef<str>]) -> Option<Partition> {
        match &self.topic {
            None => (topics.len() <= 1).then_some(self.number),
            Some(name) => Some(at(topics.iter().position(|topic| topic.as_ref() == name)?, self.number)),
        }
    }
}

impl From<i32> for PartitionName {
    fn from(number: i32) -> Self {
        PartitionName { topic: None, number }
    }
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.topic {
            Some(topic) => write!(f, "{topic}/{}", self.number),
            None => write!(f, "{}", self.number),
        }
    }
}

impl FromStr for PartitionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, number) = match text.rsplit_once('/') {
            Some((topic, number)) => (Some(topic.to_owned()), number),
            None => (None, text),
        };
        let number = number.parse().ok().filter(|number| (0..NUMBERS_MAX as i32).contains(number));
        let number = number.ok_or_else(|| format!("`{text}` is not the name of a partition"))?;
        Ok(PartitionName { topic, number })
    }
}

impl Serialize for PartitionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PartitionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i2_partitions_are_ordered_by_topic_then_number() {
        assert_eq!((at(0, 7), number(at(3, 7)), topic(at(3, 7))), (7, 7, 3));
        assert!(at(0, NUMBERS_MAX as i32 - 1) < at(1, 0) && at(1, 5) < at(1, 6));
        assert!(at(TOPICS_MAX - 1, NUMBERS_MAX as i32 - 1) > 0);
    }

    #[test]
    fn a_name_outlives_changes_of_the_list() {
        let name = PartitionName::of(at(1, 4), &["a", "b"]);
        assert_eq!(name.to_string(), "b/4");
        assert_eq!("b/4".parse(), Ok(name.clone()));
        assert_eq!(name.find(&["c", "a", "b"]), Some(at(2, 4)));
        assert_eq!(name.find(&["a"]), None);
    }

    #[test]
    fn a_bare_number_belongs_to_the_only_topic() {
        let old: PartitionName = "4".parse().unwrap();
        assert_eq!((old.find(&["a"]), old.find(&[""; 0]), old.find(&["a", "b"])), (Some(4), Some(4), None));
        assert_eq!(PartitionName::of(4, &[""; 0]).to_string(), "4");
        assert!("a/-1".parse::<PartitionName>().is_err() && "x".parse::<PartitionName>().is_err());
    }
}
