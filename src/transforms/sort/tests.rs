use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::Int64Type;

use super::*;

const NONE: [i64; 0] = [];

fn rows(rows: &[(Millis, i64)]) -> RecordBatch {
    let times: TimestampMillisecondArray = rows.iter().map(|(time, _)| Some(*time)).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from(rows.iter().map(|(_, n)| *n).collect::<Vec<_>>()))),
        (meta::TIME, Arc::new(times.with_timezone("UTC"))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// A sort and its epochs.
struct World {
    gather: Box<dyn Gather>,
    operator: Box<dyn StatefulOperator>,
    watermark: Watermark,
    epoch: Epoch,
    late: Vec<i64>,
}

impl World {
    fn new(within_ms: Millis) -> World {
        let sort = Sort::new(rows(&[]).schema(), within_ms);
        let (gather, operator) = (sort.open_gather(), sort.open(false));
        World { gather, operator, watermark: Watermark::NONE, epoch: 0, late: Vec::new() }
    }

    fn give(&mut self, partition: Partition, given: &[(Millis, i64)]) {
        let batch = Batch { source: 0, partition, rows: rows(given) };
        let mut late = Vec::new();
        let at = At { clock: 0 };
        self.gather.update(&batch, self.watermark, at, &mut late, &mut Vec::new()).unwrap();
        self.late.extend(late.iter().flat_map(|batch| numbers(&batch.rows)));
    }

    /// What leaves, at most `rows_max` at once.
    fn mark(&mut self, watermark: Millis, rows_max: usize) -> Vec<i64> {
        self.epoch += 1;
        let (before, watermark) = (self.watermark, Watermark::at(watermark));
        let mark = StepMark {
            first_epoch: self.epoch,
            before,
            watermark,
            clock_before: 0,
            clock: 0,
            ended: false,
            needed_before: 1,
        };
        let partials = self.gather.take().unwrap().into_iter().map(|(_, _, partial)| partial).collect();
        self.operator.on_mark(&mark, partials).unwrap();
        self.watermark = watermark;
        let mut out = Vec::new();
        while let Some(emitted) = self.operator.next_rows(rows_max).unwrap() {
            assert!(emitted.rows.num_rows() <= rows_max);
            out.extend(numbers(&emitted.rows));
        }
        out
    }
}

fn numbers(rows: &RecordBatch) -> Vec<i64> {
    rows.column(0).as_primitive::<Int64Type>().values().to_vec()
}

#[test]
fn rows_leave_by_time_when_nothing_earlier_can_come() {
    let mut world = World::new(10);
    world.give(1, &[(105, 1), (101, 2), (101, 3)]);
    world.give(0, &[(101, 4), (90, 5)]);
    // A row of time 90 may come until the watermark is past 100.
    assert_eq!(world.mark(100, 9), NONE);
    assert_eq!(world.mark(101, 9), [5]);
    world.give(0, &[(101, 6), (91, 7), (90, 8)]);
    assert_eq!(world.late, [8]);
    // Of one time: by partition, then in the order of the partition.
    assert_eq!(world.mark(112, 2), [7, 4, 6, 2, 3]);
    assert_eq!(world.operator.open_ends(), [116]);
    assert_eq!(world.mark(116, 9), [1]);
    assert_eq!(world.operator.needed(), Needed::Nothing);
    assert_eq!(world.operator.open_ends(), NONE);
}

#[test]
fn i13_needed_is_the_lowest_epoch_of_the_rows_that_are_left() {
    let mut world = World::new(0);
    world.give(0, &[(30, 1)]);
    assert_eq!((world.mark(5, 9), world.operator.needed()), (vec![], Needed::From(1)));
    world.give(0, &[(10, 2), (40, 3)]);
    world.mark(5, 9);
    world.give(0, &[(20, 4)]);
    assert_eq!((world.mark(11, 9), world.operator.needed()), (vec![2], Needed::From(1)));
    assert_eq!((world.mark(31, 9), world.operator.needed()), (vec![4, 1], Needed::From(2)));
    assert_eq!((world.mark(41, 9), world.operator.needed()), (vec![3], Needed::Nothing));
}

#[test]
fn i2_many_epochs_that_are_put_together_leave_in_the_same_order() {
    let mut world = World::new(0);
    // As many epochs as make chunks of chunks, each partition in steps of its own.
    let mut expected = Vec::new();
    let mut number = 0;
    for epoch in 0..3 * CHUNKS_MAX as i64 {
        for partition in [2, 0, 1] {
            let time = (epoch * (7 + i64::from(partition) * 4)) % 1_000;
            world.give(partition, &[(time, number)]);
            expected.push((time, partition, number));
            number += 1;
        }
        assert_eq!(world.mark(0, 9), NONE);
    }
    expected.sort_unstable();
    let expected: Vec<i64> = expected.into_iter().map(|(_, _, number)| number).collect();
    let ends = world.operator.open_ends();
    assert!(ends.is_sorted() && ends.len() <= ENDS_MAX + CHUNKS_MAX, "{}", ends.len());
    let last = *ends.last().unwrap();
    let half = world.mark(500, 1_000);
    assert_eq!(half, expected[..half.len()]);
    assert_eq!(world.mark(last, 64), expected[half.len()..]);
    assert_eq!(world.operator.size(), 0);
}

/// One row far ahead in each chunk kept all the rows of the chunk in memory, until the state was full of rows that had left.
#[test]
fn rows_that_have_left_are_let_go_though_one_of_their_chunk_waits() {
    let far = |chunk: i64| (1_000_000, chunk);
    let mut world = World::new(0);
    for chunk in 0..100 {
        let mut rows: Vec<(Millis, i64)> = (0..1_000).map(|n| (chunk, 1_000 + n)).collect();
        rows.push(far(chunk));
        world.give(0, &rows);
        assert_eq!(world.mark(0, 9), NONE);
    }
    let full = world.operator.size();
    assert_eq!(world.mark(1_000, 10_000).len(), 100_000);
    assert!(world.operator.size() * 50 < full, "{} of {full} bytes are held for 100 rows", world.operator.size());
    assert_eq!(world.operator.needed(), Needed::From(1));
    assert_eq!(world.mark(2_000_000, 9), (0..100).collect::<Vec<i64>>());
    assert_eq!(world.operator.size(), 0);
}
