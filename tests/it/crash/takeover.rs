//! The same pipeline started twice (I15).

use super::*;

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

/// Names host and pid of who has it.
#[track_caller]
fn assert_names(ended: &Ended, pid: u32) {
    let Ended { stderr, .. } = ended;
    let told = stderr.lines().find(|line| line.starts_with("error[")).unwrap_or_default();
    assert!(told.contains(&host()) && told.contains(&pid.to_string()), "no host and pid {pid} in:\n{stderr}");
}

/// `n` counts without a gap, without a double, in order.
#[track_caller]
fn assert_counts_up(rows: &[Value]) {
    let numbers: Vec<i64> = rows.iter().map(|row| long(row, "n")).collect();
    let wanted: Vec<i64> = (0..numbers.len() as i64).collect();
    let first = numbers.iter().zip(&wanted).find(|(found, wanted)| found != wanted);
    assert_eq!(first, None, "(found, wanted)");
}

const COUNTER: &str = "{ n: { type: long, iteration: { start: 0 } } }";

/// With its journal in Kafka the second fences the first, which says by whom, and no row comes twice.
#[test]
fn a_second_start_fences_the_first_where_the_journal_is_in_kafka() {
    let place = Place::new("fenced");
    let topic = servers::unique("fenced-out");
    place.spec(&format!(
        "  sources: {{ rows: {{ datagen: {{ columns: {COUNTER}, rate: 2000 }} }} }}
  sinks: {{ out: {{ from: rows, kafka: {{ topic: {topic} }}, format: json }} }}
"
    ));
    let mut commits = place.watched_journal();
    let first = place.apply();
    commits.wait_for(&first, 3);
    let second = place.apply();
    let ended = first.wait().with_code(3);
    assert_names(&ended, second.pid());
    assert!(ended.stderr.contains("refused.taken_over"), "{}", ended.stderr);
    commits.wait_for(&second, 3);
    second.signal(libc::SIGTERM);
    let ended = second.wait().with_code(0);
    assert!(ended.stderr.contains("resumes behind epoch"), "{}", ended.stderr);
    let rows = place.committed(&topic);
    assert!(rows.len() > 10);
    assert_counts_up(&rows);
}

/// Without Kafka the state directory is locked: the second start is refused, the first goes on.
#[test]
fn a_second_start_is_refused_where_the_journal_is_a_file() {
    let place = Place::new("locked");
    place.spec(&format!(
        "  sources: {{ rows: {{ datagen: {{ columns: {COUNTER}, rate: 2000 }} }} }}
  sinks: {{ out: {{ from: rows, file: {{ path: out.jsonl }}, format: json }} }}
"
    ));
    let first = place.apply();
    first.wait_stderr(": starts");
    let ended = place.apply().wait().with_code(3);
    assert_names(&ended, first.pid());
    assert!(!first.ended_within(Duration::from_millis(200)), "{}", first.stderr());
    first.signal(libc::SIGTERM);
    first.wait().with_code(0);
    assert_counts_up(&place.lines("out.jsonl"));
}

/// A file sink is locked before the journal in Kafka is taken over: otherwise the second start would end
/// the first, and then itself for want of the file.
#[test]
fn a_second_start_that_cannot_have_the_file_leaves_the_first_alone() {
    let place = Place::new("locked-file");
    let topic = servers::unique("locked-file-out");
    place.spec(&format!(
        "  sources: {{ rows: {{ datagen: {{ columns: {COUNTER}, rate: 2000 }} }} }}
  sinks:
    out: {{ from: rows, kafka: {{ topic: {topic} }}, format: json }}
    lines: {{ from: rows, file: {{ path: out.jsonl }}, format: json }}
"
    ));
    let mut commits = place.watched_journal();
    let first = place.apply();
    commits.wait_for(&first, 3);
    let ended = place.apply().wait().with_code(3);
    assert_names(&ended, first.pid());
    commits.wait_for(&first, 3);
    first.signal(libc::SIGTERM);
    first.wait().with_code(0);
    let rows = place.committed(&topic);
    assert_counts_up(&rows);
    assert_eq!(place.lines("out.jsonl"), rows);
}

/// Where the sink says how far the pipeline is, the first instance may own the journal again, and commit, behind what the
/// second one read there before it owns anything: nothing of that comes twice.
#[test]
fn i15_what_the_first_commits_while_a_second_one_starts_from_the_sink_is_not_written_again() {
    let place = Place::new("overtaken");
    let (input, output) = (servers::topic("overtaken-in", 1), servers::topic("overtaken-out", 1));
    place.spec(&format!(
        "  restart: offsets
  sources: {{ rows: {{ kafka: {{ topic: {input} }}, format: json, columns: {{ n: long }} }} }}
  sinks: {{ out: {{ from: rows, kafka: {{ topic: {output} }}, format: json }} }}
"
    ));
    let mut count = 0;
    let mut one_more = || {
        servers::produce(&input, &[TestRecord::to(0, format!("{{\"n\":{count}}}")).at(now_ms())]);
        count += 1;
        wait_for_records(&place.brokers, &output, count);
    };
    let first = place.apply();
    one_more();
    let at = [("RUNNER_DIE_AT", "wait@origin.read")];
    let second = Runner::spawn_with(&["apply", "spec.yaml"], place.folder.path(), &at);
    // It has read the sink, and owns nothing yet. The first is fenced, looks who that was, finds nobody, and goes on: what it
    // commits then stands behind what the second one knows of.
    second.wait_stderr("waits at origin.read");
    assert!(!first.stderr().contains("another instance took over"), "{}", first.stderr());
    one_more();
    assert!(first.stderr().contains("another instance took over"), "{}", first.stderr());
    one_more();
    second.signal(libc::SIGSTOP);
    // Its clock leaps: so it knows that it was suspended, and goes on.
    std::thread::sleep(Duration::from_secs(3));
    second.signal(libc::SIGCONT);
    second.wait_stderr("goes on behind that");
    one_more();
    first.wait().with_code(3);
    second.signal(libc::SIGTERM);
    second.wait().with_code(0);
    let rows = place.committed(&output);
    assert_counts_up(&rows);
    assert_eq!(rows.len(), count);
}
