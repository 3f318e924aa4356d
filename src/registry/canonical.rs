//! One text per schema: what makes two schemas the same in a registry.
//!
//! The text is that of Java Avro's `Schema.toString()`, which Confluent's registry stores and
//! compares: compact, keys in a fixed order, names relative to the namespace around them,
//! unknown properties kept in the order written. White space, key order and the way a namespace is
//! written make no difference; docs, defaults, aliases and properties do.

use serde_json::{Map, Value as Json};

use super::avro::{Field, Named, NamedKind, Properties, Schema, Type, namespace, short_name};

impl Schema {
    /// The canonical text.
    pub fn canonical(&self) -> String {
        self.to_json().to_string()
    }

    /// The canonical text as JSON with its keys in order.
    pub fn to_json(&self) -> Json {
        self.type_json(&self.root, "")
    }

    fn type_json(&self, ty: &Type, around: &str) -> Json {
        match ty {
            Type::Primitive { kind, properties } if properties.is_empty() => kind.word().into(),
            Type::Primitive { kind, properties } => {
                with_properties(Map::from_iter([("type".into(), kind.word().into())]), properties)
            }
            Type::Array { items, properties } => {
                let items = self.type_json(items, around);
                with_properties(Map::from_iter([("type".into(), "array".into()), ("items".into(), items)]), properties)
            }
            Type::Map { values, properties } => {
                let values = self.type_json(values, around);
                with_properties(Map::from_iter([("type".into(), "map".into()), ("values".into(), values)]), properties)
            }
            Type::Union(branches) => branches.iter().map(|branch| self.type_json(branch, around)).collect(),
            Type::Reference(name) => relative(name, around).into(),
            Type::Definition(name) => self.named_json(&self.named[name], around),
        }
    }

    fn named_json(&self, named: &Named, around: &str) -> Json {
        let space = namespace(&named.full_name);
        let mut object = Map::new();
        let kind = match &named.kind {
            NamedKind::Record { .. } => "record",
            NamedKind::Enum { .. } => "enum",
            NamedKind::Fixed { .. } => "fixed",
        };
        object.insert("type".into(), kind.into());
        object.insert("name".into(), short_name(&named.full_name).into());
        if space != around {
            object.insert("namespace".into(), space.into());
        }
        if let Some(doc) = &named.doc {
            object.insert("doc".into(), doc.as_str().into());
        }
        match &named.kind {
            NamedKind::Record { fields } => {
                let fields = fields.iter().map(|field| self.field_json(field, space)).collect();
                object.insert("fields".into(), fields);
            }
            NamedKind::Enum { symbols, default } => {
                object.insert("symbols".into(), symbols.iter().map(String::as_str).collect());
                if let Some(default) = default {
                    object.insert("default".into(), default.as_str().into());
                }
            }
            NamedKind::Fixed { size } => drop(object.insert("size".into(), (*size).into())),
        }
        object.extend(named.properties.clone());
        if !named.aliases.is_empty() {
            let aliases = named.aliases.iter().map(|alias| relative(alias, space)).collect();
            object.insert("aliases".into(), aliases);
        }
        Json::Object(object)
    }

    fn field_json(&self, field: &Field, around: &str) -> Json {
        let mut object = Map::new();
        object.insert("name".into(), field.name.as_str().into());
        object.insert("type".into(), self.type_json(&field.ty, around));
        if let Some(doc) = &field.doc {
            object.insert("doc".into(), doc.as_str().into());
        }
        if let Some(default) = &field.default {
            object.insert("default".into(), default.clone());
        }
        if let Some(order) = &field.order {
            object.insert("order".into(), order.as_str().into());
        }
        object.extend(field.properties.clone());
        if !field.aliases.is_empty() {
            object.insert("aliases".into(), field.aliases.iter().map(String::as_str).collect());
        }
        Json::Object(object)
    }
}

fn with_properties(mut object: Properties, properties: &Properties) -> Json {
    object.extend(properties.clone());
    Json::Object(object)
}

/// The name as it is written inside the namespace `around`.
fn relative<'a>(full_name: &'a str, around: &str) -> &'a str {
    if namespace(full_name) == around { short_name(full_name) } else { full_name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Schema::parse(text).unwrap().canonical()
    }

    #[test]
    fn spelling_makes_no_difference() {
        let wanted = r#"{"type":"record","name":"N","namespace":"x.y","fields":[{"name":"a","type":"int"},{"name":"b","type":["null","N"]}]}"#;
        for text in [
            r#"{"name":"x.y.N","type":"record","fields":[{"type":{"type":"int"},"name":"a","order":"ascending"},{"name":"b","type":["null","x.y.N"]}]}"#,
            wanted,
        ] {
            assert_eq!(canonical(text), wanted);
        }
    }

    #[test]
    fn keys_stand_in_javas_order() {
        assert_eq!(
            canonical(
                r#"{"aliases":["O"],"zz":1,"aa":"é","fields":[{"aliases":["b"],"order":"ignore","type":"int","name":"a","default":1,"doc":"d"}],"doc":"r","type":"record","name":"R"}"#
            ),
            r#"{"type":"record","name":"R","doc":"r","fields":[{"name":"a","type":"int","doc":"d","default":1,"order":"ignore","aliases":["b"]}],"zz":1,"aa":"é","aliases":["O"]}"#
        );
    }

    #[test]
    fn nested_types_lose_the_namespace_around_them() {
        let text = r#"{"type":"record","name":"R","namespace":"n","fields":[{"name":"e","type":{"type":"enum","name":"E","namespace":"n","symbols":["A"],"default":"A"}},{"name":"f","type":{"type":"fixed","name":"m.F","size":2}},{"name":"g","type":"n.E"},{"name":"h","type":"m.F"}]}"#;
        assert_eq!(
            canonical(text),
            r#"{"type":"record","name":"R","namespace":"n","fields":[{"name":"e","type":{"type":"enum","name":"E","symbols":["A"],"default":"A"}},{"name":"f","type":{"type":"fixed","name":"F","namespace":"m","size":2}},{"name":"g","type":"E"},{"name":"h","type":"m.F"}]}"#
        );
    }
}
