//! The invariants of an epoch and its commit, each by its number, on whole plans: the plan's own
//! decoders, steps and encoders, the engine's lanes, trunk, coordinator, committer and recovery, a
//! journal in memory that may fail in the ways of a real one.

mod simulation;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::case::TestWorld;
use super::drive::{BEGINNING, CrashAt, Given, Item, Variant, run_on};
use crate::connectors::memory::{MemoryJournal, MemoryRecord, MemorySink, MemorySource};
use crate::connectors::{Delivery, EpochRows, Sink, SinkProgress, Wanted, Writer};
use crate::data::{EncodedRecord, EncodedRows, Epoch, Partition};
use crate::engine::start::{StartOptions, start};
use crate::journal::{Appended, EpochRecord, Journal, Owner, Record, SinkRows};
use crate::plan::{Plan, build};
use crate::report::{Failure, Style, render};
use crate::spec::{self, Values};
use crate::time::{ManualClock, Millis, Watermark};

mod pressure;

/// A pipeline of everything whose result could depend on order, with JSON in and JSON and Avro out.
const EVERYTHING: &str = r#"
apiVersion: runner/v1
kind: Pipeline
metadata: { name: everything }
spec:
  connections: { default: { kafka: { brokers: "nowhere:1" }, registry: embedded } }
  sources:
    s: { kafka: { topic: in }, format: json, columns: { k: string?, x: double, n: int? }, time: { lag: 1s, idle: never } }
  transforms:
    good: { from: s, where: n is null or n < 90, check: { small: x < 950.0 }, add: { y: x / 3.0 } }
    wins:
      from: good
      window: { tumbling: 5s, grace: 1s }
      group_by: [k]
      aggregate: { c: count(*), total: sum(y), mean: avg(y), spread: stddev(y), least: min(n) }
    slides: { from: good, window: { hopping: { size: 5s, every: 2s } }, group_by: [k], aggregate: { total: sum(y), mean: avg(y), spread: stddev(y) } }
    again: { from: slides, window: { tumbling: 4s }, aggregate: { total: sum(total), spread: var(mean) } }
    all: { from: good, group_by: [k], aggregate: { c: count(*), total: sum(y), spread: var(y) } }
    few: { from: all, where: c < 60 }
  sinks:
    rows: { from: good, kafka: { topic: rows }, format: json, headers: { n: "<${n}>" } }
    windows: { from: wins, kafka: { topic: windows }, format: avro }
    sliding: { from: slides, kafka: { topic: slides }, format: avro, key: [k] }
    twice: { from: again, kafka: { topic: again }, format: json }
    table: { from: all, kafka: { topic: table }, format: avro, mode: upsert }
    shrinking: { from: few, kafka: { topic: shrinking }, format: json, mode: upsert }
    late: { from: wins.late, kafka: { topic: late }, format: json }
  dead_letter: { kafka: { topic: dead } }
"#;

/// One row each, a window per second; late rows and bad ones have sinks.
const SECONDS: &str = r#"
apiVersion: runner/v1
kind: Pipeline
metadata: { name: seconds }
spec:
  sources:
    s: { kafka: { topic: in }, format: json, columns: { x: int }, time: { idle: never } }
  transforms:
    per_second: { from: s, window: { tumbling: 1s, grace: 2s }, aggregate: { c: count(*) } }
  sinks:
    rows: { from: s, kafka: { topic: rows }, format: json }
    windows: { from: per_second, kafka: { topic: windows }, format: json }
    late: { from: per_second.late, kafka: { topic: late }, format: json }
  dead_letter: { kafka: { topic: dead } }
"#;

/// `SECONDS` without its windows: no state is kept.
fn rows_only() -> String {
    let from = SECONDS.find("  transforms:").unwrap();
    let text = format!("{}{}", &SECONDS[..from], &SECONDS[SECONDS.find("  sinks:").unwrap()..]);
    let of_windows = |line: &&str| !line.contains("from: per_second");
    text.lines().filter(of_windows).flat_map(|line| [line, "\n"]).collect()
}

/// A pipeline whose sources are memory and whose sinks commit with the journal.
struct Stage {
    given: Given,
    /// Keeps the registry.
    _world: TestWorld,
}

impl Stage {
    fn of(text: &str, partitions: Partition, script: Vec<Item>) -> Stage {
        Stage::with(text, partitions, script, |_| {})
    }

    fn with(text: &str, partitions: Partition, script: Vec<Item>, change: impl FnOnce(&mut Plan)) -> Stage {
        let world = TestWorld::new();
        let (documents, found) = spec::load_text("test.yaml", text, &Values::default());
        assert!(!found.has_errors(), "{}", render(&found, Style::Plain));
        let (mut plans, found) = build(&documents, Path::new("."), &world);
        assert!(!found.has_errors(), "{}", render(&found, Style::Plain));
        let mut plan = plans.remove(0);
        for subject in &plan.outline.subjects {
            let registered = subject.registry.as_ref().unwrap().register(&subject.subject, &subject.schema);
            subject.id.set(registered.unwrap()).unwrap();
        }
        let sources: Vec<MemorySource> =
            plan.sources.iter().map(|source| MemorySource::new(&source.name, partitions)).collect();
        for (source, memory) in plan.sources.iter_mut().zip(&sources) {
            source.source = Arc::new(memory.clone());
            source.wanted = Wanted { keys: true, headers: true, ..Wanted::default() };
        }
        plan.sinks.iter_mut().for_each(|sink| sink.sink = Arc::new(MemorySink));
        change(&mut plan);
        Stage { given: Given { plan: Arc::new(plan), sources, script }, _world: world }
    }

    fn sink(&self, name: &str) -> usize {
        self.given.plan.sinks.iter().position(|sink| sink.name == name).unwrap()
    }

    /// The journal after a run.
    fn run(&self, variant: Variant) -> MemoryJournal {
        let journal = MemoryJournal::default();
        run_on(&self.given, variant, &journal, &|journal| Box::new(journal)).unwrap();
        journal
    }

    /// The journal after a run against a disturbed one, and how the run ended.
    fn disturbed(&self, at: Epoch, disturbances: &[Disturbance]) -> (MemoryJournal, Log, Result<(), Failure>) {
        let (journal, log) = (MemoryJournal::default(), Log::default());
        let planned: Arc<Mutex<VecDeque<Disturbance>>> = Arc::new(Mutex::new(disturbances.iter().cloned().collect()));
        let open = |journal: MemoryJournal| -> Box<dyn Journal> {
            let (log, planned) = (log.clone(), planned.clone());
            let decide = move |records: &[Record], outputs: &[SinkRows]| {
                let epoch = log.note(records, outputs)?;
                if epoch == at { planned.lock().unwrap().pop_front() } else { None }
            };
            Disturbed::boxed(journal, decide)
        };
        let ended = run_on(&self.given, Variant::default(), &journal, &open);
        (journal, log, ended)
    }
}

fn row(partition: Partition, timestamp: Millis, value: &str) -> Item {
    let record = MemoryRecord {
        timestamp: Some(timestamp),
        key: Some(format!("key of {partition}").into_bytes()),
        value: Some(value.as_bytes().to_vec()),
        headers: vec![("h".into(), Some(b"v".to_vec()))],
    };
    Item::Row { source: 0, partition, record }
}

/// A row of `SECONDS`, at this second of the test.
fn second(second: f64) -> Item {
    row(0, BEGINNING + (second * 1_000.0) as Millis, r#"{"x": 1}"#)
}

/// The same numbers every time: this only has to be uneven.
#[derive(Debug)]
struct Uneven(u64);

impl Uneven {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Rows of `EVERYTHING` over several partitions, some bad, some late, some from the far future.
fn uneven_rows(partitions: Partition, count: u64, cut_every: u64) -> Vec<Item> {
    let mut random = Uneven(7);
    let mut script = Vec::new();
    for index in 0..count {
        let time =
            BEGINNING + index as Millis * 30 - random.below(if index % 40 == 0 { 30_000 } else { 2_000 }) as Millis;
        let key = ["\"a\"", "\"b\"", "\"c\"", "null", "\"d e\""][random.below(5) as usize];
        let (x, n) = (random.below(1_000_000) as f64 / 997.0, random.below(100));
        let value = match random.below(60) {
            0 => "{\"k\": \"a\", \"x\":".to_owned(),
            1 => format!("{{\"k\": {key}, \"x\": {x}, \"n\": null}}"),
            _ => format!("{{\"k\": {key}, \"x\": {x}, \"n\": {n}}}"),
        };
        let time = if random.below(100) == 0 { BEGINNING + 90_000_000 } else { time };
        script.push(row(random.below(partitions as u64) as Partition, time, &value));
        if index % cut_every == cut_every - 1 {
            script.push(Item::Cut);
        }
    }
    script
}

/// What a sink's committed records are, whatever arenas they stand in.
#[derive(Debug, Clone, PartialEq)]
struct Written {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: Option<Millis>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn written(rows: &[EncodedRows]) -> Vec<Written> {
    let of = |rows: &EncodedRows, record: &EncodedRecord| {
        let bytes = |range: &std::ops::Range<u32>| rows.bytes(range).to_vec();
        let headers = &rows.headers[record.headers.start as usize..record.headers.end as usize];
        Written {
            key: record.key.as_ref().map(bytes),
            value: record.value.as_ref().map(bytes),
            timestamp: record.timestamp,
            headers: headers.iter().map(|(name, value)| (bytes(name), value.as_ref().map(bytes))).collect(),
        }
    };
    rows.iter().flat_map(|rows| rows.records.iter().map(move |record| of(rows, record))).collect()
}

/// The records of epochs as bytes; of the lineage, which every run makes up, only that it is one.
fn epochs(journal: &MemoryJournal) -> Vec<EpochRecord> {
    let epoch = |record| match record {
        Record::Epoch(epoch) => Some(EpochRecord { lineage: String::new(), ..epoch }),
        _ => None,
    };
    journal.records().into_iter().filter_map(epoch).collect()
}

fn bytes(journal: &MemoryJournal, sinks: usize) -> (Vec<String>, Vec<Vec<Written>>) {
    let records = epochs(journal).into_iter().map(|epoch| serde_json::to_string(&epoch).unwrap()).collect();
    (records, (0..sinks).map(|sink| written(&journal.output(sink))).collect())
}

#[test]
fn i2_given_the_same_cuts_lanes_and_batches_change_no_bit_of_output_and_journal() {
    let stage = Stage::of(EVERYTHING, 5, uneven_rows(5, 3_000, 170));
    let sinks = stage.given.plan.sinks.len();
    let expected = bytes(&stage.run(Variant { poll_rows: 10_000, ..Variant::default() }), sinks);
    for (sink, rows) in stage.given.plan.sinks.iter().zip(&expected.1) {
        assert!(rows.len() > 10, "`{}` has {} rows: the test shows little", sink.name, rows.len());
    }
    for (poll_rows, lanes) in [(1, 1), (1, 4), (7, 2), (10_000, 4)] {
        let actual = bytes(&stage.run(Variant { poll_rows, lanes, ..Variant::default() }), sinks);
        assert_eq!(actual.0, expected.0, "journal, {poll_rows} rows a batch, {lanes} lanes");
        for (sink, (actual, expected)) in actual.1.iter().zip(&expected.1).enumerate() {
            let name = &stage.given.plan.sinks[sink].name;
            assert!(actual == expected, "`{name}` differs with {poll_rows} rows a batch and {lanes} lanes");
        }
    }
}

#[test]
fn i2_a_replay_after_a_crash_changes_no_bit_of_the_output() {
    let stage = Stage::of(EVERYTHING, 3, uneven_rows(3, 600, 50));
    // The reason of a time that is too far ahead says how far: an epoch that is read anew has another clock.
    let told = |mut row: Written| {
        row.headers.retain(|(name, _)| !name.ends_with(b".message"));
        row
    };
    let output = |journal: &MemoryJournal| -> Vec<Vec<Written>> {
        let sinks = 0..stage.given.plan.sinks.len();
        sinks.map(|sink| written(&journal.output(sink)).into_iter().map(told).collect()).collect()
    };
    let expected = output(&stage.run(Variant::default()));
    for epoch in [1, 4, 7, 11] {
        for crash in [CrashAt::Before(epoch), CrashAt::After(epoch)] {
            let actual = output(&stage.run(Variant { crash: Some(crash), ..Variant::default() }));
            for (sink, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
                let different = actual.iter().zip(expected).find(|(actual, expected)| actual != expected);
                let name = &stage.given.plan.sinks[sink].name;
                assert!(
                    actual == expected,
                    "`{name}`, {crash:?}: {} and {} rows, {different:?}",
                    actual.len(),
                    expected.len()
                );
            }
        }
    }
}

/// Windows over windows, and nothing that needs the whole journal.
const LEVELS: &str = r#"
apiVersion: runner/v1
kind: Pipeline
metadata: { name: levels }
spec:
  sources:
    s: { kafka: { topic: in }, format: json, columns: { k: string?, x: double, n: int? }, time: { lag: 1s, idle: never } }
  transforms:
    first: { from: s, window: { tumbling: 2s, grace: 3s }, group_by: [k], aggregate: { c: count(*), total: sum(x) } }
    second: { from: first, window: { hopping: { size: 6s, every: 4s }, grace: 1s }, aggregate: { c: sum(c), total: sum(total) }, having: c > 2 }
    third: { from: second, window: { tumbling: 12s }, aggregate: { windows: count(*), total: sum(total) } }
  sinks:
    of_first: { from: first, kafka: { topic: first }, format: json }
    of_second: { from: second, kafka: { topic: second }, format: json }
    of_third: { from: third, kafka: { topic: third }, format: json }
  errors: { skip: true }
"#;

/// Every emitted row carries the lowest epoch that contributed to it, so that a replay that begins with empty state
/// brings back the windows of all levels, and only it needs no more than their epochs.
#[test]
fn i13_windows_over_windows_are_rebuilt_from_the_oldest_open_one() {
    let stage = Stage::of(LEVELS, 3, uneven_rows(3, 1_000, 25));
    let output = |journal: &MemoryJournal| -> Vec<Vec<Written>> {
        (0..stage.given.plan.sinks.len()).map(|sink| written(&journal.output(sink))).collect()
    };
    let whole = stage.run(Variant::default());
    let (records, expected) = (epochs(&whole), output(&whole));
    assert!(expected.iter().all(|rows| rows.len() > 2), "{:?}", expected.iter().map(Vec::len).collect::<Vec<_>>());
    assert!(records.iter().any(|record| record.needed > 1 && record.needed <= record.epoch), "nothing shows `needed`");
    let last = records.last().unwrap().epoch;
    for epoch in 1..=last {
        for crash in [CrashAt::Before(epoch), CrashAt::After(epoch)] {
            let actual = stage.run(Variant { crash: Some(crash), ..Variant::default() });
            assert!(output(&actual) == expected, "{crash:?}");
        }
    }
}

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

/// A sink with a memory of its own, which looks at the journal whenever it is written to.
#[derive(Debug, Clone, Default)]
struct Remembering {
    journal: MemoryJournal,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    progress: Option<SinkProgress>,
    rows: Vec<(Epoch, Written)>,
    /// Epochs that were written before the journal had them.
    too_early: Vec<Epoch>,
    /// A writer of a process that is dead writes no more.
    writer: u64,
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

/// What was asked of a journal.
#[derive(Debug, Clone, PartialEq)]
struct Append {
    epoch: Epoch,
    incarnation: u64,
    outputs: BTreeMap<usize, Vec<EncodedRows>>,
}

impl Append {
    fn rows(&self, sink: usize) -> Vec<Written> {
        self.outputs.get(&sink).map_or(Vec::new(), |rows| written(rows))
    }
}

/// Every append of an epoch, in order, whatever became of it.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<Append>>>);

impl Log {
    /// The epoch of an append that has one.
    fn note(&self, records: &[Record], outputs: &[SinkRows]) -> Option<Epoch> {
        let epoch = records.iter().find_map(|record| match record {
            Record::Epoch(epoch) => Some(epoch),
            _ => None,
        })?;
        let outputs = outputs.iter().map(|output| (output.sink, output.rows.clone())).collect();
        self.0.lock().unwrap().push(Append { epoch: epoch.epoch, incarnation: epoch.incarnation, outputs });
        Some(epoch.epoch)
    }

    fn appends(&self) -> Vec<Append> {
        self.0.lock().unwrap().clone()
    }

    fn of(&self, epoch: Epoch) -> Vec<Append> {
        self.appends().into_iter().filter(|append| append.epoch == epoch).collect()
    }
}

/// What happens to one append.
#[derive(Debug, Clone)]
enum Disturbance {
    Abort,
    /// The outcome is unknown, and nothing was written.
    Lose,
    /// The outcome is unknown, and all was written.
    LoseTheAnswer,
    /// Somebody fenced us and is gone again.
    Fence,
    /// Somebody fenced us and stands in the journal.
    FenceBy(Owner),
    /// As `FenceBy`, but the owner record comes between our first look and our taking over.
    FenceLaterBy(Owner),
}

/// What becomes of an append; `None`: it is written.
type Decide = dyn FnMut(&[Record], &[SinkRows]) -> Option<Disturbance> + Send;

/// A journal in memory, whose appends end as they do in the world.
struct Disturbed {
    journal: MemoryJournal,
    decide: Box<Decide>,
    on_acquire: Option<Owner>,
}

impl Disturbed {
    fn boxed(
        journal: MemoryJournal,
        decide: impl FnMut(&[Record], &[SinkRows]) -> Option<Disturbance> + Send + 'static,
    ) -> Box<dyn Journal> {
        Box::new(Disturbed { journal, decide: Box::new(decide), on_acquire: None })
    }
}

fn away() -> Failure {
    Failure::outside("test.away", "the broker is away")
}

impl Journal for Disturbed {
    fn acquire(&mut self) -> Result<Vec<Record>, Failure> {
        if let Some(owner) = self.on_acquire.take() {
            self.journal.append(&[Record::Owner(owner)], &[])?;
        }
        self.journal.acquire()
    }

    fn read(&mut self) -> Result<Vec<Record>, Failure> {
        self.journal.read()
    }

    fn append(&mut self, records: &[Record], outputs: &[SinkRows]) -> Result<Appended, Failure> {
        match (self.decide)(records, outputs) {
            None => self.journal.append(records, outputs),
            Some(Disturbance::Abort) => Ok(Appended::Aborted(away())),
            Some(Disturbance::Lose) => Ok(Appended::Unknown(away())),
            Some(Disturbance::LoseTheAnswer) => {
                self.journal.append(records, outputs)?;
                Ok(Appended::Unknown(away()))
            }
            Some(Disturbance::Fence) => Ok(Appended::Fenced(away())),
            Some(Disturbance::FenceBy(owner)) => {
                self.journal.append(&[Record::Owner(owner)], &[])?;
                Ok(Appended::Fenced(away()))
            }
            Some(Disturbance::FenceLaterBy(owner)) => {
                self.on_acquire = Some(owner);
                Ok(Appended::Fenced(away()))
            }
        }
    }

    fn trim(&mut self, epoch: Epoch) -> Result<(), Failure> {
        self.journal.trim(epoch)
    }

    fn clear(&mut self) -> Result<(), Failure> {
        self.journal.clear()
    }

    fn describe(&self) -> String {
        "a disturbed memory".into()
    }
}

#[test]
fn i10_an_epoch_is_appended_once_whole_with_the_rows_of_all_transactional_sinks() {
    let stage = Stage::of(EVERYTHING, 2, uneven_rows(2, 400, 40));
    let (journal, log, ended) = stage.disturbed(0, &[]);
    ended.unwrap();
    let appended: Vec<Epoch> = log.appends().iter().map(|append| append.epoch).collect();
    let recorded: Vec<Epoch> = epochs(&journal).iter().map(|epoch| epoch.epoch).collect();
    assert_eq!(appended, recorded);
    for sink in 0..stage.given.plan.sinks.len() {
        let sent: Vec<Written> = log.appends().iter().flat_map(|append| append.rows(sink)).collect();
        assert_eq!(sent, written(&journal.output(sink)));
    }
    assert!(log.appends().iter().any(|append| append.outputs.len() > 3), "several sinks share an append");
}

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
    let options = StartOptions { piece_bytes: Some(piece_bytes), ..StartOptions::default() };
    let clock = ManualClock::at(BEGINNING);
    let mut started = start(&stage.given.plan, Box::new(journal.clone()), options, clock, &Arc::default()).unwrap();
    started.committer.finish().unwrap();
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
    let options = StartOptions::default();
    let refused = start(&fewer.given.plan, Box::new(journal), options, ManualClock::at(BEGINNING), &Arc::default());
    let refused = refused.err().unwrap();
    assert_eq!(refused.code, "refused.source_changed");
    assert!(refused.to_string().contains("it now gives `rows` fewer records than were committed"), "{refused}");
}

fn two_epochs() -> Stage {
    Stage::of(SECONDS, 1, vec![second(1.0), Item::Cut, second(10.0), second(11.0), Item::Cut, second(12.0)])
}

#[test]
fn i11_after_an_abort_the_same_bytes_are_sent_again() {
    let stage = two_epochs();
    let expected = bytes(&stage.run(Variant::default()), stage.given.plan.sinks.len());
    let (journal, log, ended) = stage.disturbed(2, &[Disturbance::Abort, Disturbance::Abort]);
    ended.unwrap();
    let sent = log.of(2);
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|append| *append == sent[0]), "{sent:?}");
    assert_eq!(bytes(&journal, stage.given.plan.sinks.len()), expected);
}

#[test]
fn i11_an_unknown_outcome_is_looked_up_and_the_epoch_sent_again_only_if_it_is_not_there() {
    let stage = two_epochs();
    let sinks = stage.given.plan.sinks.len();
    let (_, expected) = bytes(&stage.run(Variant::default()), sinks);
    for (disturbance, sent) in [(Disturbance::Lose, 2), (Disturbance::LoseTheAnswer, 1)] {
        let (journal, log, ended) = stage.disturbed(2, std::slice::from_ref(&disturbance));
        ended.unwrap();
        assert_eq!(log.of(2).len(), sent, "{disturbance:?}");
        assert_eq!(log.of(2)[0].outputs, log.of(2)[sent - 1].outputs);
        assert_eq!(bytes(&journal, sinks).1, expected, "{disturbance:?}");
    }
}

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

fn newer() -> Owner {
    Owner { incarnation: 7, host: "elsewhere".into(), pid: 4711, instance: "another".into() }
}

#[test]
fn i15_a_fenced_instance_stops_where_a_newer_owner_stands_and_names_it() {
    let stage = two_epochs();
    for disturbance in [Disturbance::FenceBy(newer()), Disturbance::FenceLaterBy(newer())] {
        let (journal, log, ended) = stage.disturbed(2, std::slice::from_ref(&disturbance));
        let refused = ended.unwrap_err();
        assert_eq!(refused.code, "refused.taken_over", "{disturbance:?}");
        assert!(refused.to_string().contains("host elsewhere, pid 4711"), "{refused}");
        assert_eq!((log.of(2).len(), epochs(&journal).len()), (1, 1), "nothing is sent behind a newer owner");
    }
}

#[test]
fn i15_fenced_by_nobody_it_takes_over_with_a_higher_incarnation_and_sends_again() {
    let stage = two_epochs();
    let (_, expected) = bytes(&stage.run(Variant::default()), stage.given.plan.sinks.len());
    let (journal, log, ended) = stage.disturbed(2, &[Disturbance::Fence]);
    ended.unwrap();
    let incarnations = journal.records().into_iter().filter_map(|record| match record {
        Record::Owner(owner) => Some(owner.incarnation),
        _ => None,
    });
    assert_eq!(incarnations.collect::<Vec<_>>(), [1, 2]);
    assert_eq!(log.of(2).len(), 2);
    assert_eq!(bytes(&journal, stage.given.plan.sinks.len()).1, expected);
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
