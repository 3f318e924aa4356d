//! Generated rows: a killed run and an undisturbed one write the same (I20).

use std::collections::BTreeSet;

use super::*;

const ROWS: i64 = 60_000;

/// Counters that two tasks share out, choices, decimals, maps and texts, seeded.
fn source() -> String {
    format!(
        "  sources:
    rows:
      datagen:
        columns:
          n: {{ type: long, iteration: {{ start: 0 }} }}
          brand: {{ type: string, options: [Acme, Globex, Initech], zipf: 1 }}
          code: {{ type: string, regex: '[A-Z]{{2}}(x|yy)*[0-9]?' }}
          price: {{ type: 'decimal(6,2)?', nulls: 0.2, range: {{ min: 1, max: 99 }} }}
          tags: {{ map: int, length: 2, keys: {{ options: [a, b, c] }} }}
          uid: {{ type: string, length: 12 }}
          v: {{ type: double, range: {{ min: 0, max: 1000 }} }}
        count: {ROWS}
        rate: 25000
        seed: 42
        tasks: 2
        disjoint: true
"
    )
}

/// All of it, as text that can be compared.
fn sorted(rows: Vec<Value>) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_killed_generator_writes_the_rows_of_an_undisturbed_one() {
    let mut random = Random::new();
    let write = |place: &Place| {
        let topic = format!("{}-out", place.name);
        place.spec(&format!(
            "{}  sinks:
    out: {{ from: rows, kafka: {{ topic: {topic} }}, format: json }}
    lines: {{ from: rows, file: {{ path: out.jsonl }}, format: json }}
",
            source()
        ));
        topic
    };
    let quiet = Place::new("datagen-quiet");
    let topic = write(&quiet);
    quiet.apply().wait().with_code(0);
    let wanted = sorted(quiet.lines("out.jsonl"));
    assert_eq!(wanted.len() as i64, ROWS);
    assert_eq!(sorted(quiet.committed(&topic)), wanted);

    let killed = Place::new("datagen-killed");
    let topic = write(&killed);
    let (kills, _) = killed.killed_until_done(&mut random, 50..500);
    assert!(kills >= 1, "it was never killed: give it more rows");
    assert!(sorted(killed.committed(&topic)) == wanted, "Kafka has other rows than an undisturbed run");
    assert!(sorted(killed.lines("out.jsonl")) == wanted, "the file has other rows than an undisturbed run");
}

/// The same without any server: journal and output are files.
#[test]
fn a_killed_generator_into_a_file_needs_no_server() {
    let mut random = Random::new();
    let write = |place: &Place| {
        place.spec(&format!(
            "{}  sinks: {{ lines: {{ from: rows, file: {{ path: out.jsonl }}, format: json }} }}\n",
            source()
        ))
    };
    let (quiet, killed) = (Place::new("file-quiet"), Place::new("file-killed"));
    write(&quiet);
    quiet.apply().wait().with_code(0);
    write(&killed);
    let mut kills = 0;
    let last = loop {
        let runner = killed.apply();
        runner.wait_line(Stream::Stderr, |line| line.contains(": starts") || line.contains(": resumes"), "a start");
        if runner.ended_within(Duration::from_millis(random.between(50..500))) {
            break runner.wait().with_code(0);
        }
        runner.kill();
        kills += 1;
    };
    assert!(kills >= 1, "it was never killed: give it more rows");
    assert!(last.stderr.contains("resumes behind epoch"), "{}", last.stderr);
    assert!(sorted(killed.lines("out.jsonl")) == sorted(quiet.lines("out.jsonl")), "other rows than undisturbed");
}

/// The console is at least once: after a kill an epoch may be printed again, and no row is missing.
#[test]
fn a_killed_console_misses_no_row() {
    let mut random = Random::new();
    let place = Place::new("console");
    place.spec(&format!("{}  sinks: {{ out: {{ from: rows, console: {{}}, format: json }} }}\n", source()));
    let (mut kills, mut printed) = (0, Vec::new());
    loop {
        let runner = place.apply();
        runner.wait_line(Stream::Stderr, |line| line.contains(": starts") || line.contains(": resumes"), "a start");
        let done = runner.ended_within(Duration::from_millis(random.between(50..500)));
        let ended = if done { runner.wait().with_code(0) } else { runner.kill() };
        // What a kill tore apart is no row; it is printed again.
        printed.extend(ended.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        if done {
            break;
        }
        kills += 1;
    }
    assert!(kills >= 1, "it was never killed: give it more rows");
    // Two tasks count on their own: a row is told by all its columns.
    let distinct: BTreeSet<String> = printed.iter().map(Value::to_string).collect();
    assert_eq!(distinct.len() as i64, ROWS, "of {} printed", printed.len());
}
