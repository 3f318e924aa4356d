//! How the verbs speak: exit codes, diagnostics, failures, logs.

use std::io::{IsTerminal, Write};

use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::deploy::levels::Levels;
use crate::deploy::logs::Logs;
use crate::report::{Diagnostics, Failure, Style, render};
use crate::time::SystemClock;

/// Prints a line on stdout. A reader that has gone away (`| head`) is no failure: what follows is not printed.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::cli::output::put(format_args!("{}\n", format_args!($($text)*)))
    };
}
pub(super) use say;

/// Prints text on stdout as it is; see [`say`].
pub fn put(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stdout().write_fmt(text);
}

/// `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    Text,
    Json,
    /// The same on stderr, for `apply`: its stdout belongs to the console sinks.
    #[value(skip)]
    JsonBesideRows,
}

impl Output {
    pub fn is_json(self) -> bool {
        self != Output::Text
    }

    /// Prints one report of a program's kind, on a line of its own.
    pub fn print(self, report: &serde_json::Value) {
        match self {
            Output::JsonBesideRows => eprintln!("{report}"),
            Output::Text | Output::Json => say!("{report}"),
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    SpecWrong = 2,
    Refused = 3,
    AnswerIsNo = 4,
}

/// Colours only where a person looks, and never against NO_COLOR.
pub fn style() -> Style {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && std::io::stderr().is_terminal() { Style::Colour } else { Style::Plain }
}

/// Prints diagnostics; says how the command ends if they are errors. As JSON, warnings alone are not printed:
/// they stand in the command's own report.
pub fn diagnostics(diagnostics: &Diagnostics, output: Output) -> Option<Exit> {
    if !output.is_json() {
        eprint!("{}", render(diagnostics, style()));
    } else if diagnostics.has_errors() {
        output.print(&serde_json::json!({ "diagnostics": crate::report::to_json(diagnostics) }));
    }
    diagnostics.has_errors().then(|| exit_of_spec(diagnostics))
}

/// How a command ends whose specs have errors.
pub fn exit_of_spec(diagnostics: &Diagnostics) -> Exit {
    if diagnostics.may_all_pass() { Exit::Failed } else { Exit::SpecWrong }
}

/// Whether a failure's code says that something was refused.
pub fn is_refusal(code: &str) -> bool {
    let refused = [
        "refused.",
        "journal.newer",
        "state.locked",
        "file.locked",
        "file.foreign",
        "file.truncated",
        "kafka.expired",
        "kafka.recreated",
    ];
    refused.iter().any(|refused| code.starts_with(refused))
}

/// A failure as programs read it.
pub fn failure_json(failure: &Failure) -> serde_json::Value {
    let Failure { code, hint, retry, .. } = failure;
    serde_json::json!({ "code": code, "message": failure.to_string(), "hint": hint, "retry": retry })
}

/// How a command ends that failed.
pub fn exit_of(failure: &Failure) -> Exit {
    if is_refusal(failure.code) { Exit::Refused } else { Exit::Failed }
}

/// Prints a failure; its code says whether it is a refusal.
pub fn failure(failure: &Failure, output: Output) -> Exit {
    let exit = exit_of(failure);
    if output.is_json() {
        output.print(&serde_json::json!({ "error": failure_json(failure) }));
        return exit;
    }
    eprintln!("error[{}]: {failure}", failure.code);
    if let Some(hint) = &failure.hint {
        eprintln!("hint: {hint}");
    }
    exit
}

/// Logs go to stderr, and to `kept`. `RUNNER_LOG` overrides what `-v` says, in tracing's filter language; the levels
/// that are given back change it later.
pub fn start_logging(verbose: u8, json: bool, kept: Option<Logs>) -> Levels {
    let level = match verbose {
        0 => "warn",
        1 => "runner=info,warn",
        _ => "runner=debug,info",
    };
    let asked = std::env::var("RUNNER_LOG").ok();
    let asked = asked.filter(|asked| tracing_subscriber::EnvFilter::try_new(asked).is_ok());
    let (levels, filter) = Levels::new(asked.as_deref().unwrap_or(level), SystemClock::shared());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(style() == Style::Colour);
    let lines = if json { lines.json().boxed() } else { lines.compact().boxed() };
    // A second start (in tests) keeps the first.
    let _ = tracing_subscriber::registry().with(filter).with(kept).with(lines).try_init();
    levels
}

/// `1 row`, `2 rows`.
pub fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A time as people read it.
pub fn time(ms: crate::time::Millis) -> String {
    let time = chrono::DateTime::from_timestamp_millis(ms);
    time.map_or_else(|| ms.to_string(), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}
