//! One pass over the transforms: what they give, and what they need from what stands before them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::names::{Target, Wiring};
use super::shape::{Reads, Shape};
use super::sinks::SinkDraft;
use super::{shown_input, steps, unions};
use crate::data::{REASON, meta};
use crate::plan::{ErrorPolicy, Step};
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{InputRef, Inputs, PipelineSpec, Port, SinkMode, Verb};
use crate::transforms::union::Union;

/// One pass over the transforms.
#[derive(Default)]
pub(super) struct Round {
    shapes: BTreeMap<Target, Shape>,
    reads: BTreeMap<usize, Reads>,
    pub(super) compiled: BTreeMap<usize, Step>,
    /// By their index in the wiring.
    pub(super) unions: BTreeMap<usize, Union>,
    /// Columns of each target that something needs.
    pub(super) wanted: BTreeMap<Target, BTreeSet<String>>,
}

/// What a round goes by that is not its own finding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    /// Windowed aggregates with a sink that wants their rows before they are final.
    pub early: &'a BTreeSet<usize>,
    /// The folder in which `fail` steps remember that they have tripped; `None`: they never trip.
    pub tripped: Option<&'a Path>,
}

impl Round {
    pub(super) fn run(
        spec: &PipelineSpec,
        wiring: &Wiring,
        sources: Vec<Option<Shape>>,
        outside: Given<'_>,
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
            let early = outside.early.contains(&index);
            let tripped = outside.tripped;
            let given = steps::Given { input: &input, input_name: &input_name, narrowed, early, tripped };
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
    pub(super) fn shape(&self, target: Target, port: Port, wiring: &Wiring) -> Option<Shape> {
        // A step that did not compile has no rows to type.
        let main = self.shapes.get(&target)?;
        match (port, target) {
            (Port::Main, _) => Some(main.clone()),
            (Port::Failed, Target::Source(_)) => Some(main.failed()),
            (Port::Rest, Target::Transform(index)) if self.holds_back(index) => Some(main.with_reason()),
            (Port::Late | Port::Rest | Port::Failed, Target::Transform(index)) => {
                let (before, port) = wiring.inputs.get(&index)?;
                Some(self.shape(*before, *port, wiring)?.with_reason())
            }
            (Port::Late | Port::Rest, Target::Source(_)) | (_, Target::Union(_)) => None,
        }
    }

    /// The rows that it does not pass on have its own columns, not those of its input: it has a HAVING.
    fn holds_back(&self, transform: usize) -> bool {
        matches!(self.compiled.get(&transform), Some(Step::Stateful(_)))
    }

    /// What a transform or sink reads; unions were put together before.
    pub(super) fn input_of(
        &self,
        from: &Inputs,
        at: (Target, Port),
        wiring: &Wiring,
        out: &mut Diagnostics,
    ) -> Option<Shape> {
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
    pub(super) fn want(&mut self, wiring: &Wiring, sinks: &[Option<SinkDraft>]) {
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
            (Port::Rest, Target::Transform(index)) if self.holds_back(index) => {
                needs.remove(REASON);
                self.wanted.entry(target).or_default().extend(needs);
            }
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
    pub(super) fn want_for_dead_letters(
        &mut self,
        spec: &PipelineSpec,
        wiring: &Wiring,
        has_sink: bool,
        errors: ErrorPolicy,
    ) {
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

    pub(super) fn wanted_of(&self, target: Target) -> BTreeSet<String> {
        self.wanted.get(&target).cloned().unwrap_or_default()
    }
}

/// Windowed aggregates with a sink that wants their rows before they are final.
pub(super) fn early_aggregates(spec: &PipelineSpec, wiring: &Wiring) -> BTreeSet<usize> {
    let wants_changes = |index: &usize| {
        let mode = spec.sinks[*index].mode.as_ref().map(|mode| mode.value);
        matches!(mode, Some(SinkMode::Update | SinkMode::Upsert | SinkMode::Complete))
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
                // What is sorted is final.
                Verb::Sort(_) => break,
                Verb::Rows(_) | Verb::Fail(_) => {
                    at = wiring.inputs.get(&index).copied().filter(|_| wiring.order.contains(&index))
                }
            }
        }
    }
    early
}
