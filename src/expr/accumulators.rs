//! Grouped accumulators at work.
//!
//! I2: rows go in one by one and in order, whatever the batches were, and states are merged in the order
//! given; so equal sequences give equal bits, float sums included. Always grouped accumulators, also for
//! one group: the ungrouped ones of DataFusion add up a batch in chunks. Sets (`count(distinct …)`) leave
//! in the order of their values.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, RecordBatch, RecordBatchOptions, UInt32Array, new_empty_array,
};
use arrow::compute::{SortColumn, filter, filter_record_batch, lexsort_to_indices, prep_null_mask_filter, take};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion_common::DataFusionError;
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_physical_expr::GroupsAccumulatorAdapter;

use super::At;
use super::aggregates::{AggregatePlan, Call, Output};
use super::error::{RowError, plain};
use super::functions::{CheckedSum, Spread, Variance};
use super::scalar::Scalar;
use crate::report::Failure;

/// Grouped accumulators at work. Groups are numbered from 0 by the caller.
pub struct Accumulators {
    plan: Arc<AggregatePlan>,
    /// One for each call.
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    groups_count: usize,
}

impl std::fmt::Debug for Accumulators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accumulators").field("plan", &self.plan).field("groups_count", &self.groups_count).finish()
    }
}

/// What the calls of some groups came to; results are computed from it, for all groups or for a few at a time.
#[derive(Debug)]
pub struct Finished {
    plan: Arc<AggregatePlan>,
    /// One column for each call, a row for each group.
    calls: Vec<ArrayRef>,
    count: usize,
}

/// The arguments of one call for the rows that pass its filter.
struct Arguments {
    values: Vec<ArrayRef>,
    /// The row of each value; `None`: all rows.
    rows: Option<Vec<usize>>,
}

impl Accumulators {
    pub(super) fn open(plan: Arc<AggregatePlan>) -> Result<Self, Failure> {
        let accumulators = plan.calls.iter().map(accumulator).collect::<Result<_, _>>().map_err(broken)?;
        Ok(Accumulators { plan, accumulators, groups_count: 0 })
    }

    /// Takes rows in, in order; `groups[i]` is the group of row i, `total` the number of groups so far.
    /// Rows whose arguments fail to evaluate are counted in no call and are listed, ascending.
    ///
    /// # Errors
    /// [`Failure`] if `rows` lacks a column that is read (ours), or a value is too large for its aggregate.
    pub fn update(
        &mut self,
        rows: &RecordBatch,
        at: At,
        groups: &[usize],
        total: usize,
    ) -> Result<Vec<RowError>, Failure> {
        self.groups_count = total;
        let mut errors = Vec::new();
        let mut arguments = Vec::with_capacity(self.accumulators.len());
        for call in &self.plan.calls {
            arguments.push(evaluate_call(call, rows, at, &mut errors)?);
        }
        errors.sort_by_key(|error: &RowError| error.row);
        errors.dedup_by_key(|error| error.row);
        for (accumulator, arguments) in self.accumulators.iter_mut().zip(arguments) {
            let Arguments { values, rows } = without(arguments, &errors, rows.num_rows())?;
            let groups: Cow<'_, [usize]> = match &rows {
                None => groups.into(),
                Some(rows) => rows.iter().map(|&row| groups[row]).collect(),
            };
            // Without a filter DataFusion takes it that every group has a value by now, and gives 0 or the least number,
            // not null, for one that has none.
            let all = (rows.is_some() || groups.is_empty()).then(|| BooleanArray::from(vec![true; groups.len()]));
            accumulator.update_batch(&values, &groups, all.as_ref(), total).map_err(overflown)?;
        }
        Ok(errors)
    }

    /// Merges states, in order; `groups[i]` is the group of state i.
    ///
    /// # Errors
    /// [`Failure`] if the states are those of other aggregates (ours), or a value gets too large.
    pub fn merge(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<(), Failure> {
        self.groups_count = total;
        let mut states = states.iter().cloned();
        for (call, accumulator) in self.plan.calls.iter().zip(&mut self.accumulators) {
            let own: Vec<ArrayRef> = states.by_ref().take(call.state_fields().len()).collect();
            accumulator.merge_batch(&own, groups, total).map_err(overflown)?;
        }
        Ok(())
    }

    /// The state of every group, in order; empty afterwards.
    ///
    /// # Errors
    /// [`Failure`] (ours) if a call gives another state than it said it would.
    pub fn take_state(&mut self) -> Result<Vec<ArrayRef>, Failure> {
        let is_empty = std::mem::take(&mut self.groups_count) == 0;
        let mut states = Vec::new();
        for (call, accumulator) in self.plan.calls.iter().zip(&mut self.accumulators) {
            let fields = call.state_fields();
            if is_empty {
                states.extend(fields.iter().map(|field| new_empty_array(field.data_type())));
                continue;
            }
            for (array, field) in accumulator.state(EmitTo::All).map_err(broken)?.into_iter().zip(&fields) {
                let array = if call.is_distinct { in_value_order(&array)? } else { array };
                states.push(of_type(array, field.data_type())?);
            }
        }
        Ok(states)
    }

    /// The results of every group, in order, given the group columns, and which groups pass
    /// HAVING (`None`: all); empty afterwards.
    ///
    /// # Errors
    /// [`Failure`] (user) if a result cannot be computed from its aggregates, such as a division by zero.
    pub fn take_results(
        &mut self,
        groups: &[ArrayRef],
        at: At,
    ) -> Result<(Vec<ArrayRef>, Option<BooleanArray>), Failure> {
        self.take_finished()?.results(groups, at)
    }

    /// The calls of every group, finished; empty afterwards.
    ///
    /// # Errors
    /// [`Failure`] if a value got too large.
    pub fn take_finished(&mut self) -> Result<Finished, Failure> {
        let count = std::mem::take(&mut self.groups_count);
        let group_columns = self.plan.finished.fields().len() - self.accumulators.len();
        let mut calls = Vec::with_capacity(self.accumulators.len());
        for (index, accumulator) in self.accumulators.iter_mut().enumerate() {
            let data_type = self.plan.finished.field(group_columns + index).data_type();
            calls.push(match count {
                0 => new_empty_array(data_type),
                _ => of_type(accumulator.evaluate(EmitTo::All).map_err(overflown)?, data_type)?,
            });
        }
        Ok(Finished { plan: self.plan.clone(), calls, count })
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.accumulators.iter().map(|accumulator| accumulator.size()).sum()
    }
}

impl Finished {
    /// These groups alone, in this order.
    ///
    /// # Errors
    /// [`Failure`] (ours) if there are fewer groups.
    pub fn pick(&self, groups: &UInt32Array) -> Result<Finished, Failure> {
        let calls = self.calls.iter().map(|column| take(column, groups, None)).collect::<Result<_, _>>();
        let calls = calls.map_err(|error| broken(error.into()))?;
        Ok(Finished { plan: self.plan.clone(), calls, count: groups.len() })
    }

    /// The results of every group, in order, given the group columns, and which groups pass HAVING (`None`: all).
    ///
    /// # Errors
    /// [`Failure`] (user) if a result cannot be computed from its aggregates, such as a division by zero.
    pub fn results(&self, groups: &[ArrayRef], at: At) -> Result<(Vec<ArrayRef>, Option<BooleanArray>), Failure> {
        let columns = groups.iter().chain(&self.calls).cloned().collect();
        let finished = batch(&self.plan.finished, columns, self.count)?;
        let outputs = self.plan.outputs.iter().map(|output| result(output, &finished, at));
        let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
        let Some(having) = &self.plan.having else { return Ok((outputs, None)) };
        let columns = finished.columns().iter().chain(&outputs).cloned().collect();
        let passes = whole(having, "having", &batch(&self.plan.with_outputs, columns, self.count)?, at)?;
        Ok((outputs, Some(true_only(passes.as_boolean()))))
    }

    /// Which groups pass HAVING where these are the results, whatever the calls came to (`None`: all).
    ///
    /// # Errors
    /// [`Failure`] (user) if HAVING cannot be computed for one.
    pub fn passes(&self, groups: &[ArrayRef], results: &[ArrayRef], at: At) -> Result<Option<BooleanArray>, Failure> {
        let Some(having) = &self.plan.having else { return Ok(None) };
        let columns = groups.iter().chain(&self.calls).chain(results).cloned().collect();
        // Calls without a row may be null where those of a group never are.
        let nullable = |field: &FieldRef| field.as_ref().clone().with_nullable(true);
        let schema = Schema::new(self.plan.with_outputs.fields().iter().map(nullable).collect::<Vec<_>>());
        let passes = whole(having, "having", &batch(&Arc::new(schema), columns, self.count)?, at)?;
        Ok(Some(true_only(passes.as_boolean())))
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.calls.iter().map(|column| column.get_array_memory_size()).sum()
    }
}

fn accumulator(call: &Call) -> Result<Box<dyn GroupsAccumulator>, DataFusionError> {
    if call.function.fun().name() == "sum" && *call.function.field().data_type() == DataType::Int64 {
        return Ok(Box::new(CheckedSum::default()));
    }
    if let Some(spread) = Spread::of(call.function.fun().name()) {
        return Ok(Box::new(Variance::new(spread)));
    }
    if call.function.groups_accumulator_supported() {
        return call.function.create_groups_accumulator();
    }
    let function = call.function.clone();
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
}

/// Arguments are evaluated only where the filter lets a row pass: `avg(a / b) filter (where b <> 0)`.
fn evaluate_call(call: &Call, rows: &RecordBatch, at: At, errors: &mut Vec<RowError>) -> Result<Arguments, Failure> {
    let Some(condition) = &call.filter else {
        return Ok(Arguments { values: evaluate_args(call, rows, at, errors, |row| row)?, rows: None });
    };
    let (passes, failed) = condition.evaluate(rows, at)?;
    errors.extend(failed);
    let passes = true_only(passes.as_boolean());
    let passing = filter_record_batch(rows, &passes).map_err(|error| broken(error.into()))?;
    let places: Vec<usize> = passes.values().set_indices().collect();
    let values = evaluate_args(call, &passing, at, errors, |row| places[row])?;
    Ok(Arguments { values, rows: Some(places) })
}

/// Null does not pass.
fn true_only(mask: &BooleanArray) -> BooleanArray {
    match mask.null_count() {
        0 => mask.clone(),
        _ => prep_null_mask_filter(mask),
    }
}

fn evaluate_args(
    call: &Call,
    rows: &RecordBatch,
    at: At,
    errors: &mut Vec<RowError>,
    place: impl Fn(usize) -> usize,
) -> Result<Vec<ArrayRef>, Failure> {
    let mut values = Vec::with_capacity(call.args.len());
    for arg in &call.args {
        let (array, failed) = arg.evaluate(rows, at)?;
        errors.extend(failed.into_iter().map(|error| RowError { row: place(error.row), ..error }));
        values.push(array);
    }
    Ok(values)
}

/// Leaves out the rows that failed in any call.
fn without(arguments: Arguments, errors: &[RowError], rows_count: usize) -> Result<Arguments, Failure> {
    if errors.is_empty() {
        return Ok(arguments);
    }
    let failed = |row: &usize| errors.binary_search_by_key(row, |error| error.row).is_ok();
    let rows = arguments.rows.unwrap_or_else(|| (0..rows_count).collect());
    let keep: BooleanArray = rows.iter().map(|row| Some(!failed(row))).collect();
    let values = arguments.values.iter().map(|array| filter(array, &keep)).collect::<Result<_, _>>();
    let rows = rows.into_iter().filter(|row| !failed(row)).collect();
    Ok(Arguments { values: values.map_err(|error| broken(error.into()))?, rows: Some(rows) })
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, count: usize) -> Result<RecordBatch, Failure> {
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|error| broken(error.into()))
}

fn result(output: &Output, finished: &RecordBatch, at: At) -> Result<ArrayRef, Failure> {
    whole(&output.value, &output.text, finished, at)
}

/// The values of an expression that must not fail: no record stands for a group, so there is none to set aside.
fn whole(value: &Scalar, text: &str, rows: &RecordBatch, at: At) -> Result<ArrayRef, Failure> {
    let (array, errors) = value.evaluate(rows, at)?;
    match errors.first() {
        None => Ok(array),
        Some(error) => {
            let message = format!("`{text}` cannot be computed for a group: {}", error.message);
            Err(Failure::user("expr.result", message).hint("guard it, for example with `nullif(x, 0)` or `try_cast`"))
        }
    }
}

/// DataFusion's arrays may differ from its fields in names of items and in dictionaries.
fn of_type(array: ArrayRef, data_type: &DataType) -> Result<ArrayRef, Failure> {
    if array.data_type() == data_type {
        return Ok(array);
    }
    arrow::compute::cast(&array, data_type).map_err(|error| broken(error.into()))
}

/// Sets as lists in ascending order: their own order is that of a hash.
fn in_value_order(sets: &ArrayRef) -> Result<ArrayRef, Failure> {
    let Some(list) = sets.as_list_opt::<i32>() else { return Ok(sets.clone()) };
    sorted_lists(list).map_err(|error| broken(error.into()))
}

fn sorted_lists(list: &ListArray) -> Result<ArrayRef, arrow::error::ArrowError> {
    let offsets = list.value_offsets();
    let (start, end) = (offsets[0] as usize, offsets[list.len()] as usize);
    let values = list.values().slice(start, end - start);
    let owner = |row: usize| std::iter::repeat_n(row as u32, (offsets[row + 1] - offsets[row]) as usize);
    let owners: UInt32Array = (0..list.len()).flat_map(owner).map(Some).collect();
    let columns =
        [SortColumn { values: Arc::new(owners), options: None }, SortColumn { values: values.clone(), options: None }];
    let sorted = take(&values, &lexsort_to_indices(&columns, None)?, None)?;
    let DataType::List(item) = list.data_type() else { return Ok(Arc::new(list.clone())) };
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(list.offsets().lengths());
    Ok(Arc::new(ListArray::try_new(item.clone(), offsets, sorted, list.nulls().cloned())?))
}

fn broken(error: DataFusionError) -> Failure {
    Failure::bug("expr.aggregate", format!("an aggregate did not work: {}", plain(&error)))
}

fn overflown(error: DataFusionError) -> Failure {
    Failure::user("expr.aggregate", format!("an aggregate cannot be computed: {}", plain(&error)))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int32Array, Int64Array, StringArray, new_null_array};
    use arrow::datatypes::{Field, Float64Type, Int64Type, Schema};
    use arrow_row::{RowConverter, SortField};

    use super::super::Aggregates;
    use super::*;

    const AT: At = At { clock: 0 };
    const ALL: &[(&str, &str)] = &[
        ("cnt", "count(*)"),
        ("cnt_brand", "count(brand)"),
        ("brands", "count(distinct brand)"),
        ("ratings", "count(distinct rating)"),
        ("total", "sum(dose)"),
        ("share", "sum(rating) / count(*)"),
        ("mean", "round(avg(rating), 2)"),
        ("mean_dose", "avg(dose)"),
        ("low", "min(brand)"),
        ("high", "max(dose)"),
        ("all_high", "bool_and(rating > 2)"),
        ("any_high", "bool_or(rating > 4)"),
        ("spread", "stddev(dose)"),
        ("variance", "var_pop(dose)"),
        ("some", "sum(dose) filter (where rating > 3)"),
        ("at", "window_start + count(*)"),
    ];

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("rating", DataType::Int32, false),
            Field::new("brand", DataType::Utf8, true),
            Field::new("dose", DataType::Float64, false),
        ])
    }

    fn group_schema() -> Schema {
        Schema::new(vec![Field::new("window_start", DataType::Int64, false)])
    }

    fn compiled(named: &[(&str, &str)], having: Option<&str>) -> Aggregates {
        let named: Vec<_> = named.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        Aggregates::compile(&named, having, &group_schema(), &schema()).unwrap()
    }

    /// Rows whose floats add up to other bits in another order, and their groups.
    fn rows(count: usize) -> (RecordBatch, Vec<usize>) {
        let number = |i: usize| (i * 2_654_435_761) % 1_000;
        let brands = (0..count).map(|i| (i % 11 != 0).then(|| format!("brand {}", number(i) % 17)));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from_iter_values((0..count).map(|i| (number(i) % 5 + 1) as i32))),
            Arc::new(StringArray::from_iter(brands)),
            Arc::new(Float64Array::from_iter_values((0..count).map(|i| 1e15 / (1.0 + number(i) as f64) - 0.1))),
        ];
        (RecordBatch::try_new(Arc::new(schema()), columns).unwrap(), (0..count).map(|i| number(i) % 3).collect())
    }

    fn groups() -> Vec<ArrayRef> {
        vec![Arc::new(Int64Array::from(vec![100, 200, 300]))]
    }

    fn fed(aggregates: &Aggregates, batch_rows: usize) -> Accumulators {
        let (rows, groups) = rows(500);
        let mut accumulators = aggregates.open().unwrap();
        for start in (0..500).step_by(batch_rows) {
            let count = batch_rows.min(500 - start);
            let part = rows.slice(start, count);
            assert_eq!(accumulators.update(&part, AT, &groups[start..start + count], 3).unwrap(), vec![]);
        }
        accumulators
    }

    fn encoded(arrays: &[ArrayRef]) -> Vec<Vec<u8>> {
        let fields = arrays.iter().map(|array| SortField::new(array.data_type().clone())).collect();
        let rows = RowConverter::new(fields).unwrap().convert_columns(arrays).unwrap();
        rows.iter().map(|row| row.as_ref().to_vec()).collect()
    }

    #[test]
    fn batch_size_changes_no_bit_of_state_or_result() {
        let aggregates = compiled(ALL, Some("cnt > 1 and window_start > 100 and count(*) > 2"));
        let state = |batch_rows| encoded(&fed(&aggregates, batch_rows).take_state().unwrap());
        let results = |batch_rows| {
            let (arrays, passes) = fed(&aggregates, batch_rows).take_results(&groups(), AT).unwrap();
            for (array, field) in arrays.iter().zip(aggregates.output()) {
                assert_eq!(array.data_type(), field.data_type(), "{}", field.name());
            }
            (encoded(&arrays), passes)
        };
        for batch_rows in [7, 64, 500] {
            assert_eq!(state(1), state(batch_rows));
            assert_eq!(results(1), results(batch_rows));
        }
        assert_eq!(results(1).1, Some(BooleanArray::from(vec![false, true, true])));
    }

    #[test]
    fn states_go_through_row_encoding_and_merge_to_the_same_every_time() {
        let aggregates = compiled(ALL, None);
        let merged = || {
            let mut into = aggregates.open().unwrap();
            for batch_rows in [1, 100] {
                let states = fed(&aggregates, batch_rows).take_state().unwrap();
                let types: Vec<_> = states.iter().map(|array| array.data_type().clone()).collect();
                let fields: Vec<_> = aggregates.state().iter().map(|field| field.data_type().clone()).collect();
                assert_eq!(types, fields);
                let converter = RowConverter::new(types.into_iter().map(SortField::new).collect()).unwrap();
                let rows = converter.convert_columns(&states).unwrap();
                let states = converter.convert_rows(rows.iter()).unwrap();
                into.merge(&states, &[0, 1, 2], 3).unwrap();
            }
            into.take_results(&groups(), AT).unwrap().0
        };
        assert_eq!(encoded(&merged()), encoded(&merged()));
        let alone = fed(&aggregates, 500).take_results(&groups(), AT).unwrap().0;
        let count = |arrays: &[ArrayRef], column: usize| arrays[column].as_primitive::<Int64Type>().value(1);
        assert_eq!(count(&merged(), 0), 2 * count(&alone, 0));
        assert_eq!(count(&merged(), 2), count(&alone, 2));
    }

    /// A snapshot takes states out and puts them back while the pipeline runs.
    #[test]
    fn a_state_that_is_taken_out_and_merged_back_is_the_same_to_the_last_bit() {
        let aggregates = compiled(ALL, None);
        let mut accumulators = fed(&aggregates, 500);
        let before = accumulators.take_state().unwrap();
        accumulators.merge(&before, &[0, 1, 2], 3).unwrap();
        let after = accumulators.take_state().unwrap();
        assert_eq!(encoded(&after), encoded(&before));
        accumulators.merge(&after, &[0, 1, 2], 3).unwrap();
        let results = accumulators.take_results(&groups(), AT).unwrap().0;
        let untouched = fed(&aggregates, 500).take_results(&groups(), AT).unwrap().0;
        assert_eq!(encoded(&results), encoded(&untouched));
    }

    #[test]
    fn a_row_that_fails_in_one_call_counts_in_none() {
        let aggregates = compiled(
            &[
                ("cnt", "count(*)"),
                ("x", "sum(6 / (rating - 2))"),
                ("f", "max(1 / (rating - 2)) filter (where rating > 2)"),
            ],
            None,
        );
        let rows = RecordBatch::try_new(
            Arc::new(schema()),
            vec![
                Arc::new(Int32Array::from(vec![1, 2, 3, 4])),
                Arc::new(StringArray::from(vec!["a"; 4])),
                Arc::new(Float64Array::from(vec![0.0; 4])),
            ],
        )
        .unwrap();
        let mut accumulators = aggregates.open().unwrap();
        let errors = accumulators.update(&rows, AT, &[0, 0, 0, 0], 1).unwrap();
        assert_eq!(errors, vec![RowError { row: 1, message: "divide by zero error".into() }]);
        let (results, _) = accumulators.take_results(&[Arc::new(Int64Array::from(vec![1]))], AT).unwrap();
        let results: Vec<i64> = results.iter().map(|array| array.as_primitive::<Int64Type>().value(0)).collect();
        assert_eq!(results, vec![3, 3, 1]);
    }

    #[test]
    fn results_have_the_types_of_the_language() {
        let aggregates = compiled(ALL, None);
        let words: Vec<String> = aggregates
            .output()
            .iter()
            .map(|field| format!("{} {}", field.name(), super::super::type_word(field)))
            .collect();
        assert_eq!(
            words.join(", "),
            "cnt long, cnt_brand long, brands long, ratings long, total double?, share long?, mean double?, \
             mean_dose double?, low string?, high double?, all_high boolean?, any_high boolean?, spread double?, \
             variance double?, some double?, at long"
        );
        assert_eq!(aggregates.columns(), ["brand", "rating", "dose"]);
        let whole = compiled(&[("n", "count(*)"), ("mean", "avg(rating)"), ("low", "min(brand)")], None);
        let nullable: Vec<bool> = whole.output().iter().map(Field::is_nullable).collect();
        assert_eq!(nullable, [false, false, true]);
    }

    #[test]
    fn a_sum_that_overflows_ends_the_run() {
        let aggregates = compiled(&[("total", "sum(9223372036854775807 + rating - rating)")], None);
        let (rows, groups) = rows(2);
        let error = aggregates.open().unwrap().update(&rows, AT, &groups, 3);
        assert!(error.is_ok_and(|errors| errors.len() == 2));
        let aggregates = compiled(&[("total", "sum(9223372036854775807 - rating)")], None);
        let error = aggregates.open().unwrap().update(&rows, AT, &[0, 0], 1).unwrap_err();
        assert_eq!(error.message, "an aggregate cannot be computed: a sum is too large for a long");
    }

    #[test]
    fn plans_are_shared_and_accumulators_move_between_threads() {
        fn is_shared<T: Send + Sync + Clone>() {}
        fn moves<T: Send>() {}
        is_shared::<Aggregates>();
        is_shared::<Scalar>();
        moves::<Accumulators>();
    }

    #[test]
    fn no_groups_give_no_rows() {
        let aggregates = compiled(ALL, Some("cnt > 3"));
        let none: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
        let (results, passes) = aggregates.open().unwrap().take_results(&[none], AT).unwrap();
        assert_eq!((results.len(), passes.unwrap().len()), (ALL.len(), 0));
        assert!(aggregates.open().unwrap().take_state().unwrap().iter().all(|array| array.is_empty()));
    }

    #[test]
    fn accumulators_are_empty_after_their_results_are_taken() {
        let aggregates = compiled(&[("total", "sum(dose)"), ("brands", "count(distinct brand)")], None);
        let mut accumulators = fed(&aggregates, 50);
        let first = accumulators.take_results(&groups(), AT).unwrap().0;
        let (rows, group_of) = rows(500);
        accumulators.update(&rows, AT, &group_of, 3).unwrap();
        let second = accumulators.take_results(&groups(), AT).unwrap().0;
        assert_eq!(encoded(&first), encoded(&second));
        assert!(first[0].as_primitive::<Float64Type>().value(0) > 0.0);
    }

    /// Every call over every type that it takes: its state and result are of the types that were promised.
    #[test]
    fn calls_work_on_every_type_that_they_take() {
        let types = [
            "boolean",
            "int",
            "long",
            "float",
            "double",
            "decimal(9,2)",
            "string",
            "bytes",
            "date",
            "time",
            "timestamp",
            "timestamp(6)",
            "uuid",
        ];
        let source = Schema::new(vec![
            Field::new("x", DataType::Utf8, true),
            Field::new("id", DataType::FixedSizeBinary(16), true),
        ]);
        let ids: ArrayRef = new_null_array(&DataType::FixedSizeBinary(16), 4);
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("1"), None, Some("0"), Some("1")]));
        let rows = RecordBatch::try_new(Arc::new(source.clone()), vec![text, ids]).unwrap();
        let mut taken = 0;
        for data_type in types {
            for call in
                ["count(X)", "count(distinct X)", "sum(X)", "avg(X)", "min(X)", "max(X)", "stddev(X)", "var_samp(X)"]
            {
                let value = match data_type {
                    "date" => {
                        "cast(case x when '1' then '2024-01-01' when '0' then '2023-01-01' end as date)".to_owned()
                    }
                    "uuid" => "id".to_owned(),
                    "time" => "cast(case x when '1' then '10:00:00' when '0' then '09:00:00' end as time)".to_owned(),
                    "timestamp" | "timestamp(6)" => format!("cast(cast(x as long) as {data_type})"),
                    other => format!("cast(x as {other})"),
                };
                let text = call.replace('X', &value);
                let named = [("r".to_owned(), text.clone())];
                let Ok(aggregates) = Aggregates::compile(&named, None, &Schema::empty(), &source) else {
                    continue;
                };
                taken += 1;
                let fed = || {
                    let mut accumulators = aggregates.open().unwrap();
                    assert_eq!(accumulators.update(&rows, AT, &[0, 0, 1, 1], 3).unwrap(), vec![], "{text}");
                    accumulators
                };
                let states = fed().take_state().unwrap();
                let fields = aggregates.state();
                assert_eq!(states.len(), fields.len());
                states.iter().zip(&fields).for_each(|(array, field)| assert_eq!(array.data_type(), field.data_type()));
                encoded(&states);
                let mut merged = fed();
                merged.merge(&states, &[0, 1, 2], 3).unwrap();
                let (results, _) = merged.take_results(&[], AT).unwrap();
                assert_eq!(results[0].data_type(), aggregates.output()[0].data_type(), "{text}");
            }
        }
        assert_eq!(taken, 72);
    }
}
