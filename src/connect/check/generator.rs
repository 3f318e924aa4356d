//! What is wrong between the settings of the generator, in its own words.

use std::path::Path;

use super::super::validation::ConfigInfo;
use super::several::{complain, text};
use crate::connectors::datagen::{QUICKSTARTS, Quickstart, faults};
use crate::registry::avro::{NamedKind, Schema, Type};

const SOURCES: [&str; 3] = ["schema.string", "schema.filename", "quickstart"];

pub fn check(configs: &mut [ConfigInfo]) {
    let given: Vec<&str> = SOURCES.into_iter().filter(|key| !text(configs, key).is_empty()).collect();
    let mut sound = Vec::new();
    for source in &given {
        match sound_schema(source, &text(configs, source)) {
            Ok(schema) => sound.push(schema),
            Err(error) => complain(configs, source, &error),
        }
    }
    if given.len() != 1 {
        let wrong = if given.is_empty() { &SOURCES[..] } else { &given };
        let error = "Must set exactly one of schema.string, schema.filename, quickstart";
        return wrong.iter().for_each(|key| complain(configs, key, error));
    }
    let key = text(configs, "schema.keyfield");
    if !key.is_empty() && sound.first().is_some_and(|schema| !has_field(schema, &key)) {
        let error = "The schema does not contain the field provided in 'schema.keyfield'";
        complain(configs, "schema.keyfield", error);
    }
}

/// The schema that one of the sources gives, if its rules can be followed too.
fn sound_schema(source: &str, given: &str) -> Result<Schema, String> {
    let schema = schema(source, given)?;
    let faults = faults(&schema, Path::new(""));
    if faults.is_empty() {
        return Ok(schema);
    }
    Err(format!("Unable to parse the provided schema: {}", faults.join("; ")))
}

/// The schema that one of the sources gives.
///
/// # Errors
/// The connector's own sentences.
pub fn schema(source: &str, given: &str) -> Result<Schema, String> {
    let parsed = |text: &str| Schema::parse(text).map_err(|why| format!("Unable to parse the provided schema: {why}"));
    match source {
        "quickstart" => Quickstart::find(given).map(Quickstart::schema).ok_or_else(unknown_quickstart),
        "schema.filename" => match bundled(given) {
            Some(quickstart) => Ok(quickstart.schema()),
            None => parsed(&std::fs::read_to_string(given).map_err(|_| "Unable to find the schema file".to_owned())?),
        },
        _ => parsed(given),
    }
}

/// A file that Confluent's connector brings with it, where there is none of that name.
fn bundled(path: &str) -> Option<&'static Quickstart> {
    if Path::new(path).exists() {
        return None;
    }
    let name = path.strip_suffix(".avro")?;
    Quickstart::find(name.strip_suffix("_schema").unwrap_or(name))
}

pub fn unknown_quickstart() -> String {
    let names: Vec<&str> = QUICKSTARTS.iter().map(|quickstart| quickstart.name).collect();
    format!("quickstart must be one out of {}", names.join(","))
}

fn has_field(schema: &Schema, name: &str) -> bool {
    let Type::Definition(top) = &schema.root else { return false };
    match &schema.named[top].kind {
        NamedKind::Record { fields } => fields.iter().any(|field| field.name == name),
        _ => false,
    }
}
