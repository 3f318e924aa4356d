//! `/connectors/NAME/offsets`: what the journal says, in the words of each class; set while the connector is stopped.
//!
//! | class | partition | offset |
//! |---|---|---|
//! | sinks | `kafka_topic`, `kafka_partition` | `kafka_offset` |
//! | FileStreamSource | `filename` | `position`, in bytes |
//! | Datagen | `task.id` | `task.generation` of the next start, `current.iteration`, `random.seed` |

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::answer::{Answer, Refusal, of_refused};
use super::{Call, connectors};
use crate::connect::{FILE_SOURCE, find_connector};
use crate::data::{PartitionName, Position};
use crate::deploy::connector::{Connector, ConnectorKind};
use crate::deploy::offsets::Moves;
use crate::deploy::store::Wanted;
use crate::deploy::supervisor::{Described, State};
use crate::plan::{Plan, SourcePlan};

/// A stop may have been asked for just before.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

pub fn show(call: &Call, name: &str) -> Result<Answer, Refusal> {
    let connector = connectors::known(call, name)?;
    let class = Class::of(&connector);
    let standing = call.face.supervisor.standing(name).map_err(|refused| of_refused(refused, name))?;
    let mut shown = Vec::new();
    for (source, positions) in &standing.positions {
        for (partition, position) in positions {
            let is_set = standing.set.contains(&(source.clone(), partition.clone()));
            let offset = class.offset(position, is_set);
            shown.extend(offset.map(|at| json!({ "partition": class.partition(partition), "offset": at })));
        }
    }
    Answer::ok(json!({ "offsets": shown }))
}

pub fn alter(call: &Call, name: &str) -> Result<Answer, Refusal> {
    let items = items(&call.body)?;
    let connector = stopped(call, name)?;
    let supervisor = &call.face.supervisor;
    let refused = |refused| of_refused(refused, name);
    let plan = supervisor.plan_of(name).map_err(refused)?;
    let known = supervisor.positions(name).map_err(refused)?;
    let class = Class::of(&connector);
    let mut moves = Moves::new();
    for item in &items {
        let (partition, offset) = class.read(item, name)?;
        let Some(source) = source_of(&plan, &partition).filter(|_| is_there(call, name, &partition)) else {
            return Err(Refusal::new(500, format!("Failed to alter consumer group offsets for connector {name}")));
        };
        let before = known.get(&source.name).and_then(|known| known.get(&partition)).cloned();
        let before = before.or_else(|| class.first(source, &partition));
        let to = offset.map(|offset| class.position(offset, before.as_ref())).transpose()?;
        moves.entry(source.name.clone()).or_default().insert(partition, to);
    }
    supervisor.set_positions(name, &moves).map_err(refused)?;
    Answer::ok(json!({ "message": "The offsets for this connector have been altered successfully" }))
}

pub fn reset(call: &Call, name: &str) -> Result<Answer, Refusal> {
    stopped(call, name)?;
    let supervisor = &call.face.supervisor;
    let refused = |refused| of_refused(refused, name);
    let known = supervisor.positions(name).map_err(refused)?;
    let start = |(source, known): (String, BTreeMap<PartitionName, Position>)| {
        (source, known.into_keys().map(|partition| (partition, None)).collect())
    };
    supervisor.set_positions(name, &known.into_iter().map(start).collect()).map_err(refused)?;
    Answer::ok(json!({ "message": "The offsets for this connector have been reset successfully" }))
}

/// The items of a request.
fn items(body: &[u8]) -> Result<Vec<Json>, Refusal> {
    let bad = |text: String| Refusal::new(400, text);
    let request: Json = serde_json::from_slice(body).map_err(|error| bad(format!("the body is not JSON: {error}")))?;
    let fields = request.as_object().ok_or_else(|| bad("the body is not an object".into()))?;
    let unknown = |fields: &serde_json::Map<String, Json>, known: &[&str]| {
        let other = fields.keys().find(|key| !known.contains(&key.as_str()))?;
        Some(bad(format!("Unrecognized field \"{other}\", not marked as ignorable (known: {})", known.join(", "))))
    };
    if let Some(refusal) = unknown(fields, &["offsets"]) {
        return Err(refusal);
    }
    let items = match fields.get("offsets") {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Array(items)) => items.clone(),
        Some(_) => return Err(bad("`offsets` is not a list".into())),
    };
    for item in &items {
        let item = item.as_object().ok_or_else(|| bad("an item of `offsets` is not an object".into()))?;
        if let Some(refusal) = unknown(item, &["partition", "offset"]) {
            return Err(refusal);
        }
    }
    if items.is_empty() {
        return Err(bad("Partitions / offsets need to be provided for an alter offsets request".into()));
    }
    Ok(items)
}

/// A connector whose tasks have ended because it was stopped.
fn stopped(call: &Call, name: &str) -> Result<Connector, Refusal> {
    let described = || call.face.supervisor.connector(name).map_err(|refused| of_refused(refused, name));
    let first = described()?;
    if first.kept.wanted != Wanted::Stopped {
        let message = "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the specified connector by issuing a 'PUT' request to the";
        return Err(Refusal::new(400, format!("{message} '/connectors/{name}/stop' endpoint")));
    }
    let deadline = Instant::now() + STOP_PATIENCE;
    let has_ended = |described: &Described| described.status.state == State::Stopped;
    let mut now = first;
    while !has_ended(&now) {
        if Instant::now() > deadline {
            return Err(Refusal::new(500, format!("the tasks of connector {name} have not stopped yet")));
        }
        std::thread::sleep(Duration::from_millis(10));
        now = described()?;
    }
    now.kept.connector.clone().ok_or_else(|| Refusal::unknown(name))
}

/// The source that has a partition.
fn source_of<'p>(plan: &'p Plan, partition: &PartitionName) -> Option<&'p SourcePlan> {
    let has = |source: &&SourcePlan| match &partition.topic {
        Some(topic) => source.source.may_read(topic),
        None => source.source.topics().is_empty(),
    };
    plan.sources.iter().find(has)
}

/// Whether the brokers have the partition of a topic: one that is not there would end the next start.
fn is_there(call: &Call, name: &str, partition: &PartitionName) -> bool {
    let Some(topic) = &partition.topic else { return true };
    match call.face.supervisor.partition_count(name, topic) {
        Ok(count) => usize::try_from(partition.number).is_ok_and(|number| number < count.unwrap_or(0)),
        Err(refused) => {
            tracing::warn!(connector = name, "the partitions of `{topic}` are not known: {refused:?}");
            false
        }
    }
}

/// Whose words are spoken.
enum Class {
    Sink,
    File { name: String },
    Datagen,
}

/// An offset as it was given.
enum Given {
    Kafka(i64),
    File(u64),
    Datagen { generation: Option<i64>, iteration: i64, seed: Option<i64> },
}

impl Class {
    fn of(connector: &Connector) -> Class {
        if connector.kind == ConnectorKind::Sink {
            return Class::Sink;
        }
        let class = connector.config.get("connector.class").and_then(|class| find_connector(class.trim()).ok());
        if class.is_some_and(|class| class.class == FILE_SOURCE) {
            return Class::File { name: connector.config.get("file").cloned().unwrap_or_default() };
        }
        Class::Datagen
    }

    fn partition(&self, partition: &PartitionName) -> Json {
        match self {
            Class::Sink => json!({ "kafka_partition": partition.number, "kafka_topic": partition.topic }),
            Class::File { name } => json!({ "filename": name }),
            Class::Datagen => json!({ "task.id": partition.number }),
        }
    }

    /// `None`: nothing was read yet, and `is_set`: nobody set it either.
    fn offset(&self, position: &Position, is_set: bool) -> Option<Json> {
        let at = &position.0;
        let number = |key: &str| at[key].as_i64().filter(|number| *number != 0 || is_set);
        match self {
            Class::Sink => {
                let offset = position.as_offset().filter(|offset| *offset != 0 || is_set);
                offset.map(|at| json!({ "kafka_offset": at }))
            }
            Class::File { .. } => number("byte").map(|byte| json!({ "position": byte })),
            Class::Datagen => number("record").map(|record| {
                // That of the start which goes on from here.
                let generation = at["generation"].as_i64().unwrap_or(0) + i64::from(record > 0);
                json!({ "task.generation": generation, "current.iteration": record, "random.seed": at["seed"] })
            }),
        }
    }

    /// Where a partition begins of which nothing is known yet, as far as positions are made of more than a request says.
    fn first(&self, source: &SourcePlan, partition: &PartitionName) -> Option<Position> {
        let Class::Datagen = self else { return None };
        let starts = source.source.discover(&BTreeMap::new()).ok()?;
        let start = starts.into_iter().find(|start| source.name_of(start.partition) == *partition)?;
        Some(start.start)
    }

    /// A position of our own, from what is known of the partition.
    fn position(&self, given: Given, before: Option<&Position>) -> Result<Position, Refusal> {
        let mut at = before.map_or_else(|| json!({}), |before| before.0.clone());
        match given {
            Given::Kafka(offset) => return Ok(Position::offset(offset)),
            Given::File(byte) => {
                if let (Class::File { name }, None) = (self, before) {
                    at = json!({ "path": name, "size": 0, "mtime": 0, "row": 0 });
                }
                at["byte"] = byte.into();
                // What stands before it is not known.
                at.as_object_mut().map(|at| at.remove("tail"));
                return Ok(Position(at));
            }
            Given::Datagen { generation, iteration, seed } => {
                at["record"] = iteration.into();
                // Iteration rules go on from so many records.
                at.as_object_mut().map(|at| at.remove("counters"));
                if let Some(seed) = seed {
                    at["seed"] = seed.into();
                }
                if let Some(generation) = generation {
                    at["generation"] = (generation - i64::from(iteration > 0)).into();
                }
            }
        }
        if before.is_none() {
            return Err(Refusal::new(400, "the connector has no task of this number"));
        }
        Ok(Position(at))
    }

    fn read(&self, item: &Json, connector: &str) -> Result<(PartitionName, Option<Given>), Refusal> {
        for side in ["partition", "offset"] {
            let nested =
                item[side].as_object().into_iter().flatten().find(|(_, value)| value.is_array() || value.is_object());
            if let Some((key, value)) = nested {
                let word = if value.is_array() { "ARRAY" } else { "MAP" };
                let what = if side == "offset" { "Offsets" } else { "Partitions" };
                let message =
                    format!("{what} may only contain primitive types as values, but field {key} contains {word}");
                return Err(Refusal::new(500, message));
            }
        }
        match self {
            Class::Sink => read_sink(item, connector),
            Class::File { name } => read_file(item, name),
            Class::Datagen => read_datagen(item),
        }
    }
}

/// A number, or a text that is one.
fn whole(value: &Json) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn shown(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn read_sink(item: &Json, connector: &str) -> Result<(PartitionName, Option<Given>), Refusal> {
    let bad = |message: String| Refusal::new(400, message);
    let partition = item["partition"].as_object();
    let partition =
        partition.ok_or_else(|| bad("The partition for a sink connector offset cannot be null or missing".into()))?;
    let (Some(topic), Some(number)) = (partition.get("kafka_topic"), partition.get("kafka_partition")) else {
        let message =
            "The partition for a sink connector offset must contain the keys 'kafka_topic' and 'kafka_partition'";
        return Err(bad(message.into()));
    };
    let integers = |what: &str, value: &Json| {
        let value = shown(value);
        let text = format!("Failed to parse the following Kafka {what} value in the provided offsets: '{value}'.");
        let noun = if what == "offset" { "Offset" } else { "Partition" };
        bad(format!("{text} {noun} values for sink connectors need to be integers."))
    };
    let number = whole(number).and_then(|n| i32::try_from(n).ok()).ok_or_else(|| integers("partition", number))?;
    let name = PartitionName { topic: Some(shown(topic)), number };
    let Some(offset) = item["offset"].as_object() else { return Ok((name, None)) };
    let offset = offset.get("kafka_offset").ok_or_else(|| {
        bad("The offset for a sink connector should either be null or contain the key 'kafka_offset'".into())
    })?;
    let at = whole(offset).ok_or_else(|| integers("offset", offset))?;
    if at < 0 {
        return Err(Refusal::new(500, format!("Failed to modify offsets for sink connector {connector}")));
    }
    Ok((name, Some(Given::Kafka(at))))
}

fn read_file(item: &Json, file: &str) -> Result<(PartitionName, Option<Given>), Refusal> {
    let wrong = |message: &str| Refusal::new(500, message);
    if file.is_empty() {
        return Err(wrong(
            "Offsets cannot be modified if the 'file' configuration is unspecified. This is because stdin is used for input and offsets are not tracked.",
        ));
    }
    let partition = item["partition"].as_object().ok_or_else(|| wrong("Partition objects cannot be null"))?;
    let name = partition.get("filename").ok_or_else(|| wrong("Partition objects should contain the key 'filename'"))?;
    if shown(name) != file {
        return Err(Refusal::new(400, format!("the connector reads `{file}`, not `{}`", shown(name))));
    }
    let partition = PartitionName { topic: None, number: 0 };
    let Some(offset) = item["offset"].as_object() else { return Ok((partition, None)) };
    let position = offset
        .get("position")
        .ok_or_else(|| wrong("Offset objects should either be null or contain the key 'position'"))?;
    let position = position
        .as_i64()
        .ok_or_else(|| wrong("The value for the 'position' key in the offset is expected to be a Long value"))?;
    let position = u64::try_from(position)
        .map_err(|_| wrong("The value for the 'position' key in the offset should be a non-negative value"))?;
    Ok((partition, Some(Given::File(position))))
}

fn read_datagen(item: &Json) -> Result<(PartitionName, Option<Given>), Refusal> {
    let bad = |message: &str| Refusal::new(400, message);
    let task = whole(&item["partition"]["task.id"]).and_then(|task| i32::try_from(task).ok());
    let number =
        task.filter(|task| *task >= 0).ok_or_else(|| bad("a partition has the number of a task as `task.id`"))?;
    let name = PartitionName { topic: None, number };
    if !item["offset"].is_object() {
        return Ok((name, None));
    }
    let part = |key: &str| whole(&item["offset"][key]);
    let iteration = part("current.iteration").filter(|iteration| *iteration >= 0);
    let iteration = iteration.ok_or_else(|| bad("an offset has how many records were made as `current.iteration`"))?;
    Ok((name, Some(Given::Datagen { generation: part("task.generation"), iteration, seed: part("random.seed") })))
}
