//! What a source reads, where it begins, ends and waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::producer::Producer;
use runner::connectors::kafka::{Cluster, KafkaSource, Moment, OnExpired, Start, TopicOffsets, Topics, Until};
use runner::connectors::{Bell, Fetched, PartitionStart, Payload, Reader, Source, Wanted};
use runner::data::{Position, RawBatch};

use super::{PATIENCE, cluster};
use crate::servers::{self, TestRecord};

pub(super) fn source(topic: &str, start: Start, until: Option<Until>) -> KafkaSource {
    KafkaSource::new(cluster(), [topic], &format!("group-of-{topic}"), start, until)
}

pub(super) fn open(source: &KafkaSource) -> (Vec<PartitionStart>, Box<dyn Reader>) {
    let parts = source.discover(&BTreeMap::new()).unwrap();
    let reader = source.open(0, &parts, Wanted { keys: true, headers: true, ..Wanted::default() }).unwrap();
    (parts, reader)
}

fn offsets_of(parts: &[PartitionStart]) -> Vec<i64> {
    parts.iter().map(|part| part.start.as_offset().unwrap()).collect()
}

/// Polls until `done`, and gives what came, poll by poll flattened.
pub(super) fn poll_until(
    reader: &mut dyn Reader,
    rows_max: usize,
    done: impl Fn(&dyn Reader, usize) -> bool,
) -> Vec<RawBatch> {
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

pub(super) fn all_at_end(partitions: i32) -> impl Fn(&dyn Reader, usize) -> bool {
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
