//! Group keys in one arena, and the table that numbers them.
//!
//! A key is hashed once, in the lane; its hash travels with it to the trunk. Nothing depends on the
//! order of hashes: groups are numbered as they come, and sorted by their bytes when they leave (I2).

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::LazyLock;

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

    /// Groups in ascending order of their keys.
    pub fn sorted(&self, mut groups: Vec<u32>) -> Vec<u32> {
        groups.sort_unstable_by_key(|group| self.key(*group as usize));
        groups
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
    newest: HashMap<u64, u32, BuildHasherDefault<HashIsKey>>,
    /// Per group, the one before it with the same hash.
    older: Vec<u32>,
}

impl KeyTable {
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub fn into_keys(self) -> Keys {
        self.keys
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
        self.keys.size() + self.older.capacity() * size_of::<u32>() + buckets * (size_of::<(u64, u32)>() + 1)
    }
}

/// The map's keys are hashes already.
#[derive(Debug, Default)]
struct HashIsKey(u64);

impl Hasher for HashIsKey {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only whole hashes are looked up");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
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
    fn different_keys_with_one_hash_stay_apart() {
        let mut table = KeyTable::default();
        assert_eq!([table.group(7, b"a"), table.group(7, b"b"), table.group(7, b"c")], [0, 1, 2]);
        assert_eq!([table.group(7, b"b"), table.group(7, b"a"), table.group(7, b"c")], [1, 0, 2]);
    }
}
