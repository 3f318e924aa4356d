//! What a path means, and which methods it has.

use axum::http::Method;

use super::answer::{Answer, Refusal};
use super::{Call, connectors, control, loggers, offsets, plugins, status, submit, topics, worker};

/// What a path names. Names are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    Root,
    Connectors,
    Connector(String),
    Config(String),
    Status(String),
    Tasks(String),
    TaskStatus(String, i32),
    RestartTask(String, i32),
    Topics(String),
    ResetTopics(String),
    Offsets(String),
    Pause(String),
    Resume(String),
    Stop(String),
    Restart(String),
    Fence(String),
    Plugins,
    PluginConfig(String),
    Validate(String),
    Loggers,
    Logger(String),
}

impl Resource {
    /// `None`: there is nothing.
    ///
    /// # Errors
    /// For an empty segment, and one that can name nothing.
    pub fn of(segments: &[String]) -> Result<Option<Resource>, Refusal> {
        if segments.iter().any(|part| part.is_empty() || part.chars().any(char::is_control)) {
            return Err(Refusal::new(400, "a part of the path is empty, or has a control character"));
        }
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let name = |name: &&str| (*name).to_owned();
        let found = match &segments[..] {
            [] => Resource::Root,
            ["connectors"] => Resource::Connectors,
            ["connectors", of] => Resource::Connector(name(of)),
            ["connectors", of, "config"] => Resource::Config(name(of)),
            ["connectors", of, "status"] => Resource::Status(name(of)),
            ["connectors", of, "tasks"] => Resource::Tasks(name(of)),
            ["connectors", of, "tasks", task, word] => {
                // As Java reads a number: `-1` is one, of no task.
                let Ok(task) = task.parse() else { return Ok(None) };
                match *word {
                    "status" => Resource::TaskStatus(name(of), task),
                    "restart" => Resource::RestartTask(name(of), task),
                    _ => return Ok(None),
                }
            }
            ["connectors", of, "topics"] => Resource::Topics(name(of)),
            ["connectors", of, "topics", "reset"] => Resource::ResetTopics(name(of)),
            ["connectors", of, "offsets"] => Resource::Offsets(name(of)),
            ["connectors", of, "pause"] => Resource::Pause(name(of)),
            ["connectors", of, "resume"] => Resource::Resume(name(of)),
            ["connectors", of, "stop"] => Resource::Stop(name(of)),
            ["connectors", of, "restart"] => Resource::Restart(name(of)),
            ["connectors", of, "fence"] => Resource::Fence(name(of)),
            ["connector-plugins"] => Resource::Plugins,
            ["connector-plugins", of, "config"] => Resource::PluginConfig(name(of)),
            ["connector-plugins", of, "config", "validate"] => Resource::Validate(name(of)),
            ["admin", "loggers"] => Resource::Loggers,
            ["admin", "loggers", of] => Resource::Logger(name(of)),
            _ => return Ok(None),
        };
        Ok(Some(found))
    }

    /// Beside HEAD, wherever GET is, and OPTIONS.
    pub fn methods(&self) -> &'static [Method] {
        match self {
            Resource::Root
            | Resource::Status(_)
            | Resource::TaskStatus(..)
            | Resource::Topics(_)
            | Resource::Plugins
            | Resource::PluginConfig(_)
            | Resource::Loggers => &[Method::GET],
            Resource::Connectors | Resource::Tasks(_) => &[Method::POST, Method::GET],
            Resource::Connector(_) => &[Method::GET, Method::DELETE],
            Resource::Config(_) => &[Method::GET, Method::PUT, Method::PATCH],
            Resource::Offsets(_) => &[Method::GET, Method::PATCH, Method::DELETE],
            Resource::RestartTask(..) | Resource::Restart(_) => &[Method::POST],
            Resource::ResetTopics(_)
            | Resource::Pause(_)
            | Resource::Resume(_)
            | Resource::Stop(_)
            | Resource::Fence(_)
            | Resource::Validate(_) => &[Method::PUT],
            Resource::Logger(_) => &[Method::GET, Method::PUT],
        }
    }

    /// Answers a request whose method is one of [`Resource::methods`]; blocks for the disk.
    ///
    /// # Errors
    /// Refusals in Connect's words.
    pub fn answer(&self, call: &Call) -> Result<Answer, Refusal> {
        let is = |method: &Method| call.method == *method;
        match self {
            Resource::Root => worker::root(call),
            Resource::Connectors if is(&Method::POST) => submit::create(call),
            Resource::Connectors => connectors::list(call),
            Resource::Connector(name) if is(&Method::DELETE) => connectors::delete(call, name),
            Resource::Connector(name) => connectors::show(call, name),
            Resource::Config(name) if is(&Method::PUT) => submit::put_config(call, name),
            Resource::Config(name) if is(&Method::PATCH) => submit::patch_config(call, name),
            Resource::Config(name) => connectors::config(call, name),
            Resource::Tasks(name) if is(&Method::GET) => connectors::tasks(call, name),
            // Between the workers of Connect.
            Resource::Tasks(_) | Resource::Fence(_) => {
                Err(Refusal::new(400, "Internal request missing required signature"))
            }
            Resource::Status(name) => status::show(call, name),
            Resource::TaskStatus(name, task) => status::task(call, name, *task),
            Resource::Pause(name) => control::pause(call, name),
            Resource::Resume(name) => control::resume(call, name),
            Resource::Stop(name) => control::stop(call, name),
            Resource::Restart(name) => control::restart(call, name),
            Resource::RestartTask(name, task) => control::restart_task(call, name, *task),
            Resource::Plugins => plugins::list(call),
            Resource::PluginConfig(name) => plugins::config(call, name),
            Resource::Validate(name) => plugins::validate(call, name),
            Resource::Loggers => loggers::list(call),
            Resource::Logger(name) if is(&Method::PUT) => loggers::set(call, name),
            Resource::Logger(name) => loggers::show(call, name),
            Resource::Topics(name) => topics::show(call, name),
            Resource::ResetTopics(name) => topics::reset(call, name),
            Resource::Offsets(name) if is(&Method::PATCH) => offsets::alter(call, name),
            Resource::Offsets(name) if is(&Method::DELETE) => offsets::reset(call, name),
            Resource::Offsets(name) => offsets::show(call, name),
        }
    }
}
