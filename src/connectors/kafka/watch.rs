//! Looks after the topics of a source: is each still the topic that it was when reading began?
//!
//! A topic that is deleted and made again has offsets of its own. Where it has grown past the position of the old one
//! a read goes on without any error, so that only the id tells (I17). Partitions that come while a pipeline runs are
//! found here, to be read from their first record.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::client::Cluster;
use super::topics::{Described, Seen, SharedTopics};
use crate::connectors::PartitionStart;
use crate::data::{Position, partition};
use crate::report::Failure;

/// Topics as they are; `None`: there is none of this name.
type Found = BTreeMap<Arc<str>, Option<Described>>;

/// The topics of a source as they were when it was started.
#[derive(Default)]
pub(super) struct Watch(Mutex<Watched>);

#[derive(Default)]
struct Watched {
    /// `None` until it was asked.
    cluster: Option<Arc<SharedTopics>>,
    known: BTreeMap<Arc<str>, Described>,
    /// Not there at the last look. A broker that has just come up may not know all topics yet.
    missing: BTreeSet<Arc<str>>,
    /// When somebody looked last of whose look this has heard; what was seen before it began is of other topics.
    seen: Option<Instant>,
}

impl Watch {
    /// Notes what the topics are from now on. Gives their ids, where the brokers have some.
    pub fn begin(&self, cluster: &Cluster, names: &[Arc<str>]) -> Result<BTreeMap<String, String>, Failure> {
        let begun = Instant::now();
        let cluster = SharedTopics::of(cluster);
        let found = cluster.topics()?.described(names)?;
        let known: BTreeMap<_, _> = found.into_iter().filter_map(|(name, found)| Some((name, found?))).collect();
        let ids = known.iter().filter_map(|(name, topic)| Some((name.to_string(), topic.id.clone()?))).collect();
        *self.lock() = Watched { cluster: Some(cluster), known, seen: Some(begun), ..Watched::default() };
        Ok(ids)
    }

    /// The topic's id at the start.
    pub fn id(&self, topic: &str) -> Option<String> {
        self.lock().known.get(topic)?.id.clone()
    }

    /// So many partitions of a topic are read.
    pub fn found(&self, topic: &str, partitions: usize) {
        if let Some(known) = self.lock().known.get_mut(topic) {
            known.partitions = partitions;
        }
    }

    /// Asks again, now.
    ///
    /// # Errors
    /// `kafka.replaced`, `kafka.deleted`; or the cluster does not answer.
    pub fn ask(&self, names: &[Arc<str>]) -> Result<(), Failure> {
        let mut watched = self.lock();
        let Some(cluster) = &watched.cluster else { return Ok(()) };
        let found = cluster.topics()?.described(names)?;
        watched.compare(&found)
    }

    /// The same by what somebody saw lately.
    pub fn look(&self, names: &[Arc<str>]) -> Result<(), Failure> {
        self.lock().look(names).map(drop)
    }

    /// The same, and gives the partitions that were not there before, with their first offsets: each once.
    pub fn added(&self, names: &[Arc<str>]) -> Result<Vec<PartitionStart>, Failure> {
        let mut watched = self.lock();
        let Some(found) = watched.look(names)? else { return Ok(Vec::new()) };
        let grown = watched.grown(&found);
        let Some(cluster) = watched.cluster.as_ref().filter(|_| !grown.is_empty()) else { return Ok(Vec::new()) };
        let topics = cluster.topics()?;
        let mut added = Vec::new();
        for (name, numbers) in grown {
            let bounds = topics.bounds(&name, numbers.end)?;
            let Some(index) = names.iter().position(|topic| *topic == name) else { continue };
            added.extend(numbers.map(|number| PartitionStart {
                partition: partition::at(index, number as i32),
                start: Position::offset(bounds[number].low),
                end: None,
                max_timestamp: None,
            }));
        }
        // Not before all of it is known: what failed is asked again.
        watched.grow(&found);
        Ok(added)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// What was seen of these topics; `None`: nothing that was not seen before.
    fn look(&mut self, names: &[Arc<str>]) -> Result<Option<Found>, Failure> {
        let Some(cluster) = &self.cluster else { return Ok(None) };
        let Seen { at, topics } = cluster.look(names)?;
        if self.seen.is_some_and(|seen| at <= seen) {
            return Ok(None);
        }
        self.seen = Some(at);
        let found = names.iter().filter_map(|name| Some((name.clone(), topics.get(name)?.clone())));
        let found = found.collect();
        self.compare(&found)?;
        Ok(Some(found))
    }

    fn compare(&mut self, found: &Found) -> Result<(), Failure> {
        for (name, now) in found {
            let Some(known) = self.known.get(name) else { continue };
            let Some(now) = now else {
                if self.missing.insert(name.clone()) {
                    continue;
                }
                return Err(deleted(name));
            };
            self.missing.remove(name);
            if let (Some(before), Some(now)) = (&known.id, &now.id)
                && before != now
            {
                return Err(replaced(name, before, now));
            }
        }
        Ok(())
    }

    /// The numbers of partitions that came since.
    fn grown(&self, found: &Found) -> Vec<(Arc<str>, Range<usize>)> {
        let of = |(name, now): (&Arc<str>, &Option<Described>)| {
            let numbers = self.known.get(name)?.partitions..now.as_ref()?.partitions.min(partition::NUMBERS_MAX);
            (!numbers.is_empty()).then(|| (name.clone(), numbers))
        };
        found.iter().filter_map(of).collect()
    }

    fn grow(&mut self, found: &Found) {
        for (name, numbers) in self.grown(found) {
            self.known.entry(name).and_modify(|known| known.partitions = numbers.end);
        }
    }
}

fn replaced(topic: &str, before: &str, now: &str) -> Failure {
    let title =
        format!("topic `{topic}` was deleted and made again while it was read: its id was `{before}`, and is `{now}`");
    Failure::outside("kafka.replaced", title)
        .hint(
            "a new start says what can be done: `on_expired: earliest` goes on in the new topic, `--fresh` begins anew",
        )
        .no_retry()
}

fn deleted(topic: &str) -> Failure {
    Failure::outside("kafka.deleted", format!("topic `{topic}` was deleted while it was read"))
        .hint("what was read of it is committed; take it out of the pipeline, or make it again and start with `on_expired: earliest`")
        .no_retry()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: &str, partitions: usize) -> BTreeMap<Arc<str>, Option<Described>> {
        BTreeMap::from([("t".into(), Some(Described { id: (!id.is_empty()).then(|| id.into()), partitions }))])
    }

    fn watched(id: &str) -> Watched {
        let known = topic(id, 2).into_iter().filter_map(|(name, topic)| Some((name, topic?))).collect();
        Watched { known, ..Watched::default() }
    }

    #[test]
    fn a_topic_of_another_id_is_another_topic() {
        assert!(watched("a").compare(&topic("a", 2)).is_ok());
        let failure = watched("a").compare(&topic("b", 2)).unwrap_err();
        assert!(failure.code == "kafka.replaced" && failure.to_string().contains("`a`, and is `b`"), "{failure}");
    }

    #[test]
    fn partitions_that_came_are_told_once() {
        let mut watched = watched("a");
        assert_eq!(watched.grown(&topic("a", 2)), []);
        assert_eq!(watched.grown(&topic("a", 5)), [("t".into(), 2..5)]);
        watched.grow(&topic("a", 5));
        assert_eq!(watched.grown(&topic("a", 5)), []);
        // A broker that has not heard of them yet takes none away.
        watched.grow(&topic("a", 2));
        assert_eq!(watched.grown(&topic("a", 6)), [("t".into(), 5..6)]);
    }

    #[test]
    fn without_ids_nothing_is_said() {
        assert!(watched("a").compare(&topic("", 2)).is_ok());
        assert!(watched("").compare(&topic("a", 2)).is_ok());
    }

    #[test]
    fn a_topic_is_deleted_when_it_is_missing_twice_in_a_row() {
        let missing = || BTreeMap::from([("t".into(), None)]);
        let mut watched = watched("a");
        assert!(watched.compare(&missing()).is_ok());
        assert!(watched.compare(&topic("a", 2)).is_ok());
        assert!(watched.compare(&missing()).is_ok());
        assert_eq!(watched.compare(&missing()).unwrap_err().code, "kafka.deleted");
    }
}
