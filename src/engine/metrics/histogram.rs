//! Durations, counted by how long they are.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper ends of the classes, in milliseconds; what is longer is in one more.
const ENDS_MS: [u64; 13] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

/// Counts durations.
#[derive(Debug, Default)]
pub struct Histogram {
    classes: [AtomicU64; ENDS_MS.len() + 1],
    sum_us: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Observed {
    classes: [u64; ENDS_MS.len() + 1],
    sum_us: u64,
}

impl Histogram {
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let class = ENDS_MS.partition_point(|end| end * 1_000 < us);
        self.classes[class].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    pub fn observed(&self) -> Observed {
        Observed {
            classes: self.classes.each_ref().map(|class| class.load(Relaxed)),
            sum_us: self.sum_us.load(Relaxed),
        }
    }
}

impl Observed {
    pub fn plus(self, other: Observed) -> Observed {
        let classes = std::array::from_fn(|class| self.classes[class] + other.classes[class]);
        Observed { classes, sum_us: self.sum_us + other.sum_us }
    }

    /// Upper ends in seconds, each with how many durations are not longer; what is longer than all is counted in
    /// [`Observed::count`] only.
    pub fn cumulated(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut sum = 0;
        ENDS_MS.iter().zip(self.classes).map(move |(end, count)| {
            sum += count;
            (*end as f64 / 1_000.0, sum)
        })
    }

    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }

    pub fn sum_seconds(&self) -> f64 {
        self.sum_us as f64 / 1_000_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_every_class_that_is_not_shorter() {
        let histogram = Histogram::default();
        for ms in [0, 1, 3, 20_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let observed = histogram.observed().plus(histogram.observed());
        assert_eq!(observed.cumulated().take(3).collect::<Vec<_>>(), [(0.001, 4), (0.002, 4), (0.005, 6)]);
        assert_eq!((observed.cumulated().last(), observed.count()), (Some((10.0, 6)), 8));
        assert_eq!(observed.sum_seconds(), 40.008);
    }
}
