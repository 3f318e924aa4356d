//! A changed pipeline in a server: state is given up only by whoever says so, over HTTP as on the command line (I14).

use super::*;
use crate::runner::run;

/// Counts by remainder, without an end: all of them, and the sum or the greatest of each.
fn counts(beside: &str) -> String {
    format!(
        "apiVersion: runner/v1
kind: Pipeline
metadata: {{ name: counts }}
spec:
  state: {{ every: 100ms }}
  sources: {{ rows: {{ datagen: {{ columns: {{ n: {{ type: long, iteration: {{ start: 0 }} }} }}, rate: 200 }} }} }}
  transforms:
    all: {{ from: rows, group_by: {{ k: n % 2 }}, aggregate: {{ cnt: count(*) }} }}
    beside: {{ from: rows, group_by: {{ k: n % 2 }}, aggregate: {{ other: {beside} }} }}
  sinks:
    table: {{ from: all, file: {{ path: all.jsonl }}, format: json, mode: update }}
    other: {{ from: beside, file: {{ path: beside.jsonl }}, format: json, mode: update }}
"
    )
}

/// The newest value of a column in a file.
fn newest(folder: &Folder, file: &str, column: &str) -> i64 {
    let text = folder.read(file);
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let row = whole.lines().next_back().map(|line| serde_json::from_str::<Value>(line).unwrap());
    row.map_or(0, |row| row[column].as_i64().unwrap())
}

/// Refused, it names the step and both ways to accept it.
#[track_caller]
fn assert_refused(server: &Server, step: &str) -> Value {
    let failed = server.until_state("counts", "failed");
    let reason = &failed["reason"];
    assert_eq!(reason["code"], "refused.plan_changed", "{failed:#}");
    let hint = reason["hint"].as_str().unwrap();
    for wanted in [format!("apply --accept-reset {step}"), format!("?accept_reset={step}"), "as it was".to_owned()] {
        assert!(hint.contains(&wanted), "`{wanted}` is not in {hint}");
    }
    failed
}

#[test]
fn i14_state_is_given_up_over_http_by_whoever_says_so_and_once() {
    let folder = Folder::new();
    let mut server = Server::start(folder.path(), &[]);
    let put = |server: &Server, query: &str, text: String| {
        let request = server.request(Method::PUT, &format!("/v1/pipelines/counts{query}"));
        let response = request.header("Content-Type", "application/yaml").body(text).send().unwrap();
        assert!(response.status().is_success(), "{}", response.text().unwrap());
    };
    put(&server, "", counts("sum(n)"));
    server.until_rows("counts", 100);
    put(&server, "", counts("max(n)"));
    assert_refused(&server, "beside");
    let counted = newest(&folder, "all.jsonl", "cnt");
    assert!(counted > 10, "{counted}");
    // Another step is not this one; and what is as it was is not tried again by itself.
    put(&server, "?accept_reset=all", counts("max(n)"));
    assert_refused(&server, "beside");
    put(&server, "?accept_reset=other&accept_reset=beside", counts("max(n)"));
    server.until_state("counts", "running");
    server.until("counts", "further", |_| newest(&folder, "all.jsonl", "cnt") > counted + 10);
    assert!(newest(&folder, "all.jsonl", "cnt") > newest(&folder, "beside.jsonl", "other") / 2 - 10, "`all` was kept");
    let logged = server.get("/v1/pipelines/counts/logs?lines=1000").to_string();
    assert!(logged.contains("the state of `beside` is given up, as was accepted: it has changed itself"), "{logged}");

    // It held for that start alone: the next change is refused again, behind a kill of the server too.
    put(&server, "", counts("min(n)"));
    assert_refused(&server, "beside");
    server.runner.kill();
    server = Server::start(folder.path(), &[]);
    assert_refused(&server, "beside");

    // The same from the command line: the refusal is one, and says what can be done.
    folder.write("specs/counts.yaml", &counts("avg(n)"));
    let apply = |more: &[&str]| run(&[&["apply", "--server", &server.api, "specs"], more].concat(), folder.path());
    // A server takes relative paths from the folder of the spec.
    let moved = counts("avg(n)").replace("path: ", "path: ../");
    folder.write("specs/counts.yaml", &moved);
    let refused = apply(&[]).with_code(3);
    assert!(
        refused.stdout.contains("counts: changed; failed: ") && refused.stdout.contains("hint: "),
        "{}",
        refused.stdout
    );
    assert!(refused.stdout.contains("--accept-reset beside"), "{}", refused.stdout);
    let accepted = apply(&["--accept-reset", "beside"]).with_code(0);
    assert_eq!(accepted.stdout, "counts: changed; running\n");
}

/// What is refused hints at `--fresh`, which no request has: what does the same on a server is said too, and is true.
#[test]
fn a_pipeline_of_a_server_begins_anew_as_its_hint_says() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    let put = |text: &str| assert!(server.put_yaml("counts", text).status().is_success());
    put(&counts("sum(n)"));
    server.until("counts", "it counts", |_| newest(&folder, "all.jsonl", "cnt") > 100);
    put(&counts("max(n)"));
    let failed = assert_refused(&server, "beside");
    let hint = failed["reason"]["hint"].as_str().unwrap();
    assert!(hint.contains("A server takes no `--fresh`: `runner delete` the pipeline"), "{hint}");
    let counted = newest(&folder, "all.jsonl", "cnt");
    run(&["delete", "counts", "--server", &server.api], folder.path()).with_code(0);
    folder.write("counts.yaml", &counts("max(n)"));
    let fresh = Runner::spawn(&["apply", "--fresh", "counts.yaml"], folder.path());
    let deadline = Instant::now() + PATIENCE;
    let begun = loop {
        let begun = newest(&folder, "all.jsonl", "cnt");
        if begun < counted {
            break begun;
        }
        assert!(Instant::now() < deadline, "{}", fresh.stderr());
        std::thread::sleep(Duration::from_millis(20));
    };
    fresh.signal(libc::SIGINT);
    fresh.wait().with_code(0);
    put(&counts("max(n)"));
    server.until_state("counts", "running");
    server.until("counts", "it goes on", |_| newest(&folder, "all.jsonl", "cnt") > begun);
}
