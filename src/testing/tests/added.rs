//! I2, I5, I13: partitions that come while a pipeline runs.

use super::*;

/// Rows of two partitions, then of five.
fn growing() -> Stage {
    let mut script = uneven_rows(5, 620, 50);
    let half = script.len() / 2;
    for item in &mut script[..half] {
        if let Item::Row { partition, .. } = item {
            *partition %= 2;
        }
    }
    Stage::of(EVERYTHING, 2, script)
}

#[test]
fn i2_partitions_that_come_change_no_bit_whichever_lane_takes_them() {
    let stage = growing();
    let sinks = stage.given.plan.sinks.len();
    let expected = bytes(&stage.run(Variant::default()), sinks);
    let first = epochs(&growing().run(Variant::default()));
    let (before, behind) = (first[0].partitions["s"].len(), first[first.len() - 1].partitions["s"].len());
    assert_eq!((before, behind), (2, 5), "they come while it runs");
    for (poll_rows, lanes) in [(1, 1), (7, 2), (10_000, 4)] {
        let actual = bytes(&growing().run(Variant { poll_rows, lanes, ..Variant::default() }), sinks);
        let what = format!("{poll_rows} rows a batch, {lanes} lanes");
        assert_eq!(actual.0, expected.0, "{what}");
        stage.assert_same(&actual.1, &expected.1, &what);
    }
}

#[test]
fn i13_partitions_that_come_are_replayed_from_where_their_first_record_says() {
    let expected = growing().told(&growing().run(Variant::default()));
    for epoch in 1..=12 {
        for crash in [CrashAt::Before(epoch), CrashAt::After(epoch)] {
            let stage = growing();
            let actual = stage.told(&stage.run(Variant { crash: Some(crash), ..Variant::default() }));
            stage.assert_same(&actual, &expected, &format!("{crash:?}"));
        }
    }
}

/// The watermark of the others is in force for its rows, and goes on when it does.
#[test]
fn i5_a_partition_that_comes_holds_the_watermark_back() {
    let at = |partition, seconds: f64| row(partition, BEGINNING + (seconds * 1_000.0) as Millis, r#"{"x": 1}"#);
    let script = vec![
        at(0, 0.1),
        at(0, 1.0),
        Item::Cut,
        at(1, 0.5),
        at(0, 9.0),
        Item::Cut,
        // The watermark is still at 1: the window [0, 1) is open until it is at 3.
        at(0, 0.2),
        Item::Cut,
        at(1, 9.0),
        Item::Cut,
    ];
    let stage = Stage::of(SECONDS, 1, script);
    let journal = stage.run(Variant::default());
    let watermarks: Vec<Watermark> = epochs(&journal).iter().map(|epoch| epoch.watermark).collect();
    let seconds = [1, 1, 1, 9].map(|second| Watermark::at(BEGINNING + second * 1_000));
    assert_eq!(watermarks[..4], seconds);
    assert_eq!(written(&journal.output(stage.sink("late"))), []);
    let first = written(&journal.output(stage.sink("windows"))).remove(0);
    assert!(String::from_utf8(first.value.unwrap()).unwrap().contains("\"c\":3"));
}
