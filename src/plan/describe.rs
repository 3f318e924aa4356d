//! A plan for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::outline::{Outline, SubjectState, TopicState};
use super::{ErrorPolicy, JournalPlace, Mode, Plan};
use crate::data::size;
use crate::expr::type_word;

/// The plan as lines for a terminal, ending with a line break.
pub fn text(plan: &Plan) -> String {
    let mut out = format!("pipeline {}\n", qualified(plan));
    connections(&plan.outline, &mut out);
    sources(plan, &mut out);
    steps(plan, &mut out);
    sinks(plan, &mut out);
    topics(&plan.outline, &mut out);
    subjects(&plan.outline, &mut out);
    let restart = plan.outline.restart.clone().map(|from| ("restart", from));
    let lines = [("journal", journal(plan)), ("bad records", errors(plan)), ("memory", size(plan.memory))];
    let lines = restart.into_iter().chain(lines);
    section("", lines.map(|(name, text)| (name.to_owned(), text)), &mut out);
    for sentence in &plan.outline.unchecked {
        let _ = writeln!(out, "  not checked  {sentence}");
    }
    out
}

/// The plan for programs.
pub fn json(plan: &Plan) -> Value {
    let outline = &plan.outline;
    json!({
        "pipeline": plan.name,
        "namespace": plan.namespace,
        "fingerprint": plan.fingerprint,
        "connections": outline.connections.iter().map(|connection| json!({
            "name": connection.name, "built_in": connection.built_in, "servers": connection.servers,
        })).collect::<Vec<_>>(),
        "sources": plan.sources.iter().zip(&outline.sources).map(|(source, outline)| json!({
            "name": source.name, "connector": outline.connector, "from": outline.from,
            "format": outline.format, "time": outline.time, "columns": columns(&source.schema),
        })).collect::<Vec<_>>(),
        "steps": plan.steps.iter().zip(&outline.steps).map(|(step, outline)| json!({
            "name": step.name, "from": outline.from, "does": outline.does, "columns": columns(&step.step.schema()),
        })).collect::<Vec<_>>(),
        "sinks": plan.sinks.iter().zip(&outline.sinks).map(|(sink, outline)| json!({
            "name": sink.name, "connector": outline.connector, "from": outline.from, "to": outline.to,
            "format": outline.format, "key": outline.key, "mode": sink.mode, "guarantee": outline.guarantee,
        })).collect::<Vec<_>>(),
        "topics": outline.topics.iter().map(|topic| json!({
            "name": topic.name, "brokers": topic.cluster.shown, "state": topic_word(&topic.state),
            "config": topic.config,
        })).collect::<Vec<_>>(),
        "subjects": outline.subjects.iter().map(|subject| json!({
            "subject": subject.subject, "registry": subject.registry_shown,
            "state": subject_words(&subject.state), "schema": subject.schema,
        })).collect::<Vec<_>>(),
        "restart": outline.restart.as_deref().unwrap_or("from the journal"),
        "journal": journal(plan),
        "bad_records": errors(plan),
        "memory": plan.memory,
        "not_checked": outline.unchecked,
    })
}

fn qualified(plan: &Plan) -> String {
    match plan.namespace.as_str() {
        "default" => plan.name.clone(),
        namespace => format!("{namespace}/{}", plan.name),
    }
}

fn columns(schema: &arrow::datatypes::Schema) -> Vec<Value> {
    let column = |field: &arrow::datatypes::Field| json!({ "name": field.name(), "type": type_word(field) });
    super::check::user_fields(schema).map(column).collect()
}

fn listed(schema: &arrow::datatypes::Schema) -> String {
    let column = |field: &arrow::datatypes::Field| format!("{} {}", field.name(), type_word(field));
    super::check::user_fields(schema).map(column).collect::<Vec<_>>().join(", ")
}

/// Lines of a name and what is to be said of it, the names padded to one width.
fn section(title: &str, lines: impl IntoIterator<Item = (String, String)>, out: &mut String) {
    let lines: Vec<(String, String)> = lines.into_iter().collect();
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    if !title.is_empty() && !lines.is_empty() {
        let _ = writeln!(out, "  {title}");
    }
    let indent = if title.is_empty() { "  " } else { "    " };
    for (name, text) in lines {
        let mut rest = text.lines();
        let _ = writeln!(out, "{indent}{name:width$}  {}", rest.next().unwrap_or_default());
        for line in rest {
            let _ = writeln!(out, "{indent}{:width$}  {line}", "");
        }
    }
}

fn connections(outline: &Outline, out: &mut String) {
    let lines = outline.connections.iter().map(|connection| {
        let built_in = if connection.built_in { " (built in)" } else { "" };
        (connection.name.clone(), format!("{}{built_in}", connection.servers.join(", ")))
    });
    section("connections", lines, out);
}

fn sources(plan: &Plan, out: &mut String) {
    let lines = plan.sources.iter().zip(&plan.outline.sources).map(|(source, outline)| {
        let mut text = format!("{} {}\n", outline.connector, outline.from);
        text += &format!("{}\n", outline.format);
        text += &format!("reads {}\n", listed(&source.schema));
        text += &format!("time: {}", outline.time);
        (source.name.clone(), text)
    });
    section("sources", lines, out);
}

fn steps(plan: &Plan, out: &mut String) {
    let lines = plan.steps.iter().zip(&plan.outline.steps).map(|(step, outline)| {
        let gives = listed(&step.step.schema());
        (step.name.clone(), format!("{} → {}\ngives {gives}", outline.from, outline.does))
    });
    section("transforms", lines, out);
}

fn sinks(plan: &Plan, out: &mut String) {
    let lines = plan.sinks.iter().zip(&plan.outline.sinks).map(|(sink, outline)| {
        let from = if sink.input.is_some() { outline.from.as_str() } else { "dead letters" };
        let mut text = format!("{from} → {}, {}, {}\n", outline.to, outline.format, mode_word(sink.mode));
        if !outline.key.is_empty() {
            text += &format!("key: {}\n", outline.key);
        }
        text += &outline.guarantee;
        (sink.name.clone(), text)
    });
    section("sinks", lines, out);
}

fn topics(outline: &Outline, out: &mut String) {
    let lines = outline.topics.iter().map(|topic| {
        let mut text = topic_word(&topic.state).to_owned();
        if topic.state == TopicState::Create {
            let partitions = topic
                .partitions
                .map(|count| format!("{count} {}", if count == 1 { "partition" } else { "partitions" }));
            let replication = topic.replication.map(|count| format!("replication {count}"));
            let config = topic.config.iter().map(|(name, value)| format!("{name}={value}"));
            for part in partitions.into_iter().chain(replication).chain(config) {
                text += &format!(", {part}");
            }
        }
        (topic.name.clone(), text)
    });
    section("topics", lines, out);
}

fn topic_word(state: &TopicState) -> &'static str {
    match state {
        TopicState::Exists(_) => "exists",
        TopicState::Create => "create",
        TopicState::CreatedByOther => "created by another pipeline of this command",
        TopicState::NotAsked => "not checked",
    }
}

fn subjects(outline: &Outline, out: &mut String) {
    let lines = outline
        .subjects
        .iter()
        .map(|subject| (subject.subject.clone(), format!("{}\n{}", subject_words(&subject.state), subject.schema)));
    section("subjects", lines, out);
}

fn subject_words(state: &SubjectState) -> String {
    match state {
        SubjectState::New => "new".into(),
        SubjectState::Unchanged { version } => format!("unchanged, version {version}"),
        SubjectState::NewVersion { after } => format!("new version after {after}, compatible"),
        SubjectState::NotAsked => "not checked".into(),
    }
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Append => "append",
        Mode::Update => "update",
        Mode::Upsert => "upsert",
        Mode::Complete => "complete",
    }
}

fn journal(plan: &Plan) -> String {
    match &plan.journal {
        JournalPlace::File(path) => format!("file {}", path.display()),
        JournalPlace::Kafka { cluster, topic, .. } => {
            format!("topic `{topic}` of connection `{}`", cluster.connection)
        }
    }
}

fn errors(plan: &Plan) -> String {
    match plan.errors {
        ErrorPolicy::Fail => "the first one ends the run".into(),
        ErrorPolicy::KeepThenFail => "to `dead_letter`, and the first one ends the run then".into(),
        ErrorPolicy::Skip => "counted and skipped".into(),
        ErrorPolicy::FailAbove(share) => format!("to `dead_letter`; more than {}% end the run", share * 100.0),
        ErrorPolicy::DeadLetter => "to `dead_letter`, however many".into(),
    }
}
