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

/// Bytes of a commit where it carries but a few rows.
const FEW_BYTES: usize = 256;

/// As written first; then other batch sizes and lanes, and a crash around every commit; then the same with commits
/// that carry but a few rows, so that the output of most epochs goes on in others (I10).
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
    for variant in variants(case, verdict.observed.epochs) {
        if tried(case, variant, &mut verdict).is_none() {
            return verdict;
        }
    }
    let few = Variant { piece_bytes: FEW_BYTES, ..Variant::default() };
    let epochs = tried(case, few, &mut verdict).unwrap_or(0);
    for crash in crashes(epochs) {
        if tried(case, Variant { crash: Some(crash), ..few }, &mut verdict).is_none() {
            break;
        }
    }
    verdict
}

/// Runs a variant; gives its number of epochs, `None` if it went wrong.
fn tried(case: &Case, variant: Variant, verdict: &mut Verdict) -> Option<u64> {
    verdict.runs += 1;
    let (epochs, wrong) = match run(&case.given, variant) {
        Ok(observed) => (observed.epochs, mismatches(case, &observed).map(Wrong::Rows)),
        Err(failure) => (0, Some(Wrong::Failed(failure))),
    };
    verdict.wrong = wrong.map(|wrong| (variant, wrong));
    verdict.wrong.is_none().then_some(epochs)
}

fn variants(case: &Case, epochs: u64) -> Vec<Variant> {
    let mut variants = vec![
        Variant { poll_rows: 1, ..Variant::default() },
        Variant { lanes: 4, ..Variant::default() },
        Variant { lanes: 4, poll_rows: 1, ..Variant::default() },
    ];
    variants.extend(crashes(epochs).map(|crash| Variant { crash: Some(crash), ..Variant::default() }));
    if case.given.plan.keeps_state() {
        let with_snapshots = |crash| Variant { crash: Some(crash), snapshots_ms: Some(0), ..Variant::default() };
        variants.extend(crashes(epochs).map(with_snapshots));
    }
    variants
}

fn crashes(epochs: u64) -> impl Iterator<Item = CrashAt> {
    let step = (epochs / CRASHES_MAX).max(1) as usize;
    (1..=epochs).step_by(step).flat_map(|epoch| [CrashAt::Before(epoch), CrashAt::After(epoch)])
}

fn mismatches(case: &Case, observed: &Observed) -> Option<Vec<Mismatch>> {
    let of = |expected: &super::case::Expected| {
        let actual = observed.rows.get(&expected.sink).map_or(&[][..], Vec::as_slice);
        compare(&expected.name, &expected.rows, actual, expected.schema.as_deref())
    };
    let found: Vec<Mismatch> = case.expected.iter().filter_map(of).collect();
    (!found.is_empty()).then_some(found)
}
