//! What a pipeline says about itself: errors, memory, epochs, and where its state is.

use std::path::{Path, PathBuf};

use crate::plan::{DEFAULT_MEMORY, EpochSettings, ErrorPolicy, SnapshotSettings};
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{Document, ErrorsSpec, PipelineSpec};

/// What happens to records that cannot be used.
pub(super) fn error_policy(pipeline: &Document<PipelineSpec>, out: &mut Diagnostics) -> ErrorPolicy {
    let spec = &pipeline.spec;
    let errors = spec.errors.as_ref();
    match (errors.map(|errors| errors.value), &spec.dead_letter) {
        (None, None) => ErrorPolicy::Fail,
        (None, Some(_)) => ErrorPolicy::DeadLetter,
        (Some(ErrorsSpec::FailAbove(share)), Some(_)) => ErrorPolicy::FailAbove(share),
        (Some(ErrorsSpec::KeepThenFail), Some(_)) => ErrorPolicy::KeepThenFail,
        (Some(ErrorsSpec::Skip), None) => ErrorPolicy::Skip,
        (Some(ErrorsSpec::Skip), Some(dead)) => {
            out.push(
                Diagnostic::error("errors.skip", "`errors: {skip: true}` and a `dead_letter` exclude each other")
                    .at(errors.map_or(&dead.place, |errors| &errors.place))
                    .hint("leave one of them out"),
            );
            ErrorPolicy::Skip
        }
        (Some(wanted @ (ErrorsSpec::FailAbove(_) | ErrorsSpec::KeepThenFail)), None) => {
            let place = errors.map_or(&pipeline.place, |errors| &errors.place);
            let (key, policy) = match wanted {
                ErrorsSpec::FailAbove(share) => ("fail_above", ErrorPolicy::FailAbove(share)),
                _ => ("keep_then_fail", ErrorPolicy::KeepThenFail),
            };
            out.push(
                Diagnostic::error("errors.no_dead_letter", format!("`{key}` needs a `dead_letter`"))
                    .at(place)
                    .note("without one the first bad record ends the run")
                    .hint("add `dead_letter: {file: {path: dead.jsonl}}`"),
            );
            policy
        }
    }
}

/// `memory`: less than this holds not even what is on its way.
pub(super) fn memory(spec: &PipelineSpec, out: &mut Diagnostics) -> usize {
    const LEAST: u64 = 16 << 20;
    match &spec.memory {
        None => DEFAULT_MEMORY,
        Some(memory) if memory.value.0 >= LEAST => usize::try_from(memory.value.0).unwrap_or(usize::MAX),
        Some(memory) => {
            out.push(
                Diagnostic::error("memory.too_small", "a pipeline cannot run with so little `memory`")
                    .at(&memory.place)
                    .hint("give it 16MiB or more; the default is 160MiB"),
            );
            DEFAULT_MEMORY
        }
    }
}

pub(super) fn epoch_settings(spec: &PipelineSpec) -> EpochSettings {
    let defaults = EpochSettings::default();
    EpochSettings {
        min_ms: spec.epoch.min.map_or(defaults.min_ms, |min| min.0),
        interval_ms: spec.epoch.interval.map_or(defaults.interval_ms, |interval| interval.0),
        max_bytes: spec.epoch.max_bytes.map_or(defaults.max_bytes, |bytes| bytes.0 as usize),
    }
}

pub(super) fn snapshot_settings(spec: &PipelineSpec) -> SnapshotSettings {
    let (defaults, state) = (SnapshotSettings::default(), &spec.state);
    SnapshotSettings {
        every_ms: state.every.map_or(defaults.every_ms, |every| every.0),
        target_ms: state.recovery_target.map_or(defaults.target_ms, |target| target.0),
    }
}

/// `state.store`, or `NAMESPACE/PIPELINE` in the folder of state directories.
pub(super) fn state_dir(pipeline: &Document<PipelineSpec>, states: &Path) -> PathBuf {
    match &pipeline.spec.state.store {
        Some(store) => match store.value.strip_prefix("file://") {
            Some(path) => PathBuf::from(path),
            None => pipeline.folder.join(&store.value),
        },
        None => states.join(&pipeline.metadata.namespace).join(&pipeline.metadata.name.value),
    }
}
