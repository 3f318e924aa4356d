//! Records that are gone since a snapshot was taken: those before it are in it, those behind it are missed (I17, I18).

use super::*;

/// Windows of an hour in `windows`, over rows a second apart; no snapshot but at a stop.
fn spec(place: &Place, input: &str, windows: &str) {
    place.spec(&format!(
        "  state: {{ every: 1h, recovery_target: 1h }}
  sources:
    rows: {{ kafka: {{ topic: {input} }}, format: json, columns: {COLUMNS}, time: {{ lag: 0s, idle: never }} }}
  transforms:
    per_k: {{ from: rows, window: {{ tumbling: 1h }}, group_by: [k], aggregate: {{ cnt: count(*), total: sum(n) }} }}
  sinks: {{ windows: {{ from: per_k, kafka: {{ topic: {windows} }}, format: json }} }}
  epoch: {{ min: 3s, interval: 3s }}
"
    ));
}

/// The beginning of a whole hour that is over.
fn hour() -> i64 {
    (now_ms() - 7_200_000) / 3_600_000 * 3_600_000
}

/// Row `n` of an hour, in turn in two partitions.
fn row(begin: i64, n: i64) -> Row {
    Row { partition: (n % 2) as i32, time: begin + n * 1_000, n, k: "k".into(), v: 0 }
}

/// A stop has left a snapshot behind rows 0 to 59; 60 to 119 are in the journal only: then it was killed.
fn killed_behind_a_snapshot(name: &str) -> (Place, String, String, i64) {
    let place = Place::new(name);
    let (input, windows) = (servers::topic_with(name, 2, &[("retention.ms", "-1")]), servers::unique("windows"));
    spec(&place, &input, &windows);
    let begin = hour();
    let give = |range: std::ops::Range<i64>| {
        fill(&place.brokers, &input, &range.map(|n| row(begin, n)).collect::<Vec<_>>());
    };
    let mut commits = place.watched_journal();
    give(0..60);
    let runner = place.apply();
    commits.wait_for_first_of(&runner);
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0);
    give(60..120);
    let runner = place.apply();
    commits.wait_for_first_of(&runner);
    runner.kill();
    (place, input, windows, begin)
}

/// The window of these rows closes, and is whole.
fn assert_whole(place: &Place, input: &str, windows: &str, begin: i64, rows: std::ops::Range<i64>) {
    let runner = place.apply();
    let said = runner.wait_stderr(": resumes");
    assert!(said.contains("with the state in the snapshot of epoch") && said.contains("after replaying"), "{said}");
    let closing = [3_600, 3_601].map(|n| row(begin, n));
    fill(&place.brokers, input, &closing);
    wait_for_records(&place.brokers, windows, 1);
    runner.kill();
    let rows: Vec<Row> = rows.map(|n| row(begin, n)).collect();
    assert_same(&windows_written(&place.committed(windows)), &windows_of(rows.iter(), 3_600_000), "windows");
}

#[test]
fn i17_records_behind_a_snapshot_that_retention_removed_are_missed() {
    let (place, input, windows, _) = killed_behind_a_snapshot("behind-snapshot");
    servers::delete_records(&input, 1, 37);
    for _ in 0..2 {
        let Ended { stderr, .. } = place.apply().wait().with_code(3);
        let of = format!("partition 1 of `{input}`: 30 to 36");
        for wanted in ["error[kafka.expired]", &format!("7 records of topic `{input}`"), &of, "--fresh"] {
            assert!(stderr.contains(wanted), "`{wanted}` is not in:\n{stderr}");
        }
    }
    assert!(place.committed(&windows).is_empty());
}

#[test]
fn i18_records_before_a_snapshot_that_retention_removed_are_in_it() {
    let (place, input, windows, begin) = killed_behind_a_snapshot("before-snapshot");
    // All of one partition that it has, and a part of the other's.
    servers::delete_records(&input, 1, 30);
    servers::delete_records(&input, 0, 11);
    assert_whole(&place, &input, &windows, begin, 0..120);
}

/// Older segments are cleaned at once, or not as long as this says.
fn compacted(lag_ms: i64) -> [(&'static str, String); 4] {
    [
        ("cleanup.policy", "compact".to_owned()),
        ("segment.ms", "200".to_owned()),
        ("min.cleanable.dirty.ratio", "0.001".to_owned()),
        ("min.compaction.lag.ms", lag_ms.to_string()),
    ]
}

/// The log cleaner takes first what is in the snapshot, and then what is not.
#[test]
fn i17_what_compaction_removed_is_missed_only_behind_the_snapshot() {
    const DAY_MS: i64 = 86_400_000;
    let (place, input) = (Place::new("compacted-snapshot"), servers::unique("compacted-snapshot"));
    let settings = compacted(DAY_MS);
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    servers::create_topic(&place.brokers, &input, 1, &settings);
    spec(&place, &input, &servers::unique("windows"));
    let set_lag = |lag_ms: i64| {
        let settings = compacted(lag_ms);
        servers::set(&place.brokers, &input, &settings.each_ref().map(|(name, value)| (*name, value.as_str())));
    };
    let begin = hour();
    let mut next = 0;
    // Rows of one window, whose records have keys of their own.
    let mut give = |key: String| {
        let record = TestRecord::to(0, format!("{{\"n\":{next},\"k\":\"k\",\"v\":0}}")).at(begin + next * 1_000);
        servers::produce(&input, &[TestRecord { key: Some(key.into_bytes()), ..record }]);
        next += 1;
    };
    let left = |offsets: &std::ops::Range<i64>| {
        servers::read(&input).iter().filter(|record| offsets.contains(&record.offset)).count()
    };
    let mut commits = place.watched_journal();
    (0..30).for_each(|n| give(format!("k{n}")));
    let runner = place.apply();
    commits.wait_for_first_of(&runner);
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0);
    (0..30).for_each(|n| give(format!("k{n}")));
    let runner = place.apply();
    commits.wait_for_first_of(&runner);
    runner.kill();
    // Cleans until half of these records are gone. Nothing is cleaned that has no later record of its key.
    let mut clean = |offsets: std::ops::Range<i64>, key: &str, keys: usize| {
        set_lag(0);
        let deadline = Instant::now() + PATIENCE;
        for number in 0.. {
            if left(&offsets) <= 15 {
                break;
            }
            assert!(Instant::now() < deadline, "nothing was cleaned for {PATIENCE:?}");
            give(format!("{key}{}", number % keys));
            std::thread::sleep(Duration::from_millis(200));
        }
        set_lag(DAY_MS);
    };

    clean(0..30, "other", usize::MAX);
    assert_eq!(left(&(30..60)), 30, "what lies behind the snapshot is there");
    let runner = place.apply();
    let said = runner.wait_stderr(": resumes");
    assert!(said.contains("in the snapshot of epoch 1 (1 row"), "{said}");
    assert!(said.contains("after replaying 1 epoch (30 rows)"), "{said}");
    runner.kill();

    clean(30..60, "k", 30);
    for _ in 0..2 {
        let Ended { stderr, .. } = place.apply().wait().with_code(3);
        assert!(stderr.contains("error[refused.source_changed]") && stderr.contains("--fresh"), "{stderr}");
        let (before, _) = stderr.split_once(" records less than when it was committed").expect(&stderr);
        let missing: usize = before.rsplit(' ').next().unwrap().parse().expect(&stderr);
        assert!((15..=30).contains(&missing), "{stderr}");
    }
}
