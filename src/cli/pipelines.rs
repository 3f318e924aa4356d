//! The verbs for pipelines of a server, and for its connectors: `apply --server`, `get`, `describe`, `pause`, `resume`,
//! `stop`, `delete`, `logs`.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value as Json;

use super::Common;
use super::output::{self, Exit, say};
use super::remote::{Remote, ServerArgs, TlsArgs};
use super::specs::{SpecArgs, beside_connectors};
use super::target::Target;
use crate::deploy::submission::Name;
use crate::report::Failure;

/// How long a command waits for a pipeline to become what is wanted.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub struct Get {
    /// Only these; default: all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub struct One {
    /// `NAME`, or `NAMESPACE/NAME`; or a connector's name.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub struct Several {
    /// `NAME`, or `NAMESPACE/NAME`; or a connector's name.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub struct LogsOf {
    #[command(flatten)]
    one: One,
    /// How many lines.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    lines: usize,
    /// Go on with what is logged from now on, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
}

/// What a pipeline is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Pause,
    Resume,
    Stop,
}

/// `apply --server`: submits every pipeline, and waits until each has started.
/// The state of `accept_reset` is given up where these steps are not what they were.
pub fn submit(server: &str, tls: &TlsArgs, specs: &SpecArgs, accept_reset: &[String], common: &Common) -> Exit {
    let (submission, connectors) = match beside_connectors(&specs.paths, &specs.values, common.output) {
        Ok(all) => all,
        Err(exit) => return exit,
    };
    // Where the server keeps its state is its own matter.
    let mut parts = match submission.map(|all| all.parts(Path::new(".runner"))).transpose() {
        Ok(parts) => parts.unwrap_or_default(),
        Err(wrong) => return output::diagnostics(&wrong, common.output).unwrap_or(Exit::SpecWrong),
    };
    parts.retain(|(name, _)| connectors.iter().all(|connector| connector.pipeline() != *name));
    done(
        common,
        Remote::new(Some(server), tls).and_then(|remote| {
            let accepted: Vec<String> = accept_reset.iter().map(|step| format!("accept_reset={step}")).collect();
            let query = format!("?{}", accepted.join("&"));
            let mut exit = Exit::Done;
            for connector in &connectors {
                if !connector.put(&remote, common)? {
                    exit = Exit::Failed;
                }
            }
            for (name, part) in &parts {
                let body = serde_json::json!(part);
                let before = remote.call(Method::GET, Some(name), "", None).ok();
                let answer = remote.call(Method::PUT, Some(name), &query, Some(&body))?;
                let is_same = before.is_some_and(|before| before.body["etag"] == answer.body["etag"]);
                let what = if answer.is_new() {
                    "submitted"
                } else if is_same {
                    "unchanged"
                } else {
                    "changed"
                };
                let shown = until(&remote, name, |shown| !matches!(word(shown, "state"), "starting" | "stopping"))?;
                exit = match (exit, word(&shown, "state"), word(&shown["reason"], "code")) {
                    (Exit::Done, "failed", code) if output::is_refusal(code) => Exit::Refused,
                    (_, "failed", _) => Exit::Failed,
                    (exit, _, _) => exit,
                };
                if common.output.is_json() {
                    common.output.print(&serde_json::json!({ "pipeline": name.to_string(), "was": what, "is": shown }));
                } else {
                    say!("{name}: {what}; {}{}", word(&shown, "state"), because(&shown));
                }
            }
            Ok(exit)
        }),
    )
}

pub fn get(args: &Get, common: &Common) -> Exit {
    done(
        common,
        remote(&args.server).and_then(|remote| {
            let all = remote.call(Method::GET, None, "", None)?.body;
            let wanted = Target::find(&all, &args.names)?;
            let is_wanted = |one: &&Json| wanted.is_empty() || wanted.contains(&Target::of(one));
            let all: Vec<&Json> = all["pipelines"].as_array().into_iter().flatten().filter(is_wanted).collect();
            if common.output.is_json() {
                common.output.print(&serde_json::json!({ "pipelines": all }));
                return Ok(Exit::Done);
            }
            let heads = ["NAME", "STATE", "SINCE", "RESTARTS", "IN", "OUT", "BEHIND", "REASON"].map(str::to_owned);
            let rows = all.iter().map(|one| {
                let metric = |key: &str| one["metrics"][key].to_string();
                let since = one["since"].as_i64().map_or(String::new(), output::time);
                let reason = one["reason"]["message"].as_str().unwrap_or_default().to_owned();
                let state = word(one, "state").to_owned();
                let counts = [one["restarts"].to_string(), metric("rows_in"), metric("rows_out"), metric("behind")];
                let [restarts, rows_in, rows_out, behind] = counts;
                [Target::of(one).pipeline.to_string(), state, since, restarts, rows_in, rows_out, behind, reason]
            });
            table(std::iter::once(heads).chain(rows).collect());
            Ok(Exit::Done)
        }),
    )
}

pub fn describe(args: &One, common: &Common) -> Exit {
    done(
        common,
        remote(&args.server).and_then(|remote| {
            let target = the(&remote, &args.name)?;
            let shown = remote.call(Method::GET, Some(&target.pipeline), "", None)?.body;
            if common.output.is_json() {
                common.output.print(&shown);
                return Ok(Exit::Done);
            }
            say!("{target}: {}{}", word(&shown, "state"), because(&shown));
            let since = shown["since"].as_i64().map_or(String::new(), output::time);
            say!("  since     {since}, wanted {}, restarts {}", word(&shown, "wanted"), shown["restarts"]);
            let submitted = shown["submitted"].as_i64().map_or(String::new(), output::time);
            say!("  submitted {submitted}, generation {}", shown["generation"]);
            let files = shown["files"].as_array().into_iter().flatten().filter_map(Json::as_str);
            files.for_each(|file| say!("  file      {file}"));
            let metric = |key: &str| shown["metrics"][key].to_string();
            say!(
                "  counted   in {}, out {}, late {}, dead {}, behind {}, epochs {}",
                metric("rows_in"),
                metric("rows_out"),
                metric("late"),
                metric("dead"),
                metric("behind"),
                metric("epochs")
            );
            for (part, key, to) in [("sources", "source", "from"), ("steps", "step", "from"), ("sinks", "sink", "to")] {
                for one in shown["plan"][part].as_array().into_iter().flatten() {
                    say!("  {key:9} {} {} {}", word(one, "name"), word(one, "connector"), word(one, to));
                }
            }
            if let Some(journal) = shown["plan"]["journal"].as_str() {
                say!("  journal   {journal}");
            }
            Ok(Exit::Done)
        }),
    )
}

/// Pauses, resumes or stops, and waits until it is so.
pub fn want(args: &Several, wish: Wish, common: &Common) -> Exit {
    let (below, wanted) = match wish {
        Wish::Pause => ("pause", "paused"),
        Wish::Resume => ("resume", "running"),
        Wish::Stop => ("stop", "stopped"),
    };
    done(
        common,
        remote(&args.server).and_then(|remote| {
            let mut reached = true;
            for target in Target::ask(&remote, &args.names)? {
                target.want(&remote, below)?;
                let is_there = |shown: &Json| {
                    let state = word(shown, "state");
                    // As with Connect, a connector that is over stays so, whatever else is wanted of it.
                    let stays = target.connector.is_some() && wish == Wish::Pause && word(shown, "wanted") == wanted;
                    state == wanted
                        || wish == Wish::Resume && matches!(state, "failed" | "ended" | "waiting")
                        || stays && matches!(state, "failed" | "ended")
                };
                let mut shown = until(&remote, &target.pipeline, is_there)?;
                let has_failed = wish == Wish::Resume && matches!(word(&shown, "state"), "failed" | "ended");
                if has_failed && target.retry(&remote)? {
                    let failed = shown["since"].clone();
                    shown = until(&remote, &target.pipeline, |shown| shown["since"] != failed && is_there(shown))?;
                }
                reached &= is_there(&shown) && (wish != Wish::Resume || word(&shown, "state") != "failed");
                if common.output.is_json() {
                    common.output.print(&shown);
                } else {
                    say!("{target}: {}{}", word(&shown, "state"), because(&shown));
                }
            }
            Ok(if reached { Exit::Done } else { Exit::Failed })
        }),
    )
}

pub fn delete(args: &Several, common: &Common) -> Exit {
    done(
        common,
        remote(&args.server).and_then(|remote| {
            for target in Target::ask(&remote, &args.names)? {
                let answer = target.delete(&remote)?;
                // Connect's answer to a deletion does not say whether the job has ended.
                let ended = target.connector.is_none().then_some(answer.status.as_u16() == 204);
                if common.output.is_json() {
                    let name = target.pipeline.to_string();
                    common.output.print(&serde_json::json!({ "deleted": name, "ended": ended }));
                } else {
                    say!(
                        "{target}: deleted{}",
                        if ended == Some(false) { "; it still commits what it read" } else { "" }
                    );
                }
            }
            Ok(Exit::Done)
        }),
    )
}

pub fn logs(args: &LogsOf, common: &Common) -> Exit {
    done(
        common,
        remote(&args.one.server).and_then(|remote| {
            let name = the(&remote, &args.one.name)?.pipeline;
            let mut last = 0;
            loop {
                let log = remote.call(Method::GET, Some(&name), &format!("logs?lines={}", args.lines), None)?.body;
                for line in log["lines"].as_array().into_iter().flatten() {
                    let number = line["number"].as_u64().unwrap_or_default();
                    if number <= last {
                        continue;
                    }
                    last = number;
                    let at = line["at"].as_i64().map_or(String::new(), output::time);
                    match common.output.is_json() {
                        true => common.output.print(line),
                        false => say!("{at} {:5} {}", word(line, "level"), word(line, "text")),
                    }
                }
                if !args.follow {
                    return Ok(Exit::Done);
                }
                std::thread::sleep(LOOK_EVERY * 5);
            }
        }),
    )
}

fn remote(args: &ServerArgs) -> Result<Remote, Failure> {
    Remote::new(args.server.as_deref(), &args.tls)
}

fn done(common: &Common, done: Result<Exit, Failure>) -> Exit {
    done.unwrap_or_else(|failure| match (output::failure(&failure, common.output), failure.code) {
        (_, "server.spec") => Exit::SpecWrong,
        (_, "pipeline.stale" | "pipeline.exists") => Exit::Refused,
        (exit, _) => exit,
    })
}

/// Looks at a pipeline until it is as wanted, or for [`PATIENCE`].
fn until(remote: &Remote, name: &Name, wanted: impl Fn(&Json) -> bool) -> Result<Json, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = remote.call(Method::GET, Some(name), "", None)?.body;
        if wanted(&shown) || Instant::now() >= deadline {
            return Ok(shown);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The one of this name.
fn the(remote: &Remote, name: &str) -> Result<Target, Failure> {
    Ok(Target::ask(remote, &[name.to_owned()])?.remove(0))
}

fn word<'a>(one: &'a Json, key: &str) -> &'a str {
    one[key].as_str().unwrap_or_default()
}

/// The reason behind a state that needs one.
fn because(one: &Json) -> String {
    let needs = matches!(word(one, "state"), "failed" | "waiting" | "restarting");
    match (one["reason"]["message"].as_str().filter(|_| needs), one["reason"]["hint"].as_str()) {
        (Some(reason), Some(hint)) => format!(": {reason}\nhint: {hint}"),
        (Some(reason), None) => format!(": {reason}"),
        (None, _) => String::new(),
    }
}

fn table(rows: Vec<[String; 8]>) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..8).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        say!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
