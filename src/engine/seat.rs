//! A lane with its reader: one poll at a time, for whoever drives it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::away::Waits;
use super::branch::Output;
use super::coordinator::{LaneCut, LaneReport, PartitionView};
use super::lane::Lane;
use crate::connectors::{Bell, Fetched, Input, PartitionStart, PartitionStatus, Reader};
use crate::data::{Mark, Partition, Position};
use crate::report::Failure;
use crate::time::{Clock, Millis};

/// A partition keeps up if it stood at its end this long ago: rows that trickle in do not change that.
const KEEPS_UP_MS: Millis = 1_000;
/// Time between two looks at the reader that is longer than this was not seen: what has come meanwhile lies unread in
/// it, and says nothing of how quiet its partition was (I5).
const UNSEEN_MS: Millis = 1_000;
/// About how many rows a poll may bring.
pub const POLL_ROWS_MAX: usize = 10_000;
/// A poll that takes all there is, and so few rows, is no part of a backlog.
const TRICKLE_ROWS_MAX: usize = 500;

/// The clock of the epoch that is filling, shared by all lanes (I3): fixed when the first row
/// arrives, never going backwards.
#[derive(Debug)]
pub struct EpochClock {
    clock: Arc<dyn Clock>,
    state: Mutex<ClockState>,
}

#[derive(Debug)]
struct ClockState {
    fixed: Option<Millis>,
    last: Millis,
}

impl EpochClock {
    pub fn new(clock: Arc<dyn Clock>, last: Millis) -> Arc<Self> {
        Arc::new(EpochClock { clock, state: Mutex::new(ClockState { fixed: None, last }) })
    }

    /// Polls with the epoch's clock; if that is not fixed yet, rows fix it. Only the poll that
    /// may fix it is made under the lock.
    fn poll(
        &self,
        poll: impl FnOnce(Millis) -> Result<Vec<Fetched>, Failure>,
    ) -> Result<(Millis, Vec<Fetched>), Failure> {
        let mut state = self.lock();
        if let Some(fixed) = state.fixed {
            drop(state);
            return Ok((fixed, poll(fixed)?));
        }
        let now = self.clock.now().max(state.last);
        let fetched = poll(now)?;
        if !fetched.is_empty() {
            state.fixed = Some(now);
        }
        Ok((now, fetched))
    }

    /// The clock, if a row fixed it.
    pub fn fixed(&self) -> Option<Millis> {
        self.lock().fixed
    }

    /// The next epoch begins; `last` was the clock of the one before.
    pub fn next_epoch(&self, last: Millis) {
        *self.lock() = ClockState { fixed: None, last };
    }

    /// Replay: the clock is the journal's.
    pub fn replay(&self, clock: Millis) {
        *self.lock() = ClockState { fixed: Some(clock), last: clock };
    }

    pub fn monotonic(&self) -> Millis {
        self.clock.monotonic()
    }

    fn lock(&self) -> MutexGuard<'_, ClockState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lane and its reader.
pub struct Seat {
    pub source: usize,
    lane: Lane,
    reader: Box<dyn Reader>,
    clock: Arc<EpochClock>,
    partitions: BTreeMap<Partition, Standing>,
    /// Handed over by the reader and not taken in, because the world was away: the reader is behind
    /// them already, so nobody else has them.
    waiting: VecDeque<Fetched>,
    drained: bool,
    /// When the reader was last asked for what is there.
    looked: Millis,
}

/// What the seat remembers of a partition.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    max_time: Option<Millis>,
    quiet_since: Option<Millis>,
    /// When it was last seen at its end.
    stood_at_end: Option<Millis>,
    /// Rows came in the poll before.
    had_rows: bool,
}

impl Seat {
    pub fn new(
        source: usize,
        lane: Lane,
        reader: Box<dyn Reader>,
        starts: &[PartitionStart],
        clock: Arc<EpochClock>,
    ) -> Seat {
        let partitions = starts.iter().map(|start| (start.partition, Standing::default())).collect();
        let looked = clock.monotonic();
        Seat { source, lane, reader, clock, partitions, waiting: VecDeque::new(), drained: false, looked }
    }

    /// Polls once and takes in what is there. Gives the number of records.
    ///
    /// # Errors
    /// With `retry`, the next call goes on with the rows that this one could not take in.
    pub fn step(&mut self) -> Result<usize, Failure> {
        let before = self.lane.rows();
        let is_asked = self.waiting.is_empty();
        let polled = self.poll();
        let rows = (self.lane.rows() - before) as usize;
        self.drained = match polled {
            Ok(nothing) => nothing || (is_asked && rows <= TRICKLE_ROWS_MAX && !self.reader.has_more()),
            Err(_) => false,
        };
        if is_asked {
            self.look_for_quiet();
        }
        polled?;
        Ok(rows)
    }

    /// True if the last step took all that there was.
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// Rows of the open epoch.
    pub fn rows(&self) -> u64 {
        self.lane.rows()
    }

    /// One poll; true if it brought nothing. What waits since a poll before comes first, under the
    /// clock of the epoch that takes it in.
    fn poll(&mut self) -> Result<bool, Failure> {
        let (reader, clock, waiting) = (&mut self.reader, &self.clock, &mut self.waiting);
        let (at, fetched) = clock.poll(|clock| match waiting.is_empty() {
            true => reader.poll(POLL_ROWS_MAX, clock),
            false => Ok(waiting.drain(..).collect()),
        })?;
        self.waiting.extend(fetched);
        self.lane.count_missing(self.reader.take_missing());
        let nothing = self.waiting.is_empty();
        while let Some(fetched) = self.waiting.front() {
            let partition = fetched.partition();
            self.lane.take_in(fetched, at)?;
            self.waiting.pop_front();
            if let Some(standing) = self.partitions.get_mut(&partition) {
                standing.had_rows = true;
            }
        }
        Ok(nothing)
    }

    /// How a partition stands: not at an end while rows of it wait.
    fn status(&self, partition: Partition) -> PartitionStatus {
        let status = self.reader.status(partition);
        let waits = self.waits(partition);
        PartitionStatus { at_end: status.at_end && !waits, ended: status.ended && !waits, ..status }
    }

    fn waits(&self, partition: Partition) -> bool {
        self.waiting.iter().any(|fetched| fetched.partition() == partition)
    }

    /// I5: a partition is quiet from when it is seen at its end behind its last row. A lane that stood still, because it
    /// was full, waited for a registry or was suspended, begins to look anew.
    fn look_for_quiet(&mut self) {
        let now = self.clock.monotonic();
        let stood_still = now - self.looked > UNSEEN_MS;
        self.looked = now;
        let mut partitions = std::mem::take(&mut self.partitions);
        for (partition, standing) in &mut partitions {
            let had_rows = std::mem::take(&mut standing.had_rows);
            let at_end = self.status(*partition).at_end;
            if at_end {
                standing.stood_at_end = Some(now);
            }
            if had_rows || !at_end || stood_still {
                standing.quiet_since = None;
            }
            if !had_rows && at_end {
                standing.quiet_since.get_or_insert(now);
            }
        }
        self.partitions = partitions;
    }

    /// What it waits for, behind a step that brought nothing.
    pub fn awaits(&mut self) -> Input {
        self.reader.awaits()
    }

    /// It was not asked to look, because nothing came, until now: what stood at its end still did. Only where the
    /// process ran all the time (I5).
    pub fn rested(&mut self) {
        self.looked = self.clock.monotonic();
        let mut partitions = std::mem::take(&mut self.partitions);
        for (partition, standing) in &mut partitions {
            if self.status(*partition).at_end {
                standing.stood_at_end = Some(self.looked);
            }
        }
        self.partitions = partitions;
    }

    pub fn report(&self) -> LaneReport {
        LaneReport {
            rows: self.lane.rows(),
            bytes: self.lane.bytes(),
            ranges_bytes: self.lane.ranges_bytes(),
            drained: self.drained,
            full: false,
            partitions: self.views(),
        }
    }

    pub fn bytes(&self) -> usize {
        self.lane.bytes()
    }

    /// About what the open epoch's rejected ranges take in its journal record.
    pub fn ranges_bytes(&self) -> usize {
        self.lane.ranges_bytes()
    }

    /// Bytes of memory that the open epoch holds.
    pub fn held(&self) -> usize {
        self.lane.held()
    }

    /// Records between the positions and the ends, where the source knows.
    pub fn behind(&self) -> u64 {
        self.partitions.keys().filter_map(|partition| self.reader.status(*partition).behind).sum()
    }

    /// Ends the epoch's ranges.
    pub fn cut(&mut self) -> LaneCut {
        let clock = (self.lane.rows() > 0).then(|| self.clock.fixed()).flatten();
        let partitions = self.lane.cut();
        for (partition, cut) in &partitions {
            if let Some(standing) = self.partitions.get_mut(partition) {
                standing.max_time = cut.max_time;
            }
        }
        LaneCut { partitions, views: self.views(), clock }
    }

    /// Hands the epoch over.
    pub fn mark(&mut self, mark: &Mark) -> Result<Output, Failure> {
        self.lane.mark(mark)
    }

    /// Replay: reads every partition up to the given positions, exactly.
    ///
    /// # Errors
    /// I17: the source ends before a position, or gives other records.
    pub fn replay_to(&mut self, ends: &BTreeMap<Partition, Position>, bell: &Bell) -> Result<(), Failure> {
        for partition in self.partitions.keys() {
            let end = ends.get(partition).cloned().unwrap_or_else(|| self.reader.position(*partition));
            self.reader.limit(*partition, Some(end));
        }
        loop {
            let nothing = self.poll()?;
            if self.partitions.keys().all(|partition| self.status(*partition).at_end) {
                return Ok(());
            }
            if nothing {
                self.reader.awaits().wait(bell, Duration::from_millis(200));
            }
        }
    }

    /// Where it stands in a partition, if it reads that.
    pub fn position(&self, partition: Partition) -> Option<Position> {
        self.partitions.contains_key(&partition).then(|| self.reader.position(partition))
    }

    /// Replay is over: reads on without limits.
    pub fn go_live(&mut self) {
        for partition in self.partitions.keys() {
            self.reader.limit(*partition, None);
        }
    }

    /// See [`Lane::wait`].
    pub fn wait(&mut self, waits: Waits) {
        self.lane.wait(waits);
    }

    /// What recovery knows of the time before.
    pub fn resume(
        &mut self,
        watermark: crate::time::Watermark,
        times: &BTreeMap<Partition, (Option<Millis>, Option<Millis>)>,
    ) {
        self.lane.resume(watermark, times);
        for (partition, (max_time, _)) in times {
            if let Some(standing) = self.partitions.get_mut(partition) {
                standing.max_time = *max_time;
            }
        }
    }

    /// Reads these partitions too from now on: their ranges begin with the open epoch. What it was told of them
    /// before counts for nothing, so that they hold the watermark until they have rows or are idle (I5).
    ///
    /// # Errors
    /// With `retry` none of them was added.
    pub fn add(&mut self, starts: &[PartitionStart]) -> Result<(), Failure> {
        self.reader.add(starts)?;
        self.lane.add(starts);
        self.partitions.extend(starts.iter().map(|start| (start.partition, Standing::default())));
        Ok(())
    }

    /// How many partitions it reads.
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// I6: reads all partitions but these from now on. What waits to be taken in is taken in.
    pub fn pause(&mut self, partitions: &BTreeSet<Partition>) {
        self.reader.pause(partitions);
        for partition in partitions {
            if let Some(standing) = self.partitions.get_mut(partition) {
                (standing.quiet_since, standing.stood_at_end) = (None, None);
            }
        }
    }

    fn views(&self) -> BTreeMap<Partition, PartitionView> {
        let now = self.clock.monotonic();
        let stands_still = now - self.looked > UNSEEN_MS;
        let view = |(partition, standing): (&Partition, &Standing)| {
            let view = PartitionView {
                max_time: standing.max_time,
                reached: self.lane.reached(*partition),
                keeps_up: standing.stood_at_end.is_some_and(|then| now - then <= KEEPS_UP_MS),
                quiet_since: standing.quiet_since.filter(|_| !stands_still && !self.waits(*partition)),
                ended: self.status(*partition).ended,
            };
            (*partition, view)
        };
        self.partitions.iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use arrow::array::{BinaryArray, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

    use super::*;
    use crate::connectors::memory::{MemoryRecord, MemorySource};
    use crate::connectors::{Payload, Source, Wanted};
    use crate::data::meta;
    use crate::engine::graph::Graph;
    use crate::engine::metrics::Metrics;
    use crate::formats::{Decoded, Decoder};
    use crate::plan::{EpochSettings, ErrorPolicy, JournalPlace, OpenDecoder, Plan, SourcePlan, TimeField, TimePlan};
    use crate::time::ManualClock;

    /// Every value is a row without columns, while its registry is there.
    #[derive(Debug, Clone, Default)]
    struct Registry {
        away: Arc<AtomicBool>,
    }

    impl OpenDecoder for Registry {
        fn open(&self) -> Result<Box<dyn Decoder>, Failure> {
            Ok(Box::new(self.clone()))
        }
    }

    impl Decoder for Registry {
        fn schema(&self) -> SchemaRef {
            Arc::new(Schema::empty())
        }

        fn decode(&mut self, values: &BinaryArray) -> Result<Decoded, Failure> {
            use arrow::array::{Array, RecordBatchOptions};
            if self.away.load(SeqCst) {
                return Err(Failure::outside("registry.unreachable", "the registry is away"));
            }
            let options = RecordBatchOptions::new().with_row_count(Some(values.len()));
            let rows = RecordBatch::try_new_with_options(self.schema(), Vec::new(), &options).unwrap();
            Ok(Decoded { rows, rejects: Vec::new() })
        }
    }

    const NOW: Millis = 1_000_000;

    /// A seat over partition 0 of a source whose rows have `_time` and nothing else.
    fn seat(source: &MemorySource, registry: &Registry) -> Seat {
        seat_at(ManualClock::at(NOW), source, registry)
    }

    fn seat_at(clock: Arc<ManualClock>, source: &MemorySource, registry: &Registry) -> Seat {
        let time_type = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let time = TimePlan {
            field: TimeField::Timestamp,
            lag_ms: 0,
            idle_ms: Some(1),
            align_ms: None,
            max_ahead_ms: 0,
            not_after_timestamp: false,
        };
        let source_plan = SourcePlan {
            name: "s".into(),
            source: Arc::new(source.clone()),
            values: Some(Arc::new(registry.clone())),
            keys: None,
            schema: Arc::new(Schema::new(vec![Field::new(meta::TIME, time_type, true)])),
            wanted: Wanted::default(),
            time,
        };
        let plan = Arc::new(Plan {
            namespace: "default".into(),
            name: "p".into(),
            sources: vec![source_plan],
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
        });
        let graph = Graph::of(&plan);
        let starts = source.discover(&BTreeMap::new()).unwrap();
        let lane = Lane::open(&plan, &graph, 0, &starts, Arc::new(Metrics::default())).unwrap();
        let reader = source.open(0, &starts, Wanted::default()).unwrap();
        Seat::new(0, lane, reader, &starts, EpochClock::new(clock, 0))
    }

    fn push(source: &MemorySource, timestamp: Millis) {
        source.push(0, MemoryRecord { timestamp: Some(timestamp), value: Some(Vec::new()), ..Default::default() });
    }

    #[test]
    fn i3_a_clock_that_is_set_back_stands_still_for_the_epochs_until_it_has_caught_up() {
        let machine = ManualClock::at(NOW);
        let clock = EpochClock::new(machine.clone(), 0);
        let fetched = || {
            let rows = RecordBatch::new_empty(Arc::new(Schema::empty()));
            let payload = Payload::Rows { partition: 0, rows, offsets: Vec::new(), generation: 0 };
            Ok(vec![Fetched { payload, next: Position::offset(1) }])
        };
        let polled = |by: Millis| {
            machine.advance(by);
            let (now, _) = clock.poll(|_| fetched()).unwrap();
            assert_eq!(clock.fixed(), Some(now));
            clock.next_epoch(now);
            now
        };
        let clocks = [0, 5, -86_400_000, 1_000, 86_400_000].map(polled);
        assert_eq!(clocks, [NOW, NOW + 5, NOW + 5, NOW + 5, NOW + 1_005]);
        // So it does behind a start whose journal is a day ahead of the machine.
        let machine = ManualClock::at(NOW - 86_400_000);
        let clock = EpochClock::new(machine.clone(), NOW);
        let polled = |by: Millis| {
            machine.advance(by);
            let (now, _) = clock.poll(|_| fetched()).unwrap();
            clock.next_epoch(now);
            now
        };
        assert_eq!([0, 1_000, 86_400_000].map(polled), [NOW, NOW, NOW + 1_000]);
    }

    #[test]
    fn i8_rows_that_could_not_be_decoded_yet_are_taken_in_later() {
        let (source, registry) = (MemorySource::new("t", 1), Registry::default());
        let mut seat = seat(&source, &registry);
        push(&source, 1);
        assert_eq!(seat.step().unwrap(), 1);
        assert_eq!(seat.step().unwrap(), 0);
        assert!(seat.report().partitions[&0].quiet_since.is_some());

        push(&source, 2);
        source.end();
        registry.away.store(true, SeqCst);
        assert!(seat.step().unwrap_err().retry);
        // What is blocked is neither idle (I5) nor ended (I21), and an epoch cut now ends before it.
        let view = seat.report().partitions[&0];
        assert_eq!((view.quiet_since, view.ended), (None, false));
        let cut = seat.cut();
        assert_eq!((cut.partitions[&0].read, &cut.partitions[&0].to), (1, &Position::offset(1)));
        seat.mark(&Mark { epoch: 1, watermark: crate::time::Watermark::NONE, clock: NOW, ended: false }).unwrap();

        registry.away.store(false, SeqCst);
        assert_eq!(seat.step().unwrap(), 1);
        let cut = seat.cut();
        assert_eq!((cut.partitions[&0].read, &cut.partitions[&0].to), (1, &Position::offset(2)));
        assert!(cut.views[&0].ended);
    }

    /// It was full while a slow commit lasted, or the process was suspended: what came meanwhile is not late.
    #[test]
    fn i5_a_lane_that_stood_still_has_seen_nobody_quiet() {
        let (clock, source) = (ManualClock::at(NOW), MemorySource::new("t", 2));
        let mut seat = seat_at(clock.clone(), &source, &Registry::default());
        let quiet_since = |seat: &mut Seat| seat.cut().views[&1].quiet_since;
        let mark = || Mark { epoch: 1, watermark: crate::time::Watermark::NONE, clock: NOW, ended: false };
        push(&source, 1);
        seat.step().unwrap();
        assert_eq!(quiet_since(&mut seat), Some(NOW));
        seat.mark(&mark()).unwrap();
        for _ in 0..4 {
            clock.advance(500);
            seat.step().unwrap();
        }
        assert_eq!(quiet_since(&mut seat), Some(NOW));
        seat.mark(&mark()).unwrap();

        clock.advance(6_000);
        assert_eq!(quiet_since(&mut seat), None);
        seat.mark(&mark()).unwrap();
        seat.step().unwrap();
        assert_eq!(quiet_since(&mut seat), Some(NOW + 8_000));
    }

    /// The rows of partition 0 wait for the registry: nobody asks for those of partition 1.
    #[test]
    fn i5_while_the_registry_is_away_nobody_is_seen_quiet() {
        let (clock, source, registry) = (ManualClock::at(NOW), MemorySource::new("t", 2), Registry::default());
        let mut seat = seat_at(clock.clone(), &source, &registry);
        seat.step().unwrap();
        assert_eq!(seat.report().partitions[&1].quiet_since, Some(NOW));
        push(&source, 1);
        registry.away.store(true, SeqCst);
        for _ in 0..12 {
            clock.advance(500);
            assert!(seat.step().unwrap_err().retry);
        }
        assert_eq!(seat.report().partitions[&1].quiet_since, None);
        registry.away.store(false, SeqCst);
        assert_eq!(seat.step().unwrap(), 1);
        assert_eq!(seat.report().partitions[&1].quiet_since, None);
        seat.step().unwrap();
        assert_eq!(seat.report().partitions[&1].quiet_since, Some(NOW + 6_000));
    }

    #[test]
    fn i17_rejected_offsets_do_not_depend_on_batches_or_on_columns_in_use() {
        let rejected = |rows: usize| {
            let source = MemorySource::new("t", 1);
            source.poll_at_most(rows);
            // Two of four are ahead of the clock.
            [1, NOW + 1, NOW + 1, 2].into_iter().for_each(|timestamp| push(&source, timestamp));
            let mut seat = seat(&source, &Registry::default());
            while seat.step().unwrap() > 0 {}
            seat.cut().partitions[&0].rejected.clone()
        };
        assert_eq!(rejected(4), [(1, 3)]);
        assert_eq!(rejected(1), [(1, 3)]);
    }
}
