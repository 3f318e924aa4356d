//! Levels of the log, changed while a server runs.
//!
//! A logger is a target of tracing (a room of ours, `runner::engine`, or a module within), or `root`. A logger has the
//! level of the nearest one above it that was given one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{Directive, LevelFilter, Targets};
use tracing_subscriber::reload;

use crate::time::{Clock, Millis};

pub const ROOT: &str = "root";
/// Loggers that there are before somebody names others.
const ROOMS: &[&str] = &[
    "runner",
    "runner::connect",
    "runner::connectors",
    "runner::deploy",
    "runner::engine",
    "runner::expr",
    "runner::formats",
    "runner::journal",
    "runner::plan",
    "runner::registry",
    "runner::server",
    "runner::state",
    "runner::transforms",
];

/// The level of a logger, and when somebody changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    level: LevelFilter,
    pub changed: Option<Millis>,
}

impl Level {
    /// `INFO`, `WARN` …
    pub fn word(self) -> String {
        self.level.to_string().to_uppercase()
    }
}

/// The levels of this process.
#[derive(Debug, Clone)]
pub struct Levels {
    clock: Arc<dyn Clock>,
    filter: reload::Handle<EnvFilter, Registry>,
    given: Arc<Mutex<BTreeMap<String, Level>>>,
}

impl Levels {
    /// Levels that begin as a text in tracing's filter language says, and the filter that they govern.
    pub fn new(text: &str, clock: Arc<dyn Clock>) -> (Levels, reload::Layer<EnvFilter, Registry>) {
        let filter = EnvFilter::try_new(text).unwrap_or_else(|_| EnvFilter::new("warn"));
        // What only the richer language can say counts until somebody changes a level.
        let targets: Targets = text.parse().unwrap_or_default();
        let level = |level| Level { level, changed: None };
        let mut given: BTreeMap<String, Level> =
            targets.iter().map(|(name, at)| (name.to_owned(), level(at))).collect();
        given.insert(ROOT.into(), level(targets.default_level().unwrap_or(LevelFilter::ERROR)));
        let (layer, handle) = reload::Layer::new(filter);
        (Levels { clock, filter: handle, given: Arc::new(Mutex::new(given)) }, layer)
    }

    /// All loggers, by name.
    pub fn all(&self) -> BTreeMap<String, Level> {
        let given = self.given();
        names(&given).into_iter().map(|name| (name.to_owned(), nearest(&given, name))).collect()
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<Level> {
        let given = self.given();
        names(&given).contains(name).then(|| nearest(&given, name))
    }

    /// Gives a logger and all below it a level; the names of those that had another. `None`: there is no such level.
    pub fn set(&self, name: &str, word: &str) -> Option<Vec<String>> {
        let level = match word.to_ascii_uppercase().as_str() {
            "OFF" => LevelFilter::OFF,
            "FATAL" | "ERROR" => LevelFilter::ERROR,
            "WARN" => LevelFilter::WARN,
            "INFO" => LevelFilter::INFO,
            "DEBUG" => LevelFilter::DEBUG,
            "TRACE" => LevelFilter::TRACE,
            _ => return None,
        };
        let mut given = self.given();
        let before = given.clone();
        given.retain(|known, _| !is_below(known, name));
        given.insert(name.to_owned(), Level { level, changed: Some(self.clock.now()) });
        // Nobody listens if the log went elsewhere; the levels are what was asked for all the same.
        let _ = self.filter.reload(filter_of(&given));
        let is_new = |known: &str| !names(&before).contains(known) || nearest(&before, known).level != level;
        let below = names(&given).into_iter().filter(|known| *known == name || is_below(known, name));
        Some(below.filter(|known| is_new(known)).map(str::to_owned).collect())
    }

    fn given(&self) -> MutexGuard<'_, BTreeMap<String, Level>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names(given: &BTreeMap<String, Level>) -> BTreeSet<&str> {
    given.keys().map(String::as_str).chain(ROOMS.iter().copied()).collect()
}

fn is_below(name: &str, above: &str) -> bool {
    if above == ROOT {
        return name != ROOT;
    }
    name.strip_prefix(above).is_some_and(|rest| rest.starts_with("::") || rest.starts_with('.'))
}

/// Of the longest name that is this one, or above it.
fn nearest(given: &BTreeMap<String, Level>, name: &str) -> Level {
    let above = given.iter().filter(|(known, _)| *known == name || is_below(name, known));
    let nearest = above.max_by_key(|(known, _)| if *known == ROOT { 0 } else { known.len() });
    nearest.map_or(Level { level: LevelFilter::ERROR, changed: None }, |(_, level)| *level)
}

fn filter_of(given: &BTreeMap<String, Level>) -> EnvFilter {
    let directive = |(name, level): (&String, &Level)| match name.as_str() {
        ROOT => Some(Directive::from(level.level)),
        // What cannot be a target is no logger of ours.
        name => format!("{name}={}", level.level).parse().ok(),
    };
    given.iter().filter_map(directive).fold(EnvFilter::default(), EnvFilter::add_directive)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::time::ManualClock;

    #[test]
    fn a_level_holds_for_all_below_and_is_in_force_at_once() {
        let (levels, layer) = Levels::new("runner=info,warn", ManualClock::at(7));
        let shown = |name: &str| levels.get(name).map(|level| (level.word(), level.changed));
        assert_eq!(shown(ROOT), Some(("WARN".into(), None)));
        assert_eq!(shown("runner::engine"), Some(("INFO".into(), None)));
        assert_eq!(shown("nope.nope"), None);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let enabled = || {
                let ours = tracing::enabled!(target: "runner::engine::job", tracing::Level::DEBUG);
                (ours, tracing::enabled!(target: "elsewhere", tracing::Level::INFO))
            };
            assert_eq!(enabled(), (false, false));
            assert_eq!(levels.set("runner::engine", "debug"), Some(vec!["runner::engine".into()]));
            assert_eq!(enabled(), (true, false));
            assert_eq!(levels.set(ROOT, "bogus"), None);
            assert_eq!(levels.set("nope.nope", "Fatal"), Some(vec!["nope.nope".into()]));
            assert_eq!(shown("nope.nope"), Some(("ERROR".into(), Some(7))));
            let all = levels.set(ROOT, "INFO").unwrap();
            assert!(all.contains(&"runner::engine".into()) && all.contains(&ROOT.into()), "{all:?}");
            assert_eq!(levels.set(ROOT, "INFO"), Some(Vec::new()));
            assert_eq!(enabled(), (false, true));
            assert_eq!(shown("runner::engine"), Some(("INFO".into(), Some(7))));
            assert_eq!(levels.set("runner", "OFF").unwrap().len(), ROOMS.len());
            assert_eq!(enabled(), (false, true));
        });
    }
}
