//! Whole aggregates with scripted cuts: rows in, marks in, emitted rows out.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::*;
use crate::data::{Batch, DeadLetter, Epoch, Partition};
use crate::journal::LastWindow;
use crate::time::Watermark;
use crate::transforms::{At, Emitted, Needed, StepMark};

const AT: At = At { clock: 1_000 };
const SECOND: Windows = Windows::tumbling(1_000, 0);

#[derive(Debug, Clone)]
struct Row {
    partition: Partition,
    time: Millis,
    brand: Option<String>,
    rating: i32,
    dose: f64,
}

fn row(time: Millis, brand: &str, rating: i32) -> Row {
    Row { partition: 0, time, brand: Some(brand.into()), rating, dose: f64::from(rating) }
}

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("brand", DataType::Utf8, true),
        Field::new("rating", DataType::Int32, false),
        Field::new("dose", DataType::Float64, false),
        meta::field(meta::OFFSET).unwrap(),
        meta::field(meta::TIME).unwrap(),
    ]))
}

fn batch(partition: Partition, first: i64, rows: &[Row]) -> Batch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.brand.clone()))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.rating))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.dose))),
        Arc::new(Int64Array::from_iter_values(first..first + rows.len() as i64)),
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.time)).with_timezone("UTC")),
    ];
    Batch { source: 0, partition, rows: RecordBatch::try_new(input(), columns).unwrap() }
}

/// What an aggregate is made of, as texts.
#[derive(Clone)]
struct Made<'a> {
    windows: Option<Windows>,
    grace_ms: Millis,
    groups: &'a [&'a str],
    aggregates: &'a [(&'a str, &'a str)],
    having: Option<&'a str>,
    changes: bool,
}

const COUNT: Made = Made {
    windows: Some(SECOND),
    grace_ms: 0,
    groups: &["brand"],
    aggregates: &[("cnt", "count(*)")],
    having: None,
    changes: false,
};

fn made(made: &Made) -> Aggregate {
    let groups: Vec<(String, Scalar)> =
        made.groups.iter().map(|text| (text.to_string(), Scalar::compile(text, &input()).unwrap())).collect();
    let named: Vec<(String, String)> =
        made.aggregates.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
    let group_schema = Schema::new(group_fields(made.windows, &groups));
    let aggregates = Aggregates::compile(&named, made.having, &group_schema, &input()).unwrap();
    let Made { windows, grace_ms, changes, .. } = *made;
    Aggregate::new(Options { input: input(), windows, grace_ms, groups, aggregates, fill: None, changes }).unwrap()
}

/// Lanes and trunk, driven as the engine drives them.
struct Run {
    gathers: Vec<Box<dyn Gather>>,
    operator: Box<dyn StatefulOperator>,
    batch_rows: usize,
    /// Rows that leave at once.
    rows_max: usize,
    watermark: Watermark,
    epoch: Epoch,
    offset: i64,
    late: Vec<Batch>,
    dead: Vec<DeadLetter>,
}

impl Run {
    fn of(aggregate: &Aggregate, lanes: usize, batch_rows: usize) -> Run {
        Run {
            gathers: (0..lanes).map(|_| aggregate.open_gather()).collect(),
            operator: aggregate.open(false),
            batch_rows,
            rows_max: 10_000,
            watermark: Watermark::NONE,
            epoch: 0,
            offset: 0,
            late: Vec::new(),
            dead: Vec::new(),
        }
    }

    /// One epoch: these rows, then a mark with this watermark.
    fn epoch(&mut self, rows: &[Row], watermark: Millis) -> Vec<Emitted> {
        let mut partitions: Vec<Partition> = rows.iter().map(|row| row.partition).collect();
        partitions.sort();
        partitions.dedup();
        for partition in partitions {
            let own: Vec<Row> = rows.iter().filter(|row| row.partition == partition).cloned().collect();
            let lane = partition as usize % self.gathers.len();
            for rows in own.chunks(self.batch_rows) {
                let batch = batch(partition, self.offset, rows);
                self.offset += rows.len() as i64;
                self.gathers[lane].update(&batch, self.watermark, AT, &mut self.late, &mut self.dead).unwrap();
            }
        }
        let mut partials = Vec::new();
        self.gathers.iter_mut().for_each(|gather| partials.extend(gather.take().unwrap()));
        partials.sort_by_key(|(source, partition, _)| (*source, *partition));
        self.epoch += 1;
        let before = std::mem::replace(&mut self.watermark, Watermark::at(watermark));
        let mark = StepMark {
            first_epoch: self.epoch,
            before,
            watermark: self.watermark,
            clock_before: AT.clock,
            clock: AT.clock,
            ended: false,
            needed_before: 1,
        };
        self.operator.on_mark(&mark, partials.into_iter().map(|(_, _, partial)| partial).collect()).unwrap();
        std::iter::from_fn(|| self.operator.next_rows(self.rows_max).unwrap()).collect()
    }

    fn texts(&mut self, rows: &[Row], watermark: Millis) -> Vec<String> {
        self.epoch(rows, watermark).iter().flat_map(|emitted| texts(&emitted.rows)).collect()
    }
}

/// Rows as `a,b,c`; times as milliseconds, changes by a sign; without the `_time` of windowed rows.
fn texts(rows: &RecordBatch) -> Vec<String> {
    let plain = |column: &ArrayRef| match column.data_type() {
        DataType::Timestamp(..) => cast(&cast(column, &DataType::Int64).unwrap(), &DataType::Utf8).unwrap(),
        _ => cast(column, &DataType::Utf8).unwrap(),
    };
    let shown = |name: &str| name != meta::CHANGE && (name != meta::TIME || rows.column_by_name(WINDOW_END).is_none());
    let named = rows.schema_ref().fields().iter().zip(rows.columns());
    let columns: Vec<ArrayRef> = named.filter(|(f, _)| shown(f.name())).map(|(_, column)| plain(column)).collect();
    let cell = |column: &ArrayRef, row| match column.as_string::<i32>() {
        cells if cells.is_null(row) => "null".to_owned(),
        cells => cells.value(row).to_owned(),
    };
    let changes = rows.column_by_name(meta::CHANGE).map(|changes| changes.as_primitive::<arrow::datatypes::Int8Type>());
    let mut texts = Vec::new();
    for row in 0..rows.num_rows() {
        let cells: Vec<String> = columns.iter().map(|column| cell(column, row)).collect();
        let change = changes.map_or("", |changes| ["+ ", "- ", "= ", "x "][changes.value(row) as usize]);
        texts.push(format!("{change}{}", cells.join(",")));
    }
    texts
}

const NONE: [&str; 0] = [];

#[test]
fn i4_a_window_emits_once_when_the_watermark_reaches_its_end() {
    let mut run = Run::of(&made(&COUNT), 1, 10);
    assert_eq!(run.texts(&[row(100, "b", 1), row(1_200, "a", 1), row(900, "a", 1)], 999), NONE);
    assert_eq!(run.operator.open_ends(), [1_000, 2_000]);
    assert_eq!(run.operator.needed(), Needed::From(1));
    let closed = run.epoch(&[row(999, "b", 1), row(2_500, "a", 1)], 1_000);
    assert_eq!(texts(&closed[0].rows), ["0,1000,a,1", "0,1000,b,2"]);
    assert_eq!((closed.len(), closed[0].first_epoch), (1, 1));
    let closed = run.epoch(&[], 3_000);
    assert_eq!(closed.iter().map(|window| window.first_epoch).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(texts(&closed[0].rows), ["1000,2000,a,1"]);
    assert_eq!(texts(&closed[1].rows), ["2000,3000,a,1"]);
    assert_eq!((run.operator.needed(), run.operator.open_ends()), (Needed::Nothing, vec![]));
}

#[test]
fn i4_a_late_row_leaves_its_window_unchanged() {
    let mut run = Run::of(&made(&Made { grace_ms: 500, ..COUNT }), 1, 2);
    assert_eq!(run.texts(&[row(100, "a", 1), row(1_100, "a", 1)], 1_499), NONE);
    // Behind its end, but within the grace.
    assert_eq!(run.texts(&[row(200, "a", 1)], 1_500), ["0,1000,a,2"]);
    assert_eq!(
        run.texts(&[row(999, "a", 7), row(1_000, "b", 8), row(1, "c", 9)], 2_500),
        ["1000,2000,a,1", "1000,2000,b,1"]
    );
    let late: Vec<String> = run.late.iter().flat_map(|batch| texts(&batch.rows)).collect();
    assert_eq!(late, ["a,7,7.0,3,999", "c,9,9.0,5,1"]);
    assert_eq!(run.late[0].rows.schema(), input());
}

#[test]
fn having_decides_which_rows_of_a_window_leave() {
    let mut run = Run::of(&made(&Made { having: Some("cnt > 1 and brand <> 'c'"), ..COUNT }), 1, 10);
    let rows = [row(1, "c", 1), row(2, "b", 1), row(3, "a", 1), row(4, "b", 1), row(5, "c", 1), row(1_001, "a", 1)];
    assert_eq!(run.texts(&rows, 5_000), ["0,1000,b,2"]);
}

#[test]
fn null_is_a_group_of_its_own() {
    let mut run = Run::of(&made(&COUNT), 1, 10);
    let nobody = Row { brand: None, ..row(1, "", 1) };
    assert_eq!(run.texts(&[nobody.clone(), row(2, "", 1), nobody], 5_000), ["0,1000,null,2", "0,1000,,1"]);
}

#[test]
fn without_group_by_there_is_one_row_per_window_and_none_without_rows() {
    let mut run = Run::of(&made(&Made { groups: &[], aggregates: &[("total", "sum(rating)")], ..COUNT }), 1, 10);
    assert_eq!(run.texts(&[], 1_000), NONE);
    assert_eq!(
        run.texts(&[row(1_100, "a", 2), row(1_900, "b", 3), row(3_000, "b", 4)], 9_000),
        ["1000,2000,5", "3000,4000,4"]
    );
}

const ENDLESS_COUNT: Made = Made { windows: None, changes: true, ..COUNT };

#[test]
fn without_windows_each_epoch_emits_what_changed() {
    let mut run = Run::of(&made(&Made { aggregates: &[("high", "max(rating)")], ..ENDLESS_COUNT }), 1, 10);
    assert_eq!(run.operator.needed(), Needed::Nothing);
    assert_eq!(run.texts(&[row(1, "b", 3), row(2, "a", 1), row(3, "b", 2)], 0), ["+ a,1", "+ b,3"]);
    assert_eq!(run.texts(&[row(4, "b", 1), row(5, "a", 4), row(6, "c", 1)], 0), ["- a,1", "= a,4", "+ c,1"]);
    assert_eq!(run.texts(&[], 0), NONE);
    assert_eq!((run.operator.needed(), run.operator.open_ends()), (Needed::Everything, vec![]));
}

#[test]
fn a_group_that_having_no_longer_passes_is_deleted() {
    let mut run = Run::of(&made(&Made { having: Some("cnt between 2 and 3"), ..ENDLESS_COUNT }), 1, 10);
    assert_eq!(run.texts(&[row(1, "a", 1)], 0), NONE);
    assert_eq!(run.texts(&[row(1, "a", 1)], 0), ["+ a,2"]);
    assert_eq!(run.texts(&[row(1, "a", 1)], 0), ["- a,2", "= a,3"]);
    assert_eq!(run.texts(&[row(1, "a", 1)], 0), ["x a,3"]);
    assert_eq!(run.texts(&[row(1, "a", 1)], 0), NONE);
}

#[test]
fn a_window_with_changes_closes_in_silence() {
    let mut run = Run::of(&made(&Made { changes: true, ..COUNT }), 1, 10);
    assert_eq!(run.texts(&[row(1_100, "a", 1), row(100, "b", 1)], 0), ["+ 0,1000,b,1", "+ 1000,2000,a,1"]);
    // The epoch that closes a window still shows its last change.
    assert_eq!(run.texts(&[row(200, "b", 1)], 1_000), ["- 0,1000,b,1", "= 0,1000,b,2"]);
    assert_eq!((run.operator.needed(), run.operator.open_ends()), (Needed::From(1), vec![2_000]));
    assert_eq!(run.texts(&[], 2_000), NONE);
    assert_eq!((run.operator.needed(), run.operator.size() < 1), (Needed::Nothing, true));
}

#[test]
fn rows_that_cannot_be_evaluated_are_dead_letters_in_order_and_open_no_group() {
    let half = Made { groups: &["12 / rating"], aggregates: &[("odd", "sum(1 / (rating - 2))")], ..COUNT };
    for batch_rows in [1, 10] {
        let mut run = Run::of(&made(&half), 1, batch_rows);
        let rows = [row(1, "", 2), row(2, "", 0), row(3, "", 3), row(4, "", 2), row(5, "", 0)];
        assert_eq!(run.texts(&rows, 1_000), ["0,1000,4,1"], "in batches of {batch_rows}");
        let dead: Vec<(i64, &str, bool)> = run
            .dead
            .iter()
            .map(|letter| (letter.offset, letter.code.as_ref(), letter.reason.starts_with("`group_by.")))
            .collect();
        let expected = [(0, false), (1, true), (3, false), (4, true)].map(|(at, group)| (at, "expr.failed", group));
        assert_eq!(dead, expected, "in batches of {batch_rows}");
    }
}

/// Two seconds long, every second.
const SLIDING: Windows = Windows::hopping(2_000, 1_000, 0);

#[test]
fn i4_a_row_counts_in_those_of_its_windows_that_are_still_open() {
    let mut run = Run::of(&made(&Made { windows: Some(SLIDING), ..COUNT }), 1, 10);
    assert_eq!(run.texts(&[row(1_500, "a", 1)], 1_999), NONE);
    assert_eq!(run.operator.open_ends(), [2_000, 3_000]);
    assert_eq!(run.texts(&[row(1_600, "b", 1), row(2_100, "a", 1)], 2_100), ["0,2000,a,1", "0,2000,b,1"]);
    assert_eq!(run.operator.open_ends(), [3_000, 4_000]);
    // [0, 2000) has closed, [1000, 3000) has not.
    assert_eq!(run.texts(&[row(1_700, "a", 1), row(999, "late", 1)], 2_200), NONE);
    assert_eq!(run.late.iter().flat_map(|batch| texts(&batch.rows)).collect::<Vec<_>>(), ["late,1,1.0,4,999"]);
    assert_eq!(run.operator.needed(), Needed::From(1));
    assert_eq!(run.texts(&[], 3_000), ["1000,3000,a,3", "1000,3000,b,1"]);
    // The pane of the first row has gone with its last window.
    assert_eq!(run.operator.needed(), Needed::From(2));
    assert_eq!(run.texts(&[], 9_000), ["2000,4000,a,1"]);
    assert_eq!((run.operator.needed(), run.operator.open_ends()), (Needed::Nothing, vec![]));
}

/// A pane that gets its first rows when its first window has closed does not bring that one back, whoever asks first.
#[test]
fn i13_an_operator_that_begins_behind_a_watermark_emits_no_window_that_closed_before() {
    for changes in [false, true] {
        let aggregate = made(&Made { windows: Some(SLIDING), changes, ..COUNT });
        let mut run = Run::of(&aggregate, 1, 10);
        run.watermark = Watermark::at(2_000);
        let sign = if changes { "+ " } else { "" };
        assert_eq!(run.texts(&[row(1_500, "a", 1)], 5_000), [format!("{sign}1000,3000,a,1")]);
    }
}

/// A group whose values no filter had let pass had the least number as its maximum, and 0 as its sum.
#[test]
fn an_aggregate_is_null_where_its_filter_lets_no_row_pass() {
    let aggregates = [
        ("most", "max(rating) filter (where rating > 5)"),
        ("least", "min(dose) filter (where rating > 5)"),
        ("sum", "sum(dose) filter (where rating > 5)"),
        ("whole", "sum(rating) filter (where rating > 5)"),
        ("mean", "avg(dose) filter (where rating > 5)"),
        ("cnt", "count(*) filter (where rating > 5)"),
    ];
    for batch_rows in [1, 10] {
        let mut run = Run::of(&made(&Made { aggregates: &aggregates, ..COUNT }), 1, batch_rows);
        let rows = [row(100, "a", 1), row(200, "b", 9), row(300, "c", 2)];
        let none = "null,null,null,null,null,0";
        let expected = [format!("0,1000,a,{none}"), "0,1000,b,9,9.0,9.0,9,9.0,1".into(), format!("0,1000,c,{none}")];
        assert_eq!(run.texts(&rows, 1_000), expected);
    }
}

#[test]
fn i13_a_gap_begins_behind_the_window_that_the_journal_remembers() {
    let filled = {
        let mut options = made(&Made { groups: &[], ..COUNT }).shape.options.clone();
        options.fill = Some(vec![Arc::new(Int64Array::from(vec![0]))]);
        Aggregate::new(options).unwrap()
    };
    let window = |start, end| Some(LastWindow { start, end });
    let mut run = Run::of(&filled, 1, 10);
    run.operator.remember(window(1_000, 2_000));
    assert_eq!(run.texts(&[row(4_500, "a", 1)], 4_500), ["2000,3000,0", "3000,4000,0"]);
    assert_eq!(run.operator.last_window(), window(3_000, 4_000));
    assert_eq!(run.texts(&[], 5_000), ["4000,5000,1"]);
    assert_eq!(run.operator.last_window(), window(4_000, 5_000));
    // Of what the step was before it was changed no gap is known.
    for other in [window(0, 5_000), window(500, 1_500), None] {
        run.operator.remember(other);
        assert_eq!(run.operator.last_window(), None);
    }
}

#[test]
fn windows_that_overlap_change_together() {
    let mut run = Run::of(&made(&Made { windows: Some(SLIDING), changes: true, ..COUNT }), 1, 10);
    assert_eq!(run.texts(&[row(1_500, "a", 1)], 1_999), ["+ 0,2000,a,1", "+ 1000,3000,a,1"]);
    assert_eq!(
        run.texts(&[row(500, "a", 1), row(1_600, "b", 1)], 2_000),
        ["- 0,2000,a,1", "= 0,2000,a,2", "+ 0,2000,b,1", "+ 1000,3000,b,1"]
    );
    assert_eq!(run.texts(&[row(1_700, "a", 1)], 2_500), ["- 1000,3000,a,1", "= 1000,3000,a,2"]);
}

/// Against a naive count: each row into each window that holds it and is open.
fn naive(epochs: &[(Vec<Row>, Millis)], windows: (Millis, Millis, Millis), grace_ms: Millis) -> (Vec<String>, usize) {
    let (size, every, offset) = windows;
    let mut watermark = Millis::MIN;
    let mut counts: std::collections::BTreeMap<(Millis, Option<String>), (i64, i64)> = Default::default();
    let (mut given, mut late) = (Vec::new(), 0);
    for (rows, next) in epochs {
        for row in rows {
            let first = (row.time - size - every..=row.time).find(|s| (s - offset).rem_euclid(every) == 0).unwrap();
            let starts = (0..).map(|n| first + n * every).take_while(|start| *start <= row.time);
            let open = starts.filter(|start| row.time < start + size && start + size + grace_ms > watermark);
            let before = counts.len();
            let mut counted = 0;
            for start in open {
                let (count, sum) = counts.entry((start, row.brand.clone())).or_default();
                (*count, *sum, counted) = (*count + 1, *sum + i64::from(row.rating), counted + 1);
            }
            late += usize::from(counted == 0 && before == counts.len());
        }
        watermark = *next;
        let closed: Vec<_> = counts.keys().filter(|(s, _)| s + size + grace_ms <= watermark).cloned().collect();
        for key in closed {
            let (count, sum) = counts.remove(&key).unwrap();
            let brand = key.1.as_deref().unwrap_or("null");
            given.push(format!("{},{},{brand},{count},{sum}", key.0, key.0 + size));
        }
    }
    (given, late)
}

proptest::proptest! {
    #[test]
    fn overlapping_windows_are_those_of_a_naive_count(
        size in 1i64..40, hop in 1i64..40, offset in 0i64..40, grace_ms in 0i64..20,
        epochs in proptest::collection::vec((proptest::collection::vec((0i64..60, 0u8..4, -3i32..3), 0..12), 0i64..30), 1..8),
        lanes in 1usize..3, batch_rows in 1usize..5, rows_max in 1usize..4,
    ) {
        let every = hop.min(size);
        let offset = offset % every;
        let mut watermark = -20;
        let mut script: Vec<(Vec<Row>, Millis)> = Vec::new();
        for (rows, step) in &epochs {
            let made = |(time, brand, rating): &(Millis, u8, i32)| Row {
                partition: Partition::from(*brand % 2),
                brand: (*brand > 0).then(|| format!("b{brand}")),
                ..row(watermark + time, "", *rating)
            };
            let rows = rows.iter().map(made).collect();
            watermark += step;
            script.push((rows, watermark));
        }
        script.push((Vec::new(), 1_000));
        let aggregates = &[("cnt", "count(*)"), ("total", "sum(rating)")];
        let windows = Some(Windows::hopping(size, every, offset));
        let mut run = Run::of(&made(&Made { windows, grace_ms, aggregates, ..COUNT }), lanes, batch_rows);
        run.rows_max = rows_max;
        let given: Vec<String> = script.iter().flat_map(|(rows, watermark)| run.texts(rows, *watermark)).collect();
        let late: usize = run.late.iter().map(|batch| batch.rows.num_rows()).sum();
        proptest::prop_assert_eq!((given, late), naive(&script, (size, every, offset), grace_ms));
        proptest::prop_assert_eq!((run.operator.needed(), run.operator.open_ends()), (Needed::Nothing, vec![]));
    }
}

/// Rows of seven partitions whose sums of doubles depend on their order in the last bit.
fn many_rows() -> Vec<Vec<Row>> {
    let number = |i: usize| (i * 2_654_435_761) % 10_007;
    let row = |i: usize| Row {
        partition: (number(i) % 7) as Partition,
        time: (i / 4) as Millis + (number(i + 1) % 1_500) as Millis,
        brand: (number(i) % 13 != 0).then(|| format!("brand {}", number(i + 2) % 19)),
        rating: (number(i + 3) % 5) as i32,
        dose: 1e12 / (1.0 + number(i + 4) as f64) - 0.1,
    };
    (0..5).map(|epoch| (epoch * 4_000..(epoch + 1) * 4_000).map(row).collect()).collect()
}

/// I2: with the same cuts neither lanes nor batches change a bit.
#[test]
fn i2_lanes_and_batches_change_no_bit_of_an_aggregate() {
    let aggregates: &[(&str, &str)] =
        &[("cnt", "count(*)"), ("mean", "avg(dose)"), ("total", "sum(dose)"), ("kinds", "count(distinct rating)")];
    let epochs = many_rows();
    let sliding = Windows::hopping(1_500, 400, 0);
    for (windows, changes) in
        [(Some(SECOND), false), (Some(SECOND), true), (None, true), (Some(sliding), false), (Some(sliding), true)]
    {
        let aggregate = made(&Made { windows, changes, aggregates, grace_ms: 100, ..COUNT });
        let outcome = |lanes, batch_rows| {
            let mut run = Run::of(&aggregate, lanes, batch_rows);
            let emitted: Vec<(Epoch, RecordBatch)> = epochs
                .iter()
                .enumerate()
                .flat_map(|(epoch, rows)| run.epoch(rows, (epoch as Millis + 1) * 1_500))
                .map(|emitted| (emitted.first_epoch, emitted.rows))
                .collect();
            // Late rows of all lanes, as the engine puts them: by partition and offset.
            let mut late: Vec<String> = run.late.iter().flat_map(|batch| texts(&batch.rows)).collect();
            late.sort();
            (emitted, late)
        };
        let one = outcome(1, 10_000);
        assert!(one.0.len() > 3 && (windows.is_none() || !one.1.is_empty()));
        assert_eq!(one, outcome(1, 1), "batches of one row, windows: {windows:?}, changes: {changes}");
        assert_eq!(one, outcome(4, 333), "four lanes, windows: {windows:?}, changes: {changes}");
    }
}

fn ends_within_an_update(rows: &RecordBatch) -> bool {
    let Some(changes) = rows.column_by_name(crate::data::meta::CHANGE) else { return false };
    let last = changes.as_primitive::<arrow::datatypes::Int8Type>().values().last().copied();
    last == Some(crate::data::meta::Change::UpdateBefore as i8)
}

/// Rows that leave a few at a time are the same rows in the same order.
#[test]
fn i10_pieces_change_no_bit_of_what_leaves() {
    let aggregates: &[(&str, &str)] =
        &[("cnt", "count(*)"), ("mean", "avg(dose)"), ("kinds", "count(distinct rating)")];
    let epochs = many_rows();
    let sliding = Windows::hopping(1_500, 400, 0);
    for (windows, changes) in
        [(Some(SECOND), false), (Some(SECOND), true), (None, true), (Some(sliding), false), (Some(sliding), true)]
    {
        let having = Some("cnt > 3");
        let aggregate = made(&Made { windows, changes, aggregates, having, grace_ms: 100, ..COUNT });
        let outcome = |rows_max| {
            let mut run = Run::of(&aggregate, 1, 1_000);
            run.rows_max = rows_max;
            let mut rows: Vec<(Epoch, String)> = Vec::new();
            for (epoch, given) in epochs.iter().enumerate() {
                for emitted in run.epoch(given, (epoch as Millis + 1) * 1_500) {
                    // The halves of an update stay together.
                    let most = if changes { rows_max + 1 } else { rows_max };
                    assert!((1..=most).contains(&emitted.rows.num_rows()), "{} at once", emitted.rows.num_rows());
                    assert!(!ends_within_an_update(&emitted.rows));
                    rows.extend(texts(&emitted.rows).into_iter().map(|text| (emitted.first_epoch, text)));
                }
                assert!(run.operator.next_rows(rows_max).unwrap().is_none(), "it goes on behind its end");
            }
            rows
        };
        let whole = outcome(10_000);
        assert!(whole.len() > 30, "{} rows: the test shows little", whole.len());
        assert_eq!(whole, outcome(1), "one by one, windows: {windows:?}, changes: {changes}");
        assert_eq!(whole, outcome(7), "seven at a time, windows: {windows:?}, changes: {changes}");
    }
}
