//! Sinks that do not commit with the journal: each has a worker and catches up on its own (I9).
//!
//! The journal commits first; then every other sink gets exactly the epochs that it lacks. A sink
//! with a memory keeps the epoch beside its data; of one without, the journal keeps it. Sinks that
//! are written together (those of one further Kafka cluster) share a worker.
//!
//! I18: a sink may be so many bytes, or so long, behind; then whoever hands over waits, and with it
//! the lanes. A sink that gets no rows holds nobody up and keeps no memory busy.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::memory::Gauge;
use super::metrics::Metrics;
use super::pool::Pool;
use crate::connectors::{EpochRows, Writer};
use crate::data::Epoch;
use crate::faults;
use crate::report::Failure;

/// A sink without rows moves its memory on this often, so that it pins no journal.
const LAZY_ADVANCE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_GOODBYE: Duration = Duration::from_secs(10);
/// Between two warnings of one sink that it holds the pipeline up.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// How far a sink may be behind the journal.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub bytes: usize,
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: 64 << 20, time: Duration::from_secs(30) }
    }
}

/// The engine's end of a sink's worker.
#[derive(Debug)]
pub struct SinkWorker {
    /// Of sinks that are written together: all their names.
    pub name: String,
    /// Its progress must be kept in the journal.
    pub forgets: bool,
    /// The sinks that it writes, with the last epoch that each of them had when it was opened.
    members: BTreeMap<usize, Epoch>,
    line: Arc<Line>,
    durable: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<Failure>>>,
    /// Hangs up when the worker has ended and its writer is gone.
    ended: Receiver<Nothing>,
}

/// Nothing is sent: a channel of it only hangs up.
#[derive(Debug)]
enum Nothing {}

/// Without [`SinkWorker::finish`] (a start or run that failed) the worker ends with the first write that
/// fails. It is waited for, because whoever starts again needs the writer's lock and must see what was
/// written; but not for ever: a write may block (a pipe that nobody reads).
impl Drop for SinkWorker {
    fn drop(&mut self) {
        self.line.abandon();
        // An error is its end, or the time-out.
        let _ = self.ended.recv_timeout(LONGEST_GOODBYE);
    }
}

/// What a sink's worker begins with.
pub struct Opened {
    pub name: String,
    pub forgets: bool,
    pub writer: Box<dyn Writer>,
    /// By sink that it writes: the last epoch which that one has.
    pub members: BTreeMap<usize, Epoch>,
    pub lineage: String,
    pub limits: Limits,
    /// Of what waits and of what is being written.
    pub held: Gauge,
    /// Told when something was written, and when it gives up.
    pub news: Arc<Notify>,
    pub metrics: Arc<Metrics>,
}

impl SinkWorker {
    /// Starts the worker of a writer.
    ///
    /// # Errors
    /// `engine.thread`.
    pub fn start(opened: Opened) -> Result<SinkWorker, Failure> {
        let Opened { name, forgets, writer, members, lineage, limits, held, news, metrics } = opened;
        let pool = Pool::shared()?;
        let last = members.values().min().copied().unwrap_or_default();
        let line = Arc::new(Line::new(limits, held));
        let durable = Arc::new(AtomicU64::new(last));
        let failure = Arc::new(Mutex::new(None));
        let (line_of_work, durable_of_work) = (line.clone(), durable.clone());
        let work = Work {
            name: name.clone(),
            writer,
            lineage,
            line: line_of_work,
            durable: durable_of_work,
            news: news.clone(),
            metrics,
        };
        lock(&line.state).received = last;
        let (failed, given_up) = (failure.clone(), line.clone());
        let (alive, ended) = sync_channel(0);
        pool.spawn(async move {
            let over = Over(given_up);
            if let Err(error) = work.attend(pool).await {
                *lock(&failed) = Some(error);
            }
            drop(over);
            drop::<SyncSender<Nothing>>(alive);
            news.notify_one();
        });
        Ok(SinkWorker { name, forgets, members, line, durable, failure, ended })
    }

    /// The sinks that it writes.
    pub fn members(&self) -> impl Iterator<Item = usize> {
        self.members.keys().copied()
    }

    /// Whether a sink of it had this epoch when it was opened.
    pub fn had(&self, sink: usize, epoch: Epoch) -> bool {
        self.members.get(&sink).is_some_and(|last| epoch <= *last)
    }

    /// Waits, at most this long, until the sink is not too far behind (I18). False: it still is.
    ///
    /// # Errors
    /// The sink has given up.
    pub fn has_room(&self, patience: Duration) -> Result<bool, Failure> {
        let room = self.line.has_room(&self.name, patience);
        if lock(&self.line.state).over { Err(self.failed()) } else { Ok(room) }
    }

    /// Hands over an epoch.
    pub fn give(&self, rows: EpochRows) -> Result<(), Failure> {
        if self.line.put(rows) { Ok(()) } else { Err(self.failed()) }
    }

    /// The last epoch that is durable in the sink.
    pub fn durable(&self) -> Epoch {
        self.durable.load(SeqCst)
    }

    /// # Errors
    /// It has given up, although nobody has handed it an epoch since.
    pub fn check(&self) -> Result<(), Failure> {
        let state = lock(&self.line.state);
        // Whoever finishes it is told by that.
        if state.over && !state.closed { Err(self.failed()) } else { Ok(()) }
    }

    /// Waits until everything handed over is written.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.line.close();
        // An error is its end.
        let _ = self.ended.recv();
        match lock(&self.failure).take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn failed(&self) -> Failure {
        let failure = lock(&self.failure).take();
        failure.unwrap_or_else(|| Failure::bug("sink.finished", format!("sink `{}` was finished already", self.name)))
    }
}

/// The queue before a sink.
#[derive(Debug)]
struct Line {
    limits: Limits,
    held: Gauge,
    state: Mutex<State>,
    /// Tells whoever hands over, in a thread.
    changed: Condvar,
    /// Tells the worker, which is a task.
    given: Notify,
    /// Nobody waits for what is not written yet.
    abandoned: AtomicBool,
    goodbye: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// With the time at which each was handed over; only epochs with rows.
    waiting: VecDeque<(Instant, EpochRows)>,
    /// Of what waits and of what is being written.
    bytes: usize,
    /// When the oldest epoch that is being written was handed over.
    writing: Option<Instant>,
    /// The last epoch handed over, with rows or without.
    received: Epoch,
    /// Nothing more will come.
    closed: bool,
    /// The worker has ended.
    over: bool,
    warned: Option<Instant>,
}

impl State {
    fn behind(&self) -> Duration {
        let oldest = self.writing.or(self.waiting.front().map(|(given, _)| *given));
        oldest.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Line {
    fn new(limits: Limits, held: Gauge) -> Line {
        Line {
            limits,
            held,
            state: Mutex::default(),
            changed: Condvar::new(),
            given: Notify::new(),
            abandoned: AtomicBool::new(false),
            goodbye: Notify::new(),
        }
    }

    fn close(&self) {
        lock(&self.state).closed = true;
        self.given.notify_one();
    }

    fn abandon(&self) {
        self.abandoned.store(true, SeqCst);
        self.goodbye.notify_one();
        self.close();
    }

    /// False: nobody takes it any more.
    fn put(&self, rows: EpochRows) -> bool {
        let mut state = lock(&self.state);
        if state.over || state.closed {
            return false;
        }
        state.received = rows.epoch;
        if !rows.is_empty() {
            state.bytes += rows.bytes();
            self.held.set(state.bytes);
            state.waiting.push_back((Instant::now(), rows));
        }
        drop(state);
        // Of an epoch without rows too: it is to be remembered after a while.
        self.given.notify_one();
        true
    }

    fn has_room(&self, name: &str, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = lock(&self.state);
        loop {
            let behind = state.behind();
            if state.over || (state.bytes < self.limits.bytes && behind < self.limits.time) {
                return true;
            }
            if state.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                state.warned = Some(Instant::now());
                let (mib, seconds) = (state.bytes as f64 / f64::from(1 << 20), behind.as_secs_f64());
                tracing::warn!(
                    sink = name,
                    "sink `{name}` is {mib:.1} MiB and {seconds:.1} s behind: the pipeline waits for it"
                );
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = wait(&self.changed, state, left);
        }
    }

    /// What is waiting now, with the last epoch that was handed over.
    fn take(&self) -> Taken {
        let mut state = lock(&self.state);
        state.writing = state.waiting.front().map(|(given, _)| *given);
        let rows = state.waiting.drain(..).map(|(_, rows)| rows).collect();
        Taken { rows, received: state.received, closed: state.closed }
    }

    /// What was taken is durable.
    fn written(&self, rows: &[EpochRows]) {
        let mut state = lock(&self.state);
        state.bytes -= rows.iter().map(EpochRows::bytes).sum::<usize>();
        self.held.set(state.bytes);
        state.writing = None;
        self.changed.notify_all();
    }
}

struct Taken {
    rows: Vec<EpochRows>,
    received: Epoch,
    closed: bool,
}

/// Says that the thread has ended, however it did.
struct Over(Arc<Line>);

impl Drop for Over {
    fn drop(&mut self) {
        lock(&self.0.state).over = true;
        self.0.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half-changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(changed: &Condvar, state: MutexGuard<'a, T>, at_most: Duration) -> MutexGuard<'a, T> {
    changed.wait_timeout(state, at_most).unwrap_or_else(PoisonError::into_inner).0
}

/// The worker's side.
struct Work {
    name: String,
    writer: Box<dyn Writer>,
    lineage: String,
    line: Arc<Line>,
    durable: Arc<AtomicU64>,
    news: Arc<Notify>,
    metrics: Arc<Metrics>,
}

impl Work {
    async fn attend(mut self, pool: Pool) -> Result<(), Failure> {
        let mut advanced = Instant::now();
        loop {
            let Taken { mut rows, received, closed } = self.line.take();
            let is_behind = self.durable.load(SeqCst) < received;
            if !rows.is_empty() {
                // The newest epoch is given too, so that the memory covers what had no rows.
                if rows.last().is_some_and(|rows| rows.epoch < received) {
                    rows.push(EpochRows::empty(received));
                }
                (self, rows) = self.write(pool, rows, received).await?;
                self.line.written(&rows);
                advanced = Instant::now();
            } else if is_behind && (closed || advanced.elapsed() >= LAZY_ADVANCE) {
                (self, _) = self.write(pool, vec![EpochRows::empty(received)], received).await?;
                advanced = Instant::now();
            } else if closed {
                // To let go of a client may block.
                return pool.run(&self.what(), move || drop(self.writer)).await;
            } else {
                let later = async {
                    match is_behind {
                        true => tokio::time::sleep_until((advanced + LAZY_ADVANCE).into()).await,
                        false => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = self.line.given.notified() => {}
                    () = later => {}
                }
            }
        }
    }

    fn what(&self) -> String {
        format!("sink `{}`", self.name)
    }

    /// Writes, trying again for as long as that can help. Gives back what was written.
    async fn write(
        mut self,
        pool: Pool,
        mut rows: Vec<EpochRows>,
        last: Epoch,
    ) -> Result<(Self, Vec<EpochRows>), Failure> {
        let mut pause = Duration::from_millis(50);
        faults::point("sink.write");
        loop {
            let what = self.what();
            let attempt = move || match self.writer.write(&self.lineage, &rows) {
                // Whoever starts again finds nothing locked: the writer is gone.
                Err(failure) if !failure.retry || self.line.abandoned.load(SeqCst) => Err(failure),
                outcome => Ok((self, rows, outcome)),
            };
            let outcome;
            (self, rows, outcome) = pool.run(&what, attempt).await??;
            let Err(failure) = outcome else { break };
            tracing::warn!(sink = self.name, "{failure}; trying again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.line.goodbye.notified() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        faults::point("sink.written");
        for output in rows.iter().flat_map(|rows| &rows.outputs) {
            self.metrics.written.note(output.sink, &output.rows);
        }
        self.durable.store(last, SeqCst);
        self.news.notify_one();
        Ok((self, rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::SinkProgress;
    use crate::data::{EncodedRecord, EncodedRows};

    struct Full;

    impl Writer for Full {
        fn progress(&self) -> Option<SinkProgress> {
            None
        }
        fn write(&mut self, _lineage: &str, _epochs: &[EpochRows]) -> Result<(), Failure> {
            Err(Failure::user("file.truncated", "somebody cut the file"))
        }
    }

    /// Never there; tells when it is dropped.
    struct Away(#[expect(dead_code, reason = "its count says whether the writer lives")] Arc<()>);

    impl Writer for Away {
        fn progress(&self) -> Option<SinkProgress> {
            None
        }
        fn write(&mut self, _lineage: &str, _epochs: &[EpochRows]) -> Result<(), Failure> {
            Err(Failure::outside("file.write", "the disk is full"))
        }
    }

    /// Away until it is told otherwise; keeps what it was given.
    #[derive(Clone, Default)]
    struct Gate {
        open: Arc<AtomicBool>,
        epochs: Arc<Mutex<Vec<Epoch>>>,
    }

    impl Writer for Gate {
        fn progress(&self) -> Option<SinkProgress> {
            None
        }
        fn write(&mut self, _lineage: &str, epochs: &[EpochRows]) -> Result<(), Failure> {
            if !self.open.load(SeqCst) {
                return Err(Failure::outside("gate.closed", "closed"));
            }
            lock(&self.epochs).extend(epochs.iter().map(|rows| rows.epoch));
            Ok(())
        }
    }

    fn start(writer: impl Writer + 'static, limits: Limits) -> SinkWorker {
        let members = BTreeMap::from([(0, 0)]);
        let (name, lineage) = ("s".to_owned(), "l".to_owned());
        let writer = Box::new(writer);
        let (held, news) = (Gauge::default(), Arc::default());
        SinkWorker::start(Opened {
            name,
            forgets: false,
            writer,
            members,
            lineage,
            limits,
            held,
            news,
            metrics: Arc::default(),
        })
        .unwrap()
    }

    /// An epoch with one record of so many bytes.
    fn rows(epoch: Epoch, bytes: usize) -> EpochRows {
        let mut run = EncodedRows::default();
        let value = Some(run.put(&vec![0; bytes]));
        run.records.push(EncodedRecord { key: None, value, timestamp: None, headers: 0..0 });
        EpochRows::of_one(epoch, vec![run])
    }

    fn eventually(what: &str, happens: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !happens() {
            assert!(Instant::now() < deadline, "never: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn an_abandoned_sink_leaves_nothing_locked_behind() {
        let writer = Arc::new(());
        let sink = start(Away(writer.clone()), Limits::default());
        sink.give(rows(1, 1)).unwrap();
        drop(sink);
        assert_eq!(Arc::strong_count(&writer), 1, "whoever starts again finds it locked");
    }

    #[test]
    fn a_sink_that_gave_up_is_noticed_without_another_epoch() {
        let sink = start(Full, Limits::default());
        assert!(sink.check().is_ok());
        sink.give(rows(1, 1)).unwrap();
        eventually("it ends", || sink.check().is_err_and(|failure| failure.code == "file.truncated"));
    }

    #[test]
    fn i18_a_sink_may_be_so_many_bytes_behind_and_no_more() {
        let gate = Gate::default();
        let limits = Limits { bytes: 10_000, time: Duration::from_secs(3_600) };
        let mut sink = start(gate.clone(), limits);
        assert!(sink.has_room(Duration::ZERO).unwrap());
        sink.give(rows(1, 6_000)).unwrap();
        // Epochs without a row are no burden, however many.
        (2..100).for_each(|epoch| sink.give(EpochRows::empty(epoch)).unwrap());
        assert!(sink.has_room(Duration::ZERO).unwrap());
        sink.give(rows(100, 6_000)).unwrap();
        assert!(!sink.has_room(Duration::from_millis(50)).unwrap(), "it is 12,000 bytes behind");
        gate.open.store(true, SeqCst);
        assert!(sink.has_room(Duration::from_secs(60)).unwrap(), "it was never told that there is room again");
        sink.finish().unwrap();
        let written = lock(&gate.epochs).clone();
        assert_eq!((written.first(), written.last(), sink.durable()), (Some(&1), Some(&100), 100));
    }

    #[test]
    fn i18_a_sink_may_be_so_long_behind_and_no_longer() {
        let gate = Gate::default();
        let limits = Limits { bytes: usize::MAX, time: Duration::from_millis(300) };
        let sink = start(gate.clone(), limits);
        sink.give(rows(1, 1)).unwrap();
        eventually("it is too long behind", || !sink.has_room(Duration::ZERO).unwrap());
        gate.open.store(true, SeqCst);
        assert!(sink.has_room(Duration::from_secs(60)).unwrap());
        eventually("it is written", || sink.durable() == 1);
        // Long after, with nothing to write, it is not behind at all.
        std::thread::sleep(Duration::from_millis(400));
        assert!(sink.has_room(Duration::ZERO).unwrap());
    }

    #[test]
    fn i18_who_waits_for_a_sink_that_gives_up_is_told() {
        let sink = start(Full, Limits { bytes: 1, time: Duration::from_secs(3_600) });
        sink.give(rows(1, 100)).unwrap();
        let told = || sink.has_room(Duration::from_secs(60)).err();
        eventually("it is told", || told().is_some_and(|failure| failure.code == "file.truncated"));
    }

    #[test]
    fn i9_a_sink_without_rows_moves_its_memory_on_lazily_and_at_a_stop() {
        let gate = Gate { open: Arc::new(true.into()), ..Gate::default() };
        let mut sink = start(gate.clone(), Limits::default());
        (1..=3).for_each(|epoch| sink.give(EpochRows::empty(epoch)).unwrap());
        eventually("it advances by itself", || sink.durable() == 3);
        (4..=5).for_each(|epoch| sink.give(EpochRows::empty(epoch)).unwrap());
        sink.finish().unwrap();
        assert_eq!((lock(&gate.epochs).clone(), sink.durable()), (vec![3, 5], 5));
    }
}
