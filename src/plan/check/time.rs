//! `time:` of a source: where its event time comes from and how the watermark follows it.

use arrow::datatypes::{DataType, Schema};

use super::expressions::compile;
use crate::data::meta;
use crate::plan::{TimeField, TimePlan};
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{Idle, Spanned, TimeSpec, TimeUnit};
use crate::time::Millis;

const DEFAULT_LAG_MS: Millis = 0;
const DEFAULT_IDLE_MS: Millis = 5_000;
const DEFAULT_MAX_AHEAD_MS: Millis = 3_600_000;

/// A source's own `time:` stands before its topic's, key by key.
pub(super) fn merged(own: Option<&TimeSpec>, topic: Option<&TimeSpec>) -> Option<TimeSpec> {
    match (own, topic) {
        (Some(own), Some(topic)) => Some(TimeSpec {
            field: own.field.clone().or_else(|| topic.field.clone()),
            unit: own.unit.clone().or_else(|| topic.unit.clone()),
            lag: own.lag.or(topic.lag),
            idle: own.idle.or(topic.idle),
            align: own.align.or(topic.align),
            max_ahead: own.max_ahead.or(topic.max_ahead),
            place: own.place.clone(),
        }),
        (own, topic) => own.or(topic).cloned(),
    }
}

/// The columns that `time.field` reads, and the plan of the source's time.
pub(super) fn plan(
    spec: Option<&TimeSpec>,
    columns: &Schema,
    has_timestamps: bool,
    out: &mut Diagnostics,
) -> Option<(TimePlan, Vec<String>)> {
    let (field, reads) = match spec.and_then(|spec| spec.field.as_ref()) {
        Some(expression) => field(spec?, expression, columns, out)?,
        None if has_timestamps => (TimeField::Timestamp, Vec::new()),
        None => (TimeField::Clock, Vec::new()),
    };
    let idle_ms = match spec.and_then(|spec| spec.idle) {
        Some(Idle::Never) => None,
        Some(Idle::After(idle)) => Some(idle.0),
        None => Some(DEFAULT_IDLE_MS),
    };
    let plan = TimePlan {
        field,
        lag_ms: spec.and_then(|spec| spec.lag).map_or(DEFAULT_LAG_MS, |lag| lag.0),
        idle_ms,
        align_ms: spec.and_then(|spec| spec.align).map(|align| align.0),
        max_ahead_ms: spec.and_then(|spec| spec.max_ahead).map_or(DEFAULT_MAX_AHEAD_MS, |ahead| ahead.0),
        not_after_timestamp: false,
    };
    Some((plan, reads))
}

/// Compiles `time.field` so that it gives Timestamp(ms, UTC), whatever the column is.
fn field(
    spec: &TimeSpec,
    expression: &Spanned<String>,
    columns: &Schema,
    out: &mut Diagnostics,
) -> Option<(TimeField, Vec<String>)> {
    // Its own result cannot be asked for.
    let visible: Vec<_> = columns.fields().iter().filter(|field| field.name() != meta::TIME).cloned().collect();
    let visible = Schema::new(visible);
    let scalar = compile(expression, &visible, out)?;
    let cast = match (scalar.data_type(), &spec.unit) {
        (DataType::Int64 | DataType::Int32 | DataType::UInt32, Some(unit)) => {
            as_milliseconds(&expression.value, unit.value)
        }
        (DataType::Int64 | DataType::Int32 | DataType::UInt32, None) => {
            out.push(
                Diagnostic::error("time.unit", "`time.field` is a number without a unit")
                    .at(&expression.place)
                    .hint("add `unit: s`, `unit: ms` or `unit: us` to `time`"),
            );
            return None;
        }
        (DataType::Timestamp(..) | DataType::Date32, unit) => {
            if let Some(unit) = unit {
                out.push(
                    Diagnostic::error("time.unit", "`time.field` is a timestamp already: it takes no `unit`")
                        .at(&unit.place),
                );
                return None;
            }
            match scalar.data_type() == &meta::time_type() {
                true => expression.value.clone(),
                false => format!("cast(({}) as timestamp)", expression.value),
            }
        }
        (other, _) => {
            out.push(
                Diagnostic::error("time.type", "`time.field` is not a time")
                    .at(&expression.place)
                    .label(format!("this is {}", crate::expr::type_word(other)))
                    .hint("give a timestamp, or a whole number with `unit`"),
            );
            return None;
        }
    };
    let scalar = crate::expr::Scalar::compile(&cast, &visible).map_err(|error| {
        out.push(
            Diagnostic::error("time.type", "`time.field` cannot be made a time")
                .at(&expression.place)
                .note(error.message),
        );
    });
    let scalar = scalar.ok()?;
    let reads = scalar.columns().to_vec();
    Some((TimeField::Expr(scalar), reads))
}

/// A number as a timestamp; finer ones are floored to milliseconds, also before 1970.
fn as_milliseconds(text: &str, unit: TimeUnit) -> String {
    let number = format!("cast(({text}) as bigint)");
    match unit {
        TimeUnit::Seconds => format!("cast({number} * 1000 as timestamp)"),
        TimeUnit::Millis => format!("cast({number} as timestamp)"),
        TimeUnit::Micros => format!("cast(({number} - ({number} % 1000 + 1000) % 1000) / 1000 as timestamp)"),
    }
}
