//! Pipelines that are killed, fenced, stopped, and cut off from their broker: exactly once all the same.
//!
//! Every test runs the product's binary on real servers and compares what is committed with a naive
//! computation of its own. Moments of killing are random; a failing test prints the seed, and
//! `RUNNER_TEST_SEED` repeats it.

mod bad_state;
mod between;
mod broker;
mod by_watermark;
mod changed;
mod chaos;
mod clusters;
mod datagen;
mod full_disk;
mod journal_gone;
mod kept;
mod large;
mod points;
mod recovering;
mod refusals;
mod restart;
mod scale;
mod snapshots;
mod stops;
mod tables;
mod takeover;
mod windows;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::runner::time::SystemClock;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use super::runner::{Ended, PATIENCE, Runner, Stream, run};
use super::servers::{self, TestRecord};

/// A pipeline in a folder of its own, with a name of its own.
pub(super) struct Place {
    folder: tempfile::TempDir,
    name: String,
    brokers: String,
}

impl Place {
    /// On the cluster that all tests share.
    pub(super) fn new(name: &str) -> Place {
        Place::at(servers::kafka(), name)
    }

    pub(super) fn at(brokers: &str, name: &str) -> Place {
        Place { folder: tempfile::tempdir().unwrap(), name: servers::unique(name), brokers: brokers.to_owned() }
    }

    /// Writes the pipeline's `spec`, given as YAML of two spaces' indentation.
    pub(super) fn spec(&self, spec: &str) {
        let Place { name, brokers, .. } = self;
        let text = format!(
            "apiVersion: runner/v1\nkind: Connection\nmetadata: {{ name: default }}\nspec: {{ kafka: {{ brokers: \"{brokers}\" }} }}\n---\n\
             apiVersion: runner/v1\nkind: Pipeline\nmetadata: {{ name: {name} }}\nspec:\n{spec}"
        );
        std::fs::write(self.path("spec.yaml"), text).unwrap();
    }

    /// `runner verify` finds nothing between the sources and those sinks that it can judge.
    fn verified(&self) {
        self.verified_within(3 * PATIENCE);
    }

    fn verified_within(&self, patience: Duration) {
        Runner::spawn(&["verify", "spec.yaml"], self.folder.path()).wait_within(patience).with_code(0);
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Starts it.
    pub(super) fn apply(&self) -> Runner {
        self.apply_with(&[])
    }

    pub(super) fn apply_with(&self, flags: &[&str]) -> Runner {
        Runner::spawn(&[&["apply", "spec.yaml"], flags].concat(), self.folder.path())
    }

    pub(super) fn journal(&self) -> String {
        format!("runner.default.{}.journal", self.name)
    }

    /// The disk with the snapshots that its last stop took is gone: what is open must be read again.
    pub(super) fn lose_snapshots(&self) {
        std::fs::remove_dir_all(self.path(".runner/default").join(&self.name).join("snapshots")).unwrap();
    }

    /// Makes the topic of the journal before the pipeline does, so that it can be watched.
    pub(super) fn watched_journal(&self) -> Commits {
        servers::create_topic(&self.brokers, &self.journal(), 1, &[("retention.ms", "-1")]);
        Commits::of(&self.brokers, &self.journal())
    }

    fn lines(&self, file: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(file)).unwrap();
        text.lines().map(json).collect()
    }

    /// What is committed in a topic of JSON.
    fn committed(&self, topic: &str) -> Vec<Value> {
        servers::read_at(&self.brokers, topic).iter().map(|record| json(&record.text())).collect()
    }

    /// Starts it again and again, killing it (SIGKILL) this long (ms) after the first commit of each
    /// run, until a run comes to its end. Gives the number of kills and the last run's words.
    fn killed_until_done(&self, random: &mut Random, after_ms: std::ops::Range<u64>) -> (u32, Ended) {
        let mut commits = self.watched_journal();
        for kills in 0.. {
            let runner = self.apply();
            commits.wait_for_first_of(&runner);
            let delay = Duration::from_millis(random.between(after_ms.clone()));
            if runner.ended_within(delay) {
                return (kills, runner.wait().with_code(0));
            }
            runner.kill();
        }
        unreachable!("some run comes to its end");
    }
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("`{text}` is not JSON: {error}"))
}

#[track_caller]
fn long(row: &Value, column: &str) -> i64 {
    row[column].as_i64().unwrap_or_else(|| panic!("{row} has no number `{column}`"))
}

#[track_caller]
fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap_or_else(|| panic!("{row} has no text `{column}`"))
}

/// A time as milliseconds.
#[track_caller]
fn time(row: &Value, column: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text(row, column)).expect("times are RFC 3339").timestamp_millis()
}

/// Follows the journal of a pipeline.
pub(super) struct Commits {
    consumer: BaseConsumer,
    /// The process that owns what is read now.
    owner: Option<u64>,
    /// How long there may be no commit.
    patience: Duration,
}

impl Commits {
    fn of(brokers: &str, journal: &str) -> Commits {
        let mut config = servers::config_at(brokers);
        config.set("group.id", "test").set("isolation.level", "read_committed").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(journal, 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        Commits { consumer, owner: None, patience: PATIENCE }
    }

    /// Waits until this process has committed an epoch, or has ended.
    pub(super) fn wait_for_first_of(&mut self, runner: &Runner) {
        self.wait_for(runner, 1);
    }

    /// Waits until this process has committed so many epochs more, or has ended.
    fn wait_for(&mut self, runner: &Runner, wanted: usize) {
        self.wait_for_records(runner, wanted, |record| record.get("epoch").is_some());
    }

    /// Waits until this process has committed so many such records more, or has ended.
    fn wait_for_records(&mut self, runner: &Runner, wanted: usize, is_one: impl Fn(&Value) -> bool) {
        let mut deadline = Instant::now() + self.patience;
        let mut found = 0;
        while found < wanted && !runner.ended_within(Duration::ZERO) {
            assert!(Instant::now() < deadline, "no commit for {:?}:\n{}", self.patience, runner.stderr());
            let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(100)) else { continue };
            deadline = Instant::now() + self.patience;
            let record = json(&String::from_utf8_lossy(message.payload().unwrap_or_default()));
            if let Some(owner) = record.get("owner") {
                self.owner = owner["pid"].as_u64();
            }
            let owns = self.owner == Some(runner.pid().into());
            found += usize::from(owns && is_one(&record));
        }
    }
}

/// Reads what is committed in a topic until there are so many records.
fn wait_for_records(brokers: &str, topic: &str, count: usize) -> Vec<TestRecord> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let records = servers::read_at(brokers, topic);
        if records.len() >= count {
            return records;
        }
        assert!(Instant::now() < deadline, "only {} of {count} records came to {topic}", records.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// Differs from run to run; the seed is printed with a failing test.
    fn new() -> Random {
        let seed = std::env::var("RUNNER_TEST_SEED").ok().map(|seed| seed.parse().expect("a seed is a number"));
        let seed = seed.unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0));
        eprintln!("RUNNER_TEST_SEED={seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn between(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }
}

/// A row of the test topics: JSON `{"n": …, "k": …, "v": …}`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    partition: i32,
    time: i64,
    /// Ascends with the offset within a partition, and says which partition it is.
    n: i64,
    k: String,
    v: i64,
}

/// Above every row's index.
const PER_PARTITION: i64 = 10_000_000;

/// Rows of partitions that are as long as `sizes` says. Time advances in parallel over `span_ms` in each
/// of them; a row is up to `disorder_ms` behind the newest before it.
fn rows(sizes: &[i64], span_ms: i64, disorder_ms: u64, keys: u64) -> impl Iterator<Item = Row> + use<> {
    let mut random = Random(7);
    let total = sizes.iter().sum::<i64>();
    let begin = now_ms() - span_ms - 600_000;
    let sizes = sizes.to_vec();
    let mut made = vec![0; sizes.len()];
    // The partition that is furthest behind its share comes next.
    (0..total).map(move |_| {
        let behind = |p: &usize| (made[*p] as f64 + 1.0) / sizes[*p] as f64;
        let open = (0..sizes.len()).filter(|p| made[*p] < sizes[*p]);
        let partition = open.min_by(|a, b| behind(a).total_cmp(&behind(b))).expect("not all have been made");
        let index = made[partition];
        made[partition] += 1;
        let time = begin + index * span_ms / sizes[partition] - random.between(0..disorder_ms) as i64;
        let k = format!("k{}", random.between(0..keys));
        let v = random.between(0..10) as i64;
        Row { partition: partition as i32, time, n: partition as i64 * PER_PARTITION + index, k, v }
    })
}

fn now_ms() -> i64 {
    SystemClock::shared().now()
}

/// Writes rows into a topic.
fn fill(brokers: &str, topic: &str, rows: &[Row]) {
    let record = |row: &Row| {
        let Row { n, k, v, .. } = row;
        TestRecord::to(row.partition, format!("{{\"n\":{n},\"k\":\"{k}\",\"v\":{v}}}")).at(row.time)
    };
    servers::produce_many(brokers, topic, rows.iter().map(record));
}

/// Writes records in small batches: a fetch brings at least one, and a run shall last for seconds.
fn fill_in_batches(of: usize, topic: &str, records: impl Iterator<Item = TestRecord>) {
    let mut config = servers::config();
    config
        .set("batch.num.messages", of.to_string())
        .set("linger.ms", "5")
        .set("queue.buffering.max.messages", "200000");
    let producer: rdkafka::producer::BaseProducer = config.set("enable.idempotence", "true").create().unwrap();
    records.for_each(|record| servers::send(&producer, topic, &record));
    rdkafka::producer::Producer::flush(&producer, PATIENCE).unwrap();
}

/// Properties of a source that keep it busy for seconds on any machine: whenever so many records are fetched,
/// librdkafka pauses for so long.
fn throttled(messages: u32, pause_ms: u32) -> String {
    format!(
        "{{ queued.min.messages: \"{messages}\", fetch.queue.backoff.ms: \"{pause_ms}\", fetch.message.max.bytes: \"32768\" }}"
    )
}

/// The columns of [`Row`] in a source.
const COLUMNS: &str = "{ n: long, k: string, v: int }";

/// Count and sum of `n`.
type Sums = (i64, i64);

/// Tumbling windows computed naively: by (start, key).
fn windows_of<'a>(rows: impl Iterator<Item = &'a Row>, size_ms: i64) -> BTreeMap<(i64, String), Sums> {
    let mut windows = BTreeMap::new();
    for row in rows {
        let (count, sum): &mut Sums = windows.entry((row.time - row.time % size_ms, row.k.clone())).or_default();
        *count += 1;
        *sum += row.n;
    }
    windows
}

/// Window rows as they were written; none may be there twice.
#[track_caller]
fn windows_written(written: &[Value]) -> BTreeMap<(i64, String), Sums> {
    let mut windows = BTreeMap::new();
    for row in written {
        let key = (time(row, "window_start"), text(row, "k").to_owned());
        let before = windows.insert(key, (long(row, "cnt"), long(row, "total")));
        assert_eq!(before, None, "{row} came twice");
    }
    windows
}

/// Both are equal, or the test fails with the first differences and not with thousands of lines.
#[track_caller]
fn assert_same<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    found: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    what: &str,
) {
    let missing: Vec<_> = wanted.iter().filter(|(key, _)| !found.contains_key(key)).collect();
    let excess: Vec<_> = found.iter().filter(|(key, _)| !wanted.contains_key(key)).collect();
    let differs = |(key, value): (&_, &_)| {
        found.get(key).filter(|other| *other != value).map(|other| format!("{key:?}: {other:?}, not {value:?}"))
    };
    let different: Vec<_> = wanted.iter().filter_map(differs).collect();
    assert!(
        missing.is_empty() && excess.is_empty() && different.is_empty(),
        "{what}: {} missing {:?}…, {} too many {:?}…, {} different {:?}…",
        missing.len(),
        &missing[..missing.len().min(5)],
        excess.len(),
        &excess[..excess.len().min(5)],
        different.len(),
        &different[..different.len().min(5)],
    );
}

/// The numbers are those wanted, each once, and those of one input partition are in order.
#[track_caller]
fn assert_each_once_in_order(found: &[i64], mut wanted: Vec<i64>, what: &str) {
    let mut last = BTreeMap::new();
    for n in found {
        if let Some(before) = last.insert(n / PER_PARTITION, *n) {
            assert!(before < *n, "{what}: {n} came behind {before}");
        }
    }
    let mut sorted = found.to_vec();
    sorted.sort_unstable();
    wanted.sort_unstable();
    let lost = wanted.iter().find(|n| sorted.binary_search(n).is_err());
    assert!(sorted == wanted, "{what}: {} rows instead of {}; missing is {lost:?}", sorted.len(), wanted.len());
}
