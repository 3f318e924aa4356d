//! What a connector and its tasks do, in Connect's words.
//!
//! ```text
//!   wanted Running, Paused, Stopped   connector RUNNING, PAUSED, STOPPED
//!   Starting                          task UNASSIGNED; RUNNING if it ran before
//!   Waiting, Running, Restarting      task RUNNING; what may pass is tried again, as a task retries
//!   Stopping                          task RUNNING: it commits what it read
//!   Paused, Failed                    task PAUSED, FAILED with a trace
//!   Ended                             task FAILED, as a generator whose iterations are done
//! ```

use serde_json::{Map, Value as Json, json};

use super::Call;
use super::answer::{Answer, Refusal};
use super::connectors::type_of;
use crate::connect::find_plugin;
use crate::deploy::connector::{Connector, ConnectorKind};
use crate::deploy::store::Wanted;
use crate::deploy::supervisor::{Described, Reason, State, TOPIC_NAMES};
use crate::kafka_connect::exception_of;

pub fn show(call: &Call, name: &str) -> Result<Answer, Refusal> {
    let described = described(call, name)?;
    match &described.kept.connector {
        Some(connector) => Answer::ok(body(call, &described, connector)),
        None => Err(no_status(name)),
    }
}

pub fn task(call: &Call, name: &str, task: i32) -> Result<Answer, Refusal> {
    let none = || Refusal::new(404, format!("No status found for task {name}-{task}"));
    let described = described(call, name).map_err(|_| none())?;
    let connector = described.kept.connector.as_ref().ok_or_else(none)?;
    let tasks = tasks_shown(&described, connector);
    let task = u32::try_from(task).ok().filter(|task| *task < tasks).ok_or_else(none)?;
    Answer::ok(task_of(call, &described, connector, task))
}

fn described(call: &Call, name: &str) -> Result<Described, Refusal> {
    call.face.supervisor.connector(name).map_err(|_| no_status(name))
}

fn no_status(name: &str) -> Refusal {
    Refusal::new(404, format!("No status found for connector {name}"))
}

/// The status of a connector and of all its tasks.
pub fn body(call: &Call, described: &Described, connector: &Connector) -> Json {
    let tasks = (0..tasks_shown(described, connector)).map(|task| task_of(call, described, connector, task));
    let state = match described.kept.wanted {
        Wanted::Running => "RUNNING",
        Wanted::Paused => "PAUSED",
        Wanted::Stopped => "STOPPED",
    };
    json!({
        "name": connector.name,
        "connector": { "state": state, "worker_id": call.face.worker.id(), "version": version(connector) },
        "tasks": tasks.collect::<Vec<_>>(),
        "type": type_of(connector.kind),
    })
}

/// Those that are being stopped are there still.
fn tasks_shown(described: &Described, connector: &Connector) -> u32 {
    let still_runs = match described.status.state {
        State::Running | State::Stopping => true,
        // A start that was under way comes to its end before it is stopped.
        State::Starting => described.has_run,
        _ => false,
    };
    if described.kept.wanted == Wanted::Stopped && still_runs { connector.tasks_max } else { connector.tasks }
}

fn task_of(call: &Call, described: &Described, connector: &Connector, task: u32) -> Json {
    let (state, trace) = task_state(described, connector);
    let mut body = Map::new();
    body.insert("id".into(), task.into());
    body.insert("state".into(), state.into());
    body.insert("worker_id".into(), call.face.worker.id().into());
    body.insert("version".into(), version(connector).into());
    if let Some(trace) = trace {
        body.insert("trace".into(), trace.into());
    }
    Json::Object(body)
}

fn task_state(described: &Described, connector: &Connector) -> (&'static str, Option<String>) {
    match described.status.state {
        State::Starting if described.has_run => ("RUNNING", None),
        State::Starting => ("UNASSIGNED", None),
        State::Waiting | State::Running | State::Restarting | State::Stopping => ("RUNNING", None),
        // It is about to be, or was never run.
        State::Stopped => ("UNASSIGNED", None),
        State::Paused => ("PAUSED", None),
        State::Failed => ("FAILED", Some(trace_of(described.status.reason.as_ref(), connector))),
        State::Ended => match &connector.at_end {
            Some(line) => ("FAILED", Some(format!("{line}\n"))),
            None => ("RUNNING", None),
        },
    }
}

const BAD_RECORD_HINT: &str = "`errors.tolerance` `all` passes over such records, and a sink's \
                               `errors.deadletterqueue.topic.name` keeps them";

/// What stands where Connect has the trace of a Java exception: its first lines are those that alerts look for.
fn trace_of(reason: Option<&Reason>, connector: &Connector) -> String {
    const CLASS: &str = "org.apache.kafka.connect.errors.ConnectException";
    let Some(reason) = reason else { return format!("{CLASS}\n") };
    let Reason { code, message, hint, .. } = reason;
    // That of a pipeline speaks of keys which a connector has not.
    let of_connector = matches!(code.as_str(), "record.bad" | "errors.too_many").then_some(BAD_RECORD_HINT);
    let hint = of_connector.or(hint.as_deref());
    let hint = hint.as_ref().map_or(String::new(), |hint| format!("hint: {hint}\n"));
    let queue = connector.config.get("errors.deadletterqueue.topic.name").map(|topic| topic.trim());
    let queue = queue.filter(|topic| !topic.is_empty() && message.contains(&format!("`{topic}`")));
    match (code.as_str(), queue) {
        ("record.bad" | "errors.too_many", _) => {
            // Connect says why, and we also which record it was.
            let why = message.split_once(" refused a record").and_then(|(_, rest)| Some(rest.split_once(": ")?.1));
            let why = why.unwrap_or(message);
            let cause = format!("Caused by: {}: {why}\n", exception_of(why));
            format!(
                "{CLASS}: Tolerance exceeded in error handler\n\tat runner ({code})\n{cause}{hint}\t... {message}\n"
            )
        }
        ("file.open", _) if connector.kind == ConnectorKind::Sink => {
            let file = connector.config.get("file").map_or("", |file| file.trim());
            let first = format!("{CLASS}: Couldn't find or create file '{file}' for FileStreamSinkTask\n");
            format!("{first}\tat runner ({code})\nCaused by: {message}\n{hint}")
        }
        ("kafka.create_topic" | "kafka.topic_name", Some(queue)) => {
            let first = format!("{CLASS}: Could not initialize dead letter queue with topic={queue}\n");
            format!("{first}\tat runner ({code})\nCaused by: {message}\n{hint}")
        }
        (code, _) if TOPIC_NAMES.contains(&code) => {
            let thrown = format!("{INVALID_TOPIC}: Invalid topics: [{}]\n", invalid_topic(message));
            let at = format!("\tat runner ({code})\n");
            match connector.kind {
                ConnectorKind::Sink => format!("{thrown}{at}{hint}\t... {message}\n"),
                ConnectorKind::Source => {
                    let first = format!("{CLASS}: Unrecoverable exception from producer send callback\n");
                    format!("{first}{at}Caused by: {thrown}{hint}\t... {message}\n")
                }
            }
        }
        _ => format!("{CLASS}: {message}\n{hint}\tat runner ({code})\n"),
    }
}

const INVALID_TOPIC: &str = "org.apache.kafka.common.errors.InvalidTopicException";

/// The name that a message is about: of a topic, or of where transformations send its records.
fn invalid_topic(message: &str) -> &str {
    let routed = message.strip_suffix("`, which is no topic's name").and_then(|rest| rest.rsplit_once("` to `"));
    let named = message.strip_suffix("` cannot be the name of a topic").and_then(|rest| rest.split_once('`'));
    routed.or(named).map_or(message, |(_, name)| name)
}

fn version(connector: &Connector) -> &'static str {
    let class = connector.config.get("connector.class").map_or("", |class| class.trim());
    find_plugin(class).map_or(crate::connect::VERSION, |plugin| plugin.version)
}

/// The same body with what is being restarted in that state: with its tasks or without, all of it or what failed.
pub fn restarting(mut body: Json, include_tasks: bool, only_failed: bool) -> Json {
    let mark = |part: &mut Json| {
        if !only_failed || part["state"] == "FAILED" {
            part["state"] = "RESTARTING".into();
        }
    };
    mark(&mut body["connector"]);
    if include_tasks {
        body["tasks"].as_array_mut().into_iter().flatten().for_each(mark);
    }
    body
}
