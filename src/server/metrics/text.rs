//! Prometheus' text format.

use std::fmt::{Display, Write};

/// What is answered, family by family.
#[derive(Default)]
pub struct Text {
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Text {
    /// Begins a family: its samples follow.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(value));
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    pub fn into_string(self) -> String {
        self.text
    }
}

/// As a label's value: a connector may be called anything.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_families_say_what_they_are() {
        let mut text = Text::default();
        text.family("a_total", Kind::Counter, "One\nline.");
        text.sample("a_total", &[("name", "a\"b\\c\nd"), ("other", "é")], 7);
        text.sample("a_total", &[], 0.5);
        let expected = "# HELP a_total One\\nline.\n# TYPE a_total counter\na_total{name=\"a\\\"b\\\\c\\nd\",other=\"é\"} 7\na_total 0.5\n";
        assert_eq!(text.into_string(), expected);
    }
}
