//! `runner import`: other programs' configurations as specs, on stdout.

use super::Common;
use super::output::{self, Exit};
use super::remote::fetch;
use crate::connect::{Imported, configs_in, import};
use crate::report::Failure;

#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Turn connectors of Kafka Connect into pipelines.
    Connect(Connect),
}

#[derive(Debug, clap::Args)]
pub struct Connect {
    /// Files of configs (JSON, or a standalone worker's properties), or URLs of a worker:
    /// `http://localhost:8083/connectors`, `http://localhost:8083/connectors/NAME`.
    #[arg(required = true, value_name = "FILE|URL")]
    from: Vec<String>,
    /// End with success although something could not be translated.
    #[arg(long)]
    allow_loss: bool,
}

pub fn run(verb: Verb, common: &Common) -> Exit {
    let Verb::Connect(args) = verb;
    match imported(&args.from) {
        Ok(all) => print(&all, &args, common),
        Err(failure) => {
            output::failure(&failure, common.output);
            Exit::SpecWrong
        }
    }
}

fn imported(from: &[String]) -> Result<Vec<Imported>, Failure> {
    let mut all = Vec::new();
    for place in from {
        let is_url = place.starts_with("http://") || place.starts_with("https://");
        let text = if is_url { fetch_configs(place)? } else { read(place)? };
        let configs = configs_in(&text)
            .map_err(|why| Failure::user("import.no_config", format!("`{place}` holds no connector: {why}")))?;
        all.extend(configs.iter().map(|(name, config)| import(name, config)));
    }
    Ok(all)
}

/// What a worker of Connect answers; where that is the names of its connectors, the configs of all.
fn fetch_configs(url: &str) -> Result<String, Failure> {
    let text = fetch(url)?;
    match serde_json::from_str::<Vec<String>>(&text) {
        Ok(_) => fetch(&format!("{}?expand=info", url.split(['?', '#']).next().unwrap_or(url))),
        Err(_) => Ok(text),
    }
}

fn read(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::user("import.unreadable", format!("`{path}` cannot be read")).because(error))
}

fn print(all: &[Imported], args: &Connect, common: &Common) -> Exit {
    let is_lossy = all.iter().any(|imported| !imported.lost.is_empty());
    if common.output.is_json() {
        let connectors: Vec<_> = all
            .iter()
            .map(|one| serde_json::json!({ "name": one.name, "spec": one.text, "not_translated": one.lost }))
            .collect();
        common.output.print(&serde_json::json!({ "connectors": connectors }));
    } else {
        let texts: Vec<&str> = all.iter().map(|imported| imported.text.as_str()).collect();
        output::put(format_args!("{}", texts.join("---\n")));
    }
    for imported in all {
        imported.lost.iter().for_each(|sentence| eprintln!("not translated: `{}`: {sentence}", imported.name));
    }
    match is_lossy && !args.allow_loss {
        true => Exit::AnswerIsNo,
        false => Exit::Done,
    }
}
