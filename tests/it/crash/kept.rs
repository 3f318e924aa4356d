//! `errors: {keep_then_fail: true}`: a process that dies behind the commit of the bad record, and before it has named it, leaves the
//! error to the next start. Once that went on behind the record, and nobody ever heard of it.

use super::points::die_at;
use super::*;

#[test]
fn a_bad_record_is_named_by_the_start_behind_a_kill_and_passed_by_the_one_after_that() {
    let place = Place::new("kept");
    let (input, output) = (servers::topic("kept-in", 1), servers::unique("kept-out"));
    let records = ["nope", "{\"n\": 2}", "{\"n\": 3}"].map(|value| TestRecord::to(0, value));
    servers::produce(&input, &records);
    place.spec(&format!(
        "  sources: {{ rows: {{ kafka: {{ topic: {input}, until: end }}, format: json, columns: {{ n: long }} }} }}
  sinks: {{ copy: {{ from: rows, kafka: {{ topic: {output} }}, format: json }} }}
  dead_letter: {{ file: {{ path: dead.jsonl }} }}
  errors: {{ keep_then_fail: true }}
"
    ));
    // The first epoch has the bad record, and its dead letter has a sink that commits behind the journal.
    die_at(&place, "epoch.committed", 1);
    let named = |ended: Ended| {
        let at = format!("error[record.bad]: `rows` refused a record at {input}[0]@0: ");
        assert!(ended.stderr.contains(&at), "{at} is not in:\n{}", ended.stderr);
        assert_eq!(place.lines("dead.jsonl").len(), 1, "it is kept, and kept once");
    };
    // Dies where it would note that it has named it: the second owner is the one who notes.
    let at = [("RUNNER_DIE_AT", "owner.append:2")];
    let ended = Runner::spawn_with(&["apply", "spec.yaml"], place.folder.path(), &at).wait();
    assert_eq!(ended.signal, Some(libc::SIGKILL), "{}", ended.stderr);
    named(ended);
    named(place.apply().wait().with_code(1));
    place.apply().wait().with_code(0);
    let numbers: Vec<i64> = place.committed(&output).iter().map(|row| long(row, "n")).collect();
    assert_eq!(numbers, [2, 3]);
    assert_eq!(place.lines("dead.jsonl").len(), 1);
    // Whoever hears of it from the run itself goes on with the next start.
    servers::produce(&input, &["{\"n\": 4}", "nope"].map(|value| TestRecord::to(0, value)));
    let ended = place.apply().wait().with_code(1);
    assert!(ended.stderr.contains(&format!("refused a record at {input}[0]@4: ")), "{}", ended.stderr);
    place.apply().wait().with_code(0);
}
