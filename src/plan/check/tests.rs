//! Specs that are planned or refused, by the codes of what is said.

use super::*;
use crate::plan::resolve::Offline;
use crate::plan::{Input, Mode};

const HEAD: &str = "apiVersion: runner/v1\nkind: Pipeline\nmetadata: { name: p }\nspec:\n";
const RATINGS: &str = "  sources: { ratings: { datagen: { columns: { brand: string, rating: int } } } }\n";

fn built(spec: &str) -> (Vec<Plan>, Vec<&'static str>) {
    let (documents, loaded) = crate::spec::load_text("p.yaml", spec, &crate::spec::Values::default());
    assert_eq!(loaded.0, [], "{spec}");
    let (plans, out) = build(&documents, Path::new(""), &Offline);
    (plans, out.0.iter().map(|diagnostic| diagnostic.code).collect())
}

fn of_ratings(rest: &str) -> (Vec<Plan>, Vec<&'static str>) {
    built(&format!("{HEAD}{RATINGS}{rest}"))
}

fn columns(schema: &arrow::datatypes::Schema) -> Vec<&str> {
    schema.fields().iter().map(|field| field.name().as_str()).collect()
}

#[test]
fn order_does_not_matter_and_inputs_stand_first() {
    let (plans, codes) = of_ratings(
        "  transforms:
    b: { from: a, where: rating > 1 }
    a: { from: ratings, add: { double: rating * 2 } }
  sinks: { out: { from: b, console: {} } }\n",
    );
    assert_eq!(codes, [] as [&str; 0]);
    let steps: Vec<_> = plans[0].steps.iter().map(|step| (step.name.as_str(), step.input)).collect();
    assert_eq!(steps, [("a", Input::Source(0)), ("b", Input::Step(0))]);
}

#[test]
fn cycles_unknown_names_and_wrong_expressions_are_found_in_one_run() {
    let (plans, mut codes) = of_ratings(
        "  transforms:
    a: { from: b, where: rating > 1 }
    b: { from: a, where: rating > 1 }
    c: { from: ratngs, where: rating > 1 }
    d: { from: ratings, where: rating }
    e: { from: ratings, where: ratng > 1 }
  sinks: { out: { from: d, console: {} }, more: { from: e, console: {} } }\n",
    );
    codes.sort_unstable();
    assert_eq!(codes, ["expr.not_boolean", "expr.unknown_column", "names.cycle", "names.unknown"]);
    assert!(plans.is_empty());
}

#[test]
fn an_endless_aggregate_is_never_final() {
    let endless = "  transforms:
    per_brand: { from: ratings, group_by: [brand], aggregate: { cnt: count(*) } }\n";
    let append = format!("{endless}  sinks: {{ out: {{ from: per_brand, console: {{}}, mode: append }} }}\n");
    assert_eq!(of_ratings(&append).1, ["modes.never_final"]);
    let default = format!("{endless}  sinks: {{ out: {{ from: per_brand, console: {{}} }} }}\n");
    let (plans, codes) = of_ratings(&default);
    assert_eq!((plans[0].sinks[0].mode, codes), (Mode::Update, vec![]));
}

#[test]
fn only_rows_that_are_final_are_aggregated_again() {
    let first = |window: &str, sink: &str| {
        of_ratings(&format!(
            "  transforms:
    first: {{ from: ratings{window}, group_by: [brand], aggregate: {{ cnt: count(*) }} }}
    some: {{ from: first, where: cnt > 1, add: {{ twice: cnt * 2 }} }}
    second: {{ from: some, window: {{ hopping: {{ size: 1h, every: 5m }} }}, aggregate: {{ most: max(twice) }} }}
    ever: {{ from: second, aggregate: {{ most: max(most) }} }}
  sinks: {{ out: {{ from: ever, console: {{}} }}, of_first: {{ from: first, console: {{}}{sink} }} }}\n"
        ))
    };
    let (plans, codes) = first(", window: { tumbling: 5s }", "");
    assert_eq!((plans.len(), codes), (1, vec![]));
    assert!(first(", window: { tumbling: 5s }", ", mode: update").1.contains(&"modes.never_final"));
    assert!(first("", "").1.contains(&"modes.never_final"));
}

#[test]
fn windows_are_early_only_where_a_sink_wants_changes() {
    let windowed = "  transforms:
    per_brand: { from: ratings, window: { tumbling: 5s }, group_by: [brand], aggregate: { cnt: count(*) } }\n";
    let changes = |mode: &str| {
        let sinks = format!("  sinks: {{ out: {{ from: per_brand, console: {{}}{mode} }} }}\n");
        let (plans, codes) = of_ratings(&format!("{windowed}{sinks}"));
        assert_eq!(codes, [] as [&str; 0]);
        match &plans[0].steps[0].step {
            crate::plan::Step::Stateful(step) => step.changes(),
            crate::plan::Step::Rows(_) => panic!("not an aggregate"),
        }
    };
    assert_eq!((changes(""), changes(", mode: update")), (false, true));
}

#[test]
fn tables_are_written_every_so_often_where_rows_change() {
    let of = |windowed: bool, sink: &str| {
        let window = if windowed { ", window: { tumbling: 5s }" } else { "" };
        let step = format!("s: {{ from: ratings{window}, group_by: [brand], aggregate: {{ n: count(*) }} }}");
        of_ratings(&format!("  transforms: {{ {step} }}\n  sinks: {{ out: {{ from: s, console: {{}}{sink} }} }}\n"))
    };
    let (plans, codes) = of(false, ", every: 10s");
    assert_eq!((plans[0].sinks[0].mode, codes), (Mode::Update, vec![]));
    let (table, does) = (&plans[0].steps[1].name, &plans[0].outline.steps[1].does);
    assert_eq!((table.as_str(), does.as_str()), ("out", "what has changed, every 10s"));
    let (plans, codes) = of(true, ", mode: complete, every: 1m");
    assert_eq!((plans[0].outline.steps[1].does.as_str(), codes), ("all rows, every 1m", vec![]));
    let other = of(true, ", mode: complete, every: 2m").0;
    assert_ne!(plans[0].fingerprint, other[0].fingerprint, "what is kept for one is nothing for the other");
    // A whole table begins with its aggregate: beside one that goes on it would lack what has not changed since.
    let aggregate = |sink: &str| of(false, sink).0[0].steps[0].fingerprint.clone();
    let [whole, later, changes] =
        [", mode: complete, every: 1m", ", mode: complete, every: 2m", ", every: 1m"].map(aggregate);
    assert!(whole != later && whole != changes);
    assert_eq!((aggregate(", every: 2m"), aggregate("")), (changes.clone(), changes));

    assert_eq!(of(false, ", mode: complete").1, ["modes.every_missing"]);
    assert_eq!(of(false, ", every: 0s").1, ["modes.every"]);
    assert_eq!(of(true, ", every: 10s").1, ["modes.every"], "windows that are final");
    let rows = |sink: &str| of_ratings(&format!("  sinks: {{ out: {{ from: ratings, console: {{}}{sink} }} }}\n")).1;
    assert_eq!(rows(", mode: complete, every: 10s"), ["modes.no_table"]);
    assert_eq!(rows(", mode: update, every: 10s"), ["modes.every"]);
    let dead = "  sinks: { out: { from: ratings, console: {} } }\n  dead_letter: { console: {}, every: 1s }\n";
    assert_eq!(of_ratings(dead).1, ["modes.every"]);
}

#[test]
fn gaps_are_filled_where_it_is_known_what_is_empty() {
    let of = |aggregate: &str, fill: &str, sink: &str| {
        let step = format!("s: {{ from: ratings, {aggregate}, fill: {fill} }}");
        of_ratings(&format!("  transforms: {{ {step} }}\n  sinks: {{ out: {sink} }}\n")).1
    };
    let (windows, console) =
        ("window: { tumbling: 5s }, aggregate: { n: count(*), best: max(rating) }", "{ from: s, console: {} }");
    assert_eq!(of(windows, "{ n: 0, best: 1 }", console), [] as [&str; 0]);
    assert_eq!(of(windows, "{ best: 1 }", console), ["fill.missing"]);
    assert_eq!(of(windows, "{ n: none, best: 1 }", console), ["fill.type"]);
    assert_eq!(of(windows, "{ n: 0, best: 1, bst: 1 }", console), ["fill.unknown_column"]);
    assert_eq!(of("aggregate: { n: count(*) }", "{ n: 0 }", console), ["fill.no_window"]);
    assert_eq!(of(&format!("group_by: [brand], {windows}"), "{ n: 0, best: 1 }", console), ["fill.group_by"]);
    assert_eq!(of(windows, "{ n: 0, best: 1 }", "{ from: s, console: {}, mode: update }"), ["fill.changes"]);
    let behind = format!(
        "  transforms:
    s: {{ from: ratings, {windows}, fill: {{ n: 0, best: 1 }} }}
    t: {{ from: s, where: n = 0, select: {{ n: n }} }}
    w: {{ from: t, window: {{ tumbling: 1m }}, aggregate: {{ k: count(*) }} }}
  sinks: {{ out: {{ from: w, console: {{}} }} }}\n"
    );
    assert_eq!(of_ratings(&behind).1, ["spec.not_available"]);
}

#[test]
fn declared_columns_are_all_checked_and_keys_are_read_on_demand() {
    let spec = format!(
        "{HEAD}  sources:
    r:
      kafka: {{ topic: t }}
      format: json
      columns: {{ brand: string, rating: int, note: string?, at: long }}
      time: {{ field: at, unit: s }}
  transforms:
    w: {{ from: r, window: {{ tumbling: 5s }}, group_by: [brand], aggregate: {{ cnt: count(*) }} }}
  sinks: {{ out: {{ from: w, console: {{}} }} }}\n"
    );
    let (plans, codes) = built(&spec);
    assert_eq!(codes, [] as [&str; 0]);
    assert_eq!(columns(&plans[0].sources[0].schema), ["brand", "rating", "note", "at", "_offset", "_time"]);
    assert!(!plans[0].sources[0].wanted.keys && !plans[0].sources[0].wanted.headers);
}

#[test]
fn a_whole_plan_has_all_steps_and_columns() {
    let spec = format!(
        "{HEAD}{RATINGS}  transforms:
    unused: {{ from: ratings, where: rating > 1 }}
    used: {{ from: ratings, select: [brand] }}
  sinks: {{ out: {{ from: used, console: {{}} }} }}\n"
    );
    let (documents, _) = crate::spec::load_text("p.yaml", &spec, &crate::spec::Values::default());
    let names = |plans: &[Plan]| plans[0].steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&build(&documents, Path::new(""), &Offline).0), ["used"]);
    assert_eq!(names(&build_whole(&documents, Path::new(""), &Offline).0), ["unused", "used"]);
}

#[test]
fn a_stateless_kafka_pipeline_passes_keys_and_headers_on() {
    let spec = format!(
        "{HEAD}  sources: {{ r: {{ kafka: {{ topic: t }}, format: json, columns: {{ a: int }} }} }}
  sinks: {{ out: {{ from: r, kafka: {{ topic: u }}, format: json }} }}\n"
    );
    let (plans, codes) = built(&spec);
    assert_eq!(codes, [] as [&str; 0]);
    let source = &plans[0].sources[0];
    assert_eq!(columns(&source.schema), ["a", "_offset", "_time", "__key_bytes", "__headers"]);
    assert!(source.wanted.keys && source.wanted.headers);
    assert!(matches!(&plans[0].journal, crate::plan::JournalPlace::Kafka { topic, transactional_id, .. }
        if topic == "runner.default.p.journal" && transactional_id == "runner.default.p.0"));
}

#[test]
fn who_writes_a_topic_comes_before_who_reads_it_and_gives_its_format() {
    let reader = "apiVersion: runner/v1\nkind: Pipeline\nmetadata: { name: reader }\nspec:
  sources: { r: { kafka: { topic: t } } }
  sinks: { out: { from: r, console: {} } }\n---\n";
    let writer =
        format!("{HEAD}{RATINGS}  sinks: {{ out: {{ from: ratings, kafka: {{ topic: t }}, format: avro }} }}\n");
    let (plans, codes) = built(&format!("{reader}{writer}"));
    assert_eq!(codes, [] as [&str; 0]);
    assert_eq!(plans.iter().map(|plan| plan.name.as_str()).collect::<Vec<_>>(), ["p", "reader"]);
    assert_eq!(columns(&plans[1].sources[0].schema)[..2], ["brand", "rating"]);
}

#[test]
fn rows_without_a_record_have_no_key_of_their_own() {
    let sink = |more: &str| {
        of_ratings(&format!("  sinks: {{ out: {{ from: ratings, kafka: {{ topic: t }}, format: json{more} }} }}\n"))
    };
    let (plans, codes) = sink("");
    assert_eq!((plans[0].outline.sinks[0].key.as_str(), codes), ("", vec![]));
    assert_eq!(sink(", mode: upsert").1, ["modes.no_key"]);
    assert_eq!(sink(", mode: upsert, key: [brand]").1, [] as [&str; 0]);
}

#[test]
fn a_port_is_there_only_where_rows_can_leave_by_it() {
    let of = |step: &str, from: &str| {
        let transforms = format!("  transforms: {{ s: {{ from: ratings, {step} }} }}\n");
        of_ratings(&format!("{transforms}  sinks: {{ out: {{ from: {from}, console: {{}} }} }}\n")).1
    };
    assert_eq!(of("where: rating > 1", "s.rest"), [] as [&str; 0]);
    assert_eq!(of("where: rating > 1", "s.failed"), [] as [&str; 0]);
    let windowed = "window: { tumbling: 5s }, aggregate: { n: count(*) }";
    assert_eq!(of(&format!("{windowed}, having: n > 1"), "s.rest"), [] as [&str; 0]);
    assert_eq!(of(windowed, "s.rest"), ["names.no_rest"]);
    assert_eq!(of("aggregate: { n: count(*) }, having: n > 1", "s.rest"), ["names.no_rest"]);
    let early = format!(
        "  transforms: {{ s: {{ from: ratings, {windowed}, having: n > 1 }} }}
  sinks: {{ out: {{ from: s, console: {{}}, mode: update }}, rest: {{ from: s.rest, console: {{}} }} }}\n"
    );
    assert_eq!(of_ratings(&early).1, ["modes.never_final"]);
    assert_eq!(of("where: rating > 1", "s.late"), ["names.no_late"]);
    assert_eq!(of("add: { a: rating }", "s.rest"), ["names.no_rest"]);
    assert_eq!(of("where: rating > 1", "ratings.rest"), ["names.no_rest"]);
    assert_eq!(of("where: rating > 1", "ratings.failed")[..1], ["names.no_failed"]);
    assert_eq!(of("aggregate: { n: count(*) }", "s.failed"), ["names.no_failed"]);
    let changing = "  transforms: { s: { from: ratings, group_by: [brand], aggregate: { n: count(*) } }, t: { from: s, where: n > 1 } }
  sinks: { out: { from: t.rest, console: {} } }\n";
    assert_eq!(of_ratings(changing).1[..1], ["modes.never_final"]);
}

#[test]
fn a_sink_promises_only_what_it_can_keep() {
    let of = |sink: &str| {
        let (plans, codes) = of_ratings(&format!("  sinks: {{ out: {{ from: ratings, {sink} }} }}\n"));
        (plans.first().map(|plan| plan.outline.sinks[0].guarantee.clone()).unwrap_or_default(), codes)
    };
    assert_eq!(of("console: {}, delivery: exactly_once").1, ["sink.delivery"]);
    assert_eq!(of("discard: {}, delivery: exactly_once").1, ["sink.delivery"]);
    assert_eq!(of("console: {}, delivery: at_least_once").1, [] as [&str; 0]);
    let kafka = |delivery: &str| of(&format!("kafka: {{ topic: t }}, format: json, delivery: {delivery}"));
    assert_eq!(kafka("exactly_once"), ("exactly once (in one transaction with the journal)".to_owned(), vec![]));
    assert_eq!(
        kafka("at_least_once"),
        ("at least once (delivered before the journal has the epoch)".to_owned(), vec![])
    );
}

#[test]
fn original_bytes_are_there_until_rows_are_made() {
    let avro = |sink: &str| of_ratings(&format!("  sinks: {{ out: {{ from: ratings, {sink} }} }}\n")).1;
    assert_eq!(avro("file: { path: x }, format: original"), ["format.original"]);
    assert_eq!(avro("kafka: { topic: x }, format: original"), ["format.original"]);
    let spec = format!(
        "{HEAD}  sources: {{ r: {{ kafka: {{ topic: t }}, format: json, columns: {{ a: int }} }} }}
  transforms: {{ s: {{ from: r, select: {{ b: a + 1 }} }}, n: {{ from: r, aggregate: {{ c: count(*) }}, window: {{ tumbling: 5s }} }} }}
  sinks: {{ out: {{ from: s, file: {{ path: x }}, format: original }}, no: {{ from: n, console: {{}}, format: original }} }}\n"
    );
    assert_eq!(built(&spec).1, ["format.original"]);
}

#[test]
fn i9_each_kafka_sink_says_how_it_is_written_and_where_its_progress_stands() {
    let guarantees = |sinks: &str| {
        let (plans, codes) = of_ratings(&format!(
            "  connections: {{ far: {{ kafka: {{ brokers: \"far:9092\" }} }} }}\n  sinks:\n{sinks}"
        ));
        assert_eq!(codes, [] as [&str; 0]);
        let words = |sink: &crate::plan::outline::SinkOutline| sink.guarantee.clone();
        let place = describe_journal(&plans[0]);
        (plans[0].outline.sinks.iter().map(words).collect::<Vec<_>>().join("\n"), place)
    };
    let sink = |name: &str, more: &str| {
        format!("    {name}: {{ from: ratings, kafka: {{ topic: {name} }}, format: json{more} }}\n")
    };
    let (far, lax) = (", connection: far", ", delivery: at_least_once");
    let both = format!("{far}{lax}");
    let (near_journal, far_journal) = (("default".to_owned(), false), ("far".to_owned(), false));
    let joins = "exactly once, more than it asks for (it joins the transaction of its cluster's other sinks)";
    let with = "exactly once (in one transaction with the journal)";
    let own =
        "exactly once (in a transaction of its own on `far`; progress in topic `runner.default.p.progress.far` there)";
    let noted = "at least once (the journal notes its progress after delivery)";
    let before = "at least once (delivered before the journal has the epoch)";

    let two = guarantees(&(sink("a", "") + &sink("b", far)));
    assert_eq!(two, (format!("{with}\n{own}"), near_journal.clone()));
    // The first exactly-once sink by name, not the first.
    let mixed = guarantees(&(sink("a", lax) + &sink("b", far)));
    assert_eq!(mixed, (format!("{noted}\n{with}"), far_journal));
    let joined = guarantees(&(sink("a", "") + &sink("b", lax) + &sink("c", far) + &sink("d", &both)));
    assert_eq!(joined, (format!("{with}\n{joins}\n{own}\n{joins}"), near_journal));
    let none = guarantees(&(sink("a", lax) + &sink("b", &both)));
    assert_eq!(none, (format!("{before}\n{noted}"), ("default".to_owned(), true)));
}

/// Connection of the journal, and whether it is written without transactions.
fn describe_journal(plan: &Plan) -> (String, bool) {
    match &plan.journal {
        crate::plan::JournalPlace::Kafka { cluster, at_least_once, .. } => (cluster.connection.clone(), *at_least_once),
        crate::plan::JournalPlace::File(_) => panic!("it is in a file"),
    }
}

#[test]
fn a_dead_letter_is_written_as_its_sink_says_and_in_no_other_format() {
    let codes = |dead: &str| {
        let dead = format!("  sinks: {{ out: {{ from: ratings, discard: {{}} }} }}\n  dead_letter: {{ {dead} }}\n");
        of_ratings(&dead).1
    };
    let none: [&str; 0] = [];
    for good in [
        "kafka: { topic: dead }",
        "kafka: { topic: dead }, format: original",
        "kafka: { topic: dead }, format: { connect: { name: c } }",
        "file: { path: dead.jsonl }, format: json",
        "console: {}",
    ] {
        assert_eq!(codes(good), none, "{good}");
    }
    for wrong in [
        "kafka: { topic: dead }, format: json",
        "kafka: { topic: dead }, format: avro",
        "file: { path: dead.jsonl }, format: { connect: { name: c } }",
        "console: {}, format: csv",
        "discard: {}, format: json",
    ] {
        assert_eq!(codes(wrong), ["dead_letter.format"], "{wrong}");
    }
}

#[test]
fn records_name_their_topics_only_where_no_transaction_promises_anything() {
    let sink = |more: &str, pipeline: &str| {
        let connect = "key.converter: String, value.converter: Json, transforms: day, transforms.day.type: org.apache.kafka.connect.transforms.TimestampRouter";
        let spec = format!(
            "  sinks: {{ out: {{ from: ratings, kafka: {{ topic: out }}, format: {{ connect: {{ {connect} }} }}{more} }} }}\n{pipeline}"
        );
        of_ratings(&spec).1
    };
    let in_file = "  state: { journal: file }\n";
    let none: [&str; 0] = [];
    assert_eq!(sink(", delivery: at_least_once", in_file), none);
    assert_eq!(sink(", delivery: at_least_once", ""), ["connect.topic_by_record"]);
    assert_eq!(sink("", ""), ["connect.topic_by_record"]);
    let rules = |rule: &str| {
        let spec = format!(
            "  sinks: {{ out: {{ from: ratings, kafka: {{ topic: out, new_topics: [{rule}] }}, format: json }} }}\n"
        );
        of_ratings(&spec).1
    };
    assert_eq!(rules("{ partitions: 3 }"), ["kafka.new_topics"], "its topic is known");
}

#[test]
fn a_pattern_fits_nothing_that_the_pipeline_writes() {
    let codes = |pattern: &str, more: &str| {
        let spec = format!(
            "  sources: {{ rows: {{ kafka: {{ pattern: '{pattern}' }}, format: json, columns: {{ n: int }} }} }}
  sinks: {{ out: {{ from: rows, kafka: {{ topic: orders-copy }}, format: json{more} }} }}
  dead_letter: {{ kafka: {{ topic: dead }} }}
  connections: {{ far: {{ kafka: {{ brokers: \"far:9092\" }} }} }}\n"
        );
        built(&format!("{HEAD}{spec}")).1
    };
    let none: [&str; 0] = [];
    assert_eq!(codes("orders.*", ""), ["kafka.own_output"]);
    assert_eq!(codes("dead|x", ""), ["kafka.own_output"], "dead letters are output, too");
    assert_eq!(codes("orders", ""), none, "it fits whole names");
    assert_eq!(codes("orders.*", ", connection: far"), none, "another cluster has topics of its own");
}

#[test]
fn what_is_kept_of_the_first_bad_record_needs_a_place() {
    let codes = |more: &str| {
        of_ratings(&format!(
            "  sinks: {{ out: {{ from: ratings, console: {{}} }} }}\n  errors: {{ keep_then_fail: true }}\n{more}"
        ))
        .1
    };
    assert_eq!(codes(""), ["errors.no_dead_letter"]);
    assert_eq!(codes("  dead_letter: { file: { path: dead.jsonl }, format: json }\n"), [] as [&str; 0]);
}

#[test]
fn a_pattern_of_topics_is_a_regex_and_stands_alone() {
    let source = |kafka: &str| {
        let spec = format!(
            "{HEAD}  sources: {{ rows: {{ kafka: {{ {kafka} }}, format: string }} }}\n  sinks: {{ out: {{ from: rows, console: {{}} }} }}\n"
        );
        built(&spec).1
    };
    let none: [&str; 0] = [];
    assert_eq!(source("pattern: 'ratings_.*'"), none, "which topics those are nobody was asked");
    assert_eq!(source("pattern: '('"), ["kafka.pattern"]);
    assert_eq!(source("pattern: 'a.*', topic: a"), ["kafka.topics"]);
}

#[test]
fn a_journal_in_a_file_is_for_pipelines_that_are_at_least_once() {
    let spec = |delivery: &str| {
        format!(
            "{HEAD}{RATINGS}  sinks: {{ out: {{ from: ratings, kafka: {{ topic: u }}, format: json{delivery} }} }}
  state: {{ journal: file }}\n"
        )
    };
    assert_eq!(built(&spec("")).1, ["state.journal"]);
    let (plans, codes) = built(&spec(", delivery: at_least_once"));
    assert_eq!(codes, [] as [&str; 0]);
    let folder = Path::new(".runner/default/p/journal");
    assert!(
        matches!(&plans[0].journal, crate::plan::JournalPlace::File(path) if path == folder),
        "{:?}",
        plans[0].journal
    );
    let guarantee = &plans[0].outline.sinks[0].guarantee;
    assert_eq!(guarantee, "at least once (the journal notes its progress after delivery)");
}

#[test]
fn contradictions_and_missing_formats_are_errors() {
    let topic = "---\napiVersion: runner/v1\nkind: Topic\nmetadata: { name: t }\nspec: { format: json }\n";
    let sink = |format: &str| {
        format!("{HEAD}{RATINGS}  sinks: {{ out: {{ from: ratings, kafka: {{ topic: t }}{format} }} }}\n")
    };
    assert_eq!(built(&format!("{}{topic}", sink(", format: csv"))).1, ["topic.contradiction"]);
    assert_eq!(built(&sink("")).1, ["format.missing"]);
}

#[test]
fn a_restart_from_a_sink_that_was_refused_is_no_plan() {
    for sinks in ["", "out: { from: r, kafk: { topic: u } }", "a.b: { from: r, kafka: { topic: u }, format: json }"] {
        let source = "r: { kafka: { topic: t }, format: json, columns: { a: int } }";
        let text = format!("{HEAD}  restart: offsets\n  sources: {{ {source} }}\n  sinks: {{ {sinks} }}\n");
        let (documents, found) = crate::spec::load_text("p.yaml", &text, &crate::spec::Values::default());
        assert!(found.has_errors() && !documents.lost, "{text}");
        assert!(build(&documents, Path::new(""), &Offline).0.is_empty(), "{text}");
    }
}

/// Codes of a pipeline with `restart`, from Kafka source `r` (columns `a`).
fn restarting(restart: &str, time: &str, transforms: &str, sinks: &str) -> Vec<&'static str> {
    let source = format!("r: {{ kafka: {{ topic: t }}, format: json, columns: {{ a: int, at: timestamp }}{time} }}");
    let spec = format!(
        "{HEAD}  restart: {restart}\n  sources: {{ {source} }}\n  transforms: {{ {transforms} }}\n  sinks: {{ {sinks} }}\n"
    );
    let (plans, codes) = built(&spec);
    assert_eq!(plans.is_empty(), !codes.is_empty(), "{spec}");
    codes
}

const BY_TIME: &str = "{ watermark: { epsilon: 5s } }";
const OUT: &str = "out: { from: s, kafka: { topic: u }, format: json }";
const NOT: [&str; 1] = ["restart.not_possible"];

#[test]
fn a_restart_by_watermark_is_for_rows_and_final_windows() {
    let of = |transforms: &str| restarting(BY_TIME, "", transforms, OUT);
    let good: [&str; 0] = [];
    assert_eq!(of("s: { from: r, where: a > 1 }"), good);
    assert_eq!(of("f: { from: r, where: a > 1 }, s: { from: [f, f.rest], where: a > 2 }").len(), 1, "other columns");
    assert_eq!(
        of("f: { from: r, where: a > 1 }, g: { from: r, add: { b: 1 }, drop: [b] }, s: { from: [f, g], where: a > 2 }"),
        good
    );
    assert_eq!(of("s: { from: r, window: { tumbling: 5s }, aggregate: { n: count(*) } }"), good);
    let hopping =
        "w: { from: r, window: { hopping: { size: 5s, every: 1s } }, group_by: [a], aggregate: { n: count(*) } }";
    assert_eq!(of(&format!("{hopping}, s: {{ from: w, where: n > 1, select: [a, n] }}")), good);

    assert_eq!(of("s: { from: r, group_by: [a], aggregate: { n: count(*) } }")[..1], NOT);
    assert_eq!(of("s: { from: r, window: { tumbling: 5s }, aggregate: { n: count(*) }, fill: { n: 0 } }"), NOT);
    assert_eq!(of("s: { from: r, sort: { within: 5s } }"), NOT);
    let twice = "w: { from: r, window: { tumbling: 5s }, aggregate: { n: count(*) } },
      s: { from: w, window: { tumbling: 1m }, aggregate: { n: sum(n) } }";
    assert_eq!(of(twice), NOT);
    let late =
        "w: { from: r, window: { tumbling: 5s }, aggregate: { n: count(*) } }, s: { from: w.late, where: a > 1 }";
    assert!(of(late).contains(&NOT[0]));
}

#[test]
fn a_restart_by_watermark_needs_a_time_that_kafka_knows_and_an_epsilon() {
    let of = |restart: &str, time: &str| restarting(restart, time, "s: { from: r, where: a > 1 }", OUT);
    assert_eq!(of(BY_TIME, ", time: { lag: 1s }"), [] as [&str; 0]);
    assert_eq!(of(BY_TIME, ", time: { field: at }"), ["restart.time"]);
    assert_eq!(of("offsets", ", time: { field: at }"), [] as [&str; 0]);
    assert_eq!(
        of("{ watermark: { epsilon: 5s, not_after_timestamp: true } }", ", time: { field: at }"),
        [] as [&str; 0]
    );
    assert_eq!(of("{ watermark: { epsilon: 0s } }", ""), ["restart.epsilon"]);
    let append_time = "---\napiVersion: runner/v1\nkind: Topic\nmetadata: { name: u }\nspec: { format: json, config: { message.timestamp.type: LogAppendTime } }\n";
    let source = "r: { kafka: { topic: t }, format: json, columns: { a: int } }";
    let spec = |restart: &str| {
        format!(
            "{HEAD}  restart: {restart}\n  sources: {{ {source} }}\n  sinks: {{ out: {{ from: r, kafka: {{ topic: u }} }} }}\n{append_time}"
        )
    };
    assert_eq!(built(&spec(BY_TIME)).1, ["restart.append_time"]);
    assert_eq!(built(&spec("offsets")).1, [] as [&str; 0]);
}

#[test]
fn a_restart_from_the_sink_needs_one_kafka_sink_that_is_exactly_once() {
    let of = |sinks: &str| {
        let both = ["offsets", BY_TIME].map(|restart| restarting(restart, "", "s: { from: r, where: a > 1 }", sinks));
        assert_eq!(both[0], both[1], "{sinks}");
        both[0].clone()
    };
    assert_eq!(of(OUT), [] as [&str; 0]);
    assert_eq!(of(&format!("{OUT}, more: {{ from: r, console: {{}} }}")), NOT);
    assert_eq!(of("out: { from: s, file: { path: x }, format: json }"), NOT);
    assert_eq!(of("out: { from: s, kafka: { topic: u }, format: json, delivery: at_least_once }"), NOT);
    assert_eq!(of("out: { from: s, kafka: { topic: u }, format: json, mode: upsert, key: [a] }"), NOT);
    let generated =
        of_ratings("  restart: offsets\n  sinks: { out: { from: ratings, kafka: { topic: u }, format: json } }\n");
    assert_eq!(generated.1, NOT);
    let windows = "s: { from: r, window: { tumbling: 5s }, aggregate: { n: count(*) } }";
    assert_eq!(restarting("offsets", "", windows, OUT), NOT);
}

#[test]
fn a_restart_from_the_sink_needs_a_start_that_does_not_move() {
    let of = |restart: &str, start: &str| {
        let spec = format!(
            "{HEAD}  restart: {restart}
  sources: {{ r: {{ kafka: {{ topic: t, start: {start} }}, format: json, columns: {{ a: int }} }} }}
  sinks: {{ out: {{ from: r, kafka: {{ topic: u }}, format: json }} }}\n"
        );
        built(&spec).1
    };
    for moves in ["latest", "{ timestamp: -1h }"] {
        assert_eq!(of("offsets", moves), ["restart.start"]);
        assert_eq!(of(BY_TIME, moves), ["restart.start"]);
        assert_eq!(of("journal", moves), [] as [&str; 0]);
    }
    for stays in ["earliest", "{ timestamp: 2026-01-31T08:00:00Z }", "{ offsets: { t: { 0: 42 } } }", "{ group: g }"] {
        assert_eq!(of("offsets", stays), [] as [&str; 0]);
        assert_eq!(of(BY_TIME, stays), [] as [&str; 0]);
    }
    assert_eq!(of("offsets", "lastest"), ["kafka.place"]);
}

#[test]
fn the_sort_of_a_restart_by_watermark_stands_before_the_windows_or_the_sink() {
    let plan_of = |transforms: &str| {
        let source = "r: { kafka: { topic: t }, format: json, columns: { a: int } }";
        let spec = format!(
            "{HEAD}  restart: {BY_TIME}\n  sources: {{ {source} }}\n  transforms: {{ {transforms} }}\n  sinks: {{ {OUT} }}\n"
        );
        let (mut plans, codes) = built(&spec);
        assert_eq!(codes, [] as [&str; 0]);
        let plan = plans.remove(0);
        (plan.steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>(), plan.restart)
    };
    let (steps, restart) = plan_of("s: { from: r, where: a > 1 }");
    assert_eq!(steps, ["s", "in order"]);
    assert_eq!(restart, crate::plan::RestartPlan::Watermark { sink: 0, step: 1, seek_ms: 5_000 });
    let (steps, restart) = plan_of(
        "f: { from: r, where: a > 1 }, w: { from: f, window: { hopping: { size: 9s, every: 3s } }, aggregate: { n: count(*) } }, s: { from: w, where: n > 1 }",
    );
    assert_eq!(steps, ["f", "in order", "w", "s"]);
    assert_eq!(restart, crate::plan::RestartPlan::Watermark { sink: 0, step: 2, seek_ms: 14_000 }); // What trips a failure stands beside the way to the sink: its rows are not held against it.
    let (steps, restart) = plan_of(
        "w: { from: r, window: { tumbling: 5s }, aggregate: { n: count(*) } }, big: { from: w, window: { tumbling: 1m }, aggregate: { m: sum(n) } }, s: { from: w, fail: { trigger: big } }",
    );
    assert_eq!(steps, ["in order", "w", "big", "s", "s trigger"]);
    assert_eq!(restart, crate::plan::RestartPlan::Watermark { sink: 0, step: 1, seek_ms: 65_000 });
}
