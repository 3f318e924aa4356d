//! Pause, resume, stop, restart.

use axum::http::StatusCode;

use super::answer::{Answer, Refusal, of_refused};
use super::{Call, status};
use crate::deploy::connector::pipeline_of;
use crate::deploy::store::Wanted;
use crate::deploy::supervisor::{Described, Expect, Refused, State};

pub fn pause(call: &Call, name: &str) -> Result<Answer, Refusal> {
    want(call, name, Wanted::Paused, StatusCode::ACCEPTED)
}

pub fn resume(call: &Call, name: &str) -> Result<Answer, Refusal> {
    want(call, name, Wanted::Running, StatusCode::ACCEPTED)
}

pub fn stop(call: &Call, name: &str) -> Result<Answer, Refusal> {
    want(call, name, Wanted::Stopped, StatusCode::NO_CONTENT)
}

fn want(call: &Call, name: &str, wanted: Wanted, done: StatusCode) -> Result<Answer, Refusal> {
    let supervisor = &call.face.supervisor;
    let asked = supervisor.connector(name);
    let asked = asked.and_then(|_| supervisor.want(&pipeline_of(name), wanted, &Expect::There));
    match asked {
        Ok(_) => Ok(Answer::Empty(done)),
        Err(Refused::Unknown(_)) => Err(Refusal::new(404, format!("Unknown connector {name}"))),
        Err(refused) => Err(of_refused(refused, name)),
    }
}

/// Without parameters Connect restarts the connector object and no task: here there is nothing in such an object.
pub fn restart(call: &Call, name: &str) -> Result<Answer, Refusal> {
    let described = to_restart(call, name)?;
    let only_failed = call.says("onlyFailed");
    if !only_failed && !call.says("includeTasks") {
        return Ok(Answer::Empty(StatusCode::NO_CONTENT));
    }
    let Some(connector) = &described.kept.connector else { return Err(Refusal::unknown(name)) };
    let body = status::body(call, &described, connector);
    // Tasks fail together: they are one pipeline.
    if call.says("includeTasks") && (!only_failed || has_failed(&described)) {
        again(call, name)?;
    }
    let body = status::restarting(body, call.says("includeTasks"), only_failed);
    Ok(Answer::Json(StatusCode::ACCEPTED, body))
}

pub fn restart_task(call: &Call, name: &str, task: i32) -> Result<Answer, Refusal> {
    let described = to_restart(call, name)?;
    let tasks = described.kept.connector.as_ref().map_or(0, |connector| connector.tasks);
    if described.kept.wanted == Wanted::Stopped {
        let why = "no known leader URL, likely because a rebalance was underway.";
        return Err(Refusal::new(409, format!("Cannot complete request momentarily due to {why}")));
    }
    if !u32::try_from(task).is_ok_and(|task| task < tasks) {
        return Err(Refusal::new(404, format!("Unknown task: {name}-{task}")));
    }
    again(call, name)?;
    Ok(Answer::Empty(StatusCode::NO_CONTENT))
}

fn has_failed(described: &Described) -> bool {
    matches!(described.status.state, State::Failed | State::Ended)
}

fn to_restart(call: &Call, name: &str) -> Result<Described, Refusal> {
    let found = call.face.supervisor.connector(name);
    found.map_err(|_| Refusal::new(404, format!("Unknown connector: {name}")))
}

fn again(call: &Call, name: &str) -> Result<(), Refusal> {
    let done = call.face.supervisor.restart(&pipeline_of(name), &Expect::There);
    done.map(drop).map_err(|refused| of_refused(refused, name))
}
