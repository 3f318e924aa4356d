//! `runner plan`: what `apply` would find and do. Changes nothing.

use super::Common;
use super::output::{Exit, Output};
use super::specs::{SpecArgs, plans};
use crate::plan::describe;
use crate::plan::resolve::Servers;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    specs: SpecArgs,
}

pub fn run(args: Args, common: &Common) -> Exit {
    let plans = match plans(&args.specs, &Servers::default(), common.output) {
        Ok((_, plans)) => plans,
        Err(exit) => return exit,
    };
    match common.output {
        Output::Json => {
            let plans: Vec<_> = plans.iter().map(describe::json).collect();
            println!("{}", serde_json::json!({ "plans": plans }));
        }
        Output::Text => {
            let texts: Vec<_> = plans.iter().map(describe::text).collect();
            print!("{}", texts.join("\n"));
        }
    }
    Exit::Done
}
