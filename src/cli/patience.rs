//! Waiting for servers that are away: each is named once, as soon as it is known, and asked again
//! with growing pauses until it answers or Ctrl-C.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::output::Output;
use super::stops::Stops;
use crate::report::Failure;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What is waited for, and how long already.
pub struct Patience<'a> {
    stops: &'a Stops,
    output: Output,
    /// What was said, without the reasons: they differ each time.
    said: Mutex<BTreeSet<String>>,
    pause: Duration,
}

impl<'a> Patience<'a> {
    pub fn new(stops: &'a Stops, output: Output) -> Self {
        Patience { stops, output, said: Mutex::default(), pause: FIRST_PAUSE }
    }

    /// Names a server that is away; `message` is what its failure says.
    pub fn tell(&self, code: &str, message: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if !said.insert(who(message).to_owned()) {
            return;
        }
        match self.output {
            Output::Text => eprintln!("waiting: {message}"),
            json => json.print(&serde_json::json!({ "waiting": { "code": code, "message": message } })),
        }
    }

    /// Does something that servers are needed for, again while they are away. `None`: Ctrl-C.
    pub fn until_done<T>(&mut self, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<Option<T>, Failure> {
        while !self.stops.asked() {
            match attempt() {
                Ok(done) => {
                    self.over();
                    return Ok(Some(done));
                }
                Err(failure) if failure.retry => {
                    self.tell(failure.code, &failure.to_string());
                    self.wait();
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(None)
    }

    /// Waits before the next attempt. False: Ctrl-C.
    pub fn wait(&mut self) -> bool {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        self.stops.pause(pause)
    }

    /// Everybody answered.
    pub fn over(&mut self) {
        self.pause = FIRST_PAUSE;
        let said = std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner));
        if !said.is_empty() && !self.output.is_json() {
            eprintln!("going on: all servers answer");
        }
    }
}

/// A failure's message as far as its first word in backticks: whom it is about.
fn who(message: &str) -> &str {
    let end = message.match_indices('`').nth(1).map_or(message.len(), |(at, _)| at + 1);
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_once_whatever_its_reasons() {
        let first = who("no Kafka broker answers at `a:9092`: refused (1 identical error suppressed)");
        assert_eq!(first, who("no Kafka broker answers at `a:9092`: refused"));
        assert_ne!(first, who("no Kafka broker answers at `b:9092`: refused"));
        assert_eq!(who("no backticks"), "no backticks");
    }
}
