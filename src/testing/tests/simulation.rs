//! The commit path under seeded weather: rows in any batches, cuts anywhere, crashes, aborts, unknown outcomes,
//! fencing by ghosts and by real owners, sinks that fail and dawdle. One seed is one run on a clock of its own.
//!
//! The oracle is naive and shares no code with the engine: it folds over the journal's epochs (ranges, watermark)
//! and says row by row what every sink must hold, so whatever was cut, there is one right answer (I2, I4, I11, I13).
//!
//! `RUNNER_SIMULATION_SEEDS=10000` runs more of them, `RUNNER_SIMULATION_SEED=17` one again.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use serde_json::Value;

use super::disturbed::{Disturbance, Disturbed, away};
use super::*;

const SEEDS: u64 = 1_000;
/// Most of a run is waiting for pauses after disturbances, so many share a core.
const THREADS: usize = 24;
const PARTITIONS: Partition = 4;
/// Owners that take the journal away and vanish, at most so many in a run.
const RESTARTS_MAX: usize = 6;

const PIPELINE: &str = r#"
apiVersion: runner/v1
kind: Pipeline
metadata: { name: weather }
spec:
  sources:
    s: { kafka: { topic: in }, format: json, columns: { k: string, x: long }, time: { lag: 1s, idle: 300ms } }
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
const GRACE_MS: Millis = 500;
const SORT_MS: Millis = 700;
const WINDOW_MS: Millis = 2_000;
const SPACED_MS: Millis = 700;
const WHOLE_MS: Millis = 300;
const FAR: Millis = 90_000_000;

#[test]
fn any_weather_gives_what_a_naive_computation_gives() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("RUNNER_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RUNNER_SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let next = AtomicU64::new(seeds.start);
    let seen = Mutex::new(Seen::default());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut simulation = Simulation::new();
                loop {
                    let seed = next.fetch_add(1, SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| simulation.run(seed)));
                    match run {
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
    if seeds.end - seeds.start >= SEEDS {
        seen.shows_enough();
    }
}

/// What happened over all runs: a simulation in which the sun always shines proves nothing.
#[derive(Debug, Default)]
struct Seen {
    epochs: usize,
    aborts: usize,
    losses: usize,
    fences: usize,
    takeovers: usize,
    crashes: usize,
    failed_writes: usize,
    repeated: usize,
    late: usize,
    dead: usize,
    restored: usize,
    failed_snapshots: usize,
    damaged_snapshots: usize,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        let Seen { epochs, aborts, losses, fences, takeovers, crashes, failed_writes, repeated, late, dead, .. } =
            other;
        self.restored += other.restored;
        self.failed_snapshots += other.failed_snapshots;
        self.damaged_snapshots += other.damaged_snapshots;
        self.epochs += epochs;
        self.aborts += aborts;
        self.losses += losses;
        self.fences += fences;
        self.takeovers += takeovers;
        self.crashes += crashes;
        self.failed_writes += failed_writes;
        self.repeated += repeated;
        self.late += late;
        self.dead += dead;
    }

    fn shows_enough(&self) {
        println!("{self:?}");
        let Seen { epochs, aborts, losses, fences, takeovers, crashes, failed_writes, repeated, late, dead, .. } =
            *self;
        let Seen { restored, failed_snapshots, damaged_snapshots, .. } = *self;
        let of_journal = [aborts, losses, fences, takeovers, crashes];
        let of_sinks = [failed_writes, repeated, late, dead];
        let of_snapshots = [restored, failed_snapshots, damaged_snapshots];
        let least = of_journal.into_iter().chain(of_sinks).chain(of_snapshots).min();
        assert!(epochs > 10_000 && least > Some(50), "the weather was too fine: {self:?}");
    }
}

/// The weather, shared by all instances of a run.
#[derive(Debug, Clone)]
struct Weather {
    random: Arc<Mutex<Uneven>>,
    seen: Arc<Mutex<Seen>>,
    /// Owners that may still come.
    owners_left: Arc<AtomicU64>,
}

impl Weather {
    fn of(seed: u64) -> Weather {
        let random = Uneven(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D);
        Weather {
            random: Arc::new(Mutex::new(random)),
            seen: Arc::default(),
            owners_left: Arc::new(AtomicU64::new(RESTARTS_MAX as u64 / 2)),
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap().below(bound)
    }

    fn saw(&self, what: impl FnOnce(&mut Seen)) {
        what(&mut self.seen.lock().unwrap());
    }

    /// Somewhere snapshots are kept, but not always.
    fn exposed_store(&self) -> Arc<Store> {
        let (store, weather) = (Store::in_memory().unwrap(), self.apart());
        store.disturb(move |name| {
            let strikes = name.contains('/') && weather.below(12) == 0;
            weather.saw(|seen| seen.failed_snapshots += usize::from(strikes));
            strikes
        });
        Arc::new(store)
    }

    /// The newest of two snapshots may be damaged when a run begins: the other one is there for that.
    fn damage(&self, store: &Store) {
        let lineages = store.list("").unwrap().folders;
        let objects: Vec<String> = lineages.iter().flat_map(|folder| store.list(folder).unwrap().objects).collect();
        let is_manifest = |name: &&String| name.ends_with(".json");
        let mut manifests: Vec<&String> = objects.iter().filter(is_manifest).collect();
        manifests.sort();
        let Some(newest) = manifests.last().filter(|_| manifests.len() > 1 && self.below(3) == 0) else { return };
        let stem = newest.trim_end_matches(".json");
        let hit = |name: &&String| name.starts_with(stem) && (self.below(2) == 0 || is_manifest(name));
        let Some(hit) = objects.iter().find(hit) else { return };
        let mut bytes = store.read(hit).unwrap().unwrap();
        if bytes.is_empty() {
            return;
        }
        let at = self.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << self.below(8);
        store.overwrite(hit, bytes);
        self.saw(|seen| seen.damaged_snapshots += 1);
    }

    /// The same with draws of its own: what happens when a sink's thread is so far must not change what happens to the
    /// journal.
    fn apart(&self) -> Weather {
        Weather { random: Arc::new(Mutex::new(Uneven(self.below(u64::from(u32::MAX))))), ..self.clone() }
    }

    /// What becomes of an append.
    fn disturbance(&self) -> Option<Disturbance> {
        let owner = || Owner {
            incarnation: 1_000 + self.below(1_000_000),
            host: "elsewhere".into(),
            pid: 1,
            instance: "ghost".into(),
        };
        let mut seen = self.seen.lock().unwrap();
        let disturbance = match self.below(60) {
            0..=2 => Disturbance::Abort,
            3 | 4 => Disturbance::Lose,
            5 | 6 => Disturbance::LoseTheAnswer,
            7 => Disturbance::Fence,
            8 if self.owners_left.load(SeqCst) > 0 => {
                self.owners_left.fetch_sub(1, SeqCst);
                seen.takeovers += 1;
                if self.below(2) == 0 { Disturbance::FenceBy(owner()) } else { Disturbance::FenceLaterBy(owner()) }
            }
            _ => return None,
        };
        match disturbance {
            Disturbance::Abort => seen.aborts += 1,
            Disturbance::Lose | Disturbance::LoseTheAnswer => seen.losses += 1,
            Disturbance::Fence => seen.fences += 1,
            Disturbance::FenceBy(_) | Disturbance::FenceLaterBy(_) => {}
        }
        Some(disturbance)
    }
}

/// A sink outside of the journal's transaction that fails and dawdles. What it wrote stays, also where it
/// said that it could not.
#[derive(Debug, Clone)]
struct Outdoors {
    delivery: Delivery,
    weather: Arc<Mutex<Weather>>,
    written: Arc<Mutex<Outside>>,
}

#[derive(Debug, Default)]
struct Outside {
    progress: Option<SinkProgress>,
    /// In the order of writing.
    epochs: Vec<(Epoch, Vec<Written>)>,
    writer: u64,
    /// Epochs that a new writer was given although they were there.
    again: Vec<Epoch>,
}

impl Outdoors {
    fn new(delivery: Delivery) -> Outdoors {
        Outdoors { delivery, weather: Arc::new(Mutex::new(Weather::of(0))), written: Arc::default() }
    }

    fn begin(&self, weather: &Weather) {
        *self.weather.lock().unwrap() = weather.apart();
        let mut written = self.written.lock().unwrap();
        *written = Outside { writer: written.writer + 1, ..Outside::default() };
    }
}

impl Sink for Outdoors {
    fn connector(&self) -> &'static str {
        "outdoors"
    }

    fn delivery(&self) -> Delivery {
        self.delivery
    }

    fn open(&self) -> Result<Box<dyn Writer>, Failure> {
        let mut written = self.written.lock().unwrap();
        written.writer += 1;
        let had = written.progress.as_ref().map_or(0, |progress| progress.epoch);
        Ok(Box::new(OutdoorsWriter { of: self.clone(), writer: written.writer, had }))
    }
}

struct OutdoorsWriter {
    of: Outdoors,
    writer: u64,
    /// What was there when it began.
    had: Epoch,
}

impl Writer for OutdoorsWriter {
    fn progress(&self) -> Option<SinkProgress> {
        self.of.written.lock().unwrap().progress.clone()
    }

    fn write(&mut self, lineage: &str, epochs: &[EpochRows]) -> Result<(), Failure> {
        let weather = self.of.weather.lock().unwrap().clone();
        let (fails_before, fails_after) = (weather.below(30) == 0, weather.below(30) == 0);
        if weather.below(10) == 0 {
            std::thread::sleep(Duration::from_millis(weather.below(4)));
        }
        let mut written = self.of.written.lock().unwrap();
        if written.writer != self.writer {
            return Err(Failure::outside("test.dead", "this process is dead").no_retry());
        }
        if fails_before || fails_after {
            weather.saw(|seen| seen.failed_writes += 1);
        }
        if fails_before {
            return Err(away());
        }
        for given in epochs {
            let epoch = &given.epoch;
            let remembers = self.of.delivery == Delivery::Remembers;
            let known = written.progress.as_ref().is_some_and(|progress| progress.epoch >= *epoch);
            if *epoch <= self.had {
                written.again.push(*epoch);
            }
            if remembers && known {
                continue;
            }
            let rows: Vec<EncodedRows> = given.runs().cloned().collect();
            written.epochs.push((*epoch, self::written(&rows)));
            if remembers {
                written.progress = Some(SinkProgress { lineage: lineage.to_owned(), epoch: *epoch });
            }
        }
        if fails_after { Err(away()) } else { Ok(()) }
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
        let (remembered, forgotten) = (Outdoors::new(Delivery::Remembers), Outdoors::new(Delivery::AtLeastOnce));
        let outdoors = [("remembered", remembered.clone()), ("forgotten", forgotten.clone())];
        let stage = Stage::with(PIPELINE, PARTITIONS, Vec::new(), |plan| {
            for (name, sink) in outdoors {
                plan.sinks.iter_mut().find(|sink| sink.name == name).unwrap().sink = Arc::new(sink);
            }
        });
        Simulation { stage, remembered, forgotten }
    }

    fn run(&mut self, seed: u64) -> Seen {
        let weather = Weather::of(seed);
        let (rows, script) = script(&weather);
        let journal = MemoryJournal::default();
        self.remembered.begin(&weather);
        self.forgotten.begin(&weather);
        let crash = match weather.below(4) {
            0 => Some(CrashAt::Before(1 + weather.below(12))),
            1 => Some(CrashAt::After(1 + weather.below(12))),
            _ => None,
        };
        let mut variant = Variant {
            lanes: 1 + weather.below(3) as usize,
            poll_rows: weather.below(20) as usize,
            // Some runs commit a record or a few at a time, in continuations (I10).
            piece_bytes: if weather.below(3) == 0 { 1 + weather.below(800) as usize } else { 0 },
            snapshots_ms: match weather.below(4) {
                0 => None,
                1 | 2 => Some(0),
                _ => Some(weather.below(1_000) as Millis),
            },
            crash,
        };
        weather.saw(|seen| {
            let scripted = script.iter().filter(|item| **item == Item::Crash).count();
            seen.crashes += scripted + usize::from(crash.is_some());
        });
        self.stage.given.script = script;
        let store = weather.exposed_store();
        for _ in 0..=RESTARTS_MAX {
            let (exposed, shelf, of_shelf) = (weather.clone(), store.clone(), weather.apart());
            let open = move |journal: MemoryJournal| -> Box<dyn Journal> {
                let weather = exposed.clone();
                of_shelf.damage(&shelf);
                Disturbed::boxed(journal, move |records, _| {
                    let hit = records.iter().any(|record| matches!(record, Record::Epoch(_) | Record::Progress { .. }));
                    hit.then(|| weather.disturbance()).flatten()
                })
            };
            match run_with(&self.stage.given, variant, &journal, store.clone(), &open) {
                Ok(starts) => {
                    weather.saw(|seen| seen.restored += starts.restored);
                    self.check(&rows, &journal, &weather);
                    return std::mem::take(&mut *weather.seen.lock().unwrap());
                }
                Err(failure) => assert_eq!(failure.code, "refused.taken_over", "{failure}"),
            }
            // Whoever took over is gone again. This start finds the rows as they were, and a clock that was set back.
            variant = Variant { crash: None, lanes: 1 + weather.below(4) as usize, ..variant };
            self.stage.given.script = rows.to_vec();
        }
        panic!("more owners came than may");
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
        weather.saw(|seen| {
            seen.epochs += epochs(journal).len();
            seen.repeated += repeated;
            seen.late += expected.late.len();
            seen.dead += expected.dead.len();
        });
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

/// The rows in the order in which they are pushed, and the same among cuts, waits and crashes.
fn script(weather: &Weather) -> (Vec<Item>, Vec<Item>) {
    let count = 40 + weather.below(160);
    let stride = 20 + weather.below(400) as Millis;
    let (mut rows, mut script) = (Vec::new(), Vec::new());
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
        let row = Item::Row { source: 0, partition: weather.below(PARTITIONS as u64) as Partition, record };
        rows.push(row.clone());
        script.push(row);
        match weather.below(60) {
            0..=5 => script.push(Item::Cut),
            6 => script.push(Item::Wait(weather.below(1_500) as Millis)),
            7 => script.push(Item::Crash),
            _ => {}
        }
    }
    (rows, script)
}

/// What every sink must hold, in order.
#[derive(Debug, Default)]
struct Oracle {
    rows: Vec<Naive>,
    late: Vec<Naive>,
    by_time: Vec<Naive>,
    too_late: Vec<Naive>,
    windows: Vec<Naive>,
    table: Vec<Naive>,
    spaced: Vec<Naive>,
    whole: Vec<Naive>,
    dead: Vec<Option<Vec<u8>>>,
}

/// A row of output: what JSON has it as.
type Naive = Vec<(&'static str, Value)>;

impl Oracle {
    fn of(rows: &[Item], epochs: &[EpochRecord]) -> Oracle {
        let mut log: BTreeMap<Partition, Vec<&MemoryRecord>> = BTreeMap::new();
        for row in rows {
            let Item::Row { partition, record, .. } = row else { continue };
            log.entry(*partition).or_default().push(record);
        }
        let mut oracle = Oracle::default();
        let mut read: BTreeMap<Partition, i64> = BTreeMap::new();
        let mut open: BTreeMap<(Millis, String), (i64, i64, i64)> = BTreeMap::new();
        let mut totals: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        // Of the tables that are written now and then: what has changed since, and the counts of windows.
        let mut unwritten = std::collections::BTreeSet::new();
        let mut coming: BTreeMap<(Millis, String), i64> = BTreeMap::new();
        let mut has_changed = false;
        // What waits for its time: time, partition, offset.
        let mut waiting: BTreeMap<(Millis, Partition, i64), Naive> = BTreeMap::new();
        let (mut in_force, mut clock, mut epoch) = (Watermark::NONE, Millis::MIN, 0);
        for record in epochs {
            assert_eq!(record.epoch, epoch + 1, "epochs are consecutive");
            assert!(record.watermark >= in_force && record.clock >= clock, "time goes back in epoch {}", record.epoch);
            let is_due = |every: Millis| {
                let passed = clock != Millis::MIN && clock.div_euclid(every) < record.clock.div_euclid(every);
                (passed || record.ended) && record.continues.is_none()
            };
            let (spaced_due, whole_due) = (is_due(SPACED_MS), is_due(WHOLE_MS));
            let shown = |c: i64| c % 3 != 2;
            let mut counted: BTreeMap<(Millis, String), i64> = BTreeMap::new();
            (epoch, clock) = (record.epoch, record.clock);
            let mut changed = std::collections::BTreeSet::new();
            for (name, range) in &record.partitions["s"] {
                let partition = name.number;
                let at = read.entry(partition).or_default();
                assert_eq!(range.from.as_offset(), Some(*at), "partition {partition} goes on where it was");
                *at = range.to.as_offset().unwrap();
                let records = &log.get(&partition).map_or(&[][..], Vec::as_slice);
                for offset in range.from.as_offset().unwrap()..*at {
                    let record = records[offset as usize];
                    let Some((time, key, x)) = decoded(record) else {
                        oracle.dead.push(record.value.clone());
                        continue;
                    };
                    if x % 7 == 0 {
                        continue;
                    }
                    if x >= 900 {
                        oracle.dead.push(record.value.clone());
                        continue;
                    }
                    let row = || vec![("k", key.clone().into()), ("x", x.into())];
                    oracle.rows.push(row());
                    let total = totals.entry(key.clone()).or_default();
                    *total = (total.0 + 1, total.1 + x);
                    changed.insert(key.clone());
                    if in_force.time().is_some_and(|watermark| time + SORT_MS < watermark) {
                        let mut late = row();
                        late.push(("_reason", "rows of its time had left".into()));
                        oracle.too_late.push(late);
                    } else {
                        waiting.insert((time, partition, offset), row());
                    }
                    let end = time.div_euclid(WINDOW_MS) * WINDOW_MS + WINDOW_MS;
                    if in_force.time().is_some_and(|watermark| end + GRACE_MS <= watermark) {
                        let mut late = row();
                        late.push(("_reason", "its window had closed".into()));
                        oracle.late.push(late);
                        continue;
                    }
                    *counted.entry((end, key.clone())).or_default() += 1;
                    let window = open.entry((end, key.clone())).or_insert((0, 0, i64::MAX));
                    *window = (window.0 + 1, window.1 + x, window.2.min(x));
                }
            }
            for key in changed {
                let (c, total) = totals[&key];
                unwritten.insert(key.clone());
                oracle.table.push(vec![("k", key.into()), ("c", c.into()), ("total", total.into())]);
            }
            if spaced_due {
                for key in std::mem::take(&mut unwritten) {
                    let (c, total) = totals[&key];
                    oracle.spaced.push(vec![("k", key.into()), ("c", c.into()), ("total", total.into())]);
                }
            }
            for (window, more) in counted {
                let c = coming.entry(window).or_default();
                // What is held back before and behind is no change that anybody sees.
                has_changed |= shown(*c + more) || (*c > 0 && shown(*c));
                *c += more;
            }
            in_force = record.watermark;
            if whole_due && std::mem::take(&mut has_changed) {
                for ((end, key), c) in coming.iter().filter(|(_, c)| shown(**c)) {
                    let (end, key) = (*end, key.clone());
                    oracle.whole.push(vec![("window_end", end.into()), ("k", key.into()), ("c", (*c).into())]);
                }
            }
            if !has_changed {
                coming.retain(|(end, _), _| in_force.time().is_none_or(|watermark| end + GRACE_MS > watermark));
            }
            while let Some(entry) = waiting.first_entry() {
                let (time, ..) = *entry.key();
                if in_force.time().is_none_or(|watermark| time + SORT_MS >= watermark) {
                    break;
                }
                oracle.by_time.push(entry.remove());
            }
            while let Some(entry) = open.first_entry() {
                let (end, key) = entry.key().clone();
                if in_force.time().is_none_or(|watermark| end + GRACE_MS > watermark) {
                    break;
                }
                let (c, total, least) = entry.remove();
                if c > 1 {
                    oracle.windows.push(vec![
                        ("window_end", end.into()),
                        ("k", key.into()),
                        ("c", c.into()),
                        ("total", total.into()),
                        ("least", least.into()),
                    ]);
                }
            }
        }
        assert!(open.is_empty() && waiting.is_empty(), "the end closes every window, and lets every row out");
        for (partition, records) in &log {
            let read = read.get(partition).copied().unwrap_or(0);
            assert_eq!(read, records.len() as i64, "partition {partition} was read to its end");
        }
        oracle
    }
}

/// Event time, key and number of a record that is one.
fn decoded(record: &MemoryRecord) -> Option<(Millis, String, i64)> {
    let value: Value = serde_json::from_slice(record.value.as_ref()?).ok()?;
    let time = record.timestamp.filter(|time| *time < BEGINNING + FAR)?;
    Some((time, value.get("k")?.as_str()?.to_owned(), value.get("x")?.as_i64()?))
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
