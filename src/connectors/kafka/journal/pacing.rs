//! How soon a transaction may follow the one before it.
//!
//! After a commit the broker still writes markers. A transaction that begins too soon is told so
//! (CONCURRENT_TRANSACTIONS), and librdkafka then waits 20 ms. After such a conflict the next one
//! waits until a little after the last commit instead: 5 ms, doubling to 15, falling back when
//! transactions go through.

use std::time::{Duration, Instant};

const GAP_MIN: Duration = Duration::from_millis(5);
const GAP_MAX: Duration = Duration::from_millis(15);
/// So many transactions without a conflict halve the gap.
const CLEAN_RUN: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Pacing {
    gap: Duration,
    clean: u32,
    committed: Option<Instant>,
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
        self.clean = if conflict { 0 } else { self.clean + 1 };
        if conflict {
            self.gap = (self.gap * 2).clamp(GAP_MIN, GAP_MAX);
            tracing::debug!(target: "kafka", gap_ms = self.gap.as_millis() as u64, "a transaction began too soon");
        } else if self.clean == CLEAN_RUN {
            self.clean = 0;
            self.gap = if self.gap > GAP_MIN { self.gap / 2 } else { Duration::ZERO };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_doubles_with_conflicts_and_falls_back_when_clean() {
        let mut pacing = Pacing::default();
        pacing.committed(false);
        assert_eq!(pacing.gap, Duration::ZERO);
        let gaps = [5, 10, 15, 15].map(Duration::from_millis);
        for gap in gaps {
            pacing.committed(true);
            assert_eq!(pacing.gap, gap);
        }
        (0..CLEAN_RUN * 3).for_each(|_| pacing.committed(false));
        assert_eq!(pacing.gap, Duration::ZERO);
    }
}
