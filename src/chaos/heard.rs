//! A line of `apply --output json` as the one who hurts it needs it: what a start took, or words for people.

use serde::Deserialize as _;
use serde_json::Value as Json;

use crate::engine::start::Took;

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A pipeline has started, and that took this.
    Started(Took),
    /// What went wrong, as the text of `apply` says it, or a line that is no report (a log's, a panic's).
    Words(Vec<String>),
    /// A report that is of no use here: the plan, totals.
    Nothing,
}

/// Reports of a run that goes well.
const GOOD_NEWS: [&str; 5] = ["plan", "prepared", "started", "recovery", "totals"];

impl Heard {
    pub fn of(line: &str) -> Heard {
        let report = match serde_json::from_str(line) {
            Ok(Json::Object(report)) => report,
            _ => return Heard::Words(vec![line.to_owned()]),
        };
        if let Some(took) = report.get("started").and_then(|started| Took::deserialize(started.get("took")?).ok()) {
            return Heard::Started(took);
        }
        if let Some(error) = report.get("error") {
            return Heard::Words(words("error", error, "message"));
        }
        if let Some(Json::Array(found)) = report.get("diagnostics") {
            let of = |one: &Json| words(one["severity"].as_str().unwrap_or("error"), one, "title");
            return Heard::Words(found.iter().flat_map(of).collect());
        }
        match GOOD_NEWS.iter().any(|name| report.contains_key(*name)) {
            true => Heard::Nothing,
            false => Heard::Words(vec![line.to_owned()]),
        }
    }
}

fn words(severity: &str, error: &Json, message: &str) -> Vec<String> {
    let text = |name: &str| error[name].as_str();
    let mut words = vec![format!("{severity}[{}]: {}", text("code").unwrap_or("?"), text(message).unwrap_or_default())];
    if let (Some(file), Some(line), Some(column)) = (text("file"), error["line"].as_u64(), error["column"].as_u64()) {
        words.push(format!("  --> {file}:{line}:{column}"));
    }
    words.extend(text("hint").map(|hint| format!("hint: {hint}")));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_all_reports_only_starts_and_what_went_wrong_are_heard() {
        let took = Took { fencing_ms: 500, journal_ms: 520, ..Took::default() };
        let started = serde_json::json!({ "pipeline": "p", "started": { "epoch": 3, "took": took } });
        assert_eq!(Heard::of(&started.to_string()), Heard::Started(took));
        for nothing in [r#"{"plan":{}}"#, r#"{"totals":{},"seconds":1}"#, r#"{"pipeline":"p","started":{}}"#] {
            assert_eq!(Heard::of(nothing), Heard::Nothing, "{nothing}");
        }
        let says = |line: &str, words: &[&str]| {
            assert_eq!(Heard::of(line), Heard::Words(words.iter().map(|word| (*word).to_owned()).collect()));
        };
        says(
            r#"{"error":{"code":"a.b","message":"it broke","hint":"mend it"}}"#,
            &["error[a.b]: it broke", "hint: mend it"],
        );
        let placed =
            r#"{"severity":"warning","code":"a.c","title":"odd","file":"p.yaml","line":3,"column":4,"hint":null}"#;
        says(&format!(r#"{{"diagnostics":[{placed}]}}"#), &["warning[a.c]: odd", "  --> p.yaml:3:4"]);
        for other in ["thread panicked", "3", r#"{"waits":"for what is not known here"}"#] {
            says(other, &[other]);
        }
    }
}
