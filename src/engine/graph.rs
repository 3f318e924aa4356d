//! The running form of a plan: which steps are fused into the lanes and which run in the trunk.
//!
//! Every step has one input, so what follows a source is a tree. Where several inputs of a union stand behind one root (a
//! source, or a stateful step), their rows come together once the root has given all of a batch. Rows of several roots meet
//! only behind the trees: each root has what follows the union for itself. Everything up to (and with the
//! gathering half of) a stateful step runs in the lane, everything behind it in the trunk: also the
//! gathering half of the next one.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Input, Plan, Step};

/// What reads one output, in the plan's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Branch {
    pub consumers: Vec<Consumer>,
    /// At a root: the unions that its rows come to, and what reads them; inputs first.
    pub unions: Vec<(usize, Branch)>,
}

impl Branch {
    /// The stateful steps whose gathering halves stand in this branch.
    pub fn stateful(&self) -> Vec<usize> {
        let of = |consumer: &Consumer| match consumer {
            Consumer::Rows { then, rest, failed, .. } => {
                [then, rest, failed].into_iter().flat_map(Branch::stateful).collect()
            }
            Consumer::Stateful { step, late } => [vec![*step], late.stateful()].concat(),
            Consumer::Sink { .. } | Consumer::Union { .. } => Vec::new(),
        };
        let in_unions = self.unions.iter().flat_map(|(_, then)| then.stateful());
        self.consumers.iter().flat_map(of).chain(in_unions).collect()
    }
}

/// Indexes are those of the plan's `steps` and `sinks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consumer {
    /// `rest` and `failed` read those ports.
    Rows {
        step: usize,
        then: Branch,
        rest: Branch,
        failed: Branch,
    },
    /// The gathering half; `late` reads its `.late` port.
    Stateful {
        step: usize,
        late: Branch,
    },
    Sink {
        sink: usize,
    },
    /// Input number `slot` of a union.
    Union {
        union: usize,
        slot: usize,
    },
}

/// A plan laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// One per source: what its lanes run.
    pub sources: Vec<Branch>,
    /// One per source: what reads its `.failed` port.
    pub failed: Vec<Branch>,
    /// What reads each stateful step, by step.
    pub trunk: BTreeMap<usize, Branch>,
    /// What reads its `.rest` port.
    pub rest: BTreeMap<usize, Branch>,
}

impl Graph {
    /// Lays out a plan.
    pub fn of(plan: &Plan) -> Graph {
        let source = |source| root(plan, &[Input::Source(source), Input::SourceFailed(source)]);
        let sources = (0..plan.sources.len()).map(source).collect();
        let failed = (0..plan.sources.len()).map(|source| branch(plan, Input::SourceFailed(source))).collect();
        let stateful = plan.steps.iter().enumerate().filter(|(_, step)| matches!(step.step, Step::Stateful(_)));
        let stateful = stateful.map(|(index, _)| index);
        let trunk = stateful.clone().map(|step| (step, root(plan, &[Input::Step(step), Input::Rest(step)]))).collect();
        let rest = stateful.map(|step| (step, branch(plan, Input::Rest(step)))).collect();
        Graph { sources, failed, trunk, rest }
    }
}

/// What reads the first of the inputs, and the unions that rows of any of them come to.
fn root(plan: &Plan, inputs: &[Input]) -> Branch {
    let mut reached = BTreeSet::new();
    for input in inputs {
        add_unions(&branch(plan, *input), &mut reached);
    }
    let mut unions = Vec::new();
    // A union that reads another one stands behind it.
    for union in 0..plan.unions.len() {
        if reached.contains(&union) {
            let then = branch(plan, Input::Union(union));
            add_unions(&then, &mut reached);
            unions.push((union, then));
        }
    }
    Branch { unions, ..branch(plan, inputs[0]) }
}

fn add_unions(branch: &Branch, into: &mut BTreeSet<usize>) {
    for consumer in &branch.consumers {
        match consumer {
            Consumer::Rows { then, rest, failed, .. } => {
                [then, rest, failed].into_iter().for_each(|branch| add_unions(branch, into));
            }
            Consumer::Stateful { late, .. } => add_unions(late, into),
            Consumer::Sink { .. } => {}
            Consumer::Union { union, .. } => _ = into.insert(*union),
        }
    }
}

fn branch(plan: &Plan, input: Input) -> Branch {
    let steps =
        plan.steps.iter().enumerate().filter(|(_, step)| step.input == input).map(|(index, step)| match step.step {
            Step::Rows(_) => Consumer::Rows {
                step: index,
                then: branch(plan, Input::Step(index)),
                rest: branch(plan, Input::Rest(index)),
                failed: branch(plan, Input::Failed(index)),
            },
            Step::Stateful(_) => Consumer::Stateful { step: index, late: branch(plan, Input::Late(index)) },
        });
    let sinks = plan.sinks.iter().enumerate().filter(|(_, sink)| sink.input == Some(input));
    let sinks = sinks.map(|(sink, _)| Consumer::Sink { sink });
    let unions = plan.unions.iter().enumerate().filter_map(|(union, inputs)| {
        let slot = inputs.inputs.iter().position(|found| *found == input)?;
        Some(Consumer::Union { union, slot })
    });
    Branch { consumers: steps.chain(sinks).chain(unions).collect(), unions: Vec::new() }
}
