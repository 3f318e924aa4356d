//! What a start says while it lasts: rebuilding a large state takes seconds, and somebody waits for it.

use std::sync::Arc;

use crate::data::Epoch;

/// What a start is about to do, or has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// It reads the state that a snapshot has.
    Restores { epoch: Epoch, rows: u64, bytes: u64 },
    /// It reads so many epochs again, with so many records.
    Replays { epochs: u64, records: u64 },
    /// So many of them are read.
    Replayed { records: u64 },
}

/// Whoever listens to a start; by default nobody.
#[derive(Clone, Default)]
pub struct Listener(Option<Arc<dyn Fn(Told) + Send + Sync>>);

impl Listener {
    pub fn new(hears: impl Fn(Told) + Send + Sync + 'static) -> Listener {
        Listener(Some(Arc::new(hears)))
    }

    pub fn tell(&self, told: Told) {
        if let Some(hears) = &self.0 {
            hears(told);
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "somebody" } else { "nobody" })
    }
}
