//! What all verbs share: common flags, exit codes, diagnostics and logs on stderr.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::report::{Blame, Diagnostic, Diagnostics, Failure, Severity, Style, render};
use crate::spec::{self, Documents, Values};

/// Flags of every verb.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// How reports are printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// Log more: -v what happens, -vv details
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// How log lines are printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub log_format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// Where specs are, and what is put into them.
#[derive(Debug, Clone, Args)]
pub struct SpecArgs {
    /// YAML files, or folders with all their *.yaml and *.yml
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Sets a value for `{{ values.KEY }}`; KEY may have dots
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// A YAML file with values for `{{ values.… }}`; --set stands before it
    #[arg(long, value_name = "FILE")]
    pub values: Vec<PathBuf>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// Something broke while running.
    Failed,
    /// The spec or the command line is wrong.
    WrongSpec,
    /// State would be reset, data skipped or a schema broken, or another instance is at work.
    Refused,
    /// A test failed, gaps were found.
    AnswerIsNo,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::WrongSpec => 2,
            Exit::Refused => 3,
            Exit::AnswerIsNo => 4,
        })
    }
}

/// Loads the documents; prints what is wrong and gives `None` if anything is.
pub fn loaded(args: &SpecArgs, common: &Common) -> Option<Documents> {
    let values = match Values::read(&args.values, &args.set) {
        Ok(values) => values,
        Err(failure) => {
            fail(&failure, common);
            return None;
        }
    };
    let (documents, diagnostics) = spec::load(&args.paths, &values);
    print_diagnostics(&diagnostics, common);
    (!diagnostics.has_errors()).then_some(documents)
}

/// Prints diagnostics on stderr, as text or as one JSON object per line.
pub fn print_diagnostics(diagnostics: &Diagnostics, common: &Common) {
    let text = match common.output {
        Format::Text => render(diagnostics, style()),
        Format::Json => diagnostics.0.iter().map(|diagnostic| format!("{}\n", diagnostic_json(diagnostic))).collect(),
    };
    print_to_stderr(&text);
}

fn diagnostic_json(diagnostic: &Diagnostic) -> Value {
    let place = diagnostic.place.as_ref().map(|place| {
        let (line, column) = place.line_column();
        json!({ "file": place.file.name, "line": line, "column": column })
    });
    json!({
        "severity": if diagnostic.severity == Severity::Error { "error" } else { "warning" },
        "code": diagnostic.code, "title": diagnostic.title, "place": place, "label": diagnostic.label,
        "notes": diagnostic.notes, "hint": diagnostic.hint,
    })
}

/// Prints a failure on stderr and says how the command ends.
pub fn fail(failure: &Failure, common: &Common) -> Exit {
    let text = match common.output {
        Format::Json => {
            format!(
                "{}\n",
                json!({ "severity": "error", "code": failure.code, "title": failure.to_string(), "hint": failure.hint })
            )
        }
        Format::Text => {
            let hint = failure.hint.as_ref().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
            format!("error[{}]: {failure}\n{hint}", failure.code)
        }
    };
    print_to_stderr(&text);
    match failure.blame {
        Blame::User => Exit::WrongSpec,
        Blame::Outside | Blame::Us => Exit::Failed,
    }
}

fn style() -> Style {
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if coloured { Style::Colour } else { Style::Plain }
}

fn print_to_stderr(text: &str) {
    // Where nobody reads stderr there is nobody to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Prints a report on stdout. A reader that has gone away (`| head`) is no failure.
pub fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Logs go to stderr: warnings, with -v what happens, with -vv details; RUST_LOG says it finer.
pub(super) fn start_logging(common: &Common) {
    use tracing_subscriber::EnvFilter;
    let level = match common.verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match common.log_format {
        Format::Json => log.json().init(),
        Format::Text => log.with_ansi(style() == Style::Colour).init(),
    }
}
