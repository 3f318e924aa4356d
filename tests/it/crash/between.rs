//! Commits of which nobody knows how they ended, in a process that lives; and processes that die between two clusters (I9, I11).

use super::clusters::{Clusters, numbers};
use super::points::{SLOWLY, die_at, record, round};
use super::*;
use crate::relay::{Fate, Relay};
use crate::servers::Broker;

/// A relay before a broker of its own.
fn relayed() -> (Relay, Broker) {
    let relay = Relay::new();
    let broker = Broker::start_with(&format!("advertised.listeners=PLAINTEXT://{}", relay.address()));
    relay.to(&broker.address);
    (relay, broker)
}

/// The first is what a start commits, an owner; a commit that went unheard is followed by an owner's, too: that of the second
/// lost one goes unheard itself.
const UNHEARD: &[(u32, Fate)] = &[(5, Fate::Committed), (4, Fate::Lost), (0, Fate::Committed), (6, Fate::Lost)];

/// The process reads in the log whether the epoch is there, and sends it again only if it is not. It does so in place: a
/// new run would have to be started.
#[test]
fn i11_a_commit_that_goes_unheard_is_looked_up_and_each_row_is_there_once() {
    let (relay, _broker) = relayed();
    // How many epochs that makes depends on the machine: it runs until every commit that is to go unheard has come.
    let source = "  epoch: { max_bytes: 2KiB, min: 1ms }
  sources: { rows: { datagen: { columns: { n: { type: long, iteration: { start: 0 } } }, rate: 3000 } } }";
    let run = |place: &Place| {
        relay.unheard(UNHEARD);
        let runner = place.apply();
        let deadline = Instant::now() + 3 * PATIENCE;
        while relay.left() > 0 {
            let is_over = runner.ended_within(Duration::from_millis(20)) || Instant::now() > deadline;
            assert!(!is_over, "commits that should go unheard never came:\n{}", runner.stderr());
        }
        runner.signal(libc::SIGINT);
        let ended = runner.wait().with_code(0);
        assert!(ended.stderr.contains("trying again"), "nothing was lost:\n{}", ended.stderr);
    };
    let assert_all = |there: &[i64], what: &str| {
        assert!(there.iter().copied().eq(0..there.len() as i64), "{what}: {} rows", there.len());
    };

    let place = Place::at(&relay.address(), "unheard");
    place.spec(&format!(
        "{source}
  sinks:
    copy: {{ from: rows, kafka: {{ topic: copy }}, format: json }}
    lines: {{ from: rows, file: {{ path: out.jsonl }}, format: json }}
"
    ));
    run(&place);
    let copied = numbers(&place.committed("copy"));
    assert_all(&copied, "rows in Kafka");
    assert!(numbers(&place.lines("out.jsonl")) == copied, "rows in the file");

    // The same of a further cluster.
    let (place, near) = (Place::new("unheard-far"), servers::unique("unheard-near"));
    place.spec(&format!(
        "  connections: {{ far: {{ kafka: {{ brokers: \"{}\" }} }} }}
{source}
  sinks:
    copy: {{ from: rows, kafka: {{ topic: {near} }}, format: json }}
    far_copy: {{ from: rows, connection: far, kafka: {{ topic: far-copy }}, format: json }}
",
        relay.address()
    ));
    run(&place);
    let copied = numbers(&place.committed(&near));
    assert_all(&copied, "rows in the near cluster");
    let far: Vec<Value> = servers::read_at(&relay.address(), "far-copy").iter().map(|row| json(&row.text())).collect();
    assert!(numbers(&far) == copied, "rows in the far cluster");
}

/// Points that both clusters' transactions pass, so that either is on its way where it dies, or one has what the other lacks.
const BETWEEN: &[(&str, u32)] = &[
    ("owner.appended", 1),
    ("owner.appended", 2),
    ("transaction.produced", 6),
    ("transaction.produced", 7),
    ("transaction.ending", 7),
    ("transaction.ending", 8),
    ("transaction.committed", 6),
    ("transaction.committed", 7),
    ("epoch.committed", 3),
    ("sink.write", 2),
    ("sink.written", 2),
];

#[test]
fn i9_whoever_dies_between_two_clusters_owes_neither_anything() {
    let clusters = Clusters::new("between");
    let Clusters { place, .. } = &clusters;
    let input = servers::topic_with("between-in", 2, &[("retention.ms", "-1")]);
    let near = servers::unique("between-near");
    clusters.spec(&format!(
        "  epoch: {{ max_bytes: 2KiB, min: 1ms }}
  state: {{ every: 10ms }}
  sources:
    rows:
      kafka: {{ topic: {input}, until: end, properties: {SLOWLY} }}
      format: json
      columns: {COLUMNS}
  transforms:
    good: {{ from: rows, where: v >= 3 }}
    per_k: {{ from: good, window: {{ tumbling: 1s }}, group_by: [k], aggregate: {{ cnt: count(*), total: sum(n) }} }}
  sinks:
    good_rows: {{ from: good, kafka: {{ topic: {near} }}, format: json }}
    z_rows: {{ from: good, connection: far, kafka: {{ topic: good }}, format: json }}
    z_windows: {{ from: per_k, connection: far, kafka: {{ topic: windows }}, format: json }}
"
    ));
    let begin = (now_ms() - 3_600_000) / 1_000 * 1_000;
    let mut rows: Vec<Row> = Vec::new();
    for (number, (point, count)) in (0..).zip(BETWEEN) {
        let more = round(number, begin);
        fill_in_batches(10, &input, more.iter().map(record));
        rows.extend(more);
        die_at(place, point, *count);
        place.apply().wait().with_code(0);
        let kept = || rows.iter().filter(|row| row.v >= 3);
        let wanted: Vec<i64> = kept().map(|row| row.n).collect();
        let what = |where_: &str| format!("{point}:{count}, {where_}");
        assert_each_once_in_order(&numbers(&place.committed(&near)), wanted.clone(), &what("near"));
        assert_each_once_in_order(&numbers(&clusters.far("good")), wanted, &what("far"));
        assert_same(&windows_written(&clusters.far("windows")), &windows_of(kept(), 1_000), &what("windows"));
    }
    place.verified();
}
