//! `runner generate`: made data to stdout, files and Kafka.

use std::collections::BTreeSet;

use runner::time::SystemClock;
use serde_json::Value;

use crate::runner::{Runner, Stream, run};
use crate::servers;
use crate::specs::Folder;

const FEATURES: &str = "name,type,length,cardinality,distribution
country,categorical,2,40,zipf 1.1
session,random,16,,
price,numeric,2,,lognormal 3 0.5
";

#[test]
fn records_have_their_features_and_the_same_seed_gives_them_again() {
    let folder = Folder::new();
    folder.write("features.csv", FEATURES);
    let options = ["generate", "--users", "50", "--hours", "0.5", "--rate", "2", "--features", "features.csv"];
    let first = run(&options, folder.path()).with_code(0);
    let rows: Vec<Value> = first.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3_600);
    for row in &rows {
        assert_eq!(row["country"].as_str().unwrap().len(), 2);
        assert_eq!(row["session"].as_str().unwrap().len(), 16);
        assert!(row["price"].as_f64().unwrap() >= 0.0);
    }
    let users: BTreeSet<&str> = rows.iter().map(|row| row["uid"].as_str().unwrap()).collect();
    assert_eq!(users.len(), 50);
    assert!(first.stderr.contains("3600 records"), "{}", first.stderr);
    assert_eq!(run(&options, folder.path()).with_code(0).stdout, first.stdout);
    assert_ne!(run(&[&options[..], &["--seed", "1"]].concat(), folder.path()).with_code(0).stdout, first.stdout);

    let report = run(&[&options[..], &["--output", "json"]].concat(), folder.path()).with_code(0);
    assert_eq!(report.stdout, first.stdout);
    assert_eq!(serde_json::from_str::<Value>(&report.stderr).unwrap()["records"], 3_600);
}

#[test]
fn generated_files_are_read_by_a_pipeline_and_are_never_overwritten() {
    let folder = Folder::new();
    let options = ["generate", "--users", "9", "--rate", "1", "--format", "csv", "--out", "made", "--files", "4"];
    run(&options, folder.path()).with_code(0);
    let again = run(&options, folder.path()).with_code(3);
    assert!(again.stderr.contains("there is a file `made/part-00000.csv` already"), "{}", again.stderr);
    folder.pipeline(
        "made",
        "  sources:
    made: { file: { path: \"made/*.csv\" }, format: csv, columns: { ts: timestamp(ms), uid: string, device: string, visit: int }, time: { field: ts } }
  transforms:
    hours: { from: made, window: { tumbling: 1h }, aggregate: { rows: count(*), users: count(distinct uid) } }
  sinks: { out: { from: hours, file: { path: out.jsonl }, format: json } }
",
    );
    folder.run("apply", &[]).with_code(0);
    let row: Value = serde_json::from_str(&folder.read("out.jsonl")).unwrap();
    assert_eq!((row["rows"].as_i64(), row["users"].as_i64()), (Some(3_600), Some(9)));
}

#[test]
fn a_topic_is_made_and_gets_each_record_with_its_user_as_key_and_its_time() {
    let folder = Folder::new();
    let topic = servers::unique("generated");
    let to = ["--topic", &topic, "--brokers", servers::kafka(), "--partitions", "3"];
    run(&[&["generate", "--users", "20", "--rate", "10"], &to[..]].concat(), folder.path()).with_code(0);
    let records = servers::read(&topic);
    assert_eq!(records.len(), 36_000);
    assert_eq!(records.iter().map(|record| record.partition).collect::<BTreeSet<_>>(), BTreeSet::from([0, 1, 2]));
    for record in records.iter().step_by(100) {
        let row: Value = serde_json::from_str(&record.text()).unwrap();
        assert_eq!(record.key.as_deref(), row["uid"].as_str().map(str::as_bytes));
        assert_eq!(record.timestamp, row["ts"].as_i64());
    }
    assert_eq!(servers::setting(&topic, "retention.ms"), "-1");
}

#[test]
fn a_trickle_comes_now_and_ends_with_a_signal() {
    let folder = Folder::new();
    let runner = Runner::spawn(&["generate", "--trickle", "--rate", "50"], folder.path());
    let line = runner.wait_line(Stream::Stdout, |_| true, "a record");
    let row: Value = serde_json::from_str(&line).unwrap();
    let age = SystemClock::shared().now() - row["ts"].as_i64().unwrap();
    assert!((0..60_000).contains(&age), "it is {age} ms old");
    runner.signal(libc::SIGINT);
    let ended = runner.wait().with_code(0);
    assert!(ended.stderr.contains("ended before all were made"), "{}", ended.stderr);
    assert!(ended.stdout.lines().all(|line| line.starts_with('{') && line.ends_with('}')));
}

#[test]
fn what_is_wrong_is_said_with_exit_code_2() {
    let folder = Folder::new();
    folder.write("features.csv", "a,categorical,1,99\nts,random,4\n");
    let ended = run(&["generate", "--features", "features.csv"], folder.path()).with_code(2);
    assert!(ended.stderr.contains("features.csv:1: there are no 99 different texts of 1 letters"), "{}", ended.stderr);
    assert!(ended.stderr.contains("features.csv:2: every record has a column `ts` already"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    run(&["generate", "--users", "0"], folder.path()).with_code(2);
    run(&["generate", "--hours", "-1"], folder.path()).with_code(2);
    run(&["generate", "--features", "nowhere.csv"], folder.path()).with_code(2);
}
