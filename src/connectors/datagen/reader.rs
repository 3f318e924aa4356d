//! Tasks at work: rows of each task, its position, its pace.
//!
//! I20: a task's position is the record's index, the seed that the next record is drawn from, and the
//! counters. The generator is seeded anew behind every record, as the genuine connector does, so
//! a position holds all there is to know and any range of records can be made again.

use std::collections::BTreeSet;
use std::time::Instant;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use super::Datagen;
use super::generate::{Draw, RowBuilder};
use super::iteration::Iteration;
use super::pace::Schedule;
use super::random::Random;
use crate::connectors::{Fetched, Input, PartitionStart, PartitionStatus, Payload, Reader};
use crate::data::{Offset, Partition, Position};
use crate::report::Failure;
use crate::time::Millis;

/// A task's position: the next record. A stored format: fields are only added, with a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPosition {
    /// How many records the task has made.
    pub record: u64,
    pub seed: i64,
    /// Next value of each counter; units of the counter's last decimal. One that somebody set has none.
    #[serde(default)]
    pub counters: Vec<i64>,
    /// How often it has gone on where an earlier run had stopped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl TaskPosition {
    pub fn position(&self) -> Position {
        Position(serde_json::to_value(self).expect("numbers are JSON"))
    }

    /// Reads a position back; in one without counters they are where so many records bring them that move each once.
    ///
    /// # Errors
    /// As [`TaskPosition::read`].
    pub fn counted(position: &Position, iterations: &[Iteration]) -> Result<Self, Failure> {
        let read = Self::read(position, iterations.len())?;
        match position.0.get("counters") {
            Some(_) => Ok(read),
            None => {
                Ok(TaskPosition { counters: iterations.iter().map(|one| one.behind(read.record)).collect(), ..read })
            }
        }
    }

    /// Reads a position back.
    ///
    /// # Errors
    /// `datagen.position` if it is not one of a generator with this many counters.
    pub fn read(position: &Position, counters: usize) -> Result<Self, Failure> {
        match Self::deserialize(&position.0) {
            Ok(read) if read.counters.len() == counters || position.0.get("counters").is_none() => Ok(read),
            Ok(read) => {
                let was = read.counters.len();
                let message = format!("the generator counted with {was} iteration rules and now has {counters}");
                Err(Failure::user("datagen.position", message).hint("`runner reset` begins anew"))
            }
            Err(error) => {
                Err(Failure::user("datagen.position", format!("`{}` is not a generator's position", position.0))
                    .because(error))
            }
        }
    }
}

/// The seed of a task's first record.
pub fn task_seed(seed: i64, task: u32) -> i64 {
    (0..task).fold(seed, |seed, _| Random::new(seed).next_long())
}

/// A share of the tasks.
pub struct TaskReader {
    tasks: Vec<Task>,
    rows: RowBuilder,
    /// Of the rows that it gives.
    schema: SchemaRef,
    /// Keeps a batch's buffers below what Arrow's offsets can count.
    batch_max: usize,
}

struct Task {
    partition: Partition,
    draw: Draw,
    /// What `draw` was seeded with.
    seed: i64,
    record: u64,
    generation: i64,
    /// Where the task ends; `None`: never.
    end: Option<u64>,
    /// Replay: nothing at or behind this record.
    limit: Option<u64>,
    paused: bool,
    schedule: Schedule,
}

impl TaskReader {
    pub fn new(datagen: &Datagen, share: &[PartitionStart]) -> Result<Self, Failure> {
        let task = |start: &PartitionStart| -> Result<Task, Failure> {
            let number = start.partition as u32;
            let iterations = datagen.iterations(number);
            let position = TaskPosition::counted(&start.start, &iterations)?;
            let mut draw = Draw::new(&iterations, position.seed);
            draw.counters = position.counters;
            Ok(Task {
                partition: start.partition,
                draw,
                seed: position.seed,
                record: position.record,
                generation: position.generation,
                end: datagen.count_of(number),
                limit: None,
                paused: false,
                schedule: datagen.schedule(number),
            })
        };
        const BATCH_BYTES: u64 = 1 << 30;
        let batch_max = BATCH_BYTES / datagen.rules.root.bytes_max().max(1);
        Ok(TaskReader {
            tasks: share.iter().map(task).collect::<Result<_, _>>()?,
            rows: RowBuilder::new(&datagen.rules),
            schema: datagen.schema(),
            batch_max: usize::try_from(batch_max).unwrap_or(usize::MAX).max(1),
        })
    }

    fn task(&self, partition: Partition) -> &Task {
        self.tasks.iter().find(|task| task.partition == partition).expect("the engine asks for partitions it gave")
    }
}

impl Task {
    /// How many records there may be now, before a limit or the end.
    fn left(&self) -> u64 {
        if self.paused {
            return 0;
        }
        let end = self.limit.into_iter().chain(self.end).min().unwrap_or(u64::MAX);
        end.saturating_sub(self.record)
    }

    /// How many records to make now, at most `most`. Replay has no pace.
    fn take_due(&mut self, now: Instant, most: usize) -> usize {
        let most = usize::try_from(self.left()).unwrap_or(usize::MAX).min(most);
        if self.limit.is_some() || most == 0 { most } else { self.schedule.take_due(now, most) }
    }

    /// When there is something to poll; `None`: not without a call that changes the limit.
    fn due(&mut self, now: Instant) -> Option<Instant> {
        match (self.left(), self.limit) {
            (0, _) => None,
            (_, Some(_)) => Some(now),
            (_, None) => Some(self.schedule.due(now)),
        }
    }

    fn position(&self) -> TaskPosition {
        let counters = self.draw.counters.clone();
        TaskPosition { record: self.record, seed: self.seed, counters, generation: self.generation }
    }

    fn fetch(&mut self, rows: &mut RowBuilder, schema: &SchemaRef, count: usize, clock: Millis) -> Fetched {
        self.draw.clock = clock;
        for _ in 0..count {
            rows.push(&mut self.draw);
            self.seed = self.draw.random.next_long();
            self.draw.random = Random::new(self.seed);
        }
        let first = self.record as Offset;
        self.record += count as u64;
        let offsets = (first..self.record as Offset).collect();
        // The generator's own names may be others.
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let rows = RecordBatch::try_new_with_options(schema.clone(), rows.finish().columns().to_vec(), &options)
            .expect("the columns are those of the schema, but for names");
        let (partition, generation) = (self.partition, self.generation);
        let payload = Payload::Rows { partition, rows, offsets, generation };
        Fetched { payload, next: self.position().position() }
    }
}

impl Reader for TaskReader {
    fn poll(&mut self, rows_max: usize, clock: Millis) -> Result<Vec<Fetched>, Failure> {
        let now = Instant::now();
        let active = self.tasks.iter().filter(|task| task.left() > 0).count().max(1);
        let most = (rows_max / active).max(1).min(self.batch_max);
        let mut fetched = Vec::with_capacity(active);
        for task in &mut self.tasks {
            let count = task.take_due(now, most);
            if count > 0 {
                fetched.push(task.fetch(&mut self.rows, &self.schema, count, clock));
            }
        }
        Ok(fetched)
    }

    fn awaits(&mut self) -> Input {
        let now = Instant::now();
        Input::Awaited { rings: None, due: self.tasks.iter_mut().filter_map(|task| task.due(now)).min() }
    }

    fn status(&self, partition: Partition) -> PartitionStatus {
        let task = self.task(partition);
        let ended = task.end.is_some_and(|end| task.record >= end);
        // A paced task has handed over all there is until the next record is due.
        let waits = task.limit.is_none() && task.schedule.waits(Instant::now());
        PartitionStatus { at_end: ended || (!task.paused && (task.left() == 0 || waits)), ended, behind: None }
    }

    fn position(&self, partition: Partition) -> Position {
        self.task(partition).position().position()
    }

    fn limit(&mut self, partition: Partition, to: Option<Position>) {
        let task = self.tasks.iter_mut().find(|task| task.partition == partition);
        let task = task.expect("the engine limits partitions that it gave");
        let counters = task.draw.counters.len();
        match to.map(|to| TaskPosition::read(&to, counters)) {
            // Replay: what lies before a recorded position was made in that one's generation.
            Some(Ok(position)) => (task.limit, task.generation) = (Some(position.record), position.generation),
            // A position that is not ours lets nothing pass; recovery then says what is missing (I17).
            Some(Err(_)) => task.limit = Some(0),
            None => {
                task.limit = None;
                task.generation += i64::from(task.record > 0);
            }
        }
        task.schedule.restart();
    }

    fn pause(&mut self, partitions: &BTreeSet<Partition>) {
        for task in &mut self.tasks {
            let was = std::mem::replace(&mut task.paused, partitions.contains(&task.partition));
            if was && !task.paused {
                // What was due meanwhile is not made up for at once.
                task.schedule.restart();
            }
        }
    }
}
