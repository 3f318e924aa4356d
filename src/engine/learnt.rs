//! I8: what was learnt from registries stands in the journal as long as records may come that need it.
//!
//! A writer schema is noted in the first epoch that uses it, and that epoch's record is trimmed one day. Before it is, the
//! schema is noted again, in a record that stays: so a start never has to wait for a registry that is away, to learn what
//! an earlier run knew.

use std::collections::{BTreeMap, BTreeSet};

use super::recovery::History;
use crate::data::Epoch;
use crate::journal::EpochRecord;

/// Noted again in one record at most, so that it does not grow too large for the journal: bytes of text.
const AGAIN_MAX: usize = 64 << 10;

/// Writer schemas by registry id.
#[derive(Debug, Default)]
pub struct Learnt {
    /// The newest epoch whose record has it, and its text.
    noted: BTreeMap<i32, (Epoch, String)>,
    /// To be noted again.
    fading: BTreeSet<i32>,
}

impl Learnt {
    pub fn of(history: &History) -> Learnt {
        let mut learnt = Learnt::default();
        history.epochs.values().for_each(|record| learnt.note(record));
        learnt
    }

    /// A record is in the journal.
    pub fn note(&mut self, record: &EpochRecord) {
        for (id, text) in &record.learnt {
            self.fading.remove(id);
            self.noted.insert(*id, (record.epoch, text.clone()));
        }
    }

    /// Adds to a record that is about to be journaled what it must keep for those to be trimmed.
    pub fn carry(&self, record: &mut EpochRecord) {
        let mut bytes = 0;
        for id in &self.fading {
            let Some((_, text)) = self.noted.get(id) else { continue };
            if bytes > 0 && bytes + text.len() > AGAIN_MAX {
                return;
            }
            bytes += text.len();
            record.learnt.entry(*id).or_insert_with(|| text.clone());
        }
    }

    /// How far the journal may be trimmed that could be trimmed to `keep`: no further than to what no later record has.
    pub fn keep(&mut self, keep: Epoch) -> Epoch {
        let older = self.noted.iter().filter(|(_, (epoch, _))| *epoch < keep);
        let older: Vec<(i32, Epoch)> = older.map(|(id, (epoch, _))| (*id, *epoch)).collect();
        self.fading.extend(older.iter().map(|(id, _)| *id));
        older.into_iter().map(|(_, epoch)| epoch).min().unwrap_or(keep)
    }
}
