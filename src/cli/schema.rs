//! `runner schema …`: schemas, among them that of the language.

use super::Exit;
use super::output::print;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the JSON Schema of the language, for editors
    Spec,
}

pub fn run(args: &Args) -> Exit {
    match args.what {
        What::Spec => print(&format!("{:#}\n", crate::plan::language_schema())),
    }
    Exit::Done
}
