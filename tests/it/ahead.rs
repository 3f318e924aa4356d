//! Rows whose time is hours ahead of the clock: a broker takes none of such a timestamp, and none of them is lost.

use serde_json::{Value, json};

use ::runner::time::SystemClock;

use crate::servers::{self, TestRecord};
use crate::specs::Folder;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn now_ms() -> i64 {
    SystemClock::shared().now()
}

fn value(record: &TestRecord) -> Value {
    serde_json::from_str(&record.text()).unwrap()
}

/// `at` is in milliseconds.
fn row(at: i64) -> TestRecord {
    TestRecord::to(0, format!("{{\"at\":{at}}}")).at(now_ms())
}

/// A pipeline from one topic of rows to others.
fn folder(input: &str, restart: &str, time: &str, rest: &str) -> Folder {
    let folder = Folder::connected();
    folder.pipeline(
        "ahead",
        &format!(
            "  restart: {restart}
  sources: {{ rows: {{ kafka: {{ topic: {input}, until: end }}, format: json, columns: {{ at: timestamp(ms) }}, time: {time} }} }}
{rest}"
        ),
    );
    folder
}

/// The last window of a day closes when its sources have ended, and the day has not. Its record was refused by the
/// broker, which ended the run, and every run after it.
#[test]
fn i7_a_window_that_ends_hours_ahead_of_the_clock_is_written_with_the_latest_time_that_its_topic_takes() {
    let (input, output) = (servers::topic("day-in", 1), servers::topic("day-out", 1));
    let begun = now_ms();
    // The day that ends 12 h or more from now.
    let offset = (begun - 12 * HOUR).rem_euclid(DAY);
    servers::produce(&input, &[row(begun - DAY), row(begun), row(begun)]);
    let rest = format!(
        "  transforms: {{ days: {{ from: rows, window: {{ tumbling: 1d, offset: {offset}ms }}, aggregate: {{ n: count(*) }} }} }}
  sinks: {{ out: {{ from: days, kafka: {{ topic: {output} }}, format: json }} }}
"
    );
    let folder = folder(&input, "journal", "{ field: at }", &rest);
    let ended = folder.run("apply", &[]).with_code(0);
    assert!(ended.stderr.contains("the latest timestamp that the topic takes"), "{}", ended.stderr);
    assert!(ended.stderr.contains(", 1 ahead of the clock"), "{}", ended.stderr);
    let written = servers::read(&output);
    assert_eq!(written.iter().map(|record| value(record)["n"].clone()).collect::<Vec<_>>(), [json!(1), json!(2)]);
    let end = |record: &TestRecord| {
        chrono::DateTime::parse_from_rfc3339(value(record)["window_end"].as_str().unwrap()).unwrap().timestamp_millis()
    };
    assert_eq!(written[0].timestamp.unwrap(), end(&written[0]) - 1, "what is not ahead has its own time");
    assert!(end(&written[1]) > begun + 11 * HOUR);
    let latest = begun + HOUR - 5 * 60_000..=now_ms() + HOUR - 5 * 60_000;
    assert!(latest.contains(&written[1].timestamp.unwrap()), "{:?} in {latest:?}", written[1].timestamp);
    // There is nothing more to write, and nothing that cannot be.
    let again = folder.run("apply", &[]).with_code(0);
    assert!(again.stderr.contains(" 0 rows out"), "{}", again.stderr);
}

/// A dead letter has the timestamp of its record, which may be why it is dead.
#[test]
fn i7_a_dead_letter_of_a_record_from_the_future_is_written() {
    let input = servers::topic_with("future-in", 1, &[("message.timestamp.after.max.ms", "9223372036854775807")]);
    let (output, dead) = (servers::topic("future-out", 1), servers::topic("future-dead", 1));
    let begun = now_ms();
    servers::produce(&input, &[row(begun).at(begun), row(0).at(begun + 9 * DAY), row(begun + 1).at(begun)]);
    let rest = format!(
        "  sinks: {{ out: {{ from: rows, kafka: {{ topic: {output} }}, format: json }} }}
  dead_letter: {{ kafka: {{ topic: {dead} }} }}
"
    );
    folder(&input, "journal", "{}", &rest).run("apply", &[]).with_code(0);
    assert_eq!(servers::read(&output).len(), 2);
    let letters = servers::read(&dead);
    assert_eq!(letters.iter().map(TestRecord::text).collect::<Vec<_>>(), ["{\"at\":0}"]);
    assert!(letters[0].timestamp.unwrap() < begun + HOUR, "{:?}", letters[0].timestamp);
}

/// Times that were brought down would be made again by the next start, and doubled.
#[test]
fn i7_where_a_restart_goes_by_the_sinks_times_none_is_another() {
    let input = servers::topic_with("exact-in", 1, &[("message.timestamp.after.max.ms", "9223372036854775807")]);
    let output = servers::topic("exact-out", 1);
    let begun = now_ms();
    let records: Vec<_> = [0, 1, 5 * HOUR].map(|ahead| row(begun + ahead).at(begun + ahead)).to_vec();
    servers::produce(&input, &records);
    let rest = format!("  sinks: {{ out: {{ from: rows, kafka: {{ topic: {output} }}, format: json }} }}\n");
    let folder = folder(&input, "{ watermark: { epsilon: 1s } }", "{ max_ahead: 9h }", &rest);
    for _ in 0..2 {
        let refused = folder.run("apply", &[]).with_code(1);
        assert!(refused.stderr.contains("sink.time_ahead"), "{}", refused.stderr);
        assert!(refused.stderr.contains("message.timestamp.after.max.ms"), "{}", refused.stderr);
    }
    servers::set(servers::kafka(), &output, &[("message.timestamp.after.max.ms", "9223372036854775807")]);
    folder.run("apply", &[]).with_code(0);
    let times: Vec<_> = servers::read(&output).iter().map(|record| record.timestamp.unwrap() - begun).collect();
    assert_eq!(times, [0, 1, 5 * HOUR]);
}
