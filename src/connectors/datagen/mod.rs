//! Generator source: rows made up by rules, without any server.
//!
//! The same schema and seed give the data of Confluent's generator and its connector, bit for bit.
//! A task is a partition with a random stream of its own; its position holds all that the next
//! record depends on (I20), so replay makes the same rows again. Delivery: exactly once.
//!
//! `rules` reads schema and rules to `kinds`, `types` gives their Arrow columns, `generate` makes rows,
//! `reader` is a share of the tasks at work, `pace` says when. `quickstarts` are ready-made schemas,
//! `keys` what one generator knows of another.

mod bounds;
mod columns;
mod constants;
mod decimal;
mod files;
mod generate;
mod iteration;
mod keys;
mod kinds;
mod maps;
mod pace;
mod pick;
mod quickstarts;
mod random;
mod reader;
mod regex;
mod rules;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema as ArrowSchema, SchemaRef};
use schemars::{Schema as JsonSchema, SchemaGenerator, json_schema};
use serde_json::Value as Json;

use self::columns::RuledColumns;
use self::iteration::Iteration;
pub use self::keys::Peers;
use self::kinds::Rules;
use self::pace::{Pace, Schedule};
pub use self::quickstarts::{QUICKSTARTS, Quickstart};
use self::reader::{TaskPosition, TaskReader, task_seed};
use self::rules::{Problem, RULES, World};
use super::{PartitionStart, Reader, Source, Wanted};
use crate::data::{Partition, Position, SourceIndex, fields, meta};
use crate::registry::avro::Schema;
use crate::report::{Diagnostic, Diagnostics, Failure, Place, Severity};
use crate::spec::{DurationMs, FromNode, Node, Spanned, Value, or_tag, wrong_type};

const TASKS_MAX: u32 = 1_000;
const DEFAULT_RATE: f64 = 10.0;

crate::options! {
    /// Options of `datagen:`. One of `schema`, `columns` and `quickstart` is needed.
    pub struct Options {
        /// Avro schema with rules (`arg.properties` on its types): a map, JSON text, or the path of
        /// a file. Example: `schema: schemas/ratings.avsc`.
        pub schema: Option<SchemaOption>,
        /// Columns, each a type, or a type with rules: options, zipf, range, iteration, length, regex, odds,
        /// prefix, suffix, keys, now, late, nulls, reference.
        /// Example: `columns: {id: {type: long, iteration: {start: 1}}}`.
        pub columns: Option<Spanned<RuledColumns>>,
        /// A ready-made schema by its name, one of Confluent's connector. Example: `quickstart: users`.
        pub quickstart: Option<Spanned<String>>,
        /// How many records all tasks together make. Default: no end.
        pub count: Option<u64>,
        /// Time between two records of all tasks together. Example: `interval: 100ms`.
        pub interval: Option<Spanned<DurationMs>>,
        /// Longest time between two records; each pause is random, half of this on the average.
        pub max_interval: Option<Spanned<DurationMs>>,
        /// Records a second, all tasks together, or `max` for full speed. Default: 10.
        pub rate: Option<Spanned<Rate>>,
        /// Makes the data reproducible. Default: chosen at random at the first start, then kept.
        pub seed: Option<i64>,
        /// Independent generators, each a partition of the source. Default: 1.
        pub tasks: Option<Spanned<u32>>,
        /// `count`, `interval`, `max_interval` and `rate` hold for each task by itself, not for all together. Default: false.
        pub per_task: Option<bool>,
        /// Several tasks share out the numbers of iterations among them, instead of each counting for itself. Default: false.
        pub disjoint: Option<bool>,
    }
}

/// An Avro schema as it was written: inline, as text, or as a path.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaOption(pub Node);

impl FromNode for SchemaOption {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match node.value {
            Value::Map(_) | Value::String(_) => Some(SchemaOption(node.clone())),
            _ => wrong_type(node, "an Avro schema: a map, JSON text, or a path", out),
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> JsonSchema {
        json_schema!({ "type": ["object", "string"] })
    }
}

/// Records a second; infinite for `max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(pub f64);

impl FromNode for Rate {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        const EXPECTED: &str = "a number of records a second above 0, or `max`";
        if node.as_str() == Some("max") {
            return Some(Rate(f64::INFINITY));
        }
        // A text that is no number is only wrong here; a tag may have been filled in with one.
        let text = node.scalar_text().unwrap_or_default();
        match text.trim().parse::<f64>() {
            Ok(rate) if rate > 0.0 && rate.is_finite() => Some(Rate(rate)),
            _ => wrong_type(node, EXPECTED, out),
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> JsonSchema {
        or_tag(json_schema!({ "anyOf": [{ "const": "max" }, { "type": "number", "exclusiveMinimum": 0 }] }))
    }
}

/// A generator, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Datagen {
    rules: Rules,
    schema: SchemaRef,
    avro: Json,
    count: Option<u64>,
    pace: Pace,
    seed: Option<i64>,
    tasks: u32,
    /// Count and pace hold for each task by itself.
    per_task: bool,
    /// Tasks share out the numbers of iterations.
    disjoint: bool,
    contents: Vec<String>,
}

/// A field of a schema that was not written for this language may be called like metadata: its column has an underscore
/// behind, and formats know the field's own name.
fn unreserved(field: &FieldRef) -> FieldRef {
    if !meta::is_meta(field.name()) {
        return field.clone();
    }
    let mut metadata = field.metadata().clone();
    metadata.insert(fields::FIELD.to_owned(), field.name().clone());
    let name = format!("{}_", field.name());
    Arc::new(field.as_ref().clone().with_name(name).with_metadata(metadata))
}

impl Datagen {
    /// Reads and checks `datagen:`; `place` is the whole body's, for what is missing, `folder` the one that relative
    /// paths begin at, and `peers` are the other generators of the pipeline, which rules may refer to.
    pub fn from_options(
        options: &Options,
        place: &Place,
        folder: &Path,
        peers: Peers<'_>,
        out: &mut Diagnostics,
    ) -> Option<Datagen> {
        let keys = |name: &str| keys::known(name, folder, peers);
        Datagen::read(options, place, World { folder, keys: Some(&keys) }, out)
    }

    fn read(options: &Options, place: &Place, world: World<'_>, out: &mut Diagnostics) -> Option<Datagen> {
        let pace = read_pace(options, out);
        let tasks = read_tasks(options, out);
        let generation = read_generation(options, place, world, out);
        let ((schema, mut rules), pace, tasks) = (generation?, pace?, tasks?);
        let mut contents = std::mem::take(&mut rules.contents);
        if let Some(SchemaOption(node)) = &options.schema
            && node.as_str().is_some_and(is_path)
        {
            contents.push(schema.to_json().to_string());
        }
        let DataType::Struct(fields) = rules.root.field.data_type() else { return None };
        // Columns that are written here are refused by such a name.
        let fields = if options.columns.is_some() { fields.clone() } else { fields.iter().map(unreserved).collect() };
        Some(Datagen {
            schema: Arc::new(ArrowSchema::new(fields)),
            avro: without_rules(schema),
            rules,
            count: options.count,
            pace,
            seed: options.seed,
            tasks,
            per_task: options.per_task.unwrap_or(false),
            disjoint: options.disjoint.unwrap_or(false),
            contents,
        })
    }

    /// The columns of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The rows as an Avro schema, without the rules: names, namespace, docs and defaults.
    pub fn avro_schema(&self) -> Json {
        self.avro.clone()
    }

    /// When task `task`'s records are due.
    fn schedule(&self, task: u32) -> Schedule {
        if self.per_task { Schedule::new(self.pace, task, 1) } else { Schedule::new(self.pace, task, self.tasks) }
    }

    /// Task `task`'s share of `count`: the first ones make one more.
    fn count_of(&self, task: u32) -> Option<u64> {
        let (count, tasks) = (self.count?, u64::from(self.tasks));
        if self.per_task {
            return Some(count);
        }
        Some(count / tasks + u64::from(u64::from(task) < count % tasks))
    }

    /// What a task counts.
    fn iterations(&self, task: u32) -> Vec<Iteration> {
        let own = |iteration: &Iteration| if self.disjoint { iteration.share(task, self.tasks) } else { *iteration };
        self.rules.iterations.iter().map(own).collect()
    }

    fn first_position(&self, seed: i64, task: u32) -> Position {
        let counters = self.iterations(task).iter().map(Iteration::first).collect();
        TaskPosition { record: 0, seed: task_seed(seed, task), counters, generation: 0 }.position()
    }
}

impl Source for Datagen {
    fn connector(&self) -> &'static str {
        "datagen"
    }

    fn discover(&self, known: &BTreeMap<Partition, Position>) -> Result<Vec<PartitionStart>, Failure> {
        // Chosen once: the engine journals the positions that are given here (I20).
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(0) as i64);
        let start = |task: u32| -> Result<PartitionStart, Failure> {
            let partition = task as Partition;
            let start = match known.get(&partition) {
                Some(position) => TaskPosition::counted(position, &self.iterations(task))?.position(),
                None => self.first_position(seed, task),
            };
            Ok(PartitionStart { partition, start, end: None, max_timestamp: None })
        };
        (0..self.tasks).map(start).collect()
    }

    fn open(
        &self,
        _source: SourceIndex,
        share: &[PartitionStart],
        _wanted: Wanted,
    ) -> Result<Box<dyn Reader>, Failure> {
        Ok(Box::new(TaskReader::new(self, share)?))
    }

    fn has_timestamps(&self) -> bool {
        false
    }

    fn contents(&self) -> &[String] {
        &self.contents
    }
}

fn read_pace(options: &Options, out: &mut Diagnostics) -> Option<Pace> {
    let interval = options.interval.as_ref().map(|given| {
        let ms = given.value.0;
        ("interval", &given.place, if ms == 0 { Pace::Max } else { Pace::PerSecond(1_000.0 / ms as f64) })
    });
    let max_interval = options.max_interval.as_ref().map(|given| {
        let max_ms = given.value.0;
        ("max_interval", &given.place, if max_ms == 0 { Pace::Max } else { Pace::Jitter { max_ms } })
    });
    let rate = options.rate.as_ref().map(|given| {
        let rate = given.value.0;
        ("rate", &given.place, if rate.is_infinite() { Pace::Max } else { Pace::PerSecond(rate) })
    });
    let given: Vec<_> = [interval, max_interval, rate].into_iter().flatten().collect();
    match given.as_slice() {
        [] => Some(Pace::PerSecond(DEFAULT_RATE)),
        [(_, _, pace)] => Some(*pace),
        [(first, ..), (second, place, _), ..] => {
            let title = format!("`{second}` and `{first}` both say how fast records are made");
            out.push(Diagnostic::error("datagen.pace", title).at(place).hint("keep one of them"));
            None
        }
    }
}

fn read_tasks(options: &Options, out: &mut Diagnostics) -> Option<u32> {
    match &options.tasks {
        None => Some(1),
        Some(tasks) if (1..=TASKS_MAX).contains(&tasks.value) => Some(tasks.value),
        Some(tasks) => {
            let title = format!("expected between 1 and {TASKS_MAX} tasks, found {}", tasks.value);
            out.push(Diagnostic::error("datagen.tasks", title).at(&tasks.place));
            None
        }
    }
}

fn read_generation(
    options: &Options,
    place: &Place,
    world: World<'_>,
    out: &mut Diagnostics,
) -> Option<(Schema, Rules)> {
    let written = written(options, place, out)?;
    let schema = match &written {
        Written::Schema(node) => read_schema(node, world.folder, out)?,
        Written::Columns(columns) => Schema::from_json(&columns::to_avro(&columns.value.0, out)?),
        Written::Quickstart(name) => match Quickstart::find(&name.value) {
            Some(quickstart) => Ok(quickstart.schema()),
            None => {
                let names = QUICKSTARTS.iter().map(|quickstart| quickstart.name);
                out.push(
                    Diagnostic::error("datagen.quickstart", format!("there is no quickstart `{}`", name.value))
                        .at(&name.place)
                        .note(format!("quickstarts are {}", names.clone().collect::<Vec<_>>().join(", ")))
                        .did_you_mean(&name.value.to_lowercase(), names),
                );
                return None;
            }
        },
    };
    let schema = match schema {
        Ok(schema) => schema,
        Err(why) => {
            let title = format!("the schema is not valid Avro: {why}");
            out.push(Diagnostic::error("datagen.schema", title).at(written.place(&[])));
            return None;
        }
    };
    let (rules, problems) = Rules::read(&schema, world);
    problems.into_iter().for_each(|problem| out.push(diagnostic(problem, &written)));
    Some((schema, rules?))
}

/// What is wrong with the rules of a schema, each with its field; paths of files begin at `folder`.
pub fn faults(schema: &Schema, folder: &Path) -> Vec<String> {
    let (_, problems) = Rules::read(schema, World { folder, keys: None });
    let wrong = problems.into_iter().filter(|problem| problem.severity == Severity::Error);
    let shown = |problem: Problem| match problem.path.is_empty() {
        true => problem.message,
        false => format!("field `{}`: {}", problem.path.join("."), problem.message),
    };
    wrong.map(shown).collect()
}

/// The one of `schema`, `columns` and `quickstart` that is given.
fn written<'a>(options: &'a Options, place: &Place, out: &mut Diagnostics) -> Option<Written<'a>> {
    let schema = options.schema.as_ref().map(|SchemaOption(node)| Written::Schema(node));
    let columns = options.columns.as_ref().map(Written::Columns);
    let quickstart = options.quickstart.as_ref().map(Written::Quickstart);
    let mut given: Vec<Written> = [schema, columns, quickstart].into_iter().flatten().collect();
    match given.as_slice() {
        [_] => given.pop(),
        [] => {
            out.push(
                Diagnostic::error("datagen.no_schema", "`datagen` needs `schema`, `columns` or `quickstart`")
                    .at(place)
                    .hint("for example `columns: {id: {type: long, iteration: {start: 1}}}`"),
            );
            None
        }
        [first, second, ..] => {
            let title = format!("`{}` and `{}` both describe the records", second.key(), first.key());
            out.push(Diagnostic::error("datagen.no_schema", title).at(second.place(&[])).hint("keep one of them"));
            None
        }
    }
}

/// A map, JSON text, or a path. The outer error is reported already.
fn read_schema(node: &Node, folder: &Path, out: &mut Diagnostics) -> Option<Result<Schema, String>> {
    let Some(text) = node.as_str() else { return Some(Schema::from_json(&node.to_json())) };
    if !is_path(text) {
        return Some(Schema::parse(text));
    }
    match std::fs::read_to_string(folder.join(text)) {
        Ok(text) => Some(Schema::parse(&text)),
        Err(error) => {
            out.push(
                Diagnostic::error("datagen.schema", format!("the schema file `{text}` cannot be read: {error}"))
                    .at(&node.place)
                    .note(format!("relative paths begin at `{}`", folder.display())),
            );
            None
        }
    }
}

/// A schema's text is JSON.
fn is_path(text: &str) -> bool {
    !text.trim_start().starts_with(['{', '[', '"'])
}

/// Where rules were written.
enum Written<'a> {
    Schema(&'a Node),
    Columns(&'a Spanned<RuledColumns>),
    Quickstart(&'a Spanned<String>),
}

impl Written<'_> {
    fn key(&self) -> &'static str {
        match self {
            Written::Schema(_) => "schema",
            Written::Columns(_) => "columns",
            Written::Quickstart(_) => "quickstart",
        }
    }

    /// The place of the field on this path, as far as it was written inline.
    fn place(&self, path: &[String]) -> &Place {
        match self {
            Written::Quickstart(name) => &name.place,
            Written::Columns(columns) => columns::place(&columns.value.0, path).unwrap_or(&columns.place),
            Written::Schema(schema) => {
                let mut at = *schema;
                for name in path {
                    let Some(inner) = field_of(at, name) else { break };
                    at = inner;
                }
                &at.place
            }
        }
    }
}

fn diagnostic(problem: Problem, written: &Written) -> Diagnostic {
    let diagnostic = match problem.severity {
        Severity::Error => Diagnostic::error(problem.code, problem.message),
        Severity::Warning => Diagnostic::warning(problem.code, problem.message),
    };
    let diagnostic = diagnostic.at(written.place(&problem.path));
    if problem.path.is_empty() {
        return diagnostic;
    }
    diagnostic.label(format!("field `{}`", problem.path.join(".")))
}

/// A field of an Avro record, at any depth of arrays, maps and unions.
fn field_of<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    if let Some(fields) = node.get("fields").and_then(Node::items) {
        return fields.iter().find(|field| field.get("name").and_then(Node::as_str) == Some(name));
    }
    let inner = ["type", "items", "values"].iter().find_map(|key| field_of(node.get(key)?, name));
    inner.or_else(|| node.items()?.iter().find_map(|branch| field_of(branch, name)))
}

/// The schema of the rows: rules are no part of it, and a made-up uuid is just text.
fn without_rules(mut schema: Schema) -> Json {
    schema.retain_properties(&|key, value| key != RULES && !(key == "logicalType" && value == "uuid"));
    schema.to_json()
}
