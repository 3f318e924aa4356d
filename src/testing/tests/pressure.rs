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

/// A table that grows with every row.
const GROWS: &str = r#"
apiVersion: runner/v1
kind: Pipeline
metadata: { name: grows }
spec:
  memory: 16MiB
  sources:
    s: { kafka: { topic: in }, format: json, columns: { x: int }, time: { idle: never } }
  transforms:
    table: { from: s, group_by: [x], aggregate: { c: count(*) } }
  sinks:
    newest: { from: table, kafka: { topic: newest }, format: json, mode: upsert }
"#;

#[test]
fn i6_state_that_does_not_fit_ends_the_run_and_with_more_memory_it_goes_on_without_a_loss() {
    const ROWS: i32 = 150_000;
    let stage = Stage::of(GROWS, 1, Vec::new());
    let source = stage.given.sources[0].clone();
    for x in 0..ROWS {
        let value = Some(format!("{{\"x\":{x}}}").into_bytes());
        source.push(0, MemoryRecord { timestamp: Some(BEGINNING), value, ..MemoryRecord::default() });
    }
    source.end();
    let journal = MemoryJournal::default();
    let failure = run_job(&stage, &journal, 1).unwrap_err();
    assert_eq!(failure.code, "memory.full");
    let message = failure.to_string();
    assert!(message.contains("the memory of `grows` is full: of 16 MiB its state may hold 12 MiB"), "{message}");
    assert!(message.contains("state of `table` 1"), "{message}");
    let committed = epochs(&journal).last().unwrap().partitions["s"][&0.into()].to.as_offset().unwrap();
    assert!((10_000..i64::from(ROWS)).contains(&committed), "{committed} rows fitted");

    // Replayed, it is as much as it was: the same memory refuses it at the start.
    assert_eq!(run_job(&stage, &journal, 1).unwrap_err().code, "memory.full");

    let larger = Stage::with(&GROWS.replace("memory: 16MiB", "memory: 160MiB"), 1, Vec::new(), |plan| {
        plan.sources[0].source = Arc::new(source.clone());
    });
    assert_eq!(run_job(&larger, &journal, 1).unwrap(), Outcome::Ended);
    let values: Vec<_> = written(&journal.output(larger.sink("newest"))).into_iter().map(|row| row.value).collect();
    assert_eq!(values.len(), ROWS as usize, "every group once");
    let ranges = epochs(&journal).into_iter().map(|epoch| epoch.partitions["s"][&0.into()].read);
    assert_eq!(ranges.sum::<u64>(), ROWS as u64);
}

#[test]
fn too_little_memory_is_refused_before_anything_starts() {
    let text = GROWS.replace("memory: 16MiB", "memory: 15MiB");
    let (documents, _) = spec::load_text("test.yaml", &text, &Values::default());
    let (plans, found) = build(&documents, Path::new("."), &TestWorld::new());
    let codes: Vec<_> = found.0.iter().map(|found| found.code).filter(|code| code.starts_with("memory")).collect();
    assert_eq!((plans.len(), codes), (0, vec!["memory.too_small"]));
}
