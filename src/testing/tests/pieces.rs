//! I10: output that is committed in pieces.

use super::disturbed::{Append, Disturbed, Log};
use super::remembering::{Held, Remembering};
use super::*;

/// All that a run appended, with commits of so many bytes.
fn appended_in_pieces(stage: &Stage, piece_bytes: usize) -> (MemoryJournal, Vec<Append>) {
    let (journal, log) = (MemoryJournal::default(), Log::default());
    let open = |journal: MemoryJournal| -> Box<dyn Journal> {
        let log = log.clone();
        Disturbed::boxed(journal, move |records, outputs| {
            log.note(records, outputs);
            None
        })
    };
    run_on(&stage.given, Variant { piece_bytes, ..Variant::default() }, &journal, &open).unwrap();
    (journal, log.appends())
}

/// What the records of an append take in a transaction.
fn sizes(append: &Append) -> Vec<usize> {
    let of = |rows: &EncodedRows| (0..rows.len()).map(|index| rows.record_size(index)).collect::<Vec<_>>();
    append.outputs.values().flatten().flat_map(of).collect()
}

#[test]
fn i10_what_does_not_fit_into_a_commit_follows_in_epochs_that_read_nothing() {
    let stage = Stage::of(EVERYTHING, 2, uneven_rows(2, 400, 40));
    let sinks = stage.given.plan.sinks.len();
    let (whole, whole_appends) = appended_in_pieces(&stage, 0);
    let (_, expected) = bytes(&whole, sinks);
    assert!(epochs(&whole).iter().all(|record| record.continues.is_none() && record.cursor.is_none()));
    for piece_bytes in [1, 700, 5_000] {
        let (journal, appends) = appended_in_pieces(&stage, piece_bytes);
        assert_eq!(bytes(&journal, sinks).1, expected, "{piece_bytes} bytes a commit");
        for append in &appends {
            let sizes = sizes(append);
            let total: usize = sizes.iter().sum();
            assert!(total <= piece_bytes || sizes.len() == 1, "epoch {} has {sizes:?}", append.epoch);
        }
        let records = epochs(&journal);
        assert!(records.len() > whole_appends.len() * 2 || piece_bytes > 1_000);
        assert!(records.iter().map(|record| record.epoch).eq(1..=records.len() as Epoch), "numbers are consecutive");
        assert_eq!(records.iter().filter(|record| record.continues.is_none()).count(), whole_appends.len());
        for pair in records.windows(2) {
            let (before, record) = (&pair[0], &pair[1]);
            assert_eq!(before.cursor.is_some(), record.continues.is_some(), "{record:?}");
            let Some(continued) = record.continues else { continue };
            assert_eq!((record.watermark, record.clock), (before.watermark, before.clock));
            let ranges = record.partitions["s"].iter().zip(&before.partitions["s"]);
            for ((_, range), (_, before)) in ranges {
                assert_eq!((range.read, &range.from, &range.to), (0, &before.to, &before.to));
                assert_eq!((range.max_time, range.rejected.len()), (before.max_time, 0));
            }
            // Whoever stands at the one before reads the whole epoch again, and whatever its windows are made of.
            assert!(before.needed <= continued, "{before:?}");
        }
    }
}

/// The journal as it is behind the first `count` appends of epochs.
fn cut_off(whole: &MemoryJournal, appends: &[Append], count: usize) -> MemoryJournal {
    let mut journal = MemoryJournal::default();
    let mut appends = appends[..count].iter();
    for record in whole.records() {
        let outputs: Vec<SinkRows> = match &record {
            Record::Epoch(_) => match appends.next() {
                Some(append) => {
                    append.outputs.iter().map(|(sink, rows)| SinkRows { sink: *sink, rows: rows.clone() }).collect()
                }
                None => break,
            },
            _ => Vec::new(),
        };
        journal.append(&[record], &outputs).unwrap();
    }
    journal
}

/// All rows of the script at once, as they stand in a topic when a process starts again.
fn fill(given: &Given) {
    given.sources.iter().for_each(MemorySource::reset);
    for item in &given.script {
        if let Item::Row { source, partition, record } = item {
            given.sources[*source].push(*partition, record.clone());
        }
    }
}

fn restarted(stage: &Stage, journal: &MemoryJournal, piece_bytes: usize) {
    let options =
        StartOptions { piece_bytes: Some(piece_bytes), snapshots: SnapshotPlace::Nowhere, ..StartOptions::default() };
    let clock = ManualClock::at(BEGINNING);
    let mut started = start(&stage.given.plan, Box::new(journal.clone()), options, clock, &Arc::default()).unwrap();
    started.committer.finish(None).unwrap();
}

#[test]
fn i10_a_journal_that_ends_within_an_output_goes_on_from_its_cursor_with_the_same_bytes() {
    let stage = Stage::of(EVERYTHING, 2, uneven_rows(2, 240, 40));
    let sinks = stage.given.plan.sinks.len();
    let (whole, appends) = appended_in_pieces(&stage, 700);
    let records = epochs(&whole);
    fill(&stage.given);
    let mut within = 0;
    for count in 1..=appends.len() {
        let rest = records[count..].iter().take_while(|record| record.continues.is_some()).count();
        within += usize::from(rest > 0);
        // Up to the end of the output in which it was killed, and nothing of the next epoch.
        let (_, expected) = bytes(&cut_off(&whole, &appends, count + rest), sinks);
        // The limit may have been another one before.
        for piece_bytes in [1, 700, 1 << 20] {
            let journal = cut_off(&whole, &appends, count);
            restarted(&stage, &journal, piece_bytes);
            let (_, actual) = bytes(&journal, sinks);
            assert!(actual == expected, "killed behind epoch {count}, then {piece_bytes} bytes a commit");
            let last = epochs(&journal).pop().unwrap();
            assert_eq!((last.cursor, last.needed), (None, records[count + rest - 1].needed.min(last.epoch + 1)));
        }
    }
    assert!(within > 20, "{within} kills within an output show little");
}

#[test]
fn i10_sinks_that_stand_within_an_output_get_exactly_what_they_lack() {
    let sink = Remembering::default();
    let of_plan = sink.clone();
    let stage = Stage::with(EVERYTHING, 2, uneven_rows(2, 240, 40), |plan| {
        let windows = plan.sinks.iter_mut().find(|sink| sink.name == "windows").unwrap();
        windows.sink = Arc::new(of_plan);
    });
    let variant = Variant { piece_bytes: 300, ..Variant::default() };
    run_on(&stage.given, variant, &sink.journal, &|journal| Box::new(journal)).unwrap();
    let all = std::mem::take(&mut sink.held.lock().unwrap().rows);
    let lineage = sink.held.lock().unwrap().progress.clone().unwrap().lineage;
    let records = epochs(&sink.journal);
    assert!(all.len() > 10 && records.iter().filter(|record| record.cursor.is_some()).count() > 20);
    fill(&stage.given);
    for has in 0..=records.len() as Epoch {
        let progress = (has > 0).then(|| SinkProgress { lineage: lineage.clone(), epoch: has });
        *sink.held.lock().unwrap() = Held { progress, ..Held::default() };
        restarted(&stage, &sink.journal, 1 << 20);
        let held = sink.held.lock().unwrap();
        let expected: Vec<_> = all.iter().filter(|(epoch, _)| *epoch > has).cloned().collect();
        assert!(held.rows == expected, "it had epoch {has}: {} rows instead of {}", held.rows.len(), expected.len());
    }
}

/// The plan's fingerprint does not know of sinks, so nobody else would notice.
#[test]
fn i17_an_output_that_is_shorter_than_its_cursor_is_not_gone_on_with() {
    let stage = Stage::of(SECONDS, 1, vec![second(0.1), second(0.2), second(0.3), second(0.4)]);
    let (whole, appends) = appended_in_pieces(&stage, 1);
    let journal = cut_off(&whole, &appends, 3);
    let fewer = Stage::with(SECONDS, 1, stage.given.script.clone(), |plan| {
        let rows = plan.sinks.iter_mut().find(|sink| sink.name == "rows").unwrap();
        rows.input = plan.steps.iter().position(|step| step.name == "per_second").map(crate::plan::Input::Step);
        rows.encode = Arc::new(crate::plan::records::lines::Counted { mode: crate::plan::Mode::Append });
    });
    fill(&fewer.given);
    let options = StartOptions { snapshots: SnapshotPlace::Nowhere, ..StartOptions::default() };
    let refused = start(&fewer.given.plan, Box::new(journal), options, ManualClock::at(BEGINNING), &Arc::default());
    let refused = refused.err().unwrap();
    assert_eq!(refused.code, "refused.source_changed");
    assert!(refused.to_string().contains("it now gives `rows` fewer records than were committed"), "{refused}");
}
