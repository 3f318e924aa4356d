//! The examples that the project ships and those within its pages are right, and files go through a pipeline as the pages say. The
//! quickstart itself is run in `cli`, the commercials in `commercials`.

use std::path::{Path, PathBuf};

use crate::runner::run;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_example_is_valid_without_any_server() {
    let in_folder = |folder: &str| std::fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().path());
    // The program that measures those in `bench` stands beside them.
    let measured = in_folder("bench").filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let mut paths: Vec<PathBuf> = in_folder("pipelines").chain(in_folder("connectors")).chain(measured).collect();
    paths.sort();
    assert!(paths.len() >= 13, "{paths:?}");
    for path in paths {
        let ended = run(&["validate", path.to_str().unwrap()], root()).with_code(0);
        assert!(!ended.stderr.contains("error["), "{}", ended.stderr);
    }
}

/// The examples within the pages, as files: whole documents, each block in a file. One that begins with a line such as
/// `# readings.yaml` is called so, and others of its page may name it.
pub struct Examples {
    pub files: Vec<PathBuf>,
    /// A folder for each page, beside the project's own, so that `../pipelines` is where it is for a reader.
    _dir: tempfile::TempDir,
}

impl Examples {
    pub fn of_pages() -> Examples {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["pipelines", "connectors", "schemas"] {
            std::os::unix::fs::symlink(root().join(folder), dir.path().join(folder)).unwrap();
        }
        let files = pages().iter().flat_map(|page| write_examples(page, dir.path())).collect();
        Examples { files, _dir: dir }
    }
}

/// README.md and all of `docs/`.
pub fn pages() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    pages.push(root().join("README.md"));
    pages.sort();
    pages
}

/// The whole documents among the blocks of a page.
pub fn blocks(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| block.contains("apiVersion:")).map(str::to_owned).collect()
}

fn write_examples(page: &Path, into: &Path) -> Vec<PathBuf> {
    let folder = into.join(page.file_stem().unwrap());
    std::fs::create_dir(&folder).unwrap();
    let write = |(index, block): (usize, String)| {
        let named =
            block.lines().next().and_then(|line| line.strip_prefix("# ")).filter(|name| name.ends_with(".yaml"));
        let path = folder.join(named.map_or_else(|| format!("example-{}.yaml", index + 1), str::to_owned));
        assert!(!path.exists(), "two blocks of {} are called alike", page.display());
        std::fs::write(&path, block).unwrap();
        path
    };
    blocks(page).into_iter().enumerate().map(write).collect()
}

#[test]
fn every_example_in_the_pages_is_valid_without_any_server() {
    let examples = Examples::of_pages();
    assert!(examples.files.len() >= 9, "{:?}", examples.files);
    for path in &examples.files {
        let ended = run(&["validate", path.to_str().unwrap()], path.parent().unwrap()).with_code(0);
        assert!(!ended.stderr.contains("error["), "{}", ended.stderr);
    }
}

/// Those of the page on generated data need no server: they are run to their end.
#[test]
fn generators_in_the_pages_make_what_the_pages_say() {
    let examples = Examples::of_pages();
    let of_page = |name: &str| {
        let found = examples.files.iter().find(|path| path.ends_with(format!("datagen/{name}")));
        found.unwrap_or_else(|| panic!("docs/datagen.md has no {name}")).clone()
    };
    let dir = tempfile::tempdir().unwrap();
    let apply = |name: &str| {
        let path = of_page(name);
        run(&["apply", path.to_str().unwrap()], dir.path()).with_code(0).stdout
    };
    let lines = |name: &str, file: &str| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(of_page(name).with_file_name("out").join(file)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert!(apply("orders.yaml").contains("C-"));
    assert!(apply("clicks.yaml").contains("User_"));
    // The first records of the genuine connector with `random.seed` 1.
    let ratings = apply("ratings.yaml");
    assert!(ratings.contains("more peanuts please") && ratings.contains("your team here rocks!"), "{ratings}");
    apply("shop.yaml");
    let ids = |rows: &[serde_json::Value], key: &str| -> std::collections::BTreeSet<i64> {
        rows.iter().map(|row| row[key].as_i64().unwrap()).collect()
    };
    let (users, orders) = (lines("shop.yaml", "users.jsonl"), lines("shop.yaml", "orders.jsonl"));
    assert_eq!((users.len(), orders.len()), (50, 200));
    assert!(ids(&orders, "user").is_subset(&ids(&users, "id")) && ids(&orders, "user").len() > 10);
    apply("tasks.yaml");
    assert_eq!(ids(&lines("tasks.yaml", "rows.jsonl"), "id"), (1..=1000).collect());
}

/// `trouble.yaml` of the page on generated data, and a reader of its topic: what is no value is counted and kept, and what is
/// one has the lateness, the nulls and the skew that its rules say.
#[test]
fn trouble_that_the_page_makes_is_met_and_counted() {
    let topic = crate::servers::topic("readings", 1);
    let folder = crate::specs::Folder::connected();
    let block = blocks(&root().join("docs/datagen.md")).into_iter().find(|block| block.starts_with("# trouble.yaml"));
    let text = block.expect("docs/datagen.md has no trouble.yaml");
    // Its topic is the test's own; a minute of it has to come in seconds.
    let text = text.replace("topic: readings", &format!("topic: {topic}"));
    folder.write("trouble.yaml", &text.replace("rate: 1000", "rate: 4000").replace("rate: 1 }", "rate: 10 }"));
    let arguments = ["apply", "connection.yaml", "trouble.yaml"];
    let makes = crate::runner::Runner::spawn(&arguments, folder.path());
    let is_poison = |record: &crate::servers::TestRecord| {
        let value = record.value.as_deref().unwrap_or_default();
        serde_json::from_slice::<serde_json::Value>(value).ok().filter(serde_json::Value::is_object).is_none()
    };
    let records = crate::specs::read_until(&topic, "5,000 rows and 20 that are none", |records| {
        records.len() > 5_000 && records.iter().filter(|record| is_poison(record)).count() >= 20
    });
    makes.signal(libc::SIGINT);
    makes.wait().with_code(0);
    let (poison, rows): (Vec<_>, Vec<_>) = crate::servers::read(&topic).into_iter().partition(is_poison);
    assert!(poison.len() + rows.len() >= records.len());
    let rows: Vec<serde_json::Value> =
        rows.iter().map(|record| serde_json::from_slice(record.value.as_ref().unwrap()).unwrap()).collect();
    let share =
        |is: &dyn Fn(&serde_json::Value) -> bool| rows.iter().filter(|row| is(row)).count() as f64 / rows.len() as f64;
    let nulls = share(&|row| row["value"].is_null());
    assert!((0.002..0.03).contains(&nulls), "{nulls} of the values are null");
    let [often, rarely] = ["a", ""].map(|sensor| share(&|row| row["sensor"] == sensor));
    assert!(often > 2.0 * rarely && rarely > 0.0, "zipf: {often} and {rarely}");

    folder.write(
        "reader.yaml",
        &format!(
            "apiVersion: runner/v1
kind: Pipeline
metadata: {{ name: reader }}
spec:
  sources: {{ readings: {{ kafka: {{ topic: {topic} }}, format: json, columns: {{ at: timestamp, sensor: string, value: double? }} }} }}
  sinks: {{ out: {{ from: readings, file: {{ path: out.jsonl }}, format: json }} }}
  dead_letter: {{ kafka: {{ topic: {topic}-dead }} }}
"
        ),
    );
    let read = run(&["apply", "--until", "end", "connection.yaml", "reader.yaml"], folder.path()).with_code(0);
    let all = rows.len() + poison.len();
    let totals = format!("{all} rows in, {all} rows out, 0 late, {} dead", poison.len());
    assert!(read.stderr.contains(&totals), "{totals}\n{}", read.stderr);
    let dead = crate::servers::read(&format!("{topic}-dead"));
    let values = |records: &[crate::servers::TestRecord]| -> Vec<_> {
        records.iter().map(|record| record.value.clone()).collect()
    };
    assert_eq!(values(&dead), values(&poison), "each as it was");
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    let mut wrong = String::new();
    let more = ["ARCHITECTURE.md", "CHANGELOG.md"].map(|name| root().join(name));
    for page in pages().into_iter().chain(more) {
        let text = std::fs::read_to_string(&page).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.starts_with("http")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let there = path.exists() && (anchor.is_empty() || anchors(&path).iter().any(|known| known == anchor));
            if !there {
                wrong += &format!("{}: {target}\n", page.display());
            }
        }
    }
    assert!(wrong.is_empty(), "links to nothing:\n{wrong}");
}

/// What `#…` may name in a page: its headings, as GitHub writes them.
fn anchors(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let written = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    headings.map(|text| text.to_lowercase().replace(|c| !written(c), "").replace(' ', "-")).collect()
}

/// Files in, files out, no server: what ends is done, and done again it adds nothing.
#[test]
fn csv_files_become_json_lines_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("in")).unwrap();
    std::fs::write(path("in/a.csv"), "id,name,price\n1,\"Ann, B.\",10.50\n2,,\nx,broken,1\n").unwrap();
    std::fs::write(path("in/b.csv"), "id,name,price\r\n3,Cid,0.25\r\n").unwrap();
    std::fs::write(
        path("prices.yaml"),
        r#"
apiVersion: runner/v1
kind: Pipeline
metadata: { name: prices }
spec:
  sources:
    lines: { file: { path: "in/*.csv" }, format: csv, columns: { id: long, name: string?, price: "decimal(8,2)?" } }
  transforms:
    known: { from: lines, where: price is not null }
    total: { from: lines, aggregate: { total: sum(price), cnt: count(*) } }
  sinks:
    json: { from: known, file: { path: out/known.jsonl }, format: json }
    csv:  { from: lines, file: { path: out/all.csv }, format: { csv: { delimiter: ";" } } }
    sum:  { from: total, file: { path: out/total.jsonl }, format: json }
  errors: { skip: true }
"#,
    )
    .unwrap();
    for round in 0..2 {
        let ended = run(&["apply", "prices.yaml"], dir.path()).with_code(0);
        assert!(ended.stderr.contains("prices: its sources have ended"), "{}", ended.stderr);
        let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
        let known = "{\"id\":1,\"name\":\"Ann, B.\",\"price\":10.50}\n{\"id\":3,\"name\":\"Cid\",\"price\":0.25}\n";
        assert_eq!(read("out/known.jsonl"), known, "round {round}");
        assert_eq!(read("out/all.csv"), "id;name;price\n1;Ann, B.;10.50\n2;;\n3;Cid;0.25\n", "round {round}");
        assert!(read("out/total.jsonl").ends_with("{\"total\":10.75,\"cnt\":3}\n"), "{}", read("out/total.jsonl"));
    }
}

#[test]
fn a_csv_file_with_other_columns_is_not_read_as_if_it_had_these() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.csv"), "price,id\n0.25,3\n").unwrap();
    let spec = "apiVersion: runner/v1\nkind: Pipeline\nmetadata: { name: swapped }\nspec:\n  sources: { lines: { file: { path: a.csv }, format: csv, columns: { id: double, price: double } } }\n  sinks: { out: { from: lines, console: {} } }\n";
    std::fs::write(dir.path().join("swapped.yaml"), spec).unwrap();
    let ended = run(&["apply", "swapped.yaml"], dir.path()).with_code(1);
    let expected = "error[file.header]: the first line of `a.csv` names `price, id`, but the columns are `id, price`";
    assert!(ended.stderr.contains(expected), "{}", ended.stderr);
}

/// `runner schema spec | head` used to end in a panic: its output is longer than a pipe holds.
#[test]
fn a_reader_of_a_report_may_go_away() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(["schema", "spec"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
}
