//! JSON from end to end.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use proptest::prelude::*;

use crate::formats::samples::{batch, codes, decoded, encoded, every_type, every_value, rows};
use crate::formats::{Decoder, DecoderSpec, EncoderSpec, Format, fields, value_columns};

fn decoder(schema: &Schema) -> Box<dyn Decoder> {
    DecoderSpec { format: Format::Json, schema: Arc::new(schema.clone()), avro: None }.open().unwrap()
}

fn event() -> Schema {
    Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("tags", DataType::List(Arc::new(Field::new("item", DataType::Utf8, false))), true),
    ])
}

fn back(rows: &arrow::array::RecordBatch) -> Vec<String> {
    let spec = EncoderSpec { format: Format::Json, schema: rows.schema(), avro: None };
    encoded(spec.open().unwrap().as_mut(), rows).into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
}

fn reasons(schema: &Schema, value: &str) -> (&'static str, String) {
    let decoded = decoded(decoder(schema).as_mut(), &[value.as_bytes()]);
    let reject = decoded.rejects.first().unwrap_or_else(|| panic!("{value} was taken"));
    (reject.code, reject.reason.clone())
}

#[test]
fn six_records_of_which_three_are_bad() {
    let mut decoder = decoder(&event());
    let values: [&[u8]; 6] = [
        br#"{"id":1,"tags":["a","b"]}"#,
        br#"{"id":2,"tags":["c","#,
        br#"{"name":"n","id":3,"more":{"x":[1]}}"#,
        br#"{"id":4}{"id":5}"#,
        b"",
        br#" {"id":6,"tags":[]} "#,
    ];
    for _ in 0..2 {
        let decoded = decoded(decoder.as_mut(), &values);
        assert_eq!(codes(&decoded), [(1, "json.syntax"), (3, "json.trailing"), (4, "json.empty")]);
        assert_eq!(
            back(&decoded.rows),
            [
                r#"{"id":1,"name":null,"tags":["a","b"]}"#,
                r#"{"id":3,"name":"n","tags":null}"#,
                r#"{"id":6,"name":null,"tags":[]}"#
            ]
        );
    }
}

#[test]
fn a_record_says_what_is_wrong_with_it() {
    let inner = DataType::Struct(vec![Field::new("at", DataType::Date32, false)].into());
    let schema = Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("user", inner, true)]);
    let of = |value| reasons(&schema, value);
    assert_eq!(of("{}"), ("json.missing", "`id`: it is missing, and its type is long".into()));
    assert_eq!(of(r#"{"id":null}"#), ("json.null", "`id`: it is null, and its type is long".into()));
    assert_eq!(of(r#"{"id":"5"}"#), ("json.type", "`id`: it is the string `5`, not long".into()));
    assert_eq!(of(r#"{"id":1.5}"#), ("json.type", "`id`: 1.5 is not long".into()));
    assert_eq!(of(r#"{"id":9223372036854775808}"#).0, "json.type");
    assert_eq!(of(r#"{"id":[1]}"#), ("json.type", "`id`: it is a list, not long".into()));
    assert_eq!(
        of(r#"{"id":1,"user":{"at":"2024-02-30"}}"#),
        ("json.type", "`user.at`: `2024-02-30` is not a date like 2024-02-29".into())
    );
    assert_eq!(of("[1]"), ("json.type", "the value is a list, not an object".into()));
    assert_eq!(of(r#"{"id":1,}"#), ("json.syntax", "the value is not JSON: a string is expected at `}`".into()));
    assert_eq!(of(r#"{"id":1"#), ("json.syntax", "the value is not JSON: `,` or `}` is expected at its end".into()));
}

#[test]
fn every_type_comes_back() {
    let rows = rows(every_type(), &every_value());
    let printed = back(&rows);
    assert_eq!(printed, every_value());
    let values: Vec<_> = printed.iter().map(|value| value.as_bytes()).collect();
    assert_eq!(decoded(decoder(&every_type()).as_mut(), &values).rows, rows);
}

#[test]
fn timestamps_are_text_or_numbers_of_their_unit() {
    let millis = || DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC")));
    let of = |name: &str, unit: &str| {
        Field::new(name, millis(), false).with_metadata([(fields::UNIT.to_owned(), unit.to_owned())].into())
    };
    let schema = Schema::new(vec![Field::new("t", millis(), false), of("s", "s"), of("ms", "ms"), of("us", "us")]);
    let text = r#"{"t":"2024-01-01T01:00:00.5+01:00","s":100.25,"ms":-1,"us":1700000000123999}"#;
    let rows = rows(schema.clone(), &[text]);
    let values = |at: usize| {
        arrow::compute::cast(rows.column(at), &DataType::Int64).unwrap().as_primitive::<Int64Type>().value(0)
    };
    assert_eq!([values(0), values(1), values(2), values(3)], [1_704_067_200_500, 100_250, -1, 1_700_000_000_123]);
    assert_eq!(back(&rows), [r#"{"t":"2024-01-01T00:00:00.500Z","s":100.25,"ms":-1,"us":1700000000123000}"#]);
    assert_eq!(reasons(&schema, r#"{"t":5}"#), ("json.type", "`t`: it is the number 5, not timestamp".into()));
    assert_eq!(
        reasons(&schema, r#"{"t":"2024-01-01T00:00:00Z","s":"5"}"#),
        ("json.type", "`s`: it is the string `5`, not timestamp(s)".into())
    );
}

#[test]
fn json_columns_keep_the_text_of_their_value() {
    let schema = Schema::new(vec![fields::json_column("a", false), fields::json_column("b", true)]);
    let rows = rows(schema, &[r#"{"a": {"x" : [1.50, null]} ,"b":null}"#, r#"{"a":null,"b":"\u00e9"}"#]);
    assert_eq!(back(&rows), [r#"{"a":{"x" : [1.50, null]},"b":null}"#, r#"{"a":null,"b":"\u00e9"}"#]);
}

#[test]
fn without_columns_the_value_is_one_column() {
    let schema = value_columns(&Format::Json, None, None).unwrap();
    let mut decoder = decoder(&schema);
    let decoded = decoded(decoder.as_mut(), &[br#" {"a":[1, 2]} "#, b"nul", b"17", b"1 2"]);
    assert_eq!(codes(&decoded), [(1, "json.syntax"), (3, "json.trailing")]);
    assert_eq!(back(&decoded.rows), [r#"{"a":[1, 2]}"#, "17"]);
}

#[test]
fn defaults_and_other_names_are_taken_from_metadata() {
    let metadata = [(fields::DEFAULT.to_owned(), "[7]".to_owned()), (fields::FIELD.to_owned(), "N".to_owned())];
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, false)));
    let schema = Schema::new(vec![Field::new("n", list, false).with_metadata(metadata.into())]);
    assert_eq!(back(&rows(schema, &["{}", r#"{"N":[1],"n":2}"#])), [r#"{"N":[7]}"#, r#"{"N":[1]}"#]);
}

#[test]
fn of_a_key_that_stands_twice_the_last_counts() {
    assert_eq!(
        back(&rows(event(), &[r#"{"id":1,"tags":["a"],"id":2,"tags":["b","c"]}"#])),
        [r#"{"id":2,"name":null,"tags":["b","c"]}"#]
    );
}

#[test]
fn names_are_compared_without_their_escapes() {
    let schema =
        Schema::new(vec![Field::new("a\"b", DataType::Int64, true), Field::new("c\\n", DataType::Int64, true)]);
    let printed = back(&rows(schema.clone(), &[r#"{"a\"b":1,"c\n":2}"#, r#"{"\u0061\u0022b":1,"c\\n":2}"#]));
    assert_eq!(printed, [r#"{"a\"b":1,"c\\n":null}"#, r#"{"a\"b":1,"c\\n":2}"#]);
    assert_eq!(reasons(&schema, r#"{"a"b":1}"#).0, "json.syntax");
}

#[test]
fn numbers_that_json_lacks_are_null() {
    let values: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY, 1e300, 5.0, -0.0]));
    let rows = batch(Schema::new(vec![Field::new("x", DataType::Float64, false)]), vec![values], 5);
    assert_eq!(back(&rows), [r#"{"x":null}"#, r#"{"x":null}"#, r#"{"x":1e300}"#, r#"{"x":5.0}"#, r#"{"x":-0.0}"#]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_bytes_touch_their_neighbours(texts in prop::collection::vec("[ -~é]{0,12}|\\{\"id\":-?[0-9]{1,20},\"tags\":[\\[\\]\",a:{}]{0,9}\\}?", 1..6)) {
        let mut decoder = decoder(&event());
        let good = br#"{"id":7,"tags":["x"]}"#;
        let mut values: Vec<&[u8]> = vec![good];
        for text in &texts {
            values.extend([text.as_bytes(), good.as_slice()]);
        }
        let decoded = decoded(decoder.as_mut(), &values);
        prop_assert_eq!(decoded.rows.num_rows() + decoded.rejects.len(), values.len());
        let bad = codes(&decoded);
        prop_assert!(bad.iter().all(|(index, _)| index % 2 == 1));
        let lines = back(&decoded.rows);
        let good_lines = lines.iter().filter(|line| *line == r#"{"id":7,"name":null,"tags":["x"]}"#).count();
        prop_assert!(good_lines > texts.len());
    }

    #[test]
    fn what_is_taken_is_json_and_what_is_not_is_not(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
        let schema = value_columns(&Format::Json, None, None).unwrap();
        let decoded = decoded(decoder(&schema).as_mut(), &[bytes.as_slice()]);
        let is_json = serde_json::from_slice::<serde_json::Value>(&bytes).is_ok();
        prop_assert_eq!(decoded.rows.num_rows() == 1, is_json);
    }
}
