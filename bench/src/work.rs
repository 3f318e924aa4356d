//! The works, and the rounds in which they are measured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::check::Digest;
use crate::client::Admin;
use crate::measure::{Used, ask_self, run};
use crate::report::{Figure, Report};
use crate::servers::Servers;
use crate::{Result, killed, latency, recovery, rest, snapshots, start, tools};

pub const PARTITIONS: i32 = 6;

/// Something to be done, by `runner` and mostly by a floor too.
pub struct Work {
    pub name: &'static str,
    /// The spec, under `bench/`.
    spec: &'static str,
    /// What `check` knows the rows as.
    rows: &'static str,
    source: &'static str,
    sink: &'static str,
    floor: Option<&'static str>,
    /// So many records at most.
    records_max: u64,
}

const ALL: u64 = u64::MAX;

/// What can be asked for by name, in this order, before [`OTHERS`].
pub const WORKS: &[Work] = &[
    Work {
        name: "filter",
        spec: "filter.yaml",
        rows: "filter",
        source: "bench_ratings",
        sink: "bench_filtered",
        floor: Some("filter-transactions"),
        records_max: ALL,
    },
    Work {
        name: "filter-at-least-once",
        spec: "filter-at-least-once.yaml",
        rows: "filter",
        source: "bench_ratings",
        sink: "bench_filtered",
        floor: Some("filter"),
        records_max: ALL,
    },
    Work {
        name: "windows",
        spec: "windows.yaml",
        rows: "windows",
        source: "bench_ratings",
        sink: "bench_windows",
        floor: Some("windows"),
        records_max: ALL,
    },
    Work {
        name: "json",
        spec: "json.yaml",
        rows: "json",
        source: "bench_ratings_json",
        sink: "bench_filtered_json",
        floor: None,
        records_max: ALL,
    },
    Work {
        name: "frames",
        spec: "frames.yaml",
        rows: "frames",
        source: "bench_frames",
        sink: "bench_frames_per_second",
        floor: None,
        records_max: 1_000_000,
    },
];

/// What is measured in rooms of their own, or without a topic.
pub const OTHERS: [&str; 9] =
    ["datagen", "start", "latency", "recovery", "killed", "snapshots", "rest", "generate", "verify"];

/// What fills a topic, and how many records of it are wanted.
const FILLS: &[(&str, &str)] =
    &[("bench_ratings", "fill.yaml"), ("bench_ratings_json", "fill-json.yaml"), ("bench_frames", "fill-frames.yaml")];

/// What was asked for.
struct Wanted {
    works: Vec<String>,
    records: u64,
    runs: usize,
    seconds: u64,
    runner: Option<PathBuf>,
    json: Option<PathBuf>,
}

impl Wanted {
    fn parse(arguments: &[&str]) -> Result<Wanted> {
        let mut wanted =
            Wanted { works: Vec::new(), records: 10_000_000, runs: 3, seconds: 95, runner: None, json: None };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("`{argument}` needs a value"));
            match *argument {
                "--records" => wanted.records = value()?.replace('_', "").parse()?,
                "--runs" => wanted.runs = value()?.parse()?,
                "--seconds" => wanted.seconds = value()?.parse()?,
                "--runner" => wanted.runner = Some(std::fs::canonicalize(value()?)?),
                "--json" => wanted.json = Some(value()?.into()),
                name if names().any(|known| known == name) || name == "all" => wanted.works.push(name.to_owned()),
                other => return Err(format!("`{other}`? known: all {}", names().collect::<Vec<_>>().join(" ")).into()),
            }
        }
        if wanted.works.is_empty() {
            return Err(format!("which of: all {}", names().collect::<Vec<_>>().join(" ")).into());
        }
        Ok(wanted)
    }

    fn wants(&self, name: &str) -> bool {
        self.works.iter().any(|work| work == name || work == "all")
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    WORKS.iter().map(|work| work.name).chain(OTHERS)
}

pub fn main(arguments: &[&str]) -> Result<()> {
    let wanted = Wanted::parse(arguments)?;
    let runner = match &wanted.runner {
        Some(path) => path.clone(),
        None => build()?,
    };
    let bench = Bench::open(runner, wanted.records)?;
    let mut report = Report::new(wanted.records, wanted.runs);
    for work in WORKS.iter().filter(|work| wanted.wants(work.name)) {
        report.add(bench.work(work, wanted.runs)?);
    }
    if wanted.wants("datagen") {
        report.add(bench.datagen(wanted.runs)?);
    }
    if wanted.wants("start") {
        report.more("start", start::measure(&bench, wanted.runs)?);
    }
    if wanted.wants("latency") {
        report.more("latency", latency::measure(&bench, wanted.runs)?);
    }
    if wanted.wants("recovery") {
        report.more("recovery", recovery::measure(&bench, wanted.runs)?);
    }
    if wanted.wants("killed") {
        report.more("killed", killed::measure(&bench, wanted.runs)?);
    }
    if wanted.wants("snapshots") {
        report.more("snapshots", snapshots::measure(&bench, wanted.runs, wanted.seconds)?);
    }
    if wanted.wants("rest") {
        report.more("rest", rest::measure(&bench, wanted.runs, wanted.seconds)?);
    }
    if wanted.wants("generate") {
        report.more("generate", tools::generate(&bench, wanted.runs)?);
    }
    if wanted.wants("verify") {
        report.more("verify", tools::verify(&bench, wanted.runs)?);
    }
    if let Some(path) = &wanted.json {
        std::fs::write(path, report.json())?;
    }
    Ok(())
}

/// Builds the project as it stands.
fn build() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--bin", "runner", "--message-format=json", "--manifest-path"]).arg(manifest);
    let output = command.stderr(Stdio::inherit()).output()?;
    let messages = String::from_utf8(output.stdout)?;
    let made = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let path = made.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    path.filter(|_| output.status.success()).ok_or_else(|| "the project does not build".into())
}

/// Servers, a folder to work in, and `runner`.
pub struct Bench {
    pub runner: PathBuf,
    pub servers: Servers,
    pub admin: Admin,
    folder: PathBuf,
    records: u64,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Bench {
    fn open(runner: PathBuf, records: u64) -> Result<Bench> {
        let servers = Servers::start()?;
        let folder = std::env::temp_dir().join(format!("runner-bench.{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let connection = format!(
            "apiVersion: runner/v1\nkind: Connection\nmetadata: {{ name: default }}\n\
             spec: {{ kafka: {{ brokers: \"{}\" }}, registry: {{ url: \"{}\" }} }}\n",
            servers.brokers, servers.registry
        );
        std::fs::write(folder.join("connection.yaml"), connection)?;
        let admin = Admin::open(&servers.brokers)?;
        Ok(Bench { runner, servers, admin, folder, records })
    }

    /// As many records as were asked for, but no more than so many.
    pub fn records_at_most(&self, most: u64) -> u64 {
        self.records.min(most)
    }

    /// An empty folder: where a run keeps its state, and its connections.
    pub fn room(&self) -> Result<PathBuf> {
        let room = self.folder.join("run");
        let _ = std::fs::remove_dir_all(&room);
        std::fs::create_dir_all(&room)?;
        std::fs::copy(self.folder.join("connection.yaml"), room.join("connection.yaml"))?;
        Ok(room)
    }

    /// A file under `bench/`.
    pub fn spec(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    /// What `runner` is called with to do what a spec under `bench/` says.
    pub fn arguments(spec: &str, more: &[&str]) -> Vec<String> {
        let words = ["apply", "--fresh", "connection.yaml", &Bench::spec(spec).to_string_lossy()].map(str::to_owned);
        words.into_iter().chain(more.iter().map(|word| (*word).to_owned())).collect()
    }

    /// The same to go on where an earlier run was.
    pub fn arguments_again(spec: &str, more: &[&str]) -> Vec<String> {
        Bench::arguments(spec, more).into_iter().filter(|word| word != "--fresh").collect()
    }

    /// Fills a topic anew.
    pub fn fill(&self, topic: &str, records: u64) -> Result<()> {
        let (_, spec) = FILLS.iter().find(|(filled, _)| *filled == topic).ok_or("nothing fills that topic")?;
        self.admin.delete(topic)?;
        self.admin.create(topic, PARTITIONS)?;
        let arguments = Bench::arguments(spec, &["--set", &format!("records={records}")]);
        let used = run(&self.runner, &strs(&arguments), &self.room()?)?;
        eprintln!("{topic}: {records} records in {:.1} s", used.wall.as_secs_f64());
        Ok(())
    }

    /// Makes an empty topic for a run's output.
    pub fn empty(&self, topic: &str) -> Result<()> {
        self.admin.delete(topic)?;
        self.admin.create(topic, PARTITIONS)
    }

    /// Measures one work: floor, `runner` and the control by turns, `runs` times.
    fn work(&self, work: &Work, runs: usize) -> Result<Figure> {
        let records = self.records.min(work.records_max);
        self.fill(work.source, records)?;
        let expected = self.digest("source", work, work.source)?;
        let mut figure = Figure::new(work.name, records, work.floor.is_some());
        let first = match work.floor {
            Some(_) => "floor",
            None => "runner",
        };
        let control = if work.floor.is_some() { "floor again" } else { "runner again" };
        let turns: Vec<&'static str> =
            if first == "floor" { vec![first, "runner", control] } else { vec![first, control] };
        for run in 1..=runs {
            for turn in &turns {
                self.empty(work.sink)?;
                let used = match (turn.starts_with("floor"), work.floor) {
                    (true, Some(floor)) => self.floor(floor, work)?,
                    _ => crate::measure::run(&self.runner, &strs(&Bench::arguments(work.spec, &[])), &self.room()?)?,
                };
                let found = self.digest("sink", work, work.sink)?;
                if found != expected {
                    return Err(format!("{} ({turn}): the sink has {found:?}, not {expected:?}", work.name).into());
                }
                figure.add(turn, used);
                eprintln!("{} {run}/{runs} {turn}: {}", work.name, shown(&used, records));
            }
        }
        self.admin.delete(work.sink)?;
        figure.rows = expected.rows;
        Ok(figure)
    }

    fn floor(&self, floor: &str, work: &Work) -> Result<Used> {
        let arguments = ["floor", floor, &self.servers.brokers, work.source, work.sink];
        run(&std::env::current_exe()?, &arguments, &self.room()?)
    }

    /// In a process of its own: what this one needs would count as memory of those it starts.
    fn digest(&self, side: &str, work: &Work, topic: &str) -> Result<Digest> {
        Digest::parse(&ask_self(&["check", side, work.rows, &self.servers.brokers, topic])?)
    }

    /// Generated rows to a sink that drops them; needs no server.
    fn datagen(&self, runs: usize) -> Result<Figure> {
        let mut figure = Figure::new("datagen", self.records, false);
        figure.rows = self.records;
        let arguments = Bench::arguments("generate.yaml", &["--set", &format!("records={}", self.records)]);
        for run in 1..=runs {
            for turn in ["runner", "runner again"] {
                let used = crate::measure::run(&self.runner, &strs(&arguments), &self.room()?)?;
                figure.add(turn, used);
                eprintln!("datagen {run}/{runs} {turn}: {}", shown(&used, self.records));
            }
        }
        Ok(figure)
    }
}

pub fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn shown(used: &Used, records: u64) -> String {
    let per_million = used.cpu.as_secs_f64() * 1e6 / records as f64;
    let (wall, mib) = (used.wall.as_secs_f64(), used.rss_bytes >> 20);
    format!("{per_million:.3} CPU s per million, {wall:.2} s, {mib} MiB")
}

/// Values by name, for the report.
pub type Values = BTreeMap<&'static str, f64>;
