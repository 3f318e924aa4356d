//! Memory under pressure (I6), on real Kafka: what the process holds is watched from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::runner::{Ended, Runner};
use crate::servers::{self, TestRecord};
use crate::specs::{Folder, read_when};

const MIB: u64 = 1 << 20;
/// What a debug build's process holds beside its budget, generously: 60 to 85 MiB of code and tables, threads, what the
/// client notes of each message, and what the allocator has not given back yet.
const BASE: u64 = 208 * MIB;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// 2026-01-02T00:00:00Z
const SECOND_DAY: i64 = 1_767_312_000_000;

/// What was freed is given back at once: memory that is resident is memory that is held.
fn counted(folder: &Folder) -> Runner {
    Runner::spawn_with(&["apply", "."], folder.path(), &[("MIMALLOC_PURGE_DELAY", "0")])
}

/// Runs to its end; with the most memory that it ever held.
fn watched(runner: Runner) -> (Ended, u64) {
    let status = format!("/proc/{}/status", runner.pid());
    let mut peak = 0;
    for _ in 0..3_000 {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak = kib.and_then(|kib| kib.trim().parse::<u64>().ok()).map_or(peak, |kib| peak.max(kib << 10));
        if runner.ended_within(Duration::from_millis(50)) {
            break;
        }
    }
    (runner.wait(), peak)
}

/// 120 bytes, of a key that nobody else has.
fn row(partition: i32, number: i64, timestamp: i64) -> TestRecord {
    let value = format!("{{\"k\":\"{partition:02}-{number:020}\",\"pad\":\"{:080}\"}}", number);
    TestRecord::to(partition, value).at(timestamp)
}

/// Five partitions hold ten hours of a day each, the sixth those of the day before: 110 MB together, in windows
/// whose groups would not fit if they were all open at once.
#[test]
fn i6_a_partition_a_day_behind_the_others_is_read_first_and_memory_stays_within_its_budget() {
    const ROWS: i64 = 150_000;
    let input = servers::topic("pressure-in", 6);
    let output = servers::unique("pressure-out");
    let step = 10 * HOUR / ROWS;
    let begins = |partition: i32| if partition == 5 { SECOND_DAY - DAY } else { SECOND_DAY };
    let rows = (0..ROWS).flat_map(|n| (0..6).map(move |p| row(p, n, begins(p) + n * step)));
    servers::produce_many(servers::kafka(), &input, rows);
    let folder = Folder::connected();
    folder.pipeline(
        "behind",
        &format!(
            "  memory: 64MiB
  sources:
    s: {{ kafka: {{ topic: {input}, until: end }}, format: json, columns: {{ k: string }}, time: {{ align: 10m }} }}
  transforms:
    w: {{ from: s, window: {{ tumbling: 30m }}, group_by: [k], aggregate: {{ c: count(*) }} }}
    h: {{ from: s, window: {{ tumbling: 30m }}, aggregate: {{ c: count(*) }} }}
    twice: {{ from: w, where: c > 1 }}
  sinks:
    none: {{ from: twice, kafka: {{ topic: {output}-none }}, format: json }}
    counts: {{ from: h, kafka: {{ topic: {output} }}, format: json }}
"
        ),
    );
    let (ended, peak) = watched(counted(&folder));
    let ended = ended.with_code(0);
    println!("peak {} MiB; {}", peak / MIB, ended.stderr.lines().last().unwrap_or_default());
    assert!(peak > 0 && peak <= 64 * MIB + BASE, "it held {} MiB", peak / MIB);
    assert!(ended.stderr.contains(" 0 late,"), "{}", ended.stderr);

    let mut windows: BTreeMap<String, i64> = BTreeMap::new();
    for record in read_when(&output, 40) {
        let row: serde_json::Value = serde_json::from_str(&record.text()).unwrap();
        let start = row["window_start"].as_str().unwrap().to_owned();
        assert!(windows.insert(start, row["c"].as_i64().unwrap()).is_none(), "{row} came twice");
    }
    assert_eq!(windows.len(), 40);
    assert_eq!(windows.values().sum::<i64>(), 6 * ROWS);
}

/// A pipe that nobody reads, and 190 MB that would like to go through it: what waits is bounded.
#[test]
fn i6_a_sink_that_stands_still_holds_the_pipeline_and_not_its_input() {
    const ROWS: i64 = 1_500_000;
    let input = servers::topic("slow-in", 6);
    servers::produce_many(servers::kafka(), &input, (0..ROWS).map(|n| row((n % 6) as i32, n, SECOND_DAY + n)));
    let folder = Folder::connected();
    folder.pipeline(
        "slow",
        &format!(
            "  memory: 48MiB
  sources:
    s: {{ kafka: {{ topic: {input}, until: end }}, format: json, columns: {{ k: string, pad: string }} }}
  sinks:
    out: {{ from: s, console: {{}}, format: json }}
"
        ),
    );
    let runner = Runner::spawn_unheard(&["apply", "."], folder.path());
    let status = format!("/proc/{}/status", runner.pid());
    std::thread::sleep(Duration::from_secs(10));
    let text = std::fs::read_to_string(status).unwrap();
    let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    let peak = kib.trim().parse::<u64>().unwrap() << 10;
    println!("peak {} MiB", peak / MIB);
    assert!(peak <= 48 * MIB + BASE, "it held {} MiB", peak / MIB);
    runner.kill();
}

/// Every key for ever: it cannot fit, says what holds how much, and goes on when it may hold more.
#[test]
fn i6_an_endless_aggregate_that_outgrows_its_memory_says_so_and_goes_on_with_more() {
    const ROWS: i64 = 200_000;
    let input = servers::topic_with("endless-in", 2, &[("retention.ms", "-1")]);
    let newest = servers::unique("endless-newest");
    servers::produce_many(servers::kafka(), &input, (0..ROWS).map(|n| row((n % 2) as i32, n, SECOND_DAY + n)));
    let folder = Folder::connected();
    let write = |memory: &str| {
        folder.pipeline(
            "endless",
            &format!(
                "  memory: {memory}
  sources:
    s: {{ kafka: {{ topic: {input}, until: end }}, format: json, columns: {{ k: string }} }}
  transforms:
    per_key: {{ from: s, group_by: [k], aggregate: {{ c: count(*) }} }}
  sinks:
    newest: {{ from: per_key, kafka: {{ topic: {newest} }}, format: json, mode: upsert }}
"
            ),
        );
    };
    write("32MiB");
    let (ended, peak) = watched(counted(&folder));
    let ended = ended.with_code(1);
    println!("peak {} MiB; {}", peak / MIB, ended.stderr);
    for part in ["memory.full", "the memory of `endless` is full: of 32 MiB", "state of `per_key`", "raise `memory`"] {
        assert!(ended.stderr.contains(part), "no {part:?} in\n{}", ended.stderr);
    }
    assert!(peak <= 32 * MIB + BASE, "it held {} MiB", peak / MIB);
    let before = servers::read(&newest).len() as i64;
    assert!((1..ROWS).contains(&before), "{before} rows");

    write("256MiB");
    let ended = folder.apply(&[]).wait().with_code(0);
    assert!(ended.stderr.contains("resumes behind epoch"), "{}", ended.stderr);
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for record in read_when(&newest, ROWS as usize) {
        let row: serde_json::Value = serde_json::from_str(&record.text()).unwrap();
        *counts.entry(row["k"].as_str().unwrap().to_owned()).or_default() += row["c"].as_i64().unwrap();
    }
    assert!(counts.values().all(|count| *count == 1), "a group came twice");
    assert_eq!(counts.len() as i64, ROWS);
}
