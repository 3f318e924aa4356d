//! A start that takes its time says how far it is: by a bar where somebody looks, by lines elsewhere.

use super::*;

/// A pipeline that was killed behind many epochs, all of which it must read again, for seconds on any machine.
fn killed_behind_many_epochs() -> Place {
    let place = Place::new("replayed");
    let input = servers::topic_with("replayed", 1, &[("retention.ms", "-1")]);
    let record = |row: Row| {
        let Row { n, k, v, .. } = &row;
        TestRecord::to(0, format!("{{\"n\":{n},\"k\":\"{k}\",\"v\":{v}}}")).at(row.time)
    };
    fill_in_batches(100, &input, rows(&[60_000], 60_000, 1, 3).map(record));
    place.spec(&format!(
        "  epoch: {{ max_bytes: 32KiB, min: 1ms }}
  state: {{ every: 1h, recovery_target: 1h }}
  sources:
    rows: {{ kafka: {{ topic: {input}, properties: {} }}, format: json, columns: {COLUMNS}, time: {{ lag: 1s, idle: never }} }}
  transforms:
    per_k: {{ from: rows, window: {{ tumbling: 7d }}, group_by: [k], aggregate: {{ cnt: count(*), total: sum(n) }} }}
  sinks: {{ windows: {{ from: per_k, kafka: {{ topic: {} }}, format: json }} }}
",
        throttled(100, 200),
        servers::unique("windows")
    ));
    let mut commits = place.watched_journal();
    let runner = place.apply();
    let read = std::cell::Cell::new(0);
    let is_enough = |record: &Value| {
        let partitions = record["epoch"]["partitions"]["rows"].as_object();
        read.set(read.get() + partitions.into_iter().flatten().map(|(_, range)| long(range, "read")).sum::<i64>());
        read.get() >= 40_000
    };
    commits.wait_for_records(&runner, 1, is_enough);
    runner.kill();
    place
}

/// The number behind these words.
fn number_behind(line: &str, words: &str) -> Option<u64> {
    let (_, rest) = line.split_once(words)?;
    let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(|c| *c != ',').collect();
    digits.parse().ok()
}

#[test]
fn a_long_replay_says_how_far_it_is() {
    let place = killed_behind_many_epochs();
    let begins = format!("{}: replays ", place.name);
    let to_replay = |runner: &Runner| number_behind(&runner.wait_stderr(&begins), " (").unwrap();

    let watched = Runner::spawn_on_terminal(&["apply", "spec.yaml"], place.folder.path());
    let all = to_replay(&watched);
    // The bar is drawn again and again: "█▋      1,234 of 40,000 records, 5,000 a second, 7s left".
    let done = |line: &str| {
        let (before, behind) = line.split_once(" of ")?;
        let is_of_all = behind.contains(" records, ") && number_behind(line, " of ") == Some(all);
        number_behind(before.rsplit(' ').next()?, "").filter(|_| is_of_all)
    };
    let far = |line: &str| done(line).is_some_and(|done| done < all);
    let first = watched.wait_line(Stream::Stderr, far, "a bar that has begun");
    let further = |line: &str| far(line) && done(line) > done(&first) && line.contains('█');
    // It is drawn ten times a second at most; while the process is suspended that time passes, however fast it reads.
    watched.signal(libc::SIGSTOP);
    std::thread::sleep(Duration::from_millis(500));
    watched.signal(libc::SIGCONT);
    watched.wait_line(Stream::Stderr, further, "a bar that is further");
    let said = watched.kill().stderr;
    assert!(!said.contains(": replayed "), "the bar says it: {said}");

    let unwatched = place.apply();
    // The one that was killed may have gone on behind its replay by then.
    let all = all.max(to_replay(&unwatched));
    // A line comes every five seconds; these pass while it is suspended, however fast it reads.
    unwatched.signal(libc::SIGSTOP);
    std::thread::sleep(Duration::from_millis(5_100));
    unwatched.signal(libc::SIGCONT);
    let line = unwatched.wait_stderr(": replayed ");
    let done = number_behind(&line, ": replayed ").unwrap();
    assert!(0 < done && done <= all && line.ends_with(&format!(" of {all} records")), "{line}");
    let said = unwatched.kill().stderr;
    assert!(!said.contains('█') && !said.contains('\r'), "{said}");
}
