//! Sources of several topics, and topics that change underneath a pipeline: on real servers, by the product's binary.

use std::collections::BTreeMap;

use serde_json::Value;

use super::crash::Place;
use super::servers::{self, TestRecord};

/// Values of a topic as (topic, partition, n), in order.
fn rows(topic: &str) -> Vec<(String, i64, i64)> {
    let row = |record: &TestRecord| {
        let row: Value = serde_json::from_str(&record.text()).unwrap();
        (row["topic"].as_str().unwrap().to_owned(), row["p"].as_i64().unwrap(), row["n"].as_i64().unwrap())
    };
    servers::read(topic).iter().map(row).collect()
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
