//! Exactly once at a steady rate: from handing a record to the producer to a reader of committed records having it.
//!
//! A load of [`RATE`] records a second is written to the source topic; each record's key is the time at which it was
//! handed over. One consumer reads the source topic itself (the control: what client and broker take without us), one
//! the sink. All three live in one process, so that they share a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::{Consumer, Producer};
use crate::measure::{Running, ask_self, cpu_of};
use crate::report::medians;
use crate::start::passing_rating;
use crate::work::{Bench, PARTITIONS, Values, strs};

const RATE: u64 = 20_000;
const WARM_UP: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(15);
/// What is on its way when the load ends.
const DRAIN: Duration = Duration::from_secs(2);

pub fn measure(bench: &Bench, runs: usize) -> Result<Values> {
    let mut all = Vec::new();
    for _ in 0..runs {
        bench.fill("bench_ratings", 1_000)?;
        bench.empty("bench_filtered")?;
        let room = bench.room()?;
        let arguments = Bench::arguments("latency.yaml", &[]);
        let running = Running::start(&bench.runner, &strs(&arguments), &room)?;
        let load =
            ["latency-load", &bench.servers.brokers, "bench_ratings", "bench_filtered", &running.pid().to_string()];
        let printed = ask_self(&load)?;
        running.interrupt();
        let used = running.end()?;
        let mut values = Values::new();
        for (name, value) in NAMES.iter().zip(printed.split_whitespace()) {
            values.insert(name, value.parse()?);
        }
        values.insert("peak_mib", (used.rss_bytes >> 20) as f64);
        let shown: Vec<String> = values.iter().map(|(name, value)| format!("{name} {value:.1}")).collect();
        eprintln!("latency: {}", shown.join(", "));
        all.push(values);
    }
    bench.admin.delete("bench_filtered")?;
    Ok(medians(&all))
}

/// What the load prints, in this order.
const NAMES: [&str; 6] = ["p50_ms", "p99_ms", "control_p50_ms", "control_p99_ms", "percent_of_a_core", "records_seen"];

/// `latency-load BROKERS SOURCE SINK PID`
pub fn main(arguments: &[&str]) -> Result<()> {
    let [brokers, source, sink, pid] = arguments else { return Err("latency-load BROKERS SOURCE SINK PID".into()) };
    let pid: u32 = pid.parse()?;
    let value = passing_rating(brokers, source)?;
    let load = Load { epoch: Instant::now(), stop: Arc::default() };
    let ours = load.reader(brokers, sink)?;
    let control = load.reader(brokers, source)?;
    let producer = Producer::open(brokers, source, None, &[("linger.ms", "0")])?;
    let mut cpu = None;
    let mut sent = 0;
    // A step every millisecond; where a step is late the next one catches up.
    while load.epoch.elapsed() < WARM_UP + MEASURED {
        let due = load.epoch.elapsed().as_micros() as u64 * RATE / 1_000_000;
        while sent < due {
            let now = load.epoch.elapsed().as_nanos() as u64;
            producer.send(Some(&now.to_le_bytes()), &value, 1_700_000_000_000 + sent as i64 / 20)?;
            sent += 1;
        }
        if cpu.is_none() && load.epoch.elapsed() >= WARM_UP {
            cpu = Some((Instant::now(), cpu_of(pid)?));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let (since, before) = cpu.ok_or("the load was too short")?;
    let share = (cpu_of(pid)? - before).as_secs_f64() / since.elapsed().as_secs_f64() * 100.0;
    producer.flush()?;
    std::thread::sleep(DRAIN);
    load.stop.store(true, Relaxed);
    let mut ours = joined(ours)?;
    let mut control = joined(control)?;
    if ours.len() != control.len() {
        return Err(format!("{} records came through, {} were written", ours.len(), control.len()).into());
    }
    let [p50, p99] = percentiles(&mut ours);
    let [control_p50, control_p99] = percentiles(&mut control);
    println!("{p50} {p99} {control_p50} {control_p99} {share} {}", ours.len());
    Ok(())
}

type Latencies = std::thread::JoinHandle<Result<Vec<f64>>>;

struct Load {
    /// What times are counted from.
    epoch: Instant,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Reads a topic's new records from now on, until it is stopped: milliseconds of those sent after the warm-up.
    fn reader(&self, brokers: &str, topic: &str) -> Result<Latencies> {
        let mut consumer = Consumer::open(brokers, topic, PARTITIONS, -2)?;
        consumer.read_all(PARTITIONS, |_| Ok(()))?;
        let (epoch, stop) = (self.epoch, self.stop.clone());
        Ok(std::thread::spawn(move || {
            let mut latencies = Vec::new();
            while !stop.load(Relaxed) {
                let mut came = false;
                consumer.take(0, |record| {
                    came = true;
                    let Some(Ok(sent)) = record.key.map(<[u8; 8]>::try_from) else { return Ok(()) };
                    let sent = Duration::from_nanos(u64::from_le_bytes(sent));
                    if sent >= WARM_UP {
                        latencies.push((epoch.elapsed() - sent).as_secs_f64() * 1e3);
                    }
                    Ok(())
                })?;
                if !came {
                    // Looking costs more than a fifth of a millisecond would tell.
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
            Ok(latencies)
        }))
    }
}

fn joined(reader: Latencies) -> Result<Vec<f64>> {
    reader.join().map_err(|_| "a reader panicked")?
}

fn percentiles(latencies: &mut [f64]) -> [f64; 2] {
    latencies.sort_by(f64::total_cmp);
    [50, 99].map(|percent| latencies.get(latencies.len() * percent / 100).copied().unwrap_or(f64::NAN))
}
