//! An Avro schema as a tree, with everything that was written in it.
//!
//! Avro libraries drop properties that they do not know, and for identity and for generator rules
//! these matter. Names are full here; [`super::canonical`] prints them short again. What counts as
//! valid is what Confluent's registry accepts: a union's default may be of any branch, an enum may
//! be empty.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

/// Attributes that Avro gives no meaning, in the order written.
pub type Properties = Map<String, Json>;

/// A whole schema: its top type, and every named type by full name.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    pub root: Type,
    pub named: IndexMap<String, Named>,
    /// Full names of the types that other schemas define.
    pub imported: BTreeSet<String>,
}

/// A type where it is used.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    Primitive {
        kind: Primitive,
        properties: Properties,
    },
    Array {
        items: Box<Type>,
        properties: Properties,
    },
    Map {
        values: Box<Type>,
        properties: Properties,
    },
    Union(Vec<Type>),
    /// The place where a named type is written out; the definition is in [`Schema::named`].
    Definition(String),
    /// A named type by its full name.
    Reference(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Primitive {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
}

/// A record, enum or fixed.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// `namespace.name`, or the name alone.
    pub full_name: String,
    pub kind: NamedKind,
    pub doc: Option<String>,
    /// Full names.
    pub aliases: Vec<String>,
    pub properties: Properties,
}

#[derive(Debug, Clone, PartialEq)]
pub enum NamedKind {
    Record { fields: Vec<Field> },
    Enum { symbols: Vec<String>, default: Option<String> },
    Fixed { size: usize },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    pub doc: Option<String>,
    /// As written.
    pub default: Option<Json>,
    /// `descending` or `ignore`; ascending is the default and is not kept.
    pub order: Option<String>,
    pub aliases: Vec<String>,
    pub properties: Properties,
}

impl Primitive {
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "null" => Primitive::Null,
            "boolean" => Primitive::Boolean,
            "int" => Primitive::Int,
            "long" => Primitive::Long,
            "float" => Primitive::Float,
            "double" => Primitive::Double,
            "bytes" => Primitive::Bytes,
            "string" => Primitive::String,
            _ => return None,
        })
    }

    pub fn word(self) -> &'static str {
        match self {
            Primitive::Null => "null",
            Primitive::Boolean => "boolean",
            Primitive::Int => "int",
            Primitive::Long => "long",
            Primitive::Float => "float",
            Primitive::Double => "double",
            Primitive::Bytes => "bytes",
            Primitive::String => "string",
        }
    }
}

impl Schema {
    /// Parses a schema's text. Comments of both of Java's kinds are allowed, as in Java's parser.
    ///
    /// # Errors
    /// What is wrong, for people: "`R` has two fields `a`".
    pub fn parse(text: &str) -> Result<Schema, String> {
        Self::parse_with(text, &[])
    }

    /// The same of a text that uses types which other schemas define.
    pub fn parse_with(text: &str, references: &[Schema]) -> Result<Schema, String> {
        let text = without_comments(text);
        // A schema may be a bare word in JSON quotes; anything else that is not JSON is an error.
        let json: Json = serde_json::from_str(&text).map_err(|error| format!("it is not JSON: {error}"))?;
        Self::read(&json, references)
    }

    /// The same from JSON that was read already.
    pub fn from_json(json: &Json) -> Result<Schema, String> {
        Self::read(json, &[])
    }

    fn read(json: &Json, references: &[Schema]) -> Result<Schema, String> {
        let mut parser = Parser { named: IndexMap::new() };
        // Two references may bring the same type.
        let theirs = references.iter().flat_map(|schema| &schema.named);
        parser.named.extend(theirs.map(|(name, named)| (name.clone(), named.clone())));
        let imported = parser.named.keys().cloned().collect();
        let root = parser.read(json, "")?;
        let schema = Schema { root, named: parser.named, imported };
        schema.check_defaults()?;
        Ok(schema)
    }

    /// The same schema with the types of others written out where they are first used.
    pub fn inlined(&self) -> Schema {
        fn settle(ty: &mut Type, named: &mut IndexMap<String, Named>, open: &mut BTreeSet<String>) {
            match ty {
                Type::Primitive { .. } => {}
                Type::Array { items: inner, .. } | Type::Map { values: inner, .. } => settle(inner, named, open),
                Type::Union(branches) => branches.iter_mut().for_each(|branch| settle(branch, named, open)),
                Type::Reference(name) | Type::Definition(name) => {
                    let name = name.clone();
                    if !open.remove(&name) {
                        *ty = Type::Reference(name);
                        return;
                    }
                    let fields = |named: &mut IndexMap<String, Named>| match &mut named.get_mut(&name)?.kind {
                        NamedKind::Record { fields } => Some(std::mem::take(fields)),
                        _ => None,
                    };
                    if let Some(mut list) = fields(named) {
                        list.iter_mut().for_each(|field| settle(&mut field.ty, named, open));
                        named[&name].kind = NamedKind::Record { fields: list };
                    }
                    *ty = Type::Definition(name);
                }
            }
        }
        let mut schema = self.clone();
        let mut open: BTreeSet<String> = schema.named.keys().cloned().collect();
        settle(&mut schema.root, &mut schema.named, &mut open);
        schema.named.retain(|name, _| !open.contains(name));
        schema.imported.clear();
        schema
    }

    /// Puts properties and aliases in order, so that how they were written makes no other schema.
    pub fn normalize(&mut self) {
        fn in_type(ty: &mut Type) {
            match ty {
                Type::Primitive { properties, .. } => properties.sort_keys(),
                Type::Array { items: inner, properties } | Type::Map { values: inner, properties } => {
                    properties.sort_keys();
                    in_type(inner);
                }
                Type::Union(branches) => branches.iter_mut().for_each(in_type),
                Type::Definition(_) | Type::Reference(_) => {}
            }
        }
        in_type(&mut self.root);
        for named in self.named.values_mut() {
            named.properties.sort_keys();
            named.aliases.sort();
            if let NamedKind::Record { fields } = &mut named.kind {
                for field in fields {
                    field.properties.sort_keys();
                    field.aliases.sort();
                    in_type(&mut field.ty);
                }
            }
        }
    }

    /// The definition of a named type.
    pub fn definition(&self, ty: &Type) -> Option<&Named> {
        match ty {
            Type::Definition(name) | Type::Reference(name) => self.named.get(name),
            _ => None,
        }
    }

    /// The full name of the top type, if it has one.
    pub fn full_name(&self) -> Option<&str> {
        self.definition(&self.root).map(|named| named.full_name.as_str())
    }

    /// Takes away, everywhere, the properties that `keep` refuses, so that they are not part of the
    /// schema's identity.
    pub fn retain_properties(&mut self, keep: &impl Fn(&str, &Json) -> bool) {
        fn in_type(ty: &mut Type, keep: &impl Fn(&str, &Json) -> bool) {
            match ty {
                Type::Primitive { properties, .. } => properties.retain(|key, value| keep(key, value)),
                Type::Array { items: inner, properties } | Type::Map { values: inner, properties } => {
                    properties.retain(|key, value| keep(key, value));
                    in_type(inner, keep);
                }
                Type::Union(branches) => branches.iter_mut().for_each(|branch| in_type(branch, keep)),
                Type::Definition(_) | Type::Reference(_) => {}
            }
        }
        in_type(&mut self.root, keep);
        for named in self.named.values_mut() {
            named.properties.retain(|key, value| keep(key, value));
            if let NamedKind::Record { fields } = &mut named.kind {
                for field in fields {
                    field.properties.retain(|key, value| keep(key, value));
                    in_type(&mut field.ty, keep);
                }
            }
        }
    }

    fn check_defaults(&self) -> Result<(), String> {
        for named in self.named.values() {
            let NamedKind::Record { fields } = &named.kind else { continue };
            for field in fields {
                match &field.default {
                    Some(default) if !self.fits(&field.ty, default) => {
                        return Err(format!(
                            "the default `{default}` of field `{}` in `{}` does not fit its type",
                            field.name, named.full_name
                        ));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// True if `value` may be a default of this type.
    fn fits(&self, ty: &Type, value: &Json) -> bool {
        match ty {
            Type::Primitive { kind, .. } => match kind {
                Primitive::Null => value.is_null(),
                Primitive::Boolean => value.is_boolean(),
                Primitive::Int => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
                Primitive::Long => value.is_i64(),
                Primitive::Float | Primitive::Double => value.is_number(),
                Primitive::Bytes | Primitive::String => value.is_string(),
            },
            Type::Array { items, .. } => {
                value.as_array().is_some_and(|list| list.iter().all(|item| self.fits(items, item)))
            }
            Type::Map { values, .. } => {
                value.as_object().is_some_and(|map| map.values().all(|item| self.fits(values, item)))
            }
            Type::Union(branches) => branches.iter().any(|branch| self.fits(branch, value)),
            Type::Definition(name) | Type::Reference(name) => match self.named.get(name).map(|named| &named.kind) {
                Some(NamedKind::Record { fields }) => value.as_object().is_some_and(|object| {
                    fields.iter().all(|field| {
                        let given = object.get(&field.name).or(field.default.as_ref());
                        given.is_some_and(|given| self.fits(&field.ty, given))
                    })
                }),
                Some(_) => value.is_string(),
                None => false,
            },
        }
    }
}

/// The last part of a full name.
pub fn short_name(full_name: &str) -> &str {
    full_name.rsplit('.').next().unwrap_or(full_name)
}

/// Everything before the last part of a full name; empty without one.
pub fn namespace(full_name: &str) -> &str {
    full_name.rsplit_once('.').map_or("", |(namespace, _)| namespace)
}

fn qualified(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.into() } else { format!("{namespace}.{name}") }
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Keys that have a meaning on some type, and so are a property of none.
const TYPE_KEYS: &[&str] =
    &["doc", "fields", "items", "name", "namespace", "size", "symbols", "values", "type", "aliases"];
const FIELD_KEYS: &[&str] = &["default", "doc", "name", "order", "type", "aliases"];

struct Parser {
    named: IndexMap<String, Named>,
}

impl Parser {
    fn read(&mut self, json: &Json, enclosing: &str) -> Result<Type, String> {
        match json {
            Json::String(word) => self.read_word(word, enclosing),
            Json::Array(branches) => self.read_union(branches, enclosing),
            Json::Object(object) => self.read_object(object, enclosing),
            other => Err(format!("`{other}` is not a type")),
        }
    }

    fn read_word(&self, word: &str, enclosing: &str) -> Result<Type, String> {
        if let Some(kind) = Primitive::from_word(word) {
            return Ok(Type::Primitive { kind, properties: Map::new() });
        }
        // A name without a dot that is not in the namespace may be one without a namespace.
        [qualified(word, enclosing), word.to_string()]
            .into_iter()
            .find(|name| self.named.contains_key(name))
            .map(Type::Reference)
            .ok_or_else(|| format!("there is no type `{word}`"))
    }

    fn read_union(&mut self, branches: &[Json], enclosing: &str) -> Result<Type, String> {
        let mut seen: Vec<String> = Vec::new();
        let mut types = Vec::new();
        for branch in branches {
            let ty = self.read(branch, enclosing)?;
            let what = match &ty {
                Type::Union(_) => return Err("a union stands directly in a union".into()),
                Type::Primitive { kind, .. } => kind.word().to_string(),
                Type::Array { .. } => "array".into(),
                Type::Map { .. } => "map".into(),
                Type::Definition(name) | Type::Reference(name) => name.clone(),
            };
            if seen.contains(&what) {
                return Err(format!("a union has two branches `{what}`"));
            }
            seen.push(what);
            types.push(ty);
        }
        Ok(Type::Union(types))
    }

    fn read_object(&mut self, object: &Properties, enclosing: &str) -> Result<Type, String> {
        let word = object.get("type").and_then(Json::as_str).ok_or_else(|| no_type(object))?;
        let properties = |except: &[&str]| -> Properties {
            let is_property = |key: &str| !TYPE_KEYS.contains(&key) && !except.contains(&key);
            object.iter().filter(|(key, _)| is_property(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        match word {
            "array" => {
                let items = object.get("items").ok_or("an array has no `items`")?;
                Ok(Type::Array { items: Box::new(self.read(items, enclosing)?), properties: properties(&[]) })
            }
            "map" => {
                let values = object.get("values").ok_or("a map has no `values`")?;
                Ok(Type::Map { values: Box::new(self.read(values, enclosing)?), properties: properties(&[]) })
            }
            "record" | "error" => self.read_named(word, object, enclosing, properties(&[])),
            "enum" => self.read_named(word, object, enclosing, properties(&["default"])),
            "fixed" => self.read_named(word, object, enclosing, properties(&[])),
            _ => match Primitive::from_word(word) {
                Some(kind) => Ok(Type::Primitive { kind, properties: properties(&[]) }),
                None => self.read_word(word, enclosing),
            },
        }
    }

    fn read_named(
        &mut self,
        word: &str,
        object: &Properties,
        enclosing: &str,
        properties: Properties,
    ) -> Result<Type, String> {
        let name = object.get("name").and_then(Json::as_str).ok_or_else(|| format!("a type `{word}` has no name"))?;
        let namespace_given = object.get("namespace").and_then(Json::as_str).unwrap_or(enclosing);
        let full_name = qualified(name, namespace_given);
        if let Some(part) = full_name.split('.').find(|part| !is_name(part)) {
            return Err(format!("`{part}` is not a name (letters, digits and `_`, not beginning with a digit)"));
        }
        if Primitive::from_word(&full_name).is_some() {
            return Err(format!("a {word} may not be named `{full_name}`"));
        }
        let inner_namespace = namespace(&full_name).to_string();
        let named = Named {
            kind: NamedKind::Fixed { size: 0 },
            doc: text(object, "doc"),
            aliases: names(object).into_iter().map(|alias| qualified(&alias, &inner_namespace)).collect(),
            properties,
            full_name: full_name.clone(),
        };
        // Known before its fields are read, so that they can refer to it.
        if self.named.insert(full_name.clone(), named).is_some() {
            return Err(format!("the type `{full_name}` is defined twice"));
        }
        let kind = match word {
            "enum" => read_enum(object, &full_name)?,
            "fixed" => {
                let size = object.get("size").and_then(Json::as_u64).and_then(|size| usize::try_from(size).ok());
                NamedKind::Fixed { size: size.ok_or_else(|| format!("the fixed `{full_name}` has no valid `size`"))? }
            }
            _ => NamedKind::Record { fields: self.read_fields(object, &full_name, &inner_namespace)? },
        };
        if let Some(named) = self.named.get_mut(&full_name) {
            named.kind = kind;
        }
        Ok(Type::Definition(full_name))
    }

    fn read_fields(&mut self, object: &Properties, record: &str, namespace: &str) -> Result<Vec<Field>, String> {
        let list = object.get("fields").and_then(Json::as_array);
        let list = list.ok_or_else(|| format!("the record `{record}` has no list of `fields`"))?;
        let mut fields: Vec<Field> = Vec::with_capacity(list.len());
        for json in list {
            let object = json.as_object().ok_or_else(|| format!("a field of `{record}` is not an object"))?;
            let name = text(object, "name").ok_or_else(|| format!("a field of `{record}` has no name"))?;
            if !is_name(&name) {
                return Err(format!("`{name}` is not a name (letters, digits and `_`, not beginning with a digit)"));
            }
            if fields.iter().any(|field| field.name == name) {
                return Err(format!("`{record}` has two fields `{name}`"));
            }
            let ty = object.get("type").ok_or_else(|| format!("field `{name}` of `{record}` has no type"))?;
            let ty = self.read(ty, namespace).map_err(|why| format!("field `{name}` of `{record}`: {why}"))?;
            let is_property = |key: &str| !FIELD_KEYS.contains(&key);
            let properties = object.iter().filter(|(key, _)| is_property(key));
            fields.push(Field {
                name,
                ty,
                doc: text(object, "doc"),
                default: object.get("default").cloned(),
                order: text(object, "order").filter(|order| order != "ascending"),
                aliases: names(object),
                properties: properties.map(|(k, v)| (k.clone(), v.clone())).collect(),
            });
        }
        Ok(fields)
    }
}

fn no_type(object: &Properties) -> String {
    match object.get("type") {
        None => "an object has no `type`".into(),
        Some(other) => format!("`type` must be a word here, not `{other}`; put a union or nested type in directly"),
    }
}

fn read_enum(object: &Properties, name: &str) -> Result<NamedKind, String> {
    let list = object.get("symbols").and_then(Json::as_array);
    let list = list.ok_or_else(|| format!("the enum `{name}` has no list of `symbols`"))?;
    let mut symbols: Vec<String> = Vec::with_capacity(list.len());
    for symbol in list {
        let symbol = symbol.as_str().filter(|symbol| is_name(symbol));
        let symbol = symbol.ok_or_else(|| format!("the enum `{name}` has a symbol that is not a name"))?;
        if symbols.iter().any(|known| known == symbol) {
            return Err(format!("the enum `{name}` has the symbol `{symbol}` twice"));
        }
        symbols.push(symbol.into());
    }
    let default = text(object, "default");
    match &default {
        Some(default) if !symbols.contains(default) => {
            Err(format!("the default `{default}` of the enum `{name}` is not one of its symbols"))
        }
        _ => Ok(NamedKind::Enum { symbols, default }),
    }
}

fn text(object: &Properties, key: &str) -> Option<String> {
    object.get(key).and_then(Json::as_str).map(str::to_string)
}

fn names(object: &Properties) -> Vec<String> {
    let list = object.get("aliases").and_then(Json::as_array);
    list.into_iter().flatten().filter_map(Json::as_str).map(str::to_string).collect()
}

/// Blanks out `//` and `/* */` outside of strings; lines and columns stay.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(_)) if in_string => {
                out.push(c);
                out.extend(chars.next());
            }
            ('"', _) => {
                in_string = !in_string;
                out.push(c);
            }
            ('/', Some('/')) if !in_string => while chars.next_if(|&c| c != '\n').is_some() {},
            ('/', Some('*')) if !in_string => {
                chars.next();
                let mut last = ' ';
                for c in chars.by_ref() {
                    if c == '\n' {
                        out.push(c);
                    }
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
                out.push(' ');
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_registry_refuses_is_named() {
        let refused = |text: &str, why: &str| {
            let error = Schema::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        };
        refused(r#""strng""#, "there is no type `strng`");
        refused(r#"{"type":"record","name":"R"}"#, "no list of `fields`");
        refused(
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#,
            "two fields `a`",
        );
        refused(r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":"x"}]}"#, "does not fit");
        refused(r#"{"type":"enum","name":"E","symbols":["A","A"]}"#, "twice");
        refused(r#"{"type":"fixed","name":"9x","size":1}"#, "is not a name");
        refused(r#"["int","int"]"#, "two branches `int`");
        refused(r#"[["int"]]"#, "directly in a union");
        refused(r#"{"type":["null","int"]}"#, "must be a word");
        refused("{", "not JSON");
    }

    #[test]
    fn odd_but_valid_schemas_are_accepted() {
        for text in [
            r#"{"type":"enum","name":"E","symbols":[]}"#,
            r#"{"type":"record","name":"R","fields":[]}"#,
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":["string","null"],"default":null}]}"#,
            r#"{"type":"record","name":"N","fields":[{"name":"next","type":["null","N"]}]}"#,
            "// a comment\n{\"type\": /* word */ \"string\", \"doc\": \"// none \\\" here\"}",
        ] {
            Schema::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}
