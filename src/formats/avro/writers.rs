//! The schemas that records were written with, by registry id, shared by all lanes of a pipeline.
//!
//! I8: what is learnt from the registry is journaled in the first epoch that uses it: the engine
//! takes it with [`WriterSchemas::take_learnt`], and gives it back with [`WriterSchemas::preload`] before a replay.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::registry::Registry;
use crate::report::Failure;

/// How long an id that the registry does not know is asked for again: another instance of the
/// registry may lag behind the one that the producer used.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two questions; doubles.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Writer schemas by id, from the journal or the registry.
#[derive(Debug)]
pub struct WriterSchemas {
    registry: Arc<dyn Registry>,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<i32, Arc<str>>,
    learnt: BTreeMap<i32, String>,
    /// Asked for with all patience: from now on one question each time is enough.
    missing: HashSet<i32>,
}

impl WriterSchemas {
    pub fn new(registry: Arc<dyn Registry>) -> Self {
        Self::with_patience(registry, PATIENCE)
    }

    /// As [`Self::new`], but an unknown id is given up after another time than five seconds.
    pub fn with_patience(registry: Arc<dyn Registry>, patience: Duration) -> Self {
        WriterSchemas { registry, patience, state: Mutex::default() }
    }

    /// Makes a schema known without asking: it was learnt before (I8) or by the plan.
    pub fn preload(&self, id: i32, text: &str) {
        self.lock().known.insert(id, Arc::from(text));
    }

    /// A schema's text, if a record with it was decoded; nobody is asked.
    pub fn known(&self, id: i32) -> Option<Arc<str>> {
        self.lock().known.get(&id).cloned()
    }

    /// Whether a schema is registered under `subject`.
    ///
    /// # Errors
    /// The registry's failure.
    pub fn is_registered(&self, id: i32, subject: &str) -> Result<bool, Failure> {
        let Some(text) = self.known(id) else { return Ok(false) };
        Ok(self.registry.lookup(subject, &text)?.is_some_and(|registered| registered.id == id))
    }

    /// What was fetched from the registry since the last call.
    pub fn take_learnt(&self) -> BTreeMap<i32, String> {
        std::mem::take(&mut self.lock().learnt)
    }

    /// The texts of those schemas that are known, or that the registry knows within five seconds.
    ///
    /// The seconds are for all together: bytes that only look like ids must not stall a lane each.
    ///
    /// # Errors
    /// [`Failure`] (outside, retry) if the registry is away.
    pub(super) fn texts(&self, ids: &[i32]) -> Result<BTreeMap<i32, Arc<str>>, Failure> {
        let mut found = BTreeMap::new();
        let mut open: Vec<i32> = ids.to_vec();
        self.take_known(&mut open, &mut found);
        let mut pause = PAUSE_MIN;
        let mut waited = Duration::ZERO;
        while !open.is_empty() {
            self.ask(&mut open, &mut found)?;
            let is_new = |id: &i32| !self.lock().missing.contains(id);
            if waited >= self.patience || !open.iter().any(is_new) {
                break;
            }
            let rest = self.patience - waited;
            std::thread::sleep(pause.min(rest));
            waited += pause.min(rest);
            pause *= 2;
        }
        self.lock().missing.extend(open);
        Ok(found)
    }

    fn take_known(&self, open: &mut Vec<i32>, found: &mut BTreeMap<i32, Arc<str>>) {
        let state = self.lock();
        open.retain(|id| {
            let text = state.known.get(id);
            found.extend(text.map(|text| (*id, text.clone())));
            text.is_none()
        });
    }

    /// Asks the registry once for each id; the lock is not held meanwhile, so that other lanes go on.
    fn ask(&self, open: &mut Vec<i32>, found: &mut BTreeMap<i32, Arc<str>>) -> Result<(), Failure> {
        for id in std::mem::take(open) {
            match self.registry.by_id(id)? {
                Some(text) => {
                    self.learn(id, &text);
                    found.insert(id, text);
                }
                None => open.push(id),
            }
        }
        Ok(())
    }

    fn learn(&self, id: i32, text: &Arc<str>) {
        let mut state = self.lock();
        state.known.insert(id, text.clone());
        state.learnt.insert(id, text.to_string());
        state.missing.remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a single insert: a thread that panicked left nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
