//! Columns in words: lists of what is there, and names that are taken.

use arrow::datatypes::{Field, Schema};

use crate::data::meta;
use crate::expr::type_word;
use crate::report::{Diagnostic, Diagnostics, Place};

/// "brand string, rating int": the user's columns.
pub(crate) fn listed(columns: &Schema) -> String {
    let shown: Vec<String> = user_fields(columns).map(|f| format!("{} {}", f.name(), type_word(f))).collect();
    shown.join(", ")
}

/// The user's columns, without metadata.
pub(crate) fn user_fields(columns: &Schema) -> impl Iterator<Item = &Field> {
    columns.fields().iter().map(|field| field.as_ref()).filter(|field| !meta::is_meta(field.name()))
}

pub(super) fn user_names(columns: &Schema) -> Vec<String> {
    user_fields(columns).map(|field| field.name().clone()).collect()
}

/// Complains about a user's column that is called like a metadata column.
pub(super) fn refuse_reserved<'a>(names: impl IntoIterator<Item = (&'a str, &'a Place)>, out: &mut Diagnostics) {
    for (name, place) in names.into_iter().filter(|(name, _)| meta::is_meta(name)) {
        out.push(
            Diagnostic::error("columns.reserved", format!("the column name `{name}` belongs to metadata"))
                .at(place)
                .note(format!("metadata columns are {}", meta::VISIBLE.join(", ")))
                .hint("choose another name"),
        );
    }
}
