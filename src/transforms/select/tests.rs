//! Whole steps on small batches.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int8Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};

use super::*;
use crate::data::meta::Change;
use crate::data::{Batch, DeadLetter};
use crate::transforms::{At, Left};

const AT: At = At { clock: 1_000 };

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("brand", DataType::Utf8, false),
        Field::new("rating", DataType::Int32, true),
        meta::field(meta::TOPIC).unwrap(),
        meta::field(meta::OFFSET).unwrap(),
    ]))
}

fn batch(rows: &[(&str, Option<i32>)]) -> Batch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(brand, _)| brand))),
        Arc::new(Int32Array::from_iter(rows.iter().map(|(_, rating)| *rating))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|_| "ratings"))),
        Arc::new(Int64Array::from_iter_values(0..rows.len() as i64)),
    ];
    Batch { source: 0, partition: 0, rows: RecordBatch::try_new(input(), columns).unwrap() }
}

fn expr(text: &str, schema: &Schema) -> Scalar {
    Scalar::compile(text, schema).unwrap()
}

fn named(pairs: &[(&str, &str)], schema: &Schema) -> Vec<(String, Scalar)> {
    pairs.iter().map(|(name, text)| (name.to_string(), expr(text, schema))).collect()
}

fn apply(steps: RowSteps, batch: Batch) -> (RecordBatch, Vec<DeadLetter>) {
    let select = Select::new(steps).unwrap();
    let mut left = Left::default();
    let output = select.open().apply(batch, AT, &mut left).unwrap();
    assert_eq!(output.rows.schema(), select.schema());
    (output.rows, left.dead)
}

fn names(rows: &RecordBatch) -> Vec<String> {
    rows.schema().fields().iter().map(|field| field.name().clone()).collect()
}

fn column(rows: &RecordBatch, name: &str) -> Vec<String> {
    let texts = cast(rows.column_by_name(name).unwrap(), &DataType::Utf8).unwrap();
    texts.as_string::<i32>().iter().map(|text| text.unwrap_or("null").to_owned()).collect()
}

fn refused(dead: &[DeadLetter]) -> Vec<(i64, &str)> {
    dead.iter().map(|letter| (letter.offset, letter.code.as_ref())).collect()
}

#[test]
fn where_lets_true_pass_and_neither_false_nor_null() {
    let steps = RowSteps { filter: Some(expr("rating >= 2", &input())), ..RowSteps::of(input()) };
    let (rows, dead) = apply(steps, batch(&[("a", Some(2)), ("b", None), ("c", Some(1)), ("d", Some(3))]));
    assert_eq!(column(&rows, "brand"), ["a", "d"]);
    assert_eq!(rows.column_by_name(meta::OFFSET).unwrap().as_primitive::<Int64Type>().values(), &[0, 3]);
    assert!(dead.is_empty());
}

#[test]
fn dead_letters_stand_in_the_order_of_their_rows_whichever_stage_refused_them() {
    let steps = RowSteps {
        filter: Some(expr("12 / rating > 1", &input())),
        checks: named(&[("small", "rating < 5"), ("named", "brand <> ''")], &input()),
        add: named(&[("inverse", "6 / (rating - 1)")], &input()),
        ..RowSteps::of(input())
    };
    let rows =
        [("a", Some(1)), ("b", Some(0)), ("", Some(5)), ("", Some(2)), ("e", Some(99)), ("f", Some(4)), ("g", Some(0))];
    let (rows, dead) = apply(steps, batch(&rows));
    assert_eq!(column(&rows, "inverse"), ["2"]);
    let expected = [(0, "expr.failed"), (1, "expr.failed"), (2, "check.small"), (3, "check.named"), (6, "expr.failed")];
    assert_eq!(refused(&dead), expected);
    assert_eq!(&*dead[0].topic, "ratings");
    assert!(dead[0].reason.starts_with("`add.inverse`: "), "{}", dead[0].reason);
    assert!(dead[1].reason.starts_with("`where`: "), "{}", dead[1].reason);
}

#[test]
fn a_check_that_gives_null_does_not_hold() {
    let steps = RowSteps { checks: named(&[("rated", "rating > 0")], &input()), ..RowSteps::of(input()) };
    let (rows, dead) = apply(steps, batch(&[("a", None), ("b", Some(1))]));
    assert_eq!(column(&rows, "brand"), ["b"]);
    assert_eq!((refused(&dead), dead[0].reason.as_str()), (vec![(0, "check.rated")], "the check `rated` gives null"));
}

#[test]
fn columns_are_added_selected_and_dropped_in_front_of_the_metadata() {
    let add = named(&[("rating", "rating + 1"), ("double", "rating * 2")], &input());
    let added = added_schema(&input(), &add);
    let steps = RowSteps { add: add.clone(), ..RowSteps::of(input()) };
    let (rows, _) = apply(steps.clone(), batch(&[("a", Some(3))]));
    assert_eq!(names(&rows), ["brand", "rating", "double", meta::TOPIC, meta::OFFSET]);
    // Both see the column as it came.
    assert_eq!((column(&rows, "rating"), column(&rows, "double")), (vec!["4".into()], vec!["6".into()]));

    let select = Some(named(&[("twice", "double"), ("offset", "_offset"), ("brand", "brand")], &added));
    let unused = vec![meta::TOPIC.to_owned()];
    let (rows, _) = apply(RowSteps { select, drop: vec!["brand".into()], unused, ..steps }, batch(&[("a", Some(3))]));
    assert_eq!(names(&rows), ["twice", "offset", meta::OFFSET]);
    assert_eq!((column(&rows, "twice"), column(&rows, "offset")), (vec!["6".into()], vec!["0".into()]));
}

#[test]
fn metadata_cannot_be_dropped() {
    let drop = |name: &str| Select::new(RowSteps { drop: vec![name.into()], ..RowSteps::of(input()) });
    assert_eq!(drop(meta::OFFSET).unwrap_err().code, "select.drop");
    assert_eq!(drop("nothing").unwrap_err().code, "select.drop");
    assert_eq!(names(&RecordBatch::new_empty(drop("rating").unwrap().schema())), ["brand", meta::TOPIC, meta::OFFSET]);
}

fn changing(rows: &[(i32, Change)]) -> Batch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("cnt", Arc::new(Int32Array::from_iter_values(rows.iter().map(|(count, _)| *count)))),
        (meta::CHANGE, Arc::new(Int8Array::from_iter_values(rows.iter().map(|(_, change)| *change as i8)))),
    ];
    Batch { source: 0, partition: 0, rows: RecordBatch::try_from_iter(columns).unwrap() }
}

#[test]
fn a_row_that_stops_passing_is_a_deletion_and_one_that_starts_an_insertion() {
    use Change::{Delete, Insert, UpdateAfter, UpdateBefore};
    let updates = [
        (1, UpdateBefore),
        (9, UpdateAfter),
        (9, UpdateBefore),
        (2, UpdateAfter),
        (3, UpdateBefore),
        (4, UpdateAfter),
        (0, Insert),
        (1, Delete),
    ];
    let batch = changing(&updates);
    let schema = batch.rows.schema();
    let steps = RowSteps {
        filter: Some(expr("cnt > 0", &schema)),
        checks: named(&[("small", "cnt < 5")], &schema),
        ..RowSteps::of(schema)
    };
    let (rows, dead) = apply(steps, batch);
    let expected = [(1, Delete), (2, Insert), (3, UpdateBefore), (4, UpdateAfter), (1, Delete)];
    assert_eq!(rows, changing(&expected).rows);
    // The 9 was refused when it came, not again when it went.
    assert_eq!(dead.len(), 1);
}

#[test]
fn what_a_port_takes_is_no_dead_letter_and_stands_in_the_order_of_the_input() {
    let steps = RowSteps {
        filter: Some(expr("12 / rating > 1", &input())),
        checks: named(&[("small", "rating < 5")], &input()),
        add: named(&[("inverse", "6 / (rating - 1)")], &input()),
        ..RowSteps::of(input())
    };
    let rows =
        [("a", Some(1)), ("b", Some(0)), ("c", Some(12)), ("d", None), ("e", Some(5)), ("f", Some(4)), ("g", Some(99))];
    let mut left = Left { rest: Some(Vec::new()), failed: Some(Vec::new()), ..Left::default() };
    let output = Select::new(steps).unwrap().open().apply(batch(&rows), AT, &mut left).unwrap();
    assert_eq!(column(&output.rows, "brand"), ["f"]);
    assert!(left.dead.is_empty());
    // A null does not pass; what could not be evaluated is not among the rest.
    assert_eq!(left.rest.unwrap(), [2, 3, 6]);
    let failed = left.failed.unwrap();
    let rows: Vec<u32> = failed.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [0, 1, 4]);
    assert!(failed[0].1.starts_with("`add.inverse`: ") && failed[1].1.starts_with("`where`: "), "{failed:?}");
    assert_eq!(failed[2].1, "the check `small` does not hold");
}
