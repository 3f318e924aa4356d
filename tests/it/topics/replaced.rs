//! Topics that are deleted, made again and given more partitions, before and while a pipeline reads them.

use super::*;
use crate::runner::{Ended, Runner};

/// Deletes a topic and makes another of its name.
fn replace(topic: &str) {
    servers::delete_topic(topic);
    while servers::exists(topic) {
        std::thread::sleep(Duration::from_millis(50));
    }
    servers::create_topic(servers::kafka(), topic, 1, &[("retention.ms", "-1")]);
}

fn numbers(topic: &str) -> Vec<i64> {
    rows(topic).iter().map(|(_, _, n)| *n).collect()
}

/// A pipeline that runs and has read all of the ten records that are there.
fn running(place: &Place, topic: &str, out: &str) -> Runner {
    numbered(topic, 0, 0..10);
    copied(place, &[topic], out, "");
    let runner = place.apply();
    let deadline = Instant::now() + PATIENCE;
    while rows(out).len() < 10 {
        assert!(Instant::now() < deadline, "{}", runner.stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
    runner
}

#[track_caller]
fn fails_with(runner: Runner, code: &str) -> Ended {
    let ended = runner.wait().with_code(1);
    assert!(ended.stderr.contains(code), "{}", ended.stderr);
    ended
}

/// The new topic is longer than the old one was, so that every position is within it: only the id tells.
#[test]
fn i17_a_topic_that_was_made_anew_and_has_grown_past_our_position_is_not_read_on() {
    let place = Place::new("grown");
    let (topic, out) = (kept("grown"), kept("out"));
    let run = |more: &str| {
        copied(&place, &[&topic], &out, &format!(", until: end{more}"));
        place.apply().wait()
    };
    numbered(&topic, 0, 0..10);
    run("").with_code(0);
    replace(&topic);
    numbered(&topic, 0, 100..130);
    let refused = run("").with_code(3);
    assert!(refused.stderr.contains("kafka.recreated") && refused.stderr.contains("its id was"), "{}", refused.stderr);
    assert_eq!(numbers(&out), (0..10).collect::<Vec<_>>());
    let went_on = run(", on_expired: earliest").with_code(0);
    assert!(went_on.stderr.contains("its id was"), "{}", went_on.stderr);
    numbered(&topic, 0, 130..131);
    // The journal has the new id.
    run("").with_code(0);
    assert_eq!(numbers(&out), (0..10).chain(100..131).collect::<Vec<_>>());
}

#[test]
fn i17_a_topic_that_is_made_anew_while_it_is_read_ends_the_run() {
    let place = Place::new("swapped");
    let (topic, out) = (kept("swapped"), kept("out"));
    let runner = running(&place, &topic, &out);
    replace(&topic);
    numbered(&topic, 0, 100..130);
    let ended = fails_with(runner, "kafka.replaced");
    assert!(ended.stderr.contains(&topic) && ended.stderr.contains("its id was"), "{}", ended.stderr);
    copied(&place, &[&topic], &out, ", until: end");
    assert!(place.apply().wait().with_code(3).stderr.contains("kafka.recreated"));
}

#[test]
fn a_topic_that_is_deleted_while_it_is_read_ends_the_run() {
    let place = Place::new("deleted");
    let (topic, out) = (kept("deleted"), kept("out"));
    let runner = running(&place, &topic, &out);
    servers::delete_topic(&topic);
    let ended = fails_with(runner, "kafka.deleted");
    assert!(ended.stderr.contains(&topic), "{}", ended.stderr);
}

/// The same under another name of its sink.
fn copied_to_another_sink(place: &Place, topic: &str, out: &str) {
    place.spec(&format!(
        "  sources: {{ rows: {{ kafka: {{ topics: [{topic}], until: end }}, format: json, columns: {{ n: int }} }} }}
  transforms: {{ placed: {{ from: rows, select: {{ topic: _topic, p: _partition, n: n }} }} }}
  sinks: {{ another: {{ from: placed, kafka: {{ topic: {out} }}, format: json }} }}
"
    ));
}

/// What was committed to the old topic counts as written, and was gone without a word.
#[test]
fn i12_a_sinks_topic_that_was_made_anew_while_nobody_wrote_it_is_refused() {
    let place = Place::new("rewritten");
    let (topic, out) = (kept("rewritten"), kept("out"));
    let run = || {
        copied(&place, &[&topic], &out, ", until: end");
        place.apply().wait()
    };
    numbered(&topic, 0, 0..10);
    run().with_code(0);
    replace(&out);
    numbered(&topic, 0, 10..20);
    for _ in 0..2 {
        let refused = run().with_code(3);
        assert!(
            refused.stderr.contains("refused.sink_replaced") && refused.stderr.contains("its id was"),
            "{}",
            refused.stderr
        );
        assert!(refused.stderr.contains(&out) && refused.stderr.contains("--fresh"), "{}", refused.stderr);
        assert!(numbers(&out).is_empty());
    }
    // Both ways that the hint names.
    copied_to_another_sink(&place, &topic, &out);
    place.apply().wait().with_code(0);
    assert_eq!(numbers(&out), (10..20).collect::<Vec<_>>());
    replace(&out);
    copied(&place, &[&topic], &out, ", until: end");
    place.apply_with(&["--fresh"]).wait().with_code(0);
    assert_eq!(numbers(&out), (0..20).collect::<Vec<_>>());
    run().with_code(0);
}

#[test]
fn i12_a_sinks_topic_that_is_made_anew_while_it_is_written_ends_the_run() {
    let place = Place::new("rewriting");
    let (topic, out) = (kept("rewriting"), kept("out"));
    let runner = running(&place, &topic, &out);
    replace(&out);
    let ended = fails_with(runner, "sink.replaced");
    assert!(ended.stderr.contains(&out) && ended.stderr.contains("its id was"), "{}", ended.stderr);
    copied(&place, &[&topic], &out, ", until: end");
    assert!(place.apply().wait().with_code(3).stderr.contains("refused.sink_replaced"));
}

/// Found by a look, or by the client, which looks for a topic that it knew for half a minute before it gives its records up.
#[test]
fn a_topic_that_is_deleted_while_it_is_written_ends_the_run_with_its_name() {
    let place = Place::new("unsunk");
    let (topic, out) = (kept("unsunk"), kept("out"));
    let runner = running(&place, &topic, &out);
    servers::delete_topic(&out);
    numbered(&topic, 0, 10..20);
    let ended = runner.wait_within(3 * PATIENCE).with_code(1);
    let codes = ["sink.deleted", "kafka.unknown_topic"];
    assert!(codes.iter().any(|code| ended.stderr.contains(code)) && ended.stderr.contains(&out), "{}", ended.stderr);
    // Nothing of what the topic refused is taken for written.
    servers::create_topic(servers::kafka(), &out, 1, &[]);
    copied_to_another_sink(&place, &topic, &out);
    place.apply().wait().with_code(0);
    assert_eq!(numbers(&out), (10..20).collect::<Vec<_>>());
}

/// Whatever came into the new partitions before they were known is read, by the process that runs and, once it was
/// killed, by the next one; what a window counted of them is rebuilt.
#[test]
fn i13_partitions_that_are_added_while_it_runs_are_read_from_their_first_record_exactly_once() {
    let place = Place::new("wider");
    let (topic, out, counts) = (kept("wider"), kept("out"), kept("counts"));
    let spec = |more: &str| {
        place.spec(&format!(
            "  sources:
    rows: {{ kafka: {{ topics: [{topic}]{more} }}, format: json, columns: {{ n: int }}, time: {{ idle: never }} }}
  transforms:
    placed: {{ from: rows, select: {{ topic: _topic, p: _partition, n: n }} }}
    counted: {{ from: placed, window: {{ tumbling: 1d }}, group_by: [p], aggregate: {{ cnt: count(*) }} }}
  sinks:
    out: {{ from: placed, kafka: {{ topic: {out} }}, format: json }}
    counts: {{ from: counted, kafka: {{ topic: {counts} }}, format: json }}
"
        ));
    };
    let wait_for = |runner: &Runner, count: usize| {
        let deadline = Instant::now() + PATIENCE;
        while rows(&out).len() < count {
            assert!(Instant::now() < deadline, "{}", runner.stderr());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // All of one day.
    let numbered = |partition: i32, range: std::ops::Range<i64>| {
        let record = |n| TestRecord::to(partition, format!("{{\"n\":{n}}}")).at(1_767_225_600_000 + n);
        servers::produce(&topic, &range.map(record).collect::<Vec<_>>());
    };
    numbered(0, 0..10);
    spec("");
    let runner = place.apply();
    wait_for(&runner, 10);
    servers::add_partitions(&topic, 3);
    numbered(1, 0..5);
    numbered(2, 0..5);
    wait_for(&runner, 20);
    assert!(runner.stderr().contains("new partitions are read from their first record"), "{}", runner.stderr());
    numbered(0, 10..20);
    numbered(1, 5..500);
    numbered(2, 5..500);
    wait_for(&runner, 21);
    runner.kill();
    numbered(2, 500..510);
    spec(", start: latest, until: end");
    place.apply().wait().with_code(0);
    let found = rows(&out);
    let all = by_partition(&found);
    let wanted = [20, 500, 510];
    for (partition, count) in (0..).zip(wanted) {
        assert_eq!(all[&(topic.as_str(), partition)], (0..count).collect::<Vec<_>>(), "partition {partition}");
    }
    let row = |record: &TestRecord| serde_json::from_str::<Value>(&record.text()).unwrap();
    let counts: Vec<_> =
        servers::read(&counts).iter().map(row).map(|row| (row["p"].as_i64(), row["cnt"].as_i64())).collect();
    assert_eq!(counts, [(Some(0), Some(20)), (Some(1), Some(500)), (Some(2), Some(510))]);
}
