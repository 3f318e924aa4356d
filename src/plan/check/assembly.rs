//! The parts of a checked pipeline, put together: what is in use, with indexes instead of names.

use std::collections::BTreeMap;

use super::names::{Target, Wiring};
use super::round::{Round, early_aggregates};
use super::shape::Shape;
use super::sinks::SinkDraft;
use super::{Extent, PipelineCheck, restart, settings, shown_input, sinks, sources, steps};
use crate::connectors::Delivery;
use crate::plan::outline::{StepOutline, TopicState};
use crate::plan::{ErrorPolicy, Input, Plan, RestartPlan, SinkPlan, SourcePlan, StepPlan, UnionPlan, fingerprint};
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{Port, Verb};

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
        let restart = match self.scope.extent {
            Extent::InUse => self.restart(&wiring, &sources, &steps, &plans, out)?,
            Extent::Everything => RestartPlan::Journal,
        };
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
            epoch: settings::epoch_settings(spec),
            memory: settings::memory(spec, out),
            lanes: spec.lanes.as_ref().map(|lanes| lanes.value),
            journal,
            restart,
            state_dir: self.scope.state_dir.clone(),
            fingerprint,
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
        let plan = restart::plan(spec, &by_index, steps, 0, out)?;
        let sink = plan.sink().map(|sink| &sinks[sink]);
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
        let endless = self
            .scope
            .pipeline
            .spec
            .transforms
            .iter()
            .find(|transform| matches!(&transform.verb, Verb::Aggregate(aggregate) if aggregate.window.is_none()));
        let Some(endless) = endless else { return };
        let kept = self.outline.topics.iter().filter_map(|topic| match &topic.state {
            TopicState::Exists(info) => {
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
