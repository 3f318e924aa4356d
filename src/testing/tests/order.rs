//! I2, I13: lanes, batches and replays change no bit of the output.

use super::*;

#[test]
fn i2_given_the_same_cuts_lanes_and_batches_change_no_bit_of_output_and_journal() {
    let stage = Stage::of(EVERYTHING, 5, uneven_rows(5, 3_000, 170));
    let sinks = stage.given.plan.sinks.len();
    let expected = bytes(&stage.run(Variant { poll_rows: 10_000, ..Variant::default() }), sinks);
    for (sink, rows) in stage.given.plan.sinks.iter().zip(&expected.1) {
        assert!(rows.len() > 10, "`{}` has {} rows: the test shows little", sink.name, rows.len());
    }
    for (poll_rows, lanes) in [(1, 1), (1, 4), (7, 2), (10_000, 4)] {
        let actual = bytes(&stage.run(Variant { poll_rows, lanes, ..Variant::default() }), sinks);
        assert_eq!(actual.0, expected.0, "journal, {poll_rows} rows a batch, {lanes} lanes");
        for (sink, (actual, expected)) in actual.1.iter().zip(&expected.1).enumerate() {
            let name = &stage.given.plan.sinks[sink].name;
            assert!(actual == expected, "`{name}` differs with {poll_rows} rows a batch and {lanes} lanes");
        }
    }
}

#[test]
fn i2_a_replay_after_a_crash_changes_no_bit_of_the_output() {
    let stage = Stage::of(EVERYTHING, 3, uneven_rows(3, 600, 50));
    let expected = stage.told(&stage.run(Variant::default()));
    for epoch in [1, 4, 7, 11] {
        for crash in [CrashAt::Before(epoch), CrashAt::After(epoch)] {
            let actual = stage.told(&stage.run(Variant { crash: Some(crash), ..Variant::default() }));
            stage.assert_same(&actual, &expected, &format!("{crash:?}"));
        }
    }
}

/// Windows over windows, and nothing that needs the whole journal.
const LEVELS: &str = r#"
apiVersion: runner/v1
kind: Pipeline
metadata: { name: levels }
spec:
  sources:
    s: { kafka: { topic: in }, format: json, columns: { k: string?, x: double, n: int? }, time: { lag: 1s, idle: never } }
  transforms:
    first: { from: s, window: { tumbling: 2s, grace: 3s }, group_by: [k], aggregate: { c: count(*), total: sum(x) } }
    second: { from: first, window: { hopping: { size: 6s, every: 4s }, grace: 1s }, aggregate: { c: sum(c), total: sum(total) }, having: c > 2 }
    third: { from: second, window: { tumbling: 12s }, aggregate: { windows: count(*), total: sum(total) } }
  sinks:
    of_first: { from: first, kafka: { topic: first }, format: json }
    of_second: { from: second, kafka: { topic: second }, format: json }
    of_third: { from: third, kafka: { topic: third }, format: json }
  errors: { skip: true }
"#;

/// Every emitted row carries the lowest epoch that contributed to it, so that a replay that begins with empty state
/// brings back the windows of all levels, and only it needs no more than their epochs.
#[test]
fn i13_windows_over_windows_are_rebuilt_from_the_oldest_open_one() {
    let stage = Stage::of(LEVELS, 3, uneven_rows(3, 1_000, 25));
    let output = |journal: &MemoryJournal| -> Vec<Vec<Written>> {
        (0..stage.given.plan.sinks.len()).map(|sink| written(&journal.output(sink))).collect()
    };
    let whole = stage.run(Variant::default());
    let (records, expected) = (epochs(&whole), output(&whole));
    assert!(expected.iter().all(|rows| rows.len() > 2), "{:?}", expected.iter().map(Vec::len).collect::<Vec<_>>());
    assert!(records.iter().any(|record| record.needed > 1 && record.needed <= record.epoch), "nothing shows `needed`");
    let last = records.last().unwrap().epoch;
    for epoch in 1..=last {
        for crash in [CrashAt::Before(epoch), CrashAt::After(epoch)] {
            let actual = stage.run(Variant { crash: Some(crash), ..Variant::default() });
            assert!(output(&actual) == expected, "{crash:?}");
        }
    }
}

#[test]
fn i19_a_restart_from_a_snapshot_changes_no_bit_of_the_output() {
    let stage = Stage::of(EVERYTHING, 3, uneven_rows(3, 600, 50));
    // The reason of a time that is too far ahead says how far: an epoch that is read anew has another clock.
    let dead_letters = stage.given.plan.dead_letter.unwrap();
    let output = |journal: &MemoryJournal| {
        let values = |sink: usize| {
            let mut rows = written(&journal.output(sink));
            if sink == dead_letters {
                rows.iter_mut().for_each(|row| row.headers.clear());
            }
            rows
        };
        (0..stage.given.plan.sinks.len()).map(values).collect::<Vec<_>>()
    };
    let expected = output(&stage.run(Variant::default()));
    for epoch in 1..=10 {
        for (crash, snapshots_ms) in
            [(CrashAt::Before(epoch), 0), (CrashAt::After(epoch), 0), (CrashAt::Before(epoch), 25)]
        {
            let variant = Variant { crash: Some(crash), snapshots_ms: Some(snapshots_ms), ..Variant::default() };
            let (journal, store) = (MemoryJournal::default(), Arc::new(Store::in_memory().unwrap()));
            let open = |journal| -> Box<dyn Journal> { Box::new(journal) };
            let course = run_with(&stage.given, variant, &journal, store, &open).unwrap();
            assert_eq!(course.starts, 2, "{variant}");
            assert_eq!(course.restored, usize::from(epoch > 3 || snapshots_ms == 0 && epoch > 1), "{variant}");
            for (sink, (actual, expected)) in output(&journal).iter().zip(&expected).enumerate() {
                assert!(actual == expected, "`{}` differs: {variant}", stage.given.plan.sinks[sink].name);
            }
        }
    }
}
