//! The Avro converter, against what the genuine one registered, wrote and read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::super::converters::{AvroConverter, Converter, Dialect, avro_schema, connect_schema};
use super::super::{ConfigError, Datum, Field, Kind, Schema, Settings, Struct, Value};
use super::{json_converter, read, same, vectors, write};
use crate::registry::avro::Schema as AvroSchema;
use crate::registry::{EmbeddedRegistry, Registered, Registry, Side, Verdict};
use crate::report::Failure;

/// Per quickstart the schema of its generator, the schema that Confluent's connector and converter register for it,
/// and its first values, as JSON and encoded.
fn avro_vectors() -> Vec<Json> {
    serde_json::from_str(include_str!("../../../tests/data/quickstarts.json")).unwrap()
}

fn generator_schema(name: &str) -> AvroSchema {
    let path = format!("{}/schemas/quickstarts/{name}.avsc", env!("CARGO_MANIFEST_DIR"));
    AvroSchema::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn avro_schemas_are_those_that_the_genuine_converter_registers() {
    for vector in avro_vectors() {
        let name = vector["name"].as_str().unwrap();
        let connect = connect_schema(&generator_schema(name), Dialect::default()).unwrap();
        assert_eq!(avro_schema(&connect, Dialect::default()).unwrap(), vector["registered"], "{name}");
    }
}

#[derive(Debug, Default)]
struct OneSchema(std::sync::Mutex<Vec<(String, String)>>);

impl Registry for OneSchema {
    fn latest(&self, _subject: &str) -> Result<Option<Registered>, Failure> {
        Ok(None)
    }
    fn version(&self, _subject: &str, _version: i32) -> Result<Option<Registered>, Failure> {
        Ok(None)
    }
    fn by_id(&self, id: i32) -> Result<Option<Arc<str>>, Failure> {
        Ok(self.0.lock().unwrap().get(id as usize).map(|(_, text)| text.as_str().into()))
    }
    fn lookup_as(&self, _subject: &str, _schema: &str, _: bool) -> Result<Option<Registered>, Failure> {
        Ok(None)
    }
    fn register_as(&self, subject: &str, schema: &str, _: bool) -> Result<i32, Failure> {
        let mut all = self.0.lock().unwrap();
        all.push((subject.into(), schema.into()));
        Ok(all.len() as i32 - 1)
    }
    fn compatible(&self, _subject: &str, _schema: &str) -> Result<Verdict, Failure> {
        Ok(Verdict { compatible: true, messages: Vec::new() })
    }
    fn describe(&self) -> String {
        "in memory".into()
    }
}

/// A value of a struct with one `int`, and as [`EmbeddedRegistry`] has its schema: `named` with more fields before it.
fn one_int(number: i32) -> Datum {
    let schema = Arc::new(Schema {
        name: Some("n.R".into()),
        ..Schema::of_fields(vec![("a".into(), Schema::new(Kind::Int32).into())])
    });
    let row = Struct { schema: schema.clone(), values: vec![Value::Int32(number)] };
    Datum { schema: Some(schema), value: Value::Struct(row) }
}

fn registry_with(subjects: &[(&str, &str)]) -> (tempfile::TempDir, Arc<EmbeddedRegistry>) {
    let folder = tempfile::tempdir().unwrap();
    let registry = EmbeddedRegistry::open(folder.path()).unwrap();
    for (subject, schema) in subjects {
        registry.register(subject, schema).unwrap();
    }
    (folder, Arc::new(registry))
}

fn converter_of(registry: &Arc<EmbeddedRegistry>, settings: &[(&str, &str)]) -> Result<AvroConverter, ConfigError> {
    let all = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    AvroConverter::new(Settings::new(&all, ""), registry.clone(), Side::Value)
}

const STRATEGY: &str = "value.subject.name.strategy";

#[test]
fn subjects_are_named_by_the_strategy() {
    for (strategy, subject) in [("TopicName", "t-value"), ("RecordName", "n.R"), ("TopicRecordName", "t-n.R")] {
        let (_folder, registry) = registry_with(&[]);
        let class = format!("io.confluent.kafka.serializers.subject.{strategy}Strategy");
        let converter = converter_of(&registry, &[(STRATEGY, &class)]).unwrap();
        converter.encode("t", &one_int(1)).unwrap();
        assert!(registry.latest(subject).unwrap().is_some(), "{strategy}");
        let plain = Datum { schema: Some(Arc::new(Schema::new(Kind::String))), value: Value::String("x".into()) };
        let plain = converter.encode("t", &plain);
        match strategy {
            "TopicName" => assert!(plain.is_err(), "not compatible with the record"),
            _ => assert!(plain.unwrap_err().message.contains("must only be a record schema")),
        }
    }
    let (_folder, registry) = registry_with(&[]);
    let wrong = converter_of(&registry, &[(STRATEGY, "com.x.Mine")]).unwrap_err();
    assert!(wrong.message.contains("Class com.x.Mine could not be found"), "{wrong}");
}

#[test]
fn values_are_written_with_the_latest_schema_where_that_is_asked_for() {
    const LATEST: &str = r#"{"type":"record","name":"R","namespace":"n","fields":[{"name":"more","type":["null","string"],"default":null},{"name":"a","type":["long","null"]}]}"#;
    let (_folder, registry) = registry_with(&[("t-value", LATEST)]);
    let latest = [("auto.register.schemas", "false"), ("use.latest.version", "true")];
    let converter = converter_of(&registry, &latest).unwrap();
    // Null, then the first branch and 7.
    assert_eq!(converter.encode("t", &one_int(7)).unwrap().unwrap(), b"\0\0\0\0\x01\0\0\x0e");
    let schema = one_int(7).schema;
    assert_eq!(converter.form("t", schema.as_ref()), None, "columns would be written with their own schema");
    let none = converter.encode("other", &one_int(7)).unwrap_err();
    assert!(none.message.contains("nothing is registered under subject other-value"), "{}", none.message);
    // Registered is what registers.
    let first = converter_of(&registry, &[("use.latest.version", "true"), ("normalize.schemas", "true")]).unwrap();
    assert_eq!(first.encode("new", &one_int(7)).unwrap().unwrap()[4], 2);

    const STRICT: &str = r#"{"type":"record","name":"R","namespace":"n","fields":[{"name":"b","type":"int"},{"name":"a","type":"int"}]}"#;
    let (_folder, registry) = registry_with(&[("t-value", STRICT)]);
    let refused = converter_of(&registry, &latest).unwrap().encode("t", &one_int(7)).unwrap_err();
    assert!(refused.message.contains("cannot read these values") && !refused.away, "{}", refused.message);
    let lenient = [latest[0], latest[1], ("latest.compatibility.strict", "false")];
    let refused = converter_of(&registry, &lenient).unwrap().encode("t", &one_int(7)).unwrap_err();
    assert!(refused.message.contains("field b: null where the latest version has int"), "{}", refused.message);
}

#[test]
fn a_record_goes_into_the_branch_of_its_name() {
    // The first record takes any: its field may be null.
    const LATEST: &str = r#"["null",
        {"type":"record","name":"X","namespace":"n","fields":[{"name":"n","type":["null","int"],"default":null}]},
        {"type":"record","name":"R","namespace":"n","fields":[{"name":"a","type":"int"}]}]"#;
    let (_folder, registry) = registry_with(&[("t-value", LATEST)]);
    let latest =
        [("auto.register.schemas", "false"), ("use.latest.version", "true"), ("latest.compatibility.strict", "false")];
    let mut seven = one_int(7);
    let converter = converter_of(&registry, &latest).unwrap();
    let named = Schema { name: Some("n.R".into()), ..(*seven.schema.unwrap()).clone() };
    let named = Arc::new(named);
    if let Value::Struct(row) = &mut seven.value {
        row.schema = named.clone();
    }
    seven.schema = Some(named);
    assert_eq!(converter.encode("t", &seven).unwrap().unwrap(), b"\0\0\0\0\x01\x04\x0e");
}

#[test]
fn a_time_in_other_units_is_no_value_of_the_latest_schema() {
    const MICROS: &str = r#"{"type":"long","logicalType":"timestamp-micros"}"#;
    let (_folder, registry) = registry_with(&[("t-value", MICROS)]);
    let latest = [("auto.register.schemas", "false"), ("use.latest.version", "true")];
    let converter = converter_of(&registry, &latest).unwrap();
    let time = Schema {
        name: Some("org.apache.kafka.connect.data.Timestamp".into()),
        version: Some(1),
        ..Schema::new(Kind::Int64)
    };
    let time = Datum { schema: Some(Arc::new(time)), value: Value::Timestamp(1) };
    assert!(converter.encode("t", &time).is_err());
    let number = Datum { schema: Some(Arc::new(Schema::new(Kind::Int64))), value: Value::Int64(1) };
    assert_eq!(converter.encode("t", &number).unwrap().unwrap(), b"\0\0\0\0\x01\x02");
}

fn avro_converter(registry: &Arc<OneSchema>, settings: &[(&str, &str)]) -> AvroConverter {
    let all = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    AvroConverter::new(Settings::new(&all, ""), registry.clone(), Side::Value).unwrap()
}

#[test]
fn avro_values_are_read_and_written_as_by_the_genuine_converter() {
    for vector in avro_vectors() {
        let name = vector["name"].as_str().unwrap();
        let registry = Arc::new(OneSchema::default());
        let converter = avro_converter(&registry, &[]);
        registry.register("t-value", &vector["registered"].to_string()).unwrap();
        let values = vector["values"].as_array().unwrap();
        for (value, hex) in values.iter().zip(vector["avro"].as_array().unwrap()) {
            let hex = hex.as_str().unwrap();
            let body = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            let framed: Vec<u8> = [0u8; 5].into_iter().chain(body).collect();
            let datum = converter.decode("t", Some(&framed)).unwrap();
            let plain = json_converter(false, false).encode("t", &datum).unwrap().unwrap();
            assert!(
                same(&serde_json::from_slice(&plain).unwrap(), value),
                "{name}: {}",
                String::from_utf8_lossy(&plain)
            );
            let again = converter.encode("t", &datum).unwrap().unwrap();
            assert_eq!(again[5..], framed[5..], "{name}");
        }
        let registered = registry.0.lock().unwrap();
        assert_eq!(registered.len(), 2, "a schema is registered once");
        assert_eq!(registered[1].0, "t-value");
        assert_eq!(serde_json::from_str::<Json>(&registered[1].1).unwrap(), vector["registered"], "{name}");
    }
}

#[test]
fn connect_schemas_go_through_avro_and_back() {
    let vectors = vectors();
    for name in ["row", "row2", "nom", "str", "long", "ts"] {
        let datum = read(&vectors["values"][name]);
        let registry = Arc::new(OneSchema::default());
        let converter = avro_converter(&registry, &[]);
        let bytes = converter.encode("t", &datum).unwrap().unwrap();
        let again = converter.decode("t", Some(&bytes)).unwrap();
        // A struct without a name comes back with one.
        let payload = |datum: &Datum| write(datum).unwrap()["payload"].clone();
        assert_eq!(payload(&again), payload(&datum), "{name}: {}", registry.0.lock().unwrap()[0].1);
        for cut in 0..bytes.len() {
            assert!(converter.decode("t", Some(&bytes[..cut])).is_err(), "{name} cut to {cut} bytes");
        }
    }
}

#[test]
fn avro_schemas_say_what_connect_knows() {
    let schema = |text: &str| {
        let text = format!("{{\"schema\":{text},\"payload\":null}}");
        let json = super::super::json::Json::parse(text.as_bytes()).unwrap().unwrap();
        super::super::converters::read_schema(json.get("schema").unwrap()).unwrap().unwrap()
    };
    let avro = |text: &str, metadata: bool| {
        avro_schema(&schema(text), Dialect { metadata, ..Dialect::default() }).map(|json| json.to_string())
    };
    for (connect, with, without) in [
        (r#"{"type":"int8"}"#, r#"{"type":"int","connect.type":"int8"}"#, r#""int""#),
        (r#"{"type":"string","optional":true}"#, r#"["null","string"]"#, r#"["null","string"]"#),
        (r#"{"type":"int32","default":5}"#, r#"{"type":"int","connect.default":5}"#, r#""int""#),
        (
            r#"{"type":"int32","optional":true,"default":5}"#,
            r#"[{"type":"int","connect.default":5},"null"]"#,
            r#"["int","null"]"#,
        ),
        (
            r#"{"type":"int64","name":"org.apache.kafka.connect.data.Timestamp","version":1}"#,
            r#"{"type":"long","connect.version":1,"connect.name":"org.apache.kafka.connect.data.Timestamp","logicalType":"timestamp-millis"}"#,
            r#"{"type":"long","logicalType":"timestamp-millis"}"#,
        ),
        (
            r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","version":1,"parameters":{"scale":"2"}}"#,
            r#"{"type":"bytes","scale":2,"precision":64,"connect.version":1,"connect.parameters":{"scale":"2"},"connect.name":"org.apache.kafka.connect.data.Decimal","logicalType":"decimal"}"#,
            r#"{"type":"bytes","scale":2,"precision":64,"logicalType":"decimal"}"#,
        ),
        (
            r#"{"type":"struct","fields":[{"type":"struct","field":"a","fields":[]},{"type":"string","optional":true,"field":"b"}]}"#,
            r#"{"type":"record","name":"ConnectDefault","namespace":"io.confluent.connect.avro","fields":[{"name":"a","type":{"type":"record","name":"ConnectDefault2","fields":[]}},{"name":"b","type":["null","string"],"default":null}]}"#,
            r#"{"type":"record","name":"ConnectDefault","namespace":"io.confluent.connect.avro","fields":[{"name":"a","type":{"type":"record","name":"ConnectDefault2","fields":[]}},{"name":"b","type":["null","string"],"default":null}]}"#,
        ),
    ] {
        assert_eq!(avro(connect, true).unwrap(), with, "{connect}");
        assert_eq!(avro(connect, false).unwrap(), without, "{connect}");
    }
    let wrong = r#"{"type":"struct","name":"my-rec 1","fields":[]}"#;
    assert_eq!(avro(wrong, true).unwrap_err().message, "Illegal character in: my-rec 1");
    let union = AvroSchema::parse(r#"["null","string",{"type":"record","name":"a.X","fields":[]}]"#).unwrap();
    let union = connect_schema(&union, Dialect::default()).unwrap();
    let names: Vec<&str> = union.fields().iter().map(|field| field.name.as_str()).collect();
    assert_eq!((union.name.as_deref(), names), (Some("io.confluent.connect.avro.Union"), vec!["string", "X"]));
    assert!(connect_schema(&AvroSchema::parse(r#""null""#).unwrap(), Dialect::default()).is_err());
    let unregistered = Arc::new(OneSchema::default());
    let converter = avro_converter(&unregistered, &[("auto.register.schemas", "false")]);
    let text = Datum::new(Schema::new(Kind::String), Value::String("x".into()));
    assert!(converter.encode("t", &text).unwrap_err().message.contains("not registered under subject t-value"));
}

/// A schema that is there under id 0, and a converter beside it.
fn reading(schema: &str, settings: &[(&str, &str)]) -> (Arc<OneSchema>, AvroConverter) {
    let registry = Arc::new(OneSchema::default());
    registry.register("t-value", schema).unwrap();
    let converter = avro_converter(&registry, settings);
    (registry, converter)
}

/// What is registered of values that were read, and their bytes behind the id.
fn again((registry, converter): &(Arc<OneSchema>, AvroConverter), bytes: &[u8]) -> (Json, Vec<u8>) {
    let framed: Vec<u8> = [0u8; 5].iter().chain(bytes).copied().collect();
    let datum = converter.decode("t", Some(&framed)).unwrap();
    let written = converter.encode("t", &datum).unwrap().unwrap();
    let registered = registry.0.lock().unwrap().last().unwrap().1.clone();
    assert!(AvroSchema::parse(&registered).is_ok(), "{registered}");
    (serde_json::from_str(&registered).unwrap(), written[5..].to_vec())
}

const ENHANCED: (&str, &str) = ("enhanced.avro.schema.support", "true");
const BARE: (&str, &str) = ("connect.meta.data", "false");

#[test]
fn enums_stay_enums_where_schemas_are_enhanced() {
    let kind = r#"{"type":"enum","name":"Kind","namespace":"a.b","doc":"which","symbols":["X","Y"],"default":"X"}"#;
    let text = format!(
        r#"{{"type":"record","name":"R","namespace":"a","fields":[{{"name":"k","type":{kind}}},{{"name":"o","type":["null","a.b.Kind"],"default":null}}]}}"#
    );
    // Y, and the second branch: X.
    let bytes = [2, 2, 0];
    let (schema, written) = again(&reading(&text, &[ENHANCED]), &bytes);
    let field = &schema["fields"][0]["type"];
    assert_eq!((&field["type"], &field["symbols"]), (&"enum".into(), &serde_json::json!(["X", "Y"])), "{schema}");
    assert_eq!([&field["namespace"], &field["doc"], &field["default"]], ["a.b", "which", "X"], "{schema}");
    assert_eq!(field["connect.parameters"]["io.confluent.connect.avro.Enum.Y"], "Y", "{schema}");
    assert_eq!(schema["fields"][1]["type"], serde_json::json!(["null", "a.b.Kind"]));
    assert_eq!(written, bytes);
    let (schema, written) = again(&reading(&text, &[]), &bytes);
    assert_eq!((&schema["fields"][0]["type"]["type"], written), (&"string".into(), b"\x02Y\x02\x02X".to_vec()));

    // What a transformation made of it is no symbol.
    let converter = reading(&text, &[ENHANCED]).1;
    let mut datum = converter.decode("t", Some(&[0, 0, 0, 0, 0, 2, 2, 0])).unwrap();
    let Value::Struct(row) = &mut datum.value else { panic!("a record is a struct") };
    row.values[0] = Value::String("Z".into());
    let error = converter.encode("t", &datum).unwrap_err();
    assert_eq!(error.message, "Invalid value for field k: the enum a.b.Kind has no symbol Z");
    assert_eq!(converter.form("t", datum.schema.as_ref()), None, "columns hold texts");
}

#[test]
fn unions_go_through_structs_and_back() {
    let short = r#"["null","string",{"type":"record","name":"a.X","fields":[{"name":"n","type":"int"}]}]"#;
    let (schema, written) = again(&reading(short, &[BARE]), &[4, 6]);
    assert_eq!(
        schema.to_string(),
        r#"["null","string",{"type":"record","name":"X","namespace":"a","fields":[{"name":"n","type":"int"}]}]"#
    );
    assert_eq!(written, [4, 6]);

    let two = r#"[{"type":"record","name":"a.X","fields":[]},{"type":"record","name":"b.X","fields":[]}]"#;
    let refused = reading(two, &[]).1.decode("t", Some(&[0, 0, 0, 0, 0, 2])).unwrap_err();
    assert!(refused.message.contains("Multiple union schemas map to the Connect union field name"), "{refused}");
    assert_eq!(again(&reading(two, &[ENHANCED, BARE]), &[2]).1, [2], "full names tell them apart");

    let single = r#"{"type":"record","name":"R","fields":[{"name":"u","type":["string"]}]}"#;
    let (schema, written) = again(&reading(single, &[BARE, ("flatten.singleton.unions", "false")]), &[0, 2, b'x']);
    assert_eq!((schema["fields"][0]["type"].to_string(), written), (r#"["string"]"#.into(), vec![0, 2, b'x']));
    assert_eq!(again(&reading(single, &[BARE]), &[0, 2, b'x']).0["fields"][0]["type"], "string");
}

#[test]
fn names_that_avro_refuses_are_changed_where_that_is_asked_for() {
    let scrubbing = Dialect { scrub: true, metadata: false, ..Dialect::default() };
    for (name, changed) in [
        ("a-b", "a_b"),
        ("a b", "a_b"),
        ("1x", "x1x"),
        ("a$b", "a_24b"),
        ("é", "_C3_A9"),
        ("a.b", "a_b"),
        ("ok_1", "ok_1"),
    ] {
        let field = Field { name: name.into(), schema: Arc::new(Schema::new(Kind::Int32)) };
        let schema = Schema { name: Some("1.my-rec 1".into()), ..Schema::new(Kind::Struct(vec![field])) };
        let avro = avro_schema(&schema, scrubbing).unwrap();
        assert_eq!([&avro["namespace"], &avro["name"], &avro["fields"][0]["name"]], ["x1", "my_rec_1", changed]);
        let avro = avro_schema(&schema, Dialect { scrub: true, ..Dialect::default() }).unwrap();
        assert_eq!(avro["connect.name"], "1.my-rec 1");
    }
    let value = r#"{"schema":{"type":"struct","fields":[{"type":"int32","field":"a-b"},{"type":"int32","field":"c"}]},"payload":{"a-b":1,"c":2}}"#;
    let datum = read(&serde_json::from_str(value).unwrap());
    let registry = Arc::new(OneSchema::default());
    let scrubbing = avro_converter(&registry, &[("scrub.invalid.names", "true")]);
    let bytes = scrubbing.encode("t", &datum).unwrap().unwrap();
    let back = scrubbing.decode("t", Some(&bytes)).unwrap();
    let names: Vec<&str> = back.schema.as_ref().unwrap().fields().iter().map(|field| field.name.as_str()).collect();
    assert_eq!((names, &bytes[5..]), (vec!["a_b", "c"], &[2u8, 4][..]));
    assert_eq!(scrubbing.form("t", datum.schema.as_ref()), None, "columns have the names of before");
    let refused = avro_converter(&registry, &[]).encode("t", &datum).unwrap_err();
    assert_eq!(refused.message, "Illegal character in: a-b");
    let both = value.replace("\"c\"", "\"a_b\"");
    let refused = scrubbing.encode("t", &read(&serde_json::from_str(&both).unwrap())).unwrap_err();
    assert_eq!(refused.message, "Duplicate field a_b in record io.confluent.connect.avro.ConnectDefault");
    // The latest version has the changed names, too.
    let latest = r#"{"type":"record","name":"ConnectDefault","namespace":"io.confluent.connect.avro","fields":[{"name":"c","type":"int"},{"name":"a_b","type":"long"}]}"#;
    let (_folder, embedded) = registry_with(&[("t-value", latest)]);
    let settings =
        [("auto.register.schemas", "false"), ("use.latest.version", "true"), ("scrub.invalid.names", "true")];
    let written = converter_of(&embedded, &settings).unwrap().encode("t", &datum).unwrap().unwrap();
    assert_eq!(written[5..], [4, 2]);
}

#[test]
fn keys_and_defaults_are_written_as_the_settings_say() {
    let value = r#"{"schema":{"type":"struct","fields":[{"type":"map","keys":{"type":"string","optional":true},"values":{"type":"int32"},"field":"m"},{"type":"int32","optional":true,"default":5,"field":"d"}]},"payload":{"m":{"k":1},"d":null}}"#;
    let mut datum = read(&serde_json::from_str(value).unwrap());
    let Value::Struct(row) = &mut datum.value else { panic!("it is a struct") };
    row.values[1] = Value::Null;
    let written = |settings: &[(&str, &str)]| {
        let registry = Arc::new(OneSchema::default());
        let bytes = avro_converter(&registry, settings).encode("t", &datum).unwrap().unwrap();
        let schema: Json = serde_json::from_str(&registry.0.lock().unwrap()[0].1).unwrap();
        (schema["fields"][0]["type"]["type"].as_str().unwrap().to_owned(), bytes[5..].to_vec())
    };
    // An entry: a key that is there, k, and 1. Then the first branch and the default.
    assert_eq!(written(&[]), ("array".into(), vec![2, 2, 2, b'k', 2, 0, 0, 10]));
    let settings = [("allow.optional.map.keys", "true"), ("ignore.default.for.nullables", "true")];
    assert_eq!(written(&settings), ("map".into(), vec![2, 2, b'k', 2, 0, 2]));
    let all: BTreeMap<String, String> = [("generalized.sum.type.support".to_owned(), "true".to_owned())].into();
    let refused = AvroConverter::new(Settings::new(&all, ""), Arc::new(OneSchema::default()), Side::Value).unwrap_err();
    assert!(refused.message.contains("numbered ones are not available"), "{refused}");
}
