//! A windows pipeline with a large state: from the start of the process to its first new output.
//!
//! It is killed when a snapshot has all of its groups, and started again (`killed_s`); then stopped, which takes a snapshot
//! behind which nothing is to be replayed, and started again (`stopped_s`). Last the same with next to no state
//! (`nothing_s`). What the first output is made of is written before the start: records that close windows.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Result;
use crate::client::{Consumer, Producer};
use crate::measure::Running;
use crate::report::medians;
use crate::start::passing_rating;
use crate::started;
use crate::work::{Bench, PARTITIONS, Values, strs};

/// So many groups are more than 200 MB, as `memory` counts.
const RECORDS: u64 = 2_300_000;
const SPEC: &str = "recovery.yaml";
const PATIENCE: Duration = Duration::from_secs(180);
/// Between records that come while a snapshot is waited for: each closes a window.
const TRICKLE: Duration = Duration::from_secs(1);

pub fn measure(bench: &Bench, runs: usize) -> Result<Values> {
    let records = bench.records_at_most(RECORDS);
    let mut all = Vec::new();
    for _ in 0..runs {
        let mut place = Place::filled(bench, records)?;
        let running = place.start(&Bench::arguments(SPEC, &[]))?;
        let snapshot = place.until_snapshot(&running, records)?;
        // Dropping it kills it.
        drop(running);
        let (killed, report) = place.first_output_again()?;
        let (stopped, _) = place.first_output_again()?;
        let mut values = Values::from([
            ("killed_s", killed),
            ("stopped_s", stopped),
            ("state_mib", mib(&report["state_bytes"])),
            ("snapshot_mib", mib(&snapshot["bytes"])),
            ("replayed_rows", report["replayed_rows"].as_f64().unwrap_or(f64::NAN)),
        ]);
        for (name, part) in [("journal_s", "journal_ms"), ("state_s", "state_ms"), ("replay_s", "replay_ms")] {
            values.insert(name, started::part(&report, part)?);
        }
        let mut place = Place::filled(bench, records.min(1_000))?;
        let running = place.start(&Bench::arguments(SPEC, &[]))?;
        place.until_snapshot(&running, 1)?;
        running.interrupt();
        running.end()?;
        values.insert("nothing_s", place.first_output_again()?.0);
        let shown: Vec<String> = values.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
        eprintln!("recovery: {}", shown.join(", "));
        all.push(values);
    }
    ["bench_windows", "bench_none"].into_iter().try_for_each(|topic| bench.admin.delete(topic))?;
    Ok(medians(&all))
}

fn mib(bytes: &Value) -> f64 {
    bytes.as_f64().unwrap_or(f64::NAN) / f64::from(1 << 20)
}

/// Topics and folder of a run.
struct Place<'b> {
    bench: &'b Bench,
    room: PathBuf,
    producer: Producer,
    rating: Vec<u8>,
    /// Event time of what comes next.
    time: i64,
}

impl<'b> Place<'b> {
    fn filled(bench: &'b Bench, records: u64) -> Result<Place<'b>> {
        bench.fill("bench_ratings", records)?;
        ["bench_windows", "bench_none"].into_iter().try_for_each(|topic| bench.empty(topic))?;
        let brokers = &bench.servers.brokers;
        let (producer, rating) =
            (Producer::open(brokers, "bench_ratings", None, &[])?, passing_rating(brokers, "bench_ratings")?);
        // As `fill.yaml` has them: 20 a millisecond.
        let time = 1_700_000_000_000 + records as i64 / 20;
        Ok(Place { bench, room: bench.room()?, producer, rating, time })
    }

    fn start(&self, arguments: &[String]) -> Result<Running> {
        Running::start(&self.bench.runner, &strs(arguments), &self.room)
    }

    /// Writes records that close the newest windows, to every partition.
    fn close_windows(&mut self) -> Result<()> {
        self.time += 10_000;
        // Keys spread them.
        (0..200_u32).try_for_each(|key| self.producer.send(Some(&key.to_le_bytes()), &self.rating, self.time))?;
        self.producer.flush()
    }

    /// Lets records trickle in until a snapshot has so many groups; gives what it says of itself.
    fn until_snapshot(&mut self, running: &Running, groups: u64) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let has_all = |snapshot: &Value| snapshot["rows"].as_u64() >= Some(groups);
            if let Some(snapshot) =
                snapshots(&self.room.join(".runner/default/bench-recovery/snapshots")).into_iter().find(has_all)
            {
                return Ok(snapshot);
            }
            self.close_windows()?;
            std::thread::sleep(TRICKLE);
        }
        Err(format!("there is no snapshot of {groups} groups:\n{}", running.said()?).into())
    }

    /// Starts it again, and stops it when its first new output is seen; gives how long that took, and what its start says.
    fn first_output_again(&mut self) -> Result<(f64, Value)> {
        let mut consumer = Consumer::open(&self.bench.servers.brokers, "bench_windows", PARTITIONS, -2)?;
        consumer.read_all(PARTITIONS, |_| Ok(()))?;
        self.close_windows()?;
        let running = self.start(&Bench::arguments_again(SPEC, &["--output", "json"]))?;
        let mut seen = None;
        while seen.is_none() {
            if running.started().elapsed() > PATIENCE {
                return Err(format!("nothing new came:\n{}", running.said()?).into());
            }
            consumer.take(1, |_| {
                seen.get_or_insert_with(Instant::now);
                Ok(())
            })?;
        }
        let took = seen.map_or(f64::NAN, |seen| (seen - running.started()).as_secs_f64());
        let report = started::report(&running)?;
        running.interrupt();
        running.end()?;
        Ok((took, report))
    }
}

/// What the snapshots in a folder say of themselves.
fn snapshots(folder: &Path) -> Vec<Value> {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let manifest = |path: PathBuf| {
        let is_one = path.extension().is_some_and(|extension| extension == "json");
        let text = std::fs::read_to_string(path).ok().filter(|_| is_one)?;
        // A checksum, and JSON.
        serde_json::from_str(text.split_once(' ')?.1).ok()
    };
    entries(folder).filter(|path| path.is_dir()).flat_map(|lineage| entries(&lineage)).filter_map(manifest).collect()
}
