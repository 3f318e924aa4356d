//! Drives the engine on one thread, with a clock that only the script moves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::connectors::memory::{MemoryJournal, MemoryRecord, MemorySource};
use crate::data::{Epoch, Partition};
use crate::engine::commit::Commit;
use crate::engine::coordinator::{Action, Event};
use crate::engine::job::record;
use crate::engine::metrics::Metrics;
use crate::engine::pieces::Chain;
use crate::engine::start::{SnapshotPlace, StartOptions, Started, start};
use crate::engine::trunk::Reading;
use crate::journal::{Journal, Record};
use crate::plan::Plan;
use crate::report::Failure;
use crate::state::Store;
use crate::time::{Clock, ManualClock, Millis};

/// Virtual time at the beginning of every test: 2026-01-01T00:00:00Z.
pub const BEGINNING: Millis = 1_767_225_600_000;
/// Steps in which `wait` moves the clock: small enough to count as time that was seen pass (I5).
const STEP_MS: Millis = 100;
/// One event leads to a few others in a sound engine: nothing is read meanwhile.
const EVENTS_MAX: usize = 1_000;
/// What a script may do until its pipeline must have ended.
const STEPS_MAX: usize = 10_000;
/// Of a failure that plays a crash: the process is started again.
pub const DIED: &str = "memory.died";

/// One line of a script.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Row {
        source: usize,
        partition: Partition,
        record: MemoryRecord,
    },
    /// Everything given so far is one epoch.
    Cut,
    /// What so many polls of each lane bring is one epoch; the rest is a backlog.
    Backlog(usize),
    Wait(Millis),
    Crash,
    /// Crash, and go on with the next of the plans.
    Change,
}

/// A plan whose sources are memory and whose sinks are tapped, and its script.
#[derive(Debug)]
pub struct Given {
    pub plan: Arc<Plan>,
    /// By source of the plan.
    pub sources: Vec<MemorySource>,
    pub script: Vec<Item>,
    /// What the plan becomes at each [`Item::Change`], and the steps whose state may be given up then.
    pub changes: Vec<(Arc<Plan>, BTreeSet<String>)>,
    /// The message of a failure in which an earlier run ended, as whoever makes the first start was told it.
    pub told: Option<String>,
}

/// One way to run a script.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Variant {
    /// Lanes per source; 0 stands for 1.
    pub lanes: usize,
    /// Rows of a partition in one poll; 0: all.
    pub poll_rows: usize,
    /// What one commit carries at most; 0: as usual.
    pub piece_bytes: usize,
    /// A snapshot of the state is taken whenever an epoch is committed and one that is so old is the last; `None`: never.
    pub snapshots_ms: Option<Millis>,
    pub crash: Option<CrashAt>,
}

/// Where the process dies, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashAt {
    /// Before the epoch is in the journal.
    Before(Epoch),
    /// Right behind its commit.
    After(Epoch),
}

impl std::fmt::Display for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut words = Vec::new();
        if self.lanes > 1 {
            words.push(format!("{} lanes", self.lanes));
        }
        if self.poll_rows > 0 {
            words.push(format!("{} row a batch", self.poll_rows));
        }
        if self.piece_bytes > 0 {
            words.push(format!("{} bytes a commit", self.piece_bytes));
        }
        match self.snapshots_ms {
            Some(0) => words.push("a snapshot of each epoch".to_owned()),
            Some(ms) => words.push(format!("a snapshot each {ms} ms")),
            None => {}
        }
        match self.crash {
            Some(CrashAt::Before(epoch)) => words.push(format!("crash before epoch {epoch} commits")),
            Some(CrashAt::After(epoch)) => words.push(format!("crash after epoch {epoch} commits")),
            None => {}
        }
        f.write_str(if words.is_empty() { "as written".to_owned() } else { words.join(", ") }.as_str())
    }
}

/// What a run gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// By sink of the plan, in order.
    pub rows: BTreeMap<usize, Vec<serde_json::Value>>,
    pub epochs: Epoch,
}

/// Runs a script to its end, which is also the end of every source.
///
/// # Errors
/// What the pipeline fails with.
pub fn run(given: &Given, variant: Variant) -> Result<Observed, Failure> {
    let journal = MemoryJournal::default();
    run_on(given, variant, &journal, &|journal| Box::new(journal))?;
    Ok(observed(given, &journal))
}

/// Runs a script on this journal; at each start `open` may put something between it and the engine.
pub fn run_on(
    given: &Given,
    variant: Variant,
    journal: &MemoryJournal,
    open: &dyn Fn(MemoryJournal) -> Box<dyn Journal>,
) -> Result<(), Failure> {
    let store = Arc::new(Store::in_memory()?);
    run_with(given, variant, journal, store, open).map(drop)
}

/// The same with snapshots here, which may be there already.
pub fn run_with(
    given: &Given,
    variant: Variant,
    journal: &MemoryJournal,
    store: Arc<Store>,
    open: &dyn Fn(MemoryJournal) -> Box<dyn Journal>,
) -> Result<Course, Failure> {
    for source in &given.sources {
        source.reset();
        source.poll_at_most(variant.poll_rows);
    }
    let clock = ManualClock::at(BEGINNING);
    if let Some(CrashAt::Before(epoch)) = variant.crash {
        journal.die_before(epoch);
    }
    let snapshots = match variant.snapshots_ms {
        Some(every_ms) => SnapshotPlace::Store { store, every_ms },
        None => SnapshotPlace::Nowhere,
    };
    let mut drive = Drive {
        given,
        told: given.told.clone(),
        plan: given.plan.clone(),
        changes: 0,
        variant,
        snapshots,
        clock,
        journal,
        open,
        stage: None,
        course: Course::default(),
        died_after: false,
        finished: false,
    };
    for item in &given.script {
        drive.item(item)?;
    }
    given.sources.iter().for_each(MemorySource::end);
    drive.surviving(Drive::reach_end)?;
    Ok(drive.course)
}

/// What happened on the way through a script.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Course {
    pub starts: usize,
    /// Starts from a snapshot.
    pub restored: usize,
    /// How often partitions were told to wait for slower ones (I6).
    pub pauses: usize,
}

struct Drive<'a> {
    given: &'a Given,
    /// Until it is started: whoever dies has forgotten.
    told: Option<String>,
    /// That of now.
    plan: Arc<Plan>,
    /// How many there were before it.
    changes: usize,
    variant: Variant,
    snapshots: SnapshotPlace,
    clock: Arc<ManualClock>,
    journal: &'a MemoryJournal,
    open: &'a dyn Fn(MemoryJournal) -> Box<dyn Journal>,
    stage: Option<Started>,
    course: Course,
    died_after: bool,
    finished: bool,
}

impl Drive<'_> {
    fn item(&mut self, item: &Item) -> Result<(), Failure> {
        match item {
            Item::Row { source, partition, record } => {
                self.given.sources[*source].push(*partition, record.clone());
                Ok(())
            }
            Item::Cut => self.surviving(Drive::cut),
            Item::Backlog(polls) => self.surviving(|drive| drive.cut_within(*polls)),
            Item::Wait(ms) => self.surviving(|drive| drive.wait(*ms)),
            Item::Crash => {
                self.stage = None;
                Ok(())
            }
            Item::Change => {
                self.stage = None;
                self.plan = self.given.changes[self.changes].0.clone();
                self.changes += 1;
                Ok(())
            }
        }
    }

    /// Does something; if the process "dies" meanwhile, starts it again and goes on.
    fn surviving(&mut self, mut act: impl FnMut(&mut Self) -> Result<(), Failure>) -> Result<(), Failure> {
        loop {
            match act(self) {
                Err(failure) if failure.code == DIED => self.stage = None,
                done => return done,
            }
        }
    }

    fn stage(&mut self) -> Result<&mut Started, Failure> {
        if self.stage.is_none() {
            let accepted = self.changes.checked_sub(1).map(|change| self.given.changes[change].1.clone());
            let options = StartOptions {
                accept_reset: accepted.unwrap_or_default(),
                told: self.told.take(),
                lanes: Some(self.variant.lanes.max(1)),
                piece_bytes: (self.variant.piece_bytes > 0).then_some(self.variant.piece_bytes),
                snapshots: self.snapshots.clone(),
                ..StartOptions::default()
            };
            let journal = (self.open)(self.journal.clone());
            let metrics = Arc::new(Metrics::default());
            let started = start(&self.plan, journal, options, self.clock.clone(), &metrics)?;
            self.course.starts += 1;
            self.course.restored += usize::from(started.report.snapshot.is_some());
            self.stage = Some(started);
        }
        Ok(self.stage.as_mut().expect("it was just made"))
    }

    /// Commits everything given so far as one epoch.
    fn cut(&mut self) -> Result<(), Failure> {
        self.take_in(usize::MAX)?;
        self.clock.advance(self.plan.epoch.min_ms);
        self.report()
    }

    /// Commits as one epoch what so many polls bring.
    fn cut_within(&mut self, polls: usize) -> Result<(), Failure> {
        self.take_in(polls)?;
        // Lanes that are not drained are cut after this time.
        self.clock.advance(self.plan.epoch.interval_ms);
        self.report()
    }

    fn wait(&mut self, ms: Millis) -> Result<(), Failure> {
        self.cut()?;
        let mut left = ms;
        while left > 0 && !self.finished {
            let step = left.min(STEP_MS);
            self.clock.advance(step);
            left -= step;
            self.take_in(usize::MAX)?;
            self.report()?;
        }
        Ok(())
    }

    fn reach_end(&mut self) -> Result<(), Failure> {
        for _ in 0..STEPS_MAX {
            self.cut()?;
            if self.finished {
                return Ok(());
            }
        }
        Err(Failure::bug("testing.no_end", "the pipeline does not end although every source has"))
    }

    /// Reads until a poll of each lane brings nothing, or has polled so often; partitions that came since too.
    fn take_in(&mut self, polls_max: usize) -> Result<(), Failure> {
        let plan = self.plan.clone();
        self.stage()?;
        for (index, source) in plan.sources.iter().enumerate() {
            for start in source.source.look()? {
                let seats = self.stage()?.seats.iter_mut().filter(|seat| seat.source == index);
                let seat = seats.min_by_key(|seat| seat.partition_count());
                seat.expect("every source has a seat").add(&[start])?;
            }
        }
        for seat in &mut self.stage()?.seats {
            for _ in 0..polls_max {
                if seat.step()? == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    fn report(&mut self) -> Result<(), Failure> {
        for lane in 0..self.stage()?.seats.len() {
            let report = self.stage()?.seats[lane].report();
            self.feed(Event::Report { lane, report })?;
        }
        self.feed(Event::Tick)
    }

    /// Tells the coordinator, and of all that comes of it: an epoch that ends may let the next one be cut at once.
    fn feed(&mut self, event: Event) -> Result<(), Failure> {
        let mut events = VecDeque::from([event]);
        let mut count = 0;
        while let Some(event) = events.pop_front() {
            count += 1;
            if count > EVENTS_MAX {
                return Err(Failure::bug(
                    "testing.no_rest",
                    format!("epochs are cut for nothing, again and again: {event:?}"),
                ));
            }
            if self.finished {
                return Ok(());
            }
            self.tell(event, &mut events)?;
        }
        Ok(())
    }

    /// Does what the coordinator wants, and adds what it is to be told of it.
    fn tell(&mut self, event: Event, then: &mut VecDeque<Event>) -> Result<(), Failure> {
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        for action in self.stage()?.coordinator.on(event, now, wall) {
            match action {
                Action::Cut => {
                    for lane in 0..self.stage()?.seats.len() {
                        let cut = self.stage()?.seats[lane].cut();
                        then.push_back(Event::Cut { lane, cut });
                    }
                }
                Action::Pause { lane, partitions } => {
                    self.course.pauses += usize::from(!partitions.is_empty());
                    self.stage()?.seats[lane].pause(&partitions);
                }
                Action::Full => {
                    let name = self.plan.name.clone();
                    return Err(self.stage()?.memory.full(&name));
                }
                Action::Mark { mark, ranges } => then.push_back(self.commit(mark, ranges)?),
                Action::Finished => {
                    // Who dies now has finished nothing.
                    self.stage()?.committer.finish(None)?;
                    self.finished = true;
                }
            }
        }
        Ok(())
    }

    fn commit(
        &mut self,
        mark: crate::data::Mark,
        ranges: BTreeMap<usize, BTreeMap<Partition, crate::engine::lane::PartitionCut>>,
    ) -> Result<Event, Failure> {
        let plan = self.plan.clone();
        let stage = self.stage()?;
        stage.clock.next_epoch(mark.clock);
        let outputs = stage.seats.iter_mut().map(|seat| seat.mark(&mark)).collect::<Result<Vec<_>, _>>()?;
        let rows_read = ranges.values().flat_map(BTreeMap::values).map(|cut| cut.read).sum();
        stage.trunk.merge(&mark, outputs, rows_read, Reading::Live)?;
        let lineage = stage.report.lineage.clone();
        let mut chain = Chain::begin(record(&plan, &lineage, stage.incarnation, &mark, ranges));
        loop {
            let stage = self.stage()?;
            let piece = stage.trunk.next_piece()?;
            let record = chain.record(&plan, &piece);
            let (epoch, more) = (record.epoch, record.cursor.is_some());
            let state_bytes = stage.trunk.state_bytes();
            stage.committer.commit(Commit { record, rows: piece.rows })?;
            if self.variant.crash == Some(CrashAt::After(epoch)) && !std::mem::replace(&mut self.died_after, true) {
                return Err(Failure::outside(DIED, "the process dies here").no_retry());
            }
            if let Some(failure) = piece.failing {
                return Err(failure);
            }
            if !more {
                self.take_snapshot(epoch, rows_read)?;
                return Ok(Event::Committed { epoch, open_ends: piece.open_ends, due: piece.due, state_bytes });
            }
        }
    }
}

impl Drive<'_> {
    /// As the trunk's thread does it.
    fn take_snapshot(&mut self, epoch: Epoch, rows: u64) -> Result<(), Failure> {
        let now = self.clock.monotonic();
        let Started { pace: Some(pace), trunk, committer, .. } = self.stage()? else { return Ok(()) };
        pace.note(epoch, rows, now);
        if pace.is_due(trunk.needed(), now) {
            let state = trunk.freeze(epoch)?;
            pace.took(now, now);
            committer.offer(state);
        }
        Ok(())
    }
}

fn observed(given: &Given, journal: &MemoryJournal) -> Observed {
    let rows = |sink: usize| -> Vec<serde_json::Value> {
        let values = journal.output(sink);
        let parse = |rows: &crate::data::EncodedRows| {
            let of = |record: &crate::data::EncodedRecord| {
                let value = record.value.as_ref().map_or(&[][..], |value| rows.bytes(value));
                serde_json::from_slice(value).unwrap_or(serde_json::Value::Null)
            };
            rows.records.iter().map(of).collect::<Vec<_>>()
        };
        values.iter().flat_map(parse).collect()
    };
    let epochs = journal.history().iter().filter(|record| matches!(record, Record::Epoch(_))).count();
    Observed { rows: (0..given.plan.sinks.len()).map(|sink| (sink, rows(sink))).collect(), epochs: epochs as Epoch }
}
