//! `--bless`: writes what a case gave into its file, as its expectation.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::case::{Case, Expected};
use super::compare::{flow, shown_row};
use super::drive::Observed;
use crate::data::meta;
use crate::report::Failure;

/// The text of the lists of `expect`, by file and place.
#[derive(Debug, Default)]
pub struct Blessing {
    by_file: BTreeMap<PathBuf, Vec<(std::ops::Range<usize>, String)>>,
}

impl Blessing {
    /// Takes up what a case gave. Rows keep the columns that the test lists, or all if it lists none.
    pub fn add(&mut self, case: &Case, observed: &Observed) {
        for expected in &case.expected {
            let file = PathBuf::from(&expected.place.file.name);
            let text = list(expected, observed);
            self.by_file.entry(file).or_default().push((expected.place.span.clone(), text));
        }
    }

    /// Rewrites the files; gives their number.
    pub fn write(self) -> Result<usize, Failure> {
        let trouble = |path: &PathBuf, error: std::io::Error| {
            Failure::outside("bless.file", format!("cannot rewrite `{}`", path.display())).no_retry().because(error)
        };
        let count = self.by_file.len();
        for (path, mut edits) in self.by_file {
            let mut text = std::fs::read_to_string(&path).map_err(|error| trouble(&path, error))?;
            edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
            for (span, with) in edits {
                text.replace_range(span, &with);
            }
            std::fs::write(&path, text).map_err(|error| trouble(&path, error))?;
        }
        Ok(count)
    }
}

fn list(expected: &Expected, observed: &Observed) -> String {
    let listed: Vec<&String> =
        expected.rows.iter().filter_map(|row| row.entries()).flatten().map(|entry| &entry.key).collect();
    let rows = observed.rows.get(&expected.sink).map_or(&[][..], Vec::as_slice);
    let shown = rows.iter().map(|row| {
        let mut row = shown_row(row, expected.schema.as_deref());
        if let (Some(object), false) = (row.as_object_mut(), listed.is_empty()) {
            object.retain(|column, _| listed.contains(&column));
        } else if let Some(object) = row.as_object_mut() {
            // What a record has beside its value is compared only where a test asks for it.
            object.retain(|column, _| !meta::is_meta(column));
        }
        format!("\n      {}", flow(&row))
    });
    let rows: Vec<String> = shown.collect();
    if rows.is_empty() { "[]".into() } else { format!("[{}]", rows.join(",")) }
}
