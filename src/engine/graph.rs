//! The running form of a plan: which steps are fused into the lanes and which run in the trunk.
//!
//! Every step has one input, so what follows a source is a tree. Everything up to (and with the
//! gathering half of) a stateful step runs in the lane, everything behind it in the trunk: also the
//! gathering half of the next one.

use std::collections::BTreeMap;

use crate::plan::{Input, Plan, Step};

/// What reads one output, in the plan's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Branch {
    pub consumers: Vec<Consumer>,
}

impl Branch {
    /// The stateful steps whose gathering halves stand in this branch.
    pub fn stateful(&self) -> Vec<usize> {
        let of = |consumer: &Consumer| match consumer {
            Consumer::Rows { then, rest, failed, .. } => {
                [then, rest, failed].into_iter().flat_map(Branch::stateful).collect()
            }
            Consumer::Stateful { step, late } => [vec![*step], late.stateful()].concat(),
            Consumer::Sink { .. } => Vec::new(),
        };
        self.consumers.iter().flat_map(of).collect()
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
}

impl Graph {
    /// Lays out a plan.
    pub fn of(plan: &Plan) -> Graph {
        let sources = (0..plan.sources.len()).map(|source| branch(plan, Input::Source(source))).collect();
        let failed = (0..plan.sources.len()).map(|source| branch(plan, Input::SourceFailed(source))).collect();
        let stateful = |(index, step): (usize, &crate::plan::StepPlan)| {
            matches!(step.step, Step::Stateful(_)).then(|| (index, branch(plan, Input::Step(index))))
        };
        let trunk = plan.steps.iter().enumerate().filter_map(stateful).collect();
        Graph { sources, failed, trunk }
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
    Branch { consumers: steps.chain(sinks.map(|(sink, _)| Consumer::Sink { sink })).collect() }
}
