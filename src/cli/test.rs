//! `runner test`: runs `kind: Test` documents.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::Common;
use super::output::{self, Exit, Output, say};
use super::specs::{SpecArgs, tests};
use crate::report::{Diagnostics, Style, render};
use crate::spec::{Document, TestSpec};
use crate::testing::bless::Blessing;
use crate::testing::case::{Case, prepare};
use crate::testing::suite::{Verdict, Wrong, judge};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    specs: SpecArgs,
    /// Only tests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write what the tests gave into their files, as their expectation.
    #[arg(long)]
    bless: bool,
    /// Also write a JUnit report.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// One test's result, for all kinds of reports.
struct Result {
    name: String,
    runs: usize,
    time: Duration,
    /// Why it failed, for people.
    failure: Option<String>,
}

pub fn run(args: Args, common: &Common) -> Exit {
    let (documents, diagnostics) = match tests(&args.specs, common.output) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    if let Some(exit) = output::diagnostics(&diagnostics, common.output) {
        return exit;
    }
    let wanted = |test: &&Document<TestSpec>| {
        args.filter.as_ref().is_none_or(|filter| test.metadata.name.value.contains(filter.as_str()))
    };
    let mut blessing = args.bless.then(Blessing::default);
    let mut results = Vec::new();
    for test in documents.tests.iter().filter(wanted) {
        let result = one(test, blessing.as_mut());
        print_result(&result, common.output);
        results.push(result);
    }
    let blessed = blessing.map(Blessing::write).transpose();
    let written = args.junit.as_ref().map_or(Ok(()), |path| junit(&results, path));
    finish(&results, blessed, written, common.output)
}

fn one(test: &Document<TestSpec>, blessing: Option<&mut Blessing>) -> Result {
    let started = Instant::now();
    let name = test.metadata.name.value.clone();
    let (runs, failure) = match prepare(test) {
        Err(diagnostics) => (0, Some(render(&diagnostics, Style::Plain))),
        Ok(case) => judged(&case, blessing),
    };
    Result { name, runs, time: started.elapsed(), failure }
}

fn judged(case: &Case, blessing: Option<&mut Blessing>) -> (usize, Option<String>) {
    let Verdict { runs, wrong, observed } = judge(case);
    if let (Some(blessing), true) = (blessing, !matches!(&wrong, Some((_, Wrong::Failed(_))))) {
        blessing.add(case, &observed);
    }
    let failure = wrong.map(|(variant, wrong)| match wrong {
        Wrong::Rows(mismatches) => {
            let shown: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
            format!("  {variant}:\n{}", shown.concat())
        }
        Wrong::Failed(failure) => format!("  {variant}: error[{}]: {failure}\n", failure.code),
    });
    (runs, failure)
}

fn print_result(result: &Result, output: Output) {
    if output.is_json() {
        let line = serde_json::json!({
            "test": result.name, "passed": result.failure.is_none(), "runs": result.runs,
            "seconds": result.time.as_secs_f64(), "failure": result.failure,
        });
        say!("{line}");
        return;
    }
    match &result.failure {
        None => say!("ok      {} ({} runs)", result.name, result.runs),
        Some(failure) => output::put(format_args!("FAILED  {}\n{failure}", result.name)),
    }
}

fn finish(
    results: &[Result],
    blessed: std::result::Result<Option<usize>, crate::report::Failure>,
    written: std::result::Result<(), crate::report::Failure>,
    output: Output,
) -> Exit {
    let failed = results.iter().filter(|result| result.failure.is_some()).count();
    if output == Output::Text {
        say!("{} passed, {failed} failed", results.len() - failed);
    }
    match blessed {
        Ok(Some(files)) => eprintln!("blessed: {files} files rewritten; look at the difference before you commit it"),
        Ok(None) => {}
        Err(failure) => return output::failure(&failure, output),
    }
    if let Err(failure) = written {
        return output::failure(&failure, output);
    }
    if results.is_empty() {
        output::diagnostics(&Diagnostics::default(), output);
        eprintln!("error[test.none]: no test was found");
        return Exit::AnswerIsNo;
    }
    if failed > 0 { Exit::AnswerIsNo } else { Exit::Done }
}

fn junit(results: &[Result], path: &PathBuf) -> std::result::Result<(), crate::report::Failure> {
    let mut suite = TestSuite::new("runner test");
    for result in results {
        let status = match &result.failure {
            None => TestCaseStatus::success(),
            Some(text) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message("rows are not as expected").set_description(text.clone());
                status
            }
        };
        let mut case = TestCase::new(result.name.clone(), status);
        case.set_time(result.time);
        suite.add_test_case(case);
    }
    let mut report = Report::new("runner");
    report.add_test_suite(suite);
    let trouble = |error: String| {
        crate::report::Failure::outside("test.junit", format!("cannot write `{}`: {error}", path.display())).no_retry()
    };
    let text = report.to_string().map_err(|error| trouble(error.to_string()))?;
    std::fs::write(path, text).map_err(|error| trouble(error.to_string()))
}
