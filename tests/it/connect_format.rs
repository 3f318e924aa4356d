//! `format: connect` on real servers: what Kafka Connect's converters make of rows, and of records.

use runner::connectors::datagen::QUICKSTARTS;
use runner::registry::Registry;
use serde_json::Value;

use crate::servers::{self, TestRecord};
use crate::specs::{Folder, registry};

/// The bytes behind the five of the registry's framing, and the schema's id.
fn unframed(value: &[u8]) -> (i32, &[u8]) {
    assert_eq!(value[0], 0);
    (i32::from_be_bytes(value[1..5].try_into().unwrap()), &value[5..])
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The vectors are what Confluent's generator, converter and registry made of seed 1.
#[test]
fn quickstarts_are_written_and_registered_as_by_the_genuine_connector() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../data/quickstarts.json")).unwrap();
    let prefix = servers::unique("quickstart");
    let topic = |name: &str| format!("{prefix}-{name}");
    let (mut sources, mut sinks) = (String::new(), String::new());
    for quickstart in QUICKSTARTS {
        let (name, key) = (quickstart.name, quickstart.key_field);
        sources += &format!("    {name}: {{ datagen: {{ quickstart: {name}, seed: 1, rate: max, count: 3 }} }}\n");
        sinks += &format!(
            "    to_{name}: {{ from: {name}, kafka: {{ topic: {} }}, key: [{key}], delivery: at_least_once, headers: {{ current.iteration: \"${{_offset}}\" }}, format: {{ connect: {{ key.converter: org.apache.kafka.connect.storage.StringConverter, value.converter: io.confluent.connect.avro.AvroConverter }} }} }}\n",
            topic(name)
        );
    }
    let folder = Folder::connected();
    folder.pipeline("quickstarts", &format!("  sources:\n{sources}  sinks:\n{sinks}"));
    folder.run("apply", &[]).with_code(0);
    for vector in &vectors {
        let name = vector["name"].as_str().unwrap();
        let registered = registry().latest(&format!("{}-value", topic(name))).unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&registered.schema).unwrap(), vector["registered"], "{name}");
        let records = servers::read(&topic(name));
        assert_eq!(records.len(), 3, "{name}");
        let hex: Vec<Vec<u8>> =
            vector["avro"].as_array().unwrap().iter().map(|hex| unhex(hex.as_str().unwrap())).collect();
        for record in &records {
            let (id, body) = unframed(record.value.as_ref().unwrap());
            assert_eq!(id, registered.id, "{name}");
            // The entries of a Java map have no order that means something.
            let is_there = |wanted: &Vec<u8>| wanted == body || name == "users_" && wanted.len() == body.len();
            assert!(hex.iter().any(is_there), "{name}: {body:02x?}");
            let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
            assert!(vector["keys"].as_array().unwrap().contains(&key.clone().into()), "{name}: {key}");
            // A generator's records have no time of their own: it is that of writing.
            assert!(record.timestamp.unwrap() > 1_700_000_000_000, "{name}");
        }
        let mut headers: Vec<_> = records.iter().flat_map(|record| record.headers.clone()).collect();
        headers.sort();
        let header = |number: &str| ("current.iteration".to_owned(), Some(number.as_bytes().to_vec()));
        assert_eq!(headers, ["0", "1", "2"].map(header), "{name}");
    }
}

#[test]
fn records_of_a_topic_are_lines_of_a_file_and_what_is_refused_goes_to_the_dead_letters() {
    let topic = servers::topic("lines", 1);
    let dead = servers::topic("lines-dead", 1);
    let record = |key: Option<&str>, value: Option<&str>, timestamp: i64| TestRecord {
        key: key.map(|key| key.as_bytes().to_vec()),
        value: value.map(|value| value.as_bytes().to_vec()),
        headers: vec![("h".into(), Some(b"12".to_vec()))],
        ..TestRecord::to(0, "").at(timestamp)
    };
    servers::produce(
        &topic,
        &[
            record(None, Some(r#"{"a":1,"b":"x"}"#), 1_000),
            record(Some("k"), None, 2_000),
            record(Some("k"), Some("{not json"), 3_000),
            record(None, Some(r#"{"a":2}"#), 4_000),
        ],
    );
    let folder = Folder::connected();
    folder.pipeline(
        "lines",
        &format!(
            "  sources: {{ in: {{ kafka: {{ topic: {topic} }}, format: bytes, columns: {{ value: bytes? }} }} }}
  sinks:
    out:
      from: in
      file: {{ path: out.txt }}
      format:
        connect:
          key.converter: org.apache.kafka.connect.storage.StringConverter
          value.converter: org.apache.kafka.connect.json.JsonConverter
          value.converter.schemas.enable: false
          name: my sink
          errors.log.enable: true
          errors.log.include.messages: true
          transforms: place
          transforms.place.type: org.apache.kafka.connect.transforms.InsertField$Value
          transforms.place.offset.field: at
  dead_letter:
    kafka: {{ topic: {dead} }}
    format: {{ connect: {{ name: my sink, errors.deadletterqueue.context.headers.enable: true }} }}
"
        ),
    );
    let ended = folder.run("apply", &["--until", "end"]).with_code(0);
    assert_eq!(folder.read("out.txt"), "{a=1, b=x, at=0}\nnull\n{a=2, at=3}\n");
    let place = format!("{{topic='{topic}', partition=0, offset=2, timestamp=3000, timestampType=CreateTime}}");
    let told = format!(
        "Error encountered in task my sink-0. Executing stage 'VALUE_CONVERTER' with class 'org.apache.kafka.connect.json.JsonConverter', where consumed record is {place}."
    );
    assert_eq!(ended.stderr.matches(&told).count(), 1, "{}", ended.stderr);
    let [letter] = servers::read(&dead).try_into().unwrap();
    assert_eq!(
        (letter.text(), letter.key.as_deref(), letter.timestamp),
        ("{not json".into(), Some(&b"k"[..]), Some(3_000))
    );
    let text =
        |(name, value): &(String, Option<Vec<u8>>)| (name.clone(), String::from_utf8(value.clone().unwrap()).unwrap());
    let headers: Vec<_> = letter.headers.iter().map(text).collect();
    let (message, rest) = (headers[9].1.clone(), &headers[..9]);
    let named = |name: &str, value: &str| (format!("__connect.errors.{name}"), value.to_owned());
    let expected = [
        ("h".to_owned(), "12".to_owned()),
        named("topic", &topic),
        named("partition", "0"),
        named("offset", "2"),
        named("connector.name", "my sink"),
        named("task.id", "0"),
        named("stage", "VALUE_CONVERTER"),
        named("class.name", "org.apache.kafka.connect.json.JsonConverter"),
        named("exception.class.name", "org.apache.kafka.connect.errors.DataException"),
    ];
    assert_eq!(rest, expected);
    assert!(
        message.starts_with("Converting byte[] to Kafka Connect data failed due to serialization error: "),
        "{message}"
    );
    assert_eq!(headers[10].0, "__connect.errors.exception.stacktrace");
}

/// A topic for each day, and one for what has a header: each is made when its first record comes.
#[test]
fn records_that_name_their_topics_go_there_and_come_once_where_nothing_breaks() {
    const DAY: i64 = 86_400_000;
    let topic = servers::topic("routed", 1);
    let out = servers::unique("routed-out");
    let record = |value: &str, day: i64| TestRecord::to(0, value).at(19_723 * DAY + day * DAY + 5);
    let marked = TestRecord { headers: vec![("h".into(), Some(b"1".to_vec()))], ..record("d", 0) };
    servers::produce(&topic, &[record("a", 0), record("b", 1), record("c", 0), marked, record("e", 1)]);
    let folder = Folder::connected();
    folder.pipeline(
        "routed",
        &format!(
            "  sources: {{ in: {{ kafka: {{ topic: {topic} }}, format: bytes, columns: {{ value: bytes? }} }} }}
  state: {{ journal: file }}
  sinks:
    out:
      from: in
      kafka: {{ topic: {out}, new_topics: [{{ topics: ['.*-20240102'], partitions: 3, config: {{ max.message.bytes: 777777 }} }}, {{ partitions: 2 }}] }}
      delivery: at_least_once
      format:
        connect:
          key.converter: org.apache.kafka.connect.storage.StringConverter
          value.converter: org.apache.kafka.connect.converters.ByteArrayConverter
          transforms: day,marked
          transforms.day.type: org.apache.kafka.connect.transforms.TimestampRouter
          transforms.marked.type: org.apache.kafka.connect.transforms.RegexRouter
          transforms.marked.regex: .*
          transforms.marked.replacement: {out}-marked
          transforms.marked.predicate: marked
          predicates: marked
          predicates.marked.type: org.apache.kafka.connect.transforms.predicates.HasHeaderKey
          predicates.marked.name: h
"
        ),
    );
    let texts = |name: &str| {
        let mut texts: Vec<String> = servers::read(&format!("{out}-{name}")).iter().map(TestRecord::text).collect();
        texts.sort();
        texts
    };
    let ended = folder.run("apply", &["--until", "end"]).with_code(0);
    assert!(ended.stderr.contains("topics that each record names"), "{}", ended.stderr);
    assert_eq!([texts("20240101"), texts("20240102"), texts("marked")], [vec!["a", "c"], vec!["b", "e"], vec!["d"]]);
    let partitions = |name: &str| servers::partitions(&format!("{out}-{name}"));
    assert_eq!([partitions("20240101"), partitions("20240102"), partitions("marked")], [2, 3, 2]);
    assert_eq!(servers::setting(&format!("{out}-20240102"), "max.message.bytes"), "777777");
    assert!(!servers::exists(&out));
    // A day more; what is out is known, and comes no second time.
    servers::produce(&topic, &[record("f", 2), record("g", 0)]);
    folder.run("apply", &["--until", "end"]).with_code(0);
    let expected = [vec!["a", "c", "g"], vec!["b", "e"], vec!["f"], vec!["d"]];
    assert_eq!([texts("20240101"), texts("20240102"), texts("20240103"), texts("marked")], expected);
}
