//! I14: a plan that has changed goes on with the state of what has not.

use super::*;

/// Windows over windows, an endless aggregate and a sort: every kind of state, each beside the others.
const BEFORE: &str = r#"
apiVersion: runner/v1
kind: Pipeline
metadata: { name: changing }
spec:
  sources:
    s: { kafka: { topic: in }, format: json, columns: { k: string?, x: double, n: int? }, time: { lag: 1s, idle: never } }
  transforms:
    good: { from: s, where: x < 900.0 }
    wins: { from: good, window: { tumbling: 5s }, group_by: [k], aggregate: { c: count(*), total: sum(x) } }
    again: { from: wins, window: { tumbling: 10s }, aggregate: { total: sum(total) } }
    all: { from: good, group_by: [k], aggregate: { c: count(*), total: sum(x) } }
    beside: { from: s, group_by: [k], aggregate: { c: count(*) } }
  sinks:
    windows: { from: wins, kafka: { topic: windows }, format: json }
    twice: { from: again, kafka: { topic: again }, format: json }
    table: { from: all, kafka: { topic: table }, format: json, mode: upsert }
    other: { from: beside, kafka: { topic: other }, format: json, mode: upsert }
  errors: { skip: true }
"#;

/// `beside` counts something else, and there is a step more.
fn neighbour_changed() -> String {
    let text = BEFORE.replace(
        "beside: { from: s, group_by: [k], aggregate: { c: count(*) } }",
        "beside: { from: s, group_by: [k], aggregate: { c: count(*), most: max(n) } }\n    more: { from: s, group_by: [n], aggregate: { c: count(*) } }",
    );
    text.replace(
        "  errors:",
        "    added: { from: more, kafka: { topic: added }, format: json, mode: upsert }\n  errors:",
    )
}

/// Rows, the change, rows: with whatever stands around the change.
fn script(around: &[Item]) -> Vec<Item> {
    let rows = uneven_rows(2, 240, 15);
    let middle = rows.iter().enumerate().filter(|(_, item)| **item == Item::Cut).nth(8).unwrap().0 + 1;
    [&rows[..middle], around, &rows[middle..]].concat()
}

fn variants() -> impl Iterator<Item = Variant> {
    let crashes = [None, Some(CrashAt::Before(10)), Some(CrashAt::After(11))];
    let snapshots = [None, Some(0)];
    let both = snapshots.into_iter().flat_map(move |snapshots_ms| crashes.map(|crash| (snapshots_ms, crash)));
    both.map(|(snapshots_ms, crash)| Variant { snapshots_ms, crash, ..Variant::default() })
}

fn values(journal: &MemoryJournal, sink: usize) -> Vec<Written> {
    written(&journal.output(sink))
}

/// What a step that began with the change counts: `k` or `n` of the last row that its sink was given for each key.
fn newest(rows: &[Written]) -> BTreeMap<String, serde_json::Value> {
    let of = |row: &Written| {
        let key = String::from_utf8(row.key.clone().unwrap()).unwrap();
        (key, serde_json::from_slice(row.value.as_ref().unwrap()).unwrap())
    };
    rows.iter().map(of).collect()
}

#[test]
fn i14_steps_go_on_with_their_state_when_their_neighbours_change() {
    let unchanged = Stage::of(BEFORE, 2, script(&[])).run(Variant::default());
    let rows_behind = Stage::of(&neighbour_changed(), 2, {
        let all = script(&[Item::Change]);
        let at = all.iter().position(|item| *item == Item::Change).unwrap();
        all[at + 1..].to_vec()
    });
    // The new ones see what comes behind the change, and nothing else.
    let anew = rows_behind.run(Variant::default());
    let stage = |around: &[Item]| Stage::of(BEFORE, 2, script(around)).changing_to(&neighbour_changed(), &["beside"]);
    let arounds: [&[Item]; 3] = [
        &[Item::Change],
        &[Item::Crash, Item::Change, Item::Cut, Item::Crash],
        &[Item::Change, Item::Wait(300), Item::Crash],
    ];
    for around in arounds {
        for variant in variants() {
            let stage = stage(around);
            let journal = stage.run(variant);
            for sink in ["windows", "twice", "table"] {
                let at = stage.sink(sink);
                let (is, was) = (values(&journal, at), values(&unchanged, at));
                assert!(is == was, "`{sink}`, {variant}, {around:?}: {} rows, not {}", is.len(), was.len());
            }
            let (other, added) = (stage.sink("other"), stage.sink("other") + 1);
            let behind = values(&journal, other)
                .iter()
                .filter(|row| row.value.as_ref().is_some_and(|value| value.windows(4).any(|w| w == b"most")))
                .cloned()
                .collect::<Vec<_>>();
            assert_eq!(newest(&behind), newest(&values(&anew, other)), "{variant}, {around:?}");
            assert_eq!(newest(&values(&journal, added)), newest(&values(&anew, added)), "{variant}, {around:?}");
        }
    }
}

#[test]
fn i14_state_is_given_up_only_by_whoever_says_so() {
    for (changed, lost) in [
        (
            BEFORE.replace("x < 900.0", "x < 800.0"),
            "`again` (`good`, which it is made of, has changed), `all` (`good`, which it is made of, has changed), `wins` (`good`, which it is made of, has changed) would be lost",
        ),
        (BEFORE.replace("tumbling: 10s", "tumbling: 20s"), "`again` (it has changed itself) would be lost"),
        (BEFORE.replace("lag: 1s", "lag: 1s, max_ahead: 2h"), "`s`, which it is made of, has changed"),
        (BEFORE.replace("beside", "aside"), "`beside` (the spec has it no more, or no sink reads it) would be lost"),
    ] {
        for variant in variants() {
            let stage = Stage::of(BEFORE, 2, script(&[Item::Change])).changing_to(&changed, &[]);
            let journal = MemoryJournal::default();
            let done = run_on(&stage.given, variant, &journal, &|journal| Box::new(journal));
            let failure = done.err().unwrap_or_else(|| panic!("{variant}: {lost}"));
            assert_eq!(failure.code, "refused.plan_changed", "{variant}");
            assert!(failure.message.contains(lost), "{failure}");
            assert!(failure.hint.as_ref().unwrap().contains("--accept-reset "), "{failure:?}");
        }
    }
}

/// Whoever accepts it goes on from there, and need not say it again: the state that was given up is not found again in an
/// older snapshot, nor in a replay.
#[test]
fn i14_what_was_given_up_stays_so() {
    let changed = BEFORE.replace("tumbling: 10s", "tumbling: 20s");
    let around = [Item::Change, Item::Cut, Item::Crash, Item::Change, Item::Cut, Item::Crash];
    let journals: Vec<MemoryJournal> = variants()
        .map(|variant| {
            let stage =
                Stage::of(BEFORE, 2, script(&around)).changing_to(&changed, &["again"]).changing_to(&changed, &[]);
            stage.run(variant)
        })
        .collect();
    let sink = Stage::of(BEFORE, 2, Vec::new()).sink("twice");
    for journal in &journals {
        assert!(values(journal, sink) == values(&journals[0], sink));
    }
    // And back: it is another step again.
    let stage = Stage::of(BEFORE, 2, script(&[Item::Change, Item::Cut, Item::Change, Item::Cut]));
    let stage = stage.changing_to(&changed, &["again"]).changing_to(BEFORE, &["again"]);
    variants().for_each(|variant| _ = stage.run(variant));
}
