//! Expressions against an evaluator that shares nothing with ours: random typed trees, evaluated in columns by
//! [`Scalar`] and row by row here. The same values, and errors at the same rows.
//!
//! The trees leave out what SQL lets a planner decide: constant parts, factors 0 and 1, the opposite of an
//! opposite, a cast that is compared with a constant, and failing operands where only their nullness counts: a
//! simplifier may never evaluate those.
//!
//! `RUNNER_EXPRESSION_SEEDS=100000` runs more of them, `RUNNER_EXPRESSION_SEED=17` one again.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, Schema};
use arrow::record_batch::RecordBatch;

use super::{At, Scalar};

const SEEDS: u64 = 600;
const ROWS: usize = 24;
const DEPTH_MAX: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Type {
    Int,
    Long,
    Double,
    Text,
    Bool,
}

use Type::{Bool, Double, Int, Long, Text};

/// A value of a row; integers of both widths are `Whole`.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Null,
    Whole(i64),
    Real(f64),
    Text(String),
    Bool(bool),
}

/// Columns with a name, a type, and whether they are nullable.
const COLUMNS: &[(&str, Type, bool)] = &[
    ("i", Int, false),
    ("j", Int, true),
    ("n", Long, false),
    ("m", Long, true),
    ("d", Double, false),
    ("x", Double, true),
    ("s", Text, false),
    ("t", Text, true),
    ("b", Bool, false),
    ("c", Bool, true),
];

#[derive(Debug, Clone)]
enum Tree {
    Column(usize),
    Literal(Value),
    Arithmetic(char, Box<Tree>, Box<Tree>),
    Negative(Box<Tree>),
    Absolute(Box<Tree>),
    Joined(Box<Tree>, Box<Tree>),
    Compared(&'static str, Box<Tree>, Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
    Not(Box<Tree>),
    IsNull(bool, Box<Tree>),
    In(bool, Box<Tree>, Vec<Tree>),
    Between(bool, Box<Tree>, Box<Tree>, Box<Tree>),
    Like(bool, Box<Tree>, &'static str),
    Case(Vec<(Tree, Tree)>, Option<Box<Tree>>),
    Coalesce(Vec<Tree>),
    Cast(Box<Tree>, Type),
    TryCast(Box<Tree>, Type),
}

/// Numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

const LIKES: &[&str] = &["a%", "%b", "_b%", "%a_c%", "7", "__", "%é%"];
const TEXTS: &[&str] = &["", "a", "abc", "ab", "7", "-12", "99999999999", "x7", "éb", "aXc", "1.5"];

fn value(random: &mut Random, ty: Type) -> Value {
    match ty {
        Int => Value::Whole(random.of(&[0, 1, -1, 2, 3, 7, -40, 1_000, i64::from(i32::MAX), i64::from(i32::MIN)])),
        Long => Value::Whole(random.of(&[0, 1, -1, 2, 5, -7, 100, 1 << 40, (1 << 53) + 1, i64::MAX, i64::MIN])),
        Double => Value::Real(random.of(&[0.0, 0.5, -1.5, 2.0, 7.0, 1e10, -1e300, 1e300, 9.5e18, f64::INFINITY])),
        Text => Value::Text(random.of(TEXTS).to_owned()),
        Bool => Value::Bool(random.one_in(2)),
    }
}

fn literal(random: &mut Random, ty: Type) -> Tree {
    Tree::Literal(match ty {
        Int | Long => Value::Whole(random.of(&[2, 3, 7, 10, -2, -5, 1 << 33])),
        Double => Value::Real(random.of(&[0.25, 2.5, -3.5, 1000.5])),
        Text => Value::Text(random.of(TEXTS).to_owned()),
        Bool => unreachable!("a literal boolean decides what is evaluated at all"),
    })
}

fn column(random: &mut Random, ty: Type) -> Tree {
    let of: Vec<usize> = (0..COLUMNS.len()).filter(|at| COLUMNS[*at].1 == ty).collect();
    Tree::Column(random.of(&of))
}

/// A column, or for a long or double now and then a literal: the right side of something.
fn right(random: &mut Random, ty: Type, depth: u32, safe: bool) -> Tree {
    match ty {
        Long | Double | Text if random.one_in(3) => literal(random, ty),
        _ => tree(random, ty, depth, safe),
    }
}

/// A tree with at least one column; a `safe` one cannot fail.
fn tree(random: &mut Random, ty: Type, depth: u32, safe: bool) -> Tree {
    if depth == 0 || random.one_in(6) {
        return column(random, ty);
    }
    let down = depth - 1;
    let boxed = Box::new;
    match (ty, random.below(8)) {
        // A boolean CASE is rewritten to AND and OR, which look at more of their operands where a condition is null.
        (_, 0) => {
            let safe = safe || ty == Bool;
            let count = 1 + random.below(2);
            let branches = (0..count).map(|_| (tree(random, Bool, down, safe), tree(random, ty, down, safe))).collect();
            let other = (!random.one_in(3)).then(|| boxed(tree(random, ty, down, safe)));
            Tree::Case(branches, other)
        }
        (_, 1) if ty != Bool => Tree::Coalesce(vec![tree(random, ty, down, safe), right(random, ty, down, safe)]),
        (Text, _) => Tree::Joined(boxed(tree(random, Text, down, safe)), boxed(right(random, Text, down, safe))),
        (Int, 2) if !safe => Tree::Cast(boxed(tree(random, random_of_number(random.0), down, safe)), Int),
        (Int, 3) => Tree::TryCast(boxed(tree(random, Text, down, safe)), Int),
        (Long, 2) if !safe => {
            let from = random.of(&[Int, Double, Text]);
            Tree::Cast(boxed(tree(random, from, down, safe)), Long)
        }
        (Long, 3) => Tree::TryCast(boxed(tree(random, Double, down, safe)), Long),
        (Double, 2) => {
            let from = random.of(&[Int, Long]);
            Tree::Cast(boxed(tree(random, from, down, safe)), Double)
        }
        (Int | Long | Double, 4) if !safe => match tree(random, ty, down, safe) {
            Tree::Negative(of) => Tree::Absolute(of),
            of => Tree::Negative(boxed(of)),
        },
        (Int | Long | Double, 5) if !safe => Tree::Absolute(boxed(tree(random, ty, down, safe))),
        (Int | Long | Double, _) if safe => column(random, ty),
        (Int, _) => arithmetic(random, Int, Int, down),
        (Long, kind) => {
            let (left, other) = if kind == 6 { (Int, Long) } else { (Long, random.of(&[Int, Long])) };
            arithmetic(random, left, other, down)
        }
        (Double, kind) => {
            let other = random.of(&[Int, Long, Double]);
            let (left, other) = if kind == 6 { (other, Double) } else { (Double, other) };
            arithmetic(random, left, other, down)
        }
        (Bool, kind) => boolean(random, kind, down, safe),
    }
}

fn random_of_number(seed: u64) -> Type {
    if seed.is_multiple_of(2) { Long } else { Text }
}

fn arithmetic(random: &mut Random, left: Type, other: Type, depth: u32) -> Tree {
    let operator = random.of(&['+', '-', '*', '/', '%']);
    let first = tree(random, left, depth, false);
    let mut second = right(random, other, depth, false);
    // `a - a`, `a / a`: known without evaluating it.
    while text(&first) == text(&second) {
        second = right(random, other, 0, false);
    }
    Tree::Arithmetic(operator, Box::new(first), Box::new(second))
}

fn boolean(random: &mut Random, kind: u64, depth: u32, safe: bool) -> Tree {
    let boxed = Box::new;
    let ty = random.of(&[Int, Long, Double, Text]);
    match kind {
        1 => Tree::Not(boxed(tree(random, Bool, depth, safe))),
        2 => Tree::And(boxed(tree(random, Bool, depth, safe)), boxed(tree(random, Bool, depth, safe))),
        3 => Tree::Or(boxed(tree(random, Bool, depth, safe)), boxed(tree(random, Bool, depth, safe))),
        4 => Tree::IsNull(random.one_in(2), boxed(tree(random, ty, depth.min(1), true))),
        5 if ty != Int => {
            let count = 1 + random.below(5);
            let mut list: Vec<Tree> = (0..count).map(|_| literal(random, ty)).collect();
            if random.one_in(3) {
                list.push(Tree::Literal(Value::Null));
            }
            Tree::In(random.one_in(2), boxed(column(random, ty)), list)
        }
        6 if ty != Int => {
            let (low, high) = (literal(random, ty), right(random, ty, 0, true));
            Tree::Between(random.one_in(2), boxed(column(random, ty)), boxed(low), boxed(high))
        }
        7 => Tree::Like(random.one_in(2), boxed(tree(random, Text, depth.min(1), true)), random.of(LIKES)),
        _ => {
            let other = match ty {
                Text => Text,
                _ => random.of(&[Int, Long, Double]),
            };
            let operator = random.of(&["=", "<>", "<", "<=", ">", ">="]);
            let first = tree(random, ty, depth, safe);
            let mut second = right(random, other, depth, safe);
            let is_decided = |second: &Tree| {
                let is_cast = matches!(first, Tree::Cast(..)) && matches!(second, Tree::Literal(_));
                is_cast || text(&first) == text(second)
            };
            while is_decided(&second) {
                second = right(random, other, 0, safe);
            }
            Tree::Compared(operator, boxed(first), boxed(second))
        }
    }
}

fn word(ty: Type) -> &'static str {
    match ty {
        Int => "int",
        Long => "long",
        Double => "double",
        Text => "string",
        Bool => "boolean",
    }
}

fn text(tree: &Tree) -> String {
    let not = |negated: &bool| if *negated { "not " } else { "" };
    match tree {
        Tree::Column(at) => COLUMNS[*at].0.to_owned(),
        Tree::Literal(Value::Null) => "null".into(),
        Tree::Literal(Value::Whole(value)) => value.to_string(),
        Tree::Literal(Value::Real(value)) => format!("{value:?}"),
        Tree::Literal(Value::Text(value)) => format!("'{value}'"),
        Tree::Literal(Value::Bool(value)) => value.to_string(),
        Tree::Arithmetic(operator, left, right) => format!("({} {operator} {})", text(left), text(right)),
        Tree::Negative(of) => format!("(- {})", text(of)),
        Tree::Absolute(of) => format!("abs({})", text(of)),
        Tree::Joined(left, right) => format!("({} || {})", text(left), text(right)),
        Tree::Compared(operator, left, right) => format!("({} {operator} {})", text(left), text(right)),
        Tree::And(left, right) => format!("({} and {})", text(left), text(right)),
        Tree::Or(left, right) => format!("({} or {})", text(left), text(right)),
        Tree::Not(of) => format!("(not {})", text(of)),
        Tree::IsNull(negated, of) => format!("({} is {}null)", text(of), not(negated)),
        Tree::In(negated, of, list) => {
            let list: Vec<String> = list.iter().map(text).collect();
            format!("({} {}in ({}))", text(of), not(negated), list.join(", "))
        }
        Tree::Between(negated, of, low, high) => {
            format!("({} {}between {} and {})", text(of), not(negated), text(low), text(high))
        }
        Tree::Like(negated, of, pattern) => format!("({} {}like '{pattern}')", text(of), not(negated)),
        Tree::Case(branches, other) => {
            let branches: String =
                branches.iter().map(|(when, then)| format!(" when {} then {}", text(when), text(then))).collect();
            let other = other.as_ref().map_or(String::new(), |other| format!(" else {}", text(other)));
            format!("(case{branches}{other} end)")
        }
        Tree::Coalesce(of) => format!("coalesce({})", of.iter().map(text).collect::<Vec<_>>().join(", ")),
        Tree::Cast(of, ty) => format!("cast({} as {})", text(of), word(*ty)),
        Tree::TryCast(of, ty) => format!("try_cast({} as {})", text(of), word(*ty)),
    }
}

/// The type that SQL gives it; a literal number without a point is a long.
fn type_of(tree: &Tree) -> Type {
    match tree {
        Tree::Column(at) => COLUMNS[*at].1,
        Tree::Literal(Value::Whole(_)) => Long,
        Tree::Literal(Value::Real(_)) => Double,
        Tree::Literal(Value::Text(_)) | Tree::Joined(..) => Text,
        Tree::Arithmetic(_, left, right) => wider(type_of(left), type_of(right)),
        Tree::Negative(of) | Tree::Absolute(of) => type_of(of),
        Tree::Case(branches, other) => {
            let others = other.iter().map(|other| type_of(other));
            branches.iter().map(|(_, then)| type_of(then)).chain(others).reduce(wider).expect("there is a branch")
        }
        Tree::Coalesce(of) => of.iter().map(type_of).reduce(wider).expect("there is an operand"),
        Tree::Cast(_, ty) | Tree::TryCast(_, ty) => *ty,
        _ => Bool,
    }
}

fn wider(left: Type, right: Type) -> Type {
    match (left, right) {
        (Double, _) | (_, Double) => Double,
        (Long, _) | (_, Long) => Long,
        (left, _) => left,
    }
}

/// The row cannot be evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Failed;

fn widened(value: Value, ty: Type) -> Value {
    match value {
        Value::Whole(whole) if ty == Double => Value::Real(whole as f64),
        value => value,
    }
}

fn evaluated(tree: &Tree, row: &[Value]) -> Result<Value, Failed> {
    Ok(match tree {
        Tree::Column(at) => row[*at].clone(),
        Tree::Literal(value) => value.clone(),
        Tree::Arithmetic(operator, left, right) => {
            let ty = type_of(tree);
            let (left, right) = (widened(evaluated(left, row)?, ty), widened(evaluated(right, row)?, ty));
            computed(*operator, ty, left, right)?
        }
        Tree::Negative(of) => match evaluated(of, row)? {
            Value::Whole(value) => in_range(value.checked_neg(), type_of(of))?,
            Value::Real(value) => Value::Real(-value),
            other => other,
        },
        Tree::Absolute(of) => match evaluated(of, row)? {
            Value::Whole(value) => in_range(value.checked_abs(), type_of(of))?,
            Value::Real(value) => Value::Real(value.abs()),
            other => other,
        },
        Tree::Joined(left, right) => match (evaluated(left, row)?, evaluated(right, row)?) {
            (Value::Text(left), Value::Text(right)) => Value::Text(left + &right),
            _ => Value::Null,
        },
        Tree::Compared(operator, left, right) => {
            let ty = wider(type_of(left), type_of(right));
            let (left, right) = (widened(evaluated(left, row)?, ty), widened(evaluated(right, row)?, ty));
            compared(operator, &left, &right)
        }
        Tree::And(left, right) => match evaluated(left, row)? {
            Value::Bool(false) => Value::Bool(false),
            left => match (left, evaluated(right, row)?) {
                (_, Value::Bool(false)) => Value::Bool(false),
                (Value::Null, _) | (_, Value::Null) => Value::Null,
                _ => Value::Bool(true),
            },
        },
        Tree::Or(left, right) => match evaluated(left, row)? {
            Value::Bool(true) => Value::Bool(true),
            left => match (left, evaluated(right, row)?) {
                (_, Value::Bool(true)) => Value::Bool(true),
                (Value::Null, _) | (_, Value::Null) => Value::Null,
                _ => Value::Bool(false),
            },
        },
        Tree::Not(of) => negated(true, evaluated(of, row)?),
        Tree::IsNull(negated, of) => Value::Bool((evaluated(of, row)? == Value::Null) != *negated),
        Tree::In(not, of, list) => {
            let value = evaluated(of, row)?;
            let found: Vec<Value> = list
                .iter()
                .map(|item| Ok(compared("=", &value, &widened(evaluated(item, row)?, type_of(of)))))
                .collect::<Result<_, _>>()?;
            let found = if found.contains(&Value::Bool(true)) {
                Value::Bool(true)
            } else if found.contains(&Value::Null) {
                Value::Null
            } else {
                Value::Bool(false)
            };
            negated(*not, found)
        }
        Tree::Between(not, of, low, high) => {
            let (value, low, high) = (evaluated(of, row)?, evaluated(low, row)?, evaluated(high, row)?);
            let found = match (compared(">=", &value, &low), compared("<=", &value, &high)) {
                (Value::Bool(false), _) | (_, Value::Bool(false)) => Value::Bool(false),
                (Value::Null, _) | (_, Value::Null) => Value::Null,
                _ => Value::Bool(true),
            };
            negated(*not, found)
        }
        Tree::Like(not, of, pattern) => match evaluated(of, row)? {
            Value::Text(value) => {
                let (value, pattern): (Vec<char>, Vec<char>) = (value.chars().collect(), pattern.chars().collect());
                negated(*not, Value::Bool(is_like(&value, &pattern)))
            }
            _ => Value::Null,
        },
        Tree::Case(branches, other) => {
            let ty = type_of(tree);
            for (when, then) in branches {
                if evaluated(when, row)? == Value::Bool(true) {
                    return Ok(widened(evaluated(then, row)?, ty));
                }
            }
            match other {
                Some(other) => widened(evaluated(other, row)?, ty),
                None => Value::Null,
            }
        }
        Tree::Coalesce(of) => {
            for operand in of {
                match evaluated(operand, row)? {
                    Value::Null => {}
                    value => return Ok(widened(value, type_of(tree))),
                }
            }
            Value::Null
        }
        Tree::Cast(of, ty) => cast(evaluated(of, row)?, *ty)?,
        Tree::TryCast(of, ty) => cast(evaluated(of, row)?, *ty).unwrap_or(Value::Null),
    })
}

fn negated(negated: bool, value: Value) -> Value {
    match value {
        Value::Bool(value) => Value::Bool(value != negated),
        other => other,
    }
}

fn in_range(value: Option<i64>, ty: Type) -> Result<Value, Failed> {
    let value = value.ok_or(Failed)?;
    let fits = ty != Int || i32::try_from(value).is_ok();
    if fits { Ok(Value::Whole(value)) } else { Err(Failed) }
}

fn computed(operator: char, ty: Type, left: Value, right: Value) -> Result<Value, Failed> {
    match (left, right) {
        (Value::Whole(left), Value::Whole(right)) => {
            let value = match operator {
                '+' => left.checked_add(right),
                '-' => left.checked_sub(right),
                '*' => left.checked_mul(right),
                '/' => left.checked_div(right),
                // The least number has a remainder by −1 too: 0.
                _ if right == 0 => None,
                _ => Some(left.wrapping_rem(right)),
            };
            in_range(value, ty)
        }
        (Value::Real(left), Value::Real(right)) => Ok(Value::Real(match operator {
            '+' => left + right,
            '-' => left - right,
            '*' => left * right,
            '/' => left / right,
            _ => left % right,
        })),
        _ => Ok(Value::Null),
    }
}

fn compared(operator: &str, left: &Value, right: &Value) -> Value {
    let order = match (left, right) {
        (Value::Whole(left), Value::Whole(right)) => left.cmp(right),
        (Value::Real(left), Value::Real(right)) => left.total_cmp(right),
        (Value::Text(left), Value::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
        _ => return Value::Null,
    };
    Value::Bool(match operator {
        "=" => order.is_eq(),
        "<>" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    })
}

fn is_like(value: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => value.is_empty(),
        ['%', rest @ ..] => (0..=value.len()).any(|at| is_like(&value[at..], rest)),
        ['_', rest @ ..] => !value.is_empty() && is_like(&value[1..], rest),
        [letter, rest @ ..] => value.first() == Some(letter) && is_like(&value[1..], rest),
    }
}

fn cast(value: Value, ty: Type) -> Result<Value, Failed> {
    match (value, ty) {
        (Value::Null, _) => Ok(Value::Null),
        (Value::Whole(value), Double) => Ok(Value::Real(value as f64)),
        (Value::Whole(value), ty) => in_range(Some(value), ty),
        (Value::Real(value), Long) => {
            let whole = value.trunc();
            // 2^63 is a double, the greatest long is not.
            let fits = whole >= i64::MIN as f64 && whole < 9_223_372_036_854_775_808.0;
            if fits { Ok(Value::Whole(whole as i64)) } else { Err(Failed) }
        }
        (Value::Text(value), ty) => in_range(value.parse().ok(), ty),
        (value, ty) => panic!("no test casts {value:?} to {ty:?}"),
    }
}

fn array(ty: Type, values: &[Value]) -> ArrayRef {
    let whole = |value: &Value| if let Value::Whole(value) = value { Some(*value) } else { None };
    match ty {
        Int => Arc::new(values.iter().map(|value| whole(value).map(|value| value as i32)).collect::<Int32Array>()),
        Long => Arc::new(values.iter().map(whole).collect::<Int64Array>()),
        Double => {
            let real = |value: &Value| if let Value::Real(value) = value { Some(*value) } else { None };
            Arc::new(values.iter().map(real).collect::<Float64Array>())
        }
        Text => {
            let text = |value: &Value| if let Value::Text(value) = value { Some(value.clone()) } else { None };
            Arc::new(values.iter().map(text).collect::<StringArray>())
        }
        Bool => {
            let truth = |value: &Value| if let Value::Bool(value) = value { Some(*value) } else { None };
            Arc::new(values.iter().map(truth).collect::<BooleanArray>())
        }
    }
}

fn data_type(ty: Type) -> DataType {
    match ty {
        Int => DataType::Int32,
        Long => DataType::Int64,
        Double => DataType::Float64,
        Text => DataType::Utf8,
        Bool => DataType::Boolean,
    }
}

fn value_at(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Int32 => Value::Whole(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Value::Whole(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::Real(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        other => panic!("no expression here gives {other}"),
    }
}

fn rows(random: &mut Random) -> Vec<Vec<Value>> {
    let cell = |random: &mut Random, (_, ty, nullable): (&str, Type, bool)| match nullable && random.one_in(3) {
        true => Value::Null,
        false => value(random, ty),
    };
    (0..ROWS).map(|_| COLUMNS.iter().map(|column| cell(random, *column)).collect()).collect()
}

fn batch(rows: &[Vec<Value>]) -> RecordBatch {
    let fields: Vec<Field> =
        COLUMNS.iter().map(|(name, ty, nullable)| Field::new(*name, data_type(*ty), *nullable)).collect();
    let column = |at: usize| array(COLUMNS[at].1, &rows.iter().map(|row| row[at].clone()).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), (0..COLUMNS.len()).map(column).collect()).unwrap()
}

/// Bits, so that NaN is itself and −0 is not 0.
fn same(left: &Result<Value, Failed>, right: &Result<Value, Failed>) -> bool {
    match (left, right) {
        (Ok(Value::Real(left)), Ok(Value::Real(right))) => {
            left.to_bits() == right.to_bits() || (left.is_nan() && right.is_nan())
        }
        (left, right) => left == right,
    }
}

/// One seed: an expression over random rows, all at once and in two parts. What went wrong, if anything did.
fn judged(seed: u64, failed: &mut usize) -> Option<String> {
    let mut random = Random(seed);
    let rows = rows(&mut random);
    let ty = random.of(&[Int, Long, Double, Text, Bool, Bool]);
    let tree = tree(&mut random, ty, DEPTH_MAX, false);
    let text = text(&tree);
    let batch = batch(&rows);
    let scalar = match Scalar::compile(&text, &batch.schema()) {
        Ok(scalar) => scalar,
        Err(error) => return Some(format!("seed {seed}: `{text}` is refused: {}", error.message)),
    };
    if scalar.data_type() != &data_type(type_of(&tree)) {
        return Some(format!("seed {seed}: `{text}` is {}", scalar.data_type()));
    }
    let cut = random.below(ROWS as u64) as usize;
    for (start, count) in [(0, ROWS), (0, cut), (cut, ROWS - cut)] {
        let (array, errors) = scalar.evaluate(&batch.slice(start, count), At { clock: 0 }).unwrap();
        for at in 0..count {
            let error = errors.iter().find(|error| error.row == at);
            let ours = if error.is_some() { Err(Failed) } else { Ok(value_at(&array, at)) };
            let naive = evaluated(&tree, &rows[start + at]);
            *failed += usize::from(naive.is_err());
            if !same(&ours, &naive) {
                let row: Vec<String> = COLUMNS
                    .iter()
                    .zip(&rows[start + at])
                    .map(|((name, ..), value)| format!("{name}: {value:?}"))
                    .collect();
                return Some(format!(
                    "seed {seed}: `{text}` gives {ours:?} ({error:?}), not {naive:?}, of {}",
                    row.join(", ")
                ));
            }
        }
    }
    None
}

#[test]
fn columns_give_what_a_naive_evaluation_of_each_row_gives() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("RUNNER_EXPRESSION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RUNNER_EXPRESSION_SEEDS").unwrap_or(SEEDS),
    };
    let several = seeds.end - seeds.start > 1;
    let mut failed = 0;
    let wrong: Vec<String> = seeds.filter_map(|seed| judged(seed, &mut failed)).take(20).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(failed > 0 || !several, "no row of any expression fails: errors were not compared");
}
