//! The order of the pipelines of one command: who writes a topic comes before who reads it.

use std::collections::{BTreeMap, BTreeSet};

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

/// Of each pipeline the indexes of all whose output it reads, directly or through others, and its own.
pub fn with_producers(documents: &Documents) -> Vec<BTreeSet<usize>> {
    let topics: Vec<(BTreeSet<&str>, BTreeSet<&str>)> = documents.pipelines.iter().map(read_and_written).collect();
    let mut writers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, (_, written)) in topics.iter().enumerate() {
        written.iter().for_each(|topic| writers.entry(topic).or_default().push(index));
    }
    let closure = |first: usize| {
        let (mut known, mut open) = (BTreeSet::from([first]), vec![first]);
        while let Some(index) = open.pop() {
            let producers = topics[index].0.iter().filter_map(|topic| writers.get(topic)).flatten();
            open.extend(producers.copied().filter(|producer| known.insert(*producer)));
        }
        known
    };
    (0..topics.len()).map(closure).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Values, load_text};

    #[test]
    fn who_reads_a_topic_needs_whoever_writes_it_and_nobody_else() {
        let pipeline = |name: &str, from: &str, to: &str| {
            format!(
                "---\napiVersion: runner/v1\nkind: Pipeline\nmetadata: {{ name: {name} }}\nspec:\n  sources: {{ a: {{ kafka: {{ topic: {from} }}, format: string }} }}\n  sinks: {{ b: {{ from: a, kafka: {{ topic: {to} }}, format: string }} }}\n"
            )
        };
        let text = [("last", "two", "three"), ("first", "zero", "one"), ("alone", "x", "y"), ("middle", "one", "two")]
            .map(|(name, from, to)| pipeline(name, from, to))
            .concat();
        let (documents, found) = load_text("a.yaml", &text, &Values::default());
        assert_eq!(found.0, []);
        let needed: Vec<Vec<usize>> =
            with_producers(&documents).into_iter().map(|set| set.into_iter().collect()).collect();
        assert_eq!(needed, [vec![0, 1, 3], vec![1], vec![2], vec![1, 3]]);
    }
}
