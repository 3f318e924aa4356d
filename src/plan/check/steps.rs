//! Transforms: row steps and aggregates, compiled against the columns of their input.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::Schema;
use serde_json::{Value, json};

use super::columns::{listed, refuse_reserved};
use super::expressions::{compile, compile_condition, of_expression};
use super::fill::FillCheck;
use super::rewrite;
use super::shape::{Group, Reads, Shape};
use crate::data::meta;
use crate::expr::{Aggregates, Scalar, type_word};
use crate::plan::Step;
use crate::report::{Diagnostic, Diagnostics, Place, Severity};
use crate::spec::{
    AggregateSpec, ColumnSpec, FailAs, FailSpec, FailWhen, Named, RowsSpec, SortSpec, Spanned, TransformSpec, Verb,
    WindowSpec, not_available,
};
use crate::time::{Millis, Windows};
use crate::transforms::aggregate::{self, Aggregate, WINDOW_END, WINDOW_START, can_group_by, group_fields};
use crate::transforms::fail::{Fail, How, When};
use crate::transforms::select::{RowSteps, Select, added_schema};
use crate::transforms::sort::Sort;

/// A transform that compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    pub step: Step,
    pub shape: Shape,
    pub reads: Reads,
}

/// What compiling a transform depends on beside its own text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub input: &'a Shape,
    pub input_name: &'a str,
    /// The input has lost the columns that nobody needs, as the first round found.
    pub narrowed: bool,
    /// A sink wants the windows before they are final.
    pub early: bool,
    /// The folder in which `fail` steps remember that they have tripped; `None`: they never trip.
    pub tripped: Option<&'a Path>,
}

/// Compiles a transform against its input.
pub(super) fn compile_step(spec: &TransformSpec, given: Given, out: &mut Diagnostics) -> Option<Compiled> {
    let Given { input, input_name, narrowed, early, tripped } = given;
    match &spec.verb {
        Verb::Rows(rows) => RowsCheck { transform: spec, spec: rows, input, input_name, narrowed }.compile(out),
        Verb::Aggregate(aggregate) => {
            AggregateCheck { spec: aggregate, input, input_name, transform: spec, early }.compile(out)
        }
        Verb::Sort(sort) => compile_sort(sort, spec, input, input_name, out),
        Verb::Fail(fail) => compile_fail(fail, spec, input, tripped, out),
    }
}

fn compile_sort(
    sort: &SortSpec,
    transform: &TransformSpec,
    input: &Shape,
    input_name: &str,
    out: &mut Diagnostics,
) -> Option<Compiled> {
    let place = &transform.from.place;
    if input.changes {
        out.push(not_behind_endless("`sort`", input_name, place));
        return None;
    }
    if input.group.as_ref().is_some_and(|group| group.filled) {
        out.push(
            not_available("`sort` behind `fill`", place).note(
                "whether a window is empty is known only with the next row, so filled rows come after their time",
            ),
        );
        return None;
    }
    let step = Step::Stateful(Arc::new(Sort::new(input.columns.clone(), sort.within.value.0)));
    let shape = Shape { sorted: [transform.name.value.clone()].into(), ..input.clone() };
    let reads = Reads { own: [meta::TIME.to_owned()].into(), ..Reads::everything() };
    Some(Compiled { step, shape, reads })
}

fn compile_fail(
    fail: &FailSpec,
    transform: &TransformSpec,
    input: &Shape,
    tripped: Option<&Path>,
    out: &mut Diagnostics,
) -> Option<Compiled> {
    let when = match &fail.when {
        FailWhen::After(rows) => When::After(*rows),
        FailWhen::Rate { share, seed } => When::Rate { share: *share, seed: *seed },
        FailWhen::Where(text) => When::Where(compile_condition("`where`", text, &input.columns, out)?),
        FailWhen::Trigger(_) => When::Never,
        FailWhen::First => When::First,
    };
    let own = match &when {
        When::Where(condition) => condition.columns().iter().cloned().collect(),
        _ => BTreeSet::new(),
    };
    let how = match fail.how {
        FailAs::Error => How::Error,
        FailAs::Panic => How::Panic,
        FailAs::Kill => How::Kill,
    };
    let name = &transform.name.value;
    let (when, memory) = match tripped {
        Some(folder) => (when, folder.join(rewrite::watched(name))),
        None => (When::Never, PathBuf::new()),
    };
    let step = Step::Rows(Arc::new(Fail::new(input.columns.clone(), name, when, how, memory)));
    Some(Compiled { step, shape: input.clone(), reads: Reads { own, ..Reads::everything() } })
}

struct RowsCheck<'a> {
    transform: &'a TransformSpec,
    spec: &'a RowsSpec,
    input: &'a Shape,
    input_name: &'a str,
    narrowed: bool,
}

impl RowsCheck<'_> {
    fn compile(&self, out: &mut Diagnostics) -> Option<Compiled> {
        let errors_before = out.0.len();
        self.refuse_check_of_changes(out);
        refuse_reserved(self.made_names(), out);
        let columns = &self.input.columns;
        let filter = self.spec.filter.as_ref().and_then(|text| compile_condition("`where`", text, columns, out));
        let checks = self.checks(out);
        let add = compile_named(&self.spec.add, columns, out);
        let columns = added_schema(columns, &add);
        let select = self.select(&columns, out);
        self.check_drop(&columns, out);
        if out.0[errors_before..].iter().any(|d| d.severity == Severity::Error) {
            return None;
        }

        let steps = RowSteps {
            input: self.input.columns.clone(),
            filter,
            checks,
            add,
            select,
            drop: self.dropped(&columns),
            unused: Vec::new(),
        };
        let reads = reads(&steps);
        let group = self.input.group.as_ref().map(|group| group.renamed(|name| self.name_behind(name)));
        let step = match Select::new(steps) {
            Ok(select) => Step::Rows(Arc::new(select)),
            Err(failure) => {
                out.push(super::of_failure(failure, &self.transform.place));
                return None;
            }
        };
        let untouched = self.input.untouched.clone().filter(|_| self.keeps_columns());
        let shape = Shape { columns: step.schema(), group, untouched, ..self.input.clone() };
        Some(Compiled { step, shape, reads })
    }

    fn checks(&self, out: &mut Diagnostics) -> Vec<(String, Scalar)> {
        let compiled = self.spec.check.iter().map(|(name, text)| {
            let what = format!("the check `{}`", name.value);
            Some((name.value.clone(), compile_condition(&what, text, &self.input.columns, out)?))
        });
        compiled.flatten().collect()
    }

    fn refuse_check_of_changes(&self, out: &mut Diagnostics) {
        if let Some((name, _)) = self.spec.check.first().filter(|_| self.input.changes) {
            out.push(not_behind_endless("`check`", self.input_name, &name.place));
        }
    }

    fn made_names(&self) -> impl Iterator<Item = (&str, &Place)> {
        let selected = self.spec.select.iter().flat_map(|list| list.value.iter().map(|column| &column.name));
        self.spec.add.iter().map(|(name, _)| name).chain(selected).map(|name| (name.value.as_str(), &name.place))
    }

    fn select(&self, columns: &Schema, out: &mut Diagnostics) -> Option<Vec<(String, Scalar)>> {
        let list = self.spec.select.as_ref()?;
        refuse_twice(list.value.iter().map(|column| &column.name), out);
        list.value
            .iter()
            .map(|column| compile_column(column, columns, self.input_name, out))
            .collect::<Vec<_>>()
            .into_iter()
            .collect()
    }

    fn check_drop(&self, columns: &Schema, out: &mut Diagnostics) {
        if self.narrowed {
            return;
        }
        let selected: Option<Vec<&str>> =
            self.spec.select.as_ref().map(|list| list.value.iter().map(|column| column.name.value.as_str()).collect());
        for name in &self.spec.drop {
            let there = match &selected {
                Some(selected) => selected.contains(&name.value.as_str()),
                None => columns.column_with_name(&name.value).is_some() && !meta::is_meta(&name.value),
            };
            if !there {
                out.push(unknown_column(name, columns, self.input_name, "drop.unknown_column"));
            }
        }
    }

    /// Those that are there: a narrowed input may have lost them already.
    fn dropped(&self, columns: &Schema) -> Vec<String> {
        let names = self.spec.drop.iter().map(|name| name.value.clone());
        names.filter(|name| self.spec.select.is_some() || columns.column_with_name(name).is_some()).collect()
    }

    /// Rows go through or they do not, but none of them changes.
    fn keeps_columns(&self) -> bool {
        self.spec.add.is_empty() && self.spec.select.is_none() && self.spec.drop.is_empty()
    }

    /// What the column `name` of the input is called behind this step, if it still is there.
    fn name_behind(&self, name: &str) -> Option<String> {
        if self.spec.add.iter().any(|(added, _)| added.value == name) {
            return None;
        }
        let behind = match &self.spec.select {
            Some(list) => list.value.iter().find(|column| is_bare(column, name))?.name.value.clone(),
            None => name.to_owned(),
        };
        (!self.spec.drop.iter().any(|dropped| dropped.value == behind)).then_some(behind)
    }
}

/// Which columns of its input a row step needs.
fn reads(steps: &RowSteps) -> Reads {
    let made: BTreeSet<String> = steps.add.iter().map(|(name, _)| name.clone()).collect();
    let conditions = steps.filter.iter().chain(steps.checks.iter().map(|(_, condition)| condition));
    let before_select = conditions.chain(steps.add.iter().map(|(_, scalar)| scalar)).flat_map(Scalar::columns);
    let of_select = steps.select.iter().flatten().flat_map(|(_, scalar)| scalar.columns());
    let own = before_select.chain(of_select.filter(|name| !made.contains(*name))).cloned().collect();
    Reads { own, passes_columns: steps.select.is_none(), passes_metadata: true, made }
}

/// True if the column is `name` itself, perhaps under another name.
fn is_bare(column: &ColumnSpec, name: &str) -> bool {
    match &column.expression {
        None => column.name.value == name,
        Some(text) => text.value.trim() == name || text.value.trim() == quoted(name),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn compile_named(named: &Named, columns: &Schema, out: &mut Diagnostics) -> Vec<(String, Scalar)> {
    refuse_twice(named.iter().map(|(name, _)| name), out);
    let compiled = named.iter().map(|(name, text)| Some((name.value.clone(), compile(text, columns, out)?)));
    compiled.flatten().collect()
}

/// A column of `select` or `group_by`.
fn compile_column(
    column: &ColumnSpec,
    columns: &Schema,
    input_name: &str,
    out: &mut Diagnostics,
) -> Option<(String, Scalar)> {
    let name = &column.name;
    if let Some(text) = &column.expression {
        return Some((name.value.clone(), compile(text, columns, out)?));
    }
    if columns.column_with_name(&name.value).is_none() {
        out.push(unknown_column(name, columns, input_name, "columns.unknown"));
        return None;
    }
    if meta::is_meta(&name.value) {
        // `refuse_reserved` has complained about the name.
        return None;
    }
    let bare = Spanned { value: quoted(&name.value), place: name.place.clone() };
    Some((name.value.clone(), compile(&bare, columns, out)?))
}

/// The error for a name that `input_name` does not have.
pub(super) fn unknown_column(
    name: &Spanned<String>,
    columns: &Schema,
    input_name: &str,
    code: &'static str,
) -> Diagnostic {
    let known: Vec<&str> = super::columns::user_fields(columns).map(|field| field.name().as_str()).collect();
    Diagnostic::error(code, format!("`{input_name}` has no column `{}`", name.value))
        .at(&name.place)
        .note(format!("`{input_name}` has: {}", listed(columns)))
        .did_you_mean(&name.value, known)
}

fn refuse_twice<'a>(names: impl Iterator<Item = &'a Spanned<String>>, out: &mut Diagnostics) {
    let mut seen = BTreeSet::new();
    for name in names.filter(|name| !seen.insert(name.value.as_str())) {
        out.push(
            Diagnostic::error("columns.twice", format!("the column `{}` is made twice", name.value)).at(&name.place),
        );
    }
}

struct AggregateCheck<'a> {
    transform: &'a TransformSpec,
    spec: &'a AggregateSpec,
    input: &'a Shape,
    input_name: &'a str,
    early: bool,
}

impl AggregateCheck<'_> {
    fn compile(&self, out: &mut Diagnostics) -> Option<Compiled> {
        self.check_place(out)?;
        self.check_names(out)?;
        let columns = &self.input.columns;
        let groups: Vec<_> =
            self.spec.group_by.iter().map(|column| compile_column(column, columns, self.input_name, out)).collect();
        let groups: Vec<(String, Scalar)> = groups.into_iter().collect::<Option<_>>()?;
        self.check_groups(&groups, out)?;
        let window = self.spec.window.as_ref().map(|window| &window.value);
        let windows = window.map(|window| Windows::hopping(window.size.0, window.every.0, window.offset.0));
        let aggregates = self.aggregates(windows, &groups, out)?;
        let fill = match &self.spec.fill {
            Some(spec) => {
                Some(FillCheck { aggregate: self.spec, fill: spec, early: self.early }.compile(&aggregates, out)?)
            }
            None => None,
        };

        let reads = self.reads(&groups, &aggregates);
        let group = Group {
            keys: groups.iter().map(|(name, _)| Some(name.clone())).collect(),
            windowed: windows.is_some(),
            window_start: windows.map(|_| WINDOW_START.to_owned()),
            window_end: windows.map(|_| WINDOW_END.to_owned()),
            filled: fill.is_some(),
        };
        let options = aggregate::Options {
            input: columns.clone(),
            windows,
            grace_ms: window.map_or(0, |window| window.grace.0),
            groups,
            aggregates,
            fill,
            changes: self.early || windows.is_none(),
        };
        let changes = options.changes;
        let step = match Aggregate::new(options) {
            Ok(aggregate) => Step::Stateful(Arc::new(aggregate)),
            Err(failure) => {
                out.push(super::of_failure(failure, &self.transform.place));
                return None;
            }
        };
        let sources = self.input.sources.clone();
        let sorted = BTreeSet::new();
        let shape = Shape { columns: step.schema(), changes, group: Some(group), sources, sorted, untouched: None };
        Some(Compiled { step, shape, reads })
    }

    fn check_groups(&self, groups: &[(String, Scalar)], out: &mut Diagnostics) -> Option<()> {
        let mut all_good = Some(());
        for (column, (name, scalar)) in self.spec.group_by.iter().zip(groups) {
            if !can_group_by(scalar.data_type()) {
                out.push(
                    Diagnostic::error("aggregate.group_type", format!("rows cannot be grouped by `{name}`"))
                        .at(&column.name.place)
                        .label(format!("this is {}", type_word(scalar.data_type()))),
                );
                all_good = None;
            }
        }
        all_good
    }

    fn check_place(&self, out: &mut Diagnostics) -> Option<()> {
        let place = &self.transform.from.place;
        if self.input.changes {
            out.push(not_behind_endless("an aggregate", self.input_name, place));
            return None;
        }
        if self.spec.window.is_some() && self.input.group.as_ref().is_some_and(|group| group.filled) {
            out.push(not_available("a window behind `fill`", place).note(
                "whether a window is empty is known only with the next row, so filled rows come after their time",
            ));
            return None;
        }
        Some(())
    }

    fn check_names(&self, out: &mut Diagnostics) -> Option<()> {
        let errors_before = out.0.len();
        let names = || self.spec.group_by.iter().map(|c| &c.name).chain(self.spec.aggregate.iter().map(|(n, _)| n));
        refuse_reserved(names().map(|name| (name.value.as_str(), &name.place)), out);
        refuse_twice(names(), out);
        for name in names()
            .filter(|name| self.spec.window.is_some() && [WINDOW_START, WINDOW_END].contains(&name.value.as_str()))
        {
            out.push(
                Diagnostic::error("columns.twice", format!("the window gives the column `{}` itself", name.value))
                    .at(&name.place)
                    .hint("choose another name, or leave this column out"),
            );
        }
        (out.0.len() == errors_before).then_some(())
    }

    fn aggregates(
        &self,
        windows: Option<Windows>,
        groups: &[(String, Scalar)],
        out: &mut Diagnostics,
    ) -> Option<Aggregates> {
        let fields = group_fields(windows, groups);
        let named: Vec<(String, String)> =
            self.spec.aggregate.iter().map(|(name, text)| (name.value.clone(), text.value.clone())).collect();
        let having = self.spec.having.as_ref();
        match Aggregates::compile(&named, having.map(|h| h.value.as_str()), &Schema::new(fields), &self.input.columns) {
            Ok(aggregates) => Some(aggregates),
            Err(errors) => {
                for error in errors {
                    let text = error.index.map(|index| &self.spec.aggregate[index].1).or(having);
                    out.0.extend(text.map(|text| of_expression(error.error, text)));
                }
                None
            }
        }
    }

    fn reads(&self, groups: &[(String, Scalar)], aggregates: &Aggregates) -> Reads {
        let time = self.spec.window.iter().map(|_| meta::TIME.to_owned());
        let own =
            groups.iter().flat_map(|(_, scalar)| scalar.columns().to_vec()).chain(aggregates.columns()).chain(time);
        Reads { own: own.collect(), ..Reads::default() }
    }
}

/// The error for what may not follow rows that change.
fn not_behind_endless(what: &str, input: &str, place: &Place) -> Diagnostic {
    Diagnostic::error("modes.never_final", format!("{what} cannot stand behind `{input}`, whose rows change"))
        .at(place)
        .note("behind rows that change there may be `where`, `add`, `select`, `drop` and sinks")
        .hint("give the aggregate a `window`, and its sinks `mode: append`")
}

/// What a transform does, in the user's own words.
pub(super) fn in_words(spec: &TransformSpec) -> String {
    match &spec.verb {
        Verb::Rows(rows) => rows_in_words(rows).join(", "),
        Verb::Aggregate(aggregate) => aggregate_in_words(aggregate).join(", "),
        Verb::Sort(sort) => format!("sort within {}", crate::time::duration::format(sort.within.value.0)),
        Verb::Fail(fail) => format!("{} once, on purpose", fail.how.word()),
    }
}

fn rows_in_words(rows: &RowsSpec) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(rows.filter.iter().map(|text| format!("where {}", text.value)));
    words.extend(rows.check.iter().map(|(name, _)| format!("check {}", name.value)));
    words.extend(rows.add.iter().map(|(name, _)| format!("add {}", name.value)));
    let names = |list: &Vec<ColumnSpec>| list.iter().map(|c| c.name.value.as_str()).collect::<Vec<_>>().join(" ");
    words.extend(rows.select.iter().map(|list| format!("select {}", names(&list.value))));
    words.extend(rows.drop.iter().map(|name| format!("drop {}", name.value)));
    words
}

fn aggregate_in_words(aggregate: &AggregateSpec) -> Vec<String> {
    let duration = crate::time::duration::format;
    let mut words = Vec::new();
    words.extend(aggregate.window.iter().map(|window| match (window.value.size.0, window.value.every.0) {
        (size, every) if size == every => format!("tumbling {}", duration(size)),
        (size, every) => format!("hopping {} every {}", duration(size), duration(every)),
    }));
    let keys: Vec<&str> = aggregate.group_by.iter().map(|column| column.name.value.as_str()).collect();
    if !keys.is_empty() {
        words.push(format!("by {}", keys.join(" ")));
    }
    words.extend(aggregate.aggregate.iter().map(|(name, text)| format!("{} = {}", name.value, text.value)));
    words.extend(aggregate.having.iter().map(|text| format!("having {}", text.value)));
    words.extend(aggregate.fill.iter().map(|_| "gaps filled".to_owned()));
    words
}

/// Tumbling windows are `[size, offset, grace]`, as in journals from before there were others.
fn window_meaning(window: &WindowSpec) -> Vec<Millis> {
    let every = (window.every != window.size).then_some(window.every.0);
    [window.size.0, window.offset.0, window.grace.0].into_iter().chain(every).collect()
}

/// What of a transform changes results, for the fingerprint: all of its text.
pub(super) fn meaning(spec: &TransformSpec, early: bool) -> Value {
    let named = |named: &Named| named.iter().map(|(name, text)| json!([name.value, text.value])).collect::<Vec<_>>();
    let columns = |list: &[ColumnSpec]| {
        let column = |c: &ColumnSpec| json!([c.name.value, c.expression.as_ref().map(|text| &text.value)]);
        list.iter().map(column).collect::<Vec<_>>()
    };
    let verb = match &spec.verb {
        Verb::Rows(rows) => json!({
            "where": rows.filter.as_ref().map(|text| &text.value),
            "check": named(&rows.check),
            "add": named(&rows.add),
            "select": rows.select.as_ref().map(|list| columns(&list.value)),
            "drop": rows.drop.iter().map(|name| &name.value).collect::<Vec<_>>(),
        }),
        Verb::Aggregate(aggregate) => json!({
            "window": aggregate.window.as_ref().map(|w| window_meaning(&w.value)),
            "group_by": columns(&aggregate.group_by),
            "aggregate": named(&aggregate.aggregate),
            "having": aggregate.having.as_ref().map(|text| &text.value),
            "early": early,
        }),
        Verb::Sort(sort) => json!({ "sort": sort.within.value.0 }),
        // It changes no row, whatever it is set to.
        Verb::Fail(_) => json!({ "fail": true }),
    };
    let mut meaning = json!({ "name": spec.name.value, "from": super::shown_input(&spec.from), "does": verb });
    if let Verb::Aggregate(AggregateSpec { fill: Some(fill), .. }) = &spec.verb {
        let values = fill.value.iter().map(|(name, value)| json!([name.value, value.to_json()]));
        meaning["fill"] = values.collect();
    }
    meaning
}
