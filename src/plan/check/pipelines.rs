//! The order of the pipelines of one command: who writes a topic comes before who reads it.

use std::collections::BTreeSet;

use crate::spec::{Document, Documents, Node, PipelineSpec};

/// Indexes of the pipelines, producers first, otherwise as written. Pipelines that feed each other
/// in a circle stay in the order written: the first of them must say what it reads.
pub(super) fn ordered(documents: &Documents) -> Vec<usize> {
    let topics: Vec<(BTreeSet<&str>, BTreeSet<&str>)> = documents.pipelines.iter().map(read_and_written).collect();
    let mut waiting: Vec<usize> = (0..topics.len()).collect();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let is_ready = |index: &usize| {
            let others = waiting.iter().filter(|other| *other != index);
            others.into_iter().all(|other| topics[*other].1.is_disjoint(&topics[*index].0))
        };
        let next = waiting.iter().position(is_ready).unwrap_or(0);
        order.push(waiting.remove(next));
    }
    order
}

fn read_and_written(pipeline: &Document<PipelineSpec>) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let spec = &pipeline.spec;
    let read = spec.sources.iter().filter(|source| source.connector.value == "kafka");
    let sinks = spec.sinks.iter().chain(&spec.dead_letter).filter(|sink| sink.connector.value == "kafka");
    (read.flat_map(|source| topics(&source.body)).collect(), sinks.flat_map(|sink| topics(&sink.body)).collect())
}

fn topics(body: &Node) -> impl Iterator<Item = &str> {
    let many = body.get("topics").and_then(Node::items).unwrap_or_default();
    body.get("topic").into_iter().chain(many).filter_map(Node::as_str)
}

/// Subjects that sources and sinks read or write: those of their topics, and those that they name.
pub(super) fn subjects(documents: &Documents) -> BTreeSet<String> {
    let mut subjects = BTreeSet::new();
    for pipeline in &documents.pipelines {
        let (read, written) = read_and_written(pipeline);
        for topic in read.union(&written) {
            subjects.extend([format!("{topic}-value"), format!("{topic}-key")]);
        }
        let sources = pipeline.spec.sources.iter().map(|source| &source.schema);
        let schemas = sources.chain(pipeline.spec.sinks.iter().map(|sink| &sink.schema)).flatten();
        subjects.extend(schemas.filter_map(|schema| Some(schema.subject.as_ref()?.value.clone())));
    }
    let topics = documents.topics.iter().filter_map(|topic| topic.spec.schema.as_ref()?.subject.as_ref());
    subjects.extend(topics.map(|subject| subject.value.clone()));
    subjects
}
