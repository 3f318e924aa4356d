//! Output that no transaction takes at once (I10).

use super::*;

/// A window of 300,000 groups closes, and gives a topic and a file some 120 MB each. Two runs die by kill -9 while
/// its continuations are being committed; the third goes on where they were.
#[test]
fn i10_kill_nine_while_a_large_window_leaves() {
    const GROUPS: i64 = 300_000;
    /// Keys of this length stand in the record's key and in its value.
    const WIDTH: usize = 120;
    let place = Place::new("large");
    let input = servers::topic_with("large-in", 2, &[("retention.ms", "-1")]);
    let day = now_ms() / 86_400_000 - 2;
    let key = |n: i64| format!("{:0>WIDTH$}", n * 7 % GROUPS);
    // The first of them come twice.
    let record = |n: i64| {
        let k = key(n % GROUPS);
        TestRecord::to((n % 2) as i32, format!("{{\"k\":\"{k}\",\"n\":{n}}}")).at(day * 86_400_000 + n * 100)
    };
    let count = GROUPS + 20_000;
    servers::produce_many(servers::kafka(), &input, (0..count).map(record));
    let windows = servers::topic_with("large-windows", 1, &[("retention.ms", "-1")]);
    place.spec(&format!(
        "  sources:
    rows:
      kafka: {{ topic: {input}, until: end }}
      format: json
      columns: {{ k: string, n: long }}
      time: {{ lag: 1h, idle: never }}
  transforms:
    per_k: {{ from: rows, window: {{ tumbling: 1d }}, group_by: [k], aggregate: {{ cnt: count(*), total: sum(n) }} }}
  sinks:
    windows: {{ from: per_k, kafka: {{ topic: {windows} }}, format: json }}
    lines: {{ from: per_k, file: {{ path: out/windows.jsonl }}, format: json }}
  # The window is 100 MB of state.
  memory: 512MiB
"
    ));

    let mut commits = place.watched_journal();
    for pieces in [2, 3] {
        let runner = place.apply();
        commits.wait_for_records(&runner, pieces, |record| record["epoch"].get("cursor").is_some());
        assert!(!runner.ended_within(Duration::ZERO), "it has ended:\n{}", runner.stderr());
        runner.kill();
    }
    place.apply().wait_within(Duration::from_secs(300)).with_code(0);

    let journal = place.committed(&place.journal());
    let epochs: Vec<&Value> = journal.iter().filter_map(|record| record.get("epoch")).collect();
    assert!(epochs.iter().map(|epoch| long(epoch, "epoch")).eq(1..=epochs.len() as i64), "numbers are consecutive");
    let pieces: Vec<&&Value> = epochs.iter().filter(|epoch| epoch.get("continues").is_some()).collect();
    let mut by_run: BTreeMap<i64, usize> = BTreeMap::new();
    pieces.iter().for_each(|piece| *by_run.entry(long(piece, "incarnation")).or_default() += 1);
    eprintln!("{} continuations, by run: {by_run:?}", pieces.len());
    assert!(by_run.len() == 3, "not every run has committed some: {by_run:?}");

    let written: Vec<String> = servers::read_at(&place.brokers, &windows).iter().map(TestRecord::text).collect();
    let lines = std::fs::read_to_string(place.path("out/windows.jsonl")).unwrap();
    assert!(lines.lines().eq(written.iter().map(String::as_str)), "topic and file have the same rows in one order");
    let rows: Vec<Value> = written.iter().map(|row| json(row)).collect();
    assert!(rows.is_sorted_by_key(|row| text(row, "k").to_owned()), "a window leaves in the order of its keys");
    let found: BTreeMap<String, Sums> =
        rows.iter().map(|row| (text(row, "k").to_owned(), (long(row, "cnt"), long(row, "total")))).collect();
    assert_eq!(found.len(), rows.len(), "a group came twice");
    let mut wanted: BTreeMap<String, Sums> = BTreeMap::new();
    for n in 0..count {
        let (cnt, total) = wanted.entry(key(n % GROUPS)).or_default();
        *cnt += 1;
        *total += n;
    }
    assert_same(&found, &wanted, "groups");
}
