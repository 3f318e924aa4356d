//! When a record is due: the pace of generation.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::random::Random;

/// How fast all tasks together generate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As fast as it goes.
    Max,
    /// This many records a second, at equal distances.
    PerSecond(f64),
    /// Before each record a pause, uniform between nothing and this.
    Jitter { max_ms: i64 },
}

/// A generator that stood still for longer than this does not make up for it.
const CATCH_UP: Duration = Duration::from_secs(1);

/// One task's timetable. Deadlines are kept, not pauses, so that work in between costs no pace.
#[derive(Debug)]
pub struct Schedule {
    pace: Pace,
    /// Of all tasks.
    task: u32,
    tasks: u32,
    /// `None`: nothing was asked for yet; then the first record is due.
    next: Option<Instant>,
    pauses: Random,
}

impl Schedule {
    pub fn new(pace: Pace, task: u32, tasks: u32) -> Self {
        // Pauses are not part of the data: no seed.
        let seed = RandomState::new().hash_one(task) as i64;
        Schedule { pace, task, tasks, next: None, pauses: Random::new(seed) }
    }

    /// Forgets what was due: the pace begins anew.
    pub fn restart(&mut self) {
        self.next = None;
    }

    /// How many records are due at `now`, at most `most`; they are taken as made.
    pub fn take_due(&mut self, now: Instant, most: usize) -> usize {
        if self.pace == Pace::Max {
            return most;
        }
        let mut next = self.due(now);
        if let Some(missed) = now.checked_duration_since(next).filter(|missed| *missed > CATCH_UP) {
            next += missed - CATCH_UP;
        }
        let mut count = 0;
        while next <= now && count < most {
            count += 1;
            next += self.distance();
        }
        self.next = Some(next);
        count
    }

    /// True if nothing is due at `now`.
    pub fn waits(&self, now: Instant) -> bool {
        self.pace != Pace::Max && self.next.is_some_and(|next| next > now)
    }

    /// When the next record is due.
    pub fn due(&mut self, now: Instant) -> Instant {
        match (self.next, self.pace) {
            (_, Pace::Max) => now,
            (Some(next), _) => next,
            // Tasks take turns.
            (None, Pace::PerSecond(rate)) => {
                *self.next.insert(now + Duration::from_secs_f64(f64::from(self.task) / rate))
            }
            (None, Pace::Jitter { .. }) => {
                let pause = self.distance();
                *self.next.insert(now + pause)
            }
        }
    }

    fn distance(&mut self) -> Duration {
        match self.pace {
            Pace::Max => Duration::ZERO,
            Pace::PerSecond(rate) => Duration::from_secs_f64(f64::from(self.tasks) / rate),
            Pace::Jitter { max_ms } => {
                let pause_ms = (self.pauses.next_double() * max_ms as f64).floor();
                Duration::from_millis(pause_ms as u64) * self.tasks
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_over_all_tasks_whatever_the_polls() {
        let start = Instant::now();
        let mut tasks: Vec<_> = (0..3).map(|task| Schedule::new(Pace::PerSecond(100.0), task, 3)).collect();
        let mut count = 0;
        for ms in (0..10_000).step_by(7) {
            let now = start + Duration::from_millis(ms);
            count += tasks.iter_mut().map(|task| task.take_due(now, 1_000)).sum::<usize>();
        }
        assert!((998..=1_001).contains(&count), "{count}");
    }

    #[test]
    fn a_long_stop_is_not_made_up_for() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Pace::PerSecond(10.0), 0, 1);
        assert_eq!(schedule.take_due(start, 1_000), 1);
        assert_eq!(schedule.take_due(start + Duration::from_secs(3_600), 1_000), 11);
    }

    #[test]
    fn pauses_are_half_the_longest_on_the_average() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Pace::Jitter { max_ms: 10 }, 0, 1);
        let polls = (0..10_000).map(|ms| start + Duration::from_millis(ms));
        let count: usize = polls.map(|now| schedule.take_due(now, 1_000)).sum();
        assert!((2_000..2_500).contains(&count), "{count}: the mean pause is 4.5 ms");
    }
}
