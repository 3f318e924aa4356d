//! Can one schema read what another one wrote? The rules of Confluent's compatibility levels.
//!
//! They are Java Avro's, deliberately with their gaps: only short names are compared, and logical
//! types are not looked at. A changed logical type is therefore found here as a warning: the
//! bytes are read, but mean something else. What is found is said in two ways: in words, with the path of
//! names, and as Avro classifies it, with a JSON pointer into the reader, for the registry's HTTP face.

use indexmap::IndexSet;

use super::avro::{Field, Named, NamedKind, Primitive, Schema, Type, short_name};

/// What stands between two schemas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Why the new schema cannot read old data; empty: it can.
    pub reasons: Vec<Reason>,
    /// What can be read but changes its meaning.
    pub warnings: Vec<String>,
}

impl Findings {
    /// The reasons in words.
    pub fn texts(&self) -> Vec<String> {
        self.reasons.iter().map(|reason| reason.text.clone()).collect()
    }
}

/// One thing that keeps a reader from reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// In words, with the path of names: "`a.b`: it is new and has no default".
    pub text: String,
    pub kind: Kind,
    /// Where in the reader, as a JSON pointer: `/fields/1`.
    pub pointer: String,
    /// What is concerned: a field's name, the lost symbols, the types.
    pub about: String,
}

/// Avro's own classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    NameMismatch,
    FixedSizeMismatch,
    MissingEnumSymbols,
    ReaderFieldMissingDefaultValue,
    TypeMismatch,
    MissingUnionBranch,
}

impl Kind {
    /// The word that registries use.
    pub fn word(self) -> &'static str {
        match self {
            Kind::NameMismatch => "NAME_MISMATCH",
            Kind::FixedSizeMismatch => "FIXED_SIZE_MISMATCH",
            Kind::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            Kind::ReaderFieldMissingDefaultValue => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Kind::TypeMismatch => "TYPE_MISMATCH",
            Kind::MissingUnionBranch => "MISSING_UNION_BRANCH",
        }
    }
}

/// Compares a new schema, as the reader, with an old one, as the writer.
pub fn can_read(new: &Schema, old: &Schema) -> Findings {
    let mut check = Check { new, old, assumed: IndexSet::new(), findings: Findings::default() };
    check.types(&new.root, &old.root, &Spot::default());
    check.findings
}

struct Check<'a> {
    new: &'a Schema,
    old: &'a Schema,
    /// Pairs of named types that are being compared further up, or were found to fit.
    assumed: IndexSet<(&'a str, &'a str)>,
    findings: Findings,
}

/// A place in the reader.
#[derive(Debug, Clone, Default)]
struct Spot {
    /// `a.b[]`
    path: String,
    /// `/fields/0/type/items`
    pointer: String,
}

impl Spot {
    fn field(&self, index: usize, name: &str) -> Spot {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Spot { path, pointer: format!("{}/fields/{index}", self.pointer) }
    }

    fn below(&self, name: &str, part: impl std::fmt::Display) -> Spot {
        Spot { path: format!("{}{name}", self.path), pointer: format!("{}/{part}", self.pointer) }
    }

    /// The top itself is `/`.
    fn pointer(&self) -> String {
        if self.pointer.is_empty() { "/".into() } else { self.pointer.clone() }
    }
}

impl<'a> Check<'a> {
    fn types(&mut self, new: &'a Type, old: &'a Type, spot: &Spot) {
        match (new, old) {
            // Each branch that may have been written must be readable.
            (Type::Union(readers), Type::Union(branches)) => {
                for (index, branch) in branches.iter().enumerate() {
                    self.some_branch(readers, branch, &spot.below("", index));
                }
            }
            (_, Type::Union(branches)) => {
                for branch in branches {
                    self.types(new, branch, spot);
                }
            }
            (Type::Union(branches), _) => self.some_branch(branches, old, spot),
            (Type::Array { items: new, .. }, Type::Array { items: old, .. }) => {
                self.types(new, old, &spot.below("[]", "items"));
            }
            (Type::Map { values: new, .. }, Type::Map { values: old, .. }) => {
                self.types(new, old, &spot.below("{}", "values"));
            }
            (Type::Primitive { kind: to, .. }, Type::Primitive { kind: from, .. }) => {
                if reads(*to, *from) {
                    self.logical_types(new, old, &spot.path);
                } else {
                    self.mismatch(new, old, spot);
                }
            }
            _ => match (self.new.definition(new), self.old.definition(old)) {
                (Some(new_named), Some(old_named)) => self.named(new_named, old_named, spot),
                _ => self.mismatch(new, old, spot),
            },
        }
    }

    /// One branch of the new union must read the old type.
    fn some_branch(&mut self, branches: &'a [Type], old: &'a Type, spot: &Spot) {
        for branch in branches {
            let before = std::mem::take(&mut self.findings);
            self.types(branch, old, spot);
            let tried = std::mem::replace(&mut self.findings, before);
            if tried.reasons.is_empty() {
                self.findings.warnings.extend(tried.warnings);
                return;
            }
        }
        let lost = describe(self.old, old);
        self.no(Kind::MissingUnionBranch, spot, format!("the union has no branch that reads {lost}"), lost);
    }

    fn named(&mut self, new: &'a Named, old: &'a Named, spot: &Spot) {
        let pair = (new.full_name.as_str(), old.full_name.as_str());
        let known = self.assumed.len();
        if !self.assumed.insert(pair) {
            return;
        }
        let before = self.findings.reasons.len();
        let same_name = short_name(&new.full_name) == short_name(&old.full_name);
        match (&new.kind, &old.kind) {
            (NamedKind::Record { .. }, NamedKind::Record { .. })
            | (NamedKind::Enum { .. }, NamedKind::Enum { .. })
            | (NamedKind::Fixed { .. }, NamedKind::Fixed { .. })
                if !same_name && !new.aliases.contains(&old.full_name) =>
            {
                let (was, is) = (&old.full_name, &new.full_name);
                let why = format!("`{was}` is now named `{is}`; the new type can have the alias `{was}`");
                self.no(Kind::NameMismatch, &spot.below("", "name"), why, format!("expected: {was}"));
            }
            (NamedKind::Record { fields: new }, NamedKind::Record { fields: old }) => self.fields(new, old, spot),
            (NamedKind::Enum { symbols: new, default }, NamedKind::Enum { symbols: old, .. }) => {
                let gone: Vec<&str> = old.iter().filter(|s| !new.contains(s)).map(String::as_str).collect();
                if !gone.is_empty() && default.is_none() {
                    let why = format!("the enum lost `{}` and has no default", gone.join("`, `"));
                    let about = format!("[{}]", gone.join(", "));
                    self.no(Kind::MissingEnumSymbols, &spot.below("", "symbols"), why, about);
                }
            }
            (NamedKind::Fixed { size: new }, NamedKind::Fixed { size: old }) if new == old => {}
            (NamedKind::Fixed { size: new }, NamedKind::Fixed { size: old }) => {
                let why = format!("the fixed had {old} bytes and now has {new}");
                self.no(
                    Kind::FixedSizeMismatch,
                    &spot.below("", "size"),
                    why,
                    format!("expected: {old}, found: {new}"),
                );
            }
            _ => {
                let why = format!("{} cannot be read as {}", kind_of(old), kind_of(new));
                self.no(Kind::TypeMismatch, spot, why, format!("reader: {}, writer: {}", kind_of(new), kind_of(old)));
            }
        }
        if self.findings.reasons.len() > before {
            // With it go those that were found to fit because this one was assumed to.
            self.assumed.truncate(known);
        }
    }

    fn fields(&mut self, new: &'a [Field], old: &'a [Field], spot: &Spot) {
        for (index, field) in new.iter().enumerate() {
            let spot = spot.field(index, &field.name);
            let is_it = |old: &&Field| old.name == field.name || field.aliases.contains(&old.name);
            match old.iter().find(is_it) {
                Some(old) => self.types(&field.ty, &old.ty, &spot.below("", "type")),
                None if field.default.is_some() => {}
                None => {
                    let why = "it is new and has no default".to_owned();
                    self.no(Kind::ReaderFieldMissingDefaultValue, &spot, why, field.name.clone());
                }
            }
        }
    }

    fn logical_types(&mut self, new: &Type, old: &Type, path: &str) {
        let (was, is) = (logical_type(old), logical_type(new));
        if was != is {
            let name = |logical: Option<String>| logical.unwrap_or_else(|| "no logical type".into());
            let warning = format!(
                "{} {} becomes {}: old values are read, but mean something else",
                at(path),
                name(was),
                name(is)
            );
            self.findings.warnings.push(warning);
        }
    }

    fn mismatch(&mut self, new: &Type, old: &Type, spot: &Spot) {
        let (is, was) = (describe(self.new, new), describe(self.old, old));
        let why = format!("{was} cannot be read as {is}");
        self.no(Kind::TypeMismatch, spot, why, format!("reader: {is}, writer: {was}"));
    }

    fn no(&mut self, kind: Kind, spot: &Spot, why: String, about: String) {
        let text = format!("{} {why}", at(&spot.path));
        self.findings.reasons.push(Reason { text, kind, pointer: spot.pointer(), about });
    }
}

/// Avro's promotions, itself included.
fn reads(to: Primitive, from: Primitive) -> bool {
    use Primitive::*;
    match from {
        Int => matches!(to, Int | Long | Float | Double),
        Long => matches!(to, Long | Float | Double),
        Float => matches!(to, Float | Double),
        String | Bytes => matches!(to, String | Bytes),
        Null | Boolean | Double => to == from,
    }
}

fn logical_type(ty: &Type) -> Option<String> {
    let Type::Primitive { properties, .. } = ty else { return None };
    let name = properties.get("logicalType")?.as_str()?;
    let number = |key| properties.get(key).map_or_else(|| "0".to_string(), ToString::to_string);
    Some(match name {
        "decimal" => format!("decimal({}, {})", number("precision"), number("scale")),
        name => name.to_string(),
    })
}

fn describe(schema: &Schema, ty: &Type) -> String {
    match ty {
        Type::Primitive { kind, .. } => kind.word().into(),
        Type::Array { .. } => "an array".into(),
        Type::Map { .. } => "a map".into(),
        Type::Union(_) => "a union".into(),
        Type::Definition(name) | Type::Reference(name) => schema.named.get(name).map_or("a type".into(), kind_of),
    }
}

fn kind_of(named: &Named) -> String {
    match named.kind {
        NamedKind::Record { .. } => format!("the record `{}`", named.full_name),
        NamedKind::Enum { .. } => format!("the enum `{}`", named.full_name),
        NamedKind::Fixed { .. } => format!("the fixed `{}`", named.full_name),
    }
}

fn at(path: &str) -> String {
    if path.is_empty() { "top type:".into() } else { format!("`{path}`:") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(new: &str, old: &str) -> Findings {
        can_read(&Schema::parse(new).unwrap(), &Schema::parse(old).unwrap())
    }

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
    }

    #[track_caller]
    fn good(new: &str, old: &str) {
        assert_eq!(findings(new, old).texts(), Vec::<String>::new(), "{new} should read {old}");
    }

    #[track_caller]
    fn bad(new: &str, old: &str, why: &str) {
        let reasons = findings(new, old).texts().join("; ");
        assert!(reasons.contains(why), "{new} should not read {old} because {why}, but: {reasons}");
    }

    #[test]
    fn numbers_widen_and_text_and_bytes_read_each_other() {
        good(r#""double""#, r#""int""#);
        good(r#""float""#, r#""long""#);
        good(r#""bytes""#, r#""string""#);
        good(r#""string""#, r#""bytes""#);
        bad(r#""int""#, r#""long""#, "long cannot be read as int");
        bad(r#""string""#, r#""int""#, "int cannot be read as string");
        bad(
            r#"{"type":"array","items":"int"}"#,
            r#"{"type":"map","values":"int"}"#,
            "a map cannot be read as an array",
        );
    }

    #[test]
    fn a_new_field_needs_a_default_and_an_old_one_may_go() {
        let a = record(r#"{"name":"a","type":"int"}"#);
        let a_b = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
        let a_b0 = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int","default":0}"#);
        good(&a_b0, &a);
        good(&a, &a_b);
        bad(&a_b, &a, "`b`: it is new and has no default");
        bad(&record(r#"{"name":"a","type":"int"},{"name":"b","type":["null","int"]}"#), &a, "no default");
        bad(&record(r#"{"name":"z","type":"int"}"#), &a, "`z`: it is new");
        good(&record(r#"{"name":"z","type":"int","aliases":["a"]}"#), &a);
    }

    #[test]
    fn unions_must_cover_what_was_written() {
        good(r#"["null","long"]"#, r#""int""#);
        bad(r#"["null","string"]"#, r#""int""#, "no branch that reads int");
        good(r#""long""#, r#"["int","long"]"#);
        good(r#""int""#, r#"["int"]"#);
        bad(r#""int""#, r#"["null","int"]"#, "null cannot be read as int");
        good(r#"["int","null","string"]"#, r#"["null","int"]"#);
        bad(r#"["null"]"#, r#"["null","int"]"#, "no branch that reads int");
    }

    #[test]
    fn names_are_compared_without_their_namespace() {
        let named = |name: &str, more: &str| format!(r#"{{"type":"fixed","name":"{name}","size":2{more}}}"#);
        good(&named("x.F", ""), &named("y.F", ""));
        bad(&named("G", ""), &named("F", ""), "now named `G`");
        good(&named("G", r#","aliases":["F"]"#), &named("F", ""));
        bad(r#"{"type":"fixed","name":"F","size":3}"#, &named("F", ""), "had 2 bytes");
        bad(r#""bytes""#, &named("F", ""), "cannot be read as bytes");
    }

    #[test]
    fn an_enum_may_lose_symbols_only_with_a_default() {
        let symbols = |symbols: &str| format!(r#"{{"type":"enum","name":"E","symbols":{symbols}}}"#);
        good(&symbols(r#"["B","A","C"]"#), &symbols(r#"["A","B"]"#));
        bad(&symbols(r#"["A"]"#), &symbols(r#"["A","B"]"#), "lost `B`");
        good(r#"{"type":"enum","name":"E","symbols":["A"],"default":"A"}"#, &symbols(r#"["A","B"]"#));
    }

    #[test]
    fn each_reason_has_avros_class_and_a_pointer_into_the_reader() {
        let fields = |more: &str| record(&format!(r#"{{"name":"a","type":"int"}},{more}"#));
        let classed = |new: &str, old: &str| -> Vec<(Kind, String)> {
            findings(new, old).reasons.into_iter().map(|reason| (reason.kind, reason.pointer)).collect()
        };
        let one = |kind, pointer: &str| vec![(kind, pointer.to_owned())];
        let (b, a) = (fields(r#"{"name":"b","type":"int"}"#), record(r#"{"name":"a","type":"int"}"#));
        assert_eq!(classed(&b, &a), one(Kind::ReaderFieldMissingDefaultValue, "/fields/1"));
        let items = |ty: &str| fields(&format!(r#"{{"name":"b","type":{{"type":"array","items":"{ty}"}}}}"#));
        assert_eq!(classed(&items("int"), &items("long")), one(Kind::TypeMismatch, "/fields/1/type/items"));
        assert_eq!(classed(r#"["null"]"#, r#"["null","int"]"#), one(Kind::MissingUnionBranch, "/1"));
        assert_eq!(classed(r#""int""#, r#""long""#), one(Kind::TypeMismatch, "/"));
    }

    #[test]
    fn recursive_types_are_compared_once() {
        let list = |value: &str| {
            format!(
                r#"{{"type":"record","name":"N","fields":[{{"name":"v","type":"{value}"}},{{"name":"next","type":["null","N"]}}]}}"#
            )
        };
        good(&list("long"), &list("int"));
        bad(&list("int"), &list("string"), "`v`: string cannot be read as int");
    }

    #[test]
    fn a_changed_logical_type_is_read_with_a_warning() {
        let logical =
            |name: &str| record(&format!(r#"{{"name":"t","type":{{"type":"long","logicalType":"{name}"}}}}"#));
        let found = findings(&logical("timestamp-micros"), &logical("timestamp-millis"));
        assert!(found.reasons.is_empty());
        assert!(found.warnings[0].contains("`t`: timestamp-millis becomes timestamp-micros"), "{found:?}");
    }
}
