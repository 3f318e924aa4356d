//! Formats on real servers: what a record was, it is again behind the pipeline.

use runner::registry::Registry;
use serde_json::{Value, json};

use crate::servers::{self, TestRecord};
use crate::specs::{Folder, avro_bytes, avro_long, decoded, framed, register, registry};

/// Every type that a field can have, with the bytes of two values and what they mean.
const FIELDS: &[(&str, &str, &[u8], &[u8])] = &[
    ("flag", r#""boolean""#, b"\x01", b"\x00"),
    ("small", r#""int""#, b"\x07", b"\x54"),
    ("large", r#""long""#, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x00"),
    ("single", r#""float""#, b"\x00\x00\x80\x3f", b"\x00\x00\x00\xc0"),
    ("wide", r#""double""#, b"\x00\x00\x00\x00\x00\x00\xf8\x3f", b"\x00\x00\x00\x00\x00\x00\x00\x00"),
    ("text", r#""string""#, b"\x06\xc3\xa4b", b"\x00"),
    ("raw", r#""bytes""#, b"\x04\x00\xff", b"\x00"),
    ("colour", r#"{"type":"enum","name":"Colour","namespace":"shop","symbols":["RED","GREEN"]}"#, b"\x02", b"\x00"),
    ("code", r#"{"type":"fixed","name":"Code","namespace":"shop","size":3}"#, b"abc", b"\x00\x01\x02"),
    ("price", r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#, b"\x04\x30\x39", b"\x02\xff"),
    ("day", r#"{"type":"int","logicalType":"date"}"#, b"\xb6\xb4\x02", b"\x01"),
    ("at_ms", r#"{"type":"long","logicalType":"timestamp-millis"}"#, b"\x80\xd0\x95\xff\x97\x63", b"\x00"),
    ("at_us", r#"{"type":"long","logicalType":"timestamp-micros"}"#, b"\x02", b"\x01"),
    (
        "id",
        r#"{"type":"string","logicalType":"uuid"}"#,
        b"\x48f47ac10b-58cc-4372-a567-0e02b2c3d479",
        b"\x4800000000-0000-4000-8000-000000000000",
    ),
    ("maybe", r#"["null","string"]"#, b"\x02\x02x", b"\x00"),
    ("maybe_at", r#"["null",{"type":"long","logicalType":"timestamp-millis"}]"#, b"\x00", b"\x02\x04"),
    ("tags", r#"{"type":"array","items":"string"}"#, b"\x04\x02a\x02b\x00", b"\x00"),
    ("counts", r#"{"type":"map","values":"long"}"#, b"\x02\x02k\x0e\x00", b"\x00"),
    (
        "place",
        r#"{"type":"record","name":"Place","namespace":"shop","fields":[{"name":"city","type":"string"},{"name":"points","type":{"type":"array","items":{"type":"record","name":"Point","fields":[{"name":"x","type":"int"},{"name":"y","type":["null","double"],"default":null}]}}}]}"#,
        b"\x02c\x02\x02\x00\x00",
        b"\x00\x00",
    ),
];

fn everything(name: &str) -> String {
    let fields: Vec<String> = FIELDS
        .iter()
        .map(|(name, of, ..)| {
            let default = if of.starts_with("[\"null\"") { r#","default":null"# } else { "" };
            format!(r#"{{"name":"{name}","type":{of}{default}}}"#)
        })
        .collect();
    format!(r#"{{"type":"record","name":"{name}","fields":[{}]}}"#, fields.join(","))
}

/// A field's type as it is registered, with full names.
fn types(schema: &str) -> Vec<(String, Value)> {
    let schema: Value = serde_json::from_str(schema).unwrap();
    let field = |field: &Value| (field["name"].as_str().unwrap().to_owned(), field["type"].clone());
    schema["fields"].as_array().unwrap().iter().map(field).collect()
}

#[test]
fn every_type_goes_from_source_to_sink_with_its_avro_type() {
    let topic = servers::topic("types", 1);
    let written = everything("Everything");
    let id = register(&format!("{topic}-value"), &written);
    let first = framed(id, &FIELDS.iter().flat_map(|field| field.2).copied().collect::<Vec<u8>>());
    let second = framed(id, &FIELDS.iter().flat_map(|field| field.3).copied().collect::<Vec<u8>>());
    servers::produce(&topic, &[TestRecord::to(0, first.clone()), TestRecord::to(0, second.clone())]);
    let folder = Folder::connected();
    folder.pipeline(
        "types",
        &format!(
            "  sources: {{ a: {{ kafka: {{ topic: {topic} }}, format: avro }} }}
  transforms: {{ b: {{ from: a, add: {{ extra: small + 1 }} }} }}
  sinks: {{ c: {{ from: b, kafka: {{ topic: {topic}-out }}, format: avro }}, d: {{ from: a, kafka: {{ topic: {topic}-same }}, format: original }} }}
"
        ),
    );
    folder.run("apply", &["--until", "end"]).with_code(0);
    let registered = registry().latest(&format!("{topic}-out-value")).unwrap().unwrap().schema;
    let (mut expected, mut found) = (types(&written), types(&registered));
    assert_eq!(found.pop().unwrap().0, "extra");
    let without_doc = |types: &mut Vec<(String, Value)>| types.iter_mut().for_each(|(_, of)| plain(of));
    without_doc(&mut expected);
    without_doc(&mut found);
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found);
    }
    let rows = servers::read(&format!("{topic}-out"));
    for (original, row) in [&first, &second].into_iter().zip(&rows) {
        let mut row = decoded(row.value.as_ref()).unwrap();
        let extra = row.as_object_mut().unwrap().remove("extra").unwrap();
        assert_eq!(extra, json!(row["small"].as_i64().unwrap() + 1));
        assert_eq!(Some(row), decoded(Some(original)));
    }
    let same = servers::read(&format!("{topic}-same"));
    assert_eq!(same.iter().map(|record| record.value.as_ref().unwrap()).collect::<Vec<_>>(), [&first, &second]);
}

/// Without what says nothing about the type: a namespace that is inherited or repeated in the name, defaults.
fn plain(of: &mut Value) {
    match of {
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Object(entries) => {
            if let (Some(namespace), Some(name)) = (entries.remove("namespace"), entries.get_mut("name")) {
                let short = name.as_str().unwrap().rsplit('.').next().unwrap().to_owned();
                *name = Value::String(format!("{}.{short}", namespace.as_str().unwrap()));
            }
            if entries.get("name").is_some_and(|name| name == "Point") {
                entries.insert("name".into(), "shop.Point".into());
            }
            entries.remove("default");
            entries.values_mut().for_each(plain);
        }
        _ => {}
    }
}

#[test]
fn several_writer_schemas_in_one_topic_are_read_as_the_newest() {
    let topic = servers::topic("evolution", 1);
    let subject = format!("{topic}-value");
    let schema = |fields: &str| format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
    let n = r#"{"name":"n","type":"int"}"#;
    let old = register(&subject, &schema(&format!(r#"{n},{{"name":"gone","type":"string"}}"#)));
    let middle = register(&subject, &schema(n));
    let newest =
        register(&subject, &schema(r#"{"name":"added","type":"string","default":"none"},{"name":"n","type":"long"}"#));
    let value = |id, parts: &[Vec<u8>]| TestRecord::to(0, framed(id, &parts.concat()));
    servers::produce(
        &topic,
        &[
            value(newest, &[avro_bytes(b"first"), avro_long(1 << 40)]),
            value(old, &[avro_long(2), avro_bytes(b"x")]),
            value(middle, &[avro_long(3)]),
            value(newest, &[avro_bytes(b"last"), avro_long(4)]),
            value(old, &[avro_long(5), avro_bytes(b"y")]),
        ],
    );
    let folder = Folder::connected();
    folder.pipeline(
        "evolution",
        &format!(
            "  sources: {{ a: {{ kafka: {{ topic: {topic} }}, format: avro }} }}\n  sinks: {{ b: {{ from: a, kafka: {{ topic: {topic}-out }}, format: json }} }}\n"
        ),
    );
    folder.run("apply", &["--until", "end"]).with_code(0);
    let rows: Vec<Value> = servers::read(&format!("{topic}-out"))
        .iter()
        .map(|record| serde_json::from_slice(record.value.as_ref().unwrap()).unwrap())
        .collect();
    let row = |added: &str, n: i64| json!({ "added": added, "n": n });
    assert_eq!(rows, [row("first", 1 << 40), row("none", 2), row("none", 3), row("last", 4), row("none", 5)]);
}

#[test]
fn json_keys_and_headers_go_where_they_are_told() {
    let topic = servers::topic("json", 2);
    let record = |partition, n: i64| TestRecord {
        key: Some(format!("k{n}").into_bytes()),
        headers: vec![("own".into(), Some(b"h".to_vec()))],
        ..TestRecord::to(partition, format!(r#"{{ "n": {n}, "nested": {{"a": [1, "x", null]}}, "who": "w{n}" }}"#))
    };
    servers::produce(&topic, &[record(0, 1), record(1, 2)]);
    let folder = Folder::connected();
    folder.pipeline(
        "json",
        &format!(
            "  sources:
    whole: {{ kafka: {{ topic: {topic} }}, format: json }}
    typed: {{ kafka: {{ topic: {topic} }}, format: json, key_format: string, columns: {{ n: long, who: string }} }}
  transforms:
    keyed: {{ from: typed, add: {{ key: _key, place: _partition }} }}
  sinks:
    same: {{ from: whole, kafka: {{ topic: {topic}-same }}, format: json }}
    none: {{ from: typed, kafka: {{ topic: {topic}-none }}, format: json, key: [] }}
    who:
      from: typed
      kafka: {{ topic: {topic}-who }}
      format: json
      key: [who]
      headers: {{ fixed: always, 'n-plus': 'n is ${{n + 1}}' }}
    two: {{ from: keyed, kafka: {{ topic: {topic}-two }}, format: json, key: [who, n] }}
"
        ),
    );
    folder.run("apply", &["--until", "end"]).with_code(0);
    let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    let json = |record: &TestRecord| serde_json::from_slice::<Value>(record.value.as_ref().unwrap()).unwrap();
    // Two partitions may come in two epochs, in any order.
    let read = |name: &str| {
        let mut records = servers::read(&format!("{topic}-{name}"));
        records.sort_by_key(|record| json(record)["n"].as_i64());
        records
    };

    let same = read("same");
    assert_eq!(json(&same[0]), json!({ "n": 1, "nested": { "a": [1, "x", null] }, "who": "w1" }));
    assert_eq!((text(&same[0].key), &same[0].headers), (Some("k1".into()), &record(0, 1).headers));
    assert!(read("none").iter().all(|record| record.key.is_none()));
    let who = read("who");
    let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
    assert_eq!(text(&who[0].key), Some("w1".into()));
    assert_eq!(who[0].headers, [header("fixed", "always"), header("n-plus", "n is 2")]);
    let two = read("two");
    let key: Value = serde_json::from_str(&text(&two[1].key).unwrap()).unwrap();
    assert_eq!(key, json!({ "who": "w2", "n": 2 }));
    assert_eq!(json(&two[1]), json!({ "n": 2, "who": "w2", "key": "k2", "place": 1 }));
}

#[test]
fn a_row_that_no_longer_passes_is_a_tombstone_under_its_key() {
    let topic = servers::topic("tombstones", 1);
    let row = |user: &str, change: i64| TestRecord::to(0, format!(r#"{{"user":"{user}","change":{change}}}"#));
    let folder = Folder::connected();
    folder.pipeline(
        "tombstones",
        &format!(
            "  sources: {{ a: {{ kafka: {{ topic: {topic} }}, format: json, columns: {{ user: string, change: long }} }} }}
  transforms:
    sums: {{ from: a, group_by: [user], aggregate: {{ total: sum(change) }} }}
    debtors: {{ from: sums, where: total < 0 }}
  sinks: {{ b: {{ from: debtors, kafka: {{ topic: {topic}-out }}, format: avro, mode: upsert }} }}
"
        ),
    );
    let apply = folder.apply(&[]);
    let out = format!("{topic}-out");
    let rows = |count: usize| -> Vec<(Value, Option<Value>)> {
        let records = crate::specs::read_when(&out, count);
        records.iter().map(|record| (decoded(record.key.as_ref()).unwrap(), decoded(record.value.as_ref()))).collect()
    };
    servers::produce(&topic, &[row("a", -5), row("b", 3)]);
    assert_eq!(rows(1), [(json!({ "user": "a" }), Some(json!({ "user": "a", "total": -5 })))]);
    servers::produce(&topic, &[row("a", 5)]);
    assert_eq!(rows(2)[1], (json!({ "user": "a" }), None), "a tombstone has a null value");
    servers::produce(&topic, &[row("b", -4)]);
    assert_eq!(rows(3)[2], (json!({ "user": "b" }), Some(json!({ "user": "b", "total": -1 }))));
    apply.signal(libc::SIGINT);
    apply.wait().with_code(0);
    assert_eq!(servers::read(&out).len(), 3, "a row that never passed leaves no tombstone");
}

/// Bytes that no encoder of ours writes: an array in a block with its size. Encoded again they are others.
fn tags_by_size(tags: &[&str]) -> Vec<u8> {
    let items: Vec<u8> = tags.iter().flat_map(|tag| avro_bytes(tag.as_bytes())).collect();
    [avro_long(-(tags.len() as i64)), avro_long(items.len() as i64), items, avro_long(0)].concat()
}

#[test]
fn bytes_are_passed_on_where_the_sinks_subject_knows_their_schema() {
    let topic = servers::topic("passed", 1);
    let out = format!("{topic}-out");
    let schema = |more: &str| {
        format!(
            r#"{{"type":"record","name":"R","fields":[{{"name":"n","type":"int"}},{{"name":"tags","type":{{"type":"array","items":"string"}}}}{more}]}}"#
        )
    };
    let subject = format!("{topic}-value");
    let oldest = register(&subject, &schema(r#",{"name":"gone","type":"string"}"#));
    let old = register(&subject, &schema(""));
    let newest = register(&subject, &schema(r#",{"name":"added","type":"string","default":"none"}"#));
    assert_eq!(register(&format!("{out}-value"), &schema("")), old);

    let value =
        |id, n: i64, more: &[u8]| framed(id, &[avro_long(n), tags_by_size(&["a", "b"]), more.to_vec()].concat());
    let given = [
        value(newest, 1, &avro_bytes(b"x")),
        value(newest, -1, &avro_bytes(b"does not pass")),
        value(oldest, 2, &avro_bytes(b"y")),
        value(old, 3, b""),
        value(oldest, -2, &avro_bytes(b"does not pass")),
        // One that ends too early touches no neighbour.
        value(oldest, 4, b"")[..11].to_vec(),
        value(oldest, 5, &avro_bytes(b"")),
        // What nobody has looked at yet is found when it is encoded again.
        framed(oldest, &[avro_long(5), avro_long(1), avro_bytes(b"\xff"), avro_long(0), avro_bytes(b"")].concat()),
        value(newest, 6, &avro_bytes(b"z")),
    ];
    servers::produce(&topic, &given.iter().map(|value| TestRecord::to(0, value.clone())).collect::<Vec<_>>());
    let folder = Folder::connected();
    folder.pipeline(
        "passed",
        &format!(
            "  sources: {{ a: {{ kafka: {{ topic: {topic} }}, format: avro }} }}
  transforms: {{ b: {{ from: a, where: n > 0 }} }}
  sinks: {{ c: {{ from: b, kafka: {{ topic: {out} }}, format: avro, schema: {{ name: R }} }} }}
  errors: {{ skip: true }}
"
        ),
    );
    let ended = folder.run("apply", &["--until", "end"]).with_code(0);
    assert!(ended.stdout.contains("2 dead") || ended.stderr.contains("2 dead"), "{}{}", ended.stdout, ended.stderr);
    let own = registry().latest(&format!("{out}-value")).unwrap().unwrap();
    assert_eq!(own.id, newest, "the sink derives the very schema of its source: {}", own.schema);
    let again = |n: i64| {
        let tags = [avro_long(2), avro_bytes(b"a"), avro_bytes(b"b"), avro_long(0)].concat();
        framed(newest, &[avro_long(n), tags, avro_bytes(b"none")].concat())
    };
    let expected = [given[0].clone(), again(2), given[3].clone(), again(5), given[8].clone()];
    let written: Vec<Vec<u8>> = servers::read(&out).into_iter().map(|record| record.value.unwrap()).collect();
    assert_eq!(written, expected);
}
