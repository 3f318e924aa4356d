//! A hash over what changes results: what makes a journal usable for a plan.
//!
//! Names, comments, the order of documents, sinks, servers and positions are not in it; sources'
//! meaning, columns and times, and every step's text are. Its value is stored: a change of what goes
//! in changes [`VERSION`].

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Of what goes into the hash.
const VERSION: u32 = 1;

/// What each part of a pipeline is made of: what goes on where the plan has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// Of the own text of every step, by name: says what has changed.
    pub own: BTreeMap<String, String>,
    pub sources: BTreeMap<String, String>,
    /// Those that keep state.
    pub steps: BTreeMap<String, StatePart>,
    /// Of all that leads to a sink, which is not in it.
    pub sinks: BTreeMap<String, String>,
}

/// A step that keeps state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePart {
    /// Of the step, of all that leads to it, and of the columns that it keeps.
    pub fingerprint: String,
    /// The sources and steps that lead to it, and itself.
    pub made_of: Vec<String>,
}

/// The fingerprint of a pipeline's meaning, as hexadecimal digits.
pub fn of(sources: &[Value], steps: &[Value]) -> String {
    let text = canonical(&json!({ "version": VERSION, "sources": sources, "steps": steps }));
    format!("{:032x}", fnv1a(text.as_bytes()))
}

/// JSON text with the keys of every object in order.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            let entries: Vec<String> =
                entries.into_iter().map(|(key, value)| format!("{}:{}", json!(key), canonical(value))).collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// FNV-1a of 128 bits: nobody attacks it, and it is the same everywhere and for ever.
fn fnv1a(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62272e07bb014262b821756295c58d;
    const PRIME: u128 = 0x0000000001000000000000000000013b;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a_of_128_bits() {
        assert_eq!(fnv1a(b""), 0x6c62272e07bb014262b821756295c58d);
        assert_eq!(fnv1a(b"a"), 0xd228cb696f1a8caf78912b704e4a8964);
    }

    #[test]
    fn order_of_keys_does_not_matter_and_of_steps_does() {
        let (a, b) = (json!({"x": 1, "y": 2}), json!({"y": 2, "x": 1}));
        assert_eq!(of(std::slice::from_ref(&a), &[]), of(&[b], &[]));
        assert_ne!(of(&[], &[a.clone(), json!(1)]), of(&[], &[json!(1), a]));
    }
}
