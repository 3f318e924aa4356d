//! The generator against data of the genuine one, and as a source: positions, replay, ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes as arrow_types;
use arrow::datatypes::{DataType, TimeUnit};
use serde_json::{Value as Json, json};

use super::generate::{Draw, RowBuilder};
use super::kinds::Rules;
use super::quickstarts::QUICKSTARTS;
use super::random::Random;
use super::rules::{Problem, World};
use super::{Datagen, Options};
use crate::connectors::{Bell, Payload, Reader, Source, Wanted};
use crate::data::{Partition, Position};
use crate::formats::{AvroWriter, EncoderSpec, Format};
use crate::registry::avro::Schema;
use crate::report::{Diagnostics, SourceFile};
use crate::spec::{FromNode, Node};

/// One value as JSON: numbers plain, bytes as `{"hex": …}`.
fn value(array: &dyn Array, row: usize) -> Json {
    if array.data_type() == &DataType::Null || array.is_null(row) {
        return Json::Null;
    }
    let hex = |bytes: &[u8]| json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() });
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int32 => array.as_primitive::<arrow_types::Int32Type>().value(row).into(),
        DataType::Date32 => array.as_primitive::<arrow_types::Date32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<arrow_types::Int64Type>().value(row).into(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<arrow_types::TimestampMillisecondType>().value(row).into()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            array.as_primitive::<arrow_types::TimestampMicrosecondType>().value(row).into()
        }
        DataType::Float32 => {
            // The shortest text of the float, as a double.
            let text = array.as_primitive::<arrow_types::Float32Type>().value(row).to_string();
            text.parse::<f64>().unwrap().into()
        }
        DataType::Float64 => array.as_primitive::<arrow_types::Float64Type>().value(row).into(),
        DataType::Decimal128(..) => {
            hex(minimal(&array.as_primitive::<arrow_types::Decimal128Type>().value(row).to_be_bytes()))
        }
        DataType::Decimal256(..) => {
            hex(minimal(&array.as_primitive::<arrow_types::Decimal256Type>().value(row).to_be_bytes()))
        }
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::Binary => hex(array.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(_) => hex(array.as_fixed_size_binary().value(row)),
        DataType::Dictionary(..) => {
            let enums = array.as_dictionary::<arrow_types::Int32Type>();
            value(enums.values(), enums.key(row).unwrap())
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|index| value(&items, index)).collect()
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let key = |index| entries.column(0).as_string::<i32>().value(index).to_string();
            Json::Object((0..entries.len()).map(|index| (key(index), value(entries.column(1), index))).collect())
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let each = fields.iter().zip(columns).map(|(field, column)| (field.name().clone(), value(column, row)));
            Json::Object(each.collect())
        }
        DataType::Union(..) => {
            let union = array.as_union();
            value(union.child(union.type_id(row)), union.value_offset(row))
        }
        other => panic!("no test value of type {other}"),
    }
}

/// The shortest bytes of the same number.
fn minimal(bytes: &[u8]) -> &[u8] {
    let same = |pair: &[u8]| (pair[0] == 0 && pair[1] < 0x80) || (pair[0] == 0xff && pair[1] >= 0x80);
    let cut = bytes.windows(2).take_while(|pair| same(pair)).count();
    &bytes[cut..]
}

fn rows(batch: &RecordBatch) -> Vec<Json> {
    let rows = arrow::array::StructArray::from(batch.clone());
    (0..batch.num_rows()).map(|row| value(&rows, row)).collect()
}

fn read(schema: &Json) -> (Option<Rules>, Vec<Problem>) {
    let world = World { folder: Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")), keys: None };
    Rules::read(&Schema::from_json(schema).unwrap(), world)
}

fn rules(schema: &Json) -> Rules {
    let (rules, problems) = read(schema);
    rules.unwrap_or_else(|| panic!("{problems:?}"))
}

fn vectors(kind: &str) -> Vec<Json> {
    let text = include_str!("../../../tests/data/datagen-vectors.json");
    let mut all: Json = serde_json::from_str(text).unwrap();
    match all[kind].take() {
        Json::Array(vectors) => vectors,
        _ => panic!("no vectors of kind {kind}"),
    }
}

/// A top type that is no record, as the one field of a record.
fn wrapped(schema: &Json) -> Json {
    json!({ "type": "record", "name": "Wrapped", "fields": [{ "name": "it", "type": schema }] })
}

#[test]
fn all_vectors_of_the_genuine_generator_come_out_the_same() {
    let vectors = vectors("generator");
    assert!(vectors.len() > 55, "{}", vectors.len());
    for vector in vectors {
        let is_record = vector["schema"]["type"] == "record";
        let schema = if is_record { vector["schema"].clone() } else { wrapped(&vector["schema"]) };
        let rules = rules(&schema);
        let (mut draw, mut builder) =
            (Draw::new(&rules.iterations, vector["seed"].as_i64().unwrap()), RowBuilder::new(&rules));
        let wanted = vector["values"].as_array().unwrap();
        // A later generation begins behind the records of the ones before; counters draw nothing.
        let skipped = vector["generation"].as_u64().unwrap_or(0) as usize;
        (0..skipped + wanted.len()).for_each(|_| builder.push(&mut draw));
        let made = rows(&builder.finish()).split_off(skipped);
        let made: Vec<Json> = made.into_iter().map(|row| if is_record { row } else { row["it"].clone() }).collect();
        assert_eq!(&made, wanted, "{}", vector["id"]);
    }
}

#[test]
fn all_vectors_of_the_genuine_connector_come_out_the_same() {
    for vector in vectors("connector") {
        let rules = rules(&vector["schema"]);
        let (mut draw, mut builder) =
            (Draw::new(&rules.iterations, vector["seed"].as_i64().unwrap()), RowBuilder::new(&rules));
        let wanted = vector["values"].as_array().unwrap();
        for _ in wanted {
            builder.push(&mut draw);
            draw.random = Random::new(draw.random.next_long());
        }
        assert_eq!(&rows(&builder.finish()), wanted, "{}", vector["id"]);
    }
}

#[test]
fn columns_have_the_types_that_the_avro_decoder_gives() {
    let schema = json!({"type": "record", "name": "R", "namespace": "n", "fields": [
        {"name": "a", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}},
        {"name": "b", "type": ["null", {"type": "fixed", "name": "F", "size": 4}]},
        {"name": "c", "type": ["null", "int", {"type": "long", "logicalType": "timestamp-micros"}, "E"]},
        {"name": "d", "type": {"type": "array", "items": ["string", "null"]}},
        {"name": "e", "type": {"type": "map", "values": {"type": "record", "name": "S", "fields": [
            {"name": "x", "type": {"type": "int", "logicalType": "date"}},
            {"name": "y", "type": {"type": "long", "logicalType": "local-timestamp-millis"}}]}}},
        {"name": "f", "type": {"type": "int", "logicalType": "time-millis"}},
        {"name": "h", "type": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2}},
        {"name": "i", "type": {"type": "bytes", "logicalType": "decimal", "precision": 39}},
        {"name": "j", "type": {"type": "fixed", "name": "D", "size": 4, "logicalType": "decimal", "precision": 6}},
        {"name": "k", "type": {"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 3}},
        {"name": "g", "type": "bytes"}]});
    let decoded = crate::formats::arrow_schema(&schema.to_string()).unwrap();
    let DataType::Struct(fields) = rules(&schema).root.field.data_type().clone() else { panic!("no record") };
    for (ours, theirs) in fields.iter().zip(decoded.fields()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(fields.len(), decoded.fields().len());
}

#[test]
fn rules_that_cannot_work_are_all_named_at_once() {
    let record = |rules: Json| {
        let fields = rules
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
            .map(|(index, ty)| json!({"name": format!("f{index}"), "type": ty}));
        json!({"type": "record", "name": "R", "fields": fields.collect::<Vec<_>>()})
    };
    let ruled = |ty: &str, rules: Json| json!({"type": ty, "arg.properties": rules});
    let cases = [
        (ruled("int", json!([])), "arg.properties property must be given as object, was java.util.ArrayList instead"),
        (ruled("int", json!({"options": []})), "options property cannot be empty"),
        (
            ruled("int", json!({"options": 1})),
            "options prop must be an array or an object, was java.lang.Integer instead",
        ),
        (ruled("int", json!({"options": [1.5]})), "Invalid option for int schema: type java.lang.Double, value '1.5'"),
        (
            ruled("string", json!({"options": ["a", 1]})),
            "Invalid option for string schema: type java.lang.Integer, value '1'",
        ),
        (
            ruled("int", json!({"options": [1], "range": {"min": 1}})),
            "Cannot specify range prop when options prop is given",
        ),
        (
            ruled("int", json!({"iteration": {"start": 0}, "range": {}})),
            "Cannot specify range prop when iteration prop is given",
        ),
        (
            ruled("int", json!({"range": {"min": 5, "max": 5}})),
            "'min' field must be strictly less than 'max' field in range property",
        ),
        (
            ruled("long", json!({"range": {"min": 1e0}})),
            "'min' field of range property must be an integral number, was java.lang.Double instead",
        ),
        (
            ruled("int", json!({"range": {"max": 3_000_000_000_i64}})),
            "'max' field of range property must be a valid int for int schemas",
        ),
        (
            ruled("float", json!({"range": {"max": 1e300}})),
            "'max' field of range property must be a valid float for float schemas",
        ),
        (ruled("double", json!({"range": 1})), "range property must be an object"),
        (ruled("string", json!({"length": -1})), "when given as integral number, length property cannot be negative"),
        (
            ruled("string", json!({"length": {}})),
            "length property must contain at least one of 'min' or 'max' fields when given as object",
        ),
        (
            ruled("string", json!({"length": {"min": 3, "max": 3}})),
            "max field must be strictly greater than min field for length property",
        ),
        (
            ruled("bytes", json!({"length": "1"})),
            "length property must either be an integral number or an object, was java.lang.String instead",
        ),
        (
            ruled("string", json!({"length": {"min": 3}})),
            "length property needs a 'max' field, or values of 2 GiB would be made",
        ),
        (ruled("string", json!({"prefix": 1})), "prefix property must be a string"),
        (
            ruled("bytes", json!({"iteration": {"start": 1}})),
            "iteration property can only be specified on numeric, boolean or string schemas, not BYTES schema",
        ),
        (ruled("string", json!({"regex": 1})), "regex property must be a string"),
        (
            ruled("string", json!({"regex": "[a"})),
            "`[a` is not a regex that can be generated: expected ']' at position 2",
        ),
        (json!({"type": "map", "values": "int", "arg.properties": {"keys": []}}), "keys prop must be an object"),
        (
            json!({"type": "map", "values": "int", "arg.properties": {"keys": {"options": [1]}}}),
            "Invalid option for string schema: type java.lang.Integer, value '1'",
        ),
        (
            json!({"type": "bytes", "logicalType": "decimal", "precision": 4, "arg.properties": {"range": 3}}),
            "range property must be an object",
        ),
        (
            json!({"type": "bytes", "logicalType": "decimal", "precision": 4, "arg.properties": {"range": {"min": "a"}}}),
            "'min' field of range property must be a number, was java.lang.String instead",
        ),
        (
            ruled("string", json!({"options": {"encoding": "json"}})),
            "options property must contain 'file' field when given as object",
        ),
        (
            ruled("string", json!({"options": {"file": 1}})),
            "'file' field of options property must be given as string, was java.lang.Integer instead",
        ),
        (
            ruled("string", json!({"options": {"file": "a", "encoding": "xml"}})),
            "'encoding' field of options property only supports two formats: 'binary' and 'json'",
        ),
        (
            ruled("string", json!({"options": {"file": "none.json", "encoding": "json"}})),
            "Unable to locate options file 'none.json'",
        ),
        (ruled("string", json!({"options": ["a"], "zipf": 0})), "zipf property must be a number above 0, such as 1"),
        (
            ruled("long", json!({"late": {"odds": 2, "by": 1}})),
            "late property needs odds and by, such as {odds: 0.05, by: 100}",
        ),
        (
            ruled("int", json!({"reference": 1})),
            "reference property must be a source and its column, such as `users.id`",
        ),
        (
            ruled("int", json!({"reference": "a.b", "range": {}})),
            "Cannot specify range prop when reference prop is given",
        ),
    ];
    let (none, problems) = read(&record(cases.iter().map(|(ty, _)| ty.clone()).collect()));
    assert!(none.is_none());
    let found: Vec<_> = problems.iter().map(|problem| (problem.path.join("."), problem.message.as_str())).collect();
    let wanted: Vec<_> = cases.iter().enumerate().map(|(index, (_, why))| (format!("f{index}"), *why)).collect();
    assert_eq!(found, wanted);
}

#[test]
fn what_has_no_columns_is_refused() {
    assert_eq!(read(&json!("int")).1[0].code, "datagen.not_a_record");
    let list = json!({"type": "record", "name": "N", "fields": [{"name": "next", "type": ["null", "N"]}]});
    assert_eq!((read(&list).1[0].code, &read(&list).1[0].path[..]), ("datagen.recursive", &["next".to_string()][..]));
}

#[test]
fn a_misplaced_rule_is_a_warning() {
    let field = json!({"name": "a", "type": "int", "arg.properties": {"range": {"min": 1}}});
    let (rules, problems) = read(&json!({"type": "record", "name": "R", "fields": [field]}));
    assert!(rules.is_some());
    assert!(problems[0].message.contains("is ignored"), "{problems:?}");
}

#[test]
fn a_named_type_used_twice_shares_its_counters() {
    let schema = json!({"type": "record", "name": "R", "fields": [
        {"name": "a", "type": {"type": "record", "name": "I", "fields": [
            {"name": "i", "type": {"type": "int", "arg.properties": {"iteration": {"start": 0}}}}]}},
        {"name": "b", "type": "I"}]});
    let rules = rules(&schema);
    let (mut draw, mut builder) = (Draw::new(&rules.iterations, 1), RowBuilder::new(&rules));
    (0..2).for_each(|_| builder.push(&mut draw));
    assert_eq!(rows(&builder.finish()), [json!({"a": {"i": 0}, "b": {"i": 1}}), json!({"a": {"i": 2}, "b": {"i": 3}})]);
}

#[test]
fn nulls_and_options_go_together_in_nested_types() {
    let schema = json!({"type": "record", "name": "R", "fields": [
        {"name": "a", "type": ["null", {"type": "record", "name": "I", "fields": [
            {"name": "u", "type": ["int", "string"]},
            {"name": "m", "type": {"type": "map", "values": "int"}},
            {"name": "o", "type": {"type": "double", "arg.properties": {"options": [1, 2.5]}}},
            {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A"]}}]}]},
        {"name": "s", "type": [{"type": "string", "arg.properties": {"options": ["x"]}}, "null"]},
        {"name": "e", "type": {"type": "record", "name": "Empty", "fields": []}}]});
    let rules = rules(&schema);
    let (mut draw, mut builder) = (Draw::new(&rules.iterations, 7), RowBuilder::new(&rules));
    (0..100).for_each(|_| builder.push(&mut draw));
    let made = rows(&builder.finish());
    let nulls = |name: &str| made.iter().filter(|row| row[name].is_null()).count();
    assert!((30..70).contains(&nulls("a")) && (30..70).contains(&nulls("s")), "{made:?}");
    let inner: Vec<_> = made.iter().filter(|row| !row["a"].is_null()).collect();
    assert!(inner.iter().all(|row| row["a"]["o"] == 1.0 || row["a"]["o"] == 2.5));
    assert!(inner.iter().any(|row| row["a"]["u"].is_string()) && inner.iter().any(|row| row["a"]["u"].is_i64()));
    assert_eq!(builder.finish().num_rows(), 0, "the builder is empty again");
}

// As a source.

/// JSON is YAML.
fn node(text: String) -> Node {
    let file = std::sync::Arc::new(SourceFile { name: "test.yaml".into(), text });
    let mut out = Diagnostics::default();
    let node = crate::spec::read_yaml(&file, &Default::default(), &mut out).remove(0);
    assert_eq!(out.0, []);
    node
}

fn datagen(options: Json) -> Result<Datagen, Vec<(&'static str, String)>> {
    let (node, mut out) = (node(options.to_string()), Diagnostics::default());
    let made = Options::from_node(&node, &mut out)
        .and_then(|options| Datagen::from_options(&options, &node.place, Path::new("."), &|_| None, &mut out));
    made.filter(|_| !out.has_errors()).ok_or_else(|| out.0.into_iter().map(|d| (d.code, d.title)).collect())
}

fn ratings(more: Json) -> Datagen {
    let mut options = json!({"columns": {
        "id": {"type": "long", "iteration": {"start": 1}},
        "brand": {"type": "string", "options": ["Acme", "Globex"]},
        "made": {"type": "timestamp", "now": true},
        "score": "double?"}});
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    datagen(options).unwrap()
}

fn open(source: &Datagen) -> Box<dyn Reader> {
    source.open(0, &source.discover(&BTreeMap::new()).unwrap(), Wanted::default()).unwrap()
}

/// Per partition, rows as JSON.
fn poll(reader: &mut dyn Reader, rows_max: usize, clock: i64) -> BTreeMap<i32, Vec<Json>> {
    let fetched = reader.poll(rows_max, clock).unwrap();
    let one = |fetched: crate::connectors::Fetched| match fetched.payload {
        Payload::Rows { partition, rows: batch, offsets, .. } => {
            assert_eq!(batch.num_rows(), offsets.len());
            (partition, rows(&batch))
        }
        Payload::Raw(_) => panic!("a generator's rows are typed"),
    };
    fetched.into_iter().map(one).collect()
}

#[test]
fn count_is_a_total_over_the_tasks_and_ends_the_source() {
    let source = ratings(json!({"count": 10, "rate": "max", "tasks": 3, "seed": 1}));
    let mut reader = open(&source);
    let mut made: BTreeMap<i32, Vec<Json>> = BTreeMap::new();
    while (0..3).any(|task| !reader.status(task).ended) {
        for (partition, rows) in poll(&mut *reader, 6, 1_700_000_000_000) {
            made.entry(partition).or_default().extend(rows);
        }
    }
    assert_eq!(made.values().map(Vec::len).collect::<Vec<_>>(), [4, 3, 3]);
    assert_eq!(made[&0][3]["id"], 4);
    assert_eq!(made[&1][0]["id"], 1, "each task counts for itself");
    assert_eq!(made[&0][0]["made"], 1_700_000_000_000_i64);
    assert!(poll(&mut *reader, 6, 0).is_empty());
    assert_eq!(source.schema().field(2).data_type(), &crate::data::meta::time_type());
    assert!(reader.status(0).at_end && source.schema().field(3).is_nullable());
}

#[test]
fn replay_makes_the_same_rows_whatever_the_polls_were() {
    let source = ratings(json!({"rate": "max", "tasks": 2}));
    let starts = source.discover(&BTreeMap::new()).unwrap();
    let mut first = source.open(0, &starts, Wanted::default()).unwrap();
    let made: Vec<_> = (0..4).map(|clock| poll(&mut *first, 10, clock)).collect();
    let (to_0, to_1) = (first.position(0), first.position(1));

    // From the middle of the stream, through the journal's JSON.
    let mut second = source.open(0, &starts, Wanted::default()).unwrap();
    assert_eq!(poll(&mut *second, 10, 0), made[0]);
    let kept = serde_json::to_string(&[second.position(0), second.position(1)]).unwrap();
    let kept: Vec<Position> = serde_json::from_str(&kept).unwrap();
    let known = BTreeMap::from([(0, kept[0].clone()), (1, kept[1].clone())]);
    let again = source.discover(&known).unwrap();
    let mut third = source.open(0, &again, Wanted::default()).unwrap();
    third.limit(0, Some(to_0.clone()));
    third.limit(1, Some(to_1.clone()));
    let mut rows: BTreeMap<i32, Vec<Json>> = BTreeMap::new();
    for (size, clock) in [(10, 1), (4, 2), (2, 2), (4, 2), (10, 3), (10, 9)] {
        for (partition, more) in poll(&mut *third, size, clock) {
            rows.entry(partition).or_default().extend(more);
        }
    }
    for partition in [0, 1] {
        let wanted: Vec<Json> = made[1..].iter().flat_map(|polled| polled[&partition].clone()).collect();
        assert_eq!(rows[&partition], wanted);
        assert!(third.status(partition).at_end && !third.status(partition).ended);
    }
    assert_eq!((third.position(0), third.position(1)), (to_0, to_1));
    third.limit(0, None);
    assert_eq!(poll(&mut *third, 5, 9)[&0], poll(&mut *first, 10, 9)[&0], "and goes on from there");
}

/// As the genuine connector: 0 at first, and one more each time that a task goes on where an earlier run had stopped.
#[test]
fn i17_a_generation_begins_where_a_task_goes_on_and_is_replayed_as_it_was() {
    let source = ratings(json!({"rate": "max", "seed": 1}));
    let generation = |reader: &mut dyn Reader| match reader.poll(5, 0).unwrap().remove(0).payload {
        Payload::Rows { generation, .. } => generation,
        Payload::Raw(_) => panic!("typed rows"),
    };
    let begin = |known: &BTreeMap<Partition, Position>| {
        source.open(0, &source.discover(known).unwrap(), Wanted::default()).unwrap()
    };
    let mut first = begin(&BTreeMap::new());
    first.limit(0, None);
    assert_eq!(generation(&mut *first), 0);
    let middle = first.position(0);
    assert_eq!(middle.0.get("generation"), None, "positions of earlier versions have none");
    let mut second = begin(&BTreeMap::from([(0, middle.clone())]));
    second.limit(0, None);
    assert_eq!(generation(&mut *second), 1);
    let end = second.position(0);

    // The third run replays from the beginning: both generations, to the very positions.
    let mut third = begin(&BTreeMap::new());
    for (to, generated) in [(&middle, 0), (&end, 1)] {
        third.limit(0, Some(to.clone()));
        assert_eq!((generation(&mut *third), &third.position(0)), (generated, to));
    }
    third.limit(0, None);
    assert_eq!(generation(&mut *third), 2);
}

#[test]
fn count_and_pace_may_be_each_tasks_own() {
    let source = ratings(json!({"count": 10, "rate": "max", "tasks": 3, "seed": 1, "per_task": true}));
    let made = poll(&mut *open(&source), 100, 0);
    assert_eq!(made.values().map(Vec::len).collect::<Vec<_>>(), [10, 10, 10]);
}

#[test]
fn tasks_have_streams_of_their_own_and_a_seed_fixes_them() {
    let one = |more: Json| {
        let mut options = json!({"rate": "max", "tasks": 2});
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let source = ratings(options);
        let mut reader = open(&source);
        poll(&mut *reader, 100, 0)
    };
    assert_eq!(one(json!({"seed": 5})), one(json!({"seed": 5})));
    assert_ne!(one(json!({})), one(json!({})));
    let both = one(json!({"seed": 5}));
    assert_ne!(both[&0], both[&1]);
}

#[test]
fn a_paced_reader_waits_and_is_at_its_end_in_between() {
    let source = ratings(json!({"interval": "20ms"}));
    let (bell, started) = (Bell::new().unwrap(), std::time::Instant::now());
    let mut reader = open(&source);
    assert_eq!(poll(&mut *reader, 100, 0)[&0].len(), 1);
    assert!(reader.status(0).at_end);
    reader.awaits().wait(&bell, Duration::from_secs(60));
    // Not before the next record is due, and not for the whole time-out, on a busy machine either.
    assert!((20..30_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert_eq!(poll(&mut *reader, 100, 0)[&0].len(), 1);
}

#[test]
fn a_position_of_another_schema_is_refused() {
    let source = ratings(json!({}));
    let other = Position(json!({"record": 1, "seed": 2, "counters": []}));
    assert_eq!(source.discover(&BTreeMap::from([(0, other)])).unwrap_err().code, "datagen.position");
    assert_eq!(source.discover(&BTreeMap::from([(0, Position::offset(3))])).unwrap_err().code, "datagen.position");
}

#[test]
fn the_avro_schema_has_no_rules_in_it() {
    assert_eq!(
        ratings(json!({})).avro_schema().to_string(),
        r#"{"type":"record","name":"datagen","fields":[{"name":"id","type":"long"},{"name":"brand","type":"string"},{"name":"made","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"score","type":["null","double"]}]}"#
    );
    let source = datagen(json!({"schema": r#"{"type":"record","name":"R","doc":"d","fields":[{"name":"u","type":{"type":"string","logicalType":"uuid"},"default":"x"}]}"#})).unwrap();
    assert_eq!(
        source.avro_schema().to_string(),
        r#"{"type":"record","name":"R","doc":"d","fields":[{"name":"u","type":"string","default":"x"}]}"#
    );
}

#[test]
fn columns_of_all_types_are_generated() {
    let source = datagen(json!({"rate": "max", "columns": {
        "list": {"type": ["int"], "length": 2},
        "map": {"map": {"type": "double", "range": {"min": 1, "max": 2}}},
        "at": {"struct": {"city": {"type": "string", "options": ["Ulm"]}, "kind": {"enum": ["A"]}}},
        "kind": {"enum": ["A", "B"], "optional": true},
        "id": {"fixed": 2},
        "day": "date",
        "t": "timestamp(us)?",
        "u": {"type": "uuid", "prefix": "u-", "iteration": {"start": 7}}}}))
    .unwrap();
    let rows = poll(&mut *open(&source), 20, 0).remove(&0).unwrap();
    assert!(
        rows.iter()
            .all(|row| row["list"].as_array().unwrap().len() == 2 && row["at"] == json!({"city": "Ulm", "kind": "A"}))
    );
    assert_eq!((&rows[0]["u"], &rows[1]["u"]), (&json!("u-7"), &json!("u-8")));
    assert_eq!(source.avro_schema()["fields"][2]["type"]["fields"][1]["type"]["name"], "at_kind");
}

#[test]
fn problems_stand_at_the_column() {
    let text = "{columns: {at: {struct: {x: {type: int, range: {min: 2, max: 1}}}}}}";
    let (body, mut out) = (node(text.into()), Diagnostics::default());
    let options = Options::from_node(&body, &mut out).unwrap();
    assert!(Datagen::from_options(&options, &body.place, Path::new("."), &|_| None, &mut out).is_none());
    assert_eq!(out.0[0].place.as_ref().unwrap().text(), "{type: int, range: {min: 2, max: 1}}");
    assert_eq!(out.0[0].label.as_deref(), Some("field `at.x`"));

    let text =
        "{schema: {type: record, name: R, fields: [{name: b, type: [\"null\", {type: int, arg.properties: 3}]}]}}";
    let (body, mut out) = (node(text.into()), Diagnostics::default());
    let options = Options::from_node(&body, &mut out).unwrap();
    assert!(Datagen::from_options(&options, &body.place, Path::new("."), &|_| None, &mut out).is_none());
    assert!(out.0[0].place.as_ref().unwrap().text().starts_with("{name: b,"));
}

#[test]
fn options_that_cannot_be_are_named() {
    let refused = |options: Json, code: &str, title: &str| {
        let errors = datagen(options.clone()).unwrap_err();
        assert!(errors.iter().any(|(c, t)| *c == code && t.contains(title)), "{options}: {errors:?}");
    };
    let columns = json!({"a": "int"});
    refused(json!({}), "datagen.no_schema", "needs `schema`, `columns` or `quickstart`");
    refused(json!({"columns": columns, "schema": "x"}), "datagen.no_schema", "both");
    refused(json!({"quickstart": "user"}), "datagen.quickstart", "no quickstart `user`");
    refused(json!({"quickstart": "users", "columns": columns}), "datagen.no_schema", "`quickstart` and `columns` both");
    refused(json!({"schema": "no-such-file.avsc"}), "datagen.schema", "`no-such-file.avsc` cannot be read");
    refused(json!({"schema": "{"}), "datagen.schema", "not valid Avro: it is not JSON");
    refused(json!({"columns": {"a": "in"}}), "type.unknown", "`in`");
    refused(json!({"columns": {"a": "json"}}), "spec.not_available", "`json`");
    refused(json!({"columns": {"a": {"type": "int", "nulls": 0.1}}}), "datagen.rule", "that may be null");
    refused(
        json!({"columns": {"a": {"type": "decimal(4,2)", "options": ["1.5"]}}}),
        "datagen.rule",
        "the options of a decimal are numbers",
    );
    refused(json!({"columns": {"a": {"type": "long", "reference": "b.c"}}}), "datagen.rule", "no datagen source `b`");
    refused(json!({"columns": {"a": {"type": "int", "field": "b"}}}), "datagen.field", "`field`");
    refused(json!({"columns": {"a": {"type": "int", "rnge": {}}}}), "spec.unknown_key", "`rnge`");
    refused(
        json!({"columns": {"a": {"type": "int", "now": true}}}),
        "datagen.rule",
        "only for columns of type `timestamp`",
    );
    refused(
        json!({"columns": {"a": {"type": "long", "now": true}}}),
        "datagen.rule",
        "only for columns of type `timestamp`",
    );
    refused(json!({"columns": columns, "rate": 0}), "spec.type", "records a second");
    refused(json!({"columns": columns, "rate": "fast"}), "spec.type", "records a second");
    refused(json!({"columns": columns, "rate": 1, "interval": "1s"}), "datagen.pace", "`rate` and `interval`");
    refused(json!({"columns": columns, "interval": 1}), "spec.duration", "not a duration");
    refused(json!({"columns": columns, "tasks": 0}), "datagen.tasks", "between 1 and");
}

// Quickstarts, and what goes beyond the genuine generator.

/// The first rows of each quickstart, as the genuine connector gave them with `random.seed` 1.
fn golden() -> Vec<Json> {
    serde_json::from_str(include_str!("../../../tests/data/quickstarts.json")).unwrap()
}

/// Bytes of a value of the genuine test data: base64, or hex beside it.
fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The rows as Avro, without the registry's five bytes before each.
fn encoded(source: &Datagen, rows: &RecordBatch) -> Vec<Vec<u8>> {
    let avro = AvroWriter { schema: source.avro_schema().to_string(), id: 1 };
    let spec = EncoderSpec { format: Format::Avro, schema: source.schema(), avro: Some(avro) };
    let mut arena = Vec::new();
    let (places, rejects) = spec.open().unwrap().encode(rows, &mut arena).unwrap();
    assert_eq!(rejects, []);
    places.into_iter().map(|place| arena[place.start as usize + 5..place.end as usize].to_vec()).collect()
}

#[test]
fn quickstarts_give_the_records_of_the_genuine_connector() {
    let golden = golden();
    assert_eq!(golden.len(), QUICKSTARTS.len());
    for (quickstart, golden) in QUICKSTARTS.iter().zip(golden) {
        assert_eq!(quickstart.name, golden["name"]);
        let options = json!({"quickstart": quickstart.name.to_uppercase(), "seed": 1, "rate": "max", "count": 3});
        let source = datagen(options).unwrap();
        let Payload::Rows { rows: batch, .. } = open(&source).poll(10, 0).unwrap().remove(0).payload else {
            panic!("a generator's rows are typed")
        };
        let names = batch.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        assert!(!names.iter().any(|name| crate::data::meta::is_meta(name)), "{}: {names:?}", quickstart.name);
        let own = |field: &arrow_types::FieldRef| crate::data::fields::name(field).to_owned();
        let (made, wanted) = (rows(&batch), golden["values"].as_array().unwrap());
        for (made, wanted) in made.iter().zip(wanted) {
            for (name, value) in wanted.as_object().unwrap() {
                let index = batch.schema().fields().iter().position(|field| own(field) == *name).unwrap();
                let name = &names[index];
                // Bytes are base64 there; the encoded value below has them too.
                if !made[name].is_object() || made[name].get("hex").is_none() {
                    assert_eq!(&made[name], value, "{}: {name}", quickstart.name);
                }
            }
            let key = &made[quickstart.key_field];
            let text = key.as_str().map_or_else(|| key.to_string(), str::to_string);
            assert!(golden["keys"].as_array().unwrap().contains(&text.into()), "{}: {key}", quickstart.name);
        }
        let encoded = encoded(&source, &batch);
        let wanted: Vec<Vec<u8>> =
            golden["avro"].as_array().unwrap().iter().map(|hex| unhex(hex.as_str().unwrap())).collect();
        // The entries of a Java map have no order that means something.
        if quickstart.name == "users_" {
            assert!(encoded.iter().zip(&wanted).all(|(ours, theirs)| ours.len() == theirs.len()));
        } else {
            assert_eq!(encoded, wanted, "{}", quickstart.name);
        }
    }
}

#[test]
fn options_come_from_files_too() {
    let folder = std::env::temp_dir().join(format!("runner-options-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let world = World { folder: &folder, keys: None };
    let made = |ty: Json| {
        let schema = Schema::from_json(&wrapped(&ty)).unwrap();
        let (rules, problems) = Rules::read(&schema, world);
        let rules = rules.ok_or_else(|| problems[0].message.clone())?;
        let (mut draw, mut builder) = (Draw::new(&rules.iterations, 42), RowBuilder::new(&rules));
        (0..4).for_each(|_| builder.push(&mut draw));
        assert_eq!(rules.contents.len(), 1, "other contents are another plan");
        Ok::<_, String>(rows(&builder.finish()).into_iter().map(|row| row["it"].clone()).collect::<Vec<_>>())
    };
    let file = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.join(name), bytes).unwrap();
        let encoding = if name.ends_with(".json") { "json" } else { "binary" };
        json!({"options": {"file": name, "encoding": encoding}})
    };
    // The draws for two options and seed 42 are 0, 1, 0, 1 … turned round: see the vector `options-string`.
    let strings = json!({"type": "string", "arg.properties": file("a.json", b"\"a\" \n\"b\"")});
    assert_eq!(made(strings).unwrap(), [json!("b"), json!("a"), json!("b"), json!("a")]);
    let longs = json!({"type": "long", "arg.properties": file("b.bin", &[2, 0x80, 1])});
    assert_eq!(made(longs).unwrap(), [json!(64), json!(1), json!(64), json!(1)]);
    let bytes = json!({"type": "bytes", "arg.properties": file("c.json", "\"\u{e9}\" \"b\"".as_bytes())});
    assert_eq!(made(bytes).unwrap()[1], json!({"hex": "e9"}), "characters of Avro's JSON are bytes");
    let record = |rules: Json| {
        json!({"type": "record", "name": "R", "arg.properties": rules, "fields": [
            {"name": "d", "type": "double"}, {"name": "s", "type": ["null", "string"]},
            {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}},
            {"name": "m", "type": {"type": "map", "values": "int"}}]})
    };
    let text = br#"{"d": 1, "s": {"string": "x"}, "e": "B", "m": {}} {"d": "NaN", "s": null, "e": "A", "m": {"k": 7}}"#;
    let rows = made(record(file("r.json", text))).unwrap();
    assert_eq!(rows[1], json!({"d": 1.0, "s": "x", "e": "B", "m": {}}));
    let binary = [&1f64.to_le_bytes()[..], &[2, 2, b'x', 2, 0], &2.5f64.to_le_bytes()[..], &[0, 0, 2, 2, b'k', 14, 0]];
    let rows = made(record(file("r.bin", &binary.concat()))).unwrap();
    assert_eq!(rows[0], json!({"d": 2.5, "s": null, "e": "A", "m": {"k": 7}}));
    assert_eq!(rows[1], json!({"d": 1.0, "s": "x", "e": "B", "m": {}}));
    for (name, bytes, why) in [
        ("d.json", &b""[..], "there is no value in it"),
        ("e.json", b"\"a\" oops", "expected value"),
        ("f.json", b"[\"a\"]", "Invalid option for string schema: type java.util.ArrayList"),
        ("g.bin", &[8, b'a'], "it ends within a value"),
        ("h.bin", &[1], "a length is negative"),
        ("i.bin", &[0xff; 12], "a number is too long"),
    ] {
        let wrong = made(json!({"type": "string", "arg.properties": file(name, bytes)})).unwrap_err();
        assert!(wrong.contains(why), "{name}: {wrong}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn rules_without_a_meaning_are_warned_of() {
    let ruled = |ty: &str, rule: Json| json!({"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": ty, "arg.properties": rule}}]});
    for (schema, rule) in [
        (ruled("int", json!({"odds": 0.5})), "`odds`"),
        (ruled("string", json!({"rnge": {}})), "`rnge`"),
        (ruled("long", json!({"regex": "a"})), "`regex`"),
    ] {
        let (rules, problems) = read(&schema);
        assert!(rules.is_some() && problems[0].message.contains(rule), "{problems:?}");
    }
}

#[test]
fn nulls_lateness_and_skew_have_their_odds() {
    let source = datagen(json!({"rate": "max", "seed": 1, "columns": {
        "a": {"type": "string?", "nulls": 0.1},
        "b": {"type": "timestamp", "now": true, "late": {"odds": 0.2, "by": "30s"}},
        "c": {"type": "long", "iteration": {"start": 1000}, "late": {"odds": 1, "by": 5}},
        "d": {"type": "string", "options": ["x", "y", "z"], "zipf": 1},
        "e": {"type": "decimal(6,2)", "range": {"min": 1, "max": 5}},
        "f": {"type": "decimal(40,2)?", "options": [1.25]}}}))
    .unwrap();
    let rows = poll(&mut *open(&source), 10_000, 1_000_000).remove(&0).unwrap();
    let share = |hit: &dyn Fn(&Json) -> bool| rows.iter().filter(|row| hit(row)).count();
    assert!((850..1_150).contains(&share(&|row| row["a"].is_null())));
    let late: Vec<i64> = rows.iter().map(|row| 1_000_000 - row["b"].as_i64().unwrap()).collect();
    assert!(late.iter().all(|late| (0..=30_000).contains(late)));
    assert!((1_800..2_200).contains(&late.iter().filter(|late| **late > 0).count()));
    assert!(rows.iter().zip(1_000..).all(|(row, n)| (n - 5..n).contains(&row["c"].as_i64().unwrap())));
    // 1, 1/2 and 1/3 of 11/6.
    assert!((5_250..5_660).contains(&share(&|row| row["d"] == "x")));
    assert!((1_650..1_990).contains(&share(&|row| row["d"] == "z")));
}

#[test]
fn disjoint_tasks_share_out_the_numbers() {
    let made = |disjoint: bool| {
        let options = json!({"rate": "max", "tasks": 3, "count": 10, "disjoint": disjoint, "columns": {
            "id": {"type": "long", "iteration": {"start": 1}},
            "name": {"type": "string", "prefix": "n-", "iteration": {"start": 0, "restart": 4}}}});
        let rows = poll(&mut *open(&datagen(options).unwrap()), 100, 0);
        let mut ids: Vec<i64> = rows.values().flatten().map(|row| row["id"].as_i64().unwrap()).collect();
        ids.sort_unstable();
        (ids, rows[&1].iter().map(|row| row["name"].as_str().unwrap().to_string()).collect::<Vec<_>>())
    };
    assert_eq!(made(true), ((1..=10).collect(), vec!["n-1".to_string(), "n-0".into(), "n-3".into()]));
    assert_eq!(made(false).0, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]);
}

#[test]
fn a_reference_is_a_value_that_the_other_generator_has() {
    let parents = [
        (
            "users",
            json!({"count": 5, "columns": {
            "id": {"type": "long", "iteration": {"start": 10, "step": 5}},
            "code": {"type": "string", "prefix": "u-", "iteration": {"start": 1}},
            "city": {"type": "string", "options": ["Ulm", "Bonn"]},
            "n": "int", "maybe": {"type": "long?", "iteration": {"start": 1}},
            "order": {"type": "long", "reference": "orders.id"}}}),
        ),
        (
            "endless",
            json!({"columns": {
            "id": {"type": "long", "iteration": {"start": 1}},
            "round": {"type": "int", "iteration": {"start": 1, "restart": 4}}}}),
        ),
        ("shop", json!({"quickstart": "stores"})),
    ]
    .map(|(name, options)| (name, node(options.to_string())));
    let peers = |name: &str| parents.iter().find(|(known, _)| *known == name).map(|(_, node)| node);
    let read = |ty: &str, reference: &str| {
        let options = json!({"rate": "max", "columns": {"it": {"type": ty, "reference": reference, "zipf": 1}}});
        let (body, mut out) = (node(options.to_string()), Diagnostics::default());
        let options = Options::from_node(&body, &mut out).unwrap();
        let source = Datagen::from_options(&options, &body.place, Path::new("."), &peers, &mut out);
        let source = source.ok_or_else(|| out.0[0].title.clone())?;
        let rows = poll(&mut *open(&source), 1_000, 0).remove(&0).unwrap();
        Ok::<_, String>(rows.into_iter().map(|row| row["it"].to_string()).collect::<std::collections::BTreeSet<_>>())
    };
    let all = |values: &[&str]| values.iter().map(|value| value.to_string()).collect();
    assert_eq!(read("long", "users.id"), Ok(all(&["10", "15", "20", "25", "30"])));
    assert_eq!(read("string", "users.code").unwrap().len(), 5);
    assert_eq!(read("string", "users.city"), Ok(all(&["\"Bonn\"", "\"Ulm\""])));
    assert_eq!(read("int", "endless.round"), Ok(all(&["1", "2", "3"])));
    assert_eq!(read("int", "shop.store_id").unwrap().len(), 7);
    for (ty, reference, why) in [
        ("long", "users", "is not a source and its column"),
        ("long", "nobody.id", "there is no datagen source `nobody`"),
        ("long", "users.idd", "`users` has no column `idd`, but `id`, `code`"),
        ("int", "users.id", "another type"),
        ("int", "users.n", "has neither options nor an iteration"),
        ("long", "users.maybe", "may be null"),
        ("long", "users.order", "is a reference itself"),
        ("long", "endless.id", "give its generator a `count`"),
    ] {
        let wrong = read(ty, reference).unwrap_err();
        assert!(wrong.contains(why), "{reference}: {wrong}");
    }
}
