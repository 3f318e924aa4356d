//! From the start of the process to the first record that a reader of committed records sees.
//!
//! The topics exist; the pipeline's journal does not the first time, and does the second time.

use std::time::{Duration, Instant};

use crate::Result;
use crate::client::{Consumer, Producer};
use crate::measure::Running;
use crate::report::medians;
use crate::work::{Bench, PARTITIONS, Values, strs};

const PATIENCE: Duration = Duration::from_secs(30);

pub fn measure(bench: &Bench, runs: usize) -> Result<Values> {
    bench.fill("bench_ratings", 1_000)?;
    let mut all = Vec::new();
    for _ in 0..runs {
        bench.empty("bench_filtered")?;
        let room = bench.room()?;
        let arguments = Bench::arguments("filter.yaml", &[]);
        let first = visible(bench, &arguments, &room)?;
        // The second time it goes on where it was, so there must be something new.
        let again = Bench::arguments_again("filter.yaml", &[]);
        let producer = Producer::open(&bench.servers.brokers, "bench_ratings", None, &[])?;
        let value = passing_rating(&bench.servers.brokers, "bench_ratings")?;
        (0..100).try_for_each(|_| producer.send(None, &value, 1_700_000_000_000))?;
        producer.flush()?;
        let second = visible(bench, &again, &room)?;
        eprintln!("start: {first:.2} s with a new journal, {second:.2} s with its own");
        all.push(Values::from([("new_journal_s", first), ("restart_s", second)]));
    }
    bench.admin.delete("bench_filtered")?;
    Ok(medians(&all))
}

/// A rating that passes the filter, as the topic has it.
pub fn passing_rating(brokers: &str, topic: &str) -> Result<Vec<u8>> {
    let mut found = None;
    Consumer::open(brokers, topic, PARTITIONS, -2)?.read_all(PARTITIONS, |record| {
        if crate::frames::Rating::read(record.value)?.rating >= 3 {
            found = Some(record.value.to_vec());
        }
        Ok(())
    })?;
    found.ok_or_else(|| "no rating passes".into())
}

/// Starts `runner`, and gives the seconds until the sink has one more record.
fn visible(bench: &Bench, arguments: &[String], room: &std::path::Path) -> Result<f64> {
    let mut consumer = Consumer::open(&bench.servers.brokers, "bench_filtered", PARTITIONS, -2)?;
    consumer.read_all(PARTITIONS, |_| Ok(()))?;
    let running = Running::start(&bench.runner, &strs(arguments), room)?;
    let mut seen = None;
    while seen.is_none() {
        if running.started().elapsed() > PATIENCE {
            return Err("no record came within 30 s".into());
        }
        consumer.take(0, |_| {
            seen.get_or_insert_with(Instant::now);
            Ok(())
        })?;
        std::thread::sleep(Duration::from_millis(1));
    }
    let started = running.started();
    running.end()?;
    Ok(seen.map_or(0.0, |seen| (seen - started).as_secs_f64()))
}
