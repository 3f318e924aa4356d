//! The Kafka connector against a real broker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use arrow::array::Array;
use rdkafka::producer::Producer;
use runner::connectors::kafka::{
    Cluster, JournalSink, KafkaJournal, KafkaSink, KafkaSource, Moment, NewTopic, OnExpired, Start, TopicOffsets,
    Topics, Until, Written,
};
use runner::connectors::{Bell, EpochRows, Fetched, PartitionStart, Payload, Reader, Sink, Source, Wanted, Writer};
use runner::data::{EncodedRecord, EncodedRows, Epoch, Position, RawBatch};
use runner::journal::{Appended, EpochRecord, Journal, Owner, PlanRecord, Record, SinkRows};
use runner::time::Watermark;

use crate::servers::{self, TestRecord};

const PATIENCE: Duration = Duration::from_secs(30);

fn cluster() -> Cluster {
    Cluster::new(servers::kafka(), BTreeMap::new()).unwrap()
}

fn source(topic: &str, start: Start, until: Option<Until>) -> KafkaSource {
    KafkaSource::new(cluster(), [topic], &format!("group-of-{topic}"), start, until)
}

fn open(source: &KafkaSource) -> (Vec<PartitionStart>, Box<dyn Reader>) {
    let parts = source.discover(&BTreeMap::new()).unwrap();
    let reader = source.open(0, &parts, Wanted { keys: true, headers: true, ..Wanted::default() }).unwrap();
    (parts, reader)
}

fn offsets_of(parts: &[PartitionStart]) -> Vec<i64> {
    parts.iter().map(|part| part.start.as_offset().unwrap()).collect()
}

/// Polls until `done`, and gives what came, poll by poll flattened.
fn poll_until(reader: &mut dyn Reader, rows_max: usize, done: impl Fn(&dyn Reader, usize) -> bool) -> Vec<RawBatch> {
    let bell = Bell::new().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let (mut batches, mut rows) = (Vec::new(), 0);
    loop {
        for fetched in reader.poll(rows_max, 0).unwrap() {
            let next = fetched.next.as_offset();
            let batch = raw(fetched);
            assert_eq!(next, batch.offsets.last().map(|last| last + 1));
            rows += batch.len();
            batches.push(batch);
        }
        if done(reader, rows) {
            return batches;
        }
        assert!(Instant::now() < deadline, "still waiting after {rows} rows: {batches:?}");
        reader.awaits().wait(&bell, Duration::from_millis(200));
    }
}

fn raw(fetched: Fetched) -> RawBatch {
    let Payload::Raw(batch) = fetched.payload else { panic!("Kafka's records are raw") };
    batch
}

fn all_at_end(partitions: i32) -> impl Fn(&dyn Reader, usize) -> bool {
    move |reader, _| (0..partitions).all(|partition| reader.status(partition).at_end)
}

fn values(batches: &[RawBatch], partition: i32) -> Vec<String> {
    let ours = batches.iter().filter(|batch| batch.partition == partition);
    ours.flat_map(|batch| batch.values.iter().map(|value| String::from_utf8(value.unwrap().to_vec()).unwrap()))
        .collect()
}

fn numbered(partition: i32, range: std::ops::Range<usize>) -> Vec<TestRecord> {
    range.map(|index| TestRecord::to(partition, format!("{partition}:{index}"))).collect()
}

fn expected(partition: i32, range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|index| format!("{partition}:{index}")).collect()
}

#[test]
fn a_backlog_is_read_grouped_by_partition_and_ordered() {
    let topic = servers::topic("backlog", 6);
    (0..6).for_each(|partition| servers::produce(&topic, &numbered(partition, 0..500)));
    let (_, mut reader) = open(&source(&topic, Start::Earliest, None));
    let batches = poll_until(&mut *reader, 700, all_at_end(6));
    for partition in 0..6 {
        assert_eq!(values(&batches, partition), expected(partition, 0..500));
        assert_eq!(reader.position(partition), Position::offset(500));
        assert_eq!(reader.status(partition).behind, Some(0));
    }
    assert!(batches.iter().all(|batch| batch.len() <= 700));
    // What comes later wakes the reader.
    servers::produce(&topic, &numbered(3, 500..501));
    let later = poll_until(&mut *reader, 700, |_, rows| rows == 1);
    assert_eq!(values(&later, 3), ["3:500"]);
}

/// I10: what a poll brings may come on top of a lane's share of an epoch.
#[test]
fn a_poll_brings_about_half_a_mebibyte_however_large_the_records_are() {
    let topic = servers::topic("large", 1);
    let large = |index: usize| TestRecord::to(0, format!("{index:020000}"));
    servers::produce(&topic, &(0..300).map(large).collect::<Vec<_>>());
    let (_, mut reader) = open(&source(&topic, Start::Earliest, None));
    let batches = poll_until(&mut *reader, 10_000, all_at_end(1));
    assert_eq!(batches.iter().map(RawBatch::len).sum::<usize>(), 300);
    let largest = batches.iter().map(RawBatch::bytes).max().unwrap();
    assert!(largest <= 600_000, "one poll brought {largest} bytes");
}

#[test]
fn nothing_is_handed_over_at_a_limit_and_nothing_is_lost_when_it_is_lifted() {
    let topic = servers::topic("limit", 2);
    (0..2).for_each(|partition| servers::produce(&topic, &numbered(partition, 0..3_000)));
    let (_, mut reader) = open(&source(&topic, Start::Earliest, None));
    reader.limit(0, Some(Position::offset(1_234)));
    let mut first = poll_until(&mut *reader, 500, all_at_end(2));
    assert_eq!(values(&first, 0), expected(0, 0..1_234));
    assert_eq!(values(&first, 1), expected(1, 0..3_000));
    assert_eq!(reader.position(0), Position::offset(1_234));

    reader.limit(0, Some(Position::offset(2_000)));
    assert!(!reader.status(0).at_end);
    first.extend(poll_until(&mut *reader, 500, all_at_end(2)));
    assert_eq!(values(&first, 0), expected(0, 0..2_000));

    // Held at its position for a while, as a partition that is far ahead is.
    servers::produce(&topic, &numbered(0, 3_000..3_010));
    servers::produce(&topic, &numbered(1, 3_000..3_010));
    let held = poll_until(&mut *reader, 500, |_, rows| rows == 10);
    assert_eq!(values(&held, 1), expected(1, 3_000..3_010));
    first.extend(held);

    reader.limit(0, None);
    first.extend(poll_until(&mut *reader, 500, all_at_end(2)));
    assert_eq!(values(&first, 0), expected(0, 0..3_010));
    assert_eq!(values(&first, 1), expected(1, 0..3_010));
}

#[test]
fn i6_a_paused_partition_gives_nothing_stands_at_no_end_and_loses_nothing() {
    let topic = servers::topic("paused", 2);
    (0..2).for_each(|partition| servers::produce(&topic, &numbered(partition, 0..3_000)));
    let (_, mut reader) = open(&source(&topic, Start::Earliest, None));
    let mut all = poll_until(&mut *reader, 500, |_, rows| rows >= 500);
    let before = reader.position(0);
    // In the middle, at its end, and with the other one beside it: each pause goes on where it stopped.
    for round in 0..3 {
        reader.pause(&BTreeSet::from([0]));
        assert!(!reader.status(0).at_end, "round {round}");
        let others = poll_until(&mut *reader, 500, |reader, _| reader.status(1).at_end);
        assert!(others.iter().all(|batch| batch.partition == 1), "round {round}");
        all.extend(others);
        if round == 0 {
            assert_eq!(reader.position(0), before);
        }
        reader.pause(&BTreeSet::new());
        all.extend(poll_until(&mut *reader, 500, all_at_end(2)));
        (0..2).for_each(|p| servers::produce(&topic, &numbered(p, 3_000 + round * 10..3_010 + round * 10)));
    }
    all.extend(poll_until(&mut *reader, 500, |reader, _| {
        (0..2).all(|partition| reader.position(partition) == Position::offset(3_030))
    }));
    (0..2).for_each(|partition| assert_eq!(values(&all, partition), expected(partition, 0..3_030)));
}

/// What comes of a paused partition is held up to a bound, and fetched again beyond it.
#[test]
fn i6_a_paused_partition_holds_little_and_goes_on_in_order() {
    let topic = servers::topic("held", 2);
    // 8 MB, twice of what a reader holds.
    let large = |n: i64| TestRecord::to(0, format!("{n:04}{}", "x".repeat(10_000)));
    servers::produce(&topic, &(0..800).map(large).collect::<Vec<_>>());
    servers::produce(&topic, &numbered(1, 0..10));
    let (_, mut reader) = open(&source(&topic, Start::Earliest, Some(Until::End)));
    reader.pause(&BTreeSet::from([0]));
    let others = poll_until(&mut *reader, 50, |reader, _| reader.status(1).ended);
    assert!(others.iter().all(|batch| batch.partition == 1));
    // Long enough to fetch all of it, were it not bounded.
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        assert!(reader.poll(50, 0).unwrap().is_empty());
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = reader.status(0);
    assert!(!status.at_end && !status.ended && status.behind == Some(800), "{status:?}");
    assert_eq!(reader.position(0), Position::offset(0));

    reader.pause(&BTreeSet::new());
    // How much came in that second is the machine's doing; more than the bound is not.
    let first: Vec<RawBatch> = reader.poll(50, 0).unwrap().into_iter().map(raw).collect();
    let held_bytes = first.iter().map(RawBatch::bytes).sum::<usize>();
    assert!(held_bytes < 6 << 20, "{held_bytes} bytes were held");
    let mut all = first;
    all.extend(poll_until(&mut *reader, 50, |reader, _| reader.status(0).ended));
    let numbers: Vec<String> = values(&all, 0).into_iter().map(|value| value[..4].to_owned()).collect();
    assert_eq!(numbers, (0..800).map(|n| format!("{n:04}")).collect::<Vec<_>>());
}

/// A reader that replays met the topic's end in the same batch as its limit, took the partition for ended,
/// and handed nothing over of what stood between: recovery refused, or rows were lost.
#[test]
fn an_end_that_was_fetched_behind_a_limit_does_not_end_the_partition() {
    let topic = servers::topic("end-behind-limit", 1);
    servers::produce(&topic, &numbered(0, 0..10));
    let (_, mut reader) = open(&source(&topic, Start::Earliest, Some(Until::End)));
    reader.limit(0, Some(Position::offset(4)));
    // Long enough for the end to be fetched too, so that one poll meets both.
    std::thread::sleep(Duration::from_secs(1));
    let mut batches = poll_until(&mut *reader, 100, all_at_end(1));
    assert_eq!(values(&batches, 0), expected(0, 0..4));
    assert!(!reader.status(0).ended);
    reader.limit(0, None);
    batches.extend(poll_until(&mut *reader, 100, |reader, _| reader.status(0).ended));
    assert_eq!(values(&batches, 0), expected(0, 0..10));
}

#[test]
fn a_partition_limited_at_its_end_goes_on_when_records_come() {
    let topic = servers::topic("limit-at-end", 1);
    servers::produce(&topic, &numbered(0, 0..10));
    let (_, mut reader) = open(&source(&topic, Start::Earliest, None));
    let mut all = poll_until(&mut *reader, 100, all_at_end(1));
    // librdkafka's own position stands behind the end now, which must not skip the next record.
    for round in 1..4 {
        reader.limit(0, Some(reader.position(0)));
        assert!(reader.status(0).at_end && reader.poll(100, 0).unwrap().is_empty());
        servers::produce(&topic, &numbered(0, round * 10..round * 10 + 10));
        assert!(reader.poll(100, 0).unwrap().is_empty());
        reader.limit(0, None);
        all.extend(poll_until(&mut *reader, 100, |_, rows| rows == 10));
    }
    assert_eq!(values(&all, 0), expected(0, 0..40));
}

#[test]
fn the_end_is_seen_behind_markers_and_aborted_records() {
    let topic = servers::topic("markers", 1);
    let producer = servers::transactional_producer(&topic);
    producer.begin_transaction().unwrap();
    numbered(0, 0..3).iter().for_each(|record| servers::send(&producer, &topic, record));
    producer.commit_transaction(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    numbered(0, 100..103).iter().for_each(|record| servers::send(&producer, &topic, record));
    producer.flush(PATIENCE).unwrap();
    producer.abort_transaction(PATIENCE).unwrap();

    let source = source(&topic, Start::Earliest, Some(Until::End));
    let (parts, mut reader) = open(&source);
    // Three records, a marker, three aborted ones, a marker.
    assert_eq!(parts[0].end, Some(Position::offset(8)));
    let batches = poll_until(&mut *reader, 100, |reader, _| reader.status(0).ended);
    assert_eq!(values(&batches, 0), expected(0, 0..3));
    assert_eq!(reader.position(0), Position::offset(3), "behind the last record, not behind the markers");
    assert!(reader.status(0).at_end);
}

#[test]
fn records_of_an_open_transaction_are_not_read_and_are_no_backlog() {
    let topic = servers::topic("open", 1);
    servers::produce(&topic, &numbered(0, 0..2));
    let producer = servers::transactional_producer(&topic);
    producer.begin_transaction().unwrap();
    numbered(0, 2..4).iter().for_each(|record| servers::send(&producer, &topic, record));
    producer.flush(PATIENCE).unwrap();
    let (_, mut reader) = open(&source(&topic, Start::Earliest, None));
    let mut batches = poll_until(&mut *reader, 100, all_at_end(1));
    assert_eq!(values(&batches, 0), expected(0, 0..2));
    producer.commit_transaction(PATIENCE).unwrap();
    batches.extend(poll_until(&mut *reader, 100, |_, rows| rows == 2));
    assert_eq!(values(&batches, 0), expected(0, 0..4));
}

#[test]
fn a_source_begins_where_its_start_says() {
    let topic = servers::topic("start", 2);
    let records: Vec<TestRecord> = (0..10).map(|i| TestRecord::to(0, format!("0:{i}")).at(1_000 * (i + 1))).collect();
    servers::produce(&topic, &records);
    servers::produce(&topic, &[TestRecord::to(1, "1:0").at(500)]);
    let starts = |start| offsets_of(&source(&topic, start, None).discover(&BTreeMap::new()).unwrap());

    assert_eq!(starts(Start::Earliest), [0, 0]);
    assert_eq!(starts(Start::Latest), [10, 1]);
    // Partition 1 has nothing that late: its end, as a number.
    assert_eq!(starts(Start::Timestamp(Moment::At(4_500))), [4, 1]);
    assert_eq!(starts(Start::Timestamp(Moment::Ago(0))), [10, 1]);
    assert_eq!(starts(Start::Offsets(listed(&topic, 0, 7))), [7, 0]);

    let group = source(&topic, Start::Earliest, None);
    assert!(group.group_position().unwrap().is_empty());
    group.report_progress(&BTreeMap::from([(0, Position::offset(4))]), "ours").unwrap();
    let position = &group.group_position().unwrap()[&0];
    assert_eq!((position.offset, position.metadata.as_str()), (4, "ours"));
    assert_eq!(starts(Start::Group(group.group.clone())), [4, 0]);

    let failure = |start| source(&topic, start, None).discover(&BTreeMap::new()).unwrap_err().code;
    assert_eq!(failure(Start::Offsets(listed(&topic, 0, 11))), "kafka.start_out_of_range");
    assert_eq!(failure(Start::Offsets(listed(&topic, 2, 0))), "kafka.unknown_partition");
    assert_eq!(failure(Start::Group(servers::unique("nobody"))), "kafka.unknown_group");
    let missing = source(&servers::unique("missing"), Start::Earliest, None);
    assert_eq!(missing.discover(&BTreeMap::new()).unwrap_err().code, "kafka.unknown_topic");
}

fn listed(topic: &str, partition: i32, offset: i64) -> TopicOffsets {
    let file = std::sync::Arc::new(runner::report::SourceFile { name: String::new(), text: String::new() });
    let topic = runner::spec::Spanned { value: topic.to_owned(), place: runner::report::Place::new(&file, 0..0) };
    TopicOffsets(vec![(topic, BTreeMap::from([(partition, offset)]))])
}

#[test]
fn i21_a_bounded_source_ends_exactly_at_its_end() {
    let topic = servers::topic("until", 2);
    servers::produce(&topic, &numbered(0, 0..100));
    let bounded = source(&topic, Start::Earliest, Some(Until::Offsets(listed(&topic, 0, 60))));
    let (_, mut reader) = open(&bounded);
    // Partition 1 is empty: it has ended before the first poll.
    assert!(reader.status(1).ended && !reader.status(0).ended);
    let batches = poll_until(&mut *reader, 25, |reader, _| reader.status(0).ended);
    assert_eq!(values(&batches, 0), expected(0, 0..60));
    servers::produce(&topic, &numbered(1, 0..5));
    assert!(reader.poll(100, 0).unwrap().is_empty(), "what comes behind the end is another run's");
}

#[test]
fn i17_a_known_position_is_kept_and_a_lost_one_counted() {
    let topic = servers::topic("known", 2);
    (0..2).for_each(|partition| servers::produce(&topic, &numbered(partition, 0..20)));
    let latest = source(&topic, Start::Latest, None);
    let known = BTreeMap::from([(0, Position::offset(5))]);
    // A partition that nobody knew before may hold what came since: it is read from its beginning.
    assert_eq!(offsets_of(&latest.discover(&known).unwrap()), [5, 0]);

    servers::delete_records(&topic, 0, 12);
    let failure = latest.discover(&known).unwrap_err();
    assert_eq!(failure.code, "kafka.expired");
    assert!(failure.to_string().starts_with("7 records of"), "{failure}");
    let beyond = latest.discover(&BTreeMap::from([(1, Position::offset(21))])).unwrap_err();
    assert_eq!(beyond.code, "kafka.recreated");

    // Retention that overtakes a running reader.
    let part = PartitionStart { partition: 0, start: Position::offset(5), end: None, max_timestamp: None };
    let mut reader = latest.open(0, &[part], Wanted::default()).unwrap();
    let bell = Bell::new().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let failure = loop {
        match reader.poll(100, 0) {
            Err(failure) => break failure,
            Ok(fetched) => assert!(fetched.is_empty() && Instant::now() < deadline),
        }
        reader.awaits().wait(&bell, Duration::from_millis(200));
    };
    assert_eq!((failure.code, failure.retry), ("kafka.expired", false));

    // The same, where the source shall go on: at the first record that is left, with the count of those that are not.
    let part = PartitionStart { partition: 0, start: Position::offset(5), end: None, max_timestamp: None };
    let lenient = source(&topic, Start::Latest, None).on_expired(OnExpired::Earliest);
    let mut reader = lenient.open(0, &[part], Wanted::default()).unwrap();
    let batches = poll_until(&mut *reader, 100, |_, rows| rows == 8);
    assert_eq!(values(&batches, 0), expected(0, 12..20));
    assert_eq!(reader.take_missing(), 7);
}

#[test]
fn a_broker_that_is_away_is_named_within_two_seconds() {
    let away = Cluster::new("127.0.0.1:1", BTreeMap::new()).unwrap();
    let begun = Instant::now();
    let failure = Topics::connect(&away).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!((failure.code, failure.retry), ("kafka.unreachable", true));
    assert!(failure.to_string().contains("127.0.0.1:1") && failure.to_string().contains("refused"), "{failure}");
}

#[test]
fn topics_are_made_described_and_deleted() {
    let topics = Topics::connect(&cluster()).unwrap();
    let config = BTreeMap::from([
        ("cleanup.policy".to_owned(), "compact".to_owned()),
        ("max.message.bytes".to_owned(), "5000".to_owned()),
    ]);
    let new = NewTopic { name: servers::unique("made"), partitions: Some(3), replication: None, config };
    assert_eq!(topics.partitions(&new.name).unwrap(), None);
    assert!(topics.create(&new).unwrap());
    assert!(!topics.create(&new).unwrap(), "it is there already");
    let limits = topics.limits(&new.name).unwrap();
    assert_eq!((limits.partitions, limits.batch_bytes_max, limits.compacted), (3, Some(5_000), true));
    assert_eq!((limits.ahead_ms_max, limits.append_time), (Some(3_600_000), false));
    assert!(topics.delete(&new.name).unwrap() && !topics.delete(&new.name).unwrap());
    assert_eq!(topics.partitions(&new.name).unwrap(), None);
    let bad = NewTopic { name: servers::unique("bad"), replication: Some(3), ..NewTopic::default() };
    assert_eq!(topics.create(&bad).unwrap_err().code, "kafka.create_topic");
}

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

/// Rows for sink 2, one per text, without keys.
fn rows(texts: &[&str]) -> Vec<SinkRows> {
    let mut rows = EncodedRows::default();
    for text in texts {
        let value = Some(rows.put(text.as_bytes()));
        rows.records.push(EncodedRecord { key: None, value, timestamp: None, headers: 0..0 });
    }
    vec![SinkRows { sink: 2, rows: vec![rows] }]
}

fn committed(journal: &mut KafkaJournal, records: &[Record], outputs: &[SinkRows]) {
    match journal.append(records, outputs).unwrap() {
        Appended::Committed => {}
        other => panic!("not committed: {other:?}"),
    }
}

fn texts(topic: &str) -> Vec<String> {
    servers::read(topic).iter().map(TestRecord::text).collect()
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

fn alone(cluster: &Cluster, topic: &str) -> Box<dyn Writer> {
    let (topic, properties) = (topic.to_owned(), BTreeMap::new());
    KafkaSink { cluster: cluster.clone(), topic, properties, written: Written::Alone, routes: None }.open().unwrap()
}

fn epoch_rows(epoch: Epoch, texts: &[String]) -> EpochRows {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    EpochRows { epoch, outputs: rows(&texts) }
}

fn texts_at(brokers: &str, topic: &str) -> Vec<String> {
    servers::read_at(brokers, topic).iter().map(TestRecord::text).collect()
}

/// What is on its way when a broker dies is neither lost nor sent again beside itself, by none who share a producer.
#[test]
fn a_write_in_doubt_is_waited_for_and_written_once() {
    const WRITERS: usize = 4;
    let mut broker = servers::Broker::start();
    let brokers = broker.address.clone();
    let cluster = Cluster::new(brokers.clone(), BTreeMap::new()).unwrap();
    let topics: Vec<String> = (0..WRITERS).map(|number| format!("doubt-{number}")).collect();
    topics.iter().for_each(|topic| servers::create_topic(&brokers, topic, 1, &[]));
    let of = |epoch: Epoch| -> Vec<String> { (0..2_000).map(|row| format!("{epoch}:{row:0100}")).collect() };
    let writing = std::sync::atomic::AtomicBool::new(true);
    let write = |topic: &String| {
        let mut writer = alone(&cluster, topic);
        let (mut doubts, mut epoch) = (0, 0);
        while writing.load(std::sync::atomic::Ordering::SeqCst) {
            epoch += 1;
            // As a sink's worker does: the same again.
            while let Err(failure) = writer.write("l", &[epoch_rows(epoch, &of(epoch))]) {
                assert!(failure.retry, "{failure:?}");
                doubts += 1;
            }
        }
        (doubts, epoch)
    };
    let (doubts, written) = std::thread::scope(|scope| {
        let write = &write;
        let writers: Vec<_> = topics.iter().map(|topic| scope.spawn(move || write(topic))).collect();
        for _ in 0..2 {
            std::thread::sleep(Duration::from_secs(1));
            broker.kill();
            // Longer than a writer waits before it says so.
            std::thread::sleep(Duration::from_secs(7));
            broker.start_again();
        }
        std::thread::sleep(Duration::from_secs(2));
        writing.store(false, std::sync::atomic::Ordering::SeqCst);
        let ended: Vec<(usize, Epoch)> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        (ended.iter().map(|(doubts, _)| doubts).sum::<usize>(), ended.iter().map(|(_, e)| *e).collect::<Vec<_>>())
    });
    println!("{written:?} epochs, {doubts} times in doubt");
    assert!(doubts >= 2 * WRITERS, "nobody was ever in doubt");
    for (topic, epochs) in topics.iter().zip(written) {
        let expected: Vec<String> = (1..=epochs).flat_map(of).collect();
        let found = texts_at(&brokers, topic);
        assert_eq!(found.len(), expected.len(), "{topic}");
        assert!(found == expected, "{topic}: another order");
    }
}

/// What a writer leaves on its way when it goes is the producer's, which others have.
#[test]
fn what_a_writer_left_on_its_way_is_delivered_once_and_the_next_one_goes_behind_it() {
    let mut broker = servers::Broker::start();
    let brokers = broker.address.clone();
    let cluster = Cluster::new(brokers.clone(), BTreeMap::new()).unwrap();
    ["left", "kept"].iter().for_each(|topic| servers::create_topic(&brokers, topic, 1, &[]));
    let of = |epoch: Epoch| -> Vec<String> { (0..500).map(|row| format!("{epoch}:{row}")).collect() };
    let (mut leaves, mut stays) = (alone(&cluster, "left"), alone(&cluster, "kept"));
    let write = |writer: &mut Box<dyn Writer>, epoch| writer.write("l", &[epoch_rows(epoch, &of(epoch))]);
    write(&mut leaves, 1).unwrap();
    write(&mut stays, 1).unwrap();
    broker.kill();
    let failure = write(&mut leaves, 2).unwrap_err();
    assert!(failure.retry, "{failure:?}");
    drop(leaves);
    broker.start_again();
    while write(&mut stays, 2).is_err() {}
    write(&mut alone(&cluster, "left"), 3).unwrap();
    assert_eq!(texts_at(&brokers, "left"), (1..=3).flat_map(of).collect::<Vec<_>>());
    assert_eq!(texts_at(&brokers, "kept"), (1..=2).flat_map(of).collect::<Vec<_>>());
}

/// Those that come and go share a producer with those that stay.
#[test]
fn writers_come_and_go_while_others_write() {
    let topics: Vec<String> = (0..8).map(|_| servers::topic("come-and-go", 1)).collect();
    let of = |epoch: Epoch| -> Vec<String> { (0..50).map(|row| format!("{epoch}:{row}")).collect() };
    std::thread::scope(|scope| {
        for (number, topic) in topics.iter().enumerate() {
            scope.spawn(move || {
                let mut writer = alone(&cluster(), topic);
                for epoch in 1..=60 {
                    writer.write("l", &[epoch_rows(epoch, &of(epoch))]).unwrap();
                    if number % 2 == 0 {
                        writer = alone(&cluster(), topic);
                    }
                }
            });
        }
    });
    for topic in &topics {
        assert_eq!(texts(topic), (1..=60).flat_map(of).collect::<Vec<_>>());
    }
}

/// More is given than may be on its way at once; a record that is refused ends its own writer's write only.
#[test]
fn a_large_write_keeps_its_order_and_a_refused_record_is_its_writers() {
    let (large, small) =
        (servers::topic("large-write", 1), servers::topic_with("small", 1, &[("max.message.bytes", "2000")]));
    let (mut to_large, mut to_small) = (alone(&cluster(), &large), alone(&cluster(), &small));
    let many: Vec<String> = (0..60_000).map(|row| format!("{row:0200}")).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| to_large.write("l", &[epoch_rows(1, &many)]).unwrap());
        to_small.write("l", &[epoch_rows(1, &["a".into()])]).unwrap();
        let too_large: String = (0..4_000).map(|n| char::from(b'a' + (n * n % 23) as u8)).collect();
        let failure = to_small.write("l", &[epoch_rows(2, &["b".into(), too_large, "c".into()])]).unwrap_err();
        assert_eq!((failure.code, failure.retry), ("kafka.record_too_large", false), "{failure:?}");
        assert!(failure.to_string().contains(&small), "{failure}");
    });
    assert_eq!(texts(&large), many);
    // It may be written to again.
    to_small.write("l", &[epoch_rows(3, &["d".into()])]).unwrap();
    let small = texts(&small);
    assert!(small.starts_with(&["a".into()]) && small.ends_with(&["d".into()]), "{small:?}");
}
