//! Diagnostics as text for a terminal, and as JSON for scripts.
//!
//! ```text
//! error[aggregate.unknown_column]: `per_brand` groups by `brnad`, which `good` does not have
//!   --> pipelines/brand-ratings.yaml:14:18
//!    |
//! 14 |       group_by: [brnad]
//!    |                  ^^^^^
//!    |
//!    = `good` has: brand string, duration int, rating int
//! hint: did you mean `brand`?
//! ```
//!
//! A place of several lines is shown by its first one. This is the one door to annotate-snippets.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value as Json, json};

use super::{Diagnostic, Diagnostics, Place, Severity};

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Colour,
}

/// All diagnostics with an empty line between them, each ending with a line break.
pub fn render(diagnostics: &Diagnostics, style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Colour => Renderer::styled(),
    };
    diagnostics.0.iter().map(|diagnostic| render_one(&renderer, diagnostic) + "\n").collect::<Vec<_>>().join("\n")
}

fn render_one(renderer: &Renderer, diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level.primary_title(diagnostic.title.as_str()).id(diagnostic.code).elements(snippet(diagnostic));
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.no_name().message(note.as_str()));
    }
    let hint = diagnostic.hint.as_deref();
    let hint = hint.map(|hint| Group::with_title(Level::HELP.with_name("hint").secondary_title(hint)));
    let report: Vec<Group<'_>> = std::iter::once(group).chain(hint).collect();
    renderer.render(&report)
}

/// The line of the place with its label.
fn snippet(diagnostic: &Diagnostic) -> Option<Snippet<'_, annotate_snippets::Annotation<'_>>> {
    let place = diagnostic.place.as_ref()?;
    let annotation = AnnotationKind::Primary.span(first_line(place)).label(diagnostic.label.as_deref());
    Some(Snippet::source(place.file.text.as_str()).path(place.file.name.as_str()).annotation(annotation))
}

/// The part of the place on its first line, within the text and between characters.
fn first_line(place: &Place) -> Range<usize> {
    let text = &place.file.text;
    let start = text.floor_char_boundary(place.span.start.min(text.len()));
    let end = text.floor_char_boundary(place.span.end.clamp(start, text.len()));
    let line = text[start..end].split(['\n', '\r']).next().unwrap_or_default();
    start..start + line.len()
}

/// The same for `--output json`: a list of objects.
///
/// `line` and `column` count from 1, columns in characters; `file`, `line` and `column` are null
/// together where there is no place.
pub fn to_json(diagnostics: &Diagnostics) -> Json {
    diagnostics.0.iter().map(one_to_json).collect()
}

fn one_to_json(diagnostic: &Diagnostic) -> Json {
    let place = diagnostic.place.as_ref();
    let line_column = place.map(Place::line_column);
    json!({
        "severity": match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "code": diagnostic.code,
        "title": diagnostic.title,
        "file": place.map(|place| place.file.name.as_str()),
        "line": line_column.map(|(line, _)| line),
        "column": line_column.map(|(_, column)| column),
        "label": diagnostic.label,
        "notes": diagnostic.notes,
        "hint": diagnostic.hint,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::report::SourceFile;

    fn example() -> Diagnostics {
        let text = "a:\n  group_by: [brnad]\n";
        let file = Arc::new(SourceFile { name: "p.yaml".into(), text: text.into() });
        let at = text.find("brnad").unwrap();
        let diagnostic = Diagnostic::error("aggregate.unknown_column", "`a` groups by `brnad`")
            .at(&Place::new(&file, at..at + 5))
            .label("not there")
            .note("`good` has: brand string")
            .note("and nothing else")
            .did_you_mean("brnad", ["brand"]);
        Diagnostics(vec![diagnostic, Diagnostic::warning("load.x", "no place")])
    }

    #[test]
    fn diagnostic_shows_line_label_notes_and_hint() {
        let expected = "\
error[aggregate.unknown_column]: `a` groups by `brnad`
 --> p.yaml:2:14
  |
2 |   group_by: [brnad]
  |              ^^^^^ not there
  |
  = `good` has: brand string
  = and nothing else
hint: did you mean `brand`?

warning[load.x]: no place
";
        assert_eq!(render(&example(), Style::Plain), expected);
        assert!(render(&example(), Style::Colour).contains("\u{1b}["));
    }

    #[test]
    fn json_has_the_place_in_numbers() {
        let json = to_json(&example());
        assert_eq!((&json[0]["line"], &json[0]["column"]), (&json!(2), &json!(14)));
        assert_eq!(json[1]["file"], Json::Null);
    }

    #[test]
    fn places_at_the_end_or_over_lines_are_shown() {
        let file = Arc::new(SourceFile { name: "p.yaml".into(), text: "ä: {\n}\n".into() });
        for span in [0..8, 8..8, 100..200, 1..1, 7..8] {
            let all = Diagnostics(vec![Diagnostic::error("a.b", "x").at(&Place { file: file.clone(), span })]);
            assert!(render(&all, Style::Plain).contains("p.yaml"));
        }
    }
}
