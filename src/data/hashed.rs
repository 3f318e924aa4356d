//! A map whose keys are hashes already: it does not hash them again.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// By hash. The hashes must be good in all their bits.
pub type HashedMap<V> = HashMap<u64, V, BuildHasherDefault<HashIsKey>>;

/// Passes a hash on as it is.
#[derive(Debug, Default)]
pub struct HashIsKey(u64);

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
