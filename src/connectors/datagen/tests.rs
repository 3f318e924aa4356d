//! The generator against data of the genuine one, and as a source: positions, replay, ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes as arrow_types;
use arrow::datatypes::{DataType, TimeUnit};
use serde_json::{Value as Json, json};

use super::generate::{Draw, RowBuilder};
use super::random::Random;
use super::rules::{Problem, Rules};
use super::{Datagen, Options};
use crate::connectors::{Bell, Payload, Reader, Source, Wanted};
use crate::data::Position;
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

fn rows(batch: &RecordBatch) -> Vec<Json> {
    let rows = arrow::array::StructArray::from(batch.clone());
    (0..batch.num_rows()).map(|row| value(&rows, row)).collect()
}

fn read(schema: &Json) -> (Option<Rules>, Vec<Problem>) {
    Rules::read(&Schema::from_json(schema).unwrap())
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
    assert!(vectors.len() > 40, "{}", vectors.len());
    for vector in vectors {
        let is_record = vector["schema"]["type"] == "record";
        let schema = if is_record { vector["schema"].clone() } else { wrapped(&vector["schema"]) };
        let rules = rules(&schema);
        let (mut draw, mut builder) = (Draw::new(&rules, vector["seed"].as_i64().unwrap()), RowBuilder::new(&rules));
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
        let (mut draw, mut builder) = (Draw::new(&rules, vector["seed"].as_i64().unwrap()), RowBuilder::new(&rules));
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
        (ruled("string", json!({"regex": "a"})), "the rule `regex` is not available yet"),
        (json!({"type": "bytes", "logicalType": "decimal", "precision": 4}), ""),
    ];
    let (decimal, cases) = cases.split_last().unwrap();
    let (none, problems) = read(&record(cases.iter().map(|(ty, _)| ty.clone()).collect()));
    assert!(none.is_none());
    let found: Vec<_> = problems.iter().map(|problem| (problem.path.join("."), problem.message.as_str())).collect();
    let wanted: Vec<_> = cases.iter().enumerate().map(|(index, (_, why))| (format!("f{index}"), *why)).collect();
    assert_eq!(found, wanted);
    assert_eq!(read(&record(json!([decimal.0]))).1[0].code, "spec.not_available");
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
    let (mut draw, mut builder) = (Draw::new(&rules, 1), RowBuilder::new(&rules));
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
    let (mut draw, mut builder) = (Draw::new(&rules, 7), RowBuilder::new(&rules));
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
        .and_then(|options| Datagen::from_options(&options, &node.place, Path::new("."), &mut out));
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
        Payload::Rows { partition, rows: batch, offsets } => {
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
    reader.wait(&bell, Duration::from_secs(60));
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
    assert!(Datagen::from_options(&options, &body.place, Path::new("."), &mut out).is_none());
    assert_eq!(out.0[0].place.as_ref().unwrap().text(), "{type: int, range: {min: 2, max: 1}}");
    assert_eq!(out.0[0].label.as_deref(), Some("field `at.x`"));

    let text =
        "{schema: {type: record, name: R, fields: [{name: b, type: [\"null\", {type: int, arg.properties: 3}]}]}}";
    let (body, mut out) = (node(text.into()), Diagnostics::default());
    let options = Options::from_node(&body, &mut out).unwrap();
    assert!(Datagen::from_options(&options, &body.place, Path::new("."), &mut out).is_none());
    assert!(out.0[0].place.as_ref().unwrap().text().starts_with("{name: b,"));
}

#[test]
fn options_that_cannot_be_are_named() {
    let refused = |options: Json, code: &str, title: &str| {
        let errors = datagen(options.clone()).unwrap_err();
        assert!(errors.iter().any(|(c, t)| *c == code && t.contains(title)), "{options}: {errors:?}");
    };
    let columns = json!({"a": "int"});
    refused(json!({}), "datagen.no_schema", "needs `schema` or `columns`");
    refused(json!({"columns": columns, "schema": "x"}), "datagen.no_schema", "both");
    refused(json!({"quickstart": "users"}), "spec.not_available", "`users`");
    refused(json!({"schema": "no-such-file.avsc"}), "datagen.schema", "`no-such-file.avsc` cannot be read");
    refused(json!({"schema": "{"}), "datagen.schema", "not valid Avro: it is not JSON");
    refused(json!({"columns": {"a": "in"}}), "type.unknown", "`in`");
    refused(json!({"columns": {"a": "json", "b": "decimal(4,2)"}}), "spec.not_available", "`decimal`");
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
