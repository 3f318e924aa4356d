//! Says what a start does before its pipeline runs: a progress bar on a terminal, lines elsewhere.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::output::{Output, counted};
use super::progress::Progress;
use crate::data::size;
use crate::engine::telling::{Listener, Told};

/// Where there is no bar, a line says how far a replay is.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Hears the start of a pipeline and says it on stderr.
pub fn listener(name: &str, output: Output) -> Listener {
    let shown = Mutex::new(Shown { name: name.to_owned(), output, total: 0, bar: None, line: Instant::now() });
    Listener::new(move |told| shown.lock().unwrap_or_else(PoisonError::into_inner).hear(told))
}

struct Shown {
    name: String,
    output: Output,
    /// Records to be replayed.
    total: u64,
    bar: Option<Progress>,
    /// When the last line was said.
    line: Instant,
}

impl Shown {
    fn hear(&mut self, told: Told) {
        let name = &self.name;
        match told {
            Told::Restores { epoch, rows, bytes } => {
                let (rows, bytes) = (counted(rows, "row"), size(bytes as usize));
                self.say(told, &format!("{name}: reads the state in the snapshot of epoch {epoch} ({rows}, {bytes})"));
            }
            Told::Replays { epochs, records } => {
                let (epochs, rows) = (counted(epochs, "epoch"), counted(records, "record"));
                self.say(told, &format!("{name}: replays {epochs} ({rows})"));
                self.total = records;
                self.bar = (!self.output.is_json() && std::io::stderr().is_terminal() && records > 0)
                    .then(|| Progress::new(records, true));
            }
            Told::Replayed { records } => match &self.bar {
                Some(bar) => {
                    bar.at(records);
                    if records >= self.total {
                        self.bar = None;
                    }
                }
                None if self.line.elapsed() >= LINE_EVERY => {
                    let total = counted(self.total, "record");
                    self.say(told, &format!("{name}: replayed {records} of {total}"));
                }
                None => {}
            },
        }
    }

    fn say(&mut self, told: Told, line: &str) {
        self.line = Instant::now();
        match self.output {
            Output::Text => eprintln!("{line}"),
            json => json.print(&serde_json::json!({ "pipeline": self.name, "recovery": told })),
        }
    }
}
