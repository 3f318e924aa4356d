//! `runner validate`: checks specs without asking any server.

use super::Common;
use super::output::{Exit, Output};
use super::specs::{SpecArgs, plans};
use crate::plan::resolve::Offline;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    specs: SpecArgs,
}

pub fn run(args: Args, common: &Common) -> Exit {
    let (documents, plans) = match plans(&args.specs, &Offline, common.output) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let unchecked: Vec<&String> = plans.iter().flat_map(|plan| &plan.outline.unchecked).collect();
    if common.output == Output::Json {
        let names: Vec<&String> = plans.iter().map(|plan| &plan.name).collect();
        println!("{}", serde_json::json!({ "valid": true, "pipelines": names, "not_checked": unchecked }));
        return Exit::Done;
    }
    let others = documents.topics.len() + documents.schemas.len() + documents.connections.len() + documents.tests.len();
    println!("valid: {} pipelines, {others} other documents", plans.len());
    for sentence in unchecked {
        println!("not checked: {sentence}");
    }
    Exit::Done
}
