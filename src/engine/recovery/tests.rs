use std::sync::LazyLock;

use super::*;
use crate::journal::PartitionRecord;

static PARTS: LazyLock<plan::Parts> = LazyLock::new(|| {
    let windows = plan::StatePart { fingerprint: "w".into(), made_of: vec!["s".into(), "windows".into()] };
    let named = |name: &str| BTreeMap::from([(name.to_owned(), format!("{name} as it is"))]);
    plan::Parts {
        own: named("windows"),
        sources: named("s"),
        steps: BTreeMap::from([("windows".to_owned(), windows)]),
        sinks: named("k"),
    }
});

static NO_TEXTS: BTreeMap<String, String> = BTreeMap::new();
static NO_TOPICS: BTreeMap<String, Vec<String>> = BTreeMap::new();
static NO_STEPS: BTreeSet<String> = BTreeSet::new();

static FACTS: LazyLock<PlanFacts<'static>> = LazyLock::new(|| PlanFacts {
    namespace: "default",
    name: "p",
    fingerprint: "f",
    parts: &PARTS,
    accept_reset: &NO_STEPS,
    reads: &NO_TEXTS,
    topics: &NO_TOPICS,
    kept: &NO_TEXTS,
    writes: &NO_TEXTS,
    adopts: false,
    snapshots: &[],
    snapshot_place: "",
    left_state: false,
});

fn plan_record(sinks: &[(&str, Epoch)]) -> Record {
    Record::Plan(PlanRecord {
        version: 1,
        lineage: "L".into(),
        namespace: "default".into(),
        pipeline: "p".into(),
        fingerprint: "f".into(),
        from_epoch: 1,
        starts: BTreeMap::from([("s".into(), BTreeMap::from([(0.into(), Position::offset(100))]))]),
        sinks: sinks.iter().map(|(name, added)| (name.to_string(), *added)).collect(),
        resolved: serde_json::Value::Null,
        jumps: BTreeMap::new(),
        topic_ids: BTreeMap::new(),
        parts: None,
        told_failed: None,
    })
}

fn epoch(epoch: Epoch, needed: Epoch) -> Record {
    let range = PartitionRecord {
        from: Position::offset(100 + 10 * (epoch as i64 - 1)),
        to: Position::offset(100 + 10 * epoch as i64),
        read: 10,
        rejected: Vec::new(),
        max_time: Some(1_000 * epoch as i64),
        max_timestamp: None,
    };
    Record::Epoch(EpochRecord {
        lineage: "L".into(),
        incarnation: 1,
        epoch,
        partitions: BTreeMap::from([("s".into(), BTreeMap::from([(0.into(), range)]))]),
        watermark: Watermark::at(1_000 * epoch as i64 - 500),
        clock: 10 * epoch as i64,
        needed,
        learnt: BTreeMap::new(),
        last_windows: BTreeMap::new(),
        ended: false,
        continues: None,
        cursor: None,
        failed: None,
    })
}

fn sink(name: &str, delivery: Delivery, progress: Option<(&str, Epoch)>) -> SinkMemory {
    let progress = progress.map(|(lineage, epoch)| SinkProgress { lineage: lineage.into(), epoch });
    SinkMemory { name: name.into(), delivery, progress }
}

fn run(records: Vec<Record>, sinks: &[SinkMemory]) -> Result<Recovery, Failure> {
    decide(&History::of(records), *FACTS, sinks, "new")
}

#[test]
fn an_empty_journal_is_a_first_run() {
    let recovery = run(vec![], &[sink("k", Delivery::Transaction, None)]).unwrap();
    assert!(recovery.first_run && recovery.last == 0 && recovery.replay_from == 1 && recovery.lineage == "new");
}

/// Its topic may have lost its first records since: its first position is not where a new partition would begin.
#[test]
fn i13_a_partition_that_came_later_begins_where_its_first_record_says() {
    let mut records = vec![plan_record(&[("k", 1)]), epoch(1, 1), epoch(2, 1), epoch(3, 1)];
    for (index, record) in records.iter_mut().enumerate().skip(2) {
        let Record::Epoch(epoch) = record else { panic!("it is an epoch") };
        let of_source = epoch.partitions.get_mut("s").unwrap();
        let range = PartitionRecord { from: Position::offset(5 + index as i64), ..of_source[&0.into()].clone() };
        of_source.insert(7.into(), range);
    }
    let recovery = run(records, &[sink("k", Delivery::Transaction, None)]).unwrap();
    assert_eq!(recovery.replay_from, 1);
    let positions = &recovery.positions["s"];
    assert_eq!((&positions[&0.into()], &positions[&7.into()]), (&Position::offset(100), &Position::offset(7)));
}

#[test]
fn a_source_that_reads_something_else_is_refused_and_a_new_one_is_not() {
    let mut records = vec![plan_record(&[("k", 1)]), epoch(1, 2)];
    let Record::Plan(plan) = &mut records[0] else { panic!("it is the plan") };
    plan.resolved = serde_json::json!({ READS: { "s": "topic `a`" } });
    let sinks = [sink("k", Delivery::Transaction, None)];
    let history = History::of(records);
    let decide_for = |reads: &[(&str, &str)]| {
        let reads = reads.iter().map(|(name, what)| (name.to_string(), what.to_string())).collect();
        decide(&history, PlanFacts { reads: &reads, ..*FACTS }, &sinks, "new")
    };
    assert!(decide_for(&[("s", "topic `a`"), ("t", "topic `b`")]).is_ok());
    let failure = decide_for(&[("s", "topic `b`")]).unwrap_err();
    assert_eq!(failure.code, "refused.other_source");
    assert_eq!(failure.message, "source `s` has read topic `a` so far, and reads topic `b` now");
}

#[test]
fn i20_a_stateless_pipeline_goes_on_behind_its_last_epoch_without_replay() {
    let records = vec![plan_record(&[("k", 1)]), epoch(1, 2), epoch(2, 3)];
    let recovery = run(records, &[sink("k", Delivery::Transaction, None)]).unwrap();
    assert_eq!((recovery.last, recovery.replay_from), (2, 3));
    assert_eq!(recovery.positions["s"][&0.into()], Position::offset(120));
    assert_eq!(recovery.watermark, Watermark::at(1_500));
}

/// No step has state, and still the rest of what an epoch gives is made from all that it has read.
#[test]
fn i10_an_output_that_is_partly_written_is_made_again_without_any_state() {
    let Record::Epoch(mut open) = epoch(2, 2) else { unreachable!() };
    open.cursor = Some(BTreeMap::from([("k".into(), 7)]));
    let history = History::of(vec![plan_record(&[("k", 1)]), epoch(1, 2), Record::Epoch(open)]);
    let stateless = plan::Parts { steps: BTreeMap::new(), ..PARTS.clone() };
    let facts = PlanFacts { parts: &stateless, ..*FACTS };
    let recovery = decide(&history, facts, &[sink("k", Delivery::Transaction, None)], "new").unwrap();
    assert_eq!((recovery.last, recovery.replay_from), (2, 2));
    assert_eq!(recovery.positions["s"][&0.into()], Position::offset(110));
}

#[test]
fn i13_windows_replay_from_the_oldest_open_one() {
    let records = vec![plan_record(&[("k", 1)]), epoch(1, 1), epoch(2, 2), epoch(3, 2)];
    let recovery = run(records, &[sink("k", Delivery::Transaction, None)]).unwrap();
    assert_eq!((recovery.last, recovery.replay_from), (3, 2));
    // Epoch 2 is read with the watermark and from the positions that epoch 1 left.
    assert_eq!(recovery.positions["s"][&0.into()], Position::offset(110));
    assert_eq!(recovery.watermark, Watermark::at(500));
    assert_eq!(recovery.times["s"][&0.into()].0, Some(1_000));
}

#[test]
fn i13_the_slowest_sink_decides_where_replay_starts() {
    let records = vec![plan_record(&[("k", 1), ("f", 1)]), epoch(1, 1), epoch(2, 1), epoch(3, 4)];
    let sinks = [sink("k", Delivery::Transaction, None), sink("f", Delivery::Remembers, Some(("L", 2)))];
    let recovery = run(records, &sinks).unwrap();
    assert_eq!((recovery.replay_from, recovery.sinks), (1, vec![3, 2]));
}

#[test]
fn i9_a_sink_without_a_memory_has_it_in_the_journal() {
    let progress = Record::Progress { sink: "c".into(), epoch: 1 };
    let records = vec![plan_record(&[("c", 1)]), epoch(1, 2), progress, epoch(2, 3)];
    let recovery = run(records, &[sink("c", Delivery::AtLeastOnce, None)]).unwrap();
    assert_eq!((recovery.replay_from, recovery.sinks), (2, vec![1]));
}

/// All that it has was written again, or refused where the journal was trimmed.
#[test]
fn i9_a_sink_that_was_exactly_once_has_what_it_remembered_then() {
    let records = || vec![plan_record(&[("f", 1)]), epoch(1, 2), epoch(2, 3), epoch(3, 4)];
    let had = |lineage, epoch| run(records(), &[sink("f", Delivery::AtLeastOnce, Some((lineage, epoch)))]).unwrap();
    assert_eq!((had("L", 2).replay_from, had("L", 2).sinks), (3, vec![2]));
    assert_eq!(had("L", 9).sinks, [3]);
    assert_eq!(had("other", 2).sinks, [0]);
    let noted = Record::Progress { sink: "f".into(), epoch: 3 };
    let later = [records(), vec![noted]].concat();
    assert_eq!(run(later.clone(), &[sink("f", Delivery::AtLeastOnce, Some(("L", 2)))]).unwrap().sinks, [3]);
    assert!(run(Vec::new(), &[sink("f", Delivery::AtLeastOnce, Some(("old", 2)))]).is_ok());
    // The other way it would have everything twice.
    assert_eq!(run(later, &[sink("f", Delivery::Remembers, None)]).unwrap_err().code, "refused.sink_moved");
}

#[test]
fn i12_a_new_sink_begins_behind_the_last_epoch() {
    let records = vec![plan_record(&[("k", 1)]), epoch(1, 2), epoch(2, 3)];
    let sinks = [sink("k", Delivery::Transaction, None), sink("new", Delivery::Remembers, None)];
    let recovery = run(records, &sinks).unwrap();
    assert!(recovery.plan_changed);
    assert_eq!((recovery.replay_from, recovery.sinks), (3, vec![2, 2]));
}

#[test]
fn i12_a_sink_that_was_away_goes_on_where_it_was_added_again() {
    let old = Record::Progress { sink: "c".into(), epoch: 1 };
    let records = vec![old, plan_record(&[("c", 4), ("f", 4)]), epoch(1, 2), epoch(2, 3), epoch(3, 4), epoch(4, 5)];
    let file = sink("f", Delivery::Remembers, Some(("L", 1)));
    let recovery = run(records, &[sink("c", Delivery::AtLeastOnce, None), file]).unwrap();
    assert_eq!((recovery.replay_from, recovery.sinks), (4, vec![3, 3]));
}

#[test]
fn i12_foreign_and_impossible_sinks_are_refused() {
    let records = || vec![plan_record(&[("f", 1)]), epoch(1, 2)];
    let refused = |progress| run(records(), &[sink("f", Delivery::Remembers, Some(progress))]).unwrap_err();
    let (foreign, ahead) = (refused(("other", 1)), refused(("L", 7)));
    assert_eq!((foreign.code, ahead.code), ("refused.lineage", "refused.sink_ahead"));
    assert!(foreign.hint.unwrap().contains("--fresh"));
    // New to the journal, and written by another run all the same.
    let added = run(records(), &[sink("g", Delivery::Remembers, Some(("other", 1)))]).unwrap_err();
    assert_eq!(added.code, "refused.lineage");
    let orphan = run(vec![], &[sink("f", Delivery::Remembers, Some(("L", 3)))]).unwrap_err();
    assert_eq!(orphan.code, "refused.lineage");
}

#[test]
fn i16_a_trimmed_journal_is_never_a_silent_fresh_start() {
    let records = vec![plan_record(&[("k", 1)]), epoch(5, 3), epoch(6, 4)];
    assert_eq!(run(records, &[sink("k", Delivery::Transaction, None)]).unwrap_err().code, "refused.journal_too_short");
    let records = vec![epoch(5, 6)];
    assert_eq!(run(records, &[]).unwrap_err().code, "refused.no_plan");
}

#[test]
fn i16_trimming_keeps_the_record_before_what_recovery_needs() {
    let records = vec![plan_record(&[("k", 1)]), epoch(4, 5), epoch(5, 5), epoch(6, 5)];
    let recovery = run(records, &[sink("k", Delivery::Transaction, None)]).unwrap();
    assert_eq!((recovery.replay_from, recovery.watermark), (5, Watermark::at(3_500)));
}

#[test]
fn i14_a_changed_plan_is_taken_where_no_state_is_kept_and_refused_otherwise() {
    let facts = PlanFacts { fingerprint: "other", ..*FACTS };
    let sinks = [sink("k", Delivery::Transaction, None)];
    let decide = |records| super::decide(&History::of(records), facts, &sinks, "new");
    assert!(decide(vec![plan_record(&[("k", 1)]), epoch(1, 2)]).unwrap().plan_changed);
    let refused = decide(vec![plan_record(&[("k", 1)]), epoch(1, 1)]).unwrap_err();
    assert_eq!(refused.code, "refused.plan_changed");
}

#[test]
fn the_journal_of_another_pipeline_is_refused() {
    let facts = PlanFacts { name: "q", ..*FACTS };
    let history = History::of(vec![plan_record(&[])]);
    assert_eq!(super::decide(&history, facts, &[], "new").unwrap_err().code, "refused.other_pipeline");
}

/// A renamed sink would be given again what is in its topic, and a sink that counts other records would skip some.
#[test]
fn i10_sinks_do_not_change_while_an_output_is_partly_written() {
    let Record::Plan(mut plan) = plan_record(&[("k", 1)]) else { unreachable!() };
    plan.resolved = serde_json::json!({ WRITES: { "k": "all of s" } });
    plan.parts = Some(super::super::carry::anew(&PARTS, 1));
    let whole = epoch(1, 2);
    let Record::Epoch(mut open) = epoch(1, 1) else { unreachable!() };
    open.cursor = Some(BTreeMap::from([("k".into(), 7)]));
    let (same, other) = (
        BTreeMap::from([("k".to_owned(), "all of s".to_owned())]),
        BTreeMap::from([("l".to_owned(), "all of s".to_owned())]),
    );
    let decide = |last: Record, writes: &BTreeMap<String, String>| {
        let facts = PlanFacts { writes, ..*FACTS };
        let name = writes.keys().next().unwrap();
        let history = History::of(vec![Record::Plan(plan.clone()), last]);
        super::decide(&history, facts, &[sink(name, Delivery::Transaction, None)], "new")
    };
    assert!(!decide(Record::Epoch(open.clone()), &same).unwrap().plan_changed);
    assert_eq!(decide(Record::Epoch(open), &other).unwrap_err().code, "refused.output_open");
    assert!(decide(whole, &other).unwrap().plan_changed, "the new sinks are noted");
}

/// What lies behind snapshots is trimmed; a changed plan cannot begin from them, and that is why it is refused.
#[test]
fn a_changed_plan_is_told_from_a_trimmed_journal() {
    let history = || {
        let mut history = History::of(vec![plan_record(&[]), epoch(5, 1), epoch(6, 1)]);
        history.epochs.retain(|epoch, _| *epoch >= 5);
        history
    };
    let decided = |facts: PlanFacts<'_>| decide(&history(), facts, &[], "new");
    let with = PlanFacts { snapshots: &[5], snapshot_place: "s", ..*FACTS };
    assert_eq!(decided(with).unwrap().snapshot, Some(5));
    let changed = PlanFacts { fingerprint: "other", snapshot_place: "s", ..*FACTS };
    assert_eq!(decided(changed).unwrap_err().code, "refused.plan_changed");
    let gone = decided(PlanFacts { snapshot_place: "s", ..*FACTS }).unwrap_err();
    assert_eq!(gone.code, "refused.journal_too_short");
    assert!(gone.message.ends_with("no whole snapshot behind it in `s`"), "{gone}");
}

/// A journal whose windows are needed from epoch 1 on, and what its plan noted.
fn with_state() -> History {
    let Record::Plan(mut plan) = plan_record(&[("k", 1), ("f", 1)]) else { unreachable!() };
    let mut parts = super::super::carry::anew(&PARTS, 1);
    parts.sinks.insert("f".into(), parts.sinks["k"].clone());
    plan.parts = Some(parts);
    History::of(vec![Record::Plan(plan), epoch(1, 1), epoch(2, 1), epoch(3, 1)])
}

#[test]
fn i14_a_sink_that_is_behind_gets_what_it_lacks_from_the_plan_that_made_it() {
    let sinks = [sink("k", Delivery::Transaction, None), sink("f", Delivery::Remembers, Some(("L", 2)))];
    let mut parts = PARTS.clone();
    parts.sinks.insert("f".into(), "k as it is".into());
    let changed = PlanFacts { fingerprint: "other", ..*FACTS };
    let same = decide(&with_state(), PlanFacts { parts: &parts, ..changed }, &sinks, "new").unwrap();
    assert_eq!((same.replay_from, same.sinks), (1, vec![3, 2]));
    parts.sinks.insert("f".into(), "something else".into());
    let facts = PlanFacts { parts: &parts, ..changed };
    let failure = decide(&with_state(), facts, &sinks, "new").unwrap_err();
    assert_eq!(failure.code, "refused.sink_behind");
    assert_eq!(failure.message, "sink `f` lacks epochs 3 to 3, and what leads to it has changed since");
    let caught_up = [sinks[0].clone(), sink("f", Delivery::Remembers, Some(("L", 3)))];
    assert!(decide(&with_state(), facts, &caught_up, "new").is_ok());
    // Rows of an output in pieces are told apart by counting them for the sinks of before.
    let mut in_pieces = with_state();
    in_pieces.epochs.get_mut(&3).unwrap().cursor = Some(BTreeMap::new());
    in_pieces
        .epochs
        .insert(4, EpochRecord { epoch: 4, continues: Some(3), cursor: None, ..in_pieces.epochs[&3].clone() });
    parts.sinks.insert("f".into(), "k as it is".into());
    let failure = decide(&in_pieces, PlanFacts { parts: &parts, ..changed }, &sinks, "new").unwrap_err();
    assert_eq!(failure.code, "refused.output_open");
}

#[test]
fn i14_a_changed_step_begins_with_the_next_epoch_and_nothing_is_replayed_for_it() {
    let mut parts = PARTS.clone();
    parts.steps.get_mut("windows").unwrap().fingerprint = "v".into();
    parts.own.insert("windows".into(), "windows as it is now".into());
    let sinks = [sink("k", Delivery::Transaction, None)];
    let facts = PlanFacts { fingerprint: "other", parts: &parts, ..*FACTS };
    let failure = decide(&with_state(), facts, &sinks, "new").unwrap_err();
    assert_eq!(
        failure.message,
        "the pipeline has changed, and the state of `windows` (it has changed itself) would be lost"
    );
    assert!(failure.hint.unwrap().contains("`apply --accept-reset windows`"));
    let accepted = BTreeSet::from(["windows".to_owned()]);
    let recovery = decide(&with_state(), PlanFacts { accept_reset: &accepted, ..facts }, &sinks, "new").unwrap();
    assert_eq!((recovery.replay_from, recovery.parts.steps["windows"].since), (4, 4));
    assert_eq!(recovery.positions["s"][&0.into()], Position::offset(130));

    // The plan is noted, and the run dies: it is not asked again, and the step begins where it would have.
    let mut noted = with_state();
    let plan = noted.plan.as_mut().unwrap();
    (plan.fingerprint, plan.parts) = ("other".into(), Some(recovery.parts.clone()));
    let again = decide(&noted, facts, &sinks, "new").unwrap();
    assert_eq!((again.replay_from, &again.parts), (4, &recovery.parts));
    // It has seen nothing yet: whoever changes it again gives up nothing.
    parts.steps.get_mut("windows").unwrap().fingerprint = "u".into();
    let third = PlanFacts { fingerprint: "third", parts: &parts, ..*FACTS };
    assert!(decide(&noted, third, &sinks, "new").is_ok());
}

#[test]
fn i14_a_source_that_has_changed_goes_on_where_it_was_left_and_is_not_read_again() {
    let mut parts = PARTS.clone();
    parts.sources.insert("s".into(), "s as it is now".into());
    parts.sources.insert("t".into(), "t".into());
    let mut history = with_state();
    for record in history.epochs.values_mut() {
        let of_s = record.partitions["s"].clone();
        record.partitions.insert("t".into(), of_s);
    }
    let was = history.plan.as_mut().unwrap().parts.as_mut().unwrap();
    was.sources.insert("t".into(), crate::journal::Part { fingerprint: "t".into(), since: 1 });
    let facts = PlanFacts { fingerprint: "other", parts: &parts, ..*FACTS };
    let recovery = decide(&history, facts, &[sink("k", Delivery::Transaction, None)], "new").unwrap();
    assert_eq!(recovery.replay_from, 1, "the windows are those of before");
    assert_eq!(recovery.positions["s"][&0.into()], Position::offset(130));
    assert_eq!(recovery.positions["t"][&0.into()], Position::offset(100), "the other one is replayed");
    assert_eq!(recovery.times["s"][&0.into()], (None, None), "what event times it has is to be seen");
}

/// Forwards, back, and to where its start says; from the next epoch on only.
#[test]
fn i17_a_source_that_was_set_elsewhere_goes_on_there() {
    let sinks = [sink("k", Delivery::AtLeastOnce, None)];
    let behind = |to: Position, epochs: Epoch| {
        let Record::Plan(mut plan) = plan_record(&[("k", 1)]) else { panic!("it is a plan") };
        plan.jumps = BTreeMap::from([(
            "s".into(),
            BTreeMap::from([(0.into(), Jump { from_epoch: 3, to, is_set: true, again: 0 })]),
        )]);
        let mut records: Vec<Record> = (1..=epochs).map(|number| epoch(number, number + 1)).collect();
        records.push(Record::Progress { sink: "k".into(), epoch: epochs });
        records.insert(0, Record::Plan(plan));
        let positions = positions_behind(&History::of(records.clone()));
        assert_eq!(run(records, &sinks).unwrap().positions, positions);
        positions.get("s").and_then(|known| known.get(&0.into())).cloned()
    };
    for to in [Position::offset(7), Position::offset(700)] {
        assert_eq!(behind(to.clone(), 2), Some(to));
    }
    assert_eq!(behind(Position::start(), 2), None);
    assert_eq!(behind(Position::start(), 3), Some(Position::offset(130)), "it has gone on since");
}
