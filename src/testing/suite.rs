//! Runs a case in all its variants.

use super::case::Case;
use super::compare::{Mismatch, compare};
use super::drive::{CrashAt, Observed, Variant, run};
use crate::report::Failure;

/// Crashes are tried at this many commits at most, spread over the run.
const CRASHES_MAX: u64 = 12;

/// How a case went.
#[derive(Debug)]
pub struct Verdict {
    pub runs: usize,
    /// The first variant that went wrong, and how.
    pub wrong: Option<(Variant, Wrong)>,
    /// Of the run as written: what `--bless` takes.
    pub observed: Observed,
}

#[derive(Debug)]
pub enum Wrong {
    Rows(Vec<Mismatch>),
    Failed(Failure),
}

/// As written first; then other batch sizes and lanes, and a crash around every commit.
pub fn judge(case: &Case) -> Verdict {
    let observed = match run(&case.given, Variant::default()) {
        Ok(observed) => observed,
        Err(failure) => {
            let wrong = Some((Variant::default(), Wrong::Failed(failure)));
            return Verdict { runs: 1, wrong, observed: Observed::default() };
        }
    };
    let mut verdict = Verdict { runs: 1, wrong: None, observed };
    if let Some(mismatches) = mismatches(case, &verdict.observed) {
        verdict.wrong = Some((Variant::default(), Wrong::Rows(mismatches)));
        return verdict;
    }
    for variant in variants(verdict.observed.epochs) {
        verdict.runs += 1;
        let wrong = match run(&case.given, variant) {
            Ok(observed) => mismatches(case, &observed).map(Wrong::Rows),
            Err(failure) => Some(Wrong::Failed(failure)),
        };
        if let Some(wrong) = wrong {
            verdict.wrong = Some((variant, wrong));
            break;
        }
    }
    verdict
}

fn variants(epochs: u64) -> Vec<Variant> {
    let mut variants = vec![
        Variant { poll_rows: 1, ..Variant::default() },
        Variant { lanes: 4, ..Variant::default() },
        Variant { lanes: 4, poll_rows: 1, ..Variant::default() },
    ];
    let step = (epochs / CRASHES_MAX).max(1) as usize;
    for epoch in (1..=epochs).step_by(step) {
        for crash in [CrashAt::Before(epoch), CrashAt::After(epoch)] {
            variants.push(Variant { crash: Some(crash), ..Variant::default() });
        }
    }
    variants
}

fn mismatches(case: &Case, observed: &Observed) -> Option<Vec<Mismatch>> {
    let of = |expected: &super::case::Expected| {
        let actual = observed.rows.get(&expected.sink).map_or(&[][..], Vec::as_slice);
        compare(&expected.name, &expected.rows, actual, expected.schema.as_deref())
    };
    let found: Vec<Mismatch> = case.expected.iter().filter_map(of).collect();
    (!found.is_empty()).then_some(found)
}
