//! Where a start goes on: by the journal, what the sinks have, and the snapshots that can be used.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::record::{kept, reads, topics, writes};
use super::sinks::Written;
use super::{SnapshotPlace, StartOptions};
use crate::data::Epoch;
use crate::engine::carry::Carried;
use crate::engine::recovery::{self, History, PlanFacts, Recovery, SinkMemory};
use crate::engine::snapshots::{self, Restored};
use crate::engine::telling::Told;
use crate::plan::{Plan, RestartPlan};
use crate::report::Failure;
use crate::state::{Found, Manifest, Shelf, Store};

/// Where a plan whose steps keep state has its snapshots.
pub(super) fn open_shelf(plan: &Plan, place: &SnapshotPlace) -> Result<Option<Arc<Shelf>>, Failure> {
    if !plan.keeps_state() || plan.restart != RestartPlan::Journal {
        return Ok(None);
    }
    let store = match place {
        SnapshotPlace::Nowhere => return Ok(None),
        SnapshotPlace::Store { store, .. } => store.clone(),
        SnapshotPlace::StateDir => Arc::new(Store::in_folder(&plan.snapshot_dir())?),
    };
    Shelf::open(store, &plan.namespace, &plan.name).map(|shelf| Some(Arc::new(shelf)))
}

/// Where a run goes on, and with what.
pub(super) struct Begun {
    pub(super) recovery: Recovery,
    pub(super) restored: Option<Restored>,
    /// Epochs whose snapshots can be begun from.
    pub(super) kept: BTreeSet<Epoch>,
}

impl Begun {
    pub(super) fn with(recovery: Recovery) -> Begun {
        Begun { recovery, restored: None, kept: BTreeSet::new() }
    }
}

/// Decides where to go on, with the state of the newest snapshot that can be used where that is nearer.
pub(super) fn recover(
    plan: &Plan,
    history: &History,
    writers: &[Written],
    options: &StartOptions,
    shelf: Option<&Shelf>,
) -> Result<Begun, Failure> {
    let lineage = history.plan.as_ref().map(|plan| plan.lineage.clone());
    let Found { whole: mut manifests, mut damaged } = match (shelf, lineage) {
        (Some(shelf), Some(lineage)) => {
            // The journal is ours: who began those snapshots is dead, or fenced and of no use any more.
            shelf.remove_cut_off(&lineage, history.last() + 1);
            shelf.list(&lineage)?
        }
        _ => Found::default(),
    };
    let left_state = match shelf.filter(|_| history.plan.is_none()) {
        Some(shelf) => !shelf.lineages()?.is_empty(),
        None => false,
    };
    // Of the same steps, made of the same: all that had begun by then.
    let carried = Carried::of(history, &plan.fingerprint, &plan.parts);
    manifests.retain(|manifest| snapshots::why_not(plan, &carried.parts.steps, manifest).is_none());
    loop {
        let epochs: Vec<Epoch> = manifests.iter().map(|manifest| manifest.epoch).collect();
        let place = shelf.map(Shelf::describe).unwrap_or_default();
        let recovery = decide(plan, history, writers, options, &epochs, &place, left_state)?;
        let kept = epochs.into_iter().filter(|epoch| history.epochs.contains_key(epoch)).collect();
        let Some(shelf) = shelf else { return Ok(Begun { recovery, restored: None, kept }) };
        let Some(epoch) = recovery.snapshot else {
            shelf.remove_damaged(&damaged)?;
            return Ok(Begun { recovery, restored: None, kept });
        };
        let manifest = manifests.iter().find(|manifest| manifest.epoch == epoch);
        let manifest =
            manifest.ok_or_else(|| Failure::bug("start.snapshot", "a snapshot was chosen that is not there"))?;
        let Manifest { rows, bytes, .. } = *manifest;
        options.listener.tell(Told::Restores { epoch, rows, bytes });
        match snapshots::restore(plan, &recovery.parts.steps, shelf, manifest) {
            Ok(restored) => {
                // Not before there is something else to go on from.
                shelf.remove_damaged(&damaged)?;
                return Ok(Begun { recovery, restored: Some(restored), kept });
            }
            Err(failure) if failure.code != "state.damaged" => return Err(failure),
            Err(failure) => {
                tracing::warn!("{}: the snapshot of epoch {epoch} is not used: {failure}", plan.name);
                damaged.extend([manifest.name(), manifest.object.clone()]);
                manifests.retain(|manifest| manifest.epoch != epoch);
            }
        }
    }
}

fn decide(
    plan: &Plan,
    history: &History,
    writers: &[Written],
    options: &StartOptions,
    snapshots: &[Epoch],
    place: &str,
    left_state: bool,
) -> Result<Recovery, Failure> {
    let memory = |(index, sink): (usize, &crate::plan::SinkPlan)| SinkMemory {
        name: sink.name.clone(),
        delivery: sink.sink.delivery(),
        progress: writers.iter().find(|written| written.members.contains(&index)).and_then(|w| w.writer.progress()),
    };
    let sinks: Vec<SinkMemory> = plan.sinks.iter().enumerate().map(memory).collect();
    let facts = PlanFacts {
        namespace: &plan.namespace,
        name: &plan.name,
        fingerprint: &plan.fingerprint,
        parts: &plan.parts,
        accept_reset: &options.accept_reset,
        reads: &reads(plan),
        topics: &topics(plan),
        kept: &kept(plan),
        writes: &writes(plan),
        // Asked of what was read once the journal was ours: nobody else can have begun it since.
        adopts: options.fresh || (options.adopts_outputs && !history.has_begun()),
        snapshots,
        snapshot_place: place,
        left_state,
    };
    recovery::decide(history, facts, &sinks, &uuid::Uuid::new_v4().to_string())
}
