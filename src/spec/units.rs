//! Durations and sizes as options: `5s`, `8MiB`. A number without a unit is always an error.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::describe::or_tag;
use super::options::wrong_type;
use super::{FromNode, Node, Value};
use crate::report::{Diagnostic, Diagnostics};
use crate::time::{Millis, duration};

/// Milliseconds, written `500ms`, `5s`, `1h30m`. Never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct DurationMs(pub Millis);

/// Bytes, written `64KiB`, `8MiB`, `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl FromNode for DurationMs {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.scalar_text() else { return wrong_type(node, "a duration such as `5s`", out) };
        match duration::parse(&text) {
            Ok(ms) => Some(DurationMs(ms)),
            Err(reason) => wrong_unit(node, "spec.duration", "duration", &reason, &format!("{text}s"), out),
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        or_tag(json_schema!({ "type": "string", "pattern": r"^\s*(\d+(ms|s|m|h|d))+\s*$" }))
    }
}

impl FromNode for Bytes {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.scalar_text() else { return wrong_type(node, "a size such as `8MiB`", out) };
        match parse_size(&text) {
            Ok(bytes) => Some(Bytes(bytes)),
            Err(reason) => wrong_unit(node, "spec.size", "size", &reason, "8MiB", out),
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        or_tag(json_schema!({ "type": "string", "pattern": r"^\d+\s*(KiB|MiB|GiB)$" }))
    }
}

const SIZES: &[(&str, u64)] = &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| format!("`{text}` is not a size"))?;
    let unit = text[digits..].trim_start();
    if unit.is_empty() {
        return Err(format!("`{text}` has no unit"));
    }
    let (_, factor) =
        SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(|| format!("`{unit}` is not a unit of size"))?;
    number.checked_mul(*factor).ok_or_else(|| "the size is too large".into())
}

fn wrong_unit<T>(
    node: &Node,
    code: &'static str,
    what: &str,
    reason: &str,
    example: &str,
    out: &mut Diagnostics,
) -> Option<T> {
    let units = if what == "size" { "KiB MiB GiB" } else { "ms s m h d, as in `500ms` or `1h30m`" };
    let mut diagnostic = Diagnostic::error(code, format!("not a {what}")).at(&node.place).label(reason);
    diagnostic = diagnostic.note(format!("units are {units}"));
    if matches!(node.value, Value::Int(_)) {
        diagnostic = diagnostic.hint(format!("write the unit, for example `{example}`"));
    }
    out.push(diagnostic);
    None
}
