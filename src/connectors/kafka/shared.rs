//! Producers that writers of one cluster share: one for each set of settings, as long as somebody writes with it.
//!
//! A producer has a connection, threads and buffers for each broker; hundreds of pipelines that each write a little
//! would have hundreds of them. Here records are copied, and each writer has a [`Ticket`] that says what became of its
//! own. A thread of the producer's serves the reports. What one writer is refused, or must wait for, is nobody else's:
//!
//! * a writer has only so much on its way, and librdkafka's own queue is large enough for all of them;
//! * a record in doubt stays in the queue until it is delivered, however long that takes: it is never sent a second
//!   time beside itself, and what a partition gets keeps its order;
//! * a producer that broke, or is not let in, gives back what it has (lost: whoever wrote it sends it again) and is
//!   replaced by a new one.
//!
//! What a writer leaves on its way goes on, and a new writer of the topic with the same settings goes behind it; with other
//! settings it has another producer, and where a partition had no leader meanwhile the two may meet in any order.
//!
//! Transactions belong to one writer, so exactly once has producers of its own (`producer`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::Cluster;
use super::native::{Client, MainQueue, NativeError, Refusal, Refused, Role};
use super::producer::{BATCH_BYTES, RECORD_BYTES_MAX, Topic, Value, send};
use super::ticket::{Outcome, Ticket};
use crate::data::{EncodedRecord, EncodedRows};
use crate::report::Failure;

/// The reports of an idle producer are looked for so often at least, though they tell of themselves.
const SERVE: Duration = Duration::from_secs(60);
/// Between two looks whether the cluster lets us in at all.
const SLICE: Duration = Duration::from_millis(500);
/// Before a queue that is full is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(5);
/// Who waits is told after so long without news that it still does.
const PATIENCE: Duration = Duration::from_secs(5);

/// What producers differ by: brokers, properties, the largest batch.
type Settings = (String, BTreeMap<String, String>, usize);

static PRODUCERS: Mutex<Vec<(Settings, Weak<SharedProducer>)>> = Mutex::new(Vec::new());

/// A producer of several writers.
pub(super) struct SharedProducer {
    inner: Arc<Inner>,
    /// `None` only while it is dropped.
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    // Order matters: the queue goes before its client, and tickets behind it.
    main: MainQueue,
    client: Client,
    /// Of every writer that is there or has left something on its way.
    tickets: Mutex<Vec<Arc<Ticket>>>,
    closing: AtomicBool,
    /// It broke: nobody begins to write with it.
    dead: AtomicBool,
}

impl SharedProducer {
    /// The producer of these settings: the one that is there, or a new one.
    fn of(cluster: &Cluster, batch_bytes: usize) -> Result<Arc<SharedProducer>, Failure> {
        let settings = (cluster.brokers.clone(), cluster.properties.clone(), batch_bytes);
        let mut producers = lock(&PRODUCERS);
        producers.retain(|(_, producer)| producer.strong_count() > 0);
        let known = producers.iter().find(|(known, _)| *known == settings).and_then(|(_, known)| known.upgrade());
        if let Some(known) = known.as_ref().filter(|known| !known.inner.dead.load(SeqCst)) {
            return Ok(known.clone());
        }
        let made = Arc::new(SharedProducer::open(cluster, batch_bytes)?);
        producers.retain(|(known, _)| *known != settings);
        producers.push((settings, Arc::downgrade(&made)));
        // To let go of the one that broke may take a while, if nobody else has it any more.
        drop(producers);
        drop(known);
        Ok(made)
    }

    fn open(cluster: &Cluster, batch_bytes: usize) -> Result<SharedProducer, Failure> {
        let defaults = [
            ("partitioner", "murmur2_random"),
            // Writers bound what is on its way, each for itself.
            ("queue.buffering.max.messages", "0"),
            ("queue.buffering.max.kbytes", "2147483647"),
            // A record that timed out would have to be sent again, behind those that came after it.
            ("message.timeout.ms", "0"),
            // Nobody waits for a batch to fill: what comes while others are on their way makes one.
            ("linger.ms", "1"),
            ("batch.num.messages", "100000"),
            ("batch.size", &batch_bytes.to_string()),
            // What a topic takes, its brokers say.
            ("message.max.bytes", &RECORD_BYTES_MAX.to_string()),
        ];
        let fixed = [("enable.idempotence", "true"), ("delivery.report.only.error", "false")];
        let client = cluster.client(Role::SharedProducer, &defaults, &fixed)?;
        let main = MainQueue::of(&client);
        let inner =
            Arc::new(Inner { main, client, tickets: Mutex::default(), closing: false.into(), dead: false.into() });
        let served = inner.clone();
        let thread = std::thread::Builder::new().name("kafka reports".into()).spawn(move || served.serve());
        let thread = thread
            .map_err(|cause| Failure::outside("kafka.thread", "cannot start a thread").no_retry().because(cause))?;
        Ok(SharedProducer { inner, thread: Some(thread) })
    }
}

impl Drop for SharedProducer {
    /// What is on its way is gone: nobody is left who waits for it.
    fn drop(&mut self) {
        self.inner.closing.store(true, SeqCst);
        self.inner.main.wake();
        if let Some(thread) = self.thread.take() {
            // It cannot panic; if it did, its reports are served by nobody, and nobody waits for them.
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn serve(&self) {
        while !self.closing.load(SeqCst) {
            // Whoever was about to give it a record when it died has done so by the next time.
            self.client.serve(if self.dead.load(SeqCst) { SLICE } else { SERVE });
            if self.client.fatal_error().is_some() {
                self.dead.store(true, SeqCst);
            }
            if self.dead.load(SeqCst) {
                // Each record is told of as taken back: nobody is left with one that comes out of order, much later.
                let everything = rd::RD_KAFKA_PURGE_F_QUEUE | rd::RD_KAFKA_PURGE_F_INFLIGHT;
                // SAFETY: the client lives.
                unsafe { rd::rd_kafka_purge(self.client.ptr(), everything) };
            }
        }
    }

    /// Forgets those who left nothing behind: only we have their tickets.
    fn sweep(tickets: &mut Vec<Arc<Ticket>>) {
        tickets.retain(|ticket| Arc::strong_count(ticket) > 1 || !ticket.is_idle());
    }
}

/// A topic, to be written by one writer with a producer that it shares.
pub(super) struct Share {
    // Order matters: the topic goes before its client.
    topic: Topic,
    ticket: Arc<Ticket>,
    producer: Arc<SharedProducer>,
    cluster: Cluster,
}

/// A write that is not done.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// Everything that was sent is still on its way: go on waiting, and send none of it again.
    Waits(Failure),
    /// Some of it was not written, and nothing is on its way any more.
    Failed(Failure),
}

impl Share {
    /// `batch_limit`: the largest batch that the topic takes.
    pub fn open(cluster: &Cluster, topic: &str, batch_limit: usize) -> Result<Share, Failure> {
        // A batch above a topic's limit is refused whole, and librdkafka does not split it.
        let producer = SharedProducer::of(cluster, batch_limit.min(BATCH_BYTES))?;
        let ticket = Arc::<Ticket>::default();
        let mut tickets = lock(&producer.inner.tickets);
        Inner::sweep(&mut tickets);
        tickets.push(ticket.clone());
        drop(tickets);
        let topic = Topic::of(&producer.inner.client, topic);
        Ok(Share { topic, ticket, producer, cluster: cluster.clone() })
    }

    /// True if a new one should be opened for what is not sent yet.
    pub fn is_over(&self) -> bool {
        self.producer.inner.dead.load(SeqCst) && self.ticket.is_idle()
    }

    /// Sends records of some rows, in order, and counts them in `sent`; those that were counted before are passed over.
    /// Then waits until all are delivered.
    pub fn write<'r>(&self, runs: impl Iterator<Item = &'r EncodedRows>, sent: &mut usize) -> Result<(), Unwritten> {
        let mut patience = Patience::of(&self.producer.inner.client);
        let records = runs.flat_map(|rows| rows.records.iter().map(move |record| (rows, record)));
        for (rows, record) in records.skip(*sent) {
            self.wait(&mut patience, |slice| self.ticket.wait_for_room(slice))?;
            if self.ticket.is_broken() || !self.send(rows, record, &mut patience)? {
                break;
            }
            *sent += 1;
        }
        self.settle_with(&mut patience)
    }

    /// Waits until nothing is on its way.
    pub fn settle(&self) -> Result<(), Unwritten> {
        self.settle_with(&mut Patience::of(&self.producer.inner.client))
    }

    fn settle_with(&self, patience: &mut Patience) -> Result<(), Unwritten> {
        self.wait(patience, |slice| self.ticket.wait_for_all(slice))?;
        let client = &self.producer.inner.client;
        let failure = match self.ticket.outcome() {
            Outcome::Delivered => {
                client.events().was_let_in();
                return Ok(());
            }
            Outcome::Lost => {
                let broke = || NativeError { text: "the producer broke".into(), ..NativeError::of_code(Code::Fatal) };
                super::producer::refusal(&self.cluster, client, client.fatal_error().unwrap_or_else(broke), None)
            }
            Outcome::Refused(refused) => {
                let error = NativeError::of_code(refused.code);
                super::producer::refusal(&self.cluster, client, error, Some(refused))
            }
        };
        Err(Unwritten::Failed(failure))
    }

    /// Gives a record to the producer. False: it was refused at once, which the ticket knows.
    fn send(&self, rows: &EncodedRows, record: &EncodedRecord, patience: &mut Patience) -> Result<bool, Unwritten> {
        let length = |range: &Option<_>| range.as_ref().map_or(0, |range| rows.bytes(range).len());
        let bytes = length(&record.value) + length(&record.key);
        let mut full = Duration::ZERO;
        let first = [self.topic.value(), Value::copied(), Value::opaque(Arc::as_ptr(&self.ticket).cast_mut().cast())];
        loop {
            self.ticket.give(bytes);
            // SAFETY: topic and client live, and the ticket while a record of it is on its way; the bytes are copied.
            let error = match unsafe { send(&self.producer.inner.client, &first, rows, record) } {
                Ok(()) => return Ok(true),
                Err(error) => error,
            };
            if error.code != Code::QueueFull {
                let NativeError { code, text: reason, .. } = error;
                let topic = self.topic.name();
                self.ticket.take_back(bytes, Some(Refused { code, topic, partition: -1, reason }));
                return Ok(false);
            }
            // The user's properties make it small, and all who write by these share it.
            self.ticket.take_back(bytes, None);
            std::thread::sleep(FULL_PAUSE);
            full += FULL_PAUSE;
            if full >= SLICE {
                full = Duration::ZERO;
                self.late(patience)?;
            }
        }
    }

    /// Waits in slices, for as long as there is news now and then.
    fn wait(&self, patience: &mut Patience, waited: impl Fn(Duration) -> bool) -> Result<(), Unwritten> {
        while !waited(SLICE) {
            self.late(patience)?;
        }
        patience.slices = 0;
        Ok(())
    }

    /// Another slice has gone by.
    fn late(&self, patience: &mut Patience) -> Result<(), Unwritten> {
        let client = &self.producer.inner.client;
        if let Some(refusal) = patience.refusal(client) {
            // Who tries again does so with a new one, which is let in or not.
            self.producer.inner.dead.store(true, SeqCst);
            self.producer.inner.main.wake();
            return Err(Unwritten::Waits(self.cluster.refused(refusal)));
        }
        patience.slices += 1;
        if SLICE * patience.slices < PATIENCE {
            return Ok(());
        }
        Err(Unwritten::Waits(self.cluster.away(client)))
    }
}

/// How long a writer has waited without any news.
struct Patience {
    slices: u32,
    /// Refusals of before mean nothing.
    refusals: u64,
}

impl Patience {
    fn of(client: &Client) -> Patience {
        Patience { slices: 0, refusals: client.events().refusals() }
    }

    fn refusal(&self, client: &Client) -> Option<Refusal> {
        let events = client.events();
        (events.refusals() > self.refusals).then(|| events.refusal()).flatten()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half-changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut tickets = lock(&self.producer.inner.tickets);
        // What is on its way stays so, and its ticket with it.
        tickets.retain(|ticket| !Arc::ptr_eq(ticket, &self.ticket) || !ticket.is_idle());
    }
}
