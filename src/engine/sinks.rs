//! Sinks that do not commit with the journal: each has a thread and catches up on its own (I9).
//!
//! The journal commits first; then every other sink gets exactly the epochs that it lacks. A sink
//! with a memory keeps the epoch beside its data; of one without, the journal keeps it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::connectors::Writer;
use crate::data::{EncodedRows, Epoch};
use crate::report::Failure;

/// How many epochs may wait for a slow sink; then the committer waits, and with it the lanes.
const EPOCHS_WAITING_MAX: usize = 32;
/// A sink without rows moves its memory on this often, so that it pins no journal.
const LAZY_ADVANCE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_GOODBYE: Duration = Duration::from_secs(10);

/// The engine's end of a sink's thread.
#[derive(Debug)]
pub struct SinkThread {
    pub name: String,
    /// Its progress must be kept in the journal.
    pub forgets: bool,
    epochs: Option<SyncSender<(Epoch, Vec<EncodedRows>)>>,
    durable: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<Failure>>>,
    /// Nobody waits for what is not written yet.
    abandoned: Arc<AtomicBool>,
    /// Hangs up when the thread has ended and its writer is gone.
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// Without [`SinkThread::finish`] (a start or run that failed) the thread ends with the first write that
/// fails. It is waited for, because whoever starts again needs the writer's lock and must see what was
/// written; but not for ever: a write may block (a pipe that nobody reads).
impl Drop for SinkThread {
    fn drop(&mut self) {
        self.abandoned.store(true, SeqCst);
        self.epochs = None;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // An error is the end of its closure, or the time-out: nothing is sent.
            let _ = self.ended.recv_timeout(LONGEST_GOODBYE);
        }
    }
}

impl SinkThread {
    /// Starts the thread of a writer that has everything up to `last`.
    pub fn start(
        name: String,
        forgets: bool,
        writer: Box<dyn Writer>,
        lineage: String,
        last: Epoch,
    ) -> std::io::Result<SinkThread> {
        let (sender, receiver) = sync_channel(EPOCHS_WAITING_MAX);
        let durable = Arc::new(AtomicU64::new(last));
        let failure = Arc::new(Mutex::new(None));
        let abandoned = Arc::new(AtomicBool::new(false));
        let work = Work { writer, lineage, durable: durable.clone(), abandoned: abandoned.clone(), received: last };
        let (failed, of) = (failure.clone(), name.clone());
        let (alive, ended) = sync_channel(0);
        let thread = std::thread::Builder::new().name(format!("sink-{name}")).spawn(move || {
            if let Err(error) = work.run(&of, receiver) {
                *failed.lock().unwrap_or_else(|poison| poison.into_inner()) = Some(error);
            }
            drop(alive);
        })?;
        Ok(SinkThread { name, forgets, epochs: Some(sender), durable, failure, abandoned, ended, thread: Some(thread) })
    }

    /// Hands over an epoch; waits while the sink is too far behind. Epochs it has are left out.
    pub fn give(&self, epoch: Epoch, rows: Vec<EncodedRows>) -> Result<(), Failure> {
        let sender = self.epochs.as_ref().ok_or_else(|| self.gone())?;
        sender.send((epoch, rows)).map_err(|_| self.failed())
    }

    /// The last epoch that is durable in the sink.
    pub fn durable(&self) -> Epoch {
        self.durable.load(SeqCst)
    }

    /// # Errors
    /// The thread has given up, although nobody has handed it an epoch since.
    pub fn check(&self) -> Result<(), Failure> {
        match &self.thread {
            Some(thread) if thread.is_finished() => Err(self.failed()),
            _ => Ok(()),
        }
    }

    /// Waits until everything handed over is written.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.epochs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            return Err(Failure::bug("sink.panic", format!("sink `{}` panicked", self.name)));
        }
        match self.failure.lock().unwrap_or_else(|poison| poison.into_inner()).take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn gone(&self) -> Failure {
        Failure::bug("sink.finished", format!("sink `{}` was finished already", self.name))
    }

    fn failed(&self) -> Failure {
        let failure = self.failure.lock().unwrap_or_else(|poison| poison.into_inner()).take();
        failure.unwrap_or_else(|| self.gone())
    }
}

/// The thread's side.
struct Work {
    writer: Box<dyn Writer>,
    lineage: String,
    durable: Arc<AtomicU64>,
    abandoned: Arc<AtomicBool>,
    received: Epoch,
}

impl Work {
    fn run(mut self, name: &str, epochs: Receiver<(Epoch, Vec<EncodedRows>)>) -> Result<(), Failure> {
        let mut advanced = Instant::now();
        loop {
            let first = match epochs.recv_timeout(LAZY_ADVANCE) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.advance(name),
            };
            let mut waiting: Vec<_> = first.into_iter().chain(epochs.try_iter()).collect();
            if let Some((epoch, _)) = waiting.last() {
                self.received = *epoch;
            }
            waiting.retain(|(_, rows)| !rows.is_empty());
            if !waiting.is_empty() {
                // The newest epoch is given too, so that the memory covers what had no rows.
                if waiting.last().is_some_and(|(epoch, _)| *epoch < self.received) {
                    waiting.push((self.received, Vec::new()));
                }
                self.write(name, &waiting)?;
                advanced = Instant::now();
            } else if advanced.elapsed() >= LAZY_ADVANCE {
                self.advance(name)?;
                advanced = Instant::now();
            }
        }
    }

    fn advance(&mut self, name: &str) -> Result<(), Failure> {
        if self.durable.load(SeqCst) < self.received {
            self.write(name, &[(self.received, Vec::new())])?;
        }
        Ok(())
    }

    /// Writes, trying again for as long as that can help.
    fn write(&mut self, name: &str, epochs: &[(Epoch, Vec<EncodedRows>)]) -> Result<(), Failure> {
        let mut pause = Duration::from_millis(50);
        while let Err(failure) = self.writer.write(&self.lineage, epochs) {
            if !failure.retry || self.abandoned.load(SeqCst) {
                return Err(failure);
            }
            tracing::warn!(sink = name, "{failure}; trying again");
            // Woken early only to be told that it is abandoned.
            std::thread::park_timeout(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.durable.store(self.received, SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::SinkProgress;

    struct Full;

    impl Writer for Full {
        fn progress(&self) -> Option<SinkProgress> {
            None
        }
        fn write(&mut self, _lineage: &str, _epochs: &[(Epoch, Vec<EncodedRows>)]) -> Result<(), Failure> {
            Err(Failure::user("file.truncated", "somebody cut the file"))
        }
    }

    /// Never there; tells when it is dropped.
    struct Away(#[expect(dead_code, reason = "its count says whether the writer lives")] Arc<()>);

    impl Writer for Away {
        fn progress(&self) -> Option<SinkProgress> {
            None
        }
        fn write(&mut self, _lineage: &str, _epochs: &[(Epoch, Vec<EncodedRows>)]) -> Result<(), Failure> {
            Err(Failure::outside("file.write", "the disk is full"))
        }
    }

    #[test]
    fn an_abandoned_sink_leaves_nothing_locked_behind() {
        let lock = Arc::new(());
        let writer = Box::new(Away(lock.clone()));
        let sink = SinkThread::start("s".into(), false, writer, "l".into(), 0).unwrap();
        sink.give(1, Vec::new()).unwrap();
        drop(sink);
        assert_eq!(Arc::strong_count(&lock), 1, "whoever starts again finds it locked");
    }

    #[test]
    fn a_sink_that_gave_up_is_noticed_without_another_epoch() {
        let sink = SinkThread::start("s".into(), false, Box::new(Full), "l".into(), 0).unwrap();
        assert!(sink.check().is_ok());
        let rows = EncodedRows {
            records: vec![crate::data::EncodedRecord { key: None, value: None, timestamp: None, headers: 0..0 }],
            ..EncodedRows::default()
        };
        sink.give(1, vec![rows]).unwrap();
        while !sink.thread.as_ref().unwrap().is_finished() {
            std::thread::yield_now();
        }
        assert_eq!(sink.check().unwrap_err().code, "file.truncated");
    }
}
