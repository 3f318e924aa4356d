//! Transforms: which verb a step has, and its keys. Expressions stay text with a place.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::describe::ObjectSchema;
use super::options::wrong_type;
use super::pipeline::{AtLeastOne, Share};
use super::*;
use crate::report::{Diagnostic, Diagnostics};
use crate::time::Windows;

/// Verbs of later releases.
const LATER_VERBS: &[&str] = &["join", "gather", "dedupe", "top", "unnest"];
const ROW_VERBS: &[&str] = &["where", "check", "add", "select", "drop"];
const AGGREGATE_KEYS: &[&str] = &["window", "group_by", "aggregate", "having", "fill"];
/// Each kind of transform has some of its own keys, and no others.
const KINDS: &[&[&str]] = &[ROW_VERBS, AGGREGATE_KEYS, &["sort"], &["fail"]];
/// When a `fail` trips; it has one of them.
const FAIL_WHENS: &[&str] = &["after", "rate", "where", "trigger"];
/// Each gives the size of the windows; a window has one of them.
const WINDOW_KINDS: &[&str] = &["tumbling", "hopping"];
/// More panes than this in one window are a mistake: 1 h every 7 ms.
const PANES_MAX: i64 = 100_000;

crate::options! {
    /// Verbs that look at one row at a time; done in this order.
    pub struct RowKeys {
        /// Only rows for which this SQL expression is true pass. Example: `where: rating >= 2`.
        pub filter as "where": Option<Sql>,
        /// Name to SQL expression; a row for which one is not true is a dead letter `check.NAME`.
        pub check: Vec<(Spanned<String>, Sql)> = Vec::new(),
        /// Columns to add or replace, name to SQL expression.
        pub add: Vec<(Spanned<String>, Sql)> = Vec::new(),
        /// Exactly these columns: a list of names, or name to SQL expression.
        pub select: Option<Spanned<ColumnSpecs>>,
        /// Columns to leave out.
        pub drop: Vec<Spanned<String>> = Vec::new(),
    }
}

crate::options! {
    /// An aggregate, over windows or without end.
    pub struct AggregateKeys {
        /// The windows. Without them the aggregate has no end and its rows change. Example: `window: { tumbling: 5s }`.
        pub window: Option<Spanned<WindowSpec>>,
        /// Columns to group by: a list of names, or name to SQL expression.
        pub group_by: Option<ColumnSpecs>,
        /// Name to SQL aggregate. Example: `aggregate: { cnt: count(*), mean: avg(rating) }`.
        pub aggregate: Vec<(Spanned<String>, Sql)> = Vec::new(),
        /// Only groups for which this SQL expression is true are given. Example: `having: cnt > 3`.
        pub having: Option<Sql>,
        /// A row with these values for each empty window between two with rows; needs a `window`, and no `group_by`.
        /// Columns that may be null may be left out. It is given only if it passes `having`. Example: `fill: { cnt: 0 }`.
        pub fill: Option<Spanned<Fill>>,
    }
}

crate::options! {
    /// Rows leave in the order of their event time.
    pub struct SortKeys {
        /// How long a row waits behind its time for earlier ones; what comes later than that is late. It is added to the `lag` of the sources.
        pub within: Spanned<DurationMs>,
    }
}

crate::options! {
    /// Ends the run once, to see what becomes of it: all rows pass. That it has tripped is remembered in the state
    /// directory before it does; in `runner test` it never trips. One of `after`, `rate`, `where`, `trigger`.
    pub struct FailKeys {
        /// When so many rows have come.
        pub after: Option<AtLeastOne>,
        /// Each row with this probability. Example: `rate: 0.1%`.
        pub rate: Option<Share>,
        /// Of `rate`: another seed trips at another row. Default 0.
        pub seed: Option<Spanned<u64>>,
        /// At the first row for which this SQL expression is true.
        pub filter as "where": Option<Sql>,
        /// At the first row of another source or transform, or of a port of it.
        pub trigger: Option<Inputs>,
        /// How it ends the run; default `error`.
        pub how as "as": Option<FailAs>,
    }
}

/// Reads one transform.
pub(super) fn read_transform(name: &Spanned<String>, node: &Node, out: &mut Diagnostics) -> Option<TransformSpec> {
    let mut map = MapReader::new(node, out)?.of(&name.place);
    let from = map.read::<Inputs>("from", out);
    let rows = RowKeys::read_keys(&mut map, out);
    let aggregate = AggregateKeys::read_keys(&mut map, out);
    let sort = map.read::<Option<SortSpec>>("sort", out);
    let fail = map.read::<Option<FailSpec>>("fail", out);
    let later = LATER_VERBS.iter().filter(|verb| map.later(verb, out)).count();
    let any_unknown = map.unknown().next().is_some();
    map.finish(out);

    let has = |keys: &&[&str]| keys.iter().find_map(|key| node.entries()?.iter().find(|entry| entry.key == *key));
    let mut kinds = KINDS.iter().filter_map(has);
    let (Some(first), second) = (kinds.next(), kinds.next()) else {
        if later == 0 && !any_unknown {
            let title = format!("the transform `{}` does nothing", name.value);
            let note = format!("one of {}", KINDS.concat().join(", "));
            out.push(Diagnostic::error("transform.no_verb", title).at(&name.place).note(note));
        }
        return None;
    };
    if let Some(second) = second {
        let title = format!("`{}` and `{}` cannot stand in one transform", first.key, second.key);
        let hint = format!("put `{}` into a transform of its own", first.key);
        out.push(Diagnostic::error("transform.two_verbs", title).at(&first.key_place).hint(hint));
        return None;
    }
    let verb = match first.key.as_str() {
        "sort" => Verb::Sort(sort??),
        "fail" => Verb::Fail(fail??),
        key if ROW_VERBS.contains(&key) => Verb::Rows(rows?.into_spec()),
        _ => Verb::Aggregate(aggregate?.into_spec(name, out)?),
    };
    Some(TransformSpec { name: name.clone(), from: from?, verb, place: node.place.clone() })
}

impl FromNode for SortSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let SortKeys { within } = FromNode::from_node(node, out)?;
        Some(SortSpec { within })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        SortKeys::schema(generator)
    }
}

impl FromNode for FailSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let FailKeys { after, rate, seed, filter, trigger, how } = FromNode::from_node(node, out)?;
        let mut whens = Vec::new();
        whens.extend(after.map(|AtLeastOne(rows)| FailWhen::After(rows as u64)));
        let number = seed.as_ref().map_or(0, |seed| seed.value);
        let is_rate = rate.is_some();
        whens.extend(rate.map(|Share(share)| FailWhen::Rate { share, seed: number }));
        whens.extend(filter.map(|Sql(text)| FailWhen::Where(text)));
        whens.extend(trigger.map(FailWhen::Trigger));
        let (Some(when), true) = (whens.pop(), whens.is_empty()) else {
            let title = format!("`fail` has one of {}", FAIL_WHENS.join(", "));
            out.push(Diagnostic::error("fail.when", title).at(&node.place));
            return None;
        };
        if let Some(seed) = seed.filter(|_| !is_rate) {
            out.push(Diagnostic::error("fail.seed", "only `rate` has a seed").at(&seed.place));
            return None;
        }
        Some(FailSpec { when, how: how.unwrap_or(FailAs::Error), place: node.place.clone() })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let mut object = ObjectSchema::default();
        FailKeys::describe_keys(&mut object, generator);
        object.exactly_one_of(FAIL_WHENS);
        let mut schema = object.finish();
        schema.insert("dependentRequired".into(), serde_json::json!({ "seed": ["rate"] }));
        schema
    }
}

impl RowKeys {
    fn into_spec(self) -> RowsSpec {
        RowsSpec {
            filter: self.filter.map(|Sql(text)| text),
            check: named(self.check),
            add: named(self.add),
            select: self.select.map(|Spanned { value: ColumnSpecs(value), place }| Spanned { value, place }),
            drop: self.drop,
        }
    }
}

impl AggregateKeys {
    fn into_spec(self, name: &Spanned<String>, out: &mut Diagnostics) -> Option<AggregateSpec> {
        let group_by = self.group_by.map(|ColumnSpecs(columns)| columns).unwrap_or_default();
        if self.aggregate.is_empty() && group_by.is_empty() {
            let title = format!("the aggregate `{}` has neither `aggregate` nor `group_by`", name.value);
            let example = "add for example `aggregate: { cnt: count(*) }`";
            out.push(Diagnostic::error("aggregate.empty", title).at(&name.place).hint(example));
            return None;
        }
        let having = self.having.map(|Sql(text)| text);
        Some(AggregateSpec { window: self.window, group_by, aggregate: named(self.aggregate), having, fill: self.fill })
    }
}

fn named(pairs: Vec<(Spanned<String>, Sql)>) -> Named {
    pairs.into_iter().map(|(name, Sql(text))| (name, text)).collect()
}

/// Reads an [`Expression`]: text, or a number or boolean, which are expressions too.
#[derive(Debug, Clone, PartialEq)]
pub struct Sql(pub Expression);

impl FromNode for Sql {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.scalar_text() else {
            let expected = "an SQL expression; one that begins with `[` or `{` must be quoted";
            return wrong_type(node, if node.value == Value::Null { "an SQL expression" } else { expected }, out);
        };
        if text.trim().is_empty() {
            return wrong_type(node, "an SQL expression", out);
        }
        if let Some(cut) = cut_by_comment(node, &text) {
            out.push(cut);
            return None;
        }
        Some(Sql(Spanned { value: text, place: node.place.clone() }))
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"], "pattern": r"\S" })
    }
}

/// `where: tag = 'a #1'`: YAML ends the value at ` #`.
fn cut_by_comment(node: &Node, text: &str) -> Option<Diagnostic> {
    let behind = node.place.file.text.get(node.place.span.end..)?.split('\n').next()?;
    let is_cut = !node.is_quoted() && behind.trim_start().starts_with('#');
    let unbalanced = text.matches('\'').count() % 2 == 1
        || text.matches('"').count() % 2 == 1
        || text.matches('(').count() > text.matches(')').count();
    (is_cut && unbalanced).then(|| {
        Diagnostic::error("yaml.unquoted", "a value with ` #` in it must be quoted")
            .at(&node.place)
            .label("YAML takes the rest for a comment")
            .hint("put the whole expression in double quotes")
    })
}

/// One name, or a list of names.
#[derive(Debug, Clone, PartialEq)]
pub struct Names(pub Vec<Spanned<String>>);

impl FromNode for Names {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match node.items() {
            Some(_) => FromNode::from_node(node, out).map(Names),
            None => FromNode::from_node(node, out).map(|name| Names(vec![name])),
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// `[name]` or `{name: EXPR}`; at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSpecs(pub Vec<ColumnSpec>);

impl FromNode for ColumnSpecs {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let columns: Vec<ColumnSpec> = match &node.value {
            Value::List(_) => {
                let names: Vec<Spanned<String>> = FromNode::from_node(node, out)?;
                names.into_iter().map(|name| ColumnSpec { name, expression: None }).collect()
            }
            Value::Map(_) => {
                let pairs: Vec<(Spanned<String>, Sql)> = FromNode::from_node(node, out)?;
                named(pairs).into_iter().map(|(name, text)| ColumnSpec { name, expression: Some(text) }).collect()
            }
            _ => return wrong_type(node, "a list of names, or a map from name to expression", out),
        };
        if columns.is_empty() {
            return wrong_type(node, "at least one column", out);
        }
        let twice = columns
            .iter()
            .enumerate()
            .find(|(index, column)| columns[..*index].iter().any(|earlier| earlier.name.value == column.name.value));
        if let Some((_, column)) = twice {
            let title = format!("the column `{}` stands here twice", column.name.value);
            out.push(Diagnostic::error("spec.duplicate_column", title).at(&column.name.place));
            return None;
        }
        Some(ColumnSpecs(columns))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "array", "items": { "type": "string" }, "minItems": 1, "uniqueItems": true },
            { "type": "object", "additionalProperties": Sql::schema(generator), "minProperties": 1 },
        ] })
    }
}

crate::options! {
    /// How event time is cut into windows: `tumbling` or `hopping`.
    pub struct WindowKeys {
        /// Windows of one size that follow one another, aligned to the UTC epoch. Example: `tumbling: 5s`.
        pub tumbling: Option<Spanned<DurationMs>>,
        /// Windows of one size that overlap: a row counts in each that holds its time. Example: `hopping: { size: 1h, every: 5m }`.
        pub hopping: Option<Spanned<HoppingKeys>>,
        /// How long a window stays open behind its end, for rows that come late. Default 0s.
        pub grace: DurationMs = DurationMs(0),
        /// Moves the windows' starts; below the size, of hopping windows below `every`. Default 0s. Example: `{ tumbling: 1d, offset: 6h }`.
        pub offset: Option<Spanned<DurationMs>>,
    }
}

crate::options! {
    /// Windows that overlap.
    pub struct HoppingKeys {
        /// How long a window is.
        pub size: Spanned<DurationMs>,
        /// How often one begins: above 0 and at most `size`.
        pub every: Spanned<DurationMs>,
    }
}

impl FromNode for WindowSpec {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::new(node, out)?;
        let later = ["cumulate", "session", "timezone"].into_iter().filter(|key| map.later(key, out)).count();
        // A window of a later kind lacks `tumbling`, but that is not what is wrong with it.
        if later > 0 {
            return None;
        }
        let keys = WindowKeys::read_keys(&mut map, out);
        map.finish(out);
        let WindowKeys { tumbling, hopping, grace, offset } = keys?;
        let kind_error = |title: &str| Diagnostic::error("spec.window_kind", title).at(&node.place);
        let (size, every) = match (tumbling, hopping) {
            (Some(size), None) => (size.clone(), size),
            (None, Some(hopping)) => (hopping.value.size, hopping.value.every),
            (Some(_), Some(_)) => {
                out.push(kind_error("a window is either `tumbling` or `hopping`"));
                return None;
            }
            (None, None) => {
                let kinds = format!("one of {}", WINDOW_KINDS.join(", "));
                out.push(kind_error("the window has no size").note(kinds).hint("add for example `tumbling: 5s`"));
                return None;
            }
        };
        check_hops(&size, &every, out)?;
        if let Some(offset) = offset.as_ref().filter(|offset| offset.value >= every.value) {
            let bound = if every.value == size.value { "its size" } else { "its `every`" };
            let title = format!("the offset of a window is below {bound}");
            out.push(Diagnostic::error("window.offset", title).at(&offset.place));
            return None;
        }
        let offset = offset.map_or(DurationMs(0), |offset| offset.value);
        Some(WindowSpec { size: size.value, every: every.value, grace, offset })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let mut object = ObjectSchema::default();
        WindowKeys::describe_keys(&mut object, generator);
        object.exactly_one_of(WINDOW_KINDS);
        object.finish()
    }
}

fn check_hops(size: &Spanned<DurationMs>, every: &Spanned<DurationMs>, out: &mut Diagnostics) -> Option<()> {
    if size.value.0 == 0 {
        out.push(Diagnostic::error("window.size", "a window cannot be empty").at(&size.place));
        return None;
    }
    if every.value.0 == 0 {
        let title = "a window must begin some time after the one before it";
        out.push(Diagnostic::error("window.every", title).at(&every.place).hint("give `every` a duration above 0"));
        return None;
    }
    if every.value > size.value {
        out.push(
            Diagnostic::error(
                "window.every",
                "`every` is longer than `size`: rows between two windows would be in none",
            )
            .at(&every.place)
            .hint("use `tumbling`, or a `where` in front that leaves such rows out"),
        );
        return None;
    }
    let pane_ms = Windows::hopping(size.value.0, every.value.0, 0).pane_ms();
    if size.value.0 / pane_ms > PANES_MAX {
        let shown = crate::time::duration::format(pane_ms);
        out.push(
            Diagnostic::error("window.panes", "`size` and `every` have too little in common")
                .at(&every.place)
                .label(format!("both are multiples of only {shown}"))
                .note(format!("a window is put together from stretches of {shown}, at most {PANES_MAX} of them"))
                .hint("choose an `every` that divides `size`"),
        );
        return None;
    }
    Some(())
}

/// The JSON Schema of a transform.
pub(super) fn describe_transform(generator: &mut SchemaGenerator) -> Schema {
    let mut object = ObjectSchema::default();
    object.property("from", Inputs::schema(generator), &[], true);
    RowKeys::describe_keys(&mut object, generator);
    AggregateKeys::describe_keys(&mut object, generator);
    let sort: &[&str] = &["Rows leave in the order of their event time. Example: `sort: { within: 5s }`."];
    object.property("sort", SortSpec::schema(generator), sort, false);
    let fail: &[&str] = &["Ends the run once, to see what becomes of it. Example: `fail: { after: 1000, as: kill }`."];
    object.property("fail", FailSpec::schema(generator), fail, false);
    object.text(&[
        "A transform: row by row (`where check add select drop`, done in this order), an aggregate, `sort` or `fail`.",
    ]);
    let not_both = |keys: &[&str]| {
        let any: Vec<_> = keys.iter().map(|key| serde_json::json!({ "required": [key] })).collect();
        serde_json::json!({ "anyOf": any })
    };
    let mut schema = object.finish();
    // An aggregate gives columns: groups, results, or both.
    let others = |own: &[&str]| {
        let others: Vec<&str> =
            KINDS.iter().filter(|kind| **kind != own).flat_map(|kind| kind.iter().copied()).collect();
        not_both(&others)
    };
    let aggregate = serde_json::json!({ "anyOf": [
        { "required": ["group_by"] },
        { "required": ["aggregate"], "properties": { "aggregate": { "type": "object", "minProperties": 1 } } },
    ], "not": others(AGGREGATE_KEYS) });
    let of_kind = |own: &[&str]| serde_json::json!({ "allOf": [not_both(own), { "not": others(own) }] });
    let [rows, sort, fail] = [ROW_VERBS, &["sort"], &["fail"]].map(of_kind);
    schema.insert("anyOf".into(), serde_json::json!([rows, aggregate, sort, fail]));
    schema
}
