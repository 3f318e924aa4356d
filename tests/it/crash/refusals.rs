//! What cannot be continued is refused (code 3) with the choices, and `--fresh` begins anew (I12, I17).

use super::*;

/// A pipeline with an open window, that has read 60 rows of one key and was killed: without a snapshot, which a stop
/// would take, it must read them again. They are one epoch, however they were fetched: none is cut before all of them
/// have long been there.
fn killed_with_an_open_window(name: &str) -> (Place, String) {
    let place = Place::new(name);
    let input = servers::topic(name, 2);
    fill_seconds(&input, 0..60);
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
      window: {{ tumbling: 1h }}
      group_by: [k]
      aggregate: {{ cnt: count(*), total: sum(n) }}
  sinks: {{ windows: {{ from: per_k, kafka: {{ topic: {} }}, format: json }} }}
  epoch: {{ min: 3s, interval: 3s }}
",
        servers::unique("windows")
    ));
    let mut commits = place.watched_journal();
    let runner = place.apply();
    commits.wait_for_first_of(&runner);
    runner.kill();
    (place, input)
}

/// Rows of two partitions in turn, a second apart, within one hour.
fn fill_seconds(topic: &str, range: std::ops::Range<i64>) {
    let begin = (now_ms() - 7_200_000) / 3_600_000 * 3_600_000;
    let row = |n: i64| Row { partition: (n % 2) as i32, time: begin + n * 1_000, n, k: "k".into(), v: 0 };
    fill(servers::kafka(), topic, &range.map(row).collect::<Vec<_>>());
}

#[track_caller]
fn assert_refused(ended: Ended, wanted: &[&str]) {
    let ended = ended.with_code(3);
    for wanted in wanted {
        assert!(ended.stderr.contains(wanted), "`{wanted}` is not in:\n{}", ended.stderr);
    }
}

/// `--fresh` begins where the sources begin now.
#[track_caller]
fn assert_fresh_works(place: &Place) {
    let runner = place.apply_with(&["--fresh"]);
    runner.wait_stderr(": starts");
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0);
    let runner = place.apply();
    runner.wait_line(Stream::Stderr, |line| line.contains(": starts") || line.contains(": resumes"), "a start");
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0);
}

/// I17: retention took what the open window was made of.
#[test]
fn records_that_a_replay_needs_and_retention_removed_are_counted() {
    let (place, input) = killed_with_an_open_window("retention");
    servers::delete_records(&input, 1, 7);
    let wanted = [&*format!("7 records of topic `{input}`"), &*format!("partition 1 of `{input}`: 0 to 6"), "--fresh"];
    assert_refused(place.apply().wait(), &wanted);
    // Asking again changes nothing.
    assert_refused(place.apply().wait(), &wanted);
    assert_fresh_works(&place);
}

/// I17: the log cleaner took what the open window was made of: the offsets are there, and fewer records.
#[test]
fn i17_records_that_a_replay_needs_and_compaction_removed_are_counted() {
    let (place, windows) = (Place::new("compaction"), servers::unique("windows"));
    let settings = [("cleanup.policy", "compact"), ("segment.ms", "200"), ("min.cleanable.dirty.ratio", "0.001")];
    let input = servers::topic_with("compaction", 1, &settings);
    let begin = (now_ms() - 7_200_000) / 3_600_000 * 3_600_000;
    let mut next = 0;
    let mut give = || {
        // Nothing is cleaned before a later record has its key.
        let key = Some(format!("k{}", next % 30).into_bytes());
        let record = TestRecord::to(0, format!("{{\"n\":{next},\"k\":\"k\",\"v\":0}}")).at(begin + next * 1_000);
        servers::produce(&input, &[TestRecord { key, ..record }]);
        next += 1;
    };
    (0..30).for_each(|_| give());
    place.spec(&format!(
        "  epoch: {{ min: 3s, interval: 3s }}
  sources:
    rows: {{ kafka: {{ topic: {input} }}, format: json, columns: {COLUMNS}, time: {{ lag: 0s, idle: never }} }}
  transforms:
    per_k: {{ from: rows, window: {{ tumbling: 1h }}, group_by: [k], aggregate: {{ cnt: count(*), total: sum(n) }} }}
  sinks: {{ windows: {{ from: per_k, kafka: {{ topic: {windows} }}, format: json }} }}
"
    ));
    let mut commits = place.watched_journal();
    let runner = place.apply();
    commits.wait_for_first_of(&runner);
    runner.kill();
    // Only older segments are cleaned: records of later times begin a new one.
    let deadline = Instant::now() + PATIENCE;
    while servers::read(&input).iter().filter(|record| record.offset < 30).count() > 15 {
        assert!(Instant::now() < deadline, "nothing was cleaned for {PATIENCE:?}");
        give();
        std::thread::sleep(Duration::from_millis(200));
    }
    for _ in 0..2 {
        let wanted = ["error[refused.source_changed]", "records less than when it was committed", "--fresh"];
        assert_refused(place.apply().wait(), &wanted);
    }
    assert_fresh_works(&place);
}

/// I17: the topic was made again with as many offsets and fewer records, so that its id tells before a replay does.
#[test]
fn a_topic_that_was_made_again_and_is_as_long_is_refused() {
    let (place, input) = killed_with_an_open_window("recreated");
    servers::delete_topic(&input);
    servers::create_topic(servers::kafka(), &input, 2, &[]);
    fill_seconds(&input, 0..20);
    // Offsets without records: what an aborted transaction leaves.
    let producer = servers::transactional_producer(&servers::unique("aborts"));
    rdkafka::producer::Producer::begin_transaction(&producer).unwrap();
    for n in 0..80 {
        servers::send(&producer, &input, &TestRecord::to(n % 2, "aborted"));
    }
    rdkafka::producer::Producer::flush(&producer, PATIENCE).unwrap();
    rdkafka::producer::Producer::abort_transaction(&producer, PATIENCE).unwrap();
    let wanted = ["error[kafka.recreated]", "its id was", "--fresh"];
    assert_refused(place.apply().wait(), &wanted);
    assert_fresh_works(&place);
}

#[test]
fn a_topic_that_was_made_again_is_refused() {
    let (place, input) = killed_with_an_open_window("made-again");
    servers::delete_topic(&input);
    servers::create_topic(servers::kafka(), &input, 2, &[]);
    assert_refused(place.apply().wait(), &["its id was", "--fresh"]);
    assert_fresh_works(&place);
}

/// Where nothing is replayed only the start is there to tell.
#[test]
fn a_topic_that_was_made_again_is_refused_where_nothing_is_replayed() {
    let (place, input) = (Place::new("behind"), servers::topic("behind", 1));
    servers::produce(&input, &[TestRecord::to(0, "a"), TestRecord::to(0, "b")]);
    place.spec(&format!(
        "  sources: {{ rows: {{ kafka: {{ topic: {input}, until: end }}, format: string }} }}
  sinks: {{ lines: {{ from: rows, file: {{ path: out.txt }}, format: string }} }}
"
    ));
    place.apply().wait().with_code(0);
    servers::delete_topic(&input);
    servers::create_topic(servers::kafka(), &input, 1, &[]);
    assert_refused(place.apply().wait(), &["its id was", "--fresh"]);
    servers::produce(&input, &[TestRecord::to(0, "c")]);
    place.apply_with(&["--fresh"]).wait().with_code(0);
    assert_eq!(std::fs::read_to_string(place.path("out.txt")).unwrap(), "a\nb\nc\n");
}

/// `--fresh` gives the output to the new lineage before it writes anything: a crash right behind it, before
/// the first row came to the file, must not make the file a stranger.
#[test]
fn a_file_belongs_to_a_fresh_run_from_its_beginning() {
    let (place, input) = (finished("fresh-crash"), servers::topic("fresh-crash-in", 1));
    place.spec(&format!(
        "  sources: {{ rows: {{ kafka: {{ topic: {input}, until: end }}, format: string }} }}
  sinks:
    out: {{ from: rows, kafka: {{ topic: {} }}, format: string }}
    lines: {{ from: rows, file: {{ path: out.jsonl }}, format: string }}
",
        servers::unique("fresh-crash")
    ));
    // The topic is empty: this ends before an epoch was cut.
    place.apply_with(&["--fresh"]).wait().with_code(0);
    servers::produce(&input, &[TestRecord::to(0, "{\"n\":10}")]);
    let ended = place.apply().wait().with_code(0);
    assert!(ended.stderr.contains("resumes behind epoch 0"), "{}", ended.stderr);
    assert_eq!(place.lines("out.jsonl").len(), 11);
}

/// A finished run of counted rows into a file and a topic.
fn finished(name: &str) -> Place {
    let place = Place::new(name);
    place.spec(&counted(&servers::unique(name)));
    place.apply().wait().with_code(0);
    assert_eq!(place.lines("out.jsonl").len(), 10);
    place
}

fn counted(topic: &str) -> String {
    format!(
        "  sources: {{ rows: {{ datagen: {{ columns: {{ n: {{ type: long, iteration: {{ start: 0 }} }} }}, count: 10, rate: max }} }} }}
  sinks:
    out: {{ from: rows, kafka: {{ topic: {topic} }}, format: json }}
    lines: {{ from: rows, file: {{ path: out.jsonl }}, format: json }}
"
    )
}

/// I12: the journal's topic was deleted, the output is still there.
#[test]
fn output_without_its_journal_is_refused() {
    let place = finished("no-journal");
    servers::delete_topic(&place.journal());
    let wanted = ["error[refused.lineage]", "sink `lines`", "--fresh", "remove the output"];
    assert_refused(place.apply().wait(), &wanted);
    assert_refused(place.apply().wait(), &wanted);
    assert_eq!(place.lines("out.jsonl").len(), 10);
    // Written behind what is there.
    place.apply_with(&["--fresh"]).wait().with_code(0);
    assert_eq!(place.lines("out.jsonl").len(), 20);
    place.apply().wait().with_code(0);
    assert_eq!(place.lines("out.jsonl").len(), 20);
}

/// I12: where topics alone are written, nothing in them says whose lineage they are. The group does.
#[test]
fn i12_a_pipeline_between_topics_whose_journal_was_deleted_is_refused() {
    let place = Place::new("lost-journal");
    let (input, output) = (servers::topic("lost-journal-in", 1), servers::topic("lost-journal-out", 1));
    let record = |n| TestRecord::to(0, format!("{{\"n\":{n}}}"));
    servers::produce(&input, &(0..10).map(record).collect::<Vec<_>>());
    place.spec(&format!(
        "  sources: {{ rows: {{ kafka: {{ topic: {input}, until: end }}, format: json, columns: {{ n: long }} }} }}
  sinks: {{ out: {{ from: rows, kafka: {{ topic: {output} }}, format: json }} }}
"
    ));
    place.apply().wait().with_code(0);
    servers::delete_topic(&place.journal());
    for _ in 0..2 {
        assert_refused(place.apply().wait(), &["error[refused.lineage]", "journal is empty", "up to 10", "--fresh"]);
    }
    assert_eq!(servers::read(&output).len(), 10);
    place.apply_with(&["--fresh"]).wait().with_code(0);
    assert_eq!(servers::read(&output).len(), 20);
    // A reset takes back what the group says.
    run(&["reset", "spec.yaml", "--yes"], place.folder.path()).with_code(0);
    for _ in 0..2 {
        place.apply().wait().with_code(0);
        assert_eq!(servers::read(&output).len(), 30);
    }
}

/// I12: the file is that of another run.
#[test]
fn a_file_of_another_lineage_is_refused() {
    let (place, other) = (finished("lineage"), finished("other-lineage"));
    for file in ["out.jsonl", "out.jsonl.runner"] {
        std::fs::copy(other.path(file), place.path(file)).unwrap();
    }
    let wanted = ["error[refused.lineage]", "sink `lines` was written by another run", "--fresh"];
    assert_refused(place.apply().wait(), &wanted);
    place.apply_with(&["--fresh"]).wait().with_code(0);
    assert_eq!(place.lines("out.jsonl").len(), 20);
}

/// I12: the file has an epoch that the journal, set back by somebody, does not know.
#[test]
fn a_file_that_is_ahead_of_the_journal_is_refused() {
    let place = finished("ahead");
    let sidecar = std::fs::read_to_string(place.path("out.jsonl.runner")).unwrap();
    let mut memory = json(&sidecar);
    memory["epoch"] = 1_000.into();
    std::fs::write(place.path("out.jsonl.runner"), memory.to_string()).unwrap();
    let wanted = ["error[refused.sink_ahead]", "sink `lines` has epoch 1000", "--fresh"];
    assert_refused(place.apply().wait(), &wanted);
    place.apply_with(&["--fresh"]).wait().with_code(0);
    assert_eq!(place.lines("out.jsonl").len(), 20);
}
