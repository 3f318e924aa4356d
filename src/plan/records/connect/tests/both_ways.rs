//! Transformations of whole columns against the same ones record by record: random chains over rows of random schemas.
//! The same bytes and topic, and no record that the way by rows would refuse or drop.
//!
//! `RUNNER_TRANSFORM_SEEDS=100000` runs more of them, `RUNNER_TRANSFORM_SEED=17` one again.

use serde_json::{Map, Value as Json, json};

use super::*;

const SEEDS: u64 = 400;
/// Names of fields; `a_x` is also what a flattened field may be called.
const NAMES: &[&str] = &["a", "b", "c", "d", "e", "f", "a_x"];
const INNER: &[&str] = &["x", "y", "a"];

/// Numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    /// The first names of a list that was shuffled.
    fn some(&mut self, names: &[&'static str], count_max: usize) -> Vec<&'static str> {
        let mut all = names.to_vec();
        let count = 1 + self.below(count_max.min(all.len()));
        (0..count).map(|_| all.remove(self.below(all.len()))).collect()
    }
}

/// A field's type in Avro, values of it as our JSON has them, and one as a default in a schema, if it may have one.
struct Type {
    avro: Json,
    values: Vec<Json>,
    default: Option<Json>,
}

fn plain(random: &mut Random) -> Type {
    let of = |avro: Json, values: Vec<Json>, default: Option<Json>| Type { avro, values, default };
    let logical = |base: &str, name: &str| json!({"type": base, "logicalType": name});
    match random.below(10) {
        0 => of(json!("boolean"), vec![json!(true), json!(false)], Some(json!(true))),
        1 => of(json!("int"), vec![json!(0), json!(-7), json!(i32::MAX)], Some(json!(3))),
        2 => of(json!("long"), vec![json!(1), json!(i64::MIN), json!((1_i64 << 53) + 1)], Some(json!(-4))),
        3 => of(json!("float"), vec![json!(0.1), json!(-1.5), json!(16_777_216.0)], Some(json!(0.5))),
        4 => of(json!("double"), vec![json!(0.1), json!(1e300), json!(-2.0)], Some(json!(1.25))),
        5 => of(json!("string"), vec![json!(""), json!("é"), json!("12"), json!("true")], Some(json!("none"))),
        6 => of(json!("bytes"), vec![json!(""), json!("AP8=")], Some(json!("\u{7}"))),
        7 => of(logical("int", "date"), vec![json!("1970-01-02"), json!("2024-02-29")], None),
        8 => of(
            logical("long", "timestamp-millis"),
            vec![json!("2024-02-29T13:05:00.123Z")],
            Some(json!(86_400_000_i64)),
        ),
        _ => of(logical("int", "time-millis"), vec![json!("13:05:00.001"), json!("00:00:00")], None),
    }
}

/// `path` keeps the names of types apart.
fn type_of(random: &mut Random, path: &str, depth: u32) -> Type {
    let only = |avro: Json, values: Vec<Json>| Type { avro, values, default: None };
    match random.below(14) {
        0 => {
            let avro = json!({"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3});
            only(avro, vec![json!(0), json!(-12.345), json!(99999.5)])
        }
        1 => {
            let text = "123e4567-e89b-12d3-a456-426614174000";
            only(json!({"type": "string", "logicalType": "uuid"}), vec![json!(text)])
        }
        2 => {
            let avro = json!({"type": "enum", "name": format!("E{path}"), "symbols": ["S", "L"]});
            Type { avro, values: vec![json!("S"), json!("L")], default: Some(json!("L")) }
        }
        3 => only(json!({"type": "fixed", "name": format!("F{path}"), "size": 3}), vec![json!("AQID")]),
        4 => {
            let items = plain(random);
            only(json!({"type": "array", "items": items.avro}), vec![json!([]), json!(items.values)])
        }
        5 => {
            let inner = plain(random);
            let entries = Map::from_iter([("k".to_owned(), inner.values[0].clone())]);
            only(json!({"type": "map", "values": inner.avro}), vec![json!({}), json!(entries)])
        }
        6 | 7 if depth > 0 => {
            let (avro, rows) = record(random, path, INNER, depth - 1);
            only(avro, rows)
        }
        _ => plain(random),
    }
}

/// A record's schema, and rows of it.
fn record(random: &mut Random, path: &str, names: &[&'static str], depth: u32) -> (Json, Vec<Json>) {
    let mut fields = Vec::new();
    let mut rows = vec![Map::new(); 1 + random.below(4)];
    for name in random.some(names, names.len()) {
        let Type { avro, values, default } = type_of(random, &format!("{path}__{name}"), depth);
        let mut field = json!({"name": name});
        let is_nullable = match (random.below(6), default) {
            (0, Some(default)) => {
                (field["type"], field["default"]) = (json!([avro, "null"]), default);
                true
            }
            (1, Some(default)) => {
                (field["type"], field["default"]) = (avro, default);
                false
            }
            (0..=2, _) => {
                (field["type"], field["default"]) = (json!(["null", avro]), Json::Null);
                true
            }
            _ => {
                field["type"] = avro;
                false
            }
        };
        if random.one_in(4) {
            field["doc"] = json!("said of it");
        }
        fields.push(field);
        for row in &mut rows {
            let value = if is_nullable && random.one_in(3) { Json::Null } else { random.of(&values) };
            row.insert(name.to_owned(), value);
        }
    }
    let avro = json!({"type": "record", "name": format!("R{path}"), "namespace": "n", "fields": fields});
    (avro, rows.into_iter().map(Json::Object).collect())
}

/// A name that is mostly there.
fn name(random: &mut Random, known: &[String]) -> String {
    if random.one_in(12) { random.of(NAMES).to_owned() } else { random.of(known) }
}

fn listed(random: &mut Random, known: &[String], count_max: usize) -> String {
    let mut names: Vec<String> = (0..=random.below(count_max)).map(|_| name(random, known)).collect();
    names.dedup();
    names.join(",")
}

/// Class and settings of one transformation, for fields that it may find.
fn link(random: &mut Random, known: &mut Vec<String>) -> (String, Vec<(&'static str, String)>) {
    let side = if random.one_in(4) { "Key" } else { "Value" };
    let sided = |class: &str| format!("{class}${side}");
    let mut given: Vec<(&'static str, String)> = Vec::new();
    let class = match random.below(13) {
        0 | 1 => {
            let mark = random.of(&["", "!", "?"]);
            let all = ["topic.field", "partition.field", "static.field", "timestamp.field", "offset.field"];
            let count = if random.one_in(8) { 5 } else { 3 };
            for key in random.some(&all[..count], 3) {
                let new = format!("new{}", known.len());
                known.push(new.clone());
                given.push((key, format!("{new}{mark}")));
                if key == "static.field" {
                    given.push(("static.value", "north".into()));
                }
            }
            sided("InsertField")
        }
        2 | 3 => {
            match random.below(3) {
                0 => given.push(("include", listed(random, known, 4))),
                1 => given.push(("exclude", listed(random, known, 2))),
                _ => {}
            }
            let (from, to) = (name(random, known), format!("r{}", random.below(3)));
            given.push(("renames", format!("{from}:{to}")));
            known.push(to);
            sided("ReplaceField")
        }
        4 => {
            given.push(("fields", listed(random, known, 3)));
            if random.one_in(2) {
                given.push(("replacement", random.of(&["xx", "7", "1.5"]).into()));
            }
            sided("MaskField")
        }
        5 | 6 => {
            let types = ["int8", "int16", "int32", "int64", "float32", "float64", "boolean", "string"];
            let casts: Vec<String> =
                (0..=random.below(2)).map(|_| format!("{}:{}", name(random, known), random.of(&types))).collect();
            given.push(("spec", if random.one_in(8) { random.of(&types).into() } else { casts.join(",") }));
            sided("Cast")
        }
        7 => {
            given.push(("field", "whole".into()));
            known.push("whole".into());
            sided("HoistField")
        }
        8 => {
            given.push(("field", name(random, known)));
            if random.one_in(4) {
                given.push(("field.syntax.version", "V2".into()));
            }
            sided("ExtractField")
        }
        9 => {
            given.push(("schema.name", "x.Other".into()));
            if random.one_in(2) {
                given.push(("schema.version", "3".into()));
            }
            sided("SetSchemaMetadata")
        }
        10 => {
            let delimiter = random.of(&["_", "."]);
            given.push(("delimiter", delimiter.into()));
            known.extend(INNER.iter().map(|inner| format!("a{delimiter}{inner}")));
            sided("Flatten")
        }
        11 => {
            given.push(("fields", listed(random, known, 3)));
            "ValueToKey".to_owned()
        }
        _ if random.one_in(3) => match random.below(4) {
            0 => {
                given.extend([("field", name(random, known)), ("target.type", "unix".into())]);
                sided("TimestampConverter")
            }
            1 => {
                given.extend([("header", "h".into()), ("value.literal", "12".into())]);
                "InsertHeader".to_owned()
            }
            2 => {
                let field = name(random, known);
                given.extend([("fields", field), ("headers", "h".into()), ("operation", "move".into())]);
                sided("HeaderFrom")
            }
            _ => "Filter".to_owned(),
        },
        _ => {
            given.extend([("regex", random.of(&["(.*)ers", "o(.*)", "x.*"]).into()), ("replacement", "$1s".into())]);
            "RegexRouter".to_owned()
        }
    };
    if random.one_in(4) {
        given.push(("replace.null.with.default", "false".into()));
    }
    (class, given)
}

/// The settings of a chain, and its last link's: one that does nothing, and must see each record.
fn chain(random: &mut Random, fields: &[String]) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let mut known = fields.to_vec();
    let (mut all, mut names) = (BTreeMap::new(), Vec::new());
    let mut put = |key: String, value: &str| drop(all.insert(key, value.to_owned()));
    for index in 0..random.below(5) {
        let (class, given) = link(random, &mut known);
        let prefix = format!("transforms.t{index}.");
        put(format!("{prefix}type"), &format!("org.apache.kafka.connect.transforms.{class}"));
        given.iter().for_each(|(key, value)| put(format!("{prefix}{key}"), value));
        if random.one_in(5) {
            put(format!("{prefix}predicate"), random.of(&["orders", "other", "tombstone"]));
            put(format!("{prefix}negate"), random.of(&["true", "false"]));
        }
        names.push(format!("t{index}"));
    }
    put("predicates".into(), "orders,other,tombstone");
    let classes = [("orders", "TopicNameMatches"), ("other", "TopicNameMatches"), ("tombstone", "RecordIsTombstone")];
    for (name, class) in classes {
        put(format!("predicates.{name}.type"), &format!("org.apache.kafka.connect.transforms.predicates.{class}"));
    }
    put("predicates.orders.pattern".into(), "ord.*");
    put("predicates.other.pattern".into(), "other|s");
    let mut by_rows = all.clone();
    all.insert("transforms".into(), names.join(","));
    names.push("rows".into());
    by_rows.insert("transforms".into(), names.join(","));
    by_rows.insert("transforms.rows.type".into(), "org.apache.kafka.connect.transforms.DropHeaders".into());
    by_rows.insert("transforms.rows.headers".into(), "none".into());
    (all, by_rows)
}

/// The converter of one side, and what it is told.
fn converter(random: &mut Random, side: &str) -> Vec<(String, String)> {
    let class = random.of(&["Avro", "Avro", "Json", "Json", "plain", "String"]);
    let key = format!("{side}.converter");
    match class {
        "plain" => vec![
            (format!("{key}.schemas.enable"), "false".into()),
            (format!("{key}.decimal.format"), "NUMERIC".into()),
            (key, "JsonConverter".into()),
        ],
        class => vec![(key, format!("{class}Converter"))],
    }
}

/// What is wrong with a seed; `at_once` counts those whose columns went through as such.
fn judged(seed: u64, at_once: &mut u32) -> Option<String> {
    let mut random = Random(seed);
    let (avro, objects) = record(&mut random, "", NAMES, 2);
    let text = avro.to_string();
    let objects: Vec<String> = objects.iter().map(Json::to_string).collect();
    let rows = rows(arrow_schema(&text).unwrap(), &objects.iter().map(String::as_str).collect::<Vec<_>>());
    let schema = connect_schema(&AvroSchema::parse(&text).unwrap(), Dialect::default()).unwrap();
    let columns: Vec<String> = schema.fields().iter().map(|field| field.name.clone()).collect();
    let (mut all, mut by_rows) = chain(&mut random, &columns);
    for converters in [converter(&mut random, "key"), converter(&mut random, "value")] {
        all.extend(converters.clone());
        by_rows.extend(converters);
    }
    let key = match random.below(4) {
        0 => Part::Null(None),
        1 => Part::Null(Some(Arc::new(Schema::optional(Kind::String)))),
        2 => Part::Struct { columns: columns.clone(), schema: schema.clone() },
        _ => {
            let field = random.of(schema.fields());
            Part::Whole { column: field.name, schema: Some(field.schema) }
        }
    };
    let value = match &*columns {
        [only] if random.one_in(2) => {
            Part::Whole { column: only.clone(), schema: Some(schema.fields()[0].schema.clone()) }
        }
        _ => Part::Struct { columns, schema },
    };
    let open = |all: BTreeMap<String, String>| {
        let settings = ConnectSettings { all, registry: Some(Arc::new(Ids::default())) };
        settings.open().ok()?;
        let spec = written::ConnectRecords {
            settings,
            topic: "orders".into(),
            by_record: false,
            key: key.clone(),
            value: value.clone(),
            timestamp: crate::plan::records::kafka::Timestamp::Now,
            headers: written::Headers::Nothing,
            mode: crate::plan::Mode::Append,
            record_bytes_max: 1_000_000,
        };
        Some(spec.encoder().unwrap())
    };
    // Settings that cannot be are refused before anything runs.
    let mut fast = open(all.clone())?;
    let mut arena = Vec::new();
    let bytes = fast.bytes(&rows, &mut arena).unwrap()?;
    *at_once += 1;
    let said = || format!("seed {seed}: {all:#?}\n{text}\n{objects:#?}");
    let topic = fast.chain().routed("orders");
    if topic.as_ref() != Some(&bytes.topic) {
        return Some(format!("{}\ncolumns go to `{}`, records to {topic:?}", said(), bytes.topic));
    }
    let batch = Batch { source: 0, partition: 0, rows };
    let mut dead = Vec::new();
    let at_once = shown(&open(all.clone())?.encode(&batch, &mut dead).unwrap());
    let one_by_one = shown(&open(by_rows)?.encode(&batch, &mut dead).unwrap());
    let lossy = |records: &Shown| {
        let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        records.iter().map(|(key, value)| format!("{:?} {:?}\n", text(key), text(value))).collect::<String>()
    };
    let reasons: Vec<String> = dead.iter().map(|dead| dead.reason.to_string()).collect();
    (at_once != one_by_one || !reasons.is_empty())
        .then(|| format!("{}\ncolumns:\n{}rows:\n{}refused: {reasons:?}", said(), lossy(&at_once), lossy(&one_by_one)))
}

#[test]
fn columns_give_what_record_by_record_gives() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("RUNNER_TRANSFORM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RUNNER_TRANSFORM_SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let mut at_once = 0;
    let wrong: Vec<String> = seeds.filter_map(|seed| judged(seed, &mut at_once)).take(5).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
    assert!(
        count < 200 || u64::from(at_once) * 6 > count,
        "{at_once} of {count} chains are of columns: too few to say"
    );
}
