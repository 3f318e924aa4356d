//! `runner schema`: the language's JSON Schema for editors, its reference for people.

use super::output::{self, Exit, say};
use crate::plan::{language_schema, reference};

#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Print the JSON Schema of the language.
    Spec,
    /// Print the reference of the language as Markdown.
    Docs,
}

pub fn run(verb: Verb) -> Exit {
    let schema = language_schema();
    match verb {
        Verb::Spec => say!("{schema:#}"),
        Verb::Docs => output::put(format_args!("{}", reference::text(&schema))),
    }
    Exit::Done
}
