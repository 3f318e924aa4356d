//! How soon a transaction may follow the one before it.
//!
//! After a commit the broker still writes markers. A transaction that begins too soon is told so
//! (CONCURRENT_TRANSACTIONS), and librdkafka then waits 20 ms. After such a conflict the next ones
//! wait until a little after the last commit instead. A shorter wait is tried now and then, and
//! the more seldom the more often it was too short.

use std::time::{Duration, Instant};

/// What a conflict adds to the gap.
const RAISE: Duration = Duration::from_millis(4);
/// By how much a shorter gap is tried.
const STEP: Duration = Duration::from_millis(1);
const GAP_MAX: Duration = Duration::from_millis(15);
/// So many transactions without a conflict before a shorter gap is tried: at first, and at most.
const RUN_MIN: u32 = 8;
const RUN_MAX: u32 = 512;

#[derive(Debug)]
pub(super) struct Pacing {
    gap: Duration,
    /// The gap is shorter than one that was long enough.
    trying: bool,
    clean: u32,
    /// So many clean ones let a shorter gap be tried.
    run: u32,
    committed: Option<Instant>,
}

impl Default for Pacing {
    fn default() -> Self {
        Pacing { gap: Duration::ZERO, trying: false, clean: 0, run: RUN_MIN, committed: None }
    }
}

impl Pacing {
    /// Waits until the next transaction may begin.
    pub fn wait(&self) {
        if let Some(committed) = self.committed {
            std::thread::sleep(self.gap.saturating_sub(committed.elapsed()));
        }
    }

    /// Notes a commit, and whether its transaction began too soon.
    pub fn committed(&mut self, conflict: bool) {
        self.committed = Some(Instant::now());
        if conflict {
            self.conflict();
        } else {
            self.clean();
        }
    }

    fn conflict(&mut self) {
        let was_trying = std::mem::take(&mut self.trying);
        self.clean = 0;
        self.gap += if was_trying { STEP } else { RAISE };
        self.gap = self.gap.min(GAP_MAX);
        if was_trying {
            self.run = (self.run * 2).min(RUN_MAX);
        }
        tracing::debug!(target: "kafka", gap_ms = self.gap.as_millis() as u64, "a transaction began too soon");
    }

    fn clean(&mut self) {
        self.clean += 1;
        if self.clean < self.run || self.gap.is_zero() {
            return;
        }
        self.clean = 0;
        self.gap = self.gap.saturating_sub(STEP);
        self.trying = true;
        if self.gap.is_zero() {
            self.run = RUN_MIN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_grows_with_conflicts_and_falls_back_when_clean() {
        let mut pacing = Pacing::default();
        pacing.committed(false);
        assert_eq!(pacing.gap, Duration::ZERO);
        let gaps = [4, 8, 12, 15, 15].map(Duration::from_millis);
        for gap in gaps {
            pacing.committed(true);
            assert_eq!(pacing.gap, gap);
        }
        (0..RUN_MIN * 15).for_each(|_| pacing.committed(false));
        assert_eq!(pacing.gap, Duration::ZERO);
    }

    /// Every conflict costs 20 ms: of transactions that need 3 ms between them, one in nine had one.
    #[test]
    fn a_gap_that_is_long_enough_is_left_in_peace() {
        let mut pacing = Pacing::default();
        let mut conflicts = 0;
        for _ in 0..4_000 {
            let conflict = pacing.gap < Duration::from_millis(3);
            conflicts += u32::from(conflict);
            pacing.committed(conflict);
            assert!(pacing.gap <= Duration::from_millis(4));
        }
        assert!(conflicts < 20, "{conflicts} conflicts");
    }
}
