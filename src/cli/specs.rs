//! From the paths of a command line to plans.

use std::path::{Path, PathBuf};

use super::output::{self, Exit, Output};
use crate::plan::resolve::World;
use crate::plan::{Plan, build};
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{self, Documents, Entry, Node, PipelineSpec, Value, Values};

/// Which specs, and the values that their tags ask for.
#[derive(Debug, clap::Args)]
pub struct SpecArgs {
    /// Files, or folders that are searched for *.yaml and *.yml.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub values: ValueArgs,
}

#[derive(Debug, clap::Args)]
pub struct ValueArgs {
    /// A value for `{{ values.NAME }}`; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub sets: Vec<String>,
    /// A YAML file of values; may be repeated, later ones win.
    #[arg(long = "values", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Reads the documents.
pub fn documents(args: &SpecArgs, output: Output) -> Result<(Documents, Diagnostics), Exit> {
    Ok(spec::load(&args.paths, &values(args, output)?))
}

/// Reads the tests among the documents.
pub fn tests(args: &SpecArgs, output: Output) -> Result<(Documents, Diagnostics), Exit> {
    Ok(spec::load_tests(&args.paths, &values(args, output)?))
}

fn values(args: &SpecArgs, output: Output) -> Result<Values, Exit> {
    Values::read(&args.values.files, &args.values.sets).map_err(|failure| {
        output::failure(&failure, output);
        Exit::SpecWrong
    })
}

/// Plans without an error.
pub struct Planned {
    pub documents: Documents,
    pub plans: Vec<Plan>,
    /// Printed already, except as JSON.
    pub warnings: Diagnostics,
}

/// Reads and plans; all errors of specs and plans are printed in one run.
pub fn plans(args: &SpecArgs, world: &dyn World, output: Output) -> Result<Planned, Exit> {
    let (documents, found) = documents(args, output)?;
    let (plans, warnings) = planned(&documents, found, world);
    match output::diagnostics(&warnings, output) {
        Some(exit) => Err(exit),
        None => Ok(Planned { documents, plans, warnings }),
    }
}

/// Plans documents; what is wrong with them stands with what was `found` before, in the order of the files.
pub fn planned(documents: &Documents, mut found: Diagnostics, world: &dyn World) -> (Vec<Plan>, Diagnostics) {
    let mut plans = Vec::new();
    // Follow-on mistakes of a document that could not be read would only confuse.
    if !documents.lost {
        let (built, planning) = build(documents, Path::new(""), world);
        plans = built;
        found.0.extend(planning.0);
    }
    let place = |d: &Diagnostic| d.place.as_ref().map(|place| (place.file.name.clone(), place.span.start));
    found.0.sort_by_cached_key(place);
    (plans, found)
}

/// What `until: end` at each Kafka source would do; `always`: also where it says another end.
pub fn read_until_end(pipeline: &mut PipelineSpec, always: bool) {
    for source in pipeline.sources.iter_mut().filter(|source| source.connector.value == "kafka") {
        let place = source.body.place.clone();
        if let Value::Map(entries) = &mut source.body.value {
            if !always && entries.iter().any(|entry| entry.key == "until") {
                continue;
            }
            entries.retain(|entry| entry.key != "until");
            let value = Node { place: place.clone(), value: Value::String("end".into()) };
            entries.push(Entry { key: "until".into(), key_place: place, value });
        }
    }
}
