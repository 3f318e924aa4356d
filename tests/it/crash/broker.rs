//! A broker that dies under load: waited for, or gone on without where others have its records; nothing lost or doubled (I11).

use super::*;
use crate::servers::Broker;

#[test]
fn a_broker_that_is_killed_and_comes_back_loses_and_doubles_nothing() {
    let mut random = Random::new();
    let mut broker = Broker::start();
    let place = Place::at(&broker.address, "broker");
    servers::create_topic(&broker.address, "in", 3, &[("retention.ms", "-1")]);
    let rows: Vec<Row> = rows(&[120_000, 90_000, 30_000], 200_000, 1_000, 3).collect();
    fill(&broker.address, "in", &rows);
    place.spec(&format!(
        "  epoch: {{ max_bytes: 64KiB }}
  sources:
    rows:
      kafka: {{ topic: in, until: end, properties: {} }}
      format: json
      columns: {COLUMNS}
      time: {{ lag: 1s, idle: never }}
  transforms:
    per_k:
      from: rows
      window: {{ tumbling: 5s }}
      group_by: [k]
      aggregate: {{ cnt: count(*), total: sum(n) }}
  sinks:
    windows: {{ from: per_k, kafka: {{ topic: windows }}, format: json }}
    copy: {{ from: rows, kafka: {{ topic: copy }}, format: json }}
    lines: {{ from: rows, file: {{ path: out.jsonl }}, format: json }}
",
        throttled(1_000, 100)
    ));
    let mut commits = place.watched_journal();
    let runner = place.apply();
    commits.wait_for(&runner, 2);
    let delay = Duration::from_millis(random.between(0..300));
    if runner.ended_within(delay) {
        runner.wait().with_code(0);
        panic!("it was done before the broker was killed: give it more records");
    }
    broker.kill();
    assert!(!runner.ended_within(Duration::from_secs(2)), "a broker is waited for:\n{}", runner.stderr());
    broker.start_again();
    runner.wait_within(2 * PATIENCE).with_code(0);

    place.verified();
    let wanted: Vec<i64> = rows.iter().map(|row| row.n).collect();
    let numbers = |rows: Vec<Value>| rows.iter().map(|row| long(row, "n")).collect::<Vec<_>>();
    assert_each_once_in_order(&numbers(place.committed("copy")), wanted.clone(), "rows in Kafka");
    assert_each_once_in_order(&numbers(place.lines("out.jsonl")), wanted, "rows in the file");
    assert_same(&windows_written(&place.committed("windows")), &windows_of(rows.iter(), 5_000), "windows");
}

/// Three brokers, of which one dies under load: the others have everything, so nobody waits for it to come back.
#[test]
fn one_of_three_brokers_that_is_lost_is_gone_on_without() {
    let mut random = Random::new();
    let mut cluster = Broker::start_three();
    let place = Place::at(&cluster.address, "three");
    let brokers = cluster.address.clone();
    for (topic, partitions) in [("in", 3), ("windows", 3), ("copy", 1)] {
        servers::create_topic(&brokers, topic, partitions, &[("retention.ms", "-1")]);
    }
    let rows: Vec<Row> = rows(&[40_000, 20_000, 10_000], 100_000, 1_000, 3).collect();
    fill(&brokers, "in", &rows);
    place.spec(&format!(
        "  epoch: {{ max_bytes: 64KiB }}
  sources:
    rows:
      kafka: {{ topic: in, until: end, properties: {} }}
      format: json
      columns: {COLUMNS}
      time: {{ lag: 1s, idle: never }}
  transforms:
    per_k:
      from: rows
      window: {{ tumbling: 5s }}
      group_by: [k]
      aggregate: {{ cnt: count(*), total: sum(n) }}
  sinks:
    windows: {{ from: per_k, kafka: {{ topic: windows }}, format: json }}
    copy: {{ from: rows, kafka: {{ topic: copy }}, format: json }}
",
        throttled(500, 100)
    ));
    let mut commits = place.watched_journal();
    let runner = place.apply();
    commits.wait_for(&runner, 2);
    assert!(!runner.ended_within(Duration::from_millis(random.between(0..200))), "give it more records");
    let node = random.between(1..4);
    cluster.kill_node(node);
    // It may be the one that leads anything: partitions, the transactions, the cluster itself.
    runner.wait_within(2 * PATIENCE).with_code(0);

    place.verified();
    let wanted: Vec<i64> = rows.iter().map(|row| row.n).collect();
    let numbers = |rows: Vec<Value>| rows.iter().map(|row| long(row, "n")).collect::<Vec<_>>();
    assert_each_once_in_order(&numbers(place.committed("copy")), wanted, &format!("without node {node}"));
    assert_same(&windows_written(&place.committed("windows")), &windows_of(rows.iter(), 5_000), "windows");
}
