//! Diagnostics as text for a terminal.

use super::Diagnostics;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Colour,
}

/// All diagnostics, one after another, each ending with a line break.
pub fn render(diagnostics: &Diagnostics, style: Style) -> String {
    let _ = style;
    diagnostics.0.iter().map(|d| format!("{}[{}]: {}\n", "error", d.code, d.title)).collect()
}
