//! State that is not this pipeline's, of a later format, or where nothing can be written: said, refused, and left as it is.

use super::*;

/// Windows of an hour with their snapshots in `state/`, of which ten rows were read and a stop has left one.
fn stopped(name: &str) -> (Place, String) {
    let place = Place::new(name);
    let input = servers::topic(name, 1);
    place.spec(&format!(
        "  state: {{ store: state }}
  sources:
    rows: {{ kafka: {{ topic: {input} }}, format: json, columns: {COLUMNS}, time: {{ lag: 0s, idle: never }} }}
  transforms:
    per_k: {{ from: rows, window: {{ tumbling: 1h }}, group_by: [k], aggregate: {{ cnt: count(*), total: sum(n) }} }}
  sinks: {{ windows: {{ from: per_k, kafka: {{ topic: {} }}, format: json }} }}
",
        servers::unique(name)
    ));
    let begin = now_ms() - 7_200_000;
    let row = |n: i64| Row { partition: 0, time: begin + n, n, k: "k".into(), v: 0 };
    fill(servers::kafka(), &input, &(0..10).map(row).collect::<Vec<_>>());
    let mut commits = place.watched_journal();
    let runner = place.apply();
    commits.wait_for_first_of(&runner);
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0);
    (place, input)
}

/// Goes on with the state in its snapshot.
#[track_caller]
fn assert_goes_on(place: &Place) {
    let runner = place.apply();
    let said = runner.wait_stderr(": resumes");
    assert!(said.contains("with the state in the snapshot of epoch"), "{said}");
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0);
}

/// Every start is refused so, and the file stays as it is.
#[track_caller]
fn assert_refused(place: &Place, file: &std::path::Path, wanted: &[&str]) {
    let before = std::fs::read(file).unwrap();
    for _ in 0..2 {
        let Ended { stderr, .. } = place.apply().wait().with_code(3);
        for wanted in wanted {
            assert!(stderr.contains(wanted), "`{wanted}` is not in:\n{stderr}");
        }
    }
    assert_eq!(std::fs::read(file).unwrap(), before);
}

/// Changes what a file of the shelf says, with the checksum that goes with it; gives what it said.
fn changed(file: &std::path::Path, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let before = std::fs::read(file).unwrap();
    let text = String::from_utf8(before.clone()).unwrap();
    let mut value = json(text.trim_end().split_once(' ').unwrap().1);
    change(&mut value);
    let value = value.to_string();
    std::fs::write(file, format!("{:08x} {value}\n", crc32fast::hash(value.as_bytes()))).unwrap();
    before
}

#[test]
fn i18_snapshots_of_a_later_format_or_of_another_pipeline_are_refused_and_left_alone() {
    let (place, _) = stopped("bad-state");
    let folder = place.path("state/snapshots");
    let label = folder.join("pipeline.json");
    let lineage = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir());
    let files = std::fs::read_dir(lineage.unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let manifest = files.filter(|path| path.extension().is_some_and(|end| end == "json")).max().unwrap();
    let newer = |value: &mut Value| value["version"] = (value["version"].as_u64().unwrap() + 1).into();
    for file in [&label, &manifest] {
        let before = changed(file, newer);
        let wanted = ["error[refused.state_newer]", "state/snapshots", "this runner reads formats up to 1", "hint: "];
        assert_refused(&place, file, &wanted);
        std::fs::write(file, before).unwrap();
    }
    let before = changed(&label, |value| value["pipeline"] = "somebody-else".into());
    let wanted = ["error[refused.other_state]", "is that of pipeline `somebody-else`", "a `state.store` of its own"];
    assert_refused(&place, &label, &wanted);
    std::fs::write(&label, before).unwrap();
    assert_goes_on(&place);
}

/// Root may write wherever the permissions forbid it, but not below a file.
#[test]
fn i18_a_place_for_snapshots_where_nothing_can_be_written_is_named_before_a_row_is_read() {
    let (place, _) = stopped("unwritable");
    let (folder, aside) = (place.path("state"), place.path("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    for _ in 0..2 {
        let Ended { stderr, .. } = place.apply().wait().with_code(1);
        for wanted in ["error[state.unwritable]", "state/snapshots", "make the folder writable"] {
            assert!(stderr.contains(wanted), "`{wanted}` is not in:\n{stderr}");
        }
    }
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    assert_goes_on(&place);
}

/// The plan of a later build may mean what this one does not know: its epochs are not replayed by guess.
#[test]
fn i14_a_journal_in_kafka_of_a_later_format_is_refused() {
    let (place, input) = stopped("newer-journal");
    let journal = place.journal();
    let mut plans = servers::read(&journal).into_iter().map(|record| json(&record.text()));
    let mut plan = plans.rfind(|record| record.get("plan").is_some()).unwrap();
    plan["plan"]["version"] = 2.into();
    servers::produce(&journal, &[TestRecord::to(0, plan.to_string())]);
    for _ in 0..2 {
        let Ended { stderr, .. } = place.apply().wait().with_code(3);
        for wanted in ["error[journal.newer]", &journal, "by a newer version of runner", "hint: "] {
            assert!(stderr.contains(wanted), "`{wanted}` is not in:\n{stderr}");
        }
    }
    assert_eq!(servers::read(&input).len(), 10);
}
