//! What one generator knows of another: the values of a column that are known beforehand, for `reference`.
//!
//! A column of options has these values; one that counts has the numbers that it will have counted when all
//! of its records are made. A row may so come before the one that it refers to, but not without it.

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Field;

use super::iteration::Iteration;
use super::kinds::{Column, Kind, Number, Text, TextBody};
use super::pick::{Keys, Pick};
use super::rules::World;
use super::{Datagen, Options};
use crate::report::Diagnostics;
use crate::spec::{FromNode, Node};

/// The bodies of the pipeline's generators, by source name.
pub type Peers<'a> = &'a dyn Fn(&str) -> Option<&'a Node>;

/// A counter that goes round only after so many numbers surely has another end, or none.
const COUNT_MAX: u64 = 100_000_000;

/// The values of `users.id`.
///
/// # Errors
/// Why there are none, in one sentence.
pub fn known(name: &str, folder: &Path, peers: Peers<'_>) -> Result<Column, String> {
    let Some((source, column)) = name.split_once('.') else {
        return Err(format!("`{name}` is not a source and its column, such as `users.id`"));
    };
    let body = peers(source).ok_or_else(|| format!("there is no datagen source `{source}`"))?;
    // Whatever is wrong with it is said where it stands.
    let mut unsaid = Diagnostics::default();
    let datagen = Options::from_node(body, &mut unsaid)
        .and_then(|options| Datagen::read(&options, &body.place, World { folder, keys: None }, &mut unsaid))
        .ok_or_else(|| format!("the generator `{source}` has errors of its own"))?;
    let found = datagen.column(column).ok_or_else(|| {
        let names: Vec<String> = datagen.schema.fields().iter().map(|field| format!("`{}`", field.name())).collect();
        format!("`{source}` has no column `{column}`, but {}", names.join(", "))
    })?;
    if found.field.is_nullable() {
        return Err(format!("`{name}` may be null"));
    }
    let kind = datagen.values(&found.kind).map_err(|why| format!("`{name}` {why}"))?;
    Ok(Column { field: found.field, kind })
}

impl Datagen {
    fn column(&self, name: &str) -> Option<Column> {
        match &self.rules.root.kind {
            Kind::Record(columns) => columns.iter().find(|column| column.field.name() == name).cloned(),
            Kind::Options(rows, _) => {
                let (index, _) = self.schema.fields().find(name)?;
                let kind = Kind::Options(rows.as_struct().column(index).clone(), Pick::Even);
                Some(Column { field: Field::clone(self.schema.field(index)), kind })
            }
            _ => None,
        }
    }

    /// A kind that chooses among the values of this one.
    fn values(&self, kind: &Kind) -> Result<Kind, String> {
        Ok(match kind {
            Kind::Options(values, _) => Kind::Options(values.clone(), Pick::Even),
            Kind::Int(Number::Counter(index)) => Kind::Int(Number::Key(self.counted(*index)?)),
            Kind::Long(Number::Counter(index)) => Kind::Long(Number::Key(self.counted(*index)?)),
            Kind::Text(Text { prefix, suffix, body: TextBody::Counter(index) }) => {
                let body = TextBody::Key(self.counted(*index)?);
                Kind::Text(Text { prefix: prefix.clone(), suffix: suffix.clone(), body })
            }
            Kind::Null => return Err("is a reference itself; refer to what it refers to".into()),
            _ => return Err("has neither options nor an iteration, so nobody knows its values beforehand".into()),
        })
    }

    /// The numbers that all tasks count together.
    fn counted(&self, index: usize) -> Result<Keys, String> {
        let Iteration::Whole { start, step, span, initial } = self.rules.iterations[index] else {
            return Err("counts in other steps than whole numbers".into());
        };
        if initial != start {
            return Err("begins with an `initial` number; leave it out".into());
        }
        // The longest task has seen the numbers of all, unless they share them out.
        let tasks = u64::from(self.tasks);
        let made = self.count.map(|count| match (self.disjoint, self.per_task) {
            (true, true) => count.saturating_mul(tasks),
            (true, false) | (false, true) => count,
            (false, false) => count.div_ceil(tasks),
        });
        let stride = u128::from(step.unsigned_abs());
        let cycle = span.map(|span| span.unsigned_abs() / gcd(span.unsigned_abs(), stride));
        let cycle = cycle.and_then(|cycle| u64::try_from(cycle).ok());
        match made.into_iter().chain(cycle).min() {
            Some(0) => Err("belongs to a generator that makes no record".into()),
            Some(count) if made.is_some() || count <= COUNT_MAX => {
                Ok(Keys { start, step, span, count, pick: Pick::Even })
            }
            _ => Err("counts without end: give its generator a `count`, or its iteration a `restart`".into()),
        }
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}
