//! Endless aggregates: their state comes back from snapshots, and what lies behind those by replay.

use super::*;

/// The newest record of every key is what all input together gives, however often the pipeline was killed.
#[test]
fn a_killed_endless_aggregate_ends_with_the_right_row_per_key() {
    let mut random = Random::new();
    let place = Place::new("table");
    let input = servers::topic_with("table-in", 3, &[("retention.ms", "-1")]);
    let rows: Vec<Row> = rows(&[120_000, 50_000, 30_000], 100_000, 1_000, 400).collect();
    fill(servers::kafka(), &input, &rows);
    let newest = servers::unique("table-newest");
    place.spec(&format!(
        "  epoch: {{ max_bytes: 256KiB }}
  state: {{ every: 100ms }}
  sources:
    rows: {{ kafka: {{ topic: {input}, until: end, properties: {} }}, format: json, columns: {COLUMNS} }}
  transforms:
    per_k: {{ from: rows, group_by: [k], aggregate: {{ cnt: count(*), total: sum(n), mean: avg(v) }} }}
  sinks:
    newest: {{ from: per_k, kafka: {{ topic: {newest} }}, format: json, mode: upsert }}
",
        throttled(1_000, 100)
    ));

    let (kills, last) = place.killed_until_done(&mut random, 200..900);

    assert!(kills >= 1, "it was never killed: give it more records");
    assert!(last.stderr.contains(", with the state in the snapshot of epoch "), "{}", last.stderr);
    let mut wanted: BTreeMap<String, (Sums, i64)> = BTreeMap::new();
    for row in &rows {
        let ((count, sum), v) = wanted.entry(row.k.clone()).or_default();
        (*count, *sum, *v) = (*count + 1, *sum + row.n, *v + row.v);
    }
    let mut found = BTreeMap::new();
    for record in servers::read(&newest) {
        let row = json(&record.text());
        let key = String::from_utf8(record.key.unwrap()).unwrap();
        assert_eq!(key, text(&row, "k"));
        let (count, mean) = (long(&row, "cnt"), row["mean"].as_f64().unwrap());
        // Counts only grow: a state that was rebuilt with less would write less again.
        let v = (mean * count as f64).round() as i64;
        if let Some(((before, _), _)) = found.insert(key, ((count, long(&row, "total")), v)) {
            assert!(before < count, "{row} came behind a count of {before}");
        }
    }
    assert_same(&found, &wanted, "newest rows");
}
