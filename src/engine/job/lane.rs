//! A lane at work: reads and hands over.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::{Stop, ToCoordinator, ToLane, Wishes};
use crate::connectors::{Bell, Input, PartitionStart};
use crate::data::Epoch;
use crate::engine::branch::Output;
use crate::engine::coordinator::{Event, LaneReport};
use crate::engine::memory::Gauge;
use crate::engine::metrics::Metrics;
use crate::engine::pool::Pool;
use crate::engine::seat::Seat;
use crate::report::Failure;

/// A lane that may take nothing in looks around so often.
const IDLE_WAIT: Duration = Duration::from_millis(100);
/// A lane keeps its thread for so long when nothing comes.
const REST_AFTER: Duration = Duration::from_millis(20);
/// Rows that trickle in are left to gather for so long while the epoch before is being committed: a poll for every
/// few of them would cost more than they do. A cut takes in what has gathered.
const GATHER: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A partition that not every broker knows yet is tried again after this.
const ADD_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct LaneWorker {
    pub(super) index: usize,
    pub(super) seat: Seat,
    pub(super) control: mpsc::Receiver<ToLane>,
    pub(super) wishes: Arc<Mutex<Wishes>>,
    /// Partitions that it is to read and does not yet.
    pub(super) added: Vec<PartitionStart>,
    /// Not before: a broker did not know them yet.
    pub(super) add_after: Instant,
    pub(super) bell: Bell,
    /// What the coordinator was told last of the open epoch.
    pub(super) reported: Option<LaneReport>,
    pub(super) events: mpsc::Sender<ToCoordinator>,
    pub(super) outputs: mpsc::Sender<(usize, Epoch, Output)>,
    pub(super) stop: Arc<Stop>,
    /// The lane's share of `epoch.max_bytes`; then it waits for the cut.
    pub(super) max_bytes: usize,
    /// Its share of the epoch's journal record.
    pub(super) ranges_bytes_max: usize,
    /// What its open epoch holds.
    pub(super) held: Gauge,
    pub(super) metrics: Arc<Metrics>,
    /// Records behind the ends of its partitions, as the metrics know it.
    pub(super) behind: u64,
}

impl LaneWorker {
    /// Works in a thread while something comes, and rests without one.
    pub(super) async fn attend(mut self, pool: Pool) -> Result<(), Failure> {
        let name = format!("lane {}", self.index);
        while let Some((lane, input)) = pool.run(&name, move || self.work()).await?? {
            self = lane;
            let since = Instant::now();
            input.rest(&self.bell).await;
            if pool.ran_since(since) {
                self.seat.rested();
            }
        }
        Ok(())
    }

    /// Reads until nothing has come for a while; gives what it waits for then. `None`: the job is over.
    fn work(mut self) -> Result<Option<(Self, Input)>, Failure> {
        let mut pause = Duration::from_millis(50);
        let mut gathering = false;
        loop {
            match self.control.try_recv() {
                Ok(ToLane::Cut) => {
                    if std::mem::take(&mut gathering) && !self.stop.halted.load(Relaxed) && !self.is_full() {
                        self.take_gathered()?;
                    }
                    if !self.hand_over()? {
                        return Ok(None);
                    }
                    self.reported = None;
                }
                Ok(ToLane::Mark(_)) => {
                    return Err(Failure::bug("lane.mark_without_cut", "a mark came without a cut"));
                }
                Err(TryRecvError::Disconnected) => return Ok(None),
                Err(TryRecvError::Empty) => {}
            }
            let Wishes { pause: paused, add } =
                std::mem::take(&mut *self.wishes.lock().unwrap_or_else(|poison| poison.into_inner()));
            if let Some(partitions) = paused {
                self.seat.pause(&partitions);
            }
            self.added.extend(add);
            let halted = self.stop.halted.load(Relaxed);
            let mut full = self.is_full();
            let (mut rows, mut away) = (0, false);
            if !halted && !full {
                match self.step() {
                    Ok(taken) => {
                        rows = taken;
                        self.held.set(self.seat.held());
                    }
                    Err(failure) if failure.retry => {
                        tracing::warn!("{failure}; trying again");
                        away = true;
                    }
                    Err(failure) => return Err(failure),
                }
                full = self.is_full();
            }
            let behind = self.seat.behind();
            self.metrics.parts.move_behind(self.seat.source, self.behind, behind);
            self.behind = behind;
            let report = LaneReport { full, ..self.seat.report() };
            if self.reported.as_ref() != Some(&report) {
                self.reported = Some(report.clone());
                if !self.tell(Event::Report { lane: self.index, report }) {
                    return Ok(None);
                }
            }
            if away {
                // Not the reader's wait: that one ends when there are rows, and there may be many.
                self.bell.wait(&[], pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
            pause = Duration::from_millis(50);
            gathering = false;
            if halted || full {
                self.bell.wait(&[], IDLE_WAIT);
            } else if rows == 0 {
                let input = self.seat.awaits();
                if !input.wait(&self.bell, REST_AFTER) && self.added.is_empty() {
                    return Ok(Some((self, input)));
                }
            } else if self.seat.is_drained() {
                gathering = true;
                self.bell.wait(&[], GATHER);
            }
        }
    }

    fn step(&mut self) -> Result<usize, Failure> {
        if !self.added.is_empty() && Instant::now() >= self.add_after {
            match self.seat.add(&self.added) {
                Ok(()) => self.added.clear(),
                // The partitions that it has are read meanwhile.
                Err(failure) if failure.retry => {
                    tracing::warn!("{failure}; trying again");
                    self.add_after = Instant::now() + ADD_AGAIN;
                }
                Err(failure) => return Err(failure),
            }
        }
        self.seat.step()
    }

    /// What came since the last poll belongs to the epoch that is about to end.
    fn take_gathered(&mut self) -> Result<(), Failure> {
        match self.seat.step() {
            // What could not be taken in waits for the next epoch.
            Err(failure) if !failure.retry => Err(failure),
            _ => Ok(()),
        }
    }

    /// I6, I13: columns and records may take more memory than the bytes that they stand for, and a record may
    /// not name rejects without end.
    fn is_full(&self) -> bool {
        let is_large = self.seat.bytes() >= self.max_bytes || self.held.get() >= 2 * self.max_bytes;
        is_large || self.seat.ranges_bytes() >= self.ranges_bytes_max
    }

    /// I1: between the cut and its mark the lane takes nothing in. False if the job is over.
    fn hand_over(&mut self) -> Result<bool, Failure> {
        let cut = self.seat.cut();
        if !self.tell(Event::Cut { lane: self.index, cut }) {
            return Ok(false);
        }
        let mark = match self.control.blocking_recv() {
            Some(ToLane::Mark(mark)) => mark,
            Some(ToLane::Cut) => return Err(Failure::bug("lane.cut_twice", "two cuts came without a mark")),
            None => return Ok(false),
        };
        let output = self.seat.mark(&mark)?;
        self.held.set(0);
        Ok(self.outputs.blocking_send((self.index, mark.epoch, output)).is_ok())
    }

    fn tell(&self, event: Event) -> bool {
        self.events.blocking_send(ToCoordinator::Event(event)).is_ok()
    }
}
