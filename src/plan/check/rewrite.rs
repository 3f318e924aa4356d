//! What a pipeline means by its short forms: steps that the user did not write, and that stand between those written.
//!
//! Their names have a space in them, so that no name of the user's is one of theirs.

use super::restart::{self, Before};
use crate::report::Diagnostics;
use crate::spec::{
    Document, Documents, FailSpec, FailWhen, InputRef, Inputs, PipelineSpec, Port, RestartSpec, SortSpec, Spanned,
    TransformSpec, Verb,
};

/// The sort before what is held against the sink, where that says where the pipeline goes on.
pub(super) const IN_ORDER: &str = "in order";

/// The pipeline with all its steps.
pub(super) fn written_out(
    pipeline: &Document<PipelineSpec>,
    documents: &Documents,
    out: &mut Diagnostics,
) -> Document<PipelineSpec> {
    let mut pipeline = pipeline.clone();
    // What is wrong with a broken part was said, and nobody can say what else is.
    if pipeline.spec.broken.is_empty()
        && let Some(before) = restart::check(&pipeline.spec, documents, out)
    {
        sort_in_front(&mut pipeline.spec, before);
    }
    watch_triggers(&mut pipeline.spec);
    pipeline
}

fn sort_in_front(spec: &mut PipelineSpec, before: Before) {
    let Some(Spanned { value: RestartSpec::Watermark { epsilon, .. }, place }) = spec.restart.clone() else { return };
    let from = match before {
        Before::Transform(index) => Some(&mut spec.transforms[index].from),
        Before::Sink => spec.sinks[0].from.as_mut(),
    };
    let Some(from) = from else { return };
    let name = Spanned { value: IN_ORDER.to_owned(), place: place.clone() };
    let sorted = InputRef { name: IN_ORDER.to_owned(), port: Port::Main, place: from.place.clone() };
    let ours = Inputs { refs: vec![sorted], place: from.place.clone() };
    let from = std::mem::replace(from, ours);
    spec.transforms.push(TransformSpec { name, from, verb: Verb::Sort(SortSpec { within: epsilon }), place });
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
