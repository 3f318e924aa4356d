//! The journal in a topic, and rows that are committed with it.

use std::collections::BTreeMap;

use arrow::array::Array;
use rdkafka::producer::Producer;
use runner::connectors::kafka::{JournalSink, KafkaJournal, Start, Topics};
use runner::data::{EncodedRecord, EncodedRows, Epoch};
use runner::journal::{Appended, EpochRecord, Journal, Owner, PlanRecord, Record, SinkRows};
use runner::time::Watermark;

use super::reading::{all_at_end, open, poll_until, source};
use super::{PATIENCE, cluster, rows, texts};
use crate::servers::{self, TestRecord};

/// A journal with one sink, number 2 of its plan.
fn journal(name: &str, sink_topic: &str) -> KafkaJournal {
    let sink = JournalSink { sink: 2, topic: sink_topic.to_owned(), properties: BTreeMap::new() };
    KafkaJournal::new(cluster(), format!("{name}.journal"), name, vec![sink]).unwrap()
}

fn epoch(epoch: Epoch) -> Record {
    Record::Epoch(EpochRecord {
        lineage: "lineage".into(),
        incarnation: 1,
        epoch,
        partitions: BTreeMap::new(),
        watermark: Watermark::at(epoch as i64),
        clock: 7,
        needed: epoch,
        learnt: BTreeMap::new(),
        last_windows: BTreeMap::new(),
        ended: false,
        continues: None,
        cursor: None,
        failed: None,
    })
}

fn owner(incarnation: u64) -> Record {
    Record::Owner(Owner { incarnation, host: "host".into(), pid: 1, instance: "instance".into() })
}

fn plan(from_epoch: Epoch) -> Record {
    Record::Plan(PlanRecord {
        version: 1,
        lineage: "lineage".into(),
        namespace: "default".into(),
        pipeline: "p".into(),
        fingerprint: "f".into(),
        from_epoch,
        starts: BTreeMap::new(),
        sinks: BTreeMap::new(),
        resolved: serde_json::json!({"é": [1.5, null]}),
        jumps: BTreeMap::new(),
        topic_ids: BTreeMap::new(),
        parts: None,
        told_failed: None,
    })
}

fn committed(journal: &mut KafkaJournal, records: &[Record], outputs: &[SinkRows]) {
    match journal.append(records, outputs).unwrap() {
        Appended::Committed => {}
        other => panic!("not committed: {other:?}"),
    }
}

#[test]
fn a_journal_is_read_back_as_it_was_written() {
    let (name, topic) = (servers::unique("journal"), servers::topic("out", 1));
    let mut first = journal(&name, &topic);
    assert_eq!(first.acquire().unwrap(), []);
    committed(&mut first, &[plan(1), owner(1)], &[]);
    committed(&mut first, &[epoch(1)], &rows(&["a", "b"]));
    committed(&mut first, &[epoch(2)], &[]);
    committed(&mut first, &[epoch(3)], &rows(&["c"]));
    let mut second = journal(&name, &topic);
    assert_eq!(second.acquire().unwrap(), [plan(1), owner(1), epoch(1), epoch(2), epoch(3)]);
    assert_eq!(texts(&topic), ["a", "b", "c"]);
}

#[test]
fn i15_a_second_owner_fences_the_first() {
    let (name, topic) = (servers::unique("fence"), servers::topic("out", 1));
    let mut first = journal(&name, &topic);
    first.acquire().unwrap();
    committed(&mut first, &[owner(1), epoch(1)], &rows(&["first"]));
    let mut second = journal(&name, &topic);
    assert_eq!(second.acquire().unwrap(), [owner(1), epoch(1)]);
    committed(&mut second, &[owner(2), epoch(2)], &rows(&["second"]));

    let late = first.append(&[epoch(2)], &rows(&["too late"])).unwrap();
    assert!(matches!(&late, Appended::Fenced(failure) if failure.code == "kafka.fenced"), "{late:?}");
    // Lost until it is acquired again.
    assert!(matches!(first.append(&[epoch(2)], &[]).unwrap(), Appended::Unknown(_)));
    assert_eq!(texts(&topic), ["first", "second"]);
    assert_eq!(first.acquire().unwrap(), [owner(1), epoch(1), owner(2), epoch(2)]);
    let fenced = second.append(&[epoch(3)], &[]).unwrap();
    assert!(matches!(fenced, Appended::Fenced(_)), "{fenced:?}");
}

/// Without transactions the broker fences nobody: a record that does not stand where it should tells the one that was
/// replaced, and what it still wrote counts for nothing.
#[test]
fn i15_without_transactions_a_second_owner_is_noticed_by_its_records() {
    let (name, topic) = (servers::unique("unfenced"), servers::topic("out", 1));
    let by = |incarnation: u64, instance: &str| {
        Record::Owner(Owner { incarnation, host: "host".into(), pid: 1, instance: instance.into() })
    };
    let mut first = journal(&name, &topic).without_transactions();
    first.acquire().unwrap();
    committed(&mut first, &[by(1, "a")], &[]);
    committed(&mut first, &[epoch(1)], &rows(&["first"]));
    let mut second = journal(&name, &topic).without_transactions();
    assert_eq!(second.acquire().unwrap(), [by(1, "a"), epoch(1)]);
    committed(&mut second, &[by(2, "b")], &[]);
    committed(&mut second, &[epoch(2)], &rows(&["second"]));

    let late = first.append(&[epoch(2), epoch(3)], &rows(&["too late"])).unwrap();
    assert!(matches!(&late, Appended::Fenced(failure) if failure.code == "kafka.fenced"), "{late:?}");
    let kept = [by(1, "a"), epoch(1), by(2, "b"), epoch(2)];
    assert_eq!(first.read().unwrap(), kept);
    // The second finds that somebody wrote, reads who, and goes on.
    assert!(matches!(second.append(&[epoch(3)], &[]).unwrap(), Appended::Fenced(_)));
    assert_eq!(second.acquire().unwrap(), [&kept[..], &[epoch(3)]].concat());
    committed(&mut second, &[epoch(4)], &rows(&["fourth"]));
    assert_eq!(texts(&topic), ["first", "second", "too late", "fourth"]);

    // Whoever writes with transactions again takes over as ever.
    let mut third = journal(&name, &topic);
    third.acquire().unwrap();
    committed(&mut third, &[by(3, "c"), epoch(5)], &rows(&["fifth"]));
    assert!(matches!(second.append(&[epoch(5)], &[]).unwrap(), Appended::Fenced(_)));
    let mut fourth = journal(&name, &topic).without_transactions();
    assert_eq!(fourth.acquire().unwrap().last(), Some(&epoch(5)));
    let fenced = third.append(&[epoch(6)], &[]).unwrap();
    assert!(matches!(fenced, Appended::Fenced(_)), "a transactional predecessor is fenced: {fenced:?}");
}

#[test]
fn without_transactions_a_refused_record_ends_the_append_and_nothing_is_journaled() {
    let name = servers::unique("refused");
    let topic = servers::topic_with("out", 1, &[("max.message.bytes", "2000")]);
    let mut journal = journal(&name, &topic).without_transactions();
    journal.acquire().unwrap();
    committed(&mut journal, &[owner(1)], &[]);
    let failure = journal.append(&[epoch(1)], &rows(&["good", &"x".repeat(5_000)])).unwrap_err();
    assert_eq!((failure.code, failure.retry), ("kafka.record_too_large", false));
    assert_eq!(journal.acquire().unwrap(), [owner(1)]);
}

#[test]
fn i15_what_a_dead_owner_left_open_is_aborted_before_the_log_is_read() {
    let (name, topic) = (servers::unique("dead"), servers::topic("out", 1));
    let mut alive = journal(&name, &topic);
    alive.acquire().unwrap();
    committed(&mut alive, &[epoch(1)], &rows(&["kept"]));
    drop(alive);
    // The same id, as the process before had it: killed in the middle of its transaction.
    let dead = servers::transactional_producer(&name);
    dead.begin_transaction().unwrap();
    servers::send(&dead, &topic, &TestRecord::to(0, "never"));
    servers::send(&dead, &format!("{name}.journal"), &TestRecord::to(0, "{}"));
    dead.flush(PATIENCE).unwrap();

    let mut next = journal(&name, &topic);
    assert_eq!(next.acquire().unwrap(), [epoch(1)]);
    committed(&mut next, &[epoch(2)], &rows(&["next"]));
    assert_eq!(texts(&topic), ["kept", "next"]);
}

#[test]
fn i11_a_refused_record_takes_the_whole_epoch_back_and_names_the_topic() {
    let (name, topic) = (servers::unique("refused"), servers::topic("out", 1));
    let mut journal = journal(&name, &topic);
    journal.acquire().unwrap();
    let mut outputs = rows(&["good", "from the future"]);
    outputs[0].rows[0].records[1].timestamp = Some(32_503_680_000_000);
    let failure = journal.append(&[epoch(1)], &outputs).unwrap_err();
    assert_eq!((failure.code, failure.retry), ("kafka.record_refused", false));
    assert!(failure.to_string().contains(&topic), "{failure}");

    let large = "x".repeat(17 << 20);
    let failure = journal.append(&[epoch(1)], &rows(&["good", &large])).unwrap_err();
    assert_eq!(failure.code, "kafka.record_too_large");

    // After a refusal the broker may ask for another epoch of the producer first: I11, the same bytes again.
    let mut tries = 0;
    while let Appended::Aborted(failure) = journal.append(&[epoch(1)], &rows(&["good"])).unwrap() {
        tries += 1;
        assert!(failure.retry && tries < 3, "{failure}");
    }
    assert_eq!(texts(&topic), ["good"]);
    assert_eq!(journal.acquire().unwrap(), [epoch(1)]);
}

#[test]
fn i10_many_epochs_are_committed_once_each_and_in_order() {
    let (name, topic) = (servers::unique("many"), servers::topic("out", 1));
    let mut journal = journal(&name, &topic);
    journal.acquire().unwrap();
    let numbers: Vec<String> = (1..=200).map(|number| number.to_string()).collect();
    for (number, text) in (1..).zip(&numbers) {
        committed(&mut journal, &[epoch(number)], &rows(&[text]));
    }
    assert_eq!(texts(&topic), numbers);
    assert_eq!(journal.acquire().unwrap().len(), 200);
}

#[test]
fn an_epoch_larger_than_the_clients_queue_is_committed() {
    let (name, topic) = (servers::unique("large"), servers::topic("out", 4));
    let properties = BTreeMap::from([("queue.buffering.max.messages".to_owned(), "1000".to_owned())]);
    let sink = JournalSink { sink: 2, topic: topic.clone(), properties };
    let mut journal = KafkaJournal::new(cluster(), format!("{name}.journal"), &*name, vec![sink]).unwrap();
    journal.acquire().unwrap();
    let text = "y".repeat(100);
    committed(&mut journal, &[epoch(1)], &rows(&vec![text.as_str(); 50_000]));
    assert_eq!(servers::read(&topic).len(), 50_000);
}

#[test]
fn keys_timestamps_headers_and_tombstones_arrive_as_they_were_given() {
    let (name, topic) = (servers::unique("exact"), servers::topic("out", 1));
    let mut rows = EncodedRows::default();
    let (key, value) = (rows.put(b"key"), rows.put(b"value"));
    let names = [rows.put(b"n"), rows.put(b"n"), rows.put("ü".as_bytes())];
    let empty = rows.put(b"");
    rows.headers = vec![
        (names[0].clone(), Some(value.clone())),
        (names[1].clone(), None),
        (names[2].clone(), Some(empty.clone())),
    ];
    let record =
        |key: Option<_>, value: Option<_>, timestamp, headers| EncodedRecord { key, value, timestamp, headers };
    rows.records = vec![
        record(Some(key.clone()), Some(value.clone()), Some(1_700_000_000_123), 0..2),
        record(Some(key.clone()), None, Some(1_700_000_000_000), 2..3),
        record(Some(empty.clone()), Some(empty.clone()), None, 0..0),
        record(None, Some(value), None, 0..0),
    ];
    let mut journal = journal(&name, &topic);
    journal.acquire().unwrap();
    committed(&mut journal, &[epoch(1)], &[SinkRows { sink: 2, rows: vec![rows] }]);

    let read = servers::read(&topic);
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(
        (&read[0].key, &read[0].value, read[0].timestamp),
        (&bytes("key"), &bytes("value"), Some(1_700_000_000_123))
    );
    assert_eq!(read[0].headers, [("n".to_owned(), bytes("value")), ("n".to_owned(), None)]);
    assert_eq!((&read[1].value, read[1].timestamp), (&None, Some(1_700_000_000_000)));
    assert_eq!(read[1].headers, [("ü".to_owned(), bytes(""))]);
    assert_eq!((&read[2].key, &read[2].value), (&bytes(""), &bytes("")));
    assert!(read[2].timestamp.unwrap() > 1_700_000_000_123 && read[3].key.is_none());

    // And our own reader sees the same.
    let (_, mut reader) = open(&source(&topic, Start::Earliest, None));
    let batch = poll_until(&mut *reader, 10, all_at_end(1)).remove(0);
    assert_eq!(batch.headers, read.iter().map(|record| record.headers.clone()).collect::<Vec<_>>());
    let of_batch = |array: &arrow::array::BinaryArray| array.iter().map(|v| v.map(<[u8]>::to_vec)).collect::<Vec<_>>();
    assert_eq!(of_batch(&batch.keys), read.iter().map(|record| record.key.clone()).collect::<Vec<_>>());
    assert_eq!(of_batch(&batch.values), read.iter().map(|record| record.value.clone()).collect::<Vec<_>>());
    assert!(batch.values.is_null(1) && !batch.keys.is_null(2));
    assert_eq!(batch.timestamps.unwrap()[..2], [1_700_000_000_123, 1_700_000_000_000]);
}

/// Key, and its partition of 7 and of 12 in Java's default partitioner.
const MURMUR2: [(&[u8], i32, Option<i32>); 8] = [
    (b"", 2, Some(9)),
    (b"a", 5, Some(4)),
    (b"ab", 0, Some(2)),
    (b"abc", 4, Some(3)),
    (b"abcd", 5, Some(8)),
    (b"user-42", 1, Some(4)),
    (b"\xff\xfe\x00\x80", 6, Some(8)),
    ("Zürich".as_bytes(), 2, Some(1)),
];

#[test]
fn keys_go_to_the_partitions_that_java_gives_them() {
    for (partitions, wanted) in [(7, MURMUR2.map(|(_, of_7, _)| Some(of_7))), (12, MURMUR2.map(|(_, _, of_12)| of_12))]
    {
        let (name, topic) = (servers::unique("murmur2"), servers::topic("out", partitions));
        let mut rows = EncodedRows::default();
        for (key, ..) in MURMUR2 {
            let (key, value) = (Some(rows.put(key)), Some(rows.put(key)));
            rows.records.push(EncodedRecord { key, value, timestamp: None, headers: 0..0 });
        }
        let mut journal = journal(&name, &topic);
        journal.acquire().unwrap();
        committed(&mut journal, &[epoch(1)], &[SinkRows { sink: 2, rows: vec![rows] }]);
        let read = servers::read(&topic);
        for ((key, ..), wanted) in MURMUR2.iter().zip(wanted) {
            let record = read.iter().find(|record| record.key.as_deref() == Some(key)).unwrap();
            assert_eq!(Some(record.partition), wanted, "{key:?} of {partitions}");
        }
    }
}

#[test]
fn i16_a_trimmed_journal_keeps_its_plan_its_owner_and_progress() {
    let (name, topic) = (servers::unique("trim"), servers::topic("out", 1));
    let mut first = journal(&name, &topic);
    first.acquire().unwrap();
    let progress = |epoch| Record::Progress { sink: "console".into(), epoch };
    committed(&mut first, &[plan(1), owner(1)], &[]);
    for number in 1..=5 {
        committed(&mut first, &[epoch(number), progress(number)], &[]);
    }
    first.trim(4).unwrap();
    committed(&mut first, &[epoch(6)], &[]);

    let kept = [plan(1), owner(1), progress(3), epoch(4), progress(4), epoch(5), progress(5), epoch(6)];
    let found = journal(&name, &topic).acquire().unwrap();
    // Progress of sinks goes on behind the cut, so the one before it is not needed.
    let kept: Vec<Record> = kept.into_iter().filter(|record| *record != progress(3)).collect();
    assert_eq!(found, kept);
    let low = Topics::connect(&cluster()).unwrap().bounds(&format!("{name}.journal"), 1).unwrap()[0].low;
    assert!(low > 0);
}

#[test]
fn a_cleared_journal_is_empty_and_can_be_acquired() {
    let (name, topic) = (servers::unique("clear"), servers::topic("out", 1));
    let mut journal = journal(&name, &topic);
    journal.acquire().unwrap();
    committed(&mut journal, &[epoch(1)], &rows(&["a"]));
    journal.clear().unwrap();
    assert_eq!(journal.acquire().unwrap(), []);
    committed(&mut journal, &[epoch(1)], &rows(&["b"]));
    assert_eq!(texts(&topic), ["a", "b"]);
}

#[test]
fn i16_a_topic_that_would_lose_records_is_no_journal() {
    let lossy = servers::topic_with("lossy", 1, &[("retention.ms", "60000")]);
    let mut journal = KafkaJournal::new(cluster(), &*lossy, servers::unique("id"), Vec::new()).unwrap();
    let failure = journal.acquire().unwrap_err();
    assert_eq!(failure.code, "kafka.journal_topic");
    assert!(failure.to_string().contains("`retention.ms` is `60000`"), "{failure}");
    let mut wide = KafkaJournal::new(cluster(), servers::topic("wide", 2), servers::unique("id"), Vec::new()).unwrap();
    assert_eq!(wide.acquire().unwrap_err().code, "kafka.journal_topic");
}

#[test]
fn a_sink_without_a_topic_is_found_before_anything_is_written() {
    let name = servers::unique("no-topic");
    let failure = journal(&name, &servers::unique("nowhere")).acquire().unwrap_err();
    assert_eq!((failure.code, failure.retry), ("kafka.unknown_topic", false));
}
