//! `runner plan`: what `apply` would find and do. Changes nothing.

use super::Common;
use super::output::{self, Exit, Output};
use super::specs::{Planned, SpecArgs, plans};
use crate::plan::describe;
use crate::plan::resolve::Servers;
use crate::report::to_json;

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
    match common.output {
        Output::Text => {
            let texts: Vec<_> = plans.iter().map(describe::text).collect();
            output::put(format_args!("{}", texts.join("\n")));
        }
        json => {
            let plans: Vec<_> = plans.iter().map(describe::json).collect();
            json.print(&serde_json::json!({ "plans": plans, "diagnostics": to_json(&warnings) }));
        }
    }
    Exit::Done
}
