//! `runner reset`: forgets how far pipelines were. The output that they wrote stays.

use std::sync::Arc;

use super::Common;
use super::output::{self, Exit, counted, say};
use super::specs::{SpecArgs, plans};
use crate::deploy::open_journal;
use crate::engine::recovery::History;
use crate::engine::reported;
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
            Ok(Forgotten { journal, snapshots, .. }) if common.output.is_json() => {
                let report = serde_json::json!({
                    "pipeline": plan.name, "journal": journal, "snapshots": snapshots, "reset": args.yes,
                });
                common.output.print(&report);
            }
            Ok(forgotten) if args.yes => say!("{}: forgot {}", plan.name, forgotten.words()),
            Ok(forgotten) => say!("{}: would forget {}", plan.name, forgotten.words()),
            Err(failure) => return output::failure(&failure, common.output),
        }
    }
    if args.yes {
        return Exit::Done;
    }
    eprintln!("hint: nothing was changed; `--yes` does it");
    Exit::Refused
}

/// What is forgotten.
struct Forgotten {
    journal: String,
    /// Snapshots of the state, and where they are.
    snapshots: usize,
    place: String,
}

impl Forgotten {
    fn words(&self) -> String {
        let Forgotten { journal, snapshots, place } = self;
        match snapshots {
            0 => journal.clone(),
            count => format!("{journal}, and {} of the state in `{place}`", counted(*count as u64, "snapshot")),
        }
    }
}

/// Takes the journal over, so that no other instance writes it, and clears it.
fn reset(plan: &Plan, really: bool) -> Result<Forgotten, Failure> {
    let mut journal = open_journal(plan)?;
    let lineage = History::lineage_of(&if really { journal.acquire()? } else { journal.read()? });
    if really {
        journal.clear()?;
        reported::forget(plan);
    }
    let (mut snapshots, mut place) = (0, String::new());
    if let Some((store, lineage)) = Store::existing(&plan.snapshot_dir())?.zip(lineage) {
        let shelf = Shelf::look(Arc::new(store), &plan.namespace, &plan.name)?;
        (snapshots, place) = (shelf.list(&lineage)?.whole.len(), shelf.describe());
        if really {
            shelf.remove(&lineage)?;
        }
    }
    Ok(Forgotten { journal: journal.describe(), snapshots, place })
}
