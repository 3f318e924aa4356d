//! From an Avro schema with rules (`arg.properties`) to a tree of columns that can be generated.
//!
//! Everything that can be wrong with a rule is found here, when the plan is made; the genuine
//! generator finds it at the first record. Sentences are the genuine ones where it has one. Where it
//! silently ignores a rule, so do we, with a warning. A value that it would refuse
//! although it is plain what is meant (an integer among the options of a double) is taken.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, TimeUnit};
use serde_json::{Map, Value as Json};

use super::constants;
use super::iteration::{Counted, Iteration};
use super::types::{self, is_null, nullable};
use crate::registry::avro::{Named, NamedKind, Primitive, Properties, Schema, Type};
use crate::report::Severity;

/// Where rules stand on a type.
pub const RULES: &str = "arg.properties";
/// Text and lists longer than this are surely not meant.
const LENGTH_MAX: i64 = 1 << 24;

/// A schema that can be generated.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The top record.
    pub root: Column,
    /// Counters, by the index that [`Kind`]s have.
    pub iterations: Vec<Iteration>,
}

/// Something wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    /// Names of fields from the top.
    pub path: Vec<String>,
    /// `datagen.what`.
    pub code: &'static str,
    pub message: String,
}

/// One column, or the inside of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub field: Field,
    pub kind: Kind,
}

/// How the values of a column are made.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Null,
    /// One of these values, each equally likely.
    Options(ArrayRef),
    Boolean(Truth),
    /// Int32 and its logical types.
    Int(Number<i32>),
    /// Int64 and its logical types.
    Long(Number<i64>),
    Float(Number<f32>),
    Double(Number<f64>),
    Text(Text),
    Bytes(Length),
    Fixed(usize),
    Enum(Arc<[String]>),
    Array(Length, Box<Column>),
    Map(Length, Box<Column>),
    Record(Vec<Column>),
    /// A union of null and one other.
    Nullable {
        null_first: bool,
        inner: Box<Kind>,
    },
    /// Any other union.
    Union(Vec<Column>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Truth {
    Even,
    /// True this often.
    Odds(f64),
    Counter(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number<T> {
    Any,
    /// min ≤ x < max.
    Range(T, T),
    Counter(usize),
    /// The epoch's clock, in this many parts of a millisecond.
    Now(i64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    pub prefix: String,
    pub suffix: String,
    pub body: TextBody,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TextBody {
    /// ASCII characters, this many.
    Random(Length),
    Counter(usize),
}

/// `min` + a draw below `spread`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    pub min: i32,
    pub spread: i32,
}

impl Length {
    const DEFAULT: Length = Length { min: 8, spread: 8 };

    fn max(self) -> u64 {
        self.min as u64 + self.spread as u64
    }
}

impl Rules {
    /// Reads the rules of a schema: what can be generated, if anything, and all that is wrong.
    pub fn read(schema: &Schema) -> (Option<Rules>, Vec<Problem>) {
        let is_record = matches!(schema.definition(&schema.root), Some(Named { kind: NamedKind::Record { .. }, .. }));
        if !is_record {
            let message = "a generated schema must be a record at the top".to_string();
            return (None, vec![Problem::error(&[], "datagen.not_a_record", message)]);
        }
        let field = match types::field(schema, "", &schema.root) {
            Ok(field) => field,
            Err(problem) => return (None, vec![problem]),
        };
        let mut reader =
            Reader { schema, iterations: Vec::new(), problems: Vec::new(), path: Vec::new(), named: HashMap::new() };
        let kind = reader.kind(&schema.root);
        let good = reader.problems.iter().all(|problem| problem.severity == Severity::Warning);
        let rules =
            kind.filter(|_| good).map(|kind| Rules { root: Column { field, kind }, iterations: reader.iterations });
        (rules, reader.problems)
    }
}

impl Problem {
    pub fn error(path: &[String], code: &'static str, message: String) -> Self {
        Problem { severity: Severity::Error, path: path.to_vec(), code, message }
    }
}

impl Column {
    /// A bound for the bytes of one value, for the size of batches.
    pub fn bytes_max(&self) -> u64 {
        self.kind.bytes_max()
    }
}

impl Kind {
    fn bytes_max(&self) -> u64 {
        let all = |columns: &[Column]| columns.iter().map(Column::bytes_max).fold(0, u64::saturating_add);
        match self {
            Kind::Options(values) => values.get_array_memory_size() as u64,
            Kind::Text(text) => match text.body {
                TextBody::Random(length) => length.max() + (text.prefix.len() + text.suffix.len()) as u64,
                TextBody::Counter(_) => (20 + text.prefix.len() + text.suffix.len()) as u64,
            },
            Kind::Bytes(length) => length.max(),
            Kind::Fixed(size) => *size as u64,
            Kind::Array(length, items) => length.max().saturating_mul(items.bytes_max().saturating_add(4)),
            Kind::Map(length, values) => length.max().saturating_mul(values.bytes_max().saturating_add(16)),
            Kind::Record(columns) | Kind::Union(columns) => all(columns),
            Kind::Nullable { inner, .. } => inner.bytes_max(),
            _ => 8,
        }
    }
}

struct Reader<'a> {
    schema: &'a Schema,
    iterations: Vec<Iteration>,
    problems: Vec<Problem>,
    path: Vec<String>,
    /// Named types that were read: a second use shares the counters of the first.
    named: HashMap<&'a str, Kind>,
}

impl<'a> Reader<'a> {
    fn problem(&mut self, code: &'static str, message: impl Into<String>) {
        self.problems.push(Problem::error(&self.path, code, message.into()));
    }

    fn rule_problem<T>(&mut self, message: impl Into<String>) -> Option<T> {
        self.problem("datagen.rule", message);
        None
    }

    fn not_available<T>(&mut self, message: &str) -> Option<T> {
        self.problem("spec.not_available", message);
        None
    }

    fn warning(&mut self, message: impl Into<String>) {
        let problem = Problem::error(&self.path, "datagen.rule", message.into());
        self.problems.push(Problem { severity: Severity::Warning, ..problem });
    }

    fn column(&mut self, name: &str, ty: &'a Type) -> Option<Column> {
        let kind = self.kind(ty)?;
        let field = types::field(self.schema, name, ty).map_err(|problem| self.problems.push(problem)).ok()?;
        Some(Column { field, kind })
    }

    fn kind(&mut self, ty: &'a Type) -> Option<Kind> {
        match ty {
            Type::Primitive { kind, properties } => self.primitive(ty, *kind, properties),
            Type::Array { items, properties } => {
                let rules = self.rules(properties)?;
                self.ruled(rules, ty, "ARRAY", |reader| {
                    let (length, items) = (reader.length(rules), reader.column(Field::LIST_FIELD_DEFAULT_NAME, items));
                    Some(Kind::Array(length?, Box::new(items?)))
                })
            }
            Type::Map { values, properties } => {
                let rules = self.rules(properties)?;
                self.ruled(rules, ty, "MAP", |reader| {
                    if rules.is_some_and(|rules| rules.contains_key("keys")) {
                        return reader.not_available("the rule `keys` of maps is not available yet");
                    }
                    let (length, values) = (reader.length(rules), reader.column("value", values));
                    Some(Kind::Map(length?, Box::new(values?)))
                })
            }
            Type::Union(branches) => self.union(branches),
            Type::Definition(name) | Type::Reference(name) => {
                if let Some(known) = self.named.get(name.as_str()) {
                    return Some(known.clone());
                }
                let kind = self.named(ty, &self.schema.named[name])?;
                self.named.insert(name, kind.clone());
                Some(kind)
            }
        }
    }

    fn union(&mut self, branches: &'a [Type]) -> Option<Kind> {
        if let Some(other) = nullable(branches) {
            let inner = Box::new(self.kind(other)?);
            return Some(Kind::Nullable { null_first: is_null(&branches[0]), inner });
        }
        if branches.is_empty() {
            return self.rule_problem("a union without branches has no value");
        }
        let columns: Vec<Option<Column>> = branches.iter().map(|branch| self.column("", branch)).collect();
        Some(Kind::Union(columns.into_iter().collect::<Option<_>>()?))
    }

    fn named(&mut self, ty: &'a Type, named: &'a Named) -> Option<Kind> {
        let rules = self.rules(&named.properties)?;
        match &named.kind {
            NamedKind::Record { fields } => self.ruled(rules, ty, "RECORD", |reader| {
                let mut columns = Vec::with_capacity(fields.len());
                for field in fields {
                    reader.path.push(field.name.clone());
                    if field.properties.contains_key(RULES) {
                        reader.warning(format!("`{RULES}` beside a field's name is ignored; put it on the type"));
                    }
                    columns.push(reader.column(&field.name, &field.ty));
                    reader.path.pop();
                }
                Some(Kind::Record(columns.into_iter().collect::<Option<_>>()?))
            }),
            NamedKind::Enum { symbols, .. } => self.ruled(rules, ty, "ENUM", |reader| {
                if symbols.is_empty() {
                    return reader.rule_problem("an enum without symbols has no value");
                }
                Some(Kind::Enum(symbols.as_slice().into()))
            }),
            NamedKind::Fixed { size } => self.ruled(rules, ty, "FIXED", |_| Some(Kind::Fixed(*size))),
        }
    }

    fn primitive(&mut self, ty: &'a Type, kind: Primitive, properties: &'a Properties) -> Option<Kind> {
        let rules = self.rules(properties)?;
        match kind {
            Primitive::Null => Some(Kind::Null),
            Primitive::Boolean => self.ruled(rules, ty, "BOOLEAN", |reader| reader.boolean(rules)),
            Primitive::Int => self.ruled(rules, ty, "INT", |reader| reader.int(rules)),
            Primitive::Long => {
                let parts = types::data_type(self.schema, ty).ok().and_then(|data_type| now_parts(&data_type));
                self.ruled(rules, ty, "LONG", |reader| reader.long(rules, parts))
            }
            Primitive::Float => self.ruled(rules, ty, "FLOAT", |reader| reader.float(rules)),
            Primitive::Double => self.ruled(rules, ty, "DOUBLE", |reader| reader.double(rules)),
            Primitive::String => self.ruled(rules, ty, "STRING", |reader| reader.text(rules)),
            Primitive::Bytes => self.ruled(rules, ty, "BYTES", |reader| reader.length(rules).map(Kind::Bytes)),
        }
    }

    /// The rules of a type; the outer `None` is a problem, the inner one no rules.
    #[expect(clippy::option_option, reason = "a problem, nothing, something")]
    fn rules(&mut self, properties: &'a Properties) -> Option<Option<&'a Map<String, Json>>> {
        match properties.get(RULES) {
            None => Some(None),
            Some(Json::Object(rules)) => Some(Some(rules)),
            Some(other) => {
                let class = java_class(other);
                self.rule_problem(format!("{RULES} property must be given as object, was {class} instead"))
            }
        }
    }

    /// `options` and `iteration` go before a type's own rule.
    fn ruled(
        &mut self,
        rules: Option<&'a Map<String, Json>>,
        ty: &'a Type,
        type_name: &str,
        own: impl FnOnce(&mut Self) -> Option<Kind>,
    ) -> Option<Kind> {
        let Some(rules) = rules else { return own(self) };
        for (first, others) in [
            ("options", ["length", "regex", "iteration", "range"]),
            ("iteration", ["length", "regex", "options", "range"]),
        ] {
            if rules.contains_key(first)
                && let Some(other) = others.into_iter().find(|other| rules.contains_key(*other))
            {
                return self.rule_problem(format!("Cannot specify {other} prop when {first} prop is given"));
            }
        }
        if let Some(options) = rules.get("options") {
            return self.options(options, ty);
        }
        let counted = ["BOOLEAN", "INT", "LONG", "FLOAT", "DOUBLE", "STRING"];
        if rules.contains_key("iteration") && !counted.contains(&type_name) {
            return self.rule_problem(format!(
                "iteration property can only be specified on numeric, boolean or string schemas, not {type_name} schema"
            ));
        }
        own(self)
    }

    fn options(&mut self, options: &'a Json, ty: &'a Type) -> Option<Kind> {
        let options = match options {
            Json::Array(options) if options.is_empty() => {
                return self.rule_problem("options property cannot be empty");
            }
            Json::Array(options) => options,
            Json::Object(_) => {
                return self.not_available("options from a file are not available yet");
            }
            other => {
                let class = java_class(other);
                return self.rule_problem(format!("options prop must be an array or an object, was {class} instead"));
            }
        };
        let options: Vec<Option<&Json>> = options.iter().map(Some).collect();
        let data_type = types::data_type(self.schema, ty).map_err(|problem| self.problems.push(problem)).ok()?;
        match constants::array(self.schema, ty, &data_type, &options) {
            Ok(values) => Some(Kind::Options(values)),
            Err(why) => self.rule_problem(why),
        }
    }

    /// The index of the rule's counter; `None` without one, or if it is wrong (a problem then).
    fn counter(&mut self, rules: Option<&'a Map<String, Json>>, counted: Counted) -> Counter {
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

    fn boolean(&mut self, rules: Option<&'a Map<String, Json>>) -> Option<Kind> {
        let truth = match (self.counter(rules, Counted::Boolean), rules.and_then(|rules| rules.get("odds"))) {
            (Counter::Wrong, _) => return None,
            (Counter::At(index), _) => Truth::Counter(index),
            (Counter::None, None) => Truth::Even,
            (Counter::None, Some(odds)) => match odds.as_f64() {
                Some(odds) if (0.0..=1.0).contains(&odds) => Truth::Odds(odds),
                _ => return self.rule_problem("odds property must be a number between 0.0 and 1.0"),
            },
        };
        Some(Kind::Boolean(truth))
    }

    fn int(&mut self, rules: Option<&'a Map<String, Json>>) -> Option<Kind> {
        let number = match self.counter(rules, Counted::Int) {
            Counter::Wrong => return None,
            Counter::At(index) => Number::Counter(index),
            Counter::None => match self.range(rules, whole_bound::<i32>("int"))? {
                None => Number::Any,
                Some((min, max)) => self.ordered(min.unwrap_or(i32::MIN), max.unwrap_or(i32::MAX))?,
            },
        };
        Some(Kind::Int(number))
    }

    /// `unit`: parts of a millisecond, if this is a timestamp. `now` is a rule of ours.
    fn long(&mut self, rules: Option<&'a Map<String, Json>>, unit: Option<i64>) -> Option<Kind> {
        if let (Some(Json::Bool(true)), Some(parts)) = (rules.and_then(|rules| rules.get("now")), unit) {
            return Some(Kind::Long(Number::Now(parts)));
        }
        let number = match self.counter(rules, Counted::Long) {
            Counter::Wrong => return None,
            Counter::At(index) => Number::Counter(index),
            Counter::None => match self.range(rules, whole_bound::<i64>("long"))? {
                None => Number::Any,
                Some((min, max)) => self.ordered(min.unwrap_or(i64::MIN), max.unwrap_or(i64::MAX))?,
            },
        };
        Some(Kind::Long(number))
    }

    fn float(&mut self, rules: Option<&'a Map<String, Json>>) -> Option<Kind> {
        let number = match self.counter(rules, Counted::Float) {
            Counter::Wrong => return None,
            Counter::At(index) => Number::Counter(index),
            Counter::None => match self.range(rules, float_bound)? {
                None => Number::Any,
                Some((min, max)) => self.ordered(min.unwrap_or(f32::MIN), max.unwrap_or(f32::MAX))?,
            },
        };
        Some(Kind::Float(number))
    }

    fn double(&mut self, rules: Option<&'a Map<String, Json>>) -> Option<Kind> {
        if rules.and_then(|rules| rules.get("range")).is_some_and(|range| !range.is_object()) {
            return self.rule_problem("range property must be an object");
        }
        let number = match self.counter(rules, Counted::Double) {
            Counter::Wrong => return None,
            Counter::At(index) => Number::Counter(index),
            Counter::None => match self.range(rules, double_bound)? {
                None => Number::Any,
                Some((min, max)) => self.ordered(min.unwrap_or(f64::MIN), max.unwrap_or(f64::MAX))?,
            },
        };
        Some(Kind::Double(number))
    }

    /// Both bounds as written; the outer `None` is a problem, the inner one no range.
    fn range<T>(
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

    fn ordered<T: PartialOrd>(&mut self, min: T, max: T) -> Option<Number<T>> {
        if min < max {
            return Some(Number::Range(min, max));
        }
        self.rule_problem("'min' field must be strictly less than 'max' field in range property")
    }

    fn text(&mut self, rules: Option<&'a Map<String, Json>>) -> Option<Kind> {
        let mut affix = |key: &str| match rules.and_then(|rules| rules.get(key)) {
            None => Some(String::new()),
            Some(Json::String(text)) => Some(text.clone()),
            Some(_) => self.rule_problem(format!("{key} property must be a string")),
        };
        let (prefix, suffix) = (affix("prefix"), affix("suffix"));
        let body = match self.counter(rules, Counted::Int) {
            Counter::Wrong => return None,
            Counter::At(index) => TextBody::Counter(index),
            Counter::None if rules.is_some_and(|rules| rules.contains_key("regex")) => {
                return self.not_available("the rule `regex` is not available yet");
            }
            Counter::None => TextBody::Random(self.length(rules)?),
        };
        Some(Kind::Text(Text { prefix: prefix?, suffix: suffix?, body }))
    }

    fn length(&mut self, rules: Option<&'a Map<String, Json>>) -> Option<Length> {
        let Some(rule) = rules.and_then(|rules| rules.get("length")) else { return Some(Length::DEFAULT) };
        let (min, max) = match length_bounds(rule) {
            Ok(bounds) => bounds,
            Err(why) => return self.rule_problem(why),
        };
        if max > LENGTH_MAX {
            return self.rule_problem(format!("a length of up to {max} is too long; the most is {LENGTH_MAX}"));
        }
        Some(Length { min: min as i32, spread: (max - min) as i32 })
    }
}

enum Counter {
    None,
    At(usize),
    Wrong,
}

/// min ≤ length < max.
fn length_bounds(rule: &Json) -> Result<(i64, i64), String> {
    if let Some(exactly) = rule.as_i64() {
        if exactly < 0 {
            return Err("when given as integral number, length property cannot be negative".into());
        }
        return Ok((exactly, exactly.saturating_add(1)));
    }
    let Json::Object(object) = rule else {
        let class = java_class(rule);
        return Err(format!("length property must either be an integral number or an object, was {class} instead"));
    };
    let number = |key: &str| match object.get(key) {
        None => Ok(None),
        Some(json) => json.as_i64().map(Some).ok_or_else(|| {
            format!("{key} field of length property must be an integral number, was {} instead", java_class(json))
        }),
    };
    let (min, max) = (number("min")?, number("max")?);
    match (min, max) {
        (None, None) => {
            Err("length property must contain at least one of 'min' or 'max' fields when given as object".into())
        }
        (Some(min), _) if min < 0 => Err("min field of length property cannot be negative".into()),
        (_, None) => Err("length property needs a 'max' field, or values of 2 GiB would be made".into()),
        (min, Some(max)) if max <= min.unwrap_or(0) => {
            Err("max field must be strictly greater than min field for length property".into())
        }
        (min, Some(max)) => Ok((min.unwrap_or(0), max)),
    }
}

fn whole_bound<T: TryFrom<i64>>(type_name: &'static str) -> impl Fn(&str, &Json) -> Result<T, String> {
    move |key, json| {
        if !json.is_i64() && !json.is_u64() {
            let class = java_class(json);
            return Err(format!("'{key}' field of range property must be an integral number, was {class} instead"));
        }
        json.as_i64().and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            format!("'{key}' field of range property must be a valid {type_name} for {type_name} schemas")
        })
    }
}

fn double_bound(key: &str, json: &Json) -> Result<f64, String> {
    json.as_f64()
        .ok_or_else(|| format!("'{key}' field of range property must be a number, was {} instead", java_class(json)))
}

fn float_bound(key: &str, json: &Json) -> Result<f32, String> {
    let number = double_bound(key, json)? as f32;
    if number.is_finite() {
        return Ok(number);
    }
    Err(format!("'{key}' field of range property must be a valid float for float schemas"))
}

fn now_parts(data_type: &DataType) -> Option<i64> {
    match data_type {
        DataType::Timestamp(TimeUnit::Millisecond, _) => Some(1),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(1_000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(1_000_000),
        _ => None,
    }
}

/// What the genuine messages call a JSON value.
pub fn java_class(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "java.lang.Boolean",
        Json::Number(number) => match number.as_i64() {
            Some(number) if i32::try_from(number).is_ok() => "java.lang.Integer",
            Some(_) => "java.lang.Long",
            None if number.is_u64() => "java.math.BigInteger",
            None => "java.lang.Double",
        },
        Json::String(_) => "java.lang.String",
        Json::Array(_) => "java.util.ArrayList",
        Json::Object(_) => "java.util.LinkedHashMap",
    }
}
