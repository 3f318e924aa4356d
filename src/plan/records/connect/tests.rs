//! Columns of every type as Connect's values, lines of records, and dead letters in Connect's words.

mod both_ways;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::Schema as ArrowSchema;

use super::cells::Cells;
use super::read::ConnectLines;
use super::*;
use crate::data::meta;
use crate::formats::{DecoderSpec, Format, arrow_schema, avro_schema};
use crate::kafka_connect::converters::{Dialect, JsonConverter, connect_schema};
use crate::kafka_connect::{Datum, Kind, Struct, Value};
use crate::plan::RecordEncoding;
use crate::plan::records::dead::{ConnectDead, DeadRecords};
use crate::plan::{RecordEncoder, records::connect::written::Part};
use crate::registry::avro::Schema as AvroSchema;
use crate::registry::{Registered, Registry, Verdict};

const EVERY_TYPE: &str = r#"{"type":"record","name":"Every","namespace":"a.b","fields":[
    {"name":"boolean","type":"boolean"}, {"name":"int","type":"int"}, {"name":"long","type":["null","long"]},
    {"name":"float","type":"float"}, {"name":"double","type":["double","null"],"default":1.5},
    {"name":"string","type":"string"}, {"name":"bytes","type":"bytes"},
    {"name":"decimal","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":3}},
    {"name":"wide","type":["null",{"type":"bytes","logicalType":"decimal","precision":50,"scale":5}]},
    {"name":"date","type":{"type":"int","logicalType":"date"}},
    {"name":"time","type":{"type":"int","logicalType":"time-millis"}},
    {"name":"time_us","type":{"type":"long","logicalType":"time-micros"}},
    {"name":"timestamp","type":["null",{"type":"long","logicalType":"timestamp-millis"}]},
    {"name":"timestamp_us","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"local","type":{"type":"long","logicalType":"local-timestamp-millis"}},
    {"name":"uuid","type":{"type":"string","logicalType":"uuid"}},
    {"name":"fixed","type":{"type":"fixed","name":"F","size":3}},
    {"name":"enum","type":["null",{"type":"enum","name":"E","symbols":["S","L"]}]},
    {"name":"list","type":{"type":"array","items":["null","int"]}},
    {"name":"map","type":{"type":"map","values":"long"}},
    {"name":"struct","type":["null",{"type":"record","name":"In","fields":[{"name":"city","type":["null","string"]},{"name":"at","type":{"type":"array","items":"double"}}]}]},
    {"name":"structs","type":{"type":"array","items":{"type":"record","name":"P","fields":[{"name":"x","type":"int"}]}}}]}"#;

const VALUES: [&str; 2] = [
    r#"{"boolean":true,"int":-1,"long":9223372036854775807,"float":0.1,"double":0.1,"string":"é","bytes":"AP8=","decimal":-12345678901234567.891,"wide":1.5,"date":"2024-02-29","time":"13:05:00.001","time_us":"23:59:59.999999","timestamp":"2024-02-29T13:05:00.123Z","timestamp_us":"1969-12-31T23:59:59.999999Z","local":"1970-01-01T00:00:01","uuid":"123e4567-e89b-12d3-a456-426614174000","fixed":"AQID","enum":"L","list":[1,null,-3],"map":{"a":1,"b":2},"struct":{"city":null,"at":[1.5,2.0]},"structs":[{"x":1},{"x":2}]}"#,
    r#"{"boolean":false,"int":7,"long":null,"float":1.0,"double":null,"string":"","bytes":"","decimal":0,"wide":null,"date":"1970-01-02","time":"00:00:00","time_us":"00:00:00","timestamp":null,"timestamp_us":"1970-01-01T00:00:00Z","local":"1970-01-01T00:00:00","uuid":"123e4567-e89b-12d3-a456-426614174000","fixed":"AAAA","enum":null,"list":[],"map":{},"struct":null,"structs":[]}"#,
];

/// As plain JSON with decimals as numbers, what Connect's converter writes of the rows.
const AS_CONNECT: [&str; 2] = [
    r#"{"boolean":true,"int":-1,"long":9223372036854775807,"float":0.1,"double":0.1,"string":"é","bytes":"AP8=","decimal":-12345678901234567.891,"wide":1.50000,"date":19782,"time":47100001,"time_us":86399999999,"timestamp":1709211900123,"timestamp_us":-1,"local":1000,"uuid":"123e4567-e89b-12d3-a456-426614174000","fixed":"AQID","enum":"L","list":[1,null,-3],"map":{"a":1,"b":2},"struct":{"city":null,"at":[1.5,2.0]},"structs":[{"x":1},{"x":2}]}"#,
    r#"{"boolean":false,"int":7,"long":null,"float":1.0,"double":null,"string":"","bytes":"","decimal":0.000,"wide":null,"date":1,"time":0,"time_us":0,"timestamp":null,"timestamp_us":0,"local":0,"uuid":"123e4567-e89b-12d3-a456-426614174000","fixed":"AAAA","enum":null,"list":[],"map":{},"struct":null,"structs":[]}"#,
];

fn rows(schema: ArrowSchema, objects: &[&str]) -> RecordBatch {
    let mut decoder = DecoderSpec { format: Format::Json, schema: Arc::new(schema), avro: None }.open().unwrap();
    let values: Vec<&[u8]> = objects.iter().map(|object| object.as_bytes()).collect();
    let decoded = decoder.decode(&BinaryArray::from(values)).unwrap();
    assert_eq!(decoded.rejects, []);
    decoded.rows
}

fn json(row: Value) -> String {
    let converter =
        JsonConverter { schemas_enable: false, decimal_numeric: true, replace_null_with_default: false, content: None };
    let Value::Struct(Struct { schema, .. }) = &row else { panic!("{row:?}") };
    let datum = Datum { schema: Some(schema.clone()), value: row };
    String::from_utf8(converter.encode("t", &datum).unwrap().unwrap()).unwrap()
}

#[test]
fn a_column_of_every_type_is_a_value_of_connects() {
    let batch = rows(arrow_schema(EVERY_TYPE).unwrap(), &VALUES);
    // The schema of the source, and the one that is derived of the columns.
    let derived = avro_schema(&batch.schema(), "Every", Some("a.b"), None).unwrap();
    for text in [EVERY_TYPE, &derived] {
        let schema = connect_schema(&AvroSchema::parse(text).unwrap(), Dialect::default()).unwrap();
        assert_eq!(schema.name.as_deref(), Some("a.b.Every"));
        let columns: Vec<Cells> = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| Cells::of(column, &field.schema).unwrap())
            .collect();
        for (row, expected) in AS_CONNECT.iter().enumerate() {
            let values = columns.iter().map(|column| column.value(row)).collect();
            assert_eq!(json(Value::Struct(Struct { schema: schema.clone(), values })), *expected);
        }
    }
}

#[test]
fn a_slice_of_a_column_has_the_slices_values() {
    let batch = rows(arrow_schema(EVERY_TYPE).unwrap(), &VALUES).slice(1, 1);
    let schema = connect_schema(&AvroSchema::parse(EVERY_TYPE).unwrap(), Dialect::default()).unwrap();
    let columns = batch.columns().iter().zip(schema.fields());
    let values = columns.map(|(column, field)| Cells::of(column, &field.schema).unwrap().value(0)).collect();
    assert_eq!(json(Value::Struct(Struct { schema, values })), AS_CONNECT[1]);
}

#[test]
fn a_union_of_types_is_a_struct_of_which_one_field_is_set() {
    use arrow::array::{ArrayRef, UnionArray};
    use arrow::datatypes::{DataType, Field, UnionFields};
    let text = r#"["null","string","int"]"#;
    let schema = connect_schema(&AvroSchema::parse(text).unwrap(), Dialect::default()).unwrap();
    let fields = UnionFields::from_iter([
        (0, Arc::new(Field::new("null", DataType::Null, true))),
        (1, Arc::new(Field::new("string", DataType::Utf8, false))),
        (2, Arc::new(Field::new("int", DataType::Int32, false))),
    ]);
    let children: Vec<ArrayRef> = vec![
        Arc::new(arrow::array::NullArray::new(1)),
        Arc::new(StringArray::from(vec!["a", "b"])),
        Arc::new(Int32Array::from(vec![7])),
    ];
    let union = UnionArray::try_new(fields, vec![1, 2, 0, 1].into(), Some(vec![0, 0, 0, 1].into()), children).unwrap();
    let cells = Cells::of(&(Arc::new(union) as ArrayRef), &schema).unwrap();
    let shown: Vec<String> = (0..4).map(|row| cells.value(row).java_text()).collect();
    assert_eq!(shown, ["Struct{string=a}", "Struct{int=7}", "null", "Struct{string=b}"]);
}

/// A record that was read: key, value, one header.
type Given<'a> = (Option<&'a str>, Option<&'a str>, Option<(&'a str, &'a str)>);

fn read_batch(records: &[Given<'_>]) -> Batch {
    use arrow::array::builder::{BinaryBuilder, ListBuilder, StringBuilder, StructBuilder};
    let field = |name: &str| meta::field(name).unwrap();
    let arrow::datatypes::DataType::List(item) = field(meta::HEADERS_LIST).data_type().clone() else { panic!() };
    let arrow::datatypes::DataType::Struct(fields) = item.data_type().clone() else { panic!() };
    let header = StructBuilder::new(fields, vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())]);
    let mut headers = ListBuilder::new(header).with_field(item);
    for (.., header) in records {
        if let Some((name, value)) = header {
            headers.values().field_builder::<StringBuilder>(0).unwrap().append_value(name);
            headers.values().field_builder::<BinaryBuilder>(1).unwrap().append_value(value);
            headers.values().append(true);
        }
        headers.append(true);
    }
    let bytes =
        |of: fn(&Given<'_>) -> Option<Vec<u8>>| Arc::new(records.iter().map(of).collect::<BinaryArray>()) as ArrayRef;
    let count = records.len() as i64;
    let columns: Vec<(&str, ArrayRef)> = vec![
        (meta::TOPIC, Arc::new(StringArray::from(vec!["in"; records.len()]))),
        (meta::PARTITION, Arc::new(Int32Array::from(vec![3; records.len()]))),
        (meta::OFFSET, Arc::new(Int64Array::from_iter_values(10..10 + count))),
        (meta::TIMESTAMP, Arc::new(TimestampMillisecondArray::from(vec![5; records.len()]).with_timezone("UTC"))),
        (meta::KEY_BYTES, bytes(|(key, ..)| key.map(|key| key.as_bytes().to_vec()))),
        (meta::VALUE_BYTES, bytes(|(_, value, _)| value.map(|value| value.as_bytes().to_vec()))),
        (meta::HEADERS_LIST, Arc::new(headers.finish())),
    ];
    Batch { source: 0, partition: 3, rows: RecordBatch::try_from_iter(columns).unwrap() }
}

fn settings(given: &[(&str, &str)]) -> ConnectSettings {
    let all = given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ConnectSettings { all, registry: None }
}

fn lines(given: &[(&str, &str)], records: &[Given<'_>]) -> (Vec<String>, Vec<DeadLetter>) {
    let mut dead = Vec::new();
    let mut encoder = ConnectLines { settings: settings(given) }.open().unwrap();
    let rows = encoder.encode(&read_batch(records), &mut dead).unwrap();
    let line =
        |record: &EncodedRecord| String::from_utf8_lossy(rows.bytes(record.value.as_ref().unwrap())).into_owned();
    (rows.records.iter().map(line).collect(), dead)
}

#[test]
fn values_of_a_topic_are_lines_as_java_prints_them() {
    let given = [
        (None, Some(r#"{"a":1,"b":"x","c":[1,2.5,null,true],"d":{"e":null}}"#), None),
        (None, Some(r#""s""#), None),
        (None, Some("1.0"), None),
        (None, Some("[]"), None),
        (None, None, None),
        (None, Some(r#""""#), None),
    ];
    let json = [("key.converter", "String"), ("value.converter", "Json"), ("value.converter.schemas.enable", "false")];
    let expected = ["{a=1, b=x, c=[1, 2.5, null, true], d={e=null}}", "s", "1.0", "[]", "null", ""];
    assert_eq!(lines(&json, &given), (expected.map(str::to_owned).to_vec(), Vec::new()));

    let envelopes = [
        (
            None,
            Some(
                r#"{"schema":{"type":"struct","fields":[{"type":"int32","field":"a"},{"type":"string","optional":true,"field":"b"}]},"payload":{"a":1,"b":null}}"#,
            ),
            None,
        ),
        (None, Some(r#"{"schema":{"type":"string"},"payload":"bare"}"#), None),
        (None, Some(r#"{"schema":null,"payload":{"q":1}}"#), None),
    ];
    let json = [("key.converter", "String"), ("value.converter", "Json")];
    assert_eq!(lines(&json, &envelopes).0, ["Struct{a=1}", "bare", "{q=1}"]);
}

#[test]
fn transformations_see_where_a_record_was_read_and_its_headers() {
    let given = [(Some("k"), Some("v"), Some(("h", "1"))), (Some("k"), Some("w"), None)];
    let all = [
        ("key.converter", "String"),
        ("value.converter", "String"),
        ("transforms", "only,wrap,place"),
        ("transforms.only.type", "org.apache.kafka.connect.transforms.Filter"),
        ("transforms.only.predicate", "marked"),
        ("transforms.only.negate", "true"),
        ("predicates", "marked"),
        ("predicates.marked.type", "org.apache.kafka.connect.transforms.predicates.HasHeaderKey"),
        ("predicates.marked.name", "h"),
        ("transforms.wrap.type", "org.apache.kafka.connect.transforms.HoistField$Value"),
        ("transforms.wrap.field", "line"),
        ("transforms.place.type", "org.apache.kafka.connect.transforms.InsertField$Value"),
        ("transforms.place.topic.field", "t"),
        ("transforms.place.partition.field", "p"),
        ("transforms.place.offset.field", "o"),
    ];
    assert_eq!(lines(&all, &given).0, ["Struct{line=v,t=in,p=3,o=10}"]);
}

#[test]
fn a_refused_record_says_in_connects_words_by_whom() {
    let all = [
        ("key.converter", "org.apache.kafka.connect.converters.LongConverter"),
        ("value.converter", "Json"),
        ("value.converter.schemas.enable", "false"),
        ("transforms", "number"),
        ("transforms.number.type", "org.apache.kafka.connect.transforms.Cast$Value"),
        ("transforms.number.spec", "a:int32"),
    ];
    let given = [
        (Some("short"), Some("{}"), None),
        (None, Some("{x"), None),
        (None, Some(r#"{"a":"12x"}"#), None),
        (None, Some(r#"{"a":"12"}"#), None),
    ];
    let (written, dead) = lines(&all, &given);
    assert_eq!(written, ["{a=12}"]);
    let said: Vec<(&str, &str, i64)> = dead
        .iter()
        .map(|dead| {
            let connect = dead.connect.as_deref().unwrap();
            (connect.stage, connect.class.rsplit('.').next().unwrap(), dead.offset)
        })
        .collect();
    let expected = [
        ("KEY_CONVERTER", "LongConverter", 10),
        ("VALUE_CONVERTER", "JsonConverter", 11),
        ("TRANSFORMATION", "Cast$Value", 12),
    ];
    assert_eq!(said, expected);

    let headers = |connect: Option<ConnectDead>| {
        let rows = DeadRecords { connector: "c".into(), connect }.encode_dead(&dead[2..]).unwrap();
        assert_eq!(rows.bytes(rows.records[0].value.as_ref().unwrap()), br#"{"a":"12x"}"#);
        let text = |range: &std::ops::Range<u32>| String::from_utf8_lossy(rows.bytes(range)).into_owned();
        rows.headers.iter().map(|(name, value)| (text(name), text(value.as_ref().unwrap()))).collect::<Vec<_>>()
    };
    let named = |name: &str, value: &str| (format!("__connect.errors.{name}"), value.to_owned());
    let message = "Value (12x) was out of range for requested data type";
    let expected = [
        named("topic", "in"),
        named("partition", "3"),
        named("offset", "12"),
        named("connector.name", "c"),
        named("task.id", "0"),
        named("stage", "TRANSFORMATION"),
        named("class.name", "org.apache.kafka.connect.transforms.Cast$Value"),
        named("exception.class.name", "org.apache.kafka.connect.errors.DataException"),
        named("exception.message", message),
        named("exception.stacktrace", &format!("org.apache.kafka.connect.errors.DataException: {message}\n")),
    ];
    assert_eq!(headers(Some(ConnectDead::Headers)), expected);
    assert_eq!(headers(None), expected[..9]);
    assert_eq!(headers(Some(ConnectDead::Bytes)), []);
}

/// Gives schemas ids in their order, if it is there.
#[derive(Debug, Default)]
struct Ids {
    away: AtomicBool,
    schemas: Mutex<Vec<String>>,
}

impl Registry for Ids {
    fn latest(&self, _: &str) -> Result<Option<Registered>, Failure> {
        Ok(None)
    }
    fn version(&self, _: &str, _: i32) -> Result<Option<Registered>, Failure> {
        Ok(None)
    }
    fn by_id(&self, _: i32) -> Result<Option<Arc<str>>, Failure> {
        Ok(None)
    }
    fn lookup_as(&self, _: &str, _: &str, _: bool) -> Result<Option<Registered>, Failure> {
        Ok(None)
    }
    fn register_as(&self, _: &str, schema: &str, _: bool) -> Result<i32, Failure> {
        if self.away.load(Ordering::Relaxed) {
            return Err(Failure::outside("registry.unreachable", "nobody answers"));
        }
        let mut schemas = self.schemas.lock().unwrap();
        let known = schemas.iter().position(|known| known == schema);
        Ok(known.unwrap_or_else(|| {
            schemas.push(schema.to_owned());
            schemas.len() - 1
        }) as i32)
    }
    fn compatible(&self, _: &str, _: &str) -> Result<Verdict, Failure> {
        Ok(Verdict { compatible: true, messages: Vec::new() })
    }
    fn describe(&self) -> String {
        "ids".into()
    }
}

#[test]
fn i8_a_registry_that_is_away_is_waited_for_before_a_row_is_taken_in() {
    let registry = Arc::new(Ids::default());
    registry.away.store(true, Ordering::Relaxed);
    let all = settings(&[("key.converter", "String"), ("value.converter", "AvroConverter")]).all;
    let spec = written::ConnectRecords {
        settings: ConnectSettings { all, registry: Some(registry.clone()) },
        topic: "t".into(),
        by_record: false,
        key: Part::Null(None),
        value: Part::Whole { column: "text".into(), schema: Some(Arc::new(Schema::new(Kind::String))) },
        timestamp: crate::plan::records::kafka::Timestamp::Now,
        headers: written::Headers::Nothing,
        mode: crate::plan::Mode::Append,
        record_bytes_max: 1_000,
    };
    let text: Vec<(&str, ArrayRef)> = vec![("text", Arc::new(StringArray::from(vec!["a"])))];
    let batch = Batch { source: 0, partition: 0, rows: RecordBatch::try_from_iter(text).unwrap() };
    let mut encoder = spec.open().unwrap();
    let mut dead = Vec::new();
    let failure = encoder.prepare(&batch).unwrap_err();
    assert!(failure.retry && failure.code == "connect.registry_away", "{failure}");
    assert!(encoder.encode(&batch, &mut dead).unwrap_err().retry, "behind steps whoever has the rows stays with them");
    registry.away.store(false, Ordering::Relaxed);
    encoder.prepare(&batch).unwrap();
    let rows = encoder.encode(&batch, &mut dead).unwrap();
    assert_eq!(rows.bytes(rows.records[0].value.as_ref().unwrap()), b"\0\0\0\0\0\x02a");
    assert!(dead.is_empty());
}

/// Alias, class and settings of each link.
type Links<'a> = &'a [(&'a str, &'a str, &'a [(&'a str, &'a str)])];

fn records(registry: &Arc<Ids>, key: &str, value: &str, links: Links<'_>) -> written::ConnectRecords {
    let schema = connect_schema(&AvroSchema::parse(EVERY_TYPE).unwrap(), Dialect::default()).unwrap();
    let columns: Vec<String> = schema.fields().iter().map(|field| field.name.clone()).collect();
    let mut all = settings(&[("key.converter", key), ("value.converter", value)]).all;
    if value == "plain" {
        all.insert("value.converter".into(), "JsonConverter".into());
        all.insert("value.converter.schemas.enable".into(), "false".into());
        all.insert("value.converter.decimal.format".into(), "NUMERIC".into());
    }
    let names: Vec<&str> = links.iter().map(|(name, ..)| *name).collect();
    all.insert("transforms".into(), names.join(","));
    for (name, class, given) in links {
        all.insert(format!("transforms.{name}.type"), format!("org.apache.kafka.connect.transforms.{class}"));
        all.extend(given.iter().map(|(key, text)| (format!("transforms.{name}.{key}"), (*text).to_owned())));
    }
    written::ConnectRecords {
        settings: ConnectSettings { all, registry: Some(registry.clone()) },
        topic: "orders".into(),
        by_record: false,
        key: Part::Whole { column: "int".into(), schema: Some(schema.field("int").unwrap().schema.clone()) },
        value: Part::Struct { columns, schema },
        timestamp: crate::plan::records::kafka::Timestamp::Now,
        headers: written::Headers::Nothing,
        mode: crate::plan::Mode::Append,
        record_bytes_max: 10_000,
    }
}

/// Key and value of each record.
type Shown = Vec<(Option<Vec<u8>>, Option<Vec<u8>>)>;

fn shown(rows: &EncodedRows) -> Shown {
    let bytes = |range: &Option<Range<u32>>| range.as_ref().map(|range| rows.bytes(range).to_vec());
    rows.records.iter().map(|record| (bytes(&record.key), bytes(&record.value))).collect()
}

#[test]
fn columns_at_once_give_the_bytes_that_rows_one_by_one_give() {
    let only = |names: &'static str| [("include", names)];
    let no_map: (&str, &str, &[(&str, &str)]) = ("no_map", "ReplaceField$Value", &[("exclude", "map")]);
    let (some, text) = (only("int,string,struct"), only("string"));
    let chains: &[Links<'_>] = &[
        &[],
        &[("a", "ReplaceField$Value", &[("exclude", "int,map"), ("renames", "string:text,list:items")])],
        &[("a", "ReplaceField$Value", &some), ("b", "HoistField$Value", &[("field", "inner")])],
        &[(
            "a",
            "InsertField$Value",
            &[("topic.field", "from!"), ("static.field", "shop"), ("static.value", "north"), ("partition.field", "p")],
        )],
        &[("a", "MaskField$Value", &[("fields", "int,long,double,string,boolean")])],
        &[("a", "MaskField$Value", &[("fields", "string"), ("replacement", "xxx")])],
        &[("a", "Cast$Value", &[("spec", "int:int64,long:string,float:float64,boolean:string,string:string")])],
        &[no_map, ("a", "Flatten$Value", &[("delimiter", "_")])],
        &[("a", "ExtractField$Value", &[("field", "date")])],
        &[("a", "ExtractField$Value", &[("field", "list")])],
        &[("a", "ValueToKey", &[("fields", "string,long")])],
        &[("a", "ValueToKey", &[("fields", "string")]), ("b", "ExtractField$Key", &[("field", "string")])],
        &[("a", "SetSchemaMetadata$Value", &[("schema.name", "x.Other"), ("schema.version", "3")])],
        &[
            ("a", "RegexRouter", &[("regex", "(.*)ers"), ("replacement", "$1s")]),
            ("b", "InsertField$Value", &[("topic.field", "t")]),
        ],
        &[
            ("a", "ReplaceField$Value", &text),
            ("b", "ValueToKey", &[("fields", "string")]),
            ("c", "HoistField$Key", &[("field", "k")]),
        ],
    ];
    let rows = rows(arrow_schema(EVERY_TYPE).unwrap(), &VALUES);
    let batch = Batch { source: 0, partition: 0, rows: rows.clone() };
    let values = ["AvroConverter", "JsonConverter", "plain"];
    for (links, value) in chains.iter().flat_map(|links| values.map(|value| (*links, value))) {
        let named = format!("{value}: {links:?}");
        let registry = Arc::new(Ids::default());
        // Texts of structs are made row by row.
        let key = if named.contains("ValueToKey") && !named.contains("ExtractField$Key") {
            "AvroConverter"
        } else {
            "String"
        };
        let mut fast = records(&registry, key, value, links).encoder().unwrap();
        assert!(fast.bytes(&rows, &mut Vec::new()).unwrap().is_some(), "as columns: {named}");
        let mut dead = Vec::new();
        let at_once = fast.encode(&batch, &mut dead).unwrap();
        // A link that does nothing, and must see each record.
        let mut slow_links = links.to_vec();
        slow_links.push(("rows", "DropHeaders", &[("headers", "none")]));
        let mut slow = records(&registry, key, value, &slow_links).encoder().unwrap();
        assert!(slow.bytes(&rows, &mut Vec::new()).unwrap().is_none());
        let one_by_one = slow.encode(&batch, &mut dead).unwrap();
        assert_eq!(shown(&at_once), shown(&one_by_one), "{named}");
        assert_eq!((at_once.len(), dead.len()), (2, 0), "{named}: {dead:?}");
    }
}

#[test]
fn what_columns_cannot_do_goes_row_by_row() {
    let registry = Arc::new(Ids::default());
    let rows = rows(arrow_schema(EVERY_TYPE).unwrap(), &VALUES);
    let refused: &[Links<'_>] = &[
        &[("a", "Cast$Value", &[("spec", "double:string")])],
        &[("a", "Flatten$Value", &[])],
        &[("a", "MaskField$Value", &[("fields", "bytes")])],
        &[("a", "InsertField$Value", &[("timestamp.field", "at")])],
        &[("a", "InsertField$Value", &[("topic.field", "int")])],
        // As serializers write bytes that are a whole value they have no length, but converters give them one.
        &[("a", "ExtractField$Value", &[("field", "decimal")])],
        // Of two rows one is null, which is no value of Avro's but nothing at all.
        &[("a", "ExtractField$Value", &[("field", "timestamp")])],
    ];
    for links in refused {
        let mut encoder = records(&registry, "String", "AvroConverter", links).encoder().unwrap();
        assert!(encoder.bytes(&rows, &mut Vec::new()).unwrap().is_none(), "{links:?}");
    }
    let mut arena = b"before".to_vec();
    // Texts of structs are Java's.
    let mut encoder = records(&registry, "String", "String", &[]).encoder().unwrap();
    assert!(encoder.bytes(&rows, &mut arena).unwrap().is_none());
    assert_eq!(arena, b"before", "what was begun is taken back");
}
