//! `fail`: a run that ends where its spec says so, once, and what becomes of its output.

use serde_json::Value;

use super::runner::Runner;

const ROWS: u64 = 3_000;

/// Runs it twice in one folder. The first run ends at the `fail` step; gives how, and what the second one left in the file.
fn twice(fail: &str) -> (super::runner::Ended, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let spec = format!(
        "apiVersion: runner/v1
kind: Pipeline
metadata: {{ name: failing }}
spec:
  sources: {{ rows: {{ datagen: {{ columns: {{ n: {{ type: long, iteration: {{ start: 0 }} }} }}, count: {ROWS}, rate: 3000 }} }} }}
  transforms:
    rare: {{ from: rows, where: n = 1500 }}
    boom: {{ from: rows, fail: {fail} }}
  sinks: {{ out: {{ from: boom, file: {{ path: out.jsonl }}, format: json }}, rare_out: {{ from: rare, discard: {{}} }} }}
"
    );
    std::fs::write(folder.path().join("spec.yaml"), spec).unwrap();
    let first = Runner::spawn(&["apply", "spec.yaml"], folder.path()).wait();
    assert!(folder.path().join(".runner/default/failing/tripped/boom").exists(), "{first:?}");
    Runner::spawn(&["apply", "spec.yaml"], folder.path()).wait().with_code(0);
    let text = std::fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
    (first, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[track_caller]
fn assert_whole(rows: &[Value]) {
    let numbers: Vec<u64> = rows.iter().map(|row| row["n"].as_u64().unwrap()).collect();
    assert!(numbers == (0..ROWS).collect::<Vec<_>>(), "a gap, a duplicate or disorder among {} rows", numbers.len());
}

#[test]
fn a_step_that_kills_does_so_once_and_nothing_is_lost() {
    let (first, rows) = twice("{ trigger: rare, as: kill }");
    assert_eq!(first.signal, Some(libc::SIGKILL), "{first:?}");
    assert_whole(&rows);
}

#[test]
fn a_step_that_panics_ends_the_run_as_a_bug_would() {
    let (first, rows) = twice("{ where: n > 2000, as: panic }");
    assert_eq!(first.code, Some(1), "{first:?}");
    assert!(first.stderr.contains("panicked"), "{}", first.stderr);
    assert_whole(&rows);
}

#[test]
fn a_step_that_fails_says_that_it_was_asked_to() {
    let (first, rows) = twice("{ after: 1000 }");
    assert_fails_as_asked(first);
    assert_whole(&rows);
}

/// Its code says that nothing broke.
#[track_caller]
fn assert_fails_as_asked(first: super::runner::Ended) {
    assert_eq!(first.code, Some(1), "{first:?}");
    for wanted in ["error[fail.tripped]: `boom", "` ends the run, as the spec says", "it trips only once"] {
        assert!(first.stderr.contains(wanted), "no `{wanted}` in {}", first.stderr);
    }
}

#[test]
fn a_step_that_is_triggered_or_trips_by_chance_fails_as_it_was_asked_to() {
    // One of a hundred of 3,000 rows: that none is drawn does not happen.
    for fail in ["{ trigger: rare, as: error }", "{ rate: 1%, seed: 7 }"] {
        let (first, rows) = twice(fail);
        assert_fails_as_asked(first);
        assert_whole(&rows);
    }
}
