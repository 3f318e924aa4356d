//! Connectors submitted and changed: POST `/connectors`, PUT and PATCH `/connectors/NAME/config`.
//!
//! A configuration is checked, compiled to a pipeline and kept, fsynced, before it is answered.

use std::sync::Arc;

use indexmap::IndexMap;

use super::Call;
use super::answer::{Answer, Refusal, of_refused};
use super::connectors::{info, known, object};
use super::worker::WorkerFace;
use crate::connect::{Config, ConfigProblem, check, list_of_errors, patch_of, with_secrets};
use crate::deploy::connector::{Connector, pipeline_of};
use crate::deploy::store::Wanted;
use crate::deploy::supervisor::{Described, Expect, Refused, Supervisor};
use crate::kafka_connect::json::Json as Given;

/// What a request to make a connector may have.
const REQUEST_KEYS: [&str; 3] = ["name", "config", "initial_state"];
/// A change that meets another one is made again so often.
const PATCHES_MAX: usize = 20;

pub fn create(call: &Call) -> Result<Answer, Refusal> {
    let request = object(&call.body)?;
    if let Some((key, _)) = request.iter().find(|(key, _)| !REQUEST_KEYS.contains(&key.as_str())) {
        let known = r#"3 known properties: "config", "name", "initial_state""#;
        return Err(Refusal::new(400, format!("Unrecognized field \"{key}\", not marked as ignorable ({known})")));
    }
    let field = |key: &str| request.iter().find(|(known, _)| known == key).map(|(_, value)| value);
    let name = match field("name") {
        None | Some(Given::Null) => String::new(),
        Some(Given::String(text) | Given::Number(text)) => text.trim().to_owned(),
        Some(other) => return Err(Refusal::new(400, format!("`name` is {}, not a text", other.word()))),
    };
    let wanted = initial_state(field("initial_state"))?;
    let config = match field("config") {
        None | Some(Given::Null) => return Err(Refusal::new(400, "the request has no `config`")),
        Some(config) => named_config(config, &name)?,
    };
    let config = with_secrets(config, None)?;
    let (described, _) = put(call, &name, config, wanted, &Expect::New)?;
    made(call, &name, &described)
}

fn initial_state(given: Option<&Given>) -> Result<Wanted, Refusal> {
    let Some(given) = given.filter(|given| **given != Given::Null) else { return Ok(Wanted::Running) };
    let word = given.as_str().unwrap_or_else(|| given.word());
    match word.to_ascii_uppercase().as_str() {
        "RUNNING" => Ok(Wanted::Running),
        "PAUSED" => Ok(Wanted::Paused),
        "STOPPED" => Ok(Wanted::Stopped),
        _ => {
            let message = format!("No enum constant InitialState.{word}: it is RUNNING, PAUSED or STOPPED");
            Err(Refusal::new(400, message))
        }
    }
}

/// A configuration with its connector's name in it, at the end.
fn named_config(given: &Given, name: &str) -> Result<Config, Refusal> {
    let mut patch = patch_of(given).map_err(of_problem)?;
    match patch.shift_remove("name").flatten() {
        Some(other) if other != name => {
            let message =
                format!("Connector name configuration ({other}) doesn't match connector name in the URL ({name})");
            return Err(Refusal::new(400, message));
        }
        _ => {}
    }
    let mut config = Config::new();
    for (key, value) in patch {
        let value = value.ok_or_else(|| of_problem(ConfigProblem::Null { key: key.clone() }))?;
        config.insert(key, value);
    }
    config.insert("name".into(), name.to_owned());
    Ok(config)
}

fn of_problem(problem: ConfigProblem) -> Refusal {
    match problem {
        ConfigProblem::Null { .. } => Refusal::new(400, list_of_errors(&[problem.to_string()])),
        other => Refusal::new(400, other.to_string()),
    }
}

pub fn put_config(call: &Call, name: &str) -> Result<Answer, Refusal> {
    let given = Given::Object(object(&call.body)?);
    let before = known(call, name).ok();
    let config = with_secrets(named_config(&given, name)?, before.as_ref().map(|before| &before.config))?;
    let (described, is_new) = put(call, name, config, Wanted::Running, &Expect::Anything)?;
    match before {
        Some(before) if !is_new => changed(name, &described, &before),
        _ => made(call, name, &described),
    }
}

pub fn patch_config(call: &Call, name: &str) -> Result<Answer, Refusal> {
    let patch = patch_of(&Given::Object(object(&call.body)?)).map_err(of_problem)?;
    for _ in 0..PATCHES_MAX {
        let described = call.face.supervisor.connector(name).map_err(|refused| of_refused(refused, name))?;
        let before = described.kept.connector.clone().ok_or_else(|| Refusal::unknown(name))?;
        let expect = Expect::Etags(vec![described.kept.etag()]);
        let config = with_secrets(patched(&before.config, &patch), Some(&before.config))?;
        match put(call, name, config, Wanted::Running, &expect) {
            // Somebody else changed it meanwhile: this change is made of what it is now.
            Err(refusal) if refusal.status == 409 => {}
            done => return changed(name, &done?.0, &before),
        }
    }
    Err(of_refused(Refused::Stale { name: pipeline_of(name), etag: String::new() }, name))
}

fn patched(config: &Config, patch: &IndexMap<String, Option<String>>) -> Config {
    let mut config = config.clone();
    for (key, value) in patch {
        match value {
            Some(value) => drop(config.insert(key.clone(), value.clone())),
            None => drop(config.shift_remove(key)),
        }
    }
    config
}

/// 200: the new configuration with the tasks of before.
fn changed(name: &str, described: &Described, before: &Connector) -> Result<Answer, Refusal> {
    let connector = described.kept.connector.clone().ok_or_else(|| Refusal::unknown(name))?;
    Answer::ok(info(&Connector { tasks: before.tasks, ..connector }))
}

/// Checks a configuration, compiles it, and has it kept and run.
fn put(call: &Call, name: &str, config: Config, wanted: Wanted, expect: &Expect) -> Result<(Described, bool), Refusal> {
    take(&call.face.worker, &call.face.supervisor, name, config, wanted, expect)
}

fn take(
    worker: &WorkerFace,
    supervisor: &Arc<Supervisor>,
    name: &str,
    config: Config,
    wanted: Wanted,
    expect: &Expect,
) -> Result<(Described, bool), Refusal> {
    let errors = check(&config, &worker.worker)?.errors();
    if !errors.is_empty() {
        return Err(Refusal::new(400, list_of_errors(&errors)));
    }
    let (connector, document) = worker.compile(name, config)?;
    let done = supervisor.put_connector(connector, &document, wanted, expect);
    done.map_err(|refused| of_refused(refused, name))
}

/// Takes a connector in that no request brought: as PUT `/connectors/NAME/config` would, in the state that is wanted if it is
/// new. One that is there stays as somebody wanted it. Blocks for the disk.
///
/// # Errors
/// What PUT would answer.
pub fn submit(
    worker: &WorkerFace,
    supervisor: &Arc<Supervisor>,
    name: &str,
    mut config: Config,
    wanted: Wanted,
) -> Result<(), Refusal> {
    let before = supervisor.connector(name).ok().and_then(|known| known.kept.connector.clone());
    config.insert("name".into(), name.to_owned());
    let config = with_secrets(config, before.as_ref().map(|before| &before.config))?;
    take(worker, supervisor, name, config, wanted, &Expect::Anything).map(drop)
}

/// 201: with no tasks yet, and its config in the order of the request.
fn made(call: &Call, name: &str, described: &Described) -> Result<Answer, Refusal> {
    let connector = described.kept.connector.clone().ok_or_else(|| Refusal::unknown(name))?;
    let location = format!("{}/connectors/{}", call.face.worker.url(), encoded(name));
    Ok(Answer::Created(location, info(&Connector { tasks: 0, ..connector })))
}

/// As a part of a path.
fn encoded(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_part_of_a_path() {
        assert_eq!(encoded("a-b.c_d~1"), "a-b.c_d~1");
        assert_eq!(encoded("a/b é?"), "a%2Fb%20%C3%A9%3F");
    }

    #[test]
    fn a_config_gets_its_name_and_only_that() {
        let config = |text: &str| named_config(&Given::parse_whole(text.as_bytes()).unwrap(), "x");
        let keys = |config: Config| config.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
        assert_eq!(keys(config(r#"{"name": "x", "b": 1, "a": true}"#).unwrap()), ["b=1", "a=true", "name=x"]);
        assert_eq!(keys(config(r#"{"name": null, "b": "1"}"#).unwrap()), ["b=1", "name=x"]);
        let message = "Connector name configuration (y) doesn't match connector name in the URL (x)";
        assert_eq!(config(r#"{"name": "y"}"#).unwrap_err(), Refusal::new(400, message));
        assert!(config(r#"{"a": null}"#).unwrap_err().message.contains("1 error(s):\nNull value can not be supplied"));
        assert_eq!(config(r#"{"a": {}}"#).unwrap_err().status, 400);
    }
}
