//! Expressions that give one value per row.
//!
//! Columns are bound by name, so a batch may have more columns, or others, than the schema that the
//! expression was compiled for. A row fails if and only if it fails when evaluated alone, so the batch
//! size changes no result (I2).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, PrimitiveArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMillisecondType};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, ExprSchema, Result as PlanResult, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::Cast;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{Expr, ExprSchemable, Operator};
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal, NegativeExpr};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_sql::sqlparser::ast::Expr as Ast;

use super::At;
use super::check::{Scope, check};
use super::error::{ExprError, RowError, plain};
use super::names::{parse, span_of};
use super::plan::{CLOCK, on_deep_stack, plan, with_clock};
use super::types::canonical;
use crate::report::Failure;

/// A compiled expression that gives one value per row. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scalar {
    program: Arc<Program>,
}

#[derive(Debug)]
struct Program {
    expr: Arc<dyn PhysicalExpr>,
    /// What `expr` reads: the columns in use, and the clock behind them if it is in use.
    inputs: SchemaRef,
    columns: Vec<String>,
    reads_clock: bool,
    field: Field,
}

impl Scalar {
    /// Compiles `text` against the columns of a step, metadata columns among them.
    ///
    /// # Errors
    /// [`ExprError`] with its place in `text`: syntax, an unknown column or function, types that do not fit.
    pub fn compile(text: &str, schema: &Schema) -> Result<Scalar, ExprError> {
        on_deep_stack(|| {
            let scope = Scope::of(schema);
            let mut ast = parse(text, |word| scope.has(word))?;
            check(text, &mut ast, scope)?;
            Self::of_tree(text, &ast, schema)
        })
    }

    /// Compiles a tree whose names were checked.
    pub(super) fn of_tree(text: &str, ast: &Ast, schema: &Schema) -> Result<Scalar, ExprError> {
        let wrong = |error| ExprError::new("expr.type", span_of(text, ast), plain(&error));
        let known = with_clock(schema).map_err(wrong)?;
        let expr = plan(text, ast, &known)?;
        Self::of_expr(expr, &known).map_err(wrong)
    }

    /// Compiles a planned expression over `known` (see [`with_clock`]).
    pub(super) fn of_expr(expr: Expr, known: &DFSchema) -> PlanResult<Scalar> {
        let expr = in_language_type(expr, known)?;
        let used: Vec<Field> = used_fields(&expr, known);
        let reads_clock = used.last().is_some_and(|field| field.name() == CLOCK);
        let columns = used[..used.len() - usize::from(reads_clock)].iter().map(|field| field.name().clone()).collect();
        let inputs = DFSchema::try_from(Schema::new(used))?;
        let physical =
            create_physical_expr(&expr, &inputs, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
        let inputs = inputs.inner().clone();
        let physical = physical.transform_up(|expr| checked_arithmetic(expr, &inputs))?.data;
        let field = result_field(physical.as_ref(), &expr, known, &inputs)?;
        Ok(Scalar { program: Arc::new(Program { expr: physical, inputs, columns, reads_clock, field }) })
    }

    /// Its type, nullability and (for a bare column or a field of one) metadata, under a name.
    ///
    /// Rows that fail are null in [`Scalar::evaluate`]'s array even where the field is not nullable.
    pub fn field(&self, name: &str) -> Field {
        self.program.field.clone().with_name(name)
    }

    pub fn data_type(&self) -> &DataType {
        self.program.field.data_type()
    }

    /// Names of the columns that it reads, in the order of the schema.
    pub fn columns(&self) -> &[String] {
        &self.program.columns
    }

    /// True if no row can fail: a column or a literal, also as a wider number.
    pub(super) fn is_infallible(&self) -> bool {
        cannot_fail(self.program.expr.as_ref(), &self.program.inputs)
    }

    /// One value per row; rows that fail are null in the array and stand in the list, ascending.
    ///
    /// # Errors
    /// [`Failure`] (ours) if `rows` lacks a column, or has it with another type.
    pub fn evaluate(&self, rows: &RecordBatch, at: At) -> Result<(ArrayRef, Vec<RowError>), Failure> {
        if let Some(name) = self.bare_column() {
            return Ok((column(rows, name)?.clone(), Vec::new()));
        }
        let inputs = self.bind(rows, at)?;
        let (array, errors) = match self.run(&inputs) {
            Ok(array) => (array, Vec::new()),
            Err(_) => self.bisect(&inputs)?,
        };
        let may_be_null = self.program.field.is_nullable() || array.null_count() == errors.len();
        Ok(if may_be_null { (array, errors) } else { without_value(array, errors) })
    }

    fn bare_column(&self) -> Option<&str> {
        self.program.expr.downcast_ref::<Column>().map(Column::name).filter(|name| *name != CLOCK)
    }

    fn bind(&self, rows: &RecordBatch, at: At) -> Result<RecordBatch, Failure> {
        let Program { inputs, columns, reads_clock, .. } = self.program.as_ref();
        let mut arrays = columns.iter().map(|name| column(rows, name).cloned()).collect::<Result<Vec<_>, _>>()?;
        if *reads_clock {
            let clock = PrimitiveArray::<TimestampMillisecondType>::from_value(at.clock, rows.num_rows());
            arrays.push(Arc::new(clock.with_timezone("UTC")));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(inputs.clone(), arrays, &options)
            .map_err(|error| Failure::bug("expr.columns", "an expression got columns of other types").because(error))
    }

    fn run(&self, inputs: &RecordBatch) -> PlanResult<ArrayRef> {
        self.program.expr.evaluate(inputs)?.into_array(inputs.num_rows())
    }

    /// DataFusion's errors name no row: halves the batch until the failing rows stand alone.
    fn bisect(&self, inputs: &RecordBatch) -> Result<(ArrayRef, Vec<RowError>), Failure> {
        let mut pieces = Vec::new();
        let mut errors = Vec::new();
        let mut todo = vec![(0, inputs.num_rows())];
        while let Some((start, count)) = todo.pop() {
            match self.run(&inputs.slice(start, count)) {
                Ok(piece) => pieces.push(piece),
                Err(error) if count <= 1 => {
                    errors.push(RowError { row: start, message: plain(&error) });
                    pieces.push(new_null_array(self.data_type(), count));
                }
                Err(_) => {
                    let half = count / 2;
                    todo.push((start + half, count - half));
                    todo.push((start, half));
                }
            }
        }
        let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
        let array = concat(&pieces)
            .map_err(|error| Failure::bug("expr.type", "an expression changed its type between rows").because(error))?;
        Ok((array, errors))
    }
}

/// Some functions give null for what they cannot compute while their type says that they give a value.
fn without_value(array: ArrayRef, errors: Vec<RowError>) -> (ArrayRef, Vec<RowError>) {
    let mut known = errors.into_iter().peekable();
    let error_of = |row| {
        let known = known.next_if(|error| error.row == row);
        known.unwrap_or_else(|| RowError { row, message: "there is no value".into() })
    };
    let errors = (0..array.len()).filter(|&row| array.is_null(row)).map(error_of).collect();
    (array, errors)
}

fn cannot_fail(expr: &dyn PhysicalExpr, inputs: &Schema) -> bool {
    if expr.is::<Column>() || expr.is::<Literal>() {
        return true;
    }
    let Some(cast) = expr.downcast_ref::<CastExpr>() else { return false };
    let from = cast.expr().data_type(inputs);
    let widens = match (from, cast.cast_type()) {
        (Ok(DataType::Int32), DataType::Int64 | DataType::Float64) => true,
        (Ok(DataType::Int64 | DataType::Float32), DataType::Float64) => true,
        (Ok(DataType::Dictionary(_, from)), to) => *from == *to,
        _ => false,
    };
    widens && cannot_fail(cast.expr().as_ref(), inputs)
}

fn column<'r>(rows: &'r RecordBatch, name: &str) -> Result<&'r ArrayRef, Failure> {
    rows.column_by_name(name).ok_or_else(|| {
        Failure::bug("expr.columns", format!("an expression reads `{name}`, which the rows do not have"))
    })
}

/// Casts what the language has no word for; bare columns stay as they are.
fn in_language_type(expr: Expr, known: &DFSchema) -> PlanResult<Expr> {
    let data_type = expr.get_type(known)?;
    let wanted = canonical(&data_type);
    if matches!(expr, Expr::Column(_)) || wanted == data_type {
        return Ok(expr);
    }
    Ok(Expr::Cast(Cast::new(Box::new(expr), wanted)))
}

fn used_fields(expr: &Expr, known: &DFSchema) -> Vec<Field> {
    let used = expr.column_refs();
    let is_used = |field: &&Arc<Field>| used.iter().any(|column| column.name() == field.name());
    known.fields().iter().filter(is_used).map(|field| field.as_ref().clone()).collect()
}

/// Type and nullability as evaluated; metadata only where the value is a part of a column as it stands.
fn result_field(physical: &dyn PhysicalExpr, expr: &Expr, known: &DFSchema, inputs: &Schema) -> PlanResult<Field> {
    let found = physical.return_field(inputs)?;
    let metadata = match expr {
        Expr::Column(column) => known.field_from_column(column)?.metadata().clone(),
        Expr::Cast(cast) => cast.field.metadata().clone(),
        Expr::ScalarFunction(call) if ["member", "json_get"].contains(&call.func.name()) => found.metadata().clone(),
        _ => Default::default(),
    };
    Ok(Field::new("", found.data_type().clone(), found.is_nullable()).with_metadata(metadata))
}

/// An overflow is an error of its row, not another number.
fn checked_arithmetic(expr: Arc<dyn PhysicalExpr>, inputs: &Schema) -> PlanResult<Transformed<Arc<dyn PhysicalExpr>>> {
    if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
        return checked_negation(negative, inputs)
            .map(|checked| checked.map_or(Transformed::no(expr), Transformed::yes));
    }
    match expr.downcast_ref::<BinaryExpr>() {
        Some(binary) if matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply) => {
            Ok(Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true))))
        }
        _ => Ok(Transformed::no(expr)),
    }
}

/// The least integer has no opposite, and DataFusion's negation would give it back as it is: 0 − x, checked, does not.
fn checked_negation(negative: &NegativeExpr, inputs: &Schema) -> PlanResult<Option<Arc<dyn PhysicalExpr>>> {
    let data_type = negative.arg().data_type(inputs)?;
    if !data_type.is_signed_integer() {
        return Ok(None);
    }
    let zero = Arc::new(Literal::new(ScalarValue::new_zero(&data_type)?));
    let difference = BinaryExpr::new(zero, Operator::Minus, negative.arg().clone());
    Ok(Some(Arc::new(difference.with_fail_on_overflow(true))))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        AsArray, BinaryBuilder, DictionaryArray, Float64Array, Int32Array, Int64Array, ListBuilder, MapBuilder,
        StringArray, StringBuilder, StructArray, TimestampMillisecondArray,
    };
    use arrow::buffer::NullBuffer;
    use arrow::datatypes::Int32Type;
    use arrow::util::display::array_value_to_string;

    use super::*;

    const AT: At = At { clock: 1_700_000_000_000 };

    /// Three rows with a column of every kind; names that SQL has as keywords among them.
    fn rows() -> RecordBatch {
        let kind: DictionaryArray<Int32Type> = vec![Some("A"), Some("B"), None].into_iter().collect();
        let mut tags = ListBuilder::new(StringBuilder::new());
        for row in [vec!["x", "y"], vec![], vec!["z"]] {
            row.into_iter().for_each(|tag| tags.values().append_value(tag));
            tags.append(true);
        }
        let mut headers = MapBuilder::new(None, StringBuilder::new(), BinaryBuilder::new());
        for row in [vec![("h", "1"), ("h", "2")], vec![], vec![("g", "3")]] {
            for (key, value) in row {
                headers.keys().append_value(key);
                headers.values().append_value(value);
            }
            headers.append(true).unwrap();
        }
        let city = Field::new("city", DataType::Utf8, false);
        let user = StructArray::new(
            vec![city].into(),
            vec![Arc::new(StringArray::from(vec!["Ulm", "Rom", "junk"]))],
            Some(NullBuffer::from(vec![true, true, false])),
        );
        let times = TimestampMillisecondArray::from(vec![0, 1_704_067_200_000, 1_700_000_000_000]);
        let symbols = [("avro.enum.symbols".to_owned(), r#"["A","B"]"#.to_owned())].into();
        let columns: Vec<(Field, ArrayRef)> = vec![
            (Field::new("rating", DataType::Int32, false), Arc::new(Int32Array::from(vec![1, 2, 3]))),
            (
                Field::new("brand", DataType::Utf8, true),
                Arc::new(StringArray::from(vec![Some("acme"), Some("7"), None])),
            ),
            (Field::new("userId", DataType::Int64, false), Arc::new(Int64Array::from(vec![0, 10, i64::MAX]))),
            (Field::new("kind", kind.data_type().clone(), true).with_metadata(symbols), Arc::new(kind)),
            (Field::new("dose", DataType::Float64, false), Arc::new(Float64Array::from(vec![0.5, 0.1, -1.0]))),
            (Field::new("timestamp", crate::data::meta::time_type(), false), Arc::new(times.with_timezone("UTC"))),
            (
                Field::new("tags", DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))), false),
                Arc::new(tags.finish()),
            ),
            (Field::new("user", user.data_type().clone(), true), Arc::new(user)),
            (
                Field::new("value", DataType::Utf8, true),
                Arc::new(StringArray::from(vec![Some(r#"{"a": {"b": [1.50, "t"]}}"#), Some("[null]"), None])),
            ),
        ];
        let (mut fields, mut arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let headers = headers.finish();
        fields.push(Field::new("_headers", headers.data_type().clone(), false));
        arrays.push(Arc::new(headers));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
    }

    /// `type: values`, and the rows that fail.
    fn evaluated(text: &str) -> String {
        let rows = rows();
        let scalar = match Scalar::compile(text, &rows.schema()) {
            Ok(scalar) => scalar,
            Err(error) => return format!("{}: {} at `{}`", error.code, error.message, &text[error.span]),
        };
        let (array, errors) = scalar.evaluate(&rows, AT).unwrap();
        assert_eq!(array.data_type(), scalar.data_type(), "{text}");
        let value = |row| match array.is_null(row) {
            true => "null".to_owned(),
            false => array_value_to_string(&array, row).unwrap(),
        };
        let values: Vec<String> = (0..array.len()).map(value).collect();
        let word = super::super::type_word(&scalar.field("x"));
        let failed: Vec<String> = errors.iter().map(|error| format!(" {}: {}", error.row, error.message)).collect();
        format!("{word}: {}{}", values.join(" "), failed.concat())
    }

    #[test]
    fn names_are_taken_as_written() {
        assert_eq!(evaluated("userId = 10"), "boolean: false true false");
        assert_eq!(evaluated("timestamp >= timestamp '2023-11-14T22:13:20Z'"), "boolean: false true true");
        assert_eq!(evaluated("\"rating\" * 2 >= 4 and not rating = 3"), "boolean: false true false");
    }

    #[test]
    fn enums_and_times_compare_with_text() {
        assert_eq!(evaluated("kind = 'A'"), "boolean?: true false null");
        assert_eq!(evaluated("kind in ('B', 'C')"), "boolean?: false true null");
        assert_eq!(evaluated("kind like 'A%'"), "boolean?: true false null");
        assert_eq!(evaluated("timestamp > '2023-01-01T00:00:00Z'"), "boolean: false true true");
        assert_eq!(evaluated("timestamp between '2023-12-01' and '2024-02-01'"), "boolean: false true false");
        assert_eq!(evaluated("'2500-01-01' > timestamp"), "boolean: true true true");
        assert_eq!(evaluated("timestamp in ('2024-01-01T01:00:00+01:00')"), "boolean: false true false");
    }

    #[test]
    fn paths_lead_into_values() {
        assert_eq!(evaluated("user.city"), "string?: Ulm Rom null");
        assert_eq!(evaluated("user['city']"), "string?: Ulm Rom null");
        assert_eq!(evaluated("tags[1]"), "string?: x null z");
        assert_eq!(evaluated("_headers['h'] = '2'"), "boolean?: true null null");
        assert_eq!(evaluated("value->'a'->'b'->>0"), "string?: 1.50 null null");
        assert_eq!(evaluated("value->'a'->'b'"), "json?: [1.50, \"t\"] null null");
        assert_eq!(evaluated("value->>0 is null"), "boolean: true true true");
        assert_eq!(evaluated("user.city.x"), "expr.type: `city` is string and has no fields at `x`");
        assert_eq!(evaluated("_headers[1]"), "expr.type: the keys of a map are strings, not long at `_headers[1]`");
        assert_eq!(evaluated("value['a']"), "expr.type: a value of type string has no members at `value['a']`");
    }

    #[test]
    fn arithmetic_case_and_functions_work() {
        assert_eq!(evaluated("rating + 1"), "long: 2 3 4");
        assert_eq!(evaluated("case when rating > 2 then 'high' else 'low' end"), "string: low low high");
        assert_eq!(evaluated("upper(brand) || '!'"), "string?: ACME! 7! null");
        assert_eq!(evaluated("round(dose, 1)"), "double: 0.5 0.1 -1.0");
        assert_eq!(evaluated("array_length(tags)"), "long?: 2 0 1");
        assert_eq!(evaluated("coalesce(brand, 'none')"), "string: acme 7 none");
        assert_eq!(evaluated("brand ~ '^a'"), "boolean?: true false null");
        assert_eq!(evaluated("cast(rating as long)"), "long: 1 2 3");
        assert_eq!(evaluated("extract(year from timestamp)"), "int: 1970 2024 2023");
        assert_eq!(
            evaluated("date_trunc('day', timestamp) + interval '1 day'"),
            "timestamp: 1970-01-02T00:00:00Z 2024-01-02T00:00:00Z 2023-11-15T00:00:00Z"
        );
    }

    #[test]
    fn now_is_the_clock_of_the_evaluation() {
        assert_eq!(evaluated("now() = timestamp"), "boolean: false false true");
        assert_eq!(evaluated("current_date > cast(timestamp as date)"), "boolean: true false false");
        let scalar = Scalar::compile("now()", &Schema::empty()).unwrap();
        let (array, _) = scalar.evaluate(&rows(), At { clock: 5 }).unwrap();
        assert_eq!(array.as_primitive::<TimestampMillisecondType>().values(), &[5, 5, 5]);
        assert!(scalar.columns().is_empty());
    }

    #[test]
    fn only_failing_rows_are_null_and_listed() {
        assert_eq!(evaluated("1 / (rating - 2)"), "long: -1 null 1 1: divide by zero error");
        assert_eq!(
            evaluated("cast(brand as int)"),
            "int?: null 7 null 0: cannot cast string 'acme' to value of Int32 type"
        );
        assert!(evaluated("userId + 1").starts_with("long: 1 11 null 2: overflow"));
        // The least long has no opposite.
        assert!(evaluated("-(-userId - rating / 3)").starts_with("long: 0 10 null 2: overflow"));
        assert_eq!(evaluated("rating <> 2 and 1 / (rating - 2) > 0"), "boolean: false false true");
        assert_eq!(evaluated("try_cast(brand as int)"), "int?: null 7 null");
        assert_eq!(
            evaluated("extract(year from cast(userId as timestamp))"),
            "int: 1970 1970 null 2: there is no value"
        );
    }

    #[test]
    fn unknown_names_have_a_place_and_a_hint() {
        let schema = rows().schema();
        let error = Scalar::compile("rating > 1 and brnad = 'x'", &schema).unwrap_err();
        assert_eq!((error.code, error.span.clone()), ("expr.unknown_column", 15..20));
        assert_eq!(error.hint.as_deref(), Some("did you mean `brand`?"));
        assert!(error.notes[0].starts_with("has: rating int, brand string?, userId long, kind {enum: [A, B]}?"));
        let error = Scalar::compile("uper(brand)", &schema).unwrap_err();
        assert_eq!((error.code, error.span.clone()), ("expr.unknown_function", 0..4));
        assert_eq!(error.hint.as_deref(), Some("did you mean `upper`?"));
        let error = Scalar::compile("brand = \"xyzzy\"", &schema).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("text stands in single quotes: `'xyzzy'`"));
        assert_eq!(evaluated("user.cty = 'a'"), "expr.unknown_column: `user` has no field `cty` at `cty`");
        assert_eq!(evaluated("__key_bytes"), "expr.unknown_column: there is no column `__key_bytes` at `__key_bytes`");
    }

    #[test]
    fn types_that_do_not_fit_have_a_place() {
        assert_eq!(
            evaluated("rating > 1 and tags = 3"),
            "expr.type: `=` does not go with [string?] and long at `tags = 3`"
        );
        assert_eq!(
            evaluated("rating > 1 or sqrt(tags) > 3"),
            "expr.type: `sqrt` does not take ([string?]) at `sqrt(tags)`"
        );
        assert_eq!(
            evaluated("rating->>'a'"),
            "expr.type: `->>` takes a member of JSON text, not of int at `rating->>'a'`"
        );
        assert_eq!(evaluated("rating + brand"), "expr.type: `+` does not go with int and string at `rating + brand`");
        assert_eq!(evaluated("rating = 'abc'"), "expr.type: `=` does not go with int and string at `rating = 'abc'`");
        assert!(evaluated("cast(rating as text32)").starts_with("expr.type: `text32` is not a type; there are"));
        assert_eq!(
            evaluated("cast('abc' as int) = rating"),
            "expr.type: cannot cast string 'abc' to value of Int32 type at `'abc'`"
        );
    }

    #[test]
    fn what_is_not_a_function_of_the_row_is_refused() {
        for text in ["random() > 0.5", "uuid()", "(select 1)", "rating > $1", "row_number() over ()"] {
            let code = Scalar::compile(text, &rows().schema()).unwrap_err().code;
            assert!(["expr.not_available", "expr.unknown_function"].contains(&code), "{text}: {code}");
        }
        assert!(evaluated("count(*) > 1").starts_with("expr.aggregate: the aggregate `count` takes many rows"));
    }

    #[test]
    fn a_bare_column_keeps_its_metadata_and_says_what_it_reads() {
        let scalar = Scalar::compile("kind", &rows().schema()).unwrap();
        assert_eq!(scalar.field("sort").metadata()["avro.enum.symbols"], r#"["A","B"]"#);
        let scalar = Scalar::compile("_headers['a'] is null or rating > userId", &rows().schema()).unwrap();
        assert_eq!(scalar.columns(), ["rating", "userId", "_headers"]);
    }

    #[test]
    fn zones_units_and_uuids_meet() {
        let uuid = [("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())].into();
        let micros = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("+00:00".into()));
        let union = DataType::Union(arrow::datatypes::UnionFields::empty(), arrow::datatypes::UnionMode::Dense);
        let schema = Schema::new(vec![
            Field::new("ts", micros, true),
            Field::new("_time", crate::data::meta::time_type(), false),
            Field::new("id", DataType::FixedSizeBinary(16), false).with_metadata(uuid),
            Field::new("other", union, false),
        ]);
        let id = "id = '00000000-0000-0000-0000-000000000001'";
        for text in ["ts < now()", "ts = _time", "coalesce(ts, _time)", "ts > '2024-01-01'", id] {
            assert_eq!(Scalar::compile(text, &schema).err(), None, "{text}");
        }
        let message = |text| Scalar::compile(text, &schema).unwrap_err().message;
        assert_eq!(message("id = 'x'"), "`x` is not a uuid");
        assert_eq!(message("other is null"), "`other` is a union, which expressions cannot use");
    }

    #[test]
    fn long_chains_are_refused_before_the_stack_ends() {
        let compiled = |text: String| Scalar::compile(&text, &rows().schema()).map_err(|error| error.code);
        let chain = |count| vec!["rating = 1"; count].join(" or ");
        let nested = |count| format!("{}rating{}", "abs(".repeat(count), ")".repeat(count));
        assert!(compiled(nested(20)).is_ok());
        let (array, _) = Scalar::compile(&chain(100), &rows().schema()).unwrap().evaluate(&rows(), AT).unwrap();
        assert_eq!(array.as_boolean().true_count(), 1);
        for text in [chain(2_000), nested(90), nested(5_000), "-".repeat(5_000), "not ".repeat(5_000)] {
            assert_eq!(compiled(text).err(), Some("expr.syntax"));
        }
    }
}
