//! `runner validate PATH…`: checks specs without any server.

use super::output::print;
use super::{Common, Exit, Format, SpecArgs, loaded, print_diagnostics};
use crate::plan;
use crate::plan::resolve::Offline;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    spec: SpecArgs,
}

pub fn run(args: &Args, common: &Common) -> Exit {
    let Some(documents) = loaded(&args.spec, common) else { return Exit::WrongSpec };
    let (plans, diagnostics) = plan::build(&documents, std::path::Path::new(""), &Offline);
    print_diagnostics(&diagnostics, common);
    if diagnostics.has_errors() {
        return Exit::WrongSpec;
    }
    let unchecked: Vec<&str> = plans.iter().flat_map(|plan| &plan.outline.unchecked).map(String::as_str).collect();
    match common.output {
        Format::Json => {
            let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
            let partly = documents.pipelines.len() - plans.len();
            print(&format!(
                "{}\n",
                serde_json::json!({ "valid": names, "partly_checked": partly, "not_checked": unchecked })
            ));
        }
        Format::Text => print(&summary(&plans, documents.pipelines.len(), &unchecked)),
    }
    Exit::Done
}

fn summary(plans: &[plan::Plan], pipelines: usize, unchecked: &[&str]) -> String {
    let mut text: String = plans.iter().map(|plan| format!("{}: good\n", plan.name)).collect();
    text.extend(unchecked.iter().map(|sentence| format!("not checked: {sentence}\n")));
    if plans.len() < pipelines {
        text +=
            &format!("{} of {pipelines} pipelines need a registry to be checked as a whole\n", pipelines - plans.len());
    }
    text
}
