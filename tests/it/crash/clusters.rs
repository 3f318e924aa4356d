//! One pipeline that writes two Kafka clusters: each has everything once, whatever dies or is away (I9, I11, I15, I18).

use super::*;
use crate::servers::Broker;

/// A pipeline on the shared cluster with a second connection, `far`.
pub(super) struct Clusters {
    pub(super) place: Place,
    far: Broker,
}

impl Clusters {
    pub(super) fn new(name: &str) -> Clusters {
        Clusters { place: Place::new(name), far: Broker::start() }
    }

    /// The spec's head: both connections.
    pub(super) fn spec(&self, spec: &str) {
        let far = &self.far.address;
        self.place.spec(&format!("  connections: {{ far: {{ kafka: {{ brokers: \"{far}\" }} }} }}\n{spec}"));
    }

    /// What is committed in a topic of the far cluster.
    pub(super) fn far(&self, topic: &str) -> Vec<Value> {
        servers::read_at(&self.far.address, topic).iter().map(|record| json(&record.text())).collect()
    }

    /// The topic in which the far cluster says what it has.
    fn progress(&self) -> String {
        format!("runner.default.{}.progress.far", self.place.name)
    }
}

pub(super) fn numbers(rows: &[Value]) -> Vec<i64> {
    rows.iter().map(|row| long(row, "n")).collect()
}

/// Killed (SIGKILL) at any moment, both clusters and a file have every row once, and every window.
#[test]
fn i9_two_clusters_of_a_pipeline_that_is_killed_have_everything_once() {
    let mut random = Random::new();
    let clusters = Clusters::new("two-clusters");
    let Clusters { place, .. } = &clusters;
    let input = servers::topic_with("two-clusters-in", 3, &[("retention.ms", "-1")]);
    let near = servers::unique("two-clusters-copy");
    let rows: Vec<Row> = rows(&[60_000, 45_000, 15_000], 200_000, 1_000, 3).collect();
    fill(&place.brokers, &input, &rows);
    clusters.spec(&format!(
        "  epoch: {{ max_bytes: 64KiB }}
  sources:
    rows:
      kafka: {{ topic: {input}, until: end, properties: {} }}
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
    copy: {{ from: rows, kafka: {{ topic: {near} }}, format: json }}
    far_copy: {{ from: rows, connection: far, kafka: {{ topic: copy }}, format: json }}
    far_windows: {{ from: per_k, connection: far, kafka: {{ topic: windows }}, format: json }}
    lines: {{ from: rows, file: {{ path: out.jsonl }}, format: json }}
",
        throttled(100, 100)
    ));
    let (kills, _) = place.killed_until_done(&mut random, 0..700);
    assert!(kills >= 2, "it was killed {kills} times only: give it more records");

    place.verified();
    let wanted: Vec<i64> = rows.iter().map(|row| row.n).collect();
    assert_each_once_in_order(&numbers(&place.committed(&near)), wanted.clone(), "rows in the near cluster");
    assert_each_once_in_order(&numbers(&clusters.far("copy")), wanted.clone(), "rows in the far cluster");
    assert_each_once_in_order(&numbers(&place.lines("out.jsonl")), wanted, "rows in the file");
    assert_same(&windows_written(&clusters.far("windows")), &windows_of(rows.iter(), 5_000), "windows");
    // The memory of the far cluster is its own: the journal is where the first sink by name is.
    assert!(!servers::read_at(&clusters.far.address, &clusters.progress()).is_empty());
}

/// The far cluster goes away: the near one goes on until the far sink is 64 MiB behind, and a warning says so.
/// When it is back it is given what it lacks.
#[test]
fn i18_a_cluster_that_is_away_holds_the_other_up_only_at_the_limit_and_catches_up() {
    let mut clusters = Clusters::new("away");
    let input = servers::topic_with("away-in", 2, &[("retention.ms", "-1"), ("retention.bytes", "-1")]);
    let near = servers::unique("away-copy");
    const ROWS: i64 = 120_000;
    // A kilobyte each: 120 MB, of which at most 64 MiB and what is under way may be ahead.
    let filler = "x".repeat(1_000);
    let record = |n: i64| {
        let n = n % 2 * PER_PARTITION + n / 2;
        TestRecord::to((n / PER_PARTITION) as i32, format!("{{\"n\":{n},\"k\":\"{filler}\",\"v\":0}}"))
    };
    servers::produce_many(&clusters.place.brokers, &input, (0..ROWS).map(record));
    clusters.spec(&format!(
        "  epoch: {{ max_bytes: 1MiB }}
  sources: {{ rows: {{ kafka: {{ topic: {input}, until: end }}, format: json, columns: {COLUMNS} }} }}
  sinks:
    copy: {{ from: rows, kafka: {{ topic: {near} }}, format: json }}
    far_copy: {{ from: rows, connection: far, kafka: {{ topic: copy }}, format: json }}
"
    ));
    let mut commits = clusters.place.watched_journal();
    let runner = clusters.place.apply();
    commits.wait_for(&runner, 2);
    clusters.far.kill();
    runner.wait_stderr("the pipeline waits for it");
    let warned = runner.stderr();
    assert!(warned.contains("sink `far_copy` is"), "{warned}");
    // It stays so, however long it takes.
    std::thread::sleep(Duration::from_secs(5));
    let ahead = clusters.place.committed(&near).len() as i64;
    assert!(ahead > 20_000, "the near cluster stopped at once, with {ahead} rows");
    assert!(ahead < ROWS - 10_000, "the near cluster has {ahead} of {ROWS} rows: nothing held it up");
    clusters.far.start_again();
    runner.wait_within(4 * PATIENCE).with_code(0);
    clusters.place.verified();
    let wanted: Vec<i64> = (0..ROWS).map(|n| n % 2 * PER_PARTITION + n / 2).collect();
    assert_each_once_in_order(&numbers(&clusters.place.committed(&near)), wanted.clone(), "rows in the near cluster");
    assert_each_once_in_order(&numbers(&clusters.far("copy")), wanted, "rows in the far cluster");
}

/// A second start takes both clusters over, and the first names it.
#[test]
fn i15_a_second_start_fences_the_first_on_both_clusters() {
    let clusters = Clusters::new("fenced-twice");
    let Clusters { place, .. } = &clusters;
    let near = servers::unique("fenced-twice-out");
    clusters.spec(&format!(
        "  sources: {{ rows: {{ datagen: {{ columns: {{ n: {{ type: long, iteration: {{ start: 0 }} }} }}, rate: 2000 }} }} }}
  sinks:
    near: {{ from: rows, kafka: {{ topic: {near} }}, format: json, connection: default }}
    z_far: {{ from: rows, connection: far, kafka: {{ topic: out }}, format: json }}
"
    ));
    let mut commits = place.watched_journal();
    let first = place.apply();
    commits.wait_for(&first, 3);
    let second = place.apply();
    let ended = first.wait().with_code(3);
    assert!(ended.stderr.contains("refused.taken_over"), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("pid {}", second.pid())), "{}", ended.stderr);
    commits.wait_for(&second, 3);
    second.signal(libc::SIGTERM);
    second.wait().with_code(0);
    let near = numbers(&place.committed(&near));
    assert!(near.len() > 10);
    assert_eq!(near, (0..near.len() as i64).collect::<Vec<_>>());
    assert_eq!(numbers(&clusters.far("out")), near);
}

/// What a sink has is known where its progress stands: seeking it elsewhere would send everything again.
#[test]
fn i12_a_journal_or_sink_that_moved_to_another_cluster_is_refused() {
    let clusters = Clusters::new("moved");
    let Clusters { place, .. } = &clusters;
    let near = servers::unique("moved-out");
    let source = "  sources: { rows: { datagen: { columns: { n: { type: long, iteration: { start: 0 } } }, rate: max, count: 1000 } } }";
    let near_sink = format!("    b_near: {{ from: rows, kafka: {{ topic: {near} }}, format: json }}\n");
    let far_sink = "    c_far: { from: rows, connection: far, kafka: { topic: out }, format: json }\n";
    clusters.spec(&format!("{source}\n  sinks:\n{near_sink}{far_sink}"));
    place.apply().wait().with_code(0);
    assert_eq!((place.committed(&near).len(), clusters.far("out").len()), (1_000, 1_000));

    // An earlier name on the other cluster does not move the journal.
    let earlier = "    a_new: { from: rows, connection: far, kafka: { topic: new }, format: json }\n";
    clusters.spec(&format!("{source}\n  sinks:\n{earlier}{near_sink}{far_sink}"));
    let resumed = place.apply().wait().with_code(0);
    assert!(resumed.stderr.contains("resumes behind epoch"), "{}", resumed.stderr);
    assert_eq!((place.committed(&near).len(), clusters.far("out").len()), (1_000, 1_000));

    // Without a sink on its cluster the journal cannot be continued.
    clusters.spec(&format!("{source}\n  sinks:\n{far_sink}"));
    let refused = place.apply().wait().with_code(3);
    assert!(refused.stderr.contains("refused.journal_moved"), "{}", refused.stderr);

    // A sink whose memory is elsewhere now.
    let moved = format!("    b_near: {{ from: rows, connection: far, kafka: {{ topic: {near} }}, format: json }}\n");
    let other = format!("    d_near: {{ from: rows, kafka: {{ topic: {near} }}, format: json }}\n");
    clusters.spec(&format!("{source}\n  sinks:\n{moved}{far_sink}{other}"));
    let refused = place.apply().wait().with_code(3);
    assert!(refused.stderr.contains("refused.sink_moved"), "{}", refused.stderr);
    assert_eq!(clusters.far("out").len(), 1_000, "a refused start writes nothing");
}

/// Every number is there, however often.
#[track_caller]
fn assert_all_there(found: &[i64], wanted: &[i64], what: &str) {
    let found: std::collections::BTreeSet<i64> = found.iter().copied().collect();
    let lost: Vec<&i64> = wanted.iter().filter(|n| !found.contains(n)).collect();
    assert!(
        lost.is_empty(),
        "{what}: {} of {} rows are lost: {:?}…",
        lost.len(),
        wanted.len(),
        &lost[..lost.len().min(5)]
    );
    assert_eq!(found.len(), wanted.len(), "{what}: rows that nobody wrote");
}

/// Kafka sinks that are at least once lose nothing when they are killed; the file beside them doubles nothing either.
/// `near` and `far` say how each is delivered.
fn killed_at_least_once(name: &str, near: &str) {
    let mut random = Random::new();
    let clusters = Clusters::new(name);
    let Clusters { place, .. } = &clusters;
    let input = servers::topic_with(&format!("{name}-in"), 2, &[("retention.ms", "-1")]);
    let copy = servers::unique(&format!("{name}-copy"));
    let rows: Vec<Row> = rows(&[100_000, 60_000], 200_000, 1_000, 3).collect();
    fill(&place.brokers, &input, &rows);
    clusters.spec(&format!(
        "  epoch: {{ max_bytes: 64KiB }}
  sources:
    rows: {{ kafka: {{ topic: {input}, until: end, properties: {} }}, format: json, columns: {COLUMNS} }}
  sinks:
    copy: {{ from: rows, kafka: {{ topic: {copy} }}, format: json, delivery: {near} }}
    far_copy: {{ from: rows, connection: far, kafka: {{ topic: copy }}, format: json, delivery: at_least_once }}
    lines: {{ from: rows, file: {{ path: out.jsonl }}, format: json }}
",
        throttled(100, 100)
    ));
    let (kills, _) = place.killed_until_done(&mut random, 0..500);
    assert!(kills >= 2, "it was killed {kills} times only: give it more records");
    let wanted: Vec<i64> = rows.iter().map(|row| row.n).collect();
    let near_rows = numbers(&place.committed(&copy));
    assert_all_there(&near_rows, &wanted, "rows in the near cluster");
    if near == "exactly_once" {
        assert_eq!(near_rows.len(), wanted.len());
    }
    assert_all_there(&numbers(&clusters.far("copy")), &wanted, "rows in the far cluster");
    assert_each_once_in_order(&numbers(&place.lines("out.jsonl")), wanted, "rows in the file");
}

#[test]
fn i9_without_transactions_nothing_is_lost_when_it_is_killed() {
    killed_at_least_once("lax", "at_least_once");
}

#[test]
fn i9_a_sink_at_least_once_on_a_further_cluster_catches_up_by_the_journal() {
    killed_at_least_once("half-lax", "exactly_once");
}
