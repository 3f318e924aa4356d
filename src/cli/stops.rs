//! Ctrl-C: what is to be stopped together, and pauses that it cuts short.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::engine::job::Stop;
use crate::report::Failure;

/// Everything that is to be stopped together.
#[derive(Debug, Default)]
pub struct Stops {
    asked: AtomicBool,
    jobs: Mutex<Vec<Arc<Stop>>>,
    stopped: Condvar,
    /// The same for the one task that waits.
    told: tokio::sync::Notify,
}

impl Stops {
    /// Listens to signals on this runtime: none that comes after this call ends the process unheard.
    pub fn watching_on(runtime: &Handle) -> Result<Arc<Stops>, Failure> {
        let stops = Arc::new(Stops::default());
        let signals = Signals::caught(runtime)?;
        runtime.spawn(stops.clone().watch(signals));
        Ok(stops)
    }

    /// The same on a thread of its own, for a verb without a runtime.
    pub fn watching() -> Result<Arc<Stops>, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot_listen)?;
        let stops = Arc::new(Stops::default());
        let (watched, signals) = (stops.clone(), Signals::caught(runtime.handle())?);
        let thread = std::thread::Builder::new().name("signals".into());
        thread.spawn(move || runtime.block_on(watched.watch(signals))).map_err(cannot_listen)?;
        Ok(stops)
    }

    /// A job to be stopped with the others; at once, if that is over.
    pub fn add(&self, job: Arc<Stop>) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).push(job.clone());
        if self.asked() {
            job.stop();
        }
    }

    pub fn asked(&self) -> bool {
        self.asked.load(SeqCst)
    }

    pub fn stop(&self) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        self.asked.store(true, SeqCst);
        jobs.iter().for_each(|job| job.stop());
        self.stopped.notify_all();
        self.told.notify_one();
    }

    /// Stops what runs, so that it can be started again: nobody asked for an end.
    pub fn stop_round(&self) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.drain(..).for_each(|job| job.stop());
    }

    /// Waits until it is asked for. For one task.
    pub async fn wait(&self) {
        while !self.asked() {
            self.told.notified().await;
        }
    }

    /// Waits. False: it was cut short, and nothing more is to be started.
    pub fn pause(&self, time: Duration) -> bool {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.stopped.wait_timeout_while(jobs, time, |_| !self.asked());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        !self.asked()
    }

    /// The first Ctrl-C (or SIGTERM) drains and commits, the second ends at once.
    async fn watch(self: Arc<Self>, mut signals: Signals) {
        for first in [true, false] {
            tokio::select! {
                _ = signals.interrupt.recv() => {}
                _ = signals.terminate.recv() => {}
            }
            if !first {
                super::leave(130);
            }
            let running = !self.jobs.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            eprintln!("stopping{}; again ends at once", if running { ": commits what was read" } else { "" });
            self.stop();
        }
    }
}

/// The signals that ask for an end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// They end the process no more from here on.
    fn caught(runtime: &Handle) -> Result<Signals, Failure> {
        let _entered = runtime.enter();
        let caught = |kind| signal(kind).map_err(cannot_listen);
        Ok(Signals { interrupt: caught(SignalKind::interrupt())?, terminate: caught(SignalKind::terminate())? })
    }
}

fn cannot_listen(error: std::io::Error) -> Failure {
    Failure::outside("cli.signals", "cannot listen to signals").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_cuts_a_pause_short_and_lasts() {
        let stops = Arc::new(Stops::default());
        let other = stops.clone();
        let thread = std::thread::spawn(move || other.pause(Duration::from_secs(60)));
        stops.stop();
        assert!(!thread.join().unwrap());
        assert!(!stops.pause(Duration::ZERO));
    }
}
