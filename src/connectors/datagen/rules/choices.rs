//! Rules that choose among values: `options`, `reference`, `zipf`, `nulls`.

use arrow::array::{Array, ArrayRef};
use serde_json::{Map, Value as Json};

use super::super::bounds::{self, java_class};
use super::super::constants::{self, Written};
use super::super::files;
use super::super::kinds::{Kind, Number, Text, TextBody};
use super::super::pick::{Pick, SKEWED_MAX};
use super::super::types;
use super::{RULES, Reader};
use crate::registry::avro::Type;

impl<'a> Reader<'a> {
    /// The values to choose from: written out, or in a file.
    pub(super) fn options(&mut self, options: &Json, ty: &Type) -> Option<ArrayRef> {
        let (values, written) = match options {
            Json::Array(options) if options.is_empty() => {
                return self.rule_problem("options property cannot be empty");
            }
            Json::Array(options) => (options.clone(), Written::InSchema),
            Json::Object(file) => match files::read(file, self.world.folder, self.schema, ty) {
                Ok(values) => {
                    self.contents.push(Json::from(values.clone()).to_string());
                    (values, Written::InFile)
                }
                Err(why) => return self.rule_problem(why),
            },
            other => {
                let class = java_class(other);
                return self.rule_problem(format!("options prop must be an array or an object, was {class} instead"));
            }
        };
        let values: Vec<Option<&Json>> = values.iter().map(Some).collect();
        let data_type = types::data_type(self.schema, ty).map_err(|problem| self.problems.push(problem)).ok()?;
        constants::array(self.schema, ty, &data_type, &values, written)
            .or_else(|why| self.rule_problem(why).ok_or(()))
            .ok()
    }

    /// Which of so many values.
    pub(super) fn pick(&mut self, rules: &Map<String, Json>, count: u64) -> Option<Pick> {
        let Some(exponent) = rules.get("zipf") else { return Some(Pick::Even) };
        match exponent.as_f64().filter(|exponent| *exponent > 0.0 && *exponent <= 100.0) {
            Some(_) if count > SKEWED_MAX => {
                self.rule_problem(format!("zipf chooses among at most {SKEWED_MAX} values; these are {count}"))
            }
            Some(exponent) => Some(Pick::zipf(count, exponent)),
            None => self.rule_problem("zipf property must be a number above 0, such as 1"),
        }
    }

    /// The values of another generator's column.
    pub(super) fn reference(&mut self, reference: &Json, rules: &Map<String, Json>, ty: &Type) -> Option<Kind> {
        let Some(name) = reference.as_str() else {
            return self.rule_problem("reference property must be a source and its column, such as `users.id`");
        };
        let Some(keys) = self.world.keys else { return Some(Kind::Null) };
        let mut known = match keys(name) {
            Ok(known) => known,
            Err(why) => return self.rule_problem(why),
        };
        let data_type = types::data_type(self.schema, ty).map_err(|problem| self.problems.push(problem)).ok()?;
        if *known.field.data_type() != data_type {
            let theirs = known.field.data_type();
            return self.rule_problem(format!("`{name}` is another type: {theirs} there, {data_type} here"));
        }
        let keys = match known.kind {
            Kind::Options(values, _) => {
                let pick = self.pick(rules, values.len() as u64)?;
                return Some(Kind::Options(values, pick));
            }
            Kind::Int(Number::Key(ref mut keys)) | Kind::Long(Number::Key(ref mut keys)) => keys,
            Kind::Text(Text { body: TextBody::Key(ref mut keys), .. }) => keys,
            _ => return self.rule_problem(format!("`{name}` has no values that can be known")),
        };
        keys.pick = self.pick(rules, keys.count)?;
        Some(known.kind)
    }

    /// How often a nullable type is null; the outer `None` is a problem, the inner one half of the time.
    #[expect(clippy::option_option, reason = "a problem, nothing, something")]
    pub(super) fn nulls(&mut self, ty: &'a Type) -> Option<Option<f64>> {
        let properties = match ty {
            Type::Primitive { properties, .. } | Type::Array { properties, .. } | Type::Map { properties, .. } => {
                properties
            }
            Type::Definition(name) | Type::Reference(name) => &self.schema.named[name].properties,
            Type::Union(_) => return Some(None),
        };
        let Some(nulls) = properties.get(RULES).and_then(|rules| rules.get("nulls")) else { return Some(None) };
        match bounds::share("nulls", nulls) {
            Ok(odds) => Some(Some(odds)),
            Err(why) => self.rule_problem(why),
        }
    }
}
