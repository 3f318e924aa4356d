//! Restart from the newest time in the sink, step by step and without a kill: what is read again, what is left out, what is late (I12).

use super::*;

const EPSILON_MS: i64 = 30_000;

/// By input partition the (number, time) of each record, times as milliseconds behind M, the newest one that is out.
type Script<'a> = [&'a [(i64, i64)]; 3];

/// Partitions hours apart and one without a record.
const FIRST: Script = [
    &[(0, -3 * 3_600_000), (1, -3 * 3_600_000 + 2_000), (2, -3 * 3_600_000 + 1_000), (3, 40_000)],
    // The second is what `epsilon` reaches exactly; the one before is not read again.
    &[(10, -EPSILON_MS - 1), (11, -EPSILON_MS), (12, -10_000), (13, 0), (14, 0), (15, 40_000)],
    &[(20, -3_600_000), (21, 0), (22, 40_000)],
];

/// What comes behind a stop: one record of time M, which nobody can tell from those that are out, and later ones.
const SECOND: Script = [&[(30, 0), (31, 100_000)], &[(32, 100_000)], &[(33, 100_000)]];

/// More than `epsilon` behind what was read before it.
const LATE: Script = [&[], &[(40, -EPSILON_MS - 5_000)], &[]];

#[test]
fn i12_by_watermark_every_row_of_a_restart_is_out_once_or_counted() {
    let place = Place::new("script-by-time");
    let forever = [("retention.ms", "-1")];
    let input = servers::topic_with("script-in", 4, &forever);
    let output = servers::topic_with("script-out", 4, &forever);
    let dead = servers::topic("script-dead", 1);
    let newest = now_ms() - 3_600_000;
    let give = |script: Script| {
        let of = |(partition, records): (i32, &&[(i64, i64)])| {
            let record = |(n, time): &(i64, i64)| {
                let record = TestRecord::to(partition, format!("{{\"n\":{n},\"k\":\"k{partition}\"}}"));
                record.at(newest + time)
            };
            records.iter().map(record).collect::<Vec<_>>()
        };
        let records: Vec<TestRecord> = (0..).zip(&script).flat_map(of).collect();
        servers::produce(&input, &records);
    };
    place.spec(&format!(
        "  restart: {{ watermark: {{ epsilon: {EPSILON_MS}ms }} }}
  sources:
    rows:
      kafka: {{ topic: {input} }}
      format: json
      columns: {{ n: long, k: string }}
      time: {{ lag: 0s, idle: 3s }}
  sinks: {{ out: {{ from: rows, kafka: {{ topic: {output} }}, format: json, key: k }} }}
  dead_letter: {{ kafka: {{ topic: {dead} }} }}
"
    ));
    let written = || {
        let records = servers::read(&output);
        let mut last = BTreeMap::new();
        for record in &records {
            let before = last.insert(record.partition, record.timestamp);
            assert!(before.is_none_or(|before| before <= record.timestamp), "disorder: {records:?}");
        }
        assert!(last.len() < 4, "one partition of the sink stays empty");
        let mut numbers: Vec<i64> = records.iter().map(|record| long(&json(&record.text()), "n")).collect();
        numbers.sort_unstable();
        numbers
    };
    let stopped = |runner: Runner| {
        runner.signal(libc::SIGINT);
        runner.wait().with_code(0).stderr
    };
    // Up to M all is out; what is 40 s behind it waits to be sorted.
    give(FIRST);
    let runner = place.apply();
    wait_for_records(&place.brokers, &output, 10);
    let said = stopped(runner);
    assert_eq!([" rows in", " rows out", " late", " dead"].map(|what| total(&said, what)), [13, 10, 0, 0], "{said}");
    let mut wanted = vec![0, 1, 2, 10, 11, 12, 13, 14, 20, 21];
    assert_eq!(written(), wanted);

    // Only the sink says how far it was. What it has from M - epsilon on is made again and left out, and so is the record that
    // came since with the time M. One that is late goes the way of late ones.
    servers::delete_topic(&place.journal());
    give(SECOND);
    let runner = place.apply();
    let said = runner.wait_stderr("has times up to");
    assert!(said.contains(&format!("has times up to {newest}")), "{said}");
    wait_for_records(&place.brokers, &output, 13);
    give(LATE);
    let letters = wait_for_records(&place.brokers, &dead, 1);
    let said = stopped(runner);
    assert_eq!([" rows in", " late", " already out"].map(|what| total(&said, what)), [13, 1, 6], "{said}");
    assert_eq!(letters.iter().map(|letter| long(&json(&letter.text()), "n")).collect::<Vec<_>>(), [40]);
    wanted.extend([3, 15, 22]);
    wanted.sort_unstable();
    assert_eq!(written(), wanted);

    // What was late is decided anew: here it may be in time, and is taken for one that is out. Either way it is counted.
    servers::delete_topic(&place.journal());
    let said = place.apply_with(&["--until", "end"]).wait().with_code(0).stderr;
    assert_eq!((total(&said, " rows in"), total(&said, " late") + total(&said, " already out")), (8, 5), "{said}");
    wanted.extend([31, 32, 33]);
    wanted.sort_unstable();
    assert_eq!(written(), wanted);
}

/// The number before these words in the line of totals.
#[track_caller]
fn total(said: &str, what: &str) -> u64 {
    let line = said.lines().find(|line| line.contains(" rows in, ")).unwrap_or_else(|| panic!("no totals in\n{said}"));
    let part = line.split(',').find(|part| part.contains(what)).unwrap_or_else(|| panic!("no `{what}` in {line}"));
    part.split_whitespace().next().unwrap().parse().unwrap()
}
