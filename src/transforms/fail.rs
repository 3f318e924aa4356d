//! `fail`: ends the run once, on purpose, to see what becomes of it. All rows pass.
//!
//! Before it trips it leaves a file in the state directory, on the disk: whoever finds it there lets every row pass for
//! ever. So a run that is started again gets past it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use arrow::array::AsArray;
use arrow::datatypes::SchemaRef;

use super::{At, Left, RowOperator, RowTransform};
use crate::data::Batch;
use crate::expr::Scalar;
use crate::faults;
use crate::report::Failure;

/// When it trips.
#[derive(Debug, Clone)]
pub enum When {
    /// When so many rows have come since the start, replayed ones among them.
    After(u64),
    /// Each row with this probability, between 0 and 1. The same seed trips at the same row.
    Rate { share: f64, seed: u64 },
    /// At the first row for which it is true.
    Where(Scalar),
    /// At the first row.
    First,
    /// Another step trips for this one.
    Never,
}

/// How it ends the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Error,
    Panic,
    Kill,
}

/// The `fail` transform.
#[derive(Debug)]
pub struct Fail {
    schema: SchemaRef,
    trap: Arc<Trap>,
}

/// What all lanes share.
#[derive(Debug)]
struct Trap {
    step: String,
    when: When,
    how: How,
    /// The file that says that it has tripped.
    memory: PathBuf,
    tripped: AtomicBool,
    rows: AtomicU64,
}

impl Fail {
    /// `memory` is the file in which it remembers that it has tripped; its folders are made.
    pub fn new(schema: SchemaRef, step: &str, when: When, how: How, memory: PathBuf) -> Self {
        let (tripped, rows) = (AtomicBool::new(false), AtomicU64::new(0));
        Fail { schema, trap: Arc::new(Trap { step: step.to_owned(), when, how, memory, tripped, rows }) }
    }
}

impl RowTransform for Fail {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn open(&self) -> Box<dyn RowOperator> {
        if self.trap.memory.exists() {
            self.trap.tripped.store(true, SeqCst);
        }
        Box::new(FailOperator { trap: self.trap.clone() })
    }
}

struct FailOperator {
    trap: Arc<Trap>,
}

impl RowOperator for FailOperator {
    fn apply(&mut self, batch: Batch, at: At, _left: &mut Left) -> Result<Batch, Failure> {
        let trap = &self.trap;
        if !trap.tripped.load(SeqCst) && trap.is_due(&batch, at)? && !trap.tripped.swap(true, SeqCst) {
            trap.trip()?;
        }
        Ok(batch)
    }
}

impl Trap {
    fn is_due(&self, batch: &Batch, at: At) -> Result<bool, Failure> {
        let count = batch.rows.num_rows() as u64;
        let before = self.rows.fetch_add(count, SeqCst);
        Ok(match &self.when {
            When::After(rows) => before + count >= *rows,
            When::Rate { share, seed } => (before..before + count).any(|row| chance(*seed, row) < *share),
            When::Where(condition) => {
                // A row for which it cannot be said trips nothing.
                let (holds, _) = condition.evaluate(&batch.rows, at)?;
                holds.as_boolean_opt().is_some_and(|holds| holds.true_count() > 0)
            }
            When::First => count > 0,
            When::Never => false,
        })
    }

    fn trip(&self) -> Result<(), Failure> {
        remember(&self.memory).map_err(|error| {
            let message = format!("`{}` cannot remember in `{}` that it has tripped", self.step, self.memory.display());
            Failure::outside("fail.memory", message).no_retry().because(error)
        })?;
        match self.how {
            How::Error => Err(Failure::user("fail.tripped", format!("`{}` ends the run, as the spec says", self.step))
                .hint("start it again: it trips only once")),
            How::Panic => panic!("`{}` panics, as the spec says", self.step),
            How::Kill => faults::die(),
        }
    }
}

/// A file that a crash right behind this does not undo.
fn remember(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = File::create(path)?;
    file.write_all(b"This `fail` step has tripped. Without this file it would trip again.\n")?;
    file.sync_all()?;
    // The folder may be new as well.
    for folder in folder.ancestors().take(2).filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Between 0 and 1: of a seed and a row always the same (splitmix64).
fn chance(seed: u64, row: u64) -> f64 {
    let mut mixed = seed.wrapping_add(row.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    use super::*;

    fn batch(numbers: &[i64]) -> Batch {
        let numbers: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        Batch { source: 0, partition: 0, rows: RecordBatch::try_from_iter([("n", numbers)]).unwrap() }
    }

    /// After how many rows it trips, one by one.
    fn trips_at(when: When, memory: &Path) -> Option<usize> {
        let fail = Fail::new(batch(&[]).rows.schema(), "f", when, How::Error, memory.to_owned());
        let mut lanes = [fail.open(), fail.open()];
        (0..500).find(|row| {
            let passed = lanes[row % 2].apply(batch(&[*row as i64]), At { clock: 0 }, &mut Left::default());
            passed.is_err_and(|failure| failure.code == "fail.tripped")
        })
    }

    #[test]
    fn it_trips_once_over_all_lanes_and_a_later_run_gets_past_it() {
        let folder = tempfile::tempdir().unwrap();
        let is_large = Scalar::compile("n > 70", &batch(&[]).rows.schema()).unwrap();
        let whens = [
            (When::After(10), Some(9)),
            (When::First, Some(0)),
            (When::Where(is_large), Some(71)),
            (When::Never, None),
        ];
        for (number, (when, at)) in whens.into_iter().enumerate() {
            let memory = folder.path().join(format!("tripped/{number}"));
            assert_eq!(trips_at(when.clone(), &memory), at, "{when:?}");
            assert_eq!(memory.exists(), at.is_some());
            assert_eq!(trips_at(when, &memory), None, "a second time");
        }
    }

    #[test]
    fn a_seed_trips_at_its_row() {
        let folder = tempfile::tempdir().unwrap();
        let at = |seed: u64, run: &str| {
            trips_at(When::Rate { share: 0.02, seed }, &folder.path().join(format!("{seed}{run}")))
        };
        let rows: Vec<_> = (0..8).map(|seed| at(seed, "a")).collect();
        assert_eq!(rows, (0..8).map(|seed| at(seed, "b")).collect::<Vec<_>>());
        assert!(rows.iter().all(Option::is_some) && rows.iter().any(|row| *row != rows[0]), "{rows:?}");
    }

    #[test]
    fn what_cannot_be_remembered_ends_the_run_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let memory = folder.path().join("file/tripped");
        let fail = Fail::new(batch(&[]).rows.schema(), "f", When::First, How::Kill, memory);
        let failure = fail.open().apply(batch(&[1]), At { clock: 0 }, &mut Left::default()).unwrap_err();
        assert_eq!(failure.code, "fail.memory");
    }
}
