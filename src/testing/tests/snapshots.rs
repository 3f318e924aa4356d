//! I18: which snapshots are begun from, what is removed, and what the journal keeps beside them.

use super::*;
use crate::engine::start::Started;
use crate::state::{Head, Rows, Shelf, StateOf};

/// A journal and the snapshots beside it, after a run that took one of each epoch.
fn ran(stage: &Stage) -> (MemoryJournal, Arc<Store>) {
    let (journal, store) = (MemoryJournal::default(), Arc::new(Store::in_memory().unwrap()));
    let variant = Variant { snapshots_ms: Some(0), ..Variant::default() };
    run_with(&stage.given, variant, &journal, store.clone(), &|journal| Box::new(journal)).unwrap();
    (journal, store)
}

fn started(stage: &Stage, journal: &MemoryJournal, store: &Arc<Store>, fresh: bool) -> Result<Started, Failure> {
    let snapshots = SnapshotPlace::Store { store: store.clone(), every_ms: 0 };
    let options = StartOptions { fresh, snapshots, ..StartOptions::default() };
    start(&stage.given.plan, Box::new(journal.clone()), options, ManualClock::at(BEGINNING), &Arc::default())
}

fn shelf(stage: &Stage, store: &Arc<Store>) -> Shelf {
    Shelf::open(store.clone(), &stage.given.plan.namespace, &stage.given.plan.name).unwrap()
}

/// Open windows at the end of the script, which the end of a run would close.
fn seconds_and_a_crash() -> Stage {
    let mut script: Vec<Item> = (0..8).flat_map(|n| [second(f64::from(n)), Item::Cut]).collect();
    script.push(Item::Crash);
    Stage::of(SECONDS, 1, script)
}

#[test]
fn i16_snapshots_shorten_the_journal_only_where_nothing_else_does() {
    let everything = Stage::of(EVERYTHING, 3, uneven_rows(3, 600, 50));
    let (journal, _) = ran(&everything);
    assert!(epochs(&journal).len() >= 12);
    let kept =
        |journal: &MemoryJournal| journal.records().iter().filter(|record| matches!(record, Record::Epoch(_))).count();
    assert!(kept(&journal) <= 4, "{} epochs are kept", kept(&journal));
    // A replay of windows is short: what a lost disk may cost.
    let windowed = seconds_and_a_crash();
    let (journal, _) = ran(&windowed);
    assert_eq!(kept(&journal), epochs(&journal).len());
}

/// Where none was taken before: whoever dies behind a long replay, or in it, must not begin it anew.
#[test]
fn i19_a_replay_leaves_snapshots_behind() {
    let stage = Stage::of(EVERYTHING, 2, uneven_rows(2, 400, 40));
    let (journal, store) = (stage.run(Variant::default()), Arc::new(Store::in_memory().unwrap()));
    let last = epochs(&journal).len() as Epoch;
    let report = started(&stage, &journal, &store, false).unwrap().report;
    assert_eq!((report.snapshot, report.replayed_epochs), (None, last));
    let shelf = shelf(&stage, &store);
    let kept: Vec<Epoch> = shelf.list(&report.lineage).unwrap().whole.iter().map(|manifest| manifest.epoch).collect();
    assert_eq!(kept, [last - 1, last], "of epochs that were replayed");
    let report = started(&stage, &journal, &store, false).unwrap().report;
    assert_eq!((report.snapshot.map(|restored| restored.epoch), report.replayed_epochs), (Some(last), 0));
}

/// By the clock none is due for an hour; a replay is held to last some 6 ms at the end, as no speed was measured yet.
#[test]
fn i19_snapshots_come_as_often_as_the_recovery_target_of_the_spec_says() {
    let taken = |target: &str| {
        let text = EVERYTHING.replace("spec:\n", &format!("spec:\n  state: {{ recovery_target: {target} }}\n"));
        let stage = Stage::of(&text, 2, uneven_rows(2, 600, 50));
        let (journal, store) = (MemoryJournal::default(), Arc::new(Store::in_memory().unwrap()));
        let variant = Variant { snapshots_ms: Some(3_600_000), ..Variant::default() };
        run_with(&stage.given, variant, &journal, store.clone(), &|journal| Box::new(journal)).unwrap();
        let shelf = shelf(&stage, &store);
        let lineages = shelf.lineages().unwrap();
        lineages.iter().map(|lineage| shelf.list(lineage).unwrap().whole.len()).sum::<usize>()
    };
    assert_eq!(taken("1m"), 0);
    assert!(taken("1ms") > 0);
}

/// Numbers in place of what a step keeps.
struct Others(Option<i64>);

impl Rows for Others {
    fn next_rows(&mut self, _rows_max: usize) -> Result<Option<arrow::array::RecordBatch>, Failure> {
        use arrow::array::{ArrayRef, Int64Array, RecordBatch};
        let batch = |number| {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![number]));
            RecordBatch::try_from_iter([("n", column)]).unwrap()
        };
        Ok(self.0.take().map(batch))
    }
}

/// Another version of the program may read it: it is neither passed over in silence nor removed.
#[test]
fn i18_a_snapshot_of_other_columns_stops_the_start_and_stays() {
    let stage = Stage::of(EVERYTHING, 1, uneven_rows(1, 200, 50));
    let (journal, store) = ran(&stage);
    let shelf = shelf(&stage, &store);
    let lineage = shelf.lineages().unwrap().remove(0);
    let newest = shelf.list(&lineage).unwrap().whole.pop().unwrap();
    let mut steps: Vec<StateOf<Others>> =
        newest.steps.iter().map(|(name, state)| (name.clone(), state.clone(), Box::new(Others(Some(1))))).collect();
    let head = Head { lineage: lineage.clone(), incarnation: 1, epoch: newest.epoch };
    let other = shelf.write(&head, &mut steps).unwrap();
    store.delete(&newest.name()).unwrap();
    shelf.publish(&other).unwrap();

    let failure = started(&stage, &journal, &store, false).err().expect("it has other columns");
    assert_eq!(failure.code, "refused.state_columns");
    assert!(failure.message.contains(&format!("(of runner {}", newest.runner)), "{failure}");
    assert_eq!(shelf.list(&lineage).unwrap().whole.pop().unwrap(), other);
}

#[test]
fn i18_what_is_damaged_stays_until_there_is_something_else_to_go_on_from() {
    let stage = Stage::of(EVERYTHING, 1, uneven_rows(1, 400, 50));
    let (journal, store) = ran(&stage);
    let shelf = shelf(&stage, &store);
    let lineage = shelf.lineages().unwrap().remove(0);
    let whole = shelf.list(&lineage).unwrap().whole;
    assert_eq!(whole.len(), 2, "two are kept");
    whole.iter().for_each(|manifest| store.overwrite(&manifest.object, b"nonsense".to_vec()));
    let failure = started(&stage, &journal, &store, false).err().expect("both are damaged");
    assert_eq!(failure.code, "refused.journal_too_short");
    assert!(failure.message.contains("no whole snapshot behind it in `memory`"), "{failure}");
    assert_eq!(shelf.list(&lineage).unwrap().whole, whole, "they may be mended");
}

#[test]
fn i12_snapshots_without_a_journal_are_refused_and_those_of_another_journal_stay() {
    let stage = seconds_and_a_crash();
    let (journal, store) = ran(&stage);
    let shelf = shelf(&stage, &store);
    let lineages = shelf.lineages().unwrap();
    assert_eq!(lineages.len(), 1);
    let other = MemoryJournal::default();
    let failure = started(&stage, &other, &store, false).err().expect("whose are they?");
    assert_eq!(failure.code, "refused.lineage");
    started(&stage, &other, &store, true).unwrap();
    assert_eq!(shelf.lineages().unwrap(), lineages, "that journal has given up nothing");
    started(&stage, &journal, &store, true).unwrap();
    assert_eq!(shelf.lineages().unwrap(), [] as [String; 0]);
}

/// Every kind of state, over values of many types.
const STORED: &str = r#"
apiVersion: runner/v1
kind: Pipeline
metadata: { name: stored }
spec:
  sources:
    s: { kafka: { topic: in }, format: json, columns: { k: string?, x: double, n: int? }, time: { lag: 1s, idle: never } }
  transforms:
    sorted: { from: s, sort: { within: 2s } }
    wins:
      from: s
      window: { hopping: { size: 4s, every: 2s }, grace: 1s }
      group_by: [k]
      aggregate: { c: count(*), total: sum(x), mean: avg(x), spread: stddev(x), least: min(k), kinds: count(distinct n) }
    all: { from: s, group_by: [k], aggregate: { c: count(*), total: sum(n), any: bool_or(x > 900.0) }, having: c > 3 }
  sinks:
    rows: { from: sorted, kafka: { topic: rows }, format: json }
    windows: { from: wins, kafka: { topic: windows }, format: json }
    table: { from: all, kafka: { topic: table }, format: json, mode: upsert }
  errors: { skip: true }
"#;

/// What was written by the first version of the format. It is never written anew: whoever changes the format gives it
/// another version, a reader for both, and a folder of its own beside this one.
#[test]
fn a_snapshot_of_the_first_format_is_read_by_every_later_version() {
    let folder = Path::new("tests/stored/snapshot-1");
    let stage = Stage::of(STORED, 2, uneven_rows(2, 60, 30));
    let writes = std::env::var_os("BLESS").is_some();
    if writes && !folder.exists() {
        let store = Arc::new(Store::in_folder(folder).unwrap());
        let variant = Variant { snapshots_ms: Some(0), ..Variant::default() };
        run_with(&stage.given, variant, &MemoryJournal::default(), store, &|journal| Box::new(journal)).unwrap();
    }
    let store = Store::existing(folder).unwrap().expect("it is part of the project");
    let shelf = Shelf::look(Arc::new(store), "default", "stored").unwrap();
    let lineages = shelf.lineages().unwrap();
    // The last one was taken when the end had closed the windows.
    let manifest = shelf.list(&lineages[0]).unwrap().whole.remove(0);
    let parts = crate::engine::carry::anew(&stage.given.plan.parts, 1).steps;
    let restored = crate::engine::snapshots::restore(&stage.given.plan, &parts, &shelf, &manifest).unwrap();
    for (name, state) in &manifest.steps {
        let step = stage.given.plan.steps.iter().find(|step| step.name == *name).unwrap();
        assert_eq!(state.fingerprint, step.fingerprint, "the same spec has the same fingerprint for ever");
    }
    assert_eq!(restored.operators.len(), 3);
    let mut text = Vec::new();
    for (step, mut operator) in restored.operators {
        text.extend(format!("{}\n", stage.given.plan.steps[step].name).bytes());
        let mut frozen = operator.freeze().unwrap();
        while let Some(rows) = frozen.next_rows(7).unwrap() {
            let mut writer = arrow::json::LineDelimitedWriter::new(&mut text);
            writer.write(&rows).unwrap();
            writer.finish().unwrap();
        }
    }
    let beside = Path::new("tests/stored/snapshot-1.jsonl");
    if writes && !beside.exists() {
        std::fs::write(beside, &text).unwrap();
    }
    assert_eq!(String::from_utf8(text).unwrap(), std::fs::read_to_string(beside).unwrap());
}
