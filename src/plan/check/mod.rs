//! Spec documents become plans, or diagnostics: all that can be found in one run.
//!
//! Every pipeline is compiled twice. The first round sees all columns and metadata of its sources,
//! finds the mistakes and what is in use; the second sees only that, so that nothing is decoded or
//! carried along in vain. What a round cannot know because something before it is wrong, it leaves out in silence.
//!
//! `names` wires steps, `sources`, `steps` and `sinks` compile them, `schemas` finds and derives Avro
//! schemas, `modes` and `time` hold their rules, `pipelines` orders the pipelines of one command.

mod codecs;
mod columns;
mod connections;
mod expressions;
mod fill;
mod later;
mod modes;
mod names;
mod pipelines;
mod schemas;
mod several;
mod shape;
mod sinks;
mod sources;
mod steps;
mod time;
mod topics;
mod unions;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub(super) use columns::user_fields;

use self::names::{Target, Wiring};
use self::shape::{Reads, Shape};
use self::sinks::SinkDraft;
use self::sources::SourceDraft;
use self::topics::Topics;
use super::outline::{Outline, StepOutline};
use super::resolve::World;
use super::{EpochSettings, ErrorPolicy, Input, Plan, SourcePlan, StepPlan, UnionPlan, fingerprint};
use crate::data::{REASON, meta};
use crate::report::{Diagnostic, Diagnostics, Failure, Place};
use crate::spec::{Document, Documents, ErrorsSpec, InputRef, Inputs, PipelineSpec, Port, SinkMode, SinkSpec, Verb};
use crate::transforms::union::Union;

/// Makes the plans of all pipelines, producers of a topic before its readers.
///
/// `folder` is the working directory: state directories are under it. A pipeline with an error
/// gives no plan. Nothing is printed and nothing is changed; `world` is only asked.
pub fn build(documents: &Documents, folder: &Path, world: &dyn World) -> (Vec<Plan>, Diagnostics) {
    build_extent(documents, folder, world, Extent::InUse)
}

/// As [`build`], but steps that lead to no sink are in the plans too and every column of a source is read:
/// for whoever looks at steps and ports themselves, as tests do. The fingerprint may differ from that of [`build`].
pub fn build_whole(documents: &Documents, folder: &Path, world: &dyn World) -> (Vec<Plan>, Diagnostics) {
    build_extent(documents, folder, world, Extent::Everything)
}

/// How much of a pipeline goes into its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    InUse,
    Everything,
}

fn build_extent(documents: &Documents, folder: &Path, world: &dyn World, extent: Extent) -> (Vec<Plan>, Diagnostics) {
    let mut out = Diagnostics::default();
    later::refuse(documents, &mut out);
    later::warn_unused(documents, &pipelines::subjects(documents), &mut out);
    let mut topics = Topics::of(documents);
    let mut plans = Vec::new();
    for index in pipelines::ordered(documents) {
        let pipeline = &documents.pipelines[index];
        let errors_before = error_count(&out);
        let scope = Scope { documents, pipeline, folder, world, extent, state_dir: state_dir(pipeline, folder) };
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
    folder: &'a Path,
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
        let all = sources.iter().map(|source| source.as_ref().map(SourceDraft::everything)).collect();
        let mut first = Round::run(spec, &wiring, all, &early, false, out);
        let errors = self.error_policy(out);
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

        // The second round repeats what the first one said.
        let mut repeated = Diagnostics::default();
        let planned: Option<Vec<(SourcePlan, Shape)>> = wiring
            .used_sources()
            .map(|index| {
                let reads_failed = wiring.reads_port(Target::Source(index), Port::Failed);
                sources[index].as_ref()?.plan(&first.wanted_of(Target::Source(index)), reads_failed, out)
            })
            .collect();
        let planned = planned?;
        let mut shapes: Vec<Option<Shape>> = spec.sources.iter().map(|_| None).collect();
        for (index, (_, shape)) in wiring.used_sources().zip(&planned) {
            shapes[index] = Some(shape.clone());
        }
        self.outline.sources =
            wiring.used_sources().filter_map(|index| Some(sources[index].as_ref()?.outline())).collect();
        let second = Round::run(spec, &wiring, shapes, &early, true, &mut repeated);
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

    fn error_policy(&self, out: &mut Diagnostics) -> ErrorPolicy {
        let spec = &self.scope.pipeline.spec;
        let errors = spec.errors.as_ref();
        match (errors.map(|errors| errors.value), &spec.dead_letter) {
            (None, None) => ErrorPolicy::Fail,
            (None, Some(_)) => ErrorPolicy::DeadLetter,
            (Some(ErrorsSpec::FailAbove(share)), Some(_)) => ErrorPolicy::FailAbove(share),
            (Some(ErrorsSpec::Skip), None) => ErrorPolicy::Skip,
            (Some(ErrorsSpec::Skip), Some(dead)) => {
                out.push(
                    Diagnostic::error("errors.skip", "`errors: {skip: true}` and a `dead_letter` exclude each other")
                        .at(errors.map_or(&dead.place, |errors| &errors.place))
                        .hint("leave one of them out"),
                );
                ErrorPolicy::Skip
            }
            (Some(ErrorsSpec::FailAbove(share)), None) => {
                let place = errors.map_or(&self.scope.pipeline.place, |errors| &errors.place);
                out.push(
                    Diagnostic::error("errors.no_dead_letter", "`fail_above` needs a `dead_letter`")
                        .at(place)
                        .note("without one the first bad record ends the run")
                        .hint("add `dead_letter: {file: {path: dead.jsonl}}`"),
                );
                ErrorPolicy::FailAbove(share)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a plan, put together once")]
    fn assemble<'s>(
        mut self,
        wiring: Wiring,
        sources: Vec<(SourcePlan, Shape)>,
        mut round: Round,
        mut sinks: Vec<Option<SinkDraft<'s>>>,
        dead_letter: Option<Option<SinkDraft<'s>>>,
        errors: ErrorPolicy,
        out: &mut Diagnostics,
    ) -> Option<Plan> {
        let spec = &self.scope.pipeline.spec;
        let places = Indexes::of(&wiring);
        let shapes: BTreeMap<usize, Shape> = wiring
            .sink_inputs
            .iter()
            .filter_map(|(index, (target, port))| Some((*index, round.shape(*target, *port, &wiring)?)))
            .collect();

        let mut steps = Vec::new();
        for index in wiring.used_steps() {
            let transform = &spec.transforms[index];
            let (target, port) = wiring.inputs[&index];
            self.outline
                .steps
                .push(StepOutline { from: shown_input(&transform.from), does: steps::in_words(transform) });
            steps.push(StepPlan {
                name: transform.name.value.clone(),
                input: places.input(target, port)?,
                step: round.compiled.remove(&index)?,
            });
        }
        let mut unions = Vec::new();
        for index in wiring.used_unions() {
            let inputs = wiring.unions[index].iter().map(|(from, target)| places.input(*target, from.port));
            unions.push(UnionPlan { inputs: inputs.collect::<Option<_>>()?, union: round.unions.remove(&index)? });
        }
        self.outline.replays_everything =
            shapes.values().any(|shape| shape.group.as_ref().is_some_and(|group| !group.windowed));

        let mut dead_letter = match dead_letter {
            Some(draft) => Some(draft?),
            None => None,
        };
        let drafts = sinks.iter_mut().flatten().chain(&mut dead_letter).collect();
        let journal = sinks::settle(&self.scope, drafts, out)?;
        let mut plans = Vec::new();
        for (index, draft) in sinks.into_iter().enumerate() {
            let (target, port) = wiring.sink_inputs.get(&index)?;
            plans.push(draft?.plan(places.input(*target, *port)?, shapes.get(&index)?, &mut self.outline, out)?);
        }
        let mut dead_letter_index = None;
        if let Some(draft) = dead_letter {
            dead_letter_index = Some(plans.len());
            plans.push(draft.plan_dead(&mut self.outline)?);
        }
        self.warn_of_replay(out);
        let fingerprint = self.fingerprint(&wiring, &sources);
        Some(Plan {
            namespace: self.scope.pipeline.metadata.namespace.clone(),
            name: self.scope.pipeline.metadata.name.value.clone(),
            sources: sources.into_iter().map(|(plan, _)| plan).collect(),
            steps,
            unions,
            sinks: plans,
            dead_letter: dead_letter_index,
            errors,
            epoch: epoch_settings(spec),
            memory: memory(spec, out),
            lanes: spec.lanes.as_ref().map(|lanes| lanes.value),
            journal,
            state_dir: self.scope.state_dir.clone(),
            fingerprint,
            outline: self.outline,
        })
    }

    fn fingerprint(&self, wiring: &Wiring, sources: &[(SourcePlan, Shape)]) -> String {
        let spec = &self.scope.pipeline.spec;
        let early = early_aggregates(spec, wiring);
        let sources: Vec<_> = wiring
            .used_sources()
            .zip(sources)
            .map(|(index, (plan, _))| sources::meaning(&spec.sources[index], plan))
            .collect();
        let steps: Vec<_> =
            wiring.used_steps().map(|index| steps::meaning(&spec.transforms[index], early.contains(&index))).collect();
        fingerprint::of(&sources, &steps)
    }

    /// I17: until such an aggregate has snapshots, a restart needs everything that was ever read.
    fn warn_of_replay(&self, out: &mut Diagnostics) {
        if !self.outline.replays_everything {
            return;
        }
        let endless = self.scope.pipeline.spec.transforms.iter().find(|transform| {
            matches!(&transform.verb, crate::spec::Verb::Aggregate(aggregate) if aggregate.window.is_none())
        });
        let Some(endless) = endless else { return };
        let kept = self.outline.topics.iter().filter_map(|topic| match &topic.state {
            super::outline::TopicState::Exists(info) => {
                let ms = info.retention_ms?;
                Some(format!("topic `{}` keeps its records for {}", topic.name, crate::time::duration::format(ms)))
            }
            _ => None,
        });
        let mut warning = Diagnostic::warning(
            "plan.replays_everything",
            format!("`{}` has no window: a restart reads its sources again from the beginning", endless.name.value),
        )
        .at(&endless.name.place)
        .note("snapshots of such state come in a later release");
        warning.notes.extend(kept);
        out.push(warning);
    }
}

/// One pass over the transforms.
#[derive(Default)]
struct Round {
    shapes: BTreeMap<Target, Shape>,
    reads: BTreeMap<usize, Reads>,
    compiled: BTreeMap<usize, super::Step>,
    /// By their index in the wiring.
    unions: BTreeMap<usize, Union>,
    /// Columns of each target that something needs.
    wanted: BTreeMap<Target, BTreeSet<String>>,
}

impl Round {
    fn run(
        spec: &PipelineSpec,
        wiring: &Wiring,
        sources: Vec<Option<Shape>>,
        early: &BTreeSet<usize>,
        narrowed: bool,
        out: &mut Diagnostics,
    ) -> Round {
        let mut round = Round::default();
        for (index, shape) in sources.into_iter().enumerate() {
            round.shapes.extend(shape.map(|shape| (Target::Source(index), shape)));
        }
        for &index in wiring.order.iter().filter(|index| !narrowed || wiring.used.contains(&Target::Transform(**index)))
        {
            let transform = &spec.transforms[index];
            let Some(at) = wiring.inputs.get(&index) else { continue };
            round.unite(at.0, wiring, narrowed, out);
            let Some(input) = round.input_of(&transform.from, *at, wiring, out) else { continue };
            let input_name = shown_input(&transform.from);
            let given =
                steps::Given { input: &input, input_name: &input_name, narrowed, early: early.contains(&index) };
            let Some(step) = steps::compile_step(transform, given, out) else { continue };
            round.shapes.insert(Target::Transform(index), step.shape);
            round.reads.insert(index, step.reads);
            round.compiled.insert(index, step.step);
        }
        for (target, _) in wiring.sink_inputs.values() {
            round.unite(*target, wiring, narrowed, out);
        }
        round
    }

    /// What stands at an input. Rows of a port say why they are there.
    fn shape(&self, target: Target, port: Port, wiring: &Wiring) -> Option<Shape> {
        // A step that did not compile has no rows to type.
        let main = self.shapes.get(&target)?;
        match (port, target) {
            (Port::Main, _) => Some(main.clone()),
            (Port::Failed, Target::Source(_)) => Some(main.failed()),
            (Port::Late | Port::Rest | Port::Failed, Target::Transform(index)) => {
                let (before, port) = wiring.inputs.get(&index)?;
                Some(self.shape(*before, *port, wiring)?.with_reason())
            }
            (Port::Late | Port::Rest, Target::Source(_)) | (_, Target::Union(_)) => None,
        }
    }

    /// What a transform or sink reads; unions were put together before.
    fn input_of(&self, from: &Inputs, at: (Target, Port), wiring: &Wiring, out: &mut Diagnostics) -> Option<Shape> {
        match from.refs.as_slice() {
            [one] => self.input(one, at, wiring, out),
            _ => self.shape(at.0, at.1, wiring),
        }
    }

    /// Puts a union together, once all that stands before it is known.
    fn unite(&mut self, target: Target, wiring: &Wiring, narrowed: bool, out: &mut Diagnostics) {
        let Target::Union(index) = target else { return };
        let inputs = wiring.unions[index]
            .iter()
            .map(|(from, target)| Some((from, self.input(from, (*target, from.port), wiring, out)?)));
        let inputs: Vec<Option<(&InputRef, Shape)>> = inputs.collect();
        let Some(inputs) = inputs.into_iter().collect::<Option<Vec<_>>>() else { return };
        let Some((shape, union)) = unions::unite(&inputs, narrowed, out) else { return };
        self.shapes.insert(target, shape);
        self.unions.insert(index, union);
    }

    /// The same, but a port of rows that change is an error: a row there would have to be taken back.
    fn input(&self, from: &InputRef, at: (Target, Port), wiring: &Wiring, out: &mut Diagnostics) -> Option<Shape> {
        let shape = self.shape(at.0, at.1, wiring)?;
        if at.1 != Port::Main && shape.changes {
            out.push(
                Diagnostic::error("modes.never_final", format!("`{}` has no port for rows that change", from.name))
                    .at(&from.place)
                    .hint("give the aggregate before it a `window`, and its sinks `mode: append`"),
            );
            return None;
        }
        Some(shape)
    }

    /// Carries the sinks' needs back to the sources.
    fn want(&mut self, wiring: &Wiring, sinks: &[Option<SinkDraft>]) {
        for (index, draft) in sinks.iter().enumerate() {
            let (Some(draft), Some((target, port))) = (draft, wiring.sink_inputs.get(&index)) else { continue };
            self.want_at(*target, *port, draft.needs().clone(), wiring);
        }
        for index in wiring.order.iter().rev().filter(|index| wiring.used.contains(&Target::Transform(**index))) {
            let wanted = self.wanted_of(Target::Transform(*index));
            let (Some(reads), Some((target, port))) = (self.reads.get(index), wiring.inputs.get(index)) else {
                continue;
            };
            self.want_at(*target, *port, reads.needed(&wanted), wiring);
        }
    }

    fn want_at(&mut self, target: Target, port: Port, mut needs: BTreeSet<String>, wiring: &Wiring) {
        match (port, target) {
            (_, Target::Union(index)) => {
                // I2: rows of records come together in the order of their offsets.
                if self.shapes.get(&target).is_some_and(|shape| shape.group.is_none()) {
                    needs.insert(meta::OFFSET.to_owned());
                }
                for (from, before) in &wiring.unions[index] {
                    self.want_at(*before, from.port, needs.clone(), wiring);
                }
            }
            (Port::Main, _) => self.wanted.entry(target).or_default().extend(needs),
            (_, Target::Transform(index)) => {
                needs.remove(REASON);
                if let Some((before, port)) = wiring.inputs.get(&index) {
                    self.want_at(*before, *port, needs, wiring);
                }
            }
            // All that a failed record has is its bytes and metadata.
            (_, Target::Source(_)) => {
                self.wanted.entry(target).or_default();
            }
        }
    }

    /// A row that fails behind the decoder must still know which record it was.
    fn want_for_dead_letters(&mut self, spec: &PipelineSpec, wiring: &Wiring, has_sink: bool, errors: ErrorPolicy) {
        let whole = [meta::TOPIC, meta::PARTITION, meta::OFFSET, meta::TIMESTAMP];
        let bytes = [meta::KEY_BYTES, meta::VALUE_BYTES, meta::HEADERS_LIST];
        for (index, _) in spec.sources.iter().enumerate() {
            let target = Target::Source(index);
            if errors == ErrorPolicy::Skip || !wiring.used.contains(&target) {
                continue;
            }
            let wanted = self.wanted.entry(target).or_default();
            wanted.insert(meta::OFFSET.into());
            if has_sink {
                wanted.extend(whole.iter().chain(&bytes).map(|name| name.to_string()));
            }
        }
    }

    fn wanted_of(&self, target: Target) -> BTreeSet<String> {
        self.wanted.get(&target).cloned().unwrap_or_default()
    }
}

/// Where sources and steps of the spec stand in the plan, which leaves out the unused.
struct Indexes {
    sources: BTreeMap<usize, usize>,
    steps: BTreeMap<usize, usize>,
    unions: BTreeMap<usize, usize>,
}

impl Indexes {
    fn of(wiring: &Wiring) -> Self {
        let numbered = |(plan, spec)| (spec, plan);
        Indexes {
            sources: wiring.used_sources().enumerate().map(numbered).collect(),
            steps: wiring.used_steps().enumerate().map(numbered).collect(),
            unions: wiring.used_unions().enumerate().map(numbered).collect(),
        }
    }

    fn input(&self, target: Target, port: Port) -> Option<Input> {
        Some(match (target, port) {
            (Target::Source(index), Port::Main) => Input::Source(*self.sources.get(&index)?),
            (Target::Source(index), _) => Input::SourceFailed(*self.sources.get(&index)?),
            (Target::Union(index), _) => Input::Union(*self.unions.get(&index)?),
            (Target::Transform(index), Port::Main) => Input::Step(*self.steps.get(&index)?),
            (Target::Transform(index), Port::Late) => Input::Late(*self.steps.get(&index)?),
            (Target::Transform(index), Port::Rest) => Input::Rest(*self.steps.get(&index)?),
            (Target::Transform(index), Port::Failed) => Input::Failed(*self.steps.get(&index)?),
        })
    }
}

/// Windowed aggregates with a sink that wants their rows before they are final.
fn early_aggregates(spec: &PipelineSpec, wiring: &Wiring) -> BTreeSet<usize> {
    let wants_changes = |index: &usize| {
        let mode = spec.sinks[*index].mode.as_ref().map(|mode| mode.value);
        matches!(mode, Some(SinkMode::Update | SinkMode::Upsert))
    };
    let mut early = BTreeSet::new();
    for (_, (target, port)) in wiring.sink_inputs.iter().filter(|(index, _)| wants_changes(index)) {
        let mut at = Some((*target, *port));
        while let Some((Target::Transform(index), Port::Main)) = at {
            match &spec.transforms[index].verb {
                Verb::Aggregate(_) => {
                    early.insert(index);
                    break;
                }
                Verb::Rows(_) => at = wiring.inputs.get(&index).copied().filter(|_| wiring.order.contains(&index)),
            }
        }
    }
    early
}

fn shown_input(from: &Inputs) -> String {
    from.shown()
}

/// `memory`: less than this holds not even what is on its way.
fn memory(spec: &PipelineSpec, out: &mut Diagnostics) -> usize {
    const LEAST: u64 = 16 << 20;
    match &spec.memory {
        None => super::DEFAULT_MEMORY,
        Some(memory) if memory.value.0 >= LEAST => usize::try_from(memory.value.0).unwrap_or(usize::MAX),
        Some(memory) => {
            out.push(
                Diagnostic::error("memory.too_small", "a pipeline cannot run with so little `memory`")
                    .at(&memory.place)
                    .hint("give it 16MiB or more; the default is 160MiB"),
            );
            super::DEFAULT_MEMORY
        }
    }
}

fn epoch_settings(spec: &PipelineSpec) -> EpochSettings {
    let defaults = EpochSettings::default();
    EpochSettings {
        min_ms: spec.epoch.min.map_or(defaults.min_ms, |min| min.0),
        interval_ms: spec.epoch.interval.map_or(defaults.interval_ms, |interval| interval.0),
        max_bytes: spec.epoch.max_bytes.map_or(defaults.max_bytes, |bytes| bytes.0 as usize),
    }
}

/// `state.store`, or `.runner/NAMESPACE/PIPELINE` under the working directory.
fn state_dir(pipeline: &Document<PipelineSpec>, folder: &Path) -> PathBuf {
    match &pipeline.spec.state.store {
        Some(store) => match store.value.strip_prefix("file://") {
            Some(path) => PathBuf::from(path),
            None => pipeline.folder.join(&store.value),
        },
        None => folder.join(".runner").join(&pipeline.metadata.namespace).join(&pipeline.metadata.name.value),
    }
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
mod tests {
    use super::*;
    use crate::plan::Mode;
    use crate::plan::resolve::Offline;

    const HEAD: &str = "apiVersion: runner/v1\nkind: Pipeline\nmetadata: { name: p }\nspec:\n";
    const RATINGS: &str = "  sources: { ratings: { datagen: { columns: { brand: string, rating: int } } } }\n";

    fn built(spec: &str) -> (Vec<Plan>, Vec<&'static str>) {
        let (documents, loaded) = crate::spec::load_text("p.yaml", spec, &crate::spec::Values::default());
        assert_eq!(loaded.0, [], "{spec}");
        let (plans, out) = build(&documents, Path::new(""), &Offline);
        (plans, out.0.iter().map(|diagnostic| diagnostic.code).collect())
    }

    fn of_ratings(rest: &str) -> (Vec<Plan>, Vec<&'static str>) {
        built(&format!("{HEAD}{RATINGS}{rest}"))
    }

    fn columns(schema: &arrow::datatypes::Schema) -> Vec<&str> {
        schema.fields().iter().map(|field| field.name().as_str()).collect()
    }

    #[test]
    fn order_does_not_matter_and_inputs_stand_first() {
        let (plans, codes) = of_ratings(
            "  transforms:
    b: { from: a, where: rating > 1 }
    a: { from: ratings, add: { double: rating * 2 } }
  sinks: { out: { from: b, console: {} } }\n",
        );
        assert_eq!(codes, [] as [&str; 0]);
        let steps: Vec<_> = plans[0].steps.iter().map(|step| (step.name.as_str(), step.input)).collect();
        assert_eq!(steps, [("a", Input::Source(0)), ("b", Input::Step(0))]);
    }

    #[test]
    fn cycles_unknown_names_and_wrong_expressions_are_found_in_one_run() {
        let (plans, mut codes) = of_ratings(
            "  transforms:
    a: { from: b, where: rating > 1 }
    b: { from: a, where: rating > 1 }
    c: { from: ratngs, where: rating > 1 }
    d: { from: ratings, where: rating }
    e: { from: ratings, where: ratng > 1 }
  sinks: { out: { from: d, console: {} }, more: { from: e, console: {} } }\n",
        );
        codes.sort_unstable();
        assert_eq!(codes, ["expr.not_boolean", "expr.unknown_column", "names.cycle", "names.unknown"]);
        assert!(plans.is_empty());
    }

    #[test]
    fn an_endless_aggregate_is_never_final() {
        let endless = "  transforms:
    per_brand: { from: ratings, group_by: [brand], aggregate: { cnt: count(*) } }\n";
        let append = format!("{endless}  sinks: {{ out: {{ from: per_brand, console: {{}}, mode: append }} }}\n");
        assert_eq!(of_ratings(&append).1, ["modes.never_final"]);
        let default = format!("{endless}  sinks: {{ out: {{ from: per_brand, console: {{}} }} }}\n");
        let (plans, codes) = of_ratings(&default);
        assert_eq!((plans[0].sinks[0].mode, codes), (Mode::Update, vec!["plan.replays_everything"]));
    }

    #[test]
    fn only_rows_that_are_final_are_aggregated_again() {
        let first = |window: &str, sink: &str| {
            of_ratings(&format!(
                "  transforms:
    first: {{ from: ratings{window}, group_by: [brand], aggregate: {{ cnt: count(*) }} }}
    some: {{ from: first, where: cnt > 1, add: {{ twice: cnt * 2 }} }}
    second: {{ from: some, window: {{ hopping: {{ size: 1h, every: 5m }} }}, aggregate: {{ most: max(twice) }} }}
    ever: {{ from: second, aggregate: {{ most: max(most) }} }}
  sinks: {{ out: {{ from: ever, console: {{}} }}, of_first: {{ from: first, console: {{}}{sink} }} }}\n"
            ))
        };
        let (plans, codes) = first(", window: { tumbling: 5s }", "");
        assert_eq!((plans.len(), codes), (1, vec!["plan.replays_everything"]));
        assert!(first(", window: { tumbling: 5s }", ", mode: update").1.contains(&"modes.never_final"));
        assert!(first("", "").1.contains(&"modes.never_final"));
    }

    #[test]
    fn windows_are_early_only_where_a_sink_wants_changes() {
        let windowed = "  transforms:
    per_brand: { from: ratings, window: { tumbling: 5s }, group_by: [brand], aggregate: { cnt: count(*) } }\n";
        let changes = |mode: &str| {
            let sinks = format!("  sinks: {{ out: {{ from: per_brand, console: {{}}{mode} }} }}\n");
            let (plans, codes) = of_ratings(&format!("{windowed}{sinks}"));
            assert_eq!(codes, [] as [&str; 0]);
            match &plans[0].steps[0].step {
                super::super::Step::Stateful(step) => step.changes(),
                super::super::Step::Rows(_) => panic!("not an aggregate"),
            }
        };
        assert_eq!((changes(""), changes(", mode: update")), (false, true));
    }

    #[test]
    fn gaps_are_filled_where_it_is_known_what_is_empty() {
        let of = |aggregate: &str, fill: &str, sink: &str| {
            let step = format!("s: {{ from: ratings, {aggregate}, fill: {fill} }}");
            of_ratings(&format!("  transforms: {{ {step} }}\n  sinks: {{ out: {sink} }}\n")).1
        };
        let (windows, console) =
            ("window: { tumbling: 5s }, aggregate: { n: count(*), best: max(rating) }", "{ from: s, console: {} }");
        assert_eq!(of(windows, "{ n: 0, best: 1 }", console), [] as [&str; 0]);
        assert_eq!(of(windows, "{ best: 1 }", console), ["fill.missing"]);
        assert_eq!(of(windows, "{ n: none, best: 1 }", console), ["fill.type"]);
        assert_eq!(of(windows, "{ n: 0, best: 1, bst: 1 }", console), ["fill.unknown_column"]);
        assert_eq!(of("aggregate: { n: count(*) }", "{ n: 0 }", console), ["fill.no_window"]);
        assert_eq!(of(&format!("group_by: [brand], {windows}"), "{ n: 0, best: 1 }", console), ["fill.group_by"]);
        assert_eq!(of(windows, "{ n: 0, best: 1 }", "{ from: s, console: {}, mode: update }"), ["fill.changes"]);
        let behind = format!(
            "  transforms:
    s: {{ from: ratings, {windows}, fill: {{ n: 0, best: 1 }} }}
    t: {{ from: s, where: n = 0, select: {{ n: n }} }}
    w: {{ from: t, window: {{ tumbling: 1m }}, aggregate: {{ k: count(*) }} }}
  sinks: {{ out: {{ from: w, console: {{}} }} }}\n"
        );
        assert_eq!(of_ratings(&behind).1, ["spec.not_available"]);
    }

    #[test]
    fn declared_columns_are_all_checked_and_keys_are_read_on_demand() {
        let spec = format!(
            "{HEAD}  sources:
    r:
      kafka: {{ topic: t }}
      format: json
      columns: {{ brand: string, rating: int, note: string?, at: long }}
      time: {{ field: at, unit: s }}
  transforms:
    w: {{ from: r, window: {{ tumbling: 5s }}, group_by: [brand], aggregate: {{ cnt: count(*) }} }}
  sinks: {{ out: {{ from: w, console: {{}} }} }}\n"
        );
        let (plans, codes) = built(&spec);
        assert_eq!(codes, [] as [&str; 0]);
        assert_eq!(columns(&plans[0].sources[0].schema), ["brand", "rating", "note", "at", "_offset", "_time"]);
        assert!(!plans[0].sources[0].wanted.keys && !plans[0].sources[0].wanted.headers);
    }

    #[test]
    fn a_whole_plan_has_all_steps_and_columns() {
        let spec = format!(
            "{HEAD}{RATINGS}  transforms:
    unused: {{ from: ratings, where: rating > 1 }}
    used: {{ from: ratings, select: [brand] }}
  sinks: {{ out: {{ from: used, console: {{}} }} }}\n"
        );
        let (documents, _) = crate::spec::load_text("p.yaml", &spec, &crate::spec::Values::default());
        let names = |plans: &[Plan]| plans[0].steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&build(&documents, Path::new(""), &Offline).0), ["used"]);
        assert_eq!(names(&build_whole(&documents, Path::new(""), &Offline).0), ["unused", "used"]);
    }

    #[test]
    fn a_stateless_kafka_pipeline_passes_keys_and_headers_on() {
        let spec = format!(
            "{HEAD}  sources: {{ r: {{ kafka: {{ topic: t }}, format: json, columns: {{ a: int }} }} }}
  sinks: {{ out: {{ from: r, kafka: {{ topic: u }}, format: json }} }}\n"
        );
        let (plans, codes) = built(&spec);
        assert_eq!(codes, [] as [&str; 0]);
        let source = &plans[0].sources[0];
        assert_eq!(columns(&source.schema), ["a", "_offset", "_time", "__key_bytes", "__headers"]);
        assert!(source.wanted.keys && source.wanted.headers);
        assert!(matches!(&plans[0].journal, crate::plan::JournalPlace::Kafka { topic, transactional_id, .. }
            if topic == "runner.default.p.journal" && transactional_id == "runner.default.p.0"));
    }

    #[test]
    fn who_writes_a_topic_comes_before_who_reads_it_and_gives_its_format() {
        let reader = "apiVersion: runner/v1\nkind: Pipeline\nmetadata: { name: reader }\nspec:
  sources: { r: { kafka: { topic: t } } }
  sinks: { out: { from: r, console: {} } }\n---\n";
        let writer =
            format!("{HEAD}{RATINGS}  sinks: {{ out: {{ from: ratings, kafka: {{ topic: t }}, format: avro }} }}\n");
        let (plans, codes) = built(&format!("{reader}{writer}"));
        assert_eq!(codes, [] as [&str; 0]);
        assert_eq!(plans.iter().map(|plan| plan.name.as_str()).collect::<Vec<_>>(), ["p", "reader"]);
        assert_eq!(columns(&plans[1].sources[0].schema)[..2], ["brand", "rating"]);
    }

    #[test]
    fn rows_without_a_record_have_no_key_of_their_own() {
        let sink = |more: &str| {
            of_ratings(&format!("  sinks: {{ out: {{ from: ratings, kafka: {{ topic: t }}, format: json{more} }} }}\n"))
        };
        let (plans, codes) = sink("");
        assert_eq!((plans[0].outline.sinks[0].key.as_str(), codes), ("", vec![]));
        assert_eq!(sink(", mode: upsert").1, ["modes.no_key"]);
        assert_eq!(sink(", mode: upsert, key: [brand]").1, [] as [&str; 0]);
    }

    #[test]
    fn a_port_is_there_only_where_rows_can_leave_by_it() {
        let of = |step: &str, from: &str| {
            let transforms = format!("  transforms: {{ s: {{ from: ratings, {step} }} }}\n");
            of_ratings(&format!("{transforms}  sinks: {{ out: {{ from: {from}, console: {{}} }} }}\n")).1
        };
        assert_eq!(of("where: rating > 1", "s.rest"), [] as [&str; 0]);
        assert_eq!(of("where: rating > 1", "s.failed"), [] as [&str; 0]);
        assert_eq!(of("where: rating > 1", "s.late"), ["names.no_late"]);
        assert_eq!(of("add: { a: rating }", "s.rest"), ["names.no_rest"]);
        assert_eq!(of("where: rating > 1", "ratings.rest"), ["names.no_rest"]);
        assert_eq!(of("where: rating > 1", "ratings.failed")[..1], ["names.no_failed"]);
        assert_eq!(of("aggregate: { n: count(*) }", "s.failed"), ["names.no_failed"]);
        let changing = "  transforms: { s: { from: ratings, group_by: [brand], aggregate: { n: count(*) } }, t: { from: s, where: n > 1 } }
  sinks: { out: { from: t.rest, console: {} } }\n";
        assert_eq!(of_ratings(changing).1[..1], ["modes.never_final"]);
    }

    #[test]
    fn original_bytes_are_there_until_rows_are_made() {
        let avro = |sink: &str| of_ratings(&format!("  sinks: {{ out: {{ from: ratings, {sink} }} }}\n")).1;
        assert_eq!(avro("file: { path: x }, format: original"), ["format.original"]);
        assert_eq!(avro("kafka: { topic: x }, format: original"), ["format.original"]);
        let spec = format!(
            "{HEAD}  sources: {{ r: {{ kafka: {{ topic: t }}, format: json, columns: {{ a: int }} }} }}
  transforms: {{ s: {{ from: r, select: {{ b: a + 1 }} }}, n: {{ from: r, aggregate: {{ c: count(*) }}, window: {{ tumbling: 5s }} }} }}
  sinks: {{ out: {{ from: s, file: {{ path: x }}, format: original }}, no: {{ from: n, console: {{}}, format: original }} }}\n"
        );
        assert_eq!(built(&spec).1, ["format.original"]);
    }

    #[test]
    fn i9_each_kafka_sink_says_how_it_is_written_and_where_its_progress_stands() {
        let guarantees = |sinks: &str| {
            let (plans, codes) = of_ratings(&format!(
                "  connections: {{ far: {{ kafka: {{ brokers: \"far:9092\" }} }} }}\n  sinks:\n{sinks}"
            ));
            assert_eq!(codes, [] as [&str; 0]);
            let words = |sink: &crate::plan::outline::SinkOutline| sink.guarantee.clone();
            let place = describe_journal(&plans[0]);
            (plans[0].outline.sinks.iter().map(words).collect::<Vec<_>>().join("\n"), place)
        };
        let sink = |name: &str, more: &str| {
            format!("    {name}: {{ from: ratings, kafka: {{ topic: {name} }}, format: json{more} }}\n")
        };
        let (far, lax) = (", connection: far", ", delivery: at_least_once");
        let both = format!("{far}{lax}");
        let (near_journal, far_journal) = (("default".to_owned(), false), ("far".to_owned(), false));
        let joins = "exactly once, more than it asks for (it joins the transaction of its cluster's other sinks)";
        let with = "exactly once (in one transaction with the journal)";
        let own = "exactly once (in a transaction of its own on `far`; progress in topic `runner.default.p.progress.far` there)";
        let noted = "at least once (the journal notes its progress after delivery)";
        let before = "at least once (delivered before the journal has the epoch)";

        let two = guarantees(&(sink("a", "") + &sink("b", far)));
        assert_eq!(two, (format!("{with}\n{own}"), near_journal.clone()));
        // The first exactly-once sink by name, not the first.
        let mixed = guarantees(&(sink("a", lax) + &sink("b", far)));
        assert_eq!(mixed, (format!("{noted}\n{with}"), far_journal));
        let joined = guarantees(&(sink("a", "") + &sink("b", lax) + &sink("c", far) + &sink("d", &both)));
        assert_eq!(joined, (format!("{with}\n{joins}\n{own}\n{joins}"), near_journal));
        let none = guarantees(&(sink("a", lax) + &sink("b", &both)));
        assert_eq!(none, (format!("{before}\n{noted}"), ("default".to_owned(), true)));
    }

    /// Connection of the journal, and whether it is written without transactions.
    fn describe_journal(plan: &Plan) -> (String, bool) {
        match &plan.journal {
            crate::plan::JournalPlace::Kafka { cluster, at_least_once, .. } => {
                (cluster.connection.clone(), *at_least_once)
            }
            crate::plan::JournalPlace::File(_) => panic!("it is in a file"),
        }
    }

    #[test]
    fn contradictions_and_missing_formats_are_errors() {
        let topic = "---\napiVersion: runner/v1\nkind: Topic\nmetadata: { name: t }\nspec: { format: json }\n";
        let sink = |format: &str| {
            format!("{HEAD}{RATINGS}  sinks: {{ out: {{ from: ratings, kafka: {{ topic: t }}{format} }} }}\n")
        };
        assert_eq!(built(&format!("{}{topic}", sink(", format: csv"))).1, ["topic.contradiction"]);
        assert_eq!(built(&sink("")).1, ["format.missing"]);
    }
}
