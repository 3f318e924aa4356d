//! `runner schema spec`: the language's JSON Schema, for editors.

use super::output::Exit;

#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Print the JSON Schema of the language.
    Spec,
}

pub fn run(verb: Verb) -> Exit {
    let Verb::Spec = verb;
    println!("{:#}", crate::plan::language_schema());
    Exit::Done
}
