//! Expected against actual rows, and the difference as a person reads it.

use arrow::datatypes::Schema;
use serde_json::Value as Json;

use super::rows::{expected_value, same, shown_value};
use crate::spec::Node;

/// One line of a difference.
#[derive(Debug, Clone, PartialEq)]
pub enum Difference {
    Same(String),
    /// Expected, and not there.
    Missing(String),
    /// There, and not expected.
    Surplus(String),
}

/// The rows of one sink, step or port that are not as expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    pub name: String,
    pub lines: Vec<Difference>,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "  {} (- expected, + actual)", self.name)?;
        for line in &self.lines {
            match line {
                Difference::Same(row) => writeln!(f, "      {row}")?,
                Difference::Missing(row) => writeln!(f, "    - {row}")?,
                Difference::Surplus(row) => writeln!(f, "    + {row}")?,
            }
        }
        Ok(())
    }
}

/// Compares the columns that the expected rows list; all rows must be listed, in order.
pub fn compare(name: &str, expected: &[Node], actual: &[Json], schema: Option<&Schema>) -> Option<Mismatch> {
    let expected: Vec<Json> = expected.iter().map(|row| expected_row(row, schema)).collect();
    let columns: Vec<&String> = listed(&expected);
    let actual: Vec<Json> = actual.iter().map(|row| shown_row(row, schema)).collect();
    let fits = |expected: &Json, actual: &Json| match (expected, actual) {
        (Json::Object(expected), Json::Object(actual)) => {
            expected.iter().all(|(column, value)| same(value, actual.get(column).unwrap_or(&Json::Null)))
        }
        _ => same(expected, actual),
    };
    if expected.len() == actual.len() && expected.iter().zip(&actual).all(|(e, a)| fits(e, a)) {
        return None;
    }
    let narrowed = |row: &Json| match row {
        Json::Object(row) if !columns.is_empty() => Json::Object(
            row.iter().filter(|(column, _)| columns.contains(column)).map(|(c, v)| (c.clone(), v.clone())).collect(),
        ),
        other => other.clone(),
    };
    Some(Mismatch { name: name.to_owned(), lines: lines(&expected, &actual, fits, narrowed) })
}

/// A row of JSON in the flow style of YAML, as tests write it.
pub fn flow(row: &Json) -> String {
    match row {
        Json::Object(row) => {
            let fields: Vec<String> =
                row.iter().map(|(column, value)| format!("{}: {}", scalar_text(column), flow(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Json::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Json::String(text) => scalar_text(text),
        other => other.to_string(),
    }
}

/// Plain where YAML reads it back as this very string, quoted otherwise.
fn scalar_text(text: &str) -> String {
    let plain = !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && !["true", "false", "null", "yes", "no", "on", "off"].contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { Json::String(text.to_owned()).to_string() }
}

/// An actual row with the values that tests write.
pub fn shown_row(row: &Json, schema: Option<&Schema>) -> Json {
    let field = |column: &str| schema.and_then(|schema| schema.field_with_name(column).ok());
    match row {
        Json::Object(row) => Json::Object(
            row.iter().map(|(column, value)| (column.clone(), shown_value(value, field(column)))).collect(),
        ),
        other => other.clone(),
    }
}

fn expected_row(row: &Node, schema: Option<&Schema>) -> Json {
    let field = |column: &str| schema.and_then(|schema| schema.field_with_name(column).ok());
    match row.entries() {
        Some(entries) => {
            let value =
                |entry: &crate::spec::Entry| (entry.key.clone(), expected_value(&entry.value, field(&entry.key)));
            Json::Object(entries.iter().map(value).collect())
        }
        None => row.to_json(),
    }
}

fn listed(rows: &[Json]) -> Vec<&String> {
    let mut columns = Vec::new();
    for column in rows.iter().filter_map(Json::as_object).flat_map(|row| row.keys()) {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

/// The longest common sequence stays, the rest is missing or surplus.
fn lines(
    expected: &[Json],
    actual: &[Json],
    fits: impl Fn(&Json, &Json) -> bool,
    narrowed: impl Fn(&Json) -> Json,
) -> Vec<Difference> {
    let (rows, columns) = (expected.len(), actual.len());
    let mut lengths = vec![vec![0usize; columns + 1]; rows + 1];
    for e in (0..rows).rev() {
        for a in (0..columns).rev() {
            lengths[e][a] = if fits(&expected[e], &actual[a]) {
                lengths[e + 1][a + 1] + 1
            } else {
                lengths[e + 1][a].max(lengths[e][a + 1])
            };
        }
    }
    let (mut e, mut a, mut out) = (0, 0, Vec::new());
    while e < rows || a < columns {
        if e < rows && a < columns && fits(&expected[e], &actual[a]) {
            out.push(Difference::Same(flow(&expected[e])));
            (e, a) = (e + 1, a + 1);
        } else if e < rows && (a == columns || lengths[e + 1][a] >= lengths[e][a + 1]) {
            out.push(Difference::Missing(flow(&expected[e])));
            e += 1;
        } else {
            out.push(Difference::Surplus(flow(&narrowed(&actual[a]))));
            a += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_print_as_flow_yaml_that_reads_back() {
        let row = serde_json::json!({"brand": "Acme", "n": 1.5, "s": "yes", "e": "", "t": ["a b", null]});
        assert_eq!(flow(&row), r#"{brand: Acme, n: 1.5, s: "yes", e: "", t: ["a b", null]}"#);
    }

    #[test]
    fn the_longest_common_rows_stay_in_a_difference() {
        let rows = |values: &[i64]| values.iter().map(|v| serde_json::json!({"v": v})).collect::<Vec<_>>();
        let (expected, actual) = (rows(&[1, 2, 3]), rows(&[1, 3, 4]));
        let shown: Vec<_> = lines(&expected, &actual, same, Json::clone);
        let (stays, missing, surplus) = (Difference::Same, Difference::Missing, Difference::Surplus);
        assert_eq!(
            shown,
            [stays("{v: 1}".into()), missing("{v: 2}".into()), stays("{v: 3}".into()), surplus("{v: 4}".into())]
        );
    }
}
