use arrow::array::StringArray;

use super::*;

const SECOND: Millis = 1_000;

/// Brand, count, time; and what the row is.
type Row = (&'static str, i64, Millis, Change);

fn rows(rows: &[Row]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("count", DataType::Int64, false),
        Field::new("brand", DataType::Utf8, false),
        meta::field(meta::TIME).unwrap(),
        meta::field(meta::CHANGE).unwrap(),
    ]);
    let times: arrow::array::TimestampMillisecondArray = rows.iter().map(|row| Some(row.2)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(rows.iter().map(|row| row.1).collect::<Vec<_>>())),
        Arc::new(StringArray::from(rows.iter().map(|row| row.0).collect::<Vec<_>>())),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(Int8Array::from(rows.iter().map(|row| row.3 as i8).collect::<Vec<_>>())),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// A table and its epochs; `every` is ten seconds.
struct World {
    table: Table,
    operator: Box<dyn StatefulOperator>,
    clock: Millis,
    epoch: Epoch,
    watermark: Watermark,
}

impl World {
    fn new(writes: Writes) -> World {
        let table = Table::new(rows(&[]).schema(), &["brand".to_owned()], 10 * SECOND, writes).unwrap();
        let operator = table.open(false);
        World { table, operator, clock: Millis::MIN, epoch: 0, watermark: Watermark::NONE }
    }

    /// An epoch at this second; what is written.
    fn epoch(&mut self, second: Millis, given: &[Row]) -> Vec<(String, i64, i8)> {
        self.mark(second, given, false)
    }

    fn mark(&mut self, second: Millis, given: &[Row], ended: bool) -> Vec<(String, i64, i8)> {
        self.epoch += 1;
        let mut gather = self.table.open_gather();
        let batch = Batch { source: 0, partition: 0, rows: rows(given) };
        gather.update(&batch, Watermark::NONE, At { clock: 0 }, &mut Vec::new(), &mut Vec::new()).unwrap();
        let partials = gather.take().unwrap().into_iter().map(|(_, _, partial)| partial).collect();
        let clock = second * SECOND;
        let mark = StepMark {
            first_epoch: self.epoch,
            before: self.watermark,
            watermark: self.watermark,
            clock_before: std::mem::replace(&mut self.clock, clock),
            clock,
            ended,
            needed_before: self.epoch - 1,
        };
        self.operator.on_mark(&mark, partials).unwrap();
        let mut out = Vec::new();
        // One by one: only the halves of an update stay together.
        while let Some(Emitted { rows, .. }) = self.operator.next_rows(1).unwrap() {
            let counts = rows.column(0).as_primitive::<Int64Type>();
            let changes = rows.column(3).as_primitive::<Int8Type>();
            let is_pair = rows.num_rows() == 2 && changes.value(0) == Change::UpdateBefore as i8;
            assert!(rows.num_rows() == 1 || is_pair, "{rows:?}");
            let brands = rows.column(1).as_string::<i32>();
            let row = |at| (brands.value(at).to_owned(), counts.value(at), changes.value(at));
            out.extend((0..rows.num_rows()).map(row));
        }
        out
    }

    /// Goes on with what a snapshot has, in batches of so many rows.
    fn restored(mut self, rows_max: usize) -> World {
        let mut frozen = self.operator.freeze().unwrap();
        self.operator = self.table.open(false);
        while let Some(rows) = frozen.next_rows(rows_max).unwrap() {
            assert_eq!(rows.schema(), self.table.state());
            self.operator.thaw(&rows).unwrap();
        }
        self
    }
}

fn row(brand: &str, count: i64, change: Change) -> (String, i64, i8) {
    (brand.to_owned(), count, change as i8)
}

use Change::{Delete, Insert, UpdateAfter, UpdateBefore};

const NOTHING: [(String, i64, i8); 0] = [];

#[test]
fn changes_are_summed_up_to_the_due_time() {
    let mut world = World::new(Writes::Changes);
    assert_eq!(world.epoch(1, &[("b", 1, 0, Insert), ("a", 1, 0, Insert), ("c", 5, 0, Insert)]), NOTHING);
    assert_eq!(world.epoch(9, &[("a", 1, 0, UpdateBefore), ("a", 2, 0, UpdateAfter)]), NOTHING);
    assert_eq!(world.operator.due(world.clock), Some(10 * SECOND));
    let written = world.epoch(10, &[("c", 5, 0, Delete)]);
    assert_eq!(written, [row("a", 2, Insert), row("b", 1, Insert)], "c came and went");
    assert_eq!(world.operator.due(world.clock), None, "nothing waits");
    assert_eq!(world.epoch(20, &[]), NOTHING);

    let up = |from, to| [("a", from, 0, UpdateBefore), ("a", to, 0, UpdateAfter)];
    assert_eq!(world.epoch(21, &up(2, 3)), NOTHING);
    assert_eq!(world.epoch(22, &[("b", 1, 0, Delete)]), NOTHING);
    // The clock jumps over several due times: one is as good as many.
    let written = world.epoch(55, &up(3, 7));
    assert_eq!(written, [row("a", 2, UpdateBefore), row("a", 7, UpdateAfter), row("b", 1, Delete)]);
    assert_eq!(world.epoch(56, &up(7, 8)), NOTHING);
    assert_eq!(world.epoch(61, &up(8, 7)), NOTHING, "it has changed back");
}

#[test]
fn the_whole_table_is_written_if_it_has_changed() {
    let mut world = World::new(Writes::Whole);
    assert_eq!(world.epoch(1, &[("b", 1, 0, Insert), ("a", 1, 0, Insert)]), NOTHING);
    assert_eq!(world.epoch(10, &[]), [row("a", 1, Insert), row("b", 1, Insert)]);
    assert_eq!((world.epoch(20, &[]), world.operator.due(world.clock)), (vec![], None));
    assert_eq!(world.epoch(25, &[("b", 1, 0, Delete)]), NOTHING);
    assert_eq!(world.epoch(30, &[]), [row("a", 1, Insert)]);
    assert_eq!(world.mark(31, &[("c", 4, 0, Insert)], true), [row("a", 1, Insert), row("c", 4, Insert)], "at the end");
}

#[test]
fn equal_rows_are_counted() {
    let mut world = World::new(Writes::Whole);
    world.epoch(1, &[("a", 1, 0, Insert), ("a", 1, 0, Insert), ("a", 1, 0, Insert)]);
    assert_eq!(world.epoch(10, &[("a", 1, 0, Delete)]), [row("a", 1, Insert), row("a", 1, Insert)]);
}

#[test]
fn rows_of_a_window_that_has_closed_are_written_once_more_and_let_go() {
    let mut world = World::new(Writes::Whole);
    world.epoch(1, &[("a", 1, 4_999, Insert), ("b", 1, 9_999, Insert)]);
    world.watermark = Watermark::at(5_000);
    assert_eq!(world.epoch(2, &[]), NOTHING);
    assert_eq!(world.epoch(10, &[]), [row("a", 1, Insert), row("b", 1, Insert)], "nobody has seen it yet");
    assert_eq!(world.epoch(11, &[("c", 1, 14_999, Insert)]), NOTHING);
    assert_eq!(world.epoch(20, &[]), [row("b", 1, Insert), row("c", 1, Insert)]);
    world.watermark = Watermark::at(15_000);
    world.epoch(21, &[]);
    assert_eq!(world.operator.size(), 0, "nothing has changed since they were written");
}

#[test]
fn i13_needed_is_what_stood_before_it_at_the_last_due_time() {
    let mut world = World::new(Writes::Changes);
    world.epoch(1, &[("a", 1, 0, Insert)]);
    assert_eq!(world.operator.needed(), Needed::From(1));
    world.epoch(2, &[]);
    world.epoch(11, &[]);
    assert_eq!(world.operator.needed(), Needed::From(2));
    // Also while nothing waits: a replay that begins later may make up rows that nobody has written.
    world.epoch(12, &[]);
    assert_eq!(world.operator.needed(), Needed::From(2));
}

#[test]
fn i18_a_snapshot_has_what_waits() {
    for (writes, rows_max) in [(Writes::Changes, 1), (Writes::Whole, 1), (Writes::Whole, 100)] {
        let mut worlds = [World::new(writes), World::new(writes)].map(|mut world| {
            world.epoch(1, &[("a", 1, 4_999, Insert), ("b", 1, 9_999, Insert)]);
            world.epoch(10, &[]);
            world.epoch(12, &[("a", 1, 4_999, UpdateBefore), ("a", 2, 4_999, UpdateAfter), ("b", 1, 9_999, Delete)]);
            world
        });
        let [one, other] = worlds;
        worlds = [one, other.restored(rows_max)];
        let [written, of_restored] = worlds.each_mut().map(|world| {
            assert_eq!(
                (world.operator.due(world.clock), world.operator.needed()),
                (Some(20 * SECOND), Needed::From(1))
            );
            world.watermark = Watermark::at(5_000);
            let written = world.epoch(20, &[]);
            assert_eq!((world.operator.size(), world.operator.due(world.clock)), (0, None));
            written
        });
        assert!(!written.is_empty());
        assert_eq!(written, of_restored, "{writes:?}");
    }
}
