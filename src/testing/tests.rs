//! The invariants of an epoch and its commit, each by its number, on whole plans: the plan's own
//! decoders, steps and encoders, the engine's lanes, trunk, coordinator, committer and recovery, a
//! journal in memory that may fail in the ways of a real one.

mod added;
mod changed;
mod disturbed;
mod order;
mod pieces;
mod pressure;
mod records;
mod remembering;
mod resets;
mod restarts;
mod simulation;
mod snapshots;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::case::TestWorld;
use super::drive::{BEGINNING, CrashAt, DIED, Given, Item, Variant, run_on, run_with};
use crate::connectors::memory::{MemoryJournal, MemoryRecord, MemorySink, MemorySource};
use crate::connectors::{Delivery, EpochRows, Sink, SinkProgress, Wanted, Writer};
use crate::data::{EncodedRecord, EncodedRows, Epoch, Partition};
use crate::engine::start::{SnapshotPlace, StartOptions, start};
use crate::journal::{Appended, EpochRecord, Journal, Owner, Record, SinkRows};
use crate::plan::{Plan, build};
use crate::report::{Failure, Style, render};
use crate::spec::{self, Values};
use crate::state::Store;
use crate::time::{ManualClock, Millis, Watermark};

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
    world: TestWorld,
}

impl Stage {
    fn of(text: &str, partitions: Partition, script: Vec<Item>) -> Stage {
        Stage::with(text, partitions, script, |_| {})
    }

    fn with(text: &str, partitions: Partition, script: Vec<Item>, change: impl FnOnce(&mut Plan)) -> Stage {
        let world = TestWorld::new();
        let mut plan = planned(text, &world);
        let sources: Vec<MemorySource> =
            plan.sources.iter().map(|source| MemorySource::new(&source.name, partitions)).collect();
        for (source, memory) in plan.sources.iter_mut().zip(&sources) {
            source.source = Arc::new(memory.clone());
            source.wanted = Wanted { keys: true, headers: true, ..Wanted::default() };
        }
        plan.sinks.iter_mut().for_each(|sink| sink.sink = Arc::new(MemorySink));
        change(&mut plan);
        Stage { given: Given { plan: Arc::new(plan), sources, script, changes: Vec::new(), told: None }, world }
    }

    /// At the next `Change` of the script the spec is this. It reads what it read, under the same names.
    fn changing_to(mut self, text: &str, accept_reset: &[&str]) -> Stage {
        let mut plan = planned(text, &self.world);
        for source in &mut plan.sources {
            let index = self.given.plan.sources.iter().position(|before| before.name == source.name);
            source.source = Arc::new(self.given.sources[index.expect("no source is new")].clone());
            source.wanted = Wanted { keys: true, headers: true, ..Wanted::default() };
        }
        plan.sinks.iter_mut().for_each(|sink| sink.sink = Arc::new(MemorySink));
        let accept_reset = accept_reset.iter().map(|step| (*step).to_owned()).collect();
        self.given.changes.push((Arc::new(plan), accept_reset));
        self
    }

    fn sink(&self, name: &str) -> usize {
        self.given.plan.sinks.iter().position(|sink| sink.name == name).unwrap()
    }

    /// What the sinks hold, without reasons in words: that of a time that is too far ahead says how far, and an epoch
    /// that is read anew has another clock.
    fn told(&self, journal: &MemoryJournal) -> Vec<Vec<Written>> {
        let told = |mut row: Written| {
            row.headers.retain(|(name, _)| !name.ends_with(b".message"));
            row
        };
        let sinks = 0..self.given.plan.sinks.len();
        sinks.map(|sink| written(&journal.output(sink)).into_iter().map(told).collect()).collect()
    }

    fn assert_same(&self, actual: &[Vec<Written>], expected: &[Vec<Written>], what: &str) {
        for (sink, (actual, expected)) in actual.iter().zip(expected).enumerate() {
            let different = actual.iter().zip(expected).find(|(actual, expected)| actual != expected);
            let (name, counts) = (&self.given.plan.sinks[sink].name, (actual.len(), expected.len()));
            assert!(actual == expected, "`{name}`, {what}: {counts:?} rows, {different:?}");
        }
    }

    /// The journal after a run.
    fn run(&self, variant: Variant) -> MemoryJournal {
        let journal = MemoryJournal::default();
        run_on(&self.given, variant, &journal, &|journal| Box::new(journal)).unwrap();
        journal
    }
}

/// The plan of a spec of one pipeline, its schemas registered.
fn planned(text: &str, world: &TestWorld) -> Plan {
    let (documents, found) = spec::load_text("test.yaml", text, &Values::default());
    assert!(!found.has_errors(), "{}", render(&found, Style::Plain));
    let (mut plans, found) = build(&documents, Path::new("."), world);
    assert!(!found.has_errors(), "{}", render(&found, Style::Plain));
    let plan = plans.remove(0);
    for subject in &plan.outline.subjects {
        let registered = subject.registry.as_ref().unwrap().register(&subject.subject, &subject.schema);
        subject.id.set(registered.unwrap()).unwrap();
    }
    plan
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
    journal.history().into_iter().filter_map(epoch).collect()
}

fn bytes(journal: &MemoryJournal, sinks: usize) -> (Vec<String>, Vec<Vec<Written>>) {
    let records = epochs(journal).into_iter().map(|epoch| serde_json::to_string(&epoch).unwrap()).collect();
    (records, (0..sinks).map(|sink| written(&journal.output(sink))).collect())
}
