//! The only room that asks the operating system what time it is. Everything else asks a [`Clock`],
//! so that tests and replay can move time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::Millis;

/// Tells the time. Cheap to call once per batch; never called per record.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall-clock time. May step backwards when the machine's clock is set.
    fn now(&self) -> Millis;
    /// Time since some fixed point of this process; never goes backwards.
    fn monotonic(&self) -> Millis;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl SystemClock {
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self { started: std::time::Instant::now() })
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one door to the wall clock")]
    fn now(&self) -> Millis {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .expect("the machine's clock is set after 1970");
        since_epoch.as_millis() as Millis
    }

    fn monotonic(&self) -> Millis {
        self.started.elapsed().as_millis() as Millis
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicI64,
}

impl ManualClock {
    pub fn at(now: Millis) -> Arc<Self> {
        Arc::new(Self { now: AtomicI64::new(now) })
    }

    pub fn advance(&self, by_ms: Millis) {
        self.now.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Millis {
        self.now.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Millis {
        self.now()
    }
}
