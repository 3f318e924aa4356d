//! Avro from end to end: bytes that genuine serializers wrote, every type there and back, and the
//! ways in which a stream decoder can go wrong.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;

use crate::formats::samples::{
    Memory, avro_decoder, batch, codes, decoded, encoded, every_type, every_value, rows, writers,
};
use crate::formats::{AvroReader, AvroWriter, DecoderSpec, EncoderSpec, Format, avro_schema, key_column, top_level};

const EVENT: &str =
    r#"{"type":"record","name":"Event","fields":[{"name":"id","type":"long"},{"name":"name","type":"string"}]}"#;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn encoder(schema: &str, id: i32, columns: &Schema) -> Box<dyn crate::formats::Encoder> {
    let avro = Some(AvroWriter { schema: schema.to_owned(), id });
    EncoderSpec { format: Format::Avro, schema: Arc::new(columns.clone()), avro }.open().unwrap()
}

fn event(id: i64, name: &str) -> Vec<u8> {
    let columns =
        Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("name", DataType::Utf8, false)]);
    let arrays: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![id])), Arc::new(StringArray::from(vec![name]))];
    encoded(encoder(EVENT, 1, &columns).as_mut(), &batch(columns, arrays, 1)).remove(0)
}

fn ids(rows: &RecordBatch) -> Vec<i64> {
    rows.column_by_name("id").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

#[test]
fn six_records_of_which_three_are_bad() {
    let mut decoder = avro_decoder(Memory::with(&[(1, EVENT)]), EVENT, None);
    let (one, three, six) = (event(1, "a"), event(3, "b"), event(6, "c"));
    let truncated = &event(2, "a long name")[..9];
    let two_in_one = [event(4, "x"), event(5, "y")].concat();
    let values: [&[u8]; 6] = [&one, truncated, &three, &two_in_one, b"", &six];
    for _ in 0..2 {
        let decoded = decoded(decoder.as_mut(), &values);
        assert_eq!(ids(&decoded.rows), [1, 3, 6]);
        assert_eq!(codes(&decoded), [(1, "avro.truncated"), (3, "avro.trailing"), (4, "avro.empty")]);
    }
}

#[test]
fn what_is_not_framed_avro_is_rejected_by_its_own_code() {
    let mut decoder = avro_decoder(Memory::with(&[(1, EVENT)]), EVENT, None);
    let good = event(1, "a");
    let values =
        BinaryArray::from(vec![None, Some(&b"{}"[..]), Some(&[0, 0, 0]), Some(&[0, 0, 0, 0, 9, 2]), Some(&good)]);
    let decoded = decoder.decode(&values).unwrap();
    assert_eq!(
        codes(&decoded),
        [(0, "value.null"), (1, "avro.magic"), (2, "avro.truncated"), (3, "avro.unknown_schema")]
    );
    assert_eq!(ids(&decoded.rows), [1]);
}

#[test]
fn a_registry_that_is_away_consumes_nothing() {
    let registry = Memory::with(&[(1, EVENT)]);
    registry.away.store(true, Ordering::SeqCst);
    let mut decoder = avro_decoder(registry.clone(), EVENT, None);
    let value = event(7, "a");
    let values = BinaryArray::from(vec![value.as_slice()]);
    assert!(decoder.decode(&values).unwrap_err().retry);
    registry.away.store(false, Ordering::SeqCst);
    assert_eq!(ids(&decoder.decode(&values).unwrap().rows), [7]);
}

#[test]
fn an_id_that_the_registry_learns_late_is_found_and_learnt_once() {
    let registry = Memory::with(&[(1, EVENT)]);
    registry.deaf.store(2, Ordering::SeqCst);
    let writers = Arc::new(super::WriterSchemas::new(registry.clone()));
    let avro = Some(AvroReader { reader_schema: EVENT.into(), writers: writers.clone() });
    let schema = Arc::new(super::arrow_schema(EVENT).unwrap());
    let spec = DecoderSpec { format: Format::Avro, schema, avro };
    for _ in 0..2 {
        assert_eq!(decoded(spec.open().unwrap().as_mut(), &[&event(7, "a")]).rejects, []);
    }
    assert_eq!(registry.asked.load(Ordering::SeqCst), 3);
    assert_eq!(writers.take_learnt(), [(1, EVENT.to_owned())].into());
    assert!(writers.take_learnt().is_empty());
}

#[test]
fn many_ids_that_nobody_knows_share_one_patience() {
    let registry = Memory::with(&[(1, EVENT)]);
    let writers = super::WriterSchemas::with_patience(registry.clone(), std::time::Duration::from_millis(300));
    let ids: Vec<i32> = (1..100).collect();
    let started = std::time::Instant::now();
    assert_eq!(writers.texts(&ids).unwrap().into_keys().collect::<Vec<_>>(), [1]);
    assert!(started.elapsed() < std::time::Duration::from_secs(3));
    // From then on they are asked for once each time.
    let asked = registry.asked.load(Ordering::SeqCst);
    assert!(writers.texts(&ids[1..]).unwrap().is_empty());
    assert_eq!(registry.asked.load(Ordering::SeqCst), asked + 98);
}

#[test]
fn what_was_preloaded_is_not_asked_for() {
    let registry = Memory::with(&[]);
    let writers = writers(registry.clone());
    writers.preload(1, EVENT);
    let avro = Some(AvroReader { reader_schema: EVENT.into(), writers: writers.clone() });
    let schema = Arc::new(super::arrow_schema(EVENT).unwrap());
    let mut decoder = DecoderSpec { format: Format::Avro, schema, avro }.open().unwrap();
    assert_eq!(ids(&decoded(decoder.as_mut(), &[&event(7, "a")]).rows), [7]);
    assert_eq!(registry.asked.load(Ordering::SeqCst), 0);
    assert!(writers.take_learnt().is_empty());
}

/// Bytes of Confluent's serializers 8.3.1.
const GENUINE: &str = r#"{"type":"record","name":"R","namespace":"n","fields":[{"name":"i","type":"int"},{"name":"l","type":"long"},{"name":"d","type":"double"},{"name":"f","type":"float"},{"name":"b","type":"boolean"},{"name":"s","type":"string"},{"name":"by","type":"bytes"},{"name":"o","type":["null","string"],"default":null},{"name":"a","type":{"type":"array","items":"int"}},{"name":"m","type":{"type":"map","values":"long"}},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},{"name":"x","type":{"type":"fixed","name":"X","size":2}}]}"#;
const LOGICAL: &str = r#"{"type":"record","name":"L","fields":[{"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"dec","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}},{"name":"date","type":{"type":"int","logicalType":"date"}}]}"#;
const VECTORS: &[(i32, &str, &str, &str)] = &[
    (
        1,
        GENUINE,
        "000000000101808080808040000000000000f83f000080be010668c3a90400ff020278060204d8040002026b0900020102",
        r#"{"i":-1,"l":1099511627776,"d":1.5,"f":-0.25,"b":true,"s":"hé","by":"AP8=","o":"x","a":[1,2,300],"m":{"k":-5},"e":"B","x":"AQI="}"#,
    ),
    (2, r#""string""#, "00000000020a68656c6c6f", r#"{"value":"hello"}"#),
    (3, r#""int""#, "000000000354", r#"{"value":42}"#),
    (4, r#""long""#, "000000000405", r#"{"value":-3}"#),
    (5, r#""bytes""#, "0000000005010203", r#"{"value":"AQID"}"#),
    (6, r#"["null","string"]"#, "0000000006020275", r#"{"value":"u"}"#),
    (7, r#"{"type":"record","name":"Em","fields":[]}"#, "0000000007", "{}"),
    (
        8,
        LOGICAL,
        "0000000008f6a1abfef96204fb2eb6b302",
        r#"{"ts":"2023-11-14T22:13:20.123Z","dec":-12.34,"date":"2023-11-14"}"#,
    ),
];

#[test]
fn genuine_bytes_are_read_and_written() {
    for (id, schema, bytes, json) in VECTORS {
        let bytes = hex(bytes);
        let mut decoder = avro_decoder(Memory::with(&[(*id, schema)]), schema, None);
        let decoded = decoded(decoder.as_mut(), &[&bytes, &bytes]);
        assert_eq!((decoded.rejects.as_slice(), decoded.rows.num_rows()), (&[][..], 2), "{schema}");
        let columns = decoded.rows.schema();
        let spec = EncoderSpec { format: Format::Json, schema: columns.clone(), avro: None };
        let printed = encoded(spec.open().unwrap().as_mut(), &decoded.rows);
        assert_eq!(std::str::from_utf8(&printed[1]).unwrap(), *json);
        assert_eq!(encoded(encoder(schema, *id, &columns).as_mut(), &decoded.rows), [bytes.clone(), bytes], "{schema}");
    }
}

#[test]
fn every_type_comes_back() {
    let rows = rows(every_type(), &every_value());
    let schema = avro_schema(&rows.schema(), "Every", Some("a.b"), None).unwrap();
    let values = encoded(encoder(&schema, 5, &every_type()).as_mut(), &rows);
    let mut decoder = avro_decoder(Memory::with(&[(5, &schema)]), &schema, None);
    let values: Vec<_> = values.iter().map(Vec::as_slice).collect();
    let back = decoded(decoder.as_mut(), &values);
    assert_eq!(back.rejects, []);
    let spec = |schema| EncoderSpec { format: Format::Json, schema, avro: None };
    let printed = |rows: &RecordBatch| encoded(spec(rows.schema()).open().unwrap().as_mut(), rows);
    assert_eq!(printed(&back.rows), printed(&rows));
    for (column, field) in rows.columns().iter().zip(rows.schema().fields()) {
        if !field.data_type().is_nested() {
            assert_eq!(column, back.rows.column_by_name(field.name()).unwrap(), "{field}");
        }
    }
    // The schema of what was read is the schema that was written.
    assert_eq!(avro_schema(&back.rows.schema(), "Every", Some("a.b"), None).unwrap(), schema);
}

const V2: &str = r#"{"type":"record","name":"Event","namespace":"elsewhere","fields":[{"name":"label","type":["null","string"],"default":null,"aliases":["name"]},{"name":"id","type":"double"},{"name":"size","type":{"type":"enum","name":"Size","symbols":["S","L"]},"default":"L"},{"name":"home","type":["null",{"type":"record","name":"Home","fields":[{"name":"city","type":"string","default":"Rome"}]}],"default":null}]}"#;

#[test]
fn several_writers_in_one_topic_keep_the_order_of_their_rows() {
    let registry = Memory::with(&[(1, EVENT), (2, V2)]);
    let second = rows(
        super::arrow_schema(V2).unwrap(),
        &[r#"{"label":"new","id":2.5,"size":"S","home":{"city":"Oslo"}}"#, r#"{"id":4,"size":"L"}"#],
    );
    let second = encoded(encoder(V2, 2, &second.schema()).as_mut(), &second);
    let values: [&[u8]; 5] = [&event(1, "a"), &second[0], &event(3, "b"), b"\0\0\0\0\x02\x05", &second[1]];
    let decoded = decoded(avro_decoder(registry, V2, None).as_mut(), &values);
    assert_eq!(codes(&decoded), [(3, "avro.malformed")]);
    let spec = EncoderSpec { format: Format::Json, schema: decoded.rows.schema(), avro: None };
    let printed = encoded(spec.open().unwrap().as_mut(), &decoded.rows);
    let printed: Vec<_> = printed.iter().map(|value| std::str::from_utf8(value).unwrap()).collect();
    assert_eq!(
        printed,
        [
            r#"{"label":"a","id":1.0,"size":"L","home":null}"#,
            r#"{"label":"new","id":2.5,"size":"S","home":{"city":"Oslo"}}"#,
            r#"{"label":"b","id":3.0,"size":"L","home":null}"#,
            r#"{"label":null,"id":4.0,"size":"L","home":null}"#,
        ]
    );
}

#[test]
fn nested_records_evolve_wherever_their_name_stands() {
    let nested = |fields: &str| {
        format!(
            r#"{{"type":"record","name":"N","fields":[{{"name":"a","type":{{"type":"record","name":"P","fields":[{fields}]}}}},{{"name":"b","type":{{"type":"array","items":["null","P"]}}}}]}}"#
        )
    };
    let old = nested(r#"{"name":"x","type":"int"},{"name":"gone","type":"string"}"#);
    let new = nested(r#"{"name":"y","type":"string","default":"?"},{"name":"x","type":"long"}"#);
    let written =
        rows(super::arrow_schema(&old).unwrap(), &[r#"{"a":{"x":1,"gone":"-"},"b":[{"x":2,"gone":"-"},null]}"#]);
    let values = encoded(encoder(&old, 1, &written.schema()).as_mut(), &written);
    let read = |columns: Option<&[&str]>| {
        let mut decoder = avro_decoder(Memory::with(&[(1, &old)]), &new, columns);
        let decoded = decoded(decoder.as_mut(), &[&values[0]]);
        assert_eq!(decoded.rejects, []);
        let spec = EncoderSpec { format: Format::Json, schema: decoded.rows.schema(), avro: None };
        String::from_utf8(encoded(spec.open().unwrap().as_mut(), &decoded.rows).remove(0)).unwrap()
    };
    assert_eq!(read(None), r#"{"a":{"y":"?","x":1},"b":[{"y":"?","x":2},null]}"#);
    assert_eq!(read(Some(&["b"])), r#"{"b":[{"y":"?","x":2},null]}"#);
    assert_eq!(read(Some(&["b", "a"])), r#"{"b":[{"y":"?","x":2},null],"a":{"y":"?","x":1}}"#);
}

#[test]
fn no_column_at_all_still_counts_the_rows() {
    let mut decoder = avro_decoder(Memory::with(&[(1, EVENT)]), EVENT, Some(&[]));
    let decoded = decoded(decoder.as_mut(), &[&event(1, "a"), &event(2, "b")[..7], &event(3, "c")]);
    assert_eq!((decoded.rows.num_rows(), codes(&decoded)), (2, vec![(1, "avro.truncated")]));
}

#[test]
fn a_value_that_does_not_resolve_is_rejected_alone() {
    let of = |symbols: &str| {
        format!(
            r#"{{"type":"record","name":"R","fields":[{{"name":"e","type":{{"type":"enum","name":"E","symbols":{symbols}}}}}]}}"#
        )
    };
    let (old, new) = (of(r#"["A","B","C"]"#), of(r#"["C","A"]"#));
    let mut decoder = avro_decoder(Memory::with(&[(1, &old)]), &new, None);
    let values: [&[u8]; 4] = [b"\0\0\0\0\x01\0", b"\0\0\0\0\x01\x02", b"\0\0\0\0\x01\x04", b"\0\0\0\0\x01\x06"];
    let decoded = decoded(decoder.as_mut(), &values);
    assert_eq!(codes(&decoded), [(1, "avro.unreadable"), (3, "avro.malformed")]);
    let words = arrow::compute::cast(decoded.rows.column(0), &DataType::Utf8).unwrap();
    assert_eq!(words.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["A", "C"]);
}

#[test]
fn a_schema_that_cannot_be_read_rejects_its_records_only() {
    let registry =
        Memory::with(&[(1, EVENT), (2, r#""string""#), (3, r#"{"type":"record","name":"Other","fields":[]}"#)]);
    let mut decoder = avro_decoder(registry, EVENT, None);
    let decoded = decoded(decoder.as_mut(), &[b"\0\0\0\0\x02\x02a", &event(1, "a"), b"\0\0\0\0\x03"]);
    assert_eq!(codes(&decoded), [(0, "avro.incompatible"), (2, "avro.incompatible")]);
    assert_eq!(ids(&decoded.rows), [1]);
    assert_eq!(decoded.rejects[0].reason, "string (schema id 2) cannot be read as record Event");
}

#[test]
fn a_row_that_the_schema_refuses_is_cut_off() {
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},{"name":"n","type":"int"},{"name":"extra","type":"string","default":"x"}]}"#;
    let columns = Schema::new(vec![Field::new("e", DataType::Utf8, true), Field::new("n", DataType::Int64, true)]);
    let words: ArrayRef = Arc::new(StringArray::from(vec![Some("B"), Some("C"), Some("A"), Some("A"), None]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(1 << 40), None, Some(5)]));
    let rows = batch(columns.clone(), vec![words, numbers], 5);
    let mut arena = Vec::new();
    let (places, rejects) = encoder(schema, 1, &columns).encode(&rows, &mut arena).unwrap();
    let codes: Vec<_> = rejects.iter().map(|reject| (reject.index, reject.code)).collect();
    assert_eq!(codes, [(1, "avro.enum"), (2, "avro.range"), (3, "avro.null"), (4, "avro.null")]);
    assert_eq!(arena, b"\0\0\0\0\x01\x02\x02\x02x");
    assert_eq!(places, [0..9, 9..9, 9..9, 9..9, 9..9]);
}

#[test]
fn columns_that_do_not_fit_the_registered_schema_are_found_before_the_first_row() {
    let open = |field: Field| {
        let avro = Some(AvroWriter { schema: EVENT.into(), id: 1 });
        EncoderSpec { format: Format::Avro, schema: Arc::new(Schema::new(vec![field])), avro }.open().err().unwrap()
    };
    let failure = open(Field::new("idd", DataType::Int64, false));
    assert_eq!((failure.code, failure.hint.as_deref()), ("avro.columns", Some("it has: id, name")));
    assert!(open(Field::new("id", DataType::Utf8, false)).message.contains("`id` is Utf8, not long"));
    assert!(open(Field::new("id", DataType::Int64, false)).message.contains("`name` has no default"));
}

#[test]
fn keys_are_a_struct_or_a_plain_column() {
    for (schema, json) in [(EVENT, r#"{"_key":{"id":1,"name":"a"}}"#), (r#""string""#, r#"{"_key":"a"}"#)] {
        let column = key_column(&Format::Avro, Some(schema)).unwrap();
        let registry = Memory::with(&[(1, schema)]);
        let avro = Some(AvroReader { reader_schema: schema.into(), writers: writers(registry) });
        let key = Arc::new(Schema::new(vec![column]));
        let mut decoder = DecoderSpec { format: Format::Avro, schema: key.clone(), avro }.open().unwrap();
        let value = if schema == EVENT { event(1, "a") } else { b"\0\0\0\0\x01\x02a".to_vec() };
        let decoded = decoded(decoder.as_mut(), &[&value]);
        let spec = EncoderSpec { format: Format::Json, schema: key, avro: None };
        assert_eq!(encoded(spec.open().unwrap().as_mut(), &decoded.rows), [json.as_bytes()]);
    }
}

#[test]
fn a_lone_column_is_a_top_level_type() {
    let column = Field::new("brand", DataType::Int32, false);
    assert_eq!(top_level(&column, "t_key", None).unwrap(), r#""int""#);
    let rows = batch(Schema::new(vec![column.clone()]), vec![Arc::new(Int32Array::from(vec![42])) as ArrayRef], 1);
    let values = encoded(encoder(r#""int""#, 3, &Schema::new(vec![column])).as_mut(), &rows);
    assert_eq!(values, [hex("000000000354")]);
}

#[test]
fn unions_of_several_types_pass_through() {
    let schema = r#"{"type":"record","name":"U","fields":[{"name":"u","type":["null","int",{"type":"record","name":"P","fields":[{"name":"x","type":["int","null"]}]},"string"]}]}"#;
    let bodies: [&[u8]; 4] = [&[2, 84], &[0], &[6, 2, b'a'], &[4, 0, 6]];
    let values: Vec<Vec<u8>> = bodies.iter().map(|body| [&[0, 0, 0, 0, 1][..], body].concat()).collect();
    let mut decoder = avro_decoder(Memory::with(&[(1, schema)]), schema, None);
    let decoded = decoded(decoder.as_mut(), &values.iter().map(Vec::as_slice).collect::<Vec<_>>());
    assert_eq!(decoded.rejects, []);
    let mut encoder = encoder(schema, 1, &decoded.rows.schema());
    assert_eq!(encoded(encoder.as_mut(), &decoded.rows), values);
    assert_eq!(encoded(encoder.as_mut(), &decoded.rows.slice(2, 2)), values[2..]);
}

#[test]
fn a_part_of_a_batch_is_encoded_as_that_part() {
    let whole = rows(every_type(), &every_value());
    let schema = avro_schema(&whole.schema(), "Every", None, None).unwrap();
    let mut encoder = encoder(&schema, 5, &every_type());
    let values = encoded(encoder.as_mut(), &whole);
    assert_eq!(encoded(encoder.as_mut(), &whole.slice(1, 1)), values[1..]);
}

#[test]
fn numbers_are_promoted_and_defaults_filled_in_when_written() {
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"d","type":"double"},{"name":"l","type":["string","long"]},{"name":"r","type":{"type":"record","name":"P","fields":[{"name":"x","type":"int"},{"name":"ys","type":{"type":"array","items":"int"}}]},"default":{"x":1,"ys":[2]}}]}"#;
    let columns = Schema::new(vec![Field::new("d", DataType::Int32, false), Field::new("l", DataType::Int32, false)]);
    let numbers = || Arc::new(Int32Array::from(vec![1])) as ArrayRef;
    let values = encoded(encoder(schema, 1, &columns).as_mut(), &batch(columns, vec![numbers(), numbers()], 1));
    let mut decoder = avro_decoder(Memory::with(&[(1, schema)]), schema, Some(&["d", "r"]));
    let decoded = decoded(decoder.as_mut(), &[&values[0]]);
    let spec = EncoderSpec { format: Format::Json, schema: decoded.rows.schema(), avro: None };
    assert_eq!(encoded(spec.open().unwrap().as_mut(), &decoded.rows), [br#"{"d":1.0,"r":{"x":1,"ys":[2]}}"#]);
}

const MANY: &str = r#"{"type":"record","name":"M","fields":[{"name":"id","type":"long"},{"name":"s","type":["null","string"]},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},{"name":"l","type":{"type":"array","items":{"type":"record","name":"I","fields":[{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},{"name":"u","type":{"type":"string","logicalType":"uuid"}}]}}},{"name":"m","type":{"type":"map","values":["null","int","string"]}},{"name":"n","type":{"type":"array","items":"null"}}]}"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever stands between two good records, they are read; and every value is a row or a reject.
    #[test]
    fn no_bytes_touch_their_neighbours(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..24), 1..6), many in any::<bool>()) {
        let (schema, good) = if many { (MANY, hex("00000000010e0000000000")) } else { (EVENT, event(7, "a")) };
        let mut decoder = avro_decoder(Memory::with(&[(1, schema)]), schema, None);
        let bad: Vec<Vec<u8>> = bodies.into_iter().map(|body| [&[0, 0, 0, 0, 1][..], &body].concat()).collect();
        let mut values: Vec<&[u8]> = vec![&good];
        for value in &bad {
            values.extend([value.as_slice(), good.as_slice()]);
        }
        let decoded = decoded(decoder.as_mut(), &values);
        prop_assert_eq!(decoded.rows.num_rows() + decoded.rejects.len(), values.len());
        let alone: Vec<Option<i64>> = values.iter().map(|value| {
            let mut decoder = avro_decoder(Memory::with(&[(1, schema)]), schema, None);
            let decoded = super::tests::decoded(decoder.as_mut(), &[*value]);
            ids(&decoded.rows).first().copied()
        }).collect();
        prop_assert_eq!(ids(&decoded.rows), alone.into_iter().flatten().collect::<Vec<_>>());
        prop_assert!(decoded.rejects.iter().all(|reject| reject.index % 2 == 1));
    }
}
