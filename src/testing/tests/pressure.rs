//! I6 with the job's own threads: partitions that are far apart in time, and too little memory.

use super::*;
use crate::engine::start::StartOptions;
use crate::engine::{Job, Outcome, RunOptions};
use crate::time::SystemClock;

/// `SECONDS` with small epochs, so that little is read before the coordinator has a say.
fn small_epochs() -> String {
    let text = SECONDS.replace("  dead_letter:", "  epoch: { max_bytes: 4KiB }\n  dead_letter:");
    text.replace("time: { idle: never }", "time: { idle: 5s }")
}

/// Runs a stage's plan in threads until its sources have ended or it fails.
fn run_job(stage: &Stage, journal: &MemoryJournal, lanes: usize) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let options = RunOptions { start: StartOptions { lanes: Some(lanes), ..StartOptions::default() } };
    let (plan, journal) = (stage.given.plan.clone(), Box::new(journal.clone()));
    let job = Job::start(plan, journal, options, SystemClock::shared(), runtime.handle())?;
    runtime.block_on(job.join())
}

fn push(source: &MemorySource, partition: Partition, timestamp: Millis) {
    let value = Some(b"{\"x\":1}".to_vec());
    source.push(partition, MemoryRecord { timestamp: Some(timestamp), value, ..MemoryRecord::default() });
}

#[test]
fn i6_a_partition_whose_rows_are_hours_apart_waits_for_one_whose_rows_are_seconds_apart() {
    const ROWS: i64 = 4_000;
    for lanes in [1, 2] {
        let stage = Stage::of(&small_epochs(), 2, Vec::new());
        let source = &stage.given.sources[0];
        source.poll_at_most(20);
        let beginning = BEGINNING - ROWS * 3_600_000;
        for row in 0..ROWS {
            push(source, 0, beginning + row * 3_600_000);
            push(source, 1, beginning + row * 1_000);
        }
        source.end();
        let journal = MemoryJournal::default();
        assert_eq!(run_job(&stage, &journal, lanes).unwrap(), Outcome::Ended);

        let reached = |epoch: &EpochRecord, partition: Partition| {
            epoch.partitions["s"][&partition.into()].to.as_offset().unwrap()
        };
        let epochs = epochs(&journal);
        let half_way = epochs.iter().find(|epoch| reached(epoch, 1) >= ROWS / 2).unwrap();
        // One poll of the fast one is 20 hours; read evenly both would be half way.
        assert!(reached(half_way, 0) < ROWS / 4, "{lanes} lanes: {} rows of the fast one", reached(half_way, 0));
        let last = epochs.last().unwrap();
        assert_eq!((reached(last, 0), reached(last, 1)), (ROWS, ROWS));
    }
}
