//! Which modes a sink may have, when it writes, and under which key its rows go.

use super::shape::Shape;
use super::steps::unknown_column;
use super::{of_failure, shown_input};
use crate::plan::Mode;
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{SinkMode, SinkSpec};
use crate::time::duration;
use crate::transforms::table::{Table, Writes};

/// The mode of a sink: the one written, if it is legal here, or the default.
pub(super) fn mode(sink: &SinkSpec, input: &Shape, out: &mut Diagnostics) -> Option<Mode> {
    let mode = written_mode(sink, input, out);
    let is_spaced = is_every_right(sink, input, out);
    mode.filter(|_| is_spaced)
}

/// `every` spaces rows that change, and no others; `complete` cannot do without it.
fn is_every_right(sink: &SinkSpec, input: &Shape, out: &mut Diagnostics) -> bool {
    let mode = sink.mode.as_ref().filter(|mode| mode.value == SinkMode::Complete);
    let error = match (&sink.every, mode) {
        (None, Some(mode)) if input.changes => {
            Diagnostic::error("modes.every_missing", "`mode: complete` needs to know how often")
                .at(&mode.place)
                .hint("`every: 10s` beside it writes the whole table every ten seconds, if it has changed")
        }
        (Some(every), _) if every.value.0 <= 0 => {
            Diagnostic::error("modes.every", "`every` must be above 0s").at(&every.place)
        }
        (Some(every), None) if !input.changes => {
            let windowed = input.group.as_ref().is_some_and(|group| group.windowed);
            Diagnostic::error("modes.every", "`every` spaces rows that change, and these do not")
                .at(&every.place)
                .note("each of them is written once, when it is final")
                .hint(match windowed {
                    true => {
                        "for windows before they are final add `mode: update`, `upsert` or `complete`; or leave it out"
                    }
                    false => "leave it out",
                })
        }
        _ => return true,
    };
    out.push(error);
    false
}

/// The table before a sink with `every`, and what it does in words; `None`: it cannot be, and it was said why.
pub(super) fn table(
    sink: &SinkSpec,
    mode: Mode,
    input: &Shape,
    out: &mut Diagnostics,
) -> Option<Option<(Table, String)>> {
    let Some(every) = &sink.every else { return Some(None) };
    let writes = if mode == Mode::Complete { Writes::Whole } else { Writes::Changes };
    let table = Table::new(input.columns.clone(), &order(input), every.value.0, writes);
    let table = table.map_err(|failure| out.push(of_failure(failure, &every.place))).ok()?;
    let what = if writes == Writes::Whole { "all rows" } else { "what has changed" };
    Some(Some((table, format!("{what}, every {}", duration::format(every.value.0)))))
}

/// The columns by which the rows of a table leave in order: by window, then by group.
fn order(input: &Shape) -> Vec<String> {
    let Some(group) = &input.group else { return Vec::new() };
    let start = group.window_start.iter().filter(|_| group.windowed);
    // Where one is gone there may be several rows of what is left: then all columns are the order.
    let keys = group.key(true).map(|_| group.keys.iter().flatten());
    keys.map(|keys| start.chain(keys).cloned().collect()).unwrap_or_default()
}

/// What of a sink's table changes results, for the fingerprint.
pub(super) fn meaning(sink: &SinkSpec, mode: Mode) -> serde_json::Value {
    let from = sink.from.as_ref().map(shown_input);
    let every = sink.every.as_ref().map(|every| every.value.0);
    let does = serde_json::json!({ "table": { "every": every, "whole": mode == Mode::Complete } });
    serde_json::json!({ "name": sink.name.value, "from": from, "does": does })
}

fn written_mode(sink: &SinkSpec, input: &Shape, out: &mut Diagnostics) -> Option<Mode> {
    let is_keyed = sink.connector.value == "kafka";
    let Some(written) = &sink.mode else {
        return Some(match (input.changes, is_keyed) {
            (false, _) => Mode::Append,
            (true, true) => Mode::Upsert,
            (true, false) => Mode::Update,
        });
    };
    let error = |code, title: &str| Diagnostic::error(code, title).at(&written.place);
    match written.value {
        SinkMode::Append if input.changes => {
            out.push(
                error("modes.never_final", "`mode: append` needs rows that become final")
                    .note(if input.group.as_ref().is_some_and(|group| group.windowed) {
                        "another sink of this aggregate wants its windows before they are final"
                    } else {
                        "an aggregate without a window changes its rows for ever"
                    })
                    .hint(if is_keyed { "use `mode: upsert`" } else { "use `mode: update`" }),
            );
            None
        }
        SinkMode::Upsert if !is_keyed => {
            out.push(
                error("modes.no_key", &format!("`{}` has no keys to upsert by", sink.connector.value))
                    .hint("use `mode: update`"),
            );
            None
        }
        SinkMode::Complete if !input.changes => {
            out.push(
                error("modes.no_table", "`mode: complete` writes a table, and these rows are none")
                    .note("each of them is final: all of them, each time, would be more and more for ever")
                    .hint("put an aggregate before it, or leave `mode` out"),
            );
            None
        }
        SinkMode::Append => Some(Mode::Append),
        SinkMode::Update => Some(Mode::Update),
        SinkMode::Upsert => Some(Mode::Upsert),
        SinkMode::Complete => Some(Mode::Complete),
    }
}

/// Where a record's key comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Key {
    /// The bytes of the record that the row came from.
    Original,
    Nothing,
    Columns(Vec<String>),
}

/// The key of a Kafka sink's records. `has_keys`: the source's records bring one.
pub(super) fn key(sink: &SinkSpec, input: &Shape, has_keys: bool, mode: Mode, out: &mut Diagnostics) -> Option<Key> {
    let key = match &sink.key {
        None if input.group.is_none() && !has_keys => Key::Nothing,
        Some(columns) if columns.value.is_empty() => Key::Nothing,
        Some(columns) => named_key(sink, columns.value.iter(), input, out)?,
        None => default_key(sink, input, mode, out)?,
    };
    if mode == Mode::Upsert {
        check_upsert(sink, &key, input, out)?;
    }
    Some(key)
}

fn named_key<'a>(
    sink: &SinkSpec,
    columns: impl Iterator<Item = &'a crate::spec::Spanned<String>>,
    input: &Shape,
    out: &mut Diagnostics,
) -> Option<Key> {
    let from = sink.from.as_ref().map(crate::spec::Inputs::shown).unwrap_or_default();
    let mut names = Vec::new();
    let mut all_there = true;
    for column in columns {
        if !input.user_columns().contains(&column.value) {
            out.push(unknown_column(column, &input.columns, &from, "key.unknown_column"));
            all_there = false;
        }
        names.push(column.value.clone());
    }
    all_there.then_some(Key::Columns(names))
}

fn default_key(sink: &SinkSpec, input: &Shape, mode: Mode, out: &mut Diagnostics) -> Option<Key> {
    let Some(group) = &input.group else { return Some(Key::Original) };
    match group.key(mode == Mode::Upsert) {
        Some(columns) if columns.is_empty() => Some(Key::Nothing),
        Some(columns) => Some(Key::Columns(columns)),
        None => {
            out.push(
                Diagnostic::error("key.gone", "the columns that the rows were grouped by are not there any more")
                    .at(&sink.place)
                    .label("they would be the records' key")
                    .hint("keep them, name others with `key: [column]`, or write none with `key: []`"),
            );
            None
        }
    }
}

fn check_upsert(sink: &SinkSpec, key: &Key, input: &Shape, out: &mut Diagnostics) -> Option<()> {
    let place = sink.key.as_ref().map_or(&sink.place, |key| &key.place);
    let error = match (key, &input.group) {
        // A record's own key: Kafka's own habit, so the user's responsibility.
        (Key::Original, _) => return Some(()),
        (Key::Nothing, _) => Diagnostic::error("modes.no_key", "`mode: upsert` needs a key")
            .at(place)
            .hint("group by a column, or name one with `key: [column]`"),
        // A changing row must keep its key, or its deletion would miss it; and two groups must not share one.
        (Key::Columns(columns), Some(group)) if input.changes && !is_group_key(columns, group) => {
            Diagnostic::error("modes.upsert_key", "the key of an upsert must be the columns that rows are grouped by")
                .at(place)
                .note(format!("grouped by: {}", shown(group)))
        }
        _ => return Some(()),
    };
    out.push(error);
    None
}

fn is_group_key(columns: &[String], group: &super::shape::Group) -> bool {
    let Some(key) = group.key(true) else { return false };
    columns.len() == key.len() && key.iter().all(|column| columns.contains(column))
}

fn shown(group: &super::shape::Group) -> String {
    let keys: Vec<&str> = group.keys.iter().chain([&group.window_start]).flatten().map(String::as_str).collect();
    if keys.is_empty() { "nothing".into() } else { keys.join(", ") }
}
