//! Did this process run all the time? It may have been suspended, or starved of its cores.
//!
//! I5: time counts as quiet only if this process saw it pass. A lane that rests looks at nothing, and is woken by
//! what comes; if the process itself stood still meanwhile, that says nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_millis(250);
/// Two beats further apart than this are a gap.
const GAP: Duration = Duration::from_secs(1);

/// A task's heartbeat.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Mutex<Beats>>);

#[derive(Debug, Clone, Copy)]
struct Beats {
    last: Instant,
    /// Since when there was no gap.
    steady_since: Instant,
}

impl Default for Beats {
    fn default() -> Self {
        let now = Instant::now();
        Beats { last: now, steady_since: now }
    }
}

impl Beats {
    fn beat(&mut self, now: Instant) {
        if now.saturating_duration_since(self.last) > GAP {
            self.steady_since = now;
        }
        self.last = now;
    }

    fn ran_since(&self, then: Instant, now: Instant) -> bool {
        then >= self.steady_since && now.saturating_duration_since(self.last) <= GAP
    }
}

impl Pulse {
    /// Beats for ever.
    pub async fn beat(self) {
        loop {
            self.lock().beat(Instant::now());
            tokio::time::sleep(BEAT).await;
        }
    }

    /// True if there was no gap since.
    pub fn ran_since(&self, then: Instant) -> bool {
        self.lock().ran_since(then, Instant::now())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Beats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_whoever_waited_over_a_gap_did_not_wait_all_the_time() {
        let mut beats = Beats::default();
        let begin = beats.last;
        let at = |ms: u64| begin + Duration::from_millis(ms);
        (1..=40).for_each(|beat| beats.beat(at(beat * 250)));
        assert!(beats.ran_since(begin, at(10_100)));
        // Suspended for a minute: not yet noticed by the beat, then noticed.
        assert!(!beats.ran_since(at(9_000), at(70_000)));
        beats.beat(at(70_000));
        assert!(!beats.ran_since(at(9_000), at(70_100)));
        assert!(!beats.ran_since(at(69_999), at(70_100)));
        assert!(beats.ran_since(at(70_000), at(70_100)));
    }
}
