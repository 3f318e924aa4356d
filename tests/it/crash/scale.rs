//! kill -9 again and again while records flow through everything at once: a filter, windows with HAVING, a table, four sinks
//! (I2, I4, I9, I11, I13, I18, I19).
//!
//! As many records as CI has time for. `RUNNER_CRASH_RECORDS=5000000 cargo test --test it -- crash::scale --nocapture` is a run of
//! five million, at full speed.

use super::*;

const RECORDS: i64 = 1_000_000;
const WINDOW_MS: i64 = 5_000;
/// Of event time, over all partitions: some six good rows per window and key.
const RECORDS_PER_S: i64 = 300;
const LEAST_COUNT: i64 = 6;

/// What the sinks must hold in the end, computed naively while the input is made.
#[derive(Default)]
struct Wanted {
    /// By input partition, in order.
    good: BTreeMap<i64, Vec<i64>>,
    windows: BTreeMap<(i64, String), Sums>,
    totals: BTreeMap<String, Sums>,
}

impl Wanted {
    fn note(&mut self, row: &Row) {
        if row.v < 8 {
            return;
        }
        self.good.entry(row.n / PER_PARTITION).or_default().push(row.n);
        let window = self.windows.entry((row.time - row.time % WINDOW_MS, row.k.clone())).or_default();
        *window = (window.0 + 1, window.1 + row.n);
        let total = self.totals.entry(row.k.clone()).or_default();
        *total = (total.0 + 1, total.1 + row.n);
    }
}

/// Follows the topics, and finds at each look that what is committed is a beginning of what must be there.
struct Witness {
    consumer: BaseConsumer,
    topics: [String; 3],
    good: BTreeMap<i64, usize>,
    windows: BTreeMap<(i64, String), Sums>,
    newest: BTreeMap<String, Sums>,
}

impl Witness {
    fn of(topics: [String; 3]) -> Witness {
        let mut config = servers::config();
        config.set("group.id", "test").set("isolation.level", "read_committed").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for topic in &topics {
            list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        Witness { consumer, topics, good: BTreeMap::new(), windows: BTreeMap::new(), newest: BTreeMap::new() }
    }

    /// Looks at what came since the last time.
    fn look(&mut self, wanted: &Wanted) {
        let [good, windows, newest] = self.topics.clone();
        while let Some(message) = self.consumer.poll(Duration::from_millis(500)) {
            let message = message.expect("the broker answers");
            let row = json(&String::from_utf8_lossy(message.payload().unwrap()));
            match message.topic() {
                topic if topic == good => {
                    let n = long(&row, "n");
                    let next = self.good.entry(n / PER_PARTITION).or_default();
                    assert_eq!(
                        Some(&n),
                        wanted.good[&(n / PER_PARTITION)].get(*next),
                        "rows of a partition are whole and in order"
                    );
                    *next += 1;
                }
                topic if topic == windows => {
                    let key = (time(&row, "window_start"), text(&row, "k").to_owned());
                    let sums = (long(&row, "cnt"), long(&row, "total"));
                    assert_eq!(wanted.windows.get(&key), Some(&sums), "{row}");
                    assert_eq!(self.windows.insert(key, sums), None, "{row} came twice");
                }
                topic => {
                    assert_eq!(topic, newest);
                    let sums = (long(&row, "cnt"), long(&row, "total"));
                    let before = self.newest.insert(text(&row, "k").to_owned(), sums);
                    assert!(before.is_none_or(|before| before.0 < sums.0), "{row} came behind {before:?}");
                }
            }
        }
    }
}

#[test]
fn kill_nine_under_everything_at_once() {
    let asked = std::env::var("RUNNER_CRASH_RECORDS").ok().map(|text| text.parse().expect("a number of records"));
    let records: i64 = asked.unwrap_or(RECORDS);
    let mut random = Random::new();
    let place = Place::new("scale");
    let input = servers::topic_with("scale-in", 3, &[("retention.ms", "-1")]);
    let sizes = [records / 2, records * 3 / 10, records - records / 2 - records * 3 / 10];
    let mut wanted = Wanted::default();
    let rows = rows(&sizes, records * 1_000 / RECORDS_PER_S, 2_000, 50);
    let record = |row: Row| {
        wanted.note(&row);
        let Row { n, k, v, .. } = &row;
        TestRecord::to(row.partition, format!("{{\"n\":{n},\"k\":\"{k}\",\"v\":{v}}}")).at(row.time)
    };
    servers::produce_many(servers::kafka(), &input, rows.map(record));
    wanted.windows.retain(|_, (count, _)| *count >= LEAST_COUNT);
    let topics = ["good", "windows", "newest"].map(|name| servers::topic(&format!("scale-{name}"), 1));
    let [good, windows, newest] = &topics;
    let properties = if asked.is_some() { "{}".to_owned() } else { throttled(1_000, 100) };
    place.spec(&format!(
        "  sources:
    rows:
      kafka: {{ topic: {input}, until: end, properties: {properties} }}
      format: json
      columns: {COLUMNS}
      time: {{ lag: 2s, idle: never }}
  transforms:
    good: {{ from: rows, where: v >= 8 }}
    per_k_5s:
      from: good
      window: {{ tumbling: {WINDOW_MS}ms }}
      group_by: [k]
      aggregate: {{ cnt: count(*), total: sum(n) }}
      having: cnt >= {LEAST_COUNT}
    per_k: {{ from: good, group_by: [k], aggregate: {{ cnt: count(*), total: sum(n) }} }}
  sinks:
    good_rows: {{ from: good, kafka: {{ topic: {good} }}, format: json }}
    windows: {{ from: per_k_5s, kafka: {{ topic: {windows} }}, format: json }}
    newest: {{ from: per_k, kafka: {{ topic: {newest} }}, format: json, mode: upsert }}
    lines: {{ from: per_k_5s, file: {{ path: out/windows.jsonl }}, format: json }}
"
    ));

    let begun = Instant::now();
    let mut commits = place.watched_journal();
    // A replay commits nothing, and may be as long as the input.
    commits.patience *= u32::try_from(records / RECORDS).unwrap().max(1);
    let mut witness = Witness::of(topics.clone());
    let mut kills = 0;
    loop {
        let runner = place.apply();
        commits.wait_for_first_of(&runner);
        if runner.ended_within(Duration::from_millis(random.between(500..3_000))) {
            runner.wait().with_code(0);
            break;
        }
        runner.kill();
        kills += 1;
        witness.look(&wanted);
    }
    eprintln!("{records} records, {kills} kills, {:?}", begun.elapsed());
    assert!(kills >= 2, "only {kills} kills: too fast for this test, give it more records");
    witness.look(&wanted);
    let read = |(partition, numbers): (&i64, &Vec<i64>)| (*partition, numbers.len());
    assert_eq!(witness.good, wanted.good.iter().map(read).collect());
    assert_same(&witness.windows, &wanted.windows, "windows");
    assert_same(&witness.newest, &wanted.totals, "the table");
    assert_same(&windows_written(&place.lines("out/windows.jsonl")), &wanted.windows, "windows in the file");
    place.verified_within(3 * commits.patience);
}
