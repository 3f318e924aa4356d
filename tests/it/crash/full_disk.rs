//! A disk that is too small for the snapshots: the pipeline goes on, loudly, and restarts go by what is whole (I18).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

/// A file system of its own size, which only those see who are let in.
struct Disk {
    /// Keeps it: with its end the disk is gone.
    keeper: Child,
    path: PathBuf,
    /// Its namespaces, as `nsenter` wants them.
    spaces: &'static [&'static str],
}

/// As root, and as anybody where the system lets them.
const WAYS: [(&[&str], &[&str]); 2] = [
    (&["--mount"], &["--mount"]),
    (&["--user", "--map-root-user", "--mount"], &["--user", "--preserve-credentials", "--mount"]),
];

impl Disk {
    fn at(path: PathBuf, size: &str) -> Disk {
        std::fs::create_dir_all(&path).unwrap();
        let mut said = String::new();
        for (unshare, spaces) in WAYS {
            let script = "mount -t tmpfs -o \"size=$1\" none \"$0\" && echo mounted && exec cat";
            let mut command = Command::new("unshare");
            command.args(unshare).args(["sh", "-c", script]).arg(&path).arg(size);
            let keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
            let mut keeper = keeper.unwrap_or_else(|error| panic!("`unshare` of util-linux is needed: {error}"));
            let mut answer = String::new();
            BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut answer).unwrap();
            if answer == "mounted\n" {
                return Disk { keeper, path, spaces };
            }
            let ended = keeper.wait_with_output().unwrap();
            said += &String::from_utf8_lossy(&ended.stderr);
        }
        panic!(
            "a file system of its own is needed, as root or with user namespaces (`unshare --mount`); they said:\n{said}"
        );
    }

    /// What a command begins with that shall see it, and run in this folder.
    fn launcher(&self, dir: &Path) -> Vec<String> {
        let pid = self.keeper.id().to_string();
        let words = ["nsenter", "--target", &pid].into_iter().chain(self.spaces.iter().copied());
        // A working directory is of one view of the disks: it is entered anew.
        let words = words.chain(["sh", "-c", "cd \"$0\" && exec \"$@\"", dir.to_str().unwrap()]);
        words.map(str::to_owned).collect()
    }

    fn resize(&self, size: &str) {
        let launcher = self.launcher(Path::new("/"));
        let mut command = Command::new(&launcher[0]);
        command.args(&launcher[1..]).args(["mount", "-o", &format!("remount,size={size}")]).arg(&self.path);
        assert!(command.status().unwrap().success(), "it was mounted already");
    }

    /// Takes what room is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.seen("others")).unwrap();
        while std::io::Write::write(&mut file, &[b'x'; 512]).is_ok_and(|written| written > 0) {}
    }

    /// A path in it, as those see it who are not in there.
    fn seen(&self, path: &str) -> PathBuf {
        format!("/proc/{}/root{}/{path}", self.keeper.id(), self.path.display()).into()
    }

    /// The names of all files below a folder of it.
    fn files(&self, folder: &str) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.seen(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => files.push(path.file_name().unwrap().to_string_lossy().into_owned()),
                }
            }
        }
        files.sort();
        files
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// The epochs of which there is a snapshot.
fn snapshots(disk: &Disk) -> Vec<u64> {
    let epochs = disk.files("snapshots");
    epochs.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect()
}

const UNWRITTEN: &str = "a snapshot of the state could not be written";

fn failures(runner: &Runner) -> usize {
    runner.stderr().matches(UNWRITTEN).count()
}

/// Gives it some rows more, again and again, until something holds: snapshots are of epochs.
fn fed_until(runner: &Runner, what: &str, mut feed: impl FnMut(), holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "no {what}:\n{}", runner.stderr());
        feed();
        assert!(!runner.ended_within(Duration::from_millis(100)), "{}", runner.stderr());
    }
}

/// The windows of 20,000 keys, some megabytes, on a disk of one: each attempt fails, and its rows are written all the same.
#[test]
fn i18_a_full_disk_keeps_no_row_back_and_a_restart_goes_by_the_snapshot_before() {
    let place = Place::new("full-disk");
    let input = servers::topic_with("full-disk-in", 2, &[("retention.ms", "-1")]);
    let (windows, copy) = (servers::unique("full-disk-windows"), servers::unique("full-disk-copy"));
    let disk = Disk::at(place.path("small"), "1m");
    place.spec(&format!(
        "  state: {{ store: small, every: 200ms }}
  sources:
    rows: {{ kafka: {{ topic: {input} }}, format: json, columns: {COLUMNS}, time: {{ lag: 0s, idle: never }} }}
  transforms:
    per_k: {{ from: rows, window: {{ tumbling: 1h }}, group_by: [k], aggregate: {{ cnt: count(*), total: sum(n) }} }}
  sinks:
    windows: {{ from: per_k, kafka: {{ topic: {windows} }}, format: json }}
    copy: {{ from: rows, kafka: {{ topic: {copy} }}, format: json }}
"
    ));
    let begin = (now_ms() - 7_200_000) / 3_600_000 * 3_600_000;
    let mut given: Vec<Row> = Vec::new();
    let mut give = |count: i64, time: i64| {
        let from = given.len() as i64;
        let row = |n: i64| {
            let (partition, k) = ((n % 2) as i32, format!("{n:08}-of-a-key-that-takes-its-room-in-each-snapshot"));
            Row { partition, time, n, k, v: 0 }
        };
        let more: Vec<Row> = (from..from + count).map(row).collect();
        fill(servers::kafka(), &input, &more);
        given.extend(more);
        given.len()
    };
    let dir = place.folder.path();
    let apply = |flags: &[&str]| Runner::spawn_by(&disk.launcher(dir), &[&["apply", "spec.yaml"], flags].concat(), dir);

    let runner = apply(&[]);
    fed_until(
        &runner,
        "two snapshots",
        || {
            give(10, begin);
        },
        || snapshots(&disk).len() >= 2,
    );
    // More than there is room for. What is read comes out, and each failure is said.
    give(20_000, begin);
    fed_until(
        &runner,
        "failure",
        || {
            give(10, begin);
        },
        || failures(&runner) > 0,
    );
    let whole = snapshots(&disk);
    for count in 2..=4 {
        fed_until(
            &runner,
            "further failure",
            || {
                give(10, begin);
            },
            || failures(&runner) >= count,
        );
        wait_for_records(servers::kafka(), &copy, give(1, begin));
        // Those that are whole with their columns, the label, and at most the one that is being written.
        let there = disk.files("snapshots");
        assert!(there.len() <= 2 * whole.len() + 2, "{there:?}");
    }
    let said = runner.wait_stderr(UNWRITTEN);
    assert!(said.contains("WARN") && said.contains("small") && said.contains("the pipeline goes on"), "{said}");
    assert_eq!(snapshots(&disk), whole);
    runner.kill();

    // To the last byte: on it nothing at all can be written.
    disk.fill();
    let runner = apply(&["--output", "json"]);
    let started = json(&runner.wait_stderr("\"started\""));
    assert_eq!(started["started"]["snapshot"]["epoch"].as_u64().as_ref(), whole.last(), "{started}");
    assert!(long(&started["started"], "replayed_rows") >= 10_000, "{started}");
    // 20,000 groups, and the brokers' part of the start told from the rest.
    assert!(long(&started["started"], "state_bytes") > 1 << 20, "{started}");
    let took = &started["started"]["took"];
    assert!(long(took, "journal_ms") >= long(took, "fencing_ms") && long(took, "fencing_ms") > 0, "{took}");
    assert!(!disk.files("snapshots").iter().any(|name| name.contains('#')), "what was cut off is there still");
    fed_until(
        &runner,
        "failure behind the restart",
        || {
            give(10, begin);
        },
        || failures(&runner) > 0,
    );
    wait_for_records(servers::kafka(), &copy, give(1, begin));
    disk.resize("64m");
    let newer = || snapshots(&disk).last() > whole.last();
    fed_until(
        &runner,
        "snapshot on a disk with room",
        || {
            give(10, begin);
        },
        newer,
    );
    runner.signal(libc::SIGINT);
    let ended = runner.wait().with_code(0);
    let totals = ended.stderr.lines().rfind(|line| line.starts_with("{\"totals\"")).map(json).unwrap();
    assert!(long(&totals["totals"], "snapshots_failed") >= 1, "{totals}");
    assert!(long(&totals["totals"], "snapshots") >= 1, "{totals}");

    let runner = apply(&[]);
    let said = runner.wait_stderr(": resumes");
    assert!(said.contains("with the state in the snapshot of epoch"), "{said}");
    // Rows of a later hour close the window: as many groups as rows, none missing and none twice.
    let rows = give(2, begin + 3_600_000);
    let wanted = windows_of(given.iter().filter(|row| row.time == begin), 3_600_000);
    wait_for_records(servers::kafka(), &windows, wanted.len());
    wait_for_records(servers::kafka(), &copy, rows);
    runner.signal(libc::SIGINT);
    runner.wait().with_code(0);
    assert_same(&windows_written(&place.committed(&windows)), &wanted, "windows");
    let copied: Vec<i64> = place.committed(&copy).iter().map(|row| long(row, "n")).collect();
    let distinct: std::collections::BTreeSet<&i64> = copied.iter().collect();
    assert_eq!((copied.len(), distinct.len()), (given.len(), given.len()), "a row is missing, or came twice");
}
