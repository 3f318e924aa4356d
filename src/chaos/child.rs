//! The process that is hurt. It ends with us, however we end.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::heard::Heard;
use crate::engine::start::Took;
use crate::report::Failure;

/// Lines of its words that are kept.
const LINES: usize = 20;
/// How long after its first output it may take to say that it has started: a replay, too, gives sinks what they lack.
const SAYS_WITHIN: Duration = Duration::from_secs(1);

/// What is run.
#[derive(Debug, Clone)]
pub struct Program {
    pub path: std::path::PathBuf,
    pub arguments: Vec<OsString>,
}

impl Program {
    /// Starts it, with further arguments. It speaks JSON, of which what its starts took is taken.
    pub fn start(&self, more: &[&str]) -> Result<Child, Failure> {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).args(["--output", "json"]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Ctrl-C on the terminal is for us: a child that it reached, too, would end by itself.
        command.process_group(0);
        // SAFETY: prctl is safe between fork and exec.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let failed =
            |error| Failure::outside("chaos.start", format!("cannot start `{}`", self.path.display())).because(error);
        let mut process = command.spawn().map_err(failed)?;
        let said: Arc<Mutex<Said>> = Arc::default();
        if let Some(stderr) = process.stderr.take() {
            let said = said.clone();
            let listen = move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    tracing::debug!("child: {line}");
                    said.lock().unwrap_or_else(PoisonError::into_inner).hear(&line);
                }
            };
            std::thread::Builder::new().name("child".into()).spawn(listen).map_err(failed)?;
        }
        Ok(Child { process, said })
    }
}

/// What it has said.
#[derive(Debug, Default)]
struct Said {
    /// The last of its words.
    words: VecDeque<String>,
    /// What its pipelines' starts took, one after the other.
    took: Option<Took>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        match Heard::of(line) {
            Heard::Started(took) => self.took = Some(self.took.map_or(took, |before| before.plus(took))),
            Heard::Words(words) => {
                self.words.extend(words);
                let excess = self.words.len().saturating_sub(LINES);
                self.words.drain(..excess);
            }
            Heard::Nothing => {}
        }
    }
}

/// A process at work. Dropping it kills it.
pub struct Child {
    process: std::process::Child,
    said: Arc<Mutex<Said>>,
}

impl Child {
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.process.id()).expect("pids are small");
        // SAFETY: the child is ours; until it was waited for nobody else has its pid.
        unsafe { libc::kill(pid, signal) };
    }

    /// What the starts of its pipelines took, of those that have started. One whose output is there says so any moment.
    pub fn took(&self) -> Option<Took> {
        let deadline = Instant::now() + SAYS_WITHIN;
        loop {
            let took = self.said.lock().unwrap_or_else(PoisonError::into_inner).took;
            if took.is_some() || Instant::now() >= deadline {
                return took;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.process.try_wait().map_err(lost)
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.process.kill().and_then(|()| self.process.wait().map(drop)).map_err(lost)
    }

    /// Waits for its good end.
    ///
    /// # Errors
    /// `chaos.ended`: it failed. `chaos.stuck`: it did not end in time.
    pub fn ends_within(&mut self, time: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + time;
        while self.ended()?.is_none() {
            if Instant::now() >= deadline {
                let title = format!("the pipeline did not end within {} s of being told to", time.as_secs());
                return Err(self.failure("chaos.stuck", title));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.succeeded()
    }

    /// Fails unless it ended with 0.
    pub fn succeeded(&mut self) -> Result<(), Failure> {
        match self.ended()? {
            Some(status) if !status.success() => {
                let how = match (status.code(), status.signal()) {
                    (Some(code), _) => format!("exit code {code}"),
                    (None, signal) => format!("signal {}", signal.unwrap_or_default()),
                };
                Err(self.failure("chaos.ended", format!("the pipeline ended by itself, with {how}")))
            }
            _ => Ok(()),
        }
    }

    /// With its last words.
    fn failure(&self, code: &'static str, title: String) -> Failure {
        // The listener may still be reading what it said.
        std::thread::sleep(Duration::from_millis(50));
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let words: Vec<&str> = said.words.iter().map(String::as_str).collect();
        Failure::outside(code, title).no_retry().because(format!("its last words were\n{}", words.join("\n")))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both do nothing to one that was waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn lost(error: std::io::Error) -> Failure {
    Failure::outside("chaos.child", "the pipeline's process is lost").because(error)
}
