//! The journal in a topic, and the sinks that commit with it.
//!
//! One transactional producer writes an epoch's rows and its record in one transaction (I9, I10).
//! The topic has one partition, keeps everything (`cleanup.policy=delete`, `retention.ms=-1`) and
//! is trimmed by deleting records from its beginning (I16).
//!
//! Where every sink is at least once there are no transactions: the rows are delivered first, then the
//! record, by an idempotent producer. Nobody is fenced by the broker then. So every record bears the name of
//! who wrote it; a reader passes over what somebody wrote who was replaced before, and a writer
//! whose record does not stand right behind its last one knows that it is not alone.
//!
//! I11: what an append was given stays with the caller, who sends the same bytes again after an
//! abort. When nobody knows how it ended, the producer is dropped: `acquire` makes a new one, whose
//! `init_transactions` settles the old transaction before the log is read.
//!
//! ```text
//! (made) ──acquire──▶ owning ──append: Committed / Aborted──▶ owning
//!                       └────append: Unknown / Fenced──▶ lost ──acquire──▶ owning
//! ```

mod log;
mod pacing;
mod place;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use self::log::Index;
use self::pacing::Pacing;
use self::place::Place;
use super::client::Cluster;
use super::native::{NativeError, Refused};
use super::producer::{Producer, refusal};
use super::topics::{NewTopic, SharedTopics, Topics};
use crate::data::{EncodedRows, Epoch, Offset};
use crate::faults;
use crate::journal::{Appended, Journal, Record, SinkRows, Watch, gone};
use crate::report::Failure;

/// Deleting records costs a request and a read: not more often than this.
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// From `init_transactions` to the owner record, where the cluster is busy.
const TAKEOVER_TIME: Duration = Duration::from_secs(2);

/// A Kafka sink that commits with the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSink {
    /// Its index in the plan.
    pub sink: usize,
    pub topic: String,
    /// Its own librdkafka properties, for the producer that all sinks share.
    pub properties: BTreeMap<String, String>,
}

/// The journal of one pipeline on a Kafka cluster.
pub struct KafkaJournal {
    /// With the properties of all sinks.
    cluster: Cluster,
    topic: String,
    transactional_id: String,
    sinks: Vec<JournalSink>,
    without_transactions: bool,
    /// Where it was acquired first.
    place: Option<Place>,
    /// How long it took to fence whoever wrote before.
    fencing: Duration,
    /// `None`: not acquired, or lost.
    producer: Option<Producer>,
    /// Without transactions: whose records these are, and where the next one will stand.
    instance: String,
    end: Offset,
    index: Index,
    pacing: Pacing,
    trimmed: Option<Instant>,
}

/// Where in a transaction something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begin,
    Produce,
    Commit,
}

impl KafkaJournal {
    /// Describes a journal; nothing is connected yet.
    ///
    /// # Errors
    /// A failure of the user's if two sinks want different values of one property: they share a producer.
    pub fn new(
        cluster: Cluster,
        topic: impl Into<String>,
        transactional_id: impl Into<String>,
        sinks: Vec<JournalSink>,
    ) -> Result<KafkaJournal, Failure> {
        let shared = shared_properties(&sinks)?;
        Ok(KafkaJournal {
            cluster: cluster.with(&shared),
            topic: topic.into(),
            transactional_id: transactional_id.into(),
            sinks,
            without_transactions: false,
            place: None,
            fencing: Duration::ZERO,
            producer: None,
            instance: String::new(),
            end: 0,
            index: Index::default(),
            pacing: Pacing::default(),
            trimmed: None,
        })
    }

    /// Writes rows before their record, without transactions: at least once.
    pub fn without_transactions(self) -> KafkaJournal {
        KafkaJournal { without_transactions: true, ..self }
    }

    /// How often a transaction met the end of the one before it, since `acquire`.
    pub fn conflicts(&self) -> u64 {
        self.producer.as_ref().map_or(0, |producer| producer.client().events().conflicts())
    }

    /// Makes the journal's topic, or sees that the one there keeps what it is given.
    fn prepare_topic(&self, topics: &Topics) -> Result<(), Failure> {
        let topic = &self.topic;
        let config = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];
        let config = config.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let Some(partitions) = topics.partitions(topic)? else {
            let new = NewTopic {
                name: topic.clone(),
                partitions: Some(1),
                replication: None,
                config: BTreeMap::from(config),
            };
            faults::point("topic.create");
            topics.create(&new)?;
            faults::point("topic.created");
            return Ok(());
        };
        let wrong = |what: String| {
            let title = format!("topic `{topic}` cannot be a journal: {what}");
            Err(Failure::user("kafka.journal_topic", title).hint("correct the topic, or delete it if it is not in use"))
        };
        if partitions != 1 {
            return wrong(format!("it has {partitions} partitions instead of 1"));
        }
        let found = topics.config(topic)?;
        for (name, wanted) in &config {
            if let Some(value) = found.get(name).filter(|value| *value != wanted) {
                return wrong(format!("its `{name}` is `{value}`, which loses records; it must be `{wanted}`"));
            }
        }
        Ok(())
    }

    /// The largest batch that each topic takes: the sinks', then the journal's. All of them exist.
    fn batch_limits(&self, topics: &Topics) -> Result<Vec<usize>, Failure> {
        let names = self.sinks.iter().map(|sink| &sink.topic).chain([&self.topic]);
        names.map(|name| Ok(topics.limits(name)?.batch_bytes_max.unwrap_or(1_000_000))).collect()
    }

    /// A producer of all topics; it is made before the log is read, so that nobody who is fenced by it writes behind what was read.
    fn open_producer(&mut self, topics: &Topics) -> Result<Producer, Failure> {
        if self.without_transactions { self.open_idempotent(topics) } else { self.open_transactional(topics) }
    }

    fn open_idempotent(&self, topics: &Topics) -> Result<Producer, Failure> {
        Producer::open(&self.cluster, None, &self.topic_names(), &self.batch_limits(topics)?)
    }

    fn topic_names(&self) -> Vec<&str> {
        self.sinks.iter().map(|sink| sink.topic.as_str()).chain([self.topic.as_str()]).collect()
    }

    fn open_transactional(&mut self, topics: &Topics) -> Result<Producer, Failure> {
        let limits = self.batch_limits(topics)?;
        let producer = Producer::open(&self.cluster, Some(&self.transactional_id), &self.topic_names(), &limits)?;
        let (id, begun) = (&self.transactional_id, Instant::now());
        producer.init().map_err(|error| match error.code {
            Code::InvalidTransactionTimeout => Failure::user(
                "kafka.property",
                "`transaction.timeout.ms` is above what the broker allows (`transaction.max.timeout.ms`)",
            )
            .because(error),
            Code::UnsupportedFeature => {
                Failure::user("kafka.no_transactions", format!("`{}` has no transactions", self.cluster.shown()))
                    .because(error)
            }
            _ => self.cluster.failure(producer.client(), &format!("become owner of transactional id `{id}`"), error),
        })?;
        self.fencing = begun.elapsed();
        // The broker's part of a recovery: it ends what the dead instance left open, and fences it.
        tracing::debug!(target: "kafka", "became owner of transactional id `{id}` in {} ms", self.fencing.as_millis());
        Ok(producer)
    }

    /// Writes everything in one transaction and says where it stopped.
    ///
    /// # Safety
    /// `journal` and `outputs` must live until a later `abort` succeeded or the producer was dropped,
    /// unless this succeeds.
    unsafe fn transact(
        &self,
        producer: &Producer,
        journal: &EncodedRows,
        outputs: &[SinkRows],
    ) -> Result<(), (Stage, NativeError)> {
        producer.begin().map_err(|error| (Stage::Begin, error))?;
        faults::point("transaction.begun");
        let at_produce = |error| (Stage::Produce, error);
        // The journal first: librdkafka tells the coordinator of the partitions that it knows of a moment after the first
        // record, and of one that comes later with another request.
        // SAFETY: passed on to our caller.
        unsafe { producer.produce(self.sinks.len(), journal) }.map_err(at_produce)?;
        // SAFETY: passed on to our caller.
        unsafe { self.produce(producer, outputs) }.map_err(at_produce)?;
        faults::point("transaction.produced");
        faults::point("transaction.ending");
        producer.commit().map_err(|error| (Stage::Commit, error))?;
        faults::point("transaction.committed");
        Ok(())
    }

    /// Sends the rows of all sinks.
    ///
    /// # Safety
    /// As `Producer::produce`.
    unsafe fn produce(&self, producer: &Producer, outputs: &[SinkRows]) -> Result<(), NativeError> {
        for output in outputs {
            let topic = self.sinks.iter().position(|sink| sink.sink == output.sink);
            let topic = topic.ok_or_else(|| NativeError::of_code(Code::UnknownTopic))?;
            for rows in &output.rows {
                // SAFETY: passed on to our caller.
                unsafe { producer.produce(topic, rows) }?;
            }
        }
        Ok(())
    }

    /// Delivers the rows, then the records; gives the offset of the last one.
    ///
    /// # Safety
    /// `journal` and `outputs` must live until this succeeded or the producer was dropped.
    unsafe fn deliver(
        &self,
        producer: &Producer,
        journal: &EncodedRows,
        outputs: &[SinkRows],
    ) -> Result<Offset, (NativeError, Option<Refused>)> {
        let failed = |error| (error, producer.take_refused());
        let delivered = || match (producer.deliver(), producer.take_refused()) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(refused)) => Err((NativeError::of_code(refused.code), Some(refused))),
            (Err(error), refused) => Err((error, refused)),
        };
        // SAFETY: passed on to our caller.
        unsafe { self.produce(producer, outputs) }.map_err(failed)?;
        delivered()?;
        // SAFETY: passed on to our caller.
        unsafe { producer.produce_noted(self.sinks.len(), journal) }.map_err(failed)?;
        delivered()?;
        Ok(producer.newest())
    }

    fn append_delivered(
        &mut self,
        producer: Producer,
        journal: &EncodedRows,
        outputs: &[SinkRows],
    ) -> Result<Appended, Failure> {
        // SAFETY: the rows outlive this call, and so the producer if it is dropped here. It is kept only after everything was delivered.
        match unsafe { self.deliver(&producer, journal, outputs) } {
            Ok(last) => {
                let alone = last + 1 == self.end + journal.len() as Offset;
                self.end = last + 1;
                if !alone {
                    let title = format!("another instance writes topic `{}`", self.topic);
                    return Ok(Appended::Fenced(Failure::outside("kafka.fenced", title)));
                }
                self.producer = Some(producer);
                Ok(Appended::Committed)
            }
            Err((_, Some(refused))) if refused.topic == self.topic && place::is_unknown(refused.code) => {
                Err(gone(&self.describe()))
            }
            Err((error, refused)) => {
                let failure = refusal(&self.cluster, producer.client(), error, refused);
                if failure.retry { Ok(Appended::Unknown(failure)) } else { Err(failure) }
            }
        }
    }

    fn append_encoded(&mut self, journal: &EncodedRows, outputs: &[SinkRows]) -> Result<Appended, Failure> {
        let Some(producer) = self.producer.take() else {
            return Ok(Appended::Unknown(Failure::outside("kafka.journal_lost", "the journal must be acquired again")));
        };
        if self.without_transactions {
            return self.append_delivered(producer, journal, outputs);
        }
        self.pacing.wait();
        let conflicts = producer.client().events().conflicts();
        // SAFETY: the rows outlive this call, and so the producer if it is dropped here (by a panic
        // too: it was moved out of `self` into this frame). It is kept only after a commit or an abort.
        match unsafe { self.transact(&producer, journal, outputs) } {
            Ok(()) => {
                self.pacing.committed(producer.client().events().conflicts() > conflicts);
                self.producer = Some(producer);
                Ok(Appended::Committed)
            }
            Err((stage, error)) => self.settle(producer, stage, error),
        }
    }

    /// Aborts where that is possible, and says how the append ended. Drops the producer otherwise.
    fn settle(&mut self, producer: Producer, stage: Stage, error: NativeError) -> Result<Appended, Failure> {
        if let Some(lost) = self.lost(&producer, &error) {
            return Ok(lost);
        }
        // A commit that only ran out of time may have happened; so may one with an error of no class.
        if stage == Stage::Begin || (stage == Stage::Commit && !error.requires_abort) {
            let failure = self.cluster.failure(producer.client(), "commit an epoch", error);
            return Ok(Appended::Unknown(failure));
        }
        if let Err(abort_error) = producer.abort() {
            return Ok(self.lost(&producer, &abort_error).unwrap_or_else(|| {
                Appended::Unknown(self.cluster.failure(producer.client(), "take back an epoch", abort_error))
            }));
        }
        let refused = producer.take_refused();
        if refused.as_ref().is_some_and(|refused| refused.topic == self.topic && place::is_unknown(refused.code)) {
            return Err(gone(&self.describe()));
        }
        let failure = refusal(&self.cluster, producer.client(), error, refused);
        self.producer = Some(producer);
        // What is refused today is refused tomorrow: the same bytes need not be sent again.
        if failure.retry { Ok(Appended::Aborted(failure)) } else { Err(failure) }
    }

    /// How an append ended whose producer is of no use any more; `None` if it still is.
    fn lost(&self, producer: &Producer, error: &NativeError) -> Option<Appended> {
        let fatal = producer.client().fatal_error().or_else(|| error.fatal.then(|| error.clone()))?;
        let fenced = |code| matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch);
        if fenced(fatal.code) || fenced(error.code) {
            let title = format!("another instance took over transactional id `{}`", self.transactional_id);
            return Some(Appended::Fenced(Failure::outside("kafka.fenced", title).because(fatal)));
        }
        let title = format!("the producer of `{}` broke", self.transactional_id);
        Some(Appended::Unknown(Failure::outside("kafka.producer", title).because(fatal)))
    }

    /// What our records bear.
    fn stamp(&self) -> Option<&str> {
        self.without_transactions.then_some(self.instance.as_str())
    }
}

/// The sinks' properties in one map.
fn shared_properties(sinks: &[JournalSink]) -> Result<BTreeMap<String, String>, Failure> {
    let mut shared: BTreeMap<String, String> = BTreeMap::new();
    for sink in sinks {
        for (name, value) in &sink.properties {
            let before = shared.insert(name.clone(), value.clone());
            if let Some(before) = before.filter(|before| before != value) {
                let title = format!(
                    "the sinks of one pipeline share a producer, and want `{name}` to be `{before}` and `{value}`"
                );
                return Err(Failure::user("kafka.property_conflict", title).hint("give them the same value"));
            }
        }
    }
    Ok(shared)
}

impl Journal for KafkaJournal {
    fn acquire(&mut self) -> Result<Vec<Record>, Failure> {
        // A producer that is gone cannot fence its successor, whatever it still had in mind.
        self.producer = None;
        let topics = SharedTopics::of(&self.cluster).topics()?;
        // Another one of its name would be taken for a log that was never begun.
        match &mut self.place {
            Some(place) => place.look_by(&topics)?,
            None => {
                self.prepare_topic(&topics)?;
                self.place = Some(Place::of(&self.cluster, &topics, &self.topic)?);
            }
        }
        let producer = self.open_producer(&topics)?;
        let (mut entries, mut end) = log::read(&self.cluster, &topics, &self.topic, 0)?;
        if self.without_transactions && log::is_transactional(&entries) {
            // Who wrote with transactions so far is fenced as such.
            drop(self.open_transactional(&topics)?);
            (entries, end) = log::read(&self.cluster, &topics, &self.topic, 0)?;
        }
        self.end = end;
        self.index = Index::default();
        self.index.note(&entries, end);
        self.producer = Some(producer);
        Ok(log::restored(entries))
    }

    fn read(&mut self) -> Result<Vec<Record>, Failure> {
        let topics = SharedTopics::of(&self.cluster).topics()?;
        if topics.partitions(&self.topic)?.is_none() {
            return Ok(Vec::new());
        }
        let (entries, _) = log::read(&self.cluster, &topics, &self.topic, 0)?;
        Ok(log::restored(entries))
    }

    fn append(&mut self, records: &[Record], outputs: &[SinkRows]) -> Result<Appended, Failure> {
        if let Some(Record::Owner(owner)) = records.iter().find(|record| matches!(record, Record::Owner(_))) {
            self.instance = owner.instance.clone();
        }
        let journal = log::encode(records, false, self.stamp())?;
        self.append_encoded(&journal, outputs)
    }

    fn trim(&mut self, epoch: Epoch) -> Result<(), Failure> {
        let every = faults::patience(TRIM_EVERY, "trim.");
        if self.producer.is_none() || self.trimmed.is_some_and(|at| at.elapsed() < every) {
            return Ok(());
        }
        self.trimmed = Some(Instant::now());
        let topics = Topics::connect(&self.cluster)?;
        let from = self.index.end();
        let (entries, end) = log::read(&self.cluster, &topics, &self.topic, from)?;
        self.index.note(&entries, end);
        let Some(cut) = self.index.cut(epoch) else { return Ok(()) };
        faults::point("trim.begin");
        let survivors = self.index.survivors(epoch, cut);
        if !survivors.is_empty() {
            let moved = log::encode(&survivors, true, self.stamp())?;
            match self.append_encoded(&moved, &[])? {
                Appended::Committed => {}
                Appended::Aborted(failure) | Appended::Unknown(failure) | Appended::Fenced(failure) => {
                    return Err(failure);
                }
            }
        }
        faults::point("trim.moved");
        topics.delete_records(&self.topic, 0, cut)?;
        faults::point("trim.done");
        self.index.forget_below(cut);
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Failure> {
        (self.producer, self.place) = (None, None);
        self.index = Index::default();
        Topics::connect(&self.cluster)?.delete(&self.topic).map(|_| ())
    }

    fn watch(&self) -> Option<Box<dyn Watch>> {
        self.place.clone().map(|place| Box::new(place) as Box<dyn Watch>)
    }

    fn fencing_time(&self) -> Duration {
        self.fencing
    }

    fn takeover_time(&self) -> Duration {
        TAKEOVER_TIME
    }

    fn describe(&self) -> String {
        place::described(&self.topic, &self.cluster)
    }
}

impl std::fmt::Debug for KafkaJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaJournal")
            .field("cluster", &self.cluster)
            .field("topic", &self.topic)
            .field("transactional_id", &self.transactional_id)
            .field("sinks", &self.sinks)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_that_want_different_values_are_refused() {
        let sink = |index: usize, value: &str| JournalSink {
            sink: index,
            topic: "t".into(),
            properties: BTreeMap::from([("linger.ms".to_owned(), value.to_owned())]),
        };
        assert!(KafkaJournal::new(Cluster::default(), "j", "id", vec![sink(0, "5"), sink(1, "5")]).is_ok());
        let conflict = KafkaJournal::new(Cluster::default(), "j", "id", vec![sink(0, "5"), sink(1, "6")]).unwrap_err();
        assert_eq!(conflict.code, "kafka.property_conflict");
    }
}
