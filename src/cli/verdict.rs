//! What a verification found, for people and programs, and its verdict in one line.

use super::output::{Exit, Output, counted, say};
use crate::verify::Report;

/// What came of a verification.
#[derive(Debug, Default)]
pub struct Verified {
    pub reports: Vec<Report>,
    /// Sinks that cannot be judged, and why.
    pub skipped: Vec<String>,
}

impl Verified {
    pub fn is_clean(&self, live: bool) -> bool {
        self.reports.iter().all(|report| report.is_clean(live))
    }

    pub fn exit(&self, live: bool) -> Exit {
        if self.is_clean(live) { Exit::Done } else { Exit::AnswerIsNo }
    }

    pub fn as_json(&self, live: bool) -> serde_json::Value {
        serde_json::json!({ "clean": self.is_clean(live), "reports": self.reports, "not_verified": self.skipped })
    }

    pub fn tell(&self, live: bool, output: Output) {
        if output.is_json() {
            return output.print(&self.as_json(live));
        }
        self.reports.iter().for_each(|report| print(report, live));
        self.skipped.iter().for_each(|skipped| say!("not verified: {skipped}"));
    }

    pub fn verdict(&self, live: bool) -> Verdict {
        let wrong = self.reports.iter().filter(|report| !report.is_clean(live));
        let findings = self.reports.iter().flat_map(|report| report.findings(live));
        Verdict {
            findings: findings.map(|(_, finding)| finding.count).sum(),
            sinks_wrong: wrong.count(),
            sinks_judged: self.reports.len(),
            sinks_not_judged: self.skipped.len(),
        }
    }
}

/// How much is wrong in how many sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    pub findings: u64,
    pub sinks_wrong: usize,
    pub sinks_judged: usize,
    pub sinks_not_judged: usize,
}

impl Verdict {
    /// `whole`, `not_whole`, or `not_judged` where no sink was.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict { sinks_judged: 0, .. } => "not_judged",
            Verdict { sinks_wrong: 0, .. } => "whole",
            _ => "not_whole",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Verdict { findings, sinks_wrong, sinks_judged, sinks_not_judged } = *self;
        let sinks = |count: usize| counted(count as u64, "sink");
        match self.word() {
            "not_judged" => return write!(f, "not judged: none of {} can be verified", sinks(sinks_not_judged)),
            "whole" => write!(f, "whole: nothing is wrong in {}", sinks(sinks_judged))?,
            _ => write!(f, "not whole: {} in {sinks_wrong} of {}", counted(findings, "finding"), sinks(sinks_judged))?,
        }
        if sinks_not_judged > 0 { write!(f, ", {} not judged", sinks(sinks_not_judged)) } else { Ok(()) }
    }
}

fn print(report: &Report, live: bool) {
    let Report { what, read, expected, found, seconds, compacted, gone, .. } = report;
    say!("{what}");
    let per_second = (read + found) as f64 / seconds.max(1e-9);
    say!("  {read} records read, {expected} expected, {found} found; {seconds:.1} s, {per_second:.0} records a second");
    if *compacted > 0 {
        say!("  {compacted} were replaced by later ones of their key: the topic is compacted");
    }
    if *gone > 0 {
        say!("  {gone} are of records that the source no longer has");
    }
    if live && report.behind.count > 0 {
        say!("  {} are still to come", report.behind.count);
    }
    let findings = report.findings(live);
    for (name, finding) in &findings {
        say!("  {name}: {}", finding.count);
        finding.examples.iter().for_each(|example| say!("    {example}"));
        if finding.count > finding.examples.len() as u64 {
            say!("    …");
        }
    }
    if findings.is_empty() {
        say!("  clean: nothing is lost, doubled or out of order");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Finding;

    fn verified(gaps: &[u64], behind: u64, skipped: usize) -> Verified {
        let count = |count| Finding { count, ..Finding::default() };
        let report = |gaps: &u64| Report { gaps: count(*gaps), behind: count(behind), ..Report::default() };
        Verified { reports: gaps.iter().map(report).collect(), skipped: vec![String::new(); skipped] }
    }

    #[test]
    fn the_verdict_says_what_is_wrong_and_what_nobody_looked_at() {
        let words = |verified: Verified, live| verified.verdict(live).to_string();
        assert_eq!(words(verified(&[0, 0], 0, 0), false), "whole: nothing is wrong in 2 sinks");
        assert_eq!(words(verified(&[0], 2, 1), true), "whole: nothing is wrong in 1 sink, 1 sink not judged");
        assert_eq!(
            words(verified(&[3, 0, 1], 0, 2), false),
            "not whole: 4 findings in 2 of 3 sinks, 2 sinks not judged"
        );
        assert_eq!(words(verified(&[0, 0], 1, 0), false), "not whole: 2 findings in 2 of 2 sinks");
        assert_eq!(words(verified(&[], 0, 2), false), "not judged: none of 2 sinks can be verified");
    }
}
