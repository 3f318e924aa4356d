//! I14, I17, I20: what a start makes of the journal before it.

use super::disturbed::two_epochs;
use super::remembering::Remembering;
use super::*;
use crate::data::Position;
use crate::engine::recovery::History;
use crate::journal::PlanRecord;

#[test]
fn i14_the_plan_stands_in_the_journal_before_its_first_epoch_and_once() {
    let stage = two_epochs();
    let journal = stage.run(Variant { crash: Some(CrashAt::After(1)), ..Variant::default() });
    let kinds: Vec<&str> = journal
        .records()
        .iter()
        .map(|record| match record {
            Record::Plan(_) => "plan",
            Record::Owner(_) => "owner",
            Record::Epoch(_) => "epoch",
            Record::Progress { .. } | Record::Reached { .. } => "progress",
        })
        .collect();
    assert_eq!(kinds[..4], ["owner", "plan", "epoch", "owner"]);
    assert_eq!(kinds.iter().filter(|kind| **kind == "plan").count(), 1, "an unchanged plan is not written again");
    let plan = journal.records().into_iter().find_map(|record| match record {
        Record::Plan(plan) => Some(plan),
        _ => None,
    });
    let plan = plan.unwrap();
    assert_eq!(plan.fingerprint, stage.given.plan.fingerprint);
    assert_eq!(plan.starts["s"][&0.into()].as_offset(), Some(0));
}

#[test]
fn i17_a_range_that_gives_other_records_than_recorded_is_not_replayed() {
    let stage = Stage::of(SECONDS, 1, vec![second(0.1), second(0.2), Item::Cut, Item::Crash, second(0.3), Item::Cut]);
    let refused = |replaced: &[&str]| {
        let (journal, starts) = (MemoryJournal::default(), Mutex::new(0));
        let open = |journal: MemoryJournal| -> Box<dyn Journal> {
            let mut starts = starts.lock().unwrap();
            *starts += 1;
            if *starts == 2 {
                // Between the two runs the topic was made anew.
                stage.given.sources[0].reset();
                for value in replaced {
                    let Item::Row { record, .. } = row(0, BEGINNING, value) else { unreachable!() };
                    stage.given.sources[0].push(0, record);
                }
            }
            Box::new(journal)
        };
        run_on(&stage.given, Variant::default(), &journal, &open).unwrap_err()
    };
    let other = refused(&[r#"{"x": 1}"#, "{", r#"{"x": 1}"#]);
    assert_eq!(other.code, "refused.source_changed");
    assert!(
        other.to_string().contains("epoch 1 cannot be replayed: `s` partition 0 now gives other records"),
        "{other}"
    );
    assert!(other.hint.unwrap().contains("--fresh"));
}

#[test]
fn i20_a_restart_reads_on_behind_what_its_output_has() {
    let text = rows_only();
    let numbered = |number: i32| row(0, BEGINNING, &format!("{{\"x\":{number}}}"));
    let script =
        vec![numbered(0), numbered(1), Item::Cut, numbered(2), Item::Crash, numbered(3), Item::Cut, numbered(4)];
    let stage = Stage::of(&text, 1, script);
    let journal = stage.run(Variant::default());
    let values: Vec<_> =
        written(&journal.output(stage.sink("rows"))).into_iter().map(|row| row.value.unwrap()).collect();
    let values: Vec<_> = values.iter().map(|value| std::str::from_utf8(value).unwrap()).collect();
    assert_eq!(values, ["{\"x\":0}", "{\"x\":1}", "{\"x\":2}", "{\"x\":3}", "{\"x\":4}"]);
    let ranges = epochs(&journal).into_iter().map(|epoch| epoch.partitions["s"][&0.into()].clone());
    let ranges: Vec<_> = ranges.map(|range| (range.from.as_offset().unwrap(), range.to.as_offset().unwrap())).collect();
    assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0), "{ranges:?}");
}

/// Of a connector, whose offsets alone say where it goes on. An answer of a moment before, that the journal is not there,
/// once had it removed.
#[test]
fn i12_whoever_adopts_output_removes_no_journal() {
    let sink = Remembering::default();
    let of_plan = sink.clone();
    let script = vec![second(0.1), Item::Cut, second(0.2), Item::Cut];
    let stage = Stage::with(&rows_only(), 1, script, |plan| plan.sinks[0].sink = Arc::new(of_plan));
    run_on(&stage.given, Variant::default(), &sink.journal, &|journal| Box::new(journal)).unwrap();
    let started = |journal: &MemoryJournal, adopts_outputs: bool| {
        let options = StartOptions { adopts_outputs, ..StartOptions::default() };
        start(&stage.given.plan, Box::new(journal.clone()), options, ManualClock::at(BEGINNING), &Arc::default())
    };
    let records = sink.journal.records();
    let report = started(&sink.journal, true).unwrap().report;
    assert_eq!((report.last_epoch, report.positions["s"][&0.into()].as_offset()), (2, Some(2)));
    assert_eq!(sink.journal.records()[..records.len()], records);

    // Nothing is known of a run: the output is taken over if that is wanted, also where positions were set.
    let refused = |journal: &MemoryJournal| started(journal, false).err().map(|failure| failure.code);
    let plans = |journal: &MemoryJournal| History::of(journal.records()).plan;
    let set = PlanRecord {
        lineage: "of what was set".into(),
        fingerprint: String::new(),
        starts: BTreeMap::from([("s".into(), BTreeMap::from([(0.into(), Position::offset(1))]))]),
        sinks: BTreeMap::new(),
        ..plans(&sink.journal).unwrap()
    };
    let (empty, moved) = (MemoryJournal::default(), MemoryJournal::default());
    moved.clone().append(&[Record::Plan(set)], &[]).unwrap();
    for (journal, begins) in [(empty, 0), (moved, 1)] {
        assert_eq!(refused(&journal), Some("refused.lineage"));
        let report = started(&journal, true).unwrap().report;
        assert_eq!((report.last_epoch, report.positions["s"][&0.into()].as_offset()), (0, Some(begins)));
        assert_eq!(sink.held.lock().unwrap().progress.as_ref().unwrap().lineage, plans(&journal).unwrap().lineage);
    }
}
