//! `pipelines/frames.yaml` on a real Kafka: seconds without a frame, frames out of order, late and bad ones, and a kill.

use serde_json::Value;

use crate::servers::{self, TestRecord, unique};
use crate::specs::{Folder, read_when};

/// A whole minute.
const BASE: i64 = 1_700_000_040;

fn frame(after: f64, uid: &str) -> TestRecord {
    TestRecord::to(0, format!("{{\"ts\": {}, \"uid\": \"{uid}\"}}", BASE as f64 + after))
}

fn json(record: &TestRecord) -> Value {
    serde_json::from_str(&record.text()).unwrap()
}

/// Second (of the minute) and count; a window's record has the last millisecond of its second.
fn counts(records: &[TestRecord]) -> Vec<(i64, u64)> {
    let of = |record: &TestRecord| {
        let end = record.timestamp.unwrap() + 1;
        assert_eq!(end % 1_000, 0);
        (end / 1_000 - 1 - BASE, json(record)["frames"].as_u64().unwrap())
    };
    records.iter().map(of).collect()
}

#[test]
fn frames_are_counted_with_their_gaps_across_a_kill() {
    let name = unique("frames").replace('-', "_");
    let folder = Folder::connected();
    let project = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(project.join("pipelines/frames.yaml")).unwrap();
    let text = text
        .replace("metadata: { name: frames }", &format!("metadata: {{ name: frames, namespace: {name} }}"))
        .replace("topic: frames", &format!("topic: {name}"))
        .replace("topic: users", &format!("topic: {name}_users"));
    folder.write("frames.yaml", &text);
    let of = |end: &str| format!("{name}_{end}");
    for end in ["per_second", "users_per_minute", "republished", "late", "bad"] {
        servers::create_topic(servers::kafka(), &of(end), 1, &[]);
    }
    servers::create_topic(servers::kafka(), &name, 1, &[]);

    let bad = [TestRecord::to(0, "no frame"), TestRecord::to(0, "{\"ts\": 1700000041}")];
    let good = [frame(0.1, "a"), frame(0.9, "b"), frame(3.1, "a"), frame(2.5, "b")];
    let apply = folder.apply(&[]);
    servers::produce(&name, &[&good[..2], &bad, &good[2..]].concat());
    // The first second has closed: 3.1 s − 2 s.
    assert_eq!(counts(&read_when(&of("per_second"), 1))[0], (0, 2));
    servers::produce(&name, &[frame(0.5, "c"), frame(10.0, "b")]);
    read_when(&of("late"), 1);
    apply.kill();
    folder.run("apply", &["--until", "end"]).with_code(0);

    let expected: Vec<(i64, u64)> =
        [2, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1].into_iter().enumerate().map(|(s, n)| (s as i64, n)).collect();
    assert_eq!(counts(&servers::read(&of("per_second"))), expected);
    let users: Vec<Value> = servers::read(&of("users_per_minute")).iter().map(json).collect();
    assert_eq!(users.len(), 1, "{users:?}");
    // Too late for its second, not for its minute.
    assert_eq!(users[0]["users"], 3);
    let uids = |end: &str| -> Vec<String> {
        servers::read(&of(end)).iter().map(|record| json(record)["uid"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(uids("republished"), ["a", "b", "a", "b", "c", "b"]);
    assert_eq!(uids("late"), ["c"]);
    let dead: Vec<String> = servers::read(&of("bad")).iter().map(TestRecord::text).collect();
    assert_eq!(dead, bad.iter().map(TestRecord::text).collect::<Vec<_>>());
}
