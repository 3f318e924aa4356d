//! Stops: clean ones, hasty ones, and what a dead instance leaves open (I21).

use super::*;

/// A pipeline of 10 s windows over rows of the test.
fn windowed(name: &str) -> (Place, String, String) {
    let place = Place::new(name);
    let (input, windows) = (servers::topic(name, 1), servers::topic("stop-windows", 1));
    place.spec(&format!(
        "  sources:
    rows:
      kafka: {{ topic: {input} }}
      format: json
      columns: {COLUMNS}
      time: {{ lag: 0s, idle: never }}
  transforms:
    per_k:
      from: rows
      window: {{ tumbling: 10s }}
      group_by: [k]
      aggregate: {{ cnt: count(*), total: sum(n) }}
  sinks: {{ windows: {{ from: per_k, kafka: {{ topic: {windows} }}, format: json }} }}
"
    ));
    (place, input, windows)
}

/// Rows of one key, one per second from the beginning of a window.
fn seconds(range: std::ops::Range<i64>) -> Vec<Row> {
    let begin = (now_ms() - 3_000_000) / 1_000_000 * 1_000_000;
    let row = |n: i64| Row { partition: 0, time: begin + n * 1_000, n, k: "k".into(), v: 0 };
    range.map(row).collect()
}

#[test]
fn a_stop_emits_nothing_early_and_the_next_run_resumes() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let (place, input, windows) = windowed("stop");
        let mut commits = place.watched_journal();
        let first = seconds(0..6);
        fill(servers::kafka(), &input, &first);
        let runner = place.apply();
        commits.wait_for_first_of(&runner);
        runner.signal(signal);
        let ended = runner.wait().with_code(0);
        assert!(ended.stderr.contains("stopped; the next apply resumes here"), "{}", ended.stderr);
        assert!(ended.stderr.contains("6 rows in, 0 rows out"), "{}", ended.stderr);
        assert_eq!(place.committed(&windows), Vec::<Value>::new(), "its window is not over");

        let runner = place.apply();
        let said = runner.wait_stderr("resumes behind epoch 1");
        assert!(said.contains("with the state in the snapshot of epoch 1 (1 row, "), "{said}");
        assert!(!said.contains("after replaying"), "{said}");
        let second = seconds(6..12);
        fill(servers::kafka(), &input, &second);
        wait_for_records(servers::kafka(), &windows, 1);
        runner.signal(signal);
        runner.wait().with_code(0);
        let wanted = windows_of(first.iter().chain(&second).filter(|row| row.n < 10), 10_000);
        assert_same(&windows_written(&place.committed(&windows)), &wanted, "windows");
    }
}

/// The console's reader does not read, so a clean stop cannot come to its end.
#[test]
fn a_second_interrupt_ends_at_once() {
    let place = Place::new("hasty");
    place.spec(
        "  sources: { rows: { datagen: { columns: { n: { type: long, iteration: { start: 0 } } }, rate: max } } }
  sinks: { out: { from: rows, console: {}, format: json } }
",
    );
    let runner = Runner::spawn_unheard(&["apply", "spec.yaml"], place.folder.path());
    runner.wait_stderr(": starts");
    assert!(!runner.ended_within(Duration::from_secs(1)), "time to fill the pipe:\n{}", runner.stderr());
    runner.signal(libc::SIGINT);
    runner.wait_stderr("stopping");
    assert!(!runner.ended_within(Duration::from_millis(500)), "{}", runner.stderr());
    let asked = Instant::now();
    runner.signal(libc::SIGINT);
    let ended = runner.wait().with_code(130);
    assert!(asked.elapsed() < Duration::from_secs(2), "{}", ended.stderr);
}

/// What a dead instance had begun and not committed is taken back by the next one, at once: neither its
/// start nor readers of its output wait for the transaction to time out, and nobody sees it.
#[test]
fn an_open_transaction_of_a_dead_instance_does_not_block_the_restart() {
    let (place, input, windows) = windowed("open-transaction");
    let (spec, copy) = (std::fs::read_to_string(place.path("spec.yaml")).unwrap(), servers::topic("stop-copy", 1));
    let sinks = format!("  sinks: {{ a_copy: {{ from: rows, kafka: {{ topic: {copy} }}, format: json }},");
    assert!(spec.contains("  sinks: {"));
    std::fs::write(place.path("spec.yaml"), spec.replace("  sinks: {", &sinks)).unwrap();
    let mut commits = place.watched_journal();
    fill(servers::kafka(), &input, &seconds(0..6));
    let runner = place.apply();
    commits.wait_for_first_of(&runner);
    runner.kill();
    // As if it had died between the first row of an epoch and the commit.
    let dead = servers::transactional_producer(&format!("runner.default.{}.0", place.name));
    rdkafka::producer::Producer::begin_transaction(&dead).unwrap();
    servers::send(&dead, &windows, &TestRecord::to(0, "never committed"));
    servers::send(&dead, &copy, &TestRecord::to(0, "never committed"));
    servers::send(&dead, &place.journal(), &TestRecord::to(0, "never committed"));
    rdkafka::producer::Producer::flush(&dead, PATIENCE).unwrap();

    let begun = Instant::now();
    let runner = place.apply();
    fill(servers::kafka(), &input, &seconds(6..12));
    let written = wait_for_records(servers::kafka(), &windows, 1);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0);
    let numbers: Vec<i64> = place.committed(&copy).iter().map(|row| long(row, "n")).collect();
    assert_eq!(numbers, (0..12).collect::<Vec<_>>());
    place.verified();
    let wanted = windows_of(seconds(0..10).iter(), 10_000);
    let written: Vec<Value> = written.iter().map(|record| json(&record.text())).collect();
    assert_same(&windows_written(&written), &wanted, "windows");
}

/// I19: a snapshot is due also where nothing comes any more, and then none is: the restart has nothing to read again.
#[test]
fn i19_a_pipeline_that_has_gone_quiet_takes_its_snapshot() {
    let (place, input, _) = windowed("quiet");
    let spec = std::fs::read_to_string(place.path("spec.yaml")).unwrap();
    std::fs::write(place.path("spec.yaml"), spec + "  state: { store: state, every: 500ms }\n").unwrap();
    let mut commits = place.watched_journal();
    let runner = place.apply();
    fill(servers::kafka(), &input, &seconds(0..6));
    commits.wait_for_first_of(&runner);
    let snapshots = || {
        let folders = std::fs::read_dir(place.path("state/snapshots")).into_iter().flatten().flatten();
        let files = folders.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).flatten().flatten();
        files.filter(|file| file.path().extension().is_some_and(|end| end == "json")).count()
    };
    let deadline = Instant::now() + PATIENCE;
    while snapshots() == 0 {
        assert!(Instant::now() < deadline && !runner.ended_within(Duration::from_millis(50)), "{}", runner.stderr());
    }
    assert!(!runner.ended_within(Duration::from_secs(2)), "{}", runner.stderr());
    assert_eq!(snapshots(), 1, "of what it has already");
    runner.kill();
    let runner = place.apply();
    let said = runner.wait_stderr(": resumes");
    assert!(said.contains("with the state in the snapshot of epoch") && !said.contains("after replaying"), "{said}");
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0);
}
