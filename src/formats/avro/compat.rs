//! What registries overlook: changes that are called compatible and change what values mean; and the names of
//! records, which differ where topics do.

use super::model::{Kind, Type};

/// Changes of logical types and decimals between two versions of a schema, for warnings; one
/// sentence fragment each: "`at` was timestamp-millis and is timestamp-micros". Texts that are not schemas have none.
pub fn overlooked_changes(old: &str, new: &str) -> Vec<String> {
    let mut changes = Vec::new();
    if let (Ok(old), Ok(new)) = (Type::parse(old), Type::parse(new)) {
        compare(&old, &new, "the value", &mut changes);
    }
    changes
}

/// The schema `reader`, which also reads records that go by the name of `other`'s: what topics hold is usually named
/// after them. Texts that are not records' schemas are given back as they are.
pub fn reading_also(reader: &str, other: &str) -> String {
    let names = (Type::parse(reader).ok(), Type::parse(other).ok());
    let (Some(Kind::Record(ours)), Some(Kind::Record(theirs))) = (names.0.map(|ty| ty.kind), names.1.map(|ty| ty.kind))
    else {
        return reader.to_owned();
    };
    let Ok(serde_json::Value::Object(mut schema)) = serde_json::from_str(reader) else { return reader.to_owned() };
    if ours.name.reads(&theirs.name) {
        return reader.to_owned();
    }
    let aliases = schema.entry("aliases").or_insert_with(|| serde_json::json!([]));
    if let serde_json::Value::Array(aliases) = aliases {
        aliases.push(theirs.name.full.into());
    }
    serde_json::Value::Object(schema).to_string()
}

fn compare(old: &Type, new: &Type, path: &str, changes: &mut Vec<String>) {
    let (old, new) = (unwrap(old), unwrap(new));
    if old.logical != new.logical && same_bytes(&old.kind, &new.kind) {
        changes.push(format!("`{path}` was {} and is {}", old.describe(), new.describe()));
        return;
    }
    match (&old.kind, &new.kind) {
        (Kind::Array(old), Kind::Array(new)) => compare(old, new, &format!("{path}[]"), changes),
        (Kind::Map(old), Kind::Map(new)) => compare(old, new, &format!("{path}{{}}"), changes),
        (Kind::Record(old), Kind::Record(new)) => {
            for field in &new.fields {
                let before = old.fields.iter().find(|f| f.name == field.name || field.aliases.contains(&f.name));
                if let Some(before) = before {
                    let inner = if path == "the value" { field.name.clone() } else { format!("{path}.{}", field.name) };
                    compare(&before.ty, &field.ty, &inner, changes);
                }
            }
        }
        _ => {}
    }
}

fn unwrap(ty: &Type) -> &Type {
    ty.nullable().map_or(ty, |(_, inner)| inner)
}

/// Whether a registry lets one be read as the other.
fn same_bytes(old: &Kind, new: &Kind) -> bool {
    match (old, new) {
        (Kind::Fixed(old), Kind::Fixed(new)) => old.size == new.size,
        (Kind::Int, Kind::Long) | (Kind::Bytes, Kind::String) | (Kind::String, Kind::Bytes) => true,
        _ => std::mem::discriminant(old) == std::mem::discriminant(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(ty: &str) -> String {
        format!(r#"{{"type":"record","name":"R","fields":[{{"name":"at","type":{ty}}}]}}"#)
    }

    #[test]
    fn a_unit_that_changes_is_told() {
        let millis = record(r#"{"type":"long","logicalType":"timestamp-millis"}"#);
        let micros = record(r#"["null",{"type":"long","logicalType":"timestamp-micros"}]"#);
        assert_eq!(overlooked_changes(&millis, &micros), ["`at` was timestamp-millis and is timestamp-micros"]);
        assert_eq!(overlooked_changes(&millis, &record(r#""long""#)), ["`at` was timestamp-millis and is long"]);
        assert!(overlooked_changes(&millis, &millis).is_empty());
    }

    #[test]
    fn a_decimal_that_changes_its_scale_is_told() {
        let of = |scale: u8| {
            record(&format!(
                r#"{{"type":"array","items":{{"type":"bytes","logicalType":"decimal","precision":9,"scale":{scale}}}}}"#
            ))
        };
        assert_eq!(overlooked_changes(&of(2), &of(3)), ["`at[]` was decimal(9, 2) and is decimal(9, 3)"]);
    }
}
