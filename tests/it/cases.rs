//! Every `kind: Test` of the project, through the library, and what `runner test` says about wrong ones.

use std::path::{Path, PathBuf};

use runner::report::{Style, render};
use runner::spec::{self, Document, TestSpec, Values};
use runner::testing::case::prepare;
use runner::testing::suite::{Wrong, judge};

use crate::examples::Examples;
use crate::runner::run;

#[test]
fn every_case_gives_its_rows_in_every_variant() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let paths: Vec<PathBuf> = ["tests/cases", "pipelines"].iter().map(|path| root.join(path)).collect();
    let (documents, found) = spec::load_tests(&paths, &Values::default());
    assert!(!found.has_errors(), "{}", render(&found, Style::Plain));
    let examples = Examples::of_pages();
    let in_docs: Vec<Document<TestSpec>> = examples.files.iter().flat_map(|file| tests_of(file)).collect();
    assert!(documents.tests.len() > 20 && in_docs.len() > 5, "{} and {}", documents.tests.len(), in_docs.len());
    let mut wrong = String::new();
    for test in documents.tests.iter().chain(&in_docs) {
        let what = match prepare(test) {
            Err(diagnostics) => render(&diagnostics, Style::Plain),
            Ok(case) => match judge(&case).wrong {
                None => continue,
                Some((variant, Wrong::Failed(failure))) => format!("  {variant}: {failure}\n"),
                Some((variant, Wrong::Rows(mismatches))) => {
                    let shown: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
                    format!("  {variant}:\n{}", shown.concat())
                }
            },
        };
        wrong += &format!("{} ({})\n{what}", test.metadata.name.value, test.place.file.name);
    }
    assert!(wrong.is_empty(), "\n{wrong}\n`runner test tests/cases --bless` rewrites what is expected");
}

/// The tests among the examples of the pages; paths in them are from the example's folder.
fn tests_of(example: &Path) -> Vec<Document<TestSpec>> {
    let (documents, found) = spec::load_tests(&[example.to_owned()], &Values::default());
    assert!(!found.has_errors(), "{}", render(&found, Style::Plain));
    documents.tests
}

const PIPELINE: &str = r#"
apiVersion: runner/v1
kind: Pipeline
metadata: { name: doubled }
spec:
  sources:
    rows: { kafka: { topic: rows }, format: json, columns: { n: int, s: string } }
  transforms:
    doubled: { from: rows, add: { twice: n * 2 } }
  sinks:
    out: { from: doubled, kafka: { topic: out }, format: json }
"#;

/// A right test and a wrong one, with comments that must survive.
const TESTS: &str = r#"# The first is right.
apiVersion: runner/v1
kind: Test
metadata: { name: right }
spec:
  pipeline: doubled.yaml
  given: [ { n: 1, s: a } ]
  expect:
    out: [ { twice: 2 } ]
---
# The second is not.
apiVersion: runner/v1
kind: Test
metadata: { name: wrong }
spec:
  pipeline: doubled.yaml
  given: [ { n: 1, s: a }, { n: 2, s: "b c" }, { n: 3, s: d } ]
  expect:
    out: [ { twice: 2, s: a }, { twice: 5, s: "b c" }, { twice: 6, s: d } ] # five
    doubled: [ { n: 1 }, { n: 2 }, { n: 3 } ]
"#;

fn folder(tests: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("doubled.yaml"), PIPELINE).unwrap();
    std::fs::write(folder.path().join("tests.yaml"), tests).unwrap();
    folder
}

#[test]
fn a_wrong_expectation_fails_with_code_4_and_shows_the_rows_that_differ() {
    let folder = folder(TESTS);
    let ended = run(&["test", "."], folder.path()).with_code(4);
    let expected = "\
FAILED  wrong
  as written:
  out (- expected, + actual)
      {twice: 2, s: a}
    - {twice: 5, s: \"b c\"}
    + {s: \"b c\", twice: 4}
      {twice: 6, s: d}
1 passed, 1 failed
";
    assert!(ended.stdout.ends_with(expected), "{}", ended.stdout);
    assert!(ended.stdout.starts_with("ok      right ("), "{}", ended.stdout);
    let one = run(&["test", ".", "--filter", "right"], folder.path()).with_code(0);
    assert!(one.stdout.ends_with("1 passed, 0 failed\n"), "{}", one.stdout);
    let none = run(&["test", ".", "--filter", "neither"], folder.path()).with_code(4);
    assert!(none.stderr.contains("error[test.none]"), "{}", none.stderr);
}

#[test]
fn bless_rewrites_what_was_expected_and_nothing_else() {
    let folder = folder(TESTS);
    run(&["test", ".", "--bless"], folder.path()).with_code(4);
    let blessed = std::fs::read_to_string(folder.path().join("tests.yaml")).unwrap();
    let expected = TESTS.replace("[ { twice: 2 } ]", "[\n      {twice: 2}]").replace(
        "[ { twice: 2, s: a }, { twice: 5, s: \"b c\" }, { twice: 6, s: d } ]",
        "[\n      {s: a, twice: 2},\n      {s: \"b c\", twice: 4},\n      {s: d, twice: 6}]",
    );
    let expected =
        expected.replace("[ { n: 1 }, { n: 2 }, { n: 3 } ]", "[\n      {n: 1},\n      {n: 2},\n      {n: 3}]");
    assert_eq!(blessed, expected);
    assert_eq!(std::fs::read_to_string(folder.path().join("doubled.yaml")).unwrap(), PIPELINE);
    let again = run(&["test", "."], folder.path()).with_code(0);
    assert!(again.stdout.ends_with("2 passed, 0 failed\n"), "{}", again.stdout);
}

#[test]
fn a_junit_report_is_well_formed_and_says_what_failed() {
    let folder = folder(&TESTS.replace("s: d } ]\n  expect", "s: \"<d> & ]]>\" } ]\n  expect"));
    run(&["test", ".", "--junit", "report.xml"], folder.path()).with_code(4);
    let text = std::fs::read_to_string(folder.path().join("report.xml")).unwrap();
    let report = quick_junit::Report::deserialize_from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let suite = &report.test_suites[0];
    let names: Vec<&str> = suite.test_cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!((names, suite.tests, suite.failures), (vec!["right", "wrong"], 2, 1));
    assert!(text.contains("- {twice: 5"), "{text}");
}

#[test]
fn a_test_that_cannot_run_says_where_and_why() {
    let folder = folder(&TESTS.replace("doubled: [", "dubled: ["));
    let ended = run(&["test", "."], folder.path()).with_code(4);
    for part in ["error[test.unknown_name]: the pipeline has no `dubled`", "tests.yaml:", "did you mean `doubled`?"] {
        assert!(ended.stdout.contains(part), "`{part}` is not in\n{}", ended.stdout);
    }
}
