//! From an Avro schema with rules (`arg.properties`) to a tree of columns that can be generated.
//!
//! Everything that can be wrong with a rule is found here, when the plan is made; the genuine
//! generator finds it at the first record. Sentences are the genuine ones where it has one. Where it
//! silently ignores a rule, so do we, with a warning. A value that it would refuse
//! although it is plain what is meant (an integer among the options of a double) is taken.
//!
//! Rules of ours, which it does not have, are `now`, `late`, `nulls`, `zipf` and `reference`.

mod choices;
mod numbers;
mod texts;

use std::collections::HashMap;
use std::path::Path;

use arrow::array::Array;
use arrow::datatypes::Field;
use serde_json::{Map, Value as Json};

use self::numbers::now_parts;
use super::bounds::java_class;
use super::iteration::Iteration;
use super::kinds::{Column, Kind, Rules};
use super::types::{self, is_null, only_branch};
use crate::registry::avro::{Named, NamedKind, Primitive, Properties, Schema, Type};
use crate::report::Severity;

/// Where rules stand on a type.
pub const RULES: &str = "arg.properties";
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

/// What rules may refer to beside their own schema.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Where relative paths of options files begin.
    pub folder: &'a Path,
    /// The values that `users.id`, a column of another generator, has; or why there are none. `None`: nobody asks,
    /// and references are left open.
    pub keys: Option<Keys<'a>>,
}

/// Finds the values of another generator's column.
pub type Keys<'a> = &'a dyn Fn(&str) -> Result<Column, String>;

impl Rules {
    /// Reads the rules of a schema: what can be generated, if anything, and all that is wrong.
    pub fn read(schema: &Schema, world: World<'_>) -> (Option<Rules>, Vec<Problem>) {
        let is_record = matches!(schema.definition(&schema.root), Some(Named { kind: NamedKind::Record { .. }, .. }));
        if !is_record {
            let message = "a generated schema must be a record at the top".to_string();
            return (None, vec![Problem::error(&[], "datagen.not_a_record", message)]);
        }
        let field = match types::field(schema, "", &schema.root) {
            Ok(field) => field,
            Err(problem) => return (None, vec![problem]),
        };
        let mut reader = Reader {
            schema,
            world,
            iterations: Vec::new(),
            contents: Vec::new(),
            problems: Vec::new(),
            path: Vec::new(),
            named: HashMap::new(),
        };
        let kind = reader.kind(&schema.root);
        let good = reader.problems.iter().all(|problem| problem.severity == Severity::Warning);
        let rules = kind.filter(|_| good).map(|kind| Rules {
            root: Column { field, kind },
            iterations: reader.iterations,
            contents: reader.contents,
        });
        (rules, reader.problems)
    }
}

impl Problem {
    pub fn error(path: &[String], code: &'static str, message: String) -> Self {
        Problem { severity: Severity::Error, path: path.to_vec(), code, message }
    }
}

struct Reader<'a> {
    schema: &'a Schema,
    world: World<'a>,
    iterations: Vec<Iteration>,
    contents: Vec<String>,
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
                    let (length, keys) = (reader.length(rules), reader.map_keys(rules));
                    let values = reader.column("value", values);
                    Some(Kind::Map(length?, keys?, Box::new(values?)))
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
        if let Some(other) = only_branch(branches) {
            if branches.len() == 1 {
                return Some(Kind::Alone(Box::new(self.kind(other)?)));
            }
            let (odds, inner) = (self.nulls(other), self.kind(other));
            return Some(Kind::Nullable { null_first: is_null(&branches[0]), odds: odds?, inner: Box::new(inner?) });
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
            NamedKind::Fixed { size } => self.ruled(rules, ty, "FIXED", |reader| match reader.decimal(rules, ty) {
                Some(decimal) => decimal,
                None => Some(Kind::Fixed(*size)),
            }),
        }
    }

    fn primitive(&mut self, ty: &'a Type, kind: Primitive, properties: &'a Properties) -> Option<Kind> {
        let rules = self.rules(properties)?;
        match kind {
            Primitive::Null => Some(Kind::Null),
            Primitive::Boolean => self.ruled(rules, ty, "BOOLEAN", |reader| reader.boolean(rules)),
            Primitive::Int => self.ruled(rules, ty, "INT", |reader| {
                let kind = reader.int(rules)?;
                reader.late(rules, None, kind)
            }),
            Primitive::Long => {
                let parts = types::data_type(self.schema, ty).ok().and_then(|data_type| now_parts(&data_type));
                self.ruled(rules, ty, "LONG", |reader| {
                    let kind = reader.long(rules, parts)?;
                    reader.late(rules, parts, kind)
                })
            }
            Primitive::Float => self.ruled(rules, ty, "FLOAT", |reader| reader.float(rules)),
            Primitive::Double => self.ruled(rules, ty, "DOUBLE", |reader| reader.double(rules)),
            Primitive::String => self.ruled(rules, ty, "STRING", |reader| reader.text(rules)),
            Primitive::Bytes => self.ruled(rules, ty, "BYTES", |reader| match reader.decimal(rules, ty) {
                Some(decimal) => decimal,
                None => reader.length(rules).map(Kind::Bytes),
            }),
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

    /// `reference`, `options` and `iteration` go before a type's own rule.
    fn ruled(
        &mut self,
        rules: Option<&'a Map<String, Json>>,
        ty: &'a Type,
        type_name: &str,
        own: impl FnOnce(&mut Self) -> Option<Kind>,
    ) -> Option<Kind> {
        let Some(rules) = rules else { return own(self) };
        for key in rules.keys().filter(|key| !meaningful(key, type_name)) {
            self.warning(format!("`{key}` has no meaning for a {type_name} schema and is ignored"));
        }
        self.exclusive(rules)?;
        if let Some(reference) = rules.get("reference") {
            return self.reference(reference, rules, ty);
        }
        if let Some(options) = rules.get("options") {
            let values = self.options(options, ty)?;
            let pick = self.pick(rules, values.len() as u64)?;
            return Some(Kind::Options(values, pick));
        }
        let counted = ["BOOLEAN", "INT", "LONG", "FLOAT", "DOUBLE", "STRING"];
        if rules.contains_key("iteration") && !counted.contains(&type_name) {
            return self.rule_problem(format!(
                "iteration property can only be specified on numeric, boolean or string schemas, not {type_name} schema"
            ));
        }
        own(self)
    }

    /// Rules of which one makes another meaningless.
    fn exclusive(&mut self, rules: &Map<String, Json>) -> Option<()> {
        for (first, others) in [
            ("reference", &["options", "length", "regex", "iteration", "range"][..]),
            ("options", &["length", "regex", "iteration", "range"]),
            ("iteration", &["length", "regex", "options", "range"]),
        ] {
            if rules.contains_key(first)
                && let Some(other) = others.iter().find(|other| rules.contains_key(**other))
            {
                return self.rule_problem(format!("Cannot specify {other} prop when {first} prop is given"));
            }
        }
        Some(())
    }
}

/// True if a rule of this name changes values of this type.
fn meaningful(rule: &str, type_name: &str) -> bool {
    match rule {
        "options" | "zipf" | "reference" | "nulls" => true,
        // On other types it is an error, not ignored.
        "iteration" => true,
        "odds" => type_name == "BOOLEAN",
        "range" => ["INT", "LONG", "FLOAT", "DOUBLE", "BYTES", "FIXED"].contains(&type_name),
        "length" => ["STRING", "BYTES", "ARRAY", "MAP"].contains(&type_name),
        "regex" | "prefix" | "suffix" => type_name == "STRING",
        "keys" => type_name == "MAP",
        "late" => ["INT", "LONG"].contains(&type_name),
        "now" => type_name == "LONG",
        _ => false,
    }
}
