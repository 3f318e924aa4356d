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
