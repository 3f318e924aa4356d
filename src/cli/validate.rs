//! `runner validate`: checks specs without asking any server.

use super::Common;
use super::output::{Exit, say};
use super::specs::{Planned, SpecArgs, plans};
use crate::plan::resolve::Offline;
use crate::report::to_json;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    specs: SpecArgs,
}

pub fn run(args: Args, common: &Common) -> Exit {
    let Planned { documents, plans, warnings } = match plans(&args.specs, &Offline, common.output) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let unchecked: Vec<&String> = plans.iter().flat_map(|plan| &plan.outline.unchecked).collect();
    if common.output.is_json() {
        let names: Vec<&String> = plans.iter().map(|plan| &plan.name).collect();
        common.output.print(&serde_json::json!({
            "valid": true, "pipelines": names, "not_checked": unchecked, "diagnostics": to_json(&warnings)
        }));
        return Exit::Done;
    }
    let others = documents.topics.len() + documents.schemas.len() + documents.connections.len() + documents.tests.len();
    say!("valid: {} pipelines, {others} other documents", plans.len());
    for sentence in unchecked {
        say!("not checked: {sentence}");
    }
    Exit::Done
}
