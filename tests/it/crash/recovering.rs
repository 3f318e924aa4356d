//! A start that takes its time says how far it is: by a bar where somebody looks, by lines elsewhere.

use super::points::{SLOWLY, die_at, record};
use super::*;

/// A pipeline that was killed behind some epochs, all of which it must read again.
fn killed_behind_many_epochs() -> Place {
    let place = Place::new("replayed");
    let input = servers::topic_with("replayed", 1, &[("retention.ms", "-1")]);
    let rows = rows(&[600], 600, 1, 3);
    fill_in_batches(10, &input, rows.map(|row| record(&row)));
    place.spec(&format!(
        "  epoch: {{ max_bytes: 2KiB, min: 1ms }}
  state: {{ every: 1h, recovery_target: 1h }}
  sources:
    rows: {{ kafka: {{ topic: {input}, properties: {} }}, format: json, columns: {COLUMNS}, time: {{ lag: 1s, idle: never }} }}
  transforms:
    per_k: {{ from: rows, window: {{ tumbling: 7d }}, group_by: [k], aggregate: {{ cnt: count(*), total: sum(n) }} }}
  sinks: {{ windows: {{ from: per_k, kafka: {{ topic: {} }}, format: json }} }}
",
        SLOWLY,
        servers::unique("windows")
    ));
    die_at(&place, "epoch.committed", 8);
    place
}

/// The number behind these words.
fn number_behind(line: &str, words: &str) -> Option<u64> {
    let (_, rest) = line.split_once(words)?;
    let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(|c| *c != ',').collect();
    digits.parse().ok()
}

#[test]
fn a_replay_says_how_far_it_is_and_may_be_killed_in_its_midst() {
    let place = killed_behind_many_epochs();
    die_at(&place, "epoch.replayed", 2);
    let begins = format!("{}: replays ", place.name);
    let to_replay = |runner: &Runner| number_behind(&runner.wait_stderr(&begins), " (").unwrap();
    // In its midst a replay waits, for as long as it is looked at.
    let waits = [("RUNNER_DIE_AT", "wait@epoch.replayed:3")];

    let watched = Runner::spawn_on_terminal(&["apply", "spec.yaml"], place.folder.path(), &waits);
    let all = to_replay(&watched);
    // The bar is drawn again and again: "█▋      1,234 of 40,000 records, 5,000 a second, 7s left".
    let done = |line: &str| {
        let (before, behind) = line.split_once(" of ")?;
        let is_of_all = behind.contains(" records, ") && number_behind(line, " of ") == Some(all);
        number_behind(before.rsplit(' ').next()?, "").filter(|_| is_of_all)
    };
    let in_its_midst = |line: &str| line.contains('█') && done(line).is_some_and(|done| 0 < done && done < all);
    watched.wait_line(Stream::Stderr, in_its_midst, "a bar in its midst");
    let said = watched.kill().stderr;
    assert!(!said.contains(": replayed "), "the bar says it: {said}");

    let unwatched = Runner::spawn_with(&["apply", "spec.yaml"], place.folder.path(), &waits);
    assert_eq!(to_replay(&unwatched), all, "nothing was added by those who died in a replay");
    unwatched.wait_stderr("waits at epoch.replayed");
    // A line comes every five seconds: these pass while it is suspended.
    unwatched.signal(libc::SIGSTOP);
    std::thread::sleep(Duration::from_millis(5_100));
    unwatched.signal(libc::SIGCONT);
    let line = unwatched.wait_stderr(": replayed ");
    let done = number_behind(&line, ": replayed ").unwrap();
    assert!(0 < done && done <= all && line.ends_with(&format!(" of {all} records")), "{line}");
    let said = unwatched.kill().stderr;
    assert!(!said.contains('█') && !said.contains('\r'), "{said}");
}
