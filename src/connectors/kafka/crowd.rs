//! Clients that readers share while little comes.
//!
//! A client has a connection and a thread for each broker, and two threads more; hundreds of pipelines that wait for a
//! record now and then would have thousands. So a reader that waits gives its own back and reads with one that others
//! read with too, each with a queue of its own; one that has much to read takes a client of its own again (`reader`).
//! A process with a few readers has nothing to gain: its readers keep theirs.
//!
//! What one reader does is nobody else's business:
//!
//! * a client reads a partition once, so who reads the same one has another client;
//! * a full queue keeps that queue's partitions out of a fetch and no others;
//! * an outage is told to each, by its bell: what ends it has seen say nothing any more (I5).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::Cluster;
use super::consumer;
use super::native::{Client, MainQueue};
use crate::connectors::Bell;
use crate::report::Failure;

/// So many partitions have one client: each answer of a broker is followed by a question for all of them.
const PARTITIONS_MAX: usize = 64;
/// A client forgets no topic that it ever read, so after so many it takes no new ones.
const TOPICS_MAX: usize = 4 * PARTITIONS_MAX;
/// How long a broker holds a fetch that finds nothing: so long a new partition may wait until it is asked for.
const END_WITHIN: Duration = Duration::from_millis(500);
/// What one reader's queue takes; who may have less than this does not share.
pub(super) const QUEUE_BYTES: usize = 2 << 20;
/// Up to so many readers each have their own.
const READERS_FEW: usize = 8;
/// Events are looked for so often at least, though they tell of themselves.
const SERVE: Duration = Duration::from_secs(60);

static CLIENTS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());
static READERS: AtomicUsize = AtomicUsize::new(0);

/// A reader that is there.
pub(super) struct Counted(());

impl Counted {
    pub fn new() -> Counted {
        READERS.fetch_add(1, SeqCst);
        Counted(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        READERS.fetch_sub(1, SeqCst);
    }
}

/// So many readers are there that sharing is worth it.
pub(super) fn is_crowded() -> bool {
    READERS.load(SeqCst) > READERS_FEW
}

/// A topic's partition.
type Named = (Arc<str>, i32);

/// What is read with a client.
#[derive(Default)]
struct Taken {
    partitions: BTreeSet<Named>,
    /// All that ever were.
    topics: BTreeSet<Arc<str>>,
    /// Of those who read.
    bells: Vec<Bell>,
}

impl Taken {
    /// True if these can be read too; then they are taken.
    fn take(&mut self, wanted: &[Named]) -> bool {
        let new: BTreeSet<&Arc<str>> = wanted.iter().map(|(topic, _)| topic).collect();
        let new = new.into_iter().filter(|topic| !self.topics.contains(*topic)).count();
        let is_empty = self.partitions.is_empty();
        let has_room = is_empty || self.partitions.len() + wanted.len() <= PARTITIONS_MAX;
        let knows = self.topics.is_empty() || self.topics.len() + new <= TOPICS_MAX;
        if !has_room || !knows || wanted.iter().any(|partition| self.partitions.contains(partition)) {
            return false;
        }
        // A topic that was deleted and made anew has leaders of lower epochs than those that the client remembers, and is never
        // fetched with it; a leader that has moved since is not known to it either. So nobody comes back to a topic.
        let is_read = |topic: &Arc<str>| self.partitions.iter().any(|(read, _)| read == topic);
        if wanted.iter().any(|(topic, _)| self.topics.contains(topic) && !is_read(topic)) {
            return false;
        }
        self.partitions.extend(wanted.iter().cloned());
        self.topics.extend(wanted.iter().map(|(topic, _)| topic.clone()));
        true
    }
}

/// A client of several readers.
struct Shared {
    inner: Arc<Inner>,
    /// `None` only while it is dropped.
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    cluster: Cluster,
    // Order matters: the queue goes before its client.
    main: MainQueue,
    client: Client,
    taken: Mutex<Taken>,
    closing: AtomicBool,
}

impl Inner {
    /// Serves the client's events until it is closed, and has each reader look at what came of them.
    fn serve(&self) {
        let news = || (self.client.events().outages(), self.client.events().refusals());
        let mut before = news();
        while !self.closing.load(SeqCst) {
            self.client.serve(SERVE);
            let now = news();
            if std::mem::replace(&mut before, now) != now {
                lock(&self.taken).bells.iter().for_each(Bell::ring);
            }
        }
    }
}

impl Shared {
    fn open(cluster: &Cluster) -> Result<Shared, Failure> {
        let client = consumer::client(cluster, END_WITHIN, QUEUE_BYTES)?;
        let main = MainQueue::of(&client);
        let (taken, closing) = (Mutex::default(), AtomicBool::new(false));
        let inner = Arc::new(Inner { cluster: cluster.clone(), main, client, taken, closing });
        let served = inner.clone();
        let thread = std::thread::Builder::new().name("kafka events".into()).spawn(move || served.serve());
        let thread = thread
            .map_err(|cause| Failure::outside("kafka.thread", "cannot start a thread").no_retry().because(cause))?;
        Ok(Shared { inner, thread: Some(thread) })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.inner.closing.store(true, SeqCst);
        self.inner.main.wake();
        if let Some(thread) = self.thread.take() {
            // It cannot panic; if it did, nobody is left to be told.
            let _ = thread.join();
        }
    }
}

/// A reader's part of a shared client: some partitions, which nobody else reads with it.
pub(super) struct Seat {
    client: Arc<Shared>,
    partitions: Vec<Named>,
    bell: Bell,
}

impl Seat {
    /// Takes one with a client of this cluster: one that is there, or a new one. `bell` is rung when there is news.
    pub fn take(cluster: &Cluster, partitions: Vec<Named>, bell: Bell) -> Result<Seat, Failure> {
        let mut clients = lock(&CLIENTS);
        clients.retain(|client| client.strong_count() > 0);
        // What is not taken may be the last of its client, which is let go of outside of the lock.
        let known: Vec<Arc<Shared>> = clients.iter().filter_map(Weak::upgrade).collect();
        // Whoever is not let in any more takes nobody along.
        let is_in = |client: &&Arc<Shared>| client.inner.client.events().refusal().is_none();
        let mut of_cluster = known.iter().filter(|client| client.inner.cluster == *cluster).filter(is_in);
        let found = of_cluster.find(|client| lock(&client.inner.taken).take(&partitions)).cloned();
        let client = match found {
            Some(client) => client,
            None => {
                let made = Arc::new(Shared::open(cluster)?);
                lock(&made.inner.taken).take(&partitions);
                clients.push(Arc::downgrade(&made));
                made
            }
        };
        drop(clients);
        lock(&client.inner.taken).bells.push(bell.clone());
        Ok(Seat { client, partitions, bell })
    }

    pub fn client(&self) -> &Client {
        &self.client.inner.client
    }
}

impl Drop for Seat {
    /// Nothing of it is read any more.
    fn drop(&mut self) {
        let mut taken = lock(&self.client.inner.taken);
        for partition in &self.partitions {
            taken.partitions.remove(partition);
        }
        let own = self.bell.descriptor();
        taken.bells.retain(|bell| bell.descriptor() != own);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half-changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(topic: &str, numbers: std::ops::Range<i32>) -> Vec<Named> {
        numbers.map(|number| (topic.into(), number)).collect()
    }

    #[test]
    fn a_client_reads_a_partition_once() {
        let mut taken = Taken::default();
        assert!(taken.take(&named("a", 0..2)));
        assert!(!taken.take(&named("a", 1..3)));
        assert!(taken.take(&named("a", 2..3)) && taken.take(&named("b", 0..2)));
    }

    #[test]
    fn a_client_has_room_for_so_many_partitions_and_topics() {
        let mut taken = Taken::default();
        assert!(taken.take(&named("wide", 0..2 * PARTITIONS_MAX as i32)), "nobody else is there");
        assert!(!taken.take(&named("b", 0..1)));
        taken.partitions.clear();
        assert!(!taken.take(&named("wide", 0..1)), "the client remembers it, which may be another by now");
        for number in 1..TOPICS_MAX {
            assert!(taken.take(&named(&format!("t{number}"), 0..1)));
            taken.partitions.clear();
        }
        assert!(!taken.take(&named("one more", 0..1)));
    }
}
