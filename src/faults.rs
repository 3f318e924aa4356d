//! How this process dies on purpose: at a `fail` step, and in tests at a named point of the way that an epoch takes.
//!
//! `RUNNER_DIE_AT=transaction.produced:3` dies when that point is passed for the third time, and
//! `RUNNER_DIE_AT=wait@transaction.produced:3` waits there until it has been suspended for seconds (SIGSTOP, SIGCONT). The points are there only in
//! builds with debug assertions: in a release build [`point`] is nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Every point, in the order in which a run passes them.
pub const POINTS: &[&str] = &[
    "sink_topic.created",
    "subject.registered",
    "origin.read",
    "epoch.replayed",
    "topic.create",
    "topic.created",
    "owner.append",
    "owner.appended",
    "plan.append",
    "plan.appended",
    "transaction.begun",
    "transaction.produced",
    "transaction.ending",
    "transaction.committed",
    "journal.append",
    "journal.appended",
    "epoch.committed",
    "sink.write",
    "sink.written",
    "file.appended",
    "file.noted",
    "snapshot.write",
    "snapshot.written",
    "snapshot.published",
    "snapshot.removed",
    "trim.begin",
    "trim.moved",
    "trim.done",
];

/// At this point the outcome is left to chance: the process dies while what it asks for is on its way.
const ON_ITS_WAY: &str = "transaction.ending";
const ON_ITS_WAY_FOR: Duration = Duration::from_millis(2);

/// Longer than a look takes on any machine.
const SUSPENDED_FOR: Duration = Duration::from_millis(2_500);

/// Says that it waits, and returns when the clock has leapt.
fn wait_to_be_suspended(name: &str) {
    // Whoever hears of it may suspend it before another line of this has run: no moment is left out.
    let mut before = Instant::now();
    tracing::warn!("waits at {name} to be suspended");
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let now = Instant::now();
        if now.duration_since(before) > SUSPENDED_FOR {
            return;
        }
        before = now;
    }
}

/// Ends the process as `kill -9` does: nothing is flushed, closed or told to anybody.
pub fn die() -> ! {
    // SAFETY: neither call touches memory.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    // Not reached: the signal cannot be held back.
    std::process::abort()
}

/// Dies here if a test says so.
#[inline]
pub fn point(name: &'static str) {
    if cfg!(debug_assertions) {
        pass(name);
    }
}

/// How long something is waited for that would not come within a test: not at all, if its point is where this process dies.
#[inline]
pub fn patience(usual: Duration, point_begins: &str) -> Duration {
    let is_awaited = || chosen().as_ref().is_some_and(|chosen| chosen.name.starts_with(point_begins));
    if cfg!(debug_assertions) && is_awaited() { Duration::ZERO } else { usual }
}

/// Where this process dies.
struct Chosen {
    name: String,
    /// It waits there instead, to be suspended.
    waits: bool,
    /// How often the point is still passed before.
    left: AtomicU64,
}

fn chosen() -> &'static Option<Chosen> {
    static CHOSEN: OnceLock<Option<Chosen>> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let text = std::env::var("RUNNER_DIE_AT").ok()?;
        let (place, count) = text.split_once(':').unwrap_or((&text, "1"));
        let (waits, name) = place.strip_prefix("wait@").map_or((false, place), |name| (true, name));
        assert!(POINTS.contains(&name), "RUNNER_DIE_AT: there is no point `{name}`");
        let left = count.parse().expect("RUNNER_DIE_AT: a count stands behind the colon");
        Some(Chosen { name: name.to_owned(), waits, left: AtomicU64::new(left) })
    })
}

fn pass(name: &'static str) {
    debug_assert!(POINTS.contains(&name), "`{name}` is not in the list of points");
    let Some(chosen) = chosen().as_ref().filter(|chosen| chosen.name == name) else { return };
    if chosen.left.fetch_sub(1, SeqCst) != 1 {
        return;
    }
    if chosen.waits {
        return wait_to_be_suspended(name);
    }
    if name == ON_ITS_WAY {
        std::thread::spawn(|| {
            std::thread::sleep(ON_ITS_WAY_FOR);
            die()
        });
        return;
    }
    die()
}
