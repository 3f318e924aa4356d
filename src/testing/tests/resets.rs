//! I14, I17: a source that somebody has set to its `start` again.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use super::remembering::Remembering;
use super::*;
use crate::connectors::{Gone, Known, PartitionStart, Reader, Source};
use crate::data::{Position, SourceIndex};
use crate::engine::recovery::History;
use crate::engine::start::StartReport;
use crate::journal::{Jump, PlanRecord};

/// Begins at the end of its topic, as `start: latest`; what is added later begins with its first record.
#[derive(Debug, Clone)]
struct Latest {
    of: MemorySource,
    end: Arc<AtomicI64>,
}

impl Source for Latest {
    fn connector(&self) -> &'static str {
        "memory"
    }

    fn discover(&self, known: &BTreeMap<Partition, Position>) -> Result<Vec<PartitionStart>, Failure> {
        let mut found = self.of.discover(known)?;
        if known.is_empty() {
            let end = Position::offset(self.end.load(SeqCst));
            found.iter_mut().for_each(|start| start.start = end.clone());
        }
        Ok(found)
    }

    fn open(&self, source: SourceIndex, share: &[PartitionStart], wanted: Wanted) -> Result<Box<dyn Reader>, Failure> {
        self.of.open(source, share, wanted)
    }

    fn has_timestamps(&self) -> bool {
        true
    }
}

/// What was to be read next of partition 0 is gone: it goes on at 50.
#[derive(Debug, Clone)]
struct Lost(MemorySource);

impl Source for Lost {
    fn connector(&self) -> &'static str {
        "memory"
    }

    fn discover(&self, known: &BTreeMap<Partition, Position>) -> Result<Vec<PartitionStart>, Failure> {
        self.0.discover(known)
    }

    fn gone(&self, _known: &BTreeMap<Partition, Known>, _repeats: bool) -> Result<BTreeMap<Partition, Gone>, Failure> {
        Ok(BTreeMap::from([(0, Gone { at: Position::offset(50), unread: true, again: None, missing: 49 })]))
    }

    fn open(&self, source: SourceIndex, share: &[PartitionStart], wanted: Wanted) -> Result<Box<dyn Reader>, Failure> {
        self.0.open(source, share, wanted)
    }

    fn has_timestamps(&self) -> bool {
        true
    }
}

/// A pipeline that has run, and then its topic's end moves.
struct Ran {
    stage: Stage,
    journal: MemoryJournal,
    end: Arc<AtomicI64>,
}

impl Ran {
    fn of(text: &str, script: Vec<Item>) -> Ran {
        let mut stage = Stage::of(text, 2, script);
        let journal = stage.run(Variant::default());
        let end = Arc::<AtomicI64>::default();
        let plan = Arc::get_mut(&mut stage.given.plan).expect("the run is over");
        plan.sources[0].source = Arc::new(Latest { of: stage.given.sources[0].clone(), end: end.clone() });
        Ran { stage, journal, end }
    }

    fn plan(&self) -> PlanRecord {
        History::of(self.journal.records()).plan.unwrap()
    }

    /// Sets partitions to their start, as is done while a pipeline is stopped.
    fn reset(&self, partitions: &[i32]) {
        let from_epoch = History::of(self.journal.records()).last() + 1;
        let jump =
            |number: &i32| ((*number).into(), Jump { from_epoch, to: Position::start(), is_set: true, again: 0 });
        let jumps = BTreeMap::from([("s".to_owned(), partitions.iter().map(jump).collect())]);
        let set = PlanRecord { jumps, ..self.plan() };
        self.journal.clone().append(&[Record::Plan(set)], &[]).unwrap();
    }

    /// Where a start goes on while the topic ends at `end`.
    fn start(&self, end: i64) -> [i64; 2] {
        self.end.store(end, SeqCst);
        let positions = self.started().positions;
        [0, 1].map(|number| positions["s"][&number.into()].as_offset().unwrap())
    }

    fn started(&self) -> StartReport {
        let (journal, clock) = (Box::new(self.journal.clone()), ManualClock::at(BEGINNING));
        let options = StartOptions { snapshots: SnapshotPlace::Nowhere, ..StartOptions::default() };
        start(&self.stage.given.plan, journal, options, clock, &Arc::default()).unwrap().report
    }
}

fn rows_of_both() -> Vec<Item> {
    let at = |partition| row(partition, BEGINNING, r#"{"x": 1}"#);
    vec![at(0), at(1), at(1), Item::Cut, at(0), Item::Cut]
}

/// It began at the end of another moment after each stop: what had come in between was skipped in silence.
#[test]
fn i14_a_start_that_was_asked_for_once_stays() {
    let ran = Ran::of(&rows_only(), rows_of_both());
    assert_eq!(ran.start(50), [2, 2]);
    ran.reset(&[0, 1]);
    assert_eq!(ran.start(50), [50, 50]);
    assert_eq!(ran.plan().jumps["s"][&0.into()].to, Position::offset(50));
    assert_eq!(ran.start(70), [50, 50], "nothing was read since");
}

#[test]
fn i14_a_partition_that_is_set_to_its_start_is_none_that_was_added() {
    let ran = Ran::of(&rows_only(), rows_of_both());
    ran.reset(&[0]);
    assert_eq!(ran.start(50), [50, 2]);
    assert_eq!(ran.start(70), [50, 2]);
}

#[test]
fn i14_what_was_not_set_before_a_first_run_begins_at_its_start() {
    let ran = Ran::of(&rows_only(), rows_of_both());
    let starts = BTreeMap::from([("s".to_owned(), BTreeMap::from([(0.into(), Position::offset(1))]))]);
    let set = PlanRecord { fingerprint: String::new(), starts, ..ran.plan() };
    ran.journal.clone().clear().unwrap();
    ran.journal.clone().append(&[Record::Plan(set)], &[]).unwrap();
    assert_eq!(ran.start(50), [1, 50]);
    assert_eq!(ran.start(70), [1, 50]);
}

/// Windows are open, so that epochs are replayed: where their records say the partition was counts no more.
#[test]
fn i17_a_replay_does_not_undo_a_reset() {
    let ran = Ran::of(SECONDS, vec![second(0.1), second(0.2), Item::Cut, second(0.3), Item::Cut, Item::Crash]);
    let replayed = |ran: &Ran| History::of(ran.journal.records()).epochs.values().map(|record| record.needed).min();
    assert_eq!(replayed(&ran), Some(1));
    ran.reset(&[0]);
    assert_eq!(ran.start(50), [50, 0]);
    assert_eq!(ran.start(70), [50, 0]);
}

/// In the second epoch the one that is gone had no rows: by its position it had others, and every start was refused.
#[test]
fn i17_epochs_without_rows_of_a_partition_that_is_gone_are_replayed() {
    let at = |partition, ms| row(partition, BEGINNING + ms, r#"{"x": 1}"#);
    let script = vec![at(0, 100), at(1, 100), Item::Cut, at(1, 200), Item::Cut, Item::Crash];
    let mut ran = Ran::of(SECONDS, script);
    // Windows are open behind the second epoch: the end of the source closed them.
    let is_kept = |record: &Record| !matches!(record, Record::Epoch(record) if record.epoch > 2);
    let kept: Vec<Record> = ran.journal.records().into_iter().filter(is_kept).collect();
    ran.journal.clear().unwrap();
    ran.journal.append(&kept, &[]).unwrap();
    let epochs = History::of(kept).epochs;
    assert_eq!(epochs.values().map(|record| record.partitions["s"][&0.into()].read).collect::<Vec<_>>()[..2], [1, 0]);
    let source = ran.stage.given.sources[0].clone();
    Arc::get_mut(&mut ran.stage.given.plan).expect("nothing runs").sources[0].source = Arc::new(Lost(source));
    let report = ran.started();
    let at = [0, 1].map(|number| report.positions["s"][&number.into()].as_offset());
    assert_eq!((at, report.replayed_epochs, report.replayed_rows), ([Some(50), Some(2)], 2, 2));
}

/// A crash left a sink behind the journal, and then the source was set back. What the sink lacked was not read again, and
/// the sink taken for one that had it.
#[test]
fn i17_a_sink_that_is_behind_gets_what_was_read_before_the_source_was_set() {
    let sink = Remembering::default();
    let of_plan = sink.clone();
    let numbered = |number: i64| row(0, BEGINNING, &format!("{{\"x\":{number}}}"));
    let mut script = vec![numbered(1), numbered(2), Item::Cut, numbered(3), Item::Cut, Item::Crash];
    script.extend([numbered(4), Item::Cut, Item::Crash, numbered(5), Item::Cut]);
    let stage = Stage::with(&rows_only(), 1, script, |plan| {
        plan.sinks.iter_mut().find(|sink| sink.name == "rows").unwrap().sink = Arc::new(of_plan);
    });
    let starts = Mutex::new(0);
    let open = |mut journal: MemoryJournal| -> Box<dyn Journal> {
        let mut starts = starts.lock().unwrap();
        *starts += 1;
        if *starts > 1 {
            let mut held = sink.held.lock().unwrap();
            held.rows.retain(|(epoch, _)| *epoch < 2);
            held.progress.as_mut().unwrap().epoch = 1;
        }
        if *starts == 2 {
            let history = History::of(journal.records());
            let jump = Jump { from_epoch: history.last() + 1, to: Position::offset(0), is_set: true, again: 0 };
            let jumps = BTreeMap::from([("s".to_owned(), BTreeMap::from([(0.into(), jump)]))]);
            journal.append(&[Record::Plan(PlanRecord { jumps, ..history.plan.unwrap() })], &[]).unwrap();
        }
        Box::new(journal)
    };
    run_on(&stage.given, Variant::default(), &sink.journal, &open).unwrap();
    assert_eq!(*starts.lock().unwrap(), 3);
    let held = sink.held.lock().unwrap();
    let text = |row: &Written| String::from_utf8(row.value.clone().unwrap()).unwrap();
    let rows: Vec<_> = held.rows.iter().map(|(epoch, row)| (*epoch, text(row))).collect();
    let expected = [(1, 1), (1, 2), (2, 3), (3, 1), (3, 2), (3, 3), (3, 4), (4, 5)];
    assert_eq!(rows, expected.map(|(epoch, x)| (epoch, format!("{{\"x\":{x}}}"))));
}
