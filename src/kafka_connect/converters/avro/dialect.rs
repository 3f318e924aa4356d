//! How Connect's schemas and Avro's stand for each other: settings of the converter, and what follows from them.

use super::super::super::config::{ConfigError, Settings};
use super::super::super::schema::{Field, Kind, Schema};
use super::super::super::value::Value;
use super::PACKAGE;

/// Settings by which the same values have other schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Schemas say in properties what Connect knows of them, and keep their docs (`connect.meta.data`).
    pub metadata: bool,
    /// Names that Avro refuses are changed (`scrub.invalid.names`).
    pub scrub: bool,
    /// What was an enum is one again, and branches of unions have full names (`enhanced.avro.schema.support`).
    pub enhanced: bool,
    /// Maps whose keys may be null are maps all the same (`allow.optional.map.keys`).
    pub optional_keys: bool,
    /// A union of one type is that type (`flatten.singleton.unions`).
    pub flatten: bool,
    /// A null is written as null where it could mean a default (`ignore.default.for.nullables`).
    pub nulls: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect { metadata: true, scrub: false, enhanced: false, optional_keys: false, flatten: true, nulls: false }
    }
}

impl Dialect {
    /// # Errors
    /// A setting that cannot be.
    pub fn of(settings: Settings<'_>) -> Result<Dialect, ConfigError> {
        const SUMS: &str = "generalized.sum.type.support";
        if settings.boolean(SUMS, false)? {
            let why = "unions are structs with a field named after each branch here; numbered ones are not available";
            return Err(settings.invalid(SUMS, "true", why));
        }
        Ok(Dialect {
            metadata: settings.boolean("connect.meta.data", true)?,
            scrub: settings.boolean("scrub.invalid.names", false)?,
            enhanced: settings.boolean("enhanced.avro.schema.support", false)?,
            optional_keys: settings.boolean("allow.optional.map.keys", false)?,
            flatten: settings.boolean("flatten.singleton.unions", true)?,
            nulls: settings.boolean("ignore.default.for.nullables", false)?,
        })
    }

    /// A name, one part of it or a field's, as Avro has it: that of a form on the web, and what Avro has not as `_`.
    pub fn name(self, name: &str) -> String {
        if !self.scrub {
            return name.to_owned();
        }
        let mut out = String::with_capacity(name.len());
        if name.starts_with(|first: char| first.is_ascii_digit()) {
            out.push('x');
        }
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => out.push(char::from(byte)),
                b'-' | b'.' | b'*' | b' ' => out.push('_'),
                other => out += &format!("_{other:02X}"),
            }
        }
        out
    }

    /// The same for all parts of a full name.
    pub fn full_name(self, name: &str) -> String {
        name.split('.').map(|part| self.name(part)).collect::<Vec<_>>().join(".")
    }

    /// Whether such a map is one in Avro too; others are arrays of their entries.
    pub fn has_map(self, keys: &Schema) -> bool {
        keys.kind == Kind::String && (self.optional_keys || !keys.optional)
    }

    /// What a field's value is written as: a null may mean the default.
    pub fn meant<'v>(self, field: &'v Field, value: &'v Value) -> &'v Value {
        match &field.schema.default {
            Some(default) if value.is_null() && !self.nulls => default,
            _ => value,
        }
    }

    /// The full name and the symbols of what is an enum.
    pub fn enumeration(self, schema: &Schema) -> Option<(&str, Vec<&str>)> {
        let parameters = schema.parameters.as_ref().filter(|_| self.enhanced && schema.kind == Kind::String)?;
        let name = parameters.get(&format!("{PACKAGE}.Enum"))?;
        let prefix = format!("{PACKAGE}.Enum.");
        let symbols = parameters.iter().filter(|(key, _)| key.starts_with(&prefix));
        Some((name, symbols.map(|(_, symbol)| symbol.as_str()).collect()))
    }
}

/// The name of structs that are unions: of their fields one is set.
pub fn union_name() -> String {
    format!("{PACKAGE}.Union")
}

/// Whether a schema is that of a union.
pub fn is_union(schema: &Schema) -> bool {
    let name = schema.name.as_deref().and_then(|name| name.strip_prefix(PACKAGE));
    matches!(schema.kind, Kind::Struct(_)) && name == Some(".Union")
}
