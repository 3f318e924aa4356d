//! The verbs, one file each, thin: read, call, print.
//!
//! Data goes to stdout, logs and diagnostics to stderr. Exit codes: 0 done, 1 failed while running,
//! 2 the spec (or the command line) is wrong, 3 refused, 4 the answer is no.

mod apply;
mod chaos;
mod completions;
mod connectors;
mod generate;
mod import;
mod journal;
mod output;
mod patience;
mod pipelines;
mod plan;
mod progress;
mod recovering;
mod remote;
mod reset;
mod schema;
mod serve;
mod specs;
mod stops;
mod target;
mod test;
mod validate;
mod verdict;
mod verify;
mod worker;

use clap::{CommandFactory, Parser, Subcommand};

pub use output::{Exit, Output};

use self::serve::Logging;
use crate::deploy::logs::Logs;
use crate::time::SystemClock;

/// Declarative stream pipelines: YAML in, exactly once out.
#[derive(Debug, Parser)]
#[command(name = "runner", version, about, long_about = None, propagate_version = true)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// How reports are printed.
    #[arg(long, value_enum, default_value_t = Output::Text, global = true)]
    output: Output,
    /// Log more: -v for what happens, -vv for how.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// How logs are printed on stderr.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check specs and run their pipelines until they end or Ctrl-C.
    Apply(apply::Args),
    /// Show what `apply` would find and do. Changes nothing.
    Plan(plan::Args),
    /// Check specs without asking any server.
    Validate(validate::Args),
    /// Run `kind: Test` documents through the production code, with virtual time.
    Test(test::Args),
    /// Run many pipelines as a server, with an HTTP API.
    Serve(serve::Args),
    /// List the pipelines of a server, connectors among them.
    Get(pipelines::Get),
    /// Show what a server knows of a pipeline or connector.
    Describe(pipelines::One),
    /// Let pipelines and connectors of a server commit what they read, and rest.
    Pause(pipelines::Several),
    /// Let pipelines and connectors of a server run again, also those that failed.
    Resume(pipelines::Several),
    /// Stop pipelines and connectors of a server; it remembers them.
    Stop(pipelines::Several),
    /// Stop pipelines and connectors of a server and forget them. Their journals and output stay.
    Delete(pipelines::Several),
    /// Show what a pipeline or connector of a server logged last.
    Logs(pipelines::LogsOf),
    /// Forget how far a pipeline was: it begins at its sources' `start` again.
    Reset(reset::Args),
    /// Compare sources with sinks: is anything lost, doubled or out of order?
    Verify(verify::Args),
    /// Run a pipeline, hurt it again and again, and prove that nothing was lost or doubled.
    Chaos(chaos::Args),
    /// Make data: users on their devices, in visits, with features. To stdout, files or Kafka.
    Generate(generate::Args),
    /// Turn other programs' configurations into specs.
    #[command(subcommand)]
    Import(import::Verb),
    /// Look into a pipeline's journal.
    #[command(subcommand)]
    Journal(journal::Verb),
    /// The language's JSON Schema and reference.
    #[command(subcommand)]
    Schema(schema::Verb),
    /// Print what a shell needs to complete this command line, or the manual page.
    Completions(completions::Args),
}

/// Ends the process at once, without the handlers of `exit`: OpenSSL's takes its tables away, which a client's thread in the
/// middle of a handshake still reads. Nothing is flushed: a thread that is stuck in a write to stdout would hold this one up.
pub fn leave(code: u8) -> ! {
    // SAFETY: nothing is left to be done; what must survive is synced.
    unsafe { libc::_exit(code.into()) }
}

/// Runs the command line; its result is the process's exit code.
pub fn main() -> u8 {
    let Arguments { common, verb } = Arguments::parse();
    // A server says what its pipelines do, and keeps what each of them said last.
    let kept = matches!(verb, Verb::Serve(_)).then(|| Logs::new(SystemClock::shared()));
    let verbose = common.verbose.max(u8::from(kept.is_some()));
    let levels = output::start_logging(verbose, common.log_format == LogFormat::Json, kept.clone());
    let exit = match verb {
        Verb::Apply(args) => apply::run(args, &common),
        Verb::Plan(args) => plan::run(args, &common),
        Verb::Validate(args) => validate::run(args, &common),
        Verb::Test(args) => test::run(args, &common),
        Verb::Serve(args) => serve::run(args, Logging { kept, levels }, &common),
        Verb::Get(args) => pipelines::get(&args, &common),
        Verb::Describe(args) => pipelines::describe(&args, &common),
        Verb::Pause(args) => pipelines::want(&args, pipelines::Wish::Pause, &common),
        Verb::Resume(args) => pipelines::want(&args, pipelines::Wish::Resume, &common),
        Verb::Stop(args) => pipelines::want(&args, pipelines::Wish::Stop, &common),
        Verb::Delete(args) => pipelines::delete(&args, &common),
        Verb::Logs(args) => pipelines::logs(&args, &common),
        Verb::Reset(args) => reset::run(args, &common),
        Verb::Verify(args) => verify::run(args, &common),
        Verb::Chaos(args) => chaos::run(args, &common),
        Verb::Generate(args) => generate::run(args, &common),
        Verb::Import(verb) => import::run(verb, &common),
        Verb::Journal(verb) => journal::run(verb, &common),
        Verb::Schema(verb) => schema::run(verb),
        Verb::Completions(args) => completions::run(&args, Arguments::command(), common.output),
    };
    exit as u8
}
