//! Group keys in one arena, and the table that numbers them.
//!
//! A key is hashed once, in the lane; its hash travels with it to the trunk. Nothing depends on the
//! order of hashes: groups are numbered as they come, and sorted by their bytes when they leave (I2).

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use crate::data::HashedMap;

/// Of this process: keys come from outside, and must not be able to collide on purpose.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// End of a chain of keys with the same hash.
const NONE: u32 = u32::MAX;

/// Hash of a key, the same in all tables of this process.
pub(super) fn hash_of(key: &[u8]) -> u64 {
    SEED.hash_one(key)
}

/// Keys in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    hashes: Vec<u64>,
}

impl Keys {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn key(&self, group: usize) -> &[u8] {
        let start = if group == 0 { 0 } else { self.ends[group - 1] };
        &self.bytes[start..self.ends[group]]
    }

    pub fn hash(&self, group: usize) -> u64 {
        self.hashes[group]
    }

    pub fn push(&mut self, hash: u64, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
        self.hashes.push(hash);
    }

    /// The same keys with other first bytes.
    pub fn moved(&self, first_bytes: &[u8]) -> Keys {
        let mut moved = Keys::default();
        let mut key = first_bytes.to_vec();
        for group in 0..self.len() {
            key.truncate(first_bytes.len());
            key.extend_from_slice(&self.key(group)[first_bytes.len()..]);
            moved.push(hash_of(&key), &key);
        }
        moved
    }

    /// The keys alone, for whoever looks nothing up.
    pub fn copied(&self) -> Keys {
        Keys { bytes: self.bytes.clone(), ends: self.ends.clone(), hashes: Vec::new() }
    }

    /// Groups in ascending order of their keys. Most keys differ in the eight bytes behind what all of them begin with
    /// (the window, the first letters): these are compared beside each other in memory, and a whole key seldom.
    pub fn sorted(&self, groups: Vec<u32>) -> Vec<u32> {
        let Some(first) = groups.first().map(|group| self.key(*group as usize)) else { return groups };
        let common = |length: usize, group: &u32| {
            let alike = first[..length].iter().zip(self.key(*group as usize)).take_while(|(a, b)| a == b);
            alike.count()
        };
        let common = groups.iter().fold(first.len(), common);
        let leading = |group: u32| {
            let rest = &self.key(group as usize)[common..];
            let mut bytes = [0; 8];
            let length = rest.len().min(bytes.len());
            bytes[..length].copy_from_slice(&rest[..length]);
            (u64::from_be_bytes(bytes), group)
        };
        let mut leading: Vec<(u64, u32)> = groups.into_iter().map(leading).collect();
        // Zeros at the end of a short one stand for bytes that it has not: whoever is equal so far is compared whole.
        leading.sort_unstable_by(|(a, left), (b, right)| {
            a.cmp(b).then_with(|| self.key(*left as usize).cmp(self.key(*right as usize)))
        });
        leading.into_iter().map(|(_, group)| group).collect()
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.bytes.capacity() + (self.ends.capacity() + self.hashes.capacity()) * size_of::<u64>()
    }
}

/// Numbers keys from 0 as they come.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    keys: Keys,
    /// By hash, the newest group that has it.
    newest: HashedMap<u32>,
    /// Per group, the one before it with the same hash.
    older: Vec<u32>,
    /// Groups that [`KeyTable::find`] came to lately, each at its key's spot.
    recent: Vec<u32>,
}

/// Spots for groups that were found lately: a power of two.
const RECENT: usize = 128;

/// Where a key's group is kept when it was found: for nearly nothing, and with no secret. Whoever makes all keys fall
/// into one spot makes them be hashed, as they would be anyway.
fn spot_of(key: &[u8]) -> usize {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = key.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    let mixed = words.fold(key.len() as u64, |mixed, word| (mixed ^ word).wrapping_mul(MIX).rotate_left(29));
    (mixed.wrapping_mul(MIX) >> (u64::BITS - RECENT.ilog2())) as usize
}

impl KeyTable {
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub fn into_keys(self) -> Keys {
        self.keys
    }

    /// The number of a key that is likely to be asked for often; a new key gets the next one.
    pub fn find(&mut self, key: &[u8]) -> usize {
        if self.recent.is_empty() {
            self.recent = vec![NONE; RECENT];
        }
        let spot = spot_of(key);
        let recent = self.recent[spot];
        if recent != NONE && self.keys.key(recent as usize) == key {
            return recent as usize;
        }
        let group = self.group(hash_of(key), key);
        self.recent[spot] = group as u32;
        group
    }

    /// The key's number; a new key gets the next one.
    pub fn group(&mut self, hash: u64, key: &[u8]) -> usize {
        let newest = self.newest.entry(hash).or_insert(NONE);
        let mut group = *newest;
        while group != NONE {
            if self.keys.key(group as usize) == key {
                return group as usize;
            }
            group = self.older[group as usize];
        }
        let group = self.keys.len();
        self.older.push(std::mem::replace(newest, group as u32));
        self.keys.push(hash, key);
        group
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        // Of eight buckets seven are used, and each has a byte of its own.
        let buckets = self.newest.capacity().div_ceil(7) * 8;
        let numbers = self.older.capacity() + self.recent.capacity();
        self.keys.size() + numbers * size_of::<u32>() + buckets * (size_of::<(u64, u32)>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_numbered_as_they_come_and_sorted_by_their_bytes() {
        let mut table = KeyTable::default();
        let groups: Vec<usize> =
            ["b", "a", "b", "", "a"].iter().map(|k| table.group(hash_of(k.as_bytes()), k.as_bytes())).collect();
        assert_eq!(groups, [0, 1, 0, 2, 1]);
        assert_eq!(table.keys().sorted(vec![0, 1, 2]), [2, 1, 0]);
    }

    #[test]
    fn keys_are_sorted_by_all_their_bytes_however_long_they_are_alike() {
        // Zeros where a short one ends, equal first bytes, one that is what all begin with.
        let begin: &[u8] = b"2026-11-22 user ";
        let ends = (0..2_000u32).map(|n| (n.wrapping_mul(2_654_435_761).to_be_bytes(), (n % 14) as usize));
        let mut all: Vec<Vec<u8>> = ends
            .map(|(bytes, length)| [begin, &[0, 0, b'a'], &bytes, &[0; 7]].concat()[..begin.len() + length].to_vec())
            .collect();
        let mut keys = Keys::default();
        all.iter().for_each(|key| keys.push(0, key));
        let sorted = keys.sorted((0..all.len() as u32).collect());
        all.sort();
        assert!(sorted.iter().map(|group| keys.key(*group as usize)).eq(all.iter().map(Vec::as_slice)));
        assert_eq!(keys.sorted(Vec::new()), Vec::<u32>::new());
    }

    #[test]
    fn keys_that_share_a_spot_stay_apart() {
        let keys: Vec<Vec<u8>> = (0..1_000u32).map(|n| n.to_be_bytes()[..(n % 5) as usize].to_vec()).collect();
        let (mut found, mut grouped) = (KeyTable::default(), KeyTable::default());
        for key in keys.iter().chain(&keys) {
            assert_eq!(found.find(key), grouped.group(hash_of(key), key));
        }
        let more = 10 * RECENT as u32;
        assert!(
            (0..more)
                .all(|n| found.find(&n.to_le_bytes()) == grouped.group(hash_of(&n.to_le_bytes()), &n.to_le_bytes()))
        );
    }

    #[test]
    fn different_keys_with_one_hash_stay_apart() {
        let mut table = KeyTable::default();
        assert_eq!([table.group(7, b"a"), table.group(7, b"b"), table.group(7, b"c")], [0, 1, 2]);
        assert_eq!([table.group(7, b"b"), table.group(7, b"a"), table.group(7, b"c")], [1, 0, 2]);
    }
}
