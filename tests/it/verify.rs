//! `runner verify` on real topics: what is planted is found, and what is no fault is not.

use rdkafka::producer::Producer;
use serde_json::Value;

use crate::runner::{Ended, PATIENCE, run};
use crate::servers::{self, TestRecord};
use crate::specs::Folder;

/// The report of one comparison.
struct Report(Value);

impl Report {
    fn of(ended: &Ended) -> Report {
        let all: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        assert_eq!(all["reports"].as_array().unwrap().len(), 1, "{all}");
        Report(all["reports"][0].clone())
    }

    /// The count of a finding, or of records.
    #[track_caller]
    fn count(&self, name: &str) -> u64 {
        let count = self.0[name].as_u64().or_else(|| self.0[name]["count"].as_u64());
        count.unwrap_or_else(|| panic!("{} has no {name}", self.0))
    }

    fn examples(&self, name: &str) -> Vec<&str> {
        self.0[name]["examples"].as_array().unwrap().iter().map(|example| example.as_str().unwrap()).collect()
    }

    /// No other finding than these.
    #[track_caller]
    fn has_only(&self, wanted: &[(&str, u64)]) {
        const ALL: [&str; 8] = [
            "gaps",
            "behind",
            "duplicates",
            "unexpected",
            "unidentified",
            "disorder_by_partition",
            "disorder_by_key",
            "disorder_by_time",
        ];
        let found: Vec<(&str, u64)> =
            ALL.into_iter().map(|name| (name, self.count(name))).filter(|(_, count)| *count > 0).collect();
        let mut wanted = wanted.to_vec();
        wanted.sort_by_key(|(name, _)| ALL.iter().position(|other| other == name));
        assert_eq!(found, wanted, "{:#}", self.0);
    }
}

/// Compares two topics; the exit code says whether something was found.
#[track_caller]
fn topics(from: &str, to: &str, more: &[&str], code: i32) -> Report {
    let folder = Folder::new();
    let which = ["verify", "--from", from, "--to", to, "--brokers", servers::kafka(), "--output", "json"];
    Report::of(&run(&[&which[..], more].concat(), folder.path()).with_code(code))
}

fn numbered(n: i64) -> String {
    format!("{{\"n\":{n}}}")
}

/// A record that says where it comes from.
fn copied(to: i32, partition: i32, offset: i64) -> TestRecord {
    let header = |name: &str, value: i64| (name.to_owned(), Some(value.to_string().into_bytes()));
    let headers = vec![header("_partition", partition.into()), header("_offset", offset)];
    TestRecord { headers, ..TestRecord::to(to, numbered(offset)) }
}

/// Records that are committed and others that are aborted, in transactions: partition 0 has committed ones at
/// 0 to 9 and 21 to 30, a marker at 10 and 31, and aborted ones with their marker between.
fn with_transactions(topic: &str) {
    let producer = servers::transactional_producer(&servers::unique("verify"));
    for (range, commit) in [(0..10, true), (10..19, false), (20..30, true)] {
        producer.begin_transaction().unwrap();
        range.for_each(|n| servers::send(&producer, topic, &TestRecord::to(0, numbered(n))));
        producer.flush(PATIENCE).unwrap();
        let ended = if commit { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) };
        ended.unwrap();
    }
}

#[test]
fn markers_and_aborted_records_are_no_gaps_by_provenance_and_by_content() {
    let (from, to) = (servers::topic("verify-from", 1), servers::topic("verify-to", 1));
    with_transactions(&from);
    let source = servers::read(&from);
    let offsets: Vec<i64> = source.iter().map(|record| record.offset).collect();
    assert_eq!(offsets.len(), 20);
    assert!(offsets[10] > 11 && offsets[19] - offsets[10] == 9, "a marker or more lie between: {offsets:?}");
    // The copy has markers of its own, elsewhere.
    let producer = servers::transactional_producer(&servers::unique("verify"));
    for chunk in source.chunks(3) {
        producer.begin_transaction().unwrap();
        for record in chunk {
            let copy = TestRecord { value: record.value.clone(), ..copied(0, 0, record.offset) };
            servers::send(&producer, &to, &copy);
        }
        producer.commit_transaction(PATIENCE).unwrap();
    }
    for by in [&[][..], &["--by", "content"], &["--by", "column=n"]] {
        let report = topics(&from, &to, &[by, &["--order", "partition,key,time"]].concat(), 0);
        report.has_only(&[]);
        let counts = ["read", "expected", "found"].map(|name| report.count(name));
        assert_eq!(counts, [20, 20, 20], "{by:?}");
    }
}

#[test]
fn planted_faults_are_found_by_provenance_each_at_its_place() {
    let (from, to) = (servers::topic("verify-from", 2), servers::topic("verify-to", 2));
    let source: Vec<TestRecord> = (0..2).flat_map(|p| (0..100).map(move |n| TestRecord::to(p, numbered(n)))).collect();
    servers::produce(&from, &source);
    // Partition 0 is copied whole and in order, into both partitions of the sink.
    let mut sink: Vec<TestRecord> = (0..100).map(|n| copied((n % 2) as i32, 0, n)).collect();
    // Of partition 1 are missing 10 to 14 and 20, and from 90 on all; 30 and 31 come twice; 50 comes before 49.
    let missing = |n: &i64| (10..15).contains(n) || *n == 20 || *n >= 90;
    let mut second: Vec<i64> = (0..100).filter(|n| !missing(n)).collect();
    let at = second.iter().position(|n| *n == 49).unwrap();
    second.swap(at, at + 1);
    sink.extend(second.iter().map(|n| copied(0, 1, *n)));
    sink.extend([30, 31].map(|n| copied(1, 1, n)));
    // No source has these: an offset that is not there yet, a partition that is not there, and none at all.
    sink.push(copied(0, 0, 4_711));
    sink.push(copied(0, 7, 1));
    sink.push(TestRecord::to(1, "x"));
    servers::produce(&to, &sink);

    let report = topics(&from, &to, &[], 4);
    report.has_only(&[
        ("gaps", 6),
        ("behind", 10),
        ("duplicates", 2),
        ("unexpected", 1),
        ("unidentified", 2),
        ("disorder_by_partition", 1),
    ]);
    assert_eq!(
        report.examples("gaps"),
        [format!("partition 1 of `{from}` offsets 10 to 14"), format!("partition 1 of `{from}` offset 20")]
    );
    assert_eq!(report.examples("behind"), [format!("partition 1 of `{from}` offsets 90 to 99")]);
    assert_eq!(report.examples("unexpected"), [format!("partition 0 of `{from}` offset 4711")]);
    assert_eq!(
        report.examples("duplicates"),
        [30, 31].map(|n| {
            format!("partition 1 of `{from}` offset {n} again at partition 1 of `{to}` offset {}", 20 + n)
        })
    );
    assert_eq!(report.count("found"), sink.len() as u64);
    // What is behind is no fault of a pipeline that runs: but the rest is.
    topics(&from, &to, &["--live"], 4);

    let folder = Folder::new();
    let text =
        run(&["verify", "--from", &from, "--to", &to, "--brokers", servers::kafka()], folder.path()).with_code(4);
    for line in ["gaps: 6", "duplicates: 2", "out of order by partition: 1", "unexpected: 1"] {
        assert!(text.stdout.contains(line), "{}", text.stdout);
    }
}

#[test]
fn what_is_behind_is_no_fault_of_a_pipeline_that_runs() {
    let (from, to) = (servers::topic("verify-from", 1), servers::topic("verify-to", 1));
    servers::produce(&from, &(0..10).map(|n| TestRecord::to(0, numbered(n))).collect::<Vec<_>>());
    servers::produce(&to, &(0..7).map(|n| copied(0, 0, n)).collect::<Vec<_>>());
    for by in [&[][..], &["--by", "content"]] {
        topics(&from, &to, by, 4).has_only(&[("behind", 3)]);
        topics(&from, &to, &[by, &["--live"]].concat(), 0);
    }
    // What retention took from the source accuses nobody.
    servers::delete_records(&from, 0, 5);
    let report = topics(&from, &to, &["--live"], 0);
    assert_eq!((report.count("gone"), report.count("expected")), (5, 5));
}

#[test]
fn planted_faults_are_found_by_content_column_and_key() {
    let (from, to) = (servers::topic("verify-from", 2), servers::topic("verify-to", 2));
    let record = |partition: i32, n: i64| TestRecord {
        key: Some(format!("k{n}").into_bytes()),
        ..TestRecord::to(partition, numbered(n)).at(1_767_225_600_000 + n)
    };
    let source = (0..2_000).map(|n| record(0, n)).chain((2_000..4_000).map(|n| record(1, n)));
    servers::produce_many(servers::kafka(), &from, source);
    // 5 and 2,100 are missing, 6 comes twice, 8 before 7, and 9,999 was never there.
    let mut order: Vec<i64> = (0..2_000).filter(|n| *n != 5).collect();
    order.swap(6, 7);
    assert_eq!(order[6..8], [8, 7]);
    let first = order.into_iter().chain([6, 9_999]).map(|n| record(1, n));
    let second = (2_000..4_000).filter(|n| *n != 2_100).map(|n| record(0, n));
    servers::produce_many(servers::kafka(), &to, first.chain(second));
    for by in ["content", "column=n", "key"] {
        let report = topics(&from, &to, &["--by", by], 4);
        report.has_only(&[("gaps", 2), ("duplicates", 1), ("unexpected", 1), ("disorder_by_partition", 1)]);
        assert!(
            report.examples("gaps")[0].starts_with(&format!("partition 0 of `{from}` offset 5: ")),
            "{:#}",
            report.0
        );
        assert!(report.examples("duplicates")[0].contains("`{\"n\":6}` again at"), "{:#}", report.0);
    }
    let report = topics(&from, &to, &["--by", "content", "--order", "time"], 4);
    // 7 behind 8, and 6 behind 1,999.
    report.has_only(&[("gaps", 2), ("duplicates", 1), ("unexpected", 1), ("disorder_by_time", 2)]);
    // Provenance that nobody wrote is no provenance.
    let report = topics(&from, &to, &[], 4);
    report.has_only(&[("behind", 4_000), ("unidentified", 4_000)]);
}

#[test]
fn records_of_a_key_belong_into_one_partition_in_their_order() {
    let (from, to) = (servers::topic("verify-from", 1), servers::topic("verify-to", 2));
    let keyed = |record: TestRecord, key: &str| TestRecord { key: Some(key.into()), ..record };
    servers::produce(&from, &(0..6).map(|n| TestRecord::to(0, numbered(n))).collect::<Vec<_>>());
    servers::produce(
        &to,
        &[
            keyed(copied(0, 0, 0), "a"),
            keyed(copied(0, 0, 2), "a"),
            keyed(copied(0, 0, 1), "a"),
            keyed(copied(0, 0, 3), "b"),
            keyed(copied(1, 0, 4), "b"),
            keyed(copied(1, 0, 5), "c"),
        ],
    );
    let report = topics(&from, &to, &["--order", "key"], 4);
    report.has_only(&[("disorder_by_key", 2)]);
    topics(&from, &to, &["--order", "none"], 0);
}

/// The log cleaner takes its time: this waits for it.
#[test]
fn what_compaction_took_from_either_side_is_no_fault() {
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "200"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("delete.retention.ms", "600000"),
    ];
    let [source, copy] = ["verify-source", "verify-copy"].map(|name| servers::topic(name, 1));
    let compacted = servers::topic_with("verify-compacted", 1, &settings);
    let keyed = |record: TestRecord, n: i64| TestRecord { key: Some(format!("k{}", n % 3).into_bytes()), ..record };
    let mut next = 0;
    let mut write = || {
        servers::produce(&source, &[keyed(TestRecord::to(0, numbered(next)), next)]);
        [&copy, &compacted].into_iter().for_each(|topic| servers::produce(topic, &[keyed(copied(0, 0, next), next)]));
        next += 1;
        next
    };
    (0..30).for_each(|_| {
        write();
    });
    let deadline = std::time::Instant::now() + PATIENCE;
    // Only older segments are cleaned: later records begin a new one.
    while servers::read(&compacted).len() as i64 > write() - 15 {
        assert!(std::time::Instant::now() < deadline, "nothing was cleaned for {PATIENCE:?}");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    for by in [&[][..], &["--by", "content"]] {
        let report = topics(&source, &compacted, by, 0);
        assert!(report.count("compacted") >= 15, "{:#}", report.0);
        let report = topics(&compacted, &copy, by, 0);
        assert!(report.count("gone") >= 15, "{:#}", report.0);
    }
    // The newest of a key is never taken: that it is not there is a fault.
    servers::produce(&source, &[(next, 0), (next + 1, 1)].map(|(n, key)| keyed(TestRecord::to(0, numbered(n)), key)));
    servers::produce(&compacted, &[keyed(copied(0, 0, next + 1), 1)]);
    for by in [&[][..], &["--by", "content"]] {
        topics(&source, &compacted, by, 4).has_only(&[("gaps", 1)]);
    }
}

const PIPELINE: &str = "  sources:
    rows: { kafka: { topic: FROM }, format: json, columns: { n: long } }
    more: { kafka: { topic: MORE, start: latest }, format: json, columns: { n: long } }
  transforms:
    even: { from: rows, where: n % 2 = 0 }
    named: { from: even, select: { n: n, name: \"'n' || n\" } }
    all: { from: [rows, more], select: [n] }
    counts: { from: rows, group_by: [n], aggregate: { cnt: count(*) } }
  sinks:
    traced: { from: named, kafka: { topic: TRACED }, format: avro, headers: provenance }
    plain: { from: named, kafka: { topic: PLAIN }, format: avro }
    both: { from: all, kafka: { topic: BOTH }, format: json, headers: provenance }
    table: { from: counts, kafka: { topic: TABLE }, format: json }
    lines: { from: even, file: { path: out.jsonl }, format: json }
";

/// A pipeline with a filter, an Avro sink with and without provenance, a union and state.
#[test]
fn a_pipelines_sinks_are_computed_again() {
    let folder = Folder::connected();
    let names = ["FROM", "MORE", "TRACED", "PLAIN", "BOTH", "TABLE"];
    let topics = names.map(|name| servers::unique(&format!("verify-{}", name.to_lowercase())));
    topics[..2].iter().for_each(|topic| servers::create_topic(servers::kafka(), topic, 2, &[]));
    let spec = names.iter().zip(&topics).fold(PIPELINE.to_owned(), |spec, (name, topic)| spec.replace(name, topic));
    folder.pipeline("verified", &spec);
    let rows =
        |range: std::ops::Range<i64>| range.map(|n| TestRecord::to((n % 2) as i32, numbered(n))).collect::<Vec<_>>();
    // `start: latest`: these are read by nobody, and are expected by nobody.
    servers::produce(&topics[1], &rows(0..5));
    servers::produce(&topics[0], &rows(0..100));
    folder.run("apply", &["--until", "end"]).with_code(0);
    servers::produce(&topics[1], &rows(5..10));
    servers::produce(&topics[0], &rows(100..200));
    folder.run("apply", &["--until", "end"]).with_code(0);

    let verify = |code| {
        let ended = folder.run("verify", &["--output", "json"]).with_code(code);
        serde_json::from_str::<Value>(&ended.stdout).unwrap()
    };
    let all = verify(0);
    let reports: Vec<Report> = all["reports"].as_array().unwrap().iter().map(|report| Report(report.clone())).collect();
    assert_eq!(reports.iter().map(|report| report.count("expected")).collect::<Vec<_>>(), [100, 100, 205]);
    reports.iter().for_each(|report| report.has_only(&[]));
    let skipped: Vec<&str> =
        all["not_verified"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert!(skipped.iter().any(|text| text.contains("`table`") && text.contains("behind `counts`, which keeps state")));
    assert!(skipped.iter().any(|text| text.contains("`lines`") && text.contains("file")));

    // One record of each Avro sink again, one that no source has, and one that is not written yet.
    for topic in &topics[2..4] {
        let record = servers::read(topic).swap_remove(7);
        let foreign = TestRecord { value: Some(vec![0, 1, 2, 3]), headers: Vec::new(), ..record.clone() };
        servers::produce(topic, &[record, foreign]);
    }
    servers::produce(&topics[0], &rows(200..201));
    let all = verify(4);
    let reports: Vec<Report> = all["reports"].as_array().unwrap().iter().map(|report| Report(report.clone())).collect();
    reports[0].has_only(&[("behind", 1), ("duplicates", 1), ("unidentified", 1)]);
    reports[1].has_only(&[("behind", 1), ("duplicates", 1), ("unexpected", 1)]);
    reports[2].has_only(&[("behind", 1)]);
    assert!(
        reports[1].examples("behind")[0].contains(&format!("partition 0 of `{}` ", topics[0])),
        "{:#}",
        reports[1].0
    );

    folder.run("verify", &["--sink", "both", "--live"]).with_code(0);
    let refused = folder.run("verify", &["--sink", "table"]).with_code(2);
    assert!(refused.stderr.contains("no sink can be verified"), "{}", refused.stderr);
    let unknown = folder.run("verify", &["--sink", "tabel"]).with_code(2);
    assert!(unknown.stderr.contains("declare no sink `tabel`"), "{}", unknown.stderr);
}

#[test]
fn what_cannot_be_compared_is_said() {
    let folder = Folder::new();
    let (from, nowhere) = (servers::topic("verify-from", 1), servers::unique("nowhere"));
    servers::produce(&from, &[TestRecord::to(0, "no json")]);
    let verify = |to: &str, more: &[&str]| {
        run(&[&["verify", "--from", &from, "--to", to, "--brokers", servers::kafka()], more].concat(), folder.path())
    };
    let missing = verify(&nowhere, &[]).with_code(1);
    assert!(missing.stderr.contains(&format!("there is no topic `{nowhere}`")), "{}", missing.stderr);
    let no_json = verify(&from, &["--by", "column=n"]).with_code(1);
    assert!(no_json.stderr.contains("`no json` is not a JSON object with a column `n`"), "{}", no_json.stderr);
    verify(&from, &["--by", "colour=n"]).with_code(2);
    let empty = servers::topic("verify-empty", 3);
    topics(&empty, &empty, &[], 0).has_only(&[]);
    let away = run(&["verify", "--from", "a", "--to", "b", "--brokers", "127.0.0.1:1"], folder.path()).with_code(1);
    assert!(away.stderr.contains("kafka.unreachable"), "{}", away.stderr);
}
