//! `runner plan`: what `apply` would find and do. Changes nothing.

use super::Common;
use super::output::{self, Exit, Output};
use super::specs::{Planned, SpecArgs, plans};
use crate::deploy::open_journal;
use crate::engine::carry::{Carried, Fate};
use crate::engine::recovery::History;
use crate::plan::resolve::Servers;
use crate::plan::{Plan, RestartPlan, describe};
use crate::report::{Failure, to_json};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    specs: SpecArgs,
}

pub fn run(args: Args, common: &Common) -> Exit {
    let Planned { plans, warnings, .. } = match plans(&args.specs, &Servers::default(), common.output) {
        Ok(planned) => planned,
        Err(exit) => return exit,
    };
    let states = plans.iter().map(states).collect::<Result<Vec<_>, _>>();
    let states = match states {
        Ok(states) => states,
        Err(failure) => return output::failure(&failure, common.output),
    };
    match common.output {
        Output::Text => {
            let text = |(plan, states): (&Plan, &Option<Carried>)| {
                let states = states.iter().flat_map(|carried| &carried.steps).map(|(step, fate)| fate_line(step, fate));
                format!("{}{}", describe::text(plan), states.collect::<String>())
            };
            let texts: Vec<_> = plans.iter().zip(&states).map(text).collect();
            output::put(format_args!("{}", texts.join("\n")));
        }
        json => {
            let described = |(plan, states): (&Plan, &Option<Carried>)| {
                let mut json = describe::json(plan);
                json["state"] = serde_json::json!(states.as_ref().map(|carried| &carried.steps));
                json
            };
            let plans: Vec<_> = plans.iter().zip(&states).map(described).collect();
            json.print(&serde_json::json!({ "plans": plans, "diagnostics": to_json(&warnings) }));
        }
    }
    Exit::Done
}

/// What becomes of the state that an earlier run left; `None`: there was none, or the plan keeps none in a journal.
fn states(plan: &Plan) -> Result<Option<Carried>, Failure> {
    if plan.restart != RestartPlan::Journal {
        return Ok(None);
    }
    let history = History::of(open_journal(plan)?.read()?);
    let carried = Carried::of(&history, &plan.fingerprint, &plan.parts);
    Ok(history.plan.is_some().then_some(carried))
}

fn fate_line(step: &str, fate: &Fate) -> String {
    let word = match fate {
        Fate::Kept { since } => format!("kept: nothing that it is made of has changed since epoch {since}"),
        Fate::New => "new: begins empty".to_owned(),
        Fate::Lost { why } => format!("lost: {why}; `apply` asks for `--accept-reset {step}`"),
    };
    format!("  state of `{step}`  {word}\n")
}
