//! Windows over a backlog: complete, exact, each once (I1, I4, I5, I9, I13).

use super::*;

/// kill -9, each time 0.5 to 2 s after the first commit of the run, under 1,000,000 records through a
/// filter and windows into two topics and a file.
#[test]
fn kill_nine_under_a_million_records() {
    let mut random = Random::new();
    let place = Place::new("million");
    let input = servers::topic_with("million-in", 6, &[("retention.ms", "-1")]);
    let rows: Vec<Row> = rows(&[300_000, 250_000, 200_000, 150_000, 80_000, 20_000], 1_000_000, 2_000, 5).collect();
    assert_eq!(rows.len(), 1_000_000);
    fill(servers::kafka(), &input, &rows);
    let (good, windows) = (servers::unique("million-good"), servers::unique("million-windows"));
    place.spec(&format!(
        "  epoch: {{ max_bytes: 512KiB }}
  sources:
    rows:
      kafka: {{ topic: {input}, until: end, properties: {} }}
      format: json
      columns: {COLUMNS}
      time: {{ lag: 2s, idle: never }}
  transforms:
    good: {{ from: rows, where: v >= 8 }}
    per_k:
      from: good
      window: {{ tumbling: 5s }}
      group_by: [k]
      aggregate: {{ cnt: count(*), total: sum(n) }}
  sinks:
    windows: {{ from: per_k, kafka: {{ topic: {windows} }}, format: json }}
    good_rows: {{ from: good, kafka: {{ topic: {good} }}, format: json }}
    good_lines: {{ from: good, file: {{ path: out/good.jsonl }}, format: json }}
",
        throttled(1_000, 100)
    ));

    let begun = Instant::now();
    let (kills, _) = place.killed_until_done(&mut random, 500..2_000);
    eprintln!("{kills} kills in {:?}", begun.elapsed());

    assert!(kills >= 2, "only {kills} kills: too fast for this test, give it more records");
    place.verified();
    let kept = || rows.iter().filter(|row| row.v >= 8);
    let found = place.committed(&windows);
    assert_same(&windows_written(&found), &windows_of(kept(), 5_000), "windows");
    let order: Vec<_> = found.iter().map(|row| (time(row, "window_end"), text(row, "k").to_owned())).collect();
    assert!(order.is_sorted(), "windows leave in the order of (end, key)");
    let numbers = |rows: Vec<Value>| rows.iter().map(|row| long(row, "n")).collect::<Vec<_>>();
    let wanted: Vec<i64> = kept().map(|row| row.n).collect();
    assert_each_once_in_order(&numbers(place.committed(&good)), wanted.clone(), "rows in Kafka");
    assert_each_once_in_order(&numbers(place.lines("out/good.jsonl")), wanted, "rows in the file");
}

/// I1, I5: six partitions of very different length, read as a backlog with a lag of 1 s. The long ones are
/// read for a long time after the short ones have met their end; none of their rows may be late.
#[test]
fn a_backlog_read_unevenly_loses_no_row_from_its_windows() {
    let place = Place::new("backlog");
    let input = servers::topic_with("backlog-in", 6, &[("retention.ms", "-1")]);
    let rows: Vec<Row> = rows(&[80_000, 40_000, 20_000, 5_000, 500, 40], 100_000, 1_000, 3).collect();
    fill(servers::kafka(), &input, &rows);
    let windows = servers::topic("backlog-windows", 1);
    place.spec(&format!(
        "  epoch: {{ max_bytes: 256KiB }}
  sources:
    rows:
      kafka: {{ topic: {input} }}
      format: json
      columns: {COLUMNS}
      time: {{ lag: 1s, idle: 500ms }}
  transforms:
    per_k:
      from: rows
      window: {{ tumbling: 1s }}
      group_by: [k]
      aggregate: {{ cnt: count(*), total: sum(n) }}
  sinks:
    windows: {{ from: per_k, kafka: {{ topic: {windows} }}, format: json }}
    late: {{ from: per_k.late, file: {{ path: out/late.jsonl }}, format: json }}
"
    ));

    let wanted = windows_of(rows.iter(), 1_000);
    let runner = place.apply();
    // Nothing ends here: idle time closes the last windows.
    wait_for_records(servers::kafka(), &windows, wanted.len());
    runner.signal(libc::SIGINT);
    let ended = runner.wait().with_code(0);
    let totals = format!("{} rows in, {} rows out, 0 late, 0 dead", rows.len(), wanted.len());
    assert!(ended.stderr.contains(&totals), "{totals} expected:\n{}", ended.stderr);
    assert_eq!(place.lines("out/late.jsonl"), Vec::<Value>::new());
    assert_same(&windows_written(&place.committed(&windows)), &wanted, "windows");
}
