//! Spec documents become plans, or diagnostics: all that can be found in one run.
//!
//! Every pipeline is compiled twice. The first round sees all columns and metadata of its sources,
//! finds the mistakes and what is in use; the second sees only that, so that nothing is decoded or
//! carried along in vain. What a round cannot know because something before it is wrong, it leaves out in silence.
//!
//! `names` wires steps, `round` walks over them, `sources`, `steps` and `sinks` compile them, `schemas` finds and
//! derives Avro schemas, `modes` and `time` hold their rules, `settings` reads what concerns the whole pipeline,
//! `assembly` makes the plan, `pipelines` orders the pipelines of one command.

mod assembly;
mod codecs;
mod columns;
mod connections;
mod expressions;
mod fill;
mod later;
mod modes;
mod names;
mod pipelines;
mod restart;
mod rewrite;
mod round;
mod schemas;
mod settings;
mod several;
mod shape;
mod sinks;
mod sources;
mod steps;
mod time;
mod topics;
mod unions;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(super) use columns::user_fields;
pub use pipelines::with_producers;

use self::names::{Target, Wiring};
use self::round::{Round, early_aggregates};
use self::shape::Shape;
use self::sinks::SinkDraft;
use self::sources::SourceDraft;
use self::topics::Topics;
use super::outline::Outline;
use super::resolve::World;
use super::{Plan, SourcePlan, TimeField};
use crate::data::meta;
use crate::report::{Diagnostic, Diagnostics, Failure, Place};
use crate::spec::{Document, Documents, Inputs, PipelineSpec, Port, SinkSpec};

/// Folder of state directories under the working directory.
const STATES: &str = ".runner";

/// Makes the plans of all pipelines, producers of a topic before its readers.
///
/// `folder` is the working directory: state directories are under it. A pipeline with an error
/// gives no plan. Nothing is printed and nothing is changed; `world` is only asked.
pub fn build(documents: &Documents, folder: &Path, world: &dyn World) -> (Vec<Plan>, Diagnostics) {
    build_in(documents, &folder.join(STATES), world)
}

/// As [`build`], with the folder itself in which state directories are.
pub fn build_in(documents: &Documents, states: &Path, world: &dyn World) -> (Vec<Plan>, Diagnostics) {
    build_extent(documents, states, world, Extent::InUse)
}

/// As [`build`], but steps that lead to no sink are in the plans too and every column of a source is read:
/// for whoever looks at steps and ports themselves, as tests do. The fingerprint may differ from that of [`build`].
pub fn build_whole(documents: &Documents, folder: &Path, world: &dyn World) -> (Vec<Plan>, Diagnostics) {
    build_extent(documents, &folder.join(STATES), world, Extent::Everything)
}

/// How much of a pipeline goes into its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    InUse,
    Everything,
}

fn build_extent(documents: &Documents, states: &Path, world: &dyn World, extent: Extent) -> (Vec<Plan>, Diagnostics) {
    let mut out = Diagnostics::default();
    later::refuse(documents, &mut out);
    later::warn_unused(documents, &pipelines::subjects(documents), &mut out);
    let mut topics = Topics::of(documents);
    let mut plans = Vec::new();
    for index in pipelines::ordered(documents) {
        let errors_before = error_count(&out);
        let pipeline = &rewrite::written_out(&documents.pipelines[index], documents, &mut out);
        let scope =
            Scope { documents, pipeline, states, world, extent, state_dir: settings::state_dir(pipeline, states) };
        let plan = PipelineCheck::new(scope).plan(&mut topics, &mut out);
        // A plan beside errors would be one that nobody wrote.
        let is_whole = pipeline.spec.broken.is_empty();
        plans.extend(plan.filter(|_| is_whole && error_count(&out) == errors_before));
    }
    remove_repeated(&mut out);
    (plans, out)
}

/// What every part of the check may look at.
#[derive(Clone)]
struct Scope<'a> {
    documents: &'a Documents,
    pipeline: &'a Document<PipelineSpec>,
    /// The folder of state directories.
    states: &'a Path,
    world: &'a dyn World,
    extent: Extent,
    state_dir: PathBuf,
}

struct PipelineCheck<'a> {
    scope: Scope<'a>,
    outline: Outline,
}

impl<'a> PipelineCheck<'a> {
    fn new(scope: Scope<'a>) -> Self {
        PipelineCheck { scope, outline: Outline::default() }
    }

    fn plan(mut self, topics: &mut Topics, out: &mut Diagnostics) -> Option<Plan> {
        let pipeline: &'a Document<PipelineSpec> = self.scope.pipeline;
        let spec = &pipeline.spec;
        let mut wiring = names::wire(spec, out);
        if self.scope.extent == Extent::Everything {
            wiring.use_everything(spec);
        }
        let sources: Vec<Option<SourceDraft>> = spec
            .sources
            .iter()
            .enumerate()
            .map(|(index, source)| sources::draft(&self.scope, source, index, topics, &mut self.outline, out))
            .collect();

        let early = early_aggregates(spec, &wiring);
        let tripped = self.scope.state_dir.join("tripped");
        let tripped = (self.scope.extent == Extent::InUse).then_some(tripped.as_path());
        let given = round::Given { early: &early, tripped };
        let all = sources.iter().map(|source| source.as_ref().map(SourceDraft::everything)).collect();
        let mut first = Round::run(spec, &wiring, all, given, false, out);
        let errors = settings::error_policy(pipeline, out);
        let sinks = self.sinks(&wiring, &first, topics, out);
        let dead_letter =
            spec.dead_letter.as_ref().map(|sink| sinks::draft_dead(&self.scope, sink, topics, &mut self.outline, out));
        first.want(&wiring, &sinks);
        first.want_for_dead_letters(spec, &wiring, dead_letter.is_some(), errors);

        if self.scope.extent == Extent::Everything {
            for (index, source) in sources.iter().enumerate() {
                let columns = source.iter().flat_map(|source| source.everything().user_columns());
                first.wanted.entry(Target::Source(index)).or_default().extend(columns);
            }
        }

        let bounds_times = restart::bounds_times(spec);
        if bounds_times {
            for index in wiring.used_sources() {
                first.wanted.entry(Target::Source(index)).or_default().insert(meta::TIMESTAMP.to_owned());
            }
        }
        // The second round repeats what the first one said.
        let mut repeated = Diagnostics::default();
        let planned: Option<Vec<(SourcePlan, Shape)>> = wiring
            .used_sources()
            .map(|index| {
                let reads_failed = wiring.reads_port(Target::Source(index), Port::Failed);
                sources[index].as_ref()?.plan(&first.wanted_of(Target::Source(index)), reads_failed, out)
            })
            .collect();
        let mut planned = planned?;
        for (plan, _) in &mut planned {
            plan.time.not_after_timestamp = bounds_times && matches!(plan.time.field, TimeField::Expr(_));
        }
        let mut shapes: Vec<Option<Shape>> = spec.sources.iter().map(|_| None).collect();
        for (index, (_, shape)) in wiring.used_sources().zip(&planned) {
            shapes[index] = Some(shape.clone());
        }
        self.outline.sources =
            wiring.used_sources().filter_map(|index| Some(sources[index].as_ref()?.outline())).collect();
        let second = Round::run(spec, &wiring, shapes, given, true, &mut repeated);
        self.assemble(wiring, planned, second, sinks, dead_letter, errors, out)
    }

    fn sinks(
        &mut self,
        wiring: &Wiring,
        round: &Round,
        topics: &mut Topics,
        out: &mut Diagnostics,
    ) -> Vec<Option<SinkDraft<'a>>> {
        let pipeline: &'a Document<PipelineSpec> = self.scope.pipeline;
        let spec = &pipeline.spec;
        let draft = |(index, sink): (usize, &'a SinkSpec)| {
            let input = round.input_of(sink.from.as_ref()?, *wiring.sink_inputs.get(&index)?, wiring, out)?;
            sinks::draft(&self.scope, sink, &input, topics, &mut self.outline, out)
        };
        spec.sinks.iter().enumerate().map(draft).collect()
    }
}

fn shown_input(from: &Inputs) -> String {
    from.shown()
}

/// What broke while the world was asked, as something the user must mend.
fn of_failure(failure: Failure, place: &Place) -> Diagnostic {
    let mut diagnostic = Diagnostic::error(failure.code, failure.to_string()).at(place);
    diagnostic.hint = failure.hint;
    diagnostic.may_pass = failure.retry;
    diagnostic
}

fn error_count(out: &Diagnostics) -> usize {
    out.0.iter().filter(|diagnostic| diagnostic.severity == crate::report::Severity::Error).count()
}

/// A server that is away, or lets nobody in, does so for every source; and a connection's settings are wrong
/// once, however many use it.
fn remove_repeated(out: &mut Diagnostics) {
    const SERVERS: &[&str] = &[
        "kafka.unreachable",
        "kafka.authentication",
        "kafka.certificate",
        "registry.unreachable",
        "registry.auth",
        "registry.certificate",
    ];
    const SETTINGS: &[&str] = &["kafka.property", "kafka.unknown_property", "kafka.property_refused", "secret.missing"];
    let mut seen = BTreeSet::new();
    out.0.retain(|d| {
        let place = d.place.as_ref().filter(|_| SETTINGS.contains(&d.code)).map(ToString::to_string);
        let once = SERVERS.contains(&d.code) || place.is_some();
        !once || seen.insert((d.title.clone(), place))
    });
}

#[cfg(test)]
mod tests;
