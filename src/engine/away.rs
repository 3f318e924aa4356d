//! I8: waiting for a server that rows need which are taken in already.
//!
//! Nobody gives these rows a second time, so whoever has them stays with them until the server answers. When the job ends
//! meanwhile, they are given up after a while: no epoch has them, and the next start reads them again. Rows that are not
//! taken in yet wait with their reader (`seat.rs`), and what is to be written waits with its sink (`sinks.rs`).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::report::Failure;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How soon a stop is seen.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A stop wants what was read committed; so long may that take.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// How a lane or the trunk waits. In a replay nobody does: the start as a whole is tried again.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    /// True when the job is to end.
    halted: Option<Arc<AtomicBool>>,
}

impl Waits {
    /// Waits for as long as the job runs.
    pub fn until(halted: Arc<AtomicBool>) -> Waits {
        Waits { halted: Some(halted) }
    }

    /// Tries until it succeeds. `sink` is named in the log.
    ///
    /// # Errors
    /// What trying again does not help; in a replay, each; and, without `retry`, that the job ended first.
    pub fn until_done<T>(&self, sink: &str, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let Some(halted) = &self.halted else { return attempt() };
        let (mut pause, mut halted_since) = (FIRST_PAUSE, None);
        loop {
            let failure = match attempt() {
                Err(failure) if failure.retry => failure,
                outcome => return outcome,
            };
            tracing::warn!(sink, "{failure}; trying again");
            let until = Instant::now() + pause;
            while let rest = until.saturating_duration_since(Instant::now())
                && !rest.is_zero()
            {
                if halted.load(Relaxed) && halted_since.get_or_insert_with(Instant::now).elapsed() >= STOP_PATIENCE {
                    return Err(failure.no_retry().hint(
                        "the pipeline was stopped meanwhile; what it had read since its last commit is read again when it starts",
                    ));
                }
                std::thread::sleep(rest.min(LOOK_EVERY));
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> Result<(), Failure> {
        Err(Failure::outside("test.away", "nobody answers"))
    }

    #[test]
    fn it_is_tried_until_it_succeeds_or_cannot() {
        let waits = Waits::until(Arc::default());
        let mut attempts = 0;
        let third = || {
            attempts += 1;
            if attempts < 3 { away() } else { Ok(()) }
        };
        waits.until_done("s", third).unwrap();
        assert_eq!(attempts, 3);
        let failure = waits.until_done("s", || away().map_err(Failure::no_retry)).unwrap_err();
        assert_eq!(failure.code, "test.away");
        assert!(Waits::default().until_done("s", away).unwrap_err().retry, "a replay begins anew as a whole");
    }

    #[test]
    fn a_stop_ends_the_wait_and_nobody_gives_the_same_rows_again() {
        let halted = Arc::<AtomicBool>::default();
        let waits = Waits::until(halted.clone());
        let waiting = std::thread::spawn(move || waits.until_done("s", away).unwrap_err());
        std::thread::sleep(Duration::from_millis(120));
        assert!(!waiting.is_finished());
        halted.store(true, Relaxed);
        let since = Instant::now();
        assert!(!waiting.join().unwrap().retry);
        assert!(since.elapsed() >= STOP_PATIENCE);
    }
}
