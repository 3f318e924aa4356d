//! `pipelines/commercials` on real servers, held against what is computed here from its input; and the
//! same queries over 48 known ratings.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::runner::Ended;
use crate::servers::{self, TestRecord, unique};
use crate::specs::{Folder, avro_bytes, avro_long, decoded, framed, read_until, read_when, register, registry};
use runner::registry::Registry;

/// Count and averages.
type Metrics = (u64, f64, f64);

/// A rating as it stands in the topic: time, brand, duration, rating.
struct Rating {
    time: i64,
    brand: String,
    duration: i64,
    rating: i64,
}

fn metrics<'a>(ratings: impl IntoIterator<Item = &'a Rating>) -> BTreeMap<String, Metrics> {
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
fn windows<'a>(ratings: impl IntoIterator<Item = &'a Rating>) -> BTreeMap<(i64, String), u64> {
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
fn newest(records: &[TestRecord]) -> BTreeMap<String, Metrics> {
    records.iter().map(row).collect()
}

/// Windows as they were written: each once.
fn written_windows(records: &[TestRecord]) -> BTreeMap<(i64, String), u64> {
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
    let rating = |record: &TestRecord| {
        let value = decoded(record.value.as_ref()).unwrap();
        let brand = value["brand"].as_str().unwrap().to_owned();
        assert_eq!(record.key.as_deref(), Some(brand.as_bytes()));
        let int = |name: &str| value[name].as_i64().unwrap();
        Rating { time: record.timestamp.unwrap(), brand, duration: int("duration"), rating: int("rating") }
    };
    let input: Vec<Rating> = input.iter().map(rating).collect();
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

#[test]
fn known_ratings_give_known_counts_windows_and_late_rows() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ratings.json")).unwrap();
    let known: Value = serde_json::from_str(&text).unwrap();
    let list = |name: &str| known[name].as_array().unwrap().clone();
    let start = known["start"].as_i64().unwrap();
    let topic = servers::topic("ratings", 1);
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
    let records: Vec<TestRecord> = list("ratings").iter().map(record).collect();
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
