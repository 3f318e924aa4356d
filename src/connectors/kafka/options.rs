//! What `kafka:` takes on a source and on a sink.

use std::collections::BTreeMap;

use schemars::{Schema, SchemaGenerator, json_schema};

use super::Properties;
use crate::data::{Offset, Partition, partition};
use crate::report::{Diagnostic, Diagnostics, Place};
use crate::spec::{AtLeastOne, ConfigText, Entry, FromNode, Node, Spanned, Value};
use crate::time::{Millis, duration};

crate::options! {
    /// Options of `kafka:` on a source.
    pub struct KafkaSourceOptions {
        /// The topic to read. Example: `topic: ratings`.
        pub topic: Option<Spanned<TopicName>>,
        /// Several topics to read as one source, in the place of `topic`: of the same format, and with schemas that can be read as the first topic's. `_topic` says where a row is from. A topic that is added to the list later begins at `start`. Example: `topics: [ratings_eu, ratings_us]`.
        pub topics: Option<Spanned<TopicList>>,
        /// All topics whose whole name fits a regex, in the place of `topic`. Topics that come while it runs are found within ten seconds, and read from their first record; one that the pipeline itself writes must not fit. Example: `pattern: ratings_.*`.
        pub pattern: Option<Spanned<String>>,
        /// The consumer group under which the position is shown to lag tools. Default: `runner-PIPELINE`.
        pub group: Option<Spanned<String>>,
        /// Where to begin the first time: `earliest`, `latest`, `{timestamp: RFC 3339 | milliseconds | -1h}`, `{offsets: {TOPIC: {0: 42}}}` or `{group: NAME}`. Partitions that are not listed begin at the earliest record. Default: `earliest`.
        pub start: Option<Start>,
        /// Where to end: `end` (as of the start), `{timestamp: …}`, `{offsets: …}` or `{group: NAME}`. Default: go on for ever.
        pub until: Option<Until>,
        /// What to do when records that are still needed were deleted by the broker, or the topic was: `fail`, go on at the `earliest` record that is left, at the `latest` (the end), or at `last_timestamp`, the first record that is not older than the newest one that was read. What is missing is counted and told. Default: `fail`.
        pub on_expired: Option<OnExpired>,
        /// librdkafka's properties for this source. Example: `properties: {fetch.wait.max.ms: 100}`.
        pub properties: Option<Properties>,
    }
    exactly one of "topic", "topics", "pattern"
}

crate::options! {
    /// Options of `kafka:` on a sink.
    pub struct KafkaSinkOptions {
        /// The topic to write. Example: `topic: metrics`.
        pub topic: Spanned<TopicName>,
        /// librdkafka's properties for the producer, which all Kafka sinks of a pipeline share. Example: `properties: {compression.type: lz4}`.
        pub properties: Option<Properties>,
        /// How topics are made that records are sent to one by one, by transformations of Kafka Connect: of these rules the first one that a name fits. Default: as the broker has it. Example: `new_topics: [{topics: [orders-.*], partitions: 3}]`.
        pub new_topics: Vec<NewTopics> = Vec::new(),
    }
}

crate::options! {
    /// A rule for new topics.
    pub struct NewTopics {
        /// Regexes, one of which the whole name fits. Default: every topic.
        pub topics: Vec<Spanned<String>> = Vec::new(),
        /// Regexes of those that it does not hold for, though.
        pub except: Vec<Spanned<String>> = Vec::new(),
        /// Number of partitions; default: the broker's.
        pub partitions: Option<AtLeastOne>,
        /// Replication factor; default: the broker's.
        pub replication: Option<AtLeastOne>,
        /// Settings of the topics, by Kafka's names. Example: `config: { cleanup.policy: compact }`.
        pub config: Vec<(Spanned<String>, ConfigText)> = Vec::new(),
    }
}

impl KafkaSinkOptions {
    /// Complains about rules for new topics where the topic is known.
    pub fn refuse_new_topics(&self, place: &Place, out: &mut Diagnostics) {
        if !self.new_topics.is_empty() {
            out.push(
                Diagnostic::error("kafka.new_topics", "`new_topics` is for records that name their topics themselves")
                    .at(place)
                    .hint("a Topic document says how the topic of this sink is made"),
            );
        }
    }
}

impl KafkaSourceOptions {
    /// The topics to read, in the order of the list. `place` is that of the options.
    pub fn topics(&self, place: &Place, out: &mut Diagnostics) -> Option<Vec<&Spanned<TopicName>>> {
        let topics: Vec<&Spanned<TopicName>> = match (&self.topic, &self.topics) {
            _ if self.pattern.is_some() => {
                let given = self.topic.as_ref().map(|topic| &topic.place);
                if let Some(place) = given.or(self.topics.as_ref().map(|topics| &topics.place)) {
                    out.push(Diagnostic::error("kafka.topics", "topics are given beside `pattern`").at(place));
                }
                return None;
            }
            (Some(topic), None) => vec![topic],
            (None, Some(topics)) => topics.value.0.iter().collect(),
            (Some(_), Some(topics)) => {
                out.push(
                    Diagnostic::error("kafka.topics", "both `topic` and `topics` are given")
                        .at(&topics.place)
                        .hint("put all of them into `topics`"),
                );
                return None;
            }
            (None, None) => {
                out.push(
                    Diagnostic::error("kafka.topics", "no topic is given")
                        .at(place)
                        .hint("name one with `topic: NAME`, several with `topics: [NAME, NAME]` or `pattern: REGEX`"),
                );
                return None;
            }
        };
        let twice = |(index, topic): (usize, &&Spanned<TopicName>)| {
            topics[..index].iter().any(|before| before.value == topic.value)
        };
        let wrong = match topics.iter().copied().enumerate().find(|(index, topic)| twice((*index, topic))) {
            _ if topics.is_empty() => Some((place, "`topics` is empty".to_owned())),
            _ if topics.len() > partition::TOPICS_MAX => {
                Some((place, format!("a source takes at most {} topics", partition::TOPICS_MAX)))
            }
            Some((_, topic)) => Some((&topic.place, format!("`{}` stands in `topics` twice", topic.value.0))),
            None => None,
        };
        match wrong {
            Some((place, title)) => {
                out.push(Diagnostic::error("kafka.topics", title).at(place));
                None
            }
            None => Some(topics),
        }
    }

    /// Complains about what only the options together show: offsets of another topic.
    pub fn check(&self, topics: &[&Spanned<TopicName>], out: &mut Diagnostics) {
        let start = self.start.as_ref().and_then(|start| match start {
            Start::Offsets(offsets) => Some(offsets),
            _ => None,
        });
        let until = self.until.as_ref().and_then(|until| match until {
            Until::Offsets(offsets) => Some(offsets),
            _ => None,
        });
        for (topic, _) in [start, until].into_iter().flatten().flat_map(|offsets| &offsets.0) {
            if topics.iter().all(|read| read.value.0 != topic.value) {
                let read: Vec<String> = topics.iter().map(|read| format!("`{}`", read.value.0)).collect();
                let title = format!("`{}` is not the topic of this source", topic.value);
                out.push(
                    Diagnostic::error("kafka.other_topic", title)
                        .at(&topic.place)
                        .label(format!("this source reads {}", read.join(", "))),
                );
            }
        }
    }
}

/// A name that Kafka takes for a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicName(pub String);

impl TopicName {
    /// Whether a broker takes such a name.
    pub fn is_legal(name: &str) -> bool {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        !name.is_empty() && name.len() <= 249 && name.bytes().all(legal) && name != "." && name != ".."
    }
}

impl FromNode for TopicName {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let name = String::from_node(node, out)?;
        if TopicName::is_legal(&name) {
            return Some(TopicName(name));
        }
        out.push(
            Diagnostic::error("kafka.topic_name", format!("`{name}` cannot be the name of a topic"))
                .at(&node.place)
                .label("1 to 249 of the characters a-z A-Z 0-9 . _ -"),
        );
        None
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        // A tag may be part of the name.
        json_schema!({
            "type": "string",
            "pattern": r"^([a-zA-Z0-9._-]|\{\{.*?\}\})+$",
            "maxLength": 249,
            "not": { "enum": [".", ".."] },
        })
    }
}

/// Topics of one source, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicList(pub Vec<Spanned<TopicName>>);

impl FromNode for TopicList {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        FromNode::from_node(node, out).map(TopicList)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "items": TopicName::schema(generator),
            "minItems": 1,
            "maxItems": partition::TOPICS_MAX,
            "uniqueItems": true,
        })
    }
}

/// Where a source begins.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Start {
    #[default]
    Earliest,
    Latest,
    Timestamp(Moment),
    Offsets(TopicOffsets),
    /// Where another consumer group stands.
    Group(String),
}

/// Where a source ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Until {
    /// The end as of the start.
    End,
    Timestamp(Moment),
    Offsets(TopicOffsets),
    Group(String),
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    At(Millis),
    /// This long before the moment at which it is asked for.
    Ago(Millis),
}

impl Moment {
    pub fn resolve(self, now: Millis) -> Millis {
        match self {
            Moment::At(time) => time,
            Moment::Ago(ms) => now.saturating_sub(ms),
        }
    }
}

/// Offsets by topic and partition, as written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopicOffsets(pub Vec<(Spanned<String>, BTreeMap<Partition, Offset>)>);

impl TopicOffsets {
    /// The offset of a partition, if one is listed.
    pub fn of(&self, topic: &str, partition: Partition) -> Option<Offset> {
        self.0.iter().find(|(name, _)| name.value == topic)?.1.get(&partition).copied()
    }

    /// The partitions listed.
    pub fn partitions(&self, topic: &str) -> impl Iterator<Item = Partition> {
        self.0.iter().filter(move |(name, _)| name.value == topic).flat_map(|(_, offsets)| offsets.keys().copied())
    }
}

/// What to do about records that are needed and gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnExpired {
    #[default]
    Fail,
    /// Go on at the first record that is left.
    Earliest,
    /// Go on at the end as of now.
    Latest,
    /// Go on at the first record that is not older than the newest one that was read.
    LastTimestamp,
}

impl FromNode for OnExpired {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let word = String::from_node(node, out)?;
        let known = ["fail", "earliest", "latest", "last_timestamp"];
        Some(match word.as_str() {
            "fail" => OnExpired::Fail,
            "earliest" => OnExpired::Earliest,
            "latest" => OnExpired::Latest,
            "last_timestamp" => OnExpired::LastTimestamp,
            other => {
                out.push(
                    Diagnostic::error("kafka.on_expired", format!("`{other}` is not a way to go on"))
                        .at(&node.place)
                        .label(format!("expected one of {}", known.join(", ")))
                        .did_you_mean(other, known),
                );
                return None;
            }
        })
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["fail", "earliest", "latest", "last_timestamp"] })
    }
}

impl FromNode for Start {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        Some(match place(node, "start", &["earliest", "latest"], out)? {
            Form::Word("earliest") => Start::Earliest,
            Form::Word(_) => Start::Latest,
            Form::Timestamp(moment) => Start::Timestamp(moment),
            Form::Offsets(offsets) => Start::Offsets(offsets),
            Form::Group(group) => Start::Group(group),
        })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        place_schema(&["earliest", "latest"], generator)
    }
}

impl FromNode for Until {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        Some(match place(node, "until", &["end", "latest"], out)? {
            Form::Word(_) => Until::End,
            Form::Timestamp(moment) => Until::Timestamp(moment),
            Form::Offsets(offsets) => Until::Offsets(offsets),
            Form::Group(group) => Until::Group(group),
        })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        place_schema(&["end", "latest"], generator)
    }
}

enum Form {
    Word(&'static str),
    Timestamp(Moment),
    Offsets(TopicOffsets),
    Group(String),
}

const FORMS: [&str; 3] = ["timestamp", "offsets", "group"];

fn place(node: &Node, key: &str, words: &[&'static str], out: &mut Diagnostics) -> Option<Form> {
    match &node.value {
        Value::String(text) => match words.iter().find(|word| *word == text) {
            Some(word) => Some(Form::Word(word)),
            None => {
                let title = format!("`{text}` is not a place in a topic");
                out.push(wrong_place(title, node, key, words).did_you_mean(text, words.iter().copied()));
                None
            }
        },
        Value::Map(entries) if entries.len() == 1 => form(&entries[0], key, words, out),
        _ => {
            out.push(wrong_place(format!("`{key}` is a word or a map with one key"), node, key, words));
            None
        }
    }
}

fn place_schema(words: &[&str], generator: &mut SchemaGenerator) -> Schema {
    let form = |key: &str, schema: Schema| {
        json_schema!({
            "type": "object",
            "properties": { key: schema },
            "required": [key],
            "additionalProperties": false,
        })
    };
    let forms = [
        form("timestamp", Moment::schema(generator)),
        form("offsets", TopicOffsets::schema(generator)),
        form("group", String::schema(generator)),
    ];
    json_schema!({ "anyOf": [{ "enum": words }, forms[0], forms[1], forms[2]] })
}

fn form(entry: &Entry, key: &str, words: &[&'static str], out: &mut Diagnostics) -> Option<Form> {
    match entry.key.as_str() {
        "timestamp" => Moment::from_node(&entry.value, out).map(Form::Timestamp),
        "offsets" => TopicOffsets::from_node(&entry.value, out).map(Form::Offsets),
        "group" => String::from_node(&entry.value, out).map(Form::Group),
        other => {
            let wrong = Diagnostic::error("spec.unknown_key", format!("unknown key `{other}`")).at(&entry.key_place);
            out.push(wrong.note(expected(key, words)).did_you_mean(other, FORMS));
            None
        }
    }
}

fn wrong_place(title: String, node: &Node, key: &str, words: &[&str]) -> Diagnostic {
    Diagnostic::error("kafka.place", title).at(&node.place).note(expected(key, words))
}

fn expected(key: &str, words: &[&str]) -> String {
    format!("`{key}` takes {}, {{timestamp: …}}, {{offsets: …}} or {{group: …}}", words.join(", "))
}

impl FromNode for Moment {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let read = match &node.value {
            Value::Int(ms) => Ok(Moment::At(*ms)),
            Value::String(text) => moment(text),
            _ => Err(format!("this is {}", node.kind())),
        };
        read.map_err(|label| {
            let title = "expected a time: RFC 3339, milliseconds since 1970, or how long ago as in `-1h`";
            out.push(Diagnostic::error("kafka.timestamp", title).at(&node.place).label(label));
        })
        .ok()
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "description": "RFC 3339, milliseconds since 1970, or how long ago: `-1h`." })
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Some(ago) = text.strip_prefix('-') {
        return duration::parse(ago).map(Moment::Ago);
    }
    let time = chrono::DateTime::parse_from_rfc3339(text).map_err(|error| format!("not RFC 3339: {error}"))?;
    Ok(Moment::At(time.timestamp_millis()))
}

impl FromNode for TopicOffsets {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let topics: Vec<(Spanned<String>, Node)> = FromNode::from_node(node, out)?;
        let mut all = Vec::new();
        for (topic, node) in topics {
            let listed: Vec<(Spanned<String>, u64)> = FromNode::from_node(&node, out)?;
            let mut offsets = BTreeMap::new();
            for (partition, offset) in listed {
                let number = partition.value.parse::<Partition>().ok().filter(|number| *number >= 0);
                let (Some(number), Ok(offset)) = (number, Offset::try_from(offset)) else {
                    let title = format!("`{}` is not a partition", partition.value);
                    out.push(
                        Diagnostic::error("kafka.partition", title).at(&partition.place).label("a number from 0 on"),
                    );
                    return None;
                };
                offsets.insert(number, offset);
            }
            all.push((topic, offsets));
        }
        Some(TopicOffsets(all))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let by_partition = json_schema!({
            "type": ["object", "null"],
            "patternProperties": { "^[0-9]+$": u64::schema(generator) },
            "additionalProperties": false,
        });
        json_schema!({ "type": ["object", "null"], "additionalProperties": by_partition })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::report::{Place, SourceFile};

    fn node(value: Value) -> Node {
        let file = Arc::new(SourceFile { name: "test.yaml".into(), text: String::new() });
        Node { place: Place::new(&file, 0..0), value }
    }

    fn map(entries: Vec<(&str, Value)>) -> Value {
        let entry = |(key, value): (&str, Value)| {
            let value = node(value);
            Entry { key: key.into(), key_place: value.place.clone(), value }
        };
        Value::Map(entries.into_iter().map(entry).collect())
    }

    fn read<T: FromNode>(value: Value) -> Result<T, Vec<&'static str>> {
        let mut out = Diagnostics::default();
        T::from_node(&node(value), &mut out).ok_or_else(|| out.0.iter().map(|d| d.code).collect())
    }

    fn word(text: &str) -> Value {
        Value::String(text.into())
    }

    #[test]
    fn every_form_of_a_start_is_read() {
        assert_eq!(read(word("latest")), Ok(Start::Latest));
        assert_eq!(read(map(vec![("timestamp", word("-1h"))])), Ok(Start::Timestamp(Moment::Ago(3_600_000))));
        let at = Start::Timestamp(Moment::At(1_000));
        assert_eq!(read(map(vec![("timestamp", word("1970-01-01T00:00:01Z"))])), Ok(at.clone()));
        assert_eq!(read(map(vec![("timestamp", Value::Int(1_000))])), Ok(at));
        assert_eq!(read(map(vec![("group", word("g"))])), Ok(Start::Group("g".into())));
        let offsets = map(vec![("offsets", map(vec![("t", map(vec![("0", Value::Int(42))]))]))]);
        let Ok(Start::Offsets(offsets)) = read(offsets) else { panic!("no offsets") };
        assert_eq!((offsets.of("t", 0), offsets.of("t", 1), offsets.of("u", 0)), (Some(42), None, None));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        assert_eq!(read::<Start>(word("lastest")), Err(vec!["kafka.place"]));
        assert_eq!(read::<Start>(word("end")), Err(vec!["kafka.place"]));
        assert_eq!(read::<Until>(map(vec![("time", word("-1h"))])), Err(vec!["spec.unknown_key"]));
        assert_eq!(read::<Start>(map(vec![("timestamp", word("yesterday"))])), Err(vec!["kafka.timestamp"]));
        let negative = map(vec![("offsets", map(vec![("t", map(vec![("-1", Value::Int(4))]))]))]);
        assert_eq!(read::<Start>(negative), Err(vec!["kafka.partition"]));
    }

    #[test]
    fn a_source_has_one_topic_or_a_list_of_different_ones() {
        let many = |names: &[&str]| ("topics", Value::List(names.iter().map(|name| node(word(name))).collect()));
        let topics = |entries| {
            let options: KafkaSourceOptions = read(map(entries)).unwrap();
            let mut out = Diagnostics::default();
            let read = options.topics(&node(Value::Null).place, &mut out);
            let names = read.map(|topics| topics.iter().map(|topic| topic.value.0.clone()).collect::<Vec<_>>());
            names.ok_or_else(|| out.0.iter().map(|wrong| wrong.title.clone()).collect::<Vec<_>>().join("; "))
        };
        assert_eq!(topics(vec![("topic", word("a"))]), Ok(vec!["a".to_owned()]));
        assert_eq!(topics(vec![many(&["b", "a"])]), Ok(vec!["b".to_owned(), "a".to_owned()]));
        assert_eq!(topics(vec![]), Err("no topic is given".into()));
        assert_eq!(topics(vec![many(&[])]), Err("`topics` is empty".into()));
        assert_eq!(topics(vec![many(&["a", "b", "a"])]), Err("`a` stands in `topics` twice".into()));
        assert_eq!(topics(vec![("topic", word("a")), many(&["b"])]), Err("both `topic` and `topics` are given".into()));
    }

    #[test]
    fn offsets_of_another_topic_are_found() {
        let offsets = map(vec![("offsets", map(vec![("u", map(vec![("0", Value::Int(42))]))]))]);
        let source: KafkaSourceOptions = read(map(vec![("topic", word("t")), ("start", offsets)])).unwrap();
        let mut out = Diagnostics::default();
        let topics = source.topics(&node(Value::Null).place, &mut out).unwrap();
        source.check(&topics, &mut out);
        assert_eq!(out.0[0].code, "kafka.other_topic");
    }
}
