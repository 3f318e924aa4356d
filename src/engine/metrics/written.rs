//! What sinks have written to, topic by topic, since the job began or since it was forgotten.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::data::EncodedRows;

/// A sink, by index, and the topic that its records named; `None`: its own.
pub type WrittenTopic = (usize, Option<Arc<str>>);

/// Grows with the first record of each topic that was delivered.
#[derive(Debug, Default)]
pub struct WrittenTopics {
    known: Mutex<BTreeSet<WrittenTopic>>,
    grown: watch::Sender<()>,
}

impl WrittenTopics {
    /// Rows that a sink has.
    pub fn note(&self, sink: usize, rows: &[EncodedRows]) {
        let mut known = self.lock();
        let before = known.len();
        for run in rows.iter().filter(|run| !run.is_empty()) {
            if run.destinations.topics.is_empty() {
                known.insert((sink, None));
            }
            known.extend(run.destinations.topics.iter().map(|topic| (sink, Some(topic.clone()))));
        }
        if known.len() > before {
            self.tell();
        }
    }

    /// Tells whoever waits for growth, who may not have heard of all.
    pub fn tell(&self) {
        self.grown.send_replace(());
    }

    pub fn all(&self) -> BTreeSet<WrittenTopic> {
        self.lock().clone()
    }

    /// The next record of each counts as its first.
    pub fn forget(&self) {
        self.lock().clear();
    }

    /// Tells when there are more.
    pub fn growth(&self) -> watch::Receiver<()> {
        self.grown.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<WrittenTopic>> {
        // Nothing is left half-changed by a panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::EncodedRecord;

    fn rows(topics: &[&str], count: usize) -> EncodedRows {
        let mut rows = EncodedRows::default();
        for index in 0..count {
            rows.records.push(EncodedRecord { key: None, value: None, timestamp: None, headers: 0..0 });
            topics.get(index).into_iter().for_each(|topic| rows.destinations.push(topic));
        }
        rows
    }

    #[test]
    fn a_topic_is_told_once_with_its_first_record_and_again_when_it_was_forgotten() {
        let written = WrittenTopics::default();
        let mut growth = written.growth();
        let mut told = || {
            let told = growth.has_changed().unwrap();
            growth.mark_unchanged();
            told
        };
        written.note(0, &[rows(&[], 0)]);
        assert!(!told() && written.all().is_empty());
        written.note(0, &[rows(&[], 1), rows(&["a", "b"], 2)]);
        let all = [(0, None), (0, Some("a".into())), (0, Some("b".into()))];
        assert!(told() && written.all() == all.clone().into());
        written.note(0, &[rows(&["b"], 1)]);
        assert!(!told());
        written.forget();
        written.note(0, &[rows(&["b"], 1)]);
        assert!(told() && written.all() == all[2..].iter().cloned().collect());
    }
}
