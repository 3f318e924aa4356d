//! Whether the columns, fields and functions of a syntax tree exist.
//!
//! Done on the tree, where every name has its place in the text, before DataFusion sees it. Types are
//! looked at in `plan`.

use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion_sql::sqlparser::ast::{
    AccessExpr, Expr as Ast, Function, FunctionArguments, Ident, Query, Subscript, Value, ValueWithSpan, VisitMut,
    VisitorMut,
};

use super::error::ExprError;
use super::functions::{self, AGGREGATES};
use super::names::{bytes, span_of};
use super::types::{holds_union, type_word};
use crate::data::meta;

/// The columns that an expression may name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'s> {
    pub schema: &'s Schema,
    /// Columns that exist but are out of reach: those of an aggregate's input, outside its calls.
    pub out_of_reach: Option<&'s Schema>,
}

impl<'s> Scope<'s> {
    pub fn of(schema: &'s Schema) -> Self {
        Scope { schema, out_of_reach: None }
    }

    /// True for a name that a user may write; columns that a step only carries along are hidden.
    pub fn has(&self, name: &str) -> bool {
        is_visible(name) && self.schema.column_with_name(name).is_some()
    }

    fn names(&self) -> impl Iterator<Item = &'s str> {
        self.schema.fields().iter().map(|field| field.name().as_str()).filter(|name| is_listed(name))
    }

    /// `has: brand string, rating int`.
    fn note(&self) -> String {
        let columns =
            self.schema.fields().iter().filter(|field| !meta::is_meta(field.name()) && is_listed(field.name()));
        format!("has: {}", listed(columns.map(AsRef::as_ref)))
    }
}

/// Begins the names of columns that only the compiler knows: no text holds it.
pub(super) const HIDDEN: char = '\0';

fn is_listed(name: &str) -> bool {
    is_visible(name) && !name.starts_with(HIDDEN)
}

fn is_visible(name: &str) -> bool {
    !name.starts_with("__") && (!meta::is_meta(name) || meta::VISIBLE.contains(&name))
}

fn listed<'f>(fields: impl Iterator<Item = &'f Field>) -> String {
    fields.map(|field| format!("{} {}", field.name(), type_word(field))).collect::<Vec<_>>().join(", ")
}

/// Checks the names of a tree, and writes fields behind an index (`tags[1].name`) the one way that the planner reads.
///
/// # Errors
/// The first thing that does not exist, or may not stand in an expression.
pub(super) fn check(text: &str, ast: &mut Ast, scope: Scope) -> Result<(), ExprError> {
    match ast.visit(&mut Checker { text, scope }) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Checker<'c> {
    text: &'c str,
    scope: Scope<'c>,
}

impl VisitorMut for Checker<'_> {
    type Break = Box<ExprError>;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        let error = ExprError::new("expr.not_available", 0..self.text.len(), "an expression cannot contain a query");
        ControlFlow::Break(Box::new(error))
    }

    fn pre_visit_expr(&mut self, ast: &mut Ast) -> ControlFlow<Self::Break> {
        let result = match ast {
            Ast::Identifier(name) => self.column(name).map(|_| ()),
            Ast::CompoundIdentifier(path) => self.path(path),
            Ast::CompoundFieldAccess { access_chain, .. } => {
                access_chain.iter_mut().for_each(dot_to_index);
                Ok(())
            }
            Ast::Function(function) if is_bare(function) => self.bare_call(ast.clone()),
            Ast::Function(function) => self.call(&function.clone(), ast),
            Ast::Value(ValueWithSpan { value: Value::Placeholder(name), span }) => {
                let message = format!("`{name}` is not a value; expressions have no parameters");
                Err(ExprError::new("expr.not_available", bytes(self.text, *span), message))
            }
            _ => Ok(()),
        };
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}

impl Checker<'_> {
    fn column(&self, name: &Ident) -> Result<&Field, ExprError> {
        let span = bytes(self.text, name.span);
        let Some((_, field)) = self.scope.schema.column_with_name(&name.value).filter(|_| is_visible(&name.value))
        else {
            return Err(self.unknown_column(name));
        };
        if holds_union(field.data_type()) {
            let message = format!("`{}` is a union, which expressions cannot use", name.value);
            return Err(ExprError::new("expr.type", span, message));
        }
        Ok(field)
    }

    fn unknown_column(&self, name: &Ident) -> ExprError {
        let span = bytes(self.text, name.span);
        let word = &name.value;
        if self.scope.out_of_reach.is_some_and(|schema| Scope::of(schema).has(word)) {
            let message = format!("`{word}` stands neither in an aggregate nor in `group_by`");
            return ExprError::new("expr.aggregate", span, message)
                .note(self.scope.note())
                .hint(format!("group by `{word}`, or say which of a group's values is meant: `max({word})`"));
        }
        let error = ExprError::new("expr.unknown_column", span, format!("there is no column `{word}`"))
            .note(self.scope.note())
            .did_you_mean(word, self.scope.names());
        let was_text = self.text[error.span.clone()].starts_with('"') && error.hint.is_none();
        if was_text { error.hint(format!("text stands in single quotes: `'{word}'`")) } else { error }
    }

    /// `user.city`: a column and fields of its structs.
    fn path(&self, path: &[Ident]) -> Result<(), ExprError> {
        let Some((root, names)) = path.split_first() else { return Ok(()) };
        let mut of = self.column(root)?;
        for name in names {
            let fields = match of.data_type() {
                DataType::Struct(fields) => fields,
                // The entries of a map have any name.
                DataType::Map(_, _) => return Ok(()),
                _ => return Err(self.no_fields(of, name)),
            };
            match fields.iter().find(|field| *field.name() == name.value) {
                Some(field) => of = field.as_ref(),
                None => {
                    let message = format!("`{}` has no field `{}`", of.name(), name.value);
                    return Err(ExprError::new("expr.unknown_column", bytes(self.text, name.span), message)
                        .note(format!("has: {}", listed(fields.iter().map(AsRef::as_ref))))
                        .did_you_mean(&name.value, fields.iter().map(|field| field.name().as_str())));
                }
            }
        }
        Ok(())
    }

    fn no_fields(&self, of: &Field, name: &Ident) -> ExprError {
        let message = format!("`{}` is {} and has no fields", of.name(), type_word(of));
        let error = ExprError::new("expr.type", bytes(self.text, name.span), message);
        match of.data_type() {
            DataType::Utf8 => error.hint(format!("a member of JSON text is `{}->>'{}'`", of.name(), name.value)),
            _ => error,
        }
    }

    /// A word that the parser took for a call without parentheses, such as `current_date` or `user`.
    fn bare_call(&self, ast: Ast) -> Result<(), ExprError> {
        let Ast::Function(Function { name, .. }) = &ast else { return Ok(()) };
        if functions::scalar(&name.to_string().to_lowercase()).is_some() {
            return Ok(());
        }
        match name.0.first().and_then(|part| part.as_ident()) {
            Some(ident) => Err(self.unknown_column(ident)),
            None => Ok(()),
        }
    }

    fn call(&self, function: &Function, ast: &Ast) -> Result<(), ExprError> {
        let span = || span_of(self.text, ast);
        let name = function.name.to_string().to_lowercase();
        if function.over.is_some() {
            let message = format!("`{name}(…) over …`: windows over rows are not available in expressions");
            return Err(ExprError::new("expr.not_available", span(), message));
        }
        match functions::scalar(&name) {
            Some(known) if functions::is_volatile(known) => {
                let message = format!("`{name}()` is not available yet: a replay must give the same values again");
                Err(ExprError::new("expr.not_available", span(), message))
            }
            Some(_) => Ok(()),
            None if functions::aggregate(&name).is_some() => {
                let message = format!("the aggregate `{name}` takes many rows; here every row stands alone");
                Err(ExprError::new("expr.aggregate", span(), message)
                    .hint("aggregates stand in `aggregate:` and `having:`, and not in one another"))
            }
            None => {
                let start = span().start;
                let end = (start + function.name.to_string().len()).min(self.text.len());
                let known = functions::scalar_names().chain(AGGREGATES.iter().copied());
                Err(ExprError::new("expr.unknown_function", start..end, format!("there is no function `{name}`"))
                    .did_you_mean(&name, known))
            }
        }
    }
}

fn is_bare(function: &Function) -> bool {
    function.args == FunctionArguments::None
}

/// `.name` behind an index means the same as `['name']`.
fn dot_to_index(access: &mut AccessExpr) {
    if let AccessExpr::Dot(Ast::Identifier(name)) = access {
        let value = ValueWithSpan { value: Value::SingleQuotedString(name.value.clone()), span: name.span };
        *access = AccessExpr::Subscript(Subscript::Index { index: Ast::Value(value) });
    }
}
