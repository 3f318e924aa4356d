//! I14: a changed pipeline goes on with the state of what has not changed, and gives up none that nobody gave up.

use super::*;

/// Counts per key without an end and in windows of an hour, and another count beside them.
fn spec(place: &Place, [input, windows, table, other]: [&str; 4], beside: &str) {
    place.spec(&format!(
        "  sources:
    rows: {{ kafka: {{ topic: {input} }}, format: json, columns: {COLUMNS}, time: {{ lag: 0s, idle: never }} }}
  transforms:
    wins: {{ from: rows, window: {{ tumbling: 1h }}, group_by: [k], aggregate: {{ cnt: count(*), total: sum(n) }} }}
    all: {{ from: rows, group_by: [k], aggregate: {{ cnt: count(*), total: sum(n) }} }}
    beside: {{ from: rows, group_by: [k], aggregate: {beside} }}
  sinks:
    windows: {{ from: wins, kafka: {{ topic: {windows} }}, format: json }}
    table: {{ from: all, kafka: {{ topic: {table} }}, format: json, mode: upsert }}
    other: {{ from: beside, kafka: {{ topic: {other} }}, format: json, mode: upsert }}
"
    ));
}

/// Rows a second apart, of one key: `count` of them from the `from`th second of an hour that is over.
fn seconds(begin: i64, range: std::ops::Range<i64>) -> Vec<Row> {
    range.map(|n| Row { partition: 0, time: begin + n * 1_000, n, k: "k".into(), v: 0 }).collect()
}

/// Waits until the newest row of a table counts so many.
fn wait_for_count(place: &Place, topic: &str, count: i64) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let newest = place.committed(topic).pop();
        if let Some(row) = newest.filter(|row| long(row, "cnt") == count) {
            return row;
        }
        assert!(Instant::now() < deadline, "{topic} does not come to {count}: {:?}", place.committed(topic).pop());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_changed_pipeline_keeps_the_state_of_what_has_not_changed() {
    let (place, input) = (Place::new("changed"), servers::topic("changed-in", 1));
    let [windows, table, other] = ["windows", "table", "other"].map(servers::unique);
    let topics = [&*input, &windows, &table, &other];
    let begin = (now_ms() - 10 * 3_600_000) / 3_600_000 * 3_600_000;
    fill(servers::kafka(), &input, &seconds(begin, 0..60));
    spec(&place, topics, "{ cnt: count(*) }");
    let runner = place.apply();
    wait_for_count(&place, &table, 60);
    wait_for_count(&place, &other, 60);
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0);

    // What is beside them changes: said by `plan`, refused by `apply`, and accepted.
    spec(&place, topics, "{ cnt: count(*), total: max(n) }");
    let planned = run(&["plan", "spec.yaml"], place.folder.path()).with_code(0).stdout;
    for wanted in
        ["state of `all`  kept: ", "state of `wins`  kept: ", "state of `beside`  lost: it has changed itself"]
    {
        assert!(planned.contains(wanted), "`{wanted}` is not in:\n{planned}");
    }
    let refused = place.apply().wait().with_code(3).stderr;
    for wanted in ["error[refused.plan_changed]", "`beside` (it has changed itself)", "`apply --accept-reset beside`"] {
        assert!(refused.contains(wanted), "`{wanted}` is not in:\n{refused}");
    }
    // Killed when the plan has just been noted, and before its first epoch.
    let runner = place.apply_with(&["--accept-reset", "beside"]);
    let said = runner.wait_stderr("the state of `beside` is given up, as was accepted");
    assert!(!said.contains("`all`"), "{said}");
    runner.kill();
    fill(servers::kafka(), &input, &seconds(begin, 60..90));
    let runner = place.apply();
    assert_eq!(long(&wait_for_count(&place, &table, 90), "total"), (0..90).sum::<i64>());
    wait_for_count(&place, &other, 30);
    runner.kill();
    // The stop has left a snapshot, and what lies behind it is read again; no snapshot has the new step, and none is needed.
    let shown = run(&["journal", "show", "spec.yaml"], place.folder.path()).with_code(0).stdout;
    let snapshot = shown.lines().find(|line| line.contains("snapshot  of epoch ")).unwrap_or_else(|| panic!("{shown}"));
    assert!(snapshot.ends_with(", usable") && snapshot.contains(" s old, 3 rows"), "{snapshot}");
    let runner = place.apply();
    let said = runner.wait_stderr(": resumes behind epoch ");
    let before = runner.stderr();
    for wanted in [": reads the state in the snapshot of epoch ", ": replays "] {
        assert!(before.contains(wanted), "`{wanted}` was not said before {said}:\n{before}");
    }
    // The hour is over, and its window closes with all of its rows.
    fill(servers::kafka(), &input, &seconds(begin, 3_600..3_601));
    let written = wait_for_records(servers::kafka(), &windows, 1);
    let row = json(&written[0].text());
    assert_eq!((long(&row, "cnt"), long(&row, "total")), (90, (0..90).sum()), "{row}");
    assert_eq!(long(&wait_for_count(&place, &other, 31), "total"), 3_600);
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0);
    let forgotten = run(&["reset", "spec.yaml"], place.folder.path()).with_code(3).stdout;
    assert!(
        forgotten.contains("would forget topic runner.") && forgotten.contains(" of the state in `"),
        "{forgotten}"
    );
    // `--fresh` gives the snapshots up with the journal, and takes another at its stop.
    let runner = place.apply_with(&["--fresh"]);
    let said = runner.wait_stderr("begins anew");
    assert!(said.contains("has removed") && said.contains(" of the state of before"), "{said}");
    wait_for_count(&place, &table, 91);
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0);
    let forgotten = run(&["reset", "spec.yaml", "--yes"], place.folder.path()).with_code(0).stdout;
    assert!(forgotten.contains(" of the state in `"), "{forgotten}");
    let shown = run(&["journal", "show", "spec.yaml", "--output", "json"], place.folder.path()).with_code(0).stdout;
    assert!(!shown.contains("snapshot"), "{shown}");
}
