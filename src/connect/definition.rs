//! What a key is: its type, its default, what values it may have, and how forms show it.

use serde::Serialize;

/// Type of a key's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Kind {
    String,
    Int,
    Long,
    Short,
    Double,
    Boolean,
    List,
    Class,
    Password,
}

impl Kind {
    /// As messages name it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::String => "STRING",
            Kind::Int => "INT",
            Kind::Long => "LONG",
            Kind::Short => "SHORT",
            Kind::Double => "DOUBLE",
            Kind::Boolean => "BOOLEAN",
            Kind::List => "LIST",
            Kind::Class => "CLASS",
            Kind::Password => "PASSWORD",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// How much room a form gives the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Width {
    None,
    Short,
    Medium,
    Long,
}

/// What values must be, beyond their type. Each has its own sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Any,
    /// Some text.
    Filled,
    /// There is a value.
    Given,
    /// A number from here on.
    AtLeast(i64),
    OneOf(&'static [&'static str]),
    /// The same in any case.
    OneOfAnyCase(&'static [&'static str]),
    /// A connector's name.
    Name,
    /// A regex.
    Pattern,
    /// Names of transformations, predicates or groups: none twice.
    Aliases,
    /// A list without doubles and empty items; `empty`: it may have none at all.
    Items {
        empty: bool,
    },
    /// A list with something in it.
    NotEmpty,
    /// `field:type` pairs, or a type.
    Cast,
    /// `old:new` pairs.
    Renames,
}

/// A key of a table of this room.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// There is no default.
    pub required: bool,
    pub default: Option<&'static str>,
    pub importance: Importance,
    pub documentation: &'static str,
    /// Group and place in it.
    pub group: Option<(&'static str, i32)>,
    pub width: Width,
    /// `None`: the name.
    pub display_name: Option<&'static str>,
    pub rule: Rule,
}

/// A key without a default that need not be there.
pub const fn key(name: &'static str, kind: Kind, importance: Importance, documentation: &'static str) -> Key {
    Key {
        name,
        kind,
        required: false,
        default: None,
        importance,
        documentation,
        group: None,
        width: Width::None,
        display_name: None,
        rule: Rule::Any,
    }
}

impl Key {
    pub const fn required(self) -> Key {
        Key { required: true, ..self }
    }

    pub const fn or(self, default: &'static str) -> Key {
        Key { default: Some(default), ..self }
    }

    pub const fn rule(self, rule: Rule) -> Key {
        Key { rule, ..self }
    }

    pub const fn shown(self, group: &'static str, order: i32, width: Width, name: &'static str) -> Key {
        Key { group: Some((group, order)), width, display_name: Some(name), ..self }
    }
}

/// A key as the REST API lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Definition {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    pub required: bool,
    pub default_value: Option<String>,
    pub importance: Importance,
    pub documentation: String,
    pub group: Option<String>,
    pub order_in_group: i32,
    pub width: Width,
    pub display_name: String,
    pub dependents: Vec<String>,
}

impl Definition {
    pub(super) fn of(key: &Key) -> Definition {
        let (group, order_in_group) = match key.group {
            Some((group, order)) => (Some(group.to_owned()), order),
            None => (None, -1),
        };
        Definition {
            name: key.name.to_owned(),
            kind: key.kind,
            required: key.required,
            default_value: key.default.map(str::to_owned),
            importance: key.importance,
            documentation: key.documentation.to_owned(),
            group,
            order_in_group,
            width: key.width,
            display_name: key.display_name.unwrap_or(key.name).to_owned(),
            dependents: Vec::new(),
        }
    }
}
