//! Unions: which inputs may stand in one list, and the columns that they give together.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::columns::{listed, user_fields};
use super::shape::{Group, Shape, Untouched};
use crate::data::meta;
use crate::expr::type_word;
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{InputRef, not_available};
use crate::transforms::union::Union;

/// Columns that a row has of its record, or none; not for expressions.
const OF_RECORDS: &[&str] = &[meta::KEY_BYTES, meta::VALUE_BYTES, meta::HEADERS_LIST];
/// As many digits as a decimal may have.
const DIGITS_MAX: u8 = 38;

/// The union of at least two inputs. `narrowed`: they have lost columns that nobody needs, each its own.
pub(super) fn unite(inputs: &[(&InputRef, Shape)], narrowed: bool, out: &mut Diagnostics) -> Option<(Shape, Union)> {
    let ((first_ref, first), others) = inputs.split_first()?;
    let mut is_good = inputs.iter().map(|(from, shape)| is_final(from, shape, out)).fold(true, |all, good| all & good);
    is_good &= is_of_other_sorts(inputs, out);
    let names: Vec<&str> = user_fields(&first.columns).map(|field| field.name().as_str()).collect();
    let in_all = |name: &str| others.iter().all(|(_, shape)| shape.columns.column_with_name(name).is_some());
    let kept = |field: &&Field| !narrowed || in_all(field.name());
    let mut columns: Vec<Field> = user_fields(&first.columns).filter(kept).cloned().collect();
    for (from, shape) in others {
        is_good &= is_of_a_kind(first_ref, first, from, shape, out);
        if !narrowed && !has_same_names(first_ref, first, &names, from, shape, out) {
            is_good = false;
            continue;
        }
        for column in &mut columns {
            let Ok(other) = shape.columns.field_with_name(column.name()) else { continue };
            match common(column, other) {
                Some(common) => *column = common,
                None => {
                    is_good = false;
                    out.push(types_differ(first_ref, column, from, other));
                }
            }
        }
    }
    if !is_good {
        return None;
    }
    let schemas: Vec<SchemaRef> = inputs.iter().map(|(_, shape)| shape.columns.clone()).collect();
    columns.extend(metadata(&schemas));
    let schema = Arc::new(Schema::new(columns));
    let shape = Shape {
        columns: schema.clone(),
        changes: false,
        group: inputs.iter().map(|(_, shape)| shape.group.clone()).reduce(group)?,
        sources: inputs.iter().flat_map(|(_, shape)| shape.sources.iter().copied()).collect(),
        sorted: inputs.iter().flat_map(|(_, shape)| shape.sorted.iter().cloned()).collect(),
        untouched: untouched(inputs, &schema),
    };
    Some((shape, Union::new(schema, &schemas)))
}

/// The rows of one partition come together by their offsets, and those of a sort have left that order.
fn is_of_other_sorts(inputs: &[(&InputRef, Shape)], out: &mut Diagnostics) -> bool {
    let mut seen: BTreeMap<&String, &InputRef> = BTreeMap::new();
    for (from, shape) in inputs {
        for sort in &shape.sorted {
            let Some(first) = seen.insert(sort, from) else { continue };
            out.push(
                not_available("a union of rows of one `sort`", &from.place)
                    .note(format!("`{}` and `{}` both come from `{sort}`", first.shown(), from.shown()))
                    .hint(format!("put them together before `{sort}`")),
            );
            return false;
        }
    }
    true
}

/// A row that changes would have to be taken back from where it went.
fn is_final(from: &InputRef, shape: &Shape, out: &mut Diagnostics) -> bool {
    if shape.changes {
        out.push(
            Diagnostic::error(
                "modes.never_final",
                format!("`{}`, whose rows change, cannot stand in a union", from.shown()),
            )
            .at(&from.place)
            .note("behind rows that change there may be `where`, `add`, `select`, `drop` and sinks")
            .hint("give the aggregate a `window`, and its sinks `mode: append`"),
        );
    }
    !shape.changes
}

/// A record has a time and a key of its own, a row of a window has those of its window.
fn is_of_a_kind(first_ref: &InputRef, first: &Shape, from: &InputRef, shape: &Shape, out: &mut Diagnostics) -> bool {
    let same = first.group.is_some() == shape.group.is_some();
    if !same {
        let kind = |shape: &Shape| if shape.group.is_some() { "an aggregate's" } else { "those of records" };
        out.push(
            Diagnostic::error(
                "union.kinds",
                format!("`{}` and `{}` cannot stand in a union", first_ref.shown(), from.shown()),
            )
            .at(&from.place)
            .note(format!(
                "rows of `{}` are {}, rows of `{}` are {}",
                first_ref.shown(),
                kind(first),
                from.shown(),
                kind(shape)
            ))
            .note("they have no time, key and order in common")
            .hint("give each its own sink"),
        );
    }
    same
}

fn has_same_names(
    first_ref: &InputRef,
    first: &Shape,
    names: &[&str],
    from: &InputRef,
    shape: &Shape,
    out: &mut Diagnostics,
) -> bool {
    let own: Vec<&str> = user_fields(&shape.columns).map(|field| field.name().as_str()).collect();
    let quoted = |names: Vec<&&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let lacks: Vec<&&str> = names.iter().filter(|name| !own.contains(name)).collect();
    let more: Vec<&&str> = own.iter().filter(|name| !names.contains(name)).collect();
    if lacks.is_empty() && more.is_empty() {
        return true;
    }
    let (a, b) = (first_ref.shown(), from.shown());
    let title = match lacks.is_empty() {
        true => format!("`{b}` has {}, which `{a}` does not have", quoted(more)),
        false => format!("`{b}` does not have {}, which `{a}` has", quoted(lacks)),
    };
    out.push(
        Diagnostic::error("union.columns", title)
            .at(&from.place)
            .label("the inputs of a union have the same columns")
            .note(format!("`{a}` has: {}", listed(&first.columns)))
            .note(format!("`{b}` has: {}", listed(&shape.columns)))
            .hint("make them the same with `select`, `add` or `drop`"),
    );
    false
}

fn types_differ(first_ref: &InputRef, column: &Field, from: &InputRef, other: &Field) -> Diagnostic {
    let (a, b, name) = (first_ref.shown(), from.shown(), column.name());
    Diagnostic::error(
        "union.types",
        format!("`{name}` is {} in `{b}`, but {} in `{a}`", type_word(other), type_word(column)),
    )
    .at(&from.place)
    .label("the inputs of a union have the same columns")
    .note("of different types only numbers go together: int, long and double, float and double, decimals and whole numbers")
    .hint(format!("convert one of them in a step before, for example `add: {{ {name}: CAST({name} AS …) }}`"))
}

/// A column that holds the values of both.
fn common(a: &Field, b: &Field) -> Option<Field> {
    let data_type = wider(a.data_type(), b.data_type())?;
    let is_nullable = a.is_nullable() || b.is_nullable();
    let bare = |field: &Field| type_word(&field.clone().with_nullable(false));
    // A json and a string are both text, but not the same.
    if a.data_type() == b.data_type() && bare(a) != bare(b) {
        return None;
    }
    let metadata = a.metadata().iter().filter(|(key, value)| b.metadata().get(*key) == Some(value));
    let metadata = metadata.map(|(key, value)| (key.clone(), value.clone())).collect();
    Some(Field::new(a.name(), data_type, is_nullable).with_metadata(metadata))
}

/// The narrowest type that holds the numbers of both; other types must be the same.
fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{Decimal128, Float32, Float64, Int32, Int64};
    if a == b {
        return Some(a.clone());
    }
    match (a, b) {
        (Int32, Int64) | (Int64, Int32) => Some(Int64),
        (Int32 | Int64 | Float32 | Float64, Int32 | Int64 | Float32 | Float64) => Some(Float64),
        (Decimal128(..), Decimal128(..) | Int32 | Int64) | (Int32 | Int64, Decimal128(..)) => {
            let ((digits_a, scale_a), (digits_b, scale_b)) = (digits(a)?, digits(b)?);
            let scale = scale_a.max(scale_b);
            let digits = digits_a.max(digits_b).checked_add(scale)?;
            (digits <= DIGITS_MAX).then_some(Decimal128(digits, scale as i8))
        }
        _ => None,
    }
}

/// Digits before the point and behind it.
fn digits(data_type: &DataType) -> Option<(u8, u8)> {
    match data_type {
        DataType::Int32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        DataType::Decimal128(precision, scale) => {
            let scale = u8::try_from(*scale).ok()?;
            Some((precision.checked_sub(scale)?, scale))
        }
        _ => None,
    }
}

/// What all inputs know of their rows; key, bytes and headers of a record also where only some have them.
fn metadata(inputs: &[SchemaRef]) -> Vec<Field> {
    let Some((first, others)) = inputs.split_first() else { return Vec::new() };
    let in_all = |field: &&Arc<Field>| {
        let same =
            |other: &SchemaRef| other.field_with_name(field.name()).is_ok_and(|o| o.data_type() == field.data_type());
        meta::is_meta(field.name()) && !OF_RECORDS.contains(&field.name().as_str()) && others.iter().all(same)
    };
    let is_nullable = |name: &str| inputs.iter().filter_map(|s| s.field_with_name(name).ok()).any(Field::is_nullable);
    let shared = first.fields().iter().filter(in_all).map(|f| f.as_ref().clone().with_nullable(is_nullable(f.name())));
    let in_some = OF_RECORDS.iter().filter(|name| inputs.iter().any(|input| input.column_with_name(name).is_some()));
    shared.chain(in_some.filter_map(|name| meta::field(name))).collect()
}

/// What is known of the columns of both aggregates. Where they differ there is no key by default.
fn group(a: Option<Group>, b: Option<Group>) -> Option<Group> {
    let (a, b) = (a?, b?);
    let same = |a: Option<String>, b: Option<String>| a.filter(|a| Some(a) == b.as_ref());
    Some(Group {
        keys: if a.keys == b.keys { a.keys } else { vec![None] },
        windowed: a.windowed && b.windowed,
        window_start: same(a.window_start, b.window_start),
        window_end: same(a.window_end, b.window_end),
        filled: a.filled || b.filled,
    })
}

/// Rows of one source that no input has touched have their bytes still.
fn untouched(inputs: &[(&InputRef, Shape)], schema: &SchemaRef) -> Option<Untouched> {
    let (_, first) = inputs.first()?;
    let own = first.untouched.as_ref()?;
    let is_same = |(_, shape): &(&InputRef, Shape)| {
        let writers = shape.untouched.as_ref().map(|untouched| &untouched.writers);
        let same_types = user_fields(&shape.columns).filter_map(|f| Some(f == schema.field_with_name(f.name()).ok()?));
        writers.is_some_and(|writers| Arc::ptr_eq(writers, &own.writers)) && same_types.into_iter().all(|same| same)
    };
    inputs.iter().all(is_same).then(|| own.clone())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan::resolve::Offline;
    use crate::plan::{Input, Plan};

    const HEAD: &str = "apiVersion: runner/v1\nkind: Pipeline\nmetadata: { name: p }\nspec:
  sources:
    eu: { kafka: { topic: eu }, format: json, columns: { n: int, at: timestamp } }
    us: { kafka: { topic: us }, format: json, columns: { n: string, at: timestamp } }
    asia: { kafka: { topic: asia }, format: json, columns: { at: timestamp, n: long? } }
    more: { kafka: { topic: more }, format: json, columns: { n: int, at: timestamp, extra: int } }
    less: { kafka: { topic: less }, format: json, columns: { at: timestamp } }
    made: { datagen: { columns: { n: int, at: timestamp } } }
  transforms:
    per_window: { from: eu, window: { tumbling: 5s }, aggregate: { n: count(*) } }
    ever: { from: eu, aggregate: { n: count(*) } }
    other: { from: eu, aggregate: { n: count(*) } }
    behind: { from: [eu, asia], where: n > 1 }\n";

    /// The plans of a pipeline with this sink, and its errors: code, title, and the line and column after `from: `.
    fn of_sink(sink: &str) -> (Vec<Plan>, Vec<(&'static str, String, usize)>) {
        let text = format!("{HEAD}  sinks:\n    out: {{ from: {sink} }}\n");
        let (documents, loaded) = crate::spec::load_text("p.yaml", &text, &crate::spec::Values::default());
        assert_eq!(loaded.0, [], "{text}");
        let (plans, out) = super::super::build(&documents, Path::new(""), &Offline);
        let errors = out.0.into_iter().filter(|found| found.severity == crate::report::Severity::Error);
        let column = |found: &Diagnostic| found.place.as_ref().map_or(0, |place| place.line_column().1 - 18);
        (plans, errors.map(|found| (found.code, found.title.clone(), column(&found))).collect())
    }

    fn error(code: &'static str, title: &str) -> Vec<(&'static str, String, usize)> {
        vec![(code, title.to_owned(), 5)]
    }

    #[test]
    fn what_cannot_stand_in_a_union_is_an_error_at_the_place_of_the_second() {
        let refused = |inputs: &str| of_sink(&format!("{inputs}, console: {{}}")).1;
        assert_eq!(refused("[eu, us]"), error("union.types", "`n` is string in `us`, but int in `eu`"));
        assert_eq!(refused("[eu, more]"), error("union.columns", "`more` has `extra`, which `eu` does not have"));
        assert_eq!(refused("[eu, less]"), error("union.columns", "`less` does not have `n`, which `eu` has"));
        let kinds = "`eu` and `per_window` cannot stand in a union";
        assert_eq!(refused("[eu, per_window]")[0], error("union.kinds", kinds)[0]);
        let changes = refused("[ever, other]");
        assert_eq!(changes[0].1, "`ever`, whose rows change, cannot stand in a union");
        assert_eq!(changes.iter().map(|found| found.2).collect::<Vec<_>>(), [1, 7]);
        assert_eq!(refused("[eu, su]")[0].0, "names.unknown");
        assert_eq!(refused("[eu, made, us]").len(), 1);
    }

    #[test]
    fn windows_that_a_sink_wants_before_they_are_final_cannot_stand_in_a_union() {
        let early = "[per_window], console: {}, mode: update }\n    too: { from: [per_window, again], console: {}";
        let again = "    again: { from: eu, window: { tumbling: 9s }, aggregate: { n: count(*) } }\n";
        let text = format!("{HEAD}{again}  sinks:\n    out: {{ from: {early} }}\n");
        let (documents, _) = crate::spec::load_text("p.yaml", &text, &crate::spec::Values::default());
        let (plans, out) = super::super::build(&documents, Path::new(""), &Offline);
        assert!(plans.is_empty() && out.0.iter().any(|found| found.code == "modes.never_final"), "{:?}", out.0);
    }

    #[test]
    fn columns_stand_in_the_order_of_the_first_and_widen() {
        let (plans, errors) = of_sink("[behind, eu], console: {}");
        assert_eq!(errors, []);
        let columns = plans[0].columns(plans[0].sinks[0].input.unwrap());
        assert_eq!(listed(&columns), "n long?, at timestamp");
        assert_eq!(plans[0].unions[1].inputs, [Input::Step(0), Input::Source(0)]);
        assert_eq!(plans[0].outline.sinks[0].from, "[behind, eu]");
    }

    #[test]
    fn a_cycle_through_a_union_is_found() {
        let text = format!(
            "{HEAD}    a: {{ from: [eu, b], where: n > 1 }}\n    b: {{ from: a, where: n > 1 }}
  sinks: {{ out: {{ from: b, console: {{}} }} }}\n"
        );
        let (documents, _) = crate::spec::load_text("p.yaml", &text, &crate::spec::Values::default());
        let (plans, out) = super::super::build(&documents, Path::new(""), &Offline);
        let found = out.0.iter().find(|found| found.code == "names.cycle").unwrap();
        assert!(plans.is_empty());
        assert_eq!(found.notes, ["the cycle is `b` → `a` → `b`"]);
    }

    #[test]
    fn rows_without_bytes_have_no_original() {
        let original = |inputs: &str| of_sink(&format!("{inputs}, file: {{ path: x }}, format: original")).1;
        assert_eq!(original("[eu, asia]"), []);
        assert_eq!(original("[eu, made]")[0].0, "format.original");
    }

    #[test]
    fn numbers_widen_to_what_holds_both() {
        use DataType::{Decimal128, Float32, Float64, Int32, Int64, Utf8};
        let both = |a: &DataType, b: &DataType| {
            assert_eq!(wider(a, b), wider(b, a));
            wider(a, b)
        };
        assert_eq!(both(&Int32, &Int64), Some(Int64));
        assert_eq!(both(&Int64, &Float64), Some(Float64));
        assert_eq!(both(&Float32, &Float64), Some(Float64));
        assert_eq!(both(&Int32, &Float32), Some(Float64));
        assert_eq!(both(&Decimal128(5, 2), &Decimal128(6, 1)), Some(Decimal128(7, 2)));
        assert_eq!(both(&Decimal128(5, 2), &Int64), Some(Decimal128(21, 2)));
        assert_eq!(both(&Decimal128(38, 2), &Decimal128(38, 3)), None);
        assert_eq!(both(&Decimal128(5, 2), &Float64), None);
        assert_eq!(both(&Int32, &Utf8), None);
    }

    #[test]
    fn a_column_may_be_null_if_one_may_and_text_is_not_json() {
        let text = Field::new("a", DataType::Utf8, false);
        assert_eq!(common(&text, &text.clone().with_nullable(true)), Some(text.clone().with_nullable(true)));
        let json = [(crate::data::fields::TYPE.to_owned(), crate::data::fields::JSON.to_owned())].into();
        assert_eq!(common(&text, &text.clone().with_metadata(json)), None);
    }
}
