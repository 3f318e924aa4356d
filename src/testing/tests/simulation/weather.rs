//! The weather of a run, drawn from its seed, and shared by all of its instances.

use super::kept::KeptRecords;
use super::*;
use crate::engine::kept::BAD_RECORD;

/// The weather, shared by all instances of a run.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    random: Arc<Mutex<Uneven>>,
    pub(super) seen: Arc<Mutex<Seen>>,
    /// Owners that may still come.
    owners_left: Arc<AtomicU64>,
    /// So often may a process still die.
    deaths_left: Arc<AtomicU64>,
}

impl Weather {
    pub(super) fn of(seed: u64) -> Weather {
        let random = Uneven(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D);
        let weather = Weather {
            random: Arc::new(Mutex::new(random)),
            seen: Arc::default(),
            owners_left: Arc::new(AtomicU64::new(RESTARTS_MAX as u64 / 2)),
            deaths_left: Arc::default(),
        };
        weather.deaths_left.store(weather.below(DEATHS_MAX + 1), SeqCst);
        weather
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap().below(bound)
    }

    pub(super) fn saw(&self, what: &'static str, count: usize) {
        *self.seen.lock().unwrap().0.entry(what).or_default() += count;
    }

    /// Whether the process dies here, once in so many times.
    fn dies(&self, place: &'static str, once_in: u64) -> bool {
        let dies = self.below(once_in) == 0 && self.deaths_left.load(SeqCst) > 0;
        if dies {
            self.saw(if self.deaths_left.fetch_sub(1, SeqCst) == 1 { "last deaths" } else { "further deaths" }, 1);
            self.saw(place, 1);
        }
        dies
    }

    /// What happened in a run that has ended.
    pub(super) fn over(self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// Runs these rows to their end on this journal, among cuts, waits and crashes, whoever dies or takes over meanwhile.
    pub(super) fn rules(&self, stage: &mut Stage, rows: &[Item], journal: &MemoryJournal) {
        let crash = match self.below(4) {
            0 => Some(CrashAt::Before(1 + self.below(12))),
            1 => Some(CrashAt::After(1 + self.below(12))),
            _ => None,
        };
        let mut variant = Variant {
            lanes: 1 + self.below(3) as usize,
            poll_rows: self.below(20) as usize,
            // Some runs commit a record or a few at a time, in continuations (I10).
            piece_bytes: if self.below(3) == 0 { 1 + self.below(800) as usize } else { 0 },
            snapshots_ms: match self.below(4) {
                0 => None,
                1 | 2 => Some(0),
                _ => Some(self.below(1_000) as Millis),
            },
            crash,
        };
        let script = self.script(rows);
        let crashes = script.iter().filter(|item| **item == Item::Crash).count();
        self.saw("crashes", crashes + usize::from(crash.is_some()));
        stage.given.script = script;
        let source = stage.given.sources[0].clone();
        source.choose(self.polls());
        let (store, lookout) = (self.exposed_store(), Lookout::over(source.clone()));
        let mut bad = KeptRecords::of(stage, source.clone());
        stage.given.told = None;
        for _ in 0..=RESTARTS_MAX + rows.len() {
            let open = self.opens(&store, &lookout, &bad);
            match run_with(&stage.given, variant, journal, store.clone(), &open) {
                Ok(course) => {
                    self.saw("restored", course.restored);
                    self.saw("pauses", course.pauses);
                    return bad.all_were_told(journal);
                }
                Err(failure) if failure.code == BAD_RECORD => {
                    bad.tell(&failure.message, journal, self);
                    stage.given.told = Some(failure.message);
                }
                Err(failure) => {
                    assert_eq!(failure.code, "refused.taken_over", "{failure}");
                    stage.given.told = None;
                }
            }
            // Whoever took over is gone again; who was told of a bad record goes on. This start finds the rows as they were, and a clock that was set back.
            variant = Variant { crash: None, lanes: 1 + self.below(4) as usize, ..variant };
            let cuts = (0..self.below(20)).map(|_| Item::Backlog(1 + self.below(4) as usize));
            stage.given.script = rows.iter().cloned().chain(cuts).collect();
        }
        panic!("more owners came than may");
    }

    /// The rows among what else happens.
    fn script(&self, rows: &[Item]) -> Vec<Item> {
        let mut script = Vec::new();
        for row in rows {
            script.push(row.clone());
            match self.below(60) {
                0..=5 => script.push(Item::Cut),
                6 => script.push(Item::Wait(self.below(1_500) as Millis)),
                7 => script.push(Item::Crash),
                8..=12 => script.push(Item::Backlog(1 + self.below(3) as usize)),
                _ => {}
            }
        }
        script
    }

    /// What each process finds in place of the journal.
    fn opens(
        &self,
        store: &Arc<Store>,
        lookout: &Lookout,
        bad: &KeptRecords,
    ) -> impl Fn(MemoryJournal) -> Box<dyn Journal> + use<> {
        let (exposed, store, of_store, lookout) = (self.clone(), store.clone(), self.apart(), lookout.clone());
        let bad = bad.clone();
        move |journal| {
            let (weather, lookout, store, bad) = (exposed.clone(), lookout.clone(), store.clone(), bad.clone());
            store.revive();
            of_store.damage(&store);
            let mut appended = false;
            Disturbed::boxed(journal, move |records, _| {
                // Who died while writing a snapshot does nothing any more.
                if store.is_dead() {
                    return Some(Disturbance::Die);
                }
                let notes = matches!(records, [Record::Plan(plan)] if plan.told_failed.is_some());
                if notes && weather.dies("deaths before it is noted who was told", 4) {
                    return Some(Disturbance::Die);
                }
                let epoch = records.iter().find_map(|record| match record {
                    Record::Epoch(epoch) => Some(epoch),
                    _ => None,
                });
                if let Some(epoch) = epoch {
                    lookout.look(epoch, &weather);
                    bad.look(epoch);
                    if epoch.failed.is_some() && weather.dies("deaths behind a bad record", 4) {
                        return Some(Disturbance::DieBehind);
                    }
                    let is_rest = !std::mem::replace(&mut appended, true) && epoch.continues.is_some();
                    if let Some(death) = is_rest.then(|| weather.death_in_the_rest()).flatten() {
                        return Some(death);
                    }
                }
                let is_hit = epoch.is_some() || matches!(records, [Record::Progress { .. }, ..]);
                is_hit.then(|| weather.disturbance()).flatten()
            })
        }
    }

    /// Somewhere snapshots are kept, but not always. Who dies while writing one writes nothing any more.
    pub(super) fn exposed_store(&self) -> Arc<Store> {
        let (store, weather) = (Store::in_memory().unwrap(), self.apart());
        store.disturb(move |name| {
            let dies = match name.rsplit_once('.') {
                Some((_, "columns")) => weather.dies("deaths before a snapshot's columns", 30),
                Some(_) if name.contains('/') => weather.dies("deaths before a snapshot's manifest", 20),
                _ => return None,
            };
            if dies {
                return Some(Strike::Death);
            }
            let is_full = weather.below(12) == 0;
            weather.saw("failed snapshots", usize::from(is_full));
            is_full.then_some(Strike::Full)
        });
        Arc::new(store)
    }

    /// Which partitions a poll brings, and in which order: for a while some bring nothing, whatever they have, and some
    /// polls bring nothing at all. A replay gets all that it asks for in the end.
    pub(super) fn polls(&self) -> impl FnMut(bool, Vec<Partition>) -> Result<Vec<Partition>, Failure> + Send + 'static {
        let (weather, mut starved) = (self.apart(), Vec::new());
        move |replays, mut due| {
            let dies = match replays {
                true => weather.dies("deaths in a replay", 40),
                false => weather.dies("deaths while reading", 300),
            };
            if dies {
                return Err(died());
            }
            if weather.below(12) == 0 {
                starved = (0..PARTITIONS).filter(|_| weather.below(3) == 0).collect();
            }
            if let Some(first) = due.first().copied() {
                let count = due.len() as u64;
                due.rotate_left(weather.below(count) as usize);
                let brings_nothing = weather.below(8) == 0;
                due.retain(|partition| !brings_nothing && !starved.contains(partition));
                if replays && due.is_empty() {
                    due.push(first);
                }
            }
            Ok(due)
        }
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
        self.saw("damaged snapshots", 1);
    }

    /// The same with draws of its own: what happens when a sink's thread is so far must not change what happens to the
    /// journal.
    pub(super) fn apart(&self) -> Weather {
        Weather { random: Arc::new(Mutex::new(Uneven(self.below(u64::from(u32::MAX))))), ..self.clone() }
    }

    /// What becomes of an append of what an instance before left of an epoch's output.
    pub(super) fn death_in_the_rest(&self) -> Option<Disturbance> {
        if self.dies("deaths before what is left of an epoch", 4) {
            return Some(Disturbance::Die);
        }
        self.dies("deaths behind what is left of an epoch", 4).then_some(Disturbance::DieBehind)
    }

    /// What becomes of an append.
    pub(super) fn disturbance(&self) -> Option<Disturbance> {
        let owner = || Owner {
            incarnation: 1_000 + self.below(1_000_000),
            host: "elsewhere".into(),
            pid: 1,
            instance: "ghost".into(),
        };
        let disturbance = match self.below(60) {
            0..=2 => Disturbance::Abort,
            3 | 4 => Disturbance::Lose,
            5 | 6 => Disturbance::LoseTheAnswer,
            7 => Disturbance::Fence,
            8 if self.owners_left.load(SeqCst) > 0 => {
                self.owners_left.fetch_sub(1, SeqCst);
                self.saw("takeovers", 1);
                if self.below(2) == 0 { Disturbance::FenceBy(owner()) } else { Disturbance::FenceLaterBy(owner()) }
            }
            9..=11 if self.dies("deaths before an append", 3) => Disturbance::Die,
            12..=14 if self.dies("deaths behind an append", 3) => Disturbance::DieBehind,
            _ => return None,
        };
        match disturbance {
            Disturbance::Abort => self.saw("aborts", 1),
            Disturbance::Lose | Disturbance::LoseTheAnswer => self.saw("losses", 1),
            Disturbance::Fence => self.saw("fences", 1),
            _ => {}
        }
        Some(disturbance)
    }
}
