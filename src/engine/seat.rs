//! A lane with its reader: one poll at a time, for whoever drives it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::coordinator::{LaneCut, LaneReport, PartitionView};
use super::lane::{Lane, LaneOutput};
use crate::connectors::{Bell, Fetched, PartitionStart, PartitionStatus, Reader};
use crate::data::{Mark, Partition, Position};
use crate::report::Failure;
use crate::time::{Clock, Millis};

/// About how many rows a poll may bring.
pub const POLL_ROWS_MAX: usize = 10_000;

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
    drained: bool,
}

/// What the seat remembers of a partition.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    max_time: Option<Millis>,
    quiet_since: Option<Millis>,
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
        Seat { source, lane, reader, clock, partitions, drained: false }
    }

    /// Polls once and takes in what is there. Gives the number of records.
    pub fn step(&mut self) -> Result<usize, Failure> {
        let (reader, clock) = (&mut self.reader, &self.clock);
        let (at, fetched) = clock.poll(|clock| reader.poll(POLL_ROWS_MAX, clock))?;
        let before = self.lane.rows();
        self.drained = fetched.is_empty();
        for fetched in fetched {
            let partition = match &fetched.payload {
                crate::connectors::Payload::Raw(raw) => raw.partition,
                crate::connectors::Payload::Rows { partition, .. } => *partition,
            };
            self.lane.take_in(fetched, at)?;
            if let Some(standing) = self.partitions.get_mut(&partition) {
                standing.had_rows = true;
            }
        }
        self.look_for_quiet();
        Ok((self.lane.rows() - before) as usize)
    }

    /// I5: a partition is quiet from when it is seen at its end behind its last row.
    fn look_for_quiet(&mut self) {
        let now = self.clock.monotonic();
        for (partition, standing) in &mut self.partitions {
            if std::mem::take(&mut standing.had_rows) || !self.reader.status(*partition).at_end {
                standing.quiet_since = None;
            } else {
                standing.quiet_since.get_or_insert(now);
            }
        }
    }

    /// Waits for input, the bell or the time-out.
    pub fn wait(&mut self, bell: &Bell, timeout: Duration) {
        self.reader.wait(bell, timeout);
    }

    pub fn report(&self) -> LaneReport {
        LaneReport {
            rows: self.lane.rows(),
            bytes: self.lane.bytes(),
            drained: self.drained,
            full: false,
            partitions: self.views(),
        }
    }

    pub fn bytes(&self) -> usize {
        self.lane.bytes()
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
    pub fn mark(&mut self, mark: &Mark) -> Result<LaneOutput, Failure> {
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
            let (reader, clock) = (&mut self.reader, &self.clock);
            let (at, fetched) = clock.poll(|clock| reader.poll(POLL_ROWS_MAX, clock))?;
            let nothing = fetched.is_empty();
            for fetched in fetched {
                self.lane.take_in(fetched, at)?;
            }
            if self.partitions.keys().all(|partition| self.reader.status(*partition).at_end) {
                return Ok(());
            }
            if nothing {
                self.reader.wait(bell, Duration::from_millis(200));
            }
        }
    }

    /// Replay is over: reads on without limits.
    pub fn go_live(&mut self) {
        for partition in self.partitions.keys() {
            self.reader.limit(*partition, None);
        }
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

    fn views(&self) -> BTreeMap<Partition, PartitionView> {
        let view = |(partition, standing): (&Partition, &Standing)| {
            let PartitionStatus { ended, .. } = self.reader.status(*partition);
            let view = PartitionView { max_time: standing.max_time, quiet_since: standing.quiet_since, ended };
            (*partition, view)
        };
        self.partitions.iter().map(view).collect()
    }
}
