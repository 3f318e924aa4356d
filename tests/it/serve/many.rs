//! Many pipelines on one server: idle ones cost little memory and next to no time, and what comes and goes leaves
//! nothing behind.
//!
//! `RUNNER_MANY=500` and `RUNNER_MANY_TIMES=1000` try more of them.

use super::*;

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub rss_kib: u64,
    pub threads: usize,
    pub files: usize,
    pub cpu: Duration,
}

pub(super) fn held(pid: u32) -> Held {
    let proc = |what: &str| format!("/proc/{pid}/{what}");
    let status = std::fs::read_to_string(proc("status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let stat = std::fs::read_to_string(proc("stat")).unwrap();
    let times: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime; a tick is 10 ms wherever Linux runs.
    let ticks: u64 = times[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Held {
        rss_kib: field("VmRSS:"),
        threads: field("Threads:") as usize,
        files: std::fs::read_dir(proc("fd")).unwrap().count(),
        cpu: Duration::from_millis(ticks * 10),
    }
}

/// How many sockets a process has open.
pub(super) fn sockets(pid: u32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

pub(super) fn many(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |count| count.parse().unwrap())
}

fn idle(name: &str, sink: &str) -> String {
    format!(
        "apiVersion: runner/v1
kind: Pipeline
metadata: {{ name: {name} }}
spec:
  sources: {{ users: {{ datagen: {{ quickstart: users, interval: 1h }} }} }}
  sinks: {{ out: {{ from: users, {sink} }} }}
"
    )
}

#[test]
fn idle_pipelines_cost_little_memory_no_thread_and_next_to_no_time() {
    let count = many("RUNNER_MANY", 100);
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    let pid = server.runner.pid();
    let empty = held(pid);
    for number in 0..count {
        let file = format!("file: {{ path: out-{number}.jsonl }}, format: json");
        let sink = if number % 2 == 0 { "discard: {}" } else { &file };
        let response = server.put_yaml(&format!("p{number}"), &idle(&format!("p{number}"), sink));
        assert_eq!(response.status(), 201);
    }
    // Each gives its first record at once, and none for an hour.
    for number in 0..count {
        server.until_rows(&format!("p{number}"), 1);
    }
    // Threads that nobody took again have ended then.
    std::thread::sleep(Duration::from_secs(8));
    let before = held(pid);
    std::thread::sleep(Duration::from_secs(10));
    let after = held(pid);
    let (rss, cpu) = (after.rss_kib.saturating_sub(empty.rss_kib), after.cpu - before.cpu);
    println!("{count} idle: {} MiB more than none; {after:?}; {cpu:?} of CPU time in 10 s", rss / 1024);
    assert!(after.threads <= empty.threads + 12, "{after:?} after {empty:?}");
    assert!(rss / 1024 <= 60 + count as u64 * 6 / 10, "{} MiB", rss / 1024);
    // 3 % of a core.
    assert!(cpu <= Duration::from_millis(300), "{cpu:?} in 10 s");
}

#[test]
fn what_comes_and_goes_leaves_nothing_behind() {
    const WARM: usize = 20;
    let times = many("RUNNER_MANY_TIMES", 60) + WARM;
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    let pid = server.runner.pid();
    let mut warm = held(pid);
    let mut took = Vec::new();
    for time in 0..times {
        if time == WARM {
            warm = held(pid);
        }
        let begun = Instant::now();
        assert_eq!(server.put_yaml("p", &idle("p", "file: { path: out.jsonl }, format: json")).status(), 201);
        let deadline = begun + PATIENCE;
        while server.pipeline("p")["state"] != "running" {
            assert!(Instant::now() < deadline, "{}", server.runner.stderr());
            std::thread::sleep(Duration::from_millis(2));
        }
        took.push(begun.elapsed());
        assert_eq!(server.request(Method::DELETE, "/v1/pipelines/p").send().unwrap().status(), 204);
    }
    let end = held(pid);
    took.sort();
    println!("{times} times: {warm:?}, then {end:?}; runs after {:?}, at worst {:?}", took[times / 2], took[times - 1]);
    assert!(end.threads <= warm.threads + 8, "{end:?} after {warm:?}");
    assert!(end.files <= warm.files + 8, "{end:?} after {warm:?}");
    assert!(end.rss_kib <= warm.rss_kib + 24 * 1024, "{end:?} after {warm:?}");
}
