//! From the paths of a command line to plans.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::connectors::Sent;
use super::output::{self, Exit, Output};
use crate::connect::{Worker, expand};
use crate::deploy::submission::{SpecFile, Submission};
use crate::plan::resolve::World;
use crate::plan::{Plan, build};
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{self, ConnectorState, Documents, Entry, Node, PipelineSpec, Value, Values};

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
    let (mut documents, mut found) = spec::load(&args.paths, &values(args, output)?);
    found.0.extend(expand(&mut documents, &Worker::default()).0);
    Ok((documents, found))
}

/// Reads the tests among the documents.
pub fn tests(args: &SpecArgs, output: Output) -> Result<(Documents, Diagnostics), Exit> {
    Ok(spec::load_tests(&args.paths, &values(args, output)?))
}

fn values(args: &SpecArgs, output: Output) -> Result<Values, Exit> {
    values_of(&args.values, output)
}

fn values_of(args: &ValueArgs, output: Output) -> Result<Values, Exit> {
    Values::read(&args.files, &args.sets).map_err(|failure| {
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

/// Specs to be submitted, and the connectors among them, which a server has under their own names; `None`: there is nothing else.
pub fn beside_connectors(
    paths: &[PathBuf],
    values: &ValueArgs,
    output: Output,
) -> Result<(Option<Submission>, Vec<Sent>), Exit> {
    let values = values_of(values, output)?;
    let (mut documents, mut found) = spec::load(paths, &values);
    let sent = Sent::all(&documents);
    if !sent.is_empty() {
        // The server has them in their states; they are looked into all the same.
        documents.connectors.iter_mut().for_each(|one| one.spec.state.value = ConnectorState::Running);
    }
    found.0.extend(expand(&mut documents, &Worker::default()).0);
    if let Some(exit) = output::diagnostics(&found, output) {
        return Err(exit);
    }
    documents.pipelines.retain(|pipeline| {
        let (name, namespace) = (&pipeline.metadata.name.value, &pipeline.metadata.namespace);
        sent.iter().map(Sent::pipeline).all(|made| (&made.name, &made.namespace) != (name, namespace))
    });
    let is_all = documents.pipelines.is_empty() && !sent.is_empty();
    Ok(((!is_all).then(|| Submission::of_files(files(&documents), values)), sent))
}

/// The files that hold documents other than tests, by their whole paths: the server has another working directory.
fn files(documents: &Documents) -> Vec<SpecFile> {
    // Those of connectors stand for them.
    let Documents { pipelines, topics, schemas, connections, connectors: _, tests: _, lost: _ } = documents;
    let places = pipelines.iter().map(|document| &document.place);
    let places = places.chain(topics.iter().map(|document| &document.place));
    let places = places.chain(schemas.iter().map(|document| &document.place));
    let places = places.chain(connections.iter().map(|document| &document.place));
    let texts: BTreeMap<&str, &str> =
        places.map(|place| (place.file.name.as_str(), place.file.text.as_str())).collect();
    let whole =
        |name: &str| std::path::absolute(name).map_or_else(|_| name.to_owned(), |path| path.display().to_string());
    texts.into_iter().map(|(name, text)| SpecFile { name: whole(name), text: text.to_owned() }).collect()
}
