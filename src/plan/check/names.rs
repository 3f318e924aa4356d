//! One name space of sources, transforms and sinks: who reads from whom, and in which order.
//!
//! The order in which things are written never matters; transforms come out sorted so that a step's
//! input stands before it.

use std::collections::{BTreeMap, BTreeSet};

use crate::report::{Diagnostic, Diagnostics, Place};
use crate::spec::{FailSpec, FailWhen, InputRef, Inputs, PipelineSpec, Port, TransformSpec, Verb};

/// Something that can be read from; an index into the spec's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Source(usize),
    Transform(usize),
    /// An index into [`Wiring::unions`].
    Union(usize),
}

/// Who reads from whom in one pipeline.
#[derive(Debug, Default)]
pub(super) struct Wiring {
    /// Transforms, inputs first. One without a usable input is not among them.
    pub order: Vec<usize>,
    /// Per transform: where it reads.
    pub inputs: BTreeMap<usize, (Target, Port)>,
    /// Per sink.
    pub sink_inputs: BTreeMap<usize, (Target, Port)>,
    /// The lists in `from`, and what they name.
    pub unions: Vec<Vec<(InputRef, Target)>>,
    /// What leads to a sink; the rest is checked and then left out.
    pub used: BTreeSet<Target>,
}

impl Wiring {
    /// Indexes of the sources that lead to a sink, in the order written.
    pub fn used_sources(&self) -> impl Iterator<Item = usize> {
        self.used.iter().filter_map(|target| match target {
            Target::Source(index) => Some(*index),
            Target::Transform(_) | Target::Union(_) => None,
        })
    }

    /// Nothing is left out, whether it leads to a sink or not.
    pub fn use_everything(&mut self, spec: &PipelineSpec) {
        self.used.extend((0..spec.sources.len()).map(Target::Source));
        self.used.extend(self.order.iter().copied().map(Target::Transform));
    }

    /// True if a step or sink reads this.
    pub fn reads_port(&self, target: Target, port: Port) -> bool {
        self.all_inputs().any(|input| input == (target, port))
    }

    /// Whatever stands in a `from`.
    fn all_inputs(&self) -> impl Iterator<Item = (Target, Port)> {
        let in_unions = self.unions.iter().flatten().map(|(from, target)| (*target, from.port));
        self.inputs.values().chain(self.sink_inputs.values()).copied().chain(in_unions)
    }

    /// The sources and transforms that an input stands for: all those of a union.
    pub fn behind(&self, target: Target) -> Vec<Target> {
        match target {
            Target::Union(index) => self.unions[index].iter().map(|(_, target)| *target).collect(),
            one => vec![one],
        }
    }

    /// The unions of transforms and sinks that are used, inputs first.
    pub fn used_unions(&self) -> impl Iterator<Item = usize> {
        let of_steps = self.used_steps().filter_map(|index| self.inputs.get(&index));
        of_steps.chain(self.sink_inputs.values()).filter_map(|(target, _)| match target {
            Target::Union(index) => Some(*index),
            Target::Source(_) | Target::Transform(_) => None,
        })
    }

    /// Indexes of the transforms that lead to a sink, inputs first.
    pub fn used_steps(&self) -> impl Iterator<Item = usize> {
        self.order.iter().copied().filter(|index| self.used.contains(&Target::Transform(*index)))
    }
}

/// Resolves every `from`. Unknown names, doubled names and cycles are errors, what nobody reads is a warning.
pub(super) fn wire(spec: &PipelineSpec, out: &mut Diagnostics) -> Wiring {
    let names = name_space(spec, out);
    let mut wiring = Wiring::default();
    for (index, transform) in spec.transforms.iter().enumerate() {
        if let Some(input) = wiring.resolve(&transform.from, &names, spec, out) {
            wiring.inputs.insert(index, input);
        }
    }
    for (index, sink) in spec.sinks.iter().enumerate() {
        if let Some(input) = sink.from.as_ref().and_then(|from| wiring.resolve(from, &names, spec, out)) {
            wiring.sink_inputs.insert(index, input);
        }
    }
    wiring.order = sorted(spec, &wiring, out);
    wiring.used = used(spec, &wiring);
    warn_unused(spec, &wiring, out);
    wiring
}

fn name_space<'a>(spec: &'a PipelineSpec, out: &mut Diagnostics) -> BTreeMap<&'a str, Option<Target>> {
    let mut names: BTreeMap<&str, (Option<Target>, &Place)> = BTreeMap::new();
    let sources = spec.sources.iter().enumerate().map(|(i, s)| (&s.name, Some(Target::Source(i))));
    let transforms = spec.transforms.iter().enumerate().map(|(i, t)| (&t.name, Some(Target::Transform(i))));
    let sinks = spec.sinks.iter().map(|s| (&s.name, None));
    for (name, target) in sources.chain(transforms).chain(sinks) {
        match names.get(name.value.as_str()) {
            Some((_, first)) => out.push(
                Diagnostic::error("names.twice", format!("the name `{}` is given twice", name.value))
                    .at(&name.place)
                    .note(format!("first at {first}; sources, transforms and sinks share one name space")),
            ),
            None => {
                names.insert(&name.value, (target, &name.place));
            }
        }
    }
    names.into_iter().map(|(name, (target, _))| (name, target)).collect()
}

impl Wiring {
    /// Where a `from` reads; a list becomes a union.
    fn resolve(
        &mut self,
        from: &Inputs,
        names: &BTreeMap<&str, Option<Target>>,
        spec: &PipelineSpec,
        out: &mut Diagnostics,
    ) -> Option<(Target, Port)> {
        let resolved: Vec<_> = from.refs.iter().map(|one| resolve(one, names, spec, out)).collect();
        let resolved: Vec<(Target, Port)> = resolved.into_iter().collect::<Option<_>>()?;
        if let [one] = resolved.as_slice() {
            return Some(*one);
        }
        let targets = resolved.into_iter().map(|(target, _)| target);
        self.unions.push(from.refs.iter().cloned().zip(targets).collect());
        Some((Target::Union(self.unions.len() - 1), Port::Main))
    }
}

fn resolve(
    from: &InputRef,
    names: &BTreeMap<&str, Option<Target>>,
    spec: &PipelineSpec,
    out: &mut Diagnostics,
) -> Option<(Target, Port)> {
    match names.get(from.name.as_str()) {
        Some(Some(target)) => {
            if let Some(missing) = missing_port(*target, from, spec) {
                out.push(missing);
                return None;
            }
            Some((*target, from.port))
        }
        Some(None) => {
            out.push(
                Diagnostic::error("names.from_sink", format!("`{}` is a sink: nothing can be read from it", from.name))
                    .at(&from.place)
                    .hint("read from what the sink reads"),
            );
            None
        }
        // What is wrong with it was said already.
        None if spec.broken.contains(&from.name) => None,
        None => {
            let known: Vec<&str> = names.iter().filter(|(_, target)| target.is_some()).map(|(name, _)| *name).collect();
            out.push(
                Diagnostic::error("names.unknown", format!("there is no source or transform `{}`", from.name))
                    .at(&from.place)
                    .note(format!("there are: {}", known.join(", ")))
                    .did_you_mean(&from.name, known.iter().copied()),
            );
            None
        }
    }
}

/// Complains about a port that the source or step does not have.
fn missing_port(target: Target, from: &InputRef, spec: &PipelineSpec) -> Option<Diagnostic> {
    use Verb::{Aggregate, Rows, Sort};
    let verb = match target {
        Target::Transform(index) => Some(&spec.transforms[index].verb),
        Target::Source(_) | Target::Union(_) => None,
    };
    let (code, note) = match (from.port, verb) {
        (Port::Main, _) | (Port::Failed, Some(Rows(_))) => return None,
        (Port::Late, Some(Aggregate(aggregate))) if aggregate.window.is_some() => return None,
        (Port::Late, Some(Sort(_))) => return None,
        (Port::Rest, Some(Rows(rows))) if rows.filter.is_some() => return None,
        (Port::Rest, Some(Aggregate(aggregate))) if aggregate.window.is_some() && aggregate.having.is_some() => {
            return None;
        }
        (Port::Failed, None) if is_raw(target, spec) => return None,
        (Port::Late, _) => ("names.no_late", "only `sort` and an aggregate with a `window` have late rows"),
        (Port::Rest, _) => {
            ("names.no_rest", "only a `where`, and the `having` of an aggregate with a `window`, leave rows over")
        }
        (Port::Failed, None) => ("names.no_failed", "datagen's rows need not be decoded"),
        (Port::Failed, Some(_)) => {
            ("names.no_failed", "only sources, and steps of `where`, `check`, `add` and `select` have failed rows")
        }
    };
    let title = format!("`{}` has no port `{}`", from.name, &from.shown()[from.name.len()..]);
    Some(Diagnostic::error(code, title).at(&from.place).note(note))
}

/// The source's records are bytes.
fn is_raw(target: Target, spec: &PipelineSpec) -> bool {
    matches!(target, Target::Source(index) if spec.sources[index].connector.value != "datagen")
}

/// Inputs first; transforms on a cycle are named with their path and left out, and so is what hangs on them.
fn sorted(spec: &PipelineSpec, wiring: &Wiring, out: &mut Diagnostics) -> Vec<usize> {
    let mut sorting = Sorting { spec, wiring, order: Vec::new(), grounded: BTreeMap::new(), path: Vec::new() };
    for start in 0..spec.transforms.len() {
        sorting.visit(start, out);
    }
    sorting.order
}

struct Sorting<'a> {
    spec: &'a PipelineSpec,
    wiring: &'a Wiring,
    order: Vec<usize>,
    /// Transforms that were visited: true if sources stand at the beginning of all that they read.
    grounded: BTreeMap<usize, bool>,
    /// From where the search began to where it is.
    path: Vec<usize>,
}

impl Sorting<'_> {
    fn visit(&mut self, at: usize, out: &mut Diagnostics) -> bool {
        if let Some(grounded) = self.grounded.get(&at) {
            return *grounded;
        }
        if let Some(begin) = self.path.iter().position(|step| *step == at) {
            out.push(cycle(self.spec, &self.path[begin..]));
            return false;
        }
        let Some((target, _)) = self.wiring.inputs.get(&at) else { return false };
        self.path.push(at);
        let mut grounded = true;
        for before in self.wiring.behind(*target) {
            if let Target::Transform(before) = before {
                grounded &= self.visit(before, out);
            }
        }
        self.path.pop();
        self.grounded.insert(at, grounded);
        if grounded {
            self.order.push(at);
        }
        grounded
    }
}

fn cycle(spec: &PipelineSpec, steps: &[usize]) -> Diagnostic {
    let name = |step: &usize| format!("`{}`", spec.transforms[*step].name.value);
    let mut path: Vec<String> = steps.iter().rev().map(name).collect();
    path.push(path[0].clone());
    Diagnostic::error("names.cycle", format!("{} reads its own output", name(&steps[0])))
        .at(&spec.transforms[steps[0]].from.place)
        .note(format!("the cycle is {}", path.join(" → ")))
}

fn used(spec: &PipelineSpec, wiring: &Wiring) -> BTreeSet<Target> {
    let mut used = BTreeSet::new();
    let mut open: Vec<Target> = wiring.sink_inputs.values().flat_map(|(target, _)| wiring.behind(*target)).collect();
    while let Some(target) = open.pop() {
        if !used.insert(target) {
            continue;
        }
        if let Target::Transform(index) = target {
            open.extend(wiring.inputs.get(&index).into_iter().flat_map(|(before, _)| wiring.behind(*before)));
            // What watches its trigger stands right behind it.
            open.extend((has_trigger(&spec.transforms[index].verb)).then_some(Target::Transform(index + 1)));
        }
    }
    used
}

fn has_trigger(verb: &Verb) -> bool {
    matches!(verb, Verb::Fail(FailSpec { when: FailWhen::Trigger(_), .. }))
}

/// Warns at the last step only: what leads to an unused step is read, by that step.
fn warn_unused(spec: &PipelineSpec, wiring: &Wiring, out: &mut Diagnostics) {
    let read: BTreeSet<Target> = wiring.all_inputs().map(|(target, _)| target).collect();
    let sources = spec.sources.iter().enumerate().map(|(i, s)| (Target::Source(i), &s.name));
    // Nobody reads what watches a trigger.
    let watches = |t: &TransformSpec| matches!(&t.verb, Verb::Fail(FailSpec { when: FailWhen::First, .. }));
    let transforms = spec.transforms.iter().enumerate().filter(|(_, t)| !watches(t));
    let transforms = transforms.map(|(i, t)| (Target::Transform(i), &t.name));
    for (target, name) in sources.chain(transforms).filter(|(target, _)| !read.contains(target)) {
        // A wrong `from` elsewhere may be the reader that is missing here.
        if !spec.broken.is_empty()
            || wiring.inputs.len() < spec.transforms.len()
            || wiring.sink_inputs.len() < spec.sinks.len()
        {
            return;
        }
        let what = if matches!(target, Target::Source(_)) { "source" } else { "transform" };
        out.push(
            Diagnostic::warning("names.unused", format!("nothing reads from the {what} `{}`", name.value))
                .at(&name.place)
                .label("left out"),
        );
    }
}
