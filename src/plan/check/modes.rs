//! Which modes a sink may have, and under which key its rows go.

use super::shape::Shape;
use super::steps::unknown_column;
use crate::plan::Mode;
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{SinkMode, SinkSpec};

/// The mode of a sink: the one written, if it is legal here, or the default.
pub(super) fn mode(sink: &SinkSpec, input: &Shape, out: &mut Diagnostics) -> Option<Mode> {
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
        SinkMode::Append => Some(Mode::Append),
        SinkMode::Update => Some(Mode::Update),
        SinkMode::Upsert => Some(Mode::Upsert),
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
