//! Disks that fill up: what cannot be written is said and tried again, and once there is room nothing is lost or
//! doubled.
//!
//! The small disk is a tmpfs. Who may not mount one gets a limit on the length of the child's files, which fails in
//! the same calls after as many bytes.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use crate::runner::Runner;
use crate::specs::Folder;

const ROWS: usize = 20_000;

/// A disk of a few hundred KiB.
struct SmallDisk {
    path: PathBuf,
    bytes: u64,
    mounted: bool,
}

impl SmallDisk {
    fn at(path: PathBuf, bytes: u64) -> SmallDisk {
        std::fs::create_dir_all(&path).unwrap();
        let mounted = mount(&path, 0, bytes);
        if !mounted {
            eprintln!("no tmpfs can be mounted here: the lengths of files are limited instead");
            // SAFETY: no handler is installed. A child inherits that the signal is ignored, and gets an error instead.
            unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        }
        SmallDisk { path, bytes, mounted }
    }

    /// Starts a pipeline that meets this disk's end.
    fn apply(&self, folder: &Folder) -> Runner {
        let runner = folder.apply(&["--until", "end"]);
        if !self.mounted {
            limit(&runner, self.bytes);
        }
        runner
    }

    fn make_room(&self, runner: Option<&Runner>) {
        match runner {
            _ if self.mounted => assert!(mount(&self.path, libc::MS_REMOUNT, 64 << 20), "it was mounted already"),
            Some(runner) => limit(runner, libc::RLIM_INFINITY),
            // The next child has no limit.
            None => {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            let path = c_path(&self.path);
            // SAFETY: a path that ends with a zero byte. Busy or not, it is taken out of sight.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

fn mount(path: &Path, flags: libc::c_ulong, bytes: u64) -> bool {
    let (path, options) = (c_path(path), CString::new(format!("size={bytes}")).unwrap());
    // SAFETY: all four are texts that end with a zero byte.
    unsafe { libc::mount(c"tmpfs".as_ptr(), path.as_ptr(), c"tmpfs".as_ptr(), flags, options.as_ptr().cast()) == 0 }
}

fn limit(runner: &Runner, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit lives through the call, and the old one is not asked for.
    let set = unsafe { libc::prlimit(runner.pid() as i32, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// A pipeline that copies 20,000 rows (1.6 MB) from one file to another.
fn copying(name: &str, to: &str) -> Folder {
    let folder = Folder::new();
    let rows: String = (0..ROWS).map(|n| row(n) + "\n").collect();
    folder.write("in.jsonl", &rows);
    folder.pipeline(
        name,
        &format!(
            "  sources: {{ rows: {{ file: {{ path: in.jsonl }}, format: json, columns: {{ n: long, pad: string }} }} }}\n  sinks: {{ out: {{ from: rows, file: {{ path: {to} }}, format: json }} }}\n"
        ),
    );
    folder
}

fn row(n: usize) -> String {
    format!(r#"{{"n":{n},"pad":"{}"}}"#, "x".repeat(60))
}

/// Says which file cannot be written, and comes to its end when it can.
fn goes_on_once_there_is_room(disk: &SmallDisk, runner: Runner, file: &str) {
    let said = runner.wait_stderr("trying again");
    assert!(said.contains(file), "{said}");
    disk.make_room(Some(&runner));
    runner.wait().with_code(0);
}

fn assert_whole(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    let wrong = (0..ROWS).find(|n| lines.get(*n).is_none_or(|line| *line != row(*n)));
    assert_eq!((wrong, lines.len()), (None, ROWS), "the first wrong row, and how many there are");
}

#[test]
fn a_full_disk_of_a_file_sink_is_said_and_waited_for_and_nothing_is_lost() {
    let folder = copying("full", "small/out.jsonl");
    let disk = SmallDisk::at(folder.path().join("small"), 400 << 10);
    let runner = disk.apply(&folder);
    goes_on_once_there_is_room(&disk, runner, "small/out.jsonl");
    assert_whole(&folder.read("small/out.jsonl"));
}

#[test]
fn a_pipeline_killed_on_a_full_disk_starts_on_it_and_goes_on_once_there_is_room() {
    let folder = copying("killed", "small/out.jsonl");
    let disk = SmallDisk::at(folder.path().join("small"), 400 << 10);
    let runner = disk.apply(&folder);
    runner.wait_stderr("trying again");
    runner.kill();
    // What the last write left behind takes the last byte of the disk.
    let out = folder.path().join("small/out.jsonl");
    let mut file = std::fs::OpenOptions::new().append(true).open(&out).unwrap();
    if disk.mounted {
        while std::io::Write::write(&mut file, &[b'{'; 512]).is_ok_and(|written| written > 0) {}
    } else {
        std::io::Write::write_all(&mut file, b"{").unwrap();
    }
    drop(file);
    let runner = disk.apply(&folder);
    goes_on_once_there_is_room(&disk, runner, "small/out.jsonl");
    assert_whole(&folder.read("small/out.jsonl"));
}

/// A pipeline of some hundred epochs, which keeps its journal on the small disk and nothing else.
fn journaling(name: &str) -> (Folder, SmallDisk) {
    let folder = Folder::new();
    folder.pipeline(
        name,
        "  sources: { rows: { datagen: { columns: { n: { type: long, iteration: { start: 0 } } }, rate: 2000, count: 4000 } } }
  sinks: { out: { from: rows, file: { path: out.jsonl }, format: json } }
  state: { store: small }
",
    );
    let disk = SmallDisk::at(folder.path().join("small"), 20 << 10);
    (folder, disk)
}

fn assert_numbered(text: &str) {
    let wanted: String = (0..4_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    assert!(text == wanted, "{} lines", text.lines().count());
}

#[test]
fn a_full_disk_of_the_journal_is_said_and_waited_for_and_nothing_is_lost() {
    let (folder, disk) = journaling("journaling");
    let runner = disk.apply(&folder);
    runner.wait_stderr("trying again");
    let written = folder.read("out.jsonl").lines().count();
    assert!(written < 4_000, "it had room for all");
    goes_on_once_there_is_room(&disk, runner, "small/journal/journal.jsonl");
    assert_numbered(&folder.read("out.jsonl"));
}

#[test]
fn a_pipeline_killed_on_a_full_disk_of_its_journal_goes_on_once_there_is_room() {
    let (folder, disk) = journaling("journaling");
    let runner = disk.apply(&folder);
    runner.wait_stderr("trying again");
    runner.kill();
    let runner = disk.apply(&folder);
    let said = runner.wait_stderr("cannot write the journal");
    assert!(said.contains("small/journal/journal.jsonl"), "{said}");
    disk.make_room(Some(&runner));
    runner.wait().with_code(0);
    assert_numbered(&folder.read("out.jsonl"));
}
