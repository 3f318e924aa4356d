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
const PAUSE: Duration = Duration::from_millis(200);

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

    /// What was fetched from the registry since the last call.
    pub fn take_learnt(&self) -> BTreeMap<i32, String> {
        std::mem::take(&mut self.lock().learnt)
    }

    /// The text of a schema; `None` if the registry does not know it, even after five seconds.
    ///
    /// # Errors
    /// [`Failure`] (outside, retry) if the registry is away.
    pub(super) fn text(&self, id: i32) -> Result<Option<Arc<str>>, Failure> {
        let (known, was_missing) = {
            let state = self.lock();
            (state.known.get(&id).cloned(), state.missing.contains(&id))
        };
        if known.is_some() {
            return Ok(known);
        }
        let patience = if was_missing { Duration::ZERO } else { self.patience };
        // The lock is not held while asking: other lanes go on with what they know.
        let found = self.ask(id, patience)?;
        let mut state = self.lock();
        match &found {
            Some(text) => {
                state.known.insert(id, text.clone());
                state.learnt.insert(id, text.to_string());
                state.missing.remove(&id);
            }
            None => _ = state.missing.insert(id),
        }
        Ok(found)
    }

    fn ask(&self, id: i32, patience: Duration) -> Result<Option<Arc<str>>, Failure> {
        let mut waited = Duration::ZERO;
        loop {
            let found = self.registry.by_id(id)?;
            if found.is_some() || waited >= patience {
                return Ok(found);
            }
            let pause = PAUSE.min(patience - waited);
            std::thread::sleep(pause);
            waited += pause;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a single insert: a thread that panicked left nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
