//! The journal's topic as a log: reading it to its end, and what survives a trim.
//!
//! Plan, owner and progress records that a trim would delete are appended again first, marked as
//! *moved*. Reading puts them where they were, before everything else, unless the original is
//! still there (a trim that died between the two).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::super::client::Cluster;
use super::super::consumer::Consumer;
use super::super::native::NativeError;
use super::super::topics::Topics;
use crate::data::{EncodedRecord, EncodedRows, Epoch, Offset};
use crate::journal::Record;
use crate::report::Failure;

/// Header of a record that was appended again.
const MOVED: &str = "runner-moved";
/// Header of a record that was written without a transaction: the instance that wrote it.
const INSTANCE: &str = "runner-instance";
/// A journal ends with a marker, so its end is waited for at every start.
const END_WITHIN: Duration = Duration::from_millis(10);
/// A journal is read at a start, beside nothing else.
const QUEUE_BYTES: usize = 16 << 20;
/// Without progress for this long, reading fails.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A record of the log and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub offset: Offset,
    pub moved: bool,
    /// Who wrote it; `None`: in a transaction.
    pub instance: Option<String>,
    pub record: Record,
}

/// Records as Kafka records, in order.
pub(super) fn encode(records: &[Record], moved: bool, instance: Option<&str>) -> Result<EncodedRows, Failure> {
    let mut rows = EncodedRows::default();
    if moved {
        let name = rows.put(MOVED.as_bytes());
        rows.headers.push((name, None));
    }
    if let Some(instance) = instance {
        let (name, value) = (rows.put(INSTANCE.as_bytes()), rows.put(instance.as_bytes()));
        rows.headers.push((name, Some(value)));
    }
    let headers = 0..rows.headers.len() as u32;
    for record in records {
        let text = serde_json::to_vec(record)
            .map_err(|error| Failure::bug("journal.encode", "a journal record cannot be written").because(error))?;
        let value = Some(rows.put(&text));
        rows.records.push(EncodedRecord { key: None, value, timestamp: None, headers: headers.clone() });
    }
    Ok(rows)
}

/// Reads what is committed from `from` to the end as of now; gives the entries and that end.
pub(super) fn read(
    cluster: &Cluster,
    topics: &Topics,
    topic: &str,
    from: Offset,
) -> Result<(Vec<Entry>, Offset), Failure> {
    let bounds = topics.bounds(topic, 1)?[0];
    let mut next = from.max(bounds.low);
    let mut entries = Vec::new();
    if next >= bounds.high {
        return Ok((entries, bounds.high));
    }
    let mut consumer = Consumer::open(cluster, &[topic.into()], END_WITHIN, QUEUE_BYTES)?;
    let doing = format!("read the journal in topic `{topic}`");
    let fail = |consumer: &Consumer, error| cluster.failure(consumer.client(), &doing, error);
    consumer.assign(&[(0, next)]).map_err(|error| fail(&consumer, error))?;
    let mut deadline = Instant::now() + TIMEOUT;
    while next < bounds.high {
        let mut failed = None;
        let before = next;
        let more = consumer.take(usize::MAX, |message| match message.error() {
            Code::NoError if message.offset() < bounds.high => {
                let headers = message.headers();
                let moved = headers.iter().any(|(name, _)| name == MOVED);
                let instance = headers.iter().find(|(name, _)| name == INSTANCE);
                let instance = instance.and_then(|(_, v)| Some(String::from_utf8_lossy(v.as_deref()?).into_owned()));
                match parse(topic, message.offset(), message.value()) {
                    Ok(record) => entries.push(Entry { offset: message.offset(), moved, instance, record }),
                    Err(failure) => failed = Some(Trouble::Failure(failure)),
                }
                next = message.offset() + 1;
            }
            // What stands behind the last record up to the end is markers and aborted records.
            Code::NoError | Code::PartitionEOF => next = next.max(message.offset()),
            Code::BrokerTransportFailure | Code::AllBrokersDown => {}
            code => {
                failed = Some(Trouble::Native(NativeError { text: message.reason(), ..NativeError::of_code(code) }));
            }
        });
        match failed {
            Some(Trouble::Failure(failure)) => return Err(failure),
            Some(Trouble::Native(error)) => return Err(fail(&consumer, error)),
            None if next > before => deadline = Instant::now() + TIMEOUT,
            None if Instant::now() > deadline => {
                return Err(fail(&consumer, NativeError::of_code(Code::OperationTimedOut)));
            }
            None => {}
        }
        if !more && next < bounds.high {
            consumer.filled().wait(&[], Duration::from_millis(100));
        }
    }
    Ok((entries, bounds.high))
}

enum Trouble {
    Failure(Failure),
    Native(NativeError),
}

fn parse(topic: &str, offset: Offset, value: Option<&[u8]>) -> Result<Record, Failure> {
    let record: Record = serde_json::from_slice(value.unwrap_or_default()).map_err(|error| {
        Failure::user("journal.unreadable", format!("offset {offset} of topic `{topic}` is not a journal record"))
            .because(error)
            .hint("it was written by something else, or by a newer version of `runner`")
    })?;
    if record.is_newer() {
        let title =
            format!("offset {offset} of the journal in topic `{topic}` was written by a newer version of runner");
        return Err(Failure::user("journal.newer", title)
            .hint("run this pipeline with that version; or delete the topic, and start over with `--fresh`"));
    }
    Ok(record)
}

/// Records in the order of their meaning: moved ones whose original is gone come first.
///
/// Where the broker fences nobody, an instance that was replaced may still write for a while: nobody goes by that.
pub(super) fn restored(entries: Vec<Entry>) -> Vec<Record> {
    let mut writer: Option<Option<String>> = None;
    let by_its_owner = |entry: &&Entry| {
        if let Record::Owner(owner) = &entry.record {
            writer = Some(entry.instance.as_ref().map(|_| owner.instance.clone()));
            return true;
        }
        entry.moved || writer.as_ref().is_none_or(|writer| *writer == entry.instance)
    };
    in_order(&entries).into_iter().filter(by_its_owner).map(|entry| entry.record.clone()).collect()
}

/// Whether the newest owner writes with transactions.
pub(super) fn is_transactional(entries: &[Entry]) -> bool {
    let newest = entries.iter().rev().find(|entry| matches!(entry.record, Record::Owner(_)));
    newest.is_some_and(|entry| entry.instance.is_none())
}

fn in_order(entries: &[Entry]) -> Vec<&Entry> {
    let mut front: Vec<&Entry> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.moved) {
        let original_is_there = entries.iter().any(|other| !other.moved && other.record == entry.record);
        if !original_is_there && !front.iter().any(|other| other.record == entry.record) {
            front.push(entry);
        }
    }
    front.extend(entries.iter().filter(|entry| !entry.moved));
    front
}

/// Where epochs stand in the log, and the records that outlive them.
#[derive(Debug, Default)]
pub(super) struct Index {
    epochs: BTreeMap<Epoch, Offset>,
    /// Plan, owner and progress records.
    others: Vec<Entry>,
    end: Offset,
}

impl Index {
    /// Adds what was read.
    pub fn note(&mut self, entries: &[Entry], end: Offset) {
        for entry in entries {
            match &entry.record {
                Record::Epoch(epoch) => {
                    self.epochs.entry(epoch.epoch).or_insert(entry.offset);
                }
                Record::Reached { epoch, .. } => {
                    self.epochs.entry(*epoch).or_insert(entry.offset);
                }
                _ => self.others.push(entry.clone()),
            }
        }
        self.end = end;
        self.drop_superseded_progress();
    }

    /// Progress records are many; only the newest of a sink counts.
    fn drop_superseded_progress(&mut self) {
        let mut newest: BTreeMap<String, Offset> = BTreeMap::new();
        for entry in &self.others {
            if let Record::Progress { sink, .. } = &entry.record {
                newest.insert(sink.clone(), entry.offset);
            }
        }
        self.others.retain(|entry| match &entry.record {
            Record::Progress { sink, .. } => newest[sink] == entry.offset,
            _ => true,
        });
    }

    /// Everything below was read.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// The offset below which nothing is needed for `epoch` and later; `None`: nothing to cut.
    pub fn cut(&self, epoch: Epoch) -> Option<Offset> {
        let (_, cut) = self.epochs.range(epoch..).next()?;
        self.epochs.range(..epoch).next().map(|_| *cut)
    }

    /// Records below `cut` that recovery still needs: the plan in force at `epoch`, the newest owner,
    /// the newest progress of each sink.
    pub fn survivors(&self, epoch: Epoch, cut: Offset) -> Vec<Record> {
        let ordered = in_order(&self.others);
        let superseded = |index: usize| {
            ordered[index + 1..].iter().any(|later| match (&ordered[index].record, &later.record) {
                (Record::Plan(_), Record::Plan(later)) => later.from_epoch <= epoch,
                (Record::Owner(_), Record::Owner(_)) => true,
                (Record::Progress { sink, .. }, Record::Progress { sink: later, .. }) => sink == later,
                _ => false,
            })
        };
        let needed = ordered.iter().enumerate().filter(|(index, entry)| entry.offset < cut && !superseded(*index));
        needed.map(|(_, entry)| entry.record.clone()).collect()
    }

    pub fn forget_below(&mut self, cut: Offset) {
        self.epochs.retain(|_, offset| *offset >= cut);
        self.others.retain(|entry| entry.offset >= cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{EpochRecord, Owner, PlanRecord};
    use crate::time::Watermark;

    fn plan(from_epoch: Epoch) -> Record {
        Record::Plan(PlanRecord {
            version: 1,
            lineage: "l".into(),
            namespace: "default".into(),
            pipeline: "p".into(),
            fingerprint: from_epoch.to_string(),
            from_epoch,
            starts: BTreeMap::new(),
            sinks: BTreeMap::new(),
            resolved: serde_json::Value::Null,
            jumps: BTreeMap::new(),
            topic_ids: BTreeMap::new(),
            parts: None,
            told_failed: None,
        })
    }

    fn owner(incarnation: u64) -> Record {
        Record::Owner(Owner { incarnation, host: "h".into(), pid: 1, instance: "i".into() })
    }

    fn epoch(epoch: Epoch) -> Record {
        Record::Epoch(EpochRecord {
            lineage: "l".into(),
            incarnation: 1,
            epoch,
            partitions: BTreeMap::new(),
            watermark: Watermark::NONE,
            clock: 0,
            needed: epoch,
            learnt: BTreeMap::new(),
            last_windows: BTreeMap::new(),
            ended: false,
            continues: None,
            cursor: None,
            failed: None,
        })
    }

    fn progress(epoch: Epoch) -> Record {
        Record::Progress { sink: "console".into(), epoch }
    }

    fn written(records: Vec<Record>) -> Vec<Entry> {
        (0..).zip(records).map(|(offset, record)| Entry { offset, moved: false, instance: None, record }).collect()
    }

    fn indexed(entries: &[Entry]) -> Index {
        let mut index = Index::default();
        index.note(entries, entries.last().map_or(0, |entry| entry.offset + 1));
        index
    }

    #[test]
    fn a_trim_keeps_the_plan_in_force_the_newest_owner_and_progress() {
        let log = written(vec![
            plan(1),
            owner(1),
            epoch(1),
            progress(1),
            owner(2),
            epoch(2),
            progress(2),
            epoch(3),
            plan(4),
            epoch(4),
        ]);
        let index = indexed(&log);
        assert_eq!(index.cut(3), Some(7));
        assert_eq!(index.survivors(3, 7), [plan(1), owner(2), progress(2)]);
        // The second plan is in force from 4 on: nobody needs the first then.
        assert_eq!(index.survivors(4, 9), [owner(2), progress(2), plan(4)]);
    }

    #[test]
    fn i15_what_a_replaced_instance_still_wrote_counts_for_nothing() {
        let by = |instance: &str, record: Record| (Some(instance.to_owned()), record);
        let owner = |incarnation: u64, instance: &str| match owner(incarnation) {
            Record::Owner(owner) => Record::Owner(Owner { instance: instance.into(), ..owner }),
            other => other,
        };
        let log = |records: Vec<(Option<String>, Record)>| {
            let entry = |(offset, (instance, record))| Entry { offset, moved: false, instance, record };
            restored((0..).zip(records).map(entry).collect())
        };
        let (a, b) = (owner(1, "a"), owner(2, "b"));
        let both =
            vec![by("a", a.clone()), by("a", epoch(1)), by("b", b.clone()), by("a", epoch(2)), by("b", epoch(3))];
        assert_eq!(log(both), [a.clone(), epoch(1), b.clone(), epoch(3)]);
        // From transactions to none, and back.
        let mixed = vec![(None, a.clone()), (None, epoch(1)), by("b", b.clone()), (None, epoch(2)), by("b", epoch(3))];
        assert_eq!(log(mixed), [a.clone(), epoch(1), b.clone(), epoch(3)]);
        let back = vec![by("b", b.clone()), by("b", epoch(1)), (None, a.clone()), by("b", epoch(2)), (None, epoch(3))];
        assert_eq!(log(back), [b, epoch(1), a, epoch(3)]);
    }

    #[test]
    fn nothing_is_cut_where_no_epoch_is_older_or_none_is_left() {
        let index = indexed(&written(vec![plan(1), epoch(5), epoch(6)]));
        assert_eq!((index.cut(5), index.cut(7), index.cut(6)), (None, None, Some(2)));
    }

    #[test]
    fn moved_records_come_first_when_read_again() {
        let mut log = written(vec![plan(1), owner(1), epoch(1), epoch(2), epoch(3)]);
        log.extend([5, 6].map(|offset| Entry {
            offset,
            moved: true,
            instance: None,
            record: log[offset as usize - 5].record.clone(),
        }));
        // The trim died before it deleted: nothing is doubled.
        assert_eq!(restored(log.clone()), [plan(1), owner(1), epoch(1), epoch(2), epoch(3)]);
        // It went through: the log begins at epoch 2.
        assert_eq!(restored(log[3..].to_vec()), [plan(1), owner(1), epoch(2), epoch(3)]);
    }

    #[test]
    fn a_plan_moved_behind_a_newer_one_stays_the_older() {
        let log = vec![
            Entry { offset: 20, moved: false, instance: None, record: epoch(3) },
            Entry { offset: 21, moved: false, instance: None, record: plan(4) },
            Entry { offset: 22, moved: false, instance: None, record: epoch(4) },
            Entry { offset: 23, moved: true, instance: None, record: plan(1) },
        ];
        assert_eq!(restored(log.clone()), [plan(1), epoch(3), plan(4), epoch(4)]);
        let index = indexed(&log);
        assert_eq!(index.survivors(4, 22), [plan(4)], "only the newer one is in force at 4");
    }
}
