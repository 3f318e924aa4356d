//! I6 with the job's own threads: partitions that are far apart in time, and too little memory.

use super::*;
use crate::engine::start::{SnapshotPlace, StartOptions};
use crate::engine::{Job, Outcome, RunOptions};
use crate::time::SystemClock;

/// `SECONDS` with small epochs, so that little is read before the coordinator has a say.
fn small_epochs() -> String {
    let text = SECONDS.replace("  dead_letter:", "  epoch: { max_bytes: 4KiB }\n  dead_letter:");
    text.replace("time: { idle: never }", "time: { idle: 5s }")
}

/// Runs a stage's plan in threads until its sources have ended or it fails.
fn run_job(stage: &Stage, journal: &MemoryJournal, lanes: usize) -> Result<Outcome, Failure> {
    run_measured(stage, journal, lanes).map(|(outcome, _)| outcome)
}

/// The same; also the most bytes that it held.
fn run_measured(stage: &Stage, journal: &MemoryJournal, lanes: usize) -> Result<(Outcome, u64), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let options = RunOptions {
        start: StartOptions { lanes: Some(lanes), snapshots: SnapshotPlace::Nowhere, ..StartOptions::default() },
    };
    let (plan, journal) = (stage.given.plan.clone(), Box::new(journal.clone()));
    let job = Job::start(plan, journal, options, SystemClock::shared(), runtime.handle())?;
    let metrics = job.metrics.clone();
    let outcome = runtime.block_on(job.join())?;
    Ok((outcome, metrics.snapshot().memory_max))
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

/// Each partition has partials of its own, and stands in every record of the journal.
#[test]
fn i6_ten_thousand_partitions_of_windows_stay_within_their_memory() {
    const PARTITIONS: Partition = 10_000;
    const SECONDS_EACH: Millis = 4;
    let memory = 64 << 20;
    let grouped = SECONDS
        .replace("aggregate: { c: count(*) }", "group_by: [x], aggregate: { c: count(*), mean: avg(x), most: max(x) }")
        .replace("spec:", "spec:\n  memory: 64MiB");
    let stage = Stage::of(&grouped, PARTITIONS, Vec::new());
    let source = &stage.given.sources[0];
    source.poll_at_most(1);
    for partition in 0..PARTITIONS {
        for second in 0..SECONDS_EACH {
            let value = Some(format!("{{\"x\":{}}}", partition % 3).into_bytes());
            let timestamp = Some(BEGINNING + second * 1_000);
            source.push(partition, MemoryRecord { timestamp, value, ..MemoryRecord::default() });
        }
    }
    source.end();
    // A lane that has a row of each holds the most.
    let options = StartOptions { lanes: Some(1), ..StartOptions::default() };
    let (nothing, clock) = (Box::new(MemoryJournal::default()), ManualClock::at(BEGINNING));
    let mut started = start(&stage.given.plan, nothing, options, clock, &Arc::default()).unwrap();
    assert_eq!(started.seats[0].step().unwrap(), PARTITIONS as usize);
    let held = started.seats[0].held();
    assert!((1 << 20..memory / 2).contains(&held), "a lane holds {held} bytes");
    drop(started);

    let journal = MemoryJournal::default();
    let (outcome, held) = run_measured(&stage, &journal, 2).unwrap();
    assert_eq!(outcome, Outcome::Ended);
    assert!(held < memory as u64, "{held} of {memory} bytes when an epoch was committed");
    let count = |row: &Written| {
        let row: serde_json::Value = serde_json::from_slice(row.value.as_ref().unwrap()).unwrap();
        row["c"].as_i64().unwrap()
    };
    let windows = written(&journal.output(stage.sink("windows")));
    let rows = i64::from(PARTITIONS) * SECONDS_EACH;
    assert_eq!((windows.len(), windows.iter().map(count).sum::<i64>()), (3 * SECONDS_EACH as usize, rows));
    let records = epochs(&journal);
    let largest = records.iter().map(|record| serde_json::to_string(record).unwrap().len()).max().unwrap();
    assert!(largest <= 256 << 10, "a record of {largest} bytes");
    // A start on this journal knows every partition.
    assert_eq!(run_job(&stage, &journal, 2).unwrap(), Outcome::Ended);
    assert_eq!(epochs(&journal).len(), records.len());
}

#[test]
fn too_little_memory_is_refused_before_anything_starts() {
    let text = GROWS.replace("memory: 16MiB", "memory: 15MiB");
    let (documents, _) = spec::load_text("test.yaml", &text, &Values::default());
    let (plans, found) = build(&documents, Path::new("."), &TestWorld::new());
    let codes: Vec<_> = found.0.iter().map(|found| found.code).filter(|code| code.starts_with("memory")).collect();
    assert_eq!((plans.len(), codes), (0, vec!["memory.too_small"]));
}
