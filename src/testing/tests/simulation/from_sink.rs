//! The same weather over pipelines that read off their sink where they go on. The journal says nothing of runs before.
//!
//! The oracle is what each mode promises (docs/exactly-once.md), and looks at no journal at all. *By watermark*, where rows come
//! at most `epsilon` out of order in their partition and none is idle: all rows, or all windows, once each, in the order of
//! (time, partition, offset), or (end, key). *By offsets*: all rows, once each, those of a partition in their order.

use super::outdoors::Tailed;
use super::*;

const EPSILON_MS: Millis = 900;
/// Times are multiples of it, so that many are equal.
const STEP_MS: Millis = 50;

const MODES: [&str; 3] = [
    r#"
  restart: { watermark: { epsilon: 900ms } }
  sources:
    s: { kafka: { topic: in }, format: json, columns: { k: string, x: long }, time: { lag: 1s, idle: never, align: 5s } }
  transforms:
    good: { from: s, where: x % 7 <> 0 }
  sinks:
    out: { from: good, kafka: { topic: out }, format: json }
"#,
    r#"
  restart: { watermark: { epsilon: 900ms } }
  sources:
    s: { kafka: { topic: in }, format: json, columns: { k: string, x: long }, time: { lag: 1s, idle: never, align: 5s } }
  transforms:
    good: { from: s, where: x % 7 <> 0 }
    wins: { from: good, window: { hopping: { size: 2s, every: 1s } }, group_by: [k], aggregate: { c: count(*), total: sum(x) } }
  sinks:
    out: { from: wins, kafka: { topic: out }, format: json }
"#,
    r#"
  restart: offsets
  sources:
    s: { kafka: { topic: in }, format: json, columns: { k: string, x: long }, time: { lag: 1s } }
  transforms:
    good: { from: s, where: x % 7 <> 0 }
  sinks:
    out: { from: good, kafka: { topic: out }, format: json }
"#,
];
const SIZE_MS: Millis = 2_000;
const EVERY_MS: Millis = 1_000;

/// In half of [`SEEDS`] runs.
const FLOORS: &[(&str, usize)] = &[
    ("starts behind what the sink has", 500),
    ("starts before an empty sink", 100),
    ("aborts", 50),
    ("losses", 50),
    ("takeovers", 50),
    ("deaths while reading", 10),
    ("deaths before an append", 20),
    ("deaths behind an append", 20),
    ("cuts in a backlog", 1_000),
    ("cuts past a starved partition", 500),
    ("pauses", 20),
];

#[test]
fn any_weather_leaves_what_a_restart_from_the_sink_promises() {
    over_seeds(2, FLOORS, Modes::new, Modes::run);
}

/// A pipeline of each mode.
struct Modes([(Stage, Tailed); 3]);

impl Modes {
    fn new() -> Modes {
        Modes(MODES.map(|spec| {
            let text = format!("\napiVersion: runner/v1\nkind: Pipeline\nmetadata: {{ name: from-sink }}\nspec:{spec}");
            let sink = Tailed::default();
            let of_plan = sink.clone();
            (Stage::with(&text, PARTITIONS, Vec::new(), |plan| plan.sinks[0].sink = Arc::new(of_plan)), sink)
        }))
    }

    fn run(&mut self, seed: u64) -> Seen {
        let (mode, weather) = (seed as usize % MODES.len(), Weather::of(seed));
        let (stage, sink) = &mut self.0[mode];
        let rows = rows(&weather);
        let journal = MemoryJournal::default();
        sink.begin(&weather, &journal);
        weather.rules(stage, &rows, &journal);
        let written = values(&written(&journal.output(0)));
        let good = good(&rows);
        match mode {
            0 => same("rows", &written, &values_of(&in_order(&good))),
            1 => same("windows", &written, &values_of(&windows(&good))),
            _ => each_once(&written, &good),
        }
        weather.over()
    }
}

/// Partitions of different paces; no row is more than `epsilon` behind one before it, and each has a number of its own.
fn rows(weather: &Weather) -> Vec<Item> {
    let steps = |bound: u64| weather.below(bound) as Millis * STEP_MS;
    let paces: Vec<u64> = (0..PARTITIONS).map(|_| 1 + weather.below(12)).collect();
    let mut newest = vec![0; PARTITIONS as usize];
    let row = |x| {
        let partition = weather.below(PARTITIONS as u64) as usize;
        newest[partition] += steps(paces[partition]);
        let back = if weather.below(2) == 0 { 0 } else { steps((EPSILON_MS / STEP_MS) as u64 + 1) };
        let key = ["a", "b", "c", "d e"][weather.below(4) as usize];
        let record = MemoryRecord {
            timestamp: Some(BEGINNING + newest[partition] - back),
            value: Some(format!("{{\"k\": \"{key}\", \"x\": {x}}}").into_bytes()),
            ..MemoryRecord::default()
        };
        Item::Row { source: 0, partition: partition as Partition, record }
    };
    (1..40 + weather.below(160)).map(row).collect()
}

/// A row that is let through: its time, its partition, its number, which is the order of its offset too, and its key.
type Good = (Millis, Partition, i64, String);

fn good(rows: &[Item]) -> Vec<Good> {
    let of = |row: &Item| {
        let Item::Row { partition, record, .. } = row else { return None };
        let (time, key, x) = oracle::decoded(record)?;
        (x % 7 != 0).then_some((time, *partition, x, key))
    };
    rows.iter().filter_map(of).collect()
}

fn in_order(good: &[Good]) -> Vec<Naive> {
    let mut good = good.to_vec();
    good.sort();
    good.into_iter().map(|(_, _, x, key)| vec![("k", key.into()), ("x", x.into())]).collect()
}

fn windows(good: &[Good]) -> Vec<Naive> {
    let mut windows: BTreeMap<(Millis, &str), (i64, i64)> = BTreeMap::new();
    for (time, _, x, key) in good {
        let first = time.div_euclid(EVERY_MS) * EVERY_MS + EVERY_MS;
        for end in (0..SIZE_MS / EVERY_MS).map(|index| first + index * EVERY_MS) {
            let (count, total) = windows.entry((end, key)).or_default();
            (*count, *total) = (*count + 1, *total + x);
        }
    }
    let row = |((end, key), (count, total)): ((Millis, &str), (i64, i64))| -> Naive {
        vec![("window_end", end.into()), ("k", Value::from(key)), ("c", count.into()), ("total", total.into())]
    };
    windows.into_iter().map(row).collect()
}

fn each_once(written: &[Value], good: &[Good]) {
    let numbers: Vec<i64> = written.iter().map(|row| row["x"].as_i64().unwrap()).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    same("numbers", &sorted, &good.iter().map(|(_, _, x, _)| *x).collect::<Vec<_>>());
    let partition_of: BTreeMap<i64, Partition> = good.iter().map(|(_, partition, x, _)| (*x, *partition)).collect();
    for partition in 0..PARTITIONS {
        let of_partition: Vec<i64> = numbers.iter().copied().filter(|x| partition_of[x] == partition).collect();
        assert!(of_partition.is_sorted(), "partition {partition} comes in its order: {of_partition:?}");
    }
}
