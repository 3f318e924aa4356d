//! `runner plan PATH…`: what `apply` would do.

use super::output::print;
use super::{Common, Exit, Format, SpecArgs, loaded, print_diagnostics};
use crate::plan::resolve::Servers;
use crate::plan::{self, describe};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    spec: SpecArgs,
}

pub fn run(args: &Args, common: &Common) -> Exit {
    let Some(documents) = loaded(&args.spec, common) else { return Exit::WrongSpec };
    let (plans, diagnostics) = plan::build(&documents, std::path::Path::new(""), &Servers::default());
    print_diagnostics(&diagnostics, common);
    match common.output {
        Format::Json => {
            let plans: Vec<serde_json::Value> = plans.iter().map(describe::json).collect();
            print(&format!("{:#}\n", serde_json::json!({ "plans": plans })));
        }
        Format::Text => print(&plans.iter().map(describe::text).collect::<Vec<_>>().join("\n")),
    }
    if diagnostics.has_errors() { Exit::WrongSpec } else { Exit::Done }
}
