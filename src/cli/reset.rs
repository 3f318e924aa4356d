//! `runner reset`: forgets how far pipelines were. The output that they wrote stays.

use std::sync::Arc;

use super::Common;
use super::output::{self, Exit, say};
use super::specs::{SpecArgs, plans};
use crate::deploy::open_journal;
use crate::engine::recovery::History;
use crate::plan::Plan;
use crate::plan::resolve::Servers;
use crate::report::Failure;
use crate::state::{Shelf, Store};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    specs: SpecArgs,
    /// Only this pipeline.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Do it; without this the command only says what it would forget.
    #[arg(long)]
    yes: bool,
}

pub fn run(args: Args, common: &Common) -> Exit {
    let plans = match plans(&args.specs, &Servers::default(), common.output) {
        Ok(planned) => planned.plans,
        Err(exit) => return exit,
    };
    let chosen = |plan: &&Plan| args.pipeline.as_ref().is_none_or(|name| *name == plan.name);
    for plan in plans.iter().filter(chosen) {
        match reset(plan, args.yes) {
            Ok(journal) if common.output.is_json() => {
                let report = serde_json::json!({ "pipeline": plan.name, "journal": journal, "reset": args.yes });
                common.output.print(&report);
            }
            Ok(journal) if args.yes => say!("{}: forgot {journal}", plan.name),
            Ok(journal) => say!("{}: would forget {journal}", plan.name),
            Err(failure) => return output::failure(&failure, common.output),
        }
    }
    if args.yes {
        return Exit::Done;
    }
    eprintln!("hint: nothing was changed; `--yes` does it");
    Exit::Refused
}

/// Takes the journal over, so that no other instance writes it, and clears it.
fn reset(plan: &Plan, really: bool) -> Result<String, Failure> {
    let mut journal = open_journal(plan)?;
    if really {
        let lineage = History::lineage_of(&journal.acquire()?);
        journal.clear()?;
        if let Some((store, lineage)) = Store::existing(&plan.snapshot_dir())?.zip(lineage) {
            Shelf::look(Arc::new(store), &plan.namespace, &plan.name)?.remove(&lineage)?;
        }
    }
    Ok(journal.describe())
}
