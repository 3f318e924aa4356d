//! Commits epochs: the journal with the transactional sinks first, then hands the rest to the others.
//!
//! I9: the journal commits before any other sink writes. I11: rows stay here until the commit is
//! confirmed, and the same bytes are sent again after an abort. I15: a fenced instance reads who
//! owns the journal now, and stops if that is not itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::metrics::Metrics;
use super::recovery::History;
use super::sinks::SinkThread;
use crate::connectors::Delivery;
use crate::data::{EncodedRows, Epoch};
use crate::journal::{Appended, EpochRecord, Journal, Owner, Record, SinkRows};
use crate::plan::Plan;
use crate::report::Failure;

const TRIM_EVERY: Duration = Duration::from_secs(10);
/// Over all sinks.
const TRANSACTION_BYTES_MAX: usize = 16 << 20;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Everything that an epoch leaves behind.
#[derive(Debug)]
pub struct Commit {
    pub record: EpochRecord,
    /// By sink.
    pub rows: BTreeMap<usize, Vec<EncodedRows>>,
}

/// Owns the journal and the sinks' threads.
pub struct Committer {
    plan: Arc<Plan>,
    journal: Box<dyn Journal>,
    owner: Owner,
    /// By index of the sink; transactional ones are not there.
    sinks: BTreeMap<usize, SinkThread>,
    /// What the journal knows of the progress of sinks that forget.
    journaled: BTreeMap<usize, Epoch>,
    /// *needed* of the epochs that the slowest sink lacks, and of the last it has.
    needed: BTreeMap<Epoch, Epoch>,
    trimmed: Instant,
    metrics: Arc<Metrics>,
}

impl Committer {
    /// Takes over a journal that was acquired and whose owner record is written.
    pub fn new(
        plan: Arc<Plan>,
        journal: Box<dyn Journal>,
        owner: Owner,
        sinks: BTreeMap<usize, SinkThread>,
        history: &History,
        metrics: Arc<Metrics>,
    ) -> Committer {
        let journaled = sinks.iter().filter(|(_, sink)| sink.forgets).map(|(index, sink)| (*index, sink.durable()));
        let journaled = journaled.collect();
        let needed = history.epochs.iter().map(|(epoch, record)| (*epoch, record.needed)).collect();
        Committer { plan, journal, owner, sinks, journaled, needed, trimmed: Instant::now(), metrics }
    }

    /// Makes an epoch durable. Returns when the journal has it; slow sinks follow in their threads.
    pub fn commit(&mut self, commit: Commit) -> Result<(), Failure> {
        let Commit { record, mut rows } = commit;
        let (epoch, needed) = (record.epoch, record.needed);
        let count: usize = rows.values().flatten().map(EncodedRows::len).sum();
        let outputs: Vec<SinkRows> =
            self.transactional().filter_map(|sink| rows.remove(&sink).map(|rows| SinkRows { sink, rows })).collect();
        refuse_oversized(epoch, &outputs)?;
        let (mut records, progress) = self.progress_records();
        records.push(Record::Epoch(record));
        self.append(&records, &outputs, Some(epoch))?;
        self.journaled.extend(progress);
        self.needed.insert(epoch, needed);
        self.metrics.rows_out.fetch_add(count as u64, Relaxed);
        self.metrics.epochs.fetch_add(1, Relaxed);
        self.give(epoch, rows, &BTreeMap::new())?;
        self.trim()
    }

    /// Gives an epoch to the sinks' threads, except to those that have it (by `has`).
    pub fn give(
        &mut self,
        epoch: Epoch,
        mut rows: BTreeMap<usize, Vec<EncodedRows>>,
        has: &BTreeMap<usize, Epoch>,
    ) -> Result<(), Failure> {
        for (index, sink) in &self.sinks {
            if has.get(index).is_none_or(|last| *last < epoch) {
                sink.give(epoch, rows.remove(index).unwrap_or_default())?;
            }
        }
        Ok(())
    }

    /// Notes in the journal what sinks without a memory have delivered since. Cheap if nothing.
    pub fn note_progress(&mut self) -> Result<(), Failure> {
        let (records, progress) = self.progress_records();
        if !records.is_empty() {
            self.append(&records, &[], None)?;
            self.journaled.extend(progress);
        }
        Ok(())
    }

    /// Waits for all sinks, notes their progress.
    pub fn finish(&mut self) -> Result<(), Failure> {
        let ended: Vec<Result<(), Failure>> = self.sinks.values_mut().map(SinkThread::finish).collect();
        self.note_progress()?;
        ended.into_iter().collect()
    }

    fn transactional(&self) -> impl Iterator<Item = usize> + use<> {
        let plan = self.plan.clone();
        (0..plan.sinks.len()).filter(move |sink| plan.sinks[*sink].sink.delivery() == Delivery::Transaction)
    }

    fn progress_records(&self) -> (Vec<Record>, Vec<(usize, Epoch)>) {
        let moved = |(index, sink): (&usize, &SinkThread)| {
            let durable = sink.durable();
            (sink.forgets && self.journaled.get(index).is_none_or(|known| *known < durable))
                .then(|| (Record::Progress { sink: sink.name.clone(), epoch: durable }, (*index, durable)))
        };
        self.sinks.iter().filter_map(moved).unzip()
    }

    /// Appends until the outcome is known. `epoch` is the one among the records, if any.
    fn append(&mut self, records: &[Record], outputs: &[SinkRows], epoch: Option<Epoch>) -> Result<(), Failure> {
        let mut pause = Duration::from_millis(20);
        loop {
            let failure = match self.journal.append(records, outputs)? {
                Appended::Committed => return Ok(()),
                Appended::Aborted(failure) => failure,
                Appended::Unknown(failure) => {
                    if self.reacquire(epoch)? {
                        return Ok(());
                    }
                    failure
                }
                Appended::Fenced(failure) => {
                    // Look before taking over: a newer owner must not be fenced by us.
                    let history = History::of(self.journal.read()?);
                    self.refuse_newer(&history)?;
                    if self.reacquire(epoch)? {
                        return Ok(());
                    }
                    failure
                }
            };
            if !failure.retry {
                return Err(failure);
            }
            tracing::warn!("{failure}; sending the epoch again");
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Becomes the writer again and says whether `epoch` is in the journal. Only what is read
    /// after `acquire` decides (I15).
    fn reacquire(&mut self, epoch: Option<Epoch>) -> Result<bool, Failure> {
        let history = loop {
            match self.journal.acquire() {
                Ok(records) => break History::of(records),
                Err(failure) if failure.retry => {
                    tracing::warn!("{failure}; trying again");
                    std::thread::sleep(Duration::from_millis(500));
                }
                Err(failure) => return Err(failure),
            }
        };
        self.refuse_newer(&history)?;
        self.owner.incarnation += 1;
        match self.journal.append(&[Record::Owner(self.owner.clone())], &[])? {
            Appended::Committed => {}
            Appended::Aborted(failure) | Appended::Unknown(failure) | Appended::Fenced(failure) => return Err(failure),
        }
        Ok(epoch.is_some_and(|epoch| history.epochs.contains_key(&epoch)))
    }

    fn refuse_newer(&self, history: &History) -> Result<(), Failure> {
        match &history.owner {
            Some(owner) if owner.instance != self.owner.instance => Err(taken_over(owner)),
            _ => Ok(()),
        }
    }

    /// I16: drops what neither replay nor any sink needs; the epoch before it stays for its watermark.
    fn trim(&mut self) -> Result<(), Failure> {
        if self.trimmed.elapsed() < TRIM_EVERY {
            return Ok(());
        }
        self.trimmed = Instant::now();
        let Some(last) = self.needed.keys().next_back().copied() else { return Ok(()) };
        let slowest = self.sinks.values().map(SinkThread::durable).chain(self.journaled.values().copied());
        let slowest = slowest.min().unwrap_or(last).min(last);
        let mut oldest = self.needed[&last].min(slowest + 1);
        if let Some(needed) = self.needed.get(&slowest) {
            oldest = oldest.min(*needed);
        } else if slowest < last {
            return Ok(());
        }
        // The record of the slowest sink's last epoch says what it needs, so it stays too.
        let keep = oldest.saturating_sub(1).min(slowest);
        self.needed = self.needed.split_off(&keep);
        self.journal.trim(keep)
    }
}

/// I10: a transaction carries at most so much; an epoch that gives more ends the run for now.
fn refuse_oversized(epoch: Epoch, outputs: &[SinkRows]) -> Result<(), Failure> {
    let bytes: usize = outputs.iter().flat_map(|output| &output.rows).map(|rows| rows.arena.len()).sum();
    if bytes <= TRANSACTION_BYTES_MAX {
        return Ok(());
    }
    Err(Failure::user(
        "commit.too_large",
        format!(
            "epoch {epoch} gives {bytes} bytes of output, and a transaction carries at most {TRANSACTION_BYTES_MAX}"
        ),
    )
    .hint("lower `epoch.max_bytes`, or use fewer groups per window: larger outputs come in a later release"))
}

/// The refusal of an instance that was replaced.
pub fn taken_over(owner: &Owner) -> Failure {
    Failure::user(
        "refused.taken_over",
        format!(
            "another instance of this pipeline took over: host {}, pid {}, incarnation {}",
            owner.host, owner.pid, owner.incarnation
        ),
    )
}
