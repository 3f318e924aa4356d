//! Runs pipelines as a child process, hurts it again and again, and measures how soon new output is committed.
//!
//! What is measured is what a reader of the sinks sees (read committed): from the signal to the first record that was
//! written after it, by whom it may concern: what a dead process had written before, and is committed by the broker
//! later, does not count. That nothing was lost or doubled is another room's to prove, when the child has ended.

mod child;
mod heard;
mod report;

use std::time::{Duration, Instant};

pub use child::{Child, Program};
pub use report::{Hurt, Outcome};

use crate::connectors::kafka::Tail;
use crate::report::Failure;

/// How a process is hurt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Ctrl-C: it commits what it has read and ends.
    Stop,
    /// SIGTERM, as a service manager does.
    Term,
    /// SIGKILL: no last word.
    Kill,
    /// SIGSTOP, and after a while SIGCONT: the same process goes on, late.
    Suspend,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Stop => "stop",
            Kind::Term => "term",
            Kind::Kill => "kill",
            Kind::Suspend => "suspend",
        }
    }
}

/// What is done, and for how long.
#[derive(Debug, Clone)]
pub struct Settings {
    pub program: Program,
    /// One of them is drawn each time.
    pub kinds: Vec<Kind>,
    /// About how long a process is left alone once it has output; half of it to one and a half times as much.
    pub every: Duration,
    /// No process is hurt after this, counted from the first output.
    pub total: Duration,
    /// How long a suspended process sleeps.
    pub suspended: Duration,
    pub seed: u64,
}

/// How long there may be no new output before it counts as none.
const OUTPUT_WITHIN: Duration = Duration::from_secs(60);
/// How long a process may take to end that was told to.
const END_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// Hurts the program's process until the time is over, it ends by itself, or `going` says false. It has ended then.
/// `tails` are the sinks'. `told` hears of each time it was hurt, with what came of it. What was done until a failure
/// stands in the outcome.
///
/// # Errors
/// The process failed by itself, did not stop when it was told to, or cannot be started; the broker is away.
pub fn run(
    settings: &Settings,
    tails: &mut [Tail],
    going: &dyn Fn() -> bool,
    told: &mut dyn FnMut(&Hurt),
) -> (Outcome, Result<(), Failure>) {
    let mut outcome = Outcome::default();
    let ended = hurt_again_and_again(settings, tails, going, told, &mut outcome);
    (outcome, ended)
}

fn hurt_again_and_again(
    settings: &Settings,
    tails: &mut [Tail],
    going: &dyn Fn() -> bool,
    told: &mut dyn FnMut(&Hurt),
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut random = Random(settings.seed);
    tails.iter_mut().try_for_each(Tail::begin)?;
    let mut child = settings.program.start(&[])?;
    outcome.runs += 1;
    let Some(first) = first_output(&mut child, tails, begun, going)? else {
        outcome.by_itself = child.ended()?.is_some();
        return end(&mut child);
    };
    outcome.first_output = first;
    let begun = Instant::now();
    loop {
        let alone = settings.every.mul_f64(0.5 + random.share());
        let over = !wait(&mut child, alone, going)? || begun.elapsed() >= settings.total || !going();
        if over || child.ended()?.is_some() {
            break;
        }
        let kind = settings.kinds[(random.next() % settings.kinds.len() as u64) as usize];
        let at = begun.elapsed();
        let back = hurt(kind, &mut child, settings, tails, outcome)
            .and_then(|signalled| first_output(&mut child, tails, signalled, going));
        if !going() {
            break;
        }
        let recovery = back.as_ref().ok().copied().flatten().flatten();
        // A process that was only suspended did not start.
        let took = recovery.filter(|_| kind != Kind::Suspend).and_then(|_| child.took());
        let hurt = Hurt { kind, at, recovery, took };
        told(&hurt);
        outcome.hurts.push(hurt);
        if back?.is_none() {
            break;
        }
    }
    outcome.by_itself = child.ended()?.is_some();
    end(&mut child)
}

/// Has it stop, if it has not ended.
fn end(child: &mut Child) -> Result<(), Failure> {
    if child.ended()?.is_some() {
        return child.succeeded();
    }
    child.signal(libc::SIGINT);
    child.ends_within(END_WITHIN)
}

/// Hurts it, and has it run again. Gives the moment from which its recovery counts.
fn hurt(
    kind: Kind,
    child: &mut Child,
    settings: &Settings,
    tails: &mut [Tail],
    outcome: &mut Outcome,
) -> Result<Instant, Failure> {
    let mut signalled = Instant::now();
    match kind {
        Kind::Suspend => {
            child.signal(libc::SIGSTOP);
            std::thread::sleep(settings.suspended);
            tails.iter_mut().try_for_each(Tail::begin)?;
            signalled = Instant::now();
            child.signal(libc::SIGCONT);
            return Ok(signalled);
        }
        Kind::Kill => child.kill()?,
        Kind::Stop | Kind::Term => {
            child.signal(if kind == Kind::Stop { libc::SIGINT } else { libc::SIGTERM });
            child.ends_within(END_WITHIN)?;
        }
    }
    *child = settings.program.start(&[])?;
    outcome.runs += 1;
    // The new process needs longer than this to write anything.
    tails.iter_mut().try_for_each(Tail::begin)?;
    Ok(signalled)
}

/// How long after `since` the first new output was committed; within: `None` if there was none for long. `None`
/// outside: it ended by itself, or we were told to end.
fn first_output(
    child: &mut Child,
    tails: &mut [Tail],
    since: Instant,
    going: &dyn Fn() -> bool,
) -> Result<Option<Option<Duration>>, Failure> {
    let deadline = Instant::now() + OUTPUT_WITHIN;
    while Instant::now() < deadline {
        for tail in tails.iter_mut() {
            if tail.came(LOOK)? {
                return Ok(Some(Some(since.elapsed())));
            }
        }
        if child.ended()?.is_some() {
            child.succeeded()?;
            return Ok(None);
        }
        if !going() {
            return Ok(None);
        }
    }
    Ok(Some(None))
}

/// Leaves it alone for a while; false: it has ended.
fn wait(child: &mut Child, time: Duration, going: &dyn Fn() -> bool) -> Result<bool, Failure> {
    let until = Instant::now() + time;
    while Instant::now() < until && going() {
        if child.ended()?.is_some() {
            return Ok(false);
        }
        std::thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
    }
    Ok(true)
}

/// SplitMix64: a seed hurts at the same times in the same ways, as far as the machine lets it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
