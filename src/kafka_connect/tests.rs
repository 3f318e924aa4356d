//! Against what the genuine classes gave: each transformation, the JSON converter, headers.

mod avro;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::columns::{Columns, Part};
use super::converters::{Converter, JsonConverter, SimpleHeaderConverter, converter, header_converter};
use super::transforms::{Chain, classes};
use super::{Datum, Header, Record, Schema, Settings, Value};

fn vectors() -> Json {
    serde_json::from_str(include_str!("../../tests/data/connect-vectors.json")).unwrap()
}

fn json_converter(schemas: bool, numeric: bool) -> JsonConverter {
    JsonConverter { schemas_enable: schemas, decimal_numeric: numeric, replace_null_with_default: true, content: None }
}

/// An envelope, or nothing.
fn read(envelope: &Json) -> Datum {
    match envelope {
        Json::Null => Datum::NULL,
        envelope => json_converter(true, true).decode("t", Some(envelope.to_string().as_bytes())).unwrap(),
    }
}

fn write(datum: &Datum) -> Result<Json, String> {
    let bytes = json_converter(true, true).encode("t", datum).map_err(|error| error.message)?;
    Ok(bytes.map_or(Json::Null, |bytes| serde_json::from_slice(&bytes).unwrap()))
}

/// `1` and `1.0` are the same here: Java's JSON library prints a decimal as it likes.
fn same(ours: &Json, theirs: &Json) -> bool {
    match (ours, theirs) {
        (Json::Number(a), Json::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => ours == theirs,
    }
}

/// Where the genuine message is a Java exception's, or names the wrong thing, ours is another.
const OWN_WORDS: &[(&str, &str)] = &[
    ("InsertionSpec@", "No value specified for static field"),
    ("Timestamp missing on record: SinkRecord", "Timestamp missing on record"),
    ("Illegal pattern character 'q'", "Illegal pattern character 'q'"),
    ("Invalid regex: Unclosed group", "for configuration regex"),
    ("No enum constant", "Invalid type found in casting spec: foo"),
    ("for configuration renames: Invalid rename mapping: a:b:c", "Invalid cast spec: a:b:c"),
    ("because \"config.format\" is null", "requires format option"),
    ("java.lang.IllegalArgumentException: Illegal pattern character 'b'", "SimpleDateFormat-compatible pattern"),
    ("due to serialization error: ", "due to serialization error: "),
    ("because \"<local7>\" is null", "nothing of the kind"),
];

fn same_words(ours: &str, theirs: &str) -> bool {
    let own = OWN_WORDS.iter().find(|(theirs_has, _)| theirs.contains(theirs_has));
    match own {
        Some((_, ours_has)) => ours.contains(ours_has),
        None => ours == theirs,
    }
}

fn chain(class: &str, config: &Json) -> Result<Chain, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    all.insert("transforms".into(), "it".into());
    all.insert("transforms.it.type".into(), format!("org.apache.kafka.connect.transforms.{class}"));
    for (key, value) in config.as_object().unwrap() {
        all.insert(format!("transforms.it.{key}"), value.as_str().unwrap().into());
    }
    Chain::new(&all).map_err(|wrong| wrong[0].message.clone())
}

#[test]
fn transformations_give_what_the_genuine_ones_give() {
    let vectors = vectors();
    let named = |json: &Json| json.as_str().map_or_else(|| json.clone(), |name| vectors["values"][name].clone());
    let key = serde_json::json!({"schema": {"type": "string", "optional": false}, "payload": "k"});
    let (mut wrong, mut count) = (String::new(), 0);
    for vector in vectors["smt"].as_array().unwrap() {
        let (class, config) = (vector["smt"].as_str().unwrap(), &vector["config"]);
        let mut say = |what: String| wrong += &format!("{class} {config} of {}: {what}\n", vector["value"]);
        count += 1;
        let theirs_wrong = vector.get("config_error").or(vector.get("error")).and_then(Json::as_str);
        let made = chain(class, config).and_then(|chain| {
            let header = |pair: &Json| Header {
                name: pair[0].as_str().unwrap().into(),
                datum: SimpleHeaderConverter.decode("t", Some(pair[1].as_str().unwrap().as_bytes())).unwrap(),
            };
            let record = Record {
                topic: "topic-1".into(),
                partition: Some(3),
                offset: Some(42),
                timestamp: vector.get("no_timestamp").is_none().then_some(1_700_000_000_123),
                key: read(&key),
                value: read(&named(&vector["value"])),
                headers: vector
                    .get("headers")
                    .map_or(Vec::new(), |all| all.as_array().unwrap().iter().map(header).collect()),
            };
            let Some(record) = chain.apply(record).map_err(|refused| refused.error.message)? else { return Ok(None) };
            let headers: Result<Vec<Json>, String> = record
                .headers
                .iter()
                .map(|header| Ok(serde_json::json!([header.name, write(&header.datum)?])))
                .collect();
            Ok(Some((record.topic.clone(), write(&record.key)?, write(&record.value)?, headers?)))
        });
        match (made, theirs_wrong) {
            (Err(ours), Some(theirs)) if same_words(&ours, theirs) => {}
            (Err(ours), theirs) => say(format!("{ours}\n   instead of {theirs:?} {}", vector["out"])),
            (Ok(made), Some(theirs)) => say(format!("{made:?}\n   instead of {theirs}")),
            (Ok(None), None) => assert_eq!(vector["dropped"], true),
            (Ok(Some((topic, made_key, value, headers))), None) => {
                let out = &vector["out"];
                let wanted_key = out.get("key").map_or(key.clone(), &named);
                let wanted =
                    (named(&out["value"]), out.get("headers").cloned().unwrap_or_else(|| Json::Array(Vec::new())));
                if topic != out.get("topic").map_or("topic-1", |topic| topic.as_str().unwrap()) {
                    say(format!("topic {topic}"));
                }
                if !same(&made_key, &wanted_key) {
                    say(format!("key {made_key}\n   instead of {wanted_key}"));
                }
                if !same(&value, &wanted.0) {
                    say(format!("{value}\n   instead of {}", wanted.0));
                }
                if !same(&Json::Array(headers.clone()), &wanted.1) {
                    say(format!("headers {headers:?}\n   instead of {}", wanted.1));
                }
            }
        }
    }
    assert!(count > 230, "{count}");
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn json_is_read_and_written_as_by_the_genuine_converter() {
    let (mut wrong, vectors) = (String::new(), vectors());
    for vector in vectors["json"].as_array().unwrap() {
        let text = vector["json"].as_str().unwrap();
        let numeric = vector["numeric"].as_bool().unwrap();
        let converter = json_converter(vector["schemas"].as_bool().unwrap(), numeric);
        let made = converter.decode("t", Some(text.as_bytes())).and_then(|datum| {
            let again = converter.encode("t", &datum)?;
            let string = super::converters::PlainConverter::String.encode("t", &datum)?;
            Ok((again.map(|bytes| String::from_utf8(bytes).unwrap()), string.map(|b| String::from_utf8(b).unwrap())))
        });
        match (made, vector.get("error").and_then(Json::as_str)) {
            (Err(ours), Some(theirs)) if same_words(&ours.message, theirs) => {}
            (Ok((again, string)), None) => {
                // A map has the order of its hashes there.
                let parsed = |text: Option<&str>| text.map(|text| serde_json::from_str::<Json>(text).unwrap());
                let is_free = text.starts_with("{\"schema\": null") || !converter.schemas_enable;
                let equal = again.as_deref() == vector["again"].as_str()
                    || (is_free && parsed(again.as_deref()) == parsed(vector["again"].as_str()));
                if !equal {
                    wrong += &format!("{text}: {again:?}\n   instead of {}\n", vector["again"]);
                }
                // Java prints the address of bytes, and a map in the order of its hashes.
                let addressed =
                    |text: &str| text.contains("HeapByteBuffer") || text.contains("[B@") || text.contains('{');
                let theirs = vector["string"].as_str();
                if string.as_deref() != theirs && !theirs.is_some_and(addressed) {
                    wrong += &format!("{text}: {string:?}\n   instead of {theirs:?}\n");
                }
            }
            (made, theirs) => wrong += &format!("{text}: {made:?}\n   instead of {theirs:?} {}\n", vector["again"]),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn headers_say_by_their_form_what_they_are() {
    let (mut wrong, vectors) = (String::new(), vectors());
    for vector in vectors["header"].as_array().unwrap() {
        let text = vector["header"].as_str().unwrap();
        let datum = SimpleHeaderConverter.decode("t", Some(text.as_bytes())).unwrap();
        let read = write(&datum).unwrap();
        let again = SimpleHeaderConverter.encode("t", &datum).unwrap();
        let again = again.map(|bytes| String::from_utf8(bytes).unwrap());
        if !same(&read, &vector["read"]) || again.as_deref() != vector["again"].as_str() {
            wrong += &format!("{text}: {read} {again:?}\n   instead of {} {}\n", vector["read"], vector["again"]);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn plain_converters_go_both_ways() {
    let none = BTreeMap::new();
    let settings = Settings::new(&none, "");
    let named = |class: &str| converter(class, settings).unwrap().unwrap();
    for (class, bytes, value) in [
        ("org.apache.kafka.connect.storage.StringConverter", &b"a\xc3\xa9"[..], Value::String("aé".into())),
        ("ByteArrayConverter", &[0xff, 0], Value::Bytes(vec![0xff, 0])),
        ("Short", &[1, 0], Value::Int16(256)),
        ("IntegerConverter", &[0xff, 0xff, 0xff, 0xfe], Value::Int32(-2)),
        ("LongConverter", &[0, 0, 0, 0, 0, 0, 0, 9], Value::Int64(9)),
        ("FloatConverter", &[0x3f, 0xc0, 0, 0], Value::Float32(1.5)),
        ("DoubleConverter", &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0], Value::Float64(1.5)),
        ("BooleanConverter", &[1], Value::Boolean(true)),
    ] {
        let converter = named(class);
        let datum = converter.decode("t", Some(bytes)).unwrap();
        assert!(datum.schema.as_ref().unwrap().optional, "{class}");
        assert_eq!((&datum.value, converter.encode("t", &datum).unwrap().as_deref()), (&value, Some(bytes)), "{class}");
        assert_eq!(converter.decode("t", None).unwrap().value, Value::Null);
        assert_eq!(converter.encode("t", &Datum::NULL).unwrap(), None);
        if !["org.apache.kafka.connect.storage.StringConverter", "ByteArrayConverter"].contains(&class) {
            assert!(converter.decode("t", Some(&[9; 11])).is_err(), "{class}");
        }
    }
    let text = Datum::new(Schema::new(super::Kind::String), Value::String("x".into()));
    let wrong = |class: &str, datum: &Datum| named(class).encode("t", datum).unwrap_err().message;
    assert_eq!(wrong("ByteArray", &text), "Invalid schema type for ByteArrayConverter: STRING");
    let int = Datum::schemaless(Value::Int32(1));
    assert_eq!(wrong("Long", &int), "Failed to serialize to long (was class java.lang.Integer)");
    assert!(named("Boolean").decode("t", Some(&[2])).is_err());
    assert!(
        converter("io.example.Nothing", settings).is_none() && converter("SimpleHeaderConverter", settings).is_none()
    );
    assert!(header_converter("SimpleHeaderConverter", settings).is_some());
}

#[test]
fn what_the_genuine_converter_garbles_is_an_error() {
    let read = |schemas: bool, text: &str| json_converter(schemas, false).decode("t", Some(text.as_bytes()));
    assert!(read(false, "123456789012345678901234567890").unwrap_err().message.contains("out of range"));
    let nan = read(true, r#"{"schema":{"type":"double"},"payload":"NaN"}"#).unwrap().value;
    assert!(matches!(nan, Value::Float64(number) if number.is_nan()), "as it was written; the genuine one reads 0");
    for (ty, payload) in [("int32", "5.7"), ("int32", "\"5\""), ("int8", "300"), ("int64", "9223372036854775808")] {
        let text = format!("{{\"schema\":{{\"type\":\"{ty}\"}},\"payload\":{payload}}}");
        assert!(read(true, &text).is_err(), "{text}");
    }
}

#[test]
fn predicates_choose_what_a_transformation_sees() {
    let settings = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let all = [("transforms", "drop"), ("transforms.drop.type", "org.apache.kafka.connect.transforms.Filter")];
        let both = all.iter().chain(pairs);
        both.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let record = |topic: &str, value: Value, header: Option<&str>| Record {
        topic: topic.into(),
        partition: None,
        offset: None,
        timestamp: None,
        key: Datum::NULL,
        value: Datum::schemaless(value),
        headers: header.iter().map(|name| Header { name: (*name).into(), datum: Datum::NULL }).collect(),
    };
    let text = || Value::String("x".into());
    let predicate = |class: &str, more: &[(&str, &str)], negate: &str| {
        let class = format!("org.apache.kafka.connect.transforms.predicates.{class}");
        let mut pairs = vec![
            ("predicates", "p, unused"),
            ("predicates.p.type", class.as_str()),
            ("predicates.unused.type", "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone"),
            ("transforms.drop.predicate", "p"),
            ("transforms.drop.negate", negate),
        ];
        pairs.extend_from_slice(more);
        Chain::new(&settings(&pairs)).unwrap_or_else(|wrong| panic!("{wrong:?}"))
    };
    let drops = |chain: &Chain, record: Record| chain.apply(record).unwrap().is_none();
    let topics = predicate("TopicNameMatches", &[("predicates.p.pattern", "a.*|b")], "false");
    assert!(drops(&topics, record("abc", text(), None)) && drops(&topics, record("b", text(), None)));
    assert!(!drops(&topics, record("bc", text(), None)), "the whole name must match");
    let live = predicate("TopicNameMatches", &[("predicates.p.pattern", "(?!.*-dlq$).*")], "true");
    assert!(drops(&live, record("a-dlq", text(), None)) && !drops(&live, record("a", text(), None)));
    // Of a name for which that takes too long nobody knows it: a bad record, for columns too.
    let endless = predicate("TopicNameMatches", &[("predicates.p.pattern", "(?:(a)\\1?)+b")], "false");
    let long = "a".repeat(200);
    let refused = endless.apply(record(&long, text(), None)).unwrap_err();
    assert!(refused.class.ends_with("Filter") && refused.error.message.contains("goes back"), "{refused:?}");
    let columns = Columns { topic: long, count: 1, key: Part::Null(None), value: Part::Null(None) };
    assert!(endless.columns(columns).is_none());
    let header = predicate("HasHeaderKey", &[("predicates.p.name", "h")], "true");
    assert!(!drops(&header, record("t", text(), Some("h"))) && drops(&header, record("t", text(), None)));
    let tombstone = predicate("RecordIsTombstone", &[], "false");
    assert!(drops(&tombstone, record("t", Value::Null, None)) && !drops(&tombstone, record("t", text(), None)));
    assert!(drops(&Chain::new(&settings(&[])).unwrap(), record("t", text(), None)));

    let wrong = |pairs: &[(&str, &str)]| {
        let wrong = Chain::new(&settings(pairs)).err().expect("these settings cannot be");
        wrong.into_iter().map(|error| (error.key, error.message)).collect::<Vec<_>>()
    };
    let found =
        wrong(&[("transforms", "drop,a,drop"), ("transforms.a.type", "Nothing"), ("transforms.drop.predicate", "q")]);
    let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["transforms.drop.predicate", "transforms.a.type", "transforms"], "{found:?}");
    assert!(
        classes().len() == 26
            && classes().iter().all(|class| class.starts_with("org.apache.kafka.connect.transforms."))
    );
}

// Avro.
