//! I4, I7, I8: rows that come late, cannot be, or cannot be written.

use super::*;

/// The watermark in force of each epoch is that of the record before.
#[test]
fn i4_late_is_decided_by_the_watermark_in_force_and_leaves_in_the_same_epoch() {
    // The window [0, 1) stays open until the watermark is at 3: end 1 and grace 2.
    let script = vec![
        second(0.1),
        second(2.999),
        Item::Cut,
        second(0.2),
        second(3.0),
        second(0.3),
        Item::Cut,
        second(0.4),
        second(1.5),
    ];
    let stage = Stage::of(SECONDS, 1, script);
    let (_, log, ended) = stage.disturbed(0, &[]);
    ended.unwrap();
    let late = stage.sink("late");
    let late_by_epoch: Vec<usize> = log.appends().iter().map(|append| append.rows(late).len()).collect();
    assert_eq!(late_by_epoch[..3], [0, 0, 1], "only the row behind the cut at 3.0 is late, in its own epoch");
    let journal = stage.run(Variant::default());
    assert_eq!(epochs(&journal)[1].watermark, Watermark::at(BEGINNING + 3_000));
    let counts: Vec<String> = written(&journal.output(stage.sink("windows")))
        .iter()
        .map(|row| String::from_utf8(row.value.clone().unwrap()).unwrap())
        .collect();
    assert!(counts[0].contains("\"c\":3"), "{counts:?}");
}

#[test]
fn i7_times_that_cannot_be_are_dead_letters_and_move_no_watermark() {
    let text =
        SECONDS.replace("columns: { x: int }, time: {", "columns: { x: int, t: timestamp(ms)? }, time: { field: t,");
    let at = |ahead: &str| row(0, BEGINNING, &format!("{{\"x\": 1, \"t\": {ahead}}}"));
    let now = |ms: Millis| at(&(BEGINNING + ms).to_string());
    let stage = Stage::of(&text, 1, vec![now(1_000), now(3_600_001), at("null"), Item::Cut, now(1_100)]);
    let journal = stage.run(Variant::default());
    assert_eq!(epochs(&journal)[0].watermark, Watermark::at(BEGINNING + 1_000));
    assert_eq!(epochs(&journal)[0].partitions["s"][&0.into()].rejected, [(1, 3)]);
    assert_eq!(written(&journal.output(stage.sink("dead_letter"))).len(), 2);
    assert_eq!(written(&journal.output(stage.sink("late"))).len(), 0);
}

#[test]
fn i7_a_record_that_the_broker_would_refuse_is_a_dead_letter_before_it_is_produced() {
    // Kafka takes no timestamp before 1970.
    let stage = Stage::of(&rows_only(), 1, vec![row(0, -5, r#"{"x": 1}"#), second(0.0)]);
    let journal = stage.run(Variant::default());
    assert_eq!(written(&journal.output(stage.sink("rows"))).len(), 1);
    let dead = written(&journal.output(stage.sink("dead_letter")));
    assert_eq!((dead.len(), dead[0].value.as_deref()), (1, Some(&b"{\"x\": 1}"[..])));
}

#[test]
fn i8_late_rows_and_dead_letters_commit_with_their_epoch() {
    let bad = row(0, BEGINNING, "{");
    let stage = Stage::of(SECONDS, 1, vec![second(10.0), Item::Cut, bad, second(1.0), second(10.5), Item::Cut]);
    let (_, log, ended) = stage.disturbed(0, &[]);
    ended.unwrap();
    let second = &log.appends()[1];
    let counts = ["rows", "late", "dead_letter"].map(|sink| second.rows(stage.sink(sink)).len());
    assert_eq!((second.epoch, counts), (2, [2, 1, 1]));
}
