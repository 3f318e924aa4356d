//! Counters: the rule `iteration`. They draw no random number; their state is one number each,
//! which is part of a reader's position.

use serde_json::{Map, Value as Json};

use super::bounds::java_class;

/// What a counter counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Iteration {
    /// Alternates, beginning with this.
    Boolean { start: bool },
    /// `start + sign(step)·(|value − start + step| mod span)`: a remainder, not a jump back to the start.
    Whole { start: i64, step: i64, span: Option<i128>, initial: i64 },
    /// The same with the sign kept, in units of 10^−scale: no drift.
    Decimal { start: i64, step: i64, span: Option<i128>, initial: i64, scale: u32 },
}

/// The type that a counter fills; it decides what numbers may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    Boolean,
    Int,
    Long,
    Float,
    Double,
}

impl Iteration {
    /// The first value.
    pub fn first(&self) -> i64 {
        match *self {
            Iteration::Boolean { start } => i64::from(start),
            Iteration::Whole { initial, .. } | Iteration::Decimal { initial, .. } => initial,
        }
    }

    /// The value behind so many records that moved it once each, as the genuine generator goes on with it.
    pub fn behind(&self, records: u64) -> i64 {
        if records == 0 {
            return self.first();
        }
        let moved = |start: i64, step: i64, initial: i64| {
            i128::from(initial) - i128::from(start) + i128::from(records) * i128::from(step)
        };
        match *self {
            Iteration::Boolean { start } => i64::from(start != (records % 2 == 1)),
            Iteration::Whole { start, step, span, initial } => {
                let offset = moved(start, step, initial).abs();
                let offset = span.map_or(offset, |span| offset % span);
                (i128::from(start) + i128::from(step.signum()) * offset) as i64
            }
            Iteration::Decimal { start, step, span, initial, .. } => {
                let offset = moved(start, step, initial);
                (i128::from(start) + span.map_or(offset, |span| offset % span)) as i64
            }
        }
    }

    /// The value behind `value`.
    pub fn after(&self, value: i64) -> i64 {
        let moved = |start: i64, step: i64| i128::from(value) - i128::from(start) + i128::from(step);
        match *self {
            Iteration::Boolean { .. } => 1 - value,
            Iteration::Whole { start, step, span, .. } => {
                let offset = moved(start, step).abs();
                let offset = span.map_or(offset, |span| offset % span);
                // Without an end it goes round in two's complement, as Java does.
                (i128::from(start) + i128::from(step.signum()) * offset) as i64
            }
            Iteration::Decimal { start, step, span, .. } => {
                let offset = moved(start, step);
                (i128::from(start) + span.map_or(offset, |span| offset % span)) as i64
            }
        }
    }

    /// Every `tasks`-th value of the sequence, from the `task`-th on: what one of several tasks counts that share it.
    pub fn share(&self, task: u32, tasks: u32) -> Iteration {
        let initial = (0..task).fold(self.first(), |value, _| self.after(value));
        let stride = i64::from(tasks);
        match *self {
            Iteration::Boolean { .. } => Iteration::Boolean { start: initial != 0 },
            Iteration::Whole { start, step, span, .. } => {
                Iteration::Whole { start, step: step.saturating_mul(stride), span, initial }
            }
            Iteration::Decimal { start, step, span, scale, .. } => {
                Iteration::Decimal { start, step: step.saturating_mul(stride), span, scale, initial }
            }
        }
    }

    /// Reads the rule.
    ///
    /// # Errors
    /// All that is wrong with it, one sentence each.
    pub fn read(rule: &Json, counted: Counted) -> Result<Iteration, Vec<String>> {
        let Json::Object(rule) = rule else {
            return Err(vec![format!("iteration prop must be an object, was {} instead", java_class(rule))]);
        };
        if !rule.contains_key("start") {
            return Err(vec!["iteration property must contain start field".into()]);
        }
        match counted {
            Counted::Boolean => read_boolean(rule),
            Counted::Int => read_whole(rule, Some(i32::MAX.into()), "int"),
            Counted::Long => read_whole(rule, None, "long"),
            Counted::Float => read_decimal(rule, true),
            Counted::Double => read_decimal(rule, false),
        }
    }
}

fn read_boolean(rule: &Map<String, Json>) -> Result<Iteration, Vec<String>> {
    let mut wrong: Vec<String> = ["restart", "step"]
        .into_iter()
        .filter(|key| rule.contains_key(*key))
        .map(|key| format!("iteration property cannot contain {key} field for a boolean schema"))
        .collect();
    match &rule["start"] {
        Json::Bool(start) if wrong.is_empty() => return Ok(Iteration::Boolean { start: *start }),
        Json::Bool(_) => {}
        other => wrong.push(format!(
            "start field of iteration property for a boolean schema must be a boolean, was {} instead",
            java_class(other)
        )),
    }
    Err(wrong)
}

/// `largest`: of the type, where it is not that of a long.
fn read_whole(rule: &Map<String, Json>, largest: Option<i64>, type_name: &str) -> Result<Iteration, Vec<String>> {
    let mut wrong = Vec::new();
    let mut number = |key: &str| -> Option<i64> {
        let json = rule.get(key)?;
        let Some(number) = json.as_i64() else {
            let class = java_class(json);
            wrong.push(format!("'{key}' field of iteration property must be an integral number, was {class} instead"));
            return None;
        };
        if largest.is_some_and(|largest| number > largest || number < -largest - 1) {
            wrong.push(format!(
                "'{key}' field of iteration property must be a valid {type_name} for {type_name} schemas"
            ));
            return None;
        }
        Some(number)
    };
    let (start, restart, step) = (number("start"), number("restart"), number("step"));
    let initial = number("initial");
    let Some(start) = start.filter(|_| wrong.is_empty()) else { return Err(wrong) };
    let step = step.unwrap_or_else(|| if restart.is_some_and(|restart| restart < start) { -1 } else { 1 });
    check_direction(start, restart, step)?;
    // Upwards the type's largest number is the end; downwards there is none.
    let end = restart.or_else(|| (step > 0).then(|| largest.unwrap_or(i64::MAX)));
    let span = end.map(|end| (i128::from(end) - i128::from(start)).abs()).filter(|span| *span > 0);
    Ok(Iteration::Whole { start, step, span, initial: initial.unwrap_or(start) })
}

fn check_direction(start: i64, restart: Option<i64>, step: i64) -> Result<(), Vec<String>> {
    let complaint = match restart {
        _ if step == 0 => "step field of iteration property cannot be zero",
        Some(restart) if restart == start => "start and restart fields of iteration property cannot be equal",
        Some(restart) if restart > start && step < 0 => {
            "step field of iteration property must be positive when restart field is greater than start field"
        }
        Some(restart) if restart < start && step > 0 => {
            "step field of iteration property must be negative when restart field is less than start field"
        }
        _ => return Ok(()),
    };
    Err(vec![complaint.into()])
}

fn read_decimal(rule: &Map<String, Json>, single: bool) -> Result<Iteration, Vec<String>> {
    let mut wrong = Vec::new();
    let mut number = |key: &str| -> Option<Decimal> {
        let json = rule.get(key)?;
        let Some(value) = json.as_f64() else {
            let class = java_class(json);
            wrong.push(format!("'{key}' field of iteration property must be a number, was {class} instead"));
            return None;
        };
        // Rounded to single precision first, as Java does with float fields.
        let text = if single { (value as f32).to_string() } else { value.to_string() };
        Decimal::parse(&text).or_else(|| {
            wrong.push(format!("'{key}' field of iteration property has more digits than can be counted exactly"));
            None
        })
    };
    let (start, restart, step) = (number("start"), number("restart"), number("step"));
    let initial = number("initial");
    let Some(start) = start.filter(|_| wrong.is_empty()) else { return Err(wrong) };
    let one = Decimal { digits: 1, scale: 0 };
    let scale = [Some(start), restart, step, initial].into_iter().flatten().map(|d| d.scale).max().unwrap_or(0);
    let scaled = |number: Option<Decimal>| number.map(|number| number.at(scale)).transpose();
    let scaled = (|| {
        Some((
            start.at(scale).ok()?,
            scaled(restart).ok()?,
            scaled(step).ok()?,
            scaled(initial).ok()?,
            one.at(scale).ok()?,
        ))
    })();
    let Some((start, restart, step, initial, one)) = scaled else {
        return Err(vec!["the fields of iteration property have more digits than can be counted exactly".into()]);
    };
    let step = step.unwrap_or(if restart.is_some_and(|restart| restart < start) { -one } else { one });
    check_direction(start, restart, step)?;
    let span = restart.map(|restart| (i128::from(restart) - i128::from(start)).abs());
    Ok(Iteration::Decimal { start, step, span, initial: initial.unwrap_or(start), scale })
}

/// `digits`·10^−scale.
#[derive(Debug, Clone, Copy)]
struct Decimal {
    digits: i64,
    scale: u32,
}

impl Decimal {
    /// From plain decimal text, as Rust prints floats (never with an exponent).
    fn parse(text: &str) -> Option<Decimal> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Decimal { digits, scale: u32::try_from(fraction.len()).ok()? })
    }

    fn at(self, scale: u32) -> Result<i64, ()> {
        10i64.checked_pow(scale - self.scale).and_then(|factor| self.digits.checked_mul(factor)).ok_or(())
    }
}

/// A counter's value as a double: the one nearest to the decimal number.
pub fn to_double(value: i64, scale: u32) -> f64 {
    // Both exact as doubles: one division rounds once.
    if value.unsigned_abs() <= 1 << 53 && scale <= 22 {
        return value as f64 / 10f64.powi(scale as i32);
    }
    format!("{value}e-{scale}").parse().expect("digits and an exponent are a number")
}

/// A counter's value as a float: the one nearest to the decimal number.
pub fn to_float(value: i64, scale: u32) -> f32 {
    if value.unsigned_abs() <= 1 << 24 && scale <= 10 {
        return value as f32 / 10f32.powi(scale as i32);
    }
    format!("{value}e-{scale}").parse().expect("digits and an exponent are a number")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(rule: Json, counted: Counted, count: usize) -> Vec<i64> {
        let iteration = Iteration::read(&rule, counted).unwrap();
        std::iter::successors(Some(iteration.first()), |value| Some(iteration.after(*value))).take(count).collect()
    }

    #[test]
    fn the_remainder_is_taken_not_the_start() {
        let rule = json!({"start": 0, "restart": 10, "step": 3});
        assert_eq!(values(rule, Counted::Int, 11), [0, 3, 6, 9, 2, 5, 8, 1, 4, 7, 0]);
        let rule = json!({"start": 10, "restart": 0, "step": -3});
        assert_eq!(values(rule, Counted::Int, 11), [10, 7, 4, 1, 8, 5, 2, 9, 6, 3, 10]);
        assert_eq!(values(json!({"start": 0, "restart": 3, "step": 7}), Counted::Int, 4), [0, 1, 2, 0]);
    }

    #[test]
    fn initial_may_lie_outside_of_the_cycle() {
        let with = |initial: i64| json!({"start": 0, "restart": 5, "initial": initial});
        assert_eq!(values(with(3), Counted::Int, 6), [3, 4, 0, 1, 2, 3]);
        assert_eq!(values(with(5), Counted::Int, 6), [5, 1, 2, 3, 4, 0]);
        assert_eq!(values(with(12), Counted::Int, 4), [12, 3, 4, 0]);
        assert_eq!(values(with(-2), Counted::Int, 6), [-2, 1, 2, 3, 4, 0]);
        assert_eq!(values(with(-2), Counted::Double, 5), [-2, -1, 0, 1, 2]);
    }

    #[test]
    fn without_restart_it_counts_to_the_types_end() {
        assert_eq!(values(json!({"start": 5, "step": -1}), Counted::Int, 8), [5, 4, 3, 2, 1, 0, -1, -2]);
        let rule = json!({"start": 0, "initial": 2_147_483_645});
        assert_eq!(values(rule, Counted::Int, 3), [2_147_483_645, 2_147_483_646, 0]);
    }

    #[test]
    fn decimal_steps_do_not_drift() {
        let Iteration::Decimal { scale, .. } =
            Iteration::read(&json!({"start": 0.5, "step": 0.1, "restart": 1.0}), Counted::Double).unwrap()
        else {
            panic!("a double counts in decimals")
        };
        let seen = values(json!({"start": 0.5, "step": 0.1, "restart": 1.0}), Counted::Double, 6);
        let seen: Vec<f64> = seen.into_iter().map(|value| to_double(value, scale)).collect();
        assert_eq!(seen, [0.5, 0.6, 0.7, 0.8, 0.9, 0.5]);
        assert_eq!(to_float(1_234_567_891, 9), 1.234_567_9);
    }

    #[test]
    fn tasks_share_out_one_sequence() {
        for rule in [
            json!({"start": 5}),
            json!({"start": 0, "restart": 10, "step": 3}),
            json!({"start": 9, "restart": 0, "step": -2}),
        ] {
            let whole = Iteration::read(&rule, Counted::Long).unwrap();
            let next = |iteration: &Iteration, value: &mut i64| std::mem::replace(value, iteration.after(*value));
            let mut one = whole.first();
            let sequence: Vec<i64> = (0..12).map(|_| next(&whole, &mut one)).collect();
            let mut tasks: Vec<_> = (0..3).map(|task| whole.share(task, 3)).map(|own| (own, own.first())).collect();
            let dealt: Vec<i64> = (0..12)
                .map(|index| {
                    let (own, value) = &mut tasks[index % 3];
                    next(own, value)
                })
                .collect();
            assert_eq!(dealt, sequence, "{rule}");
        }
    }

    #[test]
    fn a_rule_that_cannot_count_is_refused() {
        let refused = |rule: Json, counted, why: &str| {
            let wrong = Iteration::read(&rule, counted).unwrap_err();
            assert!(wrong.iter().any(|wrong| wrong.contains(why)), "{rule}: {wrong:?}");
        };
        refused(json!({}), Counted::Int, "must contain start");
        refused(json!(1), Counted::Int, "must be an object, was java.lang.Integer");
        refused(json!({"start": 0, "step": 0}), Counted::Int, "cannot be zero");
        refused(json!({"start": 1, "restart": 1}), Counted::Long, "cannot be equal");
        refused(json!({"start": 0, "restart": 2, "step": -1}), Counted::Double, "must be positive");
        refused(json!({"start": 2, "restart": 0, "step": 1}), Counted::Int, "must be negative");
        refused(json!({"start": 1.0}), Counted::Int, "must be an integral number, was java.lang.Double");
        refused(json!({"start": 3_000_000_000_i64}), Counted::Int, "must be a valid int");
        refused(json!({"start": true, "step": 1}), Counted::Boolean, "cannot contain step");
    }
}
