//! Something the user must mend.

use super::Place;

/// Whether a diagnostic stops the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// What is wrong, where, what is there instead, and what to do.
///
/// Titles are lower case, have no full stop, and put the user's words in backticks. The code is
/// stable: scripts may match on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// `room.what`, for example `aggregate.unknown_column`.
    pub code: &'static str,
    pub title: String,
    pub place: Option<Place>,
    /// Text beside the underlined place.
    pub label: Option<String>,
    /// What is there instead: "`good` has: brand string, rating int".
    pub notes: Vec<String>,
    /// What to do: "did you mean `brand`?".
    pub hint: Option<String>,
    /// Nothing is wrong with the spec: a server is away, and asking again may help.
    pub may_pass: bool,
}

impl Diagnostic {
    pub fn error(code: &'static str, title: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, title.into())
    }

    pub fn warning(code: &'static str, title: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, title.into())
    }

    fn new(severity: Severity, code: &'static str, title: String) -> Self {
        Diagnostic { severity, code, title, place: None, label: None, notes: Vec::new(), hint: None, may_pass: false }
    }

    pub fn at(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }

    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.label = Some(text.into());
        self
    }

    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// Hints at the name among `known` that is most like `word`, if one is like it at all.
    pub fn did_you_mean<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match most_like(word, known) {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

/// The name among `known` that is most like `word`, if one is like it at all.
pub fn most_like<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best = known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&word.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, name)| name)
}

/// All that was found in one run, in the order it was found.
#[derive(Debug, Default, PartialEq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    pub fn has_errors(&self) -> bool {
        self.error_count() > 0
    }

    /// Without the warnings.
    pub fn error_count(&self) -> usize {
        self.0.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// There are errors, and none of them is the spec's: servers are away.
    pub fn may_all_pass(&self) -> bool {
        self.has_errors() && self.0.iter().all(|d| d.severity == Severity::Warning || d.may_pass)
    }
}
