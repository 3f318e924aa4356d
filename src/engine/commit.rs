//! Commits epochs: the journal with the transactional sinks first, then hands the rest to the others.
//!
//! I9: the journal commits before any other sink writes. I11: rows stay here until the commit is
//! confirmed, and the same bytes are sent again after an abort (`journal/owned.rs`). I18: the slowest
//! sink may be so far behind; then no epoch is committed until it has caught up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::learnt::Learnt;
use super::metrics::{Flow, Metrics};
use super::recovery::History;
use super::restart;
use super::sinks::SinkWorker;
use super::snapshots::{Snapshots, StateBehind};
use super::targets::TopicIds;
use super::timestamps::Timestamps;
use crate::connectors::{Delivery, EpochRows};
use crate::data::{EncodedRows, Epoch};
use crate::faults;
use crate::journal::{EpochRecord, Owned, Record, SinkRows};
use crate::plan::{Plan, Step, StepPlan};
use crate::report::Failure;

const TRIM_EVERY: Duration = Duration::from_secs(10);
/// While a slow sink is waited for.
const LOOK_AROUND_EVERY: Duration = Duration::from_secs(1);

/// What an epoch leaves behind; where that is too much for one commit, a piece of it (I10).
#[derive(Debug)]
pub struct Commit {
    pub record: EpochRecord,
    /// By sink.
    pub rows: BTreeMap<usize, Vec<EncodedRows>>,
}

/// Owns the journal and the sinks' workers.
pub struct Committer {
    plan: Arc<Plan>,
    /// The journal (I11, I15).
    owned: Owned,
    /// Of all sinks but the transactional ones.
    sinks: Vec<SinkWorker>,
    /// Told when a sink has delivered or given up, and when a snapshot is done.
    news: Arc<Notify>,
    /// Of what is read and written.
    topic_ids: TopicIds,
    /// What the sinks' topics take.
    timestamps: Timestamps,
    /// What the journal knows of the progress of sinks that forget, by index in `sinks`.
    journaled: BTreeMap<usize, Epoch>,
    /// *needed* of the epochs that the slowest sink lacks, and of the last it has.
    needed: BTreeMap<Epoch, Epoch>,
    trimmed: Instant,
    /// What registries said.
    learnt: Learnt,
    /// A step's state is never final: without snapshots the whole journal is needed.
    needs_everything: bool,
    /// What snapshots covered then.
    covered: Epoch,
    /// Of the state; `None`: none is kept.
    snapshots: Option<Snapshots>,
    metrics: Arc<Metrics>,
}

impl Committer {
    /// Takes over a journal that was acquired and whose owner record is written.
    pub fn new(
        plan: Arc<Plan>,
        owned: Owned,
        sinks: Vec<SinkWorker>,
        news: Arc<Notify>,
        timestamps: Timestamps,
        history: &History,
        metrics: Arc<Metrics>,
    ) -> Committer {
        let forgetful = sinks.iter().enumerate().filter(|(_, sink)| sink.forgets);
        let journaled = forgetful.map(|(index, sink)| (index, sink.durable())).collect();
        let needed = history.epochs.iter().map(|(epoch, record)| (*epoch, record.needed)).collect();
        let is_endless =
            |step: &StepPlan| matches!(&step.step, Step::Stateful(transform) if transform.span_ms().is_none());
        Committer {
            needs_everything: plan.steps.iter().any(is_endless),
            plan,
            owned,
            sinks,
            news,
            topic_ids: TopicIds::new(),
            timestamps,
            journaled,
            needed,
            trimmed: Instant::now(),
            learnt: Learnt::of(history),
            covered: 0,
            snapshots: None,
            metrics,
        }
    }

    /// Tells when there is something to note: see [`Committer::note_progress`].
    pub fn news(&self) -> Arc<Notify> {
        self.news.clone()
    }

    /// What the topics are that are read and written: a restart from the sink asks for it.
    pub fn note_topics(&mut self, ids: TopicIds) {
        self.topic_ids = ids;
    }

    /// Takes snapshots from here on.
    pub fn take_snapshots(&mut self, snapshots: Snapshots) {
        self.snapshots = Some(snapshots);
    }

    /// Takes over what the steps kept behind the last epoch that was committed.
    pub fn offer(&mut self, state: StateBehind) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.offer(state);
        }
        self.advance_snapshots();
    }

    /// I18: lets a snapshot be published that every sink has the epoch of.
    fn advance_snapshots(&mut self) {
        let slowest = self.slowest();
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.advance(slowest);
        }
    }

    /// The last epoch that every sink has for certain: of those without a memory, by the journal.
    fn slowest(&self) -> Epoch {
        let of = |(index, sink): (usize, &SinkWorker)| match self.journaled.get(&index) {
            Some(journaled) => *journaled,
            None => sink.durable(),
        };
        self.sinks.iter().enumerate().map(of).min().unwrap_or(Epoch::MAX)
    }

    /// Makes an epoch durable. Returns when the journal has it; slow sinks follow by themselves.
    pub fn commit(&mut self, commit: Commit) -> Result<(), Failure> {
        let Commit { mut record, mut rows } = commit;
        self.learnt.carry(&mut record);
        self.fit(&record, &mut rows)?;
        restart::mark(&self.plan, &self.topic_ids, &record, &mut rows)?;
        let (epoch, needed) = (record.epoch, record.needed);
        let written: Vec<(usize, Flow)> = rows.iter().map(|(sink, rows)| (*sink, flow(rows))).collect();
        let outputs: Vec<SinkRows> =
            self.transactional().filter_map(|sink| rows.remove(&sink).map(|rows| SinkRows { sink, rows })).collect();
        let (mut records, progress) = self.progress_records();
        self.learnt.note(&record);
        records.push(Record::Epoch(record));
        let is_there = |record: &Record| matches!(record, Record::Epoch(record) if record.epoch == epoch);
        let begun = Instant::now();
        self.owned.append(&records, &outputs, &is_there)?;
        self.metrics.commits.observe(begun.elapsed());
        outputs.iter().for_each(|output| self.metrics.written.note(output.sink, &output.rows));
        faults::point("epoch.committed");
        self.journaled.extend(progress);
        self.needed.insert(epoch, needed);
        for (sink, flow) in written {
            self.metrics.rows_out.fetch_add(flow.rows, Relaxed);
            self.metrics.parts.add_written(sink, flow);
        }
        self.metrics.epochs.fetch_add(1, Relaxed);
        self.hand_over(epoch, rows)?;
        self.advance_snapshots();
        self.trim()
    }

    /// Gives what was replayed of an epoch that the journal has to the sinks that lack it.
    pub fn give(&mut self, record: &EpochRecord, mut rows: BTreeMap<usize, Vec<EncodedRows>>) -> Result<(), Failure> {
        self.fit(record, &mut rows)?;
        self.hand_over(record.epoch, rows)
    }

    fn fit(&mut self, record: &EpochRecord, rows: &mut BTreeMap<usize, Vec<EncodedRows>>) -> Result<(), Failure> {
        let ahead = self.timestamps.fit(record.clock, rows)?;
        self.metrics.ahead.fetch_add(ahead, Relaxed);
        Ok(())
    }

    /// Gives an epoch to the sinks' workers, except to those that had it. Waits for one that is too far behind (I18).
    fn hand_over(&mut self, epoch: Epoch, mut rows: BTreeMap<usize, Vec<EncodedRows>>) -> Result<(), Failure> {
        for index in 0..self.sinks.len() {
            let sink = &self.sinks[index];
            let lacking: Vec<usize> = sink.members().filter(|member| !sink.had(*member, epoch)).collect();
            if lacking.is_empty() {
                continue;
            }
            // What the others deliver meanwhile is noted, and their failures are heard.
            while !self.sinks[index].has_room(LOOK_AROUND_EVERY)? {
                self.note_progress()?;
            }
            let outputs = lacking.into_iter().filter_map(|sink| Some(SinkRows { sink, rows: rows.remove(&sink)? }));
            self.sinks[index].give(EpochRows { epoch, outputs: outputs.collect() })?;
        }
        Ok(())
    }

    /// Notes in the journal what sinks without a memory have delivered since. Cheap if nothing.
    ///
    /// # Errors
    /// A sink has given up meanwhile, or the journal cannot be written.
    pub fn note_progress(&mut self) -> Result<(), Failure> {
        self.sinks.iter().try_for_each(SinkWorker::check)?;
        let (records, progress) = self.progress_records();
        if !records.is_empty() {
            self.owned.append(&records, &[], &|_| false)?;
            self.journaled.extend(progress);
        }
        self.advance_snapshots();
        Ok(())
    }

    /// Waits for all sinks, notes their progress, and lets a last snapshot be there.
    pub fn finish(&mut self, last: Option<StateBehind>) -> Result<(), Failure> {
        let ended: Vec<Result<(), Failure>> = self.sinks.iter_mut().map(SinkWorker::finish).collect();
        self.note_progress()?;
        let slowest = self.slowest();
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.finish(slowest);
            if let Some(state) = last {
                snapshots.offer(state);
                snapshots.finish(slowest);
            }
        }
        ended.into_iter().collect()
    }

    fn transactional(&self) -> impl Iterator<Item = usize> + use<> {
        let plan = self.plan.clone();
        (0..plan.sinks.len()).filter(move |sink| plan.sinks[*sink].sink.delivery() == Delivery::Transaction)
    }

    fn progress_records(&self) -> (Vec<Record>, Vec<(usize, Epoch)>) {
        let moved = |(index, sink): (usize, &SinkWorker)| {
            let durable = sink.durable();
            (sink.forgets && self.journaled.get(&index).is_none_or(|known| *known < durable))
                .then(|| (Record::Progress { sink: sink.name.clone(), epoch: durable }, (index, durable)))
        };
        self.sinks.iter().enumerate().filter_map(moved).unzip()
    }

    /// I16: drops what neither replay nor any sink needs; the epoch before it stays for its watermark.
    fn trim(&mut self) -> Result<(), Failure> {
        let snapshots = self.snapshots.as_ref().filter(|_| self.needs_everything);
        let covered = snapshots.and_then(Snapshots::covered).unwrap_or(0);
        if self.trimmed.elapsed() < faults::patience(TRIM_EVERY, "trim.") && covered == self.covered {
            return Ok(());
        }
        self.covered = covered;
        self.trimmed = Instant::now();
        let Some(last) = self.needed.keys().next_back().copied() else { return Ok(()) };
        let slowest = self.slowest().min(last);
        let mut oldest = self.needed[&last].min(slowest + 1);
        if let Some(needed) = self.needed.get(&slowest) {
            oldest = oldest.min(*needed);
        } else if slowest < last {
            return Ok(());
        }
        // The record of the slowest sink's last epoch says what it needs, so it stays too. Where a step needs everything, a
        // snapshot has what was needed before it, and its epoch's record says where it goes on. Elsewhere the journal is short
        // by itself, and a lost disk with the snapshots costs a replay and nothing else.
        let keep = self.learnt.keep(oldest.saturating_sub(1).max(covered).min(slowest));
        match self.owned.journal().trim(keep) {
            Ok(()) => self.needed = self.needed.split_off(&keep),
            // What stays too long hurts nobody, and the epoch is committed.
            Err(failure) if failure.retry => tracing::warn!("{failure}; the journal is trimmed later"),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}

fn flow(rows: &[EncodedRows]) -> Flow {
    let (count, bytes) =
        rows.iter().fold((0, 0), |(count, bytes), rows| (count + rows.len(), bytes + rows.arena.len()));
    Flow { rows: count as u64, bytes: bytes as u64 }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;
    use crate::journal::{Appended, Journal, Owner};
    use crate::plan::{EpochSettings, ErrorPolicy, JournalPlace};
    use crate::time::{SystemClock, Watermark};

    /// A journal whose appends end as told, and are committed afterwards. What ends as unknown was written.
    #[derive(Default, Clone)]
    struct Told {
        outcomes: Arc<Mutex<VecDeque<Appended>>>,
        records: Arc<Mutex<Vec<Record>>>,
        trim_fails: bool,
        /// Trimmed to these.
        trims: Arc<Mutex<Vec<Epoch>>>,
    }

    impl Journal for Told {
        fn acquire(&mut self) -> Result<Vec<Record>, Failure> {
            self.read()
        }
        fn read(&mut self) -> Result<Vec<Record>, Failure> {
            Ok(self.records.lock().unwrap().clone())
        }
        fn append(&mut self, records: &[Record], _outputs: &[SinkRows]) -> Result<Appended, Failure> {
            let outcome = self.outcomes.lock().unwrap().pop_front().unwrap_or(Appended::Committed);
            if matches!(outcome, Appended::Committed | Appended::Unknown(_)) {
                self.records.lock().unwrap().extend_from_slice(records);
            }
            Ok(outcome)
        }
        fn trim(&mut self, epoch: Epoch) -> Result<(), Failure> {
            self.trims.lock().unwrap().push(epoch);
            if self.trim_fails { Err(away()) } else { Ok(()) }
        }
        fn clear(&mut self) -> Result<(), Failure> {
            self.records.lock().unwrap().clear();
            Ok(())
        }
        fn describe(&self) -> String {
            "memory".into()
        }
    }

    fn away() -> Failure {
        Failure::outside("kafka.unreachable", "no broker answers")
    }

    fn owner(instance: &str) -> Owner {
        Owner { incarnation: 1, host: "h".into(), pid: 1, instance: instance.into() }
    }

    fn committer(journal: &Told) -> Committer {
        let plan = Plan {
            namespace: "default".into(),
            name: "p".into(),
            sources: Vec::new(),
            outline: Default::default(),
            steps: Vec::new(),
            unions: Vec::new(),
            sinks: Vec::new(),
            dead_letter: None,
            errors: ErrorPolicy::Skip,
            epoch: EpochSettings::default(),
            memory: crate::plan::DEFAULT_MEMORY,
            lanes: None,
            journal: JournalPlace::File("j".into()),
            restart: crate::plan::RestartPlan::Journal,
            state_dir: "s".into(),
            snapshots: Default::default(),
            fingerprint: String::new(),
            parts: Default::default(),
        };
        journal.records.lock().unwrap().push(Record::Owner(owner("us")));
        let history = History::of(journal.records.lock().unwrap().clone());
        let owned = Owned::of(Box::new(journal.clone()), owner("us"));
        let timestamps = Timestamps::ask(&plan, SystemClock::shared()).unwrap();
        Committer::new(Arc::new(plan), owned, Vec::new(), Arc::default(), timestamps, &history, Arc::default())
    }

    fn commit(epoch: Epoch) -> Commit {
        let record = EpochRecord {
            lineage: "l".into(),
            incarnation: 1,
            epoch,
            partitions: BTreeMap::new(),
            watermark: Watermark::NONE,
            clock: 0,
            needed: epoch + 1,
            learnt: BTreeMap::new(),
            last_windows: BTreeMap::new(),
            ended: false,
            continues: None,
            cursor: None,
            failed: None,
        };
        Commit { record, rows: BTreeMap::new() }
    }

    fn epochs(journal: &Told) -> Vec<Epoch> {
        let records = journal.records.lock().unwrap();
        let of = |record: &Record| if let Record::Epoch(epoch) = record { Some(epoch.epoch) } else { None };
        records.iter().filter_map(of).collect()
    }

    fn newest_owner(journal: &Told) -> Option<Owner> {
        History::of(journal.records.lock().unwrap().clone()).owner
    }

    #[test]
    fn i11_an_epoch_of_unknown_outcome_is_not_sent_again_if_it_is_there() {
        let journal = Told::default();
        journal.outcomes.lock().unwrap().push_back(Appended::Unknown(away()));
        committer(&journal).commit(commit(1)).unwrap();
        assert_eq!(epochs(&journal), [1]);
        assert_eq!(newest_owner(&journal), Some(Owner { incarnation: 2, ..owner("us") }));
    }

    #[test]
    fn i15_a_broker_that_goes_away_while_it_is_taken_over_again_ends_nothing() {
        let journal = Told::default();
        let outcomes = [Appended::Unknown(away()), Appended::Aborted(away()), Appended::Fenced(away())];
        journal.outcomes.lock().unwrap().extend(outcomes);
        committer(&journal).commit(commit(1)).unwrap();
        assert_eq!(epochs(&journal), [1]);
    }

    #[test]
    fn i15_another_owner_or_none_stops_the_one_before() {
        let stopped = |records: Vec<Record>| {
            let journal = Told::default();
            let mut committer = committer(&journal);
            *journal.records.lock().unwrap() = records;
            journal.outcomes.lock().unwrap().push_back(Appended::Fenced(away()));
            committer.commit(commit(1)).unwrap_err().code
        };
        assert_eq!(stopped(vec![Record::Owner(owner("them"))]), "refused.taken_over");
        assert_eq!(stopped(vec![]), "refused.journal_gone");
    }

    /// A start behind the trimmed records would have to wait for a registry that is away.
    #[test]
    fn i8_what_was_learnt_is_noted_again_before_its_record_is_trimmed() {
        let journal = Told::default();
        let mut committer = committer(&journal);
        let mut learning = commit(1);
        let text = |id: i32| (id, format!("schema {id} {}", "x".repeat(40 << 10)));
        learning.record.learnt = [7, 8].map(text).into();
        for commit in std::iter::once(learning).chain((2..=6).map(commit)) {
            committer.trimmed = Instant::now().checked_sub(TRIM_EVERY).unwrap();
            committer.commit(commit).unwrap();
        }
        let records = journal.records.lock().unwrap().clone();
        let learnt = |record: &Record| match record {
            Record::Epoch(epoch) => Some((epoch.epoch, epoch.learnt.keys().copied().collect::<Vec<_>>())),
            _ => None,
        };
        let learnt: Vec<_> = records.iter().filter_map(learnt).collect();
        // One in each record: two would be too much for it.
        assert_eq!(learnt[..4], [(1, vec![7, 8]), (2, vec![]), (3, vec![7]), (4, vec![8])]);
        let trims = journal.trims.lock().unwrap().clone();
        assert!(trims.is_sorted() && trims.last() > Some(&2), "{trims:?}");
        for trimmed in trims {
            let kept: Vec<i32> =
                learnt.iter().filter(|(epoch, _)| *epoch >= trimmed).flat_map(|(_, ids)| ids.clone()).collect();
            assert!(kept.contains(&7) && kept.contains(&8), "behind a trim to {trimmed}: {kept:?}");
        }
    }

    #[test]
    fn a_journal_that_cannot_be_trimmed_now_ends_nothing() {
        let journal = Told { trim_fails: true, ..Told::default() };
        let mut committer = committer(&journal);
        committer.trimmed = Instant::now().checked_sub(TRIM_EVERY).unwrap();
        committer.commit(commit(1)).unwrap();
        assert!(committer.needed.contains_key(&1), "the next trim must still know what is needed");
    }
}
