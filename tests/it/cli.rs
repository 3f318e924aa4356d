//! The command line as a user meets it: what it says, how it waits, how it ends.
//!
//! Exit codes: 0 done, 1 failed while running, 2 the spec is wrong, 3 refused, 4 the answer is no.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::gate::Gate;
use crate::runner::{Ended, Runner, Stream, run};
use crate::servers::{self, TestRecord};
use crate::specs::{Folder, avro_bytes, avro_long, framed, read_when, register};

const NUMBER: &str = r#"{"type":"record","name":"Number","fields":[{"name":"n","type":"long"}]}"#;

/// Ends with Ctrl-C, and as it should.
fn interrupt(runner: Runner) -> Ended {
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0)
}

fn json_rows(numbers: std::ops::Range<i64>) -> Vec<TestRecord> {
    numbers.map(|n| TestRecord::to(0, format!("{{\"n\":{n}}}"))).collect()
}

fn texts(records: &[TestRecord]) -> Vec<String> {
    records.iter().map(TestRecord::text).collect()
}

/// The one JSON document on stdout.
fn report(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

fn copy_pipeline(folder: &Folder, name: &str, topic: &str, more: &str) {
    folder.pipeline(
        name,
        &format!(
            "  sources: {{ numbers: {{ kafka: {{ topic: {topic}{more} }}, format: json, columns: {{ n: long }} }} }}\n  sinks: {{ copy: {{ from: numbers, kafka: {{ topic: {topic}-copy }}, format: json }} }}\n"
        ),
    );
}

// Servers that are away

#[test]
fn apply_names_servers_that_are_away_and_goes_on_when_they_come() {
    let (host, base) = servers::registry().strip_prefix("http://").unwrap().split_once('/').unwrap();
    let (mut kafka, mut registry) = (Gate::to(servers::kafka()), Gate::to(host));
    let topic = servers::topic("away", 1);
    servers::produce(&topic, &json_rows(0..3));
    let folder = Folder::connected_to(&kafka.address(), &format!("http://{}/{base}", registry.address()));
    folder.pipeline(
        "away",
        &format!(
            "  sources: {{ a: {{ kafka: {{ topic: {topic} }}, format: json, columns: {{ n: long }} }} }}\n  sinks: {{ b: {{ from: a, kafka: {{ topic: {topic}-out }}, format: avro }} }}\n"
        ),
    );
    let asked = Instant::now();
    let apply = folder.apply(&[]);
    apply.wait_stderr(&format!("waiting: no Kafka broker answers at `{}`", kafka.address()));
    // Two seconds, and as much for a machine that does much else.
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    apply.wait_stderr(&format!(
        "waiting: the schema registry at `http://{}/{base}` (connection `default`) cannot be reached",
        registry.address()
    ));
    kafka.open();
    assert!(!apply.ended_within(Duration::from_secs(1)), "{}", apply.stderr());
    registry.open();
    apply.wait_stderr("going on: all servers answer");
    apply.wait_stderr("away: starts");
    assert_eq!(read_when(&format!("{topic}-out"), 3).len(), 3);
    let ended = interrupt(apply);
    assert_eq!(ended.stderr.matches("waiting:").count(), 2, "each is named once: {}", ended.stderr);
}

#[test]
fn waiting_ends_with_ctrl_c_and_plan_does_not_wait() {
    let folder = Folder::connected_to("127.0.0.1:1", "http://127.0.0.1:2");
    copy_pipeline(&folder, "nowhere", "t", "");
    let apply = folder.apply(&[]);
    apply.wait_stderr("waiting: no Kafka broker answers at `127.0.0.1:1`");
    apply.signal(libc::SIGINT);
    assert!(apply.wait_within(Duration::from_secs(5)).with_code(0).stderr.contains("stopping"));

    let plan = folder.run("plan", &[]).with_code(1);
    let expected = "error[kafka.unreachable]: no Kafka broker answers at `127.0.0.1:1` (connection `default`): \
                    Connect to ipv4#127.0.0.1:1 failed: Connection refused\n --> ./nowhere.yaml:5:25\n";
    assert!(plan.stderr.replace("--> nowhere", "--> ./nowhere").contains(expected), "{}", plan.stderr);
    assert!(plan.stderr.contains("hint: is the broker running, and is this its address?"), "{}", plan.stderr);
    let json = folder.run("plan", &["--output", "json"]).with_code(1);
    assert_eq!(report(&json)["diagnostics"][0]["code"], "kafka.unreachable");

    // A wrong spec is not waited for.
    folder.pipeline(
        "wrong",
        "  sources: { a: { datagen: { columns: { n: long } } } }\n  sinks: { b: { from: c, console: {} } }\n",
    );
    let wrong = folder.run("apply", &[]).with_code(2);
    assert!(wrong.stderr.contains("error[names.unknown]: there is no source or transform `c`"), "{}", wrong.stderr);
}

#[test]
fn a_registry_that_goes_away_is_waited_for_and_nothing_is_dropped() {
    let (host, base) = servers::registry().strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut registry = Gate::to(host);
    registry.open();
    let topic = servers::topic("registry-later", 1);
    let subject = format!("{topic}-value");
    let first = register(&subject, NUMBER);
    let record = |id, n: i64, more: &[u8]| TestRecord::to(0, framed(id, &[&avro_long(n)[..], more].concat()));
    servers::produce(&topic, &[record(first, 1, b"")]);
    let folder = Folder::connected_to(servers::kafka(), &format!("http://{}/{base}", registry.address()));
    folder.pipeline(
        "later",
        &format!(
            "  sources: {{ a: {{ kafka: {{ topic: {topic} }}, format: avro }} }}\n  sinks: {{ b: {{ from: a, kafka: {{ topic: {topic}-out }}, format: json }} }}\n"
        ),
    );
    let apply = folder.apply(&[]);
    assert_eq!(texts(&read_when(&format!("{topic}-out"), 1)), [r#"{"n":1}"#]);

    registry.shut();
    let second = register(&subject, &NUMBER.replace("]}", r#",{"name":"m","type":"string","default":""}]}"#));
    servers::produce(&topic, &[record(first, 2, b""), record(second, 3, b"\x02m"), record(first, 4, b"")]);
    apply.wait_stderr(&format!(
        "the schema registry at `http://{}/{base}` (connection `default`) cannot be reached",
        registry.address()
    ));
    registry.open();
    let rows = read_when(&format!("{topic}-out"), 4);
    assert_eq!(texts(&rows), [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#, r#"{"n":4}"#]);
    assert!(interrupt(apply).stderr.contains("4 rows in, 4 rows out, 0 late, 0 dead"));
}

// First steps

#[test]
fn the_quickstart_prints_windows_without_a_server_and_resumes() {
    let folder = Folder::new();
    let quickstart = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/quickstart.yaml");
    let apply = Runner::spawn(&["apply", quickstart], folder.path());
    apply.wait_stderr("quickstart: starts; journal in ");
    // window_start, window_end, brand, cnt, duration_mean, rating_mean
    let row = apply.wait_line(Stream::Stdout, |line| line.contains("Acme"), "a window of Acme");
    assert_eq!(row.split_whitespace().count(), 6, "{row}");
    interrupt(apply);
    let again = Runner::spawn(&["apply", quickstart], folder.path());
    again.wait_stderr("quickstart: resumes behind epoch ");
    interrupt(again);
}

// Bad input

/// Good, garbage, truncated, of an unknown schema, null, good: with keys and headers.
fn bad_topic(name: &str) -> (String, Vec<TestRecord>) {
    let topic = servers::topic(name, 1);
    let id =
        register(&format!("{topic}-value"), r#"{"type":"record","name":"R","fields":[{"name":"s","type":"string"}]}"#);
    let values = [
        Some(framed(id, &avro_bytes(b"one"))),
        Some(b"{\"s\": 1}".to_vec()),
        Some(framed(id, b"\x0aab")),
        Some(framed(999_999, b"x")),
        None,
        Some(framed(id, &avro_bytes(b"two"))),
    ];
    let record = |(index, value): (usize, Option<Vec<u8>>)| TestRecord {
        partition: 0,
        offset: index as i64,
        timestamp: Some(1_704_067_200_000 + index as i64),
        key: Some(format!("key {index}").into_bytes()),
        value,
        headers: vec![("trace".into(), Some(vec![index as u8, 0xff])), ("empty".into(), None)],
    };
    let records: Vec<TestRecord> = values.into_iter().enumerate().map(record).collect();
    servers::produce(&topic, &records);
    (topic, records)
}

fn bad_pipeline(folder: &Folder, topic: &str, more: &str) {
    folder.pipeline(
        "bad",
        &format!(
            "  sources: {{ texts: {{ kafka: {{ topic: {topic} }}, format: avro }} }}\n  sinks: {{ good: {{ from: texts, kafka: {{ topic: {topic}-good }}, format: json }} }}\n{more}"
        ),
    );
}

#[test]
fn a_dead_letter_keeps_bytes_key_and_headers_and_says_why() {
    let (topic, records) = bad_topic("dead-letter");
    let folder = Folder::connected();
    bad_pipeline(&folder, &topic, &format!("  dead_letter: {{ kafka: {{ topic: {topic}-dead }} }}\n"));
    let ended = folder.run("apply", &["--until", "end"]).with_code(0);
    assert!(ended.stderr.contains("6 rows in, 6 rows out, 0 late, 4 dead"), "{}", ended.stderr);
    assert_eq!(texts(&servers::read(&format!("{topic}-good"))), [r#"{"s":"one"}"#, r#"{"s":"two"}"#]);

    let dead = servers::read(&format!("{topic}-dead"));
    let expected = [
        (1, "avro.magic", "the value begins with 0x7b, not with 0x00 and the id of a schema"),
        (2, "avro.truncated", "the value ends too early"),
        (3, "avro.unknown_schema", "the registry does not know the schema id 999999"),
        (4, "value.null", "the value is null"),
    ];
    assert_eq!(dead.len(), expected.len());
    for (letter, (offset, code, reason)) in dead.iter().zip(expected) {
        let original = &records[offset];
        assert_eq!((&letter.key, &letter.value), (&original.key, &original.value), "{code}");
        assert_eq!(letter.timestamp, original.timestamp);
        assert_eq!(letter.headers[..2], original.headers[..]);
        let header = |name: &str| {
            let found = letter.headers.iter().find(|(known, _)| *known == format!("__connect.errors.{name}"));
            String::from_utf8(found.unwrap_or_else(|| panic!("no {name}")).1.clone().unwrap()).unwrap()
        };
        assert_eq!(header("topic"), topic);
        assert_eq!((header("partition"), header("offset")), ("0".to_owned(), offset.to_string()));
        assert_eq!((header("connector.name"), header("stage")), ("bad".to_owned(), "VALUE_CONVERTER".to_owned()));
        assert_eq!(header("exception.class.name"), code);
        assert!(header("exception.message").contains(reason), "{}", header("exception.message"));
    }
}

#[test]
fn without_a_dead_letter_the_first_bad_record_ends_the_run_with_its_place_and_bytes() {
    let (topic, _) = bad_topic("first-bad");
    let folder = Folder::connected();
    bad_pipeline(&folder, &topic, "");
    let ended = folder.run("apply", &["--until", "end"]).with_code(1);
    let expected = format!(
        "error[record.bad]: `texts` refused a record at {topic}[0]@1: the value begins with 0x7b, not with 0x00 and the id of a schema; its value is `{{\"s\": 1}}`\n\
         hint: give the pipeline a `dead_letter:` sink to keep such records, or `errors: {{skip: true}}` to count and skip them\n"
    );
    assert!(ended.stderr.ends_with(&expected), "{}", ended.stderr);
}

#[test]
fn skipped_errors_are_counted_and_too_many_of_them_end_the_run() {
    let (topic, _) = bad_topic("skip");
    let folder = Folder::connected();
    bad_pipeline(&folder, &topic, "  errors: { skip: true }\n");
    let ended = folder.run("apply", &["--until", "end"]).with_code(0);
    assert!(ended.stderr.contains("6 rows in, 2 rows out, 0 late, 4 dead"), "{}", ended.stderr);

    let (topic, _) = bad_topic("fail-above");
    let folder = Folder::connected();
    bad_pipeline(
        &folder,
        &topic,
        &format!("  dead_letter: {{ kafka: {{ topic: {topic}-dead }} }}\n  errors: {{ fail_above: 0.03% }}\n"),
    );
    let ended = folder.run("apply", &["--until", "end"]).with_code(1);
    let expected = format!(
        "error[errors.too_many]: 4 of the last 6 rows are bad; the newest: `texts` refused a record at {topic}[0]@4: the value is null\nhint: mend what is wrong with them, or raise `errors.fail_above`\n"
    );
    assert!(ended.stderr.ends_with(&expected), "{}", ended.stderr);
}

#[test]
fn null_and_far_future_times_are_dead_letters() {
    let topic = servers::topic("times", 1);
    let row = |time: &str| TestRecord::to(0, format!("{{\"at\":{time}}}"));
    servers::produce(&topic, &[row("1704067200000"), row("null"), row("4102444800000"), row("1704067201000")]);
    let folder = Folder::connected();
    folder.pipeline(
        "times",
        &format!(
            "  sources:\n    a: {{ kafka: {{ topic: {topic} }}, format: json, columns: {{ at: 'timestamp(ms)?' }}, time: {{ field: at }} }}\n  sinks: {{ b: {{ from: a, file: {{ path: good.jsonl }}, format: json }} }}\n  dead_letter: {{ file: {{ path: dead.jsonl }} }}\n"
        ),
    );
    folder.run("apply", &["--until", "end"]).with_code(0);
    assert_eq!(folder.read("good.jsonl").lines().count(), 2, "{}", folder.read("good.jsonl"));
    let dead: Vec<Value> = folder.read("dead.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let codes: Vec<_> = dead.iter().map(|d| (d["code"].as_str().unwrap(), d["offset"].as_i64().unwrap())).collect();
    assert_eq!(codes, [("time.null", 1), ("time.future", 2)], "{dead:?}");
}

// Wrong specs and refusals

#[test]
fn everything_that_is_wrong_is_said_in_one_run() {
    let topic = servers::topic("wrong", 1);
    let folder = Folder::connected();
    folder.pipeline(
        "wrong",
        &format!(
            "  sources:
    rows: {{ kafka: {{ topic: {topic}, properties: {{ fetch.min.byte: 1 }} }}, format: json, columns: {{ rating: int, brand: string }} }}
    gone: {{ kafka: {{ topic: {topic}s }}, format: json, columns: {{ a: int }} }}
  transforms:
    a: {{ from: rows, where: ratng > 2 }}
    b: {{ from: rows, where: roundd(rating) > 2 }}
    c: {{ from: row, where: rating > 2 }}
  sinks:
    a1: {{ from: a, console: {{}} }}
    b1: {{ from: b, console: {{}} }}
    c1: {{ from: c, console: {{}} }}
    d1: {{ from: gone, console: {{}} }}
"
        ),
    );
    for verb in ["plan", "apply"] {
        let ended = folder.run(verb, &["--output", "text"]).with_code(2);
        let stderr = &ended.stderr;
        let expected = [
            "error[kafka.unknown_property]: librdkafka knows no property `fetch.min.byte`",
            "hint: did you mean `fetch.min.bytes`?",
            &format!("error[kafka.no_topic]: there is no topic `{topic}s`"),
            "hint: correct the name, or declare it with a `kind: Topic` document to have it created",
            "`ratng`",
            "hint: did you mean `rating`?",
            "`roundd`",
            "error[names.unknown]: there is no source or transform `row`",
        ];
        for part in expected {
            assert!(stderr.contains(part), "no `{part}` in {stderr}");
        }
        assert_eq!(stderr.matches("\nerror[").count() + usize::from(stderr.starts_with("error[")), 5, "{stderr}");
    }
}

#[test]
fn an_unknown_template_variable_is_named() {
    let folder = Folder::new();
    folder.pipeline("vars", "  sources: { a: { datagen: { columns: { n: long }, count: '{{ values.cuont }}' } } }\n  sinks: { b: { from: a, console: {} } }\n");
    let ended = folder.run("validate", &["--set", "count=3"]).with_code(2);
    eprintln!("{}", ended.stderr);
    assert!(ended.stderr.contains("`values.cuont`"), "{}", ended.stderr);
    folder.run("validate", &["--set", "cuont=3"]).with_code(0);
}

#[test]
fn an_incompatible_schema_is_found_before_anything_starts_and_a_changed_meaning_is_warned_of() {
    let topic = servers::topic("schemas", 1);
    register(&format!("{topic}-out-value"), &NUMBER.replace("Number", &format!("{topic}-out").replace('-', "_")));
    let folder = Folder::connected();
    folder.pipeline(
        "schemas",
        &format!(
            "  sources: {{ a: {{ kafka: {{ topic: {topic} }}, format: json, columns: {{ n: string }} }} }}\n  sinks: {{ b: {{ from: a, kafka: {{ topic: {topic}-out }}, format: avro }} }}\n"
        ),
    );
    let ended = folder.run("apply", &["--until", "end"]).with_code(2);
    let title =
        format!("error[schema.incompatible]: the new schema of `{topic}-out-value` is not compatible with version 1");
    assert!(ended.stderr.contains(&title), "{}", ended.stderr);
    assert!(ended.stderr.contains("`n`"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("created topic"), "{}", ended.stderr);

    let with = |unit: &str| {
        let name = format!("{topic}-times").replace('-', "_");
        format!(
            r#"{{"type":"record","name":"{name}","fields":[{{"name":"t","type":{{"type":"long","logicalType":"timestamp-{unit}"}}}}]}}"#
        )
    };
    register(&format!("{topic}-times-value"), &with("micros"));
    folder.pipeline(
        "schemas",
        &format!(
            "  sources: {{ a: {{ kafka: {{ topic: {topic} }}, format: json, columns: {{ t: timestamp }} }} }}\n  sinks: {{ b: {{ from: a, kafka: {{ topic: {topic}-times }}, format: avro }} }}\n"
        ),
    );
    let ended = folder.run("plan", &[]).with_code(0);
    let title =
        format!("warning[schema.meaning]: the new schema of `{topic}-times-value` changes what its values mean");
    assert!(ended.stderr.contains(&title), "{}", ended.stderr);
    assert!(ended.stderr.contains("timestamp-micros"), "{}", ended.stderr);
    let json = folder.run("plan", &["--output", "json"]).with_code(0);
    assert_eq!(report(&json)["diagnostics"][0]["code"], "schema.meaning");
}

#[test]
fn a_state_directory_belongs_to_one_pipeline_and_one_process() {
    let folder = Folder::new();
    let spec = "  sources: { a: { datagen: { columns: { n: long }, rate: 100 } } }\n  sinks: { b: { from: a, discard: {} } }\n  state: { store: state }\n";
    folder.pipeline("one", spec);
    let apply = folder.apply(&[]);
    apply.wait_stderr("one: starts");
    let second = folder.run("apply", &[]).with_code(3);
    assert!(second.stderr.contains(&format!("is in use by process {} on `", apply.pid())), "{}", second.stderr);
    interrupt(apply);

    std::fs::remove_file(folder.path().join("one.yaml")).unwrap();
    folder.pipeline("two", spec);
    let other = folder.run("apply", &[]).with_code(3);
    assert!(
        other.stderr.contains("error[refused.other_pipeline]: the journal is that of pipeline `one`, not of `two`"),
        "{}",
        other.stderr
    );
    assert!(other.stderr.contains("hint: give each pipeline a name or a `state.store` of its own"), "{}", other.stderr);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = Folder::new();
    folder.pipeline(
        "files",
        "  sources: { a: { file: { path: missing.jsonl }, format: json } }\n  sinks: { b: { from: a, console: {} } }\n",
    );
    let ended = folder.run("apply", &[]).with_code(1);
    eprintln!("{}", ended.stderr);
    assert!(ended.stderr.contains("missing.jsonl"), "{}", ended.stderr);
    let spec = run(&["apply", "nowhere.yaml"], folder.path()).with_code(2);
    assert_eq!(spec.stderr, "error[load.not_found]: there is no file `nowhere.yaml`\n");
}

/// Puts a group somewhere, as an administrator's tool does.
fn move_group(group: &str, topic: &str, offset: i64) {
    let mut config = servers::config();
    let consumer: BaseConsumer = config.set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

#[test]
fn a_source_that_reads_another_topic_does_not_take_over_the_position() {
    let (first, second) = (servers::topic("before", 1), servers::topic("after", 1));
    servers::produce(&first, &json_rows(0..5));
    servers::produce(&second, &json_rows(0..9));
    let folder = Folder::connected();
    copy_pipeline(&folder, "other", &first, "");
    folder.run("apply", &["--until", "end"]).with_code(0);
    copy_pipeline(&folder, "other", &second, "");
    let refused = folder.run("apply", &["--until", "end"]).with_code(3);
    let expected = format!(
        "error[refused.other_source]: source `numbers` has read topic `{first}` so far, and reads topic `{second}` now\n\
         hint: give the source another name: a new one begins at its `start`; or start over with `--fresh`\n"
    );
    assert!(refused.stderr.ends_with(&expected), "{}", refused.stderr);

    let spec = folder.read("other.yaml").replace("numbers", "others");
    folder.write("other.yaml", &spec);
    folder.run("apply", &["--until", "end"]).with_code(0);
    assert_eq!(servers::read(&format!("{second}-copy")).len(), 9);
}

/// What a group has committed.
fn group_position(group: &str, topic: &str) -> (Offset, String) {
    let mut config = servers::config();
    let consumer: BaseConsumer = config.set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, 0);
    let committed = consumer.committed_offsets(list, Duration::from_secs(30)).unwrap();
    let element = committed.find_partition(topic, 0).unwrap();
    (element.offset(), element.metadata().to_owned())
}

#[test]
fn i16_a_group_that_somebody_moved_is_refused_with_the_choices() {
    let topic = servers::topic("group", 1);
    let group = format!("{topic}-group");
    servers::produce(&topic, &json_rows(0..10));
    // Before the first run a group may stand anywhere: it is where the run begins.
    move_group(&group, &topic, 2);
    let folder = Folder::connected();
    copy_pipeline(&folder, "moved", &topic, &format!(", group: {group}, start: {{ group: {group} }}"));
    folder.run("apply", &["--until", "end"]).with_code(0);
    let copy = format!("{topic}-copy");
    assert_eq!(servers::read(&copy).len(), 8);
    let (offset, metadata) = group_position(&group, &topic);
    assert_eq!(offset, Offset::Offset(10));
    let lineage = journal(&folder)[1]["plan"]["lineage"].as_str().unwrap().to_owned();
    let owner = metadata.strip_prefix(&format!("runner {lineage} 1 "));
    assert!(owner.is_some_and(|owner| owner.ends_with("/moved")), "{metadata}");

    folder.run("apply", &["--until", "end"]).with_code(0);
    move_group(&group, &topic, 4);
    let refused = folder.run("apply", &["--until", "end"]).with_code(3);
    let expected = format!(
        "error[refused.group_moved]: somebody moved group `{group}` in topic `{topic}`: partition 0 stands at 4, while `numbers` was read up to 10\n"
    );
    assert!(refused.stderr.contains(&expected), "{}", refused.stderr);
    assert!(refused.stderr.contains("--fresh") && refused.stderr.contains("delete the group"), "{}", refused.stderr);
    assert_eq!(servers::read(&copy).len(), 8, "nothing was written");

    folder.run("apply", &["--until", "end", "--fresh"]).with_code(0);
    assert_eq!(servers::read(&copy).len(), 8 + 6, "from where the group stood");
    folder.run("apply", &["--until", "end"]).with_code(0);
    assert_eq!(servers::read(&copy).len(), 8 + 6);
}

/// The records of the only pipeline's journal.
fn journal(folder: &Folder) -> Vec<Value> {
    let ended = folder.journal(&["--output", "json"]);
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Folder {
    fn journal(&self, more: &[&str]) -> Ended {
        run(&[&["journal", "show", "."], more].concat(), self.path()).with_code(0)
    }
}

#[test]
fn only_reset_and_fresh_forget_on_kafka() {
    let topic = servers::topic("reset", 1);
    servers::produce(&topic, &json_rows(0..3));
    let folder = Folder::connected();
    copy_pipeline(&folder, "forget", &topic, "");
    let copied = || servers::read(&format!("{topic}-copy")).len();
    assert!(
        folder
            .run("apply", &["--until", "end"])
            .with_code(0)
            .stderr
            .contains("forget: starts; journal in topic runner.")
    );
    folder.run("apply", &["--until", "end"]).with_code(0);
    assert_eq!(copied(), 3);

    let asked = folder.run("reset", &[]).with_code(3);
    assert!(asked.stdout.starts_with("forget: would forget topic runner."), "{}", asked.stdout);
    assert_eq!(asked.stderr, "hint: nothing was changed; `--yes` does it\n");
    assert!(folder.run("apply", &["--until", "end"]).with_code(0).stderr.contains("forget: resumes behind epoch 1\n"));
    assert_eq!(copied(), 3);

    folder.run("reset", &["--yes"]).with_code(0);
    assert!(journal(&folder).iter().all(|record| record.get("epoch").is_none()), "{:?}", journal(&folder));
    folder.run("apply", &["--until", "end"]).with_code(0);
    assert_eq!(copied(), 6);
    folder.run("apply", &["--until", "end", "--fresh"]).with_code(0);
    assert_eq!(copied(), 9);

    let shown = folder.journal(&[]).stdout;
    let lines: Vec<&str> = shown.lines().map(str::trim).collect();
    assert!(lines[0].contains("records"), "{shown}");
    for word in ["owner", "plan", "epoch"] {
        assert!(lines.iter().any(|line| line.starts_with(word)), "{shown}");
    }
}

#[test]
fn only_reset_and_fresh_forget_in_a_file() {
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"n\":1}\n{\"n\":2}\n");
    folder.pipeline("forget", "  sources: { a: { file: { path: in.jsonl }, format: json, columns: { n: long } } }\n  sinks: { b: { from: a, file: { path: out.jsonl }, format: json } }\n");
    let rows = || folder.read("out.jsonl").lines().count();
    folder.run("apply", &[]).with_code(0);
    folder.run("apply", &[]).with_code(0);
    assert_eq!(rows(), 2);
    assert!(folder.journal(&[]).stdout.contains("epoch     1  2 rows"), "{}", folder.journal(&[]).stdout);
    folder.run("reset", &[]).with_code(3);
    folder.run("reset", &["--yes"]).with_code(0);
    // The file remembers a run that the journal forgot: `--fresh` says that this is meant.
    let refused = folder.run("apply", &[]).with_code(3);
    assert!(refused.stderr.contains("error[refused.lineage]"), "{}", refused.stderr);
    folder.run("apply", &["--fresh"]).with_code(0);
    assert_eq!(rows(), 4);
}

#[test]
fn a_test_that_fails_ends_with_4_and_help_needs_no_server() {
    let folder = Folder::new();
    folder.pipeline("small", "  sources: { a: { file: { path: none }, format: json, columns: { n: long } } }\n  transforms: { big: { from: a, where: n > 1 } }\n  sinks: { b: { from: big, console: {} } }\n");
    let test = |n: i64| {
        format!(
            "apiVersion: runner/v1\nkind: Test\nmetadata: {{ name: small }}\nspec:\n  pipeline: small.yaml\n  given: {{ a: [ {{ n: 1 }}, {{ n: {n} }} ] }}\n  expect: {{ b: [ {{ n: 2 }} ] }}\n"
        )
    };
    folder.write("test.yaml", &test(2));
    folder.run("test", &[]).with_code(0);
    folder.write("test.yaml", &test(3));
    let failed = folder.run("test", &[]).with_code(4);
    assert!(
        failed.stdout.contains("FAILED  small") && failed.stdout.contains("0 passed, 1 failed"),
        "{}",
        failed.stdout
    );
    run(&["test", "small.yaml"], folder.path()).with_code(4);

    for verb in ["apply", "plan", "validate", "test", "reset", "journal", "schema"] {
        let help = run(&[verb, "--help"], folder.path()).with_code(0);
        assert!(help.stdout.contains(&format!("Usage: runner {verb}")), "{}", help.stdout);
    }
    run(&[], folder.path()).with_code(2);
    run(&["aply"], folder.path()).with_code(2);
    let json = folder.run("validate", &["--output", "json"]).with_code(0);
    assert_eq!((&report(&json)["valid"], &report(&json)["pipelines"][0]), (&Value::from(true), &Value::from("small")));
}

#[test]
fn reports_of_apply_are_json_lines_beside_the_rows() {
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"n\":1}\n{\"n\":2}\n");
    folder.pipeline("lines", "  sources: { a: { file: { path: in.jsonl }, format: json, columns: { n: long } } }\n  sinks: { b: { from: a, console: {}, format: json } }\n");
    let ended = folder.run("apply", &["--output", "json"]).with_code(0);
    assert_eq!(ended.stdout, "{\"n\":1}\n{\"n\":2}\n");
    let reports: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(reports[0]["plan"]["pipeline"], "lines", "{reports:?}");
    assert_eq!(reports.last().unwrap()["totals"]["rows_in"], 2, "{reports:?}");
}

/// A second Ctrl-C does not wait for anything.
#[test]
fn ctrl_c_twice_ends_at_once() {
    let folder = Folder::connected_to("127.0.0.1:1", "http://127.0.0.1:2");
    copy_pipeline(&folder, "twice", "t", "");
    let apply = folder.apply(&[]);
    apply.wait_line(Stream::Stderr, |line| line.starts_with("waiting:"), "a server is waited for");
    apply.signal(libc::SIGTERM);
    apply.wait_stderr("stopping; again ends at once");
    if !apply.ended_within(Duration::ZERO) {
        apply.signal(libc::SIGINT);
    }
    let ended = apply.wait_within(Duration::from_secs(5));
    assert!(matches!(ended.code, Some(0 | 130)), "{:?}", ended.code);
}
