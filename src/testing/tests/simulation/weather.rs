//! The weather of a run, drawn from its seed, and shared by all of its instances.

use super::*;

/// The weather, shared by all instances of a run.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    random: Arc<Mutex<Uneven>>,
    pub(super) seen: Arc<Mutex<Seen>>,
    /// Owners that may still come.
    pub(super) owners_left: Arc<AtomicU64>,
}

impl Weather {
    pub(super) fn of(seed: u64) -> Weather {
        let random = Uneven(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D);
        Weather {
            random: Arc::new(Mutex::new(random)),
            seen: Arc::default(),
            owners_left: Arc::new(AtomicU64::new(RESTARTS_MAX as u64 / 2)),
        }
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap().below(bound)
    }

    pub(super) fn saw(&self, what: impl FnOnce(&mut Seen)) {
        what(&mut self.seen.lock().unwrap());
    }

    /// Somewhere snapshots are kept, but not always.
    pub(super) fn exposed_store(&self) -> Arc<Store> {
        let (store, weather) = (Store::in_memory().unwrap(), self.apart());
        store.disturb(move |name| {
            let strikes = name.contains('/') && weather.below(12) == 0;
            weather.saw(|seen| seen.failed_snapshots += usize::from(strikes));
            strikes
        });
        Arc::new(store)
    }

    /// The newest of two snapshots may be damaged when a run begins: the other one is there for that.
    pub(super) fn damage(&self, store: &Store) {
        let lineages = store.list("").unwrap().folders;
        let objects: Vec<String> = lineages.iter().flat_map(|folder| store.list(folder).unwrap().objects).collect();
        let is_manifest = |name: &&String| name.ends_with(".json");
        let mut manifests: Vec<&String> = objects.iter().filter(is_manifest).collect();
        manifests.sort();
        let Some(newest) = manifests.last().filter(|_| manifests.len() > 1 && self.below(3) == 0) else { return };
        let stem = newest.trim_end_matches(".json");
        let hit = |name: &&String| name.starts_with(stem) && (self.below(2) == 0 || is_manifest(name));
        let Some(hit) = objects.iter().find(hit) else { return };
        let mut bytes = store.read(hit).unwrap().unwrap();
        if bytes.is_empty() {
            return;
        }
        let at = self.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << self.below(8);
        store.overwrite(hit, bytes);
        self.saw(|seen| seen.damaged_snapshots += 1);
    }

    /// The same with draws of its own: what happens when a sink's thread is so far must not change what happens to the
    /// journal.
    pub(super) fn apart(&self) -> Weather {
        Weather { random: Arc::new(Mutex::new(Uneven(self.below(u64::from(u32::MAX))))), ..self.clone() }
    }

    /// What becomes of an append.
    pub(super) fn disturbance(&self) -> Option<Disturbance> {
        let owner = || Owner {
            incarnation: 1_000 + self.below(1_000_000),
            host: "elsewhere".into(),
            pid: 1,
            instance: "ghost".into(),
        };
        let mut seen = self.seen.lock().unwrap();
        let disturbance = match self.below(60) {
            0..=2 => Disturbance::Abort,
            3 | 4 => Disturbance::Lose,
            5 | 6 => Disturbance::LoseTheAnswer,
            7 => Disturbance::Fence,
            8 if self.owners_left.load(SeqCst) > 0 => {
                self.owners_left.fetch_sub(1, SeqCst);
                seen.takeovers += 1;
                if self.below(2) == 0 { Disturbance::FenceBy(owner()) } else { Disturbance::FenceLaterBy(owner()) }
            }
            _ => return None,
        };
        match disturbance {
            Disturbance::Abort => seen.aborts += 1,
            Disturbance::Lose | Disturbance::LoseTheAnswer => seen.losses += 1,
            Disturbance::Fence => seen.fences += 1,
            Disturbance::FenceBy(_) | Disturbance::FenceLaterBy(_) => {}
        }
        Some(disturbance)
    }
}
