//! Sources of several topics, and topics that change underneath a pipeline: on real servers, by the product's binary.

mod alike;
mod fitting;
mod replaced;
mod retention;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::crash::Place;
use super::runner::PATIENCE;
use super::servers::{self, TestRecord};

/// Values of a topic as (topic, partition, n), in order.
fn rows(topic: &str) -> Vec<(String, i64, i64)> {
    rows_at(servers::kafka(), topic)
}

fn rows_at(brokers: &str, topic: &str) -> Vec<(String, i64, i64)> {
    let row = |record: &TestRecord| {
        let row: Value = serde_json::from_str(&record.text()).unwrap();
        (row["topic"].as_str().unwrap().to_owned(), row["p"].as_i64().unwrap(), row["n"].as_i64().unwrap())
    };
    servers::read_at(brokers, topic).iter().map(row).collect()
}

fn numbered(topic: &str, partition: i32, range: std::ops::Range<i64>) {
    let records: Vec<TestRecord> = range.map(|n| TestRecord::to(partition, format!("{{\"n\":{n}}}"))).collect();
    servers::produce(topic, &records);
}

/// By (topic, partition), the numbers in the order in which they were written.
fn by_partition(rows: &[(String, i64, i64)]) -> BTreeMap<(&str, i64), Vec<i64>> {
    let mut all: BTreeMap<(&str, i64), Vec<i64>> = BTreeMap::new();
    for (topic, partition, n) in rows {
        all.entry((topic, *partition)).or_default().push(*n);
    }
    all
}

fn copied(place: &Place, topics: &[&str], out: &str, more: &str) {
    place.spec(&format!(
        "  sources:
    rows: {{ kafka: {{ topics: [{}]{more} }}, format: json, columns: {{ n: int }} }}
  transforms:
    placed: {{ from: rows, select: {{ topic: _topic, p: _partition, n: n }} }}
  sinks:
    out: {{ from: placed, kafka: {{ topic: {out} }}, format: json }}
",
        topics.join(", ")
    ));
}

/// Positions go by the topic's name, not by its place in the list.
#[test]
fn a_list_of_topics_may_grow_shrink_and_be_sorted_anew() {
    let place = Place::new("lists");
    let (a, b, c) = (servers::topic("a", 2), servers::topic("b", 1), servers::topic("c", 1));
    let out = servers::topic("out", 1);
    let run = |topics: &[&str]| {
        copied(&place, topics, &out, ", until: end");
        place.apply().wait().with_code(0)
    };
    numbered(&a, 0, 0..10);
    numbered(&a, 1, 0..10);
    numbered(&b, 0, 0..10);
    numbered(&c, 0, 0..10);
    run(&[&a]);
    run(&[&b, &a]);
    numbered(&a, 1, 10..20);
    numbered(&b, 0, 10..20);
    run(&[&c, &a, &b]);
    numbered(&a, 0, 10..20);
    numbered(&b, 0, 20..30);
    // What comes into `b` now is not read before it is back.
    run(&[&a, &c]);
    let before = rows(&out);
    assert!(!before.contains(&(b.clone(), 0, 20)));
    run(&[&b, &a, &c]);
    let found = rows(&out);
    let all = by_partition(&found);
    let wanted = |count: i64| (0..count).collect::<Vec<_>>();
    assert_eq!(all[&(a.as_str(), 0)], wanted(20));
    assert_eq!(all[&(a.as_str(), 1)], wanted(20));
    assert_eq!(all[&(b.as_str(), 0)], wanted(30));
    assert_eq!(all[&(c.as_str(), 0)], wanted(10));
    // Another topic in the place of all is another source.
    let d = servers::topic("d", 1);
    copied(&place, &[&d], &out, ", until: end");
    let refused = place.apply().wait().with_code(3);
    assert!(refused.stderr.contains("refused.other_source"), "{}", refused.stderr);
}

/// A topic whose old records are removed by the test only.
fn kept(name: &str) -> String {
    servers::topic_with(name, 1, &[("retention.ms", "-1")])
}

/// Numbered records whose timestamps say how many seconds after the beginning they are.
fn timed(topic: &str, records: &[(i64, i64)]) {
    let record =
        |(n, second): &(i64, i64)| TestRecord::to(0, format!("{{\"n\":{n}}}")).at(1_767_225_600_000 + second * 1_000);
    servers::produce(topic, &records.iter().map(record).collect::<Vec<_>>());
}

/// What was read before and after the records between were deleted.
#[test]
fn i17_on_expired_decides_about_records_that_are_gone() {
    for (word, wanted) in [
        ("earliest", Some(vec![0, 1, 2, 3, 4, 15, 16, 17, 18])),
        ("latest", Some(vec![0, 1, 2, 3, 4])),
        // 15 and 16 are older than 4, the newest one that was read.
        ("last_timestamp", Some(vec![0, 1, 2, 3, 4, 17, 18])),
        ("fail", None),
    ] {
        let place = Place::new(word);
        let (topic, out) = (kept("expired"), kept("out"));
        let run = || {
            copied(&place, &[&topic], &out, &format!(", until: end, on_expired: {word}"));
            place.apply().wait()
        };
        let numbers = || rows(&out).iter().map(|(_, _, n)| *n).collect::<Vec<_>>();
        timed(&topic, &(0..5).map(|n| (n, n)).collect::<Vec<_>>());
        run().with_code(0);
        let late = |n| if n == 15 || n == 16 { 2 } else { n };
        timed(&topic, &(5..19).map(|n| (n, late(n))).collect::<Vec<_>>());
        servers::delete_records(&topic, 0, 15);
        let second = run();
        let Some(wanted) = wanted else {
            let second = second.with_code(3);
            assert!(second.stderr.contains("10 records of"), "{}", second.stderr);
            assert!(second.stderr.contains("on_expired"), "{}", second.stderr);
            assert_eq!(numbers(), [0, 1, 2, 3, 4]);
            continue;
        };
        let second = second.with_code(0);
        assert!(second.stderr.contains("are gone unread"), "{word}: {}", second.stderr);
        assert_eq!(numbers(), wanted, "{word}");
        // Where it went on is journaled: another run neither reads nor tells anything twice.
        timed(&topic, &[(19, 19)]);
        let third = run().with_code(0);
        assert!(!third.stderr.contains("gone"), "{word}: {}", third.stderr);
        assert_eq!(numbers(), [wanted, vec![19]].concat(), "{word}");
    }
}

/// Records go while the pipeline runs, before it has read any: how far time was stands in the journal alone.
#[test]
fn i17_last_timestamp_holds_for_a_pipeline_that_has_read_nothing_yet() {
    let place = Place::new("running");
    let (topic, out) = (kept("running"), kept("out"));
    copied(&place, &[&topic], &out, ", until: end");
    timed(&topic, &(0..5).map(|n| (n, n)).collect::<Vec<_>>());
    place.apply().wait().with_code(0);
    copied(&place, &[&topic], &out, ", on_expired: last_timestamp");
    let runner = place.apply();
    runner.wait_stderr("resumes behind epoch");
    // Its fetches come back empty from the broker while it stands still; the next one asks for what is gone.
    std::thread::sleep(Duration::from_secs(1));
    runner.signal(libc::SIGSTOP);
    std::thread::sleep(Duration::from_secs(1));
    // 15 and 16 are older than 4, the newest one that was read.
    let late = |n| if n == 15 || n == 16 { 2 } else { n };
    timed(&topic, &(5..19).map(|n| (n, late(n))).collect::<Vec<_>>());
    servers::delete_records(&topic, 0, 15);
    runner.signal(libc::SIGCONT);
    let deadline = Instant::now() + PATIENCE;
    while rows(&out).len() < 7 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    runner.signal(libc::SIGINT);
    let ended = runner.wait().with_code(0);
    let numbers: Vec<i64> = rows(&out).iter().map(|(_, _, n)| *n).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 17, 18], "{}", ended.stderr);
    assert!(ended.stderr.contains("are gone unread"), "{}", ended.stderr);
}

/// The topic is deleted and made again while the pipeline is stopped: offsets of the new one mean other records.
#[test]
fn i17_a_topic_that_was_made_anew_is_told_apart_and_on_expired_decides() {
    let place = Place::new("anew");
    let (topic, out) = (kept("anew"), kept("out"));
    let run = |more: &str| {
        copied(&place, &[&topic], &out, &format!(", until: end{more}"));
        place.apply().wait()
    };
    timed(&topic, &(0..10).map(|n| (n, n)).collect::<Vec<_>>());
    run("").with_code(0);
    servers::delete_topic(&topic);
    while servers::exists(&topic) {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    servers::create_topic(servers::kafka(), &topic, 1, &[("retention.ms", "-1")]);
    timed(&topic, &(100..105).map(|n| (n, n)).collect::<Vec<_>>());
    let refused = run("").with_code(3);
    assert!(refused.stderr.contains("kafka.recreated") && refused.stderr.contains(&topic), "{}", refused.stderr);
    run(", on_expired: earliest").with_code(0);
    timed(&topic, &[(105, 105)]);
    run("").with_code(0);
    let numbers: Vec<i64> = rows(&out).iter().map(|(_, _, n)| *n).collect();
    assert_eq!(numbers, (0..10).chain(100..106).collect::<Vec<_>>());
}

/// A window was open at the stop, and half of its records, and the snapshot, are gone when its state is to be rebuilt.
#[test]
fn i17_a_replay_that_lacks_records_is_refused_or_tells_how_many() {
    let place = Place::new("replay");
    let (topic, out) = (kept("replay"), kept("out"));
    let spec = |more: &str| {
        place.spec(&format!(
            "  sources:
    rows: {{ kafka: {{ topic: {topic}{more} }}, format: json, columns: {{ n: int }}, time: {{ idle: never }} }}
  transforms:
    counts: {{ from: rows, window: {{ tumbling: 1d }}, aggregate: {{ cnt: count(*) }} }}
  sinks:
    out: {{ from: counts, kafka: {{ topic: {out} }}, format: json }}
"
        ));
    };
    timed(&topic, &(0..10).map(|n| (n, n)).collect::<Vec<_>>());
    spec("");
    let mut commits = place.watched_journal();
    let runner = place.apply();
    commits.wait_for_first_of(&runner);
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0);
    servers::delete_records(&topic, 0, 6);
    place.lose_snapshots();

    spec(", until: end");
    let refused = place.apply().wait().with_code(3);
    assert!(refused.stderr.contains("6 records of"), "{}", refused.stderr);
    assert!(servers::read(&out).is_empty());
    spec(", until: end, on_expired: earliest");
    let ended = place.apply().wait().with_code(0);
    assert!(ended.stderr.contains("6 records of partition"), "{}", ended.stderr);
    assert!(ended.stderr.contains("6 expired"), "{}", ended.stderr);
    let counts: Vec<Value> =
        servers::read(&out).iter().map(|record| serde_json::from_str(&record.text()).unwrap()).collect();
    assert_eq!(counts.iter().map(|row| row["cnt"].as_i64()).collect::<Vec<_>>(), [Some(4)]);
}
