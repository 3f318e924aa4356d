//! kill -9 of a stateless pipeline with default settings under a steady load: from the kill to the first output of the next
//! process that a reader of committed records sees. That is one of a record that came behind the kill: the dead process
//! cannot have written it.
//!
//! The next process is started at once, as a supervisor would. Its start says how long the brokers took to fence the dead
//! one and to end the transaction that it had left open (`fencing_s`), to commit the owner record (`owner_s`), to tell of
//! groups and topics (`sources_s`); what is left is the process itself and its first epoch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::{Consumer, Producer};
use crate::measure::Running;
use crate::report::medians;
use crate::start::passing_rating;
use crate::started;
use crate::work::{Bench, PARTITIONS, Values, strs};

/// Kills of each run.
const KILLS: u32 = 5;
/// How long it works before it is killed: a little longer each time, so that it is met at different moments.
const WORKS: Duration = Duration::from_secs(3);
const LATER: Duration = Duration::from_millis(137);
const PATIENCE: Duration = Duration::from_secs(60);

pub fn measure(bench: &Bench, runs: usize) -> Result<Values> {
    bench.fill("bench_ratings", 1_000)?;
    bench.empty("bench_filtered")?;
    let room = bench.room()?;
    let load = Load::start(&bench.servers.brokers)?;
    let mut consumer = Consumer::open(&bench.servers.brokers, "bench_filtered", PARTITIONS, -2)?;
    let mut running = Running::start(&bench.runner, &strs(&Bench::arguments("latency.yaml", &[])), &room)?;
    first_output_behind(0, &mut consumer)?;
    let again = Bench::arguments_again("latency.yaml", &["--output", "json"]);
    let mut all = Vec::new();
    for kill in 0..KILLS * runs as u32 {
        let works_until = Instant::now() + WORKS + LATER * kill;
        while Instant::now() < works_until {
            consumer.take(10, |_| Ok(()))?;
        }
        // Dropping it kills it, and waits until it is dead.
        drop(running);
        let (killed, sent) = (Instant::now(), load.sent.load(Relaxed));
        running = Running::start(&bench.runner, &strs(&again), &room)?;
        let seen = first_output_behind(sent, &mut consumer)?;
        let report = started::report(&running)?;
        let mut values = Values::from([("killed_s", (seen - killed).as_secs_f64())]);
        for (name, part) in PARTS {
            values.insert(name, started::part(&report, part)?);
        }
        let shown: Vec<String> = values.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
        eprintln!("killed: {}", shown.join(", "));
        all.push(values);
    }
    running.interrupt();
    running.end()?;
    load.end()?;
    bench.admin.delete("bench_filtered")?;
    let longest = all.iter().map(|values| values["killed_s"]).fold(0.0, f64::max);
    let mut values = medians(&all);
    values.insert("killed_longest_s", longest);
    Ok(values)
}

/// Of the start, by the names that they have there.
const PARTS: [(&str, &str); 6] = [
    ("sinks_s", "sinks_ms"),
    ("journal_s", "journal_ms"),
    ("fencing_s", "fencing_ms"),
    ("owner_s", "owner_ms"),
    ("sources_s", "sources_ms"),
    ("replay_s", "replay_ms"),
];

/// Waits for what became of a record behind this one.
fn first_output_behind(sent: u64, consumer: &mut Consumer) -> Result<Instant> {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = None;
    while seen.is_none() {
        if Instant::now() > deadline {
            return Err("no record came within a minute".into());
        }
        consumer.take(1, |record| {
            let number = record.key.and_then(|key| key.try_into().ok()).map_or(0, u64::from_le_bytes);
            if number > sent {
                seen.get_or_insert_with(Instant::now);
            }
            Ok(())
        })?;
    }
    seen.ok_or_else(|| "it was seen".into())
}

/// A thousand ratings a second, whose keys count them from 1.
struct Load {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Load {
    fn start(brokers: &str) -> Result<Load> {
        let value = passing_rating(brokers, "bench_ratings")?;
        let producer = Producer::open(brokers, "bench_ratings", None, &[("linger.ms", "0")])?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), sent.clone());
        let work = move || {
            while !stopped.load(Relaxed) {
                let number = counted.fetch_add(1, Relaxed) + 1;
                producer.send(Some(&number.to_le_bytes()), &value, 1_700_000_000_000 + number as i64)?;
                std::thread::sleep(Duration::from_millis(1));
            }
            producer.flush()
        };
        Ok(Load { sent, stop, thread: std::thread::spawn(work) })
    }

    fn end(self) -> Result<()> {
        self.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| "the load panicked")?
    }
}
