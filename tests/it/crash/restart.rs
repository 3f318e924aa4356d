//! Restart from the sink alone: killed at any moment, the journal taken away, and no gap, duplicate or disorder (I12).

use super::*;

/// Follows a sink: what is committed there is what a restart has to go by.
struct Growth {
    consumer: BaseConsumer,
}

impl Growth {
    fn of(topic: &str, partitions: i32) -> Growth {
        let mut config = servers::config();
        config.set("group.id", "test").set("isolation.level", "read_committed").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        Growth { consumer }
    }

    /// Passes over what is there.
    fn catch_up(&mut self) {
        while self.consumer.poll(Duration::from_millis(500)).is_some() {}
    }

    /// Waits for a record that was not there, or for the end of the process.
    fn wait(&mut self, runner: &Runner) {
        let deadline = Instant::now() + PATIENCE;
        while !runner.ended_within(Duration::ZERO) {
            assert!(Instant::now() < deadline, "nothing new for {PATIENCE:?}:\n{}", runner.stderr());
            if let Some(Ok(_)) = self.consumer.poll(Duration::from_millis(100)) {
                return;
            }
        }
    }
}

/// Some 3,000 records a second of each partition, on any machine.
const SLOWLY: &str =
    "{ queued.min.messages: \"100\", fetch.queue.backoff.ms: \"60\", fetch.message.max.bytes: \"8192\" }";

/// Starts it again and again: each run is killed some time after it has written something, and its journal is removed. Gives
/// the number of kills.
fn killed_without_journal(place: &Place, sink: &str, partitions: i32, flags: &[&str], random: &mut Random) -> u32 {
    let mut growth = Growth::of(sink, partitions);
    for kills in 0.. {
        let runner = place.apply_with(flags);
        growth.wait(&runner);
        if runner.ended_within(Duration::from_millis(random.between(50..400))) {
            let ended = runner.wait().with_code(0);
            assert_eq!(kills == 0, ended.stderr.contains("is empty"), "{}", ended.stderr);
            return kills;
        }
        runner.kill();
        servers::delete_topic(&place.journal());
        growth.catch_up();
    }
    unreachable!("some run comes to its end");
}

/// A pipeline of the project on topics of its own, with many small epochs.
fn of_project(file: &str, place: &Place, input: &str, output: &str) {
    let project = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(project.join("pipelines").join(file)).unwrap();
    let name = file.trim_end_matches(".yaml");
    let change = |text: String, from: &str, to: &str| {
        assert!(text.contains(from), "no `{from}` in {file}");
        text.replacen(from, to, 1)
    };
    let text = change(text, &format!("name: {name}"), &format!("name: {}", place.name));
    let text = change(text, "{ topic: visits }", &format!("{{ topic: {input}, properties: {SLOWLY} }}"));
    let text = change(text, "topic: long_visits", &format!("topic: {output}"));
    let text = change(text, "spec:\n", "spec:\n  epoch: { max_bytes: 32KiB }\n");
    let connection = format!(
        "apiVersion: runner/v1\nkind: Connection\nmetadata: {{ name: default }}\nspec: {{ kafka: {{ brokers: \"{}\" }} }}\n---\n",
        place.brokers
    );
    std::fs::write(place.path("spec.yaml"), connection + &text).unwrap();
}

/// Visits in three partitions of different length; times are multiples of 40 ms, so many are equal, also where a run is killed.
fn visits(topic: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = rows(&[10_000, 4_000, 1_000], 100_000, 800, 5).collect();
    rows.iter_mut().for_each(|row| row.time -= row.time % 40);
    let record = |row: &Row| {
        let Row { n, k, v, .. } = row;
        TestRecord::to(row.partition, format!("{{\"visit\":{n},\"user\":\"{k}\",\"pages\":{v}}}")).at(row.time)
    };
    fill_in_batches(50, topic, rows.iter().map(record));
    rows
}

/// Number and time of each record of a topic, by its partition, in order.
fn written(topic: &str) -> BTreeMap<i32, Vec<(i64, i64)>> {
    let mut all: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
    for record in servers::read(topic) {
        let visit = (long(&json(&record.text()), "visit"), record.timestamp.unwrap());
        all.entry(record.partition).or_default().push(visit);
    }
    all
}

#[test]
fn by_watermark_a_killed_run_goes_on_behind_the_newest_time_of_its_sink() {
    let mut random = Random::new();
    let place = Place::new("by-time");
    let (input, output) =
        (servers::topic_with("by-time-in", 3, &[("retention.ms", "-1")]), servers::unique("by-time-out"));
    servers::create_topic(servers::kafka(), &output, 4, &[("retention.ms", "-1")]);
    let rows = visits(&input);
    of_project("exactly-once-time.yaml", &place, &input, &output);

    let kills = killed_without_journal(&place, &output, 4, &["--until", "end"], &mut random);
    assert!(kills >= 3, "only {kills} kills: give it more records");
    let written = written(&output);
    for (partition, visits) in &written {
        assert!(visits.is_sorted_by_key(|(_, time)| *time), "disorder in partition {partition}");
    }
    let mut found: Vec<i64> = written.values().flatten().map(|(visit, _)| *visit).collect();
    found.sort_unstable();
    let mut wanted: Vec<i64> = rows.iter().filter(|row| row.v >= 3).map(|row| row.n).collect();
    wanted.sort_unstable();
    assert!(found == wanted, "{} records instead of {} after {kills} kills", found.len(), wanted.len());

    // All is out: another run writes nothing, and one that begins anew would write it again.
    let again = place.apply_with(&["--until", "end"]).wait().with_code(0);
    assert!(again.stderr.contains(" 0 rows out") && again.stderr.contains("already out"), "{}", again.stderr);
    let fresh = place.apply_with(&["--until", "end", "--fresh"]).wait().with_code(3);
    assert!(fresh.stderr.contains("refused.sink_not_empty"), "{}", fresh.stderr);
    let count = servers::read(&output).len();
    assert_eq!(count, wanted.len());

    // What somebody else writes there says nothing of ours.
    servers::produce(&output, &[TestRecord::to(2, "{}").at(now_ms())]);
    let foreign = place.apply_with(&["--until", "end"]).wait().with_code(3);
    assert!(foreign.stderr.contains("refused.foreign_record"), "{}", foreign.stderr);
    assert!(foreign.stderr.contains("of partition 2"), "{}", foreign.stderr);
}

/// Windows that are open when a run is killed are made again from the source: whole, and each once.
///
/// `of_field`: their time is a field, and the timestamps are later.
fn windows_by_watermark(name: &str, window: &str, size_ms: i64, every_ms: i64, of_field: bool) {
    let mut random = Random::new();
    let place = Place::new(name);
    let (input, output) = (servers::topic_with(name, 3, &[("retention.ms", "-1")]), servers::unique(name));
    servers::create_topic(servers::kafka(), &output, 2, &[("retention.ms", "-1")]);
    let rows: Vec<Row> = rows(&[6_000, 3_000, 800], 60_000, 800, 5).collect();
    let record = |row: &Row| {
        let Row { n, k, v, .. } = row;
        let text = format!("{{\"n\":{n},\"k\":\"{k}\",\"v\":{v},\"at\":{}}}", row.time);
        TestRecord::to(row.partition, text).at(if of_field { row.time + n % 700 } else { row.time })
    };
    fill_in_batches(50, &input, rows.iter().map(record));
    let (says, time) = match of_field {
        true => (", not_after_timestamp: true", "{ field: at }"),
        false => ("", "{ lag: 0s }"),
    };
    place.spec(&format!(
        "  restart: {{ watermark: {{ epsilon: 900ms{says} }} }}
  epoch: {{ max_bytes: 16KiB }}
  sources:
    rows:
      kafka: {{ topic: {input}, until: end, properties: {SLOWLY} }}
      format: json
      columns: {{ n: long, k: string, v: int, at: timestamp(ms) }}
      time: {time}
  transforms:
    good: {{ from: rows, where: v >= 1 }}
    per_k:
      from: good
      window: {window}
      group_by: [k]
      aggregate: {{ cnt: count(*), total: sum(n) }}
    large: {{ from: per_k, where: cnt > 1 }}
  sinks: {{ windows: {{ from: large, kafka: {{ topic: {output} }}, format: json }} }}
"
    ));
    let kills = killed_without_journal(&place, &output, 2, &[], &mut random);
    assert!(kills >= 2, "only {kills} kills: give it more records");

    let mut wanted: BTreeMap<(i64, String), Sums> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.v >= 1) {
        let last = row.time - row.time % every_ms;
        for start in (0..).map(|back| last - back * every_ms).take_while(|start| start + size_ms > row.time) {
            let (count, sum) = wanted.entry((start, row.k.clone())).or_default();
            *count += 1;
            *sum += row.n;
        }
    }
    wanted.retain(|_, (count, _)| *count > 1);
    let mut newest = BTreeMap::new();
    for record in servers::read(&output) {
        let before = newest.insert(record.partition, record.timestamp);
        assert!(before.is_none_or(|before| before <= record.timestamp), "disorder in partition {}", record.partition);
    }
    assert_same(&windows_written(&place.committed(&output)), &wanted, "windows");
}

#[test]
fn by_watermark_open_windows_are_made_again() {
    windows_by_watermark("tumbling-by-time", "{ tumbling: 2s }", 2_000, 2_000, false);
    windows_by_watermark("hopping-by-time", "{ hopping: { size: 3s, every: 1s } }", 3_000, 1_000, true);
}

#[test]
fn by_offsets_a_killed_run_goes_on_where_the_newest_epoch_of_its_sink_ended() {
    let mut random = Random::new();
    let place = Place::new("by-offset");
    let (input, output) =
        (servers::topic_with("by-offset-in", 3, &[("retention.ms", "-1")]), servers::unique("by-offset-out"));
    servers::create_topic(servers::kafka(), &output, 4, &[("retention.ms", "-1")]);
    let rows = visits(&input);
    of_project("exactly-once-offset.yaml", &place, &input, &output);

    let kills = killed_without_journal(&place, &output, 4, &["--until", "end"], &mut random);
    assert!(kills >= 3, "only {kills} kills: give it more records");
    let mut wanted: Vec<i64> = rows.iter().filter(|row| row.v >= 3).map(|row| row.n).collect();
    wanted.sort_unstable();
    let mut found = Vec::new();
    for (partition, visits) in written(&output) {
        let mut last = BTreeMap::new();
        for (visit, _) in visits {
            let before = last.insert(visit / PER_PARTITION, visit);
            assert!(before.is_none_or(|before| before < visit), "disorder in partition {partition}");
            found.push(visit);
        }
    }
    found.sort_unstable();
    assert!(found == wanted, "{} records instead of {} after {kills} kills", found.len(), wanted.len());
}

/// A sink that was written otherwise does not say how far the sources were read.
#[test]
fn a_sink_without_the_headers_is_refused_and_so_is_one_with_the_brokers_time() {
    let place = Place::new("no-headers");
    let (input, output) = (servers::topic("no-headers-in", 1), servers::unique("no-headers-out"));
    servers::create_topic(servers::kafka(), &output, 1, &[]);
    let rows: Vec<Row> = rows(&[20], 1_000, 1, 1).collect();
    fill(servers::kafka(), &input, &rows);
    let spec = |restart: &str, output: &str| {
        place.spec(&format!(
            "  restart: {restart}
  sources: {{ rows: {{ kafka: {{ topic: {input}, until: end }}, format: json, columns: {COLUMNS} }} }}
  sinks: {{ out: {{ from: rows, kafka: {{ topic: {output} }}, format: json }} }}
"
        ));
    };
    spec("journal", &output);
    place.apply().wait().with_code(0);
    for restart in ["offsets", "{ watermark: { epsilon: 1s } }"] {
        spec(restart, &output);
        let refused = place.apply().wait().with_code(3);
        assert!(refused.stderr.contains("refused.foreign_record"), "{restart}:\n{}", refused.stderr);
    }
    assert_eq!(servers::read(&output).len(), 20);

    // A sink with times, then one with offsets in its headers: the first says nothing of offsets.
    let by_time = servers::topic("by-time-first", 1);
    spec("{ watermark: { epsilon: 1s } }", &by_time);
    place.apply().wait().with_code(0);
    spec("offsets", &by_time);
    let refused = place.apply().wait().with_code(3);
    assert!(refused.stderr.contains("refused.sink_headers"), "{}", refused.stderr);

    let brokers_time = servers::topic_with("brokers-time", 1, &[("message.timestamp.type", "LogAppendTime")]);
    spec("{ watermark: { epsilon: 1s } }", &brokers_time);
    let wrong = place.apply().wait().with_code(2);
    assert!(wrong.stderr.contains("restart.append_time"), "{}", wrong.stderr);
}

/// An empty sink says nothing: where the journal is there, the pipeline still begins where it began first, and a sink that
/// retention has emptied is not taken for one that was never written.
#[test]
fn i17_while_the_sink_is_empty_nothing_that_was_to_be_read_is_skipped_in_silence() {
    let place = Place::new("still-empty");
    let week = [("retention.ms", "604800000")];
    let (input, output) = (servers::topic("still-empty-in", 1), servers::topic_with("still-empty-out", 1, &week));
    let spec = |restart: &str| {
        place.spec(&format!(
            "  restart: {restart}
  sources: {{ rows: {{ kafka: {{ topic: {input}, until: end }}, format: json, columns: {{ n: long }} }} }}
  transforms: {{ good: {{ from: rows, where: n >= 2 }} }}
  sinks: {{ out: {{ from: good, kafka: {{ topic: {output} }}, format: json }} }}
"
        ));
    };
    let begin = now_ms() - 10_000;
    let give = |numbers: std::ops::Range<i64>| {
        let record = |n: i64| TestRecord::to(0, format!("{{\"n\":{n}}}")).at(begin + n);
        servers::produce(&input, &numbers.map(record).collect::<Vec<_>>());
    };
    spec("offsets");
    give(0..2);
    let first = place.apply().wait().with_code(0);
    assert!(first.stderr.contains("restart.retention"), "{}", first.stderr);
    assert!(place.committed(&output).is_empty());

    // The first run began at 0; what comes next is out of nothing, and a record of it is gone.
    give(2..5);
    servers::delete_records(&input, 0, 3);
    let expired = place.apply().wait().with_code(3);
    assert!(expired.stderr.contains("kafka.expired") && expired.stderr.contains("0 to 2"), "{}", expired.stderr);
    place.apply_with(&["--fresh"]).wait().with_code(0);
    let numbers = || place.committed(&output).iter().map(|row| long(row, "n")).collect::<Vec<_>>();
    assert_eq!(numbers(), [3, 4]);

    servers::delete_all_records(&output, 0);
    for restart in ["offsets", "{ watermark: { epsilon: 1s } }"] {
        spec(restart);
        let trimmed = place.apply().wait().with_code(3);
        assert!(trimmed.stderr.contains("refused.sink_trimmed"), "{restart}:\n{}", trimmed.stderr);
        assert!(numbers().is_empty());
    }
    place.apply_with(&["--fresh"]).wait().with_code(0);
    assert_eq!(numbers(), [3, 4]);
}

/// Records before `start` are none of this pipeline's, also where their times are younger than the sink's newest one.
#[test]
fn by_watermark_a_restart_reads_nothing_before_start() {
    let place = Place::new("from-start");
    let (input, output) = (servers::topic("from-start-in", 1), servers::topic("from-start-out", 1));
    let begin = now_ms() - 100_000;
    let give = |times: &[(i64, i64)]| {
        let record = |(n, after): &(i64, i64)| TestRecord::to(0, format!("{{\"n\":{n}}}")).at(begin + after);
        servers::produce(&input, &times.iter().map(record).collect::<Vec<_>>());
    };
    give(&[(0, 3_000), (1, 3_001), (2, 0), (3, 1), (4, 2)]);
    place.spec(&format!(
        "  restart: {{ watermark: {{ epsilon: 10s }} }}
  sources: {{ rows: {{ kafka: {{ topic: {input}, start: {{ offsets: {{ {input}: {{ 0: 2 }} }} }}, until: end }}, format: json, columns: {{ n: long }} }} }}
  sinks: {{ out: {{ from: rows, kafka: {{ topic: {output} }}, format: json }} }}
"
    ));
    let numbers = || place.committed(&output).iter().map(|row| long(row, "n")).collect::<Vec<_>>();
    place.apply().wait().with_code(0);
    assert_eq!(numbers(), [2, 3, 4]);
    give(&[(5, 4_000)]);
    place.apply().wait().with_code(0);
    assert_eq!(numbers(), [2, 3, 4, 5]);
}

/// The new topic is longer than the old one was: the position in the header is within it, and means nothing there.
#[test]
fn i17_by_offsets_a_source_that_was_made_anew_is_refused() {
    let place = Place::new("other-source");
    let (input, output) = (servers::topic("other-source-in", 1), servers::topic("other-source-out", 1));
    let give = |numbers: std::ops::Range<i64>| {
        let record = |n: i64| TestRecord::to(0, format!("{{\"n\":{n}}}"));
        servers::produce(&input, &numbers.map(record).collect::<Vec<_>>());
    };
    give(0..5);
    place.spec(&format!(
        "  restart: offsets
  sources: {{ rows: {{ kafka: {{ topic: {input}, until: end }}, format: json, columns: {{ n: long }} }} }}
  sinks: {{ out: {{ from: rows, kafka: {{ topic: {output} }}, format: json }} }}
"
    ));
    let numbers = || place.committed(&output).iter().map(|row| long(row, "n")).collect::<Vec<_>>();
    place.apply().wait().with_code(0);
    servers::delete_topic(&place.journal());
    servers::delete_topic(&input);
    while servers::exists(&input) {
        std::thread::sleep(Duration::from_millis(50));
    }
    servers::create_topic(servers::kafka(), &input, 1, &[]);
    give(100..110);
    for _ in 0..2 {
        let refused = place.apply().wait().with_code(3);
        assert!(refused.stderr.contains("refused.source_changed"), "{}", refused.stderr);
        assert!(refused.stderr.contains(&input) && refused.stderr.contains("its id was"), "{}", refused.stderr);
    }
    assert_eq!(numbers(), (0..5).collect::<Vec<_>>());
    place.apply_with(&["--fresh"]).wait().with_code(0);
    assert_eq!(numbers(), (0..5).chain(100..110).collect::<Vec<_>>());
}

/// Bad records of what is read again are dead letters again, and none is missing; good ones are there once.
#[test]
fn bad_records_are_dead_letters_beside_both_ways_to_restart() {
    for (name, restart) in [("dead-by-time", "{ watermark: { epsilon: 5s } }"), ("dead-by-offset", "offsets")] {
        let place = Place::new(name);
        let [input, output, dead] = ["in", "out", "dead"].map(|end| servers::topic(&format!("{name}-{end}"), 1));
        let begin = now_ms() - 100_000;
        let is_bad = |n: &i64| n % 4 == 3;
        let give = |numbers: std::ops::Range<i64>| {
            let text = |n: i64| if is_bad(&n) { format!("{{\"n\":\"{n}\"}}") } else { format!("{{\"n\":{n}}}") };
            let record = |n: i64| TestRecord::to(0, text(n)).at(begin + n);
            servers::produce(&input, &numbers.map(record).collect::<Vec<_>>());
        };
        place.spec(&format!(
            "  restart: {restart}
  sources: {{ rows: {{ kafka: {{ topic: {input}, until: end }}, format: json, columns: {{ n: long }} }} }}
  sinks: {{ out: {{ from: rows, kafka: {{ topic: {output} }}, format: json }} }}
  dead_letter: {{ kafka: {{ topic: {dead} }} }}
"
        ));
        for round in 0..3 {
            give(round * 10..(round + 1) * 10);
            place.apply().wait().with_code(0);
            servers::delete_topic(&place.journal());
        }
        let numbers: Vec<_> = place.committed(&output).iter().map(|row| long(row, "n")).collect();
        assert_eq!(numbers, (0..30).filter(|n| !is_bad(n)).collect::<Vec<_>>(), "{restart}");
        let letters = servers::read(&dead);
        let mut dead: Vec<String> = letters.iter().map(TestRecord::text).collect();
        dead.sort();
        dead.dedup();
        let mut wanted: Vec<_> = (0..30).filter(is_bad).map(|n| format!("{{\"n\":\"{n}\"}}")).collect();
        wanted.sort();
        assert_eq!(dead, wanted, "{restart}");
    }
}
