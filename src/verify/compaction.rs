//! What compaction of the sink explains: a record that is missing, where a later one of its key is there.

use std::collections::HashMap;

use super::record::hash;

/// Missing records by key, until a later record of it explains them.
#[derive(Debug)]
pub struct Compaction<M> {
    enabled: bool,
    waiting: HashMap<u64, Vec<M>>,
    explained: u64,
}

impl<M> Compaction<M> {
    pub fn new(enabled: bool) -> Self {
        Compaction { enabled, waiting: HashMap::new(), explained: 0 }
    }

    /// An expected record is there: it replaces all of its key that were expected before.
    pub fn there(&mut self, key: Option<&[u8]>) {
        if !self.waiting.is_empty()
            && let Some(replaced) = self.waiting.remove(&hash(&[key]))
        {
            self.explained += replaced.len() as u64;
        }
    }

    /// An expected record is not there. Gives it back if that cannot be explained. A tombstone goes, too, with all that it
    /// deleted.
    pub fn missing(&mut self, key: Option<&[u8]>, is_tombstone: bool, missing: M) -> Option<M> {
        // A record without a key is never compacted away.
        if !self.enabled || key.is_none() {
            return Some(missing);
        }
        self.waiting.entry(hash(&[key])).or_default().push(missing);
        if is_tombstone {
            self.there(key);
        }
        None
    }

    /// How many are explained, and those that are not.
    pub fn end(self) -> (u64, impl Iterator<Item = M>) {
        (self.explained, self.waiting.into_values().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(compaction: Compaction<u8>) -> (u64, Vec<u8>) {
        let (explained, left) = compaction.end();
        let mut left: Vec<u8> = left.collect();
        left.sort_unstable();
        (explained, left)
    }

    #[test]
    fn a_later_record_of_the_key_explains_and_an_earlier_one_does_not() {
        let mut compaction = Compaction::new(true);
        compaction.there(Some(b"a"));
        assert_eq!(compaction.missing(Some(b"a"), false, 1), None);
        assert_eq!(compaction.missing(Some(b"b"), false, 2), None);
        assert_eq!(compaction.missing(Some(b"b"), false, 3), None);
        compaction.there(Some(b"b"));
        assert_eq!(compaction.missing(None, false, 4), Some(4));
        assert_eq!(left(compaction), (2, vec![1]));
    }

    #[test]
    fn a_tombstone_takes_its_key_along() {
        let mut compaction = Compaction::new(true);
        compaction.missing(Some(b"a"), false, 1);
        compaction.missing(Some(b"a"), true, 2);
        assert_eq!(compaction.missing(Some(b"a"), false, 3), None);
        assert_eq!(left(compaction), (2, vec![3]));
    }

    #[test]
    fn a_topic_that_is_not_compacted_explains_nothing() {
        assert_eq!(Compaction::new(false).missing(Some(b"a"), true, 1), Some(1));
    }
}
