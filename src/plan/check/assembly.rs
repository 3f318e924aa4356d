//! The parts of a checked pipeline, put together: what is in use, with indexes instead of names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::names::{Target, Wiring};
use super::round::{Round, early_aggregates};
use super::shape::Shape;
use super::sinks::SinkDraft;
use super::{Extent, PipelineCheck, modes, restart, settings, shown_input, sinks, sources, steps};
use crate::connectors::Delivery;
use crate::plan::outline::StepOutline;
use crate::plan::{
    ErrorPolicy, Input, Mode, Parts, Plan, RestartPlan, SinkPlan, SourcePlan, StatePart, Step, StepPlan, UnionPlan,
    fingerprint,
};
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{Document, PipelineSpec, Port};

/// A pattern that fits a topic which the pipeline writes: it would read its own output, for ever.
fn refuse_own_output(
    pipeline: &Document<PipelineSpec>,
    sources: &[(SourcePlan, Shape)],
    sinks: &[SinkPlan],
    out: &mut Diagnostics,
) {
    for (source, _) in sources {
        let found = sinks.iter().find_map(|sink| Some((sink, source.source.comes_to_read(&*sink.sink)?)));
        let Some((sink, topic)) = found else { continue };
        let place = pipeline
            .spec
            .sources
            .iter()
            .find(|known| known.name.value == source.name)
            .map(|known| &known.connector.place);
        let title = format!("the pattern of `{}` fits `{topic}`, which `{}` writes", source.name, sink.name);
        out.push(
            Diagnostic::error("kafka.own_output", title)
                .at(place.unwrap_or(&pipeline.place))
                .label("the pipeline would read its own output")
                .hint("choose a pattern that does not fit it (`in-.*`), or name the topics: `topics: [a, b]`"),
        );
    }
}

impl PipelineCheck<'_> {
    #[expect(clippy::too_many_arguments, reason = "the parts of a plan, put together once")]
    pub(super) fn assemble<'s>(
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
                fingerprint: String::new(),
            });
        }
        let mut unions = Vec::new();
        for index in wiring.used_unions() {
            let inputs = wiring.unions[index].iter().map(|(from, target)| places.input(*target, from.port));
            unions.push(UnionPlan { inputs: inputs.collect::<Option<_>>()?, union: round.unions.remove(&index)? });
        }

        let mut dead_letter = match dead_letter {
            Some(draft) => Some(draft?),
            None => None,
        };
        let drafts = sinks.iter_mut().flatten().chain(&mut dead_letter).collect();
        let journal = sinks::settle(&self.scope, drafts, out)?;
        let mut meanings = self.meanings(&wiring, &sources);
        let mut plans = Vec::new();
        for (index, draft) in sinks.into_iter().enumerate() {
            let (target, port) = wiring.sink_inputs.get(&index)?;
            let (mut input, shape, draft) = (places.input(*target, *port)?, shapes.get(&index)?, draft?);
            let sink = &spec.sinks[index];
            if let Some((table, does)) = modes::table(sink, draft.mode(), shape, out)? {
                let from = sink.from.as_ref().map(shown_input).unwrap_or_default();
                self.outline.steps.push(StepOutline { from, does });
                meanings.steps.push(modes::meaning(sink, draft.mode()));
                let (name, step) = (sink.name.value.clone(), Step::Stateful(Arc::new(table)));
                steps.push(StepPlan { name, input, step, fingerprint: String::new() });
                input = Input::Step(steps.len() - 1);
                if draft.mode() == Mode::Complete {
                    meanings.tie_to_its_aggregate(steps.len() - 1, &steps);
                }
            }
            plans.push(draft.plan(input, shape, &mut self.outline, out)?);
        }
        let mut dead_letter_index = None;
        if let Some(draft) = dead_letter {
            dead_letter_index = Some(plans.len());
            plans.push(draft.plan_dead(&mut self.outline)?);
        }
        refuse_own_output(self.scope.pipeline, &sources, &plans, out);
        let restart = match self.scope.extent {
            Extent::InUse => self.restart(&wiring, &sources, &steps, &plans, out)?,
            Extent::Everything => RestartPlan::Journal,
        };
        for step in 0..steps.len() {
            steps[step].fingerprint = meanings.of(Input::Step(step), &steps, &unions).fingerprint;
        }
        let sources: Vec<SourcePlan> = sources.into_iter().map(|(plan, _)| plan).collect();
        let parts = meanings.parts(&sources, &steps, &unions, &plans);
        Some(Plan {
            namespace: self.scope.pipeline.metadata.namespace.clone(),
            name: self.scope.pipeline.metadata.name.value.clone(),
            sources,
            steps,
            unions,
            sinks: plans,
            dead_letter: dead_letter_index,
            errors,
            epoch: settings::epoch_settings(spec),
            memory: settings::memory(spec, out),
            lanes: spec.lanes.as_ref().map(|lanes| lanes.value),
            journal,
            restart,
            state_dir: self.scope.state_dir.clone(),
            snapshots: settings::snapshot_settings(spec),
            fingerprint: meanings.of_all(),
            parts,
            outline: self.outline,
        })
    }

    /// Where a start finds out how far the pipeline is.
    fn restart(
        &mut self,
        wiring: &Wiring,
        sources: &[(SourcePlan, Shape)],
        steps: &[StepPlan],
        sinks: &[SinkPlan],
        out: &mut Diagnostics,
    ) -> Option<RestartPlan> {
        let spec = &self.scope.pipeline.spec;
        let by_index = wiring.used_sources().zip(sources.iter().map(|(plan, _)| plan)).collect();
        let plan = restart::plan(spec, &by_index, steps, (0, sinks.first().and_then(|sink| sink.input)), out)?;
        // Without any sink there is nothing to run, as was said.
        let sink = match plan.sink() {
            Some(sink) => Some(sinks.get(sink)?),
            None => None,
        };
        // What is wrong with the sink itself was said.
        let is_refused = out.0.iter().any(|diagnostic| diagnostic.code == "restart.not_possible");
        if let Some(sink) = sink.filter(|sink| sink.sink.delivery() != Delivery::Transaction && !is_refused) {
            let title = format!("`{}` and the journal are not on one cluster", sink.name);
            let place = &spec.sinks[0].connector.place;
            out.push(
                Diagnostic::error("restart.not_possible", title)
                    .at(place)
                    .note("the sink that says where to go on is written in one transaction with the journal")
                    .hint("put the dead letter's sink on the same cluster, or make it `delivery: at_least_once`"),
            );
        }
        if let Some(sink) = sink {
            self.outline.restart = Some(match plan {
                RestartPlan::Offsets { .. } => format!("from the headers of what `{}` has", sink.name),
                _ => format!("from the times of what `{}` has", sink.name),
            });
        }
        Some(plan)
    }

    fn meanings(&self, wiring: &Wiring, sources: &[(SourcePlan, Shape)]) -> Meanings {
        let spec = &self.scope.pipeline.spec;
        let early = early_aggregates(spec, wiring);
        let sources = wiring
            .used_sources()
            .zip(sources)
            .map(|(index, (plan, _))| sources::meaning(&spec.sources[index], plan))
            .collect();
        let steps =
            wiring.used_steps().map(|index| steps::meaning(&spec.transforms[index], early.contains(&index))).collect();
        Meanings { sources, steps }
    }
}

/// What of the plan's sources and steps changes results, in its order.
struct Meanings {
    sources: Vec<serde_json::Value>,
    steps: Vec<serde_json::Value>,
}

/// All that leads somewhere.
struct Upstream {
    sources: BTreeSet<usize>,
    steps: BTreeSet<usize>,
    fingerprint: String,
}

impl Meanings {
    /// A whole table has all that its aggregate has ever given: neither can go on without the other, nor can what stands between
    /// them change.
    fn tie_to_its_aggregate(&mut self, table: usize, steps: &[StepPlan]) {
        let (mut path, mut at) = (vec![self.steps[table].clone()], steps[table].input);
        while let Input::Step(step) = at {
            if matches!(steps[step].step, Step::Stateful(_)) {
                let tables = &mut self.steps[step]["tables"];
                match tables.as_array_mut() {
                    Some(tables) => tables.push(path.into()),
                    None => *tables = json!([path]),
                }
                return;
            }
            path.push(self.steps[step].clone());
            at = steps[step].input;
        }
    }

    fn of_all(&self) -> String {
        fingerprint::of(&self.sources, &self.steps)
    }

    /// What leads to an input; a step is part of what leads to its rows.
    fn of(&self, input: Input, steps: &[StepPlan], unions: &[UnionPlan]) -> Upstream {
        let (mut its_sources, mut its_steps) = (BTreeSet::new(), BTreeSet::new());
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            match input {
                Input::Source(source) | Input::SourceFailed(source) => _ = its_sources.insert(source),
                Input::Step(step) | Input::Late(step) | Input::Rest(step) | Input::Failed(step) => {
                    its_steps.insert(step);
                    inputs.push(steps[step].input);
                }
                Input::Union(union) => inputs.extend(&unions[union].inputs),
            }
        }
        let of = |meanings: &[serde_json::Value], indexes: &BTreeSet<usize>| -> Vec<serde_json::Value> {
            indexes.iter().map(|index| meanings[*index].clone()).collect()
        };
        let fingerprint = fingerprint::of(&of(&self.sources, &its_sources), &of(&self.steps, &its_steps));
        Upstream { sources: its_sources, steps: its_steps, fingerprint }
    }

    fn parts(&self, sources: &[SourcePlan], steps: &[StepPlan], unions: &[UnionPlan], sinks: &[SinkPlan]) -> Parts {
        let own = |meaning: &serde_json::Value| fingerprint::of(std::slice::from_ref(meaning), &[]);
        let keeps_state = |(index, step): (usize, &StepPlan)| match &step.step {
            Step::Stateful(transform) => {
                let upstream = self.of(Input::Step(index), steps, unions);
                let columns = transform.state();
                let columns = columns.fields().iter().map(|field| json!([field.name(), field.data_type().to_string()]));
                let names = upstream.sources.iter().map(|source| &sources[*source].name);
                let names = names.chain(upstream.steps.iter().map(|step| &steps[*step].name));
                let part = StatePart {
                    made_of: names.cloned().collect(),
                    fingerprint: fingerprint::of(&[json!(upstream.fingerprint)], &columns.collect::<Vec<_>>()),
                };
                Some((step.name.clone(), part))
            }
            Step::Rows(_) => None,
        };
        // A dead letter may come from anywhere.
        let leads_to = |sink: &SinkPlan| match sink.input {
            Some(input) => self.of(input, steps, unions).fingerprint,
            None => self.of_all(),
        };
        Parts {
            own: steps.iter().map(|step| step.name.clone()).zip(self.steps.iter().map(own)).collect(),
            sources: sources.iter().map(|source| source.name.clone()).zip(self.sources.iter().map(own)).collect(),
            steps: steps.iter().enumerate().filter_map(keeps_state).collect(),
            sinks: sinks.iter().map(|sink| (sink.name.clone(), leads_to(sink))).collect(),
        }
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
