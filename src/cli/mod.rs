//! The verbs, one file each, thin: read, call, print.
//!
//! Data goes to stdout, logs and diagnostics to stderr. Exit codes: 0 done, 1 failed while
//! running, 2 the spec is wrong, 3 refused, 4 the answer is no.

mod output;
mod plan;
mod schema;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use output::{Common, Exit, Format, SpecArgs, fail, loaded, print_diagnostics};

/// Declarative stream pipelines: YAML in, exactly-once pipelines on Kafka out.
#[derive(Debug, Parser)]
#[command(name = "runner", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check specs without asking any server
    Validate(validate::Args),
    /// Show what `apply` would do: sources, steps, sinks, topics, schemas and guarantees
    Plan(plan::Args),
    /// Schemas, among them that of the language
    Schema(schema::Args),
}

/// Reads the arguments and runs the verb.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_arguments(&error),
    };
    output::start_logging(&cli.common);
    let exit = match cli.verb {
        Verb::Validate(args) => validate::run(&args, &cli.common),
        Verb::Plan(args) => plan::run(&args, &cli.common),
        Verb::Schema(args) => schema::run(&args),
    };
    exit.into()
}

/// Prints help, the version or what is wrong with the arguments.
fn refuse_arguments(error: &clap::Error) -> ExitCode {
    // Nobody is left to be told that nobody listens.
    let _ = error.print();
    if error.use_stderr() { Exit::WrongSpec.into() } else { ExitCode::SUCCESS }
}
