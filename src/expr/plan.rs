//! From a checked syntax tree to a typed DataFusion expression: planning, coercion, constant folding.
//!
//! `now()` and its kin become a hidden column ([`CLOCK`]) and so are never folded (I3). When types do not
//! fit, the smallest part of the tree that does not plan by itself is what the error points at.

use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema, DataFusionError, Result, ScalarValue, TableReference, plan_err};
use datafusion_expr::expr::{Cast, ScalarFunction};
use datafusion_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{
    AggregateUDF, BinaryExpr, Expr, ExprSchemable, HigherOrderUDF, Operator, ScalarUDF, TableSource, WindowUDF, lit,
};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::{
    DataType as SqlType, Expr as Ast, FunctionArg, FunctionArgExpr, FunctionArguments, Visit, Visitor,
};

use super::error::{ExprError, plain};
use super::functions::{self, JsonPlanner, PathPlanner};
use super::names::span_of;
use super::types::{json_metadata, type_word};
use crate::data::fields::is_uuid;
use crate::data::meta;

/// The hidden column that holds the epoch's clock.
pub(super) const CLOCK: &str = "\0clock";

/// Planning recurses over the tree, several functions deep for each level of it.
const STACK_BYTES: usize = 16 << 20;

/// Compiles on a stack that is deep enough for the longest expression that `names` lets through.
pub(super) fn on_deep_stack<T: Send>(compile: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("compile".into()).stack_size(STACK_BYTES).spawn_scoped(scope, compile);
        match thread.expect("the machine can start one more thread").join() {
            Ok(compiled) => compiled,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The columns as DataFusion wants them, with the clock behind.
pub(super) fn with_clock(schema: &Schema) -> Result<DFSchema> {
    let clock = Arc::new(Field::new(CLOCK, meta::time_type(), false));
    let fields: Vec<FieldRef> = schema.fields().iter().cloned().chain([clock]).collect();
    DFSchema::from_unqualified_fields(fields.into(), Default::default())
}

/// Plans one scalar expression, or one aggregate call, over `schema` (see [`with_clock`]).
///
/// # Errors
/// `expr.type`, with the place of the smallest part that does not fit.
pub(super) fn plan(text: &str, ast: &Ast, schema: &DFSchema) -> Result<Expr, ExprError> {
    typed(ast, schema).map_err(|error| located(text, ast, schema, &error))
}

fn typed(ast: &Ast, schema: &DFSchema) -> Result<Expr> {
    let expr = SqlToRel::new_with_options(&*PROVIDER, options()).sql_to_expr(
        ast.clone(),
        schema,
        &mut PlannerContext::new(),
    )?;
    let expr = expr.transform_up(bind_clock)?.data;
    let expr = expr.transform_up(|expr| type_texts(expr, schema))?.data;
    let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build());
    let expr = simplifier.coerce(expr, schema)?.unalias();
    // A whole aggregate is left alone: rewriting `sum(a + 1)` would change the order of float additions.
    match expr {
        Expr::AggregateFunction(mut call) => {
            let args = std::mem::take(&mut call.params.args);
            call.params.args = args.into_iter().map(|arg| simplifier.simplify(arg)).collect::<Result<_>>()?;
            Ok(Expr::AggregateFunction(call))
        }
        scalar => simplifier.simplify(scalar),
    }
}

fn options() -> ParserOptions {
    ParserOptions::new().with_enable_ident_normalization(false).with_map_string_types_to_utf8view(false)
}

/// I3: the clock is read when a row is evaluated, not when the plan is made.
fn bind_clock(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(ScalarFunction { func, .. }) = &expr else { return Ok(Transformed::no(expr)) };
    let clock = || Expr::Column(Column::new_unqualified(CLOCK));
    let cast = |data_type| Expr::Cast(Cast::new(Box::new(clock()), data_type));
    Ok(match func.name() {
        "now" => Transformed::yes(clock()),
        "current_date" => Transformed::yes(cast(DataType::Date32)),
        "current_time" => Transformed::yes(cast(DataType::Time64(TimeUnit::Microsecond))),
        _ => Transformed::no(expr),
    })
}

/// A text that is compared with a timestamp or a uuid is one: read once, with the column's unit.
fn type_texts(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) => {
            let typed_right = typed_text(&left, &right, schema)?;
            let typed_left = typed_text(&right, &left, schema)?;
            let changed = typed_right.is_some() || typed_left.is_some();
            let expr = BinaryExpr {
                left: Box::new(typed_left.unwrap_or(*left)),
                op,
                right: Box::new(typed_right.unwrap_or(*right)),
            };
            Transformed::new_transformed(Expr::BinaryExpr(expr), changed)
        }
        Expr::Between(mut between) => {
            between.low = typed_text(&between.expr, &between.low, schema)?.map_or(between.low, Box::new);
            between.high = typed_text(&between.expr, &between.high, schema)?.map_or(between.high, Box::new);
            Transformed::yes(Expr::Between(between))
        }
        Expr::InList(mut list) => {
            for item in &mut list.list {
                if let Some(typed) = typed_text(&list.expr, item, schema)? {
                    *item = typed;
                }
            }
            Transformed::yes(Expr::InList(list))
        }
        other => Transformed::no(other),
    })
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// `text` as a value of the type of `beside`; `None` if there is nothing to do.
fn typed_text(beside: &Expr, text: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    let Expr::Literal(literal, _) = text else { return Ok(None) };
    let Some(Some(string)) = literal.try_as_str() else { return Ok(None) };
    let (_, field) = beside.to_field(schema)?;
    match field.data_type() {
        DataType::Timestamp(_, _) => {
            let cast = Cast::new(Box::new(text.clone()), field.data_type().clone());
            Ok(Some(Expr::Cast(cast)))
        }
        DataType::FixedSizeBinary(16) if is_uuid(&field) => match uuid::Uuid::try_parse(string) {
            Ok(id) => Ok(Some(lit(ScalarValue::FixedSizeBinary(16, Some(id.as_bytes().to_vec()))))),
            Err(_) => plan_err!("`{string}` is not a uuid"),
        },
        _ => Ok(None),
    }
}

/// Finds what part of the tree does not fit.
fn located(text: &str, ast: &Ast, schema: &DFSchema, error: &DataFusionError) -> ExprError {
    let mut parts = Parts(Vec::new());
    let _: ControlFlow<()> = ast.visit(&mut parts);
    let culprit = parts.0.into_iter().find_map(|part| typed(&part, schema).err().map(|error| (part, error)));
    match culprit {
        Some((part, error)) => misfit(text, &part, schema, &error),
        None => ExprError::new("expr.type", span_of(text, ast), plain(error)),
    }
}

/// All parts of a tree, children before their parents.
struct Parts(Vec<Ast>);

impl Visitor for Parts {
    type Break = ();

    fn post_visit_expr(&mut self, ast: &Ast) -> ControlFlow<()> {
        self.0.push(ast.clone());
        ControlFlow::Continue(())
    }
}

/// Says in the language's words what does not fit: the parts of `part` are all well typed.
fn misfit(text: &str, part: &Ast, schema: &DFSchema, error: &DataFusionError) -> ExprError {
    let word = |ast: &Ast| typed(ast, schema).and_then(|expr| expr.get_type(schema)).map(|found| type_word(&found));
    let is_not_available = matches!(error.find_root(), DataFusionError::NotImplemented(_));
    let message = match part {
        Ast::BinaryOp { left, op, right } => match (word(left), word(right)) {
            (Ok(left), Ok(right)) if !is_own(error) => format!("`{op}` does not go with {left} and {right}"),
            _ => plain(error),
        },
        Ast::Between { expr, low, high, .. } => match (word(expr), word(low), word(high)) {
            (Ok(of), Ok(low), Ok(high)) => format!("`between` does not go with {of}, {low} and {high}"),
            _ => plain(error),
        },
        Ast::UnaryOp { op, expr } => match word(expr) {
            Ok(of) => format!("`{op}` does not go with {of}"),
            Err(_) => plain(error),
        },
        Ast::Function(function) => match &function.args {
            FunctionArguments::List(list) if !is_not_available => {
                let given: Vec<String> = list.args.iter().map(|arg| argument_word(arg, &word)).collect();
                format!("`{}` does not take ({})", function.name, given.join(", "))
            }
            _ => plain(error),
        },
        _ => plain(error),
    };
    let code = if is_not_available { "expr.not_available" } else { "expr.type" };
    ExprError::new(code, span_of(text, part), message)
}

/// True for a message of our own planners, which is clearer than the general one.
fn is_own(error: &DataFusionError) -> bool {
    let text = error.to_string();
    text.contains("JSON text") || text.contains("is not a uuid")
}

fn argument_word(arg: &FunctionArg, word: &impl Fn(&Ast) -> Result<String>) -> String {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(ast)) => word(ast).unwrap_or_else(|_| ast.to_string()),
        other => other.to_string(),
    }
}

static PROVIDER: LazyLock<Provider> = LazyLock::new(|| Provider {
    options: ConfigOptions::default(),
    planners: vec![
        Arc::new(JsonPlanner),
        Arc::new(PathPlanner),
        Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
        Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
        Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
        Arc::new(datafusion_functions_nested::planner::NestedFunctionPlanner),
        Arc::new(datafusion_functions_nested::planner::FieldAccessPlanner),
        Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
    ],
});

/// What DataFusion's SQL planner asks: functions and types. There are no tables.
#[derive(Debug)]
struct Provider {
    options: ConfigOptions,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl ContextProvider for Provider {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("there is no table `{name}` in an expression")
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(LanguageTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        functions::scalar(name).cloned()
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        functions::aggregate(name).cloned()
    }

    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Types in casts: the language's own words beside SQL's.
#[derive(Debug)]
struct LanguageTypes;

impl TypePlanner for LanguageTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let timestamp = |unit| DataType::Timestamp(unit, Some(Arc::from("UTC")));
        let data_type = match sql_type {
            SqlType::Timestamp(Some(6), _) => timestamp(TimeUnit::Microsecond),
            SqlType::Timestamp(None | Some(0..=3), _) => timestamp(TimeUnit::Millisecond),
            SqlType::Timestamp(Some(_), _) => return plan_err!("the finest timestamp is `timestamp(6)`"),
            SqlType::Time(None, _) => DataType::Time64(TimeUnit::Microsecond),
            SqlType::Bytes(None) => DataType::Binary,
            SqlType::JSON => {
                let json = Field::new("json", DataType::Utf8, true).with_metadata(json_metadata());
                return Ok(Some(Arc::new(json)));
            }
            SqlType::Custom(name, words) if words.is_empty() && name.to_string().eq_ignore_ascii_case("long") => {
                DataType::Int64
            }
            SqlType::Custom(name, _) => {
                return plan_err!(
                    "`{name}` is not a type; there are boolean, int, long, float, double, decimal(p,s), string, bytes, \
                     date, time, timestamp and json"
                );
            }
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}
