//! I9: sinks that remember what they have.

use super::*;

/// A sink with a memory of its own, which looks at the journal whenever it is written to.
#[derive(Debug, Clone, Default)]
pub(super) struct Remembering {
    pub journal: MemoryJournal,
    pub held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
pub(super) struct Held {
    pub progress: Option<SinkProgress>,
    pub rows: Vec<(Epoch, Written)>,
    /// Epochs that were written before the journal had them.
    pub too_early: Vec<Epoch>,
    /// A writer of a process that is dead writes no more.
    pub writer: u64,
}

impl Sink for Remembering {
    fn connector(&self) -> &'static str {
        "remembering"
    }

    fn delivery(&self) -> Delivery {
        Delivery::Remembers
    }

    fn open(&self) -> Result<Box<dyn Writer>, Failure> {
        let mut held = self.held.lock().unwrap();
        held.writer += 1;
        Ok(Box::new(RememberingWriter { of: self.clone(), writer: held.writer }))
    }
}

struct RememberingWriter {
    of: Remembering,
    writer: u64,
}

impl Writer for RememberingWriter {
    fn progress(&self) -> Option<SinkProgress> {
        self.of.held.lock().unwrap().progress.clone()
    }

    fn write(&mut self, lineage: &str, epochs: &[EpochRows]) -> Result<(), Failure> {
        let mut held = self.of.held.lock().unwrap();
        if held.writer != self.writer {
            return Err(Failure::outside("test.dead", "this process is dead").no_retry());
        }
        let known: Vec<Epoch> = self::epochs(&self.of.journal).iter().map(|record| record.epoch).collect();
        for rows in epochs {
            let epoch = rows.epoch;
            if !known.contains(&epoch) {
                held.too_early.push(epoch);
            }
            let runs: Vec<EncodedRows> = rows.runs().cloned().collect();
            held.rows.extend(written(&runs).into_iter().map(|row| (epoch, row)));
            held.progress = Some(SinkProgress { lineage: lineage.to_owned(), epoch });
        }
        Ok(())
    }
}

#[test]
fn i9_the_journal_commits_first_and_every_other_sink_gets_exactly_the_epochs_it_lacks() {
    let script = || uneven_rows(2, 400, 40);
    let whole = {
        let stage = Stage::of(EVERYTHING, 2, script());
        written(&stage.run(Variant::default()).output(stage.sink("windows")))
    };
    let crashes = (1..=10).flat_map(|epoch| [CrashAt::Before(epoch), CrashAt::After(epoch)]).map(Some);
    for crash in std::iter::once(None).chain(crashes) {
        let sink = Remembering::default();
        let of_plan = sink.clone();
        let stage = Stage::with(EVERYTHING, 2, script(), |plan| {
            let windows = plan.sinks.iter_mut().find(|sink| sink.name == "windows").unwrap();
            windows.sink = Arc::new(of_plan);
        });
        let variant = Variant { crash, ..Variant::default() };
        run_on(&stage.given, variant, &sink.journal, &|journal| Box::new(journal)).unwrap();
        let held = sink.held.lock().unwrap();
        assert_eq!(held.too_early, [] as [Epoch; 0], "{crash:?}");
        let rows: Vec<Written> = held.rows.iter().map(|(_, row)| row.clone()).collect();
        assert!(rows == whole, "{crash:?}: {} rows instead of {}", rows.len(), whole.len());
        assert!(held.rows.is_sorted_by_key(|(epoch, _)| *epoch));
    }
}
