//! What a pipeline means by its short forms: steps that the user did not write, and that stand between those written.
//!
//! Their names have a space in them, so that no name of the user's is one of theirs.

use crate::spec::{Document, FailSpec, FailWhen, PipelineSpec, Spanned, TransformSpec, Verb};

/// The pipeline with all its steps.
pub(super) fn written_out(pipeline: &Document<PipelineSpec>) -> Document<PipelineSpec> {
    let mut pipeline = pipeline.clone();
    watch_triggers(&mut pipeline.spec);
    pipeline
}

/// What stands behind the name of a `fail` step in that of the step that watches its trigger.
const TRIGGER: &str = " trigger";

/// The step that a watcher trips for; any other step is itself.
pub(super) fn watched(name: &str) -> &str {
    name.strip_suffix(TRIGGER).unwrap_or(name)
}

/// `fail: {trigger: INPUT}`: a step that reads the trigger and trips at its first row. It stands right behind the one
/// that it trips for, and is used if that one is.
fn watch_triggers(spec: &mut PipelineSpec) {
    let mut transforms = Vec::with_capacity(spec.transforms.len());
    for transform in std::mem::take(&mut spec.transforms) {
        let watcher = match &transform.verb {
            Verb::Fail(FailSpec { when: FailWhen::Trigger(from), how, place }) => Some(TransformSpec {
                name: Spanned {
                    value: format!("{}{TRIGGER}", transform.name.value),
                    place: transform.name.place.clone(),
                },
                from: from.clone(),
                verb: Verb::Fail(FailSpec { when: FailWhen::First, how: *how, place: place.clone() }),
                place: transform.place.clone(),
            }),
            _ => None,
        };
        transforms.push(transform);
        transforms.extend(watcher);
    }
    spec.transforms = transforms;
}
