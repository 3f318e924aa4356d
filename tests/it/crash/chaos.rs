//! `runner chaos`: the product hurts and judges itself, and what it says is compared with what is there.

use super::*;
use text as text_of;

const SPEC: &str = "  epoch: { max_bytes: 64KiB }
  sources:
    rows: { kafka: { topic: INPUT, properties: PROPERTIES }, format: json, columns: { n: long, k: string, v: int } }
  transforms:
    good: { from: rows, where: v >= 5 }
  sinks:
    traced: { from: good, kafka: { topic: TRACED }, format: json, headers: provenance }
    plain: { from: good, kafka: { topic: PLAIN }, format: json }
";

/// A pipeline that is busy for long, and its topics.
fn place(name: &str, rows: &[Row]) -> (Place, [String; 2]) {
    let place = Place::new(name);
    let input = servers::topic_with("chaos-in", 3, &[("retention.ms", "-1")]);
    fill(servers::kafka(), &input, rows);
    let sinks = ["traced", "plain"].map(|sink| servers::unique(&format!("chaos-{sink}")));
    let spec = SPEC.replace("INPUT", &input).replace("PROPERTIES", &throttled(100, 100));
    place.spec(&spec.replace("TRACED", &sinks[0]).replace("PLAIN", &sinks[1]));
    (place, sinks)
}

fn chaos(place: &Place, more: &[&str]) -> Ended {
    let runner = Runner::spawn(&[&["chaos", "spec.yaml"], more].concat(), place.folder.path());
    runner.wait_within(3 * PATIENCE)
}

#[test]
fn whichever_way_it_is_hurt_it_comes_back_and_is_found_whole() {
    let rows: Vec<Row> = rows(&[150_000, 120_000, 90_000], 200_000, 1_000, 3).collect();
    let (place, sinks) = place("chaos", &rows);
    let how = ["--kill", "stop,term,kill,suspend", "--every", "300ms", "--for", "8s", "--suspended", "300ms"];
    let ended = chaos(&place, &[&how[..], &["--seed", "2", "--output", "json"]].concat()).with_code(0);

    let report = json(&ended.stdout);
    let hurts = report["chaos"]["hurts"].as_array().unwrap();
    assert!(hurts.len() >= 2, "it was hurt {} times only: {report}", hurts.len());
    // On a quick machine the work is done before the time is over: the last one then has no output to wait for.
    let came_back = || hurts.iter().filter(|hurt| hurt["recovery_ms"].is_u64());
    assert!(hurts[..hurts.len() - 1].iter().all(|hurt| hurt["recovery_ms"].is_u64()), "it came back: {report}");
    assert!(report["chaos"]["recovery_ms"]["p50"].as_u64() > Some(0), "{report}");
    for hurt in came_back() {
        // Of a process that was only suspended there is no start. The brokers' part is told apart, and is not all.
        let (took, recovery) = (&hurt["took"], long(hurt, "recovery_ms"));
        assert_eq!(took.is_null(), hurt["kind"] == "suspend", "{hurt}");
        if !took.is_null() {
            assert!(long(took, "fencing_ms") <= long(took, "journal_ms"), "{hurt}");
            assert!((1..recovery).contains(&long(took, "journal_ms")), "{hurt}");
        }
    }
    let bars = report["chaos"]["histogram"].as_array().unwrap();
    assert_eq!(bars.iter().map(|row| long(row, "count")).sum::<i64>(), came_back().count() as i64, "{report}");
    assert_eq!(report["verified"]["clean"], true);
    assert_eq!(report["verdict"], "whole");
    assert_eq!((long(&report["counts"], "sinks_judged"), long(&report["counts"], "findings")), (2, 0));
    let wanted: Vec<i64> = rows.iter().filter(|row| row.v >= 5).map(|row| row.n).collect();
    for (index, sink) in sinks.iter().enumerate() {
        let judged = &report["verified"]["reports"][index];
        assert_eq!((judged["read"].as_u64(), judged["expected"].as_u64()), (Some(360_000), Some(wanted.len() as u64)));
        let numbers: Vec<i64> = place.committed(sink).iter().map(|row| long(row, "n")).collect();
        assert_each_once_in_order(&numbers, wanted.clone(), sink);
    }
    assert!(ended.stderr.contains("seed 2"), "{}", ended.stderr);
}

#[test]
fn what_it_finds_wrong_ends_with_4() {
    let rows: Vec<Row> = rows(&[300, 200, 100], 200_000, 1_000, 3).collect();
    let (place, sinks) = place("chaos-wrong", &rows);
    servers::create_topic(servers::kafka(), &sinks[1], 1, &[]);
    servers::produce(&sinks[1], &[TestRecord::to(0, "{\"n\":-1}")]);
    let ended = chaos(&place, &["--for", "1ms", "--every", "50ms"]).with_code(4);
    assert!(ended.stdout.contains("first output after"), "{}", ended.stdout);
    assert!(ended.stdout.contains("unexpected: 1"), "{}", ended.stdout);
    assert!(ended.stdout.contains("clean: nothing is lost"), "the other sink is whole: {}", ended.stdout);
    assert_eq!(ended.stdout.lines().last(), Some("verdict: not whole: 1 finding in 1 of 2 sinks"));
}

/// What the windows of a killed pipeline should be nobody can say here; how soon it is back is worth knowing all the same.
#[test]
fn a_pipeline_that_cannot_be_judged_is_hurt_and_reported_and_that_is_said_first() {
    let (place, sinks) = place("chaos-windows", &rows(&[60_000, 40_000], 200_000, 1_000, 3).collect::<Vec<_>>());
    let text = std::fs::read_to_string(place.path("spec.yaml")).unwrap();
    let (sources, _) = text.split_once("  transforms:").unwrap();
    let rest = format!(
        "  transforms:
    per_k: {{ from: rows, window: {{ tumbling: 1s }}, group_by: [k], aggregate: {{ cnt: count(*) }} }}
  sinks: {{ windows: {{ from: per_k, kafka: {{ topic: {} }}, format: json }} }}
",
        sinks[0]
    );
    std::fs::write(place.path("spec.yaml"), format!("{sources}{rest}")).unwrap();
    let ended = chaos(&place, &["--every", "300ms", "--for", "1s"]).with_code(0);
    let why = format!("not verified: sink `windows` of `{}`: it stands behind `per_k`, which keeps state", place.name);
    let said = |words: &str| ended.stderr.find(words).unwrap_or_else(|| panic!("no `{words}` in {}", ended.stderr));
    assert!(said(&why) < said("hurts `"), "{}", ended.stderr);
    assert!(ended.stderr.contains("s of it the brokers' fencing"), "{}", ended.stderr);
    assert!(ended.stdout.contains("\nkill ") && ended.stdout.contains(&why), "{}", ended.stdout);
    assert!(ended.stdout.contains("brokers end what the one before left open"), "{}", ended.stdout);
    assert_eq!(ended.stdout.lines().last(), Some("verdict: not judged: none of 1 sink can be verified"));
}

/// It fails at a record behind many: what was done until then is told.
#[test]
fn a_failure_behind_kills_takes_no_report_away() {
    let (place, _) =
        place("chaos-late-failure", &rows(&[60_000, 40_000, 20_000], 200_000, 1_000, 3).collect::<Vec<_>>());
    let text = std::fs::read_to_string(place.path("spec.yaml")).unwrap();
    let input = text.split_once("topic: ").unwrap().1.split_once(',').unwrap().0;
    servers::produce(input, &[TestRecord::to(2, "{\"n\":\"no number\"}")]);
    let failed = chaos(&place, &["--every", "100ms", "--for", "60s", "--output", "json"]).with_code(1);
    let report = json(&failed.stdout);
    let hurts = report["chaos"]["hurts"].as_array().unwrap();
    assert!(!hurts.is_empty() && long(&report["chaos"], "runs") == 1 + hurts.len() as i64, "{report}");
    assert_eq!((text_of(&report, "verdict"), text_of(&report["error"], "code")), ("failed", "chaos.ended"));
    assert!(text_of(&report["error"], "message").contains("error["), "its last words: {report}");
    assert!(report.get("verified").is_none(), "{report}");
}

#[test]
fn a_pipeline_that_fails_by_itself_is_told_with_its_last_words() {
    let (place, _) = place("chaos-failing", &rows(&[300, 200, 100], 200_000, 1_000, 3).collect::<Vec<_>>());
    let text = std::fs::read_to_string(place.path("spec.yaml")).unwrap();
    std::fs::write(place.path("spec.yaml"), text.replace("v: int }", "v: int, missing: int }")).unwrap();
    let failed = chaos(&place, &["--for", "1s"]).with_code(1);
    assert!(failed.stderr.contains("ended by itself, with exit code"), "{}", failed.stderr);
    assert!(failed.stderr.contains("`missing`"), "{}", failed.stderr);
    assert_eq!(failed.stdout, "it was never hurt\nverdict: failed, nothing was judged\n");
}
