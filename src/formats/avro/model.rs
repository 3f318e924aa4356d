//! An Avro schema as a tree: names resolved, references expanded, logical types understood.
//!
//! References are expanded because a projection may cut away the place where a name was defined.
//! A logical type that does not fit its type is ignored, as the specification wants.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// Schemas that expand to more types than this are refused; they are mistakes or attacks.
const TYPES_MAX: usize = 100_000;
/// References that lead deeper are refused: everything that walks a schema is recursive.
const DEPTH_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Type {
    pub(super) kind: Kind,
    pub(super) logical: Option<Logical>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    Record(Box<Record>),
    Enum(Box<Enumeration>),
    Fixed(Box<Fixed>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logical {
    Decimal { precision: u8, scale: i8 },
    Date,
    TimeMillis,
    TimeMicros,
    TimestampMillis,
    TimestampMicros,
    TimestampNanos,
    LocalTimestampMillis,
    LocalTimestampMicros,
    LocalTimestampNanos,
    Uuid,
    Duration,
}

/// Name of a record, enum or fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) full: String,
    /// Full names.
    pub(super) aliases: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) name: Name,
    pub(super) doc: Option<String>,
    pub(super) fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) doc: Option<String>,
    pub(super) ty: Type,
    pub(super) default: Option<Value>,
    pub(super) aliases: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Enumeration {
    pub(super) name: Name,
    pub(super) doc: Option<String>,
    pub(super) symbols: Vec<String>,
    pub(super) default: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fixed {
    pub(super) name: Name,
    pub(super) size: usize,
}

impl Name {
    pub(super) fn short(&self) -> &str {
        self.full.rsplit_once('.').map_or(&self.full, |(_, short)| short)
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        self.full.rsplit_once('.').map(|(namespace, _)| namespace)
    }

    /// Whether a value written under `writer` may be read under this name. Registries compare
    /// short names only, so namespaces do not matter here either.
    pub(super) fn reads(&self, writer: &Name) -> bool {
        self.short() == writer.short() || self.aliases.contains(&writer.full)
    }
}

impl Type {
    pub(super) fn plain(kind: Kind) -> Type {
        Type { kind, logical: None }
    }

    /// Parses a schema's JSON text.
    ///
    /// # Errors
    /// A sentence fragment that says what is wrong with the schema.
    pub(super) fn parse(text: &str) -> Result<Type, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        Parser::default().parse(&value, None)
    }

    /// The branch that is not null and the index of null, for a union of null and one other.
    pub(super) fn nullable(&self) -> Option<(usize, &Type)> {
        match &self.kind {
            Kind::Union(branches) if branches.len() == 2 => {
                let null = branches.iter().position(|branch| branch.kind == Kind::Null)?;
                let other = &branches[1 - null];
                (other.kind != Kind::Null).then_some((null, other))
            }
            _ => None,
        }
    }

    pub(super) fn name(&self) -> Option<&Name> {
        match &self.kind {
            Kind::Record(record) => Some(&record.name),
            Kind::Enum(symbols) => Some(&symbols.name),
            Kind::Fixed(fixed) => Some(&fixed.name),
            _ => None,
        }
    }

    /// The record that a top-level schema stands for: itself, or a record of one field `value`.
    /// The bytes are the same.
    pub(super) fn into_record(self) -> Record {
        match self.kind {
            Kind::Record(record) => *record,
            kind => Record {
                name: Name { full: "Value".into(), aliases: Vec::new() },
                doc: None,
                fields: vec![Field {
                    name: super::LONE_COLUMN.into(),
                    doc: None,
                    ty: Type { kind, logical: self.logical },
                    default: None,
                    aliases: Vec::new(),
                }],
            },
        }
    }

    /// Words for messages: `record Order`, `["null", "string"]`, `timestamp-millis`.
    pub(super) fn describe(&self) -> String {
        if let Some(logical) = self.logical {
            return logical.describe();
        }
        match &self.kind {
            Kind::Null => "null".into(),
            Kind::Boolean => "boolean".into(),
            Kind::Int => "int".into(),
            Kind::Long => "long".into(),
            Kind::Float => "float".into(),
            Kind::Double => "double".into(),
            Kind::Bytes => "bytes".into(),
            Kind::String => "string".into(),
            Kind::Array(items) => format!("array of {}", items.describe()),
            Kind::Map(values) => format!("map of {}", values.describe()),
            Kind::Union(branches) => {
                let names: Vec<_> = branches.iter().map(Type::describe).collect();
                format!("[{}]", names.join(", "))
            }
            Kind::Record(record) => format!("record {}", record.name.full),
            Kind::Enum(symbols) => format!("enum {}", symbols.name.full),
            Kind::Fixed(fixed) => format!("fixed({})", fixed.size),
        }
    }

    /// Whether some array's items may take no bytes at all, so that a few bytes could stand for
    /// billions of them.
    pub(super) fn has_weightless_items(&self) -> bool {
        match &self.kind {
            Kind::Array(items) => items.bytes_min() == 0 || items.has_weightless_items(),
            Kind::Map(values) => values.has_weightless_items(),
            Kind::Union(branches) => branches.iter().any(Type::has_weightless_items),
            Kind::Record(record) => record.fields.iter().any(|field| field.ty.has_weightless_items()),
            _ => false,
        }
    }

    fn bytes_min(&self) -> usize {
        match &self.kind {
            Kind::Null => 0,
            Kind::Fixed(fixed) => fixed.size,
            Kind::Record(record) => record.fields.iter().map(|field| field.ty.bytes_min()).sum(),
            _ => 1,
        }
    }

    /// The schema's JSON with every reference expanded: what arrow-avro is given. A real registry
    /// would refuse names that are defined twice; see [`super::schema`] for texts to register.
    pub(super) fn expanded(&self) -> Value {
        let mut printed = match &self.kind {
            Kind::Null => json!({"type": "null"}),
            Kind::Boolean => json!({"type": "boolean"}),
            Kind::Int => json!({"type": "int"}),
            Kind::Long => json!({"type": "long"}),
            Kind::Float => json!({"type": "float"}),
            Kind::Double => json!({"type": "double"}),
            Kind::Bytes => json!({"type": "bytes"}),
            Kind::String => json!({"type": "string"}),
            Kind::Array(items) => json!({"type": "array", "items": items.expanded()}),
            Kind::Map(values) => json!({"type": "map", "values": values.expanded()}),
            Kind::Union(branches) => return Value::Array(branches.iter().map(Type::expanded).collect()),
            Kind::Record(record) => record.expanded(),
            Kind::Enum(symbols) => symbols.expanded(),
            Kind::Fixed(fixed) => json_named("fixed", &fixed.name, None, [("size", json!(fixed.size))]),
        };
        match (self.logical, &mut printed) {
            (Some(logical), Value::Object(map)) => logical.print(map),
            // Unadorned null must be a bare word, or nullable unions are not recognised.
            (None, Value::Object(map)) if map.len() == 1 => return map["type"].take(),
            _ => {}
        }
        printed
    }
}

impl Record {
    pub(super) fn expanded(&self) -> Value {
        let fields: Vec<_> = self.fields.iter().map(Field::expanded).collect();
        json_named("record", &self.name, self.doc.as_deref(), [("fields", Value::Array(fields))])
    }
}

impl Field {
    fn expanded(&self) -> Value {
        let mut map = Map::new();
        map.insert("name".into(), json!(self.name));
        map.insert("type".into(), self.ty.expanded());
        if let Some(doc) = &self.doc {
            map.insert("doc".into(), json!(doc));
        }
        if let Some(default) = &self.default {
            map.insert("default".into(), default.clone());
        }
        if !self.aliases.is_empty() {
            map.insert("aliases".into(), json!(self.aliases));
        }
        Value::Object(map)
    }
}

impl Enumeration {
    fn expanded(&self) -> Value {
        let mut printed = json_named("enum", &self.name, self.doc.as_deref(), [("symbols", json!(self.symbols))]);
        if let (Some(default), Value::Object(map)) = (&self.default, &mut printed) {
            map.insert("default".into(), json!(default));
        }
        printed
    }
}

fn json_named<const N: usize>(kind: &str, name: &Name, doc: Option<&str>, rest: [(&str, Value); N]) -> Value {
    let mut map = Map::new();
    map.insert("type".into(), json!(kind));
    map.insert("name".into(), json!(name.short()));
    // An empty namespace is said too: without it the enclosing one would be inherited.
    map.insert("namespace".into(), json!(name.namespace().unwrap_or_default()));
    if let Some(doc) = doc {
        map.insert("doc".into(), json!(doc));
    }
    if !name.aliases.is_empty() {
        map.insert("aliases".into(), json!(name.aliases));
    }
    map.extend(rest.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(map)
}

impl Logical {
    pub(super) fn word(self) -> &'static str {
        match self {
            Logical::Decimal { .. } => "decimal",
            Logical::Date => "date",
            Logical::TimeMillis => "time-millis",
            Logical::TimeMicros => "time-micros",
            Logical::TimestampMillis => "timestamp-millis",
            Logical::TimestampMicros => "timestamp-micros",
            Logical::TimestampNanos => "timestamp-nanos",
            Logical::LocalTimestampMillis => "local-timestamp-millis",
            Logical::LocalTimestampMicros => "local-timestamp-micros",
            Logical::LocalTimestampNanos => "local-timestamp-nanos",
            Logical::Uuid => "uuid",
            Logical::Duration => "duration",
        }
    }

    pub(super) fn describe(self) -> String {
        match self {
            Logical::Decimal { precision, scale } => format!("decimal({precision}, {scale})"),
            other => other.word().into(),
        }
    }

    pub(super) fn print(self, map: &mut Map<String, Value>) {
        map.insert("logicalType".into(), json!(self.word()));
        if let Logical::Decimal { precision, scale } = self {
            map.insert("precision".into(), json!(precision));
            map.insert("scale".into(), json!(scale));
        }
    }

    /// The logical type that an object declares, if it fits `kind`.
    fn of(object: &Map<String, Value>, kind: &Kind) -> Option<Logical> {
        let logical = match (object.get("logicalType")?.as_str()?, kind) {
            ("decimal", Kind::Bytes | Kind::Fixed(_)) => return Self::decimal(object, kind),
            ("date", Kind::Int) => Logical::Date,
            ("time-millis", Kind::Int) => Logical::TimeMillis,
            ("time-micros", Kind::Long) => Logical::TimeMicros,
            ("timestamp-millis", Kind::Long) => Logical::TimestampMillis,
            ("timestamp-micros", Kind::Long) => Logical::TimestampMicros,
            ("timestamp-nanos", Kind::Long) => Logical::TimestampNanos,
            ("local-timestamp-millis", Kind::Long) => Logical::LocalTimestampMillis,
            ("local-timestamp-micros", Kind::Long) => Logical::LocalTimestampMicros,
            ("local-timestamp-nanos", Kind::Long) => Logical::LocalTimestampNanos,
            ("uuid", Kind::String) => Logical::Uuid,
            ("uuid", Kind::Fixed(fixed)) if fixed.size == 16 => Logical::Uuid,
            ("duration", Kind::Fixed(fixed)) if fixed.size == 12 => Logical::Duration,
            _ => return None,
        };
        Some(logical)
    }

    fn decimal(object: &Map<String, Value>, kind: &Kind) -> Option<Logical> {
        let precision = object.get("precision")?.as_u64().filter(|precision| (1..=76).contains(precision))?;
        let scale = object.get("scale").map_or(Some(0), Value::as_u64).filter(|scale| *scale <= precision)?;
        if let Kind::Fixed(fixed) = kind
            && (precision as usize) > fixed_digits(fixed.size)
        {
            return None;
        }
        Some(Logical::Decimal { precision: precision as u8, scale: scale as i8 })
    }
}

/// How many decimal digits always fit into a fixed of this size; 0 for sizes that no decimal has.
pub(super) fn fixed_digits(size: usize) -> usize {
    match size {
        // The largest value is 2^(8·size − 1) − 1.
        1..=32 => ((8 * size - 1) as f64 * std::f64::consts::LOG10_2) as usize,
        _ => 0,
    }
}

/// Reads what stands behind the name of a named type.
type Body = fn(&mut Parser, &Map<String, Value>, Name) -> Result<Type, String>;

#[derive(Default)]
struct Parser {
    defined: HashMap<String, Type>,
    /// Names whose definition is being read.
    open: Vec<String>,
    types: usize,
}

impl Parser {
    fn parse(&mut self, value: &Value, namespace: Option<&str>) -> Result<Type, String> {
        self.count(1)?;
        match value {
            Value::String(word) => self.word(word, namespace),
            Value::Array(branches) => self.union(branches, namespace),
            Value::Object(object) => self.object(object, namespace),
            other => Err(format!("`{other}` is not a type")),
        }
    }

    fn count(&mut self, types: usize) -> Result<(), String> {
        self.types += types;
        if self.types > TYPES_MAX { Err(format!("it has more than {TYPES_MAX} types")) } else { Ok(()) }
    }

    fn word(&mut self, word: &str, namespace: Option<&str>) -> Result<Type, String> {
        if let Some(kind) = primitive(word) {
            return Ok(Type::plain(kind));
        }
        // A name without dots is looked for in the enclosing namespace, then without one.
        let candidates = [full_name(word, None, namespace), word.to_owned()];
        for full in &candidates {
            if self.open.contains(full) {
                return Err(format!("`{full}` contains itself; recursive schemas come in a later release"));
            }
            if let Some(found) = self.defined.get(full) {
                let found = found.clone();
                let (types, depth) = measure(&found);
                if depth > DEPTH_MAX {
                    return Err(format!("types are nested more than {DEPTH_MAX} deep"));
                }
                self.count(types)?;
                return Ok(found);
            }
        }
        Err(format!("the type `{word}` is not defined"))
    }

    fn union(&mut self, branches: &[Value], namespace: Option<&str>) -> Result<Type, String> {
        let branches = branches.iter().map(|branch| self.parse(branch, namespace)).collect::<Result<Vec<_>, _>>()?;
        if branches.iter().any(|branch| matches!(branch.kind, Kind::Union(_))) {
            return Err("a union stands directly in a union".into());
        }
        Ok(Type::plain(Kind::Union(branches)))
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: Option<&str>) -> Result<Type, String> {
        let word = match object.get("type") {
            Some(Value::String(word)) => word.as_str(),
            Some(nested) => return self.parse(nested, namespace),
            None => return Err("a type has no `type`".into()),
        };
        let kind = match word {
            "record" | "error" => return self.named(object, namespace, Self::record),
            "enum" => return self.named(object, namespace, Self::enumeration),
            "fixed" => return self.named(object, namespace, Self::fixed),
            "array" => Kind::Array(Box::new(self.parse(member(object, "items")?, namespace)?)),
            "map" => Kind::Map(Box::new(self.parse(member(object, "values")?, namespace)?)),
            other => match primitive(other) {
                Some(kind) => kind,
                None => return self.word(other, namespace),
            },
        };
        let logical = Logical::of(object, &kind);
        Ok(Type { kind, logical })
    }

    fn named(&mut self, object: &Map<String, Value>, namespace: Option<&str>, body: Body) -> Result<Type, String> {
        let short = member(object, "name")?.as_str().ok_or("a `name` is not a string")?;
        let full = full_name(short, object.get("namespace").and_then(Value::as_str), namespace);
        let own_namespace = full.rsplit_once('.').map(|(namespace, _)| namespace.to_owned());
        let aliases =
            strings(object, "aliases").map(|alias| full_name(alias, None, own_namespace.as_deref())).collect();
        self.open.push(full.clone());
        let mut ty = body(self, object, Name { full: full.clone(), aliases })?;
        self.open.pop();
        if let Kind::Fixed(_) = ty.kind {
            ty.logical = Logical::of(object, &ty.kind);
        }
        self.defined.insert(full, ty.clone());
        Ok(ty)
    }

    fn record(&mut self, object: &Map<String, Value>, name: Name) -> Result<Type, String> {
        let namespace = name.namespace().map(str::to_owned);
        let fields = member(object, "fields")?.as_array().ok_or("`fields` is not a list")?;
        let fields =
            fields.iter().map(|field| self.field(field, namespace.as_deref())).collect::<Result<Vec<_>, _>>()?;
        Ok(Type::plain(Kind::Record(Box::new(Record { name, doc: doc(object), fields }))))
    }

    fn field(&mut self, value: &Value, namespace: Option<&str>) -> Result<Field, String> {
        let object = value.as_object().ok_or("a field is not an object")?;
        let name = member(object, "name")?.as_str().ok_or("a field's `name` is not a string")?;
        Ok(Field {
            name: name.to_owned(),
            doc: doc(object),
            ty: self.parse(member(object, "type")?, namespace).map_err(|error| format!("in `{name}`: {error}"))?,
            default: object.get("default").cloned(),
            aliases: strings(object, "aliases").map(str::to_owned).collect(),
        })
    }

    fn enumeration(&mut self, object: &Map<String, Value>, name: Name) -> Result<Type, String> {
        member(object, "symbols")?;
        Ok(Type::plain(Kind::Enum(Box::new(Enumeration {
            name,
            doc: doc(object),
            symbols: strings(object, "symbols").map(str::to_owned).collect(),
            default: object.get("default").and_then(Value::as_str).map(str::to_owned),
        }))))
    }

    fn fixed(&mut self, object: &Map<String, Value>, name: Name) -> Result<Type, String> {
        let size = member(object, "size")?.as_u64().filter(|size| *size <= i32::MAX as u64);
        let size = size.ok_or("a fixed's `size` is not a size")? as usize;
        Ok(Type::plain(Kind::Fixed(Box::new(Fixed { name, size }))))
    }
}

fn primitive(word: &str) -> Option<Kind> {
    Some(match word {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

fn full_name(name: &str, namespace: Option<&str>, enclosing: Option<&str>) -> String {
    match namespace.or(enclosing) {
        _ if name.contains('.') => name.trim_start_matches('.').to_owned(),
        Some(namespace) if !namespace.is_empty() => format!("{namespace}.{name}"),
        _ => name.to_owned(),
    }
}

fn member<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a Value, String> {
    object.get(key).ok_or_else(|| format!("a type has no `{key}`"))
}

fn strings<'a>(object: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a str> {
    object.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn doc(object: &Map<String, Value>) -> Option<String> {
    object.get("doc").and_then(Value::as_str).map(str::to_owned)
}

/// How many types there are in it, and how deep they are nested.
fn measure(ty: &Type) -> (usize, usize) {
    let sum = |(types, depth): (usize, usize), (more, deep): (usize, usize)| (types + more, depth.max(deep));
    let (types, depth) = match &ty.kind {
        Kind::Array(inner) | Kind::Map(inner) => measure(inner),
        Kind::Union(branches) => branches.iter().map(measure).fold((0, 0), sum),
        Kind::Record(record) => record.fields.iter().map(|field| measure(&field.ty)).fold((0, 0), sum),
        _ => (0, 0),
    };
    (types + 1, depth + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_their_namespace_and_expanded() {
        let ty = Type::parse(
            r#"{"type":"record","name":"a.R","fields":[
                {"name":"x","type":{"type":"fixed","name":"F","size":2}},
                {"name":"y","type":["null","F"]},{"name":"z","type":"a.F"}]}"#,
        )
        .unwrap();
        let Kind::Record(record) = ty.kind else { panic!() };
        assert_eq!(record.fields[1].ty.nullable().unwrap().1, &record.fields[0].ty);
        assert_eq!(record.fields[2].ty.name().unwrap().full, "a.F");
    }

    #[test]
    fn a_record_in_itself_is_refused() {
        let error = Type::parse(r#"{"type":"record","name":"Tree","fields":[{"name":"left","type":["null","Tree"]}]}"#)
            .unwrap_err();
        assert_eq!(error, "in `left`: `Tree` contains itself; recursive schemas come in a later release");
    }

    #[test]
    fn a_logical_type_that_does_not_fit_is_ignored() {
        assert_eq!(Type::parse(r#"{"type":"string","logicalType":"date"}"#).unwrap(), Type::plain(Kind::String));
        let decimal = r#"{"type":"fixed","name":"D","size":2,"logicalType":"decimal","precision":5}"#;
        assert_eq!(Type::parse(decimal).unwrap().logical, None);
    }

    #[test]
    fn digits_of_a_fixed_are_those_that_always_fit() {
        let sizes = [1, 2, 4, 8, 16, 32];
        assert_eq!(sizes.map(fixed_digits), [2, 4, 9, 18, 38, 76]);
    }
}
