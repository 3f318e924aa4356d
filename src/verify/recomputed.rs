//! What a sink should have, computed again: the source's records through the pipeline's own row steps and encoders.
//!
//! Steps that keep state are not computed: a sink behind one cannot be judged so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::expected::{Expectation, Expected, Part, origin};
use super::order::Place;
use super::report::partition_of;
use crate::connectors::{Bell, Fetched, PartitionStart, Payload, Reader};
use crate::data::{
    EncodedRecord, EncodedRows, Mark, Offset, Partition, PartitionName, Position, SourceIndex, partition,
};
use crate::engine::graph::{Branch, Consumer, Graph};
use crate::engine::lane::Lane;
use crate::engine::metrics::Metrics;
use crate::plan::outline::TopicState;
use crate::plan::{Input, Plan, Step};
use crate::report::Failure;
use crate::time::{Millis, SystemClock, Watermark};

/// Where sources began, by name, as the journal has it.
pub type Starts = BTreeMap<String, BTreeMap<PartitionName, Position>>;

/// Records that are computed together: a place among them is known to be that near.
const POLL_ROWS: usize = 4_096;
const WAIT: Duration = Duration::from_millis(200);

/// A sink's records, computed.
pub struct Recomputed {
    plan: Arc<Plan>,
    graph: Graph,
    sink: usize,
    sources: Vec<OneSource>,
    topics: Vec<Arc<str>>,
    parts: Vec<Part>,
    clock: Millis,
    bell: Bell,
    read: u64,
}

struct OneSource {
    index: usize,
    shares: Vec<PartitionStart>,
    lane: Lane,
    reader: Box<dyn Reader>,
    /// By partition.
    parts: BTreeMap<Partition, OfPart>,
    /// Records to be read, as far as offsets tell.
    total: u64,
    ended: bool,
}

struct OfPart {
    /// Index in [`Recomputed::parts`].
    part: u32,
    /// How many records it gave.
    made: i64,
    /// Per poll: the ordinal of its first record, and the offsets that it read.
    polls: Vec<(i64, Offset, Offset)>,
}

/// Why a sink cannot be computed again; `None`: it can.
pub fn why_not(plan: &Plan, sink: usize) -> Option<String> {
    let Some(input) = plan.sinks[sink].input else { return Some("it takes what fails".into()) };
    match sources_of(plan, input) {
        Err(why) => Some(why),
        Ok(sources) => sources.into_iter().find_map(|source| match plan.sources[source].source.connector() {
            "kafka" | "file" => None,
            other => {
                Some(format!("source `{}` is {other}, which has no end and is not kept", plan.sources[source].name))
            }
        }),
    }
}

/// The sources of an input, or which step keeps state.
fn sources_of(plan: &Plan, input: Input) -> Result<BTreeSet<usize>, String> {
    match input {
        Input::Source(source) | Input::SourceFailed(source) => Ok([source].into()),
        Input::Step(step) | Input::Late(step) | Input::Rest(step) | Input::Failed(step) => match &plan.steps[step].step
        {
            Step::Rows(_) => sources_of(plan, plan.steps[step].input),
            Step::Stateful(_) => Err(format!("it stands behind `{}`, which keeps state", plan.steps[step].name)),
        },
        Input::Union(union) => {
            let inputs = plan.unions[union].inputs.iter();
            let sources: Result<Vec<_>, _> = inputs.map(|input| sources_of(plan, *input)).collect();
            Ok(sources?.into_iter().flatten().collect())
        }
    }
}

impl Recomputed {
    /// Finds the sources' ends and begins to read. Sources that read for ever must have been planned with an end.
    ///
    /// # Errors
    /// `verify.stateful`, or what opening a source fails with.
    pub fn open(plan: Arc<Plan>, sink: usize, starts: &Starts) -> Result<Recomputed, Failure> {
        if let Some(why) = why_not(&plan, sink) {
            let title = format!("sink `{}` cannot be verified: {why}", plan.sinks[sink].name);
            return Err(Failure::user("verify.stateful", title));
        }
        let wanted = plan.sinks[sink].input.and_then(|input| sources_of(&plan, input).ok()).unwrap_or_default();
        let mut graph = Graph::of(&plan);
        graph.sources.iter_mut().chain(&mut graph.failed).for_each(|branch| prune(branch, sink));
        let (mut topics, mut parts, mut sources) = (Vec::new(), Vec::new(), Vec::new());
        for index in wanted {
            let shares = discover(&plan, index, starts)?;
            let first_topic = topics.len();
            let source = &plan.sources[index];
            match source.source.topics() {
                [] => topics.push(source.name.as_str().into()),
                of_source => topics.extend(of_source.iter().cloned()),
            }
            let mut of_source = BTreeMap::new();
            for share in &shares {
                let part = parts.len() as u32;
                parts.push(Part {
                    topic: first_topic + partition::topic(share.partition),
                    partition: partition::number(share.partition),
                    begin: share.start.0.as_i64().unwrap_or(0),
                });
                of_source.insert(share.partition, OfPart { part, made: 0, polls: Vec::new() });
            }
            sources.push(OneSource::open(&plan, &graph, index, shares, of_source)?);
        }
        let clock = SystemClock::shared().now();
        let no_bell = |cause| Failure::outside("verify.descriptor", "no file descriptor is left").because(cause);
        let bell = Bell::new().map_err(no_bell)?;
        Ok(Recomputed { plan, graph, sink, sources, topics, parts, clock, bell, read: 0 })
    }
}

/// Where a source begins: where the pipeline began, or, where that is not known or gone, as the spec says.
fn discover(plan: &Plan, index: usize, starts: &Starts) -> Result<Vec<PartitionStart>, Failure> {
    let source = &plan.sources[index];
    let known =
        starts.get(&source.name).map(|starts| source.of_names(starts.iter().map(|(name, at)| (name, at.clone()))));
    match source.source.discover(&known.unwrap_or_default()) {
        Err(failure) if failure.code == "kafka.expired" => source.source.discover(&BTreeMap::new()),
        found => found,
    }
}

/// Leaves what leads to one sink.
fn prune(branch: &mut Branch, sink: usize) {
    // A union gives to those behind it: the last first.
    let mut kept: Vec<(usize, Branch)> = Vec::new();
    for (union, mut then) in std::mem::take(&mut branch.unions).into_iter().rev() {
        prune_consumers(&mut then, sink, &kept);
        if !then.consumers.is_empty() {
            kept.insert(0, (union, then));
        }
    }
    prune_consumers(branch, sink, &kept);
    branch.unions = kept;
}

fn prune_consumers(branch: &mut Branch, sink: usize, unions: &[(usize, Branch)]) {
    branch.consumers.retain_mut(|consumer| match consumer {
        Consumer::Rows { then, rest, failed, .. } => {
            [&mut *then, rest, failed].into_iter().for_each(|branch| prune_consumers(branch, sink, unions));
            !(then.consumers.is_empty() && rest.consumers.is_empty() && failed.consumers.is_empty())
        }
        Consumer::Stateful { .. } => false,
        Consumer::Sink { sink: other } => *other == sink,
        Consumer::Union { union, .. } => unions.iter().any(|(kept, _)| kept == union),
    });
}

impl OneSource {
    fn open(
        plan: &Arc<Plan>,
        graph: &Graph,
        index: usize,
        shares: Vec<PartitionStart>,
        parts: BTreeMap<Partition, OfPart>,
    ) -> Result<OneSource, Failure> {
        let source = &plan.sources[index];
        let lane = Lane::open(plan, graph, index, &shares, Arc::new(Metrics::default()))?;
        let reader = source.source.open(index as SourceIndex, &shares, source.wanted)?;
        let total = shares.iter().filter_map(|share| reader.status(share.partition).behind).sum();
        Ok(OneSource { index, shares, lane, reader, parts, total, ended: false })
    }

    fn behind(&self) -> u64 {
        if self.ended {
            return 0;
        }
        self.shares.iter().filter_map(|share| self.reader.status(share.partition).behind).sum()
    }
}

fn offsets(fetched: &Fetched) -> &[Offset] {
    match &fetched.payload {
        Payload::Raw(raw) => &raw.offsets,
        Payload::Rows { offsets, .. } => offsets,
    }
}

impl Expected for Recomputed {
    fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    fn parts(&self) -> &[Part] {
        &self.parts
    }

    fn more(&mut self, each: &mut dyn FnMut(&Expectation<'_>) -> Result<(), Failure>) -> Result<bool, Failure> {
        // The one that has most before it, so that none runs ahead of what the sink has of all.
        let open = self.sources.iter_mut().filter(|source| !source.ended);
        let Some(source) = open.max_by_key(|source| source.behind()) else { return Ok(false) };
        let fetched = source.reader.poll(POLL_ROWS, self.clock)?;
        for fetched in &fetched {
            let read = offsets(fetched);
            self.read += read.len() as u64;
            if let (Some(part), Some(first), Some(last)) =
                (source.parts.get_mut(&fetched.partition()), read.first(), read.last())
            {
                part.polls.push((part.made, *first, *last));
            }
            source.lane.take_in(fetched, self.clock)?;
            source.lane.cut();
            let mark = Mark { epoch: 0, watermark: Watermark::NONE, clock: self.clock, ended: false };
            let mut output = source.lane.mark(&mark)?;
            for ((_, partition), runs) in output.rows.remove(&self.sink).unwrap_or_default() {
                let Some(of_part) = source.parts.get_mut(&partition) else { continue };
                for rows in &runs {
                    for record in &rows.records {
                        let place = Place { part: of_part.part, at: of_part.made };
                        of_part.made += 1;
                        each(&expectation(rows, record, place, &self.topics))?;
                    }
                }
            }
        }
        if fetched.is_empty() {
            source.ended = source.shares.iter().all(|share| source.reader.status(share.partition).ended);
            if !source.ended {
                source.reader.awaits().wait(&self.bell, WAIT);
            }
        }
        Ok(self.sources.iter().any(|source| !source.ended))
    }

    fn share(&self) -> f64 {
        let total: u64 = self.sources.iter().map(|source| source.total).sum();
        let behind: u64 = self.sources.iter().map(OneSource::behind).sum();
        let done = self.sources.iter().all(|source| source.ended);
        if done { 1.0 } else { 1.0 - behind.min(total) as f64 / total.max(1) as f64 }
    }

    fn read(&self) -> u64 {
        self.read
    }

    fn compacted(&self) -> bool {
        let topics =
            self.plan.outline.topics.iter().filter(|topic| self.topics.iter().any(|name| **name == *topic.name));
        topics.into_iter().any(|topic| matches!(&topic.state, TopicState::Exists(info) if info.compacted))
    }

    fn again(&mut self) -> Result<(), Failure> {
        for source in &mut self.sources {
            let mut parts = std::mem::take(&mut source.parts);
            parts.values_mut().for_each(|part| (part.made, part.polls) = (0, Vec::new()));
            *source =
                OneSource::open(&self.plan, &self.graph, source.index, std::mem::take(&mut source.shares), parts)?;
        }
        self.read = 0;
        Ok(())
    }

    fn place(&self, place: Place) -> String {
        let Part { topic, partition, .. } = &self.parts[place.part as usize];
        let name = partition_of(&self.topics[*topic], *partition);
        let of_part = self.sources.iter().flat_map(|source| source.parts.values()).find(|part| part.part == place.part);
        let polls = of_part.map_or(&[][..], |part| &part.polls);
        let index = polls.partition_point(|(made, ..)| *made <= place.at);
        match index.checked_sub(1).map(|index| polls[index]) {
            Some((_, first, last)) if first == last => format!("{name} offset {first}"),
            Some((_, first, last)) => format!("{name} among offsets {first} to {last}"),
            None => name,
        }
    }
}

fn expectation<'a>(
    rows: &'a EncodedRows,
    record: &'a EncodedRecord,
    place: Place,
    topics: &[Arc<str>],
) -> Expectation<'a> {
    let headers = &rows.headers[record.headers.start as usize..record.headers.end as usize];
    let headers = headers.iter().map(|(name, value)| (rows.bytes(name), value.as_ref().map(|value| rows.bytes(value))));
    Expectation {
        place,
        key: record.key.as_ref().map(|key| rows.bytes(key)),
        value: record.value.as_ref().map(|value| rows.bytes(value)),
        origin: if record.headers.is_empty() { None } else { origin(headers, topics) },
    }
}
