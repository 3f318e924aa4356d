//! `/metrics`, as Prometheus reads it; and the dashboard and the page, which name what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use super::*;
use crate::servers::{self, TestRecord};
use crate::specs::{read_when, registry};

/// What a scrape gave: the kind of each family, and samples by name and labels.
struct Scraped {
    kinds: BTreeMap<String, String>,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Scraped {
    /// Reads the text format, and refuses what Prometheus' own linter would.
    fn of(server: &Server) -> Scraped {
        let response = server.request(Method::GET, "/metrics").send().unwrap();
        assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        let text = response.text().unwrap();
        let (mut kinds, mut samples) = (BTreeMap::new(), Vec::new());
        let (mut helped, mut family) = (String::new(), (String::new(), String::new()));
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(help.ends_with('.'), "{line}");
                helped = name.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, helped, "help stands before the type");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} comes twice");
                family = (name.to_owned(), kind.to_owned());
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let base = match family.1.as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap(),
                    _ => name,
                };
                assert_eq!(base, family.0, "samples stand with their family: {line}");
                let labels = labels.strip_suffix('}').unwrap().split_terminator(',');
                let label = |label: &str| {
                    let (name, value) = label.split_once('=').unwrap();
                    (name.to_owned(), value.trim_matches('"').to_owned())
                };
                samples.push((name.to_owned(), labels.map(label).collect(), value.parse().unwrap()));
            }
        }
        Scraped { kinds, samples }
    }

    /// The one sample with these labels, if there is one.
    fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |of: &BTreeMap<String, String>| {
            labels.iter().all(|(label, value)| of.get(*label).is_some_and(|known| known == value))
        };
        let mut found = self.samples.iter().filter(|(known, of, _)| known == name && has(of));
        let value = found.next().map(|(.., value)| *value);
        assert!(found.next().is_none(), "{name} {labels:?} is there more than once");
        value
    }

    #[track_caller]
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?}"))
    }

    fn labels_of(&self, name: &str) -> Option<BTreeSet<&str>> {
        let (_, labels, _) = self.samples.iter().find(|(known, ..)| known == name)?;
        Some(labels.keys().map(String::as_str).collect())
    }
}

const START: i64 = 1_704_067_200_000;

fn spec(name: &str, topic: &str) -> String {
    format!(
        "apiVersion: runner/v1
kind: Pipeline
metadata: {{ name: {name} }}
spec:
  connections: {{ c: {{ kafka: {{ brokers: \"{}\" }}, registry: {{ url: \"{}\" }} }} }}
  sources: {{ rows: {{ kafka: {{ topic: {topic} }}, connection: c, format: json, columns: {{ n: long }}, time: {{ lag: 1s, idle: never }} }} }}
  transforms:
    positive: {{ from: rows, where: n > 0 }}
    sums: {{ from: positive, window: {{ tumbling: 5s }}, aggregate: {{ total: sum(n) }} }}
  sinks:
    out: {{ from: sums, kafka: {{ topic: {topic}-out }}, connection: c, format: json }}
    all: {{ from: positive, file: {{ path: all.jsonl }}, format: json }}
  dead_letter: {{ kafka: {{ topic: {topic}-dead }}, connection: c }}
",
        servers::kafka(),
        registry_url()
    )
}

fn registry_url() -> &'static str {
    let _ = registry();
    servers::registry()
}

#[test]
fn every_part_of_a_pipeline_is_measured_and_the_dashboard_shows_it() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    let (topic, name) = (servers::topic("measured", 1), servers::unique("measured"));
    assert_eq!(server.put_yaml(&name, &spec(&name, &topic)).status(), 201);
    let row = |seconds: i64, n: i64| TestRecord::to(0, format!("{{\"n\":{n}}}")).at(START + seconds * 1_000);
    let bad = TestRecord::to(0, "nope").at(START);
    servers::produce(&topic, &[row(0, 1), row(1, 2), row(2, -3), bad, row(20, 4)]);
    read_when(&format!("{topic}-out"), 1);
    servers::produce(&topic, &[row(3, 5)]);
    server.until_rows(&name, 7);

    let scraped = Scraped::of(&server);
    let of = |metric: &str, more: &[(&str, &str)]| {
        let labels = [&[("namespace", "default"), ("pipeline", name.as_str())], more].concat();
        scraped.value(metric, &labels)
    };
    let rows = |what: &str, kind: &str, part: &str| of(&format!("runner_{kind}_{what}_total"), &[(kind, part)]);
    assert_eq!(rows("records", "source", "rows"), 6.0);
    // Values; there is no key.
    let bytes: usize =
        ["{\"n\":1}", "{\"n\":2}", "{\"n\":-3}", "nope", "{\"n\":4}", "{\"n\":5}"].map(str::len).iter().sum();
    assert_eq!(rows("bytes", "source", "rows"), bytes as f64);
    assert_eq!((rows("records_in", "step", "positive"), rows("records_out", "step", "positive")), (5.0, 4.0));
    assert_eq!((rows("records_in", "step", "sums"), rows("records_out", "step", "sums")), (4.0, 1.0));
    assert!(rows("bytes_in", "step", "positive") > rows("bytes_out", "step", "positive"));
    assert!(rows("bytes_out", "step", "sums") > 0.0);
    assert_eq!((rows("late_records", "step", "positive"), rows("late_records", "step", "sums")), (0.0, 1.0));
    assert_eq!(["out", "all", "dead_letter"].map(|sink| rows("records", "sink", sink)), [1.0, 4.0, 2.0]);
    assert_eq!(rows("bytes", "sink", "all"), folder.read("all.jsonl").replace('\n', "").len() as f64);
    let dead = |part: &str| of("runner_dead_letters_total", &[("part", part)]);
    assert_eq!(["rows", "positive", "sums", "out"].map(dead), [1.0, 0.0, 1.0, 0.0]);
    assert_eq!(of("runner_source_lag_records", &[("source", "rows")]), 0.0);
    assert_eq!(of("runner_watermark_timestamp_seconds", &[]), (START / 1_000 + 19) as f64);
    let delay = of("runner_watermark_delay_seconds", &[]) + (START / 1_000 + 19) as f64;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((now - delay).abs() < 30.0, "{delay}, and it is {now}");
    let epochs = of("runner_epochs_total", &[]);
    assert!(epochs >= 2.0);
    assert_eq!(of("runner_commit_duration_seconds_count", &[]), epochs);
    assert_eq!(of("runner_commit_duration_seconds_bucket", &[("le", "+Inf")]), epochs);
    assert!(of("runner_commit_duration_seconds_bucket", &[("le", "0.001")]) <= epochs);
    assert!(of("runner_commit_duration_seconds_sum", &[]) > 0.0);
    assert!(of("runner_memory_bytes", &[]) > 0.0);
    assert_eq!(of("runner_restarts_total", &[]), 0.0);
    assert!(scraped.value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(scraped.value("process_cpu_seconds_total", &[]) > 0.0);
    expect_dashboard(&scraped);
    expect_page(&scraped);

    // At rest it is nowhere behind; what it has counted is there still, and goes on.
    server.put(&format!("{name}/pause"));
    server.until_state(&name, "paused");
    let paused = Scraped::of(&server);
    for gauge in ["runner_source_lag_records", "runner_watermark_delay_seconds", "runner_memory_bytes"] {
        assert_eq!(paused.find(gauge, &[]), None, "{gauge}");
    }
    assert_eq!(paused.value("runner_source_records_total", &[]), 6.0);
    server.put(&format!("{name}/resume"));
    server.until_state(&name, "running");
    // What is replayed is not counted.
    servers::produce(&topic, &[row(21, 6)]);
    server.until_rows(&name, 8);
    let resumed = Scraped::of(&server);
    assert_eq!(resumed.value("runner_source_records_total", &[]), 7.0);
    assert_eq!(resumed.value("runner_step_records_in_total", &[("step", "sums")]), 5.0);
    assert_eq!(resumed.value("runner_step_late_records_total", &[("step", "sums")]), 1.0);

    // What a changed plan no longer has goes, and with the pipeline all of it.
    let changed =
        spec(&name, &topic).replace("    all: { from: positive, file: { path: all.jsonl }, format: json }\n", "");
    assert_eq!(server.put_yaml(&name, &changed).status(), 200);
    server.until(&name, "without a sink", |_| {
        Scraped::of(&server).find("runner_sink_records_total", &[("sink", "all")]).is_none()
    });
    server.until_state(&name, "running");
    assert_eq!(Scraped::of(&server).value("runner_source_records_total", &[]), 7.0);
    assert_eq!(server.request(Method::DELETE, &format!("/v1/pipelines/{name}")).send().unwrap().status(), 204);
    let gone = Scraped::of(&server);
    assert!(gone.samples.iter().all(|(_, labels, _)| !labels.contains_key("pipeline")));
}

#[test]
fn lag_is_what_is_left_to_read() {
    const RECORDS: usize = 300_000;
    let folder = Folder::new();
    let (topic, name) = (servers::topic("lag", 2), servers::unique("lag"));
    let record = |index: usize| TestRecord::to((index % 2) as i32, "{\"n\":1}");
    servers::produce_many(servers::kafka(), &topic, (0..RECORDS).map(record));
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.put_yaml(&name, &spec(&name, &topic)).status(), 201);
    let mut most = 0.0_f64;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let lag = Scraped::of(&server).find("runner_source_lag_records", &[("source", "rows")]);
        most = most.max(lag.unwrap_or(0.0));
        let shown = server.pipeline(&name)["metrics"].clone();
        if shown["rows_in"] == RECORDS && lag == Some(0.0) {
            assert_eq!(shown["behind"], 0);
            assert_eq!(shown["bytes_in"], RECORDS * "{\"n\":1}".len());
            break;
        }
        assert!(Instant::now() < deadline, "{shown}\n{}", server.runner.stderr());
    }
    assert!(most > 1_000.0 && most <= RECORDS as f64, "at most {most} behind");
}

/// Labels that Prometheus gives by itself.
const OF_PROMETHEUS: [&str; 2] = ["job", "instance"];

/// Every metric of every query is there, with the labels that the query names.
fn expect_dashboard(scraped: &Scraped) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/runner.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut queries: Vec<(String, String)> = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = |key: &str| target[key].as_str().unwrap().to_owned();
            queries.push((text("expr"), text("legendFormat")));
        }
    }
    assert!(queries.len() > 25, "{}", queries.len());
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let query = variable["query"]["query"].as_str().and_then(|query| query.strip_prefix("label_values("));
        if let Some((metric, label)) = query.and_then(|query| query.strip_suffix(')')?.rsplit_once(", ")) {
            queries.push((metric.to_owned(), format!("{{{{{label}}}}}")));
        }
    }
    let mut shown = BTreeSet::new();
    for (expr, legend) in &queries {
        let named = metrics_of(expr);
        assert!(!named.is_empty(), "{expr}");
        let legend = legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
        let grouped =
            expr.split("by (").skip(1).filter_map(|rest| rest.split(')').next()).flat_map(|by| by.split(", "));
        let grouped: Vec<&str> = grouped.chain(legend).collect();
        for (metric, selected) in named {
            let known = scraped.labels_of(metric).unwrap_or_else(|| panic!("{metric} is not exported: {expr}"));
            for label in selected.iter().chain(&grouped).filter(|label| !OF_PROMETHEUS.contains(label)) {
                assert!(known.contains(label), "{metric} has no label {label}: {expr}");
            }
            shown.insert(metric);
        }
    }
    let is_shown = |family: &&String| {
        let parts = ["", "_bucket"].map(|end| format!("{family}{end}"));
        parts.iter().any(|name| shown.contains(name.as_str()))
    };
    let left_out: Vec<_> = scraped.kinds.keys().filter(|family| !is_shown(family)).collect();
    assert_eq!(left_out, ["runner_connector_info"], "of no panel");
}

/// The metrics that a query names, with the labels that it selects by.
fn metrics_of(expr: &str) -> Vec<(&str, Vec<&str>)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = expr[from..].find(is_word).map(|at| from + at) {
        let end = expr[start..].find(|c| !is_word(c)).map_or(expr.len(), |at| start + at);
        let (word, rest) = (&expr[start..end], &expr[end..]);
        from = end;
        if word.starts_with("runner_") || word.starts_with("process_") {
            let selector = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
            let label = |matcher: &str| matcher.split(['=', '!']).next().map(str::len);
            let labels = selector.split(',').filter(|one| !one.is_empty());
            found.push((word, labels.filter_map(|one| Some(&one[..label(one)?])).collect()));
        }
    }
    found
}

/// The page names every family, and none that is not there.
fn expect_page(scraped: &Scraped) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|line| line.split('`').next());
    let named: BTreeSet<&str> =
        rows.filter(|name| name.starts_with("runner_") || name.starts_with("process_")).collect();
    let families: BTreeSet<&str> = scraped.kinds.keys().map(String::as_str).collect();
    assert_eq!(named, families);
}
