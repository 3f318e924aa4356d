//! A `kind: Test` document, made ready to run: its pipeline planned, its sources and sinks exchanged,
//! its rows read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use super::drive::{BEGINNING, Given, Item};
use super::rows;
use super::tap::Tap;
use crate::connectors::Wanted;
use crate::connectors::memory::{MemorySink, MemorySource};
use crate::data::meta;
use crate::formats::{Decoder, DecoderSpec, Format};
use crate::plan::resolve::{Answer, Cluster, Registries, TopicInfo, World};
use crate::plan::{Input, Mode, OpenDecoder, Plan, SinkPlan, SourcePlan, Step, build_whole};
use crate::registry::{EmbeddedRegistry, Registry};
use crate::report::{Diagnostic, Diagnostics, Failure};
use crate::spec::{self, Document, Node, PipelineSpec, RegistryConnection, Secret, TestSpec, Value, Values};
use crate::time::duration;

/// A test that can be run.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    pub given: Given,
    pub expected: Vec<Expected>,
}

/// What one sink, step, port or the dead letter should give.
#[derive(Debug)]
pub struct Expected {
    pub name: String,
    /// Index among the plan's sinks of the tap that sees it.
    pub sink: usize,
    pub schema: Option<SchemaRef>,
    pub rows: Vec<Node>,
    /// The whole list: what `--bless` writes anew.
    pub place: crate::report::Place,
}

/// Registries of a test are empty ones in a folder that goes away with the test.
#[derive(Debug)]
pub(super) struct TestWorld {
    folder: PathBuf,
}

impl TestWorld {
    pub(super) fn new() -> TestWorld {
        TestWorld { folder: std::env::temp_dir().join(format!("runner-test-{}", uuid::Uuid::new_v4())) }
    }
}

impl Drop for TestWorld {
    fn drop(&mut self) {
        // Where no pipeline used a registry there is no folder.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl World for TestWorld {
    fn fill(&self, text: &Secret) -> Result<String, Failure> {
        Ok(text.to_string())
    }

    fn registry(&self, connection: &str, _: &RegistryConnection, _: &Path) -> Result<Registries, Failure> {
        let registry: Arc<dyn Registry> = Arc::new(EmbeddedRegistry::open(self.folder.clone())?);
        let (shown, connection) = ("a registry of the test".into(), connection.to_owned());
        Ok(Registries { asked: Some(registry.clone()), running: registry, shown, connection })
    }

    fn topic(&self, _: &Cluster, _: &str) -> Result<Answer<Option<TopicInfo>>, Failure> {
        Ok(Answer::NotAsked)
    }
}

/// Plans the test's pipeline and reads its rows.
///
/// # Errors
/// Everything that is wrong with the pipeline and the test, in one run.
pub fn prepare(test: &Document<TestSpec>) -> Result<Case, Diagnostics> {
    let mut out = Diagnostics::default();
    let world = TestWorld::new();
    let case = planned(test, &world, &mut out).and_then(|(plan, spec)| {
        register(&plan, test, &mut out)?;
        exchange(test, plan, &spec, &mut out)
    });
    match case {
        Some(case) if !out.has_errors() => Ok(case),
        _ => Err(out),
    }
}

/// `PATH` or `PATH#NAME`.
fn planned(
    test: &Document<TestSpec>,
    world: &TestWorld,
    out: &mut Diagnostics,
) -> Option<(Plan, Document<PipelineSpec>)> {
    let written = &test.spec.pipeline;
    let (path, wanted) = match written.value.split_once('#') {
        Some((path, name)) => (path, Some(name)),
        None => (written.value.as_str(), None),
    };
    let path = test.folder.join(path);
    if !path.exists() {
        let title = format!("there is no pipeline file `{}`", path.display());
        out.push(
            Diagnostic::error("test.no_pipeline", title).at(&written.place).hint("the path is from the test's folder"),
        );
        return None;
    }
    let env = test.spec.env.iter().map(|(name, value)| (name.value.clone(), value.clone())).collect();
    let given = test.spec.values.as_ref().map(Node::to_json);
    let values = match given {
        Some(serde_json::Value::Object(values)) => Values { env, values },
        _ => Values { env, ..Values::default() },
    };
    let (documents, found) = spec::load(&[path], &values);
    out.0.extend(found.0);
    let (plans, found) = build_whole(&documents, Path::new("."), world);
    // Warnings are for `validate`; a test is about rows.
    out.0.extend(found.0.into_iter().filter(|d| d.severity == crate::report::Severity::Error));
    if out.has_errors() {
        return None;
    }
    let names: Vec<String> = plans.iter().map(|plan| plan.name.clone()).collect();
    let chosen = plans.into_iter().find(|plan| wanted.is_none_or(|name| name == plan.name));
    let many = wanted.is_none() && names.len() > 1;
    match chosen {
        Some(plan) if !many => {
            let spec = documents.pipelines.into_iter().find(|document| document.metadata.name.value == plan.name)?;
            Some((plan, spec))
        }
        _ => {
            let title = if many { "the file has several pipelines" } else { "the file has no such pipeline" };
            out.push(
                Diagnostic::error("test.which_pipeline", title)
                    .at(&written.place)
                    .note(format!("it has: {}", names.join(", ")))
                    .hint("write `PATH#NAME`"),
            );
            None
        }
    }
}

fn register(plan: &Plan, test: &Document<TestSpec>, out: &mut Diagnostics) -> Option<()> {
    for subject in &plan.outline.subjects {
        let registered = subject.registry.as_ref()?.register(&subject.subject, &subject.schema);
        match registered {
            Ok(id) => drop(subject.id.set(id)),
            Err(failure) => {
                out.push(Diagnostic::error("test.registry", failure.to_string()).at(&test.spec.pipeline.place));
                return None;
            }
        }
    }
    Some(())
}

/// Memory for the sources, taps for the sinks and for what else is expected.
fn exchange(
    test: &Document<TestSpec>,
    mut plan: Plan,
    spec: &Document<PipelineSpec>,
    out: &mut Diagnostics,
) -> Option<Case> {
    let memory = |source: &SourcePlan| {
        let topics = Some(source.source.topics()).filter(|topics| topics.len() > 1).unwrap_or_default();
        MemorySource::new(&source.name, 1).with_topics(topics)
    };
    let sources: Vec<MemorySource> = plan.sources.iter().map(memory).collect();
    for (source, memory) in plan.sources.iter_mut().zip(&sources) {
        exchange_source(source, memory, spec);
    }
    for sink in &mut plan.sinks {
        sink.sink = Arc::new(MemorySink);
        sink.encode = Arc::new(Tap { inner: Some(sink.encode.clone()), mode: sink.mode });
    }
    let expected = expected(test, &mut plan, out);
    let script = script(&test.spec.given, &plan, &sources, out);
    let name = test.metadata.name.value.clone();
    Some(Case {
        name,
        given: Given { plan: Arc::new(plan), sources, script, changes: Vec::new(), told: None },
        expected: expected?,
    })
}

/// Rows are given as JSON; sources of JSON keep their own decoder, the others get one of their columns.
fn exchange_source(source: &mut SourcePlan, memory: &MemorySource, spec: &Document<PipelineSpec>) {
    let written = spec.spec.sources.iter().find(|written| written.name.value == source.name);
    let format = written.and_then(|source| source.format.as_ref()).map(|format| format.name.value.as_str());
    if format != Some("json") || source.values.is_none() {
        let columns: Vec<_> =
            source.schema.fields().iter().filter(|field| !meta::is_meta(field.name())).cloned().collect();
        source.values = Some(Arc::new(JsonColumns(Arc::new(Schema::new(columns)))));
    }
    source.source = Arc::new(memory.clone());
    source.wanted = Wanted { keys: true, headers: true, ..Wanted::default() };
}

#[derive(Debug)]
struct JsonColumns(SchemaRef);

impl OpenDecoder for JsonColumns {
    fn open(&self) -> Result<Box<dyn Decoder>, Failure> {
        DecoderSpec { format: Format::Json, schema: self.0.clone(), avro: None }.open()
    }
}

fn expected(test: &Document<TestSpec>, plan: &mut Plan, out: &mut Diagnostics) -> Option<Vec<Expected>> {
    let Value::Map(entries) = &test.spec.expect.value else {
        out.push(
            Diagnostic::error("test.expect", "`expect` is a map of sinks, steps or ports").at(&test.spec.expect.place),
        );
        return None;
    };
    let mut all = Vec::new();
    for entry in entries {
        let Some(rows) = rows_of(&entry.value) else {
            out.push(Diagnostic::error("test.expect", "expected rows are a list").at(&entry.value.place));
            continue;
        };
        let Some((sink, schema)) = tapped(plan, &entry.key) else {
            let known: Vec<String> = names(plan);
            let mistake = Diagnostic::error("test.unknown_name", format!("the pipeline has no `{}`", entry.key));
            let known_names = known.iter().map(String::as_str);
            out.push(
                mistake
                    .at(&entry.key_place)
                    .note(format!("it has: {}", known.join(", ")))
                    .did_you_mean(&entry.key, known_names),
            );
            continue;
        };
        let place = entry.value.place.clone();
        all.push(Expected { name: entry.key.clone(), sink, schema, rows: rows.to_vec(), place });
    }
    Some(all)
}

fn rows_of(node: &Node) -> Option<&[Node]> {
    match &node.value {
        Value::Null => Some(&[]),
        _ => node.items(),
    }
}

fn names(plan: &Plan) -> Vec<String> {
    let sinks = plan.sinks.iter().map(|sink| sink.name.clone());
    sinks
        .chain(plan.steps.iter().map(|step| step.name.clone()))
        .chain(plan.sources.iter().map(|s| s.name.clone()))
        .collect()
}

/// The sink that sees what goes by this name; made if it is a step or port.
fn tapped(plan: &mut Plan, name: &str) -> Option<(usize, Option<SchemaRef>)> {
    if name == "dead_letter" {
        return plan.dead_letter.map(|sink| (sink, None));
    }
    if let Some(sink) = plan.sinks.iter().position(|sink| sink.name == name) {
        let schema = plan.sinks[sink].input.map(|input| plan.columns(input));
        return Some((sink, schema));
    }
    let (step, port) = name.split_once('.').unwrap_or((name, ""));
    let input = match plan.steps.iter().position(|found| found.name == step) {
        Some(index) => match (port, &plan.steps[index].step) {
            ("", _) => Input::Step(index),
            ("late", Step::Stateful(_)) => Input::Late(index),
            ("rest", _) => Input::Rest(index),
            ("failed", Step::Rows(_)) => Input::Failed(index),
            _ => return None,
        },
        None => {
            let source = plan.sources.iter().position(|source| source.name == step)?;
            match port {
                "" => Input::Source(source),
                "failed" => Input::SourceFailed(source),
                _ => return None,
            }
        }
    };
    let schema = plan.columns(input);
    plan.sinks.push(SinkPlan {
        name: name.to_owned(),
        input: Some(input),
        sink: Arc::new(MemorySink),
        encode: Arc::new(Tap { inner: None, mode: Mode::Upsert }),
        mode: Mode::Upsert,
    });
    Some((plan.sinks.len() - 1, Some(schema)))
}

/// A list is run in its order. A map has rows per source: they are given turn by turn.
fn script(given: &Node, plan: &Plan, sources: &[MemorySource], out: &mut Diagnostics) -> Vec<Item> {
    let mut script = Vec::new();
    match &given.value {
        Value::List(items) => {
            let only = (plan.sources.len() == 1).then_some(0);
            for item in items {
                script.extend(self::item(item, only, plan, out));
            }
        }
        Value::Map(entries) => {
            let mut queues = Vec::new();
            for entry in entries {
                let Some(source) = plan.sources.iter().position(|source| source.name == entry.key) else {
                    let known: Vec<&str> = plan.sources.iter().map(|source| source.name.as_str()).collect();
                    out.push(
                        Diagnostic::error("test.unknown_source", format!("the pipeline has no source `{}`", entry.key))
                            .at(&entry.key_place)
                            .note(format!("it has: {}", known.join(", ")))
                            .did_you_mean(&entry.key, known.iter().copied()),
                    );
                    continue;
                };
                let items = entry.value.items().unwrap_or_default();
                let items: Vec<Item> =
                    items.iter().filter_map(|item| self::item(item, Some(source), plan, out)).collect();
                queues.push(items.into_iter());
            }
            let longest = queues.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
            for _ in 0..longest {
                script.extend(queues.iter_mut().filter_map(Iterator::next));
            }
        }
        _ => out.push(
            Diagnostic::error("test.given", "`given` is a list of rows, or a map of sources with their rows")
                .at(&given.place),
        ),
    }
    // Partitions are made before the run, so that every lane has its share from the beginning.
    for item in &script {
        if let Item::Row { source, partition, .. } = item {
            sources[*source].make(*partition);
        }
    }
    script
}

/// A row, `cut`, `crash`, `wait: 6s`; in a pipeline of several sources a row of a list is `SOURCE: {…}`.
fn item(node: &Node, source: Option<usize>, plan: &Plan, out: &mut Diagnostics) -> Option<Item> {
    match (&node.value, node.entries()) {
        (Value::String(word), _) if word == "cut" => return Some(Item::Cut),
        (Value::String(word), _) if word == "crash" => return Some(Item::Crash),
        (_, Some([entry])) if entry.key == "wait" && entry.value.as_str().is_some() => {
            match duration::parse(entry.value.as_str().unwrap_or_default()) {
                Ok(ms) => return Some(Item::Wait(ms)),
                Err(wrong) => {
                    out.push(Diagnostic::error("test.wait", wrong).at(&entry.value.place));
                    return None;
                }
            }
        }
        _ => {}
    }
    let (source, row) = match (source, node.entries()) {
        (Some(source), _) => (source, node),
        (None, Some([entry])) => (plan.sources.iter().position(|source| source.name == entry.key)?, &entry.value),
        (None, _) => {
            out.push(
                Diagnostic::error("test.which_source", "the pipeline has several sources")
                    .at(&node.place)
                    .hint("write rows as `SOURCE: {…}`, or `given` as a map of sources"),
            );
            return None;
        }
    };
    let SourcePlan { schema, source: given, .. } = &plan.sources[source];
    let (partition, record) = rows::record(row, schema, given.topics(), BEGINNING, out)?;
    Some(Item::Row { source, partition, record })
}
