//! Sinks on a further cluster than the journal's: exactly once, each cluster on its own.
//!
//! A cluster has one producer and transactional id. An epoch's rows for all of its sinks are written in
//! one transaction with a record of what the cluster has: lineage and epoch (I9, I12). That record stands in a
//! topic like the journal's (one partition, kept for ever, trimmed by us), so taking over, fencing and
//! unknown outcomes are as there (I11, I15).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::client::Cluster;
use super::journal::{JournalSink, KafkaJournal};
use crate::connectors::{EpochRows, SinkProgress, Writer};
use crate::data::Epoch;
use crate::journal::{Journal, Owned, Record, SinkRows};
use crate::report::Failure;

const TRIM_EVERY: Duration = Duration::from_secs(30);
/// Small epochs that wait are written in one transaction, up to so many bytes: they are copied together.
const TOGETHER_BYTES_MAX: usize = 1 << 20;

/// What the sinks of one further cluster share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Further {
    pub transactional_id: String,
    /// The topic that says what the cluster has.
    pub progress: String,
}

pub(super) struct FurtherWriter {
    owned: Owned,
    /// What the cluster has, as far as this process knows.
    memory: Option<SinkProgress>,
    trimmed: Instant,
}

impl FurtherWriter {
    /// Takes the cluster over from whoever wrote it before, and reads what it has.
    pub fn open(cluster: Cluster, further: &Further, sinks: Vec<JournalSink>) -> Result<FurtherWriter, Failure> {
        let mut log = KafkaJournal::new(cluster, &further.progress, &further.transactional_id, sinks)?;
        let mut records = log.acquire()?;
        let owned = Owned::take_over(Box::new(log), &mut records)?;
        let memory = records.into_iter().rev().find_map(|record| match record {
            Record::Reached { lineage, epoch } => Some(SinkProgress { lineage, epoch }),
            _ => None,
        });
        Ok(FurtherWriter { owned, memory, trimmed: Instant::now() })
    }

    fn has(&self, lineage: &str, epoch: Epoch) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.lineage == lineage && epoch <= memory.epoch)
    }

    fn commit(&mut self, lineage: &str, epoch: Epoch, outputs: &[SinkRows]) -> Result<(), Failure> {
        let reached = Record::Reached { lineage: lineage.to_owned(), epoch };
        let is_there = |record: &Record| *record == reached;
        self.owned.attempt(std::slice::from_ref(&reached), outputs, &is_there)?;
        self.memory = Some(SinkProgress { lineage: lineage.to_owned(), epoch });
        Ok(())
    }

    /// I16: what was reached before is needed by nobody.
    fn trim(&mut self, epoch: Epoch) {
        if self.trimmed.elapsed() < TRIM_EVERY {
            return;
        }
        self.trimmed = Instant::now();
        // What stays too long hurts nobody, and the epochs are committed.
        if let Err(failure) = self.owned.journal().trim(epoch) {
            tracing::warn!("{failure}; the progress is trimmed later");
        }
    }
}

impl Writer for FurtherWriter {
    fn progress(&self) -> Option<SinkProgress> {
        self.memory.clone()
    }

    fn write(&mut self, lineage: &str, epochs: &[EpochRows]) -> Result<(), Failure> {
        let mut rest = epochs;
        while let Some(first) = rest.first() {
            let count = together(rest);
            let (now, later) = rest.split_at(count);
            let last = now[count - 1].epoch;
            if !self.has(lineage, last) {
                let lacking: Vec<&EpochRows> = now.iter().filter(|rows| !self.has(lineage, rows.epoch)).collect();
                match lacking.as_slice() {
                    [_] if count == 1 => self.commit(lineage, last, &first.outputs)?,
                    lacking => self.commit(lineage, last, &joined(lacking))?,
                }
            }
            rest = later;
        }
        if let Some(last) = epochs.last() {
            self.trim(last.epoch);
        }
        Ok(())
    }
}

/// How many of the first epochs are small enough for one transaction; at least one.
fn together(epochs: &[EpochRows]) -> usize {
    let mut bytes = 0;
    let fits = |rows: &&EpochRows| {
        bytes += rows.bytes();
        bytes <= TOGETHER_BYTES_MAX
    };
    epochs.iter().take_while(fits).count().max(1)
}

/// The rows of several epochs, sink by sink, in order.
fn joined(epochs: &[&EpochRows]) -> Vec<SinkRows> {
    let mut by_sink: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    for output in epochs.iter().flat_map(|rows| &rows.outputs) {
        by_sink.entry(output.sink).or_default().extend(output.rows.iter().cloned());
    }
    by_sink.into_iter().map(|(sink, rows)| SinkRows { sink, rows }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::memory::MemoryJournal;
    use crate::data::EncodedRows;
    use crate::journal::{Appended, Owner};

    fn rows(epoch: Epoch, sink: usize, bytes: usize) -> EpochRows {
        let run = EncodedRows { arena: vec![0; bytes], ..EncodedRows::default() };
        EpochRows { epoch, outputs: vec![SinkRows { sink, rows: vec![run] }] }
    }

    #[test]
    fn small_epochs_go_together_and_a_large_one_alone() {
        let small = TOGETHER_BYTES_MAX / 3;
        let epochs = [rows(1, 0, small), rows(2, 0, small), rows(3, 0, 2 * small), rows(4, 0, 16 << 20), rows(5, 0, 1)];
        let mut counts = Vec::new();
        let mut rest = epochs.as_slice();
        while !rest.is_empty() {
            counts.push(together(rest));
            rest = &rest[together(rest)..];
        }
        assert_eq!(counts, [2, 1, 1, 1]);
    }

    #[test]
    fn joined_rows_keep_their_order_within_each_sink() {
        let epochs = [rows(1, 2, 1), rows(2, 0, 2), rows(3, 2, 3)];
        let joined = joined(&epochs.iter().collect::<Vec<_>>());
        let lengths = |output: &SinkRows| output.rows.iter().map(|run| run.arena.len()).collect::<Vec<_>>();
        let shown: Vec<_> = joined.iter().map(|output| (output.sink, lengths(output))).collect();
        assert_eq!(shown, [(0, vec![2]), (2, vec![1, 3])]);
    }

    /// How an append to the cluster ends.
    #[derive(Debug, Clone, Copy)]
    enum Ends {
        Aborted,
        /// Nobody knows, and nothing was written.
        Lost,
        /// Nobody knows, and all was written.
        Unheard,
        /// The broker ended a transaction that took too long, or somebody fenced us and is gone again.
        Fenced,
        /// Somebody took over.
        TakenOver,
    }

    /// A cluster in memory. Its appends of rows end as told, and well afterwards.
    struct Told {
        cluster: MemoryJournal,
        ends: Vec<Ends>,
    }

    impl Journal for Told {
        fn acquire(&mut self) -> Result<Vec<Record>, Failure> {
            self.cluster.acquire()
        }

        fn read(&mut self) -> Result<Vec<Record>, Failure> {
            self.cluster.read()
        }

        fn append(&mut self, records: &[Record], outputs: &[SinkRows]) -> Result<Appended, Failure> {
            let ends = if outputs.is_empty() { None } else { self.ends.pop() };
            let away = Failure::outside("kafka.unreachable", "no broker answers");
            match ends {
                None => self.cluster.append(records, outputs),
                Some(Ends::Aborted) => Ok(Appended::Aborted(away)),
                Some(Ends::Lost) => Ok(Appended::Unknown(away)),
                Some(Ends::Unheard) => self.cluster.append(records, outputs).map(|_| Appended::Unknown(away)),
                Some(Ends::Fenced) => Ok(Appended::Fenced(away)),
                Some(Ends::TakenOver) => {
                    let owner = Owner { incarnation: 9, host: "elsewhere".into(), pid: 4711, instance: "other".into() };
                    self.cluster.append(&[Record::Owner(owner)], &[])?;
                    Ok(Appended::Fenced(away))
                }
            }
        }

        fn trim(&mut self, epoch: Epoch) -> Result<(), Failure> {
            self.cluster.trim(epoch)
        }

        fn clear(&mut self) -> Result<(), Failure> {
            self.cluster.clear()
        }

        fn describe(&self) -> String {
            "memory".into()
        }
    }

    fn writer(cluster: &MemoryJournal, ends: &[Ends]) -> FurtherWriter {
        let ends = ends.iter().rev().copied().collect();
        let log = Told { cluster: cluster.clone(), ends };
        let owned = Owned::take_over(Box::new(log), &mut Vec::new()).unwrap();
        FurtherWriter { owned, memory: None, trimmed: Instant::now() }
    }

    #[test]
    fn i11_however_a_commit_ends_a_further_cluster_has_each_epoch_once_with_what_says_so() {
        use Ends::{Aborted, Fenced, Lost, Unheard};
        for ends in [
            &[Aborted, Aborted][..],
            &[Lost],
            &[Unheard],
            &[Fenced],
            &[Lost, Aborted, Unheard, Fenced, Lost, Lost, Unheard, Unheard],
        ] {
            let cluster = MemoryJournal::default();
            let mut writer = writer(&cluster, ends);
            for epoch in 1..=5 {
                let epochs = [rows(epoch, 3, epoch as usize)];
                // As its thread does: what a retry may mend is written again.
                while let Err(failure) = writer.write("L", &epochs) {
                    assert!(failure.retry, "{ends:?}: {failure}");
                }
            }
            let lengths: Vec<usize> = cluster.output(3).iter().map(|run| run.arena.len()).collect();
            assert_eq!(lengths, [1, 2, 3, 4, 5], "{ends:?}");
            let reached = cluster.records().into_iter().filter_map(|record| match record {
                Record::Reached { epoch, .. } => Some(epoch),
                _ => None,
            });
            assert_eq!(reached.collect::<Vec<_>>(), [1, 2, 3, 4, 5], "{ends:?}");
            assert_eq!(writer.progress(), Some(SinkProgress { lineage: "L".into(), epoch: 5 }));
        }
    }

    #[test]
    fn i15_nothing_is_written_to_a_further_cluster_behind_a_newer_owner() {
        let cluster = MemoryJournal::default();
        let refused = writer(&cluster, &[Ends::TakenOver]).write("L", &[rows(1, 3, 1)]).unwrap_err();
        assert!(refused.code == "refused.taken_over" && !refused.retry, "{refused}");
        assert!(cluster.output(3).is_empty());
    }
}
