//! The process dies at every named step on the way of an epoch, and goes on from there: no gap, no duplicate, no disorder.
//!
//! The points are in builds with debug assertions only (`src/faults.rs`), as those of tests are.

use std::collections::BTreeSet;

use ::runner::faults::POINTS;
use ::runner::registry::Registry as _;

use super::*;
use crate::specs;

/// Starts it so that it dies at a point; it must.
#[track_caller]
pub(super) fn die_at(place: &Place, point: &str, count: u32) {
    let at = format!("{point}:{count}");
    let runner = Runner::spawn_with(&["apply", "spec.yaml"], place.folder.path(), &[("RUNNER_DIE_AT", &at)]);
    let ended = runner.wait();
    assert_eq!(ended.signal, Some(libc::SIGKILL), "it did not die at {at}:\n{}", ended.stderr);
}

/// Points of a first start: none of these runs gets as far as to read a row. There are two sinks' topics to be made.
const FIRST: &[&str] = &[
    "sink_topic.created",
    "sink_topic.created",
    "topic.create",
    "topic.created",
    "owner.append",
    "owner.appended",
    "plan.append",
    "plan.appended",
];
/// And how often each is passed before: the owner record is a transaction too.
const LATER: &[(&str, u32)] = &[
    ("owner.append", 1),
    ("owner.appended", 1),
    ("transaction.begun", 5),
    ("transaction.produced", 6),
    ("transaction.ending", 4),
    ("transaction.ending", 7),
    ("transaction.committed", 5),
    ("epoch.committed", 3),
    ("sink.write", 3),
    ("file.appended", 2),
    ("file.noted", 2),
    ("sink.written", 3),
    ("snapshot.write", 2),
    ("snapshot.written", 2),
    ("snapshot.published", 2),
    ("snapshot.removed", 1),
    ("trim.begin", 1),
    ("trim.moved", 1),
    ("trim.done", 2),
];
/// Of a journal in a file.
const OF_FILES: &[(&str, u32)] =
    &[("journal.append", 6), ("journal.appended", 6), ("epoch.committed", 4), ("file.noted", 3)];

/// Of a pipeline that writes by schemas.
const OF_SCHEMAS: &[&str] = &["subject.registered", "subject.registered"];

/// The first is passed where the sink says how far a pipeline is; its test is in `takeover.rs`. That of the second is in
/// `recovering.rs`.
const OF_RESTARTS: &[&str] = &["origin.read", "epoch.replayed"];

#[test]
fn no_point_is_left_out() {
    let walked: BTreeSet<&str> = FIRST
        .iter()
        .chain(OF_SCHEMAS)
        .chain(OF_RESTARTS)
        .copied()
        .chain(LATER.iter().chain(OF_FILES).map(|(point, _)| *point))
        .collect();
    assert_eq!(walked, POINTS.iter().copied().collect());
}

/// Some tens of records in each fetch, and a pause behind it: a run has many epochs on any machine.
pub(super) const SLOWLY: &str =
    "{ queued.min.messages: \"20\", fetch.queue.backoff.ms: \"20\", fetch.message.max.bytes: \"1024\" }";

pub(super) fn record(row: &Row) -> TestRecord {
    let Row { n, k, v, .. } = row;
    TestRecord::to(row.partition, format!("{{\"n\":{n},\"k\":\"{k}\",\"v\":{v}}}")).at(row.time)
}

/// Rows of one round: two partitions, twenty seconds, behind those of the rounds before.
pub(super) fn round(number: i64, begin: i64) -> Vec<Row> {
    let row = |index: i64| {
        let (partition, k, v) = ((index % 2) as i32, format!("k{}", index % 3), index % 10);
        let n = i64::from(partition) * PER_PARTITION + number * 1_000 + index / 2;
        Row { partition, time: begin + number * 20_000 + index * 33, n, k, v }
    };
    (0..600).map(row).collect()
}

#[test]
fn i9_whatever_the_last_step_was_the_next_run_goes_on_behind_it() {
    let place = Place::new("points");
    let input = servers::topic_with("points-in", 2, &[("retention.ms", "-1")]);
    let (good, windows) = (servers::unique("points-good"), servers::unique("points-windows"));
    place.spec(&format!(
        "  epoch: {{ max_bytes: 2KiB, min: 1ms }}
  state: {{ every: 10ms }}
  sources:
    rows:
      kafka: {{ topic: {input}, until: end, properties: {} }}
      format: json
      columns: {COLUMNS}
  transforms:
    good: {{ from: rows, where: v >= 3 }}
    per_k: {{ from: good, window: {{ tumbling: 1s }}, group_by: [k], aggregate: {{ cnt: count(*), total: sum(n) }} }}
  sinks:
    good_rows: {{ from: good, kafka: {{ topic: {good} }}, format: json }}
    windows: {{ from: per_k, kafka: {{ topic: {windows} }}, format: json }}
    good_lines: {{ from: good, file: {{ path: good.jsonl }}, format: json }}
",
        SLOWLY
    ));
    let begin = (now_ms() - 3_600_000) / 1_000 * 1_000;
    let mut rows = round(0, begin);
    fill_in_batches(10, &input, rows.iter().map(record));
    FIRST.iter().for_each(|point| die_at(&place, point, 1));
    let verify = |rows: &[Row], what: &str| {
        place.apply().wait().with_code(0);
        let kept = || rows.iter().filter(|row| row.v >= 3);
        let wanted: Vec<i64> = kept().map(|row| row.n).collect();
        let numbers = |rows: Vec<Value>| rows.iter().map(|row| long(row, "n")).collect::<Vec<_>>();
        assert_each_once_in_order(&numbers(place.committed(&good)), wanted.clone(), &format!("{what}: rows in Kafka"));
        assert_each_once_in_order(&numbers(place.lines("good.jsonl")), wanted, &format!("{what}: rows in the file"));
        assert_same(&windows_written(&place.committed(&windows)), &windows_of(kept(), 1_000), what);
    };
    verify(&rows, "a first start");
    for (number, (point, count)) in (1..).zip(LATER) {
        let more = round(number, begin);
        fill_in_batches(10, &input, more.iter().map(record));
        rows.extend(more);
        die_at(&place, point, *count);
        verify(&rows, point);
    }
}

#[test]
fn a_journal_in_a_file_is_whole_whatever_the_last_step_was() {
    for (point, count) in OF_FILES {
        let place = Place::new("file-points");
        place.spec(
            "  epoch: { max_bytes: 2KiB, min: 1ms }
  sources: { rows: { datagen: { columns: { n: { type: long, iteration: { start: 0 } } }, count: 3000, rate: 6000 } } }
  sinks: { lines: { from: rows, file: { path: out.jsonl }, format: json } }
",
        );
        die_at(&place, point, *count);
        place.apply().wait().with_code(0);
        let numbers: Vec<i64> = place.lines("out.jsonl").iter().map(|row| long(row, "n")).collect();
        assert!(numbers == (0..3_000).collect::<Vec<_>>(), "{point}: {} rows", numbers.len());
    }
}

/// A schema that was registered by a start that died is found by the next one, and not registered again.
#[test]
fn schemas_are_registered_once_whatever_the_last_step_was() {
    let place = Place::new("schema-points");
    let (first, second) = (servers::unique("first"), servers::unique("second"));
    place.spec(&format!(
        "  sources: {{ rows: {{ datagen: {{ columns: {{ n: {{ type: long, iteration: {{ start: 0 }} }} }}, count: 100, rate: max }} }} }}
  sinks:
    first: {{ from: rows, kafka: {{ topic: {first} }}, format: avro }}
    second: {{ from: rows, kafka: {{ topic: {second} }}, format: avro }}
"
    ));
    let spec = std::fs::read_to_string(place.path("spec.yaml")).unwrap();
    let brokers = format!("spec: {{ kafka: {{ brokers: \"{}\" }}", place.brokers);
    assert!(spec.contains(&brokers));
    let registry = format!("{brokers}, registry: {{ url: \"{}\" }}", servers::registry());
    std::fs::write(place.path("spec.yaml"), spec.replace(&brokers, &registry)).unwrap();
    OF_SCHEMAS.iter().for_each(|point| die_at(&place, point, 1));
    let ended = place.apply().wait().with_code(0);
    assert!(!ended.stderr.contains("registered "), "both were: {}", ended.stderr);
    for topic in [&first, &second] {
        let subject = format!("{topic}-value");
        let registered = specs::registry().latest(&subject).unwrap().unwrap();
        assert_eq!(registered.version, 1, "{subject} was registered again");
        let rows = servers::read(topic);
        let numbers = rows.iter().map(|record| long(&specs::decoded(record.value.as_ref()).unwrap(), "n"));
        assert_eq!(numbers.collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }
}

/// The offsets behind the last committed record and behind the last record.
fn ends(topic: &str) -> (i64, i64) {
    let end = |isolation: &str| {
        let mut config = servers::config();
        let consumer: BaseConsumer = config.set("isolation.level", isolation).create().unwrap();
        consumer.fetch_watermarks(topic, 0, PATIENCE).unwrap().1
    };
    (end("read_committed"), end("read_uncommitted"))
}

/// Suspended in the middle of a transaction for longer than the broker waits for it: the broker takes the rows back and
/// fences the producer. Nobody else owns the journal, so it owns it again, sends the same rows, and goes on in place (I11, I15).
#[test]
fn i15_a_process_that_was_suspended_beyond_its_transaction_goes_on_in_place() {
    let place = Place::new("suspended");
    let [input, output, windows] = ["in", "out", "windows"].map(|end| servers::topic(&format!("suspended-{end}"), 1));
    let begin = now_ms() - 100_000;
    let row = |n: i64| Row { partition: 0, time: begin + n * 10, n, k: format!("k{}", n % 3), v: 0 };
    let rows: Vec<Row> = (0..2_000).map(row).collect();
    fill_in_batches(10, &input, rows.iter().map(record));
    place.spec(&format!(
        "  epoch: {{ max_bytes: 2KiB, min: 1ms }}
  sources: {{ rows: {{ kafka: {{ topic: {input}, until: end, properties: {} }}, format: json, columns: {COLUMNS} }} }}
  transforms:
    per_k: {{ from: rows, window: {{ tumbling: 1s }}, group_by: [k], aggregate: {{ cnt: count(*), total: sum(n) }} }}
  sinks:
    copy: {{ from: rows, kafka: {{ topic: {output}, properties: {{ transaction.timeout.ms: \"3000\" }} }}, format: json }}
    windows: {{ from: per_k, kafka: {{ topic: {windows} }}, format: json }}
    lines: {{ from: rows, file: {{ path: out.jsonl }}, format: json }}
",
        SLOWLY
    ));
    let at = [("RUNNER_DIE_AT", "wait@transaction.ending:5")];
    let runner = Runner::spawn_with(&["apply", "spec.yaml"], place.folder.path(), &at);
    let wait_until = |what: &str, is_so: &dyn Fn(i64, i64) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (committed, all) = ends(&output);
            if is_so(committed, all) {
                return;
            }
            assert!(
                Instant::now() < deadline && !runner.ended_within(Duration::from_millis(50)),
                "{what}:\n{}",
                runner.stderr()
            );
        }
    };
    // It says so itself: a machine that is merely slow keeps a transaction open, too, and must not be suspended there.
    runner.wait_stderr("waits at transaction.ending");
    wait_until("no rows of a transaction that is not ended", &|committed, all| committed > 0 && committed < all);
    runner.signal(libc::SIGSTOP);
    wait_until("the broker does not take the transaction back", &|committed, all| committed == all);
    runner.signal(libc::SIGCONT);
    let ended = runner.wait().with_code(0);
    assert!(ended.stderr.contains("trying again"), "the transaction was not taken back:\n{}", ended.stderr);
    let numbers = |rows: Vec<Value>| rows.iter().map(|row| long(row, "n")).collect::<Vec<_>>();
    let wanted: Vec<i64> = (0..2_000).collect();
    assert!(numbers(place.committed(&output)) == wanted, "rows in Kafka");
    assert!(numbers(place.lines("out.jsonl")) == wanted, "rows in the file");
    assert_same(&windows_written(&place.committed(&windows)), &windows_of(rows.iter(), 1_000), "windows");
    place.verified();
}
