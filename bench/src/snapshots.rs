//! What snapshots cost: a windows pipeline with one every 30 s beside the same without any, at a steady rate.
//!
//! Event times are the wall clock's, so a row of a window is late by the time from the window's end to a reader of committed
//! records having it. CPU is that of the process between warm-up and end. Both turns write and read the same load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Result;
use crate::client::{Consumer, Producer};
use crate::measure::{Running, cpu_of};
use crate::report::medians;
use crate::started;
use crate::work::{Bench, PARTITIONS, Values, strs};

const RATE: u64 = 20_000;
const WARM_UP: Duration = Duration::from_secs(10);
const VIEWERS: u64 = 1_000_000;
/// `every` and `target` of the two turns.
const TURNS: [(&str, &str); 2] = [("30s", "5s"), ("30d", "30d")];

pub fn measure(bench: &Bench, runs: usize, seconds: u64) -> Result<Values> {
    let mut all = Vec::new();
    for _ in 0..runs {
        let [with, without] = TURNS.map(|turn| Turn::measure(bench, turn, Duration::from_secs(seconds)));
        let (with, without) = (with?, without?);
        if with.snapshots == 0.0 || without.snapshots > 0.0 {
            let counts = (with.snapshots, without.snapshots);
            return Err(format!("{counts:?} snapshots were taken in the two turns: `--seconds` is too short").into());
        }
        let values = Values::from([
            ("cpu_percent_of_a_core", with.cpu_percent),
            ("without_cpu_percent_of_a_core", without.cpu_percent),
            ("cpu_percent_more", (with.cpu_percent / without.cpu_percent - 1.0) * 100.0),
            ("p50_ms", with.p50_ms),
            ("without_p50_ms", without.p50_ms),
            ("p99_ms", with.p99_ms),
            ("without_p99_ms", without.p99_ms),
            ("snapshots", with.snapshots),
        ]);
        let shown: Vec<String> = values.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
        eprintln!("snapshots: {}", shown.join(", "));
        all.push(values);
    }
    TOPICS.into_iter().try_for_each(|topic| bench.admin.delete(topic))?;
    Ok(medians(&all))
}

const TOPICS: [&str; 3] = ["bench_events", "bench_windows", "bench_none"];

/// One of the two.
struct Turn {
    cpu_percent: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Beside the one of the stop.
    snapshots: f64,
}

impl Turn {
    fn measure(bench: &Bench, (every, target): (&str, &str), measured: Duration) -> Result<Turn> {
        TOPICS.into_iter().try_for_each(|topic| bench.empty(topic))?;
        let room = bench.room()?;
        let (every, target) = (format!("every={every}"), format!("target={target}"));
        let more = ["--set", &every, "--set", &target, "--output", "json"];
        let running = Running::start(&bench.runner, &strs(&Bench::arguments("snapshots.yaml", &more)), &room)?;
        started::report(&running)?;
        let begun = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let reader = reader(&bench.servers.brokers, begun + WARM_UP, stop.clone())?;
        let cpu_percent = load(&bench.servers.brokers, begun, measured, running.pid())?;
        stop.store(true, Relaxed);
        let mut late = reader.join().map_err(|_| "the reader panicked")??;
        late.sort_by(f64::total_cmp);
        let percentile = |percent: usize| late.get(late.len() * percent / 100).copied().unwrap_or(f64::NAN);
        running.interrupt();
        let log = room.join("said.log");
        running.end()?;
        let snapshots = started::total(&std::fs::read_to_string(log)?, "snapshots")?;
        let (p50_ms, p99_ms) = (percentile(50), percentile(99));
        Ok(Turn { cpu_percent, p50_ms, p99_ms, snapshots: (snapshots - 1.0).max(0.0) })
    }
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1e3)
}

/// Writes the load; gives the share of a core that the process took behind the warm-up.
fn load(brokers: &str, begun: Instant, measured: Duration, pid: u32) -> Result<f64> {
    let producer = Producer::open(brokers, "bench_events", None, &[("linger.ms", "0")])?;
    let (mut sent, mut cpu) = (0, None);
    // A step every millisecond; where a step is late the next one catches up.
    while begun.elapsed() < WARM_UP + measured {
        let due = begun.elapsed().as_micros() as u64 * RATE / 1_000_000;
        let time = now_ms() as i64;
        while sent < due {
            // Far apart, and each of them at some time.
            let viewer = sent * 7_919 % VIEWERS;
            let value = format!("{{\"brand\":\"b{}\",\"viewer\":{viewer}}}", sent % 20);
            producer.send(Some(&viewer.to_le_bytes()), value.as_bytes(), time)?;
            sent += 1;
        }
        if cpu.is_none() && begun.elapsed() >= WARM_UP {
            cpu = Some((Instant::now(), cpu_of(pid)?));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let (since, before) = cpu.ok_or("the load was too short")?;
    let share = (cpu_of(pid)? - before).as_secs_f64() / since.elapsed().as_secs_f64() * 100.0;
    producer.flush()?;
    Ok(share)
}

type Lateness = std::thread::JoinHandle<Result<Vec<f64>>>;

/// Reads the windows until it is stopped: by how many milliseconds each row came behind its window's end.
fn reader(brokers: &str, from: Instant, stop: Arc<AtomicBool>) -> Result<Lateness> {
    let mut consumer = Consumer::open(brokers, "bench_windows", PARTITIONS, -2)?;
    Ok(std::thread::spawn(move || {
        let mut late = Vec::new();
        while !stop.load(Relaxed) {
            let mut came = false;
            consumer.take(0, |record| {
                came = true;
                if Instant::now() >= from {
                    // A row's timestamp is the last millisecond of its window.
                    late.push(now_ms() - (record.timestamp + 1) as f64);
                }
                Ok(())
            })?;
            if !came {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        Ok(late)
    }))
}
