//! What is asked of a cluster by many: one connection for all of them, and one look for all who look at topics.
//!
//! Every start asks what its topics are and take, and every pipeline looks now and then whether its topics are still
//! those that it began with. A connection for each question costs threads and round trips, hundreds of pipelines many.
//! The connection is there while somebody holds this; it tells of no outage, which whoever reads or writes does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use super::{Described, MOVED_COORDINATOR, Topics};
use crate::connectors::kafka::client::Cluster;
use crate::data::{Offset, Partition};
use crate::report::Failure;

/// Who looks gets what was seen so long ago at most, where somebody has just looked.
const FRESH: Duration = Duration::from_secs(2);
/// At what nobody has looked for so long, nobody looks any more.
const WANTED: Duration = Duration::from_secs(60);

static CLUSTERS: Mutex<Vec<Weak<SharedTopics>>> = Mutex::new(Vec::new());

/// A cluster that several ask.
pub struct SharedTopics {
    cluster: Cluster,
    /// The one that answered last.
    current: Mutex<Option<Arc<Topics>>>,
    /// Topics that are looked at, and when somebody did last.
    wanted: Mutex<BTreeMap<Arc<str>, Instant>>,
    seen: Mutex<Option<Seen>>,
    looking: Mutex<()>,
}

/// Topics as they were when somebody looked; `None`: there was none of this name. What the cluster does not tell of is left
/// out.
#[derive(Debug, Clone)]
pub(in crate::connectors::kafka) struct Seen {
    /// When it began; tells one look from another.
    pub at: Instant,
    pub topics: Arc<BTreeMap<Arc<str>, Option<Described>>>,
}

impl SharedTopics {
    /// That of this cluster; nothing is connected yet.
    pub fn of(cluster: &Cluster) -> Arc<SharedTopics> {
        let mut clusters = lock(&CLUSTERS);
        clusters.retain(|known| known.strong_count() > 0);
        if let Some(known) = clusters.iter().filter_map(Weak::upgrade).find(|known| known.cluster == *cluster) {
            return known;
        }
        let made = Arc::new(SharedTopics {
            cluster: cluster.clone(),
            current: Mutex::default(),
            wanted: Mutex::default(),
            seen: Mutex::default(),
            looking: Mutex::default(),
        });
        clusters.push(Arc::downgrade(&made));
        made
    }

    /// A connection that has answered just now.
    ///
    /// # Errors
    /// As [`Topics::connect`].
    pub fn topics(&self) -> Result<Arc<Topics>, Failure> {
        let known = lock(&self.current).clone();
        if let Some(known) = known {
            if known.has_answered() {
                return Ok(known);
            }
            match known.answers() {
                Ok(()) => return Ok(known),
                Err(failure) => {
                    self.forget(&known);
                    // It may have been refused long ago: only a new one tells whether it still would be.
                    if failure.retry {
                        return Err(failure);
                    }
                }
            }
        }
        let made = Arc::new(Topics::quiet(&self.cluster)?);
        Ok(lock(&self.current).get_or_insert(made).clone())
    }

    /// Commits offsets and metadata for a group without members, outside of any transaction.
    ///
    /// # Errors
    /// As [`Topics::commit`].
    pub(in crate::connectors::kafka) fn commit(
        &self,
        group: &str,
        names: &[Arc<str>],
        positions: &[(Partition, Offset)],
        metadata: &str,
    ) -> Result<(), Failure> {
        let topics = self.topics()?;
        match topics.commit(group, names, positions, metadata) {
            // A client of librdkafka goes on to ask the coordinator that it once found; a new one looks for it.
            Err(failure) if failure.code == MOVED_COORDINATOR => {
                self.forget(&topics);
                self.topics()?.commit(group, names, positions, metadata)
            }
            done => done,
        }
    }

    /// What these topics are, as somebody saw it lately.
    ///
    /// # Errors
    /// The cluster does not answer, which a later look may find otherwise.
    pub(in crate::connectors::kafka) fn look(&self, names: &[Arc<str>]) -> Result<Seen, Failure> {
        if let Some(seen) = self.seen(names) {
            return Ok(seen);
        }
        let _looking = match self.looking.try_lock() {
            Ok(looking) => looking,
            Err(TryLockError::Poisoned(poison)) => poison.into_inner(),
            Err(TryLockError::WouldBlock) => match self.seen_since(Duration::MAX, names) {
                // The next look will have seen what this one is about to.
                Some(old) => return Ok(old),
                None => lock(&self.looking),
            },
        };
        if let Some(seen) = self.seen_since(FRESH, names) {
            return Ok(seen);
        }
        let all = self.wanted();
        let known = lock(&self.current).clone();
        let topics = known.map_or_else(|| self.topics(), Ok)?;
        let at = Instant::now();
        match topics.described(&all) {
            Ok(found) => {
                let seen = Seen { at, topics: Arc::new(found) };
                *lock(&self.seen) = Some(seen.clone());
                Ok(seen)
            }
            Err(failure) => {
                self.forget(&topics);
                // Whether it is final, a connection says that is made anew.
                Err(Failure { retry: true, ..failure })
            }
        }
    }

    /// The same where somebody has just looked: nobody is asked, and nothing waited for.
    pub(in crate::connectors::kafka) fn seen(&self, names: &[Arc<str>]) -> Option<Seen> {
        let now = Instant::now();
        lock(&self.wanted).extend(names.iter().map(|name| (name.clone(), now)));
        self.seen_since(FRESH, names)
    }

    fn seen_since(&self, age_max: Duration, names: &[Arc<str>]) -> Option<Seen> {
        let seen = lock(&self.seen).clone();
        seen.filter(|seen| seen.at.elapsed() < age_max && names.iter().all(|name| seen.topics.contains_key(name)))
    }

    /// All that somebody looks at.
    fn wanted(&self) -> Vec<Arc<str>> {
        let mut wanted = lock(&self.wanted);
        wanted.retain(|_, at| at.elapsed() < WANTED);
        wanted.keys().cloned().collect()
    }

    fn forget(&self, topics: &Arc<Topics>) {
        let mut current = lock(&self.current);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, topics)) {
            let gone = current.take();
            drop(current);
            // To let go of a client may block.
            drop(gone);
        }
    }
}

impl std::fmt::Debug for SharedTopics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SharedTopics").field(&self.cluster).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half-changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
