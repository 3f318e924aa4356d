//! The snapshots of one pipeline.
//!
//! ```text
//! pipeline.json                    whose they are
//! LINEAGE/000000000812.json        the manifest of epoch 812: the snapshot is there once this is
//! LINEAGE/000000000812-f00d.columns    its columns
//! ```
//!
//! I18: a manifest is written once, never over another one, and says how long its columns are and what they sum up to; so
//! whatever is half there, damaged or of somebody else is seen before it is used. Who writes here is not locked out by others:
//! names of columns are never given twice, and what is removed is older than what is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;

use super::manifest::{self, Label, Manifest, Part, StepState, Unreadable, VERSION, name_of};
use super::store::Store;
use crate::data::Epoch;
use crate::faults;
use crate::report::Failure;

const LABEL: &str = "pipeline.json";
/// Rows that are written, and read, at once.
const ROWS_MAX: usize = 64 << 10;

/// The snapshots of one pipeline, in a store.
#[derive(Debug)]
pub struct Shelf {
    store: Arc<Store>,
    namespace: String,
    pipeline: String,
}

/// Snapshots of a lineage.
#[derive(Debug, Default)]
pub struct Found {
    /// Their manifests, oldest first.
    pub whole: Vec<Manifest>,
    /// Names of manifests that cannot be used.
    pub damaged: Vec<String>,
}

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub lineage: String,
    pub incarnation: u64,
    pub epoch: Epoch,
}

/// What a step keeps, in batches.
pub trait Rows {
    /// The next ones, at most so many; `None`: that was all.
    ///
    /// # Errors
    /// They cannot be made (ours).
    fn next_rows(&mut self, rows_max: usize) -> Result<Option<RecordBatch>, Failure>;
}

/// What a step keeps, under its name; its parts are still to be written.
pub type StateOf<R> = (String, StepState, Box<R>);

impl Shelf {
    /// The shelf of a pipeline, whose name is put on it.
    ///
    /// # Errors
    /// Refusals: another pipeline's name stands there, or the format is a later one. What breaks while the store is asked.
    pub fn open(store: Arc<Store>, namespace: &str, pipeline: &str) -> Result<Shelf, Failure> {
        let label = Label { version: VERSION, namespace: namespace.to_owned(), pipeline: pipeline.to_owned() };
        let shelf = Shelf { store, namespace: namespace.to_owned(), pipeline: pipeline.to_owned() };
        // Looked at first: a disk that is full must not keep a pipeline from its own snapshots.
        if shelf.store.read(LABEL)?.is_some() || !shelf.store.put_new(LABEL, manifest::to_line(&label))? {
            shelf.refuse_others()?;
        }
        Ok(shelf)
    }

    /// One that may be empty and is only looked at.
    ///
    /// # Errors
    /// As [`Shelf::open`].
    pub fn look(store: Arc<Store>, namespace: &str, pipeline: &str) -> Result<Shelf, Failure> {
        let shelf = Shelf { store, namespace: namespace.to_owned(), pipeline: pipeline.to_owned() };
        shelf.refuse_others()?;
        Ok(shelf)
    }

    fn refuse_others(&self) -> Result<(), Failure> {
        let Some(bytes) = self.store.read(LABEL)? else { return Ok(()) };
        match manifest::of_line::<Label>(&bytes) {
            Ok(label) if (&label.namespace, &label.pipeline) == (&self.namespace, &self.pipeline) => Ok(()),
            Ok(label) => {
                let (theirs, ours, place) = (&label.pipeline, &self.pipeline, self.store.describe());
                let whose = match label.namespace == self.namespace {
                    true => format!("`{theirs}`"),
                    false => format!("`{theirs}` in namespace `{}`", label.namespace),
                };
                let message = format!("the state in `{place}` is that of pipeline {whose}, not of `{ours}`");
                Err(Failure::user("refused.other_state", message)
                    .hint("give each pipeline a name or a `state.store` of its own"))
            }
            Err(Unreadable::Newer(version)) => Err(self.newer(version)),
            Err(Unreadable::Damaged) => {
                let message = format!("`{LABEL}` in the state store `{}` is damaged", self.store.describe());
                Err(Failure::user("refused.state_damaged", message).hint(
                    "it says whose snapshots these are: remove it if they are this pipeline's, or the whole folder",
                ))
            }
        }
    }

    fn newer(&self, version: u32) -> Failure {
        let message = format!(
            "the state in `{}` has format {version}, and this runner reads formats up to {VERSION}",
            self.store.describe()
        );
        Failure::user("refused.state_newer", message)
            .hint("a newer runner wrote it: use that one; or remove the folder, and what the journal holds is replayed")
    }

    pub fn describe(&self) -> String {
        self.store.describe()
    }

    /// What there is of a lineage. What is damaged is said.
    ///
    /// # Errors
    /// One has a later format; or the store cannot be read.
    pub fn list(&self, lineage: &str) -> Result<Found, Failure> {
        let mut found = Found::default();
        for name in self.store.list(lineage)?.objects.iter().filter(|name| name.ends_with(".json")) {
            let Some(bytes) = self.store.read(name)? else { continue };
            match Manifest::of_bytes(&bytes) {
                Ok(manifest) if self.is_ours(&manifest, lineage, name) => found.whole.push(manifest),
                Ok(_) | Err(Unreadable::Damaged) => {
                    tracing::warn!("the snapshot `{name}` in `{}` is damaged, and is not used", self.describe());
                    found.damaged.push(name.clone());
                }
                Err(Unreadable::Newer(version)) => return Err(self.newer(version)),
            }
        }
        found.whole.sort_by_key(|manifest| manifest.epoch);
        Ok(found)
    }

    fn is_ours(&self, manifest: &Manifest, lineage: &str, name: &str) -> bool {
        let Manifest { namespace, pipeline, epoch, .. } = manifest;
        (namespace, pipeline) == (&self.namespace, &self.pipeline)
            && manifest.lineage == lineage
            && *name == name_of(lineage, *epoch)
    }

    /// Writes what steps keep. It is no snapshot before [`Shelf::publish`].
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write<R: Rows + ?Sized>(&self, head: &Head, steps: &mut [StateOf<R>]) -> Result<Manifest, Failure> {
        faults::point("snapshot.write");
        let unique = &uuid::Uuid::new_v4().simple().to_string()[..8];
        let object = format!("{}/{:012}-{unique}.columns", head.lineage, head.epoch);
        let mut upload = self.store.upload(&object)?;
        let (mut bytes, mut rows) = (0, 0);
        let mut written = BTreeMap::new();
        for (name, step, state) in steps {
            let mut step = StepState { parts: Vec::new(), ..step.clone() };
            while let Some(batch) = state.next_rows(ROWS_MAX)? {
                let encoded = encode(&batch)?;
                let part = Part {
                    at: bytes,
                    bytes: encoded.len() as u64,
                    rows: batch.num_rows() as u64,
                    crc32: crc32fast::hash(&encoded),
                };
                upload.write(&encoded)?;
                bytes += part.bytes;
                rows += part.rows;
                step.parts.push(part);
            }
            written.insert(name.clone(), step);
        }
        upload.finish()?;
        faults::point("snapshot.written");
        Ok(Manifest {
            version: VERSION,
            namespace: self.namespace.clone(),
            pipeline: self.pipeline.clone(),
            lineage: head.lineage.clone(),
            incarnation: head.incarnation,
            epoch: head.epoch,
            runner: env!("CARGO_PKG_VERSION").to_owned(),
            object,
            bytes,
            rows,
            steps: written,
        })
    }

    /// Makes it a snapshot. Where there is one of this epoch already, that one stays and this one goes.
    ///
    /// # Errors
    /// It cannot be written; then it is none, and its columns are gone.
    pub fn publish(&self, manifest: &Manifest) -> Result<(), Failure> {
        let name = manifest.name();
        let put = self.store.put_new(&name, manifest.to_bytes()).inspect_err(|_| self.take_back(manifest));
        if put? {
            faults::point("snapshot.published");
            return Ok(());
        }
        self.store.delete(&manifest.object)?;
        match self.store.read(&name)?.map(|bytes| Manifest::of_bytes(&bytes)) {
            Some(Ok(_)) => Ok(()),
            _ => {
                let message = format!("`{name}` in the state store `{}` is damaged", self.describe());
                Err(Failure::outside("state.store", message))
            }
        }
    }

    /// Columns without a manifest would take the room of the next ones. What cannot be removed now goes with those that
    /// are older.
    fn take_back(&self, manifest: &Manifest) {
        let name = manifest.name();
        let is_ours = |bytes: &[u8]| Manifest::of_bytes(bytes).is_ok_and(|there| there == *manifest);
        // It may be there and not be on the disk for certain. A manifest goes first: it says what columns there are.
        let gone = match self.store.read(&name) {
            Ok(Some(bytes)) if is_ours(&bytes) => self.store.delete(&name),
            Ok(_) => Ok(()),
            Err(failure) => Err(failure),
        };
        let _ = gone.and_then(|()| self.store.delete(&manifest.object));
    }

    /// True if its columns are as long as was written; what is in them is seen when they are read.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn has_columns(&self, manifest: &Manifest) -> Result<bool, Failure> {
        Ok(self.store.length(&manifest.object)? == Some(manifest.bytes))
    }

    /// One part of what a step keeps.
    ///
    /// # Errors
    /// `state.damaged` if it is not there or not what was written.
    pub fn read(&self, manifest: &Manifest, part: &Part) -> Result<RecordBatch, Failure> {
        let Manifest { object, .. } = manifest;
        let damaged = |what: &str| {
            let message = format!("`{object}` in the state store `{}` {what}", self.describe());
            Failure::user("state.damaged", message)
        };
        let length = self.store.length(object)?.ok_or_else(|| damaged("is gone"))?;
        if length != manifest.bytes {
            return Err(damaged("is not as long as was written"));
        }
        let bytes = self.store.read_range(object, part.at..part.at + part.bytes)?;
        let bytes = bytes.ok_or_else(|| damaged("is gone"))?;
        if bytes.len() as u64 != part.bytes || crc32fast::hash(&bytes) != part.crc32 {
            return Err(damaged("is not what was written"));
        }
        match decode(bytes) {
            Ok(batch) if batch.num_rows() as u64 == part.rows => Ok(batch),
            Ok(_) => Err(damaged("has other rows than were written")),
            Err(error) => Err(damaged("cannot be read").because(error)),
        }
    }

    /// Removes what is damaged: it would stand in the way of a whole one of the same epoch.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove_damaged(&self, damaged: &[String]) -> Result<(), Failure> {
        damaged.iter().try_for_each(|name| self.store.delete(name))
    }

    /// Removes what is of this lineage and older than the oldest that is kept.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove_older(&self, lineage: &str, oldest_kept: Epoch) -> Result<(), Failure> {
        let first_kept = name_of(lineage, oldest_kept);
        let stem = first_kept.trim_end_matches(".json");
        let objects = self.store.list(lineage)?.objects;
        let is_older = |name: &&String| name.get(..stem.len()).is_some_and(|start| start < stem);
        // Manifests first: one without columns would be a damaged snapshot.
        let (manifests, columns): (Vec<_>, Vec<_>) =
            objects.iter().filter(is_older).partition(|name| name.ends_with(".json"));
        for name in manifests.into_iter().chain(columns) {
            self.store.delete(name)?;
            faults::point("snapshot.removed");
        }
        self.remove_cut_off(lineage, oldest_kept);
        Ok(())
    }

    /// Removes what processes that were killed had begun to write of epochs before this one: nobody else looks at it, and on
    /// a full disk it takes the room of the next one.
    pub fn remove_cut_off(&self, lineage: &str, before: Epoch) {
        let stem = &format!("{before:012}");
        self.store.remove_cut_off(lineage, |name| name.get(..stem.len()).is_some_and(|start| start < &**stem));
    }

    /// Removes all of a lineage, which its journal has given up; gives how many snapshots that were. What is of others stays:
    /// the same folder may serve the journal of another cluster.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(&self, lineage: &str) -> Result<usize, Failure> {
        let objects = self.store.list(lineage)?.objects;
        let (manifests, columns): (Vec<_>, Vec<_>) = objects.iter().partition(|name| name.ends_with(".json"));
        let count = manifests.len();
        manifests.into_iter().chain(columns).try_for_each(|name| self.store.delete(name))?;
        self.store.delete_folder(lineage);
        Ok(count)
    }

    /// The lineages of which there is something.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn lineages(&self) -> Result<Vec<String>, Failure> {
        Ok(self.store.list("")?.folders)
    }
}

fn encode(batch: &RecordBatch) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::with_capacity(batch.get_array_memory_size() + 4_096);
    let mut write = || -> Result<(), ArrowError> {
        let mut writer = StreamWriter::try_new(&mut bytes, batch.schema_ref())?;
        writer.write(batch)?;
        writer.finish()
    };
    write().map_err(|error| Failure::bug("state.columns", "state could not be written as columns").because(error))?;
    Ok(bytes)
}

fn decode(mut bytes: Buffer) -> Result<RecordBatch, ArrowError> {
    let mut decoder = StreamDecoder::new();
    let batch = decoder.decode(&mut bytes)?;
    batch.ok_or_else(|| ArrowError::IpcError("there is no batch in it".into()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::state::Strike;

    /// These numbers, a few rows at a time.
    struct Numbers(std::ops::Range<i64>);

    impl Rows for Numbers {
        fn next_rows(&mut self, rows_max: usize) -> Result<Option<RecordBatch>, Failure> {
            let numbers: Vec<i64> = self.0.by_ref().take(rows_max.min(1_000)).collect();
            let texts: StringArray = numbers.iter().map(|number| Some(format!("number {number}"))).collect();
            let columns = [("n", Arc::new(Int64Array::from(numbers)) as ArrayRef), ("t", Arc::new(texts) as ArrayRef)];
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            Ok((batch.num_rows() > 0).then_some(batch))
        }
    }

    fn shelf(store: &Arc<Store>) -> Shelf {
        Shelf::open(store.clone(), "default", "p").unwrap()
    }

    fn head(epoch: Epoch) -> Head {
        Head { lineage: "l".into(), incarnation: 1, epoch }
    }

    fn write(shelf: &Shelf, epoch: Epoch, count: i64) -> Manifest {
        let step = |name: &str, numbers| {
            let state = StepState { fingerprint: "f".into(), since: 1, parts: Vec::new() };
            (name.to_owned(), state, Box::new(Numbers(numbers)))
        };
        shelf.write(&head(epoch), &mut [step("one", 0..count), step("none", 0..0)]).unwrap()
    }

    fn published(shelf: &Shelf, epoch: Epoch, count: i64) -> Manifest {
        let manifest = write(shelf, epoch, count);
        shelf.publish(&manifest).unwrap();
        manifest
    }

    fn numbers(shelf: &Shelf, manifest: &Manifest) -> Result<Vec<i64>, Failure> {
        let mut numbers = Vec::new();
        for part in &manifest.steps["one"].parts {
            numbers.extend_from_slice(shelf.read(manifest, part)?.column(0).as_primitive::<Int64Type>().values());
        }
        Ok(numbers)
    }

    fn epochs(shelf: &Shelf) -> Vec<Epoch> {
        shelf.list("l").unwrap().whole.iter().map(|manifest| manifest.epoch).collect()
    }

    #[test]
    fn what_is_written_is_a_snapshot_once_it_is_published() {
        let store = Arc::new(Store::in_memory().unwrap());
        let shelf = shelf(&store);
        let manifest = write(&shelf, 3, 2_500);
        assert_eq!(epochs(&shelf), [] as [Epoch; 0]);
        shelf.publish(&manifest).unwrap();
        assert_eq!(shelf.list("l").unwrap().whole, std::slice::from_ref(&manifest));
        assert_eq!((manifest.steps["one"].parts.len(), manifest.steps["none"].parts.len()), (3, 0));
        assert_eq!(numbers(&shelf, &manifest).unwrap(), (0..2_500).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_of_two_of_one_epoch_stays() {
        let store = Arc::new(Store::in_memory().unwrap());
        let (shelf, other) = (shelf(&store), shelf(&store));
        let (first, second) = (write(&shelf, 3, 10), write(&other, 3, 20));
        shelf.publish(&first).unwrap();
        other.publish(&second).unwrap();
        assert_eq!(shelf.list("l").unwrap().whole, std::slice::from_ref(&first));
        assert_eq!(numbers(&shelf, &first).unwrap().len(), 10);
        assert_eq!(store.read(&second.object).unwrap(), None);
    }

    #[test]
    fn older_ones_go_and_what_somebody_writes_now_stays() {
        let store = Arc::new(Store::in_memory().unwrap());
        let shelf = shelf(&store);
        for epoch in [8, 9, 10, 100] {
            published(&shelf, epoch, 5);
        }
        let on_its_way = write(&shelf, 101, 5);
        shelf.remove_older("l", 10).unwrap();
        assert_eq!(epochs(&shelf), [10, 100]);
        shelf.publish(&on_its_way).unwrap();
        assert_eq!(numbers(&shelf, &on_its_way).unwrap().len(), 5);
        assert_eq!(store.list("l").unwrap().objects.len(), 6);
        assert_eq!(shelf.remove("k").unwrap(), 0);
        assert_eq!(epochs(&shelf), [10, 100, 101]);
        assert_eq!(shelf.remove("l").unwrap(), 3);
        assert_eq!((epochs(&shelf), shelf.lineages().unwrap()), (vec![], vec![]));
    }

    /// A full disk: the columns found room and the manifest did not. They would take that of all later ones.
    #[test]
    fn i18_what_cannot_be_published_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::in_folder(folder.path()).unwrap());
        let shelf = shelf(&store);
        published(&shelf, 3, 10);
        store.disturb(|name| name.ends_with(".json").then_some(Strike::Full));
        for epoch in [4, 5] {
            let manifest = write(&shelf, epoch, 10);
            assert_eq!(shelf.publish(&manifest).unwrap_err().code, "state.store");
        }
        // The label is there already, and need not be written.
        Shelf::open(store.clone(), "default", "p").unwrap();
        assert_eq!((epochs(&shelf), store.list("l").unwrap().objects.len()), (vec![3], 2));
    }

    /// Killed while it wrote, again and again.
    #[test]
    fn i18_what_a_killed_writer_left_goes_with_what_is_older() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::in_folder(folder.path()).unwrap());
        let shelf = shelf(&store);
        published(&shelf, 3, 10);
        let left = ["l/000000000002-0a.columns#1", "l/000000000005-0b.columns#1", "l/000000000009.json#1"];
        let there = || left.map(|name| folder.path().join(name).exists());
        left.iter().for_each(|name| std::fs::write(folder.path().join(name), "half").unwrap());
        shelf.remove_older("l", 3).unwrap();
        assert_eq!(there(), [false, true, true]);
        shelf.remove_cut_off("l", 6);
        assert_eq!((there(), epochs(&shelf)), ([false, false, true], vec![3]));
    }

    /// Whatever byte of it is wrong, and wherever it ends.
    #[test]
    fn i18_damaged_columns_are_never_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::in_folder(folder.path()).unwrap());
        let shelf = shelf(&store);
        let manifest = published(&shelf, 3, 40);
        let path = folder.path().join(&manifest.object);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(numbers(&shelf, &manifest).unwrap_err().code, "state.damaged", "byte {at}");
        }
        for length in (0..whole.len()).step_by(97) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(numbers(&shelf, &manifest).unwrap_err().code, "state.damaged", "{length} bytes");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(numbers(&shelf, &manifest).unwrap_err().code, "state.damaged");
        std::fs::write(&path, whole).unwrap();
        assert_eq!(numbers(&shelf, &manifest).unwrap().len(), 40);
    }

    #[test]
    fn i18_manifests_that_are_half_there_or_of_others_are_never_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::in_folder(folder.path()).unwrap());
        let shelf = shelf(&store);
        let good = published(&shelf, 3, 10);
        let half = &good.to_bytes()[..100];
        std::fs::write(folder.path().join("l/000000000004.json"), half).unwrap();
        let of_another = Manifest { epoch: 5, pipeline: "q".into(), ..good.clone() };
        std::fs::write(folder.path().join("l/000000000005.json"), of_another.to_bytes()).unwrap();
        let misplaced = Manifest { epoch: 7, ..good.clone() };
        std::fs::write(folder.path().join("l/000000000006.json"), misplaced.to_bytes()).unwrap();
        let of_before = Manifest { epoch: 8, lineage: "k".into(), ..good };
        std::fs::write(folder.path().join("l/000000000008.json"), of_before.to_bytes()).unwrap();
        assert_eq!(epochs(&shelf), [3]);
        let failure = shelf.publish(&Manifest { epoch: 4, ..write(&shelf, 4, 10) }).unwrap_err();
        assert!(failure.message.contains("damaged"), "{failure}");
        let Found { whole, damaged } = shelf.list("l").unwrap();
        assert_eq!((whole.len(), damaged.len()), (1, 4));
        shelf.remove_damaged(&damaged).unwrap();
        published(&shelf, 4, 10);
        assert_eq!(epochs(&shelf), [3, 4]);

        let later = manifest::to_line(&serde_json::json!({ "version": VERSION + 1 }));
        std::fs::write(folder.path().join("l/000000000009.json"), later).unwrap();
        assert_eq!(shelf.list("l").unwrap_err().code, "refused.state_newer");
    }

    #[test]
    fn a_shelf_of_another_pipeline_or_a_later_format_is_refused() {
        let store = Arc::new(Store::in_memory().unwrap());
        shelf(&store);
        shelf(&store);
        let failure = Shelf::open(store.clone(), "default", "q").unwrap_err();
        assert_eq!(failure.code, "refused.other_state");
        assert!(failure.message.contains("`p`, not of `q`"), "{failure}");
        assert_eq!(Shelf::look(store, "other", "p").unwrap_err().code, "refused.other_state");

        let store = Arc::new(Store::in_memory().unwrap());
        let label = serde_json::json!({ "version": VERSION + 1, "owner": "p" });
        store.put_new(LABEL, manifest::to_line(&label)).unwrap();
        assert_eq!(Shelf::open(store, "default", "p").unwrap_err().code, "refused.state_newer");
    }
}
