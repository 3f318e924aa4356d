//! Named aggregates with their HAVING: inert, compiled when the plan is made.
//!
//! Each text (`sum(a) / count(*)`) is split into calls over the input's columns and one expression over
//! their results and the group's columns. Equal calls are computed once. Only calls whose result does not
//! depend on batches are let in (I2). At work: [`Accumulators`].

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion_common::{DFSchema, Result as PlanResult};
use datafusion_expr::expr::{AggregateFunction, Cast};
use datafusion_expr::{Expr, ExprSchemable};
use datafusion_physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion_physical_expr::expressions::Column;
use datafusion_sql::sqlparser::ast::{Expr as Ast, Function, Ident, ObjectName, Spanned, VisitMut, VisitorMut};

use super::accumulators::Accumulators;
use super::check::{HIDDEN, Scope, check};
use super::error::{ExprError, plain};
use super::functions::{self, AGGREGATES};
use super::names::{parse, span_of};
use super::plan::{on_deep_stack, plan, with_clock};
use super::scalar::Scalar;
use super::types::type_word;
use crate::report::Failure;

/// A compiled set of aggregates with its HAVING: `cnt: count(*)`, `share: sum(a) / count(*)`.
#[derive(Debug, Clone)]
pub struct Aggregates {
    plan: Arc<AggregatePlan>,
}

/// An error in the nth aggregate, or in `having`.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateError {
    /// `None`: in `having`.
    pub index: Option<usize>,
    pub error: ExprError,
}

#[derive(Debug)]
pub(super) struct AggregatePlan {
    pub calls: Vec<Call>,
    /// The group's columns, then one for each call: what `outputs` are computed from.
    pub finished: SchemaRef,
    pub outputs: Vec<Output>,
    /// `finished`, then the outputs: what `having` is computed from.
    pub with_outputs: SchemaRef,
    pub having: Option<Scalar>,
}

/// A named result.
#[derive(Debug)]
pub(super) struct Output {
    pub text: String,
    pub field: Field,
    pub value: Scalar,
}

/// One call of an aggregate function.
#[derive(Debug)]
pub(super) struct Call {
    pub args: Vec<Scalar>,
    pub filter: Option<Scalar>,
    pub function: AggregateFunctionExpr,
    pub is_distinct: bool,
    /// What it was planned from; equal expressions are one call.
    expr: Expr,
}

impl Aggregates {
    /// Compiles named aggregates over the columns of `schema`. The results (and `having`) may also
    /// use the columns of `groups` (window_start, window_end, the group columns).
    ///
    /// # Errors
    /// All that is wrong, at most one error for each text.
    pub fn compile(
        named: &[(String, String)],
        having: Option<&str>,
        groups: &Schema,
        schema: &Schema,
    ) -> Result<Aggregates, Vec<AggregateError>> {
        on_deep_stack(|| Compiler { groups, schema, calls: Vec::new() }.compile(named, having))
    }

    /// Names of the input columns that are read.
    pub fn columns(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let scalars = self.plan.calls.iter().flat_map(|call| call.args.iter().chain(&call.filter));
        for name in scalars.flat_map(Scalar::columns) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Fields of the results, in the order given.
    ///
    /// A result that can be null only for a group without a row is not nullable: a group is opened by
    /// its first row.
    pub fn output(&self) -> Vec<Field> {
        self.plan.outputs.iter().map(|output| output.field.clone()).collect()
    }

    /// Fields of the intermediate state of a group: plain arrays, in the order of the calls.
    pub fn state(&self) -> Vec<Field> {
        let fields = self.plan.calls.iter().flat_map(Call::state_fields);
        fields.enumerate().map(|(index, field)| field.with_name(format!("state{index}"))).collect()
    }

    /// Accumulators without a group.
    ///
    /// # Errors
    /// [`Failure`] (ours) for a call that was let in and yet has no accumulator.
    pub fn open(&self) -> Result<Accumulators, Failure> {
        Accumulators::open(self.plan.clone())
    }
}

impl Call {
    pub fn state_fields(&self) -> Vec<Field> {
        let fields = self.function.state_fields().expect("the state was asked for when the call was compiled");
        fields.iter().map(|field| field.as_ref().clone().with_nullable(true)).collect()
    }

    fn can_fail(&self) -> bool {
        !self.args.iter().chain(&self.filter).all(Scalar::is_infallible)
    }

    /// The field of the result, were every group to have a row that counts.
    fn result_field(&self, index: usize, rows_can_fail: bool) -> Field {
        let field = self.function.field();
        let args_are_whole = self.args.iter().all(|arg| !arg.field("").is_nullable());
        let of_one_row = ["sum", "avg", "min", "max", "bool_and", "bool_or"].contains(&self.function.fun().name());
        let is_whole = of_one_row && args_are_whole && self.filter.is_none() && !rows_can_fail;
        Field::new(call_name(index), field.data_type().clone(), self.function.is_nullable() && !is_whole)
    }
}

/// The hidden column that holds a call's result.
fn call_name(index: usize) -> String {
    format!("{HIDDEN}aggregate {index}")
}

struct Compiler<'c> {
    groups: &'c Schema,
    schema: &'c Schema,
    calls: Vec<Call>,
}

/// A text whose calls were taken out.
struct Split<'t> {
    text: &'t str,
    ast: Ast,
}

impl<'c> Compiler<'c> {
    fn compile(mut self, named: &[(String, String)], having: Option<&str>) -> Result<Aggregates, Vec<AggregateError>> {
        let mut errors = Vec::new();
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        let mut split = |index: Option<usize>, text, outputs: &[&str]| {
            self.split(text, outputs).map_err(|error| errors.push(AggregateError { index, error })).ok()
        };
        let splits: Vec<_> =
            named.iter().enumerate().map(|(i, (_, text))| split(Some(i), text.as_str(), &[])).collect();
        let having = having.map(|text| split(None, text, &names));

        let finished = self.finished();
        let mut outputs = Vec::new();
        for (index, ((name, _), split)) in named.iter().zip(&splits).enumerate() {
            match split.as_ref().map(|split| self.output(name, split, &finished)) {
                Some(Ok(output)) => outputs.push(output),
                Some(Err(error)) => errors.push(AggregateError { index: Some(index), error }),
                None => {}
            }
        }
        let with_outputs = followed_by(&finished, outputs.iter().map(|output| output.field.clone()));
        let having = match having.flatten().map(|split| self.having(&split, &with_outputs)) {
            Some(Ok(having)) => Some(having),
            // An output that did not compile is not known to `having`.
            Some(Err(error)) if error.code == "expr.unknown_column" && !errors.is_empty() => None,
            Some(Err(error)) => {
                errors.push(AggregateError { index: None, error });
                None
            }
            None => None,
        };
        if !errors.is_empty() {
            errors.sort_by_key(|error| error.index.unwrap_or(usize::MAX));
            return Err(errors);
        }
        let plan = AggregatePlan { calls: self.calls, finished, outputs, with_outputs, having };
        Ok(Aggregates { plan: Arc::new(plan) })
    }

    /// Takes the aggregate calls out of a text and compiles them.
    fn split<'t>(&mut self, text: &'t str, outputs: &[&str]) -> Result<Split<'t>, ExprError> {
        let input = Scope::of(self.schema);
        let group = Scope::of(self.groups);
        let mut ast = parse(text, |word| input.has(word) || group.has(word) || outputs.contains(&word))?;
        let mut taker = CallTaker { text, compiler: self };
        match ast.visit(&mut taker) {
            ControlFlow::Break(error) => Err(*error),
            ControlFlow::Continue(()) => Ok(Split { text, ast }),
        }
    }

    fn finished(&self) -> SchemaRef {
        let rows_can_fail = self.calls.iter().any(Call::can_fail);
        let results = self.calls.iter().enumerate().map(|(index, call)| call.result_field(index, rows_can_fail));
        followed_by(self.groups, results)
    }

    fn output(&self, name: &str, split: &Split, finished: &Schema) -> Result<Output, ExprError> {
        let value = self.over_group(split, finished)?;
        Ok(Output { text: split.text.to_owned(), field: value.field(name), value })
    }

    fn having(&self, split: &Split, with_outputs: &Schema) -> Result<Scalar, ExprError> {
        let value = self.over_group(split, with_outputs)?;
        match value.data_type() {
            DataType::Boolean => Ok(value),
            other => {
                let message = format!("`having` is true or false, and this is {}", type_word(other));
                Err(ExprError::new("expr.type", 0..split.text.len(), message))
            }
        }
    }

    fn over_group(&self, split: &Split, known: &Schema) -> Result<Scalar, ExprError> {
        let mut ast = split.ast.clone();
        check(split.text, &mut ast, Scope { schema: known, out_of_reach: Some(self.schema) })?;
        Scalar::of_tree(split.text, &ast, known)
    }

    /// Compiles a call, unless there is an equal one; gives its index.
    fn call(&mut self, text: &str, function: &Function, span: Range<usize>) -> Result<usize, ExprError> {
        let wrong = |error| ExprError::new("expr.type", span.clone(), plain(&error));
        let known = with_clock(self.schema).map_err(wrong)?;
        let unfiltered = Ast::Function(Function { filter: None, ..function.clone() });
        let Expr::AggregateFunction(mut call) = plan(text, &unfiltered, &known)? else {
            return Err(ExprError::new("expr.aggregate", span, "this is not an aggregate"));
        };
        if let Some(filter) = &function.filter {
            call.params.filter = Some(Box::new(condition(text, filter, &known)?));
        }
        check_form(&call, &known, &span)?;
        let call = call_of(call, &known).map_err(wrong)?;
        if let Some(same) = self.calls.iter().position(|known| known.expr == call.expr) {
            return Ok(same);
        }
        self.calls.push(call);
        Ok(self.calls.len() - 1)
    }
}

/// The expression of a FILTER, which DataFusion would otherwise make boolean by a cast.
fn condition(text: &str, filter: &Ast, known: &DFSchema) -> Result<Expr, ExprError> {
    let expr = plan(text, filter, known)?;
    match expr.get_type(known) {
        Ok(DataType::Boolean) => Ok(expr),
        Ok(other) => {
            let message = format!("`filter` is true or false, and this is {}", type_word(&other));
            Err(ExprError::new("expr.type", span_of(text, filter), message))
        }
        Err(error) => Err(ExprError::new("expr.type", span_of(text, filter), plain(&error))),
    }
}

fn followed_by(schema: &Schema, fields: impl Iterator<Item = Field>) -> SchemaRef {
    let fields: Fields = schema.fields().iter().cloned().chain(fields.map(Arc::new)).collect();
    Arc::new(Schema::new(fields))
}

/// Takes the outermost aggregate calls out of a tree and leaves the names of their columns.
struct CallTaker<'t, 'c, 's> {
    text: &'t str,
    compiler: &'c mut Compiler<'s>,
}

impl VisitorMut for CallTaker<'_, '_, '_> {
    type Break = Box<ExprError>;

    fn pre_visit_expr(&mut self, ast: &mut Ast) -> ControlFlow<Self::Break> {
        match self.take(ast) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}

impl CallTaker<'_, '_, '_> {
    fn take(&mut self, ast: &mut Ast) -> Result<(), ExprError> {
        let Ast::Function(function) = ast else { return Ok(()) };
        let name = function.name.to_string().to_lowercase();
        if functions::aggregate(&name).is_none() {
            return Ok(());
        }
        let span = span_of(self.text, ast);
        let Ast::Function(function) = ast else { return Ok(()) };
        if function.over.is_some() {
            let message = format!("`{name}(…) over …`: windows over rows are not available in expressions");
            return Err(ExprError::new("expr.not_available", span, message));
        }
        if !AGGREGATES.contains(&name.as_str()) {
            let message = format!("the aggregate `{name}` is not available yet");
            return Err(ExprError::new("expr.not_available", span, message)
                .note(format!("there are: {}", AGGREGATES.join(", "))));
        }
        // The arguments are checked without the call around them, in which an aggregate is an error.
        check_arguments(self.text, function, self.compiler.schema)?;
        let index = self.compiler.call(self.text, function, span)?;
        *ast = Ast::Identifier(Ident::with_quote_and_span('"', ast.span(), call_name(index)));
        Ok(())
    }
}

fn check_arguments(text: &str, function: &mut Function, schema: &Schema) -> Result<(), ExprError> {
    // Any scalar function's name does: what is checked is what it is called with.
    let name = std::mem::replace(&mut function.name, ObjectName::from(vec![Ident::new("coalesce")]));
    let mut shell = Ast::Function(function.clone());
    let checked = check(text, &mut shell, Scope::of(schema));
    if let Ast::Function(checked) = shell {
        *function = checked;
    }
    function.name = name;
    checked
}

/// Only forms whose result does not depend on order or batches.
fn check_form(call: &AggregateFunction, known: &DFSchema, span: &Range<usize>) -> Result<(), ExprError> {
    let name = call.func.name();
    let refuse = |message: String| Err(ExprError::new("expr.not_available", span.clone(), message));
    if !call.params.order_by.is_empty() || call.params.null_treatment.is_some() {
        return refuse(format!("`{name}` with an order of its own is not available yet"));
    }
    if call.params.args.len() != 1 {
        return refuse(format!("`{name}` takes one argument"));
    }
    let data_type = call.params.args[0].get_type(known).unwrap_or(DataType::Null);
    if call.params.distinct && name != "count" {
        return refuse(format!("`{name}(distinct …)` is not available yet; there is `count(distinct …)`"));
    }
    if (call.params.distinct || ["min", "max"].contains(&name)) && data_type.is_nested() {
        return refuse(format!("`{name}` of a value of type {} is not available yet", type_word(&data_type)));
    }
    Ok(())
}

fn call_of(call: AggregateFunction, known: &DFSchema) -> PlanResult<Call> {
    let expr = Expr::AggregateFunction(call.clone());
    let args = call.params.args.into_iter().map(|arg| plain_values(arg, known)).collect::<PlanResult<Vec<_>>>()?;
    let args = args.into_iter().map(|arg| Scalar::of_expr(arg, known)).collect::<PlanResult<Vec<_>>>()?;
    let filter = call.params.filter.map(|filter| Scalar::of_expr(*filter, known)).transpose()?;
    let fields: Vec<Field> = args.iter().map(|arg| arg.field("arg").with_metadata(Default::default())).collect();
    let columns = vec![Arc::new(Column::new("arg", 0)) as Arc<dyn datafusion_physical_expr::PhysicalExpr>];
    let function = AggregateExprBuilder::new(call.func, columns)
        .schema(Arc::new(Schema::new(fields)))
        .alias("call")
        .with_distinct(call.params.distinct)
        .build()?;
    function.state_fields()?;
    Ok(Call { args, filter, function, is_distinct: call.params.distinct, expr })
}

/// An enum is aggregated as its text: states are plain arrays.
fn plain_values(arg: Expr, known: &DFSchema) -> PlanResult<Expr> {
    match arg.get_type(known)? {
        DataType::Dictionary(_, values) => Ok(Expr::Cast(Cast::new(Box::new(arg), *values))),
        _ => Ok(arg),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The errors of one text and a `having`.
    fn errors(text: &str, having: Option<&str>) -> String {
        let schema = Schema::new(vec![
            Field::new("rating", DataType::Int32, false),
            Field::new("brand", DataType::Utf8, true),
            Field::new("cnt", DataType::Utf8, true),
        ]);
        let groups = Schema::new(vec![Field::new("brand", DataType::Utf8, true)]);
        let named = [("cnt".to_owned(), text.to_owned())];
        match Aggregates::compile(&named, having, &groups, &schema) {
            Ok(_) => "fine".into(),
            Err(errors) => {
                let line = |found: &AggregateError| {
                    let of = if found.index.is_some() { text } else { having.unwrap() };
                    format!("{}: {} at `{}`", found.error.code, found.error.message, &of[found.error.span.clone()])
                };
                errors.iter().map(line).collect::<Vec<_>>().join("; ")
            }
        }
    }

    #[test]
    fn having_may_use_results_groups_and_calls() {
        assert_eq!(errors("count(*)", Some("cnt > 3 and brand <> 'x' and max(rating) > 1 and min(cnt) = 'a'")), "fine");
        assert_eq!(
            errors("count(*)", Some("cnt + 1")),
            "expr.type: `having` is true or false, and this is long at `cnt + 1`"
        );
        assert_eq!(errors("count(*)", Some("cn > 3")), "expr.unknown_column: there is no column `cn` at `cn`");
    }

    #[test]
    fn columns_outside_calls_must_be_grouped() {
        assert_eq!(errors("concat(brand, count(*))", None), "fine");
        assert_eq!(
            errors("rating + count(*)", None),
            "expr.aggregate: `rating` stands neither in an aggregate nor in `group_by` at `rating`"
        );
    }

    #[test]
    fn calls_that_depend_on_order_are_not_available_yet() {
        assert_eq!(
            errors("1 + first_value(rating)", None),
            "expr.not_available: the aggregate `first_value` is not available yet at `first_value(rating)`"
        );
        assert_eq!(
            errors("sum(distinct rating)", None),
            "expr.not_available: `sum(distinct …)` is not available yet; there is `count(distinct …)` at `sum(distinct rating)`"
        );
        assert_eq!(
            errors("sum(rating order by brand)", None),
            "expr.not_available: `sum` with an order of its own is not available yet at `sum(rating order by brand)`"
        );
        assert!(errors("sum(count(*))", None).starts_with("expr.aggregate: the aggregate `count` takes many rows"));
    }

    #[test]
    fn all_texts_with_errors_are_told() {
        assert_eq!(
            errors("sum(ratng)", Some("max(brand) > ")),
            "expr.unknown_column: there is no column `ratng` at `ratng`; \
             expr.syntax: the expression ends after `>`; expected an expression at `>`"
        );
        assert_eq!(
            errors("count(*) filter (where brand)", None),
            "expr.type: `filter` is true or false, and this is string at `brand`"
        );
        assert_eq!(errors("sum(brand)", None), "expr.type: `sum` does not take (string) at `sum(brand)`");
        assert_eq!(errors("cuont(*)", None), "expr.unknown_function: there is no function `cuont` at `cuont`");
    }
}
