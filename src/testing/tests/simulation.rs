//! The commit path under seeded weather: rows in any batches, cuts anywhere, crashes, aborts, unknown outcomes,
//! fencing by ghosts and by real owners, sinks that fail and dawdle, partitions that bring nothing although they have
//! something, processes that die while they read, replay, append or write a snapshot. One seed is one run on a clock of its own.
//!
//! The oracle is naive and shares no code with the engine: it folds over the journal's epochs (ranges, watermark)
//! and says row by row what every sink must hold, so whatever was cut, there is one right answer (I2, I4, I11, I13).
//! Whether a watermark may be what it is says the lookout, by what lay in the source at that moment (I1, I5).
//!
//! `RUNNER_SIMULATION_SEEDS=10000` runs more of them, `RUNNER_SIMULATION_SEED=17` one again.

mod from_sink;
mod kept;
mod lookout;
mod oracle;
mod outdoors;
mod weather;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use serde_json::Value;

use super::disturbed::{Disturbance, Disturbed, away, died};
use super::*;
use crate::state::Strike;
use lookout::Lookout;
use oracle::{Naive, Oracle};
use outdoors::Outdoors;
use weather::Weather;

const SEEDS: u64 = 1_000;
/// Most of a run is waiting for pauses after disturbances, so many share a core.
const THREADS: usize = 24;
const PARTITIONS: Partition = 4;
/// Processes that die, at most so many in a run, beside those of the script.
const DEATHS_MAX: u64 = 4;
/// Owners that take the journal away and vanish, at most so many in a run.
const RESTARTS_MAX: usize = 6;

const PIPELINE: &str = r#"
apiVersion: runner/v1
kind: Pipeline
metadata: { name: weather }
spec:
  sources:
    s: { kafka: { topic: in }, format: json, columns: { k: string, x: long }, time: { lag: 1s, idle: 300ms, align: 5s } }
  transforms:
    good: { from: s, where: x % 7 <> 0, check: { small: x < 900 } }
    wins:
      from: good
      window: { tumbling: 2s, grace: 500ms }
      group_by: [k]
      aggregate: { c: count(*), total: sum(x), least: min(x) }
      having: c > 1
    ordered: { from: good, sort: { within: 700ms } }
    all: { from: good, group_by: [k], aggregate: { c: count(*), total: sum(x) } }
    coming: { from: good, window: { tumbling: 2s, grace: 500ms }, group_by: [k], aggregate: { c: count(*) }, having: c % 3 <> 2 }
  sinks:
    rows: { from: good, kafka: { topic: rows }, format: json }
    windows: { from: wins, kafka: { topic: windows }, format: json }
    table: { from: all, kafka: { topic: table }, format: json, mode: upsert }
    spaced: { from: all, kafka: { topic: spaced }, format: json, mode: upsert, every: 700ms }
    whole: { from: coming, kafka: { topic: whole }, format: json, mode: complete, every: 300ms }
    late: { from: wins.late, kafka: { topic: late }, format: json }
    unheard: { from: coming.late, kafka: { topic: unheard }, format: json }
    by_time: { from: ordered, kafka: { topic: by_time }, format: json }
    too_late: { from: ordered.late, kafka: { topic: too_late }, format: json }
    remembered: { from: wins, kafka: { topic: remembered }, format: json }
    forgotten: { from: good, kafka: { topic: forgotten }, format: json }
  dead_letter: { kafka: { topic: dead } }
"#;
const LAG_MS: Millis = 1_000;
const GRACE_MS: Millis = 500;
const SORT_MS: Millis = 700;
const WINDOW_MS: Millis = 2_000;
const SPACED_MS: Millis = 700;
const WHOLE_MS: Millis = 300;
const FAR: Millis = 90_000_000;

#[test]
fn any_weather_gives_what_a_naive_computation_gives() {
    over_seeds(1, FLOORS, Simulation::new, Simulation::run);
}

/// Runs one part of the seeds, each in one of many simulations.
fn over_seeds<S>(part: u64, floors: &[(&str, usize)], new: fn() -> S, run: fn(&mut S, u64) -> Seen) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("RUNNER_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RUNNER_SIMULATION_SEEDS").unwrap_or(SEEDS) / part,
    };
    let next = AtomicU64::new(seeds.start);
    let seen = Mutex::new(Seen::default());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut simulation = new();
                loop {
                    let seed = next.fetch_add(1, SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let run = std::panic::AssertUnwindSafe(|| run(&mut simulation, seed));
                    match std::panic::catch_unwind(run) {
                        Ok(of_run) => seen.lock().unwrap().add(&of_run),
                        Err(_) => {
                            next.store(seeds.end, SeqCst);
                            panic!("seed {seed} fails; RUNNER_SIMULATION_SEED={seed} runs it again");
                        }
                    }
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    if seeds.end - seeds.start >= SEEDS / part {
        seen.shows_enough(floors);
    }
}

/// What happened over all runs: a simulation in which the sun always shines proves nothing.
#[derive(Debug, Default)]
struct Seen(BTreeMap<&'static str, usize>);

/// What must have happened at least so often in [`SEEDS`] runs.
const FLOORS: &[(&str, usize)] = &[
    ("epochs", 10_000),
    ("aborts", 50),
    ("losses", 50),
    ("fences", 50),
    ("takeovers", 50),
    ("crashes", 50),
    ("last deaths", 50),
    // In runs in which somebody dies more than once.
    ("further deaths", 50),
    ("deaths while reading", 50),
    ("deaths in a replay", 50),
    ("deaths before an append", 50),
    ("deaths behind an append", 50),
    ("deaths before what is left of an epoch", 20),
    ("deaths behind what is left of an epoch", 20),
    ("deaths before a snapshot's columns", 50),
    ("deaths before a snapshot's manifest", 50),
    ("cuts in a backlog", 5_000),
    ("cuts past a starved partition", 1_000),
    ("watermarks held by a starved partition", 500),
    ("pauses", 50),
    ("failed writes", 50),
    ("repeated", 50),
    ("late", 50),
    ("dead letters", 50),
    ("restored", 50),
    ("failed snapshots", 50),
    ("damaged snapshots", 50),
];

impl Seen {
    fn add(&mut self, other: &Seen) {
        other.0.iter().for_each(|(what, count)| *self.0.entry(what).or_default() += count);
    }

    fn shows_enough(&self, floors: &[(&str, usize)]) {
        println!("{:?}", self.0);
        for (what, least) in floors {
            let count = self.0.get(what).copied().unwrap_or_default();
            assert!(count >= *least, "the weather was too fine: {count} {what} instead of {least}");
        }
    }
}

/// One pipeline, run under one seed after another.
struct Simulation {
    stage: Stage,
    remembered: Outdoors,
    forgotten: Outdoors,
}

impl Simulation {
    fn new() -> Simulation {
        Simulation::of(PIPELINE)
    }

    fn of(text: &str) -> Simulation {
        let (remembered, forgotten) = (Outdoors::new(Delivery::Remembers), Outdoors::new(Delivery::AtLeastOnce));
        let outdoors = [("remembered", remembered.clone()), ("forgotten", forgotten.clone())];
        let stage = Stage::with(text, PARTITIONS, Vec::new(), |plan| {
            for (name, sink) in outdoors {
                plan.sinks.iter_mut().find(|sink| sink.name == name).unwrap().sink = Arc::new(sink);
            }
        });
        Simulation { stage, remembered, forgotten }
    }

    fn run(&mut self, seed: u64) -> Seen {
        let weather = Weather::of(seed);
        let rows = rows(&weather);
        self.remembered.begin(&weather);
        self.forgotten.begin(&weather);
        let journal = MemoryJournal::default();
        weather.rules(&mut self.stage, &rows, &journal);
        self.check(&rows, &journal, &weather);
        weather.over()
    }

    fn check(&self, rows: &[Item], journal: &MemoryJournal, weather: &Weather) {
        let expected = Oracle::of(rows, &epochs(journal));
        let output = |name: &str| values(&written(&journal.output(self.stage.sink(name))));
        same("rows", &output("rows"), &values_of(&expected.rows));
        same("late", &output("late"), &values_of(&expected.late));
        same("sorted", &output("by_time"), &values_of(&expected.by_time));
        same("late for the sort", &output("too_late"), &values_of(&expected.too_late));
        same("windows", &output("windows"), &values_of(&expected.windows));
        assert_eq!(by_key(&output("table")), by_key(&values_of(&expected.table)), "table");
        same("a table each 700 ms", &output("spaced"), &values_of(&expected.spaced));
        same("a whole table each 300 ms", &output("whole"), &values_of(&expected.whole));
        let dead: Vec<Option<Vec<u8>>> =
            written(&journal.output(self.stage.sink("dead_letter"))).into_iter().map(|row| row.value).collect();
        same("dead letters", &dead, &expected.dead);

        let remembered = self.remembered.written.lock().unwrap();
        let told: Vec<Value> = remembered.epochs.iter().flat_map(|(_, rows)| values(rows)).collect();
        assert_eq!(remembered.again, [] as [Epoch; 0], "a sink is given what it lacks");
        same("a sink with a memory", &told, &values_of(&expected.windows));

        let forgotten = self.forgotten.written.lock().unwrap();
        let mut by_epoch: BTreeMap<Epoch, Vec<Value>> = BTreeMap::new();
        let mut repeated = 0;
        for (epoch, rows) in &forgotten.epochs {
            match by_epoch.insert(*epoch, values(rows)) {
                Some(before) if before.is_empty() || rows.is_empty() => {}
                Some(before) => {
                    repeated += 1;
                    assert_eq!(before, by_epoch[epoch], "epoch {epoch} comes again as it was");
                }
                None => {}
            }
        }
        let told: Vec<Value> = by_epoch.into_values().flatten().collect();
        same("a sink without a memory", &told, &values_of(&expected.rows));
        weather.saw("epochs", epochs(journal).len());
        weather.saw("repeated", repeated);
        weather.saw("late", expected.late.len());
        weather.saw("dead letters", expected.dead.len());
    }
}

/// Says where two sequences part, not all that they hold.
#[track_caller]
fn same<T: PartialEq + std::fmt::Debug>(what: &str, actual: &[T], expected: &[T]) {
    let parts = actual.iter().zip(expected).position(|(actual, expected)| actual != expected);
    let parts = parts.or((actual.len() != expected.len()).then(|| actual.len().min(expected.len())));
    if let Some(at) = parts {
        let counts = (actual.len(), expected.len());
        panic!("{what}, {counts:?}: number {at} is {:?} instead of {:?}", actual.get(at), expected.get(at));
    }
}

/// The rows in the order in which they are pushed.
fn rows(weather: &Weather) -> Vec<Item> {
    let count = 40 + weather.below(160);
    let stride = 20 + weather.below(400) as Millis;
    let mut rows = Vec::new();
    for index in 0..count {
        let back = weather.below(if weather.below(30) == 0 { 20_000 } else { 1_500 }) as Millis;
        let time = if weather.below(80) == 0 { FAR } else { index as Millis * stride - back };
        let key = ["a", "b", "c", "d e"][weather.below(4) as usize];
        let value = match weather.below(50) {
            0 => "{\"k\": \"a\", \"x\":".to_owned(),
            1 => format!("{{\"k\": \"{key}\"}}"),
            _ => format!("{{\"k\": \"{key}\", \"x\": {}}}", weather.below(910)),
        };
        let record = MemoryRecord {
            timestamp: Some(BEGINNING + time),
            value: Some(value.into_bytes()),
            ..MemoryRecord::default()
        };
        let partition = weather.below(PARTITIONS as u64) as Partition;
        rows.push(Item::Row { source: 0, partition, record });
    }
    rows
}

/// Values as JSON; of windows their end, as a number.
fn values(rows: &[Written]) -> Vec<Value> {
    let value = |row: &Written| {
        let mut value: Value = serde_json::from_slice(row.value.as_ref().expect("no tombstone")).unwrap();
        let fields = value.as_object_mut().unwrap();
        fields.remove("window_start");
        if let Some(end) = fields.get_mut("window_end") {
            let time = chrono::DateTime::parse_from_rfc3339(end.as_str().unwrap()).unwrap();
            *end = time.timestamp_millis().into();
        }
        value
    };
    rows.iter().map(value).collect()
}

fn values_of(rows: &[Naive]) -> Vec<Value> {
    rows.iter().map(|row| row.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()).collect()
}

/// How each key changed.
fn by_key(rows: &[Value]) -> BTreeMap<String, Vec<Value>> {
    let mut changes: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows {
        changes.entry(row["k"].to_string()).or_default().push(row.clone());
    }
    changes
}
