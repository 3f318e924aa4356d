//! Rules of booleans and numbers: `range`, `iteration`, `odds`, `now`, `late`.

use arrow::datatypes::{DataType, TimeUnit};
use serde_json::{Map, Value as Json};

use super::super::bounds;
use super::super::decimal::DecimalRule;
use super::super::iteration::{Counted, Iteration};
use super::super::kinds::{Kind, Number, Truth};
use super::super::types;
use super::Reader;
use crate::registry::avro::Type;
use crate::time::duration;

/// A counter that a rule asks for.
pub(super) enum Counter {
    None,
    At(usize),
    Wrong,
}

impl<'a> Reader<'a> {
    /// The index of the rule's counter; `None` without one, or if it is wrong (a problem then).
    pub(super) fn counter(&mut self, rules: Option<&'a Map<String, Json>>, counted: Counted) -> Counter {
        let Some(rule) = rules.and_then(|rules| rules.get("iteration")) else { return Counter::None };
        match Iteration::read(rule, counted) {
            Ok(iteration) => {
                self.iterations.push(iteration);
                Counter::At(self.iterations.len() - 1)
            }
            Err(wrong) => {
                wrong.into_iter().for_each(|wrong| self.problem("datagen.rule", wrong));
                Counter::Wrong
            }
        }
    }

    pub(super) fn boolean(&mut self, rules: Option<&'a Map<String, Json>>) -> Option<Kind> {
        let truth = match (self.counter(rules, Counted::Boolean), rules.and_then(|rules| rules.get("odds"))) {
            (Counter::Wrong, _) => return None,
            (Counter::At(index), _) => Truth::Counter(index),
            (Counter::None, None) => Truth::Even,
            (Counter::None, Some(odds)) => match bounds::share("odds", odds) {
                Ok(odds) => Truth::Odds(odds),
                Err(why) => return self.rule_problem(why),
            },
        };
        Some(Kind::Boolean(truth))
    }

    pub(super) fn int(&mut self, rules: Option<&'a Map<String, Json>>) -> Option<Kind> {
        let number = match self.counter(rules, Counted::Int) {
            Counter::Wrong => return None,
            Counter::At(index) => Number::Counter(index),
            Counter::None => match self.range(rules, bounds::whole::<i32>("int"))? {
                None => Number::Any,
                Some((min, max)) => self.ordered(min.unwrap_or(i32::MIN), max.unwrap_or(i32::MAX))?,
            },
        };
        Some(Kind::Int(number))
    }

    /// `unit`: parts of a millisecond, if this is a timestamp. `now` is a rule of ours.
    pub(super) fn long(&mut self, rules: Option<&'a Map<String, Json>>, unit: Option<i64>) -> Option<Kind> {
        if let (Some(Json::Bool(true)), Some(parts)) = (rules.and_then(|rules| rules.get("now")), unit) {
            return Some(Kind::Long(Number::Now(parts)));
        }
        let number = match self.counter(rules, Counted::Long) {
            Counter::Wrong => return None,
            Counter::At(index) => Number::Counter(index),
            Counter::None => match self.range(rules, bounds::whole::<i64>("long"))? {
                None => Number::Any,
                Some((min, max)) => self.ordered(min.unwrap_or(i64::MIN), max.unwrap_or(i64::MAX))?,
            },
        };
        Some(Kind::Long(number))
    }

    pub(super) fn float(&mut self, rules: Option<&'a Map<String, Json>>) -> Option<Kind> {
        let number = match self.counter(rules, Counted::Float) {
            Counter::Wrong => return None,
            Counter::At(index) => Number::Counter(index),
            Counter::None => match self.range(rules, bounds::float)? {
                None => Number::Any,
                Some((min, max)) => self.ordered(min.unwrap_or(f32::MIN), max.unwrap_or(f32::MAX))?,
            },
        };
        Some(Kind::Float(number))
    }

    pub(super) fn double(&mut self, rules: Option<&'a Map<String, Json>>) -> Option<Kind> {
        if rules.and_then(|rules| rules.get("range")).is_some_and(|range| !range.is_object()) {
            return self.rule_problem("range property must be an object");
        }
        let number = match self.counter(rules, Counted::Double) {
            Counter::Wrong => return None,
            Counter::At(index) => Number::Counter(index),
            Counter::None => match self.range(rules, bounds::double)? {
                None => Number::Any,
                Some((min, max)) => self.ordered(min.unwrap_or(f64::MIN), max.unwrap_or(f64::MAX))?,
            },
        };
        Some(Kind::Double(number))
    }

    /// Of a decimal column; the outer `None`: it is none.
    #[expect(clippy::option_option, reason = "nothing, a problem, something")]
    pub(super) fn decimal(&mut self, rules: Option<&'a Map<String, Json>>, ty: &'a Type) -> Option<Option<Kind>> {
        let mut decimal = DecimalRule::of(&types::data_type(self.schema, ty).ok()?)?;
        if rules.and_then(|rules| rules.get("range")).is_some_and(|range| !range.is_object()) {
            return Some(self.rule_problem("range property must be an object"));
        }
        let Some(range) = self.range(rules, bounds::double) else { return Some(None) };
        if let Some((min, max)) = range {
            let most = 10f64.powi(i32::from(decimal.precision) - i32::from(decimal.scale));
            let (min, max) = (min.unwrap_or(-most), max.unwrap_or(most));
            if self.ordered(min, max).is_none() {
                return Some(None);
            }
            decimal.range = Some((min, max));
        }
        Some(Some(Kind::Decimal(decimal)))
    }

    /// Both bounds as written; the outer `None` is a problem, the inner one no range.
    pub(super) fn range<T>(
        &mut self,
        rules: Option<&'a Map<String, Json>>,
        bound: impl Fn(&str, &Json) -> Result<T, String>,
    ) -> Option<Option<(Option<T>, Option<T>)>> {
        let Some(range) = rules.and_then(|rules| rules.get("range")) else { return Some(None) };
        let Json::Object(range) = range else {
            self.warning("a range that is not an object with min and max is ignored");
            return Some(None);
        };
        let mut read = |key: &str| -> Result<Option<T>, ()> {
            let Some(json) = range.get(key) else { return Ok(None) };
            bound(key, json).map(Some).map_err(|why| self.problem("datagen.rule", why))
        };
        match (read("min"), read("max")) {
            (Ok(min), Ok(max)) => Some(Some((min, max))),
            _ => None,
        }
    }

    pub(super) fn ordered<T: PartialOrd>(&mut self, min: T, max: T) -> Option<Number<T>> {
        if min < max {
            return Some(Number::Range(min, max));
        }
        self.rule_problem("'min' field must be strictly less than 'max' field in range property")
    }

    /// `parts` of a millisecond, if this is a timestamp.
    pub(super) fn late(
        &mut self,
        rules: Option<&'a Map<String, Json>>,
        parts: Option<i64>,
        inner: Kind,
    ) -> Option<Kind> {
        let Some(late) = rules.and_then(|rules| rules.get("late")) else { return Some(inner) };
        let by = late.get("by").and_then(|by| match (by, parts) {
            (Json::String(text), Some(parts)) => duration::parse(text).ok()?.checked_mul(parts),
            (by, None) => by.as_i64(),
            _ => None,
        });
        let odds = late.get("odds").map(|odds| bounds::share("odds", odds));
        match (odds, by.filter(|by| *by > 0)) {
            (Some(Ok(odds)), Some(by)) => Some(Kind::Late { odds, by, inner: Box::new(inner) }),
            _ => self.rule_problem(match parts {
                Some(_) => "late property needs odds and by, such as {odds: 0.05, by: 30s}",
                None => "late property needs odds and by, such as {odds: 0.05, by: 100}",
            }),
        }
    }
}

/// How many parts of a millisecond a timestamp counts.
pub(super) fn now_parts(data_type: &DataType) -> Option<i64> {
    match data_type {
        DataType::Timestamp(TimeUnit::Millisecond, _) => Some(1),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(1_000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(1_000_000),
        _ => None,
    }
}
