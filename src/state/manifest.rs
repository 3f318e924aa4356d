//! What a snapshot says of itself. A stored format: fields are only added, with a default.
//!
//! A manifest is one line: the CRC-32 of what follows (8 hex digits), a space, and JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::Epoch;

/// Of manifests, and of the columns beside them.
pub const VERSION: u32 = 1;

/// Length of the checksum in front, in hex digits.
const CHECKSUM_LENGTH: usize = 8;

/// A snapshot: the state of a pipeline's steps behind an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u32,
    pub namespace: String,
    pub pipeline: String,
    /// Of the journal that holds the epoch.
    pub lineage: String,
    /// Of whoever wrote it.
    pub incarnation: u64,
    pub epoch: Epoch,
    /// The version of the program that wrote it.
    pub runner: String,
    /// The object with the columns, and its length.
    pub object: String,
    pub bytes: u64,
    /// Groups, panes or rows: whatever the steps keep.
    pub rows: u64,
    /// By name, every step that keeps state.
    pub steps: BTreeMap<String, StepState>,
}

/// What one step keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepState {
    /// Of all that its state is made of.
    pub fingerprint: String,
    /// The first epoch whose rows it has.
    pub since: Epoch,
    /// In order.
    pub parts: Vec<Part>,
}

/// A stretch of the object: one batch of rows as an Arrow IPC stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub at: u64,
    pub bytes: u64,
    pub rows: u64,
    pub crc32: u32,
}

/// Why a manifest cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    Damaged,
    /// Its version.
    Newer(u32),
}

impl Manifest {
    /// The object that it is.
    pub fn name(&self) -> String {
        name_of(&self.lineage, self.epoch)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        to_line(self)
    }

    /// # Errors
    /// It is half there, damaged, or of a later format.
    pub fn of_bytes(bytes: &[u8]) -> Result<Manifest, Unreadable> {
        of_line(bytes)
    }
}

/// What stands in front of a shelf: whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    pub version: u32,
    pub namespace: String,
    pub pipeline: String,
}

/// The manifest of an epoch. Names are in the order of their epochs.
pub fn name_of(lineage: &str, epoch: Epoch) -> String {
    format!("{lineage}/{epoch:012}.json")
}

/// As a line with its checksum.
pub fn to_line(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_string(value).expect("these are plain fields");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes()
}

/// # Errors
/// The line is half there, damaged, or of a later format.
pub fn of_line<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, Unreadable> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let whole = || {
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        let (checksum, json) = (text.get(..CHECKSUM_LENGTH)?, text.get(CHECKSUM_LENGTH..)?.strip_prefix(' ')?);
        (checksum == format!("{:08x}", crc32fast::hash(json.as_bytes()))).then_some(json)
    };
    let json = whole().ok_or(Unreadable::Damaged)?;
    match serde_json::from_str(json) {
        Ok(Version { version }) if version > VERSION => Err(Unreadable::Newer(version)),
        Ok(_) => serde_json::from_str(json).map_err(|_| Unreadable::Damaged),
        Err(_) => Err(Unreadable::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let part = Part { at: 0, bytes: 10, rows: 3, crc32: 7 };
        let step = StepState { fingerprint: "f".into(), since: 1, parts: vec![part] };
        Manifest {
            version: VERSION,
            namespace: "default".into(),
            pipeline: "p".into(),
            lineage: "l".into(),
            incarnation: 2,
            epoch: 9,
            runner: "0.1.0".into(),
            object: "l/9.columns".into(),
            bytes: 10,
            rows: 3,
            steps: BTreeMap::from([("per_k".into(), step)]),
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_never_in_part() {
        let bytes = manifest().to_bytes();
        assert_eq!(Manifest::of_bytes(&bytes), Ok(manifest()));
        for length in 0..bytes.len() {
            assert_eq!(Manifest::of_bytes(&bytes[..length]), Err(Unreadable::Damaged), "cut off at {length}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(Manifest::of_bytes(&damaged), Err(Unreadable::Damaged), "damaged at {at}");
        }
    }

    #[test]
    fn a_later_format_is_told_from_a_damaged_one() {
        let later = serde_json::json!({ "version": VERSION + 1, "what": "nobody knows" });
        assert_eq!(Manifest::of_bytes(&to_line(&later)), Err(Unreadable::Newer(VERSION + 1)));
    }
}
