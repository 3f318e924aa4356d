//! The journal's topic or file is deleted under a running pipeline: it says so and ends, and nothing begins anew by itself (I12).

use super::*;

/// A pipeline that copies numbers, and has copied the first ten of them.
fn copying(name: &str, more: &str) -> (Place, String, String, Runner) {
    let place = Place::new(name);
    let (input, output) = (servers::topic(&format!("{name}-in"), 1), servers::topic(&format!("{name}-out"), 1));
    place.spec(&format!(
        "  sources: {{ rows: {{ kafka: {{ topic: {input} }}, format: json, columns: {{ n: long }} }} }}
  sinks: {{ out: {{ from: rows, kafka: {{ topic: {output} }}, format: json{more} }} }}
"
    ));
    let runner = place.apply();
    give(&input, 0..10);
    wait_for_records(&place.brokers, &output, 10);
    (place, input, output, runner)
}

fn give(input: &str, numbers: std::ops::Range<i64>) {
    let record = |n: i64| TestRecord::to(0, format!("{{\"n\":{n}}}"));
    servers::produce(input, &numbers.map(record).collect::<Vec<_>>());
}

fn numbers(place: &Place, output: &str) -> Vec<i64> {
    place.committed(output).iter().map(|row| long(row, "n")).collect()
}

/// It names the topic and what can be done.
#[track_caller]
fn assert_says_so(place: &Place, ended: Ended) {
    let Ended { stderr, .. } = ended.with_code(3);
    for wanted in ["error[refused.journal_gone]", &place.journal(), "`--fresh`"] {
        assert!(stderr.contains(wanted), "`{wanted}` is not in:\n{stderr}");
    }
}

/// No start begins anew by itself, and asking again changes nothing; `--fresh` does.
#[track_caller]
fn assert_only_fresh_goes_on(place: &Place, output: &str, refusal: &str) {
    let before = numbers(place, output);
    for _ in 0..2 {
        let refused = place.apply().wait().with_code(3);
        assert!(refused.stderr.contains(refusal) && refused.stderr.contains("--fresh"), "{}", refused.stderr);
    }
    assert_eq!(numbers(place, output), before);
    let runner = place.apply_with(&["--fresh"]);
    wait_for_records(&place.brokers, output, 2 * before.len());
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0);
}

#[test]
fn i12_a_journal_that_is_deleted_under_a_running_pipeline_ends_it() {
    for (name, more) in [("deleted-journal", ""), ("deleted-plain-journal", ", delivery: at_least_once")] {
        let (place, input, output, runner) = copying(name, more);
        servers::delete_topic(&place.journal());
        give(&input, 10..20);
        assert_says_so(&place, runner.wait());
        let found = numbers(&place, &output);
        // Where rows are delivered before their record, those of the last epoch may be out.
        let out = if more.is_empty() { 10..=10 } else { 10..=20 };
        assert!(out.contains(&found.len()) && (0..).zip(&found).all(|(n, found)| n == *found), "{found:?}");
        if more.is_empty() {
            assert_only_fresh_goes_on(&place, &output, "error[refused.lineage]");
        }
    }
}

/// Nothing comes, so nothing is written that could fail: it is looked after all the same.
#[test]
fn i12_a_journal_that_is_deleted_under_an_idle_pipeline_ends_it() {
    let (place, _, output, runner) = copying("idle-journal", "");
    servers::delete_topic(&place.journal());
    assert_says_so(&place, runner.wait());
    assert_eq!(numbers(&place, &output), (0..10).collect::<Vec<_>>());
}

/// Does something to the journal's file.
type Act<'a> = &'a dyn Fn(&std::path::Path);

/// A file without its name takes what is written, and nobody finds it again. One that another file stands for is no better.
#[test]
fn i12_a_journal_file_that_is_removed_or_replaced_under_a_running_pipeline_ends_it() {
    let copy = |file: &std::path::Path| {
        std::fs::copy(file, file.with_extension("copy")).unwrap();
        std::fs::rename(file.with_extension("copy"), file).unwrap();
    };
    let remove = |file: &std::path::Path| std::fs::remove_file(file).unwrap();
    let input = servers::topic("removed-file-in", 1);
    give(&input, 0..50);
    let numbers = "datagen: { columns: { n: { type: long, iteration: { start: 0 } } }, rate: 100 }";
    // Nothing more comes, so nothing is written that could fail.
    let idle = format!("kafka: {{ topic: {input} }}, format: json, columns: {{ n: long }}");
    let ways: [(&str, &str, Act); 3] =
        [("removed-file", numbers, &remove), ("removed-idle-file", &idle, &remove), ("other-file", numbers, &copy)];
    for (name, source, take_away) in ways {
        let place = Place::new(name);
        place.spec(&format!(
            "  sources: {{ rows: {{ {source} }} }}
  sinks: {{ out: {{ from: rows, file: {{ path: out.jsonl }}, format: json }} }}
"
        ));
        let runner = place.apply();
        let file = place.path(".runner/default").join(&place.name).join("journal/journal.jsonl");
        let deadline = Instant::now() + PATIENCE;
        let written = || std::fs::read_to_string(place.path("out.jsonl")).is_ok_and(|text| text.lines().count() >= 50);
        while !written() {
            assert!(Instant::now() < deadline, "{}", runner.stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
        take_away(&file);
        let Ended { stderr, .. } = runner.wait().with_code(3);
        for wanted in ["error[refused.journal_gone]", &place.name, "journal.jsonl", "`--fresh`"] {
            assert!(stderr.contains(wanted), "`{wanted}` is not in:\n{stderr}");
        }
        let numbers = || place.lines("out.jsonl").iter().map(|row| long(row, "n")).collect::<Vec<_>>();
        let before = numbers();
        assert_eq!(before, (0..before.len() as i64).collect::<Vec<_>>());
        if file.exists() {
            continue;
        }
        // Nothing begins anew by itself.
        let refused = place.apply().wait().with_code(3);
        assert!(refused.stderr.contains("error[refused.lineage]"), "{}", refused.stderr);
        assert_eq!(numbers(), before);
    }
}

/// Another topic of its name takes what is written as the old one did. It has no beginning.
#[test]
fn i12_a_journal_that_is_made_anew_under_a_running_pipeline_ends_it() {
    let (place, input, output, runner) = copying("new-journal", "");
    servers::delete_topic(&place.journal());
    servers::create_topic(&place.brokers, &place.journal(), 1, &[("retention.ms", "-1")]);
    let mut given = 10;
    let deadline = Instant::now() + PATIENCE;
    while !runner.ended_within(Duration::from_millis(200)) {
        assert!(Instant::now() < deadline, "{}", runner.stderr());
        give(&input, given..given + 1);
        given += 1;
    }
    assert_says_so(&place, runner.wait());
    let found = numbers(&place, &output);
    assert!((0..).zip(&found).all(|(n, found)| n == *found), "{found:?}");
    assert_only_fresh_goes_on(&place, &output, "error[refused.");
}
