//! `pipelines/commercials` on real servers, held against what is computed here from its input; and the
//! same queries over 48 known ratings.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::runner::Ended;
use crate::servers::{self, TestRecord, unique};
use crate::specs::{Folder, avro_bytes, avro_long, decoded, framed, read_until, read_when, register, registry};
use runner::registry::Registry;

/// Count and averages.
pub type Metrics = (u64, f64, f64);

/// A rating as it stands in the topic: time, brand, duration, rating.
pub struct Rating {
    pub time: i64,
    pub brand: String,
    pub duration: i64,
    pub rating: i64,
}

impl Rating {
    /// Of a record of the Avro topic.
    pub fn of(record: &TestRecord) -> Rating {
        let value = decoded(record.value.as_ref()).unwrap();
        let brand = value["brand"].as_str().unwrap().to_owned();
        assert_eq!(record.key.as_deref(), Some(brand.as_bytes()));
        let int = |name: &str| value[name].as_i64().unwrap();
        Rating { time: record.timestamp.unwrap(), brand, duration: int("duration"), rating: int("rating") }
    }
}

pub fn metrics<'a>(ratings: impl IntoIterator<Item = &'a Rating>) -> BTreeMap<String, Metrics> {
    let mut sums: BTreeMap<String, (u64, i64, i64)> = BTreeMap::new();
    for Rating { brand, duration, rating, .. } in ratings {
        let sum = sums.entry(brand.clone()).or_default();
        *sum = (sum.0 + 1, sum.1 + duration, sum.2 + rating);
    }
    let mean = |sum: i64, count: u64| sum as f64 / count as f64;
    sums.into_iter()
        .map(|(brand, (n, durations, ratings))| (brand, (n, mean(durations, n), mean(ratings, n))))
        .collect()
}

/// (start, brand) → count, of windows of 5 s with more than 3.
pub fn windows<'a>(ratings: impl IntoIterator<Item = &'a Rating>) -> BTreeMap<(i64, String), u64> {
    let mut counts: BTreeMap<(i64, String), u64> = BTreeMap::new();
    for rating in ratings {
        *counts.entry((rating.time.div_euclid(5_000) * 5_000, rating.brand.clone())).or_default() += 1;
    }
    counts.retain(|_, count| *count > 3);
    counts
}

/// A row of metrics, with the brand of its value.
fn row(record: &TestRecord) -> (String, Metrics) {
    let value = decoded(record.value.as_ref()).expect("no row goes");
    let brand = value["brand"].as_str().unwrap().to_owned();
    assert_eq!(decoded(record.key.as_ref()), Some(serde_json::json!({ "brand": brand })), "brand in key and value");
    assert!(value["duration_mean"].is_f64() && value["rating_mean"].is_f64(), "averages are doubles: {value}");
    let double = |name: &str| value[name].as_f64().unwrap();
    (brand, (value["cnt"].as_u64().unwrap(), double("duration_mean"), double("rating_mean")))
}

/// The newest row of each brand.
pub fn newest(records: &[TestRecord]) -> BTreeMap<String, Metrics> {
    records.iter().map(row).collect()
}

/// Windows as they were written: each once.
pub fn written_windows(records: &[TestRecord]) -> BTreeMap<(i64, String), u64> {
    let mut all = BTreeMap::new();
    for record in records {
        let value = decoded(record.value.as_ref()).unwrap();
        let (start, end) = (value["window_start"].as_i64().unwrap(), value["window_end"].as_i64().unwrap());
        assert_eq!((end - start, record.timestamp), (5_000, Some(end - 1)));
        let brand = value["brand"].as_str().unwrap().to_owned();
        let before = all.insert((start, brand), value["cnt"].as_u64().unwrap());
        assert_eq!(before, None, "{value} comes twice");
    }
    all
}

fn expect_all(ended: &Ended, parts: &[String]) {
    let said = format!("{}{}", ended.stdout, ended.stderr);
    for part in parts {
        assert!(said.contains(part.as_str()), "no `{part}` in {said}");
    }
}

#[test]
fn the_commercials_are_generated_registered_and_counted() {
    let folder = Folder::connected();
    let name = unique("c").replace('-', "_");
    let project = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["generate.yaml", "metrics.yaml", "topics.yaml"] {
        let text = std::fs::read_to_string(project.join("pipelines/commercials").join(file)).unwrap();
        let text = text
            .replace("../../schemas/", "schemas/")
            .replace("max_interval: 1s", "rate: 500, seed: 42")
            .replace("metadata: { name: commercials-", &format!("metadata: {{ namespace: {name}, name: commercials-"))
            .replace("metadata: { name: brand-", &format!("metadata: {{ namespace: {name}, name: brand-"))
            .replace("commercials_", &format!("{name}_"))
            .replace("metrics_per_brand", &format!("{name}_metrics"));
        folder.write(file, &text);
    }
    let schema = std::fs::read_to_string(project.join("schemas/commercialrating.avsc")).unwrap();
    folder.write("schemas/commercialrating.avsc", &schema);
    let (ratings, per_brand) = (format!("{name}_avro"), format!("{name}_metrics"));
    let (changes, windowed) = (format!("{name}_metrics_changes"), format!("{name}_metrics_windowed"));

    let planned = folder.run("plan", &[]).with_code(0);
    expect_all(
        &planned,
        &[
            format!("pipeline {name}/commercials-avro"),
            format!("pipeline {name}/commercials-json"),
            format!("pipeline {name}/brand-metrics"),
            "1000 records".into(),
            format!("topic `{ratings}` (will be created), from earliest"),
            "ratings → by brand, cnt = count(*), duration_mean = avg(duration), rating_mean = avg(rating)".into(),
            "gives brand string, cnt long, duration_mean double, rating_mean double".into(),
            "ratings → tumbling 5s, by brand, cnt = count(*), having cnt > 3".into(),
            "create, cleanup.policy=compact".into(),
            format!("subject `{ratings}-value`"),
            format!("{per_brand}-key"),
            format!("key: brand (avro, subject `{windowed}-key`)"),
            "exactly once (in one transaction with the journal)".into(),
            format!("topic `runner.{name}.brand-metrics.journal` of connection `default`"),
        ],
    );
    assert!(!servers::exists(&ratings), "a plan changes nothing");
    assert_eq!(registry().latest(&format!("{ratings}-value")).unwrap(), None);

    let apply = folder.apply(&[]);
    let input = read_when(&ratings, 1_000);
    let rows = read_until(&per_brand, "all 1000 ratings", |records| {
        newest(records).values().map(|metrics| metrics.0).sum::<u64>() == 1_000
    });
    apply.signal(libc::SIGINT);
    let ended = apply.wait().with_code(0);
    expect_all(&ended, &["brand-metrics: stopped; the next apply resumes here".into()]);

    assert_eq!(input.len(), 1_000);
    let input: Vec<Rating> = input.iter().map(Rating::of).collect();
    let expected = metrics(&input);
    assert_eq!(expected.len(), 2);
    assert_eq!(newest(&rows), expected);
    assert_eq!(newest(&servers::read(&changes)), expected);
    assert!(servers::setting(&per_brand, "cleanup.policy").contains("compact"));
    assert!(!servers::setting(&changes, "cleanup.policy").contains("compact"));
    for topic in [&per_brand, &changes, &windowed] {
        for side in ["key", "value"] {
            let subject = format!("{topic}-{side}");
            assert_eq!(registry().latest(&subject).unwrap().map(|found| found.version), Some(1), "{subject}");
        }
    }
    let json = servers::read(&format!("{name}_json"));
    assert_eq!(json.len(), 1_000);
    let first: Value = serde_json::from_slice(json[0].value.as_ref().unwrap()).unwrap();
    let of_first = (first["duration"].as_i64().unwrap(), first["rating"].as_i64().unwrap());
    assert_eq!(of_first, (input[0].duration, input[0].rating), "one seed makes the same ratings in both formats");

    // Nothing comes twice, and at the end of its source the last window closes.
    let again = folder.run("apply", &["--until", "end"]).with_code(0);
    expect_all(&again, &["brand-metrics: resumes behind epoch ".into(), "unchanged, version 1".into()]);
    assert_eq!(servers::read(&ratings).len(), 1_000);
    assert_eq!(newest(&servers::read(&per_brand)), expected);
    assert_eq!(written_windows(&servers::read(&windowed)), windows(&input));
}

/// The 48 known ratings, what is known of them, and their records for a topic.
pub fn known_ratings(topic: &str) -> (Value, Vec<TestRecord>) {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ratings.json")).unwrap();
    let known: Value = serde_json::from_str(&text).unwrap();
    let start = known["start"].as_i64().unwrap();
    let schema = r#"{"type":"record","name":"commercialrating","fields":[{"name":"brand","type":"string"},{"name":"duration","type":"int"},{"name":"rating","type":"int"}],"connect.name":"commercialrating"}"#;
    let id = register(&format!("{topic}-value"), schema);
    let record = |rating: &Value| {
        let brand = rating[1].as_str().unwrap().as_bytes();
        let [duration, stars] = [2, 3].map(|index| avro_long(rating[index].as_i64().unwrap()));
        TestRecord {
            key: Some(brand.to_vec()),
            timestamp: Some(start + rating[0].as_i64().unwrap()),
            ..TestRecord::to(0, framed(id, &[avro_bytes(brand), duration, stars].concat()))
        }
    };
    let records = known["ratings"].as_array().unwrap().iter().map(record).collect();
    (known, records)
}

#[test]
fn known_ratings_give_known_counts_windows_and_late_rows() {
    let topic = servers::topic("ratings", 1);
    let (known, records) = known_ratings(&topic);
    let list = |name: &str| known[name].as_array().unwrap().clone();
    let start = known["start"].as_i64().unwrap();
    let brand_metrics = |row: &Value| {
        let double = |index: usize| row[index].as_f64().unwrap();
        (row[0].as_str().unwrap().to_owned(), (row[1].as_u64().unwrap(), double(2), double(3)))
    };

    let folder = Folder::connected();
    folder.pipeline(
        "known",
        &format!(
            "  sources:
    ratings: {{ kafka: {{ topic: {topic} }}, format: avro, time: {{ lag: 3s, idle: never }} }}
  transforms:
    per_brand: {{ from: ratings, group_by: [brand], aggregate: {{ cnt: count(*), duration_mean: avg(duration), rating_mean: avg(rating) }} }}
    per_brand_5s: {{ from: ratings, window: {{ tumbling: 5s }}, group_by: [brand], aggregate: {{ cnt: count(*) }}, having: cnt > 3 }}
  sinks:
    newest: {{ from: per_brand, kafka: {{ topic: {topic}-newest }}, format: avro, mode: upsert }}
    changes: {{ from: per_brand, kafka: {{ topic: {topic}-changes }}, format: avro, mode: update }}
    windows: {{ from: per_brand_5s, kafka: {{ topic: {topic}-windows }}, format: avro }}
    late: {{ from: per_brand_5s.late, kafka: {{ topic: {topic}-late }}, format: json }}
"
        ),
    );
    let apply = folder.apply(&[]);
    // With the 42nd rating, eleven minutes ahead, the first six windows are over.
    servers::produce(&topic, &records[..42]);
    read_when(&format!("{topic}-windows"), 6);
    servers::produce(&topic, &records[42..]);
    let rows = read_until(&format!("{topic}-newest"), "all 48 ratings", |records| {
        newest(records).values().map(|metrics| metrics.0).sum::<u64>() == 48
    });
    apply.signal(libc::SIGINT);
    let ended = apply.wait().with_code(0);
    expect_all(&ended, &["48 rows in".into(), " 1 late".into()]);
    // A stop emits nothing early (I21).
    assert_eq!(servers::read(&format!("{topic}-windows")).len(), 6);
    folder.run("apply", &["--until", "end"]).with_code(0);

    let expected: BTreeMap<String, Metrics> = list("per_brand").iter().map(brand_metrics).collect();
    assert_eq!(newest(&rows), expected);
    let changes: Vec<_> = servers::read(&format!("{topic}-changes")).iter().map(row).collect();
    assert_eq!(changes.iter().cloned().collect::<BTreeMap<_, _>>(), expected);
    // How many changes an epoch sums up is nobody's promise; that each was true once, in this order, is.
    for brand in expected.keys() {
        let mut truths = list("per_brand_after_each").into_iter().map(|row| brand_metrics(&row));
        for change in changes.iter().filter(|(of, _)| of == brand) {
            assert!(truths.any(|truth| truth == *change), "{change:?} was never true");
        }
    }

    let window = |row: &Value| {
        ((start + row[0].as_i64().unwrap(), row[1].as_str().unwrap().to_owned()), row[2].as_u64().unwrap())
    };
    let expected: BTreeMap<_, _> = list("windows_above_3").iter().map(window).collect();
    let written = servers::read(&format!("{topic}-windows"));
    assert_eq!(written_windows(&written), expected);
    let order: Vec<_> = written.iter().map(|record| (record.timestamp, record.key.clone())).collect();
    assert!(order.is_sorted_by_key(|(time, _)| *time), "by the end of the window: {order:?}");

    let late = servers::read(&format!("{topic}-late"));
    assert_eq!(late.len(), 1);
    let row: Value = serde_json::from_slice(late[0].value.as_ref().unwrap()).unwrap();
    assert_eq!((late[0].timestamp, &late[0].key), (records[42].timestamp, &records[42].key));
    assert_eq!(row["brand"], "Globex");
    assert_eq!(row["_reason"], "its window had closed");
}

/// What a topic of an upsert has in the end, as others read it: by the console consumer of Apache Kafka, and by an Avro library
/// that is not ours. Key to value, and whether anything was deleted on the way.
fn table(topic: &str) -> (BTreeMap<String, Value>, bool) {
    table_of(servers::consumed(topic, servers::read(topic).len()))
}

/// The same of records that were consumed.
pub fn table_of(records: Vec<servers::Pair>) -> (BTreeMap<String, Value>, bool) {
    let (mut rows, mut has_deleted) = (BTreeMap::new(), false);
    for (key, value) in records {
        let key = decoded(key.as_ref()).unwrap();
        match decoded(value.as_ref()) {
            Some(value) => {
                for (name, part) in key.as_object().unwrap() {
                    assert_eq!(&value[name], part, "the key's columns are in the value too");
                }
                rows.insert(key.to_string(), value);
            }
            None => {
                rows.remove(&key.to_string());
                has_deleted = true;
            }
        }
    }
    (rows, has_deleted)
}

#[test]
fn tables_are_shown_whole_and_kept_under_keys_of_several_columns() {
    let folder = Folder::connected();
    let (name, topic) = (unique("tables"), servers::topic("ratings", 1));
    let (known, records) = known_ratings(&topic);
    let project = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(project.join("pipelines/commercials/tables.yaml")).unwrap();
    let mut text = text
        .replace("../../schemas/", "schemas/")
        .replace("name: brand-tables", &format!("namespace: {name}, name: brand-tables"))
        .replace("topic: commercials_avro", &format!("topic: {topic}"))
        .replace("every: 10s", "every: 1s");
    for sink in ["low_rated_brands", "metrics_per_length", "metrics_per_brand_so_far"] {
        text = text.replace(&format!("topic: {sink}"), &format!("topic: {name}_{sink}"));
    }
    folder.write("tables.yaml", &text);
    let schema = std::fs::read_to_string(project.join("schemas/commercialrating.avsc")).unwrap();
    folder.write("schemas/commercialrating.avsc", &schema);
    let of = |sink: &str| format!("{name}_{sink}");
    let (low, lengths, windows) = (of("low_rated_brands"), of("metrics_per_length"), of("metrics_per_brand_so_far"));

    let apply = folder.apply(&[]);
    // After the third rating Acme's mean is 2, after the fourth 2.33: not low any more.
    servers::produce(&topic, &records[..3]);
    read_until(&low, "Acme is low", |records| !records.is_empty());
    servers::produce(&topic, &records[3..4]);
    read_until(&low, "Acme is low no more", |records| records.iter().any(|record| record.value.is_none()));
    servers::produce(&topic, &records[4..]);
    let counted = |records: &[TestRecord]| {
        let newest: BTreeMap<_, _> =
            records.iter().map(|record| (record.key.clone(), decoded(record.value.as_ref()).unwrap())).collect();
        newest.values().map(|value| value["cnt"].as_u64().unwrap()).sum::<u64>()
    };
    read_until(&lengths, "all 48 ratings", |records| counted(records) == 48);
    apply.signal(libc::SIGINT);
    let first = apply.wait().with_code(0);
    let second = folder.run("apply", &["--until", "end"]).with_code(0);

    // Both tables of the console end with what is known of the ratings, from whichever run.
    let shown = format!("{}{}", first.stdout, second.stdout);
    for brand in known["per_brand"].as_array().unwrap() {
        let name = brand[0].as_str().unwrap();
        let numbers = [1, 2, 3].map(|column| brand[column].as_f64().unwrap());
        // A console shows six digits behind the point.
        let is_row = |line: &&str| {
            let mut cells = line.split_whitespace();
            let is_brand = cells.next() == Some(name);
            let shown: Vec<f64> = cells.map_while(|cell| cell.parse().ok()).collect();
            is_brand && shown.len() == 3 && shown.iter().zip(numbers).all(|(shown, known)| (shown - known).abs() < 1e-6)
        };
        assert!(shown.lines().filter(is_row).count() >= 2, "{brand} is not twice in {shown}");
    }

    let mut expected: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for rating in known["ratings"].as_array().unwrap() {
        let key = serde_json::json!({ "brand": rating[1], "duration": rating[2] }).to_string();
        let counted = expected.entry(key).or_default();
        *counted = (counted.0 + 1, counted.1 + rating[3].as_i64().unwrap());
    }
    let (rows, _) = table(&lengths);
    assert_eq!(rows.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (key, (cnt, sum)) in expected {
        let row = &rows[&key];
        assert_eq!(
            (row["cnt"].as_u64(), row["rating_mean"].as_f64()),
            (Some(cnt), Some(sum as f64 / cnt as f64)),
            "{key}"
        );
    }
    let (rows, has_deleted) = table(&low);
    let rows: Vec<_> =
        rows.values().map(|row| (row["brand"].as_str().unwrap(), row["cnt"].as_u64().unwrap())).collect();
    assert_eq!((rows, has_deleted), (vec![("Acme", 30)], true));

    let start = known["start"].as_i64().unwrap();
    let (rows, _) = table(&windows);
    let mut found: BTreeMap<(i64, &str), u64> = rows
        .values()
        .map(|row| {
            ((row["window_start"].as_i64().unwrap(), row["brand"].as_str().unwrap()), row["cnt"].as_u64().unwrap())
        })
        .collect();
    // Whether the one that is far too late came when its window had closed depends on what an epoch took in.
    assert!([Some(5), Some(6)].contains(&found.remove(&(start, "Globex"))), "{found:?}");
    let windows_above_3 = known["windows_above_3"].as_array().unwrap().iter();
    let expected: BTreeMap<(i64, &str), u64> = windows_above_3
        .map(|row| ((start + row[0].as_i64().unwrap(), row[1].as_str().unwrap()), row[2].as_u64().unwrap()))
        .filter(|(window, _)| *window != (start, "Globex"))
        .collect();
    assert_eq!(found, expected);
}
